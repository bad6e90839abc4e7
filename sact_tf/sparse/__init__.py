"""The inference engine: computes only the positions (or images) that have not halted, so that time falls with FLOPs.

`compile(model)` returns a function from images to what the model returns. It holds the weights as they are at that
moment, batch normalization folded into them. How a block is run is in `blocks`.
"""

import keras
import tensorflow as tf

from sact_tf.layers import AdaptiveBlock
from sact_tf.layers.adaptive_block import run_blocks_by
from sact_tf.sparse.blocks import make_runner

__all__ = ["Engine", "compile"]


def compile(model):
    """Makes a fast function of a trained model.

    Args:
        model: built Keras model from float images `(batch, height, width, 3)`, one of `sact_tf.imagenet_resnet` or
            `sact_tf.cifar_resnet` or any other that has `AdaptiveBlock`s of `BottleneckUnit`s or `BasicUnit`s.

    Returns:
        `Engine`.

    Raises:
        ValueError: if the model has no `AdaptiveBlock`, or one with units or branches that the engine does not know.
    """
    return Engine(model)


class Engine(tf.Module):
    """Images to the dict that the model returns, in inference, computed in float32.

    It runs in TensorFlow outside of XLA, which would compute what has halted too.
    """

    def __init__(self, model):
        super().__init__(name="engine")
        blocks = [layer for layer in model._flatten_layers() if isinstance(layer, AdaptiveBlock)]
        if not blocks:
            raise ValueError(f"The engine speeds up AdaptiveBlocks, and '{model.name}' has none.")
        runners = {id(block): make_runner(block) for block in blocks}
        inside = {id(variable) for block in blocks for variable in block.variables}
        values = [
            (variable, tf.constant(variable.numpy())) for variable in model.variables if id(variable) not in inside
        ]

        def run(images):

            with keras.StatelessScope(state_mapping=values), run_blocks_by(runners):
                return model(images, training=False)

        shape = (None, *model.inputs[0].shape[1:])
        self._run = tf.function(run, input_signature=[tf.TensorSpec(shape, tf.float32, name="images")], autograph=False)
        self._run.get_concrete_function()

    def __call__(self, images):
        return self._run(images)
