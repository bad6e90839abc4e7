"""Stochastic depth (Huang et al. 2016, arXiv 1603.09382): with which probability a unit runs in a training step."""

import numbers

import keras

from sact_tf.config import check_final_survival_probability


def linear_decay(final_survival_probability, units):
    """Survival probabilities of all units of a network, `1 - l / L * (1 - final)` for unit l = 1 ... L.

    Args:
        final_survival_probability: float in (0, 1], of the last unit.
        units: sequence of ints, units of each block in the order of execution; L is their sum.

    Returns:
        list with a list of floats for each block, or with `None` for each where everything survives.

    Raises:
        ValueError: for a probability out of its range.
    """
    final = check_final_survival_probability(final_survival_probability)
    if final == 1:
        return [None] * len(units)
    total, before, blocks = sum(units), 0, []
    for count in units:
        blocks.append([1 - (before + index) / total * (1 - final) for index in range(1, count + 1)])
        before += count
    return blocks


def check_survival_probabilities(probabilities, units, model_type):
    """Returns the probabilities of a block as a list of floats, or `None` where there are none.

    Raises:
        ValueError: unless there is a number in (0, 1] for each unit, of a block that does not halt.
    """
    if probabilities is None:
        return None
    if model_type != "vanilla":
        raise ValueError(
            "Stochastic depth is for model_type='vanilla': a block that halts decides by itself how many units to run. "
            f"Leave `survival_probabilities` out. Received: model_type={model_type!r}"
        )
    probabilities = list(probabilities) if hasattr(probabilities, "__iter__") else [probabilities]
    numeric = all(isinstance(value, numbers.Real) and not isinstance(value, bool) for value in probabilities)
    if len(probabilities) != units or not numeric or not all(0 < value <= 1 for value in probabilities):
        raise ValueError(
            f"`survival_probabilities` must hold a number in (0, 1] for each of the {units} units. Received: "
            f"{probabilities!r}"
        )
    return [float(value) for value in probabilities]


def draw_survival(probabilities, seed):
    """Which units survive one training step: bool `(units,)`.

    Args:
        probabilities: sequence of floats.
        seed: `keras.random.SeedGenerator`, or an int `(2,)` tensor that the draws are a function of.
    """
    return keras.random.uniform((len(probabilities),), seed=seed, dtype="float32") < keras.ops.convert_to_tensor(
        probabilities, "float32"
    )


class HasSurvivalProbabilities:
    """Mixin of a block of stochastic depth."""

    @property
    def survival_probabilities(self):
        """With which probability each unit survives a training step, list of floats, or `None` for always."""
        return self._survival_probabilities

    @survival_probabilities.setter
    def survival_probabilities(self, value):
        # Set in the constructor, once.
        if hasattr(self, "_survival_probabilities"):
            raise ValueError(
                f"`survival_probabilities` of block '{self.name}' are settled when it is made: compiled functions "
                "would not notice others. Make a block of others, with its weights: type(block).from_config("
                "{**block.get_config(), 'survival_probabilities': [...]}). Received: "
                f"survival_probabilities={value!r}"
            )
        self._survival_probabilities = value
