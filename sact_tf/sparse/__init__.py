"""The inference engine: computes only the positions (or images) that have not halted, so that time falls with FLOPs.

`compile(model)` returns a function from images to what the model returns. It holds the weights as they are at that
moment, batch normalization folded into them. How a block is run is in `blocks`.
"""

import functools

import keras
import tensorflow as tf

from sact_tf.layers import AdaptiveBlock
from sact_tf.layers.adaptive_block import run_blocks_by
from sact_tf.sparse.blocks import make_runner

__all__ = ["Engine", "compile"]


def compile(model, image_shape=None):
    """Makes a fast function of a trained model.

    Args:
        model: built Keras model from float images `(batch, height, width, channels)`, one of `sact_tf.imagenet_resnet`
            or `sact_tf.cifar_resnet` or any other that has `AdaptiveBlock`s of `BottleneckUnit`s or `BasicUnit`s.
        image_shape: `(height, width, channels)` of the images, `None` for any height or width; by default that of the
            model's input, and for a subclassed model, which has none, any size.

    Returns:
        `Engine`.

    Raises:
        ValueError: if the model is not built, has several inputs, has no `AdaptiveBlock`, or one with units or branches
            that the engine does not know.
    """
    return Engine(model, image_shape)


class Engine(tf.Module):
    """Images to what the model returns, in inference; all blocks compute in float32.

    It runs in TensorFlow outside of XLA, which would compute what has halted too.

    Attributes:
        serve: the `tf.function` that it calls, for float32 images; a SavedModel of the engine has it too.
    """

    def __init__(self, model, image_shape=None):
        super().__init__(name="engine")
        # By itself Keras does not list layers of layers; its own code finds them this way.
        blocks = [layer for layer in model._flatten_layers() if isinstance(layer, AdaptiveBlock)]
        if not blocks:
            raise ValueError(f"The engine speeds up AdaptiveBlocks, and '{model.name}' has none.")
        self._shape = (None, *(_image_shape(model) if image_shape is None else image_shape))
        self._minimum_size = getattr(getattr(model, "backbone", model), "minimum_size", 1)
        runners = {id(block): make_runner(block) for block in blocks if block.built}
        inside = {id(variable) for block in blocks for variable in block.variables}
        values = [
            (variable, tf.constant(variable.numpy())) for variable in model.variables if id(variable) not in inside
        ]

        def run(images):
            with keras.StatelessScope(state_mapping=values), run_blocks_by(runners):
                return _without_empty_batches(functools.partial(model, training=False), images)

        signature = [tf.TensorSpec(self._shape, tf.float32, name="images")]
        self.serve = tf.function(run, input_signature=signature, autograph=False)
        self.serve.get_concrete_function()

    def __call__(self, images):
        images = tf.convert_to_tensor(images)
        self._check(images)
        return self.serve(tf.cast(images, tf.float32))

    def _check(self, images):
        fits = images.dtype.is_floating and images.shape.rank == 4 and images.shape.is_compatible_with(self._shape)
        if not fits or any(size is not None and size < self._minimum_size for size in images.shape[1:3]):
            batch, height, width = "batch", self._shape[1] or "height", self._shape[2] or "width"
            raise ValueError(
                "The engine takes floating point images, scaled as in training, of the shape "
                f"({batch}, {height}, {width}, {self._shape[3]}), at least {self._minimum_size} pixels high and wide; "
                f"one image needs a batch axis: image[None]. Received: dtype={images.dtype.name}, shape={images.shape}"
            )


def _without_empty_batches(function, images):
    """`function(images)`, for no image at all too: then it is computed for a blank one, of which nothing is returned.

    TensorFlow's convolutions answer an empty batch in the shape of what entered them where oneDNN runs them, as it does
    by itself on processors with AVX-512.
    """
    empty = tf.equal(tf.shape(images)[0], 0)
    one = tf.concat([[1], tf.shape(images)[1:]], 0)
    outputs = function(tf.cond(empty, lambda: tf.zeros(one, images.dtype), lambda: images))

    def cut(value):
        # What has no axis of unknown length is not about images.
        if value.shape.rank == 0 or value.shape[0] is not None:
            return value
        return value[: tf.where(empty, 0, tf.shape(value)[0])]

    return tf.nest.map_structure(cut, outputs)


def _image_shape(model):
    """`(height, width, channels)` of a model's images, `None` for any height or width."""
    if not model.built:
        raise ValueError(f"The model '{model.name}' is not built, so it has no weights. Call it on images first.")
    shapes = [tensor.shape for tensor in getattr(model, "inputs", ())]
    # A subclassed model knows what it was first called on, not which sizes it takes.
    called_on = model.get_build_config() if not shapes else {}
    if "input_shape" in called_on:
        shapes = [(None, None, None, called_on["input_shape"][-1])]
    if len(shapes) != 1 or len(shapes[0]) != 4:
        raise ValueError(
            "The engine is for models of one input, images (batch, height, width, channels). "
            f"Received: '{model.name}' of {len(shapes)} inputs with the shapes {shapes}"
        )
    return shapes[0][1:]
