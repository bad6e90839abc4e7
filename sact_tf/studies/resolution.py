"""Trained networks on images of other sizes than they were trained on.

  python -m sact_tf.studies.resolution --checkpoint_dirs=runs/cluttered_digits/vanilla,runs/cluttered_digits/sact

Writes the metrics of each evaluation, `resolution.csv`, `resolution.png` and `resolution.svg`. Started again, it goes
on where it was stopped. Adaptive networks spend more on larger images, and where they do is up to them.
"""

import os

from absl import flags

from sact_tf import command_line
from sact_tf import config as configs
from sact_tf.progress import print_line
from sact_tf.studies import runs
from sact_tf.visualize import charts

FLAGS = flags.FLAGS


def run(checkpoint_dirs, image_sizes, run_dir, num_examples=None, log=print_line):
    """Evaluates every run at every size.

    Args:
        checkpoint_dirs: directories of trained runs.
        image_sizes: ints, heights and widths in pixels; None for .75, 1, 1.25 and 1.5 of that of the first run.
        run_dir: directory for everything that is written.
        num_examples: int, held-out images to evaluate on; None for all.
        log: called with lines of text.

    Returns:
        list of dicts, the rows of `resolution.csv`.

    Raises:
        ValueError: if a directory has no run of ours, or the data set has one size only.
    """
    trained = [configs.read_config(directory) for directory in checkpoint_dirs]
    if not image_sizes:
        image_sizes = [round(trained[0].image_size * share) for share in (0.75, 1.0, 1.25, 1.5)]
    os.makedirs(run_dir, exist_ok=True)
    rows, path = [], os.path.join(run_dir, "resolution")
    for number, (directory, config) in enumerate(zip(checkpoint_dirs, trained, strict=True)):
        for size in image_sizes:
            log(f"== {directory} at {size} x {size}")
            stored = os.path.join(run_dir, f"{number}_{size}.json")
            metrics = runs.evaluate_once(config, directory, stored, num_examples, size, log)
            rows.append(
                {
                    "run": directory,
                    "model_type": config.model.model_type,
                    "trained_size": config.image_size,
                    "image_size": size,
                    "flops": metrics[runs.FLOPS],
                    **runs.score(config.dataset, metrics),
                }
            )
            runs.write_table(f"{path}.csv", rows)
            runs.save_figure(charts.resolution(rows, list(rows[0])[-1]), path)
    name = list(rows[0])[-1]
    log(f"| run | image size | FLOPs, millions | {name} |")
    log("|---|---|---|---|")
    for row in rows:
        log(f"| {row['run']} | {row['image_size']} | {row['flops'] / 1e6:.1f} | {row[name]:.2%} |")
    log(f"Figure: {path}.png, {path}.svg. Table: {path}.csv")
    return rows


def main():
    """Flags to one call."""
    if not FLAGS.checkpoint_dirs:
        raise ValueError("--checkpoint_dirs is needed: directories of trained runs, separated by commas.")
    sizes = [command_line_size(text) for text in FLAGS.image_sizes]
    run(FLAGS.checkpoint_dirs, sizes, FLAGS.run_dir, FLAGS.num_examples)


def command_line_size(text):
    """An image size in pixels from a flag's text."""
    if not text.isdigit() or int(text) == 0:
        raise ValueError(f"--image_sizes takes positive integers separated by commas. Received: {text!r}")
    return int(text)


if __name__ == "__main__":
    command_line.define_paths("checkpoint_dirs", [], "Directories of trained runs.")
    flags.DEFINE_list(
        "image_sizes", [], "Heights and widths in pixels; by default 0.75, 1, 1.25 and 1.5 of training's."
    )
    command_line.define_path("run_dir", "runs/resolution", "Directory for everything that is written.")
    flags.DEFINE_integer("num_examples", None, "Held-out images to evaluate on; all by default.")
    command_line.run(main)
