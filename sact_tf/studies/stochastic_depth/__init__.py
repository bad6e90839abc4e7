"""Stochastic depth against constant depth: the error of both, and the time of their training steps (Huang et al. 2016).

  python -m sact_tf.studies.stochastic_depth --run_dir=runs/stochastic_depth --models=1,2,3 --survival=0.5

Trains plain networks of several depths in both ways, evaluates them on the same images, and times a training step of
both in turns. The paper's network has 110 layers and activates after adding; ours, which activates before, has 110
layers with 18 units a block.
"""

# `plan` says which networks, `step_times` times them, `report` says what it comes to.

import os

from sact_tf import command_line
from sact_tf.layers.survival import linear_decay
from sact_tf.progress import print_line
from sact_tf.studies import runs
from sact_tf.studies.lesioned import LesionedNetwork
from sact_tf.studies.stochastic_depth import plan, report, step_times
from sact_tf.studies.store import Store, fingerprint, marks_of_data
from sact_tf.tasks import task_of
from sact_tf.training import train
from sact_tf.visualize import stochastic_depth_charts as charts


def run(
    run_dir,
    models=("1", "2", "3"),
    survival=(0.5,),
    seeds=(0,),
    dataset="cluttered_digits",
    num_examples=None,
    rounds=9,
    steps_a_round=8,
    log=print_line,
    **changes,
):
    """Trains, evaluates and times all networks, one after the other.

    Args:
        run_dir: directory for everything that is written: a run for each network, `stochastic_depth.csv`, `.txt`,
            `.png` and `.svg`, and the figures `survival`. What it has is not computed again.
        models: texts, depths as of `--model`.
        survival: floats in (0, 1), survival probabilities of the last unit; each is compared with constant depth.
        seeds: ints, of weights, images' order and draws; each is a training of every network.
        dataset: name of a data set.
        num_examples: int, held-out images to evaluate on; None for all.
        rounds: int, how often the steps of a network are timed; the median is reported.
        steps_a_round: int, training steps that are timed together, each with a draw of its own.
        log: called with lines of text.
        **changes: other `TrainingConfig` fields of all runs.

    Returns:
        list of dicts, the rows of `stochastic_depth.csv`, see `report.rows_of`.

    Raises:
        OSError, ValueError: before anything is trained, for numbers out of range, a directory that cannot be written
            or that holds runs of another configuration.
    """
    for name, value in (("rounds", rounds), ("steps_a_round", steps_a_round)):
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"`{name}` must be an int, at least 1. Received: {name}={value!r}")
    planned = plan.plan(models, survival, seeds, dataset, **changes)
    runs.check([(os.path.join(run_dir, one.name), one.config) for one in planned], num_examples)
    command_line.make_directory(run_dir, "run_dir")
    scores = {}
    for number, one in enumerate(planned, 1):
        log(f"== {number}/{len(planned)} {one.name}: {runs.length_of(one.config)}")
        directory = os.path.join(run_dir, one.name)
        with runs.in_a_study(one.config, directory, log) as told:
            train(one.config, directory, save_interval_secs=60, log=told)
        scores[one.name] = _scores(one, directory, num_examples, log)
    times = _times(planned, run_dir, rounds, steps_a_round, log)
    rows = report.rows_of(planned, scores, times)
    _write(rows, planned, run_dir, len(scores[planned[0].name]), log)
    return rows


def _scores(planned, directory, num_examples, log):
    """What the network of a run gets for each held-out image, measured once: list of floats."""
    config = runs.evaluation_of(planned.config, directory, num_examples)
    prefix = os.path.join(directory, f"model.ckpt-{planned.config.max_number_of_steps}")
    of = {"checkpoint": fingerprint(prefix)["sha256"], "num_examples": config.num_examples}
    store = Store(directory, of | marks_of_data(runs.open_data(config)))
    scores = store.read("scores")
    if scores is None:
        network = LesionedNetwork(config, log)
        total = network.source.num_examples
        answers = network.measure(progress=lambda done: log(f"evaluated {done}/{total} images"))
        scores = answers.score.tolist()
        store.write("scores", scores)
    return scores


def _times(planned, run_dir, rounds, steps_a_round, log):
    """Dict from pairs of a depth and a probability to `StepTime`s; each depth is timed once, all of it in turns."""
    times = {}
    for model in dict.fromkeys(run.model for run in planned):
        first = {}
        for one in planned:
            if one.model == model:
                first.setdefault(one.survival, one.config)
        of = {"configs": [config.to_json() for config in first.values()], "rounds": rounds, "steps": steps_a_round}
        store, name = Store(run_dir, of), f"times_{model}"
        measured = store.read(name)
        if measured is None:
            named = {"constant depth" if value == 1 else f"p_L = {value:g}": value for value in first}
            result = step_times.measure(
                {name: first[value] for name, value in named.items()}, rounds, steps_a_round, log
            )
            measured = [list(result[name]) for name in named]
            store.write(name, measured)
        for value, pair in zip(first, measured, strict=True):
            times[model, value] = step_times.StepTime(*pair)
    return times


def _write(rows, planned, run_dir, images, log):
    path = os.path.join(run_dir, "stochastic_depth")
    score = task_of(planned[0].config.dataset).SCORE[1]
    runs.write_table(f"{path}.csv", rows)
    text = report.paragraph(rows, images)
    with runs.written(f"{path}.txt") as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.write(f"{text}\n")
    runs.save_figure(charts.stochastic_depth(rows, score), path)
    deepest = max(planned, key=lambda run: sum(run.config.model.units)).config.model.units
    probabilities = dict.fromkeys(run.survival for run in planned if run.survival < 1)
    survival = os.path.join(run_dir, "survival")
    runs.save_figure(charts.survival({value: linear_decay(value, deepest) for value in probabilities}), survival)
    for line in (*report.table(rows, score), text):
        log(line)
    log(f"Figures: {path}.png, {survival}.png, both as .svg too. Table: {path}.csv")
