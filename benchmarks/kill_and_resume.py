"""Kills a small training run again and again, and compares its end with that of a run that was left alone.

  python benchmarks/kill_and_resume.py --kills=20

Every kill comes at a random moment (SIGKILL, every fourth SIGTERM), checkpoints being written after every step, so
that many hit a checkpoint half-way. Prints a line a kill; exit status 1 if a single bit differs.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
import tensorflow as tf
from absl import flags

from sact_tf import command_line

FLAGS = flags.FLAGS
flags.DEFINE_integer("kills", 20, "How often the run is killed.", lower_bound=0)
flags.DEFINE_integer("steps", 400, "Steps of the run.", lower_bound=1)
flags.DEFINE_integer("seed", 0, "Seed of the moments.")
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def start(directory):
    network = ("--model=1_2_1", "--model_type=sact", "--base_channels=4", "--image_size=40", "--batch_size=6")
    run = (f"--max_number_of_steps={FLAGS.steps}", f"--train_log_dir={directory}", "--save_interval_secs=0")
    return subprocess.Popen(
        [sys.executable, os.path.join(ROOT, "train.py"), *network, *run],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def step_of(directory):
    latest = tf.train.latest_checkpoint(directory) if os.path.isdir(directory) else None
    return int(latest.rpartition("-")[2]) if latest else 0


def kill(directory, number, moments):
    """Starts the run, lets it make some steps, kills it; returns the step it had saved by then."""
    process, before = start(directory), step_of(directory)
    while process.poll() is None and step_of(directory) <= before:
        time.sleep(0.01)
    time.sleep(moments.uniform(0, 0.2))
    process.send_signal(signal.SIGTERM if number % 4 == 3 else signal.SIGKILL)
    process.wait()
    return step_of(directory)


def read_all(directory):
    reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(directory))
    names = [name for name in reader.get_variable_to_shape_map() if name.startswith(("variables/", "optimizer/"))]
    return {name: reader.get_tensor(name) for name in names}


def main():
    moments = random.Random(FLAGS.seed)
    with tempfile.TemporaryDirectory() as root:
        killed, unkilled = os.path.join(root, "killed"), os.path.join(root, "unkilled")
        for number in range(FLAGS.kills):
            print(f"kill {number + 1} of {FLAGS.kills}: saved step {kill(killed, number, moments)}", flush=True)
        for directory in (killed, unkilled):
            status = start(directory).wait()
            print(f"{os.path.basename(directory)}: exit status {status}, step {step_of(directory)}", flush=True)
        first, second = read_all(killed), read_all(unkilled)
        differing = [name for name in second if not np.array_equal(first[name], second[name])]
        print(f"{len(second)} variables, {len(differing)} differ")
        sys.exit(1 if differing or set(first) != set(second) else 0)


if __name__ == "__main__":
    command_line.run(main)
