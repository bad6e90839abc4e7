"""Which units run in a training step."""

import dataclasses
import shutil

import numpy as np
import pytest
import tensorflow as tf

import sact_tf
from sact_tf import config, training
from sact_tf.training.step_depth import kept_units


def network(**kwargs):
    return sact_tf.cifar_resnet("2_3_1", "vanilla", base_channels=2, **kwargs)


def draws(blocks, seed, steps, **kwargs):
    draw = tf.function(lambda step: list(kept_units(blocks, seed, step, **kwargs).values()))
    return np.array([np.concatenate(draw(tf.constant(step, tf.int64))) for step in range(steps)])


def test_draws_are_a_function_of_seed_step_and_unit():
    blocks = network(final_survival_probability=0.4).blocks
    first = draws(blocks, 7, 400)
    np.testing.assert_array_equal(first, draws(blocks, 7, 400))
    assert (first != draws(blocks, 8, 400)).any()
    probabilities = np.concatenate([block.survival_probabilities for block in blocks.values()])
    # Four deviations of 400 draws.
    np.testing.assert_allclose(first.mean(0), probabilities, atol=0.1)
    assert len(np.unique(first, axis=0)) > 20


def test_train_effective_keeps_so_many_units_each_as_often_as_the_others():
    drawn = draws(network().blocks, 3, 400, train_effective=2)
    np.testing.assert_array_equal(drawn.sum(1), 2)
    np.testing.assert_allclose(drawn.mean(0), np.full(6, 2 / 6), atol=0.1)


def test_a_network_of_constant_depth_draws_nothing():
    assert kept_units(network().blocks, 3, tf.constant(0, tf.int64)) == {}


def small_config(steps, model=None, **changes):
    return config.default_training_config(
        "cluttered_digits",
        {"model": "1_2_1", "base_channels": 2, **(model or {})},
        image_size=40,
        batch_size=4,
        warmup_steps=0,
        max_number_of_steps=steps,
        learning_rate_schedule="constant",
        **changes,
    )


def latest(directory):
    reader = tf.train.load_checkpoint(directory)
    names = [name for name in reader.get_variable_to_shape_map() if name.startswith(("variables/", "optimizer/"))]
    return {name: reader.get_tensor(name) for name in names}


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {"model": "1", "final_survival_probability": 0.2}},
        pytest.param({"train_effective": 2}, marks=pytest.mark.slow),
    ],
)
@pytest.mark.usefixtures("one_trainer")
def test_a_run_that_resumes_drops_what_it_would_have_dropped(changes, tmp_path):
    # Each of these steps leaves units out, and the last one others than the one before.
    run = small_config(3, seed=5, **changes)
    result = training.train(run, str(tmp_path / "whole"), save_interval_secs=0)
    shutil.copytree(tmp_path / "whole", tmp_path / "stopped")
    # As it was when step 1 was done.
    (tmp_path / "stopped" / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-1"\n')
    resumed = training.train(run, str(tmp_path / "stopped"))
    assert result["loss"] == resumed["loss"]
    expected, actual = (latest(str(tmp_path / name)) for name in ("whole", "stopped"))
    assert any(name.startswith("optimizer/") for name in expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(actual[name], value, err_msg=name)
    assert 0 < result["Training Flops/mean"] < 3 * result["Total Flops/mean"]


@pytest.mark.usefixtures("without_graphs")
def test_flops_of_a_step_are_those_of_the_units_that_ran_three_times(tmp_path):
    # With all units kept it is the whole network, forward and backward.
    result = training.train(small_config(1, train_effective=4), str(tmp_path))
    assert result["Training Flops/mean"] == 3 * result["Total Flops/mean"]


@pytest.mark.parametrize(
    ("model", "train_effective", "message"),
    [
        ({}, 5, "from 1 to the 4 that the network has. Received: train_effective=5"),
        ({}, 0, "from 1 to the 4"),
        ({"model_type": "sact"}, 2, "is for model_type='vanilla'.*model_type='sact'"),
        ({"final_survival_probability": 0.5}, 2, "final_survival_probability=1. Received"),
    ],
)
def test_numbers_of_units_that_make_no_sense_are_refused(model, train_effective, message):
    with pytest.raises(ValueError, match=message):
        small_config(1, model, train_effective=train_effective)


def test_settings_of_depth_are_part_of_a_run():
    one = small_config(2, {"final_survival_probability": 0.5})
    assert config.TrainingConfig.from_json(one.to_json()) == one
    other = dataclasses.replace(one, model=dataclasses.replace(one.model, final_survival_probability=0.6))
    assert config.differences(one, other) == ["model.final_survival_probability: 0.5, 0.6"]
