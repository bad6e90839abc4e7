"""What a run goes on from where its directory was copied in part, or damaged: never silently from the beginning."""

import os
import shutil
import time

import pytest
import tensorflow as tf

from sact_tf import checkpoints, config, training
from sact_tf.training.latest import latest, name_latest, restore


def run_config(**changes):
    fields = {"image_size": 40, "batch_size": 4, "max_number_of_steps": 2, "deterministic": False}
    model = {"model": "1", "base_channels": 4}
    return config.default_training_config("cluttered_digits", model, **{**fields, **changes})


@pytest.fixture(scope="module")
def finished(tmp_path_factory, eagerly):
    """Directory of a run with the checkpoints of steps 1 and 2."""
    directory = tmp_path_factory.mktemp("finished")
    with eagerly():
        training.train(run_config(), str(directory), save_interval_secs=0, log=lambda line: None)
    assert latest(str(directory)).endswith("model.ckpt-2")
    return directory


@pytest.fixture
def damaged(finished, tmp_path):
    """A copy of it."""
    return shutil.copytree(finished, tmp_path / "copy")


def go_on(directory):
    lines = []
    result = training.train(run_config(), str(directory), log=lines.append)
    return result, lines


@pytest.mark.parametrize("content", [None, "", "hello", 'model_checkpoint_path: "model.ckpt-7"\n'])
@pytest.mark.usefixtures("without_graphs")
def test_without_its_list_a_run_goes_on_from_the_newest_checkpoint(damaged, content):
    (damaged / "checkpoint").unlink() if content is None else (damaged / "checkpoint").write_text(content)
    result, lines = go_on(damaged)
    assert lines[0].startswith("Note: ") and "is missing, or names no checkpoint that is there" in lines[0]
    assert lines[1:] == [f"Going on from step 2: {damaged}/model.ckpt-2"] and "loss" not in result
    # Evaluation finds it again too.
    assert checkpoints.checkpoint_prefix(damaged) == result["checkpoint"] == f"{damaged}/model.ckpt-2"
    # And the next start has nothing to say about it.
    name_latest(str(damaged), pytest.fail)
    assert latest(str(damaged)) == result["checkpoint"]


@pytest.mark.usefixtures("without_graphs")
def test_a_copy_goes_on_from_its_own_checkpoints_and_not_from_those_of_what_it_was_copied_of(damaged, tmp_path, capfd):
    (damaged / "checkpoint").unlink()
    go_on(damaged)
    assert str(damaged) not in (damaged / "checkpoint").read_text() and "deprecated" not in "".join(capfd.readouterr())
    # As earlier versions, and other programs, wrote it.
    named = (damaged / "checkpoint").read_text().replace('"model', f'"{damaged}/model')
    (damaged / "checkpoint").write_text(named)
    copy = shutil.copytree(damaged, tmp_path / "further")
    for path in copy.glob("model.ckpt-2.*"):
        path.unlink()
    result, lines = go_on(copy)
    assert lines[1] == f"Going on from step 1: {copy}/model.ckpt-1" and "loss" in result


def test_checkpoints_are_managed_on_where_the_clock_was_set_back(damaged, monkeypatch):
    before = (damaged / "checkpoint").read_text()
    name_latest(str(damaged), pytest.fail)
    assert (damaged / "checkpoint").read_text() == before
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 86_400)
    name_latest(str(damaged), pytest.fail)
    manager = tf.train.CheckpointManager(tf.train.Checkpoint(), str(damaged), 5)
    assert manager.checkpoints == [f"{damaged}/model.ckpt-{step}" for step in (1, 2)]
    assert manager.latest_checkpoint == f"{damaged}/model.ckpt-2"


def test_without_its_list_a_run_of_other_flags_is_refused_as_ever(damaged):
    (damaged / "checkpoint").unlink()
    with pytest.raises(ValueError, match=r"another configuration(.|\n)*--finetune_path starts from these weights"):
        training.train(run_config(seed=3), str(damaged))
    (damaged / "config.json").unlink()
    with pytest.raises(ValueError, match=r"checkpoints but no config\.json"):
        go_on(damaged)


@pytest.mark.parametrize("ending", ["index", "data-00000-of-00001"])
@pytest.mark.usefixtures("without_graphs")
def test_a_damaged_checkpoint_is_named_with_a_way_out_that_works(damaged, ending):
    with open(damaged / f"model.ckpt-2.{ending}", "r+b") as file:
        file.truncate(20)
    with pytest.raises(ValueError, match=r"cannot go on from .*model\.ckpt-2: the files are .* remove .*ckpt-2\.\*"):
        go_on(damaged)
    for path in damaged.glob("model.ckpt-2.*"):
        path.unlink()
    result, lines = go_on(damaged)
    assert "Going on from step 1" in lines[1] and result["step"] == 2


def test_a_checkpoint_of_another_network_than_the_runs_is_no_riddle_of_tensorflows(tmp_path):
    prefix = tf.train.Checkpoint(kernel=tf.Variable([1.0, 2.0])).write(str(tmp_path / "model.ckpt-2"))
    with pytest.raises(ValueError, match=r"cannot go on from .*model\.ckpt-2: .* of another network than the run's\."):
        restore(tf.train.Checkpoint(kernel=tf.Variable([1.0, 2.0, 3.0])), prefix)


def test_a_list_of_what_is_gone_ends_in_a_sentence(damaged):
    for path in damaged.glob("model.ckpt-*.index"):
        path.unlink()
    with pytest.raises(
        ValueError, match=r"names .*model\.ckpt-2, whose files.*remove .*checkpoint to begin the run anew"
    ):
        go_on(damaged)


def test_an_empty_list_is_no_checkpoint(damaged):
    (damaged / "checkpoint").write_text("")
    with pytest.raises(FileNotFoundError, match="No checkpoint at"):
        checkpoints.checkpoint_prefix(damaged)
    assert latest(os.path.join(damaged, "nothing")) is None


@pytest.mark.parametrize("address", ["gs://bucket/run", "file:///run", "S3://bucket"])
def test_an_address_is_no_directory_of_a_run(tmp_path, monkeypatch, address):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=f"not at an address. Give such .* Received: {address}"):
        training.train(run_config(), address)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["a[b]c", "a\\b"])
def test_a_name_in_which_tensorflow_finds_no_checkpoint_is_refused_before_training(finished, tmp_path, name):
    directory = tmp_path / name
    with pytest.raises(ValueError, match="for a sign of a pattern, and would not find what this run saves"):
        training.train(run_config(), str(directory))
    assert not directory.exists()
    shutil.copytree(finished, directory)
    with pytest.raises(FileNotFoundError, match=r"TensorFlow takes . for a sign of a pattern: rename what has it"):
        checkpoints.checkpoint_prefix(directory)
