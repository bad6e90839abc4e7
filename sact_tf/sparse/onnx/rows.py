"""SACT's bottleneck blocks in a graph of ONNX: each unit computes the rows of the positions that are active.

A block's features are a matrix of all positions, `(positions, channels)`. A unit reads the rows of its active positions,
and for the first 1x1 convolution those of their neighbours; from there on it computes active positions alone, and adds
its residual to their rows. Neighbours of a 3x3 convolution are found on narrow maps with a border of zeros around them:
there a neighbour's number is a position's number plus a constant.

While most of a block is active, gathering costs more than it saves: then all positions are read, and the 3x3
convolution is one of maps. Of the halting branches each position carries ten numbers a branch, which change where a
residual is added: its products with the nine taps of the 3x3 kernel, and what it gives to the image's mean. See
`sact_tf.sparse.branches`, which does the same.
"""

from typing import NamedTuple

import numpy as np

from sact_tf.sparse.folding import TAPS
from sact_tf.sparse.onnx import halting, maps
from sact_tf.sparse.onnx.graph import FLOAT
from sact_tf.sparse.onnx.parts import add_at, indices_of, is_part, outcome, squeeze

# From this part of the positions on, all of them are read and convolved.
DENSE_FROM = 0.8
# Where units are so wide, nine neighbours side by side cost little beside what is computed of them, and a second copy of
# the kernel, for maps, is not worth its memory.
WIDE = 256
COLUMNS = TAPS + 1


class Grid(NamedTuple):
    """Sizes and numbers of the positions of a batch of maps; names of int64 values.

    Attributes:
        batch, height, width: `(1,)`.
        positions: `(1,)`, how many there are.
        bordered: `(1,)`, how many there are with a border of one around every map.
        inside: `(positions,)`, the number of each among those.
        offsets: `(9,)`, what to add to such a number for the places of a 3x3 kernel.
    """

    batch: str
    height: str
    width: str
    positions: str
    bordered: str
    inside: str
    offsets: str

    @classmethod
    def of(cls, graph, features):
        """That of maps."""
        batch, height, width = (graph.size(features, axis) for axis in (0, maps.HEIGHT, maps.WIDTH))
        positions = graph.op("Mul", batch, graph.op("Mul", height, width))
        high, wide = (graph.op("Add", size, graph.ints([2])) for size in (height, width))
        area = graph.op("Mul", high, wide)
        images = graph.reshape(graph.op("Mul", _range(graph, batch), area), -1, 1, 1)
        rows = graph.reshape(graph.op("Mul", _range(graph, height, 1), wide), -1, 1)
        inside = graph.op("Add", graph.op("Add", images, rows), _range(graph, width, 1))
        steps = graph.ints([-1, 0, 1])
        offsets = graph.op("Add", graph.op("Mul", graph.ints([[-1], [0], [1]]), wide), steps)
        return cls(
            batch,
            height,
            width,
            positions,
            graph.op("Mul", batch, area),
            graph.reshape(inside, -1),
            graph.reshape(offsets, -1),
        )

    def to_map(self, graph, rows):
        """Rows of all positions as maps `(batch, channels, height, width)`."""
        maps_last = graph.reshape(rows, self.batch, self.height, self.width, -1)
        return graph.op("Transpose", maps_last, perm=[0, 3, 1, 2])

    def to_decisions(self, graph, vector):
        """`(positions,)` as `(batch, height, width)`."""
        return graph.reshape(vector, self.batch, self.height, self.width)


def _range(graph, size, start=0):
    """`start` and the integers that follow, as many as a size `(1,)` says."""
    size = squeeze(graph, size, [0])
    first = graph.ints(start)
    return graph.op("Range", first, graph.op("Add", size, first) if start else size, graph.ints(1))


def write_positions(graph, features, description):
    """Writes a `sact` block with linear branches; see `blocks`. The state is `(positions,)`."""
    features = maps.after_unit(graph, features, description.units[0])
    grid = Grid.of(graph, features)
    rows = output = maps.to_rows(graph, features, description.units[0].expand.bias.size)
    columns = _first_columns(graph, rows, description.branches)
    state = halting.initial_state(graph, grid.positions)
    state, weight = _halt(graph, state, columns, grid, description.branches[0], description.epsilon)
    weights = [weight]
    for index, unit in enumerate(description.units[1:], 1):
        rows, output, columns = _unit(graph, index, rows, output, columns, state, grid, description)
        branch = description.branches[index] if index < len(description.branches) else None
        state, weight = _halt(graph, state, columns, grid, branch, description.epsilon)
        weights.append(weight)
    return {
        "features": grid.to_map(graph, output),
        **outcome(graph, state, weights, lambda value: grid.to_decisions(graph, value)),
    }


