"""What runs where without a decision: the kinds that take an adaptive network's maps, and put them elsewhere.

The other kinds, sets of units that are the same for all positions, are `matching.Choice`s.
"""

from typing import NamedTuple

import numpy as np

from sact_tf.studies.lesion_resnet import matching

SETS = ("deepest", "random", "least_harm")
MAPS = ("random_images", "random_positions", "shuffled_maps", "mean_map")
# Kinds that another draw changes by more than which images run a unit more.
DRAWN = ("random", "random_images", "random_positions", "shuffled_maps")
# An ACT network decides once an image: it has no map of positions to draw from, nor a mean one.
OF_POSITIONS = ("random_positions", "mean_map")


class Maps(NamedTuple):
    """What an adaptive network decided on images; dicts from names of blocks.

    Attributes:
        num_units: uint8 `(images,)` or `(images, height, width)`.
        halting_distribution: float32 `(images, ..., units)`.
    """

    num_units: dict
    halting_distribution: dict


class Placement(NamedTuple):
    """What runs where on images, and how a block averages its units' outputs there if the weights are adaptive.

    Attributes:
        num_units: dict from names of blocks to uint8 `(images,)` or `(images, height, width)`.
        distribution_of: function from a name and a slice of the images to float32 `(..., units)`.
        shifts: dict from names of blocks to what was added to match the FLOPs, in units.
    """

    num_units: dict
    distribution_of: callable
    shifts: dict


def place(kind, maps, mean, unit_flops, targets, seed):
    """The `Placement` of a kind on as many images as there are maps.

    Args:
        kind: one of `MAPS`.
        maps: `Maps` of the adaptive network on these images.
        mean: `Maps` of one entry, the means over the training images; needed for "mean_map".
        unit_flops: `matching.UnitFlops`.
        targets: dict from names of blocks to FLOPs of the adaptive network's units.
        seed: int.
    """
    generator = np.random.default_rng(seed)
    if kind == "shuffled_maps":
        return shuffled(maps, generator)
    drawn, shifts = {}, {}
    for name, num_units in maps.num_units.items():
        units = unit_flops.units[name]
        entries, dither = _entries(kind, num_units, mean and mean.num_units[name][0], generator)
        drawn[name], shifts[name] = matching.shift(
            entries,
            dither,
            units,
            lambda values, name=name: unit_flops.of_block(name, values),
            targets[name],
            always=kind == "mean_map",
        )
    if kind == "mean_map":
        return Placement(drawn, _same_for_all(mean), shifts)
    return Placement(drawn, _of_equals(maps, drawn, generator), shifts)


def shuffled(maps, generator):
    """Every image gets the maps of another one, of all blocks together."""
    images = len(next(iter(maps.num_units.values())))
    order = generator.permutation(images)
    other = np.empty(images, int)
    # One round through all of them, so that no image keeps its own.
    other[order] = np.roll(order, 1)
    return Placement(
        {name: value[other] for name, value in maps.num_units.items()},
        lambda name, chosen: maps.halting_distribution[name][other[chosen]],
        dict.fromkeys(maps.num_units, 0.0),
    )


def own(maps):
    """The maps where the network itself put them: what all kinds must equal in their FLOPs."""
    return Placement(
        maps.num_units,
        lambda name, chosen: maps.halting_distribution[name][chosen],
        dict.fromkeys(maps.num_units, 0.0),
    )


def mean_of(maps):
    """`Maps` of one entry: the means, float32."""

    def means(part):
        return {name: value.mean(0, np.float64)[None].astype("float32") for name, value in part.items()}

    return Maps(means(maps.num_units), means(maps.halting_distribution))


def stratified(pool, count, generator):
    """So many draws from the numbers of a pool, each number as often as its share in the pool says."""
    cumulative = np.cumsum(np.bincount(pool.ravel()))
    ranks = (np.arange(count) + 0.5) / count * cumulative[-1]
    return generator.permutation(np.searchsorted(cumulative, ranks, side="right")).astype(np.uint8)


def _entries(kind, num_units, mean, generator):
    """Numbers of units of a block before they are matched, and the dither, for `matching.shift`."""
    images = len(num_units)
    if kind == "random_positions":
        drawn = stratified(num_units, num_units.size, generator).reshape(num_units.shape)
        return drawn, generator.random(num_units.shape, np.float32)
    dither = (generator.permutation(images) + 0.5) / images
    if kind == "random_images":
        return stratified(num_units, images, generator), dither
    # All positions of an image are rounded alike, so that the mean map keeps its shape.
    return mean[None], dither[:, None, None]


def _same_for_all(mean):
    def distribution_of(name, chosen):
        images = chosen.stop - chosen.start
        return np.repeat(mean.halting_distribution[name], images, axis=0)

    return distribution_of


def _of_equals(maps, drawn, generator):
    """Halting distributions of positions, drawn from those where the adaptive network ran as many units."""
    sources = {}
    for name, num_units in maps.num_units.items():
        order = np.argsort(num_units, axis=None, kind="stable")
        counts = np.bincount(num_units.ravel(), minlength=int(drawn[name].max()) + 1)
        firsts = np.cumsum(counts) - counts
        picked = firsts[drawn[name]] + (generator.random(drawn[name].shape) * counts[drawn[name]]).astype(int)
        sources[name] = np.where(counts[drawn[name]] > 0, order[np.minimum(picked, order.size - 1)], -1).astype("int32")

    def distribution_of(name, chosen):
        source = sources[name][chosen]
        units = maps.halting_distribution[name].shape[-1]
        pool = maps.halting_distribution[name].reshape(-1, units)
        # Where it never ran so many, the last unit that runs is all of the output.
        last = np.eye(units, dtype="float32")[drawn[name][chosen].astype(int) - 1]
        return np.where(source[..., None] >= 0, pool[np.maximum(source, 0)], last)

    return distribution_of
