"""The part of a network that a detector looks at a whole picture with: stem and first blocks, of padded images."""

import keras
import tensorflow as tf

from sact_tf.detection.anchors import STRIDE
from sact_tf.layers.parts import positions_within
from sact_tf.layers.residual_units import mask_residual
from sact_tf.models.finite import blank_unless_finite

# Blocks of an `ImageNetBackbone` that look at the whole picture, and the one that looks at each proposal.
EXTRACTOR_BLOCKS = ("block1", "block2", "block3")
HEAD_BLOCK = "block4"
# Pixels to a position after conv1, and after the pooling; block 3, the last one of the extractor, has `STRIDE`.
_CONV1_STRIDE, _STEM_STRIDE = 2, 4


def pad_to_stride(images):
    """Images `(batch, height, width, 3)`, below and to the right zeros up to multiples of `STRIDE`.

    So what is a border of a picture alone is one in a batch.
    """
    _, height, width, _ = keras.ops.shape(images)
    return tf.pad(images, ((0, 0), (0, -height % STRIDE), (0, -width % STRIDE), (0, 0)))


def map_size(image_size, stride):
    """Height and width of a picture's part of a map, int32 `(batch, 2)`: sizes round up."""
    return (image_size + stride - 1) // stride


def picture_of(features, image_size, stride):
    """Which positions of maps belong to their picture.

    Args:
        features: `(batch, height, width, channels)`, of padded images.
        image_size: int32 `(batch, 2)`, height and width of each picture in pixels.
        stride: int, pixels to a position.

    Returns:
        bool `(batch, height, width, 1)`.
    """
    inside = positions_within(map_size(image_size, stride), *tf.unstack(tf.shape(features)[1:3]))
    return tf.ensure_shape(inside[..., None], (*features.shape[:3], 1))


def _mask_images(images, image_size):
    """Images, zero where they are no picture."""
    # Choosing value by value takes a fifth of what a mask takes that is spread over three channels.
    shape = batch, height, width, channels = tf.unstack(tf.shape(images))
    values = tf.reshape(images, (batch, height, width * channels, 1))
    masked = mask_residual(values, picture_of(values, image_size * [1, channels], 1))
    return tf.ensure_shape(tf.reshape(masked, shape), images.shape)


def extract(backbone, images, image_size, training=None):
    """Stem and blocks 1 to 3 of an `ImageNetBackbone`.

    Args:
        backbone: `ImageNetBackbone`.
        images: float32 `(batch, height, width, 3)`; what is no picture is not looked at.
        image_size: int32 `(batch, 2)`, height and width of the picture, which is at the top left.
        training: bool or `None`.

    Returns:
        dict as a backbone's, of these blocks: `<block>`, `<block>/ponder_cost`, `<block>/num_units`,
        `<block>/halting_distribution`, and `image_size`. Padding has no cost and no units, and the features of the last
        block are 0 there. And `finite`, bool `(batch,)`, False for a picture with NaN or infinity in it, which is taken
        for a blank one.
    """
    features, finite = blank_unless_finite(_mask_images(pad_to_stride(images), image_size))
    pad, conv1, pool = backbone.stem
    features = conv1(pad(features))
    # The pooling is to take no maximum of padding; beyond the border of a map it pads with the least number itself.
    inside = picture_of(features, image_size, _CONV1_STRIDE)
    features = pool(tf.where(inside, features, features.dtype.min))
    # Else, normalized with a negative scale, the least number would be infinity, and its gradients NaN.
    features = mask_residual(features, picture_of(features, image_size, _STEM_STRIDE))
    outputs, stride = {"image_size": image_size, "finite": finite}, _STEM_STRIDE
    for name in EXTRACTOR_BLOCKS:
        block = backbone.blocks[name]
        of_block = dict(block(features, training=training, picture=picture_of(features, image_size, stride)))
        stride *= getattr(block.units[0], "stride", 1)
        features = outputs[name] = of_block.pop("features")
        outputs.update({f"{name}/{key}": value for key, value in of_block.items()})
    outputs[EXTRACTOR_BLOCKS[-1]] = mask_residual(features, picture_of(features, image_size, stride))
    return outputs
