"""What a detector is called on: images and the size of the picture in each."""

import tensorflow as tf

from sact_tf.layers.conditions import require

_CALLED_ON = (
    "A detector is called on {'images': (batch, height, width, 3), 'image_size': (batch, 2)}, with 'original_size' "
    "where boxes are wanted in pixels of the file, or on images alone, which have no padding then"
)


def check_inputs(inputs):
    """Inputs of a detector as a dict of `images` and `image_size`.

    Args:
        inputs: `{"images": ..., "image_size": ...}`, maybe with `original_size`, or images alone, which are all
            picture.

    Returns:
        dict of tensors; sizes are int32 `(batch, 2)`.

    Raises:
        ValueError: for anything else, sizes of another shape, and sizes that are none: fractions, below 1, or more than
            the images have.
        tf.errors.InvalidArgumentError: for such sizes in a graph; not under XLA, which cannot raise.
    """
    if not isinstance(inputs, dict):
        inputs = {"images": inputs}
    unknown = sorted(set(inputs) - {"images", "image_size", "original_size"})
    if "images" not in inputs or unknown:
        raise ValueError(f"{_CALLED_ON}. Received: a dict with the keys {sorted(inputs)}")
    images = _tensor("images", inputs["images"])
    if images.shape.rank is not None and images.shape.rank < 3:
        raise ValueError(f"{_CALLED_ON}. Received: `images` of the shape {tuple(images.shape)}")
    number = images.shape[0] if images.shape.rank else None
    shape = tf.shape(images)
    whole = tf.broadcast_to(shape[1:3], (shape[0], 2))
    checked = {"images": images, "image_size": whole}
    for name in ("image_size", "original_size"):
        if name in inputs:
            size = _tensor(name, inputs[name])
            # One row would be spread over all pictures.
            if not size.shape.is_compatible_with((number, 2)):
                raise ValueError(
                    f"`{name}` must be int (batch, 2), height and width of each picture in pixels. Received: "
                    f"shape={tuple(size.shape)}, and {number} images"
                )
            checked[name] = _whole_pixels(name, size, whole if name == "image_size" else None)
    return checked


def refuse_no_images(inputs):
    """The dict of `check_inputs`; ValueError for a batch without images, tf.errors.InvalidArgumentError in a graph."""
    message, images = "A detector takes one image or more: a batch without any has no boxes.", inputs["images"]
    if images.shape.rank and images.shape[0] == 0:
        raise ValueError(f"{message} Received: `images` of the shape {tuple(images.shape)}")
    shape = tf.shape(images)
    with tf.control_dependencies([tf.debugging.Assert(shape[0] > 0, [f"{message} Received the shape:", shape])]):
        return {**inputs, "images": tf.identity(images)}


def _whole_pixels(name, size, most=None):
    """Sizes as int32, after a look at their values."""
    if not (size.dtype.is_integer or size.dtype.is_floating):
        raise ValueError(f"`{name}` must be numbers of pixels. Received: dtype={size.dtype.name}")
    numbers = tf.cast(size, tf.float32)
    # Written so that NaN fails.
    right = (numbers >= 1) & (numbers == tf.floor(numbers))
    limit = ""
    if most is not None:
        # More than there is would be picture made of nothing; most often the two numbers have changed places.
        right, limit = right & (numbers <= tf.cast(most, tf.float32)), ", no more than its image has"
    message = f"`{name}` must be height and width of each picture, whole numbers of pixels from 1 on{limit}. Received:"
    return tf.cast(require(size, tf.reduce_all(right), message), tf.int32)


def check_sizes(inputs, minimum_size):
    """Raises ValueError unless each image has a size, and none is too small for the network.

    Args:
        inputs: of `check_inputs`; where a graph is traced there is nothing to be looked at.
        minimum_size: int, height and width in pixels that the network takes.
    """
    images, sizes = inputs["images"], inputs["image_size"]
    if tf.is_symbolic_tensor(images) or tf.is_symbolic_tensor(sizes):
        return
    sizes = sizes.numpy()
    if len(sizes) != len(images) or sizes.min(initial=minimum_size) < minimum_size:
        raise ValueError(
            f"`image_size` must be height and width of the picture in each image, at least {minimum_size} pixels. "
            f"Received: {len(images)} images, image_size={sizes.tolist()}"
        )


def _tensor(name, value):
    try:
        return tf.convert_to_tensor(value)
    except (TypeError, ValueError, tf.errors.InvalidArgumentError) as error:
        raise ValueError(
            f"{_CALLED_ON}. Received: `{name}` is a {type(value).__name__} that is no tensor of numbers"
        ) from error


