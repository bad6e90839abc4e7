"""Converting again: after a stop, a bad picture, a change, or with odd names; progress and what may be left out."""

import hashlib
import json
import os
import shutil

import pytest
import tensorflow as tf
from PIL import Image

from sact_tf.data import convert, imagenet, records
from sact_tf.data.convert import plan, writing

NUM_PICTURES = 6


@pytest.fixture
def photos(tmp_path):
    """Six pictures of two classes, in colours that tell them apart."""
    for number in range(NUM_PICTURES):
        path = tmp_path / "photos" / "ab"[number % 2] / f"{number}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 8), (40 * number, 0, 0)).save(path)
    return tmp_path / "photos"


def run(photos, num_shards=2, directory="data", **options):
    """Converts and returns the lines that it says."""
    lines = []
    options = {"split": "train", "log": lines.append, **options}
    convert.convert(photos, "tfrecord", "imagenet", str(photos.parent / directory), num_shards=num_shards, **options)
    return lines


def examples(photos, directory="data", split="train"):
    """Dict from the names of the files of a split to label, class, and red of the first pixel."""
    found = {}
    for path in records.find_shards(str(photos.parent / directory), split):
        for record in tf.data.TFRecordDataset(path):
            feature = tf.train.Example.FromString(record.numpy()).features.feature
            picture = tf.io.decode_jpeg(feature["image/encoded"].bytes_list.value[0]).numpy()
            name = os.fsdecode(feature["image/filename"].bytes_list.value[0])
            text = os.fsdecode(feature["image/class/text"].bytes_list.value[0])
            found[name] = (feature["image/class/label"].int64_list.value[0], text, int(picture[0, 0, 0]))
    return found


def damage(photos, *names):
    for name in names:
        (photos / name).write_bytes(b"BM no picture")


def test_a_bad_picture_is_named_with_the_ways_out_and_removing_it_is_one(photos):
    damage(photos, "a/2.bmp")
    with pytest.raises(OSError, match=r"a/2\.bmp cannot be read as a picture: .*Remove or replace it.*--skip_bad=N\."):
        run(photos)
    (photos / "a" / "2.bmp").unlink()
    run(photos)
    assert sorted(examples(photos)) == ["0.bmp", "1.bmp", "3.bmp", "4.bmp", "5.bmp"]


def test_what_was_written_before_a_bad_picture_was_removed_is_never_mixed_with_the_rest(photos):
    # One after the other; which file the bad picture belongs to is up to the shuffling.
    damage(photos, "b/5.bmp")
    with pytest.raises(OSError, match=r"5\.bmp"):
        run(photos, num_shards=3, threads=1)
    (photos / "b" / "5.bmp").unlink()
    run(photos, num_shards=3)
    run(photos, num_shards=3, directory="fresh")
    assert examples(photos) == examples(photos, "fresh") and len(examples(photos)) == 5


def test_replacing_a_bad_picture_makes_only_what_is_missing(photos):
    damage(photos, "a/0.bmp")
    with pytest.raises(OSError, match=r"0\.bmp"):
        run(photos, num_shards=6, threads=1)
    there = len([name for name in os.listdir(photos.parent / "data") if name.startswith("train")])
    Image.new("RGB", (9, 8), (200, 0, 0)).save(photos / "a" / "0.bmp")
    lines = run(photos, num_shards=6)
    assert not there or f"{there} of 6 files are there already" in lines
    assert abs(examples(photos)["0.bmp"][2] - 200) < 9 and len(examples(photos)) == 6


def test_a_picture_that_was_changed_in_place_has_its_file_made_again(photos):
    run(photos)
    before = {name: (photos.parent / "data" / name).read_bytes() for name in os.listdir(photos.parent / "data")}
    size = (photos / "b" / "3.bmp").stat().st_size
    Image.new("RGB", (9, 8), (250, 0, 0)).save(photos / "b" / "3.bmp")
    assert (photos / "b" / "3.bmp").stat().st_size == size
    lines = run(photos)
    assert "1 of 2 files that are there are made again: their pictures have changed" in lines
    assert "1 of 2 files are there already" in lines
    assert abs(examples(photos)["3.bmp"][2] - 250) < 9
    after = {name: (photos.parent / "data" / name).read_bytes() for name in os.listdir(photos.parent / "data")}
    assert len([name for name in before if name.startswith("train") and before[name] != after[name]]) == 1
    assert run(photos)[1] == "2 of 2 files are there already"


def test_a_whole_split_of_other_pictures_is_refused_and_stays(photos):
    run(photos)
    (photos / "a" / "0.bmp").unlink()
    with pytest.raises(
        ValueError, match=r"holds other classes or pictures than these \(\.imagenet_train\.plan\).*Give"
    ):
        run(photos)
    assert len(examples(photos)) == 6


