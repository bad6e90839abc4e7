"""The training loop: exact resume, and what stops it."""

import contextlib
import dataclasses
import functools
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2
from tensorflow.python.eager import context

from sact_tf import checkpoints, config, export, training
from sact_tf.data import pipeline
from sact_tf.models.build import build_model
from sact_tf.progress import print_line
from sact_tf.tasks import classification
from sact_tf.training import notes, session
from sact_tf.training.determinism import compute_deterministically
from sact_tf.training.optimizers import learning_rate_schedule
from sact_tf.training.trainer import Trainer

ROOT = str(pathlib.Path(__file__).resolve().parents[2])
STEPS = 40
COMMAND = [
    "train.py",
    "--dataset=cluttered_digits",
    "--model=1_2_1",
    "--model_type=sact",
    "--base_channels=4",
    "--image_size=40",
    "--batch_size=6",
    "--tau=0.02",
    "--tau_warmup_steps=20",
    "--seed=7",
    f"--max_number_of_steps={STEPS}",
]


def small_config(**changes):
    model = config.ModelConfig(
        network="cifar", model="1_2_1", model_type="sact", num_classes=10, base_channels=4, tau=0.02, stem_stride=2
    )
    fields = {
        "model": model,
        "dataset": "cluttered_digits",
        "image_size": 40,
        "batch_size": 6,
        "learning_rate": 0.05,
        "learning_rate_schedule": "constant",
        "max_number_of_steps": 3,
        "deterministic": False,
    }
    return config.TrainingConfig(**{**fields, **changes})


def plain_config(**changes):
    """Of a network without halting, whose step is traced in less than half the time, where it does not matter."""
    plain = dataclasses.replace(small_config().model, model="1", model_type="vanilla")
    return small_config(**{"model": plain, **changes})


@pytest.fixture
def start(start_script):
    """Function that starts a training run in a process of its own."""
    return lambda directory, *flags: start_script(*COMMAND, f"--train_log_dir={directory}", *flags, together=True)


