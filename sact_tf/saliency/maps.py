"""The maps that metrics compare: of fixations, of predictions, and of what is known without a network."""

import numbers

import numpy as np

# Standard deviations at which a Gaussian is cut off: SciPy's own default, and that of the reference figures.
_TRUNCATE = 4.0
# Windows of local contrast, as a part of the picture's height.
_CONTRAST_SIGMA = 1 / 50
_LUMINANCE = (0.299, 0.587, 0.114)
# Blurring a constant map leaves rounding errors of about so much.
_ROUNDING = 1e-9


def fixation_map(points, height, width):
    """Marks the pixels that points are in.

    Args:
        points: `(n, 2)`, x and y in pixels from 0 at the left and the top; the pixel is the number rounded down.
        height, width: ints, of the picture in pixels.

    Returns:
        `(fixated, outside)`: bool array `(height, width)`, and how many points are not in the picture, int; what is no
        number is outside as well.

    Raises:
        ValueError: if points are not pairs, such as those of OSIE, which end in a time; for a size that is none.
    """
    _check_size(height, width)
    points = np.asarray(points, np.float64)
    if points.size and (points.ndim != 2 or points.shape[1] != 2):
        raise ValueError(
            f"`points` must be pairs of x and y, (n, 2); of longer rows give the first two columns. Received: shape "
            f"{points.shape}"
        )
    points = points.reshape(-1, 2)
    inside = (points >= 0).all(1) & (points < (width, height)).all(1)
    columns, rows = np.floor(points[inside]).astype(int).T
    fixated = np.zeros((height, width), bool)
    fixated[rows, columns] = True
    return fixated, int(np.sum(~inside))


def fixation_density(fixation_map, sigma):
    """A map of fixations, blurred: where people look, rather than looked.

    Args:
        fixation_map: `(height, width)`, non-zero where somebody looked.
        sigma: float > 0, of the Gaussian, in pixels; outside of the picture is nothing.

    Returns:
        float64 `(height, width)`; its sum is the number of pixels, less what lies beyond the border.
    """
    _check_sigma(sigma, above=True)
    fixated = _map(fixation_map) != 0
    rows, columns = np.nonzero(fixated)
    if len(rows) > len(fixated):
        from scipy import ndimage

        return ndimage.gaussian_filter(fixated.astype(np.float64), sigma, mode="constant", truncate=_TRUNCATE)
    # Of few fixations, most of the map is zero, and it is quicker to add up the Gaussians of each.
    radius = int(_TRUNCATE * sigma + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    density = np.zeros(np.add(fixated.shape, 2 * radius))
    for row, column in zip(rows, columns, strict=True):
        density[row : row + len(kernel), column : column + len(kernel)] += kernel[:, None] * kernel
    return density[radius : radius + fixated.shape[0], radius : radius + fixated.shape[1]]


def blur(values, sigma):
    """A map blurred by a Gaussian with reflected borders, as SciPy has it.

    Args:
        values: `(height, width)`.
        sigma: float >= 0, in pixels; 0 leaves the map as it is.

    Returns:
        float64 `(height, width)`. What was constant stays so, without rounding.

    Raises:
        ValueError: for another sigma.
    """
    from scipy import ndimage

    _check_sigma(sigma)
    values = _map(values)
    if sigma == 0 or values.min() == values.max():
        return values
    return ndimage.gaussian_filter(values, sigma, mode="reflect", truncate=_TRUNCATE)


def scaled(values):
    """A map brought to [0, 1], float64; zeros where it has no contrast but that of rounding."""
    values = _map(values)
    least, most = values.min(), values.max()
    if most - least <= _ROUNDING * max(abs(least), abs(most)):
        return np.zeros_like(values)
    return (values - least) / (most - least)


def centre_prior(height, width, sigma=None):
    """A Gaussian in the middle of the picture, where people look most, whatever is in it.

    Args:
        height, width: ints, pixels.
        sigma: float > 0, in pixels, the same in both directions; a quarter of the height by default.

    Returns:
        float64 `(height, width)`, at most 1.

    Raises:
        ValueError: for another sigma, or a size that is none.
    """
    _check_size(height, width)
    sigma = height / 4 if sigma is None else sigma
    _check_sigma(sigma, above=True)
    rows, columns = np.arange(height) - (height - 1) / 2, np.arange(width) - (width - 1) / 2
    return np.exp(-(rows[:, None] ** 2 + columns**2) / (2 * sigma**2))


def mix(saliency_map, prior, centre_weight):
    """`(1 - centre_weight) * saliency_map + centre_weight * prior`, float64 `(height, width)`.

    Args:
        saliency_map, prior: floats in [0, 1] `(height, width)`, such as those of `scaled` and `centre_prior`.
        centre_weight: float in [0, 1].

    Raises:
        ValueError: for maps of two sizes, and numbers outside of [0, 1], with which the weight would mean another one.
    """
    saliency_map, prior = np.asarray(saliency_map, np.float64), np.asarray(prior, np.float64)
    if saliency_map.shape != prior.shape:
        raise ValueError(
            f"A map and the prior must be of one size. Received: shapes {saliency_map.shape} and {prior.shape}"
        )
    for name, values in (("saliency_map", saliency_map), ("prior", prior), ("centre_weight", centre_weight)):
        # Written so that NaN fails.
        if not (np.min(values) >= -_ROUNDING and np.max(values) <= 1 + _ROUNDING):
            raise ValueError(
                f"`{name}` must be in [0, 1]; `scaled` brings a map there. Received: {np.min(values):g} to "
                f"{np.max(values):g}"
            )
    return (1 - centre_weight) * saliency_map + centre_weight * prior


def contrast(image):
    """Local contrast, a map without learning: the standard deviation of luminance in a Gaussian window.

    Args:
        image: `(height, width, 3)`, red, green and blue, floats or uint8. The window has a sigma of a fiftieth of the
            height.

    Returns:
        float64 `(height, width)`, at least 0.
    """
    image = np.asarray(image, np.float64)
    if image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f"`image` must be (height, width, 3). Received: shape={image.shape}")
    luminance = image @ _LUMINANCE
    sigma = _CONTRAST_SIGMA * len(luminance)
    mean = blur(luminance, sigma)
    return np.sqrt(np.maximum(blur(luminance**2, sigma) - mean**2, 0))


