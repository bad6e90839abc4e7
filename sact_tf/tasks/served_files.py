"""What every SavedModel does that takes files of pictures: decode them, name classes, say what halting cost."""

import os

import tensorflow as tf

from sact_tf import visualize
from sact_tf.data import decoding, preprocessing

LABELS_FILE = "labels.txt"


def decode(encoded):
    """Bytes of a JPEG, PNG, WebP, GIF or BMP to uint8 `(height, width, 3)`, upright as its EXIF data says."""
    return decoding.upright(preprocessing.decode_image(encoded), encoded)


def label_table(labels, directory):
    """Table from lines to texts, whose file becomes an asset of the SavedModel; None without labels.

    Args:
        labels: list of texts, or None.
        directory: where the file is written.

    Returns:
        `tf.lookup.StaticHashTable` from int64, from 0 on, to string; the empty text for any other number.
    """
    if labels is None:
        return None
    path = os.path.join(directory, LABELS_FILE)
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{label}\n" for label in labels)
    lines = tf.lookup.TextFileInitializer(
        path, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE
    )
    return tf.lookup.StaticHashTable(lines, default_value="")


def costs(model, outputs, image_shape):
    """What halting cost on each image, as far as the network decides anything.

    Args:
        model: with a `backbone`.
        outputs: its dict.
        image_shape: `(height, width)` of its images.

    Returns:
        dict: of SACT `ponder_map`, float32 `(batch, height, width)`, the sum over blocks (see
        `visualize.ponder_map`); of ACT `ponder_cost`, float32 `(batch,)`; empty for a plain network.
    """
    model_type = model.backbone.model_type
    if model_type == "vanilla":
        return {}
    if model_type == "sact":
        return {"ponder_map": visualize.ponder_map(outputs, image_shape)}
    return {"ponder_cost": tf.add_n([cost for name, cost in outputs.items() if name.endswith("/ponder_cost")])}
