"""Which unit of a block runs where: what a call is handed from outside, and one unit run by it.

Depth is a property of a forward pass, not of a model. Stochastic depth, lesions and LesionResNet all run a block with
another rule than "every unit, everywhere", and this is the one place where such a rule takes effect.
"""

import contextlib
import contextvars
import inspect
import numbers
import types
from typing import NamedTuple

import keras
from keras import ops, tree

from sact_tf.layers.conditions import require, run_if

# Weights in half precision add up to one within this.
_SUM_TOLERANCE = 0.01
_NO_RULES = types.MappingProxyType({})
_rules = contextvars.ContextVar("rules", default=_NO_RULES)


class UnitRule(NamedTuple):
    """How one block is run in the place of what it would do by itself; `None` in a field leaves that as it is.

    Attributes:
        kept: bool, False where a unit does not run: `(units,)`, `(batch, units)`, or `(batch, height, width, units)`
            at the size of the block's output. What is left of the unit is its shortcut. One that runs nowhere is not
            executed, forward or backward. Halting takes a unit that does not run for one that is not there.
        differentiated: bool `(units,)`; the residual of every other unit is a constant to the gradient.
        halting_distribution: float32 `(batch, units)` or `(batch, height, width, units)`, weights that sum to one. The
            block's output is the average of its units' outputs under them; its halting branches are not asked, and
            where units run is up to `kept` alone.
        shortcut_differentiated: bool `(units,)`; the shortcut of every other unit is a constant to the gradient. With
            its opposite as `differentiated`, the gradient has one path through the units left.
    """

    kept: keras.KerasTensor | None = None
    differentiated: keras.KerasTensor | None = None
    halting_distribution: keras.KerasTensor | None = None
    shortcut_differentiated: keras.KerasTensor | None = None


NO_RULE = UnitRule()


@contextlib.contextmanager
def run_units_by(rules, inputs=()):
    """Within this context, blocks run their units by these rules.

    A function that was traced before keeps the rules that it was traced with, as of everything that is no tensor. Hence
    this is for code that calls a model itself; see `sact_tf.depth` for what people use.

    Args:
        rules: dict from the `id` of an `AdaptiveBlock` to its `UnitRule`.
        inputs: what a model is called on.

    Raises:
        ValueError: for KerasTensors among the inputs. A functional model that is made of them knows no rule.
    """
    if any(isinstance(value, keras.KerasTensor) for value in tree.flatten(inputs)):
        raise ValueError(
            "A functional Keras model calls its layers anew, without the policy of the call that it was made of. Use "
            "`depth.call` in the `call` of a keras.Model or layer of your own. Received: KerasTensors"
        )
    token = _rules.set(rules)
    try:
        yield
    finally:
        _rules.reset(token)


def rule_of(block):
    """The `UnitRule` that holds for a block at the moment, or `None`."""
    return _rules.get().get(id(block))


def check_kept(kept, units, name, whole_images=False):
    """Returns the `kept` of a rule as a bool tensor, or raises ValueError if it is none for a block of so many units.

    Args:
        kept: tensor or array.
        units: int.
        name: of the block, for the error.
        whole_images: bool, whether the block takes one decision an image.
    """
    kept = ops.convert_to_tensor(kept)
    if keras.backend.standardize_dtype(kept.dtype) != "bool" or len(kept.shape) not in (1, 2, 4):
        raise ValueError(
            f"`kept` must be bool, (units,), (batch, units) or (batch, height, width, units). Received for block "
            f"'{name}': dtype={keras.backend.standardize_dtype(kept.dtype)}, shape={tuple(kept.shape)}"
        )
    if whole_images and len(kept.shape) == 4:
        raise ValueError(
            f"Block '{name}' halts whole images, so `kept` must be (units,) or (batch, units) for it. Received: "
            f"shape={tuple(kept.shape)}"
        )
    check_entries("kept", kept, name, units)
    return kept


