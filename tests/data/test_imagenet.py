"""ImageNet from the release's shards and from TensorFlow Datasets."""

import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

from sact_tf.data import convert, damage, imagenet, pipeline, preprocessing, records


def sorted_labels(source):
    return sorted(source.read(range(source.num_examples))["label"].numpy().tolist())


def test_the_release_s_shards_are_read_with_labels_that_count_from_one(imagenet_directory):
    source = imagenet.open_split(imagenet_directory, "train", 48)
    batch = source.read([0, 7, 14])
    assert source.num_examples == 15
    assert batch["image"].shape == (3, 48, 48, 3) and batch["image"].dtype == tf.float32
    assert batch["label"].dtype == tf.int64
    assert sorted_labels(source) == [1] * 5 + [2] * 5 + [3] * 5


def test_tensorflow_datasets_gives_the_same_images_and_labels(folder, imagenet_directory, tmp_path):
    convert.convert(folder, "tfds", "imagenet", tmp_path, "train", 3, log=lambda text: None)
    release = imagenet.open_split(imagenet_directory, "train", 40).read(range(15))
    for directory in (tmp_path, tmp_path / "imagenet2012", tmp_path / "imagenet2012" / "5.1.0"):
        ours = imagenet.open_split(str(directory), "train", 40).read(range(15))
        np.testing.assert_array_equal(ours["label"], release["label"])
        np.testing.assert_array_equal(ours["image"], release["image"])


def test_tensorflow_datasets_reads_what_was_converted(folder, tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")
    convert.convert(folder, "tfds", "imagenet", tmp_path, "validation", 2, log=lambda text: None)
    builder = tfds.builder_from_directory(str(tmp_path / "imagenet2012" / "5.1.0"))
    assert builder.info.splits["validation"].num_examples == 15
    theirs = [int(example["label"]) for example in builder.as_dataset(split="validation")]
    ours = imagenet.open_split(str(tmp_path), "validation", 40)
    assert sorted(theirs) == [label - 1 for label in sorted_labels(ours)]


def test_the_latest_version_is_read(folder, tmp_path):
    convert.convert(folder, "tfds", "imagenet", tmp_path, "train", 1, log=lambda text: None)
    (tmp_path / "imagenet2012" / "5.0.9").mkdir()
    assert imagenet.open_split(str(tmp_path), "train", 40).num_examples == 15


def test_the_release_s_own_file_is_read(reference):
    directory = str(reference / "testdata" / "imagenet")
    batch = imagenet.open_split(directory, "validation", 64).read([0])
    (record,) = tf.data.TFRecordDataset(os.path.join(directory, "validation-00000-of-00001"))
    encoded = tf.train.Example.FromString(record.numpy()).features.feature["image/encoded"].bytes_list.value[0]
    expected = preprocessing.central_image(tf.io.decode_jpeg(encoded, channels=3), 64)
    np.testing.assert_array_equal(batch["image"][0], expected)
    assert batch["label"].numpy().tolist() == [0]


def test_boxes_of_the_record_decide_on_the_window(reference):
    source = imagenet.open_split(str(reference / "testdata" / "imagenet"), "train", 64)
    record = tf.constant(source.fetch(0))
    encoded, _, boxes = imagenet._parse_release(record)
    np.testing.assert_allclose(boxes, [[0.466666669, 0.107812501, 0.53125, 0.410937488]])
    seed = tf.constant([3, 4], tf.int64)
    expected = preprocessing.imagenet_training_image(encoded, seed, boxes, 64)
    np.testing.assert_allclose(source.decode(record, seed)["image"], expected, atol=1e-5)


def test_a_directory_without_the_data_set_says_what_was_looked_for_and_what_is_there(tmp_path):
    (tmp_path / "holiday.jpg").write_bytes(b"")
    with pytest.raises(FileNotFoundError) as error:
        imagenet.open_split(str(tmp_path), "train", 64)
    for text in ("train-00000-of-NNNNN", "imagenet2012-train.tfrecord-00000-of-NNNNN", "Found: holiday.jpg", "convert"):
        assert text in str(error.value)


def test_a_directory_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no directory .*nowhere. Give --dataset_dir"):
        imagenet.open_split(str(tmp_path / "nowhere"), "train", 64)


def test_a_missing_shard_is_named(imagenet_directory, tmp_path):
    directory = shutil.copytree(imagenet_directory, tmp_path / "copy")
    os.remove(directory / "train-00001-of-00003")
    with pytest.raises(FileNotFoundError, match="1 of 3 train shards are missing: train-00001-of-00003"):
        imagenet.open_split(str(directory), "train", 64)


def test_a_split_that_does_not_exist_is_refused(imagenet_directory):
    with pytest.raises(ValueError, match=r"must be one of \('train', 'validation'\).*Received: split_name='test'"):
        imagenet.open_split(imagenet_directory, "test", 64)


def test_no_more_examples_are_read_than_there_are(imagenet_directory):
    def count(num_examples):
        return pipeline.open_source("imagenet", "train", 40, num_examples, imagenet_directory).num_examples

    assert [count(None), count(4), count(50_000)] == [15, 4, 15]


@pytest.mark.parametrize("newer", [[], ["imagenet2012-train.tfrecord-00000-of-00002"]])
def test_a_newer_version_that_is_not_whole_hides_no_older_one(folder, tmp_path, newer):
    convert.convert(folder, "tfds", "imagenet", tmp_path, "train", 1, log=lambda text: None)
    (tmp_path / "imagenet2012" / "5.10.0").mkdir()
    for name in newer:
        (tmp_path / "imagenet2012" / "5.10.0" / name).write_bytes(b"")
    lines = []
    source = imagenet.open_split(str(tmp_path), "train", 40, lines.append)
    assert source.num_examples == 15 and source.locate(0).path.startswith(str(tmp_path / "imagenet2012" / "5.1.0"))
    assert lines == [f"Reading {tmp_path}/imagenet2012/5.1.0: {tmp_path}/imagenet2012/5.10.0 is not whole"]


def test_a_version_that_is_not_whole_is_named_if_there_is_no_other(tmp_path):
    (tmp_path / "5.1.0").mkdir()
    (tmp_path / "5.1.0" / "imagenet2012-train.tfrecord-00001-of-00002").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"1 of 2 .* shards are missing: imagenet2012-train.tfrecord-00000"):
        imagenet.open_split(str(tmp_path), "train", 64)


