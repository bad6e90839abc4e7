"""Files of pictures as a viewer shows them: every kind of file that gave other pixels, or none, than a viewer."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, features

from sact_tf.data import pictures

# Pillow reads AVIF files since version 11.3.
AVIF = ("AVIF",) if features.check("avif") else ()
# Three rows of four pixels; no two corners are alike.
COLOURS = np.arange(36, dtype=np.uint8).reshape(3, 4, 3) * 7


def encode(image, form, **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def png(rows, colour_type, bits):
    """A PNG of rows of bytes, written chunk by chunk: Pillow writes no colours of 16 bits."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width = rows.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def bmp(width, height, bits, compression, between, rows):
    """A BMP of what lies between its header and its pixels, and of rows of bytes from the bottom up."""
    offset = 54 + len(between)
    header = struct.pack("<2sIHHI", b"BM", offset + len(rows), 0, 0, offset)
    colours = 2**bits if bits <= 8 else 0
    facts = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(rows), 0, 0, colours, 0)
    return header + facts + between + rows


def shades(picture):
    """The grey values of a picture whose channels are alike."""
    assert (picture == picture[:, :, :1]).all()
    return picture[:, :, 0].tolist()


@pytest.mark.parametrize("form, options", [("PNG", {}), ("BMP", {}), ("TIFF", {}), ("WEBP", {"lossless": True})])
def test_colours_come_as_they_are_from_bytes_and_from_a_file(tmp_path, form, options):
    content = encode(Image.fromarray(COLOURS), form, **options)
    (tmp_path / "picture").write_bytes(content)
    for source in (content, str(tmp_path / "picture"), tmp_path / "picture"):
        np.testing.assert_array_equal(pictures.read_picture(source), COLOURS, strict=True)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_grey_of_16_bits_is_divided_by_257(form):
    # 25700 / 257 = 100; 25957 = 101 * 257; 128 rounds down to 0, 129 up to 1.
    image = Image.fromarray(np.array([[0, 25700, 25957], [65535, 128, 129]], np.uint16))
    assert shades(pictures.read_picture(encode(image, form))) == [[0, 100, 101], [255, 0, 1]]


def test_grey_of_a_pgm_of_16_bits_is_divided_too():
    content = b"P5 2 1 65535\n" + struct.pack(">HH", 25700, 65535)
    assert shades(pictures.read_picture(content)) == [[100, 255]]


@pytest.mark.parametrize("colour_type, channels", [(2, 3), (4, 2), (6, 4)])
def test_colours_and_transparency_of_16_bits_keep_their_brightness(colour_type, channels):
    rows = np.repeat(np.array([[0, 25700, 65535]], ">u2")[:, :, None], channels, axis=2)
    assert shades(pictures.read_picture(png(rows, colour_type, 16))) == [[0, 100, 255]]


def test_numbers_without_a_known_white_are_refused():
    with pytest.raises(pictures.BadPicture, match="floating-point numbers, which do not say what is white"):
        pictures.read_picture(encode(Image.fromarray(np.ones((2, 3), np.float32)), "TIFF"))
    with pytest.raises(pictures.BadPicture, match="32-bit integers"):
        pictures.read_picture(encode(Image.fromarray(np.ones((2, 3), np.int32)), "TIFF"))


# Where the first pixel of a picture of three rows and four columns comes to lie, by EXIF's numbers.
CORNERS = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0), 5: (0, 0), 6: (0, -1), 7: (-1, -1), 8: (-1, 0)}


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "MPO", *AVIF])
@pytest.mark.parametrize("number", CORNERS)
def test_pictures_stand_upright(form, number):
    bright = np.zeros((48, 64, 3), np.uint8)
    bright[:16, :16] = 255
    exif = Image.Exif()
    exif[0x0112] = number
    more = {"save_all": True, "append_images": [Image.fromarray(bright)]} if form == "MPO" else {}
    picture = pictures.read_picture(encode(Image.fromarray(bright), form, exif=exif, **more))
    assert picture.shape == ((48, 64, 3) if number < 5 else (64, 48, 3))
    lit = {corner: picture[corner].mean() > 128 for corner in [(0, 0), (0, -1), (-1, 0), (-1, -1)]}
    assert [corner for corner, value in lit.items() if value] == [CORNERS[number]]


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0garbage", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0II*\0\xff\xff\xff\xff"]
)
def test_damaged_exif_data_leave_a_picture_as_it_is(exif):
    assert pictures.read_picture(encode(Image.fromarray(COLOURS), "JPEG", exif=exif)).shape == (3, 4, 3)


