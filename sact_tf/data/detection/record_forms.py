"""Examples of detection as records: those of the TF Object Detection API, which other forms are turned into as well.

Boxes lie in them as shares of height and width, labels are the numbers that the data set gives its categories. The
records that TensorFlow Datasets makes of COCO hold the same under other names.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from sact_tf.data import boxes as boxes_in_pixels
from sact_tf.data import detection, preprocessing

IMAGE, SOURCE_ID, LABEL = "image/encoded", "image/source_id", "image/object/class/label"
# Beside the label, for people.
TEXT = "image/object/class/text"
CROWD, AREA = "image/object/is_crowd", "image/object/area"
# What the API's own script for Pascal VOC writes, and no crowd.
DIFFICULT = "image/object/difficult"
SIDES = tuple(f"image/object/bbox/{side}" for side in ("ymin", "xmin", "ymax", "xmax"))


def _list_of(dtype):
    return tf.io.FixedLenSequenceFeature([], dtype, allow_missing=True)


FEATURES = {
    IMAGE: tf.io.FixedLenFeature([], tf.string),
    SOURCE_ID: tf.io.FixedLenFeature([], tf.string, ""),
    **{side: _list_of(tf.float32) for side in SIDES},
    LABEL: _list_of(tf.int64),
    CROWD: _list_of(tf.int64),
    DIFFICULT: _list_of(tf.int64),
    AREA: _list_of(tf.float32),
}
TFDS_FEATURES = {
    "image": tf.io.FixedLenFeature([], tf.string),
    "image/id": tf.io.FixedLenFeature([], tf.int64),
    "objects/bbox": tf.io.FixedLenSequenceFeature([4], tf.float32, allow_missing=True),
    **{f"objects/{name}": _list_of(tf.int64) for name in ("label", "is_crowd", "area")},
}


class Objects(NamedTuple):
    """What a record holds: a picture's bytes, its number, and of its objects shares `(objects, 4)`, labels and so on.

    `crowd` and `area` have no entry at all where the record says nothing of them.
    """

    encoded: tf.Tensor
    image_id: tf.Tensor
    shares: tf.Tensor
    labels: tf.Tensor
    crowd: tf.Tensor
    area: tf.Tensor


class Form(NamedTuple):
    """How records hold examples.

    Attributes:
        parse: function from a record, a scalar string tensor, to `Objects`.
        boxes_of: function from the features of a `tf.train.Example` to the shares, float32 `(objects, 4)`.
        label: name of the feature of the labels.
        crowd: names of features that say which objects need not be found; the first that is there counts.
    """

    parse: callable
    boxes_of: callable
    label: str
    crowd: tuple


def _parse(record):
    example = tf.io.parse_single_example(record, FEATURES)
    counts = [tf.size(example[side]) for side in SIDES]
    sides = "Of ymin, xmin, ymax and xmax there must be as many:"
    same = _check(tf.reduce_all(tf.equal(counts, counts[0])), sides, counts)
    with tf.control_dependencies([same]):
        shares = tf.stack([example[side] for side in SIDES], axis=-1)
    number = image_id(example[SOURCE_ID])
    crowd = tf.cond(tf.size(example[CROWD]) > 0, lambda: example[CROWD], lambda: example[DIFFICULT])
    return Objects(example[IMAGE], number, shares, example[LABEL], crowd, example[AREA])


def _parse_tfds(record):
    example = tf.io.parse_single_example(record, TFDS_FEATURES)
    label, crowd, area = (example[f"objects/{name}"] for name in ("label", "is_crowd", "area"))
    return Objects(
        example["image"], example["image/id"], example["objects/bbox"], label, crowd, tf.cast(area, tf.float32)
    )


API = Form(
    _parse,
    lambda features: np.array([features[side].float_list.value for side in SIDES], np.float32).T,
    LABEL,
    (CROWD, DIFFICULT),
)
TFDS = Form(
    _parse_tfds,
    lambda features: np.array(features["objects/bbox"].float_list.value, np.float32).reshape(-1, 4),
    "objects/label",
    ("objects/is_crowd",),
)


def decoder(image_size, max_boxes, categories, form=API):
    """Function from a record and a seed to an example of detection, see `RecordSource.decode` and `detection`.

    Boxes are clipped to the image, and left out if nothing remains of them.

    Args:
        image_size: int, pixels of the shorter side, unless the longer passes `boxes.longest_side` of it.
        max_boxes: int, rows of the boxes of every example.
        categories: `Categories`.
        form: `API` or `TFDS`.
    """
    numbers = np.array(categories.numbers, np.int64)

    def decode(record, seed):
        example = form.parse(record)
        image = preprocessing.decode_image(example.encoded)
        original_size = tf.shape(image)[:2]
        boxes, classes, crowd, area = _objects(example, original_size, numbers, max_boxes)
        image, boxes = boxes_in_pixels.resize(image, boxes, image_size, boxes_in_pixels.longest_side(image_size))
        image = image / 127.5 - 1.0
        if seed is not None:
            image, boxes = boxes_in_pixels.mirror_at_random(image, boxes, seed)
        return {
            "image": image,
            "image_size": tf.shape(image)[:2],
            "original_size": original_size,
            "boxes": _padded(boxes, max_boxes),
            "classes": _padded(classes, max_boxes),
            "crowd": _padded(crowd, max_boxes),
            "area": _padded(area, max_boxes),
            "image_id": example.image_id,
        }

    return decode


def _objects(example, size, numbers, max_boxes):
    """Boxes in pixels of the file, classes, whether they are crowds, and areas, of what has an area."""
    shares, labels = example.shares, example.labels
    crowd, area = _of_each(example.crowd, labels, 0) > 0, _of_each(example.area, labels, -1.0)
    counts = [tf.size(value) for value in (labels, crowd, area)]
    # Numbers rise, and class k has the k-th.
    known = tf.searchsorted(numbers, labels, side="right")
    known *= tf.cast(tf.gather(numbers, tf.maximum(known, 1) - 1) == labels, tf.int32)
    boxes = boxes_in_pixels.clip(boxes_in_pixels.rescale(shares, [1, 1], size), size)
    keep = boxes_in_pixels.have_area(boxes)
    checks = [
        _check(
            tf.reduce_all(tf.shape(shares)[0] == counts), "Of boxes, labels, crowds and areas there must be as many:",
            [tf.shape(shares)[0], *counts],
        ),
        _check(tf.reduce_all(known > 0), "Labels must be numbers of categories:", [labels]),
        _check(
            tf.reduce_sum(tf.cast(keep, tf.int32)) <= max_boxes, "There are more boxes than when the file was opened:",
            [tf.shape(shares)[0]],
        ),
    ]  # fmt: skip
    with tf.control_dependencies(checks):
        boxes, keep = tf.identity(boxes), tf.identity(keep)
    boxes, classes, crowd, area = (tf.boolean_mask(value, keep) for value in (boxes, known, crowd, area))
    # What scores them takes no other area.
    known_area = tf.math.is_finite(area) & (area >= 0.0)
    return boxes, classes, crowd, tf.where(known_area, area, detection.areas(boxes))


def _of_each(values, labels, missing):
    """`values`, or, where the record has none at all, as many of what stands for a missing one as there are labels."""
    return tf.cond(
        tf.size(values) > 0, lambda: values, lambda: tf.fill(tf.shape(labels), tf.cast(missing, values.dtype))
    )


def _check(condition, sentence, values):
    return tf.debugging.Assert(condition, [sentence, *values], summarize=8)


def _padded(values, length):
    """Values `(objects, ...)` with zeros behind them, `(length, ...)`."""
    behind = [[0, length - tf.shape(values)[0]], *[[0, 0]] * (values.shape.rank - 1)]
    return tf.ensure_shape(tf.pad(values, behind), (length, *values.shape[1:]))


def image_id(source_id):
    """int64 scalar: the number that an image's name is, or, of a name that is none, one that stands for it.

    Args:
        source_id: scalar string tensor, such as "000005" (5) or "2007_000027" (a number made of its letters).
    """
    return tf.cond(
        tf.strings.regex_full_match(source_id, r"\d{1,18}"),
        lambda: tf.strings.to_number(source_id, tf.int64),
        lambda: tf.strings.to_hash_bucket_fast(source_id, 2**62),
    )


def make_record(encoded, source_id, size, boxes, labels, crowd, area, names):
    """A record, bytes.

    Args:
        encoded: bytes of the picture.
        source_id: str.
        size: two ints, height and width.
        boxes: float32 `(objects, 4)` in pixels.
        labels: ints `(objects,)`, numbers of categories.
        crowd: bool `(objects,)`.
        area: float32 `(objects,)`.
        names: list of str, of the categories of the objects.
    """
    shares = np.asarray(boxes, np.float32) / np.tile(np.asarray(size, np.float32), 2)
    name = source_id.encode("utf-8", "surrogateescape")
    features = {
        IMAGE: _bytes([encoded]),
        SOURCE_ID: _bytes([name]),
        "image/filename": _bytes([name]),
        "image/format": _bytes([_format_of(encoded)]),
        "image/height": _ints([size[0]]),
        "image/width": _ints([size[1]]),
        **{side: _floats(shares[:, number]) for number, side in enumerate(SIDES)},
        LABEL: _ints(labels),
        TEXT: _bytes([name.encode() for name in names]),
        CROWD: _ints(crowd),
        AREA: _floats(area),
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString(deterministic=True)


def _format_of(encoded):
    """What the API calls the format of a picture that TensorFlow decodes, bytes."""
    starts = {b"\x89PNG": b"png", b"GIF8": b"gif", b"BM": b"bmp", b"RIFF": b"webp"}
    return next((name for start, name in starts.items() if encoded.startswith(start)), b"jpeg")


def _bytes(values):
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def _ints(values):
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[int(value) for value in values]))


def _floats(values):
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))
