import numpy as np
import pytest
import tensorflow as tf

from sact_tf.data import boxes

# ymin, xmin, ymax, xmax.
TWO_BOXES = tf.constant([[10.0, 20.0, 30.0, 60.0], [0.0, 0.0, 48.0, 64.0]])


@pytest.mark.parametrize(
    "size, expected",
    [
        # 480 * 600 / 480 and 640 * 600 / 480.
        ((480, 640), (600, 800)),
        ((640, 480), (800, 600)),
        # 1000 * 600 / 300 = 2000 is too much; 300 * 1024 / 1000 = 307.2.
        ((300, 1000), (307, 1024)),
        # Exactly as long as allowed.
        ((600, 1024), (600, 1024)),
        # 640 * 600 / 427 = 899.3.
        ((427, 640), (600, 899)),
        # 1 * 1024 / 5000 = 0.2, and no side is nothing.
        ((1, 5000), (1, 1024)),
    ],
)
def test_the_shorter_side_gets_its_length_unless_the_longer_would_pass_its_own(size, expected):
    assert tuple(boxes.resized_size(tf.constant(size), 600, 1024).numpy()) == expected


def test_half_a_pixel_is_rounded_to_the_even_number():
    # 5 * 3 / 2 = 7.5 and 7 * 3 / 2 = 10.5.
    assert boxes.resized_size(tf.constant((2, 5)), 3, 100).numpy().tolist() == [3, 8]
    assert boxes.resized_size(tf.constant((2, 7)), 3, 100).numpy().tolist() == [3, 10]


def test_boxes_are_resized_with_their_image():
    image = np.zeros((48, 64, 3), np.uint8)
    image[10:30, 20:60] = 200
    resized, moved = boxes.resize(image, TWO_BOXES, min_side=96, max_side=1000)
    assert resized.shape == (96, 128, 3) and resized.dtype == tf.float32
    np.testing.assert_allclose(moved, [[20, 40, 60, 120], [0, 0, 96, 128]])
    # Between the last black and the first white pixel lies one that is half of each.
    assert np.asarray(resized)[40, 38:42, 0].tolist() == [0, 100, 200, 200]


def test_images_are_resized_as_tensorflow_1_did():
    image = np.arange(6, dtype=np.float32).reshape(1, 6, 1) * np.ones((2, 1, 3), np.float32)
    resized, _ = boxes.resize(image, tf.zeros((0, 4)), min_side=1, max_side=3)
    # Every second pixel, its left corner: neither a mean of two nor a shift by half a pixel.
    np.testing.assert_allclose(resized[..., 0], [[0, 2, 4]])


def test_boxes_of_a_batch_come_back_to_the_pixels_of_their_files():
    found = tf.constant([[[20.0, 40.0, 60.0, 120.0], [0.0, 0.0, 0.0, 0.0]], [[3.0, 6.0, 9.0, 12.0]] * 2])
    image_size, original_size = tf.constant([[96, 128], [30, 60]]), tf.constant([[48, 64], [10, 30]])
    original = boxes.rescale(found, image_size, original_size)
    np.testing.assert_allclose(original[0], [[10, 20, 30, 60], [0, 0, 0, 0]])
    np.testing.assert_allclose(original[1, 0], [1, 3, 3, 6])
    again = boxes.rescale(original, original_size, image_size)
    np.testing.assert_allclose(again, found)


def test_a_mirrored_image_has_its_objects_on_the_other_side():
    image = tf.reshape(tf.range(2 * 64 * 3), (2, 64, 3))
    mirrored, moved = boxes.mirror(image, TWO_BOXES)
    np.testing.assert_array_equal(mirrored[:, 0], image[:, 63])
    np.testing.assert_allclose(moved, [[10, 4, 30, 44], [0, 0, 48, 64]])
    again, back = boxes.mirror(mirrored, moved)
    np.testing.assert_array_equal(again, image)
    np.testing.assert_allclose(back, TWO_BOXES)


def test_what_lies_in_a_box_lies_in_it_after_mirroring():
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    mirrored, moved = boxes.mirror(image, TWO_BOXES)
    ymin, xmin, ymax, xmax = moved[0].numpy().astype(int)
    np.testing.assert_array_equal(mirrored.numpy()[ymin:ymax, xmin:xmax], image[10:30, 20:60][:, ::-1])


def test_every_second_image_is_mirrored_and_the_seed_decides_which():
    image = tf.reshape(tf.range(48 * 64 * 3), (48, 64, 3))

    def is_mirrored(position, seed=3):
        changed, moved = boxes.mirror_at_random(image, TWO_BOXES, tf.constant([seed, position], tf.int64))
        turned = bool(changed[0, 0, 0] != image[0, 0, 0])
        assert turned == bool(moved[0, 1] != 20)
        return turned

    drawn = [is_mirrored(position) for position in range(60)]
    # Thirty are expected, with a standard deviation of 4.
    assert 15 < sum(drawn) < 45
    assert drawn[:20] == [is_mirrored(position) for position in range(20)]
    assert drawn[:20] != [is_mirrored(position, seed=4) for position in range(20)]


def test_boxes_are_clipped_to_the_size_of_their_image():
    outside = tf.constant([[-5.0, 10.0, 20.0, 90.0], [50.0, 70.0, 60.0, 80.0], [1.0, 2.0, 3.0, 4.0]])
    clipped = boxes.clip(outside, tf.constant([48, 64]))
    np.testing.assert_allclose(clipped, [[0, 10, 20, 64], [48, 64, 48, 64], [1, 2, 3, 4]])
    batch = boxes.clip(tf.stack([outside, outside]), tf.constant([[48, 64], [15, 85]]))
    np.testing.assert_allclose(batch[0], clipped)
    np.testing.assert_allclose(batch[1, 0], [0, 10, 15, 85])


def test_boxes_without_area_are_told():
    given = tf.constant(
        [[1, 2, 3, 4], [3, 2, 3, 4], [1, 2, 3, 2], [3, 2, 1, 4], [0, 0, 0, 0], [np.nan, 2, 3, 4], [0, 0, 0.5, 0.5]]
    )
    assert boxes.have_area(given).numpy().tolist() == [True, False, False, False, False, False, True]


def test_an_image_of_unknown_size_is_resized_and_mirrored_in_a_graph():
    @tf.function(input_signature=[tf.TensorSpec((None, None, 3), tf.uint8), tf.TensorSpec((None, 4))])
    def change(image, given):
        return boxes.mirror_at_random(*boxes.resize(image, given, 20, 100), tf.constant([1, 2], tf.int64))

    for height, width in ((10, 30), (40, 20)):
        image, moved = change(np.zeros((height, width, 3), np.uint8), TWO_BOXES[:, :])
        assert image.shape == ((20, 60, 3) if height == 10 else (40, 20, 3)) and moved.shape == (2, 4)
        assert change(np.zeros((height, width, 3), np.uint8), tf.zeros((0, 4)))[1].shape == (0, 4)
