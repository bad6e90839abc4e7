"""What weights do not tell of the network that they are for: settings that change what it computes, not its shapes."""

from sact_tf.config.idle import idle_settings
from sact_tf.config.runs import read_config, run_directory

_BEYOND_WEIGHTS = (
    "stem_stride",
    "shortcuts",
    "final_survival_probability",
    "anchor_base_size",
    "crop_max_pool",
    "crop_size",
)


def beyond_weights(run, model):
    """What a run's network computes otherwise than a network that its weights fit.

    Args:
        run: `TrainingConfig`.
        model: `ModelConfig`, or anything that has its fields.

    Returns:
        dict from the names of fields of `ModelConfig` to pairs, the run's value and the other's.
    """
    idle = idle_settings(run)
    pairs = {name: (getattr(run.model, name), getattr(model, name)) for name in _BEYOND_WEIGHTS}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1] and f"model.{name}" not in idle}


def compare_start(checkpoint, config, log):
    """Says so if the weights that a run starts from are of a network that computes otherwise, as with other anchors.

    Args:
        checkpoint: directory of a run, or prefix of one of its checkpoints; anything else is passed over.
        config: `TrainingConfig`.
        log: called with a line of text.
    """
    try:
        there = read_config(run_directory(checkpoint))
    except (OSError, ValueError):
        return
    idle = idle_settings(config)
    other = {name: pair for name, pair in beyond_weights(there, config.model).items() if f"model.{name}" not in idle}
    if other:
        theirs = " and ".join(f"{name}={there!r} (here {here!r})" for name, (there, here) in other.items())
        log(
            f"Note: {checkpoint} was trained with {theirs}. Its weights fit, but were learned for that; give the same "
            "flags unless others are meant."
        )
