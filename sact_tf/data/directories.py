"""Finding a data set in a directory, and saying what was looked for where there is none."""

import os
import re

from sact_tf.progress import one_line

MAX_ENTRIES = 12
_CONVERT = ", or make a data set from images with python -m sact_tf.data.convert"
PACKED = (".gz", ".tgz", ".tar", ".zip", ".bz2", ".xz", ".zst")


def missing(path):
    """Says of a path that does not exist what it is: nothing, or a link to nothing."""
    if os.path.islink(path):
        return f"{one_line(path)} is a link to {one_line(os.readlink(path))}, which does not exist"
    return f"There is no {one_line(path)}"


def latest_version(directory, name, is_whole=lambda place: True, log=None):
    """Where TensorFlow Datasets keeps a data set: the latest `<name>/<version>` or `<version>`, or the directory.

    Args:
        directory: path.
        name: of the data set.
        is_whole: function from the path of a version to whether what is wanted is there. One that is not whole hides
            no older one that is; if none is, it is the latest again.
        log: called with a line of text if a later version is passed over, or None.
    """
    versions = []
    for parent in (os.path.join(directory, name), directory):
        entries = os.listdir(parent) if os.path.isdir(parent) else []
        found = [entry for entry in entries if re.fullmatch(r"\d+\.\d+\.\d+", entry)]
        found.sort(key=lambda entry: [int(part) for part in entry.split(".")], reverse=True)
        versions += [os.path.join(parent, entry) for entry in found]
    if not versions:
        return directory
    chosen = next(filter(is_whole, versions), versions[0])
    if chosen != versions[0] and log:
        log(f"Reading {chosen}: {versions[0]} is not whole")
    return chosen


def folders_of_split(split):
    """Names that the folder of a split may have, a list: its own, and last what Roboflow calls it."""
    return [split, "valid" if split == "val" else split]


def _of_one_split(directory, entries):
    """What to do about a folder of one split, as programs that mark objects export them; an empty text for others."""
    if any(entry.startswith("_annotations.") for entry in entries):
        above = os.path.dirname(os.path.abspath(directory))
        return f" This is the folder of one split: give the one above, {one_line(above)}."
    if any(entry.lower().endswith(".xml") for entry in entries):
        return (
            " XML files beside their pictures (--dataset=voc) are read where they lie in a folder of their split, "
            "train, val or test: give the folder above that one, or sort files and pictures into such folders."
        )
    return ""


def nothing_found(directory, looked_for, convertible=True, flag="dataset_dir", splits=()):
    """Returns the error for a directory without a data set.

    Args:
        directory: path.
        looked_for: dict from the name of a format to the first file that it would have.
        convertible: bool, whether such data can be made from images.
        flag: name of the flag that the directory was given by.
        splits: names of the splits that are there.
    """
    wanted = "\n".join(f"  {form}: {path}" for form, path in looked_for.items())
    if not os.path.isdir(directory):
        what, give = f"There is no directory {directory}", "Give"
        if os.path.exists(directory):
            what = f"{directory} is a file, not a directory"
            give = "Unpack it, and give" if directory.endswith(PACKED) else give
        elif os.path.islink(directory):
            what = missing(directory)
        return FileNotFoundError(f"{what}. {give} --{flag} one that holds any of\n{wanted}")
    entries = sorted(os.listdir(directory))
    packed = [entry for entry in entries if entry.endswith(PACKED)]
    hint = f"Unpack {packed[0]}{', ...' if len(packed) > 1 else ''}, or give" if packed else "Give"
    found = ", ".join(entries[:MAX_ENTRIES]) + (", ..." if len(entries) > MAX_ENTRIES else "")
    listed = ", ".join([*splits[:MAX_ENTRIES], *["..."] * (len(splits) > MAX_ENTRIES)])
    others = f" Splits that are there: {listed}; training reads train, other commands what --split_name says."
    return FileNotFoundError(
        f"{directory} holds none of the formats that can be read. Looked for\n{wanted}\nFound: {found or 'nothing'}."
        f"{_of_one_split(directory, entries)}{others * bool(splits)} {hint} another --{flag}{_CONVERT * convertible}."
    )
