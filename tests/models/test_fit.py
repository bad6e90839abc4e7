"""What people do with the networks in Keras: compile, fit, evaluate, predict, save, clone."""

import copy
import random

import keras
import numpy as np
import pytest
import tensorflow as tf

import sact_tf
from sact_tf.layers import BasicUnit
from sact_tf.models import Backbone, Classifier

LABELS = np.array([0, 2, 1, 2])
ONE_HOT = np.eye(3)[LABELS]


def network(model_type="sact", model="1_2_1", **kwargs):
    kwargs = {"tau": 0.0, "image_shape": (4, 4, 3), **kwargs}
    return sact_tf.cifar_resnet(model, model_type, num_classes=3, base_channels=2, **kwargs)


def shallow_network(**kwargs):
    """Of blocks of one unit each, so without decisions, whose step is traced in half the time."""
    return network(model="1", **kwargs)


@pytest.fixture(scope="module")
def images(make_images):
    return make_images(4, 4, 4)


@pytest.fixture(scope="module")
def frozen(images):
    """A network whose weights and statistics stay, so that all tests are about the same numbers, and its outputs."""
    model = network()
    model.trainable = False
    return model, model(images)


def evaluate(model, images, labels, compiled=None, graph=False, **kwargs):
    # A graph says the same, and takes ten times as long to make as this does.
    model.compile("sgd", run_eagerly=not graph, **(compiled or {}))
    return model.evaluate(images, labels, verbose=0, return_dict=True, **kwargs)


def two_replicas():
    devices = [device.name for device in tf.config.list_logical_devices("CPU")]
    return tf.distribute.MirroredStrategy(devices, tf.distribute.ReductionToOneDevice())


# Of a block's ponder weight, which is kept in the same way, tests/layers/test_adaptive_block.py shows it under XLA.
@pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_tau_takes_effect_in_the_next_step_of_what_is_compiled(jit_compile, images):
    model = shallow_network()
    model.compile(keras.optimizers.SGD(0.0), jit_compile=jit_compile)
    tau_takes_effect(model, images, LABELS)


def tau_takes_effect(model, images, labels):
    """Fits twice, without learning, in one batch. The moving statistics change, the batch's own do not."""
    fit = lambda: model.fit(images, labels, batch_size=len(images), shuffle=False, verbose=0).history  # noqa: E731
    model.tau = 0.0
    free = fit()
    function = model.train_function
    model.tau = 10.0
    assert model.tau == 10.0
    dear = fit()
    assert model.train_function is function
    assert dear["ponder_cost"][0] == pytest.approx(free["ponder_cost"][0], rel=1e-5)
    assert dear["loss"][0] - free["loss"][0] == pytest.approx(10 * free["ponder_cost"][0], rel=1e-4)


def test_replicas_make_the_step_of_one_on_the_same_images_and_tau_takes_effect_in_it(images):
    seen = []
    for strategy, repeats in (tf.distribute.get_strategy(), 1), (two_replicas(), 2):
        with strategy.scope():
            random.seed(3)
            model = network(tau=0.1)
            # One replica needs no graph for that.
            model.compile(keras.optimizers.SGD(0.1), run_eagerly=repeats == 1)
        # Each replica gets all four images.
        batch = np.concatenate([images] * repeats), np.tile(LABELS, repeats)
        history = model.fit(*batch, batch_size=4 * repeats, shuffle=False, verbose=0).history
        seen.append((history["loss"], model.logits_conv.kernel.numpy()))
    np.testing.assert_allclose(seen[1][0], seen[0][0], rtol=1e-5)
    np.testing.assert_allclose(seen[1][1], seen[0][1], atol=1e-6)
    model.optimizer.learning_rate = 0.0
    tau_takes_effect(model, *batch)


@pytest.mark.parametrize("tau", [-5, float("nan"), float("inf"), "x", None])
def test_tau_that_is_no_price_is_refused_where_it_is_set(frozen, tau):
    model, _ = frozen
    with pytest.raises(ValueError, match="finite number >= 0"):
        model.tau = tau
    assert model.tau == 0.0


