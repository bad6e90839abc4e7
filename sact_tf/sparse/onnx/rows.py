"""SACT's bottleneck blocks in a graph of ONNX: each unit computes the rows of the positions that are active.

A block's features are a matrix of all positions, `(positions, channels)`. A unit reads the rows of its active
positions, and for the first 1x1 convolution those of their neighbours; from there on it computes active positions
alone, and adds its residual to their rows. Neighbours of a 3x3 convolution are found on narrow maps with a border of
zeros around them: there a neighbour's number is a position's number plus a constant.

While most of a block is active, gathering costs more than it saves: then all positions are computed, the 3x3
convolution on maps, with zeros where a position has halted. Of the halting branches each position carries ten numbers a
branch, which change where a residual is added: its products with the nine taps of the 3x3 kernel, and what it gives to
the image's mean. See `sact_tf.sparse.branches`, which does the same.
"""

from typing import NamedTuple

import numpy as np

from sact_tf.sparse.folding import TAPS
from sact_tf.sparse.onnx import halting, maps
from sact_tf.sparse.onnx.features import Features, maps_of, rows_of
from sact_tf.sparse.onnx.graph import FLOAT, INT64
from sact_tf.sparse.onnx.parts import add_at, indices_of, is_part, squeeze
from sact_tf.sparse.onnx.pictures import mask, mean

# From this part of the positions on, all of them are computed.
DENSE_FROM = 0.8
# Up to so many channels two products that are added up are one, of rows side by side.
FEW = 128
COLUMNS = TAPS + 1
_ALL = np.iinfo("int64").max


class Grid(NamedTuple):
    """Numbers of the positions of a batch of maps.

    Attributes:
        size: `Size` of the maps.
        positions: name of int64 `(1,)`, how many there are.
        bordered: the same with a border of one around every map.
        inside: name of int64 `(positions,)`, the number of each among those.
        offsets: name of int64 `(9,)`, what to add to such a number for the places of a 3x3 kernel.
        picture: `Picture` of the maps where they are padded, else `None`.
    """

    size: tuple
    positions: str
    bordered: str
    inside: str
    offsets: str
    picture: tuple | None

    @classmethod
    def of(cls, graph, size, picture):
        """The grid of maps of a `Size`."""
        high, wide = (graph.op("Add", each, graph.ints([2])) for each in (size.height, size.width))
        everywhere = graph.op("Expand", graph.floats([[[1.0]]]), graph.op("Concat", *size, axis=0))
        bordered = graph.reshape(graph.op("Pad", everywhere, graph.ints([0, 1, 1] * 2)), -1)
        steps = graph.ints([-1, 0, 1])
        offsets = graph.op("Add", graph.op("Mul", graph.ints([[-1], [0], [1]]), wide), steps)
        return cls(
            size,
            size.positions(graph),
            graph.op("Mul", size.batch, graph.op("Mul", high, wide)),
            graph.reshape(graph.op("NonZero", bordered), -1),
            graph.reshape(offsets, -1),
            picture,
        )

    def to_decisions(self, graph, vector):
        """`(positions,)` as `(batch, height, width)`."""
        return graph.reshape(vector, *self.size)


def write_positions(graph, features, description, picture=None):
    """Writes a `sact` block with linear branches; see `blocks`. The state is `(positions,)`."""
    rows, columns, size = _first_unit(graph, features, description, picture)
    picture = picture and picture.after(graph, description.units[0].stride)
    # Padding is treated like what lies around the maps: its columns stay zero, and it never runs.
    columns = mask(graph, columns, picture and picture.on_rows(graph))
    grid, output = Grid.of(graph, size, picture), rows
    state = halting.initial_state(graph, grid.positions, picture and graph.reshape(picture.inside, -1))
    state = _halt(graph, state, columns, grid, description.branches[0], description.epsilon)
    for index in range(1, len(description.units)):
        rows, output, columns = _unit(graph, index, rows, output, columns, state, grid, description)
        branch = description.branches[index] if index < len(description.branches) else None
        state = _halt(graph, state, columns, grid, branch, description.epsilon)
    return {
        "features": Features(output, size, description.units[0].expand.bias.size, on_rows=True),
        **halting.outcome(graph, state, lambda value: grid.to_decisions(graph, value)),
    }


