"""The same network in several forms, timed side by side: plain, masked, and in the engine, at any threshold."""

import dataclasses
import statistics
import time
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from sact_tf import checkpoints, halting
from sact_tf.data.photographs import prepare
from sact_tf.evaluation import finding, inference
from sact_tf.layers import halting_at
from sact_tf.tasks import detection, task_of

# The form that answers are shown of.
SHOWN = "engine"
_NAMES = {
    "plain": "Plain network",
    "plain engine": "Plain network, in the engine",
    "masked": "Masked",
    "engine": "Engine",
}
# All forms are timed in turns, for so many rounds, or as many as begin within so many seconds.
_ROUNDS, _SECONDS = 5, 0.4
# Seconds of a first round that is not repeated.
_SLOW = 3.0
# Pixels each way of a picture that only gets everything going.
_BLANK = 64


class Timed(NamedTuple):
    """One form of the network on one photograph.

    Attributes:
        name: text.
        milliseconds: float, the median of the rounds.
        flops: int, the convolutions of units that had not halted.
    """

    name: str
    milliseconds: float
    flops: int


class Networks:
    """A network with its weights, and the plain network that it is when nothing halts.

    Args:
        config: `DemoConfig`.
        log: called with lines of text.

    Raises:
        FileNotFoundError, ValueError: if the checkpoint does not fit, or photographs would be too small.
    """

    def __init__(self, config, log):
        log(f"Loading {config.checkpoint_dir}")
        self.model = inference.load_model(config)
        least = self.model.backbone.minimum_size
        if config.image_size is not None and config.image_size < least:
            raise ValueError(
                f"The network takes photographs of {least} pixels each way or more. Give --image_size={least} or more, "
                f"or leave it out. Received: --image_size={config.image_size}"
            )
        self.is_detector = task_of(config.dataset) is detection
        self._dataset = config.dataset
        self.halts = config.model.model_type != "vanilla"
        self._epsilon = tf.Variable(halting.EPSILON, trainable=False, dtype=tf.float32)
        plain = _plain_of(config, self.model) if self.halts else self.model
        forms = {"plain": (plain, "masked"), "plain engine": (plain, "sparse")}
        if self.halts:
            forms |= {"masked": (self.model, "masked"), SHOWN: (self.model, "sparse")}
        self._functions = {}
        for number, (name, (model, engine)) in enumerate(forms.items(), 1):
            log(f"Preparing {number}/{len(forms)}: {_NAMES[name].lower()}")
            self._functions[name] = self._prepare(model, engine)

    def inputs_of(self, image, original_size):
        """What the forms of the network take of a photograph; arguments as of `finding.inputs_of_photograph`."""
        if self.is_detector:
            return finding.inputs_of_photograph(image, original_size, self._dataset)
        return prepare(image, self._dataset)[None]

    def _prepare(self, model, engine):
        predictor = finding.predictor if self.is_detector else inference.predictor
        # Made within, it reads the variable in each call: no new threshold needs another graph.
        with halting_at(self._epsilon):
            function = predictor(model, engine)
            function.get_concrete_function()
        # The first call of a graph takes long, and not while somebody waits for a photograph.
        side = max(_BLANK, self.model.backbone.minimum_size)
        function(self.inputs_of(np.zeros((side, side, 3), "float32"), (side, side)))
        return function

    def run(self, inputs, epsilon):
        """Everything about one photograph.

        Args:
            inputs: of `inputs_of`.
            epsilon: float in (0, 1), at which blocks halt.

        Returns:
            `(outputs, timed, rounds, difference)`: the dict of the engine's (of a vanilla network its own); list of
            `Timed`; int; the largest difference of ponder costs between masked and engine anywhere, float, None where
            nothing halts.
        """
        halting.check_epsilon(epsilon)
        # A number next to 1 is 1 in float32, and not even the first unit would run.
        self._epsilon.assign(min(epsilon, np.nextafter(np.float32(1), np.float32(0))))
        first, seconds = self._round(inputs)
        rounds = [seconds]
        # The first one takes memory and chooses kernels for a new size; unless it is all that one wants to wait for.
        if sum(seconds.values()) < _SLOW:
            rounds, end = [], time.perf_counter() + _SECONDS
            while not rounds or (len(rounds) < _ROUNDS and time.perf_counter() < end):
                rounds.append(self._round(inputs)[1])
        timed = [
            Timed(_NAMES[name], 1000 * statistics.median(each[name] for each in rounds), int(outputs["flops"][0]))
            for name, outputs in first.items()
        ]
        return first[SHOWN if self.halts else "plain"], timed, len(rounds), self._difference(first)

    def _round(self, inputs):
        """Outputs and seconds of each form once, two dicts."""
        results = {name: _timed(function, inputs) for name, function in self._functions.items()}
        return tuple({name: result[place] for name, result in results.items()} for place in (0, 1))

    def _difference(self, outputs):
        if not self.halts:
            return None
        names = [name for name in outputs[SHOWN] if name.endswith("/ponder_cost")]
        return max(float(np.abs(outputs["masked"][name] - outputs[SHOWN][name]).max()) for name in names)


def _plain_of(config, model):
    """The network of the same weights in which every unit runs everywhere, and nothing is averaged or decided."""
    plain = task_of(config.dataset).build_model(dataclasses.replace(config.model, model_type="vanilla"))
    weights = checkpoints.named_variables(model)
    for name, variable in checkpoints.named_variables(plain).items():
        variable.assign(weights[name])
    return plain


def _timed(function, inputs):
    """What the function returns, and the seconds that it took until its last output was there."""
    begin = time.perf_counter()
    outputs = function(inputs)
    for name in ("logits", "num_detections", "flops"):
        if name in outputs:
            outputs[name].numpy()
    return outputs, time.perf_counter() - begin
