"""Folders of pictures, and data sets made of them."""

import json

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from sact_tf.data import convert

CLASSES = ("apple", "bear", "cup")
PICTURES_PER_CLASS = 5


def picture(number, height=50, width=70):
    """A smooth picture, another one for each number: JPEG keeps it nearly as it is."""
    y, x = np.mgrid[:height, :width]
    planes = [127 + 100 * np.sin(x / 9 + number), 127 + 100 * np.cos(y / 7 - number), 20 * number % 250 + 0 * x]
    return np.stack(planes, axis=-1).astype(np.uint8)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """15 pictures of three classes, JPEG and PNG by turns; the blue of each one says which it is."""
    root = tmp_path_factory.mktemp("pictures")
    for number in range(len(CLASSES) * PICTURES_PER_CLASS):
        directory = root / CLASSES[number // PICTURES_PER_CLASS]
        directory.mkdir(exist_ok=True)
        Image.fromarray(picture(number)).save(directory / f"{number:02d}.{'png' if number % 2 else 'jpg'}", quality=95)
    return root


@pytest.fixture(scope="session")
def imagenet_directory(folder, tmp_path_factory):
    """Three training shards and a validation shard in the release's form."""
    directory = str(tmp_path_factory.mktemp("imagenet"))
    for split, num_shards in (("train", 3), ("validation", 1)):
        convert.convert(folder, "tfrecord", "imagenet", directory, split, num_shards, log=lambda text: None)
    return directory


@pytest.fixture(scope="session")
def cifar_directories(folder, tmp_path_factory):
    """Dict from the format to a directory with both splits of a small CIFAR-10."""
    directories = {}
    for to in convert.FORMATS["cifar10"]:
        directories[to] = str(tmp_path_factory.mktemp(to))
        for split in ("train", "test"):
            convert.convert(folder, to, "cifar10", directories[to], split, 2, log=lambda text: None)
    return directories


# Height and width of the pictures that boxes lie in; what lies where is in `OBJECTS`.
PICTURE_SIZES = {1: (30, 40), 7: (40, 30), 20: (32, 64)}
# Picture, number of the category, left, top, width, height, whether it is a crowd.
OBJECTS = [(7, 90, 3, 4, 10, 20, 0), (1, 3, 10, 5, 20, 15, 0), (7, 3, 0, 0, 30, 40, 1)]


def coco_content():
    """Annotations in COCO's form: three pictures, the last without an object; numbers of categories with gaps."""
    return {
        "images": [
            {"id": number, "file_name": f"{number:03d}.jpg", "height": height, "width": width}
            for number, (height, width) in PICTURE_SIZES.items()
        ],
        "annotations": [
            {"id": number, "image_id": image, "category_id": category, "bbox": box, "iscrowd": crowd, "area": 50.5}
            for number, (image, category, *box, crowd) in enumerate(OBJECTS, 100)
        ],
        "categories": [{"id": 90, "name": "brush"}, {"id": 3, "name": "car"}, {"id": 17, "name": "cat"}],
    }


def save_pictures(directory):
    """The pictures that `PICTURE_SIZES` tells of, by their numbers."""
    directory.mkdir(parents=True)
    for number, (height, width) in PICTURE_SIZES.items():
        Image.fromarray(picture(number, height, width)).save(directory / f"{number:03d}.jpg", quality=95)
    return directory


@pytest.fixture
def coco_directory(tmp_path):
    """A training split in COCO's form, see `coco_content`."""
    save_pictures(tmp_path / "coco" / "train2017")
    write_coco(tmp_path / "coco", coco_content())
    return tmp_path / "coco"


def write_coco(directory, content, split="train2017"):
    """Writes annotations, or text instead of them."""
    (directory / "annotations").mkdir(exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    (directory / "annotations" / f"instances_{split}.json").write_text(text)


@pytest.fixture(scope="session")
def prepared_coco(tmp_path_factory):
    """What TensorFlow Datasets' own builder of coco/2017 makes of pictures and annotations, and these themselves."""
    root = tmp_path_factory.mktemp("coco_2017")
    content = coco_content()
    # It insists on COCO's 80 categories.
    content["categories"] = [{"id": number, "name": f"name {number}"} for number in (*range(3, 82), 90)]
    for split in ("train2017", "val2017", "test2017"):
        save_pictures(root / split)
        write_coco(root, content, split)
    (root / "annotations" / "image_info_test2017.json").write_text(json.dumps(content | {"annotations": []}))
    with pytest.MonkeyPatch.context() as patch:
        # In the place of what it would download and unpack.
        manager = tfds.download.DownloadManager
        patch.setattr(manager, "download_and_extract", lambda self, urls: dict.fromkeys(urls, str(root)))
        builder = tfds.builder("coco/2017", data_dir=str(root / "prepared"))
        builder.download_and_prepare(download_config=tfds.download.DownloadConfig(try_download_gcs=False))
    return builder.data_dir, str(root)
