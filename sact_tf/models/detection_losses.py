"""What a detector learns from: the terms of its loss, and which boxes of an image each step looks at."""

import tensorflow as tf

from sact_tf import losses
from sact_tf.detection import geometry, sampling
from sact_tf.detection import losses as detection_terms
from sact_tf.detection.targets import anchor_targets, proposal_targets
from sact_tf.models.detection_inputs import check_truth
from sact_tf.models.extractor import EXTRACTOR_BLOCKS, map_size

# Draws of the second stage are others than those of the first.
_STAGES = 2


def loss_terms(model, truth, outputs, draws, tau, training=True):
    """The terms of a detector's loss, float32 scalars.

    Args:
        model: `FasterRCNN`.
        truth: dict, see `detection_inputs.check_truth`.
        outputs: what the model returned in training.
        draws: `(seed, step, images)`: ints, and int `(batch,)`, which the sampled boxes are a function of.
        tau: float or float32 scalar, weight of the ponder cost.
        training: bool, whether the head runs as in training.

    Returns:
        dict: `region_localization`, `region_objectness`, `box_localization`, `box_classification`, with their weights
        (2, 1, 2, 1, see `sact_tf.detection.losses`), `ponder` and `regularization`. `box_classification` is NaN
        where the truth is none and nothing can raise.
    """
    seed, step, images = draws
    boxes, classes, crowd, right = check_truth(truth, model.num_classes, outputs["image_size"])
    valid = classes > 0
    anchors = model.anchors_of(outputs)
    targets = anchor_targets(anchors, boxes, valid, crowd, _eligible(anchors, outputs))
    chosen = sampling.sample(
        *_positive_and_negative(targets),
        sampling.ANCHORS_SAMPLED,
        sampling.ANCHORS_POSITIVE,
        _STAGES * seed,
        step,
        images,
    )
    first = detection_terms.anchor_losses(outputs["region_codes"], outputs["region_scores"], targets, chosen)
    proposals, sampled = _sampled_proposals(model, outputs, boxes, classes, valid, crowd, draws)
    scores, codes, _ = model.head(outputs, proposals, training=training)
    # Computed anew for the boxes that were sampled: they are few, so it costs nothing.
    targets = proposal_targets(proposals, boxes, classes, valid, crowd, sampled)
    second = detection_terms.proposal_losses(codes, scores, targets, sampled)
    return {
        "region_localization": first[0],
        "region_objectness": first[1],
        "box_localization": second[0],
        "box_classification": losses.nan_unless(right, second[1]),
        "ponder": losses.price_of(tau) * sum(mean_ponder_costs(outputs).values(), start=tf.zeros(())),
        "regularization": losses.regularization_loss(model),
    }


def mean_ponder_costs(outputs):
    """Dict from the extractor's blocks to their mean ponder cost, float32 scalars in units; of positions of pictures.

    The mean over the batch of each image's mean, so that a large image counts as much as a small one.
    """
    costs = {name: outputs[f"{name}/ponder_cost"] for name in EXTRACTOR_BLOCKS if f"{name}/ponder_cost" in outputs}
    return {name: tf.reduce_mean(of_images(name, cost, outputs["image_size"])) for name, cost in costs.items()}


def of_images(block, values, image_size):
    """Mean over the positions of each picture, float32 `(batch,)`, of a figure of a block that is 0 in the padding.

    Args:
        block: name.
        values: `(batch,)` of ACT, `(batch, height, width)` of SACT.
        image_size: int32 `(batch, 2)`.
    """
    values = tf.cast(values, tf.float32)
    if values.shape.rank == 1:
        return values
    positions = tf.reduce_prod(map_size(image_size, 4 * 2 ** EXTRACTOR_BLOCKS.index(block)), axis=1)
    return tf.reduce_sum(values, axis=(1, 2)) / tf.cast(positions, tf.float32)


def _eligible(anchors, outputs):
    return geometry.inside(anchors[None], outputs["image_size"])


def _positive_and_negative(targets):
    counts = targets.class_weights > 0
    return counts & (targets.classes > 0), counts & (targets.classes == 0)


def _sampled_proposals(model, outputs, boxes, classes, valid, crowd, draws):
    """The proposals that the second stage learns from: `(batch, 64, 4)`, and which rows are some, bool."""
    seed, step, images = draws
    proposals = outputs["proposals"]
    there = tf.range(tf.shape(proposals)[1]) < outputs["num_proposals"][:, None]
    targets = proposal_targets(proposals, boxes, classes, valid, crowd, there)
    size = min(model.head_samples, proposals.shape[1])
    chosen = sampling.sample(
        *_positive_and_negative(targets), size, sampling.PROPOSALS_POSITIVE, _STAGES * seed + 1, step, images
    )
    rows, sampled = sampling.places(chosen, size)
    return tf.gather(proposals, rows, batch_dims=1), sampled
