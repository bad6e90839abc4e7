"""TFRecords of the TF Object Detection API: finding them, and what is to be known of all before the first is read.

Files are `<split>-00000-of-NNNNN`, or have the names that the API's own scripts give them. A label map (`.pbtxt`)
beside them says which numbers are classes, and what these are called. COCO may be as TensorFlow Datasets prepares it.
"""

import collections
import json
import os

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from sact_tf.data import boxes as boxes_in_pixels
from sact_tf.data.detection import Categories, label_maps, record_forms, unnamed
from sact_tf.data.directories import latest_version
from sact_tf.data.padding import BUCKET
from sact_tf.data.records import RecordFiles, cache_directory, find_shards, fingerprint, has_shards
from sact_tf.data.sources import RecordSource
from sact_tf.data.whole_files import write_atomically
from sact_tf.progress import Timer, counted, named

LABEL_MAP = "label_map.pbtxt"
TFDS_LABELS = "objects-label.labels.txt"
SECONDS_BETWEEN_MESSAGES = 5
# As a share, far outside of the picture.
_OUTSIDE = 2
# More than any data set has; labels beyond are numbers of something else.
_MOST_CLASSES = 100_000


def open_records(directory, dataset, split, image_size, log=None):
    """Opens the records of a split.

    Args:
        directory: path.
        dataset: "coco" or "voc".
        split: its name.
        image_size: int, pixels of the shorter side.
        log: called with lines of text, or None.

    Returns:
        `RecordSource` with `Categories`, or None if there are no files; and a dict, from what was looked for to its
        path.
    """
    paths, form = _paths(directory, dataset, split), record_forms.API
    looked_for = {"TFRecords of the TF Object Detection API": os.path.join(directory, f"{split}-00000-of-NNNNN")}
    if not paths and dataset == "coco":
        place, name = _tfds_place(directory, split, log)
        looked_for["TensorFlow Datasets"] = os.path.join(place, f"{name}-00000-of-NNNNN")
        paths, form = find_shards(place, name) if os.path.isdir(place) else [], record_forms.TFDS
    if not paths:
        return None, looked_for
    files = RecordFiles(paths, log=log)
    facts = _facts(files, form, log)
    categories = label_map(directory)
    _check(directory, split, facts, form, categories)
    if log and categories:
        _note_texts(facts["texts"], categories, directory, log)
    if log and categories and (shared := sorted({n for n in categories.names if categories.names.count(n) > 1})):
        log(f"In the label map several ids have one name, and each is a class of its own: {named(shared)}")
    if categories is None:
        numbers = tuple(range(1, facts["largest_label"] + 1))
        categories = Categories(numbers, tuple(map(unnamed, numbers)))
        if log:
            log(f"{directory} has no label map ({LABEL_MAP}), so classes have numbers but no names")
    decode = record_forms.decoder(image_size, facts["max_boxes"], categories, form)
    source = RecordSource(len(files), files.read, decode, files.locate, BUCKET, categories)
    return source, looked_for


def label_map(directory):
    """The `Categories` of the label map in a directory, or of the list of TensorFlow Datasets; None if there is none.

    Raises:
        ValueError: if there are several, or one that cannot be read.
    """
    path, text = _label_map_file(directory)
    if path is None:
        return _tfds_categories(directory)
    try:
        categories = label_maps.parse(text)
    except ValueError as error:
        raise ValueError(f"{path}: {error}. Each category must have an id of its own; correct it.") from error
    if categories is None:
        raise ValueError(
            f'{path} has no item such as  item {{ id: 1 name: "cat" }}. Take the label map of the TF Object Detection '
            "API that the records were made with."
        )
    return categories


def _label_map_file(directory):
    """Path and text of the label map in a directory; None and an empty text without one."""
    names = sorted(os.listdir(directory)) if os.path.isdir(directory) else []
    names = [name for name in names if name.endswith(".pbtxt")]
    names = [LABEL_MAP] if LABEL_MAP in names else names
    if not names:
        return None, ""
    if len(names) > 1:
        raise ValueError(f"{directory} holds several label maps: {', '.join(names)}. Call the right one {LABEL_MAP}.")
    path = os.path.join(directory, names[0])
    with open(path, encoding="utf-8", errors="replace") as file:
        return path, file.read()


