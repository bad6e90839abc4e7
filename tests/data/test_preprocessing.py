"""Image functions against the release's figures, and its random choices by their distribution."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from sact_tf.data import colour, preprocessing

NO_BOXES = np.zeros((0, 4), np.float32)


@pytest.fixture(scope="module")
def blocks(reference):
    return dict(np.load(reference / "f_preprocessing" / "building_blocks.npz"))


@pytest.fixture(scope="module")
def photograph():
    """(375, 500), ImageNet's typical size, smooth enough for a JPEG."""
    y, x = np.mgrid[:375, :500]
    return np.stack([127 + 120 * np.sin(x / 31), 127 + 120 * np.cos(y / 23), x / 2], axis=-1).astype(np.uint8)


def encode(image, form="JPEG", mode="RGB"):
    buffer = io.BytesIO()
    Image.fromarray(image).convert(mode).save(buffer, form, **({"quality": 95} if form == "JPEG" else {}))
    return buffer.getvalue()


def seeds(count, first=0):
    return [tf.constant([7, first + number], tf.int64) for number in range(count)]


@pytest.mark.parametrize("size", ["375x500", "500x333", "97x131"])
@pytest.mark.parametrize("image_size", [224, 64])
def test_evaluation_images_are_the_release_s(reference, size, image_size):
    figures = np.load(reference / "f_preprocessing" / "eval.npz")
    actual = preprocessing.central_image(figures[f"image_{size}"], image_size)
    np.testing.assert_allclose(actual, figures[f"eval_{size}_to_{image_size}"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("number, method", list(enumerate(preprocessing.RESIZE_METHODS)))
@pytest.mark.parametrize("image_size", [64])
def test_each_way_to_resize_is_the_release_s(blocks, number, method, image_size):
    expected = blocks[f"resize_method{number}_to_{image_size}x{image_size}"]
    actual = preprocessing.resize(blocks["image"], image_size, method)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)


def test_resizing_bytes_is_resizing_their_values():
    image = np.random.default_rng(0).integers(0, 256, (37, 51, 3), np.uint8)
    for method in preprocessing.RESIZE_METHODS:
        from_bytes = preprocessing.resize(image, 24, method)
        np.testing.assert_allclose(from_bytes, preprocessing.resize(image.astype(np.float32), 24, method), atol=1e-3)


def test_the_window_has_the_release_s_areas_and_aspects():
    shape = tf.constant([375, 500, 3])
    windows = np.array([preprocessing.sample_window(shape, seed, NO_BOXES) for seed in seeds(600)])
    y, x, height, width = windows.T
    area, aspect = height * width / (375 * 500), width / height
    # A tenth must be covered where there is no box, so smaller windows than that are drawn again. Pixels are whole.
    assert 0.095 < area.min() < 0.15 and 0.9 < area.max() <= 1.0
    assert 0.74 < aspect.min() < 0.78 and 1.29 < aspect.max() < 1.35
    assert y.min() >= 0 and x.min() >= 0 and (y + height).max() <= 375 and (x + width).max() <= 500
    assert np.std(x / np.maximum(500 - width, 1)) > 0.2


def test_the_window_covers_a_tenth_of_an_object():
    box = np.array([[0.8, 0.85, 0.95, 0.98]], np.float32)
    for seed in seeds(100):
        y, x, height, width = preprocessing.sample_window(tf.constant([400, 400, 3]), seed, box).numpy()
        covered_height = min(y + height, 380) - max(y, 320)
        covered_width = min(x + width, 392) - max(x, 340)
        assert covered_height > 0 and covered_width > 0
        assert covered_height * covered_width >= 0.095 * 60 * 52


def test_only_the_window_of_a_jpeg_is_decoded_and_it_is_the_part_of_the_whole(photograph):
    encoded = encode(photograph)
    whole = preprocessing.decode_image(encoded).numpy().astype(int)
    for seed in seeds(10):
        crop = preprocessing.decode_and_crop(encoded, seed, NO_BOXES).numpy().astype(int)
        y, x, height, width = preprocessing.sample_window(tf.constant([375, 500, 3]), seed, NO_BOXES).numpy()
        # Colour, stored at half the resolution, is spread differently at the rim.
        difference = np.abs(crop - whole[y : y + height, x : x + width])
        assert difference[2:-2, 2:-2].max() == 0 and difference.max() < 8


def test_a_png_posing_as_a_jpeg_gives_the_same_window(photograph):
    seed = seeds(1)[0]
    png, jpeg = (preprocessing.decode_and_crop(encode(photograph, form), seed, NO_BOXES) for form in ("PNG", "JPEG"))
    assert png.shape == jpeg.shape
    assert np.mean(np.abs(png.numpy().astype(int) - jpeg.numpy())) < 3


@pytest.mark.parametrize("form, mode", [("JPEG", "CMYK"), ("JPEG", "L"), ("PNG", "L"), ("PNG", "RGBA"), ("GIF", "RGB")])
def test_other_kinds_of_image_come_as_three_colours(photograph, form, mode):
    expected = np.asarray(Image.fromarray(photograph).convert("L" if mode == "L" else "RGB").convert("RGB"))
    decoded = preprocessing.decode_image(encode(photograph, form, mode)).numpy()
    assert decoded.shape == (375, 500, 3)
    # GIF has 256 colours.
    assert np.mean(np.abs(decoded.astype(int) - expected)) < (12 if form == "GIF" else 4)


@pytest.fixture(scope="module")
def training_images(photograph):
    encoded = encode(photograph)
    function = tf.function(lambda seed: preprocessing.imagenet_training_image(encoded, seed, NO_BOXES, 32))
    return np.array([function(seed) for seed in seeds(200)])


def test_training_images_are_a_function_of_the_seed(photograph, training_images):
    again = preprocessing.imagenet_training_image(encode(photograph), seeds(1, first=3)[0], NO_BOXES, 32)
    np.testing.assert_allclose(again, training_images[3], atol=1e-5)
    assert len({image.tobytes() for image in training_images}) == 200


def test_training_images_lie_in_the_range_and_half_of_them_are_flipped(training_images):
    assert training_images.shape == (200, 32, 32, 3)
    assert training_images.min() >= -1 and training_images.max() <= 1
    # Blue rises to the right in the photograph: hue moves it, but what rises is then another colour.
    slope = (training_images[:, :, 16:].mean(axis=(1, 2)) - training_images[:, :, :16].mean(axis=(1, 2)))[:, 2]
    assert 70 < (slope > 0).sum() < 130


def test_a_training_image_is_made_of_the_steps_of_the_release_in_their_order(photograph, training_images):
    encoded = encode(photograph)
    for seed, actual in zip(seeds(12), training_images, strict=False):
        crop = tf.cast(preprocessing.decode_and_crop(encoded, seed, NO_BOXES), tf.float32) / 255.0
        draws = tf.random.stateless_uniform([7], tf.random.experimental.stateless_fold_in(seed, 1)).numpy()
        expected = preprocessing.resize(crop, 32, preprocessing.RESIZE_METHODS[int(draws[0] * 4)])
        if draws[1] < 0.5:
            expected = tf.image.flip_left_right(expected)
        for name in colour.COLOUR_ORDERS[int(draws[2] * 4)]:
            expected = getattr(tf.image, f"adjust_{name}")(expected, colour.amounts_of(draws[3:])[name])
        expected = (tf.clip_by_value(expected, 0.0, 1.0) - 0.5) * 2.0
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)


