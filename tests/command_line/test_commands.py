"""The scripts, started as a user starts them."""

import functools
import io
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import warnings

import absl.flags
import pytest
import tensorflow as tf
from PIL import Image

from sact_tf import command_line
from sact_tf.command_line import configurations
from sact_tf.data import pictures
from sact_tf.studies import first_run

ROOT = str(pathlib.Path(__file__).resolve().parents[2])
SMALL = ("--model=1", "--base_channels=4", "--image_size=40", "--batch_size=4")


@pytest.fixture(scope="module")
def run_directory(tmp_path_factory):
    """A run that was trained by a Python of its own, as people start one; all other scripts are copies, see warm.py."""
    directory = str(tmp_path_factory.mktemp("run"))
    words = ("train.py", *SMALL, "--model_type=sact", "--max_number_of_steps=3", f"--train_log_dir={directory}")
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert re.search(r"step 1/3, loss \d", done.stdout)
    assert f"Trained to step 3: {directory}" in done.stdout
    return directory


@pytest.mark.parametrize("command", ["export", "ponder_map", "detect", "demo", "studies.saliency"])
def test_a_command_that_reads_no_records_has_no_flag_for_damaged_ones(command):
    path = pathlib.Path(ROOT, "sact_tf", *command.split("."))
    text = (path / "__main__.py" if path.is_dir() else path.with_suffix(".py")).read_text()
    assert re.search(r"define_model_flags\([^)]*reads=\"(others|nothing)\"", text)


def test_mistakes_on_the_command_line_end_in_a_sentence_and_not_in_a_traceback(run_script, run_directory, tmp_path):
    directory = f"--train_log_dir={tmp_path / 'new'}"
    latin, marked = tmp_path / "latin.txt", tmp_path / "marked.txt"
    latin.write_text("# é", "latin-1")
    marked.write_text("--tau=0.1", "utf-8-sig")
    mistakes = [
        (("train.py", "--model_type=fast", directory), r"`model_type` must be one of .*Received: model_type='fast'"),
        (("train.py", "--model=3_4", directory), r"`model` must be .*Received: model='3_4'"),
        (("train.py", "--tau=nan", directory), r"`tau` .* must be a finite number >= 0.*Received: tau=nan"),
        (("train.py", "--image_size=8", directory), r"image_size"),
        (("train.py", "--learning_rate_boundaries=1,x", directory), r"must be steps, such as .*Received: 1,x"),
        (("train.py", f"--train_log_dir={__file__}/run"), r"cannot be written"),
        (("train.py", *SMALL, "--tau=0.5", f"--train_log_dir={run_directory}"), r"another configuration"),
        (("-m", "sact_tf.studies.first_run", "--steps=1", f"--run_dir={__file__}/run"), r"cannot be written"),
        (("train.py", "--no_such_flag=1"), r"Unknown command line flag 'no_such_flag'"),
        (("train.py", "--nodeterministic=true"), r"error: --nodeterministic=true does not take .*--flag=false\.$"),
        (("train.py", f"--flagfile={latin}"), r"error: a --flagfile must be UTF-8: .* Save it so\.$"),
        (("train.py", f"--flagfile={marked}"), r"Received: .*--tau=0\.1 The file of flags begins with a mark \(BOM\)"),
        (("train.py", f"--finetune_path={tmp_path}", directory), r"No checkpoint at"),
        (("eval.py", f"--checkpoint_dir={tmp_path / 'none'}", "--evaluate_once"), r"No checkpoint at"),
        (
            ("eval.py", f"--checkpoint_dir={run_directory}", "--evaluate_once", "--model=2"),
            r"does not fit(.|\n)*missing from it:\n  resnet_residual/block_1/unit_1/halting_proba/global_bn/beta",
        ),
    ]
    for words, expected in mistakes:
        returncode, _, errors = run_script(*words)
        assert returncode != 0, words
        assert re.search(expected, errors), (words, errors)
        assert "Traceback" not in errors, (words, errors)


