"""ONNX files of checkpoints, written by the command's function and read by a process that has ONNX Runtime alone."""

import dataclasses
import io
import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from sact_tf import checkpoints, export, flops, sparse
from sact_tf.config import ExportConfig, ModelConfig
from sact_tf.data import preprocessing
from sact_tf.models.build import build_model
from sact_tf.sparse.onnx import runtime

NETWORK = ModelConfig(
    network="imagenet", model="1_2_1_1", model_type="sact", num_classes=10, base_channels=4, dtype="mixed_bfloat16"
)
READER = """
import sys
import numpy as np
import onnxruntime

path, images, answers = sys.argv[1:]
session = onnxruntime.InferenceSession(path)
names = [output.name for output in session.get_outputs()]
np.savez(answers, **dict(zip(names, session.run(None, {"images": np.load(images)}))))
assert not [name for name in sys.modules if name.split(".")[0] in ("sact_tf", "tensorflow", "keras", "onnx")]
"""


@pytest.fixture(scope="module")
def model(spread_halting):
    random.seed(17)
    return spread_halting(build_model(ModelConfig(**{**vars(NETWORK), "dtype": "float32"})), bias=0.2, gain=6.0)


@pytest.fixture(scope="module")
def config_of(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    checkpoints.save_release_checkpoint(model, folder, 77)

    def config_of(output_dir, **fields):
        fields = {"format": "onnx", "engine": "sparse", **fields}
        return ExportConfig(
            model=NETWORK,
            dataset="imagenet",
            checkpoint_dir=str(folder),
            image_size=40,
            output_dir=str(output_dir),
            **fields,
        )

    return config_of


def read_alone(path, images, folder):
    """Answers to images in a process that has ONNX Runtime alone."""
    np.save(folder / "images.npy", images)
    (folder / "reader.py").write_text(READER)
    command = [sys.executable, "-I", folder / "reader.py", path, folder / "images.npy", folder / "answers.npz"]
    subprocess.run([*map(str, command)], check=True, cwd=folder)
    return dict(np.load(folder / "answers.npz"))


def answers(model, images):
    outputs = dict(model(images, training=False))
    return {**outputs, **flops.count(model, outputs)}


def assert_same(ours, expected):
    assert len(np.unique(ours["block2/num_units"])) > 1
    for name, value in ours.items():
        if value.dtype.kind == "i":
            np.testing.assert_array_equal(value, expected[name], name)
        else:
            np.testing.assert_allclose(value, expected[name], rtol=0, atol=1e-4 * np.abs(expected[name]).max())


def png(picture):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize("engine", ["sparse", "masked"])
def test_file_says_what_the_model_says_where_there_is_only_onnx_runtime(
    model, config_of, make_images, tmp_path, engine
):
    lines = []
    path = export.export(config_of(tmp_path / "a$b", engine=engine, features=engine == "masked"), lines.append)
    assert sorted(os.listdir(tmp_path / "a$b")) == ["export.json", "model.onnx"] and "Comparing" in " ".join(lines)
    # The run's was another one, and is not what the file computes in.
    assert json.loads((tmp_path / "a$b" / "export.json").read_text())["model"]["dtype"] == "float32"
    images = make_images(3, 41, 67)
    ours, expected = read_alone(path, images, tmp_path), answers(model, images)
    assert set(ours) == {name for name in expected if engine == "masked" or name not in (*model.blocks, "image_size")}
    assert_same(ours, expected)


def test_file_prepares_pictures_where_there_is_only_onnx_runtime(model, config_of, tmp_path):
    path = export.export(config_of(tmp_path / "out", preprocess=True), lambda text: None)
    y, x = np.mgrid[:51, :83]
    picture = np.stack([127 + 120 * np.sin(x / 7), 127 + 120 * np.cos(y / 5), x * y % 256], axis=-1).astype("uint8")
    pictures = np.stack([picture, picture[::-1], 255 - picture])
    prepared = np.stack([preprocessing.imagenet_evaluation_image(png(each), 40) for each in pictures])
    assert_same(read_alone(path, pictures, tmp_path), answers(model, prepared))
    described = json.loads((tmp_path / "out" / "export.json").read_text())
    assert (described["preprocess"], described["image_size"]) == (True, 40)


def test_file_is_compared_with_the_model_where_its_path_is_not_utf8(model, tmp_path):
    path = os.path.join(os.fsencode(tmp_path), b"caf\xe9.onnx")
    sparse.compile(model, runtime="onnx").save(os.fsdecode(path))
    runtime.check_file(os.fsdecode(path), model)


def test_size_that_is_too_small_to_prepare_for_leaves_nothing(config_of, tmp_path):
    config = dataclasses.replace(config_of(tmp_path / "out", preprocess=True), image_size=31)
    with pytest.raises(ValueError, match=r"at least 32(.|\n)*31"):
        export.export(config, lambda text: None)
    assert not list(tmp_path.iterdir())


def test_file_of_other_answers_is_not_put_in_place(config_of, monkeypatch, tmp_path):
    monkeypatch.setattr(runtime, "difference", lambda ours, theirs: "logits differ")
    with pytest.raises(ValueError, match=r"other answers than the model: logits differ(.|\n)*Nothing was written"):
        export.export(config_of(tmp_path / "out"), lambda text: None)
    assert not list(tmp_path.iterdir())


def test_difference_is_told_by_name():
    ours = {"flops": np.array([3, 4]), "logits": np.array([1.0, np.nan])}
    assert runtime.difference(ours, {"flops": np.array([3, 5]), "logits": ours["logits"]}) == (
        "flops differs in 1 of 2 places"
    )
    assert "logits differs by nan" in runtime.difference(ours, {"flops": ours["flops"], "logits": np.ones(2)})
    assert runtime.difference({"logits": np.ones(2)}, {"logits": np.ones(2) + 1e-6, "block1": None}) is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"labels": "labels.txt"}, r"`labels` is part of format=saved_model;(.|\n)*format='onnx'"),
        ({"engine": None}, "`engine` must be one of"),
        ({"format": "keras", "engine": None, "features": True}, "`features` is part of format=onnx"),
        ({"format": "saved_model", "features": True}, "`features` is part of format=onnx"),
        ({"format": "saved_model", "preprocess": True}, "`preprocess` is part of format=onnx"),
        ({"format": "weights", "engine": None, "preprocess": True}, "`preprocess` is part of format=onnx"),
    ],
)
def test_settings_without_effect_are_refused(config_of, fields, message):
    with pytest.raises(ValueError, match=message):
        config_of("out", **fields)


def test_missing_extra_is_named_before_anything_is_read(config_of, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ValueError, match=r"sact_tf\[onnx\]"):
        export.export(config_of(tmp_path / "out", use_moving_average=True), lambda text: None)
    assert not list(tmp_path.iterdir())


def test_kill_leaves_nothing_that_looks_like_a_file(config_of, start_script, tmp_path):
    config = config_of(tmp_path / "out")
    command = ["-m", "sact_tf.export", "--format=onnx", "--dataset=imagenet", "--dtype=float32"]
    command += [f"--{name}={getattr(NETWORK, name)}" for name in ("network", "model", "model_type", "num_classes")]
    command += ["--base_channels=4", f"--checkpoint_dir={config.checkpoint_dir}", f"--output_dir={config.output_dir}"]
    process = start_script(*command, together=True)
    while "Comparing" not in process.output():
        assert process.poll() is None, process.output()
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and not os.path.exists(config.output_dir)
    export.export(config, lambda text: None)
    assert os.listdir(tmp_path) == ["out"]
