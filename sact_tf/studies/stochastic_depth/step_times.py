"""How long a training step takes under constant and under stochastic depth: both in turns, so that what else the
machine does meets them alike.
"""

import random
import statistics
import time
from typing import NamedTuple

import keras

from sact_tf.data import pipeline
from sact_tf.tasks import task_of
from sact_tf.training.strategies import make_strategy
from sact_tf.training.trainer import Trainer

# Before anything is timed; the first traces.
WARM_UP_STEPS = 3
# The Trainer's name of an image's FLOPs, forward and backward, of the units that ran; only there where some may not.
_RAN, _FORWARD = "Training Flops/mean", "Total Flops/mean"


class StepTime(NamedTuple):
    """What a training step takes.

    Attributes:
        seconds: float, median over the rounds of the mean step of a round.
        flops: float, of an image, forward and backward, of the units that ran; mean over all timed steps.
    """

    seconds: float
    flops: float


def measure(configs, rounds, steps, log):
    """Trains a copy of each network for a few steps, which are thrown away.

    Args:
        configs: dict from names to `TrainingConfig`s of one data set and batch size.
        rounds: int, how often each is timed, in an order of its own each time.
        steps: int, training steps of a round: each draws its own units.
        log: called with lines of text.

    Returns:
        dict from the names to `StepTime`s.
    """
    trainers, seconds, flops = {}, {name: [] for name in configs}, {name: [] for name in configs}
    for name, config in configs.items():
        batch = _first_batch(config)
        keras.utils.set_random_seed(config.seed)
        trainers[name] = Trainer(config, make_strategy("one", ""))
        log(f"Timing steps: tracing {name}")
        float(trainers[name].train_step(batch)["loss"])
    # Not before all are made: setting the seed for the next one makes TensorFlow prepare traced functions once more.
    for trainer in trainers.values():
        for _ in range(WARM_UP_STEPS - 1):
            float(trainer.train_step(batch)["loss"])
    order = random.Random(0)
    for number in range(1, rounds + 1):
        for name in order.sample(list(trainers), len(trainers)):
            begin = time.perf_counter()
            results = [trainers[name].train_step(batch) for _ in range(steps)]
            float(results[-1]["loss"])
            seconds[name].append((time.perf_counter() - begin) / steps)
            flops[name] += [float(each.get(_RAN, 3 * each[_FORWARD])) for each in results]
        log(f"Timing steps: round {number} of {rounds}")
    return {name: StepTime(statistics.median(seconds[name]), statistics.fmean(flops[name])) for name in configs}


def _first_batch(config):
    source = task_of(config.dataset).open_source(
        config.dataset, "train", config.image_size, dataset_dir=config.dataset_dir
    )
    batches = pipeline.training_batches(
        source, config.batch_size, config.seed, 0, skip_bad_records=config.skip_bad_records
    )
    return next(iter(batches))
