"""A picture and the fixations on it, and what is checked of all of them before any picture is looked at."""

from typing import NamedTuple

import numpy as np

from sact_tf.data import pictures
from sact_tf.progress import Timer, counted, one_line

# Names of an error's list.
_LISTED = 5
_SECONDS_BETWEEN_MESSAGES = 10
# Where more than this share of fixations is between 0 and 1, they are parts of pictures, not pixels. It is not all of
# them: eye trackers have some beyond the borders.
_PARTS = 0.9
# More than this part of fixations outside, and fewer with x and y swapped, is not chance.
_SUSPICIOUS = 0.01


class Found(NamedTuple):
    """What a reader found of a picture.

    Attributes:
        path: of the picture.
        name: text, what it is called in tables.
        group: text, such as its category.
        observers: list of `(n, 2)`, x and y of each observer's fixations, or of all that are known, as one.
        size: height and width of the map that the fixations are of; None where they are points.
    """

    path: str
    name: str
    group: str
    observers: list
    size: tuple | None = None


class Viewed(NamedTuple):
    """A picture that people looked at.

    Attributes:
        path, name, group: as of `Found`.
        height, width: ints, of the picture in pixels.
        as_stored: bool, whether the fixations belong to the picture as it is in its file, not turned by its EXIF data.
        observers: list of float64 `(n, 2)`, those of the fixations that are in the picture.
    """

    path: str
    name: str
    group: str
    height: int
    width: int
    as_stored: bool
    observers: list

    @property
    def points(self):
        """All fixations, float64 `(n, 2)`."""
        return np.concatenate(self.observers)


class Fixations(NamedTuple):
    """A whole data set.

    Attributes:
        images: list of `Viewed`, each with a fixation at least.
        observers_known: bool, whether it is known whose fixations are whose.
        without: list of names of pictures that have no fixation, which are left out.
        outside: int, fixations that are in no picture, which are left out.
        total: int, all of them.
    """

    images: list
    observers_known: bool
    without: list
    outside: int
    total: int


def gather(found, log):
    """`Fixations` of `Found` pictures; errors as of `read_fixations`."""
    images, without, outside, swapped, total = [], [], 0, 0, 0
    timer = Timer(_SECONDS_BETWEEN_MESSAGES)
    found = list(found)
    if not found:
        raise ValueError("The data set has no pictures at all. Give another --dataset_dir.")
    _check_pixels(found)
    for number, each in enumerate(found, 1):
        height, width, as_stored = _size_of(each)
        points = [np.asarray(observer, np.float64).reshape(-1, 2) for observer in each.observers]
        inside = [_inside(observer, height, width) for observer in points]
        total += sum(map(len, points))
        outside += sum(int(np.sum(~part)) for part in inside)
        swapped += sum(int(np.sum(~_inside(observer[:, ::-1], height, width))) for observer in points)
        kept = [observer[part] for observer, part in zip(points, inside, strict=True)]
        if any(map(len, kept)):
            images.append(Viewed(each.path, each.name, each.group, height, width, as_stored, kept))
        else:
            without.append(each.name)
        if timer.is_due():
            log(f"sizes of {number}/{len(found)} pictures")
    _report(images, without, outside, swapped, total, log)
    return Fixations(images, any(len(each.observers) > 1 for each in images), without, outside, total)


def check_pairs(pictures_of, fixations_of, pictures, fixations):
    """Raises ValueError unless pictures and fixations have the same names.

    Args:
        pictures_of, fixations_of: texts, where either is.
        pictures, fixations: iterables of names.
    """
    pictures, fixations = set(pictures), set(fixations)
    parts = [
        (pictures - fixations, f"{{}} of the pictures in {pictures_of} have no fixations in {fixations_of}"),
        (fixations - pictures, f"{{}} in {fixations_of} belong to no picture in {pictures_of}"),
    ]
    lines = [f"{text.format(len(names))}: {listed(names)}." for names, text in parts if names]
    if lines:
        raise ValueError(
            "Pictures and fixations are paired by their names, and some have no partner. "
            + " ".join(lines)
            + " Add what is missing, or take away what is too much."
        )


def listed(names):
    """Some names, sorted, as text on one line."""
    names = sorted(map(one_line, names))
    return ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")


def _inside(points, height, width):
    # What is no number is not inside either.
    return (points >= 0).all(1) & (points < (width, height)).all(1)


def _size_of(found):
    """Height and width of a picture as its fixations have it, and whether that is as it is stored."""
    try:
        with pictures.opened(found.path) as picture:
            height, width = pictures.stored_size(picture)
            turned = pictures.orientation(picture) in pictures.SIDEWAYS
    except pictures.BadPicture as error:
        raise ValueError(f"{one_line(found.path)} cannot be looked at: {error}.") from error
    upright = (width, height) if turned else (height, width)
    if found.size in (None, upright):
        return (*upright, False)
    # Some files of data sets say by mistake that the camera was turned.
    if found.size == (height, width):
        return height, width, True
    raise ValueError(
        f"The fixation map of {one_line(found.name)} is {found.size[0]} pixels high and {found.size[1]} wide, and its "
        f"picture {upright[0]} and {upright[1]}. Fixations have to be of the picture's own size: bring their points to "
        "it, rather than the map, which would move or merge them."
    )


def _check_pixels(found):
    """Raises ValueError for points that are parts of pictures."""
    points = np.concatenate([np.zeros((0, 2)), *(observer for each in found for observer in each.observers)])
    points = points[np.isfinite(points).all(1)]
    parts = ((points >= 0) & (points <= 1)).all(1)
    if len(points) > 1 and parts.mean() > _PARTS and np.any(points[parts] % 1):
        raise ValueError(
            f"{'All' if parts.all() else f'{parts.sum()} of {len(parts)}'} fixations lie between 0 and 1, so they are "
            "parts of pictures, and x and y have to be pixels: from 0 at the left and the top to the width and the "
            "height."
        )


def _report(images, without, outside, swapped, total, log):
    """Says what is left out; raises ValueError if that is everything."""
    cause = "The usual cause is that x and y are swapped: x, from the left, comes first."
    if total and outside == total:
        raise ValueError(
            f"All {total} fixations lie outside of their pictures. {cause} They have to be pixels of the picture, from "
            "0 at the left and the top."
        )
    if not images:
        raise ValueError(
            f"None of the {len(without)} pictures has a fixation, so there is nothing to predict: {listed(without)}."
        )
    if outside:
        log(f"{outside} of {total} fixations lie outside of their pictures and are left out.")
    if outside > _SUSPICIOUS * total and swapped < outside / 2:
        log(f"Warning: with x and y swapped it would be {swapped} of them. {cause}")
    if without:
        log(f"Left out: {counted(len(without), 'picture')} without fixations: {listed(without)}")
