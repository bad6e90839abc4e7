"""Which networks a study of stochastic depth trains, all of them checked before the first one is."""

from typing import NamedTuple

from sact_tf import config as configs
from sact_tf.data import pipeline
from sact_tf.studies import runs


class Planned(NamedTuple):
    """A training run.

    Attributes:
        name: of its directory.
        model: text, its depth as of `--model`.
        survival: float in (0, 1], the survival probability of the last unit; 1 for constant depth.
        seed: int.
        config: `TrainingConfig`.
    """

    name: str
    model: str
    survival: float
    seed: int
    config: configs.TrainingConfig


def plan(models, survival, seeds, dataset, **changes):
    """The runs: for each depth one of constant depth and one for each probability, with each seed.

    Args:
        models: texts, depths as of `--model`.
        survival: floats in (0, 1), survival probabilities of the last unit.
        seeds: ints, at least 0.
        dataset: name of a data set.
        **changes: `TrainingConfig` fields of all runs; None stands for the data set's default.

    Returns:
        list of `Planned`.

    Raises:
        ValueError: for anything that is none of these, or that is named twice.
    """
    configs.refuse_detector(dataset, "A study of stochastic depth", "Give a --dataset of classes.")
    models = [str(model).strip() for model in models]
    _check_each("models", models, "depths of networks, as --model takes them", lambda model: True)
    runs.check_depths(models, configs.check_dataset(dataset)["network"], "models")
    _check_each(
        "survival",
        survival,
        "survival probabilities of the last unit, numbers above 0 and below 1; constant depth, which is 1, is always "
        "trained beside them",
        lambda value: isinstance(value, float) and 0 < value < 1,
    )
    _check_each("seeds", seeds, "ints, at least 0", lambda value: isinstance(value, int) and value >= 0)
    found = pipeline.num_classes_of(dataset, changes.get("dataset_dir"))
    own = {"num_classes": found} if found else {}
    if len({f"{probability:g}" for probability in survival}) < len(survival):
        raise ValueError(
            f"Runs are named by their survival probability in six digits. Give each once. Received: survival={survival}"
        )
    planned = []
    for model in models:
        for probability in (1.0, *survival):
            for seed in seeds:
                kind = "constant" if probability == 1 else f"stochastic_{probability:g}"
                fields = {"model": model, "model_type": "vanilla", "final_survival_probability": probability, **own}
                config = configs.default_training_config(dataset, fields, seed=seed, **changes)
                planned.append(Planned(f"{kind}_{model}_seed{seed}", model, probability, seed, config))
    return planned


def _check_each(name, values, accepted, is_right):
    if not values or len(set(values)) < len(values) or not all(map(is_right, values)):
        raise ValueError(f"`{name}` must name {accepted}; at least one, each once. Received: {name}={list(values)!r}")
