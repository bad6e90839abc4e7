"""Region proposals in a graph of ONNX: from the extractor's features to a few boxes of each image."""

from typing import NamedTuple

import numpy as np

from sact_tf.detection import anchors as anchor_grid
from sact_tf.detection.proposals import IOU_THRESHOLD, MAX_CANDIDATES
from sact_tf.models.extractor import STRIDE
from sact_tf.sparse.folding import Linear
from sact_tf.sparse.onnx import boxes, maps
from sact_tf.sparse.onnx.graph import FLOAT
from sact_tf.sparse.onnx.parts import squeeze
from sact_tf.sparse.onnx.pictures import mask

# For each anchor: background and object, and the codes of a box.
_CLASSES, _CODES = 2, 4


class Proposals(NamedTuple):
    """Names of what is proposed, best first.

    Attributes:
        boxes: float32 `(batch, number, 4)`, inside the picture; zeros where nothing is left.
        found: bool `(batch, number)`.
    """

    boxes: str
    found: str


def write_proposals(graph, model, features, picture, limits):
    """Writes what `FasterRCNN.region_proposals` and `select_proposals` compute.

    Args:
        graph: `Graph`.
        model: `FasterRCNN`.
        features: `Features` of the extractor's last block, 0 in the padding.
        picture: `Picture` of them.
        limits: name of float32 `(batch, 1, 4)`, height, width, height and width of each picture in pixels.

    Returns:
        `Proposals`.
    """
    linear = Linear.of(model.proposal_conv)
    hidden = maps.convolve(graph, features.as_maps(graph), linear, stored=graph.floats(linear.kernel))
    hidden = graph.op("Clip", hidden, graph.floats(0.0), graph.floats(6.0))
    each = anchor_grid.anchors_per_position()
    number = graph.op("Mul", graph.op("Mul", features.size.height, features.size.width), graph.ints([each]))

    def of_anchors(layer, columns):
        value = graph.op("Transpose", maps.convolve(graph, hidden, Linear.of(layer)), perm=[0, 2, 3, 1])
        return graph.reshape(value, features.size.batch, number, columns)

    logits, codes = of_anchors(model.proposal_scores, _CLASSES), of_anchors(model.proposal_codes, _CODES)
    scores = squeeze(graph, graph.slice(graph.op("Softmax", logits, axis=-1), 1, _CLASSES, axis=-1), [-1])
    # An anchor has its centre where its position is.
    eligible = graph.op("Expand", picture.on_rows(graph), graph.op("Concat", graph.ints([1, each]), axis=0))
    scores = mask(graph, scores, graph.reshape(eligible, features.size.batch, number))
    anchors = _grid_anchors(graph, features.size, model.anchor_base_size)
    found = boxes.clip(graph, boxes.decode(graph, codes, anchors), limits)
    found, scores = boxes.candidates(graph, found, scores)
    scores, order = graph.op("TopK", scores, graph.op("Min", number, graph.ints([MAX_CANDIDATES])), outputs=2)
    found = boxes.rows_at(graph, found, order)
    kept = boxes.suppress(graph, found, scores, model.num_proposals, IOU_THRESHOLD)
    _, places, valid = boxes.best(graph, kept, model.num_proposals)
    chosen = mask(graph, boxes.rows_at(graph, found, places), graph.op("Unsqueeze", valid, graph.ints([-1])))
    return Proposals(chosen, valid)


def _grid_anchors(graph, size, base_size):
    """Anchors of maps of a `Size`, float32 `(anchors, 4)`; see `sact_tf.detection.anchors.grid_anchors`."""
    # Of one position, whose centre is 0.
    half_sizes = np.asarray(anchor_grid.grid_anchors(1, 1, base_size=base_size))[:, 2:]

    def centres(length, axes):
        numbers = graph.op("Range", graph.ints(0), squeeze(graph, length, [0]), graph.ints(1))
        pixels = graph.cast(graph.op("Mul", numbers, graph.ints([STRIDE])), FLOAT)
        return graph.op("Unsqueeze", pixels, graph.ints(axes))

    rows, columns = centres(size.height, [1, 2, 3]), centres(size.width, [0, 2, 3])
    shape = graph.op("Concat", size.height, size.width, graph.ints([len(half_sizes), 1]), axis=0)
    sides = [
        graph.op("Expand", graph.op(kind, centre, graph.floats(half_sizes[:, axis, None])), shape)
        for kind in ("Sub", "Add")
        for axis, centre in enumerate((rows, columns))
    ]
    return graph.reshape(graph.op("Concat", *sides, axis=-1), -1, 4)
