"""The studies, with networks and trainings as small as they come, in processes as users start them."""

import csv
import dataclasses
import json
import os
import pathlib
import shutil
import signal
import threading
import time

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from sact_tf import checkpoints
from sact_tf.checkpoints.names import named_variables
from sact_tf.config import default_training_config, read_config
from sact_tf.studies import baseline, first_detection, first_run, lesion_resnet, resolution, runs, tradeoff, words
from sact_tf.tasks import task_of
from sact_tf.training import session
from sact_tf.training.lock import DirectoryInUse, run_lock
from sact_tf.visualize import charts

ROOT = pathlib.Path(__file__).resolve().parents[2]
SMALL = {"dataset": "cluttered_digits", "num_examples": 12}


def read_table(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def assert_figures(path):
    with Image.open(f"{path}.png") as picture:
        picture.load()
        assert min(picture.size) > 300
        assert len(picture.getcolors(picture.width * picture.height)) > 10
    assert "<svg" in pathlib.Path(f"{path}.svg").read_text()


@pytest.fixture(scope="module")
def traded(tmp_path_factory, eagerly):
    """Directory, rows and lines of a whole trade-off of four networks."""
    directory, lines = tmp_path_factory.mktemp("tradeoff"), []
    # With graphs, as users have it, `test_killed_study_goes_on` does the same.
    with eagerly():
        rows = tradeoff.run(
            str(directory),
            ["1"],
            [0.05, 1e-6],
            steps=2,
            adaptive_steps=1,
            batch_size=4,
            log=lines.append,
            adaptive={"learning_rate": 0.015, "warmup_steps": None},
            **SMALL,
        )
    return directory, rows, lines


def test_tradeoff_trains_all_networks_and_writes_what_it_found(traded):
    directory, rows, lines = traded
    names = ["vanilla_1", "act_0.05", "sact_0.05", "act_1e-06", "sact_1e-06"]
    assert [row["run"] for row in rows] == names
    written = read_table(directory / "tradeoff.csv")
    assert [row["run"] for row in written] == names
    for row in written:
        stored = json.loads((directory / row["run"] / runs.METRICS_FILE).read_text())["metrics"]
        assert float(row["flops"]) == stored[runs.FLOPS]
        assert float(row["accuracy"]) == stored["eval/Accuracy"]
        config = json.loads((directory / row["run"] / "config.json").read_text())
        plain = row["run"] == "vanilla_1"
        assert config["finetune_path"] == (None if plain else str(directory / "vanilla_1"))
        assert (config["learning_rate"] == 0.015) is not plain
    assert_figures(directory / "tradeoff")
    assert sum(line.startswith("== ") for line in lines) == 5
    # The adaptive networks have as many units as the deepest plain one: one a block.
    assert sum(line.startswith("Note: Every block has one unit, so no ") for line in lines) == 4


@pytest.mark.usefixtures("without_figures")
def test_tradeoff_started_again_reads_what_it_has(traded):
    directory, rows, _ = traded
    lines = []
    again = tradeoff.run(
        str(directory),
        ["1"],
        [0.05, 1e-6],
        steps=2,
        adaptive_steps=1,
        batch_size=4,
        log=lines.append,
        adaptive={"learning_rate": 0.015},
        **SMALL,
    )
    assert again == rows
    assert sum("Already evaluated" in line for line in lines) == 5
    assert not any(line.startswith("step ") for line in lines)
    config = default_training_config("cluttered_digits", {"model": "1"}, max_number_of_steps=2, batch_size=4)
    took = runs.train_and_evaluate(config, str(directory / "vanilla_1"), 12, lines.append)["Training Seconds"]
    assert took == json.loads((directory / "vanilla_1" / runs.TIME_FILE).read_text())["seconds"] > 0.05


@pytest.mark.usefixtures("without_graphs")
def test_tradeoff_evaluates_again_where_another_number_of_images_is_asked_for(traded):
    directory, _, _ = traded
    config = default_training_config("cluttered_digits", {"model": "1"}, max_number_of_steps=2, batch_size=4)
    path = directory / "other.json"
    lines = []
    first = runs.evaluate_once(config, str(directory / "vanilla_1"), str(path), 6, log=lines.append)
    runs.evaluate_once(config, str(directory / "vanilla_1"), str(path), 4, log=lines.append)
    assert not any("Already" in line for line in lines)
    assert runs.evaluate_once(config, str(directory / "vanilla_1"), str(path), 6, log=lines.append) == first


@pytest.mark.usefixtures("without_graphs")
def test_a_run_that_went_on_is_evaluated_again_and_so_is_one_of_whose_figures_little_is_left(traded, tmp_path):
    config = default_training_config("cluttered_digits", {"model": "1"}, max_number_of_steps=2, batch_size=4)
    path, directory, lines = tmp_path / "metrics.json", tmp_path / "run", []
    shutil.copytree(traded[0] / "vanilla_1", directory)
    first = runs.evaluate_once(config, str(directory), str(path), 10, log=lines.append)
    path.write_text(path.read_text()[:-40])
    assert runs.evaluate_once(config, str(directory), str(path), 10, log=lines.append) == first
    # Other weights under the same configuration: here of another network, as a later step's would be.
    model = task_of("cluttered_digits").build_model(config.model, 64)
    tf.train.Checkpoint(variables=named_variables(model)).write(str(directory / "model.ckpt-2"))
    assert runs.evaluate_once(config, str(directory), str(path), 10, log=lines.append) != first
    assert not any("Already" in line for line in lines)


def test_killed_study_goes_on(start_script, run_script, tmp_path):
    command = ["-m", "sact_tf.studies.tradeoff", f"--run_dir={tmp_path}", "--vanilla_models=1"]
    command += ["--taus=0.05", "--model_types=sact", "--steps=2", "--adaptive_steps=2", "--batch_size=4"]
    command += ["--num_examples=10"]
    process = start_script(*command)
    deadline = time.monotonic() + 600
    while not (tmp_path / "tradeoff.csv").exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert [row["run"] for row in read_table(tmp_path / "tradeoff.csv")] == ["vanilla_1"]
    returncode, output, errors = run_script(*command)
    assert returncode == 0, errors
    assert f"Already evaluated: {tmp_path}/vanilla_1/metrics.json" in output
    assert [row["run"] for row in read_table(tmp_path / "tradeoff.csv")] == ["vanilla_1", "sact_0.05"]
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]


