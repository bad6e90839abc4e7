import dataclasses
import json
import os
import shutil

import numpy as np
import pytest

from sact_tf import config

WRONG_MODELS = [
    "abc",
    "0_1_1_1",
    "",
    None,
    2.5,
    [1.0, 2.0, 3.0, 4.0],
    True,
    False,
    -3,
    0,
    "1_2_",
    "-1_2_3_4",
    [],
    "1__2_3",
]


@pytest.mark.parametrize("model_type", ["vanilla", "act", "act_early_stopping", "sact"])
def test_the_release_s_model_types_are_accepted(model_type):
    assert config.check_model_type(model_type) == model_type


@pytest.mark.parametrize("model_type", ["SACT", "", None, 3])
def test_other_model_types_are_rejected_with_the_list_of_accepted_ones(model_type):
    with pytest.raises(ValueError, match="act_early_stopping"):
        config.check_model_type(model_type)


@pytest.mark.parametrize("tau", [0, 0.0, 0.005, 3])
def test_tau_that_is_a_price_is_accepted(tau):
    assert config.check_tau(tau) == tau
    assert isinstance(config.check_tau(tau), float)


@pytest.mark.parametrize("tau", [-0.001, float("nan"), float("inf"), "0.1", None, [0.1], True])
def test_tau_that_is_no_price_is_rejected(tau):
    with pytest.raises(ValueError, match="finite number >= 0"):
        config.check_tau(tau)


@pytest.mark.parametrize(
    ("model", "units"),
    [
        ("50", (3, 4, 6, 3)),
        ("101", (3, 4, 23, 3)),
        ("152", (3, 8, 36, 3)),
        ("200", (3, 24, 36, 3)),
        (101, (3, 4, 23, 3)),
        ("3_4_23_3", (3, 4, 23, 3)),
        ("10_1_2_1", (10, 1, 2, 1)),
        ((1, 2, 3, 4), (1, 2, 3, 4)),
        ([4, 3, 2, 1], (4, 3, 2, 1)),
    ],
)
def test_imagenet_model_is_a_number_or_four_units(model, units):
    assert config.imagenet_units(model) == units


@pytest.mark.parametrize("model", [*WRONG_MODELS, "3_4", "5", 5, "1_2_3", (1, 2, 3), "1_2_3_4_5"])
def test_any_other_imagenet_model_is_rejected(model):
    with pytest.raises(ValueError, match="units of the four blocks"):
        config.imagenet_units(model)


@pytest.mark.parametrize(
    ("model", "units"),
    [("5", (5, 5, 5)), (18, (18, 18, 18)), ("2_3_4", (2, 3, 4)), ((4, 3, 2), (4, 3, 2)), ([1], (1, 1, 1))],
)
def test_cifar_model_is_one_or_three_units(model, units):
    assert config.cifar_units(model) == units


@pytest.mark.parametrize("model", [*WRONG_MODELS, "3_4", "1_2_3_4", (1, 2)])
def test_any_other_cifar_model_is_rejected(model):
    with pytest.raises(ValueError, match="number of units in every block"):
        config.cifar_units(model)


def test_cifar_networks_have_the_units_of_the_releases_script_unless_told_otherwise():
    assert config.default_training_config("cifar10").model.model == "5"


def test_what_has_no_effect_in_a_plain_network_is_no_difference_between_two():
    plain = config.default_training_config("cluttered_digits", {"model_type": "vanilla", "tau": 0.1})
    other = config.default_training_config(
        "cluttered_digits", {"model_type": "vanilla", "tau": 0.2}, tau_warmup_steps=3
    )
    assert config.differences(plain, other) == []
    adaptive = [
        dataclasses.replace(each, model=dataclasses.replace(each.model, model_type="act")) for each in (plain, other)
    ]
    assert config.differences(*adaptive) == ["model.tau: 0.1, 0.2", "tau_warmup_steps: 0, 3"]
    assert config.differences(plain, adaptive[0]) == ["model.model_type: 'vanilla', 'act'"]


