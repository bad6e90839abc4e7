"""Checks of settings that several configurations share; each error says what came and what is accepted."""

import math
import numbers


def check_counts(**counts):
    """Raises ValueError unless each is an int, at least 1, under its name."""
    for name, value in counts.items():
        if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < 1:
            raise ValueError(f"`{name}` must be an int, at least 1. Received: {name}={value!r}")


def check_anchor_base_size(size):
    """Returns the size as a float; raises ValueError unless it is a positive number of pixels."""
    if not isinstance(size, numbers.Real) or isinstance(size, bool) or not (math.isfinite(size) and size > 0):
        raise ValueError(f"`anchor_base_size` must be a positive number of pixels. Received: anchor_base_size={size!r}")
    return float(size)


def check_weight_decay(weight_decay):
    """Raises ValueError unless the weight of L2 is a finite number >= 0, or `None` for none."""
    number = isinstance(weight_decay, numbers.Real) and not isinstance(weight_decay, bool)
    if weight_decay is not None and not (number and math.isfinite(weight_decay) and weight_decay >= 0):
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
        if not isinstance(value, numbers.Real) or isinstance(value, bool) or not 0.0 <= value <= most:
            raise ValueError(f"`{name}` ({wanted}. Received: {name}={value!r}")


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
