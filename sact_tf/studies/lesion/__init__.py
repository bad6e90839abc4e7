"""What a trained network says without some of its units, and with them in another order (Veit et al. 2016).

  python -m sact_tf.studies.lesion --checkpoint_dir=runs/cluttered_digits/vanilla --run_dir=runs/lesion

Deletes each unit alone, and some at random; lets units change places; measures how much gradient paths of each length
carry. Each result is kept as soon as it is there. Several networks, `--checkpoint_dirs=a,b,c`, are drawn over each
other.
"""

# `lesions` says what is done, `measuring` does it, `record` keeps it, and `findings` says what it comes to.

import os

from sact_tf import command_line
from sact_tf.progress import print_line
from sact_tf.studies import runs
from sact_tf.studies.lesion import checks, findings, lesions
from sact_tf.studies.lesion.measuring import Countdown, Session
from sact_tf.studies.lesion.outcomes import path_rows_of, rows_of
from sact_tf.studies.lesion.record import Record, identity_of
from sact_tf.studies.lesioned import LesionedNetwork
from sact_tf.visualize import lesion_charts

# The paper deletes up to 20 of 54 units; more of either are on demand.
MOST_UNITS = MOST_SWAPS = 20


def run(
    split_configs,
    run_dir,
    experiments=None,
    counts=None,
    swaps=None,
    draws=10,
    seed=0,
    gradient_draws=20,
    gradient_images=32,
    log=print_line,
):
    """Hurts each network in each way, and writes `lesion.csv`, `paths.csv`, `lesion.txt` and the figures.

    Args:
        split_configs: list of `SplitConfig`, a network each, on the same images.
        run_dir: directory for everything that is written. What it has of the same network on the same images is not
            measured again; what it has of others stays.
        experiments: some of `checks.EXPERIMENTS`; None for all that are possible.
        counts: ints, units that are deleted at random; None for 1, 2, ... to 20, or to all but one.
        swaps: ints, pairs of units that change places; None for 1, 2, ... to 20, or to all pairs that may.
        draws: int, lesions for each of these numbers.
        seed: int, of what is drawn.
        gradient_draws: int, paths of each length.
        gradient_images: int, images that the gradient of a path is measured on.
        log: called with lines of text.

    Returns:
        list of `outcomes.Outcome`, one a network.

    Raises:
        OSError, ValueError: before anything is computed, for a checkpoint that is not there or does not fit,
            numbers that the networks do not have, networks that cannot be compared, or a directory that cannot be
            written.
    """
    checks.check_numbers(draws, gradient_draws, gradient_images, seed)
    wanted = checks.check_experiments(experiments)
    checks.check_data(split_configs)
    checks.check_counts(counts, swaps, split_configs)
    labels = checks.labels_of(split_configs)
    work = []
    for label, config in zip(labels, split_configs, strict=True):
        network = LesionedNetwork(config, log)
        possible = _possible(wanted, network, label, experiments is not None, log)
        if "reorder" in possible:
            checks.check_swaps(swaps, network, label)
        todo = _plan(network, possible, counts, swaps, draws, seed)
        paths = _paths(network, gradient_draws) if "gradient" in possible else []
        work.append((label, network, todo, paths))
    command_line.make_directory(run_dir, "run_dir")
    sessions = [
        Session(label, network, _record(run_dir, label, network), todo, paths, seed, gradient_images)
        for label, network, todo, paths in work
    ]
    countdown = Countdown(sum(session.work() for session in sessions))
    score, outcomes = sessions[0].network.task.SCORE[1], []
    while sessions:
        # Each is let go when it is done, and with it the images that it keeps.
        outcomes.append(sessions.pop(0).measure(countdown, log))
        rows, paths = _write(run_dir, outcomes, score)
    _draw(run_dir, rows, paths, score)
    for text in texts(outcomes, score):
        log(text)
    log(f"Tables and figures: {os.path.join(run_dir, 'lesion')}*, {os.path.join(run_dir, 'paths')}*")
    return outcomes


def texts(outcomes, score):
    """The paragraphs, one a network and one that compares them."""
    paragraphs = [findings.paragraph(outcome, score) for outcome in outcomes]
    compared = findings.comparison(outcomes, score)
    return paragraphs + [compared] * bool(compared)


def _possible(experiments, network, label, asked_for, log):
    """The experiments, of those given, that make sense for a network; the log says why others are left out."""
    possible = []
    for experiment in experiments:
        makes_sense, text = checks.possible(experiment, network, label, asked_for)
        possible += [experiment] * makes_sense
        if text:
            log(text)
    return possible


def _paths(network, gradient_draws):
    """The paths whose gradients are measured, `(length, draw)`: as many of each length."""
    return [(length, draw) for draw in range(gradient_draws) for length in range(sum(network.units.values()) + 1)]


def _plan(network, experiments, counts, swaps, draws, seed):
    """The lesions of a network, without the gradients."""
    units, made = network.units, []
    if "delete" in experiments:
        made += lesions.each_unit(units)
    if "delete_random" in experiments:
        counts = counts or range(1, max(1, min(MOST_UNITS, sum(units.values()) - 1)) + 1)
        made += lesions.random_units(units, counts, draws, seed)
    if "reorder" in experiments:
        groups = lesions.exchangeable(network.blocks)
        swaps = swaps or range(1, min(MOST_SWAPS, len(lesions.pairs_of(groups))) + 1)
        made += lesions.random_orders(units, groups, swaps, draws, seed)
    return made


def _record(run_dir, label, network):
    return Record(run_dir, label, identity_of(network.config, network.source))


def _write(run_dir, outcomes, score):
    """Writes the tables and the text of the networks that are done; returns the rows of both tables."""
    rows = [row for outcome in outcomes for row in rows_of(outcome, score)]
    runs.write_table(os.path.join(run_dir, "lesion.csv"), rows)
    paths = [row for outcome in outcomes for row in path_rows_of(outcome)]
    if paths:
        runs.write_table(os.path.join(run_dir, "paths.csv"), paths)
    with (
        runs.written(os.path.join(run_dir, "lesion.txt")) as temporary,
        open(temporary, "w", encoding="utf-8", errors="backslashreplace") as file,
    ):
        file.write("\n\n".join(texts(outcomes, score)) + "\n")
    return rows, paths


def _draw(run_dir, rows, paths, score):
    charts = {
        "delete": lesion_charts.single_deletions,
        "delete_random": lesion_charts.random_deletions,
        "reorder": lesion_charts.reorderings,
    }
    for experiment, chart in charts.items():
        if any(row["experiment"] == experiment for row in rows):
            runs.save_figure(chart(rows, score), os.path.join(run_dir, f"lesion_{experiment}"))
    if paths:
        runs.save_figure(lesion_charts.paths(paths), os.path.join(run_dir, "paths"))
