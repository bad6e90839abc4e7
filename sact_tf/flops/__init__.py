"""FLOPs per image, derived from `num_units` and the architecture after a model has run.

The release's convention: a multiplication and an addition are two FLOPs, convolutions only, biases ignored. So a
convolution costs `2 * kernel_height * kernel_width * in_channels * out_channels` at each position that must be
computed. The mask of unit l is `num_units >= l`, so nothing has to be counted while the network runs. These positions
are, of unit l > 1 of a block:

                                       sact                                     act, act_early_stopping
    shortcut                           all                                      all
    first convolution                  the mask, dilated by a 3x3 window        all, of images with num_units >= l
    other convolutions                 the mask                                 all, of images with num_units >= l
    halting branch: 3x3 convolution    the mask                                 (it has none)
    halting branch: pooled features    one of each image                        one of images with num_units >= l

The dilation is what the 3x3 convolution after the first one reads. Unit 1 computes all positions, and so does every
unit of a `vanilla` block; the last unit has no branch.

`count` is for whole models, ours and others; `count_block` for one block; `BlockFlops` is a Keras layer, for FLOPs
among the outputs of a model of your own. What a block costs is in `costs`, where blocks stand in a model in `placing`.
"""

import math
import numbers

import keras
import numpy as np
from keras import ops, tree

from sact_tf.flops.costs import BlockCosts, Convolution, check_num_units, cost
from sact_tf.flops.layers import BlockFlops, ModelFlops, frames_of
from sact_tf.flops.placing import built_blocks_of, follows_its_backbone, image_size_of, input_sizes, num_units_of
from sact_tf.flops.stems import stem_of
from sact_tf.layers.checks import check_fits, check_kept

__all__ = ["BlockFlops", "Convolution", "ModelFlops", "count", "count_block", "count_most"]


def count(model, outputs, image_size=None, kept=None):
    """FLOPs of every image, in total and per block.

    Args:
        model: built `Classifier` or `Backbone`, or any other Keras model of one input that has `AdaptiveBlock`s. One
            that has a `Backbone` as its `backbone`, and no blocks besides, counts as ours.
        outputs: dict that the model returned: tensors, arrays, or KerasTensors while a functional model is made. Of
            another model, dicts, lists and tuples in any nesting, which must have the `num_units` of every block that
            halts: as `<block>/num_units` or `{<block>: {"num_units": ...}}` with the block's name, as "num_units" if
            there is but one such block, or under any name, or none, if the model is functional.
        image_size: `(height, width)` of the model's images; by default that of the model's input, or the outputs'
            `image_size`.
        kept: dict from a block's name to the units that were kept in the call, as bool `(units,)`, `(batch, units)` or
            `(batch, height, width, units)`, see `sact_tf.depth`; `None` where none was left out.

    Returns:
        dict of int64 tensors `(batch,)`: `flops`, and `<block>/flops` for each block. `flops` adds the stem and the
        classifier's logits to the blocks of our models. Of another model it is the sum of the blocks, and of what
        `head_convolutions()`, if the model has such a method, lists: kernel shapes of what runs once an image. Other
        convolutions outside of the blocks are not in it: their FLOPs do not depend on what is in an image.

    Raises:
        ValueError: if an output is missing or cannot be this model's, a unit is of a kind whose convolutions are not
            known, or the sizes of another model's images are not known; `BlockFlops` within such a model needs no
            sizes. For an `image_size` that is not that of the outputs, and a `kept` of other blocks, maps or numbers of
            units than the model has, or none where another model calls blocks under a policy of `sact_tf.depth`.
    """
    image_size = None if image_size is None else _checked_size(image_size)
    ours = follows_its_backbone(model)
    counter, needed = (
        _of_ours(model, outputs, image_size) if ours else _of_others(model, outputs, image_size, kept or ())
    )
    for name, costs in counter.block_costs.items():
        if f"{name}/num_units" in needed:
            check_num_units(name, costs, needed[f"{name}/num_units"], frames=not ours)
    if ours:
        _check_batch(needed)
    needed = {**needed, **_checked_kept(kept or {}, counter.block_costs, needed)}
    if any(isinstance(value, keras.KerasTensor) for value in needed.values()):
        return counter(needed)
    return counter.call({key: ops.convert_to_tensor(value) for key, value in needed.items()})


def _checked_size(image_size):
    """`(height, width)` as ints, of a pair of numbers or a tensor of two; raises ValueError for anything else."""
    sizes = np.ravel(image_size).tolist() if np.ndim(image_size) == 1 else []
    if len(sizes) != 2 or not all(isinstance(size, numbers.Real) and size >= 1 and size % 1 == 0 for size in sizes):
        raise ValueError(
            f"`image_size` must be the height and width of the images in pixels. Received: image_size={image_size!r}"
        )
    return tuple(map(int, sizes))


def _check_batch(outputs):
    """Raises ValueError for outputs of batches of different numbers of images, as far as these are known."""
    numbers = {name: value.shape[0] for name, value in outputs.items() if value.shape}
    if len(set(numbers.values()) - {None}) > 1:
        raise ValueError(f"FLOPs are counted of the outputs of one call. Received, by output, of images: {numbers}")


def _checked_kept(kept, costs, outputs):
    """A `kept` after a look at it, under the names of the inputs of `ModelFlops`."""
    unknown = sorted(set(kept) - set(costs))
    if unknown:
        raise ValueError(f"`kept` must be of the blocks {list(costs)}. Received: kept={unknown}")
    return {f"{name}/kept": _kept_of_block(name, value, costs[name], outputs) for name, value in kept.items()}


