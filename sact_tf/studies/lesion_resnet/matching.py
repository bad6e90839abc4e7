"""At the FLOPs of an adaptive network, block by block: how many units are kept, or how maps are shifted.

What is matched is the convolutions of each block's units. Halting branches are what deciding costs; nobody decides
here, so nobody pays for them.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from sact_tf import flops

# Parts of a block's FLOPs: an error that counts as matched, and one at which the search for a shift ends.
TOLERANCE, PRECISION = 0.01, 0.001
# Images whose maps are counted at a time.
CHUNK = 1000


class UnitFlops:
    """FLOPs of the units of a plain network, by which of them run where; the network itself is not run.

    Args:
        model: of type "vanilla", for images of one size.
        units: dict from names of blocks to their number of units.
    """

    def __init__(self, model, units):
        self.units = units
        self._model = model
        # Shifting maps counts hundreds of times, ten times as fast as operation by operation.
        self._counter = tf.function(self._count_kept, autograph=False)

    def of_units(self, name):
        """FLOPs of each unit of a block, float `(units,)`, where it runs everywhere."""
        return np.array([self._count({name: row}, 1)[f"{name}/flops"][0] for row in np.eye(self.units[name]) > 0])

    def of_block(self, name, num_units):
        """Mean FLOPs of a block over images, given ints `(images,)` or `(images, height, width)`."""
        parts = np.array_split(num_units, -(-len(num_units) // CHUNK))
        return float(np.concatenate([self._of_maps({name: part})[f"{name}/flops"] for part in parts]).mean())

    def of_network(self, kept, images):
        """Mean FLOPs of the stem, all blocks and the classifier, and of each block.

        Args:
            kept: dict from names of blocks to bool `(units,)` or `(images, units)`.
            images: int.

        Returns:
            dict from "flops" and "<block>/flops" to floats.
        """
        return {name: float(value.mean()) for name, value in self._count(kept, images).items()}

    def of_maps(self, num_units):
        """`of_network` of a dict from names of blocks to numbers of units, as in `of_block`."""
        images = len(next(iter(num_units.values())))
        totals = {}
        for first in range(0, images, CHUNK):
            part = {name: value[first : first + CHUNK] for name, value in num_units.items()}
            for name, value in self._of_maps(part).items():
                totals[name] = totals.get(name, 0.0) + float(value.sum())
        return {name: total / images for name, total in totals.items()}

    def _of_maps(self, num_units):
        kept = {name: runs_where(value, self.units[name]) for name, value in num_units.items()}
        return self._count(kept, len(next(iter(num_units.values()))))

    def _count(self, kept, images):
        counts = self._counter({name: tf.constant(value, tf.bool) for name, value in kept.items()}, tf.zeros(images))
        return {name: np.asarray(value, float) for name, value in counts.items()}

    def _count_kept(self, kept, images):
        # Of a plain network only the number of images is asked of its outputs.
        return flops.count(self._model, {"any": images}, kept=kept)


def runs_where(num_units, units):
    """bool `(..., units)` of ints `(...)`: unit l runs where `num_units >= l`."""
    return np.arange(1, units + 1) <= np.asarray(num_units)[..., None]


class Choice(NamedTuple):
    """Two sets of units of a block, one unit apart, whose FLOPs have those of the adaptive network between them.

    Attributes:
        below, above: bool `(units,)`, units that are kept; the same where one set matches by itself.
        share: float in [0, 1], of images that run `above` for the mean to match.
    """

    below: np.ndarray
    above: np.ndarray
    share: float

    @property
    def matches(self):
        """Whether whole units match, the same for all images."""
        return self.share in (0.0, 1.0)

    def matched(self):
        """The set that matches by itself."""
        return self.above if self.share == 1.0 else self.below


def choose(going, unit_flops, target):
    """The `Choice` for a block whose units go one after the other.

    Args:
        going: ints, indices of units in the order in which they go; at least until the target is reached.
        unit_flops: float `(units,)`.
        target: float, FLOPs of the adaptive network's units in this block.
    """
    kept = np.ones(len(unit_flops), bool)
    above = kept.copy()
    for index in going:
        if unit_flops[kept].sum() <= target:
            break
        above, kept = kept.copy(), kept.copy()
        kept[index] = False
    low, high = unit_flops[kept].sum(), unit_flops[above].sum()
    errors = {0.0: abs(low - target), 1.0: abs(high - target)}
    nearest = min(errors, key=errors.get)
    if low == high or errors[nearest] <= TOLERANCE * target:
        return Choice(kept, above, nearest)
    return Choice(kept, above, float((target - low) / (high - low)))


def mix(choices, images, generator):
    """bool `(images, units)` for each block: which images run `above` is drawn, how many is not.

    Args:
        choices: dict from names of blocks to `Choice`s.
        images: int.
        generator: NumPy generator.
    """
    kept = {}
    for name, choice in choices.items():
        more = generator.permutation(images) < round(choice.share * images)
        kept[name] = np.where(more[:, None], choice.above, choice.below)
    return kept


class Shifted(NamedTuple):
    """Maps, and what was added to what they were drawn as, in units, so that their FLOPs match."""

    num_units: np.ndarray
    shift: float


def shift(drawn, dither, units, flops_of, target, always=False):
    """Adds the same to all numbers of a block's maps until their FLOPs match.

    Args:
        drawn: float `(images,)` or `(images, height, width)`, or what broadcasts to it with `dither`.
        dither: float in [0, 1) of the same shape, which decides where a fraction of a unit is a whole one.
        units: int, of the block.
        flops_of: function from ints to their mean FLOPs, see `UnitFlops.of_block`.
        target: float.
        always: bool, whether to look for a better shift than none where none is good enough already.

    Returns:
        `Shifted`; of all shifts that could be, the nearest.
    """

    def at(value):
        return np.clip(np.floor(drawn + value + dither), 1, units).astype(np.uint8)

    low, high, value = -float(units), float(units), 0.0
    best = Shifted(at(value), value)
    found = flops_of(best.num_units)
    error = abs(found - target) / target
    if not always and error <= TOLERANCE:
        return best
    while high - low > 1e-3 and error > PRECISION:
        low, high = (value, high) if found < target else (low, value)
        value = (low + high) / 2
        num_units = at(value)
        found = flops_of(num_units)
        if abs(found - target) / target < error:
            best, error = Shifted(num_units, value), abs(found - target) / target
    return best
