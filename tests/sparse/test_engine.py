"""The engine against the models that it is made of."""

import copy
import functools
import pickle
import random
import threading

import keras
import numpy as np
import pytest
import tensorflow as tf

import sact_tf
from sact_tf import depth, sparse
from sact_tf.config import MODEL_TYPES
from sact_tf.layers import AdaptiveBlock, BasicUnit, BottleneckUnit, make_halting_branches
from sact_tf.sparse import tensors

NETWORKS = {
    "imagenet": functools.partial(sact_tf.imagenet_resnet, [1, 3, 1, 1], num_classes=11, base_channels=8),
    "cifar": functools.partial(
        sact_tf.cifar_resnet, [2, 3, 1], num_classes=11, base_channels=8, image_shape=(None, None, 3)
    ),
}


@pytest.fixture(scope="module")
def networks(randomize, spread_halting):
    """Function from a network's name and a model type to `(model, engine)`, made once."""

    @functools.cache
    def make(name, model_type):
        random.seed(17)
        model = NETWORKS[name](model_type=model_type)
        spread_halting(randomize(model), gain=3.0 if model_type == "sact" else 30.0)
        return model, sparse.compile(model)

    return make


def halting_varies(outputs):
    return any(len(np.unique(value)) > 1 for name, value in outputs.items() if name.endswith("/num_units"))


# The families differ in nothing that a type of halting could tell: all types of one, the most involved of the other.
# Nor does the engine know whether ACT stops early.
@pytest.mark.parametrize(
    ("name", "model_type"),
    [
        *(("cifar", model_type) for model_type in MODEL_TYPES if model_type != "act_early_stopping"),
        ("imagenet", "sact"),
        pytest.param("cifar", "act_early_stopping", marks=pytest.mark.slow),
        *(pytest.param("imagenet", model_type, marks=pytest.mark.slow) for model_type in MODEL_TYPES[:-1]),
    ],
)
def test_engine_returns_what_the_model_returns_at_every_size(networks, make_images, assert_same, name, model_type):
    model, engine = networks(name, model_type)
    varied = []
    for shape in ((3, 41, 67), (1, 64, 35), (3, 35, 32)):
        # Images of different brightness, so that ACT tells them apart.
        images = make_images(*shape) + np.linspace(2.0, -2.0, shape[0], dtype="float32")[:, None, None, None]
        expected = model(images, training=False)
        assert_same(engine(images), expected)
        varied.append(halting_varies(expected))
    assert any(varied) == (model_type != "vanilla")


def test_what_is_said_of_an_image_that_is_not_finite_is_nan(networks, make_images, assert_same):
    images = make_images(3, 41, 67)
    images[1, 20, 30, 1], images[2, 40, 66, 0] = np.nan, -np.inf
    blank = np.where(np.arange(3)[:, None, None, None] > 0, np.float32(0), images)
    expected = dict(networks("imagenet", "sact")[0](blank, training=False))
    scores = [expected.pop(name) for name in ("logits", "predictions")]
    for call in networks("imagenet", "sact"):
        outputs = dict(call(images))
        for of_blank, name in zip(scores, ("logits", "predictions"), strict=True):
            got = np.asarray(outputs.pop(name))
            assert np.isnan(got[1:]).all()
            np.testing.assert_allclose(got[:1], of_blank[:1], atol=1e-4)
        assert_same(outputs, expected)


@pytest.mark.parametrize(
    ("name", "narrow"),
    [
        ("cifar_sact", 128),
        ("cifar_act", 0),
        pytest.param("imagenet_sact", 0, marks=pytest.mark.slow),
        pytest.param("imagenet_act", 0, marks=pytest.mark.slow),
        pytest.param("cifar_sact", 0, marks=pytest.mark.slow),
    ],
)
def test_engine_returns_what_the_release_returned(reference, monkeypatch, name, narrow):
    monkeypatch.setattr("sact_tf.sparse.blocks.NARROW", narrow)
    network, model_type = name.split("_")
    folder = reference / f"{'a' if network == 'imagenet' else 'c'}_{name}"
    if network == "imagenet":
        model = sact_tf.imagenet_resnet("2_3_4_2", model_type, 11, 8)
    else:
        model = sact_tf.cifar_resnet("3", model_type, base_channels=8)
    sact_tf.load_release_checkpoint(model, folder)
    with np.load(folder / "golden.npz") as golden:
        theirs = {key: golden[key] for key in golden.files if not key.startswith("debug/")}
    ours = sparse.compile(model)(theirs["inputs"])
    compared = set(ours) & set(theirs)
    assert {key.rpartition("/")[2] for key in compared} >= {"logits", "num_units", "ponder_cost"}
    for key in compared:
        if key.endswith("num_units"):
            np.testing.assert_array_equal(ours[key], theirs[key], key)
        else:
            np.testing.assert_allclose(
                ours[key], theirs[key], rtol=0, atol=1e-4 * np.abs(theirs[key]).max(), err_msg=key
            )


