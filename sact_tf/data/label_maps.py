"""Label maps of the TF Object Detection API (`.pbtxt`): which number is which category."""

import re

from sact_tf.data.detection import Categories

# A name may hold a brace.
_TEXT = r"""(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
_ITEM = re.compile(rf"item\s*\{{((?:[^}}\"']|{_TEXT})*)\}}")
_FIELD = re.compile(rf"\b(id|name|display_name)\s*:\s*(?:(\d+)|({_TEXT}))")
_ESCAPE = re.compile(r"\\(.)")


def parse(text):
    """The `Categories` of a label map of the TF Object Detection API (`.pbtxt`); None if it has no item."""
    found = {}
    for item in _ITEM.findall(text):
        fields = {name: number or _ESCAPE.sub(r"\1", text[1:-1]) for name, number, text in _FIELD.findall(item)}
        if fields.get("id", "").isdigit():
            found[int(fields["id"])] = fields.get("display_name") or fields.get("name") or f"class {fields['id']}"
    numbers = tuple(sorted(found))
    return Categories(numbers, tuple(found[number] for number in numbers)) if numbers else None


def text_of(categories):
    """The text of the label map that `parse` reads."""

    def quoted(name):
        return name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")

    return "".join(f'item {{\n  id: {number}\n  name: "{quoted(name)}"\n}}\n' for number, name in categories)
