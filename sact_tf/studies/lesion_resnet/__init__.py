"""LesionResNet: is the place where an adaptive network computes worth anything?

  python -m sact_tf.studies.lesion_resnet --adaptive_dir=runs/sact --vanilla_dir=runs/vanilla

A trained plain network is made to spend the FLOPs of an adaptive one, block by block, without deciding anything from
the image; and the adaptive network itself is made to compute in other places than it would. Kinds:

  deepest           the last units of each block go
  random            random units go
  least_harm        the unit goes first whose deletion costs least on training images, then the next
  random_images     each image runs a number of units drawn from the adaptive network's own
  random_positions  each position does, independently
  shuffled_maps     each image has the maps of another one: real shapes, wrong places
  mean_map          all images have the mean map of training images: a centre prior

The last four with the plain network's weights and with the adaptive network's own, whose halting distributions move
with the maps. All as they are, and with the plain network fine-tuned under the kind, in the way and for as many steps
as the adaptive network was trained.

What is matched is the FLOPs of the units of each block, within 1 % by whole units where that can be, else by a share
of the images that run a unit more; then whole units below and above are measured as well. Training images of
least_harm and mean_map: the first of the train split, prepared as for evaluation.

Writes a file for each measurement, the runs of fine-tuning, `lesion_resnet.csv`, `lesion_resnet.md` (the table and a
paragraph that says what the figures do), `lesion_resnet.png` and `lesion_resnet.svg`. Started again, it goes on where
it was stopped.
"""

import os
import time

from sact_tf import command_line
from sact_tf.data.whole_files import write_atomically
from sact_tf.progress import duration, print_line
from sact_tf.studies import runs
from sact_tf.studies.lesion_resnet import report
from sact_tf.studies.lesion_resnet.inputs import KINDS, check
from sact_tf.studies.lesion_resnet.measuring import FINE_TUNED, Measurements, planned
from sact_tf.studies.lesion_resnet.networks import Networks
from sact_tf.studies.store import Store, fingerprint, marks_of_data
from sact_tf.tasks import task_of
from sact_tf.visualize import lesion_resnet_chart

__all__ = ["KINDS", "run"]


def run(
    adaptive_dir,
    vanilla_dir,
    run_dir,
    kinds=None,
    seeds=3,
    num_examples=None,
    train_examples=1000,
    fine_tune_steps=None,
    log=print_line,
):
    """Measures all kinds.

    Args:
        adaptive_dir: directory of a trained act or sact run.
        vanilla_dir: directory of a trained plain run of the same shape.
        run_dir: directory for everything that is written.
        kinds: names of `KINDS`; None for all that the adaptive network has.
        seeds: int, draws of the kinds that are drawn.
        num_examples: int, held-out images to evaluate on; None for all.
        train_examples: int, images of the train split for least_harm and mean_map.
        fine_tune_steps: int, steps of fine-tuning a kind; None for as many as the adaptive run had, 0 for none.
        log: called with lines of text.

    Returns:
        list of dicts, the rows of `lesion_resnet.csv`, see `report.rows_of`; the adaptive network is the first.

    Raises:
        FileNotFoundError, ValueError: before anything is computed, if a run is not there, is of another type than it
            should be, or the two are of different shapes; for numbers and kinds that are none.
        OSError: if `run_dir` cannot be written.
    """
    inputs = check(adaptive_dir, vanilla_dir, kinds, seeds, num_examples, train_examples, fine_tune_steps)
    results = os.path.join(run_dir, "results")
    command_line.make_directory(results, "run_dir")
    if inputs.left_out:
        log(f"An ACT network decides once an image and has no positions: {', '.join(inputs.left_out)} are left out.")
    store = Store(results, _all_depends_on(inputs))
    measurements = Measurements(inputs, Networks(inputs, log), store, run_dir, log)
    adaptive = measurements.adaptive()
    measured = _measure(measurements, planned(inputs), log)
    rows = report.rows_of(adaptive, measured, inputs.adaptive.model.model_type, inputs.fine_tune_steps)
    _write(os.path.join(run_dir, "lesion_resnet"), rows, adaptive, inputs, log)
    return rows


def _all_depends_on(inputs):
    asked = (inputs.num_examples, None, None), (inputs.train_examples, None, "train")
    data = [runs.open_data(runs.evaluation_of(inputs.adaptive, inputs.adaptive_prefix, *each)) for each in asked]
    return {
        **marks_of_data(*data),
        "adaptive": fingerprint(inputs.adaptive_prefix),
        "vanilla": fingerprint(inputs.plain_prefix),
        "dataset": inputs.adaptive.dataset,
        "num_examples": inputs.num_examples,
        "train_examples": inputs.train_examples,
    }


def _measure(measurements, items, log):
    """Pairs of each item and its rows; says how it goes on."""
    found = [(item, measurements.read(item)) for item in items]
    left = [item for item, rows in found if rows is None]
    if len(left) < len(items):
        log(f"Already measured: {len(items) - len(left)} of {len(items)}")
    seconds, done = {}, {}
    for number, item in enumerate(left):
        log(f"== {len(items) - len(left) + number + 1}/{len(items)} {item.kind}, {item.weights}, draw {item.draw + 1}")
        started = time.monotonic()
        done[item] = measurements.measure(item)
        seconds.setdefault(item.weights == FINE_TUNED, []).append(time.monotonic() - started)
        log(_progress(done[item], left[number + 1 :], seconds))
    return [(item, done[item] if rows is None else rows) for item, rows in found]


def _progress(rows, left, seconds):
    """A line: what came out, and the time that is left, by what others of their sort took on the mean."""
    text = ", ".join(f"{row['match']} {sum(row['scores']) / len(row['scores']):.2%}" for row in rows)
    waiting = [item.weights == FINE_TUNED for item in left]
    known = sum(sum(took) / len(took) * waiting.count(sort) for sort, took in seconds.items())
    unknown = "" if True in seconds or True not in waiting else f" and {waiting.count(True)} with fine-tuning"
    return f"{text}; {duration(known)}{unknown} left"


def _write(path, rows, adaptive, inputs, log):
    score = task_of(inputs.adaptive.dataset).SCORE[1]
    runs.write_table(f"{path}.csv", rows)
    runs.save_figure(lesion_resnet_chart.lesion_resnet(rows, score), path)
    lines = list(report.table(rows, score))
    said = report.paragraph(rows, adaptive, score, inputs.left_out)
    write_atomically(f"{path}.md", ["\n".join([*lines, "", said, ""]).encode()])
    for line in (*lines, said):
        log(line)
    log(f"Figure: {path}.png, {path}.svg. Table: {path}.csv. Text: {path}.md")
