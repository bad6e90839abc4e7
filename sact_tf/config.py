"""Settings as frozen dataclasses, and the checks that every entry to the library shares."""

import dataclasses
import json
import math

# SPEC of the release's flag `model_type`; see `sact_tf.AdaptiveBlock` for what each one does.
MODEL_TYPES = ("vanilla", "act", "act_early_stopping", "sact")

# He et al. 2016 (arXiv 1603.05027): residual units per block of the standard ImageNet networks.
IMAGENET_UNITS = {"50": (3, 4, 6, 3), "101": (3, 4, 23, 3), "152": (3, 8, 36, 3), "200": (3, 24, 36, 3)}


def check_model_type(model_type):
    """Returns `model_type` if it is one of `MODEL_TYPES`, raises ValueError otherwise."""
    if model_type not in MODEL_TYPES:
        raise ValueError(f"`model_type` must be one of {MODEL_TYPES}. Received: model_type={model_type!r}")
    return model_type


def check_tau(tau):
    """Returns `tau`, the weight of the ponder cost in the loss, if it is finite and not negative."""
    if not isinstance(tau, (int, float)) or not math.isfinite(tau) or tau < 0:
        raise ValueError(
            "`tau` (weight of the ponder cost in the loss) must be a finite number >= 0; 0 trains without a "
            f"price on computation. Received: tau={tau!r}"
        )
    return float(tau)


def imagenet_units(model):
    """Residual units in each of the four blocks.

    Args:
        model: `"50"`, `"101"`, `"152"`, `"200"`, or any four positive ints, as text (`"3_4_23_3"`) or as a sequence.

    Raises:
        ValueError: for anything else.
    """
    if isinstance(model, (str, int)) and str(model) in IMAGENET_UNITS:
        return IMAGENET_UNITS[str(model)]
    units = _parse_units(model)
    if units is None or len(units) != 4:
        raise ValueError(
            f"`model` must be one of {tuple(IMAGENET_UNITS)}, or the units of the four blocks, each at least 1, "
            f"such as '3_4_23_3' or (3, 4, 23, 3). Received: model={model!r}"
        )
    return units


def cifar_units(model):
    """Residual units in each of the three blocks.

    Args:
        model: one positive int for all blocks (`"5"` or 5), or three, as text (`"2_3_4"`) or as a sequence.

    Raises:
        ValueError: for anything else.
    """
    units = _parse_units([model] if isinstance(model, int) else model)
    if units is not None and len(units) == 1:
        units = units * 3
    if units is None or len(units) != 3:
        raise ValueError(
            "`model` must be the number of units in every block, such as '5', or of each of the three, such as "
            f"'2_3_4' or (2, 3, 4), each at least 1. Received: model={model!r}"
        )
    return units


def _parse_units(model):
    """Returns a tuple of positive ints, or None if `model` does not describe one."""
    parts = model.split("_") if isinstance(model, str) else model
    try:
        units = tuple(int(part) for part in parts)
        exact = all(str(unit) == str(part).strip() for unit, part in zip(units, parts, strict=True))
    except (TypeError, ValueError):
        return None
    return units if exact and units and min(units) >= 1 else None


