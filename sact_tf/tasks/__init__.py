"""What networks are trained for. Training, evaluation, export and studies know tasks; only a task knows its labels.

A task is an object with these functions, as a rule a module of this room; the data set decides which it is:

- `build_model(config, image_size=None)`: from a `ModelConfig` to a Keras model for square images of that size, or any.
  It maps images to a flat dict, and has a `backbone`, the `blocks` of it, and `tau`.
- `open_source(dataset, split, image_size, num_examples, dataset_dir, log)`: a `Source` whose batches are dicts of
  `image` and of whatever else the other functions of the task read from a batch.
- `check_training(model, image_size)`, of a task whose model cannot learn from images of every size: raises ValueError.
- `loss_terms(model, batch, outputs, tau=None)`: dict of float32 scalars, whose sum is the loss; `tau` replaces the
  model's. A task with `DRAWS = True` is given `draws` too: `(seed, step, images)`, ints and int `(batch,)`, which
  alone decide on what it draws at random, so that a run that resumes draws what it would have drawn.
- `observe(model, batch, outputs)`: dict of scalars that are reported for a training step beside the terms of the loss;
  `PROGRESS` names what the lines of progress show of both.
- `measure(model, batch, outputs)`: dict from a name to the values of one batch, an entry an image (or a position).
- `metrics(model, moments, other_losses)`: from the `mean`, `std` and `max` of each of these over a split to the metrics
  that are printed, the loss among them; `other_losses` is what the terms without labels add. `SCORE` is the name of the
  metric that studies compare, and what people call it.
- `collect(model, source)`, of figures that are no means over images: object that is given each batch of an evaluation,
  `add(batch, outputs)`, and then says its `metrics()`, a dict of floats.
- `inputs(batch)`, of a model that is called on more than `batch["image"]`.
- `findings(model)`: object that is given each batch, `add(batch, outputs)`, and shows in `sections()` what it found, as
  `Chart`s, `Table`s and `Picture`s of a report. `KEPT` names the outputs that it, `captions` and `marks` read.
  `FLOPS_NAME`, a noun, and `FLOPS_NOTE`, a sentence, say which FLOPs are counted where it is not all of the network's.
- `captions(batch, outputs)`: a text for each image of a batch.
- `names_of(source, dataset, dataset_dir)`, of a task whose data sets name their classes: dict from the numbers of
  classes to texts, without those that have no name. `findings`, `captions` and `marks` then take it as `names`.
- `marks(batch, outputs)`, of a task whose pictures have something drawn on them: an entry for each image of a batch,
  and `gallery(entries)`: a picture of the images of a `Record`, which has the marks of each, and its caption.
- `write_pictures(model, batch, outputs)`: for TensorBoard, with the default summary writer.
- `read_labels(path, num_classes, dataset, log)` and `signatures(model, predict, dataset, image_size, labels,
  directory)`: what a SavedModel answers to, besides images; without `signatures` there is no SavedModel. The first
  of the labels is that of class `FIRST_LABEL`, 0 by default.
- `known_labels(num_classes, dataset, dataset_dir, log, checkpoint)`, of a task whose data sets name their classes: what
  a SavedModel says where no file of labels is given.
- `SERVED_INPUTS`, of a model that is called on more than images: the `tf.TensorSpec`s of the rest in a SavedModel, and
  `served_inputs(model, images, *rest)`: what the model is called on, checked where the graph runs. `facts(model,
  image_size)`: what `export.json` says beside the configuration.
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