def check_entries(argument, value, name, units):
    """Raises ValueError unless a tensor has an entry for each unit of the block `name` in its last axis."""
    if not value.shape or value.shape[-1] != units:
        raise ValueError(
            f"`{argument}` must have an entry for each of the {units} units of block '{name}' in its last axis. "
            f"Received: shape={tuple(value.shape)}"
        )


def check_fits(argument, value, shape, name):
    """Raises ValueError for a value that is for another batch or map than there is.

    Args:
        argument: str, what the value is called.
        value: tensor `(batch, height, width, ...)`, each of them 1 for all alike.
        shape: `(batch, height, width, ...)` of the features after a unit, `None` where it is not known.
        name: of the block.
    """
    pairs = zip(tuple(value.shape)[:3], tuple(shape)[:3], strict=False)
    if any(given not in (1, None) and there is not None and given != there for given, there in pairs):
        raise ValueError(
            f"`{argument}` of block '{name}' must be for as many images, and for maps of the size of its output, as "
            f"there are: (batch, height, width) = {tuple(shape)[:3]}. Received: {tuple(value.shape)[:3]}"
        )


def check_enters(features, name):
    """Raises ValueError unless what enters the block `name` is a tensor of floating point."""
    dtype = keras.backend.standardize_dtype(features.dtype) if hasattr(features, "dtype") else ""
    if not dtype.startswith(("float", "bfloat")):
        received = f"dtype={dtype}, shape={tuple(features.shape)}" if dtype else f"a {type(features).__name__}"
        raise ValueError(
            f"Block '{name}' takes features (batch, height, width, channels) of floating point. Received: {received}"
        )


def check_features(features, index, unit, name):
    """Returns what unit `index` of the block `name` returned, if it is features; raises ValueError if not."""
    if len(getattr(features, "shape", ())) != 4:
        received = f"shape={tuple(features.shape)}" if hasattr(features, "shape") else f"a {type(features).__name__}"
        raise ValueError(
            f"Units must return features (batch, height, width, channels). Received from unit {index + 1} of block "
            f"'{name}', {type(unit).__name__}: {received}"
        )
    return features


def ints_of(name, num_units, units=None):
    """Numbers of units of the block `name` as int32; raises ValueError for what is no int, which would be cut off.

    With `units`, how many the block has, for numbers out of its range too, as `require` does.
    """
    num_units = ops.convert_to_tensor(num_units)
    dtype = keras.backend.standardize_dtype(num_units.dtype)
    if not dtype.startswith(("int", "uint")):
        raise ValueError(f"`num_units` must be ints; round a mean. Received for block '{name}': dtype={dtype}")
    if units is not None:
        wide = ops.cast(num_units, "int64")
        within = ops.all(ops.logical_and(wide >= 0, wide <= units))
        message = f"`num_units` of block '{name}' must be between 0 and its {units} units. Received:"
        num_units = require(num_units, within, message)
    return ops.cast(num_units, "int32")


def numbers_of_units(name, units):
    """Numbers of units of the block `name` as a sorted list of ints, each once; raises ValueError for what is none."""
    units = list(units) if hasattr(units, "__iter__") else [units]
    if not all(isinstance(unit, numbers.Integral) and not isinstance(unit, bool) for unit in units):
        raise ValueError(f"Units are numbered by ints, from 1 on. Received for block '{name}': {units!r}")
    return sorted({int(unit) for unit in units})


