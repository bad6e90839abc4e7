import copy
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import sact_tf
from sact_tf import halting
from sact_tf.config import MODEL_TYPES
from sact_tf.layers import AdaptiveBlock, BasicUnit, BottleneckUnit, make_halting_branches

ADAPTIVE_TYPES = MODEL_TYPES[1:]
HALTS_NEVER, HALTS_AT_ONCE = -20.0, 20.0


@keras.saving.register_keras_serializable(package="sact_tf_tests")
class CountingUnit(keras.layers.Layer):
    """Adds one to channel 0, and counts its executions. The other channels hold halting probabilities."""

    def build(self, input_shape):
        self.executions = self.add_weight(shape=(), dtype="int32", initializer="zeros", trainable=False)

    def call(self, features, residual_mask=None):
        self.executions.assign_add(1)
        residual = ops.one_hot(0, features.shape[-1]) * ops.ones_like(features)
        if residual_mask is not None:
            residual = ops.where(residual_mask, residual, 0.0)
        return features + residual


@keras.saving.register_keras_serializable(package="sact_tf_tests")
class ReadProbability(keras.layers.Layer):
    """A halting branch that finds its probability in a channel of the features."""

    def __init__(self, channel, per_image, **kwargs):
        super().__init__(**kwargs)
        self.channel = channel
        self.per_image = per_image

    def call(self, features, training=None):
        probability = features[..., self.channel : self.channel + 1]
        return ops.mean(probability, axis=(1, 2), keepdims=True) if self.per_image else probability

    def get_config(self):
        return {**super().get_config(), "channel": self.channel, "per_image": self.per_image}


@keras.saving.register_keras_serializable(package="sact_tf_tests")
class SomebodysUnit(keras.layers.Layer):
    """What a user might write: depthwise and pointwise convolution, layer normalization."""

    def __init__(self, channels, **kwargs):
        super().__init__(**kwargs)
        self.channels = channels
        self.depthwise = keras.layers.DepthwiseConv2D(3, padding="same")
        self.pointwise = keras.layers.Dense(channels, activation="gelu")
        self.normalize = keras.layers.LayerNormalization()

    def build(self, input_shape):
        for layer in (self.normalize, self.depthwise, self.pointwise):
            layer.build(input_shape)

    def call(self, features, residual_mask=None, training=None):
        residual = self.pointwise(self.depthwise(self.normalize(features)))
        if residual_mask is not None:
            residual = ops.where(residual_mask, residual, 0.0)
        return features + residual

    def get_config(self):
        return {**super().get_config(), "channels": self.channels}


class UnmaskedUnit(keras.layers.Layer):
    def call(self, features):
        return features


class ExplodingUnit(keras.layers.Layer):
    def call(self, features, residual_mask=None):
        return features * 1e30


def counting_block(model_type, units):
    branches = [ReadProbability(index + 1, per_image=model_type != "sact") for index in range(units - 1)]
    return AdaptiveBlock([CountingUnit() for _ in range(units)], model_type, epsilon=0.02, halting_branches=branches)


def probabilities_as_features(probabilities, height=2, width=3):
    """Features `(batch, height, width, units)`: channel 0 is zero, channel l the probability of unit l, per image."""
    probabilities = np.asarray(probabilities, "float32")
    features = np.concatenate([np.zeros_like(probabilities[:, :1]), probabilities], axis=-1)
    return np.broadcast_to(features[:, None, None], (len(features), height, width, features.shape[-1])).copy()


def executions(block):
    return [int(unit.executions.numpy()) for unit in block.units]


def residual_block(model_type, units=3, filters=8, **kwargs):
    layers = [BottleneckUnit(filters, 2, norm_momentum=0.7, name=f"unit_{index + 1}") for index in range(units)]
    return AdaptiveBlock(layers, model_type, name="block", **kwargs)


