"""Training images per second and core: this pipeline beside one that decodes whole images and then crops them.

    python benchmarks/input_pipeline.py --rounds=7

Both read the same TFRecord shards of photographs of 500x375 pixels, ImageNet's typical size, and make the same
distorted images of 224x224. The other one is of the release's form: whole image decoded, made float, then cropped.
The processor time of the process is counted, so that other work on the machine matters less, and cores don't.
Beside it stands the processor time of a training step of ResNet-50, `sact`, so that the input's share of it shows.
"""

import io
import os
import statistics
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from absl import flags
from PIL import Image
from timing import describe_machine, interleave, median

from sact_tf import command_line
from sact_tf.config import ModelConfig, TrainingConfig
from sact_tf.data import colour, convert, imagenet, pipeline, preprocessing
from sact_tf.training.trainer import Trainer

FLAGS = flags.FLAGS
flags.DEFINE_integer("rounds", 7, "How often each pipeline is timed, in turns.", lower_bound=1)
flags.DEFINE_integer("batches", 12, "Batches of 32 images in each turn, an even number.", lower_bound=2)
flags.DEFINE_integer("steps", 5, "Training steps that are timed for the share; 0 for none.", lower_bound=0)
# sact_tf decodes two at a time: one of them would be counted in the next turn.
flags.register_validator("batches", lambda batches: batches % 2 == 0, "must be an even number")

PHOTOGRAPHS = ("astronaut", "coffee", "chelsea", "rocket")
SIZE = (500, 375)
IMAGE_SIZE = 224
BATCH_SIZE = 32
STEP_BATCH_SIZE = 8


def write_photographs(directory, count):
    """Writes `count` JPEGs of parts of scikit-image's photographs and converts them to shards."""
    from skimage import data

    generator = np.random.default_rng(0)
    folder = os.path.join(directory, "photographs", "class")
    os.makedirs(folder)
    for number in range(count):
        photograph = Image.fromarray(getattr(data, PHOTOGRAPHS[number % len(PHOTOGRAPHS)])())
        width, height = photograph.size
        scale = generator.uniform(0.7, 1.0) * min(width / SIZE[0], height / SIZE[1])
        left = generator.uniform(0, width - scale * SIZE[0])
        top = generator.uniform(0, height - scale * SIZE[1])
        box = (left, top, left + scale * SIZE[0], top + scale * SIZE[1])
        buffer = io.BytesIO()
        photograph.resize(SIZE, Image.Resampling.BICUBIC, box=box).save(buffer, "JPEG", quality=95)
        with open(os.path.join(folder, f"{number:04d}.jpg"), "wb") as file:
            file.write(buffer.getvalue())
    convert.convert(os.path.dirname(folder), "tfrecord", "imagenet", directory, num_shards=4, log=lambda text: None)


def distort_colour(image, order, draws):
    """`colour.distort` as the release has it: one operation of TensorFlow for each change."""
    adjust = {name: getattr(tf.image, f"adjust_{name}") for name in order}
    amounts = colour.amounts_of(draws)
    for name in order:
        image = adjust[name](image, amounts[name])
    return tf.clip_by_value(image, 0.0, 1.0)


def decode_then_crop(directory):
    """Batches as the release makes them."""

    def read(record, number):
        encoded, label, boxes = imagenet._parse_release(record)
        seed = tf.stack([number, number])
        image = tf.image.convert_image_dtype(tf.io.decode_jpeg(encoded, channels=3), tf.float32)
        y, x, height, width = tf.unstack(preprocessing.sample_window(tf.shape(image), seed, boxes))
        crop = image[y : y + height, x : x + width]
        draws = tf.random.stateless_uniform([7], seed)
        image = preprocessing._one_of(
            draws[0], lambda method: preprocessing.resize(crop, IMAGE_SIZE, method), preprocessing.RESIZE_METHODS
        )
        image = tf.cond(draws[1] < 0.5, lambda: tf.reverse(image, [1]), lambda: image)
        image = preprocessing._one_of(
            draws[2], lambda order: distort_colour(image, order, draws[3:]), colour.COLOUR_ORDERS
        )
        return {"image": (tf.ensure_shape(image, (IMAGE_SIZE, IMAGE_SIZE, 3)) - 0.5) * 2.0, "label": label}

    shards = tf.data.Dataset.list_files(os.path.join(directory, "train-*"), seed=0)
    records = shards.interleave(tf.data.TFRecordDataset, cycle_length=4).repeat().shuffle(256, seed=0)
    numbered = tf.data.Dataset.zip(records, tf.data.Dataset.range(tf.int64.max))
    threads = os.cpu_count()
    return numbered.map(read, num_parallel_calls=threads, deterministic=True).batch(BATCH_SIZE, True).prefetch(2)


