import re

import keras
import numpy as np
import pytest

from sact_tf.config import default_training_config
from sact_tf.training.optimizers import Momentum, learning_rate_schedule, schedule_remarks


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


@pytest.mark.parametrize(
    ("settings", "remarks"),
    [
        ({"learning_rate_schedule": "piecewise"}, ["never falls: .* there are none"]),
        (
            {"learning_rate_schedule": "piecewise", "learning_rate_boundaries": (9, 40)},
            [r"never falls: .* 10 steps .* is 9. .*=9,40: 9,40\.$"],
        ),
        (
            {"learning_rate_schedule": "piecewise", "learning_rate_boundaries": (8, 9)},
            [r"falls at 1 of .* 10 steps .* is 9. .*=8,9: 9\.$"],
        ),
        ({"learning_rate_schedule": "piecewise", "learning_rate_boundaries": (3, 8)}, []),
        ({"learning_rate_schedule": "exponential", "num_epochs_per_decay": 2.0}, ["never falls: .*10 steps .*=2.0"]),
        ({"learning_rate_schedule": "exponential", "num_epochs_per_decay": 1.8}, []),
        # Nothing is called constant that rises.
        (
            {"learning_rate_schedule": "piecewise", "warmup_steps": 11},
            ["never falls: .* there are none", "^The learning rate is still rising"],
        ),
        ({"learning_rate_schedule": "constant", "warmup_steps": 10, "tau_warmup_steps": 10}, []),
        ({"warmup_steps": 11, "tau_warmup_steps": 12}, ["learning rate is still .*=11", "tau is still .*=12"]),
    ],
)
def test_a_schedule_that_the_run_is_too_short_for_is_named(settings, remarks):
    config = default_training_config(
        "cluttered_digits", {"model_type": "sact"}, **{"warmup_steps": 0, **settings, "max_number_of_steps": 10}
    )
    found = schedule_remarks(config, num_examples=5 * config.batch_size)
    assert len(found) == len(remarks)
    assert all(re.search(remark, text) for remark, text in zip(remarks, found, strict=True))
    rates = {float(learning_rate_schedule(config, 5 * config.batch_size)(step)) for step in range(10)}
    assert (len(rates) == 1) == any("never falls" in text for text in found) or config.warmup_steps
