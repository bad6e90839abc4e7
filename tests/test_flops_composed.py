"""FLOPs of other people's models, counted afterwards and within them."""

import random

import keras
import numpy as np
import pytest
import tensorflow as tf

import sact_tf
from sact_tf import flops
from sact_tf.layers import AdaptiveBlock, BasicUnit, BottleneckUnit, TimeDistributed

HEIGHT, WIDTH, TIME = 7, 5, 3


def make_blocks():
    """A SACT block that strides, an ACT and a vanilla block."""
    return {
        "eyes": AdaptiveBlock([BottleneckUnit(8, 2, stride=2), BottleneckUnit(8, 2)], "sact", epsilon=0.5, name="eyes"),
        "mind": AdaptiveBlock([BasicUnit(8), BasicUnit(8)], "act", epsilon=0.5, name="mind"),
        "hand": AdaptiveBlock([BasicUnit(12, stride=2)], "vanilla", name="hand"),
    }


def run(blocks, features):
    """What the blocks return in turn, and the features that enter each."""
    returned, entering = {}, {}
    for name, block in blocks.items():
        entering[name] = features
        returned[name] = dict(block(features))
        features = returned[name]["features"]
    return returned, entering


def functional(image_shape=(None, None, 4)):
    """Outputs under names of its own, FLOPs among them."""
    images = keras.Input(image_shape)
    blocks = make_blocks()
    returned, entering = run(blocks, images)
    cost = {name: flops.BlockFlops(block)(returned[name], entering[name]) for name, block in blocks.items()}
    return keras.Model(
        images,
        {
            "a": returned["mind"]["num_units"],
            "z": {"deep": returned["eyes"]["num_units"]},
            "last": returned["hand"]["features"],
            "cost": cost,
        },
        name="own",
    )


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.parts = make_blocks()

    def call(self, images, training=None):
        returned, _ = run(self.parts, images)
        return {"eyes/num_units": returned["eyes"]["num_units"], "mind": returned["mind"], "hand": returned["hand"]}

    def head_convolutions(self):
        return [(1, 1, 12, 5)]


@pytest.fixture(scope="module")
def images(make_images):
    return make_images(2, HEIGHT, WIDTH, 4)


@pytest.fixture(scope="module")
def own(spread_halting):
    # Made before the seed of the first test is set, and the tests count on images that halt at different units.
    random.seed(12)
    return spread_halting(functional())


@pytest.fixture(scope="module")
def subclassed(images, spread_halting):
    """The model and what it says of the images."""
    random.seed(12)
    model = Subclassed()
    model(images)
    return model, spread_halting(model)(images)


def expected_of(blocks, images):
    """Counted block by block, from what each of them returned."""
    returned, entering = run(blocks, tf.constant(images))
    counts = {}
    for name, block in blocks.items():
        size = entering[name].shape[1:3]
        counts[name] = flops.count_block(block, size, len(images), returned[name].get("num_units"))[1].numpy()
    return counts


def blocks_of(model):
    blocks = {layer.name: layer for layer in model._flatten_layers() if isinstance(layer, AdaptiveBlock)}
    return {name: blocks[name] for name in ("eyes", "mind", "hand")}


def test_flops_are_outputs_of_a_model_of_your_own_for_every_size(own, make_images):
    for size in ((HEIGHT, WIDTH), (6, 9)):
        batch = make_images(2, *size, 4)
        outputs, expected = own(batch), expected_of(blocks_of(own), batch)
        for name, value in expected.items():
            assert outputs["cost"][name].dtype == tf.int64
            np.testing.assert_array_equal(outputs["cost"][name], value, name)


def test_strided_sact_block_by_hand():
    block = make_blocks()["eyes"]
    block.build((None, HEIGHT, WIDTH, 4))
    num_units = np.ones((2, 4, 3), "int32")
    num_units[1, 0, 0] = 2
    first = 2 * (35 * 4 * 2 + 12 * 9 * 2 * 2 + 12 * 2 * 8 + 12 * 4 * 8) + 2 * 12 * 9 * 8 + 2 * 8
    second = 2 * (4 * 8 * 2 + 1 * 9 * 2 * 2 + 1 * 2 * 8)
    counted = flops.BlockFlops(block)({"num_units": num_units}, np.zeros((2, HEIGHT, WIDTH, 4), "float32"))
    np.testing.assert_array_equal(counted, [first, first + second])