def set_halting_bias(block, bias):
    """Makes all decisions alike, whatever the features are."""
    for branch in block.halting_branches:
        for variable in branch.trainable_variables:
            variable.assign(np.full(variable.shape, bias if variable.name == "bias" else 0.0))


@pytest.fixture(params=ADAPTIVE_TYPES)
def spread_block(request, make_images, spread_halting):
    """`(block, features)`, with decisions that halt at different units."""
    block, features = residual_block(request.param, units=4, epsilon=0.05), make_images(3, 6, 5, channels=8)
    block(features)
    return spread_halting(block), features


@pytest.mark.parametrize("model_type", ["act", "act_early_stopping"])
def test_images_are_weighted_by_their_halting_distribution(model_type):
    # Unit l's output is l in channel 0, so the block's output is the mean of l under the distribution.
    outputs = counting_block(model_type, 4)(probabilities_as_features([[0.5, 0.6, 0.9], [0.1, 0.2, 0.3], [1, 0, 0]]))
    np.testing.assert_array_equal(outputs["num_units"], [2, 4, 1])
    np.testing.assert_allclose(outputs["ponder_cost"], [2.5, 4.4, 2.0], atol=1e-6)
    expected = [[0.5, 0.5, 0, 0], [0.1, 0.2, 0.3, 0.4], [1, 0, 0, 0]]
    np.testing.assert_allclose(outputs["halting_distribution"], expected, atol=1e-6)
    np.testing.assert_allclose(outputs["features"][:, 1, 2, 0], [1.5, 0.1 + 0.4 + 0.9 + 1.6, 1.0], atol=1e-6)


def test_positions_are_weighted_by_their_halting_distribution():
    features = probabilities_as_features([[0.5, 0.6], [0.5, 0.6]])
    features[0, 0, 1, 1:] = 0.1, 0.2
    features[1, 1, 2, 1:] = 0.99, 0.0
    outputs = counting_block("sact", 3)(features)
    num_units, mean_unit = np.full((2, 2, 3), 2), np.full((2, 2, 3), 1.5)
    num_units[0, 0, 1], num_units[1, 1, 2] = 3, 1
    mean_unit[0, 0, 1], mean_unit[1, 1, 2] = 0.1 + 2 * 0.2 + 3 * 0.7, 1
    np.testing.assert_array_equal(outputs["num_units"], num_units)
    np.testing.assert_allclose(outputs["features"][..., 0], mean_unit, atol=1e-6)
    np.testing.assert_allclose(outputs["halting_distribution"][0, 0, 1], [0.1, 0.2, 0.7], atol=1e-6)


def test_block_is_its_units_and_branches_joined_by_the_recurrence(spread_block):
    block, features = spread_block
    outputs = block(features, training=False)
    x, state, outs, probabilities = ops.convert_to_tensor(features), None, [], []
    for index, unit in enumerate(block.units):
        if index and block.model_type == "sact":
            x = unit(x, residual_mask=halting.is_active(state, epsilon=0.05))
        else:
            x = unit(x)
        outs.append(x)
        last = index == len(block.units) - 1
        probabilities.append(probabilities[0] * 0 if last else block.halting_branches[index](x))
        state = state or halting.initial_state(probabilities[0].shape)
        state, _ = halting.advance(state, probabilities[-1], epsilon=0.05)
    halted = halting.run(ops.stack(probabilities, axis=-1), epsilon=0.05)
    expected = sum(halted.halting_distribution[..., index] * out for index, out in enumerate(outs))
    assert len(set(halted.num_units.numpy().ravel())) > 1
    np.testing.assert_allclose(outputs["features"], expected, atol=1e-5)
    np.testing.assert_array_equal(outputs["num_units"], np.reshape(halted.num_units, outputs["num_units"].shape))
    np.testing.assert_allclose(
        outputs["ponder_cost"], np.reshape(halted.ponder_cost, outputs["num_units"].shape), atol=1e-5
    )


