"""Changes of colour against the release's figures and against TensorFlow's own operations."""

import numpy as np
import pytest
import tensorflow as tf

from sact_tf.data import colour

GENERATOR = np.random.default_rng(0)
BYTES = GENERATOR.integers(0, 256, (40, 56, 3), np.uint8)
PICTURES = {
    "whole numbers": BYTES,
    # As bicubic resizing leaves them.
    "floats that leave the range": GENERATOR.uniform(-20, 275, (40, 56, 3)).astype(np.float32),
    "nearly black": GENERATOR.integers(0, 3, (40, 56, 3), np.uint8),
    "grey": np.repeat(GENERATOR.integers(0, 256, (40, 56, 1), np.uint8), 3, axis=-1),
    "two colours alike": GENERATOR.integers(0, 256, (40, 56, 2), np.uint8)[..., [0, 1, 1]],
    # Means of many equal values show how sums are rounded.
    "one colour": np.full((224, 224, 3), [230, 231, 17], np.uint8),
}


def adjust(image, order, amounts):
    for name in order:
        image = getattr(tf.image, f"adjust_{name}")(image, amounts[name])
    return image


@pytest.mark.parametrize(
    "name, amount",
    [
        ("brightness", -0.125490),
        ("brightness", 0.07),
        ("saturation", 0.5),
        ("saturation", 1.5),
        ("contrast", 0.5),
        ("contrast", 1.5),
        ("hue", -0.2),
        ("hue", 0.13),
    ],
)
def test_each_change_of_colour_is_the_release_s(reference, name, amount):
    blocks = np.load(reference / "f_preprocessing" / "building_blocks.npz")
    (key,) = (key for key in blocks if key.startswith(name) and abs(float(key.partition("_")[2]) - amount) < 1e-6)
    actual = colour.apply(tf.constant(blocks["image"]), (name,), {name: amount})
    np.testing.assert_allclose(actual, blocks[key], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["brightness", "saturation", "hue", "contrast"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.999])
def test_each_change_of_colour_is_tensorflow_s(name, share):
    amounts = colour.amounts_of(tf.fill([4], share))
    for picture in PICTURES.values():
        image = tf.cast(picture, tf.float32) / 255.0
        actual = colour.apply(image, (name,), amounts)
        np.testing.assert_allclose(actual, adjust(image, (name,), amounts), rtol=0, atol=1e-5)


@pytest.mark.parametrize("order", colour.COLOUR_ORDERS)
@pytest.mark.parametrize("kind", PICTURES)
def test_all_changes_together_are_tensorflow_s_one_after_the_other(order, kind):
    for draws in np.random.default_rng(1).uniform(size=(5, 4)).astype(np.float32):
        amounts = colour.amounts_of(draws)
        expected = adjust(tf.cast(PICTURES[kind], tf.float32) / 255.0, order, amounts)
        expected = tf.clip_by_value(expected, 0.0, 1.0) * 2.0 - 1.0
        # As all ways to resize return them: pictures of one size and type are compiled once.
        actual = colour.distort(tf.cast(PICTURES[kind], tf.float32), order, tf.constant(draws))
        assert actual.dtype == tf.float32
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)


def test_bytes_are_taken_as_the_numbers_that_they_are():
    order, draws = colour.COLOUR_ORDERS[0], tf.constant([0.3, 0.6, 0.9, 0.2])
    of_floats = colour.distort(tf.cast(BYTES, tf.float32), order, draws)
    np.testing.assert_allclose(colour.distort(tf.constant(BYTES), order, draws), of_floats, rtol=0, atol=1e-6)


def test_draws_are_spread_over_the_ranges():
    # 0.25 and 0.9 of the way from -max to max; 0.75 and 0.1 of the way from 0.5 to 1.5.
    amounts = colour.amounts_of(tf.constant([0.25, 0.75, 0.9, 0.1]))
    expected = {"brightness": -0.5 * 32 / 255, "saturation": 1.25, "hue": 0.8 * 0.2, "contrast": 0.6}
    assert {name: float(amount) for name, amount in amounts.items()} == pytest.approx(expected)
