"""What `folding` describes, as operations of TensorFlow: float32 constants, clips, convolutions, parts put together.

`pixel rows` below are features of single positions, `(positions, channels)`: for a 1x1 convolution a map and its rows
are the same thing.
"""

import numpy as np
import tensorflow as tf

from sact_tf.layers.parts import LEAKY_RELU_SLOPE
from sact_tf.processor import uses_onednn

# In about so many pieces maps are put together, for the threads to share.
PIECES = 16


def constant(array):
    """The array as a float32 tensor, made once while a model is folded: a graph that captures it holds no copy."""
    return tf.constant(np.asarray(array, "float32"))


class Clipping:
    """Function that clips features as a `folding.Clip` says."""

    def __init__(self, clip):
        self._lower = None if clip.lower is None else constant(clip.lower)
        self._upper = None if clip.upper is None else constant(clip.upper)

    def __call__(self, features):
        if self._lower is not None:
            features = tf.maximum(features, self._lower)
        if self._upper is not None:
            features = tf.minimum(features, self._upper)
        return features


class Kernel:
    """A convolution with its bias and what follows: on maps, or on pixel rows as a matrix product.

    Args:
        linear: `folding.Linear`, or a pair of kernel and bias.
        activation: function of a tensor, or `None`.
        always: bool, whether it runs in every call, on maps. Then it is a constant of the graphs themselves where
            oneDNN computes, which brings such a kernel into its own order once, and others in each call. The price is
            memory: graphs, and what TensorFlow makes of them, hold it about fifteen times.
    """

    def __init__(self, linear, activation=None, always=False):
        kernel, bias = linear
        self.kernel = np.asarray(kernel, "float32") if always and uses_onednn() else constant(kernel)
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


def length(values):
    """How many there are along the first axis: int32 scalar, of values of a known rank."""
    # An operation instead of the five of `tf.shape(values)[0]`: they are traced, and looked at, hundreds of times.
    return tf.unstack(tf.shape(values))[0]


def leaky_relu(features):
    """Leaky ReLU with the CIFAR network's slope."""
    return tf.nn.leaky_relu(features, LEAKY_RELU_SLOPE)


def twice_leaky_relu(features):
    """Two leaky ReLUs of the CIFAR network in a row."""
    return tf.nn.leaky_relu(features, LEAKY_RELU_SLOPE**2)


def stitch(numbers, values):
    """Rows of all parts in one tensor, each row at its number; every number occurs once.

    Args:
        numbers: sequence of int32 `(part,)`.
        values: sequence of as many `(part, ...)`.
    """
    # `tf.dynamic_stitch` copies with one thread, since the last of two rows of a number has to win; this one copies
    # each part with one.
    pieces = max(1, PIECES // len(numbers))
    ends = tf.stack([length(each) for each in numbers])[:, None] * tf.range(pieces + 1) // pieces
    indices, data = [], []
    for each, rows, sizes in zip(numbers, values, tf.unstack(ends[:, 1:] - ends[:, :-1]), strict=True):
        indices += tf.split(each, sizes, num=pieces)
        data += tf.split(rows, sizes, num=pieces)
    return tf.raw_ops.ParallelDynamicStitch(indices=indices, data=data)
