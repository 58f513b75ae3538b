"""Sums over pairs from sums over images: against the pairs themselves."""

import numpy as np
import pytest
import torch

from rarefire import rdm
from rarefire._engine import grams
from rarefire._engine.grams import Grams
from rarefire.errors import InputError

STEPS = np.array([1, 3, 8, 20, 24])


def naive(features, reference, steps, metric, weights=None):
    """Every sum over ordered pairs of different images, pair by pair."""
    n = len(features)
    weights = np.ones(n) if weights is None else weights
    w, w_defined = rdm.unit_vectors(reference, metric=metric)
    found = []
    for k in steps:
        z, defined = rdm.unit_vectors(features[:, :k], metric=metric)
        sums = np.zeros(6)
        for i in range(n):
            for j in range(n):
                if i != j and all((defined & w_defined)[[i, j]]):
                    a, b = z[i] @ z[j], w[i] @ w[j]
                    sums += weights[i] * weights[j] * np.array([1, a, a * a, b, b * b, a * b])
        found.append(sums)
    return np.array(found).T


def arrays(sums):
    return np.array([sums.pairs, sums.a, sums.aa, sums.b, sums.bb, sums.ab])


@pytest.mark.parametrize("metric", ["correlation", "cosine"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("own", [True, False])
def test_sums_equal_the_pairs_one_by_one(embedding, rng, metric, weighted, own):
    embedding = embedding[:, ::-1]  # dead features first: images come in one by one
    embedding[7] = 0  # and one never does
    other = embedding if own else np.maximum(rng.normal(size=(40, 9)), 0)
    weights = rng.multinomial(40, np.full(40, 1 / 40)).astype(float) if weighted else None
    found = Grams(STEPS, metric, own=own)
    for rows in (slice(0, 13), slice(13, 40)):
        found.update(
            embedding[rows],
            None if own else other[rows],
            weights=None if weights is None else weights[rows],
        )
    expected = naive(embedding, other, STEPS, metric, weights)
    np.testing.assert_allclose(arrays(found.sums()), expected, atol=1e-9)


def test_a_tensor_gives_the_same_sums_as_an_array(embedding, rng):
    weights = rng.integers(0, 3, 40).astype(float)
    for own in (True, False):
        found = []
        for kind in (np.asarray, torch.from_numpy):
            total = Grams(STEPS, own=own)
            total.update(kind(embedding), None if own else kind(embedding[:, :5].copy()), weights=weights)
            found.append(arrays(total.sums()))
        np.testing.assert_allclose(found[0], found[1], atol=1e-10)


def test_single_precision_is_close(embedding):
    found = {}
    for precision in ("double", "single"):
        total = Grams(STEPS, precision=precision)
        total.update(embedding)
        found[precision] = grams.correlation(total.sums())
    np.testing.assert_allclose(found["single"], found["double"], atol=1e-5)
    assert not np.array_equal(found["single"], found["double"])


def test_adding_does_not_change_what_is_added(embedding):
    first, second = Grams(STEPS), Grams(STEPS)
    first.update(embedding[:20])
    second.update(embedding[20:])
    before = arrays(second.sums())
    total = Grams(STEPS).add(first).add(second)
    np.testing.assert_array_equal(arrays(second.sums()), before)
    whole = Grams(STEPS)
    whole.update(embedding)
    np.testing.assert_allclose(arrays(total.sums()), arrays(whole.sums()), atol=1e-10)
    np.testing.assert_array_equal(total.images, whole.images)


@pytest.mark.parametrize("metric", ["correlation", "cosine"])
def test_what_each_image_adds(embedding, metric):
    embedding = embedding[:, ::-1]
    total = Grams(STEPS, metric)
    total.update(embedding)
    each, inside = total.of_each(embedding)
    whole = arrays(total.sums())
    for i in (0, 5, 39):
        rest = naive(np.delete(embedding, i, axis=0), np.delete(embedding, i, axis=0), STEPS, metric)
        found = whole - 2 * arrays(each)[:, i]
        np.testing.assert_allclose(found[:, inside[i]], rest[:, inside[i]], atol=1e-9)


@pytest.mark.parametrize("metric", ["correlation", "cosine"])
def test_residuals_and_what_they_were_divided_by_give_co_moments(embedding, metric):
    h, size = grams.scaled_residuals(embedding, metric=metric)
    assert size.shape == (40, 1)
    assert np.abs(h).max(axis=1) == pytest.approx(1)
    for k in (1, 2, 9, 24):
        x = embedding[:, :k] - (
            embedding[:, :k].mean(axis=1, keepdims=True) if metric == "correlation" else 0
        )
        found = (h[:, :k] * size) @ (h[:, :k] * size).T
        np.testing.assert_allclose(found, x @ x.T, atol=1e-12 * size.max() ** 2)
    with pytest.raises(InputError, match="one of correlation, cosine; got 'other'"):
        grams.scaled_residuals(embedding, metric="other")


def test_residuals_turn_pearson_into_cosine_and_leave_the_input(embedding):
    before = embedding.copy()
    h = grams.residuals(embedding, metric="correlation")
    for k in (2, 9, 24):
        centred = embedding[:, :k] - embedding[:, :k].mean(axis=1, keepdims=True)
        scale = np.linalg.norm(h[:, :k], axis=1) / np.where(
            np.ptp(embedding[:, :k], axis=1) > 0, np.linalg.norm(centred, axis=1), 1
        )
        expected = centred @ centred.T * np.outer(scale, scale)
        np.testing.assert_allclose(h[:, :k] @ h[:, :k].T, expected, atol=1e-12)
    np.testing.assert_array_equal(embedding, before)


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1e-300, 1e300, 0.0])
def test_constant_prefixes_are_exactly_undefined(value):
    rows = np.full((3, 50), value)
    rows[1, 49] = value * 2 + 1
    scale = grams.unit_scale(grams.residuals(rows, metric="correlation"), np.array([49, 50]))
    np.testing.assert_array_equal(scale > 0, [[False, False], [False, True], [False, False]])


def test_tiny_and_huge_activations_have_their_geometry(rng):
    rows = rng.random((5, 30))
    for scale in (1e-200, 1e200):
        for metric in ("correlation", "cosine"):
            total, plain = Grams(np.array([10, 30]), metric), Grams(np.array([10, 30]), metric)
            total.update(rows * scale)
            plain.update(rows)
            np.testing.assert_allclose(arrays(total.sums()), arrays(plain.sums()), rtol=1e-9, atol=1e-12)


def test_groups_of_steps_fit_into_memory(monkeypatch):
    steps = np.arange(1, 101)
    assert grams.groups(steps, 100) == [slice(0, 100)]
    monkeypatch.setattr(grams, "MEMORY", 200_000)
    groups = grams.groups(steps, 100)
    assert len(groups) > 3
    assert [s for g in groups for s in steps[g]] == steps.tolist()
    with pytest.raises(InputError, match="sums over 400 × 400 features would take"):
        grams.groups(np.array([400]), 400)


def test_correlation_is_undefined_without_variation_or_pairs():
    one = np.ones(1)
    assert np.isnan(grams.correlation(grams.PairSums(10 * one, one, one / 10, one, 5 * one, one)))[0]
    assert np.isnan(grams.correlation(grams.PairSums(2 * one, one, 5 * one, one, 5 * one, one)))[0]


def test_errors(embedding):
    with pytest.raises(InputError, match="metric is one of correlation, cosine; got 'euclidean'"):
        Grams(STEPS, "euclidean").update(embedding)
    with pytest.raises(InputError, match="of different curves"):
        Grams(STEPS).add(Grams(STEPS[:2]))
