"""Directories that are there whole or not at all, whatever happens to the process that writes them."""

import contextlib
import ctypes
import errno
import fcntl
import glob
import os
import shutil
import uuid

from sact_tf.data.whole_files import short

# Linux: renameat2's flag that swaps two names in one step, and "paths are relative to the working directory".
_RENAME_EXCHANGE, _AT_FDCWD = 2, -100


def resolve(path, what):
    """Returns the path of a directory that may come to be in one step, without links.

    Args:
        path: of the directory.
        what: noun, what it is going to be.

    Raises:
        FileExistsError: if a disk is mounted there, or it is the working directory.
    """
    resolved = os.path.realpath(os.path.expanduser(path))
    mounted = os.path.ismount(resolved)
    if mounted or resolved == os.path.realpath(os.curdir):
        place = "where a disk is mounted" if mounted else "the directory that this command runs in"
        raise FileExistsError(
            f"{path} is {place}, and the {what} becomes its directory in one step, once it is whole. Give one inside "
            f"of it: --output_dir={os.path.join(path, what)}"
        )
    return resolved


@contextlib.contextmanager
def whole_directory(path, check, what):
    """Context with a temporary directory beside `path`, which becomes `path` if the context ends without an error.

    Whatever was at `path` stays as it is until then, and is replaced in one step. What earlier processes that were
    killed left behind is removed; what one that still runs is writing is not.

    Args:
        path: of the directory.
        check: function from it to what `resolve` gives, which raises an error if something else is in the way. It is
            asked twice: somebody may have put something there meanwhile.
        what: noun, what is written.

    Raises:
        OSError: if the directory cannot be written.
    """
    path = check(path)
    parent, name = os.path.split(path)
    name = short(name)
    with _advice(what):
        os.makedirs(parent, exist_ok=True)
        _remove_leftovers(parent, name)
        temporary, lock = _make_temporary(parent, name)
    try:
        yield temporary
        check(path)
        with _advice(what):
            _flush(temporary)
            _put_in_place(temporary, path)
            _flush(parent, below=False)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        os.close(lock)


@contextlib.contextmanager
def _advice(what):
    try:
        yield
    except OSError as error:
        raise OSError(
            f"The {what} cannot be written: {error}. Give an --output_dir on a disk with space, where you may create "
            "files."
        ) from error


def _make_temporary(parent, name):
    """Returns the path of a new directory, and the file descriptor that marks it as in use."""
    while True:
        # Not `tempfile.mkdtemp`, whose directories only their owner may read: a server often is another user.
        temporary = os.path.join(parent, f".{name}.{uuid.uuid4().hex}.tmp")
        os.mkdir(temporary)
        # Another process may have taken it for a leftover before it was marked.
        with contextlib.suppress(FileNotFoundError):
            lock = _lock(temporary)
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
