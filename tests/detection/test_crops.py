import numpy as np
import pytest
import tensorflow as tf

from sact_tf.detection.crops import crop, crop_normalized

# Five rows, four columns: ten times the row plus the column.
RAMP = (10.0 * np.arange(5)[:, None] + np.arange(4))[None, :, :, None].astype("float32")

both = pytest.mark.parametrize("kernel", [True, False])


@both
def test_a_crop_is_what_lies_between_the_positions(kernel):
    boxes = np.array([[[0.25, 0, 0.75, 1], [0.125, 0.5, 0.125, 0.5]]], "float32")
    crops = crop_normalized(RAMP, boxes, size=4, kernel=kernel).numpy()
    assert crops.shape == (2, 4, 4, 1)
    # Rows 1 to 3 in four steps, all columns; then the point at row .5 and column 1.5.
    np.testing.assert_allclose(crops[0, :, 0, 0], [10, 10 + 20 / 3, 10 + 40 / 3, 30], rtol=1e-6)
    np.testing.assert_allclose(crops[0, 1, :, 0], 10 + 20 / 3 + np.arange(4), rtol=1e-6)
    np.testing.assert_allclose(crops[1], np.full((4, 4, 1), 6.5))
    pooled = crop_normalized(RAMP, boxes, size=4, max_pool=True, kernel=kernel)
    np.testing.assert_array_equal(pooled[0], crops[0, 1::2, 1::2])


@both
def test_what_lies_outside_is_zero(kernel):
    crops = crop_normalized(RAMP + 1, np.array([[[-1, 0, 1, 2]]], "float32"), size=3, kernel=kernel)[0, :, :, 0]
    # Rows -4, 0 and 4, columns 0, 3 and 6.
    np.testing.assert_array_equal(crops, [[0, 0, 0], [1, 4, 0], [41, 44, 0]])


def test_boxes_are_pixels_of_the_picture():
    # Of 80 x 64 pixels; a box of the whole picture is its features, corner on corner.
    crops = crop(RAMP, np.array([[[0, 0, 80, 64]]], "float32"), np.array([[80, 64]]), size=4).numpy()
    np.testing.assert_allclose(crops[0, :, 0, 0], [0, 40 / 3, 80 / 3, 40], rtol=1e-5)
    np.testing.assert_allclose(crops[0, 0, :, 0], [0, 1, 2, 3], rtol=1e-5)


@both
def test_a_box_on_the_border_is_cut_to_its_end(kernel):
    tops = np.random.default_rng(4).uniform(0, 80, (1, 200)).astype("float32")
    boxes = np.stack([tops, tops, np.full_like(tops, 100), np.full_like(tops, 90)], axis=-1)
    crops = crop(np.ones((1, 7, 6, 1), "float32"), boxes, np.array([[100, 90]]), kernel=kernel)
    # Without care, rounding would put the end of five of them outside, where there are zeros.
    np.testing.assert_allclose(crops, np.ones((200, 14, 14, 1)), rtol=1e-6)


@both
def test_crops_do_not_depend_on_the_padding(kernel):
    features = np.random.default_rng(3).normal(size=(2, 5, 7, 3)).astype("float32")
    sizes = np.array([[80, 112], [33, 50]])  # 5 x 7 and 3 x 4 positions
    boxes = np.array([[[0, 0, 80, 112], [3, 5, 40, 100]], [[0, 0, 33, 50], [7, 1, 20, 41]]], "float32")
    features[1, 3:], features[1, :, 4:] = 1e3, 1e3
    together = crop(features, boxes, sizes, kernel=kernel).numpy().reshape(2, 2, 14, 14, 3)
    for image, (rows, columns) in enumerate([(5, 7), (3, 4)]):
        own = features[image : image + 1, :rows, :columns]
        alone = crop(own, boxes[image : image + 1], sizes[image : image + 1], kernel=kernel)
        np.testing.assert_allclose(together[image], alone, rtol=1e-4, atol=1e-4)


def test_no_gradient_flows_into_boxes():
    features, boxes = tf.constant(RAMP), tf.constant([[[5.0, 6.0, 50.0, 44.0]]])
    with tf.GradientTape() as tape:
        tape.watch([features, boxes])
        total = tf.reduce_sum(crop(features, boxes, np.array([[80, 64]])))
    of_features, of_boxes = tape.gradient(total, [features, boxes])
    assert of_boxes is None
    # Each of 14 x 14 values is a mean of features.
    assert float(tf.reduce_sum(of_features)) == pytest.approx(14 * 14, rel=1e-5)


@both
def test_half_precision_is_cut_in_float32(kernel):
    features = tf.cast(np.random.default_rng(3).normal(size=(1, 5, 7, 3)), tf.bfloat16)
    boxes, sizes = np.array([[[3, 5, 40, 100]]], "float32"), np.array([[80, 112]])
    crops = crop(features, boxes, sizes, kernel=kernel)
    assert crops.dtype == tf.bfloat16
    exact = crop(tf.cast(features, tf.float32), boxes, sizes, kernel=kernel)
    np.testing.assert_array_equal(crops, tf.cast(exact, tf.bfloat16))


def run(arrays, features, **kwargs):
    """Crops, pooled crops, and the gradient of the weighted sum of those, of the reference's boxes."""
    with tf.GradientTape() as tape:
        tape.watch(features)
        pooled = crop_normalized(features, arrays["boxes_normalized"], max_pool=True, **kwargs)
        total = tf.reduce_sum(pooled * arrays["grad_weights"])
    gradient = tape.gradient(total, features)
    return crop_normalized(features, arrays["boxes_normalized"], **kwargs), pooled, gradient


def test_crops_are_those_of_the_public_implementation_bit_for_bit(figures):
    arrays = figures("crop_and_pool")
    crops, pooled, gradient = run(arrays, tf.constant(arrays["features"]))
    np.testing.assert_array_equal(crops, arrays["crops14"])
    np.testing.assert_array_equal(pooled, arrays["pooled7"])
    np.testing.assert_array_equal(gradient, arrays["grad_features"])


@pytest.mark.parametrize("xla", [False, True])
def test_gathered_crops_are_the_same_within_rounding(figures, xla):
    arrays = figures("crop_and_pool")
    # XLA, which cannot run the kernel, gets what it can run unasked.
    kwargs = {} if xla else {"kernel": False}
    calculate = lambda features: run(arrays, features, **kwargs)  # noqa: E731
    found = (tf.function(calculate, jit_compile=True) if xla else calculate)(tf.constant(arrays["features"]))
    for ours, theirs in zip(found, ("crops14", "pooled7", "grad_features"), strict=True):
        np.testing.assert_allclose(ours, arrays[theirs], rtol=1e-5, atol=1e-5)


def test_pixels_are_the_fractions_of_the_public_implementation(figures):
    arrays = figures("crop_and_pool")
    # 10 x 13 positions.
    boxes = arrays["boxes_normalized"] * np.array([160, 208, 160, 208], "float32")
    crops = crop(arrays["features"], boxes, np.array([[160, 208]] * 2))
    # Boxes on the border end a millionth of the picture, 1e-5 positions, before it.
    np.testing.assert_allclose(crops, arrays["crops14"], rtol=0, atol=5e-5)
