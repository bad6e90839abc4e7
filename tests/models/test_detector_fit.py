"""A detector in Keras' `compile`, `fit`, `evaluate` and `predict`."""

import random

import keras
import numpy as np
import pytest
import tensorflow as tf

import sact_tf
from sact_tf.models import detection_losses
from sact_tf.models.detection_inputs import check_truth

INPUTS = {
    "images": np.random.default_rng(1).uniform(-1, 1, (2, 64, 70, 3)).astype("float32"),
    "image_size": np.array([[57, 70], [64, 64]], "int32"),
}
BOXES = {
    "boxes": np.array([[[5, 8, 40, 50], [20, 30, 56, 69]], [[10, 10, 60, 60], [0, 0, 0, 0]]], "float32"),
    "classes": np.array([[1, 3], [2, 0]], "int32"),
}


def make_detector(**changes):
    arguments = {"num_classes": 3, "base_channels": 4, "tau": 0.1, "anchor_base_size": 64.0, **changes}
    return sact_tf.faster_rcnn("1_1_1_1", "sact", **arguments)


@pytest.fixture(scope="module")
def fitted():
    """A detector after a step of `fit`, and what that reported."""
    random.seed(4)
    model = make_detector()
    model.compile("sgd", run_eagerly=True)
    return model, model.fit(INPUTS, BOXES, batch_size=2, verbose=0, validation_data=(INPUTS, BOXES)).history


def test_fit_learns_from_dicts(fitted):
    assert np.isfinite(fitted[1]["loss"][0])


def test_evaluate_reports_the_loss_and_changes_nothing(fitted):
    model, history = fitted
    before = model.get_weights()
    assert model.evaluate(INPUTS, BOXES, verbose=0) == history["val_loss"][0] > 0
    for value, after in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(value, after)


def test_predict_leaves_the_features_out_unless_asked(fitted):
    model, inputs = fitted[0], INPUTS
    predicted = set(model.predict_on_batch(inputs))
    assert "boxes" in predicted and "block1/num_units" in predicted and "block1" not in predicted
    assert set(model.predict_on_batch(inputs, features=True)) - predicted == {"block1", "block2", "block3"}


def test_a_detector_is_exported_for_pictures_of_any_size(tmp_path):
    model = make_detector(num_classes=2)
    model.export(str(tmp_path), verbose=False)
    loaded = tf.saved_model.load(str(tmp_path))
    served = loaded.serve({name: tf.constant(value) for name, value in INPUTS.items()})
    np.testing.assert_allclose(served["boxes"], model(INPUTS)["boxes"], atol=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": None}, r"(?s)a dict of 'boxes'.*Received: a dict with the keys \['boxes'\]"),
        # It would have no effect.
        ({"iscrowd": np.zeros((2, 2))}, r"(?s)Received: .*'iscrowd'"),
        ({"classes": np.array([[1], [2]])}, r"(?s)Received: .*\(2, 1\)"),
        ({"classes": np.array([[1, 4], [2, 0]])}, "(?s)whole numbers from 1 to 3, and 0 in rows of padding"),
        ({"classes": np.array([[1, -2], [2, 0]])}, "(?s)whole numbers from 1 to 3"),
        ({"classes": np.array([[1.7, 3], [2, 0]])}, "(?s)whole numbers from 1 to 3"),
        ({"boxes": BOXES["boxes"][..., [2, 3, 0, 1]]}, "(?s)Boxes must be finite: ymin, xmin, ymax, xmax"),
        ({"boxes": BOXES["boxes"] * np.nan}, "(?s)Boxes must be finite"),
        ({"boxes": BOXES["boxes"] + np.array([0, 0, np.inf, np.inf])}, "(?s)Boxes must be finite"),
        # Below the first picture, which is padded there, and left of it.
        ({"boxes": BOXES["boxes"] + np.array([52.5, 0, 52.5, 0])}, "(?s)Boxes must lie in their picture"),
        ({"boxes": BOXES["boxes"] - np.array([0, 51, 0, 51])}, "(?s)Boxes must lie in their picture"),
    ],
)
def test_what_is_no_truth_is_refused(fitted, changes, message):
    truth = {name: value for name, value in {**BOXES, **changes}.items() if value is not None}
    with pytest.raises((ValueError, tf.errors.InvalidArgumentError), match=message):
        check_truth(truth, fitted[0].num_classes, INPUTS["image_size"])


def test_boxes_that_leave_their_picture_in_part_are_taken():
    truth = {**BOXES, "boxes": BOXES["boxes"] + np.array([-20, -20, 20, 20], "float32")}
    boxes, _, _, right = check_truth(truth, 3, INPUTS["image_size"])
    assert bool(right) and boxes[0, 0].numpy().tolist() == [-15, -12, 60, 70]


