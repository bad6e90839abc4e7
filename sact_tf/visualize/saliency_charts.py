"""Charts and pictures of a study of saliency: how well maps tell where people look, and what that looks like."""

import numpy as np

from sact_tf.progress import printable
from sact_tf.visualize.off_screen import new_figure, render
from sact_tf.visualize.plain_text import label_of, plain_text

_PANELS = {"auc_judd": "AUC-Judd", "nss": "NSS", "cc": "correlation (CC)"}
_ABOVE_CHANCE, _OF_PEOPLE = "tab:blue", "tab:gray"
_WITHOUT_NETWORK = ("constant", "centre prior", "contrast", "contrast + prior", "one observer")
# Width of a picture in inches, and the longest name under it.
_PICTURE, _LONGEST = 1.7, 26


@plain_text
def scores(rows):
    """AUC-Judd, NSS and CC of each kind of map, means with two standard errors.

    Args:
        rows: dicts with `map`, and each metric and its `_standard_error`, floats or "" where there is none.
    """
    # Of a map that ranks nothing there is nothing to draw.
    rows = [row for row in rows if row["auc_judd"] != ""]
    figure = new_figure(9.6, 0.8 + 0.32 * len(rows))
    places = np.arange(len(rows))[::-1]
    panels = figure.subplots(1, len(_PANELS), sharey=True)
    for axes, (metric, title) in zip(panels, _PANELS.items(), strict=True):
        for place, row in zip(places, rows, strict=True):
            if row[metric] == "":
                continue
            colour = _OF_PEOPLE if row["map"] in _WITHOUT_NETWORK else _ABOVE_CHANCE
            error = row[f"{metric}_standard_error"]
            error = 2 * error if error != "" else None
            axes.errorbar(row[metric], place, xerr=error, fmt="o", color=colour, markersize=4, capsize=2)
        axes.set_title(title, fontsize=10)
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.grid(alpha=0.3)
        axes.tick_params(labelsize=8)
        prior = next((row[metric] for row in rows if row["map"] == "centre prior"), "")
        if prior != "":
            axes.axvline(prior, color=_OF_PEOPLE, linestyle=":", linewidth=1)
    panels[0].set_yticks(places, [label_of(row["map"]) for row in rows], fontsize=9)
    return figure


@plain_text
def examples(groups, kind):
    """Pictures, where people looked, and the map, of a few pictures of each group.

    Args:
        groups: dict from the name of a group to a list of `(image, points, values, title)`: float
            `(height, width, 3)` in [0, 1]; `(n, 2)`, x and y; float `(height, width)` in [0, 1]; text.
        kind: text, what the maps are called.

    Returns:
        uint8 array `(figure height, figure width, 3)`.
    """
    count = max(map(len, groups.values()))
    shapes = [image.shape for shown in groups.values() for image, *_ in shown]
    tallest = np.clip(max(height / width for height, width, _ in shapes), 0.3, 1.6)
    figure = new_figure(3 * count * _PICTURE + 0.4, len(groups) * (tallest * _PICTURE + 0.45) + 0.4)
    axes = figure.subplots(len(groups), 3 * count, squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for row, (name, shown) in zip(axes, groups.items(), strict=True):
        row[0].text(-0.04, 0.5, name, transform=row[0].transAxes, rotation=90, ha="right", va="center", fontsize=11)
        for number, (image, points, values, title) in enumerate(shown):
            _show(row[3 * number : 3 * number + 3], image, points, values, title)
    figure.suptitle(f"picture, fixations, {kind}; AUC-Judd of that map", fontsize=11)
    return render(figure)


def save_png(picture, path):
    """Writes uint8 `(height, width, 3)` as PNG."""
    from PIL import Image

    Image.fromarray(picture).save(path, "PNG")


def _show(axes, image, points, values, title):
    image = np.clip(image, 0, 1)
    axes[0].imshow(image)
    # Pale, so that the points stand out.
    axes[1].imshow(0.5 + 0.5 * image)
    axes[1].plot(points[:, 0], points[:, 1], ".", color="tab:red", markersize=2)
    # Points at the rim must not widen it.
    axes[1].set(xlim=(-0.5, image.shape[1] - 0.5), ylim=(image.shape[0] - 0.5, -0.5))
    axes[2].imshow(values, cmap="viridis", vmin=0, vmax=1)
    title = printable(title)
    name, _, score = title.rpartition(", ")
    name = name if len(name) <= _LONGEST else f"...{name[3 - _LONGEST :]}"
    axes[1].set_title(f"{name}, {score}", fontsize=8)
