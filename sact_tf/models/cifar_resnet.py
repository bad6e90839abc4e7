"""The pre-activation basic ResNet for CIFAR-10 (He et al. 2016, arXiv 1603.05027), with adaptive blocks."""

import keras

from sact_tf.config import check_depth, cifar_units
from sact_tf.config.checks import check_counts
from sact_tf.layers import AdaptiveBlock, BasicUnit, make_halting_branches
from sact_tf.layers.parts import convolution, leaky_relu
from sact_tf.layers.survival import linear_decay
from sact_tf.models.backbone import Backbone, ponder_weight_of_blocks
from sact_tf.models.classifier import Classifier

WEIGHT_DECAY = 2e-4
NORM_MOMENTUM = 0.9
NORM_EPSILON = 1e-3
TOTAL_STRIDE = 4


@keras.saving.register_keras_serializable(package="sact_tf")
class CifarBackbone(Backbone):
    """Stem and three blocks, `block_1` to `block_3`, 1 to 4 times smaller than the stem's output; see `Backbone`.

    Args:
        units: three ints, residual units per block.
        model_type: one of `sact_tf.config.MODEL_TYPES`.
        base_channels: even int, channels of the stem and of the first block, doubled by each further block.
        image_shape: `(height, width, 3)`; `None` stands for any height or width.
        weight_decay: float, L2 of all kernels in the release's halved convention.
        stem_stride: int, of the first convolution; 1 in the release. 2 suits images larger than CIFAR's.
        dtype: dtype policy; halting is decided in float32 under all of them.
        ponder_weight: float >= 0, or a dict from a block's name to one: `AdaptiveBlock`'s, for a backbone within a
            model of your own; see `Backbone`.
        final_survival_probability: float in (0, 1], of stochastic depth (Huang et al. 2016): with it the last unit of
            the network survives a training step, the others with more, see `AdaptiveBlock`; 1 trains all units always.
            Less than 1 is for `vanilla`.
        shortcuts: bool. False leaves the units' shortcuts out, for `vanilla`: a plain stack of the same convolutions,
            the control of lesion studies.
    """

    def __init__(
        self,
        units,
        model_type="sact",
        base_channels=16,
        image_shape=(32, 32, 3),
        weight_decay=WEIGHT_DECAY,
        stem_stride=1,
        dtype=None,
        ponder_weight=None,
        final_survival_probability=1.0,
        shortcuts=True,
        **kwargs,
    ):
        check_depth(model_type, final_survival_probability, shortcuts)
        check_counts(base_channels=base_channels)
        if base_channels % 2:
            raise ValueError(
                "`base_channels` must be even: where channels double, shortcuts get as many zero channels on either "
                f"side. Received: base_channels={base_channels}"
            )
        units = cifar_units(units)
        if stem_stride not in (1, 2, 4):
            raise ValueError(f"`stem_stride` must be 1, 2 or 4. Received: stem_stride={stem_stride!r}")
        stem = [convolution(base_channels, 3, weight_decay, dtype, "conv", padding="same", strides=stem_stride)]
        names = [f"block_{index + 1}" for index in range(3)]
        ponder_weights = ponder_weight_of_blocks(ponder_weight, names)
        survival = linear_decay(final_survival_probability, units)
        settings = {"norm_momentum": NORM_MOMENTUM, "norm_epsilon": NORM_EPSILON, "weight_decay": weight_decay}
        blocks = {}
        for index, name in enumerate(names):
            layers = _units(units[index], index, base_channels, has_shortcut=shortcuts, dtype=dtype, **settings)
            # In the release every batch normalization of this network activates its output, these too.
            branches = make_halting_branches(model_type, units[index], activation=leaky_relu, **settings)
            blocks[name] = AdaptiveBlock(
                layers,
                model_type,
                ponder_weights[name],
                halting_branches=branches,
                survival_probabilities=survival[index],
                dtype=dtype,
                name=name,
            )
        super().__init__(stem, blocks, image_shape, TOTAL_STRIDE * stem_stride, dtype=dtype, **kwargs)
        self.units = units
        self.model_type = model_type
        self.base_channels = base_channels
        self.weight_decay = weight_decay
        self.final_survival_probability = float(final_survival_probability)
        self.shortcuts = shortcuts
        self.stem_stride = stem_stride
        # Level n is 2**n times smaller than the image.
        first_level = stem_stride.bit_length() - 1
        self.pyramid_outputs = {f"P{first_level + index}": self.output[name] for index, name in enumerate(blocks)}

    def get_config(self):
        return {
            **super().get_config(),
            "units": list(self.units),
            "model_type": self.model_type,
            "base_channels": self.base_channels,
            "weight_decay": self.weight_decay,
            "stem_stride": self.stem_stride,
            "ponder_weight": self.ponder_weight,
            "final_survival_probability": self.final_survival_probability,
            "shortcuts": self.shortcuts,
        }


def _units(count, index, base_channels, **settings):
    """The units of block `index`, from 0; `settings` are further arguments of `BasicUnit`."""
    return [
        BasicUnit(
            base_channels * 2**index,
            stride=2 if index > 0 and unit == 0 else 1,
            activated_shortcut=index == 0 and unit == 0,
            name=f"unit_{unit + 1}",
            **settings,
        )
        for unit in range(count)
    ]


def cifar_resnet(
    model="5",
    model_type="sact",
    num_classes=10,
    base_channels=16,
    tau=0.01,
    image_shape=(32, 32, 3),
    weight_decay=WEIGHT_DECAY,
    label_smoothing=0.0,
    stem_stride=1,
    dtype=None,
    final_survival_probability=1.0,
    shortcuts=True,
    name=None,
):
    """The CIFAR-10 network of the release as a Keras model.

    Args:
        model: units in every block ("5"), or in each of the three ("2_3_4"), as text or ints.
        model_type: "vanilla", "act", "act_early_stopping" or "sact"; see `sact_tf.AdaptiveBlock`.
        num_classes: int.
        base_channels: even int, channels of the first block.
        tau: float >= 0, weight of the ponder cost in the loss.
        image_shape: `(height, width, 3)`; `None` stands for any height or width, from 4 on (times `stem_stride`).
        weight_decay: float, L2 of all kernels in the release's halved convention.
        label_smoothing: float in [0, 1), of the training loss.
        stem_stride: int, of the first convolution; 1 in the release. 2 suits images larger than CIFAR's: every map is
            half as high and wide.
        dtype: dtype policy, such as "mixed_bfloat16"; halting is decided in float32 under all of them.
        final_survival_probability: float in (0, 1], of stochastic depth (Huang et al. 2016): with it the last unit of
            the network survives a training step, the others with more, see `AdaptiveBlock`; 1 trains all units always.
            Less than 1 is for `vanilla`.
        shortcuts: bool. False leaves the units' shortcuts out, for `vanilla`: a plain stack of the same convolutions,
            the control of lesion studies.
        name: name of the model.

    Returns:
        `Classifier` from float images, standardized each by itself, to the dict described there.

    Raises:
        ValueError: for an argument outside of what is listed.
    """
    backbone = CifarBackbone(
        cifar_units(model),
        model_type,
        base_channels,
        image_shape,
        weight_decay,
        stem_stride,
        dtype=dtype,
        final_survival_probability=final_survival_probability,
        shortcuts=shortcuts,
    )
    return Classifier(
        backbone,
        num_classes,
        tau=tau,
        label_smoothing=label_smoothing,
        pool_first=True,
        activation=leaky_relu,
        weight_decay=weight_decay,
        norm_momentum=NORM_MOMENTUM,
        norm_epsilon=NORM_EPSILON,
        name=name,
    )
