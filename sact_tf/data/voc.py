"""Pascal VOC, and other data sets in its form: an XML for each picture, lists of the pictures of each split.

`ImageSets/Main/<split>.txt`, `Annotations/*.xml`, `JPEGImages/*`; or TFRecords. Classes are counted from 1 in the order
of their names, over all annotations of the directory, so that they mean the same in each split. Coordinates are taken
as they are, as the TF Object Detection API does it: VOC itself counts pixels from 1, most programs that write its form
count from 0, and a pixel is what they differ by. What is marked as difficult counts as a crowd: neither to be found nor
a mistake.
"""

import collections
import os
import re
from xml.etree import ElementTree

import numpy as np

from sact_tf.data import detection_files, pictures
from sact_tf.data.annotations import Annotations, check_files, checked, named, source_of
from sact_tf.data.detection import Categories, areas
from sact_tf.data.directories import nothing_found

DEFAULT_DIRECTORY = "~/tensorflow/data/voc"
SIDES = ("ymin", "xmin", "ymax", "xmax")
# Behind a name, in lists that are of one class: there, not there, or hard to tell. A name may have spaces.
_MARK = re.compile(r"\s+(?:1|-1|0)$")
# Words that stand for 0 and 1 where an object is hard to find.
_EASY, _DIFFICULT = ("", "false", "no", "n", "unspecified"), ("true", "yes", "y")
# Sizes are int32.
_MAX_SIDE = 2**31 - 1
_WAY_OUT = "Correct the file, or take the picture out of the list of its split"


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
    source, records = detection_files.open_records(directory, "voc", split, image_size, log)
    if source is not None:
        return source
    error = nothing_found(directory, {**looked_for(directory, split), **records}, splits=splits_of(directory))
    if os.path.isdir(os.path.join(directory, "annotations")):
        error = FileNotFoundError(f"{error} If these are the folders of COCO, give --dataset=coco.")
    elif any(_has_annotations(place) for place in (directory, os.path.join(directory, split))):
        error = FileNotFoundError(
            f"{error} XML files that lie beside their pictures are not read, since nothing lists the splits: export "
            "the data as COCO's JSON (--dataset=coco), or sort them into Annotations, JPEGImages and ImageSets/Main."
        )
    raise error


def num_classes_of(directory):
    """Number of classes of the data in a directory, the background not included; None if there is nothing."""
    found = categories_of(directory)
    return len(found) if found else None


def categories_of(directory):
    """`Categories` of the data in a directory, of all splits together; None if there is nothing."""
    directory = os.path.expanduser(directory or DEFAULT_DIRECTORY)
    folder = os.path.join(_place(directory), "Annotations")
    return _categories(_read_all(folder)) if os.path.isdir(folder) else detection_files.label_map(directory)


def splits_of(directory):
    """Names of the splits whose lists are there, a list."""
    folder = os.path.join(_place(directory), "ImageSets", "Main")
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return [name.removesuffix(".txt") for name in names if name.endswith(".txt")]


def looked_for(directory, split):
    """Dict from what `find_split` looks for to its path."""
    return {"list of Pascal VOC": _list_path(_place(directory), split)}


def find_split(directory, split, log=None):
    """`read_split` of the annotations in a directory or below it; None if there is no list of such a split."""
    place = _place(directory)
    return read_split(place, split, log) if os.path.isfile(_list_path(place, split)) else None