def test_the_list_of_classes_tells_their_number_with_the_background(folder, imagenet_directory, tmp_path):
    assert imagenet.num_classes_of(imagenet_directory) == 4
    assert imagenet.num_classes_of(str(tmp_path)) is None and imagenet.num_classes_of(str(tmp_path / "no")) is None
    convert.convert(folder, "tfds", "imagenet", tmp_path, "train", 1, log=lambda text: None)
    for directory in ("", "imagenet2012", "imagenet2012/5.1.0", "imagenet2012/5.1.0/"):
        assert imagenet.num_classes_of(os.path.join(tmp_path, directory)) == 4
    assert imagenet.num_classes_of(str(tmp_path / "elsewhere" / "5.1.0")) is None


@pytest.mark.parametrize("form, stored, last", [("release", 4, 3), ("release", -1, 3), ("tfds", 3, 2), ("tfds", -1, 2)])
def test_a_label_of_no_class_is_said_as_the_file_has_it(imagenet_directory, tmp_path, form, stored, last):
    shutil.copy(os.path.join(imagenet_directory, "imagenet_classes.txt"), tmp_path)
    label, image = ("image/class/label", "image/encoded") if form == "release" else ("label", "image")
    encoded = imagenet.open_split(imagenet_directory, "train", 40).fetch(0)
    feature = tf.train.Example.FromString(encoded).features.feature["image/encoded"]
    values = {image: feature, label: tf.train.Feature(int64_list=tf.train.Int64List(value=[stored]))}
    example = tf.train.Example(features=tf.train.Features(feature=values)).SerializeToString()
    name = "train-00000-of-00001" if form == "release" else "imagenet2012-train.tfrecord-00000-of-00001"
    (tmp_path / name).write_bytes(records.frame(example))
    source = imagenet.open_split(str(tmp_path), "train", 40)
    assert damage.explain_damage(source, 0) == (
        f"{tmp_path}/{name}, record 0: its label is not one of 0 to {last} but {stored}, so it is of no class."
    )


def test_a_packed_data_set_is_to_be_unpacked(tmp_path):
    (tmp_path / "train-00000-of-00001.gz").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"Unpack train-00000-of-00001.gz, or give another --dataset_dir"):
        imagenet.open_split(str(tmp_path), "train", 64)
    with pytest.raises(FileNotFoundError, match=r"00001\.gz is a file, not a directory\. Unpack it, and give"):
        imagenet.open_split(str(tmp_path / "train-00000-of-00001.gz"), "train", 64)
    (tmp_path / "link").symlink_to("/nowhere")
    with pytest.raises(FileNotFoundError, match=r"link is a link to /nowhere, which does not exist\. Give"):
        imagenet.open_split(str(tmp_path / "link"), "train", 64)
