import json

import numpy as np
import pytest

from sact_tf.detection import scoring

MAP, MAP50 = "DetectionBoxes_Precision/mAP", "DetectionBoxes_Precision/mAP@.50IOU"
RECALL = "DetectionBoxes_Recall/AR@100"
# Image 5 has a box of class 1 and one of class 2, both 40 x 50; image 6 has none.
BOXES = np.array([[10, 20, 50, 70], [60, 20, 100, 70]], "float32")
TRUTH = scoring.annotations(5, BOXES, [1, 2])


def test_boxes_become_corner_width_and_height():
    (box,) = scoring.annotations(5, BOXES[:1], [3], [True])
    assert box == {"image_id": 5, "category_id": 3, "bbox": [20, 10, 50, 40], "area": 2000, "iscrowd": 1}
    assert scoring.annotations(5, BOXES[:1], [3], areas=[7.0])[0]["area"] == 7
    (box,) = scoring.detections(6, BOXES[1:], np.array([0.25], "float32"), [4])
    assert box == {"image_id": 6, "category_id": 4, "bbox": [20, 60, 50, 40], "score": 0.25}
    assert scoring.detections(6, np.zeros((0, 4)), [], []) == []


def test_a_box_that_is_found_and_one_that_is_not():
    found = scoring.score(TRUTH, scoring.detections(5, BOXES[:1], [0.9], [1]), [5, 6], [1, 2, 3])
    assert list(found.metrics) == list(scoring.METRICS)
    # Half of the classes that are there.
    assert [found.metrics[name] for name in (MAP, MAP50, RECALL)] == pytest.approx([0.5] * 3)
    assert found.per_class[1] == pytest.approx({"AP": 1, "AP50": 1, "AP75": 1, "AR100": 1})
    assert found.per_class[2] == {"AP": 0, "AP50": 0, "AP75": 0, "AR100": 0}
    assert found.per_class[3] == {"AP": -1, "AP50": -1, "AP75": -1, "AR100": -1}
    # 40 x 50 lies between 32 x 32 and 96 x 96.
    assert found.metrics["DetectionBoxes_Precision/mAP (medium)"] == pytest.approx(0.5)
    assert found.metrics["DetectionBoxes_Precision/mAP (small)"] == -1


def test_a_shifted_box_is_found_at_lower_thresholds():
    # It overlaps by 45 / 55 = .818: found at .5, .55, ... .8, seven of ten.
    found = scoring.score(TRUTH[:1], scoring.detections(5, BOXES[:1] + [0, 5, 0, 5], [0.9], [1]), [5], [1])
    assert found.metrics[MAP] == pytest.approx(0.7)
    assert [found.metrics[MAP50], found.per_class[1]["AP75"]] == pytest.approx([1, 1])


def test_boxes_in_crowds_are_no_mistakes():
    crowd = scoring.annotations(5, [[0, 100, 200, 300]], [1], [True])
    detections = scoring.detections(5, [[20, 120, 50, 150], BOXES[0]], [0.9, 0.8], [1, 1])
    assert scoring.score(TRUTH + crowd, detections, [5], [1]).metrics[MAP] == pytest.approx(1)
    assert scoring.score(TRUTH, detections, [5], [1]).metrics[MAP] == pytest.approx(0.5)


@pytest.mark.parametrize(("truth", "figure"), [(TRUTH, 0), ([], -1)])
def test_nothing_found_and_nothing_to_be_found(truth, figure):
    found = scoring.score(truth, [], [5, 6], [1, 2])
    assert found.metrics[MAP] == found.metrics[RECALL] == found.per_class[2]["AP"] == figure


def test_it_prints_nothing(capsys):
    scoring.score(TRUTH, scoring.detections(5, BOXES, [0.9, 0.8], [1, 2]), [5], [1, 2])
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_figures_of_nan_are_refused(wrong):
    with pytest.raises(ValueError, match=r"finite boxes and scores.*Received 1 of 2"):
        scoring.score(TRUTH, scoring.detections(5, BOXES, [0.9, wrong], [1, 2]), [5], [1, 2])
    # pycocotools would find a box of NaN.
    truth = scoring.annotations(5, np.array(BOXES) * [[wrong], [1]], [1, 2])
    with pytest.raises(ValueError, match=r"Annotations must have finite boxes and areas.*Received 1 of 2"):
        scoring.score(truth, [], [5], [1, 2])


def test_rows_that_are_longer_than_a_box_are_not_taken_for_more_boxes():
    with pytest.raises(ValueError, match=r"Boxes must be \(boxes, 4\).*shape=\(4, 5\)"):
        scoring.detections(5, np.zeros((4, 5)), np.ones(5), np.ones(5))


@pytest.fixture(scope="module")
def coco(reference):
    names = ("ground_truth", "detections", "expected")
    return [json.loads((reference / "coco" / f"{name}.json").read_text()) for name in names]


def test_figures_are_those_of_pycocotools_itself(coco):
    truth, detections, expected = coco
    images, classes = [image["id"] for image in truth["images"]], expected["category_ids"]
    found = scoring.score(truth["annotations"], detections, images, classes)
    assert list(found.metrics.values()) == expected["stats"]
    for name in ("AP", "AP50", "AP75", "AR100"):
        assert [found.per_class[category][name] for category in classes] == expected[f"per_class_{name}"]
    turned = scoring.score(truth["annotations"], detections[::-1], images, classes)
    assert list(turned.metrics.values()) == expected["stats_detections_reversed"]
    agnostic = scoring.score(truth["annotations"], detections, images, classes, class_agnostic=True)
    assert list(agnostic.metrics.values()) == expected["stats_class_agnostic"]
    assert agnostic.per_class == {}


@pytest.mark.parametrize("subset", ["subset_101_102", "subset_107_only", "subset_101_only"])
def test_figures_of_some_images_are_those_of_pycocotools_itself(coco, subset):
    truth, detections, expected = coco
    own, classes = expected[subset], expected["category_ids"]
    found = scoring.score(truth["annotations"], detections, own["image_ids"], classes)
    assert list(found.metrics.values()) == own["stats"]
    for name in ("AP", "AP50"):
        assert [found.per_class[category][name] for category in classes] == own[f"per_class_{name}"]


def test_precision_at_each_recall_is_the_mean_of_the_classes_that_there_are():
    # Of class 1 one box of two is found, but not exactly: it overlaps by 10 of 12. Of class 2 nothing; 3 has no boxes.
    there = scoring.annotations(5, [[0, 0, 10, 10], [30, 30, 40, 40], [50, 0, 60, 10]], [1, 1, 2])
    found = scoring.detections(5, [[0, 0, 12, 10]], [0.9], [1])
    curves = scoring.score(there, found, [5], [1, 2, 3]).precision
    assert set(curves) == {0.5, 0.75}
    for curve in curves.values():
        np.testing.assert_allclose(curve, np.where(np.arange(101) <= 50, 0.5, 0.0))
    less = scoring.score(there, scoring.detections(5, [[0, 0, 16, 10]], [0.9], [1]), [5], [1, 2]).precision
    assert less[0.5][0] == pytest.approx(0.5) and less[0.75].max() == 0
    assert (scoring.score([], found, [5], [1]).precision[0.5] == -1).all()
