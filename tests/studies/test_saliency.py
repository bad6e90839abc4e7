"""The study of saliency, on a few pictures of noise in which people look at what is planted there."""

import csv
import dataclasses
import os
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from sact_tf import checkpoints, detect, ponder_map, saliency
from sact_tf.config import ModelConfig, SaliencyConfig
from sact_tf.data.fixations import Fixations, read_fixations
from sact_tf.data.photographs import read_photograph, resize_for_detector
from sact_tf.evaluation import inference
from sact_tf.models.build import build_model
from sact_tf.studies import saliency as study
from sact_tf.studies.saliency import choosing, network, report, scoring
from sact_tf.studies.saliency.pictures import pictures_of
from sact_tf.studies.saliency.settings import Settings
from sact_tf.studies.store import Store
from sact_tf.tasks import detection
from sact_tf.visualize import saliency_charts
from sact_tf.visualize.enlarging import enlarge

CLASSIFIER = ModelConfig(network="cifar", model="2_3_2", model_type="sact", num_classes=10, base_channels=4)
DETECTOR = ModelConfig(
    network="imagenet", model="1_2_1_1", model_type="sact", num_classes=3, base_channels=4, anchor_base_size=64.0
)
FLAGS = ("--network=cifar", "--model=2_3_2", "--model_type=sact", "--base_channels=4")
QUICK = {"sigmas": [0, 4], "centre_weights": [0, 0.5, 1], "shuffles": 2}
# The last one is not UTF-8.
NAMES = ["a$b$.png", "below/p1.png", "below/p2.png", "p3.png", "p4.png", os.fsdecode(b"p\xe9.png")]
SHOWN = [*NAMES[:-1], "p%E9.png"]
KINDS = ["contrast", "ponder_cost", "num_units"]


