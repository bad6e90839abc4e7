"""Directories that are there whole or not at all, whatever happens to the process that writes them."""

import contextlib
import ctypes
import errno
import fcntl
import glob
import os
import shutil
import uuid
from fnmatch import fnmatchcase

from sact_tf.data.whole_files import short

# What is in an export besides the format's own files, and tells it from a directory of something else.
DESCRIPTION_FILE = "export.json"
# What the formats write; all else in an export's directory was put there by somebody.
_WRITTEN = (
    DESCRIPTION_FILE,
    "saved_model.pb",
    "fingerprint.pb",
    "variables/variables.*",
    "assets/labels.txt",
    "model.onnx",
    "model.keras",
    "model.weights.h5",
    "model.ckpt-*",
    "checkpoint",
)
# Names of what would be lost that a message gives.
_NAMED = 5
# Linux: renameat2's flag that swaps two names in one step, and "paths are relative to the working directory".
_RENAME_EXCHANGE, _AT_FDCWD = 2, -100


def check_output_dir(path, overwrite):
    """Returns the resolved path if an export may be written there.

    Args:
        path: of the directory that the export is going to be.
        overwrite: bool, whether an export that is there already may be replaced.

    Raises:
        FileExistsError: if something is there that may not be replaced: always, unless it is an earlier export with
            nothing else beside its files, and `overwrite` is given. An empty directory is nothing, unless a disk is
            mounted there or it is the working directory: neither can be put in place whole.
    """
    resolved = os.path.realpath(os.path.expanduser(path))
    if os.path.ismount(resolved) or resolved == os.path.realpath(os.curdir):
        what = (
            "is where a disk is mounted" if os.path.ismount(resolved) else "is the directory that this command runs in"
        )
        raise FileExistsError(
            f"{path} {what}, and an export becomes its directory in one step, once it is whole. Give one inside of it: "
            f"--output_dir={os.path.join(path, 'export')}"
        )
    if not os.path.lexists(resolved) or (os.path.isdir(resolved) and not os.listdir(resolved)):
        return resolved
    if not os.path.isfile(os.path.join(resolved, DESCRIPTION_FILE)):
        raise FileExistsError(
            f"{path} exists and is no export (it has no {DESCRIPTION_FILE}), so it is never overwritten. Give another "
            "--output_dir, or remove it yourself."
        )
    if not overwrite:
        raise FileExistsError(
            f"{path} holds an export already. Give --overwrite to replace it, or another --output_dir."
        )
    others = [name for name in _names_in(resolved) if not any(fnmatchcase(name, each) for each in _WRITTEN)]
    if others:
        more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
        raise FileExistsError(
            f"{path} holds an export, and what no export wrote: {', '.join(others[:_NAMED])}{more}. It would be lost. "
            "Move it elsewhere, or give another --output_dir."
        )
    return resolved


def _names_in(directory):
    """What is in an export's directory, sorted, and in those that a SavedModel has in it: `assets/labels.txt`."""
    names = []
    for name in sorted(os.listdir(directory)):
        within = os.path.join(directory, name)
        if any(each.startswith(f"{name}/") for each in _WRITTEN) and os.path.isdir(within):
            names += [f"{name}/{each}" for each in sorted(os.listdir(within))]
        else:
            names.append(name)
    return names


@contextlib.contextmanager
def whole_directory(path, overwrite=False):
    """Context with a temporary directory beside `path`, which becomes `path` if the context ends without an error.

    Whatever was at `path` stays as it is until then, and is replaced in one step. What earlier processes that were
    killed left behind is removed; what one that still runs is writing is not.

    Args:
        path: of the directory.
        overwrite: bool, see `check_output_dir`.

    Raises:
        FileExistsError: see `check_output_dir`.
        OSError: if the directory cannot be written.
    """
    path = check_output_dir(path, overwrite)
    parent, name = os.path.split(path)
    name = short(name)
    with _advice():
        os.makedirs(parent, exist_ok=True)
        _remove_leftovers(parent, name)
        temporary, lock = _make_temporary(parent, name)
    try:
        yield temporary
        # Somebody may have put something there meanwhile.
        check_output_dir(path, overwrite)
        with _advice():
            _flush(temporary)
            _put_in_place(temporary, path)
            _flush(parent, below=False)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        os.close(lock)


@contextlib.contextmanager
def _advice():
    try:
        yield
    except OSError as error:
        raise OSError(
            f"The export cannot be written: {error}. Give an --output_dir on a disk with space, where you may create "
            "files."
        ) from error


def _make_temporary(parent, name):
    """Returns the path of a new directory, and the file descriptor that marks it as in use."""
    while True:
        # Not `tempfile.mkdtemp`, whose directories only their owner may read: a server often is another user.
        temporary = os.path.join(parent, f".{name}.{uuid.uuid4().hex}.tmp")
        os.mkdir(temporary)
        lock = _lock(temporary)
        # Another export may have taken it for a leftover before it was marked.
        if lock is not None and os.path.isdir(temporary):
            return temporary, lock


def _lock(directory):
    """Marks a directory as in use by this process; the mark goes with the process, however that ends.

    Returns:
        File descriptor that holds the mark, or None if another process has it.
    """
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _remove_leftovers(parent, name):
    for leftover in glob.glob(os.path.join(glob.escape(parent), f".{glob.escape(name)}.*.tmp")):
        with contextlib.suppress(FileNotFoundError):
            lock = _lock(leftover)
            if lock is not None:
                shutil.rmtree(leftover, ignore_errors=True)
                os.close(lock)


def _flush(directory, below=True):
    """Has the disk hold the files of a directory before its name says that they are there."""
    paths = [directory]
    for root, directories, files in os.walk(directory) if below else ():
        paths += [os.path.join(root, name) for name in (*directories, *files)]
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _put_in_place(temporary, path):
    """Gives a directory its name; what had the name before is at `temporary` then."""
    if not os.path.isdir(path) or not os.listdir(path):
        os.rename(temporary, path)
    elif not _exchange(temporary, path):
        # For a moment neither is there. A kill in it leaves both, under names that say which is which.
        aside = f"{path}.replaced"
        os.rename(path, aside)
        os.rename(temporary, path)
        os.rename(aside, temporary)


def _exchange(one, other):
    """Swaps two names in one step; returns False where the system cannot."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    if renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL):
        return False
    raise OSError(number, os.strerror(number), other)
