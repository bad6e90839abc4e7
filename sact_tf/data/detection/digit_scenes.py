"""Digit scenes: find and read up to four digits on a photograph strewn with pieces of others.

A data set of object detection that needs no download, made of the parts of the cluttered digits. Pictures are wider
than high or the other way round, digits are 20 to 52 pixels high, and no two boxes overlap. Every example is a function
of `(split, seed, index)` alone. The splits share neither digit samples nor photographs.
"""

from typing import NamedTuple

import numpy as np

from sact_tf.data import digit_parts
from sact_tf.data.digit_parts import FRAGMENT_SIZE, NUM_CLASSES, SPLITS, Stroke

__all__ = ["NUM_CLASSES", "SPLITS", "Example", "render"]

# Height or width, whichever is shorter; the other is a quarter longer.
IMAGE_SIZE = 128
# The largest digit must fit, turned and slanted, with room for others.
MIN_IMAGE_SIZE = 64
# The narrowest photograph measures 166 pixels after reduction, and a crop has to be able to move.
MAX_IMAGE_SIZE = 128
LONGEST_SIDE = 160

MAX_DIGITS = 4
# Fewer than of the cluttered digits, which are smaller and so made in a third of the time.
WARPS_PER_DIGIT = {"train": 2, "test": 1}
# In picture pixels per sample pixel.
DIGIT_SCALE = (2.6, 6.0)
DIGIT_CANVAS = 72
# A digit that finds no room in so many places is left out: the smallest pictures hold four of the largest seldom.
PLACES_PER_DIGIT = 12

NUM_FRAGMENTS = 12
PLACES_PER_FRAGMENT = 4


class Example(NamedTuple):
    """One picture and its digits.

    Attributes:
        image: uint8 `(height, width, 3)`.
        boxes: int32 `(digits, 4)`: ymin, xmin, ymax, xmax in pixels, half open: `image[ymin:ymax, xmin:xmax]`.
        classes: int32 `(digits,)`, from 1: one more than the digit.
    """

    image: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray


class Scene(NamedTuple):
    """A picture before it is drawn: a uint8 background, the whole digits, their classes, and the pieces of others."""

    background: np.ndarray
    digits: list
    classes: list
    fragments: list


def render(split, seed, index, image_size=IMAGE_SIZE):
    """Makes one example, always the same for the same arguments.

    Args:
        split: 'train' or 'test'.
        seed: int, 0 to 2^32 - 1; another seed gives another data set from the same digits and photographs.
        index: int, 0 to 2^32 - 1; decides, too, which side is the longer one.
        image_size: int, 64 to 128, pixels of the shorter side. Digits keep their size.

    Returns:
        An `Example`.

    Raises:
        ValueError: an argument is not among the above.
        ImportError: scikit-learn or scikit-image is not installed.
        FileNotFoundError: this scikit-image comes without one of the photographs.
    """
    accepted = {"image_size": (MIN_IMAGE_SIZE, MAX_IMAGE_SIZE)}
    digit_parts.check_arguments(split, accepted, seed=seed, index=index, image_size=image_size)
    scene = _compose(split, seed, index, image_size)
    image = _draw_background(scene)
    for digit in scene.digits:
        digit_parts.draw(image, digit)
    boxes = np.array([digit.box for digit in scene.digits], np.int32)
    return Example(image, boxes, np.array(scene.classes, np.int32))


def _compose(split, seed, index, image_size):
    """Draws the lots: everything random about an example happens here."""
    generator = digit_parts.generator_of(split, seed, index)
    size = np.array([image_size, image_size * LONGEST_SIDE // MAX_IMAGE_SIZE])
    if generator.integers(2):
        size = size[::-1]
    background = digit_parts.random_background(generator, _photographs(split), *size)
    opacities, labels = _digits(split)
    digits, classes = _random_digits(generator, opacities, labels, size)
    places = generator.integers(size - FRAGMENT_SIZE + 1, size=(NUM_FRAGMENTS * PLACES_PER_FRAGMENT, 2))
    clear = np.all([digit_parts.are_clear(places, FRAGMENT_SIZE, digit) for digit in digits], axis=0)
    fragments = digit_parts.random_fragments(generator, opacities, places[clear], NUM_FRAGMENTS)
    return Scene(background, digits, classes, fragments)


def _random_digits(generator, opacities, labels, size):
    """One to four digits at places where their boxes do not overlap, and their classes.

    Args:
        generator: NumPy's.
        opacities, labels: see `digit_parts.enlarged_digits`.
        size: ints `(2,)`, height and width of the picture.
    """
    num_digits = int(generator.integers(1, MAX_DIGITS + 1))
    colours = digit_parts.random_colours(generator, num_digits)
    sources = generator.integers(len(opacities), size=num_digits).tolist()
    fractions = generator.random((num_digits, PLACES_PER_DIGIT, 2))
    digits, classes = [], []
    for colour, source, fraction in zip(colours, sources, fractions, strict=True):
        opacity = opacities[source]
        tops_and_lefts = (fraction * (size - opacity.shape + 1)).astype(np.int64).tolist()
        place = next((place for place in tops_and_lefts if _has_room(place, opacity.shape, digits)), None)
        if place is not None:
            digits.append(Stroke(opacity, colour, *place))
            classes.append(int(labels[source]) + 1)
    return digits, classes


def _has_room(place, shape, digits):
    """Whether a box of a shape with its top left pixel at a place overlaps none of the digits'."""
    top, left = place
    bottom, right = top + shape[0], left + shape[1]
    return all(
        bottom <= ymin or top >= ymax or right <= xmin or left >= xmax
        for ymin, xmin, ymax, xmax in (digit.box for digit in digits)
    )


def _digits(split):
    return digit_parts.enlarged_digits(split, WARPS_PER_DIGIT[split], DIGIT_SCALE, DIGIT_CANVAS)


def _photographs(split):
    return digit_parts.reduced_photographs(split, LONGEST_SIDE)


def _draw_background(scene):
    """Everything but the whole digits: a fresh uint8 `(height, width, 3)`."""
    return digit_parts.drawn(scene.background, scene.fragments)