@pytest.mark.parametrize("training", [False, True])
def test_early_stopping_changes_no_number(make_images, spread_halting, training):
    features = make_images(4, 6, 5, channels=8)
    blocks = {name: residual_block(name, units=4, epsilon=0.05) for name in ("act", "act_early_stopping")}
    outcomes = {}
    for name, block in blocks.items():
        block(features)
        for variable, value in zip(block.variables, blocks["act"].variables, strict=True):
            variable.assign(value)
        spread_halting(block)
        # All of the batch halts after unit 3, so there is something to leave out.
        block.halting_branches[2].global_conv.bias.assign([20.0])
        with tf.GradientTape() as tape:
            outputs = block(features, training=training)
            loss = ops.sum(outputs["features"] ** 2) + ops.sum(outputs["ponder_cost"])
        outcomes[name] = outputs, tape.gradient(loss, [variable.value for variable in block.trainable_variables])
    (plain, plain_gradients), (early, early_gradients) = outcomes.values()
    assert len(set(plain["num_units"].numpy())) > 1
    for name in plain:
        np.testing.assert_array_equal(early[name], plain[name], name)
    for ours, theirs in zip(early_gradients, plain_gradients, strict=True):
        # Eager execution records nothing of a unit that was skipped; the plain type gives it a gradient of zero.
        ours = np.zeros_like(theirs) if ours is None else ours
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


@pytest.fixture(scope="module")
def stopping():
    """Function from (training, graph) to a block and a function that runs it both ways: one trace for all features."""

    @functools.cache
    def make(training, graph):
        block = counting_block("act_early_stopping", 4)
        block(probabilities_as_features([[1, 0, 0]]))

        def run(features):
            with tf.GradientTape() as tape:
                tape.watch(features)
                outputs = block(features, training=training)
                loss = ops.sum(outputs["features"]) + ops.sum(outputs["ponder_cost"])
            return tape.gradient(loss, features)

        return block, tf.function(run) if graph else run

    return make


@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    ("probabilities", "executed"),
    [
        ([[1, 0, 0], [1, 0, 0]], [1, 0, 0, 0]),
        ([[1, 0, 0], [0.5, 0.5, 0]], [1, 1, 0, 0]),
        ([[0.1, 0.2, 0.7], [0.5, 0.5, 0]], [1, 1, 1, 0]),
        ([[0, 0, 0], [1, 0, 0]], [1, 1, 1, 1]),
    ],
)
def test_early_stopping_executes_no_unit_that_no_image_needs(stopping, probabilities, executed, training, graph):
    block, run = stopping(training, graph)
    for unit in block.units:
        unit.executions.assign(0)
    gradient = run(tf.constant(probabilities_as_features(probabilities)))
    assert executions(block) == executed
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("model_type", ["act", "sact"])
def test_other_types_execute_every_unit(model_type):
    block = counting_block(model_type, 3)
    block(probabilities_as_features([[1, 0], [1, 0]]))
    assert executions(block) == [1, 1, 1]


@pytest.fixture(scope="module")
def trained(make_images):
    """A block, a function without a graph that runs it in training, and one with that gives the units' gradients."""
    block, features = residual_block("act_early_stopping"), tf.constant(make_images(2, 5, 4, channels=8))
    block(features)

    @tf.function
    def gradients():
        with tf.GradientTape() as tape:
            loss = ops.sum(block(features, training=True)["features"] ** 2)
        return [tape.gradient(loss, [unit.conv3.kernel.value for unit in block.units])]

    return block, lambda: block(features, training=True), gradients


@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize(("bias", "moved"), [(HALTS_AT_ONCE, [True, False, False]), (HALTS_NEVER, [True] * 3)])
def test_batch_statistics_of_units_that_were_skipped_stay_as_they_are(trained, bias, moved, graph):
    block, run, gradients = trained
    set_halting_bias(block, bias)
    before = [[value.numpy() for value in unit.non_trainable_variables] for unit in block.units]
    (gradients if graph else run)()
    for unit, old, moves in zip(block.units, before, moved, strict=True):
        for value, previous in zip(unit.non_trainable_variables, old, strict=True):
            assert np.array_equal(value.numpy(), previous) != moves, value.path


