"""What the tests of runs ask of a run's directory."""

import os
import time
import types

import pytest
import tensorflow as tf


@pytest.fixture(scope="session")
def saved():
    """Functions on a run's checkpoints: `wait_for_step(directory, step, process)` and `read_all(directory)`."""
    return types.SimpleNamespace(wait_for_step=_wait_for_step, read_all=_read_all)


def _wait_for_step(directory, step, process):
    """Waits until a checkpoint of at least `step` is complete."""
    deadline = time.monotonic() + 120
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
