"""Bridges between the release's TF-Slim checkpoints, our training runs, and the variables of a model.

A variable is known by its name in the release (`resnet_v2/block1/unit_1/bottleneck_v2/conv1/weights`), in our own
checkpoints too, so one piece of code reads either.
"""

import contextlib
import numbers
import os
import warnings

import tensorflow as tf

from sact_tf.checkpoints import heads, limits, slots
from sact_tf.checkpoints.names import check_backbone, named_variables, release_variables
from sact_tf.checkpoints.writing import write_tensors

# Where the variables are in a `tf.train.Checkpoint` of our training loop.
VARIABLES_KEY = "variables"
# Where their moving averages are, if the run kept some.
AVERAGES_KEY = "averages"
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_OPTIMIZER_SLOTS = ("/Momentum", "/ExponentialMovingAverage", "/RMSProp", "/RMSProp_1", "/Adam", "/Adam_1")
_HALTING_SCOPE = "/halting_proba/"
# The release's variable, and ours, that hold how many steps a checkpoint was trained for.
_GLOBAL_STEP = "global_step"
_OUR_STEP = f"step{_VALUE}"


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

    Raises:
        FileNotFoundError, ValueError: as in `load_release_checkpoint`.
    """
    check_backbone(model)
    _, keys = open_checkpoint(path)
    skipped = [_HALTING_SCOPE] * bool(skip_halting) + heads.scopes_left_out(model, keys, path, skip_logits)
    _restore(model, path, keep=lambda name: not any(scope in name for scope in skipped))


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
        listed = "\n".join(
            f"{len(names)} {problem}:\n  " + "\n  ".join(names) for problem, names in problems.items() if names
        )
        way_out = _way_out(problems, heads.class_scopes(model))
        raise ValueError(
            f"The checkpoint {path} does not fit the model '{model.name}': it was written by another network, or by "
            f"one with another model_type, number of units, channels or classes. {way_out} Variables\n"
            f"{listed}"
        )
    values = {name: _read(reader, keys[name], path) for name in wanted}
    for name, variable in wanted.items():
        variable.assign(values[name])


def _way_out(problems, class_scopes):
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


def load_averages(model, path):
    """Sets the trainable variables of a model to the moving averages that a training run kept of them.

    Args:
        model: `Classifier`.
        path: as in `load_release_checkpoint`.

    Raises:
        FileNotFoundError, ValueError: as there; ValueError also if the run kept none.
    """
    reader = _open(path)
    keys = _keys_under(AVERAGES_KEY, reader.get_variable_to_shape_map())
    if not keys:
        raise ValueError(
            f"The checkpoint {path} has no moving averages; they are kept by training with --moving_average_decay. "
            "Evaluate the weights themselves with --nouse_moving_average."
        )
    named = named_variables(model)
    values = {name: _read(reader, key, path) for name, key in keys.items()}
    for name, value in values.items():
        named[name].assign(value)


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
    reader = _open(path)
    keys = slots.momentum_keys(reader.get_variable_to_shape_map(), model.trainable_variables, named_variables(model))
    return {name: _read(reader, key, path) for name, key in keys.items()}


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
        directory: that exists.
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
    return write_tensors(directory, global_step, {**tensors, _GLOBAL_STEP: tf.constant(global_step, tf.int64)})


def global_step(path):
    """Returns how many steps a checkpoint was trained for, int; 0 where nothing says so.

    Args:
        path: as in `load_release_checkpoint`.

    Raises:
        FileNotFoundError, ValueError: as there.
    """
    reader = _open(path)
    for key in (_GLOBAL_STEP, _OUR_STEP):
        if reader.has_tensor(key):
            return int(_read(reader, key, path))
    return 0


def open_checkpoint(path):
    """Opens a checkpoint for reading by the release's names.

    Returns:
        `(reader, keys)`: a TensorFlow checkpoint reader, and a dict from the release's name of every model
        variable to the key under which the reader has it.

    Raises:
        FileNotFoundError, ValueError: if there is none, or it cannot be read.
    """
    reader = _open(path)
    names = list(reader.get_variable_to_shape_map())
    if any(name.startswith(f"{VARIABLES_KEY}/") for name in names):
        return reader, _keys_under(VARIABLES_KEY, names)
    return reader, {name: name for name in names if name != _GLOBAL_STEP and not name.endswith(_OPTIMIZER_SLOTS)}


def _open(path):
    prefix = checkpoint_prefix(path)
    try:
        return tf.train.load_checkpoint(prefix)
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        raise ValueError(f"The checkpoint {prefix} cannot be read; it may be cut short or damaged: {error}") from error


def _keys_under(root, names):
    """Dict from the release's name to the key, for the variables of a `tf.train.Checkpoint`'s attribute `root`."""
    keys = [name for name in names if name.startswith(f"{root}/") and name.endswith(_VALUE)]
    return {key[len(root) + 1 : -len(_VALUE)].replace(".S", "/"): key for key in keys}


def checkpoint_prefix(path):
    """Returns the prefix of a checkpoint's files, for a prefix or for a directory (its latest checkpoint)."""
    path = os.path.expanduser(os.fspath(path))
    prefix = _latest(path) if os.path.isdir(path) else path
    for suffix in (".index", ".meta", ".data-00000-of-00001"):
        if prefix is not None and not os.path.exists(f"{prefix}.index"):
            prefix = prefix.removesuffix(suffix)
    if prefix is None or not os.path.exists(f"{prefix}.index"):
        strange = signs_of_patterns(path)
        pattern = f" TensorFlow takes {strange} for a sign of a pattern: rename what has it in its name." * bool(
            strange
        )
        raise FileNotFoundError(
            f"No checkpoint at {path}. Accepted are a checkpoint prefix (such as run/model.ckpt-12345, with its .index "
            f"and .data files) and a directory with a `checkpoint` file that names one.{pattern}"
        )
    return prefix


def _latest(directory):
    try:
        with quiet_search():
            return tf.train.latest_checkpoint(directory)
    except ValueError:  # the file `checkpoint` is empty
        return None


@contextlib.contextmanager
def quiet_search():
    """Context in which TensorFlow does not print, once a second, that a checkpoint is gone: who asks will say so."""

    def is_ours(record):
        return not record.getMessage().startswith("Couldn't match files for checkpoint")

    logger = tf.get_logger()
    logger.addFilter(is_ours)
    try:
        yield
    finally:
        logger.removeFilter(is_ours)


def signs_of_patterns(path):
    """Those signs of a path, text, that keep TensorFlow from finding a checkpoint's files: it looks for a pattern."""
    return " and ".join(sign for sign in "[\\" if sign in path)


def step_of(prefix):
    """The step in the name of a checkpoint, `model.ckpt-<step>`, int; 0 where there is none."""
    text = prefix.rpartition("-")[2]
    return int(text) if text.isdigit() else 0


def _read(reader, key, path):
    try:
        return reader.get_tensor(key)
    except (tf.errors.OpError, ValueError, RuntimeError, IndexError) as error:
        raise ValueError(f"The checkpoint {path} is damaged: {key} cannot be read: {error}") from error
