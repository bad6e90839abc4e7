"""A network as a SavedModel, which needs TensorFlow alone: no Keras, none of this package, no custom operation."""

import tempfile

import keras
import tensorflow as tf

from sact_tf import flops, sparse
from sact_tf.checkpoints import named_variables
from sact_tf.tasks import task_of

_IMAGES = tf.TensorSpec((None, None, None, 3), tf.float32, name="images")


def save(model, directory, engine, dataset, image_size, labels=None, log=None):
    """Writes a model as a SavedModel with the signatures of its task and one for images.

    `serving_default` takes `images`, float32 `(batch, height, width, 3)` of any size, as the network takes them
    ([-1, 1], or standardized each by itself for CIFAR-10), and of a detector `image_size`, int32 `(batch, 2)`, height
    and width of the picture in each. It returns the flat dict of the model with `flops` and `<block>/flops`, int64
    `(batch,)`.

    The others take files as they are; see `sact_tf.tasks.classify_jpeg.signatures` and
    `sact_tf.tasks.detect_jpeg.signatures`.

    Args:
        model: for images of any size.
        directory: where to; an existing one is written into.
        engine: "sparse" computes active positions only, "masked" is the model itself.
        dataset: a key of `sact_tf.config.DATASETS`, whose evaluation prepares the JPEGs.
        image_size: int, height and width that JPEGs are brought to; of a detector, the shorter side.
        labels: list of texts that the task read, or None.
        log: called with a line of text before each part of the work, or None.

    Raises:
        ValueError: if the images would be too small for the network.
    """
    log = log or (lambda text: None)
    least = model.backbone.minimum_size
    if image_size < least:
        raise ValueError(
            f"`image_size`, to which the SavedModel brings files, must be at least {least} for this network. Received: "
            f"image_size={image_size}"
        )
    with tempfile.TemporaryDirectory() as temporary:
        task = task_of(dataset)
        predict = _predictor(model, engine, task)
        others, resources = task.signatures(model, predict, dataset, image_size, labels, temporary)
        functions = {"serving_default": predict, **others}
        signatures = {}
        for name, function in functions.items():
            log(f"Tracing {name}")
            signatures[name] = function.get_concrete_function()
        module = tf.Module()
        # Whatever the graphs read, and nothing else of the model: no optimizer, no Keras objects.
        module.weights = _variables(signatures.values())
        module.resources = resources
        log("Writing the SavedModel")
        tf.saved_model.save(module, directory, signatures)


def _predictor(model, engine, task):
    """`tf.function` from images, and whatever else the task's models are called on, to the model's dict with FLOPs.

    Its errors name what is wrong with the inputs.
    """
    forward = sparse.compile(model) if engine == "sparse" else _masked(model)
    others = getattr(task, "SERVED_INPUTS", ())

    @tf.function(input_signature=[_IMAGES, *others], autograph=False)
    def predict(images, *rest):
        inputs = _checked(images, model.backbone.minimum_size)
        outputs = dict(forward(task.served_inputs(model, inputs, *rest) if others else inputs))
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

    def forward(inputs):
        with keras.StatelessScope(state_mapping=frozen):
            return model(inputs, training=False)

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


def _variables(functions):
    """The variables that concrete functions read, each once."""
    return list({variable.ref(): variable for function in functions for variable in function.graph.variables}.values())