def test_tau_as_it_is_survives_every_copy_and_is_no_weight(tmp_path):
    model = shallow_network(tau=0.3)
    weights, variables = len(model.weights), len(model.variables)
    model.tau = np.float32(0.125)
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    twins = [keras.models.load_model(tmp_path / "model.keras"), copy.deepcopy(model)]
    twins.append(type(model).from_config(model.get_config()))
    for twin in twins:
        assert twin.tau == 0.125
        assert (len(twin.weights), len(twin.variables)) == (weights, variables)
    other = shallow_network(tau=0.7)
    other.load_weights(tmp_path / "model.weights.h5")
    assert other.tau == 0.7


def test_tau_of_a_single_step_is_an_argument(frozen):
    model, outputs = frozen
    cost = sum(float(tf.reduce_mean(value)) for name, value in outputs.items() if name.endswith("/ponder_cost"))
    terms = model.loss_terms(LABELS, outputs, tau=tf.constant(0.5))
    assert float(terms["ponder"]) == pytest.approx(0.5 * cost)
    assert float(model.loss_terms(LABELS, outputs)["ponder"]) == 0.0


def test_ponder_cost_of_evaluate_is_the_sum_over_blocks_as_in_the_loss(frozen, images):
    model, outputs = frozen
    costs = [np.mean(value) for name, value in outputs.items() if name.endswith("/ponder_cost")]
    assert len(costs) == 3
    # Batches of 3 and 1 images weigh as many images as they have.
    assert evaluate(model, images, LABELS, batch_size=3)["ponder_cost"] == pytest.approx(sum(costs), rel=1e-5)


def test_forms_of_labels_are_one_and_the_same(frozen, images):
    model, outputs = frozen
    compiled = {"metrics": ["accuracy", "acc"]}
    expected = evaluate(model, images, LABELS, compiled, graph=True)
    assert expected["accuracy"] == pytest.approx(np.mean(np.argmax(outputs["logits"], -1) == LABELS))
    assert set(expected) == {"loss", "accuracy", "acc", "ponder_cost"}
    for labels in (LABELS[:, None], LABELS.astype("float32"), LABELS.astype("uint8"), ONE_HOT):
        assert evaluate(model, images, labels, compiled) == pytest.approx(expected, rel=1e-5)


def test_metrics_are_of_the_logits_and_weighted_where_asked(frozen, images):
    model, outputs = frozen
    hits = np.argmax(outputs["logits"], -1) == LABELS
    weights = np.array([1.0, 0.0, 2.0, 5.0])
    top2 = keras.metrics.SparseTopKCategoricalAccuracy(2, name="top2")
    compiled = {"metrics": [top2], "weighted_metrics": ["accuracy"]}
    results = evaluate(model, images, LABELS, compiled, sample_weight=weights)
    assert results["accuracy"] == pytest.approx(np.average(hits, weights=weights))
    order = np.argsort(np.array(outputs["logits"]), -1)[:, -2:]
    assert results["top2"] == pytest.approx(np.mean([label in row for label, row in zip(LABELS, order, strict=True)]))
    # As a list: one value a name.
    assert len(model.evaluate(images, LABELS, sample_weight=weights, verbose=0)) == 4


def test_metrics_of_probabilities_are_named_so(frozen, images):
    model, outputs = frozen
    entropy = keras.metrics.SparseCategoricalCrossentropy(name="entropy")
    results = evaluate(model, images, LABELS, {"metrics": {"predictions": [entropy]}, "weighted_metrics": ["acc"]})
    expected = -np.mean(np.log(np.array(outputs["predictions"])[np.arange(4), LABELS]))
    assert results["predictions_entropy"] == pytest.approx(expected, rel=1e-5)
    assert "logits_acc" in results


@pytest.mark.parametrize("labels", [LABELS, ONE_HOT], ids=["ints", "one-hot"])
def test_sample_and_class_weights_weigh_the_cross_entropy(frozen, images, labels):
    model, outputs = frozen
    each = -np.log(np.array(outputs["predictions"])[np.arange(4), LABELS])
    weights = np.array([3.0, 0.5, 0.0, 0.5])
    # Of frozen kernels there is no L2, and tau is zero.
    expected = np.mean(weights * each)
    for given in (weights, weights[:, None]):
        assert evaluate(model, images, labels, sample_weight=given)["loss"] == pytest.approx(expected, rel=1e-5)
    by_class = {0: 3.0, 1: 0.0, 2: 0.5}
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    trained = model.train_on_batch(images, labels, class_weight=by_class, return_dict=True)
    same = model.train_on_batch(images, labels, sample_weight=weights, return_dict=True)
    plain = model.train_on_batch(images, labels, return_dict=True)
    assert trained["loss"] == pytest.approx(same["loss"], rel=1e-5)
    assert same["loss"] != pytest.approx(plain["loss"], rel=1e-2)


