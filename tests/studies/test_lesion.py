"""The lesion study, on networks of a few units that were trained for a few steps."""

import csv
import dataclasses
import errno
import json
import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from sact_tf import depth, training
from sact_tf.config import SplitConfig, default_training_config
from sact_tf.data.sources import RecordSource
from sact_tf.layers import unit_rules
from sact_tf.studies import lesion
from sact_tf.studies.lesion import checks, findings, gradient, lesions
from sact_tf.studies.lesion.measuring import Countdown
from sact_tf.studies.lesion.outcomes import Estimate, Outcome, over_draws, path_rows_of
from sact_tf.studies.lesion.record import Measured, Record, identity_of
from sact_tf.studies.lesioned import LesionedNetwork
from sact_tf.visualize import lesion_charts

UNITS = {"block_1": 2, "block_2": 3}
QUICK = {"draws": 2, "gradient_draws": 2, "gradient_images": 3}
KINDS = {
    "vanilla": {"model": "1_3_1"},
    "sact": {"model": "1_3_1", "model_type": "sact", "tau": 0.01},
    "act": {"model": "1_2_1", "model_type": "act", "tau": 0.01},
    "plain": {"model": "1_2_1", "shortcuts": False},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory, eagerly):
    """Function from a kind of network to the directory of a run of it."""
    directories = {}

    def train(kind):
        if kind not in directories:
            model = {"base_channels": 4, **KINDS[kind]}
            config = default_training_config(
                "cluttered_digits", model, image_size=40, batch_size=4, max_number_of_steps=1, warmup_steps=0
            )
            directories[kind] = tmp_path_factory.mktemp("trained") / kind
            with eagerly():
                training.train(config, str(directories[kind]), log=lambda line: None)
        return directories[kind]

    return train


@pytest.fixture(scope="module")
def split_of(trained):
    """Function from a kind of network to its `SplitConfig`."""

    def make(kind, **changes):
        directory = trained(kind)
        run = json.loads((directory / "config.json").read_text())
        model = default_training_config("cluttered_digits", run["model"]).model
        fields = {"checkpoint_dir": str(directory), "image_size": 40, "num_examples": 14, "model": model}
        return SplitConfig(dataset="cluttered_digits", split_name="test", batch_size=8, **{**fields, **changes})

    return make


@pytest.fixture(scope="module")
def network(split_of):
    return LesionedNetwork(split_of("vanilla"))


@pytest.fixture(scope="module")
def batch(network):
    return gradient.random_batch(network, 3, 5, 0)


@pytest.fixture(scope="module")
def studied(split_of, tmp_path_factory):
    """Directory, outcomes and lines of a whole study of one network."""
    directory, lines = tmp_path_factory.mktemp("study"), []
    outcomes = lesion.run([split_of("vanilla")], str(directory), log=lines.append, **QUICK)
    return directory, outcomes, lines


