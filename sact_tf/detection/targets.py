"""What each anchor or proposal is to answer: background, or an object and its box.

Boxes of a batch are padded to a common number; `valid` says which rows are boxes. Rows of padding match nothing.
"""

from typing import NamedTuple

import keras
import tensorflow as tf

from sact_tf.detection.codes import encode
from sact_tf.detection.geometry import area

# An anchor is an object from here (intersection over union), and background below.
ANCHOR_POSITIVE, ANCHOR_NEGATIVE = 0.7, 0.3
# A proposal is one or the other.
PROPOSAL_POSITIVE = 0.5
# What `match` says of those that match no box.
BACKGROUND, IGNORED = -1, -2


class Targets(NamedTuple):
    """Targets of a batch of anchors or proposals.

    Attributes:
        matches: int32 `(batch, anchors)`, row of the box, or `BACKGROUND`, or `IGNORED`.
        classes: int32 `(batch, anchors)`, 0 for background.
        class_weights: float32 `(batch, anchors)`, 0 where ignored, else 1.
        codes: float32 `(batch, anchors, 4)`, zeros where no box matches.
        code_weights: float32 `(batch, anchors)`, 1 where a box matches, else 0.
    """

    matches: tf.Tensor
    classes: tf.Tensor
    class_weights: tf.Tensor
    codes: tf.Tensor
    code_weights: tf.Tensor


def anchor_targets(anchors, boxes, valid, crowd=None, eligible=None, keep_all=True):
    """Targets of region proposals: an object (class 1) from an overlap of .7, background (0) below .3.

    Each box gets the anchor that overlaps it most as well, see `match`.

    Args:
        anchors: float32 `(anchors, 4)`.
        boxes: float32 `(batch, boxes, 4)`, padded.
        valid: bool `(batch, boxes)`, False for padding.
        crowd: bool `(batch, boxes)`, True for boxes around many objects; `None` for none of them.
        eligible: bool `(batch, anchors)`, `None` for all; the others are ignored.
        keep_all: see `match`.

    Returns:
        `Targets`.
    """
    boxes, valid, crowd = _padded(boxes, valid, crowd)
    matches = match(
        anchors, boxes, valid, crowd, eligible, ANCHOR_POSITIVE, ANCHOR_NEGATIVE, force=True, keep_all=keep_all
    )
    return _targets(matches, anchors, boxes, tf.ones_like(valid, tf.int32))


def proposal_targets(proposals, boxes, classes, valid, crowd=None, eligible=None):
    """Targets of the second stage: the class of the box from an overlap of .5, background below.

    Args:
        proposals: float32 `(batch, proposals, 4)`.
        boxes, valid, crowd: as for `anchor_targets`.
        classes: int32 `(batch, boxes)`, from 1.
        eligible: bool `(batch, proposals)`, `None` for all; the others (padding) are ignored.

    Returns:
        `Targets`.
    """
    classes = tf.pad(tf.cast(classes, tf.int32), [[0, 0], [0, 1]])
    boxes, valid, crowd = _padded(boxes, valid, crowd)
    matches = match(proposals, boxes, valid, crowd, eligible, PROPOSAL_POSITIVE, PROPOSAL_POSITIVE)
    return _targets(matches, proposals, boxes, classes)


