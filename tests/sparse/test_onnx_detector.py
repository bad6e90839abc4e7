"""The graph of ONNX of a detector against the detector: same boxes, same counts, padding that nobody reads."""

import functools
import random

import numpy as np
import onnx
import onnxruntime
import pytest
import tensorflow as tf

import sact_tf
from sact_tf import flops, sparse
from sact_tf.config import MODEL_TYPES
from sact_tf.models import FasterRCNN, ImageNetBackbone
from sact_tf.sparse.onnx import detector, rows, turns

# Pixels: no multiple of a stride, so that each map rounds up; the largest way each is what a batch is padded to.
SMALL, LARGE, LONG = (49, 70), (83, 98), (34, 101)
FOUND = ("boxes", "scores", "classes", "num_detections")


@pytest.fixture(scope="module")
def detectors(randomize, spread_halting):
    """Function from a model type, and arguments of `FasterRCNN`, to a detector, made once."""

    @functools.cache
    def make_backbone(model_type, stride):
        units = (2, 3, 3, 2) if model_type.startswith("act") else (1, 3, 2, 2)
        backbone = randomize(ImageNetBackbone(units, model_type, base_channels=4, last_stride=stride))
        return spread_halting(backbone, bias=-1.0, gain=3.0 if model_type == "sact" else 30.0, seed=0)

    @functools.cache
    def make(model_type, num_proposals=12, crop_max_pool=False):
        random.seed(4)
        backbone = make_backbone(model_type, 1 if crop_max_pool else 2)
        settings = {"num_proposals": num_proposals, "crop_max_pool": crop_max_pool}
        return FasterRCNN(backbone, 3, anchor_base_size=64.0, **settings)

    return make


@pytest.fixture(scope="module")
def runner(detectors):
    """Function from arguments of `detectors`, and an engine, to a function from inputs to a dict, made once."""

    @functools.cache
    def make(*arguments, engine="sparse", features=True, part="whole"):
        return runner_of(detectors(*arguments), engine, features, part)

    return make


