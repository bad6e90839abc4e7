"""Folded residual units: on whole maps, and on the pixel rows of the positions that are still active.

The runners in `blocks` call them: `on_map` for a block's first unit (and all of a `vanilla` block), `residual_on_map`
for whole maps or images, `residual` for `Rows`. The words `own`, `table` and `ring` are explained in `rows`. All is
float32. A `picture`, bool `(batch, height, width, 1)`, is False where maps are padded: zeros are read there.
"""

import numpy as np
import tensorflow as tf

from sact_tf.layers import BasicUnit, BottleneckUnit
from sact_tf.layers.residual_units import mask_residual
from sact_tf.sparse.folding import (
    Clip,
    Kernel,
    Normalization,
    bias_of,
    constant,
    kernel_of,
    leaky_relu,
    twice_leaky_relu,
)
from sact_tf.sparse.rows import gather_neighbours


def fold_unit(unit, on_rows=False, residual_scale=None):
    """Returns the folded form of a built `BottleneckUnit` or `BasicUnit`.

    Args:
        unit: the layer.
        on_rows: bool, whether rows of positions will be computed (`residual`) rather than whole maps.
        residual_scale: float that the residual is multiplied by, as of stochastic depth; `None` for 1.

    Raises:
        ValueError: for a layer of another kind.
    """
    for kind, folded in ((BottleneckUnit, FoldedBottleneck), (BasicUnit, FoldedBasic)):
        # A subclass may compute something else.
        if getattr(type(unit), "call", None) is kind.call:
            return folded(unit, on_rows, 1.0 if residual_scale is None else residual_scale)
    raise ValueError(
        f"The engine knows BottleneckUnit and BasicUnit, and cannot skip positions in a {type(unit).__name__}. "
        "Use one of the two, or run the model itself."
    )


class FoldedBottleneck:
    """Clip, 1x1, 3x3 and 1x1 convolution; see `BottleneckUnit`.

    Attributes:
        reach: int, how many positions away a position's residual depends on the features: the border of the `Grid`.
        masked_expand: `(narrow, channels)`, the last 1x1 convolution with its bias, where rows are computed.
    """

    reach = 1

    def __init__(self, unit, on_rows=False, residual_scale=1.0):
        self.stride = unit.stride
        last_kernel, last_bias = kernel_of(unit.conv3) * residual_scale, bias_of(unit.conv3) * residual_scale
        self.clip = Clip(Normalization.of(unit.preact))
        self.reduce = self._reduce(unit)
        self.shortcut = self._shortcut(unit, last_bias) if unit.projects else None
        scale, shift = Normalization.of(unit.norm2)
        kernel = kernel_of(unit.conv2) * scale
        if on_rows:
            # One channel more, always 1: masked together with the others, it carries the last bias.
            kernel, shift = np.pad(kernel, ((0, 0), (0, 0), (0, 0), (0, 1))), np.append(shift, 1.0)
            self.masked_expand = constant(np.concatenate([last_kernel[0, 0], last_bias[None]]))
        else:
            self.expand = Kernel(last_kernel, last_bias)
        self.middle = Kernel(kernel, shift, tf.nn.relu)

    def _reduce(self, unit):
        kernel, bias = self.clip.after.followed_by(kernel_of(unit.conv1)[0, 0])
        scale, shift = Normalization.of(unit.norm1)
        return Kernel((kernel * scale)[None, None], bias * scale + shift, tf.nn.relu)

    def _shortcut(self, unit, last_bias):
        kernel, bias = self.clip.after.followed_by(kernel_of(unit.shortcut)[0, 0])
        # Its bias and that of the last convolution are added once.
        return Kernel(kernel[None, None], bias + bias_of(unit.shortcut) + last_bias)

    def on_map(self, features, picture=None):
        """Features `(batch, height, width, channels)` after the unit."""
        clipped = self.clip(features)
        narrow = self._narrow(clipped, picture, self.stride)
        if self.shortcut is None:
            return features[:, :: self.stride, :: self.stride] + self.expand.on_map(narrow)
        return self.shortcut.on_map(clipped, self.stride) + tf.nn.conv2d(narrow, self.expand.kernel, 1, "SAME")

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
        reduced = self.reduce.on_rows(self.clip(rows.features))

        def everywhere():
            narrow = self.middle.on_map(mask_residual(grid.to_map(reduced), grid.picture))
            return tf.reshape(narrow, (-1, narrow.shape[-1]))

        def gathered():
            return self.middle.on_rows(gather_neighbours(reduced, rows.table))

        narrow = tf.cond(rows.complete, everywhere, gathered) * active
        return tf.matmul(narrow, self.masked_expand), narrow


class FoldedBasic:
    """Normalization, leaky ReLU and two 3x3 convolutions; see `BasicUnit`. `reach` as of `FoldedBottleneck`."""

    # The second convolution reads the ring, for which the first one reads one position further.
    reach = 2

    def __init__(self, unit, on_rows=False, residual_scale=1.0):
        del on_rows  # the same kernels serve both
        self.has_shortcut = unit.has_shortcut
        self.stride = unit.stride
        self.activated_shortcut = unit.activated_shortcut
        self.padding = unit.shortcut_padding
        self.scale, self.shift = map(constant, Normalization.of(unit.preact))
        scale, shift = Normalization.of(unit.norm1)
        self.first = Kernel(kernel_of(unit.conv1) * scale, bias_of(unit.conv1) * scale + shift, twice_leaky_relu)
        self.second = Kernel(kernel_of(unit.conv2) * residual_scale, bias_of(unit.conv2) * residual_scale)

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

    def _shortcut(self, features):
        if self.stride > 1:
            features = tf.nn.avg_pool2d(features, self.stride, self.stride, "SAME")
        return tf.pad(features, ((0, 0), (0, 0), (0, 0), (self.padding,) * 2)) if self.padding else features

    def residual_on_map(self, features, picture=None):
        """What the unit adds to features `(batch, height, width, channels)`; stride 1 only."""
        del picture
        return self.second.on_map(self._first_on_map(self._enter(features)))

    def residual(self, rows, active, grid):
        """What the unit adds to the rows, and `None`: there is no narrower form of it. See `FoldedBottleneck`."""

        def everywhere():
            residual = self.residual_on_map(grid.to_map(rows.features))
            return tf.reshape(residual, (-1, residual.shape[-1]))

        def gathered():
            entered = self._enter(rows.features)
            inner = self.first.on_rows(gather_neighbours(entered, tf.concat([rows.table, rows.ring_table], 0)))
            return self.second.on_rows(gather_neighbours(inner, rows.table))

        return tf.cond(rows.complete, everywhere, gathered) * active, None
