"""What TensorFlow's decoders leave out of image files, with its operations alone, as a SavedModel needs it.

Which way is up, the palettes of BMP files, transparent WebP files. Places are offsets in bytes, int64.
"""

import tensorflow as tf

_BMP, _PNG = b"BM", b"\x89PNG\r\n\x1a\n"
_EXIF = b"Exif\0\0"
# EXIF's numbers of the tag, of the type of a value of 4 bytes, and of the orientations for each step towards upright.
_ORIENTATION_TAG, _LONG = 0x0112, 4
_TRANSPOSED, _UPSIDE_DOWN, _MIRRORED = (5, 6, 7, 8), (3, 4, 7, 8), (2, 3, 6, 7)
# Of the colours red, green and blue in pixels of 32 bits, where TensorFlow takes them to be.
_BMP_MASKS = (0xFF0000, 0xFF00, 0xFF)


def is_bmp(encoded):
    """bool scalar, for a scalar string tensor."""
    return tf.strings.substr(encoded, 0, tf.minimum(tf.strings.length(encoded), 2)) == _BMP


def is_webp(encoded):
    """bool scalar, for a scalar string tensor."""
    data = _bytes(encoded)
    return _equals(data, 0, b"RIFF") & _equals(data, 8, b"WEBP")


def decode_bmp(encoded):
    """Bytes of a BMP of 8 bits a pixel with a palette, 24 or 32 bits to uint8 `(height, width, 3)`.

    Raises:
        tf.errors.InvalidArgumentError: for other numbers of bits, compressed files and unusual orders of the colours,
            of which TensorFlow would make another picture.
    """
    data = _bytes(encoded)
    header, bits, compression = _number(data, 14, 4), _number(data, 28, 2), _number(data, 30, 4)
    usual = tf.reduce_all(_number(data, tf.range(54, 66, 4, tf.int64), 4) == _BMP_MASKS)
    plain = (compression == 0) | ((compression == 3) & (bits == 32) & usual)
    known = (header >= 40) & tf.reduce_any(bits == [8, 24, 32])
    advice = "A BMP file must have 8, 24 or 32 bits a pixel and no compression; save it as PNG. Bits, compression:"
    with tf.control_dependencies([tf.debugging.Assert(plain & known, [advice, bits, compression])]):
        pixels = tf.cond(bits == 8, lambda: tf.io.decode_bmp(encoded, 0), lambda: tf.io.decode_bmp(encoded, 3))
    return tf.cond(bits == 8, lambda: _look_up(data, 14 + header, pixels[..., 0]), lambda: pixels)


def _look_up(data, palette, numbers):
    """Colours of numbers in a palette of blue, green, red and nothing."""
    places = palette + 4 * tf.range(256, dtype=tf.int64)[:, None] + tf.constant([2, 1, 0], tf.int64)
    return tf.gather(tf.gather(data, _inside(data, places)), tf.cast(numbers, tf.int32))


def decode_webp(encoded):
    """Bytes of a WebP, whose transparency is left out, to uint8 `(height, width, 3)`.

    Raises:
        tf.errors.InvalidArgumentError: for an animation.
    """
    data = _bytes(encoded)
    extended, lossless = _equals(data, 12, b"VP8X"), _equals(data, 12, b"VP8L")
    flags = _number(data, 20, 1)
    transparent = (extended & (flags & 16 > 0)) | (lossless & (_number(data, 24, 1) & 16 > 0))
    still = tf.debugging.Assert(~(extended & (flags & 2 > 0)), ["A WebP file must be no animation; save it as PNG."])
    with tf.control_dependencies([still]):
        encoded = tf.identity(encoded)
    return tf.cond(
        transparent,
        lambda: tf.io.decode_image(encoded, channels=4, expand_animations=False)[..., :3],
        lambda: tf.io.decode_image(encoded, channels=3, expand_animations=False),
    )


def upright(image, encoded):
    """Turns a decoded image as its EXIF data says that the camera was held.

    Args:
        image: `(height, width, channels)`, of any dtype.
        encoded: scalar string tensor, the bytes of the JPEG, PNG or WebP that it was; others say nothing.
    """
    number = orientation(encoded)
    image = tf.cond(_is_in(number, _TRANSPOSED), lambda: tf.transpose(image, (1, 0, 2)), lambda: image)
    image = tf.cond(_is_in(number, _UPSIDE_DOWN), lambda: image[::-1], lambda: image)
    return tf.cond(_is_in(number, _MIRRORED), lambda: image[:, ::-1], lambda: image)


