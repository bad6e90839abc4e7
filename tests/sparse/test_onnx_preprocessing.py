"""Pictures as bytes into a graph of ONNX: the pixels of evaluation, and the whole answer."""

import functools
import importlib.util
import pathlib
import random

import numpy as np
import onnxruntime
import pytest
import tensorflow as tf
from PIL import Image

import sact_tf
from sact_tf import flops, sparse
from sact_tf.config import ExportConfig, ModelConfig
from sact_tf.data import preprocessing
from sact_tf.sparse.onnx import network
from sact_tf.sparse.onnx.graph import FLOAT, UINT8, Graph
from sact_tf.sparse.onnx.preprocessing import Preprocessing, write_preprocessing


@functools.cache
def photograph(name):
    """One of scikit-image's photographs, of those that it comes with."""
    folder = pathlib.Path(importlib.util.find_spec("skimage").origin).parent / "data"
    return np.asarray(Image.open(folder / name))


def coffee():
    return photograph("coffee.png")


def cat():
    return photograph("chelsea.png")


def rocket():
    return photograph("rocket.jpg")


PICTURES = {
    "landscape": coffee,
    "portrait": lambda: coffee().transpose(1, 0, 2),
    "odd": lambda: cat()[:, :433],
    "of the right size": lambda: cat()[:32, :32],
    "smaller than the result": lambda: photograph("astronaut.png")[30:61, 50:69],
    "1 pixel high": lambda: rocket()[200:201],
    "1 pixel wide": lambda: rocket()[:, 300:301],
    "1 pixel": lambda: rocket()[200:201, 300:301],
    "of one colour": lambda: np.full((41, 50, 3), 255, "uint8"),
    "one bright pixel": lambda: np.pad(np.full((1, 1, 3), 255, "uint8"), ((31, 0), (0, 31), (0, 0))),
}
SIZES = [("imagenet", 224), ("imagenet", 64), ("cifar10", 32), ("cifar10", 40), ("cluttered_digits", 64)]


def session_of(model):
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


@functools.cache
def preparing(dataset, size):
    """Function from pictures to what the graph makes of them."""
    graph = Graph()
    value = write_preprocessing(graph, "images", Preprocessing(dataset, size))
    inputs = {"images": (UINT8, ("batch", "height", "width", 3))}
    session = session_of(graph.model("pixels", inputs, {"pixels": (value, FLOAT, ("batch", size, size, 3))}, {}))
    return lambda pictures: session.run(None, {"images": pictures})[0]


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize(("dataset", "size"), SIZES)
def test_pixels_are_those_of_evaluation(dataset, size, name):
    picture = PICTURES[name]()
    expected = preprocessing.evaluation_image(picture, dataset, size).numpy()
    ours = preparing(dataset, size)(np.stack([picture, 255 - picture]))
    assert preparing(dataset, size)(picture[None][:0]).shape == (0, size, size, 3)
    np.testing.assert_allclose(ours[0], expected, rtol=1e-6, atol=1e-5)
    other = preprocessing.evaluation_image(255 - picture, dataset, size).numpy()
    np.testing.assert_allclose(ours[1], other, rtol=1e-6, atol=1e-5)


def test_pixels_are_what_one_computes_by_hand():
    # Rows 0 to 3 are 0, 60, 120, 180. The place of the second of three is 4/3: a third of the way from 60 to 120.
    picture = np.broadcast_to(np.arange(0, 240, 60, dtype="uint8")[:, None, None], (4, 5, 3))
    ours = preparing("cluttered_digits", 3)(picture[None])
    np.testing.assert_allclose(ours[0, :, 1, 2], np.array([0, 80, 160]) / 127.5 - 1, atol=1e-6)
    # 16 rows lose one on each side, so the first of two is row 1, and the second 7 rows below.
    rows = np.arange(16, dtype="uint8")[:, None, None] + np.zeros((16, 16, 3), "uint8")
    ours = preparing("imagenet", 2)(rows[None])
    np.testing.assert_allclose(ours[0, :, 0, 0], np.array([1, 8]) / 127.5 - 1, atol=1e-6)


@pytest.fixture(scope="module")
def model(randomize, spread_halting):
    random.seed(17)
    model = sact_tf.imagenet_resnet([1, 3, 1, 1], "sact", num_classes=11, base_channels=4)
    return spread_halting(randomize(model), bias=0.2, gain=20.0)


