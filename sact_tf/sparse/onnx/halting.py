"""The recurrence of `sact_tf.halting` in a graph of ONNX, on values of any one shape."""

from typing import NamedTuple

from sact_tf.sparse.onnx.graph import FLOAT, INT32


class State(NamedTuple):
    """Names of what `sact_tf.halting.HaltingState` has: float32, float32 and int32."""

    cumulative_probability: str
    ponder_cost: str
    num_units: str


def initial_state(graph, shape):
    """The state before the first unit; `shape` is the name of an int64 vector."""
    zeros = graph.op("Expand", graph.floats(0.0), shape)
    return State(zeros, zeros, graph.cast(zeros, INT32))


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

    Returns:
        `(state, weight)`.
    """
    zero = graph.floats(0.0)
    active, left = is_active(graph, state, epsilon), remainder(graph, state)
    if probability is None:
        halts, spent_probability = active, graph.op("Where", active, left, zero)
    else:
        reached = graph.op("Add", state.cumulative_probability, probability)
        halts = graph.op("And", active, graph.op("GreaterOrEqual", reached, graph.floats(1.0 - epsilon)))
        spent_probability = graph.op("Where", active, probability, zero)
    weight = graph.op("Where", halts, left, spent_probability)
    spent = graph.op("Add", graph.cast(active, FLOAT), graph.op("Where", halts, left, zero))
    state = State(
        graph.op("Add", state.cumulative_probability, spent_probability),
        graph.op("Add", state.ponder_cost, spent),
        graph.op("Add", state.num_units, graph.cast(active, INT32)),
    )
    return state, weight
