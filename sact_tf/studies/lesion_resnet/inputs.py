"""What the study is asked, and what is wrong with it, before anything is computed."""

import dataclasses
import os

from sact_tf import checkpoints
from sact_tf import config as configs
from sact_tf.studies import runs
from sact_tf.studies.lesion_resnet.kinds import MAPS, OF_POSITIONS, SETS

KINDS = (*SETS, *MAPS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inputs:
    """What `sact_tf.studies.lesion_resnet.run` is given, checked.

    Attributes:
        adaptive, plain: `TrainingConfig`s of the two runs.
        adaptive_prefix, plain_prefix: prefixes of their latest checkpoints.
        kinds: those of `KINDS` that the adaptive network has.
        left_out: those that it has not.
        draws: int, of the kinds that are drawn.
        num_examples: int, held-out images, or `None` for all.
        train_examples: int, first images of the train split.
        fine_tune_steps: int; 0 for none.
    """

    adaptive: configs.TrainingConfig
    plain: configs.TrainingConfig
    adaptive_prefix: str
    plain_prefix: str
    kinds: tuple
    left_out: tuple
    draws: int
    num_examples: int | None
    train_examples: int
    fine_tune_steps: int


def check(adaptive_dir, vanilla_dir, kinds, seeds, num_examples, train_examples, fine_tune_steps):
    """`Inputs`; arguments as of `sact_tf.studies.lesion_resnet.run`, errors too."""
    adaptive, adaptive_prefix = _read_run(adaptive_dir, "adaptive_dir")
    plain, plain_prefix = _read_run(vanilla_dir, "vanilla_dir")
    _check_networks(adaptive, plain, adaptive_dir, vanilla_dir)
    _check_same_shape(adaptive, plain)
    runs.check_data(adaptive, adaptive_dir)
    # Answers are compared image by image.
    plain = dataclasses.replace(plain, dataset_dir=adaptive.dataset_dir)
    unknown = [kind for kind in kinds or () if kind not in KINDS]
    if unknown:
        raise ValueError(f"--kinds takes {', '.join(KINDS)}, separated by commas. Received: {', '.join(unknown)}")
    _check_number("seeds", seeds, 1)
    _check_number("num_examples", num_examples, 2)
    _check_number("train_examples", train_examples, 2)
    _check_number("fine_tune_steps", fine_tune_steps, 0)
    steps = checkpoints.global_step(adaptive_prefix) if fine_tune_steps is None else fine_tune_steps
    if steps and plain.model.final_survival_probability < 1:
        raise ValueError(
            "A network of stochastic depth scales its units by how often they survived training, which fine-tuning "
            f"with other units would belie. Give --fine_tune_steps=0, or a --vanilla_dir of constant depth. Received: "
            f"final_survival_probability={plain.model.final_survival_probability} in {vanilla_dir}"
        )
    asked = [kind for kind in KINDS if kind in (kinds or KINDS)]
    missing = OF_POSITIONS if adaptive.model.model_type != "sact" else ()
    return Inputs(
        adaptive=adaptive,
        plain=plain,
        adaptive_prefix=adaptive_prefix,
        plain_prefix=plain_prefix,
        kinds=tuple(kind for kind in asked if kind not in missing),
        left_out=tuple(kind for kind in asked if kind in missing),
        draws=seeds,
        num_examples=num_examples,
        train_examples=train_examples,
        fine_tune_steps=steps,
    )


def _read_run(directory, flag):
    if not directory:
        raise ValueError(f"--{flag} is needed: the directory of a trained run.")
    if not os.path.isdir(directory):
        raise FileNotFoundError(f"--{flag} must be the directory of a trained run. There is none at {directory}")
    return configs.read_config(directory), checkpoints.checkpoint_prefix(directory)


def _check_networks(adaptive, plain, adaptive_dir, vanilla_dir):
    for run in (adaptive, plain):
        configs.refuse_detector(
            run.dataset, "LesionResNet, which compares images one by one,", "Give runs on a data set of classes."
        )
    if adaptive.model.model_type == "vanilla":
        raise ValueError(
            f"--adaptive_dir must be the run of an act or sact network, whose places are to be judged. Received: "
            f"{adaptive_dir}, a vanilla one."
        )
    if plain.model.model_type != "vanilla":
        raise ValueError(
            "--vanilla_dir must be the run of the plain network that lesions are made in, such as the one that the "
            f"adaptive network was fine-tuned from. Received: {vanilla_dir}, of model_type="
            f"{plain.model.model_type!r}."
        )


def _check_same_shape(adaptive, plain):
    names = ("network", "units", "base_channels", "stem_stride", "num_classes", "shortcuts")
    values = {name: (getattr(adaptive.model, name), getattr(plain.model, name)) for name in names}
    values |= {name: (getattr(adaptive, name), getattr(plain, name)) for name in ("dataset", "image_size")}
    differing = [f"{name}: {left!r}, {right!r}" for name, (left, right) in values.items() if left != right]
    if differing:
        raise ValueError(
            "The two networks must be of one shape and for the same images, so that lesions of the plain one can spend "
            "what the adaptive one spends in each block. Give the plain run that the adaptive one was fine-tuned from. "
            "They differ in (adaptive, vanilla):\n  " + "\n  ".join(differing)
        )


def _check_number(name, value, least):
    if value is not None and (not isinstance(value, int) or value < least):
        raise ValueError(f"--{name} must be an int, at least {least}. Received: --{name}={value}")
