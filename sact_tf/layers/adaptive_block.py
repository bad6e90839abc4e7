"""A block of residual units that decides by itself how many of them to run."""

import contextlib
import contextvars
import inspect
import types

import keras
from keras import ops

from sact_tf import halting
from sact_tf.config import check_model_type
from sact_tf.layers import running
from sact_tf.layers.checkpointed import FoundByCheckpoints
from sact_tf.layers.checks import check_enters, check_features, check_kept
from sact_tf.layers.freezing import KeepsFrozenParts, parts_of, set_trainable
from sact_tf.layers.halting_branches import branches_of
from sact_tf.layers.parts import knows_its_shape
from sact_tf.layers.survival import HasSurvivalProbabilities, check_survival_probabilities, draw_survival
from sact_tf.layers.threshold import HasThreshold
from sact_tf.layers.time_distributed import ShapesByName
from sact_tf.layers.unit_rules import NO_RULE, rule_of, takes
from sact_tf.losses import PonderWeight

_NO_RUNNERS = types.MappingProxyType({})
_runners = contextvars.ContextVar("runners", default=_NO_RUNNERS)


@contextlib.contextmanager
def run_blocks_by(runners):
    """Within this context, blocks are computed by other code: so an engine can trace any model that has blocks.

    Args:
        runners: dict from the `id` of an `AdaptiveBlock` to a function of its features, which returns what `call` does;
            it is given `picture` and `training` where they are.
    """
    token = _runners.set(runners)
    try:
        yield
    finally:
        _runners.reset(token)


