"""The release's optimizer and learning rate schedules."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="sact_tf")
class Momentum(keras.optimizers.Optimizer):
    """Momentum as TensorFlow 1's `MomentumOptimizer` has it: `m = momentum * m + g`, `w = w - learning_rate * m`.

    Keras' SGD keeps the learning rate inside the momentum, so the two part ways where the rate changes.

    Args:
        learning_rate: float, or a Keras schedule.
        momentum: float in [0, 1).
    """

    def __init__(self, learning_rate=0.1, momentum=0.9, name="momentum", **kwargs):
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        if not 0.0 <= momentum < 1.0:
            raise ValueError(f"`momentum` must lie in [0, 1). Received: momentum={momentum!r}")
        self.momentum = momentum

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        self.momentums = [self.add_variable_from_reference(variable, name="momentum") for variable in variables]

    def update_step(self, gradient, variable, learning_rate):
        momentum = self.momentums[self._get_variable_index(variable)]
        self.assign(momentum, momentum * self.momentum + ops.cast(gradient, momentum.dtype))
        self.assign_sub(variable, ops.cast(learning_rate, variable.dtype) * ops.cast(momentum, variable.dtype))

    def get_config(self):
        return {**super().get_config(), "momentum": self.momentum}
