"""Time of a forward pass and of a training step: ours beside each other and beside `keras.applications`.

    python benchmarks/model_step.py --models=50,101 --batches=1,8

Every network of a table is timed in turns in one process. A training step is forward, backward, the `Classifier`'s
loss (cross entropy + tau * ponder cost + L2) and a `Momentum` update. `sact` is in its masked form, which computes
every position whatever halts: the time does not depend on the weights. GFLOP are of one image; the last column compares
ms per GFLOP, since `keras.applications` downsamples elsewhere. Expected figures: benchmarks/README.md.
"""

import math
import sys

import keras
import tensorflow as tf
import timing
from absl import flags
from arguments import TWINS, define_choices, define_counts

import sact_tf
from sact_tf import command_line, losses
from sact_tf.training.optimizers import Momentum

MODEL_TYPES = ("vanilla", "act", "sact")
NUM_CLASSES = 1001
WEIGHT_DECAY = 1e-4

FLAGS = flags.FLAGS
define_choices(
    "models", "50,101", TWINS, "Depths of the networks, those that keras.applications has too: 50, 101, 152."
)
define_counts("batches", "1,8", "Images per batch.")
define_choices("mode", "forward,train", ("forward", "train"), "What to time: forward, train.")
flags.DEFINE_integer("rounds", 15, "How often each network is timed; medians are reported.", lower_bound=1)
flags.DEFINE_integer("image_size", 224, "Height and width of the images, in pixels.", lower_bound=32)
flags.DEFINE_boolean("jit_compile", False, "Compile with XLA.")
flags.DEFINE_float("halting_bias", None, "Bias of the halting branches; by default their initial one.")
flags.DEFINE_string("dtype", "float32", "Keras dtype policy, such as mixed_bfloat16.")


def main():
    keras.mixed_precision.set_dtype_policy(FLAGS.dtype)
    print(f"{timing.describe_machine()}\n{FLAGS.rounds} rounds, {FLAGS.image_size} pixels, {FLAGS.dtype}")
    for depth in FLAGS.models:
        keras.backend.clear_session()
        networks = build_networks(depth)
        for batch in FLAGS.batches:
            for mode in FLAGS.mode:
                report(depth, batch, mode, networks)


def build_networks(depth):
    shape = (FLAGS.image_size, FLAGS.image_size, 3)
    networks = {kind: sact_tf.imagenet_resnet(depth, kind, NUM_CLASSES, image_shape=shape) for kind in MODEL_TYPES}
    if FLAGS.halting_bias is not None:
        set_halting_bias(networks, FLAGS.halting_bias)
    networks["keras"] = keras_twin(depth, shape)
    return networks


def keras_twin(depth, shape):
    make = getattr(keras.applications, f"ResNet{depth}V2")
    network = make(weights=None, input_shape=shape, classes=NUM_CLASSES, classifier_activation=None)
    for variable in network.trainable_variables:
        if variable.name == "kernel":
            variable.regularizer = keras.regularizers.L2(WEIGHT_DECAY / 2)
    return network


def set_halting_bias(networks, bias):
    for kind in ("act", "sact"):
        for block in networks[kind].blocks.values():
            for branch in block.halting_branches:
                layer = branch.local_conv if kind == "sact" else branch.global_conv
                layer.bias.assign([bias])


def report(depth, batch, mode, networks):
    images = tf.random.stateless_uniform((batch, FLAGS.image_size, FLAGS.image_size, 3), (0, 0), -1.0, 1.0)
    labels = tf.range(1, batch + 1)
    make = {"forward": forward_call, "train": train_call}[mode]
    calls = {kind: make(network, images, labels) for kind, network in networks.items()}
    title = f"ResNet-{depth}, batch {batch}, {mode}"
    seconds = timing.interleave(calls, FLAGS.rounds, progress=lambda text: print(f"{title}: {text}", file=sys.stderr))
    gflops = {kind: count_gflops(network, images[:1]) for kind, network in networks.items()}
    check_counter(networks["vanilla"], images[:1], gflops["vanilla"])
    print(f"\n### {title}\n\n| network | ms | / vanilla | processor time / vanilla | GFLOP | ms per GFLOP | / keras |")
    print("|---|---|---|---|---|---|---|")
    for kind in networks:
        milliseconds = 1e3 * timing.median(seconds[kind])
        per_gflop = timing.ratio(seconds[kind], seconds["keras"]) * gflops["keras"] / gflops[kind]
        print(
            f"| {kind} | {milliseconds:.1f} | {timing.ratio(seconds[kind], seconds['vanilla']):.3f} | "
            f"{timing.ratio(seconds[kind], seconds['vanilla'], 'processor'):.3f} | {gflops[kind]:.3f} | "
            f"{milliseconds / batch / gflops[kind]:.2f} | {per_gflop:.3f} |",
            flush=True,
        )


def forward_call(network, images, labels):
    del labels
    forward = tf.function(lambda x: results(network(x, training=False)), jit_compile=FLAGS.jit_compile)
    return lambda: tf.nest.map_structure(lambda tensor: tensor.numpy(), forward(images))


def results(outputs):
    """What a user of a network wants of it; TensorFlow drops the work for everything else."""
    if not isinstance(outputs, dict):
        return {"logits": outputs}
    return {key: outputs[key] for key in outputs if key == "logits" or key.endswith(("/ponder_cost", "/num_units"))}


def train_call(network, images, labels):
    # So small that weights hardly move: time is the question here, not learning.
    optimizer = Momentum(learning_rate=1e-6)
    optimizer.build(network.trainable_variables)

    @tf.function(jit_compile=FLAGS.jit_compile)
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = total_loss(network, y, network(x, training=True))
        optimizer.apply(tape.gradient(loss, network.trainable_variables), network.trainable_variables)
        return loss

    return lambda: step(images, labels).numpy()


def total_loss(network, labels, outputs):
    if isinstance(outputs, dict):
        return sum(network.loss_terms(labels, outputs).values())
    return losses.cross_entropy(labels, outputs, label_smoothing=0.1) + losses.regularization_loss(network)


def count_gflops(network, image):
    """GFLOP of one image: twice the multiply-adds of every convolution and matrix product in the traced graph."""
    graph = tf.function(lambda x: results(network(x, training=False))).get_concrete_function(image).graph
    flops = 0
    for operation in graph.get_operations():
        if operation.type in ("Conv2D", "MatMul"):
            kernel = operation.inputs[1].shape
            flops += 2 * math.prod(kernel[:-1]) * math.prod(operation.outputs[0].shape)
    return flops / 1e9


def check_counter(network, image, gflops):
    """The count above knows only the graph; `sact_tf.flops` knows only the architecture. They must agree."""
    expected = int(sact_tf.flops.count(network, network(image, training=False))["flops"][0]) / 1e9
    if not math.isclose(gflops, expected, rel_tol=1e-9):
        raise RuntimeError(f"The graph has {gflops} GFLOP, sact_tf.flops says {expected}")


if __name__ == "__main__":
    command_line.run(main)
