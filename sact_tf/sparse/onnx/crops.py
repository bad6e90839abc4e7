"""Crops in a graph of ONNX: boxes cut out of feature maps, as `sact_tf.detection.crops` cuts them by gathering."""

import numpy as np

from sact_tf.detection.crops import BORDER
from sact_tf.models.extractor import STRIDE
from sact_tf.sparse.onnx.boxes import halves
from sact_tf.sparse.onnx.features import Features, Size
from sact_tf.sparse.onnx.graph import FLOAT, INT64
from sact_tf.sparse.onnx.parts import ceil_divide

_ALL = np.iinfo("int64").max


def write_crops(graph, features, boxes, numbers, pixels, crop_size, max_pool):
    """Writes crops, computed for each box alone.

    Args:
        graph: `Graph`.
        features: `Features` of padded images.
        boxes: name, float32 `(boxes, 4)`, in pixels, inside their pictures.
        numbers: name, int64 `(boxes,)`, which image each is of.
        pixels: name, int64 `(batch, 2)`, height and width of the picture in each image.
        crop_size: int > 1, height and width of a crop.
        max_pool: bool, whether a maximum of 2 x 2 then halves that.

    Returns:
        `Features`, of a batch of `boxes`.
    """
    count = graph.size(boxes, 0)
    starts, ends = halves(graph, _normalized(graph, features.size, boxes, graph.op("Gather", pixels, numbers, axis=0)))
    rows = _places(graph, starts, ends, 0, features.size.height, crop_size)
    columns = _places(graph, starts, ends, 1, features.size.width, crop_size)
    crops = _interpolate(graph, features, numbers, rows, columns, crop_size)
    side = graph.ints([crop_size // 2 if max_pool else crop_size])
    if max_pool:
        crops = graph.op("Transpose", crops, perm=[0, 3, 1, 2])
        crops = graph.op("MaxPool", crops, kernel_shape=[2, 2], strides=[2, 2])
    else:
        crops = graph.reshape(crops, -1, features.channels)
    return Features(crops, Size(count, side, side), features.channels, on_rows=not max_pool)


def _normalized(graph, size, boxes, pixels):
    """Boxes of which 0 is the first position of the features and 1 the last, `(boxes, 4)`."""
    positions = graph.cast(ceil_divide(graph, pixels, STRIDE), FLOAT)
    one = graph.floats(1.0)
    # The share is 1 without padding. A map of one position has no extent: any divisor does for it.
    steps = graph.cast(graph.op("Concat", size.height, size.width, axis=0), FLOAT)
    steps = graph.op("Max", graph.op("Sub", steps, one), one)
    share = graph.op("Div", graph.op("Sub", positions, one), steps)
    pixels = graph.cast(pixels, FLOAT)
    share, pixels = (graph.op("Concat", each, each, axis=1) for each in (share, pixels))
    normalized = graph.op("Mul", graph.op("Div", boxes, pixels), share)
    distance = graph.op("Abs", graph.op("Sub", boxes, pixels))
    at_border = graph.op("LessOrEqual", distance, graph.op("Mul", pixels, graph.floats(BORDER)))
    return graph.op("Where", at_border, graph.op("Mul", share, graph.floats(1.0 - BORDER)), normalized)


def _places(graph, starts, ends, axis, length, crop_size):
    """Where the rows, or columns, of crops lie, each `(boxes, crop_size)`: the position before, and how far behind it.

    Boxes lie inside of their pictures, and so do all places; see `BORDER`.
    """
    start, end = (graph.slice(each, axis, axis + 1, axis=1) for each in (starts, ends))
    last = graph.cast(graph.op("Sub", length, graph.ints([1])), FLOAT)
    step = graph.op("Mul", graph.op("Sub", end, start), last)
    step = graph.op("Div", step, graph.floats(crop_size - 1))
    places = graph.op("Mul", graph.floats(list(range(crop_size))), step)
    places = graph.op("Add", graph.op("Mul", start, last), places)
    places = graph.op("Min", graph.op("Max", places, graph.floats(0.0)), last)
    before = graph.op("Floor", places)
    return graph.cast(before, INT64), graph.op("Sub", places, before)


def _interpolate(graph, features, numbers, rows, columns, crop_size):
    """Crops `(boxes, crop_size, crop_size, channels)`: along x, then along y.

    One row of all crops after the other: what is made on the way is large.
    """
    size, values = features.size, features.as_rows(graph)
    # The difference between a position's right neighbour and the position. At the right border the neighbour is the
    # first of the next row, but there `part_x` is 0.
    steps = graph.op("Pad", graph.slice(values, 1, _ALL, axis=0), graph.ints([0, 0, 1, 0]))
    steps = graph.op("Sub", steps, values)
    before, part_x = columns
    firsts = graph.op("Mul", numbers, graph.op("Mul", size.height, size.width))
    before = graph.op("Add", before, graph.op("Unsqueeze", firsts, graph.ints([1])))
    part_x = graph.op("Unsqueeze", part_x, graph.ints([-1]))
    last = graph.op("Sub", size.height, graph.ints([1]))

    def along_x(row):
        places = graph.op("Add", before, graph.op("Mul", row, size.width))
        value, step = (graph.op("Gather", each, places, axis=0) for each in (values, steps))
        return graph.op("Add", value, graph.op("Mul", step, part_x))

    def row_of_crops(number):
        upper, part_y = (graph.slice(each, number, number + 1, axis=1) for each in rows)
        lower = graph.op("Min", graph.op("Add", upper, graph.ints([1])), last)
        above, below = along_x(upper), along_x(lower)
        step = graph.op("Mul", graph.op("Sub", below, above), graph.op("Unsqueeze", part_y, graph.ints([-1])))
        return graph.op("Unsqueeze", graph.op("Add", above, step), graph.ints([1]))

    return graph.op("Concat", *map(row_of_crops, range(crop_size)), axis=1)
