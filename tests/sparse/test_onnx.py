"""The graph of ONNX against the models that it is made of, in ONNX Runtime."""

import copy
import functools
import itertools
import pathlib
import pickle
import random
import sys
import tomllib
import types

import keras
import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf

import sact_tf
from sact_tf import flops, sparse
from sact_tf.config import MODEL_TYPES
from sact_tf.layers import AdaptiveBlock, BasicUnit, BottleneckUnit, halting_at
from sact_tf.models import Backbone, Classifier
from sact_tf.sparse.onnx import graph, network, rows, runtime, sums, turns

THREADS = pathlib.Path("/proc/self/task")

NETWORKS = {
    "imagenet": functools.partial(sact_tf.imagenet_resnet, [1, 3, 1, 1], num_classes=11, base_channels=8),
    "cifar": functools.partial(
        sact_tf.cifar_resnet, [2, 3, 1], num_classes=11, base_channels=8, image_shape=(None, None, 3)
    ),
}
RUNS_EMPTY_BATCHES = tuple(map(int, onnxruntime.__version__.split(".")[:2])) >= (1, 32)
SHAPES = [(3, 41, 67), (1, 64, 35), (9, 35, 32)]


@pytest.fixture(scope="module")
def networks(randomize, spread_halting):
    """Function from a network's name and a model type to a model, made once."""

    @functools.cache
    def make(name, model_type):
        random.seed(17)
        model = NETWORKS[name](model_type=model_type)
        return spread_halting(randomize(model), gain=3.0 if model_type == "sact" else 30.0)

    return make