def orientation(encoded):
    """EXIF's number for how the camera was held, int64 from 1 to 8; 1 where nothing, or nothing readable, is said."""
    data = _bytes(encoded)
    place = tf.cond(
        _equals(data, 0, b"\xff\xd8"),
        lambda: _exif_of_jpeg(data),
        lambda: tf.cond(_equals(data, 0, _PNG), lambda: _exif_of_png(data), lambda: _exif_of_webp(data)),
    )
    place += len(_EXIF) * tf.cast(_equals(data, place, _EXIF), tf.int64)
    little = _equals(data, place, b"II*\0")
    number = tf.cond(little, lambda: _tag(data, place, True), lambda: _tag(data, place, False))
    known = (little | _equals(data, place, b"MM\0*")) & (number >= 1) & (number <= 8)
    return tf.where(known, number, tf.ones_like(number))


def _exif_of_jpeg(data):
    """Place of the EXIF data in the segments before the picture; the end of the file if there are none."""

    def following(place):
        marker = _number(data, place + 1, 1)
        padding = marker == 0xFF
        # The picture itself, the end, or no marker where there should be one.
        last = (_number(data, place, 1) != 0xFF) | (marker == 0xDA) | (marker == 0xD9)
        length = tf.where(padding, tf.ones_like(place), 2 + _number(data, place + 2, 2, little=False))
        return tf.where(last, _size(data), place + length)

    def is_exif(place):
        return _equals(data, place, b"\xff\xe1") & _equals(data, place + 4, _EXIF)

    return 4 + _find(data, 2, is_exif, following)


def _exif_of_png(data):
    # Length, name, content and check sum of each chunk.
    return 8 + _find(
        data,
        8,
        lambda place: _equals(data, place + 4, b"eXIf"),
        lambda place: place + 12 + _number(data, place, 4, little=False),
    )


def _exif_of_webp(data):
    def following(place):
        length = _number(data, place + 4, 4)
        return place + 8 + length + length % 2

    return tf.cond(
        _equals(data, 0, b"RIFF"),
        lambda: 8 + _find(data, 12, lambda place: _equals(data, place, b"EXIF"), following),
        lambda: _size(data),
    )


def _find(data, first, is_wanted, following):
    """Place of the first part of a file that is wanted, or its end."""
    return tf.while_loop(
        lambda place: (place < _size(data)) & ~is_wanted(place),
        lambda place: [following(place)],
        [tf.constant(first, tf.int64)],
    )[0]


def _tag(data, place, little):
    """The orientation among the tags of the TIFF header at a place; 0 if there is none."""
    directory = place + _number(data, place + 4, 4, little)
    tags = directory + 2 + 12 * tf.range(_number(data, directory, 2, little))
    four_bytes = _number(data, tags + 2, 2, little) == _LONG
    values = tf.where(four_bytes, _number(data, tags + 8, 4, little), _number(data, tags + 8, 2, little))
    matching = tf.boolean_mask(values, _number(data, tags, 2, little) == _ORIENTATION_TAG)
    return tf.reduce_sum(matching[-1:])


def _bytes(encoded):
    """uint8 `(size + 1,)`: the bytes, and a zero that stands for all behind them."""
    return tf.concat([tf.io.decode_raw(encoded, tf.uint8), [tf.constant(0, tf.uint8)]], axis=0)


def _size(data):
    return tf.size(data, tf.int64) - 1


def _inside(data, places):
    return tf.clip_by_value(tf.cast(places, tf.int64), 0, _size(data))


def _number(data, place, length, little=True):
    """The unsigned number, int64, of a length in bytes at a place, or the numbers at several."""
    places = tf.cast(place, tf.int64)[..., None] + tf.range(length, dtype=tf.int64)
    powers = 256 ** tf.range(length, dtype=tf.int64)
    values = tf.cast(tf.gather(data, _inside(data, places)), tf.int64)
    return tf.reduce_sum(values * (powers if little else powers[::-1]), axis=-1)


def _equals(data, place, text):
    """Whether these bytes are at a place, bool scalar."""
    places = tf.cast(place, tf.int64) + tf.range(len(text), dtype=tf.int64)
    return tf.reduce_all(tf.gather(data, _inside(data, places)) == tf.constant(list(text), tf.uint8))


def _is_in(number, numbers):
    return tf.reduce_any(number == tf.constant(numbers, tf.int64))
