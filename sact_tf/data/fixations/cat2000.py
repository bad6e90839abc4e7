"""CAT2000 (Borji and Itti 2015), the training set as published.

`Stimuli/<Category>/NNN.jpg` beside `FIXATIONLOCS/<Category>/NNN.mat`, whose `fixLocs` is 1 where somebody looked. It
does not say who. The folders `Output` within the categories are pictures of fixations, and left out.
"""

import os

import numpy as np

from sact_tf.data.directories import nothing_found
from sact_tf.data.fixations.matlab import read_variable
from sact_tf.data.fixations.viewed import Found, check_pairs
from sact_tf.progress import Timer, one_line

_STIMULI, _LOCATIONS = "Stimuli", "FIXATIONLOCS"
_SECONDS_BETWEEN_MESSAGES = 10


def read(directory, log):
    """Yields a `Found` for each picture; `directory` holds `Stimuli` and `FIXATIONLOCS`, or `trainSet` with both."""
    inner = os.path.join(directory, "trainSet")
    directory = inner if os.path.isdir(inner) else directory
    stimuli, locations = (os.path.join(directory, name) for name in (_STIMULI, _LOCATIONS))
    if not (os.path.isdir(stimuli) and os.path.isdir(locations)):
        raise nothing_found(
            directory,
            {"CAT2000's training set": stimuli, "its fixations, which the test set has not": locations},
            convertible=False,
        )
    paths, maps = _files(stimuli, (".jpg", ".jpeg", ".png")), _files(locations, (".mat",))
    check_pairs(stimuli, locations, paths, maps)
    timer = Timer(_SECONDS_BETWEEN_MESSAGES)
    for number, name in enumerate(sorted(paths), 1):
        fixated = np.asarray(read_variable(maps[name], "fixLocs"))
        if fixated.ndim != 2:
            raise ValueError(
                f"{one_line(maps[name])} has a fixLocs of shape {fixated.shape}, and it has to be a map, (height, "
                "width)."
            )
        rows, columns = np.nonzero(fixated)
        category = name.partition("/")[0]
        yield Found(paths[name], name, category, [np.stack([columns, rows], 1)], fixated.shape)
        if timer.is_due():
            log(f"fixations of {number}/{len(paths)} pictures")


def _files(directory, endings):
    """Dict from `<Category>/NNN` to the path of a file with one of some endings."""
    found = {}
    for category in sorted(os.listdir(directory)):
        folder = os.path.join(directory, category)
        for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
            stem, ending = os.path.splitext(name)
            path = os.path.join(folder, name)
            if ending.lower() in endings and not name.startswith(".") and os.path.isfile(path):
                found[f"{category}/{stem}"] = path
    return found
