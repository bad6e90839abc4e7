"""The networks against figures of the original release, computed by it on TensorFlow 1.0.

The integers (units executed, FLOPs) are equal. Floats may differ by the order of summation: by 5e-5 of an array's
largest value was measured for `act`, by 5e-6 for the other types.
"""

import functools

import numpy as np
import pytest
import tensorflow as tf

import sact_tf
from sact_tf import halting
from sact_tf.checkpoints import named_variables
from sact_tf.config import MODEL_TYPES
from sact_tf.training.optimizers import Momentum

FORWARD_TOLERANCE = 1e-4
LOSS_TOLERANCE = 1e-5
GRADIENT_TOLERANCE = 1e-3
VARIABLE_TOLERANCE = 5e-5
# The mathematically zero gradients of biases before a batch normalization; the rest are larger than 1e-4.
ROUNDING_NOISE = 1e-6

FORWARD_NETWORKS = {
    "a_imagenet": functools.partial(sact_tf.imagenet_resnet, model="2_3_4_2", num_classes=11, base_channels=8),
    "c_cifar": functools.partial(sact_tf.cifar_resnet, model="3", num_classes=10, base_channels=8),
}
TRAINED_NETWORKS = {
    "d_train_imagenet_sact": functools.partial(
        sact_tf.imagenet_resnet, (2, 3, 2, 2), "sact", 11, 4, tau=0.01, label_smoothing=0.1
    ),
    "d_train_imagenet_act": functools.partial(
        sact_tf.imagenet_resnet, (2, 3, 2, 2), "act", 11, 4, tau=0.01, label_smoothing=0.1
    ),
    "d_train_cifar_sact": functools.partial(sact_tf.cifar_resnet, "3", "sact", 10, 4, tau=0.01),
    "d_train_cifar_vanilla": functools.partial(sact_tf.cifar_resnet, "3", "vanilla", 10, 4, tau=0.01),
}
# Graphs cost seconds: the training of one network is a graph, the others' graphs are long proofs.
IN_A_GRAPH = "d_train_cifar_sact"
TRAININGS = [
    (IN_A_GRAPH, "graph"),
    *((name, "eager") for name in TRAINED_NETWORKS if name != IN_A_GRAPH),
    *(pytest.param((name, "graph"), marks=pytest.mark.slow) for name in TRAINED_NETWORKS if name != IN_A_GRAPH),
]
WAYS_TO_RUN = {
    "eager": lambda model: functools.partial(model, training=False),
    "graph": lambda model: tf.function(functools.partial(model, training=False), autograph=False),
    "xla": lambda model: tf.function(functools.partial(model, training=False), autograph=False, jit_compile=True),
}
CASES = [f"{network}_{model_type}" for network in FORWARD_NETWORKS for model_type in MODEL_TYPES]
EARLY = "a_imagenet_act_early_stopping"
# So of these, too, only a few come before the long proofs.
RUNS = [
    *((case, "eager") for case in CASES),
    ("c_cifar_sact", "xla"),
    (EARLY, "batch1"),
    *(
        pytest.param(run, marks=pytest.mark.slow)
        for run in [
            *((case, "xla") for case in CASES if case.startswith("c_") and not case.endswith("_sact")),
            ("a_imagenet_sact", "xla"),
            ("a_imagenet_sact", "graph"),
            (EARLY, "graph"),
        ]
    ),
]


@functools.cache
def golden(path):
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}


def distance(ours, theirs):
    """Largest difference, relative to the largest value of the release's array."""
    assert ours.shape == theirs.shape
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


@functools.cache
def load_network(folder):
    network = next(name for name in FORWARD_NETWORKS if folder.name.startswith(name))
    model = FORWARD_NETWORKS[network](model_type=folder.name.removeprefix(f"{network}_"))
    sact_tf.load_release_checkpoint(model, folder)
    return model


def outcome(model, function, images):
    outputs = function(images)
    outputs = {**outputs, **sact_tf.flops.count(model, outputs)}
    return {name: value.numpy() for name, value in outputs.items()}


@pytest.fixture(scope="module", params=RUNS, ids=" ".join)
def forward(request, reference):
    """`(ours, theirs)`: every output of one network run in one way, FLOPs included."""
    case, way = request.param
    model = load_network(reference / case)
    if way != "batch1":
        theirs = golden(reference / case / "golden.npz")
        return outcome(model, WAYS_TO_RUN[way](model), theirs["inputs"]), theirs
    # One image at a time, so that units really are skipped; joined again afterwards.
    single = [golden(reference / f"{case}_batch1" / f"golden_img{image}.npz") for image in range(2)]
    function = WAYS_TO_RUN["graph"](model)
    runs = [outcome(model, function, theirs["inputs"]) for theirs in single]
    return [{name: np.concatenate([part[name] for part in parts]) for name in parts[0]} for parts in (runs, single)]


