"""Whole maps in a graph of ONNX, `(batch, channels, height, width)`: convolutions, units, branches."""

import keras
import numpy as np

from sact_tf.layers.parts import LEAKY_RELU_SLOPE
from sact_tf.layers.parts import leaky_relu as leaky_relu_of_cifar
from sact_tf.sparse.folding import Bottleneck
from sact_tf.sparse.onnx import pictures

HEIGHT, WIDTH = 2, 3


def per_channel(values):
    """A vector as what maps are multiplied with: `(channels, 1, 1)`."""
    return np.asarray(values)[:, None, None]


def normalize(graph, maps, normalization):
    """Maps times scale plus shift, of a `folding.Normalization`."""
    scaled = graph.op("Mul", maps, graph.floats(per_channel(normalization.scale)))
    return graph.op("Add", scaled, graph.floats(per_channel(normalization.shift)))


def clip(graph, features, folded, of_maps=True):
    """Maps, or rows, clipped as a `folding.Clip` says."""
    for kind, bound in (("Max", folded.lower), ("Min", folded.upper)):
        if bound is not None:
            # Of float32's own ends: infinity says nothing more, and not every runtime reads it.
            bound = np.clip(bound, *np.array([-1, 1]) * np.finfo("float32").max)
            features = graph.op(kind, features, graph.floats(per_channel(bound) if of_maps else bound))
    return features


def convolve(graph, maps, linear, stride=1, pads=None, stored=None):
    """A `folding.Linear` on maps.

    Args:
        graph: `Graph`.
        maps: name.
        linear: `folding.Linear`.
        stride: int.
        pads: int, zeros on every side; `None` pads so that sizes round up, as TensorFlow does by "same".
        stored: name of a constant with the kernel's values, in its order and any shape; `None` stores them.
    """
    order, size = (3, 2, 0, 1), linear.kernel.shape[:2]
    if pads is None and stride == 1:
        pads = size[1] // 2
    padding = {"auto_pad": "SAME_UPPER"} if pads is None else {"pads": [pads] * 4}
    if stored is None:
        kernel = graph.kernel(np.transpose(linear.kernel, order))
    else:
        # Computed once, when a runtime reads the file.
        kernel = graph.op("Transpose", graph.reshape(stored, *linear.kernel.shape), perm=order)
    return graph.op("Conv", maps, kernel, graph.kernel(linear.bias), strides=[stride] * 2, kernel_shape=size, **padding)


def leaky_relu(graph, features, times=1):
    """The CIFAR network's leaky ReLU, once or several times in a row."""
    return graph.op("LeakyRelu", features, alpha=LEAKY_RELU_SLOPE**times)


def activate(graph, features, activation):
    """What an activation of Keras makes of features; the networks of this package know three.

    Raises:
        ValueError: for another one.
    """
    if activation is keras.activations.linear:
        return features
    if activation is keras.activations.relu:
        return graph.op("Relu", features)
    if activation is leaky_relu_of_cifar:
        return leaky_relu(graph, features)
    name = getattr(activation, "__name__", activation)
    raise ValueError(
        "ONNX files are written of networks with the activations of this package: none, 'relu', and the leaky ReLU of "
        f"its CIFAR networks. Received: {name}. Export the network as a SavedModel."
    )


def mean(graph, maps, picture=None):
    """Mean over the positions, `(batch, channels)`; over those of a `Picture` alone, if there is one."""
    if picture is not None:
        maps = pictures.mask(graph, maps, picture.inside)
    return pictures.mean(graph, maps, [HEIGHT, WIDTH], picture)


def enter(graph, features, unit):
    """What the convolutions of a folded unit read of maps."""
    if isinstance(unit, Bottleneck):
        return clip(graph, features, unit.clip)
    return leaky_relu(graph, normalize(graph, features, unit.enter))


def residual(graph, entered, unit, picture=None):
    """What a folded unit adds to its shortcut, of what `enter` gave; of a `Picture`, zeros are read around it."""
    if isinstance(unit, Bottleneck):
        narrow = graph.op("Relu", convolve(graph, entered, unit.reduce))
        narrow = pictures.mask(graph, narrow, picture and picture.inside)
        narrow = graph.op("Relu", convolve(graph, narrow, unit.middle, unit.stride, pads=1))
        return convolve(graph, narrow, unit.expand)
    inner = leaky_relu(graph, convolve(graph, entered, unit.first, unit.stride), times=2)
    return convolve(graph, inner, unit.second)


def after_unit(graph, features, unit, picture=None):
    """Features after a folded unit; `picture` as of `residual`."""
    entered = enter(graph, features, unit)
    added = residual(graph, entered, unit, picture)
    if isinstance(unit, Bottleneck):
        return graph.op("Add", _bottleneck_shortcut(graph, features, entered, unit), added)
    if not unit.has_shortcut:
        return added
    return graph.op("Add", _basic_shortcut(graph, entered if unit.activated_shortcut else features, unit), added)


def _bottleneck_shortcut(graph, features, entered, unit):
    if unit.shortcut is not None:
        return convolve(graph, entered, unit.shortcut, unit.stride)
    if unit.stride == 1:
        return features
    ends = [np.iinfo("int64").max] * 2
    return graph.op("Slice", features, *map(graph.ints, ([0, 0], ends, [HEIGHT, WIDTH], [unit.stride] * 2)))


def _basic_shortcut(graph, features, unit):
    if unit.stride > 1:
        window = [unit.stride] * 2
        features = graph.op("AveragePool", features, kernel_shape=window, strides=window, auto_pad="SAME_UPPER")
    if unit.padding:
        features = graph.op("Pad", features, graph.ints([0, unit.padding, 0, 0] * 2))
    return features


def local_logit(graph, features, branch, picture=None):
    """Logits of the positions `(batch, 1, height, width)` by the local half of a `folding.Branch`."""
    normalized = normalize(graph, features, branch.local.normalization)
    activated = activate(graph, normalized, branch.pooled.activation)
    return convolve(graph, pictures.mask(graph, activated, picture and picture.inside), branch.local.convolution)


def pooled_logit(graph, means, branch):
    """Logits `(batch, 1)` from the mean features `(batch, channels)`."""
    pooled = branch.pooled
    normalized = graph.op("Mul", means, graph.floats(pooled.normalization.scale))
    normalized = graph.op("Add", normalized, graph.floats(pooled.normalization.shift))
    return product(graph, activate(graph, normalized, pooled.activation), pooled.kernel, pooled.bias)


def product(graph, rows, kernel, bias):
    """Rows `(positions, channels)` times a kernel `(channels, columns)` plus a bias."""
    channels, columns = kernel.shape
    if columns < 2 * channels:
        return graph.op("Gemm", rows, graph.floats(kernel), graph.floats(bias))
    return with_ones(graph, graph.op("Pad", rows, graph.ints([0, 0, 0, 1]), graph.floats(1.0)), kernel, bias)


def with_ones(graph, rows, kernel, bias):
    """`product` of rows that have one more channel, which is 1 and is multiplied with the bias.

    ONNX Runtime writes a product twice if it has a bias, first the bias alone, by one thread. Of many columns that are
    made of fewer channels this is a fifth of the time.
    """
    return graph.op("MatMul", rows, graph.floats(np.append(kernel, [bias], axis=0)))
