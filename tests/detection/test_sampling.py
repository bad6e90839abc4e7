import numpy as np
import pytest
import tensorflow as tf

from sact_tf.detection.sampling import places, sample


def masks(*positives, candidates=40, ignored=4):
    """Of each image, the first ones are positive and the last ones neither."""
    positive = np.arange(candidates) < np.array(positives)[:, None]
    return positive, ~positive & (np.arange(candidates) < candidates - ignored)


def drawn(positive, negative, size=12, fraction=0.25, seed=3, step=5, images=(7, 8)):
    return sample(positive, negative, size, fraction, seed, step, tf.constant(images[: len(positive)]))


def test_a_quarter_are_positives_and_negatives_fill_up():
    positive, negative = masks(9, 2)
    chosen = drawn(positive, negative).numpy()
    np.testing.assert_array_equal((chosen & positive).sum(axis=1), [3, 2])
    np.testing.assert_array_equal((chosen & negative).sum(axis=1), [9, 10])
    np.testing.assert_array_equal(chosen.sum(axis=1), [12, 12])


def test_there_are_fewer_where_there_are_not_enough():
    positive, negative = masks(34, 0, ignored=4)
    chosen = drawn(positive, negative).numpy()
    # All of the two negatives with three positives; and no positives at all.
    np.testing.assert_array_equal(chosen.sum(axis=1), [3 + 2, 12])
    nothing = np.zeros((1, 5), bool)
    np.testing.assert_array_equal(drawn(nothing, nothing), nothing)


def test_draws_are_a_function_of_seed_step_and_image():
    positive, negative = masks(20, 20)
    chosen = drawn(positive, negative).numpy()
    np.testing.assert_array_equal(drawn(positive, negative), chosen)
    for other in ({"seed": 4}, {"step": 6}, {"images": (9, 10)}):
        assert (drawn(positive, negative, **other).numpy() != chosen).any(axis=1).all(), other
    # Not of the rest of the batch.
    np.testing.assert_array_equal(drawn(positive[1:], negative[1:], images=(8,))[0], chosen[1])
    assert (chosen[0] != chosen[1]).any()


def test_all_are_drawn_in_time():
    positive, negative = masks(10, 10, candidates=20, ignored=0)
    draw = tf.function(lambda step: drawn(positive, negative, size=8, fraction=0.5, step=step))
    counts = sum(draw(tf.constant(step)).numpy().astype(int) for step in range(50))
    # Four of ten in each of 50 steps: 20 times each, give or take three standard deviations of 3.5.
    assert counts.min() > 9 and counts.max() < 31


def test_xla_draws_the_same(compiled):
    positive, negative = masks(30, 7, candidates=200)

    def run(step):
        return drawn(positive, negative, size=64, step=step)

    np.testing.assert_array_equal(compiled(run)(tf.constant(5)), run(tf.constant(5)))


@pytest.mark.parametrize("wrong", [{"size": -1}, {"fraction": 1.5}])
def test_what_cannot_be_drawn_is_an_error(wrong):
    with pytest.raises(ValueError, match=r"`size` must be at least 0.*Received"):
        drawn(*masks(3), **wrong)


def test_places_gather_the_samples(way):
    chosen = np.array([[False, True, False, True], [False, False, False, True]])
    indices, valid = way(lambda chosen: places(chosen, 3))(tf.constant(chosen))
    np.testing.assert_array_equal(indices, [[1, 3, 0], [3, 0, 0]])
    np.testing.assert_array_equal(valid, [[True, True, False], [True, False, False]])
    # More rows than candidates.
    assert places(chosen, 9)[1].numpy().sum() == 3
