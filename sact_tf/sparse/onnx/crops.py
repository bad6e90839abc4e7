"""Crops in a graph of ONNX: boxes cut out of feature maps, as `sact_tf.detection.crops` cuts them by gathering."""

from sact_tf.detection.crops import BORDER
from sact_tf.models.extractor import STRIDE
from sact_tf.sparse.onnx.boxes import halves
from sact_tf.sparse.onnx.features import Features, Size
from sact_tf.sparse.onnx.graph import FLOAT, INT64
from sact_tf.sparse.onnx.parts import ceil_divide


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
    crops = _interpolate(graph, features, numbers, rows, columns)
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
    # 1 without padding. One position has no extent: whatever it is multiplied with.
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
    """Where the rows, or columns, of crops lie: `(before, after, part, inside)`, each `(boxes, crop_size)`."""
    start, end = (graph.slice(each, axis, axis + 1, axis=1) for each in (starts, ends))
    last = graph.cast(graph.op("Sub", length, graph.ints([1])), FLOAT)
    step = graph.op("Mul", graph.op("Sub", end, start), last)
    step = graph.op("Div", step, graph.floats(crop_size - 1))
    places = graph.op("Mul", graph.floats(list(range(crop_size))), step)
    places = graph.op("Add", graph.op("Mul", start, last), places)
    zero = graph.floats(0.0)
    inside = graph.op("And", graph.op("GreaterOrEqual", places, zero), graph.op("LessOrEqual", places, last))
    places = graph.op("Where", inside, places, zero)
    before = graph.op("Floor", places)
    whole = [graph.cast(each, INT64) for each in (before, graph.op("Ceil", places))]
    return *whole, graph.op("Sub", places, before), inside


def _interpolate(graph, features, numbers, rows, columns):
    """Crops `(boxes, crop_size, crop_size, channels)`: along x, then along y."""
    size, values = features.size, features.as_rows(graph)
    width = graph.op("Mul", size.height, size.width)
    firsts = graph.op("Unsqueeze", graph.op("Mul", numbers, width), graph.ints([1, 2]))
    upper, lower, part_y, inside_y = (graph.op("Unsqueeze", each, graph.ints([2])) for each in rows)
    left, right, part_x, inside_x = (graph.op("Unsqueeze", each, graph.ints([1])) for each in columns)
    part_y, part_x = (graph.op("Unsqueeze", each, graph.ints([-1])) for each in (part_y, part_x))

    def along_x(of_rows):
        begins = graph.op("Add", firsts, graph.op("Mul", of_rows, size.width))
        one, other = (
            graph.op("Gather", values, graph.op("Add", begins, of_columns), axis=0) for of_columns in (left, right)
        )
        return graph.op("Add", one, graph.op("Mul", graph.op("Sub", other, one), part_x))

    above, below = along_x(upper), along_x(lower)
    crops = graph.op("Add", above, graph.op("Mul", graph.op("Sub", below, above), part_y))
    inside = graph.op("Unsqueeze", graph.op("And", inside_y, inside_x), graph.ints([-1]))
    return graph.op("Where", inside, crops, graph.floats(0.0))
