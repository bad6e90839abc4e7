"""Pre-activation residual units (He et al. 2016, arXiv 1603.05027) that can freeze positions.

A unit maps features `(batch, height, width, channels)` to features of the same dtype. Where its
`residual_mask`, bool `(batch, height, width, 1)`, is False the residual is not added: the position keeps its value.
With a `residual_scale`, a number, the residual is multiplied by it. With `skip_residual=True` nothing but the shortcut
is computed, changes of shape included, and no moving statistics move. With a `picture`, bool of the size of what comes
in, a `BottleneckUnit` reads zeros where it is False, as it does beyond the border.
"""

import keras
from keras import ops

from sact_tf.config.checks import check_counts
from sact_tf.layers.freezing import KeepsFrozenParts
from sact_tf.layers.parts import (
    NORM_EPSILON,
    NORM_MOMENTUM,
    ShapesWithoutTracing,
    convolution,
    leaky_relu,
    mask_of,
    normalization,
    normalize_without_a_trace,
)


@keras.saving.register_keras_serializable(package="sact_tf")
class MaybeUnbuilt(keras.layers.Conv2D):
    """A convolution that its unit may do without: `quantize` of a whole model, which wants all built, passes it by."""

    def _check_quantize_args(self, mode, compute_dtype):
        if self.built:
            super()._check_quantize_args(mode, compute_dtype)


@keras.saving.register_keras_serializable(package="sact_tf")
class BottleneckUnit(KeepsFrozenParts, ShapesWithoutTracing, keras.layers.Layer):
    """1x1, 3x3 and 1x1 convolutions: the unit of the ImageNet networks.

    Args:
        filters: int, channels of the output.
        bottleneck_filters: int, channels between the convolutions.
        stride: int, of the 3x3 convolution and of the shortcut.
        weight_decay: float, L2 of the kernels in the release's halved convention.
        norm_momentum: float, decay of the moving averages of batch normalization.
        norm_epsilon: float, added to the variance.
    """

    _settled = ("filters", "bottleneck_filters", "stride", "weight_decay", "norm_momentum", "norm_epsilon")

    def __init__(
        self,
        filters,
        bottleneck_filters,
        stride=1,
        weight_decay=1e-4,
        norm_momentum=NORM_MOMENTUM,
        norm_epsilon=NORM_EPSILON,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_counts(filters=filters, bottleneck_filters=bottleneck_filters, stride=stride)
        self.filters, self.bottleneck_filters, self.stride = int(filters), int(bottleneck_filters), int(stride)
        self.weight_decay = weight_decay
        self.norm_momentum = norm_momentum
        self.norm_epsilon = norm_epsilon
        self.preact = self._norm("preact")
        self.shortcut = self._conv(filters, 1, "shortcut", strides=self.stride, kind=MaybeUnbuilt)
        self.conv1 = self._conv(bottleneck_filters, 1, "conv1", use_bias=False)
        self.norm1 = self._norm("norm1")
        padding = "same" if self.stride == 1 else "valid"
        self.conv2 = self._conv(bottleneck_filters, 3, "conv2", strides=self.stride, padding=padding, use_bias=False)
        self.norm2 = self._norm("norm2")
        self.conv3 = self._conv(filters, 1, "conv3")
        self._freeze_parts()

    def _norm(self, name):
        return normalization(self.norm_momentum, self.norm_epsilon, self.dtype_policy, name)

    def _conv(self, filters, kernel_size, name, **kwargs):
        return convolution(filters, kernel_size, self.weight_decay, self.dtype_policy, name, **kwargs)

    def build(self, input_shape):
        # Height and width are left out: Keras would find small maps too small for the kernel, which `call` pads for.
        narrow = (input_shape[0], None, None, self.bottleneck_filters)
        self.preact.build(input_shape)
        # A unit that keeps its depth adds to its own input, and so has no shortcut weights.
        self.projects = input_shape[-1] != self.filters
        if self.projects:
            self.shortcut.build(input_shape)
        self.conv1.build(input_shape)
        for layer in (self.norm1, self.conv2, self.norm2, self.conv3):
            layer.build(narrow)

    def compute_output_shape(self, input_shape):
        return unit_output_shape(input_shape, self.stride, self.filters)

    def call(self, features, residual_mask=None, training=None, residual_scale=None, skip_residual=False, picture=None):
        if skip_residual:
            return self._skip(features, training, picture)
        preact = ops.relu(self.preact(features, training=training, mask=mask_of(picture)))
        residual = ops.relu(self.norm1(self.conv1(preact), training=training, mask=mask_of(picture)))
        # The only convolution that reads neighbours comes next.
        residual = mask_residual(residual, picture)
        if self.stride > 1:
            residual = ops.pad(residual, ((0, 0), (1, 1), (1, 1), (0, 0)))
        residual = ops.relu(self.norm2(self.conv2(residual), training=training, mask=mask_of(picture, self.stride)))
        residual = scale_residual(self.conv3(residual), residual_scale)
        shortcut = self.shortcut(preact) if self.projects else subsample(features, self.stride)
        return shortcut + mask_residual(residual, residual_mask)

    def _skip(self, features, training, picture):
        if not self.projects:
            return subsample(features, self.stride)
        # What lies in the padding may be larger than any number once it is normalized.
        features = mask_residual(features, picture)
        return self.shortcut(ops.relu(normalize_without_a_trace(self.preact, features, training, picture)))

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "bottleneck_filters": self.bottleneck_filters,
            "stride": self.stride,
            "weight_decay": self.weight_decay,
            "norm_momentum": self.norm_momentum,
            "norm_epsilon": self.norm_epsilon,
        }


