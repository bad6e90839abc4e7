"""Reading a file of annotations in COCO's form, which may be large: what is kept of it, and what is refused in it."""

import json
import re

from sact_tf.data.class_names import is_background
from sact_tf.data.detection import unnamed
from sact_tf.progress import counted, named

# What an entry of the lists may be called by.
KINDS_OF_ID = (int, float, str)
_KINDS = {"id": KINDS_OF_ID, "file_name": str}
_LISTS = ("images", "annotations", "categories")
WAY_OUT = "Download or export the annotations again, or give others"
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
# Sizes are int32.
MAX_SIDE = 2**31 - 1
# Of an int that is no larger than any float.
_MAX_DIGITS = 300


def read_json(path, lists=_LISTS):
    """The dict of a file of annotations, without outlines; ValueError if it is none or lacks one of some lists."""
    with open(path, "rb") as file:
        try:
            content = json.load(file, object_pairs_hook=_without_outlines, parse_int=_parsed_int)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path} is no whole JSON file: {str(error)[:100]}. {WAY_OUT}.") from error
    kept = [name for name in lists if isinstance(content, dict) and isinstance(content.get(name), list)]
    if len(kept) < len(lists):
        lacking = ", ".join(name for name in lists if name not in kept)
        found = named(content) if isinstance(content, dict) else f"a {type(content).__name__}"
        raise ValueError(
            f"{path} lacks a list of {lacking}. Annotations in COCO's form are an object with the lists "
            f"{', '.join(lists)}; found: {found or 'nothing'}. {WAY_OUT}."
        )
    return content


def numbers_of(path, kind, entries, needed):
    """Dict from the id of each entry to its place in the list; raises if one lacks something, or shares its id."""
    for place, entry in enumerate(entries):
        lacking = [name for name in needed if not isinstance(entry, dict) or entry.get(name) is None]
        if lacking:
            raise ValueError(f"{path}: {kind}[{place}] has no {', '.join(lacking)}, which each needs. {WAY_OUT}.")
        texts = [name for name in ("id", "file_name") if not isinstance(entry.get(name, ""), _KINDS[name])]
        if texts:
            raise ValueError(
                f"{path}: the {texts[0]} of {kind}[{place}] must be a text{' or a number' * (texts[0] == 'id')}. "
                f"Received: {str(entry[texts[0]])[:100]}. {WAY_OUT}."
            )
    ids = [entry["id"] for entry in entries if "id" in entry]
    numbers = {number: place for place, number in enumerate(ids)}
    if len(numbers) < len(ids):
        twice = sorted({number for place, number in enumerate(ids) if numbers[number] != place}, key=str)
        raise ValueError(f"{path}: {kind} share their id: {named(twice)}. Each must have its own. {WAY_OUT}.")
    return numbers


def read_categories(path, content):
    """Dict from the number of each category to its name."""
    numbers_of(path, "categories", content["categories"], ("id", "name"))
    return names_of(content["categories"])


def names_of(categories):
    """Dict from the number of each category of a list to its name."""
    # Halves of a character, which JSON may have, no file can hold.
    names = {each["id"]: str(each["name"]).encode(errors="replace").decode() for each in categories}
    return {number: name or unnamed(number) for number, name in names.items()}


def file_names(images):
    """The file names of pictures, a list of texts, in the list of a file."""
    names = [image["file_name"] for image in images]
    # Written on Windows, where it stands between folders.
    return [name.replace("\\", "/") for name in names] if all("\\" in name for name in names) else names


def is_outermost(before, after):
    """Whether a list that was found in an object stands in it itself, and not in something that it holds.

    Args:
        before: bytes from the object's beginning to the key of the list; empty where they are too many to look at.
        after: text behind the list, maybe not to the object's end.
    """
    try:
        json.loads('{"": []' + after)
        return True
    except (ValueError, RecursionError):
        outside = _STRING.sub(b"", before)
        return outside.count(b"{") + outside.count(b"[") == outside.count(b"}") + outside.count(b"]") + 1


def _without_outlines(pairs):
    # They are the larger part of a file by far, and would be gigabytes in memory.
    return {name: value for name, value in pairs if name != "segmentation"}


def _parsed_int(text):
    # Larger than any float: infinity, which is told with the other boxes and sides that are no finite numbers.
    return int(text) if len(text) <= _MAX_DIGITS else float(text)


def check_boxes(path, boxes, names):
    """Raises ValueError for areas and marks of crowds that are none, and for boxes of what is no object.

    Args:
        path: of the file.
        boxes: list of dicts, its annotations.
        names: dict from the numbers of its categories to their names.
    """
    for place, box in enumerate(boxes):
        # Written so that NaN fails.
        if not isinstance(area := box.get("area") or 0, (int, float)) or not abs(area) <= MAX_SIDE**2:
            raise ValueError(
                f"{path}: the area of annotations[{place}] must be a number, in square pixels, or left out. Received: "
                f"{str(area)[:100]!r}. {WAY_OUT}."
            )
        if (crowd := box.get("iscrowd", 0)) not in (0, 1, None):
            raise ValueError(
                f"{path}: iscrowd of annotations[{place}] must be 0 or 1, a number. Received: {crowd!r}. {WAY_OUT}."
            )
    count = sum(box["category_id"] == 0 for box in boxes)
    if count and is_background(names.get(0, "")):
        raise ValueError(
            f"{path}: {counted(count, 'box')} of category 0, {names[0]!r}, which stands for what is no object, and is "
            "no class. Give it another name or number if it is one, or remove them."
        )


def check_ids(path, boxes, key, known, kind):
    """Raises ValueError for boxes of what is not in the file.

    Args:
        path: of the file.
        boxes: list of dicts, its annotations.
        key: "image_id" or "category_id".
        known: the ids of what the file has.
        kind: text, what these are ids of.
    """
    # As they are written: the text "1" is not the number 1. A list is no id, and no key of a dict.
    ids = (box[key] if isinstance(box[key], KINDS_OF_ID) else str(box[key]) for box in boxes)
    strange = sorted({json.dumps(each, ensure_ascii=False) for each in ids if each not in known})
    if strange:
        raise ValueError(
            f"{path}: boxes are of {kind} that are not in the file, with the {key} {named(strange)}. Each must be "
            f"the id of one of its {kind}, and written as there, a number or a text. {WAY_OUT}."
        )


def check_sizes(path, images):
    """Raises ValueError for pictures whose height and width, in the list of a file, are none."""
    for place, image in enumerate(images):
        size = image["height"], image["width"]
        if not all(isinstance(side, int) and 0 < side <= MAX_SIDE for side in size):
            raise ValueError(
                f"{path}: height and width of images[{place}] must be ints, from 1 to {MAX_SIDE}. Received: "
                f"{str(size)[:100]}. {WAY_OUT}."
            )
