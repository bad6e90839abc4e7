"""Classes of files of pictures: what a SavedModel of a classifier answers to, besides images."""

import tensorflow as tf

from sact_tf.data import preprocessing
from sact_tf.tasks.served_files import costs, decode, label_table

# How many classes `classify_jpeg` names.
TOP = 5
_JPEGS = tf.TensorSpec((None,), tf.string, name="jpegs")


def signatures(model, predict, dataset, image_size, labels, directory):
    """`classify_jpeg`: classes of files of pictures.

    It takes `jpegs`, string `(batch,)`, the bytes of JPEG (also PNG, WebP, GIF, BMP) files of any sizes, turns those
    upright whose EXIF data asks for it, prepares them as evaluation does, and returns `classes` int32 and `scores`
    float32 `(batch, 5)`, best first, `labels` string `(batch, 5)` if there are any, `flops` int64 `(batch,)`, and what
    halting cost: for SACT `ponder_map` float32 `(batch, image_size, image_size)`, the sum over blocks (see
    `visualize.ponder_map`), for ACT `ponder_cost` float32 `(batch,)`.

    TensorFlow decodes the files: orientations that stand in XMP data alone are not obeyed, of a GIF the first picture
    is taken without the canvas around it, CMYK without Adobe's marker counts as not inverted, and animated WebP, TIFF,
    AVIF and BMP of other than 8, 24 or 32 bits are errors.

    Args:
        model: `Classifier` for images of any size.
        predict: `tf.function` from images to the model's dict with FLOPs.
        dataset: a key of `sact_tf.config.DATASETS`, whose evaluation prepares the JPEGs.
        image_size: int, height and width that JPEGs are brought to.
        labels: list of `num_classes` texts, or None.
        directory: where a file may be written that becomes an asset of the SavedModel.

    Returns:
        `(functions, resources)`: dict from a signature's name to a `tf.function`, and what has to be saved with them.
    """
    table = label_table(labels, directory)
    return {"classify_jpeg": _classifier(model, predict, dataset, image_size, table)}, {"label_table": table}


def _classifier(model, predict, dataset, image_size, table):
    """`tf.function` from encoded images to classes, scores and costs."""
    prepared = tf.TensorSpec((image_size, image_size, 3), tf.float32)

    def prepare(encoded):
        return preprocessing.evaluation_image(decode(encoded), dataset, image_size)

    @tf.function(input_signature=[_JPEGS], autograph=False)
    def classify_jpeg(jpegs):
        images = tf.map_fn(prepare, tf.ensure_shape(jpegs, _JPEGS.shape), fn_output_signature=prepared)
        outputs = predict(images)
        scores, classes = tf.math.top_k(outputs["predictions"], min(TOP, model.num_classes))
        answer = {"classes": classes, "scores": scores, "flops": outputs["flops"]}
        if table is not None:
            answer["labels"] = table.lookup(tf.cast(classes, tf.int64))
        return {**answer, **costs(model, outputs, (image_size, image_size))}

    return classify_jpeg
