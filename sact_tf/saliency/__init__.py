"""How well a map tells where people look: the metrics of the MIT saliency benchmark, and the maps that they compare.

Pure functions of arrays `(height, width)`, in NumPy and SciPy:

    from sact_tf import saliency

    fixated, outside = saliency.fixation_map([(310.2, 120.9), (5.0, 7.5)], height=600, width=800)
    density = saliency.fixation_density(fixated, sigma=24)
    blurred = saliency.scaled(saliency.blur(ponder_map, sigma=20))
    predicted = saliency.mix(blurred, saliency.centre_prior(600, 800), centre_weight=0.5)
    saliency.auc_judd(predicted, fixated), saliency.cc(predicted, density)
"""

from sact_tf.saliency.maps import (
    blur,
    centre_prior,
    contrast,
    fixation_density,
    fixation_map,
    mix,
    reduce_map,
    scaled,
)
from sact_tf.saliency.metrics import (
    METRICS,
    auc_judd,
    cc,
    information_gain,
    kl_divergence,
    nss,
    score,
    similarity,
)

__all__ = [
    "METRICS",
    "auc_judd",
    "blur",
    "cc",
    "centre_prior",
    "contrast",
    "fixation_density",
    "fixation_map",
    "information_gain",
    "kl_divergence",
    "mix",
    "nss",
    "reduce_map",
    "scaled",
    "score",
    "similarity",
]
