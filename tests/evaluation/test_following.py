"""Evaluation beside a training that keeps only its last checkpoints."""

import logging
import os

import pytest
import tensorflow as tf

from sact_tf import checkpoints
from sact_tf.config import EvaluationConfig, ModelConfig
from sact_tf.evaluation import following, showing


@pytest.fixture
def follow(tmp_path, monkeypatch):
    """Function that evaluates checkpoints 1, 2 and 3, of which reading the second fails, and what was logged."""
    prefixes = [str(tmp_path / f"model.ckpt-{step}") for step in (1, 2, 3)]
    for prefix in prefixes:
        for ending in ("index", "data-00000-of-00001"):
            (tmp_path / f"{prefix}.{ending}").touch()

    def run(error, removed=None, lines=None, **fields):
        def evaluate(config, checkpoint, log, strategy):
            if checkpoint == prefixes[1]:
                if removed:
                    (tmp_path / f"{checkpoint}.{removed}").unlink()
                raise error
            return {"eval/Accuracy": prefixes.index(checkpoint) + 1.0}, []

        monkeypatch.setattr(showing, "evaluate_and_show", evaluate)
        monkeypatch.setattr(following, "_each", lambda *words, **named: iter(prefixes))
        monkeypatch.setattr(checkpoints, "latest_named", lambda directory: prefixes[1])
        network = ModelConfig(network="cifar", model="1", num_classes=10)
        fields = {"checkpoint_dir": str(tmp_path), "eval_dir": str(tmp_path / "eval"), "evaluate_once": False, **fields}
        figures = {"image_size": 32, "split_name": "test", "num_examples": 1, "batch_size": 1}
        lines = [] if lines is None else lines
        return following.evaluate_run(
            EvaluationConfig(model=network, dataset="cifar10", **figures, **fields), lines.append
        ), lines

    return run


@pytest.mark.parametrize("removed", ["index", "data-00000-of-00001"])
@pytest.mark.parametrize("error", [FileNotFoundError("No checkpoint"), ValueError("cannot be read")])
def test_a_checkpoint_that_is_removed_before_it_is_read_is_left_out(follow, removed, error):
    results, lines = follow(error, removed)
    assert results == {"eval/Accuracy": 3.0}
    assert lines[0] == "eval/Accuracy[1]" and lines[-1] == "eval/Accuracy[3]"
    assert lines[1].endswith("model.ckpt-2 was removed before it was read. Going on with the next one.")


def test_a_checkpoint_that_is_named_and_gone_is_waited_for_without_the_words_of_tensorflow(tmp_path, monkeypatch):
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-7"')
    lines, said, waited = [], [], []
    handler = logging.StreamHandler()
    handler.emit = said.append

    def save_the_third_time(seconds):
        waited.append(seconds)
        if len(waited) == 3:
            (tmp_path / "model.ckpt-7.index").touch()

    monkeypatch.setattr(following.time, "sleep", save_the_third_time)
    fields = {"network": "cifar", "model": "1", "num_classes": 10}
    config = EvaluationConfig(
        model=ModelConfig(**fields), dataset="cifar10", image_size=32, split_name="test", num_examples=1, batch_size=1,
        checkpoint_dir=str(tmp_path), eval_dir=str(tmp_path / "eval"), evaluate_once=False,
    )  # fmt: skip
    tf.get_logger().addHandler(handler)
    try:
        with pytest.raises(FileNotFoundError, match="No checkpoint at"):
            checkpoints.checkpoint_prefix(tmp_path)
        assert next(following._checkpoints(config, lines.append)) == f"{tmp_path}/model.ckpt-7" and not said
        (tmp_path / "model.ckpt-7.index").unlink()
        assert waited == [1, 1, 1] and tf.train.latest_checkpoint(str(tmp_path)) is None and len(said) == 1
    finally:
        tf.get_logger().removeHandler(handler)
    assert lines == [f"Waiting for a checkpoint in {tmp_path}"]


def test_a_checkpoint_that_is_there_and_cannot_be_read_ends_it(follow):
    with pytest.raises(ValueError, match="does not fit"):
        follow(ValueError("The checkpoint does not fit"))


def test_an_evaluation_of_one_checkpoint_ends_with_the_error_where_it_was_removed(follow):
    with pytest.raises(FileNotFoundError):
        follow(FileNotFoundError("No checkpoint"), "index", evaluate_once=True)


def test_an_interrupt_ends_the_following_of_a_run_and_fails_a_single_evaluation(tmp_path, follow):
    assert follow(KeyboardInterrupt())[1][-1] == "Stopped."
    with pytest.raises(KeyboardInterrupt):
        follow(KeyboardInterrupt(), checkpoint_dir=f"{tmp_path}/model.ckpt-2")


