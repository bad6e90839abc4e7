"""Rows of positions on a map of three rows and four columns, its positions 0 to 11, small enough to check by hand."""

import re

import numpy as np
import pytest
import tensorflow as tf

from sact_tf.sparse import rows as row_sets
from sact_tf.sparse import tensors
from sact_tf.sparse.grid import Grid
from sact_tf.sparse.rows import gather_neighbours
from sact_tf.sparse.tensors import Kernel, stitch

HEIGHT, WIDTH = 3, 4


def start(border, batch=1):
    """All positions; position n of image b has the feature 100 * b + n and the column -n."""
    numbers = np.arange(HEIGHT * WIDTH).reshape(1, HEIGHT, WIDTH, 1) + 100.0 * np.arange(batch).reshape(-1, 1, 1, 1)
    features = tf.constant(numbers, tf.float32)
    grid = Grid(features, border)
    return row_sets.start(features, -tf.reshape(features, (-1, 1)), grid), grid


def keep(rows, grid, *positions):
    """`compact` with only these positions active, given as features."""
    stays = np.isin(rows.output[:, 0], positions)
    active = grid.scatter(rows.own_numbers, tf.constant(stays, tf.float32)) > 0
    return row_sets.compact(rows, active, grid)


def features_of(rows):
    return [int(value) for value in rows.features[:, 0]]


def test_grid_numbers_positions_with_a_border_around_every_map():
    _, grid = start(border=1, batch=2)
    # Rows of 6, five of them to a map.
    first = [7, 8, 9, 10, 13, 14, 15, 16, 19, 20, 21, 22]
    np.testing.assert_array_equal(grid.inside, [*first, *np.add(first, 30)])
    assert int(grid.size) == 60
    np.testing.assert_array_equal(
        grid.around(tf.constant([7, 22])), np.add([[7], [22]], [-7, -6, -5, -1, 0, 1, 5, 6, 7])
    )
    np.testing.assert_array_equal(grid.image_of(grid.inside), [0] * 12 + [1] * 12)
    assert grid.crop(tf.range(60)).shape == (2, 3, 4)
    np.testing.assert_array_equal(tf.reshape(grid.crop(tf.range(60)), (-1,)), grid.inside)


@pytest.mark.parametrize("border", [1, 2])
def test_values_of_all_positions_lie_where_their_numbers_say(border):
    _, grid = start(border, batch=2)
    values = tf.range(1, 25)
    np.testing.assert_array_equal(grid.spread(values), grid.scatter(grid.inside, values))


@pytest.mark.parametrize("lengths", [(0, 3), (5, 0, 20), (1, 2, 40)])
def test_parts_of_any_length_are_put_together(lengths):
    numbers = np.random.default_rng(0).permutation(sum(lengths)).astype("int32")
    numbers = np.split(numbers, np.cumsum(lengths)[:-1])
    together = stitch(numbers, [tf.constant(10.0 * each[:, None]) for each in numbers])
    np.testing.assert_array_equal(together[:, 0], 10.0 * np.arange(sum(lengths)))


def test_neighbours_are_the_nine_positions_around_and_zero_outside():
    rows, _ = start(border=1)
    gathered = gather_neighbours(rows.features + 1, rows.table).numpy() - 1
    assert gathered.shape == (12, 9)
    out = -1
    np.testing.assert_array_equal(gathered[0], [out, out, out, out, 0, 1, out, 4, 5])
    np.testing.assert_array_equal(gathered[6], [1, 2, 3, 5, 6, 7, 9, 10, 11])
    np.testing.assert_array_equal(gathered[11], [6, 7, out, 10, 11, out, out, out, out])


def test_neighbours_are_never_of_another_image():
    rows, _ = start(border=1, batch=2)
    gathered = gather_neighbours(rows.features + 1, rows.table).numpy() - 1
    assert (gathered[:12] < 12).all()
    assert ((gathered[12:] >= 100) | (gathered[12:] == -1)).all()


def test_several_channels_stay_side_by_side_in_every_neighbour():
    rows, _ = start(border=1)
    wide = tf.concat([rows.features, 10 * rows.features], axis=1)
    gathered = gather_neighbours(wide, rows.table).numpy()
    np.testing.assert_array_equal(gathered[6], np.ravel([[n, 10 * n] for n in (1, 2, 3, 5, 6, 7, 9, 10, 11)]))


def test_compacting_keeps_active_rows_first_and_then_what_they_read():
    rows, grid = start(border=1)
    left, numbers, output = keep(rows, grid, 0, 3)
    assert features_of(left) == [0, 3, 1, 2, 4, 5, 6, 7]
    np.testing.assert_array_equal(left.columns[:, 0], [0, -3, -1, -2, -4, -5, -6, -7])
    np.testing.assert_array_equal(left.output[:, 0], [0, 3])
    np.testing.assert_array_equal(left.own_numbers, [7, 10])
    np.testing.assert_array_equal(output[:, 0], [1, 2, 4, 5, 6, 7, 8, 9, 10, 11])
    np.testing.assert_array_equal(numbers, tf.gather(grid.inside, [1, 2, 4, 5, 6, 7, 8, 9, 10, 11]))
    assert bool(rows.complete) and not bool(left.complete)


