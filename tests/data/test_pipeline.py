"""Batches are a function of (seed, step)."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from sact_tf.data import cluttered_digits, pipeline


def counting_source(num_examples):
    """A source whose examples are their own index."""
    return pipeline.Source(num_examples, lambda indices: {"label": indices})


def labels(batches, count):
    return [batch["label"].numpy().tolist() for batch in itertools.islice(batches, count)]


def test_every_epoch_has_every_example_once_in_another_order():
    rows = labels(pipeline.training_batches(counting_source(7), 7, seed=3, first_step=0), 3)
    assert [sorted(row) for row in rows] == [list(range(7))] * 3
    assert rows[0] != rows[1] != rows[2]


def test_reading_from_a_later_step_gives_what_reading_from_the_start_would_have_given():
    source = counting_source(10)
    from_start = labels(pipeline.training_batches(source, 4, seed=5, first_step=0), 9)
    assert labels(pipeline.training_batches(source, 4, seed=5, first_step=6), 3) == from_start[6:]


def test_another_seed_gives_another_order():
    first, second = (labels(pipeline.training_batches(counting_source(50), 50, seed, 0), 1) for seed in (0, 1))
    assert first != second


def test_evaluation_reads_every_example_once_and_the_last_batch_may_be_short():
    assert labels(pipeline.evaluation_batches(counting_source(5), 2), 9) == [[0, 1], [2, 3], [4]]


def test_cluttered_digits_come_scaled_with_label_and_box():
    source = pipeline.open_source("cluttered_digits", "test", image_size=48, num_examples=3)
    (batch,) = list(pipeline.evaluation_batches(source, 4))
    expected = cluttered_digits.load("test", 3, image_size=48)
    assert batch["image"].shape == (3, 48, 48, 3) and batch["image"].dtype == tf.float32
    np.testing.assert_allclose(batch["image"], expected["image"] / 127.5 - 1, atol=1e-6)
    np.testing.assert_array_equal(batch["label"], expected["label"])
    np.testing.assert_array_equal(batch["box"], expected["box"])


def test_an_image_size_that_the_data_set_cannot_make_is_refused_before_training():
    with pytest.raises(ValueError, match="image_size"):
        pipeline.open_source("cluttered_digits", "train", image_size=8)


def test_a_data_set_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="`dataset` must be one of"):
        pipeline.open_source("mnist", "train", image_size=64)
