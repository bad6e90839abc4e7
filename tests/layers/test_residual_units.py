import functools

import keras
import numpy as np
import pytest
from keras import ops

from sact_tf.layers import AdaptiveBlock, BasicUnit, BottleneckUnit
from sact_tf.layers.residual_units import mask_residual

BOTTLENECKS = {
    "identity": {"filters": 6, "stride": 1},
    "identity, stride 2": {"filters": 6, "stride": 2},
    "projecting": {"filters": 8, "stride": 1},
    "projecting, stride 2": {"filters": 8, "stride": 2},
}
BASICS = {
    "plain": {"filters": 6},
    "stride 2": {"filters": 6, "stride": 2},
    "wider": {"filters": 10, "stride": 2},
    "activated shortcut": {"filters": 6, "activated_shortcut": True},
}
UNITS = {
    "bottleneck": lambda: BottleneckUnit(6, 2, norm_momentum=0.7),
    "basic": lambda: BasicUnit(6, norm_momentum=0.7),
}


def randomized(unit, features, seed=2):
    """The unit, built, with no variable at its initial value."""
    generator = np.random.default_rng(seed)
    unit(features)
    for variable in unit.variables:
        low = 0.5 if variable.name in ("gamma", "moving_variance") else -0.5
        variable.assign(generator.uniform(low, low + 1, variable.shape))
    return unit


def norm(x, layer):
    scale = np.asarray(layer.gamma) / np.sqrt(np.asarray(layer.moving_variance) + layer.epsilon)
    return (x - np.asarray(layer.moving_mean)) * scale + np.asarray(layer.beta)


def conv(x, layer, stride=1):
    """Convolution by its definition; zero padding by one around a 3x3 kernel, none around a 1x1 kernel."""
    kernel = np.asarray(layer.kernel)
    border = kernel.shape[0] // 2
    x = np.pad(x, ((0, 0), (border, border), (border, border), (0, 0)))
    height, width = x.shape[1] - 2 * border, x.shape[2] - 2 * border
    taps = [
        x[:, i : i + height : stride, j : j + width : stride] @ kernel[i, j]
        for i in range(kernel.shape[0])
        for j in range(kernel.shape[1])
    ]
    return sum(taps) + (np.asarray(layer.bias) if layer.use_bias else 0)


def leaky(x, slope=0.1):
    return np.where(x > 0, x, slope * x)


