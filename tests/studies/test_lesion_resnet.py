"""LesionResNet: what is matched, moved and compared, by hand; the study itself on networks as small as they come."""

import csv
import dataclasses
import functools
import json
import os
import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from sact_tf import checkpoints, config, depth, training
from sact_tf.models.build import build_model
from sact_tf.studies import lesion_resnet, pairs
from sact_tf.studies.lesion_resnet import (
    fine_tuning,
    greedy,
    inputs,
    kinds,
    matching,
    measuring,
    networks,
    report,
)
from sact_tf.studies.lesioned import LesionedNetwork
from sact_tf.studies.store import Store, fingerprint

UNITS = {"block_1": 1, "block_2": 2, "block_3": 3}
SILENT = {"log": lambda line: None}


def small_config(model_type="vanilla", **changes):
    model = config.ModelConfig(
        network="cifar",
        model="1_2_3",
        model_type=model_type,
        num_classes=10,
        base_channels=4,
        tau=0.02,
        stem_stride=2,
    )
    fields = {
        "model": model,
        "dataset": "cluttered_digits",
        "image_size": 40,
        "batch_size": 6,
        "learning_rate": 0.05,
        "learning_rate_schedule": "constant",
        "max_number_of_steps": 1,
    }
    return config.TrainingConfig(**{**fields, **changes})


def write_run(directory, run, prepare=lambda model: None):
    """A run's directory with a checkpoint of step 3, without a training."""
    model = build_model(run.model, run.image_size)
    prepare(model)
    checkpoint = tf.train.Checkpoint(step=tf.Variable(3, dtype=tf.int64), variables=checkpoints.named_variables(model))
    tf.train.CheckpointManager(checkpoint, str(directory), 1, checkpoint_name="model.ckpt").save(checkpoint_number=3)
    (directory / "config.json").write_text(run.to_json())
    return str(directory)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, spread_halting):
    """Dict from model types to directories of runs; halting networks halt at different units."""
    found = {}
    for kind in ("vanilla", "act", "sact"):
        directory = tmp_path_factory.mktemp(kind)
        # Images differ less than positions do.
        steep = functools.partial(spread_halting, gain=40.0 if kind == "act" else 3.0)
        found[kind] = write_run(directory, small_config(kind), steep)
    return found


@pytest.fixture(scope="module")
def opened(trained):
    """Function from a model type to a `LesionedNetwork` of it on 11 held-out images, in batches of 4."""

    def open_network(kind):
        return LesionedNetwork(
            config.EvaluationConfig(
                model=small_config(kind).model,
                dataset="cluttered_digits",
                image_size=40,
                checkpoint_dir=trained[kind],
                eval_dir=trained[kind],
                split_name="test",
                num_examples=11,
                batch_size=4,
            )
        )

    return {kind: open_network(kind) for kind in trained}


@pytest.fixture(scope="module")
def decided(opened):
    """Dict from "act" and "sact" to what they decided, see `networks.decide`."""
    return {kind: networks.decide(opened[kind]) for kind in ("act", "sact")}


@pytest.fixture(scope="module")
def unit_flops(opened):
    return matching.UnitFlops(opened["vanilla"].model, UNITS)


def made_up_maps(images=6):
    """`Maps` of one block of 3 units, of which position (image, row, column) runs 1, 2 or 3; all weight on the last."""
    generator = np.random.default_rng(3)
    num_units = generator.choice([1, 1, 2, 3], (images, 4, 5)).astype("uint8")
    return kinds.Maps({"block": num_units}, {"block": np.eye(3, dtype="float32")[num_units.astype(int) - 1]})


class MeanUnits:
    """Flops that are numbers of units."""

    units = {"block": 3}

    def of_block(self, name, num_units):
        assert name == "block"
        return float(num_units.mean())


@pytest.mark.parametrize(
    ("better", "worse", "p"),
    [(2, 8, 2 * (1 + 10 + 45) / 2**10), (10, 0, 2 / 2**10), (5, 5, 1.0), (0, 0, 1.0), (1, 0, 1.0), (0, 6, 2 / 2**6)],
)
def test_p_counts_the_images_that_the_networks_disagree_on(better, worse, p):
    scores = np.array([1] * better + [0] * worse + [1, 1, 0])
    others = np.array([0] * better + [1] * worse + [1, 1, 0])
    assert pairs.mcnemar(scores, others) == p


