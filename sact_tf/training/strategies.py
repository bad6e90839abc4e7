"""Where a run computes: one device, the devices of one machine, several machines, or a TPU."""

import contextlib
import hashlib
import json
import os
import re
import zlib

import numpy as np
import tensorflow as tf

from sact_tf.data import trained_records
from sact_tf.progress import reason_of

STRATEGIES = ("one", "mirrored", "multi_worker", "tpu")

# What the collectives of several workers raise when one of them is gone.
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.DeadlineExceededError,
    tf.errors.CancelledError,
    tf.errors.InternalError,
)


class WorkerLost(RuntimeError):
    """Another worker of the run stopped."""


@contextlib.contextmanager
def told_of_lost_workers(strategy):
    """Context that makes a `WorkerLost` of what TensorFlow raises, in a step or at the start, where one is gone."""
    try:
        yield
    except _LOST as error:
        if strategy.cluster_resolver is None:
            raise
        raise WorkerLost(
            "Another worker of this run does not answer any more; if it ended with an error, mend that first. Start "
            "all workers again, with the same commands; the run goes on from its latest checkpoint. TensorFlow says: "
            f"{_said(error.message)[:300]}"
        ) from error


def _said(message):
    """What TensorFlow says of a failure, on one line, behind the places in the code that it says first."""
    places = r"^.*(Graph execution error:|\n *File \"[^\n]*)|\[\[.*?\]\]"
    return reason_of(re.sub(places, "", message, flags=re.DOTALL))


def make_strategy(name, tpu=""):
    """Makes a `tf.distribute.Strategy`. Several machines and TPUs must be asked for before TensorFlow first computes.

    Args:
        name: "one": the first GPU, or the CPU. "mirrored": all GPUs of this machine (or all of its logical CPU
            devices). "multi_worker": the machines that the environment variable TF_CONFIG lists, each of which runs
            the same command. "tpu": the TPU named by `tpu`.
        tpu: name or address of the TPU; empty for the one that this machine is attached to.

    Raises:
        ValueError: for another name, or if TF_CONFIG is missing or not what TensorFlow expects.
        OSError: if another process has the port of this worker.
    """
    if name == "one":
        return tf.distribute.get_strategy()
    if name == "mirrored":
        if tf.config.list_logical_devices("GPU"):
            return tf.distribute.MirroredStrategy()
        devices = [device.name for device in tf.config.list_logical_devices("CPU")]
        # The default's collectives are numbered per process: a second run in it would meet the first one's shapes.
        return tf.distribute.MirroredStrategy(devices, tf.distribute.ReductionToOneDevice())
    if name == "multi_worker":
        _check_tf_config()
        try:
            return tf.distribute.MultiWorkerMirroredStrategy()
        except (ValueError, TypeError) as error:
            raise _wrong_tf_config(error) from error
        except tf.errors.UnknownError as error:
            raise OSError(
                "This worker cannot listen at its address in TF_CONFIG; another process may have the port, such as an "
                f"earlier worker that still runs. Stop that, or give another port. TensorFlow says: "
                f"{_said(error.message)[:300]}"
            ) from error
    if name == "tpu":
        return _tpu_strategy(tpu)
    raise ValueError(f"`strategy` must be one of {STRATEGIES}. Received: strategy={name!r}")


def is_chief(strategy):
    """Whether this process writes the run's files: the only one, or the first of several workers."""
    resolver = strategy.cluster_resolver
    if resolver is None or not resolver.task_type:
        return True
    return resolver.task_type == "chief" or (resolver.task_type == "worker" and not resolver.task_id)


def check_batch_size(batch_size, strategy):
    """Raises ValueError unless the batch splits evenly over the strategy's replicas."""
    replicas = strategy.num_replicas_in_sync
    if batch_size % replicas:
        below, above = batch_size // replicas * replicas, (batch_size // replicas + 1) * replicas
        nearest = f"the nearest are {below} and {above}" if below else f"the smallest is {above}"
        raise ValueError(
            f"`batch_size` is the global batch and must be a multiple of the {replicas} replicas that train together. "
            f"Received: batch_size={batch_size}; {nearest}."
        )


