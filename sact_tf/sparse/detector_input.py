"""The inputs of a detector's engine, which are the detector's own: checked, converted, and handed to a graph."""

import tensorflow as tf

from sact_tf.models.backbone import check_image_shape, check_images
from sact_tf.models.detection_inputs import check_inputs, check_sizes, in_original_pixels
from sact_tf.sparse.images import checked_dtype


class DetectorInput:
    """Shapes of a detector's inputs, and the judgement of what is handed over; as `images.ImageInput`.

    Args:
        model: `FasterRCNN`.
        image_shape: `(height, width, 3)` of the images, `None` for any height or width; `None` for any size.
        image_dtype: `None` or "float32".

    Attributes:
        kind: the only one that there is, `None`: every graph is called on `images` and `image_size`.

    Raises:
        ValueError: for a shape that the extractor cannot take, or another dtype.
    """

    kind = None

    def __init__(self, model, image_shape=None, image_dtype=None):
        self._minimum_size = model.backbone.minimum_size
        self._shape = check_image_shape((None, None, 3) if image_shape is None else image_shape, self._minimum_size)
        if image_dtype is not None and checked_dtype(image_dtype) != tf.float32:
            raise ValueError(
                "The engine of a detector runs on float32 images, scaled as in training, to which it converts other "
                f"floating point images. Leave `image_dtype` out. Received: image_dtype={image_dtype!r}"
            )

    def run(self, function_of, inputs):
        """What `function_of(kind)` returns of inputs, once they are converted; for errors see `convert`.

        Boxes are brought to pixels of the file after the graph: another graph for inputs that have an `original_size`
        would take seconds to make.
        """
        inputs = self.convert(inputs)
        outputs = function_of(self.kind)({name: inputs[name] for name in ("images", "image_size")})
        return {**outputs, "boxes": in_original_pixels(outputs["boxes"], inputs)}

    def convert(self, inputs):
        """What the detector may be called on, a dict of tensors; see `detection_inputs.check_inputs`.

        Raises:
            ValueError: for what the detector would refuse, images of another size than `image_shape`, and sizes of
                pictures that are too small, in which a detector would find nothing.
        """
        inputs = check_inputs(inputs)
        images = inputs["images"]
        check_images(images, self._minimum_size)
        check_sizes(inputs, self._minimum_size)
        if not images.shape[1:].is_compatible_with(self._shape):
            raise ValueError(
                f"This engine was compiled for images of the shape {self._shape}; compile the detector without "
                f"`image_shape` for any size. Received: shape={tuple(images.shape)}"
            )
        return {**inputs, "images": tf.cast(images, tf.float32)}

    def signature(self, kind):
        """`tf.TensorSpec`s of what a graph is called on."""
        del kind
        return {
            "images": tf.TensorSpec((None, *self._shape), tf.float32, name="images"),
            "image_size": tf.TensorSpec((None, 2), tf.int32, name="image_size"),
        }
