import numpy as np
import pytest
import tensorflow as tf

from sact_tf.detection import anchors, geometry


def test_anchors_go_by_row_then_column_then_ratio_then_scale():
    grid = anchors.grid_anchors(2, 3, scales=(1, 2), aspect_ratios=(1, 4), stride=8, base_size=16).numpy()
    assert grid.shape == (2 * 3 * 4, 4) and grid.dtype == np.float32
    # Around (0, 0): 16 x 16 and 32 x 32, then four times as wide as high with the same areas.
    np.testing.assert_array_equal(grid[:4], [[-8, -8, 8, 8], [-16, -16, 16, 16], [-4, -16, 4, 16], [-8, -32, 8, 32]])
    # The second column, and the last one of the second row.
    np.testing.assert_array_equal(grid[4], [-8, 0, 8, 16])
    np.testing.assert_array_equal(grid[-4], [0, 8, 16, 24])


def test_a_size_that_is_known_later_gives_the_same_anchors(compiled):
    known = anchors.grid_anchors(3, 2)
    later = tf.function(anchors.grid_anchors, input_signature=[tf.TensorSpec([], tf.int32)] * 2)
    np.testing.assert_array_equal(later(3, 2), known)
    np.testing.assert_array_equal(compiled(lambda: anchors.grid_anchors(3, 2))(), known)
    assert known.shape[0] == 3 * 2 * anchors.anchors_per_position()


def test_features_without_positions_are_an_error():
    with pytest.raises(ValueError, match=r"at least one position.*width=0"):
        anchors.grid_anchors(3, 0)


@pytest.mark.parametrize("grid", ["5x7", "38x54"])
def test_anchors_are_those_of_the_public_implementation(figures, grid):
    expected = figures("anchors")
    boxes = anchors.grid_anchors(*map(int, grid.split("x")))
    np.testing.assert_array_equal(boxes, expected[f"anchors_{grid}"])
    inside = geometry.inside(boxes, expected[f"image_hw_{grid}"])
    np.testing.assert_array_equal(np.flatnonzero(inside), expected[f"inside_indices_{grid}"])
    # The picture fills the features, so it has all of these anchors.
    assert geometry.centred_inside(boxes, expected[f"image_hw_{grid}"]).numpy().all()


def test_anchors_are_clipped_as_in_the_public_implementation(figures):
    expected = figures("anchors")
    clipped = geometry.clip(expected["anchors_5x7"], expected["image_hw_5x7"])
    np.testing.assert_array_equal(clipped, expected["clipped_5x7"])


def test_padding_is_no_picture():
    # Of a feature map for 64 x 96 pixels, the second picture covers 48 x 33: three rows and columns.
    boxes = anchors.grid_anchors(4, 6)
    centred = geometry.centred_inside(boxes, np.array([[64, 96], [48, 33]])).numpy().reshape(2, 4, 6, 12)
    assert centred[0].all()
    assert centred[1, :3, :3].all() and centred[1].sum() == 3 * 3 * 12


def test_touching_the_border_of_its_own_picture_is_inside():
    boxes = np.array([[0, 0, 20, 30], [1, 2, 20, 30.5], [-0.5, 0, 5, 5], [3, 4, 21, 30]], "float32")
    inside = geometry.inside(boxes, np.array([[20, 30], [21, 31]]))
    np.testing.assert_array_equal(inside, [[True, False, False, False], [True, True, False, True]])


def test_boxes_of_a_batch_are_clipped_each_to_its_picture():
    boxes = np.array([[[-5, 2, 30, 50]], [[25, 2, 30, 50]]], "float32")
    clipped = geometry.clip(boxes, np.array([[20, 30], [22, 40]])).numpy()
    np.testing.assert_array_equal(clipped, [[[0, 2, 20, 30]], [[22, 2, 22, 40]]])
    np.testing.assert_array_equal(geometry.area(clipped), [[20 * 28], [0]])
