"""What the tests of runs share: a run's directory, and what several replicas should give."""

import os
import time
import types

import numpy as np
import pytest
import tensorflow as tf

from sact_tf.data import pipeline
from sact_tf.training.trainer import Trainer


@pytest.fixture(scope="session")
def saved():
    """Functions on a run's checkpoints: `wait_for_step(directory, step, process)` and `read_all(directory)`."""
    return types.SimpleNamespace(wait_for_step=_wait_for_step, read_all=_read_all)


def _wait_for_step(directory, step, process):
    """Waits until a checkpoint of at least `step` is complete."""
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline and process.poll() is None:
        latest = tf.train.latest_checkpoint(directory) if os.path.isdir(directory) else None
        if latest and int(latest.rpartition("-")[2]) >= step:
            return
        time.sleep(0.01)
    raise AssertionError(f"no checkpoint of step {step}: {process.communicate()[0]}")


def _read_all(directory):
    """Dict from the names of all that the latest checkpoint holds to arrays."""
    reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(directory))
    names = [name for name in reader.get_variable_to_shape_map() if not name.startswith(("_CHECKPOINTABLE", "save_c"))]
    return {name: reader.get_tensor(name) for name in names}


@pytest.fixture(scope="session")
def split_batch_losses():
    """Function of a configuration and the number of replicas to the losses of each step."""
    return _split_batch_losses


def _split_batch_losses(run_config, replicas):
    """Losses of each step where every replica has, and normalizes, its part of the batch by itself, one by one."""
    tf.keras.utils.set_random_seed(run_config.seed)
    trainer = Trainer(run_config, tf.distribute.get_strategy())
    draws = getattr(trainer.task, "DRAWS", False)
    source = pipeline.open_source(run_config.dataset, "train", run_config.image_size)
    batches = pipeline.training_batches(source, run_config.batch_size, run_config.seed, 0)
    share, losses = run_config.batch_size // replicas, []
    for step, batch in enumerate(batches.take(run_config.max_number_of_steps)):
        parts = []
        for first in range(0, run_config.batch_size, share):
            if draws:
                # Which boxes are drawn is up to the number of an image among those of all replicas.
                numbers = (run_config.seed, tf.constant(step, tf.int64), first + tf.range(share))
                trainer._draws = lambda batch, numbers=numbers: {"draws": numbers}
            parts.append(trainer._gradients({name: value[first : first + share] for name, value in batch.items()}))
        losses.append(np.mean([float(results["loss"]) for _, results in parts]))
        means = [tf.add_n(list(gradients)) / replicas for gradients in zip(*(part[0] for part in parts), strict=True)]
        trainer.optimizer.apply(means, trainer.model.trainable_variables)
    return losses
