"""What may become the directory of an export, and what would be lost there."""

import os
from fnmatch import fnmatchcase

from sact_tf.data.whole_directories import resolve

# What is in an export besides the format's own files, and tells it from a directory of something else.
DESCRIPTION_FILE = "export.json"
# What the formats write; all else in an export's directory was put there by somebody.
_WRITTEN = (
    DESCRIPTION_FILE,
    "saved_model.pb",
    "fingerprint.pb",
    "variables/variables.*",
    "assets/labels.txt",
    "model.onnx",
    "model.keras",
    "model.weights.h5",
    "model.ckpt-*",
    "checkpoint",
)
# Names of what would be lost that a message gives.
_NAMED = 5


def check_output_dir(path, overwrite):
    """Returns the resolved path if an export may be written there.

    Args:
        path: of the directory that the export is going to be.
        overwrite: bool, whether an export that is there already may be replaced.

    Raises:
        FileExistsError: if something is there that may not be replaced: always, unless it is an earlier export with
            nothing else beside its files, and `overwrite` is given. An empty directory is nothing, unless a disk is
            mounted there or it is the working directory: neither can be put in place whole.
    """
    resolved = resolve(path, "export")
    if not os.path.lexists(resolved) or (os.path.isdir(resolved) and not os.listdir(resolved)):
        return resolved
    if not os.path.isfile(os.path.join(resolved, DESCRIPTION_FILE)):
        raise FileExistsError(
            f"{path} exists and is no export (it has no {DESCRIPTION_FILE}), so it is never overwritten. Give another "
            "--output_dir, or remove it yourself."
        )
    if not overwrite:
        raise FileExistsError(
            f"{path} holds an export already. Give --overwrite to replace it, or another --output_dir."
        )
    others = [name for name in _names_in(resolved) if not any(fnmatchcase(name, each) for each in _WRITTEN)]
    if others:
        more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
        raise FileExistsError(
            f"{path} holds an export, and what no export wrote: {', '.join(others[:_NAMED])}{more}. It would be lost. "
            "Move it elsewhere, or give another --output_dir."
        )
    return resolved


def _names_in(directory):
    """What is in an export's directory, sorted, and in those that a SavedModel has in it: `assets/labels.txt`."""
    names = []
    for name in sorted(os.listdir(directory)):
        within = os.path.join(directory, name)
        if any(each.startswith(f"{name}/") for each in _WRITTEN) and os.path.isdir(within):
            names += [f"{name}/{each}" for each in sorted(os.listdir(within))]
        else:
            names.append(name)
    return names
