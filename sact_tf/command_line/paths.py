"""Flags that are paths: `~` is a home directory in them however the shell passed it on, as in `--run_dir=~/runs`."""

import os

from absl import flags

# A flag belongs to the command that asks for it here, so that its --help lists it.
flags.disclaim_key_flags()


class PathParser(flags.ArgumentParser):
    """Replaces `~` and `~user` at the beginning by a home directory; a name of no user stays as it is.

    An empty path is refused: `--finetune_path=$START`, where the shell knows no START, would be no path at all.
    """

    syntactic_help = "a path; ~ is the home directory."

    def parse(self, argument):
        """Returns the path that the text of a flag stands for."""
        return _expanded(super().parse(argument))

    def flag_type(self):
        """What `--help` calls it."""
        return "path"


class PathListParser(flags.ListParser):
    """Paths separated by commas, each as `PathParser` has it."""

    def parse(self, argument):
        """Returns the list of paths."""
        # Of an empty text there are none, and it is no default.
        return [_expanded(path) for path in ([""] if argument == "" else super().parse(argument))]


def _expanded(path):
    if not path:
        raise ValueError("a path that is empty. Is a variable of the shell not set? Or leave the flag out.")
    return os.path.expanduser(path)


def define_path(name, default, help_text):
    """Defines a flag that is a path. Every such flag of every command is defined here or by `define_paths`.

    Args:
        name: of the flag.
        default: path, which may begin with `~`, or None.
        help_text: what `--help` says.
    """
    flags.DEFINE(PathParser(), name, default, help_text, serializer=flags.ArgumentSerializer())


def define_paths(name, default, help_text):
    """Defines a flag that is a list of paths separated by commas; arguments as in `define_path`."""
    flags.DEFINE(PathListParser(), name, default, help_text, serializer=flags.CsvListSerializer(","))
