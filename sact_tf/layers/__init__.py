"""Layers: residual units, halting branches, and the block that joins them.

Four words say "where". They are bool tensors, or `None` for everywhere:

- `picture`: where a map is not padding. Images of unequal sizes, a detector's, are padded to be one batch; what is not
  padding is the picture. A block is given it in its call, and hands it to its units and branches.
- `active`: where a position has not halted, or under ACT an image; see `sact_tf.halting`.
- `kept`: where a policy of `sact_tf.depth` lets a unit run; see `unit_rules`.
- `residual_mask`, `mask` for short: where a unit adds its residual to what it was given, being active (of SACT; ACT
  has no mask) and kept.
"""

from sact_tf.layers.adaptive_block import AdaptiveBlock
from sact_tf.layers.finding import find_blocks
from sact_tf.layers.halting_branches import GlobalHaltingBranch, SpatialHaltingBranch, make_halting_branches
from sact_tf.layers.residual_units import BasicUnit, BottleneckUnit
from sact_tf.layers.threshold import halting_at
from sact_tf.layers.time_distributed import TimeDistributed

__all__ = [
    "AdaptiveBlock",
    "BasicUnit",
    "BottleneckUnit",
    "GlobalHaltingBranch",
    "SpatialHaltingBranch",
    "TimeDistributed",
    "find_blocks",
    "halting_at",
    "make_halting_branches",
]