def test_tradeoff_rejects_other_kinds_before_it_trains(tmp_path):
    with pytest.raises(ValueError, match="takes the model types act and sact"):
        tradeoff.run(str(tmp_path / "runs"), model_types=["vanilla"])
    with pytest.raises(ValueError, match=r"at least one plain depth.*vanilla_models=\[\]"):
        tradeoff.run(str(tmp_path / "runs"), vanilla_models=[])
    assert not (tmp_path / "runs").exists()


def test_tradeoff_without_taus_or_kinds_says_that_plain_networks_are_alone(tmp_path, monkeypatch):
    def stop(*arguments):
        raise InterruptedError

    monkeypatch.setattr(runs, "train_and_evaluate", stop)
    said = "Plain networks alone: no taus, or no model types, are given."
    for nothing, alone in (({"taus": []}, True), ({"model_types": []}, True), ({"taus": [0.0]}, False)):
        lines = []
        with pytest.raises(InterruptedError):
            tradeoff.run(str(tmp_path), ["1"], log=lines.append, **nothing)
        assert (said in lines) is alone


def test_changed_settings_are_refused_before_anything_is_trained(traded, tmp_path):
    directory, started = tmp_path / "begun", traded[0]
    shutil.copytree(started / "sact_0.05", directory / "sact")
    shutil.copytree(started / "sact_0.05", directory / "sact_0.05")
    shutil.copytree(started / "act_0.05", directory / "act_1e-06")
    studies = {
        "act_1e-06": lambda: tradeoff.run(str(directory), ["1"], [1e-6], ["act"], **SMALL),
        "sact": lambda: first_run.run(str(directory)),
        "sact_0.05": lambda: first_detection.run(str(directory), taus=[0.05]),
    }
    for name, study in studies.items():
        with pytest.raises(ValueError, match=rf"begun/{name} holds a run with another.*\n.*") as caught:
            study()
        assert "another --run_dir for a new study" in str(caught.value) and "--train_log_dir" not in str(caught.value)
    for study in (tradeoff, first_run, first_detection):
        with pytest.raises(ValueError, match="`num_examples` must be an int, at least 1"):
            study.run(str(tmp_path / "new"), num_examples=0)
    with pytest.raises(ValueError, match="`num_examples` must be an int, at least 1"):
        baseline.run(str(started / "sact_0.05"), str(tmp_path / "new"), num_examples=0)
    assert sorted(os.listdir(directory)) == ["act_1e-06", "sact", "sact_0.05"] and not (tmp_path / "new").exists()


