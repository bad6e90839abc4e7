"""A block as plain figures, folded once, for the backends that compute it: TensorFlow's runners and ONNX's graph."""

from typing import NamedTuple

import numpy as np

from sact_tf.layers import GlobalHaltingBranch, SpatialHaltingBranch
from sact_tf.sparse.folding import Bottleneck, computes_as, fold_branch, fold_unit


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
        ValueError: for a block with units or branches that the engine does not know, and weights that are no numbers.
    """
    _check_parts(block)
    _check_finite(block)
    scales = block.residual_scales(training=False)
    return Description(
        block.name,
        block.model_type,
        block.epsilon,
        [fold_unit(unit, scale) for unit, scale in zip(block.units, scales, strict=True)],
        [fold_branch(branch) for branch in block.halting_branches],
    )


def _check_finite(block):
    """Raises ValueError for weights with NaN or infinity in them: where a ReLU follows, runtimes make zero of NaN."""
    for variable in block.variables:
        values = np.asarray(variable)
        if values.dtype.kind not in "iu" and not np.isfinite(values.astype("float32")).all():
            raise ValueError(
                f"Weights of block '{block.name}' have NaN or infinity in them, as after a training that diverged, and "
                f"an engine would answer with numbers that mean nothing. Load others. Received: {variable.path}"
            )


def _check_parts(block):
    branch_kind = SpatialHaltingBranch if block.model_type == "sact" else GlobalHaltingBranch
    for branch in block.halting_branches:
        if not computes_as(branch, branch_kind):
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
        plain = {"stride": 1, "activated_shortcut": False, "projects": False}
        changed = {name: getattr(unit, name, value) for name, value in plain.items()}
        if changed != plain:
            raise ValueError(
                "The engine needs units after the first that only add to their input, with "
                f"{_settings(plain)}. Received: '{unit.name}' in block '{block.name}' with {_settings(changed)}"
            )


def _settings(values):
    return ", ".join(f"{name}={value}" for name, value in values.items())
