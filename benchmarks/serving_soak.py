"""Serves a SavedModel inside this process to several threads at once, and compares every answer with a single thread's.

  python benchmarks/serving_soak.py --engine=masked --seconds=60
  python benchmarks/serving_soak.py --saved_model=models/sact/1

Requests are of both signatures, several image sizes and batch sizes, in random order. Integers (`num_units`, FLOPs,
classes) have to be equal, floats to agree to 1e-5 of the array's largest value. Prints throughput and resident memory;
exit status 1 if an answer differs, a request fails, or memory in the last quarter is over 5 % above the second's.
"""

import collections
import os
import random
import sys
import tempfile
import threading
import time

import numpy as np
import tensorflow as tf
import timing
from absl import app, flags, logging

from sact_tf.checkpoints import named_variables
from sact_tf.config import DATASETS, ENGINES, ModelConfig
from sact_tf.export import saved_model
from sact_tf.models.build import build_model

FLAGS = flags.FLAGS
flags.DEFINE_string("saved_model", None, "Directory to serve; by default a network with random weights is exported.")
flags.DEFINE_enum("engine", "masked", list(ENGINES), "How that network computes.")
flags.DEFINE_enum("dataset", "imagenet", list(DATASETS), "Data set whose kind of network and JPEGs it is.")
flags.DEFINE_string("model", "50", "Its units.")
flags.DEFINE_integer("image_size", 224, "Size that its JPEGs are brought to.")
flags.DEFINE_integer("threads", 8, "Threads that send requests.")
flags.DEFINE_float("seconds", 60, "How long they do.")

# Batch, height, width.
SHAPES = ((1, 224, 224), (1, 97, 131), (2, 160, 224), (3, 128, 96), (4, 64, 64), (8, 40, 48))
JPEG_BATCHES = (1, 2, 3)
TOLERANCE = 1e-5
MAX_GROWTH = 0.05
MEBIBYTE = 2**20


def export(directory):
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
    saved_model.save(model, directory, FLAGS.engine, FLAGS.dataset, FLAGS.image_size, log=say)


def requests():
    """List of pairs: the signature, and its arguments."""
    generator = np.random.default_rng(1)

    def pictures(*shape):
        coarse = generator.uniform(-1, 1, (shape[0], -(-shape[1] // 8), -(-shape[2] // 8), 3))
        return coarse.repeat(8, axis=1).repeat(8, axis=2)[:, : shape[1], : shape[2]].astype("float32")

    made = [("serving_default", {"images": tf.constant(pictures(*shape))}) for shape in SHAPES]
    for batch in JPEG_BATCHES:
        sizes = generator.integers(100, 400, (batch, 2))
        pixels = [tf.cast((pictures(1, *size)[0] + 1) * 127.5, tf.uint8) for size in sizes]
        made.append(("classify_jpeg", {"jpegs": tf.stack([tf.io.encode_jpeg(picture) for picture in pixels])}))
    return made


def differences(answer, expected):
    """Names of the outputs that are not what one thread got."""
    wrong = []
    for name, value in expected.items():
        ours = answer[name].numpy()
        if value.dtype.kind == "f":
            same = ours.shape == value.shape and np.abs(ours - value).max() <= TOLERANCE * np.abs(value).max()
        else:
            same = np.array_equal(ours, value)
        wrong += [] if same else [name]
    return wrong


def resident_mebibytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MEBIBYTE


def serve(signatures, asked, expected):
    """Sends requests from all threads; returns counts of what happened and the memory after each second."""
    counts, lock, stop = collections.Counter(), threading.Lock(), time.monotonic() + FLAGS.seconds

    def client(seed):
        order = random.Random(seed)
        while time.monotonic() < stop:
            number = order.randrange(len(asked))
            name, arguments = asked[number]
            try:
                wrong = differences(signatures[name](**arguments), expected[number])
            except tf.errors.OpError as error:
                say(f"{name} failed: {error.message}")
                wrong, outcome = [], "errors"
            else:
                outcome = "mismatches" if wrong else "equal"
            if wrong:
                say(f"{name}, request {number}: other {', '.join(wrong)}")
            with lock:
                counts.update({outcome: 1, "requests": 1, "images": next(iter(arguments.values())).shape[0]})

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


def main(_):
    logging.set_verbosity(logging.WARNING)
    with tempfile.TemporaryDirectory() as temporary:
        directory = FLAGS.saved_model or temporary
        if not FLAGS.saved_model:
            export(directory)
        started = time.monotonic()
        loaded = tf.saved_model.load(directory)
    say(f"loaded in {time.monotonic() - started:.1f} s")
    signatures, asked = loaded.signatures, requests()
    expected = []
    for name, arguments in asked:
        expected.append({key: value.numpy() for key, value in signatures[name](**arguments).items()})
    started = time.monotonic()
    for name, arguments in asked:
        signatures[name](**arguments)
    alone = sum(next(iter(arguments.values())).shape[0] for _, arguments in asked) / (time.monotonic() - started)
    say(f"one thread: {len(asked)} different requests, {alone:.1f} images/s, {resident_mebibytes():.0f} MiB")
    started = time.monotonic()
    counts, memory = serve(signatures, asked, expected)
    seconds = time.monotonic() - started
    second, last = (float(np.median(part)) for part in (np.array_split(memory, 4)[1], np.array_split(memory, 4)[3]))
    say(timing.describe_machine())
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
    app.run(main)
