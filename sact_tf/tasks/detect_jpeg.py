"""Boxes in files of pictures: what a SavedModel of a detector takes beside images, and answers to besides them."""

import tensorflow as tf

from sact_tf.data import boxes, class_names, pipeline, trained_classes
from sact_tf.data.padding import bucketed, pad_images
from sact_tf.models.detection_inputs import in_original_pixels
from sact_tf.progress import counted
from sact_tf.tasks.served_files import costs, decode, label_table

# A multiple of the extractor's strides: each position of a map stands for as many pixels as any other.
BUCKET = 32
# What `serving_default` takes beside `images`.
SERVED_INPUTS = (tf.TensorSpec((None, 2), tf.int32, name="image_size"),)
# Classes of a line of the log.
_NAMED = 5
_JPEGS = tf.TensorSpec((None,), tf.string, name="jpegs")
_PICTURE = tf.TensorSpec((None, None, 3), tf.float32)
# Outputs of the model that the answer has as they are.
_KEPT = (
    "scores",
    "classes",
    "num_detections",
    "num_proposals",
    "image_size",
    "flops",
    "region_proposals/flops",
    "head/flops",
)


def served_inputs(model, images, image_size):
    """What a detector is called on, or TensorFlow's InvalidArgumentError: a server hands over any numbers.

    Args:
        model: `FasterRCNN`.
        images: float32 `(batch, height, width, 3)`.
        image_size: int32 `(batch, 2)`, height and width of the picture in each.
    """
    image_size = tf.ensure_shape(image_size, SERVED_INPUTS[0].shape)
    minimum, shape = model.backbone.minimum_size, tf.shape(images)
    same = tf.debugging.Assert(
        tf.shape(image_size)[0] == shape[0],
        ["There must be as many sizes as images. Images, sizes:", shape[0], tf.shape(image_size)[0]],
    )
    with tf.control_dependencies([same]):
        fits = tf.reduce_all((image_size >= minimum) & (image_size <= shape[1:3]))
    check = tf.debugging.Assert(
        fits,
        [
            f"image_size must be height and width of the picture in each image, at least {minimum} pixels and no more "
            "than the image has. Height and width of the images, sizes:",
            shape[1:3],
            image_size,
        ],
        summarize=16,
    )
    with tf.control_dependencies([check]):
        return {"images": images, "image_size": tf.identity(image_size)}


def signatures(model, predict, dataset, image_size, labels, directory):
    """`detect_jpeg`: boxes in files of pictures.

    It takes `jpegs`, string `(batch,)`, the bytes of JPEG (also PNG, WebP, GIF, BMP) files of any sizes, turns those
    upright whose EXIF data asks for it, resizes each as evaluation does, pads them to one size, and returns

    - `boxes` float32 `(batch, 300, 4)`: ymin, xmin, ymax, xmax in pixels of the file as one sees it; `scores` float32,
      `classes` int32, from 1, and, with names, `labels` string `(batch, 300)`, best first; rows beyond
      `num_detections`, int32 `(batch,)`, are zeros and empty texts;
    - `original_size` and `image_size`, int32 `(batch, 2)`: height and width of the file as one sees it, and of what
      the network was given of it;
    - `num_proposals` int32, `flops` (the extractor's), `region_proposals/flops` and `head/flops` int64, `(batch,)`;
    - of SACT `ponder_map` float32 `(batch, height, width)`, of which the first `image_size` rows and columns are the
      picture's; of ACT `ponder_cost` float32 `(batch,)`. Both are the extractor's.

    What TensorFlow's decoders make of files, see `sact_tf.tasks.classify_jpeg.signatures`.

    Args:
        model: `FasterRCNN`.
        predict: `tf.function` from images and their sizes to the model's dict with FLOPs.
        dataset: not asked for, pictures for detection are all prepared alike.
        image_size: int, pixels that the shorter side is brought to; the longer one gets at most 1024/600 of it.
        labels: list of `num_classes` texts, from class 1 on, or None.
        directory: where a file may be written that becomes an asset of the SavedModel.

    Returns:
        `(functions, resources)`: dict from a signature's name to a `tf.function`, and what has to be saved with them.
    """
    del dataset
    table = label_table(labels, directory)
    prepare = _preparation(image_size, model.backbone.minimum_size)

    @tf.function(input_signature=[_JPEGS], autograph=False)
    def detect_jpeg(jpegs):
        images, sizes, original_sizes = _batch(prepare, tf.ensure_shape(jpegs, _JPEGS.shape))
        outputs = predict(images, sizes)
        found = in_original_pixels(outputs["boxes"], {"image_size": sizes, "original_size": original_sizes})
        answer = {name: outputs[name] for name in _KEPT}
        answer.update(boxes=found, original_size=original_sizes)
        if table is not None:
            # The file has no line for class 0, the background, which is also where no box is left.
            answer["labels"] = table.lookup(tf.cast(outputs["classes"], tf.int64) - 1)
        return {**answer, **costs(model, outputs, tf.unstack(tf.shape(images)[1:3]))}

    return {"detect_jpeg": detect_jpeg}, {"label_table": table}


