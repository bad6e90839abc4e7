"""The flags of the commands. A flag that is not given stands for what the data set, or the run, has."""

from absl import flags

from sact_tf import config as configs
from sact_tf.command_line.paths import define_path
from sact_tf.data.fixations import FORMATS
from sact_tf.training.strategies import STRATEGIES

# A flag belongs to the command that asks for it here, so that its --help lists it.
flags.disclaim_key_flags()


def define_model_flags(
    image_size="Height and width of the images in pixels.",
    dataset="cluttered_digits",
    trained_on=False,
    reads="records",
):
    """Flags that all commands with a network share. A flag that is not given takes the data set's default.

    Args:
        image_size: text, what `--image_size` is to the command.
        dataset: name of the data set that stands where neither `--dataset` nor a run says which.
        trained_on: bool, whether that flag is `--trained_on`, for a command whose `--dataset` is another one.
        reads: what the command reads in `--dataset_dir`: "records", "others" (nothing that counts as a damaged record,
            such as names of classes), or "nothing", where there is no such flag.
    """
    if trained_on:
        flags.DEFINE_enum("trained_on", dataset, list(configs.DATASETS), "What a network without a run learned from.")
    else:
        flags.DEFINE_enum("dataset", dataset, list(configs.DATASETS), "Data set; sets the defaults below.")
    flags.DEFINE_enum("experiment", None, list(configs.EXPERIMENTS), f"Run of the release. {_published()}")
    if reads != "nothing":
        define_path("dataset_dir", None, "Directory of the data set; what is in it decides how it is read.")
    if reads == "records":
        flags.DEFINE_integer("skip_bad_records", 0, "Damaged examples to skip before stopping at the next one.")
    flags.DEFINE_enum("network", None, ["cifar", "imagenet"], "Kind of residual network.")
    flags.DEFINE_string("model", None, "Residual units: '5' or '2_3_4' (cifar), '101' or '3_4_23_3' (imagenet).")
    flags.DEFINE_string("model_type", None, f"One of {', '.join(configs.MODEL_TYPES)}.")
    flags.DEFINE_integer("num_classes", None, "Classes of the network; by default what convert noted beside the data.")
    flags.DEFINE_float("tau", None, "Weight of the ponder cost in the loss, at least 0.")
    flags.DEFINE_integer("base_channels", None, "Channels of the first block.")
    flags.DEFINE_integer("stem_stride", None, "Stride of the cifar network's first convolution.")
    flags.DEFINE_integer("image_size", None, image_size)
    flags.DEFINE_float("label_smoothing", None, "Share of the target of training that is spread over all classes.")
    flags.DEFINE_float(
        "final_survival_probability",
        None,
        "Stochastic depth: how probably the last unit runs in a training step, earlier ones more so; 1 for always.",
    )
    flags.DEFINE_boolean("shortcuts", None, "Shortcuts of the cifar network's units; without, a plain stack.")
    flags.DEFINE_float("anchor_base_size", None, "Detector: anchors' sides are .25, .5, 1 and 2 times it, pixels.")
    flags.DEFINE_integer("head_samples", None, "Detector: proposals of an image that its head learns from in a step.")
    flags.DEFINE_integer("crop_size", None, "Detector: positions of a proposal's crop before it is halved, each way.")
    flags.DEFINE_boolean("crop_max_pool", None, "Detector: proposals are max-pooled, not halved by block 4's stride.")
    flags.DEFINE_boolean(
        "freeze_batch_norm",
        None,
        "Detector: batch normalization stays as it is; by default where training starts from a checkpoint.",
    )
    flags.DEFINE_enum("dtype", None, list(configs.DTYPES), "Precision of the features.")


def define_evaluation_flags():
    """Flags of evaluation alone."""
    _define_checkpoint_flags()
    _define_strategy_flag()
    define_path("eval_dir", None, "Directory for TensorBoard events; by default eval/ in the run's directory.")
    _define_image_flags("Split to evaluate on.")
    flags.DEFINE_boolean("evaluate_once", False, "Evaluate the latest checkpoint and stop, else wait for further ones.")
    flags.DEFINE_float("eval_interval_secs", 60, "Seconds between two evaluations at the least.")
    define_path("report_dir", None, "Directory for report.html, figures and pictures on one page.")
    define_path("report_vanilla_dir", None, "Run of the plain network that the report compares with.")


