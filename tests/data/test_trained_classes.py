import dataclasses
import os
import shutil
import types

import pytest

from sact_tf import detect, training
from sact_tf.config import DetectConfig, EvaluationConfig, ModelConfig, TrainingConfig
from sact_tf.data import convert, trained_classes
from sact_tf.evaluation import measuring
from sact_tf.tasks import detection, labels_of_the_run

RUN = {1: "apple", 2: "bear", 3: "cup"}


@pytest.fixture
def run(tmp_path):
    trained_classes.note(str(tmp_path), RUN)
    return str(tmp_path)


@pytest.mark.parametrize("names", [RUN, {1: "apple", 2: "bear"}, {}, {0: "background", **RUN, 4: "dog"}])
def test_the_classes_of_the_run_are_no_others(run, names):
    trained_classes.check(run, names, pytest.fail)


@pytest.mark.parametrize("names", [{1: "apple", 2: "cup", 3: "bear"}, {1: "bear", 2: "cup"}, {2: "apple"}])
def test_classes_in_another_order_are_refused(run, names):
    for checkpoint in (run, os.path.join(run, "model.ckpt-7")):
        with pytest.raises(ValueError, match=r"in another order: class . is .* there and .* here.*classes\.json"):
            trained_classes.check(checkpoint, names)


def test_other_names_may_be_other_words_and_are_told(run):
    lines = []
    trained_classes.check(run, {1: "Apfel", 2: "bear"}, lines.append)
    (line,) = lines
    assert "class 1 is 'apple' there and 'Apfel' here" in line and "bear" not in line


def test_a_run_without_the_note_is_taken_as_it_comes(run):
    trained_classes.note(run, {})
    assert os.listdir(run) == [] and trained_classes.read(run) == {}
    trained_classes.check(run, {1: "dog"}, pytest.fail)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it is empty"),
        ("{", r"it is cut short, or no JSON \(line 1\)"),
        ("[1]", "it has no names with values"),
        ('{"one": "apple"}', "it has other things than names by numbers"),
        ('{"1": ["apple"]}', "it has other things than names by numbers"),
    ],
)
def test_a_damaged_note_is_named(run, text, said):
    with open(os.path.join(run, trained_classes.CLASSES_FILE), "w", encoding="utf-8") as file:
        file.write(text)
    with pytest.raises(ValueError, match=rf"classes\.json is damaged: {said}.* Remove it"):
        trained_classes.read(run)


def test_a_start_from_other_classes_is_told_and_one_from_the_same_is_not(run):
    trained_classes.compare_start(run, {1: "apple", 5: "dog"}, pytest.fail)
    lines = []
    trained_classes.compare_start(run, {1: "bear", 2: "apple", 3: "cup"}, lines.append)
    assert lines == [
        "Note: the last layer starts from one of other classes: class 1 is 'apple' there and 'bear' here, class 2 is "
        "'bear' there and 'apple' here. If these are not other words for the same, start without it "
        "(--finetune_skip_logits)."
    ]


def test_boxes_and_exports_are_named_by_the_run_and_labels_in_another_order_refused(run, tmp_path):
    lines = []
    assert detection.known_labels(3, "coco", "/no/data", lines.append, run) == ["apple", "bear", "cup"]
    assert lines == ["Labels: the names of coco, from class 1 on: apple, bear, cup"]
    (tmp_path / "labels.txt").write_text("bear\napple\ncup\n")
    model = ModelConfig(network="imagenet", model="1_1_1_1", num_classes=3)
    config = DetectConfig(
        model=model,
        dataset="coco",
        checkpoint_dir=run,
        images_pattern="*",
        output_dir=run,
        image_size=64,
        labels=str(tmp_path / "labels.txt"),
    )
    with pytest.raises(ValueError, match="in another order"):
        detect._labels(config, lines.append)
    assert detect._labels(dataclasses.replace(config, labels=None), lines.append) == ["apple", "bear", "cup"]


@pytest.mark.parametrize(("dataset", "right"), [("coco", [*RUN.values()]), ("cifar10", ["sky", *RUN.values()])])
def test_the_first_of_a_list_is_the_first_class_of_the_task(run, dataset, right):
    config = types.SimpleNamespace(dataset=dataset, checkpoint_dir=run)
    assert labels_of_the_run(right, config) == right and labels_of_the_run(None, config) is None
    with pytest.raises(ValueError, match="in another order"):
        labels_of_the_run(["earth", *right], config)


@pytest.mark.usefixtures("without_graphs")
def test_a_run_goes_on_and_is_evaluated_on_its_own_classes_alone(cifar_directories, folder, tmp_path):
    data, run = shutil.copytree(cifar_directories["tfrecord"], tmp_path / "data"), str(tmp_path / "run")
    model = ModelConfig(network="cifar", model="1", num_classes=10, base_channels=2)
    fields = {"model": model, "dataset": "cifar10", "image_size": 32, "dataset_dir": str(data)}
    config = TrainingConfig(**fields, batch_size=2, learning_rate=0.01, max_number_of_steps=1, deterministic=False)
    training.train(config, run, log=lambda text: None)
    assert trained_classes.read(run) == {0: "apple", 1: "bear", 2: "cup"}
    evaluation = EvaluationConfig(
        **fields, checkpoint_dir=run, eval_dir=run, split_name="test", num_examples=4, batch_size=2
    )
    measuring.prepare(evaluation, run, pytest.fail)

    other = shutil.copytree(folder, tmp_path / "other")
    (other / "apple").rename(other / "zebra")
    shutil.rmtree(data)
    for split in ("train", "test"):
        convert.convert(other, "tfrecord", "cifar10", data, split, log=lambda text: None)
    with pytest.raises(ValueError, match="in another order: class 0 is 'apple' there and 'bear' here"):
        measuring.prepare(evaluation, run, None)
    with pytest.raises(ValueError, match="in another order"):
        training.train(config, run, log=lambda text: None)
    lines = []
    training.train(dataclasses.replace(config, finetune_path=run), str(tmp_path / "next"), log=lines.append)
    note = "Note: the last layer starts from one of other classes: class 0 is 'apple' there and"
    assert sum(line.startswith(note) for line in lines) == 1
    os.remove(os.path.join(run, trained_classes.CLASSES_FILE))
    measuring.prepare(evaluation, run, pytest.fail)
