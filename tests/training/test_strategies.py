"""Several devices and several workers give what one process gives for the same global batch."""

import contextlib
import dataclasses
import functools
import json
import pathlib
import signal
import socket
import time
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

from sact_tf import config, training
from sact_tf.data import pipeline
from sact_tf.data.sources import RecordSource
from sact_tf.training import strategies
from sact_tf.training.trainer import Trainer

ROOT = str(pathlib.Path(__file__).resolve().parents[2])
# What does not halt needs no block of several units.
MODELS = {"vanilla": "1", "act": "1_2_1", "act_early_stopping": "1_2_1", "sact": "1_2_1"}
FLAGS = (
    "--base_channels=4",
    "--image_size=40",
    "--batch_size=8",
    "--tau=0.05",
    "--learning_rate=0.05",
    "--learning_rate_schedule=constant",
    "--warmup_steps=0",
)


def make_config(model_type, steps, **changes):
    model = config.ModelConfig(
        network="cifar",
        model=MODELS[model_type],
        model_type=model_type,
        num_classes=10,
        base_channels=4,
        tau=0.05,
        stem_stride=2,
    )
    return config.TrainingConfig(
        model=model,
        dataset="cluttered_digits",
        image_size=40,
        batch_size=8,
        learning_rate=0.05,
        learning_rate_schedule="constant",
        max_number_of_steps=steps,
        deterministic=False,
        **changes,
    )


@pytest.fixture(scope="module")
def on_two_devices(tmp_path_factory):
    """Function of a configuration to the directory of its run on two devices, and the losses of its steps."""

    @functools.cache
    def run(run_config):
        directory, lines = str(tmp_path_factory.mktemp("devices")), []
        with mock.patch("sact_tf.training.session.Session.LOG_SECS", 0):
            training.train(run_config, directory, log=lines.append, strategy="mirrored")
        return directory, [float(line.split("loss ")[1].split(",")[0]) for line in lines if "loss " in line]

    return run


# Of the gradients of all replicas together: clipped each by itself, they would add up to twice the norm.
# Not clipped, their size counts as well, whatever the network.
@pytest.mark.parametrize(
    ("model_type", "changes"),
    [("sact", {"clip_norm": 0.2}), ("vanilla", {}), pytest.param("act_early_stopping", {}, marks=pytest.mark.slow)],
)
def test_two_devices_give_the_losses_of_the_split_batch(on_two_devices, split_batch_losses, model_type, changes):
    run_config = make_config(model_type, steps=3, **changes)
    _, losses = on_two_devices(run_config)
    # The log has three decimals.
    np.testing.assert_allclose(losses, split_batch_losses(run_config, 2), atol=6e-4)


@pytest.mark.parametrize("clip_norm", [None, 0.2])
@pytest.mark.parametrize("replica", [0, 1, -1])
def test_a_step_whose_float16_gradients_overflow_in_one_of_two_replicas_is_left_out(replica, clip_norm):
    half = make_config("vanilla", steps=1, clip_norm=clip_norm)
    half = dataclasses.replace(half, model=dataclasses.replace(half.model, dtype="mixed_float16"))
    trainer = Trainer(half, strategies.make_strategy("mirrored"))

    def differentiate(batch):
        here = tf.distribute.get_replica_context().replica_id_in_sync_group
        size = tf.where(tf.equal(here, replica), np.inf, float(trainer.optimizer.initial_scale))
        return [tf.fill(variable.shape, size) for variable in trainer.model.trainable_variables], {"loss": batch}

    trainer._differentiate = differentiate
    before = [variable.numpy() for variable in trainer.model.trainable_variables]
    trainer.train_step(tf.constant(0.0))
    after = [variable.numpy() for variable in trainer.model.trainable_variables]
    moved = [np.any(new != old) for new, old in zip(after, before, strict=True)]
    assert set(moved) == {replica < 0}
    scale = trainer.optimizer.dynamic_scale.numpy()
    assert scale == trainer.optimizer.initial_scale / (1 if replica < 0 else 2)


@pytest.fixture
def start_workers(start_script):
    """Function that starts two workers on this machine, which find each other on loopback."""
    return functools.partial(start_two, start_script)


def start_two(start_script, directory, *flags):
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{held.getsockname()[1]}" for held in (first, second)]
    workers = []
    for index in range(2):
        tf_config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        words = ("train.py", "--strategy=multi_worker", *FLAGS, f"--train_log_dir={directory}", *flags)
        workers.append(start_script(*words, environment={"TF_CONFIG": json.dumps(tf_config)}, together=True))
    return workers


