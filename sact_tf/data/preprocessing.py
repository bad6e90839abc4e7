"""Image functions of the release, bit for bit where it draws no random numbers.

The release ran on TensorFlow 1, whose resizing takes the top left corner of a pixel for its place; TensorFlow 2 kept
those operations, and they are used here. Random choices are functions of a seed.
"""

import functools

import tensorflow as tf

from sact_tf.data import colour, decoding

# Release: the sides of the evaluation crop are 87.5 % of the image's.
CROP_MARGIN = 16
# Szegedy et al. 2015 (arXiv 1409.4842) as the release has it.
MIN_OBJECT_COVERED = 0.1
ASPECT_RATIO_RANGE = (0.75, 1.33)
AREA_RANGE = (0.05, 1.0)
MAX_ATTEMPTS = 100
# Pixels of zeros around a CIFAR picture before it is cut to size again.
CIFAR_PADDING = 2

RESIZE_METHODS = ("bilinear", "nearest", "bicubic", "area")
_RESIZE = {
    "bilinear": tf.raw_ops.ResizeBilinear,
    "nearest": tf.raw_ops.ResizeNearestNeighbor,
    "bicubic": tf.raw_ops.ResizeBicubic,
    "area": tf.raw_ops.ResizeArea,
}


def decode_image(encoded):
    """Bytes of a JPEG (also CMYK), PNG, GIF, WebP or BMP to uint8 `(height, width, 3)`, as they lie in the file.

    ImageNet's files are all named .JPEG; one of them is a PNG and 22 are CMYK. Of a GIF it is the first picture, which
    may be smaller than the canvas; animated WebP files, and BMP files of other than 8, 24 or 32 bits, are errors.
    """
    image = tf.cond(
        tf.io.is_jpeg(encoded), lambda: tf.io.decode_jpeg(encoded, channels=3), lambda: _decode_others(encoded)
    )
    return tf.ensure_shape(image, (None, None, 3))


def _decode_others(encoded):
    def decode():
        return tf.io.decode_image(encoded, channels=3, expand_animations=False)

    return tf.cond(
        decoding.is_bmp(encoded),
        lambda: decoding.decode_bmp(encoded),
        lambda: tf.cond(decoding.is_webp(encoded), lambda: decoding.decode_webp(encoded), decode),
    )


def decode_and_crop(encoded, seed, boxes):
    """Decodes a random part of an image, and of a JPEG nothing else.

    Args:
        encoded: scalar string tensor, as `decode_image` takes it.
        seed: int64 `(2,)`.
        boxes: float32 `(objects, 4)`, ymin, xmin, ymax, xmax as shares of height and width; the part covers at least a
            tenth of one of them, or of the image if there are none.

    Returns:
        uint8 `(height, width, 3)`.
    """
    return tf.cond(
        tf.io.is_jpeg(encoded),
        lambda: tf.image.decode_and_crop_jpeg(
            encoded, sample_window(tf.io.extract_jpeg_shape(encoded), seed, boxes), channels=3
        ),
        lambda: _crop(decode_image(encoded), seed, boxes),
    )


def sample_window(image_shape, seed, boxes):
    """Draws the part of an image to train on; arguments as in `decode_and_crop`.

    Returns:
        int32 `(4,)`: y, x, height, width in pixels.
    """
    begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
        image_shape,
        boxes[None],
        seed,
        min_object_covered=MIN_OBJECT_COVERED,
        aspect_ratio_range=ASPECT_RATIO_RANGE,
        area_range=AREA_RANGE,
        max_attempts=MAX_ATTEMPTS,
        use_image_if_no_bounding_boxes=True,
    )
    return tf.concat([begin[:2], size[:2]], axis=0)


def _crop(image, seed, boxes):
    y, x, height, width = tf.unstack(sample_window(tf.shape(image), seed, boxes))
    return image[y : y + height, x : x + width]


