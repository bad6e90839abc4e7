"""Exports, read back by those who will: TensorFlow alone, Keras, the reader of the release's files."""

import dataclasses
import fcntl
import functools
import io
import json
import os
import pathlib
import random
import re
import resource
import signal
import sys
import time
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow.core.protobuf import saved_model_pb2

import sact_tf
from sact_tf import checkpoints, export, flops, visualize
from sact_tf.checkpoints import named_variables
from sact_tf.config import ExportConfig, ModelConfig
from sact_tf.data import preprocessing, whole_directories
from sact_tf.export import directories
from sact_tf.models.build import build_model

ROOT = pathlib.Path(__file__).resolve().parents[1]
CIFAR = {"network": "cifar", "model": "1_2_1", "num_classes": 10, "base_channels": 4}
IMAGENET = {"network": "imagenet", "model": "1_2_1_1", "num_classes": 10, "base_channels": 2}
# Data set, size of JPEGs, network.
NETWORKS = {
    "cifar_sact": ("cifar10", 24, ModelConfig(model_type="sact", **CIFAR)),
    "cifar_act": ("cluttered_digits", 24, ModelConfig(model_type="act_early_stopping", **CIFAR)),
    "imagenet_sact": ("imagenet", 40, ModelConfig(model_type="sact", **IMAGENET)),
    "cifar_vanilla": ("cifar10", 24, ModelConfig(model_type="vanilla", **{**CIFAR, "model": "1"})),
}
EXPORTS = [(name, engine) for engine in ("masked", "sparse") for name in ("cifar_act", "imagenet_sact")]
EXPORTS += [("cifar_vanilla", "masked")]
# Of the one without labels every mistake is asked.
UNLABELLED = ("imagenet_sact", "masked")
LABELS = [f"klasse {number} ä" for number in range(10)]
# Batch, height, width: square and not, odd.
SHAPES = [(1, 32, 32), (3, 40, 33), (2, 37, 64)]
JPEG_SIZES = [(24, 24), (50, 61), (90, 33)]
# EXIF's numbers of how the camera was held: a quarter to the right, upright, a quarter to the left.
TURNED = [6, 1, 8]

# For a process that has TensorFlow and nothing of ours.
READER = """
import sys
import numpy as np
import tensorflow as tf

images, jpegs, *directories = sys.argv[1:]
encoded = tf.stack([tf.io.read_file(path) for path in sorted(tf.io.gfile.glob(jpegs + "/*"))])
for directory in directories:
    loaded = tf.saved_model.load(directory)
    found = {"trainable": np.array([variable.trainable for variable in loaded.weights], bool)}
    for number, batch in np.load(images).items():
        for name, value in loaded.signatures["serving_default"](images=tf.constant(batch)).items():
            found[f"{number}:{name}"] = value.numpy()
    for name, value in loaded.signatures["classify_jpeg"](jpegs=encoded).items():
        found[name] = value.numpy().astype(bytes) if value.dtype == tf.string else value.numpy()
    np.savez(directory + ".npz", **found)
assert not [name for name in sys.modules if name.startswith("sact_tf")]
"""


def jpeg(height, width, seed=3, orientation=1):
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 6, width // 6, 3), np.uint8)
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(coarse).resize((width, height), Image.BICUBIC).save(file, "JPEG", exif=exif)
    return file.getvalue()


@pytest.fixture(scope="module")
def work(tmp_path_factory, make_images):
    """Folder with images, JPEGs and labels."""
    folder = tmp_path_factory.mktemp("export")
    np.savez(folder / "images.npz", **{str(number): make_images(*shape) for number, shape in enumerate(SHAPES)})
    (folder / "jpegs").mkdir()
    for number, (height, width) in enumerate(JPEG_SIZES):
        (folder / "jpegs" / f"{number}.jpg").write_bytes(jpeg(height, width, number, TURNED[number]))
    (folder / "labels.txt").write_text("\n".join(LABELS), encoding="utf-8")
    return folder


