"""Adding to some rows, or images, of a value, in a graph of ONNX.

`ScatterND` copies the whole value, on one thread, before it adds to a few rows of it. So what the units of a block add
to its output is put together from the last of them on, each added to the fewer or equal rows of the one before it, and
only then to all rows; and where nothing has halted, an addition does.
"""

from typing import NamedTuple

from sact_tf.sparse.onnx.parts import add_at, squeeze

# Residuals that are kept before they are put together: more would take memory.
_KEPT = 2


def add_some(graph, value, indices, change):
    """`value` with `change` added at the indices `(number, 1)` of its first axis, all different and in order."""
    everything = graph.op("Equal", graph.size(indices, 0), graph.size(value, 0))
    return graph.choose(
        squeeze(graph, everything, [0]),
        lambda inner: inner.op("Add", value, change),
        lambda inner: add_at(inner, value, indices, change),
    )


class Sum(NamedTuple):
    """A block's output so far: what its first unit gave, and what the units after it add to fewer and fewer rows.

    Attributes:
        value: name, of all rows.
        parts: tuple of pairs of names: indices `(number, 1)` and what is added there, of `value` for the first pair, of
            the pair before for the others.
    """

    value: str
    parts: tuple = ()

    def add(self, graph, numbers, among, change):
        """The sum with what a unit adds.

        Args:
            graph: `Graph`.
            numbers: name of int64 `(number, 1)`, the rows that it is added to.
            among: the same, counted among the rows of the unit before.
            change: name of what is added to them.
        """
        if len(self.parts) == _KEPT:
            return Sum(self.total(graph), ((numbers, change),))
        return Sum(self.value, (*self.parts, (among if self.parts else numbers, change)))

    def total(self, graph):
        """Name of the sum."""
        below = [self.value, *(change for _, change in self.parts)]
        total = below.pop()
        for indices, _ in reversed(self.parts):
            total = add_some(graph, below.pop(), indices, total)
        return total
