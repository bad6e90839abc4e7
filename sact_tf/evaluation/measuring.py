"""Measures a checkpoint over a whole split; figures have the release's names."""

import dataclasses

import tensorflow as tf

from sact_tf import flops, losses
from sact_tf.data import pipeline, trained_classes
from sact_tf.evaluation import inference
from sact_tf.evaluation.metrics import Moments
from sact_tf.progress import Timer
from sact_tf.tasks import class_names_of, inputs_of, task_of
from sact_tf.visualize import box_mask, ponder_map

# What is reported of each figure of a block.
_KEYS = {"flops": ("mean", "std"), "ponder_cost": ("mean", "std"), "num_units": ("mean", "std", "max")}


def evaluate(config, checkpoint, log=None, strategy=None):
    """Evaluates one checkpoint.

    Args:
        config: `EvaluationConfig`; its directories are not used.
        checkpoint: prefix or directory, ours or the release's.
        log: called with a line of text while it goes on, or None.
        strategy: `tf.distribute.Strategy` whose replicas share each batch; None for one device. Figures do not depend
            on it.

    Returns:
        dict from metric names to floats: those of the task (for classification `eval/Accuracy`, `eval/Recall@5` with
        more than ten classes, `eval/Mean Loss`), `Total Flops/mean` and `/std`, for each block `<block>/flops_mean`,
        `_std`, `<block>/ponder_cost_mean`, `_std`, `<block>/num_units_mean`, `_std`, `_max`. Deviations are over the
        whole set. Where the data set marks objects, for SACT, `Ponder Cost/inside box` and `/outside box`: mean over
        pixels of the ponder cost summed over blocks.

    Raises:
        FileNotFoundError, ValueError: as `sact_tf.load_release_checkpoint`, and `trained_classes.check`.
    """
    task, model, source = prepare(config, checkpoint, log, strategy)
    with pipeline.plain_errors():
        return evaluate_model(task, model, source, config.batch_size, log, config.skip_bad_records, strategy=strategy)


def prepare(config, checkpoint, log, strategy=None):
    """The task of an `EvaluationConfig`, the model with the checkpoint's weights, and the data."""
    task = task_of(config.dataset)
    chosen = dataclasses.replace(config, checkpoint_dir=checkpoint)
    model = inference.load_model(chosen, config.image_size, strategy)
    source = task.open_source(
        config.dataset, config.split_name, config.image_size, config.num_examples, config.dataset_dir, log
    )
    pipeline.check_classes(source, config, log)
    trained_classes.check(checkpoint, class_names_of(task, source, config), log)
    return task, model, source


def evaluate_model(task, model, source, batch_size, log=None, skip_bad_records=0, record=None, strategy=None):
    """Evaluates a model on a `Source`, without its damaged records if that is allowed; see `evaluate`.

    A `Record` is given every batch too. ValueError if no image is left.
    """
    moments = {}

    collected = task.collect(model, source) if hasattr(task, "collect") else None

    def forward(inputs):
        outputs = model(inputs, training=False)
        counts = flops.count(model, outputs)
        # The features are the bulk of it, and nothing is measured of them.
        return {**{name: value for name, value in outputs.items() if name not in model.blocks}, **counts}

    compute = inference.over_replicas(forward, strategy, reduce_retracing=True)

    @tf.function(autograph=False, reduce_retracing=True)
    def measure(batch, outputs):
        return {**task.measure(model, batch, outputs), **_measure_computation(model, batch, outputs)}

    done, timer = 0, Timer(10)
    for batch in pipeline.evaluation_batches(source, batch_size, skip_bad_records, log):
        outputs = compute(inputs_of(task, batch))
        for name, values in measure(batch, outputs).items():
            # A batch without a box has no pixel in one.
            if tf.size(values):
                moments.setdefault(name, Moments(name.replace("/", "_"))).update_state(values)
        for each in filter(None, (record, collected)):
            each.add(batch, outputs)
        done += len(batch["image"])
        if log and (done == source.num_examples or timer.is_due()):
            log(f"evaluated {done}/{source.num_examples} images")
    if not done:
        raise ValueError("All images were damaged and left out; there is nothing to measure.")
    if log and done < source.num_examples:
        log(f"evaluated {done}/{source.num_examples} images, {source.num_examples - done} damaged left out")
    metrics = _metrics(task, model, {name: _as_floats(each.result()) for name, each in moments.items()})
    return metrics if collected is None else {**collected.metrics(), **metrics}


def _as_floats(result):
    return {key: float(value) for key, value in result.items()}


def _measure_computation(model, batch, outputs):
    """Dict from a figure's name to its values in one batch, one an image or a position."""
    values = {"Total Flops": outputs["flops"]}
    for name in model.blocks:
        for figure in _KEYS:
            if f"{name}/{figure}" in outputs:
                values[f"{name}/{figure}"] = _of_picture(name, outputs[f"{name}/{figure}"], outputs)
    if "box" in batch and model.backbone.model_type == "sact":
        size = batch["image"].shape[1:3]
        cost = ponder_map(outputs, size)
        inside = box_mask(batch["box"], size)
        values["inside box"] = tf.boolean_mask(cost, inside)
        values["outside box"] = tf.boolean_mask(cost, tf.logical_not(inside))
    return values


def _of_picture(block, values, outputs):
    """Values of positions that are no padding: those have run a unit at least. Values of whole images stay."""
    return tf.boolean_mask(values, outputs[f"{block}/num_units"] > 0) if values.shape.rank == 3 else values


def _metrics(task, model, moments):
    """Names the figures as the release does."""
    blocks = {name: [figure for figure in _KEYS if f"{name}/{figure}" in moments] for name in model.blocks}
    ponder = sum(moments[f"{name}/ponder_cost"]["mean"] for name in blocks if "ponder_cost" in blocks[name])
    other_losses = model.tau * ponder + float(losses.regularization_loss(model))
    metrics = task.metrics(model, moments, other_losses)
    metrics.update({f"Total Flops/{key}": moments["Total Flops"][key] for key in ("mean", "std")})
    for name, figures in blocks.items():
        for figure in figures:
            metrics.update({f"{name}/{figure}_{key}": moments[f"{name}/{figure}"][key] for key in _KEYS[figure]})
    for place in ("inside box", "outside box"):
        if place in moments:
            metrics[f"Ponder Cost/{place}"] = moments[place]["mean"]
    return metrics