def block_names(arrays):
    return [name.removesuffix("/flops") for name in arrays if name.endswith("/flops")]


def compared(theirs, *suffixes):
    """Names of the release's arrays of some kinds that a network of this type has."""
    return [name for name in theirs if name.endswith(suffixes) and not name.startswith("debug/")]


def test_units_executed_are_the_release_s_everywhere(forward):
    ours, theirs = forward
    for name in compared(theirs, "/num_units"):
        np.testing.assert_array_equal(ours[name], theirs[name], name)
        assert ours[name].dtype == theirs[name].dtype == np.int32


def test_ponder_cost_and_halting_distribution_are_the_release_s(forward):
    ours, theirs = forward
    for name in compared(theirs, "/ponder_cost", "/halting_distribution"):
        assert distance(ours[name], theirs[name]) < FORWARD_TOLERANCE, name


def test_features_of_every_block_are_the_release_s(forward):
    ours, theirs = forward
    for name in block_names(theirs):
        assert distance(ours[name], theirs[name]) < FORWARD_TOLERANCE, name


def test_classes_are_the_release_s(forward):
    ours, theirs = forward
    for name in compared(theirs, "logits", "predictions"):
        assert distance(ours[name], theirs[name]) < FORWARD_TOLERANCE, name
    np.testing.assert_array_equal(ours["predictions"].argmax(-1), theirs["predictions_argmax"])


def test_flops_of_every_image_and_block_are_the_release_s(forward):
    ours, theirs = forward
    for name in compared(theirs, "flops"):
        # The release's sact FLOPs are (batch, batch), row i being image i's figure repeated.
        expected = theirs[name][:, 0] if theirs[name].ndim == 2 else theirs[name]
        np.testing.assert_array_equal(ours[name], expected, name)
        assert ours[name].dtype == theirs[name].dtype == np.int64


def test_every_figure_of_the_release_was_compared(forward):
    ours, theirs = forward
    assert {name for name in theirs if not name.startswith("debug/")} - set(ours) == {"inputs", "predictions_argmax"}
    assert len(block_names(theirs)) in (3, 4)


@pytest.mark.parametrize("case", [case for case in CASES if not case.endswith("vanilla")])
def test_the_recurrence_turns_the_release_s_probabilities_into_its_outcome(reference, case):
    theirs = golden(reference / case / "golden.npz")
    for block in block_names(theirs):
        distribution = theirs[f"{block}/halting_distribution"]
        units = distribution.shape[-1]
        probabilities = [theirs[f"debug/{block}/unit_{unit + 1}/halting_proba"] for unit in range(units - 1)]
        # Of the last unit the recurrence reads nothing.
        stacked = np.stack([*probabilities, np.zeros_like(probabilities[0])], axis=-1)
        halted = halting.run(stacked.reshape(distribution.shape), epsilon=0.01)
        np.testing.assert_array_equal(halted.num_units, theirs[f"{block}/num_units"])
        np.testing.assert_allclose(halted.ponder_cost, theirs[f"{block}/ponder_cost"], atol=2e-6)
        np.testing.assert_allclose(halted.halting_distribution, distribution, atol=2e-6)


@pytest.fixture(scope="module", params=TRAININGS, ids=" ".join)
def training(request, reference):
    """Three steps of the release's training, and what the release got: `(ours, theirs, folder)`."""
    name, way = request.param
    folder = reference / name
    theirs = golden(folder / "golden.npz")
    model = TRAINED_NETWORKS[name]()
    sact_tf.load_release_checkpoint(model, folder / "init.ckpt-0")
    variables = named_variables(model)
    optimizer = Momentum(learning_rate=0.1, momentum=0.9)
    optimizer.build(model.trainable_variables)
    names = {id(variable): name for name, variable in variables.items()}
    trained = [names[id(variable)] for variable in model.trainable_variables]

    def step():
        with tf.GradientTape() as tape:
            outputs = model(theirs["inputs"], training=True)
            terms = model.loss_terms(theirs["labels"], outputs)
            terms = {**terms, "total": sum(terms.values())}
        gradients = tape.gradient(terms["total"], [variable.value for variable in model.trainable_variables])
        optimizer.apply(gradients, model.trainable_variables)
        return outputs, terms, gradients

    if way == "graph":
        step = tf.function(step, autograph=False)

    def current():
        return {name: variable.numpy() for name, variable in variables.items()}

    outputs, terms, gradients = step()
    ours = {
        "outputs": {name: value.numpy() for name, value in outputs.items()},
        "terms": {name: float(value) for name, value in terms.items()},
        "gradients": {name: value.numpy() for name, value in zip(trained, gradients, strict=True)},
        "after_one": current(),
        "momentum": {name: slot.numpy() for name, slot in zip(trained, optimizer.momentums, strict=True)},
    }
    losses = [float(terms["total"]), float(step()[1]["total"]), float(step()[1]["total"])]
    ours["after_three"] = current()
    ours["losses"] = [*losses, float(step()[1]["total"])]
    return ours, theirs, folder


