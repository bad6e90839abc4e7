"""What training and evaluation say, in the words of a study, which has other flags than `train.py`, and fewer."""

import dataclasses
import re

from absl import flags

from sact_tf.config import ModelConfig, TrainingConfig

# Which flags of studies stand for a setting that `train.py` has a flag of the same name for; others have that name.
_FLAGS = {
    "max_number_of_steps": ("steps", "adaptive_steps", "fine_tune_steps"),
    "model": ("vanilla_models",),
    "tau": ("tau", "taus"),
    "warmup_steps": ("warmup_steps", "adaptive_warmup_steps"),
}
_SETTINGS = {field.name for kind in (TrainingConfig, ModelConfig) for field in dataclasses.fields(kind)}
# Not what is in the name of a file.
_FLAG = re.compile(r"(?<!train\.py )(?<![\w./-])--([a-z_]+)")
_DIFFERENCE = re.compile(r"^(  (?:model\.)?([a-z_]+))(?=: )", re.MULTILINE)


def in_its_words(text):
    """Text in which flags of `train.py` are those that the study has, or names of settings where it has none."""
    text = _FLAG.sub(lambda found: _named(found[1]) or found[0], text)
    return _DIFFERENCE.sub(lambda found: _with_flags(*found.groups()), text)


def _named(name):
    if name == "train_log_dir":
        return "--run_dir"
    return _own(name) or name if name in _SETTINGS else None


def _with_flags(line, name):
    own = _own(name)
    return line if own in ("", f"--{name}") else f"{line} ({own})"


def _own(name):
    """The study's flags for a setting, "--steps or --adaptive_steps"; empty where it has none, or was not a command."""
    return " or ".join(f"--{flag}" for flag in _FLAGS.get(name, (name,)) if flag in flags.FLAGS)
