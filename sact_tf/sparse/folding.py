"""Residual units and halting branches as inference needs them: batch normalization folded into the weights.

NumPy in float64, done once when a model is compiled. What comes out describes a network and computes nothing: `units`
and `branches` make TensorFlow of it, `onnx` a graph of ONNX. Kernels are `(height, width, in_channels, out_channels)`,
all other arrays `(channels,)` unless said otherwise.
"""

from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np

from sact_tf.layers import BasicUnit, BottleneckUnit

# Scales smaller than this are zero: what they multiply has no influence in float32.
_TINY = 1e-20
# Methods by which our units and branches, and convolutions of Keras, compute.
_COMPUTING = ("call", "convolution_op", "global_logit", "_shortcut", "_fold", "_taps", "_gather")
# Products of a position with the 3x3 kernel of a halting branch.
TAPS = 9


class Normalization(NamedTuple):
    """`features * scale + shift`: what a batch normalization does in inference."""

    scale: np.ndarray
    shift: np.ndarray

    @classmethod
    def of(cls, layer):
        """The normalization of a built `keras.layers.BatchNormalization`; raises ValueError for another layer."""
        if not computes_as(layer, keras.layers.BatchNormalization):
            raise _unknown_part(layer, "batch normalization", f"a {type(layer).__name__}")
        if layer.axis not in (-1, 3):
            raise _unknown_part(layer, "batch normalization of channels, axis=-1", f"axis={layer.axis}")
        zeros = np.zeros(layer.moving_mean.shape)
        gamma, beta, mean, variance = (
            np.asarray(value, "float64")
            for value in (
                zeros + 1 if layer.gamma is None else layer.gamma,
                zeros if layer.beta is None else layer.beta,
                layer.moving_mean,
                layer.moving_variance,
            )
        )
        scale = gamma / np.sqrt(variance + layer.epsilon)
        return cls(scale, beta - mean * scale)

    def followed_by(self, kernel):
        """Kernel and bias of one linear map for this normalization and a product with `(channels, columns)`."""
        return self.scale[:, None] * kernel, self.shift @ kernel


def _unknown_part(layer, known, received):
    return ValueError(
        f"The engine knows units and branches as they are made, where '{layer.name}' is a {known}. Received: "
        f"{received}. Run the model itself."
    )


class Clip(NamedTuple):
    """`relu(features * scale + shift)` up to a linear map: one comparison a channel instead of three passes.

    For a positive scale, `relu(s x + b) = s max(x, -b / s) + b`; for a negative one with `min`. Scale and shift go into
    the kernels that come next.

    Attributes:
        lower, upper: what features are clipped to, infinite where they are not; `None` where no channel is.
        after: `Normalization` that makes the rectified features out of the clipped ones.
    """

    lower: np.ndarray | None
    upper: np.ndarray | None
    after: Normalization

    @classmethod
    def of(cls, normalization):
        """The clip of a `Normalization` and the ReLU that follows it."""
        scale, shift = normalization
        dead = np.abs(scale) < np.maximum(_TINY, np.abs(shift) * _TINY)
        threshold = np.divide(-shift, scale, out=np.zeros_like(scale), where=~dead)
        lower = np.where(~dead & (scale > 0), threshold, -np.inf)
        upper = np.where(~dead & (scale < 0), threshold, np.inf)
        # A channel without scale is its shift, rectified, wherever it is.
        after = Normalization(np.where(dead, 0.0, scale), np.where(dead, np.maximum(shift, 0.0), shift))
        return cls(*(each if np.isfinite(each).any() else None for each in (lower, upper)), after)


