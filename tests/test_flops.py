import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import sact_tf
from sact_tf import flops
from sact_tf.layers import AdaptiveBlock, BasicUnit, BottleneckUnit
from sact_tf.models import Backbone

# Release: networks of which it counted FLOPs, with 1001 and 10 classes, in images of these sizes.
RELEASE_SIZES = {"imagenet": 224, "cifar": 32}
# The deeper networks repeat the same units and take long to build, so each is there with one type, as a long proof.
RELEASE_NETWORKS = [
    *(pytest.param("imagenet_50", model_type, marks=pytest.mark.slow) for model_type in ("vanilla", "act")),
    ("imagenet_50", "sact"),
    *(("cifar_5", model_type) for model_type in ("vanilla", "act", "sact")),
    pytest.param("imagenet_101", "sact", marks=pytest.mark.slow),
    pytest.param("cifar_18", "act", marks=pytest.mark.slow),
]
LIMITS = {"max": lambda units: units, "min": lambda units: 1}


class CountedUnit(keras.layers.Layer):
    """Somebody else's unit, which says what it convolves."""

    def call(self, features, residual_mask=None, training=None):
        return features

    def convolutions(self):
        return [flops.Convolution((1, 1, 4, 2), dilated=True), flops.Convolution((3, 3, 2, 4))]


class UnknownUnit(keras.layers.Layer):
    def call(self, features, residual_mask=None, training=None):
        return features


def build_block(units, model_type, channels):
    block = AdaptiveBlock(units, model_type, name="block")
    block.build((None, 4, 5, channels))
    return block


def count(block, num_units, size=(4, 5), batch=2):
    num_units = None if num_units is None else np.array(num_units, "int32")
    return flops.count_block(block, tf.constant(size), batch, num_units)[1].numpy().tolist()


@pytest.mark.parametrize(("name", "model_type"), RELEASE_NETWORKS)
def test_flops_of_the_standard_networks_are_the_release_s(reference, name, model_type):
    golden = json.loads((reference / "e_flops" / "flops.json").read_text())
    network, _, units = name.partition("_")
    model = {"imagenet": sact_tf.imagenet_resnet, "cifar": sact_tf.cifar_resnet}[network](units, model_type)
    size = RELEASE_SIZES[network]
    for limit, of_units in LIMITS.items():
        outputs, side = {"image_size": np.full((2, 2), size, "int32")}, size // (4 if size == 224 else 1)
        for block_name, block in model.blocks.items():
            shape = (2,) if model_type == "act" else (2, side, side)
            outputs[f"{block_name}/num_units"] = np.full(shape, of_units(len(block.units)), "int32")
            side //= 2
        expected = golden[f"{name}/{model_type}" + ("" if model_type == "vanilla" else f"/{limit}")]
        counted = flops.count(model, outputs)
        assert set(counted) == set(expected)
        for key, value in counted.items():
            np.testing.assert_array_equal(value, [expected[key]] * 2, key)
            assert value.dtype == tf.int64


def test_total_is_stem_blocks_and_logits():
    model = sact_tf.cifar_resnet("1", "vanilla", num_classes=7, base_channels=2, image_shape=(None, None, 3))
    counted = flops.count(model, {"image_size": np.array([[4, 6], [4, 6], [4, 6]], "int32")})
    first = 2 * 24 * (9 * 2 * 2 + 9 * 2 * 2)
    second = 2 * 6 * (9 * 2 * 4 + 9 * 4 * 4)
    third = 2 * 2 * (9 * 4 * 8 + 9 * 8 * 8)
    stem, logits = 2 * 24 * 9 * 3 * 2, 2 * 8 * 7
    np.testing.assert_array_equal(counted["block_1/flops"], [first] * 3)
    np.testing.assert_array_equal(counted["block_2/flops"], [second] * 3)
    np.testing.assert_array_equal(counted["block_3/flops"], [third] * 3)
    np.testing.assert_array_equal(counted["flops"], [stem + first + second + third + logits] * 3)


def backbone_on(*stem):
    return Backbone(list(stem), {"one": AdaptiveBlock([BasicUnit(6)], "act")}, (None, None, 3), 1)


def test_stem_of_ones_own_costs_what_its_kernels_do():
    backbone = backbone_on(
        keras.layers.ZeroPadding2D(2),
        keras.layers.Conv2D(4, 5, strides=2),
        keras.layers.SeparableConv2D(6, 3, strides=3, padding="same"),
        keras.layers.MaxPooling2D(2, padding="same"),
    )
    outputs = backbone(np.zeros((2, 13, 20, 3), "float32"))  # (7, 10), (3, 4), (2, 2)
    counted = flops.count(backbone, outputs)
    stem = 2 * (7 * 10 * 25 * 3 * 4 + 3 * 4 * (9 * 4 + 4 * 6))
    np.testing.assert_array_equal(counted["flops"], [stem + 2 * 4 * (2 * 9 * 6 * 6)] * 2)


