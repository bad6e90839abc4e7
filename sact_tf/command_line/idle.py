"""Flags that would do nothing to what they stand beside, refused: whoever gives one means something by it."""

from sact_tf.config.idle import OF_DETECTORS, OF_SCHEDULES


def refuse_idle_model_flags(flags, model, task):
    """Raises ValueError for flags of another network than the one that is asked for.

    Args:
        flags: `absl.flags.FlagValues`.
        model: `ModelConfig`.
        task: text, what networks on its data set are for.
    """
    if model.network != "cifar":
        _refuse(flags, "stem_stride", f"--network=cifar, and the network here is {model.network}")
    if task != "detection":
        for name in OF_DETECTORS:
            _refuse(flags, name, "detectors (--dataset=digit_scenes, coco or voc), and the network here classifies")


def refuse_idle_training_flags(flags, config):
    """Raises ValueError for flags of another schedule, network or strategy than those of a `TrainingConfig`."""
    for name, schedules in OF_SCHEDULES.items():
        if config.learning_rate_schedule not in schedules:
            wanted = " or ".join(f"--learning_rate_schedule={schedule}" for schedule in schedules)
            _refuse(flags, name, f"{wanted}, and the schedule here is {config.learning_rate_schedule}")
    halts = config.model.model_type != "vanilla"
    if config.tau_warmup_steps and not (halts and config.model.tau):
        here = f"{config.model.model_type}, tau {config.model.tau}"
        _refuse(flags, "tau_warmup_steps", f"networks that halt, by a tau above 0, and the network here is {here}")
    if flags.strategy != "tpu":
        _refuse(flags, "tpu", f"--strategy=tpu, and the strategy here is {flags.strategy}")


def _refuse(flags, name, belongs):
    """Raises ValueError if a flag was given, with a value that is one."""
    value = flags[name].value if name in flags else None
    if value not in (None, "", []):
        shown = ",".join(value) if isinstance(value, list) else value
        raise ValueError(
            f"--{name} has no effect here: it belongs to {belongs}. Give that too, or leave --{name} out. Received: "
            f"--{name}={shown}"
        )