class Linear(NamedTuple):
    """A convolution: its kernel and its bias."""

    kernel: np.ndarray
    bias: np.ndarray

    @classmethod
    def of(cls, layer, size=None, stride=1, padding="same"):
        """The convolution of a built `keras.layers.Conv2D`; ValueError for another layer, or settings that matter here.

        With a `size`, an int, its kernel must have this height and width, and it `stride` and `padding`.
        """
        if not computes_as(layer, keras.layers.Conv2D):
            raise _unknown_part(layer, "Conv2D", f"a {type(layer).__name__}")
        plain = {"dilation_rate": (1, 1), "groups": 1, "activation": keras.activations.linear}
        if size is not None:
            plain |= {"kernel_size": (size,) * 2, "strides": (stride,) * 2}
            plain |= {"padding": padding} if size > 1 else {}
        for name, value in plain.items():
            if getattr(layer, name) != value:
                texts = [f"{name}={getattr(each, '__name__', each)}" for each in (value, getattr(layer, name))]
                raise _unknown_part(layer, f"Conv2D with {texts[0]}", texts[1])
        kernel = np.asarray(layer.kernel, "float64")
        return cls(kernel, np.asarray(layer.bias, "float64") if layer.use_bias else np.zeros(layer.filters))

    def after(self, normalization):
        """A 1x1 convolution and a normalization before it, as one."""
        kernel, bias = normalization.followed_by(self.kernel[0, 0])
        return Linear(kernel[None, None], bias + self.bias)

    def before(self, normalization):
        """A convolution and a normalization after it, as one."""
        return Linear(self.kernel * normalization.scale, self.bias * normalization.scale + normalization.shift)

    def times(self, factor):
        """What it gives, multiplied by a number."""
        return Linear(self.kernel * factor, self.bias * factor)


class Bottleneck(NamedTuple):
    """A `BottleneckUnit`: clip, then three convolutions, each of the first two with a ReLU after it.

    Attributes:
        stride: int, of `middle` and `shortcut`. With a stride, `middle` pads by 1 on every side.
        clip: `Clip` of what enters.
        reduce, middle, expand: `Linear`, 1x1, 3x3 and 1x1.
        shortcut: `Linear` of the clipped features, or `None` for the features as they are.
    """

    stride: int
    clip: Clip
    reduce: Linear
    middle: Linear
    expand: Linear
    shortcut: Linear | None

    @classmethod
    def of(cls, unit, residual_scale):
        clip = Clip.of(Normalization.of(unit.preact))
        padding = "same" if unit.stride == 1 else "valid"  # then it is padded by hand
        return cls(
            unit.stride,
            clip,
            Linear.of(unit.conv1, 1).after(clip.after).before(Normalization.of(unit.norm1)),
            Linear.of(unit.conv2, 3, unit.stride, padding).before(Normalization.of(unit.norm2)),
            Linear.of(unit.conv3, 1).times(residual_scale),
            Linear.of(unit.shortcut, 1, unit.stride).after(clip.after) if unit.projects else None,
        )

    @property
    def joint(self):
        """`expand` and `shortcut` as one `Linear`, of what enters them side by side; `None` where they are not alike.

        They are where the shortcut has weights and neither strides.
        """
        if self.shortcut is None or self.stride > 1:
            return None
        kernel = np.concatenate([self.expand.kernel, self.shortcut.kernel], axis=2)
        return Linear(kernel, self.expand.bias + self.shortcut.bias)

    def through(self, kernel):
        """What `(channels, columns)` makes of the residual, from what enters `expand` and a 1: `(narrow + 1, columns)`.

        A residual is a linear map of few channels, so a linear map of it is one, too.
        """
        return np.concatenate([self.expand.kernel[0, 0], self.expand.bias[None]]) @ kernel


