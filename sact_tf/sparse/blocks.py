"""How the engine runs a block in TensorFlow: whole maps, whole images that leave when they halt, or single positions.

`Engine` makes one runner for each block, by `make_runner`, and has the block's call done by it. A runner is a function
of float32 features `(batch, height, width, channels)`, and of a `picture`, see `AdaptiveBlock.call`, that returns the
dict of `AdaptiveBlock`. All of them go through the units in the same way: while anything is active, `_step` adds the
residual of a unit, weighed by what is left of the halting probability, to the output so far, and `_halt` takes the unit
into account in the `HaltingState`.

| runner | blocks | what a unit computes |
|---|---|---|
| `VanillaRunner` | `vanilla` | whole maps, always |
| `ImageRunner` | `act`, `act_early_stopping` | whole maps of the images that are active |
| `SpatialRunner` | `sact` | the rows of active positions, see `rows` |
| `MaskedRunner` | `sact` of few channels, or of one unit | whole maps, masked, until no position is active |
"""

import tensorflow as tf

from sact_tf import halting
from sact_tf.layers.running import given_picture, picture_after
from sact_tf.layers.unit_rules import rule_of
from sact_tf.sparse import rows as row_sets
from sact_tf.sparse.branches import GlobalBranch, SpatialBranch, make_spatial_branches, mean_of
from sact_tf.sparse.description import describe
from sact_tf.sparse.folding import Basic
from sact_tf.sparse.grid import Grid
from sact_tf.sparse.tensors import length, stitch
from sact_tf.sparse.units import make_unit

# Halted rows are taken away once less than this part of the rows is active: to move the others costs about as much as
# a tenth of a unit.
COMPACT_BELOW = 0.9
# Where each position has fewer channels, gathering its neighbours costs more than computing all of it.
NARROW = 128


def make_runner(block):
    """Returns a function from a block's features, and maybe a `picture`, to what `AdaptiveBlock.call` returns of them.

    It computes in float32 whatever the block's dtype policy is, and returns features in the block's compute dtype.

    Raises:
        ValueError: for a block with units or branches that the engine does not know.
    """
    description = describe(block)
    runner = _kind_of_runner(description)(description)

    def run(features, picture=None, training=None):
        if training:
            raise ValueError(
                f"The engine computes inference, and its model calls block '{block.name}' with training=True. Leave "
                "that to Keras, which hands on the `training` of a call, or run the model itself."
            )
        if rule_of(block) is not None:
            raise ValueError(
                f"The engine runs the units that block '{block.name}' decides on, and its model calls the block under "
                "a policy of sact_tf.depth. Run the model itself."
            )
        for unit in block.units:
            given_picture(unit, picture)  # raises for a unit that takes none, as the block itself does
        outputs = runner(tf.cast(features, tf.float32), picture)
        return {**outputs, "features": tf.cast(outputs["features"], block.compute_dtype)}

    return run


def _kind_of_runner(description):
    if description.model_type != "sact":
        return VanillaRunner if description.model_type == "vanilla" else ImageRunner
    # A bottleneck gathers few channels for many; only two wide convolutions in a row gather what they compute.
    narrow = all(isinstance(unit, Basic) and len(unit.second.bias) < NARROW for unit in description.units)
    # A single unit computes everything, and this graph is a quarter of that of rows.
    return MaskedRunner if narrow or len(description.units) == 1 else SpatialRunner


class VanillaRunner:
    """No halting: folded units in sequence."""

    def __init__(self, description):
        self.units = [make_unit(unit, index) for index, unit in enumerate(description.units)]

    def __call__(self, features, picture):
        for unit in self.units:
            features = unit.on_map(features, picture)
            picture = picture_after(unit, picture)
        return {"features": features}


