"""Every layer and every model, listed once, each put through the same properties.

A new one gets all of them by a line in `SPECIMENS`.
"""

import functools
import random
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import sact_tf
from sact_tf.layers import AdaptiveBlock, BasicUnit, BottleneckUnit, GlobalHaltingBranch, SpatialHaltingBranch
from sact_tf.layers.parts import leaky_relu
from sact_tf.models import CifarBackbone, ImageNetBackbone


class Specimen(NamedTuple):
    """How to make it, given a dtype policy, and what it is fed."""

    make: Callable
    channels: int = 6
    size: tuple = (5, 7)


def bottleneck(number, dtype):
    return BottleneckUnit(8, 4, norm_momentum=0.8, dtype=dtype, name=f"unit_{number}")


def basic(number, dtype):
    return BasicUnit(6, norm_momentum=0.8, dtype=dtype, name=f"unit_{number}")


def adaptive_block(model_type, unit, count, ponder_weight=None, dtype=None):
    units = [unit(number, dtype) for number in range(count)]
    return AdaptiveBlock(units, model_type, ponder_weight=ponder_weight, epsilon=0.02, dtype=dtype)


imagenet = functools.partial(
    sact_tf.imagenet_resnet, "2_1_1_1", num_classes=5, base_channels=2, tau=0.01, label_smoothing=0.2
)
cifar = functools.partial(sact_tf.cifar_resnet, "2_1_1", num_classes=5, base_channels=2, image_shape=(None, None, 3))
partial = functools.partial

SPECIMENS = {
    "BasicUnit": Specimen(partial(BasicUnit, 6, norm_momentum=0.8)),
    "BasicUnit stride 2": Specimen(partial(BasicUnit, 10, stride=2, norm_epsilon=1e-4)),
    "BasicUnit activated shortcut": Specimen(partial(BasicUnit, 6, activated_shortcut=True, weight_decay=1e-3)),
    "BottleneckUnit": Specimen(partial(BottleneckUnit, 6, 2, norm_momentum=0.8)),
    "BottleneckUnit stride 2": Specimen(partial(BottleneckUnit, 6, 2, stride=2, norm_epsilon=1e-4)),
    "BottleneckUnit projecting": Specimen(partial(BottleneckUnit, 8, 2, weight_decay=1e-3)),
    "BottleneckUnit stride 2 projecting": Specimen(partial(BottleneckUnit, 8, 2, stride=2)),
    "GlobalHaltingBranch": Specimen(partial(GlobalHaltingBranch, initial_bias=-1.0)),
    "GlobalHaltingBranch activated": Specimen(partial(GlobalHaltingBranch, activation=leaky_relu)),
    "SpatialHaltingBranch": Specimen(partial(SpatialHaltingBranch, initial_bias=-1.0, norm_momentum=0.8)),
    "SpatialHaltingBranch activated": Specimen(partial(SpatialHaltingBranch, activation="relu", norm_momentum=0.8)),
    "AdaptiveBlock vanilla": Specimen(partial(adaptive_block, "vanilla", basic, 2)),
    "AdaptiveBlock act": Specimen(partial(adaptive_block, "act", basic, 3)),
    "AdaptiveBlock act_early_stopping": Specimen(partial(adaptive_block, "act_early_stopping", basic, 3)),
    "AdaptiveBlock sact": Specimen(partial(adaptive_block, "sact", bottleneck, 3)),
    "AdaptiveBlock with ponder weight": Specimen(partial(adaptive_block, "sact", basic, 2, ponder_weight=0.02)),
    "AdaptiveBlock of one unit": Specimen(partial(adaptive_block, "sact", bottleneck, 1)),
    "ImageNetBackbone": Specimen(partial(ImageNetBackbone, (2, 1, 1, 1), "sact", 2), 3, (33, 47)),
    "CifarBackbone": Specimen(partial(CifarBackbone, (2, 1, 1), "sact", 2, (None, None, 3), stem_stride=2), 3, (9, 14)),
    "imagenet_resnet vanilla": Specimen(partial(imagenet, "vanilla"), 3, (33, 47)),
    "imagenet_resnet act": Specimen(partial(imagenet, "act"), 3, (33, 47)),
    "imagenet_resnet act_early_stopping": Specimen(partial(imagenet, "act_early_stopping"), 3, (33, 47)),
    "imagenet_resnet sact": Specimen(partial(imagenet, "sact"), 3, (33, 47)),
    "cifar_resnet vanilla": Specimen(partial(cifar, "vanilla"), 3, (9, 6)),
    "cifar_resnet act": Specimen(partial(cifar, "act"), 3, (9, 6)),
    "cifar_resnet act_early_stopping": Specimen(partial(cifar, "act_early_stopping"), 3, (9, 6)),
    "cifar_resnet sact": Specimen(partial(cifar, "sact"), 3, (9, 6)),
}

