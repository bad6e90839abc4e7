import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import sact_tf
from sact_tf import losses

LOGITS = np.log(np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]], "float32"))


def test_cross_entropy_is_the_mean_log_loss_of_the_labels():
    assert float(losses.cross_entropy([0, 2], LOGITS)) == pytest.approx(-(math.log(0.5) + math.log(0.8)) / 2)


def test_label_smoothing_spreads_its_share_over_all_classes():
    # Targets .8, .1, .1 and .1, .1, .8 for a smoothing of .3.
    first = 0.8 * math.log(0.5) + 0.1 * math.log(0.3) + 0.1 * math.log(0.2)
    second = 0.1 * math.log(0.1) + 0.1 * math.log(0.1) + 0.8 * math.log(0.8)
    assert float(losses.cross_entropy([0, 2], LOGITS, label_smoothing=0.3)) == pytest.approx(-(first + second) / 2)


def test_cross_entropy_is_float32_for_half_precision_logits():
    loss = losses.cross_entropy(np.array([0, 2], "int64"), LOGITS.astype("float16"), label_smoothing=0.3)
    assert keras.backend.standardize_dtype(loss.dtype) == "float32"


def test_ponder_loss_adds_the_means_of_the_blocks():
    outputs = {
        "block1/ponder_cost": np.array([[[2.0, 3.0, 4.0]], [[2.0, 2.0, 5.0]]], "float32"),
        "block2/ponder_cost": np.array([1.5, 2.5], "float32"),
        "block1/num_units": np.array([[[1, 2, 3]], [[1, 1, 4]]]),
        "logits": LOGITS,
    }
    assert {name: float(mean) for name, mean in losses.mean_ponder_costs(outputs).items()} == {"block1": 3, "block2": 2}
    assert float(losses.ponder_loss(outputs, tau=0.25)) == pytest.approx(0.25 * (3 + 2))


def test_ponder_loss_finds_the_costs_of_somebodys_model_and_of_a_block():
    costs = [np.array([2.0, 4.0], "float32"), np.array([1.0, 1.5], "float32")]
    nested = {"left": [{"block": {"ponder_cost": costs[0]}}, LOGITS], "block": {"ponder_cost": costs[1]}}
    means = {name: float(mean) for name, mean in losses.mean_ponder_costs(nested).items()}
    assert means == {"left/0/block": 3.0, "block": 1.25}
    assert float(losses.ponder_loss({"features": LOGITS, "ponder_cost": costs[0]}, 0.5)) == 1.5


def test_ponder_loss_takes_costs_of_any_dtype():
    costs = {"left": {"ponder_cost": np.array([1.0, 2.0])}, "right": {"ponder_cost": np.array([3, 4])}}
    assert float(losses.ponder_loss(costs, 0.5)) == 0.5 * (1.5 + 3.5)


def test_ponder_loss_refuses_outputs_without_names_and_prices_that_are_none():
    for outputs in (LOGITS, [LOGITS, np.ones(2)]):
        with pytest.raises(ValueError, match=r"found by its name(.|\n)*Received: a (ndarray|list)"):
            losses.ponder_loss(outputs, 0.5)
    with pytest.raises(ValueError, match=r"`tau` .*Received: tau=-0.5"):
        losses.ponder_loss({"block1/ponder_cost": np.ones(2)}, -0.5)


def test_ponder_loss_of_a_plain_network_is_zero():
    assert float(losses.ponder_loss({"logits": LOGITS}, tau=0.25)) == 0


def test_regularization_is_half_the_weight_decay_times_squares_of_the_kernels_only():
    model = sact_tf.cifar_resnet("1_2_1", "sact", num_classes=3, base_channels=2, weight_decay=0.3)
    kernels = [variable for variable in model.trainable_variables if variable.name == "kernel"]
    for variable in model.variables:
        variable.assign(np.full(variable.shape, 2.0))
    # One stem, two convolutions in each of four units, two in the one halting branch, the logits.
    assert len(kernels) == 1 + 8 + 2 + 1
    weights = sum(math.prod(kernel.shape) for kernel in kernels)
    assert float(losses.regularization_loss(model)) == pytest.approx(0.3 * weights * 2**2 / 2, rel=1e-5)


def test_regularization_without_weight_decay_is_zero():
    model = sact_tf.cifar_resnet("1", "vanilla", num_classes=3, base_channels=2, weight_decay=0.0)
    assert float(losses.regularization_loss(model)) == 0


