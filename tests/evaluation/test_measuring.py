"""Evaluation: the release's metric names, with figures over the whole set."""

import contextlib
import types

import numpy as np
import pytest
import tensorflow as tf

from sact_tf import cifar_resnet, evaluation, flops, losses, visualize
from sact_tf.config import EvaluationConfig, ModelConfig
from sact_tf.data import pipeline
from sact_tf.data.pipeline import Source
from sact_tf.evaluation import inference
from sact_tf.evaluation.record import Record
from sact_tf.tasks import classification


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(3).uniform(-1, 1, (5, 16, 12, 3)).astype("float32")


def source_of(images, labels, boxes=((2, 3, 9, 7),)):
    boxes = np.resize(np.array(boxes, "int32"), (len(images), 4))
    columns = {"image": images, "label": np.asarray(labels, "int64"), "box": boxes}

    def read(indices):
        batch = {name: tf.gather(column, indices) for name, column in columns.items()}
        batch["image"].set_shape((None, *images.shape[1:]))
        return batch

    return Source(len(images), read)


@pytest.fixture(scope="module")
def sact_model():
    model = cifar_resnet("2", "sact", base_channels=4, tau=0.3, image_shape=(None, None, 3))
    for block in model.blocks.values():
        for branch in block.halting_branches:
            branch.local_conv.bias.assign([0.4])
            branch.local_conv.kernel.assign(branch.local_conv.kernel * 20)
    return model


def test_figures_are_those_of_all_images_whatever_the_batch_size(sact_model, images, eagerly):
    outputs = sact_model(images)
    outputs.update(flops.count(sact_model, outputs))
    labels = np.argmax(outputs["logits"], axis=-1)
    labels[1] = (labels[1] + 1) % 10
    ponder = sum(np.mean(outputs[f"block_{b}/ponder_cost"]) for b in (1, 2, 3))
    assert len(np.unique(outputs["block_1/num_units"])) > 1

    # One graph, for batches of two and of one.
    for batch_size, context in ((2, contextlib.nullcontext), (5, eagerly)):
        with context():
            metrics = evaluation.evaluate_model(classification, sact_model, source_of(images, labels), batch_size)
        assert metrics["eval/Accuracy"] == pytest.approx(4 / 5)
        assert metrics["Total Flops/mean"] == pytest.approx(np.mean(outputs["flops"]))
        assert metrics["Total Flops/std"] == pytest.approx(np.std(outputs["flops"], ddof=1))
        assert metrics["block_2/ponder_cost_mean"] == pytest.approx(np.mean(outputs["block_2/ponder_cost"]), rel=1e-5)
        assert metrics["block_2/num_units_std"] == pytest.approx(
            np.std(np.asarray(outputs["block_2/num_units"], "float64"), ddof=1)
        )
        assert metrics["block_3/num_units_max"] == np.max(outputs["block_3/num_units"])
        loss = losses.cross_entropy(labels, outputs["logits"]) + 0.3 * ponder + losses.regularization_loss(sact_model)
        assert metrics["eval/Mean Loss"] == pytest.approx(float(loss), rel=1e-5)


def test_replicas_share_the_images_and_give_the_same_figures(images, spread_halting, eagerly):
    strategy = tf.distribute.MirroredStrategy([device.name for device in tf.config.list_logical_devices("CPU")])
    assert strategy.num_replicas_in_sync == 2
    with strategy.scope():
        shared = cifar_resnet("2_1_1", "sact", base_channels=4, tau=0.3, image_shape=(None, None, 3))
    spread_halting(shared, bias=-0.5)
    alone = cifar_resnet("2_1_1", "sact", base_channels=4, tau=0.3, image_shape=(None, None, 3))
    for ours, theirs in zip(alone.variables, shared.variables, strict=True):
        ours.assign(theirs.numpy())
    # Batches of 3, 3, 3 and 1 of ten different images over two replicas.
    ten = np.concatenate([images, 1 - images])
    source = source_of(ten, np.arange(10))
    records = [Record(classification, model) for model in (shared, alone)]
    together = evaluation.evaluate_model(classification, shared, source, 3, record=records[0], strategy=strategy)
    with eagerly():
        expected = evaluation.evaluate_model(classification, alone, source, 3, record=records[1])
    assert set(together) == set(expected)
    for name, value in expected.items():
        assert together[name] == pytest.approx(value, rel=1e-5), name
    assert records[0].flops == records[1].flops and len(records[0].flops) == 10


