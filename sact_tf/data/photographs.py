"""Photographs as people have them: files of any size, turned as the camera was held."""

import io
import math
import re

import numpy as np
import tensorflow as tf

from sact_tf.data import preprocessing

# EXIF's number of the tag, and what each of its values asks for.
_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.transpose(1, 0, 2),
    6: lambda image: image.transpose(1, 0, 2)[:, ::-1],
    7: lambda image: image[::-1, ::-1].transpose(1, 0, 2),
    8: lambda image: image.transpose(1, 0, 2)[::-1],
}
_MAX_MESSAGE = 160


class BadPhotograph(ValueError):
    """A file that no map can be made of; the message says why, without its name."""


def read_photograph(path, image_size=None, minimum_size=1):
    """Reads a JPEG, PNG, GIF (the first picture) or BMP file.

    Args:
        path: of the file.
        image_size: int, length in pixels that the longer edge is brought to, as the release does it (bicubic of
            TensorFlow 1); None to leave it.
        minimum_size: int, height and width in pixels that the image must have in the end.

    Returns:
        float32 array `(height, width, 3)`, red, green and blue in [0, 1]; resizing may go beyond by a little.

    Raises:
        BadPhotograph: if the file cannot be read or decoded, or the image is too small.
    """
    try:
        with open(path, "rb") as file:
            encoded = file.read()
        pixels = preprocessing.decode_image(tf.constant(encoded)).numpy()
    except OSError as error:
        raise BadPhotograph(f"it cannot be read: {error.strerror}") from error
    except tf.errors.OpError as error:
        reason = re.sub(r"\{\{.*?\}\}|\[Op:.*|\s+", " ", error.message, flags=re.DOTALL).strip(" .")[:_MAX_MESSAGE]
        raise BadPhotograph(f"it is no whole JPEG, PNG, GIF or BMP file: {ascii(reason)[1:-1]}") from error
    pixels = _UPRIGHT.get(_orientation(encoded), lambda image: image)(pixels)
    size = pixels.shape[:2] if image_size is None else resized_shape(*pixels.shape[:2], image_size)
    if min(size) < minimum_size:
        enough = math.ceil(minimum_size * max(pixels.shape[:2]) / min(pixels.shape[:2]))
        raise BadPhotograph(
            f"it would be {size[0]} pixels high and {size[1]} wide, and the network takes at least {minimum_size} each "
            f"way. Enlarge it with --image_size={enough} or more"
        )
    image = tf.image.convert_image_dtype(np.ascontiguousarray(pixels), tf.float32)
    if image_size is not None:
        image = tf.raw_ops.ResizeBicubic(images=image[None], size=size)[0]
    return image.numpy()


def resized_shape(height, width, image_size):
    """Height and width, two ints, with `image_size` as the longer edge; float32 and rounded down, as in the release."""
    longer, ratio = np.float32(image_size), np.float32(min(height, width)) / np.float32(max(height, width))
    shorter = max(int(ratio * longer), 1)
    return (image_size, shorter) if height >= width else (shorter, image_size)


def _orientation(encoded):
    """EXIF's number for how the camera was held; 1, upright, where the file does not say."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(encoded)) as image:
            return image.getexif().get(_ORIENTATION_TAG, 1)
    # What it says besides its picture may be damaged in any way, and then says nothing.
    except Exception:
        return 1


def prepare(image, dataset):
    """float32 `(height, width, 3)` in [0, 1] to what networks take that were trained on a data set.

    Args:
        image: float32.
        dataset: a key of `sact_tf.config.DATASETS`.
    """
    if dataset == "cifar10":
        return preprocessing.cifar_evaluation_image(image * 255.0)
    return (image - 0.5) * 2.0
