import dataclasses
import functools
import re
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import sact_tf
from sact_tf import checkpoints, export
from sact_tf.checkpoints import limits, named_variables
from sact_tf.config import ExportConfig, ModelConfig, TrainingConfig
from sact_tf.training.trainer import Trainer

HALTING = "/halting_proba/"
PREFIX = "resnet_residual/block_1/unit_1/residual"


def tiny(model_type="sact", **kwargs):
    return sact_tf.cifar_resnet("2_1_1", model_type, **{"num_classes": 3, "base_channels": 2, **kwargs})


def values_of(model):
    return {name: variable.numpy() for name, variable in named_variables(model).items()}


def invented(model, seed=3):
    """Values that no model starts with, by the release's names."""
    generator = np.random.default_rng(seed)
    return {name: generator.uniform(1, 2, value.shape).astype("float32") for name, value in values_of(model).items()}


def write(prefix, tensors):
    """A checkpoint as TF-Slim's `Saver` writes it: named tensors and nothing else."""
    names, values = list(tensors), [tf.constant(value) for value in tensors.values()]
    tf.raw_ops.SaveV2(prefix=str(prefix), tensor_names=names, shape_and_slices=[""] * len(names), tensors=values)
    return prefix


def assert_same(ours, theirs):
    assert set(ours) == set(theirs)
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value, name)


@pytest.fixture(scope="module")
def models():
    """Function from a model type to one model of it, shared by the tests, which all set its variables."""
    return functools.cache(lambda model_type="sact": tiny(model_type))


@pytest.mark.parametrize("model_type", ["vanilla", "act", "act_early_stopping", "sact"])
def test_every_variable_has_a_name_of_its_own(models, model_type):
    model = models(model_type)
    variables = named_variables(model)
    weights = [variable for variable in model.variables if "seed" not in variable.path]
    assert {id(variable) for variable in variables.values()} == {id(variable) for variable in weights}
    assert len(variables) == len(weights)
    assert any(HALTING in name for name in variables) == (model_type != "vanilla")


def test_names_are_those_the_release_wrote(reference):
    for folder, model in (
        ("a_imagenet_sact", sact_tf.imagenet_resnet("2_3_4_2", "sact", num_classes=11, base_channels=8)),
        ("c_cifar_act", sact_tf.cifar_resnet("3", "act", num_classes=10, base_channels=8)),
    ):
        lines = (reference / folder / "variables.txt").read_text().splitlines()
        written = {line.split(" ")[0] for line in lines} - {"global_step"}
        assert set(named_variables(model)) == {name for name in written if not name.endswith("/Momentum")}


@pytest.mark.parametrize("extra", ["nothing", "global step", "optimizer slots"])
def test_all_variables_are_set_from_a_prefix(models, tmp_path, extra):
    model = models()
    tensors = invented(model)
    extras = {
        "nothing": {},
        "global step": {"global_step": np.int64(12345)},
        "optimizer slots": {f"{name}/Momentum": value * 0 for name, value in tensors.items()},
    }[extra]
    sact_tf.load_release_checkpoint(model, write(tmp_path / "model.ckpt-12345", {**tensors, **extras}))
    assert_same(values_of(model), tensors)


def test_directory_stands_for_its_latest_checkpoint(models, tmp_path):
    model = models()
    write(tmp_path / "model.ckpt-1", invented(model, seed=1))
    write(tmp_path / "model.ckpt-2", invented(model, seed=2))
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-2"\n')
    sact_tf.load_release_checkpoint(model, str(tmp_path))
    assert_same(values_of(model), invented(model, seed=2))


@pytest.mark.parametrize("suffix", [".index", ".data-00000-of-00001", ".meta"])
def test_name_of_one_of_its_files_stands_for_a_checkpoint(models, tmp_path, suffix):
    model = models()
    write(tmp_path / "model.ckpt-1", invented(model, seed=4))
    sact_tf.load_release_checkpoint(model, tmp_path / f"model.ckpt-1{suffix}")
    assert_same(values_of(model), invented(model, seed=4))


def without(tensors, *names):
    return {name: value for name, value in tensors.items() if name not in names}


MISFITS = {
    "missing": (lambda t: without(t, f"{PREFIX}/preact/gamma", f"{PREFIX}/conv1/weights"),
                r"2 missing from it:\n  \S*conv1/weights\n  \S*preact/gamma"),
    "left over": (lambda t: {**t, "resnet_residual/Conv_1/weights": np.zeros(3, "float32")},
                  "1 left over in it:\n  resnet_residual/Conv_1/weights"),
    "of another shape": (lambda t: {**t, f"{PREFIX}/conv1/weights": np.zeros((3, 3, 2, 5), "float32")},
                         r"1 of another shape:\n  \S*conv1/weights: \[3, 3, 2, 5\] .*\[3, 3, 2, 2\]"),
    "renamed": (lambda t: {f"net/{name}": value for name, value in t.items()}, r"missing from (.|\n)*left over in it"),
}  # fmt: skip


