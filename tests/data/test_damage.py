"""Damaged examples: named, skipped where that is allowed, and never read as something else."""

import itertools
import os
import pathlib
import re
import time

import numpy as np
import pytest
import tensorflow as tf

from sact_tf.data import cifar10, damage, imagenet, pipeline, records

# Half as many are enough to meet each kind of damage many times over.
COUNTS = pytest.mark.parametrize("count", [300, pytest.param(600, marks=pytest.mark.slow)])


def example(encoded, label, **more):
    values = {"image/encoded": encoded, "image/class/label": label, **more}
    features = {}
    for name, value in values.items():
        if isinstance(value, bytes):
            features[name] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        elif isinstance(value, int):
            features[name] = tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


@pytest.fixture(scope="module")
def jpeg(folder):
    return (folder / "apple" / "00.jpg").read_bytes()


@pytest.fixture
def write(tmp_path):
    """Function that writes records as the only training shard and opens it."""

    def write(contents, damage=lambda data: data):
        data = damage(b"".join(records.frame(content) for content in contents))
        (tmp_path / "train-00000-of-00001").write_bytes(data)
        return imagenet.open_split(str(tmp_path), "train", 32)

    return write


def flip_last_byte(data):
    return data[:-1] + bytes([data[-1] ^ 1])