def _paths(directory, dataset, split):
    if not os.path.isdir(directory):
        return []
    names = (split, f"{dataset}_{split}.record", f"{dataset}_{split}.tfrecord", f"pascal_{split}.record")
    for name in names:
        if shards := find_shards(directory, name):
            return shards
    files = [os.path.join(directory, name) for name in (*names[1:], f"{split}.record", f"{split}.tfrecord")]
    return [path for path in files if os.path.isfile(path)][:1]


def _tfds_place(directory, split, log=None):
    """Where TensorFlow Datasets has a split of COCO, of the latest year and version, and the name of its shards."""
    name = f"coco-{'validation' if split == 'val' else split}.tfrecord"
    years = [os.path.join("coco", year) for year in ("2017", "2014")] + ["2017", "2014", "coco"]
    place = directory
    for year in years:
        place = latest_version(directory, year, lambda path: has_shards(path, name), log)
        if place != directory:
            break
    return place, name


def _tfds_categories(directory):
    place, _ = _tfds_place(directory, "train")
    try:
        with open(os.path.join(place, TFDS_LABELS), encoding="utf-8") as file:
            names = file.read().splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return Categories(tuple(range(len(names))), tuple(name or unnamed(number) for number, name in enumerate(names)))


def _check(directory, split, facts, form, categories):
    """Raises ValueError for what no record can be excused for."""
    name = f"{directory}, {split}"
    if facts["strange_boxes"]:
        raise ValueError(
            f"{name}: {counted(facts['strange_boxes'], 'box')} with sides that are no finite numbers. A box is four "
            "finite numbers, shares of height and width. Make the records again without them."
        )
    if facts["pixel_boxes"] > facts["num_boxes"] / 2:
        raise ValueError(
            f"{name}: {facts['pixel_boxes']} of {facts['num_boxes']} boxes have sides of more than {_OUTSIDE}, as if "
            "they were in pixels. In records they are shares of height and width. Make the records again, each side "
            "divided by that of its picture."
        )
    if facts["unlabelled"] and not facts["labels"]:
        raise ValueError(
            f"{name}: {counted(facts['unlabelled'], 'record')} with boxes and no {form.label}, the numbers that "
            "are read; class/text alone is not. Make the records again with both: labels are ids of the label map."
        )
    if facts["uneven"] and not facts["max_boxes"]:
        raise ValueError(
            f"{name}: {facts['uneven']} of {facts['num_records']} records have not as many ymin, xmin, ymax and xmax, "
            f"and no other has a box. Each box has all of {', '.join(record_forms.SIDES)}. Make the records again."
        )
    if not facts["max_boxes"]:
        raise ValueError(
            f"{name}: none of the {facts['num_records']} records has a box with an area, so there is nothing to find. "
            f"Boxes are shares of height and width in {', '.join(record_forms.SIDES)}."
        )
    if not facts["to_find"]:
        raise ValueError(
            f"{name}: all boxes of {counted(facts['num_records'], 'record')} are marked as crowds, or as difficult, "
            "which need not be found, so there is nothing to find. Take the marks away, or give a split with others."
        )
    unknown = [label for label in facts["labels"] if categories and label not in categories.numbers]
    if categories is None and facts["largest_label"] > _MOST_CLASSES:
        raise ValueError(
            f"{name}: the largest label is {facts['largest_label']}, and without a label map ({LABEL_MAP}) there would "
            "be as many classes. Put the one that the records were made with beside them, or make them again with "
            "labels that count from 1."
        )
    if unknown or (categories is None and facts["labels"][0] < 1):
        raise ValueError(
            f"{name}: labels {', '.join(map(str, unknown or facts['labels'][:1]))} are numbers of no category. Labels "
            "count from 1, 0 is the background; with a label map (.pbtxt) beside the records, they are ids in it."
        )