@pytest.mark.parametrize("load", [sact_tf.load_release_checkpoint, sact_tf.initialize_from])
@pytest.mark.parametrize(("change", "message"), MISFITS.values(), ids=MISFITS)
def test_misfit_is_named_and_changes_nothing(models, tmp_path, load, change, message):
    model = models()
    before = values_of(model)
    path = write(tmp_path / "model.ckpt-1", change(invented(model, seed=5)))
    with pytest.raises(ValueError, match=message):
        load(model, path)
    assert_same(values_of(model), before)


@pytest.mark.parametrize("other", ["vanilla", "act"])
def test_checkpoint_of_another_model_type_is_rejected(models, tmp_path, other):
    model = models()
    before = values_of(model)
    path = write(tmp_path / "model.ckpt-1", values_of(models(other)))
    with pytest.raises(ValueError, match=r"initialize_from(.|\n)*local_conv/weights"):
        sact_tf.load_release_checkpoint(model, path)
    assert_same(values_of(model), before)


def test_checkpoint_of_another_network_is_rejected(models, reference):
    expected = r"missing from it(.|\n)*resnet_residual(.|\n)*left over(.|\n)*resnet_v2"
    with pytest.raises(ValueError, match=expected) as refusal:
        sact_tf.load_release_checkpoint(models(), reference / "a_imagenet_sact")
    # What to do about it is not above a screen of names.
    *_, last, more = (lines := str(refusal.value).splitlines())
    assert "It is of the network imagenet (--network), and the model is cifar." in lines[0]
    assert len(lines) == 1 + 2 * 14 and last.startswith("  resnet_v2/") and more == "  and 257 more"


@pytest.mark.parametrize("model_type", ["act", "sact"])
def test_fine_tuning_from_a_plain_network_leaves_the_halting_branches(models, tmp_path, model_type):
    model, tensors = models(model_type), invented(models("vanilla"))
    before = values_of(model)
    sact_tf.initialize_from(model, write(tmp_path / "model.ckpt-1", tensors))
    halting = {name: value for name, value in before.items() if HALTING in name}
    assert len(halting) > 4
    assert_same(values_of(model), {**tensors, **halting})


def test_fine_tuning_from_an_adaptive_network_leaves_its_halting_branches_alone_unless_told(models, tmp_path):
    model = models()
    before, tensors = values_of(model), invented(model, seed=7)
    path = write(tmp_path / "model.ckpt-1", tensors)
    sact_tf.initialize_from(model, path)
    kept = {name: before[name] if HALTING in name else value for name, value in tensors.items()}
    assert_same(values_of(model), kept)
    assert sact_tf.initialize_from(model, path, skip_halting=False) is True
    assert_same(values_of(model), tensors)


def test_fine_tuning_for_other_classes_leaves_the_last_layer_alone(models, tmp_path):
    model, trained = tiny(num_classes=7), invented(models())
    path = write(tmp_path / "model.ckpt-1", trained)
    before = values_of(model)
    for load in (sact_tf.initialize_from, sact_tf.load_release_checkpoint):
        with pytest.raises(ValueError, match=r"skip_logits=True(.|\n)*--finetune_skip_logits(.|\n)*logits/weights"):
            load(model, path)
    assert_same(values_of(model), before)
    assert sact_tf.initialize_from(model, path, skip_halting=False, skip_logits=True) is False
    logits = {name: value for name, value in before.items() if "/logits/" in name}
    assert len(logits) == 2
    assert_same(values_of(model), {**trained, **logits})


def test_fine_tuning_with_halting_branches_from_a_plain_network_is_rejected(models, tmp_path):
    path = write(tmp_path / "model.ckpt-1", invented(models("vanilla")))
    with pytest.raises(ValueError, match=r"missing from it(.|\n)*halting_proba/local_conv/weights"):
        sact_tf.initialize_from(models(), path, skip_halting=False)


