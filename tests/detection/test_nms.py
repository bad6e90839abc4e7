import numpy as np
import tensorflow as tf

from sact_tf.detection.nms import non_max_suppression

# Each next one overlaps the first by .7 exactly, .6 and not at all.
ROW = [[0, 0, 10, 10], [0, 0, 10, 7], [0, 0, 6, 10], [20, 20, 30, 40]]


def crowded(count, seed=3):
    """Boxes around two places, scores with ties."""
    generator = np.random.default_rng(seed)
    centres = generator.choice([[40.0, 50.0], [60.0, 80.0]], (2, count)) + generator.normal(size=(2, count, 2)) * 6
    sides = generator.uniform(20, 40, (2, count, 2))
    boxes = np.concatenate([centres - sides / 2, centres + sides / 2], axis=-1)
    return np.maximum(boxes, 0).astype("float32"), generator.integers(1, 50, (2, count)).astype("float32") / 50


def test_an_overlap_of_the_threshold_is_kept_and_more_is_not(way):
    boxes, scores = np.array([ROW, ROW], "float32"), np.array([[0.9, 0.8, 0.7, 0.6], [0.6, 0.7, 0.8, 0.9]], "float32")
    kept = way(lambda boxes, scores: non_max_suppression(boxes, scores, 5, 0.7))(boxes, scores)
    np.testing.assert_array_equal(kept.indices, [[0, 1, 2, 3, 0], [3, 2, 1, 0, 0]])
    np.testing.assert_array_equal(kept.valid, [[True] * 4 + [False]] * 2)
    kept = non_max_suppression(boxes, scores, 5, 0.65)
    np.testing.assert_array_equal(kept.indices, [[0, 2, 3, 0, 0], [3, 2, 1, 0, 0]])
    np.testing.assert_array_equal(kept.scores, np.array([[0.9, 0.7, 0.6, 0, 0], [0.9, 0.8, 0.7, 0, 0]], "float32"))


def test_it_keeps_what_the_kernel_keeps(way):
    boxes, scores = crowded(300)
    # The first number ends before there is no box left, the second does not; one after the other in one trace.
    kept = way(lambda boxes, scores: [non_max_suppression(boxes, scores, size, 0.6) for size in (4, 40)])(boxes, scores)
    for size, each in zip((4, 40), kept, strict=True):
        for image in range(2):
            expected = tf.image.non_max_suppression(boxes[image], scores[image], size, 0.6, 0.0)
            np.testing.assert_array_equal(each.indices[image][each.valid[image]], expected)


def test_no_score_no_area_and_nan_are_no_candidates(way):
    others = [[5, 5, 5, 50], [np.nan, 0, 10, 10], [1, 1, 2, 2], [30, 30, 50, 50], [60, 0, 70, 9]]
    boxes = np.array([[*ROW, *others]], "float32")
    scores = np.array([[0.5, 0.0, -1.0, np.nan, 0.9, 0.9, 0.1, 0.2, 1e-40]], "float32")
    kept = way(lambda boxes, scores: non_max_suppression(boxes, scores, 4, 0.7))(boxes, scores)
    np.testing.assert_array_equal(kept.indices, [[0, 7, 6, 0]])
    np.testing.assert_array_equal(kept.scores, np.array([[0.5, 0.2, 0.1, 0]], "float32"))


def test_only_the_best_candidates_are_looked_at():
    boxes, scores = np.array([ROW], "float32"), np.array([[0.6, 0.9, 0.7, 0.8]], "float32")
    np.testing.assert_array_equal(non_max_suppression(boxes, scores, 3, 0.9, max_candidates=2).indices, [[1, 3, 0]])
    np.testing.assert_array_equal(non_max_suppression(boxes, scores, 3, 0.9, max_candidates=9).indices, [[1, 3, 2]])