def part_images(model, images):
    """Sets the first halting branch of ACT so that one image halts after one unit, and another does not."""
    block = model.blocks["block_2"]
    (branch,) = block.halting_branches
    probability = branch(block.units[0](model(images)["block_1"])).numpy().ravel().astype("float64")
    logits = np.sort(np.log(probability / (1 - probability)))
    # Halting takes a probability of .99.
    branch.global_conv.bias.assign_add([np.log(0.99 / 0.01) - logits[-2:].mean()])


@pytest.fixture(scope="module")
def models(work, spread_halting):
    """Function from the name of a network to a model of it, whose variables are in `<work>/<name>` as well."""
    made = {}

    def make(name):
        if name not in made:
            # A module's fixtures come before the seed of each test.
            random.seed(17)
            model = made[name] = spread_halting(build_model(NETWORKS[name][2]), bias=0.2, gain=6.0)
            if name == "cifar_act":
                part_images(model, np.load(work / "images.npz")["1"])
            (work / name).mkdir()
            checkpoints.save_release_checkpoint(model, work / name, 77)
        return made[name]

    return make


@pytest.fixture(scope="module")
def config_of(work, models):
    """Function from the name of a network and an output directory to an `ExportConfig`."""

    def make(name, output_dir, **fields):
        models(name)
        dataset, image_size, model = NETWORKS[name]
        fields = {"checkpoint_dir": str(work / name), "output_dir": str(output_dir), **fields}
        return ExportConfig(model=model, dataset=dataset, image_size=image_size, **fields)

    return make


@pytest.fixture(scope="module")
def served(work, config_of, run_elsewhere):
    """Dict from what is in `EXPORTS` to the directory of its SavedModel; one process has read them all."""
    places = {export_of: work / "served" / export_of[1] / export_of[0] / "1" for export_of in EXPORTS}
    for (name, engine), place in places.items():
        labels = None if (name, engine) == UNLABELLED else str(work / "labels.txt")
        config = config_of(name, place, engine=engine, labels=labels)
        assert export.export(config, log=lambda text: None) == str(place)
    returncode, _, errors = run_elsewhere(READER, work / "images.npz", work / "jpegs", *places.values())
    assert returncode == 0, errors
    return places


@pytest.fixture(params=EXPORTS, ids=lambda value: "-".join(value))
def saved(request, served, models):
    """Name, engine, model, what a process without our package found in its SavedModel, and the directory of that."""
    name, engine = request.param
    directory = served[request.param]
    return name, engine, models(name), dict(np.load(f"{directory}.npz")), directory


@functools.cache
def in_a_graph(model):
    """The model with its FLOPs in a graph, as a SavedModel is one."""

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3))], autograph=False)
    def predict(images):
        outputs = dict(model(images, training=False))
        return {**outputs, **flops.count(model, outputs)}

    return predict


def expected(model, images):
    return {name: value.numpy() for name, value in in_a_graph(model)(images).items()}


def assert_agree(ours, theirs, tolerance=None):
    """Equal bits and keys; with a tolerance, floats only within it, relative to the largest value."""
    assert set(ours) == set(theirs)
    for name, value in theirs.items():
        assert (ours[name].dtype, ours[name].shape) == (value.dtype, value.shape), name
        if tolerance is None or value.dtype.kind == "i":
            np.testing.assert_array_equal(ours[name], value, name)
        else:
            np.testing.assert_allclose(ours[name], value, atol=tolerance * np.abs(value).max(), err_msg=name)


def test_saved_model_says_what_the_model_says_at_any_size_where_there_is_only_tensorflow(saved, work):
    _, engine, model, answers, _ = saved
    for number, images in np.load(work / "images.npz").items():
        ours = {name[2:]: value for name, value in answers.items() if name.startswith(f"{number}:")}
        assert_agree(ours, expected(model, images), None if engine == "masked" else 1e-4)
    units = [answers[f"1:{block}/num_units"] for block in model.blocks if f"1:{block}/num_units" in answers]
    assert not units or any(len(np.unique(value)) > 1 for value in units), "these models show nothing of halting"


