"""Which part of padded maps is picture, in a graph of ONNX: each map has its own at the top left, the rest is padding.

What the writers do with it is what `sact_tf.layers` do: of padding nothing is read, and it has halted from the start.
"""

from typing import NamedTuple

from sact_tf.sparse.onnx.features import Size
from sact_tf.sparse.onnx.graph import FLOAT
from sact_tf.sparse.onnx.parts import ceil_divide, squeeze


class Picture(NamedTuple):
    """The pictures of a batch of maps.

    Attributes:
        size: `Size` of the maps.
        heights, widths: names of int64 `(batch,)`, positions of each picture.
        inside: name of bool `(batch, 1, height, width)`, False where a map is padding.
    """

    size: Size
    heights: str
    widths: str
    inside: str

    @classmethod
    def of(cls, graph, size, heights, widths):
        """The `Picture` of pictures of so many positions."""
        rows, columns = (_are_inside(graph, *each) for each in ((heights, size.height), (widths, size.width)))
        inside = graph.op(
            "And", graph.op("Unsqueeze", rows, graph.ints([1, 3])), graph.op("Unsqueeze", columns, graph.ints([1, 2]))
        )
        return cls(size, heights, widths, inside)

    @property
    def batch(self):
        """How many there are, as of a `Size`."""
        return self.size.batch

    def after(self, graph, stride):
        """The `Picture` of maps with so many times fewer positions each way; sizes round up."""
        if stride == 1:
            return self
        heights, widths = (ceil_divide(graph, each, stride) for each in (self.heights, self.widths))
        return Picture.of(graph, self.size.after(graph, stride), heights, widths)

    def area(self, graph):
        """Positions of each picture, int64 `(batch,)`."""
        return graph.op("Mul", self.heights, self.widths)

    def on_rows(self, graph):
        """`inside` of rows of positions, `(positions, 1)`."""
        return graph.reshape(self.inside, -1, 1)

    def of_images(self, graph, numbers):
        """The pictures of some images, by their numbers, int64 `(images,)`; `size` stays that of all."""
        return Picture(self.size, *(graph.op("Gather", each, numbers, axis=0) for each in self[1:]))


def mask(graph, values, inside):
    """Values where `inside`, a name of bool, is True, and 0 elsewhere; as they are where it is `None`."""
    # A choice, not a product: nan * 0 would leak.
    return values if inside is None else graph.op("Where", inside, values, graph.floats(0.0))


def blank_unless_finite(graph, images):
    """Images of four axes, and which of them are finite, bool `(batch, 1, 1, 1)`; see `sact_tf.models.finite`."""
    # A finite number minus itself is 0; infinity and NaN give NaN.
    sums = graph.op("ReduceSum", graph.op("Sub", images, images), graph.ints([1, 2, 3]), keepdims=1)
    finite = graph.op("Equal", sums, graph.floats(0.0))
    return mask(graph, images, finite), finite


def nan_unless(graph, finite, values, rank):
    """Values of two or three axes, `(batch, ...)`, of images that are finite, bool `(batch, 1, 1, 1)`; else NaN."""
    finite = squeeze(graph, finite, list(range(rank, 4)))
    return graph.op("Where", finite, values, graph.floats(float("nan")))


def mean(graph, values, axes, picture):
    """Mean of values `(batch, ...)` over the axes of positions, which go; padding, if there is any, is zero in them."""
    if picture is None:
        return graph.op("ReduceMean", values, graph.ints(axes), keepdims=0)
    area = graph.cast(graph.op("Unsqueeze", picture.area(graph), graph.ints([1])), FLOAT)
    return graph.op("Div", graph.op("ReduceSum", values, graph.ints(axes), keepdims=0), area)


def _are_inside(graph, lengths, length):
    """Bool `(batch, length)`, of lengths int64 `(batch,)` and the length of an axis, int64 `(1,)`."""
    numbers = graph.op("Range", graph.ints(0), squeeze(graph, length, [0]), graph.ints(1))
    return graph.op("Less", numbers, graph.op("Unsqueeze", lengths, graph.ints([1])))
