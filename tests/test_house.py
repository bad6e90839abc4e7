"""The source keeps to its own plan: who may import whom, and what no module does."""

import ast
import pathlib
import re
import shutil
import subprocess

import pytest

PACKAGE = pathlib.Path(__file__).resolve().parents[1] / "sact_tf"

# From the top floor to the ground; a module imports from its own room and from rooms below.
ROOMS = [
    {"__init__"},
    {"demo", "detect", "draw_maps", "export", "export_maps", "ponder_map", "recalibrate", "studies"},
    {"command_line"},
    {"training"},
    {"evaluation"},
    {"tasks"},
    {"visualize"},
    {"callbacks", "checkpoints", "depth"},
    {"sparse"},
    {"models"},
    {"flops"},
    {"detection", "saliency"},
    {"layers"},
    {"halting"},
    {"losses"},
    {"labels"},
    {"data"},
    {"config"},
    {"processor", "progress", "version"},
]
MODULES = sorted(PACKAGE.rglob("*.py"))


def room_of(module):
    """Number of the room of a module, given the parts of its name below `sact_tf`."""
    return next(number for number, names in enumerate(ROOMS) if module[0] in names)


def imported(tree):
    """Names below `sact_tf` that a module imports, at any depth of its code, as lists of parts."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[1:] for alias in node.names if alias.name.startswith("sact_tf."))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "sact_tf":
            below = node.module.split(".")[1:]
            yield from ([*below, alias.name] for alias in node.names)


def parse(path):
    return ast.parse(path.read_text(), filename=str(path))


@pytest.fixture(params=MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def source(request):
    return request.param


# What stands beside the source, and the pictures of docs: results of trials are not committed.
TOP_LEVEL = {
    *(".ci", ".gitignore", "CHANGELOG.md", "Makefile", "README.md", "benchmarks", "docs", "eval.py", "pyproject.toml"),
    *("requirements.txt", "sact_tf", "tests", "train.py"),
}
KINDS = {".py", ".md", ".png", ".html", ".js", ".css"}


def test_nothing_but_the_house_is_committed():
    git = shutil.which("git") or pytest.skip("git is not installed")
    listed = subprocess.run([git, "ls-files"], cwd=PACKAGE.parent, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    paths = [pathlib.PurePosixPath(line) for line in listed.stdout.splitlines()]
    assert {path.parts[0] for path in paths} == TOP_LEVEL
    below = [path for path in paths if len(path.parts) > 1 and path.parts[0] != ".ci"]
    assert [path for path in below if path.suffix not in KINDS] == []


def test_every_module_has_a_room():
    known = set().union(*ROOMS)
    assert {path.relative_to(PACKAGE).with_suffix("").parts[0] for path in MODULES} <= known


def test_imports_only_go_down(source):
    parts = source.relative_to(PACKAGE).with_suffix("").parts
    for module in imported(parse(source)):
        below = room_of(parts) < room_of(module)
        assert below or parts[0] == module[0], f"{'.'.join(parts)} imports {'.'.join(module)}"


def test_imports_are_absolute(source):
    assert not [node for node in ast.walk(parse(source)) if isinstance(node, ast.ImportFrom) and node.level > 0]


def test_errors_are_raised_not_asserted(source):
    assert not [node.lineno for node in ast.walk(parse(source)) if isinstance(node, ast.Assert)]


def test_nothing_is_unpickled(source):
    for node in ast.walk(parse(source)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
            assert not names & {"pickle", "cPickle", "dill", "joblib", "marshal", "shelve"}, node.lineno
        if isinstance(node, ast.keyword):
            assert node.arg != "allow_pickle", node.value.lineno


ARCHITECTURE = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")


def rooms_below(room):
    """Names of the other rooms that a room imports from."""
    modules = [path for path in MODULES if path.relative_to(PACKAGE).with_suffix("").parts[0] == room]
    return {module[0] for path in modules for module in imported(parse(path)) if module} - {room}


def test_the_drawing_has_the_rooms_on_their_floors():
    drawn = ARCHITECTURE.partition("## The rooms")[0]
    floors = re.findall(r"^ \|  (\w+(?: {3}\w+)*)(?= {2})", drawn, flags=re.MULTILINE)
    assert [set(floor.split()) for floor in floors] == ROOMS


def test_the_table_says_what_every_room_imports_from():
    rows = re.findall(r"^\| `(\w+)` \| (.+) \| (.+) \|$", ARCHITECTURE, flags=re.MULTILINE)
    assert {room for room, _, _ in rows} == set().union(*ROOMS)
    for room, _, below in rows:
        told = set() if below == "nothing" else set(below.split(", "))
        assert told == rooms_below(room), room


def test_make_clean_leaves_what_was_trained():
    (recipe,) = re.findall(r"^clean:\n\t(rm .*)", (PACKAGE.parent / "Makefile").read_text(), flags=re.MULTILINE)
    assert "$(VENV)" in recipe and "runs" not in recipe and "DIR" not in recipe


def test_directories_that_are_given_to_make_may_have_spaces():
    recipes = (PACKAGE.parent / "Makefile").read_text()
    assert re.findall(r"--run_dir=(.+)", recipes) == ['"$(RUN_DIR)"', '"$(DETECT_DIR)"']
