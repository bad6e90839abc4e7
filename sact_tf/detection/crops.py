"""Features of proposals: each box cut out of the feature map and resized to one size.

Of a crop the corners lie on the corners of its box (`tf.image.crop_and_resize`; this is not RoIAlign). Boxes are
divided by the height and width of the picture, as in the TF Object Detection API, and not by those minus one.
"""

import tensorflow as tf
from tensorflow.python.ops import control_flow_util

from sact_tf.detection.anchors import STRIDE

# As in the TF Object Detection API's faster_rcnn_resnet101_coco.
CROP_SIZE = 14
# Of boxes that end on the border of their picture, rounding puts the last row or column outside now and then (some
# 4 % of them), where crops are 0. They end this share of the picture before it.
BORDER = 1e-6


def crop(features, boxes, image_size, stride=STRIDE, size=CROP_SIZE, max_pool=False, kernel=None):
    """Cuts boxes out of the features of their images, padded or not: a picture's crops do not depend on its padding.

    No gradient flows into the boxes.

    Args:
        features: float `(batch, height, width, channels)`, of images padded to a common size.
        boxes: float32 `(batch, boxes, 4)`, yxyx in pixels, inside the pictures.
        image_size: int32 `(batch, 2)`, height and width of each picture without its padding, in pixels. Its features
            are those of the first `ceil(size / stride)` rows and columns.
        stride: int, pixels from one position of the features to the next.
        size, max_pool, kernel: see `crop_normalized`.

    Returns:
        as `crop_normalized`.
    """
    size_of_features = tf.shape(features)[1:3]
    pixels = tf.cast(image_size, tf.float32)
    positions = tf.cast((image_size + stride - 1) // stride, tf.float32)
    # The share is 1 without padding. A map of one position has no extent: any divisor does for it.
    steps = tf.maximum(tf.cast(size_of_features, tf.float32) - 1.0, 1.0)
    share = (positions - 1.0) / steps
    pixels, share = tf.tile(pixels, (1, 2))[:, None], tf.tile(share, (1, 2))[:, None]
    normalized = boxes / pixels * share
    at_border = tf.abs(boxes - pixels) <= BORDER * pixels
    normalized = tf.where(at_border, share * (1.0 - BORDER), normalized)
    return crop_normalized(features, normalized, size, max_pool, kernel)


def crop_normalized(features, boxes, size=CROP_SIZE, max_pool=False, kernel=None):
    """Cuts boxes out of feature maps, in float32 whatever the dtype of the features.

    Args:
        features: float `(batch, height, width, channels)`.
        boxes: float32 `(batch, boxes, 4)`, yxyx; 0 is the first position of the features, 1 the last. What lies
            outside is 0. Boxes without area give one value, inverted ones mirrored crops.
        size: int, height and width of a crop.
        max_pool: bool, whether a maximum of 2 x 2 then halves that.
        kernel: bool, whether TensorFlow's kernel cuts. It does not compile under XLA; False computes the same of
            gathered features, within rounding, in four times the memory. `None` for the kernel outside of
            `tf.function(jit_compile=True)`.

    Returns:
        `(batch * boxes, size, size, channels)` in the dtype of the features; half the size with `max_pool`. Row
        `image * boxes + box`.
    """
    boxes = tf.stop_gradient(tf.cast(boxes, tf.float32))
    kernel = not _in_xla() if kernel is None else kernel
    cut = _cut_by_kernel if kernel else _cut_by_gathering
    crops = cut(tf.cast(features, tf.float32), boxes, size)
    crops = tf.ensure_shape(crops, (None, size, size, features.shape[-1]))
    if max_pool:
        crops = tf.nn.max_pool2d(crops, 2, 2, "VALID")
    return tf.cast(crops, features.dtype)


def _in_xla():
    return control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())


def _cut_by_kernel(features, boxes, size):
    images = tf.repeat(tf.range(tf.shape(boxes)[0]), tf.shape(boxes)[1])
    return tf.image.crop_and_resize(features, tf.reshape(boxes, (-1, 4)), images, (size, size))


def _cut_by_gathering(features, boxes, size):
    """The kernel's bilinear interpolation, in its order: along x, then along y."""
    shape = tf.shape(features)
    top, bottom, part_y, inside_y = _places(boxes[..., 0], boxes[..., 2], shape[1], size)
    left, right, part_x, inside_x = _places(boxes[..., 1], boxes[..., 3], shape[2], size)
    flat = tf.reshape(features, (shape[0], -1, shape[3]))
    part_x, part_y = part_x[:, :, None, :, None], part_y[:, :, :, None, None]

    def along_x(rows):
        first, second = (
            tf.gather(flat, rows[..., :, None] * shape[2] + columns[..., None, :], batch_dims=1)
            for columns in (left, right)
        )
        return first + (second - first) * part_x

    upper, lower = along_x(top), along_x(bottom)
    inside = (inside_y[..., :, None] & inside_x[..., None, :])[..., None]
    crops = tf.where(inside, upper + (lower - upper) * part_y, 0.0)
    return tf.reshape(crops, (-1, size, size, shape[3]))


def _places(start, end, positions, size):
    """Where the rows, or columns, of crops lie: `(before, after, part, inside)`, each `(batch, boxes, size)`."""
    last = tf.cast(positions - 1, tf.float32)
    if size > 1:
        step = (end - start) * last / (size - 1)
        place = (start * last)[..., None] + tf.range(size, dtype=tf.float32) * step[..., None]
    else:
        place = (0.5 * (start + end) * last)[..., None]
    inside = (place >= 0.0) & (place <= last)
    place = tf.where(inside, place, 0.0)
    before = tf.floor(place)
    return tf.cast(before, tf.int32), tf.cast(tf.math.ceil(place), tf.int32), place - before, inside
