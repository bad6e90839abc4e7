"""Box codes: where a box lies relative to an anchor, `(ty, tx, th, tw)`.

The same numbers as the TF Object Detection API's box coder with its scale factors 10, 10, 5, 5: shifts of the centre
in sides of the anchor over .1, logarithms of the ratio of sides over .2.
"""

import keras
import tensorflow as tf

VARIANCES = (0.1, 0.1, 0.2, 0.2)
# What the reference adds to all sides before it divides or takes logarithms, in pixels. Keras' encoder takes the
# larger of a side and 1e-7, which gives other codes for boxes and anchors without height or width.
_EPSILON = 1e-8
# Largest logarithm of a ratio of sides. The reference has no limit; codes that a diverging network gives overflow
# there. exp(20) times the largest anchor is 4e11 pixels, whose square is a float32 still, and no box that is meant is
# near it: the ratios of its own tests go to exp(9.3).
MAX_LOG_RATIO = 20.0


def encode(boxes, anchors):
    """Codes of boxes relative to anchors.

    Args:
        boxes: float32 `(..., 4)`, yxyx, pixels.
        anchors: float32, of the same shape or one that broadcasts to it.

    Returns:
        float32 `(..., 4)`. Finite for boxes and anchors without area too; such an anchor gives codes up to 1e10.
    """
    box_centres, box_sizes = _centres_and_sizes(boxes)
    centres, sizes = _centres_and_sizes(anchors)
    box_sizes, sizes = box_sizes + _EPSILON, sizes + _EPSILON
    codes = tf.concat([(box_centres - centres) / sizes, tf.math.log(box_sizes / sizes)], axis=-1)
    return codes / tf.constant(VARIANCES)


def decode(codes, anchors):
    """Boxes that codes stand for; the inverse of `encode` but for anchors without area, which stay as they are.

    Args:
        codes: float32 `(..., 4)`.
        anchors: float32, yxyx, pixels; of the same shape or one that broadcasts to it: `(..., anchors, 1, 4)` for
            codes `(..., anchors, classes, 4)`.

    Returns:
        float32 `(..., 4)`, yxyx, pixels, not clipped. Sides are at most `exp(MAX_LOG_RATIO)` times the anchor's.
    """
    codes = tf.cast(codes, tf.float32)
    sizes = tf.minimum(codes[..., 2:], tf.constant([MAX_LOG_RATIO / variance for variance in VARIANCES[2:]]))
    return keras.utils.bounding_boxes.decode_deltas_to_boxes(
        anchors=anchors,
        boxes_delta=tf.concat([codes[..., :2], sizes], axis=-1),
        anchor_format="yxyx",
        box_format="yxyx",
        encoded_format="center_yxhw",
        variance=VARIANCES,
    )


def _centres_and_sizes(boxes):
    boxes = tf.cast(boxes, tf.float32)
    sizes = boxes[..., 2:] - boxes[..., :2]
    return boxes[..., :2] + sizes / 2.0, sizes
