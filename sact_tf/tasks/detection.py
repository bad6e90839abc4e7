"""Object detection: an image has boxes, each around an object of a class, and the network finds them."""

import numpy as np
import tensorflow as tf

from sact_tf import visualize
from sact_tf.data import class_names, pipeline
from sact_tf.data.boxes import longest_side, rescale
from sact_tf.detection.anchors import SCALES, grid_anchors
from sact_tf.detection.geometry import inside
from sact_tf.layers.parts import positions_within
from sact_tf.models.extractor import STRIDE
from sact_tf.models.faster_rcnn import faster_rcnn
from sact_tf.progress import counted
from sact_tf.tasks.detect_jpeg import SERVED_INPUTS, facts, known_labels, served_inputs, signatures
from sact_tf.tasks.found_boxes import SURE, Detections, Findings, is_sure, marks_of
from sact_tf.tasks.label_files import begins_with_background, check_named, read_lines
from sact_tf.visualize.detections import detection_gallery

__all__ = ["SERVED_INPUTS", "facts", "known_labels", "served_inputs", "signatures"]

PROGRESS = ("box_classification", "region_objectness")
SCORE = ("DetectionBoxes_Precision/mAP", "mAP")
# Class 0 is the background.
FIRST_LABEL = 1
KEPT = ("boxes", "scores", "classes", "num_detections")
FLOPS_NAME = "extractor FLOPs"
FLOPS_NOTE = "They are those of the extractor; region proposals and head are among the metrics below."
# Which boxes a step learns from is drawn, by the seed and the step of the run.
DRAWS = True
# Boxes of a caption.
_NAMED = 3

open_source = pipeline.open_source


def build_model(config, image_size=None):
    """`FasterRCNN` of a `ModelConfig`, for images of any size.

    Args:
        config: `ModelConfig`.
        image_size: int, pixels of the shorter side that images will have, or None.

    Raises:
        ValueError: if that is less than the detector takes.
    """
    model = faster_rcnn(
        config.model,
        config.model_type,
        config.num_classes,
        config.base_channels,
        config.tau,
        config.anchor_base_size,
        config.crop_max_pool,
        config.freeze_batch_norm,
        config.head_samples,
        dtype=config.dtype,
        final_survival_probability=config.final_survival_probability,
        crop_size=config.crop_size,
    )
    least = model.backbone.minimum_size
    if image_size is not None and image_size < least:
        raise ValueError(
            f"A detector takes images of {least} pixels or more each way, and `image_size` is their shorter side. Give "
            f"--image_size={least} or more. Received: image_size={image_size}"
        )
    return model


