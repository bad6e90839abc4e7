"""Runs of a detector: killed and resumed to the bit, on two devices, compiled by XLA."""

import dataclasses
import re
import signal

import numpy as np
import pytest

from sact_tf import config, training

STEPS = 9
MODELS = {"vanilla": "1_1_1_1", "sact": "1_2_1_1"}
COMMAND = [
    "train.py",
    "--dataset=digit_scenes",
    "--base_channels=2",
    "--image_size=64",
    "--batch_size=2",
    "--head_samples=8",
    "--crop_size=4",
    "--warmup_steps=0",
    "--seed=7",
    f"--max_number_of_steps={STEPS}",
]


def make_config(steps=3, model_type="sact", **changes):
    network = {
        "model": MODELS[model_type],
        "model_type": model_type,
        "base_channels": 2,
        "head_samples": 8,
        "crop_size": 4,
    }
    fields = {"image_size": 64, "batch_size": 4, "warmup_steps": 0, "max_number_of_steps": steps}
    return config.default_training_config("digit_scenes", network, **{**fields, "deterministic": False, **changes})


def assert_same(expected, actual):
    assert set(expected) == set(actual)
    assert any("class_scores" in name for name in expected) and any(name.startswith("optimizer/") for name in expected)
    for name in expected:
        np.testing.assert_array_equal(actual[name], expected[name], err_msg=name)


def start_run(start_script, model_type, directory, *words):
    command = (*COMMAND, f"--model_type={model_type}", f"--model={MODELS[model_type]}", f"--train_log_dir={directory}")
    return start_script(*command, *words, together=True)


def kill_on_its_way(process, saved, directory):
    saved.wait_for_step(directory, 2, process)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


# What halts is killed in tests/training/test_train.py; of a detector the draws and the sizes of batches are new.
@pytest.mark.usefixtures("one_trainer")
def test_a_detector_killed_on_its_way_ends_in_the_bits_of_the_run_that_was_not(start_script, saved, tmp_path):
    unkilled, killed, lines = str(tmp_path / "unkilled"), str(tmp_path / "killed"), []
    kill_on_its_way(start_run(start_script, "vanilla", killed, "--save_interval_secs=0"), saved, killed)
    run = make_config(STEPS, "vanilla", batch_size=2, seed=7, deterministic=True)
    training.train(run, unkilled, log=lines.append)
    training.train(run, killed, log=lines.append)
    assert any(re.match(rf"Going on from step [2-{STEPS - 1}]:", line) for line in lines), lines
    assert_same(saved.read_all(unkilled), saved.read_all(killed))


@pytest.mark.slow
def test_a_killed_sact_detector_goes_on_in_a_process_of_its_own(start_script, saved, tmp_path):
    unkilled, killed = str(tmp_path / "unkilled"), str(tmp_path / "killed")
    reference = start_run(start_script, "sact", unkilled)
    kill_on_its_way(start_run(start_script, "sact", killed, "--save_interval_secs=0"), saved, killed)
    process = start_run(start_script, "sact", killed, "--save_interval_secs=0")
    output, _ = process.communicate()
    assert process.returncode == 0 and "Going on from step" in output, output
    assert reference.wait() == 0, reference.output()
    assert_same(saved.read_all(unkilled), saved.read_all(killed))


# To trace two replicas of a detector takes long; those of a classifier are compared in test_strategies.py.
@pytest.mark.slow
@pytest.mark.parametrize("model_type", ["vanilla", "sact"])
def test_a_detector_on_two_devices_has_the_losses_of_the_split_batch(
    tmp_path, monkeypatch, split_batch_losses, model_type
):
    monkeypatch.setattr("sact_tf.training.session.Session.LOG_SECS", 0)
    # Not clipped, so that a gradient of another size would show.
    run_config, lines = make_config(2, model_type, clip_norm=None, learning_rate=0.01), []
    training.train(run_config, str(tmp_path), log=lines.append, strategy="mirrored")
    losses = [float(line.split("loss ")[1].split(",")[0]) for line in lines if "loss " in line]
    np.testing.assert_allclose(losses, split_batch_losses(run_config, 2), atol=6e-4)


@pytest.mark.slow
def test_a_run_that_xla_compiles_draws_the_same_boxes(tmp_path, monkeypatch):
    monkeypatch.setattr("sact_tf.training.session.Session.LOG_SECS", 0)
    first_losses = {}
    for jit_compile in (False, True):
        lines = []
        training.train(make_config(1, jit_compile=jit_compile), str(tmp_path / str(jit_compile)), log=lines.append)
        (first_losses[jit_compile],) = (
            float(line.split("loss ")[1].split(",")[0]) for line in lines if "loss " in line
        )
    assert first_losses[True] == pytest.approx(first_losses[False], abs=2e-3)


@pytest.mark.usefixtures("without_graphs")
def test_units_of_a_detector_survive_by_seed_and_step_those_of_its_head_too(tmp_path, monkeypatch):
    # What the blocks of a network draw by themselves goes on from no checkpoint.
    monkeypatch.setattr("sact_tf.layers.adaptive_block.draw_survival", pytest.fail)
    run = make_config(1, "vanilla")
    run = dataclasses.replace(run, model=dataclasses.replace(run.model, final_survival_probability=0.2))
    result = training.train(run, str(tmp_path))
    assert 0 < result["Training Flops/mean"] < 3 * result["Total Flops/mean"]
