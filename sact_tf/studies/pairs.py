"""Two networks on the same images: is the difference of their scores more than chance?"""

import math

import numpy as np

# A p below it is called a difference.
SIGNIFICANT = 0.05


def mcnemar(scores, others):
    """p of McNemar's exact test (McNemar 1947): could each image that the two disagree on have gone either way?

    Args:
        scores, others: float `(images,)` of the two networks; for classification 1 where it was right, 0 elsewhere.
            Of other scores it is the sign test of the pairs.

    Returns:
        float in (0, 1], two-sided. Without a disagreement it is 1.
    """
    better, worse = int(np.sum(scores > others)), int(np.sum(scores < others))
    disagreements, fewer = better + worse, min(better, worse)
    # The tail of Binomial(disagreements, 1/2), in whole numbers: a float has no room for 2 ** 2000.
    term = tail = 1
    for count in range(1, fewer + 1):
        term = term * (disagreements - count + 1) // count
        tail += term
    return min(1.0, 2 * tail / 2**disagreements)


def of_several_draws(values):
    """One p for all draws of a kind: with n draws, n / k times the k-th smallest of theirs, k being half of n.

    It holds however the draws depend on each other (Rüger 1978); they share their images. Of one draw it is its own.

    Args:
        values: floats, the p of each draw.
    """
    half = math.ceil(len(values) / 2)
    return min(1.0, len(values) / half * sorted(values)[half - 1])


def compare(draws, others):
    """How a network that was drawn several times compares with another one.

    Args:
        draws: list of float `(images,)`, the scores of each draw.
        others: float `(images,)`, those of the other network on the same images; or a list of such, one for each draw.

    Returns:
        dict of floats: `score`, the mean; `standard_error` of it, over images; `spread`, the standard deviation of the
        draws' means, 0 of one draw; `difference` to the other network, `difference_standard_error`, of the pairs; `p`.
    """
    draws = np.asarray(draws, float)
    others = np.broadcast_to(np.asarray(others, float), draws.shape)
    mean, differences = draws.mean(0), (draws - others).mean(0)
    return {
        "score": float(mean.mean()),
        "standard_error": standard_error(mean),
        "spread": float(draws.mean(1).std(ddof=1)) if len(draws) > 1 else 0.0,
        "difference": float(differences.mean()),
        "difference_standard_error": standard_error(differences),
        "p": of_several_draws([mcnemar(*pair) for pair in zip(draws, others, strict=True)]),
    }


def points(compared):
    """The difference that `compare` found as text, in points, with its standard error."""
    return f"{100 * compared['difference']:+.2f} ± {100 * compared['difference_standard_error']:.2f}"


def p_text(value):
    """A p as text, such as ".012"; "< .001" below that."""
    return "< .001" if value < 0.001 else f"{value:.3f}".removeprefix("0")


def p_equation(value):
    """A p as text of a sentence, such as "p = .012", or "p < .001"."""
    text = p_text(value)
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def standard_error(values):
    """Float, that of the mean of values `(images,)`; 0 for a single one, which says nothing of how they vary."""
    return float(np.std(values, ddof=1) / math.sqrt(len(values))) if len(values) > 1 else 0.0
