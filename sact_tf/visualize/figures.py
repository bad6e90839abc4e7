"""Pictures with text: several maps beside each other under labelled colour bars, as arrays."""

import textwrap

import numpy as np

from sact_tf.progress import printable
from sact_tf.visualize.maps import overlay, to_bytes, visible
from sact_tf.visualize.off_screen import new_figure, render
from sact_tf.visualize.plain_text import plain_text

LABEL = "ponder cost: residual units run, plus remainder"
LABELS = {"ponder_cost": LABEL, "num_units": "residual units run"}
# Of one picture in a composed figure, in inches; very wide and very tall photographs stay within.
_PANEL_WIDTH, _PANEL_HEIGHTS = 3.0, (0.7, 5.0)
# Of the title, in points; a character is about .55 as wide on average. A point is 1/72 inch.
_TITLE_SIZE, _CHARACTERS_PER_INCH, _TITLE_LINES = 11, 72 / (11 * 0.55), 4


@plain_text
def ponder_figure(image, maps, title="", figure_of="ponder_cost", limits=None):
    """Composes a photograph, its overlay, its ponder map and the maps of the blocks under labelled colour bars.

    Args:
        image: float `(height, width, 3)` in [0, 1], or uint8.
        maps: dict from a block's name to its map, float `(height, width)`, in residual units; see `block_maps`.
        title: text above.
        figure_of: "ponder_cost" or "num_units", what the maps are of.
        limits: pair of `(first, last)`, the values of the first and the last colour, of the sum and of the blocks; None
            for the least and the most of these maps.

    Returns:
        uint8 array `(figure height, figure width, 3)`.

    Raises:
        ValueError: for another `figure_of`, and for what are no such maps.
    """
    if figure_of not in LABELS:
        raise ValueError(f"`figure_of` must be one of {tuple(LABELS)}. Received: figure_of={figure_of!r}")
    maps = _maps_of(maps)
    total = sum(maps.values())
    if limits is None:
        of_blocks = min(value.min() for value in maps.values()), max(value.max() for value in maps.values())
        limits = (total.min(), total.max()), of_blocks
    of_sum, of_blocks = limits
    pictures = {
        "image": to_bytes(image),
        "overlay": to_bytes(overlay(image, total, 0.6, of_sum[1], of_sum[0], "viridis")),
        "sum of the blocks": total,
    }
    figure = new_figure(*_size(total.shape, (len(pictures), len(maps))))
    figure.suptitle(wrapped(title, figure.get_figwidth()), fontsize=_TITLE_SIZE)
    above, below = figure.subfigures(2, 1)
    _row(above, pictures, of_sum, LABELS[figure_of])
    _row(below, maps, of_blocks, LABELS[figure_of])
    return render(figure)


def _maps_of(maps):
    """Maps as arrays, after a look at them."""
    arrays = {name: np.asarray(value) for name, value in maps.items()} if isinstance(maps, dict) else {}
    shapes = {name: value.shape for name, value in arrays.items()}
    if not arrays or any(len(shape) != 2 for shape in shapes.values()) or len(set(shapes.values())) > 1:
        raise ValueError(
            "`maps` must be a dict from names of blocks to their maps of one image, (height, width) in its pixels: "
            "{name: value[0] for name, value in sact_tf.visualize.block_maps(outputs, images).items()}. Received: "
            f"{shapes if isinstance(maps, dict) else f'a {type(maps).__name__}'}"
        )
    wrong = [name for name, value in arrays.items() if not np.isfinite(value).all()]
    if wrong:
        raise ValueError(f"Maps must be finite to be drawn. Received NaN or infinity in the maps of: {wrong}")
    return arrays


def wrapped(title, width):
    """A title in lines that fit into a width in inches; of one that is longer than a few lines the end is left out."""
    characters = max(int(width * _CHARACTERS_PER_INCH), 20)
    return "\n".join(textwrap.wrap(printable(title), characters, max_lines=_TITLE_LINES, placeholder=" ..."))


def _size(shape, counts):
    """Width and height in inches of a figure of two rows of pictures of a shape."""
    panel = np.clip(_PANEL_WIDTH * shape[0] / shape[1], *_PANEL_HEIGHTS)
    width = _PANEL_WIDTH * max(min(shape[1] / shape[0], 1.0), 0.5) if panel == _PANEL_HEIGHTS[1] else _PANEL_WIDTH
    # Besides the pictures: their titles, and the colour bars below them.
    return width * max(counts), 2 * (panel + 0.9) + 0.4


