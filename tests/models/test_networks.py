import copy
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import sact_tf
import sact_tf.losses
from sact_tf.config import MODEL_TYPES
from sact_tf.layers import AdaptiveBlock, BasicUnit, BottleneckUnit
from sact_tf.models import Backbone, CifarBackbone, Classifier

imagenet = functools.partial(sact_tf.imagenet_resnet, "2_1_1_1", num_classes=5, base_channels=2)
cifar = functools.partial(sact_tf.cifar_resnet, "2_1_1", num_classes=5, base_channels=2, image_shape=(None, None, 3))


@pytest.fixture(scope="module")
def networks():
    """Function from a network's name and a model type to the network, each built once."""
    return functools.cache(lambda name, model_type: {"imagenet": imagenet, "cifar": cifar}[name](model_type))


@pytest.mark.parametrize("model_type", MODEL_TYPES)
@pytest.mark.parametrize(
    ("name", "size", "block_sizes", "channels"),
    [
        ("imagenet", (67, 35), [(17, 9), (9, 5), (5, 3), (3, 2)], [8, 16, 32, 64]),
        ("cifar", (9, 6), [(9, 6), (5, 3), (3, 2)], [2, 4, 8]),
    ],
)
def test_outputs_have_the_documented_names_shapes_and_dtypes(
    networks, make_images, name, model_type, size, block_sizes, channels
):
    outputs = networks(name, model_type)(make_images(2, *size))
    blocks = [f"block{index + 1}" if name == "imagenet" else f"block_{index + 1}" for index in range(len(channels))]
    expected = {"logits": ((2, 5), "float32"), "predictions": ((2, 5), "float32"), "image_size": ((2, 2), "int32")}
    for block, block_size, depth, units in zip(blocks, block_sizes, channels, (2, 1, 1, 1), strict=False):
        expected[block] = (2, *block_size, depth), "float32"
        if model_type != "vanilla":
            decisions = (2, *block_size) if model_type == "sact" else (2,)
            expected[f"{block}/ponder_cost"] = decisions, "float32"
            expected[f"{block}/num_units"] = decisions, "int32"
            expected[f"{block}/halting_distribution"] = (*decisions, units), "float32"
    got = {key: (tuple(value.shape), keras.backend.standardize_dtype(value.dtype)) for key, value in outputs.items()}
    assert got == expected
    np.testing.assert_array_equal(outputs["image_size"], [size, size])
    np.testing.assert_allclose(outputs["predictions"], keras.ops.softmax(outputs["logits"]), atol=1e-6)


@pytest.mark.parametrize(("key", "name"), [("image_size", None), ("logits", "one"), ("one", "images")])
def test_block_that_would_take_the_place_of_another_output_is_rejected(key, name):
    block = AdaptiveBlock([BasicUnit(3)], "vanilla", name=name)
    with pytest.raises(ValueError, match=f"Give it another name, such as 'block1'. Received: '({key}|{name})'"):
        Backbone([], {key: block}, (None, None, 3), 1)


@pytest.mark.parametrize(
    ("argument", "value"),
    [("stem", None), ("stem", ["conv"]), ("blocks", {}), ("blocks", ["one"]), ("blocks", {"one": BasicUnit(3)})],
)
def test_what_no_backbone_is_made_of_is_refused(argument, value):
    made_of = {"stem": [], "blocks": {"one": AdaptiveBlock([BasicUnit(3)], "vanilla")}, argument: value}
    with pytest.raises(ValueError, match=rf"`{argument}` must be a (.|\n)*Received: {argument}="):
        Backbone(**made_of, image_shape=(None, None, 3), minimum_size=1)


def test_classifier_on_a_backbone_of_ones_own_is_saved_and_copied(make_images, tmp_path):
    blocks = {name: AdaptiveBlock([BasicUnit(6), BasicUnit(6)], "sact", name=name) for name in ("second", "first")}
    stem = [keras.layers.Conv2D(6, 3, strides=2, padding="same")]
    model = Classifier(Backbone(stem, blocks, (None, 14, 3), 2), 4, tau=0.1)
    blocks["second"].epsilon, blocks["first"].units[1].trainable = 0.3, False
    model.save(tmp_path / "model.keras")
    images = make_images(2, 9, 14)
    expected = model(images)
    for twin in (keras.models.load_model(tmp_path / "model.keras"), copy.deepcopy(model)):
        outputs = twin(images)
        for name, value in expected.items():
            np.testing.assert_array_equal(outputs[name], value, name)
        assert list(twin.blocks) == ["second", "first"]
        assert twin.backbone.minimum_size == 2
        assert len(twin.trainable_variables) == len(model.trainable_variables)


