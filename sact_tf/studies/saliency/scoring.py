"""Scores every picture: maps alone and mixed with the centre prior, and what they have to be compared with."""

import collections

import numpy as np

from sact_tf import saliency
from sact_tf.studies.saliency.pictures import HALVES, with_progress

PRIOR, CONSTANT, SHUFFLED, OBSERVER = "centre prior", "constant", "shuffled", "one observer"
WITH_PRIOR = " + prior"
# The kind whose maps are shuffled.
SHUFFLED_KIND = "ponder_cost"
# Observers of a picture that can be compared.
_FEWEST_OBSERVERS = 2


class Scorer:
    """Scores of pictures, kept on disk.

    Args:
        pictures: list of `Picture`.
        kinds: as of `choosing.choose`.
        network: `NetworkMaps`, or None.
        choices: as `choosing.choose` returns them.
        settings: `Settings`.
        store: `Store`.
    """

    def __init__(self, pictures, kinds, network, choices, settings, store):
        self._pictures, self._kinds, self._network = pictures, kinds, network
        self._choices, self._settings, self._store = choices, settings, store
        self._others = _others(pictures, settings.shuffles) if network else {}
        # Of maps at the size of a picture there is room for few, and each is used for some pictures in a row.
        self._blurred = collections.OrderedDict()

    def score(self, log):
        """List of dicts, one a picture: from names of rows to dicts from metrics to floats, means where of several."""
        missing = [place for place in self._order() if self._read(place) is None]
        for place in with_progress(missing, "pictures scored", log):
            self._store.write(self._name(place), self._scores(place), **self._inputs(place))
        return [self._read(place) for place in range(len(self._pictures))]

    def prediction(self, place, kind):
        """The map of a kind alone as it is scored, float64 `(height, width)` in [0, 1]."""
        picture = self._pictures[place]
        (height, width), share = self._size(picture)
        values = saliency.reduce_map(self._kinds[kind](picture), height, width)
        return saliency.scaled(saliency.blur(values, share * self._choices[picture.half][kind].alone))

    def _size(self, picture):
        """Height and width that a picture is scored at, and how many of these pixels are one of its own."""
        size = picture.size(self._settings.score_size)
        return size, size[0] / picture.viewed.height

    def _density_sigma(self, picture):
        return self._size(picture)[1] * self._settings.density_of(picture.viewed.width)

    def _scores(self, place):
        picture = self._pictures[place]
        (height, width), share = self._size(picture)
        fixated, prior = picture.fixated(height, width), saliency.centre_prior(height, width)
        density = saliency.fixation_density(fixated, self._density_sigma(picture))

        def score(values):
            # A map without contrast, which scaling makes zero, says as much as a constant one.
            return saliency.score(values if values.any() else np.ones_like(values), fixated, density, prior)

        rows = {CONSTANT: score(np.ones((height, width))), PRIOR: score(prior)}
        for kind, make in self._kinds.items():
            choice, values = self._choices[picture.half][kind], saliency.reduce_map(make(picture), height, width)
            blurred = {
                sigma: saliency.scaled(saliency.blur(values, share * sigma)) for sigma in {choice.alone, choice.sigma}
            }
            rows[kind] = score(blurred[choice.alone])
            rows[kind + WITH_PRIOR] = score(saliency.mix(blurred[choice.sigma], prior, choice.centre_weight))
        rows.update(self._shuffled(place, prior, score))
        rows.update(self._observers(picture, prior))
        return rows

    def _shuffled(self, place, prior, score):
        if not self._network:
            return {}
        picture = self._pictures[place]
        choice, share = self._choices[picture.half][SHUFFLED_KIND], self._size(picture)[1]
        alone, mixed = [], []
        for other in self._others[place]:
            alone.append(score(self._other(other, prior.shape, share * choice.alone)))
            blurred = self._other(other, prior.shape, share * choice.sigma)
            mixed.append(score(saliency.mix(blurred, prior, choice.centre_weight)))
        return {SHUFFLED: _mean(alone), SHUFFLED + WITH_PRIOR: _mean(mixed)}

    def _other(self, place, shape, sigma):
        """The blurred map of another picture at the size of one."""
        key = place, shape, sigma
        if key not in self._blurred:
            values = self._network.of(self._pictures[place], SHUFFLED_KIND, *shape)
            self._blurred[key] = saliency.scaled(saliency.blur(values, sigma))
            while len(self._blurred) > 2 * self._settings.shuffles + 2:
                self._blurred.popitem(last=False)
        return self._blurred[key]

    def _observers(self, picture, prior):
        """How well the others of a picture predict each of its observers."""
        share = prior.shape[1] / picture.viewed.width, prior.shape[0] / picture.viewed.height
        points = [observer * share for observer in picture.viewed.observers if len(observer)]
        if len(points) < _FEWEST_OBSERVERS:
            return {}
        scores, sigma = [], self._density_sigma(picture)
        for place, own in enumerate(points):
            others = np.concatenate(points[:place] + points[place + 1 :])
            predicted = saliency.fixation_density(saliency.fixation_map(others, *prior.shape)[0], sigma)
            fixated = saliency.fixation_map(own, *prior.shape)[0]
            scores.append(saliency.score(predicted, fixated, saliency.fixation_density(fixated, sigma), prior))
        return {OBSERVER: _mean(scores)}

    def _order(self):
        """Places of pictures so that those that share a shuffled map come one after the other."""
        return list(self._others) or range(len(self._pictures))

    def _name(self, place):
        return f"scores_{place:05d}"

    def _inputs(self, place):
        picture = self._pictures[place]
        return {
            "picture": [picture.digest, picture.fixated_digest],
            "others": [self._pictures[other].digest for other in self._others.get(place, [])],
            "choices": self._choices[picture.half],
            "density_sigma": self._density_sigma(picture),
            "size": self._size(picture)[0],
        }

    def _read(self, place):
        return self._store.read(self._name(place), **self._inputs(place))


def _others(pictures, count):
    """Dict from the place of each picture to those of others of its half: the ones before it in a random order."""
    others = {}
    for number, half in enumerate(HALVES):
        places = [place for place, picture in enumerate(pictures) if picture.half == half]
        order = np.random.default_rng(number).permutation(places).tolist()
        for turn, place in enumerate(order):
            before = [order[turn - step] for step in range(min(count, len(order) - 1), 0, -1)]
            others[place] = before
    return others


def _mean(scores):
    """Dict of the means of scores; NaN where all are."""
    means = {}
    for name in saliency.METRICS:
        values = [each[name] for each in scores if not np.isnan(each[name])]
        means[name] = float(np.mean(values)) if values else float("nan")
    return means
