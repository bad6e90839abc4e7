"""Maps of computation, as arrays at the resolution of the images."""

import functools
import math
import numbers

import keras
import tensorflow as tf
from keras import ops

from sact_tf.visualize.enlarging import Enlarge, enlarge, size_of

FIGURES = ("ponder_cost", "num_units")
# Of an image in [-1, 1], beyond which resizing may go by rounding.
_LARGEST = 1.001


def ponder_map(outputs, image_shape, figure="ponder_cost"):
    """Sums the maps of all blocks at the resolution of the image; arguments and errors as in `block_maps`.

    Returns:
        float32 tensor `(batch, height, width)`, in residual units.
    """
    maps = list(block_maps(outputs, image_shape, figure).values())
    return functools.reduce(ops.add, maps) if isinstance(maps[0], keras.KerasTensor) else tf.add_n(maps)


def block_maps(outputs, image_shape, figure="ponder_cost"):
    """The map of each block at the resolution of the image.

    A map is enlarged with nearest neighbours in TensorFlow 1's convention (position `floor(i * h / H)`), as in the
    release.

    Args:
        outputs: dict of a SACT model, with `<block>/ponder_cost` float32 and `<block>/num_units` int32
            `(batch, h, w)`, of a model of your own with dicts of them by block (in lists too), or one that an
            `AdaptiveBlock` returned; tensors, arrays, or KerasTensors while a functional model is made. Further axes
            after the batch, as of frames, stay.
        image_shape: `(height, width)` of the result in pixels, `(height, width, channels)`, the shape of the images,
            `(batch, height, width, channels)`, or the images themselves; with KerasTensors these, where their size is
            not known yet.
        figure: "ponder_cost" (residual units executed plus remainder) or "num_units".

    Returns:
        dict from a block's name ("block" for what an `AdaptiveBlock` returned) to a float32 tensor
        `(batch, height, width)`, in residual units. Where blocks in different places have the same name, all names
        tell the place: `left/block_1`.

    Raises:
        ValueError: for another figure, if there are no maps, as for models that do not halt by position, or the size of
            the result is not known.
    """
    _check_figure(figure)
    maps = {name: value for name, value in _of_blocks(outputs, figure).items() if len(value.shape) >= 3}
    if not maps:
        raise ValueError(
            f"These outputs have no maps `<block>/{figure}` of shape (batch, height, width); only model_type='sact' "
            f"decides by position. Received outputs: {sorted(name for name, _ in _named(outputs))}"
        )
    if any(isinstance(value, keras.KerasTensor) for value in (image_shape, *maps.values())):
        images = image_shape if isinstance(image_shape, keras.KerasTensor) else None
        return Enlarge.of(image_shape)(maps, images)
    height, width = size_of(image_shape)
    return {name: enlarge(value, height, width) for name, value in maps.items()}


def _of_blocks(outputs, figure):
    """Dict from names of blocks to one of their outputs, in any nesting; no longer than it takes to tell them apart."""
    split = [(*name.rpartition("/")[::2], value) for name, value in _named(outputs)]
    found = {block or "block": value for block, key, value in split if key == figure}
    short = {name.rpartition("/")[2]: value for name, value in found.items()}
    return short if len(short) == len(found) else found


def _named(outputs, name=""):
    """Pairs of a name, the keys and indices that lead to an output joined by slashes, and the output."""
    if not isinstance(outputs, (dict, list, tuple)):
        return [(name, outputs)]
    items = outputs.items() if isinstance(outputs, dict) else enumerate(outputs)
    return [pair for key, value in items for pair in _named(value, f"{name}/{key}" if name else str(key))]


def largest_possible(outputs, figure="ponder_cost"):
    """What a pixel of `ponder_map` has where nothing halts early: all units and, of ponder cost, 1 for each block.

    Args:
        outputs: dict as in `block_maps`; `<block>/halting_distribution` `(batch, h, w, units)` is looked at.
        figure: "ponder_cost" or "num_units".

    Returns:
        int, in residual units.

    Raises:
        ValueError: for another figure.
    """
    _check_figure(figure)
    units = [value.shape[-1] for value in _of_blocks(outputs, "halting_distribution").values()]
    return sum(units) + (len(units) if figure == "ponder_cost" else 0)


