"""Halting branches: from a residual unit's output to the probability of halting after it.

Both compute in float32 under every dtype policy: rounding would move the unit that halts.
"""

import keras
import numpy as np
from keras import ops

from sact_tf.config import check_model_type
from sact_tf.layers.freezing import KeepsFrozenParts
from sact_tf.layers.parts import (
    NORM_EPSILON,
    NORM_MOMENTUM,
    ShapesWithoutTracing,
    convolution,
    fold_normalization,
    mask_of,
    multiply_channels,
    normalization,
    spatial_mean,
)

# sigmoid(-3) = 0.047: a fresh unit seldom halts (Figurnov et al. 2017, section 4).
INITIAL_HALTING_BIAS = -3.0


@keras.saving.register_keras_serializable(package="sact_tf")
class GlobalHaltingBranch(KeepsFrozenParts, ShapesWithoutTracing, keras.layers.Layer):
    """ACT's branch, one probability an image: global mean, batch normalization, linear, sigmoid.

    Maps features `(batch, height, width, channels)` to float32 `(batch, 1, 1, 1)`. With a `picture`, bool
    `(batch, height, width, 1)`, padding where it is False is not read.

    Args:
        activation: what follows the batch normalization, a function or its Keras name; `None` for none. The release's
            CIFAR network has its leaky ReLU there, its ImageNet networks have nothing.
        initial_bias: float, logit of the probability at the start of training.
        weight_decay: float, L2 of the kernels in the release's halved convention.
        norm_momentum: float, decay of the moving averages of batch normalization.
        norm_epsilon: float, added to the variance.
    """

    _global_bias = True
    _settled = ("initial_bias", "weight_decay", "norm_momentum", "norm_epsilon")

    def __init__(
        self,
        activation=None,
        initial_bias=INITIAL_HALTING_BIAS,
        weight_decay=1e-4,
        norm_momentum=NORM_MOMENTUM,
        norm_epsilon=NORM_EPSILON,
        **kwargs,
    ):
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.activation = keras.activations.get(activation)
        self.initial_bias = initial_bias
        self.weight_decay = weight_decay
        self.norm_momentum = norm_momentum
        self.norm_epsilon = norm_epsilon
        self.global_bn = self._norm("global_bn")
        self.global_conv = self._conv(1, "global_conv", bias=self._global_bias)
        self._freeze_parts()

    def _norm(self, name):
        return normalization(self.norm_momentum, self.norm_epsilon, self.dtype_policy, name)

    def _conv(self, kernel_size, name, bias):
        initializer = keras.initializers.Constant(self.initial_bias)
        return convolution(
            1,
            kernel_size,
            self.weight_decay,
            self.dtype_policy,
            name,
            padding="same",
            use_bias=bias,
            bias_initializer=initializer,
        )

    def build(self, input_shape):
        pooled = (input_shape[0], 1, 1, input_shape[-1])
        self.global_bn.build(pooled)
        self.global_conv.build(pooled)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], 1, 1, 1)

    def call(self, features, training=None, picture=None):
        return ops.sigmoid(self.global_logit(spatial_mean(features, picture), training))

    def global_logit(self, image_mean, training=None):
        """Logits `(batch, 1, 1, 1)` from the mean features `(batch, 1, 1, channels)` of each image."""
        return self.global_conv(self.activation(self.global_bn(image_mean, training=training)))

    def get_config(self):
        return {
            **super().get_config(),
            "activation": keras.activations.serialize(self.activation),
            "initial_bias": self.initial_bias,
            "weight_decay": self.weight_decay,
            "norm_momentum": self.norm_momentum,
            "norm_epsilon": self.norm_epsilon,
        }