def _row(figure, pictures, limits, label):
    """Draws pictures, uint8 `(height, width, 3)` or maps, beside each other."""
    axes = figure.subplots(1, len(pictures), squeeze=False)[0]
    for axis, (name, picture) in zip(axes, pictures.items(), strict=True):
        drawn = show_panel(axis, picture, limits)
        axis.set_title(printable(name), fontsize=10)
    add_colour_bar(figure, drawn, axes, label)


def show_panel(axis, picture, limits):
    """Draws a picture, uint8 `(height, width, 3)`, or a map `(height, width)` in viridis; returns what was drawn.

    Args:
        axis: Matplotlib's.
        picture: array.
        limits: pair of floats, the values of a map's first and last colour.
    """
    axis.set_axis_off()
    if picture.ndim == 3:
        return axis.imshow(picture)
    return axis.imshow(picture, cmap="viridis", vmin=limits[0], vmax=limits[1], interpolation="nearest")


def apart(limits):
    """The values of the first and the last colour, one unit apart if they are the same.

    Of one value alone Matplotlib makes a range for each map by itself.
    """
    low, high = limits
    return (low - 0.5, high + 0.5) if low == high else (low, high)


def add_colour_bar(figure, drawn, axes, label=LABEL):
    """Puts the colour bar of what `show_panel` has drawn, a map, below these axes."""
    # Below: beside wide photographs, which are low, a label would be longer than the row is high.
    bar = figure.colorbar(drawn, ax=axes, location="bottom", shrink=0.5, aspect=45, pad=0.04)
    bar.set_label(label, fontsize=9)
    bar.ax.tick_params(labelsize=9)
    bar.outline.set_visible(False)


@plain_text
def colour_bar(minimum, maximum, label=LABEL):
    """A colour bar by itself, viridis from `minimum` to `maximum` in residual units; uint8 `(height, width, 3)`."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    figure = new_figure(1.1, 3.2)
    bar = figure.colorbar(ScalarMappable(Normalize(minimum, maximum), "viridis"), cax=figure.subplots())
    bar.set_label(label, fontsize=9)
    bar.outline.set_visible(False)
    return render(figure)


@plain_text
def gallery(images, maps, titles, boxes=None, limits=None):
    """Images above their ponder maps, under one colour bar.

    Args:
        images: float `(count, height, width, 3)`, as networks take them; standardized ones are scaled to be seen.
        maps: float `(count, height, width)`, in residual units.
        titles: list of text, one an image.
        boxes: int `(count, 4)`, drawn on the maps; ymin, xmin, ymax, xmax in pixels; None for none.
        limits: two floats, the values of the first and the last colour; None for the .1 and 99.9 percentiles.

    Returns:
        uint8 array `(height, width, 3)`.
    """
    from matplotlib.patches import Rectangle

    count = len(images)
    if not count or not count == len(maps) == len(titles):
        raise ValueError(
            "A gallery needs a map and a title for each image, and at least one image. Received: "
            f"{count} images, {len(maps)} maps, {len(titles)} titles"
        )
    figure = new_figure(1.6 * count, 4.3)
    axes = figure.subplots(2, count, squeeze=False)
    limits = apart(np.percentile(maps, [0.1, 99.9]) if limits is None else limits)
    for column in range(count):
        axes[0, column].imshow(visible(images[column]), interpolation="nearest")
        axes[0, column].set_axis_off()
        axes[0, column].set_title(printable(titles[column]), fontsize=13)
        drawn = show_panel(axes[1, column], np.asarray(maps[column]), limits)
        for ymin, xmin, ymax, xmax in () if boxes is None else (boxes[column],):
            corner, width, height = (xmin - 0.5, ymin - 0.5), xmax - xmin, ymax - ymin
            frame = Rectangle(corner, width, height, fill=False, edgecolor="white", linewidth=0.8, alpha=0.8)
            axes[1, column].add_patch(frame)
    bar = figure.colorbar(drawn, ax=axes, location="bottom", shrink=0.6, aspect=45)
    bar.set_label(LABEL, fontsize=13)
    bar.ax.tick_params(labelsize=12)
    bar.outline.set_visible(False)
    return render(figure)


def save_gallery(path, images, maps, boxes, titles):
    """Writes a `gallery` to a PNG file."""
    from PIL import Image

    Image.fromarray(gallery(images, maps, titles, boxes)).save(path, "PNG")
