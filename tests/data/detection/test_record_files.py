import io
import os
import re
import shutil

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf

from sact_tf.data import damage, pipeline, records
from sact_tf.data.detection import Categories, coco, label_maps, record_files, record_forms, voc

JPEG = tf.io.encode_jpeg(np.full((30, 40, 3), 90, np.uint8)).numpy()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SACT_TF_CACHE", str(tmp_path / "cache"))


def record(boxes=(), labels=(), crowd=None, area=None, source_id="7", encoded=JPEG, difficult=None, texts=()):
    """A record as the scripts of the TF Object Detection API write it: what is None is not in it."""
    features = {"image/encoded": [encoded], "image/source_id": [source_id.encode()], "image/object/class/label": labels}
    features["image/object/class/text"] = [text.encode() for text in texts]
    for number, side in enumerate(record_forms.SIDES):
        features[side] = [float(box[number]) for box in boxes if number < len(box)]
    for name, values in (("is_crowd", crowd), ("area", area), ("difficult", difficult)):
        if values is not None:
            features[f"image/object/{name}"] = values
    kinds = {bytes: "bytes_list", float: "float_list", int: "int64_list"}
    example = tf.train.Example()
    for name, values in features.items():
        if len(values):
            getattr(example.features.feature[name], kinds[type(values[0])]).value.extend(values)
    return example.SerializeToString()


@pytest.fixture
def write(tmp_path):
    """Function that writes records as a file, with a label map or without."""

    def write(contents, labels=None, name="train-00000-of-00001"):
        (tmp_path / name).write_bytes(b"".join(records.frame(content) for content in contents))
        if labels is not None:
            (tmp_path / "label_map.pbtxt").write_text(labels)
        return str(tmp_path)

    return write


BOXES = [(0.1, 0.25, 0.5, 0.75), (0, 0, 1, 1)]
WHOLE = [
    record(BOXES, [3, 90], crowd=[0, 1], area=[50.5, 60.0]),
    record([(0.5, 0.5, 1.5, 2.0)], [90], source_id="eight"),
    record(),
]
LABELS = 'item {\n  name: \'brush\'\n  id: 90\n}\nitem {\n  id: 3\n  name: "/m/car"\n  display_name: "car"\n}\n'


def test_records_of_the_tf_object_detection_api_are_read(write):
    lines = []
    source = pipeline.open_source("coco", "train", 60, dataset_dir=write(WHOLE, LABELS), log=lines.append)
    assert source.categories == Categories((3, 90), ("car", "brush"))
    batch = source.read([0, 1, 2])
    np.testing.assert_allclose(batch["boxes"][0], [[6, 20, 30, 60], [0, 0, 60, 80]], atol=1e-4)
    # What leaves the picture is cut off.
    np.testing.assert_allclose(batch["boxes"][1:], [[[30, 40, 60, 80], [0, 0, 0, 0]], np.zeros((2, 4))], atol=1e-4)
    assert batch["classes"].numpy().tolist() == [[1, 2], [2, 0], [0, 0]]
    assert batch["crowd"].numpy().tolist() == [[False, True], [False, False], [False, False]]
    # Half of the picture, 15 x 20 pixels, where the record says nothing.
    np.testing.assert_allclose(batch["area"], [[50.5, 60], [300, 0], [0, 0]], rtol=1e-5)
    assert batch["image_id"][0] == 7 and batch["image_id"][1] > 2**20
    assert lines == ["Counting the boxes of 3 records, which reads them once"]


def test_an_area_that_is_no_number_is_that_of_the_box(write):
    areas = [float("nan"), float("inf")]
    source = coco.open_split(write([record(BOXES, [3, 90], area=areas)], LABELS), "train", 60)
    np.testing.assert_allclose(source.read([0])["area"], [[240, 1200]], rtol=1e-5)


def test_what_records_of_pascal_voc_call_difficult_counts_as_a_crowd(write):
    contents = [record(BOXES, [3, 90], difficult=[1, 0]), record(BOXES, [3, 90], crowd=[0, 1], difficult=[1, 0])]
    source = voc.open_split(write(contents, LABELS, "pascal_train.record"), "train", 60)
    assert source.read([0, 1])["crowd"].numpy().tolist() == [[True, False], [False, True]]


@pytest.mark.parametrize("kind", ["jpeg", "png", "gif", "bmp", "webp"])
def test_records_that_are_written_say_of_which_format_their_picture_is(kind):
    file = io.BytesIO()
    PIL.Image.new("RGB", (4, 3)).save(file, kind)
    nothing = np.zeros((0, 4))
    written = record_forms.make_record(file.getvalue(), "7", (3, 4), nothing, [], [], [], [])
    features = tf.train.Example.FromString(written).features.feature
    assert features["image/format"].bytes_list.value == [kind.encode()]


