"""Serves a network inside this process to several threads at once, and compares every answer with a single thread's.

  python benchmarks/serving_soak.py --engine=masked --seconds=60
  python benchmarks/serving_soak.py --saved_model=models/sact/1
  python benchmarks/serving_soak.py --runtime=onnx --engine=sparse

TensorFlow serves a SavedModel, with requests of both signatures; ONNX Runtime two files, one that takes images and one
that takes pictures as bytes. Requests are of several image sizes and batch sizes, in random order. Integers
(`num_units`, FLOPs, classes) have to be equal, floats to agree to 1e-5 of the array's largest value. Prints throughput
and resident memory; exit status 1 if an answer differs, a request fails, or memory in the last quarter is over 5 %
above the second's.
"""

import collections
import os
import random
import sys
import tempfile
import threading
import time

import numpy as np
import onnxruntime
import tensorflow as tf
import timing
from absl import flags
from arguments import define_seconds

from sact_tf import command_line
from sact_tf.checkpoints import named_variables
from sact_tf.config import DATASETS, ENGINES, ModelConfig
from sact_tf.export import saved_model
from sact_tf.models.build import build_model
from sact_tf.sparse.onnx.network import write_network
from sact_tf.sparse.onnx.preprocessing import Preprocessing

FLAGS = flags.FLAGS
flags.DEFINE_enum("runtime", "tensorflow", ["tensorflow", "onnx"], "What serves.")
flags.DEFINE_string("saved_model", None, "Directory to serve; by default a network with random weights is exported.")
flags.DEFINE_enum("engine", "masked", list(ENGINES), "How that network computes.")
flags.DEFINE_enum("dataset", "imagenet", list(DATASETS), "Data set whose kind of network and JPEGs it is.")
flags.DEFINE_string("model", "50", "Its units.")
flags.DEFINE_integer("image_size", 224, "Size that its JPEGs, or pictures, are brought to.")
flags.DEFINE_integer("threads", 8, "Threads that send requests.", lower_bound=1)
# Each second memory is looked at; its second and last quarter are compared.
define_seconds("seconds", 60, "How long they do.", least=4)

# Batch, height, width.
SHAPES = ((1, 224, 224), (1, 97, 131), (2, 160, 224), (3, 128, 96), (4, 64, 64), (8, 40, 48))
PICTURE_BATCHES = (1, 2, 3)
TOLERANCE = 1e-5
MAX_GROWTH = 0.05
MEBIBYTE = 2**20


def network():
    """A SACT network that halts here and there: fresh halting branches hardly ever do."""
    defaults = DATASETS[FLAGS.dataset]
    config = {key: defaults[key] for key in ("network", "num_classes", "base_channels")}
    model = build_model(ModelConfig(model=FLAGS.model, model_type="sact", **config))
    generator = np.random.default_rng(0)
    for name, variable in named_variables(model).items():
        if name.endswith(("local_conv/weights", "global_conv/weights")):
            variable.assign(generator.normal(size=variable.shape) * 4 / np.sqrt(np.prod(variable.shape[:-1])))
        elif name.endswith("local_conv/biases"):
            variable.assign([-0.5])
    return model


def tensorflow_server():
    """Dict from the name of a signature to a function from its argument to a dict of NumPy arrays."""
    with tempfile.TemporaryDirectory() as temporary:
        directory = FLAGS.saved_model or temporary
        if FLAGS.saved_model and not tf.saved_model.contains_saved_model(directory):
            raise ValueError(f"--saved_model must be the directory of a SavedModel. Received: {directory}")
        if not FLAGS.saved_model:
            saved_model.save(network(), directory, FLAGS.engine, FLAGS.dataset, FLAGS.image_size, log=say)
        started = time.monotonic()
        loaded = tf.saved_model.load(directory)
        say(f"loaded in {time.monotonic() - started:.1f} s")
    arguments = {"serving_default": "images", "classify_jpeg": "jpegs"}
    if missing := sorted(arguments.keys() - loaded.signatures):
        raise ValueError(f"--saved_model must have the signature {missing[0]}. It has {', '.join(loaded.signatures)}")

    def answering(name, argument):
        # The signatures hold their variables only as long as what was loaded is there.
        return lambda value: {key: each.numpy() for key, each in loaded.signatures[name](**{argument: value}).items()}

    return {name: answering(name, argument) for name, argument in arguments.items()}


def onnx_server():
    """The same of two files: `images` as the network takes them, and `pictures` as bytes."""
    if FLAGS.saved_model:
        raise ValueError("--saved_model is what TensorFlow serves; leave it out with --runtime=onnx.")
    model, options = network(), onnxruntime.SessionOptions()
    # Idle threads of one session would take the processor from those of the other.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # As `sact_tf.sparse.compile` does.
    options.enable_mem_pattern = False

    def answering(preprocessing):
        written = write_network(model, FLAGS.engine, preprocessing=preprocessing).SerializeToString()
        started = time.monotonic()
        session = onnxruntime.InferenceSession(written, options, providers=["CPUExecutionProvider"])
        say(f"loaded in {time.monotonic() - started:.1f} s")
        names = [output.name for output in session.get_outputs()]
        return lambda images: dict(zip(names, session.run(None, {"images": images}), strict=True))

    return {"images": answering(None), "pictures": answering(Preprocessing(FLAGS.dataset, FLAGS.image_size))}


