"""What a detector cannot do, or not yet: each is refused in a sentence that says what does, before any work."""

import contextlib
import dataclasses
import functools
import warnings
from unittest import mock

import absl.flags
import keras
import numpy as np
import pytest
import tensorflow as tf

import sact_tf
from sact_tf import checkpoints, command_line, config, evaluation, export, training
from sact_tf.command_line import configurations
from sact_tf.studies import baseline
from sact_tf.studies.lesion.checks import check_data
from sact_tf.studies.lesion_resnet import inputs
from sact_tf.studies.stochastic_depth import plan
from sact_tf.tasks import detection

NETWORK = config.ModelConfig(
    network="imagenet", model="1_1_1_1", model_type="sact", num_classes=3, base_channels=2, anchor_base_size=64.0
)
CHECKPOINT = {"model": NETWORK, "dataset": "digit_scenes", "checkpoint_dir": "run"}


def split_config():
    split = {"image_size": 64, "split_name": "test", "num_examples": 2, "batch_size": 1}
    return config.SplitConfig(**CHECKPOINT, **split)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Directories "adaptive" and "vanilla" of a detector's runs: their configuration and a checkpoint of the first."""
    folder = tmp_path_factory.mktemp("runs")
    for kind in ("sact", "vanilla"):
        fields = {**dataclasses.asdict(NETWORK), "model_type": kind}
        (folder / kind).mkdir()
        (folder / kind / "config.json").write_text(config.default_training_config("digit_scenes", fields).to_json())
        save(detection.build_model(dataclasses.replace(NETWORK, model_type=kind)), folder / kind)
    return folder


def save(model, directory):
    named = checkpoints.named_variables(model)
    saved = tf.train.Checkpoint(**{checkpoints.VARIABLES_KEY: named}, step=tf.Variable(3, dtype=tf.int64))
    return saved.save(str(directory / "model.ckpt"))


def split_of(**fields):
    split = {"image_size": 64, "split_name": "test", "num_examples": 2, "batch_size": 1}
    return {**CHECKPOINT, **split, **fields}


REFUSED = {
    "ponder_map": (
        lambda: config.PonderMapConfig(**CHECKPOINT, images_pattern="x", output_dir="y"),
        r"python -m sact_tf\.ponder_map is for networks that classify, .* python -m sact_tf\.detect draws",
    ),
    "export_maps": (
        lambda: config.MapExportConfig(**split_of(export_path="maps.h5")),
        r"An HDF5 file of maps is for networks that classify, .*sact_tf\.detect draws the maps.*eval\.py --report_dir",
    ),
    "release": (
        lambda: config.ExportConfig(**CHECKPOINT, image_size=64, output_dir="y", format="release"),
        r"format='release' is for networks that classify, .* Give --format=saved_model or --format=onnx, or --format=k",
    ),
    "lesion": (lambda: check_data([split_config()]), r"A lesion study, .* Give runs on a data set of classes"),
    "stochastic depth": (
        lambda: plan.plan(["1_1_1_1"], [0.5], [0], "digit_scenes"),
        r"A study of stochastic depth is for networks that classify, .* Give a --dataset of classes",
    ),
    "cifar": (
        lambda: config.default_training_config("digit_scenes", {"network": "cifar"}),
        r"A detector takes network='imagenet' alone: .* Leave --network out, .* Received: network='cifar'",
    ),
    "shortcuts": (
        lambda: config.default_training_config("digit_scenes", {"shortcuts": False}),
        r"A detector takes shortcuts=True alone: .* Received: shortcuts=False, dataset='digit_scenes'",
    ),
    "label smoothing": (
        lambda: config.default_training_config("digit_scenes", {"label_smoothing": 0.1}),
        r"A detector takes label_smoothing=0\.0 alone: .* Received: label_smoothing=0\.1",
    ),
    "train_effective": (
        lambda: config.default_training_config("digit_scenes", train_effective=2),
        r"A detector takes no train_effective: it trains all.* Received: train_effective=2",
    ),
    "evaluation": (
        lambda: config.EvaluationConfig(
            **split_of(model=dataclasses.replace(NETWORK, label_smoothing=0.5)), eval_dir="eval"
        ),
        r"A detector takes label_smoothing=0\.0 alone",
    ),
}


@pytest.mark.parametrize(("ask", "message"), REFUSED.values(), ids=REFUSED)
def test_what_makes_no_sense_of_a_detector_is_refused(ask, message):
    with pytest.raises(ValueError, match=message):
        ask()


