"""One training run at a time in a directory."""

import errno
import fcntl
import os
import pathlib
import signal
import subprocess
import sys
import threading

import pytest

from sact_tf import training
from sact_tf.config import ModelConfig, TrainingConfig
from sact_tf.data import directory_lock
from sact_tf.tasks import classification
from sact_tf.training import lock
from sact_tf.training.lock import DirectoryInUse, run_lock

CONFIG = TrainingConfig(
    model=ModelConfig(network="cifar", model="1", model_type="vanilla", num_classes=10, base_channels=2, stem_stride=2),
    dataset="cluttered_digits",
    image_size=40,
    batch_size=2,
    learning_rate=0.05,
    learning_rate_schedule="constant",
    max_number_of_steps=1,
    deterministic=False,
)
# Takes the lock of a directory and keeps it; needs no TensorFlow.
HOLDER = """
import runpy, sys, time

with runpy.run_path(sys.argv[1])["directory_lock"](sys.argv[2], "trained in", "train_log_dir", ""):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that has the lock of `tmp_path`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, directory_lock.__file__, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


class Started(Exception):
    """A training came as far as its data."""


def assert_starts(directory, monkeypatch):
    def open_source(*args, **kwargs):
        raise Started

    monkeypatch.setattr(classification, "open_source", open_source)
    with pytest.raises(Started):
        training.train(CONFIG, str(directory))


def test_a_second_run_is_refused_while_the_first_lives_and_told_who_that_is(tmp_path, holder):
    with pytest.raises(
        DirectoryInUse, match=rf"by process {holder.pid} on \S+, since 20\d\d-.*another --train_log_dir"
    ):
        training.train(CONFIG, str(tmp_path))
    assert os.listdir(tmp_path) == [lock.LOCK_FILE]


def test_the_lock_of_a_run_that_was_killed_is_no_obstacle(tmp_path, holder, monkeypatch):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert os.listdir(tmp_path) == [lock.LOCK_FILE]
    assert_starts(tmp_path, monkeypatch)
    assert os.listdir(tmp_path) == []


def test_workers_beside_the_chief_take_no_lock(tmp_path, holder, monkeypatch):
    monkeypatch.setattr(training, "is_chief", lambda strategy: False)
    assert_starts(tmp_path, monkeypatch)


def test_a_second_run_of_the_same_process_is_refused_in_another_thread_and_allowed_afterwards(tmp_path):
    refused = []

    def enter():
        try:
            with run_lock(tmp_path):
                refused.append(False)
        except DirectoryInUse as error:
            refused.append(f"process {os.getpid()} " in str(error))

    for _ in range(2):
        with run_lock(tmp_path):
            thread = threading.Thread(target=enter)
            thread.start()
            thread.join()
    enter()
    assert refused == [True, True, False]


def test_the_lock_goes_with_the_run_however_that_ends(tmp_path):
    for error in (ValueError, SystemExit, KeyboardInterrupt):
        with pytest.raises(error), run_lock(tmp_path):
            raise error
        assert os.listdir(tmp_path) == []


def test_a_lock_that_cannot_be_read_still_holds(tmp_path):
    with run_lock(tmp_path):
        (tmp_path / lock.LOCK_FILE).write_bytes(b"\xff not ours")
        with pytest.raises(DirectoryInUse, match="by another process"), run_lock(tmp_path):
            pass


def test_a_run_whose_lock_was_removed_by_hand_leaves_that_of_the_next_one(tmp_path):
    with run_lock(tmp_path):
        os.remove(tmp_path / lock.LOCK_FILE)
        second = run_lock(tmp_path)
        second.__enter__()
    assert os.listdir(tmp_path) == [lock.LOCK_FILE]
    with pytest.raises(DirectoryInUse), run_lock(tmp_path):
        pass
    second.__exit__(None, None, None)
    assert os.listdir(tmp_path) == []


def test_a_run_that_ends_between_opening_and_locking_does_not_leave_the_next_one_with_a_lock_of_nothing(
    tmp_path, monkeypatch
):
    path, flock = pathlib.Path(tmp_path, lock.LOCK_FILE), fcntl.flock

    def slow(descriptor, operation):
        monkeypatch.setattr(fcntl, "flock", flock)
        path.unlink()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", slow)
    with run_lock(tmp_path):
        assert path.exists()
        with pytest.raises(DirectoryInUse), run_lock(tmp_path):
            pass


def test_a_disk_without_locks_is_named_and_trained_on(tmp_path, monkeypatch):
    def unsupported(descriptor, operation):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    lines = []
    with run_lock(tmp_path, lines.append):
        assert lines == [f"The disk of {tmp_path} has no file locks: start no second run in it while this one trains."]
