import keras
import numpy as np
import pytest
import tensorflow as tf

from sact_tf.layers import AdaptiveBlock, BasicUnit, GlobalHaltingBranch, SpatialHaltingBranch
from sact_tf.layers.parts import leaky_relu

BRANCHES = {"global": GlobalHaltingBranch, "spatial": SpatialHaltingBranch}
ACTIVATIONS = {"no activation": (None, lambda x: x), "leaky": (leaky_relu, lambda x: np.where(x > 0, x, 0.1 * x))}


def randomized(branch, features, seed=2):
    generator = np.random.default_rng(seed)
    branch(features)
    for variable in branch.variables:
        low = 0.5 if variable.name in ("gamma", "moving_variance") else -0.5
        variable.assign(generator.uniform(low, low + 1, variable.shape))
    return branch


def norm(x, layer):
    scale = np.asarray(layer.gamma) / np.sqrt(np.asarray(layer.moving_variance) + layer.epsilon)
    return (x - np.asarray(layer.moving_mean)) * scale + np.asarray(layer.beta)


def global_logit(branch, x, activate):
    pooled = activate(norm(x.mean(axis=(1, 2), keepdims=True), branch.global_bn))
    return pooled @ np.asarray(branch.global_conv.kernel)[0, 0]


def local_logit(branch, x, activate):
    kernel, height, width = np.asarray(branch.local_conv.kernel), *x.shape[1:3]
    # Zeros around what comes after the normalization, not before it.
    padded = np.pad(activate(norm(x, branch.local_bn)), ((0, 0), (1, 1), (1, 1), (0, 0)))
    taps = [padded[:, i : i + height, j : j + width] @ kernel[i, j] for i in range(3) for j in range(3)]
    return sum(taps) + np.asarray(branch.local_conv.bias)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize(("activation", "activate"), ACTIVATIONS.values(), ids=ACTIVATIONS)
def test_global_branch_is_its_formula(make_images, activation, activate):
    x = make_images(3, 6, 5, channels=4)
    branch = randomized(GlobalHaltingBranch(activation=activation, norm_epsilon=0.03), x)
    expected = sigmoid(global_logit(branch, x, activate) + np.asarray(branch.global_conv.bias))
    assert expected.shape == (3, 1, 1, 1)
    np.testing.assert_allclose(branch(x, training=False), expected, atol=1e-5)


@pytest.mark.parametrize("kind", BRANCHES.values(), ids=BRANCHES)
def test_one_position_of_one_image_is_the_same_in_a_graph(make_images, kind):
    # Where all sizes are 1, TensorFlow's optimizer of graphs makes other shapes of what broadcasts over more axes.
    x = make_images(1, 1, 1, channels=4)
    branch = randomized(kind(), x)
    inside = tf.function(lambda features: branch(features, training=False))(x)
    assert inside.shape == (1, 1, 1, 1)
    np.testing.assert_allclose(inside, branch(x, training=False), rtol=1e-5)


@pytest.mark.parametrize(("activation", "activate"), ACTIVATIONS.values(), ids=ACTIVATIONS)
def test_spatial_branch_is_its_formula_up_to_the_border(make_images, activation, activate):
    x = make_images(3, 6, 5, channels=4)
    branch = randomized(SpatialHaltingBranch(activation=activation, norm_epsilon=0.03), x)
    # A shift far from zero tells padding after the normalization from padding before it.
    branch.local_bn.beta.assign([1.0, -2.0, 1.5, 3.0])
    expected = sigmoid(local_logit(branch, x, activate) + global_logit(branch, x, activate))
    assert expected.shape == (3, 6, 5, 1)
    np.testing.assert_allclose(branch(x, training=False), expected, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (1, 4), (2, 1)])
def test_spatial_branch_takes_maps_smaller_than_its_kernel(make_images, size):
    x = make_images(2, *size, channels=4)
    branch = randomized(SpatialHaltingBranch(), x)
    expected = sigmoid(local_logit(branch, x, lambda x: x) + global_logit(branch, x, lambda x: x))
    np.testing.assert_allclose(branch(x, training=False), expected, atol=1e-5)


