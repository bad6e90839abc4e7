"""The paper's two steps on the embedded data set, in a few minutes: a plain network, then SACT started from it.

  make train
  python -m sact_tf.studies.first_run --run_dir=runs/cluttered_digits

Writes the two runs, `results.json`, and `ponder_maps.png`: test images above the computation spent on them. Started
again, it goes on where it was stopped.
"""

import json
import os

import numpy as np
from absl import flags

from sact_tf import checkpoints, command_line, evaluation, visualize
from sact_tf import config as configs
from sact_tf.progress import print_line
from sact_tf.studies import runs
from sact_tf.tasks import task_of

FLAGS = flags.FLAGS
DATASET = "cluttered_digits"
# What the two steps of the recipe change in the data set's defaults.
VANILLA = {}
SACT = {"max_number_of_steps": 600}
NUM_PICTURES = 8


def run(run_dir, vanilla=VANILLA, sact=SACT, tau=None, num_examples=None, log=print_line):
    """Trains and evaluates both networks, draws the maps, prints a table.

    Args:
        run_dir: directory for everything that is written.
        vanilla: dict of `TrainingConfig` fields of the plain network that differ from the data set's defaults.
        sact: the same for the SACT network.
        tau: float, weight of the ponder cost; None for the data set's default.
        num_examples: int, held-out images to evaluate on; None for all.
        log: called with lines of text.

    Returns:
        dict from "vanilla" and "sact" to their metrics, see `sact_tf.evaluation.evaluate`.
    """
    started, planned, results = os.path.join(run_dir, "vanilla"), [], {}
    for model_type, changes in (("vanilla", vanilla), ("sact", sact)):
        finetune_path = None if model_type == "vanilla" else started
        model = {"model_type": model_type, **({} if tau is None else {"tau": tau})}
        config = configs.default_training_config(DATASET, model, **changes, finetune_path=finetune_path)
        planned.append((os.path.join(run_dir, model_type), config))
    runs.check(planned, num_examples)
    for directory, config in planned:
        model_type = config.model.model_type
        log(f"== Training {model_type}: {runs.length_of(config)}, {directory}")
        seconds = runs.train(config, directory, log)
        evaluated = runs.evaluation_of(config, directory, num_examples)
        results[model_type] = evaluation.evaluate(evaluated, directory, log)
        results[model_type]["Training Seconds"] = seconds
    picture = os.path.join(run_dir, "ponder_maps.png")
    _draw(config, directory, picture)
    figures = os.path.join(run_dir, "results.json")
    with runs.written(figures) as temporary, open(temporary, "w", encoding="utf-8") as file:
        json.dump(results, file, indent=2)
    for line in _table(results):
        log(line)
    log(f"Images beside their ponder maps: {picture}. Figures: {figures}. Networks: {started}, {directory}.")
    log(f"TensorBoard: tensorboard --logdir {run_dir}")
    return results


def _draw(config, directory, path):
    """Draws the first images of the held-out split above their ponder maps."""
    task = task_of(config.dataset)
    model = task.build_model(config.model, config.image_size)
    checkpoints.load(model, directory)
    source = task.open_source(config.dataset, "test", config.image_size)
    examples = {name: value.numpy() for name, value in source.read(np.arange(NUM_PICTURES)).items()}
    outputs = model(examples["image"], training=False)
    maps = visualize.ponder_map(outputs, examples["image"].shape[1:3]).numpy()
    with runs.written(path) as temporary:
        visualize.save_gallery(temporary, examples["image"], maps, examples["box"], task.captions(examples, outputs))


def _table(results):
    """Lines of a table of both networks."""
    metric, name = task_of(DATASET).SCORE
    yield f"| network | {name} | mean FLOPs | of vanilla | ponder cost inside / outside the box | training |"
    yield "|---|---|---|---|---|---|"
    full = results["vanilla"]["Total Flops/mean"]
    for network, metrics in results.items():
        flops = metrics["Total Flops/mean"]
        inside, outside = metrics.get("Ponder Cost/inside box"), metrics.get("Ponder Cost/outside box")
        ponder = f"{inside:.2f} / {outside:.2f} = {inside / outside:.2f}" if inside else "-"
        yield (
            f"| {network} | {metrics[metric]:.2%} | {flops / 1e6:.1f} M | {flops / full:.1%} | {ponder} "
            f"| {metrics['Training Seconds']:.0f} s |"
        )


def main():
    """Flags to one call."""
    run(FLAGS.run_dir, _steps(VANILLA), _steps(SACT), FLAGS.tau, FLAGS.num_examples)


def _steps(recipe):
    return recipe if FLAGS.steps is None else {**recipe, "max_number_of_steps": FLAGS.steps}


if __name__ == "__main__":
    command_line.define_path("run_dir", "runs/cluttered_digits", "Directory for everything that is written.")
    flags.DEFINE_integer("steps", None, "Steps of each of the two trainings; the recipe's by default.")
    flags.DEFINE_float("tau", None, "Weight of the ponder cost; the data set's by default.")
    flags.DEFINE_integer("num_examples", None, "Held-out images to evaluate on; all by default.")
    command_line.run(main, writes_to="run_dir")
