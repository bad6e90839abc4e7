"""SavedModels of detectors, read where there is TensorFlow alone: images with their sizes, files as they are."""

import dataclasses
import io
import json
import random

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow.core.protobuf import saved_model_pb2

from sact_tf import checkpoints, detect, export
from sact_tf.checkpoints import named_variables
from sact_tf.config import ExportConfig, ModelConfig
from sact_tf.data import preprocessing
from sact_tf.data.photographs import read_photograph, resize_for_detector
from sact_tf.export import saved_model
from sact_tf.tasks import detection

NETWORK = ModelConfig(
    network="imagenet",
    model="1_2_1_1",
    model_type="sact",
    num_classes=3,
    base_channels=4,
    anchor_base_size=64.0,
    crop_size=4,
)
SIZE = 48
LABELS = ["cat", "große Katze", "bird"]

READER = """
import sys
import numpy as np
import tensorflow as tf

images, photos, *directories = sys.argv[1:]
given = {name: tf.constant(value) for name, value in np.load(images).items()}
encoded = tf.stack([tf.io.read_file(path) for path in sorted(tf.io.gfile.glob(photos + "/*"))])
for directory in directories:
    loaded = tf.saved_model.load(directory)
    found = {"trainable": np.array([variable.trainable for variable in loaded.weights], bool)}
    for name, value in loaded.signatures["serving_default"](**given).items():
        found["images:" + name] = value.numpy()
    for name, value in loaded.signatures["detect_jpeg"](jpegs=encoded).items():
        found[name] = value.numpy().astype(bytes) if value.dtype == tf.string else value.numpy()
    np.savez(directory + ".npz", **found)
assert not [name for name in sys.modules if name.startswith("sact_tf")]
"""


def picture(height, width, seed=3):
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 6, width // 6, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.BICUBIC)


