"""What of an export is done, in a directory beside the file: after a stop the command goes on from there."""

import contextlib
import fcntl
import glob
import json
import os
import re
import shutil
from typing import NamedTuple

import h5py

from sact_tf import command_line
from sact_tf.config import json_files

_PLAN_FILE = "plan.json"


class Part(NamedTuple):
    """A file with consecutive images of the split.

    Attributes:
        first, last: ints, numbers of the first image in the split, and of the one after the last.
        rows: int, how many of them were not damaged, and so are in the file.
        path: text.
    """

    first: int
    last: int
    rows: int
    path: str


@contextlib.contextmanager
def directory_of(path, description):
    """Context with the directory of the parts of a file; removed if the context ends without an error.

    Args:
        path: of the file.
        description: dict of plain values, what the parts are of.

    Raises:
        OSError: if it cannot be written, or another process does.
        ValueError: if there are parts of something else.
    """
    folder, name = os.path.split(path)
    directory = os.path.join(folder, f".{name}.parts")
    command_line.make_directory(directory, "export_path")
    lock = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _check_plan(directory, description)
        yield directory
        shutil.rmtree(directory)
    except BlockingIOError as error:
        raise OSError(f"Another process is writing {path} now. Wait for it, or give another --export_path.") from error
    finally:
        os.close(lock)


def _check_plan(directory, description):
    """Raises ValueError if there are parts of another export; notes what the parts are of."""
    plan = os.path.join(directory, _PLAN_FILE)
    if os.path.exists(plan) or parts_in(directory):
        begun = _read_plan(plan, directory)
        changes = [
            f"{name}: {begun.get(name)!r}, now {value!r}"
            for name, value in description.items()
            if begun.get(name) != value
        ]
        if changes:
            raise ValueError(
                f"An export with other settings was begun and stopped. Go on with the same ones, give another "
                f"--export_path, or remove {directory}.\n" + "\n".join(changes)
            )
        return
    temporary = f"{plan}.tmp"
    with open(temporary, "w", encoding="utf-8") as file:
        json.dump(description, file)
    os.replace(temporary, plan)


def _read_plan(plan, directory):
    try:
        return json_files.read_object(plan)
    except (FileNotFoundError, ValueError) as error:
        reason = "it is gone" if isinstance(error, FileNotFoundError) else error
        raise ValueError(
            f"An export was begun and stopped, and {plan}, which says with what settings, cannot be read: {reason}. "
            f"Remove {directory} to begin again, or give another --export_path."
        ) from error


def parts_in(directory):
    """List of each `Part`, in order, up to the first image that is in none; damaged files count as missing."""
    found, following = [], 0
    for path in sorted(glob.glob(os.path.join(glob.escape(directory), "*.h5"))):
        if numbers := re.fullmatch(r"(\d+)-(\d+)-(\d+)\.h5", os.path.basename(path)):
            part = Part(*map(int, numbers.groups()), path)
            # Where one was damaged, those behind it begin elsewhere after a start with another size of batches.
            if part.first == following and _is_whole(part):
                found.append(part)
                following = part.last
    return found


def _is_whole(part):
    try:
        with h5py.File(part.path, "r") as file:
            return part.rows == 0 or len(file["images"]) == part.rows
    except (OSError, RuntimeError, KeyError):
        return False


def progress(directory):
    """How many images of the split are done, and how many of them were damaged and left out."""
    parts = parts_in(directory)
    return (parts[-1].last if parts else 0), sum(part.last - part.first - part.rows for part in parts)
