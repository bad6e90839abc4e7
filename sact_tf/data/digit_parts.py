"""What pictures of digits are made of: handwritten digits, enlarged, and photographs to lie on.

The digits ship with scikit-learn, the photographs with scikit-image. Whatever is random is drawn from a generator that
is handed in, and what is drawn into a picture is drawn in integers, so that it is the same on every machine. Splits
share neither digit samples nor photographs (they do share writers: the digits don't name theirs).
"""

import functools
import importlib.util
import numbers
import pathlib
from typing import NamedTuple

import numpy as np

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
MAX_ROTATION_DEGREES = 12.0
MAX_SHEAR = 0.15
# The samples' own scale, 0 to 16: between these two levels the enlarged stroke goes from clear to solid.
STROKE_LEVELS = (5.0, 12.0)
# Fainter rims are cut off, so that the box is where the eye sees the digit end.
MIN_STROKE_OPACITY = 48
FRAGMENT_SIZE = 10


class Stroke(NamedTuple):
    """What is drawn: opacity uint8 `(height, width)`, colour uint8 `(3,)`, row and column of its top left pixel."""

    opacity: np.ndarray
    colour: np.ndarray
    top: int
    left: int

    @property
    def box(self):
        """ymin, xmin, ymax, xmax in pixels, four ints, half open."""
        height, width = self.opacity.shape
        return self.top, self.left, self.top + height, self.left + width


def check_arguments(split, accepted, **integers):
    """Raises ValueError unless the split is there and each integer lies in its range.

    Args:
        split: one of `SPLITS`.
        accepted: dict from a name to the least and the largest integer; others go from 0 to `MAX_INDEX`.
        **integers: by name.
    """
    if split not in SPLITS:
        raise ValueError(f"`split` must be one of {SPLITS}. Received: split={split!r}")
    for name, value in integers.items():
        low, high = accepted.get(name, (0, MAX_INDEX))
        is_integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        if not is_integer or not low <= value <= high:
            raise ValueError(f"`{name}` must be an int from {low} to {high}. Received: {name}={value!r}")


def generator_of(split, seed, index):
    """The generator of all that is random about one example."""
    sequence = np.random.SeedSequence((SPLITS.index(split), int(seed), int(index)))
    return np.random.Generator(np.random.Philox(sequence))


def random_colours(generator, num_colours):
    """Bright colours, one channel of each at the full 255: uint8 `(num_colours, 3)`."""
    colours = generator.integers(MIN_STROKE_BRIGHTNESS, 256, (num_colours, 3), np.uint8)
    colours[np.arange(num_colours), generator.integers(3, size=num_colours)] = 255
    return colours


def random_background(generator, photographs, height, width):
    """A part of one of the photographs, mirrored or not, darkened and tinted: uint8 `(height, width, 3)`.

    Args:
        generator: NumPy's.
        photographs: list of uint8, each at least `(height, width, 3)`.
        height, width: ints.
    """
    photograph = photographs[int(generator.integers(len(photographs)))]
    top = int(generator.integers(photograph.shape[0] - height + 1))
    left = int(generator.integers(photograph.shape[1] - width + 1))
    crop = photograph[top : top + height, left : left + width]
    if generator.integers(2):
        crop = crop[:, ::-1]
    jitter = generator.uniform(1 - BRIGHTNESS_JITTER, 1 + BRIGHTNESS_JITTER, 3)
    # In 256ths: integer products are the same on every machine.
    gains = (256 * PHOTOGRAPH_BRIGHTNESS * jitter).astype(np.uint16)
    return (crop * gains >> 8).astype(np.uint8)


def random_fragments(generator, opacities, places, num_fragments):
    """Pieces of digits at the first of the places, as many as there are places, or `num_fragments`.

    Args:
        generator: NumPy's.
        opacities: uint8 `(height, width)` by number, the digits that pieces are cut of.
        places: ints `(places, 2)`, rows and columns of top left pixels.
        num_fragments: int.

    Returns:
        A list of `Stroke`s.
    """
    colours = random_colours(generator, num_fragments)
    sources = generator.integers(len(opacities), size=num_fragments).tolist()
    corners = generator.random((num_fragments, 2)).tolist()
    pieces = [_cut_piece(opacities[source], *corner) for source, corner in zip(sources, corners, strict=True)]
    # The shortest list decides.
    return [
        Stroke(piece, colour, *place) for piece, colour, place in zip(pieces, colours, places.tolist(), strict=False)
    ]


def are_clear(places, size, stroke):
    """Which squares of `size` pixels with top left pixels at `places` `(..., 2)` lie outside of a stroke's box."""
    offsets = places - (stroke.top, stroke.left)
    return ((offsets <= -size) | (offsets >= stroke.opacity.shape)).any(axis=-1)


