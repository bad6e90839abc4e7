"""A trained network in the forms that other programs take."""

import dataclasses
import functools
import json
import os
import time
import warnings
from typing import NamedTuple

from sact_tf import checkpoints
from sact_tf.checkpoints import limits
from sact_tf.config import check_dataset
from sact_tf.data.whole_directories import whole_directory
from sact_tf.data.whole_files import write_atomically
from sact_tf.export import saved_model
from sact_tf.export.directories import DESCRIPTION_FILE, check_output_dir
from sact_tf.progress import print_line
from sact_tf.sparse import onnx
from sact_tf.tasks import labels_of_the_run, task_of
from sact_tf.version import __version__

KERAS_FILE = "model.keras"
WEIGHTS_FILE = "model.weights.h5"
ONNX_FILE = "model.onnx"
# What HDF5 needs beside each variable's values: .7 to 1.5 kB were seen.
_HDF5_BYTES = 2048


def export(config, log=print_line):
    """Writes a checkpoint as a SavedModel, ONNX, a Keras file, a file of weights, or a checkpoint of the release.

    The directory is there only once all of it is; one that is replaced is whole until then. Besides the format's own
    files it has `export.json`: what was exported, and from where. Optimizer slots are left out, but for the
    momentum of a run of ours in the release's format: with it the release's own training goes on.

    Args:
        config: `ExportConfig`.
        log: called with lines of text as the work goes on.

    Returns:
        Path of what was written, for the format's reader: the directory of the SavedModel, the ONNX or Keras file, the
        file of weights, or the prefix of the checkpoint.

    Raises:
        FileExistsError: if something is in the way; see `directories.check_output_dir`.
        FileNotFoundError, ValueError, OSError: if checkpoint or labels are missing or do not fit, or the directory
            cannot be written.
    """
    started = time.monotonic()
    if config.format == "onnx":
        onnx.check_installed()
    checkpoints.checkpoint_prefix(config.checkpoint_dir)
    labels = _labels(config, log)
    check = functools.partial(check_output_dir, overwrite=config.overwrite)
    with whole_directory(config.output_dir, check, "export") as directory:
        read = _read(config, log)
        name = _WRITERS[config.format](read, config, directory, labels, log)
        _describe(read, config, directory)
        size = _size(directory)
    path = os.path.join(config.output_dir, name) if name else config.output_dir
    log(f"Exported in {time.monotonic() - started:.0f} s, {size / 1e6:.1f} MB: {path}")
    return path


def _labels(config, log):
    task, num_classes = task_of(config.dataset), config.model.num_classes
    labels = task.read_labels(config.labels, num_classes, config.dataset, log)
    if labels is None and config.format == "saved_model" and hasattr(task, "known_labels"):
        return task.known_labels(num_classes, config.dataset, config.dataset_dir, log, config.checkpoint_dir)
    return labels_of_the_run(labels, config)


class _Read(NamedTuple):
    """All that an export needs of a checkpoint: a run that goes on may remove it while the files are written."""

    model: object
    prefix: str
    step: int
    # Of the release's format alone.
    momentums: dict | None


def _read(config, log):
    """The `_Read` of the checkpoint, or of a newer one where a run that goes on removes it first."""
    settings, model = _computed(config), None
    while True:
        prefix = checkpoints.checkpoint_prefix(config.checkpoint_dir)
        log(f"Reading {prefix}")
        model = model or task_of(config.dataset).build_model(settings)
        try:
            return _read_into(model, config, prefix)
        except (FileNotFoundError, ValueError):
            if os.path.exists(f"{prefix}.index"):
                raise
            log(f"{prefix} was removed before it was read")


def _computed(config):
    """The `ModelConfig` of what is written: ONNX computes in float32, which the weights are in any case."""
    return dataclasses.replace(config.model, dtype="float32") if config.format == "onnx" else config.model


def _read_into(model, config, prefix):
    checkpoints.load(model, prefix)
    if config.use_moving_average:
        checkpoints.load_averages(model, prefix)
    # The averages are not what the momentum belongs to.
    wanted = config.format == "release" and not config.use_moving_average
    momentums = checkpoints.read_momentums(model, prefix) if wanted else None
    return _Read(model, prefix, checkpoints.global_step(prefix), momentums)


