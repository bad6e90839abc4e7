"""Finding a data set in a directory, and saying what was looked for where there is none."""

import os
import re

MAX_ENTRIES = 12


def printable(path):
    """A path as text for a line: bytes that are no UTF-8, and characters that break a line, become `\\xe9`, `\\n`."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


def latest_version(directory, name):
    """Where TensorFlow Datasets keeps a data set: the latest `<name>/<version>` or `<version>`, or the directory."""
    for parent in (os.path.join(directory, name), directory):
        entries = os.listdir(parent) if os.path.isdir(parent) else []
        versions = [entry for entry in entries if re.fullmatch(r"\d+\.\d+\.\d+", entry)]
        if versions:
            return os.path.join(parent, max(versions, key=lambda entry: [int(part) for part in entry.split(".")]))
    return directory


def nothing_found(directory, looked_for):
    """Returns the error for a directory without a data set.

    Args:
        directory: path.
        looked_for: dict from the name of a format to the first file that it would have.
    """
    wanted = "\n".join(f"  {form}: {path}" for form, path in looked_for.items())
    if not os.path.isdir(directory):
        return FileNotFoundError(
            f"There is no directory {directory}. Give --dataset_dir one that holds any of\n{wanted}"
        )
    entries = sorted(os.listdir(directory))
    found = ", ".join(entries[:MAX_ENTRIES]) + (", ..." if len(entries) > MAX_ENTRIES else "")
    return FileNotFoundError(
        f"{directory} holds none of the formats that can be read. Looked for\n{wanted}\nFound: {found or 'nothing'}. "
        "Give another --dataset_dir, or make a data set from images with python -m sact_tf.data.convert."
    )