class SpatialRunner:
    """SACT: computes the rows of active positions.

    The halting state is `(grid.size,)`, over all positions of the `Grid` and its border, which has halted from the
    start. Halted positions leave the rows with their outputs once enough of them have halted (`COMPACT_BELOW`).
    """

    def __init__(self, description):
        self.units = [make_unit(unit, index, on_rows=index > 0) for index, unit in enumerate(description.units)]
        self.branches = make_spatial_branches(description)
        self.epsilon = description.epsilon
        self.reach = max(unit.reach for unit in self.units)
        self.narrow = min(unit.narrow for unit in self.units[1:])

    def __call__(self, features, picture):
        features, source = self.units[0].with_source(features, picture)
        grid = Grid(features, self.reach, picture_after(self.units[0], picture), self.narrow)
        columns, pooled = self.branches.start(features, source, grid)
        rows = row_sets.start(features, columns, grid)
        # Border and padding have halted from the start.
        state = halting.initial_state((grid.size,), grid.is_picture)
        state, weight = self._halt(0, rows, pooled, state, grid)
        weights, halted = [weight], []
        for index in range(1, len(self.units)):
            rows, pooled, state, weight, left = self._step(index, rows, pooled, state, grid)
            weights.append(weight)
            halted.append(left)
        return self._collect(rows, state, weights, halted, grid)

    def _halt(self, index, rows, pooled, state, grid):
        if index == len(self.units) - 1:
            return halting.advance(state, None, self.epsilon)
        probability = tf.sigmoid(self.branches.logits(index, rows, pooled))
        return halting.advance(state, grid.scatter(rows.own_numbers, probability), self.epsilon)

    def _step(self, index, rows, pooled, state, grid):
        """Unit `index` > 0, unless nobody is active any more."""
        active = halting.is_active(state, self.epsilon)
        still = tf.reduce_sum(tf.cast(active, tf.float32))

        def nobody():
            return rows.own_numbers[:0], rows.output[:0]

        def run():
            enough = COMPACT_BELOW * tf.cast(length(rows.own_numbers), tf.float32)
            left, *gone = tf.cond(
                still < enough,
                lambda: row_sets.compact(rows, active, grid),
                lambda: (rows, *nobody()),
            )
            return *self._run_unit(index, left, pooled, state, grid), tuple(gone)

        def skip():
            return rows, pooled, state, tf.zeros_like(state.ponder_cost), nobody()

        return tf.cond(still > 0, run, skip)

    def _run_unit(self, index, rows, pooled, state, grid):
        before = tf.gather(state.cumulative_probability, rows.own_numbers)[:, None]
        active = tf.cast(before < 1.0 - self.epsilon, tf.float32)
        residual, narrow = self.units[index].residual(rows, active, grid)
        # sum of p_k x_k = x_1 + sum of (p_l + p_{l+1} + ...) times the residual of unit l: what is left of a
        # position's probability weighs the residual, whenever the position halts.
        rows = rows._replace(features=rows.add(rows.features, residual), output=rows.output + residual * (1.0 - before))
        if index < len(self.units) - 1:
            columns, pooled = self.branches.advance(index, rows, pooled, residual, narrow, grid)
            rows = rows._replace(columns=columns)
        state, weight = self._halt(index, rows, pooled, state, grid)
        return rows, pooled, state, weight

    def _collect(self, rows, state, weights, halted, grid):
        numbers, outputs = zip(*halted, (rows.own_numbers, rows.output), strict=True)

        def stitched():
            order = grid.spread(tf.range(length(grid.inside)))
            return stitch([tf.gather(order, each) for each in numbers], outputs)

        # Rows of whole maps are in order, and to put them together would be to copy them.
        output = tf.cond(rows.complete, lambda: rows.output, stitched)
        return {
            "features": grid.to_map(output),
            "ponder_cost": grid.crop(state.ponder_cost),
            "num_units": grid.crop(state.num_units),
            "halting_distribution": grid.crop(tf.stack(weights, -1)),
        }


