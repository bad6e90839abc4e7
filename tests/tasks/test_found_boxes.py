"""What a report shows of a detector: boxes that were missed or are not there, and figures without padding."""

import dataclasses
import re

import numpy as np
import pytest
import tensorflow as tf

from sact_tf import checkpoints, config, evaluation, flops
from sact_tf.data.detection import Categories
from sact_tf.evaluation.record import Record
from sact_tf.tasks import detection, found_boxes
from sact_tf.tasks.found_boxes import Marks, mistakes
from sact_tf.tasks.sections import Chart, Picture, Table

NETWORK = config.ModelConfig(
    network="imagenet", model="1_2_1_1", model_type="sact", num_classes=10, base_channels=4, anchor_base_size=64.0
)
SIZES = np.array([[50, 70], [80, 96]], np.int32)


def marks(there=(), classes=(), crowd=(), found=(), found_classes=()):
    scores = np.linspace(0.9, 0.6, len(found))
    arrays = np.reshape(there, (-1, 4)), np.array(classes, int), np.array(crowd, bool)
    return Marks(*arrays, np.reshape(found, (-1, 4)), np.array(found_classes, int), scores)


def test_a_box_is_found_once_by_the_best_score_of_its_class():
    there = [[0, 0, 10, 10], [20, 20, 30, 30], [40, 0, 50, 10]]
    found = [[0, 0, 10, 8], [0, 0, 10, 10], [20, 20, 30, 30], [40, 4, 50, 14]]
    missed, false = mistakes(marks(there, [1, 2, 3], [False] * 3, found, [1, 1, 1, 3]))
    # The second one comes too late, the third is of another class, the fourth overlaps by 60 of 140.
    assert missed.tolist() == [False, True, True]
    assert false.tolist() == [False, True, True, True]


def test_what_lies_in_a_crowd_is_not_false_and_the_crowd_not_missed():
    found = [[0, 0, 20, 20], [5, 5, 25, 25], [60, 60, 70, 70]]
    missed, false = mistakes(marks([[0, 0, 50, 50]], [2], [True], found, [2, 2, 2]))
    assert missed.tolist() == [False] and false.tolist() == [False, False, True]


def test_nothing_found_is_all_missed_and_nothing_there_all_false():
    assert [each.tolist() for each in mistakes(marks([[0, 0, 9, 9]], [1], [False]))] == [[True], []]
    assert [each.tolist() for each in mistakes(marks(found=[[0, 0, 9, 9]], found_classes=[1]))] == [[], [True]]


def batch_of(images=None):
    return {
        "image": np.zeros((2, 96, 96, 3), np.float32) if images is None else images,
        "image_size": SIZES,
        "original_size": 2 * SIZES,
        "boxes": np.array([[[4, 5, 20, 25], [0, 0, 0, 0]], [[10, 10, 40, 30], [50, 50, 70, 90]]], np.float32),
        "classes": np.array([[3, 0], [1, 2]]),
        "crowd": np.zeros((2, 2), bool),
        "area": np.full((2, 2), 100.0, np.float32),
        "image_id": np.array([7, 9]),
    }


def outputs_of():
    """The first box of the second image is found, and one of the first image that is not there."""
    boxes = np.zeros((2, 3, 4), np.float32)
    boxes[0, 0], boxes[1, 0], boxes[1, 1] = [60, 60, 90, 90], [20, 20, 80, 60], [100, 100, 140, 180]
    return {
        "boxes": boxes,
        "scores": np.array([[0.75, 0, 0], [0.9, 0.25, 0]], np.float32),
        "classes": np.array([[4, 0, 0], [1, 2, 0]]),
        "num_detections": np.array([1, 2]),
    }


