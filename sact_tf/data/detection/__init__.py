"""What examples of object detection are, whatever data set they come from.

A batch is a dict of

    image          float32 (batch, height, width, 3) in [-1, 1], padded with 0 below and to the right, see `padding`
    image_size     int32 (batch, 2), height and width of the part that is picture
    original_size  int32 (batch, 2), the same of the file: `boxes.rescale(boxes, image_size, original_size)` brings
                   boxes back to its pixels
    boxes          float32 (batch, M, 4): ymin, xmin, ymax, xmax in pixels of `image`; rows of zeros are padding
    classes        int32 (batch, M), from 1; 0 in rows that are padding (it is the background's number)
    crowd          bool (batch, M), whether a box is around many objects at once
    area           float32 (batch, M), of the object in pixels of the file, which may be less than its box's
    image_id       int64 (batch,), the number of the file, by which what is found is scored

M is the largest number of boxes of any image of the split, so it is the same for all batches of it.

`coco`, `voc` and `digit_scenes` are the data sets. Those in files of pictures become `annotations`, an index; those in
records are found by `record_files`, with their `label_maps`, and read as `record_forms` says.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from sact_tf.data.detection import digit_scenes
from sact_tf.data.padding import bucketed
from sact_tf.data.sources import Source

# Divides both sides of a picture: only batches of both shapes are padded.
SCENES_BUCKET = 32


class Categories(NamedTuple):
    """What the classes of a data set are; class k of a batch is entry k - 1.

    Attributes:
        numbers: tuple of ints, their numbers in the data set, which may have gaps.
        names: tuple of strings.
    """

    numbers: tuple
    names: tuple

    def __len__(self):
        """Number of classes, without the background."""
        return len(self.numbers)

    def __iter__(self):
        return zip(self.numbers, self.names, strict=True)


def unnamed(number):
    """What a category is called whose name is empty."""
    return f"class {number}"


def open_digit_scenes(split, image_size, num_examples):
    """Digit scenes as a `Source`; they are not mirrored for training, as a mirrored digit is none, or another.

    Args:
        split: "train" or "test".
        image_size: int, pixels of the shorter side.
        num_examples: int, any number: scenes are made when they are read.
    """
    # Touches every file and checks every argument, so that a mistake shows now and not in the first step.
    digit_scenes.render(split, 0, 0, image_size)
    return Source(num_examples, _scenes_reader(split, image_size), categories_of_digit_scenes())


def categories_of_digit_scenes():
    """The ten digits as `Categories`: class 1 is the digit 0."""
    digits = range(digit_scenes.NUM_CLASSES)
    return Categories(tuple(digits), tuple(map(str, digits)))


def _scenes_reader(split, image_size):
    def render(indices):
        scenes = [digit_scenes.render(split, 0, int(index), image_size) for index in indices]
        sizes = np.array([scene.image.shape[:2] for scene in scenes], np.int32)
        height, width = bucketed(sizes.max(axis=0), SCENES_BUCKET)
        images = np.zeros((len(scenes), height, width, 3), np.float32)
        boxes = np.zeros((len(scenes), digit_scenes.MAX_DIGITS, 4), np.float32)
        classes = np.zeros(boxes.shape[:2], np.int32)
        for number, scene in enumerate(scenes):
            height, width = sizes[number]
            images[number, :height, :width] = scene.image.astype(np.float32) / 127.5 - 1.0
            boxes[number, : len(scene.boxes)] = scene.boxes
            classes[number, : len(scene.boxes)] = scene.classes
        return images, sizes, boxes, classes

    def read(indices):
        kinds = [tf.float32, tf.int32, tf.float32, tf.int32]
        image, size, boxes, classes = tf.numpy_function(render, [indices], kinds, stateful=False)
        num_images = indices.shape[0]
        size = tf.ensure_shape(size, (num_images, 2))
        boxes = tf.ensure_shape(boxes, (num_images, digit_scenes.MAX_DIGITS, 4))
        return {
            "image": tf.ensure_shape(image, (num_images, None, None, 3)),
            "image_size": size,
            "original_size": size,
            "boxes": boxes,
            "classes": tf.ensure_shape(classes, boxes.shape[:2]),
            "crowd": tf.zeros_like(boxes[..., 0], tf.bool),
            "area": areas(boxes),
            "image_id": tf.cast(indices, tf.int64),
        }

    return read


def areas(boxes):
    """Areas of boxes `(..., 4)` in square pixels."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
