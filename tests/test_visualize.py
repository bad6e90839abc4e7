"""Maps of computation."""

import keras
import matplotlib
import numpy as np
import pytest
import tensorflow as tf

from sact_tf import cifar_resnet, imagenet_resnet, load_release_checkpoint, visualize
from sact_tf.visualize.detections import detection_gallery


def test_maps_of_the_blocks_are_enlarged_by_nearest_neighbours_and_summed():
    outputs = {
        "block_1/ponder_cost": np.array([[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]], "float32"),
        "block_2/ponder_cost": np.array([[[10.0]]], "float32"),
        "block_1/num_units": np.zeros((1, 2, 3), "int32"),
    }
    # Rows of a height of 3 come from rows 0, 0, 1 of 2; columns of a width of 6 from 0, 0, 1, 1, 2, 2 of 3.
    first, second = [11, 11, 12, 12, 13, 13], [14, 14, 15, 15, 16, 16]
    np.testing.assert_array_equal(visualize.ponder_map(outputs, (3, 6)), [[first, first, second]])


def test_the_size_of_a_map_may_be_said_as_people_have_it():
    images = np.zeros((2, 3, 6, 4), "float32")
    outputs = {"block_1/ponder_cost": np.arange(12, dtype="float32").reshape(2, 2, 3)}
    expected = visualize.ponder_map(outputs, (3, 6))
    for given in (images.shape[1:], images.shape, images, tf.constant(images), tf.constant([3, 6]), np.array([3, 6])):
        np.testing.assert_array_equal(visualize.ponder_map(outputs, given), expected)
    in_graph = tf.function(lambda images: visualize.ponder_map(outputs, tf.shape(images)), autograph=False)
    np.testing.assert_array_equal(in_graph(images), expected)
    signature = [tf.TensorSpec((None, None, None, 4))]
    of_any_size = tf.function(lambda images: visualize.ponder_map(outputs, images), signature, autograph=False)
    np.testing.assert_array_equal(of_any_size(images), expected)


@pytest.mark.parametrize(
    ("given", "message"),
    [(64, "must be the height and width(.|\n)*=64"), ("x", "height and width"), ((None, 6), "must be known")]
    + [((-3, 6), "counts of pixels(.|\n)*-3"), ((0, 6), "counts"), ((4.5, 6), "4.5"), ((float("inf"), 6), "inf")],
)
def test_what_is_no_size_of_a_map_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        visualize.ponder_map({"block_1/ponder_cost": np.zeros((2, 2, 3), "float32")}, given)


def test_a_figure_that_there_is_none_of_is_named():
    with pytest.raises(ValueError, match=r"`figure` must be one of .*'num_units'.*Received: figure='flops'"):
        visualize.ponder_map({"block_1/flops": np.zeros((1, 2, 3))}, (3, 6), "flops")
    with pytest.raises(ValueError, match=r"`figure` must be one of .*'num_units'.*Received: figure='units'"):
        visualize.largest_possible(OUTPUTS, "units")


@pytest.fixture(scope="module")
def of_the_release(reference):
    """Images of the release's figures, and what our model says of them with the release's weights."""
    model = imagenet_resnet((2, 3, 4, 2), "sact", num_classes=11, base_channels=8)
    load_release_checkpoint(model, reference / "a_imagenet_sact")
    images = np.load(reference / "a_imagenet_sact" / "golden.npz")["inputs"]
    return images, model(images)


@pytest.mark.parametrize("figure", visualize.maps.FIGURES)
def test_maps_equal_those_of_the_release(reference, of_the_release, figure):
    images, outputs = of_the_release
    expected = np.load(reference / "g_sact_maps" / "golden.npz")[f"sact_map/{figure}"][..., 0]
    np.testing.assert_allclose(visualize.ponder_map(outputs, images.shape[1:], figure), expected, rtol=1e-5)


