"""Where a checkpoint is, and opening it: those of the release and those of our runs, by one set of names."""

import contextlib
import glob
import hashlib
import os

import tensorflow as tf

# Where the variables are in a `tf.train.Checkpoint` of our training loop.
VARIABLES_KEY = "variables"
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_OPTIMIZER_SLOTS = ("/Momentum", "/ExponentialMovingAverage", "/RMSProp", "/RMSProp_1", "/Adam", "/Adam_1")
# The release's variable, and ours, that hold how many steps a checkpoint was trained for.
GLOBAL_STEP = "global_step"
_OUR_STEP = f"step{_VALUE}"


def global_step(path):
    """Returns how many steps a checkpoint was trained for, int; 0 where nothing says so.

    Args:
        path: as in `load_release_checkpoint`.

    Raises:
        FileNotFoundError, ValueError: as there.
    """
    reader = opened(path)
    for key in (GLOBAL_STEP, _OUR_STEP):
        if reader.has_tensor(key):
            return int(read(reader, key, path))
    return 0


def open_checkpoint(path):
    """Opens a checkpoint for reading by the release's names.

    Returns:
        `(reader, keys)`: a TensorFlow checkpoint reader, and a dict from the release's name of every model
        variable to the key under which the reader has it.

    Raises:
        FileNotFoundError, ValueError: if there is none, or it cannot be read.
    """
    reader = opened(path)
    names = list(reader.get_variable_to_shape_map())
    if any(name.startswith(f"{VARIABLES_KEY}/") for name in names):
        return reader, keys_under(VARIABLES_KEY, names)
    return reader, {name: name for name in names if name != GLOBAL_STEP and not name.endswith(_OPTIMIZER_SLOTS)}


def opened(path):
    """A TensorFlow checkpoint reader of the checkpoint at a path; errors as in `open_checkpoint`."""
    prefix = checkpoint_prefix(path)
    try:
        return tf.train.load_checkpoint(prefix)
    except (tf.errors.OpError, ValueError, RuntimeError) as error:
        raise ValueError(f"The checkpoint {prefix} cannot be read; it may be cut short or damaged: {error}") from error


def keys_under(root, names):
    """Dict from the release's name to the key, for the variables of a `tf.train.Checkpoint`'s attribute `root`."""
    keys = [name for name in names if name.startswith(f"{root}/") and name.endswith(_VALUE)]
    return {key[len(root) + 1 : -len(_VALUE)].replace(".S", "/"): key for key in keys}


def checkpoint_prefix(path):
    """Returns the prefix of a checkpoint's files, for a prefix or for a directory (its latest checkpoint)."""
    path = os.path.expanduser(os.fspath(path))
    prefix = latest_named(path) if os.path.isdir(path) else path
    for suffix in (".index", ".meta", ".data-00000-of-00001"):
        if prefix is not None and not os.path.exists(f"{prefix}.index"):
            prefix = prefix.removesuffix(suffix)
    if prefix is None or not os.path.exists(f"{prefix}.index"):
        there = unnamed_in(path)
        unnamed = f" There are checkpoints in it that no such file names; the newest is {there[-1]}." if there else ""
        strange = signs_of_patterns(path)
        pattern = f" TensorFlow takes {strange} for a sign of a pattern: rename what has it in its name." * bool(
            strange
        )
        raise FileNotFoundError(
            f"No checkpoint at {path}. Accepted are a checkpoint prefix (such as run/model.ckpt-12345, with its .index "
            f"and .data files) and a directory with a `checkpoint` file that names one.{unnamed}{pattern}"
        )
    return prefix


def latest_named(directory):
    """Prefix of the checkpoint that a directory's file `checkpoint` names; None without one, or where it is empty.

    Where the file names the place that the directory was copied or moved from, as TensorFlow 1 wrote it, it is the
    checkpoint of that name in here.
    """
    try:
        with quiet_search():
            state = tf.train.get_checkpoint_state(directory)
            named = state and os.path.join(directory, os.path.basename(state.model_checkpoint_path))
            is_here = named and os.path.exists(f"{named}.index") and not signs_of_patterns(named)
            return named if is_here else tf.train.latest_checkpoint(directory)
    except ValueError:  # the file `checkpoint` is empty
        return None


def unnamed_in(directory):
    """Prefixes of the checkpoints in a directory, that of most steps last, where no file names the latest of them."""
    indices = glob.glob(os.path.join(glob.escape(directory), "*.index"))
    return sorted((path.removesuffix(".index") for path in indices), key=step_of)


def is_whole(prefix):
    """Whether both kinds of a checkpoint's files are there, its index and its data."""
    return os.path.exists(f"{prefix}.index") and bool(glob.glob(f"{glob.escape(prefix)}.data-*"))


def digest_of(prefix):
    """SHA-256 of a checkpoint's index, hexadecimal: the index has a checksum of every variable."""
    with open(f"{prefix}.index", "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


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
    """Characters of a path, as text, that TensorFlow takes for a glob pattern, so that it finds no files there."""
    return " and ".join(sign for sign in "[\\" if sign in path)


def step_of(prefix):
    """The step in the name of a checkpoint, `model.ckpt-<step>`, int; 0 where there is none."""
    text = prefix.rpartition("-")[2]
    return int(text) if text.isdigit() else 0


def read(reader, key, path):
    """The value of a variable, as NumPy has it; ValueError where its bytes are damaged."""
    try:
        return reader.get_tensor(key)
    except (tf.errors.OpError, ValueError, RuntimeError, IndexError) as error:
        raise ValueError(f"The checkpoint {path} is damaged: {key} cannot be read: {error}") from error
