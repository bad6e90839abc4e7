"""One command at a time that writes into a directory: two of them would mix or remove each other's files."""

import contextlib
import errno
import fcntl
import json
import os
import socket
import time

LOCK_FILE = ".lock"
# What file systems answer that have no locks: some network disks, depending on how they are mounted.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)


class DirectoryInUse(OSError):
    """Another command is writing into the directory."""


@contextlib.contextmanager
def directory_lock(directory, use, flag, without, log=None):
    """Context in which no other command, of this process or another, holds a directory.

    The system keeps the lock for the process and takes it back when that ends, however it ends: what a killed one, or
    a machine that went down, left of it is no obstacle. On a network disk it holds between machines where the disk's
    server has file locks (NFS has them unless it is mounted with `nolock`).

    Args:
        directory: path; it exists.
        use: what the one that holds it does, as in "data/mine is being converted into".
        flag: name of the flag that gives another directory.
        without: what to do where the disk has no locks, for its message.
        log: called with a line of text where the disk has no locks, so that nothing is held apart there; or None.

    Raises:
        DirectoryInUse: an OSError, if another has the directory; it says which.
    """
    path = os.path.join(directory, LOCK_FILE)
    before, behind = f"{directory} is being {use} by", f"Wait until it is done, or stop it; or give another --{flag}."
    note = f"The disk of {directory} has no file locks: {without}."
    descriptor = _take(path, lambda holder: f"{before} {holder}. {behind}", lambda: log and log(note))
    try:
        yield
    finally:
        # Before it is let go: afterwards the name may be another's.
        if _is_at(descriptor, path):
            os.remove(path)
        os.close(descriptor)


def _take(path, refusal, say_without):
    """Returns the file descriptor that holds the lock."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = _holder(descriptor)
            os.close(descriptor)
            raise DirectoryInUse(refusal(holder)) from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                os.close(descriptor)
                raise
            say_without()
        # One that ended just now may have removed the file between the two calls.
        if _is_at(descriptor, path):
            _sign(descriptor)
            return descriptor
        os.close(descriptor)


def _is_at(descriptor, path):
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _sign(descriptor):
    """Leaves word of who holds the lock, for the message to others; on a full disk there is none."""
    facts = {"process": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(facts).encode(), 0)


def _holder(descriptor):
    try:
        facts = json.loads(os.pread(descriptor, 1000, 0))
        return f"process {facts['process']} on {facts['host']}, since {facts['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