def test_models_that_decide_by_image_have_no_maps():
    model = cifar_resnet("2", "act", base_channels=2)
    with pytest.raises(ValueError, match="only model_type='sact' decides by position"):
        visualize.ponder_map(model(np.zeros((2, 32, 32, 3), "float32")), (32, 32))


def test_a_box_marks_the_pixels_from_its_minimum_up_to_but_not_its_maximum():
    for dtype in ("int32", "int64", "float32"):
        mask = visualize.box_mask(np.array([[1, 0, 3, 2]], dtype), (4, 3)).numpy()
        np.testing.assert_array_equal(mask[0], [[0, 0, 0], [1, 1, 0], [1, 1, 0], [0, 0, 0]])


@pytest.mark.parametrize("figure", visualize.maps.FIGURES)
@pytest.mark.parametrize(("num_images", "border", "alpha", "normalize"), [(2, 5, 0.75, True), (None, 10, 0.5, False)])
def test_heat_maps_equal_those_of_the_release(reference, of_the_release, figure, num_images, border, alpha, normalize):
    images, outputs = of_the_release
    name = f"num_images={num_images},border={border},alpha={alpha},{'' if normalize else 'no'}normalize"
    expected = np.load(reference / "g_sact_maps" / "golden.npz")[f"heatmap/{figure}/{name}"]
    actual = visualize.heat_map(images, outputs, figure, num_images, alpha, border, normalize)
    np.testing.assert_allclose(actual, expected, atol=1e-5)


KEYS = ("ponder_cost", "num_units", "halting_distribution")
# Blocks of 3 and 2 units at two sizes, on images of 4 x 6 pixels.
OUTPUTS = {
    "block_1/ponder_cost": np.array(
        [[[2.0, 4.0, 3.0], [2.0, 2.0, 3.5]], [[4.0, 4.0, 4.0], [2.0, 2.0, 2.0]]], "float32"
    ),
    "block_1/num_units": np.array([[[1, 3, 2], [1, 1, 3]], [[3, 3, 3], [1, 1, 1]]], "int32"),
    "block_1/halting_distribution": np.zeros((2, 2, 3, 3), "float32"),
    "block_2/ponder_cost": np.array([[[3.0]], [[2.0]]], "float32"),
    "block_2/num_units": np.array([[[2]], [[1]]], "int32"),
    "block_2/halting_distribution": np.zeros((2, 1, 1, 2), "float32"),
}


def test_each_block_has_a_map_and_they_sum_to_the_ponder_map():
    maps = visualize.block_maps(OUTPUTS, (4, 6, 3))
    assert list(maps) == ["block_1", "block_2"]
    np.testing.assert_array_equal(maps["block_1"][0, 1], [2, 2, 4, 4, 3, 3])
    np.testing.assert_array_equal(maps["block_2"][1], np.full((4, 6), 2.0))
    np.testing.assert_array_equal(sum(maps.values()), visualize.ponder_map(OUTPUTS, (4, 6)))


NESTED = {
    "features": np.zeros((2, 1)),
    **{f"block_{number}": {key: OUTPUTS[f"block_{number}/{key}"] for key in KEYS} for number in (1, 2)},
}


def test_outputs_of_blocks_in_dicts_have_the_same_maps():
    np.testing.assert_array_equal(visualize.ponder_map(NESTED, (4, 6)), visualize.ponder_map(OUTPUTS, (4, 6)))
    assert list(visualize.block_maps(NESTED["block_1"], (4, 6))) == ["block"]
    assert visualize.largest_possible(NESTED) == 7 and visualize.largest_possible(NESTED["block_2"]) == 3


