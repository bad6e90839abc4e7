"""Which networks a trade-off trains: plain ones of several depths, adaptive ones made of the deepest."""

import os
from typing import NamedTuple

from sact_tf import config as configs
from sact_tf.data import pipeline
from sact_tf.studies import first_detection

# Parts of the units of blocks 1 to 3, a detector's extractor, that its plain networks have; block 4, the head, stays.
EXTRACTOR_SHARES = (1 / 3, 2 / 3, 1)


class Recipe(NamedTuple):
    """What a trade-off does where it is not told otherwise.

    Attributes:
        depths: tuple of texts, of the plain networks, the deepest last.
        taus: tuple of floats, weights of the ponder cost.
        plain, adaptive: dicts of `TrainingConfig` fields that differ from the data set's defaults.
    """

    depths: tuple
    taus: tuple
    plain: dict
    adaptive: dict


def recipe_of(dataset):
    """The `Recipe` of a data set."""
    defaults = configs.check_dataset(dataset)
    if defaults["task"] != "detection":
        return Recipe(("1", "2", "3", "5"), (0.02, 0.04, 0.08, 0.16), {}, {"max_number_of_steps": 600})
    if dataset == first_detection.DATASET:
        return Recipe(
            _depths_of(defaults["model"]), first_detection.TAUS, first_detection.VANILLA, first_detection.SACT
        )
    # As long for the adaptive ones as for the plain ones: nobody has tried less.
    return Recipe(_depths_of(defaults["model"]), (defaults["tau"] / 5, defaults["tau"]), {}, {})


def _depths_of(model):
    *extractor, head = configs.imagenet_units(model)
    depths = [[max(1, round(share * units)) for units in extractor] for share in EXTRACTOR_SHARES]
    return tuple("_".join(map(str, (*units, head))) for units in depths)


def plan(run_dir, dataset, depths, taus, model_types, network, plain, adaptive):
    """List of `(name, TrainingConfig)` of all networks, in the order in which they are trained.

    Args:
        run_dir: directory of the runs.
        dataset: name of a data set.
        depths: texts, of the plain networks; the last is what adaptive ones are made of.
        taus: floats >= 0.
        model_types: "act", "sact".
        network: dict of `ModelConfig` fields of all networks that differ from the data set's defaults.
        plain, adaptive: dicts of `TrainingConfig` fields.

    Raises:
        ValueError: for what cannot be trained, or not be compared.
    """
    detectors = configs.check_dataset(dataset)["task"] == "detection"
    _check(depths, model_types, detectors)
    network = {**_own_classes(dataset, plain), **network}
    start = _plain_name(depths[-1])
    planned = [(_plain_name(depth), {**network, "model": depth, "model_type": "vanilla"}, plain) for depth in depths]
    adaptive = {**adaptive, "finetune_path": os.path.join(run_dir, start)}
    # As train.py has it: batches of a detector are small, and its statistics are those that it starts with.
    network = {**network, "model": depths[-1], **({"freeze_batch_norm": True} if detectors else {})}
    for tau in taus:
        planned += [(f"{kind}_{tau:g}", {**network, "model_type": kind, "tau": tau}, adaptive) for kind in model_types]
    _check_names([name for name, _, _ in planned])
    trained = [(name, configs.default_training_config(dataset, model, **fields)) for name, model, fields in planned]
    _check_depths([(name, config.model.units) for name, config in trained[: len(depths)]])
    return trained


def _plain_name(depth):
    return f"vanilla_{depth}"


def _check(depths, model_types, detectors):
    unknown = [kind for kind in model_types if kind not in ("act", "sact")]
    if unknown or not depths:
        raise ValueError(
            "tradeoff takes the model types act and sact and at least one plain depth. "
            f"Received: model_types={list(model_types)}, vanilla_models={list(depths)}"
        )
    heads = {configs.imagenet_units(depth)[-1] for depth in depths} if detectors else ()
    if len(heads) > 1:
        raise ValueError(
            "The extractors of detectors are compared, blocks 1 to 3, so block 4, their head, must have as many units "
            f"in each. Give --vanilla_models that differ in the first three numbers alone. Received: {list(depths)}"
        )


def _check_names(names):
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            "Each network of a trade-off has a directory of its own, named by its depth or its tau in six digits. Give "
            f"each depth, tau and kind once. Received twice: {', '.join(twice)}"
        )


def _check_depths(plain):
    first = {}
    for name, units in plain:
        if first.setdefault(units, name) != name:
            raise ValueError(
                f"Two of --vanilla_models are one network, of {'_'.join(map(str, units))} units. Give each depth once. "
                f"Received: {first[units]}, {name}"
            )


def _own_classes(dataset, changes):
    """The number of classes of data of one's own, as a dict of that `ModelConfig` field; empty if nothing says it."""
    found = pipeline.num_classes_of(dataset, changes.get("dataset_dir"))
    return {"num_classes": found} if found else {}
