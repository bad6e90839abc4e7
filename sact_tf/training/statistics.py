"""Statistics of batch normalization anew: in training they are moving averages, which lag behind the weights."""

import contextlib
import dataclasses
import glob
import os
import shutil
import time

import keras
import numpy as np
import tensorflow as tf

from sact_tf import checkpoints
from sact_tf import config as configs
from sact_tf.config.checks import check_counts
from sact_tf.data import pipeline, trained_records
from sact_tf.data.whole_directories import resolve, whole_directory
from sact_tf.data.whole_files import write_atomically
from sact_tf.layers.freezing import parts_of
from sact_tf.progress import Timer, counted, duration, print_line
from sact_tf.tasks import inputs_of
from sact_tf.training import notes
from sact_tf.training.determinism import compute_deterministically
from sact_tf.training.latest import check_name, restore
from sact_tf.training.trainer import Trainer

SECONDS_BETWEEN_MESSAGES = 5
# Moving statistics of which less than this part is still their initial value do not change an evaluation visibly.
_FORGOTTEN = 0.05


def recalibrate(checkpoint_dir, output_dir, num_batches=100, dataset_dir=None, log=print_line):
    """Writes a checkpoint again, with means and variances of normalization that are of its weights.

    Evaluation normalizes with moving averages over the last steps of training: with a decay of .997, of the last
    thousand. In a short run, or after a large step, they are those of other weights. Here each is the mean over
    batches of training data that all see the same weights: those that evaluation takes, the moving averages of the
    weights if the run kept some. Nothing else changes. Normalizations that are frozen keep theirs.

    Args:
        checkpoint_dir: directory of a run, or one of its checkpoints (`run/model.ckpt-100`).
        output_dir: directory for the new one, which is a run like the first: it can be evaluated, exported, started
            from, and gone on with.
        num_batches: int, of the size and with the random changes of training, from those on that would come next.
        dataset_dir: directory of the data; `None` for that of the run.
        log: called with lines of text.

    Returns:
        Prefix of the new checkpoint.

    Raises:
        ValueError: if units of the run are left out in training, so that no batch sees all of them, or all
            normalizations are frozen.
        OSError: if there is no such run, or no data, or `output_dir` holds something or cannot be written.
    """
    check_counts(num_batches=num_batches)
    prefix = checkpoints.checkpoint_prefix(checkpoint_dir)
    run_dir = os.path.dirname(prefix)
    config = configs.read_config(run_dir)
    _check(config, output_dir)
    if config.deterministic:
        compute_deterministically()
    keras.utils.set_random_seed(config.seed)
    if not dataset_dir:
        configs.check_noted_data(config.dataset_dir, run_dir, "Give --dataset_dir where the data are now.")
    data = dataclasses.replace(config, dataset_dir=dataset_dir or config.dataset_dir)
    _, source, _ = notes.open_data(data, run_dir, True, log)
    trained_records.compare(
        run_dir,
        source,
        log,
        "The statistics will be of these: give the --dataset_dir that it began with, unless that is meant.",
    )
    trainer = Trainer(_with_all_units(config), tf.distribute.get_strategy(), num_examples=source.num_examples)
    restore(trainer.checkpoint, prefix)
    log(f"Read {prefix}")
    batches = pipeline.training_batches(
        source, config.batch_size, config.seed, trainer.steps_done(), skip_bad_records=config.skip_bad_records, log=log
    )
    with whole_directory(output_dir, _vacant, "run") as directory:
        _check_room(directory, prefix)
        with pipeline.plain_errors(), _evaluated_weights(trainer):
            _measure(trainer, batches.take(num_batches), num_batches, log)
        for name in notes.FILES:
            if os.path.isfile(path := os.path.join(run_dir, name)):
                with open(path, "rb") as file:
                    write_atomically(os.path.join(directory, name), [file.read()])
        written = notes.Manager(trainer.checkpoint, directory, 1, log).save(trainer.steps_done())
    return os.path.join(output_dir, os.path.basename(written))


def _check_room(directory, prefix):
    """Raises OSError unless a checkpoint as large as this one can be written there: a copy of it is, and removed."""
    for path in glob.glob(f"{glob.escape(prefix)}.*"):
        os.remove(shutil.copy(path, directory))


def _vacant(output_dir):
    """The path of a directory that is not there yet, or empty; raises FileExistsError for another one."""
    path = resolve(output_dir, "run")
    if os.path.lexists(path) and not (os.path.isdir(path) and not os.listdir(path)):
        raise FileExistsError(f"--output_dir must be new, or empty: {output_dir} holds something. Give another one.")
    return path


