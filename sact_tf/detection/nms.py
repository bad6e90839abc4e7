"""Non-maximum suppression of many images, or classes, at once, with and without XLA.

Of TensorFlow's own, only `tf.image.non_max_suppression_padded` compiles under XLA (`combined_non_max_suppression` does
not, tensorflow issue 41488). It suppresses a box whose overlap is exactly the threshold; `tf.image.non_max_suppression`
and the TF Object Detection API keep it, and so does what stands here.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from sact_tf.detection.geometry import area

# Boxes that are compared with each other at once. The smaller, the less memory; the larger, the fewer steps.
_TILE_SIZE = 128

# Of smaller numbers, denormal ones, TensorFlow makes 0 on some processors, ONNX Runtime does not.
SMALLEST_SCORE = float(np.finfo(np.float32).smallest_normal)


class Kept(NamedTuple):
    """Boxes that were kept, best first, and zeros where nothing is left.

    Attributes:
        indices: int32 `(batch, max_size)`, which of the boxes.
        scores: float32 `(batch, max_size)`.
        valid: bool `(batch, max_size)`, False where nothing is left.
    """

    indices: tf.Tensor
    scores: tf.Tensor
    valid: tf.Tensor


def non_max_suppression(boxes, scores, max_size, iou_threshold, max_candidates=None):
    """Keeps the best box, drops those that overlap it by more than the threshold, and so on.

    Of equal scores the box that comes first is the better one. Boxes with a score below `SMALLEST_SCORE` or of NaN, or
    without area (NaN included), are not candidates.

    Args:
        boxes: float32 `(batch, boxes, 4)`, yxyx, none of it negative: clipped to a picture.
        scores: float32 `(batch, boxes)`.
        max_size: int, largest number of boxes that are kept of each row of the batch.
        iou_threshold: float in (0, 1).
        max_candidates: int, how many of the best boxes are looked at; `None` for all.

    Returns:
        `Kept`.
    """
    # Comparing is False for NaN.
    candidate = (scores >= SMALLEST_SCORE) & (area(boxes) > 0.0)
    count = scores.shape[1] or tf.shape(scores)[1]
    count = count if max_candidates is None else tf.minimum(count, max_candidates)
    scores, order = tf.math.top_k(tf.where(candidate, scores, 0.0), count)
    # To the operation a box of zeros is none.
    boxes = tf.gather(tf.where(candidate[..., None], boxes, 0.0), order, batch_dims=1)
    indices, kept = tf.image.non_max_suppression_padded(
        boxes,
        scores,
        max_size,
        # The operation suppresses boxes that reach its threshold; ours, of this threshold, only those that exceed it.
        iou_threshold=np.nextafter(np.float32(iou_threshold), np.float32(1)),
        pad_to_max_output_size=True,
        sorted_input=True,
        canonicalized_coordinates=True,
        tile_size=_TILE_SIZE,
    )
    valid = tf.range(max_size) < kept[:, None]
    indices = tf.where(valid, indices, 0)
    kept_scores = tf.where(valid, tf.gather(scores, indices, batch_dims=1), 0.0)
    return Kept(tf.where(valid, tf.gather(order, indices, batch_dims=1), 0), kept_scores, valid)
