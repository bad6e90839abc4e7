"""FLOPs per image, derived from `num_units` and the architecture after a model has run.

The release's convention: a multiplication and an addition are two FLOPs, convolutions only, biases ignored.
The mask of unit l is `num_units >= l`, so nothing has to be counted while the network runs.
"""

import math
from typing import NamedTuple

from keras import ops

from sact_tf.layers import BasicUnit, BottleneckUnit, SpatialHaltingBranch


class Convolution(NamedTuple):
    """One convolution of a residual unit.

    Attributes:
        kernel_shape: `(height, width, in_channels, out_channels)`.
        before_stride: bool, whether it runs at the resolution of the unit's input.
        dilated: bool, whether it computes, besides the active positions, those in a 3x3 window around them.
    """

    kernel_shape: tuple
    before_stride: bool = False
    dilated: bool = False


def count(model, outputs):
    """FLOPs of every image, in total and per block.

    Args:
        model: `Classifier` or `Backbone`.
        outputs: dict that the model returned (tensors or arrays). Without its `image_size`, the images must be of the
            size that the model was built for.

    Returns:
        dict of int64 tensors `(batch,)`: `flops`, and `<block>/flops` for each block. `flops` adds the stem and the
        classifier's logits to the blocks.

    Raises:
        ValueError: if an output is missing, or a unit is of a kind whose convolutions are not known.
    """
    backbone = getattr(model, "backbone", model)
    batch = ops.shape(next(iter(outputs.values()), ops.zeros((0,))))[0]
    size = _image_size(backbone, outputs)
    counts, total = {}, 0
    for layer in backbone.stem:
        size, cost = _stem_layer(layer, size)
        total = total + ops.broadcast_to(cost, (batch,))
    for name, block in backbone.blocks.items():
        halted_at = None if block.model_type == "vanilla" else _require(outputs, f"{name}/num_units", model)
        size, counts[f"{name}/flops"] = count_block(block, size, batch, halted_at)
        total = total + counts[f"{name}/flops"]
    if hasattr(model, "logits_conv"):
        total = total + _cost(model.logits_conv.kernel.shape)
    return {"flops": total, **counts}


def count_block(block, input_size, batch, num_units=None):
    """FLOPs of one built `AdaptiveBlock`.

    Args:
        block: `AdaptiveBlock` of `BottleneckUnit`s, `BasicUnit`s, or layers that list their own convolutions in a
            method `convolutions()`, as `Convolution`s.
        input_size: int `(2,)`, height and width of the features that enter it.
        batch: int, number of images.
        num_units: int `(batch,)` for ACT, `(batch, height, width)` for SACT, as the block returned it; `None` for a
            `vanilla` block.

    Returns:
        `(output_size, flops)`: int `(2,)` and int64 `(batch,)`.
    """
    stride = getattr(block.units[0], "stride", 1)
    output_size = (input_size + stride - 1) // stride
    flops = ops.zeros((batch,), "int64")
    for index, unit in enumerate(block.units):
        running = _Positions(index, num_units, output_size if index else input_size, output_size, batch)
        for convolution in _convolutions(unit):
            flops = flops + running.count(convolution) * _cost(convolution.kernel_shape)
        if index < len(block.halting_branches):
            flops = flops + _branch(block.halting_branches[index], running)
    return output_size, flops


class _Positions:
    """How many positions of each image unit `index` of a block computes, int64 `(batch,)`."""

    def __init__(self, index, num_units, input_size, output_size, batch):
        self.batch = batch
        self.everywhere = {True: _area(input_size), False: _area(output_size)}
        self.masked = num_units is not None and index > 0
        if self.masked:
            active = ops.cast(ops.convert_to_tensor(num_units) > index, "float32")
            self.spatial = len(active.shape) == 3
            self.active = active if self.spatial else active[:, None, None]

    def count(self, convolution):
        if self.masked and self.spatial:
            active = self.active
            if convolution.dilated:
                active = ops.max_pool(active[..., None], 3, 1, padding="same", data_format="channels_last")[..., 0]
            return ops.sum(ops.cast(active, "int64"), axis=(1, 2))
        return self.images() * self.everywhere[convolution.before_stride]

    def images(self):
        """1 where the unit runs at all for an image under ACT or without halting, 0 where it does not."""
        if self.masked and not self.spatial:
            return ops.cast(self.active[:, 0, 0], "int64")
        return ops.ones((self.batch,), "int64")


def _convolutions(unit):
    if isinstance(unit, BottleneckUnit):
        convolutions = [
            Convolution(unit.conv1.kernel.shape, before_stride=True, dilated=True),
            Convolution(unit.conv2.kernel.shape),
            Convolution(unit.conv3.kernel.shape),
        ]
        return convolutions + ([Convolution(unit.shortcut.kernel.shape)] if unit.projects else [])
    if isinstance(unit, BasicUnit):
        return [Convolution(unit.conv1.kernel.shape, dilated=True), Convolution(unit.conv2.kernel.shape)]
    if hasattr(unit, "convolutions"):
        return unit.convolutions()
    raise ValueError(
        f"The convolutions of {type(unit).__name__} are not known, so its FLOPs cannot be counted. Give it a method "
        "`convolutions()` that returns a list of `sact_tf.flops.Convolution`."
    )


def _branch(branch, running):
    """The local 3x3 convolution where the unit ran, and one multiplication of the pooled features an image."""
    if isinstance(branch, SpatialHaltingBranch):
        local = running.count(Convolution(branch.local_conv.kernel.shape))
        return local * _cost(branch.local_conv.kernel.shape) + _cost(branch.global_conv.kernel.shape)
    return running.images() * _cost(branch.global_conv.kernel.shape)


def _stem_layer(layer, size):
    """Returns the size after a layer of the stem and its FLOPs; every one of them pads so that sizes round up."""
    stride = getattr(layer, "strides", (1, 1))[0]
    size = (size + stride - 1) // stride
    return size, _area(size) * _cost(layer.kernel.shape) if hasattr(layer, "kernel") else ops.zeros((), "int64")


def _cost(kernel_shape):
    return 2 * math.prod(kernel_shape)


def _area(size):
    return ops.prod(ops.cast(size, "int64"))


def _image_size(backbone, outputs):
    if "image_size" not in outputs and None not in backbone.image_shape:
        return ops.convert_to_tensor(backbone.image_shape[:2], "int32")
    return _require(outputs, "image_size", backbone)[0]


def _require(outputs, key, model):
    if key not in outputs:
        raise ValueError(
            f"FLOPs need the output '{key}' of model '{model.name}'; pass the dict as the model returned it. "
            f"Received outputs: {sorted(outputs)}"
        )
    return ops.convert_to_tensor(outputs[key])


def count_most(model, outputs):
    """What `count` would return if nothing had halted early; arguments and results as there."""
    units = {name: len(block.units) for name, block in getattr(model, "backbone", model).blocks.items()}
    everything = {
        f"{name}/num_units": ops.ones_like(outputs[f"{name}/num_units"]) * count
        for name, count in units.items()
        if f"{name}/num_units" in outputs
    }
    return count(model, {**outputs, **everything})
