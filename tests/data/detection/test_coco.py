import json
import os

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from sact_tf.data import damage, pipeline
from sact_tf.data.detection import Categories, annotations, coco, coco_json, record_forms


@pytest.fixture
def write(coco_directory):
    """Function that changes the annotations by a function of their content, writes and opens them."""
    path = coco_directory / "annotations" / "instances_train2017.json"

    def write(change=lambda content: None, log=None):
        content = json.loads(path.read_text())
        changed = change(content)
        path.write_text(json.dumps(content) if changed is None else changed)
        return pipeline.open_source("coco", "train", 30, dataset_dir=str(coco_directory), log=log)

    return write


def test_a_split_comes_with_its_boxes_in_pixels_of_the_network_s_input(write):
    source = write()
    batch = source.read([0, 1, 2])
    # 32 x 64 would become 30 x 60, but the longer side may have 30 * 1024 / 600 = 51.2 pixels: 25.5 x 51.
    assert batch["image_size"].numpy().tolist() == [[30, 40], [40, 30], [26, 51]]
    assert batch["original_size"].numpy().tolist() == [[30, 40], [40, 30], [32, 64]]
    assert batch["image"].shape == (3, 64, 64, 3)
    assert batch["boxes"].numpy().round(3).tolist() == [
        [[5, 10, 20, 30], [0, 0, 0, 0]],
        [[4, 3, 24, 13], [0, 0, 40, 30]],
        [[0, 0, 0, 0], [0, 0, 0, 0]],
    ]
    assert batch["classes"].numpy().tolist() == [[1, 0], [3, 1], [0, 0]]
    assert batch["crowd"].numpy().tolist() == [[False, False], [False, True], [False, False]]
    np.testing.assert_allclose(batch["area"], [[50.5, 0], [50.5, 50.5], [0, 0]])
    assert batch["image_id"].numpy().tolist() == [1, 7, 20]


def test_pixels_are_those_of_the_file_padded_with_zeros(write, coco_directory):
    batch = write().read([0])
    stored = np.asarray(Image.open(coco_directory / "train2017" / "001.jpg"))
    np.testing.assert_allclose(batch["image"][0, :30, :40], stored / 127.5 - 1, atol=0.06)
    assert not batch["image"][0, 30:].numpy().any() and not batch["image"][0, :, 40:].numpy().any()


def test_training_mirrors_every_second_picture_with_its_boxes(write):
    source = write()
    record, seen = source.fetch(1), []
    plain = source.decode(record, None)
    for position in range(12):
        example = source.decode(record, tf.constant([3, position], tf.int64))
        seen.append(bool(example["boxes"][0, 1] == plain["boxes"][0, 1]))
        expected = plain["image"] if seen[-1] else plain["image"][:, ::-1]
        np.testing.assert_array_equal(example["image"], expected)
        boxes = [[4, 3, 24, 13], [0, 0, 40, 30]] if seen[-1] else [[4, 17, 24, 27], [0, 0, 40, 30]]
        np.testing.assert_allclose(example["boxes"], boxes, atol=1e-4)
    assert 2 < sum(seen) < 10


@pytest.mark.slow
def test_pictures_of_unequal_sizes_go_through_the_pipeline(write):
    source = write()
    (batch,) = pipeline.evaluation_batches(source, 3)
    for name, value in source.read([0, 1, 2]).items():
        np.testing.assert_allclose(batch[name], value, atol=1e-6)
    from_start = list(pipeline.training_batches(source, 4, 2, 0).take(3))
    (last,) = pipeline.training_batches(source, 4, 2, 2).take(1)
    for name, value in from_start[2].items():
        np.testing.assert_array_equal(last[name], value)


def test_categories_keep_their_numbers_and_names_and_are_the_same_in_every_split(write, coco_directory):
    assert write().categories == Categories((3, 17, 90), ("car", "cat", "brush"))
    assert coco.num_classes_of(str(coco_directory)) == 3
    path = coco_directory / "annotations" / "instances_val2017.json"
    path.write_text(json.dumps({"categories": [{"id": 5, "name": "dog"}], "images": [], "annotations": []}))
    source = write()
    assert source.categories == Categories((3, 5, 17, 90), ("car", "dog", "cat", "brush"))
    assert source.read([1])["classes"].numpy().tolist() == [[4, 1]]
    assert coco.num_classes_of(str(coco_directory)) == 4 and pipeline.num_classes_of("coco", str(coco_directory)) == 4
    assert coco.num_classes_of(str(coco_directory / "no")) is None
    path.write_text(json.dumps({"categories": [{"id": 17, "name": "dog"}], "images": [], "annotations": []}))
    with pytest.raises(ValueError, match=r"Category 17 is 'cat' in .*train2017.json and 'dog' in .*val2017.json"):
        write()
    path.write_text(json.dumps({"categories": [{"id": 5, "name": "cat"}], "images": [], "annotations": []}))
    with pytest.raises(
        ValueError, match=r"'cat' is category 17 in .*train2017.json and 5 in .*val2017.json. Splits of"
    ):
        write()