def define_export_flags():
    """Flags of exports alone."""
    _define_checkpoint_flags()
    define_path("output_dir", None, "Directory to write; for TensorFlow Serving models/<name>/<version>.")
    flags.DEFINE_enum("format", "saved_model", list(configs.EXPORT_FORMATS), "What to write.")
    flags.DEFINE_enum(
        "engine",
        None,
        list(configs.ENGINES),
        "How a SavedModel or an ONNX file computes: active positions only (default), or all.",
    )
    flags.DEFINE_boolean("features", False, "Have an ONNX file return the features of each block too.")
    flags.DEFINE_enum(
        "part",
        "whole",
        list(configs.DETECTOR_PARTS),
        "What an ONNX file of a detector answers: boxes too, or what its extractor says.",
    )
    flags.DEFINE_boolean(
        "preprocess", False, "Have an ONNX file take pictures as bytes, and resize and scale them as evaluation does."
    )
    define_path(
        "labels",
        None,
        "Text file with the name of each class, a line each, for a SavedModel; ImageNet's may lack class 0, a "
        "detector's begins with class 1 (by default the names of its data set).",
    )
    flags.DEFINE_boolean("overwrite", False, "Replace the export that is in --output_dir already.")


def define_ponder_map_flags():
    """Flags of maps of photographs alone."""
    _define_photograph_flags()
    flags.DEFINE_enum("by", "ponder_cost", list(configs.MAP_FIGURES), "What the maps are of.")
    flags.DEFINE_boolean("normalize", True, "Colours of each photograph's own range, or from 0 to the most possible.")
    flags.DEFINE_boolean("sheet", False, "All photographs on sheets too, from the least to the most computation.")
    _define_engine_flag()


def define_detect_flags():
    """Flags of boxes of photographs alone."""
    _define_photograph_flags()
    flags.DEFINE_float("min_score", 0.5, "Boxes of a lower score are not drawn; detections.json has all of them.")
    define_path("labels", None, "Text file with a name a line, from class 1 on; by default the run's names.")
    define_path("annotations", None, "JSON in COCO's form, whose ids detections.json has, found by names.")
    _define_engine_flag()


def define_demo_flags():
    """Flags of the page to play with alone."""
    _define_checkpoint_flags()
    define_path("labels", None, "Text file with a name a line; by default the names of the data set, if known.")
    flags.DEFINE_string("host", "127.0.0.1", "Interface to serve on; any other than this lets other machines in.")
    flags.DEFINE_integer("port", 8077, "Port to serve on; 0 for any that is free.")


def define_saliency_flags():
    """Flags of the study of saliency alone."""
    _define_checkpoint_flags()
    flags.DEFINE_enum("dataset", None, list(FORMATS), "Form of the pictures and fixations.")
    _define_engine_flag()
    flags.DEFINE_integer("num_images", None, "Pictures, evenly from all of them; by default all.")
    flags.DEFINE_integer("score_size", None, "Longer edge that maps are scored at; by default that of the pictures.")
    flags.DEFINE_list("sigmas", None, "Blurs to choose from, in pixels of the pictures: 0,10,20,30,40,60,80,100.")
    flags.DEFINE_list("centre_weights", None, "Weights of the centre prior to choose from; by default 0,0.1,...,1.")
    flags.DEFINE_float("density_sigma", None, "Blur of fixations, pixels; 24 of osie, 35 of cat2000, else width * .03.")
    flags.DEFINE_integer("shuffles", 5, "Other pictures' maps that are tried on each picture.")
    define_path("run_dir", "runs/saliency", "Directory for everything that is written.")


def _define_photograph_flags():
    _define_checkpoint_flags()
    define_path("images_pattern", None, "Photographs (JPEG, PNG, WebP, ...), in quotes: 'photos/*.jpg'.")
    define_path("output_dir", None, "Directory for the pictures.")
    flags.DEFINE_boolean("overwrite", False, "Replace pictures that are in --output_dir already.")


def define_map_export_flags():
    """Flags of exports of maps alone."""
    _define_checkpoint_flags()
    _define_strategy_flag()
    define_path("export_path", None, "HDF5 file to write.")
    _define_image_flags("Split to compute.")
    _define_engine_flag()
    flags.DEFINE_boolean("overwrite", False, "Replace the export at --export_path.")


