"""What a detector finds on one photograph, and what it spends on it."""

import functools
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from sact_tf import flops, sparse, visualize
from sact_tf.data.padding import bucketed, pad_images
from sact_tf.data.photographs import prepare
from sact_tf.tasks.detect_jpeg import BUCKET

_SIZES = tf.TensorSpec((1, 2), tf.int32)
_SIGNATURE = {
    "images": tf.TensorSpec((1, None, None, 3), tf.float32),
    "image_size": _SIZES,
    "original_size": _SIZES,
}


class Found(NamedTuple):
    """What a detector finds on one photograph, and what it spends.

    Attributes:
        boxes: float32 array `(boxes, 4)`, ymin, xmin, ymax, xmax in pixels of the file, best first.
        scores: float32 array `(boxes,)`.
        classes: int32 array `(boxes,)`, from 1.
        ponder_map: float32 array `(height, width)` of the resized photograph, in residual units; None where nothing
            decides by position.
        flops: int, the extractor's.
        most_flops: int, what it would be if no position halted early.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    ponder_map: np.ndarray | None
    flops: int
    most_flops: int


def predictor(model, engine):
    """Function from a detector's inputs, of one photograph of any size, to its outputs with the extractor's FLOPs.

    Args:
        model: `FasterRCNN`.
        engine: "sparse" computes active positions only, "masked" is the model itself.
    """
    forward = sparse.compile(model) if engine == "sparse" else functools.partial(model, training=False)

    def predict(inputs):
        outputs = dict(forward(inputs))
        # The features are the bulk of it, and nobody looks at them.
        kept = {name: value for name, value in outputs.items() if name not in model.blocks}
        return {**kept, **flops.count(model, outputs)}

    return tf.function(predict, input_signature=[_SIGNATURE], autograph=False)


def inputs_of_photograph(image, original_size, dataset):
    """What `predictor`'s function takes of one photograph: padded, so that each position of a map is as many pixels.

    Args:
        image: float32 `(height, width, 3)` in [0, 1], resized.
        original_size: ints `(2,)`, height and width of the file, in whose pixels the boxes are to be.
        dataset: a key of `sact_tf.config.DATASETS`, as the network was trained on.
    """
    height, width = image.shape[:2]
    padded = [bucketed(side, BUCKET) for side in (height, width)]
    return {
        "images": pad_images(tf.convert_to_tensor(prepare(image, dataset)), padded)[None],
        "image_size": tf.constant([[height, width]]),
        "original_size": tf.constant([[*original_size]]),
    }


def find(model, predict, image, original_size, dataset):
    """What a detector finds on one photograph.

    Args:
        model: `FasterRCNN`.
        predict: function of `predictor`.
        image, original_size, dataset: as of `inputs_of_photograph`.

    Returns:
        `Found`.
    """
    height, width = image.shape[:2]
    inputs = inputs_of_photograph(image, original_size, dataset)
    outputs = predict(inputs)
    count = int(outputs["num_detections"][0])
    ponder_map = None
    if model.backbone.model_type == "sact":
        ponder_map = visualize.ponder_map(outputs, inputs["images"].shape[1:3])[0, :height, :width].numpy()
    return Found(
        *(outputs[name][0, :count].numpy() for name in ("boxes", "scores", "classes")),
        ponder_map,
        int(outputs["flops"][0]),
        int(flops.count_most(model, outputs)["flops"][0]),
    )
