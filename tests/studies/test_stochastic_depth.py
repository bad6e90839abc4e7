"""Constant against stochastic depth: what is planned, counted and said, by hand; the study as small as it comes."""

import csv
import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from sact_tf.config import read_config
from sact_tf.layers.survival import linear_decay
from sact_tf.studies import pairs, runs, stochastic_depth
from sact_tf.studies.stochastic_depth import plan, report, step_times
from sact_tf.training.lock import DirectoryInUse, run_lock
from sact_tf.visualize import stochastic_depth_charts as charts

STUDY = {"models": ["1"], "survival": [0.5], "num_examples": 20, "rounds": 1, "steps_a_round": 2}
RECIPE = {"max_number_of_steps": 2, "batch_size": 4}


@pytest.fixture(scope="module")
def studied(tmp_path_factory, eagerly):
    """Directory, rows and lines of a whole study of two networks."""
    directory, lines = tmp_path_factory.mktemp("stochastic_depth"), []
    with eagerly():
        rows = stochastic_depth.run(str(directory), **STUDY, **RECIPE, log=lines.append)
    return directory, rows, lines


def test_both_kinds_are_trained_and_what_was_found_is_written(studied):
    directory, rows, lines = studied
    names = ["constant_1_seed0", "stochastic_0.5_1_seed0"]
    assert [read_config(directory / name).model.final_survival_probability for name in names] == [1.0, 0.5]
    assert [(row["model"], row["units"], row["survival"], row["steps"]) for row in rows] == [
        ("1", 3, 1.0, 2),
        ("1", 3, 0.5, 2),
    ]
    with open(directory / "stochastic_depth.csv", newline="", encoding="utf-8") as file:
        written = list(csv.DictReader(file))
    assert [float(row["error"]) for row in written] == [row["error"] for row in rows]
    assert (directory / "stochastic_depth.txt").read_text().strip() in lines
    for name in ("stochastic_depth", "survival"):
        with Image.open(directory / f"{name}.png") as picture:
            assert min(picture.size) > 300 and len(picture.getcolors(picture.width * picture.height)) > 10
        assert "<svg" in (directory / f"{name}.svg").read_text()
    assert not [name for name in os.listdir(directory) if name.endswith(".tmp")]


def test_a_training_that_goes_wrong_is_told_by_the_flags_of_the_study(tmp_path):
    directory = tmp_path / "constant_1_seed0"
    directory.mkdir()
    with run_lock(str(directory)), pytest.raises(DirectoryInUse, match=r"give another --run_dir\.$"):
        stochastic_depth.run(str(tmp_path), **STUDY, **RECIPE, log=lambda line: None)


def test_the_error_is_that_of_an_evaluation(studied, tmp_path):
    directory, rows, _ = studied
    for row, name in zip(rows, ("constant_1_seed0", "stochastic_0.5_1_seed0"), strict=True):
        config = read_config(directory / name)
        metrics = runs.evaluate_once(config, str(directory / name), str(tmp_path / name), 20, log=lambda line: None)
        assert row["error"] == pytest.approx(1 - metrics["eval/Accuracy"], abs=1e-6)


@pytest.mark.usefixtures("without_figures")
def test_started_again_the_study_computes_nothing(studied):
    directory, rows, _ = studied
    lines = []
    assert stochastic_depth.run(str(directory), **STUDY, **RECIPE, log=lines.append) == rows
    assert not any(line.startswith(("step ", "evaluated", "Timing")) for line in lines)


@pytest.mark.usefixtures("without_figures")
def test_other_rounds_are_timed_and_nothing_is_trained(studied, monkeypatch):
    directory, _, _ = studied
    asked, lines, before = [], [], (directory / "times_1.json").read_bytes()

    def measure(configs, rounds, steps, log):
        asked.append((list(configs), rounds, steps))
        return {name: step_times.StepTime(1.0 + len(name), 2.0) for name in configs}

    monkeypatch.setattr(step_times, "measure", measure)
    rows = stochastic_depth.run(str(directory), **{**STUDY, "rounds": 2}, **RECIPE, log=lines.append)
    assert asked == [(["constant depth", "p_L = 0.5"], 2, 2)]
    assert [row["seconds"] for row in rows] == [15.0, 10.0]
    assert not any(line.startswith(("step ", "evaluated")) for line in lines)
    (directory / "times_1.json").write_bytes(before)


