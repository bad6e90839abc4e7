"""Maps enlarged to the size of their images, as a function and as a Keras layer."""

import numbers

import keras
import tensorflow as tf


def enlarge(values, height, width):
    """Map `(..., h, w)` to float32 `(..., height, width)`, by nearest neighbours in TensorFlow 1's convention."""
    values = tf.convert_to_tensor(values)
    height, width = (tf.cast(size, tf.int32) for size in (height, width))
    rows = tf.range(height) * tf.shape(values)[-2] // height
    columns = tf.range(width) * tf.shape(values)[-1] // width
    return tf.cast(tf.gather(tf.gather(values, rows, axis=-2), columns, axis=-1), tf.float32)


def size_of(image_shape):
    """Height and width of a shape `(height, width, ...)`, of one with a batch before it, or of images themselves.

    Raises:
        ValueError: if it is none of these, or the size is not known.
    """
    if len(getattr(image_shape, "shape", ())) > 1:
        known = not tf.is_tensor(image_shape) or None not in tuple(image_shape.shape)[-3:-1]
        image_shape = image_shape.shape if known else tf.shape(image_shape)
    if tf.is_tensor(image_shape):
        image_shape = tf.unstack(image_shape)
    if isinstance(image_shape, str) or not hasattr(image_shape, "__len__") or len(image_shape) < 2:
        raise ValueError(
            "`image_shape` must be the height and width of a map, (height, width), the shape of images, or images. "
            f"Received: image_shape={image_shape!r}"
        )
    size = image_shape[-3:-1] if len(image_shape) > 3 else image_shape[:2]
    if any(side is None for side in size):
        raise ValueError(
            "The height and width of a map must be known: give the images themselves, ponder_map(outputs, images). "
            f"Received: image_shape={tuple(image_shape)}"
        )
    if not all(_may_be_side(side) for side in size):
        raise ValueError(
            "The height and width of a map must be counts of pixels, at least 1. "
            f"Received: image_shape={tuple(image_shape)!r:.200}"
        )
    return size


def _may_be_side(side):
    """Whether this is a count of pixels, or is not known before the graph runs."""
    return tf.is_tensor(side) or (isinstance(side, numbers.Real) and side >= 1 and float(side).is_integer())


@keras.saving.register_keras_serializable(package="sact_tf")
class Enlarge(keras.layers.Layer):
    """A dict of maps `(..., h, w)` to the same of float32 `(..., height, width)`; made by `block_maps`.

    Args:
        size: `[height, width]`, or `None` for that of the images in the call.
    """

    def __init__(self, size=None, **kwargs):
        # Only the images' shape is looked at: no cast to the policy's dtype.
        super().__init__(**{"dtype": "float32", "autocast": False, "trainable": False, **kwargs})
        self.size = size

    @classmethod
    def of(cls, image_shape):
        """For a shape, or images as a KerasTensor."""
        if isinstance(image_shape, keras.KerasTensor):
            return cls()
        height, width = size_of(image_shape)
        return cls([int(height), int(width)])

    def call(self, maps, images=None):
        height, width = tf.unstack(tf.shape(images)[-3:-1]) if self.size is None else self.size
        return {name: enlarge(values, height, width) for name, values in maps.items()}

    def compute_output_spec(self, maps, images=None):
        height, width = images.shape[-3:-1] if self.size is None else self.size
        return {
            name: keras.KerasTensor((*values.shape[:-2], height, width), dtype="float32")
            for name, values in maps.items()
        }

    def get_config(self):
        return {**super().get_config(), "size": self.size}
