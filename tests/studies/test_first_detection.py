"""The two steps of detection, with networks and trainings as small as they come."""

import csv

import pytest
from PIL import Image

from sact_tf.config import read_config
from sact_tf.studies import first_detection

SMALL = {"model": "1_1_1_1", "base_channels": 4, "head_samples": 4, "crop_size": 4}
STEP = {"max_number_of_steps": 1, "batch_size": 2}


def test_a_plain_detector_then_a_sact_one_from_it_a_table_and_a_picture(eagerly, monkeypatch, tmp_path):
    monkeypatch.setattr(first_detection, "NUM_PICTURES", 2)
    lines, started = [], str(tmp_path / "vanilla")
    with eagerly():
        rows = first_detection.run(str(tmp_path), STEP, STEP, [0.5], num_examples=4, log=lines.append, **SMALL)
    assert [(row["network"], row["tau"], row["steps"]) for row in rows] == [("vanilla", "", 1), ("sact_0.5", 0.5, 1)]
    plain, sact = read_config(started), read_config(tmp_path / "sact_0.5")
    assert (plain.model.freeze_batch_norm, sact.model.freeze_batch_norm) == (False, True)
    assert (plain.finetune_path, sact.finetune_path) == (None, started)
    assert rows[0]["flops"] > 0 and rows[0]["inside"] == "" and rows[1]["inside"] > 0
    with open(tmp_path / "first_detection.csv", newline="", encoding="utf-8") as file:
        assert [float(row["mAP"]) for row in csv.DictReader(file)] == [row["mAP"] for row in rows]
    with Image.open(tmp_path / "detections.png") as picture:
        assert min(picture.size) > 300 and len(picture.getcolors(picture.width * picture.height)) > 100
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 4 and len({line.count("|") for line in table}) == 1


@pytest.mark.parametrize("taus", [[], [0.1, 0.10000001]])
def test_taus_that_make_no_networks_are_refused_before_anything_is_trained(taus, tmp_path):
    with pytest.raises(ValueError, match=r"`taus` must name weights of the ponder cost.* Received: taus=\["):
        first_detection.run(str(tmp_path / "study"), STEP, STEP, taus, log=pytest.fail, **SMALL)
    assert not (tmp_path / "study").exists()
