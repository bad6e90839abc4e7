"""Text as it is: names of files and runs come from people, and are neither formulas of Matplotlib nor its signs."""

import functools
import warnings

from sact_tf.progress import one_line

# `$x$` would be set as a formula, `a$x_$` end in an error; a user's own settings may say even more.
_SETTINGS = {"text.parse_math": False, "text.usetex": False, "axes.formatter.use_mathtext": False}


def plain_text(function):
    """Has a function that draws with Matplotlib show every text that it makes character by character."""

    @functools.wraps(function)
    def drawing(*arguments, **named):
        from matplotlib import rc_context

        with rc_context(_SETTINGS), warnings.catch_warnings():
            # A character that the font lacks is drawn as a box, which says the same.
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            return function(*arguments, **named)

    return drawing


def label_of(name):
    """A name as the label of a curve: on one line; Matplotlib leaves labels that begin with `_` out of legends."""
    text = one_line(name)
    return f" {text}" if text.startswith("_") else text
