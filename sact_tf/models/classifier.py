"""A backbone with a classification head and the loss of adaptive computation time."""

import keras
from keras import ops

from sact_tf import losses
from sact_tf.config import check_tau
from sact_tf.config.checks import check_counts
from sact_tf.labels import class_indices
from sact_tf.layers.freezing import KeepsFrozenParts
from sact_tf.layers.parts import NORM_EPSILON, NORM_MOMENTUM, convolution, normalization
from sact_tf.models.backbone import Backbone, check_images, images_of
from sact_tf.models.cloning import RefusesOtherLayers
from sact_tf.models.finite import blank_unless_finite, nan_unless
from sact_tf.models.own_loss import HasItsOwnLoss
from sact_tf.models.predicting import PredictsWithoutFeatures

# What is said of classes, which metrics given to `compile` can be for.
_SCORES = ("logits", "predictions")


@keras.saving.register_keras_serializable(package="sact_tf")
class Classifier(HasItsOwnLoss, PredictsWithoutFeatures, RefusesOtherLayers, KeepsFrozenParts, keras.Model):
    """Images to class scores, with the backbone's outputs beside them.

    Maps float images `(batch, height, width, 3)` to the flat dict of the backbone plus `logits` and `predictions`
    (their softmax), float32 `(batch, num_classes)`, NaN for an image with NaN or infinity in it. Its loss is cross
    entropy + `tau` times the sum over blocks of the mean ponder cost + L2 of the kernels, so `compile(optimizer)` and
    `fit(images, labels)` are enough. Labels are ints `(batch,)` or `(batch, 1)`, or one-hot `(batch, num_classes)`;
    `sample_weight` and `class_weight` weigh the cross entropy alone. `fit` and `evaluate` report `loss`, `accuracy` and
    `ponder_cost`, the sum over blocks of the mean ponder cost.

    Under every dtype policy images enter, halting is decided, and logits and loss are computed in float32; features
    and their kernels follow the policy of the backbone, "float64" and "float16" too. As under a global policy,
    `compile` scales the loss for "mixed_float16".

    Args:
        backbone: `Backbone`.
        num_classes: int.
        tau: float >= 0, weight of the ponder cost in the loss. It can be set later, `model.tau = 0.01`, which takes
            effect in the next step of compiled functions too; `sact_tf.callbacks.TauSchedule` does that in `fit`.
        label_smoothing: float in [0, 1), of the training loss.
        pool_first: bool. The CIFAR head averages first, the ImageNet head normalizes and activates first.
        activation: function after the batch normalization, or its Keras name.
        weight_decay: float, L2 of the logits' kernel in the release's halved convention.
        norm_momentum: float, decay of the moving averages of batch normalization.
        norm_epsilon: float, added to the variance.
    """

    _settled = ("num_classes", "pool_first", "activation", "weight_decay", "norm_momentum", "norm_epsilon")

    def __init__(
        self,
        backbone,
        num_classes,
        tau=0.0,
        label_smoothing=0.0,
        pool_first=False,
        activation="relu",
        weight_decay=1e-4,
        norm_momentum=NORM_MOMENTUM,
        norm_epsilon=NORM_EPSILON,
        **kwargs,
    ):
        check_counts(num_classes=num_classes)
        tau = check_tau(tau)
        label_smoothing = losses.check_label_smoothing(label_smoothing)
        _check_backbone(backbone)
        dtype = backbone.dtype_policy
        postnorm = normalization(norm_momentum, norm_epsilon, dtype, "postnorm")
        pool = keras.layers.GlobalAveragePooling2D(keepdims=True, dtype=dtype, name="pool", data_format="channels_last")
        activate = keras.layers.Activation(activation, dtype=dtype, name="activation")
        # float32 under every policy, as the loss is.
        logits = convolution(num_classes, 1, weight_decay, "float32", "logits")
        order = (pool, postnorm, activate) if pool_first else (postnorm, activate, pool)

        images = keras.Input((*backbone.image_shape[:2], 3), name="images", dtype="float32")
        outputs = dict(backbone(images))
        features = outputs[list(backbone.blocks)[-1]]
        for layer in (*order, logits):
            features = layer(features)
        outputs["logits"] = keras.layers.Reshape((num_classes,), dtype="float32", name="flat_logits")(features)
        outputs["predictions"] = keras.layers.Softmax(dtype="float32", name="predictions")(outputs["logits"])
        super().__init__(inputs=images, outputs=outputs, **kwargs)
        # Leaves the judgement of the images to `check_images`, whose errors name the way out.
        self.input_spec = None
        # A functional model takes no dtype; `compile` scales the loss by this one.
        self.dtype_policy = dtype
        self.backbone = backbone
        self.num_classes = num_classes
        self._tau = losses.PonderWeight(tau)
        self._label_smoothing = label_smoothing
        self.pool_first = pool_first
        self.activation = keras.activations.get(activation)
        self.weight_decay = weight_decay
        self.norm_momentum = norm_momentum
        self.norm_epsilon = norm_epsilon
        self.postnorm = postnorm
        self.logits_conv = logits
        self.accuracy = keras.metrics.SparseCategoricalAccuracy(name="accuracy")
        self.ponder_cost = keras.metrics.Mean(name="ponder_cost")
        self._metrics_by_score = False
        self._freeze_parts()

    @property
    def blocks(self):
        """Dict from a block's name to its `AdaptiveBlock`."""
        return self.backbone.blocks

    @property
    def label_smoothing(self):
        """Float in [0, 1). It can be set, with effect in what is compiled after that: call `compile` again."""
        return self._label_smoothing

    @label_smoothing.setter
    def label_smoothing(self, label_smoothing):
        self._label_smoothing = losses.check_label_smoothing(label_smoothing)

    def call(self, images, training=None, mask=None):
        images = images_of(images)
        check_images(images, self.backbone.minimum_size)
        images, finite = blank_unless_finite(images)
        outputs = super().call(images, training=training, mask=mask)
        return {**outputs, **{name: nan_unless(finite, outputs[name]) for name in _SCORES}}

    def head_convolutions(self):
        """Kernel shapes of what runs once an image, besides the backbone; see `sact_tf.flops.count`."""
        return [self.logits_conv.kernel.shape]

    def loss_terms(self, labels, outputs, tau=None, sample_weight=None):
        """The three terms of the loss as float32 scalars: `cross_entropy`, `ponder` and `regularization`.

        Args:
            labels: as in `losses.cross_entropy`.
            outputs: dict that the model returned.
            tau: float or float32 scalar in the place of the model's `tau`.
            sample_weight: weights of the images' cross entropy, `(batch,)`. Ponder cost and L2 have none.
        """
        tau = self._tau.tensor() if tau is None else tau
        return {
            "cross_entropy": losses.cross_entropy(labels, outputs["logits"], self.label_smoothing, sample_weight),
            "ponder": losses.ponder_loss(outputs, tau),
            "regularization": losses.regularization_loss(self),
        }

    def compile(self, optimizer="rmsprop", loss=None, loss_weights=None, metrics=None, weighted_metrics=None, **kwargs):
        """As in Keras, without a loss: the model has its own.

        Args:
            optimizer: Keras optimizer, or its name.
            loss, loss_weights: `None`.
            metrics: list of metrics of labels and logits, or a dict of such lists for "logits" and "predictions".
            weighted_metrics: the same, weighted as the samples are.
            **kwargs: other arguments of `keras.Model.compile`.

        Raises:
            ValueError: for a loss, or metrics of other outputs.
        """
        if loss is not None or loss_weights is not None:
            raise ValueError(
                "Classifier has its own loss (cross entropy + tau * ponder cost + L2); leave `loss` and `loss_weights` "
                "out of `compile`. Its weights are `model.tau` and the constructor's `weight_decay`; for another "
                "loss, put `model.backbone` into a model of your own, or override `loss_terms` in a subclass. "
                f"Received: loss={loss!r}, loss_weights={loss_weights!r}"
            )
        metrics, weighted_metrics = _metrics_of_scores(metrics, weighted_metrics)
        if self.compiled and metrics is None and weighted_metrics is None:
            # Keras would go on with those of the last time.
            metrics = []
        self._metrics_by_score = isinstance(metrics, dict) or isinstance(weighted_metrics, dict)
        super().compile(optimizer, metrics=metrics, weighted_metrics=weighted_metrics, **kwargs)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The loss of `fit`: `loss_terms`, and what layers of the backbone that are not ours gave to `add_loss`."""
        # It may have been set since the constructor looked, and would have no effect here.
        _refuse_ponder_weight(self.backbone)
        terms = self.loss_terms(y, y_pred, sample_weight=sample_weight)
        return losses.scale_for_replicas(sum(terms.values()) + losses.added_losses(self))

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        scores = y_pred["logits"]
        self.accuracy.update_state(class_indices(y, scores), scores)
        ponder_cost = sum(losses.mean_ponder_costs(y_pred).values(), start=ops.zeros((), "float32"))
        self.ponder_cost.update_state(ponder_cost, sample_weight=ops.shape(scores)[0])
        if self._metrics_by_score:
            scores, y = {name: y_pred[name] for name in _SCORES}, dict.fromkeys(_SCORES, y)
        return super().compute_metrics(x, y, scores, sample_weight)

    @property
    def metrics(self):
        """All metrics, but those of our own whose name one of `compile` has taken."""
        metrics = super().metrics
        given = {metric.name for compiled in metrics for metric in getattr(compiled, "metrics", ())}
        return [
            metric for metric in metrics if metric.name not in given or metric not in (self.accuracy, self.ponder_cost)
        ]

    def get_config(self):
        config = super().get_config()
        # The backbone's.
        del config["dtype"]
        return {
            **config,
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            "num_classes": self.num_classes,
            "tau": self.tau,
            "label_smoothing": self.label_smoothing,
            "pool_first": self.pool_first,
            "activation": keras.activations.serialize(self.activation),
            "weight_decay": self.weight_decay,
            "norm_momentum": self.norm_momentum,
            "norm_epsilon": self.norm_epsilon,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        backbone = keras.saving.deserialize_keras_object(config["backbone"], custom_objects)
        activation = keras.activations.get(config["activation"])
        return super().from_config({**config, "backbone": backbone, "activation": activation})


def _check_backbone(backbone):
    if not isinstance(backbone, Backbone):
        raise ValueError(
            "`backbone` must be a Backbone, such as `model.backbone` of sact_tf.cifar_resnet(...) and "
            "sact_tf.imagenet_resnet(...), which make a Classifier of their own. To put an AdaptiveBlock into another "
            f"Keras model, docs/composing.md shows how. Received: backbone={backbone!r}"
        )
    _refuse_ponder_weight(backbone)


def _refuse_ponder_weight(backbone):
    if backbone.ponder_weight is not None:
        raise ValueError(
            "A Classifier weighs the ponder cost by its own `tau`, so its backbone must have ponder_weight=None. "
            f"Received: a backbone with ponder_weight={backbone.ponder_weight}"
        )


def _metrics_of_scores(*arguments):
    """Lists as they are; if one is a dict, all as dicts."""
    dicts = [metrics for metrics in arguments if isinstance(metrics, dict)]
    if any(set(metrics) - set(_SCORES) for metrics in dicts):
        raise ValueError(
            f"Metrics can be a list, of metrics of the logits, or a dict with the keys {_SCORES}. Received: "
            f"{[sorted(metrics) for metrics in dicts]}"
        )
    if not dicts:
        return arguments
    return [metrics if isinstance(metrics, dict) or not metrics else {"logits": metrics} for metrics in arguments]
