"""Time against FLOPs: the engine of `sact_tf.sparse` at several shares of active positions, beside plain networks.

    python benchmarks/sparse_inference.py --models=50,101 --batches=1,8 --sizes=224,448 --plot=time.png

How much halts is planted in the images: their red channel holds a map of smooth blobs, which one channel of the network
carries unchanged to all halting branches. So every network runs its own halting, the masked form the same as the
engine, and everything is counted. Efficiency is the share of vanilla's FLOPs over the share of its time; 1 is ideal.
All networks of a table are timed in turns, in one process. Expected figures: benchmarks/README.md.
"""

import resource
import sys

import keras
import numpy as np
import tensorflow as tf
import timing
from absl import app, flags

import sact_tf

NUM_CLASSES = 1001

FLAGS = flags.FLAGS
flags.DEFINE_list("models", ["50", "101"], "ImageNet depths, or cifar_5, cifar_18.")
flags.DEFINE_list("batches", ["1", "8"], "Images per batch.")
flags.DEFINE_list("sizes", ["224", "448"], "Height and width of ImageNet images, in pixels; CIFAR's are 32.")
flags.DEFINE_list("shares", ["0.7", "0.55", "0.4"], "FLOPs of sact over those of vanilla; all positions active comes by itself.")
flags.DEFINE_integer("rounds", 9, "How often each network is timed; medians are reported.")
flags.DEFINE_boolean("twin", True, "Time the network of keras.applications too.")
flags.DEFINE_string("plot", None, "PNG to draw time against FLOPs share into.")


def main(argv):
    del argv
    print(f"{timing.describe_machine()}\n{FLAGS.rounds} rounds, float32, no XLA")
    points = []
    for name in FLAGS.models:
        keras.backend.clear_session()
        networks = Networks(name)
        for size in [32] if networks.cifar else [int(size) for size in FLAGS.sizes]:
            for batch in map(int, FLAGS.batches):
                points += report(networks, batch, size)
    if FLAGS.plot:
        draw(points, FLAGS.plot)


class Networks:
    """The networks of one table, and the engines made of them."""

    def __init__(self, name):
        self.name = name
        self.cifar = name.startswith("cifar")
        self.vanilla, self.sact = (self._make(kind) for kind in ("vanilla", "sact"))
        for network in (self.vanilla, self.sact):
            train_normalizations(network)
        plant_halting(self.sact)
        self.engines = {kind: sact_tf.sparse.compile(getattr(self, kind)) for kind in ("vanilla", "sact")}
        self.forwards = {kind: forward(getattr(self, kind)) for kind in ("vanilla", "sact")}
        if FLAGS.twin and not self.cifar:
            make = getattr(keras.applications, f"ResNet{name}V2")
            shape = (None, None, 3)
            twin = make(weights=None, include_top=False, input_shape=shape, pooling="avg")
            self.forwards["twin"] = forward(twin)

    def _make(self, kind):
        if self.cifar:
            return sact_tf.cifar_resnet(self.name.split("_", 1)[1], kind, image_shape=(None, None, 3))
        return sact_tf.imagenet_resnet(self.name, kind, NUM_CLASSES)


def forward(network):
    signature = [tf.TensorSpec((None, None, None, 3), tf.float32)]
    return tf.function(lambda images: network(images, training=False), input_signature=signature)


def train_normalizations(model, seed=0):
    """Gives batch normalizations and biases values like those of a trained network: zeros would be optimized away."""
    generator = np.random.default_rng(seed)
    spread = {"gamma": (1.0, 0.1), "beta": (0.0, 0.1), "moving_mean": (0.0, 0.1), "bias": (0.0, 0.1)}
    for variable in model.variables:
        name = variable.path.rsplit("/", 1)[-1]
        if name in spread:
            variable.assign(generator.normal(*spread[name], variable.shape))


