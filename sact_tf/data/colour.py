"""Changes of colour, all those of an image in one pass that XLA compiles.

TensorFlow's own operations go over an image once for each change, and compute a hue and a saturation from scratch for
each pixel, with branches. Here an image is three planes, one for each colour, and the arithmetic has no branches, so
that a processor computes many pixels at once. The values are the same up to the rounding of float32.
"""

import functools

import tensorflow as tf

# Szegedy et al. 2015 (arXiv 1409.4842) as the release has it.
MAX_BRIGHTNESS_DELTA = 32.0 / 255.0
FACTOR_RANGE = (0.5, 1.5)
MAX_HUE_DELTA = 0.2

COLOUR_ORDERS = (
    ("brightness", "saturation", "hue", "contrast"),
    ("saturation", "brightness", "contrast", "hue"),
    ("contrast", "hue", "brightness", "saturation"),
    ("hue", "saturation", "contrast", "brightness"),
)


def distort(image, order, draws):
    """Changes brightness, saturation, hue and contrast one after the other, and clips what leaves the range.

    Args:
        image: uint8 or float32 `(height, width, 3)`, 0 to 255; floats may lie a little outside.
        order: one of `COLOUR_ORDERS`.
        draws: float32 `(4,)` in [0, 1): where in its range each change lies, in the order of the first sentence.

    Returns:
        float32 `(height, width, 3)` in [-1, 1].
    """
    return _compiled(tuple(order))(image, draws)


def amounts_of(draws):
    """Dict from the name of each change to how much of it `draws` stand for, float32 scalars; see `distort`."""
    low, high = FACTOR_RANGE
    return {
        "brightness": (2.0 * draws[0] - 1.0) * MAX_BRIGHTNESS_DELTA,
        "saturation": low + (high - low) * draws[1],
        "hue": (2.0 * draws[2] - 1.0) * MAX_HUE_DELTA,
        "contrast": low + (high - low) * draws[3],
    }


def apply(image, order, amounts):
    """The changes of `order` by `amounts` to float32 `(height, width, 3)` in [0, 1], which may leave this range."""
    # Every third value of one long row: XLA reads that faster than slices of a picture.
    row = tf.reshape(image, (-1,))
    planes = [tf.reshape(row[channel::3], image.shape[:2]) for channel in range(3)]
    for name in order:
        planes = _ADJUST[name](planes, amounts[name])
    return tf.stack(planes, axis=-1)


# One for each order for the whole process: what is compiled stays compiled.
@functools.cache
def _compiled(order):
    @tf.function(jit_compile=True)
    def distort_in_order(image, draws):
        image = apply(tf.cast(image, tf.float32) * (1.0 / 255.0), order, amounts_of(draws))
        return tf.clip_by_value(image, 0.0, 1.0) * 2.0 - 1.0

    return distort_in_order


def adjust_brightness(planes, delta):
    """Adds `delta`. Here and below planes are three float32 tensors, red, green, blue, `(height, width)`."""
    return [plane + delta for plane in planes]


def adjust_contrast(planes, factor):
    """Multiplies the distance of each plane from its mean by `factor`."""
    means = [_mean(plane) for plane in planes]
    return [(plane - mean) * factor + mean for plane, mean in zip(planes, means, strict=True)]


def adjust_saturation(planes, factor):
    """Multiplies the saturation of each pixel by `factor`; hue and value, the brightest colour, stay.

    Saturation is range / value, and at most 1: so the distances of all colours from the brightest one grow by `factor`,
    or until the darkest one is 0. Pixels without a positive value become grey, as in `tf.image.adjust_saturation`.
    """
    value, _, extent = _value_and_range(planes)
    stretch = tf.minimum(factor, value / tf.where(extent > 0.0, extent, 1.0))
    stretch = tf.where(value > 0.0, stretch, 0.0)
    return [value - (value - plane) * stretch for plane in planes]


def adjust_hue(planes, delta):
    """Turns the hue of each pixel by `delta` of the circle, in [-.5, .5]; its brightest and darkest value stay."""
    red, green, blue = planes
    value, darkest, extent = _value_and_range(planes)
    inverse = 1.0 / tf.where(extent > 0.0, extent, 1.0)
    # In sixths of the circle from red, 1 is yellow, 2 green, ...: -1 to 5.
    not_red = tf.where(value == green, (blue - red) * inverse + 2.0, (red - green) * inverse + 4.0)
    hue = tf.where(value == red, (green - blue) * inverse, not_red) + 6.0 * delta
    hue = tf.where(hue < 0.0, hue + 6.0, tf.where(hue >= 6.0, hue - 6.0, hue))
    shares = (tf.abs(hue - 3.0) - 1.0, 2.0 - tf.abs(hue - 2.0), 2.0 - tf.abs(hue - 4.0))
    return [darkest + extent * tf.clip_by_value(share, 0.0, 1.0) for share in shares]


_ADJUST = {
    "brightness": adjust_brightness,
    "saturation": adjust_saturation,
    "hue": adjust_hue,
    "contrast": adjust_contrast,
}


def _value_and_range(planes):
    """Brightest and darkest colour of each pixel, and how far they are apart."""
    value = functools.reduce(tf.maximum, planes)
    darkest = functools.reduce(tf.minimum, planes)
    return value, darkest, value - darkest


def _mean(plane):
    # Row sums as a product, then their sum: XLA adds up one value after the other, and 50 thousand lose 1e-5 that way.
    height, width = plane.shape
    return tf.reduce_sum(tf.linalg.matvec(plane, tf.ones((width,)))) / (height * width)
