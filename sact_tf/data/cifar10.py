"""CIFAR-10, in any of the forms that it comes in: TFRecords of the release, TensorFlow Datasets, binary, Python."""

import os
import socket
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from sact_tf.data import archives, plain_pickle, preprocessing
from sact_tf.data.directories import latest_version, missing, nothing_found
from sact_tf.data.records import BadRecord, Location, RecordFiles, find_shards, has_shards
from sact_tf.data.sources import RecordSource

NUM_CLASSES = 10
IMAGE_SIZE = 32
SPLITS = ("train", "test")
DEFAULT_DIRECTORY = "~/tensorflow/data/cifar10"
# Files of the data set's home page, and the directories that its archives unpack to.
BATCHES = {"train": tuple(f"data_batch_{number}" for number in range(1, 6)), "test": ("test_batch",)}
ARCHIVES = {"binary files": "cifar-10-binary.tar.gz", "python files": "cifar-10-python.tar.gz"}
BINARY_DIRECTORY, PYTHON_DIRECTORY = "cifar-10-batches-bin", "cifar-10-batches-py"
# One byte of label, then the red, green and blue planes.
PIXELS = 3 * IMAGE_SIZE * IMAGE_SIZE
BINARY_RECORD = 1 + PIXELS

DOWNLOAD_HOST = "www.cs.toronto.edu"

RELEASE_KEYS = ("image/encoded", "image/class/label")
TFDS_KEYS = ("image", "label")


def open_split(directory, split, image_size=IMAGE_SIZE, log=None):
    """Opens a split.

    Args:
        directory: path, also of an archive of the data set's home page, which is read without unpacking it; None for
            the release's default, and where that does not exist, the data set that TensorFlow Datasets downloads.
        split: one of `SPLITS`.
        image_size: int, 32.
        log: called with lines of text, or None.

    Returns:
        `RecordSource`.

    Raises:
        FileNotFoundError, ValueError: if the split is not there, or not whole.
        OSError: if it is to be downloaded and cannot be.
    """
    if split not in SPLITS:
        raise ValueError(f"`split_name` must be one of {SPLITS} for cifar10. Received: split_name={split!r}")
    if image_size != IMAGE_SIZE:
        raise ValueError(f"`image_size` must be {IMAGE_SIZE} for cifar10. Received: image_size={image_size!r}")
    if directory is None and not os.path.isdir(os.path.expanduser(DEFAULT_DIRECTORY)):
        directory = _download(log)
    directory = os.path.expanduser(directory or DEFAULT_DIRECTORY)
    if archives.is_archive(directory):
        return _open_archive(directory, split, log, required=True)
    looked_for = {
        "TFRecords of the release": os.path.join(directory, f"cifar10_{split}.tfrecord"),
        "TensorFlow Datasets": os.path.join(
            latest_version(directory, "cifar10", lambda place: has_shards(place, f"cifar10-{split}.tfrecord"), log),
            f"cifar10-{split}.tfrecord-00000-of-NNNNN",
        ),
        "binary files": os.path.join(_or_below(directory, BINARY_DIRECTORY), BATCHES[split][0] + ".bin"),
        "python files": os.path.join(_or_below(directory, PYTHON_DIRECTORY), BATCHES[split][0]),
        **{f"archive of {form}": os.path.join(directory, name) for form, name in ARCHIVES.items()},
    }
    openers = (_open_release, _open_tfds, _open_binary, _open_python, _open_archive, _open_archive)
    for path, opener in zip(looked_for.values(), openers, strict=True):
        source = opener(path, split, log)
        if source is not None:
            return source
    raise nothing_found(directory, looked_for)


def _or_below(directory, name):
    below = os.path.join(directory, name)
    return below if os.path.isdir(below) else directory


def _open_release(path, split, log):
    if not os.path.lexists(path):
        return None
    files = RecordFiles([path], log=log)
    return RecordSource(len(files), files.read, _decoder(_parser(*RELEASE_KEYS)), files.locate)


def _open_tfds(path, split, log):
    place = os.path.dirname(path)
    paths = find_shards(place, f"cifar10-{split}.tfrecord") if os.path.isdir(place) else []
    if not paths:
        return None
    files = RecordFiles(paths, log=log)
    return RecordSource(len(files), files.read, _decoder(_parser(*TFDS_KEYS)), files.locate)