def main():
    with tempfile.TemporaryDirectory() as directory:
        write_photographs(directory, 128)
        source = imagenet.open_split(directory, "train", IMAGE_SIZE)
        datasets = {
            "decode, then crop": decode_then_crop(directory),
            "sact_tf": pipeline.training_batches(source, BATCH_SIZE, 0, 0),
        }
        images_per_second = measure(datasets, FLAGS.rounds, FLAGS.batches)
    print(describe_machine())
    for name, values in images_per_second.items():
        print(f"{name}: {statistics.median(values):.0f} images/s per core (median of {len(values)})")
    ratios = [a / b for a, b in zip(images_per_second["sact_tf"], images_per_second["decode, then crop"], strict=True)]
    print(f"ratio: {statistics.median(ratios):.2f}")
    if FLAGS.steps:
        report_share(1e3 / statistics.median(images_per_second["sact_tf"]), FLAGS.steps)


def report_share(input_milliseconds, steps):
    """Prints the processor time of a training step beside that of its input, both of one image."""
    config = TrainingConfig(
        model=ModelConfig(
            network="imagenet", model="50", model_type="sact", tau=0.005, num_classes=1001, base_channels=64
        ),
        dataset="imagenet",
        image_size=IMAGE_SIZE,
        batch_size=STEP_BATCH_SIZE,
        # So small that weights hardly move: time is the question here.
        learning_rate=1e-6,
        max_number_of_steps=1,
    )
    trainer = Trainer(config, tf.distribute.get_strategy())
    images = tf.random.stateless_uniform((STEP_BATCH_SIZE, IMAGE_SIZE, IMAGE_SIZE, 3), (0, 0), -1.0, 1.0)
    batch = {"image": images, "label": tf.range(1, STEP_BATCH_SIZE + 1, dtype=tf.int64)}
    seconds = interleave({"step": lambda: trainer.train_step(batch)["loss"].numpy()}, steps)["step"]
    step_milliseconds = 1e3 * median(seconds, "processor") / STEP_BATCH_SIZE
    share = input_milliseconds / (input_milliseconds + step_milliseconds)
    print(
        f"per image: input {input_milliseconds:.2f} ms, ResNet-50 sact training step at batch {STEP_BATCH_SIZE} "
        f"{step_milliseconds:.1f} ms; the input is {100 * share:.1f} % of both"
    )


def measure(datasets, rounds, batches):
    """Returns a dict from the names to lists of images per second of processor time, timed in turns."""
    results = {name: [] for name in datasets}
    iterators = {name: iter(dataset) for name, dataset in datasets.items()}
    for iterator in iterators.values():
        next(iterator)
    # Once all buffers are full, what one pipeline reads ahead is counted as its own.
    settle()
    for _ in range(rounds):
        for name, iterator in iterators.items():
            start = time.process_time()
            for _ in range(batches):
                next(iterator)
            settle()
            results[name].append(batches * BATCH_SIZE / (time.process_time() - start))
    return results


def settle():
    """Waits until this process has nothing left to do."""
    quiet = 0
    while quiet < 3:
        start = time.process_time()
        time.sleep(0.1)
        quiet = quiet + 1 if time.process_time() - start < 0.005 else 0


if __name__ == "__main__":
    command_line.run(main)