@keras.saving.register_keras_serializable(package="sact_tf")
class SpatialHaltingBranch(GlobalHaltingBranch):
    """SACT's branch, one probability a position: the sigmoid of a local and a global logit.

    The local logit is batch normalization and a 3x3 convolution to one channel; the global one is that of
    `GlobalHaltingBranch` without a bias. Maps features `(batch, height, width, channels)` to float32
    `(batch, height, width, 1)`. Arguments as in `GlobalHaltingBranch`.
    """

    _global_bias = False

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.local_bn = self._norm("local_bn")
        self.local_conv = self._conv(3, "local_conv", bias=True)
        self._freeze_parts()

    def build(self, input_shape):
        super().build(input_shape)
        self.local_bn.build(input_shape)
        self.local_conv.build(input_shape)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:3], 1)

    def call(self, features, training=None, picture=None):
        if self.activation is keras.activations.linear:
            columns, global_logit = self._fold(features, training, picture)
        else:
            normalized = self.activation(self.local_bn(features, training=training, mask=mask_of(picture)))
            columns = multiply_channels(normalized, self._taps())
            global_logit = self.global_logit(spatial_mean(features, picture), training)
        if picture is not None:
            columns = ops.where(picture, columns, ops.zeros((), columns.dtype))
        return ops.sigmoid(self._gather(columns) + global_logit)

    def _fold(self, features, training, picture):
        """The nine columns and the global logit without writing normalized features.

        With nothing between normalization and convolution the two are one linear map of the features.
        """
        scale, shift = fold_normalization(self.local_bn, features, training, picture)
        taps = self._taps()
        # The shift comes before the zero padding of the 3x3 convolution, so that borders are those of the layers.
        # A vector `(9,)`: in maps of one position TensorFlow's graph optimizer moves its addition behind the
        # convolution of `_gather`, where oneDNN ends the process if what is added has two axes.
        shift = ops.matmul(shift[None], taps)[0]
        taps = scale[:, None] * taps
        if training:
            columns = multiply_channels(features, taps) + shift
            return columns, self.global_logit(spatial_mean(features, picture), training)
        scale, global_shift = fold_normalization(self.global_bn, features, training)
        kernel = self.global_conv.kernel[0, 0]
        columns = multiply_channels(features, ops.concatenate([taps, scale[:, None] * kernel], axis=-1))
        of_image = columns[..., 9:]
        mean = ops.mean(of_image, axis=(1, 2), keepdims=True) if picture is None else spatial_mean(of_image, picture)
        global_logit = mean + ops.matmul(global_shift[None], kernel)[0]
        return columns[..., :9] + shift, global_logit

    def _taps(self):
        """The 3x3 kernel as `(channels, 9)`."""
        return ops.reshape(ops.transpose(self.local_conv.kernel, (2, 0, 1, 3)), (-1, 9))

    def _gather(self, columns):
        """Local logits `(batch, height, width, 1)` from each position's products with the nine taps of the kernel.

        The wide features are read only once, for all nine taps; what a position owes to its neighbours is then
        gathered among nine channels.
        """
        gather = ops.convert_to_tensor(np.eye(9, dtype="float32").reshape(3, 3, 9, 1))
        return ops.conv(columns, gather, padding="same", data_format="channels_last") + self.local_conv.bias


def make_halting_branches(model_type, num_units, **settings):
    """Returns a list of halting branches for a block of `num_units` units, one for each but the last.

    Args:
        model_type: "sact" makes `SpatialHaltingBranch`es, "act" and "act_early_stopping" `GlobalHaltingBranch`es,
            "vanilla" none.
        num_units: int, at least 1.
        **settings: arguments of the branches.

    Raises:
        ValueError: for another model type.
    """
    check_model_type(model_type)
    branch = SpatialHaltingBranch if model_type == "sact" else GlobalHaltingBranch
    needed = 0 if model_type == "vanilla" else num_units - 1
    return [branch(name=f"halting_branch_{index + 1}", **settings) for index in range(needed)]


def branches_of(branches, model_type, num_units):
    """List of a block's halting branches: those given, checked, or with `None` those of `make_halting_branches`."""
    if branches is None:
        return make_halting_branches(model_type, num_units)
    branches = list(branches) if hasattr(branches, "__iter__") else [branches]
    if not all(isinstance(branch, keras.layers.Layer) for branch in branches):
        raise ValueError(
            "`halting_branches` must be Keras layers from features to probabilities; None makes them. Received: "
            f"halting_branches={branches!r}"
        )
    if model_type != "vanilla" and len(branches) != num_units - 1:
        raise ValueError(
            "`halting_branches` must hold a layer for every unit but the last. Received: "
            f"{len(branches)} branches for {num_units} units."
        )
    return branches
