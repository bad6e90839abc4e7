"""Maps that are padded: what an image has alone it has beside larger ones, and nothing is read of the padding."""

import functools
import random

import numpy as np
import pytest

from sact_tf.layers import AdaptiveBlock, BasicUnit, BottleneckUnit, GlobalHaltingBranch, SpatialHaltingBranch
from sact_tf.layers.parts import spatial_mean
from sact_tf.layers.unit_rules import UnitRule, run_units_by

TYPES = ("vanilla", "act", "act_early_stopping", "sact")


def make_block(model_type, stride=2):
    random.seed(3)
    units = [BottleneckUnit(8, 4, stride=stride), BottleneckUnit(8, 4), BottleneckUnit(8, 4)]
    block = AdaptiveBlock(units, model_type)
    block.build((None, None, None, 6))
    generator = np.random.default_rng(5)
    for variable in block.variables:
        # Branches that halt here and there, and statistics of a network that was trained.
        spread = 2.0 if "local_conv/kernel" in variable.path or "global_conv/kernel" in variable.path else 0.3
        value = generator.normal(0, spread, variable.shape)
        variable.assign(np.abs(value) + 0.3 if "variance" in variable.path else value)
    return block


def padded(small, size, filling):
    """Features and picture of a batch of a small image and a larger one, which has it as its first part."""
    generator = np.random.default_rng(1)
    large = generator.normal(size=(*size, small.shape[-1])).astype("float32")
    beside = np.full_like(large, filling)
    beside[: small.shape[0], : small.shape[1]] = small
    picture = np.zeros((2, *size, 1), bool)
    picture[0, : small.shape[0], : small.shape[1]] = True
    picture[1] = True
    return np.stack([beside, large]), picture


@pytest.fixture(scope="module")
def blocks():
    """Function from a model type to the block, made once."""
    return functools.cache(make_block)


@pytest.mark.parametrize("model_type", TYPES)
@pytest.mark.parametrize("filling", [7.0, np.nan])
def test_an_image_has_beside_a_larger_one_what_it_has_alone(blocks, model_type, filling):
    block = blocks(model_type)
    small = np.random.default_rng(0).normal(size=(5, 6, 6)).astype("float32")
    features, picture = padded(small, (8, 10), filling)
    alone = block(small[None])
    beside = block(features, picture=picture)
    larger = block(features[1:])
    assert set(beside) == set(alone)
    for name, expected in alone.items():
        actual, expected = np.asarray(beside[name]), np.asarray(expected)[0]
        # Of maps, the part of the picture; an image as a whole has no other.
        part = actual[0, :3, :3] if expected.ndim > 1 else actual[0]
        np.testing.assert_allclose(part, expected, atol=2e-5, err_msg=name)
        np.testing.assert_allclose(actual[1], np.asarray(larger[name])[0], atol=2e-5, err_msg=name)
    if model_type == "sact":
        assert len(np.unique(alone["num_units"])) > 1
        outside = np.ones((4, 5), bool)
        outside[:3, :3] = False
        for name in ("num_units", "ponder_cost", "halting_distribution"):
            assert not np.asarray(beside[name])[0][outside].any(), name


@pytest.mark.parametrize("filling", [7.0, np.finfo("float32").min])
def test_what_is_left_of_a_unit_that_does_not_run_reads_nothing_of_the_padding(blocks, filling):
    block = blocks("vanilla")
    unit = block.units[0]
    small = np.random.default_rng(0).normal(size=(5, 6, 6)).astype("float32")
    features, picture = padded(small, (8, 10), filling)
    with run_units_by({id(block): UnitRule(kept=np.zeros(3, bool))}):
        actual = np.asarray(block(features, training=True, picture=picture)["features"])
    assert np.isfinite(actual).all()
    # With other statistics of the batch, the mean over its picture, it would be another one.
    inside = features[picture[..., 0]]
    normalized = (features - inside.mean(0)) / np.sqrt(inside.var(0) + unit.norm_epsilon)
    preact = np.maximum(normalized * unit.preact.gamma + unit.preact.beta, 0)
    expected = np.asarray(unit.shortcut(preact.astype("float32")))
    np.testing.assert_allclose(actual[0, :3, :3], expected[0, :3, :3], atol=2e-5)
    np.testing.assert_allclose(actual[1], expected[1], atol=2e-5)


