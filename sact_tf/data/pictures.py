"""Reads files of pictures as a viewer shows them: any format, number of bits and palette, turned as they were taken.

Pillow reads them. The pictures of a data set that is read for training are JPEGs and PNGs already; TensorFlow decodes
those, see `preprocessing.decode_image`.
"""

import contextlib
import io
import os

import numpy as np
from PIL import Image, UnidentifiedImageError

Image.init()
# Placeholders without a reader of their own, and those whose files are programs that another program runs.
_UNREADABLE = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
FORMATS = tuple(sorted(set(Image.OPEN) - _UNREADABLE))
# In a file without one of these endings only its content can tell a picture.
ENDINGS = tuple(ending for ending, name in Image.registered_extensions().items() if name in {*FORMATS, "MPO"})
# Their files start with no mark of their own, or with so short a one that other files start with it by chance.
_WITHOUT_MARK = {"DCX", "FLI", "IPTC", "MCIDAS", "PCD", "PCX", "PIXAR", "SPIDER", "TGA"}
_MARKED = tuple(name for name in FORMATS if name not in _WITHOUT_MARK)
# Mode 'I' has 32 bits; of these formats it holds 16.
_SIXTEEN_BIT_FORMATS = ("PNG", "PPM")
# Numbers of tags of EXIF and TIFF.
_ORIENTATION_TAG, _BITS_PER_SAMPLE, _WIDTH, _HEIGHT = 0x0112, 0x0102, 0x0100, 0x0101
# What each orientation asks for.
UPRIGHT = {
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.transpose(1, 0, 2),
    6: lambda image: image.transpose(1, 0, 2)[:, ::-1],
    7: lambda image: image[::-1, ::-1].transpose(1, 0, 2),
    8: lambda image: image.transpose(1, 0, 2)[::-1],
}
# Those that exchange height and width.
SIDEWAYS = (5, 6, 7, 8)
# What undoes the two quarter turns; all others undo themselves.
_BACK = {6: 8, 8: 6}
_MAX_MESSAGE = 160


class BadPicture(ValueError):
    """A file that is no picture that can be read; the message says why, without its name."""


def read_picture(source):
    """Reads a picture as a viewer shows it, upright: as its EXIF data says that the camera was held.

    Of an animation the first picture is read, and all of its canvas. Transparency is left out: a pixel has the colour
    that it would have if it were opaque, as in TensorFlow's decoders. Grey of 16 bits is divided by 257, so that white
    stays white. CMYK becomes RGB without a colour profile, and of a JPEG its values count as inverted whether a marker
    of Adobe says so or not, as in browsers.

    Args:
        source: path, or the bytes of a file.

    Returns:
        uint8 array `(height, width, 3)`: red, green and blue.

    Raises:
        BadPicture: if the file cannot be opened, is not whole, or is no picture of a kind that can be shown.
    """
    with opened(source) as picture:
        return pixels_of(picture)


class TooManyPixels(BadPicture):
    """A picture with more pixels than Pillow opens, whatever else it is."""


@contextlib.contextmanager
def opened(source, formats=FORMATS):
    """The `PIL.Image.Image` of a file whose pixels are not read yet; whatever fails inside becomes a `BadPicture`.

    Args:
        source: path, or the bytes of a file.
        formats: names of the formats that are tried.
    """
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=formats) as picture:
            yield picture
    except BadPicture:
        raise
    except UnidentifiedImageError as error:
        raise BadPicture(_unknown(source)) from error
    except Image.DecompressionBombError as error:
        # Pillow warns of half as many.
        most = 2 * Image.MAX_IMAGE_PIXELS
        raise TooManyPixels(f"it has more than {most:,} pixels, the most that are read. Make it smaller") from error
    except FileNotFoundError as error:
        link = os.path.islink(source) and f"it is a link to {os.readlink(source)}, which does not exist"
        raise BadPicture(link or "there is no such file") from error
    # A damaged file fails in whatever way its reader stumbles.
    except Exception as error:
        if getattr(error, "strerror", None):
            raise BadPicture(f"it cannot be opened: {error.strerror}") from error
        reason = ascii(" ".join(str(error).split())[:_MAX_MESSAGE])[1:-1] or type(error).__name__
        raise BadPicture(f"it is damaged, or of a kind that cannot be read: {reason}") from error


