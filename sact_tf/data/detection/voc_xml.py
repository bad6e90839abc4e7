"""Reading annotations in Pascal VOC's form: the XML of each picture, and what is marked in it."""

import os
from xml.etree import ElementTree

from sact_tf.data import pictures
from sact_tf.data.class_names import composed

SIDES = ("ymin", "xmin", "ymax", "xmax")
# Words that stand for 0 and 1 where an object is hard to find.
_EASY, _DIFFICULT = ("", "false", "no", "n", "unspecified"), ("true", "yes", "y")
# Sizes are int32.
_MAX_SIDE = 2**31 - 1
_WAY_OUT = "Correct the file, or take the picture out of its split"


def read_all(folder):
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


def objects_of(path, tree):
    """List of the name, whether it is difficult, and the sides of each object."""
    found = []
    for number, thing in enumerate(tree.findall("object")):
        texts = [thing.findtext(f"bndbox/{side}", "").strip() for side in SIDES]
        name = name_of(thing)
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


def name_of(thing):
    """The name of an object, without spaces around it, each letter and its accent as one character."""
    return composed(thing.findtext("name", "").strip())


def size_of(tree, picture):
    """Height and width that an annotation gives, or, where it gives none, those of the picture."""
    sides = [_count(tree.findtext(f"size/{side}", "")) for side in ("height", "width")]
    if all(sides):
        return sides
    try:
        with pictures.opened(picture) as opened:
            return pictures.stored_size(opened)
    # It is told when it is read.
    except pictures.BadPicture:
        return [1, 1]


def _count(text):
    """A number of pixels, which may be written as 640.0; 0 where it is none."""
    try:
        number = float(text)
    except ValueError:
        return 0
    # One that is no side of any picture is told when that is read, with the side that there is.
    return int(min(number, _MAX_SIDE)) if number > 0 and number.is_integer() else 0


def _plain(tree):
    """The tree with the names of its elements alone, where it has those of namespaces before them."""
    if any("}" in each.tag for each in (tree, *tree)):
        for each in tree.iter():
            each.tag = each.tag.rpartition("}")[2]
    return tree


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
