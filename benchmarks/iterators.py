"""What TensorFlow's thread that tunes data sets costs whoever frees an iterator, and what it gains our pipeline.

    python benchmarks/iterators.py --seconds=45

Iterators over training batches of cluttered digits, with that thread and as `sact_tf.data.pipeline` makes them, are
read from now and then until they are as old as a short evaluation, and freed one after the other; then batches are read
both ways, in turns, each time from a new iterator.
"""

import os
import statistics
import sys
import time

import tensorflow as tf
from absl import flags
from arguments import define_seconds
from timing import describe_machine

from sact_tf import command_line
from sact_tf.data import pipeline

FLAGS = flags.FLAGS
flags.DEFINE_integer("iterators", 100, "Iterators of each kind.", lower_bound=1)
define_seconds("seconds", 45, "Age of the iterators when they are freed.")
define_seconds("limit", 180, "Seconds after which no further one is freed.", least=1)
flags.DEFINE_integer("rounds", 7, "How often reading is timed each way; medians are reported.", lower_bound=1)

IMAGE_SIZE = 64
BATCH_SIZE = 32


def batches(tuned):
    """Training batches of cluttered digits."""
    options = tf.data.Options()
    options.autotune.enabled = tuned
    source = pipeline.open_source("cluttered_digits", "train", IMAGE_SIZE)
    return pipeline.training_batches(source, BATCH_SIZE, seed=1, first_step=0).with_options(options)


def read_from_all(iterators):
    """Keeps iterators at work."""
    for iterator in iterators:
        next(iterator)


def free(iterators, seconds, limit):
    """Seconds that freeing each iterator took once they are old, until all are free or `limit` seconds are over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        read_from_all(iterators)
        time.sleep(1)
    waits = []
    while iterators and sum(waits) < limit:
        began = time.monotonic()
        iterators.pop()
        waits.append(time.monotonic() - began)
    return waits


def read(tuned, count=60, ahead=10):
    """Seconds a batch, after some that fill what is read ahead."""
    iterator = iter(batches(tuned))
    for _ in range(ahead):
        next(iterator)
    began = time.perf_counter()
    for _ in range(count):
        next(iterator)
    return (time.perf_counter() - began) / count


def main():
    """Prints the two tables."""
    print(describe_machine())
    print(f"\n{'thread':<8}{'freed':>6}{'median ms':>11}{'over 1 s':>10}  longest s")
    left = []
    for tuned in (False, True):
        data = batches(tuned)
        left.append([iter(data) for _ in range(FLAGS.iterators)])
        waits = sorted(free(left[-1], FLAGS.seconds, FLAGS.limit))
        longest = " ".join(f"{wait:.1f}" for wait in waits[:-5:-1])
        late = sum(wait > 1 for wait in waits)
        name = "tuning" if tuned else "none"
        print(f"{name:<8}{len(waits):>6}{1e3 * statistics.median(waits):>11.2f}{late:>10}  {longest}", flush=True)
    seconds = {True: [], False: []}
    for _ in range(FLAGS.rounds):
        for tuned, of_kind in seconds.items():
            of_kind.append(read(tuned))
    ours, theirs = (1e3 * statistics.median(seconds[tuned]) for tuned in (False, True))
    print(f"\nbatch of {BATCH_SIZE}, ms: {ours:.2f} without the thread, {theirs:.2f} with it: {ours / theirs:.2f}")
    # The end of the process would wait for those that are left.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    command_line.run(main)
