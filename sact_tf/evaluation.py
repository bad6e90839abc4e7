"""Evaluation of a checkpoint: accuracy, loss, FLOPs and ponder cost over a whole split, under the release's names."""

import dataclasses
import os

import numpy as np
import tensorflow as tf

from sact_tf import checkpoints, flops, losses, report, visualize
from sact_tf.data import pipeline
from sact_tf.metrics import Moments
from sact_tf.models.build import build_model
from sact_tf.session import Timer
from sact_tf.survey import Survey
from sact_tf.training import CONFIG_FILE, print_line, read_config
from sact_tf.visualize import box_mask, ponder_map

# What is reported of each figure of a block.
_KEYS = {"flops": ("mean", "std"), "ponder_cost": ("mean", "std"), "num_units": ("mean", "std", "max")}

# Images of which heat maps are made.
_SHOWN = 8


def evaluate_run(config, log=print_line):
    """Evaluates the latest checkpoint of a run and prints its metrics; then, unless told to do it once, each new one.

    Waits for a checkpoint where there is none yet, returns after the run's last step or on an interrupt (Ctrl-C).

    Args:
        config: `EvaluationConfig`.
        log: called with lines of text.

    Returns:
        The metrics of the last evaluation, see `evaluate`, or None if there was none.

    Raises:
        FileNotFoundError, ValueError: as `sact_tf.load_release_checkpoint`.
    """
    results = None
    if config.report_dir:
        report.check_directory(config.report_dir)
    try:
        for checkpoint in _checkpoints(config, log):
            results = _evaluate_and_show(config, checkpoint, log)
            for name, value in results.items():
                log(f"{name}[{report.show(value)}]")
    except KeyboardInterrupt:
        log("Stopped.")
    return results


def _checkpoints(config, log):
    """Yields the prefix of the latest checkpoint, again whenever there is a new one, until the run is complete."""
    if config.evaluate_once or os.path.exists(f"{config.checkpoint_dir}.index"):
        yield checkpoints.checkpoint_prefix(config.checkpoint_dir)
        return
    if tf.train.latest_checkpoint(config.checkpoint_dir) is None:
        log(f"Waiting for a checkpoint in {config.checkpoint_dir}")
    for prefix in tf.train.checkpoints_iterator(config.checkpoint_dir, min_interval_secs=config.eval_interval_secs):
        yield prefix
        if _is_complete(config.checkpoint_dir, prefix):
            return


def _is_complete(directory, checkpoint):
    """Whether a checkpoint is of the last step of our run; of the release's runs nothing says so."""
    if not os.path.exists(os.path.join(directory, CONFIG_FILE)):
        return False
    return _step(checkpoint) >= read_config(directory).max_number_of_steps


def _step(checkpoint):
    """The step in a checkpoint's name, `model.ckpt-<step>`; 0 where there is none."""
    text = checkpoint.rpartition("-")[2]
    return int(text) if text.isdigit() else 0


def _evaluate_and_show(config, checkpoint, log):
    """Metrics of a checkpoint, which are also written for TensorBoard, with pictures, and as a report if asked for."""
    model, source = _prepare(config, checkpoint, log)
    seen = Survey(model)
    with pipeline.plain_errors():
        results = evaluate_model(model, source, config.batch_size, log, config.skip_bad_records, seen)
        shown = next(iter(pipeline.evaluation_batches(source, min(config.batch_size, _SHOWN), config.skip_bad_records)))
    writer = tf.summary.create_file_writer(config.eval_dir)
    with writer.as_default(step=_step(checkpoint)):
        for name, value in results.items():
            tf.summary.scalar(name, value)
        visualize.write_pictures(model, shown["image"], model(shown["image"], training=False))
        if seen.num_units:
            tf.summary.histogram("Total Flops", seen.flops)
            for name, counts in seen.num_units.items():
                tf.summary.histogram(f"{name}/num_units", _values(counts))
    writer.close()
    if config.report_dir:
        title = f"{config.model.model_type} {config.model.network} {config.model.model} on {config.dataset}"
        path = report.write(config.report_dir, title, results, _plain(config, log), seen, _settings(config, checkpoint))
        log(f"Report: {path}")
    return results


def _values(counts):
    """About 10,000 values, or as many as there are, distributed like the counted ones."""
    share = min(1.0, 1e4 / max(1, counts.sum()))
    return np.repeat(np.arange(len(counts)), np.ceil(counts * share).astype(np.int64))


def _plain(config, log):
    """FLOPs of the plain network of the same size, and its evaluation where the report names its checkpoint."""
    plain = dataclasses.replace(config.model, model_type="vanilla")
    network = build_model(plain, config.image_size)
    blank = np.zeros((1, config.image_size, config.image_size, 3), np.float32)
    metrics = None
    if config.report_vanilla_dir:
        log(f"Evaluating the plain network: {config.report_vanilla_dir}")
        metrics = evaluate(dataclasses.replace(config, model=plain), config.report_vanilla_dir, log)
    return {"flops": int(flops.count(network, network(blank, training=False))["flops"][0]), "metrics": metrics}


def _settings(config, checkpoint):
    settings = dataclasses.asdict(config)
    settings.update(settings.pop("model"), checkpoint=checkpoint)
    return settings


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
    model, source = _prepare(config, checkpoint, log)
    with pipeline.plain_errors():
        return evaluate_model(model, source, config.batch_size, log, config.skip_bad_records)


def _prepare(config, checkpoint, log):
    """The network with the checkpoint's weights, and the data."""
    model = build_model(config.model, config.image_size)
    checkpoints.load_release_checkpoint(model, checkpoint)
    if config.use_moving_average:
        checkpoints.load_averages(model, checkpoint)
    source = pipeline.open_source(
        config.dataset, config.split_name, config.image_size, config.num_examples, config.dataset_dir, log
    )
    return model, source


def evaluate_model(model, source, batch_size, log=None, skip_bad_records=0, survey=None):
    """Evaluates a `Classifier` on a `Source`, without its damaged records if that is allowed; see `evaluate`.

    A `Survey` is given every batch too.
    """
    moments = {}

    @tf.function(reduce_retracing=True)
    def step(batch):
        outputs = model(batch["image"], training=False)
        outputs.update(flops.count(model, outputs))
        return _observations(model, batch, outputs), Survey.wanted(outputs) if survey else {}

    done, timer = 0, Timer(10)
    for batch in pipeline.evaluation_batches(source, batch_size, skip_bad_records, log):
        observations, outputs = step(batch)
        for name, values in observations.items():
            moments.setdefault(name, Moments(name.replace("/", "_"))).update_state(values)
        if survey:
            survey.add(batch, outputs)
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
