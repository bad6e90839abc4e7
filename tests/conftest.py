"""What every test shares: quiet logs, a fixed seed, two logical devices, scripts, the original release's figures."""

import contextlib
import functools
import gc
import itertools
import json
import os
import pathlib
import random
import subprocess
import sys
import time
import warnings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]


def pytest_configure(config):
    # The process that deals tests out to others (pytest-xdist) runs none: without TensorFlow it lets them start sooner.
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        return
    # Until `pytest_collection_finish`: what is imported and collected is no garbage.
    gc.disable()
    import tensorflow as tf

    from sact_tf import processor

    # Commands that tests start compute as this process does: they are compared with it.
    os.environ.setdefault(processor.SWITCH, str(int(bool(processor.uses_onednn()))))
    tf.get_logger().setLevel("ERROR")
    _leave_data_sets_untuned(tf)
    _keep_kernels()
    if not tf.config.list_physical_devices("GPU"):
        # Two replicas for MirroredStrategy; has to come before TensorFlow first computes.
        tf.config.set_logical_device_configuration(
            tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
        )


def _leave_data_sets_untuned(tf):
    """Makes iterators, also those of Keras, as `sact_tf.data.pipeline` has them: see there for what they would wait.

    And without TensorFlow's rewriting of their graphs, which takes a fifth of the time to start one: for a few batches.
    """
    from tensorflow.python.data.ops import dataset_ops

    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    # Called of each data set before it is iterated over.
    dataset_ops.DatasetV2._apply_debug_options = lambda dataset: dataset.with_options(options)


def _keep_kernels():
    """Lets a seed that is set, as each training sets one, leave TensorFlow's cache of kernels as it is.

    It is emptied for operations whose random numbers go on from call to call, which neither Keras nor we have; making
    the kernels again took a seventh of the time of tests that train.
    """
    from tensorflow.python.eager import context

    def set_global_seed(self, seed):
        self._seed, self._rng = seed, random.Random(seed)

    context.Context._set_global_seed = set_global_seed


def pytest_collection_finish():
    # Most of what is alive by now stays so. Looking through it again and again took a tenth of the time.
    # Not never: processes would grow to twice the size.
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 20)
    gc.enable()


def pytest_sessionfinish():
    # The process ends: nothing is to look through what is alive once more.
    gc.freeze()


@pytest.fixture(autouse=True)
def seed():
    # What Keras draws its seeds from. Not `keras.utils.set_random_seed`: it also empties TensorFlow's cache of kernels,
    # and making them again took a fifth of the time.
    random.seed(17)
    np.random.seed(17)
    # What `fit` shuffles by.
    import tensorflow as tf

    tf.random.set_seed(17)


@pytest.fixture(autouse=True)
def determinism():
    # No test is to find operations deterministic because a training before it asked for that: without a word, Keras
    # then leaves out XLA.
    from tensorflow.python.framework import config

    config.disable_op_determinism()


@pytest.fixture(scope="session")
def eagerly():
    """Context in which each `tf.function`, but those of data sets, is the Python that it was made from.

    For what a graph has no part in: a few small steps take less than half as long as tracing one.
    """

    @contextlib.contextmanager
    def run_functions_eagerly():
        import tensorflow as tf

        before = tf.config.functions_run_eagerly()
        tf.config.run_functions_eagerly(True)
        try:
            with warnings.catch_warnings():
                # The one that data sets keep their graphs.
                warnings.filterwarnings("ignore", message="Even though the `tf.config.experimental_run_functions")
                yield
        finally:
            tf.config.run_functions_eagerly(before)

    return run_functions_eagerly


@pytest.fixture
def without_graphs(eagerly):
    """A whole test in the context of `eagerly`."""
    with eagerly():
        yield


@pytest.fixture
def one_trainer(monkeypatch):
    """The trainings of a test have one `Trainer`, whose step is traced once.

    Before each of them but the first all that a step changes is set to something else, so that a run that goes on has
    but what its checkpoint holds.
    """
    import tensorflow as tf

    from sact_tf import training
    from sact_tf.training.trainer import Trainer

    class TracedOnce(Trainer):
        made = None

        def step_on(self, element_spec):
            self.made = self.made or super().step_on(element_spec)
            return self.made

    trainers = []

    def make(*arguments):
        if not trainers:
            trainers.append(TracedOnce(*arguments))
            return trainers[0]
        for variable in (*trainers[0].model.variables, *trainers[0].optimizer.variables, trainers[0].step):
            variable.assign(tf.ones_like(tf.convert_to_tensor(variable)))
        return trainers[0]

    monkeypatch.setattr(training, "Trainer", make)


