"""What the commands share: their flags, the configurations that flags ask for, and errors that a person can read."""

import contextlib
import os
import signal
import sys
import warnings
from logging import getLogger

import tensorflow as tf
from absl import app, flags, logging

from sact_tf import processor
from sact_tf.command_line.configurations import (
    checkpoint_dir,
    demo_config,
    detect_config,
    evaluates_once,
    evaluation_config,
    export_config,
    map_export_config,
    numbers_of,
    ponder_map_config,
    saliency_config,
    split_config,
    strategy,
    train_log_dir,
    training_config,
)
from sact_tf.command_line.definitions import (
    define_demo_flags,
    define_detect_flags,
    define_evaluation_flags,
    define_export_flags,
    define_map_export_flags,
    define_model_flags,
    define_ponder_map_flags,
    define_saliency_flags,
    define_split_flags,
    define_training_flags,
)
from sact_tf.command_line.paths import define_path, define_paths
from sact_tf.command_line.writing import full_disk_named, fullness, make_directory
from sact_tf.data.whole_files import in_words
from sact_tf.progress import one_line, print_line
from sact_tf.training.session import TrainingDiverged
from sact_tf.training.strategies import WorkerLost

__all__ = [
    "checkpoint_dir",
    "define_demo_flags",
    "define_detect_flags",
    "define_evaluation_flags",
    "define_export_flags",
    "define_map_export_flags",
    "define_model_flags",
    "define_path",
    "define_paths",
    "define_ponder_map_flags",
    "define_saliency_flags",
    "define_split_flags",
    "define_training_flags",
    "demo_config",
    "detect_config",
    "evaluates_once",
    "evaluation_config",
    "export_config",
    "full_disk_named",
    "make_directory",
    "map_export_config",
    "numbers_of",
    "ponder_map_config",
    "run",
    "saliency_config",
    "split_config",
    "strategy",
    "train_log_dir",
    "training_config",
]

_MAX_MESSAGE = 300


def run(main, writes_to=None):
    """Runs a command's `main()`; a mistake of its user ends in a paragraph and exit status 1, not in a traceback.

    Args:
        main: function without arguments.
        writes_to: name of the flag with the directory that everything is written to, for the sentence about a full
            disk; None for a command that names it by itself.
    """

    def guarded(argv):
        if len(argv) > 1:
            marked = " The file of flags begins with a mark (BOM): save it without." if argv[1][0:1] == "\ufeff" else ""
            raise app.UsageError(f"Arguments are given as --flag=value. Received: {' '.join(argv[1:])}{marked}")
        if processor.choice:
            # Not among the results on the standard output.
            print(processor.choice, file=sys.stderr, flush=True)
        named = full_disk_named(flags.FLAGS[writes_to].value, writes_to) if writes_to else contextlib.nullcontext()
        try:
            with named:
                main()
        except (ValueError, OSError, TrainingDiverged, WorkerLost) as error:
            if os.environ.get("SACT_TF_TRACEBACK"):
                raise
            print_line(f"error: {_sentence(error)}", sys.stderr)
            sys.exit(1)
        except (MemoryError, tf.errors.ResourceExhaustedError) as error:
            # TensorFlow has one error for memory and disks.
            if os.environ.get("SACT_TF_TRACEBACK") or fullness(error):
                raise
            print_line(f"error: {_out_of_memory(error)}", sys.stderr)
            sys.exit(1)
        except (KeyboardInterrupt, RuntimeError) as error:
            # What pybind11 makes of Ctrl-C while TensorFlow raises something of its own.
            if isinstance(error, RuntimeError) and "REPLACED BY KeyboardInterrupt" not in str(error):
                raise
            print_line("Stopped.", sys.stderr)
            sys.exit(128 + signal.SIGINT)

    logging.set_verbosity(logging.WARNING)
    # What it finds besides the pixels of a picture, such as damaged EXIF data, and that it has very many of them.
    warnings.filterwarnings("ignore", module="PIL")
    getLogger("tensorflow").addFilter(_is_for_users)
    app.run(guarded, flags_parser=_parse)


def _parse(words):
    """Reads the flags. Of a switch that is turned off by a name with a value, absl makes a traceback."""
    try:
        return app.parse_flags_with_usage(words)
    except UnicodeDecodeError as error:
        print(f"FATAL Flags parsing error: a --flagfile must be UTF-8: {error}. Save it so.", file=sys.stderr)
        sys.exit(1)
    except ValueError as error:
        print(f"FATAL Flags parsing error: {error}: --noflag, or --flag=false.", file=sys.stderr)
        sys.exit(1)


def _is_for_users(record):
    """Leaves out advice to whoever wrote a `tf.function`: a study traces one for each of its networks."""
    return "triggered tf.function retracing" not in record.getMessage()


def _out_of_memory(error):
    first = f"{error}".strip().partition("\n")[0][:_MAX_MESSAGE]
    return (
        "There is not enough memory for this. Give a smaller --batch_size or --image_size, or a smaller network, where "
        f"the command takes them, or end what runs beside it.{first and f' What failed: {first}'}"
    )


def _sentence(error):
    if isinstance(error, OSError):
        return in_words(error)
    if not isinstance(error, UnicodeEncodeError):
        return error
    if (encoding := sys.getfilesystemencoding()) != "utf-8":
        return (
            f"TensorFlow takes paths for UTF-8, and Python here for {encoding}, which has no {one_line(error.object)}. "
            "Set PYTHONUTF8=1, or LC_ALL=C.UTF-8."
        )
    return (
        f"TensorFlow reads and writes only files whose paths are UTF-8, and this one is not: {one_line(error.object)}. "
        "Rename the directory, or give another one."
    )
