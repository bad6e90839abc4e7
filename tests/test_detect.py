"""Boxes of photographs: in pixels of the file as one sees it, all of them in one file, and what is refused."""

import dataclasses
import json
import os
import random
import types

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from sact_tf import checkpoints, detect
from sact_tf.config import DetectConfig, EvaluationConfig, ModelConfig
from sact_tf.data.photographs import BadPhotograph, resize_for_detector
from sact_tf.detection import scoring
from sact_tf.evaluation import measuring
from sact_tf.evaluation.finding import Found
from sact_tf.tasks import detection
from sact_tf.visualize.detections import detection_figure

NETWORK = ModelConfig(
    network="imagenet",
    model="1_2_1_1",
    model_type="sact",
    num_classes=3,
    base_channels=4,
    anchor_base_size=64.0,
    crop_size=4,
)
HEIGHT, WIDTH = 50, 76
SIZE = 40


@pytest.fixture(scope="module")
def work(tmp_path_factory, spread_halting):
    """Folder with a checkpoint, and `photos`: one picture upright and the same turned, and two that are none."""
    random.seed(5)
    folder = tmp_path_factory.mktemp("detect")
    model = spread_halting(detection.build_model(NETWORK))
    named = checkpoints.named_variables(model)
    saved = tf.train.Checkpoint(**{checkpoints.VARIABLES_KEY: named}, step=tf.Variable(3, dtype=tf.int64))
    saved.save(str(folder / "run" / "model.ckpt"))
    photos = folder / "photos"
    photos.mkdir()
    image = Image.fromarray(np.random.default_rng(2).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8))
    image.save(photos / "a.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    image.transpose(Image.ROTATE_90).save(photos / "b.png", exif=exif)
    Image.new("RGB", (90, 4)).save(photos / "strip.png")
    (photos / "text.png").write_text("no picture")
    return folder


def config_of(work, output_dir, **fields):
    fields = {"images_pattern": str(work / "photos" / "*"), "image_size": SIZE, "min_score": 0.0, **fields}
    fields = {"checkpoint_dir": str(work / "run"), **fields}
    return DetectConfig(model=NETWORK, dataset="digit_scenes", output_dir=str(output_dir), **fields)


@pytest.fixture(scope="module")
def found(work, tmp_path_factory):
    """What `detect` returned, the directory, and the lines."""
    directory, lines = tmp_path_factory.mktemp("found") / "new", []
    # Few of its boxes are drawn.
    return *detect.detect(config_of(work, directory, min_score=0.25), lines.append), directory, lines


def test_files_that_cannot_be_looked_at_are_named_and_do_not_stop_the_others(found):
    done, skipped, directory, lines = found
    assert [os.path.basename(path) for path in done] == ["a.png", "b.png"]
    assert [os.path.basename(path) for path in skipped] == ["strip.png", "text.png"]
    # The network has another number of classes than the data set, which names them otherwise.
    reason = "digit_scenes has 10 classes where it lies now, and the network 3"
    assert lines[0] == f"Labels: none, {reason}. Give --labels for names"
    assert "a.png 50 x 76: " in lines[1] and " boxes of score 0.25 or more; " in lines[1]
    assert lines[1].endswith("of all units everywhere") and "FLOPs of the extractor, 100.0%" not in lines[1]
    assert "strip.png skipped: it would be 3 pixels high and 68 wide" in lines[3]
    assert lines[4].split(" skipped: ")[1].startswith("it is no picture in a format")
    assert sorted(os.listdir(directory)) == ["a_detections.png", "b_detections.png", "detections.json"]


def test_boxes_are_in_pixels_of_the_file_in_the_form_that_coco_reads(found, work):
    done, _, directory, _ = found
    results = json.loads((directory / "detections.json").read_text())
    assert results == [box for boxes in done.values() for box in boxes]
    assert min(box["score"] for box in results) < 0.25
    assert {(box["image_id"], box["file_name"]) for box in results} == {(1, "a.png"), (2, "b.png")}
    assert set(results[0]) == {"image_id", "file_name", "category_id", "bbox", "score"}
    assert {box["category_id"] for box in results} <= {1, 2, 3}
    boxes = np.array([box["bbox"] for box in results])
    assert (boxes >= 0).all()
    ends = boxes[:, :2] + boxes[:, 2:]
    # Some reach to the border of the file, which is larger than what the network was given.
    assert ends.max(axis=0) == pytest.approx([WIDTH, HEIGHT], abs=0.01)
    coco = COCO()
    coco.dataset = {"images": [{"id": 1}, {"id": 2}], "categories": [{"id": number} for number in (1, 2, 3)]}
    coco.createIndex()
    assert len(coco.loadRes(str(directory / "detections.json")).anns) == len(results)


@pytest.mark.usefixtures("without_graphs")
def test_the_masked_engine_finds_the_same_and_labels_name_it(found, work, tmp_path, monkeypatch):
    monkeypatch.setattr(detect, "detection_figure", lambda *arguments: np.zeros((1, 1, 3)))
    (tmp_path / "labels.txt").write_text("cat\ndog\nemu\n")
    fields = {"images_pattern": str(work / "photos" / "a.png"), "engine": "masked"}
    config = config_of(work, tmp_path / "new", labels=str(tmp_path / "labels.txt"), **fields)
    done, _ = detect.detect(config, lambda line: None)
    (masked,), (expected, _) = done.values(), found[0].values()
    assert len(masked) == len(expected) > 3
    for name in ("bbox", "score", "category_id"):
        np.testing.assert_allclose([box[name] for box in masked], [box[name] for box in expected], atol=1e-2)
    names = {1: "cat", 2: "dog", 3: "emu"}
    assert [box["category"] for box in masked] == [names[box["category_id"]] for box in masked]


def test_boxes_belong_to_the_picture_as_one_sees_it(found):
    upright, turned = found[0].values()
    assert [box["bbox"] for box in upright] == [box["bbox"] for box in turned]


@pytest.mark.usefixtures("without_graphs")
def test_with_the_ids_of_annotations_boxes_score_as_in_evaluation(found, work, tmp_path, monkeypatch):
    monkeypatch.setattr(detect, "detection_figure", lambda *arguments: np.zeros((1, 1, 3)))
    # Boxes of the second are those of the picture as it is stored, which is not as one sees it.
    images = [
        {"id": 70, "file_name": "b.png", "height": WIDTH, "width": HEIGHT},
        {"id": 9, "file_name": "a.png", "height": HEIGHT, "width": WIDTH},
    ]
    categories = [{"id": 30, "name": "cat"}, {"id": 4, "name": "dog"}, {"id": 5, "name": "emu"}]
    boxes = [(9, box["category_id"], box["bbox"]) for box in next(iter(found[0].values()))[:12:2]]
    boxes += [(70, 2, [3, 5, 30, 40]), (70, 3, [10, 10, 40, 60])]
    annotations = [
        {"id": number, "image_id": image, "category_id": (4, 5, 30)[kind - 1], "bbox": bbox, "area": bbox[2] * bbox[3]}
        for number, (image, kind, bbox) in enumerate(boxes, 1)
    ]
    path = tmp_path / "annotations" / "instances_test.json"
    path.parent.mkdir()
    lists = {"images": images, "annotations": [{**box, "iscrowd": 0} for box in annotations], "categories": categories}
    path.write_text(json.dumps(lists))
    (tmp_path / "images").symlink_to(work / "photos")
    (tmp_path / "labels.txt").write_text("dog\nemu\ncat\n")
    fields = {"annotations": str(path), "labels": str(tmp_path / "labels.txt"), "engine": "masked"}
    detect.detect(config_of(work, tmp_path / "new", images_pattern=str(work / "photos" / "[ab].png"), **fields), print)
    truth = COCO(str(path))
    scores = COCOeval(truth, truth.loadRes(str(tmp_path / "new" / "detections.json")), "bbox")
    for step in (scores.evaluate, scores.accumulate, scores.summarize):
        step()
    config = EvaluationConfig(
        model=NETWORK,
        dataset="coco",
        checkpoint_dir=str(work / "run"),
        image_size=SIZE,
        split_name="test",
        num_examples=2,
        batch_size=1,
        dataset_dir=str(tmp_path),
        eval_dir="",
    )
    metrics = measuring.evaluate(config, str(work / "run"))
    assert metrics[scoring.METRICS[0]] > 0.1
    np.testing.assert_allclose(scores.stats, [metrics[name] for name in scoring.METRICS], atol=1e-6)
    assert {box["category"]: box["category_id"] for box in scores.cocoDt.dataset["annotations"]} == {
        "dog": 4,
        "emu": 5,
        "cat": 30,
    }


def test_ids_are_looked_up_before_anything_is_computed(work, tmp_path):
    (tmp_path / "labels.txt").write_text("cat\ndog\nemu\n")
    config = config_of(work, tmp_path / "new", annotations=str(tmp_path / "labels.txt"), checkpoint_dir="none")
    with pytest.raises(ValueError, match=r"of this network are not known"):
        detect.detect(config, print)
    config = dataclasses.replace(config, labels=str(tmp_path / "labels.txt"))
    with pytest.raises(ValueError, match=r"labels\.txt is no whole JSON file"):
        detect.detect(config, print)


@pytest.fixture
def small(monkeypatch):
    """List of what is drawn, a pixel each; of a network that finds the same three boxes everywhere."""
    drawn = []

    def draw(image, boxes, title, ponder_map):
        drawn.append((boxes, title))
        return np.zeros((1, 1, 3))

    boxes = np.array([[0, 0, 25, 38], [10, 4, 50, 76], [1, 1, 2, 2]], "float32")
    three = Found(boxes, np.array([0.9, 0.5, 0.25], "float32"), np.array([3, 1, 1]), None, 1, 4)
    monkeypatch.setattr(detect, "detection_figure", draw)
    monkeypatch.setattr(detect, "find", lambda *arguments: three)
    # Nobody asks the network anything, and an engine takes seconds to make.
    network = types.SimpleNamespace(backbone=types.SimpleNamespace(minimum_size=32))
    monkeypatch.setattr(detect.inference, "load_model", lambda config: network)
    monkeypatch.setattr(detect, "predictor", lambda model, engine: None)
    return drawn


def test_the_best_boxes_are_drawn_with_their_names_and_all_are_written(small, work, tmp_path):
    (tmp_path / "labels.txt").write_text("cat\ndog\nbird\n")
    fields = {"images_pattern": str(work / "photos" / "a.png"), "min_score": 0.5}
    labelled = config_of(work, tmp_path / "1", labels=str(tmp_path / "labels.txt"), **fields)
    lines = []
    detect.detect(labelled, lines.append)
    ((boxes, texts), title) = small[0]
    assert texts == ["bird 0.90", "cat 0.50"]
    # The picture that is drawn is the network's, 40 x 61 of the file's 50 x 76.
    np.testing.assert_allclose(boxes, [[0, 0, 20, 30.5], [8, 3.21, 40, 61]], atol=0.01)
    assert (
        title == "a.png, 50 x 76: 2 boxes of score 0.5 or more; 1 FLOPs of the extractor, 25.0% of all units everywhere"
    )
    assert len(json.loads((tmp_path / "1" / "detections.json").read_text())) == 3
    detect.detect(config_of(work, tmp_path / "2", **fields), lines.append)
    assert small[1][0][1] == ["3 0.90", "1 0.50"]


def test_nothing_is_written_where_no_photograph_could_be_looked_at(small, work, tmp_path):
    done, skipped = detect.detect(config_of(work, tmp_path, images_pattern=str(work / "photos" / "text.png")), print)
    assert not done and len(skipped) == 1 and not os.listdir(tmp_path)


def test_classes_have_the_names_of_the_data_set_that_the_network_was_trained_on(work, tmp_path):
    ten = dataclasses.replace(config_of(work, tmp_path), model=dataclasses.replace(NETWORK, num_classes=10))
    lines = []
    assert detect._labels(ten, lines.append) == list("0123456789")
    assert lines == ["Labels: the names of digit_scenes, from class 1 on: 0, 1, 2, 3, 4, ..."]


def test_boxes_that_are_there_are_replaced_only_when_told_to(small, work, tmp_path):
    pattern = str(work / "photos" / "a.png")
    detect.detect(config_of(work, tmp_path, images_pattern=pattern), lambda line: None)
    with pytest.raises(FileExistsError, match=r"boxes of 1 of the 1 photographs.*a_detections.png.*--overwrite"):
        detect.detect(config_of(work, tmp_path, images_pattern=pattern))
    with pytest.raises(FileExistsError, match=r"boxes of other photographs already, detections\.json.*--overwrite"):
        detect.detect(config_of(work, tmp_path, images_pattern=str(work / "photos" / "b.png")))
    detect.detect(config_of(work, tmp_path, images_pattern=pattern, overwrite=True), lambda line: None)
    assert len(small) == 2
    with pytest.raises(ValueError, match=r"boxes would lie among the photographs.*another --output_dir"):
        detect.detect(config_of(work, work / "photos", overwrite=True))


def test_no_photographs_no_checkpoint_and_other_labels_are_named_before_anything_is_computed(work, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No file is like .*\*\.jpg\. Give --images_pattern in quotes"):
        detect.detect(config_of(work, tmp_path, images_pattern=f"{tmp_path}/*.jpg"))
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    with pytest.raises(ValueError, match=r"one line a class, 3 in all, from class 1 on.*Received: 2 lines in"):
        detect.detect(config_of(work, tmp_path / "new", labels=str(tmp_path / "labels.txt")))
    lost = DetectConfig(
        model=NETWORK,
        dataset="digit_scenes",
        checkpoint_dir=str(tmp_path),
        images_pattern=str(work / "photos" / "a.png"),
        output_dir=str(tmp_path / "new"),
        image_size=SIZE,
    )
    with pytest.raises(FileNotFoundError, match="No checkpoint at"):
        detect.detect(lost)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dataset": "cluttered_digits"}, r"a network that classifies.*ponder_map.*dataset='cluttered_digits'"),
        ({"min_score": 50}, r"`min_score` must lie in \[0, 1\]\. Received: min_score=50"),
        ({"engine": "dense"}, r"`engine` must be one of .*sparse.*masked.*'dense'"),
        ({"image_size": 0}, "`image_size` must be an int, at least 1"),
        ({"image_size": 100_000}, "at most 65,535"),
        ({"images_pattern": None}, "--images_pattern"),
        ({"output_dir": ""}, "--output_dir"),
    ],
)
def test_mistakes_are_named(fields, message):
    settings = {"dataset": "digit_scenes", "images_pattern": "x", "output_dir": "y", "image_size": 64, **fields}
    with pytest.raises(ValueError, match=message):
        DetectConfig(model=NETWORK, checkpoint_dir="z", **settings)


