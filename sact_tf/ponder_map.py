"""Draws how much computation a SACT network spends where, on photographs of any size.

  python -m sact_tf.ponder_map --checkpoint_dir=runs/sact --images_pattern='photos/*.jpg' --output_dir=maps

For each photograph: `<name>_image.png`, `<name>_ponder.png` (the sum of the blocks), `<name>_<block>.png`,
`<name>_overlay.png`, and `<name>_figure.png`, all of them with a colour bar. With `--sheet` also all photographs on
sheets, from the least to the most computation.
"""

import os
from typing import NamedTuple

from sact_tf import command_line, flops, visualize
from sact_tf.command_line import writing
from sact_tf.command_line.photographs import (
    check_output_dir,
    draw_each,
    find_photographs,
    name_outputs,
    refuse_skipped,
    title_of,
    write_all,
    write_png,
)
from sact_tf.data.photographs import prepare, read_photograph
from sact_tf.evaluation import inference
from sact_tf.progress import counted, print_line

# All photographs on sheets, of which this is the number.
SHEET = "sheet_{}.png"
# The share of the map: with more of it, the photograph under it could not be recognized.
OVERLAY_ALPHA = 0.6


class Computation(NamedTuple):
    """What a network spends on one image.

    Attributes:
        maps: dict from a block's name to its map, float32 array `(height, width)`, in residual units.
        ponder_map: float32 array `(height, width)`, their sum.
        flops: int.
        most_flops: int, what it would be if no position halted early.
        most: dict from a block's name to the most that a pixel of its map can have, float; empty if not asked for.
    """

    maps: dict
    ponder_map: object
    flops: int
    most_flops: int
    most: dict = {}


def write_maps(config, log=print_line):
    """Writes the pictures of every photograph, and a line of text with minimum, mean, maximum and FLOPs of each.

    Args:
        config: `PonderMapConfig`.
        log: called with lines of text.

    Returns:
        `(done, skipped)`: dict from the path of a photograph to its `(minimum, mean, maximum, flops)`, of the map as
        floats and an int; list of the paths of files that no map could be made of.

    Raises:
        FileNotFoundError: if there are no such photographs, or no checkpoint.
        FileExistsError: if there are pictures of the same names, and `overwrite` is False.
        ValueError: if the checkpoint does not fit.
        OSError: if nothing can be written any more, as on a full disk. Where only the pictures of one photograph cannot
            be written, it is skipped.
    """
    names = name_outputs(find_photographs(config.images_pattern))
    check_output_dir(config, names, "_figure.png", "maps")
    _check_sheets(config)
    model = inference.load_model(config)
    predict = inference.predictor(model, config.engine)
    command_line.make_directory(config.output_dir, "output_dir")

    shown = []

    def draw(path, name):
        image = read_photograph(path, config.image_size, model.backbone.minimum_size)
        computed = compute(model, predict, image, config.dataset, config.by)
        size = f"{image.shape[0]} x {image.shape[1]}"
        title = f"{title_of(path)}, {size}: {_summary(computed)}"
        write_all(config.output_dir, name, _pictures(image, computed, title, config), "maps")
        if config.sheet:
            share = computed.flops / computed.most_flops
            overlaid = _overlay(image, computed, _limits(computed, config)[0])
            shown.append((share, visualize.sheets.thumbnail(overlaid), f"{share:.1%} {title_of(path)}"))
        total = computed.ponder_map
        figures = (float(total.min()), float(total.mean()), float(total.max()), computed.flops)
        costs = "{} min {:.2f}, mean {:.2f}, max {:.2f}".format(config.by.replace("_", " "), *figures)
        return figures, f"{size}: {costs}; {_summary(computed)}"

    done, skipped = draw_each(names, draw, log)
    log(f"Maps of {counted(len(done), 'photograph')}: {config.output_dir}")
    _write_sheets(config, shown, log)
    return done, skipped


def compute(model, predict, image, dataset, figure="ponder_cost"):
    """The `Computation` of one image.

    Args:
        model: `Classifier` of model_type "sact".
        predict: function of `inference.predictor`.
        image: float32 `(height, width, 3)` in [0, 1].
        dataset: a key of `sact_tf.config.DATASETS`, as the network was trained on.
        figure: "ponder_cost" or "num_units", what the maps are of.
    """
    outputs = predict(prepare(image, dataset)[None])
    maps = {name: value[0].numpy() for name, value in visualize.block_maps(outputs, image.shape, figure).items()}
    total = visualize.ponder_map(outputs, image.shape, figure)[0].numpy()
    most_flops = int(flops.count_most(model, outputs)["flops"][0])
    key = "halting_distribution"
    most = {name: visualize.largest_possible({key: outputs[f"{name}/{key}"]}, figure) for name in maps}
    return Computation(maps, total, int(outputs["flops"][0]), most_flops, most)


def _summary(computed):
    return f"{computed.flops:,} FLOPs, {computed.flops / computed.most_flops:.1%} of all units everywhere"


def _limits(computed, config):
    """Values of the first and the last colour, of the sum and of the blocks: this photograph's, or all that can be."""
    if not config.normalize:
        return (0, sum(computed.most.values())), (0, max(computed.most.values()))
    maps, total = computed.maps.values(), computed.ponder_map
    blocks = min(value.min() for value in maps), max(value.max() for value in maps)
    return (total.min(), total.max()), blocks


def _overlay(image, computed, limits):
    return visualize.overlay(image, computed.ponder_map, OVERLAY_ALPHA, limits[1], limits[0], "viridis")


def _pictures(image, computed, title, config):
    """Yields the end of each file's name and its picture; the composed figure is the last."""
    limits, of_blocks = _limits(computed, config)
    yield "image", image
    yield "ponder", visualize.colour(computed.ponder_map, *limits)
    for name, value in computed.maps.items():
        yield name, visualize.colour(value, *of_blocks)
    yield "overlay", _overlay(image, computed, limits)
    yield "figure", visualize.ponder_figure(image, computed.maps, title, config.by, (limits, of_blocks))


def _check_sheets(config):
    path = os.path.join(config.output_dir, SHEET.format(1))
    if config.sheet and os.path.exists(path) and not config.overwrite:
        raise FileExistsError(
            f"{path} is there already. Give --overwrite to replace the sheets, or another --output_dir."
        )


def _write_sheets(config, shown, log):
    """Writes the sheets of what was kept of each photograph: a number to sort by, a thumbnail and a text."""
    pages = visualize.sheets.pages([(picture, text) for _, picture, text in sorted(shown, key=lambda each: each[0])])
    for number, page in enumerate(pages, 1):
        path = os.path.join(config.output_dir, SHEET.format(number))
        try:
            write_png(path, page)
        except OSError as error:
            raise writing.explained(config.output_dir, "output_dir", error) from error
        log(f"Sheet, from the least to the most computation: {path}")


def main():
    """Flags to configuration to one call; files that were skipped make it fail in the end."""
    refuse_skipped(*write_maps(command_line.ponder_map_config()))


if __name__ == "__main__":
    command_line.define_model_flags(
        image_size="Length in pixels to resize the longer edge to; left as it is if not given.", reads="nothing"
    )
    command_line.define_ponder_map_flags()
    command_line.run(main)
