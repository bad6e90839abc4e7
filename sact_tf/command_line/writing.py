"""What a command says where its files cannot be written."""

import contextlib
import errno
import os
import re

from sact_tf.data.directories import missing

_FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "your share of the disk is used up"}
_FULL_MESSAGES = ("No space left on device", "Disk quota exceeded")
# Of one file, where others can still be written: a limit of the shell, `ulimit -f`, or of the file system.
_TOO_LARGE = "File too large"


def fullness(error):
    """Why no file at all can be written any more, as text; None for errors that say nothing of other files.

    Args:
        error: OSError, or what TensorFlow and HDF5 make of one.
    """
    # HDF5 hides the number in a longer message, TensorFlow has no number.
    text = next((text for text in _FULL_MESSAGES if text in str(error)), None)
    number = getattr(error, "errno", None)
    return _FULL.get(number) or (text and _FULL[errno.ENOSPC if text == _FULL_MESSAGES[0] else errno.EDQUOT])


def _is_too_large(error):
    return getattr(error, "errno", None) == errno.EFBIG or _TOO_LARGE in str(error)


@contextlib.contextmanager
def full_disk_named(path, flag):
    """Context in which files are written; a disk that is full, or a limit of a file's size, ends in a sentence.

    All else is passed on.

    Args:
        path: of the file or directory that the user asked for.
        flag: name of the flag that they asked for it with.

    Raises:
        OSError: if the disk is full, or files of that size are not allowed, whoever noticed it: Python, TensorFlow or
            HDF5.
    """
    try:
        yield
    except Exception as error:
        if not fullness(error) and not _is_too_large(error):
            raise
        raise explained(path, flag, error) from error


def explained(path, flag, error):
    """The OSError with a sentence for one without; arguments as in `full_disk_named`."""
    full = fullness(error)
    if _is_too_large(error):
        return OSError(
            f"{path} cannot be written: files of this size are not allowed. Raise the limit (ulimit -f), or give "
            f"another --{flag}."
        )
    reason = full or getattr(error, "strerror", None) or re.sub(r"\s+", " ", str(error))
    way_out = "Make space, or give" if full else "Give"
    return OSError(f"{path} cannot be written: {reason}. {way_out} another --{flag}.")


def make_directory(path, flag):
    """Creates a directory, and makes sure that files can be written there before anything is computed.

    Args:
        path: of the directory; one that exists is left as it is.
        flag: name of the flag that it was asked for with.

    Raises:
        OSError: with a sentence, if not.
    """
    try:
        os.makedirs(path, exist_ok=True)
        probe = os.path.join(path, f".{os.getpid()}.tmp")
        try:
            with open(probe, "wb") as file:
                file.write(b"\0")
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.remove(probe)
    except OSError as error:
        if os.path.islink(path) and not os.path.exists(path):
            raise OSError(f"{missing(path)}. Give another --{flag}.") from error
        raise explained(path, flag, error) from error
