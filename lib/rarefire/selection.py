"""The number of features chosen on some images, its effect tested on others.

At the peak of a curve, the first k features predict people better than all of them even if nothing is
to be gained: the peak was looked for. Here order and k are chosen on one part of the images and
D = r(first k, human) − r(all, human) is taken on the rest, with the parts changing places
(cross-fitting), so that no image judges a choice that it took part in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rarefire import poz, rdm
from rarefire.curves import Curve, check_order, rdm_curve
from rarefire.errors import InputError
from rarefire.inference import mean_rdm, t_interval
from rarefire.rdm import Metric, check_embedding, judged_images
from rarefire.resampling import check_rng, less_one, resample, without_each
from rarefire.rounding import SAME, TIE, first_largest

__all__ = ["CrossFitted", "best", "cross_fitted", "over_partitions"]


def best(curve: Curve, *, n_images: int, least: float = 0.5) -> int:
    """The number of features with the highest r; the smallest, where several have it.

    They have it within :data:`rarefire.rounding.TIE`: the choice must not hang on the last digits.

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
    use = np.isfinite(curve.r) & (curve.n_images >= least * n_images)
    if not use.any():
        raise InputError(
            f"r is undefined at every k, or fewer than {least:.0%} of {n_images} images have one."
        )
    return int(curve.k[first_largest(np.where(use, curve.r, np.nan), within=TIE)])


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
    """Test whether leaving features out changes the prediction, where data also say how many to keep.

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
    features = check_embedding(embedding)
    n, n_features = features.shape
    check_rng(rng)
    for name, value, least in (("folds", folds, 2), ("repeats", repeats, 1)):
        if not isinstance(value, (int, np.integer)) or value < least:
            raise InputError(f"{name} must be a whole number, at least {least}; got {value}.")
    if not 0 < level < 1:
        raise InputError(f"level lies in (0, 1); got {level}.")
    if isinstance(order, str):
        if order not in ("low", "high"):
            raise InputError(f"order is 'low', 'high' or a permutation of the features; got {order!r}.")
        poz.poz(features)  # refuses what is not post-ReLU
        zeros = features == 0 if silent is None else np.asarray(silent)
        if zeros.shape != features.shape:
            raise InputError(f"silent must be {features.shape}, as the embedding; got {zeros.shape}.")
    else:
        indices = check_order(order, n_features)
    people = _people(human, n)
    judged = judged_images(mean_rdm(people)[np.triu_indices(n, k=1)])
    features, people, n = features[judged], people[:, judged][:, :, judged], int(judged.sum())
    if isinstance(order, str):
        zeros = zeros[judged]
    if n < 5 * folds:
        raise InputError(f"{folds} folds need at least {5 * folds} images; got {n}.")
    options: dict[str, Any] = {"metric": metric, "k": None if k is None else np.unique(k).tolist()}
    whole = rdm.square(less_one(features, metric=metric)[0])
    found = []
    for _ in range(repeats):
        parts = []
        for test in np.array_split(rng.permutation(n), folds):
            train = np.setdiff1d(np.arange(n), test)
            if isinstance(order, str):
                indices = poz.order(zeros[train].mean(axis=0), first=order)  # type: ignore[arg-type]
            curve = rdm_curve(features[train], mean_rdm(people[:, train][:, :, train]), indices, **options)
            kept = best(curve, n_images=len(train))
            own = people[:, test][:, :, test], whole[np.ix_(test, test)]
            parts.append((kept, *_change(features[test], indices, kept, metric, *own)))
        found.append(parts)
    chosen_k = np.array([[part[0] for part in parts] for parts in found])
    kept_r, all_r = (np.array([[part[i] for part in parts] for parts in found]) for i in (1, 2))
    by_subject = (kept_r - all_r).mean(axis=1)  # (repeats, subjects)
    by_image = np.array([sum(part[3] for part in parts) for parts in found]) / folds**2
    d = by_subject.mean(axis=1)
    variance, df, subjects = by_image, float(n - folds), 0
    if len(people) > 1:
        variance = by_image + by_subject.var(axis=1, ddof=1) / len(people)
        df, subjects = float(min(n - folds, len(people) - 1)), len(people)
    known = np.isfinite(d) & np.isfinite(variance)
    if 2 * np.count_nonzero(known) <= repeats:
        raise InputError(
            f"D is undefined in {np.count_nonzero(~known)} of {repeats} partitions: too few test images "
            "have a defined similarity in the features chosen, or their similarities do not vary, or a "
            "subject judged no two of them."
        )
    estimate, se = over_partitions(d[known], variance[known])
    low, high, p = map(float, t_interval(estimate, se, df, level=level))
    what = "order and k" if isinstance(order, str) else "k"
    method = (
        f"{what} chosen on {(folds - 1) / folds:.0%} of the images, D on the others, "
        f"{repeats} × {folds} folds; delete-one-image jackknife"
    )
    return CrossFitted(
        estimate,
        low,
        high,
        level,
        se,
        df,
        p,
        chosen_k,
        float(np.nanmean(kept_r)),
        float(np.nanmean(all_r)),
        n,
        subjects,
        method,
    )


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
    rows = [rdm.check_rdm(v, n) for v in (values if several else values[None])]
    if several:
        rows = [(v - np.nanmean(v)) / np.nanstd(v) for v in rows]
    return np.stack([rdm.square(v) for v in rows])


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
    draws = (r - r_all)[:, 1:, 0].mean(axis=0)[inside]
    count = len(draws)
    variance = (count - 1) / count * float(((draws - draws.mean()) ** 2).sum()) if count > 2 else np.nan
    return r[:, 0, 0], r_all[:, 0, 0], variance
