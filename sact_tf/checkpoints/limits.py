"""What the original release cannot compute, or build, of a network of ours."""

import keras

from sact_tf import halting
from sact_tf.layers import parts
from sact_tf.models import CifarBackbone, ImageNetBackbone
from sact_tf.models.cifar_resnet import NORM_EPSILON, NORM_MOMENTUM

# What the head of the release's networks is, in the words of `Classifier`'s arguments.
_CIFAR_HEAD = {
    "pool_first": True,
    "activation": parts.leaky_relu,
    "norm_momentum": NORM_MOMENTUM,
    "norm_epsilon": NORM_EPSILON,
}
_IMAGENET_HEAD = {
    "pool_first": False,
    "activation": keras.activations.relu,
    "norm_momentum": parts.NORM_MOMENTUM,
    "norm_epsilon": parts.NORM_EPSILON,
}
# Arguments that the release's scripts have no flag for, and their only values.
_SCRIPTS = {
    CifarBackbone: {"base_channels": 16, "num_classes": 10, "weight_decay": 2e-4, "label_smoothing": 0.0},
    ImageNetBackbone: {"base_channels": 64, "num_classes": 1001, "weight_decay": 1e-4, "label_smoothing": 0.1},
}
_EARLY_STOPPING = (
    "The release's training of act_early_stopping fails as soon as a unit is skipped. Go on with its --model_type=act, "
    "which has the same variables."
)


def differences(model):
    """Sentences on what keeps the release from computing what a model computes, with the same variables.

    Args:
        model: `Classifier` from `sact_tf.imagenet_resnet` or `sact_tf.cifar_resnet`.

    Returns:
        List of str, empty where the release computes the same.
    """
    return [*_other_computation(model), *_cannot_build(model)]


def _other_computation(model):
    """Settings that leave no trace in the variables: restored without a word, and another network."""
    settings = {}
    if getattr(model.backbone, "stem_stride", 1) != 1:
        settings["stem_stride"] = model.backbone.stem_stride
    if model.backbone.final_survival_probability != 1:
        settings["final_survival_probability"] = model.backbone.final_survival_probability
    if not getattr(model.backbone, "shortcuts", True):
        settings["shortcuts"] = False
    head = _CIFAR_HEAD if isinstance(model.backbone, CifarBackbone) else _IMAGENET_HEAD
    settings |= {name: getattr(model, name) for name, value in head.items() if getattr(model, name) != value}
    settings |= {
        f"epsilon (of {name})": block.epsilon
        for name, block in model.blocks.items()
        if block.model_type != "vanilla" and block.epsilon != halting.EPSILON
    }
    return [
        f"The release's network has no {name}={getattr(value, '__name__', value)}. Its code restores this checkpoint, "
        "but computes another network with it."
        for name, value in settings.items()
    ]


def _cannot_build(model):
    single = [name for name, block in model.blocks.items() if len(block.units) == 1]
    if model.backbone.model_type != "act" or not single:
        return []
    return [
        f"The release cannot build an `act` network with a block of one unit ({', '.join(single)}), so its code cannot "
        "restore this checkpoint. It can evaluate it with --model_type=act_early_stopping, which computes the same."
    ]


def script_settings(model, resuming):
    """Sentences on what the release's scripts set otherwise, where its functions would take it as an argument.

    Args:
        model: `Classifier`, as in `differences`.
        resuming: bool, whether its training is to go on as well.
    """
    mine = {
        "base_channels": model.backbone.base_channels,
        "num_classes": model.num_classes,
        "weight_decay": model.weight_decay,
        "label_smoothing": model.label_smoothing,
    }
    theirs = next(value for kind, value in _SCRIPTS.items() if isinstance(model.backbone, kind))
    trained = ("weight_decay", "label_smoothing")
    stops = resuming and model.backbone.model_type == "act_early_stopping"
    return [_EARLY_STOPPING] * stops + [
        f"The release's scripts have {name}={theirs[name]}, not {name}={value}, and no flag for it: change it there."
        for name, value in mine.items()
        if value != theirs[name] and (resuming or name not in trained)
    ]
