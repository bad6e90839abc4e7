"""What the study is asked, checked before anything is read."""

import dataclasses
import numbers

# In pixels of the pictures; those of the MIT benchmark's own search (code_forOptimization).
SIGMAS = (0.0, 10.0, 20.0, 30.0, 40.0, 60.0, 80.0, 100.0)
CENTRE_WEIGHTS = tuple(tenth / 10 for tenth in range(11))
# Blur of OSIE's own maps (24 of 800 pixels), and about a degree of the field of vision in CAT2000.
DENSITY_SIGMAS = {"osie": 24.0, "cat2000": 35.0}
_DENSITY_SHARE = 24 / 800
# Far beyond any picture, where nothing is left of a map; the time that a blur takes grows with it.
MAX_SIGMA = 10_000


@dataclasses.dataclass(frozen=True)
class Settings:
    """How maps are made and scored.

    Attributes:
        form: a key of `sact_tf.data.fixations.FORMATS`.
        sigmas: floats, blurs to choose from, in pixels of the pictures.
        centre_weights: floats in [0, 1], weights of the centre prior to choose from.
        density_sigma: float, pixels, the blur of fixations; None for the data set's.
        shuffles: int, other pictures' maps that are tried on each picture.
        num_images: int, pictures, evenly from all; None for all.
        score_size: int, pixels of the longer edge that maps are scored at; None for the pictures' own size.
    """

    form: str
    sigmas: tuple
    centre_weights: tuple
    density_sigma: float | None
    shuffles: int
    num_images: int | None
    score_size: int | None = None

    def __post_init__(self):
        _check_numbers("sigmas", self.sigmas, 0, MAX_SIGMA)
        _check_numbers("centre_weights", self.centre_weights, 0, 1)
        if self.density_sigma is not None:
            _check_numbers("density_sigma", [self.density_sigma], 0, MAX_SIGMA)
            if self.density_sigma == 0:
                raise ValueError(
                    "`density_sigma` must be above 0: a density is fixations that are blurred. Received: "
                    f"density_sigma={self.density_sigma!r}"
                )
        for name, least in (("shuffles", 1), ("num_images", 4), ("score_size", 16)):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < least):
                raise ValueError(f"`{name}` must be an int, at least {least}. Received: {name}={value!r}")

    def density_of(self, width):
        """The blur of fixations on a picture of a width, float, in its pixels."""
        return self.density_sigma or DENSITY_SIGMAS.get(self.form) or _DENSITY_SHARE * width


def _check_numbers(name, values, least, most):
    # NaN is in no bounds.
    if not values or not all(isinstance(value, numbers.Real) and least <= value <= most for value in values):
        raise ValueError(f"`{name}` must be numbers from {least} to {most}. Received: {list(values)}")
