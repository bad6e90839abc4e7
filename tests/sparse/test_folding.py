import keras
import numpy as np
import pytest
import tensorflow as tf

from sact_tf.layers import (
    AdaptiveBlock,
    BasicUnit,
    BottleneckUnit,
    GlobalHaltingBranch,
    SpatialHaltingBranch,
    make_halting_branches,
)
from sact_tf.sparse.branches import DirectBranches, LinearBranches, make_spatial_branches
from sact_tf.sparse.description import describe
from sact_tf.sparse.folding import Clip, Normalization, fold_unit
from sact_tf.sparse.tensors import Clipping, Kernel, leaky_relu, twice_leaky_relu
from sact_tf.sparse.units import make_unit


def clip(scale, shift):
    return Clip.of(Normalization(np.asarray(scale, "float64"), np.asarray(shift, "float64")))


def rectified(folded, features):
    """What the clipped features stand for."""
    return Clipping(folded)(tf.constant(features, tf.float32)) * folded.after.scale + folded.after.shift


@pytest.mark.parametrize(
    ("scale", "shift", "expected"),
    [
        (2.0, 1.0, [0.0, 1.0, 7.0]),  # relu(2 x + 1) at x = -2, 0, 3
        (-2.0, 1.0, [5.0, 1.0, 0.0]),
        (2.0, -1.0, [0.0, 0.0, 5.0]),
        (-0.5, 0.0, [1.0, 0.0, 0.0]),
        (0.0, 1.5, [1.5, 1.5, 1.5]),
        (0.0, -1.5, [0.0, 0.0, 0.0]),
        (-0.0, 0.0, [0.0, 0.0, 0.0]),
        (1e-30, 1.5, [1.5, 1.5, 1.5]),
    ],
)
def test_clipping_is_a_rectified_normalization_up_to_a_linear_map(scale, shift, expected):
    folded = clip([scale], [shift])
    np.testing.assert_allclose(rectified(folded, [[-2.0], [0.0], [3.0]])[:, 0], expected, atol=1e-6)


def test_every_channel_is_clipped_on_its_own_side():
    generator = np.random.default_rng(4)
    scale, shift = generator.normal(size=(2, 40))
    scale[::5] = 0.0
    features = generator.normal(size=(30, 40))
    expected = np.maximum(features * scale + shift, 0.0)
    np.testing.assert_allclose(rectified(clip(scale, shift), features), expected, atol=1e-6)


def test_features_are_clipped_only_on_the_sides_that_occur():
    features = tf.constant([[-5.0, 5.0]])
    np.testing.assert_array_equal(Clipping(clip([1.0, 2.0], [1.0, -4.0]))(features), [[-1.0, 5.0]])
    np.testing.assert_array_equal(Clipping(clip([-1.0, -2.0], [1.0, 4.0]))(features), [[-5.0, 2.0]])
    assert Clipping(clip([0.0, 0.0], [1.0, -1.0]))(features) is features


def test_normalization_is_that_of_the_layer():
    layer = keras.layers.BatchNormalization(epsilon=0.5)
    layer.build((None, 3))
    for variable, values in zip(layer.variables, ([2, -1, 0], [1, 2, 3], [4, 5, 6], [3.5, 0.5, 0.5]), strict=True):
        variable.assign(values)
    # gamma / sqrt(variance + .5), beta - mean * scale
    scale, shift = Normalization.of(layer)
    np.testing.assert_allclose(scale, [1.0, -1.0, 0.0])
    np.testing.assert_allclose(shift, [-3.0, 7.0, 3.0])
    kernel, bias = Normalization(scale, shift).followed_by(np.array([[1.0], [10.0], [100.0]]))
    np.testing.assert_allclose(kernel, [[1.0], [-10.0], [0.0]])
    np.testing.assert_allclose(bias, [-3.0 + 70.0 + 300.0])


