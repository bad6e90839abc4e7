"""Folded residual units in TensorFlow: on whole maps, and on the pixel rows of the positions that are still active.

The runners in `blocks` call them: `on_map` for a block's first unit (and all of a `vanilla` block), `residual_on_map`
for whole maps or images, `residual` for `Rows`. The words `own`, `table` and `ring` are explained in `rows`. All is
float32. A `picture`, bool `(batch, height, width, 1)`, is False where maps are padded: zeros are read there.
"""

import numpy as np
import tensorflow as tf

from sact_tf.layers.residual_units import mask_residual
from sact_tf.sparse.folding import Bottleneck
from sact_tf.sparse.rows import convolve
from sact_tf.sparse.tensors import Clipping, Kernel, constant, in_parts, leaky_relu, twice_leaky_relu
from sact_tf.sparse.tiles import TiledKernel


def make_unit(folded, index, on_rows=False):
    """Returns the unit that a `folding.Bottleneck` or a `folding.Basic` describes.

    Args:
        folded: the description.
        index: int, its place in the block; the first one runs in every call.
        on_rows: bool, whether rows of positions will be computed (`residual`) rather than whole maps.
    """
    if isinstance(folded, Bottleneck):
        return BottleneckTensors(folded, on_rows, always=index == 0)
    return BasicTensors(folded)


class BottleneckTensors:
    """Clip, 1x1, 3x3 and 1x1 convolution; see `folding.Bottleneck`.

    Attributes:
        reach: int, how many positions away a position's residual depends on the features: the border of the `Grid`.
        narrow: int, how many channels the 3x3 convolution reads; 0 for units that are not computed by tiles.
    """

    reach = 1

    def __init__(self, folded, on_rows=False, always=False):
        self.stride = folded.stride
        self.clip = Clipping(folded.clip)
        self.reduce = Kernel(folded.reduce, tf.nn.relu, always)
        self.middle = Kernel(folded.middle, tf.nn.relu, always)
        self.narrow = folded.middle.kernel.shape[2]
        self.joint = self.shortcut = self.expand = self.tiled = None
        if on_rows:
            self._masked_expand = constant(folded.through(np.eye(folded.expand.kernel.shape[-1])))
            self.tiled = TiledKernel.of(folded.middle, tf.nn.relu)
        elif folded.joint is not None:
            self.joint = Kernel(folded.joint, always=always)
        else:
            self.expand = Kernel(folded.expand, always=always)
            if folded.shortcut is not None:
                # Its bias includes that of the last convolution: both are added at once.
                bias = folded.shortcut.bias + folded.expand.bias
                self.shortcut = Kernel((folded.shortcut.kernel, bias), always=always)

    def on_map(self, features, picture=None):
        """Features `(batch, height, width, channels)` after the unit."""
        return self.with_source(features, picture)[0]

    def with_source(self, features, picture=None):
        """Features after the unit, and their source: what `Bottleneck.joint` makes them of, else the features."""
        clipped = self.clip(features)
        narrow = self._narrow(clipped, picture, self.stride)
        if self.joint is not None:
            source = tf.concat([narrow, clipped], -1)
            return self.joint.on_map(source), source
        if self.shortcut is None:
            features = features[:, :: self.stride, :: self.stride] + self.expand.on_map(narrow)
        else:
            shortcut = self.shortcut.on_map(clipped, self.stride)
            features = shortcut + tf.nn.conv2d(narrow, self.expand.kernel, 1, "SAME")
        return features, features

    def residual_on_map(self, features, picture=None):
        """What the unit adds to features `(batch, height, width, channels)`; stride 1 only."""
        return self.expand.on_map(self._narrow(self.clip(features), picture))

    def _narrow(self, clipped, picture, stride=1):
        # The 3x3 convolution is the only one that reads neighbours.
        return self.middle.on_map(mask_residual(self.reduce.on_map(clipped), picture), stride)

    def residual(self, rows, active, grid):
        """What the unit adds to the rows.

        Args:
            rows: `Rows`.
            active: float32 `(own, 1)`, 1 where a row is active, 0 where it has halted.
            grid: `Grid`.

        Returns:
            `(residual, narrow)`: `(own, channels)`, and the masked rows before the last convolution, `(own, narrow)`,
            of which the residual is a linear map.
        """
        reduced = in_parts(
            lambda part: self.reduce.on_rows(self.clip(part)), rows.features, *self.reduce.kernel.shape[2:]
        )

        def everywhere():
            narrow = self.middle.on_map(mask_residual(grid.to_map(reduced), grid.picture))
            return tf.reshape(narrow, (-1, narrow.shape[-1]))

        def gathered():
            return convolve(self.middle, reduced, rows.table)

        def one_by_one():
            return tf.cond(rows.complete, everywhere, gathered)

        def by_tiles():
            return self.tiled.on_rows(reduced, rows.tiles)

        narrow = one_by_one() if self.tiled is None else tf.cond(rows.tiles.worth, by_tiles, one_by_one)
        # One channel more, 1 where a position is active, carries the last bias. It is not one of the 3x3 convolution:
        # a product of 65 channels takes a fifth longer than one of 64. Where a position has halted, that may overflow,
        # and infinity * 0 is NaN.
        narrow = tf.math.multiply_no_nan(narrow, active)
        narrow = tf.concat([narrow, active], 1)
        return tf.matmul(narrow, self._masked_expand), narrow


