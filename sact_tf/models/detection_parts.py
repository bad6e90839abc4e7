"""What a detector is made of beside its backbone, which of all is frozen, and whether they fit together."""

import keras

from sact_tf.config.checks import check_choice
from sact_tf.layers.freezing import parts_of
from sact_tf.layers.parts import HalvedL2
from sact_tf.models.imagenet_resnet import ImageNetBackbone


def check_crops(backbone, crop_max_pool, crop_size):
    """Raises ValueError unless crops can be halved, and are so once: by pooling, or by the stride of the last block.

    Args:
        backbone: to be an `ImageNetBackbone`, whose last block is the head.
        crop_max_pool: bool, whether crops are pooled.
        crop_size: even int, at least 2, height and width of a crop.
    """
    if not isinstance(backbone, ImageNetBackbone):
        raise ValueError(
            "`backbone` must be an ImageNetBackbone, such as `model.backbone` of sact_tf.imagenet_resnet(...); "
            f"sact_tf.faster_rcnn(...) makes one of its own. Received: backbone={backbone!r}"
        )
    if not isinstance(crop_size, int) or crop_size < 2 or crop_size % 2:
        raise ValueError(f"`crop_size` must be an even int of at least 2. Received: crop_size={crop_size!r}")
    check_choice("crop_max_pool", crop_max_pool, (False, True))
    wanted = 1 if crop_max_pool else 2
    if backbone.last_stride != wanted:
        raise ValueError(
            f"With crop_max_pool={crop_max_pool} the last block must have stride {wanted}: crops are halved once, by "
            f"pooling or by that block. Make the backbone with last_stride={wanted}, as `sact_tf.faster_rcnn` does. "
            f"Received: last_stride={backbone.last_stride}"
        )


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
