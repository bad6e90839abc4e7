"""What a block costs, as plain figures of its architecture, and the count of what ran."""

import math
import operator
from typing import NamedTuple

import keras
import numpy as np
from keras import ops

from sact_tf.layers import BasicUnit, BottleneckUnit, SpatialHaltingBranch
from sact_tf.layers.checks import ints_of, known_values
from sact_tf.layers.parts import positions_within

# Of maps whose size is not known: a prime and another, so that strides can be told from what is cut off.
_A_SIZE = (61, 60)


class Convolution(NamedTuple):
    """One convolution of a residual unit.

    Attributes:
        kernel_shape: `(height, width, in_channels, out_channels)`.
        before_stride: bool, whether it runs at the resolution of the unit's input.
        dilated: bool, whether it computes, besides the active positions, those in a 3x3 window around them.
        shortcut: bool, whether it is part of the shortcut, which remains where the unit does not run.
    """

    kernel_shape: tuple
    before_stride: bool = False
    dilated: bool = False
    shortcut: bool = False


class Branch(NamedTuple):
    """One halting branch: FLOPs a position of its 3x3 convolution (0 without), and FLOPs an image."""

    local_cost: int
    global_cost: int


class BlockCosts(NamedTuple):
    """What the FLOPs of a block depend on besides its `num_units`; plain numbers, so that a Keras config can hold them.

    Attributes:
        model_type: of the block.
        stride: int, of its first unit.
        units: list of lists of `Convolution`.
        branches: list of `Branch`.
    """

    model_type: str
    stride: int
    units: list
    branches: list

    @classmethod
    def of(cls, block):
        """The costs of a built `AdaptiveBlock`; ValueError if it is not built or its convolutions are not known."""
        if not block.built:
            raise ValueError(f"Block '{block.name}' has no weights yet to count. Call it on features first.")
        units = [[Convolution(*each) for each in _convolutions(unit)] for unit in block.units]
        branches = [_branch(branch) for branch in block.halting_branches]
        return cls(block.model_type, _stride(block), units, branches)

    @classmethod
    def from_config(cls, config):
        """The costs that `list(costs)` was made of, also after JSON."""
        model_type, stride, units, branches = config
        # What has been in a saved file has lists for tuples.
        units = [[Convolution(tuple(kernel), *rest) for kernel, *rest in unit] for unit in units]
        return cls(model_type, stride, units, [Branch(*branch) for branch in branches])

    @property
    def halts(self):
        return self.model_type != "vanilla"

    def output_size(self, input_size):
        """Height and width after the block, int `(2,)`."""
        return (input_size + self.stride - 1) // self.stride

    def count(self, input_size, batch, num_units=None, kept=None):
        """FLOPs of the block for each image, int64 `(batch,)`.

        Args:
            input_size: int `(2,)`, height and width of the features that enter it, or `(batch, 2)`, those of the part
                of each map that is no padding.
            batch: int, number of images.
            num_units: as in `sact_tf.flops.count_block`.
            kept: bool `(units,)`, `(batch, units)` or `(batch, height, width, units)`; `None` if no unit was left out.

        Raises:
            ValueError: for maps of another size than a block returns of such features.
        """
        maps = [(name, each) for name, each in (("num_units", num_units), ("kept", kept)) if each is not None]
        for name, each in maps:
            _check_maps(name, each, input_size, self.output_size(input_size))
        sizes = [input_size] + [self.output_size(input_size)] * (len(self.units) - 1)
        flops = ops.zeros((batch,), "int64")
        for index, (convolutions, size) in enumerate(zip(self.units, sizes, strict=True)):
            running = _Positions(index, num_units, size, self.output_size(input_size), batch, kept, self.stride)
            for convolution in convolutions:
                flops = flops + running.count(convolution) * cost(convolution.kernel_shape)
            if index < len(self.branches):
                flops = flops + self._count_branch(index, running)
        return flops

    def _count_branch(self, index, running):
        """The local 3x3 convolution where the unit ran, and one multiplication of the pooled features an image."""
        local, pooled = self.branches[index]
        # SACT's branch reads the mean of an image whatever of it has halted, ACT's that of images that have not.
        return running.outputs() * local + pooled if local else running.images() * pooled


