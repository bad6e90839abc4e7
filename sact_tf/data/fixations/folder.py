"""Pictures and fixations of one's own.

`images/`, at any depth, beside either of

- `fixation_maps/`: a picture of the same name (whatever its ending) and size for each, black but for pixels of one
  other colour, where somebody looked;
- `fixations.csv`: a line of names, `image`, `x`, `y` and maybe `observer`, in any order, others are not looked at; then
  a line for each fixation, in pixels from 0 at the left and the top; `image` is the path below `images/`.
"""

import csv
import os

import numpy as np

from sact_tf.data import pictures
from sact_tf.data.class_names import composed
from sact_tf.data.directories import nothing_found
from sact_tf.data.fixations.viewed import Found, check_pairs, listed
from sact_tf.progress import Timer, one_line

_IMAGES, _MAPS, _POINTS = "images", "fixation_maps", "fixations.csv"
_NEEDED = ("image", "x", "y")
_SECONDS_BETWEEN_MESSAGES = 10


def read(directory, log):
    """Yields a `Found` for each picture; its group is the folder that it is in."""
    images, maps, points = (os.path.join(directory, name) for name in (_IMAGES, _MAPS, _POINTS))
    kinds = [path for path in (maps, points) if os.path.exists(path)]
    if not os.path.isdir(images) or not kinds:
        looked_for = {"pictures": images, "their fixations, as maps": maps, "or as points": points}
        raise nothing_found(directory, looked_for, convertible=False)
    if len(kinds) > 1:
        raise ValueError(f"{one_line(directory)} has both {_MAPS} and {_POINTS}. Take one of them away.")
    paths = _pictures_below(images)
    return _with_maps(paths, images, maps, log) if kinds == [maps] else _with_points(paths, images, points)


def _with_maps(paths, images, maps, log):
    paths, fixated = _by_stem(paths), _by_stem(_pictures_below(maps))
    check_pairs(images, maps, paths, fixated)
    timer = Timer(_SECONDS_BETWEEN_MESSAGES)
    for number, name in enumerate(sorted(paths), 1):
        points, size = _read_map(fixated[name])
        yield Found(paths[name], os.path.relpath(paths[name], images), os.path.dirname(name), [points], size)
        if timer.is_due():
            log(f"fixation maps of {number}/{len(paths)} pictures")


def _read_map(path):
    """Points of a fixation map, and its height and width."""
    try:
        with pictures.opened(path) as picture:
            # In grey of more than 8 bits a point may be a 1, which nobody could see.
            wide = picture.mode.startswith("I")
            values = np.array(picture) if wide else pictures.pixels_of(picture).max(axis=2)
    except pictures.BadPicture as error:
        raise ValueError(f"{one_line(path)} cannot be read: {error}.") from error
    levels = np.unique(values[values > 0])
    if len(levels) > 1:
        raise ValueError(
            f"{one_line(path)} has {len(levels)} levels of grey above black, so it is a blurred map, or a JPEG, whose "
            "compression blurs. A fixation map has single pixels of one colour, where somebody looked, on black: give "
            f"such maps as PNG, or points in {_POINTS}."
        )
    rows, columns = np.nonzero(values)
    if 2 * len(rows) > values.size:
        raise ValueError(
            f"{one_line(path)} has {len(rows)} of its {values.size} pixels marked, so it shows where nobody looked, or "
            "its points are told apart by transparency, which is left out. A fixation map is black, but for single "
            "pixels of one colour where somebody looked: exchange its colours."
        )
    return np.stack([columns, rows], 1), values.shape


def _with_points(paths, images, path):
    try:
        points = _read_points(path, paths)
    except csv.Error as error:
        raise ValueError(
            f"{one_line(path)} is no table of values separated by commas: {error}. Is a quote opened and not closed?"
        ) from error
    unknown = set(points) - set(paths)
    if unknown:
        check_pairs(images, path, set(points) - unknown, points)
    for name in sorted(paths):
        observers = [np.array(each) for each in points.get(name, {"": np.zeros((0, 2))}).values()]
        yield Found(paths[name], name, os.path.dirname(name), observers)


def _read_points(path, paths):
    """Dict from names of pictures, of which `paths` has those that there are, to dicts from observers to points."""
    with open(path, newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        reader = csv.DictReader(file, skipinitialspace=True)
        columns = reader.fieldnames or []
        wrong = [name for name in (*_NEEDED, "observer") if columns.count(name) > 1 or name in {*_NEEDED} - {*columns}]
        if wrong:
            raise ValueError(
                f"{one_line(path)} has no column {', '.join(wrong)}, or several. Its first line names the columns "
                f"image, x, y and maybe observer, separated by commas. Received: {listed(columns) or 'nothing'}"
            )
        found = {}
        for row in reader:
            # A comma behind the last value is none more.
            if any(row.get(None, ())):
                raise ValueError(
                    f"Line {reader.line_num} of {one_line(path)} has {len(columns) + len(row[None])} values for "
                    f"{len(columns)} columns, so it is not clear which is which. Numbers have a point, no comma, and a "
                    "name with a comma stands in quotes."
                )
            try:
                point = float(row["x"]), float(row["y"])
            except (TypeError, ValueError) as error:
                raise ValueError(
                    f"Line {reader.line_num} of {one_line(path)} has no numbers for x and y. Received: "
                    f"x={row['x']!r}, y={row['y']!r}"
                ) from error
            name = composed(os.path.normpath(row["image"] or ""))
            if name not in paths:
                # As Windows writes folders.
                name = os.path.normpath(name.replace("\\", "/"))
            found.setdefault(name, {}).setdefault(row.get("observer") or "", []).append(point)
    return found


def _pictures_below(directory):
    """Dict from paths below a directory to whole paths of all pictures there."""
    found = {}
    for folder, folders, names in os.walk(directory):
        folders.sort()
        for name in names:
            path = os.path.join(folder, name)
            if name.lower().endswith(pictures.ENDINGS) and not name.startswith("."):
                short = composed(os.path.relpath(path, directory))
                if short in found:
                    raise ValueError(
                        "Two pictures differ in how accents are put together alone, so that it is not clear whose "
                        f"fixations are whose: {one_line(found[short])} is there twice. Rename one of them."
                    )
                found[short] = path
    return found


def _by_stem(paths):
    """Dict from names without endings to the paths."""
    found = {}
    for name in sorted(paths):
        stem = os.path.splitext(name)[0]
        if stem in found:
            raise ValueError(
                f"Two pictures differ in their ending alone, so that it is not clear whose fixations are whose: "
                f"{one_line(found[stem])}, {one_line(paths[name])}. Rename one of them."
            )
        found[stem] = paths[name]
    return found
