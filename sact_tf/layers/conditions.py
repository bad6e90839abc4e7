"""Units that are executed only if somebody needs them."""

import keras
import tensorflow as tf
from keras import ops

from sact_tf.layers.freezing import parts_of


def run_if(condition, execute, skip, differentiated=True, layers=()):
    """The result of `execute` where a condition holds, else of `skip`; the other one is not executed.

    Args:
        condition: bool scalar.
        execute: function without arguments, of tensors in any structure.
        skip: function of the same structure.
        differentiated: bool, whether gradients may go through it.
        layers: that `execute` calls. What they and their parts give to `add_loss` there is a loss of the first of them,
            zero where it is skipped.
    """
    if not tf.is_tensor(condition) or tf.executing_eagerly():
        return ops.cond(condition, execute, skip)
    with keras.StatelessScope(initialize_variables=False) as inner:
        scope = inner.original_scope
    dtypes, changed = [], []

    def execute_apart():
        result, losses, values = _run_apart(execute, layers, scope)
        dtypes[:], changed[:] = [loss.dtype for loss in losses], values
        return result, [ops.sum(loss) for loss in losses], list(values.values())

    def skip_apart():
        return skip(), [ops.zeros((), dtype) for dtype in dtypes], [scope.state_mapping[key] for key in changed]

    execute_apart = as_one_node(execute_apart) if differentiated else execute_apart
    result, losses, values = ops.cond(condition, execute_apart, skip_apart)
    if changed:
        scope.state_mapping.update(zip(changed, values, strict=True))
    if losses:
        layers[0].add_loss(losses)
    return result


def _run_apart(execute, layers, scope):
    """`(result, losses, values)`: with what is left behind in a branch, where nothing outside of it may read it.

    Losses are a list of what layers added. Values are a dict of what variables became within a `keras.StatelessScope`,
    as of `stateless_call`; with `None` as scope there are none, as variables themselves change.
    """
    parts = {
        id(part): part for layer in layers for part in (layer, *(below for _, below, _ in parts_of(layer)))
    }.values()
    losses = []
    if scope is None:
        numbers = [len(part._losses) for part in parts]
        result = execute()
        for part, number in zip(parts, numbers, strict=True):
            # As the part would give them to its model: a block weighs its ponder cost.
            before, part._losses[:] = part._losses[:number], part._losses[number:]
            losses += part._get_own_losses()
            part._losses[:] = before
        return result, losses, {}
    with keras.StatelessScope(collect_losses=scope.collect_losses, initialize_variables=False) as apart:
        apart.state_mapping = dict(scope.state_mapping)
        result = execute()
        for part in parts:
            losses += part._get_own_losses()
            part._loss_ids.difference_update(map(id, apart.losses))
    before, after = scope.state_mapping, apart.state_mapping
    return result, losses, {key: after[key] for key in before if after[key] is not before[key]}


def as_one_node(function):
    """The same function, whose operations, and those of its gradient, stay out of the graph around it.

    For branches of a condition, both of which TensorFlow puts into that graph: one that is seldom taken is told so
    once, not by each of its operations. And in a graph that needs much memory TensorFlow sums three tensors or more in
    a temporary variable (Grappler's memory optimizer, which no public function turns off). If that happens in the
    gradient of a branch, the variable is made whether or not the branch is taken, and destroyed only if it is; in the
    next step there are two of a name: `AlreadyExistsError: ... AddN_3/tmp_var`. In a function that is called, both
    happen or neither.
    """
    return tf.function(function, autograph=False, experimental_attributes={"_noinline": True})


def require(tensor, condition, message):
    """The tensor, where a condition holds.

    Args:
        tensor: float, what the message ends in.
        condition: bool scalar.
        message: str.

    Raises:
        ValueError: where it does not, eagerly.
        tf.errors.InvalidArgumentError: when a graph runs; XLA, which cannot raise, leaves the check out.
    """
    if tf.is_tensor(condition) and not tf.executing_eagerly():
        with tf.control_dependencies([tf.debugging.Assert(condition, [message, tensor], summarize=10)]):
            return tf.identity(tensor)
    if not bool(condition):
        values = ops.convert_to_numpy(tensor)
        raise ValueError(f"{message} values from {values.min()} to {values.max()}")
    return tensor