@pytest.mark.usefixtures("without_graphs")
def test_baseline_has_the_mean_units_rounded(traded, tmp_path):
    directory, _, _ = traded
    # Each of the two was stopped before its last step; of the plain one, units were left out in each.
    stopped, started = shutil.copytree(directory, tmp_path / "runs") / "sact_1e-06", tmp_path / "runs" / "vanilla_1"
    for run, changes in ((stopped, {"finetune_path": str(started)}), (started, {"train_effective": 2})):
        config = dataclasses.replace(read_config(str(run)), max_number_of_steps=9, **changes)
        (run / "config.json").write_text(config.to_json())
    rows = baseline.run(str(stopped), str(tmp_path), num_examples=6, log=lambda line: None)
    adaptive, plain = rows
    assert read_config(str(tmp_path / f"vanilla_{plain['model']}")).train_effective is None
    # Two units a block at most, and hardly anything halts in the first one after a single step.
    metrics = json.loads((tmp_path / "adaptive.json").read_text())["metrics"]
    expected = "_".join(str(max(1, round(metrics[f"block_{number}/num_units_mean"]))) for number in (1, 2, 3))
    assert plain["model"] == expected
    assert (adaptive["model_type"], plain["model_type"]) == ("sact", "vanilla")
    # The adaptive run's one step and the two of the plain run that it started from.
    assert (adaptive["steps"], plain["steps"]) == (1, 3)
    assert_figures(tmp_path / "baseline")


def test_the_plain_network_is_trained_as_the_first_run_was_and_as_long_as_all(tmp_path):
    first = default_training_config(
        "cluttered_digits", {"model": "2"}, max_number_of_steps=30, learning_rate=0.1, seed=4, warmup_steps=7
    )
    (tmp_path / "config.json").write_text(first.to_json())
    tuned = default_training_config(
        "cluttered_digits",
        {"model": "2", "model_type": "sact"},
        max_number_of_steps=12,
        learning_rate=0.01,
        finetune_path=str(tmp_path),
    )
    assert baseline._from_scratch(tuned, print) == (first, 42)
    # After 20 of its 30 steps.
    halfway = dataclasses.replace(tuned, finetune_path=str(tmp_path / "model.ckpt-20"))
    assert baseline._from_scratch(halfway, print) == (first, 32)
    # The run itself, stopped after 25.
    stopped = run_on(None, tmp_path / "stopped", step=25)
    (tmp_path / "stopped" / "config.json").write_text(first.to_json())
    assert baseline._from_scratch(dataclasses.replace(tuned, finetune_path=stopped), print) == (first, 37)
    # Of a checkpoint without its configuration, such as one of the release, nothing is known.
    elsewhere, lines = dataclasses.replace(tuned, finetune_path=str(tmp_path / "release" / "model.ckpt-1")), []
    alone = dataclasses.replace(tuned, finetune_path=None), 12
    assert baseline._from_scratch(elsewhere, lines.append) == alone
    for change in ({"dataset_dir": "elsewhere"}, {"image_size": 48}, {"finetune_skip_logits": True}):
        other = dataclasses.replace(tuned, **change)
        expected = dataclasses.replace(other, finetune_path=None, finetune_skip_logits=False), 12
        assert baseline._from_scratch(other, lines.append) == expected
    assert "has no configuration" in lines[0] and all("on other data, images or classes" in line for line in lines[1:])
    # One place, in other words.
    (tmp_path / "config.json").write_text(dataclasses.replace(first, dataset_dir="data/").to_json())
    here = dataclasses.replace(tuned, dataset_dir=os.path.abspath("data"))
    assert baseline._from_scratch(here, pytest.fail) == (dataclasses.replace(first, dataset_dir="data/"), 42)


