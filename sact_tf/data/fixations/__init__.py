"""Pictures and where people looked at them: CAT2000 and OSIE as published, OSIE as JSON, and folders of one's own.

Fixations are points x, y in pixels from 0 at the left and the top, whatever a data set has them as.
"""

from sact_tf.data.fixations import cat2000, folder, osie
from sact_tf.data.fixations.viewed import Fixations, Viewed, gather

__all__ = ["FORMATS", "Fixations", "Viewed", "read_fixations"]

FORMATS = {"cat2000": cat2000.read, "osie": osie.read, "folder": folder.read}


def read_fixations(form, directory, log=None):
    """Reads where people looked, and the sizes of the pictures; the pictures themselves are not read yet.

    Args:
        form: a key of `FORMATS`.
        directory: path of the data set.
        log: called with lines of text on what is left out and how far it is; or None.

    Returns:
        `Fixations`.

    Raises:
        FileNotFoundError: if there is no such data set there.
        ValueError: for pictures and fixations that do not pair up, a file of another kind, maps of another size than
            their picture, and if no fixation is in a picture.
    """
    if form not in FORMATS:
        raise ValueError(f"`dataset` must be one of {tuple(FORMATS)}. Received: dataset={form!r}")
    if not directory:
        raise ValueError(f"--dataset_dir is needed: the directory of the {form} data, pictures and fixations.")
    return gather(FORMATS[form](directory, log or (lambda line: None)), log or (lambda line: None))
