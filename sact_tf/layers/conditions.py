"""Units that are executed only if somebody needs them."""

import keras
import tensorflow as tf
from keras import ops


def run_if(condition, execute, skip, differentiated=True):
    """The result of `execute` where a condition holds, else of `skip`; the other one is not executed.

    Args:
        condition: bool scalar.
        execute: function without arguments, of tensors in any structure.
        skip: function of the same structure.
        differentiated: bool, whether gradients may go through it.
    """
    if not tf.is_tensor(condition) or tf.executing_eagerly():
        return ops.cond(condition, execute, skip)
    with keras.StatelessScope(initialize_variables=False) as inner:
        outer = inner.original_scope
    if outer is None:
        return ops.cond(condition, _as_one_node(execute) if differentiated else execute, skip)
    return _run_stateless(condition, execute, skip, differentiated, outer)


def _run_stateless(condition, execute, skip, differentiated, scope):
    """The same within a `keras.StatelessScope`, as of `stateless_call`: what variables become is a result, too."""
    changed = []

    def execute_apart():
        with keras.StatelessScope(collect_losses=scope.collect_losses, initialize_variables=False) as apart:
            apart.state_mapping, apart.losses = dict(scope.state_mapping), scope.losses
            result = execute()
        before = scope.state_mapping
        changed[:] = [key for key in before if apart.state_mapping[key] is not before[key]]
        return result, [apart.state_mapping[key] for key in changed]

    def skip_apart():
        return skip(), [scope.state_mapping[key] for key in changed]

    result, values = ops.cond(condition, _as_one_node(execute_apart) if differentiated else execute_apart, skip_apart)
    scope.state_mapping.update(zip(changed, values, strict=True))
    return result


def _as_one_node(function):
    """The same function, whose operations, and those of its gradient, stay out of the graph around it.

    In a graph that needs much memory TensorFlow sums three tensors or more in a temporary variable (Grappler's memory
    optimizer; there is no option against it). If that happens in the gradient of a branch, the variable is made whether
    or not the branch is taken, and destroyed only if it is; in the next step there are two of a name:
    `AlreadyExistsError: ... AddN_3/tmp_var`. In a function that is called, both happen or neither.
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
