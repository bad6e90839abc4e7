"""Which lesions a study makes: units that are deleted one by one or at random, and orders that units are put into."""

from typing import NamedTuple

import numpy as np

from sact_tf import depth

WHOLE = "whole"


class Lesion(NamedTuple):
    """One thing that is done to a network.

    Attributes:
        experiment: "whole", "delete", "delete_random" or "reorder".
        count: int, units that are deleted, or swaps.
        draw: int, from 0, which of the draws of this count.
        deleted: dict from names of blocks to tuples of the numbers of their units that go, from 1 on.
        orders: dict from names of blocks to tuples of the numbers of all their units, in the order in which they run.
    """

    experiment: str
    count: int = 0
    draw: int = 0
    deleted: dict = {}
    orders: dict = {}

    @property
    def name(self):
        """What is done, as text: two lesions of one name are the same, whichever experiment asks for them."""
        parts = [f"{block} without {_numbers(units)}" for block, units in self.deleted.items() if units]
        parts += [
            f"{block} as {_numbers(order)}" for block, order in self.orders.items() if order != tuple(sorted(order))
        ]
        return "; ".join(parts) or WHOLE

    def kept(self, units):
        """What `LesionedNetwork.measure` takes; `units` is a dict from names of blocks to how many units they have."""
        return {
            name: np.array([number not in self.deleted.get(name, ()) for number in range(1, count + 1)])
            for name, count in units.items()
        }

    def kendall_tau(self, units):
        """Kendall's tau between the order in which all units of the network run and their own, float; 1 for that."""
        orders = [self.orders.get(name, range(1, count + 1)) for name, count in units.items()]
        places = np.array([at + first for order, first in zip(orders, _firsts(units), strict=True) for at in order])
        agree = np.sign(places[None, :] - places[:, None])[np.triu_indices(len(places), 1)]
        return float(agree.mean()) if len(agree) else 1.0


def whole():
    """The network as it is."""
    return [Lesion("whole")]


def each_unit(units):
    """A lesion for each unit, which is deleted alone, in the order in which they run.

    Args:
        units: dict from names of blocks to how many units they have.
    """
    return [
        Lesion("delete", 1, 0, {name: (number,)}) for name, count in units.items() for number in range(1, count + 1)
    ]


def random_units(units, counts, draws, seed):
    """Lesions in which so many units of the whole network are deleted, drawn at random.

    Args:
        units: dict from names of blocks to how many units they have.
        counts: ints, units that go.
        draws: int, lesions for each of them.
        seed: int.
    """
    return [
        Lesion("delete_random", count, draw, chosen_units(units, count, (seed, count, draw)))
        for count in counts
        for draw in range(draws)
    ]


def random_orders(units, groups, swaps, draws, seed):
    """Lesions in which pairs of units have changed places, so many different ones, one after the other.

    Args:
        units: dict from names of blocks to how many units they have.
        groups: what `exchangeable` returns.
        swaps: ints, pairs that change places, at most as many as `pairs_of` returns.
        draws: int, lesions for each of them.
        seed: int.
    """
    pairs = pairs_of(groups)
    return [
        Lesion("reorder", count, draw, {}, _swapped(units, pairs, count, np.random.default_rng((seed, count, draw))))
        for count in swaps
        for draw in range(draws)
    ]


def pairs_of(groups):
    """Pairs of units that may change places, `(name of block, number, number)`, for what `exchangeable` returns."""
    return [(name, a, b) for name, group in groups for a in group for b in group if a < b]


def chosen_units(units, count, seed):
    """Some units of the network at random, as a dict from names of blocks to tuples of their numbers.

    Args:
        units: dict from names of blocks to how many units they have.
        count: int, units to choose.
        seed: what `numpy.random.default_rng` takes.
    """
    chosen = np.sort(np.random.default_rng(seed).permutation(sum(units.values()))[:count])
    return {
        name: tuple(int(place - first + 1) for place in chosen if first <= place < first + number)
        for (name, number), first in zip(units.items(), _firsts(units), strict=True)
    }


def exchangeable(blocks):
    """Units that may change places with each other, those of a block that are of equal shape and stride.

    Args:
        blocks: dict from names to built `AdaptiveBlock`s.

    Returns:
        list of `(name of a block, numbers of at least two of its units)`.
    """
    groups = {}
    for name, block in blocks.items():
        for number, unit in enumerate(block.units, 1):
            shapes = tuple((tuple(variable.shape), variable.name) for variable in unit.variables)
            kind = (shapes, getattr(unit, "stride", 1), getattr(unit, "activated_shortcut", False))
            groups.setdefault((name, kind), []).append(number)
    return [(name, tuple(numbers)) for (name, _), numbers in groups.items() if len(numbers) > 1]


def changing_shape(blocks):
    """Units that change the shape of the features, by a stride or by more channels, as `(name of block, number)`."""
    return {
        (name, number)
        for name, block in blocks.items()
        for number, unit in enumerate(block.units, 1)
        if getattr(unit, "stride", 1) > 1 or getattr(unit, "shortcut_padding", 0) or getattr(unit, "projects", False)
    }


def apply(network, lesion, progress=None):
    """`Answers` of a `LesionedNetwork` under a lesion; `progress` as for `LesionedNetwork.measure`."""
    orders = {name: list(order) for name, order in lesion.orders.items()}
    with depth.reordered(network.model, orders):
        return network.measure(lesion.kept(network.units), progress)


def _swapped(units, pairs, count, generator):
    orders = {name: list(range(1, number + 1)) for name, number in units.items()}
    for chosen in generator.permutation(len(pairs))[:count]:
        name, a, b = pairs[chosen]
        order = orders[name]
        order[a - 1], order[b - 1] = order[b - 1], order[a - 1]
    return {name: tuple(order) for name, order in orders.items()}


def _firsts(units):
    """How many units of the network come before those of each block."""
    return np.cumsum([0, *units.values()])[:-1].tolist()


def _numbers(numbers):
    return ",".join(str(number) for number in numbers)
