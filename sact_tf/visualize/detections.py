"""Pictures with the boxes that a detector found, above what it spent on them."""

import numpy as np

from sact_tf.progress import printable
from sact_tf.visualize.figures import LABEL, add_colour_bar, apart, show_panel, wrapped
from sact_tf.visualize.off_screen import new_figure, render
from sact_tf.visualize.plain_text import plain_text

_FOUND, _THERE = "#ff5050", "#40e060"
# Of one picture in a figure of its own, in inches; very wide and very tall photographs stay within.
_PANEL_WIDTHS, _PANEL_HEIGHTS = (3.0, 6.5), (1.0, 7.0)
# Parts of a picture that a line of text takes of its height, and from which on a text would leave it on the right.
_OF_A_LINE, _OF_A_WORD = 0.12, 0.7
# Part of a picture that names of boxes may cover: those of the best boxes stay.
_COVERED = 0.15


@plain_text
def detection_figure(image, found, title="", ponder_map=None):
    """One picture with the boxes that were found, above its ponder map with the same boxes.

    Args:
        image: float `(height, width, 3)` in [0, 1].
        found: pair of float `(boxes, 4)`, ymin, xmin, ymax, xmax in pixels of the image, and a text for each box.
        title: text above.
        ponder_map: float `(height, width)`, in residual units; None for none.

    Returns:
        uint8 array `(figure height, figure width, 3)`.
    """
    panels = 1 if ponder_map is None else 2
    height, width = np.shape(image)[:2]
    panel_height = np.clip(_PANEL_WIDTHS[1] * height / width, *_PANEL_HEIGHTS)
    panel_width = np.clip(panel_height * width / height, *_PANEL_WIDTHS)
    figure = new_figure(panel_width, panels * panel_height + 0.5 + 0.8 * (panels - 1))
    figure.suptitle(wrapped(title, panel_width), fontsize=11)
    axes = figure.subplots(panels, 1, squeeze=False)[:, 0]
    axes[0].imshow(np.clip(image, 0, 1), interpolation="nearest")
    axes[0].set_axis_off()
    _frames(axes[0], found[0], _FOUND)
    _texts(axes[0], found)
    if ponder_map is not None:
        drawn = show_panel(axes[1], np.asarray(ponder_map), apart((np.min(ponder_map), np.max(ponder_map))))
        _frames(axes[1], found[0], "white")
        add_colour_bar(figure, drawn, axes[1:])
    _leave_out(axes[:1])
    return render(figure)


@plain_text
def detection_gallery(images, maps, found, there, titles):
    """Images with boxes above their ponder maps with the true boxes, under one colour bar.

    Args:
        images: list of float `(height, width, 3)` in [-1, 1], of any sizes.
        maps: list of float `(height, width)` of the same sizes, in residual units; None for images alone.
        found: list of pairs: float `(boxes, 4)`, ymin, xmin, ymax, xmax in pixels, and a text for each box.
        there: list of float `(boxes, 4)`, the true ones.
        titles: list of text, one an image.

    Returns:
        uint8 array `(height, width, 3)`.
    """
    count = len(images)
    if maps is None:
        axes = new_figure(2.0 * count, 2.6).subplots(1, count, squeeze=False)[0]
        for axis, *of_image in zip(axes, images, found, there, titles, strict=True):
            _show_boxes(axis, *of_image)
        _leave_out(axes)
        return render(axes[0].figure)
    ratio = max(np.shape(image)[0] / np.shape(image)[1] for image in images)
    figure = new_figure(2.0 * count, 0.7 + 2 * np.clip(2.05 * ratio, 0.9, 2.25))
    axes = figure.subplots(2, count, squeeze=False)
    limits = apart(np.percentile(np.concatenate([np.ravel(each) for each in maps]), [0.1, 99.9]))
    for column in range(count):
        above, below = axes[:, column]
        _show_boxes(above, images[column], found[column], there[column], titles[column])
        drawn = show_panel(below, np.asarray(maps[column]), limits)
        _frames(below, there[column], "white")
    bar = figure.colorbar(drawn, ax=axes, location="bottom", shrink=0.6, aspect=45)
    bar.set_label(LABEL, fontsize=12)
    bar.outline.set_visible(False)
    _leave_out(axes[0])
    return render(figure)


@plain_text
def precision_recall(curves):
    """Precision at each recall as a Matplotlib figure.

    Args:
        curves: dict from a text to `(points,)` floats in [0, 1], at recalls from 0 to 1 that are equally far apart.
    """
    figure = new_figure(4.6, 3.4)
    axes = figure.subplots()
    for name, curve in curves.items():
        axes.plot(np.linspace(0, 1, len(curve)), curve, label=name)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    axes.legend(loc="best", fontsize=8)
    return figure


def _show_boxes(axis, image, found, there, title):
    """One image with what is there in green and what was found in red."""
    axis.imshow(np.clip((np.asarray(image) + 1) / 2, 0, 1), interpolation="nearest")
    axis.set_axis_off()
    axis.set_title(printable(title), fontsize=11)
    _frames(axis, there, _THERE, dashed=True)
    _frames(axis, found[0], _FOUND)
    _texts(axis, found)


def _texts(axis, found):
    """Writes the text of each box on its upper edge; at the top and on the right so that it stays in the picture."""
    width, height = axis.get_xlim()[1], axis.get_ylim()[0]
    for (ymin, xmin, _, xmax), text in zip(*found, strict=True):
        box = {"facecolor": _FOUND, "edgecolor": "none", "pad": 0.8, "alpha": 0.9}
        above, left = ymin > _OF_A_LINE * height, xmin < _OF_A_WORD * width
        sides = {"va": "bottom" if above else "top", "ha": "left" if left else "right"}
        axis.text(xmin if left else xmax, ymin, printable(text), fontsize=7, color="white", bbox=box, **sides)


def _leave_out(axes):
    """Hides names that would lie on that of a better box, and those of further boxes once names cover enough."""
    figure = axes[0].figure
    # Where texts are is known once all is laid out.
    figure.draw_without_rendering()
    for axis in axes:
        kept, left = [], _COVERED * axis.bbox.width * axis.bbox.height
        for text in axis.texts:
            extent = text.get_bbox_patch().get_window_extent()
            area = extent.width * extent.height
            # The best one is shown however small the picture.
            if kept and (area > left or extent.count_overlaps(kept)):
                text.set_visible(False)
            else:
                kept.append(extent)
                left -= area


def _frames(axis, boxes, colour, dashed=False):
    from matplotlib.patches import Rectangle

    for ymin, xmin, ymax, xmax in np.asarray(boxes).reshape(-1, 4):
        corner, width, height = (xmin - 0.5, ymin - 0.5), xmax - xmin, ymax - ymin
        style = "--" if dashed else "-"
        axis.add_patch(Rectangle(corner, width, height, fill=False, edgecolor=colour, linewidth=1.1, linestyle=style))
