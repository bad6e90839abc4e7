"""Pascal VOC, and other data sets in its form: an XML for each picture, lists of the pictures of each split.

`ImageSets/Main/<split>.txt`, `Annotations/*.xml`, `JPEGImages/*`; or TFRecords; or, as Roboflow exports data, a folder
of each split with the XML files among its pictures. Classes are counted from 1 in the order of their names, over all
annotations of the directory, so that they mean the same in each split. Coordinates are taken as they are, as the TF
Object Detection API does it: VOC itself counts pixels from 1, most programs that write its form count from 0, and a
pixel is what they differ by. What is marked as difficult counts as a crowd: neither to be found nor a mistake.
"""

import collections
import os
import re
from typing import NamedTuple

import numpy as np

from sact_tf.data import pictures
from sact_tf.data.class_names import warn_of_capitals
from sact_tf.data.detection import Categories, areas, record_files
from sact_tf.data.detection.annotations import Annotations, check_files, checked, source_of
from sact_tf.data.detection.voc_xml import name_of, objects_of, read_all, size_of
from sact_tf.data.directories import folders_of_split, nothing_found
from sact_tf.progress import counted, named

DEFAULT_DIRECTORY = "~/tensorflow/data/voc"
# Behind a name, in lists that are of one class: there, not there, or hard to tell. A name may have spaces.
_MARK = re.compile(r"\s+(?:1|-1|0)$")


