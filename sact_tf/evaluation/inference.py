"""A checkpoint as a function from images to everything that its network says of them, FLOPs included."""

import contextlib

import tensorflow as tf

from sact_tf import checkpoints, flops, sparse
from sact_tf.tasks import task_of

_IMAGES = tf.TensorSpec((None, None, None, 3), tf.float32)


def load_model(config, image_size=None, strategy=None):
    """The model of a checkpoint, which is looked for once: a run may save its next one while this reads.

    Args:
        config: `CheckpointConfig`.
        image_size: int, height and width of the images in pixels; None for any.
        strategy: `tf.distribute.Strategy` whose replicas share the weights; None for one device.

    Raises:
        FileNotFoundError, ValueError: as `sact_tf.load_release_checkpoint`.
    """
    prefix = checkpoints.checkpoint_prefix(config.checkpoint_dir)
    with strategy.scope() if strategy else contextlib.nullcontext():
        model = task_of(config.dataset).build_model(config.model, image_size)
    checkpoints.load(model, prefix)
    if config.use_moving_average:
        checkpoints.load_averages(model, prefix)
    return model


def predictor(model, engine, strategy=None):
    """Function from images, float32 `(batch, height, width, 3)` of any size, to the model's dict with FLOPs.

    Args:
        model: for images of any size.
        engine: "sparse" computes active positions only, "masked" is the model itself.
        strategy: as in `over_replicas`.
    """
    forward = sparse.compile(model) if engine == "sparse" else model

    def predict(images):
        outputs = dict(forward(images))
        return {**outputs, **flops.count(model, outputs)}

    return over_replicas(predict, strategy, input_signature=[_IMAGES])


def over_replicas(function, strategy=None, **options):
    """A `tf.function` of a batch of images, of which each replica computes its part.

    Args:
        function: from images `(batch, height, width, 3)`, or a dict of such and of what belongs to them, to a dict of
            tensors whose first axis is the batch.
        strategy: `tf.distribute.Strategy`; None, or one of a single replica, for one device.
        **options: of `tf.function`, for one device.

    Returns:
        Function with the results of `function`, whatever the number of replicas.
    """
    replicas = strategy.num_replicas_in_sync if strategy else 1
    if replicas == 1:
        # Without AutoGraph, which would look through all of Keras for Python to convert: a third of the tracing.
        return tf.function(function, autograph=False, **options)

    @tf.function(reduce_retracing=True, autograph=False)
    def run(parts):
        # Not a `tf.function` of its own: a signature would be compared with the parts of all replicas together.
        return strategy.run(function, args=(parts,))

    def compute(images):
        count = len(tf.nest.flatten(images)[0])
        # Every replica gets as many; the last batch is filled up with images that are computed twice and cut off.
        share = -(-count // replicas)
        filled = tf.range(share * replicas) % count

        def part(context):
            rows = filled[context.replica_id_in_sync_group * share :][:share]
            return tf.nest.map_structure(lambda each: tf.gather(each, rows), images)

        parts = strategy.experimental_distribute_values_from_function(part)
        outputs = run(parts)
        return {
            name: tf.concat(strategy.experimental_local_results(value), axis=0)[:count]
            for name, value in outputs.items()
        }

    return compute
