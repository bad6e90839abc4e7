"""Batches of images of unequal sizes with boxes."""

import numpy as np
import pytest
import tensorflow as tf

from sact_tf.data import boxes, damage, padding, pipeline
from sact_tf.data.detection import digit_scenes
from sact_tf.data.sources import RecordSource

SIZES = [(10, 30), (40, 20), (64, 64), (65, 3)]


def scenes(split="test", image_size=64, num_examples=None):
    return pipeline.open_source("digit_scenes", split, image_size, num_examples)


def test_digit_scenes_come_scaled_and_padded_with_boxes_and_classes():
    (batch,) = pipeline.evaluation_batches(scenes(num_examples=6), 8)
    examples = [digit_scenes.render("test", 0, index, 64) for index in range(6)]
    assert {example.image.shape for example in examples} == {(64, 80, 3), (80, 64, 3)}
    assert batch["image"].shape == (6, 96, 96, 3) and batch["image"].dtype == tf.float32
    for number, example in enumerate(examples):
        (height, width, _), count = example.image.shape, len(example.boxes)
        assert batch["image_size"][number].numpy().tolist() == [height, width]
        image = batch["image"][number].numpy()
        np.testing.assert_allclose(image[:height, :width], example.image / 127.5 - 1, atol=1e-6)
        assert not image[height:].any() and not image[:, width:].any()
        np.testing.assert_array_equal(batch["boxes"][number, :count], example.boxes)
        np.testing.assert_array_equal(batch["classes"][number, :count], example.classes)
        assert not batch["boxes"][number, count:].numpy().any() and not batch["classes"][number, count:].numpy().any()
    np.testing.assert_array_equal(batch["original_size"], batch["image_size"])
    np.testing.assert_array_equal(batch["image_id"], range(6))
    ymin, xmin, ymax, xmax = examples[0].boxes[0]
    assert batch["area"][0, 0] == (ymax - ymin) * (xmax - xmin) and not batch["crowd"].numpy().any()


def test_what_a_batch_of_scenes_is_is_known_before_it_is_read():
    specification = pipeline.training_batches(scenes("train"), 5, 0, 0).element_spec
    assert {name: (value.shape.as_list(), value.dtype.name) for name, value in specification.items()} == {
        "image": ([5, None, None, 3], "float32"),
        "image_size": ([5, 2], "int32"),
        "original_size": ([5, 2], "int32"),
        "boxes": ([5, 4, 4], "float32"),
        "classes": ([5, 4], "int32"),
        "crowd": ([5, 4], "bool"),
        "area": ([5, 4], "float32"),
        "image_id": ([5], "int64"),
    }


def test_scenes_of_one_shape_are_not_padded():
    source = scenes(image_size=128)
    for number in range(8):
        height, width, _ = digit_scenes.render("test", 0, number).image.shape
        assert source.read(tf.constant([number], tf.int64))["image"].shape == (1, height, width, 3)


def test_scenes_are_a_function_of_seed_and_step():
    source = scenes("test", num_examples=20)
    from_start = list(pipeline.training_batches(source, 6, 5, 0).take(4))
    for expected, actual in zip(from_start[2:], pipeline.training_batches(source, 6, 5, 2).take(2), strict=True):
        for name, value in expected.items():
            np.testing.assert_array_equal(actual[name], value)
    other = next(iter(pipeline.training_batches(source, 6, 6, 0)))
    assert other["image_id"].numpy().tolist() != from_start[0]["image_id"].numpy().tolist()


def test_classes_of_scenes_have_names():
    categories = scenes().categories
    assert len(categories) == 10 and list(categories)[:2] == [(0, "0"), (1, "1")]


def test_a_size_that_no_scene_has_is_refused_before_training():
    with pytest.raises(ValueError, match=r"`image_size` must be an int from 64 to 128. Received: image_size=600"):
        scenes(image_size=600)


@pytest.mark.parametrize("length, expected", [(1, 64), (64, 64), (65, 128), (600, 640), (1024, 1024)])
def test_a_side_is_rounded_up_to_a_multiple_of_the_bucket(length, expected):
    assert padding.bucketed(length, 64) == expected
    assert padding.bucketed(tf.constant([length, 64]), 64).numpy().tolist() == [expected, 64]


def ragged_source(contents=SIZES, bucket=64):
    """A source of white images of these sizes with a box around each; every second one mirrored for training."""

    def decode(record, seed):
        size = tf.ensure_shape(tf.io.decode_raw(record, tf.int32), (2,))
        image, box = tf.ones((size[0], size[1], 3)), tf.cast([[0, 0, size[0], size[1]]], tf.float32)
        if seed is not None:
            image, box = boxes.mirror_at_random(tf.concat([image[:, :1] / 2, image[:, 1:]], axis=1), box, seed)
        return {"image": image, "image_size": size, "boxes": box}

    contents = [size if isinstance(size, bytes) else np.array(size, np.int32).tobytes() for size in contents]
    return RecordSource(len(contents), contents.__getitem__, decode, lambda index: f"record {index}", bucket)


def check(batch, sizes, shape):
    """Each image is white where it is picture, and 0 elsewhere."""
    assert batch["image"].shape == (len(sizes), *shape, 3)
    for image, size, (height, width) in zip(batch["image"].numpy(), batch["image_size"].numpy(), sizes, strict=True):
        assert size.tolist() == [height, width]
        assert (image[:height, :width] > 0).all()
        assert not image[height:].any() and not image[:, width:].any()


def test_a_batch_of_records_is_as_large_as_its_largest_image_rounded_up():
    first, second, last = pipeline.evaluation_batches(ragged_source([*SIZES, (3, 5)]), 2)
    check(first, SIZES[:2], (64, 64))
    check(second, SIZES[2:], (128, 64))
    check(last, [(3, 5)], (64, 64))
    read = ragged_source().read([0, 1, 2, 3])
    check(read, SIZES, (128, 64))
    np.testing.assert_array_equal(read["boxes"][3], [[0, 0, 65, 3]])


def test_training_batches_are_padded_and_the_same_from_any_step():
    source = ragged_source()
    from_start = list(pipeline.training_batches(source, 3, 9, 0).take(8))
    for batch in from_start:
        check(batch, batch["image_size"].numpy(), padding.bucketed(batch["image_size"].numpy().max(axis=0), 64))
    mirrored = {bool(image[0, 0, 0] == 1) for batch in from_start for image in batch["image"].numpy()}
    assert mirrored == {True, False}
    for expected, actual in zip(from_start[5:], pipeline.training_batches(source, 3, 9, 5).take(3), strict=True):
        np.testing.assert_array_equal(actual["image"], expected["image"])


def test_a_damaged_record_among_unequal_ones_is_left_out_or_replaced():
    source, lines = ragged_source([*SIZES[:2], b"no size", *SIZES[2:]]), []
    first, last = pipeline.evaluation_batches(source, 3, skip_bad_records=1, log=lines.append)
    check(first, SIZES[:2], (64, 64))
    check(last, SIZES[2:], (128, 64))
    assert len(lines) == 1 and damage.explain_damage(source, 2) in lines[0]
    batch = next(iter(pipeline.training_batches(source, 5, 1, 0, skip_bad_records=1)))
    check(batch, batch["image_size"].numpy(), (128, 64))
    assert {tuple(size) for size in batch["image_size"].numpy()} == set(SIZES)


def test_without_a_bucket_images_of_one_size_stay_as_they_are():
    (batch,) = pipeline.evaluation_batches(ragged_source([(10, 30)] * 2, bucket=None), 2)
    check(batch, [(10, 30)] * 2, (10, 30))
