"""What evaluation makes of a picture's pixels, in a graph of ONNX: resizing and scaling of bytes.

`sact_tf.data.preprocessing.evaluation_image` does the same in TensorFlow. ONNX's own `Resize` is not used: it rounds
the places of pixels in another way, and converts large pictures before it makes them small.
"""

from typing import NamedTuple

from sact_tf.config import refuse_detector
from sact_tf.data.preprocessing import CROP_MARGIN
from sact_tf.sparse.onnx.graph import FLOAT, INT64

# Axes, and what a runtime says where they are empty.
_HEIGHT, _WIDTH = 1, 2
_EMPTY = {_HEIGHT: "images must be at least 1 pixel high", _WIDTH: "images must be at least 1 pixel wide"}


class Preprocessing(NamedTuple):
    """How pictures become what a network takes.

    Attributes:
        dataset: a key of `sact_tf.config.DATASETS`, whose evaluation it is.
        image_size: int, height and width in pixels that pictures are brought to.
    """

    dataset: str
    image_size: int


def check(preprocessing):
    """Returns a `Preprocessing`, made of a pair if it is none.

    Raises:
        ValueError: if it is none, or of a data set that is not known or of detection.
    """
    try:
        dataset, image_size = preprocessing
    except (TypeError, ValueError):
        dataset, image_size = preprocessing, None
    if not isinstance(dataset, str) or type(image_size) is not int or image_size < 1:
        raise ValueError(
            "`preprocess` must be a data set, whose evaluation prepares the pictures, and the size in pixels that it "
            f"brings them to, such as ('imagenet', 224). Received: preprocess={preprocessing!r}"
        )
    refuse_detector(dataset, "Preprocessing in an ONNX file", "Resize the pictures yourself.")
    return Preprocessing(dataset, image_size)


def write_preprocessing(graph, pictures, preprocessing):
    """Pictures as a network takes them, float32 `(batch, image_size, image_size, 3)`.

    Args:
        graph: `Graph`.
        pictures: name of uint8 `(batch, height, width, 3)`, all of any one size. A runtime stops with the name of a
            node where they have no pixels.
        preprocessing: `Preprocessing`.
    """
    dataset, image_size = preprocessing
    margin = CROP_MARGIN if dataset == "imagenet" else None
    values = _resize(graph, pictures, image_size, margin)
    if dataset == "imagenet":
        values = graph.op("Mul", values, graph.floats(1 / 255))
        return graph.op("Mul", graph.op("Sub", values, graph.floats(0.5)), graph.floats(2.0))
    if dataset == "cifar10":
        return _standardize(graph, values, 3 * image_size**2)
    return graph.op("Sub", graph.op("Div", values, graph.floats(127.5)), graph.floats(1.0))


def _resize(graph, pictures, image_size, margin):
    """Bilinear resizing as TensorFlow 1 does it: of the four pixels around the top left corner of each, no others.

    Args:
        graph: `Graph`.
        pictures: name of uint8 `(batch, height, width, 3)`.
        image_size: int.
        margin: int, one part in so many is cut off on each side first; `None` for nothing.

    Returns:
        Name of float32 `(batch, image_size, image_size, 3)`, in [0, 255].
    """
    pixels, weights = pictures, {}
    for axis in (_HEIGHT, _WIDTH):
        places, weights[axis] = _places(graph, graph.size(pictures, axis), image_size, margin)
        # Bytes are gathered, and only what is needed is made float: photographs are much larger than what they become.
        pixels = graph.op("Gather", pixels, places, axis=axis, name=_EMPTY[axis])
    values = graph.cast(pixels, FLOAT)
    for axis, shape in ((_WIDTH, [-1, 1]), (_HEIGHT, [-1, 1, 1])):
        before = graph.slice(values, 0, image_size, axis)
        after = graph.slice(values, image_size, 2 * image_size, axis)
        change = graph.op("Mul", graph.op("Sub", after, before), graph.reshape(weights[axis], *shape))
        values = graph.op("Add", before, change)
    return values


def _places(graph, length, image_size, margin):
    """Which rows (or columns) of a picture are mixed, and how.

    Args:
        graph: `Graph`.
        length: name of int64 `(1,)`, the number of them.
        image_size, margin: see `_resize`.

    Returns:
        Names of int64 `(2 * image_size,)`: for each row of the result the one before its place, then for each the one
        after; and of float32 `(image_size,)`, the share of the latter in [0, 1).
    """
    first = None
    if margin is not None:
        first = graph.op("Div", length, graph.ints([margin]))
        length = graph.op("Sub", length, graph.op("Mul", first, graph.ints([2])))
    # In the order of TensorFlow's operations: rounded otherwise, a place in a large picture moves visibly.
    scale = graph.op("Div", graph.cast(length, FLOAT), graph.floats([image_size]))
    places = graph.op("Mul", graph.floats(range(image_size)), scale)
    floors = graph.op("Floor", places)
    last = graph.op("Sub", length, graph.ints([1]))
    before = graph.op("Min", graph.cast(floors, INT64), last)
    after = graph.op("Min", graph.op("Add", before, graph.ints([1])), last)
    both = graph.op("Concat", before, after, axis=0)
    return both if first is None else graph.op("Add", both, first), graph.op("Sub", places, floors)


def _standardize(graph, values, numbers):
    """Each image to mean 0 and deviation 1, as `tf.image.per_image_standardization` does; `numbers` are in each."""
    axes = graph.ints([1, 2, 3])
    centred = graph.op("Sub", values, graph.op("ReduceMean", values, axes, keepdims=1))
    deviation = graph.op("Sqrt", graph.op("ReduceMean", graph.op("Mul", centred, centred), axes, keepdims=1))
    return graph.op("Div", centred, graph.op("Max", deviation, graph.floats(numbers**-0.5)))