@pytest.mark.parametrize(("shape", "expected"), [((50, 76), (60, 91)), ((76, 50), (91, 60)), ((30, 90), (34, 102))])
def test_the_shorter_side_is_resized_unless_the_longer_would_be_too_long(shape, expected):
    image = resize_for_detector(np.full((*shape, 3), 0.25, "float32"), 60, 32)
    assert image.shape == (*expected, 3)
    np.testing.assert_array_equal(image, 0.25)


def test_a_strip_is_told_which_size_is_enough():
    strip = np.zeros((4, 90, 3), "float32")
    with pytest.raises(BadPhotograph, match=r"at least 32 each way\. Enlarge it with --image_size=422 or more"):
        resize_for_detector(strip, SIZE, 32)
    assert resize_for_detector(strip, 422, 32).shape[0] == 32


@pytest.mark.parametrize("shape", [(20, 200), (200, 20)])
def test_a_figure_has_the_map_below_the_picture_however_long(shape):
    image = np.zeros((*shape, 3))
    boxes = np.array([[2, 3, 15, 18]]), ["7 0.50"]
    alone = detection_figure(image, boxes, "title")
    both = detection_figure(image, boxes, "title", np.ones(shape))
    assert both.shape[0] > 1.3 * alone.shape[0]
    red = (np.abs(alone.astype(int) - [255, 80, 80]) < 30).all(-1)
    assert red.any()