def test_evaluation_takes_the_configuration_of_the_run_and_prints_the_releases_names(run_script, run_directory):
    returncode, output, errors = run_script(
        "eval.py", f"--checkpoint_dir={run_directory}", "--num_examples=6", "--batch_size=4"
    )
    # The run is complete, so evaluation ends though it was not told to stop after one checkpoint.
    assert returncode == 0, errors
    names = re.findall(r"^(.+)\[[-+.e\d]+\]$", output, flags=re.MULTILINE)
    assert names[:4] == ["eval/Accuracy", "eval/Mean Loss", "Total Flops/mean", "Total Flops/std"]
    assert {"block_1/flops_mean", "block_2/ponder_cost_std", "block_3/num_units_max"} <= set(names)
    assert any(name.startswith("events.out") for name in os.listdir(os.path.join(run_directory, "eval")))


def test_evaluation_follows_a_run_until_it_is_interrupted(start_script, run_script, tmp_path):
    directory = str(tmp_path / "run")
    # Neither the directory nor a configuration is there yet; what is not said is the run's all the same.
    evaluation = start_script("eval.py", f"--checkpoint_dir={directory}", "--num_examples=4", "--eval_interval_secs=0")
    returncode, _, errors = run_script("train.py", *SMALL, "--max_number_of_steps=3", f"--train_log_dir={directory}")
    assert returncode == 0, errors
    output, errors = evaluation.communicate()
    assert evaluation.returncode == 0, errors
    assert "eval/Accuracy[" in output
    assert os.listdir(tmp_path) == ["run"] and os.path.isdir(os.path.join(directory, "eval"))


def test_an_interrupted_evaluation_stops_cleanly(start_script, tmp_path):
    waiting = start_script("eval.py", f"--checkpoint_dir={tmp_path}", *SMALL)
    while waiting.output() != f"Waiting for a checkpoint in {tmp_path}\n":
        assert waiting.poll() is None, waiting.communicate()
        time.sleep(0.01)
    waiting.send_signal(signal.SIGINT)
    output, errors = waiting.communicate()
    assert waiting.returncode == 0 and "Stopped." in output and "Traceback" not in errors


@pytest.mark.parametrize(
    ("error", "ending"),
    [
        (KeyboardInterrupt(), SystemExit),
        (RuntimeError("MISMATCH: ORIGINAL InvalidArgumentError REPLACED BY KeyboardInterrupt"), SystemExit),
        (RuntimeError("a mistake of ours"), RuntimeError),
    ],
)
def test_ctrl_c_stops_a_command_whatever_tensorflow_makes_of_it(monkeypatch, capsys, error, ending):
    def stopped():
        raise error

    monkeypatch.setattr(command_line.app, "run", lambda guarded, **how: guarded(["command"]))
    with pytest.raises(ending) as raised:
        command_line.run(stopped)
    if ending is SystemExit:
        assert raised.value.code == 130 and capsys.readouterr().err.endswith("Stopped.\n")


def test_a_path_that_tensorflow_does_not_take_is_told_with_what_to_change(monkeypatch):
    error = UnicodeEncodeError("utf-8", "runs/\udce9", 5, 6, "surrogates not allowed")
    assert "UTF-8, and this one is not: runs/" in command_line._sentence(error)
    # As with LC_ALL=C and PYTHONUTF8=0.
    monkeypatch.setattr(command_line.sys, "getfilesystemencoding", lambda: "ascii")
    assert re.search(r"UTF-8, and Python here for ascii, .*runs/.* Set PYTHONUTF8=1", command_line._sentence(error))


def test_a_full_disk_ends_a_study_in_a_sentence_with_its_directory(monkeypatch, capsys):
    def full():
        raise OSError(28, "No space left on device")

    flags = absl.flags.FlagValues()
    monkeypatch.setattr(command_line.flags, "FLAGS", flags)
    absl.flags.DEFINE_string("run_dir", "runs/study", "", flag_values=flags)
    flags.mark_as_parsed()
    monkeypatch.setattr(command_line.app, "run", lambda guarded, **how: guarded(["command"]))
    with pytest.raises(SystemExit):
        command_line.run(full, writes_to="run_dir")
    expected = "error: runs/study cannot be written: the disk is full. Make space, or give another --run_dir.\n"
    assert capsys.readouterr().err.endswith(expected)