def test_p_of_many_images_is_a_number():
    scores = np.arange(9000) < 4400
    assert pairs.mcnemar(scores, ~scores) == pytest.approx(0.0358, abs=5e-4)
    assert pairs.mcnemar(np.zeros(5000), np.ones(5000)) == 0


@pytest.mark.parametrize(
    ("values", "p"), [([0.3], 0.3), ([0.5, 0.02], 0.04), ([0.5, 0.02, 0.04], 0.06), ([0.9, 0.8, 0.9, 0.9], 1.0)]
)
def test_draws_have_one_p_together(values, p):
    assert pairs.of_several_draws(values) == pytest.approx(p)


def test_a_single_value_has_no_standard_error_and_several_that_of_a_sample():
    assert pairs.standard_error([3.0]) == 0
    assert pairs.standard_error([1.0, 3.0]) == pytest.approx(1)


def test_draws_are_compared_with_the_other_network_image_by_image():
    compared = pairs.compare([[1, 1, 0, 1], [1, 0, 0, 1]], [1, 1, 1, 1])
    assert compared["score"] == 0.625
    # Of the images' means 1, .5, 0, 1, and of the draws' .75 and .5.
    assert compared["standard_error"] == pytest.approx(np.std([1, 0.5, 0, 1], ddof=1) / 2)
    assert compared["spread"] == pytest.approx(0.25 / np.sqrt(2))
    assert compared["difference"] == -0.375
    assert compared["p"] == 1.0


@pytest.mark.parametrize(
    ("target", "below", "above", "share"),
    [
        (4.0, [1, 1, 0], [1, 1, 1], 0.5),
        (1.5, [1, 0, 0], [1, 1, 0], 0.25),
        (3.0, [1, 1, 0], [1, 1, 1], 0.0),
        # Within 1 % of 3, which the set above has.
        (2.98, [1, 0, 0], [1, 1, 0], 1.0),
        (9.0, [1, 1, 1], [1, 1, 1], 0.0),
        (0.5, [0, 0, 0], [1, 0, 0], 0.5),
    ],
)
def test_whole_units_are_chosen_on_either_side_of_the_flops(target, below, above, share):
    choice = matching.choose([2, 1, 0], np.array([1.0, 2.0, 2.0]), target)
    assert choice.below.tolist() == below and choice.above.tolist() == above
    assert choice.share == pytest.approx(share)
    assert choice.matches == (share in (0, 1))


def test_a_share_of_the_images_runs_a_unit_more():
    choice = matching.choose([1, 2, 0], np.array([1.0, 2.0, 2.0]), 3.5)
    kept = matching.mix({"block": choice}, 8, np.random.default_rng(0))["block"]
    assert kept.sum(0).tolist() == [8, 2, 8]


def test_maps_are_shifted_until_their_flops_match():
    drawn, dither = np.array([1, 2, 3, 3]), np.array([0.125, 0.375, 0.625, 0.875])
    shifted = matching.shift(drawn, dither, 3, np.mean, 2.5)
    assert shifted.num_units.mean() == 2.5
    assert shifted.num_units.max() == 3
    near = matching.shift(drawn, dither, 3, np.mean, 2.26)
    assert near.shift == 0 and near.num_units.tolist() == [1, 2, 3, 3]


def test_draws_are_as_frequent_as_in_the_pool():
    drawn = kinds.stratified(np.array([[1, 1], [2, 3]]), 8, np.random.default_rng(1))
    assert np.bincount(drawn).tolist() == [0, 4, 2, 2]
    assert drawn.tolist() != sorted(drawn)


def test_shuffling_gives_each_image_the_maps_of_another_one():
    maps = made_up_maps()
    other = kinds.Maps({**maps.num_units, "b": np.arange(6)}, {**maps.halting_distribution, "b": np.arange(6.0)})
    placement = kinds.shuffled(other, np.random.default_rng(2))
    source = placement.num_units["b"]
    assert sorted(source) == list(range(6))
    assert not (source == np.arange(6)).any()
    # All blocks of the same image, and its halting distributions with it.
    np.testing.assert_array_equal(placement.num_units["block"], maps.num_units["block"][source])
    chosen = slice(2, 5)
    moved = placement.distribution_of("block", chosen)
    np.testing.assert_array_equal(moved, maps.halting_distribution["block"][source[chosen]])