def test_boxes_are_counted_once(write):
    directory, lines = write(WHOLE, LABELS), []
    for _ in range(2):
        coco.open_split(directory, "train", 60, lines.append)
    assert len(lines) == 1
    write([*WHOLE, record([*BOXES, (0, 0, 0.5, 0.5)], [3, 3, 3])])
    source = coco.open_split(directory, "train", 60, lines.append)
    assert len(lines) == 2 and source.read([0])["boxes"].shape == (1, 3, 4)


def test_without_a_label_map_labels_are_the_classes(write):
    lines = []
    source = voc.open_split(write(WHOLE, name="pascal_train.record"), "train", 60, lines.append)
    assert source.read([0])["classes"].numpy().tolist() == [[3, 90]]
    assert len(source.categories) == 90 and source.categories.names[2] == "class 3"
    assert "has no label map (label_map.pbtxt)" in lines[-1]


def test_ids_of_one_name_are_told(write):
    lines, directory = [], write(WHOLE, LABELS.replace("brush", "car"))
    source = coco.open_split(directory, "train", 60, lines.append)
    assert source.categories == Categories((3, 90), ("car", "car"))
    assert lines[-1] == "In the label map several ids have one name, and each is a class of its own: car"


def test_boxes_without_area_are_counted_and_left_out(write):
    lines = []
    flat = record([BOXES[0], (0.5, 0.2, 0.5, 0.4), (0.1, 1.2, 0.3, 1.4)], [3, 3, 90])
    source = coco.open_split(write([flat, WHOLE[2]], LABELS), "train", 60, lines.append)
    assert lines[-1] == "Left out: 2 boxes without an area in the picture"
    assert source.read([0])["classes"].numpy().tolist() == [[1]]


def test_texts_that_are_not_their_labels_names_are_told(write):
    lines = []
    # The API's own trainer goes by the `name` of an item, and people by its `display_name`.
    right = [record(BOXES, [3, 90], texts=[text, "brush"]) for text in ("car", "/m/car")]
    coco.open_split(write(right, LABELS), "train", 60, lines.append)
    assert len(lines) == 1 and "another" not in lines.pop()
    contents = [right[0], record(BOXES, [3, 90], texts=["brush", "fork"])]
    source = coco.open_split(write(contents, LABELS), "train", 60, lines.append)
    assert source.read([1])["classes"].numpy().tolist() == [[1, 2]]
    assert lines[-1].startswith("Note: 2 boxes with another image/object/class/text than the name of the class/label")
    assert "the first 'brush' for 3, 'car'" in lines[-1] and len(lines) == 2


