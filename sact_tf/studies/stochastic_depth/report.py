"""Rows, a table and sentences of what stochastic depth did to the error and to the time of a step."""

from sact_tf.progress import counted, duration
from sact_tf.studies import pairs


def rows_of(planned, scores, times):
    """Rows of the table, one for each depth and probability, all seeds together.

    Args:
        planned: list of `Planned`, all done.
        scores: dict from their names to float `(images,)`, parts of 1.
        times: dict from pairs of a depth and a probability to `StepTime`s.

    Returns:
        list of dicts: `model`, `units` of the whole network, `survival`, `steps`, `seeds` (how many), `error`,
        `standard_error` over the images, `spread` over the seeds, the `difference` to constant depth with
        `difference_standard_error` and McNemar's `p` (runs of one seed are paired), `seconds` of a step, `time` and
        `flops` of a step relative to constant depth, `saved_seconds` of the whole training.
    """
    rows = []
    for model, survival in dict.fromkeys((run.model, run.survival) for run in planned):
        runs = [run for run in planned if (run.model, run.survival) == (model, survival)]
        constant = [run for run in planned if (run.model, run.survival) == (model, 1.0)]
        compared = pairs.compare([scores[run.name] for run in runs], [scores[run.name] for run in constant])
        step, base = times[model, survival], times[model, 1.0]
        steps = runs[0].config.max_number_of_steps
        rows.append(
            {
                "model": model,
                "units": sum(runs[0].config.model.units),
                "survival": survival,
                "steps": steps,
                "seeds": len(runs),
                "error": 1 - compared["score"],
                "standard_error": compared["standard_error"],
                "spread": compared["spread"],
                "difference": 0.0 - compared["difference"],
                "difference_standard_error": compared["difference_standard_error"],
                "p": compared["p"],
                "seconds": step.seconds,
                "time": step.seconds / base.seconds,
                "flops": step.flops / base.flops,
                "saved_seconds": steps * (base.seconds - step.seconds),
            }
        )
    return rows


def table(rows, score):
    """Lines of a Markdown table; `score` is what people call what the error is 100 % less of."""
    yield (
        f"| units | p_L | 100 % - {score}, ± standard error | spread of seeds | difference, points | p | ms a step "
        "| of constant depth | FLOPs that ran | saved |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for row in rows:
        constant = row["survival"] == 1
        spread = f"{100 * row['spread']:.2f} ({row['seeds']})" if row["seeds"] > 1 else "-"
        difference = "-" if constant else pairs.points(row)
        p = "-" if constant else pairs.p_text(row["p"])
        saved = "-" if constant else _signed_duration(row["saved_seconds"])
        yield (
            f"| {row['model']} ({row['units']}) | {row['survival']:g} | {row['error']:.2%} ± "
            f"{100 * row['standard_error']:.2f} | {spread} | {difference} | {p} | {1e3 * row['seconds']:.0f} "
            f"| {row['time']:.3f} | {row['flops']:.3f} | {saved} |"
        )


def paragraph(rows, images):
    """What the rows say, as text; `images` is how many held-out ones they are measured on."""
    sentences = [f"Errors are on {images} held-out images, ± one standard error over them."]
    base = {row["model"]: row for row in rows if row["survival"] == 1}
    for row in rows:
        if row["survival"] == 1:
            continue
        constant = base[row["model"]]
        sentences.append(
            f"Of {row['units']} units, stochastic depth with p_L = {row['survival']:g} errs on {row['error']:.1%} ± "
            f"{100 * row['standard_error']:.1f}, constant depth on {constant['error']:.1%} ± "
            f"{100 * constant['standard_error']:.1f}: {_verdict(row)}. {_time(row)}"
        )
    return " ".join(sentences)


def _verdict(row):
    found = f"{pairs.points(row)} points, {pairs.p_equation(row['p'])}"
    if row["p"] >= pairs.SIGNIFICANT:
        return f"these images show no difference ({found})"
    return f"{'more' if row['difference'] > 0 else 'fewer'} errors ({found})"


def _time(row):
    change = f"{abs(1 - row['time']):.0%} {'less' if row['time'] < 1 else 'more'}"
    saved = f"{duration(abs(row['saved_seconds']))} {'saved' if row['saved_seconds'] > 0 else 'lost'}"
    return (
        f"A step takes {change} time, where the units that ran are {row['flops']:.0%} of the FLOPs; over "
        f"{counted(row['steps'], 'step')} that is {saved}."
    )


def _signed_duration(seconds):
    text = duration(abs(seconds))
    return f"-{text}" if seconds < 0 and text != duration(0) else text
