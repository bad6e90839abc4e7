"""The engine of a detector against the detector: same boxes, same counts, and padding that nobody reads."""

import functools
import random

import keras
import numpy as np
import pytest
import tensorflow as tf

import sact_tf
from sact_tf import flops, sparse
from sact_tf.config import MODEL_TYPES
from sact_tf.layers import AdaptiveBlock, BasicUnit, BottleneckUnit, make_halting_branches
from sact_tf.models import FasterRCNN, ImageNetBackbone
from sact_tf.models.detection_inputs import check_inputs
from sact_tf.sparse.blocks import make_runner

# Pixels: no multiple of a stride, so that each map rounds up; the larger one is what the batch is padded to.
SMALL, LARGE = (49, 70), (83, 98)
FOUND = ("boxes", "scores", "classes", "num_detections", "num_proposals")


def make_detector(model_type, randomize, spread_halting, dtype=None):
    random.seed(4)
    units = (1, 1, 1, 1) if model_type == "vanilla" else (1, 2, 2, 2)
    backbone = ImageNetBackbone(units, model_type, base_channels=4, dtype=dtype)
    randomize(backbone)
    spread_halting(backbone, bias=-1.0, gain=3.0 if model_type == "sact" else 30.0, seed=0)
    return FasterRCNN(backbone, 3, anchor_base_size=64.0, num_proposals=12)


@pytest.fixture(scope="module")
def detectors(randomize, spread_halting):
    """Function from a model type to `(detector, engine)`, made once."""

    @functools.cache
    def make(model_type):
        model = make_detector(model_type, randomize, spread_halting)
        return model, sparse.compile(model)

    return make


@pytest.fixture(scope="module")
def batch(make_images):
    """A small picture beside a larger one; around it is NaN, which is nowhere to be seen in what comes out."""
    images = make_images(2, *LARGE) + np.array([2.0, -2.0], "float32")[:, None, None, None]
    images[0, SMALL[0] :], images[0, :, SMALL[1] :] = np.nan, np.nan
    return {"images": images, "image_size": np.array([SMALL, LARGE], "int32")}