def test_model_of_your_own_is_saved_and_exported_with_its_flops(own, images, tmp_path):
    expected = own(images)["cost"]
    own.save(tmp_path / "own.keras")
    reloaded = keras.models.load_model(tmp_path / "own.keras")
    # A SavedModel returns a flat dict.
    keras.Model(own.input, own.output["cost"]).export(str(tmp_path / "saved"), verbose=False)
    exported = tf.saved_model.load(str(tmp_path / "saved"))
    for cost in (reloaded(images)["cost"], exported.serve(images)):
        for name, value in expected.items():
            np.testing.assert_array_equal(cost[name], value, name)


def test_functional_model_is_counted_afterwards_whatever_its_outputs_are_called(own, images):
    counted, expected = flops.count(own, own(images), image_size=(HEIGHT, WIDTH)), expected_of(blocks_of(own), images)
    assert len(np.unique(expected["eyes"])) == 2
    assert list(counted) == ["flops", "eyes/flops", "mind/flops", "hand/flops"]
    for name, value in expected.items():
        np.testing.assert_array_equal(counted[f"{name}/flops"], value, name)
    np.testing.assert_array_equal(counted["flops"], sum(expected.values()))


def test_subclassed_model_is_counted_afterwards_with_its_head(images, subclassed):
    model, outputs = subclassed
    expected = expected_of(blocks_of(model), images)
    counted = flops.count(model, outputs, image_size=(HEIGHT, WIDTH))
    np.testing.assert_array_equal(counted["flops"], sum(expected.values()) + 2 * 12 * 5)
    alone = {"num_units": outputs["mind"]["num_units"]}
    with pytest.raises(ValueError, match=r"'eyes/num_units'(.|\n)*\['num_units'\]"):
        flops.count(model, alone, image_size=(HEIGHT, WIDTH))


class TakesImagesAlone(keras.Model):
    def __init__(self, block):
        super().__init__()
        self.block = block

    def call(self, images):
        return self.block(images)


def test_model_whose_call_takes_no_training_is_counted(images):
    model = TakesImagesAlone(AdaptiveBlock([BasicUnit(4)], "sact"))
    ours = flops.count(model, model(images), (HEIGHT, WIDTH))["flops"]
    assert ours.numpy().tolist() == [2 * 2 * 3 * 3 * 4 * 4 * HEIGHT * WIDTH] * 2


class Lesioned(keras.Model):
    """Calls a model under a policy."""

    def __init__(self, inner, policy):
        super().__init__()
        self.inner, self.policy = inner, policy

    def call(self, images):
        return sact_tf.depth.call(self.inner, images, self.policy)


@pytest.mark.parametrize("model_type", ["vanilla", "act"])
def test_model_that_calls_its_blocks_under_a_policy_is_counted_with_what_it_kept(images, model_type):
    inner = TakesImagesAlone(AdaptiveBlock([BasicUnit(4), BasicUnit(4)], model_type, name="block"))
    inner(images)
    model = Lesioned(inner, sact_tf.depth.Deleted({"block": [1]}))
    outputs = model(images)
    with pytest.raises(ValueError, match=r"calls its blocks \['block'\] under a policy .* `kept=policy.kept"):
        flops.count(model, outputs, (HEIGHT, WIDTH))
    counted = flops.count(model, outputs, (HEIGHT, WIDTH), kept=model.policy.kept(model))["flops"]
    # Two convolutions of 3x3, two FLOPs a product.
    assert counted.numpy().tolist() == [2 * 2 * 3 * 3 * 4 * 4 * HEIGHT * WIDTH] * 2


class BackboneAndMore(keras.Model):
    """Names that our networks have, for other things; a backbone of ours, and a block besides."""

    def __init__(self):
        super().__init__()
        self.stem = keras.layers.Rescaling(0.5)
        self.backbone = sact_tf.models.CifarBackbone((1, 1, 1), "sact", base_channels=2, image_shape=(None, None, 3))
        self.blocks = [AdaptiveBlock([BasicUnit(8), BasicUnit(8)], "sact", name="besides")]

    def call(self, images, training=None):
        outputs = self.backbone(self.stem(images))
        return {**outputs, "besides": self.blocks[0](outputs["block_3"])}


def test_blocks_beside_a_backbone_and_other_uses_of_our_names_are_counted_too(make_images):
    model, images = BackboneAndMore(), make_images(2, 8, 12)
    outputs = model(images)
    counts = flops.count(model, outputs)
    [besides] = model.blocks
    _, expected = flops.count_block(besides, (2, 3), 2, outputs["besides"]["num_units"])
    np.testing.assert_array_equal(counts["besides/flops"], expected)
    np.testing.assert_array_equal(counts["flops"], sum(count for name, count in counts.items() if "/" in name))


