"""Whether TensorFlow computes with oneDNN: who decides, and who is left alone."""

import contextlib
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

from sact_tf import processor, training
from sact_tf.training import environment
from sact_tf.training.environment import note_environment

ROOT = pathlib.Path(__file__).resolve().parents[1]
MEASURED = {"flags": "fma avx avx2"}
TRAIN = ["python", "train.py"]


@pytest.mark.parametrize(
    ("trains", "setting", "reason"), [(True, "1", "training.*_OPTS=0 turns"), (False, "0", "forward.*_OPTS=1 turns")]
)
def test_the_work_decides_where_nothing_else_does(trains, setting, reason):
    chosen, why = processor.wanted({}, TRAIN, trains, MEASURED)
    assert chosen == setting and re.search(reason, why)


@pytest.mark.parametrize("facts", [{}, {"Features": "asimd"}, {"flags": "sse2"}])
def test_on_processors_where_nothing_was_measured_tensorflow_decides(facts):
    assert processor.wanted({}, TRAIN, True, facts) == (None, "")


@pytest.mark.parametrize("flag", [["--train_log_dir={}"], ["--train_log_dir", "{}"], ["-train_log_dir={}"]])
def test_the_environment_goes_before_the_run_that_is_resumed_and_that_before_the_work(tmp_path, flag):
    words = [*TRAIN, *(word.format(tmp_path) for word in flag), "--tau=0.1"]
    assert processor.wanted({}, words, True, MEASURED)[0] == "1"
    (tmp_path / "environment.json").write_text(json.dumps({"onednn": False}))
    chosen, why = processor.wanted({}, words, True, MEASURED)
    assert chosen == "0" and why.startswith("the run began so")
    chosen, why = processor.wanted({"TF_ENABLE_ONEDNN_OPTS": "1"}, words, True, MEASURED)
    assert chosen == "1" and why == "the environment has TF_ENABLE_ONEDNN_OPTS=1"


def test_a_run_that_a_file_of_flags_names_goes_on_as_it_began(tmp_path):
    (tmp_path / "environment.json").write_text(json.dumps({"onednn": False}))
    (tmp_path / "inner").write_text(f"# ours\n--train_log_dir={tmp_path}\n")
    (tmp_path / "outer").write_text(f"--flagfile={tmp_path / 'inner'}\n")
    for words in ([f"--flagfile={tmp_path / 'outer'}"], ["--train_log_dir=other", f"--train_log_dir={tmp_path}"]):
        assert processor.wanted({}, [*TRAIN, *words], True, MEASURED)[0] == "0", words
    # What is wrong with a file is told when flags are read.
    for words in ([f"--flagfile={tmp_path}"], ["--flagfile"]):
        assert processor.wanted({}, [*TRAIN, *words], True, MEASURED)[0] == "1", words


def test_a_run_of_an_earlier_version_goes_on_with_what_tensorflow_decides(tmp_path):
    (tmp_path / "checkpoint").write_text("")
    assert processor.wanted({}, [*TRAIN, f"--train_log_dir={tmp_path}"], True, MEASURED) == (None, "")


@pytest.mark.parametrize("text", ["", "[]", '{"onednn": ', "{}", '{"onednn": null}', '{"onednn": "x"}'])
def test_a_record_that_says_nothing_is_passed_over(tmp_path, text):
    (tmp_path / "environment.json").write_text(text)
    assert processor.wanted({}, [f"--train_log_dir={tmp_path}"], True, MEASURED)[0] == "1"
    assert processor.wanted({}, ["--train_log_dir"], True, MEASURED)[0] == "1"


