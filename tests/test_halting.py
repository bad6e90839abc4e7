import numpy as np
import pytest
import tensorflow as tf

from sact_tf import halting

WAYS_TO_RUN = {
    "eager": lambda function: function,
    "graph": tf.function,
    "xla": lambda function: tf.function(function, jit_compile=True),
}
every_way = pytest.mark.parametrize("compiled", WAYS_TO_RUN.values(), ids=WAYS_TO_RUN)

# What happens: epsilon, probabilities, num_units, ponder_cost, halting_distribution.
WORKED_CASES = {
    "crosses the threshold in unit 3": (0.01, [0.01, 0.5, 0.6, 0.7, 0.0], 3, 3.49, [0.01, 0.5, 0.49, 0, 0]),
    "never reaches the threshold": (0.01, [0.01, 0.01, 0.01, 0.01, 0.0], 5, 5.96, [0.01, 0.01, 0.01, 0.01, 0.96]),
    "halts at once": (0.01, [0.999, 0.3, 0.3, 0.3, 0.3], 1, 2.0, [1, 0, 0, 0, 0]),
    "reaches the threshold exactly": (0.25, [0.5, 0.25, 0.9], 2, 2.5, [0.5, 0.5, 0]),
    "stays a hair below the threshold": (0.25, [0.5, 0.25 - 2**-10, 0.9], 3, 3.25 + 2**-10, None),
    "all zeros": (0.01, [0.0, 0.0, 0.0], 3, 4.0, [0, 0, 1]),
    "all ones": (0.01, [1.0, 1.0, 1.0], 1, 2.0, [1, 0, 0]),
    "one unit only": (0.01, [0.3], 1, 2.0, [1]),
    "one unit only, of probability zero": (0.01, [0.0], 1, 2.0, [1]),
    "two units": (0.01, [0.4, 0.1], 2, 2.6, [0.4, 0.6]),
    "the last probability is high": (0.01, [0.2, 0.3, 0.99], 3, 3.5, [0.2, 0.3, 0.5]),
    "the last probability is zero": (0.01, [0.2, 0.3, 0.0], 3, 3.5, [0.2, 0.3, 0.5]),
    "a zero on the way": (0.01, [0.5, 0.0, 0.5, 0.7], 3, 3.5, [0.5, 0, 0.5, 0]),
    "a sum above one": (0.01, [0.9, 0.9, 0.9], 2, 2.1, [0.9, 0.1, 0]),
    "a sum of one in the last unit": (0.01, [0.25, 0.25, 0.25, 0.25], 4, 4.25, [0.25, 0.25, 0.25, 0.25]),
    "a small remainder": (0.01, [0.98, 0.02, 0.5], 2, 2.02, [0.98, 0.02, 0]),
    "a remainder smaller than epsilon is not reached": (0.05, [0.96, 0.5], 1, 2.0, [1, 0]),
    "half is enough": (0.5, [0.2, 0.3, 0.4, 0.4], 2, 2.8, [0.2, 0.8, 0, 0]),
}


def numpy_recurrence(probabilities, epsilon):
    """`(num_units, ponder_cost, halting_distribution)` by a loop over the positions of `(..., units)`."""
    probabilities = np.asarray(probabilities, "float32")
    num_units = np.zeros(probabilities.shape[:-1], "int32")
    ponder_cost = np.zeros(probabilities.shape[:-1], "float32")
    distribution = np.zeros_like(probabilities)
    for position in np.ndindex(num_units.shape):
        cumulative = np.float32(0)
        for unit, probability in enumerate(probabilities[position]):
            last = unit == probabilities.shape[-1] - 1
            if last or cumulative + probability >= np.float32(1 - epsilon):
                remainder = 1 - cumulative
                distribution[position][unit] = remainder
                num_units[position], ponder_cost[position] = unit + 1, unit + 1 + remainder
                break
            distribution[position][unit] = probability
            cumulative += probability
    return num_units, ponder_cost, distribution


def numpy_gradients(probabilities, epsilon, values):
    """Analytic gradients of the summed ponder cost, and of `sum(values * halting_distribution)`.

    Before unit N, `h_l` is the weight of unit l and is taken from the remainder, the weight of unit N.
    """
    num_units, _, _ = numpy_recurrence(probabilities, epsilon)
    before = np.arange(np.shape(probabilities)[-1]) < num_units[..., None] - 1
    values_at_halt = np.take_along_axis(values, num_units[..., None] - 1, axis=-1)
    return np.where(before, -1.0, 0.0), np.where(before, values - values_at_halt, 0.0)