def write_data(folder):
    """Six grey pictures, each with a patch of noise that three observers look at."""
    generator = np.random.default_rng(7)
    rows = []
    for number, name in enumerate(NAMES):
        height, width = (48, 64) if number % 2 else (40, 70)
        values = np.full((height, width, 3), 120, np.uint8)
        top, left = generator.integers(2, height - 18), generator.integers(2, width - 18)
        values[top : top + 16, left : left + 16] = generator.integers(0, 256, (16, 16, 3))
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(path)
        for observer in "xyz":
            points = generator.uniform(2, 14, (4, 2)) + (left, top)
            rows += [(name, observer, *point) for point in points]
    rows.append((NAMES[-1], "x", 700, 3))
    with open(folder / "fixations.csv", "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        csv.writer(file).writerows([("image", "observer", "x", "y"), *rows])


@pytest.fixture(scope="module")
def work(tmp_path_factory, spread_halting):
    """Folder with `data`, and checkpoints of a classifier and of a detector."""
    keras.utils.set_random_seed(17)
    folder = tmp_path_factory.mktemp("saliency")
    write_data(folder / "data")
    model = spread_halting(build_model(CLASSIFIER), bias=0.2, gain=6.0)
    (folder / "classifier").mkdir()
    checkpoints.save_release_checkpoint(model, folder / "classifier", 3)
    detector = spread_halting(detection.build_model(DETECTOR))
    named = checkpoints.named_variables(detector)
    saved = tf.train.Checkpoint(**{checkpoints.VARIABLES_KEY: named}, step=tf.Variable(3, dtype=tf.int64))
    saved.save(str(folder / "detector" / "model.ckpt"))
    return folder


def config_of(work, **fields):
    fields = {"model": CLASSIFIER, "dataset": "cluttered_digits", **fields}
    return SaliencyConfig(**{"checkpoint_dir": str(work / "classifier"), **fields})


@pytest.fixture(scope="module")
def studied(work, tmp_path_factory, eagerly):
    """Directory, rows and lines of a whole study."""
    directory, lines = tmp_path_factory.mktemp("studied") / "new", []
    with eagerly():
        rows = study.run(config_of(work), "folder", str(work / "data"), str(directory), log=lines.append, **QUICK)
    return directory, {row["map"]: row for row in rows}, lines


@pytest.fixture(scope="module")
def pictures(work):
    return pictures_of(read_fixations("folder", str(work / "data")).images)


@pytest.fixture(scope="module")
def maps(work, tmp_path_factory):
    made = network.NetworkMaps(config_of(work, image_size=50), str(tmp_path_factory.mktemp("maps")))
    made.load()
    return made


def read_table(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_all_rows_are_there_and_the_prior_and_contrast_have_the_scores_that_functions_give(studied, pictures):
    _, rows, _ = studied
    mixed = [name + scoring.WITH_PRIOR for name in (*KINDS, scoring.SHUFFLED)]
    assert set(rows) == {scoring.CONSTANT, scoring.PRIOR, *KINDS, scoring.SHUFFLED, *mixed, scoring.OBSERVER}
    expected = []
    for picture in pictures:
        fixated, _ = saliency.fixation_map(picture.viewed.points, picture.viewed.height, picture.viewed.width)
        expected.append(saliency.auc_judd(saliency.centre_prior(*fixated.shape), fixated))
    assert rows[scoring.PRIOR]["auc_judd"] == pytest.approx(np.mean(expected))
    assert rows[scoring.PRIOR]["auc_judd_standard_error"] == pytest.approx(np.std(expected, ddof=1) / np.sqrt(6))
    assert rows[scoring.PRIOR]["information_gain"] == 0
    # People look at noise on grey, which is what contrast finds.
    assert rows["contrast"]["auc_judd"] > 0.9 and rows[scoring.OBSERVER]["auc_judd"] > 0.8
    assert (rows[scoring.CONSTANT]["auc_judd"], rows[scoring.CONSTANT]["pictures"]) == ("", 0)
    assert rows[scoring.CONSTANT]["kl_divergence"] > rows["contrast"]["kl_divergence"]


def test_at_a_smaller_size_blurs_and_fixations_keep_their_places(studied, work, pictures, tmp_path):
    _, rows, _ = studied
    arguments = (None, "folder", str(work / "data"), str(tmp_path))
    smaller = study.run(*arguments, log=lambda line: None, score_size=32, **QUICK)
    for row in smaller:
        for metric in ("auc_judd", "cc"):
            whole = rows[row["map"]][metric]
            assert row[metric] == (whole if whole == "" else pytest.approx(whole, abs=0.06)), (row["map"], metric)
    (picture,) = [each for each in pictures if each.viewed.name == "p3.png"]
    assert picture.size(32) == (24, 32) and picture.size(1000) == picture.size() == (48, 64)


def test_files_have_every_picture_and_what_was_chosen_for_it_on_the_other_half(studied):
    directory, rows, lines = studied
    table = read_table(directory / "images.csv")
    assert sorted({row["image"] for row in table}) == sorted(SHOWN)
    assert len(table) == 6 * len(rows)
    for row in read_table(directory / "saliency.csv"):
        areas = [float(each["auc_judd"]) for each in table if each["map"] == row["map"] and each["auc_judd"]]
        assert (np.mean(areas) if areas else "") == (float(row["auc_judd"]) if row["auc_judd"] else "")
    chosen = {(row["half"], row["sigma"], row["centre_weight"]) for row in table if row["map"] == "ponder_cost + prior"}
    assert {half for half, *_ in chosen} == {"first", "second"} and len(chosen) == 2
    # Half of each folder.
    halves = {row["image"]: row["half"] for row in table}
    assert [halves[name] for name in SHOWN] == ["first", "first", "second", "first", "second", "second"]
    text = (directory / "saliency.txt").read_text()
    assert (
        "6 of 6 pictures with 72 fixations; left out: 1 fixation outside and 0 pictures" in text
        and "mean units by block: block_1" in text
    )
    assert lines.count("pictures scored 6/6") == lines.count("maps of pictures 6/6") == 1
    assert "<svg" in (directory / "saliency.svg").read_text()
    for name in ("saliency.png", "saliency_images.png"):
        with Image.open(directory / name) as picture:
            assert min(picture.size) > 200 and len(picture.getcolors(picture.width * picture.height)) > 20


def test_started_again_it_computes_what_is_missing_alone(studied, work, monkeypatch):
    directory, rows, _ = studied
    (scores,) = directory.glob("scores_*/")
    (scores / "scores_00004.json").unlink()
    monkeypatch.setattr(network.NetworkMaps, "compute", None)
    monkeypatch.setattr(choosing, "_areas", None)
    lines, arguments = [], (config_of(work), "folder", str(work / "data"), str(directory))
    again = study.run(*arguments, log=lines.append, **QUICK)
    assert {row["map"]: row for row in again} == rows
    assert "pictures scored 1/1" in lines
    # Of other settings, nothing that was scored is taken for the same.
    with pytest.raises(TypeError):
        study.run(*arguments, log=lines.append, **{**QUICK, "sigmas": [0, 5]})


@pytest.mark.usefixtures("without_graphs")
def test_maps_are_those_of_the_commands_that_draw_them(maps, work, pictures):
    picture = pictures[0]
    maps.compute(picture)
    image = read_photograph(picture.viewed.path, 50)
    model = inference.load_model(maps.config)
    computed = ponder_map.compute(model, inference.predictor(model, "masked"), image, "cluttered_digits")
    height, width = picture.viewed.height, picture.viewed.width
    expected = enlarge(computed.ponder_map, height, width)
    np.testing.assert_allclose(maps.of(picture, "ponder_cost", height, width), expected, rtol=1e-4)
    units = maps.of(picture, "num_units", height, width)
    assert units.max() > units.min() and np.array_equal(units, np.round(units))
    share, by_block = maps.spent(picture)
    assert share == pytest.approx(computed.flops / computed.most_flops)
    assert list(by_block) == ["block_1", "block_2", "block_3"]


@pytest.mark.usefixtures("without_graphs")
def test_maps_of_a_detector_are_those_of_its_extractor(work, pictures, tmp_path):
    fields = {"model": DETECTOR, "dataset": "digit_scenes", "checkpoint_dir": str(work / "detector")}
    maps, picture = network.NetworkMaps(config_of(work, image_size=36, **fields), str(tmp_path)), pictures[0]
    maps.load()
    maps.compute(picture)
    image = resize_for_detector(read_photograph(picture.viewed.path), 36)
    model = inference.load_model(maps.config)
    found = detect.find(model, detect.predictor(model, "masked"), image, image.shape[:2], "digit_scenes")
    values = maps.of(picture, "ponder_cost", *image.shape[:2])
    np.testing.assert_allclose(values, found.ponder_map, rtol=1e-4)
    assert values.max() > values.min()
    # The only unit of a block runs everywhere, but for the padding below the picture.
    assert maps.spent(picture)[1]["block1"] == 1


def test_other_networks_sizes_and_pictures_have_maps_of_their_own(maps, work, tmp_path):
    first = network.NetworkMaps(config_of(work), str(tmp_path)).directory
    assert first != network.NetworkMaps(config_of(work, image_size=50), str(tmp_path)).directory
    again = network.NetworkMaps(config_of(work), str(tmp_path))
    # A run that still trains has a later one when it is loaded.
    assert first == again.directory and again.config.checkpoint_dir == str(work / "classifier" / "model.ckpt-3")


def test_a_network_that_does_not_decide_by_position_is_refused(run_script, work, tmp_path):
    with pytest.raises(ValueError, match="Only model_type='sact' decides by position"):
        config_of(work, model=dataclasses.replace(CLASSIFIER, model_type="act"))
    command = ["-m", "sact_tf.studies.saliency", "--dataset=folder", f"--dataset_dir={work / 'data'}", *FLAGS]
    command += [f"--checkpoint_dir={work / 'classifier'}", "--model_type=vanilla", f"--run_dir={tmp_path / 'new'}"]
    returncode, _, errors = run_script(*command)
    assert returncode == 1 and "Only model_type='sact' decides by position" in errors
    assert "Traceback" not in errors and not (tmp_path / "new").exists()


def test_the_command_takes_a_release_checkpoint_and_goes_without_one(run_script, work, tmp_path):
    command = ["-m", "sact_tf.studies.saliency", "--dataset=folder", f"--dataset_dir={work / 'data'}"]
    command += ["--sigmas=0,3", "--centre_weights=0.5", f"--run_dir={tmp_path}", "--num_images=4"]
    returncode, output, errors = run_script(*command)
    assert returncode == 0, errors
    assert "No --checkpoint_dir: only what needs no network is scored." in output
    assert "| contrast + prior | 4 |" in output and "ponder_cost" not in output
    flags = [f"--checkpoint_dir={work / 'classifier'}", "--trained_on=cluttered_digits", "--image_size=48", *FLAGS]
    returncode, output, errors = run_script(*command, *flags)
    assert returncode == 0, errors
    assert "| ponder_cost + prior | 4 |" in output and "| shuffled | 4 |" in output
    assert {"saliency.csv", "images.csv", "saliency_images.png"} < set(os.listdir(tmp_path))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--dataset_dir=x"], "--dataset is needed: cat2000, osie or folder"),
        (["--dataset=osie"], "--dataset_dir is needed"),
        (["--dataset=osie", "--dataset_dir=none"], "There is no directory none"),
        (["--dataset=osie", "--dataset_dir=x", "--checkpoint_dir=nothing"], "nothing"),
        (["--dataset=osie", "--sigmas=big"], "--sigmas takes numbers separated by commas. Received: big"),
    ],
)
def test_wrong_flags_are_named(run_script, flags, message):
    returncode, _, errors = run_script("-m", "sact_tf.studies.saliency", *flags)
    assert returncode == 1 and message in errors


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sigmas": ()}, "`sigmas` must be numbers from 0 to 10000"),
        ({"sigmas": (4.0, 1e9)}, r"from 0 to 10000. Received: \[4.0, 1000000000.0\]"),
        ({"density_sigma": float("nan")}, "`density_sigma` must be numbers from 0 to 10000"),
        ({"sigmas": (-1.0,)}, "`sigmas` must be"),
        ({"sigmas": (float("inf"),)}, "`sigmas` must be"),
        ({"sigmas": (float("nan"),)}, "`sigmas` must be"),
        ({"sigmas": (1e6,)}, "`sigmas` must be numbers from 0 to 10000"),
        ({"centre_weights": (0.5, 1.1)}, "`centre_weights` must be numbers from 0 to 1"),
        ({"density_sigma": 0.0}, "`density_sigma` must be above 0.* Received: density_sigma=0.0"),
        ({"shuffles": 0}, "`shuffles` must be an int, at least 1"),
        ({"num_images": 3}, "`num_images` must be an int, at least 4"),
    ],
)
def test_settings_without_meaning_are_refused(changes, message):
    fields = {"sigmas": (1.0,), "centre_weights": (0.5,), "density_sigma": None, "shuffles": 1, "num_images": None}
    with pytest.raises(ValueError, match=message):
        Settings("folder", **{**fields, **changes})


