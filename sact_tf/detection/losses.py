"""The four terms of Faster R-CNN's loss, as the TF Object Detection API weighs and normalizes them."""

import tensorflow as tf

# The API's faster_rcnn_resnet101_coco, both stages.
LOCALIZATION_WEIGHT = 2.0
CLASSIFICATION_WEIGHT = 1.0


def anchor_losses(codes, logits, targets, sampled):
    """What the region proposals are to learn.

    Args:
        codes: float `(batch, anchors, 4)`.
        logits: float `(batch, anchors, 2)`, of background and object.
        targets: `targets.Targets` of the anchors; classes 0 and 1.
        sampled: bool `(batch, anchors)`, the anchors that count.

    Returns:
        `(localization, classification)`, float32 scalars with their weights of 2 and 1: the sum over an image's
        sampled anchors over their number, and the mean of that over the batch. 0 for an image without samples.
    """
    return _both(tf.cast(codes, tf.float32), logits, targets, sampled)


def proposal_losses(codes, logits, targets, sampled):
    """What the second stage is to learn.

    Args:
        codes: float `(batch, proposals, classes, 4)`, without the background; those of the target class count.
        logits: float `(batch, proposals, classes + 1)`, background first.
        targets: `targets.Targets` of the proposals; classes from 0, the background.
        sampled: bool `(batch, proposals)`, the proposals that count; padding must not be among them.

    Returns:
        `(localization, classification)` as `anchor_losses` gives them.
    """
    of_class = tf.maximum(targets.classes - 1, 0)
    codes = tf.gather(tf.cast(codes, tf.float32), of_class, batch_dims=2)
    return _both(codes, logits, targets, sampled)


def _both(codes, logits, targets, sampled):
    huber = tf.reduce_sum(_huber(codes - targets.codes), axis=-1)
    entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(targets.classes, tf.cast(logits, tf.float32))
    localization = _mean_of_samples(huber, targets.code_weights, sampled)
    classification = _mean_of_samples(entropy, targets.class_weights, sampled)
    return LOCALIZATION_WEIGHT * localization, CLASSIFICATION_WEIGHT * classification


def _huber(error):
    """Huber loss with delta 1: half the square up to 1, then linear."""
    size = tf.abs(error)
    return tf.where(size <= 1.0, 0.5 * error * error, size - 0.5)


def _mean_of_samples(losses, weights, sampled):
    # Chosen, not multiplied: what is not sampled may be infinite.
    chosen = tf.where(sampled & (weights > 0.0), losses * weights, 0.0)
    count = tf.reduce_sum(tf.cast(sampled, tf.float32), axis=1)
    return tf.reduce_mean(tf.math.divide_no_nan(tf.reduce_sum(chosen, axis=1), count))