def define_split_flags():
    """Flags of commands that read a checkpoint and a split of its data set, and write no file of their own kind."""
    _define_checkpoint_flags()
    _define_image_flags("Split to measure on.")


def _define_checkpoint_flags():
    define_path("checkpoint_dir", None, "Directory of a run or of a release checkpoint, or a prefix.")
    flags.DEFINE_boolean("use_moving_average", None, "Take the moving averages; default where there are.")


def _define_image_flags(split_name):
    """Which images of a data set, and how many at a time; `split_name` is the help of that flag."""
    flags.DEFINE_string("split_name", None, split_name)
    flags.DEFINE_integer(
        "num_examples", None, "Number of images; by default as many as the original data set holds out."
    )
    flags.DEFINE_integer("eval_batch_size", None, "Images at a time; no figure depends on it.")
    flags.DEFINE_alias("batch_size", "eval_batch_size")


def _define_engine_flag():
    flags.DEFINE_enum("engine", "sparse", list(configs.ENGINES), "How to compute: active positions only, or all.")


def _define_strategy_flag():
    flags.DEFINE_enum("strategy", "one", ["one", "mirrored"], "Devices: one, or all of this machine share each batch.")


def define_training_flags():
    """Flags of training alone."""
    define_path("train_log_dir", None, "Directory of the run: configuration, checkpoints, TensorBoard events.")
    flags.DEFINE_integer("batch_size", None, "Images per step, over all devices.")
    flags.DEFINE_float("learning_rate", None, "Learning rate of the first step.")
    flags.DEFINE_enum("learning_rate_schedule", None, list(configs.SCHEDULES), "How the learning rate falls.")
    flags.DEFINE_list("learning_rate_boundaries", None, "Steps where a piecewise schedule falls: 60000,75000,90000.")
    flags.DEFINE_float("learning_rate_decay_factor", None, "What the learning rate is multiplied by where it falls.")
    flags.DEFINE_float("num_epochs_per_decay", None, "Epochs after which an exponential schedule falls.")
    flags.DEFINE_integer("warmup_steps", None, "Steps over which the learning rate rises from zero.")
    flags.DEFINE_integer(
        "tau_warmup_steps", None, "Steps over which tau rises from zero, so that halting sets in late."
    )
    flags.DEFINE_integer("learning_rate_base_batch_size", None, "Multiplies the learning rate by batch_size / this.")
    flags.DEFINE_float("momentum", None, "Momentum of the optimizer.")
    flags.DEFINE_float("moving_average_decay", None, "Decay of a moving average of the weights; none if not given.")
    flags.DEFINE_float("clip_norm", None, "Norm that all gradients together are clipped to; not clipped if not given.")
    flags.DEFINE_integer("max_number_of_steps", None, "Steps of the whole run.")
    define_path("finetune_path", None, "Checkpoint (prefix or directory) to start from, but for the halting.")
    flags.DEFINE_boolean(
        "finetune_skip_logits", None, "Start the last layer afresh too: the checkpoint has other classes."
    )
    flags.DEFINE_integer(
        "train_effective", None, "Units that run in a step, drawn anew for each; by default all of the network."
    )
    flags.DEFINE_integer("seed", None, "Seed of the initial weights and of the order of the examples.")
    flags.DEFINE_boolean("deterministic", None, "Every op gives the same bits in every run, so a resume is exact.")
    flags.DEFINE_boolean("jit_compile", None, "Compile the step with XLA.")
    flags.DEFINE_enum("strategy", "one", list(STRATEGIES), "Devices: one, all of this machine, several machines, TPU.")
    flags.DEFINE_string("tpu", "", "Name or address of the TPU.")
    flags.DEFINE_integer("save_interval_secs", 600, "Seconds between checkpoints, 0: each step; one more at the end.")
    flags.DEFINE_integer("save_summaries_secs", 60, "Seconds between TensorBoard summaries, 0: each step.")


def _published():
    """One line on the released experiments for `--help`."""
    figures = [
        f"{name}: " + ", ".join(f"{metric} {value:.5g}" for metric, value in experiment.published.items())
        for name, experiment in configs.EXPERIMENTS.items()
        if experiment.published
    ]
    return "Flags that are given win. Published: " + "; ".join(figures) + "."
