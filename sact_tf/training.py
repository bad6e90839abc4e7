"""The training loop: one `tf.function` step, checkpoints, and a resume that is exact to the bit.

Keras' `fit` is not used: it restarts an epoch after a kill, and fails under several workers (DESIGN of the project).
Here the examples of step k depend on (seed, k) alone and a checkpoint holds everything else that a step changes, so
a run that is killed and started again ends in the weights of the run that never stopped.
"""

import os
import tempfile
import time

import keras
import tensorflow as tf

from sact_tf import checkpoints, losses
from sact_tf import config as configs
from sact_tf.data import pipeline
from sact_tf.models.build import build_model
from sact_tf.optimizers import Momentum, learning_rate_schedule

CONFIG_FILE = "config.json"
CHECKPOINT_NAME = "model.ckpt"


def print_line(text):
    """Prints a line at once, also into a pipe."""
    print(text, flush=True)


class TrainingDiverged(ArithmeticError):
    """The loss became NaN or infinite."""


def train(config, train_log_dir, save_interval_secs=600, save_summaries_secs=60, max_to_keep=5, log=print_line):
    """Trains a network, or goes on with the run that `train_log_dir` holds.

    Args:
        config: `TrainingConfig`.
        train_log_dir: directory of the run: `config.json`, checkpoints `model.ckpt-<step>`, TensorBoard events.
        save_interval_secs: seconds between checkpoints; one more is written at the end.
        save_summaries_secs: seconds between TensorBoard summaries.
        max_to_keep: int, checkpoints that are kept.
        log: called with a line of text every few seconds.

    Returns:
        dict: `step`, `checkpoint` (its prefix), `seconds` that this call trained, and the last step's `loss`,
        `accuracy`, ... (none if the run was complete already).

    Raises:
        ValueError: if the directory holds a run of another configuration, or `finetune_path` does not fit.
        OSError: if the directory cannot be written.
        TrainingDiverged: if the loss becomes NaN or infinite; the last checkpoint before that is kept.
    """
    _check_directory(config, train_log_dir)
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(config.seed)
    source = pipeline.open_source(config.dataset, "train", config.image_size)
    trainer = _Trainer(config, tf.distribute.get_strategy())
    manager = tf.train.CheckpointManager(
        trainer.checkpoint, train_log_dir, max_to_keep, checkpoint_name=CHECKPOINT_NAME
    )
    _start(trainer, manager, config, log)
    # Not before everything fits: a start that failed leaves nothing that a corrected one would trip over.
    _write_atomically(os.path.join(train_log_dir, CONFIG_FILE), config.to_json())
    session = _Session(trainer, manager, config, save_interval_secs, save_summaries_secs, train_log_dir, log)
    return session.run(source)


def _check_directory(config, train_log_dir):
    """Raises unless the directory can be written and is new, or holds a run of the same configuration."""
    path = os.path.join(train_log_dir, CONFIG_FILE)
    if os.path.isdir(train_log_dir) and tf.train.latest_checkpoint(train_log_dir):
        if not os.path.exists(path):
            raise ValueError(
                f"{train_log_dir} holds checkpoints but no {CONFIG_FILE}, so they are not of a run that can go on. "
                "Give another --train_log_dir; to start from these weights, name them in --finetune_path."
            )
        differing = configs.differences(read_config(train_log_dir), config)
        if differing:
            raise ValueError(
                f"{train_log_dir} holds a run with another configuration (there, here):\n  "
                + "\n  ".join(differing)
                + "\nGive the same flags to go on with it, or another --train_log_dir for a new run."
            )
    try:
        os.makedirs(train_log_dir, exist_ok=True)
        with tempfile.TemporaryFile(dir=train_log_dir):
            pass
    except OSError as error:
        raise OSError(
            f"The run's directory cannot be written: {error}. Give a --train_log_dir on a disk with space, where you "
            "may create files."
        ) from error


def read_config(train_log_dir):
    """Returns the `TrainingConfig` of the run in a directory.

    Raises:
        FileNotFoundError, ValueError: if there is none, or it cannot be read.
    """
    path = os.path.join(train_log_dir, CONFIG_FILE)
    if not os.path.exists(path):
        raise FileNotFoundError(f"{train_log_dir} holds no training run: there is no {CONFIG_FILE} in it.")
    with open(path, encoding="utf-8") as file:
        try:
            return configs.TrainingConfig.from_json(file.read())
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def _write_atomically(path, text):
    temporary = f"{path}.{os.getpid()}.tmp"
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _start(trainer, manager, config, log):
    """Restores the run's latest checkpoint, or starts from `finetune_path`, or leaves the weights random."""
    if manager.latest_checkpoint:
        trainer.checkpoint.restore(manager.latest_checkpoint).assert_consumed()
        log(f"Going on from step {int(trainer.step)}: {manager.latest_checkpoint}")
    elif config.finetune_path:
        checkpoints.initialize_from(trainer.model, config.finetune_path)
        log(f"Starting from {config.finetune_path}, all but the halting branches")