def test_our_own_training_checkpoints_are_read_too(models, tmp_path):
    source = tiny()
    for name, variable in named_variables(source).items():
        variable.assign(invented(source, seed=8)[name])
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9)
    optimizer.build(source.trainable_variables)
    checkpoint = tf.train.Checkpoint(variables=named_variables(source), optimizer=optimizer, step=tf.Variable(3))
    path = checkpoint.save(str(tmp_path / "ckpt"))
    for given in (path, tmp_path):
        model = models()
        before = {name: variable.assign(variable * 0) for name, variable in named_variables(model).items()}
        sact_tf.load_release_checkpoint(model, given)
        assert_same(values_of(model), invented(source, seed=8))
        assert set(before) == set(values_of(model))


@pytest.mark.parametrize("kept_bytes", [0, 100, 2000])
def test_data_file_that_was_cut_short_is_reported_and_changes_nothing(models, tmp_path, kept_bytes):
    model = models()
    before = values_of(model)
    path = write(tmp_path / "model.ckpt-1", invented(model, seed=9))
    data = tmp_path / "model.ckpt-1.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:kept_bytes])
    with pytest.raises(ValueError, match=r"model\.ckpt-1 (is damaged|cannot be read)"):
        sact_tf.load_release_checkpoint(model, path)
    assert_same(values_of(model), before)


def test_index_file_that_is_damaged_is_reported(models, tmp_path):
    path = write(tmp_path / "model.ckpt-1", invented(models(), seed=9))
    (tmp_path / "model.ckpt-1.index").write_bytes(b"not a table")
    with pytest.raises(ValueError, match="damaged"):
        sact_tf.load_release_checkpoint(models(), path)


@pytest.mark.parametrize("path", ["", "nowhere/model.ckpt-1", "model.ckpt-77"])
def test_missing_checkpoint_is_reported_with_what_is_accepted(models, tmp_path, path):
    with pytest.raises(FileNotFoundError, match="checkpoint prefix"):
        sact_tf.load_release_checkpoint(models(), tmp_path / path)


@pytest.mark.parametrize("load", [sact_tf.load_release_checkpoint, sact_tf.initialize_from])
def test_anything_but_our_networks_is_rejected(tmp_path, load):
    somebodys = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match=r"imagenet_resnet(.|\n)*Sequential"):
        load(somebodys, tmp_path)


def invented_momentums(model, seed=13):
    return {name: value for name, value in invented(model, seed).items() if "/moving_" not in name}


def stored(path):
    reader = tf.train.load_checkpoint(path)
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def test_momentum_is_written_as_the_slots_that_the_release_goes_on_with(models, tmp_path):
    model = models()
    momentums = invented_momentums(model)
    path = sact_tf.save_release_checkpoint(model, tmp_path, 3, momentums)
    slots = {f"{name}/Momentum": value for name, value in momentums.items()}
    assert_same(stored(path), {**values_of(model), **slots, "global_step": np.int64(3)})
    assert {value.dtype for value in slots.values()} == {np.dtype("float32")}
    before = values_of(model)
    sact_tf.load_release_checkpoint(model, path)
    assert_same(values_of(model), before)


@pytest.mark.parametrize("step", [-1, 1.5, "3", True])
def test_a_step_that_is_none_is_refused_before_anything_is_written(models, tmp_path, step):
    with pytest.raises(ValueError, match="`global_step` must be an int, at least 0"):
        sact_tf.save_release_checkpoint(models(), tmp_path, step)
    assert not list(tmp_path.iterdir())


def test_with_momentum_a_checkpoint_has_the_bytes_that_the_release_wrote_in_training(reference, tmp_path):
    folder = reference / "d_train_cifar_sact"
    model = sact_tf.cifar_resnet("3", "sact", base_channels=4)
    sact_tf.load_release_checkpoint(model, folder / "step1.ckpt-1")
    given = stored(str(folder / "step1.ckpt-1"))
    momentums = {name.removesuffix("/Momentum"): value for name, value in given.items() if name.endswith("/Momentum")}
    sact_tf.save_release_checkpoint(model, tmp_path, 1, momentums)
    for ending in ("index", "data-00000-of-00001"):
        assert (tmp_path / f"model.ckpt-1.{ending}").read_bytes() == (folder / f"step1.ckpt-1.{ending}").read_bytes()


def one_name(model):
    return next(name for name in named_variables(model) if name.endswith("/gamma"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda value: None, r"missing:\n  \S*gamma"),
        (lambda value: value[:1], r"of another shape, or no floats:\n  \S*gamma: float32 \[1\], .*float32 \[8\]"),
        (lambda value: value.astype("int32"), r"gamma: int32 \[8\]"),
    ],
    ids=["missing", "cut", "integers"],
)
def test_momentum_that_does_not_fit_is_named_and_nothing_is_written(models, tmp_path, change, message):
    momentums = invented_momentums(models())
    changed = change(momentums.pop(one_name(models())))
    momentums |= {} if changed is None else {one_name(models()): changed}
    with pytest.raises(ValueError, match=message):
        sact_tf.save_release_checkpoint(models(), tmp_path, 3, momentums)
    assert not list(tmp_path.iterdir())


