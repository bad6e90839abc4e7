"""FLOPs of each image in a graph of ONNX, of `sact_tf.flops.costs`; int64, and the same numbers."""

from sact_tf.flops.costs import cost
from sact_tf.sparse.onnx.graph import FLOAT, INT64
from sact_tf.sparse.onnx.maps import HEIGHT, WIDTH
from sact_tf.sparse.onnx.pictures import mask


def count_block(graph, costs, before, after, num_units=None):
    """FLOPs of a block, int64 `(batch,)`.

    Args:
        graph: `Graph`.
        costs: `sact_tf.flops.costs.BlockCosts`.
        before, after: `Size` of the features that enter and leave it; `Picture`s where they are padded.
        num_units: name, as the block returned it; `None` for a `vanilla` block.
    """
    area = after.area(graph)
    spatial = costs.model_type == "sact"
    local = [branch.local_cost for branch in costs.branches] + [0] * (len(costs.units) - len(costs.branches))
    pooled = [branch.global_cost for branch in costs.branches] + [0] * (len(costs.units) - len(costs.branches))
    first, others = costs.units[0], [each for unit in costs.units[1:] for each in unit if each.shortcut]
    entering = sum(cost(each.kernel_shape) for each in first if each.before_stride)
    # What halting saves nothing of: the first unit, shortcuts, and under SACT what branches read of a whole image.
    leaving = [each for each in first if not each.before_stride] + others
    leaving = local[0] + sum(cost(each.kernel_shape) for each in leaving)
    always = _plus(graph, graph.ints(sum(pooled) if spatial else pooled[0]), leaving, area)
    if entering:
        always = _plus(graph, always, entering, before.area(graph))
    total = graph.op("Expand", always, after.batch)
    if len(costs.units) == 1:
        return total
    dilated, plain = zip(*map(_by_dilation, costs.units[1:]), strict=True)
    if not spatial:
        some = graph.ints([sum(pair) for pair in zip(dilated, plain, strict=True)])
        some = graph.op("Mul", some, graph.op("Unsqueeze", area, graph.ints([-1])))
        some = graph.op("Add", some, graph.ints(pooled[1:]))
        return graph.op("Add", total, _where_they_ran(graph, some, num_units, len(costs.units)))
    active = _runs(graph, num_units, len(costs.units), [1, -1, 1, 1])
    around = graph.op("MaxPool", active, kernel_shape=[3, 3], pads=[1] * 4)
    around = mask(graph, around, getattr(after, "inside", None))
    for maps, factors in ((active, [a + b for a, b in zip(plain, local[1:], strict=True)]), (around, dilated)):
        positions = graph.op("ReduceSum", maps, graph.ints([HEIGHT, WIDTH]), keepdims=0)
        total = graph.op("Add", total, _weigh(graph, graph.cast(positions, INT64), graph.ints(factors)))
    return total


def count_stem(graph, layers, fixed):
    """FLOPs of what comes before the blocks and after them, int64 scalar, or `(batch,)` of `Picture`s.

    Args:
        graph: `Graph`.
        layers: list of `(kernel_shape, size)`: of each convolution, and the `Size`, or `Picture`, of what it returns.
        fixed: int, FLOPs that every image costs besides.
    """
    total = graph.ints(fixed)
    for kernel_shape, size in layers:
        total = _plus(graph, total, cost(kernel_shape), size.area(graph))
    return total


def _plus(graph, total, cost_of_one, area):
    return graph.op("Add", total, graph.op("Mul", graph.ints(cost_of_one), area))


def _by_dilation(unit):
    """FLOPs a position of the convolutions that compute a window more, and of the others; shortcuts left out."""
    costs = [
        sum(cost(each.kernel_shape) for each in unit if each.dilated == dilated and not each.shortcut)
        for dilated in (True, False)
    ]
    return tuple(costs)


def _runs(graph, num_units, units, shape):
    """1.0 where each unit but the first ran: `num_units` with a new second axis for the units."""
    numbers = graph.reshape(graph.cast(graph.ints(list(range(1, units))), FLOAT), *shape)
    counts = graph.op("Unsqueeze", graph.cast(num_units, FLOAT), graph.ints([1]))
    return graph.cast(graph.op("Greater", counts, numbers), FLOAT)


def _where_they_ran(graph, costs, num_units, units):
    """Sum of int64 costs `(..., units - 1)` over the units that each image ran; all of them without `num_units`."""
    if num_units is None:
        return graph.op("ReduceSum", costs, graph.ints([-1]), keepdims=0)
    return _weigh(graph, graph.cast(_runs(graph, num_units, units, [1, -1]), INT64), costs)


def _weigh(graph, counts, factors):
    """Sum over the last axis of counts times factors, int64."""
    return graph.op("ReduceSum", graph.op("Mul", counts, factors), graph.ints([1]), keepdims=0)