class BasicTensors:
    """Normalization, leaky ReLU and two 3x3 convolutions; see `folding.Basic`. Attributes as `BottleneckTensors`."""

    # The second convolution reads the ring, for which the first one reads one position further.
    reach = 2
    narrow = 0

    def __init__(self, folded):
        self.has_shortcut = folded.has_shortcut
        self.stride = folded.stride
        self.activated_shortcut = folded.activated_shortcut
        self.padding = folded.padding
        self.scale, self.shift = map(constant, folded.enter)
        self.first = Kernel(folded.first, twice_leaky_relu)
        self.second = Kernel(folded.second)

    def _enter(self, features):
        return leaky_relu(features * self.scale + self.shift)

    def _first_on_map(self, entered):
        return self.first.finish(tf.nn.conv2d(entered, self.first.kernel, self.stride, "SAME"))

    def on_map(self, features, picture=None):
        """Features `(batch, height, width, channels)` after the unit; `BasicUnit` takes no picture."""
        del picture
        entered = self._enter(features)
        residual = self.second.on_map(self._first_on_map(entered))
        if not self.has_shortcut:
            return residual
        return self._shortcut(entered if self.activated_shortcut else features) + residual

    def with_source(self, features, picture=None):
        """Features after the unit, and their source, which are the features themselves; see `BottleneckTensors`."""
        return (self.on_map(features, picture),) * 2

    def _shortcut(self, features):
        if self.stride > 1:
            features = tf.nn.avg_pool2d(features, self.stride, self.stride, "SAME")
        return tf.pad(features, ((0, 0), (0, 0), (0, 0), (self.padding,) * 2)) if self.padding else features

    def residual_on_map(self, features, picture=None):
        """What the unit adds to features `(batch, height, width, channels)`; stride 1 only."""
        del picture
        return self.second.on_map(self._first_on_map(self._enter(features)))

    def residual(self, rows, active, grid):
        """What the unit adds to the rows, and `None`: there is no narrower form of it. See `BottleneckTensors`."""

        def everywhere():
            residual = self.residual_on_map(grid.to_map(rows.features))
            return tf.reshape(residual, (-1, residual.shape[-1]))

        def gathered():
            entered = self._enter(rows.features)
            inner = convolve(self.first, entered, tf.concat([rows.table, rows.ring_table], 0))
            return convolve(self.second, inner, rows.table)

        return tf.math.multiply_no_nan(tf.cond(rows.complete, everywhere, gathered), active), None
