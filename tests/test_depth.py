"""Fewer units for a call: policies, what they cost, and networks measured under them."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import sact_tf
from sact_tf import config, depth, training
from sact_tf.layers import AdaptiveBlock, BasicUnit
from sact_tf.models import Backbone
from sact_tf.studies import runs
from sact_tf.studies.lesioned import LesionedNetwork


@pytest.fixture(scope="module")
def vanilla():
    return sact_tf.cifar_resnet("3", "vanilla", base_channels=4)


@pytest.fixture(scope="module")
def images(make_images):
    return make_images(2, 32, 32)


def test_blocks_are_in_the_order_of_execution(vanilla, images):
    assert list(depth.blocks_of(vanilla)) == ["block_1", "block_2", "block_3"]
    network = sact_tf.imagenet_resnet("1_1_1_1", "sact", num_classes=5, base_channels=2)
    assert list(depth.blocks_of(network)) == ["block1", "block2", "block3", "block4"]


def test_flops_are_those_of_the_units_that_are_left(vanilla, images):
    # Two 3 x 3 convolutions of 4 channels at 32 x 32 positions, a multiplication and an addition being two.
    unit = 2 * 2 * 9 * 4 * 4 * 32 * 32
    policy = depth.Deleted({"block_1": [1, 3]})
    outputs = depth.call(vanilla, images, policy)
    whole = sact_tf.flops.count(vanilla, vanilla(images))
    left = sact_tf.flops.count(vanilla, outputs, kept=policy.kept(vanilla))
    assert int(whole["block_1/flops"][0]) == 3 * unit
    np.testing.assert_array_equal(left["block_1/flops"], [unit, unit])
    np.testing.assert_array_equal(whole["flops"] - left["flops"], [2 * unit, 2 * unit])


def test_names_of_blocks_are_those_of_a_network_s_outputs(images):
    # Layers that are called otherwise, even as each other.
    blocks = {
        "one": AdaptiveBlock([BasicUnit(4), BasicUnit(4)], "vanilla", name="two"),
        "two": AdaptiveBlock([BasicUnit(4, stride=2), BasicUnit(4), BasicUnit(4)], "vanilla", name="one"),
    }
    network = Backbone([keras.layers.Conv2D(4, 1)], blocks, (None, None, 3), 2)
    policy = depth.Deleted({"two": [3]})
    outputs, whole = depth.call(network, images, policy), network(images)
    np.testing.assert_array_equal(outputs["one"], whole["one"])
    assert np.abs(outputs["two"] - whole["two"]).max() > 0
    left = sact_tf.flops.count(network, outputs, kept=policy.kept(network))
    np.testing.assert_array_equal(left["two/flops"], sact_tf.flops.count(network, whole)["two/flops"] * 2 // 3)
    with pytest.raises(ValueError, match=r"none under two(.|\n)*\['a', 'b'\]"):
        depth.blocks_of(Backbone([keras.layers.Conv2D(4, 1)], dict.fromkeys("ab", blocks["one"]), (None, None, 3), 2))


def test_a_projection_is_part_of_the_shortcut_and_still_costs():
    network = sact_tf.imagenet_resnet("1_1_1_1", "vanilla", num_classes=5, base_channels=2)
    image = np.zeros((1, 32, 32, 3), "float32")
    policy = depth.Deleted({"block1": [1]})
    left = sact_tf.flops.count(network, depth.call(network, image, policy), kept=policy.kept(network))
    # 64 channels of the stem to 8, at 8 x 8 positions.
    assert int(left["block1/flops"][0]) == 2 * 64 * 8 * 8 * 8


def test_units_are_counted_by_image_and_by_position(vanilla, images):
    maps = np.ones((2, 32, 32), "int32")
    maps[1, 5, 7] = 2
    cost = 2 * 9 * 4 * 4
    for num_units, extra in ((np.array([1, 3]), 2 * 2 * cost * 32 * 32), (maps, (9 + 1) * cost)):
        policy = depth.NumUnits({"block_1": num_units})
        outputs = depth.call(vanilla, images, policy)
        flops = sact_tf.flops.count(vanilla, outputs, kept=policy.kept(vanilla))["block_1/flops"]
        np.testing.assert_array_equal(flops, [2 * cost * 32 * 32, 2 * cost * 32 * 32 + extra])


def test_depths_of_a_halting_network_handed_back_give_what_it_said_itself(make_images, spread_halting):
    # From pale to glaring, so that whole images halt differently as well.
    images = make_images(6, 32, 32) * np.geomspace(0.05, 20, 6, dtype="float32")[:, None, None, None]
    for model_type in ("act", "act_early_stopping", "sact"):
        # Images differ less than positions do.
        gain = 3.0 if model_type == "sact" else 40.0
        network = spread_halting(sact_tf.cifar_resnet("3", model_type, base_channels=4), gain=gain)
        outputs = network(images)
        num_units, distributions = (
            {name: outputs[f"{name}/{figure}"] for name in network.blocks}
            for figure in ("num_units", "halting_distribution")
        )
        assert max(len(np.unique(numbers)) for numbers in num_units.values()) > 1
        policy = depth.NumUnits(num_units, distributions)
        again = depth.call(network, images, policy)
        np.testing.assert_allclose(again["logits"], outputs["logits"], rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(again["block_2/num_units"], outputs["block_2/num_units"])


def test_depths_of_whole_images_are_those_of_all_their_positions(images, spread_halting):
    network = spread_halting(sact_tf.cifar_resnet("3", "sact", base_channels=4))
    weights = np.array([[0.5, 0.5, 0], [1, 0, 0]], "float32")
    of_images = {name: np.array([2, 1]) for name in network.blocks}, dict.fromkeys(network.blocks, weights)
    sizes = {"block_1": 32, "block_2": 16, "block_3": 8}
    of_positions = (
        {name: np.tile(np.reshape([2, 1], (2, 1, 1)), (1, size, size)) for name, size in sizes.items()},
        {name: np.tile(weights[:, None, None], (1, size, size, 1)) for name, size in sizes.items()},
    )
    policies = [depth.NumUnits(*given) for given in (of_images, of_positions)]
    first, second = (depth.call(network, images, policy) for policy in policies)
    for name, value in second.items():
        np.testing.assert_allclose(first[name], value, rtol=1e-5, atol=1e-5, err_msg=name)
    counts = [
        sact_tf.flops.count(network, outputs, kept=policy.kept(network))
        for outputs, policy in zip((first, second), policies, strict=True)
    ]
    np.testing.assert_array_equal(counts[0]["flops"], counts[1]["flops"])


def test_positions_are_refused_where_whole_images_are_averaged(images):
    network = sact_tf.cifar_resnet("1", "act", base_channels=2)
    weights = np.ones((2, 32, 32, 1), "float32")
    policy = depth.NumUnits({"block_1": np.array([1, 1])}, {"block_1": weights})
    with pytest.raises(ValueError, match=r"halts whole images, so its `halting_distribution` must be \(batch, units\)"):
        depth.call(network, images, policy)


def test_random_units_are_the_same_for_the_same_seed(vanilla):
    kept = [np.concatenate(list(depth.RandomUnits(4, seed).kept(vanilla).values())) for seed in (1, 1, 2)]
    assert [int((~each).sum()) for each in kept] == [4, 4, 4]
    assert (kept[0] == kept[1]).all() and (kept[0] != kept[2]).any()


def test_reordered_units_have_changed_places_and_go_back(vanilla, images):
    before, units = np.array(vanilla(images)["block_1"]), vanilla.blocks["block_1"].units
    features = vanilla.backbone.stem[0](images)
    expected = units[1](units[2](units[0](features)))
    with depth.reordered(vanilla, {"block_1": [1, 3, 2]}):
        np.testing.assert_allclose(vanilla(images)["block_1"], expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(vanilla(images)["block_1"], before)


def test_what_is_trained_while_units_are_reordered_goes_back_with_them(vanilla):
    units = vanilla.blocks["block_1"].units
    second, third = (units[place].conv1.kernel for place in (1, 2))
    before = second.numpy(), third.numpy()
    with depth.reordered(vanilla, {"block_1": [1, 3, 2]}):
        second.assign_add(np.ones(second.shape))  # Unit 3 runs in the second place.
    np.testing.assert_array_equal(second, before[0])
    np.testing.assert_allclose(third, before[1] + 1, rtol=1e-6)
    third.assign(before[1])


def test_a_unit_in_several_places_cannot_change_to_two():
    first, second, third = (BasicUnit(2) for _ in range(3))
    images = keras.Input((8, 8, 2))
    block = AdaptiveBlock([first, second, third, first], "vanilla", name="block")
    model = keras.Model(images, block(images)["features"])
    with (
        pytest.raises(ValueError, match="cannot have the weights of two"),
        depth.reordered(model, {"block": [2, 4, 1, 3]}),
    ):
        pass


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: depth.Deleted({"block_9": [1]}), r"blocks of this network are \['block_1'.*Received: \['block_9'\]"),
        (lambda: depth.Deleted({"block_1": [0]}), "has the units 1 to 3. Received: units=\\[0\\]"),
        (lambda: depth.RandomUnits(10, 1), "between 0 and the 9 units of the network. Received: count=10"),
        (lambda: depth.Kept({"block_1": np.ones(2, bool)}), "each of the 3 units of block 'block_1'"),
        # What would be cut off, or have no effect.
        (lambda: depth.Deleted({"block_1": [1.7]}), r"numbered by ints.*'block_1': \[1.7\]"),
        (lambda: depth.Deleted(["block_1"]), r"must be a dict from names of blocks.*units=\['block_1'\]"),
        (lambda: depth.RandomUnits(2.5, 1), "`count` must be an int, at least 0. Received: count=2.5"),
        (lambda: depth.RandomUnits(2, -1), "`seed` must be an int"),
        (lambda: depth.NumUnits({"block_1": 1.9}), "must be ints; round a mean.*'block_1': dtype=float32"),
        (
            lambda: depth.NumUnits({"block_1": np.array([4, 1])}),
            "between 0 and its 3 units. Received: values from 1 to 4",
        ),
        (lambda: depth.NumUnits({"block_1": -1}), "between 0 and its 3 units. Received: values from -1 to -1"),
        # It would be one if cut to 32 bits.
        (lambda: depth.NumUnits({"block_1": np.array(2**32 + 1)}), "between 0 and its 3 units"),
        (
            lambda: depth.NumUnits({"block_1": 2}, {"block_1": [[0.5, 1.0, 0.5]]}),
            "none negative, that sum to one. Received, of the sums: values from 2.0 to 2.0",
        ),
        (lambda: depth.NumUnits({"block_1": 2}, {"block_1": [[1.5, -0.5, 0.0]]}), "Received: values from -0.5 to 1.5"),
        (lambda: depth.NumUnits({"block_1": 0}, {"block_1": [[0.0, 0.0, 0.0]]}), "of the sums: values from 0.0 to 0.0"),
        (
            lambda: depth.NumUnits({"block_1": 2}, {"block_1": [0.5, 0.5, 0.0]}),
            r"must be \(batch, units\).*shape=\(3,\)",
        ),
        (lambda: depth.NumUnits({}, {"block_1": [[0.5, 0.5]]}), r"effect on the blocks of `num_units` alone.*\[\]"),
        # Of another batch and of another map.
        (
            lambda: depth.Kept({"block_1": np.ones((3, 3), bool)}),
            r"`kept` of block 'block_1' must be for as many images(.|\n)*\(2, 32, 32\)\. Received: \(3, 1, 1\)",
        ),
        (lambda: depth.Kept({"block_2": np.ones((2, 32, 32, 3), bool)}), r"\(2, 16, 16\)\. Received: \(2, 32, 32\)"),
        (
            lambda: depth.NumUnits({"block_1": 2}, {"block_1": np.full((2, 16, 16, 3), 1 / 3)}),
            r"`halting_distribution` of block 'block_1'(.|\n)*Received: \(2, 16, 16\)",
        ),
        (
            lambda: depth.NumUnits({"block_1": 2}, {"block_1": [[0.2, 0.2, 0.3, 0.3]]}),
            r"`halting_distribution` must have an entry for each of the 3 units(.|\n)*\(1, 4\)",
        ),
        (
            lambda: depth.ConstantResiduals({"block_1": [True] * 3}, {"block_2": [True] * 3}),
            r"`shortcuts` has an effect on the blocks of `differentiated` alone.*Received: \['block_2'\]",
        ),
        (lambda: depth.ConstantResiduals({"block_1": [True]}), "`differentiated` must have an entry for each of the 3"),
        (
            lambda: depth.ConstantResiduals({"block_1": [True] * 3}, {"block_1": [True] * 4}),
            "`shortcuts` must have an entry for each of the 3 units",
        ),
    ],
)
def test_policies_that_do_not_fit_are_refused(vanilla, images, make, message):
    with pytest.raises(ValueError, match=message):
        depth.call(vanilla, images, make())


def test_an_engine_is_none_of_the_models_that_can_be_hurt(images):
    engine = sact_tf.sparse.compile(sact_tf.cifar_resnet("1", "vanilla", base_channels=2))
    for look in (lambda: depth.call(engine, images, depth.Deleted({})), lambda: sact_tf.flops.count(engine, {})):
        with pytest.raises(ValueError, match=r"model that it was compiled from. Received: Engine"):
            look()


def test_a_block_by_itself_is_run_and_counted_as_a_model_that_has_it(make_images):
    features, block = make_images(2, 5, 7, 4), AdaptiveBlock([BasicUnit(4), BasicUnit(4)], "vanilla", name="block")
    block(features)
    policy = depth.Deleted({"block": [2]})
    outputs = depth.call(block, features, policy)
    np.testing.assert_allclose(outputs["features"], block.units[0](features), rtol=1e-6)
    counted = sact_tf.flops.count(block, outputs, image_size=(5, 7), kept=policy.kept(block))["block/flops"]
    assert counted.numpy().tolist() == [2 * 2 * 3 * 3 * 4 * 4 * 5 * 7] * 2


def test_a_functional_model_which_would_forget_its_policy_is_refused(vanilla):
    with pytest.raises(ValueError, match=r"Use `depth.call` in the `call` of"):
        depth.call(vanilla, {"images": keras.Input((32, 32, 3))}, depth.Deleted({"block_1": [2]}))


@pytest.mark.parametrize("policy", [None, depth.Deleted, {"block_1": [1]}])
def test_what_is_no_policy_is_named(vanilla, images, policy):
    with pytest.raises(ValueError, match="`policy` must be a LesionPolicy"):
        depth.call(vanilla, images, policy)


def test_a_block_that_halts_needs_the_distribution_as_well(images):
    network = sact_tf.cifar_resnet("1", "sact", base_channels=2)
    with pytest.raises(ValueError, match=r"halts by itself .*'sact'.*halting_distribution"):
        depth.call(network, images, depth.NumUnits({"block_1": np.array([1, 1])}))


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ([1, 1, 2], "each of the numbers 1 to 3 once"),
        (2, "each of the numbers 1 to 3 once. Received: 2"),
        ([2, 1, 3], "cannot change places: they differ in the shapes"),
        ([1.0, 3.0, 2.0], r"numbered by ints.*'block_2': \[1.0, 3.0, 2.0\]"),
    ],
)
def test_orders_that_cannot_be_are_refused(vanilla, order, message):
    with pytest.raises(ValueError, match=message), depth.reordered(vanilla, {"block_2": order}):
        pass


def test_orders_of_no_blocks_are_refused(vanilla):
    with pytest.raises(ValueError, match="`orders` must be a dict"), depth.reordered(vanilla, [1, 3, 2]):
        pass


def test_units_that_do_something_else_with_the_same_weights_stay_where_they_are():
    class Negative(BasicUnit):
        def call(self, features, **kwargs):
            return 2 * features - super().call(features, **kwargs)

    for other in (Negative(2), BasicUnit(2, has_shortcut=False)):
        block = AdaptiveBlock([BasicUnit(2), BasicUnit(2), other], "vanilla", name="block")
        images = keras.Input((8, 8, 2))
        model = keras.Model(images, block(images)["features"])
        changed = depth.reordered(model, {"block": [3, 2, 1]})
        with pytest.raises(ValueError, match=r"Units 1 and 3 .* what else they do"), changed:
            pass
        with depth.reordered(model, {"block": [2, 1, 3]}):
            pass


def test_all_lesions_of_a_trained_network_share_one_trace(tmp_path, eagerly):
    run = config.default_training_config(
        "cluttered_digits",
        {"model": "2", "base_channels": 2},
        image_size=40,
        batch_size=4,
        warmup_steps=0,
        max_number_of_steps=1,
    )
    with eagerly():
        training.train(run, str(tmp_path))
    network = LesionedNetwork(runs.evaluation_of(run, str(tmp_path), num_examples=130))
    whole = network.measure()
    assert whole.score.shape == (130,)
    for name in network.blocks:
        for kept in ([True, False], [False, True], [False, False]):
            hurt = network.measure({name: kept})
            assert (hurt.flops[f"{name}/flops"] < whole.flops[f"{name}/flops"]).all()
    assert network.traces == 1
    sizes = {"block_1": 20, "block_2": 10, "block_3": 5}
    for _ in range(2):
        network.measure_each(
            lambda number, batch: depth.NumUnits(
                {name: tf.ones((len(batch["label"]), size, size), tf.int32) for name, size in sizes.items()}
            )
        )
    assert network.traces == 2
