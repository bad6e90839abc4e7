"""From a data set to batches whose order is a function of (seed, step)."""

import contextlib
import os

import numpy as np
import tensorflow as tf

from sact_tf.config import check_dataset
from sact_tf.data import cifar10, class_names, cluttered_digits, detection, imagenet, preprocessing
from sact_tf.data.damage import plain_error
from sact_tf.data.detection import coco, voc
from sact_tf.data.sources import Source
from sact_tf.progress import counted, named

# Data sets on disk, each with a function `open_split`.
_ON_DISK = {"imagenet": imagenet, "cifar10": cifar10, "coco": coco, "voc": voc}
# `tf.random.experimental.index_shuffle` puts it before its seeds. That takes one epoch at a time, not a batch's.
SHUFFLE_SALT = 498247692


def open_source(dataset, split, image_size, num_examples=None, dataset_dir=None, log=None):
    """Opens a split.

    Args:
        dataset: a key of `sact_tf.config.DATASETS`.
        split: "train" or the name of the held-out split.
        image_size: int, height and width in pixels; for detection pixels of the shorter side.
        num_examples: int, or None for all. Digits are made when they are read, so any number will do; of other data
            sets at most what there is.
        dataset_dir: directory of a data set that lies on disk, None for its default. What is in it decides how it is
            read.
        log: called with lines of text where opening takes long, or None.

    Returns:
        A `Source` or `RecordSource`.

    Raises:
        ValueError: for a data set, split or size that does not exist.
        OSError: if the data set is not in its directory, or not whole.
    """
    defaults = check_dataset(dataset)
    if dataset in _ON_DISK:
        source = _ON_DISK[dataset].open_split(dataset_dir, split, image_size, log)
        there = source.num_examples
        # Nobody asked for fewer, if it is what the original data set has held out.
        if log and num_examples == defaults["num_examples"] < there:
            log(f"Note: the first {num_examples} of the {there} images of {split}; --num_examples={there} takes all")
        return source._replace(num_examples=min(num_examples or there, there))
    if dataset_dir:
        raise ValueError(
            f"`dataset_dir` means nothing for {dataset}, which lies on no disk. Leave it out, or say what is in it: "
            f"--dataset=imagenet, cifar10, coco or voc. Received: dataset_dir={dataset_dir!r}"
        )
    num_examples = num_examples or defaults["num_train_examples" if split == "train" else "num_examples"]
    if dataset == "digit_scenes":
        return detection.open_digit_scenes(split, image_size, num_examples)
    # Touches every file and checks every argument, so that a mistake shows now and not in the first step.
    cluttered_digits.render(split, 0, 0, image_size)
    return Source(num_examples, _digits_reader(split, image_size))


def check_classes(source, config, log=None):
    """Raises ValueError if data have more classes than a network; no operation would tell on a GPU.

    Classes are those of a data set of detection, or, for classification, those that are noted beside the data.

    Args:
        source: `Source` or `RecordSource`.
        config: object with `dataset`, a key of `sact_tf.config.DATASETS`, `dataset_dir` and `model.num_classes`.
        log: called with a line of text if the data are of detection and have fewer, or None.
    """
    num_classes = config.model.num_classes
    categories = getattr(source, "categories", None)
    noted = {} if categories else class_names_of(config.dataset, config.dataset_dir)
    names = categories.names if categories else [name for name in noted.values() if name]
    # Of numbers that begin at 1, 0 is the background, which such a network has beside them.
    found = len(categories) if categories else max(noted, default=-1) + 1
    if found > num_classes:
        background = " and a background" if noted and min(noted) else ""
        raise ValueError(
            f"The data have {len(categories or noted)} classes{background}: {named(names)}. The network has "
            f"{num_classes}. Train with --num_classes={found}, or give the --dataset_dir that the network is for."
        )
    if log and categories and found < num_classes:
        log(
            f"Note: the data have {counted(found, 'class')}, the network {num_classes}. Class 1 is taken for "
            f"{categories.names[0]!r} and so on: if it was trained on other classes, the figures mean nothing."
        )


def num_classes_of(dataset, dataset_dir):
    """Number of classes of a data set of somebody's own, as it is noted in its annotations, or beside the data.

    Args:
        dataset: a key of `sact_tf.config.DATASETS`, whose form the data has.
        dataset_dir: its directory, or None.

    Returns:
        int, the background included where the labels of the form count it as a class; None where nothing is noted.
    """
    if dataset in ("imagenet", "coco", "voc"):
        return _ON_DISK[dataset].num_classes_of(dataset_dir)
    if dataset == "cifar10" and dataset_dir:
        return len(class_names_of(dataset, dataset_dir)) or None
    return None


