"""Curves of many orders at once: against the curve of each, and where digits would be lost."""

from unittest import mock

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from rarefire import curves
from rarefire._engine import orders
from rarefire.errors import InputError

N, F = 20, 60
PAIRS = N * (N - 1) // 2


@pytest.fixture
def given(rng):
    """Post-ReLU features, judgments with gaps, and orders of the features."""
    features = np.maximum(rng.normal(size=(N, F)) - np.linspace(-1, 1.5, F), 0)
    human = rng.random(PAIRS)
    human[rng.random(PAIRS) < 0.1] = np.nan
    return features, human, [rng.permutation(F) for _ in range(7)]


@pytest.fixture
def careful(monkeypatch):
    """How often the other way was gone."""
    spy = mock.Mock(wraps=curves.rdm_curve)
    monkeypatch.setattr(orders, "rdm_curve", spy)
    return spy


def plainly(features, human, order, k, metric):
    """R of scipy's distances, where there are any."""
    some = features[:, order[:k]]
    varies = np.ptp(some, axis=1) > 0 if metric == "correlation" else some.any(axis=1)
    i, j = np.triu_indices(len(some), 1)
    use = varies[i] & varies[j] & np.isfinite(human)
    return np.corrcoef(pdist(some, metric)[use], human[use])[0, 1]


@pytest.mark.parametrize("metric", ["correlation", "cosine"])
@pytest.mark.parametrize("features_at_once", [4, 2**11])
def test_each_order_has_its_curve(given, careful, monkeypatch, metric, features_at_once):
    monkeypatch.setattr(orders, "_FEATURES", features_at_once)
    features, human, several = given
    k = [10, 25, 26, F]
    found = orders.rdm_curves(features, human, several, k=k, metric=metric)
    assert found.shape == (7, 4)
    assert careful.call_count == 0
    for order, r in zip(several, found, strict=True):
        expected = curves.rdm_curve(features, human, order, k=k, metric=metric).r
        np.testing.assert_allclose(r, expected, atol=1e-12)
        np.testing.assert_allclose(r, [plainly(features, human, order, s, metric) for s in k], atol=1e-12)
    every = orders.rdm_curves(features, human, several[:1], metric=metric)
    np.testing.assert_allclose(
        every[0], curves.rdm_curve(features, human, several[0], metric=metric).r, atol=1e-11
    )


@pytest.mark.parametrize("metric", ["correlation", "cosine"])
def test_images_that_are_silent_or_constant_are_left_out(given, careful, metric):
    """One is always 0, one always 1; one is silent in the first features of every order."""
    features, human, several = given
    features[3], features[8] = 0, 1
    features[11, np.unique([order[:10] for order in several])] = 0
    features[12, several[0][:10]] = 0.25  # constant, not silent, in one order
    found = orders.rdm_curves(features, human, several, k=[10, 30], metric=metric)
    expected = [curves.rdm_curve(features, human, order, k=[10, 30], metric=metric).r for order in several]
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert careful.call_count == 0  # exactly so: no digits are lost


def test_where_digits_would_be_lost_the_curve_is_taken(given, careful):
    """An image whose first features hardly differ; and images that are all alike."""
    features, human, several = given
    order = several[0]
    features[5, order[:10]] = 1 + 1e-7 * np.arange(10)
    found = orders.rdm_curves(features, human, [order], k=[10, 30])
    assert careful.call_count == 1
    expected = curves.rdm_curve(features, human, order, k=[10, 30]).r
    np.testing.assert_allclose(found[0], expected, atol=1e-12)
    alike = np.linspace(1, 2, F) + 1e-3 * features
    found = orders.rdm_curves(alike, human, several, k=[10, F])
    assert careful.call_count == 1 + 2 * len(several)
    for at, k in enumerate([10, F]):
        expected = [curves.rdm_curve(alike, human, order, k=[k]).r[0] for order in several]
        np.testing.assert_allclose(found[:, at], expected, atol=1e-7)


def test_what_is_undefined_is_nan(given):
    """One feature has no correlation over features."""
    features, human, several = given
    found = orders.rdm_curves(features, human, several, k=[1, 12])
    assert np.isnan(found).tolist() == [[True, False]] * len(several)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"orders": [np.arange(F), np.arange(3)]}, "order must hold each of the 60 feature indices once"),
        ({"k": [61]}, "k must lie between 1 and 60"),
        ({"metric": "euclidean"}, "metric is one of correlation, cosine; got 'euclidean'"),
        ({"rdm": np.arange(3.0)}, "the RDM is of 3 images; the embedding has 20 images"),
        ({"rdm": np.ones(PAIRS)}, "all values of the RDM are equal"),
        ({"embedding": np.full((N, F), np.nan)}, "20 of 20 images have NaN or infinite features"),
    ],
)
def test_errors_say_what_came_and_what_was_expected(given, changed, message):
    arguments = {"embedding": given[0], "rdm": given[1], "orders": given[2], **changed}
    with pytest.raises(InputError, match=message):
        orders.rdm_curves(**arguments)
