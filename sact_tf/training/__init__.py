"""The training loop: one `tf.function` step, checkpoints, and a resume that is exact to the bit.

Keras' `fit` is not used: after a kill its `BackupAndRestore` begins the epoch anew, and `fit` fails under TensorFlow's
`MultiWorkerMirroredStrategy` (Keras 3.15, keras issue 20585). Here the examples of step k depend on (seed, k) alone,
and a checkpoint holds everything else that a step changes, so a run that is killed and started again ends in the
weights of the run that never stopped.
"""

import contextlib
import os
import tempfile

import keras

from sact_tf import checkpoints
from sact_tf import config as configs
from sact_tf.data import pipeline, trained_classes
from sact_tf.evaluation import advice
from sact_tf.processor import check_weights_may_change
from sact_tf.progress import print_line
from sact_tf.training import notes, statistics
from sact_tf.training.determinism import compute_deterministically
from sact_tf.training.latest import check_name, latest, name_latest, restore
from sact_tf.training.lock import run_lock
from sact_tf.training.optimizers import schedule_remarks
from sact_tf.training.session import Session
from sact_tf.training.strategies import (
    check_batch_size,
    check_data_agree,
    check_workers_agree,
    is_chief,
    make_strategy,
    told_of_lost_workers,
)
from sact_tf.training.trainer import Trainer


def train(
    config,
    train_log_dir,
    save_interval_secs=600,
    save_summaries_secs=60,
    max_to_keep=5,
    strategy="one",
    tpu="",
    log=print_line,
    kept_units=None,
):
    """Trains a network, or goes on with the run that `train_log_dir` holds.

    Args:
        config: `TrainingConfig`.
        train_log_dir: directory of the run: `config.json`, `environment.json`, `classes.json`, `records.json`,
            checkpoints `model.ckpt-<step>`, TensorBoard events.
        save_interval_secs: seconds between checkpoints, 0 for one after each step; one more is written at the end.
        save_summaries_secs: seconds between TensorBoard summaries, 0 for each step.
        max_to_keep: int, checkpoints that are kept.
        strategy: where to compute, see `strategies.make_strategy`. Of several workers the first writes the
            run's files; all of them read its checkpoints, so the directory is one that they share.
        tpu: name or address of the TPU for `strategy="tpu"`.
        log: called with a line of text every few seconds.
        kept_units: function of the step, int64 scalar tensor, and the batch to a dict from names of blocks to the units
            that run in it, as `sact_tf.depth.Kept` takes them; None for what the configuration says. A rule of a study,
            which `config.depth_rule` names, so that nothing goes on with the run by another one.

    Returns:
        dict: `step`, `checkpoint` (its prefix), `seconds` that this call trained, and the last step's `loss`,
        `accuracy`, ... (none if the run was complete already).

    Raises:
        ValueError: for seconds that cannot be waited, if the directory's name cannot be that of a run, if it holds a
            run of another configuration, of other classes or a damaged checkpoint, if `finetune_path` does not fit, if
            another worker was started with other settings or reads other records, or if the environment has oneDNN
            freeze weights.
        OSError: if the directory cannot be written, or the data set is not where it should be; `lock.DirectoryInUse` if
            another run, whose process lives, is training in it.
        BadRecord: a ValueError, if more than `skip_bad_records` examples are damaged.
        TrainingDiverged: if loss or weights become NaN or infinite; the last checkpoint before that is kept.
        WorkerLost: if another worker stops.
        SystemExit: on SIGTERM, SIGINT or SIGHUP, after saving.
    """
    check_weights_may_change()
    _check_rule(config, kept_units)
    train_log_dir = os.fspath(train_log_dir)
    configs.check_seconds(save_interval_secs=save_interval_secs, save_summaries_secs=save_summaries_secs)
    if strategy == "tpu":
        configs.check_compiles(config, "A TPU")
    _check_directory(config, train_log_dir)
    strategy = make_strategy(strategy, tpu)
    check_batch_size(config.batch_size, strategy)
    check_workers_agree(strategy, configs.what_is_trained(config))
    chief = is_chief(strategy)
    log = log if chief else lambda text: None
    if config.deterministic:
        compute_deterministically()
    keras.utils.set_random_seed(config.seed)
    lock = run_lock(train_log_dir, log) if chief else contextlib.nullcontext()
    with told_of_lost_workers(strategy), lock:
        # A run that just ended may have left its checkpoints since the first look.
        _check_directory(config, train_log_dir)
        begun = latest(train_log_dir)
        task, source, names = notes.open_data(config, train_log_dir, begun, log)
        check_data_agree(strategy, source)
        trainer = Trainer(config, strategy, kept_units, source.num_examples)
        if hasattr(task, "check_training"):
            task.check_training(trainer.model, config.image_size)
        if chief:
            name_latest(train_log_dir, log)
        _start(trainer, begun, config, names, log)
        # Not before everything fits: a start that failed leaves nothing that a corrected one would trip over. What is
        # complete learns nothing more, whatever data are named now.
        if chief and trainer.steps_done() < config.max_number_of_steps:
            notes.write(train_log_dir, config, source, names, begun, strategy.num_replicas_in_sync, log)
            for text in advice.about_depth(trainer.model) + schedule_remarks(config, source.num_examples):
                log(f"Note: {text}")
        manager = notes.Manager(trainer.checkpoint, train_log_dir, max_to_keep, log)
        session = Session(trainer, manager, config, train_log_dir, chief, save_interval_secs, save_summaries_secs, log)
        with pipeline.plain_errors():
            result = session.run(source)
        if "loss" in result and (text := statistics.remark(config, trainer.model, result["step"])):
            log(f"Note: {text}")
        return result


