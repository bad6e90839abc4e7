"""TFRecord files as a list: against TensorFlow's own reader and writer, and damaged in every way."""

import bz2
import errno
import gzip
import lzma
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import tensorflow as tf

from sact_tf.command_line.writing import fullness
from sact_tf.data import records, whole_files

CONTENTS = [[b"a", b"", b"ccc"], [b"dd" * 1000], [b"e", b"f"]]


@pytest.fixture
def paths(tmp_path):
    """Three files with 3, 1 and 2 records, written by TensorFlow."""
    paths = [str(tmp_path / f"train-{number:05d}-of-00003") for number in range(3)]
    for path, content in zip(paths, CONTENTS, strict=True):
        with tf.io.TFRecordWriter(path) as writer:
            for record in content:
                writer.write(record)
    return paths


def test_records_are_numbered_through_the_files(paths):
    files = records.RecordFiles(paths)
    assert len(files) == 6
    assert [files.read(index) for index in (5, 0, 3, 2, 1, 4)] == [b"f", b"a", b"dd" * 1000, b"ccc", b"", b"e"]


def test_a_record_is_located_by_file_number_and_offset(paths):
    # Each record has 16 bytes more than its data: "a" fills 17, "" 16.
    location = records.RecordFiles(paths).locate(2)
    assert location == (paths[0], 2, 33, 19)
    assert str(location) == f"{paths[0]}, record 2"


@pytest.mark.parametrize("index", [-1, 6])
def test_an_index_out_of_range_is_refused(paths, index):
    with pytest.raises(IndexError, match=f"from 0 to 5. Received: index={index}"):
        records.RecordFiles(paths).locate(index)


def test_what_is_written_is_read_by_tensorflow(tmp_path):
    path = str(tmp_path / "file")
    records.write_atomically(path, (records.frame(content) for content in (b"one", b"", b"three")))
    assert [record.numpy() for record in tf.data.TFRecordDataset(path)] == [b"one", b"", b"three"]


def test_a_file_that_fails_while_it_is_written_does_not_get_its_name(tmp_path):
    def pieces():
        yield b"first"
        raise RuntimeError("stop")

    (tmp_path / "file").write_bytes(b"before")
    with pytest.raises(RuntimeError):
        records.write_atomically(str(tmp_path / "file"), pieces())
    assert os.listdir(tmp_path) == ["file"]
    assert (tmp_path / "file").read_bytes() == b"before"


def test_a_changed_byte_of_the_data_is_named_and_other_records_can_be_read(paths):
    content = bytearray(pathlib.Path(paths[0]).read_bytes())
    content[33 + 12] ^= 1
    pathlib.Path(paths[0]).write_bytes(content)
    files = records.RecordFiles(paths)
    with pytest.raises(records.BadRecord, match=r"train-00000-of-00003, record 2: its checksum is wrong"):
        files.read(2)
    assert files.read(1) == b"" and files.read(3) == b"dd" * 1000


def test_a_changed_length_is_named_when_the_files_are_opened(paths):
    content = bytearray(pathlib.Path(paths[2]).read_bytes())
    content[17] ^= 1
    pathlib.Path(paths[2]).write_bytes(content)
    with pytest.raises(records.BadRecord, match=r"train-00002-of-00003, record 1: its length is damaged"):
        records.RecordFiles(paths)


@pytest.mark.parametrize("size, number", [(5, 0), (15, 0), (20, 1), (51, 2)])
def test_a_file_that_is_cut_off_is_named(paths, size, number):
    os.truncate(paths[0], size)
    with pytest.raises(records.BadRecord, match=rf"train-00000-of-00003, record {number}:"):
        records.RecordFiles(paths)


def test_an_empty_file_is_named(paths):
    os.truncate(paths[1], 0)
    with pytest.raises(records.BadRecord, match=r"train-00001-of-00003 is empty\. .* write the data again to fewer"):
        records.RecordFiles(paths)


