"""What the tests of the engine share: weights that a folding could get wrong, and the comparison with the model."""

import numpy as np
import pytest

# Relative to an array's largest value.
TOLERANCE = 1e-4


@pytest.fixture(scope="session")
def randomize():
    """Function that gives every normalization and bias of a layer values, negative and zero scales among them."""

    def draw(generator, variable):
        name, shape = variable.path.rsplit("/", 1)[-1], variable.shape
        if name == "gamma":
            gamma = generator.normal(0.6, 0.7, shape)
            gamma[:: max(3, len(gamma) // 4)] = 0.0
            variable.assign(gamma)
        elif name == "moving_variance":
            variable.assign(generator.uniform(0.5, 1.5, shape))
        elif name in ("beta", "moving_mean", "bias"):
            variable.assign(generator.normal(0.0, 0.2, shape))

    def randomize(layer, seed=3):
        generator = np.random.default_rng(seed)
        for variable in layer.variables:
            draw(generator, variable)
        return layer

    return randomize


@pytest.fixture(scope="session")
def assert_same():
    """Function that compares two dicts of outputs: integers equal, floats nearly so."""

    def assert_same(ours, theirs, tolerance=TOLERANCE):
        assert set(ours) == set(theirs)
        for name, expected in theirs.items():
            got, expected = np.asarray(ours[name]), np.asarray(expected)
            assert (got.shape, got.dtype) == (expected.shape, expected.dtype), name
            if expected.dtype.kind == "i":
                np.testing.assert_array_equal(got, expected, name)
            else:
                largest = np.abs(expected.astype("float64")).max(initial=0.0)
                np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * largest, err_msg=name)

    return assert_same
