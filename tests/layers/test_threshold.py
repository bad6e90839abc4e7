"""Blocks that halt at another threshold than their own, for a call, a trace or an engine."""

import copy
import json
import random

import keras
import numpy as np
import pytest
import tensorflow as tf

from sact_tf import cifar_resnet, halting, sparse
from sact_tf.layers import AdaptiveBlock, BasicUnit, halting_at

KINDS = ["act_early_stopping", "sact"]
# Units of ACT in each block at these thresholds, by hand.
UNITS = {0.01: [2, 4, 1], 0.4: [2, 3, 1], 0.75: [1, 1, 1]}


def network(model_type, spread_halting):
    random.seed(4)
    model = cifar_resnet("2_4_1", model_type, base_channels=4, image_shape=(12, 16, 3))
    # Of ACT, every unit has the halting probability sigmoid(-1) = 0.269.
    return spread_halting(model, bias=-1.0, gain=6.0 if model_type == "sact" else 0.0)


def own(model, epsilon):
    """The network, made to halt there from now on; what was traced before keeps what it has."""
    for block in model.blocks.values():
        block.epsilon = epsilon
    return model


def assert_equal(outputs, expected):
    for name, value in expected.items():
        np.testing.assert_allclose(outputs[name], value, rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("model_type", KINDS)
@pytest.mark.parametrize("engine", [False, True])
def test_one_function_halts_at_whatever_value_its_variable_has(model_type, engine, spread_halting, make_images):
    images = make_images(2, 12, 16)
    model = network(model_type, spread_halting)
    epsilon = tf.Variable(0.01, dtype=tf.float32)
    with halting_at(epsilon):
        function = sparse.compile(model) if engine else tf.function(model, autograph=False)
        function(images)
    traced, spent = {}, []
    for value in UNITS:
        epsilon.assign(value)
        traced[value] = function(images)
    for value, outputs in traced.items():
        assert_equal(outputs, own(model, value)(images))
        units = [float(tf.reduce_mean(tf.cast(outputs[f"{name}/num_units"], tf.float32))) for name in model.blocks]
        spent.append(sum(units))
        if model_type != "sact":
            assert units == UNITS[value]
    assert spent[0] > spent[1] > spent[2]


def test_a_float_holds_for_calls_within_and_for_all_blocks(spread_halting, make_images):
    images = make_images(2, 12, 16)
    model = network("sact", spread_halting)
    before = model(images)
    with halting_at(0.5):
        within = model(images)
    assert_equal(model(images), before)
    assert_equal(within, own(model, 0.5)(images))


def test_a_variable_is_the_same_threshold_as_a_float():
    # 1 - epsilon is computed in float64 of a float, in float32 of a variable.
    assert np.float32(1.0 - halting.EPSILON) == np.float32(1.0) - np.float32(halting.EPSILON)
    values = np.linspace(0.001, 0.999, 999)
    of_floats, of_variables = (1.0 - values).astype("float32"), np.float32(1.0) - values.astype("float32")
    assert np.abs(of_floats - of_variables).max() <= np.finfo("float32").eps / 2


def test_a_block_keeps_its_own_and_is_saved_with_it():
    block = AdaptiveBlock([BasicUnit(4), BasicUnit(4)], "sact", epsilon=0.2)
    with halting_at(tf.Variable(0.3)):
        assert float(block.epsilon) == pytest.approx(0.3)
        assert block.get_config()["epsilon"] == block.own_epsilon == 0.2
    assert block.epsilon == 0.2
    block.epsilon = 0.25
    assert AdaptiveBlock.from_config(block.get_config()).epsilon == 0.25


@pytest.mark.parametrize("copied", ["deepcopy", "config", "file"])
def test_a_network_keeps_the_thresholds_that_its_blocks_were_set_to(copied, tmp_path):
    model = cifar_resnet("1", "sact", base_channels=2)
    model.blocks["block_2"].epsilon = np.float32(0.25)
    if copied == "deepcopy":
        other = copy.deepcopy(model)
    elif copied == "config":
        other = type(model).from_config(json.loads(json.dumps(model.get_config())))
    else:
        model.save(tmp_path / "model.keras")
        other = keras.saving.load_model(tmp_path / "model.keras")
    assert [block.epsilon for block in other.blocks.values()] == [0.01, 0.25, 0.01]


@pytest.mark.parametrize("value", [0, 1, -0.1, 1.5, float("nan"), "0.1", None])
def test_what_is_no_threshold_is_refused(value):
    block = AdaptiveBlock([BasicUnit(4)], "sact")
    with pytest.raises(ValueError, match=rf"`epsilon` must lie strictly between 0 and 1.*{halting.EPSILON}"):
        block.epsilon = value
    with pytest.raises(ValueError, match="`epsilon` must lie strictly between 0 and 1"), halting_at(value):
        pass
    assert block.epsilon == halting.EPSILON


@pytest.mark.parametrize("value", [np.float32(1.5), np.float64("nan"), np.zeros(()), tf.constant(1.5)])
def test_numbers_of_other_libraries_are_looked_at_too(value):
    with pytest.raises(ValueError, match="`epsilon` must"), halting_at(value):
        pass


@pytest.mark.parametrize(
    "value", [tf.Variable(0.3, dtype="float64"), tf.constant([0.3]), np.array([0.1, 0.2], "float32")]
)
def test_thresholds_of_another_dtype_or_shape_are_refused(value):
    with pytest.raises(ValueError, match="`epsilon` must be a number, or a float32 scalar"), halting_at(value):
        pass


def test_tensors_of_a_graph_are_thresholds():
    features = np.ones((1, 4, 4, 3), "float32")
    block = AdaptiveBlock([BasicUnit(3), BasicUnit(3)], "act")
    block(features)

    @tf.function
    def units(epsilon):
        with halting_at(epsilon):
            return block(features)["num_units"]

    assert units(tf.constant(0.999)) == 1
    assert units(tf.constant(0.001)) == 2


def test_replicas_halt_there_too():
    features = np.ones((1, 4, 4, 3), "float32")
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        block = AdaptiveBlock([BasicUnit(3), BasicUnit(3)], "act")
        block.build(features.shape)

    def units():
        return [int(value[0]) for value in strategy.run(lambda: block(features)["num_units"]).values]

    with halting_at(0.999):
        assert units() == [1, 1]
    assert units() == [2, 2]


def test_epsilon_that_is_set_takes_effect_in_what_is_compiled_after_that(make_images):
    images = make_images(2, 4, 4)
    features = keras.Input((4, 4, 3))
    block = AdaptiveBlock([BasicUnit(3), BasicUnit(3)], "sact")
    model = keras.Model(features, block(features)["num_units"])
    block.halting_branches[0].local_conv.bias.assign([0.0])
    seen = [model.predict(images, verbose=0).mean()]
    block.epsilon = 0.99
    seen.append(model.predict(images, verbose=0).mean())
    model.compile()
    seen.append(model.predict(images, verbose=0).mean())
    assert seen == [2, 2, 1]