def test_skipped_units_get_no_gradient_and_executed_ones_do(trained):
    block, _, gradients = trained
    set_halting_bias(block, HALTS_AT_ONCE)
    [[first, second, third]] = gradients()
    assert np.abs(first).max() > 0
    assert np.abs(second).max() == np.abs(third).max() == 0


def test_halted_positions_keep_their_features_exactly(make_images, spread_halting):
    features = make_images(3, 7, 5, channels=8)
    block = residual_block("sact", units=4)
    seen = []
    for unit in block.units:
        call = unit.call
        unit.call = lambda x, residual_mask=None, training=None, call=call: (
            seen.append((x, residual_mask, call(x, residual_mask, training))) or seen[-1][-1]
        )
    block(features)
    spread_halting(block)
    seen.clear()
    outputs = block(features, training=True)
    for unit, (entering, mask, leaving) in enumerate(seen):
        if unit == 0:
            assert mask is None
            continue
        active = outputs["num_units"].numpy() > unit
        assert 0 < active.sum() < active.size
        np.testing.assert_array_equal(mask[..., 0], active)
        np.testing.assert_array_equal(leaving.numpy()[~active], entering.numpy()[~active])
        assert (leaving.numpy()[active] != entering.numpy()[active]).any()


@pytest.mark.parametrize("model_type", ["act", "act_early_stopping"])
def test_features_of_an_image_after_it_has_halted_do_not_reach_the_output(model_type):
    branches = [ReadProbability(index + 1, per_image=True) for index in range(2)]
    block = AdaptiveBlock([CountingUnit(), CountingUnit(), ExplodingUnit()], model_type, halting_branches=branches)
    features = probabilities_as_features([[1.0, 0.0], [0.5, 0.5]])
    features[0, 0, 0, 0] = 3e38
    # Unit 3, which nobody needs, overflows to infinity under `act`, and zero times infinity is NaN.
    outputs = block(features)
    assert np.isfinite(outputs["features"]).all()
    np.testing.assert_array_equal(outputs["num_units"], [1, 2])


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_one_unit_is_a_block(make_images, model_type):
    features = make_images(2, 5, 4, channels=8)
    block = residual_block(model_type, units=1)
    outputs = block(features)
    assert block.halting_branches == ()
    np.testing.assert_allclose(outputs.pop("features"), block.units[0](features), atol=1e-6)
    if model_type == "vanilla":
        assert outputs == {}
        return
    decisions = (2, 5, 4) if model_type == "sact" else (2,)
    np.testing.assert_array_equal(outputs["num_units"], np.ones(decisions))
    np.testing.assert_array_equal(outputs["ponder_cost"], np.full(decisions, 2.0))
    np.testing.assert_array_equal(outputs["halting_distribution"], np.ones((*decisions, 1)))


def test_vanilla_block_is_its_units_in_sequence(make_images):
    features = make_images(2, 5, 4, channels=8)
    block = residual_block("vanilla", units=2)
    outputs = block(features, training=False)
    assert list(outputs) == ["features"]
    first, second = block.units
    np.testing.assert_array_equal(outputs["features"], second(first(features)))


@pytest.mark.parametrize("model_type", ["act", "sact"])
def test_first_unit_may_stride_and_widen(make_images, model_type):
    units = [BasicUnit(10, stride=2), BasicUnit(10), BasicUnit(10)]
    outputs = AdaptiveBlock(units, model_type)(make_images(2, 7, 5, channels=4))
    assert outputs["features"].shape == (2, 4, 3, 10)
    assert outputs["num_units"].shape == ((2, 4, 3) if model_type == "sact" else (2,))
    assert outputs["halting_distribution"].shape[-1] == 3


