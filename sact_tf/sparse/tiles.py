"""3x3 convolutions of many positions by Winograd's algorithm, which multiplies half as often.

The rows of active positions lie beside each other mostly, and the 3x3 convolution at the 2 x 2 positions of a tile
reads 4 x 4 places. Sums and differences of these (`_ENTER`, along both axes) are multiplied with sums of a kernel's
taps (`_KERNEL`), and sums of the products (`_LEAVE`) are the four results: 16 products where 4 x 9 are multiplied one
by one. That is exact but for rounding, some 3e-6 of what a tile reads. It is F(2x2, 3x3) of Lavin and Gray (CVPR 2016,
https://arxiv.org/abs/1509.09308).

A tile is computed whole, also if only some of its positions are rows; what has no row is zero.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from sact_tf.sparse.tensors import behind_nothing, constant, in_parts, length

_ENTER = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
_KERNEL = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
_LEAVE = np.array([[1, 1, 1, 0], [0, 1, -1, -1]])
PLACES, POSITIONS = 16, 4
# Measured, see benchmarks/README.md: the sums pay from so many channels on, ...
WIDE = 256
# ... and from so many positions on, since 16 kernels take longer to read than nine.
FEWEST = 192


class Tiles(NamedTuple):
    """The tiles in which own rows are; see `rows.Rows`.

    Attributes:
        table: int32 `(tiles, 16)`, the rows that each of them reads, counted from 1; 0 where there is none.
        places: int32 `(own,)`, where an own row is among the positions of all tiles.
        worth: bool scalar, whether to compute by tiles saves time; if not, there are none.
    """

    table: tf.Tensor
    places: tf.Tensor
    worth: tf.Tensor

    @classmethod
    def none(cls):
        """No tiles."""
        return cls(tf.zeros((0, PLACES), tf.int32), tf.zeros((0,), tf.int32), tf.constant(False))

    @classmethod
    def of(cls, grid, numbers, row_of):
        """Those of some positions; none where rows one by one take less time.

        Args:
            grid: `Grid`.
            numbers: int32 `(own,)`, the positions.
            row_of: int32 `(size,)`, the row of each position of the grid, counted from 1; 0 where there is none.
        """
        if grid.narrow < WIDE:
            return cls.none()
        return cls(*tf.cond(length(numbers) >= FEWEST, lambda: _find(grid, numbers, row_of), cls.none))


def _find(grid, numbers, row_of):
    down, across = (grid.height + 1) // 2, (grid.width + 1) // 2
    image, y, x = grid.places_of(numbers)
    tile = (image * down + y // 2) * across + x // 2
    every = tf.reshape(grid.batch * down * across, (1,))
    used = tf.scatter_nd(tile[:, None], tf.ones_like(tile), every) > 0
    index = tf.cumsum(tf.cast(used, tf.int32)) - 1
    places = POSITIONS * tf.gather(index, tile) + y % 2 * 2 + x % 2
    tiles = tf.cast(tf.squeeze(tf.where(used), 1), tf.int32)
    first = grid.number_of(tiles // across // down, tiles // across % down * 2, tiles % across * 2)
    # The last tile may reach past the last border.
    row_of = tf.pad(row_of, [[0, tf.reduce_max(grid.tile_offsets)]])
    table = tf.gather(row_of, first[:, None] + grid.tile_offsets)
    # Half empty tiles multiply as often as rows one by one.
    return Tiles(table, places, 2 * length(tiles) < length(numbers))


class TiledKernel:
    """A 3x3 convolution with its bias and what follows, of tiles.

    Args:
        linear: `folding.Linear`, or a pair of kernel and bias.
        activation: function of a tensor.
    """

    def __init__(self, linear, activation):
        kernel, bias = linear
        self.kernel = constant(transformed(kernel))
        self.bias = constant(bias)
        self.enter, self.leave = constant(np.kron(_ENTER, _ENTER)), constant(np.kron(_LEAVE, _LEAVE))
        self.activation = activation

    @classmethod
    def of(cls, linear, activation):
        """The same, or `None` where it has too few channels for tiles."""
        return cls(linear, activation) if linear[0].shape[2] >= WIDE else None

    def on_rows(self, rows, tiles):
        """Rows `(rows, in_channels)` to `(own, out_channels)`."""
        rows = behind_nothing(rows)
        _, read, written = self.kernel.shape
        # A thousand tiles of 256 channels at a time: the kernels are read once for all of them.
        results = in_parts(lambda part: self._multiply(rows, part), tiles.table, 4 * read, POSITIONS * written)
        own = tf.gather(tf.reshape(results, (-1, written)), tiles.places)
        return self.activation(tf.nn.bias_add(own, self.bias))

    def _multiply(self, rows, table):
        _, read, written = self.kernel.shape
        gathered = tf.gather(rows, tf.transpose(table))
        entering = tf.matmul(self.enter, tf.reshape(gathered, (PLACES, -1)))
        products = tf.matmul(tf.reshape(entering, (PLACES, -1, read)), self.kernel)
        leaving = tf.matmul(self.leave, tf.reshape(products, (PLACES, -1)))
        leaving = tf.transpose(tf.reshape(leaving, (POSITIONS, -1, written)), (1, 0, 2))
        return tf.reshape(leaving, (-1, POSITIONS * written))


def transformed(kernel):
    """A kernel `(3, 3, in_channels, out_channels)` as the 16 that tiles are multiplied with, `(16, ...)`."""
    kernel = np.einsum("ij,jkab,lk->ilab", _KERNEL, np.asarray(kernel, "float64"), _KERNEL)
    return kernel.reshape(PLACES, *kernel.shape[2:])