def test_the_best_of_one_half_is_taken_and_of_equals_the_least():
    settings = Settings("folder", (0.0, 5.0, 9.0), (0.5, 1.0), None, 1, None)
    # Of a picture: rows of blurs, columns no prior and two weights of it.
    areas = np.array([[[0.5, 0.6, 0.7], [0.8, 0.9, 0.7], [0.8, 0.9, 0.7]]])
    assert choosing._best(areas, settings) == choosing.Choice(alone=5.0, sigma=5.0, centre_weight=0.5)
    # A map without contrast counts as chance, not as nothing.
    areas = np.array([[[np.nan, 0.6, 0.6]] * 3, [[0.6, 0.6, 0.6]] * 3])
    assert choosing._best(areas, settings) == choosing.Choice(alone=0.0, sigma=0.0, centre_weight=0.5)


def test_too_few_pictures_for_two_halves_are_refused(pictures):
    with pytest.raises(ValueError, match=r"each half needs two at least\. Received: 3 pictures"):
        pictures_of([picture.viewed for picture in pictures[:3]])


def test_a_map_without_contrast_is_counted_and_scores_nothing(maps, pictures, monkeypatch):
    for picture in pictures:
        if not maps.has(picture):
            maps.compute(picture)
    assert "no contrast" not in report.collapse(maps, pictures)
    monkeypatch.setattr(maps, "of", lambda picture, figure, height, width: np.full((height, width), 7.3))
    assert "Of 6 of 6 pictures its map has no contrast: all positions halt alike" in report.collapse(maps, pictures)
    # What a network of one unit a block spends, which no other size of the pictures changes.
    monkeypatch.setattr(maps, "spent", lambda picture: (1.0, {"block_1": 1.0, "block_2": 1.0}))
    assert report.collapse(maps, pictures).endswith("so nothing ever halts. Take a network of more units.")
    scores = [{"ponder_cost": {"auc_judd": np.nan}, scoring.PRIOR: {"auc_judd": 0.5}}] * 3
    assert report.extremes(report.values_of(scores, "ponder_cost", "auc_judd")) == {}
    assert report.difference(scores, "ponder_cost", scoring.PRIOR) is None


