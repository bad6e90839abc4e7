"""Accuracy against FLOPs: plain networks of several depths beside ACT and SACT with several weights of the ponder cost.

  python -m sact_tf.studies.tradeoff --run_dir=runs/tradeoff
  python -m sact_tf.studies.tradeoff --dataset=digit_scenes --run_dir=runs/scenes_tradeoff

On a data set of boxes the networks are detectors: mAP against the FLOPs of their extractors, which are plain with fewer
units in blocks 1 to 3, ACT or SACT.

Adaptive networks start from the deepest plain one, so that a short training is enough. Writes a directory for each run,
`tradeoff.csv`, `tradeoff.png` and `tradeoff.svg`, anew after each run. Started again, it goes on where it was stopped.
"""

import os

from absl import flags

from sact_tf import command_line
from sact_tf import config as configs
from sact_tf.progress import print_line
from sact_tf.studies import runs
from sact_tf.studies.tradeoff_plan import plan, recipe_of
from sact_tf.visualize import charts

FLAGS = flags.FLAGS
# Columns of the table that detectors alone have, by the metric that each is.
_OF_DETECTORS = {
    "Region Proposals Flops/mean": "region_proposals_flops",
    "Head Flops/mean": "head_flops",
    "DetectionBoxes_Precision/mAP@.50IOU": "mAP@.50IOU",
}


def run(
    run_dir,
    vanilla_models=None,
    taus=None,
    model_types=("act", "sact"),
    dataset="cluttered_digits",
    steps=None,
    adaptive_steps=None,
    num_examples=None,
    log=print_line,
    adaptive=None,
    network=None,
    **changes,
):
    """Trains and evaluates all networks, one after the other.

    What is not said is as `tradeoff_plan.recipe_of` the data set has it.

    Args:
        run_dir: directory for everything that is written.
        vanilla_models: depths of the plain networks, as for `--model`; the last is what adaptive ones are made of.
        taus: floats >= 0, weights of the ponder cost; 0 puts no price on computation.
        model_types: adaptive kinds, "act" or "sact". Without any, or without a tau, plain networks alone are trained.
        dataset: name of a data set, of classes or of boxes.
        steps: int, of each plain training.
        adaptive_steps: int, of each adaptive training.
        num_examples: int, held-out images to evaluate on; None for all.
        log: called with lines of text.
        adaptive: dict of `TrainingConfig` fields of the adaptive runs, such as a smaller `learning_rate`, or None.
        network: dict of `ModelConfig` fields of all networks that differ from the data set's defaults, or None.
        **changes: other `TrainingConfig` fields of all runs, where `adaptive` does not say otherwise.

    Returns:
        list of dicts, the rows of `tradeoff.csv`: FLOPs are means over the images, a multiplication and an addition
        being two, and of a detector those of its extractor; the last column is the score of the task, a part of 1.

    Raises:
        ValueError: for an unknown kind of network, and before anything is trained.
    """
    recipe = recipe_of(dataset)
    changes = _given(changes)
    plain = {**recipe.plain, **changes, **_given({"max_number_of_steps": steps})}
    adaptive = {
        **recipe.adaptive,
        **changes,
        **_given(adaptive or {}),
        **_given({"max_number_of_steps": adaptive_steps}),
    }
    depths = recipe.depths if vanilla_models is None else vanilla_models
    taus = recipe.taus if taus is None else taus
    network_name = (network or {}).get("network", configs.check_dataset(dataset)["network"])
    runs.check_depths(depths, network_name, "vanilla_models")
    planned = plan(run_dir, dataset, depths, taus, model_types, network or {}, plain, adaptive)
    runs.check([(os.path.join(run_dir, name), config) for name, config in planned], num_examples)
    if len(planned) == len(depths):
        log("Plain networks alone: no taus, or no model types, are given.")
    rows, path = [], os.path.join(run_dir, "tradeoff")
    for number, (name, config) in enumerate(planned, 1):
        log(f"== {number}/{len(planned)} {name}: {runs.length_of(config)}")
        rows.append(_row(name, config, runs.train_and_evaluate(config, os.path.join(run_dir, name), num_examples, log)))
        runs.write_table(f"{path}.csv", rows)
        runs.save_figure(charts.tradeoff(rows, list(rows[0])[-1], runs.flops_name(dataset)), path)
    for line in table(rows, dataset):
        log(line)
    log(f"Figure: {path}.png, {path}.svg. Table: {path}.csv")
    return rows


