"""Residual units and halting branches as inference needs them: batch normalization folded into the weights.

`units` and `branches` call it. The folding is NumPy in float64, done once when a model is compiled; what runs later are
float32 constants. `pixel rows` below are features of single positions, `(positions, channels)`: for a 1x1 convolution a
map and its rows are the same thing.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from sact_tf.layers.parts import LEAKY_RELU_SLOPE

# Scales smaller than this are zero: what they multiply has no influence in float32.
_TINY = 1e-20


class Normalization(NamedTuple):
    """`features * scale + shift`, float64 `(channels,)`: what a batch normalization does in inference."""

    scale: np.ndarray
    shift: np.ndarray

    @classmethod
    def of(cls, layer):
        """That of a built `keras.layers.BatchNormalization`."""
        gamma, beta, mean, variance = (
            np.asarray(value, "float64")
            for value in (layer.gamma, layer.beta, layer.moving_mean, layer.moving_variance)
        )
        scale = gamma / np.sqrt(variance + layer.epsilon)
        return cls(scale, beta - mean * scale)

    def followed_by(self, kernel):
        """Kernel and bias of one linear map for this normalization and a product with `(channels, columns)`."""
        return self.scale[:, None] * kernel, self.shift @ kernel


def kernel_of(layer):
    """Kernel of a convolution, float64."""
    return np.asarray(layer.kernel, "float64")


def bias_of(layer):
    """Bias of a convolution, float64; zeros if it has none."""
    return np.asarray(layer.bias, "float64") if layer.use_bias else np.zeros(layer.filters)


def constant(array):
    """The array as a float32 tensor, made once while a model is folded: a graph that captures it holds no copy."""
    return tf.constant(np.asarray(array, "float32"))


class Clip:
    """`relu(features * scale + shift)` up to a linear map: one comparison a channel instead of three passes.

    For a positive scale, `relu(s x + b) = s max(x, -b / s) + b`; for a negative one with `min`. Scale and shift go into
    the kernels that come next.

    Args:
        normalization: `Normalization` of the features.

    Attributes:
        after: `Normalization` that makes the rectified features out of the clipped ones.
    """

    def __init__(self, normalization):
        scale, shift = normalization
        dead = np.abs(scale) < np.maximum(_TINY, np.abs(shift) * _TINY)
        threshold = np.divide(-shift, scale, out=np.zeros_like(scale), where=~dead)
        lower = np.where(~dead & (scale > 0), threshold, -np.inf)
        upper = np.where(~dead & (scale < 0), threshold, np.inf)
        self._lower = constant(lower) if np.isfinite(lower).any() else None
        self._upper = constant(upper) if np.isfinite(upper).any() else None
        # A channel without scale is its shift, rectified, wherever it is.
        self.after = Normalization(np.where(dead, 0.0, scale), np.where(dead, np.maximum(shift, 0.0), shift))

    def __call__(self, features):
        if self._lower is not None:
            features = tf.maximum(features, self._lower)
        if self._upper is not None:
            features = tf.minimum(features, self._upper)
        return features


class Kernel:
    """A convolution with its bias and what follows: on maps, or on pixel rows as a matrix product.

    Args:
        kernel: `(height, width, in_channels, out_channels)`.
        bias: `(out_channels,)`.
        activation: function of a tensor, or `None`.
    """

    def __init__(self, kernel, bias, activation=None):
        self.kernel = constant(kernel)
        self.bias = constant(bias)
        self.activation = activation

    def on_map(self, features, stride=1):
        """Features `(batch, height, width, channels)` to the same of this convolution; a stride of 2 pads by 1."""
        kernel = self.kernel
        if stride > 1 and self.kernel.shape[0] > 1:
            features = tf.pad(features, ((0, 0), (1, 1), (1, 1), (0, 0)))
            product = tf.nn.conv2d(features, kernel, stride, "VALID")
        else:
            product = tf.nn.conv2d(features, kernel, stride, "SAME")
        return self.finish(product)

    def on_rows(self, rows):
        """Rows `(positions, height * width * in_channels)` to `(positions, out_channels)`."""
        return self.finish(tf.matmul(rows, tf.reshape(self.kernel, (-1, self.kernel.shape[-1]))))

    def finish(self, product):
        """Bias and activation of a product with the kernel."""
        product = tf.nn.bias_add(product, self.bias)
        return product if self.activation is None else self.activation(product)


def leaky_relu(features):
    """Leaky ReLU with the CIFAR network's slope."""
    return tf.nn.leaky_relu(features, LEAKY_RELU_SLOPE)


def twice_leaky_relu(features):
    """Two leaky ReLUs of the CIFAR network in a row."""
    return tf.nn.leaky_relu(features, LEAKY_RELU_SLOPE**2)
