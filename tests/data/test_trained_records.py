import dataclasses
import os

import pytest

from sact_tf import training
from sact_tf.config import ModelConfig, TrainingConfig, read_config
from sact_tf.data import cifar10, trained_records
from sact_tf.data.records import BadRecord
from sact_tf.data.sources import RecordSource, Source
from sact_tf.training.statistics import recalibrate


def source(num_examples=150, **others):
    """Records 0, 1, 2, ... whose bytes are their numbers, but for `others`; None is a damaged one."""
    changed = {int(name.removeprefix("record_")): content for name, content in others.items()}

    def fetch(number):
        content = changed.get(number, str(number).encode())
        if content is None:
            raise BadRecord(f"record {number}")
        return content

    return RecordSource(num_examples, fetch, None, str)


def said(run, other):
    lines = []
    trained_records.compare(run, other, lines.append, "Give the --dataset_dir.")
    return lines


@pytest.mark.parametrize(
    ("begun", "now", "changed"),
    [
        (source(), source(), None),
        (source(), source(149), "150 training records then, 149 now"),
        (source(), source(record_0=b"other", record_149=b"other"), "2 of 100 training records that were compared"),
        (source(3), source(3, record_1=b"other"), "1 of 3 training records that were compared are others"),
        # Damage is told where it is met, and a file that was made again is the one that it was.
        (source(), source(record_0=None), None),
        (source(record_0=None), source(), None),
        (Source(150, None), source(), None),
    ],
)
def test_records_that_a_run_did_not_begin_with_are_told(tmp_path, begun, now, changed):
    trained_records.note(str(tmp_path), begun)
    lines = said(str(tmp_path), now)
    assert len(lines) == bool(changed)
    for line in lines:
        assert f"not those that this run began with: {changed}" in line and "--dataset_dir" in line


@pytest.mark.parametrize("text", [None, "", "[1]", '{"records": "many"}', '{"records": 7}'])
def test_without_a_note_data_are_taken_as_they_come(tmp_path, text):
    trained_records.note(str(tmp_path), source())
    path = tmp_path / trained_records.RECORDS_FILE
    path.unlink() if text is None else path.write_text(text)
    assert said(str(tmp_path), source(3)) == []


def test_data_that_are_computed_leave_no_note_and_take_that_of_a_failed_start_away(tmp_path):
    trained_records.note(str(tmp_path), source())
    trained_records.note(str(tmp_path), Source(150, None))
    assert os.listdir(tmp_path) == []


@pytest.mark.usefixtures("without_graphs", "one_trainer")
def test_a_run_that_goes_on_with_other_records_says_so_and_one_that_is_complete_keeps_its_own(tmp_path):
    run, records = tmp_path / "run", [bytes([number % 10]) * cifar10.BINARY_RECORD for number in range(15)]
    for data in ("first", "other"):
        for number, name in enumerate(cifar10.BATCHES["train"]):
            (tmp_path / data).mkdir(exist_ok=True)
            (tmp_path / data / f"{name}.bin").write_bytes(b"".join(records[3 * number :][:3]))
    with open(tmp_path / "other" / "data_batch_5.bin", "ab") as file:
        file.write(records[0])
    config = TrainingConfig(
        model=ModelConfig(network="cifar", model="1", num_classes=10, base_channels=2),
        dataset="cifar10",
        image_size=32,
        batch_size=2,
        learning_rate=0.01,
        max_number_of_steps=2,
        deterministic=False,
    )

    def start(data):
        lines, directory = [], str(tmp_path / data)
        chosen = dataclasses.replace(config, dataset_dir=directory)
        training.train(chosen, str(run), save_interval_secs=0, log=lines.append)
        return read_config(str(run)).dataset_dir == directory, [line for line in lines if "began with" in line]

    assert start("first") == (True, [])
    assert start("other") == (False, [])
    for path in run.glob("model.ckpt-2.*"):
        path.unlink()
    noted, (line,) = start("other")
    assert noted and "15 training records then, 16 now. It goes on, but not as the run that was stopped" in line
    lines = []
    recalibrate(str(run), str(tmp_path / "new"), num_batches=1, log=lines.append)
    (line,) = (line for line in lines if "began with" in line)
    assert "15 training records then, 16 now. The statistics will be of these" in line
