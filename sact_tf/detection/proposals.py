"""Region proposals: from the scores and codes of all anchors to a few boxes of each image."""

from typing import NamedTuple

import tensorflow as tf

from sact_tf.detection.codes import decode
from sact_tf.detection.geometry import clip
from sact_tf.detection.nms import non_max_suppression

# As in the TF Object Detection API's faster_rcnn_resnet101_coco.
MAX_PROPOSALS = 300
IOU_THRESHOLD = 0.7
# Best anchors that are looked at, as when Faster R-CNN is tested (Ren et al. 2015); the API looks at all of them. It
# bounds the time where so many boxes lie on each other that 300 others are not to be found.
MAX_CANDIDATES = 6000


class Proposals(NamedTuple):
    """Proposals of a batch, best first; rows beyond an image's `count` are zeros.

    Attributes:
        boxes: float32 `(batch, max_proposals, 4)`, yxyx in pixels, inside the picture.
        scores: float32 `(batch, max_proposals)`, probability that there is an object.
        count: int32 `(batch,)`.
        valid: bool `(batch, max_proposals)`, False beyond `count`.
    """

    boxes: tf.Tensor
    scores: tf.Tensor
    count: tf.Tensor
    valid: tf.Tensor


def propose(
    anchors,
    codes,
    logits,
    image_size,
    eligible=None,
    max_proposals=MAX_PROPOSALS,
    iou_threshold=IOU_THRESHOLD,
    max_candidates=MAX_CANDIDATES,
):
    """Decodes, clips to each picture, drops what has no area left, and suppresses what overlaps better boxes.

    No gradient flows through it. An anchor whose logits or codes are NaN proposes nothing; with nothing but NaN
    there are no proposals, `count` is 0, and the losses, which read logits and codes themselves, are NaN.

    Args:
        anchors: float32 `(anchors, 4)`.
        codes: float `(batch, anchors, 4)`, see `codes.decode`.
        logits: float `(batch, anchors, 2)`, of background and object.
        image_size: int32 `(batch, 2)`, height and width of each picture without its padding, in pixels.
        eligible: bool `(batch, anchors)`, anchors that may propose, `None` for all. For training those that lie
            inside the picture (`geometry.inside`), else those that the picture would have without padding
            (`geometry.centred_inside`).
        max_proposals: int, rows of the answer.
        iou_threshold: float in (0, 1); boxes that overlap a better one by more are suppressed.
        max_candidates: int, how many of the best boxes are looked at; `None` for all.

    Returns:
        `Proposals`.
    """
    codes, logits = tf.stop_gradient(tf.cast(codes, tf.float32)), tf.stop_gradient(tf.cast(logits, tf.float32))
    scores = tf.nn.softmax(logits)[..., 1]
    if eligible is not None:
        scores = tf.where(eligible, scores, 0.0)
    boxes = clip(decode(codes, anchors), image_size)
    kept = non_max_suppression(boxes, scores, max_proposals, iou_threshold, max_candidates)
    boxes = tf.where(kept.valid[..., None], tf.gather(boxes, kept.indices, batch_dims=1), 0.0)
    return Proposals(boxes, kept.scores, tf.reduce_sum(tf.cast(kept.valid, tf.int32), axis=1), kept.valid)
