"""Which `AdaptiveBlock`s any Keras model has."""

import keras

from sact_tf.layers.adaptive_block import AdaptiveBlock
from sact_tf.layers.freezing import parts_of


def find_blocks(model):
    """List of the `AdaptiveBlock`s of a model, at every depth, each once, in the order in which the model has them.

    Of a block by itself that is the block, before those that its units have.

    By itself Keras does not list layers of layers, and its own `_flatten_layers` turns their order round.
    """
    if not isinstance(model, keras.layers.Layer):
        raise ValueError(
            "Blocks are found in Keras models; of an engine, take the model that it was compiled from. Received: "
            f"{type(model).__name__}"
        )
    parts = (model, *(part for _, part, _ in parts_of(model)))
    found = {id(part): part for part in parts if isinstance(part, AdaptiveBlock)}
    return list(found.values())
