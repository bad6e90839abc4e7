"""Which ids photographs and classes have in a file of annotations in COCO's form: those of the same names."""

import collections
import os
import posixpath
from typing import NamedTuple

from sact_tf.data.class_names import composed, escaped
from sact_tf.data.detection.coco_json import check_sizes, file_names, numbers_of, read_categories, read_json
from sact_tf.progress import counted, named, one_line


class Ids(NamedTuple):
    """What photographs and classes are in a file of annotations.

    Attributes:
        images: dict from the path of each photograph to its id, an int, float or text.
        sizes: dict from the path of each photograph to the height and width, ints, that its boxes are meant for.
        categories: list of the ids of the classes, from class 1 on.
    """

    images: dict
    sizes: dict
    categories: list


def ids_of(path, photographs, labels, log):
    """Looks up photographs by the file names of the pictures in a file, and classes by the names of its categories.

    A file name is that of a photograph whose path ends in it; of two that are, the longer one counts.

    Args:
        path: of a JSON file with the lists `images` and `categories`, as COCO has them; boxes are not asked for.
        photographs: paths.
        labels: list of the names of the classes from class 1 on; None where they are not known.
        log: called with lines of text that say what the file has besides.

    Returns:
        `Ids`.

    Raises:
        OSError, ValueError: if the file cannot be read or is none of that kind, or if a photograph or a class is not in
            it, or is in it twice.
    """
    if labels is None:
        raise ValueError(
            "Categories of --annotations are found by the names of the classes, and those of this network are not "
            "known. Give --labels, a text file with a name a line, from class 1 on."
        )
    try:
        content = read_json(path, ("images", "categories"))
    except OSError as error:
        raise type(error)(
            f"The annotations {one_line(path)} cannot be read: {error.strerror}. Give --annotations the JSON file with "
            "the ids of the photographs, such as instances_val2017.json, or leave it out."
        ) from error
    listed = content["images"]
    numbers_of(path, "images", listed, ("id", "file_name", "height", "width"))
    check_sizes(path, listed)
    entries = {photograph: listed[place] for photograph, place in _places(path, photographs, listed).items()}
    categories = _categories(path, read_categories(path, content), labels, log)
    if others := len(listed) - len(entries):
        log(
            f"Note: {counted(others, 'picture')} of {len(listed)} in {one_line(path)} are not among the photographs. "
            "COCOeval counts the objects on them as missed unless its params.imgIds leave them out."
        )
    return Ids(
        {photograph: entry["id"] for photograph, entry in entries.items()},
        {photograph: (entry["height"], entry["width"]) for photograph, entry in entries.items()},
        categories,
    )


def _places(path, photographs, listed):
    """Dict from each photograph to the place of its picture in the list of a file."""
    places = collections.defaultdict(list)
    for place, name in enumerate(file_names(listed)):
        places[_parts(name)].append(place)
    longest = max(map(len, places), default=0)
    found = {}
    for photograph in photographs:
        parts = _parts(os.path.abspath(photograph))
        ends = (parts[-count:] for count in range(min(longest, len(parts)), 0, -1))
        found[photograph] = next((places[end] for end in ends if end in places), [])
    if strange := [photograph for photograph in photographs if not found[photograph]]:
        names = named(name["file_name"] for name in listed)
        raise ValueError(
            f"{one_line(path)} has no picture for {len(strange)} of {counted(len(photographs), 'photograph')}: "
            f"{named(strange)}. The path of each must end in the file_name of one; capital letters matter. Its "
            f"pictures are {names or 'none'}. Give other --images_pattern or --annotations."
        )
    if twice := [photograph for photograph in photographs if len(found[photograph]) > 1]:
        raise ValueError(
            f"{one_line(path)} has several pictures for {len(twice)} of {counted(len(photographs), 'photograph')}: "
            f"{named(twice)}. Each must have one; remove the others, or tell them apart by folders in file_name."
        )
    found = {photograph: place for photograph, (place,) in found.items()}
    counts = collections.Counter(found.values())
    if shared := [photograph for photograph, place in found.items() if counts[place] > 1]:
        raise ValueError(
            f"{one_line(path)} has one picture for several photographs: {named(shared)}. Give an --images_pattern that "
            "leaves the others out, or tell them apart by their folders in file_name."
        )
    return found


def _parts(name):
    """The folders and the name of a path, a tuple."""
    return tuple(part for part in posixpath.normpath(composed(name)).split("/") if part not in ("", ".."))


def _categories(path, names, labels, log):
    """Ids of the classes; `names` is a dict from the ids of the categories in a file to their names."""
    ids = collections.defaultdict(list)
    for number, name in names.items():
        ids[composed(escaped(name))].append(number)
    labels = [composed(label) for label in labels]
    if strange := [label for label in labels if label not in ids]:
        raise ValueError(
            f"{one_line(path)} has no category for {len(strange)} of the {len(labels)} classes: {named(strange)}. Its "
            f"categories are {named(ids) or 'none'}. Give --labels with its words for them, a line a class, or add "
            "categories to it: those without boxes change no figure."
        )
    counts = collections.Counter(labels)
    if unclear := [label for label, count in counts.items() if len(ids[label]) != count]:
        raise ValueError(
            f"{one_line(path)} calls {len(ids[unclear[0]])} categories {one_line(unclear[0])}, and the network "
            f"{counts[unclear[0]]} of its classes: which is which cannot be told. Give each a name of its own, in "
            "--labels too, or remove what is too many."
        )
    if others := [name for name in ids if name not in counts]:
        log(
            f"Note: the network has no class for {len(others)} of {len(names)} categories in {one_line(path)}: "
            f"{named(others)}"
        )
    # Classes of one name are in the order of their numbers, as training on such a file has them.
    ids = {label: iter(sorted(ids[label], key=lambda number: (isinstance(number, str), number))) for label in counts}
    return [next(ids[label]) for label in labels]
