"""Units that run only where they are needed, in training steps that need much memory."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from sact_tf import config
from sact_tf.layers import AdaptiveBlock, BasicUnit
from sact_tf.layers.conditions import run_if
from sact_tf.models.build import build_model
from sact_tf.studies.lesion_resnet import fine_tuning
from sact_tf.training.trainer import Trainer


def test_a_unit_that_runs_in_no_step_of_a_large_batch_stops_no_run():
    # TensorFlow issue 37740. Smaller batches, and smaller graphs around them, do not have it.
    number = 512
    changes = {"batch_size": number, "learning_rate": 0.01, "max_number_of_steps": 10}
    plain = config.default_training_config(
        "cifar10", {"model": "1_2_1", "base_channels": 4, "model_type": "vanilla"}, **changes
    )
    adaptive = build_model(dataclasses.replace(plain.model, model_type="sact"), 32)
    for block in adaptive.blocks.values():
        for variable in block.variables:
            if "halting" in variable.path and "bias" in variable.path:
                # All positions halt after the first unit.
                variable.assign(tf.fill(variable.shape, 20.0))
    rule = fine_tuning.rule_of("shuffled_maps", 0, adaptive=adaptive)
    trainer = Trainer(plain, tf.distribute.get_strategy(), rule)
    images = np.random.default_rng(0).normal(size=(number, 32, 32, 3)).astype("float32")
    batch = {"image": tf.constant(images), "label": tf.constant(np.arange(number) % 10, tf.int64)}
    for _ in range(2):
        assert np.isfinite(float(trainer.train_step(batch)["loss"]))


def test_one_of_two_is_executed_and_differentiated():
    calls = tf.Variable(0)

    def execute():
        calls.assign_add(1)
        return {"features": variable**2, "count": (variable, None)}

    def skip():
        return {"features": 3 * variable, "count": (variable, None)}

    variable = tf.Variable(5.0)

    @tf.function
    def gradient(condition):
        with tf.GradientTape() as tape:
            result = run_if(condition, execute, skip)
        return tape.gradient(result["features"], variable)

    assert [float(gradient(tf.constant(condition))) for condition in (True, False, True)] == [10.0, 3.0, 10.0]
    assert int(calls) == 2
    assert float(run_if(tf.constant(True), execute, skip)["features"]) == 25.0
    assert int(calls) == 3


@pytest.mark.parametrize(
    ("model_type", "kwargs"), [("act_early_stopping", {}), ("vanilla", {"survival_probabilities": [1.0, 0.5]})]
)
def test_statistics_of_units_that_may_not_run_are_among_what_a_stateless_call_returns(model_type, kwargs):
    features = keras.Input((3, 5, 2))
    block = AdaptiveBlock([BasicUnit(2), BasicUnit(2)], model_type, **kwargs)
    model = keras.Model(features, block(features)["features"])
    trainable = [variable.value for variable in model.trainable_variables]
    others = [variable.value for variable in model.non_trainable_variables]
    batch = tf.constant(np.random.default_rng(0).normal(size=(4, 3, 5, 2)).astype("float32"))

    def call(others):
        return model.stateless_call(trainable, others, batch, training=True)

    traced = tf.function(call, autograph=False)
    for _ in range(3):  # With the seeds of stochastic depth, some step leaves the second unit out.
        (expected, updated), (ours, others) = call(others), traced(others)
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-5)
        for variable, value, theirs in zip(model.non_trainable_variables, others, updated, strict=True):
            np.testing.assert_allclose(value, theirs, rtol=1e-5, atol=1e-5, err_msg=variable.path)


class UnitWithLosses(keras.layers.Layer):
    """Adds one to its features, their mean before that to the losses, and 2 * .25 for a block that halts at once."""

    def __init__(self):
        super().__init__()
        units, halts_at_once = [keras.layers.Identity(), keras.layers.Identity()], HaltsAt(1)
        self.block = AdaptiveBlock(units, "act", ponder_weight=0.25, halting_branches=[halts_at_once])

    def call(self, features):
        self.add_loss(ops.mean(features))
        return self.block(features)["features"] + 1


class HaltsAt(keras.layers.Layer):
    """Halts an image whose features are at least a number."""

    def __init__(self, number):
        super().__init__()
        self.number = number

    def call(self, features, training=None):
        return ops.cast(ops.mean(features, axis=(1, 2, 3), keepdims=True) >= self.number, "float32")


@pytest.mark.parametrize(
    ("model_type", "kwargs"),
    [
        ("act_early_stopping", {"halting_branches": [HaltsAt(3), HaltsAt(3)]}),
        # The last unit survives no step.
        ("vanilla", {"survival_probabilities": [1.0, 1.0, 1e-9]}),
    ],
)
def test_what_units_that_may_not_run_add_to_the_losses_reaches_the_model(model_type, kwargs):
    features = keras.Input((2, 3, 4))
    block = AdaptiveBlock([UnitWithLosses() for _ in range(3)], model_type, **kwargs)
    model = keras.Model(features, block(features)["features"])
    state = [variable.value for variable in model.non_trainable_variables]

    @tf.function(autograph=False)
    def losses(batch):
        model(batch, training=True)
        stateful = sum(model.losses)
        *_, stateless = model.stateless_call([], state, batch, training=True, return_losses=True)
        return stateful, sum(stateless)

    np.testing.assert_allclose(losses(tf.ones((2, 2, 3, 4))), (1.0 + 0.5) + (2.0 + 0.5))