def test_kernel_gives_the_same_on_maps_and_on_rows():
    generator = np.random.default_rng(5)
    kernel = Kernel((generator.normal(size=(1, 1, 3, 4)), generator.normal(size=4)), tf.nn.relu)
    features = tf.constant(generator.normal(size=(2, 3, 5, 3)), tf.float32)
    on_map = tf.reshape(kernel.on_map(features), (-1, 4))
    np.testing.assert_allclose(kernel.on_rows(tf.reshape(features, (-1, 3))), on_map, atol=1e-6)


def test_leaky_relu_has_the_release_s_slope_once_and_squared():
    np.testing.assert_allclose(leaky_relu(tf.constant([-2.0, 3.0])), [-0.2, 3.0])
    np.testing.assert_allclose(twice_leaky_relu(tf.constant([-2.0, 3.0])), [-0.02, 3.0])


UNITS = {
    "bottleneck": lambda: BottleneckUnit(6, 3),
    "bottleneck, projecting": lambda: BottleneckUnit(8, 3),
    "bottleneck, stride 2": lambda: BottleneckUnit(6, 3, stride=2),
    "bottleneck, stride 2, projecting": lambda: BottleneckUnit(8, 3, stride=2, norm_epsilon=0.1),
    "basic": lambda: BasicUnit(6),
    "basic, growing": lambda: BasicUnit(10, stride=2),
    "basic, activated shortcut": lambda: BasicUnit(6, activated_shortcut=True, norm_epsilon=0.1),
}


@pytest.mark.parametrize("size", [(5, 8), (6, 7)])
@pytest.mark.parametrize("name", UNITS)
def test_folded_unit_is_the_unit(randomize, make_images, assert_same, name, size):
    unit, features = UNITS[name](), make_images(2, *size, 6)
    unit.build(features.shape)
    expected = randomize(unit)(features)
    assert_same({"features": make_unit(fold_unit(unit), 0).on_map(tf.constant(features))}, {"features": expected})


def test_joint_convolution_is_that_of_units_whose_last_two_read_the_same_positions(randomize, make_images):
    assert [fold_unit(build(make())).joint is not None for make in UNITS.values()] == [False, True] + [False] * 5
    unit = make_unit(fold_unit(randomize(build(BottleneckUnit(8, 3)))), 1)
    features, source = unit.with_source(tf.constant(make_images(2, 5, 7, 6)))
    assert source.shape == (2, 5, 7, 3 + 6)
    np.testing.assert_allclose(unit.joint.on_map(source), features)


def build(unit):
    unit.build((None, None, None, 6))
    return unit


def branches_of(*kinds, activation=None):
    units = [BottleneckUnit(6, 3) if kind == "bottleneck" else BasicUnit(6) for kind in kinds]
    branches = make_halting_branches("sact", len(units), activation=activation)
    block = AdaptiveBlock(units, "sact", halting_branches=branches)
    block.build((None, None, None, 6))
    return make_spatial_branches(describe(block))


def test_branches_are_linear_where_nothing_stands_between_normalization_and_convolution():
    assert isinstance(branches_of("bottleneck", "bottleneck"), LinearBranches)
    assert isinstance(branches_of("bottleneck", "bottleneck", activation="relu"), DirectBranches)
    assert isinstance(branches_of("bottleneck", "basic"), DirectBranches)
    assert isinstance(branches_of("basic", "bottleneck"), LinearBranches)


def test_block_of_one_unit_has_no_branches():
    assert make_halting_branches("sact", 1) == []
    assert isinstance(branches_of("bottleneck"), DirectBranches)
    assert isinstance(branches_of("basic"), DirectBranches)


def test_unit_of_another_kind_is_rejected():
    with pytest.raises(ValueError, match=r"BottleneckUnit and BasicUnit(.|\n)*SpatialHaltingBranch"):
        fold_unit(SpatialHaltingBranch())


