"""From a folder of pictures to a data set. What is written is read back in the tests of the data sets."""

import os
import shutil

import numpy as np
import pytest
from absl import flags
from PIL import Image

from sact_tf.data import convert, imagenet, pipeline
from sact_tf.data.convert import example_files
from sact_tf.data.directory_lock import DirectoryInUse


def quiet(text):
    pass


def contents(directory):
    return {
        os.path.relpath(os.path.join(folder, name), directory): open(os.path.join(folder, name), "rb").read()
        for folder, _, names in os.walk(directory)
        for name in names
    }


def test_a_conversion_that_was_stopped_goes_on_and_gives_the_same_files(folder, tmp_path, monkeypatch):
    convert.convert(folder, "tfrecord", "imagenet", tmp_path / "whole", "train", 5, log=quiet)
    reads, read_jpeg = [], example_files.read_jpeg

    def stop_after_eight(path):
        reads.append(path)
        if len(reads) > 8:
            raise KeyboardInterrupt
        return read_jpeg(path)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(example_files, "read_jpeg", stop_after_eight)
        convert.convert(folder, "tfrecord", "imagenet", tmp_path / "stopped", "train", 5, threads=1, log=quiet)
    # Three pictures a shard: two are whole, the third was begun.
    shards = sorted(name for name in contents(tmp_path / "stopped") if name.startswith("train"))
    assert shards == ["train-00000-of-00005", "train-00001-of-00005"]
    lines = []
    convert.convert(folder, "tfrecord", "imagenet", tmp_path / "stopped", "train", 5, log=lines.append)
    assert lines[1] == "2 of 5 files are there already" and lines[-1] == "5/5 files written"
    assert contents(tmp_path / "stopped") == contents(tmp_path / "whole")


def test_other_classes_or_pictures_are_not_mixed_in(folder, imagenet_directory, tmp_path):
    directory, other = (
        shutil.copytree(imagenet_directory, tmp_path / "data"),
        shutil.copytree(folder, tmp_path / "more"),
    )
    (other / "apple" / "00.jpg").unlink()
    with pytest.raises(ValueError, match=r"holds other classes or pictures than these \(\.imagenet_train\.plan\)"):
        convert.convert(other, "tfrecord", "imagenet", directory, "train", 3, log=quiet)
    shutil.copytree(other / "bear", other / "dog")
    with pytest.raises(ValueError, match=r"imagenet_classes\.txt"):
        convert.convert(other, "tfrecord", "imagenet", directory, "validation", 1, log=quiet)


def test_a_file_that_is_no_picture_is_named_and_leaves_no_shard(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "bear" / "05.png").write_text("not a picture")
    with pytest.raises(OSError, match=r"05\.png cannot be read as a picture"):
        convert.convert(copy, "tfrecord", "imagenet", tmp_path / "data", "train", 1, log=quiet)
    assert not [name for name in contents(tmp_path / "data") if "train-" in name]


def test_a_truncated_picture_is_named(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    os.truncate(copy / "cup" / "12.jpg", 900)
    with pytest.raises(OSError, match=r"12\.jpg cannot be read"):
        convert.convert(copy, "tfrecord", "imagenet", tmp_path / "data", "train", 1, log=quiet)


def test_jpegs_are_kept_as_they_are_and_others_become_jpegs(folder, tmp_path):
    kept = folder / "apple" / "00.jpg"
    assert convert.read_jpeg(kept) == (kept.read_bytes(), 70, 50)
    Image.fromarray(np.full((9, 8, 3), 120, np.uint8)).convert("CMYK").save(tmp_path / "press.jpg")
    encoded, width, height = convert.read_jpeg(tmp_path / "press.jpg")
    (tmp_path / "made.jpg").write_bytes(encoded)
    with Image.open(tmp_path / "made.jpg") as picture:
        assert (
            (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (width, height)) == ("JPEG", "RGB", (8, 9))
        )


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"dataset": "mnist"}, "`dataset` must be one of"),
        ({"to": "cifar_binary"}, r"`to` must be one of \('tfrecord', 'tfds'\)"),
        ({"split": "test"}, "`split_name` must be one of"),
        ({"num_shards": 0}, "`num_shards` must be an int, at least 1"),
        ({"num_shards": "2"}, "`num_shards` must be an int, at least 1. Received: num_shards='2'"),
        ({"num_shards": 16}, "15 pictures cannot fill 16 files"),
        ({"from_folder": "/nowhere"}, "no directory /nowhere"),
    ],
)
def test_what_cannot_be_converted_is_refused(folder, tmp_path, changes, message):
    arguments = {"from_folder": folder, "to": "tfrecord", "dataset": "imagenet", "output_dir": tmp_path, **changes}
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        convert.convert(**arguments, log=quiet)


