"""The threshold at which a block halts: its own, or another one for a call."""

import contextlib
import contextvars
import numbers

import keras

from sact_tf import halting
from sact_tf.layers.checks import known_values

_epsilon = contextvars.ContextVar("epsilon", default=None)
# The epsilons of the contexts that any thread is in, the latest one last. A strategy of several devices calls each
# replica in a new thread, which begins without the context of the one that waits for it.
_entered = {}


@contextlib.contextmanager
def halting_at(epsilon):
    """Within this context, all blocks halt at another epsilon than their own.

    What is made within keeps it: a function that is traced, and an engine of `sact_tf.sparse.compile`. Made with a
    variable, either halts from then on at the value that the variable has when it runs. A functional Keras model does
    not keep it, since it calls its blocks anew: set their `epsilon`.

    Args:
        epsilon: float in (0, 1), or a float32 scalar tensor or `tf.Variable` whose values are.

    Raises:
        ValueError: for a value out of range that can be seen, and for tensors of another dtype or shape.
    """
    _check(epsilon)
    token = _epsilon.set(epsilon)
    _entered[id(token)] = epsilon
    try:
        yield
    finally:
        del _entered[id(token)]
        _epsilon.reset(token)


def _check(epsilon):
    if isinstance(epsilon, numbers.Real) or not hasattr(epsilon, "dtype"):
        halting.check_epsilon(epsilon)
        return
    dtype = keras.backend.standardize_dtype(epsilon.dtype)
    if dtype != "float32" or tuple(epsilon.shape):
        raise ValueError(
            "`epsilon` must be a number, or a float32 scalar as a tensor or variable, such as tf.Variable(0.01). "
            f"Received: dtype={dtype}, shape={tuple(epsilon.shape)}"
        )
    # The value of a variable may change until it is read.
    value = None if hasattr(epsilon, "assign") else known_values(epsilon)
    if value is not None:
        halting.check_epsilon(float(value))


def _in_replica():
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return tf.distribute.has_strategy() and not tf.distribute.in_cross_replica_context()


class HasThreshold:
    """Mixin of a block that halts.

    Attributes:
        epsilon: at which it halts now: its own, or that of `halting_at`. It can be set, which sets its own; functions
            that were traced before (by `fit` and `predict` too) and engines keep theirs, so call `compile` again.
        own_epsilon: float in (0, 1).
    """

    @property
    def epsilon(self):
        """See the class."""
        found = _epsilon.get()
        if found is None and _entered and _in_replica():
            found = next(reversed(_entered.values()))
        return self.own_epsilon if found is None else found

    @epsilon.setter
    def epsilon(self, value):
        halting.check_epsilon(value)
        self.own_epsilon = float(value)