def _kept_of_block(name, kept, costs, outputs):
    """The units of one block that were kept, a bool tensor; raises ValueError for those of other images or maps."""
    if isinstance(kept, keras.KerasTensor):
        return kept
    kept = check_kept(kept, len(costs.units), name, whole_images=costs.model_type.startswith("act"))
    if len(kept.shape) == 1:  # for all images alike
        return kept
    if costs.halts:
        shape = tuple(outputs[f"{name}/num_units"].shape)
        frames, maps = frames_of(costs, shape), shape[-2:] if costs.model_type == "sact" else (1, 1)
    else:
        # `BlockCosts` knows the size of the maps.
        frames, maps = tuple(next(iter(outputs.values())).shape)[:1], (None, None)
    images = None if None in frames else math.prod(frames)
    check_fits("kept", kept if len(kept.shape) == 4 else kept[:, None, None], (images, *maps), name)
    return kept


def count_most(model, outputs):
    """What `count` returns for one of our models where nothing halts early; arguments as there."""
    units = {name: len(block.units) for name, block in model.blocks.items()}
    everything = {
        # Padding around the pictures of a detector has no units, however many run elsewhere.
        f"{name}/num_units": ops.where(ops.convert_to_tensor(outputs[f"{name}/num_units"]) > 0, number, 0)
        for name, number in units.items()
        if f"{name}/num_units" in outputs
    }
    return count(model, {**outputs, **everything})


def count_block(block, input_size, batch, num_units=None):
    """FLOPs of one built `AdaptiveBlock`.

    Args:
        block: `AdaptiveBlock` of `BottleneckUnit`s, `BasicUnit`s, or layers that list their own convolutions in a
            method `convolutions()`, as `Convolution`s.
        input_size: int `(2,)`, height and width of the features that enter it.
        batch: int, number of images.
        num_units: int `(batch,)` for ACT, `(batch, height, width)` for SACT, as the block returned it; `None` for a
            `vanilla` block. A KerasTensor while a functional model is made; with an `input_size` of ints, then.

    Returns:
        `(output_size, flops)`: int `(2,)` and int64 `(batch,)`.

    Raises:
        ValueError: if a unit is of a kind whose convolutions are not known, or a size is not known.
    """
    costs = BlockCosts.of(block)
    if not hasattr(input_size, "dtype"):
        input_size = list(input_size)
        if len(input_size) != 2 or None in input_size:
            raise ValueError(
                "`input_size` must be the height and width of the features that enter the block. Received: "
                f"input_size={input_size}. Where they are not known yet, in a functional model, use "
                "sact_tf.flops.BlockFlops(block)(outputs, features)."
            )
        input_size = np.array(input_size, "int32")
    if isinstance(num_units, keras.KerasTensor):
        return costs.output_size(input_size), BlockFlops(block, input_size)({"num_units": num_units})
    if batch is None:
        raise ValueError(
            "`batch` must be the number of images. Where it is not known yet, in a functional model, use "
            "sact_tf.flops.BlockFlops(block)(outputs, features). Received: batch=None"
        )
    return costs.output_size(input_size), costs.count(input_size, batch, num_units)


def _of_ours(model, outputs, image_size):
    """Counter of a `Classifier` or `Backbone`, and what it needs of the outputs."""
    backbone = getattr(model, "backbone", model)
    needed = {}
    if image_size is None:
        image_size = backbone.image_shape[:2]
        if (isinstance(outputs, dict) and "image_size" in outputs) or None in image_size:
            needed["image_size"], image_size = _require(outputs, "image_size", backbone), None
    # A detector counts its extractor, not the head that runs on what that proposes.
    blocks = getattr(model, "blocks", None)
    blocks = blocks if isinstance(blocks, dict) else backbone.blocks
    for name, block in blocks.items():
        if block.model_type != "vanilla":
            needed[f"{name}/num_units"] = _require(outputs, f"{name}/num_units", model)
    counter = ModelFlops(
        {name: BlockCosts.of(block) for name, block in blocks.items()},
        stem=stem_of(backbone.stem),
        fixed=_fixed_cost(model),
        image_size=None if image_size is None else list(image_size),
    )
    return counter, needed or _something_of_every_image(outputs, model)


def _of_others(model, outputs, image_size, kept):
    """Counter of any other Keras model that has blocks, and what it needs of the outputs."""
    blocks = built_blocks_of(model)
    num_units = num_units_of(model, blocks, outputs)
    sizes = input_sizes(model, blocks, image_size_of(model, outputs, image_size), kept)
    needed = {f"{name}/num_units": value for name, value in num_units.items() if value is not None}
    costs = {name: BlockCosts.of(blocks[name]) for name in sizes}
    counter = ModelFlops(costs, input_sizes=sizes, fixed=_fixed_cost(model))
    return counter, needed or _something_of_every_image(outputs, model)


def _something_of_every_image(outputs, model):
    flat = [value for value in tree.flatten(outputs) if getattr(value, "shape", ())]
    if not flat:
        raise ValueError(
            f"FLOPs need the outputs of model '{model.name}', to know the number of images. Received: {outputs}"
        )
    return {"any": flat[0]}


def _fixed_cost(model):
    kernels = model.head_convolutions() if hasattr(model, "head_convolutions") else ()
    return sum(cost(kernel_shape) for kernel_shape in kernels)


def _require(outputs, key, model):
    if not isinstance(outputs, dict) or key not in outputs:
        received = f"outputs: {sorted(outputs)}" if isinstance(outputs, dict) else f"a {type(outputs).__name__}"
        raise ValueError(
            f"FLOPs need the output '{key}' of model '{model.name}'; pass the dict as the model returned it. "
            f"Received {received}"
        )
    return outputs[key]
