"""A backbone with a classification head and the loss of adaptive computation time."""

import keras

from sact_tf import losses
from sact_tf.config import check_tau
from sact_tf.layers.parts import convolution, normalization
from sact_tf.models.backbone import check_images


@keras.saving.register_keras_serializable(package="sact_tf")
class Classifier(keras.Model):
    """Images to class scores, with the backbone's outputs beside them.

    Maps float images `(batch, height, width, 3)` to the flat dict of the backbone plus `logits` and `predictions`
    (their softmax), float32 `(batch, num_classes)`. Its loss is cross entropy + `tau` times the sum over blocks of
    the mean ponder cost + L2 of the kernels, so `compile(optimizer)` and `fit(images, int labels)` are enough.

    Args:
        backbone: `Backbone`.
        num_classes: int.
        tau: float >= 0, weight of the ponder cost in the loss.
        label_smoothing: float in [0, 1), of the training loss.
        pool_first: bool. The CIFAR head averages first, the ImageNet head normalizes and activates first.
        activation: function after the batch normalization, or its Keras name.
        weight_decay: float, L2 of the logits' kernel in the release's halved convention.
        norm_momentum: float, decay of the moving averages of batch normalization.
        norm_epsilon: float, added to the variance.
    """

    def __init__(
        self,
        backbone,
        num_classes,
        tau=0.0,
        label_smoothing=0.0,
        pool_first=False,
        activation="relu",
        weight_decay=1e-4,
        norm_momentum=0.997,
        norm_epsilon=1e-5,
        **kwargs,
    ):
        tau = check_tau(tau)
        label_smoothing = losses.check_label_smoothing(label_smoothing)
        if backbone.ponder_weight is not None:
            raise ValueError(
                "A Classifier weighs the ponder cost by its own `tau`, so its backbone must have ponder_weight=None. "
                f"Received: a backbone with ponder_weight={backbone.ponder_weight}"
            )
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
        self.backbone = backbone
        self.num_classes = num_classes
        self.tau = tau
        self.label_smoothing = label_smoothing
        self.pool_first = pool_first
        self.activation = keras.activations.get(activation)
        self.weight_decay = weight_decay
        self.norm_momentum = norm_momentum
        self.norm_epsilon = norm_epsilon
        self.postnorm = postnorm
        self.logits_conv = logits
        self.accuracy = keras.metrics.SparseCategoricalAccuracy(name="accuracy")
        self.ponder_cost = keras.metrics.Mean(name="ponder_cost")

    @property
    def blocks(self):
        """Dict from a block's name to its `AdaptiveBlock`."""
        return self.backbone.blocks

    def call(self, images, training=None, mask=None):
        check_images(images, self.backbone.minimum_size)
        return super().call(images, training=training, mask=mask)

    def head_convolutions(self):
        """Kernel shapes of what runs once an image, besides the backbone; see `sact_tf.flops.count`."""
        return [self.logits_conv.kernel.shape]

    def loss_terms(self, labels, outputs):
        """The three terms of the loss as float32 scalars: `cross_entropy`, `ponder` and `regularization`."""
        return {
            "cross_entropy": losses.cross_entropy(labels, outputs["logits"], self.label_smoothing),
            "ponder": losses.ponder_loss(outputs, self.tau),
            "regularization": losses.regularization_loss(self),
        }

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The loss of `fit`; see `loss_terms`. Losses given to `compile` and sample weights are not supported."""
        if sample_weight is not None:
            raise ValueError("Classifier does not weigh samples: its ponder cost is a mean over the batch.")
        return losses.scale_for_replicas(sum(self.loss_terms(y, y_pred).values()))

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        self.accuracy.update_state(y, y_pred["logits"])
        for cost in losses.mean_ponder_costs(y_pred).values():
            self.ponder_cost.update_state(cost)
        return self.get_metrics_result()

    def get_config(self):
        return {
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            "num_classes": self.num_classes,
            "tau": self.tau,
            "label_smoothing": self.label_smoothing,
            "pool_first": self.pool_first,
            "activation": keras.activations.serialize(self.activation),
            "weight_decay": self.weight_decay,
            "norm_momentum": self.norm_momentum,
            "norm_epsilon": self.norm_epsilon,
            "name": self.name,
            "trainable": self.trainable,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        backbone = keras.saving.deserialize_keras_object(config["backbone"], custom_objects)
        activation = keras.activations.get(config["activation"])
        return cls(**{**config, "backbone": backbone, "activation": activation})