@keras.saving.register_keras_serializable(package="sact_tf")
class BasicUnit(KeepsFrozenParts, ShapesWithoutTracing, keras.layers.Layer):
    """Two 3x3 convolutions: the unit of the CIFAR networks.

    The shortcut has no weights: where the unit strides it is average-pooled, where channels grow it is
    padded with zeros, half on each side.

    Args:
        filters: int, channels of the output.
        stride: int, of the first convolution and of the shortcut.
        activated_shortcut: bool, whether the shortcut starts from the activated input instead of the
            input. True in the very first unit of the release's network.
        has_shortcut: bool. With False the unit is its two convolutions alone, and a network of such units a plain
            stack of convolutions: the control of lesion studies. With `skip_residual` it is what a shortcut would be.
        weight_decay: float, L2 of the kernels in the release's halved convention.
        norm_momentum: float, decay of the moving averages of batch normalization.
        norm_epsilon: float, added to the variance.
    """

    _settled = ("filters", "stride", "weight_decay", "norm_momentum", "norm_epsilon")

    def __init__(
        self,
        filters,
        stride=1,
        activated_shortcut=False,
        weight_decay=2e-4,
        norm_momentum=0.9,
        norm_epsilon=1e-3,
        has_shortcut=True,
        **kwargs,
    ):
        super().__init__(**kwargs)
        check_counts(filters=filters, stride=stride)
        self.filters, self.stride = int(filters), int(stride)
        self.activated_shortcut = activated_shortcut
        self.has_shortcut = has_shortcut
        self.weight_decay = weight_decay
        self.norm_momentum = norm_momentum
        self.norm_epsilon = norm_epsilon
        self.preact = self._norm("preact")
        self.conv1 = self._conv("conv1", strides=self.stride, use_bias=False)
        self.norm1 = self._norm("norm1")
        self.conv2 = self._conv("conv2")
        self._freeze_parts()

    def _norm(self, name):
        return normalization(self.norm_momentum, self.norm_epsilon, self.dtype_policy, name)

    def _conv(self, name, **kwargs):
        return convolution(self.filters, 3, self.weight_decay, self.dtype_policy, name, padding="same", **kwargs)

    def build(self, input_shape):
        growth = self.filters - input_shape[-1]
        if growth < 0 or growth % 2:
            raise ValueError(
                "BasicUnit pads its shortcut with as many zero channels on either side, so `filters` must exceed the "
                f"input's channels by an even number, or equal it. Received: filters={self.filters}, "
                f"input channels={input_shape[-1]}"
            )
        self.shortcut_padding = growth // 2
        inner = (*input_shape[:-1], self.filters)
        self.preact.build(input_shape)
        self.conv1.build(input_shape)
        self.norm1.build(inner)
        self.conv2.build(inner)

    def compute_output_shape(self, input_shape):
        return unit_output_shape(input_shape, self.stride, self.filters)

    def call(self, features, residual_mask=None, training=None, residual_scale=None, skip_residual=False):
        if skip_residual:
            return self._skip(features, training)
        preact = leaky_relu(self.preact(features, training=training))
        # Twice: in the release the normalization activates its output, and the convolution that
        # it belongs to activates it once more, so the negative slope here is .01.
        residual = leaky_relu(leaky_relu(self.norm1(self.conv1(preact), training=training)))
        residual = scale_residual(self.conv2(residual), residual_scale)
        if not self.has_shortcut:
            return self._without_shortcut(residual, residual_mask)
        return self._shortcut(preact if self.activated_shortcut else features) + mask_residual(residual, residual_mask)

    def _without_shortcut(self, residual, residual_mask):
        if residual_mask is not None:
            raise ValueError(
                f"Unit '{self.name}' has no shortcut (has_shortcut=False), so there is nothing that a position could "
                "keep where its residual is left out. Use model_type='vanilla', and lesions of whole units."
            )
        return residual

    def _skip(self, features, training):
        if self.activated_shortcut and self.has_shortcut:
            features = leaky_relu(normalize_without_a_trace(self.preact, features, training))
        return self._shortcut(features)

    def _shortcut(self, features):
        if self.stride > 1:
            # The release pads nothing; on even sizes neither does "same", and odd sizes fit as well.
            features = ops.average_pool(features, self.stride, self.stride, padding="same", data_format="channels_last")
        if self.shortcut_padding:
            features = ops.pad(features, ((0, 0), (0, 0), (0, 0), (self.shortcut_padding,) * 2))
        return features

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "stride": self.stride,
            "activated_shortcut": self.activated_shortcut,
            "has_shortcut": self.has_shortcut,
            "weight_decay": self.weight_decay,
            "norm_momentum": self.norm_momentum,
            "norm_epsilon": self.norm_epsilon,
        }


def unit_output_shape(input_shape, stride, filters):
    """Shape `(batch, height, width, filters)` after a unit; sizes round up, and `None` stays."""
    batch, height, width, _ = input_shape
    sizes = (None if size is None else -(-size // stride) for size in (height, width))
    return (batch, *sizes, filters)


def subsample(features, stride):
    """Every `stride`-th position in height and width."""
    # Not even a slice where all are kept: its gradient would be a copy.
    return features if stride == 1 else features[:, ::stride, ::stride, :]


def scale_residual(residual, residual_scale=None):
    """Returns `residual` times a number, or as it is without one."""
    return residual if residual_scale is None else residual * ops.cast(residual_scale, residual.dtype)


def mask_residual(residual, residual_mask=None):
    """Returns `residual` where the bool mask is True, zero elsewhere; without a mask, `residual`."""
    if residual_mask is None:
        return residual
    # A choice, not a product: nan * 0 would leak out of a frozen position.
    return ops.where(residual_mask, residual, ops.zeros((), residual.dtype))
