"""Files that have their names only once they are whole."""

import errno
import hashlib
import os

from sact_tf.progress import one_line

# Bytes of a file's name; 255 on most systems, of which the name of a temporary file needs some.
MAX_NAME = 200
FULL_DISK = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "files of this size are not allowed",
}


def write_atomically(path, pieces):
    """Writes pieces of bytes to a file that has its name only once it is whole and on the disk.

    Args:
        path: of the file; one that exists is replaced.
        pieces: iterable of bytes.

    Raises:
        OSError: if it cannot be written, with the name that was asked for; a full disk is told in a sentence, with its
            number in `errno`.
    """
    directory, name = os.path.split(os.path.abspath(path))
    temporary = os.path.join(directory, f".{short(name)}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
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
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)


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