def test_what_is_no_truth_makes_the_loss_nan_where_nothing_can_raise(fitted, monkeypatch):
    check = tf.function(lambda boxes: check_truth({**BOXES, "boxes": boxes}, 3, INPUTS["image_size"]), jit_compile=True)
    assert [bool(check(tf.constant(boxes))[-1]) for boxes in (BOXES["boxes"], BOXES["boxes"] * np.nan)] == [True, False]
    of_xla = (*check(tf.constant(BOXES["boxes"]))[:-1], tf.constant(False))
    monkeypatch.setattr(detection_losses, "check_truth", lambda *_: of_xla)
    assert np.isnan(fitted[0].evaluate(INPUTS, BOXES, verbose=0))


def test_ragged_boxes_are_padded():
    ragged = {
        "boxes": tf.ragged.constant([BOXES["boxes"][0].tolist(), BOXES["boxes"][1, :1].tolist()], ragged_rank=1),
        "classes": tf.ragged.constant([[1, 3], [2]]),
    }
    found, expected = (check_truth(truth, 3, INPUTS["image_size"]) for truth in (ragged, BOXES))
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], expected[1])


def test_a_detector_is_not_quantized(fitted):
    with pytest.raises(ValueError, match="two dense layers of a detector and none of its convolutions"):
        fitted[0].quantize("int8")


def test_boxes_that_are_missing_altogether_are_named(fitted):
    with pytest.raises(ValueError, match=r"(?s)learns from a dict.*Received: no dict"):
        fitted[0].evaluate(INPUTS, verbose=0)


def test_a_compiled_detector_is_reloaded_compiled(fitted, tmp_path):
    fitted[0].save(tmp_path / "detector.keras")
    assert isinstance(keras.saving.load_model(tmp_path / "detector.keras").optimizer, keras.optimizers.SGD)


@pytest.mark.parametrize("given", [{"loss": "mse"}, {"metrics": ["accuracy"]}, {"loss_weights": 2.0}])
def test_a_loss_or_metrics_are_refused_in_compile(fitted, given):
    with pytest.raises(ValueError, match=r"has its own loss(.|\n)*Received: \{"):
        fitted[0].compile("sgd", **given)


@pytest.mark.parametrize("name", ["num_classes", "head_samples"])
@pytest.mark.parametrize("value", [0, -4, 2.5, "3", True])
def test_numbers_that_count_nothing_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be an int, at least 1. Received: {name}={value!r}"):
        make_detector(**{name: value})


@pytest.mark.parametrize("name", ["num_proposals", "head_samples"])
def test_numbers_that_count_nothing_are_refused_where_they_are_set(fitted, name):
    before = getattr(fitted[0], name)
    with pytest.raises(ValueError, match=f"`{name}` must be an int, at least 1. Received: {name}=0"):
        setattr(fitted[0], name, 0)
    assert getattr(fitted[0], name) == before


@pytest.mark.parametrize("name", ["crop_max_pool", "freeze_batch_norm"])
def test_a_text_is_neither_true_nor_false(name):
    with pytest.raises(ValueError, match=rf"`{name}` must be one of \(False, True\)\. Received: {name}='false'"):
        make_detector(**{name: "false"})


def test_a_detector_is_made_of_no_other_backbone():
    for backbone in (5, sact_tf.cifar_resnet("1", base_channels=2).backbone):
        with pytest.raises(ValueError, match="`backbone` must be an ImageNetBackbone"):
            sact_tf.models.FasterRCNN(backbone, 3)


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), "64"])
def test_anchors_without_a_size_are_refused(value):
    with pytest.raises(ValueError, match="`anchor_base_size` must be a positive number of pixels"):
        make_detector(anchor_base_size=value)


def test_normalization_that_was_set_free_again_is_free_in_a_copy():
    model = make_detector(freeze_batch_norm=True)
    frozen = len(model.trainable_variables)
    model.trainable = False
    model.trainable = True
    assert len(type(model).from_config(model.get_config()).trainable_variables) == len(model.trainable_variables)
    assert len(model.trainable_variables) > frozen


@pytest.mark.parametrize(("name", "value"), [("anchor_base_size", -64.0), ("crop_size", 5), ("weight_decay", 0.5)])
def test_what_a_detector_was_made_with_is_not_set(fitted, name, value):
    with pytest.raises(ValueError, match=f"`{name}` of '.+' is settled when it is made"):
        setattr(fitted[0], name, value)
