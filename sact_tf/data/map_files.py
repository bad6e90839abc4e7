"""HDF5 files of maps: what is wrong with one is said in a sentence."""

import contextlib

from sact_tf.progress import one_line

_MAX_MESSAGE = 120


@contextlib.contextmanager
def damage_named(path, way_out="Copy it again, or make it again with python -m sact_tf.export_maps"):
    """Context in which an HDF5 file is read, and nothing else; whatever its reader stumbles over is told with its path.

    Args:
        path: of the file.
        way_out: text, what to do about one that is damaged.

    Raises:
        PermissionError: if it may not be read.
        ValueError: if it is cut short or damaged.
    """
    try:
        yield
    except PermissionError as error:
        raise PermissionError(f"{one_line(path)} may not be read: Permission denied.") from error
    except (OSError, RuntimeError, KeyError) as error:
        reason = one_line(" ".join(str(error).split()))[:_MAX_MESSAGE]
        raise ValueError(f"{one_line(path)} is cut short or damaged ({reason}). {way_out}.") from error
