"""Which units run in a step of fine-tuning a plain network under a kind: functions of the seed, the step and the batch.

Each is what `sact_tf.training.train` takes as `kept_units`.
"""

import numpy as np
import tensorflow as tf

from sact_tf.studies.lesion_resnet.kinds import SETS


def rule_of(kind, seed, choices=None, placement=None, mean=None, adaptive=None):
    """The function of a kind.

    Args:
        kind: one of `SETS` and `MAPS`.
        seed: int.
        choices: dict from names of blocks to `Choice`s, for `SETS`.
        placement: `Placement` of the kind on training images, for "random_images", "random_positions", "mean_map".
        mean: `Maps` of one entry, for "mean_map".
        adaptive: the adaptive model, for "shuffled_maps".
    """
    if kind in SETS:
        return _of_sets(choices, seed)
    if kind == "shuffled_maps":
        return _of_others(adaptive, seed)
    if kind == "mean_map":
        return _of_mean(mean, placement, seed)
    return _of_levels(placement, seed, by_position=kind == "random_positions")


def _of_sets(choices, seed):
    def kept_units(step, batch):
        kept = {}
        for number, (name, choice) in enumerate(choices.items()):
            if choice.matches:
                kept[name] = tf.constant(choice.matched())
                continue
            more = _uniform(seed, step, number, [_size(batch), 1]) < choice.share
            kept[name] = tf.where(more, choice.above, choice.below)
        return kept

    return kept_units


def _of_levels(placement, seed, by_position):
    """Function that draws numbers of units for each image, or position: each number as often as in the placement."""
    # Unit l runs with the share of places that have at least l.
    shares, sizes = {}, {}
    for name, num_units in placement.num_units.items():
        units = placement.distribution_of(name, slice(0, 1)).shape[-1]
        shares[name] = np.array([(num_units >= unit).mean() for unit in range(1, units + 1)], "float32")
        sizes[name] = num_units.shape[1:] if by_position else ()

    def kept_units(step, batch):
        return {
            name: _uniform(seed, step, number, [_size(batch), *sizes[name], 1]) < share
            for number, (name, share) in enumerate(shares.items())
        }

    return kept_units


def _of_mean(mean, placement, seed):
    def kept_units(step, batch):
        kept = {}
        for number, (name, num_units) in enumerate(mean.num_units.items()):
            dither = _uniform(seed, step, number, [_size(batch), 1, 1])
            rounded = tf.floor(num_units + placement.shifts[name] + dither)
            kept[name] = _runs_where(rounded, mean.halting_distribution[name].shape[-1])
        return kept

    return kept_units


def _of_others(adaptive, seed):
    """The adaptive network's maps of other images of the batch."""

    def kept_units(step, batch):
        outputs = adaptive(batch["image"], training=False)
        size = _size(batch)
        others = tf.cast(tf.maximum(size - 1, 1), tf.float32)
        by = 1 + tf.cast(_uniform(seed, step, 0, []) * others, tf.int32)
        return {
            name: _runs_where(tf.roll(outputs[f"{name}/num_units"], by, 0), len(block.units))
            for name, block in adaptive.blocks.items()
        }

    return kept_units


def _runs_where(num_units, units):
    # The first unit runs everywhere, in adaptive networks too.
    return tf.range(1, units + 1) <= tf.maximum(tf.cast(num_units, tf.int32), 1)[..., None]


def _size(batch):
    return tf.shape(batch["image"])[0]


def _uniform(seed, step, number, shape):
    """float32 in [0, 1), the same for the same seed, step and number."""
    key = tf.random.experimental.stateless_fold_in(tf.constant([seed, number], tf.int64), step)
    return tf.random.stateless_uniform(shape, key)
