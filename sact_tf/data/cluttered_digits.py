"""Cluttered digits: find and read the one whole digit on a photograph strewn with pieces of others.

A data set for spatially adaptive computation that needs no download: the digits ship with scikit-learn, the
photographs with scikit-image. Most of a picture says nothing about its class, so there is something to save.
Every example is a function of `(split, seed, index)` alone; examples can be made anywhere and in any order.
The splits share neither digit samples nor photographs (they do share writers: the digits don't name theirs).
"""

import functools
import importlib.util
import numbers
import pathlib
from typing import NamedTuple

import numpy as np

IMAGE_SIZE = 64
# The largest enlarged digit must fit: 8 pixels times the largest scale, turned and slanted.
MIN_IMAGE_SIZE = 40
# The narrowest photograph measures 125 pixels after reduction, and a crop has to be able to move.
MAX_IMAGE_SIZE = 112
# `SeedSequence` reads words of 32 bits: from here on two pairs of seed and index could mean the same picture.
MAX_INDEX = 2**32 - 1
NUM_CLASSES = 10
SPLITS = ("train", "test")

# PNG only: JPEG decoders differ in the last bit, and examples are to be the same everywhere.
PHOTOGRAPHS = {
    "train": ("astronaut.png", "coffee.png", "camera.png", "brick.png", "gravel.png", "ihc.png"),
    "test": ("chelsea.png", "motorcycle_left.png", "grass.png"),
}
# At full brightness small nets hardly start to learn; at 0.55 they do, and the photographs can still be recognized.
PHOTOGRAPH_BRIGHTNESS = 0.55
# Strokes are brighter than any photograph in every channel: 0.55 * 1.2 * 255 = 168.
BRIGHTNESS_JITTER = 0.2
MIN_STROKE_BRIGHTNESS = 175

# Two out of ten samples, by position within the class.
TEST_SAMPLE_EVERY = 5
# More would make starting slow: a warp takes about 0.15 ms.
WARPS_PER_DIGIT = {"train": 4, "test": 2}
# In picture pixels per sample pixel: digits become 20 to 29 pixels high.
DIGIT_SCALE = (2.6, 3.3)
MAX_ROTATION_DEGREES = 12.0
MAX_SHEAR = 0.15
# The samples' own scale, 0 to 16: between these two levels the enlarged stroke goes from clear to solid.
STROKE_LEVELS = (5.0, 12.0)
# Fainter rims are cut off, so that the box is where the eye sees the digit end.
MIN_STROKE_OPACITY = 48

NUM_FRAGMENTS = 5
FRAGMENT_SIZE = 10
# Places are tried at random; in the smallest picture few are clear of the digit.
PLACES_PER_FRAGMENT = 4


class Example(NamedTuple):
    """One picture: uint8 `(image_size, image_size, 3)`, its class, and `(ymin, xmin, ymax, xmax)` in pixels.

    The box is int32 and half open: the digit is `image[ymin:ymax, xmin:xmax]`.
    """

    image: np.ndarray
    label: int
    box: np.ndarray


class Stroke(NamedTuple):
    """What is drawn: opacity uint8 `(height, width)`, colour uint8 `(3,)`, row and column of its top left pixel."""

    opacity: np.ndarray
    colour: np.ndarray
    top: int
    left: int


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
    _draw(image, scene.digit)
    height, width = scene.digit.opacity.shape
    top, left = scene.digit.top, scene.digit.left
    box = np.array([top, left, top + height, left + width], np.int32)
    return Example(image, scene.label, box)


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
    if split not in SPLITS:
        raise ValueError(f"`split` must be one of {SPLITS}. Received: split={split!r}")
    accepted = {"image_size": (MIN_IMAGE_SIZE, MAX_IMAGE_SIZE), "num_examples": (1, MAX_INDEX)}
    for name, value in integers.items():
        low, high = accepted.get(name, (0, MAX_INDEX))
        is_integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        if not is_integer or not low <= value <= high:
            raise ValueError(f"`{name}` must be an int from {low} to {high}. Received: {name}={value!r}")


