"""CIFAR-10 as people keep it: the archives of its home page, and files that another program has written again."""

import io
import os
import pickle
import tarfile

import numpy as np
import pytest

from sact_tf.data import cifar10, plain_pickle
from sact_tf.data.records import BadRecord


def batch(directory, split="train"):
    """Pictures and labels of a split, in order."""
    read = cifar10.open_split(str(directory), split).read(range(15))
    return read["image"].numpy(), read["label"].numpy()


def pack(directory, path, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        archive.add(directory, arcname=".")
    return path


@pytest.mark.parametrize("form", ["cifar_binary", "cifar_python"])
@pytest.mark.parametrize("ending, mode", [(".tar.gz", "w:gz"), (".tar", "w"), (".tgz", "w:gz")])
def test_an_archive_is_read_as_what_it_unpacks_to(cifar_directories, tmp_path, form, ending, mode):
    path = pack(cifar_directories[form], tmp_path / f"some{ending}", mode)
    for split in cifar10.SPLITS:
        for ours, expected in zip(batch(path, split), batch(cifar_directories[form], split), strict=True):
            np.testing.assert_array_equal(ours, expected)
    assert os.listdir(tmp_path) == [path.name]


def test_an_archive_in_a_directory_is_found_by_its_name(cifar_directories, tmp_path):
    pack(cifar_directories["cifar_python"], tmp_path / "cifar-10-python.tar.gz")
    np.testing.assert_array_equal(batch(tmp_path)[1], batch(cifar_directories["cifar_python"])[1])
    location = cifar10.open_split(str(tmp_path), "test").locate(3)
    assert str(location) == f"{tmp_path}/cifar-10-python.tar.gz: test_batch, record 3"


def test_a_damaged_archive_and_one_of_something_else_are_named(cifar_directories, tmp_path):
    path = pack(cifar_directories["cifar_binary"], tmp_path / "cifar-10-binary.tar.gz")
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(BadRecord, match=r"binary\.tar\.gz is no whole archive: .*Download it again"):
        cifar10.open_split(str(path), "train")
    path.write_bytes(b"<html>not found</html>")
    with pytest.raises(BadRecord, match=r"binary\.tar\.gz is no whole archive"):
        cifar10.open_split(str(tmp_path), "train")
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileNotFoundError, match=r"other\.tar lacks files of this split: data_batch_1, .*home page"):
        cifar10.open_split(str(pack(tmp_path / "folder", tmp_path / "other.tar", "w")), "train")


def test_members_that_would_lie_outside_the_archive_are_read_and_never_written(tmp_path):
    record = bytes([3]) + bytes(range(256)) * 12
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        member = tarfile.TarInfo("../../test_batch.bin")
        member.size = len(record)
        archive.addfile(member, io.BytesIO(record))
    source = cifar10.open_split(str(tmp_path / "a.tar"), "test")
    assert source.fetch(0) == record and os.listdir(tmp_path) == ["a.tar"]


PIXELS = np.arange(2 * 3072, dtype=np.uint8).reshape(2, 3072)
CONTENTS = {
    "text": {"data": PIXELS, "labels": [7, 0], "filenames": ["a.png", "b.png"], "batch_label": "testing batch 1 of 1"},
    "bytes": {b"data": PIXELS, b"labels": [7, 0], b"filenames": [b"a\xe9", b""], b"batch_label": b"testing"},
    "array of labels": {"data": PIXELS, "labels": np.array([7, 0])},
    "list of NumPy's numbers": {"data": PIXELS, "labels": [np.int64(7), np.uint8(0)]},
    "columns first": {"data": np.asfortranarray(PIXELS), "labels": [7, 0]},
    "a view": {"data": np.repeat(PIXELS, 2, axis=1)[:, ::2], "labels": [7, 0]},
    "read only": {"data": np.frombuffer(PIXELS.tobytes(), np.uint8).reshape(2, 3072), "labels": [7, 0]},
    "big end first": {"data": PIXELS, "labels": np.array([7, 0], ">i4")},
}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("kind", CONTENTS)
def test_batches_that_python_3_has_written_again_are_read(tmp_path, kind, protocol):
    content = pickle.dumps(CONTENTS[kind], protocol=protocol)
    # As older versions of NumPy name what makes an array.
    for written in (content, content.replace(b"numpy._core.", b"numpy.core.") if protocol < 2 else content):
        (tmp_path / "test_batch").write_bytes(written)
        source = cifar10.open_split(str(tmp_path), "test")
        assert [source.fetch(index) for index in range(2)] == [
            bytes([label]) + PIXELS[index].tobytes() for index, label in enumerate([7, 0])
        ]


def test_text_of_python_2_s_protocol_0_is_read():
    # {'labels': [7]} and a string of the bytes 0, 233 and a quote, as Python 2 writes them.
    content = b"(dp0\nS'labels'\np1\n(lp2\nI7\nasS'data'\np3\nS'\\x00\\xe9\\''\np4\ns."
    assert plain_pickle.parse(content) == {"labels": [7], "data": "\0\xe9'"}


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"data": PIXELS.astype(np.float32)}, "holds other arrays"),
        ({"data": PIXELS[:, :100]}, r"an array of shape \(2, 100\) for 2 labels"),
        ({"data": PIXELS[:1]}, r"an array of shape \(1, 3072\) for 2 labels"),
        ({"labels": ["cat", "dog"]}, "holds other arrays"),
        ({"data": PIXELS.astype("M8[s]")}, "holds other arrays"),
    ],
)
def test_a_batch_of_other_values_says_which(tmp_path, changes, message):
    (tmp_path / "test_batch").write_bytes(pickle.dumps({"data": PIXELS, "labels": [7, 0], **changes}))
    with pytest.raises(BadRecord, match=f"test_batch is no batch of CIFAR-10's Python version: .*{message}"):
        cifar10.open_split(str(tmp_path), "test")


def test_a_call_in_a_batch_stays_a_description_in_every_protocol(tmp_path):
    class Harm:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "made"),)

    for protocol in range(6):
        content = pickle.dumps({"data": Harm(), "labels": [1]}, protocol=protocol)
        with pytest.raises(BadRecord, match="holds other arrays"):
            cifar10.parse_python_batch(content, "test_batch")
    assert not (tmp_path / "made").exists()


def test_an_empty_newer_version_of_tensorflow_datasets_hides_no_older_one(cifar_directories, tmp_path):
    place = os.path.join(cifar_directories["tfds"], "cifar10", "3.0.2")
    (tmp_path / "cifar10").mkdir()
    os.symlink(place, tmp_path / "cifar10" / "3.0.2")
    (tmp_path / "cifar10" / "4.0.0").mkdir()
    assert cifar10.open_split(str(tmp_path), "test").num_examples == 15


@pytest.mark.parametrize("name", ["cifar10_test.tfrecord", "test_batch.bin", "test_batch"])
def test_a_link_to_nothing_is_named(tmp_path, name):
    (tmp_path / name).symlink_to("/nowhere/file")
    with pytest.raises(FileNotFoundError, match=f"{name} is a link to /nowhere/file, which does not exist"):
        cifar10.open_split(str(tmp_path), "test")


def test_a_file_whose_link_is_whole_is_read(cifar_directories, tmp_path):
    for name in os.listdir(os.path.join(cifar_directories["cifar_binary"], cifar10.BINARY_DIRECTORY)):
        os.symlink(os.path.join(cifar_directories["cifar_binary"], cifar10.BINARY_DIRECTORY, name), tmp_path / name)
    assert cifar10.open_split(str(tmp_path), "train").num_examples == 15
