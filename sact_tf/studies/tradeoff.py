"""Accuracy against FLOPs: plain networks of several depths beside ACT and SACT with several weights of the ponder cost.

  python -m sact_tf.studies.tradeoff --run_dir=runs/tradeoff

Adaptive networks start from the deepest plain one, so that a short training is enough. Writes a directory for each run,
`tradeoff.csv`, `tradeoff.png` and `tradeoff.svg`, anew after each run. Started again, it goes on where it was stopped.
"""

import os

from absl import flags

from sact_tf import command_line
from sact_tf import config as configs
from sact_tf.data import pipeline
from sact_tf.progress import print_line
from sact_tf.studies import runs
from sact_tf.visualize import charts

FLAGS = flags.FLAGS


def run(
    run_dir,
    vanilla_models=("1", "2", "3", "5"),
    taus=(0.02, 0.04, 0.08, 0.16),
    model_types=("act", "sact"),
    dataset="cluttered_digits",
    steps=None,
    adaptive_steps=600,
    num_examples=None,
    log=print_line,
    adaptive=None,
    **changes,
):
    """Trains and evaluates all networks, one after the other.

    Args:
        run_dir: directory for everything that is written.
        vanilla_models: depths of the plain networks, as for `--model`; the last is what adaptive ones are made of.
        taus: floats > 0, weights of the ponder cost.
        model_types: adaptive kinds, "act" or "sact".
        dataset: name of a data set.
        steps: int, of each plain training; None for the data set's.
        adaptive_steps: int, of each adaptive training.
        num_examples: int, held-out images to evaluate on; None for all.
        log: called with lines of text.
        adaptive: dict of `TrainingConfig` fields of the adaptive runs, such as a smaller `learning_rate`, or None.
        **changes: other `TrainingConfig` fields of all runs, where `adaptive` does not say otherwise.

    Returns:
        list of dicts, the rows of `tradeoff.csv`: FLOPs are means over the images, a multiplication and an addition
        being two; the last column is the score of the task, a part of 1.

    Raises:
        ValueError: for an unknown kind of network, and before anything is trained.
    """
    _check(model_types, vanilla_models)
    configs.refuse_detector(
        dataset, "A tradeoff", "python -m sact_tf.studies.first_detection trains detectors of several --tau."
    )
    start = os.path.join(run_dir, _plain_name(vanilla_models[-1]))
    changes = {"max_number_of_steps": steps, **changes}
    adaptive = {name: value for name, value in (adaptive or {}).items() if value is not None}
    adaptive = {**changes, "max_number_of_steps": adaptive_steps, "finetune_path": start, **adaptive}
    own = _own_classes(dataset, changes)
    planned = _plan_plain(dataset, vanilla_models, own, changes)
    planned += _plan_adaptive(dataset, {"model": vanilla_models[-1], **own}, taus, model_types, adaptive)
    rows, path = [], os.path.join(run_dir, "tradeoff")
    for number, (name, config) in enumerate(planned, 1):
        log(f"== {number}/{len(planned)} {name}: {config.max_number_of_steps} steps of {config.batch_size} images")
        rows.append(_row(name, config, runs.train_and_evaluate(config, os.path.join(run_dir, name), num_examples, log)))
        runs.write_table(f"{path}.csv", rows)
        runs.save_figure(charts.tradeoff(rows, list(rows[0])[-1]), path)
    for line in table(rows):
        log(line)
    log(f"Figure: {path}.png, {path}.svg. Table: {path}.csv")
    return rows


def _check(model_types, vanilla_models):
    unknown = [kind for kind in model_types if kind not in ("act", "sact")]
    if unknown or not vanilla_models:
        raise ValueError(
            "tradeoff takes the model types act and sact and at least one plain depth. "
            f"Received: model_types={list(model_types)}, vanilla_models={list(vanilla_models)}"
        )


def _plain_name(depth):
    return f"vanilla_{depth}"


def _plan_plain(dataset, depths, network, changes):
    """List of `(name, TrainingConfig)` of a plain network of each depth."""
    models = [{**network, "model": depth, "model_type": "vanilla"} for depth in depths]
    return [
        (_plain_name(model["model"]), configs.default_training_config(dataset, model, **changes)) for model in models
    ]


def _plan_adaptive(dataset, network, taus, model_types, changes):
    """List of `(name, TrainingConfig)` of the adaptive networks, kinds side by side for each tau."""
    models = [{**network, "model_type": kind, "tau": tau} for tau in taus for kind in model_types]
    return [
        (f"{model['model_type']}_{model['tau']:g}", configs.default_training_config(dataset, model, **changes))
        for model in models
    ]


def _own_classes(dataset, changes):
    """The number of classes of data of one's own, as a dict of that `ModelConfig` field; empty if nothing says it."""
    found = pipeline.num_classes_of(dataset, changes.get("dataset_dir"))
    return {"num_classes": found} if found else {}


def _row(name, config, metrics):
    plain = config.model.model_type == "vanilla"
    return {
        "run": name,
        "model_type": config.model.model_type,
        "model": config.model.model,
        "tau": "" if plain else config.model.tau,
        "steps": config.max_number_of_steps,
        "flops": metrics[runs.FLOPS],
        **runs.score(config.dataset, metrics),
    }


def table(rows):
    """Lines of a Markdown table."""
    name = list(rows[0])[-1]
    yield f"| network | FLOPs, millions | {name} |"
    yield "|---|---|---|"
    for row in rows:
        yield f"| {row['run']} | {row['flops'] / 1e6:.1f} | {row[name]:.2%} |"


def main():
    """Flags to one call."""
    run(
        FLAGS.run_dir,
        FLAGS.vanilla_models,
        [_tau(text) for text in FLAGS.taus],
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


def _tau(text):
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"--taus takes numbers separated by commas. Received: {text!r}") from None


if __name__ == "__main__":
    command_line.define_path("run_dir", "runs/tradeoff", "Directory for everything that is written.")
    flags.DEFINE_list("vanilla_models", ["1", "2", "3", "5"], "Depths of plain networks; the last becomes adaptive.")
    flags.DEFINE_list("taus", ["0.02", "0.04", "0.08", "0.16"], "Weights of the ponder cost.")
    flags.DEFINE_list("model_types", ["act", "sact"], "Adaptive kinds: act, sact.")
    flags.DEFINE_string("dataset", "cluttered_digits", "Data set: cluttered_digits, cifar10 or imagenet.")
    command_line.define_path("dataset_dir", None, "Directory of the data set, if it is not the embedded one.")
    flags.DEFINE_integer("steps", None, "Steps of each plain training; the data set's by default.")
    flags.DEFINE_integer("adaptive_steps", 600, "Steps of each adaptive training, which starts from a plain network.")
    flags.DEFINE_integer("batch_size", None, "Images of a step; the data set's by default.")
    flags.DEFINE_float("learning_rate", None, "At the first step; the data set's by default.")
    flags.DEFINE_string("learning_rate_schedule", None, "As of train.py; the data set's by default.")
    flags.DEFINE_integer("warmup_steps", None, "Steps over which the learning rate rises from zero.")
    flags.DEFINE_float("adaptive_learning_rate", None, "Of adaptive networks; that of the plain ones by default.")
    flags.DEFINE_integer("adaptive_warmup_steps", None, "Of adaptive networks; that of the plain ones by default.")
    flags.DEFINE_integer("seed", None, "Of weights and of the order of the images.")
    flags.DEFINE_integer("num_examples", None, "Held-out images to evaluate on; all by default.")
    command_line.run(main)
