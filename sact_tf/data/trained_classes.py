"""The names of the classes that a run learns, kept beside its configuration: other data are told from its own by them.

Numbers alone don't tell: data with as many, but other, classes, or with the same in another order, are read as the
network's. A run that began before there was such a note has none, and data are taken as they come.
"""

import json
import os
import re

from sact_tf.config import json_files, run_directory
from sact_tf.data.whole_files import write_atomically
from sact_tf.progress import named, one_line

CLASSES_FILE = "classes.json"


def note(train_log_dir, names):
    """Writes the names, a dict from the numbers of classes to texts, of a run that begins; an empty one none."""
    path = os.path.join(train_log_dir, CLASSES_FILE)
    if names:
        write_atomically(path, [f"{json.dumps(names, indent=1)}\n".encode()])
    # Of a start that failed.
    elif os.path.exists(path):
        os.remove(path)


def read(checkpoint):
    """The names that a run noted.

    Args:
        checkpoint: directory of the run, or prefix of a checkpoint in it.

    Returns:
        dict from the numbers of classes to texts; empty where nothing is noted.

    Raises:
        ValueError: if the note is damaged.
    """
    path = os.path.join(run_directory(checkpoint), CLASSES_FILE)
    try:
        names = json_files.read_object(path)
        if not all(re.fullmatch(r"\d+", number) and isinstance(name, str) for number, name in names.items()):
            raise ValueError("it has other things than names by numbers")
        return {int(number): name for number, name in names.items()}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except ValueError as error:
        raise ValueError(
            f"{one_line(path)} is damaged: {error}. It has the names of the run's classes, by their numbers. Remove "
            "it: then nothing tells data of other classes from the run's own."
        ) from error


def check(checkpoint, names, log=None):
    """Compares the classes of data with those of the run that a network comes from.

    Args:
        checkpoint: as in `read`.
        names: dict from the numbers of the data's classes to texts; numbers that are not in it are not looked at.
        log: called with a line of text if classes have other names, which may be other words for them; or None.

    Raises:
        ValueError: if a class of the run has another number here, so that the network's answers are of other classes.
    """
    differing = _differing(read(checkpoint), names)
    if not differing:
        return
    listed = _listed(differing)
    if {ours for theirs, ours in differing.values()} & {*read(checkpoint).values()}:
        raise ValueError(
            f"{one_line(checkpoint)} was trained on other classes than these, or on the same in another order: "
            f"{listed}. Give the data, or the labels, that it is for; {CLASSES_FILE} in its directory lists the "
            "classes as it has them."
        )
    if log:
        log(
            f"Note: {one_line(checkpoint)} was trained on classes of other names: {listed}. If these are not other "
            "words for the same, its answers are of other classes, and figures mean nothing."
        )


def compare_start(checkpoint, names, log):
    """Says so if a last layer that a run starts from was trained on other classes than the run's.

    Args:
        checkpoint, names: as in `check`.
        log: called with a line of text.
    """
    differing = _differing(read(checkpoint), names)
    if differing:
        log(
            f"Note: the last layer starts from one of other classes: {_listed(differing)}. If these are not other "
            "words for the same, start without it (--finetune_skip_logits)."
        )


def _differing(known, names):
    """Dict from each class that has two names to the one in `known` and the one in `names`."""
    both = sorted({*known} & {*names})
    return {number: (known[number], names[number]) for number in both if known[number] != names[number]}


def _listed(differing):
    lines = [f"class {number} is {theirs!r} there and {ours!r} here" for number, (theirs, ours) in differing.items()]
    return named(lines)