def run_on(dataset_dir, directory, step=1, **model):
    """A directory that looks like a run on such data, of which nothing is read."""
    directory.mkdir()
    config = default_training_config("imagenet", {"num_classes": 3, **model}, dataset_dir=dataset_dir)
    (directory / "config.json").write_text(config.to_json())
    (directory / "checkpoint").write_text(f'model_checkpoint_path: "model.ckpt-{step}"')
    for ending in ("index", "data-00000-of-00001"):
        (directory / f"model.ckpt-{step}.{ending}").touch()
    return str(directory)


def test_data_that_are_not_where_a_run_noted_them_are_told_where_they_were_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sact = run_on("data", tmp_path / "sact", model_type="sact")
    plain = run_on("data", tmp_path / "plain", model_type="vanilla")
    expected = f"no data in {tmp_path}, which the run in .*sact was trained on.*Start the study where the run was"
    with pytest.raises(FileNotFoundError, match=expected):
        resolution.run([sact], [64], str(tmp_path / "study"))
    with pytest.raises(FileNotFoundError, match=expected):
        baseline.run(sact, str(tmp_path / "study"))
    with pytest.raises(FileNotFoundError, match=expected):
        lesion_resnet.run(sact, plain, str(tmp_path / "study"))
    assert sorted(os.listdir(tmp_path)) == ["plain", "sact"]