def test_a_command_reads_pictures_of_many_pixels_without_a_warning(monkeypatch):
    def read():
        content = io.BytesIO()
        Image.new("L", (4, 2)).save(content, "PNG")
        assert pictures.read_picture(content.getvalue()).shape == (2, 4, 3)

    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5)
    monkeypatch.setattr(command_line.app, "run", lambda guarded, **how: guarded(["command"]))
    with warnings.catch_warnings(record=True) as caught:
        command_line.run(read)
    assert not caught


def test_a_command_of_several_networks_says_nothing_of_their_traces(monkeypatch, caplog):
    def trace():
        for _ in range(6):
            tf.function(lambda: 1, autograph=False)()
        tf.get_logger().warning("Something else.")

    monkeypatch.setattr(command_line.app, "run", lambda guarded, **how: guarded(["command"]))
    caplog.set_level("WARNING", logger="tensorflow")
    command_line.run(trace)
    assert caplog.messages == ["Something else."]


def test_an_interrupted_command_ends_without_a_traceback(monkeypatch, capsys):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr(command_line.app, "run", lambda guarded, **how: guarded(["command"]))
    with pytest.raises(SystemExit) as stopped:
        command_line.run(interrupted)
    assert stopped.value.code == 130
    assert capsys.readouterr().err.endswith("Stopped.\n")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (tf.errors.ResourceExhaustedError(None, None, "OOM when allocating\n at"), "memory .*: OOM when allocating\n$"),
        (MemoryError(), "memory .* --image_size, .* beside it\\.\n$"),
        (
            PermissionError(13, "Permission denied", "runs/caf\udce9"),
            r"^error: runs/caf\\xe9 cannot be used: Permission d",
        ),
    ],
)
def test_what_the_system_refuses_is_said_in_a_sentence(monkeypatch, capsys, error, expected):
    def refused():
        raise error

    monkeypatch.setattr(command_line.app, "run", lambda guarded, **how: guarded(["command"]))
    with pytest.raises(SystemExit) as ended:
        command_line.run(refused)
    assert ended.value.code == 1 and re.search(expected, capsys.readouterr().err, re.M)


def config_of(monkeypatch, define_flags, make_config, *flags):
    """What a command makes of flags."""
    parsed = absl.flags.FlagValues()
    monkeypatch.setattr(configurations, "FLAGS", parsed)
    for define in (command_line.define_model_flags, define_flags):
        with monkeypatch.context() as patch:
            for name in (
                "DEFINE",
                *(f"DEFINE_{kind}" for kind in ("enum", "string", "float", "integer", "boolean", "list", "alias")),
            ):
                patch.setattr(absl.flags, name, functools.partial(getattr(absl.flags, name), flag_values=parsed))
            define()
    parsed(["command", *flags])
    return make_config()


def training_config(monkeypatch, *flags):
    return config_of(monkeypatch, command_line.define_training_flags, command_line.training_config, *flags)


def export_config(monkeypatch, *flags):
    return config_of(
        monkeypatch, command_line.define_export_flags, command_line.export_config, "--output_dir=out", *flags
    )


def test_a_run_that_may_not_be_looked_into_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "access", lambda path, mode: (path, mode) != (str(tmp_path), os.X_OK))
    with pytest.raises(PermissionError, match=f"Permission denied: .*{tmp_path.name}"):
        export_config(monkeypatch, f"--checkpoint_dir={tmp_path}")


def test_an_export_takes_a_data_set_for_the_names_of_a_detectors_classes_alone(monkeypatch):
    names = "--dataset=coco", "--dataset_dir=data", "--num_classes=3"
    assert export_config(monkeypatch, *names).dataset_dir == "data"
    for others in (("--labels=names.txt",), ("--format=onnx",), ("--dataset=imagenet",)):
        with pytest.raises(ValueError, match=r"--dataset_dir names the classes .* --dataset_dir=data"):
            export_config(monkeypatch, *names, *others)


