"""The positions that a block still computes, as rows of a matrix: which they are, and what surrounds them."""

from typing import NamedTuple

import tensorflow as tf

# Row 0 of every gathered table: what a convolution reads outside of the image, or where nobody looks.
_NOTHING = 1


class Grid:
    """Numbering of the positions of `batch` maps, each with a border of one position around it.

    Attributes:
        batch, height, width: int32 scalars.
        inside: int32 `(batch * height * width,)`, numbers of the positions that are not border.
        size: int32 scalar, how many positions there are, borders included.
    """

    def __init__(self, features):
        shape = tf.shape(features)
        self.batch, self.height, self.width = shape[0], shape[1], shape[2]
        self.row_length = self.width + 2
        self.map_length = (self.height + 2) * self.row_length
        self.size = self.batch * self.map_length
        maps = tf.range(self.batch)[:, None, None] * self.map_length
        rows = tf.range(1, self.height + 1)[:, None] * self.row_length
        self.inside = tf.reshape(maps + rows + tf.range(1, self.width + 1), (-1,))
        steps = tf.range(-1, 2)
        self.neighbours = tf.reshape(steps[:, None] * self.row_length + steps, (1, 9))
        self.is_inside = tf.reshape(
            tf.pad(tf.ones((self.batch, self.height, self.width), tf.bool), ((0, 0), (1, 1), (1, 1))), (-1,)
        )

    def dilate(self, marked):
        """Bool `(size,)`, True inside the maps at a marked position or next to one."""
        maps = tf.reshape(tf.cast(marked, tf.float32), (self.batch, self.height + 2, self.row_length, 1))
        dilated = tf.nn.max_pool2d(maps, 3, 1, "SAME")
        return tf.logical_and(tf.reshape(dilated > 0, (-1,)), self.is_inside)

    def scatter(self, numbers, values):
        """`(size, ...)`, zero but for `values` at the positions of these numbers."""
        shape = tf.concat([self.size[None], tf.shape(values)[1:]], 0)
        return tf.scatter_nd(numbers[:, None], values, shape)

    def crop(self, values):
        """`(size, ...)` to `(batch, height, width, ...)`, without the borders."""
        channels = values.shape[1:]
        maps = tf.reshape(values, [self.batch, self.height + 2, self.row_length, *channels])
        return maps[:, 1:-1, 1:-1]

    def to_map(self, rows):
        """Rows of all positions as `(batch, height, width, channels)`."""
        return tf.reshape(rows, (self.batch, self.height, self.width, rows.shape[-1]))

    def image_of(self, numbers):
        """Which image of the batch each position is in, int32."""
        return numbers // self.map_length


class Rows(NamedTuple):
    """What is computed: active positions, and the halted ones around them that their convolutions read.

    Between two compactions positions halt and stay among the rows; `active` is 0 for them.

    Attributes:
        features: `(rows, channels)` of the rows.
        halo: `(others, channels)`: first the ring of positions next to the rows, then, if needed, the next ring.
        output: `(rows, channels)`, the block's output so far.
        columns: `(rows, k)`, `halo_columns`: `(others, k)`; see `branches`.
        numbers, halo_numbers: int32, the rows' positions in the `Grid`.
        table: int32 `(rows + ring, 9)`, for each position the rows of its neighbours, counted from 1; 0 for none.
        images: int32 `(rows,)`, which image of the batch a row belongs to.
        complete: bool scalar: nothing has been taken away yet, the rows are whole maps.
    """

    features: tf.Tensor
    halo: tf.Tensor
    output: tf.Tensor
    columns: tf.Tensor
    halo_columns: tf.Tensor
    numbers: tf.Tensor
    halo_numbers: tf.Tensor
    table: tf.Tensor
    images: tf.Tensor
    complete: tf.Tensor

    def gather_neighbours(self, own, halo, ring=False):
        """For each row (and, if asked for, each position of the ring) nine rows side by side, `(..., 9 * channels)`.

        Args:
            own: `(rows, channels)`.
            halo: `(others, channels)`.
        """
        table = self.table if ring else self.table[: tf.shape(own)[0]]
        gathered = tf.gather(tf.concat([tf.zeros_like(own[:_NOTHING]), own, halo], 0), table)
        return tf.reshape(gathered, (-1, 9 * own.shape[-1]))


def start(features, columns, grid):
    """Rows of whole maps `(batch, height, width, channels)`; `columns` are those of all positions."""
    rows = tf.reshape(features, (-1, features.shape[-1]))
    nobody = grid.inside[:0]
    return Rows(
        rows,
        rows[:0],
        rows,
        columns,
        columns[:0],
        grid.inside,
        nobody,
        _look_up_neighbours(grid, grid.inside, nobody, nobody),
        grid.image_of(grid.inside),
        tf.constant(True),
    )


def _look_up_neighbours(grid, numbers, ring, others):
    """The `table` of `Rows` for rows, the ring around them and further rows."""
    everybody = tf.concat([numbers, ring, others], 0)
    row_of = grid.scatter(everybody, tf.range(_NOTHING, tf.shape(everybody)[0] + _NOTHING))
    # A ring never lies on the border, so that all neighbours have numbers.
    return tf.gather(row_of, tf.concat([numbers, ring], 0)[:, None] + grid.neighbours)


def compact(rows, active, grid, reach):
    """Keeps only active rows and what they need.

    Args:
        rows: `Rows`.
        active: bool `(size,)` over the grid.
        reach: int, 1 or 2: how far around an active position features are read.

    Returns:
        `(rows, numbers, output)`: the rows that are left, and position numbers and outputs of those that have halted.
    """
    needed = tf.logical_and(grid.dilate(active), tf.logical_not(active))
    stays = tf.gather(active, rows.numbers)
    kept, halted = tf.where(stays)[:, 0], tf.where(tf.logical_not(stays))[:, 0]
    halted_numbers = tf.gather(rows.numbers, halted)
    rings = [_take(rows, halted, halted_numbers, needed)]
    if reach > 1:
        further = tf.logical_and(grid.dilate(tf.logical_or(needed, active)), tf.logical_not(needed | active))
        rings.append(_take(rows, halted, halted_numbers, further))
    features, columns, numbers = (tf.concat(parts, 0) for parts in zip(*rings, strict=True))
    own_numbers = tf.gather(rows.numbers, kept)
    left = Rows(
        tf.gather(rows.features, kept),
        features,
        tf.gather(rows.output, kept),
        tf.gather(rows.columns, kept),
        columns,
        own_numbers,
        numbers,
        _look_up_neighbours(grid, own_numbers, rings[0][2], numbers[tf.shape(rings[0][2])[0] :]),
        grid.image_of(own_numbers),
        tf.constant(False),
    )
    return left, halted_numbers, tf.gather(rows.output, halted)


def _take(rows, halted, halted_numbers, wanted):
    """Features, columns and numbers of the wanted positions, out of rows that have halted and of the halo."""
    fresh = tf.boolean_mask(halted, tf.gather(wanted, halted_numbers))
    old = tf.where(tf.gather(wanted, rows.halo_numbers))[:, 0]
    pairs = ((rows.features, rows.halo), (rows.columns, rows.halo_columns), (rows.numbers, rows.halo_numbers))
    return [tf.concat([tf.gather(own, fresh), tf.gather(others, old)], 0) for own, others in pairs]