def reduce_map(values, height, width):
    """A map at a smaller size, each of whose pixels is the mean of those that it stands for.

    Args:
        values: `(h, w)`, numbers.
        height, width: ints, at least 1 and at most `h` and `w`.

    Returns:
        float64 `(height, width)`.

    Raises:
        ValueError: for another size.
    """
    values = _map(values)
    _check_size(height, width)
    if height > values.shape[0] or width > values.shape[1]:
        raise ValueError(
            f"A map of {values.shape} is reduced to at most its own size. Received: height={height}, width={width}"
        )
    for axis, length in ((0, height), (1, width)):
        edges = np.arange(length + 1) * values.shape[axis] // length
        counts = np.diff(edges).reshape((-1, 1) if axis == 0 else (1, -1))
        values = np.add.reduceat(values, edges[:-1], axis=axis) / counts
    return values


def _map(values):
    """A map as float64; raises ValueError for what is none."""
    values = np.asarray(values, np.float64)
    if values.ndim != 2 or not values.size or not np.isfinite(values).all():
        what = f"shape={values.shape}" if values.ndim != 2 or not values.size else "NaN or infinity in it"
        raise ValueError(f"A map must be (height, width), of finite numbers; take several one by one. Received: {what}")
    return values


def _check_sigma(sigma, above=False):
    # Written so that NaN fails.
    if not 0 <= sigma < float("inf") or (above and sigma == 0):
        least = "above 0" if above else "from 0 on"
        raise ValueError(f"`sigma` must be a number of pixels {least}. Received: sigma={sigma!r}")


def _check_size(*size):
    if not all(isinstance(side, numbers.Integral) and side >= 1 for side in size):
        raise ValueError(f"A size must be ints, height and width in pixels, at least 1. Received: {size}")
