"""Settings as frozen dataclasses, what a data set's name stands for, and the checks that every entry shares."""

from sact_tf.config.commands import (
    ENGINES,
    EXPORT_FORMATS,
    CheckpointConfig,
    EvaluationConfig,
    ExportConfig,
    MapExportConfig,
    PonderMapConfig,
    SplitConfig,
)
from sact_tf.config.models import (
    DTYPES,
    IMAGENET_UNITS,
    MODEL_TYPES,
    ModelConfig,
    check_depth,
    check_final_survival_probability,
    check_model_type,
    check_tau,
    cifar_units,
    imagenet_units,
)
from sact_tf.config.recipes import DATASETS, EXPERIMENTS, Experiment, check_dataset
from sact_tf.config.runs import (
    CONFIG_FILE,
    SCHEDULES,
    TrainingConfig,
    default_training_config,
    differences,
    read_config,
)

__all__ = [
    "CONFIG_FILE",
    "DATASETS",
    "DTYPES",
    "ENGINES",
    "EXPERIMENTS",
    "EXPORT_FORMATS",
    "IMAGENET_UNITS",
    "MODEL_TYPES",
    "SCHEDULES",
    "CheckpointConfig",
    "EvaluationConfig",
    "Experiment",
    "ExportConfig",
    "MapExportConfig",
    "ModelConfig",
    "PonderMapConfig",
    "SplitConfig",
    "TrainingConfig",
    "check_dataset",
    "check_depth",
    "check_final_survival_probability",
    "check_model_type",
    "check_tau",
    "cifar_units",
    "default_training_config",
    "differences",
    "imagenet_units",
    "read_config",
]
