"""Folded residual units: on whole maps, and on the pixel rows of the positions that are still active."""

import numpy as np
import tensorflow as tf

from sact_tf.layers import BasicUnit, BottleneckUnit
from sact_tf.sparse.folding import Clip, Kernel, Normalization, bias_of, constant, kernel_of, leaky_relu, twice_leaky_relu


def fold_unit(unit):
    """Returns the folded form of a built `BottleneckUnit` or `BasicUnit`.

    Raises:
        ValueError: for a layer of another kind.
    """
    for kind, folded in ((BottleneckUnit, FoldedBottleneck), (BasicUnit, FoldedBasic)):
        if isinstance(unit, kind):
            return folded(unit)
    raise ValueError(
        f"The engine knows BottleneckUnit and BasicUnit, and cannot skip positions in a {type(unit).__name__}. "
        "Use one of the two, or run the model itself."
    )


class FoldedBottleneck:
    """Clip, 1x1, 3x3 and 1x1 convolution; see `BottleneckUnit`.

    Attributes:
        reach: int, how many positions away a position's residual depends on the features.
    """

    reach = 1

    def __init__(self, unit):
        self.stride = unit.stride
        self.clip = Clip(Normalization.of(unit.preact))
        self.reduce = self._reduce(unit)
        scale, shift = Normalization.of(unit.norm2)
        self.middle = Kernel(kernel_of(unit.conv2) * scale, shift, tf.nn.relu)
        self.expand = Kernel(kernel_of(unit.conv3), bias_of(unit.conv3))
        self.shortcut = self._shortcut(unit) if unit.projects else None
        # One channel more, always 1: masked together with the others, it carries the last bias.
        narrow = unit.bottleneck_filters
        self.masked_middle = Kernel(
            np.pad(self.middle.kernel, ((0, 0), (0, 0), (0, 0), (0, 1))), np.append(self.middle.bias, 1.0), tf.nn.relu
        )
        self.masked_expand = np.concatenate([self.expand.kernel.reshape(narrow, -1), self.expand.bias[None]])

    def _reduce(self, unit):
        kernel, bias = self.clip.after.followed_by(kernel_of(unit.conv1)[0, 0])
        scale, shift = Normalization.of(unit.norm1)
        return Kernel((kernel * scale)[None, None], bias * scale + shift, tf.nn.relu)

    def _shortcut(self, unit):
        kernel, bias = self.clip.after.followed_by(kernel_of(unit.shortcut)[0, 0])
        # Its bias and that of the last convolution are added once.
        return Kernel(kernel[None, None], bias + bias_of(unit.shortcut) + bias_of(unit.conv3))

    def on_map(self, features):
        """Features `(batch, height, width, channels)` after the unit."""
        clipped = self.clip(features)
        narrow = self.middle.on_map(self.reduce.on_map(clipped), self.stride)
        if self.shortcut is None:
            return features[:, :: self.stride, :: self.stride] + self.expand.on_map(narrow)
        return self.shortcut.on_map(clipped, self.stride) + tf.nn.conv2d(narrow, constant(self.expand.kernel), 1, "SAME")

    def residual_on_map(self, features):
        """What the unit adds to features `(batch, height, width, channels)`; stride 1 only."""
        return self.expand.on_map(self.middle.on_map(self.reduce.on_map(self.clip(features))))

    def residual(self, rows, active, grid):
        """What the unit adds to the rows, and the masked narrow rows that this is a linear map of.

        Args:
            rows: `Rows`.
            active: float32 `(rows, 1)`, 1 where a row is active, 0 where it has halted.
            grid: `Grid`.
        """
        own = self.reduce.on_rows(self.clip(rows.features))

        def everywhere():
            narrow = self.masked_middle.on_map(grid.to_map(own))
            return tf.reshape(narrow, (-1, narrow.shape[-1]))

        def gathered():
            halo = self.reduce.on_rows(self.clip(rows.halo))
            return self.masked_middle.on_rows(rows.gather_neighbours(own, halo))

        narrow = tf.cond(rows.complete, everywhere, gathered) * active
        return tf.matmul(narrow, constant(self.masked_expand)), narrow


class FoldedBasic:
    """Normalization, leaky ReLU and two 3x3 convolutions; see `BasicUnit`."""

    reach = 2

    def __init__(self, unit):
        self.stride = unit.stride
        self.activated_shortcut = unit.activated_shortcut
        self.padding = unit.shortcut_padding
        self.normalization = Normalization.of(unit.preact)
        scale, shift = Normalization.of(unit.norm1)
        self.first = Kernel(kernel_of(unit.conv1) * scale, bias_of(unit.conv1) * scale + shift, twice_leaky_relu)
        self.second = Kernel(kernel_of(unit.conv2), bias_of(unit.conv2))

    def _enter(self, features):
        return leaky_relu(features * constant(self.normalization.scale) + constant(self.normalization.shift))

    def _first_on_map(self, entered):
        kernel = constant(self.first.kernel)
        return self.first.finish(tf.nn.conv2d(entered, kernel, self.stride, "SAME"))

    def on_map(self, features):
        """Features `(batch, height, width, channels)` after the unit."""
        entered = self._enter(features)
        residual = self.second.on_map(self._first_on_map(entered))
        return self._shortcut(entered if self.activated_shortcut else features) + residual

    def _shortcut(self, features):
        if self.stride > 1:
            features = tf.nn.avg_pool2d(features, self.stride, self.stride, "SAME")
        return tf.pad(features, ((0, 0), (0, 0), (0, 0), (self.padding,) * 2)) if self.padding else features

    def residual_on_map(self, features):
        """What the unit adds to features `(batch, height, width, channels)`; stride 1 only."""
        return self.second.on_map(self._first_on_map(self._enter(features)))

    def residual(self, rows, active, grid):
        """What the unit adds to the rows; there is no narrower form of it. See `FoldedBottleneck`."""

        def everywhere():
            residual = self.residual_on_map(grid.to_map(rows.features))
            return tf.reshape(residual, (-1, residual.shape[-1]))

        def gathered():
            own, halo = self._enter(rows.features), self._enter(rows.halo)
            inner = self.first.on_rows(rows.gather_neighbours(own, halo, ring=True))
            count = tf.shape(own)[0]
            return self.second.on_rows(rows.gather_neighbours(inner[:count], inner[count:]))

        return tf.cond(rows.complete, everywhere, gathered) * active, None
