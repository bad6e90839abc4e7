"""Draws how much computation a SACT network spends where, on photographs of any size.

  python -m sact_tf.ponder_map --checkpoint_dir=runs/sact --images_pattern='photos/*.jpg' --output_dir=maps

For each photograph: `<name>_image.png`, `<name>_ponder.png` (the sum of the blocks), `<name>_<block>.png`,
`<name>_overlay.png`, and `<name>_figure.png`, all of them with a colour bar.
"""

import glob
import io
import os
from collections import Counter
from typing import NamedTuple

from sact_tf import command_line, flops, visualize
from sact_tf.data.photographs import BadPhotograph, prepare, read_photograph
from sact_tf.data.records import write_atomically
from sact_tf.evaluation import inference
from sact_tf.progress import print_line

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
        ValueError, OSError: if the checkpoint does not fit, or a file cannot be written.
    """
    paths = find_photographs(config.images_pattern)
    names = name_outputs(paths)
    _check_output_dir(config, names)
    model = inference.load_model(config)
    predict = inference.predictor(model, config.engine)
    os.makedirs(config.output_dir, exist_ok=True)
    done, skipped = {}, []
    for number, (path, name) in enumerate(names.items(), 1):
        try:
            image = read_photograph(path, config.image_size, model.backbone.minimum_size)
        except BadPhotograph as error:
            skipped.append(path)
            log(f"{number}/{len(paths)} {path} skipped: {error}.")
            continue
        computed = compute(model, predict, image, config.dataset)
        total = computed.ponder_map
        done[path] = (float(total.min()), float(total.mean()), float(total.max()), computed.flops)
        size = f"{image.shape[0]} x {image.shape[1]}"
        for suffix, picture in _pictures(image, computed, f"{os.path.basename(path)}, {size}: {_summary(computed)}"):
            _write(os.path.join(config.output_dir, f"{name}_{suffix}.png"), picture)
        log(
            f"{number}/{len(paths)} {path} {size}: ponder cost min {done[path][0]:.2f}, mean {done[path][1]:.2f}, "
            f"max {done[path][2]:.2f}; {_summary(computed)}"
        )
    log(f"Maps of {len(done)} photographs: {config.output_dir}")
    return done, skipped


def find_photographs(pattern):
    """Sorted paths of the files that a pattern stands for, `**` for folders of any depth; `~` is the user's home.

    Raises:
        FileNotFoundError: if there are none.
    """
    pattern = os.path.expanduser(pattern)
    paths = [pattern] if os.path.isfile(pattern) else sorted(filter(os.path.isfile, glob.glob(pattern, recursive=True)))
    if not paths:
        raise FileNotFoundError(
            f"No file is like {pattern}. Give --images_pattern in quotes, such as --images_pattern='photos/*.jpg'; "
            "upper and lower case matter."
        )
    return paths


def name_outputs(paths):
    """Dict from each path to what the names of its pictures begin with: the file's name without its ending.

    Files that would share one have it from the whole path below the folder that all are in.
    """
    stems = {path: os.path.splitext(os.path.basename(path))[0] for path in paths}
    counts = Counter(stems.values())
    folder = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths])
    names = {}
    for path, stem in stems.items():
        whole = os.path.relpath(os.path.abspath(path), folder)
        name = stem if counts[stem] == 1 else whole.replace(os.sep, "_").replace(".", "_")
        while name in names.values():
            name += "_"
        names[path] = name
    return names


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
    everything = {
        f"{name}/num_units": outputs[f"{name}/num_units"] * 0 + len(block.units) for name, block in model.blocks.items()
    }
    most = flops.count(model, {"image_size": outputs["image_size"], **everything})
    return Computation(maps, total, int(outputs["flops"][0]), int(most["flops"][0]))


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
            f"{', '.join(skipped)}"
        )


if __name__ == "__main__":
    command_line.define_model_flags(
        image_size="Length in pixels to resize the longer edge to; left as it is if not given."
    )
    command_line.define_ponder_map_flags()
    command_line.run(main)