@pytest.mark.parametrize(
    ("argv", "words", "program", "command"),
    [
        (["-m", "--steps=3"], ["python", "-m", "sact_tf.studies.first_run", "--steps=3"], None, "studies"),
        (["-m"], ["python", "-um", "sact_tf.export"], None, "export"),
        (["-m"], ["python", "-msact_tf.export"], None, "export"),
        (["-m"], ["python", "-m", "pytest", "tests"], None, None),
        (["-m"], ["python", "-m", "sact_tf_users.tool"], None, None),
        (["tool.py", "-m", "sact_tf.export"], ["python", "tool.py", "-m", "sact_tf.export"], "/tool.py", None),
        (["train.py"], TRAIN, str(ROOT / "train.py"), "train.py"),
        (["eval.py"], ["python", "eval.py"], str(ROOT / "eval.py"), "eval.py"),
        (["train.py"], TRAIN, "/somebodys/train.py", None),
        ([""], ["python"], None, None),
        (["-c"], ["python", "-c", "import sact_tf"], None, None),
    ],
)
def test_only_our_own_commands_choose(argv, words, program, command):
    assert processor.command_of(argv, words, program) == command


# Imports what stands for the package without what it imports.
IMPORTING = """
import importlib.util, os, sys
spec = importlib.util.spec_from_file_location("processor", {path!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
module.choose_onednn()
print(module.choice, "|", os.environ.get("TF_ENABLE_ONEDNN_OPTS"))
"""