def test_another_split_may_be_of_a_mac_and_classes_that_are_new_there_are_named(photos):
    (photos / "a").rename(photos / "caf\xe9")
    run(photos)
    other = shutil.copytree(photos, photos.parent / "other")
    (other / "caf\xe9").rename(other / "cafe\u0301")
    run(other, split="validation")
    assert examples(photos, split="validation") == examples(photos)
    (other / "b").rename(other / "d")
    with pytest.raises(ValueError, match=r"other that are not there: d; the other way round: b\. Give"):
        run(other, split="validation")


def test_an_unfinished_split_of_another_folder_is_refused(photos):
    run(photos)
    (photos.parent / "data" / "train-00001-of-00002").unlink()
    other = shutil.copytree(photos, photos.parent / "other")
    (other / "a" / "0.bmp").unlink()
    with pytest.raises(ValueError, match="holds other classes or pictures"):
        run(other)


def test_another_number_of_files_is_refused(photos):
    run(photos)
    with pytest.raises(ValueError, match=r"2 of 2 files of the train split as --to=tfrecord.*asked for are 3"):
        run(photos, num_shards=3)


def test_files_that_no_plan_knows_are_not_taken_for_this_conversion(photos):
    run(photos)
    (photos.parent / "data" / ".imagenet_train.plan").unlink()
    for num_shards in (2, 3):
        with pytest.raises(ValueError, match=r"not begun by this command \(train-00000-of-00002, \.\.\.\)"):
            run(photos, num_shards=num_shards)


def test_the_same_pictures_in_another_place_are_the_same(photos):
    run(photos)
    moved = photos.rename(photos.parent / "moved")
    assert run(moved)[1] == "2 of 2 files are there already"


def test_classes_of_a_conversion_that_wrote_nothing_do_not_stay(photos):
    damage(photos, *(f"a/{number}.bmp" for number in (0, 2, 4)))
    with pytest.raises(OSError, match="cannot be read"):
        run(photos, num_shards=1)
    shutil.rmtree(photos / "a")
    run(photos, num_shards=1)
    assert {label for label, _, _ in examples(photos).values()} == {1}
    assert imagenet.num_classes_of(str(photos.parent / "data")) == 2


def test_a_further_split_takes_the_numbers_of_the_classes_also_where_it_lacks_some(photos):
    run(photos)
    shutil.copytree(photos / "b", photos.parent / "validation" / "b")
    (photos.parent / "validation" / "a").mkdir()
    lines = run(photos.parent / "validation", split="validation", num_shards=1)
    assert lines[0].endswith("class folder without pictures 1 (a)")
    assert lines[1].startswith("1 of the 2 classes of ") and lines[1].endswith(" have no pictures here")
    assert {(label, text) for label, text, _ in examples(photos, split="validation").values()} == {(2, "b")}


@pytest.mark.parametrize("name", ["a\rb", "a\nb", "back\\slash", "a\u2028b", os.fsdecode(b"caf\xe9"), " "])
def test_odd_names_of_classes_and_files_convert_and_convert_again(photos, name):
    (photos / "a").rename(photos / name)
    (photos / name / "0.bmp").rename(photos / name / f"{name}.bmp")
    run(photos)
    assert run(photos)[1] == "2 of 2 files are there already"
    label = 1 if name < "b" else 2
    assert examples(photos)[f"{name}.bmp"][:2] == (label, name)


def test_a_bad_file_whose_name_is_no_text_is_named_in_print(photos):
    (photos / "a" / "0.bmp").rename(photos / "a" / os.fsdecode(b"caf\xe9.bmp"))
    damage(photos, os.path.join("a", os.fsdecode(b"caf\xe9.bmp")))
    with pytest.raises(OSError, match=r"a/caf\\xe9\.bmp cannot be read"):
        run(photos)


def test_so_many_bad_pictures_are_left_out_as_is_allowed(photos):
    damage(photos, "a/2.bmp", "b/1.bmp")
    (photos / "b" / "lost.jpg").symlink_to("/nowhere/lost.jpg")
    with pytest.raises(OSError, match=r"--skip_bad=N, now 2\."):
        run(photos, directory="stopped", skip_bad=2)
    lines = run(photos, skip_bad=3)
    assert sorted(examples(photos)) == ["0.bmp", "3.bmp", "4.bmp", "5.bmp"]
    named = [line for line in lines if line.startswith("Left out ") and "of at most 3: " in line]
    assert len(named) == 3 and any("a link to /nowhere/lost.jpg, which does not exist" in line for line in named)
    assert "Pictures left out that cannot be read: 3" in lines


