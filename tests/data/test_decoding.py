"""What TensorFlow's decoders leave out, in graphs as a SavedModel runs them, against Pillow."""

import io
import itertools
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from sact_tf.data import decoding, pictures, preprocessing

COLOURS = np.random.default_rng(3).integers(0, 256, (13, 18, 3), np.uint8)
_decode = tf.function(preprocessing.decode_image, input_signature=[tf.TensorSpec((), tf.string)])
_orientation = tf.function(decoding.orientation, input_signature=[tf.TensorSpec((), tf.string)])
_upright = tf.function(
    decoding.upright, input_signature=[tf.TensorSpec((None, None, 3), tf.uint8), tf.TensorSpec((), tf.string)]
)


def encode(form, image=None, **options):
    file = io.BytesIO()
    (image or Image.fromarray(COLOURS)).save(file, form, **options)
    return file.getvalue()


def exif(number, order="<", kind=3, tag=0x0112):
    """EXIF data with two tags, of which the second is the orientation."""
    value = struct.pack(f"{order}HHI", tag, kind, 1)
    value += struct.pack(f"{order}HH", number, 0) if kind == 3 else struct.pack(f"{order}I", number)
    other = struct.pack(f"{order}HHII", 0x0100, 4, 1, 18)
    start = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8)
    return b"Exif\0\0" + start + struct.pack(f"{order}H", 2) + other + value + bytes(4)


# In loops, not as parameters: the seed that each test sets has TensorFlow prepare every graph anew.
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_orientation_is_found_and_obeyed(form):
    for number, order in itertools.product(range(1, 9), "<>"):
        encoded = encode(form, exif=exif(number, order))
        assert _orientation(encoded) == number
        expected = pictures.UPRIGHT.get(number, lambda image: image)(COLOURS)
        np.testing.assert_array_equal(_upright(COLOURS, encoded), expected, f"{order}{number}")


def segment(marker, content):
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


START, REST = encode("JPEG")[:2], encode("JPEG")[2:]
OTHER_FILES = {
    "type of 4 bytes": (START + segment(0xE1, exif(6, kind=4)) + REST, 6),
    "behind XMP, a profile and padding": (
        START
        + segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0x")
        + segment(0xE2, bytes(60_000))
        + b"\xff\xff"
        + segment(0xE1, exif(8))
        + REST,
        8,
    ),
    "behind the picture": (START + REST + segment(0xE1, exif(6)), 1),
    "another tag": (START + segment(0xE1, exif(6, tag=0x0113)) + REST, 1),
    "no such orientation": (START + segment(0xE1, exif(9)) + REST, 1),
    "none": (START + REST, 1),
    "no byte order": (START + segment(0xE1, b"Exif\0\0XX*\0" + bytes(20)) + REST, 1),
    "directory beyond the file": (START + segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff") + REST, 1),
    "65535 tags": (START + segment(0xE1, b"Exif\0\0MM\0*\0\0\0\x08\xff\xff") + REST, 1),
    "segment without length": (START + b"\xff\xe1\0\0" + REST, 1),
    "cut short": (START + segment(0xE1, exif(6))[:20], 1),
    "a GIF": (encode("GIF"), 1),
    "a PNG whose chunk is longer than the file": (encode("PNG")[:8] + b"\xff\xff\xff\xffIDATx", 1),
    "nothing": (b"", 1),
}


def test_files_that_say_it_elsewhere_wrongly_or_not():
    found = {name: int(_orientation(encoded)) for name, (encoded, _) in OTHER_FILES.items()}
    assert found == {name: expected for name, (_, expected) in OTHER_FILES.items()}


def test_palettes_of_bitmaps_are_looked_up():
    for colours in (2, 100, 256):
        image = Image.fromarray(COLOURS).quantize(colours)
        np.testing.assert_array_equal(_decode(encode("BMP", image)), image.convert("RGB"), str(colours))


def test_other_bitmaps_come_as_they_did():
    for mode in ("RGB", "RGBA", "L"):
        image = Image.fromarray(COLOURS).convert(mode)
        np.testing.assert_array_equal(_decode(encode("BMP", image)), image.convert("RGB"), mode)


def bitmap_of_32_bits(*masks):
    content = bytearray(encode("BMP", Image.fromarray(COLOURS).convert("RGBA")))
    content[30:34] = struct.pack("<I", 3)
    content[10:14] = struct.pack("<I", 66)
    return bytes(content[:54]) + struct.pack("<III", *masks) + bytes(content[54:])


def test_bitmaps_with_the_usual_masks_are_decoded():
    np.testing.assert_array_equal(_decode(bitmap_of_32_bits(0xFF0000, 0xFF00, 0xFF)), COLOURS)


def test_bitmaps_of_which_tensorflow_makes_another_picture_are_refused():
    compressed = bytearray(encode("BMP", Image.fromarray(COLOURS).quantize(256)))
    compressed[30] = 1
    for content in (
        encode("BMP", Image.fromarray(COLOURS).convert("1")),
        bitmap_of_32_bits(0xFF, 0xFF00, 0xFF0000),
        bytes(compressed),
        b"BM",
    ):
        with pytest.raises(tf.errors.InvalidArgumentError, match="must have 8, 24 or 32 bits"):
            _decode(content)


def test_webp_files_come_without_their_transparency():
    for lossless, transparent in itertools.product([True, False], repeat=2):
        image = Image.fromarray(COLOURS)
        if transparent:
            image.putalpha(100)
        content = encode("WEBP", image, lossless=lossless, exact=True)
        np.testing.assert_array_equal(_decode(content), pictures.read_picture(content))


def test_animated_webp_files_are_refused():
    content = encode("WEBP", save_all=True, append_images=[Image.fromarray(COLOURS[::-1])])
    with pytest.raises(tf.errors.InvalidArgumentError, match="must be no animation"):
        _decode(content)