def open_split(directory, split, image_size, log=None):
    """Opens a split.

    Args:
        directory: path, of `VOC2012` or a folder above; None for `DEFAULT_DIRECTORY`.
        split: "train", "val", "test", "trainval", or the name of another list.
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
    source, records = record_files.open_records(directory, "voc", split, image_size, log)
    if source is not None:
        return source
    error = nothing_found(directory, {**looked_for(directory, split), **records}, splits=splits_of(directory))
    if os.path.isdir(os.path.join(directory, "annotations")):
        error = FileNotFoundError(f"{error} If these are the folders of COCO, give --dataset=coco.")
    raise error


def num_classes_of(directory):
    """Number of classes of the data in a directory, the background not included; None if there is nothing."""
    found = categories_of(directory)
    return len(found) if found else None


def categories_of(directory):
    """`Categories` of the data in a directory, of all splits together; None if there is nothing."""
    directory = os.path.expanduser(directory or DEFAULT_DIRECTORY)
    folder = os.path.join(_place(directory), "Annotations")
    folders = [folder] if os.path.isdir(folder) else _among_pictures(directory)
    return _categories(*map(read_all, folders)) if folders else record_files.label_map(directory)


def splits_of(directory):
    """Names of the splits whose lists are there, a list."""
    folder = os.path.join(_place(directory), "ImageSets", "Main")
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    listed = [name.removesuffix(".txt") for name in names if name.endswith(".txt")]
    return listed + [os.path.basename(folder) for folder in _among_pictures(directory)]


def looked_for(directory, split):
    """Dict from what `find_split` looks for to its path."""
    return {
        "list of Pascal VOC": _list_path(_place(directory), split),
        "annotations of Roboflow": os.path.join(directory, folders_of_split(split)[-1], "*.xml"),
    }


def find_split(directory, split, log=None):
    """`read_split` of the annotations in a directory or below it; None if there are none of such a split."""
    place = _place(directory)
    if os.path.isfile(_list_path(place, split)):
        return read_split(place, split, log)
    trees = {folder: read_all(folder) for folder in _among_pictures(directory)}
    folders = [folder for folder in trees if os.path.basename(folder) in folders_of_split(split)]
    return _read_folder(folders[0], trees, log) if folders else None


def read_split(directory, split, log=None):
    """Reads the annotations of a split that is listed; returns `Annotations`, checked, and `Categories`."""
    path, folder = _list_path(directory, split), os.path.join(directory, "Annotations")
    trees = read_all(folder)
    with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
        lines = [line.strip() for line in file if line.strip()]
    names = [_name_of(line, trees) for line in lines]
    _check_without_folders(path, [name for name in names if name not in trees])
    twice = sorted(name for name, count in collections.Counter(names).items() if count > 1)
    if twice or not names:
        what = f"lists pictures twice: {named(twice)}" if twice else "lists no picture"
        raise ValueError(f"{path} {what}. It must have one name a line, each once. Correct it.")
    check_files(path, [_annotation_path(folder, name) for name in names])
    folders = _Folders(path, folder, os.path.join(directory, "JPEGImages"))
    return _annotations(folders, names, trees, _categories(trees), log)


def _read_folder(folder, trees, log):
    """`read_split` of a folder whose pictures have their annotations beside them; `trees` are those of all splits."""
    own = trees[folder]
    annotated = {*own, *(os.path.splitext(name)[0] for name in own)}
    others = [name for name in sorted(os.listdir(folder)) if name.lower().endswith(pictures.ENDINGS)]
    others = [name for name in others if not {name, os.path.splitext(name)[0]} & annotated]
    if log and others:
        log(f"Left out: {counted(len(others), 'picture')} without an XML file: {named(others)}")
    return _annotations(_Folders(folder, folder, folder), [*own], own, _categories(*trees.values()), log)


class _Folders(NamedTuple):
    """Where a split lies: what says which pictures are of it, and the folders of annotations and of pictures."""

    origin: str
    annotations: str
    pictures: str


def _annotations(folders, names, trees, categories, log):
    """`Annotations` of these pictures, checked, and `Categories`."""
    if log:
        listed = f"{counted(len(categories), 'class')}: {', '.join(categories.names[:20])}"
        log(f"Reading {folders.origin}: {counted(len(names), 'picture')}, {listed}")
        warn_of_capitals(categories.names, log)
    paths = _picture_paths(folders.pictures, folders.origin, names, trees)
    found = [objects_of(_annotation_path(folders.annotations, name), trees[name]) for name in names]
    objects = [(owner, *thing) for owner, things in enumerate(found) for thing in things]
    owners, classes, crowd, corners = zip(*objects, strict=True) if objects else [()] * 4
    corners = np.array(corners, np.float32).reshape(-1, 4)
    numbers = {name: number for number, name in enumerate(categories.names, 1)}
    sizes = [size_of(trees[name], picture) for name, picture in zip(names, paths, strict=True)]
    annotations = Annotations(
        origin=folders.origin,
        paths=paths,
        source_ids=names,
        sizes=np.array(sizes, np.int32),
        owners=np.array(owners, np.int64),
        boxes=corners,
        classes=np.array([numbers[name] for name in classes], np.int32),
        crowd=np.array(crowd, bool),
        area=areas(corners),
    )
    annotations = checked(annotations, log)
    # Of what is left in the picture: the files don't tell another.
    return annotations._replace(area=areas(annotations.boxes)), categories


def _name_of(line, trees):
    """The picture that a line of a list names: as its annotation is called, or with a mark, or with its ending."""
    unmarked = _MARK.sub("", line)
    stem, ending = os.path.splitext(unmarked)
    names = (line, unmarked, stem if ending.lower() in pictures.ENDINGS else unmarked)
    return next((name for name in names if name in trees), unmarked)


def _check_without_folders(path, names):
    """Raises ValueError if pictures that have no annotation are named with the folders that they lie in."""
    foldered = [name for name in names if "/" in name or "\\" in name]
    if foldered:
        raise ValueError(
            f"{path} names {counted(len(foldered), 'picture')} with folders: {named(foldered)}. Give the name alone, "
            "as 0001 for Annotations/0001.xml; what lies deeper is not read."
        )


def _place(directory):
    """The directory of annotations in a directory or below it, as the archives of VOC unpack."""
    if not os.path.isdir(directory):
        return directory
    for parts in ((), ("VOCdevkit",)):
        parent = os.path.join(directory, *parts)
        names = sorted(os.listdir(parent)) if os.path.isdir(parent) else []
        below = [os.path.join(parent, name) for name in names if re.fullmatch(r"VOC\d+", name)]
        for place in (parent, *below[-1:]):
            if os.path.isdir(os.path.join(place, "Annotations")):
                return place
    return directory


def _list_path(directory, split):
    return os.path.join(directory, "ImageSets", "Main", f"{split}.txt")


def _annotation_path(folder, name):
    return os.path.join(folder, f"{name}.xml")


def _among_pictures(directory):
    """Folders in a directory with XML files among pictures, sorted; none where there are those of VOC."""
    if not os.path.isdir(directory) or os.path.isdir(os.path.join(_place(directory), "Annotations")):
        return []
    folders = [os.path.join(directory, name) for name in sorted(os.listdir(directory)) if not name.startswith(".")]
    return [folder for folder in folders if _has(folder, ".xml") and _has(folder, pictures.ENDINGS)]


def _categories(*trees):
    roots = (root for each in trees for root in each.values())
    names = {name_of(thing) for root in roots for thing in root.findall("object")}
    # One without a name is told when its split is read.
    names = sorted(names - {""})
    return Categories(tuple(range(1, len(names) + 1)), tuple(names))


def _has(folder, endings):
    """Whether a folder has a file whose name ends so; what Macs leave beside what they copy does not count."""
    entries = os.listdir(folder) if os.path.isdir(folder) else []
    return any(entry.lower().endswith(endings) and not entry.startswith(".") for entry in entries)


def _picture_paths(folder, origin, names, trees):
    """Paths of the pictures, whatever their names end in."""
    entries = [entry for entry in sorted(os.listdir(folder) if os.path.isdir(folder) else []) if entry[-4:] != ".xml"]
    stems = collections.defaultdict(list)
    for entry in entries:
        stems[os.path.splitext(entry)[0]].append(entry)
    # Some programs call the annotation of 1.jpg 1.jpg.xml.
    alike = {**{entry: [entry] for entry in entries}, **stems}
    paths = [os.path.join(folder, _file_of(origin, name, alike.get(name, []), trees[name])) for name in names]
    check_files(origin, paths)
    return paths


def _file_of(origin, name, alike, tree):
    """The picture among files that differ in their ending alone; of two pictures that which the annotation names."""
    found = [file for file in alike if file.lower().endswith(pictures.ENDINGS)] or alike or [f"{name}.jpg"]
    meant = re.split(r"[/\\]", tree.findtext("filename", "").strip())[-1]
    if len(found) > 1 and meant not in found:
        raise ValueError(
            f"{origin}: the picture of {name} may be {named(found)}, and its annotation names none of them. Received: "
            f"filename={meant!r}. Name it there, or take the others away."
        )
    return meant if len(found) > 1 else found[0]