@pytest.mark.parametrize("name", ["imagenet", "cifar"])
@pytest.mark.parametrize("model", ["3_4", "abc", "0_1_1_1", "", None, 2.5, (1.0, 1.0, 1.0, 1.0), True, "1_1_1_1_1"])
def test_text_that_names_no_network_is_rejected(name, model):
    build = {"imagenet": sact_tf.imagenet_resnet, "cifar": sact_tf.cifar_resnet}[name]
    with pytest.raises(ValueError, match="`model` must be"):
        build(model, num_classes=5, base_channels=2)


@pytest.mark.parametrize("build", [imagenet, cifar])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"model_type": "SACT"}, "`model_type` must be one of"),
        ({"base_channels": 1.5}, "`base_channels` must be an int, at least 1. Received: base_channels=1.5"),
        ({"tau": -0.1}, "finite number >= 0"),
        ({"tau": float("nan")}, "finite number >= 0"),
        ({"label_smoothing": 1.0}, r"\[0, 1\)"),
        ({"label_smoothing": None}, r"`label_smoothing` must be a number in \[0, 1\)"),
        ({"weight_decay": -1}, "`weight_decay` .*finite number >= 0.*Received: weight_decay=-1"),
        ({"weight_decay": "1e-4"}, "`weight_decay` .*finite number >= 0"),
        ({"image_shape": None}, r"`image_shape` must be \(height, width, 3\).*Received: image_shape=None"),
        ({"image_shape": (64.5, 64, 3)}, r"`image_shape` must be \(height, width, 3\)"),
        ({"image_shape": (3, 64, 64)}, "channels_first"),
        ({"image_shape": (2, 64, 3)}, "at least"),
        ({"image_shape": (64, 64, 1)}, r"\(height, width, 3\)"),
        ({"image_shape": (64, 64)}, r"\(height, width, 3\)"),
    ],
)
def test_argument_outside_of_its_range_is_rejected(build, arguments, message):
    with pytest.raises(ValueError, match=message):
        build(**arguments)


@pytest.mark.parametrize("name", ["imagenet", "cifar"])
@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 40, 36, 3), "uint8"), "floating point(.|\n)*uint8"),
        (np.zeros((2, 40, 36, 3), "int32"), "floating point(.|\n)*int32"),
        (np.zeros((40, 36, 3), "float32"), r"image\[None\]"),
        (np.zeros((2, 3, 40, 36), "float32"), "channels_first"),
        (np.zeros((2, 40, 36, 1), "float32"), r"\(batch, height, width, 3\)"),
        (np.zeros((2, 40, 3, 3), "float32"), "at least"),
        ([np.zeros((2, 40, 36, 3), "float32")] * 2, "one tensor(.|\n)*list of 2"),
        ({"image": np.zeros((2, 40, 36, 3), "float32")}, r"data\.map(.|\n)*\['image'\]"),
    ],
)
def test_images_that_do_not_fit_are_rejected_with_the_way_out(networks, name, images, message):
    with pytest.raises(ValueError, match=message):
        networks(name, "sact")(images)


def test_images_may_come_in_a_list_of_one_or_by_the_name_of_the_input(networks, make_images):
    model, images = networks("cifar", "sact"), make_images(2, 40, 36)
    expected = model(images)["logits"]
    for given in ([images], {"images": images}):
        np.testing.assert_array_equal(model(given)["logits"], expected)
    np.testing.assert_array_equal(model.backbone({"images": images})["image_size"], [[40, 36]] * 2)


def test_images_of_unknown_rank_are_rejected_with_the_way_out(networks):
    call = tf.function(networks("cifar", "sact"), [tf.TensorSpec(None)], autograph=False)
    with pytest.raises(ValueError, match=r"ensure_shape(.|\n)*<unknown>"):
        call.get_concrete_function()


def test_ragged_and_sparse_images_are_rejected_with_the_way_out(networks, make_images):
    images = make_images(2, 12, 8)
    for given in (tf.ragged.stack([images[0], images[1, :8]]), tf.sparse.from_dense(images)):
        with pytest.raises(ValueError, match=rf"one dense tensor(.|\n)*Received: a {type(given).__name__}"):
            networks("cifar", "sact")(given)


def test_odd_channels_of_a_cifar_network_are_rejected_by_the_name_of_the_argument():
    with pytest.raises(ValueError, match=r"`base_channels` must be even: .* Received: base_channels=3"):
        cifar(base_channels=3)