def test_a_program_of_somebody_else_keeps_its_environment():
    script = IMPORTING.format(path=processor.__file__)
    clean = {name: value for name, value in os.environ.items() if name != processor.SWITCH}
    done = subprocess.run([sys.executable, "-c", script], env=clean, stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == " | None\n"


@pytest.mark.parametrize(("command", "setting", "word"), [("studies", "1", "on"), ("ponder_map", "0", "off")])
def test_a_command_sets_the_switch_and_says_so(monkeypatch, command, setting, word):
    monkeypatch.setattr(processor, "command_of", lambda *words: command)
    monkeypatch.setattr(processor, "facts", lambda: MEASURED)
    monkeypatch.setattr(processor, "choice", "")
    # Not left behind for the tests that follow.
    monkeypatch.setattr(os, "environ", {})
    processor.choose_onednn()
    assert os.environ == {processor.SWITCH: setting}
    assert processor.choice.startswith(f"oneDNN {word}: ")


@pytest.mark.parametrize("command", ["train.py", "ponder_map", None])
def test_a_command_has_oneDNN_look_at_its_weights_each_time(monkeypatch, command):
    monkeypatch.setattr(processor, "command_of", lambda *words: command)
    monkeypatch.setattr(processor, "choice", "")
    monkeypatch.setattr(os, "environ", {processor.FROZEN_WEIGHTS: "1"})
    processor.choose_onednn()
    assert (processor.FROZEN_WEIGHTS in os.environ) == (command is None)


@pytest.mark.parametrize("asked", ["1", "TRUE", "0", "", None])
def test_training_refuses_weights_that_oneDNN_freezes(monkeypatch, tmp_path, asked):
    monkeypatch.setattr(os, "environ", {} if asked is None else {processor.FROZEN_WEIGHTS: asked})
    if asked not in ("1", "TRUE"):
        return processor.check_weights_may_change()
    with pytest.raises(
        ValueError, match=rf"nothing could be trained\. .* Received: {processor.FROZEN_WEIGHTS}={asked}$"
    ):
        training.train(None, str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("command", "backend"), [("eval.py", "agg"), (None, "module://a_notebook_s")])
def test_a_command_draws_into_files_whatever_a_notebook_left_in_its_environment(monkeypatch, command, backend):
    monkeypatch.setattr(processor, "command_of", lambda *words: command)
    monkeypatch.setattr(os, "environ", {"MPLBACKEND": "module://a_notebook_s"})
    processor.draw_into_files()
    assert os.environ == {"MPLBACKEND": backend}


@pytest.mark.parametrize("asked", [{}, {"KERAS_BACKEND": ""}, {"KERAS_BACKEND": "tensorflow"}])
def test_a_command_runs_keras_on_tensorflow(monkeypatch, asked):
    monkeypatch.setattr(processor, "command_of", lambda *words: "studies")
    monkeypatch.setattr(os, "environ", dict(asked))
    processor.run_keras_on_tensorflow()
    assert os.environ == {"KERAS_BACKEND": "tensorflow"}


@pytest.mark.parametrize("command", ["train.py", None])
def test_a_command_refuses_another_backend_of_keras_in_a_sentence(monkeypatch, command):
    monkeypatch.setattr(processor, "command_of", lambda *words: command)
    monkeypatch.setattr(os, "environ", {"KERAS_BACKEND": "jax"})
    expected = contextlib.nullcontext()
    if command:
        expected = pytest.raises(SystemExit, match=r"^error: .*set it to tensorflow\. Received: KERAS_BACKEND=jax$")
    with expected:
        processor.run_keras_on_tensorflow()
    assert os.environ == {"KERAS_BACKEND": "jax"}


@pytest.mark.parametrize(
    ("asked", "said"), [("0", "off"), ("False", "off"), ("TRUE", "on"), ("abc", None), ("off", None), (" ", None)]
)
def test_a_switch_that_tensorflow_would_pass_over_is_refused_in_a_sentence(monkeypatch, asked, said):
    monkeypatch.setattr(processor, "command_of", lambda *words: "train.py")
    monkeypatch.setattr(processor, "choice", "")
    monkeypatch.setenv(processor.SWITCH, asked)
    expected = contextlib.nullcontext()
    if said is None:
        expected = pytest.raises(
            SystemExit, match=rf"^error: .* must be 0 or 1, .* Received: {processor.SWITCH}={asked}$"
        )
    with expected:
        processor.choose_onednn()
    assert processor.choice == (f"oneDNN {said}: the environment has {processor.SWITCH}={asked}" if said else "")
    assert os.environ[processor.SWITCH] == asked


def test_a_run_records_with_what_it_was_computed_and_a_resume_names_what_differs(tmp_path, monkeypatch):
    lines = []
    note_environment(str(tmp_path), 2, lines.append)
    written = json.loads((tmp_path / "environment.json").read_text())
    assert set(written) == {"tensorflow", "keras", "sact_tf", "processor", "cores", "onednn", "replicas"}
    assert written["replicas"] == 2
    assert written["onednn"] in (True, False)
    note_environment(str(tmp_path), 2, lines.append)
    assert lines == []

    other = {**written, "onednn": not written["onednn"], "keras": "9.0", "cores": written["cores"] + 1}
    monkeypatch.setattr(environment, "environment", lambda: other)
    note_environment(str(tmp_path), 3, lines.append)
    words = ("on", "off") if written["onednn"] else ("off", "on")
    assert lines == [
        f"Note: this run began with Keras {written['keras']} and goes on with 9.0: the last digits may differ.",
        f"Note: this run began with a number of cores of {written['cores']} and goes on with {other['cores']}: "
        "the last digits may differ.",
        f"Note: this run began with oneDNN {words[0]} and goes on with {words[1]}: the last digits may differ. "
        f"TF_ENABLE_ONEDNN_OPTS={int(written['onednn'])} in the environment goes on as it began.",
        "Note: this run began with batches split over 2 devices and goes on with 3: batch normalization, unless "
        "frozen, sees other parts of them, so it goes on otherwise than it would have.",
    ]
    assert json.loads((tmp_path / "environment.json").read_text()) == written

    # Of an earlier version, which noted none.
    lines.clear()
    (tmp_path / "environment.json").write_text(json.dumps({key: other[key] for key in other if key != "replicas"}))
    note_environment(str(tmp_path), 3, lines.append)
    assert lines == []

    # One device splits nothing.
    (tmp_path / "environment.json").write_text(json.dumps({**other, "replicas": 1}))
    note_environment(str(tmp_path), 2, lines.append)
    assert len(lines) == 1 and lines[0].startswith("Note: this run began with whole batches on 1 device and goes on")
