import keras
import numpy as np
import pytest
import tensorflow as tf

from sact_tf.labels import class_indices, class_targets
from sact_tf.losses import cross_entropy

LOGITS = np.log(np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]], "float32"))
ONE_HOT = np.eye(3)[[0, 2]]
# Values that are no classes, of a form that could be.
INVALID = {
    "as many as classes": [0, 3],
    "far too large": [999, 0],
    "negative": [-1, 2],
    "zero in 32 bits": np.array([2**32, 2], "int64"),
    "too large for their dtype": np.array([255, 1], "uint8"),
    "fractions": [0.0, 1.7],
    "not a number": [float("nan"), 1.0],
    "infinite": [float("inf"), 1.0],
    "no class at all": np.zeros((2, 3)),
    "two classes": [[1, 1, 0], [0, 0, 1]],
    "negative one-hot": [[2.0, -1.0, 0.0], [0.0, 0.0, 1.0]],
}


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "float16", "float32", "float64", "bool"])
@pytest.mark.parametrize("form", ["(batch,)", "(batch, 1)", "one-hot"])
def test_every_form_and_dtype_of_a_label_means_the_same(form, dtype):
    labels = {"(batch,)": np.array([0, 1]), "(batch, 1)": np.array([[0], [1]]), "one-hot": np.eye(3)[[0, 1]]}[form]
    targets, valid = class_targets(labels.astype(dtype), LOGITS)
    np.testing.assert_array_equal(targets, np.eye(3)[[0, 1]])
    np.testing.assert_array_equal(valid, [True, True])
    np.testing.assert_array_equal(class_indices(labels.astype(dtype), LOGITS), [0, 1])
    assert {keras.backend.standardize_dtype(targets.dtype)} == {"float32"}


def test_soft_labels_are_targets():
    labels = [[0.25, 0.75, 0.0], [0.2, 0.2, 0.6]]
    np.testing.assert_allclose(class_targets(labels, LOGITS)[0], labels)
    np.testing.assert_array_equal(class_indices(labels, LOGITS), [1, 2])
    expected = -np.mean(np.sum(np.array(labels) * LOGITS, axis=-1))
    assert float(cross_entropy(labels, LOGITS)) == pytest.approx(expected)


@pytest.mark.parametrize("labels", INVALID.values(), ids=INVALID)
def test_invalid_values_are_refused_where_they_can_be_seen(labels):
    with pytest.raises(ValueError, match=r"Labels must be whole numbers from 0 to 2|add up to one(.|\n)*Received"):
        cross_entropy(labels, LOGITS)


@pytest.mark.parametrize("labels", INVALID.values(), ids=INVALID)
def test_invalid_values_are_refused_by_graphs_and_nan_under_xla(labels):
    labels = tf.constant(labels)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"Labels must be whole|add up to one"):
        tf.function(cross_entropy)(labels, LOGITS)
    assert np.isnan(tf.function(cross_entropy, jit_compile=True)(labels, LOGITS))


def test_valid_labels_are_the_same_number_eagerly_in_graphs_and_under_xla():
    expected = -(np.log(0.5) + np.log(0.8)) / 2
    for function in (cross_entropy, tf.function(cross_entropy), tf.function(cross_entropy, jit_compile=True)):
        assert float(function(tf.constant([0, 2]), LOGITS)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("labels", "received"),
    [
        (None, "no labels"),
        ({"logits": [0, 2]}, "dict with the keys"),
        (tf.constant(["a", "b"]), "dtype string"),
        (np.array([0j, 2j]), "dtype complex"),
        ([0, 1, 2], r"shape \(3,\)"),
        ([0], r"shape \(1,\)"),
        (1, r"shape \(\)"),
        (np.zeros((2, 4)), r"shape \(2, 4\)"),
        (np.zeros((2, 3, 1)), r"shape \(2, 3, 1\)"),
        (np.eye(3), r"shape \(3, 3\)"),
    ],
)
def test_other_forms_are_refused_with_those_that_are_taken(labels, received):
    with pytest.raises(ValueError, match=rf"from 0 to 2, one for each of the 2 images(.|\n)*Received: .*{received}"):
        cross_entropy(labels, LOGITS)


def test_another_number_of_labels_than_images_is_refused_where_only_a_running_graph_can_tell():
    signature = [tf.TensorSpec((None,), "int32"), tf.TensorSpec((None, 3), "float32")]
    function = tf.function(cross_entropy, input_signature=signature)
    assert np.isfinite(function(tf.constant([0, 2]), LOGITS))
    with pytest.raises(tf.errors.InvalidArgumentError, match="as many labels as images"):
        function(tf.constant([1]), LOGITS)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_function_that_has_seen_both_forms_of_labels_takes_both(jit_compile):
    logits = np.log(np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]], "float32"))
    signature = [tf.TensorSpec(None, tf.float32)]
    function = tf.function(lambda labels: cross_entropy(labels, logits), signature, jit_compile=jit_compile)
    for labels in ([0, 2], [[0], [2]], np.eye(3)[[0, 2]]):
        expected = -(np.log(0.5) + np.log(0.8)) / 2
        np.testing.assert_allclose(function(np.array(labels, "float32")), expected, rtol=1e-5)
    if jit_compile:
        assert np.isnan(function(np.array([0.0, 3.0], "float32")))
    else:
        with pytest.raises(tf.errors.InvalidArgumentError, match="whole numbers from 0 to 2, or rows of 3"):
            function(np.array([0.0, 3.0], "float32"))
        for others in (np.eye(2), np.eye(7)[:2], [0.0, 1.0, 2.0]):
            with pytest.raises(tf.errors.InvalidArgumentError, match="each of the 2 images, of the shape"):
                function(np.array(others, "float32"))