class Centred(keras.layers.Conv2D):
    def convolution_op(self, inputs, kernel):
        return super().convolution_op(inputs, kernel - keras.ops.mean(kernel))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda unit: setattr(unit, "conv1", Centred(3, 1)), "is a Conv2D. Received: a Centred"),
        # A network for segmentation may be dilated so.
        (lambda unit: setattr(unit.conv2, "dilation_rate", (2, 2)), r"'conv2' is a Conv2D with dilation.*\(2, 2\)"),
        (lambda unit: setattr(unit.conv3, "activation", keras.activations.relu), r"'conv3'.*=linear.*=relu"),
        (lambda unit: setattr(unit, "conv2", keras.layers.Conv2D(3, 5, padding="same")), r"_size=\(3, 3\).*\(5, 5\)"),
        (lambda unit: setattr(unit, "conv1", keras.layers.Conv2D(3, 3)), r"kernel_size=\(1, 1\).*\(3, 3\)"),
        (lambda unit: setattr(unit, "conv2", keras.layers.Conv2D(3, 3)), "padding=same.*padding=valid"),
        (lambda unit: setattr(unit.conv3, "strides", (2, 2)), r"strides=\(1, 1\).*\(2, 2\)"),
        (lambda unit: setattr(unit, "norm1", keras.layers.GroupNormalization(3)), "batch normalization.*a GroupNorm"),
        (lambda unit: setattr(unit, "conv1", keras.layers.DepthwiseConv2D(1)), "is a Conv2D. Received: a Depthwise"),
    ],
)
def test_parts_that_compute_something_else_are_rejected(change, message):
    unit = BottleneckUnit(6, 3)
    change(unit)
    with pytest.raises(ValueError, match=message):
        fold_unit(build(unit))


def test_normalization_of_another_axis_is_rejected():
    layer = keras.layers.BatchNormalization(axis=1, name="norm")
    layer.build((None, 3, 3, 3))
    with pytest.raises(ValueError, match=r"'norm' is a batch normalization of channels, axis=-1. Received: axis=1"):
        Normalization.of(layer)


class Halved(BasicUnit):
    def _shortcut(self, features):
        return super()._shortcut(features) / 2


def test_units_with_a_method_of_their_own_are_rejected():
    patched = build(BottleneckUnit(6, 3))
    patched.call = lambda features, residual_mask=None: features
    for unit in (build(Halved(6)), patched):
        with pytest.raises(ValueError, match=f"cannot skip positions in a {type(unit).__name__}"):
            fold_unit(unit)


class Sharp(GlobalHaltingBranch):
    def global_logit(self, image_mean, training=None):
        return 5 * super().global_logit(image_mean, training)


@pytest.mark.parametrize(
    ("branch", "message"),
    [
        (Sharp, "no halting branches of a act block but GlobalHaltingBranch. Received: Sharp"),
        (lambda: GlobalHaltingBranch(activation=keras.layers.PReLU()), "activation without weights. Received: a PReLU"),
    ],
)
def test_branches_that_compute_something_else_are_rejected(branch, message):
    block = AdaptiveBlock([BasicUnit(6), BasicUnit(6)], "act", halting_branches=[branch()])
    block(np.zeros((1, 2, 3, 6), "float32"))
    with pytest.raises(ValueError, match=message):
        describe(block)


def test_a_unit_after_the_first_whose_shortcut_has_weights_is_rejected():
    units = [BottleneckUnit(6, 3), BottleneckUnit(6, 3)]
    block = AdaptiveBlock(units, "sact")
    block.build((None, None, None, 6))
    units[1].projects = True
    with pytest.raises(ValueError, match=r"projects=False.*projects=True"):
        describe(block)


def test_normalization_without_scale_and_shift_is_that_of_the_layer():
    layer = keras.layers.BatchNormalization(scale=False, center=False)
    layer.build((None, 2))
    layer.moving_mean.assign([1.0, 2.0])
    layer.moving_variance.assign([3.999, 0.249])
    np.testing.assert_allclose(Normalization.of(layer), [[0.5, 2.0], [-0.5, -4.0]])
