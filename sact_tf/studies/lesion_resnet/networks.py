"""The two networks of the study on the images that they are asked about, made when they are first needed."""

import functools

import numpy as np
import tensorflow as tf

from sact_tf import checkpoints, depth, flops
from sact_tf.data import pipeline
from sact_tf.studies import runs
from sact_tf.studies.lesion_resnet.kinds import Maps
from sact_tf.studies.lesion_resnet.matching import UnitFlops
from sact_tf.studies.lesioned import LesionedNetwork

# Most that the halting distributions of all images, which stay in memory, may take.
MAX_BYTES = 4 * 2**30


class Networks:
    """A plain network and an adaptive one of its shape.

    Args:
        inputs: `Inputs`.
        log: called with lines of text while data are opened.
    """

    def __init__(self, inputs, log=None):
        self.inputs = inputs
        self._log = log

    @functools.cached_property
    def plain(self):
        """`LesionedNetwork` of the plain network on held-out images."""
        return self._open(self.inputs.plain, self.inputs.plain_prefix)

    @functools.cached_property
    def adaptive(self):
        """`LesionedNetwork` of the adaptive network on held-out images."""
        return self._open(self.inputs.adaptive, self.inputs.adaptive_prefix)

    @functools.cached_property
    def plain_in_training(self):
        """`LesionedNetwork` of the plain network on the first images of the train split, prepared for evaluation."""
        return self._open(self.inputs.plain, self.inputs.plain_prefix, self.inputs.train_examples)

    @functools.cached_property
    def unit_flops(self):
        """`UnitFlops` of the plain network."""
        return UnitFlops(self.plain.model, self.plain.units)

    @functools.cached_property
    def decisions(self):
        """`(maps, scores, counts)` of the adaptive network on held-out images, see `decide`."""
        return decide(self.adaptive)

    @functools.cached_property
    def maps_in_training(self):
        """`Maps` on the first images of the train split."""
        network = self._open(self.inputs.adaptive, self.inputs.adaptive_prefix, self.inputs.train_examples)
        return decide(network)[0]

    def _open(self, config, prefix, train_examples=None):
        asked = (train_examples, None, "train") if train_examples else (self.inputs.num_examples, None, None)
        return LesionedNetwork(runs.evaluation_of(config, prefix, *asked), self._log)


def decide(network):
    """What an adaptive network decides on its images, and answers.

    Args:
        network: `LesionedNetwork`.

    Returns:
        `(maps, scores, counts)`: `Maps`; float32 `(images,)`; dict from "flops" and "<block>/flops" to the mean FLOPs,
        those of the halting branches among them.

    Raises:
        ValueError: if the maps of all images do not fit in memory.
    """
    parts, run = [], _decision(network)
    with pipeline.plain_errors():
        for batch in network.batches():
            parts.append(tf.nest.map_structure(np.asarray, run(batch)))
            if len(parts) == 1:
                _check_size(network, parts[0][0])
    maps, scores, counts = (
        tf.nest.map_structure(lambda *each: np.concatenate(each), *column) for column in zip(*parts, strict=True)
    )
    return Maps(*maps), scores, {name: float(value.mean()) for name, value in counts.items()}


def _decision(network):
    @tf.function(reduce_retracing=True, autograph=False)
    def run(batch):
        outputs = network.model(batch["image"], training=False)
        score = network.task.measure(network.model, batch, outputs)[network.task.SCORE[1]]
        num_units = {name: tf.cast(outputs[f"{name}/num_units"], tf.uint8) for name in network.model.blocks}
        distribution = {name: outputs[f"{name}/halting_distribution"] for name in network.model.blocks}
        return (num_units, distribution), tf.cast(score, tf.float32), flops.count(network.model, outputs)

    return run


def _check_size(network, maps):
    of_one = sum(value[0].nbytes for value in maps[1].values())
    images = network.config.num_examples
    if of_one * images > MAX_BYTES:
        raise ValueError(
            f"The maps of {images} images would take {of_one * images / 2**30:.0f} GiB of memory, and the study holds "
            f"{MAX_BYTES / 2**30:.0f}. Give --num_examples={MAX_BYTES // of_one} or less, and as few --train_examples."
        )


class OtherWeights:
    """Weights of a plain network that are exchanged for fine-tuned ones for a while: no function is traced anew."""

    def __init__(self, network):
        self._network = network

    def __enter__(self):
        self._before = [variable.numpy() for variable in self._network.model.variables]
        return self

    def load(self, prefix, use_moving_average):
        """Loads a checkpoint, or its moving averages where the run keeps them."""
        checkpoints.load(self._network.model, prefix)
        if use_moving_average:
            checkpoints.load_averages(self._network.model, prefix)

    def __exit__(self, *exception):
        for variable, value in zip(self._network.model.variables, self._before, strict=True):
            variable.assign(value)


def placed(placement, batch_size, averages=False):
    """The policy of each batch for `LesionedNetwork.measure_each`.

    Args:
        placement: `kinds.Placement`.
        batch_size: int, of the network's batches.
        averages: bool, whether the network averages by `placement.distribution_of`, as an adaptive one; a plain one
            does not.
    """
    images = len(next(iter(placement.num_units.values())))

    def policy_of(number, batch):
        del batch
        chosen = slice(number * batch_size, min((number + 1) * batch_size, images))
        num_units = {name: value[chosen] for name, value in placement.num_units.items()}
        if not averages:
            return depth.NumUnits(num_units)
        return depth.NumUnits(num_units, {name: placement.distribution_of(name, chosen) for name in num_units})

    return policy_of


def kept(masks, batch_size):
    """`placed` of masks by image: dict from names of blocks to bool `(images, units)`."""

    def policy_of(number, batch):
        del batch
        return depth.Kept({name: mask[number * batch_size :][:batch_size] for name, mask in masks.items()})

    return policy_of
