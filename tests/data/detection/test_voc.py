import os
import shutil

import numpy as np
import pytest
from PIL import Image

from sact_tf.data import convert, damage, pipeline
from sact_tf.data.detection import voc

OBJECT = "<object><name>{}</name><difficult>{}</difficult><bndbox>{}</bndbox><part><name>hand</name></part></object>"
SIDES = "<xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax>"
SIZE = "<size><width>{}</width><height>{}</height><depth>3</depth></size>"


def thing(name, *sides, difficult=0):
    return OBJECT.format(name, difficult, SIDES.format(*sides))


@pytest.fixture
def directory(tmp_path):
    """Four pictures of two splits: the sheep of the validation split is the second class of both."""
    root = tmp_path / "VOCdevkit" / "VOC2012"
    for folder in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    things = {
        "000005": (30, 40, [thing("tram", 10, 5, 30, 20), thing("cat", 0, 1, 4, 6, difficult=1)]),
        "2007_000027": (40, 30, [thing("tram", 3, 4, 13, 24.5)]),
        "empty": (30, 40, []),
        "held_out": (32, 64, [thing("sheep", 1, 1, 9, 9)]),
    }
    for name, (height, width, objects) in things.items():
        Image.new("RGB", (width, height), (90, 90, 90)).save(root / "JPEGImages" / f"{name}.jpg")
        text = f"<annotation>{SIZE.format(width, height)}{''.join(objects)}</annotation>"
        (root / "Annotations" / f"{name}.xml").write_text(text)
    (root / "ImageSets" / "Main" / "train.txt").write_text("000005\n2007_000027  1\n\nempty\n")
    (root / "ImageSets" / "Main" / "val.txt").write_text("held_out\n")
    return root


def test_a_split_comes_with_its_boxes_and_classes(directory):
    lines = []
    source = pipeline.open_source("voc", "train", 60, dataset_dir=str(directory), log=lines.append)
    batch = source.read([0, 1, 2])
    assert batch["original_size"].numpy().tolist() == [[30, 40], [40, 30], [30, 40]]
    np.testing.assert_allclose(batch["boxes"][0], [[10, 20, 40, 60], [2, 0, 12, 8]], atol=1e-4)
    np.testing.assert_allclose(batch["boxes"][1], [[8, 6, 49, 26], [0, 0, 0, 0]], atol=1e-4)
    assert batch["classes"].numpy().tolist() == [[3, 1], [3, 0], [0, 0]]
    assert batch["crowd"].numpy().tolist() == [[False, True], [False, False], [False, False]]
    np.testing.assert_allclose(batch["area"], [[300, 20], [205, 0], [0, 0]])
    assert batch["image_id"].numpy()[0] == 5 and len(set(batch["image_id"].numpy())) == 3
    assert lines == [f"Reading {directory}/ImageSets/Main/train.txt: 3 pictures, 3 classes: cat, sheep, tram"]


@pytest.mark.parametrize("word, difficult", [("True", True), ("yes", True), (" 2 ", True), ("No", False), ("", False)])
def test_difficult_may_be_a_word_or_another_number(directory, word, difficult):
    path = directory / "Annotations" / "000005.xml"
    path.write_text(path.read_text().replace("<difficult>1<", f"<difficult>{word}<"))
    assert voc.read_split(str(directory), "train")[0].crowd.tolist() == [False, difficult, False]


def test_names_of_elements_may_have_a_namespace(directory):
    path = directory / "Annotations" / "000005.xml"
    expected = voc.read_split(str(directory), "train")[0]
    path.write_text(path.read_text().replace("<annotation>", '<annotation xmlns="https://example.org/voc">'))
    found = voc.read_split(str(directory), "train")[0]
    assert found.boxes.tolist() == expected.boxes.tolist() and found.classes.tolist() == expected.classes.tolist()


def test_names_are_the_same_however_accents_are_written_and_others_in_capitals_are_told(directory):
    path = directory / "Annotations" / "000005.xml"
    text = path.read_text()
    lines = []
    for name, other in (("tête", "Tete"), ("te\u0302te", "TRAM")):
        path.write_text(text.replace("tram", name).replace("cat", other))
        (directory / "Annotations" / "held_out.xml").write_text(text.replace("tram", "tête").replace("cat", "tram"))
        categories = voc.read_split(str(directory), "train", lines.append)[1]
        assert categories.names == tuple(sorted({"tram", "tête", other}))
    assert [line for line in lines if "capital" in line] == [
        "Note: TRAM, tram differ in capital letters alone, and each is a class of its own"
    ]


def test_classes_are_those_of_all_splits(directory):
    source = voc.open_split(str(directory), "val", 60)
    assert source.categories.names == ("cat", "sheep", "tram") and source.categories.numbers == (1, 2, 3)
    assert source.read([0])["classes"].numpy().tolist() == [[2]]
    assert pipeline.num_classes_of("voc", str(directory)) == 3