@pytest.fixture(scope="module")
def engine(model):
    return sparse.compile(model, runtime="onnx", preprocess=("imagenet", 72))


def test_whole_answer_of_photographs_is_the_model_s(model, engine, assert_same):
    photographs = [coffee(), 255 - coffee()[::-1]]
    expected = dict(model(np.stack([preprocessing.central_image(each, 72) for each in photographs])))
    expected.update(flops.count(model, expected))
    ours = engine(np.stack(photographs))
    assert len(np.unique(ours["block2/num_units"])) > 1
    assert_same(ours, {name: expected[name] for name in ours})


def test_file_says_how_it_prepares(engine):
    facts = {each.key: each.value for each in engine.model.metadata_props}
    assert (facts["dataset"], facts["image_size"]) == ("imagenet", "72")


@pytest.mark.parametrize(
    ("pictures", "message"),
    [
        (np.zeros((2, 40, 40, 3), "float32"), "uint8"),
        (np.zeros((2, 40, 40, 3), "int8"), "uint8"),
        (np.zeros((2, 40, 40, 4), "uint8"), "Got: 4 Expected: 3"),
        (np.zeros((2, 40, 40, 1), "uint8"), "Got: 1 Expected: 3"),
        (np.zeros((40, 40, 3), "uint8"), "rank"),
        (np.zeros((2, 0, 40, 3), "uint8"), "images must be at least 1 pixel high"),
        (np.zeros((2, 40, 0, 3), "uint8"), "images must be at least 1 pixel wide"),
    ],
)
def test_other_pictures_are_refused(engine, pictures, message):
    session = session_of(engine.model)
    with pytest.raises(Exception, match=message):
        session.run(None, {"images": pictures})
    with pytest.raises(ValueError, match=r"uint8 \(batch, height, width, 3\)(.|\n)*Received"):
        engine(pictures)


def test_tensors_are_taken_as_arrays_are(engine, assert_same):
    picture = cat()[None, :90, :80]
    assert_same(engine(tf.constant(picture)), engine(picture), 0)


@pytest.mark.parametrize(
    ("preprocess", "message"),
    [
        (("imagenet", 31), r"image_size(.|\n)*at least 32(.|\n)*31"),
        (("imagenet", 0), r"such as \('imagenet', 224\)(.|\n)*0"),
        (("imagenet", 224.0), r"such as \('imagenet', 224\)"),
        ("imagenet", r"such as \('imagenet', 224\)(.|\n)*preprocess='imagenet'"),
        (True, r"such as \('imagenet', 224\)(.|\n)*preprocess=True"),
        (("mnist", 32), "mnist"),
        (("coco", 600), "is a detector(.|\n)*Resize the pictures yourself"),
    ],
)
def test_other_preprocessing_is_refused(model, preprocess, message):
    with pytest.raises(ValueError, match=message):
        sparse.compile(model, runtime="onnx", preprocess=preprocess)


def test_tensorflow_s_engine_prepares_nothing(model):
    with pytest.raises(ValueError, match="runtime='onnx'"):
        sparse.compile(model, preprocess=("imagenet", 224))


def test_detectors_prepare_nothing():
    detector = sact_tf.faster_rcnn("1_1_1_1", num_classes=3, base_channels=4)
    with pytest.raises(ValueError, match=r"images with their sizes(.|\n)*resize"):
        sparse.compile(detector, runtime="onnx", preprocess=("imagenet", 224))
    fields = {"network": "imagenet", "model": "1_1_1_1", "model_type": "sact", "num_classes": 3, "base_channels": 4}
    with pytest.raises(ValueError, match=r"`preprocess`(.|\n)*is a detector(.|\n)*Leave it out"):
        ExportConfig(
            model=ModelConfig(**fields),
            dataset="digit_scenes",
            checkpoint_dir="run",
            image_size=64,
            output_dir="out",
            format="onnx",
            engine="sparse",
            preprocess=True,
        )


def test_backbone_says_the_size_of_what_it_was_given(model):
    written = network.write_network(model.backbone, preprocessing=Preprocessing("cluttered_digits", 40))
    session = session_of(written)
    [size] = session.run(["image_size"], {"images": cat()[None]})
    np.testing.assert_array_equal(size, [[40, 40]])
