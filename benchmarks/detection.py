"""Time against FLOPs of a detector by the engine, beside the plain detector, and what its parts take.

    python benchmarks/detection.py --models=50,101 --size=600,800
    python benchmarks/detection.py --models=50 --parts --rounds=3
    taskset -c 1 python benchmarks/detection.py --models=50 --runtime=onnx

Halting is planted in the images, see `planting`. Efficiency is the share of the plain extractor's FLOPs over the share
of its time; 1 is ideal. `--parts` times region proposals, head and answer as well, each by itself, and the whole. All
that a table compares is timed in turns, in one process. With --runtime=onnx both extractors run in ONNX Runtime, its
idle threads asleep. Expected figures: benchmarks/README.md.
"""

import contextlib
import sys

import keras
import numpy as np
import tensorflow as tf
import timing
from absl import flags
from arguments import define_counts, define_list, define_shares, imagenet_depth
from networks import session
from planting import EVERYWHERE, find_centre, make_images, plant_halting, train_normalizations

import sact_tf
from sact_tf import command_line
from sact_tf.detection import answers
from sact_tf.layers import find_blocks
from sact_tf.layers.adaptive_block import run_blocks_by
from sact_tf.models.extractor import EXTRACTOR_BLOCKS, extract
from sact_tf.sparse.blocks import make_runner
from sact_tf.sparse.onnx.detector import write_detector

NUM_CLASSES = 90
PARTS = ("extractor", "proposals", "head", "answer")
# The amount of halting is searched on images of so much of the size.
SEARCH_SCALE = 0.4
# So that those have the 32 pixels that a network asks for.
MIN_SIZE = 80

FLAGS = flags.FLAGS
define_list("models", "50,101", imagenet_depth, "ImageNet depths, such as 50 or 3_4_6_3", "ImageNet depths.")
define_counts("size", "600,800", "Height and width of the image in pixels.", least=MIN_SIZE, count=2)
define_shares("shares", "0.7,0.55,0.4", "FLOPs of sact's extractor over those of vanilla; all active comes by itself.")
flags.DEFINE_integer("rounds", 9, "How often each row is timed; medians are reported.", lower_bound=1)
flags.DEFINE_enum("clock", "wall", ["wall", "processor"], "Time: what passed, or of all threads, on a busy machine.")
flags.DEFINE_boolean("parts", False, "Time region proposals, head, answer and the whole too.")
flags.DEFINE_enum("runtime", "tensorflow", ["tensorflow", "onnx"], "What runs the extractors; onnx has no --parts.")


class Detector:
    """A detector by itself or by the engine, whole and in parts, as functions of tensors.

    Attributes:
        whole: function from images to all outputs, for the engine that of `sact_tf.sparse.compile`.
        parts: dict from `PARTS` to functions of what the part before returned.
    """

    def __init__(self, model, by_engine):
        self.model = model
        self._runners = {id(block): make_runner(block) for block in find_blocks(model)} if by_engine else None
        self.parts = {name: tf.function(self._run(getattr(self, f"_{name}")), autograph=False) for name in PARTS}
        self._by_engine = by_engine
        self._whole = None

    @property
    def whole(self):
        if self._whole is None:
            plain = tf.function(lambda images: self.model(images, training=False), autograph=False)
            self._whole = sact_tf.sparse.compile(self.model) if self._by_engine else plain
        return self._whole

    def flops(self, images):
        """FLOPs of the extractor for the first of these images."""
        return int(sact_tf.flops.count(self.model, self.parts["extractor"](images))["flops"][0])

    def calls(self, images):
        """Dict from `PARTS` to calls without arguments, and how many proposals there are."""
        outputs = self.parts["extractor"](images)
        features = {"image_size": outputs["image_size"], EXTRACTOR_BLOCKS[-1]: outputs[EXTRACTOR_BLOCKS[-1]]}
        boxes, valid, count = self.parts["proposals"](features)
        scores, codes = self.parts["head"](features, boxes)
        sizes = outputs["image_size"]
        arguments = ((images,), (features,), (features, boxes), (boxes, valid, codes, scores, sizes))
        calls = {
            name: lambda part=self.parts[name], values=values: timing.fetch(part(*values))
            for name, values in zip(PARTS, arguments, strict=True)
        }
        return calls, int(count[0])

    def _run(self, function):
        def run(*arguments):
            with contextlib.nullcontext() if self._runners is None else run_blocks_by(self._runners):
                return function(*arguments)

        return run

    def _extractor(self, images):
        size = tf.tile(tf.shape(images)[None, 1:3], (tf.shape(images)[0], 1))
        return extract(self.model.backbone, images, size, training=False)

    def _proposals(self, features):
        scores, codes = self.model.region_proposals(features[EXTRACTOR_BLOCKS[-1]])
        chosen = self.model.select_proposals(scores, codes, features)
        return chosen.boxes, chosen.valid, chosen.count

    def _head(self, features, boxes):
        return self.model.head(features, boxes)[:2]

    def _answer(self, boxes, valid, codes, scores, sizes):
        return answers.answer(boxes, valid, codes, scores, sizes)._asdict()


