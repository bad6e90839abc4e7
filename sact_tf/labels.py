"""Class labels in all forms that people have them in, checked: a wrong label is an error, never another class."""

import keras
import numpy as np
from keras import ops

# Soft labels in half precision add up to one within this.
_SUM_TOLERANCE = 0.01


def class_targets(labels, logits):
    """Target distributions of a batch, and which of them are valid.

    Args:
        labels: `(batch,)` or `(batch, 1)`, whole numbers from 0 to classes - 1 of any int or float dtype; or
            `(batch, classes)`, one-hot or soft: not negative, each row adds up to one.
        logits: `(batch, classes)`, whose shape the labels have to fit.

    Returns:
        `(targets, valid)`: float32 `(batch, classes)` and bool `(batch,)`.

    Raises:
        ValueError: for labels of another form, and for other values where they can be seen (eagerly).
        tf.errors.InvalidArgumentError: for other values when a TensorFlow graph runs. Under XLA, which cannot raise,
            `valid` is all there is.
    """
    labels, form = _standardize(labels, logits)
    classes = logits.shape[-1]
    labels = _refuse_other_number(labels, logits)
    if form != "classes":
        targets = ops.cast(labels, "float32")
        in_range = ops.all(targets >= 0, axis=-1)
        valid = ops.logical_and(in_range, ops.abs(ops.sum(targets, axis=-1) - 1.0) <= _SUM_TOLERANCE)
    else:
        indices, valid = _indices(labels, classes)
        targets = ops.one_hot(indices, classes, dtype="float32")
    return _refuse_invalid(targets, valid, labels, form, classes), valid


def class_indices(labels, logits):
    """int32 `(batch,)`: the class of each label of `class_targets`, the most probable one of soft labels."""
    labels, form = _standardize(labels, logits)
    if form != "classes":
        return ops.cast(ops.argmax(labels, axis=-1), "int32")
    return _indices(labels, logits.shape[-1])[0]


def _standardize(labels, logits):
    """Returns a tensor and its form: "classes" `(batch,)`, "one-hot" `(batch, classes)` or "either", as such rows."""
    if labels is None or isinstance(labels, dict):
        raise _error("no labels" if labels is None else f"a dict with the keys {sorted(labels)}", logits)
    labels = ops.convert_to_tensor(labels)
    dtype, shape = keras.backend.standardize_dtype(labels.dtype), getattr(labels.shape, "dims", labels.shape)
    if not dtype.startswith(("int", "uint", "float", "bfloat", "bool")):
        raise _error(f"labels of dtype {dtype}", logits)
    if shape is None:
        return _rows(_that_fit(labels, logits), logits.shape[-1]), "either"
    shape, (batch, classes) = tuple(labels.shape), logits.shape
    one_hot = len(shape) == 2 and shape[1] == classes and classes != 1
    if not (one_hot or len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)) or _differ(shape[0], batch):
        raise _error(f"labels of the shape {shape}", logits)
    if one_hot:
        return labels, "one-hot"
    return (labels[:, 0] if len(shape) == 2 else labels), "classes"


def _that_fit(labels, logits):
    """Labels of an unknown shape as `(batch, 1)` or `(batch, classes)`; a graph that runs raises for others."""
    batch, classes = ops.shape(logits)[0], logits.shape[-1]
    labels = ops.reshape(labels, (-1,))
    number = ops.shape(labels)[0]
    fits = ops.logical_or(number == batch, number == batch * classes)
    message = str(_error("this many numbers and images:", logits))
    return ops.reshape(_unless_raised(labels, fits, [message, number, batch]), (batch, -1))


def _rows(labels, classes):
    """One-hot rows from `(batch, 1)` or `(batch, classes)`; of zeros, which are no valid row, for what is no class.

    A compiled function that has seen labels of both forms knows neither of them any more.
    """

    def of_classes():
        indices, valid = _indices(labels[:, 0], classes)
        return ops.where(valid[:, None], ops.one_hot(indices, classes, dtype="float32"), 0.0)

    single = ops.shape(labels)[1] == 1
    return ops.reshape(ops.cond(single, of_classes, lambda: ops.cast(labels, "float32")), (-1, classes))


def _differ(ours, theirs):
    return None not in (ours, theirs) and ours != theirs


def _error(received, logits):
    batch, classes = logits.shape
    return ValueError(
        f"Labels must be whole numbers from 0 to {classes - 1}, one for each of the {batch or 'batch'} images, of the "
        f"shape (batch,) or (batch, 1), or rows of {classes} (one-hot) of the shape (batch, {classes}); give them as "
        f"the second argument of fit or evaluate, or as pairs (images, labels) of a data set. Received: {received}"
    )


def _indices(labels, classes):
    """int32 class of each label, zero for those that are none, and bool, True where a label is a class."""
    if keras.backend.standardize_dtype(labels.dtype).startswith(("float", "bfloat")):
        labels = ops.cast(labels, "float32")
        # Written so that NaN fails.
        whole = labels == ops.floor(labels)
    else:
        # Wide enough to compare with any number of classes.
        labels = ops.cast(labels, "int64")
        whole = ops.ones_like(labels, dtype="bool")
    valid = ops.logical_and(whole, ops.logical_and(labels >= 0, labels < classes))
    return ops.cast(ops.where(valid, labels, ops.zeros_like(labels)), "int32"), valid


def _refuse_other_number(labels, logits):
    """The labels; a graph that runs raises where there are fewer or more of them than images."""
    if None not in (labels.shape[0], logits.shape[0]):
        return labels
    wanted = "There must be as many labels as images in a batch. Received labels and images:"
    numbers = ops.shape(labels)[0], ops.shape(logits)[0]
    return _unless_raised(labels, numbers[0] == numbers[1], [wanted, *numbers])


def _refuse_invalid(targets, valid, labels, form, classes):
    """The targets; raises, now or when the graph runs, unless all labels are valid."""
    wanted = {
        "classes": f"Labels must be whole numbers from 0 to {classes - 1}, for {classes} classes (build the network "
        "with a larger `num_classes`, or count classes from 0).",
        "one-hot": f"Rows of {classes} labels must not be negative and add up to one: one-hot, or soft labels.",
        "either": f"Labels must be whole numbers from 0 to {classes - 1}, or rows of {classes} that are not negative "
        "and add up to one: one-hot, or soft labels. What is no class is shown as a row of zeros.",
    }[form]
    targets = _unless_raised(targets, valid, [f"{wanted} Received:", labels])
    try:
        valid, labels = ops.convert_to_numpy(valid), ops.convert_to_numpy(labels)
    except (NotImplementedError, TypeError, AttributeError):  # a tensor of a graph: its values come later
        return targets
    if not valid.all():
        raise ValueError(f"{wanted} Received: {np.unique(labels[~valid], axis=0)[:10].tolist()}")
    return targets


def _unless_raised(tensor, condition, message):
    """The tensor, after a check in a graph of TensorFlow. XLA leaves it out."""
    if keras.backend.backend() != "tensorflow":
        return tensor
    import tensorflow as tf

    if tf.executing_eagerly():
        return tensor
    with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(condition), message, summarize=20)]):
        return tf.identity(tensor)