def test_blocks_of_one_name_in_different_places_all_count():
    def block(cost):
        return {"eyes/ponder_cost": np.full((1, 1, 1), cost), "eyes/halting_distribution": np.full((1, 1, 1, 3), 1 / 3)}

    outputs = {"left": block(1.5), "right": [block(2.0), {"mind": {"ponder_cost": np.full((1, 1, 1), 4.0)}}]}
    maps = {name: float(value[0, 0, 0]) for name, value in visualize.block_maps(outputs, (1, 1)).items()}
    assert maps == {"left/eyes": 1.5, "right/0/eyes": 2.0, "right/1/mind": 4.0}
    assert visualize.largest_possible(outputs) == 2 * (3 + 1)


@pytest.mark.parametrize(
    ("outputs", "received"), [(np.zeros((2, 3)), r"\[''\]"), ([np.zeros(2), {"a": np.zeros(2)}], r"\['0', '1/a'\]")]
)
def test_outputs_without_maps_are_refused_whatever_they_are(outputs, received):
    with pytest.raises(ValueError, match=f"have no maps(.|\n)*{received}"):
        visualize.ponder_map(outputs, (4, 4))


def test_maps_of_frames_are_the_maps_of_each_frame():
    frames = {name: np.stack([value, 2 * value, value], axis=1) for name, value in OUTPUTS.items()}
    maps = visualize.ponder_map(frames, (4, 6), "num_units")
    assert maps.shape == (2, 3, 4, 6)
    np.testing.assert_array_equal(maps[:, 1], 2 * visualize.ponder_map(OUTPUTS, (4, 6), "num_units"))


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("size", [(4, 6), (None, None)])
def test_maps_are_outputs_of_a_functional_model(tmp_path, size, policy):
    keras.config.set_dtype_policy(policy)
    try:
        images = keras.Input((*size, 3))
        inputs = {name: keras.Input(value.shape[1:], dtype=value.dtype.name) for name, value in OUTPUTS.items()}
        place = images if None in size else images.shape[1:]
        maps = {"cost": visualize.ponder_map(inputs, place), **visualize.block_maps(inputs, place, "num_units")}
        keras.Model([images, inputs], maps).save(tmp_path / "maps.keras")
    finally:
        keras.config.set_dtype_policy("float32")
    given = np.zeros((2, 4, 6, 3), "float32")
    model = keras.models.load_model(tmp_path / "maps.keras")
    ours, expected = model([given, OUTPUTS]), visualize.ponder_map(OUTPUTS, (4, 6))
    assert (maps["cost"].shape, maps["cost"].dtype) == ((None, *size), "float32")
    np.testing.assert_array_equal(ours["cost"], expected)
    np.testing.assert_array_equal(ours["block_2"], visualize.block_maps(OUTPUTS, (4, 6), "num_units")["block_2"])


def test_unknown_size_of_a_map_is_named_with_the_way_out():
    inputs = {"block_1/ponder_cost": keras.Input((2, 3))}
    with pytest.raises(ValueError, match=r"ponder_map\(outputs, images\)(.|\n)*None"):
        visualize.ponder_map(inputs, (None, 6, 3))


def test_largest_possible_is_all_units_and_a_remainder_for_each_block():
    assert visualize.largest_possible(OUTPUTS) == 7
    assert visualize.largest_possible(OUTPUTS, "num_units") == 5


def test_heat_map_is_the_image_a_black_stripe_and_the_image_under_red():
    images = np.stack([np.linspace(-3, 1, 72).reshape(4, 6, 3), np.full((4, 6, 3), 0.5)]).astype("float32")
    picture = tf.function(visualize.heat_map)(images, OUTPUTS, num_images=1, border=2).numpy()
    assert picture.shape == (1, 4, 14, 3)
    np.testing.assert_allclose(picture[0, :, :6].ravel(), np.linspace(0, 1, 72), atol=1e-6)
    assert (picture[:, :, 6:8] == 0).all()
    # (1 - .75) of the image; .75 * (2 + 3) / 7 of red in the first pixel, all of which is black before.
    np.testing.assert_allclose(picture[0, 0, 8], [0.75 * 5 / 7, 0.25 / 71, 0.25 * 2 / 71], rtol=1e-5)