def test_a_folder_above_may_be_given(directory):
    for place in (directory.parent, directory.parent.parent):
        assert voc.open_split(str(place), "train", 60).num_examples == 3
        assert voc.num_classes_of(str(place)) == 3
    assert voc.num_classes_of(str(directory / "no")) is None


def test_boxes_without_area_are_named_and_left_out(directory):
    path, lines = directory / "Annotations" / "empty.xml", []
    objects = [thing("cat", 3, 4, 3, 9), thing("cat", 35, 20, 50, 60)]
    path.write_text(f"<annotation>{SIZE.format(40, 30)}{''.join(objects)}</annotation>")
    source = voc.open_split(str(directory), "train", 30, lines.append)
    assert lines[1].startswith("1 of 5 boxes leave their pictures and are clipped: empty. ")
    assert lines[2] == "1 of 5 boxes are left out, they have no area in their pictures: empty"
    batch = source.read([2])
    np.testing.assert_allclose(batch["boxes"][0], [[20, 35, 30, 40], [0, 0, 0, 0]], atol=1e-4)
    assert batch["area"][0, 0] == 50


def test_the_size_is_the_picture_s_where_the_annotation_has_none(directory):
    path = directory / "Annotations" / "000005.xml"
    path.write_text(path.read_text().replace(SIZE.format(40, 30), "<size><width>0</width></size>"))
    assert voc.open_split(str(directory), "train", 30).read([0])["original_size"].numpy().tolist() == [[30, 40]]
    text = path.read_text()
    for width in (41, 41.0, 10**20):
        path.write_text(text.replace("<width>0</width>", f"<width>{width}</width><height>30</height>"))
        reason = damage.explain_damage(voc.open_split(str(directory), "train", 30), 0)
        told = f"picture {min(int(width), 2**31 - 1)} wide"
        assert f"000005.jpg: it is 40 pixels wide and 30 high, and its boxes are those of a {told}" in reason


def test_pictures_may_be_of_other_formats(directory):
    os.remove(directory / "JPEGImages" / "empty.jpg")
    Image.new("RGB", (40, 30), (255, 0, 0)).save(directory / "JPEGImages" / "empty.png")
    image = voc.open_split(str(directory), "train", 30).read([2])["image"]
    np.testing.assert_array_equal(image[0, 29, 39], [1, -1, -1])


def test_of_two_pictures_of_one_name_that_is_read_which_the_annotation_names(directory):
    Image.new("L", (40, 30)).save(directory / "JPEGImages" / "000005.png")
    with pytest.raises(ValueError, match=r"of 000005 may be 000005\.jpg, 000005\.png, .* Received: filename=''"):
        voc.read_split(str(directory), "train")
    path = directory / "Annotations" / "000005.xml"
    text = path.read_text()
    for given in ("000005.jpg", "C:\\pictures\\000005.png"):
        path.write_text(text.replace("<size>", f"<filename>{given}</filename><size>"))
        assert voc.read_split(str(directory), "train")[0].paths[0].endswith(given[-10:])


def test_names_may_have_spaces_and_a_mark_of_a_class_and_the_list_that_of_windows(directory):
    for folder, ending in (("Annotations", "xml"), ("JPEGImages", "jpg")):
        os.rename(directory / folder / f"empty.{ending}", directory / folder / f"my photo 1.{ending}")
    (directory / "ImageSets/Main/train.txt").write_text("\ufeff000005 -1\r\nmy photo 1\r\n", encoding="utf-8")
    index, _ = voc.read_split(str(directory), "train")
    assert index.source_ids == ["000005", "my photo 1"]


def test_a_list_may_name_pictures_with_their_ending_and_annotations_may_too(directory):
    os.rename(directory / "Annotations" / "empty.xml", directory / "Annotations" / "empty.jpg.xml")
    (directory / "ImageSets/Main/train.txt").write_text("000005.jpg\n2007_000027.JPG 1\nempty.jpg\n")
    index, _ = voc.read_split(str(directory), "train")
    assert index.source_ids == ["000005", "2007_000027", "empty.jpg"]
    assert [os.path.basename(path) for path in index.paths] == ["000005.jpg", "2007_000027.jpg", "empty.jpg"]
    (directory / "ImageSets/Main/train.txt").write_text("000005.jpg\n000005\n")
    with pytest.raises(ValueError, match=r"lists pictures twice: 000005\."):
        voc.read_split(str(directory), "train")


