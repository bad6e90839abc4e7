import hashlib
import importlib.util
import os
import socket
import subprocess
import sys

import numpy as np
import pytest

import sact_tf
from sact_tf.data import cluttered_digits, digit_parts

RENDER_IN_A_FRESH_PROCESS = """
import hashlib, sys, types
# The package without what it imports when it is imported: TensorFlow.
package = types.ModuleType("sact_tf")
package.__path__ = [sys.argv[1]]
sys.modules["sact_tf"] = package
from sact_tf.data.cluttered_digits import render
example = render("test", 3, 17, image_size=56)
print(hashlib.sha256(example.image.tobytes()).hexdigest(), example.label, *example.box.tolist())
"""


def forget_everything():
    digit_parts.enlarged_digits.cache_clear()
    digit_parts.reduced_photographs.cache_clear()


def test_an_example_is_a_colour_picture_a_class_and_a_box():
    example = cluttered_digits.render("train", 5, 2, image_size=48)
    assert (example.image.shape, example.image.dtype) == ((48, 48, 3), np.uint8)
    assert (example.box.shape, example.box.dtype) == ((4,), np.int32)
    assert type(example.label) is int
    assert cluttered_digits.render("train", 5, 2).image.shape == (64, 64, 3)


def test_the_same_arguments_give_the_same_bytes_in_a_fresh_process():
    example = cluttered_digits.render("test", 3, 17, image_size=56)
    digest = hashlib.sha256(example.image.tobytes()).hexdigest()
    command = [sys.executable, "-c", RENDER_IN_A_FRESH_PROCESS, os.path.dirname(sact_tf.__file__)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert answer == [digest, str(example.label), *map(str, example.box)]


def test_an_example_does_not_depend_on_those_made_before():
    first = cluttered_digits.render("train", 4, 9)
    for index in (0, 10, 9):
        last = cluttered_digits.render("train", 4, index)
    np.testing.assert_array_equal(last.image, first.image)


def test_an_example_makes_no_more_digits_than_it_shows(monkeypatch):
    enlarge, made = digit_parts._enlarge, []
    monkeypatch.setattr(digit_parts, "_enlarge", lambda *given: made.append(given) or enlarge(*given))
    forget_everything()
    for _ in range(2):
        cluttered_digits.render("train", 1, 2)
    assert 2 <= len(made) <= 1 + cluttered_digits.NUM_FRAGMENTS
    forget_everything()


@pytest.mark.parametrize("other", [("test", 1, 2), ("train", 2, 2), ("train", 1, 3), ("train", 2, 1)])
def test_another_split_seed_or_index_gives_another_picture(other):
    example = cluttered_digits.render("train", 1, 2)
    assert (cluttered_digits.render(*other).image != example.image).mean() > 0.5


def test_splits_share_no_digit_sample_and_use_each_one():
    samples, labels = digit_parts.load_samples()
    train = digit_parts.source_samples(labels, "train")
    test = digit_parts.source_samples(labels, "test")
    assert sorted([*train, *test]) == list(range(1797))
    train_drawings = {samples[i].tobytes() for i in train}
    assert not train_drawings & {samples[i].tobytes() for i in test}


def test_each_fifth_sample_of_a_class_is_for_the_test():
    labels = [7, 7, 3, 7, 7, 3, 7, 3, 3, 3, 7]
    assert digit_parts.source_samples(labels, "test").tolist() == [6, 9]
    assert digit_parts.source_samples(labels, "train").tolist() == [0, 1, 2, 3, 4, 5, 7, 8, 10]


def test_splits_share_no_photograph():
    train, test = (digit_parts.PHOTOGRAPHS[split] for split in digit_parts.SPLITS)
    assert len(set(train + test)) == len(train) + len(test)


@pytest.mark.parametrize("split, image_size", [("train", 64), ("test", 40), ("test", 112)])
def test_the_box_is_where_drawing_the_digit_changes_the_picture(split, image_size):
    for index in range(60):
        example = cluttered_digits.render(split, 6, index, image_size)
        scene = cluttered_digits._compose(split, 6, index, image_size)
        changed = (example.image != cluttered_digits._draw_background(scene)).any(axis=-1)
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        assert example.box.tolist() == [rows[0], columns[0], rows[-1] + 1, columns[-1] + 1]


def test_the_whole_digit_is_a_third_to_half_of_the_picture_high():
    box = cluttered_digits.load("train", 300, seed=7, image_size=60)["box"]
    assert box.min() >= 0 and box.max() <= 60
    height = box[:, 2] - box[:, 0]
    assert 18 <= height.min() <= 22 and 26 <= height.max() <= 30


def test_the_digit_is_brighter_than_the_photograph_beneath_it():
    for index in range(30):
        scene = cluttered_digits._compose("train", 8, index, 64)
        assert scene.background.max() < scene.digit.colour.min()
        assert scene.digit.colour.max() == 255


def test_pieces_of_other_digits_lie_in_the_picture_and_clear_of_the_box():
    num_fragments = []
    for index in range(60):
        scene = cluttered_digits._compose("train", 9, index, 64)
        covered = np.zeros((64, 64), bool)
        height, width = scene.digit.opacity.shape
        for piece in scene.fragments:
            assert max(piece.opacity.shape) <= 10 and piece.top + 10 <= 64 and piece.left + 10 <= 64
            covered[piece.top : piece.top + 10, piece.left : piece.left + 10] = True
        assert not covered[scene.digit.top :, scene.digit.left :][:height, :width].any()
        num_fragments.append(len(scene.fragments))
    assert np.mean(num_fragments) > 4.9


@pytest.mark.parametrize("split", digit_parts.SPLITS)
def test_all_ten_labels_are_about_equally_frequent(split):
    counts = np.bincount(cluttered_digits.load(split, 1500, seed=10, image_size=40)["label"], minlength=10)
    # 150 each are expected, with a standard deviation of 12.
    assert len(counts) == 10 and counts.min() > 90 and counts.max() < 210


def test_load_stacks_what_render_makes():
    loaded = cluttered_digits.load("test", 3, seed=11, image_size=44, first_index=20)
    examples = [cluttered_digits.render("test", 11, index, 44) for index in (20, 21, 22)]
    np.testing.assert_array_equal(loaded["image"], [example.image for example in examples])
    np.testing.assert_array_equal(loaded["label"], [example.label for example in examples])
    np.testing.assert_array_equal(loaded["box"], [example.box for example in examples])
    assert [loaded[name].dtype for name in ("image", "label", "box")] == [np.uint8, np.int64, np.int32]


def test_load_reports_its_progress():
    calls = []
    cluttered_digits.load("test", 3, image_size=44, progress=lambda *numbers: calls.append(numbers))
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_a_stroke_is_blended_by_its_opacity():
    image = np.full((2, 3, 3), 100, np.uint8)
    opacity = np.array([[0, 51], [255, 204]], np.uint8)
    digit_parts.draw(image, digit_parts.Stroke(opacity, np.array([200, 100, 0], np.uint8), 0, 1))
    assert image[:, :, 0].tolist() == [[100, 100, 120], [100, 200, 180]]
    assert image[:, :, 1].tolist() == [[100, 100, 100], [100, 100, 100]]
    assert image[:, :, 2].tolist() == [[100, 100, 80], [100, 0, 20]]


def test_photographs_are_reduced_by_averaging_squares():
    photograph = np.zeros((224, 300, 3), np.uint8)
    photograph[:2, :2] = [[[10] * 3, [20] * 3], [[30] * 3, [43] * 3]]
    reduced = digit_parts.reduce(photograph, cluttered_digits.MAX_IMAGE_SIZE)
    # 224 is twice 112, the largest picture; (10 + 20 + 30 + 43) / 4 = 25.75, rounded down.
    assert reduced.shape == (112, 150, 3)
    assert reduced[0, 0].tolist() == [25, 25, 25] and reduced[1:].max() == 0


@pytest.mark.parametrize("split", digit_parts.SPLITS)
def test_the_largest_picture_fits_every_photograph(split):
    for photograph in digit_parts.reduced_photographs(split, cluttered_digits.MAX_IMAGE_SIZE):
        assert min(photograph.shape[:2]) >= cluttered_digits.MAX_IMAGE_SIZE


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"split": "validation"}, r"`split` must be one of \('train', 'test'\). Received: split='validation'"),
        ({"index": -1}, "`index` must be an int from 0 to 4294967295. Received: index=-1"),
        ({"index": 2**32}, "Received: index=4294967296"),
        ({"index": 1.0}, "Received: index=1.0"),
        ({"seed": -2}, "`seed` must be an int from 0"),
        ({"seed": None}, "Received: seed=None"),
        ({"seed": True}, "Received: seed=True"),
        ({"image_size": 39}, "`image_size` must be an int from 40 to 112. Received: image_size=39"),
        ({"image_size": 113}, "Received: image_size=113"),
        ({"image_size": (64, 64)}, r"Received: image_size=\(64, 64\)"),
    ],
)
def test_an_argument_out_of_range_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        cluttered_digits.render(**{"split": "train", "seed": 0, "index": 0, **changes})


