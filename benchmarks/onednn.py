"""What TensorFlow's oneDNN does for this machine: the same work in processes with and without it.

    python benchmarks/onednn.py --processes=5

TensorFlow looks at TF_ENABLE_ONEDNN_OPTS once, when it is imported, so each setting takes a process of its own; they
take turns. Within a process every piece of work is timed in turns with the others, and the median counts. Printed are
the medians over the processes, and the quotients of wall time and of processor time, on / off: below 1 oneDNN is
faster.
Expected figures: benchmarks/README.md.
"""

import functools
import json
import os
import random
import re
import statistics
import subprocess
import sys

import keras
import tensorflow as tf
import timing
from absl import flags

import sact_tf
from sact_tf import command_line, processor
from sact_tf import config as configs
from sact_tf.training.trainer import Trainer

FLAGS = flags.FLAGS
flags.DEFINE_integer("processes", 5, "Processes for each of the two settings.", lower_bound=1)
flags.DEFINE_integer("rounds", 5, "How often a process times each piece of work.", lower_bound=1)
flags.DEFINE_string("only", "", "Regular expression: time only pieces of work whose name it matches.")
flags.DEFINE_boolean("work", False, "Do the work in this process, and print its times as JSON.")


def main():
    if FLAGS.work:
        print(json.dumps(measure()))
        return
    found = {"0": [], "1": []}
    order = random.Random(0)
    for index in range(FLAGS.processes):
        for setting in order.sample(list(found), 2):
            found[setting].append(measure_in_process(setting))
            print(f"process {index + 1} of {FLAGS.processes}, {setting}: {found[setting][-1]}", file=sys.stderr)
    report(found)


def measure_in_process(setting):
    """Dict from the name of a piece of work to its wall and processor seconds in a process of its own."""
    process = subprocess.run(
        [sys.executable, __file__, "--work", f"--rounds={FLAGS.rounds}", f"--only={FLAGS.only}"],
        env={**os.environ, processor.SWITCH: setting, "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(process.stdout.splitlines()[-1])


def measure():
    calls = {name: PIECES_OF_WORK[name]() for name in matching(FLAGS.only)}
    seconds = timing.interleave(calls, FLAGS.rounds)
    return {
        name: [timing.median(values, clock) for clock in timing.Seconds._fields] for name, values in seconds.items()
    }


def matching(expression):
    """Names of the pieces of work to time; raises a ValidationError if there are none."""
    try:
        found = [name for name in PIECES_OF_WORK if re.search(expression, name)]
    except re.error as error:
        raise flags.ValidationError(f"must be a regular expression, and {error}") from error
    if not found:
        raise flags.ValidationError(f"must match some of: {'; '.join(PIECES_OF_WORK)}")
    return found


flags.register_validator("only", matching)


def product(rows, inner, columns, times=1):
    left = tf.random.stateless_uniform((rows, inner), (0, 0))
    right = tf.random.stateless_uniform((inner, columns), (0, 1))

    @tf.function
    def multiply(x, y):
        return x @ y

    def call():
        for _ in range(times):
            multiply(left, right).numpy()

    return call


def training_step(model_type, dataset="cluttered_digits", **changes):
    model = {"model_type": model_type, **({"model": "50"} if dataset == "imagenet" else {})}
    config = configs.default_training_config(dataset, model, **changes)
    trainer = Trainer(config, tf.distribute.get_strategy())
    shape = (config.batch_size, config.image_size, config.image_size, 3)
    images = tf.random.stateless_uniform(shape, (0, 0), -1.0, 1.0)
    batch = {"image": images, "label": tf.range(config.batch_size, dtype=tf.int64) % 10}
    return lambda: trainer.train_step(batch)["loss"].numpy()


def forward(model_type, make=lambda network: functools.partial(network, training=False)):
    network = sact_tf.imagenet_resnet("50", model_type, image_shape=(224, 224, 3))
    images = tf.random.stateless_uniform((1, 224, 224, 3), (0, 0), -1.0, 1.0)
    compute = make(network)
    predict = tf.function(lambda x: compute(x)["logits"])
    return lambda: predict(images).numpy()


PIECES_OF_WORK = {
    "product 2048 x 2048 x 2048": lambda: product(2048, 2048, 2048),
    "20 products 50 x 2304 x 256": lambda: product(50, 2304, 256, times=20),
    "20 products 196 x 2304 x 256": lambda: product(196, 2304, 256, times=20),
    "training step, cluttered digits, vanilla": lambda: training_step("vanilla"),
    "training step, cluttered digits, sact": lambda: training_step("sact"),
    "forward, 224 x 224, ResNet-50, batch 1": lambda: forward("vanilla"),
    "forward, 224 x 224, engine of a sact ResNet-50, batch 1": lambda: forward("sact", sact_tf.sparse.compile),
    "training step, 224 x 224, ResNet-50, batch 2": lambda: training_step("vanilla", "imagenet", batch_size=2),
}


def report(found):
    machine = f"{processor.describe()}, {os.cpu_count()} cores; TensorFlow {tf.__version__}, Keras {keras.__version__}"
    print(f"{machine}\n{FLAGS.processes} processes of each, {FLAGS.rounds} rounds in each\n")
    print("| work | off, ms | on, ms | on / off, wall | on / off, processor |")
    print("|---|---|---|---|---|")
    for name in found["0"][0]:
        off, on = (
            [statistics.median(times) for times in zip(*(one[name] for one in found[key]), strict=True)] for key in "01"
        )
        print(f"| {name} | {1e3 * off[0]:.1f} | {1e3 * on[0]:.1f} | {on[0] / off[0]:.2f} | {on[1] / off[1]:.2f} |")


if __name__ == "__main__":
    command_line.run(main)