@pytest.mark.parametrize("model_type", ["sact", "act"])
def test_empty_batch_gives_empty_outputs(networks, make_images, assert_same, eagerly, model_type):
    model, engine = networks("cifar", model_type)
    images = make_images(3, 9, 6)
    # Where oneDNN is on, as on processors with AVX-512, TensorFlow's convolutions fail for no images: not the model.
    expected = {name: value[:0] for name, value in model(images, training=False).items()}
    assert_same(engine(images[:0]), expected)
    with eagerly():
        assert_same(engine(images[:0]), expected)


def test_engine_keeps_the_weights_that_it_was_compiled_with(make_images, assert_same, randomize, spread_halting):
    model = sact_tf.cifar_resnet([2, 1, 1], "act", 5, 4, image_shape=(None, None, 3))
    engine, images = sparse.compile(spread_halting(randomize(model))), make_images(2, 9, 14)
    before = engine(images)
    for variable in model.variables:
        if variable.dtype == "float32":
            variable.assign(variable + 1.0)
    assert_same(engine(images), before, tolerance=0.0)
    changed = np.abs(np.asarray(model(images, training=False)["logits"]) - before["logits"])
    assert changed.max() > 0.1


def test_kernels_that_run_in_every_call_are_constants_of_the_graph_where_oneDNN_computes(
    networks, make_images, assert_same, monkeypatch
):
    model, images, answers = networks("imagenet", "sact")[0], make_images(2, 40, 33), []
    for computes in (True, False):
        monkeypatch.setattr(tensors, "uses_onednn", lambda computes=computes: computes)
        engine = sparse.compile(model)
        graph = engine.serve.get_concrete_function().graph.as_graph_def()
        constants = [node.attr["value"].tensor for node in graph.node if node.op == "Const"]
        sides = [
            [axis.size for axis in each.tensor_shape.dim[:2]] for each in constants if len(each.tensor_shape.dim) == 4
        ]
        # Of the first units of four blocks. Their last kernel and that of the shortcut are one in the first block.
        assert (sides.count([3, 3]), sides.count([1, 1])) == ((4, 4 + 1 + 2 * 3) if computes else (0, 0))
        answers.append(engine(images))
    assert_same(*answers)


def test_engine_keeps_the_weights_of_a_unit_that_is_used_outside_of_its_block_too(make_images):
    units, features = [BasicUnit(3), BasicUnit(3)], keras.Input((6, 7, 3))
    model = keras.Model(features, AdaptiveBlock(units, "vanilla")(units[0](features))["features"])
    engine, images = sparse.compile(model), make_images(2, 6, 7)
    before = engine(images)
    units[0].set_weights([weights + 1.0 for weights in units[0].get_weights()])
    np.testing.assert_array_equal(engine(images), before)