def test_findings_count_mistakes_by_class_and_show_the_first_without_padding(monkeypatch):
    drawn = []
    monkeypatch.setattr(found_boxes, "detection_gallery", lambda *arguments: drawn.append(arguments))
    findings = detection.findings(detection_stub())
    findings.add(batch_of(), outputs_of())
    chart, table, picture = findings.sections()
    assert isinstance(chart, Chart) and isinstance(table, Table) and isinstance(picture, Picture)
    rows = {row[0]: row[1:] for row in table.rows}
    # The second box of class 2 has too low a score to be counted, not to be scored by COCO's figures.
    assert rows[1] == ("1.000", "1.000", "1.000", "1.000", 1, 0, 0)
    assert rows[2] == ("1.000", "1.000", "1.000", "1.000", 1, 1, 0)
    assert rows[3] == ("0.000", "0.000", "0.000", "0.000", 1, 1, 0)
    assert rows[4] == ("-", "-", "-", "-", 0, 0, 1)
    images, _, found, there, titles = drawn[0]
    assert [image.shape for image in images] == [(50, 70, 3), (80, 96, 3)]
    np.testing.assert_array_equal(found[0][0], [[30, 30, 45, 45]])
    assert found[0][1] == ["4 0.75"] and found[1][1] == []
    np.testing.assert_array_equal(there[1], [[50, 50, 70, 90]])
    assert titles == ["1 missed, 1 false", "1 missed, 0 false"]
    assert picture.caption.startswith("Missed (green): 2 boxes. Found with")
    assert ": 1 box. The first" in picture.caption and "ids: 7, 9." in picture.caption


def test_boxes_around_many_objects_are_none_that_could_be_missed(monkeypatch):
    monkeypatch.setattr(found_boxes, "detection_gallery", lambda *arguments: None)
    findings = detection.findings(detection_stub())
    findings.add({**batch_of(), "crowd": np.array([[True, False], [False, True]])}, outputs_of())
    _, table, _ = findings.sections()
    # The crowds are of class 3, of which nothing else is there, and of class 2.
    assert [row[-3:] for row in table.rows] == [(1, 0, 0), (0, 0, 0), (0, 0, 0), (0, 0, 1)]


def test_classes_are_called_what_the_data_call_them(monkeypatch):
    drawn, names = [], {1: "cup", 3: "tea\\npot", 4: "spoon"}
    source = type("Source", (), {"categories": Categories((5, 7, 9, 90), ("cup", "", "tea\npot", "spoon"))})
    assert detection.names_of(source, "coco", None) == names
    monkeypatch.setattr(found_boxes, "detection_gallery", lambda *arguments: drawn.append(arguments))
    findings = detection.findings(detection_stub(), names)
    findings.add(batch_of(), outputs_of())
    _, table, _ = findings.sections()
    assert [row[0] for row in table.rows] == ["cup", 2, "tea\\npot", "spoon"]
    assert drawn[0][2][0][1] == ["spoon 0.75"]
    assert [each.texts for each in detection.marks(batch_of(), outputs_of(), names)] == [["spoon 0.75"], ["cup 0.90"]]
    assert detection.captions(batch_of(), outputs_of(), names) == [
        "tea\\npot; found spoon (0.75)",
        "cup, 2; found cup (0.90), 2 (0.25)",
    ]
    assert detection.captions(batch_of(), outputs_of()) == ["3; found 4 (0.75)", "1, 2; found 1 (0.90), 2 (0.25)"]
    assert detection.names_of(type("Records", (), {"categories": None}), "voc", None) == {}


def test_tensorboard_draws_the_boxes_that_the_report_has(monkeypatch):
    drawn = []
    monkeypatch.setattr(detection.visualize, "write_pictures", lambda *arguments: None)
    monkeypatch.setattr(tf.summary, "image", lambda name, images, **fields: drawn.append(images.numpy()))
    outputs = outputs_of()
    for score in (0.5, np.nextafter(np.float32(0.5), np.float32(0))):
        outputs["scores"][0, 0] = score
        detection.write_pictures(None, batch_of(), outputs)
    # What was found in the first image is the only difference.
    red = [((images == [1, 0, 0]).all(-1).sum(axis=(1, 2)) > 20).tolist() for images in drawn]
    assert red == [[True, True], [False, True]]
    # Rows of padding, and what is not sure, are no boxes at the corner.
    assert all((images[:, 0, 0] == 0.5).all() for images in drawn)
    assert [len(each.found) for each in detection.marks(batch_of(), outputs)] == [0, 1]
    outputs["scores"][0, 0] = 0.5
    assert [len(each.found) for each in detection.marks(batch_of(), outputs)] == [1, 1]


