"""A checkpoint as a function from images to everything that its network says of them, FLOPs included."""

import tensorflow as tf

from sact_tf import checkpoints, flops, sparse
from sact_tf.models.build import build_model


def load_model(config):
    """The `Classifier` of a checkpoint, for images of any size.

    Args:
        config: has `model` (`ModelConfig`), `checkpoint_dir` and `use_moving_average`.

    Raises:
        FileNotFoundError, ValueError: as `sact_tf.load_release_checkpoint`.
    """
    model = build_model(config.model)
    checkpoints.load_release_checkpoint(model, config.checkpoint_dir)
    if config.use_moving_average:
        checkpoints.load_averages(model, config.checkpoint_dir)
    return model


def predictor(model, engine):
    """`tf.function` from images, float32 `(batch, height, width, 3)` of any size, to the model's dict with FLOPs.

    Args:
        model: `Classifier` for images of any size.
        engine: "sparse" computes active positions only, "masked" is the model itself.
    """
    forward = sparse.compile(model) if engine == "sparse" else model

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.float32)])
    def predict(images):
        outputs = dict(forward(images))
        return {**outputs, **flops.count(model, outputs)}

    return predict
