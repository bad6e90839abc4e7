"""One block, its halting forced to a given map of units: every shape that activity can take.

Channel 0 of the features carries the wanted number of units through the block: no unit changes it, and every branch
reads hardly anything else.
"""

import contextlib
import functools
import random
from unittest import mock

import keras
import numpy as np
import pytest

from sact_tf import sparse
from sact_tf.layers import AdaptiveBlock, BasicUnit, BottleneckUnit, make_halting_branches
from sact_tf.sparse import blocks as engine_blocks
from sact_tf.sparse import tiles

UNITS, CHANNELS = 3, 12
HEIGHT, WIDTH = 6, 7
# Logits are this far from zero just before and in the unit that halts: probabilities .17 and .83. Well before, they
# are nearly zero, so that they add up to 1 - EPSILON in that unit, and not earlier.
LOGIT, EPSILON = 1.6, 0.2

bottleneck, basic = functools.partial(BottleneckUnit, CHANNELS, 5), functools.partial(BasicUnit, CHANNELS)
BLOCKS = {
    "bottleneck": ([bottleneck] * UNITS, None),
    "bottleneck, by tiles": ([bottleneck] * UNITS, None),
    "bottleneck, activated branches": ([bottleneck] * UNITS, "relu"),
    "basic, activated branches": ([basic] * UNITS, "leaky_relu"),
    "basic, whole maps": ([basic] * UNITS, "leaky_relu"),
    "basic among bottlenecks": ([bottleneck, basic, bottleneck], None),
}


def at(*positions, inside=UNITS, outside=1):
    units = np.full((2, HEIGHT, WIDTH), outside)
    for position in positions:
        units[position] = inside
    return units


def border():
    units = np.full((2, HEIGHT, WIDTH), UNITS)
    units[:, 1:-1, 1:-1] = 1
    return units


def random_units(seed, shape=(3, HEIGHT, WIDTH)):
    return np.random.default_rng(seed).integers(1, UNITS + 1, shape)


CHECKERBOARD = np.indices((2, HEIGHT, WIDTH)).sum(0) % 2
MAPS = {
    "all positions stay active": at(outside=UNITS),
    "all halt in the first unit": at(),
    "all halt midway": at(outside=2),
    "all halt midway but one": at((1, 3, 2), inside=3, outside=2),
    "one position stays active": at((1, 2, 3)),
    "a corner stays active": at((0, 0, 0)),
    "one position halts": at((0, 4, 5), inside=1, outside=UNITS),
    "a few halt, too few to be taken away": at((0, 4, 5), (1, 0, 0), inside=2, outside=UNITS),
    "only the border stays active": border(),
    "only the border halts": UNITS + 1 - border(),
    "checkerboard": np.where(CHECKERBOARD, UNITS, 1),
    "checkerboard that halts midway": np.where(CHECKERBOARD, UNITS, 2),
    "the first image halts": at(np.s_[1]),
    "the last image halts": at(np.s_[0]),
    "random": random_units(0),
    "random in two units": np.maximum(random_units(2), 2),
    "one row of positions": random_units(3, (2, 1, 9)),
    "one position in all": random_units(4, (1, 1, 1)),
}


