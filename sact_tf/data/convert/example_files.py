"""From a picture to an example in each of the formats that a conversion writes."""

import io
import os
from typing import NamedTuple

import numpy as np
from PIL import Image

from sact_tf.data import cifar10, imagenet, pictures
from sact_tf.data.class_names import escaped
from sact_tf.data.convert import cifar_files
from sact_tf.data.records import frame

JPEG_QUALITY = 95
# What libjpeg writes, in pixels.
MAX_JPEG_SIZE = 65500
# Versions of TensorFlow Datasets whose layout is written.
TFDS_DIRECTORIES = {"imagenet": "imagenet2012/5.1.0", "cifar10": "cifar10/3.0.2"}


class Format(NamedTuple):
    """How a file of examples is made.

    Attributes:
        encode: function from the path of a picture, the number of its class from 0 and its name to one example;
            raises `BadPicture`.
        assemble: function from an iterable of examples to one of the pieces of the file, bytes.
    """

    encode: callable
    assemble: callable


def read_jpeg(path):
    """Returns a picture as the bytes of an RGB or grey JPEG, its width and height.

    They are those of the file if it is such a JPEG, stands upright and can be decoded by TensorFlow, which will have to
    in training.
    """
    with pictures.opened(path) as picture:
        if picture.format == "JPEG" and picture.mode in ("RGB", "L") and pictures.orientation(picture) == 1:
            with open(path, "rb") as file:
                encoded = file.read()
            if _is_whole_jpeg(encoded):
                return encoded, *picture.size
        if max(picture.size) > MAX_JPEG_SIZE:
            raise pictures.BadPicture(
                f"it is {picture.width} pixels wide and {picture.height} high, and a JPEG has at most {MAX_JPEG_SIZE} "
                "each way. Make it smaller"
            )
        pixels = pictures.pixels_of(picture)
    return _encoded(pixels, "JPEG", quality=JPEG_QUALITY), pixels.shape[1], pixels.shape[0]


def read_cifar(path):
    """Returns a picture as uint8 `(32, 32, 3)`, made smaller or larger if it has another size."""
    picture, size = Image.fromarray(pictures.read_picture(path)), (cifar10.IMAGE_SIZE, cifar10.IMAGE_SIZE)
    return np.asarray(picture if picture.size == size else picture.resize(size, Image.Resampling.LANCZOS))


def _is_whole_jpeg(encoded):
    import tensorflow as tf

    try:
        tf.io.decode_jpeg(encoded, channels=3)
        return True
    except tf.errors.OpError:
        return False


def _encoded(pixels, form, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()


def _imagenet_example(path, label, class_name):
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
            "image/filename": _name(path),
            "image/class/text": os.fsencode(class_name),
        }
    )


def _tfds_imagenet_example(path, label, class_name):
    return _example({"image": read_jpeg(path)[0], "label": label, "file_name": _name(path)})


def _cifar_example(path, label, class_name):
    height, width, _ = (picture := read_cifar(path)).shape
    facts = {"image/height": height, "image/width": width, "image/format": b"png"}
    return _example({"image/encoded": _encoded(picture, "PNG"), "image/class/label": label, **facts})


def _tfds_cifar_example(path, label, class_name):
    return _example({"image": _encoded(read_cifar(path), "PNG"), "label": label, "id": _name(path)})


def _name(path):
    return os.fsencode(os.path.basename(path))


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


def _records(encode):
    return Format(encode, lambda examples: map(frame, examples))


def _python_batch(examples):
    rows, labels = zip(*examples, strict=True)
    yield cifar_files.python_batch(np.stack(rows), list(labels))


FORMATS = {
    "imagenet": {"tfrecord": _records(_imagenet_example), "tfds": _records(_tfds_imagenet_example)},
    "cifar10": {
        "tfrecord": _records(_cifar_example),
        "tfds": _records(_tfds_cifar_example),
        "cifar_binary": Format(lambda path, label, _: cifar_files.binary_example(read_cifar(path), label), iter),
        "cifar_python": Format(lambda path, label, _: (read_cifar(path), label), _python_batch),
    },
}


def write_tfds_metadata(directory, dataset, classes):
    """Writes what TensorFlow Datasets needs to read the files, too."""
    import tensorflow_datasets as tfds

    # All classes of the original set have a number; only those at hand have a name.
    num_classes = imagenet.NUM_CLASSES - 1 if dataset == "imagenet" else cifar10.NUM_CLASSES
    names = [*map(escaped, classes), *(f"unused_{number}" for number in range(len(classes), num_classes))]
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
