"""Time against FLOPs: the engine of `sact_tf.sparse` at several shares of active positions, beside plain networks.

    python benchmarks/sparse_inference.py --models=50,101 --batches=1,8 --sizes=224,448 --plot=time.png

How much halts is planted in the images: their red channel holds a map of smooth blobs, which one channel of the network
carries unchanged to all halting branches. So every network runs its own halting, the masked form the same as the
engine, and everything is counted. Efficiency is the share of vanilla's FLOPs over the share of its time; 1 is ideal.
All networks of a table are timed in turns, in one process. Expected figures: benchmarks/README.md.

With --runtime=onnx the networks run in ONNX Runtime, its idle threads asleep, beside its own run of the plain network,
folded and fused; with --runtime=tensorflow,onnx the plain network in TensorFlow takes turns with them.
"""

import subprocess
import sys
import tempfile

import keras
import numpy as np
import onnxruntime
import tensorflow as tf
import timing
from absl import app, flags
from matplotlib import pyplot
from planting import EVERYWHERE, make_images, plant_halting, train_normalizations

import sact_tf
from sact_tf.sparse.onnx.network import write_network

NUM_CLASSES = 1001
# Pixels, of the images that the amount of halting is searched on.
SEARCH_SIZE = 224

PEAK = r"""
import re
with open("/proc/self/status") as file:
    print(round(int(re.search(r"VmHWM:\s+(\d+) kB", file.read())[1]) / 2**10))
"""
ONLY_ONNX = f"""
import sys
import numpy as np, onnxruntime
images = np.load(sys.argv[1] + "/images.npy")
run = onnxruntime.InferenceSession(sys.argv[1] + "/network.onnx", providers=["CPUExecutionProvider"])
for _ in range(3):
    run.run(None, {{"images": images}})
{PEAK}"""

FLAGS = flags.FLAGS
flags.DEFINE_list("models", ["50", "101"], "ImageNet depths, or cifar_5, cifar_18.")
flags.DEFINE_list("batches", ["1", "8"], "Images per batch.")
flags.DEFINE_list("sizes", ["224", "448"], "Height and width of ImageNet images, in pixels; CIFAR's are 32.")
flags.DEFINE_list(
    "shares", ["0.7", "0.55", "0.4"], "FLOPs of sact over those of vanilla; all positions active comes by itself."
)
flags.DEFINE_integer("rounds", 9, "How often each network is timed; medians are reported.")
flags.DEFINE_list("runtime", ["tensorflow"], "What runs the networks: tensorflow, onnx, or both, a table each.")
flags.DEFINE_enum("clock", "wall", ["wall", "processor"], "Time: what passed, or of all threads, on a busy machine.")
flags.DEFINE_boolean("twin", True, "Time the network of keras.applications too.")
flags.DEFINE_string("plot", None, "PNG to draw time against FLOPs share into.")
flags.DEFINE_boolean("memory", True, "Measure peak memory, each network in a process of its own.")
flags.DEFINE_string(
    "peak_of", None, "Run one network of the table only, all positions active, and print its peak memory."
)


def main(argv):
    del argv
    if FLAGS.peak_of:
        networks = RUNTIMES[FLAGS.runtime[0]](FLAGS.models[0])
        return print_peak(networks, int(FLAGS.batches[0]), int(FLAGS.sizes[0]), FLAGS.peak_of)
    print(f"{timing.describe_machine()}\n{FLAGS.rounds} rounds, {FLAGS.clock} time, float32, no XLA")
    points = []
    for name, runtime in [(name, runtime) for name in FLAGS.models for runtime in FLAGS.runtime]:
        keras.backend.clear_session()
        networks = RUNTIMES[runtime](name)
        for size in [32] if networks.cifar else [int(size) for size in FLAGS.sizes]:
            for batch in map(int, FLAGS.batches):
                points += report(networks, batch, size)
    if FLAGS.plot:
        draw(points, FLAGS.plot)


