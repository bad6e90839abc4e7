"""Maps of photographs: real files, one real process, and the release's figures."""

import importlib.util
import pathlib
import random
import re

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from sact_tf import checkpoints, command_line, imagenet_resnet, load_release_checkpoint, ponder_map, visualize
from sact_tf.config import ENGINES, ModelConfig, PonderMapConfig
from sact_tf.data import photographs
from sact_tf.data.photographs import BadPhotograph, read_photograph
from sact_tf.evaluation import inference
from sact_tf.models.build import build_model

ROOT = pathlib.Path(__file__).resolve().parents[1]
NETWORK = ModelConfig(network="cifar", model="2_1_2", model_type="sact", num_classes=10, base_channels=4)
FLAGS = ("--network=cifar", "--model=2_1_2", "--model_type=sact", "--base_channels=4", "--dataset=cluttered_digits")
SUFFIXES = ["block_1", "block_2", "block_3", "figure", "image", "overlay", "ponder"]


def photograph(name):
    folder = pathlib.Path(importlib.util.find_spec("skimage").origin).parent / "data"
    return Image.open(folder / name).convert("RGB")


@pytest.fixture(scope="module")
def work(tmp_path_factory, spread_halting):
    """Folder with `checkpoint` and `photos`, of which a turned JPEG and a PNG are good, and three are not."""
    random.seed(17)
    folder = tmp_path_factory.mktemp("maps")
    model = spread_halting(build_model(NETWORK), bias=0.2, gain=6.0)
    (folder / "checkpoint").mkdir()
    checkpoints.save_release_checkpoint(model, folder / "checkpoint", 3)
    photos = folder / "photos"
    photos.mkdir()
    photograph("chelsea.png").resize((113, 75)).save(photos / "cat.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    photograph("rocket.jpg").resize((96, 64)).save(photos / "rocket.jpg", exif=exif)
    photograph("chelsea.png").resize((40, 3)).save(photos / "strip.png")
    whole = (photos / "rocket.jpg").read_bytes()
    (photos / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (photos / "text.jpg").write_text("no picture at all")
    return folder


def config_of(work, output_dir, **fields):
    fields = {"images_pattern": str(work / "photos" / "cat.png"), "dataset": "cluttered_digits", **fields}
    return PonderMapConfig(model=NETWORK, checkpoint_dir=str(work / "checkpoint"), output_dir=str(output_dir), **fields)


def test_command_draws_what_it_can_names_what_it_cannot_and_fails_then(run_script, work, tmp_path):
    command = ["-m", "sact_tf.ponder_map", f"--checkpoint_dir={work / 'checkpoint'}", *FLAGS]
    command += [f"--images_pattern={work}/photos/*", f"--output_dir={tmp_path / 'maps'}"]
    returncode, output, errors = run_script(*command)
    assert returncode == 1, errors
    assert re.search(r"^error: 3 of 5 files were skipped.*cut\.jpg.*strip\.png.*text\.jpg$", errors, re.MULTILINE)
    assert "Traceback" not in errors
    lines = output.splitlines()
    figures = (
        r"ponder cost min \d+\.\d\d, mean \d+\.\d\d, max \d+\.\d\d; [\d,]+ FLOPs, \d+\.\d% of all units everywhere"
    )
    assert re.fullmatch(rf"1/5 .*/cat\.png 75 x 113: {figures}", lines[0])
    assert re.fullmatch(r"2/5 .*/cut\.jpg skipped: it is no whole JPEG.*Invalid JPEG data.*", lines[1])
    # Turned as the camera was held: 96 high.
    assert re.fullmatch(rf"3/5 .*/rocket\.jpg 96 x 64: {figures}", lines[2])
    assert "strip.png skipped: it would be 3 pixels high" in lines[3]
    assert re.fullmatch(
        r"5/5 .*/text\.jpg skipped: it is no picture in a format.*, such as JPEG, PNG, WebP.*", lines[4]
    )
    written = sorted(path.name for path in (tmp_path / "maps").iterdir())
    assert written == [f"{name}_{suffix}.png" for name in ("cat", "rocket") for suffix in SUFFIXES]


@pytest.fixture(scope="module")
def drawn(work, tmp_path_factory):
    """What `write_maps` returned for one photograph, and the directory."""
    directory = tmp_path_factory.mktemp("drawn") / "new" / "maps"
    lines = []
    return ponder_map.write_maps(config_of(work, directory), lines.append), directory, lines


def test_pictures_are_of_the_size_of_the_photograph_and_show_the_maps(work, drawn):
    (done, skipped), directory, lines = drawn
    assert skipped == [] and lines[-1] == f"Maps of 1 photograph: {directory}"
    ((path, (minimum, mean, maximum, flops)),) = done.items()
    image = np.asarray(Image.open(path))
    pictures = {suffix: np.asarray(Image.open(directory / f"cat_{suffix}.png")) for suffix in SUFFIXES}
    assert {picture.shape for name, picture in pictures.items() if name != "figure"} == {(75, 113, 3)}
    np.testing.assert_array_equal(pictures["image"], image)
    model = inference.load_model(config_of(work, directory))
    images = image[None] / np.float32(127.5) - 1
    total = visualize.ponder_map(model(images), images.shape[1:])[0].numpy()
    assert (minimum, mean, maximum) == pytest.approx((total.min(), total.mean(), total.max()), rel=1e-4)
    assert maximum > minimum and flops > 0
    expected = visualize.to_bytes(visualize.colour(total, total.min(), total.max()))
    assert np.abs(pictures["ponder"].astype(int) - expected).max() <= 2


def test_maps_that_are_there_are_replaced_only_when_told_to(work, drawn, monkeypatch):
    _, directory, _ = drawn
    with pytest.raises(FileExistsError, match=r"maps of 1 of the 1 photographs.*cat_figure.png.*--overwrite"):
        ponder_map.write_maps(config_of(work, directory))
    written = []
    monkeypatch.setattr(command_line.photographs, "write_png", lambda path, picture: written.append(path))
    monkeypatch.setattr(visualize, "ponder_figure", lambda *arguments: None)
    ponder_map.write_maps(config_of(work, directory, overwrite=True), lambda text: None)
    assert len(written) == len(SUFFIXES)


def test_maps_never_lie_among_the_photographs(work):
    with pytest.raises(ValueError, match=r"among the photographs.*another --output_dir"):
        ponder_map.write_maps(config_of(work, work / "photos", overwrite=True))


# The engine's numbers are the release's in tests/sparse/test_engine.py.
@pytest.mark.parametrize(
    "engine", [pytest.param(name, marks=[pytest.mark.slow] if name == "sparse" else []) for name in ENGINES]
)
def test_maps_sums_and_flops_are_those_of_the_release(reference, engine):
    model = imagenet_resnet((2, 3, 4, 2), "sact", num_classes=11, base_channels=8)
    load_release_checkpoint(model, reference / "a_imagenet_sact")
    predict = inference.predictor(model, engine)
    golden = np.load(reference / "a_imagenet_sact" / "golden.npz")
    maps = np.load(reference / "g_sact_maps" / "golden.npz")["sact_map/ponder_cost"][..., 0]
    for number, image in enumerate(golden["inputs"]):
        # Exact: the values are multiples of 1/128.
        computed = ponder_map.compute(model, predict, image / 2 + np.float32(0.5), "imagenet")
        np.testing.assert_allclose(computed.ponder_map, maps[number], rtol=1e-5)
        assert computed.flops == golden["flops"][number, 0] < computed.most_flops
        for name, value in computed.maps.items():
            expected = golden[f"{name}/ponder_cost"][number]
            assert (value.min(), value.max()) == pytest.approx((expected.min(), expected.max()), rel=1e-5)
        assert list(computed.maps) == ["block1", "block2", "block3", "block4"]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photograph_is_turned_as_the_camera_was_held(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = photograph("chelsea.png").resize((45, 37))
    image.save(tmp_path / "image.png", exif=exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "image.png")))
    np.testing.assert_array_equal(visualize.to_bytes(read_photograph(tmp_path / "image.png")), expected)


@pytest.mark.parametrize(
    ("mode", "ending"), [("L", "jpg"), ("CMYK", "jpg"), ("RGBA", "png"), ("P", "png"), ("L", "png")]
)
def test_photographs_of_any_colours_are_read(tmp_path, mode, ending):
    photograph("chelsea.png").resize((45, 37)).convert(mode).save(tmp_path / f"image.{ending}")
    image = read_photograph(tmp_path / f"image.{ending}")
    assert image.shape == (37, 45, 3) and image.dtype == np.float32 and 0 <= image.min() < 0.3 < image.max() <= 1


@pytest.mark.parametrize(("shape", "expected"), [((40, 60), (80, 120)), ((90, 30), (120, 40)), ((41, 41), (120, 120))])
def test_longer_edge_is_resized_with_the_bicubic_of_tensorflow_1(tmp_path, shape, expected):
    pixels = np.asarray(photograph("chelsea.png").resize(shape[::-1]))
    Image.fromarray(pixels).save(tmp_path / "image.png")
    image = read_photograph(tmp_path / "image.png", image_size=120)
    theirs = tf.compat.v1.image.resize_bicubic(pixels[None] / np.float32(255), expected)[0]
    np.testing.assert_allclose(image, theirs, atol=1e-6)


def test_longest_panorama_keeps_a_pixel():
    assert photographs.resized_shape(1, 5000, 300) == (1, 300)


def test_photograph_that_is_too_small_says_which_size_is_enough(work):
    path = work / "photos" / "strip.png"
    with pytest.raises(BadPhotograph, match=r"3 pixels high and 40 wide.*at least 32 each way.*--image_size=427"):
        read_photograph(path, minimum_size=32)
    assert min(read_photograph(path, 427, 32).shape[:2]) == 32


def test_file_that_cannot_be_read_says_why(tmp_path):
    with pytest.raises(BadPhotograph, match="cannot be read: No such file"):
        read_photograph(tmp_path / "gone.jpg")


def test_photographs_of_one_name_get_two(tmp_path):
    paths = [str(tmp_path / name) for name in ("a/cat.jpg", "a/cat.png", "b/cat.jpg", "b/dog.v2.jpg")]
    assert list(ponder_map.name_outputs(paths).values()) == ["a_cat_jpg", "a_cat_png", "b_cat_jpg", "dog.v2"]
    assert list(ponder_map.name_outputs(["x.a.jpg", "x.a.png", "x_a_jpg.png"]).values()) == [
        "x_a_jpg",
        "x_a_png",
        "x_a_jpg_",
    ]


def test_pattern_may_be_a_path_with_brackets_and_one_without_files_is_named(tmp_path):
    path = tmp_path / "cat[1].jpg"
    path.touch()
    assert ponder_map.find_photographs(str(path)) == [str(path)]
    assert ponder_map.find_photographs(f"{tmp_path}/**") == [str(path)]
    with pytest.raises(FileNotFoundError, match=r"No file is like .*\*\.png.*in quotes"):
        ponder_map.find_photographs(f"{tmp_path}/*.png")


MISTAKES = {
    "no positions": ({"model": ModelConfig(network="cifar", model="1", model_type="act", num_classes=10)}, "'act'"),
    "no pattern": ({"images_pattern": None}, "--images_pattern"),
    "no output": ({"output_dir": ""}, "--output_dir"),
    "another engine": ({"engine": "dense"}, "`engine` must be one of"),
    "no size": ({"image_size": 0}, "`image_size` must be"),
    "far too large": ({"image_size": 2**31}, "at most 65,535"),
}


@pytest.mark.parametrize(("fields", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_named(fields, message):
    fields = {
        "model": NETWORK,
        "dataset": "cifar10",
        "checkpoint_dir": "",
        "images_pattern": "x",
        "output_dir": "y",
        **fields,
    }
    with pytest.raises(ValueError, match=message):
        PonderMapConfig(**fields)


def test_photographs_are_scaled_as_the_networks_images_were():
    image = np.random.default_rng(3).uniform(0, 1, (33, 40, 3)).astype("float32")
    np.testing.assert_allclose(photographs.prepare(image, "imagenet"), image * 2 - 1, atol=1e-6)
    standardized = photographs.prepare(image, "cifar10").numpy()
    assert standardized.mean() == pytest.approx(0, abs=1e-5) and standardized.std() == pytest.approx(1, rel=1e-5)


def test_maps_of_units_on_one_scale_and_a_sheet_from_the_least_to_the_most(work, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("a$b$.png", "c.png"):
        photograph("chelsea.png").resize((64, 96)).save(photos / name)
    Image.new("RGB", (64, 96)).save(photos / "black.png")
    config = config_of(work, tmp_path / "maps", images_pattern=str(photos), by="num_units", normalize=False, sheet=True)
    lines = []
    done, _ = ponder_map.write_maps(config, lines.append)
    for figures in done.values():
        assert float(figures[0]).is_integer() and 3 <= figures[0] <= figures[2] <= 5
    assert "num units min" in lines[0]
    # Of 5 units, the colours go from 0 to 5: no photograph reaches the first one.
    first = np.array(visualize.colour(0.0, 0, 5)) * 255
    for path in done:
        name = pathlib.Path(path).stem
        pixels = np.asarray(Image.open(tmp_path / "maps" / f"{name}_ponder.png"), float)
        assert np.abs(pixels - first).sum(-1).min() > 10
    sheet = Image.open(tmp_path / "maps" / "sheet_1.png")
    assert sheet.size == (3 * 168 + 8, 152) and lines[-1].endswith("sheet_1.png")
    with pytest.raises(FileExistsError, match="--overwrite"):
        ponder_map.write_maps(config, lines.append)


def test_sheets_hold_pictures_in_the_order_given(monkeypatch):
    monkeypatch.setattr(visualize.sheets, "_ON_A_SHEET", 9)
    entries = [
        (visualize.sheets.thumbnail(np.full((40, 20, 3), 25 * place, np.uint8)), "x" * 90) for place in range(10)
    ]
    first, second = visualize.sheets.pages(entries)
    assert first.shape == (2 * 144 + 8, 8 * 168 + 8, 3) and second.shape == (152, 176, 3)
    centres = [first[8 + 60 + row * 144, 8 + 80 + column * 168, 0] for row in range(2) for column in range(8)]
    assert centres == [25 * place for place in range(9)] + [255] * 7
    # The line stays below its picture.
    assert (first[8:128, 168:176] == 255).all() and first[130:142, 8:168].min() < 100


def test_long_names_on_a_sheet_are_told_apart_by_their_ends():
    white = np.full((120, 160, 3), 255, np.uint8)
    names = [f"52.4% ILSVRC2012_val_000{number}.jpg" for number in (17700, 37861)]
    [page] = visualize.sheets.pages([(white, name) for name in names])
    lines = page[128:, 8:168], page[128:, 176:336]
    assert min(line.min() for line in lines) < 100 and np.abs(lines[0].astype(int) - lines[1]).max() > 100


def test_what_maps_are_of_is_one_of_two(work, tmp_path):
    with pytest.raises(ValueError, match="`by` must be one of"):
        config_of(work, tmp_path, by="flops")