def test_data_sets_and_generators_are_taken(images):
    model = shallow_network()
    # Graphs of all three are made elsewhere; here it is what goes into them.
    model.compile("sgd", metrics=["accuracy"], run_eagerly=True)
    data = tf.data.Dataset.from_tensor_slices((images, ONE_HOT, np.ones(4))).batch(2)
    history = model.fit(data, validation_data=data, verbose=0).history
    assert {"loss", "accuracy", "val_loss", "val_accuracy", "val_ponder_cost"} <= set(history)
    generator = ((images[:2], ONE_HOT[:2]) for _ in range(2))
    assert np.isfinite(model.fit(generator, steps_per_epoch=2, verbose=0).history["loss"]).all()
    assert np.isfinite(model.test_on_batch(images, ONE_HOT)[0])


@pytest.fixture(scope="module")
def compiled():
    """A network whose training step is made once."""
    model = shallow_network()
    model.compile(keras.optimizers.SGD(0.0))
    return model


@pytest.mark.parametrize("label", [3, 999, -1, 1.5])
def test_labels_that_are_no_classes_end_training(compiled, images, label, eagerly):
    # Floats, for one trace of all; ints are refused by replicas below, and give NaN under XLA.
    labels = np.array([0, 1, label, 2], "float32")
    with pytest.raises(tf.errors.InvalidArgumentError, match="Labels must be whole numbers from 0 to 2"):
        compiled.fit(images, labels, verbose=0)
    with eagerly(), pytest.raises(ValueError, match="Labels must be whole numbers from 0 to 2"):
        compiled.train_on_batch(images, labels)


def test_labels_that_are_no_classes_give_nan_under_xla(images):
    model = shallow_network()
    model.compile(keras.optimizers.SGD(0.0), jit_compile=True)
    assert np.isnan(model.evaluate(images, np.array([0, 1, 3, 2]), verbose=0)[0])


def test_where_all_is_finite_no_operation_of_a_graph_has_nan(frozen, images):
    loss = tf.function(lambda images: sact_tf.losses.cross_entropy(LABELS, frozen[0](images)["logits"]))
    tf.debugging.enable_check_numerics()
    try:
        assert np.isfinite(loss(tf.constant(images)))
        with pytest.raises(tf.errors.InvalidArgumentError, match="NaN"):
            loss(tf.where(images > 0.5, np.nan, images))
    finally:
        tf.debugging.disable_check_numerics()


def test_replicas_refuse_labels_take_one_hot_and_weigh(images):
    weights = np.array([1.0, 0.0, 2.0, 5.0])
    with two_replicas().scope():
        model = shallow_network()
    results = evaluate(model, images, ONE_HOT, {"metrics": ["accuracy"]}, graph=True, sample_weight=weights)
    alone = shallow_network()
    alone.set_weights(model.get_weights())
    expected = evaluate(alone, images, LABELS, sample_weight=weights)
    assert results == pytest.approx(expected, rel=1e-5)
    with pytest.raises(tf.errors.InvalidArgumentError, match="Labels must be whole numbers from 0 to 2"):
        evaluate(model, images, np.array([0, 1, 3, 2]), graph=True)


@pytest.mark.parametrize("labels", [None, np.zeros((4, 2)), np.zeros((4, 3, 1)), np.array(["a", "b", "c", "d"])])
@pytest.mark.parametrize("method", ["fit", "evaluate"])
def test_missing_or_misshapen_labels_are_refused(frozen, images, method, labels):
    model, _ = frozen
    model.compile(keras.optimizers.SGD(0.0), run_eagerly=True)
    with pytest.raises(ValueError, match=r"Labels must be whole numbers from 0 to 2|Invalid dtype: str"):
        getattr(model, method)(images, labels, verbose=0)