def palette_image(transparent=None):
    image = Image.fromarray(np.array([[0, 1], [2, 1]], np.uint8), "P")
    image.putpalette([250, 0, 10, 20, 240, 30, 40, 50, 230])
    if transparent is not None:
        image.info["transparency"] = transparent
    return image


@pytest.mark.parametrize("form", ["PNG", "BMP", "GIF", "TIFF"])
def test_palettes_are_looked_up(form):
    expected = [[[250, 0, 10], [20, 240, 30]], [[40, 50, 230], [20, 240, 30]]]
    assert pictures.read_picture(encode(palette_image(), form)).tolist() == expected


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("form, transparent", [("PNG", 1), ("PNG", b"\xff\x00\x80"), ("GIF", 1)])
def test_transparent_entries_of_a_palette_keep_their_colours(form, transparent):
    content = encode(palette_image(transparent), form)
    assert pictures.read_picture(content)[0].tolist() == [[250, 0, 10], [20, 240, 30]]


@pytest.mark.parametrize("form, options", [("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True, "exact": True})])
def test_transparency_is_left_out(form, options):
    alpha = np.full((3, 4, 1), 128, np.uint8)
    alpha[0] = 0
    content = encode(Image.fromarray(np.concatenate([COLOURS, alpha], axis=2)), form, **options)
    np.testing.assert_array_equal(pictures.read_picture(content), COLOURS)


BITMAPS = {
    # One bit a pixel, the first the highest: black, white, white.
    "1 bit": bmp(3, 1, 1, 0, bytes([0, 0, 0, 0, 255, 255, 255, 0]), b"\x60\0\0\0"),
    # Blue, green, red and nothing of each colour; pixels 2, 0, 1.
    "4 bits": bmp(3, 1, 4, 0, bytes([3, 2, 1, 0, 6, 5, 4, 0, 9, 8, 7, 0] + [0] * 52), b"\x20\x10\0\0"),
    # Five bits a colour, red highest: red, green, blue.
    "16 bits": bmp(3, 1, 16, 0, b"", struct.pack("<HHHH", 31 << 10, 31 << 5, 31, 0)),
    # Masks of red, green and blue: five, six and five bits.
    "16 bits, masks": bmp(
        3, 1, 16, 3, struct.pack("<III", 0xF800, 0x7E0, 0x1F), struct.pack("<HHHH", 0xF800, 0x7E0, 0x1F, 0)
    ),
    "32 bits, masks": bmp(
        3, 1, 32, 3, struct.pack("<III", 0xFF0000, 0xFF00, 0xFF), struct.pack("<III", 0x010203, 0x040506, 0x070809)
    ),
}
BITMAP_PIXELS = {
    "1 bit": [[0, 0, 0], [255, 255, 255], [255, 255, 255]],
    "4 bits": [[7, 8, 9], [1, 2, 3], [4, 5, 6]],
    "16 bits": [[255, 0, 0], [0, 255, 0], [0, 0, 255]],
    "16 bits, masks": [[255, 0, 0], [0, 255, 0], [0, 0, 255]],
    "32 bits, masks": [[1, 2, 3], [4, 5, 6], [7, 8, 9]],
}


@pytest.mark.parametrize("kind", BITMAPS)
def test_bitmaps_of_every_depth_have_their_colours(kind):
    assert pictures.read_picture(BITMAPS[kind]).tolist() == [BITMAP_PIXELS[kind]]


def without_adobe_marker(content):
    start = content.index(b"\xff\xee")
    (size,) = struct.unpack(">H", content[start + 2 : start + 4])
    return content[:start] + content[start + 2 + size :]


def test_cmyk_is_the_same_with_and_without_a_marker_of_adobe():
    # Much cyan, little black: 255 - 200 - 20 and so on for red, 1 % of rounding besides.
    content = encode(Image.new("CMYK", (16, 16), (200, 30, 60, 20)), "JPEG", quality=100)
    assert b"Adobe" in content and b"Adobe" not in without_adobe_marker(content)
    picture = pictures.read_picture(content)
    np.testing.assert_allclose(picture[0, 0], [51, 207, 180], atol=2)
    np.testing.assert_array_equal(pictures.read_picture(without_adobe_marker(content)), picture)


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_picture_is_read(form):
    frames = [Image.new("RGB", (5, 3), colour) for colour in ("white", "black")]
    options = {"lossless": True} if form == "WEBP" else {}
    content = encode(frames[0], form, save_all=True, append_images=frames[1:], **options)
    assert shades(pictures.read_picture(content)) == [[255] * 5] * 3


def test_a_first_picture_smaller_than_its_canvas_lies_on_it():
    content = bytearray(encode(Image.new("L", (4, 2), 200), "GIF"))
    # Width and height of the canvas.
    content[6:10] = struct.pack("<HH", 7, 5)
    picture = pictures.read_picture(bytes(content))
    assert picture.shape == (5, 7, 3) and (picture[:2, :4] == 200).all()


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "the file is empty"),
        (b"<html>not found</html>", "no picture in a format that can be read, such as JPEG"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC picture, which cannot be read here. Make a JPEG of it"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no picture in a format"),
        (encode(Image.fromarray(COLOURS), "JPEG")[:-40], "Truncated File Read"),
        (encode(Image.fromarray(COLOURS), "PNG")[:50], "it is damaged, or of a kind"),
    ],
)
def test_what_is_no_picture_says_why(tmp_path, content, reason):
    (tmp_path / "file.jpg").write_bytes(content)
    for source in (content, tmp_path / "file.jpg"):
        with pytest.raises(pictures.BadPicture, match=reason) as error:
            pictures.read_picture(source)
        assert "\n" not in str(error.value) and str(tmp_path) not in str(error.value)