@pytest.mark.parametrize("kind", ["random_images", "random_positions"])
def test_what_is_drawn_matches_and_has_the_halting_distribution_of_an_equal(kind):
    maps = made_up_maps(images=40)
    target = maps.num_units["block"].mean()
    placement = kinds.place(kind, maps, None, MeanUnits(), {"block": target}, seed=4)
    num_units = placement.num_units["block"]
    assert num_units.shape == ((40,) if kind == "random_images" else (40, 4, 5))
    assert num_units.mean() == pytest.approx(target, rel=0.01)
    distribution = placement.distribution_of("block", slice(10, 30))
    np.testing.assert_array_equal(distribution, np.eye(3)[num_units[10:30].astype(int) - 1])
    again = kinds.place(kind, maps, None, MeanUnits(), {"block": target}, seed=5)
    assert not np.array_equal(again.num_units["block"], num_units)


def test_units_that_the_network_never_ran_alone_have_all_the_weight_in_the_last():
    maps = made_up_maps()
    everywhere_two = kinds.Maps({"block": np.full((6, 4, 5), 2, "uint8")}, maps.halting_distribution)
    placement = kinds.place("random_images", everywhere_two, None, MeanUnits(), {"block": 3.0}, seed=0)
    assert (placement.num_units["block"] == 3).all()
    np.testing.assert_array_equal(placement.distribution_of("block", slice(0, 6)), [[0, 0, 1]] * 6)


def test_the_mean_map_is_rounded_alike_at_all_positions_of_an_image():
    maps = kinds.Maps({"block": np.full((2, 1, 2), 1, "uint8")}, {"block": np.zeros((2, 1, 2, 3), "float32")})
    maps.num_units["block"][0, 0, 1] = 2
    mean = kinds.mean_of(maps)
    np.testing.assert_array_equal(mean.num_units["block"], [[[1.0, 1.5]]])
    of_four = kinds.Maps({"block": np.zeros((4, 1, 2), "uint8")}, {})
    placement = kinds.place("mean_map", of_four, mean, MeanUnits(), {"block": 1.25}, seed=1)
    assert sorted(map(tuple, placement.num_units["block"][:, 0].tolist())) == [(1, 1), (1, 1), (1, 2), (1, 2)]
    assert placement.distribution_of("block", slice(1, 4)).shape == (3, 1, 2, 3)


@pytest.mark.parametrize("kind", ["act", "sact"])
def test_an_adaptive_network_with_its_own_maps_handed_back_has_its_own_logits(opened, decided, kind):
    network, (maps, scores, counts) = opened[kind], decided[kind]
    # The network decides differently from place to place, else this would say nothing.
    assert max(len(np.unique(num_units)) for num_units in maps.num_units.values()) > 1
    policies = networks.placed(kinds.own(maps), 4, averages=True)
    for number, batch in enumerate(network.batches()):
        handed = depth.call(network.model, batch["image"], policies(number, batch))
        own = network.model(batch["image"], training=False)
        np.testing.assert_allclose(handed["logits"], own["logits"], atol=1e-5)
    answers = network.measure_each(policies)
    np.testing.assert_array_equal(answers.score, scores)
    assert answers.flops["flops"].mean() == counts["flops"]


def test_maps_of_others_change_what_an_adaptive_network_says(opened, decided):
    network, maps = opened["sact"], decided["sact"][0]
    policies = networks.placed(kinds.shuffled(maps, np.random.default_rng(0)), 4, averages=True)
    batch = network.batches()[0]
    moved = depth.call(network.model, batch["image"], policies(0, batch))["logits"]
    assert np.abs(moved - network.model(batch["image"], training=False)["logits"]).max() > 1e-3


@pytest.mark.parametrize("kind", ["act", "sact"])
def test_flops_of_units_are_those_of_a_plain_network_that_runs_them(opened, decided, unit_flops, kind):
    maps, _, counts = decided[kind]
    found = unit_flops.of_maps(maps.num_units)
    answers = opened["vanilla"].measure_each(networks.placed(kinds.own(maps), 4))
    for name, value in answers.flops.items():
        assert found[name] == pytest.approx(value.mean())
    assert unit_flops.of_block("block_3", maps.num_units["block_3"]) == found["block_3/flops"]
    # What is left of the adaptive network's FLOPs is its halting branches.
    branches = sum(_branch_flops(opened[kind].model, maps, name) for name in UNITS)
    assert counts["flops"] - found["flops"] == pytest.approx(branches)


def _branch_flops(model, maps, name):
    """Mean FLOPs of a block's branches, counted from the kernels."""
    num_units, total = maps.num_units[name], 0
    for index, branch in enumerate(model.blocks[name].halting_branches):
        ran = num_units > index
        pooled = 2 * np.prod(branch.global_conv.kernel.shape)
        if num_units.ndim == 1:
            total += pooled * ran.mean()
        else:
            total += pooled + 2 * np.prod(branch.local_conv.kernel.shape) * ran.sum((1, 2)).mean()
    return total


