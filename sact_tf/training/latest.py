"""Which checkpoint a run goes on from: the one that the file `checkpoint` names, or the newest that is there whole."""

import glob
import os
import re
import time

import tensorflow as tf

from sact_tf import checkpoints
from sact_tf.data.whole_files import write_atomically

CHECKPOINT_NAME = "model.ckpt"
STATE_FILE = "checkpoint"


def check_name(train_log_dir):
    """Raises ValueError for a path in which TensorFlow would not find the checkpoints again that it writes there.

    So it does for an address such as gs://bucket/run: TensorFlow would write there, but everything else that a run has
    would go to a local directory of that name.
    """
    if re.match(r"[a-z][a-z0-9+.-]*://", str(train_log_dir), re.IGNORECASE):
        raise ValueError(
            "The directory of a run lies on a disk of this machine, or on one that is mounted here, and not at an "
            f"address. Give such a --train_log_dir, for a bucket where it is mounted. Received: {train_log_dir}"
        )
    if strange := checkpoints.signs_of_patterns(train_log_dir):
        raise ValueError(
            f"TensorFlow takes {strange} in the path of a checkpoint for a sign of a pattern, and would not find what "
            "this run saves, so that nothing could go on from it or evaluate it. Give a --train_log_dir without. "
            f"Received: {train_log_dir}"
        )


def latest(train_log_dir):
    """Prefix of the checkpoint that a run goes on from; None if the directory has none.

    Where the file `checkpoint` is missing or damaged, or names what is not there, as after half a directory was copied,
    or what is in another directory, it is the checkpoint of most steps: the run does not begin anew on top of it.

    Args:
        train_log_dir: path, which may not exist.

    Raises:
        ValueError: if the file names a checkpoint, and there is none at all.
    """
    named = _named(train_log_dir)
    if named is not None and _is_in(named, train_log_dir) and checkpoints.is_whole(named):
        return named
    there = _all_whole(train_log_dir)
    if named is not None and not there:
        path = os.path.join(train_log_dir, STATE_FILE)
        raise ValueError(
            f"{path} names {named}, whose files, .index and .data, are not there whole, and neither are those of "
            f"another checkpoint. Bring them back, or remove {path} to begin the run anew."
        )
    return there[-1] if there else None


def name_latest(train_log_dir, log):
    """Has the file `checkpoint` name what `latest` returns, where it does not; says so in a line.

    Checkpoints that the file did not list are listed without times, which TensorFlow's manager never removes. Those
    that it listed go on being removed (`max_to_keep`): where a clock that was set back since puts their times into the
    future, for which TensorFlow would keep them, they get times of long ago.
    """
    prefix = latest(train_log_dir)
    if prefix is None:
        return
    if prefix == _named(train_log_dir):
        state = tf.train.get_checkpoint_state(train_log_dir)
        if state.last_preserved_timestamp > time.time():
            _list(train_log_dir, prefix, state.all_model_checkpoint_paths, ["all_model_checkpoint_timestamps: 1"])
        return
    log(
        f"Note: {os.path.join(train_log_dir, STATE_FILE)} is missing, or names no checkpoint that is there. The newest "
        f"one is taken: {prefix}"
    )
    _list(train_log_dir, prefix, _all_whole(train_log_dir))


def _list(train_log_dir, prefix, prefixes, more_of_each=()):
    """Writes the file `checkpoint`: the latest, all, and more lines for each of these."""
    # Names alone, as TensorFlow's manager writes them: a copy of the directory is to go on from its own checkpoints.
    names = [os.path.basename(each) for each in (prefix, *prefixes)]
    lines = [f'model_checkpoint_path: "{names[0]}"', *(f'all_model_checkpoint_paths: "{name}"' for name in names[1:])]
    lines += list(more_of_each) * len(prefixes)
    write_atomically(os.path.join(train_log_dir, STATE_FILE), ["\n".join([*lines, ""]).encode()])


def restore(checkpoint, prefix):
    """Sets all that a run changes from one of its checkpoints.

    Args:
        checkpoint: `tf.train.Checkpoint`.
        prefix: str.

    Raises:
        ValueError: if the files cannot be read, or do not hold what the checkpoint has.
    """
    try:
        checkpoint.restore(prefix).assert_consumed()
    except (tf.errors.OpError, IndexError, AssertionError, ValueError) as error:
        raise ValueError(
            f"The run cannot go on from {prefix}: the files are cut short or damaged, another version of sact_tf wrote "
            "them, or they are of another network than the run's. Bring them back from a copy, or remove "
            f"{prefix}.* and start again with the same command, which goes on from the checkpoint before. TensorFlow "
            f"says: {' '.join(str(error).split())[:300]}"
        ) from error


def _named(train_log_dir):
    try:
        state = tf.train.get_checkpoint_state(train_log_dir)
    except ValueError:  # an empty file
        return None
    return state and state.model_checkpoint_path


def _is_in(prefix, directory):
    """Whether a checkpoint is of a directory, and not of one that this is a copy of."""
    return os.path.realpath(os.path.dirname(prefix)) == os.path.realpath(directory)


def _all_whole(train_log_dir):
    """Prefixes of all checkpoints of a run, in the order of their steps."""
    indices = glob.glob(os.path.join(glob.escape(train_log_dir), f"{CHECKPOINT_NAME}-*.index"))
    prefixes = [path.removesuffix(".index") for path in indices]
    numbered = [prefix for prefix in prefixes if re.search(r"-\d+$", prefix)]
    return sorted(filter(checkpoints.is_whole, numbered), key=checkpoints.step_of)
