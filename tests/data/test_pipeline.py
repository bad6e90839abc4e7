"""Batches are a function of (seed, step)."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from sact_tf.data import cluttered_digits, convert, pipeline, sources
from sact_tf.data.detection import Categories

OTHER_FORMS = [form for form in convert.FORMATS["cifar10"] if form != "cifar_binary"]


def counting_source(num_examples):
    """A source whose examples are their own index."""
    return pipeline.Source(num_examples, lambda indices: {"label": indices})


def network_of(num_classes, dataset, dataset_dir=None):
    """As much of a configuration as says what a network can tell apart."""
    return SimpleNamespace(dataset=dataset, dataset_dir=dataset_dir, model=SimpleNamespace(num_classes=num_classes))


def labels(batches, count):
    return [batch["label"].numpy().tolist() for batch in itertools.islice(batches, count)]


def test_a_split_of_more_images_than_are_taken_unasked_is_not_cut_in_silence(cifar_directories, monkeypatch):
    monkeypatch.setattr(pipeline, "check_dataset", lambda dataset: {"num_examples": 2})
    lines, directory = [], cifar_directories["tfrecord"]
    there = pipeline.open_source("cifar10", "test", 32, None, directory, lines.append).num_examples
    assert there > 2 and not [line for line in lines if line.startswith("Note")]
    assert pipeline.open_source("cifar10", "test", 32, 2, directory, lines.append).num_examples == 2
    assert lines[-1] == f"Note: the first 2 of the {there} images of test; --num_examples={there} takes all"
    assert pipeline.open_source("cifar10", "test", 32, 1, directory, lines.append).num_examples == 1
    assert pipeline.open_source("cifar10", "test", 32, there, directory, lines.append).num_examples == there
    assert len([line for line in lines if line.startswith("Note")]) == 1


def test_every_epoch_has_every_example_once_in_another_order():
    rows = labels(pipeline.training_batches(counting_source(7), 7, seed=3, first_step=0), 3)
    assert [sorted(row) for row in rows] == [list(range(7))] * 3
    assert rows[0] != rows[1] != rows[2]


def test_reading_from_a_later_step_gives_what_reading_from_the_start_would_have_given():
    source = counting_source(10)
    from_start = labels(pipeline.training_batches(source, 4, seed=5, first_step=0), 9)
    assert labels(pipeline.training_batches(source, 4, seed=5, first_step=6), 3) == from_start[6:]


def test_the_order_is_that_of_index_shuffle_with_seed_and_epoch():
    # A batch that spans three epochs; runs of earlier versions go on in the order that they began with.
    (row,) = labels(pipeline.training_batches(counting_source(7), 20, seed=3, first_step=1), 1)
    expected = [
        int(tf.random.experimental.index_shuffle(tf.constant(place % 7, tf.int64), [3, place // 7], 6))
        for place in range(20, 40)
    ]
    assert row == expected


def test_another_seed_gives_another_order():
    first, second = (labels(pipeline.training_batches(counting_source(50), 50, seed, 0), 1) for seed in (0, 1))
    assert first != second


def test_no_thread_tunes_the_reading_which_whoever_ends_it_would_wait_for():
    source = counting_source(7)
    for batches in pipeline.training_batches(source, 7, seed=3, first_step=0), pipeline.evaluation_batches(source, 3):
        assert batches.options().autotune.enabled is False


def test_evaluation_reads_every_example_once_and_the_last_batch_may_be_short():
    assert labels(pipeline.evaluation_batches(counting_source(5), 2), 9) == [[0, 1], [2, 3], [4]]


def test_cluttered_digits_come_scaled_with_label_and_box():
    source = pipeline.open_source("cluttered_digits", "test", image_size=48, num_examples=3)
    (batch,) = list(pipeline.evaluation_batches(source, 4))
    expected = cluttered_digits.load("test", 3, image_size=48)
    assert batch["image"].shape == (3, 48, 48, 3) and batch["image"].dtype == tf.float32
    np.testing.assert_allclose(batch["image"], expected["image"] / 127.5 - 1, atol=1e-6)
    np.testing.assert_array_equal(batch["label"], expected["label"])
    np.testing.assert_array_equal(batch["box"], expected["box"])


def test_an_image_size_that_the_data_set_cannot_make_is_refused_before_training():
    with pytest.raises(ValueError, match="image_size"):
        pipeline.open_source("cluttered_digits", "train", image_size=8)


def test_a_data_set_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="`dataset` must be one of"):
        pipeline.open_source("mnist", "train", image_size=64)


def test_workers_read_disjoint_parts_that_make_up_the_batch_of_one():
    source = counting_source(17)
    whole = labels(pipeline.training_batches(source, 6, seed=2, first_step=1), 5)
    parts = [
        labels(pipeline.training_batches(source, 6, seed=2, first_step=1, worker=worker, num_workers=3), 5)
        for worker in range(3)
    ]
    assert [[label for part in step for label in part] for step in zip(*parts, strict=True)] == whole
    assert {len(part) for step in parts for part in step} == {2}


def test_a_batch_that_does_not_divide_among_the_workers_is_refused():
    with pytest.raises(ValueError, match=r"multiple of the number of workers, 4\. Received: 6"):
        pipeline.training_batches(counting_source(9), 6, 0, 0, num_workers=4)


def noisy_source(num_examples):
    """A source that is read as one on disk is; its images say which example they are and which seed they have."""

    def decode(record, seed):
        place = tf.random.stateless_uniform((2, 2, 3), seed)
        return {"image": place, "label": tf.strings.to_number(record, tf.int64)}

    return sources.RecordSource(num_examples, lambda index: str(index).encode(), decode, str)


def test_random_changes_are_a_function_of_seed_and_step():
    source = noisy_source(7)
    from_start = list(pipeline.training_batches(source, 4, 9, 0).take(8))
    assert len({image.numpy().tobytes() for batch in from_start for image in batch["image"]}) == 32
    resumed = list(pipeline.training_batches(source, 4, 9, 5).take(3))
    for expected, actual in zip(from_start[5:], resumed, strict=True):
        np.testing.assert_array_equal(actual["label"], expected["label"])
        np.testing.assert_array_equal(actual["image"], expected["image"])
    other = next(iter(pipeline.training_batches(source, 4, 10, 0)))
    assert not np.isin(other["image"], from_start[0]["image"]).any()
    halves = [list(pipeline.training_batches(source, 4, 9, 0, worker, 2).take(8)) for worker in range(2)]
    for whole, *parts in zip(from_start, *halves, strict=True):
        np.testing.assert_array_equal(np.concatenate([part["image"] for part in parts]), whole["image"])


# CIFAR-10 in any form becomes the same records, see tests/data/test_cifar10.py, so the other forms are long proofs.
@pytest.mark.parametrize(
    "form", ["imagenet", "cifar_binary", *(pytest.param(form, marks=pytest.mark.slow) for form in OTHER_FORMS)]
)
def test_examples_on_disk_are_changed_by_seed_and_position_alone(imagenet_directory, cifar_directories, form):
    if form == "imagenet":
        source = pipeline.open_source("imagenet", "train", 32, dataset_dir=imagenet_directory)
    else:
        source = pipeline.open_source("cifar10", "train", 32, dataset_dir=cifar_directories[form])
    # The positions 20 to 23 of the run, in the second epoch.
    (indices,) = labels(pipeline.training_batches(counting_source(source.num_examples), 4, 9, 5), 1)
    batch = next(iter(pipeline.training_batches(source, 4, 9, 5)))
    # As the pipeline does: many small steps one by one take longer than a graph.
    decode = tf.function(source.decode)
    for number, index in enumerate(indices):
        record = tf.constant(source.fetch(index))
        expected, other = (decode(record, tf.constant([9, place], tf.int64)) for place in (20 + number, 24 + number))
        assert batch["label"][number] == expected["label"] == other["label"]
        np.testing.assert_allclose(batch["image"][number], expected["image"], rtol=0, atol=1e-5)
        assert np.abs(batch["image"][number] - other["image"]).max() > 0.1


def test_evaluation_reads_what_lies_on_disk_in_its_order(imagenet_directory):
    source = pipeline.open_source("imagenet", "validation", 32, dataset_dir=imagenet_directory)
    batches = list(pipeline.evaluation_batches(source, 4))
    expected = source.read(range(15))
    assert [len(batch["label"]) for batch in batches] == [4, 4, 4, 3]
    np.testing.assert_array_equal(np.concatenate([batch["label"] for batch in batches]), expected["label"])
    np.testing.assert_allclose(np.concatenate([batch["image"] for batch in batches]), expected["image"], atol=1e-6)


def test_a_directory_for_a_data_set_that_needs_none_is_refused():
    with pytest.raises(ValueError, match="`dataset_dir` means nothing for cluttered_digits"):
        pipeline.open_source("cluttered_digits", "train", 64, dataset_dir="data")


def test_fewer_classes_than_the_network_has_are_said_where_somebody_listens():
    lines, source = [], sources.RecordSource(1, None, None, None, 1, Categories((1, 2), ("cat", "dog")))
    for num_classes in (2, 3):
        pipeline.check_classes(source, network_of(num_classes, "coco"), lines.append)
    pipeline.check_classes(source, network_of(3, "coco"))
    (line,) = lines
    assert line.startswith("Note: the data have 2 classes, the network 3. Class 1 is taken for 'cat' and so on: ")


@pytest.mark.parametrize("dataset, needed, said", [("imagenet", 4, " and a background"), ("cifar10", 3, "")])
def test_a_network_of_fewer_classes_than_are_noted_beside_the_data_is_refused_before_a_step(
    tmp_path, dataset, needed, said
):
    (tmp_path / f"{dataset}_classes.txt").write_text("cat\ndog\nhen\n")
    message = f"The data have 3 classes{said}: cat, dog, hen. The network has {needed - 1}. .*--num_classes={needed},"
    with pytest.raises(ValueError, match=message):
        pipeline.check_classes(counting_source(1), network_of(needed - 1, dataset, str(tmp_path)))
    for enough in (needed, 1001):
        pipeline.check_classes(counting_source(1), network_of(enough, dataset, str(tmp_path)), log=pytest.fail)
