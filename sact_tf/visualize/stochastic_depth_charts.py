"""Charts of stochastic depth: how probably each unit survives, and what that does to error and time."""

from sact_tf.visualize.off_screen import new_figure
from sact_tf.visualize.plain_text import plain_text

_BLOCKS = ("tab:blue", "tab:orange", "tab:green", "tab:red")
_LINES = ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple", "tab:brown")
_CONSTANT = "#555555"


@plain_text
def survival(probabilities):
    """A bar for each unit, how probably it survives a training step: a panel for each network.

    Args:
        probabilities: dict from the survival probability of the last unit to those of all, lists a block.
    """
    figure = new_figure(max(6.4, 3.4 * len(probabilities) + 0.8), 3.0)
    panels = figure.subplots(1, len(probabilities), sharey=True, squeeze=False)[0]
    for axes, (final, blocks) in zip(panels, probabilities.items(), strict=True):
        first = 1
        for number, (values, colour) in enumerate(zip(blocks, _BLOCKS * len(blocks), strict=False), 1):
            axes.bar(range(first, first + len(values)), values, color=colour, label=f"block {number}")
            first += len(values)
        units = [value for block in blocks for value in block]
        mean = sum(units) / len(units)
        axes.axhline(mean, color="#333333", linestyle="--", linewidth=1)
        axes.set(title=f"p_L = {final:g}", xlabel="unit", ylim=(0, 1.05))
        axes.locator_params(axis="x", integer=True)
        axes.text(len(units) + 0.4, mean + 0.02, f"{mean * len(units):.4g} units on average", fontsize=7, ha="right")
    panels[0].set_ylabel("survival probability")
    figure.legend(*panels[0].get_legend_handles_labels(), fontsize=7, loc="outside right upper")
    return figure


@plain_text
def stochastic_depth(rows, score="accuracy"):
    """Two panels over the number of units: the error, and the time of a training step.

    Args:
        rows: dicts of `sact_tf.studies.stochastic_depth.report.rows_of`.
        score: what people call what the error is 100 % less of.
    """
    figure = new_figure(8.6, 3.6)
    left, right = figure.subplots(1, 2)
    probabilities = sorted({row["survival"] for row in rows}, reverse=True)
    for value, colour in zip(probabilities, (_CONSTANT, *_LINES * len(probabilities)), strict=False):
        chosen = sorted((row for row in rows if row["survival"] == value), key=lambda row: row["units"])
        units = [row["units"] for row in chosen]
        style = {"label": "constant depth" if value == 1 else f"p_L = {value:g}", "color": colour, "markersize": 5}
        errors, bars = ([100 * row[name] for row in chosen] for name in ("error", "standard_error"))
        left.errorbar(units, errors, bars, fmt="s--" if value == 1 else "o-", capsize=2, **style)
        times = [1e3 * row["seconds"] for row in chosen]
        right.plot(units, times, "s--" if value == 1 else "o-", **style)
        for row, time in zip(chosen, times, strict=True):
            if value < 1:
                right.annotate(
                    f"{row['time'] - 1:+.0%}",
                    (row["units"], time),
                    xytext=(0, -13),
                    textcoords="offset points",
                    ha="center",
                    fontsize=7,
                    color=colour,
                )
    left.set_ylabel(f"100 % - {score}, ± standard error, %")
    right.set_ylabel("milliseconds of a training step")
    for axes in (left, right):
        axes.set_xlabel("units of the network")
        axes.set_xticks(sorted({row["units"] for row in rows}))
        axes.margins(x=0.12, y=0.15)
        axes.grid(alpha=0.3)
    right.set_ylim(bottom=0)
    left.legend(fontsize=8)
    return figure