def test_sets_of_units_cost_the_sum_of_theirs(opened, unit_flops):
    kept = {**opened["vanilla"].everything(), "block_3": np.array([True, False, True])}
    counts = unit_flops.of_network(kept, 1)
    assert counts["block_3/flops"] == unit_flops.of_units("block_3")[[0, 2]].sum()
    assert counts["flops"] == opened["vanilla"].measure(kept).flops["flops"][0]


class Scored:
    """Stands for a network: its score by the units that are kept, and how often it was asked."""

    def __init__(self, harm):
        self.harm, self.asked = harm, []

    def measure(self, kept):
        lost = sum(self.harm[name][index] for name, units in kept.items() for index in np.flatnonzero(~units))
        self.asked.append(lost)
        return type("Answers", (), {"score": np.array([1 - lost])})


def test_the_unit_goes_first_whose_deletion_harms_least(tmp_path):
    network = Scored({"a": [0.3, 0.1], "b": [0.2, 0.05, 0.1]})
    costs = {"a": np.ones(2), "b": np.ones(3)}
    store = Store(str(tmp_path), {"network": 1})
    gone = greedy.find_order(network, costs, {"a": 1.5, "b": 1.0}, store)
    # Of equals, units 2 of a and 3 of b, the later one goes first; then block a alone is too expensive.
    assert gone == {"a": [1], "b": [1, 2]}
    asked = len(network.asked)
    assert asked == 5 + 4 + 2
    assert greedy.find_order(network, costs, {"a": 1.5, "b": 1.0}, store) == gone
    assert len(network.asked) == asked
    greedy.find_order(network, costs, {"a": 1.5, "b": 2.0}, Store(str(tmp_path), {"network": 2}))
    assert len(network.asked) > asked


def rules(decided, opened, kind):
    """The rule of a kind in fine-tuning, of seed 5."""
    maps = decided["sact"][0]
    choice = matching.Choice(np.array([True, False]), np.array([True, True]), 0.5)
    placement = kinds.own(maps)
    if kind == "random_images":
        placement = placement._replace(num_units={"block_3": np.array([1, 3, 3, 3, 2, 3, 3, 3])})
    return fine_tuning.rule_of(
        kind,
        5,
        choices={"block_2": choice},
        placement=placement,
        mean=kinds.mean_of(maps),
        adaptive=opened["sact"].model,
    )


@pytest.mark.parametrize("kind", ["deepest", "random_images", "random_positions", "shuffled_maps", "mean_map"])
def test_units_of_fine_tuning_are_a_function_of_the_step(decided, opened, kind):
    rule, again = rules(decided, opened, kind), rules(decided, opened, kind)
    batch = {"image": tf.concat([each["image"] for each in opened["sact"].batches()], 0)}
    steps = [rule(tf.constant(step, tf.int64), batch) for step in (3, 4)]
    for name, kept in steps[0].items():
        np.testing.assert_array_equal(kept, again(tf.constant(3, tf.int64), batch)[name])
        assert kept.dtype == tf.bool and kept.shape[0] == 11 and kept.shape[-1] == UNITS[name]
        # A unit never runs where the one before it does not.
        assert (np.diff(kept.numpy().astype(int), axis=-1) <= 0).all()
        assert kept.numpy()[..., 0].all()
    assert any(not np.array_equal(steps[0][name], steps[1][name]) for name in steps[0])


def test_fine_tuning_draws_units_as_often_as_the_adaptive_network_runs_them(decided, opened):
    rule = rules(decided, opened, "random_images")
    kept = rule(tf.constant(0, tf.int64), {"image": tf.zeros((4000, 1, 1, 3))})["block_3"]
    np.testing.assert_allclose(kept.numpy().mean(0), [1, 7 / 8, 6 / 8], atol=0.02)


def test_fine_tuning_on_shuffled_maps_has_those_of_other_images_of_the_batch(decided, opened):
    batch = {"image": tf.concat([each["image"] for each in opened["sact"].batches()], 0)}
    kept = rules(decided, opened, "shuffled_maps")(tf.constant(9, tf.int64), batch)["block_3"]
    maps = decided["sact"][0].num_units["block_3"]
    turns = [by for by in range(11) if np.array_equal(np.roll(maps, by, 0), kept.numpy().sum(-1))]
    assert len(turns) == 1 and turns[0] > 0


