"""Bridges between the release's TF-Slim checkpoints, our training runs, and the variables of a model.

A variable is known by its name in the release (`resnet_v2/block1/unit_1/bottleneck_v2/conv1/weights`), in our own
checkpoints too, so one piece of code reads either.
"""

import numbers
import warnings

import tensorflow as tf

from sact_tf.checkpoints import heads, limits, slots
from sact_tf.checkpoints.names import check_backbone, named_variables, release_variables
from sact_tf.checkpoints.reading import (
    GLOBAL_STEP,
    VARIABLES_KEY,
    checkpoint_prefix,
    digest_of,
    global_step,
    is_whole,
    keys_under,
    latest_named,
    open_checkpoint,
    opened,
    quiet_search,
    read,
    signs_of_patterns,
    step_of,
    unnamed_in,
)
from sact_tf.checkpoints.writing import write_tensors

__all__ = [
    "AVERAGES_KEY",
    "VARIABLES_KEY",
    "checkpoint_prefix",
    "digest_of",
    "global_step",
    "has_averages",
    "initialize_from",
    "is_whole",
    "latest_named",
    "load",
    "load_averages",
    "load_release_checkpoint",
    "named_variables",
    "open_checkpoint",
    "quiet_search",
    "read_momentums",
    "save_release_checkpoint",
    "signs_of_patterns",
    "step_of",
    "unnamed_in",
]

# Where the moving averages are in a `tf.train.Checkpoint` of our training loop, if the run kept some.
AVERAGES_KEY = "averages"
# What the names of the release's networks begin with.
_ROOTS = {"imagenet": "resnet_v2/", "cifar": "resnet_residual/"}
# Names in an error, of each kind: a halting branch has eleven.
_MOST_LISTED = 12
_HALTING_SCOPE = "/halting_proba/"


def load_release_checkpoint(model, path):
    """Sets all variables of a model from a checkpoint: the release's (TF-Slim), or one of our training runs.

    Optimizer slots and the global step may be there and are ignored. Nothing is changed unless everything fits.

    Args:
        model: `Classifier` from `sact_tf.imagenet_resnet` or `sact_tf.cifar_resnet`.
        path: checkpoint prefix (`.../model.ckpt-12345`) or a directory with a `checkpoint` file.

    Raises:
        FileNotFoundError: if there is no checkpoint at `path`.
        ValueError: if variables are missing, left over or of another shape; all of them are named.
    """
    release_variables(model)
    load(model, path)


def load(model, path):
    """Sets all variables of any model from a checkpoint whose names are those of `named_variables`.

    Args and errors as in `load_release_checkpoint`.
    """
    _restore(model, path, keep=lambda name: True)


def initialize_from(model, path, skip_halting=True, skip_logits=False):
    """Starts fine-tuning: sets the variables of a model from a trained one, all but those of the halting branches.

    What is skipped keeps the values that it has, those of initialization in a new model.

    Args:
        model: `Classifier`, or `FasterRCNN`, which starts from a classifier too.
        path: as in `load_release_checkpoint`.
        skip_halting: bool; with False the checkpoint must have the halting branches as well.
        skip_logits: bool; with True the last layer, which the logits come from, is left out too (of a detector the
            scores and boxes of classes), so that the model may have another number of classes than the checkpoint.

    Returns:
        bool, whether what depends on the classes is now the checkpoint's.

    Raises:
        FileNotFoundError, ValueError: as in `load_release_checkpoint`.
    """
    check_backbone(model)
    _, keys = open_checkpoint(path)
    skipped = [_HALTING_SCOPE] * bool(skip_halting) + heads.scopes_left_out(model, keys, path, skip_logits)
    _restore(model, path, keep=lambda name: not any(scope in name for scope in skipped))
    return not {*heads.class_scopes(model)} & {*skipped}


def _restore(model, path, keep):
    wanted = {name: variable for name, variable in named_variables(model).items() if keep(name)}
    reader, keys = open_checkpoint(path)
    keys = {name: key for name, key in keys.items() if keep(name)}
    shapes = reader.get_variable_to_shape_map()
    missing = sorted(set(wanted) - set(keys))
    left_over = sorted(set(keys) - set(wanted))
    misshapen = [
        f"{name}: {list(shapes[keys[name]])} in the checkpoint, {list(variable.shape)} in the model"
        for name, variable in wanted.items()
        if name in keys and list(shapes[keys[name]]) != list(variable.shape)
    ]
    problems = {"missing from it": missing, "left over in it": left_over, "of another shape": misshapen}
    if any(problems.values()):
        listed = "\n".join(_listed(problem, names) for problem, names in problems.items() if names)
        way_out = _way_out(problems, heads.class_scopes(model), _network_of(keys), _network_of(wanted))
        raise ValueError(
            f"The checkpoint {path} does not fit the model '{model.name}': it was written by another network, or by "
            f"one with another model_type, number of units, channels or classes. {way_out} Variables\n"
            f"{listed}"
        )
    values = {name: read(reader, keys[name], path) for name in wanted}
    for name, variable in wanted.items():
        variable.assign(values[name])


