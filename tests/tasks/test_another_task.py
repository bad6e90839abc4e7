"""A second task in one file: which pixels of a picture lie in the box of its digit, found by an adaptive network."""

import os
import signal
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from sact_tf import checkpoints, config, evaluation, losses, tasks, training
from sact_tf.data import pipeline
from sact_tf.models import CifarBackbone
from sact_tf.tasks.sections import Table
from sact_tf.visualize import box_mask

DATASET = "digit_boxes"
STEPS = 12
PROGRESS = ("cross_entropy", "right pixels")
SCORE = ("eval/Right Pixels", "right pixels")
KEPT = ("logits",)


class Segmenter(keras.Model):
    """Images to the logit of each pixel, `(batch, height, width)`, from the features of the second block."""

    def __init__(self, backbone, tau):
        images = keras.Input((*backbone.image_shape[:2], 3))
        outputs = dict(backbone(images))
        features = keras.layers.Dropout(0.2, name="dropout")(outputs["block_2"])
        scores = keras.layers.Conv2D(1, 1, name="scores")(features)
        enlarged = keras.layers.UpSampling2D(2 * backbone.stem_stride, name="enlarge")(scores)
        outputs["logits"] = keras.layers.Reshape(enlarged.shape[1:3], name="logits")(enlarged)
        super().__init__(images, outputs)
        self.backbone, self.blocks, self.tau = backbone, backbone.blocks, tau


def build_model(config, image_size=None):
    shape = (image_size, image_size, 3)
    backbone = CifarBackbone(config.model, config.model_type, config.base_channels, shape, stem_stride=2)
    return Segmenter(backbone, config.tau)


def open_source(dataset, split, image_size, num_examples=None, dataset_dir=None, log=None):
    digits = pipeline.open_source("cluttered_digits", split, image_size, num_examples, dataset_dir, log)

    def read(indices):
        batch = digits.read(indices)
        return {"image": batch["image"], "inside": box_mask(batch["box"], batch["image"].shape[1:3])}

    return digits._replace(read=read)


def _cross_entropy(batch, outputs):
    return tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(batch["inside"], tf.float32), outputs["logits"])


def _right(batch, outputs):
    return tf.reduce_mean(tf.cast((outputs["logits"] > 0) == batch["inside"], tf.float32), axis=(1, 2))


def loss_terms(model, batch, outputs, tau=None):
    return {
        "cross_entropy": tf.reduce_mean(_cross_entropy(batch, outputs)),
        "ponder": losses.ponder_loss(outputs, model.tau if tau is None else tau),
        "regularization": losses.regularization_loss(model),
    }


def observe(model, batch, outputs):
    return {"right pixels": tf.reduce_mean(_right(batch, outputs))}


def measure(model, batch, outputs):
    return {"right": _right(batch, outputs), "cross_entropy": _cross_entropy(batch, outputs)}


def metrics(model, moments, other_losses):
    return {
        "eval/Right Pixels": moments["right"]["mean"],
        "eval/Mean Loss": moments["cross_entropy"]["mean"] + other_losses,
    }


def captions(batch, outputs):
    return [f"{inside.sum()} pixels" for inside in np.asarray(batch["inside"])]


def write_pictures(model, batch, outputs):
    tf.summary.image("Inside", tf.cast(outputs["logits"][..., None] > 0, tf.float32))


class Sizes:
    def __init__(self):
        self.rows = []

    def add(self, batch, outputs):
        self.rows += zip(np.asarray(batch["inside"]).sum((1, 2)), (outputs["logits"] > 0).sum((1, 2)), strict=True)

    def sections(self):
        yield Table("Pixels of the digit", ("there", "found"), self.rows)


def findings(model):
    return Sizes()


def settings(steps=STEPS):
    model = {"model": "1_2_1", "model_type": "sact", "base_channels": 4, "tau": 0.01}
    return config.default_training_config(
        DATASET, model, image_size=40, batch_size=6, max_number_of_steps=steps, warmup_steps=0
    )


@pytest.fixture(autouse=True)
def task():
    register()
    yield
    del tasks.TASKS["segmentation"], config.DATASETS[DATASET]


def register():
    tasks.TASKS["segmentation"] = sys.modules[__name__]
    config.DATASETS[DATASET] = {**config.DATASETS["cluttered_digits"], "task": "segmentation"}


def values_of(directory):
    reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(directory))
    names = [name for name in reader.get_variable_to_shape_map() if not name.startswith(("_CHECKPOINTABLE", "save_c"))]
    return {name: reader.get_tensor(name) for name in names}


@pytest.mark.usefixtures("one_trainer")
def test_a_killed_run_of_another_task_ends_in_the_bits_of_the_run_that_was_never_killed(start_script, tmp_path):
    unkilled, killed = str(tmp_path / "unkilled"), str(tmp_path / "killed")
    process = start_script(__file__, killed)
    lines, deadline = [], time.monotonic() + 600
    while not (os.path.isdir(killed) and tf.train.latest_checkpoint(killed)):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    # Not before: meanwhile the other run could end.
    training.train(settings(), unkilled, log=lines.append)
    assert "right pixels" in lines[0]
    training.train(settings(), killed, log=lines.append)
    assert any(line.startswith("Going on from step") for line in lines)
    expected, actual = values_of(unkilled), values_of(killed)
    assert set(actual) == set(expected)
    for name in ("scores.Skernel", "seed_generator_0"):
        assert f"variables/{name}/.ATTRIBUTES/VARIABLE_VALUE" in expected
    for name, value in expected.items():
        np.testing.assert_array_equal(actual[name], value, err_msg=name)


@pytest.mark.usefixtures("without_graphs")
def test_another_task_is_evaluated_and_shown_with_its_own_figures(tmp_path):
    run = settings(steps=1)
    training.train(run, str(tmp_path), log=lambda line: None)
    evaluated = config.EvaluationConfig(
        model=run.model,
        dataset=DATASET,
        image_size=40,
        checkpoint_dir=str(tmp_path),
        eval_dir=str(tmp_path / "eval"),
        split_name="test",
        num_examples=5,
        batch_size=3,
        report_dir=str(tmp_path / "report"),
    )
    results = evaluation.evaluate_run(evaluated, log=lambda line: None)
    assert list(results)[:3] == ["eval/Right Pixels", "eval/Mean Loss", "Total Flops/mean"]
    assert "block_2/num_units_max" in results

    model = build_model(run.model, 40)
    checkpoints.load(model, str(tmp_path))
    batch = open_source(DATASET, "test", 40).read(np.arange(5))
    outputs = model(batch["image"], training=False)
    right = (outputs["logits"].numpy() > 0) == batch["inside"].numpy()
    assert results["eval/Right Pixels"] == pytest.approx(right.mean(), abs=1e-6)
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "Pixels of the digit" in page and "<th>right pixels</th>" in page


def test_nothing_but_tasks_models_and_data_knows_that_labels_are_classes():
    package = os.path.dirname(os.path.dirname(tasks.__file__))
    for room in ("training", "evaluation", "export", "studies"):
        for name in os.listdir(os.path.join(package, room)):
            if name.endswith(".py"):
                with open(os.path.join(package, room, name), encoding="utf-8") as file:
                    text = file.read()
                for word in ('"label"', '"logits"', '"predictions"', '"eval/Accuracy"'):
                    assert word not in text, f"{room}/{name} reads {word}"


if __name__ == "__main__":
    register()
    training.train(settings(), sys.argv[1], save_interval_secs=0)