def test_two_runs_whose_lists_of_checkpoints_say_the_same_are_not_the_same_start(tmp_path):
    for name, checksums in (("a", "1"), ("b", "2"), ("copy_of_a", "1")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-3"\n')
        (tmp_path / name / "model.ckpt-3.index").write_text(checksums)
    settings = {
        name: config.default_training_config("cluttered_digits", finetune_path=str(tmp_path / name))
        for name in (
            "a",
            "b",
            "copy_of_a",
            "a/model.ckpt-3",
            "a/model.ckpt-3.index",
            "a/model.ckpt-3.data-00000-of-00001",
        )
    }
    (tmp_path / config.CONFIG_FILE).write_text(settings["a"].to_json())
    for name in set(settings) - {"b"}:
        config.check_same(str(tmp_path), settings[name], "")
    with pytest.raises(ValueError, match=r"finetune_path: '.*/a', '.*/b'"):
        config.check_same(str(tmp_path), settings["b"], "")


@pytest.mark.parametrize(
    ("setting", "idle_on", "used_on"),
    [
        ({"learning_rate_decay_factor": 0.5}, "cluttered_digits", "imagenet"),
        ({"num_epochs_per_decay": 2.0}, "cifar10", "imagenet"),
        ({"learning_rate_boundaries": (5,)}, "imagenet", "cifar10"),
        ({"model.stem_stride": 4}, "imagenet", "cluttered_digits"),
        ({"model.crop_size": 8}, "cifar10", "digit_scenes"),
        ({"model.freeze_batch_norm": True}, "imagenet", "digit_scenes"),
    ],
)
def test_a_run_that_was_begun_with_a_setting_that_it_does_not_use_goes_on_without(setting, idle_on, used_on):
    model = {name.removeprefix("model."): value for name, value in setting.items() if "." in name}
    fields = {name: value for name, value in setting.items() if "." not in name}

    def found(dataset):
        begun = config.default_training_config(dataset, model, **fields)
        return config.differences(begun, config.default_training_config(dataset))

    assert found(idle_on) == []
    assert [line.split(":")[0] for line in found(used_on)] == list(setting)


def test_the_start_of_a_run_may_be_named_in_other_words_and_move_with_it(tmp_path, monkeypatch):
    def write(path, text):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def settings(path):
        return config.default_training_config("cluttered_digits", finetune_path=path and str(path))

    study, start = tmp_path / "study", tmp_path / "study" / "vanilla"
    write(start / "checkpoint", "saved at 1")
    write(tmp_path / "other" / "vanilla" / "checkpoint", "saved at 2")
    write(study / "sact" / config.CONFIG_FILE, settings(start).to_json())
    monkeypatch.chdir(tmp_path)
    shutil.copytree(study, "copy")
    accepted = ["study/vanilla", f"{start}/", "study/sact/../vanilla", "copy/vanilla"]
    for path in accepted:
        config.check_same(str(study / "sact"), settings(path), "")
    config.check_same("copy/sact", settings("copy/vanilla"), "")
    os.rename(study, "moved")
    config.check_same("moved/sact", settings("moved/vanilla"), "")
    shutil.rmtree("copy")
    for path in ("other/vanilla", "moved/sact", None):
        with pytest.raises(ValueError, match=r"finetune_path: '.*study/vanilla'"):
            config.check_same("moved/sact", settings(path), "")


@pytest.mark.parametrize("dataset", ["imagenet", "digit_scenes"])
def test_what_xla_cannot_compile_to_the_bit_is_refused_where_a_run_is_configured(dataset):
    message = r"`jit_compile` compiles the step with XLA, whose gradient of max pooling.*Give --nodeterministic"
    with pytest.raises(ValueError, match=message):
        config.default_training_config(dataset, jit_compile=True)
    assert config.default_training_config(dataset, jit_compile=True, deterministic=False).jit_compile
    assert config.default_training_config("cifar10", jit_compile=True).deterministic


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: "", "it is empty"),
        (lambda text: "\0" * 500, "it is empty"),
        (lambda text: text[:200], r"it is cut short, or no JSON \(line 1\d\)"),
        (lambda text: "[]", "it has no names with values"),
        (lambda text: "[" * 100_000, "it is no JSON"),
        (lambda text: text.encode("utf-16"), "it is no text in UTF-8"),
        (lambda text: text.replace('"dataset"', '"data"'), "it lacks dataset"),
        (lambda text: text.replace('"seed"', '"sed"'), "this version of sact_tf knows no sed, which it has"),
        (lambda text: text.replace('"model": {', '"other": {'), "it lacks the network"),
        (lambda text: text.replace('"learning_rate": 0.1', '"learning_rate": "high"'), "`learning_rate` must be a pos"),
        (lambda text: text.replace('"dataset_dir": null', '"dataset_dir": 5'), "`dataset_dir` must be a path"),
        (lambda text: text.replace('"momentum": 0.9', '"momentum": true'), r"`momentum` must lie in \[0, 1\)"),
    ],
)
def test_what_is_wrong_with_a_run_s_configuration_is_said_in_words(tmp_path, change, said):
    changed = change(config.default_training_config("cluttered_digits").to_json())
    (tmp_path / config.CONFIG_FILE).write_bytes(changed if isinstance(changed, bytes) else changed.encode())
    with pytest.raises(ValueError, match=rf"config\.json: This is not .*: {said}.* Bring it back from a copy, or take"):
        config.read_config(str(tmp_path))


