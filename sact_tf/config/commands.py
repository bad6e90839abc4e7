"""What the commands that read a checkpoint need to know: one base, and a class for each command."""

import dataclasses

from sact_tf.config.checks import (
    check_choice,
    check_evaluation,
    check_given,
    check_image_size,
    check_positive,
    check_skip_bad_records,
    check_switches,
    is_number,
)
from sact_tf.config.models import ModelConfig
from sact_tf.config.recipes import check_dataset, check_task_settings, refuse_detector

EXPORT_FORMATS = ("saved_model", "onnx", "keras", "weights", "release")
_EXECUTED = ("saved_model", "onnx")  # those in which something is executed
ENGINES = ("sparse", "masked")  # "sparse" computes active positions only, "masked" every position
DETECTOR_PARTS = ("whole", "extractor")  # what of a detector an ONNX file may have
MAP_FIGURES = ("ponder_cost", "num_units")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """A trained network: which, and which of its checkpoints.

    Attributes:
        model: `ModelConfig`.
        dataset: a key of `DATASETS`; images are prepared as evaluation on it does.
        checkpoint_dir: directory of a run or a release checkpoint, or the prefix of one checkpoint.
        use_moving_average: bool, whether to take the moving averages of the weights that the run kept.
    """

    model: ModelConfig
    dataset: str
    checkpoint_dir: str
    use_moving_average: bool = False

    def __post_init__(self):
        check_switches(self)
        check_task_settings(self.dataset, vars(self.model))