def test_every_method_and_every_order_is_drawn_equally_often(monkeypatch):
    draws = np.linspace(0, 0.999, 400)
    for choices in (preprocessing.RESIZE_METHODS, colour.COLOUR_ORDERS):
        chosen = [preprocessing._one_of(tf.constant(draw, tf.float32), choices.index, choices) for draw in draws]
        assert np.bincount([int(choice) for choice in chosen]).tolist() == [100] * 4


def test_cifar_images_are_the_release_s(blocks):
    actual = preprocessing.cifar_evaluation_image(blocks["cifar_image"])
    np.testing.assert_allclose(actual, blocks["cifar_eval_standardized"], rtol=0, atol=1e-5)
    constant = preprocessing.cifar_evaluation_image(np.full((32, 32, 3), 7, np.uint8))
    np.testing.assert_allclose(constant, blocks["cifar_constant7_standardized"], rtol=0, atol=1e-5)


def test_cifar_training_images_are_the_windows_of_the_padded_picture_flipped_or_not(blocks):
    padded = blocks["cifar_pad36"].astype(np.float32)
    windows = {}
    for y in range(5):
        for x in range(5):
            window = padded[y : y + 32, x : x + 32]
            for flipped, image in enumerate((window, window[:, ::-1])):
                windows[y, x, flipped] = tf.image.per_image_standardization(image).numpy()
    seen = []
    function = tf.function(lambda seed: preprocessing.cifar_training_image(tf.constant(blocks["cifar_image"]), seed))
    for seed in seeds(500):
        actual = function(seed).numpy()
        (place,) = [place for place, image in windows.items() if np.abs(image - actual).max() < 1e-4]
        seen.append(place)
    # 50 places, 10 times each on average.
    assert len(set(seen)) == 50
    assert max(seen.count(place) for place in set(seen)) < 30
    assert 200 < sum(flipped for _, _, flipped in seen) < 300


@pytest.mark.parametrize("label, inside", [(-1, False), (0, True), (9, True), (10, False), (2**40, False)])
def test_a_label_out_of_range_fails(label, inside):
    if inside:
        assert preprocessing.check_label(tf.constant(label, tf.int64), 10) == label
    else:
        with pytest.raises(tf.errors.InvalidArgumentError, match="not one of 0 to 9"):
            preprocessing.check_label(tf.constant(label, tf.int64), 10)
