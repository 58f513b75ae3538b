"""Nested curves: against both RDMs made the long way, at every k."""

import numpy as np
import pytest

from rarefire import curves, embeddings, poz, rdm, stimuli
from rarefire.errors import InputError


def naive_curve(embedding, order, metric="correlation"):
    """Both RDMs as full matrices and their correlation, one k at a time."""
    n = len(embedding)
    found, left = [], []
    for k in range(1, embedding.shape[1] + 1):
        prefix = embedding[:, order[:k]]
        if metric == "correlation":
            has = np.array([len(set(row)) > 1 for row in prefix])
        else:
            has = np.array([any(row) for row in prefix])
        left.append(int(has.sum()))
        if has.sum() < 3:
            found.append(np.nan)
            continue
        partial, full = (similarity(x[has], metric) for x in (prefix, embedding))
        pairs = np.triu_indices(int(has.sum()), 1)
        a, b = partial[pairs], full[pairs]
        found.append(np.corrcoef(a, b)[0, 1] if np.ptp(a) > 1e-9 else np.nan)
    assert n >= max(left)
    return np.array(found), np.array(left)


def similarity(x, metric):
    if metric == "correlation":
        return np.corrcoef(x)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    return unit @ unit.T


@pytest.mark.parametrize("metric", ["correlation", "cosine"])
@pytest.mark.parametrize("first", ["low", "high"])
def test_curve_equals_the_long_way_at_every_k(embedding, metric, first):
    order = poz.order(poz.poz(embedding), first=first)
    found = curves.geometry_curve(embedding, order, metric=metric)
    expected, left = naive_curve(embedding, order, metric)
    np.testing.assert_allclose(found.r, expected, atol=1e-9)
    np.testing.assert_array_equal(found.n_images, left)


def test_curve_on_real_digits_equals_numpy_at_every_k():
    """Pixels of real digits: many constant images at small k, in the high-to-low order."""
    images = stimuli.load("digits", "test").images[:120]
    embedding = images[:, 0, ::4, ::4].reshape(120, -1).astype(float)
    for first in ("low", "high"):
        order = poz.order(poz.poz(embedding), first=first)
        expected, left = naive_curve(embedding, order)
        found = curves.geometry_curve(embedding, order)
        np.testing.assert_allclose(found.r, expected, atol=1e-9)
        np.testing.assert_array_equal(found.n_images, left)
        assert found.n_images.min() < 120


def test_curve_ends_at_one_and_ignores_dead_features(embedding):
    rates = poz.poz(embedding)
    found = curves.geometry_curve(embedding, poz.order(rates), metric="cosine")
    assert found.r[-1] == pytest.approx(1, abs=1e-12)
    alive = int((rates < 1).sum())
    assert found.r[alive - 1] == pytest.approx(1, abs=1e-12)


def test_dead_features_alone_have_no_geometry(embedding):
    found = curves.geometry_curve(embedding, poz.order(poz.poz(embedding), first="high"))
    assert np.isnan(found.r[:2]).all()
    assert found.n_images[:2].tolist() == [0, 0]


def test_chosen_steps_equal_the_whole_curve(embedding):
    order = poz.order(poz.poz(embedding))
    whole = curves.geometry_curve(embedding, order)
    some = curves.geometry_curve(embedding, order, k=[24, 5, 9])
    assert some.k.tolist() == [5, 9, 24]
    np.testing.assert_array_equal(some.r, whole.r[[4, 8, 23]])


def test_curve_is_unchanged_by_permuting_features_and_images(embedding, rng):
    shuffle = rng.permutation(24)
    order = np.arange(24)
    moved = embedding[:, shuffle][rng.permutation(40)]
    found = curves.geometry_curve(moved, np.argsort(shuffle)[order])
    np.testing.assert_allclose(found.r, curves.geometry_curve(embedding, order).r, atol=1e-12)


def test_fraction_and_value_at_a_fraction(embedding):
    found = curves.geometry_curve(embedding, np.arange(24))
    assert found.fraction[-1] == 1
    assert found.at(0.5) == found.r2[11] == found.r[11] ** 2
    with pytest.raises(InputError, match="no value at 12 of 24"):
        curves.geometry_curve(embedding, np.arange(24), k=[24]).at(0.5)


@pytest.mark.parametrize("squared", [True, False])
def test_class_curve_equals_the_authors_convention_spelt_out(embedding, squared):
    labels = np.arange(40) % 10
    order = poz.order(poz.poz(embedding))
    found = curves.class_curve(embedding, labels, order, squared=squared)
    means = np.stack([embedding[labels == c].mean(0) for c in range(10)])
    pairs = np.triu_indices(10, 1)
    power = 2 if squared else 1
    full = np.corrcoef(means)[pairs] ** power
    for k in (3, 10, 24):
        partial = np.corrcoef(means[:, order[:k]])[pairs] ** power
        assert len(partial) == 45
        assert found.r2[k - 1] == pytest.approx(np.corrcoef(partial, full)[0, 1] ** 2, abs=1e-12)
    assert np.isnan(found.r[0])  # one feature: every class mean is constant
    assert found.n_images.tolist() == [0] + [10] * 23


def test_curve_agrees_with_rdm_and_compare(embedding):
    order = poz.order(poz.poz(embedding))
    found = curves.geometry_curve(embedding, order, k=[15])
    expected = rdm.compare(rdm.rdm(embedding[:, order[:15]]), rdm.rdm(embedding), method="pearson")
    assert found.r[0] == pytest.approx(expected, abs=1e-12)


def test_curve_of_a_real_network_is_exact(trained):
    network, test = trained
    embedding = embeddings.extract(network, test)
    order = poz.order(poz.poz(embedding))
    expected, _ = naive_curve(embedding.astype(float), order)
    np.testing.assert_allclose(curves.geometry_curve(embedding, order).r, expected, atol=1e-9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda e: curves.geometry_curve(e[:2], np.arange(24)), "at least three images; got 2"),
        (lambda e: curves.geometry_curve(e, np.arange(23)), "each of the 24 feature indices once"),
        (lambda e: curves.geometry_curve(e, [0] * 24), "each of the 24 feature indices once"),
        (lambda e: curves.geometry_curve(e, np.arange(24), k=[0, 3]), "k must lie between 1 and 24"),
        (lambda e: curves.geometry_curve(e, np.arange(24), k=[25]), "k must lie between 1 and 24"),
        (lambda e: curves.geometry_curve(e, np.arange(24), metric="euclidean"), "got 'euclidean'"),
        (lambda e: curves.class_curve(e, [0, 1] * 20, np.arange(24)), "at least three classes; got 2"),
        (lambda e: curves.class_curve(e, [0, 1], np.arange(24)), r"labels must be \(40,\)"),
    ],
)
def test_errors(embedding, call, message):
    with pytest.raises(InputError, match=message):
        call(embedding)