# Under mixed precision these keep full precision, everything else is in the compute dtype.
EXACT_DTYPES = {
    "probability": "float32",
    "ponder_cost": "float32",
    "halting_distribution": "float32",
    "logits": "float32",
    "predictions": "float32",
    "num_units": "int32",
    "image_size": "int32",
}


def as_model(layer, channels):
    """The model itself, or a layer between an input of unknown size and an output."""
    if isinstance(layer, keras.Model):
        return layer
    inputs = keras.Input((None, None, channels))
    return keras.Model(inputs, layer(inputs))


def named(outputs, specimen_name):
    if isinstance(outputs, dict):
        return {name: np.array(value) for name, value in outputs.items()}
    return {"probability" if "Branch" in specimen_name else "features": np.array(outputs)}


def assert_equal(ours, theirs, tolerance=1e-5):
    assert set(ours) == set(theirs)
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, rtol=tolerance, atol=tolerance, err_msg=name)


def copy_weights(target, source):
    for variable, value in zip(target.variables, source.variables, strict=True):
        variable.assign(value)


class Prepared:
    """A specimen, built, with halting that differs between positions, and what it computes from some images."""

    def __init__(self, name, make_images, spread_halting):
        self.name, self.specimen = name, SPECIMENS[name]
        self.layer = self.specimen.make()
        self.model = as_model(self.layer, self.specimen.channels)
        self.make_images = make_images
        self.images = self.images_of(3, *self.specimen.size)
        spread_halting(self.model, bias=-1.5)
        self.outputs = self.run(self.model, self.images)

    def images_of(self, batch, height, width):
        return self.make_images(batch, height, width, self.specimen.channels)

    def run(self, function, images, **kwargs):
        return named(function(tf.constant(images), **kwargs), self.name)

    @functools.cached_property
    def traced(self):
        """One trace that serves images of all sizes."""
        signature = [tf.TensorSpec((None, None, None, self.specimen.channels), "float32")]
        return tf.function(lambda images: self.model(images, training=False), input_signature=signature)


# The rest of the models, and second variants of layers, go through what takes long, graphs, in `make test-all`.
THOROUGH = {"imagenet_resnet act_early_stopping", "cifar_resnet sact"}
SECOND = {name for name in SPECIMENS if "activated" in name} | {"BottleneckUnit", "BottleneckUnit projecting"}
GRAPHS = pytest.mark.parametrize(
    "prepared",
    [
        name
        if name in THOROUGH or (specimen.channels != 3 and name not in SECOND)
        else pytest.param(name, marks=pytest.mark.slow)
        for name, specimen in SPECIMENS.items()
    ],
    indirect=True,
    scope="module",
)


@pytest.fixture(scope="module", params=SPECIMENS)
def prepared(request, make_images, spread_halting):
    # A module's fixtures come before the seed of each test.
    random.seed(17)
    return Prepared(request.param, make_images, spread_halting)


def test_config_round_trip_and_reload(prepared, tmp_path):
    prepared.model.save(tmp_path / "model.keras")
    reloaded = keras.models.load_model(tmp_path / "model.keras", safe_mode=True)
    layer = prepared.layer
    twin = reloaded if isinstance(layer, keras.Model) else type(layer).from_config(layer.get_config())
    assert twin.get_config() == layer.get_config()
    # What both leave out would be the default.
    for name in prepared.specimen.make.keywords:
        if hasattr(layer, name):
            assert getattr(twin, name) == getattr(layer, name), name
    assert_equal(prepared.run(reloaded, prepared.images), prepared.outputs)


def test_frozen_stays_frozen_in_a_copy(prepared):
    _, *parts = prepared.model._flatten_layers()
    flags = [layer.trainable for layer in parts]
    # Down to single convolutions: every third layer, and what is in it.
    for layer in parts[1::3]:
        layer.trainable = False
    try:
        expected = [layer.trainable for layer in prepared.model._flatten_layers()]
        # Files and `copy.deepcopy` go through the config as well.
        twin = type(prepared.model).from_config(prepared.model.get_config())
        assert [layer.trainable for layer in twin._flatten_layers()] == expected
    finally:
        for layer, trainable in zip(parts, flags, strict=True):
            layer.trainable = trainable


