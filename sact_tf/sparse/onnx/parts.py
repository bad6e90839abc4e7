"""What the writers share: choosing some rows of a value, sizes, and what stops a graph."""

import math

from sact_tf.sparse.onnx.graph import INT64


def squeeze(graph, value, axes):
    """A value without these axes, all of length 1."""
    return graph.op("Squeeze", value, graph.ints(axes))


def indices_of(graph, condition):
    """Where a bool vector is True: int64 `(number, 1)`, as ScatterND takes them."""
    return graph.op("Transpose", graph.op("NonZero", condition), perm=[1, 0])


def add_at(graph, value, indices, change):
    """`value` with `change` added at the indices `(number, 1)` of its first axis, no two of them equal."""
    return graph.op("ScatterND", value, indices, change, reduction="add")


def ceil_divide(graph, number, by):
    """Int64 numbers over an int, rounded up."""
    return graph.op("Div", graph.op("Add", number, graph.ints([by - 1])), graph.ints([by]))


def stop_where(graph, wrong, name):
    """Int64 `(1,)`, which is 0; where bool `(1,)` is True a runtime stops instead, with the name of a node.

    ONNX has no operation that complains.
    """
    # True is place 1, and there is only place 0.
    return graph.op("Gather", graph.ints([0]), graph.cast(wrong, INT64), axis=0, name=name)


def is_part(graph, number, of, part):
    """Bool scalar: whether a number, int64 `(1,)`, is at least this part of another one."""
    # In thousandths, as integers.
    numerator = graph.op("Mul", number, graph.ints([1000]))
    least = graph.op("Mul", of, graph.ints([math.ceil(1000 * part)]))
    return squeeze(graph, graph.op("GreaterOrEqual", numerator, least), [0])
