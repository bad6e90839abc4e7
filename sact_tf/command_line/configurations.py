"""From flags to configurations: what is given wins, then what the run has, then the data set's defaults."""

import dataclasses
import errno
import os
import types

from absl import flags

from sact_tf import config as configs
from sact_tf.command_line.idle import refuse_idle_model_flags, refuse_idle_training_flags
from sact_tf.data import pipeline
from sact_tf.progress import counted, print_line
from sact_tf.training.latest import latest
from sact_tf.training.strategies import make_strategy

FLAGS = flags.FLAGS


def training_config():
    """The `TrainingConfig` that the flags ask for."""
    dataset, defaults = _dataset_and_defaults()
    defaults = {**defaults, **_own_classes(dataset, defaults)}
    if defaults["task"] == "detection":
        # Batches of a detector are small; one that starts from a checkpoint keeps the statistics that it has there.
        defaults = {**defaults, "freeze_batch_norm": FLAGS.finetune_path is not None}
    boundaries = _boundaries(_flag("learning_rate_boundaries", defaults))
    config = _configuration(configs.TrainingConfig, dataset, defaults, learning_rate_boundaries=boundaries)
    refuse_idle_training_flags(FLAGS, config)
    return config


def strategy():
    """The `tf.distribute.Strategy` of `--strategy`."""
    return make_strategy(FLAGS.strategy)


def train_log_dir():
    """The run's directory: the flag's, or the data set's default."""
    return FLAGS.train_log_dir or _dataset_and_defaults()[1]["train_log_dir"]


def checkpoint_dir():
    """What is evaluated: the flag's directory or checkpoint, or the data set's default."""
    return FLAGS.checkpoint_dir or _dataset_and_defaults()[1]["train_log_dir"]


def evaluates_once():
    """Whether the flags ask for the latest checkpoint alone."""
    return FLAGS.evaluate_once


def evaluation_config():
    """The `EvaluationConfig` that the flags ask for; what they leave out comes from the run, then from the data set."""
    dataset, defaults = _run_and_defaults()
    eval_dir = FLAGS.eval_dir or os.path.join(configs.run_directory(defaults["checkpoint_dir"]), "eval")
    return _split_configuration(configs.EvaluationConfig, dataset, defaults, eval_dir=eval_dir)


def map_export_config():
    """The `MapExportConfig` that the flags ask for; see `evaluation_config`."""
    return _split_configuration(configs.MapExportConfig, *_run_and_defaults())


def split_config(checkpoint_dir):
    """The `SplitConfig` that the flags ask for of one of several checkpoints; see `evaluation_config`."""
    return _split_configuration(configs.SplitConfig, *_run_and_defaults(checkpoint_dir))


def export_config():
    """The `ExportConfig` that the flags ask for; see `evaluation_config`."""
    engine = FLAGS.engine or ("sparse" if FLAGS.format in ("saved_model", "onnx") else None)
    config = _configuration(configs.ExportConfig, *_run_and_defaults(), engine=engine)
    if FLAGS.image_size is not None and not (config.preprocess or config.format == "saved_model"):
        raise ValueError(
            "--image_size is what a SavedModel brings files to, and an ONNX file with --preprocess pictures; what you "
            f"asked for takes images of any size, and resizes none. Leave it out. Received: --format={config.format}, "
            f"--image_size={config.image_size}"
        )
    task = configs.check_dataset(config.dataset)["task"]
    if FLAGS.dataset_dir is not None and (config.format != "saved_model" or task != "detection" or config.labels):
        raise ValueError(
            "--dataset_dir names the classes in the SavedModel of a detector without --labels, and nothing else. Leave "
            f"it out. Received: --format={config.format}, a network of {task}, --dataset_dir={FLAGS.dataset_dir}"
        )
    return config


def ponder_map_config():
    """The `PonderMapConfig` that the flags ask for; see `evaluation_config`."""
    # Photographs keep their size unless told otherwise; the run's is that of what it was trained on.
    return _configuration(configs.PonderMapConfig, *_run_and_defaults(), image_size=FLAGS.image_size)


def detect_config():
    """The `DetectConfig` that the flags ask for; see `evaluation_config`."""
    return _configuration(configs.DetectConfig, *_run_and_defaults())


def saliency_config():
    """The `SaliencyConfig` that the flags ask for; see `evaluation_config`."""
    return _photograph_configuration(configs.SaliencyConfig)


def demo_config():
    """The `DemoConfig` that the flags ask for; see `evaluation_config`."""
    return _photograph_configuration(configs.DemoConfig)


def _photograph_configuration(kind):
    """A configuration for photographs of a classifier or a detector, as `ponder_map` and `detect` take them."""
    dataset, defaults = _run_and_defaults()
    size = _flag("image_size", defaults if defaults["task"] == "detection" else {})
    return _configuration(kind, dataset, defaults, image_size=size)


def _split_configuration(kind, dataset, defaults, **fixed):
    if _flag("dataset_dir", {}) is None:
        directory = configs.run_directory(defaults["checkpoint_dir"])
        configs.check_noted_data(defaults.get("dataset_dir"), directory, "Give --dataset_dir where the data are now.")
    return _configuration(kind, dataset, defaults, batch_size=_flag("eval_batch_size", defaults), **fixed)


def _configuration(kind, dataset, defaults, **fixed):
    """A configuration of a kind: each of its fields is what is fixed here, or what its flag says, or the default."""
    fields = {"model": _model_config(dataset, defaults), "dataset": dataset, **fixed}
    for field in dataclasses.fields(kind):
        value = fields[field.name] if field.name in fields else _flag(field.name, defaults)
        # Without a value, a field that has a default of its own takes that.
        if value is not None or field.default is dataclasses.MISSING:
            fields[field.name] = value
    return kind(**fields)