def imagenet_training_image(encoded, seed, boxes, image_size):
    """The release's distorted image, float32 `(image_size, image_size, 3)` in [-1, 1]; see `decode_and_crop`."""
    crop = decode_and_crop(encoded, seed, boxes)
    # Another stream than the one that the window is drawn from.
    draws = tf.random.stateless_uniform([7], tf.random.experimental.stateless_fold_in(seed, 1))
    image = _one_of(draws[0], lambda method: resize(crop, image_size, method), RESIZE_METHODS)
    image = tf.cond(draws[1] < 0.5, lambda: tf.reverse(image, [1]), lambda: image)
    return _one_of(draws[2], lambda order: colour.distort(image, order, draws[3:]), colour.COLOUR_ORDERS)


def evaluation_image(image, dataset, image_size):
    """A picture of any size as evaluation prepares those of a data set of classes.

    Args:
        image: uint8 `(height, width, 3)`.
        dataset: a key of `sact_tf.config.DATASETS`. Only ImageNet's pictures have sizes of their own; those of others
            are resized whole, which leaves the data set's as they are.
        image_size: int, height and width of the result.

    Returns:
        float32 `(image_size, image_size, 3)`.
    """
    if dataset == "imagenet":
        return central_image(image, image_size)
    standardize = cifar_evaluation_image if dataset == "cifar10" else to_unit_range
    return standardize(resize(image, image_size, "bilinear"))


def imagenet_evaluation_image(encoded, image_size):
    """The release's central crop, float32 `(image_size, image_size, 3)` in [-1, 1]."""
    return central_image(decode_image(encoded), image_size)


def central_image(image, image_size):
    """uint8 `(height, width, 3)` to the middle 87.5 % of it, float32 `(image_size, image_size, 3)` in [-1, 1]."""
    height, width = tf.unstack(tf.shape(image)[:2])
    y, x = height // CROP_MARGIN, width // CROP_MARGIN
    middle = tf.image.convert_image_dtype(image[y : height - y, x : width - x], tf.float32)
    return (resize(middle, image_size, "bilinear") - 0.5) * 2.0


def resize(image, image_size, method):
    """Resizes `(height, width, 3)` as TensorFlow 1 does, without keeping the aspect.

    Args:
        image: uint8 or float32.
        image_size: int, height and width of the result.
        method: one of `RESIZE_METHODS`.

    Returns:
        float32 `(image_size, image_size, 3)`, of the range of `image`.
    """
    if method != "nearest":
        # They compute in float32 anyway, and convert a byte each time they meet it.
        image = tf.cast(image, tf.float32)
    return tf.cast(_RESIZE[method](images=image[None], size=(image_size, image_size))[0], tf.float32)


def _one_of(draw, function, choices):
    """Computes `function` of one of the choices alone, by where in [0, 1) the draw lies."""
    branches = [functools.partial(function, choice) for choice in choices]
    return tf.switch_case(tf.cast(draw * len(choices), tf.int32), branches)


def cifar_training_image(image, seed):
    """uint8 or float `(32, 32, 3)` to the same, shifted by up to two pixels, flipped or not, and standardized."""
    height, width, channels = image.shape
    padded = tf.image.pad_to_bounding_box(
        tf.cast(image, tf.float32),
        CIFAR_PADDING,
        CIFAR_PADDING,
        height + 2 * CIFAR_PADDING,
        width + 2 * CIFAR_PADDING,
    )
    draws = tf.random.stateless_uniform([3], seed)
    shift = tf.cast(draws[:2] * (2 * CIFAR_PADDING + 1), tf.int32)
    crop = tf.slice(padded, tf.concat([shift, [0]], axis=0), (height, width, channels))
    crop = tf.cond(draws[2] < 0.5, lambda: tf.reverse(crop, [1]), lambda: crop)
    return tf.image.per_image_standardization(crop)


def cifar_evaluation_image(image):
    """uint8 or float `(32, 32, 3)` to float32 of mean 0 and deviation 1."""
    return tf.image.per_image_standardization(tf.cast(image, tf.float32))


def to_unit_range(image):
    """uint8 images to float32 in [-1, 1]."""
    return tf.cast(image, tf.float32) / 127.5 - 1.0


def check_label(label, num_classes):
    """Returns an int64 label; the operation fails if it does not lie in [0, num_classes)."""
    check = tf.debugging.Assert(
        tf.logical_and(label >= 0, label < num_classes), [f"The label is not one of 0 to {num_classes - 1}:", label]
    )
    with tf.control_dependencies([check]):
        return tf.identity(label)
