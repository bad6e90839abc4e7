"""Runs a trained network with fewer of its units than it was made of: lesions, and depths that others decided.

A policy says which unit runs where, and is handed to a model for a call: the network stays as it is.

    policy = sact_tf.depth.Deleted({"block_1": [2, 3]})
    outputs = sact_tf.depth.call(model, images, policy)
    sact_tf.flops.count(model, outputs, kept=policy.kept(model))

It works on any Keras model that has `AdaptiveBlock`s. Units are numbered from 1, as in the release's names.
"""

import contextlib
import numbers

import numpy as np
from keras import ops

from sact_tf.flops.placing import follows_its_backbone
from sact_tf.layers import find_blocks
from sact_tf.layers.checks import check_entries, distribution_of, ints_of, numbers_of_units
from sact_tf.layers.unit_rules import UnitRule, run_units_by


class LesionPolicy:
    """Which unit of a network runs where, for a call. Subclasses say it in `rules`."""

    def rules(self, blocks):
        """Dict from names of blocks to `sact_tf.layers.unit_rules.UnitRule`s.

        Args:
            blocks: dict from names to the `AdaptiveBlock`s of a model. A block that is not in the answer runs as usual.
        """
        raise NotImplementedError

    def kept(self, model):
        """Dict from names of blocks to the units that are kept, as `sact_tf.flops.count` takes it."""
        rules = self.rules(blocks_of(model))
        return {name: rule.kept for name, rule in rules.items() if rule.kept is not None}


class Deleted(LesionPolicy):
    """Units that do not run; of each its shortcut remains, changes of shape included.

    Args:
        units: dict from names of blocks to the numbers of their units that go, from 1 on.
    """

    def __init__(self, units):
        self.units = {name: numbers_of_units(name, given) for name, given in _by_block(units, "units").items()}

    def rules(self, blocks):
        _check_names(self.units, blocks)
        rules = {}
        for name, units in self.units.items():
            count = len(blocks[name].units)
            if not all(1 <= number <= count for number in units):
                raise ValueError(
                    f"Block '{name}' has the units 1 to {count}. Received: units={units} to be deleted from it"
                )
            rules[name] = UnitRule(kept=ops.convert_to_tensor([i + 1 not in units for i in range(count)], "bool"))
        return rules


class RandomUnits(LesionPolicy):
    """So many units of the whole network, drawn at random, do not run.

    Args:
        count: int, units that go.
        seed: int, at least 0; the same seed takes the same units of the same network.
    """

    def __init__(self, count, seed):
        for name, value in (("count", count), ("seed", seed)):
            if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < 0:
                raise ValueError(f"`{name}` must be an int, at least 0. Received: {name}={value!r}")
        self.count, self.seed = count, seed

    def rules(self, blocks):
        sizes = [len(block.units) for block in blocks.values()]
        if not 0 <= self.count <= sum(sizes):
            raise ValueError(
                f"`count` must lie between 0 and the {sum(sizes)} units of the network. Received: count={self.count}"
            )
        kept = np.ones(sum(sizes), bool)
        kept[np.random.default_rng(self.seed).permutation(len(kept))[: self.count]] = False
        parts = np.split(kept, np.cumsum(sizes)[:-1])
        return {name: UnitRule(kept=ops.convert_to_tensor(part)) for name, part in zip(blocks, parts, strict=True)}


class Kept(LesionPolicy):
    """Units that run, said one by one: for all images, for each, or for each position.

    Args:
        kept: dict from names of blocks to bool `(units,)`, `(batch, units)` or `(batch, height, width, units)` at the
            size of the block's output. They may be tensors of a `tf.function`, which then serves all lesions with one
            trace.
    """

    def __init__(self, kept):
        self.units_kept = dict(_by_block(kept, "kept"))

    def rules(self, blocks):
        _check_names(self.units_kept, blocks)
        return {name: UnitRule(kept=ops.convert_to_tensor(kept)) for name, kept in self.units_kept.items()}