def test_numbers_of_categories_may_be_large(write):
    def change(content):
        content["categories"][0]["id"] = content["annotations"][0]["category_id"] = 10**13

    source = write(change)
    assert source.categories.numbers == (3, 17, 10**13)
    assert source.read([0, 1])["classes"].numpy().tolist() == [[1, 0], [3, 1]]


def test_boxes_that_leave_their_picture_are_clipped_and_those_without_area_named_and_left_out(write):
    def change(content):
        content["annotations"][1].update(bbox=[30.5, -5, 20, 15], area=None)
        content["annotations"] += [
            {"id": 5, "image_id": 20, "category_id": 3, "bbox": [3, 4, 0, 5]},
            {"id": 6, "image_id": 20, "category_id": 3, "bbox": [70, 4, 5, 5]},
            {"id": 7, "image_id": 20, "category_id": 3, "bbox": [2, 4, 6, 8]},
        ]

    lines = []
    batch = write(change, lines.append).read([0, 2])
    assert batch["boxes"][0, 0].numpy().tolist() == [0, 30.5, 10, 40]
    assert batch["classes"].numpy().tolist() == [[1, 0], [1, 0]]
    # Without one of its own, the area is that of the box in the picture.
    assert batch["area"][:, 0].numpy().tolist() == [95, 48]
    assert lines[-1] == "2 of 6 boxes are left out, they have no area in their pictures: 20, 20"
    assert lines[-2].startswith(
        "1 of 6 boxes leave their pictures and are clipped: 1. A box of COCO is left, top, width"
    )


def remove(name):
    return lambda content: content.pop(name) and None


def change_box(**changes):
    return lambda content: content["annotations"][0].update(changes)


def repeat(name):
    return lambda content: content[name].append(content[name][0])