@pytest.mark.usefixtures("without_graphs")
def test_a_run_under_a_rule_that_was_broken_off_ends_in_the_same_bits(tmp_path):
    model = dataclasses.replace(small_config().model, model="1")
    run = small_config(model=model, max_number_of_steps=3, depth_rule="half")
    choice = matching.Choice(np.array([False]), np.array([True]), 0.5)
    rule = fine_tuning.rule_of("deepest", 1, choices={"block_3": choice})

    def fail(line):
        if line.startswith("step 3/3"):
            raise KeyboardInterrupt

    whole = training.train(run, str(tmp_path / "whole"), kept_units=rule, **SILENT)
    with pytest.raises(KeyboardInterrupt):
        training.train(run, str(tmp_path / "broken"), save_interval_secs=0, kept_units=rule, log=fail)
    lines = []
    resumed = training.train(run, str(tmp_path / "broken"), kept_units=rule, log=lines.append)
    assert "Going on from step 2" in lines[0]
    first, second = (tf.train.load_checkpoint(each["checkpoint"]) for each in (whole, resumed))
    for name in first.get_variable_to_shape_map():
        if name.endswith("VARIABLE_VALUE") and "save_counter" not in name:
            np.testing.assert_array_equal(first.get_tensor(name), second.get_tensor(name), err_msg=name)
    with pytest.raises(ValueError, match="depth_rule: 'half', 'another'"):
        training.train(dataclasses.replace(run, depth_rule="another"), str(tmp_path / "broken"), kept_units=rule)


@pytest.mark.parametrize("given", [{"kept_units": lambda step, batch: {}}, {"config": {"depth_rule": "a"}}])
def test_a_rule_and_its_name_come_together(tmp_path, given):
    run = small_config(**given.get("config", {}))
    with pytest.raises(ValueError, match="give both or none"):
        training.train(run, str(tmp_path / "run"), kept_units=given.get("kept_units"), **SILENT)
    assert not (tmp_path / "run").exists()


STUDY = {"num_examples": 11, "train_examples": 5, "seeds": 2, "fine_tune_steps": 7}


@pytest.fixture(scope="module")
def studied(trained, tmp_path_factory):
    """Directory, rows, lines and fine-tunings of a whole study; a training leaves the weights as they are."""
    directory, lines, tuned = tmp_path_factory.mktemp("study"), [], []

    def train(run, train_log_dir, kept_units, **kwargs):
        tuned.append((run, kept_units(tf.constant(2, tf.int64), {"image": tf.zeros((8, 40, 40, 3))})))
        return {"checkpoint": run.finetune_path}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measuring.training, "train", train)
        rows = lesion_resnet.run(trained["sact"], trained["vanilla"], str(directory), log=lines.append, **STUDY)
    return directory, rows, lines, tuned


def test_every_kind_is_measured_at_the_flops_of_the_adaptive_network(studied, decided, unit_flops):
    _, rows, lines, _ = studied
    assert (rows[0]["kind"], rows[0]["flops"]) == ("sact", decided["sact"][2]["flops"])
    matched = {(row["kind"], row["weights"]): row for row in rows if row["match"] == "matched"}
    own = {(kind, "adaptive") for kind in kinds.MAPS}
    plain = {(kind, weights) for kind in lesion_resnet.KINDS for weights in ("plain", "fine-tuned")}
    assert set(matched) == plain | own
    target = unit_flops.of_maps(decided["sact"][0].num_units)["flops"]
    for (kind, weights), row in matched.items():
        # Eleven images are few to be mixed: a unit of one of them is some percent of a block.
        assert row["flops"] == pytest.approx(target, rel=0.04), kind
        assert row["draws"] == (2 if kind in kinds.DRAWN and (kind, weights) != ("random", "fine-tuned") else 1)
        assert row["fine_tune_steps"] == (7 if weights == "fine-tuned" else 0)
    assert matched["shuffled_maps", "adaptive"]["match_error"] == pytest.approx(0)
    below, above = (
        next(row for row in rows if (row["kind"], row["match"]) == ("deepest", match)) for match in ("below", "above")
    )
    assert below["flops"] < target < above["flops"]
    assert sum(line.startswith("== ") for line in lines) == 29
    assert any("with fine-tuning left" in line for line in lines)


