"""Which unit runs where: rules that are handed in for a call, and stochastic depth."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import sact_tf
from sact_tf.layers import AdaptiveBlock, BasicUnit, BottleneckUnit
from sact_tf.layers.unit_rules import UnitRule, run_units_by


@keras.saving.register_keras_serializable(package="sact_tf_tests")
class PowerUnit(keras.layers.Layer):
    """Adds a power of ten, times a weight of one; counts how often it runs forward and backward."""

    def __init__(self, exponent, **kwargs):
        super().__init__(**kwargs)
        self.exponent = exponent

    def build(self, input_shape):
        self.weight = self.add_weight(shape=(), initializer="ones")
        self.forward = self.add_weight(shape=(), dtype="int32", initializer="zeros", trainable=False)
        self.backward = []

    def call(self, features):
        self.forward.assign_add(1)

        def count(upstream):
            self.backward.append(1)
            return upstream

        @tf.custom_gradient
        def counted(residual):
            return tf.identity(residual), lambda upstream: tf.numpy_function(count, [upstream], upstream.dtype)

        return features + counted(10.0**self.exponent * self.weight * ops.ones_like(features))

    def get_config(self):
        return {**super().get_config(), "exponent": self.exponent}


def power_block(model_type="vanilla", **kwargs):
    """Its output is a number whose digits say which of its three units ran: 111 for all, 101 without the second."""
    return AdaptiveBlock([PowerUnit(exponent) for exponent in range(3)], model_type, **kwargs)


def run_by(block, features, rule, **kwargs):
    with run_units_by({id(block): rule}):
        return block(features, **kwargs)


ZEROS = np.zeros((2, 3, 4, 1), "float32")


@pytest.mark.parametrize("compiled", [False, True])
def test_a_unit_that_is_not_kept_is_executed_neither_forward_nor_backward(compiled):
    block = power_block()
    block(ZEROS)
    weights = [unit.weight.value for unit in block.units]

    def differentiate(kept):
        with tf.GradientTape() as tape:
            output = run_by(block, tf.constant(ZEROS), UnitRule(kept=kept))["features"]
        return output, tape.gradient(output, weights, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    run = tf.function(differentiate, autograph=False) if compiled else differentiate
    output, gradients = run(tf.constant([True, False, True]))
    np.testing.assert_array_equal(output, np.full(ZEROS.shape, 101.0))
    assert [float(gradient) for gradient in gradients] == [24, 0, 2400]
    # Once more when the block was built.
    assert [int(unit.forward) for unit in block.units] == [2, 1, 2]
    assert [len(unit.backward) for unit in block.units] == [1, 0, 1]


@pytest.mark.parametrize(
    ("kept", "digits"),
    [
        ([[True, True, False], [False, True, True]], [[[11]], [[110]]]),
        (np.arange(2 * 3 * 4 * 3).reshape(2, 3, 4, 3) % 2 == 0, None),
    ],
)
def test_units_of_anybody_are_kept_by_image_and_by_position(kept, digits):
    outputs = run_by(power_block(), ZEROS, UnitRule(kept=np.array(kept)))["features"][..., 0]
    expected = (np.array(kept) * [1, 10, 100]).sum(-1) if digits is None else np.broadcast_to(digits, (2, 3, 4))
    np.testing.assert_array_equal(outputs, expected)


@pytest.mark.parametrize(
    "unit",
    [BasicUnit(6), BasicUnit(8, stride=2), BasicUnit(6, activated_shortcut=True), BottleneckUnit(8, 2, stride=2)],
    ids=["basic", "strides", "activated", "projects"],
)
def test_where_our_units_are_not_kept_their_shortcut_remains(unit, make_images):
    block, images = AdaptiveBlock([unit], "vanilla"), make_images(2, 6, 4, channels=6)
    whole = block(images)["features"]
    skipped = unit(images, skip_residual=True)
    none = run_by(block, images, UnitRule(kept=[False]))["features"]
    np.testing.assert_array_equal(none, skipped)
    kept = np.arange(np.prod(whole.shape[:3])).reshape((*whole.shape[:3], 1)) % 3 == 0
    some = run_by(block, images, UnitRule(kept=kept))["features"]
    np.testing.assert_allclose(some, np.where(kept, whole, skipped), atol=1e-6)


@pytest.mark.parametrize("unit", [BasicUnit(6, activated_shortcut=True), BottleneckUnit(8, 2)])
def test_moving_statistics_of_a_unit_that_does_not_run_stay_as_they_are(unit, make_images):
    block, images = AdaptiveBlock([unit], "vanilla"), make_images(4, 6, 5, channels=6)
    whole = block(images, training=True)["features"]
    # Its shortcut is normalized by the batch, as where the unit runs: what the residual adds is all that is missing.
    before = [np.array(variable) for variable in unit.variables]
    skipped = run_by(block, images, UnitRule(kept=[False]), training=True)["features"]
    for variable, value in zip(unit.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value, err_msg=variable.path)
    conv = unit.conv2 if isinstance(unit, BasicUnit) else unit.conv3
    conv.kernel.assign(np.zeros(conv.kernel.shape))
    np.testing.assert_allclose(block(images, training=True)["features"], skipped, atol=1e-5)
    assert np.abs(whole - skipped).max() > 0.1


@keras.saving.register_keras_serializable(package="sact_tf_tests")
class Half(keras.layers.Layer):
    """A halting branch that always says one half."""

    def __init__(self, per_image=False, **kwargs):
        super().__init__(**kwargs)
        self.per_image = per_image

    def call(self, features, training=None):
        half = ops.zeros_like(features[..., :1]) + 0.5
        return half[:, :1, :1] if self.per_image else half


class MaskedPowerUnit(PowerUnit):
    def call(self, features, residual_mask=None):
        after = super().call(features)
        return after if residual_mask is None else ops.where(residual_mask, after, features)


@pytest.mark.parametrize("model_type", ["act", "act_early_stopping", "sact"])
@pytest.mark.parametrize(
    ("kept", "num_units", "distribution", "output"),
    [
        # Each unit says one half, so two of them halt a position: outputs 1 and 11 have one half each.
        ([True, True, True], 2, [0.5, 0.5, 0], 6.0),
        ([False, True, True], 2, [0, 0.5, 0.5], (10 + 110) / 2),
        ([True, False, True], 2, [0.5, 0, 0.5], (1 + 101) / 2),
        # What is left at the end goes to the features as they are, and no unit is counted for it.
        ([True, False, False], 1, [0.5, 0, 0.5], 1.0),
        ([False, False, False], 0, [0, 0, 1], 0.0),
    ],
)
def test_halting_takes_a_unit_that_does_not_run_for_one_that_is_not_there(
    model_type, kept, num_units, distribution, output
):
    branches = [Half(model_type != "sact") for _ in range(2)]
    units = [MaskedPowerUnit(exponent) for exponent in range(3)]
    block = AdaptiveBlock(units, model_type, halting_branches=branches)
    block(ZEROS)
    forms = [np.array(kept), np.broadcast_to(kept, (2, 3))]
    forms += [np.broadcast_to(kept, (2, 3, 4, 3))] if model_type == "sact" else []
    for form in forms:
        outputs = run_by(block, ZEROS, UnitRule(kept=form))
        np.testing.assert_array_equal(np.unique(outputs["num_units"]), [num_units])
        np.testing.assert_allclose(outputs["features"], np.full(ZEROS.shape, output), rtol=1e-6)
        distributions = np.reshape(outputs["halting_distribution"], (-1, 3))
        np.testing.assert_allclose(distributions, np.broadcast_to(distribution, distributions.shape), atol=1e-6)
        # Units that ran, and what was left when the last of them halted.
        np.testing.assert_allclose(outputs["ponder_cost"], num_units + max(distribution[2], 0.5), atol=1e-6)


def test_a_handed_distribution_takes_the_place_of_the_block_s_decisions():
    units = [MaskedPowerUnit(exponent) for exponent in range(3)]
    block = AdaptiveBlock(units, "sact", halting_branches=[Half(), Half()])
    kept = np.broadcast_to([True, True, True], (2, 3, 4, 3)).copy()
    distribution = np.broadcast_to([0.25, 0.25, 0.5], kept.shape).copy()
    kept[1, 0, 0], distribution[1, 0, 0] = [True, False, False], [1, 0, 0]
    outputs = run_by(block, ZEROS, UnitRule(kept=kept, halting_distribution=distribution.astype("float32")))
    expected = np.full((2, 3, 4), 0.25 * 1 + 0.25 * 11 + 0.5 * 111)
    expected[1, 0, 0] = 1
    np.testing.assert_allclose(outputs["features"][..., 0], expected)
    np.testing.assert_array_equal(outputs["num_units"], kept.sum(-1))


def test_gradients_pass_by_residuals_that_are_constants(make_images):
    block, images = AdaptiveBlock([BasicUnit(6), BasicUnit(6)], "vanilla"), tf.constant(make_images(2, 4, 3, 6))
    gradients = []
    for differentiated in ([True, True], [False, True], [False, False]):
        with tf.GradientTape() as tape:
            tape.watch(images)
            output = run_by(block, images, UnitRule(differentiated=differentiated))["features"]
        gradients.append(tape.gradient(output, images))
        np.testing.assert_allclose(output, block(images)["features"], atol=1e-6)
    with tf.GradientTape() as tape:
        tape.watch(images)
        output = block(images)["features"]
    np.testing.assert_allclose(gradients[0], tape.gradient(output, images), atol=1e-6)
    np.testing.assert_array_equal(gradients[2], np.ones(images.shape))
    assert np.abs(gradients[1] - gradients[0]).max() > 0.01 < np.abs(gradients[1] - gradients[2]).max()


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        ([True, False], r"an entry for each of the 3 units of block '.+' in its last axis. Received: shape=\(2,\)"),
        ([1, 0, 1], r"must be bool.*dtype=int"),
        (np.ones((2, 3, 4), bool), r"Received for block '.+': dtype=bool, shape=\(2, 3, 4\)"),
    ],
)
def test_a_rule_that_does_not_fit_is_refused(kept, message):
    with pytest.raises(ValueError, match=message):
        run_by(power_block(), ZEROS, UnitRule(kept=np.array(kept)))


def test_positions_are_refused_where_whole_images_halt():
    with pytest.raises(ValueError, match=r"halts whole images, so `kept` must be \(units,\) or \(batch, units\)"):
        run_by(AdaptiveBlock([BasicUnit(3)], "act"), ZEROS, UnitRule(kept=np.ones((2, 3, 4, 1), bool)))


class Widening(keras.layers.Layer):
    def call(self, features):
        return ops.concatenate([features, features], -1)


def test_somebody_s_unit_that_changes_the_shape_has_to_say_what_remains_of_it():
    block = AdaptiveBlock([Widening()], "vanilla")
    block(ZEROS)
    with pytest.raises(ValueError, match=r"Widening, changes the shape .* argument `skip_residual`"):
        run_by(block, ZEROS, UnitRule(kept=[True]))


def test_survival_falls_linearly_over_all_units_of_the_network():
    model = sact_tf.cifar_resnet("1_2_1", "vanilla", base_channels=2, final_survival_probability=0.2)
    probabilities = [block.survival_probabilities for block in model.blocks.values()]
    np.testing.assert_allclose(np.concatenate(probabilities), [0.8, 0.6, 0.4, 0.2])


def test_inference_multiplies_residuals_by_their_survival_probability():
    output = power_block(survival_probabilities=[1, 0.5, 0.25])(ZEROS, training=False)["features"]
    np.testing.assert_allclose(output, np.full(ZEROS.shape, 1 + 5 + 25))


def test_training_draws_which_units_survive_for_all_images_together():
    block = power_block(survival_probabilities=[1, 0.5, 0.1])
    draw = tf.function(lambda: block(ZEROS, training=True)["features"])
    outputs = [np.array(draw()) for _ in range(300)]
    assert all(len(np.unique(output)) == 1 for output in outputs)
    digits = np.array([f"{int(output.max()):03d}"[::-1] for output in outputs])
    shares = [np.mean([text[unit] == "1" for text in digits]) for unit in range(3)]
    # Three deviations of 300 draws.
    assert shares[0] == 1 and abs(shares[1] - 0.5) < 0.09 and abs(shares[2] - 0.1) < 0.06


def test_survival_that_is_set_later_is_refused_with_the_way_out():
    block = power_block(survival_probabilities=[1, 0.5, 0.25])
    with pytest.raises(ValueError, match=r"(?s)settled when it is made.*from_config.*Received: .*\[1, 1, 1\]"):
        block.survival_probabilities = [1, 1, 1]
    assert block.survival_probabilities == [1, 0.5, 0.25]


def test_survival_of_one_is_the_network_as_it_was():
    plain = sact_tf.cifar_resnet("2", "vanilla", base_channels=2)
    certain = sact_tf.cifar_resnet("2", "vanilla", base_channels=2, final_survival_probability=1.0)
    assert len(certain.variables) == len(plain.variables)
    certain.set_weights(plain.get_weights())
    images = np.random.default_rng(0).normal(size=(3, 32, 32, 3)).astype("float32")
    for training in (False, True):
        expected, actual = (model(images, training=training)["logits"] for model in (plain, certain))
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("network", ["cifar", "imagenet"])
def test_draws_and_probabilities_are_saved_with_the_model(network, tmp_path):
    arguments = {"base_channels": 2, "final_survival_probability": 0.3, "num_classes": 5}
    if network == "cifar":
        model, size = sact_tf.cifar_resnet("2", "vanilla", **arguments), 32
    else:
        model, size = sact_tf.imagenet_resnet("1_1_1_1", "vanilla", **arguments), 33
    images = np.random.default_rng(0).normal(size=(2, size, size, 3)).astype("float32")
    model(images, training=True)
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    reloaded = keras.models.load_model(tmp_path / "model.keras")
    fresh = type(model).from_config(model.get_config())
    fresh.load_weights(tmp_path / "model.weights.h5")
    expected = [np.array(model(images, training=True)["logits"]) for _ in range(4)]
    assert len(np.unique([each.sum() for each in expected])) > 1
    for twin in (reloaded, fresh):
        for each in expected:
            np.testing.assert_allclose(twin(images, training=True)["logits"], each, rtol=1e-4, atol=1e-5)


def test_weights_of_constant_and_stochastic_depth_fit_each_other(tmp_path):
    plain = sact_tf.cifar_resnet("1", "vanilla", base_channels=2)
    stochastic = sact_tf.cifar_resnet("1", "vanilla", base_channels=2, final_survival_probability=0.5)
    for source, target in ((plain, stochastic), (stochastic, plain)):
        source.save_weights(tmp_path / "a.weights.h5")
        target.load_weights(tmp_path / "a.weights.h5")
        np.testing.assert_array_equal(target.logits_conv.kernel, source.logits_conv.kernel)
    sact_tf.save_release_checkpoint(plain, str(tmp_path), 1)
    sact_tf.load_release_checkpoint(stochastic, str(tmp_path))


@pytest.mark.parametrize("make", [sact_tf.cifar_resnet, sact_tf.imagenet_resnet])
def test_the_engine_folds_survival_into_the_weights(make, make_images):
    kwargs = {"model": "2_1_1"} if make is sact_tf.cifar_resnet else {"model": "2_1_1_1"}
    model = make(**kwargs, model_type="vanilla", base_channels=2, final_survival_probability=0.3)
    images = make_images(2, 32, 32)
    expected = model(images, training=False)["logits"]
    np.testing.assert_allclose(sact_tf.sparse.compile(model)(images)["logits"], expected, rtol=1e-4, atol=1e-4)


def test_a_plain_stack_has_no_shortcuts_in_the_engine_either(make_images):
    model = sact_tf.cifar_resnet("2_1_1", "vanilla", base_channels=2, shortcuts=False)
    images = make_images(2, 32, 32)
    expected = model(images, training=False)["logits"]
    np.testing.assert_allclose(sact_tf.sparse.compile(model)(images)["logits"], expected, rtol=1e-4, atol=1e-4)
    first = model.blocks["block_1"].units[1]
    for variable in first.conv2.variables:
        variable.assign(np.zeros(variable.shape))
    np.testing.assert_array_equal(first(make_images(1, 4, 4, channels=2)), np.zeros((1, 4, 4, 2)))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_survives_and_skips_in_the_compute_dtype(policy, make_images):
    model = sact_tf.imagenet_resnet("1_1_1_1", "vanilla", base_channels=2, final_survival_probability=0.1, dtype=policy)
    for _ in range(3):
        outputs = model(make_images(2, 33, 40), training=True)
        assert np.isfinite(outputs["logits"]).all()
        assert keras.backend.standardize_dtype(outputs["block4"].dtype) == policy.removeprefix("mixed_")


def test_xla_draws_and_skips_too():
    block = power_block(survival_probabilities=[0.5, 0.5, 0.5])
    block(ZEROS)
    step = tf.function(lambda features: block(features, training=True)["features"], jit_compile=True)
    outputs = {float(np.array(step(tf.constant(ZEROS))).max()) for _ in range(40)}
    assert outputs <= {0, 1, 10, 11, 100, 101, 110, 111} and len(outputs) > 4
    runs = [int(unit.forward) - 1 for unit in block.units]
    assert all(8 < count < 32 for count in runs)


def test_replicas_drop_the_same_units_in_fit():
    strategy = tf.distribute.MirroredStrategy([device.name for device in tf.config.list_logical_devices("CPU")])
    with strategy.scope():
        block = power_block(survival_probabilities=[0.5, 0.5, 0.5])
        block(ZEROS)
    step = tf.function(lambda: strategy.run(lambda: block(tf.constant(ZEROS), training=True)["features"]))
    for _ in range(8):
        first, second = (np.array(value) for value in strategy.experimental_local_results(step()))
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: sact_tf.cifar_resnet("1", "sact", final_survival_probability=0.5),
            r"Stochastic depth is for model_type='vanilla'.*fine-tune.*Received: final_survival_probability=0.5",
        ),
        (
            lambda: sact_tf.imagenet_resnet("50", "vanilla", final_survival_probability=0),
            r"must lie in \(0, 1\].*Received: final_survival_probability=0",
        ),
        (
            lambda: sact_tf.cifar_resnet("1", "act", shortcuts=False),
            "Halting keeps what a position has",
        ),
        (
            lambda: sact_tf.cifar_resnet("1", "vanilla", shortcuts="no"),
            "must be True or False. Received",
        ),
        (lambda: power_block(survival_probabilities=[0.5, 1]), "for each of the 3 units"),
        (lambda: power_block(survival_probabilities=[0.5, 1, 1.5]), r"a number in \(0, 1\]"),
        (
            lambda: AdaptiveBlock([BasicUnit(2)], "sact", survival_probabilities=[0.5]),
            "a block that halts decides by itself",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