@pytest.mark.parametrize("make", BRANCHES.values(), ids=BRANCHES)
def test_training_updates_the_statistics_as_plain_batch_normalizations_do(make_images, make):
    x = make_images(4, 6, 5, channels=4)
    branch = make(norm_momentum=0.7, norm_epsilon=0.03)
    branch(x, training=True)
    seen = {"global_bn": x.mean(axis=(1, 2), keepdims=True)}
    seen.update({"local_bn": x} if make is SpatialHaltingBranch else {})
    for name, features in seen.items():
        plain = keras.layers.BatchNormalization(momentum=0.7, epsilon=0.03)
        plain(features, training=True)
        layer = getattr(branch, name)
        np.testing.assert_allclose(layer.moving_mean, plain.moving_mean, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(layer.moving_variance, plain.moving_variance, rtol=1e-4)


@pytest.mark.parametrize("make", BRANCHES.values(), ids=BRANCHES)
def test_training_normalizes_with_the_statistics_of_the_batch(make_images, make):
    x = make_images(4, 6, 5, channels=4)
    branch = randomized(make(norm_epsilon=0.03), x)
    trained = np.array(branch(x, training=True))
    pooled = x.mean(axis=(1, 2))
    branch.global_bn.moving_mean.assign(pooled.mean(axis=0))
    branch.global_bn.moving_variance.assign(pooled.var(axis=0))
    if make is SpatialHaltingBranch:
        branch.local_bn.moving_mean.assign(x.mean(axis=(0, 1, 2)))
        branch.local_bn.moving_variance.assign(x.var(axis=(0, 1, 2)))
    np.testing.assert_allclose(branch(x, training=False), trained, atol=1e-4)


@pytest.mark.parametrize("make", BRANCHES.values(), ids=BRANCHES)
def test_initial_bias_is_the_logit_of_a_fresh_branch_on_blank_features(make):
    probability = make(initial_bias=-1.5)(np.zeros((2, 6, 5, 4), "float32"))
    np.testing.assert_allclose(probability, np.full(probability.shape, sigmoid(-1.5)), atol=1e-6)


@pytest.mark.parametrize("make", BRANCHES.values(), ids=BRANCHES)
def test_half_precision_features_are_judged_in_float32(make_images, make):
    branch = make(dtype="mixed_bfloat16")
    probability = branch(make_images(2, 6, 5, channels=4).astype("float16"))
    assert keras.backend.standardize_dtype(probability.dtype) == branch.compute_dtype == "float32"


def test_only_one_of_the_spatial_branch_s_convolutions_has_a_bias():
    branch = SpatialHaltingBranch()
    branch.build((None, 6, 5, 4))
    assert branch.local_conv.bias is not None
    assert branch.global_conv.bias is None


class Returning(keras.layers.Layer):
    """Somebody's halting branch, which returns what a function makes of the features."""

    def __init__(self, returned):
        super().__init__()
        self.returned = returned

    def call(self, features, training=None):
        return self.returned(features)


@pytest.mark.parametrize(
    ("model_type", "returned", "message"),
    [
        ("sact", lambda features: features[..., 0], r"\(batch, height, width, 1\). Received: shape=\(2, 3, 4\)"),
        ("act", lambda features: features[..., :1], r"\(batch, 1, 1, 1\). Received: shape=\(2, 3, 4, 1\)"),
        ("sact", lambda features: features[..., :1] + 2, "(?s)apply a sigmoid.*values from 2.0 to 2.0"),
    ],
)
def test_what_a_block_cannot_halt_by_is_refused(model_type, returned, message):
    block = AdaptiveBlock([BasicUnit(2), BasicUnit(2)], model_type, halting_branches=[Returning(returned)])
    with pytest.raises(ValueError, match=message):
        block(np.zeros((2, 3, 4, 2), "float32"))


def test_a_branch_by_position_is_refused_where_whole_images_halt():
    message = r"SpatialHaltingBranch of block 'whole' must return probabilities \(batch, 1, 1, 1\). Received: shape="
    block = AdaptiveBlock([BasicUnit(2)] * 2, "act", halting_branches=[SpatialHaltingBranch()], name="whole")
    with pytest.raises(ValueError, match=message):
        block(np.zeros((2, 3, 4, 2), "float32"))


def test_logits_for_probabilities_stop_a_graph_too_and_one_for_all_positions_does_not():
    branch = Returning(lambda features: features[:, :1, :1, :1] + 0.5)
    block = AdaptiveBlock([BasicUnit(2), BasicUnit(2)], "sact", halting_branches=[branch])
    of_any_size = [tf.TensorSpec((None, None, None, 2))]
    run = tf.function(lambda features: block(features)["num_units"], input_signature=of_any_size, autograph=False)
    zeros = np.zeros((2, 3, 4, 2), "float32")
    np.testing.assert_array_equal(run(zeros), np.full((2, 3, 4), 2))
    branch.returned = lambda features: features[..., :1] - 3.0
    run = tf.function(lambda features: block(features)["num_units"], autograph=False)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"apply a sigmoid to logits first"):
        run(zeros)