class _Trainer:
    """Model, optimizer and the step that changes them."""

    def __init__(self, config, strategy):
        self.strategy = strategy
        with strategy.scope():
            self.model = build_model(config.model, config.image_size)
            self.optimizer = Momentum(learning_rate_schedule(config), config.momentum)
            self.optimizer.build(self.model.trainable_variables)
        self.step = self.optimizer.iterations
        # By name and by position, so that a checkpoint does not depend on how the objects are nested.
        self.checkpoint = tf.train.Checkpoint(
            **{checkpoints.VARIABLES_KEY: checkpoints.named_variables(self.model)},
            optimizer={str(index): variable for index, variable in enumerate(self.optimizer.variables)},
        )

    @tf.function
    def train_step(self, batch):
        """Makes one step; returns a dict of scalars, means over the global batch before the step."""
        results = self.strategy.run(self._replica_step, args=(batch,))
        return {
            name: self.strategy.reduce(tf.distribute.ReduceOp.MEAN, value, axis=None) for name, value in results.items()
        }

    def _replica_step(self, batch):
        with tf.GradientTape() as tape:
            outputs = self.model(batch["image"], training=True)
            terms = self.model.loss_terms(batch["label"], outputs)
            loss = sum(terms.values())
            # The optimizer adds the gradients of all replicas up.
            scaled_loss = loss / self.strategy.num_replicas_in_sync
        variables = self.model.trainable_variables
        gradients = tape.gradient(scaled_loss, [variable.value for variable in variables])
        self.optimizer.apply(gradients, variables)
        correct = tf.cast(tf.argmax(outputs["logits"], axis=-1) == batch["label"], tf.float32)
        results = {"loss": loss, **terms, "accuracy": tf.reduce_mean(correct)}
        results.update({f"{name}/ponder_cost": cost for name, cost in losses.mean_ponder_costs(outputs).items()})
        return results


class _Session:
    """One call of `train`: runs the steps, and saves and reports as time goes by."""

    LOG_SECS = 10

    def __init__(self, trainer, manager, config, save_interval_secs, save_summaries_secs, train_log_dir, log):
        self.trainer = trainer
        self.manager = manager
        self.config = config
        self.writer = tf.summary.create_file_writer(train_log_dir)
        self.log = log
        self.save_timer = Timer(save_interval_secs)
        self.summary_timer = Timer(save_summaries_secs)
        self.log_timer = Timer(self.LOG_SECS)
        self.unchecked = []

    def run(self, source):
        first_step = step = int(self.trainer.step)
        started, results = time.monotonic(), {}
        for batch in self._batches(source, first_step):
            results = self.trainer.train_step(batch)
            step += 1
            self.unchecked.append((step, results["loss"]))
            if step == first_step + 1:
                self._report(step, results, None)
                # The first step compiles; speed is counted from here.
                steady, steady_step = time.monotonic(), step
            elif self.log_timer.is_due():
                self._report(step, results, (step - steady_step) / (time.monotonic() - steady))
            if self.summary_timer.is_due() or step == self.config.max_number_of_steps:
                self._summarize(step, results)
            if self.save_timer.is_due():
                self._save(step)
        if step > first_step:
            self._save(step)
        self.writer.close()
        numbers = {name: float(value) for name, value in results.items()}
        seconds = time.monotonic() - started
        return {"step": step, "checkpoint": self.manager.latest_checkpoint, "seconds": seconds, **numbers}

    def _batches(self, source, first_step):
        """The batches of the steps that are left."""
        left = self.config.max_number_of_steps - first_step
        if left <= 0:
            return iter(())

        def dataset(context):
            batch_size = context.get_per_replica_batch_size(self.config.batch_size)
            return pipeline.training_batches(source, batch_size, self.config.seed, first_step).take(left)

        return iter(self.trainer.strategy.distribute_datasets_from_function(dataset))

    def _check_finite(self):
        """Names the first step whose loss was not a number; called before anything is reported or saved."""
        for step, loss in self.unchecked:
            if not tf.math.is_finite(loss):
                kept = self.manager.latest_checkpoint or "none yet"
                raise TrainingDiverged(
                    f"The loss became {float(loss)} in step {step}. Nothing has been saved since; the last checkpoint: "
                    f"{kept}. Lower --learning_rate (now {self.config.learning_rate}) or --tau "
                    f"(now {self.config.model.tau}), add --warmup_steps, or look at the images of that step."
                )
        self.unchecked.clear()

    def _report(self, step, results, steps_per_second):
        self._check_finite()
        parts = [f"step {step}/{self.config.max_number_of_steps}"]
        parts += [f"{name} {float(results[name]):.3f}" for name in ("loss", "cross_entropy", "accuracy")]
        ponder = [float(value) for name, value in results.items() if name.endswith("/ponder_cost")]
        if ponder:
            parts.append(f"ponder cost {sum(ponder):.2f}")
        if steps_per_second:
            left = (self.config.max_number_of_steps - step) / steps_per_second
            parts.append(f"{steps_per_second * self.config.batch_size:.0f} images/s, {_duration(left)} left")
        self.log(", ".join(parts))

    def _summarize(self, step, results):
        with self.writer.as_default(step=step):
            for name, value in results.items():
                tf.summary.scalar(name if "/" in name else f"losses/{name}", value)
            tf.summary.scalar("training/Learning Rate", self.trainer.optimizer.learning_rate)
        self.writer.flush()

    def _save(self, step):
        self._check_finite()
        try:
            self.manager.save(checkpoint_number=step)
        except (tf.errors.OpError, OSError) as error:
            raise OSError(
                f"The checkpoint of step {step} cannot be written: {error}. The last complete one is "
                f"{self.manager.latest_checkpoint or 'none'}; free some space and start again with the same command."
            ) from error


class Timer:
    """Says whether some seconds have passed since it last did."""

    def __init__(self, seconds):
        self.seconds = seconds
        self.last = time.monotonic()

    def is_due(self):
        """True once after each `seconds`."""
        if time.monotonic() - self.last < self.seconds:
            return False
        self.last = time.monotonic()
        return True


def _duration(seconds):
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