@pytest.mark.parametrize(
    "layer",
    [
        keras.layers.Conv2D(6, 3),
        keras.layers.Conv2D(6, 3, strides=(2, 1), padding="same"),
        keras.layers.MaxPooling2D(2),
        keras.layers.ZeroPadding2D(1),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_stem_whose_sizes_would_be_counted_wrong_is_refused(layer):
    backbone = backbone_on(keras.layers.Conv2D(6, 1), layer)
    with pytest.raises(ValueError, match=rf"round up(.|\n)*'{layer.name}'(.|\n)*pad what it reads"):
        flops.count(backbone, backbone(np.zeros((2, 12, 13, 3), "float32")))


def test_stem_of_unknown_kernels_is_refused():
    backbone = backbone_on(keras.Sequential([keras.layers.Conv2D(6, 3, padding="same")], name="mine"))
    with pytest.raises(ValueError, match=r"Sequential 'mine' of a stem(.|\n)*BlockFlops"):
        flops.count(backbone, backbone(np.zeros((2, 12, 13, 3), "float32")))


def test_backbone_alone_has_no_logits():
    model = sact_tf.cifar_resnet("1", "vanilla", num_classes=7, base_channels=2)
    outputs = {"image_size": np.array([[8, 4], [8, 4]], "int32")}
    difference = flops.count(model, outputs)["flops"] - flops.count(model.backbone, outputs)["flops"]
    np.testing.assert_array_equal(difference, [2 * 8 * 7] * 2)


def test_bottleneck_unit_by_hand():
    # 7x5 positions enter a strided unit, 4x3 leave; conv1 runs before the stride.
    block = build_block([BottleneckUnit(8, 2, stride=2)], "vanilla", channels=4)
    expected = 2 * (35 * 4 * 2 + 12 * 9 * 2 * 2 + 12 * 2 * 8 + 12 * 4 * 8)
    assert count(block, None, size=(7, 5)) == [expected] * 2
    size, _ = flops.count_block(block, tf.constant([7, 5]), 2)
    np.testing.assert_array_equal(size, [4, 3])


def test_act_counts_a_unit_for_the_images_that_need_it():
    block = build_block([BasicUnit(2), BasicUnit(2), BasicUnit(2)], "act", channels=2)
    unit, branch = 2 * 20 * 2 * (9 * 2 * 2), 2 * 2
    # The last unit has no branch.
    assert count(block, [1, 2, 3], batch=3) == [unit + branch, 2 * (unit + branch), 3 * unit + 2 * branch]


DILATED_MASKS = {
    "nothing": ([], 0),
    "one position inside": ([(1, 2)], 9),
    "a corner": ([(0, 0)], 4),
    "a border": ([(3, 2)], 6),
    "two that share neighbours": ([(1, 1), (1, 2)], 12),
    "two apart": ([(0, 0), (3, 4)], 8),
    "a checkerboard": ([(row, column) for row in range(4) for column in range(5) if (row + column) % 2], 20),
    "everything": ([(row, column) for row in range(4) for column in range(5)], 20),
}


@pytest.mark.parametrize(("active", "dilated"), DILATED_MASKS.values(), ids=DILATED_MASKS)
def test_sact_counts_active_positions_and_for_the_first_convolution_their_neighbours(active, dilated):
    block = build_block([BottleneckUnit(4, 2), BottleneckUnit(4, 2)], "sact", channels=4)
    num_units = np.ones((2, 4, 5), "int32")
    for position in active:
        num_units[(1, *position)] = 2
    first = 2 * 20 * (4 * 2 + 9 * 2 * 2 + 2 * 4) + 2 * 20 * 9 * 4 + 2 * 4
    second = 2 * (dilated * 4 * 2 + len(active) * 9 * 2 * 2 + len(active) * 2 * 4)
    assert count(block, num_units) == [first, first + second]


def test_sact_counts_the_local_branch_where_its_unit_ran_and_the_global_one_always():
    block = build_block([BasicUnit(2), BasicUnit(2), BasicUnit(2)], "sact", channels=2)
    num_units = np.ones((2, 4, 5), "int32")
    num_units[1, 0, 0] = 2
    first = 2 * 20 * 2 * (9 * 2 * 2) + 2 * 20 * 9 * 2 + 2 * 2
    global_branch = 2 * 2
    second = 2 * (4 * 9 * 2 * 2 + 1 * 9 * 2 * 2) + 2 * 9 * 2
    assert count(block, num_units) == [first + global_branch, first + second + global_branch]


def test_unit_may_list_its_own_convolutions():
    block = build_block([CountedUnit(), CountedUnit()], "sact", channels=4)
    num_units = np.ones((2, 4, 5), "int32")
    num_units[1, 2, 2] = 2
    first = 2 * 20 * (4 * 2 + 9 * 2 * 4) + 2 * 20 * 9 * 4 + 2 * 4
    assert count(block, num_units) == [first, first + 2 * (9 * 4 * 2 + 9 * 2 * 4)]


class HalvingUnit(CountedUnit):
    """One that makes maps smaller, and says nothing of a stride."""

    def __init__(self, padding="same"):
        super().__init__()
        self.pool = keras.layers.MaxPooling2D(2, padding=padding)

    def call(self, features, residual_mask=None, training=None):
        return self.pool(features)


@pytest.mark.parametrize("model_type", ["vanilla", "act", "sact"])
@pytest.mark.parametrize("size", [(7, 10), (None, None)])
def test_units_that_do_not_say_their_stride_are_counted_at_the_size_of_their_maps(model_type, size):
    block = AdaptiveBlock([HalvingUnit(), CountedUnit()], model_type, name="block")
    block.build((None, *size, 4))
    num_units = {"vanilla": None, "act": np.full(2, 2, "int32"), "sact": np.full((2, 4, 5), 2, "int32")}[model_type]
    branch = {"vanilla": 0, "act": 2 * 4, "sact": 2 * 20 * 9 * 4 + 2 * 4}[model_type]
    assert count(block, num_units, size=(7, 10)) == [2 * 2 * 20 * (4 * 2 + 9 * 2 * 4) + branch] * 2


def test_maps_that_are_cut_off_are_refused():
    block = AdaptiveBlock([HalvingUnit("valid"), CountedUnit()], "vanilla", name="block")
    block.build((None, None, None, 4))
    with pytest.raises(ValueError, match=r"HalvingUnit, turned \(61, 60\) into \(30, 30\)"):
        count(block, None)


def test_images_are_of_the_model_s_own_size_where_no_other_is_told():
    model = sact_tf.cifar_resnet("1", "vanilla", num_classes=7, base_channels=2, image_shape=(12, 20, 3))
    told = flops.count(model, {"image_size": np.array([[12, 20], [12, 20]], "int32")})
    untold = flops.count(model, {"logits": np.zeros((2, 7), "float32")})
    np.testing.assert_array_equal(untold["flops"], told["flops"])


def test_figures_beyond_32_bits_are_exact():
    block = build_block([BasicUnit(64)], "vanilla", channels=64)
    assert count(block, None, size=(1001, 1003)) == [2 * 1001 * 1003 * 2 * 9 * 64 * 64] * 2


@pytest.mark.parametrize("model_type", ["act", "act_early_stopping", "sact"])
def test_counts_what_a_model_returned_for_odd_sizes(make_images, spread_halting, model_type):
    model = sact_tf.imagenet_resnet("2_1_1_1", model_type, num_classes=5, base_channels=2)
    images = make_images(3, 37, 51)
    model(images[:1])
    outputs = spread_halting(model)(images)
    counted = flops.count(model, outputs)
    assert sum(counted[f"{block}/flops"] for block in model.blocks).shape == (3,)
    everything = {
        name: np.full_like(value, 2) if name == "block1/num_units" else value for name, value in outputs.items()
    }
    assert (flops.count(model, everything)["flops"].numpy() >= counted["flops"].numpy()).all()


def test_counting_can_be_traced():
    block = build_block([BasicUnit(2), BasicUnit(2)], "sact", channels=2)
    num_units = np.full((2, 4, 5), 2, "int32")
    traced = tf.function(
        lambda num_units: flops.count_block(block, tf.shape(num_units)[1:], tf.shape(num_units)[0], num_units)[1],
        input_signature=[tf.TensorSpec((None, None, None), "int32")],
    )
    assert traced(num_units).numpy().tolist() == count(block, num_units)


def test_unknown_unit_is_rejected_with_the_way_out():
    block = build_block([UnknownUnit()], "vanilla", channels=4)
    with pytest.raises(ValueError, match=r"UnknownUnit(.|\n)*convolutions\(\)"):
        count(block, None)


@pytest.mark.parametrize("missing", ["image_size", "block_2/num_units"])
def test_missing_output_is_named(missing):
    model = sact_tf.cifar_resnet("2", "act", num_classes=3, base_channels=2, image_shape=(None, 32, 3))
    outputs = {
        "image_size": np.full((2, 2), 32),
        **{f"block_{block}/num_units": np.array([1, 2]) for block in (1, 2, 3)},
    }
    del outputs[missing]
    with pytest.raises(ValueError, match=missing):
        flops.count(model, outputs)


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        ({"blok": [True, False]}, r"of the blocks \['block'\]. Received: kept=\['blok'\]"),
        ({"block": [True, False, True]}, "each of the 2 units of block 'block'"),
        ({"block": [True]}, "each of the 2 units of block 'block'"),
        ({"block": [2, 0]}, "must be bool"),
    ],
)
def test_units_that_a_block_does_not_have_are_not_kept(kept, message):
    images = keras.Input((4, 5, 4))
    outputs = AdaptiveBlock([CountedUnit(), CountedUnit()], "vanilla", name="block")(images)
    model = keras.Model(images, outputs)
    with pytest.raises(ValueError, match=message):
        flops.count(model, {"features": np.zeros((1, 4, 5, 4))}, kept=kept)


