"""Uncertainty of nested curves: what varies is the image (the subject, the seed), never the pair.

n(n−1)/2 pairs are made of n images, so pairs are not independent observations, and neither are folds
of the same images: tests that treat them as such reject far too often (:mod:`rarefire.simulations`
shows it). Here images are left out or drawn again, and all pairs move with them.

Every resampling is a list of image weights c, of which a pair weighs c_i·c_j: 1 everywhere but a 0 for
the jackknife; for the bootstrap how often an image was drawn. A pair of an image with itself does not
occur: it would always be perfectly similar (Schütt et al. 2023).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from tqdm import tqdm

from rarefire import curves
from rarefire._engine import blocks, orders, resampling
from rarefire._engine.resampling import check_rng, draw, drawn, resample, without_each
from rarefire.curves import check_order, check_steps
from rarefire.errors import InputError
from rarefire.rdm import Metric, check_rdm, judged_images
from rarefire.reliability import check_subjects
from rarefire.rounding import SAME, TIE, first_largest

__all__ = [
    "Estimate",
    "Maximum",
    "Method",
    "Quantity",
    "RandomOrders",
    "Replicates",
    "Test",
    "bootstrap",
    "change_of_prediction",
    "holm",
    "jackknife",
    "random_orders",
    "seed_interval",
    "t_interval",
    "two_factor_bootstrap",
    "with_interval",
]

Quantity = Literal["r", "r2", "difference"]
Method = Literal["jackknife", "bootstrap", "subjects-and-images", "maximum"]
_METHODS = ("jackknife", "bootstrap", "subjects-and-images", "maximum")

_AT_ONCE = 16  # random orders
_PAIRS = 2**21  # up to that many pairs, resampling goes through pairs; above, through sums over images


# --- results -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Estimate:
    """A quantity along a curve, with its uncertainty.

    Attributes
    ----------
    quantity
        What is estimated: ``"r"``, ``"r2"``, ``"difference"`` (r of the first k features − r of all),
        or a name of the caller's.
    k
        ``(n_steps,)``, numbers of features.
    estimate, se, low, high
        ``(n_steps,)``: the value, its standard error, and the confidence interval; NaN where undefined.
    p
        ``(n_steps,)``, two-sided, against 0.
    df
        ``(n_steps,)``, degrees of freedom of the t distribution.
    level
        Of the interval.
    n
        ``(n_steps,)``, units (images, seeds) that the estimate rests on.
    unit
        What was taken to vary: ``"image"``, ``"subject and image"``, ``"seed"``.
    method
        What was done, in words.
    """

    quantity: str
    k: NDArray[np.intp]
    estimate: NDArray[np.float64]
    se: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    p: NDArray[np.float64]
    df: NDArray[np.float64]
    level: float
    n: NDArray[np.intp]
    unit: str
    method: str

    def table(self) -> pd.DataFrame:
        """One row for each k."""
        names = ("k", "estimate", "se", "low", "high", "p", "df", "n")
        return pd.DataFrame({name: getattr(self, name) for name in names})


@dataclass(frozen=True)
class Maximum:
    """A test over all numbers of features at once: the largest studentised value along the curve.

    Attributes
    ----------
    k
        ``(n_steps,)``.
    p
        The probability of a largest |t| like this one if the quantity were 0 at every k.
    p_at
        ``(n_steps,)``, adjusted for having looked at every k; NaN where undefined.
    low, high
        ``(n_steps,)``, a band that holds the whole curve with probability `level`.
    best
        The k at which |t| is largest; the smallest, where several have it but for rounding (1e-10 of it).
    level
        Of the band.
    method
        What was done, in words.
    """

    k: NDArray[np.intp]
    p: float
    p_at: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    best: int
    level: float
    method: str


@dataclass(frozen=True)
class Test:
    """The answer to one question, asked beforehand.

    Attributes
    ----------
    estimate, low, high, level
        The value, its confidence interval, and the interval's level.
    se, df, p
        Standard error, degrees of freedom (NaN for tests without), two-sided p.
    k
        Number of features.
    r_kept, r_all
        r of the first k features, and of all of them, with people.
    n, n_subjects
        Images that the answer rests on; subjects, where they were drawn too, else 0.
    unit, method
        What was taken to vary, and what was done, in words.
    """

    __test__ = False  # not one of pytest's

    estimate: float
    low: float
    high: float
    level: float
    se: float
    df: float
    p: float
    k: int
    r_kept: float
    r_all: float
    n: int
    n_subjects: int
    unit: str
    method: str

    def __str__(self) -> str:
        freedom = f", df = {self.df:g}" if np.isfinite(self.df) else ""
        units = f"{self.n_subjects} subjects, {self.n} images" if self.n_subjects else f"n = {self.n}"
        return (
            f"D = {self.estimate:+.3f} [{self.low:+.3f}, {self.high:+.3f}], p = {self.p:.3g}{freedom}\n"
            f"r = {self.r_kept:.3f} with {self.k} features, {self.r_all:.3f} with all\n"
            f"{self.method}; unit of replication: {self.unit} ({units})"
        )


@dataclass(frozen=True)
class Replicates:
    """A curve, and what it becomes on resampled images.

    Attributes
    ----------
    kind
        ``"jackknife"``, ``"bootstrap"`` or ``"two-factor"``.
    k
        ``(n_steps,)``.
    r
        ``(n_steps,)``, Pearson r of the first k features with the reference.
    r_all
        ``(n_steps,)``, r of all features with the reference, over the images defined at that k.
    draws, draws_all
        The same on each resampling: ``(n_draws, n_steps)``. Two-factor: ``(3, n_draws, n_steps)``,
        with subjects and images drawn, subjects alone, images alone.
    n_images
        ``(n_steps,)``, images defined at that k.
    n_subjects
        Subjects, where they were drawn too; else 0.
    own
        Whether the reference is the embedding itself.
    """

    kind: Literal["jackknife", "bootstrap", "two-factor"]
    k: NDArray[np.intp]
    r: NDArray[np.float64]
    r_all: NDArray[np.float64]
    draws: NDArray[np.float64]
    draws_all: NDArray[np.float64]
    n_images: NDArray[np.intp]
    n_subjects: int = 0
    own: bool = False

    @property
    def unit(self) -> str:
        """What was taken to vary."""
        return "subject and image" if self.kind == "two-factor" else "image"

    @property
    def df(self) -> NDArray[np.float64]:
        """``(n_steps,)``, degrees of freedom: images − 1, or subjects − 1 where those are fewer."""
        n = self.n_images if self.kind != "two-factor" else np.minimum(self.n_images, self.n_subjects)
        return np.maximum(n - 1.0, 0)

    @property
    def method(self) -> str:
        """What was done, in words."""
        if self.kind == "jackknife":
            return "delete-one-image jackknife, t with n − 1 df"
        drawn = f"{self.draws.shape[-2]:,} samples"
        if self.kind == "bootstrap":
            return f"bootstrap over images, {drawn}, SE × √(n/(n − 1)), t with n − 1 df"
        return f"corrected two-factor bootstrap over subjects and images, {drawn}, t with min(n) − 1 df"

    def estimate(self, quantity: Quantity = "r", *, level: float = 0.95) -> Estimate:
        """Standard errors, intervals and tests against 0 along the curve.

        Parameters
        ----------
        quantity
            ``"r"`` or ``"r2"``: the interval is taken on Fisher's z scale, so it never leaves [−1, 1]
            or [0, 1]. ``"difference"``: D = r(first k) − r(all), positive where the features left out
            lower the prediction.
        level
            Of the intervals, in (0, 1).
        """
        if quantity not in ("r", "r2", "difference"):
            raise InputError(f"quantity is one of r, r2, difference; got {quantity!r}.")
        if quantity == "difference":
            value, draws = self._difference()
            se = self._spread(draws)
            low, high, p = t_interval(value, se, self.df, level=level)
        else:
            quantile = _quantile(level, self.df)
            z, z_se = _fisher(self.r), self._spread(_fisher(self.draws))
            exact = np.abs(self.r) > 1 - SAME  # a curve's end, where it is compared with itself
            with np.errstate(invalid="ignore"):
                low, high = (np.where(exact, self.r, np.tanh(z + s * quantile * z_se)) for s in (-1, 1))
            p = np.where(exact, 0.0, _p(z, z_se, self.df))
            value, se = self.r, self._spread(self.draws)
            if quantity == "r2":
                value, se = self.r**2, self._spread(self.draws**2)
                ends = np.sort(np.stack([low, high]) ** 2, axis=0)
                low, high = np.where(low * high <= 0, 0, ends[0]), ends[1]
        return Estimate(
            quantity, self.k, value, se, low, high, p, self.df, level, self.n_images, self.unit, self.method
        )

    def maximum(self, quantity: Quantity = "difference", *, level: float = 0.95) -> Maximum:
        """Test the whole curve at once: whether the quantity differs from 0 at any k.

        The largest |t| over k is compared with the largest |t| of the bootstrap samples around the
        curve. For a k that was chosen by looking at the curve, `p_at` is the p value to report.

        Raises
        ------
        InputError
            For jackknife replicates: they do not give a distribution.
        """
        if self.kind != "bootstrap":
            raise InputError("the maximum needs bootstrap replicates; call bootstrap(…).maximum().")
        if quantity == "difference":
            value, draws = self._difference()
        elif quantity == "r":
            value, draws = _fisher(self.r), _fisher(self.draws)
        else:
            raise InputError(f"quantity is r or difference; got {quantity!r}.")
        _quantile(level, self.df)  # checks it
        se = self._spread(draws)
        use = (se > 0) & np.isfinite(value)
        if not use.any():
            raise InputError("the quantity is undefined, or always 0, at every k.")
        t = np.full(len(value), np.nan)
        t[use] = np.abs(value[use]) / se[use]
        # Bootstrap values scatter with the uncorrected SE; widened here to the t distribution's tails.
        largest = (np.abs(draws[:, use] - value[use]) / se[use]).max(axis=1)
        largest = largest[np.isfinite(largest)]  # of the samples that are defined at every k
        largest = _widen(largest, float(self.df[use].min()), self.n_images[use].min())
        exceed = (largest[:, None] >= t[None, use] - SAME).sum(axis=0)
        p_at = np.full(len(value), np.nan)
        p_at[use] = (1 + exceed) / (1 + len(largest))
        critical = float(np.quantile(largest, level, method="higher"))
        low, high = value - critical * se, value + critical * se
        if quantity == "r":
            low, high = np.tanh(low), np.tanh(high)
        method = f"largest |t| over {use.sum()} numbers of features, {self.method}"
        best = int(self.k[first_largest(t, within=TIE)])
        return Maximum(self.k, float(np.nanmin(p_at)), p_at, low, high, best, level, method)

    def _difference(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        if self.own:
            raise InputError(
                "the reference is the embedding itself, which all features reproduce: no difference."
            )
        d = self.r - self.r_all, self.draws - self.draws_all
        return np.where(np.abs(d[0]) < SAME, 0, d[0]), np.where(np.abs(d[1]) < SAME, 0, d[1])

    def _spread(self, draws: NDArray[np.float64]) -> NDArray[np.float64]:
        """Standard error from the replicates of a quantity."""
        n = np.maximum(self.n_images, 2)
        if self.kind == "jackknife":
            return np.sqrt(resampling.jackknife_variance(draws, n=self.n_images))
        if self.kind == "bootstrap":
            return _mostly(draws, np.sqrt(n / (n - 1) * _variance(draws, ddof=1)))
        # Drawing both at once counts some of the variance twice; combined as rsatoolbox does it.
        both, subjects, images = (_variance(d, ddof=1) for d in draws)
        by_subject, by_image = self.n_subjects / (self.n_subjects - 1), n / (n - 1)
        variance = by_subject * subjects + by_image * images
        variance -= by_subject * by_image * (both - subjects - images)
        variance = np.maximum(variance, np.maximum(by_subject * subjects, by_image * images))
        variance = np.minimum(variance, both)
        return _mostly(draws[0], np.sqrt(variance))


@dataclass(frozen=True)
class RandomOrders:
    """Curves under random orders of the features.

    Attributes
    ----------
    k
        ``(n_steps,)``.
    r
        ``(n_steps,)``, of the order in question.
    null
        ``(n_orders, n_steps)``, of random orders.
    """

    k: NDArray[np.intp]
    r: NDArray[np.float64]
    null: NDArray[np.float64]

    @property
    def p(self) -> NDArray[np.float64]:
        """``(n_steps,)``, two-sided p that the order is one of the random ones."""
        n = np.isfinite(self.null).sum(axis=0)
        above = (self.null >= self.r - SAME).sum(axis=0)
        below = (self.null <= self.r + SAME).sum(axis=0)
        p = np.minimum(1, 2 * (1 + np.minimum(above, below)) / (1 + n))
        return np.where(np.isfinite(self.r) & (n > 0), p, np.nan)

    def maximum(self) -> float:
        """P over all k at once: the largest deviation from the random orders, studentised."""
        every = np.vstack([self.r, self.null])
        use = np.isfinite(every).all(axis=0) & (np.ptp(every, axis=0) > SAME)
        if not use.any():
            raise InputError("there is no k at which all orders are defined and differ.")
        # The order in question is one of them under the null, so it counts in mean and spread too.
        scores = np.abs(every[:, use] - every[:, use].mean(axis=0)) / every[:, use].std(axis=0)
        largest = scores.max(axis=1)
        return float(np.mean(largest >= largest[0] - SAME))


# --- resampling images ---------------------------------------------------------------------------


def jackknife(
    embedding: Any,
    order: ArrayLike,
    *,
    rdm: ArrayLike | None = None,
    k: Sequence[int] | None = None,
    metric: Metric = "correlation",
) -> Replicates:
    """A curve without each of its images in turn.

    Parameters
    ----------
    embedding, order, k, metric
        As for :func:`rarefire.curves.geometry_curve`.
    rdm
        The reference: dissimilarities of the images, condensed or square; by default the geometry of
        all features. Without it, time and memory are linear in the images.

    Returns
    -------
    Replicates
        ``draws`` are ``(n_images, n_steps)``; NaN where the image has no defined similarity.
    """
    source, indices, steps = _checked(embedding, order, k)
    n = source.shape[0]
    if rdm is None and n * (n - 1) // 2 > _PAIRS:
        found = resampling.jackknife_over_images(source, indices, steps, metric)
        return Replicates("jackknife", steps, *found, own=True)
    source, judged = _judged(source, rdm)
    r, r_all, defined = resample(source, indices, steps, metric, judged, without_each(source.shape[0]))
    # Deleting an image that is not in the sums changes nothing: it is no replicate.
    draws, draws_all = (np.where(defined.T, v[0, 1:], np.nan) for v in (r, r_all))
    n_images = defined.sum(axis=1)
    return Replicates("jackknife", steps, r[0, 0], r_all[0, 0], draws, draws_all, n_images, own=rdm is None)


def bootstrap(
    embedding: Any,
    order: ArrayLike,
    *,
    rdm: ArrayLike | None = None,
    n_boot: int = 1000,
    rng: np.random.Generator,
    k: Sequence[int] | None = None,
    metric: Metric = "correlation",
    progress: bool = False,
) -> Replicates:
    """A curve on images drawn again with replacement, pairs of an image with itself left out.

    Parameters
    ----------
    embedding, order, rdm, k, metric
        As for :func:`jackknife`.
    n_boot
        Samples of images, at least 2.
    rng
        Where they come from.
    progress
        Show a progress bar.
    """
    source, indices, steps = _checked(embedding, order, k)
    n = source.shape[0]
    if rdm is None and n * (n - 1) // 2 > _PAIRS:
        counts = draw(n, n_boot, rng)
        found = resampling.bootstrap_over_images(source, indices, steps, metric, counts, progress=progress)
        return Replicates("bootstrap", steps, *found, own=True)
    source, judged = _judged(source, rdm)
    weigh = drawn(draw(source.shape[0], n_boot, rng))
    r, r_all, defined = resample(source, indices, steps, metric, judged, weigh, progress=progress)
    draws, n_images = (r[0, 1:], r_all[0, 1:]), defined.sum(axis=1)
    return Replicates("bootstrap", steps, r[0, 0], r_all[0, 0], *draws, n_images, own=rdm is None)


def two_factor_bootstrap(
    embedding: Any,
    order: ArrayLike,
    *,
    rdms: ArrayLike,
    n_boot: int = 1000,
    rng: np.random.Generator,
    k: Sequence[int] | None = None,
    metric: Metric = "correlation",
    progress: bool = False,
) -> Replicates:
    """Subjects and images drawn again: whether a result holds for other people and other images.

    Parameters
    ----------
    embedding, order, n_boot, rng, k, metric, progress
        As for :func:`bootstrap`.
    rdms
        ``(n_subjects, n(n-1)/2)`` or ``(n_subjects, n, n)``, at least two subjects.

    Returns
    -------
    Replicates
        r is the mean over subjects of the correlation with each.

    Notes
    -----
    The corrected two-factor bootstrap of Schütt et al. (2023): variances with both, with subjects
    alone and with images alone are combined, since drawing both at once overestimates.
    """
    source, indices, steps = _checked(embedding, order, k)
    n = source.shape[0]
    people = check_subjects(rdms, n)
    counts = draw(n, n_boot, rng)
    shares = draw(len(people), n_boot, rng) / len(people)
    r, r_all, defined = resample(source, indices, steps, metric, people, drawn(counts), progress=progress)

    def factors(values: NDArray[np.float64]) -> NDArray[np.float64]:
        observed, drawn = values[:, 0], values[:, 1:]
        both = np.einsum("bs,sbk->bk", shares, drawn)
        return np.stack([both, shares @ observed, drawn.mean(axis=0)])

    means, n_images = (r[:, 0].mean(axis=0), r_all[:, 0].mean(axis=0)), defined.sum(axis=1)
    return Replicates("two-factor", steps, *means, factors(r), factors(r_all), n_images, len(people))


def change_of_prediction(
    embedding: Any,
    human: ArrayLike,
    order: ArrayLike,
    *,
    k: int | Sequence[int],
    method: Method,
    metric: Metric = "correlation",
    n_boot: int | None = None,
    rng: np.random.Generator | None = None,
    level: float = 0.95,
) -> Test:
    """Did adding features change the prediction? D = r(first k, human) − r(all, human).

    Parameters
    ----------
    embedding
        ``(n_images, n_features)``.
    human
        Dissimilarities of the images: condensed ``(n(n-1)/2,)`` or square ``(n, n)``; for
        ``"subjects-and-images"`` one for each subject, with a leading axis.
    order
        ``(n_features,)``, taken as given: PoZ that orders the features should come from other images.
    k
        How many features are kept; chosen beforehand or on other images, not at the curve's peak.
        With ``"maximum"``, all the k that were looked at.
    method
        ``"jackknife"``: delete one image; no randomness. ``"bootstrap"``: images drawn again.
        ``"subjects-and-images"``: both drawn again, for several subjects. ``"maximum"``: the largest
        difference over several k, corrected for the search. There is no default.
    metric
        ``"correlation"`` or ``"cosine"``.
    n_boot, rng
        Number of samples and their source; required by all methods but the jackknife.
    level
        Of the interval.

    Returns
    -------
    Test
        A positive estimate: the features left out lower the prediction.

    Raises
    ------
    InputError
        For a choice that is missing or does not fit the data; and if the difference is undefined.
    """
    if method not in _METHODS:
        raise InputError(f"method is one of {', '.join(_METHODS)}; got {method!r}.")
    several = np.ndim(k) > 0
    steps: Any = np.unique(k).tolist() if several else [k]
    if several != (method == "maximum"):
        raise InputError(
            "method 'maximum' needs the list of all k that were looked at; the others one k, chosen "
            f"beforehand. Got k={k!r} with {method!r}."
        )
    if method != "jackknife" and (rng is None or n_boot is None):
        raise InputError(f"method {method!r} draws samples: say how many (n_boot) and from where (rng).")
    stacked = _is_stack(human, blocks.check_source(embedding).shape[0])
    if stacked != (method == "subjects-and-images"):
        raise InputError(
            f"method {method!r} takes one RDM; got several. Average them, or use 'subjects-and-images'."
            if stacked
            else f"method {method!r} takes one RDM for each subject, with a leading axis; got one RDM."
        )
    options: dict[str, Any] = {"k": steps, "metric": metric}
    if method == "jackknife":
        replicates = jackknife(embedding, order, rdm=human, **options)
    elif method == "subjects-and-images":
        replicates = two_factor_bootstrap(embedding, order, rdms=human, n_boot=n_boot, rng=rng, **options)  # type: ignore[arg-type]
    else:
        replicates = bootstrap(embedding, order, rdm=human, n_boot=n_boot, rng=rng, **options)  # type: ignore[arg-type]
    found = replicates.estimate("difference", level=level)
    at, p, low, high, name = 0, found.p, found.low, found.high, found.method
    df = found.df
    if method == "maximum":
        largest = replicates.maximum(level=level)
        at = int(np.flatnonzero(replicates.k == largest.best)[0])
        p, low, high, name = largest.p_at, largest.low, largest.high, largest.method
        df = np.full(len(p), np.nan)
    if not np.isfinite(found.se[at]):
        raise InputError(
            f"the difference at k = {replicates.k[at]} is undefined: {replicates.n_images[at]} images have a "
            "defined similarity there, or their similarities do not vary."
        )
    return Test(
        estimate=float(found.estimate[at]),
        low=float(low[at]),
        high=float(high[at]),
        level=level,
        se=float(found.se[at]),
        df=float(df[at]),
        p=float(p[at]),
        k=int(replicates.k[at]),
        r_kept=float(replicates.r[at]),
        r_all=float(replicates.r_all[at]),
        n=int(replicates.n_images[at]),
        n_subjects=replicates.n_subjects,
        unit=replicates.unit,
        method=name,
    )


# --- other questions -----------------------------------------------------------------------------


def random_orders(
    embedding: Any,
    order: ArrayLike,
    *,
    rng: np.random.Generator,
    rdm: ArrayLike | None = None,
    n_orders: int = 999,
    k: Sequence[int] | None = None,
    metric: Metric = "correlation",
    progress: bool = False,
) -> RandomOrders:
    """Is an order special? The same numbers of features, drawn at random.

    Parameters
    ----------
    embedding, order, rdm, k, metric
        As for :func:`jackknife`.
    rng
        Source of the random orders.
    n_orders
        How many; p is at least 2 / (n_orders + 1).
    progress
        Show a progress bar.
    """
    source, indices, steps = _checked(embedding, order, k, stay=rdm is None)
    n_features = source.shape[1]
    if not isinstance(n_orders, (int, np.integer)) or n_orders < 1:
        raise InputError(f"n_orders must be a whole number, at least 1; got {n_orders}.")
    check_rng(rng)
    last = int(steps[-1])
    options: dict[str, Any] = {"k": steps.tolist(), "metric": metric}
    whole = source if blocks.is_tensor(source) else np.asarray(source[:])

    def found(drawn: list[NDArray[np.intp]]) -> NDArray[np.float64]:
        if rdm is not None:
            return orders.rdm_curves(whole, rdm, drawn, **options)
        # Features after the last k cannot matter, except in the reference.
        kept, own = (whole[:, features[:last]] for features in drawn), np.arange(last)
        return np.stack([curves.geometry_curve(first, own, reference=whole, **options).r for first in kept])

    null = []
    with tqdm(total=n_orders, desc="random orders", disable=not progress, leave=False) as bar:
        for start in range(0, n_orders, _AT_ONCE):
            size = min(_AT_ONCE, n_orders - start)
            null.append(found([rng.permutation(n_features) for _ in range(size)]))
            bar.update(size)
    return RandomOrders(steps, found([indices])[0], np.concatenate(null))


def seed_interval(
    values: ArrayLike,
    *,
    k: Sequence[int] | None = None,
    level: float = 0.95,
    quantity: str = "mean over seeds",
) -> Estimate:
    """Interval for the mean over independently trained instances.

    Parameters
    ----------
    values
        ``(n_instances, n_steps)``, e.g. R² of every instance along a curve; NaN where undefined.
    k
        ``(n_steps,)``; by default 1, 2, …
    level
        Of the interval.
    quantity
        Its name.

    Returns
    -------
    Estimate
        `n` counts instances with a defined value; NaN where fewer than two have one. Images are the
        same for all seeds: the interval speaks of other seeds, not of other images.
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or len(table) < 2:
        raise InputError(f"values are (n_instances, n_steps) with at least two instances; got {table.shape}.")
    n = np.isfinite(table).sum(axis=0)
    enough = n >= 2
    mean, se = np.full(table.shape[1], np.nan), np.full(table.shape[1], np.nan)
    mean[enough] = np.nanmean(table[:, enough], axis=0)
    se[enough] = np.sqrt(_variance(table[:, enough], ddof=1) / n[enough])
    df = np.maximum(n - 1.0, 0)
    steps = np.arange(1, table.shape[1] + 1) if k is None else np.asarray(k, dtype=np.intp)
    if len(steps) != table.shape[1]:
        raise InputError(f"k has {len(steps)} entries, values {table.shape[1]} steps.")
    method = "t over independently trained instances, n − 1 df"
    bounds_and_p = t_interval(mean, se, df, level=level)
    return Estimate(quantity, steps, mean, se, *bounds_and_p, df, level, n, "seed", method)


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """P values adjusted for their number (Holm 1979): each may be compared with the level itself.

    Parameters
    ----------
    p
        ``(n_tests,)`` in [0, 1]; NaN (a test that could not be made) stays NaN and does not count.
    """
    values = np.asarray(p, dtype=np.float64)
    known = np.isfinite(values)
    if values.ndim != 1 or (values[known] < 0).any() or (values[known] > 1).any():
        raise InputError(f"p values are a list of numbers in [0, 1]; got shape {values.shape}.")
    adjusted = np.full(values.shape, np.nan)
    found = values[known]
    rising = np.argsort(found, kind="stable")
    scaled = np.minimum(1, np.maximum.accumulate(found[rising] * np.arange(len(found), 0, -1)))
    restored = np.empty_like(found)
    restored[rising] = scaled
    adjusted[known] = restored
    return adjusted


