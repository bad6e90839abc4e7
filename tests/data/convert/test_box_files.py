"""COCO and Pascal VOC as records: what is read back is what was there."""

import os
import random

import numpy as np
import pytest

from sact_tf.data import convert, pipeline
from sact_tf.data.convert import box_files
from sact_tf.data.convert.writing import alone_in
from sact_tf.data.detection import annotations, coco
from sact_tf.data.directory_lock import DirectoryInUse


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SACT_TF_CACHE", str(tmp_path / "cache"))


def write(coco_directory, output_dir, log=lambda text: None, **changes):
    return convert.convert(coco_directory, "tfrecord", "coco", output_dir, **{"num_shards": 2, "log": log, **changes})


def test_records_hold_what_the_files_hold(coco_directory, tmp_path):
    paths = write(coco_directory, tmp_path / "out")
    assert [os.path.basename(path) for path in paths] == ["train-00000-of-00002", "train-00001-of-00002"]
    first = pipeline.open_source("coco", "train", 30, dataset_dir=str(coco_directory))
    second = pipeline.open_source("coco", "train", 30, dataset_dir=str(tmp_path / "out"))
    assert second.categories == first.categories
    assert pipeline.num_classes_of("coco", str(tmp_path / "out")) == 3
    expected, actual = first.read(range(3)), second.read(range(3))
    # They are shuffled, as what is trained on is.
    order = np.argsort(actual["image_id"])
    for name, value in expected.items():
        np.testing.assert_allclose(np.asarray(actual[name])[order], value, atol=1e-4)


def test_a_conversion_that_was_stopped_goes_on_and_gives_the_same_files(coco_directory, tmp_path, monkeypatch):
    whole, reads, picture_of = write(coco_directory, tmp_path / "whole"), [], annotations.picture_of

    def stop_after_two(*arguments):
        reads.append(arguments)
        if len(reads) > 2:
            raise KeyboardInterrupt
        return picture_of(*arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(annotations, "picture_of", stop_after_two)
        write(coco_directory, tmp_path / "stopped", threads=1)
    assert not os.path.exists(tmp_path / "stopped" / "train-00001-of-00002")
    lines = []
    stopped = write(coco_directory, tmp_path / "stopped", lines.append)
    assert lines[2] == "1 of 2 files are there already"
    for path, other in zip(whole, stopped, strict=True):
        with open(path, "rb") as file, open(other, "rb") as other_file:
            assert file.read() == other_file.read()


def test_other_boxes_or_pictures_are_not_mixed_in(coco_directory, tmp_path):
    write(coco_directory, tmp_path / "out")
    path = coco_directory / "annotations" / "instances_train2017.json"
    text = path.read_text()
    path.write_text(text.replace("[3, 4, 10, 20]", "[3, 4, 10, 21]"))
    with pytest.raises(ValueError, match=r"are of other pictures, boxes or numbers of files \(train-00000-of-00002\)"):
        write(coco_directory, tmp_path / "out")
    path.write_text(text.replace('"cat"', '"dog"'))
    with pytest.raises(
        ValueError, match=r"label_map\.pbtxt has other categories .*, or remove it and all records beside"
    ):
        write(coco_directory, tmp_path / "out")


@pytest.mark.parametrize("note", ["[]", "{}", '{"boxes": "", "files": []}', '{"files": {}, "skipped": []}', "\x00"])
def test_a_damaged_note_of_what_was_written_is_one_of_something_else(coco_directory, tmp_path, note):
    write(coco_directory, tmp_path / "out")
    (tmp_path / "out" / ".coco_train.plan").write_text(note)
    with pytest.raises(ValueError, match="are of other pictures, boxes or numbers of files"):
        write(coco_directory, tmp_path / "out")


def test_a_picture_that_cannot_be_read_stops_the_conversion_or_is_left_out(coco_directory, tmp_path):
    path = coco_directory / "train2017" / "007.jpg"
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(OSError, match=r"007\.jpg: .* convert again, which goes on, or .*--skip_bad=N\.$"):
        write(coco_directory, tmp_path / "out", num_shards=1)
    lines = []
    write(coco_directory, tmp_path / "out", lines.append, num_shards=1, skip_bad=1)
    assert lines[-3].startswith(f"Left out 1 of at most 1: {path}: it is damaged, or") and "{{" not in lines[-3]
    assert lines[-2] == "1/1 files written"
    assert lines[-1] == "Pictures left out that cannot be read: 1"
    assert coco.open_split(str(tmp_path / "out"), "train", 30).num_examples == 2


def test_pictures_that_are_left_out_count_together_over_all_starts(coco_directory, tmp_path):
    # The first of the two of the first file, and the one of the second.
    pictures = [coco_directory / "train2017" / f"{[1, 7, 20][place]:03d}.jpg" for place in _order()]
    for path in pictures[:2]:
        path.write_bytes(b"<html>")
    lines = []
    for _ in range(2):
        with pytest.raises(OSError, match=r"or leave out up to N such pictures with --skip_bad=N, now 1\."):
            write(coco_directory, tmp_path / "out", lines.append, threads=1, skip_bad=1)
    assert sum(line.startswith("Left out 1 of at most 1:") for line in lines) == 1


def test_a_picture_that_was_replaced_is_converted_where_the_first_conversion_stopped(coco_directory, tmp_path):
    # Alone in the second of two files.
    path = coco_directory / "train2017" / f"{[1, 7, 20][_order()[1]]:03d}.jpg"
    whole = path.read_bytes()
    path.write_bytes(whole[:300])
    with pytest.raises(OSError, match="Replace it and convert again"):
        write(coco_directory, tmp_path / "out", threads=1)
    path.write_bytes(whole)
    lines = []
    paths = write(coco_directory, tmp_path / "out", lines.append, threads=1)
    assert lines[2:] == ["1 of 2 files are there already", "2/2 files written"] and all(map(os.path.exists, paths))
    path.write_bytes(whole + b"\0")
    write(coco_directory, tmp_path / "out", lines.append, threads=1)
    assert "1 of 2 files that are there are made again: their pictures have changed" in lines


def _order():
    order = [0, 1, 2]
    random.Random(box_files.SHUFFLE_SEED).shuffle(order)
    return order


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"num_shards": 4}, "3 pictures cannot fill 4 files. Give a lower --num_shards"),
        (
            {"split": "val"},
            r"(?s)annotations/instances_valNNNN\.json.*Found: annotations, train2017\. Splits that are there: "
            r"train2017; training reads train, other commands what --split_name says\. Give another --from_folder\.$",
        ),
        ({"to": "tfds"}, r"`to` must be one of \('tfrecord',\). Received: to='tfds'"),
    ],
)
def test_what_cannot_be_converted_is_said(coco_directory, tmp_path, changes, message):
    arguments = {"to": "tfrecord", "split": "train", "num_shards": 1, "log": lambda text: None, **changes}
    with pytest.raises((ValueError, OSError), match=message):
        convert.convert(coco_directory, dataset="coco", output_dir=tmp_path / "out", **arguments)


def test_a_second_conversion_into_a_directory_is_refused_while_the_first_writes(coco_directory, tmp_path):
    with alone_in(str(tmp_path / "records"), None), pytest.raises(DirectoryInUse, match="being converted into"):
        write(coco_directory, tmp_path / "records")
    assert os.listdir(tmp_path / "records") == []