def test_studies_of_a_run_refuse_a_detector_before_anything_is_written(runs, tmp_path):
    with pytest.raises(ValueError, match=r"A baseline is for networks that classify, .*eval\.py --report_vanilla_dir"):
        baseline.run(str(runs / "sact"), str(tmp_path / "new"))
    with pytest.raises(ValueError, match=r"LesionResNet, .* is for networks that classify, .*data set of classes"):
        inputs.check(str(runs / "sact"), str(runs / "vanilla"), None, 3, None, 1000, None)
    assert not (tmp_path / "new").exists()


def with_flags(monkeypatch, define, *words):
    """Sets the flags of a command."""
    parsed = absl.flags.FlagValues()
    monkeypatch.setattr(configurations, "FLAGS", parsed)
    with monkeypatch.context() as patch:
        for kind in ("", "_enum", "_string", "_float", "_integer", "_boolean", "_list", "_alias"):
            make = getattr(absl.flags, f"DEFINE{kind}")
            patch.setattr(absl.flags, f"DEFINE{kind}", functools.partial(make, flag_values=parsed))
        command_line.define_model_flags()
        define()
    parsed(["command", *words])


@pytest.mark.parametrize("flag", ["--network=cifar", "--noshortcuts", "--label_smoothing=0.1", "--train_effective=2"])
def test_flags_of_training_that_a_detector_has_no_use_for_are_refused_by_name(monkeypatch, flag):
    with_flags(monkeypatch, command_line.define_training_flags, "--dataset=digit_scenes", flag)
    with pytest.raises(
        ValueError, match=r"A detector takes (\w+=.* alone|no train_effective): .*dataset='digit_scenes'"
    ):
        command_line.training_config()


def test_a_run_is_not_read_as_a_network_of_another_task(monkeypatch, runs):
    words = (f"--checkpoint_dir={runs / 'sact'}", "--dataset=cluttered_digits")
    with_flags(monkeypatch, command_line.define_evaluation_flags, *words)
    with pytest.raises(
        ValueError, match=r"trained on digit_scenes, a data set of detection, and .* Leave out --dataset"
    ):
        command_line.evaluation_config()


def test_commands_find_out_by_the_run_that_it_is_a_detector(monkeypatch, runs):
    words = (f"--checkpoint_dir={runs / 'sact'}", "--images_pattern=x", "--output_dir=y")
    with_flags(monkeypatch, command_line.define_ponder_map_flags, *words)
    with pytest.raises(ValueError, match=r"ponder_map is for networks that classify"):
        command_line.ponder_map_config()
    with_flags(monkeypatch, command_line.define_detect_flags, *words, "--min_score=0.25")
    found = command_line.detect_config()
    assert (found.dataset, found.image_size, found.min_score, found.model) == ("digit_scenes", 128, 0.25, NETWORK)


@pytest.mark.parametrize("format_", ["keras", "weights"])
def test_a_detector_is_exported_for_keras_without_a_warning(runs, tmp_path, format_):
    fields = {**CHECKPOINT, "checkpoint_dir": str(runs / "sact")}
    asked = config.ExportConfig(**fields, image_size=64, output_dir=str(tmp_path / "out"), format=format_)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        path = export.export(asked, lambda line: None)
    loaded = detection.build_model(NETWORK)
    if format_ == "keras":
        loaded = keras.models.load_model(path)
    else:
        loaded.load_weights(path)
    expected = detection.build_model(NETWORK)
    checkpoints.load(expected, str(runs / "sact"))
    for one, other in zip(loaded.weights, expected.weights, strict=True):
        if "seed" not in one.path:
            np.testing.assert_array_equal(one, other, err_msg=one.path)


def test_a_detector_starts_from_a_network_of_its_own_shape_alone(runs, tmp_path):
    model = detection.build_model(dataclasses.replace(NETWORK, model="1_2_1_1"))
    with pytest.raises(
        ValueError, match=r"same units in each block\. Give --model=1_1_1_1, .*for a detector with 1_2_1_1"
    ):
        sact_tf.initialize_from(model, str(runs / "vanilla"))
    deeper = save(sact_tf.imagenet_resnet("1_1_2_1", "vanilla", 5, base_channels=2), tmp_path / "deeper")
    with pytest.raises(ValueError, match=r"Give --model=1_1_2_1, or another --finetune_path\. .*with 1_1_2_1 units"):
        sact_tf.initialize_from(model, deeper)
    cifar = save(sact_tf.cifar_resnet(1, "vanilla", 5, base_channels=2), tmp_path / "cifar")
    with pytest.raises(ValueError, match=r"Leave out --finetune_path, .*--model=1_2_1_1\)\. .* is of another network"):
        sact_tf.initialize_from(model, cifar)


