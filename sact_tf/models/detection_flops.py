"""FLOPs of a detector beside its extractor's: region proposals and head (the extractor's: `sact_tf.flops.count`)."""

import tensorflow as tf

from sact_tf.flops.costs import BlockCosts, area, cost
from sact_tf.models.extractor import HEAD_BLOCK, STRIDE, map_size


def of_region_proposals(model, outputs):
    """FLOPs of the convolutions that find proposals, at the positions of each picture: int64 `(batch,)`."""
    layers = (model.proposal_conv, model.proposal_scores, model.proposal_codes)
    return area(map_size(outputs["image_size"], STRIDE)) * sum(cost_of(layer) for layer in layers)


def of_head(model, proposals, num_units=None):
    """Block 4 and the dense layers on every proposal of an image, int64 `(batch,)`; rows of padding are none.

    Args:
        model: `FasterRCNN`.
        proposals: `sact_tf.detection.proposals.Proposals`.
        num_units: of block 4, of each crop; `None` if nothing halts.
    """
    shape = tf.shape(proposals.valid)
    side = model.crop_positions
    costs = BlockCosts.of(model.backbone.blocks[HEAD_BLOCK])
    each = tf.reshape(costs.count(tf.constant([side, side]), tf.size(proposals.valid), num_units), shape)
    each += sum(cost_of(layer) for layer in (model.class_dense, model.box_dense))
    return tf.reduce_sum(tf.where(proposals.valid, each, tf.zeros((), tf.int64)), axis=1)


def cost_of(layer):
    """FLOPs of a built layer with a kernel at one position."""
    return cost(tuple(layer.kernel.shape))
