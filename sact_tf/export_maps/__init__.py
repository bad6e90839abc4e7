"""What a network spends on each image of a split, in one HDF5 file; until that is whole, `parts` lie beside it."""

import dataclasses
import errno
import json
import os
import resource
import shutil

import h5py
import numpy as np
import tensorflow as tf

from sact_tf import checkpoints, visualize
from sact_tf.data import pipeline
from sact_tf.data.map_files import damage_named
from sact_tf.evaluation import inference
from sact_tf.export_maps import parts
from sact_tf.progress import counted, print_line
from sact_tf.tasks import task_of
from sact_tf.version import __version__

COMPRESSION = "lzf"
BLOCK_SCOPES = "block_scopes"
# Attribute with what was exported, which the release does not have.
DESCRIPTION = "sact_tf"
# After a kill as many batches are computed again, at the most.
BATCHES_PER_PART = 8
# Images that are in memory at a time when the parts are joined; numbers in a piece of a data set of one an image.
_ROWS, _NUMBERS = 16, 1024
# Bytes of a file besides its data, such as where each piece lies.
_SPARE_BYTES = 1 << 20


def export_maps(config, log=print_line, strategy=None):
    """Writes the file.

    What is done is in parts in a directory beside it, `.<name>.parts`, which is gone in the end; the disk has to have
    space for the parts and the file.

    Args:
        config: `MapExportConfig`.
        log: called with lines of text.
        strategy: `tf.distribute.Strategy` whose replicas share each batch; None for one device.

    Returns:
        int, the number of images in the file.

    Raises:
        FileExistsError: if something is in the way that may not be replaced.
        FileNotFoundError, ValueError, OSError: if checkpoint or data set are missing or do not fit, if parts of an
            export with other settings are there, or a file cannot be written.
    """
    path = check_export_path(config.export_path, config.overwrite)
    prefix = checkpoints.checkpoint_prefix(config.checkpoint_dir)
    source = task_of(config.dataset).open_source(
        config.dataset, config.split_name, config.image_size, config.num_examples, config.dataset_dir, log
    )
    description = _describe(config, prefix, source.num_examples)
    with parts.directory_of(path, description) as directory, pipeline.plain_errors():
        model = inference.load_model(dataclasses.replace(config, checkpoint_dir=prefix), strategy=strategy)
        _write_parts(config, source, model, directory, log, strategy)
        num_images = _join(path, directory, list(model.blocks), description)
    log(f"{counted(num_images, 'image')}, {os.path.getsize(path) / 1e6:.1f} MB: {config.export_path}")
    return num_images


def check_export_path(path, overwrite):
    """Returns the absolute path if a file may be written there: nothing is, or with `overwrite` an earlier export.

    Raises:
        FileExistsError: if not.
        IsADirectoryError: if the path is one of a directory.
    """
    resolved = os.path.realpath(os.path.expanduser(path))
    if os.path.isdir(resolved) or not os.path.basename(path):
        raise IsADirectoryError(
            "--export_path is the HDF5 file that is written, and this is a directory. Give a file in it, such as "
            f"{os.path.join(path, 'maps.h5')}. Received: {path}"
        )
    if not os.path.lexists(resolved):
        return resolved
    if not is_export(resolved):
        raise FileExistsError(
            f"{path} exists and is no export of maps that can be read, so it is never overwritten. Remove it, or give "
            "another --export_path."
        )
    if not overwrite:
        raise FileExistsError(f"{path} is there already. Give --overwrite to replace it, or another --export_path.")
    return resolved


def is_export(path):
    """Whether there is an HDF5 file of this command, or of the release, at a path, and can be read."""
    if not os.path.isfile(path):
        return False
    try:
        with h5py.File(path, "r") as file:
            return BLOCK_SCOPES in file.attrs and "images" in file
    except (OSError, RuntimeError, KeyError):
        return False


def _describe(config, prefix, num_examples):
    """What figures depend on, as a dict of plain values."""
    return {
        **dataclasses.asdict(config.model),
        "dataset": config.dataset,
        "dataset_dir": config.dataset_dir,
        "split_name": config.split_name,
        "image_size": config.image_size,
        "num_examples": num_examples,
        "engine": config.engine,
        "use_moving_average": config.use_moving_average,
        "checkpoint": os.path.basename(prefix),
        "checkpoint_sha256": checkpoints.digest_of(prefix),
        "sact_tf": __version__,
    }