def class_names_of(dataset, dataset_dir):
    """Names of the classes of a data set for classification that was converted, arguments as in `num_classes_of`.

    Returns:
        dict from the number of a class to its name; empty where nothing is noted.
    """
    if dataset == "imagenet":
        return dict(enumerate(imagenet.class_names_of(dataset_dir) or (), 1))
    if dataset == "cifar10" and dataset_dir:
        return dict(enumerate(class_names.of_data(os.path.expanduser(dataset_dir), dataset) or ()))
    return {}


def categories_of(dataset, dataset_dir):
    """The `Categories` of a data set of detection, arguments as in `num_classes_of`; None where nothing is noted."""
    return (
        detection.categories_of_digit_scenes()
        if dataset == "digit_scenes"
        else _ON_DISK[dataset].categories_of(dataset_dir)
    )


def training_batches(
    source, batch_size, seed, first_step, worker=0, num_workers=1, skip_bad_records=0, log=None, skipped_path=None
):
    """Endless batches, each epoch in an order of its own; every worker reads its part of each.

    Batch k holds the examples at positions `k * batch_size` onwards of the shuffled epochs, whatever the step that
    reading starts from, so a run that resumes reads what it would have read. Skipping costs nothing: positions are
    computed, not read. Worker w of n reads the w-th n-th of each batch, so that all workers together read what one
    would; a few batches are in memory at a time.

    Args:
        source: what `open_source` returns.
        batch_size: int, examples of one step over all workers.
        seed: int, of the order and of the random changes to the images.
        first_step: int, from 0.
        worker: int, which of the workers this is, from 0.
        num_workers: int; `batch_size` is a multiple of it.
        skip_bad_records: int, how many damaged records this worker may replace by others before it stops.
        log: called with a line of text for each of them, or None.
        skipped_path: path of a file that remembers them, so that a run that is started again counts on; or None.
    """
    if batch_size % num_workers:
        raise ValueError(
            f"`batch_size` must be a multiple of the number of workers, {num_workers}. Received: {batch_size}"
        )
    share = batch_size // num_workers
    firsts = tf.data.Dataset.range(first_step, tf.int64.max // batch_size).map(
        lambda step: step * batch_size + worker * share
    )

    # Without AutoGraph, which would look for Python to convert in here, each time anew.
    @tf.autograph.experimental.do_not_convert
    def numbers(first):
        positions = first + tf.range(share, dtype=tf.int64)
        epochs, places = positions // source.num_examples, positions % source.num_examples
        same = tf.zeros_like(epochs)
        keys = tf.stack([same + SHUFFLE_SALT, same + tf.cast(seed, tf.int64), epochs], axis=1)
        last = tf.cast(source.num_examples - 1, tf.int64)
        return positions, tf.raw_ops.RandomIndexShuffle(index=places, seed=keys, max_index=last, rounds=4)

    examples = source.training_examples(firsts.map(numbers), seed, skip_bad_records, log, skipped_path)
    return _untuned(examples.prefetch(2))


def evaluation_batches(source, batch_size, skip_bad_records=0, log=None, first=0):
    """Every example from number `first` on once, in order; the last batch may be short.

    Damaged records are left out, up to a number.
    """
    return _untuned(source.evaluation_examples(batch_size, skip_bad_records, log, first).prefetch(2))


def _untuned(batches):
    """A data set without the thread that would tune it: all numbers of threads and batches ahead are given here.

    Whoever gives an iterator back waits for that thread, which may have gone to sleep for a minute and miss that it is
    called.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return batches.with_options(options)


@contextlib.contextmanager
def plain_errors():
    """Turns what TensorFlow reports into a sentence where it is one of ours: a `BadRecord`, a check in a graph."""
    try:
        yield
    except tf.errors.OpError as error:
        raise (plain_error(error) or error) from None


def _digits_reader(split, image_size):
    def render(indices):
        examples = [cluttered_digits.render(split, 0, int(index), image_size) for index in indices]
        return tuple(np.stack(column) for column in zip(*examples, strict=True))

    def read(indices):
        image, label, box = tf.numpy_function(render, [indices], [tf.uint8, tf.int64, tf.int32], stateful=False)
        image.set_shape((indices.shape[0], image_size, image_size, 3))
        label.set_shape(indices.shape)
        box.set_shape((indices.shape[0], 4))
        return {"image": preprocessing.to_unit_range(image), "label": label, "box": box}

    return read
