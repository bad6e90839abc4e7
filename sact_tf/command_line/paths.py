"""Flags that are paths: `~` is a home directory in them however the shell passed it on, as in `--run_dir=~/runs`."""

import os

from absl import flags

# A flag belongs to the command that asks for it here, so that its --help lists it.
flags.disclaim_key_flags()


class PathParser(flags.ArgumentParser):
    """Replaces `~` and `~user` at the beginning by a home directory; a name of no user stays as it is."""

    syntactic_help = "a path; ~ is the home directory."

    def parse(self, argument):
        """Returns the path that the text of a flag stands for."""
        return os.path.expanduser(super().parse(argument))

    def flag_type(self):
        """What `--help` calls it."""
        return "path"


class PathListParser(flags.ListParser):
    """Paths separated by commas, each as `PathParser` has it."""

    def parse(self, argument):
        """Returns the list of paths."""
        return [os.path.expanduser(path) for path in super().parse(argument)]


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
