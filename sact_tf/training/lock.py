"""One training run at a time in a directory: two of them would mix their checkpoints."""

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
    """Another run is training in the directory."""


@contextlib.contextmanager
def run_lock(train_log_dir, log=None):
    """Context in which no other run, of this process or another, trains in a directory.

    The system keeps the lock for the process and takes it back when that ends, however it ends: what a killed run, or
    a machine that went down, left of it is no obstacle. On a network disk it holds between machines where the disk's
    server has file locks (NFS has them unless it is mounted with `nolock`).

    Args:
        train_log_dir: directory that exists.
        log: called with a line of text where the disk has no locks, so that nothing is held apart there; or None.

    Raises:
        DirectoryInUse: an OSError, if another run has the directory; it says which.
    """
    path = os.path.join(train_log_dir, LOCK_FILE)
    descriptor = _take(path, train_log_dir, log or (lambda text: None))
    try:
        yield
    finally:
        # Before it is let go: afterwards the name may be another run's.
        if _is_at(descriptor, path):
            os.remove(path)
        os.close(descriptor)


def _take(path, train_log_dir, log):
    """Returns the file descriptor that holds the lock."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = _holder(descriptor)
            os.close(descriptor)
            raise DirectoryInUse(
                f"{train_log_dir} is being trained in by {holder}. Wait until it is done, or stop it; or give another "
                "--train_log_dir."
            ) from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                os.close(descriptor)
                raise
            log(f"The disk of {train_log_dir} has no file locks: start no second run in it while this one trains.")
        # A run that ended just now may have removed the file between the two calls.
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