def _listed(problem, names):
    more = [f"and {len(names) - _MOST_LISTED} more"] * (len(names) > _MOST_LISTED)
    return "\n  ".join([f"{len(names)} {problem}:", *names[:_MOST_LISTED], *more])


def _network_of(names):
    """Kind of network that variables belong to, `None` if they are of neither or of both."""
    kinds = {kind for kind, root in _ROOTS.items() if any(name.startswith(root) for name in names)}
    return kinds.pop() if len(kinds) == 1 else None


def _way_out(problems, class_scopes, written, wanted):
    if None not in (written, wanted) and written != wanted:
        return (
            f"It is of the network {written} (--network), and the model is {wanted}. Build the model with the "
            "arguments that it was trained with."
        )
    *others, misshapen = problems.values()
    if misshapen and not any(others) and all(any(scope in name for scope in class_scopes) for name in misshapen):
        return (
            "All but the number of classes fits: to fine-tune for other classes use `initialize_from` with "
            "`skip_logits=True` (train.py --finetune_path with --finetune_skip_logits), which leaves what depends on "
            "it as it is."
        )
    return (
        "Build the model with the arguments that it was trained with; to start an adaptive model from a plain one use "
        "`initialize_from` (train.py --finetune_path)."
    )


def has_averages(path):
    """Whether the checkpoint at a path, as in `load_release_checkpoint`, has moving averages of its weights."""
    return bool(_averages_in(opened(path)))


def load_averages(model, path):
    """Sets the trainable variables of a model to the moving averages that a training run kept of them.

    Args:
        model: `Classifier`.
        path: as in `load_release_checkpoint`.

    Raises:
        FileNotFoundError, ValueError: as there; ValueError also if the run kept none.
    """
    reader = opened(path)
    keys = _averages_in(reader)
    if not keys:
        raise ValueError(
            f"The checkpoint {path} has no moving averages; they are kept by training with --moving_average_decay. "
            "Evaluate the weights themselves with --nouse_moving_average."
        )
    named = named_variables(model)
    values = {name: read(reader, key, path) for name, key in keys.items()}
    for name, value in values.items():
        named[name].assign(value)


def _averages_in(reader):
    return keys_under(AVERAGES_KEY, reader.get_variable_to_shape_map())


def read_momentums(model, path):
    """Returns the momentum that a training run of ours had for each variable, for `save_release_checkpoint`.

    It is the `m` of `m = momentum * m + gradient`, `w = w - learning_rate * m`, as in TensorFlow 1's slots.

    Args:
        model: `Classifier` of the run's configuration.
        path: as in `load_release_checkpoint`.

    Returns:
        Dict from the release's name of each trainable variable to a float32 array of its shape; empty where there is
        no optimizer of ours in the checkpoint, or one of frozen variables.

    Raises:
        FileNotFoundError, ValueError: as in `load_release_checkpoint`.
    """
    reader = opened(path)
    keys = slots.momentum_keys(reader.get_variable_to_shape_map(), model.trainable_variables, named_variables(model))
    return {name: read(reader, key, path) for name, key in keys.items()}


def save_release_checkpoint(model, directory, global_step, momentums=None):
    """Writes the variables of a model as TF-Slim does: the release's code can restore them.

    The files, `model.ckpt-<global_step>.index` and `.data-00000-of-00001`, have the bytes that TensorFlow 1.0 wrote for
    the same values. A `checkpoint` file makes them the latest of the directory. Without `momentums` the release can
    evaluate, export and fine-tune (`--finetune_path`) what was written, but not go on with its training.

    Not everything that our networks can do is in the release. A UserWarning says so for a `stem_stride` other than 1,
    stochastic depth, a network without shortcuts, another head or halting `epsilon` than the release's (its code
    restores the variables and computes another network with them), and `act` with a block of one unit (which it cannot
    build).

    Args:
        model: `Classifier` from `sact_tf.imagenet_resnet` or `sact_tf.cifar_resnet`.
        directory: that exists; `~` is the home directory.
        global_step: int, steps that the model was trained for.
        momentums: dict from the release's name of every trainable variable to its momentum, a float array of its shape;
            see `read_momentums`. Written as TensorFlow 1's slots, with which the release's training goes on from here.

    Returns:
        Prefix of the checkpoint's files.

    Raises:
        ValueError: if the model is not one of the release's networks, `momentums` are not its, or for another step.
        OSError: if the files cannot be written.
    """
    named = release_variables(model)
    if not isinstance(global_step, numbers.Integral) or isinstance(global_step, bool) or global_step < 0:
        raise ValueError(f"`global_step` must be an int, at least 0. Received: global_step={global_step!r}")
    for difference in limits.differences(model):
        warnings.warn(difference, stacklevel=2)
    # The release's variables are float32, whatever a dtype policy made of ours.
    tensors = {name: tf.cast(variable.value, tf.float32) for name, variable in named.items()}
    tensors |= slots.named_slots(momentums, named) if momentums else {}
    return write_tensors(directory, global_step, {**tensors, GLOBAL_STEP: tf.constant(global_step, tf.int64)})