def test_momentum_of_a_moving_statistic_is_refused(models, tmp_path):
    name = next(name for name in named_variables(models()) if name.endswith("/moving_mean"))
    momentums = {**invented_momentums(models()), name: np.zeros(2, "float32")}
    with pytest.raises(ValueError, match=rf"of no trainable variable:\n  {name}"):
        sact_tf.save_release_checkpoint(models(), tmp_path, 3, momentums)


RUN = TrainingConfig(
    model=ModelConfig(network="cifar", model="2_1_1", model_type="sact", num_classes=3, base_channels=2),
    dataset="cifar10",
    image_size=32,
    batch_size=2,
    learning_rate=0.1,
    learning_rate_schedule="constant",
    max_number_of_steps=5,
    deterministic=False,
)
RUNS = {
    "plain": RUN,
    "moving averages": dataclasses.replace(RUN, moving_average_decay=0.5),
    "loss scale": dataclasses.replace(RUN, model=dataclasses.replace(RUN.model, dtype="mixed_float16")),
}


@pytest.fixture(scope="module", params=RUNS.values(), ids=RUNS)
def our_run(request, tmp_path_factory):
    """Configuration, trainer and checkpoint of a run of ours whose momenta are all different."""
    trainer = Trainer(request.param, tf.distribute.get_strategy())
    inner = getattr(trainer.optimizer, "inner_optimizer", trainer.optimizer)
    names = {id(variable): name for name, variable in named_variables(trainer.model).items()}
    expected = invented_momentums(trainer.model)
    for variable, momentum in zip(trainer.model.trainable_variables, inner.momentums, strict=True):
        momentum.assign(expected[names[id(variable)]])
    trainer.step.assign(4)
    return request.param, trainer, trainer.checkpoint.write(str(tmp_path_factory.mktemp("run") / "model.ckpt-4"))


def test_momentum_of_our_own_run_is_read_by_name(our_run):
    _, trainer, path = our_run
    assert_same(checkpoints.read_momentums(trainer.model, path), invented_momentums(trainer.model))


def exported(config, path, directory, **fields):
    lines = []
    fields = {"model": config.model, "dataset": "cifar10", "image_size": 32, "format": "release", **fields}
    written = export.export(
        ExportConfig(checkpoint_dir=str(path), output_dir=str(directory), **fields), log=lines.append
    )
    return stored(written), "\n".join(lines)


def test_exported_run_has_momentum_and_step_and_says_that_training_goes_on(our_run, tmp_path):
    config, trainer, path = our_run
    written, said = exported(config, path, tmp_path / "out")
    slots = {f"{name}/Momentum": value for name, value in invented_momentums(trainer.model).items()}
    assert_same(written, {**values_of(trainer.model), **slots, "global_step": np.int64(4)})
    assert "with momentum and step: the release's training goes on from it" in said
    assert "scripts have base_channels=16, not base_channels=2, and no flag for it" in said


def assert_not_for_going_on(written, said):
    assert written and not [name for name in written if name.endswith("/Momentum")]
    assert "without momentum: for the release's evaluation, export and --finetune_path, not for going on" in said


def test_export_of_a_release_checkpoint_without_momentum_says_what_it_is_good_for(our_run, tmp_path):
    config, trainer, _ = our_run
    path = write(tmp_path / "model.ckpt-4", values_of(trainer.model))
    assert_not_for_going_on(*exported(config, path, tmp_path / "out"))


@pytest.mark.parametrize("our_run", [RUNS["moving averages"]], ids=["moving averages"], indirect=True)
def test_averages_are_exported_without_the_momentum_of_other_weights(our_run, tmp_path):
    config, _, path = our_run
    assert_not_for_going_on(*exported(config, path, tmp_path / "out", use_moving_average=True))


def test_momentum_of_a_run_of_other_variables_is_not_taken(models, tmp_path):
    model = models()
    few = tf.train.Checkpoint(variables=named_variables(model), optimizer={"0": tf.Variable(1), "1": tf.Variable(2.0)})
    assert checkpoints.read_momentums(model, few.write(str(tmp_path / "few"))) == {}


def other_head():
    model = tiny()
    settings = {"pool_first": False, "activation": "relu", "norm_momentum": 0.9, "norm_epsilon": 1e-3}
    return sact_tf.models.Classifier(model.backbone, 3, **settings)


