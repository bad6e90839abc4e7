"""Draws how much computation a SACT network spends where, on photographs of any size.

  python -m sact_tf.ponder_map --checkpoint_dir=runs/sact --images_pattern='photos/*.jpg' --output_dir=maps

For each photograph: `<name>_image.png`, `<name>_ponder.png` (the sum of the blocks), `<name>_<block>.png`,
`<name>_overlay.png`, and `<name>_figure.png`, all of them with a colour bar.
"""

import contextlib
import errno
import glob
import io
import os
from collections import Counter
from typing import NamedTuple
from urllib.parse import quote

from sact_tf import command_line, flops, visualize
from sact_tf.command_line import writing
from sact_tf.data.photographs import BadPhotograph, prepare, read_photograph
from sact_tf.data.whole_files import write_atomically
from sact_tf.evaluation import inference
from sact_tf.progress import one_line, print_line

# Of a path that is longer, names of pictures are made of the file's name alone; file systems take 255 bytes.
_MAX_NAME_BYTES = 200
# Of a longer name the middle is left out in the title of a figure.
_MAX_TITLE_NAME = 80
# The share of the map: with more of it, the photograph under it could not be recognized.
OVERLAY_ALPHA = 0.6


class Computation(NamedTuple):
    """What a network spends on one image.

    Attributes:
        maps: dict from a block's name to its ponder cost, float32 array `(height, width)`, in residual units.
        ponder_map: float32 array `(height, width)`, their sum.
        flops: int.
        most_flops: int, what it would be if no position halted early.
    """

    maps: dict
    ponder_map: object
    flops: int
    most_flops: int


def write_maps(config, log=print_line):
    """Writes the pictures of every photograph, and a line of text with minimum, mean, maximum and FLOPs of each.

    Args:
        config: `PonderMapConfig`.
        log: called with lines of text.

    Returns:
        `(done, skipped)`: dict from the path of a photograph to its `(minimum, mean, maximum, flops)`, ponder costs as
        floats and an int; list of the paths of files that no map could be made of.

    Raises:
        FileNotFoundError: if there are no such photographs, or no checkpoint.
        FileExistsError: if there are pictures of the same names, and `overwrite` is False.
        ValueError: if the checkpoint does not fit.
        OSError: if nothing can be written any more, as on a full disk. Where only the pictures of one photograph cannot
            be written, it is skipped.
    """
    paths = find_photographs(config.images_pattern)
    names = name_outputs(paths)
    _check_output_dir(config, names)
    model = inference.load_model(config)
    predict = inference.predictor(model, config.engine)
    command_line.make_directory(config.output_dir, "output_dir")
    done, skipped = {}, []
    for number, (path, name) in enumerate(names.items(), 1):
        start = f"{number}/{len(paths)} {one_line(path)}"
        try:
            image = read_photograph(path, config.image_size, model.backbone.minimum_size)
            computed = compute(model, predict, image, config.dataset)
            size = f"{image.shape[0]} x {image.shape[1]}"
            title = f"{_shorten(one_line(os.path.basename(path)))}, {size}: {_summary(computed)}"
            _write_all(config.output_dir, name, _pictures(image, computed, title))
        except BadPhotograph as error:
            skipped.append(path)
            log(f"{start} skipped: {error}.")
            continue
        total = computed.ponder_map
        done[path] = (float(total.min()), float(total.mean()), float(total.max()), computed.flops)
        log(
            f"{start} {size}: ponder cost min {done[path][0]:.2f}, mean {done[path][1]:.2f}, "
            f"max {done[path][2]:.2f}; {_summary(computed)}"
        )
    log(f"Maps of {len(done)} photographs: {config.output_dir}")
    return done, skipped


def find_photographs(pattern):
    """Sorted paths of the files that a pattern stands for, links to nothing among them.

    Args:
        pattern: path with `*`, `?`, `[...]`, and `**` for folders of any depth. A file or a folder that has just this
            name comes before what the pattern means, a folder standing for the files in it; so do folders at its
            beginning whose names have brackets, as in `photos[1]/*.jpg`. `~` is the user's home.

    Raises:
        FileNotFoundError: if there are none.
    """
    pattern = os.path.expanduser(pattern)
    if os.path.isfile(pattern):
        return [pattern]
    if os.path.isdir(pattern):
        tried = [os.path.join(glob.escape(pattern), "*")]
    else:
        # In the last one brackets are nothing but brackets.
        tried = list(dict.fromkeys([_escape_folders(pattern), pattern, pattern.replace("[", "[[]")]))
    for each in tried:
        if paths := sorted(path for path in glob.glob(each, recursive=True) if not os.path.isdir(path)):
            return paths
    raise FileNotFoundError(
        f"No file is like {one_line(pattern)}. Give --images_pattern in quotes, such as "
        f"--images_pattern='photos/*.jpg'; upper and lower case matter. Tried: {', '.join(map(one_line, tried))}"
    )


def _escape_folders(pattern):
    """A pattern in which the folders that it begins with, and that exist by just these names, mean themselves."""
    parts = pattern.split("/")
    literal = len(parts) - 1
    while literal and not os.path.isdir("/".join(parts[:literal]) + "/"):
        literal -= 1
    return "/".join([*map(glob.escape, parts[:literal]), *parts[literal:]])