@pytest.mark.parametrize("nest", [lambda block: [block, 1.0], lambda block: {"deep": ({"eyes": block}, 1.0)}])
def test_num_units_are_found_in_lists_and_tuples_of_dicts(subclassed, nest):
    model, outputs = subclassed
    mind, eyes = outputs["mind"], {"num_units": outputs["eyes/num_units"]}
    counted = flops.count(model, [{"mind": mind}, nest({"eyes": eyes})], image_size=(HEIGHT, WIDTH))
    expected = flops.count(model, outputs, image_size=(HEIGHT, WIDTH))
    np.testing.assert_array_equal(counted["flops"], expected["flops"])


@pytest.mark.parametrize(
    "arrange", [lambda features, units: [features, units], lambda features, units: ((units,),), lambda _, units: units]
)
def test_functional_model_needs_no_names_at_all(images, arrange):
    entering = keras.Input((HEIGHT, WIDTH, 4))
    block = AdaptiveBlock([BasicUnit(4), BasicUnit(4)], "act", name="only")
    returned = block(entering)
    model = keras.Model(entering, arrange(returned["features"], returned["num_units"]))
    units = block(images)["num_units"]
    expected = flops.count_block(block, (HEIGHT, WIDTH), 2, units)[1]
    np.testing.assert_array_equal(flops.count(model, model(images))["flops"], expected)


def test_names_are_not_needed_in_a_functional_model_within_others_either(own, images):
    model = own
    for last, mind, eyes in (("last", "a", "z"), ("scores", "y", "x")):
        outside = keras.Input((HEIGHT, WIDTH, 4))
        returned = model(outside)
        model = keras.Model(outside, {"scores": returned[last], "y": returned[mind], "x": returned[eyes]})
    expected = flops.count(own, own(images), image_size=(HEIGHT, WIDTH))
    counted = flops.count(model, model(images))
    for name, value in expected.items():
        np.testing.assert_array_equal(counted[name], value, name)


def test_outputs_without_num_units_are_refused_whatever_they_are(images):
    entering = keras.Input((HEIGHT, WIDTH, 4))
    returned = AdaptiveBlock([BasicUnit(4), BasicUnit(4)], "act", name="only")(entering)
    model = keras.Model(entering, keras.layers.GlobalAveragePooling2D()(returned["features"]))
    with pytest.raises(ValueError, match="'only/num_units'"):
        flops.count(model, model(images))


def test_logits_alone_are_no_outputs_of_our_networks(make_images):
    model = sact_tf.cifar_resnet("1", "act", num_classes=3, base_channels=2, image_shape=(None, None, 3))
    with pytest.raises(ValueError, match=r"'image_size'(.|\n)*Tensor"):
        flops.count(model, model(make_images(2, 8, 8))["logits"])


def test_size_of_a_model_s_own_input_need_not_be_told(images, spread_halting):
    model = spread_halting(functional((HEIGHT, WIDTH, 4)))
    outputs = model(images)
    told = flops.count(model, outputs, image_size=(HEIGHT, WIDTH))
    np.testing.assert_array_equal(flops.count(model, outputs)["flops"], told["flops"])
    # Blocks may be renamed after a count, as where two networks become one.
    model.get_layer("eyes").name = "left_eyes"
    np.testing.assert_array_equal(flops.count(model, outputs)["left_eyes/flops"], told["eyes/flops"])


def test_unknown_size_is_named_with_both_ways_out(own, images):
    with pytest.raises(ValueError, match=r"image_size=\(height, width\)(.|\n)*BlockFlops"):
        flops.count(own, own(images))


def test_flops_of_our_models_are_counted_within_a_functional_model(make_images):
    network = sact_tf.cifar_resnet("2_1_1", "sact", 3, 2, image_shape=(None, None, 3))
    images = keras.Input((None, None, 3))
    outputs = network(images)
    model = keras.Model(images, flops.count(network, outputs))
    batch = make_images(2, 9, 6)
    for name, value in flops.count(network, network(batch)).items():
        np.testing.assert_array_equal(model(batch)[name], value, name)