def distribution_of(name, distribution, units, num_units):
    """The `halting_distribution` of a rule as float32; raises as `require` does unless its weights sum to one.

    Args:
        name: of the block.
        distribution: `(batch, units)` or `(batch, height, width, units)`.
        units: int.
        num_units: int32 tensor, see `sact_tf.depth.NumUnits`. Padding has no units, and all weights may be zero there.
    """
    distribution = ops.cast(ops.convert_to_tensor(distribution), "float32")
    if len(distribution.shape) not in (2, 4):
        raise ValueError(
            "`halting_distribution` must be (batch, units) or (batch, height, width, units). Received for block "
            f"'{name}': shape={tuple(distribution.shape)}"
        )
    check_entries("halting_distribution", distribution, name, units)
    total = ops.sum(distribution, axis=-1)
    right = ops.abs(total - 1.0) <= _SUM_TOLERANCE
    pairs = list(zip(num_units.shape, total.shape, strict=False))
    if len(num_units.shape) == len(total.shape) and all(None in pair or pair[0] == pair[1] for pair in pairs):
        right = ops.logical_or(right, ops.logical_and(total == 0, num_units == 0))
    wanted = f"`halting_distribution` of block '{name}' must be weights of its units, none negative, that sum to one."
    require(total, ops.all(right), f"{wanted} Received, of the sums:")
    return require(distribution, ops.all(distribution >= 0), f"{wanted} Received:")


def kept_of(rule, index):
    """Where unit `index` runs: bool `()`, `(batch, 1, 1, 1)` or `(batch, height, width, 1)`, or `None` for as usual."""
    if rule.kept is None:
        return None
    kept = rule.kept[..., index]
    rank = len(kept.shape)
    return kept if rank == 0 else kept[:, None, None, None] if rank == 1 else kept[..., None]


def takes(unit, argument):
    """Whether a unit's `call` has an argument of this name."""
    return argument in inspect.signature(unit.call).parameters


def skip_unit(unit, features, training=None, picture=None):
    """What is left of a unit that does not run: its shortcut, and of a unit that has none, the features."""
    if not takes(unit, "skip_residual"):
        return features
    given = {} if picture is None else {"picture": picture}
    return unit(features, training=training, skip_residual=True, **given)


def run_unit(
    unit,
    features,
    training,
    mask=None,
    kept=None,
    differentiated=None,
    residual_scale=None,
    shortcut_differentiated=None,
    picture=None,
):
    """A unit's output under a rule.

    Args:
        unit: the layer, see `AdaptiveBlock`.
        features: `(batch, height, width, channels)`.
        training: bool or `None`.
        mask: bool `(batch, height, width, 1)`, where a position has not halted; `None` for everywhere.
        kept: see `kept_of`.
        differentiated: bool scalar, or `None` for True.
        residual_scale: float that the residual is multiplied by, or `None` for 1.
        shortcut_differentiated: bool scalar, or `None` for True.
        picture: bool `(batch, height, width, 1)`, False where the features are padding; `None` for nowhere.
    """

    def execute():
        output = _execute(unit, features, training, _both(mask, kept), residual_scale, picture)
        if differentiated is None and shortcut_differentiated is None:
            return output
        around = skip_unit(unit, features, training, picture)
        return _constant_unless(shortcut_differentiated, around) + _constant_unless(differentiated, output - around)

    if kept is None:
        return execute()

    def skip():
        return ops.cast(skip_unit(unit, features, training, picture), features.dtype)

    return run_if(ops.any(kept), execute, skip, layers=(unit,))


def _constant_unless(differentiated, features):
    return features if differentiated is None else ops.where(differentiated, features, ops.stop_gradient(features))


def _both(mask, kept):
    """Where both hold, of a mask of positions and of what is kept; `None` for everywhere."""
    if kept is None or len(kept.shape) == 0:
        return mask
    return kept if mask is None else ops.logical_and(mask, kept)


def _execute(unit, features, training, mask, residual_scale, picture):
    arguments = {"training": training} if picture is None else {"training": training, "picture": picture}
    masked, scaled = takes(unit, "residual_mask"), takes(unit, "residual_scale")
    if mask is not None and masked:
        arguments["residual_mask"] = mask
    if residual_scale is not None and scaled:
        arguments["residual_scale"] = residual_scale
    output = unit(features, **arguments)
    if (mask is None or masked) and (residual_scale is None or scaled):
        return output
    around = ops.cast(skip_unit(unit, features, training, picture), output.dtype)
    if residual_scale is not None and not scaled:
        output = around + residual_scale * (output - around)
    return output if mask is None or masked else ops.where(mask, output, around)
