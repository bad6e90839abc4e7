import math

import numpy as np
import pytest
import tensorflow as tf

from sact_tf.detection.losses import anchor_losses, proposal_losses
from sact_tf.detection.targets import Targets, anchor_targets, proposal_targets


def targets_of(classes, codes):
    classes = np.array(classes, "int32")
    matched = (classes > 0).astype("float32")
    return Targets(classes - 1, classes, np.ones_like(matched), np.array(codes, "float32"), matched)


# Two images with two anchors each; the second image has nothing.
TARGETS = targets_of([[1, 0], [0, 0]], np.zeros((2, 2, 4)))
CODES = np.array([[[0.5, 0, 0, -2], [9, 9, 9, 9]], [[1, 1, 1, 1], [2, 2, 2, 2]]], "float32")
LOGITS = np.log(np.array([[[1, 3], [3, 1]], [[1, 1], [1, 9]]], "float32"))


def test_anchors_learn_from_samples_over_their_number():
    localization, classification = anchor_losses(CODES, LOGITS, TARGETS, np.array([[True, True], [True, False]]))
    # .5^2 / 2 and 2 - .5, of two samples, the mean over two images, weighted by two.
    assert float(localization) == pytest.approx(2 * (0.125 + 1.5) / 2 / 2)
    assert float(classification) == pytest.approx((2 * math.log(4 / 3) / 2 + math.log(2)) / 2, rel=1e-6)


def test_an_image_without_samples_adds_nothing():
    codes, logits = tf.constant(CODES), tf.constant(LOGITS)
    with tf.GradientTape() as tape:
        tape.watch([codes, logits])
        losses = anchor_losses(codes, logits, TARGETS, np.zeros((2, 2), bool))
    assert [float(loss) for loss in losses] == [0, 0]
    assert all((gradient.numpy() == 0).all() for gradient in tape.gradient(losses, [codes, logits]))


def test_what_is_not_sampled_may_be_anything():
    sampled = np.array([[True, False], [True, False]])
    wild_codes, wild_logits = CODES.copy(), LOGITS.copy()
    wild_codes[:, 1], wild_logits[:, 1] = np.nan, np.inf
    expected = anchor_losses(CODES, LOGITS, TARGETS, sampled)
    np.testing.assert_array_equal(anchor_losses(wild_codes, wild_logits, TARGETS, sampled), expected)
    # What is sampled may not, and no loss hides it; background has no box to be wrong.
    assert np.isnan(anchor_losses(wild_codes, wild_logits, TARGETS, ~sampled)[1])
    assert np.isnan(anchor_losses(CODES * np.nan, LOGITS, TARGETS, sampled)[0])


def test_only_the_codes_of_the_right_class_count():
    targets = targets_of([[2, 0, 3]], np.zeros((1, 3, 4)))
    codes = np.full((1, 3, 3, 4), np.nan, "float32")
    codes[0, 0, 1], codes[0, 2, 2] = [1, 0, 0, 0], [0, 3, 0, 0]
    logits = np.log(np.array([[[1, 1, 5, 1], [5, 1, 1, 1], [1, 1, 1, 1]]], "float32"))
    localization, classification = proposal_losses(codes, logits, targets, np.ones((1, 3), bool))
    assert float(localization) == pytest.approx(2 * (0.5 + 2.5) / 3)
    assert float(classification) == pytest.approx((2 * math.log(8 / 5) + math.log(4)) / 3, rel=1e-6)


def test_losses_of_half_precision_are_float32():
    losses = anchor_losses(tf.cast(CODES, "bfloat16"), tf.cast(LOGITS, "bfloat16"), TARGETS, np.ones((2, 2), bool))
    assert [loss.dtype for loss in losses] == [tf.float32] * 2


def ground_truth(arrays):
    """Boxes, classes and which rows are boxes, of both images, padded."""
    height, width = arrays["image_shape"][1:3]
    boxes, classes = np.zeros((2, 3, 4), "float32"), np.zeros((2, 3), "int32")
    for image in range(2):
        own = arrays[f"gt_boxes_normalized_{image}"] * np.array([height, width, height, width], "float32")
        boxes[image, : len(own)] = own
        classes[image, : len(own)] = arrays[f"gt_classes_onehot_{image}"].argmax(axis=1) + 1
    return boxes, classes, classes > 0


CASES = {"batch2": [0, 1], "image0": [0], "image1": [1], "image0_explicit64": [0]}


def all_losses(arrays, case):
    images = CASES[case]
    boxes, classes, valid = (array[images] for array in ground_truth(arrays))
    targets = anchor_targets(arrays["anchors"], boxes, valid, keep_all=False)
    sampled = arrays["explicit_indicator"][None] if "explicit" in case else targets.class_weights > 0
    first = anchor_losses(arrays["rpn_box_encodings"][images], arrays["rpn_objectness"][images], targets, sampled)
    proposals = arrays["proposal_boxes"][images]
    in_use = np.arange(16) < arrays["num_proposals"][images][:, None]
    second = proposal_losses(
        arrays["refined_box_encodings"].reshape(2, 16, 3, 4)[images],
        arrays["class_predictions"].reshape(2, 16, 4)[images],
        proposal_targets(proposals, boxes, classes, valid, eligible=in_use),
        in_use,
    )
    return tf.stack([*first, *second])


@pytest.mark.parametrize("case", CASES)
def test_losses_are_those_of_the_public_implementation(figures, case):
    arrays = figures("losses")
    np.testing.assert_allclose(all_losses(arrays, case), arrays[f"losses_{case}"], rtol=1e-5)


def test_losses_compile(figures, compiled):
    arrays = figures("losses")
    np.testing.assert_allclose(compiled(lambda: all_losses(arrays, "batch2"))(), arrays["losses_batch2"], rtol=1e-5)
