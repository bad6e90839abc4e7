"""Reads MATLAB's files, and says in a sentence why one cannot be read."""

import numpy as np

from sact_tf.progress import one_line

_MAX_MESSAGE = 160
# What files of version 7.3, which are HDF5, begin with.
_HDF5 = (b"MATLAB 7.3", b"\x89HDF")


def read_variable(path, name):
    """A variable of a MATLAB file of version 4 to 7, structures as dicts and cells as lists.

    Args:
        path: of the file.
        name: of the variable.

    Raises:
        ValueError: for a file of version 7.3, one that cannot be read, or one without this variable.
    """
    from scipy import io

    with open(path, "rb") as file:
        start = file.read(16)
    if start.startswith(_HDF5):
        raise ValueError(
            f"{one_line(path)} is a MATLAB file of version 7.3, and versions up to 7 are read. Load it in MATLAB or "
            f"Octave and write it again: save('{name}.mat', '{name}', '-v7')"
        )
    try:
        variables = io.loadmat(path, simplify_cells=True)
    # A damaged file fails in whatever way its reader stumbles.
    except Exception as error:
        reason = ascii(" ".join(str(error).split())[:_MAX_MESSAGE])[1:-1] or type(error).__name__
        raise ValueError(
            f"{one_line(path)} is no MATLAB file that can be read: {reason}. Unpack or fetch it again."
        ) from error
    if name not in variables:
        there = ", ".join(one_line(key) for key in variables if not key.startswith("__")) or "nothing"
        raise ValueError(
            f"{one_line(path)} is a MATLAB file of another kind: it has no variable {name}, but {there}. Give the "
            "--dataset that the files are of."
        )
    return variables[name]


def listed(value):
    """A cell as a list; one of a single entry comes as that entry."""
    return list(value) if isinstance(value, (list, tuple, np.ndarray)) else [value]