def force(block, generator):
    """Halts a position in unit n where its channel 0 is `(n - 1) / (UNITS - 1)`."""
    for unit in block.units:
        last = unit.conv3 if isinstance(unit, BottleneckUnit) else unit.conv2
        last.kernel.assign(np.multiply(last.kernel, np.arange(CHANNELS) > 0))
        last.bias.assign(np.multiply(last.bias, np.arange(CHANNELS) > 0))
    slope = 2 * LOGIT * (UNITS - 1)
    for index, branch in enumerate(block.halting_branches):
        normalizations = [branch.global_bn, branch.local_bn] if block.model_type == "sact" else [branch.global_bn]
        for layer in normalizations:
            clear(layer.gamma, np.sqrt(layer.moving_variance[0] + layer.epsilon))
            clear(layer.beta)
            clear(layer.moving_mean)
        # The other channels and the neighbours count a little, enough to be noticed where they are wrong.
        reading = branch.local_conv if block.model_type == "sact" else branch.global_conv
        branch.global_conv.kernel.assign(generator.normal(0.0, 0.01, branch.global_conv.kernel.shape))
        kernel = generator.normal(0.0, 0.003, reading.kernel.shape)
        kernel[kernel.shape[0] // 2, kernel.shape[1] // 2, 0] = -slope
        reading.kernel.assign(kernel)
        reading.bias.assign([slope * (index + 0.5) / (UNITS - 1)])


def clear(variable, value=0.0):
    values = variable.numpy()
    values[0] = value
    variable.assign(values)


@pytest.fixture(scope="module")
def blocks(randomize):
    """Function from a kind of block and a model type to `(model, forward)`, made once."""

    @functools.cache
    def make(kind, model_type):
        random.seed(17)
        makers, activation = BLOCKS[kind]
        branches = make_halting_branches(model_type, UNITS, activation=activation)
        inputs = keras.Input((None, None, CHANNELS))
        block = AdaptiveBlock([make() for make in makers], model_type, epsilon=EPSILON, halting_branches=branches)
        model = keras.Model(inputs, block(inputs))
        force(randomize(block), np.random.default_rng(1))
        return model, functools.partial(model, training=False)

    return make


@pytest.fixture(scope="module")
def engines(blocks):
    """Function from the same to the engine, made once."""
    return functools.cache(lambda kind, model_type: compile_engine(blocks(kind, model_type)[0], kind))


def compile_engine(model, kind):
    # So few channels would always be computed everywhere, and so few positions one by one.
    by_tiles = contextlib.nullcontext()
    if kind == "bottleneck, by tiles":
        by_tiles = mock.patch.multiple(tiles, WIDE=1, FEWEST=1)
    narrow = CHANNELS + 1 if kind == "basic, whole maps" else 0
    with by_tiles, mock.patch.object(engine_blocks, "NARROW", narrow):
        engine = sparse.compile(model)
        engine(features_for(MAPS["random"], np.random.default_rng(0)))  # made while these hold
    return engine


def features_for(units, generator):
    """Features whose channel 0 asks for these units, int `(batch, height, width)`."""
    features = generator.normal(size=(*units.shape, CHANNELS))
    features[..., 0] = (units - 1) / (UNITS - 1)
    return features.astype("float32")


# Every map for the units and branches of our networks; for other mixtures those that take most ways through the engine.
CASES = [
    (kind, name) for kind in ("bottleneck", "bottleneck, by tiles", "basic, activated branches") for name in MAPS
] + [
    (kind, name)
    for kind in ("bottleneck, activated branches", "basic among bottlenecks")
    for name in ("random", "checkerboard that halts midway", "a few halt, too few to be taken away")
]


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_positions_that_halt_anywhere_are_computed_as_by_the_model(blocks, engines, assert_same, kind, name):
    units = MAPS[name]
    _, forward = blocks(kind, "sact")
    features = features_for(units, np.random.default_rng(7))
    expected = forward(features)
    np.testing.assert_array_equal(expected["num_units"], units)
    assert_same(engines(kind, "sact")(features), expected)


@pytest.mark.parametrize(
    "units", [(1,), (3,), (2, 2, 2), (1, 1), (3, 3), (3, 1, 2), (1, 2, 3, 2), (2, 3, 1, 1, 2)], ids=str
)
@pytest.mark.parametrize("kind", ["bottleneck", "basic, activated branches"])
def test_images_that_halt_leave_the_batch_and_come_back_in_order(blocks, engines, assert_same, kind, units):
    _, forward = blocks(kind, "act")
    maps = np.broadcast_to(np.reshape(units, (-1, 1, 1)), (len(units), HEIGHT, WIDTH))
    features = features_for(maps, np.random.default_rng(8))
    expected = forward(features)
    np.testing.assert_array_equal(expected["num_units"], units)
    assert_same(engines(kind, "act")(features), expected)


@pytest.mark.parametrize(
    ("kind", "model_type"),
    [("bottleneck", "sact"), ("basic, whole maps", "sact"), ("basic, activated branches", "act")],
)
def test_units_that_nothing_needs_are_not_executed(blocks, assert_same, kind, model_type):
    model, forward = blocks(kind, model_type)
    features = features_for(at(outside=UNITS - 1), np.random.default_rng(9))
    expected = forward(features)
    unit = model.layers[-1].units[-1]
    bias = (unit.conv3 if isinstance(unit, BottleneckUnit) else unit.conv2).bias
    sound = bias.numpy()
    bias.assign(np.full(bias.shape, 1e30))
    engine = compile_engine(model, kind)
    bias.assign(sound)
    assert_same(engine(features), expected)
    assert np.max(engine(features_for(at(outside=UNITS), np.random.default_rng(9)))["features"]) > 1e20
