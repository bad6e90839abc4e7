"""What a lesion study found of one network, as rows of its tables, and the numbers that its sentences are made of."""

from typing import NamedTuple

import numpy as np

from sact_tf.studies.lesion.gradient import shares_of_paths
from sact_tf.studies.lesion.lesions import Lesion
from sact_tf.studies.lesion.record import Measured
from sact_tf.studies.pairs import standard_error


class Outcome(NamedTuple):
    """One network and its lesions.

    Attributes:
        network: what it is called.
        config: its `SplitConfig`.
        units: dict from names of blocks to how many units they have.
        changing: units that change the shape, see `lesions.changing_shape`.
        whole: `Measured`, without a lesion.
        lesions: list of `(Lesion, Measured)`.
        gradients: dict from a length to the list of the norms of the gradients of paths of it; may be empty.
    """

    network: str
    config: object
    units: dict
    changing: set
    whole: Measured
    lesions: list
    gradients: dict

    @property
    def depth(self):
        """Units of the whole network."""
        return sum(self.units.values())

    def of(self, experiment, count=None):
        """The pairs of `lesions` of an experiment, and of a number of units or swaps."""
        return [
            (lesion, measured)
            for lesion, measured in self.lesions
            if lesion.experiment == experiment and count in (None, lesion.count)
        ]

    def counts(self, experiment):
        """The numbers of units, or swaps, of an experiment, rising."""
        return sorted({lesion.count for lesion, _ in self.of(experiment)})

    def lost(self, pairs):
        """What the network loses by lesions, mean over them, for each image: float64 `(images,)`, a part of 1."""
        return np.mean([self.whole.score.astype(np.float64) - measured.score for _, measured in pairs], axis=0)

    def unit_of(self, lesion):
        """The `(name of block, number)` of the one unit that a lesion deletes."""
        return next((name, numbers[0]) for name, numbers in lesion.deleted.items() if numbers)

    def place_of(self, unit):
        """Which unit of the whole network one is, from 1 on."""
        name, number = unit
        names = list(self.units)
        return sum(self.units[before] for before in names[: names.index(name)]) + number


class Estimate(NamedTuple):
    """A number and its standard error, parts of 1; as text, in points."""

    mean: float
    error: float

    def __str__(self):
        return f"{100 * self.mean:.2f} ± {100 * self.error:.2f}"

    @property
    def is_beyond_errors(self):
        """Whether it differs from zero by more than two of its standard errors."""
        return abs(self.mean) > 2 * self.error


def over_images(values):
    """`Estimate` of the mean of values, one an image."""
    return Estimate(float(np.mean(values)), standard_error(values))


def over_draws(outcome, pairs):
    """`Estimate` of what is lost on average by lesions drawn at random: it varies with the draws and the images."""
    images = over_images(outcome.lost(pairs))
    draws = standard_error([float(outcome.lost([pair]).mean()) for pair in pairs])
    return Estimate(images.mean, float(np.hypot(images.error, draws)))


def rows_of(outcome, score):
    """Rows of `lesion.csv`; `score` is what the task's score is called."""
    return [_row(outcome, score, *pair) for pair in [(Lesion("whole"), outcome.whole), *outcome.lesions]]


def _row(outcome, score, lesion, measured):
    alone = lesion.experiment == "delete"
    unit = outcome.unit_of(lesion) if alone else None
    lost = over_images(outcome.lost([(lesion, measured)]))
    return {
        "network": outcome.network,
        "model_type": outcome.config.model.model_type,
        "model": outcome.config.model.model,
        "units": outcome.depth,
        "experiment": lesion.experiment,
        "count": lesion.count,
        "draw": lesion.draw,
        "lesion": lesion.name,
        "unit": outcome.place_of(unit) if alone else "",
        "changes_shape": int(unit in outcome.changing) if alone else "",
        "kendall_tau": lesion.kendall_tau(outcome.units),
        "images": len(measured.score),
        "flops": measured.flops,
        "lost": lost.mean,
        "lost_standard_error": lost.error,
        "standard_error": standard_error(measured.score),
        score: float(measured.score.mean(dtype=np.float64)),
    }


def path_rows_of(outcome):
    """Rows of `paths.csv`, one a length of paths."""
    if not outcome.gradients:
        return []
    shares = shares_of_paths(outcome.depth)
    means = np.array([np.mean(outcome.gradients[length]) for length in range(outcome.depth + 1)])
    products = shares * means
    whole = products.sum()
    return [
        {
            "network": outcome.network,
            "units": outcome.depth,
            "length": length,
            "share_of_paths": float(shares[length]),
            "gradient": float(means[length]),
            "gradient_standard_error": standard_error(outcome.gradients[length]),
            "share_of_gradient": float(products[length] / whole) if whole else 0.0,
        }
        for length in range(outcome.depth + 1)
    ]
