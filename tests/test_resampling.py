"""The jackknife's variance: by the definition, and of the mean, where it is known."""

import numpy as np
import pytest

from rarefire._engine.resampling import jackknife_variance


def test_of_a_mean_it_is_the_variance_of_the_mean(rng):
    values = rng.normal(size=(30, 4))
    without = np.stack([np.delete(values, i, axis=0).mean(axis=0) for i in range(30)])
    np.testing.assert_allclose(jackknife_variance(without), values.var(axis=0, ddof=1) / 30)


def test_what_is_no_unit_does_not_count(rng):
    draws = rng.normal(size=(12, 3))
    draws[8:, 1] = np.nan
    found = jackknife_variance(draws, n=np.array([12, 8, 12]))
    expected = [jackknife_variance(draws[:n, i]) for i, n in enumerate((12, 8, 12))]
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize(
    ("draws", "n"),
    [([1.0, 2.0], None), ([1.0, np.nan, 2.0, 3.0], None), ([1.0, 2.0, 3.0, np.nan], 4), ([], None)],
)
def test_undefined_where_a_unit_lacks_its_replicate_and_for_fewer_than_three(draws, n):
    assert np.isnan(jackknife_variance(np.array(draws), n=n))