def known_labels(num_classes, dataset, dataset_dir, log=None, checkpoint=None):
    """The names that a run noted of its classes, or else those that its data set gives them where it lies now.

    Args:
        num_classes: int, of the network, without the background.
        dataset: a key of `sact_tf.config.DATASETS`.
        dataset_dir: its directory, or None for the default.
        log: called with a line of text that says what was found, or None.
        checkpoint: directory of the run, or prefix of a checkpoint in it; None for names of the data set.

    Returns:
        list of text from class 1 on; None where they are not known.
    """
    log = log or (lambda text: None)
    noted = trained_classes.read(checkpoint) if checkpoint else {}
    if sorted(noted) == list(range(1, num_classes + 1)):
        log(f"Labels: the names of {dataset}, from class 1 on: {_listed(list(noted.values()))}")
        return list(noted.values())
    try:
        categories = pipeline.categories_of(dataset, dataset_dir)
        reason = "no data set is there to name them" if categories is None else None
    except (OSError, ValueError) as error:
        categories, reason = None, str(error)
    if categories is not None and len(categories) != num_classes:
        reason = f"{dataset} has {counted(len(categories), 'class')} where it lies now, and the network {num_classes}"
    if reason is not None:
        log(f"Labels: none, {reason}. Give --labels for names")
        return None
    log(f"Labels: the names of {dataset}, from class 1 on: {_listed(categories.names)}")
    return [class_names.escaped(name) for name in categories.names]


def facts(model, image_size):
    """What `export.json` says of a detector: dict of ints. Pixels of the longer side at most, boxes that are looked at.

    Args:
        model: `FasterRCNN`.
        image_size: int, pixels of the shorter side.
    """
    return {"longest_side": boxes.longest_side(image_size), "num_proposals": model.num_proposals}


def _preparation(image_size, minimum_size):
    """Function from a number and the bytes of a file to the picture in [-1, 1], its size, and that of the file."""
    longest = boxes.longest_side(image_size)
    advice = (
        f"A picture must be at least {minimum_size} pixels high and wide once its shorter side has {image_size}, or "
        f"its longer one {longest}. Leave it out, or export with a larger --image_size. Number in the batch, size:"
    )

    def prepare(number, encoded):
        pixels = decode(encoded)
        original_size = tf.shape(pixels)[:2]
        size = boxes.resized_size(original_size, image_size, longest)
        check = tf.debugging.Assert(tf.reduce_min(size) >= minimum_size, [advice, number, size])
        with tf.control_dependencies([check]):
            image = tf.image.convert_image_dtype(pixels, tf.float32)
        image = boxes.resize(image, tf.zeros((0, 4)), image_size, longest)[0]
        return (image - 0.5) * 2.0, size, original_size

    return prepare


def _batch(prepare, encoded):
    """Pictures of files, padded to one size with 0, float32 `(batch, height, width, 3)`, and both their sizes."""
    count = tf.shape(encoded)[0]
    check = tf.debugging.Assert(count > 0, ["The batch has no images. Shape:", tf.shape(encoded)])
    with tf.control_dependencies([check]):
        count = tf.identity(count)
    pictures = tf.TensorArray(tf.float32, count, infer_shape=False, element_shape=_PICTURE.shape)
    sizes = tf.TensorArray(tf.int32, count, element_shape=(2, 2))

    def add(number, pictures, sizes):
        picture, *both = prepare(number, encoded[number])
        return number + 1, pictures.write(number, picture), sizes.write(number, tf.stack(both))

    _, pictures, sizes = tf.while_loop(lambda number, *_: number < count, add, [0, pictures, sizes])
    sizes, original_sizes = tf.unstack(sizes.stack(), axis=1)
    largest = bucketed(tf.reduce_max(sizes, axis=0), BUCKET)
    images = tf.map_fn(
        lambda number: pad_images(pictures.read(number), largest), tf.range(count), fn_output_signature=_PICTURE
    )
    return images, sizes, original_sizes


def _listed(names):
    return ", ".join([*names[:_NAMED], *["..."] * (len(names) > _NAMED)])
