"""ImageNet (ILSVRC 2012), from the release's TFRecord shards or as TensorFlow Datasets prepares it.

Class 0 is the background, so there are 1001; the release's labels count from 1, those of TensorFlow Datasets from 0.
"""

import os
import re

import tensorflow as tf

from sact_tf.data import class_names, preprocessing
from sact_tf.data.directories import latest_version, nothing_found
from sact_tf.data.records import RecordFiles, find_shards, has_shards
from sact_tf.data.sources import RecordSource

NUM_CLASSES = 1001
SPLITS = ("train", "validation")
DEFAULT_DIRECTORY = "~/tensorflow/data/imagenet"

IMAGE, LABEL = "image/encoded", "image/class/label"
BOX = "image/object/bbox/"
RELEASE_FEATURES = {
    IMAGE: tf.io.FixedLenFeature([], tf.string),
    LABEL: tf.io.FixedLenFeature([], tf.int64),
    **{
        BOX + side: tf.io.FixedLenSequenceFeature([], tf.float32, allow_missing=True)
        for side in ("ymin", "xmin", "ymax", "xmax")
    },
}
TFDS_FEATURES = {"image": tf.io.FixedLenFeature([], tf.string), "label": tf.io.FixedLenFeature([], tf.int64)}


def open_split(directory, split, image_size, log=None):
    """Opens a split.

    Args:
        directory: path; None for the release's default.
        split: one of `SPLITS`.
        image_size: int, height and width in pixels.
        log: called with lines of text while files are indexed, or None.

    Returns:
        `RecordSource`.

    Raises:
        FileNotFoundError, ValueError: if the split is not there, or not whole.
    """
    if split not in SPLITS:
        raise ValueError(f"`split_name` must be one of {SPLITS} for imagenet. Received: split_name={split!r}")
    directory = os.path.expanduser(directory or DEFAULT_DIRECTORY)
    tfds_name = f"imagenet2012-{split}.tfrecord"
    looked_for = {
        "TFRecord shards of the release": (directory, split),
        "TensorFlow Datasets": (
            latest_version(directory, "imagenet2012", lambda place: has_shards(place, tfds_name), log),
            tfds_name,
        ),
    }
    num_classes = num_classes_of(directory) or NUM_CLASSES
    for form, (place, name) in looked_for.items():
        paths = find_shards(place, name) if os.path.isdir(place) else []
        if paths:
            files = RecordFiles(paths, log=log)
            return RecordSource(len(files), files.read, _decoder(form, image_size, num_classes), files.locate)
    raise nothing_found(
        directory,
        {form: os.path.join(place, f"{name}-00000-of-NNNNN") for form, (place, name) in looked_for.items()},
    )


def num_classes_of(dataset_dir):
    """Number of classes of a data set that was converted, the background included.

    Args:
        dataset_dir: directory of the data set; None for the release's default.

    Returns:
        int, one more than there are `class_names_of`. None if there is no list: ImageNet has 1001.
    """
    names = class_names_of(dataset_dir)
    return len(names) + 1 if names else None


def class_names_of(dataset_dir):
    """Names of the classes of a data set that was converted, from class 1 on; None if there is no list.

    `imagenet_classes.txt` is looked for beside the data and, if the directory is one of TensorFlow Datasets, where that
    is.
    """
    directory = os.path.abspath(os.path.expanduser(dataset_dir or DEFAULT_DIRECTORY))
    places = [directory]
    for name in (r"\d+\.\d+\.\d+", "imagenet2012"):
        if re.fullmatch(name, os.path.basename(places[-1])):
            places.append(os.path.dirname(places[-1]))
    return next(filter(None, (class_names.of_data(place, "imagenet") for place in places)), None)


def _decoder(form, image_size, num_classes):
    parse = _parse_tfds if form == "TensorFlow Datasets" else _parse_release

    def decode(record, seed):
        encoded, label, boxes = parse(record, num_classes)
        if seed is None:
            image = preprocessing.imagenet_evaluation_image(encoded, image_size)
        else:
            image = preprocessing.imagenet_training_image(encoded, seed, boxes, image_size)
        return {"image": image, "label": label}

    return decode


def _parse_release(record, num_classes=NUM_CLASSES):
    example = tf.io.parse_single_example(record, RELEASE_FEATURES)
    sides = [example[BOX + side] for side in ("ymin", "xmin", "ymax", "xmax")]
    return example[IMAGE], preprocessing.check_label(example[LABEL], num_classes), tf.stack(sides, axis=-1)


def _parse_tfds(record, num_classes=NUM_CLASSES):
    example = tf.io.parse_single_example(record, TFDS_FEATURES)
    # Before one is added: a label of -1 stands for none, as in the test split, and must not become the background.
    label = preprocessing.check_label(example["label"], num_classes - 1) + 1
    return example["image"], label, tf.zeros((0, 4))
