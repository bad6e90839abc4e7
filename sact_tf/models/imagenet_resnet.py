"""The pre-activation bottleneck ResNets for ImageNet (He et al. 2016, arXiv 1603.05027), with adaptive blocks."""

import keras

from sact_tf.config import check_depth, imagenet_units
from sact_tf.config.checks import check_counts
from sact_tf.layers import AdaptiveBlock, BottleneckUnit, make_halting_branches
from sact_tf.layers.parts import convolution
from sact_tf.layers.survival import linear_decay
from sact_tf.models.backbone import Backbone, ponder_weight_of_blocks
from sact_tf.models.classifier import Classifier

# The stem keeps its 64 channels whatever `base_channels` is, as in the release.
STEM_CHANNELS = 64
WEIGHT_DECAY = 1e-4
TOTAL_STRIDE = 32


@keras.saving.register_keras_serializable(package="sact_tf")
class ImageNetBackbone(Backbone):
    """Stem and four blocks, `block1` to `block4`, 4 to 32 times smaller than the image; see `Backbone`.

    Blocks 2 to 4 downsample in their first unit, as in He et al. and unlike `keras.applications`.

    Args:
        units: four ints, residual units per block.
        model_type: one of `sact_tf.config.MODEL_TYPES`.
        base_channels: int, bottleneck channels of the first block; block b has `4 * base_channels * 2**b` outputs.
        image_shape: `(height, width, 3)`; `None` stands for any height or width.
        weight_decay: float, L2 of all kernels in the release's halved convention.
        dtype: dtype policy; halting is decided in float32 under all of them.
        ponder_weight: float >= 0, or a dict from a block's name to one: `AdaptiveBlock`'s, for a backbone within a
            model of your own; see `Backbone`.
        final_survival_probability: float in (0, 1], of stochastic depth (Huang et al. 2016): with it the last unit of
            the network survives a training step, the others with more, see `AdaptiveBlock`; 1 trains all units always.
            Less than 1 is for `vanilla`.
        last_stride: int, 2 or 1, of the last block; 1 where what comes in has been halved already, as a detector's
            crops may be.
    """

    def __init__(
        self,
        units,
        model_type="sact",
        base_channels=64,
        image_shape=(None, None, 3),
        weight_decay=WEIGHT_DECAY,
        dtype=None,
        ponder_weight=None,
        final_survival_probability=1.0,
        last_stride=2,
        **kwargs,
    ):
        check_depth(model_type, final_survival_probability)
        check_counts(base_channels=base_channels)
        units = imagenet_units(units)
        stem = [
            keras.layers.ZeroPadding2D(3, dtype=dtype, name="pad", data_format="channels_last"),
            convolution(STEM_CHANNELS, 7, weight_decay, dtype, "conv1", strides=2),
            keras.layers.MaxPooling2D(3, 2, padding="same", dtype=dtype, name="pool1", data_format="channels_last"),
        ]
        names = [f"block{index + 1}" for index in range(4)]
        ponder_weights = ponder_weight_of_blocks(ponder_weight, names)
        survival = linear_decay(final_survival_probability, units)
        strides = (1, 2, 2, last_stride)
        blocks = {}
        for index, name in enumerate(names):
            filters = base_channels * 2**index
            layers = _units(units[index], filters, strides[index], weight_decay=weight_decay, dtype=dtype)
            branches = make_halting_branches(model_type, units[index], weight_decay=weight_decay)
            blocks[name] = AdaptiveBlock(
                layers,
                model_type,
                ponder_weights[name],
                halting_branches=branches,
                survival_probabilities=survival[index],
                dtype=dtype,
                name=name,
            )
        super().__init__(stem, blocks, image_shape, TOTAL_STRIDE, dtype=dtype, **kwargs)
        self.units = units
        self.model_type = model_type
        self.base_channels = base_channels
        self.weight_decay = weight_decay
        self.final_survival_probability = float(final_survival_probability)
        self.last_stride = last_stride
        # Level n is 2**n times smaller than the image.
        levels = [name for name, stride in zip(blocks, strides, strict=True) if name == "block1" or stride > 1]
        self.pyramid_outputs = {f"P{index + 2}": self.output[name] for index, name in enumerate(levels)}

    def get_config(self):
        return {
            **super().get_config(),
            "units": list(self.units),
            "model_type": self.model_type,
            "base_channels": self.base_channels,
            "weight_decay": self.weight_decay,
            "ponder_weight": self.ponder_weight,
            "final_survival_probability": self.final_survival_probability,
            "last_stride": self.last_stride,
        }


def _units(count, bottleneck_filters, stride, **settings):
    """The units of a block, the first of which downsamples; `settings` are further arguments of `BottleneckUnit`."""
    return [
        BottleneckUnit(
            4 * bottleneck_filters,
            bottleneck_filters,
            stride=stride if unit == 0 else 1,
            name=f"unit_{unit + 1}",
            **settings,
        )
        for unit in range(count)
    ]


def imagenet_resnet(
    model="101",
    model_type="sact",
    num_classes=1001,
    base_channels=64,
    tau=0.005,
    image_shape=(None, None, 3),
    weight_decay=WEIGHT_DECAY,
    label_smoothing=0.1,
    dtype=None,
    final_survival_probability=1.0,
    name=None,
):
    """The ImageNet network of the release as a Keras model.

    Args:
        model: "50", "101", "152", "200", or the units of the four blocks as text ("3_4_23_3") or ints.
        model_type: "vanilla", "act", "act_early_stopping" or "sact"; see `sact_tf.AdaptiveBlock`.
        num_classes: int; with the release's labels class 0 is the background.
        base_channels: int, bottleneck channels of the first block.
        tau: float >= 0, weight of the ponder cost in the loss.
        image_shape: `(height, width, 3)`; `None` stands for any height or width, from 32 on.
        weight_decay: float, L2 of all kernels in the release's halved convention.
        label_smoothing: float in [0, 1), of the training loss.
        dtype: dtype policy, such as "mixed_bfloat16"; halting is decided in float32 under all of them.
        final_survival_probability: float in (0, 1], of stochastic depth (Huang et al. 2016): with it the last unit of
            the network survives a training step, the others with more, see `AdaptiveBlock`; 1 trains all units always.
            Less than 1 is for `vanilla`.
        name: name of the model.

    Returns:
        `Classifier` from float images in [-1, 1] to the dict described there.

    Raises:
        ValueError: for an argument outside of what is listed.
    """
    backbone = ImageNetBackbone(
        imagenet_units(model),
        model_type,
        base_channels,
        image_shape,
        weight_decay,
        dtype=dtype,
        final_survival_probability=final_survival_probability,
    )
    return Classifier(
        backbone, num_classes, tau=tau, label_smoothing=label_smoothing, weight_decay=weight_decay, name=name
    )
