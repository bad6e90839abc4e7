"""Moments of a stream."""

import numpy as np
import pytest

from sact_tf.evaluation.metrics import Moments


def moments(*batches):
    metric = Moments("flops")
    for batch in batches:
        metric.update_state(batch)
    return {name: float(value) for name, value in metric.result().items()}


def test_moments_are_those_of_all_values_however_they_were_batched():
    # 1, 2, 3, 10: mean 4, squares 9 + 4 + 1 + 36 = 50, sample variance 50 / 3.
    expected = {"mean": 4.0, "std": pytest.approx((50 / 3) ** 0.5), "max": 10.0}
    assert moments([1.0, 2.0, 3.0, 10.0]) == expected
    assert moments([[1.0], [2.0]], [3.0], [10.0]) == expected


def test_large_numbers_keep_their_deviation():
    # Flops of a ResNet-101: a float32 sum of squares would lose the deviation altogether.
    values = np.array([11_100_941_000, 11_100_941_002, 11_100_941_004], np.int64)
    assert moments(values[:1], values[1:]) == {"mean": 11_100_941_002.0, "std": 2.0, "max": 11_100_941_004.0}


def test_one_value_has_no_deviation():
    assert moments([5]) == {"mean": 5.0, "std": 0.0, "max": 5.0}


def test_reset_forgets():
    metric = Moments()
    metric.update_state([100.0])
    metric.reset_state()
    metric.update_state([1.0, 3.0])
    assert {name: float(value) for name, value in metric.result().items()} == {
        "mean": 2.0,
        "std": pytest.approx(2**0.5),
        "max": 3.0,
    }
