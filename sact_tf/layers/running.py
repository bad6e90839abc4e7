"""The ways through the units of a block: `AdaptiveBlock.call` chooses one of them.

`without_halting` is a plain residual block, `adaptively` decides by its halting branches, and `under_distribution`
averages the units' outputs under weights that are handed in. A `UnitRule` may leave units out in each of them. Of maps
that are padded, a `picture` says where they are not; see `AdaptiveBlock.call`.
"""

from keras import ops

from sact_tf import halting
from sact_tf.layers.checks import check_fits
from sact_tf.layers.conditions import require, run_if
from sact_tf.layers.halting_branches import GlobalHaltingBranch
from sact_tf.layers.parts import knows_its_shape
from sact_tf.layers.unit_rules import NO_RULE, kept_of, run_unit, takes


def without_halting(block, features, training, rule=None, picture=None):
    """The last unit's output of a `vanilla` block, in the block's compute dtype."""
    scales = block.residual_scales(training)
    for index in range(len(block.units)):
        features = _features_after(block, index, features, training, rule or NO_RULE, None, scales[index], picture)
        picture = picture_after(block.units[index], picture)
    return {"features": features}


def under_distribution(block, features, training, rule, picture=None):
    """Average of the units' outputs under `rule.halting_distribution`; with the counts that the rule stands for.

    A block that decides by position may be handed what whole images have; its counts are by position nevertheless.
    """
    distribution = ops.cast(rule.halting_distribution, "float32")
    spatial = len(distribution.shape) == 4
    if spatial and block.model_type.startswith("act"):
        raise ValueError(
            f"Block '{block.name}' halts whole images, so its `halting_distribution` must be (batch, units). Received: "
            f"shape={tuple(distribution.shape)}"
        )
    output = 0.0
    for index in range(len(block.units)):
        features = _features_after(block, index, features, training, rule, picture=picture)
        picture = picture_after(block.units[index], picture)
        weight = distribution[..., index]
        weight = weight[..., None] if spatial else weight[:, None, None, None]
        check_fits("halting_distribution", weight, features.shape, block.name)
        output = output + _weigh(features, weight)
    if block.model_type == "vanilla":
        return {"features": output}
    kept = ops.ones(distribution.shape[-1:], "bool") if rule.kept is None else rule.kept
    if block.model_type == "sact":
        batch, height, width, _ = ops.shape(features)
        if not spatial:
            distribution = ops.broadcast_to(distribution[:, None, None], (batch, height, width, len(block.units)))
        if len(kept.shape) == 2:
            kept = kept[:, None, None]
    num_units = ops.sum(ops.cast(kept, "int32"), axis=-1)
    num_units = ops.broadcast_to(num_units, ops.shape(distribution)[:-1])
    # No decision was taken, so no remainder is part of the cost.
    cost = ops.cast(num_units, "float32")
    return _outputs(output, cost, num_units, distribution)


def adaptively(block, features, training, rule=None, picture=None):
    """The average of the units' outputs under the halting distribution that the block's branches decide on."""
    rule = rule or NO_RULE
    features = _features_after(block, 0, features, training, rule, picture=picture)
    picture = picture_after(block.units[0], picture)
    state = halting.initial_state(_decisions(block, features), picture if block.model_type == "sact" else None)
    state, weight = _halt(block, 0, features, state, kept_of(rule, 0), training, picture)
    output, weights = _weigh(features, weight), [weight]
    for index in range(1, len(block.units)):
        features, state, output, weight = _continue(block, index, features, state, output, training, rule, picture)
        weights.append(weight)
    axes = (3,) if block.model_type == "sact" else (1, 2, 3)
    distribution = ops.concatenate(weights, axis=-1)
    distribution = ops.squeeze(distribution, axes[:-1]) if len(axes) > 1 else distribution
    return _outputs(output, ops.squeeze(state.ponder_cost, axes), ops.squeeze(state.num_units, axes), distribution)


def _outputs(features, ponder_cost, num_units, distribution):
    return {
        "features": features,
        "ponder_cost": ponder_cost,
        "num_units": num_units,
        "halting_distribution": distribution,
    }


def _continue(block, index, features, state, output, training, rule, picture):
    """Runs unit `index` > 0, or leaves everything as it is where early stopping allows it."""
    kept = kept_of(rule, index)

    def execute():
        active = halting.is_active(state, block.epsilon)
        mask = active if block.model_type == "sact" else None
        x = _features_after(block, index, features, training, rule, mask, picture=picture)
        after, weight = _halt(block, index, x, state, kept, training, picture)
        # In `act` an image that has halted runs on, and its features may overflow: times a weight of 0 that is NaN.
        averaged = x if mask is not None else ops.where(active, x, ops.zeros((), x.dtype))
        return x, after, output + _weigh(averaged, weight), weight

    def skip():
        return features, state, output, ops.zeros_like(state.ponder_cost)

    if block.model_type != "act_early_stopping":
        return execute()
    layers = (block.units[index], *block.halting_branches[index : index + 1])
    still = ops.any(halting.is_active(state, block.epsilon))
    return run_if(still, execute, skip, differentiated=bool(training), layers=layers)


