"""What a data set's name stands for, and the released experiments: figures of settings, no checks of them."""

import dataclasses

# What `--dataset` stands for where a flag is not given.
DATASETS = {
    "cluttered_digits": {
        "task": "classification",
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
    # Of maps of 8 x 10 positions, crops of 14 x 14 would make the head dear and tell it nothing.
    "digit_scenes": {
        "task": "detection",
        "network": "imagenet",
        "model": "3_4_6_1",
        "model_type": "vanilla",
        "num_classes": 10,
        "base_channels": 24,
        "anchor_base_size": 64.0,
        "crop_max_pool": True,
        "crop_size": 6,
        "head_samples": 24,
        "tau": 0.02,
        "label_smoothing": 0.0,
        # Pixels of the shorter side, as of every data set for detection.
        "image_size": 128,
        "batch_size": 8,
        "eval_batch_size": 8,
        "learning_rate": 0.05,
        "learning_rate_schedule": "cosine",
        "warmup_steps": 100,
        "clip_norm": 10.0,
        "max_number_of_steps": 1_400,
        "num_train_examples": 100_000,
        "num_examples": 500,
        "split_name": "test",
        "train_log_dir": "/tmp/digit_scenes/",
    },
    # Learning rates, sizes and clipping of the TF Object Detection API's Faster R-CNN with ResNet-101.
    "coco": {
        "task": "detection",
        "network": "imagenet",
        "model": "101",
        "model_type": "vanilla",
        "num_classes": 80,
        "base_channels": 64,
        "tau": 0.005,
        "label_smoothing": 0.0,
        "image_size": 600,
        "batch_size": 1,
        "eval_batch_size": 1,
        "learning_rate": 3e-4,
        "learning_rate_schedule": "piecewise",
        "learning_rate_boundaries": (900_000, 1_200_000),
        "clip_norm": 10.0,
        "max_number_of_steps": 1_300_000,
        "num_train_examples": 118_287,
        "num_examples": 5_000,
        "split_name": "val",
        "train_log_dir": "/tmp/coco/",
    },
    # Of VOC 2012; sets in its form are smaller as a rule.
    "voc": {
        "task": "detection",
        "network": "imagenet",
        "model": "50",
        "model_type": "vanilla",
        "num_classes": 20,
        "base_channels": 64,
        "tau": 0.005,
        "label_smoothing": 0.0,
        "image_size": 600,
        "batch_size": 1,
        "eval_batch_size": 1,
        "learning_rate": 3e-4,
        "learning_rate_schedule": "piecewise",
        "learning_rate_boundaries": (60_000, 80_000),
        "clip_norm": 10.0,
        "max_number_of_steps": 90_000,
        "num_train_examples": 5_717,
        "num_examples": 5_823,
        "split_name": "val",
        "train_log_dir": "/tmp/voc/",
    },
    # The defaults of the release's scripts, here and below.
    "imagenet": {
        "task": "classification",
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
        "task": "classification",
        "network": "cifar",
        "model": "5",
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


def check_dataset(dataset):
    """Returns the defaults of a data set, raises ValueError if there is none of that name."""
    if dataset not in DATASETS:
        raise ValueError(f"`dataset` must be one of {tuple(DATASETS)}. Received: dataset={dataset!r}")
    return DATASETS[dataset]


def refuse_detector(dataset, what, way_out):
    """Raises ValueError if networks on a data set are detectors.

    Args:
        dataset: a key of `DATASETS`.
        what: text, what is asked of the network, the beginning of a sentence.
        way_out: sentence, what to do instead.
    """
    if check_dataset(dataset)["task"] == "detection":
        raise ValueError(
            f"{what} is for networks that classify, and a network on {dataset} is a detector. {way_out} Received: "
            f"dataset={dataset!r}"
        )


# What a detector has no use for, by the only value that is accepted, and why.
_OF_A_DETECTOR = {
    "network": ("imagenet", "its extractor and its head are blocks of the ImageNet network"),
    "shortcuts": (True, "the ImageNet network has its shortcuts always"),
    "label_smoothing": (0.0, "its loss is of boxes and smooths no labels"),
    "train_effective": (None, "it trains all of its units in every step"),
}


def check_task_settings(dataset, settings):
    """Raises ValueError for a setting that the networks on a data set do not have.

    Args:
        dataset: a key of `DATASETS`.
        settings: dict from names of fields of `ModelConfig` and `TrainingConfig` to values.
    """
    if check_dataset(dataset)["task"] != "detection":
        return
    for name, (accepted, why) in _OF_A_DETECTOR.items():
        value = settings.get(name, accepted)
        if value != accepted:
            takes = f"no {name}" if accepted is None else f"{name}={accepted!r} alone"
            raise ValueError(
                f"A detector takes {takes}: {why}. Leave --{name} out, or give a --dataset of classification. "
                f"Received: {name}={value!r}, dataset={dataset!r}"
            )
