"""Time of a training step under stochastic depth, against what the units that ran would take alone.

    python benchmarks/stochastic_depth.py --models=5,18 --survival=0.8,0.5,0.2

A step is forward, backward, loss and a `Momentum` update of a CIFAR network, on the same images. All columns are timed
in turns in one process: the network of constant depth as it is, the same with a rule that keeps every unit (what the
conditions cost), with a rule that keeps none (stem, shortcuts, head and optimizer), and under each final survival
probability. A timed call is a number of steps with draws of their own. `predicted` is the time without units, plus the
share of units that ran of what all units take. Expected figures: benchmarks/README.md.
"""

import sys

import numpy as np
import tensorflow as tf
import timing
from absl import flags
from arguments import define_counts, define_shares

import sact_tf
from sact_tf import command_line
from sact_tf.layers.survival import linear_decay
from sact_tf.layers.unit_rules import UnitRule, run_units_by
from sact_tf.training.optimizers import Momentum

FLAGS = flags.FLAGS
define_counts("models", "5,18", "Units of each of the three blocks.")
define_shares("survival", "0.8,0.5,0.2", "Survival probabilities of the last unit.")
flags.DEFINE_integer("batch", 32, "Images of a step.", lower_bound=1)
flags.DEFINE_integer("steps", 8, "Steps of one timed call, each with a draw of its own.", lower_bound=1)
flags.DEFINE_integer("rounds", 9, "How often each column is timed; medians are reported.", lower_bound=1)
flags.DEFINE_boolean("jit_compile", False, "Compile with XLA.")


def main():
    print(f"{timing.describe_machine()}\n{FLAGS.rounds} rounds of {FLAGS.steps} steps of {FLAGS.batch} images")
    for units in FLAGS.models:
        report(units)


def report(units):
    network = sact_tf.cifar_resnet(str(units), "vanilla")
    total, generator = 3 * units, np.random.default_rng(0)
    draws = {
        "constant depth": None,
        "all kept": np.ones((FLAGS.steps, total), bool),
        "none kept": np.zeros((FLAGS.steps, total), bool),
    }
    for survival in FLAGS.survival:
        probabilities = np.concatenate(linear_decay(survival, [units] * 3))
        draws[f"p_L = {survival:g}"] = generator.uniform(size=(FLAGS.steps, total)) < probabilities
    constant, ruled = make_step(network, ruled=False), make_step(network, ruled=True)
    calls = {
        name: (lambda: repeat(constant, [()] * FLAGS.steps)) if kept is None else repeated(ruled, kept)
        for name, kept in draws.items()
    }
    title = f"{units} units a block, {total} in all"
    seconds = timing.interleave(calls, FLAGS.rounds, progress=lambda text: print(f"{title}: {text}", file=sys.stderr))
    columns = "network | units that ran | ms a step | / constant depth | predicted | measured / predicted"
    print(f"\n### {title}\n\n| {columns} |")
    print("|---|---|---|---|---|---|")
    base, nothing, everything = (timing.median(seconds[name]) for name in ("constant depth", "none kept", "all kept"))
    for name, kept in draws.items():
        share = 1.0 if kept is None else kept.mean()
        median = timing.median(seconds[name])
        predicted = (nothing + share * (base - nothing)) / base
        print(
            f"| {name} | {share:.3f} | {1e3 * median / FLAGS.steps:.1f} | {median / base:.3f} | {predicted:.3f} | "
            f"{median / base / predicted:.3f} |",
            flush=True,
        )
    print(f"\nConditions cost {everything / base - 1:+.1%} of a step.", flush=True)


def repeated(step, kept):
    draws = [tf.split(tf.constant(row), 3) for row in kept]
    return lambda: repeat(step, [(draw,) for draw in draws])


def repeat(step, arguments):
    for each in arguments:
        loss = step(*each)
    return loss.numpy()


def make_step(network, ruled):
    images = tf.random.stateless_normal((FLAGS.batch, 32, 32, 3), (0, 1))
    labels = tf.range(FLAGS.batch) % 10
    # So small that weights hardly move: time is the question here, not learning.
    optimizer = Momentum(learning_rate=1e-6)
    optimizer.build(network.trainable_variables)
    blocks = list(network.blocks.values())

    def train(rules):
        with tf.GradientTape() as tape, run_units_by(rules):
            loss = sum(network.loss_terms(labels, network(images, training=True)).values())
        gradients = tape.gradient(loss, [variable.value for variable in network.trainable_variables])
        optimizer.apply(gradients, network.trainable_variables)
        return loss

    def under(kept):
        return train({id(block): UnitRule(kept=part) for block, part in zip(blocks, kept, strict=True)})

    return tf.function(under if ruled else lambda: train({}), jit_compile=FLAGS.jit_compile, autograph=False)


if __name__ == "__main__":
    command_line.run(main)
