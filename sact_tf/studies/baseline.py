"""The plain network that is worth comparing with: as many units per block as an adaptive one runs on average.

  python -m sact_tf.studies.baseline --checkpoint_dir=runs/cluttered_digits/sact --run_dir=runs/baseline

Evaluates the adaptive run, rounds its mean number of units of each block, trains the plain ResNet of these depths as
long, in the way of the run that it started from, and compares (the baseline of Figurnov et al. 2017). Writes
the plain run, `baseline.csv`, `baseline.png` and `baseline.svg`. Started again, it goes on where it was stopped.
"""

import dataclasses
import os

from absl import flags

from sact_tf import checkpoints, command_line
from sact_tf import config as configs
from sact_tf.progress import print_line
from sact_tf.studies import runs
from sact_tf.training.latest import latest
from sact_tf.visualize import charts

FLAGS = flags.FLAGS


def run(checkpoint_dir, run_dir, steps=None, num_examples=None, log=print_line):
    """Trains and evaluates the plain network.

    Args:
        checkpoint_dir: directory of a trained adaptive run.
        run_dir: directory for everything that is written.
        steps: int, of the plain training; None for as many as the adaptive run and those that it started from have had
            by now.
        num_examples: int, held-out images to evaluate on; None for all.
        log: called with lines of text.

    Returns:
        list of two dicts, the rows of `baseline.csv`, the adaptive run and the plain one.

    Raises:
        ValueError: if the run is of a plain network, of a detector, or not one of ours.
    """
    adaptive = configs.read_config(checkpoint_dir)
    configs.refuse_detector(
        adaptive.dataset,
        "A baseline",
        "Train a plain detector by yourself (train.py --model_type=vanilla --model=...) and compare with eval.py "
        "--report_vanilla_dir.",
    )
    if adaptive.model.model_type == "vanilla":
        raise ValueError(
            f"A baseline is made for an adaptive network, and {checkpoint_dir} has a plain one. "
            "Name the directory of an act or sact run."
        )
    runs.evaluation_of(adaptive, checkpoint_dir, num_examples)
    runs.check_data(adaptive, checkpoint_dir)
    # It may be on its way still, or have been stopped.
    prefix = checkpoints.checkpoint_prefix(checkpoint_dir)
    done = checkpoints.global_step(prefix)
    adaptive = dataclasses.replace(adaptive, max_number_of_steps=done)
    command_line.make_directory(run_dir, "run_dir")
    metrics = runs.evaluate_once(adaptive, prefix, os.path.join(run_dir, "adaptive.json"), num_examples, log=log)
    units = mean_units(metrics)
    depth = "_".join(str(max(1, round(mean))) for mean in units)
    log(f"Mean units per block: {', '.join(f'{mean:.2f}' for mean in units)}; plain network: {depth}")
    model = dataclasses.replace(adaptive.model, model=depth, model_type="vanilla")
    recipe, trained = _from_scratch(adaptive, log)
    # All of its few units run in each step.
    recipe = dataclasses.replace(recipe, train_effective=None, depth_rule=None)
    plain = dataclasses.replace(recipe, model=model, max_number_of_steps=trained if steps is None else steps)
    log(f"== Training {depth}: {runs.length_of(plain)}")
    directory = os.path.join(run_dir, f"vanilla_{depth}")
    runs.check([(directory, plain)], num_examples)
    rows = [_row(adaptive, metrics), _row(plain, runs.train_and_evaluate(plain, directory, num_examples, log))]
    _write(rows, os.path.join(run_dir, "baseline"), log)
    return rows


def mean_units(metrics):
    """Mean number of executed units of each block, in the order of the blocks, from an evaluation's metrics."""
    return [value for name, value in metrics.items() if name.endswith("/num_units_mean")]


def _from_scratch(config, log):
    """How the first of a run and those that it started from was trained, and the steps of all, as far as can be read.

    A fine-tuning's own learning rate is for weights that are good already. What was trained on other data is left out:
    the plain network is compared on these.
    """
    alone = dataclasses.replace(config, finetune_path=None, finetune_skip_logits=False), config.max_number_of_steps
    if not config.finetune_path:
        return alone
    path = config.finetune_path
    directory = configs.run_directory(path)
    if not os.path.exists(os.path.join(directory, configs.CONFIG_FILE)):
        log(f"Note: {path}, which the run started from, has no configuration: what it was trained for is not counted.")
        return alone
    started = configs.read_config(directory)
    data = [(each.dataset, runs.place_of_data(each), each.image_size) for each in (config, started)]
    if data[0] != data[1] or config.finetune_skip_logits:
        log(
            f"Note: {path}, which the run started from, was trained on other data, images or classes: the plain "
            "network is trained on those of the run, and starts from nothing."
        )
        return alone
    recipe, steps = _from_scratch(started, log)
    # A checkpoint that is named by itself, or the last one of a run that was stopped, is of fewer steps than its run.
    prefix = latest(directory) if path == directory else path.removesuffix(".index")
    left = started.max_number_of_steps - checkpoints.step_of(prefix) if prefix else 0
    return recipe, config.max_number_of_steps + steps - left


def _write(rows, path, log):
    """Writes `<path>.csv` and the figures, and says what is in them."""
    *_, score_name = rows[0]
    runs.write_table(f"{path}.csv", rows)
    runs.save_figure(charts.comparison(rows, score_name), path)
    log(f"| network | units | FLOPs, millions | {score_name} |")
    log("|---|---|---|---|")
    for row in rows:
        log(f"| {row['model_type']} | {row['model']} | {row['flops'] / 1e6:.1f} | {row[score_name]:.2%} |")
    log(f"Figure: {path}.png, {path}.svg. Table: {path}.csv")


def _row(config, metrics):
    return {
        "model_type": config.model.model_type,
        "model": config.model.model,
        "tau": "" if config.model.model_type == "vanilla" else config.model.tau,
        "steps": config.max_number_of_steps,
        "flops": metrics[runs.FLOPS],
        **runs.score(config.dataset, metrics),
    }


def main():
    """Flags to one call."""
    if not FLAGS.checkpoint_dir:
        raise ValueError("--checkpoint_dir is needed: the directory of an act or sact run.")
    run(FLAGS.checkpoint_dir, FLAGS.run_dir, FLAGS.steps, FLAGS.num_examples)


if __name__ == "__main__":
    command_line.define_path("checkpoint_dir", None, "Directory of a trained act or sact run.")
    command_line.define_path("run_dir", "runs/baseline", "Directory for everything that is written.")
    flags.DEFINE_integer("steps", None, "Steps of the plain training; by default all that the adaptive network had.")
    flags.DEFINE_integer("num_examples", None, "Held-out images to evaluate on; all by default.")
    command_line.run(main, writes_to="run_dir")
