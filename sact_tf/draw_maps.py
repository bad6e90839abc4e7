"""Draws the maps in a file of `sact_tf.export_maps`, or of the release, all of them with the same colours.

  python -m sact_tf.draw_maps --input_file=maps.h5 --output_dir=pictures

Colours go from the .1 to the 99.9 percentile of all pixels. Files are `<mean>_<number>_im.png` and
`<mean>_<number>_ponder.png`, so that their names sort by computation; `colorbar.png`; and `least_and_most.png`, the
images with the least and the most computation.
"""

import os

import h5py
import numpy as np
from absl import flags

from sact_tf import command_line, visualize
from sact_tf.command_line.photographs import write_png
from sact_tf.data.map_files import damage_named
from sact_tf.progress import counted, print_line

FLAGS = flags.FLAGS
PERCENTILES = (0.1, 99.9)
COLOUR_BAR, EXTREMES = "colorbar.png", "least_and_most.png"
_NUM_EXTREMES = 4
# Images that are in memory at a time.
_ROWS = 64


def draw_maps(input_file, output_dir, num_images=None, overwrite=False, log=print_line):
    """Draws the maps of a file.

    Args:
        input_file: path of the HDF5 file.
        output_dir: directory for the pictures.
        num_images: int, how many images to draw from the first on; None for all. Colours are those of all.
        overwrite: bool, whether pictures that are there already may be replaced.
        log: called with lines of text.

    Returns:
        `(low, high)`: floats, the values of the first and the last colour, in residual units.

    Raises:
        FileExistsError: if pictures are there already, and `overwrite` is False.
        FileNotFoundError, OSError, ValueError: if the file is missing, damaged, or has no maps.
    """
    if os.path.exists(os.path.join(output_dir, COLOUR_BAR)) and not overwrite:
        raise FileExistsError(
            f"{output_dir} holds pictures of maps already. Give --overwrite to replace those of the same names, or "
            "another --output_dir."
        )
    if num_images is not None and num_images < 1:
        raise ValueError(f"`num_images` must be at least 1. Received: num_images={num_images!r}")
    with _open(input_file) as file:
        maps, images = _maps_and_images(file, input_file)
        low, high = percentiles(maps, PERCENTILES)
        log(f"Colours from ponder cost {low:.2f} ({PERCENTILES[0]:g} percentile) to {high:.2f} ({PERCENTILES[1]:g})")
        command_line.make_directory(output_dir, "output_dir")
        means = []
        for number in range(min(num_images or len(maps), len(maps))):
            value = _map(maps, number)
            means.append(float(value.mean()))
            start = os.path.join(output_dir, f"{means[-1]:05.2f}_{number}")
            write_png(f"{start}_im.png", visualize.visible(images[number]))
            write_png(f"{start}_ponder.png", visualize.colour(value, low, high))
            if (number + 1) % 100 == 0:
                log(f"{number + 1} images drawn")
        chosen = _extremes(means)
        pictures = np.stack([images[number] for number in chosen])
        chosen_maps = np.stack([_map(maps, number) for number in chosen])
        titles = [f"{number}: {means[number]:.2f}" for number in chosen]
    write_png(os.path.join(output_dir, EXTREMES), visualize.gallery(pictures, chosen_maps, titles, limits=(low, high)))
    write_png(os.path.join(output_dir, COLOUR_BAR), visualize.colour_bar(low, high))
    log(f"{counted(len(means), 'image')}, mean ponder cost {min(means):.2f} to {max(means):.2f}: {output_dir}")
    return low, high


class _DataSet:
    """A data set of a file, sliced along its first axis as float32, whose damage is told in a sentence."""

    def __init__(self, data, path):
        self.shape, self._data, self._path = data.shape, data, path

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, rows):
        with damage_named(self._path):
            return np.asarray(self._data[rows], np.float32)


def _open(path):
    if not os.path.isfile(path):
        raise FileNotFoundError(
            f"There is no file {path}. Give --input_file, as python -m sact_tf.export_maps wrote it."
        )
    with damage_named(path):
        if h5py.is_hdf5(path):
            return h5py.File(path, "r")
    raise ValueError(f"{path} is no HDF5 file. Give --input_file, as python -m sact_tf.export_maps wrote it.")


