"""The convolution and the batch normalization that every layer of this package is made of."""

import keras

# The release draws from a truncated normal of standard deviation sqrt(1.3 * 2 / fan_in) before truncation.
# Keras' VarianceScaling widens its normal by 1 / .8796 to undo the truncation; this factor takes that back.
_TRUNCATED_NORMAL_STDDEV = 0.87962566103423978

# Slope of the CIFAR network's leaky ReLU (release).
LEAKY_RELU_SLOPE = 0.1


def kernel_initializer():
    """Initializer of every convolution kernel: truncated normal of deviation `sqrt(1.3 * 2 / fan_in)`."""
    scale = 1.3 * 2 * _TRUNCATED_NORMAL_STDDEV**2
    return keras.initializers.VarianceScaling(scale=scale, mode="fan_in", distribution="truncated_normal")


def convolution(filters, kernel_size, weight_decay, dtype, name, **kwargs):
    """A `Conv2D` with the release's initializer and `weight_decay * sum(kernel ** 2) / 2` as its loss."""
    return keras.layers.Conv2D(
        filters,
        kernel_size,
        data_format="channels_last",
        kernel_initializer=kernel_initializer(),
        kernel_regularizer=keras.regularizers.L2(weight_decay / 2) if weight_decay else None,
        dtype=dtype,
        name=name,
        **kwargs,
    )


def normalization(momentum, epsilon, dtype, name):
    """Batch normalization whose moving variance takes the biased batch variance, as in the release."""
    return keras.layers.BatchNormalization(momentum=momentum, epsilon=epsilon, dtype=dtype, name=name)


@keras.saving.register_keras_serializable(package="sact_tf")
def leaky_relu(x):
    """Leaky ReLU with the CIFAR network's slope."""
    return keras.ops.leaky_relu(x, negative_slope=LEAKY_RELU_SLOPE)
