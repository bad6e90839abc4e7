"""Label maps of the TF Object Detection API (`.pbtxt`): which number is which category."""

import re

from sact_tf.data.detection import Categories

_ITEM = re.compile(r"item\s*\{(.*?)\}", re.DOTALL)
_FIELD = re.compile(r"""\b(id|name|display_name)\s*:\s*(?:(\d+)|"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)')""")


_ESCAPE = re.compile(r"\\(.)")


def parse(text):
    """The `Categories` of a label map of the TF Object Detection API (`.pbtxt`); None if it has no item."""
    found = {}
    for item in _ITEM.findall(text):
        fields = {
            name: number or _ESCAPE.sub(r"\1", double or single)
            for name, number, double, single in _FIELD.findall(item)
        }
        if fields.get("id", "").isdigit():
            found[int(fields["id"])] = fields.get("display_name") or fields.get("name") or f"class {fields['id']}"
    numbers = tuple(sorted(found))
    return Categories(numbers, tuple(found[number] for number in numbers)) if numbers else None


def text_of(categories):
    """The text of the label map that `parse` reads."""

    def quoted(name):
        return name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")

    return "".join(f'item {{\n  id: {number}\n  name: "{quoted(name)}"\n}}\n' for number, name in categories)
