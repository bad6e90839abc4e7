"""Rows, a table and a paragraph of what was measured."""

from sact_tf.config.models import METHODS
from sact_tf.progress import counted
from sact_tf.studies import pairs
from sact_tf.studies.lesion_resnet.measuring import ABOVE, BELOW, FINE_TUNED, MATCHED, OWN, PLAIN, WHOLE

# Share of the plain network's FLOPs above which there is hardly anything to place.
NOTHING_SAVED = 0.99
_WORTH = {"SACT": "where SACT computes", "ACT": "for which images ACT computes more"}
_MOVED = {
    "shuffled_maps": "with the {maps} of other images",
    "random_positions": "with its units at random positions",
    "random_images": "with depths drawn at random for each image",
    "mean_map": "with the mean map of the training images everywhere",
}


def rows_of(adaptive, measured, model_type, fine_tune_steps):
    """Rows of the table: the adaptive network, then each kind with all of its draws.

    Args:
        adaptive: dict of `Measurements.adaptive`.
        measured: list of pairs of an `Item` and its rows, see `Measurements.measure`.
        model_type: of the adaptive network.
        fine_tune_steps: int.

    Returns:
        list of dicts: `kind`, `weights`, `fine_tune_steps`, `match`, `draws`, `flops` (mean over images),
        `match_error`, and what `pairs.compare` says.
    """
    grouped = {}
    for item, results in measured:
        for result in results:
            grouped.setdefault((item.kind, item.weights, result["match"]), []).append(result)
    own = pairs.compare([adaptive["scores"]], adaptive["scores"])
    rows = [_row((model_type, OWN, ""), 0, 1, adaptive["flops"], 0.0, own)]
    for (kind, weights, match), results in grouped.items():
        compared = pairs.compare([result["scores"] for result in results], adaptive["scores"])
        flops = sum(result["flops"] for result in results) / len(results)
        error = max((result["match_error"] for result in results), key=abs)
        steps = fine_tune_steps if weights == FINE_TUNED else 0
        rows.append(_row((kind, weights, match), steps, len(results), flops, error, compared))
    return rows


def _row(names, steps, draws, flops, error, compared):
    kind, weights, match = names
    return {
        "kind": kind,
        "weights": weights,
        "fine_tune_steps": steps,
        "match": match,
        "draws": draws,
        "flops": flops,
        "match_error": error,
        **compared,
    }


def table(rows, score):
    """Lines of a Markdown table; `score` is what people call it."""
    yield f"| kind | weights | FLOPs, millions | {score} ± standard error | spread of draws | difference, points | p |"
    yield "|---|---|---|---|---|---|---|"
    for number, row in enumerate(rows):
        match = f", {row['match']}" if row["match"] in (BELOW, ABOVE) else ""
        off = f" ({row['match_error']:+.1%} in a block)" if row["match"] == MATCHED and number else ""
        spread = f"{100 * row['spread']:.2f} ({row['draws']})" if row["draws"] > 1 else "-"
        difference, p = (pairs.points(row), pairs.p_text(row["p"])) if number else ("-", "-")
        yield (
            f"| {row['kind']}{match} | {row['weights']} | {row['flops'] / 1e6:.2f}{off} "
            f"| {row['score']:.2%} ± {100 * row['standard_error']:.2f} | {spread} | {difference} | {p} |"
        )


def paragraph(rows, adaptive, score, left_out=()):
    """What the figures say, as text: whether the places where the network computes are worth anything.

    Args:
        rows: as of `rows_of`.
        adaptive: dict of `Measurements.adaptive`.
        score: what people call the score.
        left_out: kinds that the adaptive network has no maps for.
    """
    first, *others = rows
    name = METHODS[first["kind"]]
    matched = {(row["kind"], row["weights"]): row for row in others if row["match"] == MATCHED}
    share = 1 - adaptive["matched_flops"] / adaptive["flops"]
    sentences = [
        f"{name} has {score} {first['score']:.1%} on {len(adaptive['scores'])} images at {first['flops'] / 1e6:.1f} "
        f"million FLOPs, of which its halting branches are {share:.1%}; all others below spend what its units do."
    ]
    whole = next((row for row in others if row["kind"] == WHOLE), None)
    if whole:
        spent = adaptive["matched_flops"] / whole["flops"]
        nothing = ", so there is hardly anything to place" if spent > NOTHING_SAVED else ""
        sentences.append(
            f"That is {spent:.1%} of the plain network with all units, which has {whole['score']:.1%}{nothing}."
        )
    for kind, words in _MOVED.items():
        if (kind, OWN) in matched:
            maps = "maps" if name == "SACT" else "depths"
            sentences.append(_moved(matched[kind, OWN], words.format(maps=maps), name))
    for weights, words in ((PLAIN, "as it is"), (FINE_TUNED, "after {steps} of fine-tuning")):
        row = max((row for row in matched.values() if row["weights"] == weights), key=_score, default=None)
        if row:
            sentences.append(_best(row, words.format(steps=counted(row["fine_tune_steps"], "step"))))
    if left_out:
        sentences.append(f"{name} decides once an image, so it has no positions: {', '.join(left_out)} are left out.")
    return " ".join(sentences)


def _score(row):
    return row["score"]


def _moved(row, words, name):
    worth = -row["difference"]
    begin = f"The same network {words} has {row['score']:.1%} ({pairs.p_equation(row['p'])}):"
    if row["p"] >= pairs.SIGNIFICANT:
        return f"{begin} these images do not show that {_WORTH[name]} is worth anything against it."
    if worth < 0:
        return f"{begin} there it does better, by {-100 * worth:.1f} points."
    return f"{begin} against it, {_WORTH[name]} is worth {100 * worth:.1f} points."


def _best(row, words):
    found = f"{row['kind']} with {row['score']:.1%} ({pairs.p_equation(row['p'])})"
    begin = f"Of the plain network {words} the best is {found}:"
    if row["p"] >= pairs.SIGNIFICANT:
        return f"{begin} no difference to the adaptive one that these images show."
    more = "more" if row["difference"] > 0 else "less"
    return f"{begin} {100 * abs(row['difference']):.1f} points {more} than the adaptive one."