def under(theirs, prefix):
    return {name.removeprefix(prefix): value for name, value in theirs.items() if name.startswith(prefix)}


def test_training_pass_gives_the_release_s_outputs(training):
    ours, theirs, _ = training
    outputs = ours["outputs"]
    for name in compared(theirs, "/num_units"):
        np.testing.assert_array_equal(outputs[name], theirs[name], name)
    for name in compared(theirs, "logits", "predictions", "/ponder_cost", "/halting_distribution"):
        assert distance(outputs[name], theirs[name]) < FORWARD_TOLERANCE, name


def test_loss_terms_are_the_release_s(training):
    ours, theirs, _ = training
    expected = under(theirs, "loss/")
    assert set(ours["terms"]) == set(expected) == {"cross_entropy", "ponder", "regularization", "total"}
    for name, value in expected.items():
        assert ours["terms"][name] == pytest.approx(value, rel=LOSS_TOLERANCE), name


def test_gradient_of_every_variable_is_the_release_s(training):
    ours, theirs, _ = training
    expected = under(theirs, "grad/")
    assert set(ours["gradients"]) == set(expected)
    for name, value in expected.items():
        if np.abs(value).max() < ROUNDING_NOISE:
            assert np.abs(ours["gradients"][name]).max() < ROUNDING_NOISE, name
        else:
            assert distance(ours["gradients"][name], value) < GRADIENT_TOLERANCE, name


@pytest.mark.parametrize("step", ["one", "three"])
def test_all_variables_follow_the_release(training, step):
    ours, theirs, _ = training
    expected = under(theirs, {"one": "var_step1/", "three": "var_step3/"}[step])
    assert set(ours[f"after_{step}"]) == set(expected)
    # Three steps at a learning rate of .1 amplify rounding: noise of 1e-7 on the images moves the ImageNet network's
    # variables by up to 1.5e-3 in half of the draws.
    tolerance = {"one": VARIABLE_TOLERANCE, "three": 100 * VARIABLE_TOLERANCE}[step]
    for name, value in expected.items():
        assert distance(ours[f"after_{step}"][name], value) < tolerance, name


def test_momentum_after_a_step_is_the_release_s(training):
    ours, theirs, _ = training
    expected = under(theirs, "momentum_step1/")
    assert set(ours["momentum"]) == set(expected)
    for name, value in expected.items():
        if np.abs(value).max() >= ROUNDING_NOISE:
            assert distance(ours["momentum"][name], value) < GRADIENT_TOLERANCE, name


def test_checkpoint_after_a_step_has_our_variables_and_momentum(training):
    ours, _, folder = training
    if not (folder / "step1.ckpt-1.index").exists():
        pytest.skip("the release's checkpoint after a step is there for sact only")
    reader = tf.train.load_checkpoint(str(folder / "step1.ckpt-1"))
    slots = {f"{name}/Momentum": value for name, value in ours["momentum"].items()}
    written = {**ours["after_one"], **slots}
    assert set(reader.get_variable_to_shape_map()) == {*written, "global_step"}
    assert reader.get_tensor("global_step") == 1
    for name, value in written.items():
        theirs = reader.get_tensor(name)
        if np.abs(theirs).max() >= ROUNDING_NOISE:
            tolerance = GRADIENT_TOLERANCE if name in slots else VARIABLE_TOLERANCE
            assert distance(value, theirs) < tolerance, name


def test_losses_of_three_steps_and_after_are_the_release_s(training):
    ours, theirs, _ = training
    np.testing.assert_allclose(ours["losses"][:3], theirs["loss_sequence"][:3], rtol=LOSS_TOLERANCE)
    # The one after feels the third step's rounding; see `test_all_variables_follow_the_release`.
    np.testing.assert_allclose(ours["losses"][3], theirs["loss_sequence"][3], rtol=100 * LOSS_TOLERANCE)
