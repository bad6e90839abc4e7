"""What people see while they wait, lines of text with the time that is left, and words that messages are made of."""

import re
import sys
import time

# Names in a message.
MAX_NAMED = 3


def print_line(text, file=None):
    """Prints a line at once, also into a pipe; what its reader's encoding lacks comes as `\\xe9`.

    Args:
        text: str.
        file: text file; None for standard output.

    Raises:
        OSError: with a sentence, if it cannot be written any more: its reader has ended, or a disk is full.
    """
    file = sys.stdout if file is None else file
    encoding = getattr(file, "encoding", None) or "utf-8"
    try:
        print(printable(text).encode(encoding, "backslashreplace").decode(encoding), file=file, flush=True)
    except OSError as error:
        name = getattr(file, "name", "the output")
        raise OSError(
            f"What is said cannot be written to {name} any more ({error.strerror}). Start again with the output to a "
            "terminal or a file with space, or to a program that reads to the end."
        ) from error


def printable(text):
    """Text in which bytes of file names that are not UTF-8, which Python keeps as lone surrogates, read `\\xe9`."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def one_line(name):
    """The name of a file, or a path, `printable` and without line breaks and other signs that steer a terminal."""
    readable = printable(str(name))
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in readable)


def named(names):
    """The first of some names, each as `one_line`, and how many there are: for a message."""
    names = [one_line(name) for name in names]
    return ", ".join(names[:MAX_NAMED]) + (f", ... ({len(names)} in all)" if len(names) > MAX_NAMED else "")


def reason_of(message):
    """What an operation of TensorFlow says of its failure, on one line and without the names of its parts."""
    return re.sub(r"\{\{.*?\}\}|\[Op:.*|\s+", " ", message, flags=re.DOTALL).strip(" .")


def counted(number, noun):
    """A number of things as text: "1 step", "2 steps", "2 boxes"; the noun is one whose plural ends in s."""
    ending = "" if number == 1 else "es" if noun.endswith(("s", "x", "ch")) else "s"
    return f"{number} {noun}{ending}"


class Timer:
    """Says whether some seconds have passed since it last did."""

    def __init__(self, seconds):
        self.seconds = seconds
        self.last = time.monotonic()

    def is_due(self):
        """True once after each `seconds`."""
        if time.monotonic() - self.last < self.seconds:
            return False
        self.last = time.monotonic()
        return True


def duration(seconds):
    """Seconds as text, "3 min 05 s"."""
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds:02d} s" if minutes else f"{seconds} s"
