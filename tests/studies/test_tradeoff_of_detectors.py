"""mAP against the extractor's FLOPs, with networks and trainings as small as they come, and which are planned."""

import csv
import pathlib

import pytest
from PIL import Image

from sact_tf.config import default_training_config, read_config
from sact_tf.studies import first_detection, tradeoff
from sact_tf.studies.tradeoff_plan import plan, recipe_of

PLAIN = default_training_config("digit_scenes", **first_detection.VANILLA)
NAMES = ["vanilla_1_1_1_1", "vanilla_1_2_1_1", "act_0.5", "sact_0.5"]


@pytest.fixture(scope="module")
def traded(tmp_path_factory, eagerly):
    """Function that runs the study in the same directory, and returns that, rows and lines."""
    directory = tmp_path_factory.mktemp("tradeoff")

    def run():
        lines = []
        with eagerly():
            rows = tradeoff.run(
                str(directory),
                ["1_1_1_1", "1_2_1_1"],
                [0.5],
                dataset="digit_scenes",
                steps=2,
                adaptive_steps=1,
                num_examples=4,
                log=lines.append,
                network={"base_channels": 4, "head_samples": 4, "crop_size": 4},
                batch_size=2,
                seed=None,  # as a flag that is not given
            )
        return directory, rows, lines

    return run


@pytest.fixture(scope="module")
def first(traded):
    return traded()


def test_plain_act_and_sact_detectors_are_compared_by_map_and_their_extractors_flops(first):
    directory, rows, lines = first
    with open(directory / "tradeoff.csv", newline="", encoding="utf-8") as file:
        written = list(csv.DictReader(file))
    assert [row["run"] for row in rows] == [row["run"] for row in written] == NAMES
    assert list(written[0])[-2:] == ["flops", "mAP"]
    assert [float(row["mAP"]) for row in written] == [row["mAP"] for row in rows]
    assert rows[0]["flops"] < rows[1]["flops"]
    assert all(row["region_proposals_flops"] > 0 and row["head_flops"] > 0 for row in rows)
    table = [line for line in lines if line.startswith("|")]
    assert table[0] == "| network | extractor FLOPs, millions | of the deepest | mAP |"
    assert f"| vanilla_1_2_1_1 | {rows[1]['flops'] / 1e6:.1f} | 100.0% | {rows[1]['mAP']:.2%} |" in table
    # Matplotlib notes what is drawn as curves.
    drawn = (directory / "tradeoff.svg").read_text(encoding="utf-8")
    assert "<!-- extractor FLOPs per image, millions -->" in drawn and "<!-- mAP, % -->" in drawn
    with Image.open(directory / "tradeoff.png") as picture:
        assert len(picture.getcolors(picture.width * picture.height)) > 10


def test_adaptive_detectors_start_from_the_deepest_plain_one_by_the_recipe_of_detection(first):
    directory = pathlib.Path(first[0])
    configs = {name: read_config(directory / name) for name in NAMES}
    for name in NAMES[:2]:
        assert (configs[name].finetune_path, configs[name].model.freeze_batch_norm) == (None, False)
        assert (configs[name].max_number_of_steps, configs[name].learning_rate) == (2, PLAIN.learning_rate)
    for name in NAMES[2:]:
        config = configs[name]
        assert (config.finetune_path, config.model.model) == (str(directory / "vanilla_1_2_1_1"), "1_2_1_1")
        assert config.model.freeze_batch_norm and config.model.tau == 0.5
        assert (config.max_number_of_steps, config.learning_rate) == (1, first_detection.SACT["learning_rate"])
    assert {config.model.base_channels for config in configs.values()} == {4}


@pytest.mark.usefixtures("without_figures")
def test_started_again_it_reads_what_it_has(first, traded):
    _, rows, lines = traded()
    assert rows == first[1]
    assert sum("Already evaluated" in line for line in lines) == 4
    assert not any(line.startswith("step ") for line in lines)


def test_by_default_plain_extractors_have_a_third_two_thirds_and_all_of_the_units():
    assert recipe_of("digit_scenes").depths[-1] == PLAIN.model.model
    assert recipe_of("voc").depths == ("1_1_2_3", "2_3_4_3", "3_4_6_3")
    assert recipe_of("coco").taus == (0.001, 0.005)
    assert recipe_of("cluttered_digits").depths == ("1", "2", "3", "5")


def planned(depths=("1_1_1_1", "3_4_6_1"), taus=(0.1,), model_types=("sact",), dataset="digit_scenes"):
    return plan("runs", dataset, depths, taus, model_types, {}, {}, {})


def test_networks_are_trained_from_the_plain_ones_to_the_larger_tau():
    names = [name for name, _ in planned(taus=(0.1, 0.25), model_types=("act", "sact"))]
    assert names == ["vanilla_1_1_1_1", "vanilla_3_4_6_1", "act_0.1", "sact_0.1", "act_0.25", "sact_0.25"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depths": ("1_1_1_1", "3_4_6_3")}, r"block 4, their head, must have as many units.*first three numbers"),
        ({"depths": ("1", "2")}, r"units of the four blocks.*model='1'"),
        ({"depths": ()}, "at least one plain depth"),
        ({"model_types": ("vanilla",)}, "takes the model types act and sact"),
        ({"taus": (0.1, 0.1)}, r"each depth, tau and kind once\. Received twice: sact_0\.1"),
        ({"depths": ("50", "3_4_6_3")}, r"one network, of 3_4_6_3 units\..* Received: vanilla_50, vanilla_3_4_6_3"),
        ({"taus": (-1.0,)}, "tau"),
        ({"dataset": "digits"}, "`dataset` must be one of"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_is_trained(changes, message):
    with pytest.raises(ValueError, match=message):
        planned(**changes)
