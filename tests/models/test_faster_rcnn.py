"""Faster R-CNN: what a picture has alone it has in a padded batch; losses, saving, fine-tuning, frozen statistics."""

import random

import keras
import numpy as np
import pytest
import tensorflow as tf

import sact_tf
from sact_tf import checkpoints, flops
from sact_tf.models import FasterRCNN, ImageNetBackbone
from sact_tf.models.detection_inputs import refuse_no_images
from sact_tf.models.detection_losses import mean_ponder_costs
from sact_tf.models.extractor import extract, picture_of

SIZE, LARGE = (57, 70), (80, 96)


def make_detector(model_type="sact", **changes):
    random.seed(4)
    backbone = ImageNetBackbone((1, 2, 2, 1), model_type, base_channels=4, dtype=changes.pop("dtype", None))
    model = FasterRCNN(backbone, 3, **{"tau": 0.1, "anchor_base_size": 64.0, "num_proposals": 12, **changes})
    generator = np.random.default_rng(0)
    for variable in backbone.variables:
        # Branches that halt at some positions and go on at others.
        if "halting" in variable.path and "kernel" in variable.path:
            variable.assign(generator.normal(0, 0.5, variable.shape))
        elif "halting" in variable.path and "bias" in variable.path:
            variable.assign(np.full(variable.shape, 0.5))
    return model


@pytest.fixture(scope="module", params=["vanilla", "act", "sact"])
def detector(request):
    return make_detector(request.param)


@pytest.fixture(scope="module")
def sact():
    return make_detector()


def padded_batch():
    """A picture beside a larger one, and alone; what is around it is no picture."""
    generator = np.random.default_rng(1)
    small = generator.uniform(-1, 1, (1, *SIZE, 3)).astype("float32")
    images = generator.uniform(-1, 1, (2, *LARGE, 3)).astype("float32")
    images[0] = 7.0
    images[0, : SIZE[0], : SIZE[1]] = small[0]
    return small, {"images": images, "image_size": np.array([SIZE, LARGE], "int32")}


def truth():
    boxes = [[[5, 8, 40, 50], [20, 30, 56, 69], [0, 0, 0, 0]], [[10, 10, 70, 80], [0, 0, 0, 0], [0, 0, 0, 0]]]
    return {"boxes": tf.constant(boxes, tf.float32), "classes": tf.constant([[1, 3, 0], [2, 0, 0]])}


def test_a_picture_has_beside_a_larger_one_what_it_has_alone(detector):
    small, batch = padded_batch()
    alone, beside = detector(small), detector(batch)
    assert int(alone["num_proposals"][0]) > 3 and int(alone["num_detections"][0]) > 3
    for name in ("boxes", "scores", "classes", "num_detections", "num_proposals"):
        np.testing.assert_allclose(beside[name][:1], alone[name], atol=1e-3, err_msg=name)
    for name in ("head/flops", "region_proposals/flops"):
        assert int(beside[name][0]) == int(alone[name][0]), name
    of_alone, of_beside = flops.count(detector, alone), flops.count(detector, beside)
    assert set(of_alone) == {"flops", "block1/flops", "block2/flops", "block3/flops"}
    most_of_alone, most_of_beside = flops.count_most(detector, alone), flops.count_most(detector, beside)
    for name, value in of_alone.items():
        assert int(of_beside[name][0]) == int(value[0]), name
        assert int(most_of_beside[name][0]) == int(most_of_alone[name][0]) >= int(value[0]), name
    if detector.backbone.model_type == "sact":
        assert len(np.unique(alone["block3/num_units"])) > 1


def test_the_extractor_is_the_classifier_s_network(detector):
    images = np.random.default_rng(2).uniform(-1, 1, (2, 48, 64, 3)).astype("float32")
    expected = detector.backbone(images)
    actual = extract(detector.backbone, images, tf.constant([[48, 64]] * 2))
    assert np.asarray(actual.pop("finite")).all()
    for name in actual:
        np.testing.assert_allclose(actual[name], expected[name], atol=2e-4, err_msg=name)


