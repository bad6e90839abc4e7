"""What networks are trained for. Training, evaluation, export and studies know tasks; only a task knows its labels.

A task is an object with these functions and constants, as a rule a module of this room; the data set decides which it
is. All tasks have

- `build_model(config, image_size=None)`: from a `ModelConfig` to a Keras model for square images of that size, or any.
  It maps images to a flat dict, and has a `backbone`, the `blocks` of it, and `tau`.
- `open_source(dataset, split, image_size, num_examples, dataset_dir, log)`: a `Source` whose batches are dicts of
  `image` and of whatever else the other functions of the task read from a batch.

and for training

- `loss_terms(model, batch, outputs, tau=None)`: dict of float32 scalars, whose sum is the loss; `tau` replaces the
  model's.
- `observe(model, batch, outputs)`: dict of scalars that are reported for a training step beside the terms of the loss.
- `PROGRESS`: names of what the lines of progress show of both.
- `write_pictures(model, batch, outputs)`: for TensorBoard, with the default summary writer.

for evaluation and its report

- `measure(model, batch, outputs)`: dict from a name to the values of one batch, an entry an image (or a position).
- `metrics(model, moments, other_losses)`: from the `mean`, `std` and `max` of each of these over a split to the metrics
  that are printed, the loss among them; `other_losses` is what the terms without labels add.
- `SCORE`: name of the metric that studies compare, and what people call it.
- `findings(model)`: object that is given each batch, `add(batch, outputs)`, and shows in `sections()` what it found, as
  `Chart`s, `Table`s and `Picture`s of a report.
- `captions(batch, outputs)`: a text for each image of a batch.
- `KEPT`: names of the outputs that `findings`, `captions` and `marks` read.

for SavedModels and the commands that answer (`export`, `demo`, `detect`); without them there are none

- `read_labels(path, num_classes, dataset, log)`: texts for the classes, of a file, or `None`.
- `signatures(model, predict, dataset, image_size, labels, directory)`: what a SavedModel answers to, besides images.

A task may have, where it differs from the simplest one:

- `inputs(batch)`: what the model is called on, if it is more than `batch["image"]`.
- `check_training(model, image_size)`: raises ValueError, of a model that cannot learn from images of every size.
- `DRAWS`, True: `loss_terms` is given `draws` too, `(seed, step, images)`, ints and int `(batch,)`, which alone decide
  on what it draws at random, so that a run that resumes draws what it would have drawn.
- `collect(model, source)`, of figures that are no means over images: object that is given each batch of an evaluation,
  `add(batch, outputs)`, and then says its `metrics()`, a dict of floats.
- `names_of(source, dataset, dataset_dir)`, of data sets that name their classes: dict from the numbers of classes to
  texts, without those that have no name. `findings`, `captions` and `marks` then take it as `names`.
- `marks(batch, outputs)`, of pictures that have something drawn on them: an entry for each image of a batch.
- `gallery(entries)`: a picture of the images of a `Record`, which has the marks of each, and its caption.
- `FLOPS_NAME`, a noun, and
- `FLOPS_NOTE`, a sentence: which FLOPs are counted, where it is not all of the network's.
- `FIRST_LABEL`: number of the class that the first of the labels is of, if not 0.
- `known_labels(num_classes, dataset, dataset_dir, log, checkpoint)`, of data sets that name their classes: what is said
  where no file of labels is given.
- `SERVED_INPUTS`, of a model that is called on more than images: the `tf.TensorSpec`s of the rest in a SavedModel, and
- `served_inputs(model, images, *rest)`: what the model is called on then, checked where the graph runs.
- `facts(model, image_size)`: what `export.json` says beside the configuration.
"""

from sact_tf.config import check_dataset
from sact_tf.data import trained_classes
from sact_tf.tasks import classification, detection

TASKS = {"classification": classification, "detection": detection}


def task_of(dataset):
    """The task of a data set, a key of `sact_tf.config.DATASETS`."""
    return TASKS[check_dataset(dataset)["task"]]


def inputs_of(task, batch):
    """What a task's model is called on: the images, or what its `inputs` says."""
    return task.inputs(batch) if hasattr(task, "inputs") else batch["image"]


def class_names_of(task, source, config):
    """Names of a source's classes by their numbers, dict; empty for a task, or a data set, that does not name them.

    Args:
        task: what `task_of` returns.
        source: what its `open_source` returned.
        config: `TrainingConfig` or `EvaluationConfig`, of the same data set.
    """
    return task.names_of(source, config.dataset, config.dataset_dir) if hasattr(task, "names_of") else {}


def labels_of_the_run(labels, config):
    """The labels that a task's `read_labels` returned, or None, after a comparison with what the run noted.

    Args:
        labels: list of text, or None.
        config: configuration of a command, with `dataset` and `checkpoint_dir`.

    Raises:
        ValueError: if they are the run's in another order.
    """
    first = getattr(task_of(config.dataset), "FIRST_LABEL", 0)
    trained_classes.check(config.checkpoint_dir, dict(enumerate(labels or (), first)))
    return labels