def test_a_folder_without_class_folders_is_explained(tmp_path):
    with pytest.raises(ValueError, match=r"holds no pictures in class folders, such as .*cat/1\.jpg"):
        convert.list_examples(tmp_path)


def test_folders_of_data_with_boxes_are_no_classes(coco_directory, tmp_path):
    with pytest.raises(ValueError, match=r"pictures and their boxes \(splits: train2017\), .* Give --dataset=coco for"):
        convert.convert(coco_directory, "tfrecord", "imagenet", tmp_path / "out", log=quiet)
    os.renames(coco_directory / "train2017" / "001.jpg", tmp_path / "voc" / "JPEGImages" / "001.jpg")
    os.makedirs(tmp_path / "voc" / "ImageSets" / "Main")
    (tmp_path / "voc" / "ImageSets" / "Main" / "val.txt").write_text("001\n")
    with pytest.raises(ValueError, match=r"\(splits: val\), .* Give --dataset=voc for"):
        convert.list_examples(tmp_path / "voc")


def test_the_command_converts_as_it_says_through_a_pipe(run_script, folder, tmp_path):
    command = ["-m", "sact_tf.data.convert", f"--from_folder={folder}", f"--output_dir={tmp_path}"]
    returncode, output, errors = run_script(*command, "--num_shards=2")
    assert returncode == 0 and f"2 files: {tmp_path}/train-00000-of-00002 ..." in output, errors
    assert output.startswith("15 pictures of 3 classes. Left out: nothing\n")
    assert imagenet.open_split(str(tmp_path), "train", 32).num_examples == 15


@pytest.fixture
def run_command(folder, tmp_path, capsys):
    """Function from flags to exit status, output and errors of the command."""

    def run(*words):
        values = flags.FlagValues()
        convert.define_flags(values)
        words = [f"--from_folder={folder}", f"--output_dir={tmp_path / 'data'}", *words]
        try:
            convert.main(values(["convert", *words]), values)
            status = 0
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return run


def test_mistakes_end_in_a_sentence(run_command, folder, tmp_path):
    status, _, errors = run_command("--to=hdf5")
    assert status == 1 and errors.startswith("error: `to` must be one of")
    status, _, errors = run_command("--skip_bad=-1")
    assert status == 1 and errors == "error: `skip_bad` must be an int, at least 0. Received: skip_bad=-1\n"
    (tmp_path / "file").write_bytes(b"")
    status, _, errors = run_command(f"--output_dir={tmp_path / 'file' / 'data'}")
    assert (
        status == 1
        and errors == f"error: {tmp_path}/file/data cannot be written: Not a directory. Give another --output_dir.\n"
    )