def test_maps_of_images_of_another_size_are_refused():
    block = build_block([BottleneckUnit(4, 1, stride=2)], "sact", channels=4)
    assert min(count(block, np.ones((2, 2, 3)), size=(3, 6))) > 0
    with pytest.raises(ValueError, match=r"`image_size`(.|\n)*\(2, 2, 3\), and features of the size \(40, 50\)"):
        count(block, np.ones((2, 2, 3)), size=(40, 50))


def test_kept_of_another_map_is_refused():
    block = build_block([BottleneckUnit(4, 1), BottleneckUnit(4, 1)], "vanilla", channels=4)
    costs, size = flops.costs.BlockCosts.of(block), np.array([4, 6])
    assert int(costs.count(size, 2, kept=np.ones((2, 4, 6, 2), bool))[0]) == int(costs.count(size, 2)[0])
    with pytest.raises(ValueError, match=r"kept of the shape \(2, 2, 3, 2\), and features of the size \(4, 6\)"):
        costs.count(size, 2, kept=np.ones((2, 2, 3, 2), bool))


@pytest.mark.parametrize(
    ("model_type", "shape", "message"),
    [
        ("vanilla", (3, 1), r"as many images(.|\n)*Received: \(3, 1, 1\)"),
        ("act", (3, 1), r"as many images(.|\n)*Received: \(3, 1, 1\)"),
        ("act", (2, 8, 8, 1), "halts whole images"),
        ("sact", (2, 4, 4, 1), r"size of its output(.|\n)*Received: \(2, 4, 4\)"),
        # It counted the positions of the smaller map.
        ("vanilla", (2, 4, 4, 1), r"kept of the shape \(2, 4, 4, 1\), and features of the size \(8, 8\)"),
    ],
)
def test_kept_of_other_images_is_refused(model_type, shape, message):
    model = sact_tf.cifar_resnet("1", model_type, base_channels=2, image_shape=(8, 8, 3))
    outputs = model(np.zeros((2, 8, 8, 3), "float32"))
    with pytest.raises(ValueError, match=message):
        flops.count(model, outputs, kept={"block_1": np.ones(shape, bool)})


