"""Which of all anchors or proposals a training step learns from: a few, drawn at random."""

import tensorflow as tf

# How many anchors and proposals of an image are sampled, and the share of positive ones (TF Object Detection API).
ANCHORS_SAMPLED, ANCHORS_POSITIVE = 256, 0.5
PROPOSALS_SAMPLED, PROPOSALS_POSITIVE = 64, 0.25
# One generator on every processor: what TensorFlow selects by itself depends on it.
_ALGORITHM = "philox"


def sample(positive, negative, size, positive_fraction, seed, step, images):
    """Draws at most `int(positive_fraction * size)` positives, and negatives up to `size` in all.

    There are fewer where there are not enough. What is drawn for an image depends on the seed, the step, the number
    of the image and its own row of masks alone, not on the rest of the batch.

    Args:
        positive: bool `(batch, candidates)`.
        negative: bool `(batch, candidates)`; what is neither is not drawn.
        size: int >= 0.
        positive_fraction: float in [0, 1].
        seed: int; draws of different kinds in a step (anchors, proposals) need different seeds.
        step: int scalar.
        images: int `(batch,)`, number of each image, within the step or in all.

    Returns:
        bool `(batch, candidates)`, True where drawn.

    Raises:
        ValueError: for a size or fraction out of range.
    """
    if size < 0 or not 0.0 <= positive_fraction <= 1.0:
        raise ValueError(
            "`size` must be at least 0, and `positive_fraction` lie in [0, 1]. "
            f"Received: size={size!r}, positive_fraction={positive_fraction!r}"
        )
    order = _random_order(tf.shape(positive)[1], seed, step, images)
    positive_drawn = _first(tf.gather(positive, order, batch_dims=1), int(positive_fraction * size))
    remaining = size - tf.reduce_sum(tf.cast(positive_drawn, tf.int32), axis=1, keepdims=True)
    negative_drawn = _first(tf.gather(negative & ~positive, order, batch_dims=1), remaining)
    places = tf.argsort(order, axis=1)
    return tf.gather(positive_drawn | negative_drawn, places, batch_dims=1)


def places(sampled, size):
    """Where the samples are, for gathering them: as many rows for each image.

    Args:
        sampled: bool `(batch, candidates)`, at most `size` of each image.
        size: int.

    Returns:
        `(indices, valid)`: int32 `(batch, size)`, rising, 0 where nothing is left; bool `(batch, size)`.
    """
    # There may be fewer candidates than rows.
    sampled = tf.pad(tf.cast(sampled, tf.int32), [[0, 0], [0, size]])
    found, indices = tf.math.top_k(sampled, size)
    return tf.where(found > 0, indices, 0), found > 0


def _random_order(count, seed, step, images):
    """A random order of `count` things for each image, int32 `(batch, count)`."""
    key = tf.stack([tf.cast(seed, tf.int64), tf.zeros([], tf.int64)])
    of_step = tf.random.experimental.stateless_fold_in(key, tf.cast(step, tf.int64), alg=_ALGORITHM)

    def draw(image):
        of_image = tf.random.experimental.stateless_fold_in(of_step, image, alg=_ALGORITHM)
        # Whole numbers: those of TensorFlow 2.21 are the same under XLA, its floats are not.
        return tf.random.stateless_uniform([count], of_image, None, None, tf.int32, alg=_ALGORITHM)

    draws = tf.map_fn(draw, tf.cast(images, tf.int64), fn_output_signature=tf.int32)
    return tf.argsort(draws, axis=1, stable=True)


def _first(wanted, count):
    """The first `count` of what is wanted in each row, bool."""
    return wanted & (tf.cumsum(tf.cast(wanted, tf.int32), axis=1) <= count)
