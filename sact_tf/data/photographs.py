"""Photographs as people have them: files of any size, turned as the camera was held."""

import math
import os
import stat

import numpy as np
import tensorflow as tf

from sact_tf.data import boxes, pictures, preprocessing
from sact_tf.progress import counted, reason_of

_MAX_MESSAGE = 160


class BadPhotograph(ValueError):
    """A file that no map can be made of; the message says why, without its name."""


def read_photograph(source, image_size=None, minimum_size=1, upright=True, marked_size=None):
    """Reads a JPEG, PNG, WebP, GIF, TIFF, BMP or AVIF file, upright; `pictures.read_picture` says what of it.

    A JPEG of grey or RGB is decoded by TensorFlow, as the images that networks are trained on: other decoders round
    differently.

    Args:
        source: path of the file, or its bytes.
        image_size: int, length in pixels that the longer edge is brought to, as the release does it (bicubic of
            TensorFlow 1); None to leave it.
        minimum_size: int, height and width in pixels that the image must have in the end.
        upright: bool; False leaves it as it is in the file, whatever its EXIF data says.
        marked_size: pair of ints, height and width of the picture that boxes were marked on, upright or as it is in the
            file; None where it does not matter.

    Returns:
        float32 array `(height, width, 3)`, red, green and blue in [0, 1]; resizing may go beyond by a little.

    Raises:
        BadPhotograph: if the file cannot be read or decoded, has another size than boxes were marked on, or is
            too small.
    """
    pixels = _pixels(source, upright, marked_size)
    size = pixels.shape[:2] if image_size is None else resized_shape(*pixels.shape[:2], image_size)
    if min(size) < minimum_size:
        enough = math.ceil(minimum_size * max(pixels.shape[:2]) / min(pixels.shape[:2]))
        raise BadPhotograph(
            f"it would be {counted(size[0], 'pixel')} high and {size[1]} wide, and the network takes at least "
            f"{minimum_size} each way. Enlarge it with --image_size={enough} or more"
        )
    image = tf.image.convert_image_dtype(pixels, tf.float32)
    if image_size is not None:
        image = tf.raw_ops.ResizeBicubic(images=image[None], size=size)[0]
    return image.numpy()


def resize_for_detector(image, image_size, minimum_size=1):
    """A photograph as detectors take it: the shorter side `image_size`, the longer one at most 1024/600 of that.

    Args:
        image: float32 `(height, width, 3)`.
        image_size: int, pixels of the shorter side, unless the longer one would become too long.
        minimum_size: int, height and width in pixels that the image must have in the end.

    Returns:
        float32 array `(height, width, 3)`, resized as `boxes.resize` does it.

    Raises:
        BadPhotograph: if it would be too small.
    """
    longest = boxes.longest_side(image_size)
    height, width = boxes.resized_size(tf.shape(image)[:2], image_size, longest).numpy()
    if min(height, width) < minimum_size:
        proportion = max(image.shape[:2]) / min(image.shape[:2])
        enough = math.ceil(minimum_size * proportion * boxes.MIN_SIDE / boxes.MAX_SIDE)
        raise BadPhotograph(
            f"it would be {counted(height, 'pixel')} high and {width} wide, and the network takes at least "
            f"{minimum_size} each way. Enlarge it with --image_size={max(enough, minimum_size)} or more"
        )
    return boxes.resize(image, tf.zeros((0, 4)), image_size, longest)[0].numpy()


def resized_shape(height, width, image_size):
    """Height and width, two ints, with `image_size` as the longer edge; float32 and rounded down, as in the release."""
    longer, ratio = np.float32(image_size), np.float32(min(height, width)) / np.float32(max(height, width))
    shorter = max(int(ratio * longer), 1)
    return (image_size, shorter) if height >= width else (shorter, image_size)


def _pixels(source, upright, marked_size):
    """uint8 `(height, width, 3)` of a file."""
    if not isinstance(source, bytes):
        _check_file(source)
    try:
        with pictures.opened(source) as picture:
            upright = upright if marked_size is None else pictures.is_turned(picture, marked_size)
            if picture.format not in ("JPEG", "MPO") or picture.mode not in ("RGB", "L"):
                return pictures.pixels_of(picture, upright)
            number = pictures.orientation(picture) if upright else 1
        pixels = preprocessing.decode_image(tf.constant(_content(source))).numpy()
    except pictures.BadPicture as error:
        raise BadPhotograph(str(error)) from error
    except tf.errors.OpError as error:
        reason = reason_of(error.message)[:_MAX_MESSAGE]
        raise BadPhotograph(f"it is no whole JPEG file: {ascii(reason)[1:-1]}") from error
    return pictures.turned(pixels, number)


def _content(source):
    if isinstance(source, bytes):
        return source
    with open(source, "rb") as file:
        return file.read()


def _check_file(path):
    """Raises BadPhotograph for what is no file to read; a pipe would be waited for without end."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError as error:
        link = f"it is a link to {os.readlink(path)}, which is not there" if os.path.islink(path) else error.strerror
        raise BadPhotograph(f"it cannot be read: {link}") from error
    except OSError as error:
        raise BadPhotograph(f"it cannot be read: {error.strerror}") from error
    if not stat.S_ISREG(mode):
        raise BadPhotograph("it cannot be read: it is no file but a directory, pipe, socket or device")
    if not os.access(path, os.R_OK):
        raise BadPhotograph("it cannot be read: Permission denied")


def prepare(image, dataset):
    """float32 `(height, width, 3)` in [0, 1] to what networks take that were trained on a data set.

    Args:
        image: float32.
        dataset: a key of `sact_tf.config.DATASETS`.
    """
    if dataset == "cifar10":
        return preprocessing.cifar_evaluation_image(image * 255.0)
    return (image - 0.5) * 2.0
