"""The convolution and the batch normalization that every layer of this package is made of."""

import keras
from keras import ops

from sact_tf.config.checks import check_norm, check_weight_decay

# The release draws from a truncated normal of standard deviation sqrt(1.3 * 2 / fan_in) before truncation.
# Keras' VarianceScaling widens its normal by 1 / .8796 to undo the truncation; this factor takes that back.
_TRUNCATED_NORMAL_STDDEV = 0.87962566103423978

# Batch normalization of the release's ImageNet networks: decay of the moving averages, and what is added to variances.
NORM_MOMENTUM, NORM_EPSILON = 0.997, 1e-5

# Slope of the CIFAR network's leaky ReLU (release).
LEAKY_RELU_SLOPE = 0.1


def kernel_initializer():
    """Initializer of every convolution kernel: truncated normal of deviation `sqrt(1.3 * 2 / fan_in)`."""
    scale = 1.3 * 2 * _TRUNCATED_NORMAL_STDDEV**2
    return keras.initializers.VarianceScaling(scale=scale, mode="fan_in", distribution="truncated_normal")


@keras.saving.register_keras_serializable(package="sact_tf")
class HalvedL2(keras.regularizers.L2):
    """L2 computed in at least float32, for kernels of any dtype; returned in Keras' default dtype, as losses are.

    Halting is float32 under every policy, so that a model may have kernels of two dtypes, whose terms Keras adds up.
    """

    def __call__(self, x):
        if keras.backend.standardize_dtype(x.dtype) != "float64":
            x = ops.cast(x, "float32")
        return ops.cast(super().__call__(x), keras.config.floatx())


def convolution(filters, kernel_size, weight_decay, dtype, name, kind=keras.layers.Conv2D, **kwargs):
    """A `Conv2D` with the release's initializer and `weight_decay * sum(kernel ** 2) / 2` as its loss.

    It is of the class `kind`.
    """
    check_weight_decay(weight_decay)
    policy = keras.dtype_policies.get(dtype)
    if not str(policy.compute_dtype).startswith(("float", "bfloat")):
        raise ValueError(
            "`dtype` must be a floating point type, such as 'float32', or a policy, such as 'mixed_float16'. Received: "
            f"dtype={policy.name!r}"
        )
    if isinstance(policy, keras.dtype_policies.QuantizedDTypePolicy):
        raise ValueError(
            "Keras quantizes no convolutions, which these networks are made of. Give a policy such as 'float32' or "
            f"'mixed_bfloat16'. Received: dtype={policy.name!r}"
        )
    return kind(
        filters,
        kernel_size,
        data_format="channels_last",
        kernel_initializer=kernel_initializer(),
        kernel_regularizer=HalvedL2(weight_decay / 2) if weight_decay else None,
        dtype=dtype,
        name=name,
        **kwargs,
    )


def normalization(momentum, epsilon, dtype, name):
    """Batch normalization whose moving variance takes the biased batch variance, as in the release."""
    check_norm(momentum, epsilon)
    return keras.layers.BatchNormalization(momentum=momentum, epsilon=epsilon, dtype=dtype, name=name)


def positions_within(sizes, height, width):
    """Which positions of padded maps belong to their pictures, which are at the top left: `(batch, height, width)`.

    Args:
        sizes: int32 `(batch, 2)`, height and width of each picture, in positions.
        height, width: those of the maps; ints or int32 scalars.

    Returns:
        bool tensor.
    """
    rows, columns = (ops.arange(size, dtype="int32") for size in (height, width))
    sizes = ops.cast(sizes, "int32")[:, None, None]
    return ops.logical_and(rows[:, None] < sizes[..., 0], columns < sizes[..., 1])


def mask_of(picture, stride=1):
    """What batch normalization takes as `mask`, bool `(batch, height, width)`, of a `picture` or `None`.

    Args:
        picture: bool `(batch, height, width, 1)`, False where a map is padding; `None` for nowhere.
        stride: int, positions of the picture to one of the map, in height and in width.
    """
    return None if picture is None else picture[:, ::stride, ::stride, 0]


