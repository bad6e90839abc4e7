"""What lies beside the checkpoints of a run: what it is, and what it learns from and with."""

import glob
import os
import shutil

import tensorflow as tf

from sact_tf import config as configs
from sact_tf.data import pipeline, trained_classes, trained_records
from sact_tf.data.whole_files import write_atomically
from sact_tf.processor import ENVIRONMENT_FILE
from sact_tf.tasks import class_names_of, task_of
from sact_tf.training.environment import note_environment
from sact_tf.training.latest import CHECKPOINT_NAME

FILES = (configs.CONFIG_FILE, trained_classes.CLASSES_FILE, trained_records.RECORDS_FILE, ENVIRONMENT_FILE)


def open_data(config, train_log_dir, begun, log):
    """The task, the training data and the names of their classes, which are those of a run that has begun."""
    task = task_of(config.dataset)
    source = task.open_source(config.dataset, "train", config.image_size, dataset_dir=config.dataset_dir, log=log)
    pipeline.check_classes(source, config)
    names = class_names_of(task, source, config)
    if begun:
        trained_classes.check(train_log_dir, names, log)
    return task, source, names


def check_vacant(train_log_dir):
    """Raises ValueError for files that a new run would write over, unless they are of a start that came to nothing."""
    there = [name for name in FILES if os.path.lexists(os.path.join(train_log_dir, name))]
    if not there:
        return
    try:
        configs.read_config(train_log_dir)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{train_log_dir} holds {', '.join(there)}, which no training run wrote, or one whose configuration is "
            "damaged, and a new run would write over it. Give another --train_log_dir, or move it away."
        ) from error


def write(train_log_dir, config, source, names, begun, replicas, log):
    """Writes what the run is, and what it learns from unless it has begun already; then says what has changed.

    Args:
        train_log_dir: directory of the run.
        config: `TrainingConfig`.
        source: what the task's `open_source` returned.
        names: dict from the numbers of classes to texts.
        begun: whether there are checkpoints.
        replicas: int, devices that train together.
        log: called with lines of text.
    """
    write_atomically(os.path.join(train_log_dir, configs.CONFIG_FILE), [config.to_json().encode()])
    if begun:
        trained_records.compare(
            train_log_dir,
            source,
            log,
            "It goes on, but not as the run that was stopped would have: give the --dataset_dir that it began with, or "
            "another --train_log_dir, unless that is meant.",
        )
    else:
        trained_classes.note(train_log_dir, names)
        trained_records.note(train_log_dir, source)
    note_environment(train_log_dir, replicas, log)


class Manager(tf.train.CheckpointManager):
    """Writes the checkpoints of a run, and what belongs beside them again where that is gone.

    TensorFlow makes a directory anew that somebody moved or removed meanwhile; nothing could go on from checkpoints
    alone.

    Args:
        checkpoint: `tf.train.Checkpoint`.
        train_log_dir: directory of the run.
        max_to_keep: int, checkpoints that are kept.
        log: called with a line of text where something is written again.
    """

    def __init__(self, checkpoint, train_log_dir, max_to_keep, log):
        super().__init__(checkpoint, train_log_dir, max_to_keep, checkpoint_name=CHECKPOINT_NAME)
        self._log, self._contents = log, {}
        for path in (os.path.join(train_log_dir, name) for name in FILES):
            if os.path.isfile(path):
                with open(path, "rb") as file:
                    self._contents[path] = file.read()

    def save(self, checkpoint_number):
        """As TensorFlow's, and leaves no pieces of a checkpoint behind that cannot be finished.

        Args:
            checkpoint_number: int, the step.

        Raises:
            OSError, tf.errors.OpError: if it, or what belongs beside it, cannot be written.
        """
        if self._is_gone():
            self._make_anew()
        try:
            return super().save(checkpoint_number=checkpoint_number)
        except (tf.errors.OpError, OSError):
            self._remove_unfinished(checkpoint_number)
            if not self._is_gone():
                raise
        # The directory was removed while the checkpoint was being written.
        self._make_anew()
        return super().save(checkpoint_number=checkpoint_number)

    def _is_gone(self):
        return not os.path.exists(os.path.join(self.directory, configs.CONFIG_FILE))

    def _make_anew(self):
        self._log(
            f"Note: {self.directory} was moved or emptied while this run trains in it. What is saved from now on lies "
            "there all the same, and the run can go on from it."
        )
        os.makedirs(self.directory, exist_ok=True)
        for path, content in self._contents.items():
            write_atomically(path, [content])

    def _remove_unfinished(self, step):
        """Clears away the pieces of a checkpoint that could not be finished: on a full disk they are in the way."""
        pieces = os.path.join(self.directory, f"{CHECKPOINT_NAME}-{step}_temp")
        shutil.rmtree(pieces, ignore_errors=True)
        for path in glob.glob(os.path.join(glob.escape(self.directory), f"*-{step}.*tempstate*")):
            os.remove(path)
