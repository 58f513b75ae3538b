"""The number of features chosen on some images, its effect tested on others.

At the peak of a curve, the first k features predict people better than all of them even if nothing is
to be gained: the peak was looked for. Here order and k are chosen on one part of the images and
D = r(first k, human) − r(all, human) is taken on the rest, with the parts changing places
(cross-fitting), so that no image judges a choice that it took part in.

That answers how good the choice is for new images. Whether *any* number of features predicts people better
than all of them is another question, which :func:`rarefire.inference.change_of_prediction` answers with
``method="maximum"``, and with several times the power (:mod:`rarefire.records.error_rates`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rarefire import poz, rdm
from rarefire._engine.arguments import checked
from rarefire._engine.resampling import jackknife_variance, less_one, resample, without_each
from rarefire.curves import ENOUGH, Curve, check_order, enough, rdm_curve
from rarefire.errors import InputError
from rarefire.inference import with_interval
from rarefire.rdm import Metric, check_embedding, judged_images
from rarefire.reliability import mean_rdm, on_one_scale
from rarefire.rounding import SAME, first_largest

__all__ = ["CrossFitted", "best", "cross_fitted", "over_partitions"]


@checked
def best(curve: Curve, *, n_images: int, least: float = ENOUGH) -> int:
    """The number of features with the highest r; the smallest, where several have it.

    They have it within :data:`rarefire.rounding.SAME`: curves over 86,528 features differ by 2e-13 between
    processors, and a feature that fires for one image has changed one by 2e-11.

    Parameters
    ----------
    curve
        From :func:`rarefire.curves.rdm_curve`.
    n_images
        Images in all.
    least
        Only k at which this share of them has a defined similarity count.

    Raises
    ------
    InputError
        If there is no such k.
    """
    use = np.isfinite(curve.r) & enough(curve.n_images, n_images, least=least)
    if not use.any():
        raise InputError(
            f"r is undefined at every k, or fewer than {least:.0%} of {n_images} images have one."
        )
    return int(curve.k[first_largest(np.where(use, curve.r, np.nan))])


@dataclass(frozen=True)
class CrossFitted:
    """What was gained by a choice, on images that took no part in it.

    Attributes
    ----------
    estimate, low, high, level
        D = r(first k) − r(all), positive where leaving features out helps; its confidence interval.
    se, df, p
        Standard error, degrees of freedom of t, two-sided p.
    k
        ``(repeats, folds)``, what was chosen.
    r_kept, r_all
        With people on the test images, averaged (over subjects too, where there are several).
    n, n_subjects
        Images that anybody judged; subjects, where they were taken to vary too, else 0.
    method
        What was done, in words.
    """

    estimate: float
    low: float
    high: float
    level: float
    se: float
    df: float
    p: float
    k: NDArray[np.intp]
    r_kept: float
    r_all: float
    n: int
    n_subjects: int
    method: str

    def __str__(self) -> str:
        units = f"{self.n_subjects} subjects, {self.n} images" if self.n_subjects else f"{self.n} images"
        return (
            f"D = {self.estimate:+.3f} [{self.low:+.3f}, {self.high:+.3f}], p = {self.p:.3g}, "
            f"df = {self.df:g}\nr = {self.r_kept:.3f} with {np.median(self.k):g} features (median choice, "
            f"from {self.k.min()} to {self.k.max()}), {self.r_all:.3f} with all\n{self.method} ({units})"
        )


@checked
def cross_fitted(
    embedding: ArrayLike,
    human: ArrayLike,
    order: ArrayLike | str,
    *,
    rng: np.random.Generator,
    k: ArrayLike | None = None,
    silent: ArrayLike | None = None,
    metric: Metric = "correlation",
    folds: int = 2,
    repeats: int = 10,
    level: float = 0.95,
) -> CrossFitted:
    """How good is a choice of features for new images? Order and k chosen on some, D taken on others.

    As a test of whether any number of features predicts people better than all, it has little power: for
    that, the maximum over the curve (:func:`rarefire.inference.largest`).

    Parameters
    ----------
    embedding
        ``(n_images, n_features)``.
    human
        Dissimilarities of the images, condensed ``(n(n-1)/2,)`` or square ``(n, n)``; with a leading
        axis for several subjects, who are then taken to vary too.
    order
        ``"low"`` or ``"high"``: by the PoZ of the training images, which comes first. Or
        ``(n_features,)``, an order that was fixed beforehand.
    rng
        Source of the partitions of the images.
    k
        Numbers of features to choose from; by default every one. If all of them are best, D is 0.
    silent
        ``(n_images, n_features)``, how many zeros each image has in each feature, from which the order is
        counted: for channels, over positions. By default whether the feature is 0.
    metric
        ``"correlation"`` or ``"cosine"``.
    folds
        Parts of the images; each is the test set once. Needs at least five images in a part.
    repeats
        Partitions.
    level
        Of the interval.

    Returns
    -------
    CrossFitted

    Raises
    ------
    InputError
        For arrays that do not fit, too few images, and where D is undefined in most partitions.

    Notes
    -----
    Within a partition D is the mean over folds; its variance is that of a jackknife over the images of
    each test fold, plus, with subjects, the variance over subjects divided by their number (what both
    share is counted twice: conservative). Over partitions, D is the median, and its variance the
    median of variance + (D − median)², as Chernozhukov et al. (2018, definition 3.3) combine them.
    :mod:`rarefire.simulations` measures how often the whole procedure is wrong.
    """
    for name, value, least in (("folds", folds, 2), ("repeats", repeats, 1)):
        if not isinstance(value, (int, np.integer)) or value < least:
            raise InputError(f"{name} must be a whole number, at least {least}; got {value}.")
    if not 0 < level < 1:
        raise InputError(f"level lies in (0, 1); got {level}.")
    study = _study(embedding, human, order, silent, metric)
    if study.n < 5 * folds:
        raise InputError(f"{folds} folds need at least {5 * folds} images; got {study.n}.")
    steps = None if k is None else np.unique(k).tolist()
    partitions = [np.array_split(rng.permutation(study.n), folds) for _ in range(repeats)]
    found = [[_on_fold(study, test, steps) for test in parts] for parts in partitions]
    what = "k" if study.zeros is None else "order and k"
    method = (
        f"{what} chosen on {(folds - 1) / folds:.0%} of the images, D on the others, "
        f"{repeats} × {folds} folds; delete-one-image jackknife"
    )
    return _combined(found, study, level=level, method=method)


@dataclass(frozen=True)
class _Study:
    """What is to be divided: only images that anybody judged.

    `people` are ``(n_subjects, n, n)``; `order` is fixed, or counted by the `zeros` of training images with
    `first` PoZ first; `whole`, the similarities of all features, less 1, ``(n, n)``.
    """

    features: NDArray[np.float64]
    people: NDArray[np.float64]
    order: NDArray[np.intp]
    zeros: NDArray[Any] | None
    first: poz.Direction
    metric: Metric
    whole: NDArray[np.float64]

    @property
    def n(self) -> int:
        return len(self.features)


def _study(
    embedding: ArrayLike, human: ArrayLike, order: ArrayLike | str, silent: ArrayLike | None, metric: Metric
) -> _Study:
    """The arguments of :func:`cross_fitted`, checked."""
    features = check_embedding(embedding)
    n, n_features = features.shape
    first, zeros, indices = "low", None, np.arange(n_features)
    if not isinstance(order, str):
        indices = check_order(order, n_features)
    elif order in ("low", "high"):
        poz.poz(features)  # refuses what is not post-ReLU
        first, zeros = order, features == 0 if silent is None else np.asarray(silent)
        if zeros.shape != features.shape:
            raise InputError(f"silent must be {features.shape}, as the embedding; got {zeros.shape}.")
    else:
        raise InputError(f"order is 'low', 'high' or a permutation of the features; got {order!r}.")
    people = _people(human, n)
    judged = judged_images(mean_rdm(people)[np.triu_indices(n, k=1)])
    features, people = features[judged], people[:, judged][:, :, judged]
    whole = rdm.square(less_one(features, metric=metric)[0])
    kept = None if zeros is None else zeros[judged]
    return _Study(features, people, indices, kept, first, metric, whole)  # type: ignore[arg-type]


class _Fold(NamedTuple):
    """What one test part says: `k` chosen on the others, r of the features kept and of all, by subject.

    `variance` is the jackknife's, of the mean difference.
    """

    k: int
    kept: NDArray[np.float64]
    all: NDArray[np.float64]
    variance: float


def _on_fold(study: _Study, test: NDArray[np.intp], steps: list[int] | None) -> _Fold:
    """Choose order and k on the other images, and see on these what they are worth."""
    train = np.setdiff1d(np.arange(study.n), test)
    order = study.order
    if study.zeros is not None:
        order = poz.order(study.zeros[train].mean(axis=0), first=study.first)
    people = mean_rdm(study.people[:, train][:, :, train])
    curve = rdm_curve(study.features[train], people, order, metric=study.metric, k=steps)
    k = best(curve, n_images=len(train))
    own = study.people[:, test][:, :, test], study.whole[np.ix_(test, test)]
    return _Fold(k, *_change(study.features[test], order, k, study.metric, *own))


def _combined(found: list[list[_Fold]], study: _Study, *, level: float, method: str) -> CrossFitted:
    """Over folds the mean, over partitions the median."""
    repeats, folds, subjects = len(found), len(found[0]), len(study.people)
    k, kept, whole = (
        np.array([[getattr(fold, name) for fold in parts] for parts in found])
        for name in ("k", "kept", "all")
    )
    by_subject = (kept - whole).mean(axis=1)  # (repeats, subjects)
    variance = np.array([sum(fold.variance for fold in parts) for parts in found]) / folds**2
    d, df = by_subject.mean(axis=1), float(study.n - folds)
    if subjects > 1:
        variance = variance + by_subject.var(axis=1, ddof=1) / subjects
        df = float(min(df, subjects - 1))
    known = np.isfinite(d) & np.isfinite(variance)
    if 2 * np.count_nonzero(known) <= repeats:
        raise InputError(
            f"D is undefined in {np.count_nonzero(~known)} of {repeats} partitions: too few test images "
            "have a defined similarity in the features chosen, or their similarities do not vary, or a "
            "subject judged no two of them."
        )
    estimate, se = over_partitions(d[known], variance[known])
    return CrossFitted(
        **with_interval(estimate, se, df, level=level),
        k=k,
        r_kept=float(np.nanmean(kept)),
        r_all=float(np.nanmean(whole)),
        n=study.n,
        n_subjects=subjects if subjects > 1 else 0,
        method=method,
    )


@checked
def over_partitions(d: NDArray[np.float64], variance: NDArray[np.float64]) -> tuple[float, float]:
    """Combine an estimate over random partitions of the same images (Chernozhukov et al. 2018, def. 3.3).

    Parameters
    ----------
    d, variance
        ``(n_partitions,)``, the estimate from each partition, and its variance.

    Returns
    -------
    estimate, se
        The median; the root of the median of variance + (estimate − median)².
    """
    estimate = float(np.median(d))
    return estimate, float(np.sqrt(np.median(variance + (d - estimate) ** 2)))


def _people(human: ArrayLike, n: int) -> NDArray[np.float64]:
    """``(n_subjects, n, n)``; several subjects on one scale each, mean 0 and standard deviation 1."""
    values = np.asarray(human, dtype=np.float64)
    several = values.ndim == 3 or (values.ndim == 2 and values.shape != (n, n))
    if several and len(values) < 2:
        raise InputError(f"several subjects are at least two; got {values.shape}.")
    rows = np.stack([rdm.check_rdm(v, n) for v in (values if several else values[None])])
    return np.stack([rdm.square(v) for v in (on_one_scale(rows) if several else rows)])


def _change(
    features: NDArray[np.float64],
    order: NDArray[np.intp],
    k: int,
    metric: Metric,
    people: NDArray[np.float64],
    whole: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """R of the first k features and of all with each subject, and the jackknife variance of their mean D.

    `whole` holds the similarities of all features, less 1, ``(n_images, n_images)``.
    """
    n = len(features)
    rows, columns = np.triu_indices(n, k=1)
    pairs, whole = people[:, rows, columns], whole[rows, columns]
    if not np.isfinite(pairs).any(axis=1).all():
        return (*np.full((2, len(people)), np.nan), np.nan)
    steps = np.array([k])
    r, r_all, defined = resample(features, order, steps, metric, pairs, without_each(n), whole=whole)
    r_all = np.where(np.abs(r - r_all) < SAME, r, r_all)
    # An image without a similarity is no replicate, nor one that nobody judged.
    inside = defined[0] & np.any([judged_images(p) for p in pairs], axis=0)
    variance = jackknife_variance((r - r_all)[:, 1:, 0].mean(axis=0)[inside])
    return r[:, 0, 0], r_all[:, 0, 0], float(variance)
