"""Units that are executed only if somebody needs them."""

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
    if differentiated and tf.is_tensor(condition) and not tf.executing_eagerly():
        execute = _as_one_node(execute)
    return ops.cond(condition, execute, skip)


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
