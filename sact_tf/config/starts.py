"""Whether a run starts from the checkpoint that it began from, in whatever words that is named."""

import os
import re


def is_same_start(there, here, directory):
    """Whether two paths, or None, are of one checkpoint, for a run in a directory that may have been moved with it."""
    if not there or not here:
        return there == here
    real, mark, kept = os.path.realpath(here), _mark(here), _mark(there)
    if os.path.realpath(there) == real or (mark is not None and mark == kept):
        return True
    # A study whose directory was moved: the checkpoint is gone from where it was, and of the same name beside the run.
    together = os.path.join(os.path.dirname(os.path.realpath(directory)), os.path.basename(os.path.normpath(there)))
    return kept is None and mark is not None and real == together


def _mark(path):
    """Bytes that checkpoints share only if one is a copy, checksums if they are there; None without a checkpoint."""
    named = os.path.join(path, "checkpoint")
    if not os.path.isfile(named):
        # One of its files may be named in the place of the prefix that they share.
        return _bytes_of(re.sub(r"\.(index|meta|data-00000-of-00001)$", "", path) + ".index")
    text = _bytes_of(named)
    latest = re.search(rb'^model_checkpoint_path: "([^"]+)"', text)
    # Times of saving alone are not enough: a list that was lost and made anew has none.
    index = latest and _bytes_of(os.path.join(path, os.fsdecode(os.path.basename(latest[1])) + ".index"))
    return index or text


def _bytes_of(path):
    if not os.path.isfile(path):
        return None
    with open(path, "rb") as file:
        return file.read()