def match(anchors, boxes, valid, crowd, eligible, positive, negative, force=False, keep_all=True):
    """Which box each anchor stands for.

    Args:
        anchors: float32 `(anchors, 4)` or `(batch, anchors, 4)`.
        boxes, valid, crowd: as for `anchor_targets`, with at least one row, which may be padding.
        eligible: bool `(batch, anchors)` or `None`.
        positive: float, from this intersection over union on an anchor stands for the box that it overlaps most, the
            first of several.
        negative: float, below this one it is background. A crowd box stands for nothing, but an anchor of whose
            own area this share or more lies in one is not background.
        force: bool, whether each box also gets the anchor that overlaps it most, the first of several. Where several
            boxes want the same anchor the last of them gets it. A box that overlaps no anchor gets none.
        keep_all: bool, whether boxes that went away empty-handed then get the best of the anchors that stand for no
            box. False is what the TF Object Detection API of 2017 does (in 2018 the first box got the anchor).

    Returns:
        int32 `(batch, anchors)`: row of the box, `BACKGROUND` or `IGNORED`.
    """
    single = valid & ~crowd
    overlap = keras.utils.bounding_boxes.compute_iou(boxes, anchors, "yxyx")
    allowed = single[..., None] if eligible is None else single[..., None] & eligible[:, None]
    overlap = tf.where(allowed, overlap, -1.0)
    best, row = tf.reduce_max(overlap, axis=1), tf.argmax(overlap, axis=1, output_type=tf.int32)
    background = tf.maximum(best, _share_in_crowd(anchors, boxes, valid & crowd)) < negative
    matches = tf.where(best >= positive, row, tf.where(background, BACKGROUND, IGNORED))
    if force:
        matches = _give(matches, overlap, single)
        if keep_all:
            matches = _give_rest(matches, overlap, single)
    return matches if eligible is None else tf.where(eligible, matches, IGNORED)


def _give(matches, overlap, wanting):
    """Gives each wanting box its best anchor; `overlap` is not positive where an anchor is not to be had."""
    rows, numbers = tf.range(tf.shape(overlap)[1]), tf.range(tf.shape(overlap)[2])
    best = tf.argmax(overlap, axis=2, output_type=tf.int32)
    wanting &= tf.reduce_max(overlap, axis=2) > 0.0
    gets = wanting[..., None] & (best[..., None] == numbers)
    winner = tf.reduce_max(tf.where(gets, rows[:, None], -1), axis=1)
    return tf.where(winner >= 0, winner, matches)


def _give_rest(matches, overlap, single):
    """Gives boxes that no anchor stands for what is left, until there is nothing more to give."""
    rows = tf.range(tf.shape(overlap)[1])[:, None]

    def wanting(matches):
        return single & ~tf.reduce_any(matches[:, None] == rows, axis=2)

    def free(matches):
        return tf.where(matches[:, None] < 0, overlap, -1.0)

    def some_want(matches):
        return tf.reduce_any(wanting(matches) & (tf.reduce_max(free(matches), axis=2) > 0.0))

    def give(matches):
        return (_give(matches, free(matches), wanting(matches)),)

    return tf.while_loop(some_want, give, (matches,))[0]


def _share_in_crowd(anchors, boxes, crowd):
    """Largest share of each anchor's area that lies in a crowd box, float32 `(batch, anchors)`."""
    anchors = anchors[None] if len(anchors.shape) == 2 else anchors
    boxes, anchors = boxes[:, :, None], anchors[:, None]
    sides = tf.minimum(boxes[..., 2:], anchors[..., 2:]) - tf.maximum(boxes[..., :2], anchors[..., :2])
    share = tf.math.divide_no_nan(tf.reduce_prod(tf.maximum(sides, 0.0), axis=-1), area(anchors))
    return tf.reduce_max(tf.where(crowd[..., None], share, 0.0), axis=1)


def _targets(matches, anchors, boxes, classes):
    matched = matches >= 0
    row = tf.maximum(matches, 0)
    codes = encode(tf.gather(boxes, row, batch_dims=1), anchors)
    return Targets(
        matches,
        tf.where(matched, tf.gather(classes, row, batch_dims=1), 0),
        tf.cast(matches != IGNORED, tf.float32),
        tf.where(matched[..., None], codes, 0.0),
        tf.cast(matched, tf.float32),
    )


def _padded(boxes, valid, crowd):
    """One row of padding more, so that there is one where no image has a box."""
    crowd = tf.zeros_like(valid) if crowd is None else crowd
    row = [[0, 0], [0, 1]]
    return tf.pad(tf.cast(boxes, tf.float32), [*row, [0, 0]]), tf.pad(valid, row), tf.pad(crowd, row)
