"""Running sums over pairs: against numpy.corrcoef, one prefix at a time."""

import numpy as np
import pytest

from rarefire import rdm
from rarefire._engine import blocks, pairs


@pytest.fixture
def late(embedding):
    """Rare features first, one image never defined."""
    embedding = embedding[:, ::-1].copy()
    embedding[7] = 0
    return embedding


@pytest.mark.parametrize("metric", ["correlation", "cosine"])
@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("steps", [range(1, 25), [2, 9, 17]])
def test_sums_equal_the_pairs_one_by_one(late, rng, metric, gaps, steps):
    steps = np.array(list(steps))
    reference = rng.normal(size=(40, 40))
    reference += reference.T
    if gaps:
        reference[3, 8] = reference[8, 3] = reference[20, 39] = reference[39, 20] = np.nan
    given = pairs.prefixes(late, np.arange(24), steps, metric=metric)
    found = pairs.pair_sums(given, lambda rows, columns: reference[rows, columns])
    upper = np.triu_indices(40, 1)
    for step, k in enumerate(steps):
        unit, defined = rdm.unit_vectors(late[:, :k], metric=metric)
        a, b = (unit @ unit.T)[upper] - 1, reference[upper]
        use = np.isfinite(b) & defined[upper[0]] & defined[upper[1]]
        a, b = a[use], b[use]
        expected = [use.sum(), a.sum(), (a * a).sum(), b.sum(), (b * b).sum(), (a * b).sum()]
        got = [getattr(found, name)[step] for name in ("pairs", "a", "aa", "b", "bb", "ab")]
        np.testing.assert_allclose(got, expected, atol=1e-9)
        assert given.n_images[step] == defined.sum()


def test_more_images_than_a_tile_holds(rng):
    embedding = rng.random((300, 12))
    given = pairs.prefixes(embedding, np.arange(12), np.arange(1, 13), metric="correlation")
    found = pairs.pair_sums(given, given.tile)
    similarity = np.corrcoef(embedding)[np.triu_indices(300, 1)]
    assert found.a[-1] == pytest.approx((similarity - 1).sum(), abs=1e-8)
    assert found.ab[-1] == pytest.approx(((similarity - 1) ** 2).sum(), abs=1e-8)
    assert found.bb[-1] == pytest.approx(found.aa[-1], abs=1e-8)


def test_similarities_in_consecutive_parts(late):
    steps = np.array([1, 2, 5, 6, 20, 24])
    given = pairs.prefixes(late, np.arange(24), steps, metric="correlation")
    running = np.zeros(40 * 39 // 2)
    parts = [pairs.similarities(given, part, running) for part in (slice(0, 2), slice(2, 5), slice(5, 6))]
    upper = np.triu_indices(40, 1)
    for k, values in zip(steps, np.concatenate(parts), strict=True):
        unit, defined = rdm.unit_vectors(late[:, :k])
        use = defined[upper[0]] & defined[upper[1]]
        np.testing.assert_allclose(values, np.where(use, (unit @ unit.T)[upper] - 1, 0), atol=1e-12)


def test_prefixes_in_an_order_and_without_some_images(late, rng):
    order, keep = rng.permutation(24), rng.random(40) > 0.3
    given = pairs.prefixes(late, order, np.array([24]), metric="cosine", keep=keep)
    unit, defined = rdm.unit_vectors(late, metric="cosine")
    np.testing.assert_allclose(given.tile(slice(0, 4), slice(5, 40)), unit[:4] @ unit[5:].T - 1, atol=1e-12)
    assert given.n_images[0] == (keep & defined).sum()


def test_one_thread_and_several_agree(late):
    from threadpoolctl import threadpool_limits

    given = pairs.prefixes(late, np.arange(24), np.arange(1, 25), metric="correlation")
    several = pairs.pair_sums(given, given.tile)
    with threadpool_limits(1):
        assert blocks.threads() == 1
        one = pairs.pair_sums(given, given.tile)
    np.testing.assert_allclose(several.ab, one.ab, atol=1e-10)


def test_input_is_not_modified_and_nan_is_refused(late):
    before = late.copy()
    given = pairs.prefixes(late, np.arange(24), np.arange(1, 25), metric="correlation")
    pairs.pair_sums(given, given.tile)
    np.testing.assert_array_equal(late, before)
    late[2, 3] = np.nan
    with pytest.raises(ValueError, match="1 of 40 images have NaN or infinite features"):
        pairs.prefixes(late, np.arange(24), np.arange(1, 25), metric="correlation")
