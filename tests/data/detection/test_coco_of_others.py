"""Data in COCO's form as other programs write it, and pictures that only some programs read."""

import json
import os
import shutil
import struct

import numpy as np
import pytest
from PIL import Image

from sact_tf.data import convert
from sact_tf.data.detection import coco, label_maps


def test_annotations_may_lie_among_the_pictures_as_roboflow_exports_them(coco_directory, tmp_path):
    mine = tmp_path / "mine"
    for split in ("train", "valid"):
        shutil.copytree(coco_directory / "train2017", mine / split)
        annotations = mine / split / "_annotations.coco.json"
        shutil.copy(coco_directory / "annotations" / "instances_train2017.json", annotations)
    annotations.write_text(annotations.read_text().replace('{"id": 17, "name": "cat"}', '{"id": 18, "name": "dog"}'))
    index, categories = coco.find_split(str(mine), "val")
    assert index.paths[1] == str(mine / "valid" / "007.jpg") and len(index.boxes) == 3
    assert categories == coco.categories_of(str(mine)) and categories.names == ("car", "cat", "dog", "brush")
    assert coco.find_split(str(mine), "train")[0].paths[0] == str(mine / "train" / "001.jpg")
    assert coco.find_split(str(mine), "test") is None
    os.remove(mine / "valid" / "007.jpg")
    for open_it in (
        lambda path: coco.open_split(path, "train", 30),
        lambda path: convert.convert(path, "tfrecord", "coco", path),
    ):
        with pytest.raises(FileNotFoundError, match=r"the folder of one split: give the one above, \S+/mine\."):
            open_it(str(mine / "train"))
    with pytest.raises(FileNotFoundError, match=r"\.coco\.json: 1 of its 3 pictures have no file: .*valid/007"):
        coco.find_split(str(mine), "valid")


def test_a_category_that_no_box_is_of_is_told(coco_directory):
    lines = []
    coco.find_split(str(coco_directory), "train", lines.append)
    assert lines[1:] == ["1 of 3 classes have no box here: cat"]


def test_categories_of_one_name_are_told(coco_directory):
    lines, path = [], coco_directory / "annotations" / "instances_train2017.json"
    path.write_text(path.read_text().replace('"cat"', '"car"'))
    assert coco.find_split(str(coco_directory), "train", lines.append)[1].names == ("car", "car", "brush")
    assert lines[1] == "Note: several categories are called car, and each of them is a class of its own"


def test_a_category_without_a_name_is_called_by_its_number_as_in_label_maps(coco_directory):
    path = coco_directory / "annotations" / "instances_train2017.json"
    path.write_text(path.read_text().replace('"car"', '""').replace('"cat"', '"c\\ud800t\\r\\n"'))
    found = coco.find_split(str(coco_directory), "train")[1]
    assert found.names == ("class 3", "c?t\r\n", "brush") and coco.categories_of(str(coco_directory)) == found
    assert label_maps.parse(label_maps.text_of(found).encode().decode()) == found


def test_a_background_of_number_0_is_no_class(coco_directory):
    path = coco_directory / "annotations" / "instances_train2017.json"
    content = json.loads(path.read_text())
    content["categories"].insert(0, {"id": 0, "name": "_background_"})
    path.write_text(json.dumps(content))
    assert coco.find_split(str(coco_directory), "train")[1].names == ("car", "cat", "brush")
    assert coco.num_classes_of(str(coco_directory)) == 3
    content["annotations"][0]["category_id"] = 0
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r": 1 box of category 0, '_background_', .* Give it another name"):
        coco.find_split(str(coco_directory), "train")


@pytest.mark.parametrize("order", [("categories", "images", "annotations", "info"), ("info", "images", "categories")])
def test_categories_are_those_of_the_file_and_not_of_something_in_it(coco_directory, order):
    folder = coco_directory / "annotations"
    content = json.loads((folder / "instances_train2017.json").read_text())
    known, content["info"] = coco.categories_of(str(coco_directory)), {"categories": [{"id": 1, "name": "of the tool"}]}
    other = {"annotations": [], **{key: content[key] for key in order}}
    (folder / "instances_other.json").write_text(json.dumps(other))
    assert coco.categories_of(str(coco_directory)) == known
    content["annotations"][-1]["extra"] = content["info"]
    lists = {key: content[key] for key in ("categories", "images", "annotations")}
    (folder / "instances_other.json").write_text(json.dumps(lists))
    assert coco.categories_of(str(coco_directory)) == known


def test_pictures_are_looked_for_where_most_are_so_that_a_lost_one_is_named(coco_directory):
    os.rename(coco_directory / "train2017", coco_directory / "images")
    os.remove(coco_directory / "images" / "001.jpg")
    with pytest.raises(FileNotFoundError, match=r": 1 of its 3 pictures have no file: .*/images/001\.jpg\. Copy it"):
        coco.open_split(str(coco_directory), "train", 30)


def _animated_webp(path):
    frames = [Image.new("RGB", (40, 30), colour) for colour in ((0, 200, 0), (200, 0, 0))]
    frames[0].save(path, "WEBP", save_all=True, append_images=frames[1:], lossless=True)


def _bmp_of_16_colours(path):
    # Colours are blue, green, red and nothing; a row of 40 pixels has 20 bytes.
    palette, rows = bytes([0, 200, 0, 0]) + bytes(60), bytes(20 * 30)
    header = struct.pack("<2sIHHI IiiHHIIiiII", b"BM", 118 + 600, 0, 0, 118, 40, 40, 30, 1, 4, 0, 600, 0, 0, 0, 0)
    path.write_bytes(header + palette + rows)


@pytest.mark.parametrize("save", [_animated_webp, _bmp_of_16_colours])
def test_kinds_of_a_format_that_tensorflow_does_not_decode_are_read_too(coco_directory, save):
    save(coco_directory / "train2017" / "001.jpg")
    pixels = coco.open_split(str(coco_directory), "train", 30).read([0])["image"][0, :30, :40]
    np.testing.assert_allclose(pixels, np.broadcast_to([-1, 200 / 127.5 - 1, -1], (30, 40, 3)), atol=0.05)
