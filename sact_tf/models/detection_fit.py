"""What Keras' `fit`, `evaluate`, `compile` and `export` are told of a detector: its loss, and what it is called on."""

import keras
import tensorflow as tf

from sact_tf import losses
from sact_tf.config.checks import check_counts


class FitsBoxes:
    """Mixin of `FasterRCNN`, before `HasItsOwnLoss` and `keras.Model`."""

    _refused_in_compile = ("loss", "loss_weights", "metrics", "weighted_metrics")

    def __setattr__(self, name, value):
        # They can be set, with effect in what is compiled after that.
        if name in ("num_proposals", "head_samples"):
            check_counts(**{name: value})
        super().__setattr__(name, value)

    def compile(self, optimizer="rmsprop", loss=None, loss_weights=None, metrics=None, weighted_metrics=None, **kwargs):
        """As in Keras, without a loss and metrics: the model has its own loss, which `fit` and `evaluate` report.

        Args:
            optimizer: Keras optimizer, or its name.
            loss, loss_weights, metrics, weighted_metrics: `None`.
            **kwargs: other arguments of `keras.Model.compile`.

        Raises:
            ValueError: for a loss or metrics.
        """
        given = {"loss": loss, "loss_weights": loss_weights, "metrics": metrics, "weighted_metrics": weighted_metrics}
        given = {name: value for name, value in given.items() if value is not None}
        if given:
            raise ValueError(
                "FasterRCNN has its own loss, and boxes have no metrics in Keras; leave them out of `compile`. Weights "
                "of the loss are `model.tau` and `weight_decay`; override `loss_terms` in a subclass for others. "
                "eval.py prints COCO's figures of a run, and sact_tf.detection.scoring computes them of what `predict` "
                f"found. Received: {given}"
            )
        super().compile(optimizer, **kwargs)

    def test_step(self, data):
        """The loss of a batch in inference; the boxes that it looks at are the same in every evaluation."""
        inputs, truth, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        _refuse_weights(sample_weight)
        outputs = self(inputs, training=False, regions=True)
        images = tf.shape(outputs["proposals"])[0]
        terms = self.loss_terms(truth, outputs, draws=(0, 0, tf.range(images)), training=False)
        self._loss_tracker.update_state(sum(terms.values()), sample_weight=images)
        return self.get_metrics_result()

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The loss of `fit`, of inputs and dicts of boxes and classes."""
        _refuse_weights(sample_weight)
        return losses.scale_for_replicas(sum(self.loss_terms(y, y_pred).values()))

    def export(self, filepath, format="tf_saved_model", verbose=None, input_signature=None, **kwargs):
        """As in Keras, by default for `images` and `image_size` of any batch, height and width.

        `python -m sact_tf.export` writes the engine, signatures for files of pictures, and ONNX files that agree with
        the detector.
        """
        if input_signature is None:
            images = tf.TensorSpec((None, None, None, 3), tf.float32, name="images")
            input_signature = [{"images": images, "image_size": tf.TensorSpec((None, 2), tf.int32, name="image_size")}]
        super().export(filepath, format, verbose, input_signature, **kwargs)

    def quantize(self, *args, **kwargs):
        """Refused, with a ValueError: Keras knows no convolutions in int8, and could not load what it would change."""
        raise ValueError(
            "Keras quantizes the two dense layers of a detector and none of its convolutions, and a file of such a "
            "detector could not be loaded. Leave it as it is; sact_tf.sparse.compile(model) makes it faster."
        )


def _refuse_weights(sample_weight):
    if sample_weight is not None:
        raise ValueError("A detector's loss takes no sample_weight. Leave it out.")