def test_jpegs_are_prepared_as_evaluation_does_and_classified(saved, work):
    name, engine, model, answers, _ = saved
    dataset, size, _ = NETWORKS[name]
    images = []
    for path, orientation in zip(sorted((work / "jpegs").iterdir()), TURNED, strict=True):
        pixels = tf.io.decode_jpeg(path.read_bytes())
        pixels = tf.image.rot90(pixels, {1: 0, 6: 3, 8: 1}[orientation])
        if dataset == "imagenet":
            images.append(preprocessing.central_image(pixels, size))
        else:
            pixels = tf.compat.v1.image.resize_bilinear(pixels[None], (size, size))[0]
            standardized = tf.image.per_image_standardization(pixels)
            images.append(standardized if dataset == "cifar10" else pixels / 127.5 - 1)
    outputs = expected(model, np.stack(images))
    order = np.argsort(-outputs["predictions"], axis=1, kind="stable")[:, :5]
    theirs = {"classes": order.astype("int32"), "flops": outputs["flops"]}
    theirs["scores"] = np.take_along_axis(outputs["predictions"], order, axis=1)
    if model.backbone.model_type == "sact":
        theirs["ponder_map"] = visualize.ponder_map(outputs, (size, size)).numpy()
        assert theirs["ponder_map"].std() > 0
    elif model.backbone.model_type != "vanilla":
        theirs["ponder_cost"] = sum(value for key, value in outputs.items() if key.endswith("/ponder_cost"))
    ours = {key: value for key, value in answers.items() if ":" not in key and key not in ("trainable", "labels")}
    assert_agree(ours, theirs, 1e-6 if engine == "masked" else 1e-4)
    if (name, engine) == UNLABELLED:
        assert "labels" not in answers
    else:
        assert np.char.decode(answers["labels"], "utf-8").tolist() == np.array(LABELS)[order].tolist()


def test_weights_of_a_saved_model_are_frozen_and_there_once(saved):
    _, engine, model, answers, directory = saved
    assert not answers["trainable"].any()
    if engine == "masked":
        assert len(answers["trainable"]) == len(named_variables(model))
        num_bytes = 4 * sum(np.prod(variable.shape) for variable in named_variables(model).values())
        assert (directory / "variables" / "variables.data-00000-of-00001").stat().st_size < num_bytes + 50_000


def test_saved_model_is_of_tensorflows_operations_alone(saved):
    proto = saved_model_pb2.SavedModel.FromString((saved[-1] / "saved_model.pb").read_bytes())
    graph = proto.meta_graphs[0].graph_def
    operations = {node.op for node in graph.node}.union(*({n.op for n in f.node_def} for f in graph.library.function))
    assert "Conv2D" in operations and not [name for name in operations if "PyFunc" in name]
    kinds = {node.user_object.identifier for node in proto.meta_graphs[0].object_graph_def.nodes}
    assert not [kind for kind in kinds if "keras" in kind]


def test_labels_are_an_asset(saved):
    assets = {path.name: path.read_text(encoding="utf-8").splitlines() for path in (saved[-1] / "assets").glob("*")}
    assert assets == ({} if saved[:2] == UNLABELLED else {"labels.txt": LABELS})


