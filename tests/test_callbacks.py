import keras
import numpy as np
import pytest
import tensorflow as tf

import sact_tf
from sact_tf.callbacks import TauSchedule
from sact_tf.layers import BasicUnit


class Record(keras.callbacks.Callback):
    """What a function of the model is after each step."""

    def __init__(self, read):
        super().__init__()
        self.read = read
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(self.read(self.model))


@pytest.fixture(scope="module")
def model():
    model = sact_tf.cifar_resnet("1", "sact", num_classes=3, base_channels=2, tau=0.5, image_shape=(4, 4, 3))
    model.compile("sgd")
    return model


def fit(model, *callbacks, steps=2, epochs=1):
    keras.utils.set_random_seed(2)
    images = np.random.default_rng(1).uniform(-1, 1, (2 * steps, 4, 4, 3)).astype("float32")
    model.fit(images, np.arange(2 * steps) % 3, batch_size=2, epochs=epochs, verbose=0, callbacks=list(callbacks))


def test_warm_up_rises_linearly_and_goes_on_where_the_optimizer_is(model):
    model.optimizer.iterations.assign(0)
    record = Record(lambda model: model.tau)
    fit(model, TauSchedule.linear(0.2, 5), record, epochs=2)
    np.testing.assert_allclose(record.seen, [0.04, 0.08, 0.12, 0.16])
    # Another `fit`: two steps more, and the last value stays.
    fit(model, TauSchedule.linear(0.2, 5), record)
    np.testing.assert_allclose(record.seen[4:], [0.2, 0.2])
    assert model.tau == 0.2


def test_schedules_of_keras_are_schedules(model):
    model.optimizer.iterations.assign(0)
    record = Record(lambda model: model.tau)
    fit(model, TauSchedule(keras.optimizers.schedules.PolynomialDecay(0.4, 2, 0.1)), record)
    np.testing.assert_allclose(record.seen, [0.4, 0.25], rtol=1e-6)


def test_value_of_the_epoch_is_printed_on_demand(model, capsys):
    fit(model, TauSchedule(lambda step: 0.125, verbose=1))
    assert "Epoch 1: TauSchedule sets the weight of the ponder cost to 0.125." in capsys.readouterr().out


def blocks_model(ponder_weight):
    images = keras.Input((4, 4, 3))
    features = keras.layers.Conv2D(2, 1)(images)
    for name in ("first", "second"):
        units = [BasicUnit(2), BasicUnit(2)]
        features = sact_tf.AdaptiveBlock(units, "sact", ponder_weight=ponder_weight, name=name)(features)["features"]
    model = keras.Model(images, keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(features)))
    # What a graph makes of a weight that changes is in tests/models/test_fit.py.
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), run_eagerly=True)
    return model


def test_blocks_of_any_model_are_scheduled():
    model = blocks_model(ponder_weight=0.0)
    fit(model, TauSchedule.linear(0.2, 4))
    assert [model.get_layer(name).ponder_weight for name in ("first", "second")] == [0.1, 0.1]


def test_steps_are_counted_where_replicas_share_an_optimizer():
    devices = [device.name for device in tf.config.list_logical_devices("CPU")]
    with tf.distribute.MirroredStrategy(devices).scope():
        model = blocks_model(ponder_weight=0.0)
        rising = TauSchedule.linear(0.2, 4)
        rising.set_model(model)
        rising.on_train_begin()
        model.optimizer.iterations.assign(2)
        rising.on_train_batch_begin(2)
    assert [model.get_layer(name).ponder_weight for name in ("first", "second")] == pytest.approx([0.15, 0.15])


class Cooled(keras.Model):
    """A model of somebody else, who calls a temperature `tau`."""

    tau = 4.0


def test_what_somebody_calls_tau_is_left_alone():
    inner = blocks_model(ponder_weight=0.0)
    model = Cooled(inner.inputs, inner.outputs)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    rising = TauSchedule.linear(0.2, 4)
    rising.set_model(model)
    rising.on_train_begin()
    assert model.tau == 4.0
    assert [model.get_layer(name).ponder_weight for name in ("first", "second")] == [0.05, 0.05]


def test_model_that_was_compiled_without_an_optimizer_is_refused():
    model = blocks_model(ponder_weight=0.0)
    model.compile(optimizer=None)
    rising = TauSchedule.linear(0.2, 4)
    rising.set_model(model)
    with pytest.raises(ValueError, match=r"compiled without one\. Hand it to `compile`"):
        rising.on_train_begin()


def test_model_without_a_weight_to_set_is_refused():
    with pytest.raises(ValueError, match=r"nothing to set(.|\n)*0\.0 will do"):
        fit(blocks_model(ponder_weight=None), TauSchedule.linear(0.2, 4))


def test_model_around_a_network_is_told_where_the_price_goes(model):
    images = keras.Input((4, 4, 3))
    student = keras.Model(images, model(images)["logits"])
    student.compile("sgd", "mse")
    with pytest.raises(ValueError, match=rf"has '{model.name}' in it(.|\n)*tau=sact_tf\.losses\.warmed_up_tau"):
        student.fit(np.zeros((2, 4, 4, 3)), np.zeros((2, 3)), verbose=0, callbacks=[TauSchedule.linear(0.2, 4)])


@pytest.mark.parametrize("value", [-0.1, float("nan"), None, "0.1", np.ones(2)])
def test_schedule_that_leaves_the_range_is_refused(model, value):
    with pytest.raises(ValueError, match=r"finite number >= 0(.|\n)*schedule\(\d+\)="):
        fit(model, TauSchedule(lambda step: value))


def test_schedule_that_is_none_is_refused():
    with pytest.raises(ValueError, match="function of the step"):
        TauSchedule(0.1)


@pytest.mark.parametrize("tau", [-1.0, float("nan"), "0.1"])
def test_a_warm_up_to_no_price_is_refused_when_it_is_made(tau):
    with pytest.raises(ValueError, match="must be a finite number >= 0"):
        TauSchedule.linear(tau, 5)