@pytest.mark.parametrize("flags", [("--format=saved_model",), ("--format=onnx", "--preprocess")])
def test_an_export_that_prepares_pictures_takes_their_size(flags, monkeypatch):
    assert export_config(monkeypatch, *flags, "--image_size=41").image_size == 41


@pytest.mark.parametrize(
    "flags",
    [
        ("--format=onnx",),
        ("--format=onnx", "--dataset=digit_scenes"),
        ("--format=keras",),
        ("--format=weights",),
        ("--format=release",),
    ],
)
def test_an_export_that_takes_images_of_any_size_refuses_one(flags, monkeypatch):
    assert export_config(monkeypatch, *flags).format in flags[0]
    with pytest.raises(ValueError, match=f"--preprocess.*Leave it out. Received: {flags[0]}, --image_size=77"):
        export_config(monkeypatch, *flags, "--image_size=77")


@pytest.mark.parametrize(
    ("idle", "beside", "belongs"),
    [
        ("--stem_stride=2", ("--dataset=imagenet",), "--network=cifar"),
        ("--crop_size=6", (), "detectors"),
        ("--freeze_batch_norm=True", ("--dataset=cifar10",), "detectors"),
        ("--learning_rate_boundaries=5,7", (), "--learning_rate_schedule=piecewise"),
        ("--tau_warmup_steps=5", ("--model_type=vanilla",), "networks that halt, by a tau above 0"),
        ("--tau_warmup_steps=5", ("--model_type=sact", "--tau=0"), "networks that halt, by a tau above 0"),
        ("--learning_rate_decay_factor=0.5", ("--learning_rate_schedule=constant",), ".*=piecewise or .*=exponential"),
        ("--num_epochs_per_decay=2.0", ("--dataset=cifar10",), "--learning_rate_schedule=exponential"),
        ("--tpu=local", ("--strategy=mirrored",), "--strategy=tpu"),
    ],
)
def test_a_flag_without_an_effect_is_refused(idle, beside, belongs, monkeypatch):
    training_config(monkeypatch, *beside)
    with pytest.raises(ValueError, match=f"no effect here: it belongs to {belongs}.*Received: {idle}$"):
        training_config(monkeypatch, idle, *beside)


def test_flags_beside_what_they_belong_to_are_taken(monkeypatch):
    assert training_config(monkeypatch, "--dataset=imagenet", "--network=cifar", "--model=5", "--stem_stride=4")
    assert training_config(monkeypatch, "--dataset=digit_scenes", "--crop_size=8").model.crop_size == 8
    config = training_config(monkeypatch, "--learning_rate_schedule=piecewise", "--learning_rate_boundaries=5,7")
    assert config.learning_rate_boundaries == (5, 7)
    assert training_config(monkeypatch, "--dataset=cifar10", "--learning_rate_boundaries=").seed == 0
    assert export_config(monkeypatch, "--dataset=cifar10", "--stem_stride=2").model.stem_stride == 2


@pytest.mark.parametrize("flags", [("--experiment=imagenet_101_sact_5e-3", "--tau=0.01"), ()])
def test_an_experiment_sets_what_flags_leave_open(flags, monkeypatch):
    config = training_config(monkeypatch, *flags)
    if flags:
        assert (config.dataset, config.batch_size, config.learning_rate) == ("imagenet", 32, 0.05)
        assert (config.model.model, config.model.model_type, config.model.tau) == ("101", "sact", 0.01)
    else:
        assert (config.dataset, config.model.model_type) == ("cluttered_digits", "vanilla")