def _facts(files, form, log):
    """What a pass over all records finds, kept for the next start.

    Returns:
        dict of ints `num_records`, `num_boxes`, `max_boxes`, `to_find` (boxes that are no crowds), `strange_boxes`,
        `flat_boxes`, `pixel_boxes`, `largest_label`, `uneven` (records with other numbers of some sides) and
        `unlabelled` (records with boxes alone), and the lists `labels`, sorted, and `texts`, of a label, a text beside
        it, and of how many boxes.
    """
    path = os.path.join(cache_directory(), f"{fingerprint(files.paths)}.boxes_4.json")
    try:
        with open(path, encoding="utf-8") as file:
            facts = json.load(file)
    except (OSError, ValueError):
        if log:
            log(f"Counting the boxes of {len(files)} records, which reads them once")
        facts = _scan(files, form, log)
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            write_atomically(path, [json.dumps(facts).encode()])
        except OSError:
            pass  # It is counted again, then.
    if log and facts["flat_boxes"]:
        log(f"Left out: {counted(facts['flat_boxes'], 'box')} without an area in the picture")
    return facts


def _scan(files, form, log):
    numbers = ("num_boxes", "max_boxes", "to_find", "strange_boxes", "flat_boxes", "pixel_boxes")
    facts = {"num_records": len(files), **dict.fromkeys((*numbers, "uneven", "unlabelled"), 0)}
    labels, texts, timer = set(), collections.Counter(), Timer(SECONDS_BETWEEN_MESSAGES)
    for number in range(len(files)):
        if log and timer.is_due():
            log(f"Counted the boxes of {number}/{len(files)} records")
        try:
            features = tf.train.Example.FromString(files.read(number)).features.feature
        # A damaged record is told when it is read as an example, with its place.
        except (ValueError, DecodeError):
            continue
        try:
            boxes = form.boxes_of(features)
        except ValueError:
            facts["uneven"] += 1
            continue
        strange, keep = ~np.isfinite(boxes).all(axis=1), boxes_in_pixels.have_area(np.clip(boxes, 0, 1))
        facts["max_boxes"] = max(facts["max_boxes"], int(keep.sum()))
        facts["num_boxes"] += len(boxes)
        facts["pixel_boxes"] += int((boxes.max(axis=1, initial=0) > _OUTSIDE).sum())
        facts["to_find"] += int((keep & ~_crowds(features, form, len(boxes))).sum())
        facts["strange_boxes"] += int(strange.sum())
        facts["flat_boxes"] += int((~keep & ~strange).sum())
        own = features[form.label].int64_list.value
        facts["unlabelled"] += bool(len(boxes) and not own)
        labels.update(own)
        texts.update(zip(own, features[record_forms.TEXT].bytes_list.value, strict=False))
    told = [[label, text.decode(errors="replace"), count] for (label, text), count in texts.items()]
    return {**facts, "texts": told, "largest_label": max(labels, default=0), "labels": sorted(labels)}


def _note_texts(texts, categories, directory, log):
    """Says so if texts beside labels are not the names of these, which the API's own trainer would go by."""
    names = dict(zip(categories.numbers, categories.names, strict=True))
    keys = label_maps.keys(_label_map_file(directory)[1])
    others = [each for each in texts if each[1] != names[each[0]] and tuple(each[:2]) not in keys]
    if others:
        label, text, _ = others[0]
        boxes = counted(sum(count for *_, count in others), "box")
        log(
            f"Note: {boxes} with another {record_forms.TEXT} than the name of the class/label in "
            f"the label map, the first {text!r} for {label}, {names[label]!r}. The label counts."
        )


def _crowds(features, form, count):
    """Which objects of a record are crowds, bool `(count,)`; none where it says nothing of as many."""
    marks = next((values for name in form.crowd if (values := features[name].int64_list.value)), ())
    return np.array(marks) > 0 if len(marks) == count else np.zeros(count, bool)