@pytest.mark.parametrize("name", ["eval_dir", "report_dir"])
def test_a_directory_that_cannot_be_written_is_named_before_anything_is_computed(follow, tmp_path, name):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OSError, match=rf"^Nothing can be written in --{name}, .*file(/below)?: Not a directory"):
            follow(AssertionError("computed"), **{name: str(place)})
    follow(FileNotFoundError("gone"), "index", **{name: str(tmp_path / "new" / "one")})
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("ending", [".index", ".data-00000-of-00001", ""])
def test_one_checkpoint_is_evaluated_once_by_whichever_of_its_files_it_is_named(tmp_path, follow, ending):
    results, _ = follow(None, checkpoint_dir=f"{tmp_path}/model.ckpt-3{ending}")
    assert results == {"eval/Accuracy": 3.0}


def test_checkpoints_that_nothing_names_are_not_waited_for_in_silence(tmp_path, monkeypatch):
    (tmp_path / "model.ckpt-3.index").touch()
    monkeypatch.setattr(following, "_each", lambda directory: iter([directory]))
    lines = []
    assert following.wait_for_checkpoint(str(tmp_path), lines.append)
    assert lines[0] == f"Waiting for a checkpoint in {tmp_path}"
    assert lines[1].endswith(f"To evaluate one, give --checkpoint_dir={tmp_path}/model.ckpt-3")


def test_figures_that_cannot_be_written_are_said_before_the_error(follow):
    error = showing.NotShown("Files in x cannot be written", {"eval/Accuracy": 0.5})
    lines = []
    with pytest.raises(OSError, match="Files in x"):
        follow(error, lines=lines)
    assert lines[-1] == "eval/Accuracy[0.5]"


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        tf.errors.ResourceExhaustedError(
            None, None, "{{node W}} x; No space left on device\n\tFailed to flush. Could no"
        ),
    ],
)
def test_a_disk_that_is_full_ends_an_evaluation_in_a_sentence(error):
    with (
        pytest.raises(
            showing.NotShown, match=r"^Files in runs cannot be written: [^{]* left on device\. Make .*--eval_dir\.$"
        ) as caught,
        showing._written("runs", "eval_dir", {"eval/Accuracy": 0.5}),
    ):
        raise error
    assert caught.value.metrics == {"eval/Accuracy": 0.5}


def test_a_checkpoint_that_a_run_does_not_have_is_not_waited_for(tmp_path):
    (tmp_path / "config.json").touch()
    assert following.wait_for_checkpoint(str(tmp_path / "model.ckpt-77"), pytest.fail)


def test_an_empty_file_that_is_to_name_the_checkpoints_is_waited_for_as_none(tmp_path, monkeypatch):
    (tmp_path / "model.ckpt-3.index").touch()
    (tmp_path / "model.ckpt-3.data-00000-of-00001").touch()
    (tmp_path / "checkpoint").touch()
    lines = []

    def saved(seconds):
        (tmp_path / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-3"')

    monkeypatch.setattr(following.time, "sleep", saved)
    assert following.wait_for_checkpoint(str(tmp_path), lines.append)
    assert lines[0] == f"Waiting for a checkpoint in {tmp_path}" and "no file `checkpoint` that names" in lines[1]
    assert checkpoints.latest_named(tmp_path) == f"{tmp_path}/model.ckpt-3"


def test_each_later_checkpoint_is_yielded_once_and_not_before_its_time(tmp_path, monkeypatch):
    waited, clock = [], iter(range(0, 100, 10))
    monkeypatch.setattr(following.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(following.time, "sleep", waited.append)
    latest = iter([None, 1, 1, 2])
    monkeypatch.setattr(checkpoints, "latest_named", lambda directory: next(latest))
    each = following._each(str(tmp_path), min_interval_secs=25)
    # A second for what is not there yet; of 25 seconds 10 had gone by after the first, and another look found it again.
    assert (next(each), next(each), waited) == (1, 2, [1, 15, 1])


@pytest.mark.parametrize("place", ["/gone", "other"])
def test_a_directory_that_was_copied_has_its_own_checkpoints_whatever_place_its_list_names(tmp_path, place):
    for name in ("run", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.ckpt-3.index").touch()
    (tmp_path / "run" / "checkpoint").write_text(f'model_checkpoint_path: "{tmp_path / place}/model.ckpt-3"')
    assert checkpoints.checkpoint_prefix(tmp_path / "run") == f"{tmp_path}/run/model.ckpt-3"
    (tmp_path / "run" / "checkpoint").unlink()
    with pytest.raises(FileNotFoundError, match=r"no such file names; the newest is .*run/model\.ckpt-3\."):
        checkpoints.checkpoint_prefix(tmp_path / "run")


def test_a_run_that_began_anew_is_evaluated_at_a_step_of_the_same_name_too(tmp_path, monkeypatch):
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-7"')
    index, waited = tmp_path / "model.ckpt-7.index", []
    index.touch()

    def begin_anew(seconds):
        waited.append(seconds)
        assert len(waited) < 9
        if len(waited) == 3:
            index.unlink()
        if len(waited) == 5:
            index.touch()
            os.utime(index, ns=(1, 1))

    monkeypatch.setattr(following.time, "sleep", begin_anew)
    found = following._each(str(tmp_path))
    assert [next(found), next(found)] == [str(tmp_path / "model.ckpt-7")] * 2 and len(waited) == 5
