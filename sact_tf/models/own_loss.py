"""What `Classifier` and `FasterRCNN` share, which have a loss of their own: its weight, and compiling from a file."""

import keras

from sact_tf.config import check_tau


class HasItsOwnLoss:
    """Mixin of a model, before `keras.Model`, that has a `sact_tf.losses.PonderWeight` as its `_tau`."""

    # Arguments of Keras' `compile` that the model's own refuses.
    _refused_in_compile = ("loss", "loss_weights")

    @property
    def tau(self):
        """Weight of the ponder cost in the loss, float >= 0. It can be set between any two steps."""
        return self._tau.value

    @tau.setter
    def tau(self, tau):
        self._tau.value = check_tau(tau)

    def compile_from_config(self, config):
        # Keras leaves this to models with a `compile` of their own. A file may name a loss:
        # `compile` took one once, without effect, and refuses it now.
        config = {**config, **dict.fromkeys(self._refused_in_compile)}
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.optimizer is not None and self.built:
            self.optimizer.build(self.trainable_variables)
