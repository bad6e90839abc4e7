"""Charts of a lesion study: what networks say without some of their units, and which paths their gradients take.

One network is drawn in the detail that its figure has room for; several are drawn over each other, a colour each. Units
of networks of different depths are at the part of the depth that they stand at.
"""

import numpy as np

from sact_tf.visualize.off_screen import new_figure
from sact_tf.visualize.plain_text import label_of, plain_text

_COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple", "tab:brown", "tab:pink", "tab:olive")
_KEEPS, _CHANGES = "tab:blue", "tab:orange"


@plain_text
def single_deletions(rows, score="accuracy"):
    """The error after each unit's deletion: bars for one network, lines for several; with the error of the whole.

    Args:
        rows: dicts with `network`, `experiment` ("whole" or "delete", others are left out), `units`, `unit`,
            `changes_shape`, `standard_error` and what `score` names, a part of 1.
    """
    networks = _by_network(rows)
    figure = new_figure(7.2, 3.6)
    axes = figure.add_subplot()
    scale, label = _scale(networks)
    for (name, chosen), colour in zip(networks.items(), _COLOURS * len(networks), strict=False):
        deleted = [row for row in chosen if row["experiment"] == "delete"]
        places = [scale(row, row["unit"]) for row in deleted]
        errors = [_error(row, score) for row in deleted]
        bars = [100 * row["standard_error"] for row in deleted]
        changing = [row["changes_shape"] for row in deleted]
        if len(networks) == 1:
            _bars(axes, places, errors, bars, changing)
        else:
            axes.errorbar(places, errors, bars, fmt="o-", color=colour, markersize=4, linewidth=1, label=label_of(name))
            rings = [place for place, change in zip(places, changing, strict=True) if change]
            heights = [error for error, change in zip(errors, changing, strict=True) if change]
            axes.plot(rings, heights, "o", color=colour, markersize=9, markerfacecolor="none")
        for row in chosen:
            if row["experiment"] == "whole":
                line = "whole network" if len(networks) == 1 else None
                axes.axhline(
                    _error(row, score), color="#333333" if line else colour, linestyle="--", linewidth=1, label=line
                )
    _finish(axes, label, score, "unit deleted")
    if len(networks) > 1:
        axes.plot([], [], "o", color="tab:gray", markersize=9, markerfacecolor="none", label="changes the shape")
        axes.plot([], [], "--", color="tab:gray", linewidth=1, label="whole network")
    figure.legend(fontsize=7, loc="outside right center")
    return figure


