"""Callbacks for `fit`: the price of computation over the steps of a training run."""

import keras
from keras import ops

from sact_tf.config import check_tau
from sact_tf.layers import find_blocks
from sact_tf.layers.freezing import parts_of
from sact_tf.losses import warmed_up_tau
from sact_tf.models import Classifier, FasterRCNN


class TauSchedule(keras.callbacks.Callback):
    """Sets the weight of the ponder cost before each step of `fit`.

    It sets the `tau` of a model of this package; in any other model, the `ponder_weight` of every `AdaptiveBlock` that
    was made with one. Steps are counted by the optimizer, so a run that goes on, goes on with its schedule. With
    `steps_per_execution`, the weight changes once an execution. The last value stays when `fit` is done.

    Args:
        schedule: function of the steps done before (int, from 0), which returns a number >= 0 or a scalar tensor; a
            `keras.optimizers.schedules.LearningRateSchedule` is one.
        verbose: int, 1 prints the weight at the start of each epoch.

    Raises:
        ValueError: at the start of `fit`, if the model has nothing to set; in a step, if the schedule returns what
            is no finite number >= 0.
    """

    def __init__(self, schedule, verbose=0):
        super().__init__()
        if not callable(schedule):
            raise ValueError(
                "`schedule` must be a function of the step, such as `lambda step: 0.01`, or a Keras "
                f"LearningRateSchedule. Received: schedule={schedule!r}"
            )
        self.schedule = schedule
        self.verbose = verbose
        self._targets = []

    @classmethod
    def linear(cls, tau, warmup_steps, verbose=0):
        """A warm-up: rises linearly from 0, `tau / warmup_steps` in the first step, and stays at `tau`.

        Args:
            tau: float >= 0.
            warmup_steps: int, at least 0; see `sact_tf.losses.warmed_up_tau`.
            verbose: as in the constructor.
        """
        warmed_up_tau(check_tau(tau), warmup_steps, 0)
        return cls(lambda step: warmed_up_tau(tau, warmup_steps, step), verbose)

    def on_train_begin(self, logs=None):
        self._targets = _targets(self.model)
        if getattr(self.model, "optimizer", None) is None:
            raise ValueError(
                f"TauSchedule follows the steps of a model's optimizer, and '{self.model.name}' was compiled without "
                "one. Hand it to `compile`, also where a `train_step` of your own uses it."
            )
        self._set()

    def on_epoch_begin(self, epoch, logs=None):
        if self.verbose:
            print(f"Epoch {epoch + 1}: TauSchedule sets the weight of the ponder cost to {self._set():g}.")

    def on_train_batch_begin(self, batch, logs=None):
        self._set()

    def _set(self):
        tau = self._tau_of(int(ops.convert_to_numpy(self.model.optimizer.iterations)))
        for layer, attribute in self._targets:
            setattr(layer, attribute, tau)
        return tau

    def _tau_of(self, step):
        tau = self.schedule(step)
        if hasattr(tau, "dtype") and tuple(tau.shape) == ():
            tau = float(tau)
        return check_tau(tau, f"schedule({step})")


def _targets(model):
    """Pairs of a layer and the name of its weight of the ponder cost."""
    # Somebody's model may call anything else `tau`, such as a temperature.
    if isinstance(model, (Classifier, FasterRCNN)):
        return [(model, "tau")]
    weighted = [(block, "ponder_weight") for block in find_blocks(model) if block.ponder_weight is not None]
    if not weighted:
        inside = [part for _, part, _ in parts_of(model) if isinstance(part, (Classifier, FasterRCNN))]
        if inside:
            raise ValueError(
                f"TauSchedule found nothing to set: '{model.name}' has '{inside[0].name}' in it, whose `tau` counts "
                "only where a loss is made of its `loss_terms`. Give them the price of the step, loss_terms(labels, "
                "outputs, tau=sact_tf.losses.warmed_up_tau(tau, warmup_steps, self.optimizer.iterations)), or put its "
                "`backbone` into your model, with a `ponder_weight`."
            )
        raise ValueError(
            f"TauSchedule found nothing to set: '{model.name}' is no network of this package, whose `tau` it sets, "
            "and has no AdaptiveBlock with a `ponder_weight`. Give its blocks one, 0.0 will do."
        )
    return weighted
