"""A training run: what is trained, on what, how, and the file in the run's directory that says so."""

import dataclasses
import json
import math
import os

from sact_tf.config import json_files
from sact_tf.config.checks import (
    check_choice,
    check_known,
    check_paths,
    check_positive,
    check_skip_bad_records,
    check_switches,
    is_number,
)
from sact_tf.config.idle import idle_settings
from sact_tf.config.models import ModelConfig, check_train_effective
from sact_tf.config.recipes import check_dataset, check_task_settings
from sact_tf.config.starts import is_same_start

CONFIG_FILE = "config.json"
SCHEDULES = ("piecewise", "exponential", "cosine", "constant")
_POSITIVE = (
    "learning_rate",
    "learning_rate_decay_factor",
    "num_epochs_per_decay",
    "clip_norm",
    "learning_rate_base_batch_size",
)
# Where the data lies and what is done about damage in it may change while a run is stopped.
_NOT_PART_OF_A_RUN = ("dataset_dir", "skip_bad_records")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """A training run: what is trained, on what, and how. Two runs of one configuration give the same weights.

    Attributes:
        model: `ModelConfig`.
        dataset: a key of `DATASETS`.
        image_size: int, height and width of the images in pixels.
        batch_size: int, images per step over all devices.
        learning_rate: float, at the first step.
        learning_rate_schedule: "piecewise": multiplied by `learning_rate_decay_factor` at each of
            `learning_rate_boundaries` (steps); "exponential": multiplied by it every `num_epochs_per_decay` epochs
            of the examples that there are;
            "cosine": falls to zero over the run; "constant".
        warmup_steps: int, steps over which the learning rate rises from zero.
        tau_warmup_steps: int, steps over which the weight of the ponder cost rises linearly from zero to `model.tau`.
        learning_rate_base_batch_size: int; with it the learning rate is multiplied by `batch_size` divided by this.
            None leaves it as it is, whatever the batch.
        momentum: float in [0, 1).
        moving_average_decay: float in [0, 1), decay of a moving average of the weights; None for none.
        clip_norm: float > 0, to which the norm of all gradients together is clipped; None leaves them.
        max_number_of_steps: int, steps of the whole run.
        finetune_path: checkpoint to start from, all but the halting branches; None to start from random weights.
        finetune_skip_logits: bool, whether the last layer starts afresh too, for other classes than the checkpoint's.
        seed: int, of the initial weights and the order of the examples.
        train_effective: int, units of the whole network that run in a step, drawn for each step anew; of the others
            the shortcuts remain (Veit et al. 2016). None for all. For `vanilla`.
        depth_rule: text that names the rule by which a study chooses the units of each step, see
            `sact_tf.training.train`; None for a run without one, as all runs of train.py are.
        deterministic: bool, whether every op gives the same bits in every run.
        jit_compile: bool, whether XLA compiles the step.
        dataset_dir: directory of the data set; None for its default, or where it needs none.
        skip_bad_records: int, how many damaged records others may take the place of before training stops.
    """

    model: ModelConfig
    dataset: str
    image_size: int
    batch_size: int
    learning_rate: float
    learning_rate_schedule: str = "piecewise"
    learning_rate_boundaries: tuple = ()
    learning_rate_decay_factor: float = 0.1
    num_epochs_per_decay: float = 30.0
    warmup_steps: int = 0
    tau_warmup_steps: int = 0
    learning_rate_base_batch_size: int | None = None
    momentum: float = 0.9
    moving_average_decay: float | None = None
    clip_norm: float | None = None
    max_number_of_steps: int
    finetune_path: str | None = None
    finetune_skip_logits: bool = False
    train_effective: int | None = None
    depth_rule: str | None = None
    seed: int = 0
    deterministic: bool = True
    jit_compile: bool = False
    dataset_dir: str | None = None
    skip_bad_records: int = 0

    def __post_init__(self):
        check_dataset(self.dataset)
        check_switches(self)
        check_positive(self, "image_size", "batch_size", "max_number_of_steps")
        check_skip_bad_records(self.skip_bad_records)
        check_paths(finetune_path=self.finetune_path, dataset_dir=self.dataset_dir)
        for name in ("warmup_steps", "tau_warmup_steps"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 0:
                raise ValueError(f"`{name}` must be an int, at least 0. Received: {name}={value!r}")
        if self.finetune_skip_logits and not self.finetune_path:
            raise ValueError(
                "`finetune_skip_logits` leaves the last layer of a checkpoint out, and there is none. Give "
                "--finetune_path, or leave out --finetune_skip_logits."
            )
        check_task_settings(self.dataset, {**vars(self.model), "train_effective": self.train_effective})
        if self.train_effective is not None:
            check_train_effective(self.train_effective, self.model)
        if self.jit_compile:
            check_compiles(self, "`jit_compile`")
        check_choice("learning_rate_schedule", self.learning_rate_schedule, SCHEDULES)
        if not isinstance(self.seed, int) or not 0 <= self.seed < 2**32:
            raise ValueError(f"`seed` must be an int from 0 to 2**32 - 1. Received: seed={self.seed!r}")
        for name in _POSITIVE:
            value = getattr(self, name)
            if value is not None and not (is_number(value) and math.isfinite(value) and value > 0):
                raise ValueError(f"`{name}` must be a positive number. Received: {name}={value!r}")
        for name in ("momentum", "moving_average_decay"):
            value = getattr(self, name)
            if value is not None and not (is_number(value) and 0 <= value < 1):
                raise ValueError(f"`{name}` must lie in [0, 1). Received: {name}={value!r}")
        boundaries = list(self.learning_rate_boundaries)
        if boundaries != sorted(set(boundaries)) or any(not isinstance(step, int) or step < 1 for step in boundaries):
            raise ValueError(
                "`learning_rate_boundaries` must be rising steps, ints from 1 on. Received: "
                f"{self.learning_rate_boundaries!r}"
            )

    def to_json(self):
        """Returns the configuration as JSON text."""
        return json.dumps(dataclasses.asdict(self), indent=2, default=json_files.plain) + "\n"

    @classmethod
    def from_json(cls, text):
        """Reads what `to_json` wrote; ValueError for anything else."""
        try:
            return cls._of(json_files.parse_object(text))
        except ValueError as error:
            raise ValueError(f"This is not the configuration of a sact_tf training run: {error}") from error

    @classmethod
    def _of(cls, fields):
        """The configuration of a dict of JSON; ValueError, a part of a sentence, if it is of something else."""
        model, boundaries = fields.get("model"), fields.get("learning_rate_boundaries", [])
        if not isinstance(model, dict) or not isinstance(boundaries, list):
            raise ValueError("it lacks the network, `model`, or the steps of `learning_rate_boundaries`")
        network = json_files.settings(ModelConfig, model)
        return json_files.settings(cls, {**fields, "model": network, "learning_rate_boundaries": tuple(boundaries)})


def check_compiles(config, what):
    """Raises ValueError for a step that XLA does not compile: max pooling has no gradient there that is deterministic.

    Args:
        config: `TrainingConfig`.
        what: text, what has XLA compile the step, the beginning of a sentence.
    """
    if config.deterministic and config.model.network == "imagenet":
        raise ValueError(
            f"{what} compiles the step with XLA, whose gradient of max pooling, with which networks for ImageNet and "
            "detectors begin, is not the same to the bit in every run. Give --nodeterministic (deterministic=False), "
            f"and a resume may differ in the last bits. Received: deterministic=True, dataset={config.dataset!r}"
        )


def default_training_config(dataset, model=None, **changes):
    """`TrainingConfig` of a data set's defaults.

    Args:
        dataset: name of a data set.
        model: dict of `ModelConfig` fields that differ from the data set's defaults.
        **changes: `TrainingConfig` fields that do; None stands for the default.

    Raises:
        ValueError: for a name of no field, or a value that is refused.
    """
    check_known(model or {}, ModelConfig)
    check_known(changes, ModelConfig, TrainingConfig)
    given = {name: value for name, value in changes.items() if value is not None}
    defaults = {**check_dataset(dataset), **given}
    parts = {name: defaults[name] for name in ModelConfig.__dataclass_fields__ if name in defaults}
    fields = {name: defaults[name] for name in TrainingConfig.__dataclass_fields__ if name in defaults}
    parts.update(model or {})
    # First, as what it says of another network would be about that network's depth.
    check_task_settings(dataset, parts)
    fields.update(model=ModelConfig(**parts), dataset=dataset)
    return TrainingConfig(**fields)


def run_directory(checkpoint):
    """The directory of a run that a checkpoint is in: `checkpoint` itself, or where that prefix of its files lies."""
    return checkpoint if os.path.isdir(checkpoint) else os.path.dirname(checkpoint)


def read_config(train_log_dir):
    """Returns the `TrainingConfig` of the run in a directory.

    Raises:
        FileNotFoundError, ValueError: if there is none, or it cannot be read.
    """
    path = os.path.join(train_log_dir, CONFIG_FILE)
    if not os.path.exists(path):
        text = f"{train_log_dir} holds no training run: there is no {CONFIG_FILE} in it."
        run_dir = os.path.dirname(train_log_dir)
        if os.path.exists(f"{train_log_dir}.index") and os.path.exists(os.path.join(run_dir, CONFIG_FILE)):
            text = f"{train_log_dir} is a checkpoint, and a run is wanted: give its directory, {run_dir or os.curdir}."
        raise FileNotFoundError(text)
    try:
        return TrainingConfig._of(json_files.read_object(path))
    except ValueError as error:
        raise ValueError(
            f"{path}: This is not the configuration of a sact_tf training run: {str(error).removesuffix('.')}. Bring "
            "it back from a copy, or take the one that the run's command writes into another --train_log_dir."
        ) from error


def differences(config, other):
    """Lists what two `TrainingConfig`s disagree on, as lines of text, `name: value, other value`.

    What changes nothing in either of them is no difference: a run holds such a setting from a time when its flag was
    taken.
    """
    left, right = _flatten(config), _flatten(other)
    left_out = {*_NOT_PART_OF_A_RUN, *(idle_settings(config) & idle_settings(other))}
    differing = [name for name in left if left[name] != right[name] and name not in left_out]
    return [f"{name}: {left[name]!r}, {right[name]!r}" for name in differing]


def what_is_trained(config):
    """Dict from names, as `model.tau`, to values of all that a run's weights depend on, for its workers to compare."""
    return {name: value for name, value in _flatten(config).items() if name not in _NOT_PART_OF_A_RUN}


def check_same(directory, config, way_out):
    """Raises ValueError if the run in a directory, which has a configuration, has another one than this.

    A `finetune_path` is the same if it names the same place in other words, a copy, or what was moved with the run.

    Args:
        directory: path of the run.
        config: `TrainingConfig`.
        way_out: str, what the message says of another directory, such as "another --run_dir for a new study".
    """
    run = read_config(directory)
    if is_same_start(run.finetune_path, config.finetune_path, directory):
        run = dataclasses.replace(run, finetune_path=config.finetune_path)
    differing = differences(run, config)
    if differing:
        raise ValueError(
            f"{directory} holds a run with another configuration (there, here):\n  "
            + "\n  ".join(differing)
            + f"\nGive the same flags to go on with it, or {way_out}."
        )


def _flatten(config):
    fields = dataclasses.asdict(config)
    return {**{f"model.{name}": value for name, value in fields.pop("model").items()}, **fields}
