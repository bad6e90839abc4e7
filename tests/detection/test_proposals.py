import functools

import numpy as np
import pytest
import tensorflow as tf

from sact_tf.detection import geometry
from sact_tf.detection.anchors import grid_anchors
from sact_tf.detection.proposals import propose

SIZES = np.array([[64, 48], [80, 96]])  # 4 x 3 and 5 x 6 positions
GRID = functools.partial(grid_anchors, scales=(0.1, 0.2))


def drawn(batch, rows, columns, seed=4):
    generator = np.random.default_rng(seed)
    codes = generator.normal(size=(batch, rows, columns, 6, 4)).astype("float32")
    return codes, generator.normal(size=(batch, rows, columns, 6, 2)).astype("float32") * 2


def flat(array):
    return array.reshape(len(array), -1, array.shape[-1])


def test_an_anchor_with_codes_of_zero_proposes_itself_where_the_picture_has_it():
    anchors = np.array([[-10, 0, 20, 30], [50, 60, 70, 80], [30, 0, 40, 10]], "float32")
    # Softmax of (0, 0) is .5, of (0, log 3) .75.
    logits = np.log(np.array([[[1, 1], [1, 3], [1, 9]], [[1, 1], [1, 3], [1, 9]]], "float32"))
    found = propose(anchors, np.zeros((2, 3, 4)), logits, np.array([[25, 100], [60, 70]]), max_proposals=4)
    np.testing.assert_array_equal(found.count, [1, 3])
    np.testing.assert_array_equal(found.valid.numpy().sum(axis=1), [1, 3])
    zeros = [0, 0, 0, 0]
    np.testing.assert_allclose(found.boxes[0], [[0, 0, 20, 30], zeros, zeros, zeros], rtol=1e-6)
    np.testing.assert_allclose(found.boxes[1], [[30, 0, 40, 10], [50, 60, 60, 70], [0, 0, 20, 30], zeros], rtol=1e-6)
    np.testing.assert_allclose(found.scores, [[0.5, 0, 0, 0], [0.9, 0.75, 0.5, 0]], rtol=1e-6)


@pytest.mark.parametrize(
    ("way", "most"),
    [("graph", 20), ("graph", 300), ("xla", 20), pytest.param("xla", 300, marks=pytest.mark.slow)],
    indirect=["way"],
)
def test_proposals_are_those_of_the_public_implementation(figures, way, most):
    expected = figures("first_stage_postprocess")
    height, width = expected["image_shape"][1:3]
    sizes = np.array([[height, width]] * 2)
    run = way(lambda codes, logits: propose(expected["anchors"], codes, logits, sizes, max_proposals=most))
    found = run(expected["box_encodings"], expected["objectness"])
    np.testing.assert_array_equal(found.count, expected[f"num_max{most}"])
    np.testing.assert_allclose(found.scores, expected[f"scores_max{most}"], rtol=1e-5)
    boxes = expected[f"boxes_normalized_max{most}"] * [height, width, height, width]
    # Two boxes have one score: their order was not defined.
    for ours, theirs, scores in zip(found.boxes.numpy(), boxes, expected[f"scores_max{most}"], strict=True):
        order = [np.lexsort((each[:, 0], -scores)) for each in (ours, theirs)]
        np.testing.assert_allclose(ours[order[0]], theirs[order[1]], rtol=1e-5, atol=1e-4)


def test_a_picture_in_a_padded_batch_has_the_proposals_that_it_has_alone():
    codes, logits = drawn(2, 5, 6)
    anchors = GRID(5, 6)
    together = propose(anchors, flat(codes), flat(logits), SIZES, geometry.centred_inside(anchors, SIZES), 50)
    for image, (rows, columns) in enumerate([(4, 3), (5, 6)]):
        own = [flat(array[image : image + 1, :rows, :columns]) for array in (codes, logits)]
        alone = propose(GRID(rows, columns), *own, SIZES[image : image + 1], max_proposals=50)
        assert alone.count[0] > 20
        for name in alone._fields:
            np.testing.assert_array_equal(getattr(together, name)[image], getattr(alone, name)[0], err_msg=name)
    limits = np.tile(SIZES, 2)[:, None]
    assert (together.boxes.numpy() >= 0).all() and (together.boxes.numpy() <= limits).all()


def test_what_is_nan_proposes_nothing(way):
    codes, logits = (flat(array) for array in drawn(2, 2, 2))
    run = way(lambda codes, logits: propose(GRID(2, 2), codes, logits, SIZES, max_proposals=30))
    codes[0, 3, 1] = logits[0, 5, 0] = logits[0, 6, 1] = np.nan
    logits[1] = np.nan
    found = run(codes, logits)
    assert np.isfinite(found.boxes).all() and np.isfinite(found.scores).all()
    # The best that is no number does not come first, and nothing takes its place.
    clean = np.delete(np.arange(24), [3, 5, 6])
    without = propose(tf.gather(GRID(2, 2), clean), codes[:1, clean], logits[:1, clean], SIZES[:1], max_proposals=30)
    np.testing.assert_array_equal(found.count, [without.count[0], 0])
    np.testing.assert_allclose(found.boxes[0], without.boxes[0], rtol=1e-5)


def test_no_gradient_flows_through_proposals():
    codes, logits = (tf.constant(flat(array)) for array in drawn(2, 2, 2))
    with tf.GradientTape() as tape:
        tape.watch([codes, logits])
        found = propose(GRID(2, 2), codes, logits, SIZES, max_proposals=5)
        total = tf.reduce_sum(found.boxes) + tf.reduce_sum(found.scores)
    assert tape.gradient(total, [codes, logits]) == [None, None]


def test_rows_are_known_where_anchors_are_not():
    signature = [tf.TensorSpec([None, None, size]) for size in (4, 2)]
    run = tf.function(
        lambda codes, logits: propose(GRID(2, 2), codes, logits, SIZES, max_proposals=7), input_signature=signature
    )
    codes, logits = (flat(array) for array in drawn(2, 2, 2))
    assert run.get_concrete_function().structured_outputs.boxes.shape[1:] == (7, 4)
    assert run(codes, logits).boxes.shape == (2, 7, 4)