@pytest.mark.parametrize("name, value", [("num_examples", 0), ("num_examples", 2.5), ("first_index", -1)])
def test_load_names_the_argument_it_refuses(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be an int .* Received: {name}={value}"):
        cluttered_digits.load(**{"split": "train", "num_examples": 2, name: value})


def test_integers_of_numpy_are_integers():
    example = cluttered_digits.render("train", np.uint8(1), np.int64(2), np.int32(48))
    np.testing.assert_array_equal(example.image, cluttered_digits.render("train", 1, 2, 48).image)


def test_nothing_is_downloaded(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("opened a socket")

    forget_everything()
    monkeypatch.setattr(socket, "socket", refuse)
    cluttered_digits.render("test", 12, 0)


def test_a_missing_photograph_is_named_and_not_fetched(monkeypatch):
    forget_everything()
    monkeypatch.setitem(digit_parts.PHOTOGRAPHS, "test", ("kidney.png",))
    with pytest.raises(FileNotFoundError, match=r"kidney\.png must come with scikit-image\. Not found: .*pip install"):
        cluttered_digits.render("test", 12, 0)


def test_a_missing_package_is_named(monkeypatch):
    forget_everything()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install scikit-image"):
        cluttered_digits.render("test", 12, 0)
    forget_everything()
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match="pip install scikit-learn"):
        cluttered_digits.render("test", 12, 0)
