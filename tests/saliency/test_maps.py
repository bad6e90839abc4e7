"""The maps that metrics compare."""

import itertools

import numpy as np
import pytest
from scipy import ndimage

from sact_tf import saliency


def test_points_mark_the_pixel_that_they_are_in_and_those_outside_are_counted():
    points = [(0, 0), (2.9, 1.9), (2.1, 1.0), (3.0, 0), (0, 2), (-0.1, 1), (np.nan, 1), (1, np.inf)]
    fixated, outside = saliency.fixation_map(points, height=2, width=3)
    assert fixated.tolist() == [[True, False, False], [False, False, True]]
    assert outside == 5
    fixated, outside = saliency.fixation_map([], 2, 3)
    assert fixated.shape == (2, 3) and not fixated.any() and outside == 0


def test_points_with_a_time_are_not_taken_for_more_points():
    with pytest.raises(ValueError, match=r"pairs of x and y, \(n, 2\).* Received: shape \(2, 3\)"):
        saliency.fixation_map([(394.5, 264.7, 246.0), (10.0, 20.0, 200.0)], 600, 800)


def test_density_is_scipys_blur_with_nothing_outside():
    values = np.random.default_rng(1).uniform(size=(31, 17))
    # Few fixations, and more than are added up one by one.
    few, many = values < 0.05, values < 0.5
    assert few.sum() < 31 < many.sum()
    for sigma, fixated in itertools.product((0.7, 2.5, 9.0), (few, many)):
        expected = ndimage.gaussian_filter(fixated.astype(float), sigma, mode="constant")
        np.testing.assert_allclose(saliency.fixation_density(fixated, sigma), expected, 0, 1e-15)
    assert not saliency.fixation_density(np.zeros((4, 5)), 2).any()
    with pytest.raises(ValueError, match="above 0"):
        saliency.fixation_density(few, 0)


def test_blur_keeps_the_mean_at_reflected_borders_and_what_is_constant():
    values = np.random.default_rng(2).uniform(size=(20, 30))
    assert saliency.blur(values, 4).mean() == pytest.approx(values.mean())
    np.testing.assert_array_equal(saliency.blur(values, 0), values)
    np.testing.assert_array_equal(saliency.blur(np.full((20, 30), 0.3), 4), np.full((20, 30), 0.3))


def test_scaling_makes_no_contrast_out_of_rounding():
    assert saliency.scaled([[2.0, 3.0, 6.0]]).tolist() == [[0, 0.25, 1]]
    noise = 12.3 + np.random.default_rng(0).uniform(size=(5, 6)) * 1e-13
    assert not saliency.scaled(noise).any()
    assert not saliency.scaled(np.zeros((3, 4))).any()


def test_prior_is_highest_in_the_middle_and_equally_wide_both_ways():
    prior = saliency.centre_prior(9, 13)
    assert prior.max() == prior[4, 6] == 1
    assert prior[4, 9] == pytest.approx(prior[7, 6]) == pytest.approx(np.exp(-9 / (2 * (9 / 4) ** 2)))
    assert saliency.mix([[0.0, 1.0]], [[1.0, 0.5]], 0.25).tolist() == [[0.25, 0.875]]


def test_maps_that_are_not_scaled_or_of_two_sizes_are_not_mixed():
    for arguments, message in (
        (([[2.0, 9.0]], [[0.0, 1.0]], 0.5), r"`saliency_map` must be in \[0, 1\]; `scaled` brings .* Received: 2 to 9"),
        (([[0.0, 1.0]], [[0.0, 1.0]], 1.5), r"`centre_weight` must be in \[0, 1\]"),
        (([[0.0, 1.0]], [[0.0, 1.0]], np.nan), r"`centre_weight` must be in \[0, 1\]"),
        (([[0.0, 1.0]], [[0.0], [1.0]], 0.5), r"of one size\. Received: shapes \(1, 2\) and \(2, 1\)"),
    ):
        with pytest.raises(ValueError, match=message):
            saliency.mix(*arguments)


def test_contrast_is_where_luminance_changes():
    image = np.zeros((100, 120, 3))
    image[:, 60:] = 1.0
    values = saliency.contrast(image)
    assert values[50].argmax() in (59, 60) and values[50, 59] == pytest.approx(0.5, abs=0.05)
    assert values[:, :40].max() < 1e-6
    # Of equal luminance, another colour is none.
    assert saliency.contrast(np.full((100, 120, 3), 77, np.uint8)).max() < 1e-6


def test_reduced_map_has_means():
    values = np.arange(24.0).reshape(4, 6)
    assert saliency.reduce_map(values, 2, 2).tolist() == [[4, 7], [16, 19]]
    np.testing.assert_array_equal(saliency.reduce_map(values, 4, 6), values)
    assert saliency.reduce_map(np.ones((7, 5)), 3, 2).tolist() == [[1, 1]] * 3


NAN = np.array([[0.0, np.nan], [1.0, 0.5]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: saliency.blur(np.eye(3), -1), "`sigma` must be a number of pixels from 0 on. Received: sigma=-1"),
        (lambda: saliency.blur(np.eye(3), float("nan")), "from 0 on. Received: sigma=nan"),
        (lambda: saliency.blur(np.ones((4, 5, 3)), 1), r"must be \(height, width\).*shape=\(4, 5, 3\)"),
        (lambda: saliency.scaled([[0.0, np.inf]]), "NaN or infinity"),
        (lambda: saliency.fixation_density(NAN, 1), "NaN or infinity"),
        (lambda: saliency.fixation_density(np.eye(3), np.inf), "above 0. Received: sigma=inf"),
        (lambda: saliency.centre_prior(4, 5, 0), "above 0. Received: sigma=0"),
        (lambda: saliency.mix(NAN, np.eye(2), 0.5), r"`saliency_map` must be in \[0, 1\]"),
        (lambda: saliency.mix(np.eye(2), np.eye(2), float("nan")), r"`centre_weight` must be in \[0, 1\]"),
        (lambda: saliency.contrast(np.ones((2, 4, 5, 3))), r"`image` must be \(height, width, 3\)"),
        (lambda: saliency.reduce_map(np.ones((4, 5)), 8, 5), r"at most its own size.*height=8, width=5"),
        (lambda: saliency.reduce_map(np.ones((4, 5)), 0, 5), r"must be ints.*Received: \(0, 5\)"),
        (lambda: saliency.fixation_map([(1, 1)], 3.5, 4), r"must be ints.*Received: \(3.5, 4\)"),
        (lambda: saliency.centre_prior(4, -5), r"must be ints.*Received: \(4, -5\)"),
        (lambda: saliency.auc_judd(np.eye(2), np.stack([np.eye(2), NAN])), "Fixation maps must be finite"),
    ],
)
def test_what_is_no_map_or_no_width_of_a_blur_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
