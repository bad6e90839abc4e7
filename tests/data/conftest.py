"""Folders of pictures, and data sets made of them."""

import numpy as np
import pytest
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
