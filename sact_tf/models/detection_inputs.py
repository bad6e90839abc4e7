"""What a detector is called on: images and the size of the picture in each."""

import tensorflow as tf


def check_inputs(inputs):
    """Inputs of a detector as a dict of `images` and `image_size`.

    Args:
        inputs: `{"images": ..., "image_size": ...}`, maybe with `original_size`, or images alone, which are all
            picture.

    Returns:
        dict of tensors; sizes are int32 `(batch, 2)`.

    Raises:
        ValueError: for anything else, or sizes of another shape.
    """
    if not isinstance(inputs, dict):
        inputs = {"images": inputs}
    unknown = sorted(set(inputs) - {"images", "image_size", "original_size"})
    if "images" not in inputs or unknown:
        raise ValueError(
            "A detector is called on {'images': (batch, height, width, 3), 'image_size': (batch, 2)}, with "
            "'original_size' where boxes are wanted in pixels of the file, or on images alone, which have no padding "
            f"then. Received: a dict with the keys {sorted(inputs)}"
        )
    images = tf.convert_to_tensor(inputs["images"])
    checked = {"images": images}
    for name in ("image_size", "original_size"):
        if name in inputs:
            size = tf.convert_to_tensor(inputs[name])
            if size.shape.rank != 2 or size.shape[-1] != 2:
                raise ValueError(
                    f"`{name}` must be int (batch, 2), height and width of each picture in pixels. Received: "
                    f"shape={tuple(size.shape)}"
                )
            checked[name] = tf.cast(size, tf.int32)
    shape = tf.shape(images)
    whole = tf.broadcast_to(shape[1:3], (shape[0], 2))
    # More than there is would be picture made of nothing.
    checked["image_size"] = tf.minimum(checked.get("image_size", whole), whole)
    return checked


def check_crops(backbone, crop_max_pool, crop_size):
    """Raises ValueError for crops without halves, or halved twice, by pooling and the last block, or not at all."""
    if not isinstance(crop_size, int) or crop_size < 2 or crop_size % 2:
        raise ValueError(f"`crop_size` must be an even int of at least 2. Received: crop_size={crop_size!r}")
    wanted = 1 if crop_max_pool else 2
    if backbone.last_stride != wanted:
        raise ValueError(
            f"With crop_max_pool={crop_max_pool} the last block must have stride {wanted}: crops are halved once, by "
            f"pooling or by that block. Make the backbone with last_stride={wanted}, as `sact_tf.faster_rcnn` does. "
            f"Received: last_stride={backbone.last_stride}"
        )


def in_original_pixels(boxes, inputs):
    """Boxes `(batch, boxes, 4)` in pixels of the files, if `check_inputs` has an `original_size`, else as they are."""
    if "original_size" not in inputs:
        return boxes
    ratio = tf.cast(inputs["original_size"], tf.float32) / tf.cast(inputs["image_size"], tf.float32)
    return boxes * tf.concat([ratio, ratio], axis=-1)[:, None]
