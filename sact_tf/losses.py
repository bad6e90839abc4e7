"""The terms of the training loss, as plain functions of labels and model outputs."""

import keras
from keras import ops


def cross_entropy(labels, logits, label_smoothing=0.0):
    """Mean softmax cross entropy of a batch, float32 scalar.

    Args:
        labels: int `(batch,)`, from 0 to classes - 1.
        logits: float `(batch, classes)`.
        label_smoothing: float in [0, 1), share of the target that is spread evenly over all classes.
    """
    logits = ops.cast(logits, "float32")
    targets = ops.one_hot(ops.cast(labels, "int32"), logits.shape[-1])
    targets = targets * (1.0 - label_smoothing) + label_smoothing / logits.shape[-1]
    return ops.mean(ops.categorical_crossentropy(targets, logits, from_logits=True))


def mean_ponder_costs(outputs):
    """Returns a dict from each block's name to its mean ponder cost in the batch, float32 scalars, in units."""
    suffix = "/ponder_cost"
    return {name.removesuffix(suffix): ops.mean(cost) for name, cost in outputs.items() if name.endswith(suffix)}


def ponder_loss(outputs, tau):
    """`tau` times the sum over blocks of the mean ponder cost, float32 scalar; zero for a `vanilla` model."""
    return tau * sum(mean_ponder_costs(outputs).values(), start=ops.zeros((), "float32"))


def regularization_loss(model):
    """Sum of the L2 terms of a model's kernels, float32 scalar."""
    terms = [
        variable.regularizer(variable) for variable in model.trainable_variables if variable.regularizer is not None
    ]
    return sum(terms, start=ops.zeros((), "float32"))


def scale_for_replicas(loss):
    """Divides a loss by the number of replicas of the `tf.distribute` strategy, whose gradients `fit` adds up."""
    if keras.backend.backend() != "tensorflow":
        return loss
    import tensorflow as tf

    return loss / tf.distribute.get_strategy().num_replicas_in_sync


def check_label_smoothing(label_smoothing):
    """Returns `label_smoothing` if it lies in [0, 1), raises ValueError otherwise."""
    if not 0.0 <= label_smoothing < 1.0:
        raise ValueError(f"`label_smoothing` must lie in [0, 1). Received: {label_smoothing!r}")
    return float(label_smoothing)
