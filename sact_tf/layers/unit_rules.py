"""Which unit of a block runs where: what a call is handed from outside, and one unit run by it.

Depth is a property of a forward pass, not of a model. Stochastic depth, lesions and LesionResNet all run a block with
another rule than "every unit, everywhere", and this is the one place where such a rule takes effect.
"""

import contextlib
import contextvars
import inspect
import types
from typing import NamedTuple

import keras
from keras import ops, tree

from sact_tf.layers.conditions import run_if

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