def test_the_command_leaves_out_bad_pictures_and_prints_names_that_are_no_text(run_command, folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    with open(os.path.join(os.fsencode(copy), b"cup", b"caf\xe9.jpg"), "wb") as file:
        file.write(b"no picture")
    status, _, errors = run_command(f"--from_folder={copy}")
    assert status == 1 and "cup/caf\\xe9.jpg cannot be read as a picture" in errors
    status, output, _ = run_command(f"--from_folder={copy}", "--skip_bad=1")
    assert status == 0 and "Left out 1 of at most 1: " in output and "cup/caf\\xe9.jpg cannot be read" in output
    assert output.endswith(f"\n1 file: {tmp_path}/data/train-00000-of-00001\n")
    assert imagenet.open_split(str(tmp_path / "data"), "train", 32).num_examples == 15


def test_an_interrupted_conversion_says_that_it_goes_on(folder, tmp_path, monkeypatch, capsys):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    values = flags.FlagValues()
    convert.define_flags(values)
    values(["convert", f"--from_folder={folder}", f"--output_dir={tmp_path / 'data'}"])
    monkeypatch.setattr(convert, "convert", interrupted)
    with pytest.raises(SystemExit) as stopped:
        convert.main(["convert"], values)
    assert stopped.value.code == 130
    assert capsys.readouterr().err == "Stopped; the same command goes on from here.\n"


@pytest.mark.parametrize("text", ["# fruit\napple\nbear\ncup\n", "apple\napple\nbear\ncup\n", "bear\napple\ncup\n"])
def test_a_list_of_classes_that_was_changed_gives_no_further_split_other_numbers(
    folder, imagenet_directory, tmp_path, text
):
    data, part = shutil.copytree(imagenet_directory, tmp_path / "data"), shutil.copytree(folder, tmp_path / "part")
    (data / "validation-00000-of-00001").unlink()
    shutil.rmtree(part / "cup")
    (data / "imagenet_classes.txt").write_text(text)
    with pytest.raises(
        ValueError, match=r"imagenet_classes\.txt was changed: .*which are apple, bear, cup\. Each line"
    ):
        convert.convert(part, "tfrecord", "imagenet", data, "validation", log=quiet)
    for plan in data.glob(".*.plan"):
        plan.unlink()
    with pytest.raises(
        ValueError, match="there twice" if "apple\napple" in text else "not begun by this command|other"
    ):
        convert.convert(part, "tfrecord", "imagenet", data, "train", 3, log=quiet)


@pytest.mark.parametrize("dataset", ["imagenet", "cifar10"])
def test_a_list_of_classes_whose_lines_changed_places_is_refused_wherever_names_are_read(folder, tmp_path, dataset):
    convert.convert(folder, "tfrecord", dataset, tmp_path, log=quiet)
    path = tmp_path / f"{dataset}_classes.txt"
    path.write_text("Apfel\nbear\nTasse\n")
    assert [*pipeline.class_names_of(dataset, str(tmp_path)).values()] == ["Apfel", "bear", "Tasse"]
    for text in ("# fruit\napple\nbear\ncup\n", "bear\napple\ncup\n"):
        path.write_text(text)
        with pytest.raises(
            ValueError, match=r"_classes\.txt was changed: its line 1 must be 'apple', .* are apple, bear, cup: put"
        ):
            pipeline.class_names_of(dataset, str(tmp_path))
    # Notes of data that were removed say nothing of others.
    for entry in tmp_path.glob("[!.]*"):
        entry.unlink()
    path.write_text("bear\napple\ncup\n")
    assert len(pipeline.class_names_of(dataset, str(tmp_path))) == 3


def test_a_second_conversion_into_a_directory_is_refused_while_the_first_writes(folder, tmp_path):
    refused = []

    def another(line):
        if "written" in line:
            with pytest.raises(
                DirectoryInUse, match=r"being converted into by process \d+ .*another --output_dir"
            ) as error:
                convert.convert(folder, "tfrecord", "imagenet", tmp_path, "validation", log=quiet)
            refused.append(error)

    convert.convert(folder, "tfrecord", "imagenet", tmp_path, "train", 3, log=another)
    assert len(refused) == 3
    convert.convert(folder, "tfrecord", "imagenet", tmp_path, "validation", log=quiet)
    assert not (tmp_path / ".lock").exists()
