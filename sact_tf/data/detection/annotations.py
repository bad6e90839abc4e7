"""Pictures in files of their own with their boxes in others: an index of a split; pictures are read when asked for.

An index is a few arrays, and 10,000 pictures are opened as quickly as their annotations are read. Boxes are those of
the picture as it is stored. Where the annotations give the size that the picture has once it is turned as its EXIF data
says, and not the stored one, they are those of the turned picture. (Programs that mark objects do either; where a turn
leaves the size as it is nobody can tell, and the picture stays as it is stored.)
"""

import io
import os
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image

from sact_tf.data import boxes as boxes_in_pixels
from sact_tf.data import pictures, preprocessing
from sact_tf.data.detection import record_forms
from sact_tf.data.padding import BUCKET
from sact_tf.data.records import BadRecord
from sact_tf.data.sources import RecordSource
from sact_tf.progress import counted, named, one_line

JPEG_QUALITY = 95
# What TensorFlow decodes, and of which formats only some; pictures of other kinds are read by Pillow.
_DECODED = ("JPEG", "MPO", "PNG", "GIF", "BMP", "WEBP")
_DECODED_IN_PART = ("BMP", "WEBP")
# Pixels that a box may leave its picture by without a word, and the largest side of boxes in shares, with rounding.
_ROUNDING, _SHARES = 1.0, 1.01


class Annotations(NamedTuple):
    """The pictures of a split and their boxes.

    Attributes:
        origin: path of what was read, for messages.
        paths: list of the pictures' paths.
        source_ids: list of str, what the data set calls each picture.
        sizes: int32 `(pictures, 2)`, height and width that the boxes are meant for.
        owners: int64 `(boxes,)`, the number of each box's picture, rising.
        boxes: float32 `(boxes, 4)`: ymin, xmin, ymax, xmax in pixels.
        classes: int32 `(boxes,)`, from 1.
        crowd: bool `(boxes,)`.
        area: float32 `(boxes,)`, in square pixels.
    """

    origin: str
    paths: list
    source_ids: list
    sizes: np.ndarray
    owners: np.ndarray
    boxes: np.ndarray
    classes: np.ndarray
    crowd: np.ndarray
    area: np.ndarray

    def of(self, index):
        """Slice of the boxes of a picture."""
        return slice(*np.searchsorted(self.owners, [index, index + 1]))

    @property
    def max_boxes(self):
        """int, the most boxes of any picture."""
        return int(np.bincount(self.owners).max())

    def take(self, chosen):
        """The same with these boxes alone, in this order."""
        names = ("owners", "boxes", "classes", "crowd", "area")
        return self._replace(**{name: getattr(self, name)[chosen] for name in names})


def checked(annotations, log=None):
    """Sorted by pictures, boxes clipped to them; the log names what was clipped, and what has no area and is left out.

    Raises:
        ValueError: if a box is not of numbers, none has an area or is to be found, or all are shares of the sides.
    """
    annotations = annotations.take(np.argsort(annotations.owners, kind="stable"))
    pictures_of = [annotations.source_ids[owner] for owner in annotations.owners]
    strange = ~np.isfinite(annotations.boxes).all(axis=1)
    if strange.any():
        raise ValueError(
            f"{annotations.origin}: {counted(strange.sum(), 'box')} with sides that are no finite numbers, in "
            f"{named([pictures_of[place] for place in np.flatnonzero(strange)])}. A box is four finite numbers, in "
            "pixels. Correct or remove them."
        )
    if not len(annotations.boxes):
        raise ValueError(
            f"{annotations.origin} has {counted(len(annotations.paths), 'picture')} and no box at all, so there is "
            "nothing to find. Give a split whose objects are marked."
        )
    clipped = boxes_in_pixels.clip(annotations.boxes[:, None], annotations.sizes[annotations.owners]).numpy()[:, 0]
    keep = np.asarray(boxes_in_pixels.have_area(clipped))
    _log_clipped(annotations, clipped, keep, log)
    if log and not keep.all():
        flat = [pictures_of[place] for place in np.flatnonzero(~keep)]
        log(f"{len(flat)} of {len(keep)} boxes are left out, they have no area in their pictures: {named(flat)}")
    if not keep.any():
        raise ValueError(
            f"{annotations.origin}: none of the {len(keep)} boxes has an area in its picture. Boxes are in pixels of "
            "the picture, not in shares of its sides, and the second corner is below and to the right of the first."
        )
    if clipped[keep].max() <= _SHARES:
        raise ValueError(
            f"{annotations.origin}: all {keep.sum()} boxes lie within the first pixel of their pictures, so they are "
            "shares of the sides. Boxes are in pixels of the picture: multiply them by its width and height."
        )
    if annotations.crowd[keep].all():
        raise ValueError(
            f"{annotations.origin}: all {keep.sum()} boxes are marked as crowds, or as difficult, which need not be "
            "found, so there is nothing to find. Take the marks away, or give a split with other boxes."
        )
    return annotations._replace(boxes=clipped).take(keep)