@pytest.mark.parametrize("branch", [GlobalHaltingBranch, SpatialHaltingBranch])
@pytest.mark.parametrize("activation", [None, "relu"])
@pytest.mark.parametrize("training", [False, True])
def test_branches_read_nothing_of_the_padding(branch, activation, training):
    random.seed(1)
    layer = branch(activation=activation)
    small = np.random.default_rng(0).normal(size=(3, 4, 6)).astype("float32")
    features, picture = padded(small, (5, 6), 9.0)
    layer.build(features.shape)
    layer.trainable = False
    alone = layer(small[None], training=training)
    beside = np.asarray(layer(features, training=training, picture=picture))[:1, :3, :4]
    np.testing.assert_allclose(beside, alone, atol=1e-5)


@pytest.mark.parametrize("model_type", ["vanilla", "sact"])
def test_statistics_are_those_of_the_picture(model_type):
    blocks = [make_block(model_type) for _ in range(2)]
    small = np.random.default_rng(0).normal(size=(5, 6, 6)).astype("float32")
    features, picture = padded(small, (8, 10), np.nan)
    alone = blocks[0](small[None], training=True)["features"]
    beside = blocks[1](features[:1], training=True, picture=picture[:1])["features"]
    np.testing.assert_allclose(beside[:, :3, :3], alone, atol=1e-4)
    for first, second in zip(*(block.non_trainable_variables for block in blocks), strict=True):
        np.testing.assert_allclose(second, first, atol=1e-5, err_msg=first.path)


def test_no_gradient_reaches_the_padding():
    import tensorflow as tf

    block = make_block("sact")
    small = np.random.default_rng(0).normal(size=(6, 6, 6)).astype("float32")
    features, picture = padded(small, (8, 8), 7.0)
    features = tf.constant(features)
    with tf.GradientTape() as tape:
        tape.watch(features)
        outputs = block(features, picture=picture)
        total = tf.reduce_sum(tf.where(picture[:, ::2, ::2], outputs["features"], 0.0))
        total += tf.reduce_sum(outputs["ponder_cost"])
    gradient = tape.gradient(total, features).numpy()
    assert np.isfinite(gradient).all() and gradient[picture[..., 0]].any(axis=-1).all()
    assert not gradient[~picture[..., 0]].any()


def test_the_mean_is_that_of_the_picture():
    features = np.arange(12, dtype="float32").reshape(1, 3, 4, 1)
    picture = np.zeros((1, 3, 4, 1), bool)
    picture[:, :2, :2] = True
    np.testing.assert_allclose(spatial_mean(features, picture), [[[[(0 + 1 + 4 + 5) / 4]]]])
    assert not np.asarray(spatial_mean(features, np.zeros_like(picture))).any()


def test_units_that_know_nothing_of_padding_are_refused():
    block = AdaptiveBlock([BasicUnit(4), BasicUnit(4)], "vanilla", name="theirs")
    with pytest.raises(ValueError, match=r"BasicUnit.*Give its `call` an argument `picture`"):
        block(np.zeros((1, 4, 4, 4), "float32"), picture=np.ones((1, 4, 4, 1), bool))


def test_a_cost_that_would_count_padding_is_refused():
    block = AdaptiveBlock([BottleneckUnit(4, 2)] * 1, "sact", ponder_weight=0.1)
    with pytest.raises(ValueError, match="its mean would count padding"):
        block(np.zeros((1, 4, 4, 4), "float32"), picture=np.ones((1, 4, 4, 1), bool))