def other_threshold():
    model = tiny()
    model.blocks["block_2"].epsilon = 0.1
    return model


@pytest.mark.parametrize(
    ("make", "messages"),
    [
        (lambda: tiny(stem_stride=2), ["no stem_stride=2. Its code restores this checkpoint, but computes another"]),
        (lambda: tiny("act"), [r"cannot build an `act` network .*\(block_2, block_3\).*model_type=act_early"]),
        (other_head, ["pool_first=False", "activation=relu"]),
        (other_threshold, [r"epsilon \(of block_2\)=0\.1"]),
    ],
    ids=["stride", "one unit", "head", "threshold"],
)
def test_what_the_release_cannot_do_is_warned_of(tmp_path, make, messages):
    model = make()
    with pytest.warns(UserWarning) as caught:
        sact_tf.save_release_checkpoint(model, tmp_path, 3)
    assert len(caught) == len(messages)
    for warning, message in zip(caught, messages, strict=True):
        assert re.search(message, str(warning.message))


@pytest.mark.parametrize(
    ("fields", "note"),
    [
        ({"model_type": "act"}, "cannot build"),
        ({"model_type": "sact", "stem_stride": 2}, "stem_stride=2"),
    ],
    ids=["one unit", "stride"],
)
def test_the_command_notes_it_once_and_does_not_warn_as_well(tmp_path, fields, note):
    config = dataclasses.replace(RUN, model=dataclasses.replace(RUN.model, **fields))
    path = Trainer(config, tf.distribute.get_strategy()).checkpoint.write(str(tmp_path / "model.ckpt-0"))
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        _, said = exported(config, path, tmp_path / "out")
    assert said.count(note) == 1
    assert "with momentum and step" in said and "training goes on from it" not in said


def test_what_the_scripts_of_the_release_set_otherwise_is_noted_and_their_training_only_where_it_goes_on():
    model = tiny("act_early_stopping", num_classes=10, base_channels=16, label_smoothing=0.1, weight_decay=0.01)
    assert limits.script_settings(model, resuming=False) == []
    early_stopping, decay, smoothing = limits.script_settings(model, resuming=True)
    assert "Go on with its --model_type=act" in early_stopping
    assert "have weight_decay=0.0002, not weight_decay=0.01, and no flag" in decay
    assert "have label_smoothing=0.0, not label_smoothing=0.1, and no flag" in smoothing


@pytest.mark.parametrize("model_type", ["vanilla", "act_early_stopping", "sact"])
def test_what_the_release_can_do_is_written_without_a_warning(models, tmp_path, model_type):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sact_tf.save_release_checkpoint(models(model_type), tmp_path, 3)


def test_the_home_directory_is_written_to_as_it_is_read_from(models, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert sact_tf.save_release_checkpoint(models(), "~", 3) == str(tmp_path / "model.ckpt-3")
    sact_tf.load_release_checkpoint(models(), "~")


def test_variables_of_another_precision_are_written_as_the_float32_that_the_release_restores(tmp_path):
    path = sact_tf.save_release_checkpoint(tiny("vanilla", dtype="bfloat16"), tmp_path, 3)
    dtypes = tf.train.load_checkpoint(path).get_variable_to_dtype_map()
    assert {str(dtype.name) for name, dtype in dtypes.items() if name != "global_step"} == {"float32"}


def test_anything_but_our_networks_is_not_written(tmp_path):
    somebodys = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match=r"imagenet_resnet(.|\n)*Sequential"):
        sact_tf.save_release_checkpoint(somebodys, tmp_path, 3)


def test_lora_which_no_checkpoint_has_is_refused_with_the_way_out(models, tmp_path):
    model, twin = tiny(), models()
    convolution = model.blocks["block_1"].units[0].conv1
    convolution.enable_lora(1)
    convolution.lora_kernel_b.assign(np.ones(convolution.lora_kernel_b.shape))
    message = "'block_1/unit_1/conv1' has a LoRA beside it.*save_weights"
    with pytest.raises(ValueError, match=message):
        sact_tf.save_release_checkpoint(model, tmp_path, 3)
    with pytest.raises(ValueError, match=message):
        sact_tf.initialize_from(model, write(tmp_path / "model.ckpt", values_of(twin)))
    model.save_weights(tmp_path / "joined.weights.h5")
    twin.load_weights(tmp_path / "joined.weights.h5")
    np.testing.assert_array_equal(twin.blocks["block_1"].units[0].conv1.kernel, convolution.kernel)