class Script:
    """A script in a process of its own, used like a `subprocess.Popen`; `pid` is of the script itself."""

    def __init__(self, ask, words, environment, output, errors):
        self._ask, self.returncode = ask, None
        self._output, self._errors = output, errors
        self.pid = ask([[str(word) for word in words], environment, str(output), str(errors)])

    def output(self):
        """All that it has printed up to now."""
        return self._output.read_text() if self._output.exists() else ""

    def poll(self):
        if self.returncode is None:
            self.returncode = self._ask(self.pid)
        return self.returncode

    def wait(self, timeout=600):
        # Minutes go by on a machine that does ten other things.
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.01)
        return self.returncode

    def communicate(self, timeout=600):
        self.wait(timeout)
        return self.output(), self._errors.read_text()

    def send_signal(self, number):
        # Its number is its own until `poll` has said that it ended.
        if self.returncode is None:
            os.kill(self.pid, number)


@contextlib.contextmanager
def warm_process(directory, *modules):
    """Context of a function that starts scripts, which write below `directory`; for `modules` see `tests/warm.py`."""
    numbers, started = itertools.count(), []
    command = [sys.executable, str(ROOT / "tests" / "warm.py"), *modules]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(request):
        print(json.dumps(request), file=process.stdin, flush=True)
        answer = process.stdout.readline()
        assert answer, "the process that scripts are copies of has ended"
        return json.loads(answer)

    def start(*words, environment=None, together=False):
        number = next(numbers)
        output = directory / f"{number}.txt"
        errors = output if together else directory / f"{number}_errors.txt"
        started.append(Script(ask, words, environment or {}, output, errors))
        return started[-1]

    yield start
    for script in started:
        if script.poll() is None:
            script.send_signal(9)
    process.stdin.close()
    assert process.wait(timeout=600) == 0


@pytest.fixture(scope="session")
def start_script(tmp_path_factory):
    """Function that starts `python *words` in the root of the project and returns a `Script`.

    The process is forked off one that has imported TensorFlow, see `tests/warm.py`: that saves seconds each time. With
    `together`, errors come in between what is printed.
    """
    with warm_process(tmp_path_factory.mktemp("scripts")) as start:
        yield start


def run_to_its_end(start, *words, **kwargs):
    script = start(*words, **kwargs)
    output, errors = script.communicate()
    return script.returncode, output, errors


@pytest.fixture(scope="session")
def run_script(start_script):
    """Function that runs `python *words` to its end, and returns exit status, what was printed, and the errors."""
    return functools.partial(run_to_its_end, start_script)


@pytest.fixture(scope="session")
def run_elsewhere(tmp_path_factory):
    """As `run_script`, of code instead of a script's name, in a process that has TensorFlow and nothing of ours."""
    directory = tmp_path_factory.mktemp("elsewhere")
    with warm_process(directory, "tensorflow") as start:

        def run(code, *words):
            (directory / "code.py").write_text(code, encoding="utf-8")
            return run_to_its_end(start, directory / "code.py", *words)

        yield run


@pytest.fixture(scope="session")
def reference():
    """Folder of the figures that the original release gave on TensorFlow 1.0."""
    beside = pathlib.Path(__file__).resolve().parents[1] / ".." / "shared" / "reference"
    folder = pathlib.Path(os.environ.get("SACT_TF_REFERENCE", beside)).expanduser()
    if not (folder / "README.md").exists():
        pytest.skip(f"no reference figures at {folder}; point SACT_TF_REFERENCE to them")
    return folder


@pytest.fixture(scope="session")
def make_images():
    """Function from a shape to smooth float images in [-1, 1], all different, the same ones every time."""

    def make(batch, height, width, channels=3, seed=5):
        generator = np.random.default_rng(seed)
        coarse = generator.uniform(-1, 1, (batch, -(-height // 4), -(-width // 4), channels))
        blocks = coarse.repeat(4, axis=1).repeat(4, axis=2)[:, :height, :width]
        return (0.8 * blocks + 0.2 * generator.uniform(-1, 1, blocks.shape)).astype("float32")

    return make


@pytest.fixture(scope="session")
def spread_halting():
    """Function that sets every halting branch below a layer so that decisions halt at different units.

    A fresh branch hardly ever halts. Its batch normalization starts with a moving mean of zero, so its logits have no
    particular scale; the steep kernel makes them differ from one position, or image, to the next.
    """

    def spread(*layers, bias=-0.5, gain=3.0, seed=11):
        generator = np.random.default_rng(seed)
        for layer in layers:
            for variable in layer.variables:
                if "halting_branch" not in variable.path:
                    continue
                if variable.name == "kernel":
                    fan_in = np.prod(variable.shape[:-1])
                    variable.assign(generator.normal(size=variable.shape) * gain / np.sqrt(fan_in))
                elif variable.name == "bias":
                    variable.assign(np.full(variable.shape, bias))
        return layers[0]

    return spread