def _compose(split, seed, index, image_size):
    """Draws the lots: everything random about an example happens here."""
    sequence = np.random.SeedSequence((SPLITS.index(split), int(seed), int(index)))
    generator = np.random.Generator(np.random.Philox(sequence))
    opacities, labels = _enlarged_digits(split)
    chosen = int(generator.integers(len(opacities)))
    height, width = opacities[chosen].shape
    top = int(generator.integers(image_size - height + 1))
    left = int(generator.integers(image_size - width + 1))
    digit = Stroke(opacities[chosen], _random_colours(generator, 1)[0], top, left)
    background = _random_crop(generator, split, image_size)
    fragments = _random_fragments(generator, opacities, digit, image_size)
    return Scene(background, digit, int(labels[chosen]), fragments)


def _random_colours(generator, num_colours):
    """Bright colours, one channel of each at the full 255: uint8 `(num_colours, 3)`."""
    colours = generator.integers(MIN_STROKE_BRIGHTNESS, 256, (num_colours, 3), np.uint8)
    colours[np.arange(num_colours), generator.integers(3, size=num_colours)] = 255
    return colours


def _random_crop(generator, split, image_size):
    photographs = _reduced_photographs(split)
    photograph = photographs[int(generator.integers(len(photographs)))]
    top = int(generator.integers(photograph.shape[0] - image_size + 1))
    left = int(generator.integers(photograph.shape[1] - image_size + 1))
    crop = photograph[top : top + image_size, left : left + image_size]
    if generator.integers(2):
        crop = crop[:, ::-1]
    jitter = generator.uniform(1 - BRIGHTNESS_JITTER, 1 + BRIGHTNESS_JITTER, 3)
    # In 256ths: integer products are the same on every machine.
    gains = (256 * PHOTOGRAPH_BRIGHTNESS * jitter).astype(np.uint16)
    return (crop * gains >> 8).astype(np.uint8)


def _random_fragments(generator, opacities, digit, image_size):
    """Up to `NUM_FRAGMENTS` pieces of digits, as many as found a place clear of the whole digit's box."""
    num_places = NUM_FRAGMENTS * PLACES_PER_FRAGMENT
    places = generator.integers(image_size - FRAGMENT_SIZE + 1, size=(num_places, 2))
    offsets = places - (digit.top, digit.left)
    is_clear = ((offsets <= -FRAGMENT_SIZE) | (offsets >= digit.opacity.shape)).any(axis=1)
    colours = _random_colours(generator, NUM_FRAGMENTS)
    sources = generator.integers(len(opacities), size=NUM_FRAGMENTS).tolist()
    corners = generator.random((NUM_FRAGMENTS, 2)).tolist()
    pieces = [_cut_piece(opacities[source], *corner) for source, corner in zip(sources, corners, strict=True)]
    clear_places = places[is_clear].tolist()
    # The shortest list decides.
    return [Stroke(piece, colour, *place) for piece, colour, place in zip(pieces, colours, clear_places, strict=False)]


def _cut_piece(opacity, vertical, horizontal):
    """The square piece that lies the fractions `vertical` and `horizontal` of the way down and right."""
    top = int(vertical * max(opacity.shape[0] - FRAGMENT_SIZE + 1, 1))
    left = int(horizontal * max(opacity.shape[1] - FRAGMENT_SIZE + 1, 1))
    return opacity[top : top + FRAGMENT_SIZE, left : left + FRAGMENT_SIZE]


def _draw_background(scene):
    """Everything but the whole digit: a fresh uint8 `(image_size, image_size, 3)`."""
    image = scene.background.copy()
    for fragment in scene.fragments:
        _draw(image, fragment)
    return image


def _draw(image, stroke):
    """Blends a stroke into `image`, in place, in integers."""
    height, width = stroke.opacity.shape
    window = image[stroke.top : stroke.top + height, stroke.left : stroke.left + width]
    opacity = stroke.opacity[..., np.newaxis].astype(np.uint16)
    # 255 * 255 + 127 still fits 16 bits.
    window[...] = (opacity * stroke.colour + (255 - opacity) * window + 127) // 255


