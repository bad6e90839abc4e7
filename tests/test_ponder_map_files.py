"""Photographs under any name, of any kind, in any folder; what cannot be mapped, or written, and what then goes on."""

import errno
import os
import types

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from sact_tf import command_line, ponder_map, visualize
from sact_tf.command_line import photographs as photograph_files
from sact_tf.config import ModelConfig, PonderMapConfig
from sact_tf.data import photographs, pictures
from sact_tf.evaluation import inference

NETWORK = ModelConfig(network="cifar", model="1", model_type="sact", num_classes=10, base_channels=2)
COLOURS = np.random.default_rng(3).integers(0, 256, (13, 17, 3), np.uint8)
# Bytes of a name in Latin 1, as Python passes them on.
NOT_UTF8 = os.fsdecode(b"caf\xe9.png")


@pytest.fixture
def draw(tmp_path, monkeypatch):
    """Function from a pattern to what `write_maps` returns and logs; the network is none, the figure a pixel."""
    network = types.SimpleNamespace(backbone=types.SimpleNamespace(minimum_size=1))
    cost = np.ones((13, 17), np.float32)
    monkeypatch.setattr(inference, "load_model", lambda config: network)
    monkeypatch.setattr(inference, "predictor", lambda *arguments: None)
    monkeypatch.setattr(ponder_map, "compute", lambda *arguments: ponder_map.Computation({"b": cost}, cost, 2, 3))
    monkeypatch.setattr(visualize, "ponder_figure", lambda *arguments: np.zeros((1, 1, 3)))
    monkeypatch.setattr(visualize, "overlay", lambda *arguments: np.zeros((1, 1, 3)))

    def run(pattern, output_dir=tmp_path / "maps"):
        lines = []
        config = PonderMapConfig(
            model=NETWORK,
            dataset="cifar10",
            checkpoint_dir="",
            images_pattern=str(pattern),
            output_dir=str(output_dir),
        )
        done, skipped = ponder_map.write_maps(config, lines.append)
        return [os.path.basename(path) for path in done], [os.path.basename(path) for path in skipped], lines

    return run


def save(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        Image.fromarray(COLOURS).save(os.path.join(folder, name), "PNG")


def figures(folder):
    return sorted(name.removesuffix("_figure.png") for name in os.listdir(folder) if name.endswith("_figure.png"))


def test_one_name_that_is_too_long_is_skipped_and_the_others_are_done(draw, tmp_path):
    long = "x" * 250 + ".png"
    save(tmp_path / "photos", "a.png", long, "z.png")
    done, skipped, lines = draw(tmp_path / "photos" / "*")
    assert (done, skipped) == (["a.png", "z.png"], [long])
    assert lines[1].endswith(
        "skipped: its maps cannot be written: File name too long. Give the photograph a shorter name."
    )
    assert figures(tmp_path / "maps") == ["a", "z"]


@pytest.mark.parametrize("error", [MemoryError(), tf.errors.ResourceExhaustedError(None, None, "OOM when allocating")])
def test_a_photograph_without_enough_memory_is_skipped_and_the_others_are_done(error):
    def draw_one(path, name):
        if name == "large":
            raise error
        return name, "drawn"

    lines = []
    done, skipped = photograph_files.draw_each({"a.png": "large", "b.png": "small"}, draw_one, lines.append)
    assert (done, skipped) == ({"b.png": "small"}, ["a.png"])
    assert lines[0] == (
        "1/2 a.png skipped: there is not enough memory for it at this size. Give a smaller --image_size."
    )


def test_a_photograph_has_all_of_its_pictures_or_none(draw, tmp_path, monkeypatch):
    save(tmp_path / "photos", "a.png", "b.png")
    write = command_line.photographs.write_png

    def fail(path, picture):
        if path.endswith("a_overlay.png"):
            raise OSError(errno.EIO, "Input/output error")
        write(path, picture)

    monkeypatch.setattr(command_line.photographs, "write_png", fail)
    assert draw(tmp_path / "photos")[:2] == (["b.png"], ["a.png"])
    assert not [name for name in os.listdir(tmp_path / "maps") if name.startswith("a")]


def disk_that_is(number, monkeypatch):
    def fail(descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)


def test_a_full_disk_ends_in_one_sentence_with_the_path_and_the_way_out(draw, tmp_path, monkeypatch):
    save(tmp_path / "photos", "a.png", "b.png")
    disk_that_is(errno.ENOSPC, monkeypatch)
    with pytest.raises(
        OSError, match=r"/maps cannot be written: the disk is full\. Make space, or give another --outp"
    ):
        draw(tmp_path / "photos")


def test_a_photograph_whose_maps_are_larger_than_a_file_may_be_is_skipped(draw, tmp_path, monkeypatch):
    save(tmp_path / "photos", "a.png", "b.png")
    disk_that_is(errno.EFBIG, monkeypatch)
    done, skipped, lines = draw(tmp_path / "photos")
    assert (done, skipped) == ([], ["a.png", "b.png"])
    assert lines[0].endswith("a.png skipped: its maps cannot be written: File too large.")


def test_a_directory_that_cannot_be_written_is_named_before_anything_is_computed(draw, tmp_path):
    save(tmp_path / "photos", "a.png")
    with pytest.raises(OSError, match=r"a\.png/maps cannot be written: Not a directory\. Give another --output_dir"):
        draw(tmp_path / "photos" / "a.png", tmp_path / "photos" / "a.png" / "maps")
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"file cannot be written: File exists\. Give another --output_dir"):
        draw(tmp_path / "photos", tmp_path / "file")


