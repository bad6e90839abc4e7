"""Checks of settings that several configurations share; each error says what came and what is accepted."""

import dataclasses
import math
import numbers
import os

# More than thirty years; not every system can wait longer.
MAX_SECONDS = 10**9
# Pixels; what the sides of a JPEG may have.
MAX_SIDE = 65_535


def is_number(value):
    """Whether a value is a real number, and no bool."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def check_paths(**paths):
    """Raises ValueError unless each is a path, or None, under its name."""
    for name, value in paths.items():
        if not isinstance(value, str | os.PathLike | None):
            raise ValueError(f"`{name}` must be a path. Received: {name}={value!r}")


def check_noted_data(dataset_dir, directory, way_out):
    """Raises FileNotFoundError if there is nothing where the data of a run are said to be, or, if relative, not here.

    Args:
        dataset_dir: as the run in `directory` noted it, or None.
        directory: of the run.
        way_out: what to do, a sentence.
    """
    path = os.path.expanduser(dataset_dir or "")
    if path and not os.path.exists(path):
        where = "" if os.path.isabs(path) else f" in {os.getcwd()}"
        raise FileNotFoundError(
            f"There is no {dataset_dir}{where}, which the run in {directory} was trained on, as its config.json says. "
            f"{way_out}"
        )


def check_counts(**counts):
    """Raises ValueError unless each is an int, at least 1, under its name."""
    for name, value in counts.items():
        if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < 1:
            raise ValueError(f"`{name}` must be an int, at least 1. Received: {name}={value!r}")


def check_switches(config):
    """Raises ValueError unless what is on or off in a configuration is True or False; the text "false" would be on."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if isinstance(field.default, bool) and not isinstance(value, bool):
            raise ValueError(f"`{field.name}` must be True or False. Received: {field.name}={value!r}")


def check_known(settings, *kinds):
    """Raises ValueError for names of settings that are no field of any of these dataclasses."""
    names = sorted({field.name for kind in kinds for field in dataclasses.fields(kind)})
    if strange := [name for name in settings if name not in names]:
        raise ValueError(f"There is no setting {', '.join(strange)}. Accepted are {', '.join(names)}.")


def check_anchor_base_size(size):
    """Returns the size as a float; raises ValueError unless it is a positive number of pixels."""
    if not (is_number(size) and math.isfinite(size) and size > 0):
        raise ValueError(f"`anchor_base_size` must be a positive number of pixels. Received: anchor_base_size={size!r}")
    return float(size)


def check_weight_decay(weight_decay):
    """Raises ValueError unless the weight of L2 is a finite number >= 0, or `None` for none."""
    if weight_decay is not None and not (is_number(weight_decay) and math.isfinite(weight_decay) and weight_decay >= 0):
        raise ValueError(
            "`weight_decay` (L2 of the kernels) must be a finite number >= 0; 0 leaves it out. Received: "
            f"weight_decay={weight_decay!r}"
        )


def check_norm(momentum, epsilon):
    """Raises ValueError unless batch normalization has a decay in [0, 1] and adds no negative number."""
    for name, value, most, wanted in (
        ("norm_momentum", momentum, 1.0, "decay of the moving averages) must be a number in [0, 1]"),
        ("norm_epsilon", epsilon, math.inf, "added to the variance) must be a number >= 0"),
    ):
        if not (is_number(value) and 0.0 <= value <= most):
            raise ValueError(f"`{name}` ({wanted}. Received: {name}={value!r}")


def check_seconds(**seconds):
    """Raises ValueError unless each is a number of seconds that can be waited, under its name."""
    for name, value in seconds.items():
        if not (is_number(value) and 0 <= value <= MAX_SECONDS):
            raise ValueError(
                f"`{name}` must be a number of seconds, from 0 to {MAX_SECONDS}. Received: {name}={value!r}"
            )


def check_evaluation(eval_interval_secs, report_dir, report_vanilla_dir):
    """Raises ValueError for seconds that cannot be waited, and for a plain run without a report that compares with it.

    Other settings of an evaluation are those of a split.
    """
    check_seconds(eval_interval_secs=eval_interval_secs)
    if report_vanilla_dir and not report_dir:
        raise ValueError(
            "`report_vanilla_dir` is the run that a report compares with, and none was asked for. Give --report_dir, "
            f"or leave out --report_vanilla_dir. Received: report_vanilla_dir={report_vanilla_dir!r}"
        )


def check_skip_bad_records(value):
    """Raises ValueError unless the number of records that may be damaged is an int, at least 0."""
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"`skip_bad_records` must be an int, at least 0. Received: skip_bad_records={value!r}")


def check_choice(name, value, choices):
    """Raises ValueError unless a setting's value is one of the choices."""
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {choices}. Received: {name}={value!r}")


def check_positive(config, *names):
    """Raises ValueError unless these attributes of a configuration are ints, at least 1."""
    check_counts(**{name: getattr(config, name) for name in names})


def check_image_size(config, optional=False):
    """Raises ValueError unless `image_size` of a configuration is a number of pixels that images may have, or None."""
    if optional and config.image_size is None:
        return
    check_positive(config, "image_size")
    if config.image_size > MAX_SIDE:
        raise ValueError(
            f"`image_size` must be a number of pixels, at most {MAX_SIDE:,}. Received: image_size={config.image_size!r}"
        )


def check_given(config, *names):
    """Raises ValueError if one of these attributes of a configuration, whose flags are called so, is missing."""
    for name in names:
        if not getattr(config, name):
            raise ValueError(f"`{name}` is missing. Give --{name}.")
