"""A process that has imported what the scripts import; every script that a test starts is a copy of it.

With names of modules as arguments it imports those instead, and nothing of ours.

It reads requests from its standard input, one of JSON a line, and answers each at once with a line:
`[words, environment, output, errors]` starts a script and is answered with the number of its process; such a number is
answered with the exit status of that process, minus the signal that ended it, or with null while it runs.

Nothing here may execute a TensorFlow operation: its threads would not survive the copying. TensorFlow is there before
the scripts are, so they compute with oneDNN or without as the tests do; what a command chooses is tested in
tests/test_processor.py, in processes that begin at the beginning.
"""

import atexit
import gc
import importlib
import json
import os
import pathlib
import runpy
import signal
import sys
import threading

ROOT = str(pathlib.Path(__file__).resolve().parents[1])
IMPORTED = ("h5py", "matplotlib.pyplot", "sact_tf.evaluation", "sact_tf.export.saved_model", "sact_tf.training")


def start(words, environment, output, errors):
    """Runs a script in a copy of this process, like `python *words`, and returns the copy's number."""
    child = os.fork()
    if child:
        return child
    # Tests that were started in the background of a shell ignore Ctrl-C; what they start is not to.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.update(environment)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for path, descriptor in ((output, 1), (errors, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
    try:
        if words[0] == "-m":
            sys.argv = words[1:]
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = words
            runpy.run_path(words[0], run_name="__main__")
    except SystemExit as ending:
        end(ending)
    end(SystemExit())


def end(ending):
    """Ends this copy as Python would, but for taking apart all that it was born with: a fifth of a second."""
    # Several workers part with each other when TensorFlow is taken apart, and a text is Python's to print.
    if "TF_CONFIG" in os.environ or not isinstance(ending.code, int | None):
        raise ending
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit((ending.code or 0) & 0xFF)


def exit_status(child):
    ended, status = os.waitpid(child, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def main(names):
    gc.disable()
    # The scripts are beside the tests, as if Python had been started with one of them.
    sys.path[:1] = [] if names else [ROOT]
    for name in names or IMPORTED:
        importlib.import_module(name)
    # A copy that ends looks for garbage in all that it was born with, most of a second long, unless that is left out.
    gc.collect()
    gc.freeze()
    # As in the tests' own process, see tests/conftest.py.
    gc.set_threshold(100_000, 20, 20)
    gc.enable()
    for line in sys.stdin:
        request = json.loads(line)
        answer = exit_status(request) if isinstance(request, int) else start(*request)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
