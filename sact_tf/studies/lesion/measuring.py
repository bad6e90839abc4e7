"""Measures what a lesion study asks for, unless the record has it already, and says how far it is."""

import time

from sact_tf.progress import Timer, counted, duration
from sact_tf.studies.lesion import gradient
from sact_tf.studies.lesion.lesions import apply, changing_shape, whole
from sact_tf.studies.lesion.outcomes import Outcome
from sact_tf.studies.lesion.record import Measured

# A pass back through the network, with what confines it to a path, costs about as much as so many forward.
_BACKWARD = 5


class Countdown:
    """How long it takes until all is measured, from the time that the work before took.

    Args:
        work: float, of everything that is to be done, in any unit.
    """

    def __init__(self, work):
        self._left = work
        self._done = self._seconds = 0.0

    def add(self, work, seconds=None):
        """Notes that some work is done, in so many seconds; None where the time says nothing of what is to come."""
        self._left -= work
        if seconds is not None:
            self._done, self._seconds = self._done + work, self._seconds + seconds

    def text(self):
        """The time that is left, as text; empty while nothing is known."""
        return f", {duration(max(0.0, self._left) * self._seconds / self._done)} left" if self._done else ""


def work_of(network, lesion):
    """What a lesion costs, in images times units that run; a deleted one costs nothing."""
    deleted = sum(len(units) for units in lesion.deleted.values())
    return network.source.num_examples * (1 + sum(network.units.values()) - deleted)


def path_work(network, images):
    """What the gradient of a path on one batch costs, in the unit of `work_of`."""
    return _BACKWARD * images * (1 + sum(network.units.values()))


class Session:
    """One network, its record, and what is to be measured of it.

    Args:
        label: what the network is called.
        network: `LesionedNetwork`.
        record: `Record`.
        lesions: list of `Lesion`s, without that of the whole network, which is measured first.
        paths: list of `(length, draw)`, whose gradients are measured.
        seed: int, of the paths and the images that are drawn; see `gradient`.
        images: int, of the batch that a gradient is measured on.
    """

    def __init__(self, label, network, record, lesions, paths, seed, images):
        self.label, self.network, self.record = label, network, record
        self.lesions = whole() + lesions
        self.paths, self.seed, self.images = paths, seed, images

    def work(self):
        """What is not in the record yet, in the unit of `work_of`."""
        missing = {lesion.name: lesion for lesion in self.lesions if self.record.get(lesion.name) is None}
        paths = [pair for pair in self.paths if self.record.get(self._path_name(*pair)) is None]
        lesions = sum(work_of(self.network, lesion) for lesion in missing.values())
        return lesions + len(paths) * path_work(self.network, self.images)

    def measure(self, countdown, log):
        """Measures what is missing; returns the `Outcome`."""
        found = sum(self.record.get(lesion.name) is not None for lesion in self.lesions)
        found += sum(self.record.get(self._path_name(*pair)) is not None for pair in self.paths)
        log(
            f"== {self.label}: {counted(len(self.lesions), 'lesion')} and {counted(len(self.paths), 'gradient')}, of "
            f"which {found} are measured already ({self.record.path})"
        )
        timer, pairs = Timer(10), []
        for number, lesion in enumerate(self.lesions, 1):
            pairs.append((lesion, self._measured(number, lesion, countdown, timer, log)))
        gradients = self._gradients(countdown, timer, log)
        (_, unhurt), *others = pairs
        network = self.network
        changing = changing_shape(network.blocks)
        return Outcome(self.label, network.config, network.units, changing, unhurt, others, gradients)

    def _measured(self, number, lesion, countdown, timer, log):
        stored = self.record.get(lesion.name)
        if stored is not None:
            return stored
        place = f"{self.label} {number}/{len(self.lesions)} {lesion.experiment}: {lesion.name}"
        images = self.network.source.num_examples

        def progress(done):
            if timer.is_due():
                log(f"{place}: {done}/{images} images{countdown.text()}")

        began, traces = time.monotonic(), self.network.traces
        answers = apply(self.network, lesion, progress)
        measured = Measured(answers.score, float(answers.flops["flops"].mean()))
        self.record.add(lesion.name, measured)
        traced = self.network.traces > traces
        countdown.add(work_of(self.network, lesion), None if traced else time.monotonic() - began)
        last = number == len(self.lesions)
        if traced or last or timer.is_due():
            name = self.network.task.SCORE[1]
            log(f"{place}: {name} {measured.score.mean():.2%}{countdown.text()}")
        return measured

    def _gradients(self, countdown, timer, log):
        found = {}
        functions, batches = gradient.InputGradients(self.network), {}
        for number, (length, draw) in enumerate(self.paths, 1):
            name = self._path_name(length, draw)
            stored = self.record.get(name)
            if stored is None:
                if draw not in batches:
                    batches = {draw: gradient.random_batch(self.network, self.images, self.seed, draw)}
                began, traces = time.monotonic(), functions.traces
                path = gradient.path_of(self.network.units, length, self.seed, draw)
                stored = {"gradient": functions.of_path(batches[draw], path)}
                self.record.add(name, stored)
                traced = functions.traces > traces
                countdown.add(path_work(self.network, self.images), None if traced else time.monotonic() - began)
                if traced or number == len(self.paths) or timer.is_due():
                    units = counted(length, "unit")
                    log(f"{self.label} gradient {number}/{len(self.paths)}: {units}{countdown.text()}")
            found.setdefault(length, []).append(stored["gradient"])
        return found

    def _path_name(self, length, draw):
        path = gradient.path_of(self.network.units, length, self.seed, draw)
        return gradient.path_name(path, self.seed, draw, self.images)
