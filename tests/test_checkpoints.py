import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import sact_tf
from sact_tf.checkpoints import named_variables

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
    with pytest.raises(ValueError, match=r"missing from it(.|\n)*resnet_residual(.|\n)*left over(.|\n)*resnet_v2"):
        sact_tf.load_release_checkpoint(models(), reference / "a_imagenet_sact")


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
    sact_tf.initialize_from(model, path, skip_halting=False)
    assert_same(values_of(model), tensors)


def test_fine_tuning_for_other_classes_leaves_the_last_layer_alone(models, tmp_path):
    model, trained = tiny(num_classes=7), invented(models())
    path = write(tmp_path / "model.ckpt-1", trained)
    before = values_of(model)
    for load in (sact_tf.initialize_from, sact_tf.load_release_checkpoint):
        with pytest.raises(ValueError, match=r"skip_logits=True(.|\n)*--finetune_skip_logits(.|\n)*logits/weights"):
            load(model, path)
    assert_same(values_of(model), before)
    sact_tf.initialize_from(model, path, skip_halting=False, skip_logits=True)
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
