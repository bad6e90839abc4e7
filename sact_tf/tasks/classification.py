"""Classification: an image has one class, and the network's answer is the class with the largest logit."""

import numpy as np
import tensorflow as tf

from sact_tf import visualize
from sact_tf.data import class_names, pipeline
from sact_tf.labels import class_targets
from sact_tf.models import build
from sact_tf.tasks.classify_jpeg import signatures
from sact_tf.tasks.label_files import read_labels
from sact_tf.tasks.sections import Chart, Table
from sact_tf.visualize import charts

__all__ = ["read_labels", "signatures"]

PROGRESS = ("cross_entropy", "accuracy")
SCORE = ("eval/Accuracy", "accuracy")
KEPT = ("logits",)
# With more classes than this, mistakes are listed and not shown as a matrix.
MATRIX_CLASSES = 20
LISTED_MISTAKES = 20

build_model = build.build_model
open_source = pipeline.open_source


def loss_terms(model, batch, outputs, tau=None):
    """`cross_entropy`, `ponder` and `regularization`, float32 scalars; see `Classifier.loss_terms`."""
    return model.loss_terms(batch["label"], outputs, tau=tau)


def observe(model, batch, outputs):
    """Share of the batch whose class is right."""
    del model
    return {"accuracy": tf.reduce_mean(_is_right(batch, outputs))}


def measure(model, batch, outputs):
    """`accuracy`, `recall` (among the best five) and `cross_entropy` of each image, float32 `(batch,)`."""
    logits, labels = outputs["logits"], batch["label"]
    # First, so that a label that is no class of the network is told in a sentence: the operations below raise, or give
    # NaN, as the device has it.
    with tf.control_dependencies([class_targets(labels, logits)[0]]):
        labels = tf.identity(labels)
    return {
        "accuracy": _is_right(batch, outputs),
        "recall": tf.cast(tf.math.in_top_k(labels, logits, min(5, model.num_classes)), tf.float32),
        "cross_entropy": tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits),
    }


def metrics(model, moments, other_losses):
    """The release's names: `eval/Accuracy`, `eval/Recall@5` with more than ten classes, and `eval/Mean Loss`."""
    figures = {"eval/Accuracy": moments["accuracy"]["mean"]}
    if model.num_classes > 10:
        figures["eval/Recall@5"] = moments["recall"]["mean"]
    return {**figures, "eval/Mean Loss": moments["cross_entropy"]["mean"] + other_losses}


def names_of(source, dataset, dataset_dir):
    """Names of the classes by their numbers, dict; empty where no conversion noted them."""
    del source
    names = pipeline.class_names_of(dataset, dataset_dir)
    return {number: class_names.escaped(name) for number, name in names.items() if name}


def captions(batch, outputs, names=None):
    """Label and what was read, of each image."""
    names, read = names or {}, np.argmax(outputs["logits"], -1)
    pairs = zip(np.asarray(batch["label"]).tolist(), read.tolist(), strict=True)
    return [f"{names.get(label, label)}, read as {names.get(number, number)}" for label, number in pairs]


def write_pictures(model, batch, outputs):
    """Heat maps; see `sact_tf.visualize.write_pictures`."""
    visualize.write_pictures(model, batch["image"], outputs)


def findings(model, names=None):
    """`Mistakes`, which counts what is read as what."""
    return Mistakes(model.num_classes, names)


class Mistakes:
    """Counts what is read as what.

    Attributes:
        counts: int64 `(classes, classes)`, rows the label, columns what was read.
    """

    def __init__(self, num_classes, names=None):
        self._called = [(names or {}).get(number, number) for number in range(num_classes)]
        self.counts = np.zeros((num_classes, num_classes), np.int64)

    def add(self, batch, outputs):
        """Takes a batch into account."""
        np.add.at(self.counts, (np.asarray(batch["label"]), np.argmax(outputs["logits"], -1)), 1)

    def sections(self):
        """Yields a matrix, or with many classes the most frequent mistakes."""
        counts = self.counts
        if len(counts) <= MATRIX_CLASSES:
            figure = charts.matrix(counts, self._called)
            yield Chart("What is read as what", figure, "Numbers of images.")
            return
        wrong = counts - np.diag(np.diag(counts))
        places = np.argsort(wrong, axis=None, kind="stable")[::-1][:LISTED_MISTAKES]
        pairs = [np.unravel_index(place, wrong.shape) for place in places]
        rows = [
            (self._called[label], self._called[read], wrong[label, read], counts[label].sum())
            for label, read in pairs
            if wrong[label, read]
        ]
        yield Table("The most frequent mistakes", ("label", "read as", "images", "of"), rows)


def _is_right(batch, outputs):
    return tf.cast(tf.argmax(outputs["logits"], axis=-1) == batch["label"], tf.float32)
