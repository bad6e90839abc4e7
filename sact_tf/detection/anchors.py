"""The boxes that region proposals start from: a fixed set of sizes and shapes at every position of the features."""

import numbers

import numpy as np
import tensorflow as tf

# The TF Object Detection API's Faster R-CNN (faster_rcnn_resnet101_coco.config), pixels: sides of 64 to 512, each as
# wide as high, and twice as high or wide at the same area.
BASE_SIZE = 256.0
SCALES = (0.25, 0.5, 1.0, 2.0)
ASPECT_RATIOS = (0.5, 1.0, 2.0)
# Block 3 of the network is 16 times smaller than the image.
STRIDE = 16


def grid_anchors(height, width, scales=SCALES, aspect_ratios=ASPECT_RATIOS, stride=STRIDE, base_size=BASE_SIZE):
    """Anchors of a feature map, centred at multiples of the stride (at 0, not in the middle of a position).

    Args:
        height, width: size of the feature map in positions, ints >= 1 or int32 scalars.
        scales: sequence of floats; the side of a square anchor is `scale * base_size`.
        aspect_ratios: sequence of floats, width over height; the area does not depend on them.
        stride: int, pixels between two positions.
        base_size: float, pixels.

    Returns:
        float32 `(height * width * len(aspect_ratios) * len(scales), 4)`, yxyx in pixels, in the order row, column,
        aspect ratio, scale (the last goes fastest). They are not clipped.

    Raises:
        ValueError: for a size that is not positive.
    """
    for name, size in {"height": height, "width": width}.items():
        if isinstance(size, numbers.Number) and size < 1:
            raise ValueError(f"A feature map has at least one position each way. Received: {name}={size!r}")
    half_sizes = _sizes(scales, aspect_ratios, base_size) / 2.0
    rows = tf.cast(tf.range(height) * stride, tf.float32)
    columns = tf.cast(tf.range(width) * stride, tf.float32)
    centres = tf.stack(tf.meshgrid(rows, columns, indexing="ij"), axis=-1)[:, :, None]
    return tf.reshape(tf.concat([centres - half_sizes, centres + half_sizes], axis=-1), (-1, 4))


def anchors_per_position(scales=SCALES, aspect_ratios=ASPECT_RATIOS):
    """How many anchors `grid_anchors` puts at each position, int."""
    return len(scales) * len(aspect_ratios)


def _sizes(scales, aspect_ratios, base_size):
    """Heights and widths, float32 `(aspect_ratios * scales, 2)` in pixels."""
    roots = np.sqrt(np.asarray(aspect_ratios, "float32"))[:, None]
    scales = np.asarray(scales, "float32")[None]
    sizes = np.stack([scales / roots, scales * roots], axis=-1) * np.float32(base_size)
    return sizes.reshape(-1, 2)