def test_what_other_programs_leave_beside_pictures_and_annotations_is_passed_over(directory):
    for name in ("Annotations/._000005.xml", "JPEGImages/000005.txt", "JPEGImages/000005.xml", "JPEGImages/000005.a"):
        (directory / name).write_bytes(b"\0\5\x16\7")
    (directory / "Annotations" / "unused.xml").write_text(f"<a>{thing('', 1, 2, 3, 4)}</a>")
    index, categories = voc.read_split(str(directory), "train")
    assert index.paths[0] == str(directory / "JPEGImages" / "000005.jpg")
    assert categories.names == ("cat", "sheep", "tram")


MISTAKES = {
    "no XML": ("Annotations/empty.xml", "<annotation>", r"empty\.xml is no whole XML file: "),
    "encoding": (
        "Annotations/empty.xml",
        '<?xml version="1.0" encoding="x-9"?><a/>',
        "no whole XML file: unknown encoding",
    ),
    "no name": ("Annotations/empty.xml", "<a><object/></a>", r"empty\.xml: object 0 must have a name, and a bndbox"),
    "text": ("Annotations/empty.xml", f"<a>{thing('cat', 'x', 1, 2, 3)}</a>", "'1', 'x', '3', '2'"),
    "difficult": (
        "Annotations/empty.xml",
        f"<a>{thing('cat', 1, 1, 2, 3, difficult='maybe')}</a>",
        r"empty\.xml: difficult of object 0 must be 0 or 1, a number, or be left out\. Received: 'maybe'",
    ),
    "NaN": ("Annotations/empty.xml", f"<a>{thing('cat', 'nan', 1, 2, 3)}</a>", "no finite numbers, .* empty. A box"),
    "twice": ("ImageSets/Main/train.txt", "empty\nempty\n", r"train\.txt lists pictures twice: empty\."),
    "folders": (
        "ImageSets/Main/train.txt",
        "./000005\nJPEGImages/empty.jpg\nc:\\JPEGImages\\2007_000027.jpg\n",
        r"train\.txt names 3 pictures with folders: \./000005, JPEGImages/empty\.jpg, .*Give the name alone",
    ),
    "no picture": ("ImageSets/Main/train.txt", "\n", r"train\.txt lists no picture"),
    "no box": ("ImageSets/Main/train.txt", "empty\n", "has 1 picture and no box at all"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_annotations_is_said_in_a_paragraph(directory, mistake):
    name, text, message = MISTAKES[mistake]
    (directory / name).write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        voc.open_split(str(directory), "train", 600)
    assert str(directory) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["Annotations/empty.xml", "JPEGImages/empty.jpg"])
def test_what_a_list_names_and_is_not_there_is_named(directory, name):
    os.remove(directory / name)
    with pytest.raises((FileNotFoundError), match=rf"train\.txt: 1 of its 3 \w+ have no file: .*{name}\. Copy"):
        voc.open_split(str(directory), "train", 600)


def test_a_split_that_is_not_there_says_what_was_looked_for(directory):
    with pytest.raises(FileNotFoundError) as error:
        voc.open_split(str(directory), "test", 600)
    for text in (
        f"{directory}/ImageSets/Main/test.txt",
        "test-00000-of-NNNNN",
        "Found: Annotations, ImageSets, JPEG",
        ": train, val;",
    ):
        assert text in str(error.value)


def test_annotations_may_lie_among_the_pictures_as_roboflow_exports_them(directory, tmp_path):
    mine = tmp_path / "mine"
    for split, name in (("train", "000005"), ("train", "empty"), ("valid", "held_out")):
        (mine / split).mkdir(parents=True, exist_ok=True)
        for path in (directory / "Annotations" / f"{name}.xml", directory / "JPEGImages" / f"{name}.jpg"):
            shutil.copy(path, mine / split / path.name)
    Image.new("RGB", (40, 30)).save(mine / "train" / "unmarked.PNG")
    lines = []
    index, categories = voc.find_split(str(mine), "train", lines.append)
    assert index.paths == [str(mine / "train" / f"{name}.jpg") for name in ("000005", "empty")]
    assert categories.names == ("cat", "sheep", "tram") and voc.categories_of(str(mine)) == categories
    assert lines[0] == "Left out: 1 picture without an XML file: unmarked.PNG"
    assert voc.open_split(str(mine), "val", 60).read([0])["classes"].numpy().tolist() == [[2]]
    with pytest.raises(FileNotFoundError, match="Splits that are there: train, valid;"):
        voc.open_split(str(mine), "test", 60)
    for open_it in (
        lambda path: voc.open_split(path, "train", 60),
        lambda path: convert.convert(path, "tfrecord", "voc", path),
    ):
        with pytest.raises(FileNotFoundError, match=r"in a folder of their split.* give the folder above that one"):
            open_it(str(mine / "train"))
    os.remove(mine / "train" / "empty.jpg")
    with pytest.raises(FileNotFoundError, match=r"train: 1 of its 2 pictures have no file: \S*train/empty\.jpg"):
        voc.open_split(str(mine), "train", 60)