# --- helpers -------------------------------------------------------------------------------------


def _checked(
    embedding: Any, order: ArrayLike, k: Sequence[int] | None, *, stay: bool = False
) -> tuple[Any, NDArray[np.intp], NDArray[np.intp]]:
    """The embedding, the order and the steps, as every function here takes them."""
    source = blocks.check_source(embedding, stay=stay)
    return source, check_order(order, source.shape[1]), check_steps(k, source.shape[1])


def _judged(source: Any, rdm: ArrayLike | None) -> tuple[Any, NDArray[np.float64] | None]:
    """The images that were judged at all, and the judgments: the others are no units of replication."""
    if rdm is None:
        return source, None
    values = check_rdm(rdm, source.shape[0])
    use = judged_images(values)
    if use.all():
        return source, values
    rows, columns = np.triu_indices(len(use), k=1)
    return np.asarray(source[:])[use], values[use[rows] & use[columns]]


def _is_stack(rdm: ArrayLike, n: int) -> bool:
    """Whether `rdm` holds several RDMs, not one square or condensed one."""
    shape = np.shape(rdm)
    return len(shape) == 3 or (len(shape) == 2 and shape[1] == n * (n - 1) // 2 and shape != (n, n))


def _variance(draws: NDArray[np.float64], *, ddof: int) -> NDArray[np.float64]:
    """Variance over the first axis of what is defined."""
    known = np.isfinite(draws)
    n = known.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(known, draws, 0).sum(axis=0) / n
        spread = (np.where(known, draws - mean, 0) ** 2).sum(axis=0) / (n - ddof)
    return np.where(n > ddof, spread, np.nan)


def _mostly(draws: NDArray[np.float64], se: NDArray[np.float64]) -> NDArray[np.float64]:
    """`se` where at least nine in ten samples have a value."""
    return np.where(np.isfinite(draws).mean(axis=0) >= 0.9, se, np.nan)


def _widen(largest: NDArray[np.float64], df: float, n: int) -> NDArray[np.float64]:
    """Largest |deviation|/SE of bootstrap samples, as t values: normal quantiles to those of t."""
    z = largest * np.sqrt(n / (n - 1))  # the SE in the denominator is the corrected one
    return np.asarray(stats.t.isf(stats.norm.sf(z), df))


def _fisher(r: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fisher's z; NaN for a correlation that is exactly 1 and so has no spread."""
    return np.arctanh(np.where(np.abs(r) <= 1 - SAME, r, np.nan))


def _quantile(level: float, df: NDArray[np.float64]) -> NDArray[np.float64]:
    if not 0 < level < 1:
        raise InputError(f"level lies in (0, 1); got {level}.")
    return np.asarray(stats.t.ppf((1 + level) / 2, np.where(df > 0, df, np.nan)))


def t_interval(
    value: ArrayLike, se: ArrayLike, df: ArrayLike, *, level: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Interval and two-sided p against 0, from the t distribution.

    Parameters
    ----------
    value, se, df
        Estimates, their standard errors, and degrees of freedom, of shapes that go together.
    level
        Of the interval, in (0, 1).

    Returns
    -------
    low, high, p
        NaN where `df` is not above 0; p is 1 where estimate and standard error are both 0.
    """
    estimate, error, freedom = (np.asarray(v, dtype=np.float64) for v in (value, se, df))
    margin = _quantile(level, freedom) * error
    return estimate - margin, estimate + margin, _p(estimate, error, freedom)


def with_interval(estimate: float, se: float, df: float, *, level: float = 0.95) -> dict[str, float]:
    """An estimate with its interval and p, by :func:`t_interval`: the first fields of :class:`Test`."""
    low, high, p = map(float, t_interval(estimate, se, df, level=level))
    return {"estimate": estimate, "low": low, "high": high, "level": level, "se": se, "df": df, "p": p}


def _p(value: NDArray[np.float64], se: NDArray[np.float64], df: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.abs(value) / se
    # No difference and no spread: the same features on both sides.
    t = np.where((value == 0) & (se == 0), 0.0, t)
    return np.asarray(2 * stats.t.sf(t, np.where(df > 0, df, np.nan)))