def _cut_piece(opacity, vertical, horizontal):
    """The square piece that lies the fractions `vertical` and `horizontal` of the way down and right."""
    top = int(vertical * max(opacity.shape[0] - FRAGMENT_SIZE + 1, 1))
    left = int(horizontal * max(opacity.shape[1] - FRAGMENT_SIZE + 1, 1))
    return opacity[top : top + FRAGMENT_SIZE, left : left + FRAGMENT_SIZE]


def draw(image, stroke):
    """Blends a stroke into `image`, in place, in integers."""
    height, width = stroke.opacity.shape
    window = image[stroke.top : stroke.top + height, stroke.left : stroke.left + width]
    opacity = stroke.opacity[..., np.newaxis].astype(np.uint16)
    # 255 * 255 + 127 still fits 16 bits.
    window[...] = (opacity * stroke.colour + (255 - opacity) * window + 127) // 255


def drawn(background, strokes):
    """A copy of a background, uint8 `(height, width, 3)`, with strokes on it."""
    image = background.copy()
    for stroke in strokes:
        draw(image, stroke)
    return image


def source_samples(labels, split):
    """Positions of a split's samples: every fifth of each class is for the test, the others for training."""
    labels = np.asarray(labels)
    rank_in_class = np.zeros(len(labels), np.int64)
    for digit in range(NUM_CLASSES):
        rank_in_class[labels == digit] = np.arange(np.count_nonzero(labels == digit))
    is_test = rank_in_class % TEST_SAMPLE_EVERY == TEST_SAMPLE_EVERY - 1
    return np.flatnonzero(is_test == (split == "test"))


class Warps:
    """Enlarged digits by number. Each is made when it is first asked for: all of them take a second.

    Args:
        samples: float64 `(numbers, height, width)`, what each is made of.
        draws: float64 `(numbers, 4)`, how each is turned, slanted and enlarged, see `enlarged_digits`.
        canvas: int, see there.
    """

    def __init__(self, samples, draws, canvas):
        self._samples, self._draws, self._canvas = samples, draws, canvas
        self._made = [None] * len(samples)

    def __len__(self):
        return len(self._made)

    def __getitem__(self, number):
        if self._made[number] is None:
            self._made[number] = _enlarge(self._samples[number], *self._draws[number], self._canvas)
        return self._made[number]


@functools.cache
def enlarged_digits(split, num_warps, scale, canvas):
    """Several warps of every sample of a split.

    Args:
        split: one of `SPLITS`.
        num_warps: int, of each sample; a warp takes about 0.15 ms where it is asked for.
        scale: two floats, the range of picture pixels per sample pixel.
        canvas: int, height and width in pixels of what the largest digit fits into, turned and slanted.

    Returns:
        `Warps`, tight uint8 opacities `(height, width)`, and their int64 labels.
    """
    samples, labels = load_samples()
    chosen = np.repeat(source_samples(labels, split), num_warps)
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence(SPLITS.index(split))))
    # Degrees, slant, picture pixels per sample pixel down and across.
    low, high = [-MAX_ROTATION_DEGREES, -MAX_SHEAR, *2 * scale[:1]], [MAX_ROTATION_DEGREES, MAX_SHEAR, *2 * scale[1:]]
    return Warps(samples[chosen], generator.uniform(low, high, (len(chosen), 4)), canvas), labels[chosen]


def load_samples():
    """Float64 `(1797, 12, 12)` from 0 to 16, the 8x8 samples in an empty margin of 2, and int64 `(1797,)`."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            "The cluttered digits are made from scikit-learn's. Install it with `pip install scikit-learn`."
        ) from error
    digits = load_digits()
    return np.pad(digits.images, ((0, 0), (2, 2), (2, 2))), digits.target.astype(np.int64)


def _enlarge(sample, degrees, slope, down, across, canvas):
    """A turned, slanted and smoothly (cubic splines) enlarged sample: its opacity, cut to the tight box."""
    from scipy import ndimage

    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    slant = np.array([[1.0, 0.0], [slope, 1.0]])
    to_sample = turn @ slant / np.array([down, across])
    centre = (np.array(sample.shape) - 1) / 2
    offset = centre - to_sample @ np.full(2, (canvas - 1) / 2)
    level = ndimage.affine_transform(sample, to_sample, offset, output_shape=(canvas, canvas), order=3)
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
def reduced_photographs(split, shortest):
    """A list of uint8 `(height, width, 3)`, small enough that a crop shows a good part of the photograph.

    Args:
        split: one of `SPLITS`.
        shortest: int, pixels that the shorter side of each keeps at least.
    """
    return [reduce(_read_photograph(name), shortest) for name in PHOTOGRAPHS[split]]


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


def reduce(photograph, shortest):
    """Averages whole squares of pixels, as large as leave at least `shortest` on the shorter side."""
    factor = min(photograph.shape[:2]) // shortest
    height, width = (length // factor for length in photograph.shape[:2])
    squares = photograph[: height * factor, : width * factor].reshape(height, factor, width, factor, 3)
    return (squares.sum(axis=(1, 3), dtype=np.uint32) // factor**2).astype(np.uint8)