class NumUnits(LesionPolicy):
    """How many units run where: unit l does where `num_units >= l`, as in an adaptive network, but decided elsewhere.

    Args:
        num_units: dict from names of blocks to int `()`, `(batch,)` or `(batch, height, width)` at the size of the
            block's output: maps of another image, random ones, a mean.
        halting_distribution: dict from names of blocks to float32 `(batch, units)` or `(batch, height, width, units)`,
            under which the block averages its units' outputs, as the adaptive network does; sums to one over the last
            axis. `None`: a block's output is that of the last unit that ran. For a block that halts it is needed, lest
            it decides as well.

    Where it is used, numbers outside of 0 to a block's units, and weights that do not sum to one, are refused.
    """

    def __init__(self, num_units, halting_distribution=None):
        self.num_units = dict(_by_block(num_units, "num_units"))
        self.halting_distribution = dict(_by_block(halting_distribution or {}, "halting_distribution"))
        _check_companions("halting_distribution", self.halting_distribution, "num_units", self.num_units)

    def rules(self, blocks):
        _check_names(self.num_units, blocks)
        rules = {}
        for name, num_units in self.num_units.items():
            count = len(blocks[name].units)
            num_units = ints_of(name, num_units, count)
            distribution = self.halting_distribution.get(name)
            if distribution is None and blocks[name].model_type != "vanilla":
                raise ValueError(
                    f"Block '{name}' halts by itself (model_type={blocks[name].model_type!r}). Give its "
                    "`halting_distribution` as well, so that it does not decide too."
                )
            if distribution is not None:
                distribution = distribution_of(name, distribution, count, num_units)
            kept = ops.arange(1, count + 1, dtype="int32") <= num_units[..., None]
            rules[name] = UnitRule(kept=kept, halting_distribution=distribution)
        return rules


class ConstantResiduals(LesionPolicy):
    """The network computes as ever, and gradients go through some residuals only, past the others by their shortcuts.

    Args:
        differentiated: dict from names of blocks to bool `(units,)`, True where the residual is differentiated.
        shortcuts: the same for the shortcuts, of the same blocks; `None` for all of them. With the opposite of
            `differentiated`, a single path through the units is left.
    """

    def __init__(self, differentiated, shortcuts=None):
        self.differentiated = dict(_by_block(differentiated, "differentiated"))
        self.shortcuts = dict(_by_block(shortcuts or {}, "shortcuts"))
        _check_companions("shortcuts", self.shortcuts, "differentiated", self.differentiated)

    def rules(self, blocks):
        _check_names(self.differentiated, blocks)

        def flags(argument, given, name):
            if name not in given:
                return None
            value = ops.convert_to_tensor(given[name], "bool")
            check_entries(argument, value, name, len(blocks[name].units))
            return value

        return {
            name: UnitRule(
                differentiated=flags("differentiated", self.differentiated, name),
                shortcut_differentiated=flags("shortcuts", self.shortcuts, name),
            )
            for name in self.differentiated
        }


def call(model, images, policy, training=False):
    """What a model computes under a policy.

    Args:
        model: built Keras model that has `AdaptiveBlock`s, or one of these.
        images: what the model takes.
        policy: `LesionPolicy`.
        training: bool.

    Returns:
        What the model returns. `num_units` of a block that halts counts the units that ran, and its `ponder_cost` too.

    Raises:
        ValueError: for what is no policy, one of other blocks or units than the model has, and for KerasTensors.
    """
    if not isinstance(policy, LesionPolicy):
        raise ValueError(
            f"`policy` must be a LesionPolicy, such as Deleted({{'block_1': [2]}}). Received: policy={policy!r}"
        )
    blocks = blocks_of(model)
    rules = policy.rules(blocks)
    with run_units_by({id(blocks[name]): rule for name, rule in rules.items()}, images):
        return model(images, training=training)


