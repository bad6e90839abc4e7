"""How an evaluation is shown: events for TensorBoard, with pictures, and a report as one HTML page."""

import contextlib
import dataclasses
import os

import numpy as np
import tensorflow as tf

from sact_tf import checkpoints, flops
from sact_tf.config import CONFIG_FILE, beyond_weights, read_config, run_directory
from sact_tf.data import pipeline, trained_classes
from sact_tf.evaluation import advice, inference, page
from sact_tf.evaluation.measuring import evaluate, evaluate_model, prepare
from sact_tf.evaluation.record import Record
from sact_tf.progress import reason_of
from sact_tf.tasks import class_names_of, inputs_of

# Images of which heat maps are made.
_SHOWN = 8


class NotShown(OSError):
    """Metrics that were computed, `metrics`, and could not be written."""

    def __init__(self, message, metrics):
        super().__init__(message)
        self.metrics = metrics


def check(config):
    """Before anything is computed: can what an evaluation shows be written, and does the plain network's run fit?

    Raises:
        OSError: if a directory cannot be written.
        FileNotFoundError, ValueError: if `report_vanilla_dir` has no checkpoint, or one of another network.
    """
    page.check_directory(config.eval_dir, "eval_dir")
    if not config.report_dir:
        return
    page.check_directory(config.report_dir, "report_dir")
    if config.report_vanilla_dir:
        try:
            inference.load_model(_plain_config(config), config.image_size)
        except ValueError as error:
            raise ValueError(
                "--report_vanilla_dir must be a run of the plain network (--model_type=vanilla) that is otherwise as "
                f"the one that is evaluated. {error}"
            ) from error


def evaluate_and_show(config, checkpoint, log, strategy=None):
    """Metrics of a checkpoint, which are also written for TensorBoard, with pictures, and as a report if asked for.

    Returns:
        `(metrics, remarks)`: dict, and the sentences of `advice`.

    Raises:
        NotShown: if they were computed and cannot be written, or the plain network's run is not there any more.
        FileNotFoundError, ValueError: as `evaluate`.
    """
    task, model, source = prepare(config, checkpoint, log, strategy)
    names = class_names_of(task, source, config)
    if config.report_dir and config.report_vanilla_dir:
        # Its evaluation comes last, and what it would refuse then is known now.
        trained_classes.check(config.report_vanilla_dir, names)
    seen = Record(task, model, names=names or None)
    with pipeline.plain_errors():
        results = evaluate_model(task, model, source, config.batch_size, log, config.skip_bad_records, seen, strategy)
        shown = next(iter(pipeline.evaluation_batches(source, min(config.batch_size, _SHOWN), config.skip_bad_records)))
    with _written(config.eval_dir, "eval_dir", results):
        _write_events(config, checkpoint, task, model, results, shown, seen)
    remarks = []
    if config.model.model_type != "vanilla":
        remarks = advice.about_depth(model) + advice.remarks(model, results, np.mean(seen.most_flops))
    if config.report_dir:
        title = f"{config.model.model_type} {config.model.network} {config.model.model} on {config.dataset}"
        try:
            plain = _plain(task, config, seen.sizes, log)
        except (OSError, ValueError) as error:
            raise NotShown(f"There is no report, as the plain network was not evaluated. {error}", results) from error
        settings = _settings(config, checkpoint)
        with _written(config.report_dir, "report_dir", results):
            path = page.write(config.report_dir, title, task, results, plain, seen, settings, remarks)
        log(f"Report: {path}")
    return results, remarks


@contextlib.contextmanager
def _written(directory, flag, results):
    """Context in which files are written; what cannot be written ends in a `NotShown`."""
    try:
        yield
    except (tf.errors.OpError, OSError) as error:
        # On a full disk the first line is the reason; the others say what TensorFlow's writer did about it.
        reason = reason_of(str(error).split("\n")[0])[:300]
        raise NotShown(
            f"Files in {directory} cannot be written: {reason}. Make space, or give another --{flag}.", results
        ) from error


def _write_events(config, checkpoint, task, model, results, shown, seen):
    writer = tf.summary.create_file_writer(config.eval_dir)
    with writer.as_default(step=checkpoints.step_of(checkpoint)):
        for name, value in results.items():
            tf.summary.scalar(name, value)
        task.write_pictures(model, shown, model(inputs_of(task, shown), training=False))
        if seen.num_units:
            tf.summary.histogram("Total Flops", seen.flops)
            for name, counts in seen.num_units.items():
                tf.summary.histogram(f"{name}/num_units", _values(counts))
    writer.close()


def _values(counts):
    """About 10,000 values, or as many as there are, distributed like the counted ones."""
    share = min(1.0, 1e4 / max(1, counts.sum()))
    return np.repeat(np.arange(len(counts)), np.ceil(counts * share).astype(np.int64))


def _plain(task, config, sizes, log):
    """Mean FLOPs of the plain network on images of these sizes, and its evaluation if the report names a checkpoint."""
    plain = dataclasses.replace(config.model, model_type="vanilla")
    network = task.build_model(plain, config.image_size)
    counted = flops.count(network, {"image_size": np.array(sizes, np.int32)})["flops"]
    metrics = None
    if config.report_vanilla_dir:
        metrics = _plain_metrics(config, log)
    return {"flops": float(np.mean(counted)), "metrics": metrics}


def _plain_metrics(config, log):
    """The evaluation of the plain network's latest checkpoint, or of the next one where training removed it."""
    plain, prefix = _plain_config(config), None
    while True:
        last, prefix = prefix, checkpoints.checkpoint_prefix(config.report_vanilla_dir)
        log(f"Evaluating the plain network: {prefix}")
        try:
            return evaluate(plain, prefix, log)
        except (FileNotFoundError, ValueError):
            if prefix == last or checkpoints.is_whole(prefix):
                raise
            log(f"{prefix} was removed before it was read. Going on with the next one.")


def _plain_config(config):
    """How the plain network beside a report is evaluated: on the same images, by the weights that its own run kept."""
    checkpoint = config.report_vanilla_dir
    directory = run_directory(checkpoint)
    plain = dataclasses.replace(config.model, model_type="vanilla")
    if not os.path.exists(os.path.join(directory, CONFIG_FILE)):
        averages = checkpoints.has_averages(checkpoint)
    else:
        run = read_config(directory)
        averages = run.moving_average_decay is not None
        plain = dataclasses.replace(plain, final_survival_probability=run.model.final_survival_probability)
        if other := beyond_weights(run, plain):
            differing = "; ".join(f"{name}: {here!r}, {there!r}" for name, (there, here) in other.items())
            raise ValueError(f"Its weights fit, but are of a network that computes otherwise. Received: {differing}")
    return dataclasses.replace(config, model=plain, checkpoint_dir=checkpoint, use_moving_average=averages)


def _settings(config, checkpoint):
    settings = dataclasses.asdict(config)
    settings.update(settings.pop("model"), checkpoint=checkpoint)
    return settings
