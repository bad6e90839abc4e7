"""Draws how much computation a SACT network spends where, on photographs of any size.

  python -m sact_tf.ponder_map --checkpoint_dir=runs/sact --images_pattern='photos/*.jpg' --output_dir=maps

For each photograph: `<name>_image.png`, `<name>_ponder.png` (the sum of the blocks), `<name>_<block>.png`,
`<name>_overlay.png`, and `<name>_figure.png`, all of them with a colour bar.
"""

from typing import NamedTuple

from sact_tf import command_line, flops, visualize
from sact_tf.command_line.photographs import (
    check_output_dir,
    draw_each,
    find_photographs,
    name_outputs,
    refuse_skipped,
    title_of,
    write_all,
)
from sact_tf.data.photographs import prepare, read_photograph
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
        ValueError: if the checkpoint does not fit.
        OSError: if nothing can be written any more, as on a full disk. Where only the pictures of one photograph cannot
            be written, it is skipped.
    """
    names = name_outputs(find_photographs(config.images_pattern))
    check_output_dir(config, names, "_figure.png", "maps")
    model = inference.load_model(config)
    predict = inference.predictor(model, config.engine)
    command_line.make_directory(config.output_dir, "output_dir")

    def draw(path, name):
        image = read_photograph(path, config.image_size, model.backbone.minimum_size)
        computed = compute(model, predict, image, config.dataset)
        size = f"{image.shape[0]} x {image.shape[1]}"
        title = f"{title_of(path)}, {size}: {_summary(computed)}"
        write_all(config.output_dir, name, _pictures(image, computed, title), "maps")
        total = computed.ponder_map
        figures = (float(total.min()), float(total.mean()), float(total.max()), computed.flops)
        costs = "ponder cost min {:.2f}, mean {:.2f}, max {:.2f}".format(*figures)
        return figures, f"{size}: {costs}; {_summary(computed)}"

    done, skipped = draw_each(names, draw, log)
    log(f"Maps of {len(done)} photographs: {config.output_dir}")
    return done, skipped


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


def main():
    """Flags to configuration to one call; files that were skipped make it fail in the end."""
    refuse_skipped(*write_maps(command_line.ponder_map_config()))


if __name__ == "__main__":
    command_line.define_model_flags(
        image_size="Length in pixels to resize the longer edge to; left as it is if not given."
    )
    command_line.define_ponder_map_flags()
    command_line.run(main)
