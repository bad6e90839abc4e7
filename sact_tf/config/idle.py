"""Settings that change nothing beside others: of another network, or of another schedule, than the one there is."""

from sact_tf.config.recipes import check_dataset

# Fields of `ModelConfig` that a network which classifies has nothing to do with.
OF_DETECTORS = ("anchor_base_size", "crop_max_pool", "crop_size", "freeze_batch_norm", "head_samples")
# Fields of `TrainingConfig`, and the schedules of the learning rate that take them.
OF_SCHEDULES = {
    "learning_rate_boundaries": ("piecewise",),
    "learning_rate_decay_factor": ("piecewise", "exponential"),
    "num_epochs_per_decay": ("exponential",),
}


def idle_settings(config):
    """Names of the fields of a `TrainingConfig` that nothing of its run depends on; `model.tau` is the model's `tau`.

    Args:
        config: `TrainingConfig`.

    Returns:
        set of str.
    """
    names = {name for name, schedules in OF_SCHEDULES.items() if config.learning_rate_schedule not in schedules}
    if config.model.model_type == "vanilla":
        names |= {"model.tau", "tau_warmup_steps"}
    if config.model.network != "cifar":
        names.add("model.stem_stride")
    if check_dataset(config.dataset)["task"] != "detection":
        names |= {f"model.{name}" for name in OF_DETECTORS}
    return names
