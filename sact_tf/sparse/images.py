"""Which images an engine takes: those that its model takes."""

import numbers

import keras
import numpy as np
import tensorflow as tf

from sact_tf.models import Backbone, Classifier


class ImageInput:
    """Shape and dtype of a model's images, and the judgement of what is handed over.

    Args:
        model: built Keras model.
        image_shape: `(height, width, channels)`, `None` for any height or width; `None` for that of the model's input,
            and for a subclassed model, which has none, any size.
        image_dtype: dtype of the images; `None` for that of the model's input, and for a subclassed model, which has
            none, float32, or integers as they come.

    Attributes:
        spec: `tf.TensorSpec` of what the model is called on, `(None, height, width, channels)`.
        kind: its dtype, see `convert`.

    Raises:
        ValueError: for a model that is not built or has several inputs, and another form of `image_shape`.
    """

    def __init__(self, model, image_shape=None, image_dtype=None):
        self._name = model.name
        inputs = getattr(model, "inputs", None) or ()
        shape = _image_shape(model, inputs) if image_shape is None else _checked_shape(image_shape)
        dtype = checked_dtype(image_dtype or (inputs[0].dtype if inputs else "float32"))
        self.spec, self.kind = tf.TensorSpec((None, *shape), dtype, name="images"), dtype
        self._minimum_size = getattr(getattr(model, "backbone", model), "minimum_size", 1)
        # These two refuse integers, whose values are far out of their range. Keras converts them for other models.
        self._only_floats = isinstance(model, (Backbone, Classifier))
        self._as_they_come = not inputs and image_dtype is None
        self._key = inputs[0].name if inputs else None

    def run(self, function_of, images):
        """What `function_of(kind)` returns of images, once they are converted; for errors see `convert`."""
        images, kind = self.convert(images)
        return function_of(kind)(images)

    def convert(self, images):
        """The images as a tensor that the model may be called on, and its kind: its dtype.

        They may be in a list of one or a dict with the name of the model's input, in which Keras takes them too.

        Raises:
            ValueError: if they do not fit.
        """
        images = self._only(images)
        try:
            images = tf.convert_to_tensor(images)
        except (TypeError, ValueError) as error:
            received, key = type(images).__name__, ""
            if isinstance(images, dict):
                received = f"a dict with the keys {list(images)}"
                key = f", by themselves or as {{{self._key!r}: images}}" if self._key else ", by themselves"
            if isinstance(images, keras.KerasTensor):
                key = "; a Keras model has it in a layer of yours, whose `call` calls it"
            raise ValueError(f"{self._taken()}{key}. Received: {received}, which is no tensor of numbers") from error
        if not (self._has_a_shape_that_fits(images) and self._dtype_fits(images.dtype)):
            raise ValueError(self._complaint(images))
        if self._as_they_come and not images.dtype.is_floating:
            return images, images.dtype
        return tf.cast(images, self.kind), self.kind

    def _only(self, inputs):
        """The one entry of a list or a dict, if that is what Keras would take for the images."""
        if isinstance(inputs, dict) and list(inputs) == [self._key]:
            return inputs[self._key]
        if isinstance(inputs, (list, tuple)) and len(inputs) == 1 and len(getattr(inputs[0], "shape", ())) == 4:
            return inputs[0]
        return inputs

    def signature(self, kind):
        """`tf.TensorSpec` of images of a kind."""
        return tf.TensorSpec(self.spec.shape, kind, name="images")

    def _has_a_shape_that_fits(self, images):
        if images.shape.rank != 4 or not images.shape.is_compatible_with(self.spec.shape):
            return False
        return all(size is None or size >= self._minimum_size for size in images.shape[1:3])

    def _dtype_fits(self, dtype):
        if dtype.is_floating:
            return self.spec.dtype.is_floating
        if not (dtype.is_integer or dtype.is_bool):
            return False
        if self.spec.dtype.is_floating:
            return not self._only_floats
        # No conversion that changes values: 256 would be 0 in uint8.
        return np.can_cast(dtype.as_numpy_dtype, self.spec.dtype.as_numpy_dtype)

    def _taken(self):
        _, height, width, channels = self.spec.shape
        kind = (
            "floating point images, scaled as in training," if self._only_floats else f"{self.spec.dtype.name} images"
        )
        smallest = f", at least {self._minimum_size} pixels high and wide" if self._minimum_size > 1 else ""
        return (
            f"The engine of '{self._name}' takes {kind} of the shape "
            f"(batch, {height or 'height'}, {width or 'width'}, {channels}){smallest}"
        )

    def _complaint(self, images):
        sentence, dtype = self._taken(), self.spec.dtype.name
        if images.shape.rank == 3:
            sentence += "; one image needs a batch axis: image[None]"
        if not self._dtype_fits(images.dtype) and not self._only_floats:
            sentence += (
                f"; if the values are those that the model was trained on, convert them: tf.cast(images, '{dtype}')"
            )
        return f"{sentence}. Received: dtype={images.dtype.name}, shape={images.shape}"


def checked_dtype(image_dtype):
    """The `tf.DType` of images; raises ValueError for what is none."""
    try:
        dtype = tf.as_dtype(image_dtype)
    except TypeError:
        dtype = tf.string
    if not (dtype.is_floating or dtype.is_integer or dtype.is_bool):
        raise ValueError(
            "`image_dtype` must be a type of numbers, such as 'float32' or 'uint8'. Received: "
            f"image_dtype={image_dtype!r}"
        )
    return dtype


def _checked_shape(image_shape):
    sizes = image_shape if isinstance(image_shape, (list, tuple, tf.TensorShape)) else ()
    if len(sizes) != 3 or not all(size is None or (isinstance(size, numbers.Integral) and size > 0) for size in sizes):
        raise ValueError(
            "`image_shape` must be (height, width, channels), None for any height or width. Received: "
            f"image_shape={image_shape!r}"
        )
    return tuple(sizes)


def _image_shape(model, inputs):
    """`(height, width, channels)` of a model's images, `None` for any height or width."""
    if not model.built:
        raise ValueError(f"The model '{model.name}' is not built, so it has no weights. Call it on images first.")
    shapes = [tensor.shape for tensor in inputs]
    # A subclassed model knows what it was first called on, not which sizes it takes.
    called_on = model.get_build_config() if not shapes else {}
    known = called_on.get("input_shape", ())
    if len(known) == 4 and all(size is None or isinstance(size, numbers.Integral) for size in known):
        shapes = [(None, None, None, known[-1])]
    if len(shapes) != 1 or len(shapes[0]) != 4:
        received = f"{len(shapes)} inputs with the shapes {shapes}" if inputs else f"the input shape {known}"
        raise ValueError(
            "The engine is for models of one input, images (batch, height, width, channels). Received: "
            f"'{model.name}' of {received}"
        )
    return shapes[0][1:]
