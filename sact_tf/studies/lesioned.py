"""A trained network and its images, measured again and again with fewer of its units: by one traced function."""

import dataclasses
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from sact_tf import checkpoints, depth, flops
from sact_tf.data import pipeline
from sact_tf.evaluation import measuring

# Images are kept in memory up to this many bytes, else read again for each lesion.
KEPT_BYTES = 2**30


class Answers(NamedTuple):
    """What a network said to each image.

    Attributes:
        score: float32 `(images,)`, what its task's `SCORE` is the mean of: for classification 1 where it was right.
        flops: dict from "flops" and "<block>/flops" to int64 `(images,)`.
    """

    score: np.ndarray
    flops: dict


class LesionedNetwork:
    """A checkpoint and a split of its data set.

    Args:
        config: `SplitConfig`, such as an `EvaluationConfig`.
        log: called with lines of text while data are opened.

    Attributes:
        task, model, source: as of `sact_tf.evaluation`.
        blocks: dict from names to the model's `AdaptiveBlock`s.
        traces: int, how often the function that measures was traced.

    Raises:
        FileNotFoundError, ValueError: as `sact_tf.load_release_checkpoint`; ValueError for a single image, too.
    """

    def __init__(self, config, log=None):
        # One checkpoint for all: a run that still trains has a later one soon.
        prefix = checkpoints.checkpoint_prefix(config.checkpoint_dir)
        self.config = dataclasses.replace(config, checkpoint_dir=prefix)
        self.task, self.model, self.source = measuring.prepare(config, prefix, log)
        if self.source.num_examples < 2:
            raise ValueError(
                f"Errors are over images, of which a study needs two at least, and {config.split_name} has "
                f"{self.source.num_examples} here. Give more images, or a larger --num_examples."
            )
        self.blocks = depth.blocks_of(self.model)
        self.traces = 0
        self._batches, self._functions = None, {}

    @property
    def units(self):
        """Dict from names of blocks to how many units they have."""
        return {name: len(block.units) for name, block in self.blocks.items()}

    def batches(self):
        """Every image of the split once, in order, as batches of tensors."""
        if self._batches is not None:
            return self._batches
        batches = pipeline.evaluation_batches(self.source, self.config.batch_size, self.config.skip_bad_records)
        if self.source.num_examples * self.config.image_size**2 * 12 > KEPT_BYTES:
            return batches
        self._batches = list(batches)
        return self._batches

    def everything(self):
        """What `measure` takes for a network that is whole: dict from names to bool `(units,)`."""
        return {name: np.ones(units, bool) for name, units in self.units.items()}

    def measure(self, kept=None, progress=None):
        """`Answers` to all images of the split.

        Args:
            kept: dict from names of blocks to bool `(units,)`, the units that run; blocks that are not in it run all.
            progress: called with the number of images done, after each batch; or None.
        """
        kept = {name: tf.constant(value, tf.bool) for name, value in {**self.everything(), **(kept or {})}.items()}
        return self.measure_each(lambda number, batch: depth.Kept(kept), progress)

    def measure_each(self, policy_of, progress=None):
        """`Answers` under a policy of its own for each batch.

        Args:
            policy_of: function from the number of the batch, from 0, and the batch to one of `depth.Kept` and
                `depth.NumUnits`, made of tensors whose shapes and dtypes are those of the other batches, but for the
                number of images.
            progress: as in `measure`.
        """
        scores, counts, done = [], {}, 0
        with pipeline.plain_errors():
            for number, batch in enumerate(self.batches()):
                score, flops_of = self._run(batch, policy_of(number, batch))
                scores.append(score.numpy())
                for name, value in flops_of.items():
                    counts.setdefault(name, []).append(value.numpy())
                done += len(scores[-1])
                if progress:
                    progress(done)
        return Answers(np.concatenate(scores), {name: np.concatenate(value) for name, value in counts.items()})

    def _run(self, batch, policy):
        # The policy's own tensors are what the function takes, so that it is traced once for all of their values.
        tensors = tf.nest.map_structure(tf.convert_to_tensor, _tensors_of(policy))
        key = (type(policy), *(tensor.shape.rank for tensor in tf.nest.flatten(tensors)))
        if key not in self._functions:
            of_units = isinstance(policy, depth.Kept) and key[1] == 1
            self._functions[key] = tf.function(
                lambda batch, tensors: self._measure(batch, key[0](**tensors)),
                autograph=False,
                input_signature=[
                    tf.nest.map_structure(_of_any_number, batch),
                    tf.nest.map_structure(tf.type_spec_from_value if of_units else _of_any_number, tensors),
                ],
            )
        return self._functions[key](batch, tensors)

    def _measure(self, batch, policy):
        self.traces += 1
        outputs = depth.call(self.model, batch["image"], policy)
        score = self.task.measure(self.model, batch, outputs)[self.task.SCORE[1]]
        return tf.cast(score, tf.float32), flops.count(self.model, outputs, kept=policy.kept(self.model))


def _of_any_number(tensor):
    return tf.TensorSpec((None, *tensor.shape[1:]), tensor.dtype)


def _tensors_of(policy):
    if isinstance(policy, depth.NumUnits):
        return {"num_units": policy.num_units, "halting_distribution": policy.halting_distribution}
    return {"kept": dict(policy.units_kept)}