def check_truth(truth, num_classes, image_size):
    """What a detector is to find, as a dict of tensors.

    Args:
        truth: dict of `boxes`, float `(batch, boxes, 4)`: ymin, xmin, ymax, xmax in pixels of the network's input;
            `classes`, whole numbers `(batch, boxes)`, from 1 to `num_classes`, 0 in rows of padding; and, where there
            are such, `crowd`, bool `(batch, boxes)`. Ragged tensors are padded.
        num_classes: int.
        image_size: int32 `(batch, 2)`, height and width of each picture in pixels.

    Returns:
        `(boxes, classes, crowd, right)`: float32, int32, bool or `None`, and a bool scalar, which is False under XLA
        where anything else would raise.

    Raises:
        ValueError: for anything else.
        tf.errors.InvalidArgumentError: for classes out of range, boxes that are none, and boxes that lie outside of
            their picture, when they are looked at; not under XLA, which cannot raise.
    """
    names = set(truth) if isinstance(truth, dict) else set()
    if not {"boxes", "classes"} <= names <= {"boxes", "classes", "crowd"}:
        received = f"a dict with the keys {sorted(names)}" if isinstance(truth, dict) else "no dict"
        raise _truth_error(received)
    # Zeros where an image has fewer boxes: rows of padding.
    truth = {name: each.to_tensor() if isinstance(each, tf.RaggedTensor) else each for name, each in truth.items()}
    boxes, classes = tf.convert_to_tensor(truth["boxes"]), tf.convert_to_tensor(truth["classes"])
    crowd = None if truth.get("crowd") is None else tf.cast(truth["crowd"], tf.bool)
    rows = [each for each in (classes, crowd) if each is not None]
    if not boxes.shape.is_compatible_with((None, None, 4)) or not all(
        each.shape.is_compatible_with(boxes.shape[:2]) for each in rows
    ):
        raise _truth_error({name: tuple(tf.convert_to_tensor(truth[name]).shape) for name in sorted(names)})
    boxes, right = _refuse_wrong_values(tf.cast(boxes, tf.float32), classes, num_classes, image_size)
    return boxes, tf.cast(classes, tf.int32), crowd, right


def _truth_error(received):
    return ValueError(
        "A detector learns from a dict of 'boxes', (batch, boxes, 4), and 'classes', (batch, boxes), maybe with "
        "'crowd', bool (batch, boxes); images of fewer boxes are padded, with classes of 0. Give it as the second "
        f"argument of fit or evaluate. Received: {received}"
    )


def _refuse_wrong_values(boxes, classes, num_classes, image_size):
    """The boxes, after a check of the values, and whether all are right."""
    numbers = tf.cast(classes, tf.float32)
    padding = numbers == 0
    # Written so that NaN fails.
    whole = (numbers >= 0) & (numbers <= num_classes) & (numbers == tf.floor(numbers))
    first, last = boxes[..., :2], boxes[..., 2:]
    upright = tf.reduce_all((last >= first) & tf.math.is_finite(last) & tf.math.is_finite(first), axis=-1) | padding
    within = (first <= tf.cast(image_size, tf.float32)[:, None]) & (last >= 0.0)
    within = tf.reduce_all(within, axis=-1) | padding
    range_of_classes = f"Classes must be whole numbers from 1 to {num_classes}, and 0 in rows of padding. Received:"
    order = "Boxes must be finite: ymin, xmin, ymax, xmax, none of the last two below its first. Received:"
    place = (
        "Boxes must lie in their picture, with a part of them at least, in pixels of what the detector is called on. "
        "Received height and width of the pictures, and boxes:"
    )
    right = [tf.reduce_all(each) for each in (whole, upright, within)]
    received = [[range_of_classes, classes], [order, boxes], [place, image_size, boxes]]
    checks = [tf.debugging.Assert(*check, summarize=50) for check in zip(right, received, strict=True)]
    with tf.control_dependencies([check for check in checks if check is not None]):
        return tf.identity(boxes), tf.reduce_all(right)


def in_original_pixels(boxes, inputs):
    """Boxes `(batch, boxes, 4)` in pixels of the files, if `check_inputs` has an `original_size`, else as they are."""
    if "original_size" not in inputs:
        return boxes
    ratio = tf.cast(inputs["original_size"], tf.float32) / tf.cast(inputs["image_size"], tf.float32)
    return boxes * tf.concat([ratio, ratio], axis=-1)[:, None]
