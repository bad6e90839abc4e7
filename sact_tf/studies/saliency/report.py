"""What came out: tables, figures, and sentences that say no more than the figures do."""

import os

import numpy as np

from sact_tf import saliency
from sact_tf.command_line.photographs import usable
from sact_tf.progress import counted
from sact_tf.studies import pairs, runs
from sact_tf.studies.saliency.pictures import CHOICE_SIZE, HALVES
from sact_tf.studies.saliency.scoring import OBSERVER, PRIOR, SHUFFLED, SHUFFLED_KIND, WITH_PRIOR
from sact_tf.visualize import saliency_charts

# A difference of so many of its standard errors is said to be one.
_ERRORS = 2
# Pictures that differ from each other: one has no standard error.
_FEWEST = 2
# Pictures of each of the best, the middle and the worst.
_SHOWN = 3


def table(scores):
    """Rows of `saliency.csv`: of each kind of map the means over pictures, with their standard errors.

    Args:
        scores: list of dicts, as `Scorer.score` returns them.
    """
    names = list(dict.fromkeys(name for each in scores for name in each))
    return [_row(name, scores) for name in names]


def values_of(scores, name, metric):
    """Scores of all pictures in one metric, float64 `(pictures,)`, NaN where there is none."""
    return np.array([each.get(name, {}).get(metric, np.nan) for each in scores], float)


def difference(scores, name, other, metric="auc_judd"):
    """How much better maps are than others on the same pictures.

    Returns:
        `(mean, standard error, p of the sign test)`, floats, over the pictures that both have a score of; None if
        there are fewer than two, of which it has no standard error.
    """
    both = np.stack([values_of(scores, each, metric) for each in (name, other)])
    # Rounding, where both are the same map, is no difference.
    both = np.round(both[:, np.isfinite(both).all(0)], 9)
    if both.shape[1] < _FEWEST:
        return None
    compared = pairs.compare(both[:1], both[1])
    return compared["difference"], compared["difference_standard_error"], compared["p"]


def _row(name, scores):
    row = {"map": name, "pictures": int(np.isfinite(values_of(scores, name, "auc_judd")).sum())}
    for metric in saliency.METRICS:
        values = values_of(scores, name, metric)
        values = values[np.isfinite(values)]
        row[metric] = float(values.mean()) if len(values) else ""
        row[f"{metric}_standard_error"] = pairs.standard_error(values) if len(values) >= _FEWEST else ""
    compared = difference(scores, name, PRIOR)
    names = ("auc_judd_minus_prior", "auc_judd_minus_prior_standard_error", "auc_judd_minus_prior_p")
    return {**row, **dict(zip(names, compared or ("", "", ""), strict=True))}


def picture_rows(pictures, scores, choices):
    """Rows of `images.csv`: every kind of map of every picture."""
    rows = []
    for picture, each in zip(pictures, scores, strict=True):
        viewed = picture.viewed
        for name, values in each.items():
            kind = name.removesuffix(WITH_PRIOR).replace(SHUFFLED, SHUFFLED_KIND)
            choice = choices[picture.half].get(kind)
            mixed = name.endswith(WITH_PRIOR)
            rows.append(
                {
                    "image": usable(viewed.name),
                    "group": usable(viewed.group),
                    "half": picture.half,
                    "fixations": len(viewed.points),
                    "map": name,
                    "sigma": "" if choice is None else choice.sigma if mixed else choice.alone,
                    "centre_weight": choice.centre_weight if choice and mixed else "",
                    **{metric: "" if np.isnan(value) else value for metric, value in values.items()},
                }
            )
    return rows


