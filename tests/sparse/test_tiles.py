"""3x3 convolutions by tiles of 2 x 2 positions, beside those of maps and of rows one by one."""

import numpy as np
import pytest
import tensorflow as tf

from sact_tf.sparse import rows as row_sets
from sact_tf.sparse import tensors, tiles
from sact_tf.sparse.grid import Grid
from sact_tf.sparse.tensors import Kernel
from sact_tf.sparse.tiles import TiledKernel, transformed

READ, WRITTEN = 3, 2


@pytest.fixture(autouse=True)
def always(monkeypatch):
    """Tiles wherever there is a row."""
    for name in ("WIDE", "FEWEST"):
        monkeypatch.setattr(tiles, name, 1)


def make_rows(shape, picture=None):
    """`(rows, grid)` of maps `(batch, height, width)`."""
    features = tf.constant(np.random.default_rng(sum(shape)).normal(size=(*shape, READ)), tf.float32)
    grid = Grid(features, 1, None if picture is None else tf.constant(picture[..., None]), narrow=READ)
    return row_sets.start(features, tf.zeros((int(np.prod(shape)), 0)), grid), grid


@pytest.fixture(scope="module")
def kernels():
    generator = np.random.default_rng(3)
    linear = generator.normal(size=(3, 3, READ, WRITTEN)), generator.normal(size=WRITTEN)
    return TiledKernel(linear, tf.nn.relu), Kernel(linear, tf.nn.relu)


def assert_near(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def test_kernel_of_one_tap_is_changed_as_by_hand():
    kernel = np.zeros((3, 3, 1, 1))
    kernel[0, 2] = 4.0
    # Down (1, 1/2, 1/2, 0), across (0, 1/2, 1/2, 1), of the first row and the last column.
    expected = [[0, 2, 2, 4], [0, 1, 1, 2], [0, 1, 1, 2], [0, 0, 0, 0]]
    np.testing.assert_array_equal(transformed(kernel).reshape(4, 4), expected)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 5), (2, 2, 2), (3, 3, 2), (3, 5, 4), (2, 7, 7)], ids=str)
def test_whole_maps_are_convolved_as_by_a_convolution(kernels, shape):
    tiled, kernel = kernels
    rows, grid = make_rows(shape)
    expected = kernel.on_map(grid.to_map(rows.features))
    assert_near(tiled.on_rows(rows.features, rows.tiles), tf.reshape(expected, (-1, WRITTEN)))


@pytest.mark.parametrize("part", [0.2, 0.6, 1.0])
@pytest.mark.parametrize("shape", [(1, 1, 5), (3, 3, 2), (3, 5, 4), (2, 7, 7)], ids=str)
def test_rows_that_are_left_are_convolved_as_one_by_one(kernels, shape, part):
    tiled, kernel = kernels
    rows, grid = make_rows(shape)
    active = np.random.default_rng(5).random(len(rows.numbers)) <= part
    active[-1] = True
    left, _, _ = row_sets.compact(rows, grid.spread(active.astype("int32")) > 0, grid)
    actual = tiled.on_rows(left.features, left.tiles)
    assert_near(actual, row_sets.convolve(kernel, left.features, left.table))
    on_map = tf.reshape(kernel.on_map(grid.to_map(rows.features)), (-1, WRITTEN))
    assert_near(actual, on_map[active])


def test_padding_is_read_as_zeros(kernels):
    tiled, kernel = kernels
    picture = np.ones((2, 5, 6), bool)
    picture[0, 3:], picture[1, :, 4:] = False, False
    rows, grid = make_rows(picture.shape, picture)
    expected = kernel.on_map(grid.to_map(rows.features) * picture[..., None])
    assert_near(tf.reshape(tiled.on_rows(rows.features, rows.tiles), expected.shape)[picture], expected[picture])


def test_tiles_in_parts_are_those_at_once(kernels, monkeypatch):
    tiled, _ = kernels
    rows, _ = make_rows((2, 7, 7))
    at_once = tiled.on_rows(rows.features, rows.tiles)
    # Five of the 32 tiles at a time.
    monkeypatch.setattr(tensors, "PART_BYTES", 5 * 4 * READ * tf.float32.size)
    assert_near(tf.function(tiled.on_rows)(rows.features, rows.tiles), at_once)


def test_tiles_are_for_many_positions_that_lie_beside_each_other(monkeypatch):
    rows, grid = make_rows((1, 8, 8))
    assert rows.tiles.worth

    def of(*positions):
        active = np.zeros(64, "int32")
        active[list(positions)] = 1
        return row_sets.compact(rows, grid.spread(active) > 0, grid)[0].tiles

    assert of(0, 1, 8).worth and of(0, 1, 8).table.shape == (1, 16)
    assert not of(0, 2, 18).worth, "three tiles of one position each"
    monkeypatch.setattr(tiles, "FEWEST", 4)
    assert not of(0, 1, 8).worth and of(0, 1, 8).table.shape == (0, 16)
    monkeypatch.setattr(tiles, "WIDE", READ + 1)
    assert not of(*range(64)).worth, "too few channels"
    assert TiledKernel.of((np.zeros((3, 3, READ, 1)), np.zeros(1)), tf.nn.relu) is None
