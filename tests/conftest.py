"""What every test shares: quiet logs, a fixed seed, two logical devices, the original release's figures."""

import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pytest
import tensorflow as tf

from sact_tf import processor

# Commands that tests start compute as this process does: they are compared with it.
os.environ.setdefault(processor.SWITCH, str(int(bool(processor.uses_onednn()))))
tf.get_logger().setLevel("ERROR")
if not tf.config.list_physical_devices("GPU"):
    # Two replicas for MirroredStrategy; has to come before TensorFlow first computes.
    tf.config.set_logical_device_configuration(
        tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
    )


@pytest.fixture(autouse=True)
def seed():
    keras.utils.set_random_seed(17)


@pytest.fixture(scope="session")
def reference():
    """Folder of the figures that the original release gave on TensorFlow 1.0."""
    beside = pathlib.Path(__file__).resolve().parents[1] / ".." / "shared" / "reference"
    folder = pathlib.Path(os.environ.get("SACT_TF_REFERENCE", beside)).expanduser()
    if not (folder / "README.md").exists():
        pytest.skip(f"no reference figures at {folder}; point SACT_TF_REFERENCE to them")
    return folder


@pytest.fixture(scope="session")
def make_images():
    """Function from a shape to smooth float images in [-1, 1], all different, the same ones every time."""

    def make(batch, height, width, channels=3, seed=5):
        generator = np.random.default_rng(seed)
        coarse = generator.uniform(-1, 1, (batch, -(-height // 4), -(-width // 4), channels))
        blocks = coarse.repeat(4, axis=1).repeat(4, axis=2)[:, :height, :width]
        return (0.8 * blocks + 0.2 * generator.uniform(-1, 1, blocks.shape)).astype("float32")

    return make


@pytest.fixture(scope="session")
def spread_halting():
    """Function that sets every halting branch below a layer so that decisions halt at different units.

    A fresh branch hardly ever halts. Its batch normalization starts with a moving mean of zero, so its logits have no
    particular scale; the steep kernel makes them differ from one position, or image, to the next.
    """

    def spread(*layers, bias=-0.5, gain=3.0, seed=11):
        generator = np.random.default_rng(seed)
        for layer in layers:
            for variable in layer.variables:
                if "halting_branch" not in variable.path:
                    continue
                if variable.name == "kernel":
                    fan_in = np.prod(variable.shape[:-1])
                    variable.assign(generator.normal(size=variable.shape) * gain / np.sqrt(fan_in))
                elif variable.name == "bias":
                    variable.assign(np.full(variable.shape, bias))
        return layers[0]

    return spread