def test_threads_share_an_engine(networks, make_images, assert_same):
    _, engine = networks("imagenet", "sact")
    batches = [make_images(batch, 33 + 8 * batch, 49 - batch, seed=batch) for batch in (1, 2, 3, 4)]
    expected, got = [engine(images) for images in batches], {}

    def work(thread):
        got[thread] = [engine(batches[(thread + turn) % 4]) for turn in range(4)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(4):
        for turn, outputs in enumerate(got[number]):
            assert_same(outputs, expected[(number + turn) % 4], tolerance=1e-6)


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_images_of_every_floating_point_dtype_are_taken(networks, make_images, assert_same, dtype):
    model, engine = networks("cifar", "sact")
    images = tf.cast(make_images(2, 9, 14), dtype)
    assert_same(engine(images), model(images, training=False))


def model_that_scales(dtype, model_type="vanilla", units=1):
    """A model that scales its images by itself."""
    images = keras.Input((None, None, 3), dtype=dtype)
    features = keras.layers.Rescaling(1 / 127.5, -1.0)(images)
    outputs = bottlenecks(units, 8, model_type, epsilon=0.3)(keras.layers.Conv2D(8, 3)(features))
    return keras.Model(images, outputs, name="scales")


class ScalesBytes(keras.Model):
    """A subclassed model that does so for bytes alone."""

    def __init__(self):
        super().__init__()
        self.block = bottlenecks(1, 8, "vanilla")

    def call(self, images, training=None):
        if keras.backend.standardize_dtype(images.dtype) == "uint8":
            images = keras.ops.cast(images, "float32") / 255
        return self.block(images, training=training)


@pytest.fixture(scope="module")
def bytes_engine(spread_halting):
    """A model of bytes and its engine, made once."""
    model = spread_halting(model_that_scales("uint8", "sact", 3))
    return model, sparse.compile(model)


@pytest.fixture(scope="module")
def photographs(make_images):
    return np.round(127.5 + 127.5 * make_images(2, 9, 14)).astype("uint8")


def test_model_of_bytes_is_given_bytes(bytes_engine, photographs, assert_same):
    model, engine = bytes_engine
    expected = model(photographs, training=False)
    assert len(np.unique(expected["num_units"])) > 1
    assert_same(engine(photographs), expected)
    assert_same(engine.serve(tf.constant(photographs)), expected)


# A network's is saved in tests/test_export.py.
def test_saved_engine_gives_the_same_outputs(bytes_engine, photographs, assert_same, tmp_path):
    _, engine = bytes_engine
    tf.saved_model.save(engine, str(tmp_path))
    reloaded = tf.saved_model.load(str(tmp_path))
    for images in (photographs, photographs[:1, :7]):
        assert_same(reloaded.serve(tf.constant(images)), engine(images), tolerance=1e-6)


@pytest.mark.parametrize(
    ("dtype", "given"), [("int32", "uint8"), ("float16", "uint8"), ("bfloat16", "float32"), ("float32", "int64")]
)
def test_engine_takes_what_a_model_takes(photographs, assert_same, dtype, given):
    model, images = model_that_scales(dtype), photographs.astype(given)
    assert_same(sparse.compile(model)(images), model(images, training=False))


def test_images_come_in_the_forms_that_keras_takes(networks, make_images, assert_same):
    (model, engine), images = networks("cifar", "sact"), make_images(2, 9, 14)
    for given in ({"images": images}, [images], (tf.constant(images),)):
        assert_same(engine(given), model(given, training=False))
    with pytest.raises(ValueError, match=r"themselves or as \{'images': images\}"):
        engine({"x": images})
    for given, received in (({"x": images}, r"a dict with the keys \['x'\]"), (None, "NoneType")):
        with pytest.raises(ValueError, match=rf"takes floating point images(.|\n)*Received: {received}"):
            engine(given)


@pytest.mark.parametrize("image_dtype", ["colour", "string", "complex64"])
def test_another_form_of_image_dtype_is_refused(bytes_engine, image_dtype):
    with pytest.raises(ValueError, match=f"`image_dtype` must be a type of numbers.*image_dtype='{image_dtype}'"):
        sparse.compile(bytes_engine[0], image_dtype=image_dtype)


@pytest.mark.parametrize("image_shape", [(32, 32), 32, "32", (0, 32, 3), (32.0, 32, 3)])
def test_another_form_of_image_shape_is_refused(bytes_engine, image_shape):
    with pytest.raises(ValueError, match=r"`image_shape` must be \(height, width, channels\)(.|\n)*Received: .*32"):
        sparse.compile(bytes_engine[0], image_shape=image_shape)


def test_subclassed_model_is_given_integers_as_they_come(photographs, assert_same):
    model = ScalesBytes()
    model(photographs)
    engine = sparse.compile(model)
    for images in (photographs, photographs.astype("float32"), photographs.astype("float64") / 255):
        assert_same(engine(images), model(images, training=False))
    served = sparse.compile(model, image_dtype="uint8").serve(tf.constant(photographs))
    assert_same(served, model(photographs, training=False))


@pytest.mark.parametrize("given", ["float32", "int32", "int8"])
def test_images_that_bytes_cannot_hold_are_rejected_with_the_advice_for_that_model(bytes_engine, photographs, given):
    _, engine = bytes_engine
    with pytest.raises(ValueError, match=r"'scales' takes uint8 images(.|\n)*tf.cast\(images, 'uint8'\)") as error:
        engine(photographs.astype(given))
    assert f"dtype={given}" in str(error.value) and "scaled as in training" not in str(error.value)
    with pytest.raises(ValueError, match=r"image\[None\]"):
        engine(photographs[0])


def test_engine_under_xla_is_refused_with_the_reason_and_the_way_out(bytes_engine, photographs):
    _, engine = bytes_engine

    @tf.function(jit_compile=True)
    def compiled(images):
        return tf.cond(tf.shape(images)[0] > 1, lambda: engine(images)["ponder_cost"], lambda: tf.zeros((1, 1, 1)))

    with pytest.raises(ValueError, match=r"XLA(.|\n)*jit_compile=False(.|\n)*the model itself"):
        compiled(photographs)
    traced = tf.function(lambda images: engine(images)["ponder_cost"])(photographs)
    # TensorFlow optimizes each graph by itself, which may move the last bit.
    np.testing.assert_allclose(traced, engine(photographs)["ponder_cost"], rtol=1e-6)


@pytest.mark.parametrize("runtime", ["tensorflow", "onnx"])
def test_engine_is_compiled_outside_of_graphs(networks, photographs, runtime):
    model, _ = networks("cifar", "sact")
    with pytest.raises(ValueError, match="Compile it before, and call it there"):
        tf.data.Dataset.from_tensors(photographs).map(lambda images: sparse.compile(model, runtime=runtime))


def test_engine_is_its_own_copy_and_not_pickled(bytes_engine):
    _, engine = bytes_engine
    assert copy.copy(engine) is engine and copy.deepcopy({"engine": engine})["engine"] is engine
    with pytest.raises(TypeError, match=r"sact_tf\.export(.|\n)*sact_tf\.sparse\.compile"):
        pickle.dumps(engine)


def bottlenecks(count, filters, model_type, stride=1, **kwargs):
    units = [BottleneckUnit(filters, 4, stride=stride if unit == 0 else 1) for unit in range(count)]
    return AdaptiveBlock(units, model_type, **kwargs)


def basics(count, filters, model_type, **kwargs):
    branches = make_halting_branches(model_type, count, activation="tanh")
    return AdaptiveBlock([BasicUnit(filters) for _ in range(count)], model_type, halting_branches=branches, **kwargs)


def functional_model(**kwargs):
    images = keras.Input((None, None, 5))
    features = keras.layers.Conv2D(8, 3, strides=2, activation="gelu")(images)
    first = bottlenecks(2, 8, "sact", epsilon=0.1, **kwargs)(features)
    features = keras.layers.LayerNormalization()(keras.layers.Dropout(0.5)(first["features"]))
    second = basics(2, 10, "act", ponder_weight=0.1, **kwargs)(features)
    pooled = keras.layers.GlobalMaxPooling2D()(second["features"])
    return keras.Model(
        images, {"scores": keras.layers.Dense(4)(pooled), "units": first["num_units"], "cost": second["ponder_cost"]}
    )


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.inner = bottlenecks(2, 12, "sact", stride=2)
        self.stages = [self.inner, basics(2, 12, "sact")]

    def call(self, images, training=None):
        outputs = {}
        for stage in self.stages:
            halting = stage(images, training=training)
            images = halting["features"]
            outputs[f"units_{len(outputs)}"] = halting["num_units"]
        return {**outputs, "features": images}


class Wrapper(keras.layers.Layer):
    """A layer that hides a block."""

    def __init__(self):
        super().__init__()
        self.block = bottlenecks(2, 6, "vanilla")

    def build(self, input_shape):
        self.block.build(input_shape)

    def call(self, features):
        return self.block(features)["features"]


def nested_model():
    images = keras.Input((None, None, 5))
    inner = keras.Model(images, bottlenecks(2, 6, "act_early_stopping")(images))
    middle = keras.Model(images, {**inner(images), "wide": Wrapper()(images)})
    outputs = middle(images)
    again = inner(outputs["wide"][..., :5])
    return keras.Model(images, {**outputs, "again": again["features"], "units_again": again["num_units"]})


@pytest.mark.parametrize("make", [functional_model, Subclassed, nested_model])
def test_models_of_any_kind_are_sped_up(make, make_images, assert_same, randomize, spread_halting):
    model = make()
    model(make_images(2, 12, 11, 5))
    engine = sparse.compile(spread_halting(randomize(model)))
    for shape in ((2, 12, 11), (3, 7, 16)):
        images = make_images(*shape, 5)
        assert_same(engine(images), model(images, training=False))


def test_subclassed_model_that_fits_one_size_is_given_that_size(make_images, assert_same):
    class Flat(keras.Model):
        def __init__(self):
            super().__init__()
            self.block, self.flatten, self.dense = basics(2, 5, "act"), keras.layers.Flatten(), keras.layers.Dense(3)

        def call(self, images, training=None):
            scores = self.dense(self.flatten(self.block(images, training=training)["features"]))
            return {"scores": scores, "size": 42, "boxes": None}

    model, images = Flat(), make_images(2, 6, 7, 5)
    expected = model(images)
    engine = sparse.compile(model, image_shape=(6, 7, 5))
    outputs = engine(images)
    assert_same({"scores": outputs["scores"]}, {"scores": expected["scores"]})
    assert outputs["size"] == 42 and outputs["boxes"] is None  # what is no tensor has no images to count
    with pytest.raises(ValueError, match=r"\(batch, 6, 7, 5\)(.|\n)*\(2, 7, 6, 5\)"):
        engine(make_images(2, 7, 6, 5))


@pytest.mark.parametrize("model_type", ["sact", "act", "vanilla"])
def test_mixed_precision_blocks_compute_in_float32_and_return_their_own_dtype(
    make_images, assert_same, randomize, spread_halting, model_type
):
    # What bfloat16 can hold: the block casts its input.
    images = tf.cast(tf.cast(make_images(2, 9, 6, 8), "bfloat16"), "float32")
    models = {}
    for dtype in ("float32", "mixed_bfloat16"):
        inputs = keras.Input((None, None, 8))
        units = [BottleneckUnit(8, 4, dtype=dtype) for _ in range(2)]
        models[dtype] = keras.Model(inputs, AdaptiveBlock(units, model_type, dtype=dtype)(inputs))
    exact, mixed = models.values()
    spread_halting(randomize(exact))
    for target, source in zip(mixed.variables, exact.variables, strict=True):
        target.assign(source)
    ours, expected = sparse.compile(mixed)(images), exact(images, training=False)
    assert ours["features"].dtype == mixed(images)["features"].dtype == tf.bfloat16
    # bfloat16 has 8 bits.
    np.testing.assert_allclose(
        tf.cast(ours.pop("features"), "float32"), expected.pop("features"), rtol=2**-8, atol=1e-5
    )
    assert_same(ours, expected)


def test_mixed_precision_network_keeps_names_shapes_and_dtypes(make_images):
    model = sact_tf.cifar_resnet([2, 1, 1], "sact", 5, 4, image_shape=(None, None, 3), dtype="mixed_bfloat16")
    images = make_images(2, 9, 14)
    ours, theirs = sparse.compile(model)(images), model(images, training=False)
    describe = {name: (value.dtype, value.shape) for name, value in ours.items()}
    assert describe == {name: (value.dtype, value.shape) for name, value in theirs.items()}
    np.testing.assert_allclose(ours["predictions"], theirs["predictions"], atol=0.02)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((1, 40, 36, 3), "uint8"),
        np.zeros((1, 40, 36, 3), "int32"),
        np.zeros((40, 36, 3), "float32"),
        np.zeros((1, 1, 40, 36, 3), "float32"),
        np.zeros((2, 3, 40, 36), "float32"),
        np.zeros((2, 40, 36, 1), "float32"),
        np.zeros((2, 40, 31, 3), "float32"),
        np.zeros((2, 40, 0, 3), "float32"),
    ],
)
def test_images_that_do_not_fit_are_rejected_with_what_is_accepted(networks, images):
    _, engine = networks("imagenet", "sact")
    with pytest.raises(ValueError, match=r"floating point(.|\n)*\(batch, height, width, 3\)(.|\n)*32") as error:
        engine(images)
    assert str(images.shape) in str(error.value) and str(images.dtype) in str(error.value)