def test_names_that_are_not_utf8_are_mapped_and_shown(draw, tmp_path):
    save(tmp_path / "photos", NOT_UTF8, "line\nbreak.png")
    done, skipped, lines = draw(tmp_path / "photos")
    assert (done, skipped) == ([NOT_UTF8, "line\nbreak.png"], [])
    assert r"/caf\xe9.png 13 x 17: " in lines[0] and r"/line\nbreak.png 13 x 17: " in lines[1]
    assert figures(tmp_path / "maps") == ["caf%E9", "line%0Abreak"]


def test_names_of_pictures_differ_on_a_disk_that_takes_capitals_and_accents_for_the_same():
    paths = ["/photos/Cat.png", "/photos/cat.png", "/photos/e\u0301.png", "/photos/\u00e9.png", "/photos/dog.png"]
    names = list(ponder_map.name_outputs(paths).values())
    assert names == ["Cat_png", "cat_png_", "e\u0301_png", "\u00e9_png_", "dog"]


def test_a_folder_that_may_not_be_read_is_named(tmp_path, monkeypatch):
    save(tmp_path / "photos")
    asked = []
    # Of root there is nothing that it may not read.
    monkeypatch.setattr(os, "access", lambda *arguments: asked.append(arguments))
    for pattern in ("photos", "photos/*.png", "photos/a.png", "photos/**/a.png"):
        with pytest.raises(PermissionError, match=r"^The folder .*photos may not be read: Permission denied\.$"):
            ponder_map.find_photographs(f"{tmp_path}/{pattern}")
    assert {*asked} == {(str(tmp_path / "photos"), os.R_OK | os.X_OK)}


def test_names_of_pictures_made_of_very_long_paths_stay_short():
    paths = [f"/photos/{letter * 120}/{letter * 120}/cat.png" for letter in "ab"]
    assert list(ponder_map.name_outputs(paths).values()) == ["cat", "cat_"]


def test_links_to_nothing_pipes_and_folders_are_named_and_do_not_stop_the_others(draw, tmp_path):
    save(tmp_path / "photos", "a.png")
    (tmp_path / "photos" / "broken.png").symlink_to("gone.png")
    (tmp_path / "photos" / "round.png").symlink_to("round.png")
    os.mkfifo(tmp_path / "photos" / "pipe.png")
    done, skipped, lines = draw(tmp_path / "photos" / "*.png")
    assert (done, skipped) == (["a.png"], ["broken.png", "pipe.png", "round.png"])
    assert lines[1].endswith("skipped: it cannot be read: it is a link to gone.png, which is not there.")
    assert "no file but a directory, pipe" in lines[2] and "Too many levels of symbolic links" in lines[3]


def test_folders_with_brackets_in_their_names_are_found(tmp_path):
    save(tmp_path / "photos[1]", "a.png", "b[2].png")
    save(tmp_path / "photos1", "c.png")
    save(tmp_path / "only1", "d.png")

    def found(pattern):
        return [os.path.relpath(path, tmp_path) for path in ponder_map.find_photographs(f"{tmp_path}/{pattern}")]

    assert found("photos[1]/a*.png") == ["photos[1]/a.png"]
    # A folder stands for its files.
    assert found("photos[1]") == ["photos[1]/a.png", "photos[1]/b[2].png"]
    assert found("photos[1]/b[2]*") == ["photos[1]/b[2].png"]
    assert found("*/b[2]*") == ["photos[1]/b[2].png"]
    # No folder is called `only[1]`.
    assert found("only[1]/*") == ["only1/d.png"]
    # The folder has nothing of the kind, and the pattern means another one.
    assert found("photos[1]/c*") == ["photos1/c.png"]
    with pytest.raises(
        FileNotFoundError, match=r"No file is like .*photos\[1\]/\*\.jpg\. .*Tried: .*\[\[\]1\]/\*\.jpg"
    ):
        found("photos[1]/*.jpg")


@pytest.mark.parametrize("form", ["BMP", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "1"])
def test_a_photograph_has_the_pixels_that_a_data_set_made_of_it_would_have(tmp_path, form, mode):
    image = Image.fromarray(COLOURS).convert(mode)
    image.convert("RGBA" if form == "WEBP" else mode).save(
        tmp_path / "a", form, **{"lossless": True} if form == "WEBP" else {}
    )
    expected = pictures.read_picture(tmp_path / "a")
    np.testing.assert_array_equal(visualize.to_bytes(photographs.read_photograph(tmp_path / "a")), expected)
    np.testing.assert_array_equal(expected, np.asarray(image.convert("RGBA").convert("RGB")))


def test_the_first_picture_of_a_gif_is_all_of_its_canvas(tmp_path):
    image = Image.fromarray(COLOURS).quantize(16)
    image.save(tmp_path / "a.gif")
    content = bytearray((tmp_path / "a.gif").read_bytes())
    # Width and height of the canvas, whose middle the picture is not.
    content[6:10] = bytes([30, 0, 20, 0])
    (tmp_path / "a.gif").write_bytes(content)
    read = visualize.to_bytes(photographs.read_photograph(tmp_path / "a.gif"))
    assert read.shape == (20, 30, 3)
    np.testing.assert_array_equal(read[:13, :17], np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"\xff\xd8\xff\xe0\0\x10JFIF", b"RIFF\0\0\0\0WEBPVP8 "])
def test_a_file_that_is_no_picture_is_a_bad_photograph(tmp_path, content):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(photographs.BadPhotograph):
        photographs.read_photograph(tmp_path / "a.jpg")