def _maps_and_images(file, path):
    """The two data sets, checked but for their values."""
    with damage_named(path):
        found = {name: file[name] for name in file}
    missing = {"ponder_cost_map", "images"} - set(found)
    if missing:
        raise ValueError(
            f"{path} has no {' and no '.join(sorted(missing))}; only exports of networks of model_type 'sact' have "
            f"maps. It has: {', '.join(sorted(found))}"
        )
    maps, images = found["ponder_cost_map"], found["images"]
    kinds = [getattr(getattr(data, "dtype", None), "kind", "") for data in (maps, images)]
    shapes = [getattr(data, "shape", ()) for data in (maps, images)]
    (map_shape, image_shape), numbers = shapes, set(kinds) <= set("fiu")
    # A last axis of 1, as exports have it, or none.
    fit = len(map_shape) in (3, 4) and map_shape[3:] in ((), (1,)) and len(image_shape) == 4 and image_shape[3] == 3
    if not (numbers and fit and map_shape[0] == image_shape[0] > 0):
        raise ValueError(
            f"{path} must have numbers ponder_cost_map (images, height, width, 1) and images (images, height, width, "
            f"3), at least one. Received: {map_shape} of kind {kinds[0] or None!r}, {image_shape} of kind "
            f"{kinds[1] or None!r}. Give --input_file, as python -m sact_tf.export_maps wrote it."
        )
    return _DataSet(maps, path), _DataSet(images, path)


def percentiles(values, shares):
    """Percentiles of more numbers than memory holds, exactly those of `numpy.percentile`.

    The bits of a float that is not negative sort as it does. The first pass counts the upper half of the bits, the
    second the lower half of those numbers that can be meant.

    Args:
        values: float32 data set or array, sliced along its first axis.
        shares: list of floats in [0, 100].

    Returns:
        list of floats.

    Raises:
        ValueError: for values that are negative or no finite numbers.
    """
    shape = values.shape
    count = int(np.prod(shape))
    places = [share / 100 * (count - 1) for share in shares]
    ranks = sorted({int(edge) for place in places for edge in (np.floor(place), np.ceil(place))})
    upper = np.zeros(1 << 16, np.int64)
    for bits in _bits(values):
        upper += np.bincount(bits >> 16, minlength=1 << 16)
    ends = np.cumsum(upper)
    halves = {rank: int(np.searchsorted(ends, rank, side="right")) for rank in ranks}
    lower = {half: np.zeros(1 << 16, np.int64) for half in halves.values()}
    for bits in _bits(values):
        for half, counts in lower.items():
            counts += np.bincount(bits[bits >> 16 == half] & 0xFFFF, minlength=1 << 16)
    found = {}
    for rank, half in halves.items():
        place = np.searchsorted(np.cumsum(lower[half]), rank - (ends[half] - upper[half]), side="right")
        found[rank] = float(np.uint32(half << 16 | int(place)).view(np.float32))
    return [float(np.interp(place, ranks, [found[rank] for rank in ranks])) for place in places]


def _bits(values):
    for row in range(0, len(values), _ROWS):
        # Adding 0 turns -0.0 into 0.0, whose sign bit is not set.
        part = np.ascontiguousarray(values[row : row + _ROWS], np.float32) + np.float32(0)
        if not (np.isfinite(part) & (part >= 0)).all():
            raise ValueError(
                f"Ponder costs are finite and not negative, and some of the images {row} to {row + len(part) - 1} have "
                "others: the network's training diverged, or they are no ponder costs."
            )
        yield part.view(np.uint32).ravel()


def _map(maps, number):
    return maps[number].reshape(maps.shape[1:3])


def _extremes(means):
    """Numbers of the images with the least and the most computation, from least to most."""
    order = [int(number) for number in np.argsort(means, kind="stable")]
    return order if len(order) <= 2 * _NUM_EXTREMES else order[:_NUM_EXTREMES] + order[-_NUM_EXTREMES:]


def main():
    """Flags to one call."""
    for name in ("input_file", "output_dir"):
        if not FLAGS[name].value:
            raise ValueError(f"`{name}` is missing. Give --{name}.")
    with command_line.full_disk_named(FLAGS.output_dir, "output_dir"):
        draw_maps(FLAGS.input_file, FLAGS.output_dir, FLAGS.num_images, FLAGS.overwrite)


if __name__ == "__main__":
    command_line.define_path("input_file", None, "HDF5 file that sact_tf.export_maps wrote.")
    command_line.define_path("output_dir", None, "Directory for the pictures.")
    flags.DEFINE_integer("num_images", None, "Images to draw, from the first on; all if not given.")
    flags.DEFINE_boolean("overwrite", False, "Replace pictures that are in --output_dir already.")
    command_line.run(main)