def wait_for_checkpoint(directory, workers):
    deadline = time.monotonic() + 600
    while tf.train.latest_checkpoint(directory) is None:
        assert time.monotonic() < deadline and all(worker.poll() is None for worker in workers)
        time.sleep(0.05)


def read_all(directory):
    reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(directory))
    names = [name for name in reader.get_variable_to_shape_map() if name.startswith(("variables/", "optimizer/"))]
    return {name: reader.get_tensor(name) for name in names}


def finish(workers):
    for worker in workers:
        output, _ = worker.communicate()
        assert worker.returncode == 0, output


# What halts is traced in more than twice the time, and the workers share its gradients as they do others.
@pytest.mark.parametrize("model_type", ["vanilla", pytest.param("sact", marks=pytest.mark.slow)])
def test_two_workers_end_where_two_devices_do(start_workers, on_two_devices, tmp_path, model_type):
    # Few steps: over many, the order in which the two add gradients up is amplified.
    flags = (f"--model_type={model_type}", f"--model={MODELS[model_type]}", "--max_number_of_steps=3")
    finish(start_workers(tmp_path, *flags))
    workers, devices = read_all(str(tmp_path)), read_all(on_two_devices(make_config(model_type, steps=3))[0])
    assert set(workers) == set(devices)
    for name, value in devices.items():
        np.testing.assert_allclose(workers[name], value, rtol=1e-3, atol=1e-4, err_msg=name)


@pytest.mark.slow
def test_a_run_that_lost_a_worker_goes_on_to_the_same_bits(start_workers, tmp_path):
    flags = ("--model_type=sact", "--model=1_2_1", "--max_number_of_steps=40")
    unkilled, killed = str(tmp_path / "unkilled"), str(tmp_path / "killed")
    finish(start_workers(unkilled, *flags))

    workers = start_workers(killed, *flags, "--save_interval_secs=0")
    wait_for_checkpoint(killed, workers)
    workers[1].send_signal(signal.SIGKILL)
    output, _ = workers[0].communicate()
    assert workers[0].returncode != 0
    assert "Another worker of this run does not answer any more" in output
    assert "Start all workers again" in output
    assert "Traceback" not in output
    assert int(tf.train.latest_checkpoint(killed).rpartition("-")[2]) < 40

    finish(start_workers(killed, *flags))
    expected, actual = read_all(unkilled), read_all(killed)
    assert set(expected) == set(actual)
    for name in expected:
        np.testing.assert_array_equal(actual[name], expected[name], err_msg=name)


@pytest.mark.parametrize(("batch_size", "way_out"), [(7, "the nearest are 6 and 8"), (1, "the smallest is 2")])
def test_a_batch_that_does_not_split_over_the_replicas_is_refused(tmp_path, batch_size, way_out):
    run_config = dataclasses.replace(make_config("sact", steps=1), batch_size=batch_size)
    with pytest.raises(ValueError, match=rf"multiple of the 2 replicas.*batch_size={batch_size}; {way_out}"):
        training.train(run_config, str(tmp_path), strategy="mirrored")


@pytest.mark.parametrize(("changes", "agree"), [({"dataset_dir": "here"}, True), ({"learning_rate": 0.5}, False)])
def test_workers_of_different_flags_are_refused(changes, agree):
    ours = make_config("act", steps=1)
    model = dataclasses.replace(ours.model, tau=ours.model.tau if agree else 0.7)
    both = [config.what_is_trained(each) for each in (ours, dataclasses.replace(ours, model=model, **changes))]
    said = []
    # What each worker gives to the sum of all; the first meets itself.
    strategy = mock.Mock(spec=tf.distribute.MultiWorkerMirroredStrategy, num_replicas_in_sync=2)
    strategy.run = lambda function: said.append(tf.get_static_value(function()))
    strategy.reduce = lambda how, value, axis: tf.constant(said[0] + said[-1])
    strategies.check_workers_agree(strategy, both[0])
    expected = r"with different flags.*same command.*: model\.tau=0\.7, learning_rate=0\.5$"
    with contextlib.nullcontext() if agree else pytest.raises(ValueError, match=expected):
        strategies.check_workers_agree(strategy, both[1])


@pytest.mark.parametrize(("theirs", "agree"), [(b"a", True), (b"b", False)])
def test_workers_that_read_other_records_are_refused(theirs, agree):
    said = []
    strategy = mock.Mock(spec=tf.distribute.MultiWorkerMirroredStrategy, num_replicas_in_sync=2)
    strategy.run = lambda function: said.append(tf.get_static_value(function()))
    strategy.reduce = lambda how, value, axis: tf.constant(said[0] + said[-1])
    first, second = (RecordSource(1, lambda index, record=record: record, None, str) for record in (b"a", theirs))
    strategies.check_data_agree(strategy, first)
    with contextlib.nullcontext() if agree else pytest.raises(ValueError, match=r"different data.*: checksum of some="):
        strategies.check_data_agree(strategy, second)