def only_pictures(outputs, sizes):
    """The outputs, with zeros for the features of blocks 1 and 2 in the padding: they mean nothing there."""
    outputs = {name: np.array(value) for name, value in outputs.items()}
    for name, stride in (("block1", 4), ("block2", 8)):
        for features, (rows, columns) in zip(outputs[name], -(-np.array(sizes) // stride), strict=True):
            features[rows:] = 0.0
            features[:, columns:] = 0.0
    return outputs


# The engine runs both kinds of ACT by the same code.
@pytest.mark.parametrize(
    "model_type",
    [
        pytest.param(model_type, marks=[pytest.mark.slow] * (model_type == "act_early_stopping"))
        for model_type in MODEL_TYPES
    ],
)
def test_engine_finds_what_the_detector_finds_in_padded_batches(detectors, batch, assert_same, model_type):
    model, engine = detectors(model_type)
    expected, got = model(batch, training=False), engine(batch)
    assert (np.asarray(expected["num_detections"]) > 1).all()
    assert_same(*(only_pictures(each, batch["image_size"]) for each in (got, expected)))
    units = [len(np.unique(value)) for name, value in expected.items() if name.endswith("/num_units")]
    assert (max(units, default=0) > 1) == (model_type != "vanilla")
    assert_same(flops.count(model, got), flops.count(model, expected))


def test_padding_has_no_units_no_cost_and_no_features(detectors, batch):
    _, engine = detectors("sact")
    outputs = engine(batch)
    # 49 x 70 pixels are 4 x 5 positions of the last map, which has 6 x 7.
    outside = np.ones((6, 7), bool)
    outside[:4, :5] = False
    for name in ("block3", "block3/num_units", "block3/ponder_cost", "block3/halting_distribution"):
        assert not np.asarray(outputs[name])[0][outside].any(), name
        assert np.asarray(outputs[name])[0][~outside].all() or name != "block3/num_units", name


def test_a_picture_has_beside_a_larger_one_what_it_has_alone(detectors, batch):
    _, engine = detectors("sact")
    alone, beside = engine(batch["images"][:1, : SMALL[0], : SMALL[1]]), engine(batch)
    assert int(alone["num_detections"][0]) > 3
    for name in (*FOUND, "head/flops", "region_proposals/flops"):
        np.testing.assert_allclose(beside[name][:1], alone[name], atol=1e-3, err_msg=name)
    np.testing.assert_array_equal(beside["block3/num_units"][0, :4, :5], alone["block3/num_units"][0, :4, :5])


def test_boxes_of_a_picture_that_is_not_finite_are_nan(detectors, batch, assert_same):
    model, engine = detectors("sact")
    images, blank = batch["images"].copy(), batch["images"].copy()
    images[0, 48, 69, 2], blank[0] = np.inf, 0.0
    expected = model({**batch, "images": blank}, training=False)
    assert int(expected["num_detections"][0]) > 3
    for call in (model, engine):
        outputs = dict(call({**batch, "images": images}))
        for name in ("boxes", "scores"):
            assert np.isnan(outputs[name][0]).all() and np.isfinite(outputs[name][1]).all()
            outputs[name] = np.where(np.isnan(outputs[name]), expected[name], outputs[name])
        assert_same(*(only_pictures(each, batch["image_size"]) for each in (outputs, expected)))
    outputs = model({**batch, "images": images}, regions=True)
    assert all(np.isnan(outputs[name][0]).all() for name in ("region_scores", "region_codes"))


def test_boxes_are_in_pixels_of_the_file_where_its_size_is_given(detectors, batch, assert_same):
    model, engine = detectors("sact")
    inputs = {**batch, "original_size": np.array([[98, 140], [83, 49]], "int64")}
    got, expected = engine(inputs), model(inputs, training=False)
    assert_same({name: got[name] for name in FOUND}, {name: expected[name] for name in FOUND})
    np.testing.assert_allclose(got["boxes"][0], 2 * engine(batch)["boxes"][0], rtol=1e-6)


def test_images_of_any_size_and_floating_dtype_and_none_at_all_are_taken(detectors, make_images, assert_same):
    model, engine = detectors("sact")
    images = make_images(1, 64, 35)
    expected = model(images, training=False)
    for given in (images.astype("float64"), tf.constant(images), {"images": images}):
        assert_same(*(only_pictures(each, [(64, 35)]) for each in (engine(given), expected)))
    nothing = engine({"images": images[:0], "image_size": np.zeros((0, 2), "int32")})
    assert_same(nothing, {name: value[:0] for name, value in expected.items()})


def test_saved_engine_finds_the_same(detectors, batch, assert_same, tmp_path):
    # One whose positions halt is saved in tests/test_export_detector.py.
    _, engine = detectors("vanilla")
    tf.saved_model.save(engine, str(tmp_path))
    served = tf.saved_model.load(str(tmp_path)).serve(
        {"images": tf.constant(batch["images"]), "image_size": tf.constant(batch["image_size"])}
    )
    sizes = batch["image_size"]
    assert_same(only_pictures(served, sizes), only_pictures(engine(batch), sizes), tolerance=1e-6)


REFUSED = {
    "bytes": (lambda images: np.nan_to_num(images).astype("uint8"), r"Images must be floating point(.|\n)*dtype=uint8"),
    "one image": (lambda images: images[0], r"one image needs a batch axis(.|\n)*\(83, 98, 3\)"),
    "too small": (lambda images: images[:, :31], r"at least 32 pixels high and wide(.|\n)*\(2, 31, 98, 3\)"),
    "gray": (lambda images: images[..., :1], r"\(batch, height, width, 3\)(.|\n)*\(2, 83, 98, 1\)"),
    "another key": (
        lambda images: {"images": images, "size": np.ones((2, 2))},
        r"A detector is called on(.|\n)*\['images', 'size'\]",
    ),
    "a pair": (
        lambda images: (images, np.ones((2, 2), "int32")),
        r"A detector is called on(.|\n)*Received: `images` is a tuple that is no tensor",
    ),
    "one number": (lambda images: np.float32(3), r"A detector is called on(.|\n)*Received: `images` of the shape \(\)"),
    "sizes of one side": (
        lambda images: {"images": images, "image_size": np.ones(2)},
        r"`image_size` must be int \(batch, 2\)(.|\n)*shape=\(2,\)",
    ),
}


@pytest.mark.parametrize(("ask", "message"), REFUSED.values(), ids=REFUSED)
def test_engine_refuses_what_the_detector_refuses_in_the_same_words(detectors, batch, ask, message):
    model, engine = detectors("sact")
    for call in (model, engine):
        with pytest.raises(ValueError, match=message):
            call(ask(batch["images"]))


def test_engine_refuses_sizes_that_leave_nothing_to_find(detectors, batch):
    _, engine = detectors("sact")
    with pytest.raises(ValueError, match=r"at least 32 pixels\. Received: 2 images, image_size=\["):
        engine({"images": batch["images"], "image_size": [[83, 98], [31, 60]]})


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("image_size", [80.5, 90]),
        ("image_size", [0, 90]),
        ("image_size", [float("nan"), 90]),
        ("image_size", [83, 99]),
        ("original_size", [0, 90]),
        ("original_size", [-480, 640]),
    ],
)
def test_sizes_that_are_none_are_refused_by_detector_engine_and_graph(detectors, batch, name, size):
    model, engine = detectors("sact")
    inputs = {**batch, name: np.array([[60, 70], size])}
    message = f"`{name}` must be height and width of each picture, whole numbers of pixels from 1 on"
    for call in (model, engine):
        with pytest.raises(ValueError, match=message):
            call(inputs)
    look = tf.function(lambda given: check_inputs(given)[name], autograph=False)
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        look(inputs)


