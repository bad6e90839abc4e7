"""COCO's twelve figures of detections, computed by pycocotools."""

import contextlib
import io
from typing import NamedTuple

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

# Names of the TF Object Detection API, in the order of pycocotools' statistics.
METRICS = (
    "DetectionBoxes_Precision/mAP",
    "DetectionBoxes_Precision/mAP@.50IOU",
    "DetectionBoxes_Precision/mAP@.75IOU",
    "DetectionBoxes_Precision/mAP (small)",
    "DetectionBoxes_Precision/mAP (medium)",
    "DetectionBoxes_Precision/mAP (large)",
    "DetectionBoxes_Recall/AR@1",
    "DetectionBoxes_Recall/AR@10",
    "DetectionBoxes_Recall/AR@100",
    "DetectionBoxes_Recall/AR@100 (small)",
    "DetectionBoxes_Recall/AR@100 (medium)",
    "DetectionBoxes_Recall/AR@100 (large)",
)


# Of pycocotools' ten overlaps, .5 to .95, the places of those that curves are drawn for.
_CURVES = {0.5: 0, 0.75: 5}


class Scores(NamedTuple):
    """What detections are worth; every figure is -1 where there is nothing to be found.

    Attributes:
        metrics: dict from each of `METRICS` to a float in [0, 1].
        per_class: dict from each category to a dict with the floats `AP`, `AP50`, `AP75` and `AR100`.
        precision: dict from .5 and .75, how much boxes overlap, to float64 `(101,)`: the precision at the recalls 0,
            .01, ... 1, the mean over the categories that there are boxes of.
    """

    metrics: dict
    per_class: dict
    precision: dict


def annotations(image_id, boxes, classes, crowd=None, areas=None):
    """True boxes of one image as `score` takes them.

    Args:
        image_id: int.
        boxes: float array `(boxes, 4)`, yxyx in pixels of the original image.
        classes: int array `(boxes,)`.
        crowd: bool array `(boxes,)`, True for boxes around many objects; `None` for none of them.
        areas: float array `(boxes,)`, square pixels, by which objects are small, medium or large; COCO gives those of
            the outlines. `None` for the areas of the boxes.

    Returns:
        list of dicts.
    """
    sides = rectangles(boxes)
    crowd = np.zeros(len(sides), bool) if crowd is None else crowd
    areas = sides[:, 2] * sides[:, 3] if areas is None else areas
    return [
        {
            "image_id": int(image_id),
            "category_id": int(category),
            "bbox": rectangle.tolist(),
            "area": float(area),
            "iscrowd": int(is_crowd),
        }
        for rectangle, category, is_crowd, area in zip(sides, classes, crowd, areas, strict=True)
    ]


def detections(image_id, boxes, scores, classes):
    """Detected boxes of one image as `score` takes them.

    Args:
        image_id: int.
        boxes: float array `(boxes, 4)`, yxyx in pixels of the original image.
        scores: float array `(boxes,)`.
        classes: int array `(boxes,)`.

    Returns:
        list of dicts.
    """
    return [
        {
            "image_id": int(image_id),
            "category_id": int(category),
            "bbox": rectangle.tolist(),
            "score": float(score),
        }
        for rectangle, score, category in zip(rectangles(boxes), scores, classes, strict=True)
    ]


def score(annotations, detections, image_ids, categories, class_agnostic=False):
    """Scores detections against the true boxes.

    Args:
        annotations: list of dicts with `image_id`, `category_id`, `bbox` (`[x, y, width, height]` in pixels), `area`
            and `iscrowd`.
        detections: list of dicts with `image_id`, `category_id`, `bbox` and `score`. The 100 best of each image and
            category count. May be empty.
        image_ids: the images that are scored, with and without boxes, ints. Boxes of others are left out.
        categories: the categories that are scored, ints.
        class_agnostic: bool, whether a box counts as found whatever its category.

    Returns:
        `Scores`; `per_class` is empty with `class_agnostic`.

    Raises:
        ValueError: for detections and annotations whose numbers are not finite.
    """
    image_ids, categories = sorted(set(map(int, image_ids))), sorted(set(map(int, categories)))
    _check_finite("Detections", "score", detections)
    _check_finite("Annotations", "area", annotations)
    # pycocotools says what it does, and has no way to be told not to.
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(
            _coco(annotations, image_ids, categories), _coco(_found(detections), image_ids, categories), "bbox"
        )
        evaluation.params.useCats = int(not class_agnostic)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    per_class = {} if class_agnostic else _per_class(evaluation.eval, categories)
    metrics = {name: float(value) for name, value in zip(METRICS, evaluation.stats, strict=True)}
    return Scores(metrics, per_class, _precision(evaluation.eval))


def _coco(boxes, image_ids, categories):
    wanted = set(image_ids)
    coco = COCO()
    coco.dataset = {
        "images": [{"id": image_id} for image_id in image_ids],
        "categories": [{"id": category} for category in categories],
        # From 1: to pycocotools, 0 is no match.
        "annotations": [
            {**box, "id": number}
            for number, box in enumerate((box for box in boxes if box["image_id"] in wanted), start=1)
        ],
    }
    coco.createIndex()
    return coco


def _found(detections):
    """What `COCO.loadRes` makes of detections; that fails where there are none."""
    return [{**box, "area": box["bbox"][2] * box["bbox"][3], "iscrowd": 0} for box in detections]


def _check_finite(kind, key, boxes):
    numbers = np.array([[*box["bbox"], box[key]] for box in boxes], "float64").reshape(-1, 5)
    wrong = np.flatnonzero(~np.isfinite(numbers).all(axis=1))
    if wrong.size:
        raise ValueError(
            f"{kind} must have finite boxes and {key}s; leave out those that have not. Received {wrong.size} of "
            f"{len(boxes)} that are not, the first one: {boxes[wrong[0]]}"
        )


def _per_class(results, categories):
    # The first area is all of them, the last number of detections 100.
    precision, recall = results["precision"][:, :, :, 0, -1], results["recall"][:, :, 0, -1]
    return {
        category: {
            "AP": _mean(precision[:, :, index]),
            "AP50": _mean(precision[0, :, index]),
            "AP75": _mean(precision[5, :, index]),
            "AR100": _mean(recall[:, index]),
        }
        for index, category in enumerate(categories)
    }


def _precision(results):
    precision = results["precision"][:, :, :, 0, -1]
    known = (precision > -1).all(axis=(0, 1))
    if not known.any():
        return {overlap: np.full(precision.shape[1], -1.0) for overlap in _CURVES}
    return {overlap: precision[number][:, known].mean(axis=1) for overlap, number in _CURVES.items()}


def _mean(values):
    """Mean of what is known; -1 for none."""
    known = values[values > -1]
    return float(np.mean(known)) if known.size else -1.0


def rectangles(boxes):
    """Boxes yxyx as `[x, y, width, height]`, float64 `(boxes, 4)`."""
    boxes = np.asarray(boxes, "float64")
    if boxes.size and boxes.shape[-1] != 4:
        raise ValueError(f"Boxes must be (boxes, 4), ymin, xmin, ymax, xmax. Received: shape={boxes.shape}")
    boxes = boxes.reshape(-1, 4)
    return np.stack([boxes[:, 1], boxes[:, 0], boxes[:, 3] - boxes[:, 1], boxes[:, 2] - boxes[:, 0]], axis=-1)