class _Positions:
    """How many positions of each image unit `index` of a block computes, int64 `(batch,)`.

    Where it runs is the shape of `active`: everywhere (`None`), or bool `()`, `(batch,)` or `(batch, height, width)`.
    """

    def __init__(self, index, num_units, input_size, output_size, batch, kept=None, stride=1):
        self.batch = batch
        self.input_area, self.output_area = area(input_size), area(output_size)
        # How many positions of its input the first unit computes for one of its output.
        self.inputs_of_one = stride**2 if index == 0 else 1
        self.active = _where_it_runs(index, num_units, kept)
        self.spatial = self.active is not None and len(self.active.shape) == 3
        # Where images have sizes of their own, maps are padded, below and to the right.
        self.sizes = output_size if len(output_size.shape) == 2 else None

    def count(self, convolution):
        """Positions that one of the unit's convolutions computes."""
        everywhere = self.input_area if convolution.before_stride else self.output_area
        if convolution.shortcut:
            return ops.ones((self.batch,), "int64") * everywhere
        if not self.spatial:
            return self.images() * everywhere
        positions = self.outputs(convolution.dilated)
        return ops.minimum(positions * self.inputs_of_one, everywhere) if convolution.before_stride else positions

    def outputs(self, dilated=False):
        """Positions of the unit's output where it runs; if `dilated`, with those in a 3x3 window around them."""
        if not self.spatial:
            return self.images() * self.output_area
        active = ops.cast(self.active, "float32")
        if dilated:
            active = ops.max_pool(active[..., None], 3, 1, padding="same", data_format="channels_last")[..., 0]
            if self.sizes is not None:
                picture = positions_within(self.sizes, *ops.shape(active)[1:])
                active = ops.where(picture, active, ops.zeros((), active.dtype))
        return ops.sum(ops.cast(active, "int64"), axis=(1, 2))

    def images(self):
        """1 where the unit runs at all for an image under ACT or without halting, 0 where it does not."""
        if self.active is None or self.spatial:
            return ops.ones((self.batch,), "int64")
        return ops.broadcast_to(ops.cast(self.active, "int64"), (self.batch,))


def check_num_units(name, costs, num_units, frames=False):
    """Raises ValueError for what are no numbers of units of a block that halts, such as those of another model.

    Args:
        name: of the block.
        costs: its `BlockCosts`.
        num_units: tensor, array or KerasTensor.
        frames: bool, whether there may be more axes in front.
    """
    shape, axes = tuple(num_units.shape), 3 if costs.model_type == "sact" else 1
    if len(shape) < axes or (len(shape) > axes and not frames):
        raise ValueError(
            f"`num_units` of block '{name}' must be {'(batch, height, width)' if axes == 3 else '(batch,)'}, since its "
            f"model_type is {costs.model_type!r}; give the outputs of this model. Received: shape={shape}"
        )
    if isinstance(num_units, keras.KerasTensor):
        return
    ints_of(name, num_units)
    values = known_values(num_units)
    if values is not None and (values.min(initial=0) < 0 or values.max(initial=0) > len(costs.units)):
        raise ValueError(
            f"`num_units` of block '{name}', which has {len(costs.units)} units, must be between 0 and that; give the "
            f"outputs of this model. Received: numbers from {values.min()} to {values.max()}"
        )


def _check_maps(name, maps, input_size, output_size):
    """Raises ValueError for maps of another size than a block returns of features of this size, if both are known.

    Where images have sizes of their own, maps are padded, and must be large enough for all of them.
    """
    if len(maps.shape) < 3:
        return
    padded = len(output_size.shape) == 2
    sizes = [known_values(size) for size in (input_size, output_size)]
    if any(size is None for size in sizes):
        return
    entering, expected = (tuple(np.atleast_2d(size).max(axis=0, initial=0).tolist()) for size in sizes)
    wrong = operator.lt if padded else operator.ne
    if any(None not in pair and wrong(*pair) for pair in zip(maps.shape[1:3], expected, strict=True)):
        raise ValueError(
            "FLOPs depend on the size of what was computed, and these are not of one computation. Give the size of the "
            f"images (`image_size`), or of the features that entered the block, that the outputs are of. Received: "
            f"{name} of the shape {tuple(maps.shape)}, and features of the size {entering}, for which they "
            f"would be {expected}"
        )


