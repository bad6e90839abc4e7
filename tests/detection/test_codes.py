import math

import numpy as np
import pytest
import tensorflow as tf

from sact_tf.detection import codes

ANCHOR = np.array([[10, 20, 30, 60]], "float32")  # centre (20, 40), 20 high, 40 wide


def test_codes_are_shifts_in_sides_and_logarithms_of_ratios():
    box = np.array([[22, 20, 32, 100]], "float32")  # centre (27, 60), 10 high, 80 wide
    expected = [[10 * 7 / 20, 10 * 20 / 40, 5 * math.log(0.5), 5 * math.log(2)]]
    np.testing.assert_allclose(codes.encode(box, ANCHOR), expected, rtol=1e-6)


def test_decoding_undoes_encoding():
    boxes = np.array([[[22, 20, 32, 100]], [[-3, 50, 4, 51]]], "float32")
    np.testing.assert_allclose(codes.decode(codes.encode(boxes, ANCHOR), ANCHOR), boxes, rtol=1e-5)


def test_each_class_of_a_proposal_has_codes_of_its_own():
    proposals = np.array([[[0, 0, 10, 10], [10, 20, 30, 60]]], "float32")
    shifts = np.zeros((1, 2, 3, 4), "float32")
    shifts[0, 1, 2] = [10, -10, 0, 0]
    decoded = codes.decode(shifts, proposals[:, :, None]).numpy()
    assert decoded.shape == (1, 2, 3, 4)
    np.testing.assert_allclose(decoded[0, 1], [[10, 20, 30, 60], [10, 20, 30, 60], [30, -20, 50, 20]], rtol=1e-6)


def test_huge_codes_give_finite_boxes():
    decoded = codes.decode(np.array([[0, 0, 1e4, 1e30]], "float32"), ANCHOR).numpy()
    np.testing.assert_allclose(decoded[0, 2] - decoded[0, 0], 20 * math.exp(codes.MAX_LOG_RATIO), rtol=1e-5)
    assert np.isfinite(decoded).all()
    assert np.isfinite(codes.encode(decoded, ANCHOR)).all()


def test_codes_in_half_precision_are_decoded_in_float32():
    decoded = codes.decode(tf.constant([[1.0, 2.0, 0.0, 0.0]], tf.bfloat16), ANCHOR)
    assert decoded.dtype == tf.float32
    np.testing.assert_allclose(decoded, [[12, 28, 32, 68]], rtol=1e-6)


def test_codes_are_those_of_the_public_implementation(figures, way):
    expected = figures("box_coder")
    encoded = way(codes.encode)(expected["boxes"], expected["anchors"])
    # Boxes and anchors without height or width included.
    np.testing.assert_allclose(encoded, expected["codes"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("of", "anchors", "decoded"),
    [("codes", "anchors", "decoded"), ("random_codes", "random_anchors", "random_decoded")],
)
def test_decoded_boxes_are_those_of_the_public_implementation(figures, way, of, anchors, decoded):
    expected = figures("box_coder")
    boxes = way(codes.decode)(expected[of], expected[anchors])
    # A coordinate near 0 has the rounding of the sums that it came from: of its box, and of the anchor.
    scale = np.abs(np.concatenate([expected[decoded], expected[anchors]], axis=-1)).max(axis=-1, keepdims=True)
    np.testing.assert_allclose(boxes / scale, expected[decoded] / scale, rtol=0, atol=1e-6)
