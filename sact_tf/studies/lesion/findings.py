"""The paragraphs of a lesion study, written from its figures: what was measured, and what is beyond its errors."""

import itertools

import numpy as np

from sact_tf.studies.lesion.outcomes import Estimate, over_draws, over_images, path_rows_of

# Part of the gradient that the sentence on paths calls nearly all of it.
MOST = 0.95
# Part of the units whose deletion networks are compared by; with more gone, all of them read nothing any more.
COMPARED = 0.25


def paragraph(outcome, score):
    """Text on one network; `score` is what the task's score is called."""
    whole = over_images(outcome.whole.score)
    sentences = [
        f"{outcome.network} has {outcome.depth} units and reads {whole} % ({score}, ± one standard error over "
        f"{len(outcome.whole.score)} images)."
    ]
    for write in (_single, _random, _reordered, _gradient):
        sentences += write(outcome)
    return " ".join(sentences)


def comparison(outcomes, score):
    """Text on several networks, each against the first: which is less hurt, and whether that is beyond the errors."""
    first, *others = outcomes
    sentences = []
    for other in others:
        for what, lost, difference in _differences(first, other):
            left = [
                f"{outcome.network} {estimate} ({outcome.whole.score.mean() - estimate.mean:.1%} are left)"
                for outcome, estimate in zip((first, other), lost, strict=True)
            ]
            sentences.append(f"In points of {score}, {what} costs {' and '.join(left)}: ")
            sentences[-1] += _verdict(first, other, difference)
    if sentences:
        sentences.append(
            "A network that reads less when whole, or nothing any more, has less to lose. Errors are over images and "
            "draws; each network was trained once, and another seed may give another order."
        )
    return " ".join(sentences)


def _single(outcome):
    pairs = outcome.of("delete")
    if not pairs:
        return
    losses = [over_images(outcome.lost([pair])) for pair in pairs]
    worst = max(range(len(pairs)), key=lambda number: losses[number].mean)
    unit = outcome.unit_of(pairs[worst][0])
    which = f"unit {unit[1]} of {unit[0]}, which {_changes(unit in outcome.changing)} the shape"
    harmless = sum(not (loss.is_beyond_errors and loss.mean > 0) for loss in losses)
    median = 100 * float(np.median([loss.mean for loss in losses]))
    yield (
        f"Deleting one unit costs {median:.2f} points in the median and {losses[worst]} at worst ({which}); "
        f"{harmless} of {len(pairs)} deletions cost nothing beyond two standard errors."
    )
    changing = [pair for pair in pairs if outcome.unit_of(pair[0]) in outcome.changing]
    others = [pair for pair in pairs if outcome.unit_of(pair[0]) not in outcome.changing]
    if not changing or not others:
        return
    left, right = outcome.lost(changing), outcome.lost(others)
    difference = over_images(left - right)
    more = "more" if difference.mean > 0 else "less"
    yield (
        f"Units that change the shape cost {over_images(left)} points on average, the others {over_images(right)}: "
        + (f"{more}, beyond two standard errors." if difference.is_beyond_errors else "no difference beyond errors.")
    )


