"""Graphs of ONNX while they are written: nodes, constants, choices and loops, by functions that take and return names.

A value is known by its name, a str. Constants are initializers of the outermost graph, each written once, however often
and wherever it is used, but for kernels of convolutions.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

# Of 2022: ReduceMean takes its axes as an input, ScatterND adds. ONNX Runtime has it since 1.14.
OPSET = 18
IR_VERSION = 8
# Constants of at most so many numbers are looked up by value.
_SMALL = 64

FLOAT, INT32, INT64, UINT8 = TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64, TensorProto.UINT8
BOOL = TensorProto.BOOL


class Graph:
    """A graph, one of the two that a choice is between, or what a loop repeats.

    Args:
        parent: `Graph` around this one, whose values it may read; `None` for the outermost.
    """

    def __init__(self, parent=None):
        self._root = self if parent is None else parent._root
        self._nodes, self._initializers = [], []
        if parent is None:
            self._known, self._count = {}, 0

    def op(self, kind, *inputs, outputs=1, name=None, **attributes):
        """Adds a node; returns the name of its output, or a list of names if it has several.

        Args:
            kind: ONNX's name of the operation.
            *inputs: names of values; "" for one that is left out.
            outputs: int.
            name: of the node, which errors of a runtime give; by default that of the first output.
            **attributes: of the operation.
        """
        names = [self._root._new_name(kind) for _ in range(outputs)]
        self._nodes.append(helper.make_node(kind, inputs, names, name=name or names[0], **attributes))
        return names[0] if outputs == 1 else names

    def floats(self, values):
        """A float32 constant."""
        return self._root._constant(np.asarray(values, "float32"))

    def kernel(self, values):
        """A float32 constant of this graph itself, where ONNX Runtime looks for what a convolution is given."""
        name = self._root._new_name("kernel")
        self._initializers.append(numpy_helper.from_array(np.asarray(values, "float32"), name))
        return name

    def ints(self, values):
        """An int64 constant."""
        return self._root._constant(np.asarray(values, "int64"))

    def cast(self, value, kind):
        """A value in another type: `FLOAT`, `INT32` or `INT64`."""
        return self.op("Cast", value, to=kind)

    def reshape(self, value, *sizes):
        """A value in another shape; sizes are ints or names of int64 values `(1,)`, one of them may be -1.

        Not beside an empty axis: a batch may have no images, and -1 could be anything then.
        """
        if not any(isinstance(size, str) for size in sizes):
            return self.op("Reshape", value, self.ints(sizes))
        parts = [size if isinstance(size, str) else self.ints([size]) for size in sizes]
        return self.op("Reshape", value, self.op("Concat", *parts, axis=0))

    def size(self, value, axis):
        """Length of an axis, int64 `(1,)`; not of maps, see `features`."""
        return self.op("Shape", value, start=axis, end=axis + 1)

    def slice(self, value, start, end, axis):
        """Part of an axis."""
        return self.op("Slice", value, *(self.ints([number]) for number in (start, end, axis, 1)))

    def choose(self, condition, then, otherwise, kinds=(FLOAT,)):
        """What one of two functions gives, of which only that one is executed.

        Args:
            condition: name of a bool scalar.
            then, otherwise: functions of a `Graph`, that return names of as many values as there are kinds.
            kinds: types of the values.

        Returns:
            Name of the value, or a list of names if there are several.
        """
        bodies = [self._body(function, kinds) for function in (then, otherwise)]
        return self.op("If", condition, outputs=len(kinds), then_branch=bodies[0], else_branch=bodies[1])

    def repeat(self, number, write):
        """What a function gives in each of several turns, put together along the first axis.

        Args:
            number: name of an int64 scalar, at least 1.
            write: function of a `Graph` and the name of the turn, an int64 scalar from 0 on, that returns pairs of
                name and type of values.

        Returns:
            List of names, one for each value.
        """
        inner, turn, goes_on = Graph(self), *map(self._root._new_name, ("turn", "goes_on"))
        names, kinds = zip(*write(inner, turn), strict=True)
        given = [self._root._new_name("so_far") for _ in names]
        longer = [inner.op("SequenceInsert", *pair) for pair in zip(given, names, strict=True)]
        sequences = [
            [helper.make_tensor_sequence_value_info(name, kind, None) for name, kind in zip(each, kinds, strict=True)]
            for each in (given, longer)
        ]
        scalars = [
            helper.make_tensor_value_info(name, kind, [])
            for name, kind in ((turn, INT64), (goes_on, BOOL), (inner.op("Identity", goes_on), BOOL))
        ]
        body = inner._finish([*scalars[:2], *sequences[0]], [scalars[2], *sequences[1]])
        empty = [self.op("SequenceEmpty", dtype=kind) for kind in kinds]
        # Left out it means the same, but not to ONNX's own evaluator.
        always = self.op("GreaterOrEqual", number, self.ints(0))
        whole = self.op("Loop", number, always, *empty, outputs=len(kinds), body=body)
        return [self.op("ConcatFromSequence", each, axis=0) for each in ([whole] if len(kinds) == 1 else whole)]

    def _body(self, function, kinds):
        inner = Graph(self)
        values = function(inner)
        values = [values] if isinstance(values, str) else list(values)
        # What a body returns has to be made in it.
        made = {name for node in inner._nodes for name in node.output}
        values = [value if value in made else inner.op("Identity", value) for value in values]
        outputs = [helper.make_tensor_value_info(name, kind, None) for name, kind in zip(values, kinds, strict=True)]
        return inner._finish([], outputs)

    def _finish(self, inputs, outputs):
        """The graph as a body of another one's node."""
        nodes, read = _needed(self._nodes, [each.name for each in outputs])
        return helper.make_graph(nodes, self._root._new_name("body"), inputs, outputs, self._constants_in(read))

    def _constants_in(self, names):
        return [constant for constant in self._initializers if constant.name in names]

    def _new_name(self, kind):
        self._count += 1
        return f"{kind.lower()}_{self._count}"

    def _constant(self, array):
        key = (array.dtype.str, array.shape, array.tobytes()) if array.size <= _SMALL else None
        if key is None or key not in self._known:
            name = self._new_name("constant")
            self._initializers.append(numpy_helper.from_array(array, name))
            self._known[key] = name
            return name
        return self._known[key]

    def model(self, name, inputs, outputs, metadata):
        """The whole graph as a checked `onnx.ModelProto`.

        Args:
            name: of the graph.
            inputs: dict from names to pairs of type and shape, which may have names for sizes that are not known.
            outputs: dict from names to triples of the value's name here, type and shape.
            metadata: dict of texts that are kept in the file.
        """
        for output, (value, _, _) in outputs.items():
            # An input may be an output, as it is.
            if output != value:
                self._nodes.append(helper.make_node("Identity", [value], [output], name=output))
        nodes, read = _needed(self._nodes, outputs)
        graph = helper.make_graph(
            nodes,
            name,
            [helper.make_tensor_value_info(each, *kind) for each, kind in inputs.items()],
            [helper.make_tensor_value_info(each, *kind) for each, (_, *kind) in outputs.items()],
            self._constants_in(read),
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="sact_tf"
        )
        helper.set_model_props(model, metadata)
        onnx.checker.check_model(model, full_check=True)
        return model


def _needed(nodes, outputs):
    """The nodes that outputs depend on, in order, and the set of names that are read: runtimes execute all of them."""
    read, kept = set(outputs), []
    for node in reversed(nodes):
        if not read.isdisjoint(node.output):
            kept.append(node)
            read |= _read_by(node)
    return kept[::-1], read


def _read_by(node):
    """Names that a node reads, those in the bodies of choices and loops too."""
    bodies = [attribute.g for attribute in node.attribute if attribute.HasField("g")]
    return set(node.input).union(*(_read_by(inner) for body in bodies for inner in body.node))
