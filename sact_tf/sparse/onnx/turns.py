"""A large batch a few images at a time, in a graph of ONNX.

It takes memory for those images alone, and less time: what one node wrote is still near the processor when the next one
reads it.
"""

from sact_tf.sparse.onnx.parts import squeeze

# A turn has as many images as have so many pixels together, but at least one: eight of 224 x 224, two of 448 x 448.
# See benchmarks/README.md.
PIXELS = 8 * 224 * 224


def in_turns(graph, given, write):
    """What is written of a batch, put together of what is written of parts of it: all as large, the last at most.

    Args:
        graph: `Graph`.
        given: names of what is cut, each `(batch, ...)`; the first are images, `(batch, height, width, channels)`.
        write: function of a `Graph` and names of parts of what is given, of the same images, that returns pairs of name
            and type of values `(images, ...)`.

    Returns:
        List of names of the values `(batch, ...)`.
    """
    one, (batch, *sizes) = graph.ints([1]), (graph.size(given[0], axis) for axis in range(3))
    area = graph.op("Mul", *sizes)
    most = graph.op("Max", graph.op("Div", graph.ints([PIXELS]), area), one)
    # A batch may have no images.
    number = graph.op("Max", _ceil(graph, batch, most), one)
    length = _ceil(graph, batch, number)

    def turn(inner, index):
        start = inner.op("Mul", length, index)
        end = inner.op("Add", start, length)
        return write(inner, *(inner.op("Slice", each, start, end, inner.ints([0])) for each in given))

    return graph.repeat(squeeze(graph, number, [0]), turn)


def _ceil(graph, number, by):
    """Int64 `(1,)` over another one, rounded up."""
    return graph.op("Div", graph.op("Sub", graph.op("Add", number, by), graph.ints([1])), by)