def test_neighbours_are_found_again_after_compacting():
    rows, grid = start(border=1)
    left, _, _ = keep(rows, grid, 0, 3)
    gathered = gather_neighbours(left.features + 1, left.table).numpy() - 1
    np.testing.assert_array_equal(gathered, [[-1, -1, -1, -1, 0, 1, -1, 4, 5], [-1, -1, -1, 2, 3, -1, 6, 7, -1]])


def test_compacting_twice_keeps_halted_rows_only_while_they_are_read():
    rows, grid = start(border=1)
    once, _, _ = keep(rows, grid, 0, 3)
    twice, numbers, output = keep(once, grid, 3)
    assert features_of(twice) == [3, 2, 6, 7]
    np.testing.assert_array_equal(numbers, [7])
    np.testing.assert_array_equal(output, [[0]])
    np.testing.assert_array_equal(gather_neighbours(twice.features, twice.table)[0], [0, 0, 0, 2, 3, 0, 6, 7, 0])


def test_rows_that_are_read_two_positions_away_are_kept_with_their_ring():
    rows, grid = start(border=2)
    left, _, _ = keep(rows, grid, 0)
    # Own, then the ring of distance one, then that of distance two.
    assert features_of(left) == [0, 1, 4, 5, 2, 6, 8, 9, 10]
    ring = gather_neighbours(left.features + 1, left.ring_table).numpy() - 1
    assert ring.shape == (3, 9)
    np.testing.assert_array_equal(ring[0], [-1, -1, -1, 0, 1, 2, 4, 5, 6])
    np.testing.assert_array_equal(ring[2], [0, 1, 2, 4, 5, 6, 8, 9, 10])


def test_images_without_active_positions_leave_nothing():
    rows, grid = start(border=1, batch=2)
    left, numbers, _ = keep(rows, grid, 111)
    assert features_of(left) == [111, 106, 107, 110]
    np.testing.assert_array_equal(left.images, [1])
    assert numbers.shape == (23,)


@pytest.mark.parametrize("border", [1, 2])
@pytest.mark.parametrize("active", [[], [0, 3], range(12)])
def test_a_change_is_added_to_the_own_rows_alone(active, border):
    rows, grid = start(border)
    np.testing.assert_array_equal(rows.add(rows.features, tf.ones((12, 1)))[:, 0], np.arange(1.0, 13.0))
    left, _, _ = keep(rows, grid, *active)
    added = left.add(left.features, tf.ones((len(active), 1))) - left.features
    np.testing.assert_array_equal(added[:, 0], np.arange(len(left.features)) < len(active))


@pytest.mark.parametrize("count", [0, 1, 5, 6, 11])
def test_rows_computed_in_parts_are_those_computed_at_once(monkeypatch, count):
    # Three floats between of four bytes each: five rows to a part.
    monkeypatch.setattr(tensors, "PART_BYTES", 60)
    parts = []

    def double(part):
        tf.py_function(lambda length: parts.append(int(length)), [tf.shape(part)[0]], [])
        return tf.concat([part, part], 1)

    @tf.function(input_signature=[tf.TensorSpec((None, 1))])
    def run(rows):
        return tensors.in_parts(double, rows, between=3, results=2)

    rows = np.arange(float(count), dtype="float32").reshape(-1, 1)
    np.testing.assert_array_equal(run(rows), np.tile(rows, 2))
    assert parts == {0: [0], 1: [1], 5: [3, 2], 6: [3, 3], 11: [4, 4, 3]}[count]


def test_convolution_of_rows_is_that_of_the_map(monkeypatch):
    monkeypatch.setattr(tensors, "PART_BYTES", 4 * 9 * 5)
    rows, grid = start(border=1, batch=2)
    kernel = Kernel((np.arange(18.0).reshape(3, 3, 1, 2), [1.0, 2.0]))
    on_map = kernel.on_map(grid.to_map(rows.features))
    np.testing.assert_allclose(row_sets.convolve(kernel, rows.features, rows.table), tf.reshape(on_map, (-1, 2)))


def drawn(name):
    """Numbers that the module's drawing gives in the lines that start with this name."""
    lines = [line.split(name, 1)[1] for line in row_sets.__doc__.splitlines() if line.strip().startswith(name)]
    return [int(number) for line in lines for number in re.findall(r"\d+", line)]


def test_the_drawn_example_is_what_happens():
    features = tf.reshape(tf.range(16.0), (1, 4, 4, 1))
    grid = Grid(features, border=1)
    left, _, _ = keep(row_sets.start(features, -tf.reshape(features, (-1, 1)), grid), grid, 5, 10)
    assert features_of(left) == drawn("position")
    assert list(range(1, len(features_of(left)) + 1)) == drawn("row")
    assert left.output.shape == (2, 1)
    lines = row_sets.__doc__.splitlines()
    first = next(index for index, line in enumerate(lines) if line.strip().startswith("a:"))
    pairs = [[int(number) for number in re.findall(r"\d+", line)] for line in lines[first : first + 3]]
    table = [[number for six in pairs for number in six[part]] for part in (slice(0, 3), slice(3, 6))]
    np.testing.assert_array_equal(left.table, table)
    ring = {int(number) for number in left.features[2:, 0]}
    maps = [line.split()[8:12] for line in lines if re.match(r" +\d+ +\d+ +\d+ +\d+ +[.a]", line)]
    assert [len(line) for line in maps] == [4] * 4
    assert {number for number, mark in enumerate(np.ravel(maps)) if mark == "#"} == ring