def fold_normalization(layer, features, training, picture=None):
    """Scale and shift `(channels,)` such that `features * scale + shift` is what a `normalization` layer returns.

    In training the layer's moving statistics are updated as by a call of it; of positions where `picture` is True.
    """
    if training and layer.trainable:
        if picture is None:
            mean, variance = ops.moments(features, axes=(0, 1, 2))
        else:
            mean, variance = layer._moments(features, mask_of(picture))
        for moving, value in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
            moving.assign(moving * layer.momentum + value * (1.0 - layer.momentum))
    else:
        mean, variance = layer.moving_mean, layer.moving_variance
    scale = layer.gamma * ops.rsqrt(variance + layer.epsilon)
    return scale, layer.beta - mean * scale


def normalize_without_a_trace(layer, features, training, picture=None):
    """What a `normalization` layer returns, its moving statistics left as they are.

    In training, too: for the part of a unit that still runs where the unit does not. Positions where a `picture`, bool
    `(batch, height, width, 1)`, is False have no part in the statistics of the batch.
    """
    if not training or not layer.trainable:
        return layer(features, training=False)
    wide = ops.cast(features, "float64" if layer.compute_dtype == "float64" else "float32")
    if picture is None:
        mean, variance = ops.moments(wide, axes=(0, 1, 2))
    else:
        mean = _mean_over(wide, picture)
        variance = _mean_over(ops.square(wide - mean), picture)
    gamma, beta = (ops.cast(value, wide.dtype) for value in (layer.gamma, layer.beta))
    normalized = ops.batch_normalization(wide, mean, variance, -1, beta, gamma, layer.epsilon)
    return ops.cast(normalized, layer.compute_dtype)


def _mean_over(values, picture):
    """Mean of each channel over the positions where a picture is True, whatever lies elsewhere, NaN included."""
    count = ops.maximum(ops.sum(ops.cast(picture, values.dtype)), ops.ones((), values.dtype))
    return ops.sum(ops.where(picture, values, ops.zeros((), values.dtype)), axis=(0, 1, 2)) / count


def spatial_mean(features, picture=None):
    """Mean over the positions of each image, `(batch, 1, 1, channels)`; over those where `picture` is True.

    As a product with a row of constants: on a CPU it takes less than half the time of a reduction.
    """
    batch, height, width, channels = ops.shape(features)
    rows = ops.reshape(features, (batch, height * width, channels))
    if picture is None:
        weights = ops.ones((1, 1, height * width), features.dtype) / ops.cast(height * width, features.dtype)
        return ops.matmul(ops.broadcast_to(weights, (batch, 1, height * width)), rows)[:, None]
    inside = ops.reshape(picture, (batch, 1, height * width))
    weights = ops.cast(inside, features.dtype)
    weights = weights / ops.maximum(ops.sum(weights, axis=-1, keepdims=True), ops.ones((), features.dtype))
    # A product with zero would let NaN out of the padding.
    rows = ops.where(ops.transpose(inside, (0, 2, 1)), rows, ops.zeros((), features.dtype))
    return ops.matmul(weights, rows)[:, None]


def multiply_channels(features, matrix):
    """Product of each position's channels with a matrix `(channels, columns)`: a 1x1 convolution."""
    batch, height, width, channels = ops.shape(features)
    product = ops.matmul(ops.reshape(features, (-1, channels)), matrix)
    return ops.reshape(product, (batch, height, width, matrix.shape[-1]))


def knows_its_shape(layer):
    """Whether a layer computes the shape of its output from that of its input, so that Keras need not trace it.

    A subclass that changes `call` alone may return another shape than the class that it comes from.
    """
    for kind in type(layer).__mro__:
        if "compute_output_shape" in vars(kind):
            return kind is not keras.layers.Layer
        if "call" in vars(kind):
            return False
    return False


class ShapesWithoutTracing:
    """Mixin of layers with a `compute_output_shape`: they are put into models without being traced."""

    def compute_output_spec(self, features, **arguments):
        if knows_its_shape(self):
            return super().compute_output_spec(features)
        return keras.Operation.compute_output_spec(self, features, **arguments)


@keras.saving.register_keras_serializable(package="sact_tf")
def leaky_relu(x):
    """Leaky ReLU with the CIFAR network's slope."""
    return ops.leaky_relu(x, negative_slope=LEAKY_RELU_SLOPE)
