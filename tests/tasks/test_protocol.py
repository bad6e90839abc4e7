"""The protocol of tasks: what the docstring of `sact_tf.tasks` lists is what the source asks of a task."""

import ast
import pathlib
import re

import pytest

from sact_tf import tasks

SOURCES = sorted(pathlib.Path(tasks.__file__).parents[1].rglob("*.py"))
LISTED = re.compile(r"^- `(\w+)", re.MULTILINE)
REQUIRED, OPTIONAL = (set(LISTED.findall(part)) for part in tasks.__doc__.split("A task may have"))


def is_task(node):
    """Whether an expression is a task, by its name: `task`, `self._task`, `task_of(...)`."""
    called = isinstance(node, ast.Call)
    node = node.func if called else node
    name = getattr(node, "attr", getattr(node, "id", ""))
    return name == "task_of" if called else name in ("task", "_task")


@pytest.fixture(scope="module")
def nodes():
    return [node for path in SOURCES for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]


@pytest.fixture(scope="module")
def read(nodes):
    """Names that the source reads from tasks as they are."""
    return {node.attr for node in nodes if isinstance(node, ast.Attribute) and is_task(node.value)}


@pytest.fixture(scope="module")
def asked_for(nodes):
    """Names that the source looks for in tasks by `hasattr` or `getattr`."""
    calls = [node for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    looking = [call for call in calls if call.func.id in ("hasattr", "getattr")]
    return {call.args[1].value for call in looking if is_task(call.args[0])}


def test_the_docstring_lists_what_the_source_asks_of_a_task(read, asked_for):
    assert read | asked_for == REQUIRED | OPTIONAL


def test_what_a_task_may_have_is_asked_for_and_the_rest_is_not(asked_for):
    # With `SERVED_INPUTS` comes the function that they are for.
    assert asked_for == OPTIONAL - {"served_inputs"}


@pytest.mark.parametrize("name", sorted(tasks.TASKS))
def test_a_task_has_what_all_tasks_have(name):
    assert [each for each in sorted(REQUIRED) if not hasattr(tasks.TASKS[name], each)] == []
