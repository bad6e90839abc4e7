"""Makes a data set that can be trained on from a folder of class folders, one picture a file.

  python -m sact_tf.data.convert --from_folder=photos/train --to=tfrecord --dataset=imagenet --output_dir=data/mine
  python -m sact_tf.data.convert --from_folder=photos/val --to=tfrecord --dataset=imagenet --output_dir=data/mine \\
      --split_name=validation

Classes are numbered by the sorted names of their folders. A file has its name only once it is whole: started again
after a stop, the command makes what is missing.
"""

import concurrent.futures
import hashlib
import io
import json
import os
import random
import struct
import sys

import numpy as np
from absl import app, flags

from sact_tf.data import cifar10, imagenet
from sact_tf.data.records import frame, write_atomically

FLAGS = flags.FLAGS
FORMATS = {"imagenet": ("tfrecord", "tfds"), "cifar10": ("tfrecord", "tfds", "cifar_binary", "cifar_python")}
SPLITS = {"imagenet": imagenet.SPLITS, "cifar10": cifar10.SPLITS}
# Versions of TensorFlow Datasets whose layout is written.
TFDS_DIRECTORIES = {"imagenet": "imagenet2012/5.1.0", "cifar10": "cifar10/3.0.2"}
EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif")
# The release's scripts and TensorFlow Datasets shuffle what they write, too.
SHUFFLE_SEED = 12301
JPEG_QUALITY = 95


def convert(from_folder, to, dataset, output_dir, split="train", num_shards=1, threads=4, log=print):
    """Writes a split.

    Args:
        from_folder: directory with a folder of pictures for each class.
        to: one of `FORMATS[dataset]`.
        dataset: "imagenet" or "cifar10".
        output_dir: directory, may hold other splits of the same classes.
        split: one of `SPLITS[dataset]`.
        num_shards: int, files of a split, where the format leaves the choice.
        threads: int, files that are made at the same time.
        log: called with lines of text.

    Returns:
        Paths of the files.

    Raises:
        ValueError: if the pictures or the arguments do not fit the format, or `output_dir` holds something else.
        OSError: if a picture cannot be read, or a file cannot be written.
    """
    _check_choice("dataset", dataset, FORMATS)
    _check_choice("to", to, FORMATS[dataset])
    _check_choice("split_name", split, SPLITS[dataset])
    classes, examples = list_examples(from_folder)
    limit = imagenet.NUM_CLASSES - 1 if dataset == "imagenet" else cifar10.NUM_CLASSES
    if len(classes) > limit:
        raise ValueError(f"{from_folder} holds {len(classes)} class folders; {dataset} has {limit} classes.")
    names = _file_names(to, dataset, split, num_shards)
    if len(examples) < len(names):
        raise ValueError(f"{len(examples)} pictures cannot fill {len(names)} files. Give a lower --num_shards.")
    random.Random(SHUFFLE_SEED).shuffle(examples)
    parts = [examples[number :: len(names)] for number in range(len(names))]
    _check_plan(output_dir, dataset, split, classes, [to, names, parts])
    paths = [os.path.join(output_dir, name) for name in names]
    _write_all(paths, parts, _writer(to, dataset), threads, log)
    if to == "tfds":
        _write_tfds_metadata(os.path.dirname(paths[0]), dataset, classes)
    return paths


def list_examples(from_folder):
    """Returns the sorted names of the class folders and a list of `(path, class number from 0)`."""
    if not os.path.isdir(from_folder):
        raise FileNotFoundError(f"There is no directory {from_folder}. Give --from_folder one of class folders.")
    classes = sorted(entry.name for entry in os.scandir(from_folder) if entry.is_dir())
    examples = []
    for number, name in enumerate(classes):
        folder = os.path.join(from_folder, name)
        pictures = sorted(file for file in os.listdir(folder) if file.lower().endswith(EXTENSIONS))
        examples += [(os.path.join(folder, file), number) for file in pictures]
    if not examples:
        raise ValueError(
            f"{from_folder} holds no pictures in class folders, such as {os.path.join(from_folder, 'cat', '1.jpg')}. "
            f"Files are pictures that end in {', '.join(EXTENSIONS)}."
        )
    return classes, examples


def _check_choice(name, value, choices):
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {tuple(choices)}. Received: {name}={value!r}")


