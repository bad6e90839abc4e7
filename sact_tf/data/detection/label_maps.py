"""Label maps of the TF Object Detection API (`.pbtxt`): which number is which category."""

import re

from sact_tf.data.class_names import is_background
from sact_tf.data.detection import Categories, unnamed

# Labels in records are int64.
_LARGEST = 2**63 - 1
# A name may hold a brace.
_TEXT = r"""(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
_COMMENT = re.compile(rf"({_TEXT})|#[^\n]*")
# What lies in an item with an id of its own, such as a keypoint.
_INNER = re.compile(rf"({_TEXT})|\b(?!item\b)\w+\s*:?\s*\{{(?:[^{{}}\"']|{_TEXT})*\}}")
_ITEM = re.compile(rf"\bitem\s*:?\s*\{{((?:[^}}\"']|{_TEXT})*)\}}")
_FIELD = re.compile(rf"\b(id|name|display_name)\s*:\s*(?:(\d+)|({_TEXT}))")
# Bytes of UTF-8 in octal numbers, as programs write what is not ASCII; or any sign.
_ESCAPE = re.compile(r"((?:\\[0-7]{3})+)|\\(.)")
_SIGNS = {"n": "\n", "r": "\r", "t": "\t"}
_WRITTEN = str.maketrans({"\\": "\\\\", '"': '\\"', **{sign: f"\\{letter}" for letter, sign in _SIGNS.items()}})


def parse(text):
    """The `Categories` of a label map of the TF Object Detection API (`.pbtxt`); None if it has no item.

    Raises:
        ValueError: if two items of other names share their id, or one has a number that no label can be.
    """
    found = {}
    for number, fields in _items(text):
        name = fields.get("display_name") or fields.get("name") or unnamed(number)
        if number > _LARGEST:
            raise ValueError(f"id {number} is more than 2^63 - 1")
        # Its number is kept for it, and it is no class.
        if number == 0 and is_background(name):
            continue
        if found.setdefault(number, name) != name:
            raise ValueError(f"id {number} is both {found[number]!r} and {name!r}")
    numbers = tuple(sorted(found))
    return Categories(numbers, tuple(found[number] for number in numbers)) if numbers else None


def keys(text):
    """Set of pairs of a number and a `name` that records may have for it, where people see its `display_name`."""
    return {(number, fields.get("name")) for number, fields in _items(text)}


def _items(text):
    """Yields the number of each item of a label map, and a dict of the fields that it has."""
    for pattern in (_COMMENT, _INNER):
        text = pattern.sub(lambda match: match[1] or " ", text)
    for item in _ITEM.findall(text):
        fields = {name: number or _ESCAPE.sub(_unescaped, text[1:-1]) for name, number, text in _FIELD.findall(item)}
        if fields.get("id", "").isdigit():
            yield int(fields["id"]), fields


def _unescaped(match):
    octal = (match[1] or "").split("\\")[1:]
    return _SIGNS.get(match[2], match[2]) or bytes(int(number, 8) & 0xFF for number in octal).decode(errors="replace")


def text_of(categories):
    """The text of the label map that `parse` reads."""
    return "".join(
        f'item {{\n  id: {number}\n  name: "{name.translate(_WRITTEN)}"\n}}\n' for number, name in categories
    )