class Networks:
    """The networks of one table, and the engines made of them, each made when it is first asked for."""

    runtime = "tensorflow"

    def __init__(self, name):
        self.name = name
        self.cifar = name.startswith("cifar")
        self._made = {}

    def network(self, kind):
        """The Keras model, "vanilla" or "sact"."""
        return self._once(("network", kind), lambda: self._make(kind))

    def forward(self, kind):
        """Function from images to the outputs of the plain model."""
        return self._once(("forward", kind), lambda: forward(self.network(kind)))

    def engine(self, kind):
        """The model, compiled."""
        return self._once(("engine", kind), lambda: sact_tf.sparse.compile(self.network(kind)))

    def sact_flops(self, images):
        """Mean FLOPs of the engine's SACT for these images."""
        return flops(self.network("sact"), self.engine("sact")(images))

    def twin(self):
        """The network of keras.applications, without its classifier."""
        make = getattr(keras.applications, f"ResNet{self.name}V2")
        settings = {"weights": None, "include_top": False, "input_shape": (None, None, 3), "pooling": "avg"}
        return self._once("twin", lambda: forward(make(**settings)))

    def runs(self):
        """Dict from the rows of the table, all positions active, to functions that make their function of images."""
        rows = {
            "vanilla": lambda: self.forward("vanilla"),
            "keras.applications": self.twin,
            "vanilla, engine": lambda: self.engine("vanilla"),
            "sact, masked": lambda: self.forward("sact"),
            "sact, engine, all active": lambda: self.engine("sact"),
        }
        return {
            name: run for name, run in rows.items() if name != "keras.applications" or (FLAGS.twin and not self.cifar)
        }

    def _once(self, key, make):
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    def _make(self, kind):
        if self.cifar:
            model = sact_tf.cifar_resnet(self.name.split("_", 1)[1], kind, image_shape=(None, None, 3))
        else:
            model = sact_tf.imagenet_resnet(self.name, kind, NUM_CLASSES)
        train_normalizations(model)
        if kind == "sact":
            plant_halting(model)
        return model


class OnnxNetworks(Networks):
    """The same in ONNX Runtime."""

    runtime = "onnx"

    def forward(self, kind):
        return self._session(kind, "masked")

    def engine(self, kind):
        return self._session(kind, "sparse")

    def _session(self, *what):
        return self._once(what, lambda: session(self.written(*what)))

    def written(self, kind, engine):
        """The bytes of an ONNX file."""
        return write_network(self.network(kind), engine).SerializeToString()

    def runs(self):
        rows = {
            "vanilla": lambda: self.forward("vanilla"),
            "vanilla in TensorFlow": lambda: forward(self.network("vanilla")),
            "sact, masked": lambda: self.forward("sact"),
            "sact, engine, all active": lambda: self.engine("sact"),
        }
        return {name: run for name, run in rows.items() if "TensorFlow" not in name or "tensorflow" in FLAGS.runtime}


RUNTIMES = {networks.runtime: networks for networks in (Networks, OnnxNetworks)}


def session(written):
    """Function from images to a dict of arrays, by ONNX Runtime, of the bytes of a file."""
    options = onnxruntime.SessionOptions()
    # Threads that wait for work by asking for it again and again take time from whatever else is timed.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    run = onnxruntime.InferenceSession(written, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in run.get_outputs()]
    return lambda images: dict(zip(names, run.run(None, {"images": np.asarray(images)}), strict=True))


def forward(network):
    signature = [tf.TensorSpec((None, None, None, 3), tf.float32)]
    return tf.function(lambda images: network(images, training=False), input_signature=signature)


def find_images(networks, batch, size, share, vanilla_flops):
    """Bisection for images whose FLOPs are `share` of vanilla's; returns them and the share that was reached."""
    # The blobs are those of any size, so the search runs on small images.
    small = min(size, SEARCH_SIZE)
    small_flops = flops(networks.network("vanilla"), networks.engine("vanilla")(make_images(batch, small, EVERYWHERE)))
    low, high = -0.25, 1.25
    for _ in range(9):
        centre = (low + high) / 2
        reached = networks.sact_flops(make_images(batch, small, centre)) / small_flops
        low, high = (centre, high) if reached > share else (low, centre)
    images = make_images(batch, size, centre)
    return images, networks.sact_flops(images) / vanilla_flops


def flops(model, outputs):
    if "flops" in outputs:
        return float(np.mean(outputs["flops"]))
    return float(np.mean(sact_tf.flops.count(model, outputs)["flops"]))


