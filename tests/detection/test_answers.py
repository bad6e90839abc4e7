import numpy as np
import pytest
import tensorflow as tf

from sact_tf.detection.answers import answer

SIZES = np.array([[40, 60], [30, 30]])
# The first two overlap by .9; the third lies outside of the second picture.
PROPOSALS = np.array([[[0, 0, 20, 20], [0, 0, 20, 18], [35, 40, 50, 70]]] * 2, "float32")
EVERY = np.ones((2, 3), bool)


def logits_of(*probabilities):
    return np.log(np.array([probabilities] * 2, "float32"))


def test_boxes_of_a_class_suppress_each_other_and_those_of_another_do_not():
    # Background, class 1, class 2.
    logits = logits_of([0.2, 0.5, 0.3], [0.1, 0.3, 0.6], [0.8, 0.1, 0.1])
    found = answer(PROPOSALS, EVERY, np.zeros((2, 3, 2, 4)), logits, SIZES, max_detections=5)
    np.testing.assert_array_equal(found.num_detections, [4, 2])
    np.testing.assert_array_equal(found.classes, [[2, 1, 1, 2, 0], [2, 1, 0, 0, 0]])
    np.testing.assert_allclose(found.scores, [[0.6, 0.5, 0.1, 0.1, 0], [0.6, 0.5, 0, 0, 0]], rtol=1e-6)
    shown = [[0, 0, 20, 18], [0, 0, 20, 20], [35, 40, 40, 60], [35, 40, 40, 60], [0, 0, 0, 0]]
    np.testing.assert_allclose(found.boxes[0], shown, rtol=1e-6)
    np.testing.assert_allclose(found.boxes[1], [*shown[:2], *[[0, 0, 0, 0]] * 3], rtol=1e-6)


def test_padding_and_nan_are_no_objects():
    logits = logits_of([0.2, 0.8], [0.3, 0.7], [0.4, 0.6])
    logits[0, 0, 1] = np.nan
    codes = np.zeros((2, 3, 1, 4), "float32")
    codes[0, 1, 0, 2] = np.nan
    found = answer(PROPOSALS, np.array([[True] * 3, [False] * 3]), codes, logits, SIZES, max_detections=2)
    np.testing.assert_array_equal(found.num_detections, [1, 0])
    np.testing.assert_allclose(found.boxes, [[[35, 40, 40, 60], [0] * 4], [[0] * 4] * 2], rtol=1e-6)


def test_a_class_has_no_more_than_its_share():
    logits = logits_of([0.2, 0.5, 0.3], [0.1, 0.3, 0.6], [0.1, 0.45, 0.45])
    found = answer(PROPOSALS, EVERY, np.zeros((2, 3, 2, 4)), logits, SIZES, max_per_class=1, max_detections=4)
    np.testing.assert_array_equal(found.num_detections, [2, 2])
    np.testing.assert_allclose(found.scores[:, :2], [[0.6, 0.5]] * 2, rtol=1e-6)


def test_what_is_not_known_beforehand_is_answered_the_same():
    signature = [tf.TensorSpec([None, None, 2, 4]), tf.TensorSpec([None, None, 3])]

    def run(codes, logits):
        return answer(PROPOSALS, EVERY, codes, logits, SIZES, max_per_class=2, max_detections=3)

    arguments = np.zeros((2, 3, 2, 4), "float32"), logits_of([0.2, 0.5, 0.3], [0.1, 0.3, 0.6], [0.1, 0.45, 0.45])
    found = tf.function(run, input_signature=signature)(*arguments)
    for name, value in run(*arguments)._asdict().items():
        np.testing.assert_allclose(getattr(found, name), value, rtol=1e-6)


@pytest.mark.parametrize(("of_class", "most", "xla"), [(5, 12, False), (5, 12, True), (100, 300, False)])
def test_answers_are_those_of_the_public_implementation(figures, of_class, most, xla):
    arrays = figures("second_stage_postprocess")
    height, width = arrays["image_shape"][1:3]
    run = tf.function(
        lambda codes, logits: answer(
            arrays["proposal_boxes"],
            np.arange(20) < arrays["num_proposals"][:, None],
            codes,
            logits,
            np.array([[height, width]] * 2),
            max_per_class=of_class,
            max_detections=most,
        ),
        jit_compile=xla,
        autograph=False,
    )
    found = run(arrays["refined_box_encodings"].reshape(2, 20, 4, 4), arrays["class_predictions"].reshape(2, 20, 5))
    name = f"per{of_class}_total{most}"
    np.testing.assert_array_equal(found.num_detections, arrays[f"num_{name}"])
    np.testing.assert_allclose(found.scores, arrays[f"scores_{name}"], rtol=1e-5)
    boxes = arrays[f"boxes_normalized_{name}"] * [height, width, height, width]
    np.testing.assert_allclose(found.boxes, boxes, rtol=1e-5, atol=1e-4)
    # There, classes count from 0, and padding is 0 as well.
    for image, count in enumerate(arrays[f"num_{name}"]):
        np.testing.assert_array_equal(found.classes[image][:count], arrays[f"classes_{name}"][image][:count] + 1)
        assert not found.classes[image][count:].numpy().any()
