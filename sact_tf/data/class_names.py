"""The list of classes that a conversion writes beside its data: a name a line, in the order of their numbers.

It has no line for ImageNet's class 0, the background: line k is class k, counted from 1, and in a data set of the form
of CIFAR-10 class k - 1. What would break a line, or is no text, is written as Python writes it in a string (`\\n`,
`\\r`, `\\xe9`), and a backslash as two.
"""

import collections
import json
import os
import re
import unicodedata

from sact_tf.progress import named, one_line

BACKGROUND = "background"
_UNPRINTABLE = {"Cc", "Cs", "Zl", "Zp"}
_ESCAPE = re.compile(r"\\(?:x[0-9a-f]{2}|u[0-9a-f]{4}|[nrt\\])")


def path_of(directory, dataset):
    """Path of the list in the directory of a data set."""
    return os.path.join(directory, f"{dataset}_classes.txt")


def read(directory, dataset):
    """Returns the names of the classes, or None if there is no list; ValueError if it is no text in UTF-8."""
    path = path_of(directory, dataset)
    try:
        # As an editor may have saved it: with a mark at the start, line breaks of Windows, and empty lines.
        with open(path, encoding="utf-8-sig", newline="") as file:
            listed = [line.removesuffix("\r") for line in file.read().split("\n")]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UnicodeDecodeError as error:
        raise ValueError(f"{one_line(path)}, the list of classes, is no text in UTF-8; save it as such.") from error
    return [composed(_ESCAPE.sub(_unescaped, line)) for line in listed if line]


def of_data(directory, dataset):
    """As `read`, of data that are there; ValueError, too, if lines have changed places since they were written.

    Lines may have other words for the classes: of those that the conversion knew, none may have another number.
    """
    names = read(directory, dataset)
    for written in numbered(directory, dataset) if names else ():
        if moved := moved_of(written, names):
            name = written[moved[0]]
            raise ValueError(
                f"{one_line(path_of(directory, dataset))} was changed: its line {moved[0] + 1} must be {name!r}, or "
                f"another word for it, and {name!r} stands elsewhere. The classes of the data beside it are "
                f"{named(written)}: put the lines in this order, and no others among them."
            )
    return names


def numbered(directory, dataset):
    """Yields the names of the classes in the order of their numbers, as the conversion of each split noted them."""
    for entry in sorted(os.listdir(directory)):
        if entry.startswith(f".{dataset}_") and entry.endswith(".plan"):
            try:
                with open(os.path.join(directory, entry), encoding="utf-8") as file:
                    plan = json.load(file)
                there = any(os.path.exists(os.path.join(directory, name)) for name in plan["files"])
            # Older ones are no dicts, or have no names.
            except (OSError, ValueError, TypeError, KeyError):
                continue
            # What a split noted that was removed since is of no data.
            if there and isinstance(plan.get("classes"), list):
                yield plan["classes"]


def moved_of(written, names):
    """Numbers from 0 of classes that stand in another place in a list."""
    return [number for number, name in enumerate(written) if name in names and names[number : number + 1] != [name]]


def lines(names):
    """The content of the list, bytes."""
    return "".join(f"{escaped(name)}\n" for name in names).encode()


def composed(name):
    """A name with each letter and its accent as one character: Macs write them as two, and they are the same class."""
    return unicodedata.normalize("NFC", name)


def warn_of_capitals(names, log):
    """Says so in a line of text if some names are the same but for capital letters."""
    alike = collections.Counter(name.casefold() for name in names)
    if twice := [name for name in names if alike[name.casefold()] > 1]:
        log(f"Note: {named(twice)} differ in capital letters alone, and each is a class of its own")


def is_background(name):
    """Whether a name is that of what is nothing else, as programs write it."""
    return name.strip("_ ").lower() == BACKGROUND


def escaped(name):
    """A name as it is written, on one line and without characters that cannot be shown."""
    return "".join(
        character.encode("unicode_escape").decode()
        if character == "\\" or unicodedata.category(character) in _UNPRINTABLE
        else character
        for character in name
    )


def _unescaped(match):
    return match[0].encode().decode("unicode_escape")