def _columns_of(branch):
    """Kernel and shift of a branch's ten columns, `(channels, 10)` and `(10,)`."""
    local, pooled = branch.local_columns(), branch.pooled_column()
    return tuple(np.concatenate(parts, axis=-1) for parts in zip(local, pooled, strict=True))


def _first_columns(graph, rows, branches):
    kernels, shifts = zip(*map(_columns_of, branches), strict=True)
    return maps.product(graph, rows, np.concatenate(kernels, axis=1), np.concatenate(shifts))


def _halt(graph, state, columns, grid, branch, epsilon):
    """Takes a unit into account; `columns` start with those of its branch, `None` for the last one."""
    if branch is None:
        return halting.advance(graph, state, None, epsilon)
    own = grid.to_map(graph, graph.slice(columns, 0, COLUMNS, axis=1))
    # Adds up, for each position, tap k of its k-th neighbour.
    gather = np.append(np.eye(TAPS), np.zeros((1, TAPS)), axis=0).reshape(1, COLUMNS, 3, 3)
    bias = graph.floats(branch.local.convolution.bias)
    local = graph.op("Conv", own, graph.floats(gather), bias, pads=[1] * 4, kernel_shape=[3, 3])
    pooled = graph.op(
        "ReduceMean", graph.slice(own, TAPS, COLUMNS, axis=1), graph.ints([maps.HEIGHT, maps.WIDTH]), keepdims=1
    )
    probability = graph.op("Sigmoid", graph.reshape(graph.op("Add", local, pooled), -1))
    return halting.advance(graph, state, probability, epsilon)


def _unit(graph, index, rows, output, columns, state, grid, description):
    """Rows, output and columns after unit `index` > 0; of the last one nobody reads rows and columns."""
    unit, later = description.units[index], description.branches[index:]
    active = halting.is_active(graph, state, description.epsilon)
    own = indices_of(graph, active)
    narrow = _narrow(graph, rows, active, own, grid, unit)
    added = maps.product(graph, narrow, unit.expand.kernel[0, 0], unit.expand.bias)
    left = graph.op("Gather", halting.remainder(graph, state), own, axis=0)
    output = add_at(graph, output, own, graph.op("Mul", added, left))
    if not later:
        return None, output, None
    kernels = np.concatenate([_columns_of(branch)[0] for branch in later], axis=1)
    *step, shift = unit.through(kernels)
    change = maps.product(graph, narrow, np.array(step), shift)
    columns = graph.slice(columns, COLUMNS, np.iinfo("int64").max, axis=1)
    return add_at(graph, rows, own, added), output, add_at(graph, columns, own, change)


def _narrow(graph, rows, active, own, grid, unit):
    """What enters the last convolution of a unit, for its active positions: `(own, narrow)`."""
    numbers = squeeze(graph, own, [1])
    dense = is_part(graph, graph.size(own, 0), grid.positions, DENSE_FROM)
    around = graph.op(
        "MaxPool",
        graph.op("Unsqueeze", grid.to_decisions(graph, graph.cast(active, FLOAT)), graph.ints([1])),
        kernel_shape=[3, 3],
        pads=[1] * 4,
    )
    near = squeeze(graph, indices_of(graph, graph.op("Greater", graph.reshape(around, -1), graph.floats(0.0))), [1])
    entered = graph.choose(
        dense,
        lambda inner: maps.clip(inner, rows, unit.clip, of_maps=False),
        lambda inner: maps.clip(inner, inner.op("Gather", rows, near, axis=0), unit.clip, of_maps=False),
    )
    reduced = graph.op("Relu", maps.product(graph, entered, unit.reduce.kernel[0, 0], unit.reduce.bias))
    channels = unit.middle.bias.size

    def everywhere(inner):
        convolved = inner.op("Relu", maps.convolve(inner, grid.to_map(inner, reduced), unit.middle))
        return inner.op("Gather", maps.to_rows(inner, convolved, channels), numbers, axis=0)

    def gathered(inner):
        numbers_there = inner.op("Gather", grid.inside, near, axis=0)
        empty = inner.op(
            "Expand", inner.floats([[0.0]]), inner.op("Concat", grid.bordered, inner.ints([channels]), axis=0)
        )
        bordered = inner.op("ScatterND", empty, inner.op("Unsqueeze", numbers_there, inner.ints([1])), reduced)
        table = inner.op("Add", inner.op("Gather", grid.inside, own, axis=0), grid.offsets)
        neighbours = inner.reshape(inner.op("Gather", bordered, table, axis=0), -1, TAPS * channels)
        kernel = unit.middle.kernel.reshape(-1, channels)
        return inner.op("Relu", maps.product(inner, neighbours, kernel, unit.middle.bias))

    return graph.choose(dense, everywhere, gathered)