class Runs(keras.layers.Layer):
    """A layer of somebody's that calls an engine."""

    def __init__(self, engine):
        super().__init__()
        self.engine = engine

    def call(self, images):
        return self.engine(images)


def test_engine_is_part_of_a_keras_model_in_a_layer_that_calls_it(bytes_engine, photographs, assert_same):
    _, engine = bytes_engine
    images = keras.Input(photographs.shape[1:], dtype="uint8")
    with pytest.raises(ValueError, match=r"in a layer of yours, whose `call` calls it\. Received: KerasTensor"):
        engine(images)
    model = keras.Model(images, Runs(engine)(images))
    assert_same(model(photographs), engine(photographs))
    assert not model.variables


class Doubling(BottleneckUnit):
    """A unit that is one of ours by its class, but computes something else."""

    def call(self, features, residual_mask=None, training=None):
        return 2 * super().call(features, residual_mask=residual_mask, training=training)


class Keeping(keras.layers.Layer):
    def call(self, features, residual_mask=None):
        return features


class Half(keras.layers.Layer):
    def call(self, features, training=None):
        return 0.5 * keras.ops.ones_like(features[..., :1])


def model_of(block):
    images = keras.Input((None, None, 8))
    return keras.Model(images, block(images))


def diverged():
    block = AdaptiveBlock([BottleneckUnit(8, 2)], "vanilla")
    model = model_of(block)
    # What would come of it is hidden by a ReLU.
    block.units[0].norm1.gamma.assign([1.0, np.nan])
    return model


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (diverged, "NaN or infinity(.|\n)*Received: .*norm1/gamma"),
        (lambda: model_of(keras.layers.Dense(3)), "'functional.*' has none"),
        (lambda: AdaptiveBlock([Keeping()], "sact"), r"keras.Model\(inputs, block\(inputs\)\)"),
        (lambda: model_of(AdaptiveBlock([Keeping()], "sact")), "Keeping"),
        (lambda: model_of(AdaptiveBlock([BottleneckUnit(8, 2), Keeping()], "act")), "Keeping"),
        (lambda: model_of(AdaptiveBlock([BottleneckUnit(8, 2), Doubling(8, 2)], "vanilla")), "Doubling"),
        (
            lambda: model_of(AdaptiveBlock([BottleneckUnit(8, 2)] * 2, "sact", halting_branches=[Half()])),
            "SpatialHaltingBranch(.|\n)*Half",
        ),
        (
            lambda: model_of(AdaptiveBlock([BasicUnit(8), BasicUnit(8, activated_shortcut=True)], "act")),
            "activated_shortcut=False(.|\n)*activated_shortcut=True",
        ),
        (lambda: model_of(AdaptiveBlock([BasicUnit(8), BasicUnit(8, stride=2)], "act")), "stride=1(.|\n)*stride=2"),
        (Subclassed, "not built"),
        (lambda: keras.Sequential([keras.layers.Conv2D(8, 3), Wrapper()]), "not built"),
    ],
)
def test_model_that_cannot_be_sped_up_is_rejected_with_the_reason(make, message):
    model = make()
    with pytest.raises(ValueError, match=message):
        sparse.compile(model)


