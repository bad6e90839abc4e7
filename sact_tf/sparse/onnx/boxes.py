"""Boxes in a graph of ONNX: decoding, clipping and non-maximum suppression, as in `sact_tf.detection`.

Boxes are yxyx in pixels of the network's input, float32 `(..., 4)`.
"""

import numpy as np

from sact_tf.detection.codes import MAX_LOG_RATIO, VARIANCES
from sact_tf.detection.nms import SMALLEST_SCORE
from sact_tf.sparse.onnx.graph import FLOAT
from sact_tf.sparse.onnx.pictures import mask


def halves(graph, values):
    """The first two and the last two of a last axis of four."""
    return graph.op("Split", values, outputs=2, axis=-1, num_outputs=2)


def decode(graph, codes, anchors):
    """Boxes that codes stand for; see `sact_tf.detection.codes.decode`, whose order of rounding this is.

    Args:
        graph: `Graph`.
        codes: name, `(..., 4)`.
        anchors: name, of the same shape or one that broadcasts to it.
    """
    (shifts, logarithms), (starts, ends) = halves(graph, codes), halves(graph, anchors)
    sizes = graph.op("Sub", ends, starts)
    two, variances = graph.floats(2.0), np.split(np.float32(VARIANCES), 2)
    centres = graph.op("Add", starts, graph.op("Div", sizes, two))
    moved = graph.op("Mul", graph.op("Mul", shifts, graph.floats(variances[0])), sizes)
    limits = [MAX_LOG_RATIO / variance for variance in VARIANCES[2:]]
    logarithms = graph.op("Mul", graph.op("Min", logarithms, graph.floats(limits)), graph.floats(variances[1]))
    centres, sizes = graph.op("Add", moved, centres), graph.op("Mul", graph.op("Exp", logarithms), sizes)
    half_sizes = graph.op("Div", sizes, two)
    return graph.op("Concat", graph.op("Sub", centres, half_sizes), graph.op("Add", centres, half_sizes), axis=-1)


def clip(graph, boxes, limits):
    """Boxes moved onto the border of their picture; `limits`, of a shape that broadcasts, are its largest numbers."""
    return graph.op("Min", graph.op("Max", boxes, graph.floats(0.0)), limits)


def candidates(graph, boxes, scores):
    """Boxes and scores, of which those are 0 that cannot be kept, as in `sact_tf.detection.nms`.

    Args:
        graph: `Graph`.
        boxes: name, `(..., 4)`.
        scores: name, `(...)`.
    """
    starts, ends = halves(graph, boxes)
    area = graph.op("ReduceProd", graph.op("Sub", ends, starts), graph.ints([-1]), keepdims=0)
    # Comparing is False for NaN.
    scored = graph.op("GreaterOrEqual", scores, graph.floats(SMALLEST_SCORE))
    good = graph.op("And", scored, graph.op("Greater", area, graph.floats(0.0)))
    return mask(graph, boxes, graph.op("Unsqueeze", good, graph.ints([-1]))), mask(graph, scores, good)


def suppress(graph, boxes, scores, max_size, iou_threshold):
    """Scores of the boxes that are kept by non-maximum suppression, 0 of the others.

    Args:
        graph: `Graph`.
        boxes: name, `(rows, boxes, 4)`, none of it negative.
        scores: name, `(rows, boxes)`; what has a score of 0 is never kept. Of equal ones the first is the better one:
            ONNX does not say so of its operation, ONNX Runtime does it.
        max_size: int, how many are kept of a row.
        iou_threshold: float; boxes that overlap a better one by more are suppressed.
    """
    selected = graph.op(
        "NonMaxSuppression",
        boxes,
        graph.op("Unsqueeze", scores, graph.ints([1])),
        graph.ints([max_size]),
        graph.floats([iou_threshold]),
        graph.floats([0.0]),
    )
    # Row, class, box.
    places = graph.op("Gather", selected, graph.ints([0, 2]), axis=1)
    kept = graph.op("Expand", graph.floats(0.0), graph.op("Shape", scores))
    kept = graph.op("ScatterND", kept, places, graph.op("Expand", graph.floats(1.0), graph.size(selected, 0)))
    return graph.op("Mul", scores, kept)


def best(graph, scores, number):
    """The best scores of each row, and what they are of; of equal ones the first.

    Args:
        graph: `Graph`.
        scores: name, `(rows, boxes)`, 0 for what is not there.
        number: int.

    Returns:
        `(scores, places, found)`: names of float32, int64 and bool `(rows, number)`; 0, 0 and False where nothing is.
    """
    padded = graph.op("Pad", scores, graph.ints([0, 0, 0, number]))
    scores, places = graph.op("TopK", padded, graph.ints([number]), outputs=2)
    found = graph.op("Greater", scores, graph.floats(0.0))
    return scores, graph.op("Where", found, places, graph.ints(0)), found


def rows_at(graph, values, places):
    """The values `(rows, boxes, ...)` at the places of each row, int64 `(rows, number)`: `(rows, number, ...)`."""
    return graph.op("GatherND", values, graph.op("Unsqueeze", places, graph.ints([-1])), batch_dims=1)


def count(graph, found):
    """How many of each row, int64 `(rows,)`, are True of bool `(rows, number)`."""
    # Whole numbers so small are exact.
    return graph.op("ReduceSum", graph.cast(found, FLOAT), graph.ints([1]), keepdims=0)
