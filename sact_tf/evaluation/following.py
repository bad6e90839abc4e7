"""Which checkpoints are evaluated: the latest of a run, and each new one while it trains."""

import contextlib
import os
import time

from sact_tf import checkpoints
from sact_tf.config import CONFIG_FILE, read_config
from sact_tf.evaluation import page, showing
from sact_tf.progress import print_line


def evaluate_run(config, log=print_line, strategy=None):
    """Evaluates the latest checkpoint of a run and prints its metrics; then, unless told to do it once, each new one.

    Waits for a checkpoint where there is none yet, returns after the run's last step or on an interrupt (Ctrl-C), which
    a single evaluation passes on. A checkpoint that training removes before it is read is left out, and the next one
    waited for.

    Args:
        config: `EvaluationConfig`.
        log: called with lines of text.
        strategy: `tf.distribute.Strategy` whose replicas share each batch; None for one device.

    Returns:
        The metrics of the last evaluation, see `sact_tf.evaluation.evaluate`, or None if there was none.

    Raises:
        FileNotFoundError, ValueError: as `sact_tf.load_release_checkpoint`.
        OSError: if events or the report cannot be written; the metrics are said before.
    """
    results = None
    showing.check(config)
    try:
        for checkpoint in _checkpoints(config, log):
            try:
                results, remarks = showing.evaluate_and_show(config, checkpoint, log, strategy)
            except (FileNotFoundError, ValueError):
                if not _follows(config) or checkpoints.is_whole(checkpoint):
                    raise
                log(f"{checkpoint} was removed before it was read. Going on with the next one.")
                continue
            except showing.NotShown as error:
                _say(error.metrics, log)
                raise
            _say(results, log)
            for text in remarks:
                log(f"Note: {text}")
    except KeyboardInterrupt:
        # What comes behind a single evaluation would take its figures to be there.
        if not _follows(config):
            raise
        log("Stopped.")
    return results


def _say(metrics, log):
    for name, value in metrics.items():
        log(f"{name}[{page.show(value)}]")


def wait_for_checkpoint(path, log=print_line):
    """Returns once a run has a checkpoint, and so a configuration, which says what is to be evaluated.

    Args:
        path: directory of a run, which may not exist yet; a checkpoint itself is not waited for.
        log: called with a line of text where there is none yet.

    Returns:
        bool: True, or False on an interrupt (Ctrl-C), which it says.
    """
    try:
        if not _is_one_checkpoint(path):
            _wait(path, log)
    except KeyboardInterrupt:
        log("Stopped.")
        return False
    return True


def _wait(directory, log):
    if checkpoints.latest_named(directory) is None:
        log(f"Waiting for a checkpoint in {directory}")
        if unnamed := checkpoints.unnamed_in(directory):
            log(
                "There are checkpoints in it, and no file `checkpoint` that names the latest of them. To evaluate one, "
                f"give --checkpoint_dir={unnamed[-1]}"
            )
        next(_each(directory))


def _checkpoints(config, log):
    """Yields the prefix of the latest checkpoint, again whenever there is a new one, until the run is complete."""
    if not _follows(config):
        yield checkpoints.checkpoint_prefix(config.checkpoint_dir)
        return
    directory, seconds = config.checkpoint_dir, config.eval_interval_secs
    _wait(directory, log)
    for prefix in _each(directory, min_interval_secs=seconds):
        yield prefix
        if _is_complete(directory, prefix):
            return


def _each(directory, min_interval_secs=0):
    """Yields the prefix of the latest checkpoint of a run, and each later one once it is there.

    One of the same name that was written anew, by a run that began anew, is a later one.

    Args:
        directory: of the run.
        min_interval_secs: float, seconds between two of them at the least.
    """
    last = None
    while True:
        latest, began = checkpoints.latest_named(directory), time.monotonic()
        written = latest and _written_at(latest)
        if latest is None or (latest, written) == last:
            time.sleep(1)
            continue
        yield latest
        last = latest, written
        time.sleep(max(0.0, min_interval_secs - (time.monotonic() - began)))


def _written_at(prefix):
    """When a checkpoint was written, nanoseconds; None for one that is gone."""
    with contextlib.suppress(FileNotFoundError):
        return os.stat(f"{prefix}.index").st_mtime_ns


def _follows(config):
    """Whether there are further checkpoints to wait for."""
    return not config.evaluate_once and not _is_one_checkpoint(config.checkpoint_dir)


def _is_one_checkpoint(path):
    """Whether a path is that of a checkpoint's files, or of one of them, and not of a directory of a run.

    So is one that is named like a checkpoint beside those of a run: no directory of that name will ever be there.
    """
    beside = os.path.exists(os.path.join(os.path.dirname(path), CONFIG_FILE)) and ".ckpt-" in os.path.basename(path)
    return os.path.isfile(path) or ((os.path.exists(f"{path}.index") or beside) and not os.path.isdir(path))


def _is_complete(directory, checkpoint):
    """Whether a checkpoint is of the last step of our run; of the release's runs nothing says so."""
    if not os.path.exists(os.path.join(directory, CONFIG_FILE)):
        return False
    return checkpoints.step_of(checkpoint) >= read_config(directory).max_number_of_steps