def test_a_run_has_the_classes_of_its_data_until_a_checkpoint_holds_it_to_its_own(monkeypatch, tmp_path):
    for name, number in (("three", 3), ("five", 5)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "imagenet_classes.txt").write_text("".join(f"{name}_{k}\n" for k in range(number)))
    run = tmp_path / "run"
    flags = ("--dataset=imagenet", f"--train_log_dir={run}", f"--dataset_dir={tmp_path}/")
    config = training_config(monkeypatch, *flags[:2], flags[2] + "three")
    # ImageNet's class 0 is the background.
    assert config.model.num_classes == 4
    run.mkdir()
    (run / "config.json").write_text(config.to_json())
    # It stopped before it saved anything.
    assert training_config(monkeypatch, *flags[:2], flags[2] + "five").model.num_classes == 6
    (run / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-1"')
    for ending in ("index", "data-00000-of-00001"):
        (run / f"model.ckpt-1.{ending}").touch()
    assert training_config(monkeypatch, *flags[:2], flags[2] + "other").model.num_classes == 4
    with pytest.raises(ValueError, match=r"five holds 6 classes, and the run in .* was begun with 4.*--finetune_skip_"):
        training_config(monkeypatch, *flags[:2], flags[2] + "five")


def test_data_that_a_run_noted_and_that_are_not_here_are_told_where_they_would_be_read(monkeypatch, tmp_path):
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    config = training_config(monkeypatch, "--dataset=cifar10", "--dataset_dir=data", "--train_log_dir=run")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(config.to_json())
    evaluation = monkeypatch, command_line.define_evaluation_flags, command_line.evaluation_config
    assert config_of(*evaluation, "--checkpoint_dir=run").dataset_dir == "data"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    with pytest.raises(FileNotFoundError, match=r"no data in .*elsewhere, which the run in \.\./run was trained on,"):
        config_of(*evaluation, "--checkpoint_dir=../run")
    assert config_of(*evaluation, "--checkpoint_dir=../run", "--dataset_dir=../data").dataset_dir == "../data"
    # ONNX files and SavedModels of classifiers are written without the data.
    assert export_config(monkeypatch, "--checkpoint_dir=../run", "--format=onnx").model == config.model


def test_flags_that_make_another_network_of_a_runs_weights_are_told(monkeypatch, tmp_path, capsys):
    config = training_config(monkeypatch, "--stem_stride=4", f"--train_log_dir={tmp_path}")
    (tmp_path / "config.json").write_text(config.to_json())
    evaluation = monkeypatch, command_line.define_evaluation_flags, command_line.evaluation_config
    for flags, notes in (
        ((), ""),
        (("--stem_stride=4", "--tau=3"), ""),
        (
            ("--stem_stride=2",),
            f"Note: {tmp_path} was trained with stem_stride=4. With --stem_stride=2 its weights are those of another "
            "network; leave the flag out unless that is meant.\n",
        ),
    ):
        config_of(*evaluation, f"--checkpoint_dir={tmp_path}", *flags)
        assert capsys.readouterr().out == notes


def first_run_as_a_command(run_script, eagerly, directory):
    returncode, output, errors = run_script(
        "-m", "sact_tf.studies.first_run", f"--run_dir={directory}", "--steps=2", "--num_examples=10"
    )
    assert returncode == 0, errors
    return output


def first_run_of_one_step(run_script, eagerly, directory):
    lines, recipe = [], {"max_number_of_steps": 1, "batch_size": 4}
    with eagerly():
        first_run.run(str(directory), recipe, recipe, num_examples=4, log=lines.append)
    return "\n".join(lines)


@pytest.mark.parametrize(
    "start_first_run", [first_run_of_one_step, pytest.param(first_run_as_a_command, marks=pytest.mark.slow)]
)
def test_the_first_run_trains_both_networks_and_draws_the_maps(run_script, eagerly, tmp_path, start_first_run):
    output = start_first_run(run_script, eagerly, tmp_path)
    assert re.search(r"^\| vanilla \| [\d.]+% \| 137\.7 M \| 100\.0% \| - \|", output, flags=re.MULTILINE)
    assert re.search(r"^\| sact \| [\d.]+% \| \d+\.\d M \| ", output, flags=re.MULTILINE)
    assert (tmp_path / "ponder_maps.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "results.json").exists()
