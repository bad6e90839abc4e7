"""What boxes and pictures have to do with each other. Boxes are yxyx in pixels of the network's input, float32."""

import tensorflow as tf


def area(boxes):
    """Area of boxes `(..., 4)` in square pixels, float32 `(...)`; not positive where a side is not."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def clip(boxes, image_size):
    """Moves what lies outside of its picture onto the picture's border.

    Args:
        boxes: float32 `(boxes, 4)` or `(batch, ..., 4)`.
        image_size: int32 `(2,)` or `(batch, 2)`, height and width of the picture without its padding, in pixels.

    Returns:
        float32 boxes of the shape that both broadcast to. Boxes that lie outside altogether have no area left.
    """
    limits = _limits(boxes, image_size)
    return tf.minimum(tf.maximum(tf.convert_to_tensor(boxes, tf.float32), 0.0), limits)


def inside(boxes, image_size):
    """Which boxes lie inside their picture; touching its border counts as inside.

    Args:
        boxes: as for `clip`.
        image_size: as for `clip`.

    Returns:
        bool, the shape of the clipped boxes without the last axis.
    """
    return tf.reduce_all((boxes >= 0.0) & (boxes <= _limits(boxes, image_size)), axis=-1)


def centred_inside(boxes, image_size):
    """Which anchors have their centre in the picture: those that the picture would have without padding.

    A feature map of a picture alone has a position for each multiple of the stride below its height and width.

    Args:
        boxes: as for `clip`; centres in whole pixels, as those of `anchors.grid_anchors` are.
        image_size: as for `clip`.

    Returns:
        bool, the shape of the clipped boxes without the last axis.
    """
    # Whole numbers again: a large anchor's centre is the mean of rounded coordinates.
    centres = tf.round((boxes[..., :2] + boxes[..., 2:]) / 2.0)
    return tf.reduce_all(centres < _limits(boxes, image_size)[..., :2], axis=-1)


def _limits(boxes, image_size):
    """Largest coordinates of each picture, float32 `(..., 4)`, with axes of size 1 to broadcast over boxes."""
    limits = tf.cast(tf.convert_to_tensor(image_size), tf.float32)
    limits = tf.concat([limits, limits], axis=-1)
    if limits.shape.rank == 1:
        return limits
    for _ in range(max(len(boxes.shape) - 2, 1)):
        limits = limits[:, None]
    return limits