def _first_unit(graph, features, description, picture):
    """Rows, columns and `Size` after a block's first unit, which runs everywhere."""
    unit, kernels, shifts = description.units[0], *_columns_of(description.branches)
    rows, size = features.as_rows(graph), features.size
    entered = maps.clip(graph, rows, unit.clip, of_maps=False)
    reduced = graph.op("Relu", _times(graph, entered, unit.reduce))
    reduced = mask(graph, reduced, picture and picture.on_rows(graph))
    narrow = maps_of(graph, reduced, size, unit.reduce.bias.size)
    stored = graph.floats(unit.middle.kernel)
    narrow = maps.convolve(graph, narrow, unit.middle, unit.stride, pads=1, stored=stored)
    narrow = rows_of(graph, graph.op("Relu", narrow), unit.middle.bias.size)
    around = rows if unit.shortcut is None else entered
    if unit.stride > 1:
        around = graph.reshape(around, *size, features.channels)
        ends = graph.ints([_ALL, _ALL])
        around = graph.op("Slice", around, graph.ints([0, 0]), ends, graph.ints([1, 2]), graph.ints([unit.stride] * 2))
        around = graph.reshape(around, -1, features.channels)
    kernel, bias = unit.expand.kernel[0, 0], unit.expand.bias
    if unit.shortcut is None:
        rows = graph.op("Add", around, maps.product(graph, narrow, kernel, bias))
        columns = maps.product(graph, rows, kernels, shifts)
    else:
        shortcut = unit.shortcut.kernel[0, 0]
        rows = _sum_of_products(graph, (narrow, around), (kernel, shortcut), unit.shortcut.bias + bias)
        # From what both products are made of, which has fewer channels than their sum.
        columns = maps.product(graph, around, shortcut @ kernels, (unit.shortcut.bias + bias) @ kernels + shifts)
        columns = graph.op("Gemm", narrow, graph.floats(kernel @ kernels), columns)
    return rows, columns, size.after(graph, unit.stride)


def _sum_of_products(graph, rows, kernels, bias):
    """Rows times kernels, of two of each, added up."""
    if len(kernels[0]) > FEW:
        added = graph.op("Gemm", rows[1], graph.floats(kernels[1]), graph.floats(bias))
        return graph.op("Gemm", rows[0], graph.floats(kernels[0]), added)
    rows = graph.op("Concat", *rows, _ones(graph, rows[0]), axis=1)
    return maps.with_ones(graph, rows, np.concatenate(kernels), bias)


def _times(graph, rows, linear):
    """A 1x1 convolution of rows."""
    return maps.product(graph, rows, linear.kernel[0, 0], linear.bias)


def _columns_of(branches):
    """Kernels and shifts of the ten columns of each branch, `(channels, 10 * branches)` and `(10 * branches,)`."""
    parts = [part for branch in branches for part in (branch.local_columns(), branch.pooled_column())]
    return tuple(np.concatenate(each, axis=-1) for each in zip(*parts, strict=True))


def _halt(graph, state, columns, grid, branch, epsilon):
    """Takes a unit into account; `columns` start with those of its branch, `None` for the last one."""
    if branch is None:
        return halting.advance(graph, state, None, epsilon)
    own = maps_of(graph, graph.slice(columns, 0, COLUMNS, axis=1), grid.size, COLUMNS)
    # Adds up, for each position, tap k of its k-th neighbour.
    gather = np.append(np.eye(TAPS), np.zeros((1, TAPS)), axis=0).reshape(1, COLUMNS, 3, 3)
    bias = graph.floats(branch.local.convolution.bias)
    local = graph.op("Conv", own, graph.floats(gather), bias, pads=[1] * 4, kernel_shape=[3, 3])
    pooled = mean(graph, graph.slice(own, TAPS, COLUMNS, axis=1), [maps.HEIGHT, maps.WIDTH], grid.picture)
    pooled = graph.op("Unsqueeze", pooled, graph.ints([maps.HEIGHT, maps.WIDTH]))
    probability = graph.op("Sigmoid", graph.reshape(graph.op("Add", local, pooled), -1))
    return halting.advance(graph, state, probability, epsilon)


def _unit(graph, index, rows, output, columns, state, grid, description):
    """Rows, output and columns after unit `index` > 0; of the last one nobody reads rows and columns."""
    unit, later = description.units[index], description.branches[index:]
    active = halting.is_active(graph, state, description.epsilon)
    own = indices_of(graph, active)
    dense = is_part(graph, graph.size(own, 0), grid.positions, DENSE_FROM)
    narrow, left = _narrow(graph, rows, active, own, dense, halting.remainder(graph, state), grid, unit)
    added = maps.with_ones(graph, narrow, unit.expand.kernel[0, 0], unit.expand.bias)
    weighed = graph.op("Mul", added, left)
    if not later:
        return None, _add(graph, dense, own, (output, weighed)), None
    change = graph.op("MatMul", narrow, graph.floats(unit.through(_columns_of(later)[0])))
    columns = graph.slice(columns, COLUMNS, _ALL, axis=1)
    return _add(graph, dense, own, (rows, added), (output, weighed), (columns, change))


def _add(graph, dense, own, *changes):
    """Values with what was computed added, of pairs of both: to their rows `own`, or to all of them if `dense`."""
    # Maps are added by all threads, but ScatterND copies what it adds to with one. There is one choice for all changes,
    # since each choice takes memory while a file is read.
    return graph.choose(
        dense,
        lambda inner: [inner.op("Add", *pair) for pair in changes],
        lambda inner: [add_at(inner, value, own, change) for value, change in changes],
        [FLOAT] * len(changes),
    )