def read_split(directory, split, log=None):
    """Reads the annotations of a split; returns `Annotations`, checked, and `Categories`."""
    path = _list_path(directory, split)
    trees = _read_all(os.path.join(directory, "Annotations"))
    with open(path, encoding="utf-8-sig", errors="surrogateescape") as file:
        lines = [line.strip() for line in file if line.strip()]
    names = [_name_of(line, trees) for line in lines]
    _check_without_folders(path, [name for name in names if name not in trees])
    twice = sorted(name for name, count in collections.Counter(names).items() if count > 1)
    if twice or not names:
        what = f"lists pictures twice: {named(twice)}" if twice else "lists no picture"
        raise ValueError(f"{path} {what}. It must have one name a line, each once. Correct it.")
    check_files(path, [_annotation_path(directory, name) for name in names])
    categories = _categories(trees)
    if log:
        log(f"Reading {path}: {len(names)} pictures, {len(categories)} classes: {', '.join(categories.names[:20])}")
    paths = _picture_paths(directory, path, names)
    found = [_objects(_annotation_path(directory, name), trees[name]) for name in names]
    objects = [(owner, *thing) for owner, things in enumerate(found) for thing in things]
    owners, classes, crowd, corners = zip(*objects, strict=True) if objects else [()] * 4
    corners = np.array(corners, np.float32).reshape(-1, 4)
    numbers = {name: number for number, name in enumerate(categories.names, 1)}
    sizes = [_size(trees[name], picture) for name, picture in zip(names, paths, strict=True)]
    annotations = Annotations(
        origin=path,
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
            f"{path} names {len(foldered)} pictures with their folders: {named(foldered)}. Give the name alone, as "
            "0001 for Annotations/0001.xml; what lies deeper is not read."
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


def _annotation_path(directory, name):
    return os.path.join(directory, "Annotations", f"{name}.xml")


def _read_all(folder):
    """Dict from the name of each picture to the tree of its annotation."""
    trees = {}
    for entry in sorted(os.listdir(folder) if os.path.isdir(folder) else []):
        # Macs leave `._NAME.xml` beside what they copy.
        if entry.endswith(".xml") and not entry.startswith("."):
            path = os.path.join(folder, entry)
            try:
                trees[entry.removesuffix(".xml")] = _plain(ElementTree.parse(path).getroot())
            # An encoding that nobody knows is a LookupError, one of several bytes a ValueError.
            except (ElementTree.ParseError, LookupError, ValueError) as error:
                raise ValueError(f"{path} is no whole XML file: {error}. {_WAY_OUT}, and remove it.") from error
    return trees


def _plain(tree):
    """The tree with the names of its elements alone, where it has those of namespaces before them."""
    if any("}" in each.tag for each in (tree, *tree)):
        for each in tree.iter():
            each.tag = each.tag.rpartition("}")[2]
    return tree


def _categories(trees):
    names = {thing.findtext("name", "").strip() for tree in trees.values() for thing in tree.findall("object")}
    # One without a name is told when its split is read.
    names = sorted(names - {""})
    return Categories(tuple(range(1, len(names) + 1)), tuple(names))


def _objects(path, tree):
    """List of the name, whether it is difficult, and the sides of each object."""
    found = []
    for number, thing in enumerate(tree.findall("object")):
        texts = [thing.findtext(f"bndbox/{side}", "").strip() for side in SIDES]
        name = thing.findtext("name", "").strip()
        try:
            sides = [float(text) for text in texts]
        except ValueError:
            sides = None
        if sides is None or not name:
            raise ValueError(
                f"{path}: object {number} must have a name, and a bndbox with {', '.join(SIDES)} in pixels. Received: "
                f"name={name!r}, {', '.join(map(repr, texts))}. {_WAY_OUT}."
            )
        found.append((name, _is_difficult(path, number, thing), sides))
    return found


def _is_difficult(path, number, thing):
    text = thing.findtext("difficult", "").strip().lower()
    try:
        return bool(int(text))
    except ValueError:
        if text in _EASY + _DIFFICULT:
            return text in _DIFFICULT
    raise ValueError(
        f"{path}: difficult of object {number} must be 0 or 1, a number, or be left out. Received: {text[:100]!r}. "
        f"{_WAY_OUT}."
    )


def _has_annotations(folder):
    return os.path.isdir(folder) and any(entry.endswith(".xml") for entry in os.listdir(folder))


def _size(tree, picture):
    """Height and width that an annotation gives, or, where it gives none, those of the picture."""
    texts = [tree.findtext(f"size/{side}", "").strip() for side in ("height", "width")]
    if all(text.isdecimal() and int(text) for text in texts):
        # One that is no side of any picture is told when that is read, with the side that there is.
        return [min(int(text), _MAX_SIDE) for text in texts]
    try:
        with pictures.opened(picture) as opened:
            return pictures.stored_size(opened)
    # It is told when it is read.
    except pictures.BadPicture:
        return [1, 1]


def _picture_paths(directory, path, names):
    """Paths of the pictures, whatever their names end in."""
    folder = os.path.join(directory, "JPEGImages")
    entries = _pictures_first(folder)
    # Some programs call the annotation of 1.jpg 1.jpg.xml.
    there = {**{entry: entry for entry in entries}, **{os.path.splitext(entry)[0]: entry for entry in entries}}
    paths = [os.path.join(folder, there.get(name, f"{name}.jpg")) for name in names]
    check_files(path, paths)
    return paths


def _pictures_first(folder):
    """Entries of a folder; of those that differ in their ending alone, a picture comes last, and is taken."""
    entries = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return sorted(entries, key=lambda entry: entry.lower().endswith(pictures.ENDINGS))
