"""The terms of the training loss, functions of labels and outputs, and a weight of the ponder cost that can be set.

The loss of classification is

    cross entropy  +  tau * (sum over blocks of the mean ponder cost)  +  weight_decay * (sum of squared kernels) / 2

which are `cross_entropy`, `ponder_loss` and `regularization_loss`. A detector has the losses of its boxes in the place
of the first, see `sact_tf.detection.losses`.
"""

import numbers

import keras
from keras import ops, tree

from sact_tf.config import check_tau
from sact_tf.labels import class_targets


class PonderWeight:
    """A weight of the ponder cost that can be set while compiled functions use it: they see it in their next step.

    They read it from a variable. That is no part of a model's weights, of its files or of its checkpoints, since
    neither Keras nor TensorFlow looks into this object.

    Args:
        value: float >= 0, or `None` for no weight, which reads as zero.
        name: what the weight is called where it is set, for errors.
    """

    def __init__(self, value, name="ponder_weight"):
        self._name = name
        self._value = self._check(value)
        self._variable = _untracked_variable(self._value or 0.0)

    @property
    def value(self):
        """The weight as it was set, float or `None`."""
        return self._value

    @value.setter
    def value(self, value):
        self._value = self._check(value)
        if self._variable is not None:
            import tensorflow as tf

            with tf.init_scope():
                self._variable.assign(self._value or 0.0)

    def _check(self, value):
        return value if value is None else check_tau(value, self._name)

    def weigh(self, costs):
        """List of costs, multiplied with the weight; what a graph has left behind is left out of eager execution."""
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            costs = [cost for cost in costs if not (tf.executing_eagerly() and tf.is_symbolic_tensor(cost))]
            for cost in costs:
                _refuse_out_of_scope(cost)
        # Keras adds all losses of a model up, which are of this dtype.
        return [ops.cast(self.tensor() * cost, keras.config.floatx()) for cost in costs]

    def tensor(self):
        """The weight as a float32 scalar; on backends other than TensorFlow, a constant of what is compiled."""
        return ops.convert_to_tensor(self._value or 0.0 if self._variable is None else self._variable, dtype="float32")


def _refuse_out_of_scope(cost):
    """Raises ValueError for a tensor of a graph within the one that is traced: nothing outside can read it."""
    import tensorflow as tf

    if not tf.is_symbolic_tensor(cost):
        return
    graph = tf.compat.v1.get_default_graph()
    while graph not in (None, cost.graph):
        graph = getattr(graph, "outer_graph", None)
    if graph is None:
        raise ValueError(
            "A block with a `ponder_weight` ran within a loop, a condition or a function, which its ponder cost is not "
            "known outside of. Make it with ponder_weight=None, return its `ponder_cost` from there, and add that to "
            f"the loss. Received: {cost.name}"
        )


def _untracked_variable(value):
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    with tf.init_scope():
        once = tf.VariableAggregation.ONLY_FIRST_REPLICA
        return tf.Variable(value, dtype=tf.float32, trainable=False, name="ponder_weight", aggregation=once)


def warmed_up_tau(tau, warmup_steps, step):
    """`tau` of a step of a linear warm-up: `tau * min((step + 1) / warmup_steps, 1)`.

    The first step has `tau / warmup_steps`, step `warmup_steps - 1` and all later ones have `tau`.

    Args:
        tau: float, or float32 scalar.
        warmup_steps: int, at least 0; with 0 there is no warm-up.
        step: steps done before this one, from 0; int, or int scalar.

    Returns:
        float for numbers, float32 scalar for tensors.

    Raises:
        ValueError: for numbers outside of that.
    """
    if not isinstance(warmup_steps, numbers.Integral) or isinstance(warmup_steps, bool) or warmup_steps < 0:
        raise ValueError(f"`warmup_steps` must be an int, at least 0. Received: warmup_steps={warmup_steps!r}")
    tau = price_of(tau)
    # Written so that NaN fails.
    if not ops.is_tensor(step) and not (isinstance(step, numbers.Real) and step >= 0 and step % 1 == 0):
        raise ValueError(f"`step` (steps done before this one) must be an int, at least 0. Received: step={step!r}")
    if warmup_steps == 0:
        return tau
    if not ops.is_tensor(step):
        return tau * min((step + 1) / warmup_steps, 1.0)
    return tau * ops.minimum((ops.cast(step, "float32") + 1.0) / warmup_steps, 1.0)


def cross_entropy(labels, logits, label_smoothing=0.0, sample_weight=None):
    """Mean softmax cross entropy of a batch, float32 scalar; NaN where labels are invalid and nothing can raise.

    Args:
        labels: ints `(batch,)` or `(batch, 1)` from 0 to classes - 1, or one-hot `(batch, classes)`; see
            `sact_tf.labels.class_targets`.
        logits: float `(batch, classes)`.
        label_smoothing: float in [0, 1), share of the target that is spread evenly over all classes.
        sample_weight: float `(batch,)` or `(batch, 1)`, what the cross entropy of each image is multiplied with before
            the mean, as in Keras; `None` for one.

    Raises:
        ValueError, tf.errors.InvalidArgumentError: for labels that are none, as in `class_targets`.
        ValueError: for a label smoothing outside of that.
    """
    if not ops.is_tensor(label_smoothing):
        label_smoothing = check_label_smoothing(label_smoothing)
    logits = ops.cast(logits, "float32")
    targets, valid = class_targets(labels, logits)
    targets = targets * (1.0 - label_smoothing) + label_smoothing / logits.shape[-1]
    each = ops.categorical_crossentropy(targets, logits, from_logits=True)
    if sample_weight is not None:
        each = each * _weights(sample_weight, logits)
    return ops.mean(nan_unless(valid, each))