# What `--dataset` stands for where a flag is not given.
DATASETS = {
    "cluttered_digits": {
        "network": "cifar",
        "model": "5",
        "model_type": "vanilla",
        "num_classes": 10,
        "base_channels": 16,
        "stem_stride": 2,
        "tau": 0.04,
        "label_smoothing": 0.0,
        "image_size": 64,
        "batch_size": 64,
        "eval_batch_size": 100,
        "learning_rate": 0.1,
        "learning_rate_schedule": "cosine",
        "warmup_steps": 50,
        "max_number_of_steps": 800,
        "num_train_examples": 100_000,
        "num_examples": 2_000,
        "split_name": "test",
        "train_log_dir": "/tmp/cluttered_digits/",
    },
    # The defaults of the release's scripts, here and below.
    "imagenet": {
        "network": "imagenet",
        "model": "101",
        "model_type": "vanilla",
        "num_classes": 1001,
        "base_channels": 64,
        "tau": 1.0,
        "label_smoothing": 0.1,
        "image_size": 224,
        "batch_size": 32,
        "eval_batch_size": 32,
        "learning_rate": 0.05,
        "learning_rate_schedule": "exponential",
        "num_epochs_per_decay": 30.0,
        # 90 epochs; the release goes on until it is stopped.
        "max_number_of_steps": 3_603_283,
        "num_train_examples": 1_281_167,
        "num_examples": 50_000,
        "split_name": "validation",
        "train_log_dir": "/tmp/resnet/",
    },
    "cifar10": {
        "network": "cifar",
        "model": "18",
        "model_type": "vanilla",
        "num_classes": 10,
        "base_channels": 16,
        "tau": 1.0,
        "label_smoothing": 0.0,
        "image_size": 32,
        "batch_size": 128,
        "eval_batch_size": 100,
        "learning_rate": 0.1,
        "learning_rate_schedule": "piecewise",
        "learning_rate_boundaries": (60_000, 75_000, 90_000),
        "max_number_of_steps": 100_000,
        "num_train_examples": 50_000,
        "num_examples": 10_000,
        "split_name": "test",
        "train_log_dir": "/tmp/resnet_act_cifar/",
    },
}


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A training run of the release.

    Attributes:
        dataset: a key of `DATASETS`, whose values are the rest of the recipe.
        settings: dict of what differs from them.
        published: dict of the release's metric names to the figures that its README gives for the checkpoint.
    """

    dataset: str
    settings: dict
    published: dict


# The released experiments by the names of their checkpoints.
EXPERIMENTS = {
    "cifar10_resnet_5_act_1e-2": Experiment("cifar10", {"model": "5", "model_type": "act", "tau": 0.01}, {}),
    "cifar10_resnet_5_sact_1e-2": Experiment(
        "cifar10",
        {"model": "5", "model_type": "sact", "tau": 0.01},
        {"eval/Accuracy": 0.9182, "Total Flops/mean": 82_393_168, "Total Flops/std": 7_588_926},
    ),
    "imagenet_101": Experiment("imagenet", {"model": "101", "model_type": "vanilla"}, {}),
    "imagenet_101_sact_5e-3": Experiment(
        "imagenet",
        {"model": "101", "model_type": "sact", "tau": 0.005},
        {
            "eval/Accuracy": 0.75609803,
            "eval/Recall@5": 0.92746321,
            "Total Flops/mean": 1.1100941e10,
            "Total Flops/std": 4.5691142e8,
        },
    ),
}
# Where the data lies and what is done about damage in it may change while a run is stopped.
_NOT_PART_OF_A_RUN = ("dataset_dir", "skip_bad_records")
DTYPES = ("float32", "mixed_bfloat16", "mixed_float16")
SCHEDULES = ("piecewise", "exponential", "cosine", "constant")
EXPORT_FORMATS = ("saved_model", "keras", "weights", "release")
# "sparse" computes active positions only, "masked" every position.
ENGINES = ("sparse", "masked")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Which network, and the weights of its loss.

    Attributes:
        network: "cifar" or "imagenet", see `sact_tf.cifar_resnet` and `sact_tf.imagenet_resnet`.
        model: units per block, see there.
        model_type: one of `MODEL_TYPES`.
        num_classes: int.
        base_channels: int, channels of the first block (`cifar`), bottleneck channels of it (`imagenet`).
        tau: float >= 0, weight of the ponder cost in the loss.
        label_smoothing: float in [0, 1).
        stem_stride: int, of the first convolution of the `cifar` network; the other network has its own.
        dtype: one of `DTYPES`; halting and loss are float32 under all of them.
    """

    network: str
    model: str
    model_type: str = "vanilla"
    num_classes: int
    base_channels: int = 16
    tau: float = 1.0
    label_smoothing: float = 0.0
    stem_stride: int = 1
    dtype: str = "float32"

    def __post_init__(self):
        _check_choice("network", self.network, ("cifar", "imagenet"))
        (cifar_units if self.network == "cifar" else imagenet_units)(self.model)
        check_model_type(self.model_type)
        check_tau(self.tau)
        _check_choice("dtype", self.dtype, DTYPES)
        _check_positive(self, "num_classes", "base_channels", "stem_stride")


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
            `learning_rate_boundaries` (steps); "exponential": multiplied by it every `num_epochs_per_decay` epochs;
            "cosine": falls to zero over the run; "constant".
        warmup_steps: int, steps over which the learning rate rises from zero.
        learning_rate_base_batch_size: int; with it the learning rate is multiplied by `batch_size` divided by this.
            None leaves it as it is, whatever the batch.
        momentum: float in [0, 1).
        moving_average_decay: float in [0, 1), decay of a moving average of the weights; None for none.
        clip_norm: float > 0, to which the norm of all gradients together is clipped; None leaves them.
        max_number_of_steps: int, steps of the whole run.
        finetune_path: checkpoint to start from, all but the halting branches; None to start from random weights.
        seed: int, of the initial weights and the order of the examples.
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
    learning_rate_base_batch_size: int | None = None
    momentum: float = 0.9
    moving_average_decay: float | None = None
    clip_norm: float | None = None
    max_number_of_steps: int
    finetune_path: str | None = None
    seed: int = 0
    deterministic: bool = True
    jit_compile: bool = False
    dataset_dir: str | None = None
    skip_bad_records: int = 0

    def __post_init__(self):
        check_dataset(self.dataset)
        _check_positive(self, "image_size", "batch_size", "max_number_of_steps")
        _check_skip_bad_records(self.skip_bad_records)
        _check_choice("learning_rate_schedule", self.learning_rate_schedule, SCHEDULES)
        for name in ("learning_rate", "clip_norm", "learning_rate_base_batch_size"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"`{name}` must be a positive number. Received: {name}={value!r}")
        for name in ("momentum", "moving_average_decay"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise ValueError(f"`{name}` must lie in [0, 1). Received: {name}={value!r}")
        if list(self.learning_rate_boundaries) != sorted(set(self.learning_rate_boundaries)):
            raise ValueError(
                f"`learning_rate_boundaries` must be rising steps. Received: {self.learning_rate_boundaries!r}"
            )

    def to_json(self):
        """Returns the configuration as JSON text."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text):
        """Reads what `to_json` wrote; ValueError for anything else."""
        try:
            fields = json.loads(text)
            model = ModelConfig(**fields.pop("model"))
            boundaries = tuple(fields.pop("learning_rate_boundaries"))
            return cls(model=model, learning_rate_boundaries=boundaries, **fields)
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise ValueError(f"This is not the configuration of a sact_tf training run: {error}") from error


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """An evaluation: of which network, from which checkpoints, on what.

    Attributes:
        model: `ModelConfig`.
        dataset: a key of `DATASETS`.
        image_size: int, height and width of the images in pixels.
        checkpoint_dir: directory of a run or a release checkpoint, or the prefix of one checkpoint.
        eval_dir: directory for TensorBoard events.
        split_name: split of the data set.
        num_examples: int, images to evaluate on.
        batch_size: int, images at a time.
        evaluate_once: bool, whether to stop after the latest checkpoint instead of waiting for further ones.
        eval_interval_secs: float, seconds between the starts of two evaluations at the least.
        use_moving_average: bool, whether to evaluate the moving averages of the weights that the run kept.
        dataset_dir: directory of the data set; None for its default, or where it needs none.
        skip_bad_records: int, how many damaged records may be left out before evaluation stops.
        report_dir: directory for a report as an HTML page; None for none.
        report_vanilla_dir: checkpoint of the plain network of the same size that the report compares with, or None.
    """

    model: ModelConfig
    dataset: str
    image_size: int
    checkpoint_dir: str
    eval_dir: str
    split_name: str
    num_examples: int
    batch_size: int
    evaluate_once: bool = True
    eval_interval_secs: float = 60
    use_moving_average: bool = False
    dataset_dir: str | None = None
    skip_bad_records: int = 0
    report_dir: str | None = None
    report_vanilla_dir: str | None = None

    def __post_init__(self):
        check_dataset(self.dataset)
        _check_positive(self, "image_size", "num_examples", "batch_size")
        _check_skip_bad_records(self.skip_bad_records)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """An export: of which network, from which checkpoint, to what.

    Attributes:
        model: `ModelConfig`.
        dataset: a key of `DATASETS`; a SavedModel prepares JPEGs as evaluation on it does.
        image_size: int, height and width in pixels that a SavedModel brings JPEGs to.
        checkpoint_dir: directory of a run or a release checkpoint, or the prefix of one checkpoint.
        output_dir: directory to write.
        format: one of `EXPORT_FORMATS`.
        engine: one of `ENGINES` for a SavedModel, None for the other formats, in which nothing is executed.
        labels: path of a text file with the name of each class, for a SavedModel; None for none.
        overwrite: bool, whether an export that is in `output_dir` already may be replaced.
        use_moving_average: bool, whether to export the moving averages of the weights that the run kept.
    """

    model: ModelConfig
    dataset: str
    image_size: int
    checkpoint_dir: str
    output_dir: str
    format: str = "saved_model"
    engine: str | None = None
    labels: str | None = None
    overwrite: bool = False
    use_moving_average: bool = False

    def __post_init__(self):
        check_dataset(self.dataset)
        _check_choice("format", self.format, EXPORT_FORMATS)
        _check_positive(self, "image_size")
        if not self.output_dir:
            raise ValueError("`output_dir` must name the directory to write. Give --output_dir.")
        if self.format == "saved_model":
            _check_choice("engine", self.engine, ENGINES)
            return
        for name in ("engine", "labels"):
            if getattr(self, name) is not None:
                raise ValueError(
                    f"`{name}` is part of a SavedModel; format={self.format!r} has none. Leave it out. Received: "
                    f"{name}={getattr(self, name)!r}"
                )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PonderMapConfig:
    """Maps of photographs: by which network, from which checkpoint, of which files.

    Attributes:
        model: `ModelConfig` of model_type "sact".
        dataset: a key of `DATASETS`; photographs are scaled as the network's images were in training on it.
        checkpoint_dir: directory of a run or a release checkpoint, or the prefix of one checkpoint.
        images_pattern: path with `*`, `?` and `**` of the photographs.
        output_dir: directory for the pictures.
        image_size: int, length in pixels that the longer edge is brought to; None to leave it.
        engine: one of `ENGINES`.
        overwrite: bool, whether pictures that are in `output_dir` already may be replaced.
        use_moving_average: bool, whether to take the moving averages of the weights that the run kept.
    """

    model: ModelConfig
    dataset: str
    checkpoint_dir: str
    images_pattern: str
    output_dir: str
    image_size: int | None = None
    engine: str = "sparse"
    overwrite: bool = False
    use_moving_average: bool = False

    def __post_init__(self):
        check_dataset(self.dataset)
        _check_choice("engine", self.engine, ENGINES)
        if self.model.model_type != "sact":
            raise ValueError(
                "Only model_type='sact' decides by position and has ponder maps. Give a checkpoint of such a network, "
                f"or its --model_type. Received: model_type={self.model.model_type!r}"
            )
        if self.image_size is not None:
            _check_positive(self, "image_size")
        for name in ("images_pattern", "output_dir"):
            if not getattr(self, name):
                raise ValueError(f"`{name}` is missing. Give --{name}.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class MapExportConfig:
    """An export of the maps of a split: by which network, from which checkpoint, to what.

    Attributes:
        model: `ModelConfig`, of any model_type but "vanilla".
        dataset: a key of `DATASETS`.
        image_size: int, height and width of the images in pixels.
        checkpoint_dir: directory of a run or a release checkpoint, or the prefix of one checkpoint.
        export_path: HDF5 file to write.
        split_name: split of the data set.
        num_examples: int, images to compute.
        batch_size: int, images at a time.
        engine: one of `ENGINES`.
        overwrite: bool, whether an export that is at `export_path` already may be replaced.
        dataset_dir: directory of the data set; None for its default, or where it needs none.
        skip_bad_records: int, how many damaged records may be left out before the export stops.
        use_moving_average: bool, whether to take the moving averages of the weights that the run kept.
    """

    model: ModelConfig
    dataset: str
    image_size: int
    checkpoint_dir: str
    export_path: str
    split_name: str
    num_examples: int
    batch_size: int
    engine: str = "sparse"
    overwrite: bool = False
    dataset_dir: str | None = None
    skip_bad_records: int = 0
    use_moving_average: bool = False

    def __post_init__(self):
        check_dataset(self.dataset)
        _check_choice("engine", self.engine, ENGINES)
        _check_positive(self, "image_size", "num_examples", "batch_size")
        _check_skip_bad_records(self.skip_bad_records)
        if self.model.model_type == "vanilla":
            raise ValueError(
                "A vanilla network spends the same everywhere, so there is nothing to export. Give a checkpoint of an "
                "ACT or SACT network, or its --model_type. Received: model_type='vanilla'"
            )
        if not self.export_path:
            raise ValueError("`export_path`, the HDF5 file to write, is missing. Give --export_path.")


def differences(config, other):
    """Lists what two `TrainingConfig`s disagree on, as lines of text, `name: value, other value`."""
    left, right = _flatten(config), _flatten(other)
    return [
        f"{name}: {left[name]!r}, {right[name]!r}"
        for name in left
        if left[name] != right[name] and name not in _NOT_PART_OF_A_RUN
    ]


def check_dataset(dataset):
    """Returns the defaults of a data set, raises ValueError if there is none of that name."""
    if dataset not in DATASETS:
        raise ValueError(f"`dataset` must be one of {tuple(DATASETS)}. Received: dataset={dataset!r}")
    return DATASETS[dataset]


def _flatten(config):
    fields = dataclasses.asdict(config)
    return {**{f"model.{name}": value for name, value in fields.pop("model").items()}, **fields}


def _check_skip_bad_records(value):
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"`skip_bad_records` must be an int, at least 0. Received: skip_bad_records={value!r}")


def _check_choice(name, value, choices):
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {choices}. Received: {name}={value!r}")


def _check_positive(config, *names):
    for name in names:
        value = getattr(config, name)
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"`{name}` must be an int, at least 1. Received: {name}={value!r}")
