"""Which photographs are taken, from bytes that anybody may have sent, and what is said of them."""

import math
from typing import NamedTuple

import numpy as np

from sact_tf.data import pictures
from sact_tf.data.boxes import longest_side
from sact_tf.data.photographs import BadPhotograph, read_photograph, resize_for_detector

MAX_BYTES = 32 * 2**20
# Of a file as it is stored: 12 bytes each while it is resized.
MAX_PIXELS = 40_000_000
# Of the longer edge that the page may ask for, of a detector the shorter side: longer ones would take minutes.
MAX_SIDE = 1024
# A classifier's longer edge where nobody asked for one, unless the file's is shorter.
USUAL_SIDE = 320


class Photograph(NamedTuple):
    """A photograph as the network takes it.

    Attributes:
        image: float32 array `(height, width, 3)` in [0, 1].
        original_size: ints `(2,)`, height and width of the file, upright.
        notes: list of sentences on what was made of the file.
    """

    image: np.ndarray
    original_size: tuple
    notes: list


def read(content, image_size, minimum_size, max_side, is_detector):
    """The `Photograph` of the bytes of a file, which is never written to disk.

    Args:
        content: bytes.
        image_size: int, pixels of the longer edge, of a detector of the shorter side; None, of a classifier, for the
            file's own and `USUAL_SIDE` at the most.
        minimum_size: int, height and width in pixels that the network needs.
        max_side: int, the largest `image_size` that may be asked for.
        is_detector: bool.

    Raises:
        BadPhotograph: with the reason, for whatever else it is; of too many pixels before any is decoded.
    """
    size, notes = _look(content)
    if is_detector:
        # Its sides are rounded to the nearest pixel, a classifier's down.
        _check_shape(*size, minimum_size - 0.5, longest_side(max_side))
        image = read_photograph(content)
        return Photograph(resize_for_detector(image, image_size, minimum_size), image.shape[:2], notes)
    _check_shape(*size, minimum_size, max_side)
    image = read_photograph(content, image_size or min(USUAL_SIDE, max(size)), minimum_size)
    upright = size if image.shape[0] < image.shape[1] else size[::-1]
    return Photograph(image, upright, notes)


def _look(content):
    """Shorter and longer edge of a file's picture, and sentences on it, without its pixels."""
    if not content:
        raise BadPhotograph("the file is empty")
    try:
        with pictures.opened(content) as picture:
            width, height = picture.size
            notes = [text for applies, text in _notes(picture) if applies]
    except pictures.TooManyPixels as error:
        # Pillow has a bound of its own, which is looked at before ours.
        raise BadPhotograph(_too_many("far too many pixels")) from error
    except pictures.BadPicture as error:
        raise BadPhotograph(str(error)) from error
    if width * height > MAX_PIXELS:
        raise BadPhotograph(_too_many(f"{height} x {width} pixels"))
    return (min(height, width), max(height, width)), notes


def _check_shape(shorter, longer, least, longest):
    """Raises BadPhotograph for a picture that no size which may be asked for makes large enough for the network."""
    if longest * shorter < least * longer:
        raise BadPhotograph(
            f"it is {longer} pixels long and only {shorter} wide. Even with a longer edge of {longest} pixels, the "
            f"most that is taken here, the shorter one would not have the {math.ceil(least)} that the network takes. "
            "Cut a part out of it"
        )


def _too_many(received):
    return f"it has {received}, and {MAX_PIXELS:,} are the most that are taken here. Make it smaller"


def _notes(picture):
    animated = picture.format != "MPO" and getattr(picture, "is_animated", False)
    transparent = picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info
    yield animated, "It has several pictures, such as an animation: the first was taken."
    yield picture.mode == "CMYK", "Its colours are those of print (CMYK): made RGB without a colour profile."
    yield pictures.orientation(picture) != 1, "Its EXIF data says that the camera was turned: so was the picture."
    yield transparent, "Its transparency was left out: colours are those that it would have if it were opaque."
