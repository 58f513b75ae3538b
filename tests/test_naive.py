"""The naive tests are what they are said to be: by the published formula, and by hand."""

import numpy as np
import pytest
from scipy import stats

from rarefire import inference, naive, rdm, simulations
from rarefire.errors import InputError


def given(seed, **options):
    """Embedding, human, order of a null world's study, and how many features are kept."""
    sample = simulations.world().sample(np.random.default_rng(seed), **options)
    return (sample.embedding, sample.human, sample.order), sample.kept


def test_williams_is_the_published_formula():
    """Steiger (1980), equation 7, written out with three correlations and n."""
    (embedding, human, order), k = given(4, n_images=12)
    kept, whole = rdm.pair_similarities(embedding[:, :k]), rdm.pair_similarities(embedding)
    r12, r13, r23 = (np.corrcoef(a, b)[0, 1] for a, b in ((human, kept), (human, whole), (kept, whole)))
    n = 66
    det = np.linalg.det(np.array([[1, r12, r13], [r12, 1, r23], [r13, r23, 1]]))
    t = (r12 - r13) * np.sqrt(
        (n - 1) * (1 + r23) / (2 * det * (n - 1) / (n - 3) + ((r12 + r13) / 2) ** 2 * (1 - r23) ** 3)
    )
    # The package correlates similarities with similarities; turning both signs leaves |t| as it is.
    expected = 2 * stats.t.sf(abs(t), n - 3)
    assert naive.williams(embedding, human, order, k=k) == pytest.approx(expected)


def test_fold_tests_are_made_of_the_folds():
    study, k = given(5)
    embedding, human, _ = study
    d = naive.differences_over_folds(*study, k=k, rng=np.random.default_rng(6))
    assert d.shape == (40,)
    p = naive.paired_t_over_folds(*study, k=k, rng=np.random.default_rng(6))
    assert p == pytest.approx(stats.ttest_1samp(d, 0).pvalue)
    t = d.mean() / np.sqrt(d.var(ddof=1) * (1 / 40 + 1 / 4))
    corrected = naive.nadeau_bengio(*study, k=k, rng=np.random.default_rng(6))
    assert corrected == pytest.approx(2 * stats.t.sf(abs(t), 39))
    # The first fold, by hand.
    part = np.array_split(np.random.default_rng(6).permutation(120), 5)[0]
    rows, columns = np.triu_indices(120, 1)
    use = np.isin(rows, part) & np.isin(columns, part)
    kept, whole = (rdm.pair_similarities(embedding[:, :n])[use] for n in (k, 64))
    expected = np.corrcoef(kept, -human[use])[0, 1] - np.corrcoef(whole, -human[use])[0, 1]
    assert d[0] == pytest.approx(expected)


def test_the_order_says_which_features_come_first(rng):
    (embedding, human, order), k = given(7, n_images=30)
    mixed = rng.permutation(64)
    same = embedding[:, mixed], human, np.argsort(mixed)
    assert naive.williams(*same, k=k) == pytest.approx(naive.williams(embedding, human, order, k=k))
    folds = [
        naive.differences_over_folds(*study, k=k, rng=np.random.default_rng(1))
        for study in (same, (embedding, human, order))
    ]
    np.testing.assert_allclose(*folds, atol=1e-12)


def test_the_smallest_p_is_that_of_a_k_below_all():
    study, _ = given(8)
    ks = (8, 24, 64)
    each = [inference.change_of_prediction(*study, k=k, method="plain-jackknife").p for k in ks]
    assert naive.smallest_p(*study, k=ks) == pytest.approx(min(each[:-1]))


def test_a_fold_without_variation_is_nan():
    (embedding, human, order), _ = given(9, n_images=25)
    embedding = embedding.copy()
    embedding[:, :8] = 0
    assert np.isnan(
        naive.differences_over_folds(embedding, human, order, k=8, rng=np.random.default_rng(0))
    ).all()


def test_errors():
    (embedding, human, order), k = given(9, n_images=25)
    gap = human.copy()
    gap[3] = np.nan
    with pytest.raises(InputError, match="know no pairs that nobody judged"):
        naive.williams(embedding, gap, order, k=k)
    with pytest.raises(InputError, match="65"):
        naive.differences_over_folds(embedding, human, order, k=65, rng=np.random.default_rng(0))