def test_imagenet_networks_take_fixed_images_from_32_pixels_on():
    network = sact_tf.imagenet_resnet((1, 1, 1, 2), num_classes=3, base_channels=4, image_shape=(32, 40, 3))
    assert network(np.zeros((2, 32, 40, 3), np.float32))["logits"].shape == (2, 3)


@pytest.mark.parametrize("name", ["imagenet", "cifar"])
@pytest.mark.parametrize("model_type", ["vanilla", "act", "sact"])
def test_loss_is_cross_entropy_and_price_of_computation_and_weight_decay(make_images, name, model_type):
    build = {"imagenet": imagenet, "cifar": cifar}[name]
    model = build(model_type, tau=0.3, label_smoothing=0.2, weight_decay=0.05)
    model.compile("sgd", jit_compile=False)
    labels = np.array([4, 0, 2])
    outputs = model(make_images(3, 37, 33))
    targets = 0.8 * np.eye(5)[labels] + 0.2 / 5
    expected = -np.mean(np.sum(targets * np.log(np.array(outputs["predictions"], "float64")), axis=-1))
    expected += 0.3 * sum(np.mean(cost) for key, cost in outputs.items() if key.endswith("/ponder_cost"))
    kernels = [np.array(variable) for variable in model.trainable_variables if variable.name == "kernel"]
    expected += 0.05 * sum(np.sum(kernel**2) for kernel in kernels) / 2
    assert float(model.compute_loss(y=labels, y_pred=outputs)) == pytest.approx(expected, rel=1e-5)
    assert float(sum(model.loss_terms(labels, outputs).values())) == pytest.approx(expected, rel=1e-5)


def test_sample_weights_multiply_the_cross_entropy_alone(make_images):
    model = cifar("sact", tau=0.3, weight_decay=0.05)
    labels, weights = np.array([4, 0, 2]), np.array([0.5, 0.0, 3.0])
    outputs = model(make_images(3, 9, 6))
    plain = model.loss_terms(labels, outputs)
    each = -np.log(np.array(outputs["predictions"], "float64"))[np.arange(3), labels]
    expected = np.mean(weights * each) + float(plain["ponder"]) + float(plain["regularization"])
    loss = model.compute_loss(y=labels, y_pred=outputs, sample_weight=weights)
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert float(loss) != pytest.approx(float(model.compute_loss(y=labels, y_pred=outputs)), rel=1e-2)


@pytest.mark.parametrize(
    ("model_type", "graph"),
    [
        ("vanilla", False),
        ("sact", True),
        *(pytest.param(kind, True, marks=pytest.mark.slow) for kind in ("vanilla", "act", "act_early_stopping")),
    ],
)
def test_fit_on_int_labels_lowers_the_loss(make_images, model_type, graph):
    model = cifar(model_type, tau=0.01)
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), jit_compile=False, run_eagerly=not graph)
    images, labels = make_images(16, 9, 6), np.arange(16) % 5
    history = model.fit(images, labels, batch_size=8, epochs=3, shuffle=False, verbose=0).history
    assert history["loss"][-1] < 0.9 * history["loss"][0]
    assert set(history) == {"loss", "accuracy", "ponder_cost"}
    evaluated = model.evaluate(images, labels, batch_size=8, verbose=0, return_dict=True)
    assert np.isfinite(evaluated["loss"])
    assert model.predict(images, batch_size=8, verbose=0)["logits"].shape == (16, 5)


def test_more_processing_costs_more_where_tau_is_larger(networks, make_images):
    outputs = networks("cifar", "sact")(make_images(2, 9, 6))
    cheap, dear = (cifar("sact", tau=tau).loss_terms(np.array([1, 2]), outputs)["ponder"] for tau in (0.1, 0.2))
    assert float(dear) == pytest.approx(2 * float(cheap))


