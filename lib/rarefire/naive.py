"""Naive tests, which take pairs of images or folds of the same images for independent observations.

They are here to be compared with, in the book and in :mod:`rarefire.records.error_rates`: each says far too
often, or with too little power, that leaving features out changes the prediction. The tests to use are
those of :mod:`rarefire.inference` and :mod:`rarefire.selection`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from rarefire import inference
from rarefire._engine.arguments import checked
from rarefire.curves import check_order, check_steps
from rarefire.errors import InputError
from rarefire.rdm import check_embedding, check_rdm, pair_similarities, square, unit_vectors
from rarefire.rounding import SAME

__all__ = ["differences_over_folds", "nadeau_bengio", "paired_t_over_folds", "smallest_p", "williams"]


@checked
def differences_over_folds(
    embedding: ArrayLike,
    human: ArrayLike,
    order: ArrayLike,
    *,
    k: int,
    rng: np.random.Generator,
    seeds: int = 8,
    folds: int = 5,
) -> NDArray[np.float64]:
    """D = r(first k, human) − r(all, human) on every test fold of the same images.

    Parameters
    ----------
    embedding
        ``(n_images, n_features)``.
    human
        Dissimilarities of the images, condensed or square, all of them judged.
    order
        ``(n_features,)``, a permutation.
    k
        Features kept.
    rng
        Of the partitions of the images.
    seeds, folds
        Partitions, and parts in each.

    Returns
    -------
    ndarray
        ``(seeds × folds,)``; NaN where a fold's similarities do not vary.
    """
    features, people = _judged(embedding, human)
    first = features[:, _first(order, k, features.shape[1])]
    alike = np.stack([*(z @ z.T for z, _ in map(unit_vectors, (first, features))), -square(people)])
    least = len(features) // folds
    pairs = {size: np.triu_indices(size, k=1) for size in (least, least + 1)}
    found = []
    for _ in range(seeds):
        for part in np.array_split(rng.permutation(len(features)), folds):
            rows, columns = pairs[len(part)]
            kept, whole = _r(alike[:, part[rows], part[columns]])
            found.append(kept - whole)
    return np.array(found)


@checked
def paired_t_over_folds(
    embedding: ArrayLike, human: ArrayLike, order: ArrayLike, *, k: int, folds: int = 5, **options: Any
) -> float:
    """P of a paired t test over the folds of :func:`differences_over_folds`; arguments as there."""
    d = differences_over_folds(embedding, human, order, k=k, folds=folds, **options)
    return float(stats.ttest_1samp(d, 0).pvalue)


@checked
def nadeau_bengio(
    embedding: ArrayLike, human: ArrayLike, order: ArrayLike, *, k: int, folds: int = 5, **options: Any
) -> float:
    """P of the same test with the variance corrected for overlapping folds (Nadeau & Bengio 2003)."""
    d = differences_over_folds(embedding, human, order, k=k, folds=folds, **options)
    variance = d.var(ddof=1) * (1 / len(d) + 1 / (folds - 1))
    return float(2 * stats.t.sf(abs(d.mean()) / np.sqrt(variance), len(d) - 1))


@checked
def williams(embedding: ArrayLike, human: ArrayLike, order: ArrayLike, *, k: int) -> float:
    """P of Williams' test of two correlations with a common variable, over pairs.

    Steiger (1980), equation 7, with n(n−1)/2 pairs taken as independent observations. Arguments as for
    :func:`differences_over_folds`.
    """
    features, people = _judged(embedding, human)
    first = features[:, _first(order, k, features.shape[1])]
    kept, whole, said = pair_similarities(first), pair_similarities(features), -people
    n = len(said)
    (a, b, c) = (np.corrcoef(x, y)[0, 1] for x, y in ((kept, said), (whole, said), (kept, whole)))
    determinant = 1 - a**2 - b**2 - c**2 + 2 * a * b * c
    average = (a + b) / 2
    scale = 2 * (n - 1) / (n - 3) * determinant + average**2 * (1 - c) ** 3
    t = (a - b) * np.sqrt((n - 1) * (1 + c) / scale)
    return float(2 * stats.t.sf(abs(t), n - 3))


@checked
def smallest_p(embedding: ArrayLike, human: ArrayLike, order: ArrayLike, *, k: Sequence[int]) -> float:
    """Smallest p of the jackknife over several k, as if that k had been chosen beforehand.

    Arguments as for :func:`rarefire.inference.jackknife`; all features are no candidate.
    """
    found = inference.jackknife(embedding, order, rdm=human, k=k).estimate("difference")
    return float(np.nanmin(found.p[found.k < np.shape(embedding)[1]]))


def _r(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pearson r of each row with the last; NaN where one of them does not vary, but for rounding."""
    if values.shape[1] < 2:
        return np.full(len(values) - 1, np.nan)
    vary = np.ptp(values, axis=1) > SAME * np.abs(values).max(axis=1)
    apart = values - values.mean(axis=1, keepdims=True)
    norm = np.where(vary, np.sqrt((apart**2).sum(axis=1)), np.nan)
    return np.asarray(np.clip(apart[:-1] @ apart[-1] / (norm[:-1] * norm[-1]), -1, 1))


def _judged(embedding: ArrayLike, human: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    features = check_embedding(embedding)
    people = check_rdm(human, len(features))
    if not np.isfinite(people).all():
        raise InputError("the naive tests know no pairs that nobody judged; leave such images out.")
    return features, people


def _first(order: ArrayLike, k: int, n_features: int) -> NDArray[np.intp]:
    """The first k features."""
    return check_order(order, n_features)[: check_steps([k], n_features)[0]]