def runner_of(model, engine="sparse", features=True, part="whole"):
    written = detector.write_detector(model, engine, features, part)
    session = onnxruntime.InferenceSession(written.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda inputs: dict(zip(names, session.run(None, inputs), strict=True))


@pytest.fixture(scope="module")
def batch_of(make_images):
    """Function from sizes to a batch of pictures of different brightness; around them is NaN, which nobody reads."""

    def make(*sizes):
        sizes = np.array(sizes, "int32")
        images = make_images(len(sizes), *sizes.max(axis=0))
        images += np.linspace(2.0, -2.0, len(sizes), dtype="float32")[:, None, None, None]
        for image, (height, width) in zip(images, sizes, strict=True):
            image[height:], image[:, width:] = np.nan, np.nan
        return {"images": images, "image_size": sizes}

    return make


def answers(model, inputs):
    """What the detector returns, with FLOPs."""
    outputs = dict(model(inputs, training=False))
    return {**outputs, **flops.count(model, outputs)}


@pytest.fixture(scope="module")
def answers_of(detectors, batch_of):
    """Function from arguments of `detectors`, and sizes, to `answers`, computed once."""
    return functools.cache(lambda *arguments, sizes: answers(detectors(*arguments), batch_of(*sizes)))


def only_pictures(outputs, sizes):
    """The outputs, with zeros for the features of blocks 1 and 2 in the padding: they mean nothing there."""
    outputs = {name: np.array(value) for name, value in outputs.items()}
    for name, stride in (("block1", 4), ("block2", 8)):
        for features, (height, width) in zip(outputs.get(name, ()), -(-np.array(sizes) // stride), strict=False):
            features[height:], features[:, width:] = 0.0, 0.0
    return outputs


def boxes_of(outputs, number):
    """Boxes, scores and classes of an image in an order that does not ask which of two equal scores came first."""
    count = int(outputs["num_detections"][number])
    boxes, scores, classes = (np.asarray(outputs[name][number, :count]) for name in FOUND[:3])
    found = np.concatenate([boxes, scores[:, None], classes[:, None]], axis=1)
    return found[np.lexsort(np.round(found, 2).T)]


def assert_same_answers(got, expected, sizes, assert_same):
    got, expected = only_pictures(got, sizes), only_pictures(expected, sizes)
    for name in FOUND:
        assert (got[name].shape, got[name].dtype) == (expected[name].shape, expected[name].dtype), name
    np.testing.assert_array_equal(got["num_detections"], expected["num_detections"])
    for number, count in enumerate(expected["num_detections"]):
        # Pixels: a hundred thousandth of a picture.
        np.testing.assert_allclose(boxes_of(got, number), boxes_of(expected, number), rtol=0, atol=1e-3)
        assert not any(got[name][number, count:].any() for name in FOUND[:3])
    others = set(expected) - set(FOUND)
    assert_same({name: got[name] for name in set(got) - set(FOUND)}, {name: expected[name] for name in others})


BATCHES = [(SMALL, LARGE), (LONG,), (LARGE, LONG, SMALL)]


@pytest.mark.parametrize("engine", ["sparse", "masked"])
# The graph is that of ACT, with or without early stopping.
@pytest.mark.parametrize(
    "model_type",
    [
        pytest.param(model_type, marks=[pytest.mark.slow] * (model_type == "act_early_stopping"))
        for model_type in MODEL_TYPES
    ],
)
def test_graph_finds_what_the_detector_finds_in_padded_batches(
    runner, batch_of, answers_of, assert_same, model_type, engine
):
    run, units = runner(model_type, engine=engine), set()
    for sizes in BATCHES:
        inputs, expected = batch_of(*sizes), answers_of(model_type, sizes=sizes)
        assert (np.asarray(expected["num_detections"]) > 0).all()
        assert_same_answers(run(inputs), expected, sizes, assert_same)
        units |= {int(n) for key, value in expected.items() if "/num_units" in key for n in np.unique(value)}
    assert units == {"vanilla": set(), "sact": {0, 1, 2, 3}}.get(model_type, {1, 2, 3})


@pytest.mark.parametrize("pixels", [1, 2 * 83 * 98])
def test_batches_in_turns_find_the_same(detectors, batch_of, answers_of, assert_same, monkeypatch, pixels):
    monkeypatch.setattr(turns, "PIXELS", pixels)
    run, sizes = runner_of(detectors("sact")), BATCHES[-1]
    inputs = batch_of(*sizes)
    assert_same_answers(run(inputs), answers_of("sact", sizes=sizes), sizes, assert_same)


def test_boxes_of_a_picture_that_is_not_finite_are_nan(detectors, runner, batch_of):
    inputs = batch_of(SMALL, LARGE)
    inputs["images"][0, 48, 69, 2] = np.nan
    got, expected = runner("sact")(inputs), answers(detectors("sact"), inputs)
    assert np.isnan(got["boxes"][0]).all() and np.isnan(got["scores"][0]).all()
    for name in set(expected) - {"block1", "block2", "block3"}:
        np.testing.assert_allclose(got[name], expected[name], rtol=0, atol=1e-3, err_msg=name)


@pytest.mark.parametrize("model_type", ["vanilla", "act", "sact"])
def test_pooled_crops_are_looked_at_as_by_the_detector(detectors, runner, batch_of, assert_same, model_type):
    inputs, arguments = batch_of(SMALL, LARGE), (model_type, 12, True)
    expected = answers(detectors(*arguments), inputs)
    assert_same_answers(runner(*arguments)(inputs), expected, inputs["image_size"], assert_same)


def test_most_proposals_and_crops_on_a_map_of_few_positions(detectors, runner, batch_of, assert_same):
    # 32 x 33 pixels are 2 x 3 positions, of which 72 anchors propose fewer boxes than there is room for.
    inputs = batch_of((32, 33), (33, 32))
    expected = answers(detectors("sact", 90), inputs)
    assert (np.asarray(expected["num_proposals"]) < 90).all()
    assert_same_answers(runner("sact", 90)(inputs), expected, inputs["image_size"], assert_same)


@pytest.mark.parametrize("dense_from", [0.0, 2.0])
def test_positions_give_the_same_on_maps_and_gathered(
    detectors, batch_of, answers_of, assert_same, monkeypatch, dense_from
):
    monkeypatch.setattr(rows, "DENSE_FROM", dense_from)
    inputs, expected = batch_of(SMALL, LARGE), answers_of("sact", sizes=(SMALL, LARGE))
    assert_same_answers(runner_of(detectors("sact"))(inputs), expected, inputs["image_size"], assert_same)


@pytest.mark.parametrize("model_type", ["vanilla", "act", "sact"])
def test_a_picture_has_beside_larger_ones_what_it_has_alone(runner, batch_of, model_type):
    run, inputs = runner(model_type), batch_of(SMALL, LARGE)
    alone = run({"images": inputs["images"][:1, : SMALL[0], : SMALL[1]], "image_size": inputs["image_size"][:1]})
    beside = run(inputs)
    for name in set(alone) - {"block1", "block2", "block3"}:
        first, other = beside[name][:1], alone[name]
        if first.ndim > 2 and name not in FOUND:
            # Maps of a batch are as large as the largest picture's.
            first = first[:, : other.shape[1], : other.shape[2]]
        np.testing.assert_allclose(first, other, rtol=0, atol=1e-3 if name == "boxes" else 1e-4, err_msg=name)


def test_padding_has_no_units_no_cost_and_no_features(runner, batch_of):
    outputs = runner("sact")(batch_of(SMALL, LARGE))
    # 49 x 70 pixels are 4 x 5 positions of the last map, which has 6 x 7.
    outside = np.ones((6, 7), bool)
    outside[:4, :5] = False
    for name in ("block3", "block3/num_units", "block3/ponder_cost", "block3/halting_distribution"):
        assert not outputs[name][0][outside].any() and outputs[name][0][~outside].any(), name


@pytest.mark.parametrize("model_type", ["vanilla", "act", "sact"])
@pytest.mark.parametrize("proposals", [0, 1])
def test_few_proposals_or_none_are_looked_at(detectors, runner, batch_of, assert_same, model_type, proposals):
    inputs = batch_of(SMALL, LARGE)
    if proposals:
        model, run = detectors(model_type, 1), runner(model_type, 1)
    else:
        # Background everywhere, so sure that nothing is left of a float for an object; no box in any image.
        model = detectors(model_type)
        bias = model.proposal_scores.bias
        sound = bias.numpy()
        bias.assign(sound + np.tile([400.0, 0.0], len(sound) // 2))
        run = runner_of(model)
    expected = answers(model, inputs)
    got = run(inputs)
    if not proposals:
        bias.assign(sound)
    np.testing.assert_array_equal(got["num_proposals"], [proposals] * 2)
    assert got["boxes"].any() == bool(proposals)
    assert_same_answers(got, expected, inputs["image_size"], assert_same)


def test_what_is_not_a_number_is_no_box(detectors, batch_of):
    model, inputs = detectors("sact"), batch_of(SMALL, LARGE)
    for layer, proposed in ((model.proposal_codes, 0), (model.box_dense, 12), (model.class_dense, 12)):
        sound = layer.bias.numpy()
        layer.bias.assign(np.full(sound.shape, np.nan))
        got, expected = runner_of(model)(inputs), model(inputs, training=False)
        layer.bias.assign(sound)
        for outputs in (got, expected):
            assert not np.any(outputs["boxes"]) and not np.any(outputs["num_detections"])
            np.testing.assert_array_equal(outputs["num_proposals"], [proposed] * 2)


@pytest.mark.parametrize("model_type", ["vanilla", "act", "sact"])
def test_no_images_give_empty_outputs(runner, batch_of, assert_same, model_type):
    run, inputs = runner(model_type), batch_of(SMALL, LARGE)
    nothing = run({name: value[:0] for name, value in inputs.items()})
    assert_same(nothing, {name: value[:0] for name, value in run(inputs).items()})


@pytest.mark.parametrize("features", [True, False])
@pytest.mark.parametrize("model_type", ["vanilla", "act", "sact"])
def test_extractor_alone_says_what_the_whole_says_of_it(runner, batch_of, assert_same, model_type, features):
    inputs = batch_of(SMALL, LARGE)
    whole, extractor = (runner(model_type, features=features, part=part)(inputs) for part in ("whole", "extractor"))
    head = {*FOUND, "num_proposals", "region_proposals/flops", "head/flops"}
    assert set(whole) - set(extractor) == head and ("block3" in extractor) == features
    extractor, whole = (only_pictures(each, inputs["image_size"]) for each in (extractor, whole))
    assert_same(extractor, {name: value for name, value in whole.items() if name not in head}, tolerance=1e-6)


def graphs(graph):
    """A graph and those within it."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from graphs(attribute.g)


def test_file_has_standard_operations_alone_one_loop_and_no_features_unless_asked_for(detectors):
    written = detector.write_detector(detectors("sact"))
    onnx.checker.check_model(written, full_check=True)
    assert [(each.domain, each.version) for each in written.opset_import] == [("", 18)]
    nodes = [node for graph in graphs(written.graph) for node in graph.node]
    assert {node.domain for node in nodes} == {""}
    # Over parts of the batch, around everything: none over boxes or classes.
    assert [node.op_type for node in nodes if node.op_type in ("Loop", "Scan")] == ["Loop"]
    assert "Loop" in {node.op_type for node in written.graph.node}
    assert [each.name for each in written.graph.input] == ["images", "image_size"]
    outputs = {output.name for output in written.graph.output}
    assert outputs >= {"boxes", "flops", "block3/num_units", "image_size"} and "block3" not in outputs


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": [[31, 70], [83, 98]]}, "image_size must be at least 32 pixels each way and no more than"),
        ({"image_size": [[49, 70], [83, 99]]}, "image_size must be at least 32 pixels each way and no more than"),
        ({"image_size": [[49, 70]]}, "there must be as many sizes as images"),
        ({"image_size": [[49, 70, 3], [83, 98, 3]]}, "Got: 3 Expected: 2"),
        ({"images": np.zeros((2, 31, 98, 3))}, "images must be at least 32 pixels high and wide"),
        ({"images": np.zeros((2, 83, 98, 4))}, "Got: 4 Expected: 3"),
    ],
)
def test_wrong_inputs_stop_the_graph_with_what_is_wrong(runner, batch_of, change, message):
    dtypes = {"images": "float32", "image_size": "int32"}
    inputs = {**batch_of(SMALL, LARGE), **{name: np.asarray(value, dtypes[name]) for name, value in change.items()}}
    with pytest.raises(Exception, match=message):
        runner("sact")(inputs)


class OtherBoxes(FasterRCNN):
    def select_proposals(self, scores, codes, outputs, training=None):
        return super().select_proposals(scores, -codes, outputs, training)


def test_detectors_that_compute_something_else_are_refused(detectors):
    model = detectors("vanilla")
    with pytest.raises(ValueError, match=r"as sact_tf.faster_rcnn makes them(.|\n)*OtherBoxes(.|\n)*select_proposals"):
        detector.write_detector(OtherBoxes(model.backbone, 3))
    with pytest.raises(ValueError, match=r"`part` must be one of(.|\n)*'head'"):
        detector.write_detector(model, part="head")
    other = FasterRCNN(ImageNetBackbone((1, 1, 1, 1), "vanilla", base_channels=4, dtype="mixed_bfloat16"), 3)
    with pytest.raises(ValueError, match=r"dtype='float32'(.|\n)*bfloat16"):
        detector.write_detector(other)


def test_engine_in_python_takes_what_the_detector_takes(detectors, batch_of, make_images, assert_same, tmp_path):
    model, inputs = detectors("sact"), batch_of(SMALL, LARGE)
    engine = sparse.compile(model, runtime="onnx")
    others = {name: engine(inputs)[name] for name in ("num_detections", "head/flops")}
    for original in ({}, {"original_size": np.array([[98, 140], [83, 49]], "int64")}):
        got, expected = engine({**inputs, **original}), model({**inputs, **original}, training=False)
        np.testing.assert_allclose(got["boxes"], expected["boxes"], rtol=0, atol=2e-3)
        assert_same({name: got[name] for name in others}, others)
    images = make_images(1, 64, 35)
    expected = model(images, training=False)["scores"]
    for given in (images.astype("float64"), tf.constant(images), {"images": images}):
        np.testing.assert_allclose(engine(given)["scores"], expected, atol=1e-4)
    engine.save(tmp_path / "detector.onnx")
    saved = onnxruntime.InferenceSession(tmp_path / "detector.onnx")
    np.testing.assert_array_equal(saved.run(["boxes"], inputs)[0], engine(inputs)["boxes"])
    extractor = sparse.compile(model, runtime="onnx", features=True, part="extractor")(inputs)
    assert "boxes" not in extractor and extractor["block3"].shape == (2, 6, 7, 64)


def test_sizes_that_an_engine_returns_are_not_the_callers_array(detectors, batch_of):
    engine, inputs = sparse.compile(detectors("sact"), runtime="onnx"), batch_of(SMALL, LARGE)
    returned = engine(inputs)["image_size"]
    inputs["image_size"][:] = 0
    np.testing.assert_array_equal(returned, [SMALL, LARGE])


REFUSED = {
    "bytes": (lambda given: {"images": np.zeros((2, 83, 98, 3), "uint8")}, r"floating point(.|\n)*dtype=uint8"),
    "one image": (lambda given: given["images"][0], r"one image needs a batch axis"),
    "another key": (lambda given: {**given, "size": 1}, r"A detector is called on(.|\n)*'size'"),
    "small pictures": (
        lambda given: {**given, "image_size": [[83, 98], [20, 60]]},
        r"at least 32 pixels(.|\n)*\[20, 60\]",
    ),
    "more sizes": (
        lambda given: {**given, "images": given["images"][1:]},
        r"height and width of each picture(.|\n)*and 1 images",
    ),
}


@pytest.fixture(scope="module")
def extractor(detectors):
    """An engine of ONNX Runtime."""
    return sparse.compile(detectors("vanilla"), runtime="onnx", part="extractor")


@pytest.mark.parametrize(("ask", "message"), REFUSED.values(), ids=REFUSED)
def test_engine_in_python_refuses_other_inputs_with_what_it_takes(extractor, batch_of, ask, message):
    with pytest.raises(ValueError, match=message):
        extractor(ask(batch_of(SMALL, LARGE)))


def test_engine_in_python_is_called_outside_of_graphs(extractor):
    with pytest.raises(ValueError, match=r"inside of a tf\.function"):
        tf.function(extractor)(tf.zeros((1, 64, 35, 3)))


def test_parts_are_of_detectors_in_onnx_runtime_alone(detectors):
    model = detectors("vanilla")
    with pytest.raises(ValueError, match=r"Leave `part` out(.|\n)*part='extractor', runtime='tensorflow'"):
        sparse.compile(model, part="extractor")
    with pytest.raises(ValueError, match=r"Leave `part` out(.|\n)*a Classifier"):
        sparse.compile(sact_tf.cifar_resnet("1", "vanilla"), runtime="onnx", part="whole")
    with pytest.raises(ValueError, match=r"`part` must be one of(.|\n)*'head'"):
        sparse.compile(model, runtime="onnx", part="head")
