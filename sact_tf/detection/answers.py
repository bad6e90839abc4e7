"""The second stage's answer: from scores and codes of all proposals to the objects of each image."""

from typing import NamedTuple

import tensorflow as tf

from sact_tf.detection.codes import decode
from sact_tf.detection.geometry import clip
from sact_tf.detection.nms import non_max_suppression

# As in the TF Object Detection API's faster_rcnn_resnet101_coco.
IOU_THRESHOLD = 0.6
MAX_PER_CLASS = 100
MAX_DETECTIONS = 300


class Answers(NamedTuple):
    """Objects of a batch, best first; rows beyond an image's `num_detections` are zeros.

    Attributes:
        boxes: float32 `(batch, max_detections, 4)`, yxyx in pixels of the network's input, inside the picture.
        scores: float32 `(batch, max_detections)`, probability of the class.
        classes: int32 `(batch, max_detections)`, from 1; 0 is the background, and where nothing is left.
        num_detections: int32 `(batch,)`.
    """

    boxes: tf.Tensor
    scores: tf.Tensor
    classes: tf.Tensor
    num_detections: tf.Tensor


def answer(
    proposals,
    valid,
    codes,
    logits,
    image_size,
    iou_threshold=IOU_THRESHOLD,
    max_per_class=MAX_PER_CLASS,
    max_detections=MAX_DETECTIONS,
):
    """Decodes each class, clips to the picture, suppresses overlaps within classes, and takes the best of all.

    Of equal scores the lower class is the better one, and in a class the first proposal. Where scores or codes are
    NaN there is no object.

    Args:
        proposals: float32 `(batch, proposals, 4)`, yxyx in pixels.
        valid: bool `(batch, proposals)`, False for padding.
        codes: float `(batch, proposals, classes, 4)`, see `codes.decode`; without the background.
        logits: float `(batch, proposals, classes + 1)`, background first.
        image_size: int32 `(batch, 2)`, height and width of each picture without its padding, in pixels.
        iou_threshold: float in (0, 1); boxes that overlap a better one of their class by more are suppressed.
        max_per_class: int, largest number of objects of a class in an image.
        max_detections: int, rows of the answer.

    Returns:
        `Answers`.
    """
    probabilities = tf.nn.softmax(tf.cast(logits, tf.float32))[..., 1:]
    probabilities = tf.where(valid[..., None], probabilities, 0.0)
    boxes = clip(decode(codes, proposals[:, :, None]), image_size)
    # As a batch of images times classes.
    boxes, scores = tf.transpose(boxes, (0, 2, 1, 3)), tf.transpose(probabilities, (0, 2, 1))
    batch, classes, count = tf.shape(scores)[0], tf.shape(scores)[1], tf.shape(scores)[2]
    boxes, scores = tf.reshape(boxes, (-1, count, 4)), tf.reshape(scores, (-1, count))
    kept = non_max_suppression(boxes, scores, max_per_class, iou_threshold)
    boxes = tf.reshape(tf.gather(boxes, kept.indices, batch_dims=1), (batch, -1, 4))
    return _best(boxes, tf.reshape(kept.scores, (batch, -1)), classes, max_per_class, max_detections)


def _best(boxes, scores, classes, max_per_class, max_detections):
    # Of few classes there may be fewer rows than the answer has.
    missing = tf.maximum(max_detections - classes * max_per_class, 0)
    scores = tf.pad(scores, [[0, 0], [0, missing]])
    scores, place = tf.math.top_k(scores, max_detections)
    found = scores > 0.0
    place = tf.where(found, place, 0)
    return Answers(
        tf.where(found[..., None], tf.gather(boxes, place, batch_dims=1), 0.0),
        scores,
        tf.where(found, place // max_per_class + 1, 0),
        tf.reduce_sum(tf.cast(found, tf.int32), axis=1),
    )
