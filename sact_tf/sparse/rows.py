"""The positions that a block still computes, as rows of a matrix: which they are, and what surrounds them.

`blocks.SpatialRunner` calls it: `start` makes rows of all positions, `compact` drops what is not needed any more. The
words, by an example: a map of 4 x 4 positions, numbered row by row, of which a and b are still active.

      0  1  2  3      .  .  .  .      #  #  #  .     a = 5, b = 10: the `own` rows, which are computed.
      4  5  6  7      .  a  .  .      #  a  #  #     # = the `ring`: halted positions next to an own one, whose 3x3
      8  9 10 11      .  .  b  .      #  #  b  #         convolution reads their features. They stay as they are.
     12 13 14 15      .  .  .  .      .  #  #  #     3 and 12 are read by nobody: they are gone.

The matrix of `features` has a row for each of them, own rows first, then the ring in the order of numbers:

    row         1  2 |  3  4  5  6  7  8  9 10 11 12 13 14
    position    5 10 |  0  1  2  4  6  7  8  9 11 13 14 15

A residual has a row for `own` positions alone. The `table` says for each own row which rows the nine taps of a 3x3
kernel read, counted from 1; 0 would be outside of the map, where a convolution reads zeros:

    a:  3  4  5      b:  1  7  8
        6  1  7         10  2 11
        9 10  2         12 13 14

`columns` are further numbers of each row, which the halting branches carry along instead of reading wide features; see
`branches`. Two 3x3 convolutions in a row (`units.BasicTensors`) read two positions away: then the ring itself has a
table, `ring_table`, and behind it come the positions that only the ring reads. So many positions wide is the `border`
of the `Grid`, whose numbers, unlike those above, count the places around every map too.

Where maps of pictures of unequal sizes are padded, padding is like what lies around a map: it has halted before it
began, and no table has it. Whole maps have it as rows; the first `compact` takes it away.
"""

from typing import NamedTuple

import tensorflow as tf

from sact_tf.sparse.folding import TAPS
from sact_tf.sparse.tensors import NOTHING, behind_nothing, in_parts, length
from sact_tf.sparse.tiles import Tiles

# What `tf.pad` takes for one row of zeros below.
_BELOW = ((0, 1), (0, 0))


class Rows(NamedTuple):
    """What is computed: first the "own" rows, active positions, then halted ones that their convolutions read.

    Between two compactions own positions halt and stay among the own rows. Floats are float32.

    Attributes:
        features: `(rows, channels)`.
        columns: `(rows, k)`; see `branches`.
        numbers: int32 `(rows,)`, the rows' positions in the `Grid`.
        output: `(own, channels)`, the block's output so far.
        own_numbers: int32 `(own,)`, the first of `numbers`.
        images: int32 `(own,)`, which image of the batch a row belongs to.
        table: int32 `(own, 9)`, the rows of each position's neighbours, counted from 1; 0 where there is none.
        ring_table: int32 `(ring, 9)`, the same for the halted rows next to own ones, if features are read two positions
            away; else of no row.
        below: int32 `(2, 2)`, what `tf.pad` takes for zeros below `own` rows until there are as many as `rows`.
        complete: bool scalar: nothing has been taken away yet, the rows are whole maps.
        tiles: `Tiles` of the own rows.
    """

    features: tf.Tensor
    columns: tf.Tensor
    numbers: tf.Tensor
    output: tf.Tensor
    own_numbers: tf.Tensor
    images: tf.Tensor
    table: tf.Tensor
    ring_table: tf.Tensor
    below: tf.Tensor
    complete: tf.Tensor
    tiles: Tiles

    def add(self, rows, change):
        """`rows` with `change`, `(own, channels)`, added to the own ones."""
        return rows + tf.pad(change, self.below)


def gather_neighbours(rows, table):
    """For each entry of a table its nine rows side by side: what a 3x3 kernel is multiplied with.

    Args:
        rows: `(rows, channels)`.
        table: int32 `(entries, 9)`, rows counted from 1, 0 for zeros.

    Returns:
        `(entries, 9 * channels)`.
    """
    return _gather(behind_nothing(rows), table)


