"""TensorFlow's own checkpoints, of people with a training loop of their own, have all variables of a block."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from sact_tf.layers import AdaptiveBlock, BasicUnit


def make_block(model_type, **kwargs):
    return AdaptiveBlock([BasicUnit(4) for _ in range(2)], model_type, **kwargs)


def built(block):
    features = keras.Input((3, 5, 4))
    return keras.Model(features, block(features))


KINDS = [("sact", {}), ("vanilla", {"survival_probabilities": [1.0, 0.5]})]


@pytest.mark.parametrize(("model_type", "kwargs"), KINDS, ids=["sact", "stochastic depth"])
def test_checkpoint_of_tensorflow_has_every_variable(model_type, kwargs, tmp_path):
    model = built(make_block(model_type, **kwargs))
    for number, variable in enumerate(model.variables):
        variable.assign(np.full(variable.shape, number + 2))
    path = tf.train.Checkpoint(model=model).write(str(tmp_path / "model"))
    twin = built(make_block(model_type, **kwargs))
    tf.train.Checkpoint(model=twin).read(path).assert_consumed()
    for number, variable in enumerate(twin.variables):
        assert (variable.numpy() == number + 2).all(), variable.path


def test_checkpoint_may_be_read_before_the_block_is_built(tmp_path):
    block, twin = make_block("act"), make_block("act")
    built(block)
    kernel = block.units[1].conv2.kernel
    path = tf.train.Checkpoint(block=block).write(str(tmp_path / "block"))
    tf.train.Checkpoint(block=twin).read(path)
    built(twin)
    np.testing.assert_array_equal(twin.units[1].conv2.kernel, kernel)