def test_engine_of_one_size_refuses_others_and_another_dtype(detectors, batch, assert_same):
    model, engine = detectors("vanilla")
    fixed = sparse.compile(model, image_shape=(*LARGE, 3))
    assert_same(*(only_pictures(each(batch), batch["image_size"]) for each in (fixed, engine)))
    with pytest.raises(ValueError, match=r"compiled for images of the shape \(83, 98, 3\)(.|\n)*\(2, 80, 98, 3\)"):
        fixed(batch["images"][:, :80])
    with pytest.raises(ValueError, match=r"runs on float32 images(.|\n)*Leave `image_dtype` out(.|\n)*'uint8'"):
        sparse.compile(model, image_dtype="uint8")
    with pytest.raises(ValueError, match=r"must be \(height, width, 3\)(.|\n)*\(83, 98\)"):
        sparse.compile(model, image_shape=LARGE)


def test_engine_of_a_detector_is_refused_under_xla(detectors, batch):
    _, engine = detectors("vanilla")
    with pytest.raises(ValueError, match=r"XLA(.|\n)*the model itself"):
        tf.function(lambda images: engine(images)["boxes"], jit_compile=True)(tf.zeros((1, 64, 64, 3)))


@pytest.mark.slow
def test_detector_inside_of_another_model_is_computed_by_the_engine(detectors, make_images, assert_same):
    model, engine = detectors("sact")
    images = keras.Input((None, None, 3))
    found = model(images)
    wrapped = sparse.compile(keras.Model(images, {name: found[name] for name in FOUND}))
    pictures = make_images(2, 49, 70)
    assert_same(wrapped(pictures), {name: engine(pictures)[name] for name in FOUND})


def make_block(model_type, unit=None, activation="linear", **kwargs):
    units = [unit(8) if unit else BottleneckUnit(8, 4, stride=2 if index == 0 else 1) for index in range(4)]
    branches = make_halting_branches(model_type, 4, activation=activation)
    block = AdaptiveBlock(units, model_type, halting_branches=branches, **kwargs)
    block.build((None, None, None, 8))
    return block


@pytest.fixture(scope="module")
def halting_block(randomize, spread_halting):
    """Function from a model type and an activation to `(block, runner)`, made once."""

    @functools.cache
    def make(model_type, activation):
        random.seed(17)
        block = spread_halting(randomize(make_block(model_type, activation=activation)), bias=0.5)
        return block, make_runner(block)

    return make


@pytest.mark.parametrize("activation", ["linear", "tanh"])
@pytest.mark.parametrize("model_type", ["act", "sact"])
@pytest.mark.parametrize("filling", [9.0, np.nan])
@pytest.mark.parametrize("rows", [6, 13])
def test_block_reads_nothing_of_padding(halting_block, model_type, activation, filling, rows, make_images, assert_same):
    # With 13 of 14 rows, what is padding stays among the rows of the engine until more has halted; with 6 it goes.
    block, run = halting_block(model_type, activation)
    features = make_images(3, 14, 9, 8)
    picture = np.ones((3, 14, 9, 1), bool)
    picture[0, rows:], picture[2, :, 8:] = False, False
    features = np.where(picture, features, np.float32(filling))
    expected, got = block(features, picture=picture), run(features, tf.constant(picture))
    if model_type == "sact":
        assert 0 in np.asarray(expected["num_units"]) and len(np.unique(expected["num_units"])) > 2
    inside = picture[:, ::2, ::2]
    for outputs in (expected, got):
        outputs["features"] = np.where(inside, outputs["features"], 0.0)
    assert_same(got, expected)


def test_units_that_are_not_told_of_padding_are_refused_as_by_the_block(randomize):
    block = make_block("vanilla", BasicUnit)
    features, picture = np.ones((1, 4, 4, 8), "float32"), np.ones((1, 4, 4, 1), bool)
    for call in (lambda: block(features, picture=picture), lambda: make_runner(block)(features, picture)):
        with pytest.raises(ValueError, match=r"Maps are padded, and BasicUnit(.|\n)*does not say"):
            call()


@pytest.mark.slow
def test_mixed_precision_detector_is_computed_by_the_engine(randomize, spread_halting, batch):
    model = make_detector("sact", randomize, spread_halting, dtype="mixed_bfloat16")
    expected, got = model(batch, training=False), sact_tf.sparse.compile(model)(batch)
    for name, value in expected.items():
        assert (got[name].dtype, got[name].shape) == (value.dtype, value.shape), name
    # Rounding moves single units, not the picture as a whole.
    same = np.mean(np.asarray(got["block1/num_units"]) == np.asarray(expected["block1/num_units"]))
    assert same > 0.9
