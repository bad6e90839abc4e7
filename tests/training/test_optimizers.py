import keras
import numpy as np
import pytest

from sact_tf.training.optimizers import Momentum


def test_momentum_follows_its_rule_across_a_change_of_learning_rate():
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([1], [0.5, 0.1])
    optimizer = Momentum(learning_rate=schedule, momentum=0.8)
    weight = keras.Variable([1.0, 2.0])
    expected, slot = np.array([1.0, 2.0]), np.zeros(2)
    for rate, gradient in ((0.5, [1.0, -2.0]), (0.5, [3.0, 0.0]), (0.1, [1.0, 1.0]), (0.1, [0.0, 0.0])):
        optimizer.apply([np.array(gradient, "float32")], [weight])
        slot = 0.8 * slot + gradient
        expected = expected - rate * slot
        np.testing.assert_allclose(optimizer.momentums[0], slot, rtol=1e-6)
        np.testing.assert_allclose(weight, expected, rtol=1e-6)


def test_a_first_step_by_hand():
    optimizer, weight = Momentum(learning_rate=0.5, momentum=0.8), keras.Variable([1.0, 2.0])
    optimizer.apply([np.array([1.0, -2.0], "float32")], [weight])
    optimizer.apply([np.array([1.0, 0.0], "float32")], [weight])
    # Slots 1, -2, then 1.8, -1.6.
    np.testing.assert_allclose(weight, [1 - 0.5 - 0.9, 2 + 1.0 + 0.8], rtol=1e-6)


def test_each_variable_has_its_own_slot():
    optimizer = Momentum(learning_rate=0.5, momentum=0.8)
    weights = [keras.Variable([1.0, 2.0]), keras.Variable([[3.0]])]
    optimizer.apply([np.array([1.0, 1.0], "float32"), np.array([[2.0]], "float32")], weights)
    assert [tuple(slot.shape) for slot in optimizer.momentums] == [(2,), (1, 1)]
    np.testing.assert_allclose(weights[1], [[2.0]])


def test_config_round_trip():
    optimizer = Momentum(learning_rate=0.25, momentum=0.7, name="mine", clipnorm=2.0)
    twin = Momentum.from_config(optimizer.get_config())
    assert twin.get_config() == optimizer.get_config()
    assert (twin.momentum, twin.name, float(twin.learning_rate), twin.clipnorm) == (0.7, "mine", 0.25, 2.0)


def test_keras_finds_it_by_its_registered_name():
    optimizer = Momentum(learning_rate=0.25, momentum=0.7)
    twin = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert type(twin) is Momentum
    assert twin.momentum == 0.7


@pytest.mark.parametrize("momentum", [-0.1, 1.0, float("nan")])
def test_momentum_outside_of_0_to_1_is_rejected(momentum):
    with pytest.raises(ValueError, match=r"`momentum` must lie in \[0, 1\)"):
        Momentum(learning_rate=0.25, momentum=momentum)