@pytest.mark.parametrize("skip_logits", [False, True])
def test_a_classifier_does_not_start_from_a_detector(runs, skip_logits):
    model = sact_tf.imagenet_resnet("1_1_1_1", "vanilla", 5, base_channels=2)
    with pytest.raises(ValueError, match=r"does not start from a detector\. Leave .*vanilla, which is of a"):
        sact_tf.initialize_from(model, str(runs / "vanilla"), skip_logits=skip_logits)


def test_a_detector_of_other_classes_says_how_it_starts_from_another(runs):
    model = detection.build_model(dataclasses.replace(NETWORK, num_classes=7))
    start = str(runs / "sact")
    with pytest.raises(ValueError, match=r"All but the number of classes fits: .* --finetune_skip_logits"):
        sact_tf.initialize_from(model, start)
    before = model.class_dense.kernel.numpy()
    sact_tf.initialize_from(model, start, skip_logits=True)
    np.testing.assert_array_equal(model.class_dense.kernel, before)
    started = detection.build_model(NETWORK)
    sact_tf.initialize_from(started, start)
    np.testing.assert_array_equal(model.proposal_conv.kernel, started.proposal_conv.kernel)


def test_a_start_from_a_detector_of_other_anchors_and_crops_is_noted(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(training.Session, "run", lambda session, source: {})
    lines, start = [], str(runs / "sact")
    for number, changes in enumerate(({}, {"anchor_base_size": 32.0, "crop_size": 8, "head_samples": 9})):
        network = dataclasses.asdict(dataclasses.replace(NETWORK, num_classes=10, **changes))
        run_config = config.default_training_config(
            "digit_scenes", network, finetune_path=start, finetune_skip_logits=True, deterministic=False
        )
        training.train(run_config, str(tmp_path / str(number)), log=lines.append)
    begun = f"Starting from {start}, all but the halting branches and logits"
    assert [line for line in lines if start in line or "anchor" in line] == [
        begun,
        begun,
        f"Note: {start} was trained with anchor_base_size=64.0 (here 32.0) and crop_size=14 (here 8). Its "
        "weights fit, but were learned for that; give the same flags unless others are meant.",
    ]


def test_anchors_that_fit_in_no_picture_are_refused_by_training(tmp_path):
    # .25 times 256 pixels, twice as wide as high: 45 x 91 around multiples of 16, which 64 x 109 have room for.
    for base, image_size, fits in ((256.0, 64, True), (256.0, 54, False), (90.0, 54, True), (1e6, 600, False)):
        with contextlib.nullcontext() if fits else pytest.raises(ValueError, match="No anchor lies within a picture"):
            detection.check_training(mock.Mock(anchor_base_size=base), image_size)
    network = dataclasses.asdict(dataclasses.replace(NETWORK, num_classes=10, anchor_base_size=600.0))
    run_config = config.default_training_config("digit_scenes", network, image_size=64, deterministic=False)
    with pytest.raises(ValueError, match=r"such as --anchor_base_size=32, .* anchor_base_size=600, image_size=64"):
        training.train(run_config, str(tmp_path), log=lambda line: None)


def test_pictures_smaller_than_a_detector_takes_are_refused_where_it_is_built():
    # By training and evaluation, as photographs are: a network of such pictures would be of no use to anything else.
    with pytest.raises(
        ValueError, match=r"images of 32 pixels or more .* Give --image_size=32 or more\. .*image_size=31"
    ):
        detection.build_model(NETWORK, 31)
    assert detection.build_model(NETWORK, 32).backbone.minimum_size == 32


def test_data_of_more_classes_than_the_network_has_are_refused_by_training_and_evaluation(runs, tmp_path):
    message = r"data have 10 classes: 0, 1, 2, .*\. The network has 3\. Train with --num_classes=10"
    run_config = config.default_training_config("digit_scenes", dataclasses.asdict(NETWORK))
    with pytest.raises(ValueError, match=message):
        training.train(run_config, str(tmp_path / "run"), log=lambda line: None)
    fields = split_of(checkpoint_dir=str(runs / "sact"))
    evaluated = config.EvaluationConfig(**fields, eval_dir=str(tmp_path))
    with pytest.raises(ValueError, match=message):
        evaluation.evaluate(evaluated, evaluated.checkpoint_dir)
