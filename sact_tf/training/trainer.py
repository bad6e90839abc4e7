"""Model, optimizer and the step that changes them: the same for one device, several, several machines and TPUs."""

import keras
import tensorflow as tf

from sact_tf import checkpoints, depth, flops, losses
from sact_tf.layers.unit_rules import run_units_by
from sact_tf.tasks import inputs_of, task_of
from sact_tf.training import step_depth
from sact_tf.training.optimizers import make_optimizer


class Trainer:
    """What a training run changes, and how.

    Args:
        config: `TrainingConfig`.
        strategy: `tf.distribute.Strategy`. Each replica takes its part of the batch; batch normalization sees that
            part alone, as in the release; gradients are summed over replicas by the optimizer.
        kept_units: which units run in a step, see `sact_tf.training.train`; None for what the configuration says.
        num_examples: int, of an epoch; see `optimizers.learning_rate_schedule`.

    Attributes:
        task: of the data set.
        model: what the task builds.
        step: int64 variable, steps done.
        checkpoint: `tf.train.Checkpoint` of all that a step changes.
    """

    def __init__(self, config, strategy, kept_units=None, num_examples=None):
        self.config = config
        self.strategy = strategy
        self.task = task_of(config.dataset)
        with strategy.scope():
            self.model = self.task.build_model(config.model, config.image_size)
            self._blocks = depth.blocks_of(self.model)
            self._kept_units = kept_units or self._configured_units
            # The optimizer would clip what each replica has by itself.
            self._clips_sum = config.clip_norm is not None and strategy.num_replicas_in_sync > 1
            self.optimizer = make_optimizer(config, not self._clips_sum, num_examples)
            self.optimizer.build(self.model.trainable_variables)
            # Not the optimizer's own count, which passes over the steps whose float16 gradients overflow.
            once = tf.VariableAggregation.ONLY_FIRST_REPLICA
            self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step", aggregation=once)
        self._differentiate = (
            tf.function(self._gradients, jit_compile=True, autograph=False) if config.jit_compile else self._gradients
        )
        # By name and by position, so that a checkpoint does not depend on how the objects are nested.
        self.checkpoint = tf.train.Checkpoint(
            step=self.step,
            optimizer={str(index): variable for index, variable in enumerate(self.optimizer.variables)},
            **{checkpoints.VARIABLES_KEY: checkpoints.named_variables(self.model)},
            **({checkpoints.AVERAGES_KEY: self.averages()} if config.moving_average_decay else {}),
        )

    def averages(self):
        """Dict from the release's name of each trainable variable to its moving average over the steps."""
        inner = getattr(self.optimizer, "inner_optimizer", self.optimizer)
        by_variable = dict(
            zip(map(id, self.model.trainable_variables), inner._model_variables_moving_average, strict=True)
        )
        named = checkpoints.named_variables(self.model)
        return {name: by_variable[id(variable)] for name, variable in named.items() if id(variable) in by_variable}

    def tau(self):
        """Weight of the ponder cost in the next step, float32 scalar, or None for the model's own."""
        if not self.config.tau_warmup_steps:
            return None
        return losses.warmed_up_tau(self.config.model.tau, self.config.tau_warmup_steps, self.step)

    def steps_done(self):
        """The value of `step` as an int."""
        return int(tf.convert_to_tensor(self.step))

    def step_on(self, element_spec):
        """`train_step` for the batches of a data set, by the `element_spec` of its iterator.

        Where their sizes differ, the first step is traced for all sizes. Left to itself, TensorFlow traces the first
        size alone and others together: a resumed run, which meets another size first, would round otherwise.
        """
        specs = tf.nest.flatten(element_spec, expand_composites=True)
        if all(spec.shape.is_fully_defined() for spec in specs):
            return self.train_step
        return tf.function(self._step, autograph=False, input_signature=[element_spec])

    # Without AutoGraph, which would look through all of Keras for Python to convert: a third of the tracing.
    @tf.function(autograph=False)
    def train_step(self, batch):
        """Makes one step; returns a dict of scalars, means over the global batch before the step."""
        return self._step(batch)

    def _step(self, batch):
        prices = self._prices()
        results = self.strategy.run(self._replica_step, args=(batch,))
        self.step.assign_add(1)
        mean = tf.distribute.ReduceOp.MEAN
        return {**{name: self.strategy.reduce(mean, value, axis=None) for name, value in results.items()}, **prices}

    def _prices(self):
        """What the next step multiplies gradients and ponder cost with, under the names of its summaries."""
        prices = {"training/Learning Rate": tf.identity(self.optimizer.learning_rate)}
        return prices if (tau := self.tau()) is None else {**prices, "training/Tau": tau}

    def _replica_step(self, batch):
        gradients, results = self._differentiate(batch)
        if self._clips_sum:
            gradients = self._clip_sum(gradients)
        elif self._scales and self.strategy.num_replicas_in_sync > 1:
            gradients = _overflow_together(gradients)
        self.optimizer.apply(gradients, self.model.trainable_variables)
        return results

    def _gradients(self, batch):
        variables = self.model.trainable_variables
        kept = self._kept_units(self.step, batch)
        with tf.GradientTape() as tape:
            # A detector's head runs where its loss is computed.
            with run_units_by(step_depth.rules_of(self._blocks, kept)):
                outputs = self.model(inputs_of(self.task, batch), training=True)
                terms = self.task.loss_terms(self.model, batch, outputs, tau=self.tau(), **self.draws(batch))
            loss = sum(terms.values())
            # The optimizer adds the gradients of all replicas up, and divides float16's loss scale out again.
            scaled_loss = self._scale(loss / self.strategy.num_replicas_in_sync)
        gradients = tape.gradient(scaled_loss, [variable.value for variable in variables])
        observed = {
            **self.task.observe(self.model, batch, outputs),
            **_observe_computation(self.model, batch, outputs, kept),
        }
        return gradients, {"loss": loss, **terms, **observed}

    def draws(self, batch):
        """What a task with `DRAWS` is given besides in `loss_terms`, as a dict: what its draws are a function of.

        Images have numbers of their own over all replicas.
        """
        if not getattr(self.task, "DRAWS", False):
            return {}
        number = tf.shape(batch["image"])[0]
        replica = tf.cast(tf.distribute.get_replica_context().replica_id_in_sync_group, tf.int32)
        return {"draws": (self.config.seed, self.step, replica * number + tf.range(number))}

    def _configured_units(self, step, batch):
        del batch
        return step_depth.kept_units(self._blocks, self.config.seed, step, self.config.train_effective)

    def _clip_sum(self, gradients):
        """Gradients of one replica such that those of all together have at most the norm `clip_norm`.

        Of float16 gradients, which carry the loss scale, one that overflowed makes all NaN, and the step is left out.
        """
        replicas = self.strategy.num_replicas_in_sync
        total = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, gradients)
        norm = tf.linalg.global_norm(total) / self._scale(1.0)
        factor = self.config.clip_norm / tf.maximum(norm, self.config.clip_norm) / replicas
        # The optimizer adds up the replicas' gradients, which now are the same.
        return [gradient * tf.cast(factor, gradient.dtype) for gradient in total]

    def _scale(self, loss):
        return self.optimizer.scale_loss(loss) if self._scales else loss

    @property
    def _scales(self):
        return isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer)


