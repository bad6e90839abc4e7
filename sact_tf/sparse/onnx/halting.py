"""The recurrence of `sact_tf.halting` in a graph of ONNX, on values of any one shape."""

from typing import NamedTuple

from sact_tf.sparse.onnx.graph import FLOAT, INT32


class State(NamedTuple):
    """What is known of the units so far.

    Attributes:
        cumulative_probability: name, float32.
        active: tuple of a name for each unit: bool, where it ran.
        weights: the same, float32: the weight of its output in the block's output.
        halts: the same, bool: where it was the last one to run.
    """

    cumulative_probability: str
    active: tuple = ()
    weights: tuple = ()
    halts: tuple = ()


def initial_state(graph, shape, inside=None):
    """The state before the first unit.

    Args:
        graph: `Graph`.
        shape: name of an int64 vector.
        inside: name of bool of that shape; where it is False, everything has halted before it began.
    """
    if inside is not None:
        return State(graph.op("Where", inside, graph.floats(0.0), graph.floats(1.0)))
    return State(graph.op("Expand", graph.floats(0.0), shape))


def is_active(graph, state, epsilon):
    """Bool, where the next unit still runs."""
    return graph.op("Less", state.cumulative_probability, graph.floats(1.0 - epsilon))


def remainder(graph, state):
    """What is left of the probability."""
    return graph.op("Sub", graph.floats(1.0), state.cumulative_probability)


def advance(graph, state, probability, epsilon):
    """Takes one unit into account; see `sact_tf.halting.advance`.

    Args:
        graph: `Graph`.
        state: `State` before the unit.
        probability: name of the float32 halting probabilities, `None` for the last unit.
        epsilon: float.
    """
    zero = graph.floats(0.0)
    active, left = is_active(graph, state, epsilon), remainder(graph, state)
    if probability is None:
        halts = active
        weight = spent = graph.op("Where", active, left, zero)
    else:
        reached = graph.op("Add", state.cumulative_probability, probability)
        halts = graph.op("And", active, graph.op("GreaterOrEqual", reached, graph.floats(1.0 - epsilon)))
        spent = graph.op("Where", active, probability, zero)
        weight = graph.op("Where", halts, left, spent)
    return State(
        graph.op("Add", state.cumulative_probability, spent),
        (*state.active, active),
        (*state.weights, weight),
        (*state.halts, halts),
    )


def outcome(graph, state, shape):
    """What a block returns of its halting, as a dict of names.

    Args:
        graph: `Graph`.
        state: `State` after the last unit.
        shape: function from the name of a value of the state's shape to one of the shape of the block's decisions.
    """
    active, weights, halts = (_stack(graph, values, shape) for values in state[1:])
    number = _sum(graph, graph.cast(active, FLOAT))
    left = _sum(graph, graph.op("Where", halts, weights, graph.floats(0.0)))
    return {
        "ponder_cost": graph.op("Add", number, left),
        "num_units": graph.cast(number, INT32),
        "halting_distribution": weights,
    }


def _stack(graph, values, shape):
    """Values of the state's shape side by side in a last axis."""
    return graph.op("Concat", *[graph.op("Unsqueeze", shape(value), graph.ints([-1])) for value in values], axis=-1)


def _sum(graph, values):
    return graph.op("ReduceSum", values, graph.ints([-1]), keepdims=0)
