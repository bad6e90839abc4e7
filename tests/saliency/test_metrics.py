"""The metrics of saliency, by hand, and against the figures of the benchmark's own code."""

import math

import numpy as np
import pytest

from sact_tf import saliency

# A map of 2 x 3 pixels; the two fixated ones are the highest and the third.
VALUES = np.array([[6.0, 1.0, 2.0], [4.0, 5.0, 3.0]])
FIXATED = np.array([[1, 0, 0], [1, 0, 0]])


@pytest.fixture(scope="module")
def figures(reference):
    return {name: np.load(reference / "saliency" / f"{name}.npz") for name in ("synthetic", "osie_five", "osie_means")}


def test_area_counts_what_is_as_high_as_each_fixation_and_is_none():
    # At 6 one of two is found and nothing else, at 4 both and one of four others: a step from (0, .5) to (.25, 1).
    expected = 0.25 * (0.5 + 1) / 2 + 0.75 * 1
    assert saliency.auc_judd(VALUES, FIXATED) == pytest.approx(expected)
    assert saliency.auc_judd(-VALUES, FIXATED) < 0.5


def test_area_takes_equal_values_together():
    # Both fixations have the value of all but one of the others.
    values, fixated = np.array([[1.0, 1.0, 1.0, 0.0]]), np.array([[1, 1, 0, 0]])
    # At the first: one found, two more as high; at the second: two found, one more.
    assert saliency.auc_judd(values, fixated) == pytest.approx(np.trapezoid([0, 0.5, 1, 1], [0, 1, 0.5, 1]))


def test_area_of_several_fixation_maps_is_that_of_each():
    generator = np.random.default_rng(3)
    values, fixated = generator.normal(size=(9, 7)), generator.uniform(size=(5, 9, 7)) < 0.2
    fixated[2] = False
    several = saliency.auc_judd(values, fixated)
    expected = [saliency.auc_judd(values, each) for each in fixated]
    np.testing.assert_array_equal(several, expected)
    assert several.shape == (5,) and np.isnan(several[2])
    assert saliency.auc_judd(values, fixated[:0]).shape == (0,)
    assert np.isnan(saliency.auc_judd(np.ones((9, 7)), fixated)).all()


def test_area_does_not_depend_on_scale_and_fixations_do_not_count_twice():
    assert saliency.auc_judd(100 * VALUES - 7, 5 * FIXATED) == saliency.auc_judd(VALUES, FIXATED)
    assert saliency.auc_judd(VALUES, np.ones((2, 3))) == pytest.approx(1.0)


@pytest.mark.parametrize("scale", [2.0**-1000, 2.0**-600, 2.0**600, 2.0**1000])
def test_no_metric_depends_on_the_scale_of_its_maps(scale):
    generator = np.random.default_rng(1)
    values, density, prior = generator.uniform(size=(3, 4, 5))
    fixated = np.eye(4, 5, dtype=bool)
    scores = saliency.score(values, fixated, density, prior)
    assert saliency.score(scale * values, fixated, scale * density, scale * prior) == scores


def test_the_other_metrics_by_hand():
    # Mean 3.5, variance of 1 to 6 with n - 1: 3.5; the fixations have 6 and 4.
    assert saliency.nss(VALUES, FIXATED) == pytest.approx((5 - 3.5) / math.sqrt(3.5))
    assert saliency.cc([[0, 1, 2]], [[1, 3, 5]]) == pytest.approx(1)
    assert saliency.cc([[0, 1, 2]], [[5, 3, 1]]) == pytest.approx(-1)
    # From 0 on and to the sum 1: 0, 1/3, 2/3 and 1/2, 1/2, 0.
    assert saliency.similarity([[1, 2, 3]], [[4, 4, 2]]) == pytest.approx(1 / 3)
    assert saliency.kl_divergence([[1, 1, 2]], [[1, 1, 0]]) == pytest.approx(math.log(2))
    # Of the sum 1, the fixated pixel has 2/3 in the map and 1/3 in the baseline.
    assert saliency.information_gain([[0, 1, 2]], [[0, 0, 1]], [[0, 2, 1]]) == pytest.approx(1)


