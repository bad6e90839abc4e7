"""The arguments of the benchmarks: what cannot be meant is refused in a sentence, before anything is timed."""

import math
import os

from absl import flags
from matplotlib.figure import Figure

from sact_tf.config.models import cifar_units, imagenet_units

# Those that keras.applications has too.
TWINS = ("50", "101", "152")

# A flag belongs to the benchmark that asks for it here, so that its --help lists it.
flags.disclaim_key_flags()


class FiniteParser(flags.FloatParser):
    """Numbers, of which absl lets NaN pass any bound."""

    def is_outside_bounds(self, value):
        return not math.isfinite(value) or super().is_outside_bounds(value)


class ListParser(flags.ListParser):
    """Items separated by commas.

    Args:
        read: function of a text that returns an item, or raises ValueError.
        wanted: text, what each is, for the message.
        count: how many there must be; None for any number from one on.
    """

    def __init__(self, read, wanted, count):
        super().__init__()
        self._read, self._wanted, self._count = read, wanted, count

    def parse(self, argument):
        texts = super().parse(argument)
        try:
            items = [self._read(text) for text in texts]
        except ValueError:
            items = []
        if not items or len(items) != (self._count or len(items)):
            wanted = f"{self._count or 'one or more'} {self._wanted}"
            raise ValueError(f"must be {wanted}, separated by commas. Received: {argument!r}")
        return items


def define_list(name, default, read, wanted, help_text, count=None):
    """Defines a flag that is a list; `default` is a text, for the others see `ListParser`."""
    flags.DEFINE(ListParser(read, wanted, count), name, default, help_text, serializer=flags.CsvListSerializer(","))


def define_counts(name, default, help_text, least=1, count=None):
    """Defines a flag that is a list of ints, each at least `least`."""
    wanted = f"whole numbers, each at least {least}"
    define_list(name, default, lambda text: within(int(text), least), wanted, help_text, count)


def define_seconds(name, default, help_text, least=0.0):
    """Defines a flag that is a finite number of seconds, at least `least`."""
    flags.DEFINE(FiniteParser(least), name, default, help_text, serializer=flags.ArgumentSerializer())


def define_shares(name, default, help_text):
    """Defines a flag that is a list of floats, each above 0 and at most 1."""
    define_list(name, default, lambda text: within(float(text), math.ulp(0.0), 1.0), "shares in (0, 1]", help_text)


def define_choices(name, default, choices, help_text):
    """Defines a flag that is a list of some of these texts."""
    define_list(name, default, lambda text: choices[choices.index(text)], f"of {', '.join(choices)}", help_text)


def within(value, least, most=math.inf):
    """The number itself; raises ValueError if it is not finite, or out of the range."""
    if not (math.isfinite(value) and least <= value <= most):
        raise ValueError(value)
    return value


def imagenet_depth(text):
    """The text itself; raises ValueError if it does not say how many units the blocks of an ImageNet network have."""
    imagenet_units(text)
    return text


def any_depth(text):
    """The same, or of a CIFAR network: `cifar_5`, `cifar_2_3_4`."""
    return text if text.startswith("cifar_") and cifar_units(text.removeprefix("cifar_")) else imagenet_depth(text)


def check_plot(path):
    """Raises ValueError unless a figure can be written there; None, for no figure, is fine."""
    kinds = Figure().canvas.get_supported_filetypes()
    if path and os.path.splitext(path)[1].lstrip(".") not in kinds:
        raise ValueError(f"--plot must end in one of {', '.join(sorted(kinds))}. Received: {path}")
    if path and not os.access(os.path.dirname(path) or ".", os.W_OK):
        raise ValueError(f"--plot must be a file in a directory that can be written. Received: {path}")
