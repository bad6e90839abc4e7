"""Files that have their names only once they are whole."""

import contextlib
import errno
import fcntl
import functools
import hashlib
import os
import re

from sact_tf.progress import one_line

# Bytes of a file's name; 255 on most systems, of which the name of a temporary file needs some.
MAX_NAME = 200
_TEMPORARY = re.compile(r"\.(.+)\.\d+\.tmp", re.DOTALL)
FULL_DISK = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "files of this size are not allowed",
}


def write_atomically(path, pieces):
    """Writes pieces of bytes to a file that has its name only once it is whole and on the disk.

    What processes that were killed left of the same file is removed; what one that still runs is writing is not.

    Args:
        path: of the file; one that exists is replaced.
        pieces: iterable of bytes.

    Raises:
        OSError: if it cannot be written, with the name that was asked for; a full disk is told in a sentence, with its
            number in `errno`.
    """
    directory, name = os.path.split(os.path.abspath(path))
    name = short(name)
    temporary = os.path.join(directory, f".{name}.{os.getpid()}.tmp")
    try:
        _remove_leftovers(directory, name)
        with opened(temporary) as file:
            try:
                for piece in pieces:
                    file.write(piece)
                file.flush()
                os.fsync(file.fileno())
                os.replace(temporary, path)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    os.remove(temporary)
                raise
    except OSError as error:
        if error.errno in FULL_DISK:
            told = OSError(_full_disk(path, error))
            # By its number commands know that nothing else can be written either.
            told.errno = error.errno
            raise told from error
        if error.errno is None:
            raise
        # The name of the temporary file is nobody's business.
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error


@contextlib.contextmanager
def opened(temporary):
    """Context with an empty file that is marked as in use as long as it is open, however its process ends.

    Whoever else opens it waits until it is renamed or removed, or its process has ended.
    """
    while True:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT, 0o666), "wb") as file:
            with contextlib.suppress(OSError):  # a disk that has no locks, where nothing is removed either
                # Others may be writing the same file.
                fcntl.flock(file, fcntl.LOCK_EX)
            # It may have its name by now, or have been taken for a leftover.
            if _is_at(file, temporary):
                file.truncate()
                yield file
                return


def _is_at(file, path):
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def _remove_leftovers(directory, name):
    for leftover in _leftovers(directory).pop(name, ()):
        # Those of other users cannot be opened, those that are being written not be locked.
        with contextlib.suppress(OSError), open(leftover, "rb+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(file, leftover):
                os.remove(leftover)


@functools.lru_cache
def _leftovers(directory):
    """Dict from names of files to lists of paths: what is there of them when a process first writes to a directory.

    Not at each file: a directory may have many.
    """
    found = {}
    # One that may be written to and not be read is none to look for them in.
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            if match := _TEMPORARY.fullmatch(entry.name):
                found.setdefault(match[1], []).append(entry.path)
    return found


def short(name):
    """A name for a temporary file of the one of this name: itself, or one that leaves room for more."""
    # A name may have as many bytes as the system allows.
    return name if len(os.fsencode(name)) < MAX_NAME else hashlib.sha256(os.fsencode(name)).hexdigest()


def in_words(error):
    """An OSError as a sentence, also one of the system that has but a number, a word and a path."""
    if error.errno is None or error.filename is None:
        return str(error)
    if error.errno in FULL_DISK:
        return _full_disk(error.filename, error)
    return f"{one_line(error.filename)} cannot be used: {error.strerror}."


def _full_disk(path, error):
    return (
        f"{one_line(path)} could not be written: {FULL_DISK[error.errno]}. Make room there and start again: files "
        "that are whole stay."
    )
