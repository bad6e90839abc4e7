"""What TensorBoard shows beside numbers: heat maps and distributions."""

import tensorflow as tf

from sact_tf import flops
from sact_tf.visualize import maps

NUM_IMAGES = 5


def write_pictures(model, images, outputs):
    """Writes heat maps of the first images with the default summary writer; nothing but for SACT.

    Tags: `Heat Map/ponder_cost` and `Heat Map/num_units`, see `heat_map`.

    Args:
        model: `Classifier`.
        images: float `(batch, height, width, 3)` as the network takes them.
        outputs: dict that the model returned for them.
    """
    if model.backbone.model_type != "sact":
        return
    for figure in maps.FIGURES:
        pictures = maps.heat_map(images, outputs, figure, NUM_IMAGES)
        tf.summary.image(f"Heat Map/{figure}", pictures, max_outputs=NUM_IMAGES)


def write_distributions(model, outputs):
    """Writes histograms with the default summary writer: executed units of each block, and FLOPs of the images.

    Tags: `<block>/num_units`, per position for SACT and per image for ACT, and `Total Flops`; nothing for a plain
    network, which has one value of each.

    Args:
        model: `Classifier`.
        outputs: dict that the model returned.
    """
    if model.backbone.model_type == "vanilla":
        return
    for name in model.blocks:
        tf.summary.histogram(f"{name}/num_units", outputs[f"{name}/num_units"])
    tf.summary.histogram("Total Flops", flops.count(model, outputs)["flops"])
