"""What rounding must not decide: known answers, and sums in two orders."""

import numpy as np
import pytest

from rarefire import rounding


def test_levels_by_hand():
    assert rounding.levels([0.3, 0.1 + 0.2, 0.1, 7, -2]).tolist() == [2, 2, 1, 3, 0]
    assert rounding.levels([1, 1 + 1e-9]).tolist() == [0, 1]
    assert rounding.levels([-0.0, 0.0]).tolist() == [0, 0]
    assert rounding.levels([]).tolist() == []


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_levels_do_not_depend_on_the_scale(scale, rng):
    values = rng.random(50).round(1) * (1 + 1e-15 * rng.normal(size=50))
    expected = np.unique(values.round(1), return_inverse=True)[1]
    np.testing.assert_array_equal(rounding.levels(values * scale), expected)


def test_levels_are_those_of_sums_in_any_order(rng):
    numbers = rng.random((30, 2000))
    sums = numbers.sum(axis=1)
    again = np.array([sum(row[::-1]) for row in numbers])
    assert (sums != again).any()
    found = rounding.levels(np.concatenate([sums, again]))
    np.testing.assert_array_equal(found[:30], found[30:])
    assert len(set(found[:30])) == 30


def test_the_first_of_the_largest():
    assert rounding.first_largest([0.1, 0.3, 0.1 + 0.2, 0.3]) == 1
    assert rounding.first_largest([0.1, 0.1 + 0.2, 0.3]) == 1
    assert rounding.first_largest([np.nan, -0.5, -0.5 + 1e-9, np.nan]) == 2
    assert rounding.first_largest([0, 0]) == 0
    assert rounding.first_largest([0.2, 0.7 - 1e-11, 0.7], within=rounding.TIE) == 1
    assert rounding.first_largest([0.2, 0.7 - 1e-9, 0.7], within=rounding.TIE) == 2


def test_the_largest_of_each_column_points_up():
    columns = np.array([[1, -2, 0, -0.3], [-3, 2, 0, 0.1 + 0.2], [2, 1, 0, 0.1]])
    assert rounding.upright(columns).tolist() == [-1, -1, 1, -1]
    assert rounding.upright(columns[:, :0]).shape == (0,)