def convolve(kernel, rows, table):
    """A 3x3 convolution at the positions of a table.

    Args:
        kernel: `tensors.Kernel`.
        rows, table: see `gather_neighbours`.

    Returns:
        `(entries, out_channels)`.
    """
    rows = behind_nothing(rows)
    gathered, results = TAPS * rows.shape[-1], kernel.bias.shape[0]
    return in_parts(lambda part: kernel.on_rows(_gather(rows, part)), table, gathered, results)


def _gather(rows, table):
    return tf.reshape(tf.gather(rows, table), (-1, TAPS * rows.shape[-1]))


def start(features, columns, grid):
    """Rows of whole maps, all positions being own ones.

    Args:
        features: `(batch, height, width, channels)`.
        columns: `(batch * height * width, k)`.
        grid: `Grid` of the features.

    Returns:
        `Rows`, `complete`.
    """
    rows = tf.reshape(features, (-1, features.shape[-1]))
    row_of = grid.spread(tf.range(NOTHING, length(grid.inside) + NOTHING))
    table = _table(grid, row_of, grid.inside)
    # Padding has rows here, which tiles must not read.
    tiles = Tiles.of(grid, grid.inside, tf.where(grid.is_picture, row_of, 0))
    none_below = tf.zeros((2, 2), tf.int32)
    images = grid.image_of(grid.inside)
    return Rows(
        rows, columns, grid.inside, rows, grid.inside, images, table, table[:0], none_below, tf.constant(True), tiles
    )


def _table(grid, row_of, numbers):
    return tf.gather(row_of, grid.around(numbers))


def compact(rows, active, grid):
    """Keeps only active rows and what they read.

    Args:
        rows: `Rows`.
        active: bool `(size,)` over the grid.
        grid: `Grid`, its border as wide as the distance at which features are read.

    Returns:
        `(rows, numbers, output)`: the rows that are left, and position numbers and outputs of those that have halted.
    """
    stays = tf.gather(active, rows.own_numbers)
    own, halted = _where(stays), _where(tf.logical_not(stays))
    others = tf.concat([halted, tf.range(length(rows.output), length(rows.numbers))], 0)
    if grid.picture is not None:
        others = tf.gather(others, _where(tf.gather(grid.is_picture, tf.gather(rows.numbers, others))))
    parts, others_numbers = [own], tf.gather(rows.numbers, others)
    for distance in range(1, grid.border + 1):
        near = tf.reduce_any(tf.gather(active, grid.around(others_numbers, distance)), 1)
        parts.append(tf.gather(others, _where(near)))
        if distance < grid.border:
            far = _where(tf.logical_not(near))
            others, others_numbers = tf.gather(others, far), tf.gather(others_numbers, far)
    order = tf.concat(parts, 0)
    numbers, own_numbers = tf.gather(rows.numbers, order), tf.gather(rows.own_numbers, own)
    row_of = grid.scatter(numbers, tf.range(NOTHING, length(numbers) + NOTHING))
    table = _table(grid, row_of, own_numbers)
    ring_table = _table(grid, row_of, tf.gather(rows.numbers, parts[1])) if grid.border > 1 else table[:0]
    features = tf.gather(rows.features, order)
    # Before the first unit on rows the output is the features themselves, and need not be gathered twice.
    output = features[: length(own)] if rows.output is rows.features else tf.gather(rows.output, own)
    left = Rows(
        features,
        tf.gather(rows.columns, order),
        numbers,
        output,
        own_numbers,
        grid.image_of(own_numbers),
        table,
        ring_table,
        _BELOW * (length(numbers) - length(own_numbers)),
        tf.constant(False),
        Tiles.of(grid, own_numbers, row_of),
    )
    return left, tf.gather(rows.own_numbers, halted), tf.gather(rows.output, halted)


def _where(condition):
    return tf.cast(tf.squeeze(tf.where(condition), 1), tf.int32)
