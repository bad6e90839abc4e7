"""The names of the classes, from a file of one line a class."""

import os

from sact_tf.data.class_names import BACKGROUND, escaped, is_background
from sact_tf.progress import counted


def read_labels(path, num_classes, dataset, log=None):
    """Returns the names of all classes from class 0 on, list of text; None for no file.

    For ImageNet, whose class 0 is the background, the first line may be that of class 0 or of class 1. The list that
    `sact_tf.data.convert` wrote never has a line for the background. It may also be shorter than the network has
    classes: those that no picture was of are called `class 7`.

    Args:
        path: of a text file, or None.
        num_classes: int, of the network, the background included.
        dataset: a key of `sact_tf.config.DATASETS`.
        log: called with a line of text that says how the lines were read, or None.

    Raises:
        OSError, ValueError: if it cannot be read, has another number of lines than there are classes, or an empty one.
    """
    if path is None:
        return None
    lines = read_lines(path)
    first = 1 if dataset == "imagenet" else 0
    # What `sact_tf.data.convert` writes beside a data set: its class folders in order, without ImageNet's background.
    converted = os.path.basename(path) == f"{dataset}_classes.txt"
    if len(lines) == num_classes and not (converted and first):
        first = 0
    elif len(lines) + first != num_classes and not (converted and len(lines) + first < num_classes):
        raise ValueError(_wrong_number(path, lines, num_classes, first, converted))
    check_named(lines, path)
    labels = [BACKGROUND] * first + lines
    labels += [f"class {number}" for number in range(len(labels), num_classes)]
    if log:
        unnamed = num_classes - first - len(lines)
        # Where it is called otherwise, the list may be one without background, of a network with a class more.
        background = f"; class 0 is called {escaped(labels[0])}" if dataset == "imagenet" else ""
        rest = f"; without a name at the end: {counted(unnamed, 'class')}" if unnamed else ""
        log(f"Labels: {counted(len(lines), 'line')}, the first of them class {first}{background}{rest}")
    return labels


def read_lines(path):
    """The lines of a text file as a list; OSError or ValueError if it cannot be read."""
    path = os.path.expanduser(path)
    try:
        with open(path, encoding="utf-8-sig") as file:
            text = file.read()
    except UnicodeDecodeError as error:
        raise ValueError(f"The labels {path} are not UTF-8 text: {error}") from error
    except OSError as error:
        raise type(error)(
            f"The labels {path or repr(path)} cannot be read: {error.strerror}. Give --labels a text file with a line "
            "for each class, or leave it out."
        ) from error
    # Not `splitlines`, which knows further signs as ends of lines that a name may have in it.
    return text.removesuffix("\n").split("\n") if text else []


def check_named(lines, path):
    """Raises ValueError for a class without a name, of which TensorFlow's tables have none."""
    empty = [str(number) for number, line in enumerate(lines, 1) if not line]
    if empty:
        raise ValueError(
            f"The labels must have a name for each class. Received: nothing in line {', '.join(empty[:5])} of {path}"
        )


def begins_with_background(lines):
    """Whether the first line of a list is the class of what is nothing else."""
    return bool(lines) and is_background(lines[0])


def _wrong_number(path, lines, num_classes, first, converted):
    accepted = f"{num_classes} in all, from class 0 on"
    if first and converted:
        accepted = f"at most {num_classes - 1} as sact_tf.data.convert lists them, without the background, class 0"
    elif first:
        accepted += f", or {num_classes - 1}, without the background that is class 0 of ImageNet"
    return f"The labels must be one line a class, {accepted}. Received: {counted(len(lines), 'line')} in {path}"