def _check_rule(config, kept_units):
    if (kept_units is None) != (config.depth_rule is None):
        raise ValueError(
            "Which units run in a step is said by a function, `kept_units`, and a text that names it, "
            "`config.depth_rule`: give both or none. A run of a study is gone on with by the study. Received: "
            f"kept_units={kept_units!r}, depth_rule={config.depth_rule!r}"
        )


def _check_directory(config, train_log_dir):
    """Raises unless the directory can be written and is new, or holds a run of the same configuration."""
    check_name(train_log_dir)
    path = os.path.join(train_log_dir, configs.CONFIG_FILE)
    if latest(train_log_dir):
        if not os.path.exists(path):
            raise ValueError(
                f"{train_log_dir} holds checkpoints but no {configs.CONFIG_FILE}, so they are not of a run that can go "
                "on. Give another --train_log_dir; to start from these weights, name them in --finetune_path."
            )
        new = "another --train_log_dir for a new run, which --finetune_path starts from these weights, halting aside"
        configs.check_same(train_log_dir, config, new)
    else:
        notes.check_vacant(train_log_dir)
    try:
        os.makedirs(train_log_dir, exist_ok=True)
        with tempfile.TemporaryFile(dir=train_log_dir):
            pass
    except OSError as error:
        raise OSError(
            f"The run's directory cannot be written: {error}. Give a --train_log_dir on a disk with space, where you "
            "may create files."
        ) from error


def _start(trainer, prefix, config, names, log):
    """Restores the run's latest checkpoint, or starts from `finetune_path`, or leaves the weights random."""
    if prefix:
        restore(trainer.checkpoint, prefix)
        log(f"Going on from step {trainer.steps_done()}: {prefix}")
    elif config.finetune_path:
        path, skip_logits = config.finetune_path, config.finetune_skip_logits
        same_classes = checkpoints.initialize_from(trainer.model, path, skip_logits=skip_logits)
        left_out = "halting branches and logits" if skip_logits else "halting branches"
        log(f"Starting from {path}, all but the {left_out}")
        if checkpoints.has_averages(path):
            log(
                "It starts from the weights of the last step there, not from their moving averages, which evaluation "
                "takes. To start from the averages of a network that classifies, write them with "
                f"python -m sact_tf.export --format=release --checkpoint_dir={path} --output_dir=..., and start there."
            )
        configs.compare_start(path, config, log)
        if text := statistics.remark_of_start(config, trainer.model):
            log(f"Note: {text}")
        if same_classes:
            trained_classes.compare_start(path, names, log)