def test_what_layers_of_somebody_s_backbone_add_to_the_loss_is_in_it_once(images):
    stem, block = keras.layers.ActivityRegularization(l2=0.5), sact_tf.AdaptiveBlock([BasicUnit(3)], "vanilla")
    model = Classifier(Backbone([stem], {"block1": block}, (4, 4, 3), 1), 3)
    loss = evaluate(model, images, LABELS, batch_size=4)["loss"]
    # Keras divides by the batch.
    ours = sum(model.loss_terms(LABELS, model(images)).values())
    assert loss == pytest.approx(float(ours) + 0.5 * np.sum(np.square(images)) / 4, rel=1e-5)


@pytest.mark.parametrize("given", [{"loss": "mse"}, {"loss_weights": [1.0]}, {"loss": {"logits": "mse"}}])
def test_loss_is_refused_in_compile_with_the_way_out(frozen, given):
    with pytest.raises(ValueError, match=r"has its own loss(.|\n)*model\.tau(.|\n)*model\.backbone"):
        frozen[0].compile("sgd", **given)


def test_metrics_of_other_outputs_are_refused_in_compile(frozen):
    with pytest.raises(ValueError, match=r"'logits', 'predictions'(.|\n)*block_1"):
        frozen[0].compile("sgd", metrics={"block_1": ["accuracy"]})


@pytest.mark.usefixtures("without_graphs")
def test_compiled_model_reloads_compiled_and_one_that_named_a_loss_before_does_too(images, tmp_path):
    model = shallow_network()
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), metrics=["accuracy"])
    model.fit(images, LABELS, verbose=0)
    model.save(tmp_path / "model.keras")
    reloaded = keras.models.load_model(tmp_path / "model.keras")
    expected = model.evaluate(images, LABELS, verbose=0, return_dict=True)
    assert reloaded.evaluate(images, LABELS, verbose=0, return_dict=True) == pytest.approx(expected, rel=1e-5)
    assert int(reloaded.optimizer.iterations) == 1
    reloaded.compile_from_config({**model.get_compile_config(), "loss": "mse"})
    assert reloaded.compiled


@pytest.mark.parametrize("dtype", ["mixed_float16", "mixed_bfloat16", "float32"])
def test_loss_is_scaled_for_mixed_float16_as_an_argument(dtype):
    model = network("vanilla", dtype=dtype)
    model.compile("sgd")
    scales = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scales == (dtype == "mixed_float16")


def test_clone_model_refuses_and_names_the_ways_that_work(frozen):
    model, _ = frozen
    for each in (model, model.backbone):
        with pytest.raises(ValueError, match=r"from_config\(model\.get_config\(\)\)(.|\n)*deepcopy"):
            keras.models.clone_model(each)


def test_clone_model_of_somebody_s_model_clones_the_network_in_it(frozen):
    model, _ = frozen
    inputs = keras.Input((4, 4, 3))
    twin = keras.models.clone_model(keras.Model(inputs, model(inputs)["logits"])).get_layer(model.name)
    assert type(twin) is type(model)
    assert twin is not model
    assert twin.get_config() == model.get_config()


@pytest.mark.usefixtures("without_graphs")
def test_predict_leaves_the_features_out_unless_asked(frozen, images):
    model, outputs = frozen
    predicted = model.predict(images, batch_size=3, verbose=0)
    assert set(outputs) - set(predicted) == set(model.blocks)
    np.testing.assert_allclose(predicted["logits"], outputs["logits"], rtol=1e-4, atol=1e-5)
    assert set(model.predict(images, features=True, verbose=0)) == set(outputs)
    assert set(model.predict_on_batch(images)) == set(predicted)
    assert set(model.predict_on_batch(images, features=True)) == set(outputs)
    assert set(model.blocks) <= set(model.backbone.predict(images, verbose=0))
    with pytest.raises(ValueError, match=r"`predict` takes one image or more: there was no batch with any"):
        model.predict(images[:0], verbose=0)


def test_label_smoothing_is_checked_where_it_is_set(frozen):
    with pytest.raises(ValueError, match=r"\[0, 1\). Received: label_smoothing=7"):
        frozen[0].label_smoothing = 7
