"""A layer of several outputs on every frame of a sequence."""

import keras
from keras import ops, tree


@keras.saving.register_keras_serializable(package="sact_tf")
class TimeDistributed(keras.layers.TimeDistributed):
    """Keras' `TimeDistributed` for layers that return a dict (or list) of tensors, such as `AdaptiveBlock`.

    Maps `(batch, time, ...)` to what the layer returns, every tensor `(batch, time, ...)`. The frames go through the
    layer as one batch, so that batch normalization sees all of them at a time; Keras' layer takes them one by one.

    Args:
        layer: Keras layer of one input whose outputs keep the batch axis.
    """

    def call(self, inputs, training=None, mask=None):
        if mask is not None:
            raise ValueError("sact_tf.layers.TimeDistributed takes no mask. Mask what it returns.")
        batch, time, *sizes = ops.shape(inputs)
        outputs = self.layer(ops.reshape(inputs, (batch * time, *sizes)), training=training)
        return tree.map_structure(lambda value: ops.reshape(value, (batch, time, *ops.shape(value)[1:])), outputs)

    def compute_output_spec(self, inputs, training=None, mask=None):
        frames = keras.KerasTensor(self._get_child_input_shape(inputs.shape), dtype=inputs.dtype)
        outputs = self.layer.compute_output_spec(frames)
        return tree.map_structure(
            lambda value: keras.KerasTensor((*inputs.shape[:2], *value.shape[1:]), dtype=value.dtype), outputs
        )

    def compute_output_shape(self, input_shape):
        outputs = self.compute_output_spec(keras.KerasTensor(input_shape, dtype=self.compute_dtype))
        return tree.map_structure(lambda value: value.shape, outputs)


class ShapesByName(dict):
    """Shapes of a layer's outputs by name. Keras' own `TimeDistributed` asks them for the size of an axis."""

    def __missing__(self, key):
        if isinstance(key, (int, slice)):
            raise ValueError(
                f"keras.layers.TimeDistributed takes layers of a single output, and this one has {sorted(self)}. "
                "Use sact_tf.layers.TimeDistributed, which takes the same arguments."
            )
        raise KeyError(key)
