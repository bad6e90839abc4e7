"""Ids of photographs and classes in a file of annotations: those of the same names, and what cannot be told."""

import json

import pytest

from sact_tf.data.detection.coco_ids import ids_of

LABELS = ["cat", "caf\u00e9"]


@pytest.fixture
def look_up(tmp_path):
    """Function from a change of the file's content, photographs and labels to their `Ids` and lines of text."""
    path = tmp_path / "instances_val.json"

    def look_up(change=lambda content: None, photographs=("photos/b.jpg", "photos/x/a.jpg"), labels=LABELS):
        content = {
            "images": [
                {"id": 40, "file_name": "a.jpg", "height": 3, "width": 4},
                {"id": "t", "file_name": "./x/a.jpg", "height": 5, "width": 6},
                {"id": 7, "file_name": "b.jpg", "height": 7, "width": 8},
            ],
            # The last letter and its accent are two characters, as Macs write them.
            "categories": [{"id": 90, "name": "cat"}, {"id": 3, "name": "cafe\u0301"}, {"id": 5, "name": "dog"}],
        }
        changed, lines = change(content), []
        path.write_text(json.dumps(content) if changed is None else changed)
        return ids_of(str(path), photographs, labels, lines.append), lines

    return look_up


def test_photographs_have_the_ids_of_their_file_names_and_classes_those_of_their_names(look_up):
    ids, lines = look_up()
    assert ids.images == {"photos/b.jpg": 7, "photos/x/a.jpg": "t"}
    assert ids.sizes == {"photos/b.jpg": (7, 8), "photos/x/a.jpg": (5, 6)}
    assert ids.categories == [90, 3]
    assert len(lines) == 2 and "no class for 1 of 3 categories in " in lines[0] and lines[0].endswith(": dog")
    assert lines[1].startswith("Note: 1 picture of 3 in ") and "counts the objects on them as missed" in lines[1]


def test_file_names_may_have_folders_as_other_programs_write_them(look_up):
    def write_as_windows(content):
        for image in content["images"]:
            image["file_name"] = "..\\" + image["file_name"].replace("./", "").replace("/", "\\")

    ids, _ = look_up(write_as_windows, ("photos/x/a.jpg", "photos/a.jpg"))
    assert ids.images == {"photos/x/a.jpg": "t", "photos/a.jpg": 40}


def test_categories_of_one_name_are_counted_as_in_training(look_up):
    ids, _ = look_up(
        lambda content: content["categories"].append({"id": 8, "name": "cat"}), labels=["cat", "dog", "cat"]
    )
    assert ids.categories == [8, 5, 90]


@pytest.mark.parametrize(
    ("change", "fields", "message"),
    [
        (lambda content: "[]", {}, r"json lacks a list of images, categories\. .*; found: a list"),
        (lambda content: "{", {}, r"json is no whole JSON file"),
        (lambda content: content["images"][0].update(id=None), {}, r"images\[0\] has no id, which each needs"),
        (lambda content: content["images"][0].update(height="3"), {}, r"height and width of images\[0\] must be ints"),
        (lambda content: content["categories"][0].update(id=3), {}, r"categories share their id: 3\."),
        (
            lambda content: None,
            {"photographs": ["photos/b.jpg", "photos/B.jpg", "photos/xb.jpg"]},
            r"json has no picture for 2 of 3 photographs: photos/B\.jpg, photos/xb\.jpg\. The path of each must "
            r"end in the file_name of one; .* pictures are a\.jpg, \./x/a\.jpg, b\.jpg\.",
        ),
        (
            lambda content: content["images"][1].update(file_name="b.jpg"),
            {"photographs": ["photos/b.jpg"]},
            r"json has several pictures for 1 of 1 photograph: photos/b\.jpg\.",
        ),
        (
            lambda content: None,
            {"photographs": ["y/a.jpg", "z/a.jpg", "b.jpg"]},
            r"one picture for several photographs: y/a\.jpg, z/a\.jpg\. Give an --images_pattern",
        ),
        (
            lambda content: None,
            {"labels": ["cat", "Dog"]},
            r"no category for 1 of the 2 classes: Dog\. Its categories are cat, caf\u00e9, dog\. Give --labels",
        ),
        (
            lambda content: content["categories"].append({"id": 8, "name": "cat"}),
            {},
            r"calls 2 categories cat, and the network 1 of its classes: which is which cannot be told",
        ),
        (lambda content: None, {"labels": None}, r"names of the classes, and those of this network are not known\. "),
    ],
)
def test_what_cannot_be_told_is_refused(look_up, change, fields, message):
    with pytest.raises(ValueError, match=message):
        look_up(change, **fields)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"\S+none\.json cannot be read: No such file.* --annotations"):
        ids_of(str(tmp_path / "none.json"), ["a.jpg"], LABELS, print)
