"""COCO, and other data sets in its form: a JSON of a split's boxes beside folders of pictures, or TFRecords.

`annotations/instances_<split>.json`, with a year behind the split or without; pictures in `train2017/`, or in
`images/`. Or, as Roboflow exports data, `_annotations.coco.json` in the folder of a split's pictures. The numbers of
categories may have gaps: classes are counted from 1 in the order of these numbers, over all splits of the directory
together, so that they mean the same in each.
"""

import collections
import json
import mmap
import os
import re

import numpy as np
from keras.utils import bounding_boxes

from sact_tf.data.class_names import is_background
from sact_tf.data.detection import Categories, areas, record_files
from sact_tf.data.detection.annotations import Annotations, check_files, checked, source_of
from sact_tf.data.detection.coco_json import (
    WAY_OUT,
    check_boxes,
    check_ids,
    check_sizes,
    file_names,
    is_outermost,
    names_of,
    numbers_of,
    read_categories,
    read_json,
)
from sact_tf.data.directories import folders_of_split, nothing_found
from sact_tf.progress import counted, named

DEFAULT_DIRECTORY = "~/tensorflow/data/coco"
# Annotations among the pictures of their split.
_AMONG_PICTURES = "_annotations.coco.json"
# Pictures that are looked for in each folder that they may be in.
_TRIED = 20
# Bytes within which a list of categories is looked for before the whole file is read.
_WINDOW = 1 << 22
# What records hold as int64.
_MAX_NUMBER = 2**63 - 1


def open_split(directory, split, image_size, log=None):
    """Opens a split.

    Args:
        directory: path; None for `DEFAULT_DIRECTORY`.
        split: "train", "val", or whatever stands behind `instances_`, with the year or without.
        image_size: int, pixels of the shorter side; the longer has at most 1024 / 600 of it.
        log: called with lines of text, or None.

    Returns:
        `RecordSource` with `Categories`; see `detection` for its batches.

    Raises:
        OSError, ValueError: if the split is not there, not whole, or contradicts itself.
    """
    directory = os.path.expanduser(directory or DEFAULT_DIRECTORY)
    if found := find_split(directory, split, log):
        return source_of(*found, image_size)
    source, records = record_files.open_records(directory, "coco", split, image_size, log)
    if source is not None:
        return source
    error = nothing_found(directory, {**looked_for(directory, split), **records}, splits=splits_of(directory))
    if os.path.isdir(os.path.join(directory, "Annotations")):
        error = FileNotFoundError(f"{error} If these are the folders of Pascal VOC, give --dataset=voc.")
    raise error


def num_classes_of(directory):
    """Number of classes of the data in a directory, the background not included; None if there is nothing."""
    found = categories_of(directory)
    return len(found) if found else None


def categories_of(directory):
    """`Categories` of the data in a directory, of all splits together; None if there is nothing."""
    directory = os.path.expanduser(directory or DEFAULT_DIRECTORY)
    paths = _all_annotations(directory)
    found = _merged({path: _quick_categories(path) for path in paths}) if paths else None
    return found or record_files.label_map(directory)


def splits_of(directory):
    """Names of the splits whose annotations are there, a list."""
    return [_split_of(path) for path in _all_annotations(directory)]


def looked_for(directory, split):
    """Dict from what `find_split` looks for to its path."""
    return {
        "annotations of COCO": os.path.join(directory, "annotations", f"instances_{split}NNNN.json"),
        "annotations of Roboflow": os.path.join(directory, folders_of_split(split)[-1], _AMONG_PICTURES),
    }


def find_split(directory, split, log=None):
    """`read_split` of the annotations of a split, of the latest year; None if there are none."""
    name = re.compile(rf"instances_{re.escape(split)}\d*\.json")
    paths = _all_annotations(directory)
    among = {os.path.join(directory, each, _AMONG_PICTURES) for each in folders_of_split(split)}
    found = [path for path in paths if name.fullmatch(os.path.basename(path))] or sorted(among & {*paths})
    return read_split(directory, found[-1], log) if found else None


def read_split(directory, path, log=None):
    """Reads the annotations of a split.

    Args:
        directory: path, of the data set.
        path: of the JSON file.
        log: called with lines of text, or None.

    Returns:
        `Annotations`, checked, and `Categories`.
    """
    content = read_json(path)
    images, boxes = content["images"], content["annotations"]
    others = {other: _quick_categories(other) for other in _all_annotations(directory) if other != path}
    own = read_categories(path, content)
    categories = _merged({path: own, **others})
    if log:
        parts = counted(len(images), "picture"), counted(len(boxes), "box"), counted(len(categories), "class")
        log(f"Reading {path}: {', '.join(parts)}")
    numbers = numbers_of(path, "images", images, ("id", "file_name", "height", "width"))
    numbers_of(path, "annotations", boxes, ("bbox", "image_id", "category_id"))
    check_boxes(path, boxes, own)
    classes = {number: place for place, number in enumerate(categories.numbers, 1)}
    check_ids(path, boxes, "image_id", numbers, "pictures")
    check_ids(path, boxes, "category_id", classes, "categories")
    if log:
        _log_classes(categories, classes, boxes, log)
    check_sizes(path, images)
    paths = _picture_paths(directory, path, file_names(images))
    corners = _corners(path, boxes)
    # Below 0 is none, as records have it.
    area = [-1.0 if (area := box.get("area")) is None else area for box in boxes]
    annotations = Annotations(
        origin=path,
        paths=paths,
        source_ids=[str(image["id"]) for image in images],
        sizes=np.array([(image["height"], image["width"]) for image in images], np.int32).reshape(-1, 2),
        owners=np.array([numbers[box["image_id"]] for box in boxes], np.int64),
        boxes=corners,
        classes=np.array([classes[box["category_id"]] for box in boxes], np.int32),
        crowd=np.array([bool(box.get("iscrowd", 0)) for box in boxes], bool),
        area=np.array(area, np.float32),
    )
    annotations = checked(annotations, log)
    known = annotations.area >= 0
    return annotations._replace(area=np.where(known, annotations.area, areas(annotations.boxes))), categories