def test_model_of_several_inputs_is_rejected():
    left, right = keras.Input((None, None, 8)), keras.Input((None, None, 8))
    model = keras.Model([left, right], bottlenecks(2, 8, "sact")(left + right))
    with pytest.raises(ValueError, match=r"one input(.|\n)*2"):
        sparse.compile(model)


class TakesNames(keras.Model):
    def __init__(self):
        super().__init__()
        self.block = AdaptiveBlock([BasicUnit(8)], "vanilla")

    def call(self, inputs, training=None):
        return self.block(inputs["picture"])


def test_subclassed_model_of_a_dict_is_rejected():
    model = TakesNames()
    model({"picture": np.zeros((2, 5, 4, 8), "float32")})
    with pytest.raises(ValueError, match=r"one input(.|\n)*of the input shape \{'picture': \(2, 5, 4, 8\)\}"):
        sparse.compile(model)


class Stubborn(keras.Model):
    def __init__(self, call):
        super().__init__()
        self.inner, self.call_inner = model_of(AdaptiveBlock([BottleneckUnit(8, 1)], "vanilla", name="block")), call

    def call(self, images, training=None):
        return self.call_inner(self.inner, images)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model, images: model(images, training=True), "computes inference.*training=True"),
        # It computed all of its units.
        (lambda model, images: depth.call(model, images, depth.Deleted({"block": [1]})), "a policy of sact_tf.depth"),
    ],
    ids=["training", "depth"],
)
def test_block_that_its_model_always_calls_in_another_way_is_rejected(call, message):
    model = Stubborn(call)
    model(np.zeros((1, 4, 5, 8), "float32"))
    with pytest.raises(ValueError, match=f"(?s){message}"):
        sparse.compile(model)


def test_what_the_first_run_leaves_free_is_given_back_once(networks, make_images, monkeypatch):
    calls = []
    monkeypatch.setattr(sparse.memory, "give_back", lambda: calls.append(True))
    engine = sparse.compile(networks("cifar", "sact")[0])
    images = make_images(1, 32, 32)
    # In the graph of another function it is not known when it has run.
    tf.function(engine)(images)
    assert not calls
    for _ in range(2):
        engine(images)
        assert len(calls) == 1