@pytest.mark.parametrize("policy", ["mixed_bfloat16", pytest.param("mixed_float16", marks=pytest.mark.slow)])
def test_mixed_precision(prepared, policy):
    model = as_model(prepared.specimen.make(dtype=policy), prepared.specimen.channels)
    outputs = model(prepared.images, training=False)
    outputs = outputs if isinstance(outputs, dict) else {next(iter(prepared.outputs)): outputs}
    for name, value in outputs.items():
        expected = EXACT_DTYPES.get(name.rpartition("/")[2], policy.removeprefix("mixed_"))
        assert keras.backend.standardize_dtype(value.dtype) == expected, name
        assert np.isfinite(ops.cast(value, "float32")).all(), name
    assert {variable.dtype for variable in model.trainable_variables} == {"float32"}


@GRAPHS
def test_xla_compiles_to_the_same_numbers(prepared):
    compiled = tf.function(lambda images: prepared.model(images, training=False), jit_compile=True)
    assert_equal(prepared.run(compiled, prepared.images), prepared.outputs)


# Of other networks, tests/test_export.py shows that a trace serves every size, and tests/sparse the engine.
@GRAPHS
def test_one_trace_serves_every_size(prepared):
    height, width = prepared.specimen.size
    for batch, size in ((1, (height + 4, width)), (4, (height + 1, width + 3))):
        images = prepared.images_of(batch, *size)
        expected = prepared.run(prepared.model, images, training=False)
        assert_equal(prepared.run(prepared.traced, images), expected)


@GRAPHS
def test_a_saved_model_computes_the_same(prepared, tmp_path):
    module = tf.Module()
    module.state = [variable.value for variable in prepared.model.variables]
    module.serve = prepared.traced
    tf.saved_model.save(module, str(tmp_path))
    reloaded = tf.saved_model.load(str(tmp_path))
    assert_equal(prepared.run(reloaded.serve, prepared.images), prepared.outputs)


@GRAPHS
def test_the_engine_computes_the_same_of_any_size_or_says_that_there_are_no_blocks(prepared):
    if not any(isinstance(layer, AdaptiveBlock) for layer in (prepared.layer, *prepared.model._flatten_layers())):
        with pytest.raises(ValueError, match="The engine speeds up AdaptiveBlocks"):
            sact_tf.sparse.compile(prepared.model)
        return
    height, width = prepared.specimen.size
    engine = sact_tf.sparse.compile(prepared.model)
    for images in (prepared.images, prepared.images_of(2, height + 5, width + 2)):
        assert_equal(prepared.run(engine, images), prepared.run(prepared.model, images, training=False), 1e-4)


@GRAPHS
def test_trains_under_a_mirrored_strategy(prepared):
    devices = [device.name for device in tf.config.list_logical_devices("CPU")]
    strategy = tf.distribute.MirroredStrategy(devices)
    assert strategy.num_replicas_in_sync == 2
    with strategy.scope():
        twin = type(prepared.layer).from_config(prepared.layer.get_config())
        mirrored = as_model(twin, prepared.specimen.channels)
        copy_weights(mirrored, prepared.model)

    @tf.function
    def step(images):
        return strategy.run(lambda images: mirrored(images, training=True), args=(images,))

    outputs = step(tf.constant(prepared.images))
    before = [variable.numpy() for variable in prepared.model.variables]
    expected = prepared.run(prepared.model, prepared.images, training=True)
    after = [variable.numpy() for variable in prepared.model.variables]
    for variable, value in zip(prepared.model.variables, before, strict=True):
        variable.assign(value)
    for replica in range(2):
        local = tf.nest.map_structure(lambda value, r=replica: strategy.experimental_local_results(value)[r], outputs)
        assert_equal(named(local, prepared.name), expected, tolerance=1e-4)
    # Both replicas saw the same images, so the moving statistics are those of one of them.
    for ours, theirs in zip(mirrored.variables, after, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-4, atol=1e-5, err_msg=ours.path)


@pytest.mark.parametrize("training", [False, True])
def test_gradient_reaches_every_weight(prepared, training):
    generator = np.random.default_rng(3)
    with tf.GradientTape() as tape:
        outputs = prepared.model(prepared.images, training=training)
        outputs = outputs if isinstance(outputs, dict) else {"features": outputs}
        floats = [value for value in tf.nest.flatten(outputs) if value.dtype == tf.float32]
        loss = sum(ops.sum(value * generator.normal(size=value.shape)) for value in floats)
    variables = prepared.model.trainable_variables
    for variable, gradient in zip(variables, tape.gradient(loss, [v.value for v in variables]), strict=True):
        assert gradient is not None, variable.path
        assert np.isfinite(gradient).all(), variable.path
        # With the batch's own statistics, a bias before a batch normalization has a gradient of zero.
        assert training or np.abs(gradient).max() > 0, variable.path
