"""From a data set to batches whose order is a function of (seed, step)."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from sact_tf.config import check_dataset
from sact_tf.data import cluttered_digits


class Source(NamedTuple):
    """A split of a data set, ready to be read by index.

    Attributes:
        num_examples: int.
        read: function from an int64 tensor of indices `(batch,)` to a dict of `image` float32
            `(batch, height, width, 3)` as the network takes it, `label` int64 `(batch,)` and, where objects are
            marked, `box` int32 `(batch, 4)`: ymin, xmin, ymax, xmax in pixels, half open.
    """

    num_examples: int
    read: callable


def open_source(dataset, split, image_size, num_examples=None):
    """Opens a split.

    Args:
        dataset: a key of `sact_tf.config.DATASETS`.
        split: "train" or the name of the held-out split.
        image_size: int, height and width in pixels.
        num_examples: int, or None for all. Cluttered digits are made when they are read, so any number will do.

    Raises:
        ValueError: for a data set, split or size that does not exist.
    """
    defaults = check_dataset(dataset)
    default_size = defaults["num_train_examples" if split == "train" else "num_examples"]
    # Touches every file and checks every argument, so that a mistake shows now and not in the first step.
    cluttered_digits.render(split, 0, 0, image_size)
    return Source(num_examples or default_size, _digits_reader(split, image_size))


def training_batches(source, batch_size, seed, first_step):
    """Endless batches of `batch_size` examples, each epoch in an order of its own.

    Batch k holds the examples at positions `k * batch_size` onwards of the shuffled epochs, whatever the step that
    reading starts from, so a run that resumes reads what it would have read. Skipping costs nothing: positions are
    computed, not read.
    """
    positions = tf.data.Dataset.range(first_step * batch_size, tf.int64.max)

    def shuffled_indices(position):
        epoch, place = position // source.num_examples, position % source.num_examples
        key = tf.stack([tf.cast(seed, tf.int64), epoch])
        return tf.random.experimental.index_shuffle(place, key, tf.cast(source.num_examples - 1, tf.int64))

    indices = positions.map(shuffled_indices).batch(batch_size, drop_remainder=True)
    return indices.map(source.read).prefetch(2)


def evaluation_batches(source, batch_size):
    """Every example once, in order; the last batch may be short."""
    return tf.data.Dataset.range(source.num_examples).batch(batch_size).map(source.read).prefetch(2)


def to_unit_range(image):
    """uint8 images to float32 in [-1, 1]."""
    return tf.cast(image, tf.float32) / 127.5 - 1.0


def _digits_reader(split, image_size):
    def render(indices):
        examples = [cluttered_digits.render(split, 0, int(index), image_size) for index in indices]
        return tuple(np.stack(column) for column in zip(*examples, strict=True))

    def read(indices):
        image, label, box = tf.numpy_function(render, [indices], [tf.uint8, tf.int64, tf.int32], stateful=False)
        image.set_shape((indices.shape[0], image_size, image_size, 3))
        label.set_shape(indices.shape)
        box.set_shape((indices.shape[0], 4))
        return {"image": to_unit_range(image), "label": label, "box": box}

    return read