def _check_figure(figure):
    if figure not in FIGURES:
        raise ValueError(f"`figure` must be one of {FIGURES}. Received: figure={figure!r}")


def colour(values, minimum, maximum, colour_map="viridis"):
    """Colours of values.

    Args:
        values: float of any shape `(...)`.
        minimum: float, what has the first colour, and so has everything below.
        maximum: float, what has the last colour; not above `minimum` for a map without any contrast.
        colour_map: name of one of Matplotlib's colour maps.

    Returns:
        float32 tensor `(..., 3)` in [0, 1]: red, green, blue; NaN where a value is.
    """
    share = _share(values, minimum, maximum)
    unknown = tf.math.is_nan(share)
    table = tf.constant(_colours(str(colour_map)))
    count = tf.shape(table)[0]
    # Compared before it becomes an int, whose range a float may exceed.
    places = tf.clip_by_value(share * tf.cast(count, tf.float32), 0.0, tf.cast(count - 1, tf.float32))
    colours = tf.gather(table, tf.cast(tf.where(unknown, 0.0, places), tf.int32))
    return tf.where(unknown[..., None], math.nan, colours)


@functools.cache
def _colours(colour_map):
    import matplotlib
    import numpy as np

    if colour_map not in matplotlib.colormaps:
        raise ValueError(
            "`colour_map` must be the name of a colour map of Matplotlib, such as 'viridis' or 'magma'. "
            f"Received: colour_map={colour_map!r}"
        )
    chosen = matplotlib.colormaps[colour_map]
    return chosen(np.arange(chosen.N))[:, :3].astype("float32")


def overlay(image, ponder_map, alpha=0.75, maximum=None, minimum=0.0, colour_map=None):
    """Lays a map over its image: `image * (1 - alpha) + colours of the map * alpha`.

    Args:
        image: float `(..., height, width, 3)`, as a rule in [0, 1], or uint8.
        ponder_map: float `(..., height, width)`, see `ponder_map`.
        alpha: float in [0, 1], share of the map.
        maximum: float, what has the full colour, for instance `largest_possible(outputs)`; None for the largest value
            of each map.
        minimum: float, what has no colour, or the first of a colour map, and so has everything below.
        colour_map: name of one of Matplotlib's colour maps; None for red alone, black at the minimum, as in the
            release.

    Returns:
        float32 tensor of the shape of `image`; in [0, 1] if the image is, and no value is above the maximum.

    Raises:
        ValueError: if image and map are not of the same height and width, the image is of other ints, or a minimum or
            maximum is not finite.
    """
    image, ponder_map = _unit_range(image), tf.cast(ponder_map, tf.float32)
    if not image.shape[:-1].is_compatible_with(ponder_map.shape) or image.shape[-1] not in (3, None):
        raise ValueError(
            "An image (..., height, width, 3) and its map (..., height, width) must have the same height and width; "
            f"`sact_tf.visualize.ponder_map(outputs, image.shape)` brings it there. Received: image {image.shape}, "
            f"ponder_map {ponder_map.shape}"
        )
    if not 0 <= (alpha := float(alpha)) <= 1:
        raise ValueError(f"`alpha`, the share of the map, must lie in [0, 1]. Received: alpha={alpha!r}")
    if maximum is None:
        maximum = tf.reduce_max(ponder_map, axis=(-2, -1), keepdims=True)
    if colour_map is not None:
        return image * (1 - alpha) + colour(ponder_map, minimum, maximum, colour_map) * alpha
    # Below the minimum there is no colour either.
    share = tf.maximum(_share(ponder_map, minimum, maximum), 0.0)
    return image * (1 - alpha) + share[..., None] * tf.constant([alpha, 0.0, 0.0])


def _share(values, minimum, maximum):
    """How far values are on the way from `minimum` to `maximum`; 0 where there is no way."""
    for name, value in (("minimum", minimum), ("maximum", maximum)):
        if isinstance(value, numbers.Real) and not math.isfinite(value):
            raise ValueError(f"`{name}` of the colours must be a finite number. Received: {name}={value!r}")
    minimum, maximum = (tf.cast(value, tf.float32) for value in (minimum, maximum))
    return tf.math.divide_no_nan(tf.cast(values, tf.float32) - minimum, tf.maximum(maximum - minimum, 0.0))