@pytest.mark.parametrize(("num_images", "drawn"), [(0, 0), (3, 2), (None, 2)])
def test_as_many_heat_maps_as_are_asked_for_and_there(num_images, drawn):
    images = np.zeros((2, 4, 6, 3), "float32")
    assert visualize.heat_map(images, OUTPUTS, num_images=num_images).shape == (drawn, 4, 17, 3)
    with pytest.raises(ValueError, match=r"at least 0, or None for all\. Received: num_images=-1"):
        visualize.heat_map(images, OUTPUTS, num_images=-1)


def test_an_image_of_a_single_value_is_black_and_no_nan():
    assert (visualize.scale_images(np.full((2, 3, 4, 3), 0.5)).numpy() == 0).all()


def test_overlay_takes_bytes_too_and_the_maps_own_maximum():
    image, values = np.full((2, 3, 3), 51, "uint8"), np.array([[0.0, 1, 2], [4, 2, 1]])
    picture = visualize.overlay(image, values, alpha=0.5).numpy()
    np.testing.assert_allclose(picture[..., 1], 0.1, rtol=1e-6)
    np.testing.assert_allclose(picture[..., 0], 0.1 + values / 8, rtol=1e-6)
    np.testing.assert_array_equal(picture, visualize.overlay(image / 255, values, 0.5, maximum=4))
    both = visualize.overlay(np.stack([image, image]), np.stack([values, 3 * values]), alpha=0.5)
    np.testing.assert_allclose(both[1], picture, rtol=1e-6)
    np.testing.assert_array_equal(visualize.overlay(image, values, np.float64(0.5)), picture)


def test_overlay_has_no_colour_at_its_minimum_and_below():
    picture = visualize.overlay(np.full((1, 4, 3), 0.4), [[1.0, 3.0, 5.0, 7.0]], 0.5, maximum=7, minimum=3).numpy()
    np.testing.assert_allclose(picture[0, :, 0], [0.2, 0.2, 0.45, 0.7], rtol=1e-6)
    np.testing.assert_allclose(picture[..., 1:], 0.2, rtol=1e-6)


def test_overlay_of_a_map_that_is_below_its_minimum_everywhere_has_no_colour():
    picture = visualize.overlay(np.full((1, 2, 3), 0.4), [[1.0, 2.0]], 0.5, minimum=3)
    np.testing.assert_allclose(picture, np.full((1, 2, 3), 0.2))


def test_overlay_of_a_colour_map_runs_from_its_first_to_its_last_colour():
    picture = visualize.overlay(np.zeros((1, 3, 3)), [[1.0, 2.0, 5.0]], 1.0, 5, 1, "viridis").numpy()[0]
    first, last = matplotlib.colormaps["viridis"]([0.0, 1.0])[:, :3]
    np.testing.assert_allclose(picture[[0, 2]], [first, last], rtol=1e-6)
    np.testing.assert_allclose(picture[1], matplotlib.colormaps["viridis"](0.25)[:3], rtol=1e-6)


def test_colours_are_those_of_matplotlib_everywhere_and_of_a_flat_map_too():
    values = np.linspace(-1, 9, 1001)
    expected = matplotlib.colormaps["magma"](matplotlib.colors.Normalize(1, 7)(values))[:, :3]
    np.testing.assert_allclose(visualize.colour(values, 1, 7, "magma"), expected, atol=0.02)
    flat = visualize.colour([[3.0, 3.0]], 3, 3).numpy()
    np.testing.assert_allclose(flat, np.broadcast_to(matplotlib.colormaps["viridis"](0)[:3], (1, 2, 3)), rtol=1e-6)