def test_fine_tuning_is_as_the_adaptive_network_was_trained_but_for_its_units(studied, trained):
    _, rows, _, tuned = studied
    # The kinds that are drawn have their draws from one training.
    assert [run.depth_rule.split()[1] for run, _ in tuned] == list(lesion_resnet.KINDS)
    for run, kept in tuned:
        assert run.finetune_path == trained["vanilla"] + "/model.ckpt-3"
        assert (run.model.model_type, run.max_number_of_steps, run.learning_rate) == ("vanilla", 7, 0.05)
        assert {name: units.shape[-1] for name, units in kept.items()} == UNITS
    # Nothing was trained, so what has the same draws reads as it did.
    score = {(row["kind"], row["weights"]): row["score"] for row in rows if row["match"] == "matched"}
    for kind in ("deepest", "least_harm", "shuffled_maps", "random_positions", "mean_map"):
        assert score[kind, "fine-tuned"] == score[kind, "plain"]


@pytest.mark.usefixtures("without_graphs")
def test_a_fine_tuned_network_is_measured_with_its_own_weights(trained, tmp_path):
    given = {**STUDY, "fine_tune_steps": 1, "kinds": ["deepest"]}
    rows = lesion_resnet.run(trained["sact"], trained["vanilla"], str(tmp_path), **given, **SILENT)
    assert [(row["weights"], row["fine_tune_steps"]) for row in rows if row["match"] == "matched"] == [
        ("plain", 0),
        ("fine-tuned", 1),
    ]
    [run] = [name for name in os.listdir(tmp_path) if name.startswith("deepest-")]
    assert os.path.exists(tmp_path / run / "model.ckpt-1.index")
    stored = {
        weights: json.loads((tmp_path / "results" / f"deepest-{weights}-0.json").read_text())["result"][0]
        for weights in ("plain", "fine-tuned")
    }
    assert stored["plain"]["flops"] == stored["fine-tuned"]["flops"]


def test_the_study_writes_a_table_a_figure_and_what_they_say(studied):
    directory, rows, lines, _ = studied
    with open(directory / "lesion_resnet.csv", newline="", encoding="utf-8") as file:
        written = list(csv.DictReader(file))
    assert [row["kind"] for row in written] == [row["kind"] for row in rows]
    assert [float(row["score"]) for row in written] == [row["score"] for row in rows]
    text = (directory / "lesion_resnet.md").read_text()
    assert text.count("\n| ") >= len(rows)
    assert "The same network with the maps of other images has" in text and text.strip().endswith(lines[-2])
    with Image.open(directory / "lesion_resnet.png") as picture:
        assert min(picture.size) > 300
        assert len(picture.convert("RGB").getcolors(picture.width * picture.height)) > 10
    # Matplotlib draws text as curves, and says in a comment what it was.
    assert "<!-- shuffled maps -->" in (directory / "lesion_resnet.svg").read_text()


@pytest.mark.usefixtures("without_graphs", "without_figures")
def test_started_again_the_study_measures_only_what_is_missing(studied, trained, tmp_path):
    directory, rows, *_ = studied
    copy = shutil.copytree(directory, tmp_path / "copy")
    os.remove(copy / "results" / "deepest-plain-0.json")
    lines = []
    # The networks are copies, too: their weights count, not where they lie.
    networks = [shutil.copytree(trained[name], tmp_path / name) for name in ("sact", "vanilla")]
    again = lesion_resnet.run(*map(str, networks), str(copy), log=lines.append, **STUDY)
    assert again == rows
    assert [line for line in lines if line.startswith("== ")] == ["== 29/29 deepest, plain, draw 1"]


@pytest.mark.parametrize("changes", [{"num_examples": 7}, {"train_examples": 3}])
@pytest.mark.usefixtures("without_figures")
def test_results_of_other_images_are_not_taken(studied, trained, decided, unit_flops, tmp_path, monkeypatch, changes):
    copy = shutil.copytree(studied[0], tmp_path / "copy")
    lines, asked = [], []
    # What a measurement finds is another test's: here nothing is computed.
    monkeypatch.setattr(networks.Networks, "decisions", property(lambda _: asked.append("maps") or decided["sact"]))
    monkeypatch.setattr(networks.Networks, "unit_flops", unit_flops)
    found = {"match": "matched", "flops": 1.0, "match_error": 0.0, "scores": [1.0] * 11}
    monkeypatch.setattr(measuring.Measurements, "_rows", lambda _, item: asked.append(item.name) or [found])
    given = {**STUDY, "fine_tune_steps": 0, "kinds": ["deepest"], **changes}
    lesion_resnet.run(trained["sact"], trained["vanilla"], str(copy), log=lines.append, **given)
    assert asked == ["maps", "all_units-plain-0", "deepest-plain-0"]
    assert not any("Already measured" in line for line in lines)
    assert sum(line.startswith("== ") for line in lines) == 2