def finish(process):
    output, _ = process.communicate()
    assert process.returncode == 0, output
    return output


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Directory of a run of `small_config()` that is complete, the result that training gave, and all its lines."""
    directory, lines = tmp_path_factory.mktemp("trained") / "run", []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session.Session, "LOG_SECS", 0)
        result = training.train(small_config(), str(directory), log=lines.append)
    return directory, result, lines


@pytest.fixture
def run_copy(trained, tmp_path):
    """A directory with a complete run of `small_config()` that may be changed."""
    return shutil.copytree(trained[0], tmp_path / "copy")


def test_a_run_killed_and_then_terminated_ends_in_the_bits_of_the_run_that_never_stopped(start, saved, tmp_path):
    unstopped, stopped = str(tmp_path / "unstopped"), str(tmp_path / "stopped")
    reference = start(unstopped)
    process = start(stopped, "--save_interval_secs=0")
    saved.wait_for_step(stopped, 3, process)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    killed = int(tf.train.latest_checkpoint(stopped).rpartition("-")[2])
    # The next one saves nothing until it is terminated.
    process = start(stopped)
    while f"step {killed + 1}/{STEPS}" not in process.output():
        assert process.poll() is None, process.output()
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    assert f"Going on from step {killed}:" in output
    saying = re.search(r"Stopped at step (\d+) by SIGTERM; the same command goes on from here", output)[1]
    assert killed < int(saying) < STEPS and tf.train.latest_checkpoint(stopped).endswith(f"model.ckpt-{saying}")
    assert f"Going on from step {saying}:" in finish(start(stopped))
    finish(reference)

    expected, actual = saved.read_all(unstopped), saved.read_all(stopped)
    assert set(expected) == set(actual)
    assert any(name.startswith("optimizer/") for name in expected)
    for name in expected:
        np.testing.assert_array_equal(actual[name], expected[name], err_msg=name)


@pytest.mark.usefixtures("without_graphs")
def test_what_is_traced_adds_gradients_up_in_one_order():
    compute_deterministically()
    traced_by = config_pb2.ConfigProto.FromString(context.context().function_call_options.config_proto_serialized)
    options = traced_by.graph_options.rewrite_options
    assert options.memory_optimization == options.NO_MEM_OPT


# TensorFlow's memory optimizer leaves the small steps of the other tests alone.
@pytest.mark.slow
def test_a_large_step_is_the_same_to_the_bit_in_every_run(start, tmp_path):
    flags = ("--batch_size=64", "--base_channels=16", "--image_size=64", "--model=5", "--max_number_of_steps=12")
    runs = [str(tmp_path / name) for name in ("one", "other")]
    for process in [start(run, *flags) for run in runs]:
        finish(process)
    one, other = (tf.train.load_checkpoint(tf.train.latest_checkpoint(run)) for run in runs)
    names = [name for name in one.get_variable_to_shape_map() if name.startswith("variables/")]
    assert len(names) > 100
    assert [name for name in names if not np.array_equal(one.get_tensor(name), other.get_tensor(name))] == []


def test_a_signal_does_not_stop_the_last_save(tmp_path, monkeypatch):
    save = tf.train.CheckpointManager.save

    def interrupted(*arguments, **named):
        os.kill(os.getpid(), signal.SIGINT)
        return save(*arguments, **named)

    monkeypatch.setattr(tf.train.CheckpointManager, "save", interrupted)
    before = signal.getsignal(signal.SIGINT)
    result = training.train(plain_config(max_number_of_steps=1), str(tmp_path))
    assert result["checkpoint"].endswith("model.ckpt-1") and signal.getsignal(signal.SIGINT) is before


@pytest.mark.usefixtures("without_graphs")
@pytest.mark.parametrize("ignored", [False, True])
def test_a_run_whose_terminal_is_closed_saves_first_unless_nohup_keeps_it_going(tmp_path, ignored):
    def close(line):
        if line.startswith("step 1/"):
            os.kill(os.getpid(), signal.SIGHUP)

    # Where it is not noted the test is to fail, and not to end all tests.
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else lambda number, frame: pytest.fail("not noted"))
    stopped = contextlib.nullcontext() if ignored else pytest.raises(SystemExit, match=f"^{128 + signal.SIGHUP}$")
    try:
        with stopped:
            training.train(plain_config(max_number_of_steps=2), str(tmp_path), log=close)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert tf.train.latest_checkpoint(tmp_path).endswith("model.ckpt-2" if ignored else "model.ckpt-1")


@pytest.mark.usefixtures("without_graphs")
def test_a_run_whose_lines_nobody_reads_any_more_saves_first(tmp_path):
    reader, written = os.pipe()
    os.close(reader)
    expected = pytest.raises(OSError, match=r"Stopped at step 1, which is saved\. What is said .* \(Broken pipe\)")
    with contextlib.suppress(BrokenPipeError), open(written, "w") as file, expected:
        training.train(plain_config(), str(tmp_path), log=functools.partial(print_line, file=file))
    assert tf.train.latest_checkpoint(tmp_path).endswith("model.ckpt-1")


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mount"), reason="a disk of its own takes root to mount")
@pytest.mark.usefixtures("without_graphs")
def test_a_full_disk_stops_the_run_and_leaves_the_last_checkpoint_whole(saved, tmp_path):
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(tmp_path)], check=False)
    if mounted.returncode:
        pytest.skip("this machine mounts no tmpfs")
    try:
        with pytest.raises(OSError, match=r"cannot be written(.|\n)*last complete checkpoint: .*model\.ckpt-\d+"):
            training.train(plain_config(max_number_of_steps=200), str(tmp_path), save_interval_secs=0, max_to_keep=100)
        _, keys = checkpoints.open_checkpoint(str(tmp_path))
        values = saved.read_all(str(tmp_path))
        assert keys and all(np.isfinite(value).all() for value in values.values())
        assert [name for name in os.listdir(tmp_path) if "temp" in name] == []
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True)


@pytest.mark.parametrize(
    ("reason", "way_out"), [("No space left on device", "Free some space"), ("File too large", "Raise the limit")]
)
@pytest.mark.usefixtures("without_graphs")
def test_what_cannot_be_written_is_said_without_the_words_of_tensorflow(tmp_path, monkeypatch, reason, way_out):
    message = f"{{{{function_node __wrapped__SaveV2_device_/device:CPU:0}}}} x/part-0; {reason} [Op:SaveV2]"

    def save(*arguments, **named):
        raise tf.errors.ResourceExhaustedError(None, None, message)

    monkeypatch.setattr(tf.train.CheckpointManager, "save", save)
    with pytest.raises(
        OSError, match=rf"^The checkpoint of step 1 cannot be written: x/part-0; {reason}\. .* {way_out}"
    ):
        training.train(plain_config(max_number_of_steps=1), str(tmp_path))


def test_a_disk_without_room_for_a_file_of_summaries_is_said_in_a_sentence(tmp_path, monkeypatch):
    def make_writer(path):
        raise tf.errors.ResourceExhaustedError(None, None, f"{path}/events; No space left on device\n\tFailed to flush")

    monkeypatch.setattr(tf.summary, "create_file_writer", make_writer)
    with pytest.raises(
        OSError, match=r"^The file of the summaries cannot .*/events; No space left on device\. The last "
    ):
        training.train(plain_config(max_number_of_steps=1), str(tmp_path))


@pytest.mark.usefixtures("without_graphs")
def test_moving_averages_of_the_weights_are_kept_and_evaluated(tmp_path):
    # With a decay of 0 the average is the weights themselves; with one near 1 it lags behind.
    result = training.train(plain_config(moving_average_decay=0.5, learning_rate=0.01), str(tmp_path))
    model = build_model(plain_config().model, 40)
    checkpoints.load_release_checkpoint(model, result["checkpoint"])
    kernel = model.logits_conv.kernel
    last = kernel.numpy()
    checkpoints.load_averages(model, result["checkpoint"])
    assert not np.array_equal(kernel.numpy(), last)
    np.testing.assert_allclose(kernel.numpy(), last, atol=0.1)


@pytest.mark.usefixtures("without_graphs")
def test_a_start_from_a_run_with_averages_says_which_weights_it_takes_and_how_to_take_the_others(tmp_path):
    run, written, model = tmp_path / "run", tmp_path / "averages", build_model(plain_config().model, 40)
    kept = training.train(plain_config(moving_average_decay=0.5, learning_rate=0.01), str(run))["checkpoint"]
    export.export(
        config.ExportConfig(
            model=plain_config().model,
            dataset="cluttered_digits",
            image_size=40,
            checkpoint_dir=str(run),
            use_moving_average=True,
            output_dir=str(written),
            format="release",
        ),
        log=lambda line: None,
    )
    for start, load, says_so in [
        (run, checkpoints.load_release_checkpoint, True),
        (written, checkpoints.load_averages, False),
    ]:
        lines = []
        beginning = plain_config(finetune_path=str(start), max_number_of_steps=1, learning_rate=1e-30)
        begun = training.train(beginning, str(tmp_path / f"from_{start.name}"), log=lines.append)["checkpoint"]
        said = f"export --format=release --checkpoint_dir={start} "
        assert any("not from their moving averages" in line and said in line for line in lines) == says_so
        load(model, kept)
        wanted = model.logits_conv.kernel.numpy()
        checkpoints.load_release_checkpoint(model, begun)
        np.testing.assert_array_equal(model.logits_conv.kernel.numpy(), wanted)


def test_a_run_without_moving_averages_says_so(trained):
    with pytest.raises(ValueError, match="has no moving averages; they are kept by training with"):
        checkpoints.load_averages(build_model(small_config().model, 40), trained[1]["checkpoint"])


# In a graph, the step of two devices is clipped in tests/training/test_strategies.py.
@pytest.mark.parametrize(
    ("make_config", "changes"),
    [
        pytest.param(plain_config, {"clip_norm": 0.1}, id="clipped"),
        pytest.param(small_config, {"jit_compile": True}, id="compiled"),
    ],
)
def test_a_step_can_be_clipped_and_compiled(saved, eagerly, tmp_path, make_config, changes):
    with eagerly():
        training.train(make_config(), str(tmp_path / "first"))
    with eagerly() if "clip_norm" in changes else contextlib.nullcontext():
        training.train(make_config(**changes), str(tmp_path / "second"))
    first, second = saved.read_all(str(tmp_path / "first")), saved.read_all(str(tmp_path / "second"))
    name = "variables/resnet_residual.Slogits.Sweights/.ATTRIBUTES/VARIABLE_VALUE"
    moved = np.abs(first[name] - second[name]).max()
    assert moved > 1e-3 if "clip_norm" in changes else moved < 1e-3


# The loss of float16 is scaled, which is more to trace and to resume, whatever the network.
@pytest.mark.parametrize(
    ("make_config", "dtype", "graph"),
    [
        (plain_config, "mixed_float16", True),
        (small_config, "mixed_bfloat16", False),
        pytest.param(small_config, "mixed_float16", True, marks=pytest.mark.slow),
        pytest.param(small_config, "mixed_bfloat16", True, marks=pytest.mark.slow),
    ],
)
def test_mixed_precision_trains_and_resumes(eagerly, tmp_path, make_config, dtype, graph):
    run_config = make_config(model=dataclasses.replace(make_config().model, dtype=dtype))
    with contextlib.nullcontext() if graph else eagerly():
        result = training.train(run_config, str(tmp_path))
    assert np.isfinite(result["loss"])
    assert result["step"] == training.train(run_config, str(tmp_path))["step"] == 3


def test_the_learning_rate_scales_with_the_batch_only_if_it_is_told_to():
    settings = {"learning_rate": 0.1, "batch_size": 64}
    assert float(learning_rate_schedule(small_config(**settings))(0)) == pytest.approx(0.1)
    scaled = small_config(**settings, learning_rate_base_batch_size=32)
    assert float(learning_rate_schedule(scaled)(0)) == pytest.approx(0.2)


@pytest.mark.usefixtures("without_graphs")
def test_an_epoch_is_as_long_as_the_data_that_there_are(tmp_path, monkeypatch):
    schedule = {"learning_rate_schedule": "exponential", "num_epochs_per_decay": 2.0, "learning_rate_decay_factor": 0.5}
    whole = learning_rate_schedule(plain_config(**schedule, batch_size=50))
    # Two epochs of 100,000 images are 4,000 steps of 50, two of 60 images in batches of 6 are 20.
    assert [float(whole(step)) for step in (3999, 4000)] == pytest.approx([0.05, 0.025])
    few = learning_rate_schedule(plain_config(**schedule), num_examples=60)
    assert [float(few(step)) for step in (19, 20, 40)] == pytest.approx([0.05, 0.025, 0.0125])
    assert float(learning_rate_schedule(plain_config(**schedule), num_examples=2)(1)) == pytest.approx(0.025)
    opened, made = pipeline.open_source, []
    monkeypatch.setattr(classification, "open_source", lambda *a, **k: opened(*a, **k)._replace(num_examples=6))
    monkeypatch.setattr(training, "Trainer", lambda *arguments: made.append(Trainer(*arguments)) or made[-1])
    said = []
    training.train(plain_config(**schedule, max_number_of_steps=2), str(tmp_path), log=said.append)
    assert float(made[0].optimizer.learning_rate) == pytest.approx(0.025)
    assert [text for text in said if "never falls: it would fall every 2 steps" in text and text.startswith("Note: ")]


def test_a_run_that_is_complete_trains_no_further(trained):
    directory, first, _ = trained
    again = training.train(small_config(), str(directory))
    assert first["step"] == again["step"] == 3
    assert again["checkpoint"] == first["checkpoint"]
    assert "loss" in first and "loss" not in again
    assert {"config.json", "environment.json"} < set(os.listdir(directory))


def test_a_directory_with_a_run_of_another_configuration_is_refused_and_left_alone(run_copy):
    before = {name: (run_copy / name).read_bytes() for name in os.listdir(run_copy)}
    with pytest.raises(ValueError, match=r"another configuration(.|\n)*batch_size: 6, 7(.|\n)*--train_log_dir"):
        training.train(small_config(batch_size=7), str(run_copy))
    assert {name: (run_copy / name).read_bytes() for name in os.listdir(run_copy)} == before


def test_a_directory_with_checkpoints_of_something_else_is_refused(tmp_path):
    tf.train.Checkpoint(x=tf.Variable(1.0)).save(str(tmp_path / "other"))
    with pytest.raises(ValueError, match=r"checkpoints but no config\.json"):
        training.train(small_config(), str(tmp_path))


@pytest.mark.parametrize("name", ["save_interval_secs", "save_summaries_secs"])
@pytest.mark.parametrize("seconds", [-1, float("nan"), None])
def test_seconds_that_cannot_be_waited_are_refused(tmp_path, name, seconds):
    with pytest.raises(ValueError, match=f"`{name}` must be a number of seconds, from 0 .* Received: {name}={seconds}"):
        training.train(small_config(), str(tmp_path / "run"), **{name: seconds})
    assert os.listdir(tmp_path) == []


def test_a_directory_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match=r"cannot be written.*file"):
        training.train(small_config(), str(tmp_path / "file" / "run"))


@pytest.mark.usefixtures("without_graphs")
def test_a_start_that_failed_leaves_nothing_that_a_corrected_one_trips_over(tmp_path):
    with pytest.raises(ValueError, match="image_size"):
        training.train(small_config(image_size=8), str(tmp_path))
    assert os.listdir(tmp_path) == []
    assert training.train(plain_config(max_number_of_steps=1), str(tmp_path))["step"] == 1


@pytest.mark.parametrize("name", ["config.json", "classes.json", "records.json", "environment.json"])
def test_files_of_somebody_else_are_not_written_over_nor_removed(tmp_path, name):
    (tmp_path / name).write_text('{"1": "mine"}')
    with pytest.raises(ValueError, match=f"holds {name}, which no training run wrote.* move it away"):
        training.train(plain_config(), str(tmp_path))
    assert os.listdir(tmp_path) == [name] and (tmp_path / name).read_text() == '{"1": "mine"}'


@pytest.mark.usefixtures("without_graphs", "one_trainer")
def test_a_run_whose_directory_is_moved_meanwhile_goes_on_from_what_it_saved_afterwards(tmp_path, monkeypatch):
    directory, lines = tmp_path / "run", []
    summarize = session.Session._summarize

    def move_away(self, step, *arguments):
        summarize(self, step, *arguments)
        directory.rename(tmp_path / "moved")

    monkeypatch.setattr(session.Session, "_summarize", move_away)
    training.train(plain_config(max_number_of_steps=1), directory, log=lines.append)
    note, _ = [line for line in lines if line.startswith("Note: ")]
    assert "was moved or emptied while this run trains in it" in note
    for name in ("config.json", "environment.json"):
        assert (directory / name).read_bytes() == (tmp_path / "moved" / name).read_bytes()
    assert training.train(plain_config(max_number_of_steps=1), str(directory))["step"] == 1


def test_a_directory_that_is_moved_while_a_checkpoint_is_written_has_it_all_the_same(tmp_path, monkeypatch):
    directory, lines, number = tmp_path / "run", [], tf.Variable(3)
    directory.mkdir()
    (directory / "config.json").write_text("{}")
    manager = notes.Manager(tf.train.Checkpoint(number=number), str(directory), 5, lines.append)

    def move_away(self, **arguments):
        monkeypatch.undo()
        directory.rename(tmp_path / "moved")
        raise tf.errors.NotFoundError(None, None, "No such file or directory")

    monkeypatch.setattr(tf.train.CheckpointManager, "save", move_away)
    assert manager.save(7) == str(directory / "model.ckpt-7")
    assert len(lines) == 1
    assert (directory / "config.json").read_text() == "{}"
    assert tf.train.load_variable(str(directory), "number/.ATTRIBUTES/VARIABLE_VALUE") == 3


def test_a_damaged_configuration_is_named(run_copy):
    (run_copy / "config.json").write_text('{"dataset": ')
    with pytest.raises(ValueError, match=r"config\.json: This is not the configuration of a sact_tf training run"):
        training.train(small_config(), str(run_copy))


@pytest.mark.usefixtures("without_graphs")
def test_a_loss_that_becomes_nan_stops_the_run_names_the_step_and_keeps_the_checkpoint(run_copy, tmp_path):
    good = tf.train.latest_checkpoint(str(run_copy))
    diverging = plain_config(learning_rate=1e30, max_number_of_steps=20)
    with pytest.raises(session.TrainingDiverged, match=r"became (nan|inf) in step [2-9]\.(.|\n)*learning_rate"):
        training.train(diverging, str(tmp_path / "bad"))
    assert tf.train.latest_checkpoint(str(tmp_path / "bad")) is None
    assert good == tf.train.latest_checkpoint(str(run_copy))


def test_weights_that_are_no_numbers_are_not_saved_even_if_the_loss_still_was_one(tmp_path):
    # In float32 this rate is infinite: the loss of step 1 is computed before it, the weights after.
    with pytest.raises(session.TrainingDiverged, match=r"weights are no numbers any more after step 1\."):
        training.train(plain_config(learning_rate=1e39), str(tmp_path), save_interval_secs=0)
    assert tf.train.latest_checkpoint(str(tmp_path)) is None


@pytest.mark.usefixtures("without_graphs")
def test_the_last_good_checkpoint_of_a_diverging_run_holds_numbers(saved, tmp_path):
    diverging = plain_config(learning_rate=1e30, max_number_of_steps=20)
    with pytest.raises(session.TrainingDiverged, match=r"model\.ckpt-1\b"):
        training.train(diverging, str(tmp_path), save_interval_secs=0)
    values = saved.read_all(str(tmp_path))
    assert values and all(np.isfinite(value).all() for value in values.values())
    assert tf.train.latest_checkpoint(str(tmp_path)).endswith("model.ckpt-1")


@pytest.mark.usefixtures("without_graphs")
def test_fine_tuning_starts_from_everything_but_the_halting_branches(saved, tmp_path):
    vanilla = dataclasses.replace(small_config().model, model_type="vanilla")
    training.train(small_config(model=vanilla, max_number_of_steps=1), str(tmp_path / "vanilla"))
    lines = []
    sact = small_config(finetune_path=str(tmp_path / "vanilla"), max_number_of_steps=1, learning_rate=1e-30)
    training.train(sact, str(tmp_path / "sact"), log=lines.append)

    assert lines[0] == f"Starting from {tmp_path / 'vanilla'}, all but the halting branches"
    old, new = saved.read_all(str(tmp_path / "vanilla")), saved.read_all(str(tmp_path / "sact"))
    kernels = [name for name in old if name.startswith("variables/") and ".Sweights/" in name]
    assert len(kernels) == 1 + 4 * 2 + 1
    for name in kernels:
        np.testing.assert_array_equal(new[name], old[name], err_msg=name)


def test_progress_says_step_loss_ponder_cost_and_speed(trained):
    _, _, lines = trained
    assert lines[0].startswith("step 1/3, loss ")
    assert "ponder cost" in lines[1] and "images/s" in lines[1] and "left" in lines[1]


def test_tau_rises_from_zero_and_reaches_its_value(tmp_path, monkeypatch):
    run = small_config(tau_warmup_steps=4, learning_rate=1e-30, max_number_of_steps=6)
    trainer = Trainer(run, tf.distribute.get_strategy())
    images, labels = np.zeros((6, 40, 40, 3), "float32"), np.zeros(6, "int64")
    shares = []
    for _ in range(6):
        results = trainer.train_step({"image": images, "label": labels})
        ponder = sum(float(results[f"block_{number}/ponder_cost_mean"]) for number in (1, 2, 3))
        shares.append(float(results["ponder"]) / (0.02 * ponder))
        # What TensorBoard shows beside them.
        assert float(results["training/Tau"]) == pytest.approx(0.02 * shares[-1])
    np.testing.assert_allclose(shares, [0.25, 0.5, 0.75, 1, 1, 1], rtol=1e-5)
    assert trainer.model.tau == 0.02


def test_a_run_that_never_halts_says_so_at_its_end(trained):
    _, _, lines = trained
    note, about_statistics = [line for line in lines if line.startswith("Note: ")]
    # .9 ** 3.
    assert "statistics, moving averages, are still those of the beginning to 73%" in about_statistics
    assert about_statistics is lines[-1]
    # Only the second block has something to decide.
    assert re.fullmatch(
        r"Note: No position of any block ever halts early: 100\.0% of the FLOPs of the network that never halts are "
        r"spent\. Raise --tau \(now 0\.02\) .* \(now 6\.\d\d of at most 7, from 6\.\d\d at the start\)\.",
        note,
    )


@pytest.mark.usefixtures("without_graphs")
def test_a_long_run_that_never_halts_says_so_once_on_its_way(tmp_path, monkeypatch):
    monkeypatch.setattr(session.Session, "LOG_SECS", 0)
    monkeypatch.setattr(session.Session, "REMARK_STEPS", 2)
    lines = []
    training.train(small_config(max_number_of_steps=5), str(tmp_path), log=lines.append)
    places = [number for number, line in enumerate(lines) if line.startswith("Note: No position")]
    # Looked at from step 2 on, said at step 4, and again at the end.
    assert [lines[place - 1].split(",")[0] for place in places] == ["step 4/5", "step 5/5"]


def test_a_label_that_is_no_class_ends_in_a_sentence(tmp_path):
    model = dataclasses.replace(plain_config().model, num_classes=3)
    with pytest.raises(ValueError, match=r"^Labels must be whole numbers from 0 to 2, for 3 classes.*Received: \["):
        training.train(small_config(model=model), str(tmp_path))
    assert tf.train.latest_checkpoint(str(tmp_path)) is None


@pytest.mark.usefixtures("without_graphs")
def test_fine_tuning_on_other_classes_starts_the_logits_afresh(saved, trained, tmp_path):
    ten = str(trained[0])
    model = dataclasses.replace(small_config().model, num_classes=12)
    changes = {"model": model, "finetune_path": ten, "max_number_of_steps": 1, "learning_rate": 1e-30}
    with pytest.raises(ValueError, match="--finetune_skip_logits"):
        training.train(small_config(**changes), str(tmp_path / "refused"))
    training.train(small_config(**changes, finetune_skip_logits=True), str(tmp_path / "twelve"))
    old, new = saved.read_all(ten), saved.read_all(str(tmp_path / "twelve"))
    for name in old:
        if name.startswith("variables/") and "halting" not in name and "logits" not in name and "weights" in name:
            np.testing.assert_array_equal(new[name], old[name], err_msg=name)


def test_a_configuration_survives_its_file():
    written = small_config(learning_rate_schedule="piecewise", learning_rate_boundaries=(1, 2), finetune_path="x")
    assert config.TrainingConfig.from_json(written.to_json()) == written


@pytest.mark.parametrize(
    "changes",
    [
        {"batch_size": 0},
        {"learning_rate": float("nan")},
        {"learning_rate": -0.1},
        {"momentum": 1.0},
        {"learning_rate_schedule": "stairs"},
        {"learning_rate_boundaries": (5, 3)},
        {"learning_rate_boundaries": (-5, 3)},
        {"learning_rate_boundaries": (1.5,)},
        {"learning_rate_decay_factor": -1.0},
        {"learning_rate_decay_factor": float("nan")},
        {"num_epochs_per_decay": 0.0},
        {"num_epochs_per_decay": float("inf")},
        {"seed": -3},
        {"seed": 2**32},
        {"dataset": "mnist"},
        {"max_number_of_steps": -1},
        {"tau_warmup_steps": -1},
        {"finetune_skip_logits": True},
    ],
)
def test_settings_out_of_range_are_refused(changes):
    with pytest.raises(ValueError, match=f"`{next(iter(changes))}` (must|leaves)"):
        small_config(**changes)
