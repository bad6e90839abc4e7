"""ONNX files of detectors, written by the command's function and read by a process that has ONNX Runtime alone."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import onnxruntime
import pytest
import tensorflow as tf

from sact_tf import checkpoints, export, flops
from sact_tf.checkpoints import named_variables
from sact_tf.config import ExportConfig, ModelConfig
from sact_tf.sparse.onnx import detector_runtime
from sact_tf.tasks import detection

NETWORK = ModelConfig(
    network="imagenet", model="1_2_1_1", model_type="sact", num_classes=3, base_channels=4, anchor_base_size=64.0
)
READER = """
import sys
import numpy as np
import onnxruntime

path, inputs, answers = sys.argv[1:]
session = onnxruntime.InferenceSession(path)
names = [output.name for output in session.get_outputs()]
np.savez(answers, **dict(zip(names, session.run(None, dict(np.load(inputs))))))
assert not [name for name in sys.modules if name.split(".")[0] in ("sact_tf", "tensorflow", "keras", "onnx")]
"""
HEAD = {"boxes", "scores", "classes", "num_detections", "num_proposals", "region_proposals/flops", "head/flops"}


@pytest.fixture(scope="module")
def model(spread_halting):
    random.seed(5)
    return spread_halting(detection.build_model(NETWORK), bias=0.2, gain=6.0)


@pytest.fixture(scope="module")
def config_of(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    saved = tf.train.Checkpoint(
        **{checkpoints.VARIABLES_KEY: named_variables(model)}, step=tf.Variable(3, dtype=tf.int64)
    )
    saved.save(str(folder / "model.ckpt"))

    def config_of(output_dir, **fields):
        fields = {"format": "onnx", "engine": "sparse", "dataset": "digit_scenes", "model": NETWORK, **fields}
        return ExportConfig(checkpoint_dir=str(folder), image_size=48, output_dir=str(output_dir), **fields)

    return config_of


@pytest.mark.parametrize(("part", "engine", "features"), [("whole", "sparse", False), ("extractor", "masked", True)])
def test_file_says_what_the_detector_says_where_there_is_only_onnx_runtime(
    model, config_of, make_images, tmp_path, part, engine, features
):
    lines, folder = [], tmp_path / "a$b"
    path = export.export(config_of(folder, part=part, engine=engine, features=features), lines.append)
    assert sorted(os.listdir(folder)) == ["export.json", "model.onnx"] and "Comparing" in " ".join(lines)
    assert json.loads((folder / "export.json").read_text())["part"] == part
    inputs = {"images": make_images(2, 57, 80), "image_size": np.array([[57, 66], [40, 80]], np.int32)}
    np.savez(tmp_path / "inputs.npz", **inputs)
    (tmp_path / "reader.py").write_text(READER)
    command = [sys.executable, "-I", tmp_path / "reader.py", path, tmp_path / "inputs.npz", tmp_path / "answers.npz"]
    subprocess.run([*map(str, command)], check=True, cwd=tmp_path)
    ours, expected = dict(np.load(tmp_path / "answers.npz")), dict(model(inputs, training=False))
    expected.update(flops.count(model, expected))
    left_out = (set() if features else set(model.blocks)) | (set() if part == "whole" else HEAD)
    assert set(ours) == set(expected) - left_out and len(np.unique(ours["block2/num_units"])) > 1
    for name in set(ours) - {"block1", "block2"}:
        value, theirs = ours[name], np.asarray(expected[name])
        assert (value.dtype, value.shape) == (theirs.dtype, theirs.shape), name
        np.testing.assert_allclose(value, theirs, rtol=0, atol=1e-4 * np.abs(theirs).max(), err_msg=name)


def test_file_of_other_answers_is_not_put_in_place(config_of, monkeypatch, tmp_path):
    monkeypatch.setattr(detector_runtime, "_difference", lambda ours, theirs, sizes: "2 of 9 boxes are found")
    with pytest.raises(ValueError, match=r"other answers than the model: 2 of 9 boxes(.|\n)*Nothing was written"):
        export.export(config_of(tmp_path / "out"), lambda text: None)
    assert not list(tmp_path.iterdir())


def found(scores, shift=0.0):
    """Outputs of one image, so many boxes beside each other; each moved by `shift` pixels."""
    left = 10.0 * np.arange(10)
    boxes = np.stack([0 * left, left + shift, 0 * left + 50, left + 9], axis=-1)[None].astype("float32")
    scores = np.array([[*scores, *[0.0] * (10 - len(scores))]], "float32")
    return {
        "boxes": boxes,
        "scores": scores,
        "classes": np.ones((1, 10), "int32"),
        "num_detections": np.count_nonzero(scores, axis=1).astype("int32"),
        "image_size": np.array([[100, 100]], "int32"),
    }


def test_boxes_are_compared_as_a_set_of_which_rounding_may_change_a_tenth():
    def difference(ours, theirs):
        return detector_runtime._difference(ours, theirs, ours["image_size"])

    scores = np.linspace(0.9, 0.1, 10)
    every = found(scores)
    assert difference(every, every) is None
    swapped = {
        name: value[:, ::-1] if value.ndim > 1 and name != "image_size" else value for name, value in every.items()
    }
    assert difference(swapped, every) is None
    assert difference(found(scores[:9]), every) is None
    assert difference(found(scores[:8]), every) == "8 of 10 boxes of image 0 are found among 8"
    assert difference(every, found(scores[:8])) == "8 of 8 boxes of image 0 are found among 10"
    assert difference(found(scores, shift=1.0), every) == "0 of 10 boxes of image 0 are found among 10"
    assert difference(found(scores * np.nan), every).startswith("0 of 10")
    assert difference(found([]), found([])) is None
    sizes = {"image_size": np.array([[100, 99]], "int32")}
    assert difference({**every, **sizes}, every) == "image_size differs in 1 of 2 places"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"part": "head"}, r"`part` must be one of \('whole', 'extractor'\)"),
        (
            {"part": "extractor", "format": "saved_model"},
            "`part` is part of format=onnx; format='saved_model' has none",
        ),
        ({"part": "extractor", "dataset": "imagenet"}, "`part` is for detectors, and a network on imagenet classifies"),
        ({"labels": "labels.txt"}, "`labels` is part of format=saved_model"),
    ],
)
def test_settings_without_effect_are_refused(config_of, fields, message):
    with pytest.raises(ValueError, match=message):
        config_of("out", **fields)


def test_command_writes_it_and_a_kill_leaves_nothing_that_looks_like_a_file(
    start_script, run_script, config_of, tmp_path
):
    config = config_of(tmp_path / "out")
    command = ["-m", "sact_tf.export", "--format=onnx", "--part=extractor", "--dataset=digit_scenes"]
    command += [f"--{name}={getattr(NETWORK, name)}" for name in ("model", "model_type", "num_classes")]
    command += ["--base_channels=4", "--anchor_base_size=64"]
    command += [f"--checkpoint_dir={config.checkpoint_dir}", f"--output_dir={config.output_dir}"]
    process = start_script(*command)
    while "Comparing" not in process.output():
        assert process.poll() is None, process.output()
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and not os.path.exists(config.output_dir)
    returncode, _, errors = run_script(*command)
    assert returncode == 0, errors
    assert os.listdir(tmp_path) == ["out"]
    written = onnxruntime.InferenceSession(f"{config.output_dir}/model.onnx")
    assert [each.name for each in written.get_inputs()] == ["images", "image_size"]
    assert "boxes" not in [each.name for each in written.get_outputs()]
