"""What the studies share: runs that are trained and evaluated once, tables and figures that are there whole or not."""

import contextlib
import csv
import dataclasses
import json
import os

from sact_tf import config as configs
from sact_tf import evaluation, training
from sact_tf.checkpoints import checkpoint_prefix
from sact_tf.data.whole_files import opened
from sact_tf.progress import counted, print_line
from sact_tf.studies.store import fingerprint, marks_of_data, read_json
from sact_tf.studies.words import in_its_words
from sact_tf.tasks import task_of
from sact_tf.training.latest import latest
from sact_tf.training.session import TrainingDiverged
from sact_tf.visualize import save_chart

METRICS_FILE = "metrics.json"
TIME_FILE = "training_time.json"
FLOPS = "Total Flops/mean"
# A run has the same metrics wherever it and its data lie, and however their paths are written.
_PLACES = ("checkpoint_dir", "eval_dir", "dataset_dir")


def score(dataset, metrics):
    """What networks are compared by, as a dict of one entry: what people call it, and its value as a part of 1."""
    metric, name = task_of(dataset).SCORE
    return {name: metrics[metric]}


def flops_name(dataset):
    """What the FLOPs are called that networks on a data set are compared by."""
    return getattr(task_of(dataset), "FLOPS_NAME", "FLOPs")


def length_of(config):
    """How long a `TrainingConfig` trains, as text: "800 steps of 64 images"."""
    return f"{counted(config.max_number_of_steps, 'step')} of {counted(config.batch_size, 'image')}"


def check_depths(depths, network, name):
    """Raises ValueError, which names the flag, for depths that a network does not come in.

    Args:
        depths: texts, as for `--model`.
        network: "cifar" or "imagenet".
        name: of the flag that they come from.
    """
    units = configs.imagenet_units if network == "imagenet" else configs.cifar_units
    for depth in depths:
        try:
            units(depth)
        except ValueError as error:
            given = ",".join(map(str, depths))
            raise ValueError(f"--{name}={given} is not for the {network} network; give others. {error}") from error


def check(planned, num_examples=None):
    """Raises ValueError for what a study could not train or evaluate, before the first of its runs is trained.

    Args:
        planned: pairs of a run's directory and its `TrainingConfig`.
        num_examples: int, held-out images to evaluate on; None for all.

    Raises:
        ValueError: if a directory holds a run of another configuration, or for another `num_examples`.
    """
    for directory, config in planned:
        evaluation_of(config, directory, num_examples)
        if os.path.exists(os.path.join(directory, configs.CONFIG_FILE)) and latest(directory):
            with _told():
                configs.check_same(directory, config, "another --run_dir for a new study")


def check_data(config, directory):
    """Raises FileNotFoundError, which says where they were looked for, if the data of a trained run are not there."""
    way_out = "Start the study where the run was started, or put a link to the data there."
    configs.check_noted_data(config.dataset_dir, directory, way_out)


def place_of_data(config):
    """Real path of the directory that a configuration's data are in, however it is written; None for the default."""
    return config.dataset_dir and os.path.realpath(os.path.expanduser(config.dataset_dir))


def train_and_evaluate(config, directory, num_examples=None, log=print_line):
    """Metrics of a run on the held-out split, which is trained first, or further, as far as that was not done.

    Args:
        config: `TrainingConfig`.
        directory: of the run.
        num_examples: int, held-out images to evaluate on; None for all.
        log: called with lines of text.

    Returns:
        dict, see `sact_tf.evaluation.evaluate`, and "Training Seconds", see `train`.

    Raises:
        ValueError: if the directory has a run with another configuration.
    """
    seconds = train(config, directory, log)
    metrics = evaluate_once(config, directory, os.path.join(directory, METRICS_FILE), num_examples, log=log)
    return {**metrics, "Training Seconds": seconds}


