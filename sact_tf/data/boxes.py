"""Boxes that follow their image: resized, mirrored, clipped, and brought back to the pixels of the file.

A box is ymin, xmin, ymax, xmax in pixels, float32; the first pixel of a row reaches from 0 to 1. An image's size is its
height and width. Everything works in graphs of TensorFlow, on images of any size.
"""

import tensorflow as tf

# Shorter and longer side of pictures for the TF Object Detection API's Faster R-CNN; other sizes keep their proportion.
MIN_SIDE, MAX_SIDE = 600, 1024


def longest_side(image_size):
    """Pixels that the longer side has at most where the shorter one is to have `image_size`, ints."""
    return round(image_size * MAX_SIDE / MIN_SIDE)


def resized_size(size, min_side, max_side):
    """The size with the aspect kept, as the TF Object Detection API has it.

    Args:
        size: int32 `(2,)`.
        min_side: int, pixels of the shorter side, unless
        max_side: int, the longer one would have more than so many pixels: it has these then.

    Returns:
        int32 `(2,)`, rounded, each at least 1.
    """
    exact = tf.cast(size, tf.float32)
    shorter, longer = tf.reduce_min(exact), tf.reduce_max(exact)
    enlarged = tf.round(exact * (min_side / shorter))
    too_long = tf.reduce_max(enlarged) > max_side
    resized = tf.where(too_long, tf.round(exact * (max_side / longer)), enlarged)
    return tf.maximum(tf.cast(resized, tf.int32), 1)


def resize(image, boxes, min_side, max_side):
    """Resizes an image to `resized_size`, bilinear as TensorFlow 1 does it, and its boxes with it.

    Args:
        image: uint8 or float32 `(height, width, 3)`.
        boxes: float32 `(objects, 4)`.
        min_side, max_side: ints, see `resized_size`.

    Returns:
        float32 `(height, width, 3)` of the range of `image`, and float32 `(objects, 4)`.
    """
    size = tf.shape(image)[:2]
    new_size = resized_size(size, min_side, max_side)
    # The corner of a pixel for its place, and no antialiasing: as the figures that ours are held against were made.
    resized = tf.raw_ops.ResizeBilinear(images=tf.cast(image, tf.float32)[None], size=new_size)[0]
    return tf.ensure_shape(resized, (None, None, 3)), rescale(boxes, size, new_size)


def rescale(boxes, size, new_size):
    """Boxes of an image of a size as boxes of the same image in another size.

    With `image_size` and `original_size` of a batch in this order, boxes come back to the pixels of the file.

    Args:
        boxes: float32 `(..., boxes, 4)`.
        size, new_size: ints `(..., 2)`.

    Returns:
        float32 `(..., boxes, 4)`.
    """
    ratio = tf.cast(new_size, tf.float32) / tf.cast(size, tf.float32)
    return boxes * tf.concat([ratio, ratio], axis=-1)[..., None, :]


def mirror(image, boxes):
    """Exchanges left and right of an image `(height, width, channels)` and its boxes `(objects, 4)`; no padding."""
    width = tf.cast(tf.shape(image)[1], tf.float32)
    ymin, xmin, ymax, xmax = tf.unstack(boxes, axis=-1)
    return tf.reverse(image, [1]), tf.stack([ymin, width - xmax, ymax, width - xmin], axis=-1)


def mirror_at_random(image, boxes, seed):
    """`mirror`s every second time; which ones, the int64 `(2,)` seed decides."""
    draw = tf.random.stateless_uniform([], seed)
    return tf.cond(draw < 0.5, lambda: mirror(image, boxes), lambda: (image, boxes))


def clip(boxes, size):
    """Cuts off what of boxes `(..., boxes, 4)` leaves their image, whose size is an int `(..., 2)`."""
    limit = tf.cast(tf.concat([size, size], axis=-1), tf.float32)[..., None, :]
    return tf.clip_by_value(boxes, 0.0, limit)


def have_area(boxes):
    """bool `(..., boxes)`: False where a box is empty, turned inside out, or not a number."""
    return (boxes[..., 2] > boxes[..., 0]) & (boxes[..., 3] > boxes[..., 1])