def test_what_cannot_be_said_is_nan():
    nothing, flat = np.zeros((2, 3)), np.full((2, 3), 0.3)
    for metric in (saliency.auc_judd, saliency.nss):
        assert math.isnan(metric(VALUES, nothing)) and math.isnan(metric(flat, FIXATED))
    assert math.isnan(saliency.cc(VALUES, nothing)) and math.isnan(saliency.cc(flat, VALUES))
    assert math.isnan(saliency.similarity(flat, VALUES)) and saliency.similarity(VALUES, nothing) == 0
    assert math.isnan(saliency.information_gain(flat, FIXATED, VALUES))
    assert math.isnan(saliency.information_gain(VALUES, FIXATED, flat))


@pytest.mark.parametrize("metric", [saliency.auc_judd, saliency.nss, saliency.cc, saliency.kl_divergence])
def test_maps_of_other_sizes_and_without_numbers_are_refused(metric):
    with pytest.raises(ValueError, match=r"must be of one size.*\(2, 3\) and \(3, 2\)"):
        metric(VALUES, FIXATED.T)
    with pytest.raises(ValueError, match="must be finite; one has NaN"):
        metric(np.where(VALUES == 2, np.nan, VALUES), FIXATED)
    # NaN was taken for fixated: of maps of nothing else the area was 1.
    with pytest.raises(ValueError, match="must be finite; one has NaN"):
        metric(VALUES, np.where(VALUES == 2, np.nan, FIXATED))


@pytest.mark.parametrize("name", ["synthetic", "osie_five"])
def test_all_metrics_are_those_of_the_benchmarks_own_code(figures, name):
    stored = figures[name]
    centre, compared = stored["centre"], 0
    for case, (fixated, density) in enumerate(zip(stored["fixations"], stored["density"], strict=True)):
        other = stored["density"][(case + 1) % 5]
        maps = [stored["maps"][case], centre] if name == "synthetic" else [centre, other]
        maps += [np.ones_like(centre), None, density]
        for values, expected in zip(maps, stored["metrics"][case], strict=True):
            # The fourth, a constant of .3, is rounding noise in the benchmark.
            if values is not None:
                found = saliency.score(values, fixated, density, centre)
                np.testing.assert_allclose([found[metric] for metric in saliency.METRICS], expected, 0, 1e-9)
                compared += 1
    assert compared == 20


def test_densities_and_centre_are_those_of_the_reference(figures):
    for name, sigma, centre_sigma in (("synthetic", 1.5, 3), ("osie_five", 6, 37.5)):
        stored = figures[name]
        for fixated, density in zip(stored["fixations"], stored["density"], strict=True):
            np.testing.assert_allclose(saliency.fixation_density(fixated, sigma), density, 1e-6, 1e-8)
        height, width = stored["centre"].shape
        np.testing.assert_allclose(saliency.centre_prior(height, width), stored["centre"], 1e-6)
        assert centre_sigma == height / 4


def test_centre_prior_has_the_area_that_the_reference_has_for_points_of_osie(figures):
    stored, means = figures["osie_five"], figures["osie_means"]
    for case, number in enumerate(stored["image_number"]):
        fixated, outside = saliency.fixation_map(stored[f"points_xy_{case}"], 150, 200)
        assert outside == 0
        prior = saliency.centre_prior(150, 200)
        found = saliency.auc_judd(prior, fixated), saliency.nss(prior, fixated)
        row = list(means["image_number"]).index(number)
        np.testing.assert_allclose(found, means["per_image"][row, :2], 0, 1e-9)


def test_many_fixation_maps_of_a_map_do_not_take_a_sort_each(monkeypatch):
    sorted_sizes, sort = [], np.sort

    def counting(values, **options):
        sorted_sizes.append(np.size(values))
        return sort(values, **options)

    generator = np.random.default_rng(4)
    values, fixated = generator.normal(size=(60, 80)), generator.uniform(size=(20, 60, 80)) < 0.01
    monkeypatch.setattr(np, "sort", counting)
    saliency.auc_judd(values, fixated)
    assert sorted_sizes.count(60 * 80) == 1 and sorted(sorted_sizes)[-2] < 200
