"""One training run at a time in a directory: two of them would mix their checkpoints."""

from sact_tf.data.directory_lock import LOCK_FILE, DirectoryInUse, directory_lock

__all__ = ["LOCK_FILE", "DirectoryInUse", "run_lock"]


def run_lock(train_log_dir, log=None):
    """Context in which no other run, of this process or another, trains in a directory; see `directory_lock`."""
    without = "start no second run in it while this one trains"
    return directory_lock(train_log_dir, "trained in", "train_log_dir", without, log)
