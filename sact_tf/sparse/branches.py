"""Folded halting branches in TensorFlow: logits of the active positions without reading wide features again.

Where nothing stands between a branch's normalization and its convolution, the branch is a linear map of the features,
and features change only by residuals, which are a linear map of few channels. So each position carries a few numbers,
its `columns`: for every branch still to come, the products of its features with the nine taps of the 3x3 kernel. A
logit is then the sum of nine numbers, tap k taken from the k-th neighbour. `rows` explains the words by an example.

`blocks.SpatialRunner` takes `LinearBranches`, or `DirectBranches` where an activation stands in between; both have
`start`, `advance` and `logits`. Runners of whole maps and images take `SpatialBranch` and `GlobalBranch`.
All logits are float32, before the sigmoid.
"""

import numpy as np
import tensorflow as tf

from sact_tf.layers.residual_units import mask_residual
from sact_tf.sparse.folding import TAPS
from sact_tf.sparse.grid import area_of
from sact_tf.sparse.tensors import constant


def make_spatial_branches(description):
    """Returns the branches of a `sact` block, for `blocks.SpatialRunner`."""
    return (LinearBranches if description.has_linear_branches else DirectBranches)(description)


class LinearBranches:
    """Branches whose logits are a linear map of the features.

    Args:
        description: `Description` of a block that `has_linear_branches`.
    """

    def __init__(self, description):
        branches = description.branches
        local, pooled = zip(*[(branch.local_columns(), branch.pooled_column()) for branch in branches], strict=True)
        self.biases = [branch.local.convolution.bias[0] for branch in branches]
        first = np.concatenate([kernel for kernel, _ in local + pooled], axis=1)
        shift = np.concatenate([shift for _, shift in local + pooled])
        joint = description.units[0].joint
        if joint is not None:
            first, shift = joint.kernel[0, 0] @ first, joint.bias @ first + shift
        self._first, self._shift = constant(first), constant(shift)
        # Unit l > 0 changes what branches l and later read.
        self._steps = [None]
        for index, unit in enumerate(description.units[1:-1], 1):
            later = [kernel for kernel, _ in local[index:] + pooled[index:]]
            self._steps.append(constant(unit.through(np.concatenate(later, axis=1))))
        self._count = len(branches)

    def start(self, features, source, grid):
        """What the branches know of a block's first unit.

        Args:
            features: `(batch, height, width, channels)` after that unit.
            source: what they are the unit's `joint` of, or themselves; see `units.BottleneckTensors.with_source`.
            grid: `Grid` of them.

        Returns:
            `(columns, pooled)`: columns of all positions, `(positions, 9 * branches)`, and `(batch, branches)`, the
            part of the logits that comes from the image's mean features.
        """
        del features
        rows = tf.reshape(source, (-1, source.shape[-1]))
        columns = grid.mask(tf.nn.bias_add(tf.matmul(rows, self._first), self._shift))
        pooled = tf.reshape(columns[:, TAPS * self._count :], (grid.batch, -1, self._count))
        mean = tf.reduce_mean(pooled, 1) if grid.picture is None else tf.reduce_sum(pooled, 1) / grid.area
        return columns[:, : TAPS * self._count], mean

    def advance(self, index, rows, pooled, residual, narrow, grid):
        """What they know after unit `index` > 0: the same, of the branches from `index` on.

        Args:
            index: int, of the unit.
            rows: `Rows` before the unit.
            pooled: `(batch, branches)` from the call before.
            residual: `(own, channels)`, what the unit added.
            narrow: `(own, narrow)`, of which `residual` is a linear map.
            grid: `Grid`.
        """
        del residual
        later = self._count - index
        change, of_image = tf.split(tf.matmul(narrow, self._steps[index]), (TAPS * later, later), 1)
        columns = rows.add(rows.columns[:, TAPS:], change)
        sums = tf.math.unsorted_segment_sum(of_image, rows.images, grid.batch)
        return columns, pooled[:, 1:] + sums / grid.area

    def logits(self, index, rows, pooled):
        """Logits `(own,)` of the halting probability after unit `index`; `rows` and `pooled` are those after it."""
        return (
            _sum_taps(rows.columns[:, :TAPS], rows) + tf.gather(pooled[:, 0], rows.images) + float(self.biases[index])
        )


