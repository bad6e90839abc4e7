"""Which network: kinds, depths, and the weights of its loss."""

import dataclasses
import math
import numbers

from sact_tf.config.checks import check_anchor_base_size, check_choice, check_positive

# Values of the release's flag `model_type`; see `sact_tf.AdaptiveBlock` for what each one does.
MODEL_TYPES = ("vanilla", "act", "act_early_stopping", "sact")
# What people call the methods behind those that halt.
METHODS = {"act": "ACT", "act_early_stopping": "ACT", "sact": "SACT"}

# He et al. 2016 (arXiv 1603.05027): residual units per block of the standard ImageNet networks.
IMAGENET_UNITS = {"50": (3, 4, 6, 3), "101": (3, 4, 23, 3), "152": (3, 8, 36, 3), "200": (3, 24, 36, 3)}


def check_model_type(model_type):
    """Returns `model_type` if it is one of `MODEL_TYPES`, raises ValueError otherwise."""
    if model_type not in MODEL_TYPES:
        raise ValueError(f"`model_type` must be one of {MODEL_TYPES}. Received: model_type={model_type!r}")
    return model_type


def check_final_survival_probability(value):
    """Returns a final survival probability as a float; raises ValueError unless it is a number in (0, 1]."""
    number = isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
    if not number or not 0 < value <= 1:
        raise ValueError(
            "`final_survival_probability` (of the last unit, in a training step) must lie in (0, 1]; 1 trains all "
            f"units always. Received: final_survival_probability={value!r}"
        )
    return float(value)


def check_depth(model_type, final_survival_probability=1.0, shortcuts=True):
    """Raises ValueError unless a network of this type can have stochastic depth, or no shortcuts, where it is to.

    Args:
        model_type: one of `MODEL_TYPES`.
        final_survival_probability: float in (0, 1].
        shortcuts: bool.
    """
    check_model_type(model_type)
    survival = check_final_survival_probability(final_survival_probability)
    if not isinstance(shortcuts, bool):
        raise ValueError(f"`shortcuts` must be True or False. Received: shortcuts={shortcuts!r}")
    if model_type != "vanilla" and survival < 1:
        raise ValueError(
            "Stochastic depth is for model_type='vanilla': a network that halts decides by itself how many units to "
            "run. Leave `final_survival_probability` at 1, or train a vanilla network and fine-tune an adaptive one "
            f"from it. Received: final_survival_probability={survival}, model_type={model_type!r}"
        )
    if model_type != "vanilla" and not shortcuts:
        raise ValueError(
            "Halting keeps what a position has by its shortcut, so `shortcuts=False` is for model_type='vanilla'. "
            f"Received: shortcuts=False, model_type={model_type!r}"
        )


def check_tau(tau, name="tau"):
    """Returns `tau`, a weight of the ponder cost, if it is finite and not negative. `name` is for errors."""
    if not isinstance(tau, numbers.Real) or isinstance(tau, bool) or not math.isfinite(tau) or tau < 0:
        raise ValueError(
            f"`{name}` (weight of the ponder cost in the loss) must be a finite number >= 0; 0 trains without a "
            f"price on computation. Received: {name}={tau!r}"
        )
    return float(tau)


def imagenet_units(model):
    """Residual units in each of the four blocks.

    Args:
        model: `"50"`, `"101"`, `"152"`, `"200"`, or any four positive ints, as text (`"3_4_23_3"`) or as a sequence.

    Raises:
        ValueError: for anything else.
    """
    if isinstance(model, (str, numbers.Integral)) and str(model) in IMAGENET_UNITS:
        return IMAGENET_UNITS[str(model)]
    units = _parse_units(model)
    if units is None or len(units) != 4:
        raise ValueError(
            f"`model` must be one of {tuple(IMAGENET_UNITS)}, or the units of the four blocks, each at least 1, "
            f"such as '3_4_23_3' or (3, 4, 23, 3). Received: model={model!r}"
        )
    return units


def cifar_units(model):
    """Residual units in each of the three blocks.

    Args:
        model: one positive int for all blocks (`"5"` or 5), or three, as text (`"2_3_4"`) or as a sequence.

    Raises:
        ValueError: for anything else.
    """
    units = _parse_units([model] if isinstance(model, numbers.Integral) else model)
    if units is not None and len(units) == 1:
        units = units * 3
    if units is None or len(units) != 3:
        raise ValueError(
            "`model` must be the number of units in every block, such as '5', or of each of the three, such as "
            f"'2_3_4' or (2, 3, 4), each at least 1. Received: model={model!r}"
        )
    return units