def test_the_picture_of_a_map_rounds_up():
    inside = picture_of(tf.zeros((2, 3, 4, 1)), tf.constant([[17, 32], [48, 49]]), 16)
    np.testing.assert_array_equal(tf.reduce_sum(tf.cast(inside, tf.int32), (1, 2, 3)), [2 * 2, 3 * 4])


def test_boxes_come_in_pixels_of_the_file(sact):
    small, _ = padded_batch()
    of_network = sact(small)["boxes"]
    sizes = {"image_size": np.array([SIZE], "int32"), "original_size": np.array([[2 * SIZE[0], 3 * SIZE[1]]], "int32")}
    of_file = sact({"images": small, **sizes})["boxes"]
    np.testing.assert_allclose(of_file, of_network * np.array([2, 3, 2, 3], "float32"), rtol=1e-5)


def test_the_ponder_cost_is_that_of_pictures(sact):
    small, batch = padded_batch()
    alone, beside = sact(small), sact(batch)
    larger = sact(batch["images"][1:])
    for name, cost in mean_ponder_costs(beside).items():
        expected = [
            tf.reduce_mean(each[f"{name}/ponder_cost"][:, :rows, :columns])
            for each, rows, columns in (
                (alone, *_positions(name, SIZE)),
                (larger, *_positions(name, LARGE)),
            )
        ]
        assert float(cost) == pytest.approx(float(sum(expected)) / 2, rel=1e-5)


