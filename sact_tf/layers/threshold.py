"""The threshold at which a block halts: its own, or another one for a call."""

import contextlib
import contextvars

from sact_tf import halting

_epsilon = contextvars.ContextVar("epsilon", default=None)


@contextlib.contextmanager
def halting_at(epsilon):
    """Within this context, all blocks halt at another epsilon than their own.

    What is made within keeps it: a function that is traced, and an engine of `sact_tf.sparse.compile`. Made with a
    variable, either halts from then on at the value that the variable has when it runs.

    Args:
        epsilon: float in (0, 1), or a float32 scalar tensor or `tf.Variable` whose values are.

    Raises:
        ValueError: for a number out of range.
    """
    if not hasattr(epsilon, "dtype"):
        halting.check_epsilon(epsilon)
    token = _epsilon.set(epsilon)
    try:
        yield
    finally:
        _epsilon.reset(token)


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
        return self.own_epsilon if found is None else found

    @epsilon.setter
    def epsilon(self, value):
        halting.check_epsilon(value)
        self.own_epsilon = float(value)