@pytest.mark.parametrize("model_type", ADAPTIVE_TYPES)
def test_ponder_weight_adds_the_mean_ponder_cost_to_the_losses(model_type):
    block = counting_block(model_type, 3)
    assert block.losses == []
    config = {**block.get_config(), "ponder_weight": 0.3}
    weighted = AdaptiveBlock.from_config(config)
    # Ponder costs 2.5 and 2.
    weighted(probabilities_as_features([[0.5, 0.6], [1.0, 0.0]]))
    [loss] = weighted.losses
    assert float(loss) == pytest.approx(0.3 * (2.5 + 2.0) / 2)


def test_vanilla_block_with_a_ponder_weight_has_nothing_to_add(make_images):
    block = residual_block("vanilla", ponder_weight=0.3)
    block(make_images(2, 5, 4, channels=8))
    assert len(block.losses) == len([unit for unit in block.units for _ in unit.losses])


@pytest.mark.parametrize(
    ("model_type", "graph"),
    [("sact", False), *(pytest.param(kind, True, marks=pytest.mark.slow) for kind in MODEL_TYPES)],
)
def test_composes_into_somebody_else_s_model(model_type, graph, make_images, tmp_path):
    images = keras.Input((None, None, 3))
    features = keras.layers.Dense(8)(images)
    block = sact_tf.AdaptiveBlock([SomebodysUnit(8) for _ in range(2)], model_type, ponder_weight=0.01, name="block")
    pooled = keras.layers.GlobalAveragePooling2D()(block(features)["features"])
    model = keras.Model(images, keras.layers.Dense(4)(pooled))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss=loss, jit_compile=False, run_eagerly=not graph)
    model.optimizer.learning_rate = 0.02
    x, labels = make_images(12, 6, 5), np.arange(12) % 4
    history = model.fit(x, labels, batch_size=6, epochs=6, verbose=0).history["loss"]
    assert history[-1] < 0.95 * history[0]
    model.save(tmp_path / "model.keras")
    reloaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(reloaded(x), model(x), atol=1e-5)
    assert reloaded.get_layer("block").ponder_weight == 0.01


@pytest.mark.parametrize("units", [[], [lambda x: x], ["unit"], [CountingUnit, CountingUnit], CountingUnit, None])
def test_anything_but_layers_as_units_is_rejected(units):
    with pytest.raises(ValueError, match="at least one Keras layer"):
        AdaptiveBlock(units, "act")


def test_unit_that_cannot_be_masked_is_rejected_under_sact_only():
    with pytest.raises(ValueError, match="UnmaskedUnit does not"):
        AdaptiveBlock([CountingUnit(), UnmaskedUnit()], "sact")
    AdaptiveBlock([CountingUnit(), UnmaskedUnit()], "act")
    AdaptiveBlock([UnmaskedUnit(), CountingUnit()], "sact")


@pytest.mark.parametrize("model_type", ["SACT", "", None, "early_stopping"])
def test_unknown_model_type_is_rejected(model_type):
    with pytest.raises(ValueError, match="`model_type` must be one of"):
        AdaptiveBlock([CountingUnit()], model_type)
    with pytest.raises(ValueError, match="`model_type` must be one of"):
        make_halting_branches(model_type, 2)


@pytest.mark.parametrize("shape", [(2, 6, 8), (2, 3, 6, 4, 8)])
def test_features_of_another_rank_are_rejected_with_the_way_out(shape):
    with pytest.raises(ValueError, match=r"takes features \(batch, height, width, channels\).*TimeDistributed"):
        AdaptiveBlock([BasicUnit(8), BasicUnit(8)], "sact")(np.zeros(shape, "float32"))


