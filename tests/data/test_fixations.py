"""Pictures and where people looked: real files of each form, whole and damaged."""

import csv
import json

import numpy as np
import pytest
from PIL import Image
from scipy import io

from sact_tf.data.fixations import read_fixations
from sact_tf.data.photographs import read_photograph

SIZE = (20, 30)


def picture(path, size=SIZE, exif=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size[::-1], (90, 120, 150)).save(path, **({"exif": exif} if exif else {}))


def turned(number=6):
    exif = Image.Exif()
    exif[0x0112] = number
    return exif


def write_points(folder, rows, columns=("image", "x", "y", "observer")):
    with open(folder / "fixations.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])


@pytest.fixture
def points(tmp_path):
    """A folder of two pictures, of which `b` has two observers."""
    picture(tmp_path / "images" / "a.png")
    picture(tmp_path / "images" / "below" / "b$1$.png", (40, 10))
    write_points(tmp_path, [("a.png", 29.9, 19.9, "x"), ("below/b$1$.png", 9, 39, "x"), ("below/b$1$.png", 0, 0, "y")])
    return tmp_path


@pytest.fixture
def cat2000(tmp_path):
    """Two categories, one of which has the folder `Output`, and a picture that claims to have been turned."""
    for name in ("Action/001", "Action/002", "Pattern/134"):
        exif = turned() if name == "Pattern/134" else None
        picture(tmp_path / "trainSet" / "Stimuli" / f"{name}.jpg", exif=exif)
        fixated = np.zeros(SIZE, np.uint8)
        fixated[3, 7] = fixated[19, 29] = 1
        locations = tmp_path / "trainSet" / "FIXATIONLOCS" / f"{name}.mat"
        locations.parent.mkdir(parents=True, exist_ok=True)
        io.savemat(locations, {"fixLocs": fixated})
    picture(tmp_path / "trainSet" / "Stimuli" / "Action" / "Output" / "001_SaliencyMap.jpg")
    # What a Mac leaves beside what it copies.
    (tmp_path / "trainSet" / "Stimuli" / "Action" / "._001.jpg").touch()
    return tmp_path


@pytest.fixture
def osie(tmp_path):
    """Pictures and both forms of the same fixations."""
    for name in ("1001.jpg", "1002.jpg"):
        picture(tmp_path / "stimuli" / name)
    (tmp_path / "stimuli" / "._1001.jpg").touch()
    subjects = [[(3.5, 4.0), (30.0, 20.0)], [(1.0, 1.0)], []]
    entries = np.zeros((2, 1), object)
    for row, name in enumerate(("1001.jpg", "1002.jpg")):
        cell = np.zeros((len(subjects), 1), object)
        for place, fixations in enumerate(subjects):
            values = np.array(fixations).reshape(-1, 2)
            cell[place, 0] = {"fix_x": values[:, 0], "fix_y": values[:, 1], "fix_duration": np.ones(len(values))}
        entries[row, 0] = {"img": name, "subjects": cell}
    (tmp_path / "eye").mkdir()
    io.savemat(tmp_path / "eye" / "fixations.mat", {"fixations": entries})
    as_json = [[[x - 1, y - 1, 1.0] for x, y in fixations] for fixations in subjects]
    (tmp_path / "fixations.json").write_text(json.dumps({"1001.jpg": as_json, "1002.jpg": as_json}))
    return tmp_path


def test_points_of_a_table_belong_to_pictures_and_observers(points):
    found = read_fixations("folder", str(points))
    first, second = found.images
    assert [each.name for each in found.images] == ["a.png", "below/b$1$.png"]
    assert [each.group for each in found.images] == ["", "below"]
    assert (first.height, first.width) == SIZE and (second.height, second.width) == (40, 10)
    assert first.points.tolist() == [[29.9, 19.9]]
    assert [observer.tolist() for observer in second.observers] == [[[9, 39]], [[0, 0]]]
    assert found.observers_known and (found.outside, found.total, found.without) == (0, 3, [])


def test_points_outside_are_counted_and_left_out_and_so_are_pictures_without_any(points):
    picture(points / "images" / "c.png")
    lines = []
    rows = [("a.png", 5, 6), ("a.png", 30, 6), ("a.png", 5, -1), ("a.png", "nan", 6), ("below/b$1$.png", 10, 3)]
    write_points(points, rows, ("image", "x", "y"))
    found = read_fixations("folder", str(points), lines.append)
    assert [each.name for each in found.images] == ["a.png"] and found.images[0].points.tolist() == [[5, 6]]
    assert (found.outside, found.total, found.without) == (4, 5, ["below/b$1$.png", "c.png"])
    assert not found.observers_known
    assert "4 of 5 fixations lie outside of their pictures and are left out." in lines
    assert any(line.startswith("Left out: 2 pictures without fixations: below/b$1$.png, c.png") for line in lines)


@pytest.mark.parametrize(("stored", "written"), [("e\u0301", "\u00e9"), ("\u00e9", "e\u0301")])
def test_names_are_the_same_however_accents_and_folders_are_written(points, stored, written):
    picture(points / "images" / "below" / f"{stored}.png")
    write_points(points, [(f"below\\{written}.png", 3, 4)], ("image", "x", "y"))
    assert [each.name for each in read_fixations("folder", str(points)).images] == ["below/\u00e9.png"]
    picture(points / "images" / "below" / f"{written}.png")
    with pytest.raises(ValueError, match="Two pictures differ in how accents are put together alone"):
        read_fixations("folder", str(points))
    (points / "images" / "below" / f"{written}.png").unlink()
    (points / "fixations.csv").unlink()
    for name in ("a", "below/b$1$", f"below/{written}"):
        fixation_map(points / "fixation_maps" / f"{name}.png", (40, 10) if "$" in name else SIZE, ((3, 7),))
    assert len(read_fixations("folder", str(points)).images) == 3


def test_swapped_coordinates_are_suspected_before_all_of_them_are_outside(points):
    lines = []
    rows = [("a.png", 5, x) for x in range(30)]
    write_points(points, rows, ("image", "x", "y"))
    read_fixations("folder", str(points), lines.append)
    assert any("with x and y swapped it would be 0 of them" in line for line in lines)
    write_points(points, [("below/b$1$.png", 30, 5), ("below/b$1$.png", 20, 9)], ("image", "x", "y"))
    with pytest.raises(ValueError, match=r"All 2 fixations lie outside.*x and y are swapped"):
        read_fixations("folder", str(points))


@pytest.mark.parametrize(
    ("rows", "columns", "message"),
    [
        ([("a.png", 0.2, 0.9), ("a.png", 0.5, 1)], ("image", "x", "y"), "parts of pictures"),
        (
            [*[("a.png", 0.2, 0.9)] * 30, ("a.png", -0.1, 0.4), ("a.png", 0.5, 1.02)],
            ("image", "x", "y"),
            "30 of 32 .* parts",
        ),
        ([("a.png", "left", 2)], ("image", "x", "y"), "Line 2 .* no numbers for x and y. Received: x='left'"),
        ([("a.png",)], ("image", "x", "y"), "Line 2 .* x=None"),
        ([("a.png", 1)], ("image", "x"), "has no column y"),
        ([("a.png", 1, 2, 3)], ("image", "x", "y", "x"), "has no column x, or several"),
        # 10,5 and 3,2 with commas.
        ([("a.png", 10, 5, 3, 2)], ("image", "x", "y"), "Line 2 .* has 5 values for 3 columns"),
        ([], (), "has no column image, x, y"),
        ([("A.png", 1, 2)], ("image", "x", "y"), "1 in .*fixations.csv belong to no picture.*: A.png"),
        ([], ("image", "x", "y"), "None of the 2 pictures has a fixation"),
        ([("a" * 200_000, 1, 2)], ("image", "x", "y"), "fixations.csv is no table .* a quote opened and not closed"),
    ],
)
def test_tables_that_cannot_be_meant_are_refused(points, rows, columns, message):
    write_points(points, rows, columns)
    with pytest.raises(ValueError, match=message):
        read_fixations("folder", str(points))


def fixation_map(path, size=SIZE, pixels=((3, 7), (19, 29)), value=255):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.zeros(size, np.uint8)
    values[tuple(np.array(pixels, int).reshape(-1, 2).T)] = value
    Image.fromarray(values).save(path)


def test_maps_beside_pictures_are_points(points):
    (points / "fixations.csv").unlink()
    fixation_map(points / "fixation_maps" / "a.png", value=1)
    fixation_map(points / "fixation_maps" / "below" / "b$1$.bmp", (40, 10), ())
    found = read_fixations("folder", str(points))
    (only,) = found.images
    assert only.points.tolist() == [[7, 3], [29, 19]] and found.without == ["below/b$1$.png"]


def test_maps_of_16_bits_and_those_that_are_white_where_nobody_looked(points):
    (points / "fixations.csv").unlink()
    fixation_map(points / "fixation_maps" / "a.png")
    path = points / "fixation_maps" / "below" / "b$1$.png"
    fixation_map(path, (40, 10), ((2, 5),))
    Image.fromarray(np.asarray(Image.open(path)).astype(np.uint16) // 255).save(path)
    assert read_fixations("folder", str(points)).images[1].points.tolist() == [[5, 2]]
    fixation_map(path, (40, 10), ((2, 5),))
    Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    with pytest.raises(ValueError, match=r"b\$1\$.png has 399 of its 400 pixels marked.* exchange its colours"):
        read_fixations("folder", str(points))


def test_maps_of_another_size_blurred_ones_and_both_kinds_are_refused(points):
    fixation_map(points / "fixation_maps" / "a.png")
    with pytest.raises(ValueError, match=r"both fixation_maps and fixations\.csv"):
        read_fixations("folder", str(points))
    (points / "fixations.csv").unlink()
    with pytest.raises(ValueError, match=r"1 of the pictures in .* have no fixations in .*: below/b\$1\$"):
        read_fixations("folder", str(points))
    fixation_map(points / "fixation_maps" / "below" / "b$1$.png", (41, 10), ((1, 1),))
    with pytest.raises(ValueError, match="is 41 pixels high and 10 wide, and its picture 40 and 10"):
        read_fixations("folder", str(points))
    Image.fromarray(np.arange(400, dtype=np.uint8).reshape(40, 10)).save(points / "fixation_maps/below/b$1$.png")
    with pytest.raises(ValueError, match="levels of grey above black, so it is a blurred map"):
        read_fixations("folder", str(points))


def test_cat2000_is_read_without_its_output_and_unturned_where_its_maps_say_so(cat2000):
    found = read_fixations("cat2000", str(cat2000))
    assert [each.name for each in found.images] == ["Action/001", "Action/002", "Pattern/134"]
    assert [each.group for each in found.images] == ["Action", "Action", "Pattern"]
    assert [each.as_stored for each in found.images] == [False, False, True]
    assert all((each.height, each.width) == SIZE for each in found.images)
    assert found.images[0].points.tolist() == [[7, 3], [29, 19]] and not found.observers_known
    path = found.images[2].path
    assert read_photograph(path).shape[:2] == SIZE[::-1]
    assert read_photograph(path, upright=False).shape[:2] == SIZE


def test_a_photograph_turned_back_is_as_stored(tmp_path):
    values = np.random.default_rng(0).integers(0, 255, (6, 9, 3), np.uint8)
    for number in range(1, 9):
        for name in ("a.png", "a.tif"):
            Image.fromarray(values).save(tmp_path / name, exif=turned(number))
            np.testing.assert_allclose(read_photograph(str(tmp_path / name), upright=False) * 255, values, atol=1e-3)


def test_points_are_those_of_the_turned_picture_whatever_its_form(tmp_path):
    (tmp_path / "images").mkdir()
    for name in ("a.jpg", "b.tif"):
        Image.new("RGB", (30, 20)).save(tmp_path / "images" / name, exif=turned(6))
    (tmp_path / "fixations.csv").write_text("image,x,y\na.jpg,19,29\nb.tif,19,29\n")
    found = read_fixations("folder", str(tmp_path))
    assert [(each.height, each.width) for each in found.images] == [(30, 20)] * 2 and not found.outside


def test_matlab_files_of_other_kinds_are_told_apart(cat2000):
    path = cat2000 / "trainSet" / "FIXATIONLOCS" / "Action" / "002.mat"
    whole = path.read_bytes()

    def refused(match):
        with pytest.raises(ValueError, match=match):
            read_fixations("cat2000", str(cat2000))

    path.write_bytes(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(512, b" "))
    refused("002.mat is a MATLAB file of version 7.3.*save\\('fixLocs.mat', 'fixLocs', '-v7'\\)")
    for content in (b"", b"no MATLAB file at all" * 20, whole[: len(whole) // 2]):
        path.write_bytes(content)
        refused("002.mat is no MATLAB file that can be read")
    io.savemat(path, {"gaze": np.ones(3)})
    refused("another kind: it has no variable fixLocs, but gaze")
    io.savemat(path, {"fixLocs": np.ones((20, 29))})
    refused("is 20 pixels high and 29 wide, and its picture 20 and 30")
    path.unlink()
    refused("1 of the pictures in .*Stimuli have no fixations in .*FIXATIONLOCS: Action/002")


def test_osie_is_the_same_from_matlab_and_from_json(osie):
    published = read_fixations("osie", str(osie))
    (osie / "eye" / "fixations.mat").unlink()
    shared = read_fixations("osie", str(osie))
    for found in (published, shared):
        assert [each.name for each in found.images] == ["1001.jpg", "1002.jpg"] and found.observers_known
        observers = [observer.tolist() for observer in found.images[1].observers]
        assert observers == [[[2.5, 3.0], [29.0, 19.0]], [[0.0, 0.0]], []]


def test_osie_of_another_kind_is_refused(osie):
    io.savemat(osie / "eye" / "fixations.mat", {"fixations": np.ones((3, 2))})
    with pytest.raises(ValueError, match="are not structures with img and subjects"):
        read_fixations("osie", str(osie))
    (osie / "eye" / "fixations.mat").unlink()
    digits = '{"1001.jpg": [[[1' + 400 * "0" + ", 2, 3]]]}"
    for content in ("[1, 2]", '{"1001.jpg": [[5]]}', "{", digits):
        (osie / "fixations.json").write_text(content)
        with pytest.raises(ValueError, match="cannot be read as fixations: it has to be a JSON dict"):
            read_fixations("osie", str(osie))
    (osie / "fixations.json").write_text('{"1001.jpg": [[[3, 4, 100]]], "1700.jpg": [[[3, 4, 100]]]}')
    with pytest.raises(ValueError, match=r"1 of the pictures .*: 1002.jpg\. 1 in .* belong to no picture .*: 1700"):
        read_fixations("osie", str(osie))


@pytest.mark.parametrize("form", ["cat2000", "osie", "folder"])
def test_a_directory_of_something_else_is_told_what_was_looked_for(form, tmp_path):
    (tmp_path / "Stimuli.zip").touch()
    with pytest.raises(
        FileNotFoundError, match=r"(?s)holds none of the formats.*Unpack Stimuli\.zip, or give another --dataset_dir\.$"
    ):
        read_fixations(form, str(tmp_path))
    with pytest.raises(FileNotFoundError, match="There is no directory"):
        read_fixations(form, str(tmp_path / "none"))
    with pytest.raises(ValueError, match="--dataset_dir is needed"):
        read_fixations(form, None)


def test_a_picture_that_is_none_is_named(points):
    (points / "images" / "a.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"a\.png cannot be looked at: it is no picture"):
        read_fixations("folder", str(points))