def heat_map(images, outputs, figure="ponder_cost", num_images=5, alpha=0.75, border=5, normalize=True):
    """The release's pictures for TensorBoard: an image, a black stripe, and the image under its map in red.

    Full red is what a position costs where nothing halts early, so pictures of different images compare.

    Args:
        images: float `(batch, height, width, 3)` as the network takes them.
        outputs: dict that a SACT model returned for them.
        figure: "ponder_cost" or "num_units".
        num_images: int >= 0, how many of the batch to draw, from the first on; None for all.
        alpha: float in [0, 1], share of the map.
        border: int, width of the stripe in pixels.
        normalize: bool, whether to scale each image to [0, 1]; else it has to be there already.

    Returns:
        float32 tensor `(min(num_images, batch), height, 2 * width + border, 3)`.

    Raises:
        ValueError: see `block_maps`; for `num_images` below 0.
    """
    if isinstance(num_images, numbers.Real) and num_images < 0:
        raise ValueError(f"`num_images` must be at least 0, or None for all. Received: num_images={num_images!r}")
    images = tf.convert_to_tensor(images)[:num_images]
    images = scale_images(images) if normalize else _unit_range(images)
    height, width = tf.unstack(tf.shape(images)[1:3])
    maps = ponder_map(outputs, (height, width), figure)[:num_images]
    covered = overlay(images, maps, alpha, largest_possible(outputs, figure))
    stripe = tf.zeros(tf.stack([tf.shape(images)[0], height, border, 3]))
    return tf.concat([images, stripe, covered], axis=2)


def scale_images(images):
    """Scales each image `(..., height, width, 3)` by itself to [0, 1]; one of a single value becomes black."""
    images = tf.cast(images, tf.float32)
    images -= tf.reduce_min(images, axis=(-3, -2, -1), keepdims=True)
    return tf.math.divide_no_nan(images, tf.reduce_max(images, axis=(-3, -2, -1), keepdims=True))


def visible(image):
    """An image as a network takes it, `(height, width, 3)`, as float32 in [0, 1].

    What a network takes in [-1, 1] has the colours of its file; what is standardized, as for CIFAR-10, leaves that
    range, and goes from black to white.
    """
    image = tf.cast(image, tf.float32)
    if tf.reduce_max(tf.abs(image)) > _LARGEST:
        return scale_images(image)
    return tf.clip_by_value((image + 1.0) / 2.0, 0.0, 1.0)


def to_bytes(picture):
    """float `(..., 3)` in [0, 1] (what lies outside is clipped), or uint8, to a uint8 array for a file."""
    picture = tf.convert_to_tensor(picture)
    if picture.dtype == tf.uint8:
        return picture.numpy()
    return tf.cast(tf.round(tf.clip_by_value(_unit_range(picture), 0.0, 1.0) * 255.0), tf.uint8).numpy()


def _unit_range(image):
    image = tf.convert_to_tensor(image)
    if image.dtype.is_integer and image.dtype != tf.uint8:
        raise ValueError(
            f"An image must be of floats, as a rule in [0, 1], or of uint8, 0 to 255. Received: {image.dtype.name}, of "
            "which nobody can tell what is white; tf.cast(image, tf.uint8) says so."
        )
    return tf.cast(image, tf.float32) / 255.0 if image.dtype == tf.uint8 else tf.cast(image, tf.float32)


def box_mask(boxes, image_shape):
    """Marks pixels inside boxes: numbers `(batch, 4)`, ymin, xmin, ymax, xmax, half open, to bool `(batch, h, w)`."""
    ymin, xmin, ymax, xmax = tf.unstack(tf.convert_to_tensor(boxes)[:, :, None, None], axis=1)
    rows, columns = (tf.cast(tf.range(size), ymin.dtype) for size in (image_shape[0], image_shape[1]))
    rows, columns = rows[:, None], columns[None]
    return (rows >= ymin) & (rows < ymax) & (columns >= xmin) & (columns < xmax)
