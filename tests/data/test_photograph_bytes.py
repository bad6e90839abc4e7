"""A photograph is the same from its file and from its bytes, however it is read."""

import numpy as np
import pytest
from PIL import Image

from sact_tf.data.photographs import BadPhotograph, read_photograph


@pytest.mark.parametrize("kind", ["jpg", "png"])
@pytest.mark.parametrize("settings", [{}, {"image_size": 40}, {"upright": False}])
def test_bytes_are_read_as_their_file_is(tmp_path, kind, settings):
    exif = Image.Exif()
    exif[0x0112] = 8
    pixels = np.random.default_rng(3).integers(0, 256, (30, 50, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / f"a.{kind}", exif=exif)
    content = (tmp_path / f"a.{kind}").read_bytes()
    image = read_photograph(content, **settings)
    np.testing.assert_array_equal(image, read_photograph(tmp_path / f"a.{kind}", **settings))
    assert image.shape == ((30, 50, 3) if "upright" in settings else (40, 24, 3) if settings else (50, 30, 3))


def test_bytes_of_no_picture_are_told_apart_from_a_path(tmp_path):
    with pytest.raises(BadPhotograph, match="the file is empty"):
        read_photograph(b"")
    with pytest.raises(BadPhotograph, match="it is no picture in a format"):
        read_photograph(str(tmp_path).encode())
