"""What a detector found beside what was there: COCO's figures, and boxes that were missed or are not there."""

from typing import NamedTuple

import numpy as np
from pycocotools import mask

from sact_tf.detection import scoring
from sact_tf.progress import counted
from sact_tf.tasks.sections import Chart, Picture, Table
from sact_tf.visualize.detections import detection_gallery, precision_recall

# Boxes of at least this score are drawn, and count as found where they overlap a true box by at least this much. The
# figures of COCO take boxes of all scores.
SURE, OVERLAP = 0.5, 0.5
# Pictures with mistakes that are shown.
_SHOWN = 6
_OUTPUTS = ("boxes", "scores", "classes", "num_detections")


class Marks(NamedTuple):
    """Boxes of one image, in pixels of the network's input.

    Attributes:
        there: float array `(boxes, 4)`, ymin, xmin, ymax, xmax.
        there_classes: int array `(boxes,)`, from 1.
        crowd: bool array `(boxes,)`, whether a box is around many objects at once.
        found: float array `(boxes, 4)`, those of a score of `SURE` or more, best first.
        found_classes: int array `(boxes,)`.
        scores: float array `(boxes,)`.
        names: dict from numbers of classes to texts; numbers stand for those that are not in it.
    """

    there: np.ndarray
    there_classes: np.ndarray
    crowd: np.ndarray
    found: np.ndarray
    found_classes: np.ndarray
    scores: np.ndarray
    names: dict = {}

    @property
    def texts(self):
        """Class and score of each box that was found."""
        return _texts(self.found_classes, self.scores, self.names)


def is_sure(scores):
    """Which boxes are drawn and counted as mistakes: bool, of their scores, an array or a tensor."""
    return scores >= SURE


def marks_of(batch, outputs, names=None):
    """`Marks` of each image of a batch, a list."""
    batch = {name: np.asarray(batch[name]) for name in ("boxes", "classes", "crowd", "image_size", "original_size")}
    outputs = {name: np.asarray(outputs[name]) for name in _OUTPUTS}
    ratio = np.tile(batch["image_size"] / batch["original_size"], 2)
    made = []
    for number, count in enumerate(outputs["num_detections"]):
        real = batch["classes"][number] > 0
        sure = np.arange(len(outputs["scores"][number])) < count
        sure &= is_sure(outputs["scores"][number])
        made.append(
            Marks(
                *(batch[name][number, real] for name in ("boxes", "classes", "crowd")),
                outputs["boxes"][number, sure] * ratio[number],
                *(outputs[name][number, sure] for name in ("classes", "scores")),
                names or {},
            )
        )
    return made


def mistakes(marks):
    """Which boxes were missed, and which that were found are not there.

    A box that was found is one that is there if they are of one class and overlap by half of what both cover; the best
    score chooses first, and each box that is there is taken once. Boxes around many objects are none to be missed, and
    what lies in them is not false.

    Args:
        marks: `Marks`.

    Returns:
        `(missed, false)`: bool arrays, of the boxes that are there and of those that were found.
    """
    missed, false = ~marks.crowd, np.ones(len(marks.found), bool)
    if not len(marks.found) or not len(marks.there):
        return missed, false
    sides = (scoring.rectangles(marks.found), scoring.rectangles(marks.there))
    overlaps = mask.iou(*sides, marks.crowd.astype(int).tolist())
    overlaps = np.where(marks.found_classes[:, None] == marks.there_classes, overlaps, 0)
    for number, overlap in enumerate(overlaps):
        best = np.argmax(np.where(missed, overlap, 0))
        if missed[best] and overlap[best] >= OVERLAP:
            missed[best] = false[number] = False
        elif (overlap[marks.crowd] >= OVERLAP).any():
            false[number] = False
    return missed, false