def _random(outcome):
    counts = outcome.counts("delete_random")
    if not counts:
        return
    chosen = sorted({counts[0], counts[len(counts) // 2], counts[-1]})
    pairs = {count: outcome.of("delete_random", count) for count in counts}
    costs = ", ".join(f"{count} cost {over_draws(outcome, pairs[count])}" for count in chosen)
    flops = np.mean([measured.flops for _, measured in pairs[counts[-1]]])
    yield (
        f"Of units deleted at random, {costs} points (mean over {len(pairs[counts[0]])} draws ± standard error over "
        f"draws and images); with {counts[-1]} gone {flops / outcome.whole.flops:.0%} of the FLOPs are left."
    )
    means = {count: over_draws(outcome, pairs[count]) for count in counts}
    steps = [
        (means[after].mean - means[before].mean) / (after - before) for before, after in itertools.pairwise(counts)
    ]
    if steps:
        average = (means[counts[-1]].mean - means[counts[0]].mean) / (counts[-1] - counts[0])
        yield (
            f"From {counts[0]} to {counts[-1]} each further unit costs {100 * average:.2f} points on average, and "
            f"nowhere more than {100 * max(steps):.2f}."
        )


def _reordered(outcome):
    counts = outcome.counts("reorder")
    if not counts:
        return
    taus = {
        count: np.mean([lesion.kendall_tau(outcome.units) for lesion, _ in outcome.of("reorder", count)])
        for count in counts
    }
    parts = []
    for count in dict.fromkeys((counts[0], min(counts, key=taus.get))):
        cost = over_draws(outcome, outcome.of("reorder", count))
        parts.append(f"{count} {'swap' if count == 1 else 'swaps'} (Kendall's tau {taus[count]:.2f}) cost {cost}")
    hurts = cost.is_beyond_errors and cost.mean > 0
    yield (
        f"Of pairs that change places, {' and '.join(parts)} points: reordering "
        f"{'hurts' if hurts else 'does not hurt'} beyond two standard errors."
    )


def _gradient(outcome):
    rows = path_rows_of(outcome)
    if not rows or not any(row["gradient"] for row in rows):
        return
    first, last = _narrowest([row["share_of_gradient"] for row in rows])
    carried = sum(row["share_of_gradient"] for row in rows[first : last + 1])
    share = sum(row["share_of_paths"] for row in rows[first : last + 1])
    mean = sum(row["length"] * row["share_of_gradient"] for row in rows)
    yield (
        f"Paths of {first} to {last} units carry {carried:.1%} of the gradient at the input, and are {share:.2%} of "
        f"all 2^{outcome.depth} paths; the gradient's mean length is {mean:.2f} units, that of the paths "
        f"{outcome.depth / 2:g}."
    )
    known = [(row["length"], np.log(row["gradient"])) for row in rows if row["gradient"] > 0]
    if len(known) > 1:
        slope = np.polyfit(*zip(*known, strict=True), 1)[0]
        yield f"With each further unit the gradient of a path is about {np.exp(slope):.2g} times as large."


def _narrowest(shares):
    """First and last index of the fewest neighbours that have `MOST` of the whole, and of these the most."""
    sums = np.concatenate([[0.0], np.cumsum(shares)])
    for width in range(1, len(shares) + 1):
        held = sums[width:] - sums[:-width]
        if held.max() >= min(MOST, sums[-1]) - 1e-12:
            return int(held.argmax()), int(held.argmax()) + width - 1
    return 0, len(shares) - 1


def _differences(first, other):
    """Yields what is done, the `Estimate`s of what it costs both, and that of the difference."""
    if first.of("delete") and other.of("delete"):
        lost = [outcome.lost(outcome.of("delete")) for outcome in (first, other)]
        yield "deleting one unit", [over_images(each) for each in lost], _difference(*lost)
    shared = _shared_part(first, other)
    if shared:
        pairs = [outcome.of("delete_random", count) for outcome, count in zip((first, other), shared[1], strict=True)]
        costs = [over_draws(outcome, each) for outcome, each in zip((first, other), pairs, strict=True)]
        # Draws of two networks are not of the same units in general, so their errors add up.
        difference = Estimate(costs[1].mean - costs[0].mean, float(np.hypot(costs[0].error, costs[1].error)))
        yield f"deleting {shared[0]} at random", costs, difference


def _difference(first, other):
    if len(first) == len(other):
        return over_images(other - first)
    a, b = over_images(first), over_images(other)
    return Estimate(b.mean - a.mean, float(np.hypot(a.error, b.error)))


def _shared_part(first, other):
    """A number of deleted units that both networks have draws of, near a quarter: text, and the two counts."""
    if first.depth == other.depth:
        both = sorted(set(first.counts("delete_random")) & set(other.counts("delete_random")))
        if not both:
            return None
        count = min(both, key=lambda each: abs(each - first.depth * COMPARED))
        return f"{count} of {first.depth} units", (count, count)
    pairs = [
        (abs(a / first.depth - b / other.depth), abs(a / first.depth - COMPARED), a, b)
        for a in first.counts("delete_random")
        for b in other.counts("delete_random")
    ]
    if not pairs:
        return None
    *_, a, b = min(pairs)
    return f"{a} of {first.depth} units, and {b} of {other.depth},", (a, b)


def _verdict(first, other, difference):
    if not difference.is_beyond_errors:
        return f"the difference, {Estimate(abs(difference.mean), difference.error)}, is within two standard errors."
    less = other if difference.mean < 0 else first
    return (
        f"{less.network} is less hurt, by {Estimate(abs(difference.mean), difference.error)}, which is beyond two "
        "standard errors."
    )


def _changes(whether):
    return "changes" if whether else "keeps"
