"""CIFAR-10 in each of its forms."""

import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

from sact_tf.data import cifar10, convert, plain_pickle, preprocessing
from sact_tf.data.records import BadRecord


def by_content(batch):
    """Label and bytes of each example, sorted: the forms spread the examples over files in their own ways."""
    return sorted(
        (int(label), image.tobytes()) for label, image in zip(batch["label"], batch["image"].numpy(), strict=True)
    )


def test_every_form_gives_the_same_pictures_and_labels(cifar_directories, folder):
    _, examples = convert.list_examples(folder)
    pictures = [convert.read_cifar(path) for path, _ in examples]
    expected = {
        "image": tf.stack([preprocessing.cifar_evaluation_image(picture) for picture in pictures]),
        "label": [label for _, label in examples],
    }
    assert set(cifar_directories) == {"tfrecord", "tfds", "cifar_binary", "cifar_python"}
    for directory in cifar_directories.values():
        for split in cifar10.SPLITS:
            assert by_content(cifar10.open_split(directory, split).read(range(15))) == by_content(expected)


@pytest.mark.parametrize(
    "form, inside", [("cifar_binary", "cifar-10-batches-bin"), ("cifar_python", "cifar-10-batches-py")]
)
def test_the_directory_that_an_archive_unpacks_to_may_be_given_itself(cifar_directories, form, inside):
    whole = cifar10.open_split(cifar_directories[form], "train").read(range(15))
    part = cifar10.open_split(os.path.join(cifar_directories[form], inside), "train").read(range(15))
    np.testing.assert_array_equal(part["label"], whole["label"])
    assert (
        cifar10.open_split(cifar_directories[form], "train")
        .locate(4)
        .path.endswith(("data_batch_2.bin", "data_batch_2"))
    )


def test_the_release_s_own_file_is_read(reference):
    path = reference / "testdata" / "cifar10"
    source = cifar10.open_split(str(path), "test")
    batch = source.read(range(source.num_examples))
    for record, image, label in zip(
        tf.data.TFRecordDataset(str(path / "cifar10_test.tfrecord")), batch["image"], batch["label"], strict=True
    ):
        feature = tf.train.Example.FromString(record.numpy()).features.feature
        picture = tf.io.decode_png(feature["image/encoded"].bytes_list.value[0])
        np.testing.assert_array_equal(image, preprocessing.cifar_evaluation_image(picture))
        assert label == feature["image/class/label"].int64_list.value[0]


def test_binary_pixels_are_planes_of_red_green_and_blue(tmp_path):
    planes = np.arange(3 * 32 * 32).reshape(3, 32, 32) % 251
    (tmp_path / "test_batch.bin").write_bytes(bytes([4]) + planes.astype(np.uint8).tobytes())
    image, label = cifar10._parse_binary(tf.constant((tmp_path / "test_batch.bin").read_bytes()))
    assert label == 4
    # Row 2, column 5: 2 * 32 + 5 = 69, and 1024 and 2048 further on, less 4 and 8 times 251.
    assert image[2, 5].numpy().tolist() == [69, 1093 - 4 * 251, 2117 - 8 * 251]


def test_a_directory_without_the_data_set_says_what_was_looked_for(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        cifar10.open_split(str(tmp_path), "train")
    for name in ("cifar10_train.tfrecord", "cifar10-train.tfrecord-0", "data_batch_1.bin", "data_batch_1\n", "nothing"):
        assert name in str(error.value)


@pytest.mark.parametrize("form", ["cifar_binary", "cifar_python"])
def test_a_missing_batch_is_named(cifar_directories, tmp_path, form):
    directory = shutil.copytree(cifar_directories[form], tmp_path / "copy")
    (lost,) = directory.glob("*/data_batch_3*")
    lost.unlink()
    with pytest.raises(FileNotFoundError, match=f"files of this split are missing: {lost}"):
        cifar10.open_split(str(directory), "train")


def test_a_binary_file_that_is_cut_off_is_named(tmp_path):
    (tmp_path / "test_batch.bin").write_bytes(bytes(3073 + 100))
    with pytest.raises(BadRecord, match=r"test_batch\.bin, record 1: the file ends within it"):
        cifar10.open_split(str(tmp_path), "test")


def test_without_a_network_the_error_says_what_to_do(monkeypatch, tmp_path):
    pytest.importorskip("tensorflow_datasets")

    def refuse(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(cifar10.socket, "create_connection", refuse)
    monkeypatch.setattr(cifar10, "DEFAULT_DIRECTORY", str(tmp_path / "none"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    with pytest.raises(OSError, match=r"could not be downloaded \(OSError: no network\).*--dataset_dir"):
        cifar10.open_split(None, "train")


@pytest.mark.parametrize(
    "changes, message", [({"split": "validation"}, "split_name"), ({"image_size": 64}, "must be 32")]
)
def test_a_split_or_size_that_does_not_exist_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        cifar10.open_split(**{"directory": None, "split": "train", **changes})


def test_plain_values_of_a_pickle_are_read():
    # {'a': [1, -2], 'b': (None, True)} as protocol 2 has it.
    content = (
        b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01]q\x02(K\x01J\xfe\xff\xff\xffeX\x01\x00\x00\x00bq\x03N\x88\x86q\x04u."
    )
    assert plain_pickle.parse(content) == {"a": [1, -2], "b": (None, True)}


def test_a_pickle_that_would_run_a_command_runs_none(tmp_path):
    trace = tmp_path / "trace"
    content = b"cos\nsystem\n(S'touch " + str(trace).encode() + b"'\ntR."
    assert plain_pickle.parse(content) == ("os system", (f"touch {trace}",), [])
    harmful = b"\x80\x02cos\nsystem\nU" + bytes([len(str(trace)) + 6]) + b"touch " + str(trace).encode() + b"\x85R."
    assert plain_pickle.parse(harmful) == ("os system", (f"touch {trace}",), [])
    assert not trace.exists()


def test_a_python_file_with_other_content_is_named(tmp_path):
    for content in (b"", b"garbage", b"\x80\x02}.", b"\x80\x02]q\x00.", b"\x80\x02K\x01"):
        (tmp_path / "test_batch").write_bytes(content)
        with pytest.raises(BadRecord, match="test_batch is no batch of CIFAR-10's Python version"):
            cifar10.open_split(str(tmp_path), "test")
