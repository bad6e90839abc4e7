"""A network as a SavedModel, which needs TensorFlow alone: no Keras, none of this package, no custom operation."""

import os
import tempfile

import keras
import tensorflow as tf

from sact_tf import flops, sparse, visualize
from sact_tf.checkpoints import named_variables
from sact_tf.data import decoding, pipeline, preprocessing
from sact_tf.models.backbone import check_image_shape

# How many classes `classify_jpeg` names.
TOP = 5
LABELS_FILE = "labels.txt"
_IMAGES = tf.TensorSpec((None, None, None, 3), tf.float32, name="images")
_JPEGS = tf.TensorSpec((None,), tf.string, name="jpegs")


def save(model, directory, engine, dataset, image_size, labels=None, log=None):
    """Writes a `Classifier` as a SavedModel with two signatures.

    `serving_default` takes `images`, float32 `(batch, height, width, 3)` of any size, as the network takes them
    ([-1, 1], or standardized each by itself for CIFAR-10), and returns the flat dict of the model with `flops` and
    `<block>/flops`, int64 `(batch,)`.

    `classify_jpeg` takes `jpegs`, string `(batch,)`, the bytes of JPEG (also PNG, WebP, GIF, BMP) files of any sizes,
    turns those upright whose EXIF data asks for it, prepares them as evaluation does, and returns `classes` int32 and
    `scores` float32 `(batch, 5)`, best first, `labels` string `(batch, 5)` if there are any, `flops` int64 `(batch,)`,
    and what halting cost: for SACT `ponder_map` float32 `(batch, image_size, image_size)`, the sum over blocks (see
    `visualize.ponder_map`), for ACT `ponder_cost` float32 `(batch,)`.

    TensorFlow decodes the files: orientations that stand in XMP data alone are not obeyed, of a GIF the first picture
    is taken without the canvas around it, CMYK without Adobe's marker counts as not inverted, and animated WebP, TIFF,
    AVIF and BMP of other than 8, 24 or 32 bits are errors.

    Args:
        model: `Classifier` for images of any size.
        directory: where to; an existing one is written into.
        engine: "sparse" computes active positions only, "masked" is the model itself.
        dataset: a key of `sact_tf.config.DATASETS`, whose evaluation prepares the JPEGs.
        image_size: int, height and width that JPEGs are brought to.
        labels: list of `num_classes` texts, or None.
        log: called with a line of text before each part of the work, or None.

    Raises:
        ValueError: if the images would be too small for the network.
    """
    log = log or (lambda text: None)
    check_image_shape((image_size, image_size, 3), model.backbone.minimum_size)
    with tempfile.TemporaryDirectory() as temporary:
        table = _label_table(labels, temporary)
        predict = _predictor(model, engine)
        functions = {
            "serving_default": predict,
            "classify_jpeg": _classifier(model, predict, dataset, image_size, table),
        }
        signatures = {}
        for name, function in functions.items():
            log(f"Tracing {name}")
            signatures[name] = function.get_concrete_function()
        module = tf.Module()
        # Whatever the graphs read, and nothing else of the model: no optimizer, no Keras objects.
        module.weights = _variables(signatures.values())
        module.label_table = table
        log("Writing the SavedModel")
        tf.saved_model.save(module, directory, signatures)


def _predictor(model, engine):
    """`tf.function` from images to the model's dict with FLOPs, whose errors name what is wrong with the images."""
    forward = sparse.compile(model) if engine == "sparse" else _masked(model)

    @tf.function(input_signature=[_IMAGES])
    def predict(images):
        outputs = dict(forward(_checked(images, model.backbone.minimum_size)))
        return {**outputs, **flops.count(model, outputs)}

    return predict


def _masked(model):
    """The Keras model as it is, on copies of its variables that nobody can train any more.

    Variables, not constants of the graph: with those a ResNet-50 was twice as large on disk (one copy a signature),
    took 2.9 times as long to load and 8 times the memory, and answered no faster.
    """
    frozen = [
        (variable, tf.Variable(variable.value, trainable=False, name=name))
        for name, variable in named_variables(model).items()
    ]

    def forward(images):
        with keras.StatelessScope(state_mapping=frozen):
            return model(images, training=False)

    return forward


def _checked(images, minimum_size):
    """Images, or TensorFlow's InvalidArgumentError: a server hands over any shape, whatever the signature says."""
    images = tf.ensure_shape(images, _IMAGES.shape)
    shape = tf.shape(images)
    checks = [
        tf.debugging.Assert(shape[0] > 0, ["The batch has no images. Shape:", shape]),
        tf.debugging.Assert(
            tf.reduce_min(shape[1:3]) >= minimum_size,
            [f"Images must be at least {minimum_size} pixels high and wide; enlarge them. Shape:", shape],
        ),
    ]
    with tf.control_dependencies(checks):
        return tf.identity(images)


def _classifier(model, predict, dataset, image_size, table):
    """`tf.function` from encoded images to classes, scores and costs."""
    prepare = _preparation(dataset, image_size)
    prepared = tf.TensorSpec((image_size, image_size, 3), tf.float32)

    @tf.function(input_signature=[_JPEGS])
    def classify_jpeg(jpegs):
        images = tf.map_fn(prepare, tf.ensure_shape(jpegs, _JPEGS.shape), fn_output_signature=prepared)
        outputs = predict(images)
        scores, classes = tf.math.top_k(outputs["predictions"], min(TOP, model.num_classes))
        answer = {"classes": classes, "scores": scores, "flops": outputs["flops"]}
        if table is not None:
            answer["labels"] = table.lookup(tf.cast(classes, tf.int64))
        return {**answer, **_costs(model.backbone.model_type, outputs, image_size)}

    return classify_jpeg


def _costs(model_type, outputs, image_size):
    if model_type == "vanilla":
        return {}
    if model_type == "sact":
        return {"ponder_map": visualize.ponder_map(outputs, (image_size, image_size))}
    return {"ponder_cost": tf.add_n([cost for name, cost in outputs.items() if name.endswith("/ponder_cost")])}


def _preparation(dataset, image_size):
    """Function from the bytes of one image to what the network takes, as evaluation on `dataset` has it."""
    if dataset == "imagenet":
        return lambda encoded: preprocessing.central_image(_decode(encoded), image_size)
    standardize = preprocessing.cifar_evaluation_image if dataset == "cifar10" else pipeline.to_unit_range

    def prepare(encoded):
        # The images of these data sets have the right size; those leave `resize` as they were.
        return standardize(preprocessing.resize(_decode(encoded), image_size, "bilinear"))

    return prepare


def _decode(encoded):
    return decoding.upright(preprocessing.decode_image(encoded), encoded)


def _label_table(labels, directory):
    """Table from classes to texts, whose file becomes an asset of the SavedModel; None without labels."""
    if labels is None:
        return None
    path = os.path.join(directory, LABELS_FILE)
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(f"{label}\n" for label in labels)
    lines = tf.lookup.TextFileInitializer(
        path, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE
    )
    return tf.lookup.StaticHashTable(lines, default_value="")


def _variables(functions):
    """The variables that concrete functions read, each once."""
    return list({variable.ref(): variable for function in functions for variable in function.graph.variables}.values())