def random_probabilities(units, seed, shape=(3, 5, 4)):
    """Low ones, zeros and ones, so that positions halt everywhere from the first to the last unit."""
    generator = np.random.default_rng(seed)
    probabilities = generator.beta(1, 2 * units, (*shape, units))
    extreme = generator.choice([0.0, 1.0, np.nan], p=[0.1, 0.1, 0.8], size=probabilities.shape)
    return np.where(np.isnan(extreme), probabilities, extreme).astype("float32")


@pytest.mark.parametrize("case", WORKED_CASES.values(), ids=WORKED_CASES)
def test_cases_worked_out_by_hand_come_out_so(case):
    epsilon, probabilities, num_units, ponder_cost, distribution = case
    halted = halting.run(probabilities, epsilon=epsilon)
    assert halted.num_units == num_units
    assert float(halted.ponder_cost) == pytest.approx(ponder_cost, abs=1e-6)
    if distribution is not None:
        np.testing.assert_allclose(halted.halting_distribution, distribution, atol=1e-6)


@every_way
def test_positions_of_one_tensor_halt_independently(compiled):
    probabilities = tf.constant([[[0.999, 0.5, 0.5], [0.5, 0.6, 0.5]], [[0.1, 0.2, 0.5], [0.0, 1.0, 0.0]]])
    halted = compiled(lambda h: halting.run(h, epsilon=0.02))(probabilities)
    np.testing.assert_array_equal(halted.num_units, [[1, 2], [3, 2]])
    np.testing.assert_allclose(halted.ponder_cost, [[2, 2.5], [3.7, 3]], atol=1e-6)
    expected = [[[1, 0, 0], [0.5, 0.5, 0]], [[0.1, 0.2, 0.7], [0, 1, 0]]]
    np.testing.assert_allclose(halted.halting_distribution, expected, atol=1e-6)


def test_outcome_has_the_documented_dtypes():
    halted = halting.run(np.full((2, 3, 4), 0.4, "float64"), epsilon=0.1)
    assert (halted.ponder_cost.dtype, halted.num_units.dtype) == (tf.float32, tf.int32)
    assert halted.halting_distribution.dtype == tf.float32
    assert [tuple(value.shape) for value in halted] == [(2, 3), (2, 3), (2, 3, 4)]


@every_way
@pytest.mark.parametrize("units", [2, 6])
def test_random_cases_equal_the_loop_over_positions(compiled, units):
    run = compiled(lambda h: halting.run(h, epsilon=0.03))
    for seed in range(5):
        probabilities = random_probabilities(units, seed)
        num_units, ponder_cost, distribution = numpy_recurrence(probabilities, 0.03)
        halted = run(tf.constant(probabilities))
        np.testing.assert_array_equal(halted.num_units, num_units)
        np.testing.assert_allclose(halted.ponder_cost, ponder_cost, atol=2e-6)
        np.testing.assert_allclose(halted.halting_distribution, distribution, atol=1e-6)


@pytest.mark.parametrize("units", [1, 2, 3, 8])
def test_random_cases_keep_the_invariants(units):
    halted = halting.run(random_probabilities(units, seed=units, shape=(7, 11)), epsilon=0.01)
    ponder_cost, num_units, distribution = (value.numpy() for value in halted)
    assert (num_units.min(), num_units.max()) == (1, units)
    np.testing.assert_allclose(distribution.sum(-1), 1, atol=1e-6)
    assert (distribution >= 0).all()
    assert ((num_units < ponder_cost) & (ponder_cost <= num_units + 1)).all()
    assert (distribution[np.arange(units) >= num_units[..., None]] == 0).all()


@pytest.mark.parametrize(
    ("probabilities", "gradient"),
    [
        ([0.01, 0.5, 0.6, 0.7, 0.5], [-1, -1, 0, 0, 0]),
        ([0.01, 0.01, 0.01, 0.01, 0.5], [-1, -1, -1, -1, 0]),
        ([0.999, 0.3, 0.3, 0.3, 0.5], [0, 0, 0, 0, 0]),
    ],
)
def test_ponder_cost_falls_with_every_probability_before_the_halt(probabilities, gradient):
    probabilities = tf.Variable(probabilities)
    with tf.GradientTape() as tape:
        cost = halting.run(probabilities, epsilon=0.01).ponder_cost
    np.testing.assert_array_equal(tape.gradient(cost, probabilities), gradient)


@every_way
def test_gradients_equal_the_analytic_ones(compiled):
    @compiled
    def gradients(probabilities, values):
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(probabilities)
            halted = halting.run(probabilities, epsilon=0.05)
            average = tf.reduce_sum(values * halted.halting_distribution)
        return tape.gradient(halted.ponder_cost, probabilities), tape.gradient(average, probabilities)

    for seed in range(3):
        probabilities = random_probabilities(4, seed)
        values = np.random.default_rng(seed).normal(size=probabilities.shape).astype("float32")
        of_cost, of_average = gradients(tf.constant(probabilities), tf.constant(values))
        expected_of_cost, expected_of_average = numpy_gradients(probabilities, 0.05, values)
        np.testing.assert_array_equal(of_cost, expected_of_cost)
        np.testing.assert_allclose(of_average, expected_of_average, atol=1e-6)