def test_a_file_that_shrinks_after_it_was_opened_is_no_crash(paths):
    files = records.RecordFiles(paths)
    os.truncate(paths[0], 40)
    with pytest.raises(records.BadRecord, match="record 2: the file has changed"):
        files.read(2)


def test_a_length_that_would_fill_the_memory_is_never_allocated(tmp_path):
    length = struct.pack("<Q", 2**62)
    (tmp_path / "huge").write_bytes(length + struct.pack("<I", records.masked_checksum(length)) + b"x" * 50)
    with pytest.raises(records.BadRecord, match="record 0: the file ends within it"):
        records.RecordFiles([tmp_path / "huge"])


def test_the_index_is_kept_until_a_file_changes(paths, tmp_path, monkeypatch):
    monkeypatch.setattr(records, "MIN_RECORDS_TO_CACHE", 1)
    cache = tmp_path / "cache"
    first = records.RecordFiles(paths, cache_dir=cache)
    assert len(os.listdir(cache)) == 1
    with monkeypatch.context() as patch:
        patch.setattr(records, "_index_files", lambda *_: pytest.fail("indexed again"))
        again = records.RecordFiles(paths, cache_dir=cache)
    assert [again.locate(index) for index in range(6)] == [first.locate(index) for index in range(6)]
    with tf.io.TFRecordWriter(paths[1]) as writer:
        writer.write(b"new")
    assert records.RecordFiles(paths, cache_dir=cache).read(3) == b"new"


def test_a_damaged_index_is_made_again(paths, tmp_path, monkeypatch):
    monkeypatch.setattr(records, "MIN_RECORDS_TO_CACHE", 1)
    records.RecordFiles(paths, cache_dir=tmp_path / "cache")
    (kept,) = (tmp_path / "cache").iterdir()
    for content in (b"", b"garbage", kept.read_bytes()[:-1], b"\x01" + kept.read_bytes()[1:]):
        kept.write_bytes(content)
        assert records.RecordFiles(paths, cache_dir=tmp_path / "cache").read(5) == b"f"


def test_a_cache_that_cannot_be_written_is_done_without(paths, tmp_path, monkeypatch):
    monkeypatch.setattr(records, "MIN_RECORDS_TO_CACHE", 1)
    (tmp_path / "file").write_text("in the way")
    assert len(records.RecordFiles(paths, cache_dir=tmp_path / "file" / "cache")) == 6


def test_progress_is_reported(paths, monkeypatch):
    monkeypatch.setattr(records, "SECONDS_BETWEEN_MESSAGES", -1)
    lines = []
    records.RecordFiles(paths, log=lines.append)
    assert lines[0].startswith("Indexed 1/3 files, ") and lines[-1].startswith("Indexed 3/3 files, ")


def test_shards_are_found_by_name_and_in_order(paths, tmp_path):
    (tmp_path / "train-00000-of-00003.tmp").write_bytes(b"")
    (tmp_path / ".train-00001-of-00003.77.tmp").write_bytes(b"")
    (tmp_path / "strain-00000-of-00009").write_bytes(b"")
    assert records.find_shards(tmp_path, "train") == paths
    assert records.find_shards(tmp_path, "validation") == []


def test_a_missing_shard_is_named(paths, tmp_path):
    os.remove(paths[1])
    with pytest.raises(FileNotFoundError, match=r"1 of 3 train shards are missing: train-00001-of-00003\. "):
        records.find_shards(tmp_path, "train")


def test_two_sets_of_shards_are_not_mixed(paths, tmp_path):
    (tmp_path / "train-00000-of-00002").write_bytes(b"")
    with pytest.raises(ValueError, match="more than one set of train shards: -of-00002, -of-00003"):
        records.find_shards(tmp_path, "train")


def test_checksums_are_those_of_the_format():
    # RFC 3720, appendix B.4: 32 bytes of zeros give 8a9136aa; masked as TensorFlow does it.
    expected = ((0x8A9136AA >> 15 | 0x8A9136AA << 17) + 0xA282EAD8) % 2**32
    assert records.masked_checksum(np.zeros(32, np.uint8).tobytes()) == expected


