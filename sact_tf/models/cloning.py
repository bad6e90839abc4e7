"""What Keras' cloning and wrapping may do with a model that is more than its layers."""

import keras

from sact_tf.layers.time_distributed import ShapesByName


class RefusesOtherLayers:
    """Mixin of functional models with attributes and a loss of their own, before `keras.Model`.

    `clone_model` of Keras 3.15 runs a functional model's graph with copies of its layers and returns a plain
    `keras.Model` of what comes out, whose blocks cannot be found and whose loss is L2 alone.
    """

    def _run_through_graph(self, inputs, operation_fn=lambda operation: operation, call_fn=None):
        def same_layer(operation):
            function = operation_fn(operation)
            if isinstance(function, keras.layers.Layer) and function is not operation:
                name = type(self).__name__
                raise ValueError(
                    f"`keras.models.clone_model` would make a plain model of this {name}, without its loss and its "
                    f"attributes. Use `{name}.from_config(model.get_config())` for a new model of fresh weights, or "
                    f"`copy.deepcopy(model)` for one of the same weights. Received: {name} '{self.name}'"
                )
            return function

        return super()._run_through_graph(inputs, operation_fn=same_layer, call_fn=call_fn)

    def compute_output_shape(self, input_shape):
        # Keras' own `TimeDistributed` asks for it, and would not say that it takes no model of several outputs.
        return ShapesByName(super().compute_output_shape(input_shape))