@plain_text
def random_deletions(rows, score="accuracy"):
    """The error after so many random units' deletion: a box for each number, its line the median of the draws.

    Args:
        rows: as in `single_deletions`, of the experiments "whole" and "delete_random", with `count`.
    """
    networks = _by_network(rows)
    figure = new_figure(7.2, 3.6)
    axes = figure.add_subplot()
    scale, label = _scale(networks)
    for number, (name, chosen) in enumerate(networks.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        drawn = [row for row in chosen if row["experiment"] == "delete_random"]
        counts = sorted({row["count"] for row in drawn})
        if not counts:
            continue
        step = scale(drawn[0], 1) - scale(drawn[0], 0)
        width = 0.7 * step / len(networks)
        shift = width * (number - (len(networks) - 1) / 2)
        places = [scale(drawn[0], count) + shift for count in counts]
        values = [[_error(row, score) for row in drawn if row["count"] == count] for count in counts]
        _boxes(axes, places, values, 0.85 * width, colour)
        whole = [_error(row, score) for row in chosen if row["experiment"] == "whole"]
        # From the network as it is, of which nothing is deleted.
        axes.plot([0] * len(whole) + places, whole + [np.median(each) for each in values], color=colour, alpha=0.5)
        axes.plot([], [], "s", color=colour, label=label_of(name))
    _finish(axes, label, score, "units deleted at random")
    if len(networks) > 1:
        figure.legend(fontsize=7, loc="outside right center")
    return figure


@plain_text
def reorderings(rows, score="accuracy"):
    """The error against Kendall's tau of the order that units were put into, a point a draw and a line of the means.

    Args:
        rows: as in `single_deletions`, of the experiments "whole" and "reorder", with `count` and `kendall_tau`.
    """
    networks = _by_network(rows)
    figure = new_figure(6.0, 3.8)
    axes = figure.add_subplot()
    for number, (name, chosen) in enumerate(networks.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        drawn = [row for row in chosen if row["experiment"] == "reorder"]
        if not drawn:
            continue
        axes.plot(
            [row["kendall_tau"] for row in drawn],
            [_error(row, score) for row in drawn],
            ".",
            color=colour,
            alpha=0.4,
            markersize=5,
        )
        groups = [[row for row in chosen if row["experiment"] == "whole"]]
        groups += [[row for row in drawn if row["count"] == count] for count in sorted({row["count"] for row in drawn})]
        groups = [group for group in groups if group]
        means = [np.mean([row["kendall_tau"] for row in group]) for group in groups]
        errors = [np.mean([_error(row, score) for row in group]) for group in groups]
        places = np.argsort(means, kind="stable")[::-1]
        axes.plot(np.array(means)[places], np.array(errors)[places], "o-", color=colour, label=label_of(name))
    axes.set(xlabel="Kendall's τ of the order of units; 1 is as trained", ylabel=_error_label(score))
    axes.invert_xaxis()
    axes.grid(alpha=0.3)
    if len(networks) > 1:
        figure.legend(fontsize=7, loc="outside right center")
    return figure


@plain_text
def paths(rows):
    """Three panels over the length of a path: how many there are, how much gradient one carries, and all together.

    Args:
        rows: dicts with `network`, `units`, `length`, `share_of_paths`, `gradient`, `gradient_standard_error` and
            `share_of_gradient`.
    """
    networks = _by_network(rows)
    figure = new_figure(9.6, 3.2)
    left, middle, right = figure.subplots(1, 3)
    same = _same_depth(networks)
    for (name, chosen), colour in zip(networks.items(), _COLOURS * len(networks), strict=False):
        lengths = [row["length"] if same else row["length"] / row["units"] for row in chosen]
        # Shares of lengths are larger where there are fewer lengths; densities are not.
        density = 100 if same else 100 * chosen[0]["units"]
        left.plot(lengths, [density * row["share_of_paths"] for row in chosen], "o-", color=colour, markersize=3)
        gradients = np.array([row["gradient"] for row in chosen])
        spread = np.array([row["gradient_standard_error"] for row in chosen])
        middle.errorbar(
            lengths,
            np.where(gradients > 0, gradients, np.nan),
            # No bar reaches down to nothing, which has no place on this axis.
            [np.minimum(spread, 0.9 * gradients), spread],
            fmt="o-",
            color=colour,
            markersize=3,
        )
        products = [density * row["share_of_gradient"] for row in chosen]
        right.plot(lengths, products, "o-", color=colour, markersize=3, label=label_of(name))
    if any(row["gradient"] > 0 for row in rows):
        middle.set_yscale("log")
        # Its own numbers would be formulas.
        middle.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        middle.yaxis.set_minor_formatter(lambda value, _: "")
    share = "%" if same else "% per part of the depth"
    titles = (("paths of this length", share), ("gradient at the input of one", "norm"), ("gradient of all", share))
    for axes, (title, unit) in zip((left, middle, right), titles, strict=True):
        axes.set_title(f"{title}, {unit}", fontsize=9)
        axes.set_xlabel("length of path, units" if same else "length of path, part of the depth", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
    for axes in (left, right):
        axes.set_ylim(bottom=0)
    if len(networks) > 1:
        figure.legend(fontsize=7, loc="outside right center")
    return figure


def _bars(axes, places, errors, bars, changing):
    for change, colour, label in ((False, _KEEPS, "keeps the shape"), (True, _CHANGES, "changes the shape")):
        chosen = [number for number, each in enumerate(changing) if bool(each) == change]
        if chosen:
            axes.bar(
                [places[number] for number in chosen],
                [errors[number] for number in chosen],
                yerr=[bars[number] for number in chosen],
                color=colour,
                label=label,
                error_kw={"elinewidth": 1},
            )


def _boxes(axes, places, values, width, colour):
    line = {"color": colour}
    axes.boxplot(
        values,
        positions=places,
        widths=width,
        manage_ticks=False,
        patch_artist=True,
        boxprops={**line, "facecolor": colour, "alpha": 0.35},
        medianprops=line,
        whiskerprops=line,
        capprops=line,
        flierprops={"markeredgecolor": colour, "markersize": 3, "marker": "."},
    )


def _finish(axes, label, score, what):
    axes.set(xlabel=label.format(what), ylabel=_error_label(score))
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3, axis="y")
    axes.set_axisbelow(True)
    if "part" not in label:
        axes.xaxis.get_major_locator().set_params(integer=True)


def _by_network(rows):
    return {
        name: [row for row in rows if row["network"] == name] for name in dict.fromkeys(row["network"] for row in rows)
    }


def _same_depth(networks):
    return len({row["units"] for chosen in networks.values() for row in chosen}) == 1


def _scale(networks):
    """From a row and a number of units to a place on the axis, and the text of the axis."""
    if _same_depth(networks):
        return lambda row, units: units, "{}"
    return lambda row, units: units / row["units"], "{}, part of the network's"


def _error(row, score):
    return 100 * (1 - row[score])


def _error_label(score):
    return "error, %" if score == "accuracy" else f"100 - {score}, %"
