"""Maps of computation."""

import numpy as np
import pytest

from sact_tf import cifar_resnet, imagenet_resnet, load_release_checkpoint, visualize


def test_maps_of_the_blocks_are_enlarged_by_nearest_neighbours_and_summed():
    outputs = {
        "block_1/ponder_cost": np.array([[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]], "float32"),
        "block_2/ponder_cost": np.array([[[10.0]]], "float32"),
        "block_1/num_units": np.zeros((1, 2, 3), "int32"),
    }
    # Rows of a height of 3 come from rows 0, 0, 1 of 2; columns of a width of 6 from 0, 0, 1, 1, 2, 2 of 3.
    first, second = [11, 11, 12, 12, 13, 13], [14, 14, 15, 15, 16, 16]
    np.testing.assert_array_equal(visualize.ponder_map(outputs, (3, 6)), [[first, first, second]])


@pytest.mark.parametrize("figure", ["ponder_cost", "num_units"])
def test_maps_equal_those_of_the_release(reference, figure):
    model = imagenet_resnet((2, 3, 4, 2), "sact", num_classes=11, base_channels=8)
    load_release_checkpoint(model, reference / "a_imagenet_sact")
    images = np.load(reference / "a_imagenet_sact" / "golden.npz")["inputs"]
    expected = np.load(reference / "g_sact_maps" / "golden.npz")[f"sact_map/{figure}"][..., 0]
    actual = visualize.ponder_map(model(images), images.shape[1:], figure)
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_models_that_decide_by_image_have_no_maps():
    model = cifar_resnet("2", "act", base_channels=2)
    with pytest.raises(ValueError, match="only model_type='sact' decides by position"):
        visualize.ponder_map(model(np.zeros((2, 32, 32, 3), "float32")), (32, 32))


def test_a_box_marks_the_pixels_from_its_minimum_up_to_but_not_its_maximum():
    mask = visualize.box_mask(np.array([[1, 0, 3, 2]], "int32"), (4, 3)).numpy()
    np.testing.assert_array_equal(mask[0], [[0, 0, 0], [1, 1, 0], [1, 1, 0], [0, 0, 0]])