@pytest.mark.parametrize(
    "form, compress, command",
    [
        ("GZIP", gzip.compress, "gzip -dc < "),
        ("ZLIB", zlib.compress, "zlib.decompress"),
        ("ZLIB", lambda data: zlib.compress(data, 1), "zlib.decompress"),
        ("bzip2", bz2.compress, "bzip2 -dc < "),
        ("XZ", lzma.compress, "xz -dc < "),
    ],
)
def test_a_compressed_file_says_so_and_how_to_unpack_it(paths, form, compress, command):
    content = pathlib.Path(paths[1]).read_bytes()
    pathlib.Path(paths[1]).write_bytes(compress(content))
    with pytest.raises(records.BadRecord, match=rf"00001-of-00003 is compressed \({form}\)") as error:
        records.RecordFiles(paths)
    assert command in str(error.value)
    # The command is one for a shell, and does it; `python` is that of an environment like this one.
    path = f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"
    unpacking = str(error.value).splitlines()[-1]
    if shutil.which(unpacking.split()[0], path=path) is None:
        pytest.skip(f"{unpacking.split()[0]} is not installed")
    subprocess.run(unpacking, shell=True, check=True, env={**os.environ, "PATH": path})
    assert pathlib.Path(paths[1]).read_bytes() == content


def test_a_directory_in_the_place_of_a_shard_is_named(paths):
    os.remove(paths[1])
    os.mkdir(paths[1])
    with pytest.raises(IsADirectoryError, match=r"00001-of-00003 is a directory, where a file of records should be\."):
        records.RecordFiles(paths)


def test_a_link_to_nothing_is_named_with_what_it_points_to(paths):
    os.remove(paths[1])
    os.symlink("/nowhere/shard", paths[1])
    with pytest.raises(FileNotFoundError, match=r"00001-of-00003 is a link to /nowhere/shard, which does not exist\."):
        records.RecordFiles(paths)


@pytest.mark.parametrize("number, reason", [(errno.ENOSPC, "disk is full"), (errno.EDQUOT, "disk quota is used up")])
def test_a_full_disk_is_told_with_the_way_out_and_leaves_nothing(tmp_path, number, reason):
    def pieces():
        yield b"first"
        raise OSError(number, os.strerror(number))

    with pytest.raises(OSError, match=f"file could not be written: the {reason}. Make room there") as error:
        records.write_atomically(str(tmp_path / "file"), pieces())
    assert "start again: files that are whole stay" in str(error.value) and not os.listdir(tmp_path)
    assert error.value.errno == number and fullness(error.value)


def test_a_name_as_long_as_the_system_allows_can_be_written(tmp_path):
    records.write_atomically(str(tmp_path / ("x" * 255)), [b"whole"])
    assert (tmp_path / ("x" * 255)).read_bytes() == b"whole"


@pytest.mark.parametrize(("name", "kind"), [("missing/file", FileNotFoundError), ("folder", IsADirectoryError)])
def test_a_file_that_cannot_be_written_is_called_what_it_was_to_be_called(tmp_path, name, kind):
    (tmp_path / "folder").mkdir()
    with pytest.raises(kind) as caught:
        records.write_atomically(tmp_path / name, [b"whole"])
    assert caught.value.filename == str(tmp_path / name) and ".tmp" not in str(caught.value)
    assert os.listdir(tmp_path) == ["folder"]


def test_errors_of_the_system_become_sentences():
    full, other = OSError(errno.ENOSPC, "No space", "/a"), PermissionError(errno.EACCES, "Permission denied", "/b")
    assert whole_files.in_words(full).startswith("/a could not be written: the disk is full. Make room")
    assert whole_files.in_words(other) == "/b cannot be used: Permission denied."
    assert whole_files.in_words(OSError("A sentence.")) == "A sentence."