def test_number_of_units_has_no_gradient():
    probabilities = tf.Variable([[0.3, 0.4, 0.2], [0.9, 0.9, 0.9]])
    with tf.GradientTape() as tape:
        num_units = tf.cast(halting.run(probabilities, epsilon=0.02).num_units, "float32")
    assert tape.gradient(num_units, probabilities) is None


@every_way
@pytest.mark.parametrize("decisions", [(3, 1, 1, 1), (2, 4, 3, 1)], ids=["act", "sact"])
def test_one_unit_at_a_time_gives_the_same_as_all_at_once(compiled, decisions):
    @compiled
    def one_at_a_time(probabilities):
        state, weights = halting.initial_state(decisions), []
        for unit in range(4):
            probability = probabilities[..., unit] if unit < 3 else None
            state, weight = halting.advance(state, probability, epsilon=0.04)
            weights.append(weight)
        return state, tf.stack(weights, axis=-1), halting.is_active(state, epsilon=0.04)

    probabilities = tf.constant(random_probabilities(4, seed=1, shape=decisions))
    state, weights, active = one_at_a_time(probabilities)
    halted = halting.run(probabilities, epsilon=0.04)
    assert tuple(state.num_units.shape) == tuple(state.ponder_cost.shape) == decisions
    np.testing.assert_array_equal(state.num_units, halted.num_units)
    np.testing.assert_allclose(state.ponder_cost, halted.ponder_cost, atol=1e-6)
    np.testing.assert_allclose(weights, halted.halting_distribution, atol=1e-6)
    assert not active.numpy().any()


def test_unit_l_runs_exactly_where_num_units_is_at_least_l():
    probabilities = tf.constant(random_probabilities(5, seed=2))
    num_units = halting.run(probabilities, epsilon=0.01).num_units.numpy()
    state = halting.initial_state(num_units.shape)
    for unit in range(1, 6):
        np.testing.assert_array_equal(halting.is_active(state, epsilon=0.01), num_units >= unit)
        state, _ = halting.advance(state, probabilities[..., unit - 1] if unit < 5 else None, epsilon=0.01)


def test_fresh_state_is_zero_and_active():
    state = halting.initial_state((2, 3, 4, 1))
    assert [value.dtype for value in state] == [tf.float32, tf.float32, tf.int32]
    assert all((value.numpy() == 0).all() for value in state)
    assert halting.is_active(state, epsilon=0.3).numpy().all()


def test_halted_position_does_not_change_any_more():
    state, _ = halting.advance(halting.initial_state((2, 1)), tf.constant([[0.9], [0.2]]), epsilon=0.2)
    after, weight = halting.advance(state, tf.constant([[0.7], [0.7]]), epsilon=0.2)
    np.testing.assert_allclose(after.ponder_cost, [[2.0], [2.8]], atol=1e-6)
    np.testing.assert_array_equal(after.num_units, [[1], [2]])
    np.testing.assert_allclose(weight, [[0], [0.8]], atol=1e-6)
    assert after.cumulative_probability[0, 0] == state.cumulative_probability[0, 0]


def test_probability_of_a_halted_position_may_be_anything():
    state, _ = halting.advance(halting.initial_state((2, 1)), tf.constant([[0.9], [0.2]]), epsilon=0.2)
    after, weight = halting.advance(state, tf.constant([[np.nan], [0.1]]), epsilon=0.2)
    np.testing.assert_allclose(after.ponder_cost, [[2.0], [2.0]], atol=1e-6)
    np.testing.assert_allclose(weight, [[0], [0.1]], atol=1e-6)


@pytest.mark.parametrize("epsilon", [0.0, 1.0, -0.1, 1.5, float("nan"), None, "0.1"])
def test_epsilon_outside_of_0_to_1_is_rejected(epsilon):
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        halting.run([0.2, 0.3], epsilon=epsilon)


@pytest.mark.parametrize("wrong", [-0.01, 1.01, float("nan"), float("inf")])
def test_probability_outside_of_0_to_1_is_rejected(wrong):
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        halting.run([[0.2, 0.3], [wrong, 0.3]], epsilon=0.02)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0)])
def test_probabilities_without_a_unit_are_rejected(shape):
    with pytest.raises(ValueError, match="at least one"):
        halting.run(np.zeros(shape, "float32"), epsilon=0.02)


def test_unknown_number_of_units_is_rejected_while_tracing():
    with pytest.raises(ValueError, match="last axis of known size"):
        tf.function(halting.run).get_concrete_function(tf.TensorSpec((2, None)), epsilon=0.02)
