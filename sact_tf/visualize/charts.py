"""Curves, bars and histograms as Matplotlib figures, off screen; `save_chart` and `chart_svg` make files of them."""

import io
import re

from sact_tf.visualize.off_screen import new_figure
from sact_tf.visualize.plain_text import label_of, plain_text

STYLES = {
    "vanilla": ("plain ResNets", "tab:gray", "s--"),
    "act": ("ACT", "tab:orange", "o-"),
    "sact": ("SACT", "tab:blue", "o-"),
}
# Characters of names below and beside a matrix: up to so many they stand level, and more than so many are cut.
_LEVEL_NAME, _LONGEST_NAME = 3, 18


@plain_text
def tradeoff(rows, score="accuracy", flops="FLOPs"):
    """Accuracy against FLOPs, a curve for each kind of network.

    Args:
        rows: dicts with `model_type`, `model`, `tau`, `flops` and what `score` names, a part of 1.
        score: what people call it.
        flops: what people call the FLOPs.
    """
    from matplotlib.patheffects import withStroke

    figure = new_figure(6.4, 4.4)
    axes = figure.add_subplot()
    for kind, (label, colour, style) in STYLES.items():
        chosen = sorted((row for row in rows if row["model_type"] == kind), key=lambda row: row["flops"])
        if not chosen:
            continue
        places = [(row["flops"] / 1e6, 100 * row[score]) for row in chosen]
        axes.plot(*zip(*places, strict=True), style, color=colour, label=label)
        for row, place in zip(chosen, places, strict=True):
            units = "unit" if str(row["model"]) == "1" else "units"
            note = f"{row['model']} {units}" if kind == "vanilla" else f"τ {row['tau']:g}"
            below = -11 if kind != "act" else 6
            text = axes.annotate(note, place, xytext=(5, below), textcoords="offset points", fontsize=7, color=colour)
            text.set_path_effects([withStroke(linewidth=2, foreground="white")])
    axes.margins(x=0.1, y=0.08)
    axes.set(xlabel=f"{flops} per image, millions", ylabel=f"{score}, %")
    axes.grid(alpha=0.3)
    axes.legend(loc="best")
    return figure


@plain_text
def comparison(rows, score="accuracy"):
    """FLOPs and accuracy of a few networks side by side, as bars; `rows` as for `tradeoff`."""
    figure = new_figure(6.4, 3.2)
    labels = [f"{row['model_type']} {row['model']}" for row in rows]
    panels = (
        ("FLOPs per image, millions", [row["flops"] / 1e6 for row in rows]),
        (f"{score}, %", [100 * row[score] for row in rows]),
    )
    for axes, (title, values) in zip(figure.subplots(1, 2), panels, strict=True):
        bars = axes.bar(labels, values, color=[STYLES[row["model_type"]][1] for row in rows])
        axes.bar_label(bars, fmt="%.2f")
        axes.set_title(title)
        axes.margins(y=0.15)
    return figure


@plain_text
def resolution(rows, score="accuracy"):
    """Accuracy and FLOPs over the size of the images, a line for each run.

    Args:
        rows: dicts with `run`, `trained_size`, `image_size`, `flops` and what `score` names, a part of 1.
    """
    figure = new_figure(8, 3.4)
    left, right = figure.subplots(1, 2)
    for name in dict.fromkeys(row["run"] for row in rows):
        chosen = [row for row in rows if row["run"] == name]
        sizes = [row["image_size"] for row in chosen]
        left.plot(sizes, [100 * row[score] for row in chosen], "o-", label=label_of(name))
        right.plot(sizes, [row["flops"] / 1e6 for row in chosen], "o-", label=label_of(name))
    for axes, title in ((left, f"{score}, %"), (right, "FLOPs per image, millions")):
        axes.axvline(rows[0]["trained_size"], color="tab:gray", linestyle=":", label="trained at")
        axes.set(title=title, xlabel="height and width of the images, pixels")
        axes.grid(alpha=0.3)
    right.set_ylim(bottom=0)
    right.legend(fontsize=7)
    return figure


@plain_text
def histograms(panels, columns=4):
    """Several histograms.

    Args:
        panels: dict from a title to `(edges, counts, label)`: `(n + 1,)` and `(n,)` numbers and the axis' text.
        columns: int, panels in a row at most.
    """
    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    figure = new_figure(3.0 * columns + 0.6, 2.4 * rows)
    places = figure.subplots(rows, columns, squeeze=False).flat
    for axes, (title, (edges, counts, label)) in zip(places, panels.items(), strict=False):
        total = max(1, sum(counts))
        axes.stairs([100 * count / total for count in counts], edges, fill=True, color="tab:blue")
        axes.set_title(title, fontsize=9)
        axes.set_xlabel(label, fontsize=8)
        axes.set_ylabel("%", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.locator_params(axis="x", nbins=6, steps=[1, 2, 5, 10], integer=edges[-1] - edges[0] > 1)
    for axes in list(places):
        axes.set_axis_off()
    return figure


@plain_text
def matrix(counts, names):
    """A confusion matrix `(classes, classes)`, rows the true class, columns what was read; parts of each row.

    Names that are longer than a number stand on end below the columns; very long ones are cut.
    """
    figure = new_figure(4.2, 3.8)
    axes = figure.add_subplot()
    shares = counts / counts.sum(1, keepdims=True).clip(1)
    axes.imshow(shares, vmin=0, vmax=1)
    for row, column in zip(*counts.nonzero(), strict=True):
        # Not black itself, which takes the colour of the page.
        colour = "#111111" if shares[row, column] > 0.5 else "#eeeeee"
        axes.text(column, row, int(counts[row, column]), ha="center", va="center", fontsize=6, color=colour)
    names = [_shortened(str(name)) for name in names]
    long = max(map(len, names)) > _LEVEL_NAME
    axes.set_xticks(range(len(names)), names, fontsize=7, rotation=90 if long else 0)
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.set_xlabel("read as", fontsize=8)
    axes.set_ylabel("is", fontsize=8)
    return figure


@plain_text
def save_chart(figure, file, ending):
    """Writes a figure of this module to a path or file, as "png" or "svg"."""
    figure.savefig(file, format=ending, dpi=150)


@plain_text
def chart_svg(figure):
    """A figure of this module as text of an SVG element that has the colour of the text around it."""
    from matplotlib import rc_context

    file = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "sact_tf"}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    for black in ("stroke: #000000", "fill: #000000"):
        text = text.replace(black, black.split(":")[0] + ": currentColor")
    return re.sub(r"<text (?![^>]*fill: #)", '<text fill="currentColor" ', text)


def _shortened(name):
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 3]}..."
