"""Trained networks on images of other sizes than they were trained on.

  python -m sact_tf.studies.resolution --checkpoint_dirs=runs/cluttered_digits/vanilla,runs/cluttered_digits/sact

Writes the metrics of each evaluation, `resolution.csv`, `resolution.png` and `resolution.svg`. Started again, it goes
on where it was stopped. Adaptive networks spend more on larger images, and where they do is up to them. Where all halt
at once, as may happen to networks that never saw such images, it says so.
"""

import os

from absl import flags

from sact_tf import checkpoints, command_line
from sact_tf import config as configs
from sact_tf.data import cifar10
from sact_tf.evaluation import measuring
from sact_tf.progress import print_line
from sact_tf.studies import runs
from sact_tf.tasks import task_of
from sact_tf.visualize import charts

FLAGS = flags.FLAGS
_UNITS = "/num_units_mean"
# Part of the units beyond the first of each block; a network that runs less than that decides nothing any more.
_COLLAPSED = 0.01


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
        FileNotFoundError, ValueError: before anything is evaluated, if a directory has no run of ours, or no checkpoint
            yet, or a network or its data set has no such size; for networks that have no score in common, and what is
            named twice.
    """
    trained = [configs.read_config(directory) for directory in checkpoint_dirs]
    _check(checkpoint_dirs, trained, image_sizes or [])
    # One checkpoint for all sizes: a run that still trains has a later one soon. One that has just begun has none.
    prefixes = [checkpoints.checkpoint_prefix(directory) for directory in checkpoint_dirs]
    if not image_sizes:
        image_sizes = [round(trained[0].image_size * share) for share in (0.75, 1.0, 1.25, 1.5)]
    for number, (directory, config) in enumerate(zip(checkpoint_dirs, trained, strict=True)):
        paths = {size: _stored(run_dir, number, size) for size in image_sizes}
        left = [size for size in paths if not runs.is_evaluated(config, directory, paths[size], num_examples, size)]
        _check_sizes(directory, config, left)
    command_line.make_directory(run_dir, "run_dir")
    rows, path = [], os.path.join(run_dir, "resolution")
    for number, (directory, config, prefix) in enumerate(zip(checkpoint_dirs, trained, prefixes, strict=True)):
        for size in image_sizes:
            log(f"== {directory} at {size} x {size}")
            metrics = runs.evaluate_once(config, prefix, _stored(run_dir, number, size), num_examples, size, log)
            rows.append(_row(directory, config, size, metrics))
            if collapsed(config.model.units, _units(metrics)):
                log(
                    f"At {size} x {size} the network hardly ever runs more than the first unit of a block, and so "
                    f"decides nothing. {_way_out(config, size)}"
                )
            runs.write_table(f"{path}.csv", rows)
            runs.save_figure(charts.resolution(rows, list(rows[0])[-1]), path)
    for line in _table(rows):
        log(line)
    log(f"Figure: {path}.png, {path}.svg. Table: {path}.csv")
    return rows


def _row(directory, config, size, metrics):
    return {
        "run": directory,
        "model_type": config.model.model_type,
        "trained_size": config.image_size,
        "image_size": size,
        "flops": metrics[runs.FLOPS],
        "units": " ".join(f"{mean:.2f}" for mean in _units(metrics)),
        **runs.score(config.dataset, metrics),
    }


def _table(rows):
    """Lines of a Markdown table."""
    name = list(rows[0])[-1]
    yield f"| run | image size | FLOPs, millions | units of each block | {name} |"
    yield "|---|---|---|---|---|"
    for row in rows:
        units = row["units"] or "all"
        yield f"| {row['run']} | {row['image_size']} | {row['flops'] / 1e6:.1f} | {units} | {row[name]:.2%} |"


def _stored(run_dir, number, size):
    return os.path.join(run_dir, f"{number}_{size}.json")


def _check(checkpoint_dirs, trained, image_sizes):
    """Raises unless each run has its data, all have one score, and nothing is named twice."""
    for directory, config in zip(checkpoint_dirs, trained, strict=True):
        runs.check_data(config, directory)
    _check_scores(checkpoint_dirs, trained)
    _check_once("checkpoint_dirs", checkpoint_dirs, [os.path.realpath(directory) for directory in checkpoint_dirs])
    _check_once("image_sizes", image_sizes, image_sizes)


def _check_scores(checkpoint_dirs, trained):
    """Raises ValueError for networks that are told apart by other scores, which have no table in common."""
    scores = [task_of(config.dataset).SCORE[1] for config in trained]
    if len({*scores}) > 1:
        given = ", ".join(f"{directory} {score}" for directory, score in zip(checkpoint_dirs, scores, strict=True))
        raise ValueError(
            f"--checkpoint_dirs must name networks of one score, and detectors have another than classifiers: {given}. "
            "Give them to two studies, each with a --run_dir of its own."
        )


def _check_once(name, given, known):
    if len({*known}) < len(known):
        raise ValueError(f"--{name} must name each once. Received: {', '.join(map(str, given))}")


def _check_sizes(directory, config, sizes):
    """Raises ValueError where a network, or its data set, has no images as small, or as large."""
    if config.dataset == "cifar10" and {*sizes} - {cifar10.IMAGE_SIZE}:
        raise ValueError(
            f"{directory} was trained on cifar10, whose images are all {cifar10.IMAGE_SIZE} x {cifar10.IMAGE_SIZE}, so "
            "there is no other size to evaluate it at. Leave it out of --checkpoint_dirs, or give "
            f"--image_sizes={cifar10.IMAGE_SIZE}."
        )
    for size in sorted({min(sizes), max(sizes)} if sizes else ()):
        try:
            measuring.prepare(runs.evaluation_of(config, directory, 1, size), directory, None)
        except ValueError as error:
            raise ValueError(
                f"{directory} cannot be evaluated at {size} x {size}, so give other --image_sizes: {error}"
            ) from error


def _units(metrics):
    """Mean units of each block, in order; none of a network that does not halt."""
    return [metrics[name] for name in sorted(metrics) if name.endswith(_UNITS)]


def _way_out(config, size):
    """What to do about a network that has collapsed at a size, a sentence."""
    if size == config.image_size:
        return f"It learned from these; train it with a lower --tau (now {config.model.tau:g}), or from a plain one."
    return (
        f"It learned from {config.image_size} x {config.image_size}; give images of sizes nearer to that, or fine-tune "
        "it on these."
    )


def collapsed(units, means):
    """Whether a network hardly ever runs more than the first unit of a block.

    Args:
        units: ints, residual units of each block.
        means: floats, the mean of those that were run; empty for a network that does not halt. Of a detector they are
            of the extractor's blocks, the first ones.
    """
    units = units[: len(means)]
    most = sum(units) - len(units)
    return bool(means) and most > 0 and sum(means) - len(units) < _COLLAPSED * most


def main():
    """Flags to one call."""
    if not FLAGS.checkpoint_dirs:
        raise ValueError("--checkpoint_dirs is needed: directories of trained runs, separated by commas.")
    sizes = [_size_of(text) for text in FLAGS.image_sizes]
    run(FLAGS.checkpoint_dirs, sizes, FLAGS.run_dir, FLAGS.num_examples)


def _size_of(text):
    """An image size in pixels from a flag's text."""
    if not text.isdecimal() or int(text) == 0:
        raise ValueError(f"--image_sizes takes positive integers separated by commas. Received: {text!r}")
    return int(text)


if __name__ == "__main__":
    command_line.define_paths("checkpoint_dirs", [], "Directories of trained runs.")
    flags.DEFINE_list(
        "image_sizes", [], "Heights and widths in pixels; by default 0.75, 1, 1.25 and 1.5 of training's."
    )
    command_line.define_path("run_dir", "runs/resolution", "Directory for everything that is written.")
    flags.DEFINE_integer("num_examples", None, "Held-out images to evaluate on; all by default.")
    command_line.run(main, writes_to="run_dir")