@keras.saving.register_keras_serializable(package="sact_tf")
class AdaptiveBlock(HasThreshold, HasSurvivalProbabilities, KeepsFrozenParts, FoundByCheckpoints, keras.layers.Layer):
    """Residual units in sequence, with adaptive computation time (Figurnov et al., CVPR 2017, section 3).

    Maps features `(batch, height, width, channels)` to a dict:

    - `features`: the block's output, the average of the units' outputs under the halting distribution.
    - `ponder_cost`: float32, units executed plus remainder; `(batch,)` for ACT, `(batch, height, width)` for SACT.
    - `num_units`: int32 of the same shape, units executed.
    - `halting_distribution`: float32 `(..., units)`, sums to one over its last axis.

    A `vanilla` block has only `features`, the last unit's output.

    Args:
        units: list of Keras layers, called as `unit(features, residual_mask=None, training=None)`; at least one. They
            are settled, a tuple afterwards: make another block to exchange one.
            The first may change the shape, the others keep it. Only `sact` passes a mask, bool
            `(batch, height, width, 1)`: where it is False the unit must leave the features as they are.
        model_type: `"vanilla"`: no halting. `"act"`: each image halts by itself, every unit is executed.
            `"act_early_stopping"`: the same numbers, and units that no image of the batch needs are not executed.
            `"sact"`: each position halts by itself.
        ponder_weight: float, or `None`. With a number, the layer adds `ponder_weight * mean(ponder_cost)` to the
            losses of whatever model it is part of. It can be set later, which takes effect in the next step of compiled
            functions too. The models of this package leave it out and take the ponder cost from the outputs.
        epsilon: float in (0, 1); a decision is to halt once its probabilities add up to `1 - epsilon`.
        halting_branches: list of layers from features to float32 probabilities (`(batch, 1, 1, 1)`
            for ACT, `(batch, height, width, 1)` for SACT), one for every unit but the last; `None` makes
            them, see `make_halting_branches`.
        survival_probabilities: stochastic depth (Huang et al. 2016), for `vanilla`: floats in (0, 1], one for every
            unit, with which it survives a training step; `None` for always. One draw a unit and step, the same for all
            images. What does not survive is not executed, forward or backward; its shortcut remains. In inference all
            units run, their residuals multiplied by these. The draws come from a seed generator that is saved with the
            model. A unit that takes `skip_residual` in its call returns its shortcut alone with True; of any other
            unit, which must keep the shape, the identity remains.

    Halting is computed in float32 under every dtype policy, features are returned in the block's compute dtype. Whether
    a loss is scaled (`mixed_float16`) is decided by the policy of the model that is compiled, not by that of its
    blocks.
    """

    _settled = ("model_type",)
    _draws_name = "survival_seed"

    def __init__(
        self,
        units,
        model_type,
        ponder_weight=None,
        epsilon=halting.EPSILON,
        halting_branches=None,
        survival_probabilities=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.model_type = check_model_type(model_type)
        self._ponder_weight = PonderWeight(ponder_weight)
        self._traced_without_weight = False
        self._first_cannot_be_skipped = False
        self.epsilon = epsilon
        # Tuples: of a layer that took the place of another in a list Keras would not know, nor train or save it.
        self.units = tuple(_check_units(units, model_type))
        self.halting_branches = tuple(branches_of(halting_branches, model_type, len(self.units)))
        self.survival_probabilities = check_survival_probabilities(survival_probabilities, len(self.units), model_type)
        survives = self.survival_probabilities is None or min(self.survival_probabilities) == 1
        self._survival_seed = None if survives else keras.random.SeedGenerator(name=self._draws_name)
        for unit in (*self.units, *self.halting_branches):
            # Somebody's unit, made with trainable=False: Keras does not hand it on to what the unit is made of.
            if not unit.trainable and all(part.trainable for _, part, _ in parts_of(unit)):
                set_trainable(unit, False)
        self._freeze_parts()

    @property
    def ponder_weight(self):
        """Weight of the mean ponder cost in the losses, float, or `None` for no loss. It can be set."""
        return self._ponder_weight.value

    @ponder_weight.setter
    def ponder_weight(self, value):
        if value is not None and self._traced_without_weight:
            raise ValueError(
                f"Block '{self.name}' was compiled into a function without a ponder cost, which setting "
                "`ponder_weight` would not reach. Make the block with a number, `ponder_weight=0.0` if it is not to "
                "count yet, or set it before the first step."
            )
        self._ponder_weight.value = value

    def _get_own_losses(self):
        # Here, where Keras collects what `add_loss` was given, and not in `call`: so no exported graph reads the
        # weight's variable, which is none of the model's.
        return self._ponder_weight.weigh(super()._get_own_losses())

    def build(self, input_shape):
        if len(input_shape) != 4:
            raise ValueError(
                f"Block '{self.name}' takes features (batch, height, width, channels); for frames of sequences "
                f"there is sact_tf.layers.TimeDistributed(block). Received: shape={tuple(input_shape)}"
            )
        if input_shape[-1] is None:
            raise ValueError(
                f"Block '{self.name}' has weights for a number of channels. Say it where the features are made, as in "
                f"keras.Input((None, None, 8)). Received: shape={tuple(input_shape)}"
            )
        known = {id(part) for _, part, _ in parts_of(self)}
        try:
            self._build_units(input_shape)
        finally:
            # Also of units that fail now, and are called again.
            self._freeze_new_parts(known)

    def _build_units(self, input_shape):
        features = keras.KerasTensor(input_shape, dtype=self.compute_dtype)
        for index, unit in enumerate(self.units):
            entering, features = features.shape, check_features(unit(features), index, unit, self.name)
            if index == 0 and features.shape != entering and not takes(unit, "skip_residual"):
                self._first_cannot_be_skipped = True
            if index > 0 and features.shape != entering:
                raise ValueError(
                    "Only the first unit of an AdaptiveBlock may change the shape of the features, since the block "
                    f"averages its units' outputs. Unit {index + 1} of block '{self.name}' turned {entering} "
                    f"into {features.shape}; put it first in a block of its own."
                )
            # A saved block's branches are built before it.
            if index < len(self.halting_branches) and not self.halting_branches[index].built:
                self.halting_branches[index].build(features.shape)

    def call(self, features, training=None, picture=None):
        """See the class.

        Args:
            features: `(batch, height, width, channels)`.
            training: bool or `None`.
            picture: bool `(batch, height, width, 1)`, False where maps of images of unequal sizes are padded, below and
                to the right. Padding is never read, has no `num_units` and no `ponder_cost`; what `features` has there
                means nothing. Units and branches must take a `picture` in their call. `None` for maps without padding.
        """
        check_enters(features, self.name)
        if id(self) in _runners.get():
            given = {"picture": picture, "training": training or None}
            given = {name: value for name, value in given.items() if value is not None}
            return _runners.get()[id(self)](features, **given)
        if picture is not None and self.ponder_weight is not None:
            raise ValueError(
                f"Block '{self.name}' has a `ponder_weight`, and its mean would count padding. Set it to None, and "
                "take the ponder cost from the outputs where `picture` is True."
            )
        rule = self._rule(training)
        if rule is not None and rule.halting_distribution is not None:
            return running.under_distribution(self, features, training, rule, picture)
        if self.model_type == "vanilla":
            return running.without_halting(self, features, training, rule, picture)
        outputs = running.adaptively(self, features, training, rule, picture)
        if self.ponder_weight is not None:
            self.add_loss(ops.mean(outputs["ponder_cost"]))
        elif not self._traced_without_weight:
            self._traced_without_weight = _is_compiled()
        return outputs

    def _rule(self, training):
        """The `UnitRule` of this call, or `None` for all units everywhere: one that was handed in, or what survives."""
        rule = rule_of(self)
        if (rule is None or rule.kept is None) and training and self._survival_seed is not None:
            survives = draw_survival(self.survival_probabilities, self._survival_seed)
            rule = (rule or NO_RULE)._replace(kept=survives)
        elif rule is not None and rule.kept is not None:
            decides = self.model_type.startswith("act") and rule.halting_distribution is None
            rule = rule._replace(kept=check_kept(rule.kept, len(self.units), self.name, whole_images=decides))
        if rule is not None and self._first_cannot_be_skipped:
            raise ValueError(
                f"The first unit of block '{self.name}', {type(self.units[0]).__name__}, changes the shape of the "
                "features, and does not say what is left of it where it does not run. Give its `call` an argument "
                "`skip_residual`: with True it returns its shortcut alone, in the new shape."
            )
        return rule

    def residual_scales(self, training):
        """What each unit's residual is multiplied by: floats, `None` for 1. In inference its survival probability."""
        if training or self.survival_probabilities is None:
            return [None] * len(self.units)
        return [None if probability == 1 else probability for probability in self.survival_probabilities]

    def compute_output_spec(self, features, training=None, picture=None):
        if all(map(knows_its_shape, self.units)):
            return self._spec_of(self.units[0].compute_output_spec(features).shape)
        # By tracing, which also shows what is wrong with somebody's units. Keras would derive the shapes from
        # `compute_output_shape`, and declare the compute dtype for all.
        return keras.Operation.compute_output_spec(self, features, training=training, picture=picture)

    def _spec_of(self, shape):
        """What `call` returns for features of a shape after the first unit, as KerasTensors."""
        spec = {"features": keras.KerasTensor(shape, dtype=self.compute_dtype)}
        if self.model_type == "vanilla":
            return spec
        decisions = shape[:3] if self.model_type == "sact" else shape[:1]
        return {
            **spec,
            "ponder_cost": keras.KerasTensor(decisions, dtype="float32"),
            "num_units": keras.KerasTensor(decisions, dtype="int32"),
            "halting_distribution": keras.KerasTensor((*decisions, len(self.units)), dtype="float32"),
        }

    def compute_output_shape(self, input_shape):
        if not self.built:
            self.build(input_shape)
        outputs = self.compute_output_spec(keras.KerasTensor(input_shape, dtype=self.compute_dtype))
        return ShapesByName({name: value.shape for name, value in outputs.items()})

    def get_config(self):
        return {
            **super().get_config(),
            "units": [keras.saving.serialize_keras_object(unit) for unit in self.units],
            "model_type": self.model_type,
            "ponder_weight": self.ponder_weight,
            "epsilon": self.own_epsilon,
            "halting_branches": [keras.saving.serialize_keras_object(branch) for branch in self.halting_branches],
            "survival_probabilities": self.survival_probabilities,
        }

    def survival_seed_variables(self):
        """List of the variables that the draws of stochastic depth go on from in `fit`; empty without it."""
        return [] if self._survival_seed is None else [self._survival_seed.state]

    @classmethod
    def from_config(cls, config, custom_objects=None):
        layers = {name: config[name] for name in ("units", "halting_branches")}
        layers = {
            name: [keras.saving.deserialize_keras_object(layer, custom_objects) for layer in layers[name]]
            for name in layers
        }
        return super().from_config({**config, **layers})


def _is_compiled():
    """Whether a `tf.function` is being traced, and not only shapes inferred by Keras."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    # Keras infers shapes in a graph of this name.
    return tf.inside_function() and not tf.compat.v1.get_default_graph().name.startswith("scratch_graph")


def _check_units(units, model_type):
    units = list(units) if hasattr(units, "__iter__") else units
    if not isinstance(units, list) or not units or not all(isinstance(unit, keras.layers.Layer) for unit in units):
        raise ValueError(
            "`units` must be a list of at least one Keras layer, called as unit(features, residual_mask=None, "
            f"training=None). Received: units={units!r}"
        )
    for unit in units[1:] if model_type == "sact" else ():
        if "residual_mask" not in inspect.signature(unit.call).parameters:
            raise ValueError(
                "Under model_type='sact' every unit after the first must take a `residual_mask` in its call and keep "
                f"the features where it is False. {type(unit).__name__} does not; add the argument, or use "
                "model_type='act', which halts whole images and passes no mask."
            )
    return units