def test_two_networks_are_asked_about_the_same_images_whatever_their_runs_learned_from(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("data", "other"):
        (tmp_path / name).mkdir()
    sact = run_on("data", tmp_path / "sact", model_type="sact")
    plain = run_on("other", tmp_path / "plain", model_type="vanilla")
    asked = lesion_resnet.inputs.check(sact, plain, None, 1, None, 2, 0)
    assert (asked.adaptive.dataset_dir, asked.plain.dataset_dir) == ("data", "data")


def test_a_split_that_has_changed_is_evaluated_again(tmp_path, monkeypatch):
    def write(colours):
        with tf.io.TFRecordWriter(str(tmp_path / "cifar10_test.tfrecord")) as writer:
            for colour in colours:
                picture = tf.io.encode_png(np.full((32, 32, 3), colour, np.uint8)).numpy()
                features = {
                    "image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[picture])),
                    "image/class/label": tf.train.Feature(int64_list=tf.train.Int64List(value=[1])),
                }
                example = tf.train.Example(features=tf.train.Features(feature=features))
                writer.write(example.SerializeToString())

    config = default_training_config("cifar10", {"model": "1"}, dataset_dir=str(tmp_path))
    (tmp_path / "model.ckpt-1.index").touch()
    monkeypatch.setattr(runs, "checkpoint_prefix", lambda directory: str(tmp_path / "model.ckpt-1"))
    monkeypatch.setattr(runs, "fingerprint", lambda prefix: {"sha256": "same"})
    evaluated, lines = [], []
    monkeypatch.setattr(runs.evaluation, "evaluate", lambda *asked: evaluated.append(asked) or {"eval/Accuracy": 0.5})
    # One more, then as many with another one among them.
    for colours in ([1, 2], [1, 2], [1, 2, 3], [1, 4, 3], [1, 4, 3]):
        write(colours)
        runs.evaluate_once(config, str(tmp_path), str(tmp_path / "metrics.json"), log=lines.append)
    assert len(evaluated) == 3
    # In other words, and from a copy.
    data = shutil.copytree(tmp_path, tmp_path / "copy")
    for directory in (f"{tmp_path}/", os.path.relpath(tmp_path), "a copy"):
        moved = dataclasses.replace(config, dataset_dir=os.path.relpath(data))
        runs.evaluate_once(moved, directory, str(tmp_path / "metrics.json"), log=lines.append)
    assert len(evaluated) == 3
    assert lines == [f"Already evaluated: {tmp_path}/metrics.json"] * 5


def test_a_run_of_a_study_that_trains_already_is_told_by_the_flag_of_the_study(tmp_path):
    with run_lock(str(tmp_path)), pytest.raises(DirectoryInUse, match=r"being trained in.*give another --run_dir\.$"):
        runs.train(default_training_config("cluttered_digits"), str(tmp_path))


def test_what_goes_wrong_in_a_training_is_told_by_the_flags_of_the_study(tmp_path):
    config = default_training_config("cluttered_digits", {"model_type": "act"}, learning_rate=30.0)
    expected = r"^Loss is nan\. run was trained with a learning rate of 30 and tau 0\.04: .* another --run_dir\.$"
    with pytest.raises(session.TrainingDiverged, match=expected), runs.in_a_study(config, "run"):
        raise session.TrainingDiverged("Loss is nan.", "Lower --learning_rate or --tau.")
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-1"')
    for ending in ("index", "data-00000-of-00001"):
        (tmp_path / f"model.ckpt-1.{ending}").touch()
    with pytest.raises(ValueError, match=r"no config\.json.*Give another --run_dir"):
        runs.train(config, str(tmp_path))


def test_a_study_names_settings_by_its_own_flags_and_not_by_those_of_train_py(traded, tmp_path, monkeypatch):
    config, lines = default_training_config("cluttered_digits", {"model": "1"}), []
    said = (
        "Raise --tau=0.1 (train.py --tau), --model or --warmup_steps (--max_number_of_steps), --format, --seed, "
        "a--tau/--model."
    )

    def tell(*own):
        monkeypatch.setattr(words.flags, "FLAGS", own)
        with runs.in_a_study(config, "run", lines.append) as log:
            log(said)
        shutil.copytree(traded[0], tmp_path / own[-1])
        with pytest.raises(ValueError, match="another configuration") as caught:
            tradeoff.run(str(tmp_path / own[-1]), ["1"], [], steps=3, batch_size=4, **SMALL)
        return lines.pop(), str(caught.value).splitlines()[1]

    assert tell("steps", "adaptive_steps", "taus", "vanilla_models", "warmup_steps", "seed") == (
        "Raise --taus=0.1 (train.py --tau), --vanilla_models or --warmup_steps (--steps or --adaptive_steps), "
        "--format, --seed, a--tau/--model.",
        "  max_number_of_steps (--steps or --adaptive_steps): 2, 3",
    )
    assert tell("fine_tune_steps", "kinds") == (
        "Raise tau=0.1 (train.py --tau), model or warmup_steps (--fine_tune_steps), --format, seed, a--tau/--model.",
        "  max_number_of_steps (--fine_tune_steps): 2, 3",
    )


def test_figures_of_a_first_run_stay_until_new_ones_are_there_whole(tmp_path, monkeypatch):
    (tmp_path / "results.json").write_text("of the run before")
    # What JSON cannot write stands for a machine that goes down on the way.
    found = {"eval/Accuracy": 0.5, "Total Flops/mean": 1e6, "then": object()}
    monkeypatch.setattr(first_run.evaluation, "evaluate", lambda *arguments: dict(found))
    monkeypatch.setattr(runs, "train", lambda *arguments: 1.0)
    monkeypatch.setattr(first_run, "_draw", lambda *arguments: None)
    with pytest.raises(TypeError, match="JSON"):
        first_run.run(str(tmp_path), num_examples=4, log=lambda line: None)
    assert (tmp_path / "results.json").read_text() == "of the run before"
    assert os.listdir(tmp_path) == ["results.json"]


def test_a_file_that_could_not_be_finished_leaves_nothing(tmp_path):
    with pytest.raises(OSError, match="full"), runs.written(str(tmp_path / "table.csv")) as temporary:
        pathlib.Path(temporary).write_text("half")
        raise OSError("full")
    assert os.listdir(tmp_path) == []


def test_a_file_that_two_studies_write_at_a_time_is_whole_and_the_later_one(tmp_path):
    path, begun = tmp_path / "table.csv", threading.Event()

    def write_later():
        begun.set()
        with runs.written(str(path)) as temporary:
            pathlib.Path(temporary).write_text("second")

    later = threading.Thread(target=write_later)
    with runs.written(str(path)) as temporary:
        with open(temporary, "w") as file:
            file.write("fir")
            file.flush()
            later.start()
            begun.wait()
            later.join(0.1)
            file.write("st")
        assert later.is_alive()
    later.join()
    assert path.read_text() == "second" and os.listdir(tmp_path) == ["table.csv"]


def test_mean_units_come_in_the_order_of_the_blocks():
    metrics = {"eval/Accuracy": 0.5, "block1/num_units_mean": 1.6, "block1/num_units_std": 9.0}
    assert baseline.mean_units({**metrics, "block2/num_units_mean": 4.4}) == [1.6, 4.4]


def test_baseline_of_a_plain_network_is_refused(traded, tmp_path):
    with pytest.raises(ValueError, match="has a plain one"):
        baseline.run(str(traded[0] / "vanilla_1"), str(tmp_path))


def test_a_directory_that_cannot_be_written_is_named_before_anything_is_evaluated(traded, tmp_path):
    (tmp_path / "file").touch()
    adaptive, taken = str(traded[0] / "sact_0.05"), str(tmp_path / "file")
    with pytest.raises(OSError, match=r"file cannot be written: File exists\. Give another --run_dir\.$"):
        baseline.run(adaptive, taken, log=pytest.fail)
    with pytest.raises(OSError, match=r"file cannot be written: File exists\. Give another --run_dir\.$"):
        resolution.run([adaptive], [64], taken, log=pytest.fail)


def test_a_network_that_halts_at_once_has_collapsed():
    assert resolution.collapsed((3, 4, 1), [1.0, 1.04, 1.0])
    assert not resolution.collapsed((3, 4, 1), [1.0, 1.06, 1.0])
    # A detector, whose last block is its head: 1 of 10 further units.
    assert not resolution.collapsed((3, 4, 6, 1), [1.5, 1.2, 1.3])
    # One that does not halt, and one that has nothing to decide.
    assert not resolution.collapsed((3, 4, 1), []) and not resolution.collapsed((1, 1, 1), [1.0, 1.0, 1.0])


@pytest.mark.usefixtures("without_graphs")
def test_resolution_evaluates_at_every_size(traded, tmp_path):
    directory, _, _ = traded
    names = [str(directory / "vanilla_1"), str(directory / "sact_0.05")]
    rows = resolution.run(names, [48, 64], str(tmp_path), num_examples=10, log=lambda line: None)
    assert [(row["run"], row["image_size"]) for row in rows] == [(name, size) for name in names for size in (48, 64)]
    small, large = (row["flops"] for row in rows[:2])
    # All but the classifier grows with the area; the pooled features don't.
    assert large / small == pytest.approx((64 / 48) ** 2, rel=1e-2)
    assert len(read_table(tmp_path / "resolution.csv")) == 4
    for row in rows:
        means = [float(mean) for mean in row["units"].split()]
        assert len(means) == (0 if row["model_type"] == "vanilla" else 3) and all(mean >= 1 for mean in means)
    assert_figures(tmp_path / "resolution")


@pytest.mark.usefixtures("without_figures")
def test_a_run_that_still_trains_is_studied_at_one_checkpoint(tmp_path, monkeypatch):
    directory, found = tmp_path / "run", []
    config = default_training_config("cluttered_digits", {"model_type": "sact"})
    directory.mkdir()
    (directory / "config.json").write_text(config.to_json())

    def save(step):
        (directory / f"model.ckpt-{step}.index").touch()
        (directory / "checkpoint").write_text(f'model_checkpoint_path: "model.ckpt-{step}"')

    def evaluate_once(config, where, *arguments, **named):
        found.append(checkpoints.checkpoint_prefix(where))
        save(4)
        if len(found) == 3:
            raise KeyboardInterrupt
        return {"eval/Accuracy": 0.5, runs.FLOPS: 1e6}

    monkeypatch.setattr(runs, "evaluate_once", evaluate_once)
    monkeypatch.setattr(resolution, "_check_sizes", lambda *_: None)
    save(3)
    with pytest.raises(KeyboardInterrupt):
        resolution.run([str(directory)], [48, 64, 80], str(tmp_path / "study"), log=lambda line: None)
    assert found == [str(directory / "model.ckpt-3")] * 3
    monkeypatch.setattr(baseline.checkpoints, "global_step", lambda prefix: save(5) or 4)
    found[:] = ["", ""]
    with pytest.raises(KeyboardInterrupt):
        baseline.run(str(directory), str(tmp_path / "study"), log=lambda line: None)
    assert found[2] == str(directory / "model.ckpt-4")


def test_resolution_misses_a_checkpoint_before_it_evaluates_anything(traded, tmp_path):
    directory, lines = traded[0], []
    (tmp_path / "begun").mkdir()
    shutil.copy(directory / "vanilla_1" / "config.json", tmp_path / "begun")
    with pytest.raises(FileNotFoundError, match=r"No checkpoint at .*begun\."):
        resolution.run(
            [str(directory / "vanilla_1"), str(tmp_path / "begun")], [64], str(tmp_path), 4, log=lines.append
        )
    assert not lines


@pytest.mark.parametrize(("size", "reason"), [(3, "`image_shape` must be"), (113, "`image_size` must .*112")])
def test_resolution_refuses_a_size_that_is_none_before_it_evaluates_anything(traded, tmp_path, size, reason):
    lines, names = [], [str(traded[0] / name) for name in ("vanilla_1", "sact_0.05")]
    with pytest.raises(
        ValueError, match=rf"vanilla_1 cannot be evaluated at {size} x {size}, .*--image_sizes: {reason}"
    ):
        resolution.run(names, [64, size], str(tmp_path / "new"), 4, log=lines.append)
    assert not lines and not (tmp_path / "new").exists()


def test_resolution_refuses_a_size_that_another_run_was_evaluated_at_there(traded, tmp_path):
    (tmp_path / "0_113.json").write_text(json.dumps({"evaluation": {"model": "another"}}))
    with pytest.raises(ValueError, match=r"vanilla_1 cannot be evaluated at 113 x 113, .*--image_sizes: "):
        resolution.run([str(traded[0] / "vanilla_1")], [113], str(tmp_path), 4, log=pytest.fail)


def test_resolution_refuses_what_has_no_score_in_common_and_what_is_named_twice(traded, tmp_path, monkeypatch):
    monkeypatch.setattr(resolution.checkpoints, "checkpoint_prefix", str)
    (tmp_path / "config.json").write_text(default_training_config("digit_scenes").to_json())
    first, new = str(traded[0] / "vanilla_1"), str(tmp_path / "new")
    for names, sizes, message in (
        ([first, str(tmp_path)], [64], r"of one score, .*vanilla_1 accuracy, \S+ mAP\. Give them to two studies"),
        ([first, f"{first}/"], [64], r"--checkpoint_dirs must name each once\. Received: "),
        ([first], [64, 48, 64], r"--image_sizes must name each once\. Received: 64, 48, 64"),
    ):
        with pytest.raises(ValueError, match=message):
            resolution.run(names, sizes, new, log=pytest.fail)


@pytest.mark.parametrize("sizes", [None, [32, 48]])
def test_resolution_says_that_cifar10_has_one_size(tmp_path, monkeypatch, sizes):
    (tmp_path / "config.json").write_text(default_training_config("cifar10").to_json())
    monkeypatch.setattr(resolution.checkpoints, "checkpoint_prefix", str)
    with pytest.raises(ValueError, match=r"images are all 32 x 32, .* or give --image_sizes=32\.$"):
        resolution.run([str(tmp_path)], sizes, str(tmp_path / "new"), log=pytest.fail)


def test_the_way_out_of_a_collapse_depends_on_the_size():
    learned = default_training_config("cluttered_digits")
    assert "nearer to that" in resolution._way_out(learned, 48)
    assert resolution._way_out(learned, 64).startswith("It learned from these; train it with a lower --tau (now 0.04)")


def test_depths_of_another_network_are_refused_by_their_flag(tmp_path):
    with pytest.raises(ValueError, match=r"--vanilla_models=1,2,3,5 is not for the imagenet network; give others\."):
        tradeoff.run(str(tmp_path / "study"), dataset="imagenet")
    assert not (tmp_path / "study").exists()


def test_curve_of_each_kind_is_drawn():
    row = {"model": "1", "flops": 2e6, "accuracy": 0.5}
    figure = charts.tradeoff([{**row, "model_type": "vanilla"}, {**row, "model_type": "act", "tau": 0.01}])
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == ["plain ResNets", "ACT"]


@pytest.mark.parametrize(
    ("study", "flag", "message"),
    [
        ("tradeoff", "--taus=a", "--taus takes numbers"),
        ("baseline", "--steps=1", "--checkpoint_dir is needed"),
        ("resolution", "--image_sizes=x", "--checkpoint_dirs is needed"),
        ("resolution --checkpoint_dirs=runs", "--image_sizes=²", "--image_sizes takes positive integers"),
    ],
)
def test_wrong_flags_are_named(run_script, study, flag, message):
    returncode, _, errors = run_script("-m", *f"sact_tf.studies.{study} {flag}".split())
    assert returncode == 1
    assert message in errors