@pytest.mark.parametrize("arguments", BOTTLENECKS.values(), ids=BOTTLENECKS)
def test_bottleneck_unit_is_its_formula(make_images, arguments):
    x = make_images(3, 7, 5, channels=6)
    unit = randomized(BottleneckUnit(bottleneck_filters=4, norm_epsilon=0.03, **arguments), x)
    stride = arguments["stride"]
    preact = np.maximum(norm(x, unit.preact), 0)
    residual = np.maximum(norm(conv(preact, unit.conv1), unit.norm1), 0)
    residual = conv(np.maximum(norm(conv(residual, unit.conv2, stride), unit.norm2), 0), unit.conv3)
    shortcut = x[:, ::stride, ::stride] if arguments["filters"] == 6 else conv(preact, unit.shortcut, stride)
    np.testing.assert_allclose(unit(x, training=False), shortcut + residual, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("arguments", BASICS.values(), ids=BASICS)
def test_basic_unit_is_its_formula(make_images, arguments):
    x = make_images(3, 8, 6, channels=6)
    unit = randomized(BasicUnit(norm_epsilon=0.03, **arguments), x)
    preact = leaky(norm(x, unit.preact))
    stride = arguments.get("stride", 1)
    # On even sizes TensorFlow's "same" padding of a strided 3x3 convolution is at the end only.
    inner = conv(preact[:, ::-1, ::-1], _flipped(unit.conv1), stride)[:, ::-1, ::-1] if stride > 1 else None
    inner = conv(preact, unit.conv1) if inner is None else inner
    # Leaky ReLU twice: a negative slope of .01.
    residual = conv(leaky(norm(inner, unit.norm1), slope=0.01), unit.conv2)
    shortcut = preact if arguments.get("activated_shortcut") else x
    shortcut = shortcut.reshape(3, 8 // stride, stride, 6 // stride, stride, 6).mean(axis=(2, 4))
    growth = (arguments["filters"] - 6) // 2
    shortcut = np.pad(shortcut, ((0, 0), (0, 0), (0, 0), (growth, growth)))
    np.testing.assert_allclose(unit(x, training=False), shortcut + residual, rtol=1e-4, atol=1e-5)


class _flipped:
    """A convolution's kernel turned by half a turn, so that padding at the start becomes padding at the end."""

    def __init__(self, layer):
        self.kernel, self.use_bias = np.asarray(layer.kernel)[::-1, ::-1], False


@pytest.mark.parametrize("unit", [BottleneckUnit, lambda filters, _, stride: BasicUnit(filters, stride=stride)])
@pytest.mark.parametrize("size", [(1, 1), (2, 2), (2, 5)])
def test_units_that_stride_take_the_smallest_maps_of_known_size(make_images, unit, size):
    features = make_images(2, *size, 6)
    known, unknown = unit(6, 2, stride=2), unit(6, 2, stride=2)
    known.build((None, *size, 6))
    unknown.build((None, None, None, 6))
    unknown.set_weights(known.get_weights())
    output = known(features)
    assert output.shape == (2, -(-size[0] // 2), -(-size[1] // 2), 6)
    np.testing.assert_array_equal(unknown(features), output)


@pytest.mark.parametrize("make", UNITS.values(), ids=UNITS)
def test_masked_positions_keep_their_features_exactly(make_images, make):
    x = make_images(2, 6, 5, channels=6)
    unit = randomized(make(), x)
    mask = np.random.default_rng(4).random((2, 6, 5, 1)) < 0.5
    masked, full = np.array(unit(x, residual_mask=mask)), np.array(unit(x))
    active = mask[..., 0]
    np.testing.assert_array_equal(masked[~active], x[~active])
    np.testing.assert_array_equal(masked[active], full[active])


def test_a_unit_that_strides_takes_features_smaller_than_its_kernel():
    features = np.ones((2, 2, 1, 4), np.float32)
    assert BottleneckUnit(6, 3, stride=2)(features).shape == (2, 1, 1, 6)


def test_a_residual_that_is_not_a_number_does_not_leak_out_of_a_masked_position():
    residual = np.array([[[[1.0, np.nan]]], [[[np.inf, 2.0]]], [[[3.0, 4.0]]]], "float32")
    mask = np.array([False, False, True]).reshape(3, 1, 1, 1)
    np.testing.assert_array_equal(ops.squeeze(mask_residual(residual, mask)), [[0, 0], [0, 0], [3, 4]])
    assert mask_residual(residual, None) is residual


@pytest.mark.parametrize("make", UNITS.values(), ids=UNITS)
def test_training_updates_the_statistics_as_a_plain_batch_normalization_does(make_images, make):
    x = make_images(3, 6, 5, channels=6)
    unit = randomized(make(), x)
    plain = keras.layers.BatchNormalization(momentum=0.7)
    plain.build(x.shape)
    plain.moving_mean.assign(unit.preact.moving_mean)
    plain.moving_variance.assign(unit.preact.moving_variance)
    expected = 0.7 * np.array(unit.preact.moving_variance) + 0.3 * x.var(axis=(0, 1, 2))
    plain(x, training=True)
    # Frozen positions count as well: the mask touches only the residual that is added.
    unit(x, residual_mask=np.zeros((3, 6, 5, 1), bool), training=True)
    np.testing.assert_allclose(unit.preact.moving_mean, plain.moving_mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(unit.preact.moving_variance, plain.moving_variance, rtol=1e-5)
    # The biased variance of the batch.
    np.testing.assert_allclose(unit.preact.moving_variance, expected, rtol=1e-4)


@pytest.mark.parametrize("make", UNITS.values(), ids=UNITS)
def test_kernels_alone_are_regularized(make_images, make):
    unit = make()
    unit(make_images(2, 6, 5, channels=6))
    regularized = {variable.path for variable in unit.variables if variable.regularizer is not None}
    assert regularized == {variable.path for variable in unit.variables if variable.name == "kernel"}
    assert len(regularized) == (3 if isinstance(unit, BottleneckUnit) else 2)


def test_kernels_start_from_the_release_s_truncated_normal():
    unit = BottleneckUnit(64, 32)
    unit.build((None, 8, 9, 64))
    # A normal of deviation sqrt(2.6 / fan_in), cut at two deviations, has .8796 of it left.
    expected = np.sqrt(2.6 / (9 * 32))
    kernel = np.array(unit.conv2.kernel)
    assert kernel.std() == pytest.approx(0.8796 * expected, rel=0.03)
    assert np.abs(kernel).max() <= 2 * expected * 1.001


@pytest.mark.parametrize("filters", [4, 7])
def test_basic_unit_that_cannot_pad_its_shortcut_is_rejected(make_images, filters):
    with pytest.raises(ValueError, match=f"filters={filters}, input channels=6"):
        BasicUnit(filters)(make_images(2, 6, 5, channels=6))


@pytest.mark.parametrize("stride", [0, 2.0, True, (2, 2), None])
@pytest.mark.parametrize("make", [functools.partial(BottleneckUnit, 16, 4), functools.partial(BasicUnit, 8)])
def test_a_stride_that_is_no_count_is_refused_and_one_of_numpy_is_an_int(make, stride):
    with pytest.raises(ValueError, match=r"`stride` must be an int, at least 1\. Received: stride="):
        make(stride=stride)
    assert type(make(stride=np.int64(2)).get_config()["stride"]) is int


class Cropped(BottleneckUnit):
    """Changes `call` alone."""

    def call(self, features, residual_mask=None, training=None):
        return super().call(features, residual_mask, training)[:, 1:]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("make", [BasicUnit, functools.partial(BottleneckUnit, bottleneck_filters=2), Cropped])
def test_shape_of_a_unit_is_known_before_it_runs(make, stride):
    unit = make(8, bottleneck_filters=2, stride=stride) if make is Cropped else make(8, stride=stride)
    features = np.zeros((2, 9, 6, 4), "float32")
    promised = unit(keras.KerasTensor((None, 9, 6, 4))).shape
    assert promised == (None, *unit(features).shape[1:])
    block = AdaptiveBlock([make(8, bottleneck_filters=2) if make is Cropped else make(8)], "sact")
    promised = block(keras.KerasTensor((None, 9, 6, 4)))
    for name, value in block(features).items():
        assert promised[name].shape == (None, *value.shape[1:]), name
        assert promised[name].dtype == keras.backend.standardize_dtype(value.dtype), name


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
def test_a_model_is_quantized_around_a_unit_without_a_shortcut_of_its_own(make_images):
    features = keras.Input((9, 6, 8))
    block = AdaptiveBlock([BottleneckUnit(8, 2)], "vanilla")
    model = keras.Model(features, keras.layers.Dense(3, name="head")(block(features)["features"]))
    before = np.array(model(make_images(2, 9, 6, channels=8)))
    model.quantize("int8")
    assert keras.backend.standardize_dtype(model.get_layer("head").kernel.dtype) == "int8"
    np.testing.assert_allclose(model(make_images(2, 9, 6, channels=8)), before, atol=0.05 * np.abs(before).max())