def _file_names(to, dataset, split, num_shards):
    if num_shards < 1:
        raise ValueError(f"`num_shards` must be at least 1. Received: num_shards={num_shards!r}")
    if to in ("cifar_binary", "cifar_python"):
        directory = cifar10.BINARY_DIRECTORY if to == "cifar_binary" else cifar10.PYTHON_DIRECTORY
        ending = ".bin" if to == "cifar_binary" else ""
        return [os.path.join(directory, name + ending) for name in cifar10.BATCHES[split]]
    if to == "tfrecord" and dataset == "cifar10":
        return [f"cifar10_{split}.tfrecord"]
    name = split
    if to == "tfds":
        directory = TFDS_DIRECTORIES[dataset]
        name = f"{directory}/{directory.split('/')[0]}-{split}.tfrecord"
    return [f"{name}-{number:05d}-of-{num_shards:05d}" for number in range(num_shards)]


def _check_plan(output_dir, dataset, split, classes, plan):
    """Raises unless the directory is new, or begun with the same pictures and the same numbers of the classes."""
    os.makedirs(output_dir, exist_ok=True)
    pictures = [[path, label, os.path.getsize(path)] for part in plan[2] for path, label in part]
    fingerprint = hashlib.sha256(json.dumps([plan[:2], pictures]).encode()).hexdigest()
    for name, content in ((f"{dataset}_classes.txt", "\n".join(classes)), (f".{dataset}_{split}.plan", fingerprint)):
        path = os.path.join(output_dir, name)
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                if file.read() != content:
                    raise ValueError(
                        f"{output_dir} holds other classes or pictures than these ({name}). Give another --output_dir."
                    )
        else:
            write_atomically(path, [content.encode()])


def _write_all(paths, parts, writer, threads, log):
    """Writes the files that are missing, several at a time."""
    missing = [(path, part) for path, part in zip(paths, parts, strict=True) if not os.path.exists(path)]
    if len(missing) < len(paths):
        log(f"{len(paths) - len(missing)} of {len(paths)} files are there already")

    def write(path, part):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        write_atomically(path, writer(part))

    done = 0
    with concurrent.futures.ThreadPoolExecutor(threads) as executor:
        futures = [executor.submit(write, *file) for file in missing]
        try:
            for future in concurrent.futures.as_completed(futures):
                future.result()
                done += 1
                log(f"{len(paths) - len(missing) + done}/{len(paths)} files written")
        except BaseException:
            executor.shutdown(cancel_futures=True)
            raise


def _writer(to, dataset):
    """Function from examples to the pieces of a file."""
    if to == "cifar_binary":
        return lambda part: (bytes([label]) + read_cifar(path).transpose(2, 0, 1).tobytes() for path, label in part)
    if to == "cifar_python":
        return lambda part: [
            python_batch(np.stack([read_cifar(path) for path, _ in part]), [label for _, label in part])
        ]
    serialize = {
        ("tfrecord", "imagenet"): _imagenet_example,
        ("tfds", "imagenet"): _tfds_imagenet_example,
        ("tfrecord", "cifar10"): _cifar_example,
        ("tfds", "cifar10"): _tfds_cifar_example,
    }[to, dataset]
    return lambda part: (frame(serialize(path, label)) for path, label in part)


def _imagenet_example(path, label):
    encoded, width, height = read_jpeg(path)
    return _example(
        {
            imagenet.IMAGE: encoded,
            imagenet.LABEL: label + 1,
            "image/height": height,
            "image/width": width,
            "image/colorspace": b"RGB",
            "image/channels": 3,
            "image/format": b"JPEG",
            "image/filename": os.path.basename(path).encode(),
            "image/class/text": os.path.basename(os.path.dirname(path)).encode(),
        }
    )


def _tfds_imagenet_example(path, label):
    return _example({"image": read_jpeg(path)[0], "label": label, "file_name": os.path.basename(path).encode()})


def _cifar_example(path, label):
    height, width, _ = (picture := read_cifar(path)).shape
    facts = {"image/height": height, "image/width": width, "image/format": b"png"}
    return _example({"image/encoded": _png(picture), "image/class/label": label, **facts})


def _tfds_cifar_example(path, label):
    return _example({"image": _png(read_cifar(path)), "label": label, "id": os.path.basename(path).encode()})


