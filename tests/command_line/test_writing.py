"""Sentences for disks that are full and directories that cannot be written."""

import errno

import pytest
import tensorflow as tf

from sact_tf.command_line import writing

FULL = {
    "Python": (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
    "quota": (OSError(errno.EDQUOT, "Disk quota exceeded"), "your share of the disk is used up"),
    "HDF5": (OSError("Can't write data (errno = 28, error message = 'No space left on device')"), "the disk is full"),
    "TensorFlow": (tf.errors.ResourceExhaustedError(None, None, "x; No space left on device"), "the disk is full"),
}


@pytest.mark.parametrize(("error", "reason"), FULL.values(), ids=FULL)
def test_a_full_disk_is_named_whoever_noticed_it(error, reason):
    expected = rf"^maps cannot be written: {reason}\. Make space, or give another --output_dir\.$"
    with pytest.raises(OSError, match=expected), writing.full_disk_named("maps", "output_dir"):
        raise error


@pytest.mark.parametrize(
    "error", [OSError(errno.EFBIG, "File too large"), tf.errors.OutOfRangeError(None, None, "x; File too large")]
)
def test_a_limit_of_a_files_size_is_named_and_is_no_full_disk(error):
    expected = (
        r"^maps cannot be written: files of this size are not allowed\. Raise the limit .* another --output_dir\.$"
    )
    with pytest.raises(OSError, match=expected), writing.full_disk_named("maps", "output_dir"):
        raise error
    assert writing.fullness(error) is None


@pytest.mark.parametrize("error", [OSError(errno.EACCES, "Permission denied"), OSError("nothing known"), ValueError()])
def test_other_errors_are_passed_on(error):
    with pytest.raises(type(error)) as raised, writing.full_disk_named("maps", "output_dir"):
        raise error
    assert raised.value is error


def test_a_directory_is_made_and_left_empty(tmp_path):
    for _ in range(2):
        writing.make_directory(tmp_path / "deep" / "maps", "output_dir")
        assert list((tmp_path / "deep" / "maps").iterdir()) == []


def test_what_is_no_directory_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"file cannot be written: File exists\. Give another --run_dir\.$"):
        writing.make_directory(tmp_path / "file", "run_dir")
    with pytest.raises(OSError, match=r"below cannot be written: Not a directory\. Give"):
        writing.make_directory(tmp_path / "file" / "below", "run_dir")
    (tmp_path / "link").symlink_to("gone")
    with pytest.raises(OSError, match=r"link is a link to gone, which does not exist\. Give another --run_dir\.$"):
        writing.make_directory(tmp_path / "link", "run_dir")