class DirectBranches:
    """Branches with an activation after the normalization: their 3x3 kernels read the features.

    Rows carry no columns, `(positions, 0)`, or where maps are padded a column that is 1 in the picture and 0 in the
    padding; `pooled` is the image's mean features, `(batch, channels)`.
    """

    def __init__(self, description):
        self._branches = [_DirectBranch(branch) for branch in description.branches]

    def start(self, features, source, grid):
        """See `LinearBranches`."""
        del source
        positions = tf.reduce_prod(tf.shape(features)[:3])
        columns = grid.mask(tf.ones((positions, 0 if grid.picture is None else 1)))
        return columns, mean_of(features, grid.picture)

    def advance(self, index, rows, pooled, residual, narrow, grid):
        """See `LinearBranches`."""
        del index, narrow
        sums = tf.math.unsorted_segment_sum(residual, rows.images, grid.batch)
        return rows.columns, pooled + sums / grid.area

    def logits(self, index, rows, pooled):
        """See `LinearBranches`."""
        branch = self._branches[index]
        columns = branch.columns(rows.features)
        if rows.columns.shape[-1]:
            columns = mask_residual(columns, rows.columns > 0.0)
        return _sum_taps(columns, rows) + tf.gather(branch.pooled_logit(pooled), rows.images)


class _DirectBranch:
    """One of the `DirectBranches`: rows `(rows, channels)` times the taps, `(rows, 9)`, computed when asked for."""

    def __init__(self, branch):
        self.scale, self.shift = map(constant, branch.local.normalization)
        self.taps = constant(branch.local.taps)
        self.bias = constant(branch.local.convolution.bias)
        self.pooled = GlobalBranch(branch)
        self.activation = branch.pooled.activation

    def columns(self, rows):
        normalized = rows * self.scale + self.shift
        return tf.matmul(self.activation(normalized), self.taps)

    def pooled_logit(self, mean):
        return self.pooled.logit(mean) + self.bias


class SpatialBranch:
    """SACT's branch on whole maps, for `blocks.MaskedRunner`; `branch` is a `folding.Branch`."""

    def __init__(self, branch):
        self.scale, self.shift = map(constant, branch.local.normalization)
        self.kernel, self.bias = map(constant, branch.local.convolution)
        self.pooled = GlobalBranch(branch)
        self.activation = branch.pooled.activation

    def logit(self, features):
        """Logits `(batch, height, width)` from features `(batch, height, width, channels)`."""
        normalized = self.activation(features * self.scale + self.shift)
        local = tf.nn.conv2d(normalized, self.kernel, 1, "SAME")[..., 0] + self.bias
        return local + self.pooled.logit(tf.reduce_mean(features, (1, 2)))[:, None, None]


class GlobalBranch:
    """ACT's branch, and the half of SACT's that reads the mean features of an image; of a `folding.Branch`."""

    def __init__(self, branch):
        pooled = branch.pooled
        self.scale, self.shift = map(constant, pooled.normalization)
        self.kernel, self.bias = constant(pooled.kernel), constant(pooled.bias)
        self.activation = pooled.activation

    def logit(self, mean):
        """Logits `(batch,)` from the mean features `(batch, channels)`."""
        normalized = mean * self.scale + self.shift
        return (tf.matmul(self.activation(normalized), self.kernel) + self.bias)[:, 0]


def mean_of(features, picture=None):
    """Mean features of each image, `(batch, channels)`, over the positions where `picture` is True."""
    if picture is None:
        return tf.reduce_mean(features, (1, 2))
    return tf.reduce_sum(mask_residual(features, picture), (1, 2)) / area_of(features, picture)


def _sum_taps(columns, rows):
    """Adds up, for each own row, tap k of its k-th neighbour: columns `(rows, 9)` to `(own,)`."""
    flat = tf.reshape(tf.pad(columns, ((1, 0), (0, 0))), (-1,))
    return tf.reduce_sum(tf.gather(flat, rows.table * TAPS + tf.range(TAPS)), 1)