def test_of_a_single_picture_there_is_no_standard_error():
    one = {name: 0.25 for name in saliency.METRICS}
    scores = [{"ponder_cost": one, scoring.PRIOR: one, scoring.SHUFFLED: one}, {scoring.PRIOR: one}]
    row, prior, _ = rows = report.table(scores)
    assert row["pictures"] == 1 and row["nss_standard_error"] == row["auc_judd_minus_prior"] == ""
    assert "| 0.2500 | 0.2500 |" in report.lines_of([row])[-1] and prior["nss_standard_error"] == 0
    assert report.difference(scores, "ponder_cost", scoring.SHUFFLED) is None
    assert saliency_charts.scores(rows).axes


def test_a_map_that_the_choice_leaves_out_is_said_to_have_no_part():
    none, some = choosing.Choice(1.0, 0.0, 1.0), choosing.Choice(1.0, 0.0, 0.5)
    noise = 1e-13 * np.random.default_rng(0).normal(size=8)
    scores = [{scoring.PRIOR: {"auc_judd": 0.7}, "contrast + prior": {"auc_judd": 0.7 + each}} for each in noise]
    data = Fixations([None] * 8, True, [], 0, 90)

    def told(*chosen):
        choices = {half: {"contrast": choice} for half, choice in zip(("first", "second"), chosen, strict=True)}
        return report.paragraphs(data, scores, choices, None)[-1]

    # Whatever other weights were tried, or none.
    assert (
        told(none, none) == "contrast has no part in contrast + prior, whose weight of the prior is 1 on both halves."
    )
    assert told(none, some).endswith("+0.0000 ± 0.0000, within 2 standard errors of none; p of the sign test 1.")