def _given(fields):
    return {name: value for name, value in fields.items() if value is not None}


def _row(name, config, metrics):
    plain = config.model.model_type == "vanilla"
    return {
        "run": name,
        "model_type": config.model.model_type,
        "model": config.model.model,
        "tau": "" if plain else config.model.tau,
        "steps": config.max_number_of_steps,
        **{column: metrics[metric] for metric, column in _OF_DETECTORS.items() if metric in metrics},
        "flops": metrics[runs.FLOPS],
        **runs.score(config.dataset, metrics),
    }


def table(rows, dataset):
    """Lines of a Markdown table; of detectors with the share of what the deepest plain one spends."""
    name, full = list(rows[0])[-1], [row["flops"] for row in rows if row["model_type"] == "vanilla"][-1]
    detectors = configs.check_dataset(dataset)["task"] == "detection"
    yield f"| network | {runs.flops_name(dataset)}, millions |{' of the deepest |' if detectors else ''} {name} |"
    yield "|---|---|---|---|" if detectors else "|---|---|---|"
    for row in rows:
        share = f" {row['flops'] / full:.1%} |" if detectors else ""
        yield f"| {row['run']} | {row['flops'] / 1e6:.1f} |{share} {row[name]:.2%} |"


def main():
    """Flags to one call."""
    run(
        FLAGS.run_dir,
        FLAGS.vanilla_models,
        command_line.numbers_of("taus"),
        FLAGS.model_types,
        FLAGS.dataset,
        FLAGS.steps,
        FLAGS.adaptive_steps,
        FLAGS.num_examples,
        dataset_dir=FLAGS.dataset_dir,
        batch_size=FLAGS.batch_size,
        learning_rate=FLAGS.learning_rate,
        learning_rate_schedule=FLAGS.learning_rate_schedule,
        warmup_steps=FLAGS.warmup_steps,
        seed=FLAGS.seed,
        adaptive={"learning_rate": FLAGS.adaptive_learning_rate, "warmup_steps": FLAGS.adaptive_warmup_steps},
    )


# Where flags say nothing, for their help.
_DEFAULTS = "By default 1,2,3,5 (cifar), of detectors a third, two thirds and all of the units of blocks 1 to 3."

if __name__ == "__main__":
    command_line.define_path("run_dir", "runs/tradeoff", "Directory for everything that is written.")
    flags.DEFINE_list("vanilla_models", None, f"Depths of plain networks; the last becomes adaptive. {_DEFAULTS}")
    flags.DEFINE_list(
        "taus", None, "Weights of the ponder cost, >= 0; by default 0.02,0.04,0.08,0.16, of detectors fewer."
    )
    flags.DEFINE_list("model_types", ["act", "sact"], "Adaptive kinds: act, sact.")
    flags.DEFINE_enum("dataset", "cluttered_digits", list(configs.DATASETS), "Data set, of classes or of boxes.")
    command_line.define_path("dataset_dir", None, "Directory of the data set, if it is not the embedded one.")
    flags.DEFINE_integer("steps", None, "Steps of each plain training; the recipe's by default.")
    flags.DEFINE_integer(
        "adaptive_steps",
        None,
        "Steps of each adaptive training, which starts from a plain one. By default 600, of detectors the recipe's.",
    )
    flags.DEFINE_integer("batch_size", None, "Images of a step; the data set's by default.")
    flags.DEFINE_float("learning_rate", None, "At the first step; the data set's by default.")
    flags.DEFINE_string("learning_rate_schedule", None, "As of train.py; the data set's by default.")
    flags.DEFINE_integer("warmup_steps", None, "Steps over which the learning rate rises from zero.")
    flags.DEFINE_float(
        "adaptive_learning_rate", None, "Of adaptive networks; by default --learning_rate, or the recipe's."
    )
    flags.DEFINE_integer("adaptive_warmup_steps", None, "Of adaptive networks; by default --warmup_steps.")
    flags.DEFINE_integer("seed", None, "Of weights and of the order of the images.")
    flags.DEFINE_integer("num_examples", None, "Held-out images to evaluate on; all by default.")
    command_line.run(main, writes_to="run_dir")