def _where_it_runs(index, num_units, kept):
    """What `_Positions` has as `active`, of what a block returned and of the units that were kept."""
    if kept is None:
        return ops.convert_to_tensor(num_units) > index if num_units is not None and index > 0 else None
    kept = ops.convert_to_tensor(kept)
    if num_units is None:
        return kept[..., index]
    # What halts counts the units that ran, so they were the first of those that are kept.
    before = ops.sum(ops.cast(kept[..., :index], "int32"), axis=-1)
    num_units = ops.convert_to_tensor(num_units)
    kept = kept[..., index]
    if len(num_units.shape) == 3 and len(kept.shape) == 1:
        kept, before = kept[:, None, None], before[:, None, None]
    return ops.logical_and(kept, num_units > before)


def _convolutions(unit):
    if isinstance(unit, BottleneckUnit):
        convolutions = [
            Convolution(unit.conv1.kernel.shape, before_stride=True, dilated=True),
            Convolution(unit.conv2.kernel.shape),
            Convolution(unit.conv3.kernel.shape),
        ]
        return convolutions + ([Convolution(unit.shortcut.kernel.shape, shortcut=True)] if unit.projects else [])
    if isinstance(unit, BasicUnit):
        return [Convolution(unit.conv1.kernel.shape, dilated=True), Convolution(unit.conv2.kernel.shape)]
    if hasattr(unit, "convolutions"):
        return unit.convolutions()
    raise ValueError(
        f"The convolutions of {type(unit).__name__} are not known, so its FLOPs cannot be counted. Give it a method "
        "`convolutions()` that returns a list of `sact_tf.flops.Convolution`."
    )


def _stride(block):
    """How many positions of what enters a block one of its maps stands for, in height and in width."""
    unit = block.units[0]
    if isinstance(getattr(unit, "stride", None), int):
        return unit.stride
    # Somebody's unit, which need not say it.
    *_, height, width, channels = block.get_build_config()["input_shape"]
    size = _A_SIZE if None in (height, width) else (height, width)
    returned = unit.compute_output_spec(keras.KerasTensor((1, *size, channels), dtype=unit.compute_dtype)).shape[1:3]
    stride = stride_between(size, returned)
    if stride is None:
        raise ValueError(
            "FLOPs are counted of units that keep height and width, or divide both by one whole number and round up, "
            f"as padding='same' does. The first unit of block '{block.name}', {type(unit).__name__}, turned {size} "
            f"into {returned}; pad what it reads."
        )
    return stride


def stride_between(entered, returned):
    """By how much maps became smaller, int, if both sides were divided by it and rounded up; `None` otherwise.

    Args:
        entered, returned: heights and widths, pairs of ints.
    """
    stride = -(-entered[0] // max(returned[0], 1))
    return stride if tuple(returned) == tuple(-(-each // stride) for each in entered) else None


def _branch(branch):
    if hasattr(branch, "convolutions"):
        return Branch(sum(cost(convolution.kernel_shape) for convolution in branch.convolutions()), 0)
    if not hasattr(branch, "global_conv"):
        raise ValueError(
            f"The convolutions of the halting branch {type(branch).__name__} are not known, so the FLOPs of its block "
            "cannot be counted. Give it a method `convolutions()` that returns a list of `sact_tf.flops.Convolution`, "
            "those that run where the unit ran."
        )
    local = cost(branch.local_conv.kernel.shape) if isinstance(branch, SpatialHaltingBranch) else 0
    return Branch(local, cost(branch.global_conv.kernel.shape))


def cost(kernel_shape):
    """FLOPs of a convolution at one position."""
    return 2 * math.prod(kernel_shape)


def area(size):
    """Positions of a map of this height and width `(..., 2)`, int64 `(...)`."""
    return ops.prod(ops.cast(size, "int64"), axis=-1)