def _source_samples(labels, split):
    """Positions of a split's samples: every fifth of each class is for the test, the others for training."""
    labels = np.asarray(labels)
    rank_in_class = np.zeros(len(labels), np.int64)
    for digit in range(NUM_CLASSES):
        rank_in_class[labels == digit] = np.arange(np.count_nonzero(labels == digit))
    is_test = rank_in_class % TEST_SAMPLE_EVERY == TEST_SAMPLE_EVERY - 1
    return np.flatnonzero(is_test == (split == "test"))


@functools.cache
def _enlarged_digits(split):
    """A list of tight uint8 opacities `(height, width)`, several warps of every sample, and their int64 labels."""
    samples, labels = _load_samples()
    chosen = _source_samples(labels, split)
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence(SPLITS.index(split))))
    num_warps = WARPS_PER_DIGIT[split]
    opacities = [_enlarge(samples[i], generator) for i in chosen for _ in range(num_warps)]
    return opacities, np.repeat(labels[chosen], num_warps)


def _load_samples():
    """Float64 `(1797, 12, 12)` from 0 to 16, the 8x8 samples in an empty margin of 2, and int64 `(1797,)`."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            "The cluttered digits are made from scikit-learn's. Install it with `pip install scikit-learn`."
        ) from error
    digits = load_digits()
    return np.pad(digits.images, ((0, 0), (2, 2), (2, 2))), digits.target.astype(np.int64)


def _enlarge(sample, generator):
    """A randomly turned, slanted and smoothly (cubic splines) enlarged sample: its opacity, cut to the tight box."""
    from scipy import ndimage

    angle = np.deg2rad(generator.uniform(-MAX_ROTATION_DEGREES, MAX_ROTATION_DEGREES))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    slant = np.array([[1.0, 0.0], [generator.uniform(-MAX_SHEAR, MAX_SHEAR), 1.0]])
    to_sample = turn @ slant / generator.uniform(*DIGIT_SCALE, size=2)
    centre = (np.array(sample.shape) - 1) / 2
    offset = centre - to_sample @ np.full(2, (MIN_IMAGE_SIZE - 1) / 2)
    level = ndimage.affine_transform(sample, to_sample, offset, output_shape=(MIN_IMAGE_SIZE, MIN_IMAGE_SIZE), order=3)
    low, high = STROKE_LEVELS
    # Rounded to bytes here, once: what follows is integer arithmetic, the same on every machine.
    opacity = (255 * np.clip((level - low) / (high - low), 0, 1) + 0.5).astype(np.uint8)
    opacity[opacity < MIN_STROKE_OPACITY] = 0
    return _cut_to_box(opacity)


def _cut_to_box(opacity):
    rows = np.flatnonzero(opacity.any(axis=1))
    columns = np.flatnonzero(opacity.any(axis=0))
    return opacity[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


@functools.cache
def _reduced_photographs(split):
    """A list of uint8 `(height, width, 3)`, small enough that a crop shows a good part of the photograph."""
    return [_reduce(_read_photograph(name)) for name in PHOTOGRAPHS[split]]


def _read_photograph(name):
    from PIL import Image

    specification = importlib.util.find_spec("skimage")
    if specification is None:
        raise ImportError(
            "The cluttered digits lie on scikit-image's photographs. Install it with `pip install scikit-image`."
        )
    # Not through `skimage.data`, which downloads what it does not find.
    path = pathlib.Path(specification.submodule_search_locations[0]) / "data" / name
    if not path.is_file():
        raise FileNotFoundError(
            f"The photograph {name} must come with scikit-image. Not found: {path}. "
            "Install a release that has it with `pip install --force-reinstall scikit-image`."
        )
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def _reduce(photograph):
    """Averages whole squares of pixels, as large as leave at least `MAX_IMAGE_SIZE` on the shorter side."""
    factor = min(photograph.shape[:2]) // MAX_IMAGE_SIZE
    height, width = (length // factor for length in photograph.shape[:2])
    squares = photograph[: height * factor, : width * factor].reshape(height, factor, width, factor, 3)
    return (squares.sum(axis=(1, 3), dtype=np.uint32) // factor**2).astype(np.uint8)
