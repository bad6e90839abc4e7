"""Batches of images of unequal sizes: padded below and to the right, to few different shapes.

Height and width of a batch are those of its largest image, rounded up to a multiple of a bucket, so that a network that
is compiled for each shape is compiled for few. Padding is 0, the grey in the middle of [-1, 1].
"""

import tensorflow as tf

# Of photographs. Sides up to 1024 pixels make 16 buckets each way, and most photographs share a few of them.
BUCKET = 64


def bucketed(length, bucket):
    """The least multiple of a bucket that is at least `length`; ints, or tensors of them."""
    return -(-length // bucket) * bucket


def pad_images(images, size):
    """Pads `(..., height, width, channels)` with zeros below and to the right to a size, two ints."""
    shape = tf.shape(images)
    below, right = size[0] - shape[-3], size[1] - shape[-2]
    leading = [[0, 0]] * (images.shape.rank - 3)
    return tf.pad(images, [*leading, [0, below], [0, right], [0, 0]])


def batched(examples, size, bucket, drop_remainder=False):
    """Batches of a dataset of examples, whose images are padded if there is a bucket.

    Args:
        examples: dataset of dicts of tensors; of unequal shape may be `image` `(height, width, channels)` alone.
        size: int, examples of a batch.
        bucket: int, or None where all images have the same size.
        drop_remainder: bool, whether a last batch that is short is left out.
    """
    if bucket is None:
        return examples.batch(size, drop_remainder)

    def round_up(batch):
        return {**batch, "image": pad_images(batch["image"], bucketed(tf.shape(batch["image"])[1:3], bucket))}

    return examples.padded_batch(size, drop_remainder=drop_remainder).map(round_up)


def stacked(examples, bucket):
    """A batch of a list of examples, as `batched` makes it."""
    if bucket is not None:
        sizes = tf.stack([tf.shape(example["image"])[:2] for example in examples])
        size = bucketed(tf.reduce_max(sizes, axis=0), bucket)
        examples = [{**example, "image": pad_images(example["image"], size)} for example in examples]
    return {name: tf.stack([example[name] for example in examples]) for name in examples[0]}