@pytest.mark.parametrize(
    "places", ["", 'Graph execution error:\n\nDetected at node A/B:\n  File "a.py", line 1, in f\n\n']
)
def test_a_worker_that_is_lost_is_told_in_a_sentence_with_the_reason_not_the_place_in_the_code(places):
    strategy = mock.Mock(spec=tf.distribute.MultiWorkerMirroredStrategy)
    with (
        pytest.raises(strategies.WorkerLost, match=r"if it ended.*TensorFlow says: Aborted by: gone$"),
        strategies.told_of_lost_workers(strategy),
    ):
        raise tf.errors.UnavailableError(None, None, places + "Aborted by: gone\n\t [[{{node A/B}}]] [Op:f]")


@pytest.mark.parametrize(
    "listed",
    [
        '{"cluster": {}}',
        '{"cluster": {"worker": "host1:2222"}, "task": {"type": "worker", "index": 0}}',
    ],
)
def test_workers_without_a_list_of_workers_are_told_what_to_set(monkeypatch, listed):
    monkeypatch.setenv("TF_CONFIG", listed)
    with pytest.raises(ValueError, match=r"needs the environment variable TF_CONFIG(.|\n)*Received: TF_CONFIG="):
        strategies.make_strategy("multi_worker")


@pytest.mark.parametrize(
    ("cluster", "task", "reason"),
    [
        ({"worker": ["a:1"]}, ("evaluator", 0), "no address"),
        ({"worker": ["a:1"], "chief": ["a:2"]}, ("worker", 1), "no address"),
        ({"worker": ["a:1"], "ps": ["a:2"]}, ("worker", 0), "nothing else"),
        ({"worker": ["a"]}, ("worker", 0), "host and a port, not 'a'"),
        ({"worker": ["a:1", "a:99999"]}, ("worker", 0), "host and a port, not 'a:99999'"),
        ({"worker": ["a:1", "a:1"]}, ("worker", 0), "there twice"),
    ],
)
def test_a_list_of_workers_that_tensorflow_would_wait_for_is_refused(monkeypatch, cluster, task, reason):
    """It waited for ever, or ended in a traceback."""
    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", lambda: pytest.fail("asked TensorFlow"))
    task = {"type": task[0], "index": task[1]}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
    with pytest.raises(ValueError, match=rf"needs the environment variable TF_CONFIG.*{reason}"):
        strategies.make_strategy("multi_worker")


def test_a_port_that_is_taken_is_named(monkeypatch):
    def taken():
        raise tf.errors.UnknownError(None, None, "Could not start gRPC server")

    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", taken)
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}')
    with pytest.raises(OSError, match=r"another process may have the port.*Could not start gRPC server"):
        strategies.make_strategy("multi_worker")


def test_a_tpu_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="No TPU was found under the name 'nowhere'"):
        strategies.make_strategy("tpu", "nowhere")


def test_on_a_tpu_networks_with_max_pooling_are_not_deterministic(tmp_path):
    run_config = config.default_training_config("coco", dataset_dir=str(tmp_path))
    with pytest.raises(ValueError, match=r"A TPU compiles the step with XLA.*Give --nodeterministic"):
        training.train(run_config, str(tmp_path), strategy="tpu", tpu="nowhere")


def test_a_strategy_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="`strategy` must be one of"):
        strategies.make_strategy("many")


# A compiled step of sact is compared with one that is not in tests/training/test_train.py.
@pytest.mark.parametrize(
    "model_type",
    ["act_early_stopping", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("vanilla", "act", "sact"))],
)
def test_the_step_compiles_with_static_shapes_as_a_tpu_needs_it(model_type):
    run_config = dataclasses.replace(make_config(model_type, steps=1), jit_compile=True)
    trainer = Trainer(run_config, tf.distribute.get_strategy())
    source = pipeline.open_source("cluttered_digits", "train", 40)
    (batch,) = pipeline.training_batches(source, 8, 0, 0).take(1)
    assert None not in [*batch["image"].shape, *batch["label"].shape]
    # XLA compiles all of forward, loss and backward or raises; it has no op that a TPU lacks.
    assert np.isfinite(float(trainer.train_step(batch)["loss"]))