def _example(values):
    """Serializes bytes and ints as a `tf.train.Example`."""
    import tensorflow as tf

    features = {}
    for name, value in values.items():
        if isinstance(value, bytes):
            features[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        else:
            features[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def _open(path):
    """The picture of a file, read to its end; OSError that names the file if it is none."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            picture.load()
            return picture
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise OSError(f"{path} cannot be read as a picture: {error}. Remove or replace it.") from error


def read_jpeg(path):
    """Returns a picture as the bytes of an RGB or grey JPEG, those of the file if it is one, its width and height."""
    picture = _open(path)
    if picture.format == "JPEG" and picture.mode in ("RGB", "L"):
        with open(path, "rb") as file:
            return file.read(), *picture.size
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue(), *picture.size


def read_cifar(path):
    """Returns a picture as uint8 `(32, 32, 3)`, made smaller or larger if it has another size."""
    from PIL import Image

    picture, size = _open(path).convert("RGB"), (cifar10.IMAGE_SIZE, cifar10.IMAGE_SIZE)
    return np.asarray(picture if picture.size == size else picture.resize(size, Image.Resampling.LANCZOS))


def _png(picture):
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def python_batch(pictures, labels):
    """A file of CIFAR-10's Python version: the instructions, written one by one, of Python 2's pickle protocol 2.

    Args:
        pictures: uint8 `(examples, 32, 32, 3)`.
        labels: list of ints from 0 to 9.

    Returns:
        bytes.
    """

    def text(value):
        return b"U" + bytes([len(value)]) + value

    def array(rows):
        pixels = rows.tobytes()
        start = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
        shape = b"(K\x01" + struct.pack("<cici", b"J", rows.shape[0], b"J", rows.shape[1]) + b"\x86"
        dtype = b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R"
        dtype_state = b"(K\x03" + text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        return start + shape + dtype + dtype_state + b"\x89T" + struct.pack("<i", len(pixels)) + pixels + b"tb"

    rows = np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)).reshape(len(pictures), cifar10.PIXELS)
    numbers = b"".join(b"K" + bytes([label]) for label in labels)
    content = text(b"data") + array(rows) + text(b"labels") + b"](" + numbers + b"e"
    return b"\x80\x02}(" + content + b"u."


def _write_tfds_metadata(directory, dataset, classes):
    """Writes what TensorFlow Datasets needs to read the files, too."""
    import tensorflow_datasets as tfds

    # All classes of the original set have a number; only those at hand have a name.
    num_classes = imagenet.NUM_CLASSES - 1 if dataset == "imagenet" else cifar10.NUM_CLASSES
    names = [*classes, *(f"unused_{number}" for number in range(len(classes), num_classes))]
    label = tfds.features.ClassLabel(names=names)
    if dataset == "imagenet":
        image = tfds.features.Image(encoding_format="jpeg")
        features = {"image": image, "label": label, "file_name": tfds.features.Text()}
    else:
        image = tfds.features.Image(shape=(32, 32, 3), encoding_format="png")
        features = {"id": tfds.features.Text(), "image": image, "label": label}
    tfds.folder_dataset.write_metadata(
        data_dir=directory,
        features=tfds.features.FeaturesDict(features),
        filename_template="{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
        check_data=False,
    )


def main(argv):
    """Flags to one call; a mistake ends in a sentence."""
    if len(argv) > 1:
        raise app.UsageError(f"Arguments are given as --flag=value. Received: {' '.join(argv[1:])}")
    try:
        paths = convert(
            FLAGS.from_folder,
            FLAGS.to,
            FLAGS.dataset,
            FLAGS.output_dir,
            FLAGS.split_name,
            FLAGS.num_shards,
            FLAGS.threads,
        )
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    print(f"{len(paths)} files: {paths[0]}{' ...' if len(paths) > 1 else ''}")


if __name__ == "__main__":
    flags.DEFINE_string("from_folder", None, "Directory with a folder of pictures for each class.", required=True)
    flags.DEFINE_string("to", "tfrecord", "tfrecord (as the release reads it), tfds, cifar_binary or cifar_python.")
    flags.DEFINE_string("dataset", "imagenet", "imagenet or cifar10.")
    flags.DEFINE_string("output_dir", None, "Directory for the data set, the --dataset_dir of train.py.", required=True)
    flags.DEFINE_string("split_name", "train", "train, validation (imagenet), test (cifar10).")
    flags.DEFINE_integer("num_shards", 1, "Files of a split, where the format leaves the choice.")
    flags.DEFINE_integer("threads", os.cpu_count() or 1, "Files that are made at the same time.")
    app.run(main)