def _halt(block, index, features, state, kept, training, picture):
    """The state after a unit, and the unit's weight in the average; where it does not run it is not there."""
    last = index == len(block.units) - 1

    def decide():
        if last:
            return halting.advance(state, None, block.epsilon)
        # Somebody's branch may compute in another dtype.
        branch = block.halting_branches[index]
        probability = ops.cast(branch(features, training=training, **given_picture(branch, picture)), "float32")
        probability = _check_probability(block, branch, probability, _decisions(block, features))
        return halting.advance(state, probability, block.epsilon)

    def pass_by():
        return halting.finish(state, block.epsilon) if last else (state, ops.zeros_like(state.ponder_cost))

    if kept is None:
        return decide()
    if len(kept.shape) == 0:
        return run_if(kept, decide, pass_by, differentiated=False, layers=block.halting_branches[index : index + 1])
    (ran, weight), (passed, left) = decide(), pass_by()
    # `kept` may be by image where the state is by position; it then holds for all positions of the image.
    state = halting.HaltingState(*(ops.where(kept, a, b) for a, b in zip(ran, passed, strict=True)))
    return state, ops.where(kept, weight, left)


def _check_probability(block, branch, probability, decisions):
    """What somebody's halting branch returned, if it is what a block of `decisions`, a shape, can halt by."""
    shape, name = tuple(probability.shape), f"Halting branch {type(branch).__name__} of block '{block.name}'"
    if len(shape) != 4 or not all(map(_can_be_of, shape[1:], decisions[1:])):
        wanted = "(batch, height, width, 1)" if block.model_type == "sact" else "(batch, 1, 1, 1)"
        raise ValueError(f"{name} must return probabilities {wanted}. Received: shape={shape}")
    if isinstance(branch, GlobalHaltingBranch):  # ours return the sigmoid of something
        return probability
    within = ops.all(ops.logical_and(probability >= 0, probability <= 1))
    return require(
        probability, within, f"{name} must return probabilities (apply a sigmoid to logits first). Received:"
    )


def _can_be_of(size, wanted):
    """Whether a side of probabilities can be that of decisions; one for all positions of an image does, too."""
    if not isinstance(wanted, int):  # known when it runs
        return True
    return size in (1, wanted) or (size is None and wanted != 1)


def picture_after(unit, picture):
    """A `picture` at the size of a unit's output."""
    stride = getattr(unit, "stride", 1)
    return picture if picture is None or stride == 1 else picture[:, ::stride, ::stride]


def given_picture(layer, picture):
    """The argument of a call by which units and branches are told where a map is no padding, as a dict.

    Raises:
        ValueError: for a layer that is not to be told.
    """
    if picture is None:
        return {}
    if not takes(layer, "picture"):
        raise ValueError(
            f"Maps are padded, and {type(layer).__name__} '{layer.name}' does not say what it makes of that. Give its "
            "`call` an argument `picture`, bool (batch, height, width, 1): where it is False nothing may be read."
        )
    return {"picture": picture}


def _features_after(block, index, features, training, rule, mask=None, scale=None, picture=None):
    differentiated, shortcut = (
        None if flags is None else flags[index] for flags in (rule.differentiated, rule.shortcut_differentiated)
    )
    kept = kept_of(rule, index)
    unit = block.units[index]
    if kept is not None:
        check_fits("kept", kept, _shape_after(block, index, features), block.name)
    given = given_picture(unit, picture)
    output = run_unit(unit, features, training, mask, kept, differentiated, scale, shortcut, **given)
    # The average is of one dtype, whatever those of the units are.
    return ops.cast(output, block.compute_dtype)


def _shape_after(block, index, features):
    """Shape of features after a unit, `None` for what is not known."""
    if index > 0:
        return features.shape
    unit = block.units[0]
    return unit.compute_output_shape(features.shape) if knows_its_shape(unit) else (features.shape[0], None, None)


def _decisions(block, features):
    batch, height, width, _ = ops.shape(features)
    return (batch, height, width, 1) if block.model_type == "sact" else (batch, 1, 1, 1)


def _weigh(features, weight):
    return features * ops.cast(weight, features.dtype)