def requests():
    """List of pairs: what is asked, a key of the server, and its argument."""
    generator = np.random.default_rng(1)

    def pictures(*shape):
        coarse = generator.uniform(-1, 1, (shape[0], -(-shape[1] // 8), -(-shape[2] // 8), 3))
        return coarse.repeat(8, axis=1).repeat(8, axis=2)[:, : shape[1], : shape[2]].astype("float32")

    def as_bytes(*shape):
        return ((pictures(*shape) + 1) * 127.5).astype("uint8")

    if FLAGS.runtime == "onnx":
        made = [("images", pictures(*shape)) for shape in SHAPES]
        return made + [("pictures", as_bytes(batch, *generator.integers(100, 400, 2))) for batch in PICTURE_BATCHES]
    made = [("serving_default", tf.constant(pictures(*shape))) for shape in SHAPES]
    for batch in PICTURE_BATCHES:
        files = [tf.io.encode_jpeg(as_bytes(1, *size)[0]) for size in generator.integers(100, 400, (batch, 2))]
        made.append(("classify_jpeg", tf.stack(files)))
    return made


def differences(answer, expected):
    """Names of the outputs that are not what one thread got."""
    wrong = []
    for name, value in expected.items():
        ours = answer[name]
        if value.dtype.kind == "f":
            same = ours.shape == value.shape and np.abs(ours - value).max() <= TOLERANCE * np.abs(value).max()
        else:
            same = np.array_equal(ours, value)
        wrong += [] if same else [name]
    return wrong


def resident_mebibytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MEBIBYTE


def serve(server, asked, expected):
    """Sends requests from all threads; returns counts of what happened and the memory after each second."""
    counts, lock, stop = collections.Counter(), threading.Lock(), time.monotonic() + FLAGS.seconds

    def client(seed):
        order = random.Random(seed)
        while time.monotonic() < stop:
            number = order.randrange(len(asked))
            name, argument = asked[number]
            try:
                wrong = differences(server[name](argument), expected[number])
            except Exception as error:  # the runtimes' own have no class in common
                say(f"{name} failed: {error}")
                wrong, outcome = [], "errors"
            else:
                outcome = "mismatches" if wrong else "equal"
            if wrong:
                say(f"{name}, request {number}: other {', '.join(wrong)}")
            with lock:
                counts.update({outcome: 1, "requests": 1, "images": argument.shape[0]})

    threads = [threading.Thread(target=client, args=(seed,)) for seed in range(FLAGS.threads)]
    for thread in threads:
        thread.start()
    memory = [resident_mebibytes()]
    while any(thread.is_alive() for thread in threads):
        time.sleep(1)
        memory.append(resident_mebibytes())
        if len(memory) % 10 == 1:
            say(f"{len(memory) - 1} s: {counts['requests']} requests, {memory[-1]:.0f} MiB")
    return counts, memory


def say(text):
    print(text, flush=True)


def main():
    server = onnx_server() if FLAGS.runtime == "onnx" else tensorflow_server()
    asked = requests()
    expected = [server[name](argument) for name, argument in asked]
    started = time.monotonic()
    for name, argument in asked:
        server[name](argument)
    alone = sum(argument.shape[0] for _, argument in asked) / (time.monotonic() - started)
    say(f"one thread: {len(asked)} different requests, {alone:.1f} images/s, {resident_mebibytes():.0f} MiB")
    started = time.monotonic()
    counts, memory = serve(server, asked, expected)
    seconds = time.monotonic() - started
    second, last = (float(np.median(part)) for part in (np.array_split(memory, 4)[1], np.array_split(memory, 4)[3]))
    say(timing.describe_machine() + (f", ONNX Runtime {onnxruntime.__version__}" if FLAGS.runtime == "onnx" else ""))
    say(
        f"{FLAGS.threads} threads, {seconds:.0f} s: {counts['requests']} requests, {counts['images'] / seconds:.1f} "
        f"images/s, {counts['mismatches']} mismatches, {counts['errors']} errors"
    )
    say(
        f"resident MiB: start {memory[0]:.0f}, middle {memory[len(memory) // 2]:.0f}, end {memory[-1]:.0f}; median of "
        f"the second quarter {second:.0f}, of the last {last:.0f}"
    )
    failed = counts["mismatches"] or counts["errors"] or last > second * (1 + MAX_GROWTH)
    say("FAILED" if failed else "passed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    command_line.run(main)