def encoded(image, kind="JPEG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def turned():
    """A JPEG of 60 x 90 that was taken with the camera held upright: 90 x 60 as one sees it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(picture(60, 90, 4), exif=exif)


def photographs():
    """Bytes by the names of files, which differ in size, format and what they are of."""
    return {
        "0.jpg": encoded(picture(70, 110)),
        "1.jpg": turned(),
        "2.png": encoded(picture(64, 52, 5).convert("LA"), "PNG"),
        "3.jpg": encoded(picture(52, 100, 6).convert("L")),
    }


@pytest.fixture(scope="module")
def model(spread_halting):
    random.seed(5)
    return spread_halting(detection.build_model(NETWORK), bias=0.2, gain=6.0)


@pytest.fixture(scope="module")
def work(tmp_path_factory, model, make_images):
    """Folder with a checkpoint, photographs, labels, and images with their sizes."""
    folder = tmp_path_factory.mktemp("export")
    saved = tf.train.Checkpoint(
        **{checkpoints.VARIABLES_KEY: named_variables(model)}, step=tf.Variable(3, dtype=tf.int64)
    )
    saved.save(str(folder / "run" / "model.ckpt"))
    (folder / "photos").mkdir()
    for name, content in photographs().items():
        (folder / "photos" / name).write_bytes(content)
    (folder / "labels.txt").write_text("\n".join(LABELS), encoding="utf-8")
    np.savez(folder / "images.npz", images=make_images(2, 57, 80), image_size=np.array([[57, 66], [40, 80]], np.int32))
    return folder


@pytest.fixture(scope="module")
def directories(work, run_elsewhere):
    """Dict from an engine to the directory of its SavedModel, with labels; one process has read them all."""
    places = {}
    for engine in ("masked", "sparse"):
        config = ExportConfig(
            model=NETWORK,
            dataset="digit_scenes",
            image_size=SIZE,
            engine=engine,
            checkpoint_dir=str(work / "run"),
            output_dir=str(work / engine / "1"),
            labels=str(work / "labels.txt"),
        )
        lines = []
        places[engine] = export.export(config, lines.append)
        assert lines[0] == "Labels: 3 lines, the first of them class 1"
        assert lines[2:5] == ["Tracing serving_default", "Tracing detect_jpeg", "Writing the SavedModel"]
    returncode, _, errors = run_elsewhere(READER, work / "images.npz", work / "photos", *places.values())
    assert returncode == 0, errors
    return places


@pytest.fixture(params=["masked", "sparse"])
def directory(request, directories):
    return directories[request.param]


@pytest.fixture
def answers(directory):
    """What a process without our package found in it."""
    return dict(np.load(f"{directory}.npz"))


@pytest.fixture(scope="module")
def loaded(directories):
    """One of them: what is wrong with inputs is said before an engine has them."""
    return tf.saved_model.load(directories["masked"])


def test_images_with_their_sizes_get_what_the_model_says(answers, work, model):
    given = np.load(work / "images.npz")
    theirs = model({name: given[name] for name in given}, training=False)
    ours = {name.split(":")[1]: value for name, value in answers.items() if name.startswith("images:")}
    assert set(ours) - {"flops", *(f"{block}/flops" for block in model.blocks)} == set(theirs)
    assert ours["num_detections"].min() > 3
    for name, value in theirs.items():
        assert (ours[name].dtype, ours[name].shape) == (value.numpy().dtype, tuple(value.shape)), name
        # What the features are where there is no picture is nobody's business.
        picture = (theirs[f"{name}/num_units"].numpy() > 0)[..., None] if name in model.blocks else True
        np.testing.assert_allclose(ours[name] * picture, value * picture, rtol=1e-4, atol=1e-3, err_msg=name)
    assert not ours["block3/num_units"][0, :, 5:].any(), "what is no picture has no units"


@pytest.mark.usefixtures("without_graphs")
def test_files_get_what_the_detect_command_says_each_as_if_it_were_alone(answers, work, model):
    predict = detect.predictor(model, "masked")
    for number, path in enumerate(sorted((work / "photos").iterdir())):
        image = read_photograph(str(path))
        resized = resize_for_detector(image, SIZE, model.backbone.minimum_size)
        theirs = detect.find(model, predict, resized, image.shape[:2], "digit_scenes")
        count = answers["num_detections"][number]
        assert count == len(theirs.boxes) > 3
        assert answers["original_size"][number].tolist() == list(image.shape[:2])
        assert answers["image_size"][number].tolist() == list(resized.shape[:2])
        np.testing.assert_allclose(answers["boxes"][number, :count], theirs.boxes, atol=1e-3)
        np.testing.assert_allclose(answers["scores"][number, :count], theirs.scores, atol=1e-5)
        np.testing.assert_array_equal(answers["classes"][number, :count], theirs.classes)
        assert answers["flops"][number] == theirs.flops < theirs.most_flops
        height, width = resized.shape[:2]
        np.testing.assert_allclose(answers["ponder_map"][number, :height, :width], theirs.ponder_map, atol=1e-4)
        assert not answers["boxes"][number, count:].any() and not answers["classes"][number, count:].any()
    assert answers["original_size"].tolist() == [[70, 110], [90, 60], [64, 52], [52, 100]]
    assert answers["image_size"].tolist() == [[48, 75], [72, 48], [59, 48], [43, 82]]
    # Padded to multiples of 32.
    assert answers["ponder_map"].shape == (4, 96, 96)


def test_labels_are_names_from_class_1_on_and_nothing_where_nothing_is(answers, directory):
    names = np.array(["", *LABELS])[answers["classes"]]
    assert np.char.decode(answers["labels"], "utf-8").tolist() == names.tolist()
    with open(f"{directory}/assets/labels.txt", encoding="utf-8") as file:
        assert file.read().splitlines() == LABELS


def test_it_is_of_tensorflows_operations_alone_with_weights_that_are_frozen_and_there_once(answers, directory, model):
    with open(f"{directory}/saved_model.pb", "rb") as file:
        proto = saved_model_pb2.SavedModel.FromString(file.read())
    graph = proto.meta_graphs[0].graph_def
    operations = {node.op for node in graph.node}.union(*({n.op for n in f.node_def} for f in graph.library.function))
    assert "CropAndResize" in operations and not [name for name in operations if "PyFunc" in name]
    kinds = {node.user_object.identifier for node in proto.meta_graphs[0].object_graph_def.nodes}
    assert not [kind for kind in kinds if "keras" in kind]
    assert not answers["trainable"].any()
    if "masked" in directory:
        assert len(answers["trainable"]) == len([name for name in named_variables(model) if "seed" not in name])


def test_whoever_finds_the_directory_is_told_what_it_is(directory):
    with open(f"{directory}/export.json", encoding="utf-8") as file:
        facts = json.load(file)
    assert (facts["task"], facts["dataset"], facts["global_step"]) == ("detection", "digit_scenes", 3)
    # 48 * 1024 / 600 = 81.9.
    assert (facts["image_size"], facts["longest_side"], facts["num_proposals"]) == (48, 82, 300)
    assert facts["model"]["anchor_base_size"] == 64.0


@pytest.mark.parametrize(
    "content",
    [
        encoded(picture(60, 70).convert("CMYK")),
        encoded(picture(60, 70).convert("P"), "PNG"),
        encoded(picture(60, 70), "WEBP"),
        encoded(picture(60, 70), "BMP"),
        encoded(picture(60, 70).convert("P"), "GIF"),
    ],
    ids=["cmyk", "palette", "webp", "bmp", "gif"],
)
def test_other_files_are_what_tensorflow_makes_of_them(loaded, model, content):
    answer = loaded.signatures["detect_jpeg"](jpegs=tf.constant([content]))
    pixels = tf.image.convert_image_dtype(preprocessing.decode_image(content), tf.float32).numpy()
    image = resize_for_detector(pixels, SIZE) * 2.0 - 1.0
    theirs = model({"images": image[None], "original_size": np.array([[60, 70]])}, training=False)
    np.testing.assert_allclose(answer["boxes"], theirs["boxes"], atol=1e-3)


WHOLE = encoded(picture(60, 70))
WRONG_FILES = {
    "no image": ([WHOLE, b"GET / HTTP/1.1"], "Unknown image file format"),
    "empty": ([b""], "Input is empty"),
    "cut short": ([WHOLE[: len(WHOLE) // 2], WHOLE], "Invalid JPEG data"),
    "no files": ([], "The batch has no images"),
    "one without a batch": (WHOLE, r"Shape of tensor jpegs \[\] is not compatible with expected shape \[\?\]"),
    "a strip": (
        [WHOLE, encoded(picture(12, 120))],
        r"at least 32 pixels high and wide once its shorter side has 48, or its longer one 82\. Leave it out, or "
        r"export with a larger --image_size\. Number in the batch, size:\] \[1\] \[8 82\]",
    ),
}


@pytest.mark.parametrize(("files", "message"), WRONG_FILES.values(), ids=WRONG_FILES)
def test_wrong_files_get_an_error_that_says_what_is_wrong(loaded, files, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        loaded.signatures["detect_jpeg"](jpegs=tf.constant(files, tf.string))


IMAGES = np.zeros((2, 40, 50, 3), "float32")
WRONG_SIZES = {
    "fewer sizes than images": (IMAGES, [[40, 50]], r"as many sizes as images\. Images, sizes:\] \[2\] \[1\]"),
    "larger than the image": (IMAGES, [[40, 50], [50, 40]], r"no more than the image has.*\[40 50\].*\[50 40\]"),
    "too small": (IMAGES, [[40, 50], [31, 50]], "at least 32 pixels"),
    "negative": (IMAGES, [[-40, 50], [40, 50]], "at least 32 pixels"),
    "with channels": (IMAGES, [[40, 50, 3], [40, 50, 3]], r"\[2,3\] is not compatible with expected shape \[\?,2\]"),
    "no images": (IMAGES[:0], np.zeros((0, 2)), "The batch has no images"),
    "small images": (IMAGES[:, :20], [[20, 50], [20, 50]], "at least 32 pixels high and wide"),
}


@pytest.mark.parametrize(("images", "sizes", "message"), WRONG_SIZES.values(), ids=WRONG_SIZES)
def test_wrong_sizes_get_an_error_that_says_what_is_wrong(loaded, images, sizes, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"(?s){message}"):
        loaded.signatures["serving_default"](images=tf.constant(images), image_size=tf.constant(sizes, tf.int32))


@pytest.mark.parametrize(("model_type", "more"), [("vanilla", None), ("act", "ponder_cost")])
@pytest.mark.usefixtures("without_graphs")
def test_what_halting_cost_is_said_where_something_halts(model_type, more, tmp_path):
    network = detection.build_model(dataclasses.replace(NETWORK, model="1_1_1_1", model_type=model_type))
    predict = saved_model._predictor(network, "masked", detection)
    functions, _ = detection.signatures(network, predict, "voc", SIZE, None, str(tmp_path))
    answer = functions["detect_jpeg"](tf.constant([WHOLE, turned()]))
    assert set(answer) & {"labels", "ponder_map", "ponder_cost"} == ({more} if more else set())
    assert answer["flops"].shape == (2,) and answer["flops"].numpy().min() > 0
    assert more is None or answer[more].shape == (2,)


def test_names_of_classes_are_those_of_the_data_set_where_it_is_at_hand(tmp_path):
    lines = []
    assert detection.known_labels(10, "digit_scenes", None, lines.append) == list("0123456789")
    (tmp_path / "annotations").mkdir()
    categories = [{"id": 7, "name": "tea\npot"}, {"id": 2, "name": "cup"}]
    content = {"images": [], "annotations": [], "categories": categories}
    (tmp_path / "annotations" / "instances_val.json").write_text(json.dumps(content))
    assert detection.known_labels(2, "coco", str(tmp_path), lines.append) == ["cup", "tea\\npot"]
    assert detection.known_labels(3, "coco", str(tmp_path), lines.append) is None
    assert lines[-1] == (
        "Labels: none, coco has 2 classes where it lies now, and the network 3. Give --labels for names"
    )
    assert detection.known_labels(3, "voc", str(tmp_path / "gone"), lines.append) is None
    assert lines[-1] == "Labels: none, no data set is there to name them. Give --labels for names"
    (tmp_path / "annotations" / "instances_val.json").write_text("{")
    assert detection.known_labels(2, "coco", str(tmp_path), lines.append) is None
    assert "is no whole JSON file" in lines[-1]