def test_images_that_share_a_number_are_scored_one_by_one():
    batch, outputs = {**batch_of(), "image_id": np.array([7, 7])}, outputs_of()
    # What is found in either image would be right in the other.
    batch["boxes"][0], batch["classes"][0] = batch["boxes"][1], batch["classes"][1]
    batch["boxes"][1], batch["classes"][1] = 0, 0
    found = detection.collect(detection_stub(), None)
    found.add(batch, outputs)
    assert found.metrics()["DetectionBoxes_Precision/mAP"] == 0
    assert len(found.images) == 2


def detection_stub():
    return type("Model", (), {"num_classes": 4})()


@pytest.fixture(scope="module")
def model(spread_halting):
    return spread_halting(detection.build_model(NETWORK))


def test_a_record_leaves_padding_out(model):
    images = np.random.default_rng(3).uniform(-1, 1, (2, 96, 96, 3)).astype("float32")
    batch = batch_of(images)
    outputs = dict(model(detection.inputs(batch), training=False))
    outputs.update(flops.count(model, outputs))
    seen = Record(detection, model)
    seen.add(batch, outputs)
    assert seen.sizes == [(50, 70), (80, 96)]
    for name, stride in (("block1", 4), ("block2", 8), ("block3", 16)):
        positions = sum(-(-height // stride) * -(-width // stride) for height, width in SIZES)
        assert seen.num_units[name].sum() == seen.ponder_cost[name][1].sum() == positions
        assert seen.num_units[name][0] == 0
    assert {each["index"]: each["image"].shape for each in seen.most} == {0: (50, 70, 3), 1: (80, 96, 3)}
    assert {each["map"].shape for each in seen.least} == {(50, 70), (80, 96)}
    alone = [images[number : number + 1, :height, :width] for number, (height, width) in enumerate(SIZES)]
    assert seen.most_flops == [int(flops.count_most(model, model(image))["flops"][0]) for image in alone]
    # In one graph for batches of every shape, as evaluation has it.
    measure = tf.function(
        lambda image: detection.measure(model, {**batch, "image": image}, outputs),
        input_signature=[tf.TensorSpec((2, None, None, 3))],
        autograph=False,
    )
    measured = measure(images)
    assert len(measured["inside box"]) == 16 * 20 + 30 * 20 + 20 * 40
    assert len(measured["inside box"]) + len(measured["outside box"]) == 50 * 70 + 80 * 96
    picture, caption = detection.gallery(seen.most)
    assert picture.dtype == np.uint8 and caption.startswith("Green is what is there, red what was found")


@pytest.mark.usefixtures("without_graphs")
def test_the_report_of_a_detector_compares_pictures_of_the_same_sizes(model, tmp_path):
    named = checkpoints.named_variables(model)
    saved = tf.train.Checkpoint(**{checkpoints.VARIABLES_KEY: named}, step=tf.Variable(3, dtype=tf.int64))
    prefix = saved.save(str(tmp_path / "model.ckpt"))
    evaluated = config.EvaluationConfig(
        model=NETWORK,
        dataset="digit_scenes",
        image_size=64,
        checkpoint_dir=prefix,
        eval_dir=str(tmp_path / "eval"),
        split_name="test",
        num_examples=3,
        batch_size=3,
        report_dir=str(tmp_path / "report"),
    )
    metrics = evaluation.evaluate_run(evaluated, lambda line: None)
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert "They are those of the extractor; region proposals" in page
    # Class 1 of these scenes is the digit 0.
    table = page[page.index("What was found of each class") :]
    assert re.findall(r"<tr><td>(.*?)</td>", table)[:10] == list("0123456789")
    headings = re.findall("<h2>(.*?)</h2>", page)
    assert headings[3:7] == [
        "Images with the least computation",
        "Images with the most computation",
        "Precision and recall",
        "What was found of each class",
    ]
    plain = detection.build_model(dataclasses.replace(NETWORK, model_type="vanilla"))
    # 64 x 80 or 80 x 64, padded to 96 x 96 where both are in a batch.
    expected = int(flops.count(plain, plain(np.zeros((1, 64, 80, 3), np.float32)))["flops"][0])
    assert f"<td>{expected / 1e6:.1f} million</td>" in page
    share = re.search(r"<td>this network</td>.*?([\d.]+) %</td></tr>", page)[1]
    assert float(share) == pytest.approx(100 * metrics["Total Flops/mean"] / expected, abs=0.06)
