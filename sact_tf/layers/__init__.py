"""Layers: residual units, halting branches, and the block that joins them."""

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