def test_results_stay_those_of_data_that_moved(trained, monkeypatch):
    asked = inputs.check(trained["sact"], trained["vanilla"], None, 1, 4, 4, 0)
    monkeypatch.setattr(lesion_resnet.runs, "open_data", lambda config: None)
    monkeypatch.setattr(lesion_resnet, "marks_of_data", lambda *sources: {"data": "same"})
    moved = dataclasses.replace(asked, adaptive=dataclasses.replace(asked.adaptive, dataset_dir="copy"))
    assert lesion_resnet._all_depends_on(moved) == lesion_resnet._all_depends_on(asked)


def test_results_of_another_checkpoint_are_not_taken(trained, tmp_path):
    prefixes = [f"{trained['vanilla']}/model.ckpt-3", f"{tmp_path}/vanilla/model.ckpt-3"]
    shutil.copytree(trained["vanilla"], tmp_path / "vanilla")
    known, copied = map(fingerprint, prefixes)
    assert known == copied and known["step"] == 3
    # Trained anew: of the same path and step, with other weights.
    write_run(tmp_path / "vanilla", small_config(), lambda model: model.logits_conv.bias.assign_add(np.ones(10)))
    fresh = fingerprint(prefixes[1])
    assert fresh["step"] == copied["step"]
    Store(str(tmp_path), {"vanilla": copied}).write("deepest", [1])
    assert Store(str(tmp_path), {"vanilla": copied}).read("deepest") == [1]
    assert Store(str(tmp_path), {"vanilla": fresh}).read("deepest") is None


def row(kind, weights, score, p=0.0001, match="matched", difference=None):
    found = {"kind": kind, "weights": weights, "score": score, "p": p, "match": match, "flops": 5e7}
    return {**found, "difference": score - 0.912 if difference is None else difference, "fine_tune_steps": 7}


@pytest.mark.parametrize(
    ("moved", "said"),
    [
        (
            row("shuffled_maps", "adaptive", 0.88),
            "with the maps of other images has 88.0% (p < .001): against it, where SACT computes is worth 3.2 points.",
        ),
        (row("random_positions", "adaptive", 0.911, p=0.8), "has 91.1% (p = .800): these images do not show"),
        (row("mean_map", "adaptive", 0.932, p=0.01), "has 93.2% (p = .010): there it does better, by 2.0 points."),
        (row("deepest", "fine-tuned", 0.922, p=0.04), "deepest with 92.2% (p = .040): 1.0 points more than the"),
        (row("deepest", "plain", 0.902, p=0.04), "deepest with 90.2% (p = .040): 1.0 points less than the adaptive"),
        (row("deepest", "plain", 0.902, p=0.4), "no difference to the adaptive one that these images show"),
    ],
)
def test_the_paragraph_says_what_the_figures_do(moved, said):
    adaptive = {"scores": [1] * 100, "flops": 5e7, "matched_flops": 4.9e7}
    text = report.paragraph([row("sact", "adaptive", 0.912, match=""), moved], adaptive, "accuracy")
    assert text.startswith("SACT has accuracy 91.2% on 100 images at 50.0 million FLOPs")
    assert "its halting branches are 2.0%" in text
    assert said in text


@pytest.mark.parametrize(("spent", "said"), [(3e7, "60.0%"), (4.98e7, "99.6%")])
def test_the_paragraph_says_where_nothing_was_saved(spent, said):
    rows = [row("act", "adaptive", 0.9, match=""), row("all_units", "plain", 0.91, match="")]
    text = report.paragraph(rows, {"scores": [1, 0], "flops": 5e7, "matched_flops": spent}, "accuracy")
    assert f"That is {said} of the plain network with all units, which has 91.0%" in text
    assert ("there is hardly anything to place" in text) == (spent > 4e7)


