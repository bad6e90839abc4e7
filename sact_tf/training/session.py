"""One process's part of a training run: runs the steps that are left, saves, reports, and stops in good order.

`train` makes a `Session` once everything fits, and calls `run` once. What a step computes is the `Trainer`'s; what is
said, when it is saved and how it ends is decided here. Of several workers each has a session; the chief's writes.
"""

import os
import signal
import sys
import threading
import time

import tensorflow as tf

from sact_tf import visualize
from sact_tf.data import pipeline
from sact_tf.evaluation import advice
from sact_tf.progress import Timer, duration, reason_of
from sact_tf.tasks import inputs_of

# A file of each worker with the records that were damaged, one a line.
SKIPPED_FILE = "skipped_records_{}.txt"


class TrainingDiverged(ArithmeticError):
    """The loss or the weights became NaN or infinite.

    Args:
        found: sentences, what happened and what is kept.
        way_out: sentence; a study has other flags than `train.py`, and gives its own.
    """

    def __init__(self, found, way_out=""):
        super().__init__(f"{found} {way_out}")
        self.found = found


class Session:
    """The loop over the steps that are left.

    A step is a batch of `config.batch_size` images over all replicas. Between two steps there is a place to save
    (`save_interval_secs`), to report (every `LOG_SECS`), to write summaries and to stop on a signal; the loss of every
    step is looked at before anything is saved or said, so nothing that is no number gets into a checkpoint.

    Args:
        trainer: `Trainer`, restored to where the run is.
        manager: `tf.train.CheckpointManager`, used by the chief.
        config: `TrainingConfig`.
        train_log_dir: directory of the run.
        chief: bool, whether this process writes checkpoints and summaries.
        save_interval_secs: seconds between checkpoints.
        save_summaries_secs: seconds between TensorBoard summaries.
        log: called with lines of text.
    """

    LOG_SECS = 10
    SHOWN_IMAGES = 16
    REMARK_STEPS = 1000

    def __init__(self, trainer, manager, config, train_log_dir, chief, save_interval_secs, save_summaries_secs, log):
        self.trainer = trainer
        self.manager = manager
        self.config = config
        self.train_log_dir = train_log_dir
        self.chief = chief
        self._print = log
        self.writer = self._make_writer()
        self.save_timer = Timer(save_interval_secs)
        self.summary_timer = Timer(save_summaries_secs)
        self.log_timer = Timer(self.LOG_SECS)
        self.unchecked = []
        self.results = {}
        # What ends the run after the step: a signal, or the error of a line that could not be written.
        self.signal, self.unheard = None, None
        self.first_ponder_cost = None
        # The step since which every look shows a network that does not halt, or halts at once; whether a line said so.
        self.wrong_since, self.remarked = None, False

    def _make_writer(self):
        if not self.chief:
            return tf.summary.create_noop_writer()
        try:
            return tf.summary.create_file_writer(self.train_log_dir)
        except tf.errors.OpError as error:
            raise self._not_written("The file of the summaries", error) from error

    def run(self, source):
        """Runs all steps that are left; returns the dict of `sact_tf.training.train`.

        On SIGTERM, SIGINT (Ctrl-C) or SIGHUP (its terminal is closed) saves after the step that runs, and raises
        SystemExit; so it does where its lines cannot be written any more, which ends in their OSError.
        """
        step, started = self.trainer.steps_done(), time.monotonic()
        handlers = self._catch_signals()
        try:
            for _ in self._steps(source, step):
                step += 1
                if self.signal or self.unheard or self.save_timer.is_due():
                    self._save(step)
                if self.unheard:
                    raise OSError(f"Stopped at step {step}, which is saved. {self.unheard}") from self.unheard
                if self.signal:
                    self.log(f"Stopped at step {step} by {self.signal.name}; the same command goes on from here.")
                    sys.exit(128 + self.signal)
            if self.results:
                self._save(step)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        self.writer.close()
        numbers = {name: float(value) for name, value in self.results.items()}
        seconds = time.monotonic() - started
        return {"step": step, "checkpoint": self.manager.latest_checkpoint, "seconds": seconds, **numbers}

    def log(self, text):
        """Says a line of text."""
        try:
            self._print(text)
        except OSError as error:
            self.unheard = error

    def _steps(self, source, first_step):
        """Makes the steps; yields after each."""
        if first_step >= self.config.max_number_of_steps:
            return
        step = steady_step = first_step
        steady = time.monotonic()
        batches = self._batches(source, first_step)
        make_step = self.trainer.step_on(batches.element_spec)
        for batch in batches:
            results = make_step(batch)
            step += 1
            self.unchecked.append((step, results["loss"]))
            if step == first_step + 1:
                self._report(step, results)
                # The first step compiles; speed is counted from here.
                steady, steady_step = time.monotonic(), step
            elif self.log_timer.is_due() or step == self.config.max_number_of_steps:
                self._report(step, results, (step - steady_step) / (time.monotonic() - steady))
                self._remark(step, batch, results)
            if self.summary_timer.is_due() or step == self.config.max_number_of_steps:
                self._summarize(step, batch, results, (step - steady_step) / (time.monotonic() - steady))
            self.results = results
            yield

    def _batches(self, source, first_step):
        """The batches of the steps that are left."""
        left = self.config.max_number_of_steps - first_step

        def dataset(context):
            batches = pipeline.training_batches(
                source,
                self.config.batch_size,
                self.config.seed,
                first_step,
                worker=context.input_pipeline_id,
                num_workers=context.num_input_pipelines,
                skip_bad_records=self.config.skip_bad_records,
                log=self.log,
                skipped_path=os.path.join(self.train_log_dir, SKIPPED_FILE.format(context.input_pipeline_id)),
            )
            # Each replica takes its part of the worker's batch.
            share = context.get_per_replica_batch_size(self.config.batch_size)
            return batches.take(left).rebatch(share, drop_remainder=True)

        return iter(self.trainer.strategy.distribute_datasets_from_function(dataset))

    def _catch_signals(self):
        """Has signals that end a process noted instead; returns the handlers before. `nohup` has SIGHUP ignored."""
        if threading.current_thread() is not threading.main_thread():
            return {}

        def note(number, frame):
            del frame
            self.signal = signal.Signals(number)

        closes = () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)
        return {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT, *closes)}

    def _check_finite(self):
        """Raises TrainingDiverged for the first step whose loss was no number, before anything is reported or saved."""
        for step, loss in self.unchecked:
            if not tf.math.is_finite(loss):
                raise self._diverged(f"The loss became {float(loss)} in step {step}.")
        self.unchecked.clear()

    def _check_weights(self, step):
        """Raises TrainingDiverged, before a save: the loss of a step is that of the weights before it."""
        for variable in self.trainer.model.variables:
            value = tf.convert_to_tensor(variable.value)
            # Integers are the states of seed generators.
            if value.dtype.is_floating and not tf.reduce_all(tf.math.is_finite(value)):
                raise self._diverged(f"The weights are no numbers any more after step {step}.")

    def _diverged(self, what):
        kept, model = self.manager.latest_checkpoint or "none yet", self.config.model
        tau = "" if model.model_type == "vanilla" else f" or --tau (now {model.tau})"
        return TrainingDiverged(
            f"{what} Nothing has been saved since; the last checkpoint: {kept}.",
            f"Lower --learning_rate (now {self.config.learning_rate}){tau}, or add --warmup_steps, with another "
            "--train_log_dir; or look at the images of that step.",
        )

    def _report(self, step, results, steps_per_second=None):
        self._check_finite()
        parts = [f"step {step}/{self.config.max_number_of_steps}"]
        parts += [f"{name} {float(results[name]):.3f}" for name in ("loss", *self.trainer.task.PROGRESS)]
        ponder = [float(value) for name, value in results.items() if name.endswith("/ponder_cost_mean")]
        if ponder:
            parts.append(f"ponder cost {sum(ponder):.2f}")
            if self.first_ponder_cost is None:
                self.first_ponder_cost = sum(ponder)
        if steps_per_second:
            left = (self.config.max_number_of_steps - step) / steps_per_second
            parts.append(f"{steps_per_second * self.config.batch_size:.0f} images/s, {duration(left)} left")
        self.log(", ".join(parts))

    def _remark(self, step, batch, results):
        """Says what is wrong with where the network halts, once that has lasted, and again at the end."""
        figures = {name: float(value) for name, value in results.items() if "/" in name}
        model = self.trainer.model
        # Shares of FLOPs take a run of the network, and are not needed to see whether something is wrong.
        if not advice.remarks(model, figures, 1):
            self.wrong_since = None
            return
        self.wrong_since = self.wrong_since or step
        at_the_end = step == self.config.max_number_of_steps
        if at_the_end or (step - self.wrong_since >= self.REMARK_STEPS and not self.remarked):
            self.remarked = True
            most = advice.most_flops(model, inputs_of(self.trainer.task, self._first_part(batch)))
            for text in advice.remarks(model, figures, most, self.first_ponder_cost):
                self.log(f"Note: {text}")

    def _summarize(self, step, batch, results, steps_per_second):
        if not self.chief:
            return
        try:
            with self.writer.as_default(step=step):
                for name, value in results.items():
                    tf.summary.scalar(name if "/" in name else f"losses/{name}", value)
                tf.summary.scalar("training/Images per Second", steps_per_second * self.config.batch_size)
                self._show(batch)
            self.writer.flush()
        except (tf.errors.OpError, OSError) as error:
            raise self._not_written(f"The summaries of step {step}", error) from error

    def _show(self, batch):
        """Heat maps and distributions of some images of the step, as the network is now, computed for inference."""
        model = self.trainer.model
        if model.backbone.model_type == "vanilla":
            return
        shown = self._first_part(batch)
        outputs = model(inputs_of(self.trainer.task, shown), training=False)
        self.trainer.task.write_pictures(model, shown, outputs)
        visualize.write_distributions(model, outputs)

    def _first_part(self, batch):
        """Some images of a batch, of the first replica here, and what belongs to them."""
        local = self.trainer.strategy.experimental_local_results
        return {name: local(value)[0][: self.SHOWN_IMAGES] for name, value in batch.items()}

    def _save(self, step):
        self._check_finite()
        if not self.chief:
            return
        self._check_weights(step)
        try:
            self.manager.save(checkpoint_number=step)
        except (tf.errors.OpError, OSError) as error:
            raise self._not_written(f"The checkpoint of step {step}", error) from error

    def _not_written(self, what, error):
        # On a full disk the first line is the reason; the others say what TensorFlow's writer did about it.
        latest = self.manager.latest_checkpoint or "none"
        reason = reason_of(str(error).split("\n")[0])
        way_out = "Raise the limit of files (ulimit -f)" if "File too large" in reason else "Free some space"
        return OSError(
            f"{what} cannot be written: {reason}. The last complete checkpoint: {latest}. {way_out} and start again "
            "with the same command."
        )