def _write_parts(config, source, model, directory, log, strategy=None):
    """Computes what no part has yet."""
    first, skipped = parts.progress(directory)
    if first:
        log(f"Going on from image {first}")
    predict = inference.predictor(model, config.engine, strategy)
    while first < source.num_examples:
        last = min(first + BATCHES_PER_PART * config.batch_size, source.num_examples)
        temporary = os.path.join(directory, "part.tmp")
        batches = pipeline.evaluation_batches(
            source._replace(num_examples=last), config.batch_size, config.skip_bad_records - skipped, log, first
        )
        _check_space(directory, 0)
        with h5py.File(temporary, "w") as file:
            done = 0
            for batch in batches:
                values = _values(model, predict, batch["image"])
                _check_space(directory, sum(value.nbytes for value in values.values()), os.path.getsize(temporary))
                done += _append(file, values)
                file.flush()
        skipped += last - first - done
        _sync(temporary)
        os.replace(temporary, os.path.join(directory, f"{first:09d}-{last:09d}-{done}.h5"))
        first = last
        log(f"{first}/{source.num_examples} images" + (f", {skipped} damaged left out" if skipped else ""))


def _values(model, predict, images):
    """Dict from the name of a data set to an array of one batch."""
    outputs = predict(images)
    names = ["flops"]
    for block in model.blocks:
        names += [f"{block}/{key}" for key in ("ponder_cost", "num_units", "halting_distribution", "flops")]
    values = {"images": images, **{name: outputs[name] for name in names}}
    if model.backbone.model_type == "sact":
        for figure in visualize.FIGURES:
            values[f"{figure}_map"] = visualize.ponder_map(outputs, images.shape[1:3], figure)[..., None]
        values["num_units_map"] = tf.cast(values["num_units_map"], tf.int32)
    return {name: value.numpy() for name, value in values.items()}


def _append(file, values):
    """Appends a batch to the data sets of a file, which are made if need be; returns how many images it has."""
    for name, value in values.items():
        if name not in file:
            _create(file, name, (0, *value.shape[1:]), value.dtype, maxshape=(None, *value.shape[1:]))
        data = file[name]
        data.resize(len(data) + len(value), axis=0)
        data[-len(value) :] = value
    return len(values["images"])


def _create(file, name, shape, dtype, **arguments):
    # One image in a piece, as it is looked at; single numbers many at a time.
    chunks = (1, *shape[1:]) if len(shape) > 1 else (min(shape[0] or _NUMBERS, _NUMBERS),)
    return file.create_dataset(name, shape, dtype, compression=COMPRESSION, chunks=chunks, **arguments)


def _join(path, directory, blocks, description):
    """Makes the file of its parts; returns the number of images."""
    done = [part for part in parts.parts_in(directory) if part.rows]
    num_images = sum(part.rows for part in done)
    if not done:
        raise ValueError("All images were damaged and left out; there is nothing to write.")
    temporary = os.path.join(directory, "whole.tmp")
    _check_space(directory, sum(os.path.getsize(part.path) for part in done))
    with h5py.File(temporary, "w") as file:
        # Bytes, as the release has them; its own scripts and other programs read them so.
        file.attrs[BLOCK_SCOPES] = np.array(blocks, "S")
        file.attrs[DESCRIPTION] = json.dumps(description)
        begin = 0
        for _, _, rows, part_path in done:
            with h5py.File(part_path, "r") as part:
                for name in _data_sets(part):
                    if begin == 0:
                        _create(file, name, (num_images, *part[name].shape[1:]), part[name].dtype)
                    for row in range(0, rows, _ROWS):
                        end = min(row + _ROWS, rows)
                        with damage_named(part_path, "Remove it, and start again"):
                            values = part[name][row:end]
                        file[name][begin + row : begin + end] = values
            begin += rows
    _sync(temporary)
    os.replace(temporary, path)
    return num_images


def _data_sets(file):
    names = []
    file.visititems(lambda name, value: names.append(name) if isinstance(value, h5py.Dataset) else None)
    return names


def _check_space(directory, num_bytes, written=0):
    """Raises OSError if the disk has no space for a number of bytes more in a file, with what HDF5 needs besides.

    So it is where no file may be as large (`ulimit -f`). HDF5 itself notices either so late that the process dies of it
    when the file is closed.
    """
    needed, (largest, _) = num_bytes + num_bytes // 20 + _SPARE_BYTES, resource.getrlimit(resource.RLIMIT_FSIZE)
    if shutil.disk_usage(directory).free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if largest != resource.RLIM_INFINITY and largest < written + needed:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))


def _sync(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
