"""The README's Python runs as it stands."""

import pathlib
import re

README = pathlib.Path(__file__).resolve().parents[1] / "README.md"


def test_every_python_block_of_the_readme_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), flags=re.DOTALL)
    # Those that speak of a checkpoint the reader has are shown to be right by tests/test_checkpoints.py.
    runnable = [block for block in blocks if "path/to" not in block]
    assert len(runnable) >= 2
    for block in runnable:
        exec(compile(block, str(README), "exec"), {"__name__": "readme"})


def test_every_picture_of_the_readme_is_there():
    for picture in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README.read_text(encoding="utf-8")):
        assert (README.parent / picture).read_bytes().startswith(b"\x89PNG")


def test_every_flag_that_the_readme_names_exists():
    source = "".join(path.read_text() for path in (README.parent / "sact_tf").rglob("*.py"))
    table_of_the_release = README.read_text(encoding="utf-8").partition("## The release's flags")
    named = set(re.findall(r"--([a-z_]{3,})", table_of_the_release[0]))
    defined = set(re.findall(r'DEFINE_\w+\(\s*"([a-z_]+)"', source)) | {"logdir", "help"}
    assert {name.removeprefix("no") if name not in defined else name for name in named} <= defined