MISTAKES = {
    "uneven": ([record([BOXES[0], (0.1, 0.2, 0.3)], [3, 90]), record()], LABELS, "1 of 2 records .* many ymin, xmin"),
    "texts alone": (
        [record(BOXES, texts=["car", "brush"])],
        LABELS,
        "1 record .* boxes and no image/object/class/label.*Make the records again",
    ),
    "NaN": ([record([(0.1, float("nan"), 0.5, 0.6)], [3])], LABELS, "1 box with sides that are no finite numbers"),
    "no box": ([record(), record()], LABELS, "none of the 2 records has a box with an area"),
    "pixels": (
        [record([(0, 0, 20, 25), (3, 4, 9, 9), BOXES[0]], [3, 3, 90])],
        LABELS,
        "2 of 3 boxes .* more than 2, as if",
    ),
    "crowds": ([record(BOXES, [3, 90], crowd=[1, 1]), record()], LABELS, "all boxes of 2 records .* to find"),
    "difficult": ([record(BOXES[:1], [3], difficult=[1])], LABELS, "all boxes of 1 record .* as difficult"),
    "unknown": ([record(BOXES, [3, 4])], LABELS, r"labels 4 are numbers of no category\. Labels count from 1"),
    "background": ([record(BOXES, [0, 1])], None, "labels 0 are numbers of no category"),
    "id twice": (
        WHOLE,
        f"{LABELS} item {{ id: 3 name: 'bus' }}",
        r"label_map\.pbtxt: id 3 is both 'car' and 'bus'\. Each",
    ),
    "id of 20 digits": (
        WHOLE,
        f"{LABELS} item {{ id: {10**20} name: 'bus' }}",
        r"label_map\.pbtxt: id 10+ is more than 2\^63 - 1\. Each",
    ),
    "a number of something else": (
        [record(BOXES[:1], [10**12])],
        None,
        r"largest label is 1000000000000, and without a label map \(.*\) there would be as many classes\. Put the one",
    ),
    "no item": (WHOLE, "item { }", r"label_map\.pbtxt has no item such as  item { id: 1 name: \"cat\" }\. Take"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_all_records_is_said_in_a_paragraph(write, mistake):
    contents, labels, message = MISTAKES[mistake]
    with pytest.raises(ValueError, match=message):
        coco.open_split(write(contents, labels), "train", 600)


def test_the_right_one_of_several_label_maps_has_to_be_named(write, tmp_path):
    for name in ("a.pbtxt", "b.pbtxt"):
        (tmp_path / name).write_text(LABELS)
    with pytest.raises(ValueError, match=r"holds several label maps: a.pbtxt, b.pbtxt\. Call the right one label_map"):
        coco.open_split(write(WHOLE), "train", 600)
    os.rename(tmp_path / "a.pbtxt", tmp_path / "label_map.pbtxt")
    assert coco.open_split(str(tmp_path), "train", 600).num_examples == 3
    assert coco.num_classes_of(str(tmp_path)) == 2


@pytest.mark.parametrize(
    "damaged, reason",
    [
        (record(BOXES, [3]), "as many: 2 1 1 1"),
        (record([(0.1,), *BOXES], [3, 90]), "ymin, xmin, ymax and xmax there must be as many: 3 2 2 2"),
        (record(BOXES, [3, 3], encoded=JPEG[:300]), "JPEG"),
        (b"\xff" * 40, "no example|parse"),
    ],
    # Bytes of a record have no fixed order, which would be another name in another process.
    ids=["a class less", "a ymin more", "half a picture", "no record"],
)
def test_one_damaged_record_is_told_when_it_is_read(write, damaged, reason):
    source = coco.open_split(write([*WHOLE, damaged], LABELS), "train", 60)
    assert source.num_examples == 4
    explained = damage.explain_damage(source, 3)
    assert explained.startswith(f"{source.locate(3)}: ")
    assert re.search(reason, explained)


def test_a_label_map_is_read_as_it_was_written():
    categories = Categories((1, 5, 90), ("cat", 'a "quoted" one', "back\\slash {brace}\r\n\tn"))
    assert label_maps.parse(label_maps.text_of(categories)) == categories
    assert "\r" not in label_maps.text_of(categories)
    assert label_maps.parse("nothing") is None and record_files.label_map("/nowhere") is None


def test_the_background_of_a_label_map_is_no_class(write):
    labels = f"item {{ id: 0 name: '__Background__' }} {LABELS}"
    assert coco.open_split(write(WHOLE, labels), "train", 60).categories == Categories((3, 90), ("car", "brush"))
    # Another name is one that somebody gave.
    assert label_maps.parse("item { id: 0 name: 'person' }") == Categories((0,), ("person",))


def test_of_a_label_map_comments_and_what_lies_in_an_item_are_no_items():
    text = """# item { id: 9 name: "not this" }, it isn't there
    item: { id: 1 name: "caf\\303\\251 # {1}" keypoints { id: 0 label: "nose" } keypoints: { id: 7 } }
    item { id: 2  # "two
      name: 'b' }"""
    assert label_maps.parse(text) == Categories((1, 2), ("café # {1}", "b"))


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("below", ["coco/2017/1.1.0", "2017/1.1.0", "1.1.0", ""])
def test_coco_is_read_as_tensorflow_datasets_prepares_it(prepared_coco, tmp_path, below, split):
    made, original = prepared_coco
    shutil.copytree(made, tmp_path / "data" / below)
    ours, theirs = (coco.open_split(directory, split, 60) for directory in (str(tmp_path / "data"), original))
    # It numbers categories anew, without gaps, and cuts areas down to integers.
    assert ours.categories == Categories(tuple(range(80)), theirs.categories.names)
    assert coco.num_classes_of(str(tmp_path / "data")) == 80
    order = np.argsort(ours.read([0, 1, 2])["image_id"])
    batch, expected = ours.read(order), theirs.read([0, 1, 2])
    assert batch["image_id"].numpy().tolist() == [1, 7, 20]
    assert batch["classes"].numpy().tolist() == [[1, 0], [80, 1], [0, 0]]
    assert batch["crowd"].numpy().tolist() == [[False, False], [False, True], [False, False]]
    tolerances = {"image": 0, "original_size": 0, "boxes": 1e-4, "classes": 0, "crowd": 0, "area": 0.5}
    for key, tolerance in tolerances.items():
        np.testing.assert_allclose(*(np.asarray(each[key], "float32") for each in (batch, expected)), atol=tolerance)