class Detections:
    """Gathers what was found and what was there, in pixels of the files, for COCO's figures."""

    def __init__(self, num_classes):
        self.num_classes = num_classes
        self.found, self.there, self.images = [], [], set()

    def add(self, batch, outputs):
        """Takes a batch into account."""
        batch = {name: np.asarray(batch[name]) for name in batch if name != "image"}
        outputs = {name: np.asarray(outputs[name]) for name in _OUTPUTS}
        ratio = np.tile(batch["original_size"] / batch["image_size"], 2)[:, None]
        boxes = batch["boxes"] * ratio
        for number, image_id in enumerate(batch["image_id"]):
            count, real = outputs["num_detections"][number], batch["classes"][number] > 0
            # Two images of one number, as of records without names, are still two.
            image_id = -len(self.images) - 1 if int(image_id) in self.images else int(image_id)
            self.images.add(image_id)
            self.found += scoring.detections(
                image_id, *(outputs[name][number, :count] for name in ("boxes", "scores", "classes"))
            )
            self.there += scoring.annotations(
                image_id, *(value[number, real] for value in (boxes, batch["classes"], batch["crowd"], batch["area"]))
            )

    def scores(self):
        """`sact_tf.detection.scoring.Scores` of everything so far."""
        return scoring.score(self.there, self.found, self.images, range(1, self.num_classes + 1))

    def metrics(self):
        """COCO's twelve figures, by the names of the TF Object Detection API."""
        return self.scores().metrics


class Findings(Detections):
    """What a report shows of a detector: curves, a table of the classes, and the first images with mistakes."""

    def __init__(self, num_classes, names=None):
        super().__init__(num_classes)
        self._names = names or {}
        # Of each class, from 1: boxes that are to be found, that were missed, and that were found and are not there.
        self.counts = np.zeros((num_classes + 1, 3), int)
        self._shown = []

    def add(self, batch, outputs):
        """Takes a batch into account."""
        super().add(batch, outputs)
        for number, marks in enumerate(marks_of(batch, outputs, self._names)):
            missed, false = mistakes(marks)
            to_find = marks.there_classes[~marks.crowd]
            kinds = (to_find, marks.there_classes[missed], marks.found_classes[false])
            for column, classes in enumerate(kinds):
                np.add.at(self.counts[:, column], classes, 1)
            if (missed.any() or false.any()) and len(self._shown) < _SHOWN:
                height, width = np.asarray(batch["image_size"])[number]
                image = np.asarray(batch["image"][number])[:height, :width]
                self._shown.append((int(np.asarray(batch["image_id"])[number]), image, marks, missed, false))

    def sections(self):
        """Yields curves, a table, and a picture."""
        scores = self.scores()
        curves = {f"boxes that overlap by {overlap:g}": curve for overlap, curve in scores.precision.items()}
        text = "Precision at each recall, the mean over the classes; overlap is intersection over union."
        yield Chart("Precision and recall", precision_recall(curves), text)
        headings = ("class", "AP", "AP at .5", "AP at .75", "AR of 100", "boxes", "missed", "false")
        rows = [
            (
                self._names.get(number, number),
                *(_known(each[name]) for name in ("AP", "AP50", "AP75", "AR100")),
                *self.counts[number],
            )
            for number, each in scores.per_class.items()
        ]
        yield Table("What was found of each class", headings, rows)
        if self._shown:
            yield self._picture()

    def _picture(self):
        numbers, images, marks, missed, false = zip(*self._shown, strict=True)
        picture = detection_gallery(
            images,
            None,
            [
                (each.found[wrong], _texts(each.found_classes[wrong], each.scores[wrong], each.names))
                for each, wrong in zip(marks, false, strict=True)
            ],
            [each.there[wrong] for each, wrong in zip(marks, missed, strict=True)],
            [f"{sum(one)} missed, {sum(other)} false" for one, other in zip(missed, false, strict=True)],
        )
        _, missed, false = self.counts.sum(axis=0)
        caption = (
            f"Missed (green): {counted(missed, 'box')}. Found with a score of {SURE} or more and not there, or not of "
            f"that class (red): {counted(false, 'box')}. The first images with some, by their ids: "
            f"{', '.join(map(str, numbers))}."
        )
        return Picture("Boxes that were missed, and false ones", picture, caption)


def _known(figure):
    return "-" if figure == -1 else f"{figure:.3f}"


def _texts(classes, scores, names):
    return [f"{names.get(int(kind), kind)} {score:.2f}" for kind, score in zip(classes, scores, strict=True)]
