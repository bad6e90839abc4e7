"""Counts as Keras layers: FLOPs among the outputs of a model, saved and exported with it."""

import keras
from keras import ops

from sact_tf.flops.costs import BlockCosts, area, cost


@keras.saving.register_keras_serializable(package="sact_tf")
class BlockFlops(keras.layers.Layer):
    """FLOPs of an `AdaptiveBlock` for every image: `BlockFlops(block)(block(features), features)`.

    Maps the dict that the block returned, and the features `(batch, height, width, channels)` that entered it, to int64
    `(batch,)`. Further axes in front, as of a `TimeDistributed` block, stay: `(batch, time)`. It has no weights, and
    remembers of the block the shapes of its convolutions alone: what `sact_tf.depth` leaves out for a call is not seen,
    `count` is told of it.

    Args:
        block: built `AdaptiveBlock` of `BottleneckUnit`s, `BasicUnit`s, or layers that list their own convolutions in a
            method `convolutions()`, as `Convolution`s; or what `get_config` says of one.
        input_size: `(height, width)` of the features, if they are not given in the call.
    """

    def __init__(self, block, input_size=None, **kwargs):
        # Counts and features are looked at, not computed with: no cast to the policy's dtype.
        super().__init__(**{"autocast": False, "trainable": False, **kwargs})
        self.costs = BlockCosts.from_config(block) if isinstance(block, (list, tuple)) else BlockCosts.of(block)
        self.input_size = None if input_size is None else [int(size) for size in input_size]

    def call(self, outputs, features=None):
        num_units = self._num_units(outputs)
        if features is None:
            return count_frames(self.costs, self._size(), num_units, ops.shape(num_units)[:1])
        *frames, height, width, _ = ops.shape(features)
        size = ops.stack([ops.cast(height, "int32"), ops.cast(width, "int32")])
        return count_frames(self.costs, size, num_units, tuple(frames))

    def compute_output_spec(self, outputs, features=None):
        num_units = self._num_units(outputs)
        if features is None:
            self._size()
            return keras.KerasTensor(frames_of(self.costs, num_units.shape), dtype="int64")
        return keras.KerasTensor(features.shape[:-3], dtype="int64")

    def _num_units(self, outputs):
        if not self.costs.halts:
            return None
        if "num_units" not in outputs:
            raise ValueError(
                "BlockFlops takes the dict that its block returned, which has 'num_units'. "
                f"Received outputs: {sorted(outputs)}"
            )
        return outputs["num_units"]

    def _size(self):
        if self.input_size is None or not self.costs.halts:
            raise ValueError(
                "FLOPs depend on the height and width of the features that enter a block. Give them in the call, "
                "BlockFlops(block)(outputs, features), or for a block that halts as BlockFlops(block, (height, width))."
            )
        return ops.convert_to_tensor(self.input_size, "int32")

    def get_config(self):
        return {**super().get_config(), "block": list(self.costs), "input_size": self.input_size}


@keras.saving.register_keras_serializable(package="sact_tf")
class ModelFlops(keras.layers.Layer):
    """FLOPs of a whole model for every image; made by `sact_tf.flops.count`.

    Maps a dict with `<block>/num_units` of every block that halts, `<block>/kept` where units were left out, and
    `image_size` where no size is known beforehand, to the dict of int64 `(batch,)` that `count` returns.

    Args:
        blocks: dict from a block's name to its `BlockCosts`, in the order of execution.
        input_sizes: dict from a block's name to the list `[height, width, times]`: the size of the features that enter
            it and how many of them there are an image; `None` if the blocks follow on the stem and on each other.
        stem: list of `[stride, kernel_shape]`, the shape `None` for a layer without a kernel.
        fixed: int, FLOPs that every image costs besides.
        image_size: `[height, width]` of the images, or `None`.
    """

    def __init__(self, blocks, input_sizes=None, stem=(), fixed=0, image_size=None, **kwargs):
        super().__init__(**{"autocast": False, "trainable": False, **kwargs})
        self.block_costs = {name: BlockCosts.from_config(costs) for name, costs in blocks.items()}
        self.input_sizes = input_sizes
        self.stem = [list(layer) for layer in stem]
        self.fixed = fixed
        self.image_size = image_size

    def call(self, outputs):
        batch = ops.shape(next(iter(outputs.values())))[0]
        size, total = self._after_stem(outputs)
        total, counts = ops.broadcast_to(total, (batch,)), {}
        for name, costs in self.block_costs.items():
            times = 1
            if self.input_sizes is not None:
                *size, times = self.input_sizes[name]
                size = ops.convert_to_tensor(size, "int32")
            num_units, kept = (outputs.get(f"{name}/{key}") for key in ("num_units", "kept"))
            flops = count_frames(costs, size, num_units, (batch,), kept)
            # A block that halts says itself how many maps of an image there are.
            flops = ops.sum(ops.reshape(flops, (batch, -1)), axis=1) if costs.halts else flops * times
            counts[f"{name}/flops"] = flops
            size, total = costs.output_size(size), total + flops
        return {"flops": total, **counts}

    def _after_stem(self, outputs):
        total = ops.cast(self.fixed, "int64")
        if self.input_sizes is not None:
            return None, total
        size = outputs["image_size"] if self.image_size is None else ops.convert_to_tensor(self.image_size, "int32")
        for stride, kernel_shape in self.stem:
            # Every layer of a stem pads so that sizes round up.
            size = (size + stride - 1) // stride
            total = total if kernel_shape is None else total + area(size) * cost(kernel_shape)
        return size, total

    def compute_output_spec(self, outputs):
        batch = next(iter(outputs.values())).shape[0]
        names = ["flops", *(f"{name}/flops" for name in self.block_costs)]
        return {name: keras.KerasTensor((batch,), dtype="int64") for name in names}

    def get_config(self):
        return {
            **super().get_config(),
            "blocks": {name: list(costs) for name, costs in self.block_costs.items()},
            "input_sizes": self.input_sizes,
            "stem": self.stem,
            "fixed": self.fixed,
            "image_size": self.image_size,
        }


def frames_of(costs, shape):
    """The leading axes of a shape of `num_units`: `(batch,)`, or more for a block on frames of sequences."""
    return tuple(shape[:-2] if costs.model_type == "sact" else shape)


def count_frames(costs, size, num_units, frames, kept=None):
    """int64 of the shape of `frames`; those of `num_units`, where there are any, count more."""
    if num_units is None:
        count = 1
        for length in frames:
            count = count * length
        return ops.reshape(costs.count(size, count, kept=kept), frames)
    num_units = ops.convert_to_tensor(num_units)
    shape = ops.shape(num_units)
    frames = frames_of(costs, shape)
    if len(frames) == 1:
        return costs.count(size, frames[0], num_units, kept)
    flat = ops.reshape(num_units, (-1, *shape[len(frames) :]))
    return ops.reshape(costs.count(size, ops.shape(flat)[0], flat, kept), frames)