def changed(directory, copy, changes):
    """A copy of a run whose configuration says something else."""
    path = pathlib.Path(shutil.copytree(directory, copy)) / "config.json"
    fields = json.loads(path.read_text())
    for name, value in changes.items():
        part, _, name = name.rpartition(".")
        (fields[part] if part else fields)[name] = value
    path.write_text(json.dumps(fields))
    return str(copy)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"adaptive_dir": None}, "--adaptive_dir is needed"),
        ({"vanilla_dir": "/nowhere"}, "--vanilla_dir must be the directory of a trained run. There is none"),
        ({"vanilla_dir": "empty"}, "holds no training run"),
        ({"vanilla_dir": "untrained"}, "No checkpoint at"),
        ({"adaptive_dir": "vanilla"}, "whose places are to be judged. Received: .*, a vanilla one"),
        ({"vanilla_dir": "act"}, "--vanilla_dir must be the run of the plain network.*model_type='act'"),
        ({"vanilla_dir": {"model.model": "2"}}, r"units: \(1, 2, 3\), \(2, 2, 2\)"),
        ({"vanilla_dir": {"model.base_channels": 8}}, "base_channels: 4, 8"),
        ({"vanilla_dir": {"model.num_classes": 11}}, "num_classes: 10, 11"),
        ({"vanilla_dir": {"image_size": 48}}, "image_size: 40, 48"),
        ({"vanilla_dir": {"dataset": "cifar10"}}, "dataset: 'cluttered_digits', 'cifar10'"),
        ({"vanilla_dir": {"model.shortcuts": False}}, "shortcuts: True, False"),
        ({"vanilla_dir": {"model.final_survival_probability": 0.5}}, "Give --fine_tune_steps=0"),
        ({"kinds": ["deepest", "best"]}, "--kinds takes deepest, .*mean_map, .*Received: best"),
        ({"seeds": 0}, "--seeds must be an int, at least 1. Received: --seeds=0"),
        ({"num_examples": 1}, "--num_examples must be an int, at least 2"),
        ({"train_examples": 0}, "--train_examples must be an int, at least 2"),
        ({"fine_tune_steps": -1}, "--fine_tune_steps must be an int, at least 0"),
    ],
    ids=str,
)
def test_bad_input_is_told_before_anything_is_computed(trained, tmp_path, given, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "untrained").mkdir()
    (tmp_path / "untrained" / "config.json").write_text(small_config().to_json())
    named = {**trained, "empty": str(tmp_path / "empty"), "untrained": str(tmp_path / "untrained")}
    given = {"adaptive_dir": "sact", "vanilla_dir": "vanilla", **given}
    for name in ("adaptive_dir", "vanilla_dir"):
        if isinstance(given[name], dict):
            given[name] = changed(trained["vanilla"], tmp_path / "changed", given[name])
        given[name] = named.get(given[name], given[name])
    with pytest.raises((ValueError, FileNotFoundError), match=f"(?s){message}"):
        lesion_resnet.run(run_dir=str(tmp_path / "study"), **given, **SILENT)
    assert not (tmp_path / "study").exists()


def test_an_act_network_has_no_positions(trained):
    found = inputs.check(trained["act"], trained["vanilla"], None, 1, None, 10, None)
    assert found.left_out == ("random_positions", "mean_map")
    assert found.kinds == ("deepest", "random", "least_harm", "random_images", "shuffled_maps")
    # As many steps as the adaptive run had.
    assert found.fine_tune_steps == 3


@pytest.mark.usefixtures("without_graphs", "without_figures")
def test_the_study_of_an_act_network_says_what_is_left_out(trained, tmp_path):
    lines = []
    given = {
        **STUDY,
        "fine_tune_steps": 0,
        "kinds": ["shuffled_maps", "random_images", "mean_map"],
        "seeds": 1,
        "num_examples": 4,
    }
    rows = lesion_resnet.run(trained["act"], trained["vanilla"], str(tmp_path), log=lines.append, **given)
    assert [(row["kind"], row["weights"]) for row in rows] == [
        ("act", "adaptive"),
        ("all_units", "plain"),
        ("random_images", "plain"),
        ("random_images", "adaptive"),
        ("shuffled_maps", "plain"),
        ("shuffled_maps", "adaptive"),
    ]
    assert "mean_map are left out" in lines[0]
    assert "with the depths of other images has" in lines[-2]
    assert "where ACT computes" not in lines[-2]


def test_maps_that_do_not_fit_in_memory_are_refused(opened, monkeypatch):
    monkeypatch.setattr(networks, "MAX_BYTES", 10_000)
    with pytest.raises(ValueError, match=r"The maps of 11 images would take .* Give --num_examples=\d+ or less"):
        networks.decide(opened["sact"])


def test_the_command_names_a_missing_flag(run_script):
    returncode, _, errors = run_script("-m", "sact_tf.studies.lesion_resnet", "--seeds=2")
    assert returncode == 1
    assert "error: --adaptive_dir is needed: the directory of a trained run." in errors
