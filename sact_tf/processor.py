"""The processor: what it is, and whether TensorFlow is to compute with oneDNN on it.

TensorFlow decides by itself, when it is imported, and not by what is faster for our networks: it turns oneDNN on where
the processor has AVX-512 for neural networks, and off elsewhere (figures in benchmarks/README.md). So our commands
decide before that. Whoever imports `sact_tf` into a program of their own keeps what they have.
"""

import json
import os
import sys

SWITCH = "TF_ENABLE_ONEDNN_OPTS"
# In the directory of a run: with what it was computed.
ENVIRONMENT_FILE = "environment.json"
_SCRIPTS = ("train.py", "eval.py")
_WORDS = {"0": "off", "1": "on"}

# One line on what was chosen, and why; empty in programs that are none of our commands.
choice = ""


def choose_onednn():
    """Sets the environment's switch for oneDNN if this process is one of our commands; `choice` says which and why.

    Must come before TensorFlow is imported. What the environment says already is left alone; a run that is resumed
    goes on as it began; else the processor decides.
    """
    global choice
    program = getattr(sys.modules.get("__main__"), "__file__", None)
    if not is_command(sys.argv, sys.orig_argv, program):
        return
    setting, reason = wanted(os.environ, sys.orig_argv, facts())
    if setting is not None:
        os.environ[SWITCH] = setting
        choice = f"oneDNN {_WORDS.get(setting, setting)}: {reason}"


def is_command(argv, words, program):
    """Whether a process is `python train.py`, `python eval.py` of this repository, or `python -m sact_tf. ...`.

    Args:
        argv: `sys.argv`.
        words: `sys.orig_argv`, the interpreter's own arguments included.
        program: path of the script that runs, or None.
    """
    # Python has "-m" there while it looks for the module that it is going to run.
    if argv[:1] == ["-m"]:
        return any(word.lstrip("-").removeprefix("m").split(".")[0] == "sact_tf" for word in words[1:])
    root = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    return program is not None and os.path.realpath(program) in [os.path.join(root, name) for name in _SCRIPTS]


def wanted(environment, words, processor):
    """The switch's value, "0" or "1", and the reason; `(None, "")` where TensorFlow's own choice may stand.

    Args:
        environment: dict of environment variables.
        words: list of str, the command line.
        processor: dict, see `facts`.
    """
    if environment.get(SWITCH):
        return environment[SWITCH], f"the environment has {SWITCH}={environment[SWITCH]}"
    recorded = _recorded(words)
    if recorded is not None:
        return str(int(recorded)), f"the run began so; {SWITCH} changes it"
    flags = processor.get("flags", "").split()
    if "avx2" not in flags:
        return None, ""
    if "avx512f" in flags:
        return "0", f"this processor has AVX-512, and computes our networks faster without; {SWITCH}=1 turns it on"
    return "1", f"this processor has no AVX-512, and computes our networks faster with it; {SWITCH}=0 turns it off"


def _recorded(words):
    """Whether the run that a command goes on with was computed with oneDNN: bool, or None where nothing says so."""
    for index, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name.lstrip("-") == "train_log_dir" and name.startswith("-"):
            value = value if equals else "".join(words[index + 1 : index + 2])
            return read_environment(os.path.expanduser(value)).get("onednn")
    return None


def read_environment(directory):
    """Returns the dict of a run's `environment.json`; an empty one if there is none, or it cannot be read."""
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


def uses_onednn():
    """Whether TensorFlow computes with oneDNN in this process, bool; None where it does not tell."""
    try:
        from tensorflow.python.util import _pywrap_util_port

        return bool(_pywrap_util_port.IsMklEnabled())
    except (ImportError, AttributeError):
        return None
