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
import timing
from absl import flags
from arguments import any_depth, check_plot, define_choices, define_counts, define_list, define_shares
from matplotlib import pyplot
from networks import RUNTIMES, flops
from planting import EVERYWHERE, find_centre, make_images

from sact_tf import command_line
from sact_tf.config.checks import check_choice

# Pixels, of the images that the amount of halting is searched on.
SEARCH_SIZE = 224

PEAK = r"""
import re
with open("/proc/self/status") as file:
    print(round(int(re.search(r"VmHWM:\s+(\d+) kB", file.read())[1]) / 2**10))
"""
ONLY_ONNX = f"""
import ctypes, sys
import numpy as np, onnxruntime
images = np.load(sys.argv[1] + "/images.npy")
options = onnxruntime.SessionOptions()
options.enable_mem_pattern = sys.argv[2] == "patterns"
run = onnxruntime.InferenceSession(sys.argv[1] + "/network.onnx", options, providers=["CPUExecutionProvider"])
if sys.argv[2] == "trimmed":
    ctypes.CDLL(None).malloc_trim(0)
for _ in range(3):
    run.run(None, {{"images": images}})
{PEAK}"""

FLAGS = flags.FLAGS
define_list(
    "models", "50,101", any_depth, "depths, such as 50, 3_4_6_3 or cifar_5", "ImageNet depths, or cifar_5, cifar_18."
)
flags.DEFINE_enum(
    "model_type", "sact", ["sact", "act"], "The adaptive network; act needs several images to be between."
)
define_counts("batches", "1,8", "Images per batch.")
define_counts("sizes", "224,448", "Height and width of ImageNet images, in pixels; CIFAR's are 32.", least=32)
define_shares(
    "shares",
    "0.7,0.55,0.4",
    "FLOPs of the adaptive network over those of vanilla; all positions active comes by itself.",
)
flags.DEFINE_integer("rounds", 9, "How often each network is timed; medians are reported.", lower_bound=1)
define_choices(
    "runtime", "tensorflow", tuple(RUNTIMES), "What runs the networks: tensorflow, onnx, or both, a table each."
)
flags.DEFINE_enum("clock", "wall", ["wall", "processor"], "Time: what passed, or of all threads, on a busy machine.")
flags.DEFINE_boolean("twin", True, "Time the network of keras.applications too.")
flags.DEFINE_string("plot", None, "PNG to draw time against FLOPs share into.")
flags.DEFINE_boolean("memory", True, "Measure peak memory, each network in a process of its own.")
flags.DEFINE_string(
    "peak_of", None, "Run one network of the table only, all positions active, and print its peak memory."
)


def main():
    if FLAGS.peak_of:
        networks = make_networks(FLAGS.models[0], FLAGS.runtime[0])
        check_choice("peak_of", FLAGS.peak_of, tuple(networks.runs()))
        return print_peak(networks, FLAGS.batches[0], FLAGS.sizes[0], FLAGS.peak_of)
    check_plot(FLAGS.plot)
    print(f"{timing.describe_machine()}\n{FLAGS.rounds} rounds, {FLAGS.clock} time, float32, no XLA")
    points = []
    for name, runtime in [(name, runtime) for name in FLAGS.models for runtime in FLAGS.runtime]:
        keras.backend.clear_session()
        networks = make_networks(name, runtime)
        for size in [32] if networks.cifar else FLAGS.sizes:
            for batch in FLAGS.batches:
                points += report(networks, batch, size)
    if FLAGS.plot:
        draw(points, FLAGS.plot)


def make_networks(name, runtime):
    return RUNTIMES[runtime](name, FLAGS.model_type, FLAGS.twin, "tensorflow" in FLAGS.runtime)


def find_images(networks, batch, size, share, vanilla_flops):
    """Bisection for images whose FLOPs are `share` of vanilla's; returns them and the share that was reached."""
    # The blobs are those of any size, so the search runs on small images.
    small = min(size, SEARCH_SIZE)
    small_flops = flops(networks.network("vanilla"), networks.engine("vanilla")(images_of(networks, batch, small)))
    centre = find_centre(
        share, lambda centre: networks.adaptive_flops(images_of(networks, batch, small, centre)) / small_flops
    )
    images = images_of(networks, batch, size, centre)
    return images, networks.adaptive_flops(images) / vanilla_flops


def images_of(networks, batch, size, centre=EVERYWHERE):
    """Images that keep the positions above a centre active, or for act whole images."""
    return make_images(batch, size, centre, whole=networks.model_type == "act")


def report(networks, batch, size):
    """Prints the table of one network, batch and size; returns `(title, FLOPs share, time share)` of the engine."""
    title = f"{networks.name}, batch {batch}, {size} x {size}, {networks.runtime}"
    images = images_of(networks, batch, size)
    vanilla_flops = flops(networks.network("vanilla"), networks.engine("vanilla")(images))
    kind = networks.model_type
    full = networks.adaptive_flops(images) / vanilla_flops
    shares = {name: full if name.startswith(kind) else 1.0 for name in networks.runs()} | {"keras.applications": None}
    rows = {name: (make(), images, shares[name]) for name, make in networks.runs().items()}
    for share in FLAGS.shares:
        some_images, reached = find_images(networks, batch, size, share, vanilla_flops)
        rows[f"{kind}, engine, {share:.0%}"] = (networks.engine(kind), some_images, reached)
    calls = {name: lambda run=run, images=images: timing.fetch(run(images)) for name, (run, images, _) in rows.items()}
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
        if name.startswith(f"{kind}, engine"):
            points.append((title, share, time_share))
    sys.stdout.flush()
    return points


def measure_peak(networks, batch, size, row):
    """Peak memory in MiB of a process that runs one row of the table."""
    if networks.runtime == "onnx" and "TensorFlow" not in row:
        kind, engine = row.split(",")[0], "sparse" if "engine" in row else "masked"
        return measure_onnx_peak(networks.written(kind, engine), images_of(networks, batch, size).numpy())
    command = [
        sys.executable,
        __file__,
        f"--models={networks.name}",
        f"--model_type={networks.model_type}",
        f"--runtime={networks.runtime}{',tensorflow' if 'TensorFlow' in row else ''}",
        f"--batches={batch}",
        f"--sizes={size}",
        f"--peak_of={row}",
    ]
    return subprocess.run(
        command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ).stdout.strip()


def measure_onnx_peak(written, images):
    """The same of a process that has ONNX Runtime alone.

    With its memory patterns, which are its default / without / without, and what reading left free given back, as
    `sact_tf.sparse.compile` has it.
    """
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{folder}/network.onnx", "wb") as file:
            file.write(written)
        np.save(f"{folder}/images.npy", images)
        peaks = []
        for settings in ("patterns", "none", "trimmed"):
            command = [sys.executable, "-c", ONLY_ONNX, folder, settings]
            peaks.append(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip())
        return " / ".join(peaks)


def print_peak(networks, batch, size, row):
    run, images = networks.runs()[row](), images_of(networks, batch, size)
    for _ in range(3):
        timing.fetch(run(images))
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


if __name__ == "__main__":
    command_line.run(main)
