"""The layers that a detector has beside its backbone, and which of all are frozen."""

import keras

from sact_tf.config.checks import check_choice
from sact_tf.layers.freezing import parts_of
from sact_tf.layers.parts import HalvedL2


def freeze_norms(model, freeze_batch_norm):
    """Freezes the batch normalization of a detector, all but that of halting branches, which no checkpoint restores.

    Args:
        model: `FasterRCNN`.
        freeze_batch_norm: bool, whether to do so. ValueError for anything else, such as a text.
    """
    check_choice("freeze_batch_norm", freeze_batch_norm, (False, True))
    if not freeze_batch_norm:
        return
    branches = [branch for block in model.backbone.blocks.values() for branch in block.halting_branches]
    of_branches = {id(part) for branch in branches for _, part, _ in parts_of(branch)}
    for _, part, _ in parts_of(model):
        if isinstance(part, keras.layers.BatchNormalization) and id(part) not in of_branches:
            part.trainable = False


def proposal_convolution(channels, filters, kernel_size, weight_decay, dtype, name):
    """A built `Conv2D` as the TF Object Detection API begins it: truncated normal of deviation .01."""
    layer = keras.layers.Conv2D(
        filters,
        kernel_size,
        padding="same",
        data_format="channels_last",
        kernel_initializer=keras.initializers.TruncatedNormal(stddev=0.01),
        kernel_regularizer=HalvedL2(weight_decay / 2) if weight_decay else None,
        dtype=dtype,
        name=name,
    )
    layer.build((None, None, None, channels))
    return layer


def dense(channels, units, weight_decay, name):
    """A built `Dense` layer with `weight_decay * sum(kernel ** 2) / 2` as its loss; float32 under every policy."""
    regularizer = HalvedL2(weight_decay / 2) if weight_decay else None
    layer = keras.layers.Dense(units, kernel_regularizer=regularizer, dtype="float32", name=name)
    layer.build((None, channels))
    return layer