def _write_saved_model(read, config, directory, labels, log):
    saved_model.save(read.model, directory, config.engine, config.dataset, config.image_size, labels, log)
    return ""


def _write_onnx(read, config, directory, labels, log):
    del labels
    # Not before it is known that they are installed.
    from sact_tf.sparse.onnx import detector, detector_runtime, network, runtime
    from sact_tf.sparse.onnx.preprocessing import Preprocessing

    log("Writing the ONNX file")
    path = os.path.join(directory, ONNX_FILE)
    prepared = (Preprocessing(config.dataset, config.image_size),) if config.preprocess else ()
    if check_dataset(config.dataset)["task"] == "detection":
        written = detector.write_detector(read.model, config.engine, config.features, config.part)
        check_file = detector_runtime.check_file
    else:
        written = network.write_network(read.model, config.engine, config.features, *prepared)
        check_file = runtime.check_file
    write_atomically(path, [written.SerializeToString()])
    log("Comparing its answers with the model's")
    # A detector's file prepares nothing.
    check_file(path, read.model, *prepared)
    return ONNX_FILE


def _write_keras(read, config, directory, labels, log):
    del config, labels
    log("Writing the Keras file")
    read.model.save(os.path.join(directory, KERAS_FILE))
    return KERAS_FILE


def _write_weights(read, config, directory, labels, log):
    del config, labels
    log("Writing the weights")
    path, variables = os.path.join(directory, WEIGHTS_FILE), read.model.variables
    _make_sure_of_room(
        path, sum(variable.value.numpy().nbytes for variable in variables) + _HDF5_BYTES * len(variables)
    )
    read.model.save_weights(path)
    return WEIGHTS_FILE


def _make_sure_of_room(path, size):
    """Raises OSError unless a file of so many bytes can be written: HDF5 takes the process down where it cannot.

    Systems that cannot tell, such as macOS, are not asked.
    """
    if not hasattr(os, "posix_fallocate"):
        return
    with open(path, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)
    os.remove(path)


def _write_release(read, config, directory, labels, log):
    del config, labels
    differences = limits.differences(read.model)
    for note in (*differences, *limits.script_settings(read.model, bool(read.momentums))):
        log(f"Note: {note}")
    log("Writing the checkpoint, " + _good_for(read.momentums, differences))
    with warnings.catch_warnings():
        # Said above, in the place where the command's users look.
        warnings.simplefilter("ignore", UserWarning)
        written = checkpoints.save_release_checkpoint(read.model, directory, read.step, read.momentums)
    return os.path.basename(written)


def _good_for(momentums, differences):
    if not momentums:
        return (
            "without momentum: for the release's evaluation, export and --finetune_path, not for going on with its "
            "training"
        )
    return "with momentum and step" + (
        "" if differences else ": the release's training goes on from it, in its --train_log_dir"
    )


_WRITERS = {
    "saved_model": _write_saved_model,
    "onnx": _write_onnx,
    "keras": _write_keras,
    "weights": _write_weights,
    "release": _write_release,
}


def _describe(read, config, directory):
    """Writes what somebody who finds the directory will ask."""
    task = task_of(config.dataset)
    facts = {
        **dataclasses.asdict(dataclasses.replace(config, model=_computed(config))),
        "task": check_dataset(config.dataset)["task"],
        **(task.facts(read.model, config.image_size) if hasattr(task, "facts") else {}),
        "checkpoint": os.path.basename(read.prefix),
        "global_step": read.step,
        "sact_tf": __version__,
    }
    # Where the export lies is known to whoever reads this, and that it replaced another one does not matter.
    for name in ("output_dir", "overwrite"):
        del facts[name]
    with open(os.path.join(directory, DESCRIPTION_FILE), "w", encoding="utf-8") as file:
        file.write(json.dumps(facts, indent=2) + "\n")


def _size(directory):
    return sum(os.path.getsize(os.path.join(root, name)) for root, _, names in os.walk(directory) for name in names)