def _overflow_together(gradients):
    """Gradients of one replica, all NaN if those of any replica overflowed: Keras looks at the first one's alone."""
    finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(gradient)) for gradient in gradients])
    own = losses.nan_unless(finite, tf.zeros(()))
    nothing = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, own)
    return [gradient + tf.cast(nothing, gradient.dtype) for gradient in gradients]


def _observe_computation(model, batch, outputs, kept):
    """What a step spent, under the release's names: float32 scalars.

    "Training Flops/mean" is there where units were left out: an image's, forward and backward, of the units that ran.
    """
    counts = flops.count(model, outputs)
    results = {"Total Flops/mean": tf.reduce_mean(tf.cast(counts["flops"], tf.float32))}
    if kept:
        ran = flops.count(model, outputs, kept={name: kept[name] for name in model.blocks if name in kept})
        # Gradients of what enters a convolution and of its kernel cost as much as the convolution, each.
        results["Training Flops/mean"] = 3 * tf.reduce_mean(tf.cast(ran["flops"], tf.float32))
    for name in losses.mean_ponder_costs(outputs):
        num_units = outputs[f"{name}/num_units"]
        # A position that is no padding has run a unit at least.
        there = num_units > 0 if "image_size" in batch else None
        for figure in ("ponder_cost", "num_units"):
            values = tf.cast(outputs[f"{name}/{figure}"], tf.float32)
            results[f"{name}/{figure}_mean"], results[f"{name}/{figure}_std"] = _moments(values, there)
        results[f"{name}/num_units_max"] = tf.cast(tf.reduce_max(num_units), tf.float32)
    return results


def _moments(values, there):
    """Mean and standard deviation of values, where the bool `there` is True; `None` is everywhere."""
    if there is None:
        return tf.reduce_mean(values), tf.math.reduce_std(values)
    weights = tf.cast(there, values.dtype)
    count = tf.maximum(tf.reduce_sum(weights), 1.0)
    mean = tf.reduce_sum(weights * values) / count
    return mean, tf.sqrt(tf.reduce_sum(weights * tf.square(values - mean)) / count)