@dataclasses.dataclass(frozen=True, kw_only=True)
class SplitConfig(CheckpointConfig):
    """A trained network on the examples of a split.

    Attributes:
        image_size: int, height and width of the images in pixels.
        split_name: split of the data set.
        num_examples: int, images to compute.
        batch_size: int, images at a time; no figure depends on it.
        dataset_dir: directory of the data set; None for its default, or where it needs none.
        skip_bad_records: int, how many damaged records may be left out before the command stops.
    """

    image_size: int
    split_name: str
    num_examples: int
    batch_size: int
    dataset_dir: str | None = None
    skip_bad_records: int = 0

    def __post_init__(self):
        super().__post_init__()
        check_positive(self, "num_examples", "batch_size")
        check_image_size(self)
        check_skip_bad_records(self.skip_bad_records)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationConfig(SplitConfig):
    """An evaluation; see `SplitConfig` and `CheckpointConfig` for the rest of its attributes.

    Attributes:
        eval_dir: directory for TensorBoard events.
        evaluate_once: bool, whether to stop after the latest checkpoint instead of waiting for further ones.
        eval_interval_secs: float, seconds between the starts of two evaluations at the least.
        report_dir: directory for a report as an HTML page; None for none.
        report_vanilla_dir: checkpoint of the plain network of the same size that the report compares with, or None.
    """

    eval_dir: str
    evaluate_once: bool = True
    eval_interval_secs: float = 60
    report_dir: str | None = None
    report_vanilla_dir: str | None = None

    def __post_init__(self):
        super().__post_init__()
        check_evaluation(self.eval_interval_secs, self.report_dir, self.report_vanilla_dir)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MapExportConfig(SplitConfig):
    """An export of the maps of a split, by a network of any model_type but "vanilla"; see `SplitConfig`.

    Attributes:
        export_path: HDF5 file to write.
        engine: one of `ENGINES`.
        overwrite: bool, whether an export that is at `export_path` already may be replaced.
    """

    export_path: str
    engine: str = "sparse"
    overwrite: bool = False

    def __post_init__(self):
        super().__post_init__()
        check_choice("engine", self.engine, ENGINES)
        refuse_detector(
            self.dataset,
            "An HDF5 file of maps",
            "python -m sact_tf.detect draws the maps of a detector on photographs, and eval.py --report_dir those of "
            "the least and the most computation of a split.",
        )
        if self.model.model_type == "vanilla":
            raise ValueError(
                "A vanilla network spends the same everywhere, so there is nothing to export. Give a checkpoint of an "
                "ACT or SACT network, or its --model_type. Received: model_type='vanilla'"
            )
        if not self.export_path:
            raise ValueError("`export_path`, the HDF5 file to write, is missing. Give --export_path.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExportConfig(CheckpointConfig):
    """An export of a network; see `CheckpointConfig`.

    Attributes:
        image_size: int, height and width in pixels that a SavedModel brings files to, and an ONNX file pictures; of a
            detector, the shorter side.
        output_dir: directory to write.
        format: one of `EXPORT_FORMATS`; "release" is for networks that classify.
        engine: one of `ENGINES` for a SavedModel and an ONNX file, None for the other formats, in which nothing is
            executed.
        labels: path of a text file with the name of each class, for a SavedModel; None for none, or the run's.
        dataset_dir: directory of the data set; None for its default, or where it needs none.
        features: bool, whether an ONNX file returns the features of the blocks.
        part: one of `DETECTOR_PARTS`: what an ONNX file of a detector answers, boxes too or what its extractor says.
        preprocess: bool, whether an ONNX file takes bytes, of any size, and prepares them as evaluation does.
        overwrite: bool, whether an export that is in `output_dir` already may be replaced.
    """

    image_size: int
    output_dir: str
    format: str = "saved_model"
    engine: str | None = None
    labels: str | None = None
    dataset_dir: str | None = None
    features: bool = False
    part: str = "whole"
    preprocess: bool = False
    overwrite: bool = False

    def __post_init__(self):
        super().__post_init__()
        check_choice("format", self.format, EXPORT_FORMATS)
        check_choice("part", self.part, DETECTOR_PARTS)
        if self.format == "release":
            refuse_detector(
                self.dataset,
                "format='release'",
                "Give --format=saved_model or --format=onnx, or --format=keras or --format=weights, which Keras reads.",
            )
        if self.part != "whole" and check_dataset(self.dataset)["task"] != "detection":
            raise ValueError(
                "`part` is for detectors, and a network on "
                f"{self.dataset} classifies. Leave it out. Received: part={self.part!r}"
            )
        check_image_size(self)
        if self.preprocess:
            refuse_detector(self.dataset, "`preprocess`", "Leave it out; a SavedModel of a detector prepares files.")
        if not self.output_dir:
            raise ValueError("`output_dir` must name the directory to write. Give --output_dir.")
        if self.format in _EXECUTED:
            check_choice("engine", self.engine, ENGINES)
        for name, formats, absent in (
            ("engine", _EXECUTED, None),
            ("labels", ("saved_model",), None),
            ("features", ("onnx",), False),
            ("part", ("onnx",), "whole"),
            ("preprocess", ("onnx",), False),
        ):
            if self.format not in formats and getattr(self, name) != absent:
                raise ValueError(
                    f"`{name}` is part of format={' and '.join(formats)}; format={self.format!r} has none. Leave it "
                    f"out. Received: {name}={getattr(self, name)!r}"
                )


@dataclasses.dataclass(frozen=True, kw_only=True)
class PonderMapConfig(CheckpointConfig):
    """Maps of photographs, by a network of model_type "sact"; see `CheckpointConfig`.

    Attributes:
        images_pattern: path with `*`, `?` and `**` of the photographs.
        output_dir: directory for the pictures.
        image_size: int, length in pixels that the longer edge is brought to; None to leave it.
        engine: one of `ENGINES`.
        overwrite: bool, whether pictures that are in `output_dir` already may be replaced.
        by: one of `MAP_FIGURES`, what the maps are of.
        normalize: bool, whether colours go from the least to the most of each photograph, or from 0 to the most that
            can be, the same for all.
        sheet: bool, whether all photographs are shown on sheets too, sorted by computation.
    """

    images_pattern: str
    output_dir: str
    image_size: int | None = None
    engine: str = "sparse"
    overwrite: bool = False
    by: str = "ponder_cost"
    normalize: bool = True
    sheet: bool = False

    def __post_init__(self):
        super().__post_init__()
        check_choice("engine", self.engine, ENGINES)
        refuse_detector(
            self.dataset,
            "python -m sact_tf.ponder_map",
            "python -m sact_tf.detect draws the maps of a detector, with its boxes.",
        )
        check_choice("by", self.by, MAP_FIGURES)
        _check_has_maps(self.model)
        check_image_size(self, optional=True)
        check_given(self, "images_pattern", "output_dir")


@dataclasses.dataclass(frozen=True, kw_only=True)
class DetectConfig(CheckpointConfig):
    """Boxes of photographs, found by a detector; see `CheckpointConfig`.

    Attributes:
        images_pattern: path with `*`, `?` and `**` of the photographs.
        output_dir: directory for the pictures and the boxes.
        image_size: int, length in pixels that the shorter side is brought to.
        min_score: float in [0, 1]; boxes of a lower score are not drawn.
        labels: path of a text file with the name of each class, from class 1 on; None for those of the data set.
        dataset_dir: directory of the data set, whose classes have names; None for its default.
        annotations: path of a JSON in COCO's form, whose numbers photographs and classes get; None for numbers from 1.
        engine: one of `ENGINES`.
        overwrite: bool, whether what is in `output_dir` already may be replaced.
    """

    images_pattern: str
    output_dir: str
    image_size: int
    min_score: float = 0.5
    labels: str | None = None
    dataset_dir: str | None = None
    annotations: str | None = None
    engine: str = "sparse"
    overwrite: bool = False

    def __post_init__(self):
        super().__post_init__()
        check_choice("engine", self.engine, ENGINES)
        if check_dataset(self.dataset)["task"] != "detection":
            raise ValueError(
                "Boxes are found by a detector, and this is a network that classifies, whose maps python -m "
                "sact_tf.ponder_map draws. Give the --checkpoint_dir of a run on a data set of detection. Received: "
                f"dataset={self.dataset!r}, checkpoint_dir={self.checkpoint_dir!r}"
            )
        check_image_size(self)
        if not is_number(self.min_score) or not 0 <= self.min_score <= 1:
            raise ValueError(f"`min_score` must lie in [0, 1]. Received: min_score={self.min_score!r}")
        check_given(self, "images_pattern", "output_dir")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SaliencyConfig(CheckpointConfig):
    """Ponder maps of a network of model_type "sact", or of a detector's extractor, for pictures that people looked at.

    Attributes:
        image_size: int, length in pixels that the longer edge is brought to, of a detector the shorter one; None to
            leave it.
        engine: one of `ENGINES`, for networks that classify.
    """

    image_size: int | None = None
    engine: str = "sparse"

    def __post_init__(self):
        super().__post_init__()
        check_choice("engine", self.engine, ENGINES)
        _check_has_maps(self.model)
        check_image_size(self, optional=True)


def _check_has_maps(model):
    """Raises ValueError for a network that does not decide by position."""
    if model.model_type != "sact":
        raise ValueError(
            "Only model_type='sact' decides by position and has ponder maps. Give a checkpoint of such a network, "
            f"or its --model_type. Received: model_type={model.model_type!r}"
        )
