"""Which files of a folder are pictures of which class, and what is said of the others."""

import os
import shutil

import pytest
from PIL import Image

from sact_tf.data import class_names, convert
from sact_tf.data.convert import class_folders


def make(root, *names):
    for name in names:
        path = os.path.join(root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(b"x")


def below(root, paths):
    return [os.path.relpath(path, root) for path in paths]


def test_pictures_of_every_ending_and_depth_belong_to_the_folder_at_the_top(tmp_path):
    make(tmp_path, "b/4.tif", "b/5.JPG", "b/6.webp", "a/1.jpg", "a/3.jfif", "a/sub/more/2.bmp")
    folder = class_folders.read_folder(tmp_path)
    assert list(folder.pictures) == ["a", "b"]
    assert below(tmp_path, folder.pictures["a"]) == ["a/1.jpg", "a/3.jfif", "a/sub/more/2.bmp"]
    assert below(tmp_path, folder.pictures["b"]) == ["b/4.tif", "b/5.JPG", "b/6.webp"]
    assert str(folder) == "6 pictures of 2 classes. Left out: nothing"


def test_a_picture_without_an_ending_is_told_by_its_content(tmp_path):
    (tmp_path / "a").mkdir()
    for name in ("photo", "photo.jpg_large"):
        Image.new("RGB", (2, 3)).save(tmp_path / "a" / name, "JPEG")
    make(tmp_path, "a/notes.txt", "a/list.csv")
    folder = class_folders.read_folder(tmp_path)
    assert below(tmp_path, folder.pictures["a"]) == ["a/photo", "a/photo.jpg_large"]
    assert str(folder) == "2 pictures of 1 class. Left out: no picture 2 (a/list.csv, a/notes.txt)"


def test_pictures_of_telephones_that_cannot_be_read_are_called_what_they_are(tmp_path):
    make(tmp_path, "a/1.jpg")
    (tmp_path / "a" / "IMG_2.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(20))
    (tmp_path / "a" / "link.heic").symlink_to("nowhere.heic")
    folder = class_folders.read_folder(tmp_path)
    assert str(folder) == (
        "1 picture of 1 class. Left out: HEIC pictures, which cannot be read here (make JPEGs of them) 1 "
        "(a/IMG_2.HEIC); no picture 1 (a/link.heic)"
    )


def test_what_systems_and_programs_leave_behind_is_left_out_and_said(tmp_path):
    make(tmp_path, "a/1.jpg", "a/._1.jpg", ".ipynb_checkpoints/1-checkpoint.jpg", "__MACOSX/a/1.jpg", "a/Thumbs.db")
    make(tmp_path, "a/@eaDir/1.jpg", ".DS_Store", "a/sub/.ipynb_checkpoints/2.jpg", "desktop.ini", "lost+found/3.jpg")
    folder = class_folders.read_folder(tmp_path)
    assert below(tmp_path, folder.pictures["a"]) == ["a/1.jpg"] and list(folder.pictures) == ["a"]
    (reason,) = folder.left_out
    assert reason == class_folders.HIDDEN and len(folder.left_out[reason]) == 9
    assert str(folder).endswith("hidden or of a system 9 (.DS_Store, .ipynb_checkpoints, __MACOSX, ...)")


def test_files_beside_the_class_folders_and_classes_without_pictures_are_said(tmp_path):
    make(tmp_path, "7.jpg", "a/1.jpg", "empty/sub/readme.md")
    (tmp_path / "bare").mkdir()
    folder = class_folders.read_folder(tmp_path)
    assert list(folder.pictures) == ["a"]
    assert str(folder) == (
        "1 picture of 1 class. Left out: beside the class folders 1 (7.jpg); class folder without pictures 2 (bare, "
        "empty); no picture 1 (empty/sub/readme.md)"
    )


def test_links_are_followed_but_not_in_a_circle_and_pipes_are_no_files(tmp_path):
    make(tmp_path, "elsewhere/1.jpg", "photos/b/2.jpg")
    (tmp_path / "photos" / "a").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos" / "b" / "up").symlink_to(tmp_path / "photos")
    (tmp_path / "photos" / "b" / "lost.jpg").symlink_to(tmp_path / "nowhere.jpg")
    os.mkfifo(tmp_path / "photos" / "b" / "pipe.jpg")
    folder = class_folders.read_folder(tmp_path / "photos")
    # A link to nothing is a picture that cannot be read: it is not lost in silence.
    assert {name: len(paths) for name, paths in folder.pictures.items()} == {"a": 1, "b": 2}
    assert {reason: below(tmp_path / "photos", paths) for reason, paths in folder.left_out.items()} == {
        class_folders.ABOVE: ["b/up"],
        class_folders.NO_FILE: ["b/pipe.jpg"],
    }


def test_a_link_that_leads_to_itself_is_a_picture_that_cannot_be_read(tmp_path):
    make(tmp_path, "a/1.jpg")
    for name in ("a/round.jpg", "round"):
        (tmp_path / name).symlink_to(tmp_path / name)
    folder = class_folders.read_folder(tmp_path, tmp_path / "data")
    assert below(tmp_path, folder.pictures["a"]) == ["a/1.jpg", "a/round.jpg"]
    assert below(tmp_path, folder.left_out[class_folders.NOTHING]) == ["round"]


def test_the_folder_that_is_written_to_is_no_class(tmp_path):
    make(tmp_path, "a/1.jpg", "data/train.jpg")
    assert list(class_folders.read_folder(tmp_path, tmp_path / "data").pictures) == ["a"]


def test_a_folder_without_class_folders_says_what_it_holds(tmp_path):
    make(tmp_path, "1.jpg", "2.jpg")
    with pytest.raises(ValueError, match=r"holds no pictures in class folders.*beside the class folders 2 \(1.jpg, 2"):
        convert.list_examples(tmp_path)


def test_names_of_classes_come_back_as_they_are_each_on_one_line(tmp_path):
    names = [
        "plain",
        "two words ",
        "a\rb",
        "c\nd",
        "back\\slash",
        "\\n",
        "Äpfel 🍎",
        os.fsdecode(b"caf\xe9"),
        "e\u2028f",
        "\x85",
    ]
    content = class_names.lines(names)
    (tmp_path / "imagenet_classes.txt").write_bytes(content)
    assert class_names.read(tmp_path, "imagenet") == names
    assert content.decode().splitlines() == [class_names.escaped(name) for name in names]
    assert class_names.escaped("a\rb") == "a\\rb" and class_names.escaped("Äpfel 🍎") == "Äpfel 🍎"


def test_a_list_without_a_last_line_break_is_read_too(tmp_path):
    (tmp_path / "imagenet_classes.txt").write_text("a\nb")
    assert class_names.read(tmp_path, "imagenet") == ["a", "b"]
    # As editors on Windows save it.
    (tmp_path / "imagenet_classes.txt").write_bytes(b"\xef\xbb\xbfa\r\nb\r\n\r\n")
    assert class_names.read(tmp_path, "imagenet") == ["a", "b"]
    assert class_names.read(tmp_path, "cifar10") is None
    (tmp_path / "imagenet_classes.txt").write_bytes("ä\nb".encode("latin-1"))
    with pytest.raises(ValueError, match=r"imagenet_classes\.txt, the list of classes, is no text in UTF-8; save it"):
        class_names.read(tmp_path, "imagenet")


def test_folders_of_splits_are_no_classes(tmp_path):
    make(tmp_path, "val/cat/1.jpg", "Train/cat/1.jpg", "notes/readme.md")
    with pytest.raises(ValueError, match=r"holds folders of splits \(Train, val\).* Give --from_folder=.*/Train, and"):
        convert.list_examples(tmp_path)
    # A train among others may be one.
    make(tmp_path, "tram/1.jpg")
    assert convert.list_examples(tmp_path)[0] == ["Train", "tram", "val"]


def test_folders_of_splits_beside_a_class_are_told(folder, tmp_path):
    lines, mine = [], tmp_path / "mine"
    for name, other in (("apple", "train"), ("bear", "val"), ("cup", "cup")):
        shutil.copytree(folder / name, mine / other)
    convert.convert(mine, "tfrecord", "imagenet", tmp_path / "out", log=lines.append)
    assert lines[1].startswith(f"Note: train, val are classes, as every folder in {mine} is. If they are splits, give")
    assert f"--from_folder={mine / 'train'}, another" in lines[1]
    shutil.rmtree(mine / "val")
    lines.clear()
    convert.convert(mine, "tfrecord", "imagenet", tmp_path / "other", log=lines.append)
    assert not any("Note" in line for line in lines)


def test_fewer_pictures_than_files_that_a_format_has(tmp_path):
    make(tmp_path, "photos/a/1.jpg", "photos/b/2.jpg")
    arguments = {"output_dir": tmp_path / "out", "dataset": "cifar10", "log": lambda text: None}
    with pytest.raises(
        ValueError, match=r"2 pictures cannot fill 5 files\. Give --to=tfrecord, a single file, or more"
    ):
        convert.convert(tmp_path / "photos", "cifar_binary", **arguments)


def test_classes_that_differ_in_capital_letters_alone_are_told(folder, tmp_path):
    mine, lines = shutil.copytree(folder, tmp_path / "mine"), []
    shutil.copytree(mine / "cup", mine / "Cup")
    convert.convert(mine, "tfrecord", "imagenet", tmp_path / "out", log=lines.append)
    assert lines[1] == "Note: Cup, cup differ in capital letters alone, and each is a class of its own"


def test_a_folder_above_that_of_the_classes_is_told(folder, tmp_path):
    lines = []
    shutil.copytree(folder, tmp_path / "above" / "photos")
    convert.convert(tmp_path / "above", "tfrecord", "imagenet", tmp_path / "out", log=lines.append)
    assert lines[1] == (
        "Note: all pictures are of one class, photos, in folders of it: apple, bear, cup. If these are the classes, "
        f"give --from_folder={tmp_path / 'above' / 'photos'}, and another --output_dir."
    )
    (tmp_path / "above" / "photos" / "1.jpg").write_bytes(next(folder.rglob("*.jpg")).read_bytes())
    convert.convert(tmp_path / "above", "tfrecord", "imagenet", tmp_path / "again", log=lines.clear() or lines.append)
    assert not any(line.startswith("Note") for line in lines)


def test_classes_that_are_one_folder_by_a_link_are_told_and_so_is_a_link_to_nothing(folder, tmp_path):
    mine, lines = shutil.copytree(folder, tmp_path / "mine"), []
    (mine / "mug").symlink_to("cup")
    (mine / "pear").symlink_to("nowhere")
    (mine / "bear" / "more").symlink_to(mine / "apple")
    convert.convert(mine, "tfrecord", "imagenet", tmp_path / "out", log=lines.append)
    assert "link to nothing 1 (pear)" in lines[0]
    said = "have a folder in common, by a link, and its pictures are of each of them"
    assert lines[1:3] == [f"Note: apple, bear {said}", f"Note: cup, mug {said}"]
