"""Detection in two steps on the embedded data set: a plain Faster R-CNN, then SACT ones started from it.

  make detect
  python -m sact_tf.studies.first_detection --run_dir=runs/digit_scenes

Writes a run for each network, `first_detection.csv`, and `detections.png`: test pictures with the boxes
that were found, above the computation spent on them. Started again, it goes on where it was stopped.
"""

import os

import numpy as np
from absl import flags
from PIL import Image

from sact_tf import checkpoints, command_line, visualize
from sact_tf import config as configs
from sact_tf.progress import print_line
from sact_tf.studies import runs
from sact_tf.tasks import task_of
from sact_tf.tasks.found_boxes import is_sure
from sact_tf.visualize.detections import detection_gallery

FLAGS = flags.FLAGS
DATASET = "digit_scenes"
# What the two steps of the recipe change in the data set's defaults.
VANILLA = {}
SACT = {"max_number_of_steps": 900, "learning_rate": 0.03}
TAUS = (0.03, 0.06)
NUM_PICTURES = 6


def run(run_dir, vanilla=VANILLA, sact=SACT, taus=TAUS, num_examples=None, log=print_line, **network):
    """Trains and evaluates the networks, draws boxes and maps, prints a table.

    Args:
        run_dir: directory for everything that is written.
        vanilla: dict of `TrainingConfig` fields of the plain network that differ from the data set's defaults.
        sact: the same for the SACT networks.
        taus: floats >= 0, weights of the ponder cost, a network each; at least one, each once in the six digits that
            name its directory.
        num_examples: int, held-out images to evaluate on; None for all.
        log: called with lines of text.
        **network: `ModelConfig` fields of all networks that differ from the data set's defaults.

    Returns:
        list of dicts, the rows of `first_detection.csv`.
    """
    if not taus or len({f"{tau:g}" for tau in taus}) < len(taus):
        raise ValueError(
            "`taus` must name weights of the ponder cost, a SACT network each: at least one, and none twice in six "
            f"digits. Received: taus={list(taus)}"
        )
    start = os.path.join(run_dir, "vanilla")
    planned = [(start, configs.default_training_config(DATASET, {**network, "model_type": "vanilla"}, **vanilla))]
    for tau in taus:
        model = {**network, "model_type": "sact", "tau": tau, "freeze_batch_norm": True}
        config = configs.default_training_config(DATASET, model, **sact, finetune_path=start)
        planned.append((os.path.join(run_dir, f"sact_{tau:g}"), config))
    runs.check(planned, num_examples)
    rows = []
    for directory, config in planned:
        log(f"== {directory}: {runs.length_of(config)}")
        metrics = runs.train_and_evaluate(config, directory, num_examples, log)
        rows.append(_row(os.path.basename(directory), config, metrics))
        runs.write_table(os.path.join(run_dir, "first_detection.csv"), rows)
    picture = os.path.join(run_dir, "detections.png")
    _draw(config, directory, picture)
    for line in table(rows):
        log(line)
    log(f"Boxes found by {directory} above their ponder maps: {picture}. Table: {run_dir}/first_detection.csv")
    return rows


def _row(name, config, metrics):
    return {
        "network": name,
        "tau": "" if config.model.model_type == "vanilla" else config.model.tau,
        "steps": config.max_number_of_steps,
        "mAP": metrics["DetectionBoxes_Precision/mAP"],
        "mAP@.50IOU": metrics["DetectionBoxes_Precision/mAP@.50IOU"],
        "flops": metrics[runs.FLOPS],
        "region_proposals_flops": metrics["Region Proposals Flops/mean"],
        "head_flops": metrics["Head Flops/mean"],
        "inside": metrics.get("Ponder Cost/inside box", ""),
        "outside": metrics.get("Ponder Cost/outside box", ""),
        "seconds": metrics["Training Seconds"],
    }


def table(rows):
    """Lines of a Markdown table of all networks."""
    yield "| network | mAP | mAP at .5 | extractor FLOPs | of vanilla | ponder cost inside / outside boxes | training |"
    yield "|---|---|---|---|---|---|---|"
    full = rows[0]["flops"]
    for row in rows:
        inside, outside = row["inside"], row["outside"]
        ponder = f"{inside:.2f} / {outside:.2f} = {inside / outside:.2f}" if inside else "-"
        yield (
            f"| {row['network']} | {row['mAP']:.3f} | {row['mAP@.50IOU']:.3f} | {row['flops'] / 1e6:.1f} M "
            f"| {row['flops'] / full:.1%} | {ponder} | {row['seconds']:.0f} s |"
        )


def _draw(config, directory, path):
    """Draws the first images of the held-out split with their boxes above their ponder maps."""
    task = task_of(config.dataset)
    model = task.build_model(config.model, config.image_size)
    checkpoints.load(model, directory)
    source = task.open_source(config.dataset, "test", config.image_size)
    batch = {name: value.numpy() for name, value in source.read(np.arange(NUM_PICTURES)).items()}
    outputs = {name: np.asarray(value) for name, value in model(task.inputs(batch), training=False).items()}
    maps = visualize.ponder_map(outputs, batch["image"].shape[1:3]).numpy()
    images, shown, found, there = [], [], [], []
    for number, (height, width) in enumerate(batch["image_size"]):
        images.append(batch["image"][number, :height, :width])
        shown.append(maps[number, :height, :width])
        sure = is_sure(outputs["scores"][number])
        # Class 1 is the digit 0.
        names = [str(kind - 1) for kind in outputs["classes"][number][sure]]
        found.append((outputs["boxes"][number][sure], names))
        there.append(batch["boxes"][number][batch["classes"][number] > 0])
    titles = [f"{len(boxes)} there, {len(each[0])} found" for boxes, each in zip(there, found, strict=True)]
    with runs.written(path) as temporary:
        Image.fromarray(detection_gallery(images, shown, found, there, titles)).save(temporary, "PNG")


def main():
    """Flags to one call."""
    run(FLAGS.run_dir, _steps(VANILLA), _steps(SACT), num_examples=FLAGS.num_examples)


def _steps(recipe):
    return recipe if FLAGS.steps is None else {**recipe, "max_number_of_steps": FLAGS.steps}


if __name__ == "__main__":
    command_line.define_path("run_dir", "runs/digit_scenes", "Directory for everything that is written.")
    flags.DEFINE_integer("steps", None, "Steps of each training; the recipe's by default.")
    flags.DEFINE_integer("num_examples", None, "Held-out images to evaluate on; all by default.")
    command_line.run(main, writes_to="run_dir")