def _parse_units(model):
    """Returns a tuple of positive ints, or None if `model` does not describe one."""
    parts = model.split("_") if isinstance(model, str) else model
    try:
        units = tuple(int(part) for part in parts)
        exact = all(str(unit) == str(part).strip() for unit, part in zip(units, parts, strict=True))
    except (TypeError, ValueError):
        return None
    return units if exact and units and min(units) >= 1 else None


DTYPES = ("float32", "mixed_bfloat16", "mixed_float16")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Which network, and the weights of its loss.

    Attributes:
        network: "cifar" or "imagenet", see `sact_tf.cifar_resnet` and `sact_tf.imagenet_resnet`.
        model: units per block, see there.
        model_type: one of `MODEL_TYPES`.
        num_classes: int.
        base_channels: int, channels of the first block (`cifar`), bottleneck channels of it (`imagenet`).
        tau: float >= 0, weight of the ponder cost in the loss.
        label_smoothing: float in [0, 1).
        stem_stride: int, of the first convolution of the `cifar` network; the other network has its own.
        dtype: one of `DTYPES`; halting and loss are float32 under all of them.
        final_survival_probability: float in (0, 1], of stochastic depth; 1 trains all units always. For `vanilla`.
        shortcuts: bool; False for a plain stack of convolutions, of the `cifar` network and `vanilla` alone.
        anchor_base_size: float > 0, pixels; a detector's anchors have .25, .5, 1 and 2 times this side.
        crop_max_pool: bool, how a detector's proposals are cut out, see `sact_tf.faster_rcnn`.
        freeze_batch_norm: bool, whether a detector's batch normalization stays as it is in training.
        head_samples: int, how many proposals of an image a detector's head learns from in a step.
        crop_size: even int, positions of a proposal's crop in height and width, before they are halved.
    """

    network: str
    model: str
    model_type: str = "vanilla"
    num_classes: int
    base_channels: int = 16
    tau: float = 1.0
    label_smoothing: float = 0.0
    stem_stride: int = 1
    dtype: str = "float32"
    final_survival_probability: float = 1.0
    shortcuts: bool = True
    anchor_base_size: float = 256.0
    crop_max_pool: bool = False
    freeze_batch_norm: bool = False
    head_samples: int = 64
    crop_size: int = 14

    def __post_init__(self):
        check_choice("network", self.network, ("cifar", "imagenet"))
        (cifar_units if self.network == "cifar" else imagenet_units)(self.model)
        check_depth(self.model_type, self.final_survival_probability, self.shortcuts)
        if self.network != "cifar" and not self.shortcuts:
            raise ValueError("`shortcuts=False` is for network='cifar'. Received: network='imagenet', shortcuts=False")
        check_tau(self.tau)
        check_choice("dtype", self.dtype, DTYPES)
        check_positive(self, "num_classes", "base_channels", "stem_stride", "head_samples")
        if self.crop_size < 2 or self.crop_size % 2:
            raise ValueError(f"`crop_size` must be an even number of positions. Received: crop_size={self.crop_size!r}")
        check_anchor_base_size(self.anchor_base_size)

    @property
    def units(self):
        """Residual units of each block, a tuple of ints."""
        return (cifar_units if self.network == "cifar" else imagenet_units)(self.model)


def check_train_effective(train_effective, model):
    """Raises ValueError unless so many units of a `ModelConfig`'s network can run in a step while others do not."""
    units = sum(model.units)
    if model.model_type != "vanilla" or model.final_survival_probability != 1:
        raise ValueError(
            "`train_effective` draws the units of a step by itself, so it is for model_type='vanilla' with "
            f"final_survival_probability=1. Received: train_effective={train_effective}, "
            f"model_type={model.model_type!r}, final_survival_probability={model.final_survival_probability}"
        )
    if not isinstance(train_effective, int) or not 1 <= train_effective <= units:
        raise ValueError(
            f"`train_effective` must be a number of units, from 1 to the {units} that the network has. Received: "
            f"train_effective={train_effective!r}"
        )