@pytest.mark.parametrize("model_type", ["vanilla", "act", "sact"])
def test_frames_of_sequences_are_counted_one_by_one(make_images, spread_halting, model_type):
    frames = np.stack([make_images(2, HEIGHT, WIDTH, 4, seed=seed) for seed in range(TIME)], axis=1)
    block = AdaptiveBlock([BasicUnit(4), BasicUnit(4), BasicUnit(4)], model_type, name="block")
    inputs = keras.Input((TIME, None, None, 4))
    outputs = TimeDistributed(block)(inputs)
    model = keras.Model(inputs, {**outputs, "cost": flops.BlockFlops(block)(outputs, inputs)})
    returned = spread_halting(model)(frames)
    assert returned["cost"].shape == (2, TIME)
    for time in range(TIME):
        alone = flops.BlockFlops(block)(block(frames[:, time]), frames[:, time])
        np.testing.assert_array_equal(returned["cost"][:, time], alone)
    del returned["cost"]
    counted = flops.count(model, {**returned, "cost": 0}, image_size=(HEIGHT, WIDTH))["flops"]
    np.testing.assert_array_equal(counted, model(frames)["cost"].numpy().sum(axis=1))


def test_sequences_of_any_number_of_frames_are_counted_where_blocks_halt(make_images, spread_halting):
    def model_of(model_type):
        inputs = keras.Input((None, None, None, 4))
        block = AdaptiveBlock([BasicUnit(4), BasicUnit(4)], model_type, name="block")
        outputs = TimeDistributed(block)(inputs)
        return keras.Model(inputs, {**outputs, "cost": flops.BlockFlops(block)(outputs, inputs)})

    model = spread_halting(model_of("sact"))
    for frames in (1, 3):
        images = np.stack([make_images(2, HEIGHT, WIDTH, 4, seed=seed) for seed in range(frames)], axis=1)
        returned = model(images)
        counted = flops.count(model, returned, image_size=(HEIGHT, WIDTH))["block/flops"]
        np.testing.assert_array_equal(counted, returned["cost"].numpy().sum(axis=1))
    plain = model_of("vanilla")
    with pytest.raises(ValueError, match=r"any number of frames.*Give its input a number of frames.*\['block'\]"):
        flops.count(plain, plain(images), image_size=(HEIGHT, WIDTH))


def test_block_of_known_size_is_counted_symbolically():
    block = AdaptiveBlock([BasicUnit(4), BasicUnit(4)], "sact", name="block")
    features = keras.Input((6, 5, 4))
    outputs = block(features)
    size, symbolic = flops.count_block(block, (6, 5), None, outputs["num_units"])
    assert tuple(size) == (6, 5) and (symbolic.shape, symbolic.dtype) == ((None,), "int64")
    model = keras.Model(features, {"cost": symbolic, "units": outputs["num_units"]})
    returned = model(np.ones((2, 6, 5, 4), "float32"))
    np.testing.assert_array_equal(returned["cost"], flops.count_block(block, (6, 5), 2, returned["units"])[1])
    for unknown in (((None, 5), None), ((6, 5), None)):
        with pytest.raises(ValueError, match="BlockFlops"):
            flops.count_block(block, *unknown)


class Refined(keras.Model):
    """One block, three times: its `num_units` are those of the last."""

    def __init__(self, repeat):
        super().__init__(name="refined")
        self.repeat = repeat
        self.block = AdaptiveBlock([BasicUnit(4), BasicUnit(4)], "act", name="only")

    def call(self, features):
        def step(index, state):
            returned = self.block(state[0])
            return returned["features"], returned["num_units"]

        features, num_units = self.repeat(
            0, 3, step, (features, keras.ops.zeros(keras.ops.shape(features)[:1], "int32"))
        )
        return {"features": features, "only/num_units": num_units}


def in_python(start, end, step, state):
    for index in range(start, end):
        state = step(index, state)
    return state


@pytest.mark.parametrize("repeat", [in_python, keras.ops.fori_loop])
def test_block_that_runs_several_times_is_refused_in_loops_too(images, repeat):
    model = Refined(repeat)
    with pytest.raises(ValueError, match=r"'only' of 'refined' must run once(.|\n)*BlockFlops"):
        flops.count(model, model(images), image_size=(HEIGHT, WIDTH))


def test_counting_may_be_repeated(images):
    model = Refined(lambda start, _, step, state: step(start, state))
    outputs = model(images)

    def add(_, total):
        return total + flops.count(model, outputs, image_size=(HEIGHT, WIDTH))["flops"]

    # First in the loop, where sizes are not known yet.
    total = tf.function(lambda: keras.ops.fori_loop(0, 3, add, keras.ops.zeros((2,), "int64")))()
    np.testing.assert_array_equal(total, 3 * flops.count(model, outputs, image_size=(HEIGHT, WIDTH))["flops"])
