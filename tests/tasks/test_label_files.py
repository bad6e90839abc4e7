"""Names of classes from a file: with and without ImageNet's background, as `convert` wrote it, and none that fits."""

import pytest

from sact_tf.tasks import detection
from sact_tf.tasks.label_files import read_labels


@pytest.fixture
def read(tmp_path):
    """Function from the content of a file, number of classes and data set to the labels and what was said of them."""

    def read(content, num_classes, dataset="imagenet", name="labels.txt"):
        (tmp_path / name).write_bytes(content)
        lines = []
        return read_labels(str(tmp_path / name), num_classes, dataset, lines.append), *lines

    return read


def test_a_line_for_each_class_is_taken_as_it_is(read):
    names, said = ["nothing", "cat", "dog"], "Labels: 3 lines, the first of them class 0"
    assert read(b"nothing\ncat\ndog", 3, "cifar10") == (names, said)
    # A list without background, of a network with a class more, is known by this.
    assert read(b"nothing\ncat\ndog\n", 3) == (names, f"{said}; class 0 is called nothing")


def test_the_background_of_imagenet_may_be_left_out(read):
    labels, said = read(b"cat\ndog", 3)
    assert labels == ["background", "cat", "dog"]
    assert said == "Labels: 2 lines, the first of them class 1; class 0 is called background"
    with pytest.raises(ValueError, match=r"one line a class, 3 in all, from class 0 on\. Received: 2 lines in"):
        read(b"cat\ndog", 3, "cifar10")


def test_the_list_of_a_conversion_may_have_fewer_classes_than_the_network(read):
    labels, said = read(b"cat\ndog\n", 5, name="imagenet_classes.txt")
    assert labels == ["background", "cat", "dog", "class 3", "class 4"]
    assert said.endswith("; without a name at the end: 2 classes")
    assert read(b"cat\n", 2, "cifar10", "cifar10_classes.txt")[0] == ["cat", "class 1"]
    with pytest.raises(ValueError, match=r"5 in all, from class 0 on, or 4, without the background.* 2 lines in"):
        read(b"cat\ndog\n", 5)
    accepted = r"at most 4 as sact_tf\.data\.convert lists them, without the background, class 0\. Received: "
    # The list of five classes would begin with class 0, and every name would be that of the class before.
    for content, received in ((b"a\nb\nc\nd\ne\n", "5 lines in"), (b"a\nb\nc\nd\ne\nf\n", "6 lines in")):
        with pytest.raises(ValueError, match=accepted + received):
            read(content, 5, name="imagenet_classes.txt")


@pytest.mark.parametrize("background", ["background", "__background__"])
def test_a_detectors_labels_with_a_background_are_refused_whatever_their_number(tmp_path, background):
    path = tmp_path / "labels.txt"
    path.write_text(f"{background}\ncat\ndog\n")
    for num_classes in (2, 3):
        with pytest.raises(ValueError, match=r"without the background.*3 lines, the first of them the background, in"):
            detection.read_labels(str(path), num_classes, "coco")


def test_only_line_breaks_end_a_line_however_the_system_writes_them(read):
    labels = ["cat\u2028\x0b", "caf\u00e9"]
    assert read("cat\u2028\x0b\r\ncaf\u00e9\r\n".encode("utf-8-sig"), 2, "cifar10")[0] == labels


def test_no_file_is_no_labels_and_an_empty_one_is_refused(read):
    assert read_labels(None, 3, "imagenet") is None
    with pytest.raises(ValueError, match="Received: 0 lines"):
        read(b"", 3)


def test_a_class_without_a_name_is_refused(read, tmp_path):
    with pytest.raises(ValueError, match=r"a name for each class\. Received: nothing in line 2, 4 of .*labels\.txt"):
        read(b"cat\n\ndog\n\n", 4)
    with pytest.raises(ValueError, match="nothing in line 2, 4"):
        detection.read_labels(str(tmp_path / "labels.txt"), 4, "coco")


@pytest.mark.parametrize(("path", "error"), [("", FileNotFoundError), (".", IsADirectoryError)])
def test_what_is_no_file_is_told_in_a_sentence(path, error):
    with pytest.raises(error, match=r"The labels ('')?\.? cannot be read: .*Give --labels a text file"):
        read_labels(path, 3, "imagenet")
