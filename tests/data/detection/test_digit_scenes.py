import hashlib
import itertools

import numpy as np
import pytest

from sact_tf.data import digit_parts
from sact_tf.data.detection import digit_scenes

# Of the pictures, boxes and classes of five examples: another one means that scenes are no longer what they were.
DIGEST = "7fca15bd804423b06880cf4212ef0cd1987181b33e224e60d2d22fce49775627"


def digest(examples):
    content = hashlib.sha256()
    for example in examples:
        content.update(example.image.tobytes() + example.boxes.tobytes() + example.classes.tobytes())
    return content.hexdigest()


def test_scenes_are_the_same_on_every_machine():
    places = [("train", 0, 0), ("train", 0, 1), ("train", 7, 4_000_000_000), ("test", 0, 0), ("test", 3, 17)]
    assert digest(digit_scenes.render(*place) for place in places) == DIGEST


def test_a_scene_does_not_depend_on_those_made_before():
    first = digest([digit_scenes.render("test", 4, 9, 64)])
    for index in (0, 10):
        digit_scenes.render("test", 4, index, 64)
    assert digest([digit_scenes.render("test", 4, 9, 64)]) == first


@pytest.mark.parametrize("other", [("train", 1, 2), ("test", 2, 2), ("test", 1, 3), ("test", 2, 1)])
def test_another_split_seed_or_index_gives_another_scene(other):
    assert digest([digit_scenes.render(*other, 64)]) != digest([digit_scenes.render("test", 1, 2, 64)])


def test_a_scene_is_a_quarter_longer_one_way_or_the_other():
    shapes = {digit_scenes.render("test", 5, index).image.shape for index in range(20)}
    assert shapes == {(128, 160, 3), (160, 128, 3)}
    assert {digit_scenes.render("test", 5, index, 68).image.shape[:2] for index in range(20)} == {(68, 85), (85, 68)}


def test_a_box_is_where_drawing_its_digit_changes_the_picture():
    for index in range(30):
        example = digit_scenes.render("test", 6, index)
        scene = digit_scenes._compose("test", 6, index, 128)
        assert example.boxes.dtype == example.classes.dtype == np.int32 and example.image.dtype == np.uint8
        assert len(example.boxes) == len(example.classes) == len(scene.digits)
        for box, digit in zip(example.boxes, scene.digits, strict=True):
            others = scene._replace(digits=[other for other in scene.digits if other is not digit])
            image = digit_scenes._draw_background(others)
            for other in others.digits:
                digit_parts.draw(image, other)
            changed = (example.image != image).any(axis=-1)
            rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
            assert box.tolist() == [rows[0], columns[0], rows[-1] + 1, columns[-1] + 1]


def test_one_to_four_digits_lie_in_the_picture_and_no_two_overlap():
    counts = np.zeros(6, int)
    for index in range(200):
        example = digit_scenes.render("test", 7, index)
        counts[len(example.boxes)] += 1
        assert (example.boxes >= 0).all() and (example.boxes[:, 2:] <= example.image.shape[:2]).all()
        for (top, left, bottom, right), other in itertools.combinations(example.boxes, 2):
            assert bottom <= other[0] or other[2] <= top or right <= other[1] or other[3] <= left
    # Fifty each are expected, with a standard deviation of 6.
    assert counts[[0, 5]].sum() == 0 and counts[1:5].min() > 25


def test_pieces_of_other_digits_lie_clear_of_the_whole_ones():
    for index in range(30):
        scene = digit_scenes._compose("test", 8, index, 128)
        whole = np.zeros(scene.background.shape[:2], bool)
        for ymin, xmin, ymax, xmax in (digit.box for digit in scene.digits):
            whole[ymin:ymax, xmin:xmax] = True
        for ymin, xmin, ymax, xmax in (piece.box for piece in scene.fragments):
            assert ymax - ymin <= 10 and xmax - xmin <= 10 and not whole[ymin:ymax, xmin:xmax].any()
        assert len(scene.fragments) > 6


def test_classes_are_the_digits_plus_one_and_sizes_differ_by_more_than_twice():
    examples = [digit_scenes.render("test", 9, index) for index in range(200)]
    assert set(np.concatenate([example.classes for example in examples])) == set(range(1, 11))
    boxes = np.concatenate([example.boxes for example in examples])
    heights = boxes[:, 2] - boxes[:, 0]
    assert 20 <= heights.min() <= 23 and 46 <= heights.max() <= 52
    opacities, labels = digit_scenes._digits("test")
    scene = digit_scenes._compose("test", 9, 0, 128)
    for digit, number in zip(scene.digits, scene.classes, strict=True):
        assert labels[next(i for i, opacity in enumerate(opacities) if opacity is digit.opacity)] == number - 1


@pytest.mark.parametrize("split", digit_parts.SPLITS)
def test_the_longest_picture_fits_every_photograph(split):
    for photograph in digit_scenes._photographs(split):
        assert min(photograph.shape[:2]) >= 160


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"split": "val"}, r"`split` must be one of \('train', 'test'\). Received: split='val'"),
        ({"index": -1}, "`index` must be an int from 0 to 4294967295. Received: index=-1"),
        ({"seed": 1.5}, "Received: seed=1.5"),
        ({"image_size": 63}, "`image_size` must be an int from 64 to 128. Received: image_size=63"),
        ({"image_size": 129}, "Received: image_size=129"),
    ],
)
def test_an_argument_out_of_range_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        digit_scenes.render(**{"split": "test", "seed": 0, "index": 0, **changes})
