"""The processor: what it is, and whether TensorFlow is to compute with oneDNN on it.

TensorFlow decides by itself, when it is imported: on where the processor has AVX-512 for neural networks, else off. For
our networks it is the work that decides. Training is faster with oneDNN, with AVX-512 and without, for small networks
about twice; a forward pass of one large image is not, and took up to twice as long on one machine. Figures are in
benchmarks/README.md. So our commands decide before TensorFlow does. Whoever imports `sact_tf` into a program of their
own keeps what they have.
"""

import contextlib
import json
import os
import sys

from absl import flags

SWITCH = "TF_ENABLE_ONEDNN_OPTS"
# Has oneDNN keep the weights of a convolution as they were when it ran for the first time.
FROZEN_WEIGHTS = "TF_ONEDNN_ASSUME_FROZEN_WEIGHTS"
# In the directory of a run: with what it was computed.
ENVIRONMENT_FILE = "environment.json"
_SCRIPTS = ("train.py", "eval.py")
# Commands that compute gradients; what else they do takes less time.
_TRAINING = ("train.py", "studies")
# All that TensorFlow takes there, in capital letters too; anything else it takes for its own choice.
_WORDS = {"0": "off", "false": "off", "1": "on", "true": "on"}

# One line on what was chosen, and why; empty in programs that are none of our commands.
choice = ""


def choose_onednn():
    """Sets the environment's switch for oneDNN if this process is one of our commands; `choice` says which and why.

    Must come before TensorFlow is imported. What the environment says already is left alone; a run that is resumed
    goes on as it began; else it is on for training, and off for what only computes outputs. An environment that says
    something else than on or off ends the process with a sentence. One that says that weights never change is not
    true of a command, which reads or trains them, and is left out.
    """
    global choice
    program = getattr(sys.modules.get("__main__"), "__file__", None)
    command = command_of(sys.argv, sys.orig_argv, program)
    if command is None:
        return
    os.environ.pop(FROZEN_WEIGHTS, None)
    setting, reason = wanted(os.environ, sys.orig_argv, command in _TRAINING, facts())
    if setting is None:
        return
    if setting.lower() not in _WORDS:
        sys.exit(
            f"error: {SWITCH} in the environment must be 0 or 1, for oneDNN off or on. Received: {SWITCH}={setting}"
        )
    os.environ[SWITCH] = setting
    choice = f"oneDNN {_WORDS[setting.lower()]}: {reason}"


def run_keras_on_tensorflow():
    """Has Keras run on TensorFlow if this process is one of our commands, whatever the file `keras.json` says.

    Must come before Keras. An environment that asks for another backend ends the process with a sentence.
    """
    program = getattr(sys.modules.get("__main__"), "__file__", None)
    if command_of(sys.argv, sys.orig_argv, program) is None:
        return
    backend = os.environ["KERAS_BACKEND"] = os.environ.get("KERAS_BACKEND") or "tensorflow"
    if backend != "tensorflow":
        sys.exit(
            "error: The commands of sact_tf compute with TensorFlow, and the environment asks Keras for another "
            f"backend. Leave KERAS_BACKEND out, or set it to tensorflow. Received: KERAS_BACKEND={backend}"
        )


def draw_into_files():
    """Sets Matplotlib's backend, which is none with windows, if this process is one of our commands.

    Must come before Keras, which imports Matplotlib. What a notebook leaves in the environment of its children may be a
    backend that is not installed here, at which the import ends.
    """
    program = getattr(sys.modules.get("__main__"), "__file__", None)
    if command_of(sys.argv, sys.orig_argv, program) is not None:
        os.environ["MPLBACKEND"] = "agg"