def _log_clipped(annotations, clipped, keep, log):
    leave = keep & (np.abs(annotations.boxes - clipped).max(axis=1) > _ROUNDING)
    if log and leave.any():
        log(
            f"{leave.sum()} of {len(leave)} boxes leave their pictures and are clipped: "
            f"{named([annotations.source_ids[owner] for owner in annotations.owners[leave]])}. A box of COCO is left, "
            "top, width and height, one of VOC two corners; if many leave, look whether yours are the other."
        )


def source_of(annotations, categories, image_size):
    """`RecordSource` of `checked` annotations; `image_size` is that of the shorter side in pixels."""
    decode = record_forms.decoder(image_size, annotations.max_boxes, categories)
    return RecordSource(
        num_examples=len(annotations.paths),
        fetch=lambda index: record_of(annotations, categories, index),
        decode=decode,
        locate=annotations.paths.__getitem__,
        bucket=BUCKET,
        categories=categories,
    )


def picture_of(annotations, index):
    """The bytes of a picture as its boxes are meant; raises `BadRecord`."""
    return _read(annotations.paths[index], tuple(annotations.sizes[index].tolist()))


def record_of(annotations, categories, index):
    """A picture and its boxes as a record of the TF Object Detection API, bytes; raises `BadRecord`."""
    return make_record(annotations, categories, index, picture_of(annotations, index))


def make_record(annotations, categories, index, encoded):
    """What `record_of` returns, of bytes that `picture_of` returned."""
    chosen, size = annotations.of(index), tuple(annotations.sizes[index].tolist())
    classes = annotations.classes[chosen] - 1
    return record_forms.make_record(
        encoded,
        annotations.source_ids[index],
        size,
        annotations.boxes[chosen],
        [categories.numbers[place] for place in classes],
        annotations.crowd[chosen],
        annotations.area[chosen],
        [categories.names[place] for place in classes],
    )


def _read(path, size):
    """Bytes of a picture of this height and width, turned if that makes it so."""
    try:
        with open(path, "rb") as file:
            encoded = file.read()
        with pictures.opened(encoded) as picture:
            turned = pictures.is_turned(picture, size)
            if turned or not _is_decoded(picture.format, encoded):
                encoded = _encoded(pictures.pixels_of(picture, upright=turned))
    except OSError as error:
        raise BadRecord(f"{one_line(path)}: it cannot be read: {error.strerror}.") from error
    except pictures.BadPicture as error:
        raise BadRecord(f"{one_line(path)}: {error}.") from error
    return encoded


def _is_decoded(form, encoded):
    """Whether TensorFlow decodes a picture; it does not decode animated WebP, nor BMP of 1, 4 or 16 bits."""
    if form not in _DECODED_IN_PART:
        return form in _DECODED
    try:
        preprocessing.decode_image(encoded)
        return True
    except tf.errors.OpError:
        return False


def _encoded(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def check_files(origin, paths):
    """Raises FileNotFoundError unless each path is there; a directory is listed once."""
    listed = {}
    for directory in {os.path.dirname(path) for path in paths}:
        listed[directory] = set(os.listdir(directory)) if os.path.isdir(directory) else set()
    lost = [path for path in paths if os.path.basename(path) not in listed[os.path.dirname(path)]]
    if lost:
        raise FileNotFoundError(
            f"{origin}: {len(lost)} of its {len(paths)} pictures have no file: {named(lost)}. Copy it there, or "
            "take the picture out of the list."
        )