def _open_binary(path, split, log):
    paths = _batch_files(path, [name + ".bin" for name in BATCHES[split]])
    if not paths:
        return None
    sizes = [os.path.getsize(path) for path in paths]
    for path, size in zip(paths, sizes, strict=True):
        _check_binary_size(path, size)
    files = _Batches(paths, [size // BINARY_RECORD for size in sizes])

    def fetch(index):
        location = files.locate(index)
        with open(location.path, "rb", buffering=0) as file:
            return os.pread(file.fileno(), location.size, location.offset)

    return RecordSource(len(files), fetch, _decoder(_parse_binary), files.locate)


def _open_python(path, split, log):
    paths = _batch_files(path, BATCHES[split])
    if not paths:
        return None
    batches = {}
    for batch in paths:
        with open(batch, "rb") as file:
            batches[batch] = parse_python_batch(file.read(), batch)
    return _source_in_memory(batches)


def _open_archive(path, split, log, required=False):
    if not archives.is_archive(path):
        return None
    if log:
        log(f"Reading {path} into memory")
    names = BATCHES[split]
    found = archives.read_members(path, {*names, *(name + ".bin" for name in names)})
    for ending, parse in ((".bin", _parse_binary_batch), ("", parse_python_batch)):
        if all(name + ending in found for name in names):
            places = {name: f"{path}: {name}{ending}" for name in names}
            return _source_in_memory({place: parse(found[name + ending], place) for name, place in places.items()})
    if found or required:
        raise FileNotFoundError(
            f"{path} lacks files of this split: {', '.join(names)}, or the same with .bin. Give --dataset_dir the "
            f"archive of CIFAR-10's home page, {' or '.join(ARCHIVES.values())}, or a directory."
        )
    return None


def _source_in_memory(batches):
    """The source of a dict from names of files to their records, uint8 `(examples, 3073)`."""
    files = _Batches(list(batches), [len(batch) for batch in batches.values()])
    records = np.concatenate(list(batches.values()))
    return RecordSource(len(files), lambda index: records[index].tobytes(), _decoder(_parse_binary), files.locate)


def _parse_binary_batch(content, name):
    _check_binary_size(name, len(content))
    return np.frombuffer(content, np.uint8).reshape(-1, BINARY_RECORD)


def _check_binary_size(name, size):
    if size == 0 or size % BINARY_RECORD:
        raise BadRecord(
            f"{name}, record {size // BINARY_RECORD}: the file ends within it; {size} bytes are not a multiple of "
            f"{BINARY_RECORD}, the size of an example. Copy the file again."
        )


def _batch_files(path, names):
    """Paths of all batches of a split, beside the first; [] if there is none of them."""
    paths = [os.path.join(os.path.dirname(path), name) for name in names]
    lost = [path for path in paths if not os.path.isfile(path)]
    if len(lost) == len(paths) and not any(map(os.path.islink, paths)):
        return []
    if lost:
        links = [f"{missing(path)}." for path in lost if os.path.islink(path)]
        raise FileNotFoundError(
            f"Some of the files of this split are missing: {', '.join(lost)}. {' '.join([*links, 'Copy them there.'])}"
        )
    return paths


def parse_python_batch(content, name):
    """Returns a file of the Python version as uint8 `(examples, 3073)`, the records of the binary version.

    Args:
        content: bytes, of any of Python's protocols 0 to 5.
        name: path that an error names.
    """
    try:
        batch = plain_pickle.parse(content)
        # Files written by Python 3 have bytes for keys where the original ones have text.
        batch = {plain_pickle.to_text(key): value for key, value in batch.items()}
        pixels, labels = plain_pickle.to_array(batch["data"]), plain_pickle.to_array(batch["labels"])
        if pixels.dtype != np.uint8 or pixels.shape != (len(labels), PIXELS) or not len(labels):
            raise ValueError(f"holds an array of shape {pixels.shape} for {len(labels)} labels")
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise BadRecord(f"{name} is no batch of CIFAR-10's Python version: {error}. Copy the file again.") from error
    # A label that does not fit a byte must not become one that does.
    labels = np.where((labels >= 0) & (labels < NUM_CLASSES), labels, 255).astype(np.uint8)
    return np.concatenate([labels[:, None], pixels], axis=1)


class _Batches(NamedTuple):
    """Files of examples of the same size."""

    paths: list
    counts: list

    def __len__(self):
        return sum(self.counts)

    def locate(self, index):
        """Returns the `Location` of an example."""
        for path, count in zip(self.paths, self.counts, strict=True):
            if index < count:
                return Location(path, index, index * BINARY_RECORD, BINARY_RECORD)
            index -= count
        raise IndexError(index)


def _decoder(parse):
    def decode(record, seed):
        image, label = parse(record)
        if seed is None:
            image = preprocessing.cifar_evaluation_image(image)
        else:
            image = preprocessing.cifar_training_image(image, seed)
        return {"image": image, "label": preprocessing.check_label(label, NUM_CLASSES)}

    return decode


def _parser(image_key, label_key):
    """Function from a serialized `tf.train.Example` to picture and label."""
    features = {
        image_key: tf.io.FixedLenFeature([], tf.string),
        label_key: tf.io.FixedLenFeature([], tf.int64),
    }

    def parse(record):
        example = tf.io.parse_single_example(record, features)
        image = preprocessing.decode_image(example[image_key])
        return tf.ensure_shape(image, (IMAGE_SIZE, IMAGE_SIZE, 3)), example[label_key]

    return parse


def _parse_binary(record):
    numbers = tf.reshape(tf.io.decode_raw(record, tf.uint8), (BINARY_RECORD,))
    planes = tf.reshape(numbers[1:], (3, IMAGE_SIZE, IMAGE_SIZE))
    return tf.transpose(planes, (1, 2, 0)), tf.cast(numbers[0], tf.int64)


def _download(log):
    """Has TensorFlow Datasets download and prepare the data set; returns its directory."""
    try:
        import tensorflow_datasets as tfds

        builder = tfds.builder("cifar10")
        if not os.path.isdir(builder.data_dir):
            # The download itself tries for minutes before it says that there is no network.
            socket.create_connection((DOWNLOAD_HOST, 443), timeout=10).close()
            if log:
                log(f"No --dataset_dir: downloading CIFAR-10 (163 MB) to {builder.data_dir}")
            builder.download_and_prepare()
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise OSError(
            f"CIFAR-10 could not be downloaded ({reason}). Download cifar-10-binary.tar.gz from its home page, unpack "
            "it, and name the directory in --dataset_dir."
        ) from error
    return str(builder.data_dir)
