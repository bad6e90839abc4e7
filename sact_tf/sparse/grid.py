"""Numbers of the positions of a batch of maps, by which `rows` finds what is around a position."""

import tensorflow as tf

from sact_tf.layers.residual_units import mask_residual


class Grid:
    """Numbering of the positions of a batch of maps, each with a border around it.

    What has to do with all positions, active or not (the halting state, which row a position has), is a vector over
    these numbers. Thanks to the border a neighbour is a number plus a constant, at the edge too.

    Args:
        features: `(batch, height, width, channels)`, the maps.
        border: int, width of the border in positions.
        picture: bool `(batch, height, width, 1)`, False where maps are padded; `None` without padding.
        narrow: int, how many channels the block's 3x3 convolutions read, by which `tiles` decides; 0 for no tiles.

    Attributes:
        batch, height, width: int32 scalars.
        picture, narrow: as given.
        area: float32 scalar or `(batch, 1)`, how many positions of an image are not padding, at least 1.
        size: int32 scalar, how many positions there are, borders included.
        inside: int32 `(batch * height * width,)`, numbers of the positions that are not border.
        is_picture: bool `(size,)`, what is neither border nor padding.
        tile_offsets: int32 `(16,)`, what to add to a position's number for the places that a tile reads.
    """

    def __init__(self, features, border, picture=None, narrow=0):
        self.batch, self.height, self.width, _ = tf.unstack(tf.shape(features))
        self.border = border
        self.narrow = narrow
        self._row_length = self.width + 2 * border
        self._map_length = (self.height + 2 * border) * self._row_length
        self.size = self.batch * self._map_length
        self._sizes = tf.stack([self.batch, self.height, self.width])
        self._offsets = [None, *map(self._offsets_within, range(1, border + 1))]
        self.tile_offsets = self._offsets_of(tf.range(-1, 3))
        maps = tf.range(self.batch)[:, None, None] * self._map_length
        rows = (tf.range(self.height)[:, None] + border) * self._row_length
        self.inside = tf.reshape(maps + rows + tf.range(self.width) + border, (-1,))
        self.picture = picture
        self.area = area_of(features, picture)
        of_picture = tf.ones_like(self.inside) if picture is None else tf.cast(tf.reshape(picture, (-1,)), tf.int32)
        self.is_picture = self.spread(of_picture) > 0

    def _offsets_within(self, distance):
        return self._offsets_of(tf.range(-distance, distance + 1))

    def _offsets_of(self, steps):
        return tf.reshape(steps[:, None] * self._row_length + steps, (-1,))

    def around(self, numbers, distance=1):
        """Numbers of all positions at most so far away from those of `numbers`, row by row: `(numbers, places)`."""
        return tf.expand_dims(numbers, 1) + self._offsets[distance]

    def scatter(self, numbers, values):
        """`(size,)`, zero but for `values` at the positions of these numbers."""
        return tf.scatter_nd(tf.expand_dims(numbers, 1), values, tf.reshape(self.size, (1,)))

    def spread(self, values):
        """`(size,)`, zero but for values `(batch * height * width,)` at all positions `inside`."""
        maps = tf.reshape(values, self._sizes)
        return tf.reshape(tf.pad(maps, ((0, 0), *((self.border,) * 2,) * 2)), (-1,))

    def mask(self, rows):
        """Rows of all positions, `(batch * height * width, k)`, zero where there is padding."""
        return rows if self.picture is None else mask_residual(rows, tf.reshape(self.picture, (-1, 1)))

    def crop(self, values):
        """`(size, ...)` to `(batch, height, width, ...)`, without the borders."""
        shape = [self.batch, self.height + 2 * self.border, self._row_length, *values.shape[1:]]
        return tf.reshape(values, shape)[:, self.border : -self.border, self.border : -self.border]

    def to_map(self, rows):
        """Rows of all positions as `(batch, height, width, channels)`."""
        return tf.reshape(rows, (self.batch, self.height, self.width, rows.shape[-1]))

    def number_of(self, image, y, x):
        """The number of a position, given its image and where it is in that."""
        return image * self._map_length + (y + self.border) * self._row_length + x + self.border

    def places_of(self, numbers):
        """`(image, y, x)` of positions: the inverse of `number_of`."""
        within = numbers % self._map_length
        y, x = within // self._row_length - self.border, within % self._row_length - self.border
        return self.image_of(numbers), y, x

    def image_of(self, numbers):
        """Which image of the batch each position is in, int32."""
        return numbers // self._map_length


def area_of(features, picture=None):
    """How many positions of each image are not padding: float32 `(batch, 1)`, at least 1; a scalar without padding."""
    if picture is None:
        return tf.cast(tf.reduce_prod(tf.shape(features)[1:3]), tf.float32)
    return tf.maximum(tf.reduce_sum(tf.cast(picture, tf.float32), (1, 2)), 1.0)