def test_a_picture_too_large_for_a_jpeg_is_named_and_can_be_left_out(photos):
    Image.new("RGB", (65501, 1)).save(photos / "a" / "2.bmp")
    with pytest.raises(OSError, match=r"a/2\.bmp cannot .* it is 65501 pixels wide and 1 high, and a JPEG has at most"):
        run(photos, directory="stopped")
    run(photos, skip_bad=1)
    assert sorted(examples(photos)) == ["0.bmp", "1.bmp", "3.bmp", "4.bmp", "5.bmp"]


def test_pictures_that_files_lack_count_when_a_conversion_is_started_again(photos):
    damage(photos, "a/2.bmp", "b/1.bmp")
    run(photos, skip_bad=2)
    assert "Pictures left out that cannot be read: 2" in run(photos)
    (photos.parent / "data" / "train-00000-of-00002").unlink()
    assert "Pictures left out that cannot be read: 2" in run(photos, skip_bad=2)
    assert len(examples(photos)) == 4


def test_a_file_with_nothing_but_bad_pictures_is_refused(photos):
    damage(photos, *(f"{'ab'[number % 2]}/{number}.bmp" for number in range(NUM_PICTURES)))
    with pytest.raises(OSError, match=r"None of the pictures of train-0000.-of-00002 can be read"):
        run(photos, skip_bad=NUM_PICTURES)


def test_progress_says_how_many_pictures_are_done_how_fast_and_how_long_it_will_take(photos, monkeypatch):
    monkeypatch.setattr(writing, "SECONDS_BETWEEN_MESSAGES", -1)
    lines = [line for line in run(photos, num_shards=1) if "images/s" in line]
    assert len(lines) == NUM_PICTURES
    assert lines[0].startswith("1/6 pictures, ") and lines[-1].startswith("6/6 pictures, ")
    assert lines[-1].endswith(" images/s, 0 s left")


def test_a_home_directory_is_expanded(photos, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    convert.convert("~/photos", "tfrecord", "imagenet", "~/data", log=lambda text: None)
    assert (tmp_path / "data" / "train-00000-of-00001").exists()


def test_pictures_of_data_sets_are_stored_upright_and_the_jpegs_of_press_and_camera_alike(tmp_path):
    (tmp_path / "photos" / "a").mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (9, 8)).save(tmp_path / "photos" / "a" / "turned.jpg", exif=exif)
    encoded, width, height = convert.read_jpeg(tmp_path / "photos" / "a" / "turned.jpg")
    assert (width, height) == (8, 9) and tf.io.decode_jpeg(encoded).shape == (9, 8, 3)
    assert convert.read_cifar(tmp_path / "photos" / "a" / "turned.jpg").shape == (32, 32, 3)


def test_a_jpeg_that_only_pillow_can_decode_is_encoded_anew(photos, monkeypatch):
    path = photos / "a" / "kept.jpg"
    Image.new("RGB", (9, 8)).save(path)
    assert convert.read_jpeg(path)[0] == path.read_bytes()

    def refuse(*args, **kwargs):
        raise tf.errors.InvalidArgumentError(None, None, "of a kind that is not supported")

    monkeypatch.setattr(tf.io, "decode_jpeg", refuse)
    assert convert.read_jpeg(path)[0] != path.read_bytes()


def test_a_conversion_that_version_0_1_began_goes_on(photos):
    run(photos)
    _, listed = convert.list_examples(str(photos))
    names = ["train-00000-of-00002", "train-00001-of-00002"]
    parts = convert._shuffled_parts(listed, names)
    pictures = [[path, label, os.path.getsize(path)] for part in parts.values() for path, label in part]
    old = hashlib.sha256(json.dumps([["tfrecord", names], pictures]).encode()).hexdigest()
    (photos.parent / "data" / ".imagenet_train.plan").write_text(old)
    (photos.parent / "data" / "imagenet_classes.txt").write_text("a\nb")
    assert run(photos)[1] == "2 of 2 files are there already"
    (photos.parent / "data" / ".imagenet_train.plan").write_text(old[::-1])
    with pytest.raises(ValueError, match="holds other classes or pictures"):
        run(photos)


def test_pictures_below_the_directory_that_is_written_to_are_no_data(photos):
    assert not plan.holds_data(str(photos.parent))
    run(photos, directory=".")
    assert plan.holds_data(str(photos.parent)) and not plan.holds_data("/nowhere")
    assert run(photos, directory=".")[1] == "2 of 2 files are there already"
