"""OSIE (Xu et al. 2014): photographs of 800 x 600 and the fixations of 15 observers.

As published, `stimuli/NNNN.jpg` and `eye/fixations.mat`, a cell of structures with `img` and `subjects`, which have
`fix_x` and `fix_y` in pixels from 1; or `fixations.json`, a dict from names of pictures to lists, one an observer, of
`[x, y, milliseconds]` in pixels from 0.
"""

import json
import os

import numpy as np

from sact_tf.data.directories import nothing_found
from sact_tf.data.fixations.matlab import listed, read_variable
from sact_tf.data.fixations.viewed import Found, check_pairs
from sact_tf.progress import one_line

_PICTURES = (".jpg", ".jpeg", ".png")
_FIXATIONS = (os.path.join("eye", "fixations.mat"), "fixations.mat", "fixations.json")


def read(directory, log):
    """Yields a `Found` for each picture of a directory, or of its `data`, as the data set's repository has it."""
    inner = os.path.join(directory, "data")
    directory = inner if os.path.isdir(os.path.join(inner, "stimuli")) else directory
    stimuli = os.path.join(directory, "stimuli")
    candidates = [os.path.join(directory, name) for name in _FIXATIONS]
    path = next(filter(os.path.exists, candidates), None)
    if path is None or not os.path.isdir(stimuli):
        looked_for = {"OSIE's pictures": stimuli, "its fixations as published": candidates[0]}
        raise nothing_found(directory, {**looked_for, "its fixations as JSON": candidates[-1]}, convertible=False)
    log(f"Fixations: {one_line(path)}")
    fixations = _from_json(path) if path.endswith(".json") else _from_matlab(path)
    names = [name for name in os.listdir(stimuli) if name.lower().endswith(_PICTURES) and not name.startswith(".")]
    check_pairs(stimuli, path, names, fixations)
    for name in sorted(names):
        yield Found(os.path.join(stimuli, name), name, "", fixations[name])


def _from_matlab(path):
    found = {}
    for entry in listed(read_variable(path, "fixations")):
        try:
            subjects = listed(entry["subjects"])
            # MATLAB counts from 1.
            found[str(entry["img"])] = [
                np.stack([np.atleast_1d(subject[key]).astype(np.float64) for key in ("fix_x", "fix_y")], 1) - 1
                for subject in subjects
            ]
        except (KeyError, TypeError, IndexError, ValueError) as error:
            raise ValueError(
                f"{one_line(path)} is a MATLAB file of another kind: its fixations are not structures with img and "
                "subjects, and these with as many fix_x as fix_y."
            ) from error
    return found


def _from_json(path):
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
        return {
            name: [np.array([fixation[:2] for fixation in observer], np.float64).reshape(-1, 2) for observer in each]
            for name, each in content.items()
        }
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError) as error:
        raise ValueError(
            f"{one_line(path)} cannot be read as fixations: it has to be a JSON dict from names of pictures to lists, "
            'one an observer, of [x, y, milliseconds], such as {"1001.jpg": [[[394.5, 264.7, 246.0]]]}.'
        ) from error