def plant_halting(model):
    """Makes channel 0 of every feature the red channel of the images, and halting a function of it alone.

    A position of value f halts in the first unit l of a block of L with f < (l - .5) / (L - 1).
    """
    stem = next(layer for layer in model.backbone.stem if hasattr(layer, "kernel"))
    kernel = stem.kernel.numpy()
    kernel[..., 0] = 0.0
    kernel[kernel.shape[0] // 2, kernel.shape[1] // 2, 0, 0] = 1.0
    stem.kernel.assign(kernel)
    clear(stem.bias, 0)
    channel = 0
    for block in model.blocks.values():
        for unit in block.units:
            channel = carry(unit, channel)
        for index, branch in enumerate(block.halting_branches):
            halt_on(branch, channel, (index + 0.5) / len(block.halting_branches))


def carry(unit, channel):
    """Lets the unit leave a channel as it is; returns where the channel is afterwards."""
    last = unit.conv3 if hasattr(unit, "conv3") else unit.conv2
    target = channel + getattr(unit, "shortcut_padding", 0)
    kernel = last.kernel.numpy()
    kernel[..., target] = 0.0
    last.kernel.assign(kernel)
    clear(last.bias, target)
    if getattr(unit, "projects", False) or getattr(unit, "activated_shortcut", False):
        keep_channel(unit.preact, channel)
    if getattr(unit, "projects", False):
        kernel = unit.shortcut.kernel.numpy()
        kernel[..., channel] = 0.0
        kernel[0, 0, channel, channel] = 1.0  # the preactivation keeps what is not negative
        unit.shortcut.kernel.assign(kernel)
        clear(unit.shortcut.bias, channel)
    return target


def clear(variable, channel, value=0.0):
    values = variable.numpy()
    values[channel] = value
    variable.assign(values)


def keep_channel(normalization, channel):
    clear(normalization.gamma, channel, np.sqrt(normalization.moving_variance.numpy()[channel] + normalization.epsilon))
    clear(normalization.beta, channel)
    clear(normalization.moving_mean, channel)


def halt_on(branch, channel, threshold, slope=300.0):
    keep_channel(branch.local_bn, channel)
    kernel = np.zeros(branch.local_conv.kernel.shape)
    kernel[1, 1, channel] = -slope
    branch.local_conv.kernel.assign(kernel)
    branch.local_conv.bias.assign([slope * threshold])
    branch.global_conv.kernel.assign(np.zeros(branch.global_conv.kernel.shape))


def blobs(batch, size, seed=0):
    """Smooth maps `(batch, size, size)`, uniformly distributed in [0, 1]."""
    coarse = tf.random.stateless_normal((batch, 5, 5, 1), (seed, 0))
    smooth = tf.image.resize(coarse, (size, size), "bicubic").numpy().reshape(-1)
    ranks = np.empty(smooth.size)
    ranks[np.argsort(smooth)] = np.linspace(0.0, 1.0, smooth.size)
    return ranks.reshape(batch, size, size)


def make_images(batch, size, centre):
    """Images whose red channel is 1 where blobs are above `centre`, falling to 0 around it."""
    images = tf.random.stateless_uniform((batch, size, size, 3), (0, 1), -1.0, 1.0).numpy()
    images[..., 0] = np.clip((blobs(batch, size) - centre) / 0.5 + 0.5, 0.0, 1.0)
    return tf.constant(images, tf.float32)


def find_images(networks, batch, size, share, vanilla_flops):
    """Bisection for images whose FLOPs are `share` of vanilla's; returns them and the share that was reached."""
    low, high = -0.25, 1.25
    for _ in range(9):
        centre = (low + high) / 2
        images = make_images(batch, size, centre)
        reached = flops(networks.sact, networks.engines["sact"](images)) / vanilla_flops
        low, high = (centre, high) if reached > share else (low, centre)
    return images, reached


def flops(model, outputs):
    return float(np.mean(sact_tf.flops.count(model, outputs)["flops"]))


def report(networks, batch, size):
    everywhere = make_images(batch, size, -1.0)
    vanilla_flops = flops(networks.vanilla, networks.engines["vanilla"](everywhere))
    rows = {"vanilla": (networks.forwards["vanilla"], everywhere, 1.0)}
    if "twin" in networks.forwards:
        rows["keras.applications"] = (networks.forwards["twin"], everywhere, None)
    rows["vanilla, engine"] = (networks.engines["vanilla"], everywhere, 1.0)
    full = flops(networks.sact, networks.engines["sact"](everywhere)) / vanilla_flops
    rows["sact, masked"] = (networks.forwards["sact"], everywhere, full)
    rows["sact, engine, all active"] = (networks.engines["sact"], everywhere, full)
    for share in map(float, FLAGS.shares):
        images, reached = find_images(networks, batch, size, share, vanilla_flops)
        rows[f"sact, engine, {share:.0%}"] = (networks.engines["sact"], images, reached)
    title = f"{networks.name}, batch {batch}, {size} x {size}"
    calls = {name: lambda run=run, images=images: fetch(run(images)) for name, (run, images, _) in rows.items()}
    seconds = timing.interleave(calls, FLAGS.rounds, progress=lambda text: print(f"{title}: {text}", file=sys.stderr))
    print(f"\n### {title}\n\n| network | FLOPs share | ms | time share | efficiency |\n|---|---|---|---|---|")
    points = []
    for name, (_, _, share) in rows.items():
        time_share = timing.ratio(seconds[name], seconds["vanilla"])
        efficiency = f"{share / time_share:.3f}" if share else ""
        milliseconds = 1e3 * timing.median(seconds[name])
        print(f"| {name} | {f'{share:.3f}' if share else ''} | {milliseconds:.1f} | {time_share:.3f} | {efficiency} |", flush=True)
        if name.startswith("sact, engine"):
            points.append((title, share, time_share))
    print(f"\nPeak memory so far: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10:.0f} MiB", flush=True)
    return points


def fetch(outputs):
    return tf.nest.map_structure(lambda tensor: tensor.numpy(), outputs)


if __name__ == "__main__":
    app.run(main)