def _narrow(graph, rows, active, own, dense, left, grid, unit):
    """What enters the last convolution of a unit and a 1 for its bias, `(ran, narrow + 1)`, and `left`, `(ran, 1)`.

    Those that ran are the active positions, or all of them if `dense`, where zeros stand for the others. Within the
    choices is what only one of these two ways does; of what the other one makes it returns no rows. The products, which
    both have, are outside.
    """
    # `near` says which rows are read, where not all of them are.
    entered, near = graph.choose(
        dense,
        lambda inner: (maps.clip(inner, rows, unit.clip, of_maps=False), inner.ints(np.zeros((0, 1)))),
        lambda inner: _gather_read(inner, rows, active, grid, unit),
        [FLOAT, INT64],
    )
    reduced = graph.op("Relu", _times(graph, entered, unit.reduce))
    read, written = unit.middle.kernel.shape[2:]
    # Once in the file, for both: the kernels of 3x3 convolutions are two fifths of it.
    kernel = graph.floats(unit.middle.kernel.reshape(-1, written))
    convolved, neighbours, ones, left = graph.choose(
        dense,
        lambda inner: _convolve_maps(inner, reduced, kernel, active, left, grid, unit),
        lambda inner: _gather_neighbours(inner, reduced, near, own, left, grid, unit),
        [FLOAT] * 4,
    )
    # Not within the choice: ONNX Runtime brings a product's kernel into its own order from one graph further out, and
    # would copy what it reshapes there.
    neighbours = graph.reshape(neighbours, -1, TAPS * read)
    multiplied = graph.op("Relu", graph.op("Gemm", neighbours, kernel, graph.floats(unit.middle.bias)))
    return graph.op("Concat", graph.op("Concat", convolved, multiplied, axis=0), ones, axis=1), left


def _gather_read(graph, rows, active, grid, unit):
    """The rows that the active positions read, clipped, and their numbers `(read, 1)`."""
    active = graph.op("Unsqueeze", grid.to_decisions(graph, graph.cast(active, FLOAT)), graph.ints([1]))
    around = graph.op("MaxPool", active, kernel_shape=[3, 3], pads=[1] * 4)
    around = mask(graph, around, grid.picture and grid.picture.inside)
    near = indices_of(graph, graph.op("Greater", graph.reshape(around, -1), graph.floats(0.0)))
    gathered = graph.op("Gather", rows, squeeze(graph, near, [1]), axis=0)
    return maps.clip(graph, gathered, unit.clip, of_maps=False), near


def _convolve_maps(graph, reduced, kernel, active, left, grid, unit):
    """The 3x3 convolution of all positions.

    Returns:
        What it makes, `(positions, written)`; no neighbours, `(0, 9, read)`; and `(positions, 1)` each, 1 and `left`.
        All are zero where a position has halted.
    """
    read, written = unit.middle.kernel.shape[2:]
    entering = mask(graph, reduced, grid.picture and grid.picture.on_rows(graph))
    entering = maps_of(graph, entering, grid.size, read)
    convolved = graph.op("Relu", maps.convolve(graph, entering, unit.middle, stored=kernel))
    # Zeros over the few that have halted: a product would leave NaN where one overflows, `mask` takes four times as
    # long.
    halted = indices_of(graph, graph.op("Not", active))
    zeros = graph.op("Concat", graph.size(halted, 0), graph.ints([written]), axis=0)
    zeros = graph.op("Expand", graph.floats([[0.0]]), zeros)
    convolved = graph.op("ScatterND", rows_of(graph, convolved, written), halted, zeros)
    ran = _as_column(graph, graph.cast(active, FLOAT))
    return convolved, graph.floats(np.zeros((0, TAPS, read))), ran, _as_column(graph, mask(graph, left, active))


def _gather_neighbours(graph, reduced, near, own, left, grid, unit):
    """What the 3x3 convolution reads at the positions `own`, of the rows `reduced` at the positions `near`.

    Returns:
        Nothing that is convolved yet, `(0, written)`; the neighbours, `(own, 9, read)`; and `(own, 1)` each, 1 and
        `left`.
    """
    read, written = unit.middle.kernel.shape[2:]
    shape = graph.op("Concat", grid.bordered, graph.ints([read]), axis=0)
    empty = graph.op("Expand", graph.floats([[0.0]]), shape)
    bordered = graph.op("ScatterND", empty, graph.op("Gather", grid.inside, near, axis=0), reduced)
    table = graph.op("Add", graph.op("Gather", grid.inside, own, axis=0), grid.offsets)
    nothing, neighbours = graph.floats(np.zeros((0, written))), graph.op("Gather", bordered, table, axis=0)
    return nothing, neighbours, _ones(graph, own), graph.op("Gather", left, own, axis=0)


def _ones(graph, rows):
    """A column of ones beside rows."""
    return graph.op("Expand", graph.floats([[1.0]]), graph.op("Concat", graph.size(rows, 0), graph.ints([1]), axis=0))


def _as_column(graph, vector):
    """`(positions,)` as `(positions, 1)`."""
    return graph.op("Unsqueeze", vector, graph.ints([1]))
