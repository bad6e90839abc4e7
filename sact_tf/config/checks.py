"""Checks of settings that several configurations share; each error says what came and what is accepted."""


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
    for name in names:
        value = getattr(config, name)
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"`{name}` must be an int, at least 1. Received: {name}={value!r}")