def _own_classes(dataset, defaults):
    """The number of classes of data of one's own, as it was noted beside them; a run that goes on keeps its own."""
    directory, dataset_dir = train_log_dir(), _flag("dataset_dir", defaults)
    found = pipeline.num_classes_of(dataset, dataset_dir)
    # Without a checkpoint nothing goes on: the run starts afresh, on other data maybe.
    if latest(directory) and os.path.exists(os.path.join(directory, configs.CONFIG_FILE)):
        run = configs.read_config(directory)
        if found and found > run.model.num_classes and dataset == run.dataset:
            raise ValueError(
                f"{dataset_dir} holds {counted(found, 'class')}, and the run in {directory} was begun with "
                f"{run.model.num_classes}. Give the --dataset_dir that it was begun with, or another --train_log_dir, "
                "with --finetune_path and --finetune_skip_logits to start from its weights."
            )
        return {"num_classes": run.model.num_classes}
    return {"num_classes": found} if found else {}


def _model_config(dataset, defaults):
    names = [field.name for field in dataclasses.fields(configs.ModelConfig)]
    fields = {name: _flag(name, defaults) for name in names}
    given = {name: value for name, value in fields.items() if value is not None}
    # First, as what it says of another network would be about that network's depth.
    configs.check_task_settings(dataset, given)
    model = configs.ModelConfig(**given)
    refuse_idle_model_flags(FLAGS, model, configs.check_dataset(dataset)["task"])
    return model


def _run_and_defaults(checkpoint_dir=None):
    """The data set, and what flags that are not given stand for: what the run says, where the checkpoint is of one."""
    dataset, defaults = _dataset_and_defaults()
    checkpoint_dir = checkpoint_dir or FLAGS.checkpoint_dir or defaults["train_log_dir"]
    directory = configs.run_directory(checkpoint_dir)
    if os.path.isdir(directory) and not os.access(directory, os.X_OK):
        # In a directory that cannot be entered, the run would seem not to be there.
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), directory)
    if os.path.exists(os.path.join(directory, configs.CONFIG_FILE)):
        run = configs.read_config(directory)
        chosen = _dataset_flag().present or FLAGS.experiment
        dataset = dataset if chosen else run.dataset
        _check_same_task(directory, run.dataset, dataset)
        defaults = {**configs.check_dataset(dataset), **dataclasses.asdict(run.model), "image_size": run.image_size}
        defaults["use_moving_average"] = run.moving_average_decay is not None
        if dataset == run.dataset:
            defaults["dataset_dir"] = run.dataset_dir
        _tell_of_other_flags(run, checkpoint_dir, defaults)
    return dataset, {**defaults, "checkpoint_dir": checkpoint_dir}


def _tell_of_other_flags(run, checkpoint_dir, defaults):
    """Says so where flags ask for another network than the run's, which its weights fit all the same."""
    asked = {field.name: _flag(field.name, defaults) for field in dataclasses.fields(configs.ModelConfig)}
    for name, (there, here) in configs.beyond_weights(run, types.SimpleNamespace(**asked)).items():
        print_line(
            f"Note: {checkpoint_dir} was trained with {name}={there!r}. With --{name}={here!r} its weights are those "
            "of another network; leave the flag out unless that is meant."
        )


def _check_same_task(directory, trained_on, dataset):
    """Raises ValueError where a network is to be what it was not trained to be."""
    tasks = [configs.check_dataset(each)["task"] for each in (trained_on, dataset)]
    if tasks[0] != tasks[1]:
        raise ValueError(
            f"The run in {directory} was trained on {trained_on}, a data set of {tasks[0]}, and {dataset} is one of "
            f"{tasks[1]}. Leave out --{_dataset_flag().name}, or give another --checkpoint_dir. Received: "
            f"--{_dataset_flag().name}={dataset}"
        )


def _dataset_and_defaults():
    """The data set, and a dict of what flags that are not given stand for; an experiment's settings come first."""
    flag = _dataset_flag()
    if not FLAGS.experiment:
        return flag.value, configs.check_dataset(flag.value)
    experiment = configs.EXPERIMENTS[FLAGS.experiment]
    if flag.present and flag.value != experiment.dataset:
        raise ValueError(
            f"--experiment={FLAGS.experiment} is a run on {experiment.dataset}. Leave out --{flag.name}, or give no "
            f"--experiment. Received: --{flag.name}={flag.value}"
        )
    return experiment.dataset, {**configs.check_dataset(experiment.dataset), **experiment.settings}


def _dataset_flag():
    """The flag that names the data set of the network."""
    return FLAGS["trained_on" if "trained_on" in FLAGS else "dataset"]


def _flag(name, defaults):
    """The flag's value if it was given, else the default."""
    value = FLAGS[name].value if name in FLAGS else None
    return defaults.get(name) if value is None else value


def numbers_of(name, kind=float):
    """The numbers of a flag that is a list of them, floats or ints by their `kind`; None where it is not given."""
    texts = FLAGS[name].value
    try:
        return None if texts is None else [kind(text) for text in texts]
    except ValueError:
        what = "integers" if kind is int else "numbers"
        raise ValueError(f"--{name} takes {what} separated by commas. Received: {','.join(texts)}") from None


def _boundaries(steps):
    try:
        return tuple(int(step) for step in steps or ())
    except ValueError as error:
        raise ValueError(
            f"--learning_rate_boundaries must be steps, such as 60000,75000,90000. Received: {','.join(steps)}"
        ) from error