IMAGES = np.zeros((2, 40, 40, 3), "float32")
WRONG_IMAGES = {
    "one image without a batch": (IMAGES[0], r"\[40,40,3\] is not compatible with expected shape \[\?,\?,\?,3\]"),
    "two channels": (IMAGES[..., :2], r"\[2,40,40,2\] is not compatible"),
    # Three channels fit twice into six: a convolution takes those for groups.
    "six channels": (np.concatenate([IMAGES, IMAGES], -1), r"\[2,40,40,6\] is not compatible"),
    "channels first": (IMAGES.transpose(0, 3, 1, 2), r"\[2,3,40,40\] is not compatible"),
    "no images": (IMAGES[:0], r"The batch has no images. Shape:\] \[0 40 40"),
    "too small": (IMAGES[:, :31], r"at least 32 pixels high and wide.* \[2 31 40"),
    "of no size": (IMAGES[:, :, :0], r"at least 32 pixels"),
}


@pytest.fixture(scope="module")
def loaded(served):
    """A SavedModel, and its directory."""
    directory = str(served[UNLABELLED])
    return tf.saved_model.load(directory), directory


@pytest.mark.parametrize(("images", "message"), WRONG_IMAGES.values(), ids=WRONG_IMAGES)
def test_wrong_images_get_an_error_that_says_what_is_wrong(loaded, images, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        loaded[0].signatures["serving_default"](images=tf.constant(images))


@pytest.mark.parametrize("dtype", ["float64", "uint8", "float16"])
def test_images_of_another_dtype_get_an_error(loaded, dtype):
    with pytest.raises(tf.errors.InvalidArgumentError, match="expected to be a float tensor"):
        loaded[0].signatures["serving_default"](images=tf.constant(IMAGES.astype(dtype)))


WHOLE = jpeg(60, 60)
WRONG_JPEGS = {
    "no image": ([WHOLE, b"GET / HTTP/1.1"], "Unknown image file format"),
    "empty": ([b""], "Input is empty"),
    "cut short": ([WHOLE[: len(WHOLE) // 2]], "Invalid JPEG data"),
    "no JPEGs": (np.zeros(0, object), "The batch has no images"),
    "one without a batch": (WHOLE, r"Shape of tensor jpegs \[\] is not compatible with expected shape \[\?\]"),
    "nested": ([[WHOLE]], r"\[1,1\] is not compatible"),
    "numbers": ([1.0], "expected to be a string tensor"),
}


@pytest.mark.parametrize(("jpegs", "message"), WRONG_JPEGS.values(), ids=WRONG_JPEGS)
def test_wrong_jpegs_get_an_error_that_says_what_is_wrong(loaded, jpegs, message):
    jpegs = tf.constant(jpegs, None if message.endswith("string tensor") else tf.string)
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        loaded[0].signatures["classify_jpeg"](jpegs=jpegs)


def test_server_that_checks_no_shapes_gets_the_same_answers_and_errors(loaded, models, make_images):
    """TensorFlow Serving runs a session that feeds whatever came; its Python face checks shapes, which is left out."""
    images = make_images(2, 40, 33)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        signature = tf.compat.v1.saved_model.load(session, ["serve"], loaded[1]).signature_def["serving_default"]
        feed = session.graph.get_tensor_by_name(signature.inputs["images"].name)._as_tf_output()
        names = list(signature.outputs)
        fetches = [session.graph.get_tensor_by_name(signature.outputs[name].name)._as_tf_output() for name in names]

        def request(images):
            return session._call_tf_sessionrun(None, {feed: np.ascontiguousarray(images)}, fetches, [], None)

        answers = dict(zip(names, request(images), strict=True))
        for wrong, message in WRONG_IMAGES.values():
            with pytest.raises(tf.errors.InvalidArgumentError, match=message):
                request(wrong)
    assert_agree(answers, expected(models("imagenet_sact"), images))


def test_keras_file_is_read_in_safe_mode_and_holds_nothing_pickled(work, models, config_of, make_images):
    path = export.export(config_of("cifar_sact", work / "keras", format="keras"), log=lambda text: None)
    assert {pathlib.Path(name).suffix for name in zipfile.ZipFile(path).namelist()} == {".json", ".h5"}
    images = make_images(2, 33, 24)
    reloaded = keras.saving.load_model(path, safe_mode=True)
    ours, theirs = (model(images, training=False) for model in (reloaded, models("cifar_sact")))
    assert_agree(*({name: value.numpy() for name, value in outputs.items()} for outputs in (ours, theirs)))
    assert (
        flops.count(reloaded, ours)["flops"].numpy().tolist() == flops.count(reloaded, theirs)["flops"].numpy().tolist()
    )


def test_file_of_weights_is_read_by_the_model_that_it_is_of(work, models, config_of):
    path = export.export(config_of("imagenet_sact", work / "weights", format="weights"), log=lambda text: None)
    assert path.endswith(".weights.h5")
    reloaded = build_model(NETWORKS["imagenet_sact"][2])
    reloaded.load_weights(path)
    assert_same_bits(reloaded, models("imagenet_sact"))


def test_checkpoints_that_a_running_training_removes_are_not_missed(models, config_of, tmp_path):
    model, run, lines = models("cifar_vanilla"), tmp_path / "run", []
    checkpoints.save_release_checkpoint(model, run, 7)

    def log(line):
        lines.append(line)
        # After it is known which one is the latest, and after that was read.
        if len(lines) in (1, 4):
            for path in run.iterdir():
                path.unlink()
        if len(lines) == 1:
            checkpoints.save_release_checkpoint(model, run, 8)

    config = config_of("cifar_vanilla", tmp_path / "out", format="weights", checkpoint_dir=str(run))
    export.export(config, log)
    assert [line.split()[-1] for line in lines[:3]] == [f"{run}/model.ckpt-7", "read", f"{run}/model.ckpt-8"]
    assert not list(run.iterdir())
    assert json.loads((tmp_path / "out" / "export.json").read_text())["global_step"] == 8


def assert_same_bits(model, other):
    values = {name: variable.numpy() for name, variable in named_variables(other).items()}
    for name, variable in named_variables(model).items():
        assert variable.numpy().tobytes() == values[name].tobytes(), name


def test_exported_release_checkpoint_is_read_back_bit_for_bit(work, models, config_of):
    out = work / "release"
    path = export.export(config_of("imagenet_sact", out, format="release"), log=lambda text: None)
    assert path == str(out / "model.ckpt-77") == tf.train.latest_checkpoint(str(out))
    reloaded = build_model(NETWORKS["imagenet_sact"][2])
    sact_tf.load_release_checkpoint(reloaded, out)
    assert_same_bits(reloaded, models("imagenet_sact"))


@pytest.mark.parametrize(("network", "model_type"), [("imagenet", "sact"), ("cifar", "act"), ("cifar", "vanilla")])
def test_exported_release_checkpoint_has_the_bytes_that_the_release_wrote(reference, tmp_path, network, model_type):
    folder = reference / f"{'a' if network == 'imagenet' else 'c'}_{network}_{model_type}"
    units, classes = ("2_3_4_2", 11) if network == "imagenet" else ("3", 10)
    model = ModelConfig(network=network, model=units, model_type=model_type, num_classes=classes, base_channels=8)
    fields = {"model": model, "dataset": "cifar10", "image_size": 32, "format": "release"}
    config = ExportConfig(checkpoint_dir=str(folder), output_dir=str(tmp_path / "out"), **fields)
    export.export(config, log=lambda text: None)
    for file in ("model.ckpt-12345.index", "model.ckpt-12345.data-00000-of-00001", "checkpoint"):
        assert (tmp_path / "out" / file).read_bytes().strip() == (folder / file).read_bytes().strip(), file


def test_optimizer_slots_are_left_out_of_a_release_checkpoint(reference, tmp_path):
    folder = reference / "d_train_cifar_sact"
    model = ModelConfig(network="cifar", model="3", model_type="sact", num_classes=10, base_channels=4)
    fields = {"model": model, "dataset": "cifar10", "image_size": 32, "format": "release"}
    config = ExportConfig(checkpoint_dir=str(folder / "step1.ckpt-1"), output_dir=str(tmp_path / "out"), **fields)
    written = tf.train.load_checkpoint(export.export(config, log=lambda text: None))
    given = tf.train.load_checkpoint(str(folder / "step1.ckpt-1"))
    dtypes, shapes = given.get_variable_to_dtype_map(), given.get_variable_to_shape_map()
    assert any(name.endswith("/Momentum") for name in shapes)
    kept = {name for name in shapes if not name.endswith("/Momentum")}
    assert written.get_variable_to_shape_map() == {name: shapes[name] for name in kept}
    assert written.get_variable_to_dtype_map() == {name: dtypes[name] for name in kept}
    assert written.get_tensor("global_step") == 1
    for name in kept:
        assert written.get_tensor(name).tobytes() == given.get_tensor(name).tobytes(), name


def test_moving_averages_of_our_own_runs_are_exported_where_asked_for(work, models, config_of, tmp_path):
    named = named_variables(models("cifar_sact"))
    averages = {name: tf.Variable(value * 0 + 3) for name, value in named.items() if value.trainable}
    step = tf.Variable(5, dtype=tf.int64)
    checkpoint = tf.train.Checkpoint(variables=named, averages=averages, step=step)
    prefix = checkpoint.write(str(tmp_path / "ours"))
    for use, suffix in ((False, "weights"), (True, "averages")):
        fields = {"format": "release", "checkpoint_dir": prefix, "use_moving_average": use}
        path = export.export(config_of("cifar_sact", tmp_path / suffix, **fields), log=lambda text: None)
        assert path.endswith("model.ckpt-5")
        for name, variable in named.items():
            value = averages[name] if use and name in averages else variable
            np.testing.assert_array_equal(tf.train.load_variable(path, name), value.numpy())


def test_export_tells_what_it_is_of(work, config_of, tmp_path):
    lines = []
    export.export(config_of("cifar_sact", tmp_path / "out", format="weights"), log=lines.append)
    text = (tmp_path / "out" / "export.json").read_text()
    assert '"global_step": 77' in text and '"model": "1_2_1"' in text and str(tmp_path) not in text
    assert len(lines) >= 3 and re.fullmatch(
        rf"Exported in \d+ s, 0\.\d MB: {tmp_path}/out/model\.weights\.h5", lines[-1]
    )


MISTAKES = {
    "labels missing": ({"labels": "nowhere.txt"}, FileNotFoundError, "nowhere.txt"),
    "labels of another number": ({"labels": __file__}, ValueError, r"one line a class, 10 in all.*\d+ lines in"),
    "labels binary": ({"labels": sys.executable}, ValueError, "not UTF-8 text"),
    "no checkpoint": ({"checkpoint_dir": "nowhere"}, FileNotFoundError, "No checkpoint at nowhere"),
    "another format": ({"format": "tflite"}, ValueError, r"`format` must be one of .*'tflite'"),
    "another engine": ({"engine": "dense"}, ValueError, r"`engine` must be one of .*'dense'"),
    "engine for a file": ({"format": "keras"}, ValueError, "`engine` is part of format=saved_model and onnx"),
    "labels for a file": ({"format": "keras", "engine": None, "labels": "x"}, ValueError, "`labels` is part of"),
    "no output": ({"output_dir": ""}, ValueError, "--output_dir"),
    "no size": ({"image_size": 0}, ValueError, "image_size"),
    "too small": ({"image_size": 20}, ValueError, "`image_size`.*at least 32.*Received: image_size=20$"),
    "another network": ({"model": ModelConfig(**IMAGENET)}, ValueError, "does not fit(.|\n)*left over"),
    "in a file": ({"output_dir": f"{__file__}/out"}, OSError, "cannot be written.*--output_dir"),
}


@pytest.mark.parametrize(("fields", "error", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistake_is_named_and_leaves_nothing(config_of, tmp_path, fields, error, message):
    config = config_of("imagenet_sact", tmp_path / "out", engine="masked")
    with pytest.raises(error, match=message):
        export.export(dataclasses.replace(config, **fields), log=lambda text: None)
    assert not list(tmp_path.iterdir())


def write_export(path, content, overwrite=False):
    with whole_directories.whole_directory(
        str(path), lambda path: directories.check_output_dir(path, overwrite), "export"
    ) as directory:
        for name in (directories.DESCRIPTION_FILE, content):
            pathlib.Path(directory, name).write_text(content)


def names_in(path):
    return sorted(entry.name for entry in path.iterdir())


@pytest.mark.parametrize("exchange", ["in one step", "in two"])
def test_export_is_replaced_only_when_told_to(tmp_path, monkeypatch, exchange):
    if exchange == "in two":
        monkeypatch.setattr(whole_directories, "_exchange", lambda one, other: False)
    out = tmp_path / "deep" / "model" / "1"
    write_export(out, "model.onnx")
    with pytest.raises(FileExistsError, match="--overwrite"):
        write_export(out, "model.keras")
    assert names_in(out) == ["export.json", "model.onnx"]
    write_export(out, "model.keras", overwrite=True)
    assert names_in(out) == ["export.json", "model.keras"]
    assert names_in(out.parent) == ["1"]


@pytest.mark.parametrize("kind", ["directory", "file", "link to a directory"])
def test_what_is_no_export_is_never_overwritten(tmp_path, kind):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    out = {"directory": tmp_path / "mine", "file": tmp_path / "mine" / "thesis.tex"}.get(kind, tmp_path / "link")
    if kind not in ("directory", "file"):
        out.symlink_to(tmp_path / "mine")
    for overwrite in (False, True):
        with pytest.raises(FileExistsError, match="is no export"):
            write_export(out, "new", overwrite)
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "years of work"


def test_what_somebody_put_beside_an_export_is_never_lost(tmp_path):
    out = tmp_path / "page"
    write_export(out, "model.onnx")
    (out / "index.html").write_text("a day's work")
    for name in ("assets.extra", *"abcd"):
        (out / name).mkdir()
    with pytest.raises(FileExistsError, match=r"no export wrote: a, assets\.extra, b, c, d and 1 more\. .*Move it"):
        write_export(out, "model.onnx", overwrite=True)
    # Beside what each format writes.
    write_export(tmp_path / "1", "model.onnx")
    for name in (
        "saved_model.pb",
        "fingerprint.pb",
        "model.keras",
        "model.weights.h5",
        "checkpoint",
        "model.ckpt-7.index",
    ):
        (tmp_path / "1" / name).touch()
    for name in ("variables/variables.index", "assets/labels.txt"):
        (tmp_path / "1" / name).parent.mkdir()
        (tmp_path / "1" / name).touch()
    (tmp_path / "1" / "assets" / "vocabulary.txt").touch()
    with pytest.raises(FileExistsError, match=r"no export wrote: assets/vocabulary\.txt\. It would be lost"):
        write_export(tmp_path / "1", "model.onnx", overwrite=True)
    (tmp_path / "1" / "assets" / "vocabulary.txt").unlink()
    write_export(tmp_path / "1", "model.onnx", overwrite=True)
    assert names_in(tmp_path) == ["1", "page"] and (out / "index.html").read_text() == "a day's work"


def test_empty_directory_is_written_into_and_a_server_may_read_it(tmp_path):
    (tmp_path / "out").mkdir()
    write_export(tmp_path / "out", "model.onnx")
    assert names_in(tmp_path) == ["out"]
    (tmp_path / "any").mkdir()
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "any").stat().st_mode


def test_room_for_a_file_of_weights_is_made_sure_of_before_hdf5_begins_it(tmp_path):
    path, (soft, hard) = tmp_path / "model.weights.h5", resource.getrlimit(resource.RLIMIT_FSIZE)
    export._make_sure_of_room(str(path), 10_000)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            export._make_sure_of_room(str(path), 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_directory_that_cannot_be_replaced_is_refused_before_anything_is_computed(tmp_path, monkeypatch):
    with pytest.raises(FileExistsError, match=r"where a disk is mounted.*--output_dir=/proc/export"):
        directories.check_output_dir("/proc", overwrite=False)
    monkeypatch.chdir(tmp_path)
    for path in (".", str(tmp_path), ""):
        with pytest.raises(FileExistsError, match="is the directory that this command runs in"):
            directories.check_output_dir(path, overwrite=True)
    write_export("export", "model.onnx")
    assert names_in(tmp_path) == ["export"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_error_leaves_what_was_there_and_no_trace(tmp_path, error):
    write_export(tmp_path / "out", "model.onnx")
    check = functools.partial(directories.check_output_dir, overwrite=True)
    with pytest.raises(error), whole_directories.whole_directory(str(tmp_path / "out"), check, "export") as directory:
        pathlib.Path(directory, "model.keras").write_text("half")
        raise error
    assert names_in(tmp_path) == ["out"] and names_in(tmp_path / "out") == ["export.json", "model.onnx"]


def test_what_a_killed_export_left_is_removed_and_what_a_running_one_writes_is_not(tmp_path):
    for name in (".out.dead.tmp", ".out.alive.tmp", ".another.dead.tmp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "saved_model.pb").write_text("half")
    descriptor = os.open(tmp_path / ".out.alive.tmp", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    write_export(tmp_path / "out", "model.onnx")
    os.close(descriptor)
    assert names_in(tmp_path) == [".another.dead.tmp", ".out.alive.tmp", "out"]


def test_a_directory_that_another_command_takes_for_a_leftover_at_once_is_made_anew(tmp_path, monkeypatch):
    lock, taken = whole_directories._lock, []

    def lock_too_late(directory):
        if not taken:
            taken.append(os.rmdir(directory))
        return lock(directory)

    monkeypatch.setattr(whole_directories, "_lock", lock_too_late)
    write_export(tmp_path / "out", "model.onnx")
    assert taken and names_in(tmp_path) == ["out"]


def test_a_name_may_be_as_long_as_the_system_allows(tmp_path):
    name = "ü" * 127
    for overwrite in (False, True):
        write_export(tmp_path / name, "model.onnx", overwrite)
    assert names_in(tmp_path) == [name]


def wait_for(condition, process):
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)


def test_kill_during_an_export_leaves_the_old_one_whole_and_the_next_one_cleans_up(
    start_script, work, config_of, tmp_path
):
    network = ("--model=1", "--model_type=vanilla", "--base_channels=4", "--dataset=cifar10")
    out = tmp_path / "1"
    command = ("-m", "sact_tf.export", f"--checkpoint_dir={work / 'cifar_vanilla'}", f"--output_dir={out}", *network)
    command = (*command, "--engine=masked", "--image_size=24")
    config = config_of("cifar_vanilla", out, engine="masked", overwrite=True)
    write_export(out, "model.onnx")

    def is_writing():
        # The last file that TensorFlow writes is not there yet, or just so.
        return list(tmp_path.glob(".1.*.tmp/variables"))

    process = start_script(*command, "--overwrite")
    wait_for(is_writing, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert names_in(out) == ["export.json", "model.onnx"]
    assert len(names_in(tmp_path)) == 2 and names_in(tmp_path)[0].startswith(".1.")

    # That the command does so as well is shown in tests/test_export_onnx_detector.py.
    lines = []
    export.export(config, lines.append)
    assert re.search(r"^Exported in \d+ s, \d\.\d MB: .*/1$", lines[-1])
    assert names_in(tmp_path) == ["1"] and "saved_model.pb" in names_in(out)
