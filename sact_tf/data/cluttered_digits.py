"""Cluttered digits: find and read the one whole digit on a photograph strewn with pieces of others.

A data set for spatially adaptive computation that needs no download: `digit_parts` are what it is made of. Most of a
picture says nothing about its class, so there is something to save. Every example is a function of
`(split, seed, index)` alone; examples can be made anywhere and in any order. The splits share neither digit samples
nor photographs.
"""

from typing import NamedTuple

import numpy as np

from sact_tf.data import digit_parts
from sact_tf.data.digit_parts import FRAGMENT_SIZE, MAX_INDEX, NUM_CLASSES, SPLITS, Stroke

__all__ = ["NUM_CLASSES", "SPLITS", "Example", "load", "render"]

IMAGE_SIZE = 64
# The largest enlarged digit must fit: 8 pixels times the largest scale, turned and slanted.
MIN_IMAGE_SIZE = 40
# The narrowest photograph measures 125 pixels after reduction, and a crop has to be able to move.
MAX_IMAGE_SIZE = 112

# More would take more memory: each is kept.
WARPS_PER_DIGIT = {"train": 4, "test": 2}
# In picture pixels per sample pixel: digits become 20 to 29 pixels high.
DIGIT_SCALE = (2.6, 3.3)

NUM_FRAGMENTS = 5
# Places are tried at random; in the smallest picture few are clear of the digit.
PLACES_PER_FRAGMENT = 4


class Example(NamedTuple):
    """One picture: uint8 `(image_size, image_size, 3)`, its class, and `(ymin, xmin, ymax, xmax)` in pixels.

    The box is int32 and half open: the digit is `image[ymin:ymax, xmin:xmax]`.
    """

    image: np.ndarray
    label: int
    box: np.ndarray


class Scene(NamedTuple):
    """A picture before it is drawn: a uint8 background, the whole digit, its class, and the pieces of others."""

    background: np.ndarray
    digit: Stroke
    label: int
    fragments: list


def render(split, seed, index, image_size=IMAGE_SIZE):
    """Makes one example, always the same for the same arguments.

    Args:
        split: 'train' or 'test'.
        seed: int, 0 to 2^32 - 1; another seed gives another data set from the same digits and photographs.
        index: int, 0 to 2^32 - 1.
        image_size: int, 40 to 112, height and width in pixels. Digits keep their size: larger pictures hold more
            background.

    Returns:
        An `Example`.

    Raises:
        ValueError: an argument is not among the above.
        ImportError: scikit-learn or scikit-image is not installed.
        FileNotFoundError: this scikit-image comes without one of the photographs.
    """
    _check_arguments(split, seed=seed, index=index, image_size=image_size)
    scene = _compose(split, seed, index, image_size)
    image = _draw_background(scene)
    digit_parts.draw(image, scene.digit)
    return Example(image, scene.label, np.array(scene.digit.box, np.int32))


def load(split, num_examples, seed=0, image_size=IMAGE_SIZE, first_index=0, progress=None):
    """Makes the examples `first_index` to `first_index + num_examples - 1` and stacks them.

    Args:
        split: 'train' or 'test'.
        num_examples: int, at least 1.
        seed: int, see `render`.
        image_size: int, see `render`.
        first_index: int, see `render`.
        progress: None, or called as `progress(num_done, num_examples)` after every example.

    Returns:
        A dict of `image` uint8 `(num_examples, image_size, image_size, 3)`, `label` int64 `(num_examples,)` and
        `box` int32 `(num_examples, 4)`.

    Raises:
        ValueError, ImportError, FileNotFoundError: see `render`.
    """
    _check_arguments(split, seed=seed, image_size=image_size, first_index=first_index, num_examples=num_examples)
    image = np.empty((num_examples, image_size, image_size, 3), np.uint8)
    label = np.empty((num_examples,), np.int64)
    box = np.empty((num_examples, 4), np.int32)
    for i in range(num_examples):
        image[i], label[i], box[i] = render(split, seed, first_index + i, image_size)
        if progress is not None:
            progress(i + 1, num_examples)
    return {"image": image, "label": label, "box": box}


def _check_arguments(split, **integers):
    accepted = {"image_size": (MIN_IMAGE_SIZE, MAX_IMAGE_SIZE), "num_examples": (1, MAX_INDEX)}
    digit_parts.check_arguments(split, accepted, **integers)


def _compose(split, seed, index, image_size):
    """Draws the lots: everything random about an example happens here."""
    generator = digit_parts.generator_of(split, seed, index)
    opacities, labels = digit_parts.enlarged_digits(split, WARPS_PER_DIGIT[split], DIGIT_SCALE, MIN_IMAGE_SIZE)
    chosen = int(generator.integers(len(opacities)))
    height, width = opacities[chosen].shape
    top = int(generator.integers(image_size - height + 1))
    left = int(generator.integers(image_size - width + 1))
    digit = Stroke(opacities[chosen], digit_parts.random_colours(generator, 1)[0], top, left)
    photographs = digit_parts.reduced_photographs(split, MAX_IMAGE_SIZE)
    background = digit_parts.random_background(generator, photographs, image_size, image_size)
    fragments = _random_fragments(generator, opacities, digit, image_size)
    return Scene(background, digit, int(labels[chosen]), fragments)


def _random_fragments(generator, opacities, digit, image_size):
    """Up to `NUM_FRAGMENTS` pieces of digits, as many as found a place clear of the whole digit's box."""
    num_places = NUM_FRAGMENTS * PLACES_PER_FRAGMENT
    places = generator.integers(image_size - FRAGMENT_SIZE + 1, size=(num_places, 2))
    clear_places = places[digit_parts.are_clear(places, FRAGMENT_SIZE, digit)]
    return digit_parts.random_fragments(generator, opacities, clear_places, NUM_FRAGMENTS)


def _draw_background(scene):
    """Everything but the whole digit: a fresh uint8 `(image_size, image_size, 3)`."""
    return digit_parts.drawn(scene.background, scene.fragments)