def _positions(name, size):
    stride = {"block1": 4, "block2": 8, "block3": 16}[name]
    return [-(-side // stride) for side in size]


def terms_of(model, targets):
    _, batch = padded_batch()
    return model.loss_terms(targets, model(batch, training=True), draws=(3, 7, tf.constant((0, 1))))


def step_of(model, targets, jit_compile=False):
    def step():
        with tf.GradientTape() as tape:
            terms = terms_of(model, targets)
            loss = sum(terms.values())
        return terms, tape.gradient(loss, [variable.value for variable in model.trainable_variables])

    # By hand is faster than a graph that runs once.
    terms, gradients = tf.function(step, autograph=False, jit_compile=True)() if jit_compile else step()
    return {name: float(value) for name, value in terms.items()}, gradients


def test_every_weight_learns_and_the_draws_decide_alone():
    model = make_detector()
    terms, gradients = step_of(model, truth())
    assert set(terms) == {
        "region_localization",
        "region_objectness",
        "box_localization",
        "box_classification",
        "ponder",
        "regularization",
    }
    assert all(np.isfinite(value) and value > 0 for name, value in terms.items() if name != "box_localization"), terms
    assert all(gradient is not None and np.isfinite(gradient).all() for gradient in gradients)
    again = terms_of(model, truth())
    assert {name: float(value) for name, value in again.items()} == terms


def test_padding_has_no_part_in_gradients_whatever_the_signs_of_scales():
    model = make_detector("vanilla")
    scale = model.backbone.blocks["block1"].units[0].preact.gamma
    scale.assign(-np.ones(scale.shape))
    _, batch = padded_batch()
    with tf.GradientTape() as tape:
        loss = sum(model.loss_terms(truth(), model(batch, training=True), draws=(1, 0, [0, 1])).values())
    gradients = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
    assert all(np.isfinite(tf.convert_to_tensor(gradient)).all() for gradient in gradients if gradient is not None)


def test_images_without_boxes_teach_the_background():
    nothing = {"boxes": tf.zeros((2, 1, 4)), "classes": tf.zeros((2, 1), tf.int32)}
    terms, gradients = step_of(make_detector(), nothing)
    assert terms["region_localization"] == terms["box_localization"] == 0
    assert terms["region_objectness"] > 0 and terms["box_classification"] > 0
    assert all(np.isfinite(gradient).all() for gradient in gradients if gradient is not None)


@pytest.mark.slow
def test_a_step_compiles_with_xla():
    plain, _ = step_of(make_detector(), truth())
    compiled, _ = step_of(make_detector(), truth(), jit_compile=True)
    for name, value in plain.items():
        assert compiled[name] == pytest.approx(value, rel=1e-3, abs=1e-5), name


def test_a_saved_detector_finds_the_same(sact, tmp_path):
    small, _ = padded_batch()
    sact.sample_seed.next()
    sact.save(tmp_path / "detector.keras")
    loaded = keras.models.load_model(tmp_path / "detector.keras")
    np.testing.assert_array_equal(loaded.sample_seed.state, sact.sample_seed.state)
    assert isinstance(loaded, FasterRCNN) and loaded.tau == sact.tau and loaded.num_proposals == 12
    found = loaded(small)
    for name, value in sact(small).items():
        np.testing.assert_allclose(found[name], value, atol=1e-4, err_msg=name)


def test_checkpoint_of_tensorflow_has_every_variable_and_the_draws(sact, tmp_path):
    sact.sample_seed.next()
    path = tf.train.Checkpoint(model=sact).write(str(tmp_path / "model"))
    twin = make_detector()
    tf.train.Checkpoint(model=twin).read(path).assert_consumed()
    for value, expected in zip(twin.variables, sact.variables, strict=True):
        np.testing.assert_array_equal(value, expected)


def test_crops_that_are_pooled_first_are_not_halved_again():
    model = sact_tf.faster_rcnn("1_1_1_1", "vanilla", 2, base_channels=4, anchor_base_size=64.0, crop_max_pool=True)
    assert model.crop_positions == 7
    assert model.backbone.blocks["block4"].units[0].stride == 1
    outputs = model(np.zeros((1, 48, 48, 3), "float32"))
    assert outputs["boxes"].shape == (1, 300, 4)


@pytest.mark.parametrize(("crop_max_pool", "positions"), [(True, 4), (False, 8)])
def test_smaller_crops_cost_as_much_less_in_the_head(crop_max_pool, positions):
    image = np.random.default_rng(0).uniform(-1, 1, (1, 64, 80, 3)).astype("float32")
    costs = {}
    for crop_size in (14, 8):
        model = make_small(crop_max_pool, crop_size)
        outputs = model(image)
        costs[crop_size] = int(outputs["head/flops"][0]) / int(outputs["num_proposals"][0])
    assert model.crop_positions == positions and FasterRCNN.from_config(model.get_config()).crop_size == 8
    # Whole but for the two dense layers: 16 of 49 positions.
    assert costs[8] / costs[14] == pytest.approx(16 / 49, rel=0.05)


def make_small(crop_max_pool, crop_size):
    backbone = ImageNetBackbone((1, 1, 1, 1), "vanilla", base_channels=4, last_stride=1 if crop_max_pool else 2)
    return FasterRCNN(backbone, 2, crop_max_pool=crop_max_pool, crop_size=crop_size, anchor_base_size=64.0)


@pytest.mark.parametrize("crop_size", [0, 7, 8.0])
def test_crops_without_halves_are_refused(crop_size):
    with pytest.raises(ValueError, match=f"even int of at least 2. Received: crop_size={crop_size}"):
        make_small(True, crop_size)


@pytest.mark.parametrize(("crop_max_pool", "last_stride"), [(True, 2), (False, 1)])
def test_a_backbone_that_would_halve_crops_twice_or_never_is_refused(crop_max_pool, last_stride):
    backbone = ImageNetBackbone((1, 1, 1, 1), "vanilla", base_channels=4, last_stride=last_stride)
    with pytest.raises(ValueError, match=rf"Make the backbone with last_stride={3 - last_stride}"):
        FasterRCNN(backbone, 2, crop_max_pool=crop_max_pool)


def test_frozen_normalization_leaves_the_halting_branches_free():
    model = make_detector(freeze_batch_norm=True)

    def normalizations(model):
        return [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]

    norms = normalizations(model)
    frozen = {norm.path for norm in norms if not norm.trainable}
    assert frozen and all("halting" in norm.path for norm in norms if norm.trainable)
    before = {variable.path: variable.numpy() for variable in model.variables if "halting" not in variable.path}
    terms_of(model, truth())
    for variable in model.variables:
        if variable.path in before and "moving" in variable.path:
            np.testing.assert_array_equal(variable, before[variable.path], err_msg=variable.path)
    loaded = FasterRCNN.from_config(model.get_config())
    assert {norm.path for norm in normalizations(loaded) if not norm.trainable} == frozen
    assert loaded.freeze_batch_norm is True
    assert len(loaded.trainable_variables) == len(model.trainable_variables)


def save_as_run(model, directory):
    named = checkpoints.named_variables(model)
    prefix = tf.train.Checkpoint(**{checkpoints.VARIABLES_KEY: named}, step=tf.Variable(0, dtype=tf.int64)).save(
        str(directory / "model.ckpt")
    )
    return prefix


def test_a_detector_starts_from_a_classifier_and_from_a_detector(tmp_path):
    random.seed(8)
    classifier = sact_tf.imagenet_resnet((1, 2, 2, 1), "vanilla", 5, base_channels=4)
    prefix = save_as_run(classifier, tmp_path / "classifier")
    model = make_detector()
    fresh = model.class_dense.kernel.numpy(), model.backbone.blocks["block1"].halting_branches
    assert sact_tf.initialize_from(model, prefix) is False, "none of its classes are the classifier's"
    expected = checkpoints.named_variables(classifier)
    for name, variable in checkpoints.named_variables(model).items():
        if name in expected:
            np.testing.assert_array_equal(variable, expected[name], err_msg=name)
    np.testing.assert_array_equal(model.class_dense.kernel, fresh[0])
    plain = make_detector("vanilla")
    prefix = save_as_run(plain, tmp_path / "detector")
    assert sact_tf.initialize_from(model, prefix) is True
    np.testing.assert_array_equal(model.class_dense.kernel, plain.class_dense.kernel)
    other = FasterRCNN(model.backbone, 9, num_proposals=12)
    with pytest.raises(ValueError, match="class_scores"):
        sact_tf.initialize_from(other, prefix)
    assert sact_tf.initialize_from(other, prefix, skip_logits=True) is False
    np.testing.assert_array_equal(other.proposal_conv.kernel, plain.proposal_conv.kernel)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"images": np.zeros((1, 64, 64, 3), "float32"), "sizes": np.zeros((1, 2))}, "'image_size': \\(batch, 2\\)"),
        ({"image_size": np.zeros((1, 2))}, "A detector is called on"),
        ({"images": np.zeros((1, 64, 64, 3), "float32"), "image_size": np.zeros(2)}, "must be int \\(batch, 2\\)"),
        ({"images": np.zeros((2, 64, 64, 3), "float32"), "image_size": np.full((1, 2), 64)}, "and 2 images"),
        (np.zeros((1, 30, 64, 3), "float32"), "at least 32 pixels"),
        (np.zeros((1, 64, 64, 3), "uint8"), "floating point"),
        (np.zeros((0, 64, 64, 3), "float32"), "one image or more.*Received: `images` of the shape \\(0, 64, 64, 3\\)"),
    ],
)
def test_inputs_that_are_none_are_named(sact, inputs, message):
    with pytest.raises(ValueError, match=message):
        sact(inputs)


def test_a_graph_names_a_batch_without_images_too():
    refuse = tf.function(refuse_no_images, input_signature=[{"images": tf.TensorSpec((None, None, None, 3))}])
    assert refuse({"images": tf.ones((1, 64, 64, 3))})["images"].shape[0] == 1
    with pytest.raises(tf.errors.InvalidArgumentError, match="one image or more: a batch without any has no boxes"):
        refuse({"images": tf.zeros((0, 64, 64, 3))})


@pytest.mark.slow
def test_mixed_precision_finds_boxes_in_float32():
    model = make_detector(dtype="mixed_bfloat16")
    small, _ = padded_batch()
    outputs = model(small)
    assert outputs["block3"].dtype == tf.bfloat16 and outputs["boxes"].dtype == tf.float32
    terms, gradients = step_of(model, truth())
    assert all(np.isfinite(value) for value in terms.values())
    assert all(np.isfinite(tf.cast(gradient, tf.float32)).all() for gradient in gradients)
