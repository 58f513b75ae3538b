"""How much each pair of images, and each image, moves a correlation between RDMs.

A correlation of similarities x with judgments h is, to first order, a mean over pairs: with both
standardised, pair ij moves it by ψ_ij = x h − (r/2)(x² + h²), over the number of pairs. What of ψ belongs
to images, a_i + a_j, is common to all pairs of an image. What is left, e_ij, is of single pairs, such as
the noise of a rating.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse

from rarefire._engine import blocks, pairs
from rarefire._engine.grams import PairSums, correlation
from rarefire._engine.resampling import less_one
from rarefire.rdm import standardised
from rarefire.rounding import SAME

__all__ = ["MOST", "Moved", "Spread", "expand", "positive", "similarities", "skewness", "spread"]

#: Numbers of features of which a curve's whole covariance is kept.
MOST = 512
_FEW = 3  # steps that are less work one by one


def similarities(
    source: Any, order: NDArray[np.intp], steps: NDArray[np.intp], metric: str, *, silenced: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Similarities of all pairs in the first k features, less 1.

    Parameters
    ----------
    source, order, steps, metric
        As for :func:`rarefire._engine.resampling.resample`.
    silenced
        Whether the other features are there, and 0, rather than gone; for correlation.

    Returns
    -------
    values, defined
        ``(n_steps, n_pairs)``, and ``(n_steps, n_images)``, which images have a similarity; values of others
        mean nothing.
    """
    n = source.shape[0]
    if len(steps) > _FEW:
        given = pairs.prefixes(source, order, steps, metric=metric, silence=silenced)
        running = np.zeros(n * (n - 1) // 2)
        return pairs.similarities(given, slice(0, len(steps)), running), given.scale > 0
    features = blocks.read(source, slice(0, n))
    found = []
    for k in steps:
        first = features[:, order[:k]]
        if silenced:
            first = np.zeros_like(features)
            first[:, order[:k]] = features[:, order[:k]]
        found.append(less_one(first, metric=metric))
    return np.stack([values for values, _ in found]), np.stack([inside for _, inside in found])


@dataclass(frozen=True)
class Moved:
    """Correlations of the first k features, and of all over the same pairs, as images and pairs move them.

    Attributes
    ----------
    r, r_all
        ``(n_steps,)``.
    without, without_all
        ``(n_images, n_steps)``, the same without each image; NaN where it is not among them.
    single, single_all
        ``(n_steps, n_pairs)``, residuals e of ψ, scaled so that the sum of their squares is what single
        pairs add to the variance of r; 0 where a pair is not among them.
    n_images
        ``(n_steps,)``.
    """

    r: NDArray[np.float64]
    r_all: NDArray[np.float64]
    without: NDArray[np.float64]
    without_all: NDArray[np.float64]
    single: NDArray[np.float64]
    single_all: NDArray[np.float64]
    n_images: NDArray[np.intp]

    def of(self, quantity: str) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Value, without each image, and residuals of ``"r"`` or of the ``"difference"`` r − r_all."""
        if quantity == "r":
            return self.r, self.without, self.single
        value, without = self.r - self.r_all, self.without - self.without_all
        value, without = (np.where(np.abs(v) < SAME, 0, v) for v in (value, without))
        return value, without, np.where(value == 0, 0, (self.single - self.single_all).T).T


def expand(
    values: NDArray[np.float64],
    defined: NDArray[np.bool_],
    whole: NDArray[np.float64],
    rdm: NDArray[np.float64],
) -> Moved:
    """Expand the correlations of similarities with an RDM, and of all features' with it.

    Parameters
    ----------
    values, defined
        From :func:`similarities`.
    whole
        ``(n_pairs,)``, similarities of all features.
    rdm
        ``(n_pairs,)``, dissimilarities; NaN where a pair was not judged.
    """
    steps, n = defined.shape
    rows, columns = np.triu_indices(n, k=1)
    h, known = standardised(rdm), np.isfinite(rdm)
    r, without = np.full((2, steps), np.nan), np.full((2, n, steps), np.nan)
    single, images = np.zeros((2, steps, len(rows))), np.zeros(steps, dtype=np.intp)
    for group, inside in _groups(defined):
        use = np.flatnonzero(inside[rows] & inside[columns] & known)
        judged = np.unique(np.concatenate([rows[use], columns[use]]))
        images[group] = len(judged)
        if len(use) <= len(judged):
            continue
        touches = _touches(rows[use], columns[use], n)[judged]
        both = np.vstack([values[np.ix_(group, use)], whole[use]])
        found, left, residuals = _expanded(both, h[use], touches)
        for place, part in enumerate((slice(0, len(group)), slice(-1, None))):
            r[place, group] = found[part]
            without[place][np.ix_(judged, group)] = left[part].T
            single[place][np.ix_(group, use)] = residuals[part]
    same = (values == whole).all(axis=1)
    if same.any():  # all features are all features, to the last digit
        for array in (r, single):
            array[1, same] = array[0, same]
        without[1][:, same] = without[0][:, same]
    return Moved(r[0], r[1], without[0], without[1], single[0], single[1], images)


def _groups(defined: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.bool_]]]:
    """Steps at which the same images have a similarity, and these images."""
    sets, which = np.unique(defined, axis=0, return_inverse=True)
    for place, inside in enumerate(sets):
        yield np.flatnonzero(which.ravel() == place), inside


def _touches(rows: NDArray[np.intp], columns: NDArray[np.intp], n: int) -> Any:
    """``(n, n_pairs)``, 1 where a pair has the image."""
    pair = np.arange(len(rows))
    ends = (np.ones(2 * len(rows)), (np.concatenate([rows, columns]), np.concatenate([pair, pair])))
    return sparse.csr_array(ends, shape=(n, len(rows)))


def _expanded(
    x: NDArray[np.float64], h: NDArray[np.float64], touches: Any
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """R ``(m,)``, without each image ``(m, n)`` and scaled residuals ``(m, n_pairs)`` of m lists with one."""
    count, n = x.shape[1], touches.shape[0]
    x, h = x - x.mean(axis=1, keepdims=True), (h - h.mean())[None]
    each = (np.ones((1, count)), x, x * x, h, h * h, x * h)
    total = PairSums(*(values.sum(axis=1, keepdims=True) for values in each))
    own = PairSums(*((touches @ values.T).T for values in each))
    rest = PairSums(*(getattr(total, name) - getattr(own, name) for name in PairSums.__dataclass_fields__))
    r = correlation(total)
    without = correlation(rest, floor=SAME * total.aa / count)
    with np.errstate(divide="ignore", invalid="ignore"):
        of_both = 1 / np.sqrt(total.aa * total.bb / count**2)
        of_x, of_h = r / 2 / (total.aa / count), r / 2 / (total.bb / count)
        psi = of_both * each[5] - of_x * each[2] - of_h * each[4]
        sums = (of_both * own.ab - of_x * own.aa - of_h * own.bb).T  # of ψ over the pairs of each image
    # Least squares of a_i + a_j: every pair has two images, so the mean is among them.
    if count == n * (n - 1) // 2:
        effects = (sums - sums.sum(axis=0) / (2 * n - 2)) / (n - 2)
    else:
        effects = linalg.pinvh((touches @ touches.T).toarray()) @ sums
    psi -= (touches.T @ effects).T
    return r[:, 0], without, psi / np.sqrt(count * (count - n))


@dataclass(frozen=True)
class Spread:
    """Variances along a curve, and whole covariances where they were asked for (else None).

    Attributes
    ----------
    jackknife, single
        ``(n_steps,)``: of the delete-one-image jackknife, V_J, and what single pairs add, B.
    skewness
        ``(n_steps,)``, of the changes without each image, over √n.
    of_jackknife, of_single
        ``(n_steps, n_steps)``, the same between numbers of features.
    """

    jackknife: NDArray[np.float64]
    single: NDArray[np.float64]
    skewness: NDArray[np.float64]
    of_jackknife: NDArray[np.float64] | None = None
    of_single: NDArray[np.float64] | None = None

    @property
    def variance(self) -> NDArray[np.float64]:
        """``(n_steps,)``: V_J counts single pairs twice, with either of their images; here once."""
        return np.maximum(self.jackknife - 2 * self.single, 0) + self.single

    @property
    def covariance(self) -> NDArray[np.float64]:
        """``(n_steps, n_steps)``, the same; what images add is made positive semi-definite."""
        assert self.of_jackknife is not None
        assert self.of_single is not None
        return positive(self.of_jackknife - 2 * self.of_single) + self.of_single


def spread(
    without: NDArray[np.float64], single: NDArray[np.float64], *, n: NDArray[np.intp], whole: bool = False
) -> Spread:
    """Variances of a quantity from what it is without each image, and from the residuals of its pairs.

    Parameters
    ----------
    without, single
        ``(n_images, n_steps)`` and ``(n_steps, n_pairs)``, as :class:`Moved` has them.
    n
        ``(n_steps,)``, images at each step.
    whole
        Whether covariances are wanted too.
    """
    known = np.isfinite(without)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(known, without, 0).sum(axis=0) / n
        apart = np.where(known, without - mean, 0) * np.sqrt((n - 1) / n)
    complete = (known.sum(axis=0) == n) & (n > 3)
    jackknife = np.where(complete, (apart**2).sum(axis=0), np.nan)
    alone = np.where(complete, np.einsum("kp,kp->k", single, single), np.nan)
    if not whole:
        return Spread(jackknife, alone, skewness(without))
    apart, single = np.where(complete, apart, 0), np.where(complete[:, None], single, 0)
    return Spread(jackknife, alone, skewness(without), apart.T @ apart, single @ single.T)


def skewness(without: NDArray[np.float64]) -> NDArray[np.float64]:
    """Σu³ / (Σu²)^1.5 of what each image does, ``(n_images, …)`` without it: skewness over √n."""
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # of a column without a value
        u = np.nanmean(without, axis=0) - without  # leaving out is minus adding
        return np.asarray(np.nansum(u**3, axis=0) / np.nansum(u**2, axis=0) ** 1.5)


def positive(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """The nearest positive semi-definite matrix: negative eigenvalues become 0."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.maximum(values, 0)) @ vectors.T)
