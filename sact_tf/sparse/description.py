"""A block as plain figures, folded once, for the backends that compute it: TensorFlow's runners and ONNX's graph."""

from typing import NamedTuple

from sact_tf.layers import GlobalHaltingBranch, SpatialHaltingBranch
from sact_tf.sparse.folding import Bottleneck, fold_branch, fold_unit


class Description(NamedTuple):
    """An `AdaptiveBlock`.

    Attributes:
        name: str.
        model_type: one of `sact_tf.config.MODEL_TYPES`.
        epsilon: float, see `AdaptiveBlock`.
        units: list of `folding.Bottleneck` and `folding.Basic`.
        branches: list of `folding.Branch`, one for every unit but the last; of a `vanilla` block none.
    """

    name: str
    model_type: str
    epsilon: float
    units: list
    branches: list

    @property
    def has_linear_branches(self):
        """Whether logits can be known from the few channels that each residual is made of."""
        narrow = all(isinstance(unit, Bottleneck) for unit in self.units[1:])
        return bool(self.branches) and narrow and all(branch.is_linear for branch in self.branches)


def describe(block):
    """Returns the `Description` of a built `AdaptiveBlock`.

    Raises:
        ValueError: for a block with units or branches that the engine does not know.
    """
    _check_parts(block)
    scales = block.residual_scales(training=False)
    return Description(
        block.name,
        block.model_type,
        block.epsilon,
        [fold_unit(unit, scale) for unit, scale in zip(block.units, scales, strict=True)],
        [fold_branch(branch) for branch in block.halting_branches],
    )


def _check_parts(block):
    branch_kind = SpatialHaltingBranch if block.model_type == "sact" else GlobalHaltingBranch
    for branch in block.halting_branches:
        # A subclass may compute something else.
        if type(branch).call is not branch_kind.call:
            raise ValueError(
                f"The engine knows no halting branches of a {block.model_type} block but {branch_kind.__name__}. "
                f"Received: {type(branch).__name__} in block '{block.name}'. Run the model itself."
            )
    for unit in block.units if block.model_type != "vanilla" else ():
        if not getattr(unit, "has_shortcut", True):
            raise ValueError(
                "The engine needs units with a shortcut in a block that halts. Received: "
                f"'{unit.name}' in block '{block.name}' with has_shortcut=False"
            )
    for unit in block.units[1:] if block.model_type != "vanilla" else ():
        stride, activated = getattr(unit, "stride", 1), getattr(unit, "activated_shortcut", False)
        if stride != 1 or activated:
            raise ValueError(
                "The engine needs units after the first that only add to their input: stride=1 and "
                f"activated_shortcut=False. Received: '{unit.name}' in block '{block.name}' with stride={stride} and "
                f"activated_shortcut={activated}"
            )
