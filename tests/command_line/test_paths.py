"""Flags that are paths: `~` is the home directory in every one of every command."""

import ast
import pathlib
import re

import absl.flags
import pytest

from sact_tf.command_line import paths

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPTS = [ROOT / "train.py", ROOT / "eval.py", *sorted((ROOT / "sact_tf").rglob("*.py"))]
# What a flag that is a path is called. `convert` stands in a room below the command line's, and expands by itself.
PATH_NAME = re.compile(r"(^|_)(dirs?|directory|folder|path|paths|file|files|pattern|labels|annotations|prefix)$")
OTHERS = {ROOT / "sact_tf" / "data" / "convert.py"}


@pytest.fixture
def parsed(monkeypatch):
    """Function from words of a command line to the values of one flag of each kind."""
    values = absl.flags.FlagValues()
    define = absl.flags.DEFINE
    monkeypatch.setattr(absl.flags, "DEFINE", lambda *words, **named: define(*words, flag_values=values, **named))
    paths.define_path("run_dir", "~/runs", "Where to.")
    paths.define_paths("checkpoint_dirs", [], "Where from.")

    def parse(*words):
        values(["command", *words])
        return values.run_dir, values.checkpoint_dirs

    return parse


def test_home_stands_for_the_tilde_in_paths_in_lists_and_in_defaults(parsed, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert parsed("--run_dir=~/a b", "--checkpoint_dirs=~/one,two/~,~") == (
        "/home/me/a b",
        ["/home/me/one", "two/~", "/home/me"],
    )


def test_default_is_expanded_too(parsed):
    assert parsed() == (str(pathlib.Path.home() / "runs"), [])


def test_home_of_another_user_is_found_and_a_name_of_no_user_stays(parsed):
    root = pathlib.Path("~root").expanduser()
    assert parsed("--run_dir=~root/x", "--checkpoint_dirs=~nobody-of-this-name/x") == (
        f"{root}/x",
        ["~nobody-of-this-name/x"],
    )


@pytest.mark.parametrize("word", ["--run_dir=", "--checkpoint_dirs=", "--checkpoint_dirs=a,,b", "--checkpoint_dirs=a,"])
def test_an_empty_path_is_refused_and_does_not_stand_for_the_default(parsed, word):
    with pytest.raises(absl.flags.IllegalFlagValueError, match=f"^flag {word}: a path that is empty. Is a variable"):
        parsed(word)


def defined_flags():
    """Path of the source, function and name of every flag that the commands define."""
    sources = {path: path.read_text(encoding="utf-8") for path in SCRIPTS}
    for path in (path for path, text in sources.items() if "DEFINE" in text or "define_path" in text):
        for node in ast.walk(ast.parse(sources[path])):
            if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
                function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                if function.startswith(("DEFINE", "define_path")):
                    yield path, function, node.args[0].value


def test_every_flag_that_is_a_path_is_defined_as_one_and_no_other():
    flags = [flag for flag in defined_flags() if flag[0] not in OTHERS]
    as_paths = {name for _, function, name in flags if function in ("define_path", "define_paths")}
    assert {"train_log_dir", "checkpoint_dir", "checkpoint_dirs", "images_pattern", "labels", "run_dir"} <= as_paths
    assert as_paths == {name for _, _, name in flags if PATH_NAME.search(name)}
    assert not [flag for flag in flags if flag[2] in as_paths and not flag[1].startswith("define_path")]
