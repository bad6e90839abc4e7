"""HDF5 files of maps: written, killed, gone on with, and drawn."""

import dataclasses
import json
import os
import pathlib
import random
import shutil
import signal
import time

import h5py
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from sact_tf import checkpoints, draw_maps, export_maps, flops, visualize
from sact_tf.config import MapExportConfig, ModelConfig
from sact_tf.data import pipeline, preprocessing
from sact_tf.data.records import BadRecord
from sact_tf.data.sources import RecordSource
from sact_tf.models.build import build_model
from sact_tf.tasks import classification

ROOT = pathlib.Path(__file__).resolve().parents[1]
NETWORK = ModelConfig(network="cifar", model="1_3_1", model_type="sact", num_classes=10, base_channels=4)
FLAGS = ("--network=cifar", "--model=1_3_1", "--model_type=sact", "--base_channels=4", "--image_size=40")
FLAGS += ("--stem_stride=1", "--tau=1")


@pytest.fixture(scope="module")
def model(spread_halting):
    random.seed(17)
    return spread_halting(build_model(NETWORK), bias=0.2, gain=6.0)


@pytest.fixture(scope="module")
def config(model, tmp_path_factory):
    """An export of 13 images, four at a time."""
    folder = tmp_path_factory.mktemp("maps")
    checkpoints.save_release_checkpoint(model, folder, 3)
    fields = {"model": NETWORK, "dataset": "cluttered_digits", "image_size": 40, "split_name": "test"}
    path = str(folder / "out" / "maps.h5")
    return MapExportConfig(checkpoint_dir=str(folder), export_path=path, num_examples=13, batch_size=4, **fields)


@pytest.fixture(scope="module")
def exported(config):
    assert export_maps.export_maps(config, lambda text: None) == 13
    return config.export_path


def expected(model, num_examples):
    images = pipeline.open_source("cluttered_digits", "test", 40).read(np.arange(num_examples))["image"]
    outputs = model(images)
    values = {"images": images, **outputs, **flops.count(model, outputs)}
    for figure in visualize.FIGURES:
        values[f"{figure}_map"] = visualize.ponder_map(outputs, (40, 40), figure)[..., None]
    values["num_units_map"] = tf.cast(values["num_units_map"], tf.int32)
    return values


def assert_file_is(path, model, num_examples):
    values = expected(model, num_examples)
    names = ["images", "flops", "ponder_cost_map", "num_units_map"]
    for block in ("block_1", "block_2", "block_3"):
        names += [f"{block}/{key}" for key in ("ponder_cost", "num_units", "halting_distribution", "flops")]
    with h5py.File(path, "r") as file:
        assert sorted(export_maps._data_sets(file)) == sorted(names)
        for name in names:
            data, value = file[name], values[name].numpy()
            assert (data.shape, data.dtype, data.compression) == (value.shape, value.dtype, "lzf"), name
            np.testing.assert_allclose(data[:], value, rtol=1e-3, atol=1e-4, err_msg=name)
        assert len(np.unique(file["num_units_map"][:])) > 2


def test_file_has_the_data_sets_attribute_and_compression_of_the_release(exported, model, config):
    # 13 images: the last batch has one.
    assert_file_is(exported, model, 13)
    with h5py.File(exported, "r") as file:
        assert file.attrs["block_scopes"].tolist() == [b"block_1", b"block_2", b"block_3"]
        assert json.loads(file.attrs["sact_tf"])["checkpoint"] == "model.ckpt-3"
    assert os.listdir(os.path.dirname(exported)) == ["maps.h5"]


def test_replicas_that_share_each_batch_write_the_same_maps(config, model, tmp_path):
    strategy = tf.distribute.MirroredStrategy([device.name for device in tf.config.list_logical_devices("CPU")])
    assert strategy.num_replicas_in_sync == 2
    # Batches of three, and a last one of one image.
    config = dataclasses.replace(config, export_path=str(tmp_path / "maps.h5"), num_examples=7, batch_size=3)
    assert export_maps.export_maps(config, lambda text: None, strategy) == 7
    assert_file_is(config.export_path, model, 7)


def test_release_reads_it_as_its_own(exported):
    """What its drawing script does: images from [-1, 1], one squeezed map a row, percentiles over all of them."""
    with h5py.File(exported, "r") as file:
        low, high = np.percentile(np.array(file["ponder_cost_map"]).ravel(), [0.1, 99.9])
        for number in range(file["images"].shape[0]):
            image = (file["images"][number] + 1.0) / 2.0
            assert image.shape == (40, 40, 3) and image.min() >= 0 and image.max() <= 1
            assert np.squeeze(file["ponder_cost_map"][number]).shape == (40, 40)
    assert 3 < low < high <= 9