def command_of(argv, words, program):
    """Which of our commands a process is: "train.py", "eval.py", the room of a module ("studies", "export"), or None.

    Args:
        argv: `sys.argv`.
        words: `sys.orig_argv`, the interpreter's own arguments included.
        program: path of the script that runs, or None.
    """
    # Python has "-m" there while it looks for the module that it is going to run.
    if argv[:1] == ["-m"]:
        modules = [word.lstrip("-").removeprefix("m").split(".") for word in words[1:]]
        return next((parts[1] for parts in modules if parts[0] == "sact_tf" and len(parts) > 1), None)
    root = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    found = program and os.path.realpath(program)
    return next((name for name in _SCRIPTS if found == os.path.join(root, name)), None)


def wanted(environment, words, trains, processor):
    """The switch's value, "0" or "1", and the reason; `(None, "")` where TensorFlow's own choice may stand.

    Args:
        environment: dict of environment variables.
        words: list of str, the command line.
        trains: bool, whether the command computes gradients.
        processor: dict, see `facts`.
    """
    if environment.get(SWITCH):
        return environment[SWITCH], f"the environment has {SWITCH}={environment[SWITCH]}"
    directory = _train_log_dir(words)
    begun = read_environment(directory).get("onednn")
    if isinstance(begun, bool):
        return str(int(begun)), f"the run began so; {SWITCH} changes it"
    # A run of an earlier version, which left it to TensorFlow.
    if directory and os.path.exists(os.path.join(directory, "checkpoint")):
        return None, ""
    # On other kinds of processors nothing was measured.
    if "avx2" not in processor.get("flags", "").split():
        return None, ""
    if trains:
        return "1", f"training is faster with it; {SWITCH}=0 turns it off"
    return "0", f"a forward pass is faster without, or as fast; {SWITCH}=1 turns it on"


def _train_log_dir(words):
    """The directory of the run that a command line, or a --flagfile in it, names last; "" if it names none."""
    # What is wrong with a file of flags is told when they are read.
    with contextlib.suppress(flags.Error, ValueError):
        words = flags.FlagValues().read_flags_from_files(words)
    directory = ""
    for index, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name.startswith("-") and name.lstrip("-") == "train_log_dir":
            directory = os.path.expanduser(value if equals else "".join(words[index + 1 : index + 2]))
    return directory


def read_environment(directory):
    """Returns the dict of a run's `environment.json`; an empty one if there is none, or it cannot be read.

    Args:
        directory: of the run; an empty str for none.
    """
    if not directory:
        return {}
    try:
        with open(os.path.join(directory, ENVIRONMENT_FILE), encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def facts():
    """Returns what Linux says of the first processor, dict of str; an empty one elsewhere."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            lines = [line.split(":", 1) for line in file.read().split("\n\n")[0].splitlines()]
    except OSError:
        return {}
    return {line[0].strip(): line[1].strip() for line in lines if len(line) == 2}


def describe():
    """Name, family and model of the processor: virtual machines often give a short name only."""
    found = facts()
    if not found:
        return "unknown processor"
    return f"{found.get('model name', '?')} (family {found.get('cpu family')}, model {found.get('model')})"


def num_cores():
    """How many cores this process may use: TensorFlow divides sums among so many."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def check_weights_may_change():
    """Raises ValueError where the environment has TensorFlow compute with the weights of the first step in all others.

    Nothing would tell: losses are finite, and the weights that are saved are not those that were computed with.
    """
    if _WORDS.get(os.environ.get(FROZEN_WEIGHTS, "").lower()) == "on":
        raise ValueError(
            f"{FROZEN_WEIGHTS} in the environment has oneDNN keep the weights that convolutions began with, so nothing "
            "could be trained. Leave it out, before TensorFlow is imported. Received: "
            f"{FROZEN_WEIGHTS}={os.environ[FROZEN_WEIGHTS]}"
        )


def uses_onednn():
    """Whether TensorFlow computes with oneDNN in this process, bool; None where it does not tell."""
    try:
        from tensorflow.python.util import _pywrap_util_port

        return bool(_pywrap_util_port.IsMklEnabled())
    except (ImportError, AttributeError):
        return None