MISTAKES = {
    "no JSON": (
        lambda content: '{"images": [',
        r"json is no whole JSON file: .* give others\.$",
    ),
    "a list": (lambda content: "[1]", r"lacks a list of images, annotations, categories.*found: a list"),
    "no categories": (remove("categories"), r"lacks a list of categories\. .*found: images, annotations\."),
    "picture twice": (repeat("images"), r"images share their id: 1\. Each must have its own"),
    "box twice": (repeat("annotations"), "annotations share their id: 100"),
    "category twice": (repeat("categories"), "categories share their id: 90"),
    "no picture": (change_box(image_id=8), r"boxes are of pictures that are not in the file, with the image_id 8\."),
    "no category": (change_box(category_id=4), "are of categories that are not in the file, with the category_id 4"),
    "text for a number": (change_box(image_id="7"), r'image_id "7"\. Each must be .* written as there, a number or a'),
    "a list of categories": (change_box(category_id=[3]), r'with the category_id "\[3\]"\.'),
    "a list as id": (
        lambda content: content["images"][1].update(id=[7]),
        r"id of images\[1\] must be a text or a number",
    ),
    "no file name": (lambda content: content["images"][1].update(file_name=7), r"file_name of images\[1\] must be a t"),
    "text as crowd": (change_box(iscrowd="0"), r"iscrowd of annotations\[0\] must be 0 or 1, a number. Received: '0'"),
    "three numbers": (change_box(bbox=[1, 2, 3]), r"annotations\[0\] must be four numbers, left, .*: \[1, 2, 3\]"),
    "text": (change_box(bbox=["1", 2, 3, 4]), "must be four numbers"),
    "NaN": (change_box(bbox=[1, float("nan"), 3, 4]), "1 box with sides that are no finite numbers, .* 7. A box is"),
    "no bbox": (lambda content: content["annotations"][1].pop("bbox") and None, r"annotations\[1\] has no bbox"),
    "no height": (lambda content: content["images"][2].pop("height") and None, r"images\[2\] has no height, which"),
    "text as size": (
        lambda content: content["images"][2].update(width="64"),
        r"images\[2\] must be ints.*32, '64'",
    ),
    "size of 20 digits": (lambda content: content["images"][2].update(width=10**20), r"from 1 to 2147483647.*10000"),
    "size of 400 digits": (lambda content: content["images"][2].update(width=10**400), r"must be ints.*32, inf"),
    "side of 400 digits": (change_box(bbox=[1, 10**400, 3, 4]), "1 box with sides that are no finite numbers"),
    "number of 20 digits": (
        lambda content: content["categories"][2].update(id=10**20),
        r"from 0 to 2\^63 - 1.*: 10000",
    ),
    "text as number": (lambda content: content["categories"][2].update(id="3"), r"int, from 0 .* Received: '3'\.$"),
    "no box": (lambda content: content.update(annotations=[]), "has 3 pictures and no box at all.*Give a split whose"),
    "nothing": (lambda content: content.update(annotations=[], images=[]), "has 0 pictures and no box at all"),
    "area": (
        change_box(area=[3]),
        r"area of annotations\[0\] must be a number, in square pixels, .* Received: '\[3\]'",
    ),
    "area without a number": (
        change_box(area=float("nan")),
        r"area of annotations\[0\] must be a number, .* Received: 'nan'",
    ),
    "area of 300 digits": (change_box(area=10**299), r"area of annotations\[0\] must be a number, .* Received: '1000"),
    "normalised": (
        lambda content: [each.update(bbox=[0.1, 0.2, 0.3, 0.8]) for each in content["annotations"]] and None,
        "all 3 boxes lie within the first pixel of their pictures, so they are shares",
    ),
    "crowds alone": (
        lambda content: [box.update(iscrowd=1) for box in content["annotations"]] and None,
        "all 3 boxes are marked as crowds, or as difficult",
    ),
    "shares": (
        lambda content: [box.update(bbox=[90, 90, 0.1, 0.1]) for box in content["annotations"]] and None,
        "none of the 3 boxes has an area in its picture. Boxes are in pixels",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_annotations_is_said_in_a_paragraph(write, mistake):
    change, message = MISTAKES[mistake]
    with pytest.raises(ValueError, match=message) as error:
        write(change)
    assert "instances_train2017.json" in str(error.value) and "\n" not in str(error.value)


def test_pictures_without_a_file_are_named(write, coco_directory):
    os.remove(coco_directory / "train2017" / "007.jpg")
    with pytest.raises(FileNotFoundError, match=r"1 of its 3 pictures have no file: .*train2017/007\.jpg\. Copy it"):
        write()


def test_pictures_may_lie_in_the_folder_of_all_images(write, coco_directory):
    (coco_directory / "train2017").rename(coco_directory / "images")
    assert write().locate(1) == str(coco_directory / "images" / "007.jpg")


def test_names_of_pictures_may_be_those_of_windows(write, coco_directory):
    def change(content):
        for image in content["images"]:
            image["file_name"] = f"train2017\\{image['file_name']}"

    assert write(change).locate(1) == str(coco_directory / "train2017" / "007.jpg")


def test_a_directory_of_another_form_says_what_was_looked_for(tmp_path):
    (tmp_path / "labels.txt").write_text("")
    with pytest.raises(FileNotFoundError) as error:
        coco.open_split(str(tmp_path), "val", 600)
    for text in ("instances_valNNNN.json", "val-00000-of-NNNNN", "Found: labels.txt"):
        assert text in str(error.value)


def test_the_folders_of_the_other_form_are_recognized(coco_directory, tmp_path):
    (tmp_path / "voc" / "Annotations").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"If these are the folders of Pascal VOC, give --dataset=voc\.$"):
        pipeline.open_source("coco", "train", 30, dataset_dir=str(tmp_path / "voc"))
    with pytest.raises(FileNotFoundError, match=r"If these are the folders of COCO, give --dataset=coco\.$"):
        pipeline.open_source("voc", "train", 30, dataset_dir=str(coco_directory))


def test_outlines_are_not_kept(write):
    lines = []
    write(lambda content: content["annotations"][0].update(segmentation=[[1, 2, 3]]), lines.append)
    path = lines[0].split()[1].rstrip(":")
    assert "segmentation" not in coco_json.read_json(path)["annotations"][0]


def test_of_several_years_the_latest_is_read_unless_one_is_named(coco_directory, write):
    folder = coco_directory / "annotations"
    (folder / "instances_train2014.json").write_text((folder / "instances_train2017.json").read_text())
    lines = []
    write(log=lines.append)
    assert lines[0] == f"Reading {folder}/instances_train2017.json: 3 pictures, 3 boxes, 3 classes"
    (coco_directory / "train2017").rename(coco_directory / "train2014")
    coco.open_split(str(coco_directory), "train2014", 30, lines.append)
    assert "instances_train2014.json" in lines[-2]


def test_a_picture_that_cannot_be_read_is_damage_with_its_name(write, coco_directory):
    source = write()
    (coco_directory / "train2017" / "001.jpg").write_bytes(b"<html>")
    assert damage.explain_damage(source, 0).startswith(f"{coco_directory}/train2017/001.jpg: it is no picture in a")
    Image.new("RGB", (41, 30)).save(coco_directory / "train2017" / "007.jpg")
    assert damage.explain_damage(source, 1) == (
        f"{coco_directory}/train2017/007.jpg: it is 41 pixels wide and 30 high, and its boxes are those of a picture "
        "30 wide and 40 high."
    )
    os.remove(coco_directory / "train2017" / "020.jpg")
    assert "020.jpg: it cannot be read: No such file" in damage.explain_damage(source, 2)


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGBA"])
def test_pictures_of_other_colours_are_read(write, coco_directory, mode):
    ending = "PNG" if mode == "RGBA" else "JPEG"
    Image.new("RGB", (40, 30), (200, 200, 200)).convert(mode).save(coco_directory / "train2017" / "001.jpg", ending)
    image = write().read([0])["image"]
    np.testing.assert_allclose(image[0, :30, :40], 200 / 127.5 - 1, atol=0.02)


@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_a_picture_is_turned_only_if_its_boxes_are_those_of_the_turned_one(write, coco_directory, form):
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.zeros((40, 30, 3), np.uint8)
    pixels[:8] = 255
    path = coco_directory / "train2017" / "007.jpg"
    Image.fromarray(pixels).save(path, form, exif=exif, quality=95)
    # As stored: white above.
    image = write().read([1])["image"][0].numpy()
    assert image[2, 20, 0] > 0.9 and image[30, 27, 0] < -0.9
    # A quarter turn to the right: white on the right.
    image = write(lambda content: content["images"][1].update(height=30, width=40)).read([1])["image"][0].numpy()
    assert image[2, 20, 0] < -0.9 and image[20, 37, 0] > 0.9


def test_a_picture_that_tensorflow_cannot_decode_is_read_all_the_same(write, coco_directory):
    Image.new("RGB", (40, 30), (0, 200, 0)).save(coco_directory / "train2017" / "001.jpg", "TIFF")
    np.testing.assert_allclose(write().read([0])["image"][0, :30, :40, 1], 200 / 127.5 - 1, atol=0.05)


def test_grey_of_16_bits_stays_grey(write, coco_directory):
    Image.fromarray(np.full((30, 40), 100 * 257, np.uint16)).save(coco_directory / "train2017" / "001.jpg", "TIFF")
    np.testing.assert_allclose(write().read([0])["image"][0, :30, :40], 100 / 127.5 - 1, atol=0.01)


@pytest.mark.parametrize("text, number", [("000005", 5), ("7", 7), ("2007_000027", None), ("", None)])
def test_a_name_that_is_no_number_gets_one(text, number):
    found = int(record_forms.image_id(np.array(text)))
    assert found == number if number is not None else found > 2**20


def test_ten_thousand_pictures_are_indexed_without_being_opened(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "0.jpg").touch()
    images = [{"id": number, "file_name": "0.jpg", "height": 480, "width": 640} for number in range(10_000)]
    boxes = [{"image_id": place % 9_999, "category_id": 1, "bbox": [1, 2, 3, 4]} for place in range(30_000)]
    (tmp_path / "annotations").mkdir()
    content = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "thing"}]}
    (tmp_path / "annotations" / "instances_train.json").write_text(json.dumps(content))
    index, categories = coco.read_split(str(tmp_path), str(tmp_path / "annotations" / "instances_train.json"))
    assert isinstance(index, annotations.Annotations) and len(categories) == 1
    assert (len(index.paths), len(index.boxes), index.max_boxes) == (10_000, 30_000, 4)
    assert index.of(9_999) == slice(30_000, 30_000) and index.of(1) == slice(4, 8)