def test_export_that_is_there_is_replaced_only_when_told_to(exported, config, model, tmp_path):
    with pytest.raises(FileExistsError, match="--overwrite"):
        export_maps.export_maps(config)
    with pytest.raises(FileExistsError, match="is no export of maps"):
        export_maps.check_export_path(__file__, overwrite=True)
    assert export_maps.check_export_path(exported, overwrite=True) == os.path.realpath(exported)
    for directory in (str(tmp_path), f"{tmp_path}/new/"):
        with pytest.raises(IsADirectoryError, match=r"this is a directory\. Give a file in it, such as .*/maps\.h5"):
            export_maps.check_export_path(directory, overwrite=True)


def test_kill_leaves_no_file_and_the_next_start_goes_on_to_the_same_numbers(start_script, config, model, tmp_path):
    path = tmp_path / "maps.h5"
    command = ["-m", "sact_tf.export_maps", f"--checkpoint_dir={config.checkpoint_dir}", *FLAGS]
    command += [f"--export_path={path}", "--num_examples=203", "--batch_size=4"]
    process = start_script(*command)
    while not list(tmp_path.glob(".maps.h5.parts/*.h5")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not path.exists()
    # The defaults of the flags are those of the data set: the same export.
    fields = {"export_path": str(path), "num_examples": 203}
    with pytest.raises(ValueError, match=r"begun and stopped(.|\n)*num_examples: 203, now 100$"):
        export_maps.export_maps(dataclasses.replace(config, **{**fields, "num_examples": 100}))
    lines = []
    # Another batch size, as after running out of memory.
    export_maps.export_maps(dataclasses.replace(config, batch_size=7, **fields), lines.append)
    assert lines[0].startswith("Going on from image ") and lines[0] != "Going on from image 203"
    assert_file_is(path, model, 203)
    assert os.listdir(tmp_path) == ["maps.h5"]


@pytest.mark.usefixtures("without_graphs")
def test_full_disk_is_noticed_before_hdf5_would_die_of_it(config, tmp_path, monkeypatch):
    config = dataclasses.replace(config, export_path=str(tmp_path / "maps.h5"))
    usage = shutil.disk_usage(tmp_path)
    free = iter([10**9, 10**9, 10**6])
    monkeypatch.setattr(export_maps.shutil, "disk_usage", lambda path: usage._replace(free=next(free)))
    with pytest.raises(OSError, match="No space left on device"):
        export_maps.export_maps(config, lambda text: None)
    assert os.listdir(tmp_path) == [".maps.h5.parts"]
    monkeypatch.setattr(export_maps.shutil, "disk_usage", lambda path: usage._replace(free=10**9))
    # Of another size of a file, with which the second batch would be too large.
    largest = iter([2 * 10**6, 2 * 10**6, 10**6])
    with monkeypatch.context() as limited:
        limited.setattr(export_maps.resource, "getrlimit", lambda limit: (next(largest), -1))
        with pytest.raises(OSError, match="File too large"):
            export_maps.export_maps(config, lambda text: None)
    assert export_maps.export_maps(config, lambda text: None) == 13
    assert os.listdir(tmp_path) == ["maps.h5"]


def test_a_place_where_nothing_can_be_written_is_told_before_anything_is_computed(config, tmp_path):
    (tmp_path / "file").write_text("")
    config = dataclasses.replace(config, export_path=str(tmp_path / "file" / "maps.h5"))
    with pytest.raises(
        OSError, match=r"maps\.h5\.parts cannot be written: Not a directory\. Give another --export_path"
    ):
        export_maps.export_maps(config, lambda text: None)


def test_two_processes_never_write_one_file(config, tmp_path):
    with (
        export_maps.parts.directory_of(str(tmp_path / "maps.h5"), {}),
        pytest.raises(OSError, match="Another process is writing"),
        export_maps.parts.directory_of(str(tmp_path / "maps.h5"), {}),
    ):
        pass


@pytest.mark.usefixtures("without_graphs")
def test_damaged_images_are_left_out_up_to_a_number(config, model, tmp_path, monkeypatch):
    images = np.random.default_rng(3).integers(0, 256, (11, 40, 40, 3), np.uint8)

    def fetch(index):
        if index in (2, 9):
            raise BadRecord(f"picture {index}")
        return images[index].tobytes()

    def decode(record, seed):
        image = tf.reshape(tf.io.decode_raw(record, tf.uint8), (40, 40, 3))
        return {"image": preprocessing.to_unit_range(image), "label": tf.constant(0, tf.int64)}

    source = RecordSource(11, fetch, decode, lambda index: f"picture {index}")
    monkeypatch.setattr(classification, "open_source", lambda *arguments: source)
    monkeypatch.setattr(export_maps, "BATCHES_PER_PART", 1)
    config = dataclasses.replace(config, export_path=str(tmp_path / "maps.h5"), num_examples=11)
    with pytest.raises(BadRecord, match="picture 9"):
        export_maps.export_maps(dataclasses.replace(config, skip_bad_records=1), lambda text: None)
    lines = []
    assert export_maps.export_maps(dataclasses.replace(config, skip_bad_records=2), lines.append) == 9
    assert lines[0] == "Going on from image 8" and "11/11 images, 2 damaged left out" in lines
    with h5py.File(tmp_path / "maps.h5", "r") as file:
        whole = np.delete(images, [2, 9], axis=0) / np.float32(127.5) - 1
        np.testing.assert_allclose(file["images"][:], whole, atol=1e-6)


def make_parts(directory, numbers):
    directory.mkdir()
    for first, last in numbers:
        with h5py.File(directory / f"{first:09d}-{last:09d}-{last - first}.h5", "w") as file:
            file["images"] = np.zeros((last - first, 2, 2, 3))


def test_parts_that_are_damaged_are_made_again_and_other_files_are_no_parts(tmp_path):
    parts = tmp_path / "parts"
    make_parts(parts, [(0, 4), (4, 8), (8, 12), (4, 10), (10, 12)])
    (parts / "notes.h5").write_text("mine")
    assert [part[:2] for part in export_maps.parts.parts_in(parts)] == [(0, 4), (4, 8), (8, 12)]
    assert export_maps.parts.progress(parts) == (12, 0)
    # As after a start with another size of batches, which makes the middle one again.
    os.truncate(parts / "000000004-000000008-4.h5", 500)
    assert [part[:2] for part in export_maps.parts.parts_in(parts)] == [(0, 4), (4, 10), (10, 12)]
    os.remove(parts / "000000004-000000010-6.h5")
    assert export_maps.parts.progress(parts) == (4, 0)


@pytest.mark.parametrize("plan", [None, '{"dataset": "im', "[]", ""])
def test_parts_of_nobody_knows_what_are_no_part_of_an_export(tmp_path, plan):
    directory = tmp_path / ".maps.h5.parts"
    make_parts(directory, [(0, 4)])
    if plan is not None:
        (directory / "plan.json").write_text(plan)
    begun = export_maps.parts.directory_of(str(tmp_path / "maps.h5"), {"dataset": "cifar10"})
    with (
        pytest.raises(ValueError, match=r"plan\.json, which says with what settings, .* Remove .*parts to begin"),
        begun,
    ):
        pass
    assert len(list(directory.glob("*.h5"))) == 1


def test_a_damaged_file_is_not_taken_for_an_export(exported, tmp_path):
    path = tmp_path / "maps.h5"
    path.write_bytes(pathlib.Path(exported).read_bytes()[:-1000])
    with pytest.raises(FileExistsError, match=r"no export of maps that can be read.* Remove it"):
        export_maps.check_export_path(str(path), overwrite=True)


MISTAKES = {
    "plain network": ({"model": dataclasses.replace(NETWORK, model_type="vanilla")}, "nothing to export"),
    "no path": ({"export_path": None}, "--export_path"),
    "another engine": ({"engine": "dense"}, "`engine` must be one of"),
    "no images": ({"num_examples": 0}, "`num_examples` must be"),
}


@pytest.mark.parametrize(("fields", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_named(config, fields, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(config, **fields)


def test_maps_are_drawn_with_shared_colours(exported, tmp_path):
    lines = []
    low, high = draw_maps.draw_maps(exported, str(tmp_path / "out"), num_images=9, log=lines.append)
    with h5py.File(exported, "r") as file:
        maps, images = file["ponder_cost_map"][..., 0], file["images"][:]
    assert (low, high) == pytest.approx(tuple(np.percentile(maps, [0.1, 99.9])), rel=1e-6)
    names = sorted(os.listdir(tmp_path / "out"))
    assert len(names) == 2 * 9 + 2 and names[-2:] == ["colorbar.png", "least_and_most.png"]
    start = f"{maps[4].mean():05.2f}_4"
    assert f"{start}_im.png" in names and len(lines) == 2
    ponder = np.asarray(Image.open(tmp_path / "out" / f"{start}_ponder.png"))
    np.testing.assert_array_equal(ponder, visualize.to_bytes(visualize.colour(maps[4], low, high)))
    image = np.asarray(Image.open(tmp_path / "out" / f"{start}_im.png"))
    np.testing.assert_array_equal(image, np.round((images[4] + 1) * 127.5))
    with pytest.raises(FileExistsError, match="--overwrite"):
        draw_maps.draw_maps(exported, str(tmp_path / "out"))


@pytest.mark.parametrize("values", [[3.0], [1.5, 1.5, 9.0], "many"], ids=str)
def test_percentiles_are_exact(values):
    if values == "many":
        values = np.random.default_rng(3).gamma(3.0, 4.0, (150, 11, 7)).round(2)
    values = np.asarray(values, "float32")
    found = draw_maps.percentiles(values, [0, 0.1, 37, 99.9, 100])
    np.testing.assert_allclose(found, np.percentile(values.astype("float64"), [0, 0.1, 37, 99.9, 100]), rtol=1e-7)


def test_standardized_images_are_scaled_to_be_seen():
    image = visualize.visible(np.linspace(-2.5, 3, 12).reshape(2, 2, 3)).numpy()
    assert image.min() == 0 and image.max() == pytest.approx(1)
    np.testing.assert_allclose(visualize.visible(np.full((2, 2, 3), 1.0001)), 1)


def test_files_without_maps_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="--input_file"):
        draw_maps.draw_maps(str(tmp_path / "gone.h5"), str(tmp_path / "out"))
    with pytest.raises(ValueError, match="no HDF5 file"):
        draw_maps.draw_maps(__file__, str(tmp_path / "out"))
    with h5py.File(tmp_path / "act.h5", "w") as file:
        file["images"] = np.zeros((1, 2, 2, 3))
    with pytest.raises(ValueError, match=r"no ponder_cost_map; .*'sact'.*It has: images"):
        draw_maps.draw_maps(str(tmp_path / "act.h5"), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_damaged_files_are_named(exported, tmp_path):
    content = bytearray(pathlib.Path(exported).read_bytes())
    path = tmp_path / "maps.h5"
    with h5py.File(exported, "r") as file:
        place = file["ponder_cost_map"].id.get_chunk_info(2)
    # Cut short, and the compressed map of one image.
    changed = bytearray(content)
    changed[place.byte_offset : place.byte_offset + place.size] = bytes(place.size)
    for damaged in (content[:-1000], changed):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"maps\.h5 is cut short or damaged .* Copy it again"):
            draw_maps.draw_maps(str(path), str(tmp_path / "out"), log=lambda text: None)
    assert not (tmp_path / "out").exists()


MAPS, IMAGES = np.ones((3, 4, 6, 1), "float32"), np.zeros((3, 4, 6, 3), "float32")


@pytest.mark.parametrize(
    ("maps", "images", "message"),
    [
        (MAPS[:2], IMAGES, r"Received: \(2, 4, 6, 1\)"),
        (MAPS[:0], IMAGES[:0], "at least one"),
        (MAPS, IMAGES[..., :1], r"\(3, 4, 6, 1\) of kind 'f'.*--input_file"),
        (MAPS, IMAGES.transpose(0, 3, 1, 2), "must have numbers"),
        (MAPS[:, :, 0, 0], IMAGES, "must have numbers"),
        (np.array([b"map"] * 3), IMAGES, "of kind 'S'"),
        (MAPS * np.float32("nan"), IMAGES, "finite and not negative, and some of the images 0 to 2"),
        (-MAPS, IMAGES, "finite and not negative"),
    ],
)
def test_files_of_another_make_are_refused_before_anything_is_drawn(tmp_path, maps, images, message):
    with h5py.File(tmp_path / "maps.h5", "w") as file:
        file["ponder_cost_map"], file["images"] = maps, images
    with pytest.raises(ValueError, match=message):
        draw_maps.draw_maps(str(tmp_path / "maps.h5"), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
