"""What the tests of detection share: figures of a public implementation, and ways to run a function."""

import numpy as np
import pytest
import tensorflow as tf


@pytest.fixture(scope="session")
def figures(reference):
    """Function from a file's name to its arrays, as the TF Object Detection API computed them on TensorFlow 1.8."""
    loaded = {}

    def load(name):
        if name not in loaded:
            with np.load(reference / "detection" / f"{name}.npz") as arrays:
                loaded[name] = {key: arrays[key] for key in arrays.files}
        return loaded[name]

    return load


@pytest.fixture(params=["graph", "xla"])
def way(request):
    """Function that makes another one run as a graph, or compiled by XLA; tests without it run eagerly."""
    return lambda function: tf.function(function, jit_compile=request.param == "xla", autograph=False)


@pytest.fixture
def compiled():
    """Function that has XLA compile another one."""
    return lambda function: tf.function(function, jit_compile=True, autograph=False)