def runner(written):
    """Function from images to a dict, of an `onnx.ModelProto`."""
    session = onnxruntime.InferenceSession(written.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda images: dict(zip(names, session.run(None, {"images": images}), strict=True))


@pytest.fixture(scope="module")
def run_of(networks):
    """Function from a network, a model type and an engine to `runner`, with the features, made once."""
    return functools.cache(
        lambda name, model_type, engine="sparse": runner(
            network.write_network(networks(name, model_type), engine, features=True)
        )
    )


def answers(model, images):
    """What the model returns, with FLOPs."""
    outputs = dict(model(images, training=False))
    return {**outputs, **flops.count(model, outputs)}


@pytest.fixture(scope="module")
def answers_of(networks, make_images):
    """Function from a network, a model type and a shape to `answers`, computed once."""
    return functools.cache(
        lambda name, model_type, shape: answers(networks(name, model_type), images_of(make_images, shape))
    )


def images_of(make_images, shape):
    """Images of different brightness, so that ACT tells them apart."""
    return make_images(*shape) + np.linspace(2.0, -2.0, shape[0], dtype="float32")[:, None, None, None]


@pytest.mark.parametrize("engine", ["sparse", "masked"])
@pytest.mark.parametrize(
    ("name", "model_type"),
    [
        # The graph is that of ACT, with or without early stopping.
        pytest.param(*each, marks=[pytest.mark.slow] * (each == ("imagenet", "act_early_stopping")))
        for each in itertools.product(NETWORKS, MODEL_TYPES)
    ],
)
def test_graph_returns_what_the_model_returns_at_every_size(
    run_of, make_images, answers_of, assert_same, name, model_type, engine
):
    run, counts = run_of(name, model_type, engine), set()
    for shape in SHAPES:
        expected = answers_of(name, model_type, shape)
        assert_same(run(images_of(make_images, shape)), expected)
        counts |= {int(n) for key, value in expected.items() if "/num_units" in key for n in np.unique(value)}
    assert (counts == {1, 2, 3}) == (model_type != "vanilla")


def test_what_is_said_of_an_image_that_is_not_finite_is_nan(networks, run_of, make_images, assert_same):
    model, images = networks("imagenet", "act"), make_images(3, 41, 67)
    images[1, 20, 30, 1], images[2, 40, 66, 0] = np.nan, -np.inf
    got = run_of("imagenet", "act")(images)
    expected = answers(model, images)
    for name in ("logits", "predictions"):
        assert np.isnan(got[name][1:]).all()
        np.testing.assert_allclose(got.pop(name)[0], expected.pop(name)[0], atol=1e-4)
    assert_same(got, expected)


@pytest.mark.skipif(not RUNS_EMPTY_BATCHES, reason="ONNX Runtime before 1.32 stops at a batch without images")
@pytest.mark.parametrize("model_type", ["sact", "act"])
@pytest.mark.parametrize("name", NETWORKS)
def test_no_images_give_empty_outputs(run_of, make_images, assert_same, name, model_type):
    run = run_of(name, model_type)
    images = make_images(2, 40, 37)
    assert_same(run(images[:0]), {key: value[:0] for key, value in run(images).items()})


@pytest.mark.parametrize("numbers", [[[0, 1, 2, 3, 4], [0, 2, 3], [0, 2, 3], [2, 3], [3]], [[1], [], [], []]])
def test_what_fewer_and_fewer_rows_get_is_added_up(numbers):
    written, rows = graph.Graph(), 5
    total, expected, before = sums.Sum("first"), np.ones((rows, 1)), list(range(rows))
    given, kinds = {"first": np.ones((rows, 1), "float32")}, {"first": (graph.FLOAT, ("rows", 1))}
    for index, ran in enumerate(numbers):
        change = np.reshape([10.0**index * (1 + row) for row in ran], (-1, 1))
        expected[ran] += change
        values = np.reshape(ran, (-1, 1)), np.reshape([before.index(row) for row in ran], (-1, 1)), change
        names = [f"{name}_{index}" for name in ("numbers", "among", "change")]
        for name, value, dtype in zip(names, values, ("int64", "int64", "float32"), strict=True):
            given[name] = value.astype(dtype)
            kinds[name] = (graph.FLOAT if dtype == "float32" else graph.INT64, (f"ran_{index}", 1))
        total, before = total.add(written, *names), ran
    model = written.model("sum", kinds, {"total": (total.total(written), graph.FLOAT, ("rows", 1))}, {})
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(session.run(None, given)[0], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("batch", "side", "lengths"),
    [(1, 8, [1]), (3, 8, [3]), (4, 8, [2, 2]), (7, 8, [3, 3, 1]), (9, 8, [3, 3, 3]), (3, 20, [1, 1, 1]), (0, 8, [0])],
)
def test_turns_are_of_so_many_pixels_and_at_least_of_one_image(monkeypatch, batch, side, lengths):
    monkeypatch.setattr(turns, "PIXELS", 3 * 8 * 8 + 60)
    written = graph.Graph()

    def lengths_and_images(inner, some, same):
        return [(inner.size(some, 0), graph.INT64), (inner.op("Add", some, same), graph.FLOAT)]

    names = turns.in_turns(written, ["images", "images"], lengths_and_images)
    kinds = [(graph.INT64, ("turns",)), (graph.FLOAT, ("batch", "height", "width", 1))]
    outputs = {name: (value, *kind) for name, value, kind in zip(["lengths", "twice"], names, kinds, strict=True)}
    images = np.random.default_rng(1).normal(size=(batch, side, side, 1)).astype("float32")
    got = runner(written.model("turns", {"images": kinds[1]}, outputs, {}))(images)
    assert got["lengths"].tolist() == lengths
    np.testing.assert_array_equal(got["twice"], images + images)


def test_a_batch_in_turns_gives_what_the_model_gives(networks, make_images, assert_same, monkeypatch):
    monkeypatch.setattr(turns, "PIXELS", 3 * 41 * 67)
    model, images = networks("imagenet", "sact"), images_of(make_images, (9, 41, 67))
    written, expected = network.write_network(model, features=True), answers(model, images)
    run = runner(written)
    for batch in (9, 7, 4, 1):
        assert_same(run(images[:batch]), {key: value[:batch] for key, value in expected.items()})
    larger = make_images(2, 130, 97)
    assert_same(run(larger), answers(model, larger))


@pytest.mark.parametrize("engine", ["sparse", "masked"])
@pytest.mark.parametrize(("name", "model_type"), [("imagenet", each) for each in MODEL_TYPES] + [("cifar", "sact")])
def test_only_what_gathers_positions_has_a_loop(networks, name, model_type, engine):
    written = network.write_network(networks(name, model_type), engine)
    loops = [node for each in graphs(written.graph) for node in each.node if node.op_type == "Loop"]
    assert len(loops) == ((name, model_type, engine) == ("imagenet", "sact", "sparse"))


@pytest.mark.parametrize("features", [False, True])
@pytest.mark.parametrize("model_type", MODEL_TYPES)
@pytest.mark.parametrize("name", NETWORKS)
def test_nothing_is_computed_that_nobody_reads(networks, name, model_type, features):
    graph = network.write_network(networks(name, model_type), features=features).graph
    read, made = {output.name for output in graph.output}, {constant.name for constant in graph.initializer}

    def look(nodes):
        for node in nodes:
            read.update(node.input)
            made.update(node.output if len(node.output) == 1 else ())
            for body in (attribute.g for attribute in node.attribute if attribute.HasField("g")):
                read.update(output.name for output in body.output)
                look(body.node)

    look(graph.node)
    assert made <= read


@pytest.mark.parametrize("dense_from", [0.0, 2.0])
def test_positions_give_the_same_on_maps_and_gathered(networks, make_images, assert_same, monkeypatch, dense_from):
    monkeypatch.setattr(rows, "DENSE_FROM", dense_from)
    model, images = networks("imagenet", "sact"), make_images(2, 70, 45)
    assert_same(runner(network.write_network(model, features=True))(images), answers(model, images))


@pytest.mark.parametrize("model_type", ["sact", "act"])
@pytest.mark.parametrize(("bias", "units"), [(9.0, 1), (-30.0, 3)])
def test_everything_halts_at_once_or_nothing_does(
    networks, make_images, assert_same, spread_halting, bias, units, model_type
):
    model = NETWORKS["imagenet"](model_type=model_type)
    model.set_weights(networks("imagenet", model_type).get_weights())
    spread_halting(model, bias=bias, gain=0.01)
    images = make_images(2, 40, 67)
    ours = runner(network.write_network(model))(images)
    expected = answers(model, images)
    assert_same(ours, {key: expected[key] for key in ours})
    np.testing.assert_array_equal(ours["block2/num_units"], units)


@pytest.mark.parametrize(("model_type", "batch"), [("sact", 2), ("act", 4)])
def test_one_position_or_image_is_left(networks, make_images, assert_same, model_type, batch):
    model = NETWORKS["imagenet"](model_type=model_type)
    model.set_weights(networks("imagenet", model_type).get_weights())
    images, block = images_of(make_images, (batch, 67, 40)), model.blocks["block2"]
    branch = block.halting_branches[0]
    probability = branch(block.units[0](model(images)["block1"])).numpy().ravel().astype("float64")
    with np.errstate(divide="ignore"):
        first, second = np.sort(np.log(probability / (1 - probability)))[:2]
    conv = branch.local_conv if model_type == "sact" else branch.global_conv
    # Halting takes a probability of .99.
    conv.bias.assign_add([np.log(0.99 / 0.01) - (first + second) / 2])
    ours, expected = runner(network.write_network(model))(images), answers(model, images)
    assert np.count_nonzero(ours["block2/num_units"] > 1) == 1
    assert_same(ours, {key: expected[key] for key in ours})


def test_halted_positions_that_would_overflow_leave_their_image_as_it_is(make_images, assert_same, spread_halting):
    random.seed(17)
    units = [BottleneckUnit(8, 4) for _ in range(3)]
    block = AdaptiveBlock(units, "sact", name="block")
    stem = [keras.layers.Conv2D(8, 1, kernel_initializer="ones")]
    backbone = Backbone(stem, {"block": block}, (None, None, 3), 1)
    spread_halting(backbone, bias=-3.0, gain=0.0)
    for branch in block.halting_branches:
        branch.local_conv.kernel.assign(np.full(branch.local_conv.kernel.shape, 1e-3))
    # The first unit adds nothing, so that one position alone is hot; the next ones overflow there.
    units[0].conv3.kernel.assign(np.zeros(units[0].conv3.kernel.shape))
    units[1].conv1.kernel.assign(1e10 * units[1].conv1.kernel)
    images = make_images(2, 24, 17)
    images[1, 12, 8] = 1e30
    expected = answers(backbone, images)
    # It halts at once, with the eight around it.
    np.testing.assert_array_equal(np.argwhere(expected["block/num_units"] == 1)[[0, -1]], [[1, 11, 7], [1, 13, 9]])
    assert np.isfinite(expected["block"]).all()
    assert_same(runner(network.write_network(backbone, features=True))(images), expected)
    ours = sparse.compile(backbone)(images)
    assert_same(ours, {name: expected[name] for name in ours})


@pytest.mark.parametrize("case", ["a_imagenet_sact", "a_imagenet_act", "c_cifar_sact", "c_cifar_act_early_stopping"])
def test_graph_returns_what_the_release_returned(reference, case):
    _, kind, model_type = case.split("_", 2)
    if kind == "imagenet":
        model = sact_tf.imagenet_resnet("2_3_4_2", model_type, 11, 8)
    else:
        model = sact_tf.cifar_resnet("3", model_type, base_channels=8)
    sact_tf.load_release_checkpoint(model, reference / case)
    with np.load(reference / case / "golden.npz") as golden:
        theirs = {key: golden[key] for key in golden.files if not key.startswith("debug/")}
    ours = sparse.compile(model, runtime="onnx", features=True)(theirs["inputs"])
    compared = set(ours) & set(theirs)
    assert {key.rpartition("/")[2] for key in compared} >= {"logits", "num_units", "ponder_cost", "flops"}
    for key in compared:
        if key.endswith(("num_units", "flops")):
            # The release gives a SACT block's FLOPs once more for every image of the batch.
            columns = theirs[key][:, 0] if key.endswith("flops") and theirs[key].ndim == 2 else theirs[key]
            np.testing.assert_array_equal(ours[key], columns, key)
        else:
            np.testing.assert_allclose(
                ours[key], theirs[key], rtol=0, atol=1e-4 * np.abs(theirs[key]).max(), err_msg=key
            )


def test_backbone_and_stochastic_depth_are_written_too(make_images, assert_same, randomize):
    model = sact_tf.cifar_resnet(
        [2, 1, 1], "vanilla", 5, 4, image_shape=(None, None, 3), final_survival_probability=0.5
    )
    images = make_images(2, 9, 14)
    backbone = randomize(model).backbone
    assert_same(runner(network.write_network(backbone, features=True))(images), answers(backbone, images))


class Widening(BottleneckUnit):
    """A unit whose 3x3 convolution has two channels more than the one before it."""

    def __init__(self, filters, bottleneck_filters):
        super().__init__(filters, bottleneck_filters)
        self.conv2.filters += 2

    def build(self, input_shape):
        wide = (None, None, None, self.conv2.filters)
        self.norm2.build(wide)
        self.conv3.build(wide)
        for layer in (self.norm2, self.conv3):
            layer.build = lambda shape: None
        super().build(input_shape)


def test_units_of_both_kinds_and_shortcuts_without_weights_are_written(
    make_images, assert_same, randomize, spread_halting
):
    random.seed(17)

    def block(name, *units, **settings):
        return AdaptiveBlock(list(units), "sact", name=name, **settings)

    blocks = [
        block("narrowing", BottleneckUnit(8, 4, stride=2), BottleneckUnit(8, 4), BottleneckUnit(8, 3)),
        block("mixed", BasicUnit(8), BottleneckUnit(8, 4), epsilon=0.3),
        block("growing", BottleneckUnit(300, 140), BottleneckUnit(300, 140), epsilon=0.3),
        block("basic_last", BottleneckUnit(300, 4), BasicUnit(300), epsilon=0.3),
        block("widening", BottleneckUnit(300, 4), Widening(300, 4), epsilon=0.3),
    ]
    stem = [keras.layers.Conv2D(8, 3, padding="same")]
    backbone = Backbone(stem, {each.name: each for each in blocks}, (None, None, 3), 2)
    spread_halting(randomize(backbone), gain=3.0)
    images = make_images(2, 23, 14)
    expected = answers(backbone, images)
    assert sum(len(np.unique(expected[f"{each.name}/num_units"])) > 1 for each in blocks) >= 3
    assert_same(runner(network.write_network(backbone, features=True))(images), expected)


def test_epsilon_is_that_of_the_moment_and_a_number(networks, make_images, assert_same):
    model, images = networks("cifar", "sact"), make_images(2, 9, 14)
    with halting_at(0.5):
        ours, expected = runner(network.write_network(model))(images), answers(model, images)
    assert_same(ours, {key: expected[key] for key in ours})
    assert (answers(model, images)["flops"] > expected["flops"]).numpy().all()
    with halting_at(tf.Variable(0.5)), pytest.raises(ValueError, match=r"one epsilon(.|\n)*Give it a number"):
        network.write_network(model)


def graphs(graph):
    """A graph and those within it."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from graphs(attribute.g)


@pytest.mark.parametrize("engine", ["sparse", "masked"])
def test_file_has_standard_operations_alone_and_no_features_unless_asked_for(networks, engine):
    written = network.write_network(networks("imagenet", "sact"), engine)
    assert [(each.domain, each.version) for each in written.opset_import] == [("", 18)]
    assert {node.domain for graph in graphs(written.graph) for node in graph.node} == {""}
    outputs = {output.name for output in written.graph.output}
    assert outputs >= {"logits", "predictions", "flops", "block1/num_units", "block4/flops"} and "block1" not in outputs
    onnx.checker.check_model(written, full_check=True)


def test_kernels_for_maps_and_for_rows_are_in_the_file_once(networks):
    written = network.write_network(networks("imagenet", "sact"), "sparse")
    stored = [onnx.numpy_helper.to_array(each) for graph in graphs(written.graph) for each in graph.initializer]
    kernels = [values for values in stored if values.size > 100]
    # Whatever their order; plus 0, as there are two zeros.
    different = {(np.sort(values, axis=None) + 0.0).tobytes() for values in kernels}
    assert len(kernels) == len(different) > 20


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 40, 31, 3), "float32"), "images must be at least 32 pixels high and wide"),
        (np.zeros((2, 0, 40, 3), "float32"), "images must be at least 32 pixels high and wide"),
        (np.zeros((2, 40, 40, 4), "float32"), "Got: 4 Expected: 3"),
        (np.zeros((40, 40, 3), "float32"), "rank"),
        (np.zeros((2, 40, 40, 3), "uint8"), "float"),
        (np.zeros((2, 40, 40, 3), "float64"), "float"),
    ],
)
def test_wrong_images_stop_the_graph_with_what_is_wrong(run_of, images, message):
    with pytest.raises(Exception, match=message):
        run_of("imagenet", "sact")(images)


def test_engine_in_python_judges_images_as_the_other_engine_does(networks, make_images, tmp_path, assert_same):
    model = networks("cifar", "sact")
    engine = sparse.compile(model, runtime="onnx")
    with pytest.raises(ValueError, match=r"image\[None\]"):
        engine(make_images(1, 9, 9)[0])
    images = make_images(2, 9, 14)
    engine.save(tmp_path / "network.onnx")
    assert_same(runner(onnx.load(tmp_path / "network.onnx"))(images), engine(images.astype("float64")), 1e-6)


@pytest.mark.parametrize("preprocess", [None, ("cifar10", 8)])
def test_engine_in_python_is_its_own_copy_and_neither_pickled_nor_traced(networks, preprocess):
    engine = sparse.compile(networks("cifar", "vanilla"), runtime="onnx", preprocess=preprocess)
    assert copy.copy(engine) is engine and copy.deepcopy({"engine": engine})["engine"] is engine
    with pytest.raises(TypeError, match=r"engine\.save\(path\)"):
        pickle.dumps(engine)
    images = tf.zeros((2, 9, 14, 3), "uint8" if preprocess else "float32")
    with pytest.raises(ValueError, match=r"inside of a tf\.function(.|\n)*sparse\.compile\(model\)"):
        tf.data.Dataset.from_tensors(images).map(lambda images: engine(images)["logits"])


@pytest.mark.skipif(not THREADS.exists(), reason="only Linux lists the threads of a process as files")
@pytest.mark.parametrize("num_threads", [1, 4])
@pytest.mark.parametrize("kind", ["network", "detector"])
def test_a_call_is_computed_by_as_many_threads_as_wanted(networks, kind, num_threads):
    model = networks("cifar", "vanilla")
    if kind == "detector":
        model = sact_tf.faster_rcnn("1_1_1_1", num_classes=3, base_channels=4)
    sparse.compile(model, runtime="onnx", num_threads=1)  # what else starts threads has done so
    before = len(list(THREADS.iterdir()))
    engine = sparse.compile(model, runtime="onnx", num_threads=num_threads)
    # The caller's own is one of them.
    assert len(list(THREADS.iterdir())) == before + num_threads - 1
    del engine


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"runtime": "onnx", "num_threads": 0}, "at least 1(.|\n)*num_threads=0"),
        ({"runtime": "onnx", "num_threads": True}, "at least 1(.|\n)*num_threads=True"),
        ({"runtime": "onnx", "num_threads": "2"}, "at least 1(.|\n)*num_threads='2'"),
        ({"runtime": "onnx", "num_threads": 2**31}, r"at least 1(.|\n)*at most 2\*\*31 - 1(.|\n)*=2147483648"),
        ({"num_threads": 2}, r"tf\.config\.threading(.|\n)*num_threads=2"),
    ],
)
def test_other_numbers_of_threads_are_refused(networks, given, complaint):
    with pytest.raises(ValueError, match=complaint):
        sparse.compile(networks("cifar", "vanilla"), **given)


@pytest.mark.parametrize("able", [True, False])
def test_what_reading_leaves_free_is_given_back_where_the_c_library_can(networks, monkeypatch, able):
    given_back, made = [], []
    library = types.SimpleNamespace(**({"malloc_trim": given_back.append} if able else {}))
    monkeypatch.setattr(sparse.memory.ctypes, "CDLL", lambda name: made.append(name) or library)
    runtime.runner(network.write_network(networks("cifar", "vanilla")).SerializeToString())
    assert made == [None] and given_back == [0] * able


class Doubling(Backbone):
    def call(self, images, training=None, mask=None):
        return {name: 2 * value for name, value in super().call(images, training=training).items()}


def doubling():
    return Doubling([], {"block1": AdaptiveBlock([BottleneckUnit(3, 2)], "vanilla")}, (None, None, 3), 1)


class Negated(AdaptiveBlock):
    def call(self, features, training=None, picture=None):
        return {"features": -super().call(features, training=training)["features"]}


def with_other_layers():
    images = keras.Input((None, None, 3))
    block = AdaptiveBlock([BottleneckUnit(8, 2)] * 2, "sact")
    return keras.Model(images, block(keras.layers.Conv2D(8, 3)(images)))


def with_a_stem_of(*stem):
    return Backbone(list(stem), {"block1": AdaptiveBlock([BottleneckUnit(8, 2)], "vanilla")}, (None, None, 3), 1)


def with_a_stem_of_its_own():
    return with_a_stem_of(keras.layers.Conv2D(8, 3, activation="relu", padding="same"))


class Negative(keras.layers.MaxPooling2D):
    def call(self, features):
        return -super().call(features)


def diverged():
    model = sact_tf.cifar_resnet([2, 1, 1], "sact", 5, 4)
    model.blocks["block_1"].units[0].norm1.beta.assign([0.0, np.inf, 0.0, 0.0])
    return model


def with_other_halting():
    model = sact_tf.cifar_resnet([2, 1, 1], "sact", 5, 4)
    model.blocks["block_1"].halting_branches[0].activation = keras.activations.tanh
    return model


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (with_other_layers, r"networks of this package(.|\n)*tf.saved_model.save"),
        (with_a_stem_of_its_own, "stems as those of this package(.|\n)*relu"),
        (diverged, "NaN or infinity(.|\n)*Received: .*norm1/beta"),
        (with_other_halting, "activations of this package(.|\n)*tanh"),
        (
            lambda: sact_tf.cifar_resnet([2, 1, 1], "sact", 5, 4, dtype="mixed_bfloat16"),
            "dtype='float32'(.|\n)*bfloat16",
        ),
        (doubling, r"networks of this package(.|\n)*by model\.export(.|\n)*Doubling"),
        (lambda: Classifier(doubling(), 4), "networks of this package(.|\n)*a Classifier of a Doubling"),
        (
            lambda: Backbone([], {"block1": Negated([BottleneckUnit(3, 2)], "vanilla")}, (None, None, 3), 1),
            "AdaptiveBlocks as they are(.|\n)*a Negated with its own call",
        ),
        (lambda: None, "networks of this package(.|\n)*Received: a NoneType"),
    ],
)
def test_what_cannot_be_written_is_refused_with_the_way_out(make, message):
    with pytest.raises(ValueError, match=message):
        sparse.compile(make(), runtime="onnx")


@pytest.mark.parametrize(
    ("stem", "received"),
    [
        (lambda: [keras.layers.Conv2D(8, (3, 5), padding="same")], r"Conv2D(.|\n)*'kernel_size': \(3, 5\)"),
        (lambda: [keras.layers.ZeroPadding2D(1)], "ZeroPadding2D"),
        (lambda: [*[keras.layers.ZeroPadding2D(1)] * 2, keras.layers.Conv2D(8, 3)], "ZeroPadding2D"),
        (lambda: [keras.layers.MaxPooling2D(2, strides=3, padding="same")], r"MaxPooling2D(.|\n)*'strides': \(3, 3\)"),
        (lambda: [Negative(2, padding="same")], "Negative"),
    ],
)
def test_stems_that_would_be_written_as_others_are_refused(stem, received):
    with pytest.raises(ValueError, match=rf"stems as those of this package(.|\n)*Received: {received}"):
        network.write_network(with_a_stem_of(*stem()))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"runtime": "tflite"}, "'tensorflow', 'onnx'(.|\n)*'tflite'"),
        ({"runtime": "onnx", "image_shape": (32, 32, 3)}, "any size(.|\n)*image_shape"),
        ({"features": True}, "features always"),
    ],
)
def test_arguments_without_effect_are_refused(networks, arguments, message):
    with pytest.raises(ValueError, match=message):
        sparse.compile(networks("cifar", "sact"), **arguments)


@pytest.mark.parametrize("name", ["onnx", "onnxruntime"])
def test_missing_package_is_named_with_its_extra(networks, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ValueError, match=rf"package {name},(.|\n)*sact_tf\[onnx\]"):
        sparse.compile(networks("cifar", "sact"), runtime="onnx")


def test_old_package_is_named_with_the_version_that_works(networks, monkeypatch):
    monkeypatch.setattr(onnxruntime, "__version__", "1.9.0")
    with pytest.raises(ValueError, match=r"onnxruntime from 1\.19 on(.|\n)*1\.9\.0"):
        sparse.compile(networks("cifar", "sact"), runtime="onnx")


def test_extra_has_the_versions_that_are_asked_for():
    pyproject = pathlib.Path(__file__).resolve().parents[2] / "pyproject.toml"
    extra = tomllib.loads(pyproject.read_text())["project"]["optional-dependencies"]["onnx"]
    assert extra == [f"{name}>={major}.{minor},<2" for name, (major, minor) in sparse.onnx.NEEDED.items()]