DAMAGE = {
    "truncated JPEG": (lambda jpeg: example(jpeg[: len(jpeg) // 2], 5), "JPEG"),
    "text instead of an image": (lambda jpeg: example(b"<html>not found</html>", 5), "image"),
    "no bytes at all": (lambda jpeg: example(b"", 5), "Input is empty"),
    "label too high": (lambda jpeg: example(jpeg, 1001), r"not one of 0 to 1000.*1001"),
    "label too low": (lambda jpeg: example(jpeg, -1), "not one of 0 to 1000"),
    "missing label": (lambda jpeg: example(jpeg, None), "image/class/label.*required but could not be found"),
    "no example": (lambda jpeg: b"\xff" * 40, "no example"),
}


def in_bytes(source):
    """A source whose images are the bytes of its records, few operations to trace; a record without any is damaged."""

    def decode(record, seed):
        values = tf.cast(tf.io.decode_raw(record, tf.uint8), tf.int64)
        noise = 0.0 if seed is None else tf.random.stateless_uniform((2, 2, 3), seed)
        return {"image": noise + tf.cast(values[0], tf.float32) * tf.ones((2, 2, 3)), "label": values[0]}

    return source._replace(decode=decode)


def test_data_that_are_taken_away_meanwhile_end_in_a_sentence(write, jpeg, tmp_path):
    source = in_bytes(write([example(jpeg, 5)] * 3))
    os.rename(tmp_path / "train-00000-of-00001", tmp_path / "elsewhere")
    expected = r"^The data cannot be read any more: No such file .*'.*train-00000-of-00001'\. Bring them back"
    with pytest.raises(OSError, match=expected), pipeline.plain_errors():
        next(iter(pipeline.evaluation_batches(source, 2)))


def message_of(iterator):
    with pytest.raises(records.BadRecord) as error, pipeline.plain_errors():
        next(iterator)
    return str(error.value)


# That evaluation decodes as training does, and finds each kind, is shown below, where it leaves them out.
@pytest.mark.parametrize("training", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_damaged_example_stops_reading_with_its_file_and_number(write, jpeg, training):
    source = write([make(jpeg) for make, _ in DAMAGE.values()])
    # A pipeline takes seconds to make. One gives all the errors: asked again, it goes on to the next batch.
    batches = pipeline.training_batches(source, 1, 1, 0) if training else pipeline.evaluation_batches(source, 1)
    iterator = iter(batches)
    # The shortest is of what was met first, by whichever thread; the others name what was read meanwhile as well.
    first, *others = sorted((message_of(iterator) for _ in DAMAGE), key=len)
    number, reasons = int(re.search(r"record (\d)", first)[1]), [reason for _, reason in DAMAGE.values()]
    assert re.search(f"train-00000-of-00001, record {number}: .*{reasons[number]}.*--skip_bad_records", first)
    assert all(message.startswith(first) for message in others)
    named = {int(re.search(r"record (\d) is damaged as well", message)[1]) for message in others}
    assert named == {*range(len(DAMAGE))} - {number}
    for number, reason in enumerate(reasons):
        assert re.search(f"record {number}: .*{reason}", damage.explain_damage(source, number))


@pytest.mark.parametrize("training", [False, True])
def test_a_damaged_example_among_whole_ones_stops_reading(write, training):
    source = in_bytes(write([b"one", b"two", b"", b"four"]))
    batches = pipeline.training_batches(source, 4, 1, 0) if training else pipeline.evaluation_batches(source, 4)
    assert re.search("train-00000-of-00001, record 2.*--skip_bad_records", message_of(iter(batches)))


def test_evaluation_leaves_a_damaged_example_out_and_logs_it(write, jpeg):
    # A damaged one of each kind after two whole ones, and one with a wrong checksum at the end.
    contents = [[example(jpeg, 1), example(jpeg, 2), make(jpeg)] for make, _ in DAMAGE.values()]
    source = write([*itertools.chain(*contents), example(jpeg, 3), example(jpeg, 4)], flip_last_byte)
    count, lines = len(DAMAGE) + 1, []
    batches = pipeline.evaluation_batches(source, 3, skip_bad_records=count, log=lines.append)
    assert [batch["label"].numpy().tolist() for batch in batches] == [*[[1, 2]] * len(DAMAGE), [3]]
    starts = [f"Skipped a damaged record, {rank} of at most {count}: " for rank in range(1, count + 1)]
    assert all(line.startswith(start) for line, start in zip(sorted(lines), starts, strict=True))
    numbers = [int(re.search(r"record (\d+)", line)[1]) for line in lines]
    assert sorted(numbers) == [*range(2, 3 * len(DAMAGE), 3), 3 * len(DAMAGE) + 1]


def test_training_puts_the_same_whole_example_in_place_of_a_damaged_one_each_time(write):
    contents, lines = [bytes([label]) for label in range(1, 6)], []
    contents[2] = b""
    source = in_bytes(write(contents))

    def read(first_step, count):
        batches = pipeline.training_batches(source, 5, 4, first_step, skip_bad_records=1, log=lines.append)
        return [(batch["label"].numpy().tolist(), batch["image"].numpy()) for batch in itertools.islice(batches, count)]

    first, again = read(0, 6), read(3, 3)
    # Skipped once in a run, however often it comes round.
    assert len(lines) == 2
    assert all(sorted({*labels, 3}) == [1, 2, 3, 4, 5] and 3 not in labels for labels, _ in first)
    for (labels, images), (other_labels, other_images) in zip(first[3:], again, strict=True):
        assert labels == other_labels
        np.testing.assert_array_equal(images, other_images)


def test_a_run_that_is_started_again_counts_its_skipped_records_on(write, tmp_path):
    contents = [bytes([label]) for label in range(1, 6)]
    contents[2], lines, path = b"", [], str(tmp_path / "skipped.txt")

    def read():
        batches = pipeline.training_batches(
            in_bytes(write(contents)), 5, 4, 0, skip_bad_records=1, log=lines.append, skipped_path=path
        )
        return next(iter(batches))

    read()
    read()
    assert len(lines) == 1
    assert pathlib.Path(path).read_text().startswith("2 ") and "record 2" in pathlib.Path(path).read_text()
    # Another one goes wrong while the run is stopped: it is the second of the run.
    contents[4] = b""
    with pytest.raises(records.BadRecord, match="--skip_bad_records, now 1"), pipeline.plain_errors():
        read()


def test_records_that_a_run_left_out_and_that_the_data_have_no_more_count_no_more(write, tmp_path):
    source, path = in_bytes(write([b"", *map(bytes, ([1], [2], [3]))])), tmp_path / "skipped.txt"
    path.write_text("7 of larger data\n\n4 too\n")
    next(iter(pipeline.training_batches(source, 4, 4, 0, skip_bad_records=1, skipped_path=str(path))))
    assert [line.split(" ")[0] for line in path.read_text().splitlines()] == ["0"]


@pytest.mark.parametrize("content", [b"record 3\n", b"-1 x\n", b"\xff\xfe3\n", b"\0\0\0"])
def test_a_damaged_list_of_what_a_run_left_out_is_named(write, tmp_path, content):
    path = tmp_path / "skipped.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"skipped\.txt is damaged: a line begins with .* Remove it: then"):
        pipeline.training_batches(in_bytes(write([b"x"])), 1, 4, 0, skip_bad_records=1, skipped_path=str(path))


def test_more_damage_than_is_allowed_stops_reading(write):
    source, lines = in_bytes(write([b"one", b"", b"", b"", b"five"])), []
    with pytest.raises(records.BadRecord, match="--skip_bad_records, now 2"), pipeline.plain_errors():
        list(pipeline.evaluation_batches(source, 2, skip_bad_records=2, log=lines.append))
    assert len(lines) == 2


def test_a_split_with_nothing_whole_in_it_stops_training(write):
    # Both places of the batch are the one record, whichever thread meets it first.
    iterator = iter(pipeline.training_batches(in_bytes(write([b""])), 2, 1, 0, skip_bad_records=9))
    for _ in range(2):
        message = message_of(iterator)
        assert re.search(r"record 0 is damaged, and so are 20 others .* Make the file again\.$", message)


@pytest.mark.parametrize("allowed", [6, 2])
def test_damaged_records_are_explained_one_at_a_time_and_no_more_of_them_once_reading_has_ended(write, allowed):
    # TensorFlow may have two threads wait for each other for ever that both make an exception of Python.
    source, at_once, most, explained = in_bytes(write([b"", b"one"] * 6)), [], [], []

    def decode(record, seed):
        if not tf.executing_eagerly():
            return source.decode(record, seed)
        at_once.append(record)
        most.append(len(at_once))
        explained.append(record)
        time.sleep(0.02)
        try:
            return source.decode(record, seed)
        finally:
            at_once.pop()

    batches = pipeline.evaluation_batches(source._replace(decode=decode), 2, skip_bad_records=allowed)
    if allowed == 6:
        assert sum(len(batch["label"]) for batch in batches) == 6
    else:
        for _ in range(2):
            with pytest.raises(records.BadRecord, match="--skip_bad_records, now 2"), pipeline.plain_errors():
                list(batches)
            # Others that are read meanwhile end as well, unexplained.
            assert len(explained) == 3
    assert max(most) == 1


def test_an_error_that_is_not_damage_stays_what_it_is():
    with pytest.raises(tf.errors.NotFoundError), pipeline.plain_errors():
        raise tf.errors.NotFoundError(None, None, "elsewhere")


def damaged(content, generator):
    """Bytes with a few bits flipped, with an end cut off, with garbage in the middle, or nothing but garbage."""
    data = np.frombuffer(content, np.uint8).copy()
    kind = generator.integers(4)
    if kind == 0:
        places = generator.integers(len(data), size=generator.integers(1, 9))
        data[places] ^= (1 << generator.integers(8, size=len(places))).astype(np.uint8)
    elif kind == 1:
        data = data[: generator.integers(len(data))]
    elif kind == 2:
        start = generator.integers(len(data))
        data[start : start + 64] = generator.integers(256, size=len(data[start : start + 64]))
    else:
        data = generator.integers(256, size=generator.integers(200), dtype=np.uint8)
    return data.tobytes()


def outcomes(source):
    """Reads every example, by number, as training and evaluation do."""
    for index in range(source.num_examples):
        reason = damage.explain_damage(source, index)
        yield index, reason, None if reason else int(source.read([index])["label"][0])


@COUNTS
def test_damaged_files_give_an_error_or_the_label_that_was_written(imagenet_directory, tmp_path, count):
    generator = np.random.default_rng(20)
    path = tmp_path / "train-00000-of-00001"
    with open(os.path.join(imagenet_directory, "train-00000-of-00003"), "rb") as file:
        content = file.read()
    path.write_bytes(content)
    source = imagenet.open_split(str(tmp_path), "train", 32)
    expected = source.read(range(source.num_examples))["label"].numpy().tolist()
    errors = 0
    for number in range(count // 2):
        path.write_bytes(damaged(content, generator))
        try:
            source = imagenet.open_split(str(tmp_path), "train", 32)
        except records.BadRecord as error:
            assert str(path) in str(error)
            errors += 1
            continue
        # A cut between two records leaves a whole, shorter file.
        assert source.num_examples <= len(expected)
        results = list(outcomes(source)) if number % 5 == 0 else []
        for index, reason, label in results:
            assert label == expected[index] if reason is None else f"{path}, record {index}" in reason
    assert errors > count // 6


@COUNTS
def test_damaged_examples_with_right_checksums_give_an_error_or_a_label_that_exists(write, jpeg, count):
    generator, whole = np.random.default_rng(21), example(jpeg, 77)
    contents = [damaged(whole, generator) for _ in range(count // 2)]
    # Damage to the image alone leaves the label.
    contents += [example(damaged(jpeg, generator), 77) for _ in range(count // 2)]
    source = write(contents)
    results = list(outcomes(source))
    assert all(0 <= label <= 1000 for _, reason, label in results if reason is None)
    assert {label for index, _, label in results[count // 2 :]} <= {77, None}
    assert sum(reason is not None for _, reason, _ in results) > count // 4


@pytest.mark.parametrize("count", [50, pytest.param(200, marks=pytest.mark.slow)])
def test_a_pipeline_over_nothing_but_damaged_files_goes_through(write, jpeg, count):
    generator = np.random.default_rng(22)
    contents = [example(damaged(jpeg, generator), label) for label in range(1, count + 1)]
    source = write([*contents, *(example(jpeg, 500) for _ in range(count))])
    read = [
        label
        for batch in pipeline.evaluation_batches(source, 32, skip_bad_records=count)
        for label in batch["label"].numpy().tolist()
    ]
    whole = [index + 1 for index in range(count) if damage.explain_damage(source, index) is None]
    assert read == [*whole, *[500] * count]


@pytest.mark.parametrize("times", [25, pytest.param(100, marks=pytest.mark.slow)])
@pytest.mark.parametrize("form, name", [("cifar_binary", "test_batch.bin"), ("cifar_python", "test_batch")])
def test_damaged_cifar_files_never_crash(cifar_directories, tmp_path, form, name, times):
    generator = np.random.default_rng(23)
    (path,) = pathlib.Path(cifar_directories[form]).glob(f"*/{name}")
    content = path.read_bytes()
    for _ in range(times):
        (tmp_path / name).write_bytes(damaged(content, generator))
        try:
            source = cifar10.open_split(str(tmp_path), "test")
        except (records.BadRecord, FileNotFoundError) as error:
            assert name in str(error)
            continue
        for _, reason, label in outcomes(source):
            assert name in reason if reason else 0 <= label <= 9


def test_damage_costs_no_batch_its_place_or_its_size(write):
    contents = [bytes([label]) for label in range(1, 13)]
    clean = [batch["label"].numpy() for batch in pipeline.training_batches(in_bytes(write(contents)), 5, 4, 0).take(7)]
    contents[6] = b""
    source = in_bytes(write(contents))
    batches = list(pipeline.training_batches(source, 5, 4, 0, skip_bad_records=1).take(7))
    assert batches[0]["image"].shape == (5, 2, 2, 3)
    for batch, expected in zip(batches, clean, strict=True):
        assert [label for label in expected if label != 7] == [
            label for label, old in zip(batch["label"].numpy(), expected, strict=True) if old != 7
        ]