def test_features_that_are_none_are_named():
    block = AdaptiveBlock([BasicUnit(4)], "sact", name="block")
    with pytest.raises(ValueError, match=r"for a number of channels(.|\n)*shape=\(None, 5, 6, None\)"):
        block(keras.Input((5, 6, None)))
    with pytest.raises(ValueError, match=r"'block' takes features(.|\n)*dtype=int32, shape=\(2, 5, 6, 4\)"):
        block(np.zeros((2, 5, 6, 4), "int32"))
    with pytest.raises(ValueError, match=r"Received: a dict"):
        block({"features": np.zeros((2, 5, 6, 4), "float32")})


@pytest.mark.parametrize("branches", [0, 1, 3])
def test_wrong_number_of_halting_branches_is_rejected(branches):
    with pytest.raises(ValueError, match=f"{branches} branches for 3 units"):
        AdaptiveBlock(
            [CountingUnit() for _ in range(3)], "sact", halting_branches=[ReadProbability(1, False)] * branches
        )


@pytest.mark.parametrize("branches", [5, ["branch"], [CountingUnit]])
def test_branches_that_are_no_layers_are_rejected(branches):
    with pytest.raises(ValueError, match="`halting_branches` must be Keras layers"):
        AdaptiveBlock([CountingUnit(), CountingUnit()], "sact", halting_branches=branches)


def test_units_and_branches_take_no_others_in_their_places():
    # Keras would neither train nor save what comes into a list of layers.
    block = residual_block("act", units=2)
    for layers in (block.units, block.halting_branches):
        with pytest.raises(TypeError, match="does not support item assignment"):
            layers[0] = layers[-1]


def test_model_type_that_is_set_later_is_refused():
    # It was in the config, of which no model could be loaded, and blocks of another one halted by it.
    block = AdaptiveBlock([BasicUnit(2), BasicUnit(2)], "act")
    with pytest.raises(ValueError, match=r"`model_type` of .* is settled(.|\n)*Received: model_type='SACT'"):
        block.model_type = "SACT"


@pytest.mark.parametrize(
    ("unit", "received"),
    [
        (lambda: AdaptiveBlock([BasicUnit(2)], "vanilla"), "AdaptiveBlock: a dict"),
        (lambda: keras.layers.Flatten(), r"Flatten: shape=\(2, 32\)"),
    ],
    ids=["block", "flat"],
)
def test_unit_that_returns_no_features_is_named(make_images, unit, received):
    block = AdaptiveBlock([BasicUnit(2), unit()], "act", name="odd_one")
    with pytest.raises(
        ValueError, match=rf"(?s)\(batch, height, width, channels\).*unit 2 of block 'odd_one', {received}"
    ):
        block(make_images(2, 4, 4, channels=2))


@pytest.mark.parametrize("later", [BasicUnit(8, stride=2), BasicUnit(12)], ids=["strides", "widens"])
def test_later_unit_that_changes_the_shape_is_rejected(make_images, later):
    block = AdaptiveBlock([BasicUnit(8), later], "sact", name="odd_one")
    with pytest.raises(ValueError, match=r"Only the first unit(.|\n)*Unit 2 of block 'odd_one'"):
        block(make_images(2, 6, 4, channels=8))


@pytest.mark.parametrize("ponder_weight", [-0.01, float("nan"), float("inf"), "0.1"])
def test_ponder_weight_that_is_no_price_is_rejected(ponder_weight):
    with pytest.raises(ValueError, match="finite number >= 0"):
        AdaptiveBlock([CountingUnit()], "act", ponder_weight=ponder_weight)


@pytest.mark.parametrize("epsilon", [0.0, 1.0, float("nan")])
def test_epsilon_outside_of_0_to_1_is_rejected(epsilon):
    with pytest.raises(ValueError, match="strictly between 0 and 1"):
        AdaptiveBlock([CountingUnit()], "act", epsilon=epsilon)


def weighted_model(ponder_weight):
    """A model whose loss is `ponder_weight` times a ponder cost of 2.25, and its block."""
    block = AdaptiveBlock.from_config({**counting_block("sact", 3).get_config(), "ponder_weight": ponder_weight})
    features = keras.Input((2, 3, 3))
    model = keras.Model(features, keras.layers.Rescaling(0.0)(block(features)["features"]))
    return model, block


