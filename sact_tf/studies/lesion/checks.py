"""What a lesion study refuses before anything is computed, and what it leaves out, each with a sentence."""

import os

from sact_tf import config as configs
from sact_tf.data import pipeline
from sact_tf.progress import counted
from sact_tf.studies import runs
from sact_tf.studies.lesion.lesions import exchangeable, pairs_of

EXPERIMENTS = ("delete", "delete_random", "reorder", "gradient")
# A comparison shows every network the same images.
_SHARED = ("dataset", "dataset_dir", "split_name", "num_examples", "image_size", "skip_bad_records")


def check_numbers(draws, gradient_draws, gradient_images, seed):
    """Raises ValueError unless these are ints, at least 1, and the seed at least 0."""
    numbers = {"draws": draws, "gradient_draws": gradient_draws, "gradient_images": gradient_images}
    for name, value in numbers.items():
        if not isinstance(value, int) or value < 1:
            raise ValueError(
                f"`{name}` must be an int, at least 1; to leave an experiment out name the others in --experiments. "
                f"Received: {name}={value!r}"
            )
    if not isinstance(seed, int) or seed < 0:
        raise ValueError(f"`seed` must be an int, at least 0. Received: seed={seed!r}")


def check_experiments(experiments):
    """Returns the experiments to make, in their order; None stands for all."""
    unknown = [name for name in experiments or () if name not in EXPERIMENTS]
    if unknown or (experiments is not None and not experiments):
        raise ValueError(f"--experiments takes some of {', '.join(EXPERIMENTS)}. Received: {list(experiments)}")
    return [name for name in EXPERIMENTS if experiments is None or name in experiments]


def check_counts(counts, swaps, split_configs):
    """Raises ValueError for numbers of units that a network does not have, or of swaps below one.

    Args:
        counts: ints, units to delete, or None.
        swaps: ints, or None.
        split_configs: list of `SplitConfig`.
    """
    for config in split_configs:
        units = sum(config.model.units)
        if counts is not None and (not counts or not all(1 <= count <= units for count in counts)):
            raise ValueError(
                f"--ks takes numbers of units to delete, from 1 to the {units} that the network of "
                f"{config.checkpoint_dir} has. Received: {list(counts)}"
            )
    if swaps is not None and (not swaps or min(swaps) < 1):
        raise ValueError(f"--swaps takes numbers of pairs that change places, at least 1. Received: {list(swaps)}")


def check_data(split_configs):
    """Raises ValueError where networks are not asked about the same images, or about classes that are not theirs."""
    if not split_configs:
        raise ValueError("--checkpoint_dir or --checkpoint_dirs is needed: trained networks.")
    first = split_configs[0]
    for config in split_configs:
        configs.refuse_detector(
            config.dataset, "A lesion study, which compares images one by one,", "Give runs on a data set of classes."
        )
        known = pipeline.num_classes_of(config.dataset, config.dataset_dir)
        if known is None and config.dataset != "imagenet":
            known = configs.check_dataset(config.dataset)["num_classes"]
        if known is not None and known != config.model.num_classes:
            raise ValueError(
                f"The network of {config.checkpoint_dir} has {counted(config.model.num_classes, 'class')}, and "
                f"{config.dataset} {f'in {config.dataset_dir} ' if config.dataset_dir else ''}has {known}. Give "
                "the --dataset and --dataset_dir that it was trained on."
            )
        for name in _SHARED:
            mine, theirs = getattr(config, name), getattr(first, name)
            same = runs.place_of_data(config) == runs.place_of_data(first) if name == "dataset_dir" else mine == theirs
            if not same:
                raise ValueError(
                    f"Networks are compared on the same images, and {name} is {theirs!r} for {first.checkpoint_dir} "
                    f"and {mine!r} for {config.checkpoint_dir}. Study them one by one, or give --{name} for all."
                )


def labels_of(split_configs):
    """A short name for each network, all different: the last part of its path, or more of it where that is needed.

    Raises:
        ValueError: if one checkpoint is named twice.
    """
    paths = [os.path.realpath(config.checkpoint_dir) for config in split_configs]
    if len(set(paths)) < len(paths):
        raise ValueError(f"A checkpoint is named twice in --checkpoint_dirs. Received: {', '.join(paths)}")
    parts = [path.split(os.sep) for path in paths]
    for length in range(1, max(len(each) for each in parts) + 1):
        names = [os.sep.join(each[-length:]) for each in parts]
        if len(set(names)) == len(names):
            break
    return names


def check_swaps(swaps, network, label):
    """Raises ValueError for more swaps, ints or None, than a network has pairs of units that may change places."""
    pairs = len(pairs_of(exchangeable(network.blocks)))
    if swaps is not None and pairs and max(swaps) > pairs:
        raise ValueError(
            f"--swaps takes numbers of different pairs, from 1 to the {pairs} that may change places in {label}: units "
            f"of one block that are of equal shape and stride. Received: {list(swaps)}"
        )


def possible(experiment, network, label, chosen):
    """Whether an experiment makes sense for a network; why not is told.

    Args:
        experiment: one of `EXPERIMENTS`.
        network: `LesionedNetwork`.
        label: what it is called.
        chosen: bool, whether the user asked for this experiment by name.

    Returns:
        `(possible, text)`; the text is of one that is left out, or None.

    Raises:
        ValueError: if it is not possible and was asked for.
    """
    reason = None
    if experiment == "reorder" and not exchangeable(network.blocks):
        reason = (
            f"{label} has nothing to reorder: only units of one block that are of equal shape and stride change "
            f"places, and its blocks have {list(network.units.values())} units. Take a network of more units a block"
        )
    elif experiment == "gradient" and not all(
        getattr(unit, "has_shortcut", True) for block in network.blocks.values() for unit in block.units
    ):
        reason = (
            f"{label} has units without shortcuts, so there is but one path through it, and no lengths of paths to "
            "compare. Take a network with shortcuts"
        )
    if reason and chosen:
        raise ValueError(f"{reason}, or leave {experiment} out of --experiments.")
    return reason is None, reason and f"{reason}; {experiment} is left out."
