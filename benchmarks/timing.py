"""Timing for the benchmarks: calls taken in turns, ratios, and the machine they were taken on."""

import os
import random
import statistics
import time
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from sact_tf import processor


class Seconds(NamedTuple):
    """What one call took.

    Attributes:
        wall: seconds that passed.
        processor: seconds of all threads of this process together; other programs on the machine disturb it less.
    """

    wall: float
    processor: float


def interleave(calls, rounds, warm_up=2, progress=None):
    """Times several calls in turns, so that whatever else the machine does meets all of them alike.

    Args:
        calls: dict from a name to a function without arguments that blocks until its result is there.
        rounds: int, how often each one is timed; every round has an order of its own.
        warm_up: int, calls of each before the first timed one (the first traces and compiles).
        progress: function of a text, called as the work goes on, or `None`.

    Returns:
        dict from the names to lists of `rounds` `Seconds`.
    """
    progress = progress or (lambda text: None)
    for name, call in calls.items():
        progress(f"warming up {name}")
        for _ in range(warm_up):
            call()
    order, seconds = random.Random(0), {name: [] for name in calls}
    for index in range(rounds):
        for name in order.sample(list(calls), len(calls)):
            wall, processor = time.perf_counter(), time.process_time()
            calls[name]()
            seconds[name].append(Seconds(time.perf_counter() - wall, time.process_time() - processor))
        progress(f"round {index + 1} of {rounds}")
    return seconds


def fetch(outputs):
    """Outputs as arrays of NumPy, in the nesting that they have; they have been computed then."""
    return tf.nest.map_structure(np.asarray, outputs)


def median(seconds, clock="wall"):
    """Median over the rounds of one `clock`, "wall" or "processor", in seconds."""
    return statistics.median(getattr(second, clock) for second in seconds)


def ratio(seconds, baseline, clock="wall"):
    """How many times as long as `baseline` a call took: the quotient of the medians."""
    return median(seconds, clock) / median(baseline, clock)


def describe_machine():
    """One line: processor, cores, accelerators, versions, oneDNN and thread counts."""
    devices = tf.config.list_physical_devices("GPU")
    names = [tf.config.experimental.get_device_details(device).get("device_name", "GPU") for device in devices]
    threads = tf.config.threading
    return (
        f"{processor.describe()}, {os.cpu_count()} cores, accelerators: {', '.join(names) or 'none'}; "
        f"TensorFlow {tf.__version__}, Keras {keras.__version__}, oneDNN "
        f"{'on' if processor.uses_onednn() else 'off'}; threads "
        f"{threads.get_intra_op_parallelism_threads() or 'auto'} within, "
        f"{threads.get_inter_op_parallelism_threads() or 'auto'} between operations"
    )
