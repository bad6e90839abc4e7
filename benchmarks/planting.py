"""Networks whose halting is planted in their images, for benchmarks of a wanted share of FLOPs without training.

The red channel of an image holds a map of smooth blobs, which one channel of the network carries unchanged to all
halting branches. So every network runs its own halting, the masked form the same as the engine.
"""

import numpy as np
import tensorflow as tf

# Centre of blobs that makes every position of the map 1.
EVERYWHERE = -1.0
# And the least that makes it 0 everywhere.
NOWHERE = 1.25
# How far the share of FLOPs that is found may be from what was wanted.
TOLERANCE = 0.03


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
    for block in model.backbone.blocks.values():
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
    """Halting of a branch, where a channel, or its mean in a branch of whole images, is below the threshold."""
    spatial = hasattr(branch, "local_conv")
    reads = (branch.local_bn, branch.local_conv) if spatial else (branch.global_bn, branch.global_conv)
    keep_channel(reads[0], channel)
    kernel = np.zeros(reads[1].kernel.shape)
    kernel[kernel.shape[0] // 2, kernel.shape[1] // 2, channel] = -slope
    reads[1].kernel.assign(kernel)
    reads[1].bias.assign([slope * threshold])
    if spatial:
        branch.global_conv.kernel.assign(np.zeros(branch.global_conv.kernel.shape))


def blobs(batch, size, seed=0):
    """Smooth maps `(batch, height, width)`, uniformly distributed in [0, 1]; `size` is height and width."""
    coarse = tf.random.stateless_normal((batch, 5, 5, 1), (seed, 0))
    smooth = tf.image.resize(coarse, size, "bicubic").numpy().reshape(-1)
    ranks = np.empty(smooth.size)
    ranks[np.argsort(smooth)] = np.linspace(0.0, 1.0, smooth.size)
    return ranks.reshape(batch, *size)


def find_centre(share, share_of):
    """Bisection for the `centre` of `make_images` at which a network computes a share of the plain one's FLOPs.

    Args:
        share: float, wanted.
        share_of: function from a centre to the share that is computed.

    Raises:
        ValueError: if none comes near it.
    """
    least, most = NOWHERE, 1.0 - NOWHERE
    low, high = most, least
    for _ in range(9):
        centre = (low + high) / 2
        reached = share_of(centre)
        low, high = (centre, high) if reached > share else (low, centre)
    if abs(reached - share) > TOLERANCE:
        raise ValueError(
            f"--shares must be shares that this network can compute with these images, {share_of(least):.2f} to "
            f"{share_of(most):.2f}, in steps if whole images halt. Received: {share:g}; nearest to it is {reached:.2f}"
        )
    return centre


def make_images(batch, size, centre, whole=False):
    """Images whose red channel is 1 where blobs are above `centre`, falling to 0 around it.

    Args:
        batch: int, images.
        size: int, height and width in pixels, or a pair of them.
        centre: float.
        whole: bool, whether an image has one red all over, each its own, instead of blobs.
    """
    size = (size, size) if isinstance(size, int) else tuple(size)
    images = tf.random.stateless_uniform((batch, *size, 3), (0, 1), -1.0, 1.0).numpy()
    red = ((np.arange(batch) + 0.5) / batch)[:, None, None] if whole else blobs(batch, size)
    images[..., 0] = np.clip((red - centre) / 0.5 + 0.5, 0.0, 1.0)
    return tf.constant(images, tf.float32)