def _all_annotations(directory):
    """Sorted paths of the annotations of all splits; those among pictures count where there are no others."""
    folder = os.path.join(directory, "annotations")
    names = os.listdir(folder) if os.path.isdir(folder) else []
    found = [os.path.join(folder, name) for name in sorted(names) if re.fullmatch(r"instances_.*\.json", name)]
    folders = sorted(os.listdir(directory)) if os.path.isdir(directory) and not found else []
    among = [os.path.join(directory, name, _AMONG_PICTURES) for name in folders]
    return found + [path for path in among if os.path.isfile(path)]


def _split_of(path):
    """What the split of annotations is called, with its year."""
    folder, name = os.path.split(path)
    return os.path.basename(folder) if name == _AMONG_PICTURES else name[len("instances_") : -len(".json")]


def _log_classes(categories, classes, boxes, log):
    """Says which categories share a name, and which have no box; `classes` is a dict from their numbers to classes."""
    counts = collections.Counter(categories.names)
    if shared := sorted(name for name, count in counts.items() if count > 1):
        log(f"Note: several categories are called {named(shared)}, and each of them is a class of its own")
    empty = [categories.names[classes[number] - 1] for number in {*classes} - {box["category_id"] for box in boxes}]
    if boxes and empty:
        log(f"{len(empty)} of {len(categories)} classes have no box here: {named(sorted(empty))}")


def _corners(path, boxes):
    """float32 `(boxes, 4)`: ymin, xmin, ymax, xmax of left, top, width and height."""
    for place, box in enumerate(boxes):
        sides = box["bbox"]
        if not isinstance(sides, list) or len(sides) != 4 or not all(isinstance(side, (int, float)) for side in sides):
            raise ValueError(
                f"{path}: the bbox of annotations[{place}] must be four numbers, left, top, width and height in "
                f"pixels. Received: {str(sides)[:100]}. {WAY_OUT}."
            )
    given = np.array([box["bbox"] for box in boxes], np.float32).reshape(-1, 4)
    return np.asarray(bounding_boxes.convert_format(given, "xywh", "yxyx"))


def _picture_paths(directory, path, names):
    """Paths of the pictures, in that of the usual folders that has most of the first of them: some may be lost."""
    if not names:
        return []
    folders = _picture_folders(directory, path)
    folder = max(folders, key=lambda each: sum(os.path.exists(os.path.join(each, name)) for name in names[:_TRIED]))
    paths = [os.path.join(folder, name) for name in names]
    check_files(path, paths)
    return paths


def _picture_folders(directory, path):
    if os.path.basename(path) == _AMONG_PICTURES:
        return [os.path.dirname(path)]
    suffix = _split_of(path)
    plain = suffix.rstrip("0123456789")
    folders = [*dict.fromkeys((suffix, plain)), "images", ""]
    return [os.path.join(directory, *parts) for name in folders for parts in ((name,), ("images", name))]


def _quick_categories(path):
    """`read_categories` of a file of which nothing else is wanted: they stand in a list, of COCO's files at the end."""
    if not os.path.getsize(path):
        read_json(path)
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        place = max(content.rfind(b'"categories"'), 0)
        found = re.match(rb'"categories"\s*:\s*', tail := content[place : place + _WINDOW])
        text = tail[found.end() :] if found else b""
        before = content[:place] if place <= _WINDOW else b""
    try:
        listed, end = json.JSONDecoder().raw_decode(text := text.decode(errors="replace"))
        if not is_outermost(before, text[end:]):
            return read_categories(path, read_json(path))
        return names_of(listed)
    except (ValueError, TypeError, KeyError):
        return read_categories(path, read_json(path))


def _merged(categories):
    """`Categories` of all splits; raises if two of them call one number by two names, or give a name other numbers."""
    names, numbers_of = {}, {}
    for path, found in categories.items():
        for number, name in found.items():
            if not isinstance(number, int) or not 0 <= number <= _MAX_NUMBER:
                raise ValueError(
                    f"{path}: the id of a category must be an int, from 0 to 2^63 - 1. Received: {repr(number)[:100]}."
                )
            if names.setdefault(number, (name, path))[0] != name:
                raise ValueError(
                    f"Category {number} is {names[number][0]!r} in {names[number][1]} and {name!r} in {path}. Splits "
                    "of one directory must agree; put them in two."
                )
        own = collections.defaultdict(set)
        for number, name in found.items():
            own[name].add(number)
        for name, numbers in own.items():
            known, other = numbers_of.setdefault(name, (numbers, path))
            if known.isdisjoint(numbers):
                raise ValueError(
                    f"{name!r} is category {named(sorted(known))} in {other} and {named(sorted(numbers))} in {path}. "
                    "Splits of one directory must agree; put them in two."
                )
    # As in label maps: what is no object has this number, and is no class.
    numbers = tuple(number for number in sorted(names) if number or not is_background(names[0][0]))
    return Categories(numbers, tuple(names[number][0] for number in numbers))