@pytest.mark.parametrize("label", [10, pytest.param(-1, marks=pytest.mark.slow)])
def test_a_label_that_is_no_class_of_the_network_ends_in_a_sentence(sact_model, images, label):
    source = source_of(images, [0, 9, label, 1, 2])
    sentence = rf"^Labels must be whole numbers from 0 to 9, for 10 classes .* Received: \[0 9 {label} 1 2\]$"
    with pytest.raises(ValueError, match=sentence), pipeline.plain_errors():
        evaluation.evaluate_model(classification, sact_model, source, 5)


def test_ponder_cost_is_told_apart_inside_and_outside_of_the_boxes(sact_model, images):
    metrics = evaluation.evaluate_model(classification, sact_model, source_of(images, [0] * 5), 5)
    maps = visualize.ponder_map(sact_model(images), (16, 12)).numpy()
    inside = maps[:, 2:9, 3:7]
    assert metrics["Ponder Cost/inside box"] == pytest.approx(inside.mean(), rel=1e-5)
    outside = (maps.sum() - inside.sum()) / (maps.size - inside.size)
    assert metrics["Ponder Cost/outside box"] == pytest.approx(outside, rel=1e-5)


def test_batches_without_a_pixel_in_a_box_or_beside_it_count_where_they_have_some(sact_model, images, eagerly):
    cost = visualize.ponder_map(sact_model(images[:2]), images.shape[1:3]).numpy()
    source = source_of(images[:2], [0, 0], [(0, 0, 0, 0), (0, 0, 16, 12)])
    with eagerly():
        metrics = evaluation.evaluate_model(classification, sact_model, source, batch_size=1)
        assert metrics["Ponder Cost/outside box"] == pytest.approx(cost[0].mean(), rel=1e-5)
        assert metrics["Ponder Cost/inside box"] == pytest.approx(cost[1].mean(), rel=1e-5)
        none = source_of(images[:1], [0], [(0, 0, 0, 0)])
        assert "Ponder Cost/inside box" not in evaluation.evaluate_model(classification, sact_model, none, 1)


@pytest.mark.parametrize("count", [0, 3])
def test_images_that_are_left_out_as_damaged_are_said_and_some_have_to_be_left(images, count, eagerly):
    def of_whole_ones(batch_size, skip_bad_records, log, first):
        indices = tf.data.Dataset.range(first, count).batch(batch_size)
        return indices.map(source.read)

    source, lines = source_of(images, range(5)), []
    damaged = types.SimpleNamespace(num_examples=5, evaluation_examples=of_whole_ones)
    model = cifar_resnet("1", "vanilla", base_channels=2, image_shape=(None, None, 3))
    with eagerly():
        if count:
            evaluation.evaluate_model(classification, model, damaged, 2, lines.append)
            assert lines == ["evaluated 3/5 images, 2 damaged left out"]
        else:
            with pytest.raises(ValueError, match=r"^All images were damaged and left out"):
                evaluation.evaluate_model(classification, model, damaged, 2, lines.append)


def test_a_vanilla_network_has_flops_without_deviation_and_no_ponder_cost(images):
    model = cifar_resnet("1", "vanilla", num_classes=12, base_channels=2, image_shape=(None, None, 3))
    metrics = evaluation.evaluate_model(classification, model, source_of(images, range(5)), 3)
    assert metrics["Total Flops/std"] == 0
    assert "eval/Recall@5" in metrics
    assert not any("ponder" in name.lower() or "num_units" in name for name in metrics)


def test_weights_and_averages_are_of_one_checkpoint_of_a_run_that_still_trains(tmp_path, monkeypatch):
    loaded, found = [], iter(["model.ckpt-3", "model.ckpt-4"])
    monkeypatch.setattr(inference.checkpoints, "checkpoint_prefix", lambda path: next(found))
    for name in ("load", "load_averages"):
        monkeypatch.setattr(inference.checkpoints, name, lambda model, path: loaded.append(path))
    model = ModelConfig(network="cifar", model="1", num_classes=2, base_channels=4)
    fields = {"split_name": "test", "num_examples": 1, "batch_size": 1, "eval_dir": "eval", "use_moving_average": True}
    inference.load_model(
        EvaluationConfig(model=model, dataset="cifar10", image_size=32, checkpoint_dir=str(tmp_path), **fields)
    )
    assert loaded == ["model.ckpt-3"] * 2


def test_a_checkpoint_that_is_not_there_is_named(tmp_path):
    model = ModelConfig(network="cifar", model="1", num_classes=10, base_channels=2)
    config = EvaluationConfig(
        model=model,
        dataset="cluttered_digits",
        image_size=40,
        checkpoint_dir=str(tmp_path),
        eval_dir=str(tmp_path / "eval"),
        split_name="test",
        num_examples=2,
        batch_size=2,
    )
    with pytest.raises(FileNotFoundError, match="No checkpoint at"):
        evaluation.evaluate_run(config)