@pytest.mark.parametrize(
    ("num_units", "message"),
    [
        (np.full((2, 32, 32), 3), r"has 2 units, must be between 0 and that(.|\n)*numbers from 3 to 3"),
        (np.full((2, 32, 32), -1), "must be between 0 and that"),
        (np.full((2, 32, 32), 1.5), "must be ints; round a mean"),
        (np.array([1, 2]), r"must be \(batch, height, width\), since its model_type is 'sact'(.|\n)*shape=\(2,\)"),
    ],
)
def test_numbers_of_units_of_another_network_are_refused(num_units, message):
    network = sact_tf.cifar_resnet("2_1_1", "sact", base_channels=2)
    maps = {"block_2/num_units": np.ones((2, 16, 16), int), "block_3/num_units": np.ones((2, 8, 8), int)}
    with pytest.raises(ValueError, match=message):
        flops.count(network, {"block_1/num_units": num_units, **maps})


def test_outputs_of_two_calls_are_refused():
    model = sact_tf.cifar_resnet("1", "sact", base_channels=2)
    outputs = {
        f"block_{number}/num_units": np.ones((2, 2**size, 2**size), "int32") for number, size in ((1, 5), (2, 4))
    }
    # One image's would be spread over both.
    outputs["block_3/num_units"] = np.ones((1, 8, 8), "int32")
    with pytest.raises(ValueError, match=r"outputs of one call. Received.*'block_3/num_units': 1"):
        flops.count(model, outputs)


@pytest.mark.parametrize("image_size", [32, (32, 32, 3), (32, None), (0, 32), (32.5, 32), "ab"])
def test_image_size_that_is_no_height_and_width_is_named(image_size):
    model = sact_tf.cifar_resnet("1", "vanilla", base_channels=2)
    with pytest.raises(ValueError, match="`image_size` must be the height and width of the images"):
        flops.count(model, {"logits": np.zeros((2, 10))}, image_size)