def report(networks, batch, size):
    """Prints the table of one network, batch and size; returns `(title, FLOPs share, time share)` of the engine."""
    title = f"{networks.name}, batch {batch}, {size} x {size}, {networks.runtime}"
    images = make_images(batch, size, EVERYWHERE)
    vanilla_flops = flops(networks.network("vanilla"), networks.engine("vanilla")(images))
    full = networks.sact_flops(images) / vanilla_flops
    shares = {name: full if "sact" in name else 1.0 for name in networks.runs()} | {"keras.applications": None}
    rows = {name: (make(), images, shares[name]) for name, make in networks.runs().items()}
    for share in map(float, FLAGS.shares):
        some_images, reached = find_images(networks, batch, size, share, vanilla_flops)
        rows[f"sact, engine, {share:.0%}"] = (networks.engine("sact"), some_images, reached)
    calls = {name: lambda run=run, images=images: fetch(run(images)) for name, (run, images, _) in rows.items()}
    seconds = timing.interleave(calls, FLAGS.rounds, progress=lambda text: print(f"{title}: {text}", file=sys.stderr))
    peaks = {name: measure_peak(networks, batch, size, name) for name in networks.runs()} if FLAGS.memory else {}
    print(f"\n### {title}\n\n| network | FLOPs share | ms | time share | efficiency | peak MiB |")
    print("|---|---|---|---|---|---|")
    points = []
    for name, (_, _, share) in rows.items():
        time_share = timing.ratio(seconds[name], seconds["vanilla"], FLAGS.clock)
        figures = (f"{share:.3f}", f"{share / time_share:.3f}") if share else ("", "")
        milliseconds = 1e3 * timing.median(seconds[name], FLAGS.clock)
        print(
            f"| {name} | {figures[0]} | {milliseconds:.1f} | {time_share:.3f} | {figures[1]} | {peaks.get(name, '')} |"
        )
        if name.startswith("sact, engine"):
            points.append((title, share, time_share))
    sys.stdout.flush()
    return points


def measure_peak(networks, batch, size, row):
    """Peak memory in MiB of a process that runs one row of the table."""
    if networks.runtime == "onnx" and "TensorFlow" not in row:
        kind, engine = row.split(",")[0], "sparse" if "engine" in row else "masked"
        return measure_onnx_peak(networks.written(kind, engine), make_images(batch, size, EVERYWHERE).numpy())
    command = [
        sys.executable,
        __file__,
        f"--models={networks.name}",
        f"--runtime={networks.runtime}{',tensorflow' if 'TensorFlow' in row else ''}",
        f"--batches={batch}",
        f"--sizes={size}",
        f"--peak_of={row}",
    ]
    return subprocess.run(
        command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ).stdout.strip()


def measure_onnx_peak(written, images):
    """The same of a process that has ONNX Runtime alone."""
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/network.onnx", "wb") as file:
            file.write(written)
        np.save(f"{folder}/images.npy", images)
        command = [sys.executable, "-c", ONLY_ONNX, folder]
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def print_peak(networks, batch, size, row):
    run, images = networks.runs()[row](), make_images(batch, size, EVERYWHERE)
    for _ in range(3):
        fetch(run(images))
    # Not from getrusage: what the parent used before it started this process counts there.
    exec(PEAK, {})


def draw(points, path):
    """Time share against FLOPs share, a line for each table, beside the line where time falls with FLOPs."""
    figure, axes = pyplot.subplots(figsize=(6, 5), layout="constrained")
    for title in dict.fromkeys(title for title, _, _ in points):
        axes.plot(*zip(*[(x, y) for name, x, y in points if name == title], strict=True), marker="o", label=title)
    axes.plot([0, 1], [0, 1], color="black", linestyle="--", label="ideal: time falls with FLOPs")
    axes.set(
        xlabel="FLOPs / FLOPs of the plain ResNet",
        ylabel="time / time of the plain ResNet",
        xlim=(0, 1.1),
        ylim=(0, 1.2),
    )
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=150)
    print(f"\nWrote {path}")


def fetch(outputs):
    return tf.nest.map_structure(np.asarray, outputs)


if __name__ == "__main__":
    app.run(main)