def name_outputs(paths):
    """Dict from each path to what the names of its pictures begin with: the file's name without its ending.

    Files that would share one have it from the whole path below the folder that all are in. Bytes that are not UTF-8,
    and line breaks, become `%E9`.
    """
    stems = {path: _usable(os.path.splitext(os.path.basename(path))[0]) for path in paths}
    counts = Counter(stems.values())
    folder = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths])
    names, taken = {}, set()
    for path, stem in stems.items():
        whole = _usable(os.path.relpath(os.path.abspath(path), folder).replace(os.sep, "_").replace(".", "_"))
        name = stem if counts[stem] == 1 or len(whole.encode()) > _MAX_NAME_BYTES else whole
        while name in taken:
            name += "_"
        taken.add(name)
        names[path] = name
    return names


def _usable(name):
    """The name of a file, UTF-8 and on one line."""
    return "".join(sign if sign.isprintable() else quote(os.fsencode(sign)) for sign in name)


def _check_output_dir(config, names):
    """Raises FileExistsError if pictures would be replaced, and photographs always."""
    taken = [name for name in names.values() if os.path.exists(os.path.join(config.output_dir, f"{name}_figure.png"))]
    if taken and not config.overwrite:
        raise FileExistsError(
            f"{config.output_dir} holds maps of {len(taken)} of the {len(names)} photographs already, for instance "
            f"{taken[0]}_figure.png. Give --overwrite to replace them, or another --output_dir."
        )
    folders = {os.path.realpath(os.path.dirname(os.path.abspath(path))) for path in names}
    if os.path.realpath(config.output_dir) in folders:
        raise ValueError(
            f"The maps would lie among the photographs in {config.output_dir}, and be taken for photographs the next "
            "time. Give another --output_dir."
        )


def compute(model, predict, image, dataset):
    """The `Computation` of one image.

    Args:
        model: `Classifier` of model_type "sact".
        predict: function of `inference.predictor`.
        image: float32 `(height, width, 3)` in [0, 1].
        dataset: a key of `sact_tf.config.DATASETS`, as the network was trained on.
    """
    outputs = predict(prepare(image, dataset)[None])
    maps = {name: value[0].numpy() for name, value in visualize.block_maps(outputs, image.shape).items()}
    total = visualize.ponder_map(outputs, image.shape)[0].numpy()
    most = flops.count_most(model, outputs)
    return Computation(maps, total, int(outputs["flops"][0]), int(most["flops"][0]))


def _shorten(name):
    half = _MAX_TITLE_NAME // 2
    return name if len(name) <= _MAX_TITLE_NAME else f"{name[:half]}...{name[-half:]}"


def _summary(computed):
    return f"{computed.flops:,} FLOPs, {computed.flops / computed.most_flops:.1%} of all units everywhere"


def _pictures(image, computed, title):
    """Yields the end of each file's name and its picture; the composed figure is the last."""
    total, limits = computed.ponder_map, (computed.ponder_map.min(), computed.ponder_map.max())
    yield "image", image
    yield "ponder", visualize.colour(total, *limits)
    lowest = min(value.min() for value in computed.maps.values())
    highest = max(value.max() for value in computed.maps.values())
    for name, value in computed.maps.items():
        yield name, visualize.colour(value, lowest, highest)
    yield "overlay", visualize.overlay(image, total, OVERLAY_ALPHA, limits[1], limits[0], "viridis")
    yield "figure", visualize.ponder_figure(image, computed.maps, title)


def _write_all(directory, name, pictures):
    """Writes the pictures of one photograph, all of them or none.

    Raises:
        BadPhotograph: if these cannot be written, and others may.
        OSError: if nothing can be written any more.
    """
    written = []
    try:
        for suffix, picture in pictures:
            path = os.path.join(directory, f"{name}_{suffix}.png")
            _write(path, picture)
            written.append(path)
    except OSError as error:
        for path in written:
            with contextlib.suppress(OSError):
                os.remove(path)
        if writing.fullness(error):
            raise writing.explained(directory, "output_dir", error) from error
        advice = ". Give the photograph a shorter name" if error.errno == errno.ENAMETOOLONG else ""
        raise BadPhotograph(f"its maps cannot be written: {error.strerror or error}{advice}") from error


def _write(path, picture):
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(visualize.to_bytes(picture)).save(file, "PNG")
    write_atomically(path, [file.getvalue()])


def main():
    """Flags to configuration to one call; files that were skipped make it fail in the end."""
    done, skipped = write_maps(command_line.ponder_map_config())
    if skipped:
        raise ValueError(
            f"{len(skipped)} of {len(done) + len(skipped)} files were skipped, for reasons given above: "
            f"{', '.join(map(one_line, skipped))}"
        )


if __name__ == "__main__":
    command_line.define_model_flags(
        image_size="Length in pixels to resize the longer edge to; left as it is if not given."
    )
    command_line.define_ponder_map_flags()
    command_line.run(main)