def test_a_run_of_another_recipe_is_named_before_any_is_trained(studied, tmp_path):
    directory, _, _ = studied
    lines = []
    with pytest.raises(ValueError, match=r"stochastic_0\.5_1_seed0 holds a run with another configuration") as caught:
        shutil.copytree(directory / "stochastic_0.5_1_seed0", tmp_path / "stochastic_0.5_1_seed0")
        stochastic_depth.run(str(tmp_path), **STUDY, **{**RECIPE, "batch_size": 5}, log=lines.append)
    assert "batch_size: 4, 5" in str(caught.value)
    assert not lines and not (tmp_path / "constant_1_seed0").exists()


def test_every_depth_is_trained_in_every_way_with_every_seed():
    planned = plan.plan(["1", "1_2_1"], [0.5, 0.2], [0, 3], "cluttered_digits", max_number_of_steps=7)
    assert [run.name for run in planned[:6]] == [
        "constant_1_seed0",
        "constant_1_seed3",
        "stochastic_0.5_1_seed0",
        "stochastic_0.5_1_seed3",
        "stochastic_0.2_1_seed0",
        "stochastic_0.2_1_seed3",
    ]
    assert [run.config.model.units for run in planned[6:]] == [(1, 2, 1)] * 6
    assert {run.config.max_number_of_steps for run in planned} == {7}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"survival": [1.0]}, "constant depth, which is 1, is always"),
        ({"survival": [0.0]}, "above 0 and below 1"),
        ({"survival": [float("nan")]}, "above 0 and below 1"),
        ({"survival": []}, "at least one"),
        ({"survival": [0.5, 0.5]}, "each once"),
        ({"survival": [0.1234567, 0.12345671]}, "named by their survival probability in six digits"),
        ({"models": []}, "depths of networks"),
        ({"models": ["1", " 1"]}, "each once"),
        ({"models": ["1", "0"]}, "--models=1,0 is not for the cifar network.*Received: model='0'"),
        ({"dataset": "imagenet"}, "--models=1 is not for the imagenet network; give others.*'3_4_23_3'"),
        ({"seeds": [-1]}, "ints, at least 0"),
        ({"rounds": 0}, "`rounds` must be an int, at least 1"),
        ({"num_examples": -1}, "num_examples"),
        ({"dataset": "digits"}, "digits"),
    ],
)
def test_a_study_that_cannot_be_made_is_refused_before_anything_is_written(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        stochastic_depth.run(str(tmp_path / "study"), **{**STUDY, **changes}, log=lambda line: None)
    assert not (tmp_path / "study").exists()


def test_rows_pair_the_runs_of_a_seed():
    planned = plan.plan(["1"], [0.5], [0, 1], "cluttered_digits", max_number_of_steps=100)
    scores = {
        "constant_1_seed0": [1.0, 1, 1, 0],
        "constant_1_seed1": [1.0, 1, 0, 0],
        "stochastic_0.5_1_seed0": [1.0, 0, 1, 0],
        "stochastic_0.5_1_seed1": [1.0, 1, 0, 1],
    }
    times = {("1", 1.0): step_times.StepTime(0.2, 40.0), ("1", 0.5): step_times.StepTime(0.15, 30.0)}
    constant, stochastic = report.rows_of(planned, scores, times)
    assert constant["error"] == stochastic["error"] == pytest.approx(3 / 8)
    # Image by image, means over the seeds: 0, -1/2, 0, +1/2.
    assert stochastic["difference"] == pytest.approx(0)
    assert stochastic["difference_standard_error"] == pytest.approx(np.sqrt(1 / 6) / 2)
    assert constant["spread"] == pytest.approx(np.std([0.75, 0.5], ddof=1))
    assert stochastic["spread"] == pytest.approx(np.std([0.5, 0.75], ddof=1))
    assert (stochastic["time"], stochastic["flops"]) == (pytest.approx(0.75), 0.75)
    assert stochastic["saved_seconds"] == pytest.approx(100 * 0.05)
    assert (constant["difference"], constant["time"], constant["saved_seconds"]) == (0, 1, 0)
    # None has no sign, in the table neither.
    assert str(constant["difference"]) == str(stochastic["difference"]) == "0.0"


def test_each_draw_is_compared_with_its_own_partner():
    draws, others = [[1, 0, 1], [1, 1, 0]], [[1, 1, 1], [0, 1, 0]]
    compared = pairs.compare(draws, others)
    assert compared["difference"] == pytest.approx(0)
    np.testing.assert_allclose(compared["difference_standard_error"], np.sqrt(0.25 / 3))
    assert pairs.compare(draws, others[0]) == pairs.compare(draws, [others[0]] * 2)


def row(survival, error, p, seconds):
    return {
        "model": "3",
        "units": 9,
        "survival": survival,
        "steps": 1200,
        "seeds": 1,
        "error": error,
        "standard_error": 0.01,
        "spread": 0.0,
        "difference": error - 0.16,
        "difference_standard_error": 0.012,
        "p": p,
        "seconds": seconds,
        "time": seconds / 0.3,
        "flops": 0.75,
        "saved_seconds": 1200 * (0.3 - seconds),
    }


def test_sentences_say_only_what_the_figures_allow():
    rows = [row(1.0, 0.16, 1.0, 0.3), row(0.5, 0.2, 0.0001, 0.225), row(0.2, 0.17, 0.4, 0.33)]
    text = report.paragraph(rows, 1000)
    assert (
        "p_L = 0.5 errs on 20.0% ± 1.0, constant depth on 16.0% ± 1.0: more errors (+4.00 ± 1.20 points, p < .001)"
        in text
    )
    assert (
        "25% less time, where the units that ran are 75% of the FLOPs; over 1200 steps that is 1 min 30 s saved" in text
    )
    assert "these images show no difference (+1.00 ± 1.20 points, p = .400)" in text
    assert "10% more time" in text and "36 s lost" in text
    lines = list(report.table(rows, "accuracy"))
    assert len({line.count("|") for line in lines}) == 1
    assert "| 3 (9) | 0.2 | 17.00% ± 1.00 | - | +1.00 ± 1.20 | .400 | 330 | 1.100 | 0.750 | -36 s |" in lines
    barely = list(report.table([rows[0], row(0.5, 0.2, 0.4, 0.3003)], "accuracy"))
    assert barely[-1].endswith("| 0 s |")


def test_step_times_count_the_units_that_ran(studied):
    directory, _, _ = studied
    constant, stochastic = json.loads((directory / "times_1.json").read_text())["result"]
    assert min(constant[0], stochastic[0]) > 0
    # A unit that does not run is a part of the FLOPs less.
    assert 0 < stochastic[1] <= constant[1]


def test_every_network_is_warmed_up_once_the_last_one_is_made(monkeypatch):
    done, lines = [], []

    class Trainer:
        def __init__(self, config, strategy):
            self.name = config.model.final_survival_probability
            done.append(("made", self.name))

        def train_step(self, batch):
            done.append(("step", self.name))
            return {"loss": 1.0, "Total Flops/mean": 2.0}

    monkeypatch.setattr(step_times, "Trainer", Trainer)
    monkeypatch.setattr(step_times, "_first_batch", lambda config: None)
    configs = {run.name: run.config for run in plan.plan(["1"], [0.5], [0], "cluttered_digits")}
    step_times.measure(configs, 1, 1, lambda line: lines.append((line, len(done))))
    warm = done[done.index(("made", 0.5)) : -2]
    assert ("step", 1.0) in warm and ("step", 0.5) in warm
    assert sorted(done[-2:]) == [("step", 0.5), ("step", 1.0)] and lines[-1][1] == len(done)


def test_survival_is_drawn_a_bar_a_unit():
    figure = charts.survival({0.5: linear_decay(0.5, [2, 2, 2]), 0.2: linear_decay(0.2, [2, 2, 2])})
    heights = [[bar.get_height() for bar in axes.patches] for axes in figure.axes]
    np.testing.assert_allclose(heights[0], [1 - number / 12 for number in range(1, 7)])
    np.testing.assert_allclose(heights[1], [1 - 0.8 * number / 6 for number in range(1, 7)])


def test_wrong_flags_are_named(run_script):
    returncode, _, errors = run_script("-m", "sact_tf.studies.stochastic_depth", "--survival=half")
    assert returncode == 1
    assert "--survival takes numbers separated by commas. Received: half" in errors
