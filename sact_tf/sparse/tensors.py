"""What `folding` describes, as operations of TensorFlow: float32 constants, clips, convolutions, parts put together.

`pixel rows` below are features of single positions, `(positions, channels)`: for a 1x1 convolution a map and its rows
are the same thing.
"""

import numpy as np
import tensorflow as tf

from sact_tf.layers.conditions import as_one_node
from sact_tf.layers.parts import LEAKY_RELU_SLOPE
from sact_tf.processor import uses_onednn

# A part of what is computed in parts takes about so many bytes, which a processor's cache holds; 2 to 8 MB are as fast.
PART_BYTES = 4 * 2**20
# Rows of zeros before the others, where a table is looked up: row 0 is what a convolution reads outside of the image.
NOTHING = 1
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


def behind_nothing(rows):
    """Rows `(rows, channels)` behind those of zeros: what tables count from 1."""
    return tf.pad(rows, ((NOTHING, 0), (0, 0)))


def in_parts(function, rows, between, results):
    """`function(rows)`, by so many rows at a time that what it makes on the way stays in the processor's cache.

    In one piece, wide rows of large maps are written to memory and read again, and memory of some sizes the system
    takes back and hands out anew in every call, which takes longer than to compute them.

    Args:
        function: of some of the rows, to `(those rows, results)`.
        rows: `(rows, ...)`.
        between: int, how many floats it makes of each row on the way.
        results: int, how many floats it makes of each row in the end.

    Returns:
        `(rows, results)`.
    """
    count, most = length(rows), PART_BYTES // (between * tf.float32.size)

    def all_parts():
        number = 1 + count // most
        each = (count + number - 1) // number

        def next_part(index, parts):
            return index + 1, parts.write(index, function(rows[index * each : (index + 1) * each]))

        parts = tf.TensorArray(tf.float32, number, element_shape=(None, results), infer_shape=False)
        # Two at a time: one of them computes while the other waits, and only two are in memory.
        _, parts = tf.while_loop(lambda index, _: index < number, next_part, (0, parts), parallel_iterations=2)
        return parts.concat()

    # Small maps are one part, without a loop: even one of a single turn would take time for its nodes.
    return tf.cond(count >= most, as_one_node(all_parts), lambda: function(rows))


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