def read_table(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def record_of(directory):
    (path,) = pathlib.Path(directory).glob("*.jsonl")
    return path


def test_a_study_of_a_run_that_still_trains_names_the_checkpoint_that_it_has(network, trained):
    assert network.config.checkpoint_dir == str(trained("vanilla") / "model.ckpt-1")


def test_each_unit_is_deleted_once_in_the_order_in_which_they_run():
    made = lesions.each_unit(UNITS)
    assert [each.name for each in made] == [
        "block_1 without 1",
        "block_1 without 2",
        "block_2 without 1",
        "block_2 without 2",
        "block_2 without 3",
    ]
    kept = made[3].kept(UNITS)
    assert kept["block_1"].tolist() == [True, True]
    assert kept["block_2"].tolist() == [True, False, True]


def test_random_deletions_take_as_many_units_as_they_say_and_the_same_ones_for_a_seed():
    made = lesions.random_units(UNITS, [2, 5], 4, seed=3)
    assert [sum(len(units) for units in each.deleted.values()) for each in made] == [2] * 4 + [5] * 4
    assert len({each.name for each in made[:4]}) > 1
    assert made == lesions.random_units(UNITS, [2, 5], 4, seed=3)
    assert made != lesions.random_units(UNITS, [2, 5], 4, seed=4)


def test_kendalls_tau_of_an_order():
    # Of the ten pairs of five units three are the wrong way round.
    reversed_block = lesions.Lesion("reorder", orders={"block_2": (3, 2, 1)})
    assert reversed_block.kendall_tau(UNITS) == pytest.approx((7 - 3) / 10)
    assert reversed_block.name == "block_2 as 3,2,1"
    assert lesions.Lesion("reorder", orders={"block_1": (1, 2)}).kendall_tau(UNITS) == 1
    assert lesions.Lesion("reorder", orders={"block_1": (1, 2)}).name == "whole"


def test_orders_swap_units_of_equal_shape_only():
    groups = [("block_2", (2, 3))]
    made = lesions.random_orders(UNITS, groups, [1], 3, seed=1)
    assert [each.orders for each in made] == [{"block_1": (1, 2), "block_2": (1, 3, 2)}] * 3


def test_units_that_may_change_places_and_those_that_change_the_shape(network):
    assert lesions.exchangeable(network.blocks) == [("block_2", (2, 3))]
    assert lesions.changing_shape(network.blocks) == {("block_2", 1), ("block_3", 1)}
    assert list(network.units) == ["block_1", "block_2", "block_3"]


def test_path_lengths_are_binomial_and_count_all_paths():
    np.testing.assert_allclose(gradient.shares_of_paths(3), [1 / 8, 3 / 8, 3 / 8, 1 / 8])
    # Veit et al. 2016: more than 95 % of the paths of 54 units go through 19 to 35 of them, .45 % through 5 to 17.
    shares = gradient.shares_of_paths(54)
    assert shares[19:36].sum() == pytest.approx(0.9802, abs=1e-4)
    assert shares[5:18].sum() == pytest.approx(0.004537, abs=1e-6)


def parts(network, residuals):
    return {name: np.array(residuals(name, units)) for name, units in network.units.items()}


def test_gradient_through_all_parts_is_the_plain_gradient(network, batch):
    everything = network.everything()
    found = gradient.InputGradients(network).gradients(batch, everything, everything)
    with tf.GradientTape() as tape:
        tape.watch(batch["image"])
        outputs = network.model(batch["image"], training=False)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(batch["label"], outputs["logits"])
    np.testing.assert_allclose(found, tape.gradient(losses, batch["image"]), rtol=1e-3, atol=1e-6)


def test_gradients_of_all_paths_add_up_to_the_plain_gradient_and_are_traced_once(network, batch):
    functions = gradient.InputGradients(network)
    count = sum(network.units.values())
    total = 0.0
    for number in range(2**count):
        bits = [bool(number >> place & 1) for place in range(count)]
        taken = {"block_1": bits[:1], "block_2": bits[1:4], "block_3": bits[4:]}
        residuals = {name: np.array(flags) for name, flags in taken.items()}
        total = total + functions.gradients(batch, residuals, {name: ~flags for name, flags in residuals.items()})
    everything = network.everything()
    np.testing.assert_allclose(total, functions.gradients(batch, everything, everything), rtol=1e-3, atol=1e-6)
    assert functions.traces == 1


def test_norm_of_a_path_is_the_mean_over_the_images(network, batch):
    functions = gradient.InputGradients(network)
    residuals = parts(network, lambda name, units: [name == "block_2" and unit == 1 for unit in range(units)])
    gradients = functions.gradients(batch, residuals, {name: ~flags for name, flags in residuals.items()})
    norms = [np.linalg.norm(each) for each in gradients]
    assert functions.of_path(batch, {"block_2": (2,)}) == pytest.approx(np.mean(norms), rel=1e-5)


def test_all_lesions_share_one_trace_and_deleted_units_are_not_executed(split_of, monkeypatch):
    network, executed = LesionedNetwork(split_of("vanilla")), []
    execute = unit_rules._execute

    def counting(unit, features, *arguments):
        with tf.control_dependencies([tf.py_function(lambda: executed.append(unit.name), [], [])]):
            return execute(unit, tf.identity(features), *arguments)

    monkeypatch.setattr(unit_rules, "_execute", counting)
    for each in [*lesions.whole(), *lesions.each_unit(network.units), *lesions.random_units(network.units, [3], 2, 0)]:
        executed.clear()
        answers = lesions.apply(network, each)
        deleted = sum(len(units) for units in each.deleted.values())
        # Two batches.
        assert len(executed) == 2 * (5 - deleted)
        assert len(answers.score) == 14
    lesions.apply(network, lesions.Lesion("reorder", 1, 0, {}, {"block_2": (1, 3, 2)}))
    assert network.traces == 1


def test_swapped_units_are_back_in_their_places_afterwards(network):
    before = [variable.numpy() for variable in network.model.variables]
    swapped = lesions.Lesion("reorder", 1, 0, {}, {"block_2": (1, 3, 2)})
    blocks = network.blocks["block_2"].units
    expected = depth.call(network.model, next(iter(network.batches()))["image"], depth.Kept({}))["logits"]
    with depth.reordered(network.model, {"block_2": [1, 3, 2]}):
        other = network.model(next(iter(network.batches()))["image"], training=False)["logits"]
        np.testing.assert_array_equal(blocks[1].conv1.kernel, before_kernel(network, before, blocks[2]))
    assert not np.allclose(other, expected)
    lesions.apply(network, swapped)
    for variable, value in zip(network.model.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value)


def before_kernel(network, values, unit):
    (value,) = [
        value for variable, value in zip(network.model.variables, values, strict=True) if variable is unit.conv1.kernel
    ]
    return value


def test_a_study_writes_tables_figures_and_a_paragraph(studied):
    directory, (outcome,), lines = studied
    rows = read_table(directory / "lesion.csv")
    kinds = [row["experiment"] for row in rows]
    # Five units; 1 to 4 of them, twice; one pair that may change places, twice.
    assert [kinds.count(kind) for kind in ("whole", "delete", "delete_random", "reorder")] == [1, 5, 8, 2]
    assert [row["unit"] for row in rows[1:6]] == ["1", "2", "3", "4", "5"]
    assert [row["changes_shape"] for row in rows[1:6]] == ["0", "1", "0", "0", "1"]
    whole = rows[0]
    for row, (_, measured) in zip(rows[1:], outcome.lesions, strict=True):
        assert float(row["lost"]) == pytest.approx(float(whole["accuracy"]) - float(row["accuracy"]))
        assert float(row["accuracy"]) == pytest.approx(measured.score.mean())
        deletes = row["experiment"].startswith("delete")
        assert (float(row["flops"]) < float(whole["flops"])) == deletes
    paths = read_table(directory / "paths.csv")
    assert [int(row["length"]) for row in paths] == list(range(6))
    assert sum(float(row["share_of_gradient"]) for row in paths) == pytest.approx(1)
    for name in ("lesion_delete", "lesion_delete_random", "lesion_reorder", "paths"):
        with Image.open(directory / f"{name}.png") as picture:
            assert min(picture.size) > 300
            assert len(picture.convert("RGB").getcolors(10**6)) > 10
        assert "<svg" in (directory / f"{name}.svg").read_text()
    text = (directory / "lesion.txt").read_text()
    assert "vanilla has 5 units" in text and text.strip() in "\n\n".join(lines)
    assert any(line.endswith(" left") for line in lines)
    assert not list(directory.glob("*.tmp"))


@pytest.mark.usefixtures("without_figures")
def test_started_again_it_measures_nothing_and_finds_the_same(studied, split_of, monkeypatch):
    directory, first, _ = studied
    tables = {name: (directory / name).read_bytes() for name in ("lesion.csv", "paths.csv", "lesion.txt")}
    monkeypatch.setattr(LesionedNetwork, "measure", lambda *arguments: pytest.fail("measured again"))
    monkeypatch.setattr(gradient.InputGradients, "gradients", lambda *arguments: pytest.fail("measured again"))
    lines = []
    (again,) = lesion.run([split_of("vanilla")], str(directory), log=lines.append, **QUICK)
    assert again.gradients == first[0].gradients
    assert {name: (directory / name).read_bytes() for name in tables} == tables
    assert any("16 lesions and 12 gradients, of which 28 are measured already" in line for line in lines)


class Killed(BaseException):
    """As a signal would end the process: nothing catches it."""


@pytest.mark.usefixtures("without_graphs", "without_figures")
def test_a_full_disk_costs_the_lesion_that_it_came_in_and_no_other(split_of, tmp_path, monkeypatch):
    arguments = [split_of("vanilla")], str(tmp_path), ["delete"]
    fsync, written = os.fsync, []

    def fill(number):
        written.append(number)
        if len(written) == 5:
            # As much of the line as there was space for.
            os.ftruncate(number, os.fstat(number).st_size - 9)
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(number)

    monkeypatch.setattr(os, "fsync", fill)
    with pytest.raises(OSError, match="No space left"):
        lesion.run(*arguments, log=lambda line: None)
    lines = []
    lesion.run(*arguments, log=lines.append)
    # The first line says what the record is of.
    assert any("of which 3 are measured already" in line for line in lines)
    assert len(read_table(tmp_path / "lesion.csv")) == 6


@pytest.mark.usefixtures("without_graphs", "without_figures")
def test_killed_in_a_lesion_it_goes_on_with_that_one(studied, split_of, tmp_path, monkeypatch):
    directory, _, _ = studied
    measure, calls = LesionedNetwork.measure, []

    def counting(network, kept=None, progress=None):
        calls.append(kept)
        if len(calls) == 4:
            raise Killed
        return measure(network, kept, progress)

    monkeypatch.setattr(LesionedNetwork, "measure", counting)
    arguments = [split_of("vanilla")], str(tmp_path), ["delete"]
    with pytest.raises(Killed):
        lesion.run(*arguments, log=lambda line: None)
    path = record_of(tmp_path)
    assert path.name == record_of(directory).name
    with open(path, "ab") as file:
        # What a full disk leaves of a line.
        file.write(b'{"name": "block_3 without 1", "result": {"scor')
    lesion.run(*arguments, log=lambda line: None)
    # Whole and two deletions were there; the one that was killed, and two more, were not.
    assert len(calls) == 4 + 3
    found = [row["accuracy"] for row in read_table(tmp_path / "lesion.csv")]
    assert found == [row["accuracy"] for row in read_table(directory / "lesion.csv")[:6]]


@pytest.mark.usefixtures("without_figures")
def test_more_draws_keep_those_that_are_there(studied, split_of, tmp_path, monkeypatch):
    directory, _, _ = studied
    path = record_of(directory)
    (tmp_path / path.name).write_bytes(path.read_bytes())
    measure, calls = LesionedNetwork.measure, []
    monkeypatch.setattr(LesionedNetwork, "measure", lambda *given: calls.append(given) or measure(*given))
    outcomes = lesion.run([split_of("vanilla")], str(tmp_path), ["delete_random"], [4], draws=3, log=lambda line: None)
    assert len(outcomes[0].of("delete_random", 4)) == 3
    assert len(calls) <= 1


@pytest.mark.usefixtures("without_graphs", "without_figures")
@pytest.mark.parametrize("change", [{"num_examples": 13}, {"image_size": 44}])
def test_other_images_are_another_record(studied, split_of, tmp_path, change):
    directory, _, _ = studied
    path = record_of(directory)
    (tmp_path / path.name).write_bytes(path.read_bytes())
    lesion.run([split_of("vanilla", **change)], str(tmp_path), ["delete_random"], [5], draws=1, log=lambda line: None)
    assert (tmp_path / path.name).read_bytes() == path.read_bytes()
    (other,) = set(tmp_path.glob("*.jsonl")) - {tmp_path / path.name}
    identity = json.loads(other.read_text().splitlines()[0])["identity"]
    assert {name: identity[name] for name in change} == change


def test_data_are_known_by_their_records_wherever_they_lie(split_of):
    first, copied = (split_of("vanilla", dataset_dir=directory) for directory in ("data", "copy"))

    def source(*records):
        return RecordSource(len(records), records.__getitem__, decode=None, locate=None)

    of = identity_of(first, source(b"cat", b"dog"))
    assert identity_of(copied, source(b"cat", b"dog")) == of
    assert identity_of(first, source(b"cat", b"cow")) != of


def test_a_record_gives_back_what_it_was_given(tmp_path):
    record = Record(tmp_path, "a/b", {"step": 3})
    right, fine = np.array([1, 0, 1, 1, 0, 0, 0, 1, 1], np.float32), np.array([0.25, 3], np.float32)
    record.add("right", Measured(right, 2.5))
    record.add("fine", Measured(fine, 1.0))
    record.add("gradient", {"gradient": 0.125})
    again = Record(tmp_path, "a/b", {"step": 3})
    assert len(again) == 3
    np.testing.assert_array_equal(again.get("right").score, right)
    assert again.get("right").flops == 2.5
    np.testing.assert_array_equal(again.get("fine").score, fine)
    assert again.get("gradient") == {"gradient": 0.125}
    assert again.get("left") is None
    assert len(Record(tmp_path, "a/b", {"step": 4})) == 0


def test_a_renamed_record_of_something_else_is_refused(tmp_path):
    other, mine = Record(tmp_path, "run", {"step": 4}), Record(tmp_path, "run", {"step": 3})
    os.replace(other.path, mine.path)
    with pytest.raises(ValueError, match="results of something else"):
        Record(tmp_path, "run", {"step": 3})


def test_one_image_which_tells_nothing_of_errors_is_refused(split_of):
    with pytest.raises(ValueError, match="Errors are over images, of which a study needs two at least, and test has 1"):
        LesionedNetwork(split_of("vanilla", num_examples=1))


def test_networks_on_data_of_other_places_are_not_compared(split_of):
    first = split_of("vanilla", dataset_dir="data/")
    checks.check_data([first, dataclasses.replace(first, dataset_dir=os.path.abspath("data"))])
    with pytest.raises(ValueError, match=r"same images, and dataset_dir is 'data/' for .* and 'other' .*--dataset_dir"):
        checks.check_data([first, dataclasses.replace(first, dataset_dir="other")])


@pytest.mark.usefixtures("without_graphs", "without_figures")
def test_halting_and_plain_networks_of_other_depths_are_compared(split_of, tmp_path):
    lines, once = [], {**QUICK, "draws": 1, "gradient_draws": 1}
    configs = [split_of(kind, num_examples=8) for kind in ("sact", "act", "plain")]
    outcomes = lesion.run(configs, str(tmp_path), counts=[1, 3], log=lines.append, **once)
    assert [outcome.network for outcome in outcomes] == ["sact", "act", "plain"]
    assert [outcome.depth for outcome in outcomes] == [5, 4, 4]
    for outcome in outcomes[:2]:
        ((_, measured), *_) = outcome.of("delete")
        assert measured.flops < outcome.whole.flops
    assert [bool(outcome.gradients) for outcome in outcomes] == [True, True, False]
    # In the first, one pair may change places; in blocks of two units none.
    assert [bool(outcome.counts("reorder")) for outcome in outcomes] == [True, False, False]
    assert sum("has nothing to reorder" in line for line in lines) == 2
    assert sum("but one path through it" in line for line in lines) == 1
    assert sum("In points of accuracy, deleting one unit costs sact" in line for line in lines) == 1


def made_outcome(name, whole, deleted, drawn=()):
    """An `Outcome` of `UNITS` whose lesions have these scores."""
    score = np.array(whole, np.float32)
    found = list(
        zip(lesions.each_unit(UNITS), [Measured(np.array(each, np.float32), 5.0) for each in deleted], strict=True)
    )
    found += [
        (lesions.Lesion("delete_random", 1, draw, {"block_1": (1,)}), Measured(np.array(each, np.float32), 5.0))
        for draw, each in enumerate(drawn)
    ]
    return Outcome(name, None, UNITS, {("block_2", 1)}, Measured(score, 10.0), found, {})


def test_the_paragraph_has_the_numbers_of_the_table():
    right = [1] * 10
    outcome = made_outcome("net", right, [right, right, [0] * 8 + [1] * 2, right, right], [right, [0] * 5 + [1] * 5])
    text = findings.paragraph(outcome, "accuracy")
    assert "net has 5 units and reads 100.00 ± 0.00 %" in text
    # Eight of ten images: the deviation is sqrt(10/9 * .8 * .2), over sqrt(10).
    assert "0.00 points in the median and 80.00 ± 13.33 at worst (unit 1 of block_2, which changes the shape)" in text
    assert "4 of 5 deletions cost nothing beyond two standard errors" in text
    assert "cost 80.00 ± 13.33 points on average, the others 0.00 ± 0.00: more, beyond" in text
    assert "50% of the FLOPs are left" in text


def test_the_mean_of_draws_varies_with_the_draws_and_the_images():
    outcome = made_outcome("net", [1] * 4, [[1] * 4] * 5, [[1] * 4, [0] * 4])
    # Every image loses half on average; the draws lose 0 and 1.
    assert over_draws(outcome, outcome.of("delete_random")) == Estimate(0.5, pytest.approx(0.5))


def test_the_less_hurt_network_is_named_only_beyond_the_errors():
    right = [1] * 16
    hurt = made_outcome("hurt", right, [[0] * 8 + [1] * 8] * 5)
    hale = made_outcome("hale", right, [right] * 5)
    near = made_outcome("near", right, [[0] * 7 + [1] * 9] * 5)
    text = findings.comparison([hurt, hale, near], "accuracy")
    assert "hale is less hurt, by 50.00 ± 12.91, which is beyond two standard errors." in text
    assert "near 43.75 ± 12.81 (56.2% are left): the difference, 6.25 ± 6.25, is within two standard errors." in text


def test_shares_of_the_gradient_are_paths_times_their_gradient():
    outcome = made_outcome("net", [1, 0], [[1, 0]] * 5)._replace(gradients={length: [0.0] for length in range(6)})
    outcome.gradients.update({0: [2.0, 4.0], 1: [1.0]})
    rows = path_rows_of(outcome)
    # One path of no units and five of one: 1 * 3 against 5 * 1.
    assert [row["share_of_gradient"] for row in rows] == pytest.approx([3 / 8, 5 / 8, 0, 0, 0, 0])
    assert rows[0]["gradient_standard_error"] == pytest.approx(1)
    text = findings.paragraph(outcome, "accuracy")
    assert "Paths of 0 to 1 units carry 100.0% of the gradient at the input, and are 18.75% of all 2^5 paths" in text
    assert lesion_charts.paths(rows).axes[1].get_yscale() == "log"


def test_bars_have_the_colour_of_what_a_unit_does_to_the_shape():
    rows = [{"network": "a$b$", "experiment": "whole", "units": 2, "standard_error": 0.1, "accuracy": 0.75}]
    for unit, changes in ((1, 0), (2, 1)):
        rows.append({**rows[0], "experiment": "delete", "unit": unit, "changes_shape": changes, "accuracy": unit / 4})
    axes = lesion_charts.single_deletions(rows).axes[0]
    bars = [bar for group in axes.containers for bar in getattr(group, "patches", ())]
    assert [bar.get_height() for bar in bars] == [75, 50]
    assert bars[0].get_facecolor() != bars[1].get_facecolor()
    assert [line.get_ydata()[0] for line in axes.lines if line.get_label() == "whole network"] == [25]


def test_networks_of_other_depths_are_drawn_by_the_part_of_the_depth():
    rows = []
    for name, units in (("a", 2), ("b", 4)):
        row = {"network": name, "units": units, "standard_error": 0.1, "accuracy": 0.5, "changes_shape": 0}
        rows += [{**row, "experiment": "delete", "unit": unit} for unit in range(1, units + 1)]
    axes = lesion_charts.single_deletions(rows).axes[0]
    assert axes.get_xlabel() == "unit deleted, part of the network's"
    drawn = [line.get_xdata().tolist() for line in axes.lines if len(line.get_xdata()) > 1]
    assert [places for places in drawn if places[-1] == 1] == [[0.5, 1.0], [0.25, 0.5, 0.75, 1.0]]


def test_the_time_left_follows_what_was_done():
    countdown = Countdown(100.0)
    assert countdown.text() == ""
    countdown.add(10.0)
    countdown.add(30.0, seconds=60.0)
    assert countdown.text() == ", 2 min 00 s left"


BAD = [
    ({"draws": 0}, "`draws` must be an int, at least 1"),
    ({"gradient_draws": 0}, "`gradient_draws` must be"),
    ({"seed": -1}, "`seed` must be"),
    ({"experiments": ["delte"]}, "--experiments takes some of delete, delete_random"),
    ({"experiments": []}, "--experiments takes some of"),
    ({"counts": [1, 6]}, "from 1 to the 5 that the network"),
    ({"counts": [0]}, "from 1 to the 5"),
    ({"swaps": [0]}, "--swaps takes numbers of pairs"),
    ({"swaps": [2]}, "from 1 to the 1 that may change places"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=lambda value: str(value)[:30])
def test_bad_numbers_are_told_before_anything_is_measured(split_of, tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        lesion.run([split_of("vanilla")], str(tmp_path / "study"), log=lambda line: None, **arguments)
    assert not (tmp_path / "study").exists()


def test_bad_networks_are_told_before_anything_is_measured(split_of, tmp_path):
    good, study = split_of("vanilla"), str(tmp_path / "study")
    other_model = default_training_config("cluttered_digits", {"model": "1", "base_channels": 4}).model
    classes = default_training_config("cluttered_digits", {"model": "1_3_1", "num_classes": 7}).model
    bad = [
        ([], ValueError, "--checkpoint_dirs is needed"),
        ([split_of("vanilla", checkpoint_dir=str(tmp_path))], FileNotFoundError, "No checkpoint at"),
        ([good, split_of("vanilla", model=other_model)], ValueError, "named twice"),
        ([split_of("vanilla", model=other_model)], ValueError, "does not fit the model"),
        ([split_of("vanilla", model=classes)], ValueError, "7 classes, and cluttered_digits has 10"),
        ([good, split_of("sact", num_examples=3)], ValueError, "num_examples is 14 for"),
        ([good, split_of("sact", image_size=48)], ValueError, "give --image_size for all"),
    ]
    for configs, error, message in bad:
        with pytest.raises(error, match=message):
            lesion.run(configs, study, log=lambda line: None)
    for experiment, message in (("reorder", "nothing to reorder"), ("gradient", "but one path")):
        with pytest.raises(ValueError, match=f"{message}.*leave {experiment} out"):
            lesion.run([split_of("plain")], study, [experiment], log=lambda line: None)
    assert not os.path.exists(study)


def test_names_of_networks_are_as_long_as_they_must_be(split_of):
    def labels(*paths):
        return checks.labels_of([split_of("vanilla", checkpoint_dir=path) for path in paths])

    assert labels("/runs/a/vanilla", "/runs/a/sact") == ["vanilla", "sact"]
    assert labels("/runs/a/vanilla", "/runs/b/vanilla") == ["a/vanilla", "b/vanilla"]


def test_a_user_gets_the_study_from_flags_and_a_sentence_for_a_wrong_one(trained, run_script, tmp_path):
    command = ["-m", "sact_tf.studies.lesion", f"--checkpoint_dirs={trained('vanilla')},{trained('sact')}"]
    command += ["--num_examples=6", f"--run_dir={tmp_path}", "--experiments=delete", "--draws=1"]
    returncode, output, errors = run_script(*command)
    assert returncode == 0, errors
    assert "sact has 5 units" in output
    assert len(read_table(tmp_path / "lesion.csv")) == 12
    returncode, _, errors = run_script(*command, "--ks=1,x")
    assert returncode == 1
    assert "error: --ks takes positive integers separated by commas. Received: 1,x" in errors