def test_what_has_no_value_has_no_colour():
    picture = visualize.colour([1.0, float("nan"), 7.0], 1, 7).numpy()
    np.testing.assert_array_equal(picture[[0, 2]], visualize.colour([1.0, 7.0], 1, 7))
    assert np.isnan(picture[1]).all() and picture.shape == (3, 3)
    assert np.isnan(visualize.colour([1.0], 0, tf.constant(float("nan")))).all()


MISTAKES = {
    "another size": (dict(ponder_map=np.zeros((2, 4))), "same height and width.*ponder_map"),
    "no colours": (dict(image=np.zeros((2, 3))), "same height and width"),
    "two channels": (dict(image=np.zeros((2, 3, 2))), "same height and width"),
    "too opaque": (dict(alpha=75), r"`alpha`.*\[0, 1\].*75"),
    "no maximum": (dict(maximum=float("nan")), "`maximum` .* finite number. Received: maximum=nan"),
    "no minimum": (dict(minimum=float("-inf"), colour_map="viridis"), "`minimum` .* Received: minimum=-inf"),
    "ints that are no bytes": (dict(image=np.full((2, 3, 3), 255)), "uint8, 0 to 255. Received: int64"),
    "no name of a colour map": (dict(colour_map=matplotlib.colormaps["tab10"]), "must be the name"),
    "no colour map": (dict(colour_map="veridis"), "'viridis'.*'veridis'"),
}


