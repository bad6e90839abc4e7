"""How much gradient a path through a network's units carries, and how many paths there are of each length.

A path goes through every unit either by its residual or by its shortcut; its length is the number of residuals (Veit,
Wilber and Belongie 2016). The network computes as ever, and only the gradient is confined to the path. The output of a
block that halts is an average of its units' outputs, so there a path may leave a block before its last unit, and its
length is the largest number of residuals that it goes through.
"""

import math

import numpy as np
import tensorflow as tf

from sact_tf import depth
from sact_tf.data import pipeline
from sact_tf.studies.lesion.lesions import chosen_units


class InputGradients:
    """Gradients of the task's loss at a network's images, by one function for all paths.

    Args:
        network: `LesionedNetwork`.

    Attributes:
        traces: int, how often the function was traced.
    """

    def __init__(self, network):
        self.network = network
        self.traces = 0
        self._function = None

    def gradients(self, batch, residuals, shortcuts):
        """Gradient of each image's own loss, without the terms that no label is in, float32 like the images.

        Args:
            batch: dict of tensors, as the data set's source reads it.
            residuals, shortcuts: bool `(units,)` by block, as for `sact_tf.depth.ConstantResiduals`.
        """
        if self._function is None:
            specs = tf.nest.map_structure(lambda value: tf.TensorSpec((None, *value.shape[1:]), value.dtype), batch)
            parts = {name: tf.TensorSpec((units,), tf.bool) for name, units in self.network.units.items()}
            self._function = tf.function(self._compute, autograph=False, input_signature=[specs, parts, parts])
        parts = [{name: tf.constant(flags[name], tf.bool) for name in flags} for flags in (residuals, shortcuts)]
        with pipeline.plain_errors():
            return self._function(batch, *parts).numpy()

    def of_path(self, batch, units):
        """Mean over the images of the gradient's norm along one path, float.

        Args:
            batch: as in `gradients`.
            units: dict from names of blocks to the numbers of the units whose residuals the path goes through.
        """
        residuals = {
            name: np.isin(np.arange(1, count + 1), units.get(name, ())) for name, count in self.network.units.items()
        }
        gradients = self.gradients(batch, residuals, {name: ~flags for name, flags in residuals.items()})
        return float(np.sqrt(np.square(gradients.astype(np.float64)).sum(axis=(1, 2, 3))).mean())

    def _compute(self, batch, residuals, shortcuts):
        self.traces += 1
        task, model = self.network.task, self.network.model
        with tf.GradientTape() as tape:
            tape.watch(batch["image"])
            outputs = depth.call(model, batch["image"], depth.ConstantResiduals(residuals, shortcuts))
            loss = sum(task.loss_terms(model, batch, outputs, tau=0.0).values())
        # The loss is a mean over the images, each of which has a part in one of its terms.
        gradient = tape.gradient(loss, batch["image"], unconnected_gradients="zero")
        return gradient * tf.cast(tf.shape(gradient)[0], gradient.dtype)


def path_of(units, length, seed, draw):
    """A path of some length at random: dict from names of blocks to tuples of units; `units` as in `lesions`."""
    return chosen_units(units, length, (seed, length, draw))


def path_name(path, seed, draw, images):
    """What a path's gradient on one batch is called in a `Record`."""
    units = "; ".join(f"{name} {','.join(map(str, numbers))}" for name, numbers in path.items() if numbers)
    return f"gradient of {units or 'shortcuts alone'} on {images} images, batch {seed}.{draw}"


def random_batch(network, images, seed, draw):
    """A batch of images of the split, drawn at random without repetition; of fewer if there are no more.

    Where damaged records may be skipped, a batch without any is drawn.
    """
    source = network.source
    order = np.random.default_rng((seed, draw)).permutation(source.num_examples)
    images = min(images, len(order))
    for first in range(0, len(order) - images + 1, images):
        try:
            with pipeline.plain_errors():
                return source.read(tf.constant(np.sort(order[first : first + images])))
        except ValueError:
            if not network.config.skip_bad_records:
                raise
    raise ValueError(f"No {images} undamaged images in a row were found. Give a smaller --gradient_images.")


def shares_of_paths(units):
    """Share of all 2^n paths through n units that have each length, float64 `(n + 1,)`: Binomial(n, 1/2)."""
    return np.array([math.comb(units, length) / 2**units for length in range(units + 1)])
