"""The halting recurrence of adaptive computation time, on tensors of any shape.

One recurrence serves both methods: ACT (Graves, arXiv 1603.08983) takes one decision per image,
SACT (Figurnov et al., CVPR 2017) one per spatial position. Every shape below is that of the decisions:
`(batch, 1, 1, 1)` for ACT and `(batch, height, width, 1)` for SACT.

A block has L residual units. Unit l returns features `x_l` and, but for the last, a halting probability `h_l`:

    num_units     N = the first l with h_1 + ... + h_l >= 1 - EPSILON; L if there is none
    remainder     R = 1 - (h_1 + ... + h_{N-1})
    distribution  p_l = h_l for l < N,  p_N = R,  p_l = 0 for l > N: it sums to one
    output        p_1 x_1 + ... + p_L x_L
    ponder cost   N + R, more than N and at most N + 1

N is a constant to the gradient, R is not: the ponder cost has the gradient -1 for each `h_l` with l < N, and 0 for the
others. An example, of L = 5: h = .01, .50, .60, .70 has N = 3, R = .49, p = .01, .50, .49, 0, 0 and ponder cost 3.49.

`advance` takes one unit of this, since a unit may only run once it is known where the ones before it have halted;
`run` takes all units of a block at once, where their probabilities are known already.
"""

import numbers
from typing import NamedTuple

import keras
from keras import ops

# A position halts once its halting probabilities add up to 1 - EPSILON (Graves 2016, section 2).
EPSILON = 0.01


class HaltingState(NamedTuple):
    """What one block remembers between two of its residual units.

    Attributes:
        cumulative_probability: float32, sum of the halting probabilities so far.
        ponder_cost: float32, executed units so far, plus the remainder where a position has halted.
        num_units: int32, executed units so far.
    """

    cumulative_probability: keras.KerasTensor
    ponder_cost: keras.KerasTensor
    num_units: keras.KerasTensor


class Halting(NamedTuple):
    """The outcome of a whole block; see `run`."""

    ponder_cost: keras.KerasTensor
    num_units: keras.KerasTensor
    halting_distribution: keras.KerasTensor


def initial_state(shape, picture=None):
    """Returns the state before the first unit, for decisions of the given shape.

    Where `picture`, bool of a shape that broadcasts to it, is False, everything has halted before it began: no unit is
    counted and none has a weight.
    """
    zeros = ops.zeros(shape, "float32")
    begin = zeros if picture is None else ops.where(picture, zeros, ops.ones_like(zeros))
    return HaltingState(begin, zeros, ops.cast(zeros, "int32"))


def is_active(state, epsilon=EPSILON):
    """Returns bool tensor, True where the next unit still runs."""
    return state.cumulative_probability < 1.0 - epsilon


def advance(state, probability=None, epsilon=EPSILON):
    """Takes one residual unit into account.

    Args:
        state: `HaltingState` before the unit.
        probability: float32 halting probability of the unit, of the state's shape;
            `None` for the last unit of a block, where everything halts.
        epsilon: float in (0, 1).

    Returns:
        `(state, weight)`: the state after the unit, and the float32 weight of the unit's output in the
        block's output. The decision to halt is a constant to the gradient; the remainder is not.
    """
    active = is_active(state, epsilon)
    remainder = 1.0 - state.cumulative_probability
    if probability is None:
        halts, probability = active, remainder
    else:
        halts = ops.logical_and(active, state.cumulative_probability + probability >= 1.0 - epsilon)
    zeros = ops.zeros_like(remainder)
    weight = ops.where(halts, remainder, ops.where(active, probability, zeros))
    spent = ops.cast(active, "float32") + ops.where(halts, remainder, zeros)
    state = HaltingState(
        state.cumulative_probability + ops.where(active, probability, zeros),
        state.ponder_cost + spent,
        state.num_units + ops.cast(active, "int32"),
    )
    return state, weight


def finish(state, epsilon=EPSILON):
    """Ends a block whose last unit does not run.

    Returns:
        `(state, weight)`, as of `advance`: what is left of the probability goes to the features as they are, where a
        decision has not halted; no unit is counted.
    """
    active = is_active(state, epsilon)
    remainder = 1.0 - state.cumulative_probability
    weight = ops.where(active, remainder, ops.zeros_like(remainder))
    return state._replace(
        cumulative_probability=state.cumulative_probability + weight, ponder_cost=state.ponder_cost + weight
    ), weight


def run(probabilities, epsilon=EPSILON):
    """Runs the recurrence over all units of a block at once.

    Args:
        probabilities: float `(..., units)` in [0, 1]; the last unit's value is ignored, since a block
            always ends there. At least one unit.
        epsilon: float in (0, 1).

    Returns:
        `Halting(ponder_cost, num_units, halting_distribution)`: float32 `(...)`, int32 `(...)` and
        float32 `(..., units)`. The distribution sums to one.

    Raises:
        ValueError: for an epsilon or (where the values can be seen) probabilities out of range.
    """
    check_epsilon(epsilon)
    probabilities = ops.cast(ops.convert_to_tensor(probabilities), "float32")
    _check_probabilities(probabilities)
    units = probabilities.shape[-1]
    state = initial_state(ops.shape(probabilities)[:-1])
    weights = []
    for unit in range(units):
        state, weight = advance(state, probabilities[..., unit] if unit < units - 1 else None, epsilon)
        weights.append(weight)
    return Halting(state.ponder_cost, state.num_units, ops.stack(weights, axis=-1))


def check_epsilon(epsilon):
    """Raises ValueError unless `epsilon` lies in (0, 1)."""
    if not isinstance(epsilon, numbers.Real) or not 0.0 < epsilon < 1.0:
        raise ValueError(
            f"`epsilon` must lie strictly between 0 and 1; the method uses {EPSILON}. Received: {epsilon!r}"
        )


def _check_probabilities(probabilities):
    if len(probabilities.shape) == 0 or probabilities.shape[-1] in (0, None):
        raise ValueError(
            "`probabilities` must have a last axis of known size, one entry per residual unit, at least one. "
            f"Received shape: {tuple(probabilities.shape)}"
        )
    try:
        values = ops.convert_to_numpy(probabilities)
    except (NotImplementedError, TypeError, AttributeError):  # a tensor of a graph: its values come later
        return
    # Written so that NaN fails too.
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError(
            "Halting probabilities must lie in [0, 1] (apply a sigmoid to logits first). "
            f"Received values between {values.min()} and {values.max()}."
        )