def is_picture(path):
    """True if a file starts as a picture does, whatever it is called; it may turn out to be damaged."""
    try:
        with opened(path, _MARKED):
            return True
    except TooManyPixels:
        return True
    except BadPicture:
        return False


def pixels_of(picture, upright=True):
    """The pixels of an opened picture, see `read_picture`; with `upright=False` as they lie in the file."""
    number = orientation(picture)
    picture.load()
    # Those of numbers other than bytes.
    pixels = _grey(picture) if picture.mode[0] in "IF" else _colours(picture)
    pixels = turned(pixels, orientation(picture))
    return pixels if upright else turned(pixels, _BACK.get(number, number))


def stored_size(picture):
    """Height and width in the file of an opened picture; what Pillow gives for a TIFF is turned already."""
    tags = getattr(picture, "tag_v2", {})
    return tags.get(_HEIGHT, picture.height), tags.get(_WIDTH, picture.width)


def turned(image, number):
    """An image `(height, width, channels)`, turned as an orientation of EXIF asks for; 1 leaves it as it is."""
    return np.ascontiguousarray(UPRIGHT[number](image) if number in UPRIGHT else image)


def orientation(picture):
    """EXIF's number for how the camera was held; 1, upright, where an opened picture does not say or is turned already.

    Only a picture that has been loaded knows whether its reader has turned it, as that of TIFF files does.
    """
    try:
        number = picture.getexif().get(_ORIENTATION_TAG, 1)
    # What it says besides its picture may be damaged in any way, and then says nothing.
    except Exception:
        return 1
    return number if number in UPRIGHT else 1


def is_turned(picture, size):
    """Whether boxes are those of a picture turned as its EXIF data says, or of the picture as it is stored.

    Args:
        picture: opened.
        size: pair of ints, height and width that the boxes are meant for.

    Raises:
        BadPicture: if it has this size neither way.
    """
    stored, sideways = stored_size(picture), orientation(picture) in SIDEWAYS
    if size == stored:
        return False
    if not (sideways and size == stored[::-1]):
        raise BadPicture(
            f"it is {stored[1]} pixels wide and {stored[0]} high, and its boxes are those of a picture {size[1]} wide "
            f"and {size[0]} high"
        )
    return True


def _colours(picture):
    # Straight to RGB, a palette with transparency or premultiplied colours would come with a warning or not at all.
    between = {"P": "RGBA", "PA": "RGBA", "RGBa": "RGBA", "La": "LA"}.get(picture.mode)
    return np.asarray((picture.convert(between) if between else picture).convert("RGB"))


def _grey(picture):
    """Grey of 12 or 16 bits, uint8 `(height, width, 3)`."""
    if picture.mode == "F" or (picture.mode == "I" and picture.format not in _SIXTEEN_BIT_FORMATS):
        kind = "floating-point numbers" if picture.mode == "F" else "32-bit integers"
        raise BadPicture(f"its pixels are {kind}, which do not say what is white. Save it with 8 or 16 bits")
    bits = getattr(picture, "tag_v2", {}).get(_BITS_PER_SAMPLE, (16,))
    # 257 = 65535 / 255.
    white = 4095 if bits == (12,) else 65535
    grey = np.rint(np.asarray(picture).astype(np.float64) * (255 / white)).clip(0, 255).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def _unknown(source):
    """Why a file is of no format that is known."""
    start = _start_of(source)
    if not start:
        return "the file is empty"
    if is_heic(source):
        return "it is a HEIC picture, which cannot be read here. Make a JPEG of it"
    return "it is no picture in a format that can be read, such as JPEG, PNG, WebP, GIF, TIFF, BMP or AVIF"


def is_heic(source):
    """Whether a path is of a file, or bytes are those of one, that is a HEIC picture, as telephones take them."""
    try:
        start = _start_of(source)
    except OSError:  # a link to nothing, or what may not be read
        return False
    return start[4:8] == b"ftyp" and start[8:12] in (b"heic", b"heix", b"mif1", b"msf1")


def _start_of(source):
    if isinstance(source, bytes):
        return source[:16]
    with open(source, "rb") as file:
        return file.read(16)