@pytest.mark.parametrize(("changes", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_in_an_overlay_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        visualize.overlay(**{"image": np.zeros((2, 3, 3)), "ponder_map": np.zeros((2, 3)), **changes})


def test_bytes_are_rounded_and_clipped():
    np.testing.assert_array_equal(visualize.to_bytes([[-0.1, 0.5, 1.2]]), [[0, 128, 255]])
    with pytest.raises(ValueError, match="Received: int32"):
        visualize.to_bytes(np.array([[200, 0, 3]], "int32"))


@pytest.mark.parametrize("shape", [(60, 90), (400, 40), (40, 400)], ids=["photograph", "tower", "panorama"])
def test_composed_figure_has_every_picture_and_no_enormous_size(shape):
    maps = {f"block{number}": np.linspace(2, 3 + number, shape[0] * shape[1]).reshape(shape) for number in range(1, 5)}
    picture = visualize.ponder_figure(np.full((*shape, 3), 0.5), maps, "a photograph")
    assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3
    assert 200 < picture.shape[0] < 1600 and 300 < picture.shape[1] < 1700
    # The first and the last colour of viridis are on it, and the grey of the image.
    for red, green, blue in [(68, 1, 84), (253, 231, 36), (128, 128, 128)]:
        assert (np.abs(picture.astype(int) - (red, green, blue)).max(axis=-1) <= 3).sum() > 20


def test_gallery_gives_equal_maps_equal_colours():
    picture = visualize.gallery(np.zeros((2, 30, 40, 3)), np.full((2, 30, 40), 6.0), ["one", "two"])
    middle_of_viridis = (33, 145, 140)
    columns = np.abs(picture.astype(int) - middle_of_viridis).max(-1) <= 3
    left, right = np.array_split(columns, 2, axis=1)
    assert min(left.sum(), right.sum()) > 1000


def test_gallery_shows_standardized_images_unclipped():
    images = np.zeros((2, 30, 40, 3))
    # The second as CIFAR networks take them, beyond [-1, 1]; of the first 0.6 is the grey that 1.2 of it has.
    images[0, :15], images[1, :15], images[1, 15:20], images[1, 20:25] = 0.6, 1.2, 2.0, -2.0
    picture = visualize.gallery(images, np.full((2, 30, 40), 6.0), ["one", "two"])
    left, right = ((np.abs(half - 204.0).max(-1) <= 1).sum() for half in np.array_split(picture, 2, axis=1))
    assert left > 1000 and right == pytest.approx(left, rel=0.1)


def test_colour_bar_and_gallery_are_arrays():
    assert visualize.colour_bar(3.5, 12.25).shape[0] > 300
    maps = np.linspace(1, 5, 2 * 30 * 40).reshape(2, 30, 40)
    picture = visualize.gallery(np.zeros((2, 30, 40, 3)), maps, ["one", "two"], limits=(1, 5))
    assert picture.dtype == np.uint8 and picture.shape[1] > 300


@pytest.mark.parametrize(
    ("maps", "changes", "message"),
    [
        (
            {"block1": np.ones((8, 8))},
            {"figure_of": "cost"},
            r"`figure_of` must be one of \('ponder_cost', 'num_units'\)",
        ),
        ({}, {}, r"(?s)`maps` must be a dict.*Received: \{\}"),
        ([np.ones((8, 8))], {}, "(?s)`maps` must be a dict.*Received: a list"),
        ({"block1": np.ones((1, 8, 8))}, {}, r"(?s)value\[0\] for name.*\(1, 8, 8\)"),
        ({"block1": np.ones((8, 8)), "block2": np.ones((4, 4))}, {}, r"(?s)in its pixels.*'block2': \(4, 4\)"),
        ({"block1": np.ones((8, 8)), "block2": np.full((8, 8), np.nan)}, {}, r"must be finite.*\['block2'\]"),
    ],
)
def test_what_is_no_map_for_a_figure_is_named(maps, changes, message):
    with pytest.raises(ValueError, match=message):
        visualize.ponder_figure(np.zeros((8, 8, 3)), maps, **changes)


def test_a_gallery_needs_a_map_and_a_title_for_each_image():
    with pytest.raises(ValueError, match="Received: 2 images, 2 maps, 1 titles"):
        visualize.gallery(np.zeros((2, 8, 8, 3)), np.zeros((2, 8, 8)), ["one"])


def test_names_of_boxes_do_not_hide_better_ones_nor_their_picture():
    image, none = np.ones((96, 128, 3)), np.zeros((0, 4))

    def drawn(boxes, texts):
        return detection_gallery([image], None, [(boxes, texts)], [none], [""])

    twice = np.array([[30, 20, 60, 70], [32, 24, 60, 70]])
    np.testing.assert_array_equal(drawn(twice, ["7 0.90", "8 0.80"]), drawn(twice, ["7 0.90", "9 0.70"]))
    apart = np.array([[30, 20, 60, 70], [70, 24, 90, 70]])
    assert (drawn(apart, ["7 0.90", "8 0.80"]) != drawn(apart, ["7 0.90", "9 0.70"])).any()
    # No name lies on another, and yet all of them would cover a fourth of the picture.
    places = np.array([[y, x, y + 4, x + 4] for y in range(2, 92, 15) for x in (2, 34, 66, 98)])
    texts = [f"{number:02d} 0.9" for number in range(len(places))]
    red = (np.abs(drawn(places, texts).astype(int) - [255, 97, 97]) < 12).all(-1)
    bare = (np.abs(drawn(places, [""] * len(places)).astype(int) - [255, 97, 97]) < 12).all(-1)
    assert 0.05 < (red.sum() - bare.sum()) / red.size < 0.15


def test_names_of_boxes_do_not_leave_their_picture():
    image, boxes, maps = np.zeros((96, 128, 3)), np.array([[40, 110, 60, 126], [0, 2, 20, 30]]), [np.eye(8)]

    def drawn(texts):
        return detection_gallery([image], maps, [(boxes, texts)], [boxes[:0]], [""])

    # What stands beside a picture makes the whole wider, what stands above it higher.
    assert drawn(["thrombocyte 0.53", "thrombocyte 0.91"]).shape == drawn(["", ""]).shape


def test_wide_pictures_have_their_maps_right_below():
    pictures = [np.zeros((height, 160, 3)) for height in (60, 160)]
    wide, tall = (detection_gallery([each], [np.eye(8)], [((), ())], [()], [""]) for each in pictures)
    assert len(wide) < 0.7 * len(tall)
