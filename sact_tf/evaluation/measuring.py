"""Measures a checkpoint over a whole split; figures have the release's names."""

import tensorflow as tf

from sact_tf import checkpoints, flops, losses
from sact_tf.data import pipeline
from sact_tf.evaluation.metrics import Moments
from sact_tf.evaluation.record import Record
from sact_tf.models.build import build_model
from sact_tf.progress import Timer
from sact_tf.visualize import box_mask, ponder_map

# What is reported of each figure of a block.
_KEYS = {"flops": ("mean", "std"), "ponder_cost": ("mean", "std"), "num_units": ("mean", "std", "max")}


def evaluate(config, checkpoint, log=None):
    """Evaluates one checkpoint.

    Args:
        config: `EvaluationConfig`; its directories are not used.
        checkpoint: prefix or directory, ours or the release's.
        log: called with a line of text while it goes on, or None.

    Returns:
        dict from the release's metric names to floats: `eval/Accuracy`, `eval/Recall@5` (only with more than ten
        classes), `eval/Mean Loss`, `Total Flops/mean` and `/std`, and for each block `<block>/flops_mean`, `_std`,
        `<block>/ponder_cost_mean`, `_std`, `<block>/num_units_mean`, `_std`, `_max`. Deviations are over the whole
        set. Where the data set marks objects, for SACT, `Ponder Cost/inside box` and `/outside box`: mean over
        pixels of the ponder cost summed over blocks.

    Raises:
        FileNotFoundError, ValueError: as `sact_tf.load_release_checkpoint`.
    """
    model, source = prepare(config, checkpoint, log)
    with pipeline.plain_errors():
        return evaluate_model(model, source, config.batch_size, log, config.skip_bad_records)


def prepare(config, checkpoint, log):
    """The network with the checkpoint's weights, and the data."""
    model = build_model(config.model, config.image_size)
    checkpoints.load_release_checkpoint(model, checkpoint)
    if config.use_moving_average:
        checkpoints.load_averages(model, checkpoint)
    source = pipeline.open_source(
        config.dataset, config.split_name, config.image_size, config.num_examples, config.dataset_dir, log
    )
    return model, source


def evaluate_model(model, source, batch_size, log=None, skip_bad_records=0, record=None):
    """Evaluates a `Classifier` on a `Source`, without its damaged records if that is allowed; see `evaluate`.

    A `Record` is given every batch too.
    """
    moments = {}

    @tf.function(reduce_retracing=True)
    def step(batch):
        outputs = model(batch["image"], training=False)
        outputs.update(flops.count(model, outputs))
        return _observations(model, batch, outputs), Record.wanted(outputs) if record else {}

    done, timer = 0, Timer(10)
    for batch in pipeline.evaluation_batches(source, batch_size, skip_bad_records, log):
        observations, outputs = step(batch)
        for name, values in observations.items():
            moments.setdefault(name, Moments(name.replace("/", "_"))).update_state(values)
        if record:
            record.add(batch, outputs)
        done += len(batch["label"])
        if log and (done == source.num_examples or timer.is_due()):
            log(f"evaluated {done}/{source.num_examples} images")
    results = {name: {key: float(value) for key, value in moments[name].result().items()} for name in moments}
    return _metrics(model, results)


def _observations(model, batch, outputs):
    """Returns a dict from a figure's name to its values in one batch, one per image or per position."""
    logits, labels = outputs["logits"], batch["label"]
    cross_entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
    observations = {
        "accuracy": tf.cast(tf.argmax(logits, axis=-1) == labels, tf.float32),
        "recall": tf.cast(tf.math.in_top_k(labels, logits, min(5, model.num_classes)), tf.float32),
        "cross_entropy": cross_entropy,
        "Total Flops": outputs["flops"],
    }
    for name in model.blocks:
        for figure in _KEYS:
            if f"{name}/{figure}" in outputs:
                observations[f"{name}/{figure}"] = outputs[f"{name}/{figure}"]
    if "box" in batch and model.backbone.model_type == "sact":
        size = batch["image"].shape[1:3]
        cost = ponder_map(outputs, size)
        inside = box_mask(batch["box"], size)
        observations["inside box"] = tf.boolean_mask(cost, inside)
        observations["outside box"] = tf.boolean_mask(cost, tf.logical_not(inside))
    return observations


def _metrics(model, results):
    """Names the figures as the release does."""
    blocks = {name: [figure for figure in _KEYS if f"{name}/{figure}" in results] for name in model.blocks}
    ponder = sum(results[f"{name}/ponder_cost"]["mean"] for name in blocks if "ponder_cost" in blocks[name])
    regularization = float(losses.regularization_loss(model))
    metrics = {"eval/Accuracy": results["accuracy"]["mean"]}
    if model.num_classes > 10:
        metrics["eval/Recall@5"] = results["recall"]["mean"]
    metrics["eval/Mean Loss"] = results["cross_entropy"]["mean"] + model.tau * ponder + regularization
    metrics.update({f"Total Flops/{key}": results["Total Flops"][key] for key in ("mean", "std")})
    for name, figures in blocks.items():
        for figure in figures:
            metrics.update({f"{name}/{figure}_{key}": results[f"{name}/{figure}"][key] for key in _KEYS[figure]})
    for place in ("inside box", "outside box"):
        if place in results:
            metrics[f"Ponder Cost/{place}"] = results[place]["mean"]
    return metrics