def test_a_map_without_contrast_scores_as_the_constant_one(pictures, tmp_path):
    settings = Settings("folder", (2.0,), (0.0,), None, 1, None)
    choices = {half: {"flat": choosing.Choice(2.0, 2.0, 0.0)} for half in ("first", "second")}
    kinds = {"flat": lambda picture: np.full(picture.size(), 3.3)}
    scorer = scoring.Scorer(pictures, kinds, None, choices, settings, Store(str(tmp_path), {}))
    for scores in scorer.score(lambda line: None):
        np.testing.assert_equal(scores["flat"], scores[scoring.CONSTANT])
        np.testing.assert_equal(scores["flat + prior"], scores[scoring.CONSTANT])
        assert scores["flat"]["kl_divergence"] < 5


def test_a_killed_study_goes_on(start_script, run_script, work, tmp_path):
    command = ["-m", "sact_tf.studies.saliency", "--dataset=folder", f"--dataset_dir={work / 'data'}"]
    command += ["--sigmas=0,3", f"--run_dir={tmp_path}"]
    process, deadline = start_script(*command), time.monotonic() + 600
    while not list(tmp_path.glob("scores_*/scores_*.json")) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(9)
    process.communicate()
    made = {path: path.stat().st_mtime_ns for path in tmp_path.glob("scores_*/*.json")}
    returncode, output, errors = run_script(*command)
    assert returncode == 0, errors
    assert "blurs and weights tried" not in output and "| centre prior | 6 |" in output
    assert {path: path.stat().st_mtime_ns for path in made} == made


def test_best_middle_and_worst_are_in_order():
    shown = report.extremes(np.array([0.1, 0.9, np.nan, 0.5, 0.3, 0.7]))
    assert {name: places.tolist() for name, places in shown.items()} == {"best": [1], "middle": [3], "worst": [0]}
    shown = report.extremes(np.linspace(0, 1, 30))
    assert shown["best"].tolist() == [29, 28, 27] and shown["worst"].tolist() == [2, 1, 0]


def test_a_picture_that_breaks_later_is_named(work, maps, pictures, tmp_path):
    (tmp_path / "cut.png").write_bytes((work / "data" / "images" / "p3.png").read_bytes()[:600])
    broken = pictures[0]._replace(viewed=pictures[0].viewed._replace(path=str(tmp_path / "cut.png")), digest="cut")
    with pytest.raises(ValueError, match=r"cut\.png cannot be looked at: .*Replace it, or take it"):
        maps.compute(broken)
    assert not maps.has(broken)