def test_a_checkpoint_in_the_place_of_its_run_is_told_apart_from_a_directory_without_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    for path in ("run/config.json", "run/model.ckpt-2.index", "config.json", "model.ckpt-2.index"):
        (tmp_path / path).touch()
    for name, directory in (("run/model.ckpt-2", "run"), ("model.ckpt-2", ".")):
        with pytest.raises(FileNotFoundError, match=rf"^{name} is a checkpoint, .* its directory, {directory}\.$"):
            config.read_config(name)
    with pytest.raises(FileNotFoundError, match=r"^run/model\.ckpt-3 holds no training run"):
        config.read_config("run/model.ckpt-3")


def test_a_run_s_configuration_that_an_editor_saved_is_read(tmp_path):
    begun = config.default_training_config("cluttered_digits", learning_rate_boundaries=(1, 2))
    text = "\ufeff" + json.dumps(json.loads(begun.to_json())).replace(", ", ",\r\n")
    (tmp_path / config.CONFIG_FILE).write_bytes(text.encode())
    assert config.read_config(str(tmp_path)) == begun


def test_a_setting_that_there_is_not_is_refused():
    for settings in ({"model": {"taus": 0.1}}, {"learning_rat": 0.1}, {"model": {"seed": 3}}):
        with pytest.raises(
            ValueError, match=r"There is no setting (taus|learning_rat|seed)\. Accepted are anchor_base_size"
        ):
            config.default_training_config("cifar10", **settings)
    assert config.default_training_config("cifar10", tau=0.5, seed=3).model.tau == 0.5


@pytest.mark.parametrize("name", ["deterministic", "jit_compile", "finetune_skip_logits"])
def test_the_text_false_does_not_count_as_true(name):
    with pytest.raises(ValueError, match=f"`{name}` must be True or False. Received: {name}='false'"):
        config.default_training_config("cifar10", finetune_path="x", **{name: "false"})
    model = config.default_training_config("cifar10").model
    with pytest.raises(ValueError, match="`use_moving_average` must be True or False"):
        config.CheckpointConfig(model=model, dataset="cifar10", checkpoint_dir="x", use_moving_average="false")


def test_paths_and_numbers_of_numpy_are_written_as_text_and_numbers(tmp_path):
    given = {"dataset_dir": tmp_path, "finetune_path": tmp_path / "run", "batch_size": np.int64(4)}
    written = config.TrainingConfig.from_json(config.default_training_config("cifar10", **given).to_json())
    assert (written.dataset_dir, written.finetune_path, written.batch_size) == (str(tmp_path), f"{tmp_path}/run", 4)
