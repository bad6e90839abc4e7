"""Features in a graph of ONNX, as maps or as rows, and their size, known without looking at them.

ONNX Runtime keeps maps in an order of its own between convolutions, and puts them back in ONNX's for everything else,
be it only to ask for their shape. So sizes are computed from those of the images.
"""

from typing import NamedTuple

from sact_tf.sparse.onnx.parts import ceil_divide, squeeze


class Size(NamedTuple):
    """Size of maps; names of int64 values `(1,)`."""

    batch: str
    height: str
    width: str

    def after(self, graph, stride):
        """The size of maps with so many times fewer positions each way; sizes round up."""
        if stride == 1:
            return self
        return Size(self.batch, *(ceil_divide(graph, each, stride) for each in (self.height, self.width)))

    def area(self, graph):
        """Positions of a map, int64 scalar."""
        return squeeze(graph, graph.op("Mul", self.height, self.width), [0])

    def positions(self, graph):
        """Positions of all maps, int64 `(1,)`."""
        return graph.op("Mul", self.batch, graph.op("Mul", self.height, self.width))


class Features(NamedTuple):
    """Features of a batch.

    Attributes:
        value: name: of maps, `(batch, channels, height, width)`, or of rows, `(batch * height * width, channels)`.
        size: `Size`.
        channels: int.
        on_rows: bool.
    """

    value: str
    size: Size
    channels: int
    on_rows: bool = False

    def as_maps(self, graph):
        """Name of them as maps."""
        return maps_of(graph, self.value, self.size, self.channels) if self.on_rows else self.value

    def as_rows(self, graph):
        """Name of them as rows."""
        return self.value if self.on_rows else rows_of(graph, self.value, self.channels)

    def channels_last(self, graph):
        """Name of them as `(batch, height, width, channels)`."""
        if self.on_rows:
            return graph.reshape(self.value, *self.size, self.channels)
        return graph.op("Transpose", self.value, perm=[0, 2, 3, 1])


def maps_of(graph, rows, size, channels):
    """Rows of all positions as maps of a `Size`."""
    return graph.op("Transpose", graph.reshape(rows, *size, channels), perm=[0, 3, 1, 2])


def rows_of(graph, maps, channels):
    """Maps as rows of all positions."""
    return graph.reshape(graph.op("Transpose", maps, perm=[0, 2, 3, 1]), -1, channels)
