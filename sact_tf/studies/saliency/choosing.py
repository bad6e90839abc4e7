"""Which blur and which weight of the centre prior: what is best on one half of the pictures is used on the other."""

from typing import NamedTuple

import numpy as np

from sact_tf import saliency
from sact_tf.studies.saliency.pictures import CHOICE_SIZE, HALVES, with_progress

# What a map without contrast is worth in the choice.
_CHANCE = 0.5


class Choice(NamedTuple):
    """How maps of a kind are made for the pictures of a half.

    Attributes:
        alone: float, the blur of a map without the prior, in pixels of the picture.
        sigma: float, the blur of one that is mixed with it.
        centre_weight: float.
    """

    alone: float
    sigma: float
    centre_weight: float


def choose(pictures, kinds, settings, store, log):
    """Tries all blurs and weights on all pictures, at a small size, by AUC-Judd.

    Args:
        pictures: list of `Picture`.
        kinds: dict from names of kinds of maps to functions from a picture to its map at its own size.
        settings: `Settings`.
        store: `Store` that keeps what was tried.
        log: called with lines of text.

    Returns:
        dict from a half to a dict from a kind to the `Choice`, made on the other half.
    """
    names = [f"choice_{number:05d}" for number in range(len(pictures))]
    more = [
        {
            "sigmas": settings.sigmas,
            "centre_weights": settings.centre_weights,
            "picture": [picture.digest, picture.fixated_digest],
        }
        for picture in pictures
    ]
    missing = [place for place, name in enumerate(names) if store.read(name, **more[place]) is None]
    for place in with_progress(missing, "blurs and weights tried on pictures", log):
        picture = pictures[place]
        found = {kind: _areas(picture, make(picture), settings) for kind, make in kinds.items()}
        store.write(names[place], found, **more[place])
    tried = [store.read(name, **each) for name, each in zip(names, more, strict=True)]
    chosen = {}
    for half in HALVES:
        other = [each for each, picture in zip(tried, pictures, strict=True) if picture.half != half]
        chosen[half] = {kind: _best(np.array([each[kind] for each in other]), settings) for kind in kinds}
    return chosen


def _areas(picture, values, settings):
    """AUC-Judd of a map for each blur (rows) and for no prior and each weight of it (columns), lists of floats."""
    height, width = picture.size(CHOICE_SIZE)
    share = height / picture.viewed.height
    reduced = saliency.reduce_map(values, height, width)
    fixated, prior = picture.fixated(height, width), saliency.centre_prior(height, width)
    rows = []
    for sigma in settings.sigmas:
        blurred = saliency.scaled(saliency.blur(reduced, share * sigma))
        mixed = [saliency.mix(blurred, prior, weight) for weight in (0.0, *settings.centre_weights)]
        rows.append([saliency.auc_judd(each, fixated) for each in mixed])
    return rows


def _best(areas, settings):
    """`Choice` of areas `(pictures, sigmas, 1 + weights)`; of equally good ones the least blur and weight."""
    means = np.nan_to_num(areas, nan=_CHANCE).mean(0)
    row, column = np.unravel_index(np.argmax(means[:, 1:]), means[:, 1:].shape)
    alone = settings.sigmas[int(np.argmax(means[:, 0]))]
    return Choice(alone, settings.sigmas[int(row)], settings.centre_weights[int(column)])