def test_a_picture_of_more_pixels_than_are_read_is_no_damage_and_is_a_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5)
    (tmp_path / "file").write_bytes(encode(Image.fromarray(COLOURS), "PNG"))
    reason = "^it has more than 10 pixels, the most that are read. Make it smaller$"
    with pytest.raises(pictures.TooManyPixels, match=reason):
        pictures.read_picture(tmp_path / "file")
    assert pictures.is_picture(tmp_path / "file")


def test_a_link_to_nothing_a_missing_file_and_a_folder_say_so(tmp_path):
    (tmp_path / "link.jpg").symlink_to("/nowhere/1.jpg")
    for name, reason in (("link.jpg", "a link to /nowhere/1.jpg, which does not exist"), ("no.jpg", "no such file")):
        with pytest.raises(pictures.BadPicture, match=reason):
            pictures.read_picture(tmp_path / name)
    with pytest.raises(pictures.BadPicture, match="cannot be opened: Is a directory"):
        pictures.read_picture(tmp_path)


def test_content_tells_a_picture_whatever_its_name(tmp_path):
    generator = np.random.default_rng(1)
    kinds = {form: encode(Image.fromarray(COLOURS), form) for form in ("JPEG", "PNG", "GIF", "TIFF", "WEBP", *AVIF)}
    others = {"text": b"P. S.: BM, II and MM\n" * 9, "empty": b"", "zeros": bytes(999), "json": b'{"a": 1}'}
    others |= {f"noise {number}": generator.bytes(300) for number in range(200)}
    for name, content in {**kinds, **others}.items():
        (tmp_path / "file").write_bytes(content)
        assert pictures.is_picture(tmp_path / "file") == (name in kinds), name