def check_training(model, image_size):
    """Raises ValueError if no anchor lies within any picture: region proposals would learn nothing, and none is told.

    Args:
        model: `FasterRCNN`.
        image_size: int, pixels of the shorter side of the pictures in training.
    """
    # The largest pictures, upright and across: any other one has only anchors that one of these has too.
    longest, base = longest_side(image_size), model.anchor_base_size
    for size in ((image_size, longest), (longest, image_size)):
        anchors = grid_anchors(*(-(-side // STRIDE) for side in size), base_size=base)
        if tf.reduce_any(inside(anchors, size)):
            return
    raise ValueError(
        f"No anchor lies within a picture whose shorter side has {image_size} pixels: the smallest have a side of "
        f"{SCALES[0] * base:g} pixels, or the same area, and region proposals would learn nothing. Give a smaller "
        f"--anchor_base_size, such as --anchor_base_size={image_size / 2:g}, or a larger --image_size. Received: "
        f"anchor_base_size={base:g}, image_size={image_size}"
    )


def read_labels(path, num_classes, dataset, log=None):
    """Returns the names of all classes from class 1 on, list of text; None for no file.

    Args:
        path: of a text file, or None.
        num_classes: int, without the background.
        dataset: not asked for.
        log: called with a line of text that says how the lines were read, or None.

    Raises:
        OSError, ValueError: if it cannot be read, has another number of lines than there are classes, an empty one, or
            begins with the background.
    """
    del dataset
    if path is None:
        return None
    lines = read_lines(path)
    background = begins_with_background(lines)
    if len(lines) != num_classes or background:
        raise ValueError(
            f"The labels must be one line a class, {num_classes} in all, from class 1 on, without the background. "
            f"Received: {counted(len(lines), 'line')}{', the first of them the background,' * background} in {path}"
        )
    check_named(lines, path)
    if log:
        log(f"Labels: {counted(len(lines), 'line')}, the first of them class 1")
    return lines


def names_of(source, dataset, dataset_dir):
    """Names of the classes by their numbers, dict; empty for records without a label map."""
    del dataset, dataset_dir
    names = source.categories.names if source.categories else ()
    return {number: class_names.escaped(name) for number, name in enumerate(names, 1) if name}


def inputs(batch):
    """What the model is called on."""
    return {"images": batch["image"], "image_size": batch["image_size"], "original_size": batch["original_size"]}


def loss_terms(model, batch, outputs, tau=None, draws=None):
    """Terms of `sact_tf.models.detection_losses`, float32 scalars."""
    truth = {name: batch[name] for name in ("boxes", "classes", "crowd")}
    return model.loss_terms(truth, outputs, tau, draws)


def observe(model, batch, outputs):
    """How many proposals an image has."""
    del model, batch
    return {"proposals": tf.reduce_mean(tf.cast(outputs["num_proposals"], tf.float32))}


def measure(model, batch, outputs):
    """FLOPs beside the extractor's, of each image, and of SACT the ponder cost of pixels inside and outside of boxes.

    What is found is scored over all images together, see `collect`.
    """
    values = {name: outputs[name] for name in ("region_proposals/flops", "head/flops", "num_detections")}
    if model.backbone.model_type == "sact":
        # Batches differ in shape, and one graph is for all of them.
        size = tf.unstack(-(-tf.shape(batch["image"])[1:3] // STRIDE) * STRIDE)
        cost = visualize.ponder_map(outputs, size)
        inside = _inside_boxes(batch, size)
        picture = positions_within(batch["image_size"], *size)
        values["inside box"] = tf.boolean_mask(cost, inside & picture)
        values["outside box"] = tf.boolean_mask(cost, ~inside & picture)
    return values


def metrics(model, moments, other_losses):
    """Means of the FLOPs beside the extractor's."""
    del model, other_losses
    return {
        "Region Proposals Flops/mean": moments["region_proposals/flops"]["mean"],
        "Head Flops/mean": moments["head/flops"]["mean"],
    }


def collect(model, source):
    """Object that is given each batch and then has the figures of all of them together."""
    del source
    return Detections(model.num_classes)


def findings(model, names=None):
    """`Findings`: what was found of each class, what was missed, and what is not there."""
    return Findings(model.num_classes, names)


def marks(batch, outputs, names=None):
    """What is drawn on each image: `Marks`."""
    return marks_of(batch, outputs, names)


def gallery(entries):
    """Images of a `Record` with their boxes, above their ponder maps, and what the colours are."""
    drawn = [entry["marks"] for entry in entries]
    picture = detection_gallery(
        [entry["image"] for entry in entries],
        [entry["map"] for entry in entries],
        [(each.found, each.texts) for each in drawn],
        [each.there for each in drawn],
        [f"{len(each.there)} there, {len(each.found)} found" for each in drawn],
    )
    return picture, f"Green is what is there, red what was found with a score of {SURE} or more."


def captions(batch, outputs, names=None):
    """What there is in each image and what was found, best first."""
    names, texts = names or {}, []
    for number, classes in enumerate(np.asarray(batch["classes"])):
        count = int(outputs["num_detections"][number])
        pairs = zip(outputs["classes"][number, :count], outputs["scores"][number, :count], strict=True)
        found = ", ".join(f"{names.get(int(kind), kind)} ({score:.2f})" for kind, score in list(pairs)[:_NAMED])
        there = ", ".join(str(names.get(int(kind), kind)) for kind in sorted(classes[classes > 0]))
        texts.append(f"{there}; found {found or 'nothing'}")
    return texts


def write_pictures(model, batch, outputs):
    """Heat maps, see `sact_tf.visualize.write_pictures`, and boxes: what was found in red, what is there in green."""
    visualize.write_pictures(model, batch["image"], outputs)
    if "scores" not in outputs:
        return
    images = (batch["image"] + 1.0) / 2.0
    found = rescale(outputs["boxes"], batch["original_size"], batch["image_size"])
    images = _with_boxes(images, batch["boxes"], tf.convert_to_tensor(batch["classes"]) > 0, [0.0, 1.0, 0.0])
    images = _with_boxes(images, found, is_sure(outputs["scores"]), [1.0, 0.0, 0.0])
    tf.summary.image("Boxes", images, max_outputs=len(images))


def _with_boxes(images, boxes, drawn, colour):
    """Images with those of their boxes, in pixels, that are `drawn`, bool `(batch, boxes)`."""
    boxes = boxes / tf.cast(tf.tile(tf.shape(images)[1:3], [2]), tf.float32)
    # One by one: in a batch all have as many, and a row of zeros is drawn as a point in the corner.
    pairs = zip(images, [each[real] for each, real in zip(boxes, drawn, strict=True)], strict=True)
    return tf.concat([tf.image.draw_bounding_boxes(image[None], each[None], [colour]) for image, each in pairs], 0)


def _inside_boxes(batch, size):
    """Which pixels lie in a box, bool `(batch, height, width)`."""
    rows, columns = (tf.range(side, dtype=tf.float32) + 0.5 for side in size)
    ymin, xmin, ymax, xmax = (side[..., None] for side in tf.unstack(batch["boxes"], axis=-1))
    of_rows, of_columns = (rows >= ymin) & (rows < ymax), (columns >= xmin) & (columns < xmax)
    return tf.reduce_any(of_rows[..., None] & of_columns[..., None, :], axis=1)
