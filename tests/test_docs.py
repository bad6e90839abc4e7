"""The front page and the pages of docs/ tell the truth: their Python runs; what they name and link to is there."""

import pathlib
import re
from unittest import mock

import keras
import numpy as np
import onnxruntime
import pytest
from absl import flags
from PIL import ExifTags, Image

from sact_tf.data import convert
from sact_tf.data.pictures import read_picture

ROOT = pathlib.Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
COMPOSING, EXPORT = ROOT / "docs" / "composing.md", ROOT / "docs" / "export.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
# Its links are followed as well; what it says of machines of the past is its own.
LINKING = [*PAGES, ROOT / "benchmarks" / "README.md"]
LONGEST_FRONT_PAGE = 200
LONGEST_LINE = 120

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
every_linking_page = pytest.mark.parametrize("page", LINKING, ids=lambda page: str(page.relative_to(ROOT)))


def read(page):
    return page.read_text(encoding="utf-8")


def prose(page):
    """The text of a page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", read(page), flags=re.DOTALL | re.MULTILINE)


def python_blocks(page):
    blocks = re.findall(r"^```python\n(.*?)^```$", read(page), flags=re.DOTALL | re.MULTILINE)
    # Those that speak of a checkpoint the reader has are shown to be right by tests/test_checkpoints.py and
    # tests/test_export.py.
    return [block for block in blocks if "path/to" not in block]


def anchors(page):
    """What GitHub calls the headings of a page: lower case, without punctuation, a hyphen for each blank."""
    names = []
    for heading in re.findall(r"^#+ (.+)$", prose(page), flags=re.MULTILINE):
        name = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        names.append(f"{name}-{names.count(name)}" if name in names else name)
    return names


def links(page):
    return re.findall(r"\]\(\s*([^)\s]+)\s*\)", prose(page))


def defined_flags():
    source = "".join(path.read_text() for path in (ROOT / "sact_tf").rglob("*.py"))
    named = re.findall(r'(?:DEFINE_\w+|define_paths?)\(\s*"([a-z_]+)"', source)
    # It defines its own in words of its own.
    converting = flags.FlagValues()
    convert.define_flags(converting)
    return {*named, *converting, "logdir", "help"}


@pytest.mark.parametrize("page", [page for page in PAGES if python_blocks(page)], ids=lambda page: page.stem)
def test_every_python_block_runs_as_it_stands(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for block in python_blocks(page):
        exec(compile(block, str(page), "exec"), {"__name__": "docs"})


@pytest.mark.parametrize(("page", "arguments"), [(README, ()), (COMPOSING, (4,))], ids=["README", "composing"])
def test_a_unit_of_the_pages_has_its_precision_whatever_the_policy_is_where_it_is_loaded(page, arguments):
    definition = python_blocks(page)[0].split("\nimages = ")[0]
    exec(definition, namespace := {"__name__": "docs"})
    features = keras.ops.ones((2, 3, 5, 4), "bfloat16")
    assert namespace["MyUnit"](*arguments, dtype="mixed_bfloat16")(features).dtype == "bfloat16"


@pytest.mark.parametrize(("mode", "turn"), [("CMYK", 1), ("RGB", 6), ("I;16", 1), ("L", 1)])
def test_what_decodes_pictures_for_an_onnx_file_gives_the_pixels_of_training(mode, turn, tmp_path, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), "uint8")
    picture = Image.fromarray(pixels[:, :, 0] * np.uint16(257)) if mode == "I;16" else Image.fromarray(pixels)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = turn
    path = tmp_path / "photo.tiff"
    picture.convert(mode).save(path, exif=exif)
    session = mock.Mock(**{"run.return_value": [np.zeros((1, 10))]})
    monkeypatch.setattr(onnxruntime, "InferenceSession", lambda path: session)
    [block] = [block for block in re.findall(r"^```python\n(.*?)^```$", read(EXPORT), re.S | re.M) if "PIL" in block]
    exec(block.replace("path/to/photo.jpg", str(path)), {})
    np.testing.assert_array_equal(session.run.call_args.args[1]["images"][0], read_picture(path))


def test_the_front_page_and_the_pages_of_the_library_have_python_to_run():
    assert {page.stem for page in PAGES if python_blocks(page)} >= {"README", "composing", "engine", "maps"}


@every_linking_page
def test_every_link_leads_somewhere(page):
    for link in links(page):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(ROOT) and target.exists(), f"{link} leads to no file of the project"
        if anchor:
            assert anchor in anchors(target), f"{link} leads to no heading of {target.name}: {anchors(target)}"


@every_linking_page
def test_every_picture_is_there(page):
    for picture in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", read(page)):
        assert (page.parent / picture).read_bytes().startswith(b"\x89PNG")


@every_page
def test_every_flag_that_a_page_names_exists(page):
    text = read(page)
    if page.stem == "release_flags":
        # The first column names the release's flags, many of which are gone.
        text = re.sub(r"^\|[^|]*\|", "|", text, flags=re.MULTILINE)
    defined = defined_flags()
    named = set(re.findall(r"--([a-z_]{3,})", text))
    assert {name.removeprefix("no") if name not in defined else name for name in named} <= defined


def test_every_flag_of_training_and_evaluation_stands_where_they_are_listed():
    source = read(ROOT / "sact_tf" / "command_line" / "definitions.py")
    functions = dict(re.findall(r"^def (\w+)\((.*?)(?=^def |\Z)", source, re.MULTILINE | re.DOTALL))
    training = ("define_model_flags", "define_training_flags")
    evaluation = ("define_evaluation_flags", "_define_checkpoint_flags", "_define_image_flags", "_define_strategy_flag")
    for page, names in (("training.md", training), ("release_flags.md", training + evaluation)):
        bodies = "".join(functions[name] for name in names)
        defined = set(re.findall(r'(?:define_path|DEFINE_\w+)\(\s*"(\w+)"', bodies)) - {"trained_on"}
        listed = set(re.findall(r"--(?:\[no\])?(\w+)", read(ROOT / "docs" / page)))
        assert len(defined) > 40 and defined <= listed, (page, defined - listed)


@every_page
def test_every_command_that_a_page_names_exists(page):
    text = read(page)
    for name in set(re.findall(r"python -m (sact_tf[\w.]*\w)", text)):
        path = ROOT.joinpath(*name.split("."))
        module = path / "__main__.py" if path.is_dir() else path.with_suffix(".py")
        assert module.exists(), f"there is no module {name} to run"
        assert '__name__ == "__main__"' in read(module), f"{name} is no command"
    for script in set(re.findall(r"python ((?:benchmarks/)?(?!digits)\w+\.py)", text)):
        assert (ROOT / script).exists(), f"there is no script {script}"
    targets = set(re.findall(r"^([a-z]+):", read(ROOT / "Makefile"), flags=re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z]+)", text, flags=re.MULTILINE)) <= targets


@every_page
def test_every_name_of_the_library_that_a_page_speaks_of_exists(page):
    import sact_tf

    modules = {path.stem for path in (ROOT / "sact_tf").iterdir()}
    for name in re.findall(r"`sact_tf\.(\w+)", read(page)):
        assert hasattr(sact_tf, name) or name in modules, f"there is no sact_tf.{name}"


@pytest.mark.parametrize("page", PAGES[1:], ids=lambda page: page.stem)
def test_every_page_says_what_it_is_for_links_back_and_is_linked_to(page):
    lead = " ".join(read(page).split("\n\n")[1].split())
    assert lead.endswith("[Back to the front page](../README.md)")
    assert f"docs/{page.name}" in links(README)


@every_page
def test_lines_of_prose_are_short(page):
    # A table's row and a link by itself cannot be wrapped.
    lines = [line for line in prose(page).splitlines() if not line.startswith(("|", "!["))]
    assert [line for line in lines if len(line) > LONGEST_LINE] == []


def test_the_front_page_is_short():
    assert len(read(README).splitlines()) <= LONGEST_FRONT_PAGE
    assert len(python_blocks(README)) <= 2