def blocks_of(model):
    """Dict from names, on a `Backbone` those of its outputs, to the `AdaptiveBlock`s of any model, in its order.

    Raises:
        ValueError: if there are none, two share a name, or one has two.
    """
    blocks = find_blocks(model)
    outputs = getattr(model, "backbone", model).blocks if follows_its_backbone(model) else {}
    known = {id(block): name for name, block in outputs.items()}
    names = [known.get(id(block), block.name) for block in blocks]
    if not blocks or len(set(names)) < len(names) or len(known) < len(outputs):
        raise ValueError(
            "Units are kept or left out by the names of their AdaptiveBlocks, of which a model needs at least one, no "
            f"two of one name, and none under two. Received: '{model.name}' with {list(outputs) or names}"
        )
    return dict(zip(names, blocks, strict=True))


@contextlib.contextmanager
def reordered(model, orders):
    """Within this context, units of a model have changed places: their weights have, so no function is traced again.

    Args:
        model: built Keras model. What it learns or loads meanwhile goes back with its units.
        orders: dict from names of blocks to a list of the numbers of all its units, in the order in which they are to
            run. Units of different shapes, such as one that downsamples, or kinds must stay where they are.

    Raises:
        ValueError: for an order that is none of the block's, units of different shapes or kinds, or in several places.
    """
    blocks = blocks_of(model)
    _check_names(_by_block(orders, "orders"), blocks)
    moves = [move for name, order in orders.items() for move in _moves(blocks[name], order)]
    if len({id(variable) for variable, _ in moves}) < len(moves):
        raise ValueError(f"A unit that stands in several places cannot have the weights of two. Received: {orders}")
    _assign(moves)
    try:
        yield
    finally:
        _assign([(source, variable) for variable, source in moves])


def _assign(moves):
    for variable, value in [(variable, source.numpy()) for variable, source in moves]:
        variable.assign(value)


def _moves(block, order):
    """Pairs of variables: one, and the one whose value it is to have."""
    units = block.units
    numbered = numbers_of_units(block.name, order)
    if not hasattr(order, "__iter__") or len(order) != len(units) or numbered != list(range(1, len(units) + 1)):
        raise ValueError(
            f"An order of the units of block '{block.name}' must hold each of the numbers 1 to {len(units)} once. "
            f"Received: {order!r}"
        )
    for place, number in enumerate(order):
        target, source = units[place], units[number - 1]
        if target is source:
            continue
        if _kind(target) != _kind(source):
            raise ValueError(
                f"Units {place + 1} and {number} of block '{block.name}' cannot change places: they differ in the "
                f"shapes of their weights, or in what else they do, which stays. Received the order {list(order)}"
            )
        yield from zip(target.variables, source.variables, strict=True)


def _kind(unit):
    """Shapes of a unit's weights, and what it does besides, as far as that can be told."""
    config = {"stride": getattr(unit, "stride", 1)}
    with contextlib.suppress(NotImplementedError):  # somebody's unit
        config |= {**unit.get_config(), "name": None, "trainable": None}
    settings = [(key, value) for key, value in config.items() if isinstance(value, (str, numbers.Real))]
    return type(unit), [tuple(variable.shape) for variable in unit.variables], settings


def _check_names(given, blocks):
    unknown = sorted(set(given) - set(blocks))
    if unknown:
        raise ValueError(f"The blocks of this network are {list(blocks)}. Received: {unknown}")


def _by_block(given, argument):
    if not isinstance(given, dict):
        raise ValueError(
            f"`{argument}` must be a dict from names of blocks, such as {{'block_1': ...}}. Received: "
            f"{argument}={given!r}"
        )
    return given


def _check_companions(argument, given, of, blocks):
    unknown = sorted(set(given) - set(blocks))
    if unknown:
        raise ValueError(
            f"`{argument}` has an effect on the blocks of `{of}` alone, which are {list(blocks)}. Received: {unknown}"
        )