def lines_of(rows):
    """The table as lines of text."""
    lines = ["| map | pictures | AUC-Judd | NSS | CC | SIM | KL | IG, bits |", "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        figures = [_figure(row, metric) for metric in saliency.METRICS]
        lines.append(f"| {row['map']} | {row['pictures'] or '-'} | {' | '.join(figures)} |")
    return lines


def _figure(row, metric):
    if row[metric] == "":
        return "-"
    error = row[f"{metric}_standard_error"]
    return f"{row[metric]:.4f}" + (f" ± {error:.4f}" if error != "" else "")


def paragraphs(data, scores, choices, spent):
    """List of texts, what the figures say.

    Args:
        data: `Fixations`.
        scores, choices: as above.
        spent: what `collapse` returned, or None without a network.
    """
    total = data.total - data.outside
    texts = [
        f"{len(scores)} of {len(data.images)} pictures with {total} fixations; left out: "
        f"{counted(data.outside, 'fixation')} outside and {counted(len(data.without), 'picture')} without any."
    ]
    for kind in choices[HALVES[0]]:
        chosen = [
            f"on the {half} half {choice.alone:g} pixels alone, {choice.sigma:g} pixels and centre weight "
            f"{choice.centre_weight:g} with the prior"
            for half in HALVES
            for choice in [choices[half][kind]]
        ]
        texts.append(f"{kind}, chosen on the other half: {'; '.join(chosen)}.")
    if spent:
        texts.append(spent)
    compared = []
    for kind in choices[HALVES[0]]:
        if all(choices[half][kind].centre_weight == 1 for half in HALVES):
            texts.append(f"{kind} has no part in {kind}{WITH_PRIOR}, whose weight of the prior is 1 on both halves.")
            continue
        compared.append((kind + WITH_PRIOR, PRIOR))
        if kind == SHUFFLED_KIND:
            compared.append((kind + WITH_PRIOR, SHUFFLED + WITH_PRIOR))
    compared.append((SHUFFLED_KIND, SHUFFLED))
    texts += [text for names in compared if (text := _comparison(scores, *names))]
    if not data.observers_known:
        texts.append(f"It is not known whose fixations are whose, so there is no row of {OBSERVER}.")
    return texts


def _comparison(scores, name, other):
    found = difference(scores, name, other)
    if found is None:
        return None
    mean, error, p = found
    if abs(mean) <= _ERRORS * error or (mean == 0 and error == 0):
        verdict = f"within {_ERRORS} standard errors of none"
    else:
        verdict = f"{'better' if mean > 0 else 'worse'} by more than {_ERRORS} standard errors"
    return (
        f"AUC-Judd of {name} minus that of {other}, over the same pictures: {mean:+.4f} ± {error:.4f}, {verdict}; "
        f"p of the sign test {p:.2g}."
    )


def collapse(network, pictures):
    """Sentence on what the network spent, and on maps that show nothing."""
    flat, shares, units = 0, [], []
    for picture in pictures:
        height, width = picture.size(CHOICE_SIZE)
        values = network.of(picture, SHUFFLED_KIND, height, width)
        flat += bool(np.ptp(values) <= 1e-6 * np.abs(values).max())
        share, by_block = network.spent(picture)
        shares.append(share)
        units.append(by_block)
    means = ", ".join(f"{name} {np.mean([each[name] for each in units]):.2f}" for name in units[0])
    text = f"The network spent {np.mean(shares):.1%} of its FLOPs; mean units by block: {means}."
    if flat:
        text += f" Of {flat} of {len(pictures)} pictures its map has no contrast: "
        # All that it has, and one unit of each block.
        if min(shares) == 1 and all(value == 1 for each in units for value in each.values()):
            return text + "every block has one unit, so nothing ever halts. Take a network of more units."
        text += "all positions halt alike, as happens on pictures of another size than it learned from. Try another "
        text += "--image_size."
    return text


def write(run_dir, pictures, scores, choices, rows, texts, scorer):
    """Writes all files of the study; arguments as above."""
    path = os.path.join(run_dir, "saliency")
    runs.write_table(f"{path}.csv", rows)
    runs.write_table(os.path.join(run_dir, "images.csv"), picture_rows(pictures, scores, choices))
    runs.save_figure(saliency_charts.scores(rows), path)
    with (
        runs.written(f"{path}.txt") as temporary,
        open(temporary, "w", encoding="utf-8", errors="backslashreplace") as file,
    ):
        file.write("\n\n".join(texts) + "\n")
    kind = next(kind for kind in (SHUFFLED_KIND, "contrast") if kind in choices[HALVES[0]])
    shown = extremes(values_of(scores, kind, "auc_judd"))
    if not shown:
        return
    groups = {
        name: [_shown(pictures, scores, scorer, kind, place) for place in places] for name, places in shown.items()
    }
    picture = saliency_charts.examples(groups, kind)
    with runs.written(f"{path}_images.png") as temporary:
        saliency_charts.save_png(picture, temporary)


def extremes(areas):
    """Dict from "best", "middle" and "worst" to places of a few pictures each; empty without any score."""
    order = np.argsort(-areas, kind="stable")
    order = order[np.isfinite(areas[order])]
    if not len(order):
        return {}
    count = min(_SHOWN, max(1, len(order) // 3))
    start = (len(order) - count) // 2
    return {"best": order[:count], "middle": order[start : start + count], "worst": order[-count:]}


def _shown(pictures, scores, scorer, kind, place):
    picture = pictures[place]
    title = f"{picture.viewed.name}, {scores[place][kind]['auc_judd']:.3f}"
    values = scorer.prediction(place, kind)
    points = picture.viewed.points
    return picture.image(), points, values, title