def check_workers_agree(strategy, settings):
    """Raises ValueError unless every worker of a run calls this with the same settings, as all have to.

    Each worker computes its own update of the weights, and would go its own way in silence.

    Args:
        strategy: `tf.distribute.Strategy`.
        settings: dict from names, the same for all workers, to values.
    """
    if here := _others(strategy, settings):
        raise ValueError(
            "The workers of this run were started with different flags. Start all of them with the same command; only "
            f"the index in TF_CONFIG differs. This worker has what another has not: {here}"
        )


def check_data_agree(strategy, source):
    """Raises ValueError unless every worker of a run calls this with a source of the same records.

    Each reads its part of a batch by the numbers of records: of others, some would be read twice and some never.

    Args:
        strategy: `tf.distribute.Strategy`.
        source: what `pipeline.open_source` returned for training.
    """
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return
    if not (facts := trained_records.facts_of(source)):
        return
    checksum = zlib.crc32(json.dumps(facts["checksums"]).encode())
    if here := _others(strategy, {"training records": facts["records"], "checksum of some": checksum}):
        raise ValueError(
            "The workers of this run read different data. Give each a --dataset_dir with the same records, such as a "
            f"whole copy. This worker has what another has not: {here}"
        )


def _others(strategy, settings):
    """What some other worker has not of these settings, as text; empty if all have the same."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return ""
    lines = [f"{name}={value!r}" for name, value in settings.items()]
    numbers = np.array([int.from_bytes(hashlib.sha256(line.encode()).digest()[:4]) for line in lines], np.int64)

    # As a graph: eagerly TensorFlow warns that it is slow.
    @tf.function
    def total():
        return strategy.reduce("SUM", strategy.run(lambda: tf.constant(numbers)), axis=None)

    differ = np.asarray(total()) != numbers * strategy.num_replicas_in_sync
    return ", ".join(line for line, differs in zip(lines, differ, strict=True) if differs)


def _check_tf_config():
    text = os.environ.get("TF_CONFIG", "")
    try:
        config = json.loads(text)
        cluster, task = config["cluster"], config["task"]
        if not {"worker"} <= set(cluster) <= {"chief", "worker"}:
            raise ValueError("its cluster must have workers, beside them a chief at most, and nothing else")
        if not 0 <= int(task["index"]) < len(cluster.get(task["type"], ())):
            raise ValueError("its task has no address in its cluster")
        jobs = [job.values() if isinstance(job, dict) else job for job in cluster.values()]
        _check_addresses([address for job in jobs for address in job])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _wrong_tf_config(error) from error


def _check_addresses(addresses):
    """Raises ValueError unless each is a host and a port, and none is there twice: TensorFlow would wait for ever."""
    for address in addresses:
        host, _, port = str(address).rpartition(":")
        if not (host and port.isdecimal() and 0 < int(port) < 2**16):
            raise ValueError(f"an address must be a host and a port, not {address!r}")
    if len(set(addresses)) < len(addresses):
        raise ValueError("an address is there twice")


def _wrong_tf_config(error):
    return ValueError(
        "--strategy=multi_worker needs the environment variable TF_CONFIG, the same list of workers on each machine "
        'and its own index: {"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker", "index": '
        f"0}}}}. Received: TF_CONFIG={os.environ.get('TF_CONFIG', '')!r} ({error})"
    )


def _tpu_strategy(tpu):
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=tpu)
    except (ValueError, OSError) as error:
        raise ValueError(
            f"No TPU was found under the name {tpu!r}. Give --tpu the name or grpc:// address of a TPU that this "
            f"machine can reach. TensorFlow says: {error}"
        ) from error
    tf.config.experimental_connect_to_cluster(resolver)
    tf.tpu.experimental.initialize_tpu_system(resolver)
    return tf.distribute.TPUStrategy(resolver)