def remark(config, model, steps):
    """What is wrong with statistics that began with a run, a sentence; None if nothing.

    They are all of them in a run from random weights, those of the halting branches in one that started from another.

    Args:
        config: `TrainingConfig`.
        model: Keras model.
        steps: int, of its training.
    """
    where, begun = "", _normalizations(model)
    if config.finetune_path:
        where, begun = " of the halting branches", _normalizations(*_halting_branches(model))
    share = max((each.momentum for each in begun), default=0.0) ** steps
    if share < _FORGOTTEN:
        return None
    anew = "" if _leaves_units_out(config) else ", or python -m sact_tf.recalibrate, which measures them anew"
    return (
        f"Batch normalization's statistics{where}, moving averages, are still those of the beginning to {share:.0%}, "
        f"and evaluation takes them: its figures will be worse than the network is. More steps help{anew}."
    )


def remark_of_start(config, model):
    """That a run takes over statistics of one that was short, a sentence; None if not, or where nothing says so.

    Args:
        config: `TrainingConfig` with a `finetune_path`.
        model: Keras model of the run.
    """
    try:
        there = configs.read_config(configs.run_directory(config.finetune_path))
    except (OSError, ValueError):
        return None
    # What one that itself started elsewhere had before is not known here.
    if there.finetune_path:
        return None
    steps = checkpoints.global_step(config.finetune_path)
    shares = [
        each.momentum ** (steps + config.max_number_of_steps * each.trainable) for each in _all_normalizations(model)
    ]
    share = max(shares, default=0.0)
    if share < _FORGOTTEN:
        return None
    anew = "" if _leaves_units_out(there) else ", or python -m sact_tf.recalibrate and a start from what it writes"
    return (
        f"{config.finetune_path} was trained for {counted(steps, 'step')}, and this run goes on from its statistics of "
        "batch normalization, moving averages. Unless they were measured anew, they are still those of that run's "
        f"beginning to {share:.0%} when this one ends, and evaluation takes them. More steps there help{anew}."
    )


def _halting_branches(model):
    return [branch for block in model.blocks.values() for branch in block.halting_branches]


def _leaves_units_out(config):
    """Whether a step of a run does not execute all units."""
    return bool(config.depth_rule or config.train_effective or config.model.final_survival_probability < 1)


def _normalizations(*models):
    """The batch normalizations of models whose statistics move in training, each once."""
    return [each for each in _all_normalizations(*models) if each.trainable]


def _all_normalizations(*models):
    layers = {id(part): part for model in models for _, part, _ in parts_of(model)}.values()
    return [each for each in layers if isinstance(each, keras.layers.BatchNormalization)]


def _check(config, output_dir):
    """Raises ValueError for a run that has no such statistics, FileExistsError if something is where it would be."""
    if _leaves_units_out(config):
        raise ValueError(
            "Units of this run are left out in training, by stochastic depth or a study's rule, and what is normalized "
            "depends on which ran: there are no statistics of all of them. It keeps its own."
        )
    check_name(output_dir)
    _vacant(output_dir)


def _with_all_units(config):
    """The configuration with all units executed: under early stopping, those that no image needs are not."""
    if config.model.model_type != "act_early_stopping":
        return config
    return dataclasses.replace(config, model=dataclasses.replace(config.model, model_type="act"))


@contextlib.contextmanager
def _evaluated_weights(trainer):
    """Context in which a model has the moving averages of its weights, if there are some."""
    averages = trainer.averages() if trainer.config.moving_average_decay else {}
    variables = checkpoints.named_variables(trainer.model)
    before = {name: variables[name].numpy() for name in averages}
    for name, average in averages.items():
        variables[name].assign(average)
    yield
    for name, value in before.items():
        variables[name].assign(value)


def _measure(trainer, batches, num_batches, log):
    """Sets each moving mean and variance to the mean of those of batches."""
    norms = _normalizations(trainer.model)
    if not norms:
        raise ValueError("All batch normalizations of this run are frozen, so their statistics are as they should be.")
    statistics = [variable for each in norms for variable in (each.moving_mean, each.moving_variance)]
    for each in norms:
        # Then they are those of the last batch.
        each.momentum = 0.0

    @tf.function(autograph=False, reduce_retracing=True)
    def forward(batch):
        outputs = trainer.model(inputs_of(trainer.task, batch), training=True)
        # A detector's head runs where its loss is computed.
        trainer.task.loss_terms(trainer.model, batch, outputs, tau=trainer.tau(), **trainer.draws(batch))
        return [tf.identity(variable) for variable in statistics]

    sums = [np.zeros(variable.shape, np.float64) for variable in statistics]
    timer, began = Timer(SECONDS_BETWEEN_MESSAGES), None
    for number, batch in enumerate(batches, 1):
        sums = [total + value.numpy() for total, value in zip(sums, forward(batch), strict=True)]
        # What the first batch takes is mostly the making of the graph.
        began = began or time.monotonic()
        if timer.is_due() and number > 1:
            left = (time.monotonic() - began) / (number - 1) * (num_batches - number)
            log(f"{number}/{num_batches} batches, {duration(left)} left")
    for variable, total in zip(statistics, sums, strict=True):
        variable.assign((total / num_batches).astype(variable.dtype))
    size = counted(trainer.config.batch_size, "image")
    log(f"{counted(len(norms), 'normalization')} over {counted(num_batches, 'batch')} of {size}")
