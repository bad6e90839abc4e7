"""Images with NaN or infinity in them, of which nothing is known: what a network says of one is NaN.

By itself it would not be: TensorFlow's max pooling passes NaN by, and so do its ReLUs where oneDNN runs them. All else
is as of a blank image, so that all runtimes agree on it.
"""

from keras import ops

from sact_tf import losses


def blank_unless_finite(images):
    """Replaces images that are not finite.

    Args:
        images: float `(batch, height, width, channels)`, of which float32 is looked at.

    Returns:
        `(images, finite)`: zeros for an image with NaN or infinity in it, and bool `(batch,)`, False for it.
    """
    batch, height, width, channels = ops.shape(images)
    # Along two axes: to spread the choice over four takes TensorFlow seven times as long.
    values = ops.reshape(images, (batch, height * width * channels))
    finite = ops.all(ops.isfinite(ops.cast(values, "float32")), axis=1)
    values = ops.where(finite[:, None], values, ops.zeros((), values.dtype))
    return ops.reshape(values, (batch, height, width, channels)), finite


def nan_unless(finite, values):
    """Values `(batch, ...)` of images that are `finite`, bool `(batch,)`, and NaN for the others."""
    return losses.nan_unless(ops.reshape(finite, (-1, *(1 for _ in values.shape[1:]))), values)
