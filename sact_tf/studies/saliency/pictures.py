"""The pictures of the study: which, in which half, and what is known of them without a network."""

import hashlib
from typing import NamedTuple

import numpy as np

from sact_tf import saliency
from sact_tf.data.fixations import Viewed
from sact_tf.data.photographs import BadPhotograph, read_photograph
from sact_tf.progress import Timer, duration, one_line

HALVES = ("first", "second")
_SECONDS_BETWEEN_MESSAGES = 10
# Longer edge, in pixels, at which sigma and weight are chosen: that of the reference figures of OSIE.
CHOICE_SIZE = 200


class Picture(NamedTuple):
    """A picture of the study.

    Attributes:
        viewed: `Viewed`.
        half: one of `HALVES`.
        digest: text that stands for the content of the file.
        fixated_digest: the same for the fixations.
    """

    viewed: Viewed
    half: str
    digest: str
    fixated_digest: str

    def fixated(self, height=None, width=None):
        """Where somebody looked, bool `(height, width)`; by default at the picture's size."""
        size = self.viewed.height, self.viewed.width
        height, width = height or size[0], width or size[1]
        points = self.viewed.points * (width / size[1], height / size[0])
        return saliency.fixation_map(points, height, width)[0]

    def contrast(self):
        """Local contrast at the picture's size, float64 `(height, width)`."""
        return saliency.contrast(self.image())

    def image(self):
        """float32 `(height, width, 3)` in [0, 1].

        Raises:
            ValueError: if it cannot be read.
        """
        try:
            return read_photograph(self.viewed.path, upright=not self.viewed.as_stored)
        except BadPhotograph as error:
            raise ValueError(f"{one_line(self.viewed.path)} cannot be looked at: {error}.") from error

    def size(self, longest=None):
        """Height and width, ints; with the longer edge brought to `longest` pixels if it has more."""
        size = self.viewed.height, self.viewed.width
        if longest is None or max(size) <= longest:
            return size
        return tuple(max(1, round(side * longest / max(size))) for side in size)


def pictures_of(images, num_images=None):
    """List of `Picture`s of `Viewed` ones: of each group the first half and the second one.

    Args:
        images: list of `Viewed`.
        num_images: int, evenly from all of them; None for all.

    Raises:
        ValueError: if there are too few for two halves.
    """
    if num_images is not None and num_images < len(images):
        images = [images[place * len(images) // num_images] for place in range(num_images)]
    places, counts = [], {}
    for each in images:
        places.append(counts.get(each.group, 0))
        counts[each.group] = places[-1] + 1
    # One alone in its group goes to each half in turn.
    halves = []
    for number, (each, place) in enumerate(zip(images, places, strict=True)):
        count = counts[each.group]
        second = number % 2 == 1 if count == 1 else place >= (count + 1) // 2
        halves.append(HALVES[second])
    if min(halves.count(half) for half in HALVES) < 2:
        raise ValueError(
            "The study chooses its parameters on one half of the pictures and scores the other, so each half needs two "
            f"at least. Received: {len(images)} pictures with fixations"
        )
    return [
        Picture(each, half, _digest_of_file(each), _digest_of_points(each))
        for each, half in zip(images, halves, strict=True)
    ]


def with_progress(items, what, log):
    """Yields items, with a line of text now and then, of how many are done and how long it still takes."""
    timer, watch = Timer(_SECONDS_BETWEEN_MESSAGES), Timer(0)
    began = watch.last
    for done, item in enumerate(items):
        if done and timer.is_due():
            left = (timer.last - began) / done * (len(items) - done)
            log(f"{what} {done}/{len(items)}, {duration(left)} left")
        yield item
    if items:
        log(f"{what} {len(items)}/{len(items)}")


def _digest_of_file(viewed):
    with open(viewed.path, "rb") as file:
        digest = hashlib.sha256(file.read()).hexdigest()[:24]
    return digest + "_stored" * viewed.as_stored


def _digest_of_points(viewed):
    digest = hashlib.sha256(repr([len(observer) for observer in viewed.observers]).encode())
    for observer in viewed.observers:
        digest.update(np.ascontiguousarray(observer, "<f8").tobytes())
    return digest.hexdigest()[:24]