class MaskedRunner:
    """SACT of few channels, or of one unit: computes whole maps and masks what has halted, until nothing is active.

    The halting state is `(batch, height, width)`.
    """

    def __init__(self, description):
        self.units = [make_unit(unit, index) for index, unit in enumerate(description.units)]
        self.branches = [SpatialBranch(branch) for branch in description.branches]
        self.epsilon = description.epsilon

    def __call__(self, features, picture):
        # With several units these are `BasicUnit`s, which take no picture: it is None then.
        features = self.units[0].on_map(features, picture)
        inside = None if picture is None else picture_after(self.units[0], picture)[..., 0]
        state, weight = self._halt(0, features, halting.initial_state(tf.shape(features)[:3], inside))
        output, weights = features, [weight]
        for index in range(1, len(self.units)):
            features, output, state, weight = self._step(index, features, output, state)
            weights.append(weight)
        return {
            "features": output,
            "ponder_cost": state.ponder_cost,
            "num_units": state.num_units,
            "halting_distribution": tf.stack(weights, -1),
        }

    def _halt(self, index, features, state):
        if index == len(self.units) - 1:
            return halting.advance(state, None, self.epsilon)
        return halting.advance(state, tf.sigmoid(self.branches[index].logit(features)), self.epsilon)

    def _step(self, index, features, output, state):
        """Unit `index` > 0, unless nobody is active any more."""
        active = halting.is_active(state, self.epsilon)

        def run():
            remaining = (1.0 - state.cumulative_probability)[..., None]
            residual = self.units[index].residual_on_map(features)
            residual = tf.math.multiply_no_nan(residual, tf.cast(active, tf.float32)[..., None])
            after = features + residual
            return after, output + residual * remaining, *self._halt(index, after, state)

        def skip():
            return features, output, state, tf.zeros_like(state.ponder_cost)

        return tf.cond(tf.reduce_any(active), run, skip)


class ImageRunner:
    """ACT: computes the images that are still active, each of them whole.

    The halting state is `(batch,)`; `images`, int32, are the numbers of the images that the features are of, and
    `picture`, where maps are padded, is that of all images.
    """

    def __init__(self, description):
        self.units = [make_unit(unit, index) for index, unit in enumerate(description.units)]
        self.branches = [GlobalBranch(branch) for branch in description.branches]
        self.epsilon = description.epsilon

    def __call__(self, features, picture):
        features = self.units[0].on_map(features, picture)
        picture = picture_after(self.units[0], picture)
        batch = length(features)
        images = tf.range(batch)
        state, weight = self._halt(0, features, images, halting.initial_state((batch,)), picture)
        output, weights, halted = features, [weight], []
        for index in range(1, len(self.units)):
            features, output, images, state, weight, left = self._step(index, features, output, images, state, picture)
            weights.append(weight)
            halted.append(left)
        numbers, outputs = zip(*halted, (images, output), strict=True)
        return {
            "features": stitch(numbers, outputs),
            "ponder_cost": state.ponder_cost,
            "num_units": state.num_units,
            "halting_distribution": tf.stack(weights, -1),
        }

    def _halt(self, index, features, images, state, picture):
        if index == len(self.units) - 1:
            return halting.advance(state, None, self.epsilon)
        probability = tf.sigmoid(self.branches[index].logit(mean_of(features, _of_images(picture, images))))
        return halting.advance(
            state, tf.scatter_nd(tf.expand_dims(images, 1), probability, tf.shape(state.ponder_cost)), self.epsilon
        )

    def _step(self, index, features, output, images, state, picture):
        """Unit `index` > 0, unless every image has halted."""
        stays = tf.gather(halting.is_active(state, self.epsilon), images)

        def everybody():
            return features, output, images, images[:0], output[:0]

        def leave():
            kept, halted = (tf.squeeze(tf.where(each), 1) for each in (stays, tf.logical_not(stays)))
            left = [tf.gather(each, kept) for each in (features, output, images)]
            return *left, tf.gather(images, halted), tf.gather(output, halted)

        def run():
            x, y, numbers, *gone = tf.cond(tf.reduce_all(stays), everybody, leave)
            remaining = 1.0 - tf.gather(state.cumulative_probability, numbers)[:, None, None, None]
            residual = self.units[index].residual_on_map(x, _of_images(picture, numbers))
            x, y = x + residual, y + residual * remaining
            after, weight = self._halt(index, x, numbers, state, picture)
            return x, y, numbers, after, weight, tuple(gone)

        def skip():
            return features, output, images, state, tf.zeros_like(state.ponder_cost), (images[:0], output[:0])

        return tf.cond(tf.reduce_any(stays), run, skip)


def _of_images(picture, images):
    return None if picture is None else tf.gather(picture, images)
