"""Which units run in a training step: a function of the seed, the step and the unit, so that a resume is exact.

All images and all replicas have the same ones: what one of them runs, all would wait for.
"""

import itertools

import tensorflow as tf

from sact_tf.layers.unit_rules import UnitRule

# Sets these draws apart from others of the same seed.
_STREAM = 0x5D


def kept_units(blocks, seed, step, train_effective=None):
    """Draws the units of a step.

    Args:
        blocks: dict from names to the `AdaptiveBlock`s of a network, in the order of execution.
        seed: int, of the run.
        step: int64 scalar tensor, steps done.
        train_effective: int, so many units run, all choices equally likely; `None` for what survives under the blocks'
            `survival_probabilities`.

    Returns:
        dict from a block's name to bool `(units,)`, False where a unit does not run; empty if all units always do.
    """
    probabilities = [block.survival_probabilities or [1.0] * len(block.units) for block in blocks.values()]
    together = list(itertools.chain(*probabilities))
    if train_effective is None and min(together, default=1) == 1:
        return {}
    key = tf.random.experimental.stateless_fold_in(tf.constant([seed, _STREAM], tf.int64), step)
    draws = tf.random.stateless_uniform((len(together),), key)
    if train_effective is None:
        kept = draws < tf.constant(together, tf.float32)
    else:
        kept = draws >= tf.math.top_k(draws, train_effective).values[-1]
    return dict(zip(blocks, tf.split(kept, [len(block.units) for block in blocks.values()]), strict=True))


def rules_of(blocks, kept):
    """What `run_units_by` takes of it."""
    return {id(blocks[name]): UnitRule(kept=value) for name, value in kept.items()}