@pytest.mark.parametrize("jit_compile", [False, True])
def test_ponder_weight_takes_effect_in_the_next_step_of_what_is_compiled(jit_compile):
    model, block = weighted_model(0.0)
    model.compile("sgd", "mse", jit_compile=jit_compile)
    data = probabilities_as_features([[0.5, 0.6], [1.0, 0.0]]), np.zeros((2, 2, 3, 3))
    seen = []
    for weight in (0.0, 2.0, 0.5, None):
        block.ponder_weight = weight
        assert block.ponder_weight == weight
        seen.append(model.evaluate(*data, verbose=0))
    assert seen == pytest.approx([0.0, 2 * 2.25, 0.5 * 2.25, 0.0])


def test_ponder_weight_of_a_block_in_a_condition_is_refused_with_the_way_out():
    block = AdaptiveBlock.from_config(
        {**counting_block("sact", 3).get_config(), "ponder_weight": 0.1, "name": "inside"}
    )

    class Conditional(keras.Model):
        def call(self, features):
            def run():
                return block(features)["features"]

            return keras.ops.cond(keras.ops.max(features) > 0, run, lambda: features)

    model = Conditional()
    model.block = block
    features = probabilities_as_features([[0.5, 0.6], [1.0, 0.0]])
    model(features)
    with pytest.raises(ValueError, match=r"ponder_weight=None(.|\n)*inside"):
        tf.function(lambda features: (model(features), model.losses))(tf.constant(features))


def test_ponder_weight_that_compiled_functions_would_not_notice_is_refused():
    model, block = weighted_model(None)
    block.ponder_weight = 0.5
    block.ponder_weight = None
    tf.function(model)(probabilities_as_features([[0.5, 0.6]]))
    with pytest.raises(ValueError, match=r"ponder_weight=0\.0"):
        block.ponder_weight = 0.5
    assert block.ponder_weight is None


@pytest.mark.parametrize("ponder_weight", [-5, float("nan"), "x"])
def test_ponder_weight_is_checked_where_it_is_set(ponder_weight):
    _, block = weighted_model(0.25)
    with pytest.raises(ValueError, match="finite number >= 0"):
        block.ponder_weight = ponder_weight
    assert block.ponder_weight == 0.25


def test_ponder_weight_as_it_is_survives_copies_and_exports(tmp_path):
    model, block = weighted_model(0.25)
    block.ponder_weight = 0.75
    for twin in (copy.deepcopy(model), keras.models.clone_model(model)):
        [weight] = [layer.ponder_weight for layer in twin.layers if isinstance(layer, AdaptiveBlock)]
        assert weight == 0.75
        assert len(twin.variables) == len(model.variables)
    features = probabilities_as_features([[0.5, 0.6]])
    model.export(str(tmp_path), verbose=False)
    reloaded = tf.saved_model.load(str(tmp_path))
    np.testing.assert_allclose(reloaded.serve(features), model(features))


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
def test_units_and_branches_of_any_dtype_mix_and_halt_in_float32(dtype):
    units = [BasicUnit(4, dtype=dtype), SomebodysUnit(4), BasicUnit(4, dtype=dtype)]
    branches = [ReadProbability(index + 1, True, dtype=dtype) for index in range(2)]
    block = AdaptiveBlock(units, "act", 0.1, halting_branches=branches, dtype=dtype)
    outputs = block(np.full((2, 3, 2, 4), 0.25), training=True)
    dtypes = {name: keras.backend.standardize_dtype(value.dtype) for name, value in outputs.items()}
    floats = dict.fromkeys(["ponder_cost", "halting_distribution"], "float32")
    assert dtypes == {**floats, "features": dtype, "num_units": "int32"}
    assert keras.backend.standardize_dtype(block.losses[0].dtype) == "float32"
