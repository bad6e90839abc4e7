"""With what a run was computed: named when a resumed run is computed with something else."""

import json
import os

import keras
import tensorflow as tf

from sact_tf import processor
from sact_tf.data.whole_files import write_atomically
from sact_tf.version import __version__

# What the last digits of the figures depend on, and how a line calls it.
_NAMED = {
    "tensorflow": "TensorFlow",
    "keras": "Keras",
    "processor": "processor",
    "cores": "a number of cores of",
    "onednn": "oneDNN",
}


def note_environment(train_log_dir, replicas, log):
    """Writes `environment.json` at the start of a run; later, says what differs from the start.

    Args:
        train_log_dir: directory of the run, which this process writes.
        replicas: int, devices that train together.
        log: called with a line of text for each difference.
    """
    now = {**environment(), "replicas": replicas}
    begun = processor.read_environment(train_log_dir)
    if not begun:
        path = os.path.join(train_log_dir, processor.ENVIRONMENT_FILE)
        write_atomically(path, [json.dumps(now, indent=2).encode() + b"\n"])
        return
    for name, called in _NAMED.items():
        if name in begun and begun[name] != now[name]:
            log(f"Note: {_differs(name, called, begun[name], now[name])}")
    if begun.get("replicas", replicas) != replicas:
        log(
            f"Note: this run began with {_split(begun['replicas'])} and goes on with {replicas}: "
            "batch normalization, unless frozen, sees other parts of them, so it goes on otherwise than it would have."
        )


def environment():
    """Dict of str, of int for `cores`, and of bool for `onednn` (None where TensorFlow does not tell)."""
    return {
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "sact_tf": __version__,
        "processor": processor.describe(),
        "cores": processor.num_cores(),
        "onednn": processor.uses_onednn(),
    }


def _split(replicas):
    return "whole batches on 1 device" if replicas == 1 else f"batches split over {replicas} devices"


def _differs(name, called, begun, now):
    text = f"this run began with {called} {_word(begun)} and goes on with {_word(now)}: the last digits may differ."
    if name == "onednn":
        text += f" {processor.SWITCH}={int(bool(begun))} in the environment goes on as it began."
    return text


def _word(value):
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value