@pytest.mark.parametrize("label_smoothing", [-0.1, 1.0, float("nan")])
def test_label_smoothing_outside_of_0_to_1_is_rejected(label_smoothing):
    with pytest.raises(ValueError, match=r"\[0, 1\)"):
        losses.check_label_smoothing(label_smoothing)
    with pytest.raises(ValueError, match=r"\[0, 1\)"):
        losses.cross_entropy([0, 2], LOGITS, label_smoothing)


def test_sample_weights_multiply_before_the_mean():
    expected = -(3 * math.log(0.5) + 0.5 * math.log(0.8)) / 2
    for weights in ([3, 0.5], [[3.0], [0.5]]):
        assert float(losses.cross_entropy([0, 2], LOGITS, sample_weight=np.array(weights))) == pytest.approx(expected)
    with pytest.raises(ValueError, match=r"one number for each of the 2 images(.|\n)*\(3,\)"):
        losses.cross_entropy([0, 2], LOGITS, sample_weight=np.ones(3))


def test_tau_warms_up_linearly_and_stays():
    assert [losses.warmed_up_tau(0.5, 4, step) for step in (0, 1, 2, 3, 4, 900)] == [0.125, 0.25, 0.375, 0.5, 0.5, 0.5]
    assert losses.warmed_up_tau(0.5, 0, 0) == 0.5
    warm = tf.function(lambda step: losses.warmed_up_tau(tf.constant(0.5), 4, step))
    assert [float(warm(tf.constant(step, tf.int64))) for step in (0, 2, 9)] == [0.125, 0.375, 0.5]


@pytest.mark.parametrize("warmup_steps", [-1, 2.5, True, None])
def test_warm_up_that_is_no_number_of_steps_is_refused(warmup_steps):
    with pytest.raises(ValueError, match="`warmup_steps` must be an int"):
        losses.warmed_up_tau(0.5, warmup_steps, 0)


@pytest.mark.parametrize(
    ("tau", "step"), [(-0.1, 0), ("1", 0), (0.5, -1), (0.5, 1.5), (0.5, float("nan")), (0.5, None)]
)
def test_warm_up_to_no_price_or_from_no_step_is_refused(tau, step):
    with pytest.raises(ValueError, match=r"`tau`|`step` .* must be an int, at least 0"):
        losses.warmed_up_tau(tau, 4, step)


def test_compiled_functions_see_a_weight_as_it_is_now():
    weight = losses.PonderWeight(0.1)
    assert weight.value == 0.1
    function = tf.function(lambda cost: weight.tensor() * cost, jit_compile=True)
    assert float(function(2.0)) == pytest.approx(0.2)
    weight.value = 3
    assert float(function(2.0)) == pytest.approx(6.0)
    weight.value = None
    assert weight.value is None
    assert float(function(2.0)) == 0.0


def test_weights_of_images_of_unknown_shape_are_taken_as_one_each():
    signature = [tf.TensorSpec(None, tf.float32)]
    weighted = tf.function(lambda weights: losses.cross_entropy([0, 2], LOGITS, sample_weight=weights), signature)
    assert float(weighted(np.array([2.0, 0.0]))) == pytest.approx(-math.log(0.5))


def test_weights_by_output_are_refused():
    with pytest.raises(ValueError, match=r"one number for each of the 2 images(.|\n)*\['logits'\]"):
        losses.cross_entropy([0, 2], LOGITS, sample_weight={"logits": np.ones(2)})


@pytest.mark.parametrize("value", [-1.0, True, "1"])
def test_ponder_weight_that_is_none_is_named(value):
    with pytest.raises(ValueError, match=f"`ponder_weight`(.|\n)*ponder_weight={value!r}"):
        sact_tf.AdaptiveBlock([keras.layers.Identity()], "vanilla", ponder_weight=value)


def test_what_is_valid_stays_to_the_bit_and_all_else_is_nan():
    values = np.array([[0.0, -0.0, 3e38], [np.inf, 1.0, -1e-45]], "float32")
    of_images = losses.nan_unless(np.array([[True], [False]]), values)
    np.testing.assert_array_equal(of_images, [values[0], [np.nan] * 3])
    assert np.signbit(losses.nan_unless(np.array(True), values)).tolist() == np.signbit(values).tolist()
