"""The release's optimizer and learning rate schedules."""

import keras
from keras import ops

from sact_tf.config import check_dataset
from sact_tf.progress import counted


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


@keras.saving.register_keras_serializable(package="sact_tf")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """Rises linearly from zero over `warmup_steps` steps and follows another schedule from there.

    Args:
        schedule: Keras learning rate schedule, whose steps count from the first step of training.
        warmup_steps: int, at least 1.
    """

    def __init__(self, schedule, warmup_steps):
        self.schedule = schedule
        self.warmup_steps = warmup_steps

    def __call__(self, step):
        share = (ops.cast(step, "float32") + 1.0) / self.warmup_steps
        return self.schedule(step) * ops.minimum(share, 1.0)

    def get_config(self):
        return {
            "schedule": keras.optimizers.schedules.serialize(self.schedule),
            "warmup_steps": self.warmup_steps,
        }

    @classmethod
    def from_config(cls, config):
        return cls(keras.optimizers.schedules.deserialize(config["schedule"]), config["warmup_steps"])


def make_optimizer(config, clips=True, num_examples=None):
    """Returns the optimizer of a `TrainingConfig`: `Momentum`, under a loss scale where gradients are float16.

    With `clips=False` it leaves gradients as they are, whatever `clip_norm` is. `num_examples` as in
    `learning_rate_schedule`.
    """
    optimizer = Momentum(
        learning_rate_schedule(config, num_examples),
        config.momentum,
        global_clipnorm=config.clip_norm if clips else None,
        use_ema=config.moving_average_decay is not None,
        ema_momentum=config.moving_average_decay or 0.99,
    )
    if config.model.dtype == "mixed_float16":
        return keras.optimizers.LossScaleOptimizer(optimizer)
    return optimizer


def learning_rate_schedule(config, num_examples=None):
    """Returns the Keras schedule of a `TrainingConfig`: learning rate as a function of the step.

    Args:
        config: `TrainingConfig`.
        num_examples: int, of an epoch; None for as many as the data set that the configuration names has.
    """
    schedules = keras.optimizers.schedules
    base = config.learning_rate_base_batch_size
    learning_rate = config.learning_rate * (config.batch_size / base if base else 1.0)
    if config.learning_rate_schedule == "cosine":
        schedule = schedules.CosineDecay(learning_rate, config.max_number_of_steps)
    elif config.learning_rate_schedule == "exponential":
        factor = config.learning_rate_decay_factor
        schedule = schedules.ExponentialDecay(learning_rate, _decay_steps(config, num_examples), factor, staircase=True)
    else:
        boundaries = config.learning_rate_boundaries if config.learning_rate_schedule == "piecewise" else ()
        # Keras wants one boundary at least; nothing comes after the last step.
        boundaries = boundaries or (config.max_number_of_steps,)
        rates = [learning_rate * config.learning_rate_decay_factor**k for k in range(len(boundaries) + 1)]
        # Keras' boundary is the last step of the earlier rate, and so is TensorFlow 1's.
        schedule = schedules.PiecewiseConstantDecay(list(boundaries), rates)
    return WarmUp(schedule, config.warmup_steps) if config.warmup_steps else schedule


def schedule_remarks(config, num_examples=None):
    """Sentences on what the schedules of a `TrainingConfig` would do only after the steps of its run.

    Args:
        config: `TrainingConfig`.
        num_examples: as in `learning_rate_schedule`.

    Returns:
        list of str.
    """
    steps, schedule, remarks = config.max_number_of_steps, config.learning_rate_schedule, []
    boundaries = config.learning_rate_boundaries
    # The step behind a boundary is the first of the lower rate.
    late = [step for step in boundaries if step >= steps - 1]
    if schedule == "piecewise" and not boundaries:
        remarks.append(
            "The learning rate never falls: --learning_rate_schedule=piecewise lowers it at "
            "--learning_rate_boundaries, and there are none. Give them, or another schedule if it is to fall."
        )
    elif schedule == "piecewise" and late:
        falls = len(boundaries) - len(late)
        kept = f"falls at {falls} of {len(boundaries)} boundaries" if falls else "never falls"
        remarks.append(
            f"The learning rate {kept}: each lowers it from the step after it on, counted from 0, and the last of the "
            f"run's {counted(steps, 'step')} (--max_number_of_steps) is {steps - 1}. Too late in "
            f"--learning_rate_boundaries={','.join(map(str, boundaries))}: {','.join(map(str, late))}."
        )
    elif schedule == "exponential" and (every := _decay_steps(config, num_examples)) >= steps:
        remarks.append(
            f"The learning rate never falls: it would fall every {every} steps (--num_epochs_per_decay="
            f"{config.num_epochs_per_decay}), and the run has {steps} (--max_number_of_steps)."
        )
    for name, rising in (("warmup_steps", "learning rate"), ("tau_warmup_steps", "tau")):
        if (over := getattr(config, name)) > steps:
            remarks.append(
                f"The {rising} is still rising when the run ends: --{name}={over}, and the run has "
                f"{counted(steps, 'step')} (--max_number_of_steps)."
            )
    return remarks


def _decay_steps(config, num_examples):
    """Steps after which an exponential schedule falls, an int from 1 on."""
    examples = num_examples or check_dataset(config.dataset)["num_train_examples"]
    return max(1, int(examples / config.batch_size * config.num_epochs_per_decay))