class OnnxDetector:
    """The extractor of a detector in ONNX Runtime; `parts` and `flops` as of `Detector`."""

    def __init__(self, model):
        # With the features, which an extractor is for: what nobody reads is not computed.
        run = session(write_detector(model, features=True, part="extractor").SerializeToString())

        def extractor(images):
            return run({"images": images, "image_size": np.array([images.shape[1:3]] * len(images), "int32")})

        self.parts = {"extractor": extractor}

    def flops(self, images):
        return int(self.parts["extractor"](images)["flops"][0])


def main():
    if FLAGS.parts and FLAGS.runtime == "onnx":
        raise ValueError("--parts times a detector in TensorFlow. Leave it out, or give --runtime=tensorflow.")
    print(f"{timing.describe_machine()}\n{FLAGS.rounds} rounds, {FLAGS.clock} time, float32, no XLA")
    for name in FLAGS.models:
        keras.backend.clear_session()
        report(name, tuple(FLAGS.size))


def make(name, kind):
    model = sact_tf.faster_rcnn(name, kind, NUM_CLASSES)
    train_normalizations(model)
    if kind == "sact":
        plant_halting(model)
    return model


def report(name, size):
    """Prints the tables of one network."""
    title = f"Faster R-CNN, ResNet-{name}, batch 1, {size[0]} x {size[1]}"
    if FLAGS.runtime == "onnx":
        title += ", ONNX Runtime"
        plain, engine = (OnnxDetector(make(name, kind)) for kind in ("vanilla", "sact"))
    else:
        plain, engine = Detector(make(name, "vanilla"), False), Detector(make(name, "sact"), True)
    everywhere = make_images(1, size, EVERYWHERE)
    vanilla_flops = plain.flops(everywhere)
    rows = {"vanilla": (plain, everywhere, 1.0)}
    if not FLAGS.parts:
        rows["sact, engine, all active"] = (engine, everywhere, engine.flops(everywhere) / vanilla_flops)
    for share in FLAGS.shares:
        progress(f"{title}: looking for images of {share:.0%}")
        images = find_images(plain, engine, size, share)
        rows[f"sact, engine, {share:.0%}"] = (engine, images, engine.flops(images) / vanilla_flops)
    calls = {}
    for row, (detector, images, _) in rows.items():
        of_parts, count = detector.calls(images) if FLAGS.parts else ({}, None)
        extractor = detector.parts["extractor"]
        calls[row, "extractor"] = lambda run=extractor, images=images: timing.fetch(run(images))
        calls |= {(row, part): call for part, call in of_parts.items()}
        if FLAGS.parts:
            calls[row, "whole"] = lambda run=detector.whole, images=images: timing.fetch(run(images))
            progress(f"{title}: {row} has {count} proposals")
    warm_up = 1 if FLAGS.parts else 2
    seconds = timing.interleave(calls, FLAGS.rounds, warm_up, lambda text: progress(f"{title}: {text}"))
    print(f"\n### {title}")
    print_extractors(rows, seconds)
    if FLAGS.parts:
        print_parts(rows, seconds)
    sys.stdout.flush()


def print_extractors(rows, seconds):
    print("\n| extractor | FLOPs share | ms | time share | efficiency | wall, processor |\n|---|---|---|---|---|---|")
    for row, (_, _, share) in rows.items():
        ours, plain = seconds[row, "extractor"], seconds["vanilla", "extractor"]
        time_share = timing.ratio(ours, plain, FLAGS.clock)
        both = ", ".join(f"{share / timing.ratio(ours, plain, clock):.3f}" for clock in timing.Seconds._fields)
        milliseconds = 1e3 * timing.median(ours, FLAGS.clock)
        print(f"| {row} | {share:.3f} | {milliseconds:.1f} | {time_share:.3f} | {share / time_share:.3f} | {both} |")


def print_parts(rows, seconds):
    print(f"\n| ms | {' | '.join(PARTS)} | whole | whole / vanilla |\n|{'---|' * (len(PARTS) + 3)}")
    for row in rows:
        figures = [f"{1e3 * timing.median(seconds[row, part], FLAGS.clock):.1f}" for part in (*PARTS, "whole")]
        share = timing.ratio(seconds[row, "whole"], seconds["vanilla", "whole"], FLAGS.clock)
        print(f"| {row} | {' | '.join(figures)} | {share:.3f} |")


def find_images(plain, engine, size, share):
    """Bisection for an image whose extractor's FLOPs are `share` of vanilla's."""
    # The blobs are those of any size, so the search runs on small images.
    small = tuple(int(SEARCH_SCALE * side) for side in size)
    vanilla_flops = plain.flops(make_images(1, small, EVERYWHERE))
    centre = find_centre(share, lambda centre: engine.flops(make_images(1, small, centre)) / vanilla_flops)
    return make_images(1, size, centre)


def progress(text):
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    command_line.run(main)
