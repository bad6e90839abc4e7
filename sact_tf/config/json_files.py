"""Reads the small JSON files in the directory of a run; what is wrong with one is said in words."""

import dataclasses
import json
import os


def read_object(path):
    """Returns the dict of a JSON file.

    Raises:
        ValueError: if it is none; the message is a part of a sentence without the path, "it is empty".
        OSError: if the file is not there, or cannot be read.
    """
    # An editor may have put a mark at its start.
    with open(path, encoding="utf-8-sig") as file:
        try:
            return parse_object(file.read())
        except UnicodeDecodeError as error:
            raise ValueError("it is no text in UTF-8") from error


def parse_object(text):
    """Returns the dict of JSON text; raises ValueError as `read_object`."""
    # A machine that went down may leave zeros.
    if not text.strip(" \t\r\n\0"):
        raise ValueError("it is empty")
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"it is cut short, or no JSON (line {error.lineno})") from error
    except RecursionError as error:
        raise ValueError("it is no JSON") from error
    if not isinstance(found, dict):
        raise ValueError("it has no names with values, as in {...}")
    return found


def settings(kind, fields):
    """Returns an object of a dataclass, with these values by the names of its fields.

    Raises:
        ValueError: if names are missing or unknown, as `read_object`, or a value is refused.
    """
    known = {field.name: field.default for field in dataclasses.fields(kind)}
    lacking = [name for name, default in known.items() if default is dataclasses.MISSING and name not in fields]
    if lacking:
        raise ValueError(f"it lacks {', '.join(lacking)}")
    if strange := [name for name in fields if name not in known]:
        raise ValueError(f"this version of sact_tf knows no {', '.join(strange)}, which it has")
    return kind(**fields)


def plain(value):
    """What JSON has for a value that it does not know: text for a path, a number for one of NumPy's."""
    return value.item() if hasattr(value, "item") else os.fspath(value)
