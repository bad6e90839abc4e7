"""The chart of LesionResNet: accuracy against FLOPs, and every kind beside the adaptive network."""

from sact_tf.config.models import METHODS
from sact_tf.visualize.off_screen import new_figure
from sact_tf.visualize.plain_text import plain_text

COLOURS = {
    "all_units": "tab:gray",
    "deepest": "tab:brown",
    "random": "tab:olive",
    "least_harm": "tab:green",
    "random_images": "tab:orange",
    "random_positions": "tab:red",
    "shuffled_maps": "tab:purple",
    "mean_map": "tab:cyan",
}
# By whose weights they are, how points are drawn.
MARKERS = {"plain": ("o", "white"), "fine-tuned": ("o", None), "adaptive": ("D", None)}
_WORDS = {"plain": "plain weights", "fine-tuned": "plain weights, fine-tuned", "adaptive": "adaptive weights"}


@plain_text
def lesion_resnet(rows, score="accuracy"):
    """Two panels: accuracy against FLOPs, with what whole units allow, and a line for each kind.

    Args:
        rows: dicts with `kind`, `weights`, `match`, `flops`, `score` and `standard_error`, parts of 1; the first is the
            adaptive network.
        score: what people call it.
    """
    adaptive, *others = rows
    kinds = [kind for kind in COLOURS if any(row["kind"] == kind for row in others)]
    figure = new_figure(11, 1.8 + 0.45 * max(len(kinds), 6))
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.1))
    for kind in kinds:
        _against_flops(left, [row for row in others if row["kind"] == kind], COLOURS[kind])
        for row in others:
            if row["kind"] == kind and row["match"] not in ("below", "above"):
                _beside(right, row, len(kinds) - kinds.index(kind))
    _star(left, adaptive)
    _band(right, adaptive)
    left.set(xlabel="FLOPs per image, millions", ylabel=f"{score}, %")
    right.set(xlabel=f"{score}, %")
    right.set_yticks(range(len(kinds), 0, -1), [kind.replace("_", " ") for kind in kinds])
    right.set_ylim(0.4, len(kinds) + 0.6)
    for axes in (left, right):
        axes.grid(alpha=0.3)
    left.margins(x=0.1, y=0.1)
    figure.legend(handles=list(_legend(adaptive, others)), loc="outside lower center", ncols=5, fontsize=8)
    return figure


def _against_flops(axes, rows, colour):
    # A line through whole units below, the mixture, and whole units above, of the same weights.
    for weights in MARKERS:
        chosen = sorted((row for row in rows if row["weights"] == weights), key=lambda row: row["flops"])
        if len(chosen) > 1:
            axes.plot(*_places(chosen), ":", color=colour, linewidth=1)
        for row in chosen:
            _point(axes, row["flops"] / 1e6, 100 * row["score"], row, colour, yerr=100 * row["standard_error"])


def _beside(axes, row, place):
    # Of one kind, different weights stand a little apart.
    place += {"plain": 0.2, "fine-tuned": 0.0, "adaptive": -0.2}[row["weights"]]
    _point(axes, 100 * row["score"], place, row, COLOURS[row["kind"]], xerr=100 * row["standard_error"])


def _point(axes, x, y, row, colour, **errors):
    marker, face = MARKERS[row["weights"]]
    small = row["match"] in ("below", "above")
    axes.errorbar(
        x,
        y,
        fmt=marker,
        color=colour,
        markerfacecolor=face or colour,
        markersize=4 if small else 6,
        capsize=2,
        elinewidth=1,
        **errors,
    )


def _star(axes, row):
    place = row["flops"] / 1e6, 100 * row["score"]
    error = 100 * row["standard_error"]
    axes.errorbar(*place, yerr=error, fmt="*", color="tab:blue", markersize=15, capsize=2, zorder=5)


def _band(axes, row):
    value, error = 100 * row["score"], 100 * row["standard_error"]
    axes.axvspan(value - error, value + error, color="tab:blue", alpha=0.15, linewidth=0)
    axes.axvline(value, color="tab:blue", linewidth=1)


def _legend(adaptive, rows):
    from matplotlib.lines import Line2D

    yield Line2D([], [], color="tab:blue", marker="*", markersize=12, linestyle="", label=METHODS[adaptive["kind"]])
    for weights, (marker, face) in MARKERS.items():
        if any(row["weights"] == weights for row in rows):
            style = {"color": "black", "markerfacecolor": face or "black", "linestyle": ""}
            yield Line2D([], [], marker=marker, label=_WORDS[weights], **style)
    if any(row["match"] in ("below", "above") for row in rows):
        yield Line2D([], [], color="black", marker=".", linestyle=":", label="whole units below and above")


def _places(rows):
    return [row["flops"] / 1e6 for row in rows], [100 * row["score"] for row in rows]