@pytest.mark.parametrize("name", ["imagenet", "cifar"])
def test_pyramid_levels_are_two_to_their_number_times_smaller(networks, make_images, name):
    backbone, images = networks(name, "sact").backbone, make_images(2, 64, 96)
    features = dict(backbone(images))
    pyramid = keras.Model(backbone.input, backbone.pyramid_outputs)(images)
    assert list(pyramid) == [f"P{number + (2 if name == 'imagenet' else 0)}" for number in range(len(backbone.blocks))]
    for (level, values), block in zip(pyramid.items(), backbone.blocks, strict=True):
        assert values.shape[1:3] == (64 // 2 ** int(level[1:]), 96 // 2 ** int(level[1:]))
        np.testing.assert_allclose(values, features[block], atol=1e-5)


@pytest.mark.parametrize("name", ["imagenet", "cifar"])
@pytest.mark.parametrize("differ", [False, True])
def test_backbone_adds_its_ponder_cost_to_the_model_it_is_part_of(networks, make_images, name, differ):
    backbone = networks(name, "sact").backbone
    numbers = {block: 0.1 * (number if differ else 1) for number, block in enumerate(backbone.blocks, 2)}
    config = {**backbone.get_config(), "ponder_weight": numbers if differ else 0.1}
    weighed = type(backbone).from_config(config)
    assert weighed.ponder_weight == weighed.get_config()["ponder_weight"] == config["ponder_weight"]
    images = keras.Input((None, None, 3))
    model = keras.Model(images, weighed(images)[list(numbers)[-1]])
    outputs = weighed(make_images(2, 64, 96))
    model(make_images(2, 64, 96))
    expected = [weight * outputs[f"{block}/ponder_cost"].numpy().mean() for block, weight in numbers.items()]
    ponder = sum(model.losses) - sact_tf.losses.regularization_loss(model)
    assert float(ponder) == pytest.approx(sum(expected), rel=1e-4)


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        (lambda model: model, "weight_decay", 0.5),
        (lambda model: model, "num_classes", 7),
        (lambda model: model.backbone, "model_type", "act"),
        (lambda model: model.blocks["block_1"].units[0], "norm_epsilon", 0.5),
        (lambda model: model.blocks["block_1"].halting_branches[0], "weight_decay", 0.5),
    ],
)
def test_what_is_settled_when_a_network_is_made_is_not_set_without_effect(networks, part, name, value):
    part = part(networks("cifar", "sact"))
    before = getattr(part, name)
    with pytest.raises(ValueError, match=rf"`{name}` of '{part.name}' is settled when it is made"):
        setattr(part, name, value)
    setattr(part, name, before)
    assert getattr(part, name) == part.get_config()[name] == before


def test_ponder_weights_of_other_blocks_are_rejected():
    with pytest.raises(ValueError, match=r"block_3(.|\n)*block3"):
        CifarBackbone((1, 1, 1), ponder_weight={"block_1": 0.1, "block_2": 0.1, "block3": 0.1})


def test_exported_model_gives_the_same_dict(networks, make_images, tmp_path):
    model, images = networks("cifar", "sact"), make_images(3, 9, 6)
    expected = model(images)
    model.export(str(tmp_path), verbose=False)
    reloaded = tf.saved_model.load(str(tmp_path))
    served = reloaded.serve(images)
    assert set(served) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(served[name], value, atol=1e-5, err_msg=name)


def test_ponder_cost_is_weighed_once():
    backbone = CifarBackbone((1, 1, 1), base_channels=2, ponder_weight=0.1)
    with pytest.raises(ValueError, match=r"`tau`(.|\n)*ponder_weight=0.1"):
        Classifier(backbone, 5)
    backbone.ponder_weight = None
    assert Classifier(backbone, 5, tau=0.1).backbone.get_config()["ponder_weight"] is None


def test_ponder_weight_that_a_classifier_would_not_use_is_refused_by_its_loss():
    model = cifar("sact")
    model.blocks["block_1"].ponder_weight = 0.1
    with pytest.raises(ValueError, match=r"its own `tau`(.|\n)*'block_1': 0\.1"):
        model.compute_loss(y=np.zeros(2), y_pred={})


def test_a_classifier_is_made_of_a_backbone(networks):
    for backbone in (5, networks("cifar", "sact")):
        with pytest.raises(ValueError, match=r"`backbone` must be a Backbone(.|\n)*Received: backbone="):
            Classifier(backbone, 3)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("norm_momentum", 2),
        ("norm_momentum", -0.1),
        ("norm_momentum", "0.9"),
        ("norm_epsilon", -1),
        ("norm_epsilon", None),
    ],
)
def test_normalization_that_is_none_is_refused(networks, name, value):
    makers = (
        lambda: Classifier(networks("cifar", "sact").backbone, 3, **{name: value}),
        lambda: BasicUnit(2, **{name: value}),
        lambda: BottleneckUnit(8, 2, **{name: value}),
    )
    for make in makers:
        with pytest.raises(ValueError, match=rf"`{name}` .* must be a number(.|\n)*Received: {name}={value!r}"):
            make()
