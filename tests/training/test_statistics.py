"""Statistics of normalization, measured anew: they fit the weights, and nothing else changes."""

import dataclasses
import errno
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

from sact_tf import checkpoints, config, training
from sact_tf.data import pipeline
from sact_tf.models.build import build_model
from sact_tf.training import notes, statistics
from sact_tf.training.statistics import recalibrate

MODEL = config.ModelConfig(
    network="cifar", model="1_2_1", model_type="act_early_stopping", num_classes=10, base_channels=4, stem_stride=2
)
PLAIN = dataclasses.replace(MODEL, model_type="vanilla")
CONFIG = config.TrainingConfig(
    model=MODEL,
    dataset="cluttered_digits",
    image_size=40,
    batch_size=4,
    learning_rate=0.05,
    learning_rate_schedule="constant",
    moving_average_decay=0.5,
    max_number_of_steps=2,
    deterministic=False,
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Directory of a run whose statistics are mostly those of the beginning, as its decay is .9."""
    directory = str(tmp_path_factory.mktemp("recalibrated") / "run")
    training.train(CONFIG, directory)
    return directory


def network(prefix, **changes):
    """What evaluation makes of a checkpoint."""
    model = build_model(dataclasses.replace(MODEL, **changes), 40)
    checkpoints.load_release_checkpoint(model, prefix)
    checkpoints.load_averages(model, prefix)
    return model


def images_of_step(step):
    """Those that a run of `CONFIG` would learn from in a step, from 0."""
    source = pipeline.open_source("cluttered_digits", "train", 40)
    return next(iter(pipeline.training_batches(source, 4, CONFIG.seed, step)))["image"]


@pytest.mark.usefixtures("without_graphs")
def test_after_one_batch_it_is_normalized_as_in_training_with_the_weights_of_evaluation(run, tmp_path):
    prefix = recalibrate(run, str(tmp_path / "new"), num_batches=1)
    # All of its units are executed, those of early stopping that nobody needs as well.
    before, after = (network(each, model_type="act") for each in (checkpoints.checkpoint_prefix(run), prefix))
    images = images_of_step(2)
    normalized = after(images)["logits"]
    np.testing.assert_allclose(normalized, after(images, training=True)["logits"], atol=1e-4)
    assert np.abs(before(images)["logits"] - normalized).max() > 0.01


@pytest.mark.usefixtures("without_graphs")
def test_statistics_are_means_over_batches_and_all_else_is_as_it_was(run, saved, tmp_path, monkeypatch):
    monkeypatch.setattr(statistics, "SECONDS_BETWEEN_MESSAGES", 0)
    lines, directory = [], str(tmp_path / "new")
    recalibrate(checkpoints.checkpoint_prefix(run), directory, num_batches=2, log=lines.append)
    # The first batch, in which the graph is made, says nothing of how long the others take.
    assert lines[-2] == "2/2 batches, 0 s left" and "1/2 batches" not in "\n".join(lines)
    assert lines[-1].endswith(" normalizations over 2 batches of 4 images")
    there, here = saved.read_all(run), saved.read_all(directory)
    assert set(there) == set(here)
    changed = {name for name in there if not np.array_equal(there[name], here[name])}
    assert changed == {name for name in there if "moving_mean" in name or "moving_variance" in name}
    # Of the first one, which normalizes what the stem gives.
    model, means = network(checkpoints.checkpoint_prefix(run)), []
    for step in (2, 3):
        features = images_of_step(step)
        for layer in model.backbone.stem:
            features = layer(features)
        means.append(tf.reduce_mean(features, (0, 1, 2)))
    (got,) = (here[name] for name in changed if "block_1.Sunit_1.Sresidual.Spreact.Smoving_mean" in name)
    np.testing.assert_allclose(got, np.mean(means, axis=0), atol=1e-6)


def test_a_run_is_told_until_its_statistics_have_forgotten_the_beginning(run, tmp_path):
    model = network(checkpoints.checkpoint_prefix(run))
    # Its decay is .9, and .9 ** 28 = .052, .9 ** 29 = .047.
    assert "those of the beginning to 5%" in (text := statistics.remark(CONFIG, model, 28))
    assert statistics.remark(CONFIG, model, 29) is None
    # Nobody is sent to a command that refuses the run.
    assert "sact_tf.recalibrate" in text
    of_some_units = dataclasses.replace(CONFIG, train_effective=1, model=PLAIN)
    assert "recalibrate" not in statistics.remark(of_some_units, model, 28)
    model.trainable = False
    assert statistics.remark(CONFIG, model, 1) is None


def test_of_a_start_from_a_network_those_of_the_halting_branches_begin_afresh(run, tmp_path):
    tuned = dataclasses.replace(CONFIG, finetune_path=run)
    training.train(tuned, str(tmp_path), log=(lines := []).append)
    # Two steps there, and two here.
    assert any("was trained for 2 steps" in line and f"beginning to {0.9**4:.0%} when" in line for line in lines)
    assert "statistics of the halting branches, moving averages, are still those of the beginning to 81%" in lines[-1]
    model = network(checkpoints.checkpoint_prefix(run))
    assert statistics.remark(tuned, model, 29) is None
    model.trainable = False
    assert statistics.remark(tuned, model, 1) is None
    assert statistics.remark(tuned, build_model(PLAIN, 40), 1) is None
    # Frozen ones stay as they came.
    assert f"beginning to {0.9**2:.0%} when" in statistics.remark_of_start(tuned, model)
    model.trainable = True
    long = dataclasses.replace(tuned, max_number_of_steps=27)
    assert statistics.remark_of_start(long, model) is None
    assert statistics.remark_of_start(dataclasses.replace(long, max_number_of_steps=26), model)
    # What a network had where it started itself, or one of the release, is not known.
    (released := tmp_path / "release").mkdir()
    checkpoints.save_release_checkpoint(model, released, 2)
    for path in (str(tmp_path), str(released)):
        assert statistics.remark_of_start(dataclasses.replace(tuned, finetune_path=path), model) is None


def test_a_run_goes_on_from_what_was_written(run, tmp_path):
    recalibrate(run, str(tmp_path / "new"), num_batches=1)
    lines = []
    result = training.train(CONFIG, str(tmp_path / "new"), log=lines.append)
    assert result["step"] == 2 and any("Going on from step 2" in line for line in lines)


def test_what_has_no_statistics_of_all_units_or_no_place_is_refused(run, tmp_path, monkeypatch):
    with pytest.raises(FileExistsError, match=r"--output_dir must be new, or empty: .* holds something"):
        recalibrate(run, run)
    with pytest.raises(FileExistsError, match=r"where a disk is mounted, and the run becomes .*--output_dir=/proc/run"):
        recalibrate(run, "/proc")
    with pytest.raises(ValueError, match="`num_batches` must be an int, at least 1"):
        recalibrate(run, str(tmp_path / "new"), num_batches=0)
    with pytest.raises(FileNotFoundError, match="No checkpoint at"):
        recalibrate(str(tmp_path), str(tmp_path / "new"))
    thin = dataclasses.replace(PLAIN, final_survival_probability=0.5)
    monkeypatch.setattr(config, "read_config", lambda directory: dataclasses.replace(CONFIG, model=thin))
    with pytest.raises(ValueError, match="Units of this run are left out in training"):
        recalibrate(run, str(tmp_path / "new"))
    monkeypatch.setattr(config, "read_config", lambda directory: dataclasses.replace(CONFIG, dataset_dir="away"))
    with pytest.raises(FileNotFoundError, match=f"no away in {os.getcwd()}, which the run .* Give --dataset_dir where"):
        recalibrate(run, str(tmp_path / "new"))
    assert not os.path.exists(tmp_path / "new")


@pytest.mark.usefixtures("without_graphs")
def test_what_cannot_be_written_leaves_nothing_and_takes_what_a_killed_one_left_away(run, tmp_path, monkeypatch):
    (tmp_path / ".new.killed.tmp").mkdir()

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(notes.Manager, "save", full)
    with pytest.raises(OSError, match="No space left"):
        recalibrate(run, str(tmp_path / "new"), num_batches=1)
    assert os.listdir(tmp_path) == []
    # A disk without room for a checkpoint is told before there is a batch.
    monkeypatch.setattr(shutil, "copy", full)
    lines = []
    with pytest.raises(OSError, match="No space left"):
        recalibrate(run, str(tmp_path / "new"), num_batches=1, log=lines.append)
    assert os.listdir(tmp_path) == [] and lines[-1].startswith("Read ")


def test_the_command_says_what_it_lacks_and_what_it_wrote(run, run_script, tmp_path):
    status, _, errors = run_script("-m", "sact_tf.recalibrate", f"--checkpoint_dir={run}")
    assert status == 1 and "error: Give --output_dir." in errors
    new = tmp_path / "a$b$ new"
    words = (f"--checkpoint_dir={run}", f"--output_dir={new}", "--num_batches=2")
    status, output, errors = run_script("-m", "sact_tf.recalibrate", *words)
    assert status == 0, errors
    assert output.splitlines()[-1] == f"Wrote {new}/model.ckpt-2" and (new / "config.json").exists()