class Basic(NamedTuple):
    """A `BasicUnit`: normalization, leaky ReLU, and two 3x3 convolutions with two leaky ReLUs between them.

    Attributes:
        stride: int, of `first` and of the shortcut, which is averaged; both pad so that sizes round up.
        enter: `Normalization` of what enters.
        first, second: `Linear`.
        has_shortcut, activated_shortcut: bool, see `BasicUnit`.
        padding: int, channels of zeros on either side of the shortcut.
    """

    stride: int
    enter: Normalization
    first: Linear
    second: Linear
    has_shortcut: bool
    activated_shortcut: bool
    padding: int
    joint = None

    @classmethod
    def of(cls, unit, residual_scale):
        return cls(
            unit.stride,
            Normalization.of(unit.preact),
            Linear.of(unit.conv1, 3, unit.stride).before(Normalization.of(unit.norm1)),
            Linear.of(unit.conv2, 3).times(residual_scale),
            unit.has_shortcut,
            unit.activated_shortcut,
            unit.shortcut_padding,
        )


def fold_unit(unit, residual_scale=None):
    """Returns the `Bottleneck` of a built `BottleneckUnit`, or the `Basic` of a `BasicUnit`.

    Args:
        unit: the layer.
        residual_scale: float that the residual is multiplied by, as of stochastic depth; `None` for 1.

    Raises:
        ValueError: for a layer of another kind.
    """
    for kind, folded in ((BottleneckUnit, Bottleneck), (BasicUnit, Basic)):
        if computes_as(unit, kind):
            return folded.of(unit, 1.0 if residual_scale is None else residual_scale)
    raise ValueError(
        f"The engine knows BottleneckUnit and BasicUnit, and cannot skip positions in a {type(unit).__name__}. "
        "Use one of the two, or run the model itself."
    )


def computes_as(layer, kind):
    """Whether a layer computes what those of a class do: a subclass may, or something else."""
    methods = [(getattr(layer, name, None), getattr(kind, name)) for name in _COMPUTING if hasattr(kind, name)]
    return all(getattr(own, "__func__", None) is method for own, method in methods)


class Pooled(NamedTuple):
    """The logit of an image's mean features: normalization, activation, product, bias.

    Attributes:
        normalization: `Normalization`.
        kernel: `(channels, 1)`.
        bias: `(1,)`.
        activation: function after the normalization.
    """

    normalization: Normalization
    kernel: np.ndarray
    bias: np.ndarray
    activation: Callable


class Local(NamedTuple):
    """The logit of a position: normalization, activation, 3x3 convolution to one channel."""

    normalization: Normalization
    convolution: Linear

    @property
    def taps(self):
        """The kernel as `(channels, 9)`."""
        return self.convolution.kernel.reshape(TAPS, -1).T


class Branch(NamedTuple):
    """A halting branch; logits are the sum of both parts, before the sigmoid.

    Attributes:
        pooled: `Pooled`.
        local: `Local` of a `SpatialHaltingBranch`, `None` of a `GlobalHaltingBranch`.
    """

    pooled: Pooled
    local: Local | None

    @property
    def is_linear(self):
        """Whether nothing stands between normalizations and products."""
        return self.pooled.activation is keras.activations.linear

    def local_columns(self):
        """`(channels, 9)` and `(9,)`: the products of a position's features with the taps, if the branch is linear."""
        return self.local.normalization.followed_by(self.local.taps)

    def pooled_column(self):
        """`(channels, 1)` and `(1,)`, of which the mean over the positions is the pooled logit, if it is linear."""
        kernel, shift = self.pooled.normalization.followed_by(self.pooled.kernel)
        return kernel, shift + self.pooled.bias


def fold_branch(branch):
    """Returns the `Branch` of a built `SpatialHaltingBranch` or `GlobalHaltingBranch`; ValueError for other parts."""
    if getattr(branch.activation, "weights", None):
        raise _unknown_part(branch.activation, "activation without weights", f"a {type(branch.activation).__name__}")
    kernel, bias = Linear.of(branch.global_conv, 1)
    pooled = Pooled(Normalization.of(branch.global_bn), kernel[0, 0], bias, branch.activation)
    if not hasattr(branch, "local_conv"):
        return Branch(pooled, None)
    return Branch(pooled, Local(Normalization.of(branch.local_bn), Linear.of(branch.local_conv, 3)))