def nan_unless(valid, values):
    """Values, with NaN wherever `valid`, bool of a shape that broadcasts to theirs, is False.

    No operation has NaN in it where all are valid: `tf.debugging.enable_check_numerics` looks at constants too.
    """
    # The square root of minus zero is minus zero, which changes no number.
    return values + ops.sqrt(-ops.cast(ops.logical_not(valid), values.dtype))


def _weights(sample_weight, logits):
    batch = logits.shape[0]
    if isinstance(sample_weight, dict):
        raise ValueError(
            f"`sample_weight` must have one number for each of the {batch or 'batch'} images, the shape (batch,): they "
            f"weigh the cross entropy, not single outputs. Received: a dict with the keys {sorted(sample_weight)}"
        )
    weights = ops.cast(ops.convert_to_tensor(sample_weight), "float32")
    shape = getattr(weights.shape, "dims", weights.shape)
    if shape is None:  # of a data set that says nothing of its shapes
        return ops.reshape(weights, ops.shape(logits)[:1])
    shape = tuple(weights.shape)
    if shape[1:] not in ((), (1,)) or not shape or (None not in (shape[0], batch) and shape[0] != batch):
        raise ValueError(
            f"`sample_weight` must have one number for each of the {batch or 'batch'} images, the shape (batch,). "
            f"Received: the shape {shape}"
        )
    return ops.reshape(weights, ops.shape(logits)[:1])


def mean_ponder_costs(outputs):
    """Returns a dict from each block's name to its mean ponder cost in the batch, float32 scalars, in units.

    Args:
        outputs: dict that a network returned, with `<block>/ponder_cost`, of a model of your own with dicts of them by
            block, or one that an `AdaptiveBlock` returned, whose name is "block" then.

    Raises:
        ValueError: for outputs without names, of which none can be known for a ponder cost.
    """
    flat = tree.flatten_with_path(outputs)
    if not all(any(isinstance(key, str) for key in path) for path, _ in flat):
        raise ValueError(
            "The ponder cost is found by its name, `<block>/ponder_cost` or {<block>: {'ponder_cost': ...}}; give the "
            f"dict that a network or an AdaptiveBlock returned. Received: a {type(outputs).__name__}"
        )
    names = [("/".join(map(str, path)).rpartition("/"), value) for path, value in flat]
    return {
        block or "block": ops.mean(ops.cast(cost, "float32"))
        for (block, _, figure), cost in names
        if figure == "ponder_cost"
    }


def ponder_loss(outputs, tau):
    """`tau` times the sum over blocks of the mean ponder cost, float32 scalar; zero for a `vanilla` model.

    Args:
        outputs: as in `mean_ponder_costs`.
        tau: float >= 0, or float32 scalar.

    Raises:
        ValueError: for a number outside of that, and as there.
    """
    tau = price_of(tau)
    return tau * sum(mean_ponder_costs(outputs).values(), start=ops.zeros((), "float32"))


def price_of(tau):
    """`tau`, a tensor as it is, or a number that `check_tau` has looked at."""
    return tau if ops.is_tensor(tau) else check_tau(tau)


def regularization_loss(model):
    """Sum of the L2 terms of a model's kernels, float32 scalar."""
    terms = [
        # Kernels of a float64 or float16 model have a term of their own dtype.
        ops.cast(variable.regularizer(variable), "float32")
        for variable in model.trainable_variables
        if variable.regularizer is not None
    ]
    return sum(terms, start=ops.zeros((), "float32"))


def added_losses(model):
    """Sum of what the layers of a model gave to `add_loss` in its last call, activity regularizers' too; float32."""
    layers = model._flatten_layers(include_self=True)
    terms = [ops.cast(loss, "float32") for layer in layers for loss in layer._get_own_losses()]
    return sum(terms, start=ops.zeros((), "float32"))


def scale_for_replicas(loss):
    """Divides a loss by the number of replicas of the `tf.distribute` strategy, whose gradients `fit` adds up."""
    if keras.backend.backend() != "tensorflow":
        return loss
    import tensorflow as tf

    return loss / tf.distribute.get_strategy().num_replicas_in_sync


def check_label_smoothing(label_smoothing):
    """Returns `label_smoothing` if it lies in [0, 1), raises ValueError otherwise."""
    number = isinstance(label_smoothing, numbers.Real) and not isinstance(label_smoothing, bool)
    if not number or not 0.0 <= label_smoothing < 1.0:
        raise ValueError(f"`label_smoothing` must be a number in [0, 1). Received: label_smoothing={label_smoothing!r}")
    return float(label_smoothing)
