"""Metrics of saliency maps, as the MIT saliency benchmark defines them (Bylinskii et al., code_forMetrics).

All take maps `(height, width)` of one size, of any numbers, and compute in float64. NaN is what a metric is where it
has no meaning: of a map without contrast nothing can be ranked, and without fixations there is nothing to predict.
"""

import numpy as np

# MATLAB's `eps`, which the benchmark adds within logarithms and divisions.
_EPSILON = 2.0**-52
METRICS = ("auc_judd", "nss", "cc", "similarity", "kl_divergence", "information_gain")


def auc_judd(saliency_map, fixation_map):
    """Area under the curve of Judd et al. (2009), without jitter: is the map higher where people looked?

    Its thresholds are the map's values at the fixated pixels: at the i-th highest, i fixated pixels are found, and
    the others that are as high are false alarms. The map is sorted once, whatever the number of fixations.

    Args:
        saliency_map: `(height, width)`, finite; higher is more salient.
        fixation_map: `(height, width)`, non-zero where somebody looked; how often does not count. With an axis before
            these, several of them, such as those of other pictures; the map is still sorted once.

    Returns:
        float in [0, 1], .5 for chance; NaN for a map without contrast, or without fixations. Of several fixation maps
        float64 `(maps,)`.

    Raises:
        ValueError: for maps of different sizes, or a map with NaN or infinity.
    """
    fixation_map = np.asarray(fixation_map)
    several = fixation_map.ndim == 3
    if several and not np.isfinite(fixation_map).all():
        raise ValueError("Fixation maps must be finite, and one has NaN or infinity in it.")
    if several and len(fixation_map) == 0:
        return np.zeros(0)
    values, first = _pair(saliency_map, fixation_map[0] if several else fixation_map)
    if _is_constant(values):
        return np.full(len(fixation_map), np.nan) if several else float("nan")
    ordered = np.sort(values, axis=None)
    if not several:
        return _area(ordered, values[first])
    return np.array([_area(ordered, values[np.asarray(each) != 0]) for each in fixation_map])


def nss(saliency_map, fixation_map):
    """Normalized scanpath saliency (Peters et al. 2005): how many standard deviations the map is higher at fixations.

    Arguments, NaN and errors as of `auc_judd`; 0 is chance.
    """
    values, fixated = _pair(saliency_map, fixation_map)
    if not fixated.any() or _is_constant(values):
        return float("nan")
    return float((values[fixated].mean() - values.mean()) / values.std(ddof=1))


def cc(saliency_map, density):
    """Pearson's correlation of a map with the density of fixations.

    Args:
        saliency_map, density: `(height, width)`, finite; see `fixation_density`.

    Returns:
        float in [-1, 1]; NaN where either has no contrast.

    Raises:
        ValueError: as `auc_judd`.
    """
    values, density = _pair(saliency_map, density, float)
    if _is_constant(values) or _is_constant(density):
        return float("nan")
    values, density = values - values.mean(), density - density.mean()
    variances = np.sum(values**2) * np.sum(density**2)
    return float(np.sum(values * density) / np.sqrt(variances))


def similarity(saliency_map, density):
    """What two maps have in common, both scaled from 0 on and to the sum 1: the sum of the smaller values.

    Arguments and errors as of `cc`.

    Returns:
        float in [0, 1]; 0 where either is zero everywhere, NaN where either has no contrast otherwise.
    """
    parts = []
    for values in _pair(saliency_map, density, float):
        if _is_constant(values):
            parts.append(np.full_like(values, np.nan) if values.any() else values)
            continue
        values = values - values.min()
        parts.append(values / values.sum())
    return float(np.minimum(*parts).sum())


def kl_divergence(saliency_map, density):
    """Kullback and Leibler's divergence of a map from the density of fixations, in nats; both are scaled to the sum 1.

    Arguments and errors as of `cc`; negative values have no meaning here.

    Returns:
        float, 0 for a map that is the density, and more the worse it is; 0 without fixations.
    """
    predicted, density = (
        values / values.sum() if values.any() else values for values in _pair(saliency_map, density, float)
    )
    # Elsewhere a term is 0 times a logarithm, and most of the picture is elsewhere.
    there = density != 0
    predicted, density = predicted[there], density[there]
    return float(np.sum(density * np.log(_EPSILON + density / (predicted + _EPSILON))))


def information_gain(saliency_map, fixation_map, baseline):
    """How much better than a baseline a map tells a fixation, in bits (Kümmerer et al. 2014).

    Args:
        saliency_map, fixation_map: as of `auc_judd`.
        baseline: `(height, width)`, finite, such as `centre_prior`; both are scaled from 0 on and to the sum 1.

    Returns:
        float, above 0 where the map is better; NaN where either has no contrast, or without fixations.

    Raises:
        ValueError: as `auc_judd`.
    """
    values, fixated = _pair(saliency_map, fixation_map)
    baseline, _ = _pair(baseline, fixation_map)
    if not fixated.any() or _is_constant(values) or _is_constant(baseline):
        return float("nan")
    gains = [np.log2(_EPSILON + _share(each, fixated)) for each in (values, baseline)]
    return float(np.mean(gains[0] - gains[1]))


def score(saliency_map, fixation_map, density, baseline):
    """All of `METRICS` as a dict of floats; arguments and errors as above."""
    return {
        "auc_judd": auc_judd(saliency_map, fixation_map),
        "nss": nss(saliency_map, fixation_map),
        "cc": cc(saliency_map, density),
        "similarity": similarity(saliency_map, density),
        "kl_divergence": kl_divergence(saliency_map, density),
        "information_gain": information_gain(saliency_map, fixation_map, baseline),
    }


def _area(ordered, fixated):
    """`auc_judd` of all values of a map, rising, and of those at fixations."""
    if not len(fixated):
        return float("nan")
    found = np.arange(1, len(fixated) + 1)
    at_least = len(ordered) - np.searchsorted(ordered, np.sort(fixated)[::-1], side="left")
    others = len(ordered) - len(fixated)
    # Where all pixels are fixated there is nothing to be wrong about.
    false = (at_least - found) / others if others else np.zeros(len(fixated))
    return float(np.trapezoid(np.r_[0.0, found / len(fixated), 1.0], np.r_[0.0, false, 1.0]))


def _share(values, fixated):
    """What fixated pixels have of a map that is scaled from 0 on and to the sum 1."""
    least = values.min()
    return (values[fixated] - least) / (values.sum() - least * values.size)


def _is_constant(values):
    return values.min() == values.max()


def _pair(saliency_map, other, kind=bool):
    """A map as float64, and what it is compared with as `kind`; both checked."""
    values, other = np.asarray(saliency_map, np.float64), np.asarray(other)
    if values.ndim != 2 or values.shape != other.shape or not values.size:
        raise ValueError(
            "A saliency map and what it is compared with must be of one size, (height, width). Enlarge the smaller one "
            f"first. Received: shapes {values.shape} and {other.shape}"
        )
    if not np.isfinite(values).all() or not np.isfinite(other).all():
        raise ValueError("A saliency map and what it is compared with must be finite; one has NaN or infinity in it.")
    return _near_one(values), other != 0 if kind is bool else _near_one(other.astype(np.float64))


def _near_one(values):
    """A map whose largest number is from .5 to 1, so that no square of one is lost; to powers of two, thus exactly."""
    return np.ldexp(values, -np.frexp(np.abs(values).max())[1])