def train(config, directory, log=print_line):
    """Trains a run, or what is left of it; returns the seconds that its starts took, but for those that were stopped.

    They stay beside the run, so that a study that is started again tells them too. Arguments as of
    `train_and_evaluate`.
    """
    with in_a_study(config, directory, log) as log:
        trained = training.train(config, directory, save_interval_secs=60, log=log)
    path = os.path.join(directory, TIME_FILE)
    # There is no loss where nothing was left to train.
    seconds = read_json(path).get("seconds", 0.0) + trained["seconds"] * ("loss" in trained)
    if "loss" in trained:
        with written(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
            json.dump({"seconds": seconds}, file)
    return seconds


@contextlib.contextmanager
def in_a_study(config, directory, log=print_line):
    """Context in which a run is trained; what is said in it names what a study has, and no flags that it lacks.

    Args:
        config: `TrainingConfig`.
        directory: of the run, below that of the study.
        log: called with lines of text.

    Yields:
        What the training calls with its lines.
    """
    try:
        with _told():
            yield _teller(log)
    except TrainingDiverged as error:
        tau = "" if config.model.model_type == "vanilla" else f" and tau {config.model.tau:g}"
        raise TrainingDiverged(
            error.found,
            f"{directory} was trained with a learning rate of {config.learning_rate:g}{tau}: start the study anew with "
            "less, where it has flags for that, and another --run_dir.",
        ) from error


@contextlib.contextmanager
def _told():
    """Context in which errors of settings and files are told in the study's words."""
    try:
        yield
    except (OSError, ValueError) as error:
        text = in_its_words(str(error))
        if text == str(error):
            raise
        raise (type(error) if isinstance(error, OSError) else ValueError)(text) from error


def _teller(log):
    return lambda text: log(in_its_words(text))


def evaluate_once(config, directory, path, num_examples=None, image_size=None, log=print_line):
    """Metrics of a run's latest checkpoint, read from a file if it has those of that evaluation, else written there.

    Args:
        config: `TrainingConfig` of the run.
        directory: of the run.
        path: of the JSON file.
        num_examples: int, held-out images to evaluate on; None for all.
        image_size: int, pixels, if it differs from training.
        log: called with lines of text.
    """
    evaluated, prefix = evaluation_of(config, directory, num_examples, image_size), checkpoint_prefix(directory)
    # The weights must be the same too: the run may have gone on since, or have been made anew.
    asked = _settings(evaluated) | {"checkpoint": fingerprint(prefix)["sha256"]} | marks_of_data(open_data(evaluated))
    stored = read_json(path)
    if {name: value for name, value in stored.get("evaluation", {}).items() if name not in _PLACES} == asked:
        log(f"Already evaluated: {path}")
        return stored["metrics"]
    metrics = evaluation.evaluate(evaluated, prefix, _teller(log))
    metrics = {name: float(value) for name, value in metrics.items()}
    with written(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        json.dump({"evaluation": asked, "metrics": metrics}, file, indent=2)
    return metrics


def is_evaluated(config, directory, path, num_examples=None, image_size=None):
    """Whether a file has metrics of the run, maybe as it was at an earlier step; arguments as of `evaluate_once`."""
    asked = _settings(evaluation_of(config, directory, num_examples, image_size))
    stored = read_json(path).get("evaluation", {})
    return asked == {name: stored.get(name) for name in asked}


def _settings(evaluated):
    """What metrics depend on of an `EvaluationConfig`, as it is read from a file."""
    settings = {name: value for name, value in dataclasses.asdict(evaluated).items() if name not in _PLACES}
    return json.loads(json.dumps(settings))


def evaluation_of(config, directory, num_examples=None, image_size=None, split_name=None):
    """The `EvaluationConfig` of a trained run; arguments as of `evaluate_once`, and the split, or None for held out."""
    defaults = configs.check_dataset(config.dataset)
    return configs.EvaluationConfig(
        model=config.model,
        dataset=config.dataset,
        image_size=image_size or config.image_size,
        checkpoint_dir=directory,
        eval_dir=directory,
        split_name=split_name or defaults["split_name"],
        num_examples=defaults["num_examples"] if num_examples is None else num_examples,
        batch_size=defaults["eval_batch_size"],
        use_moving_average=config.moving_average_decay is not None,
        dataset_dir=config.dataset_dir,
    )


def open_data(config):
    """The source of what a `SplitConfig` names."""
    task = task_of(config.dataset)
    return task.open_source(
        config.dataset, config.split_name, config.image_size, config.num_examples, config.dataset_dir
    )


def write_table(path, rows):
    """Writes dicts with the same keys as a CSV file."""
    with written(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def save_figure(figure, path):
    """Writes a Matplotlib figure as `path` with the endings .png and .svg."""
    for ending in ("png", "svg"):
        with written(f"{path}.{ending}") as temporary:
            save_chart(figure, temporary, ending)


@contextlib.contextmanager
def written(path):
    """Context in which a file is written under another name; afterwards, and only if all went well, it is at `path`.

    A study that was started twice writes the same file twice, one after the other.
    """
    temporary = f"{path}.tmp"
    with opened(temporary):
        try:
            yield temporary
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.remove(temporary)
            raise
