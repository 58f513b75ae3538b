"""Uncertainty of nested curves: what varies is the image (the subject, the seed), never the pair.

n(n−1)/2 pairs are made of n images, so pairs are not independent observations, and neither are folds
of the same images: tests that treat them as such reject far too often (:mod:`rarefire.simulations`
shows it). Here images are left out or drawn again, and all pairs move with them.

Every resampling is a list of image weights c, of which a pair weighs c_i·c_j: 1 everywhere but a 0 for
the jackknife; for the bootstrap how often an image was drawn. A pair of an image with itself does not
occur: it would always be perfectly similar (Schütt et al. 2023).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from tqdm import tqdm

from rarefire import curves
from rarefire._engine import blocks, influences, orders, resampling
from rarefire._engine.arguments import checked
from rarefire._engine.resampling import draw, drawn, resample, without_each
from rarefire.curves import check_order, check_steps, enough
from rarefire.errors import InputError
from rarefire.rdm import Metric, check_rdm, condensed, judged_images, standardised
from rarefire.reliability import check_subjects
from rarefire.rounding import SAME, TIE, first_largest

__all__ = [
    "Alternative",
    "Comparison",
    "Corrected",
    "Estimate",
    "Maximum",
    "Method",
    "Quantity",
    "RandomOrders",
    "Replicates",
    "Test",
    "bootstrap",
    "change_of_prediction",
    "compare",
    "corrected_jackknife",
    "holm",
    "jackknife",
    "largest",
    "random_orders",
    "seed_interval",
    "sign_flip",
    "t_interval",
    "two_factor_bootstrap",
    "with_interval",
]

Quantity = Literal["r", "r2", "difference"]
Alternative = Literal["two-sided", "greater"]
Method = Literal[
    "jackknife", "subjects-and-images", "maximum", "plain-jackknife", "bootstrap", "two-factor-bootstrap"
]
_METHODS = get_args(Method)
_DRAWS = 10_000  # of a multivariate t
_NUMBERS = 2**26  # influences of pairs, at once

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
        The probability of a largest ``|t|`` like this one if the quantity were 0 at every k.
    p_at
        ``(n_steps,)``, adjusted for having looked at every k; NaN where undefined.
    low, high
        ``(n_steps,)``, a band that holds the whole curve with probability `level`.
    best
        The k at which ``|t|`` is largest; the smallest, where several have it but for rounding (1e-10 of it).
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
        Standard error, degrees of freedom (NaN for tests without), p. Where the question is one-sided, so is
        the interval: `high` is infinite.
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
class Comparison:
    """Two models beside people: D = r(first, people) − r(second, people), or of agreement.

    Attributes
    ----------
    estimate, low, high, level
        D, its confidence interval, and the interval's level.
    se, df, p
        Standard error, degrees of freedom, two-sided p.
    first, second
        What each reaches with people.
    n, n_subjects
        Images; subjects, where they were taken to vary too, else 0.
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
    first: float
    second: float
    n: int
    n_subjects: int
    method: str


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
            value, se = self.r, self._spread(self.draws)
            low, high, p = _interval_of_r(self.r, self._spread(_fisher(self.draws)), self.df, level=level)
            if quantity == "r2":
                value, se = self.r**2, self._spread(self.draws**2)
                low, high = _squared(low, high)
        return Estimate(
            quantity, self.k, value, se, low, high, p, self.df, level, self.n_images, self.unit, self.method
        )

    def maximum(self, quantity: Quantity = "difference", *, level: float = 0.95) -> Maximum:
        """Test the whole curve at once: whether the quantity differs from 0 at any k.

        The largest ``|t|`` over k is compared with the largest ``|t|`` of the bootstrap samples around the
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
class Corrected:
    """A curve with the variance of J−, the jackknife that counts what single pairs add once.

    Attributes
    ----------
    k
        ``(n_steps,)``.
    r
        ``(n_steps,)``, Pearson r of the first k features with people; the mean over subjects, where there
        are several.
    r_all
        ``(n_steps,)``, r of all features, over the images defined at that k.
    n_images
        ``(n_steps,)``, images defined at that k.
    n_subjects
        Subjects, where they were taken to vary too; else 0.
    jackknife, single
        By quantity (``"r"`` and ``"difference"``) ``(n_steps,)``: the variance V_J of the delete-one-image
        jackknife, and the part B of it that single pairs add. For subjects, of the mean over them.
    variance
        By quantity ``(n_steps,)``: max(V_J − 2B, 0) + B, and with subjects what they add.
    df
        By quantity ``(n_steps,)``, degrees of freedom: images − 1; with subjects, as Satterthwaite combines
        images − 1 and subjects − 1.
    skewness
        By quantity ``(n_steps,)``: of what the single images do, over √n, Σu³ / (Σu²)^1.5 with u what an
        image adds, minus the change when it is left out. Where a few images decide, it is far from 0, and t
        is no longer a good guide: around −.2 in the world of heavier tails, in which tests find too many
        gains (:mod:`rarefire.records.error_rates`).
    covariance
        By quantity ``(n_steps, n_steps)``, of the estimates at different k; empty for more than 512 of them.
    """

    k: NDArray[np.intp]
    r: NDArray[np.float64]
    r_all: NDArray[np.float64]
    n_images: NDArray[np.intp]
    n_subjects: int
    jackknife: Mapping[str, NDArray[np.float64]]
    single: Mapping[str, NDArray[np.float64]]
    variance: Mapping[str, NDArray[np.float64]]
    df: Mapping[str, NDArray[np.float64]]
    skewness: Mapping[str, NDArray[np.float64]]
    covariance: Mapping[str, NDArray[np.float64]]

    @property
    def unit(self) -> str:
        """What was taken to vary."""
        return "subject and image" if self.n_subjects else "image"

    @property
    def method(self) -> str:
        """What was done, in words."""
        if self.n_subjects:
            return "J− over subjects and images, t with Satterthwaite's df"
        return "J−, delete-one-image jackknife that counts single pairs once, t with n − 1 df"

    def value(self, quantity: Quantity) -> NDArray[np.float64]:
        """``(n_steps,)``, r, R² or D."""
        if quantity not in ("r", "r2", "difference"):
            raise InputError(f"quantity is one of r, r2, difference; got {quantity!r}.")
        if quantity == "difference":
            d = self.r - self.r_all
            return np.where(np.abs(d) < SAME, 0, d)
        return self.r if quantity == "r" else self.r**2

    def estimate(self, quantity: Quantity = "r", *, level: float = 0.95) -> Estimate:
        """Standard errors, intervals and tests against 0 along the curve; as :meth:`Replicates.estimate`."""
        value = self.value(quantity)
        if quantity == "difference":
            se, df = np.sqrt(self.variance[quantity]), self.df[quantity]
            low, high, p = t_interval(value, se, df, level=level)
        else:
            se, df = np.sqrt(self.variance["r"]), self.df["r"]
            slope = 1 / (1 - np.minimum(self.r**2, 1 - SAME))  # of Fisher's z
            low, high, p = _interval_of_r(self.r, slope * se, df, level=level)
            if quantity == "r2":
                low, high = _squared(low, high)
                se = 2 * np.abs(self.r) * se
        return Estimate(
            quantity, self.k, value, se, low, high, p, df, level, self.n_images, self.unit, self.method
        )

    def maximum(
        self,
        quantity: Literal["r", "difference"] = "difference",
        *,
        rng: np.random.Generator,
        alternative: Alternative = "two-sided",
        level: float = 0.95,
        n_draws: int = _DRAWS,
        use: ArrayLike | None = None,
    ) -> Maximum:
        """Test all k at once: the largest t, against those of a multivariate t distribution.

        Parameters
        ----------
        quantity
            ``"difference"``: does leaving features out change the prediction at any k? ``"r"``: does the
            curve predict people anywhere?
        rng, alternative, level, n_draws, use
            As for :func:`largest`; by default those k count at which half of the images have a similarity
            (:func:`rarefire.curves.enough`).
        """
        if quantity not in ("r", "difference"):
            raise InputError(f"quantity is r or difference; got {quantity!r}.")
        covariance = self.covariance[quantity]
        if not covariance.size:
            raise InputError(
                f"a maximum over {len(self.k):,} numbers of features needs more covariances than are kept "
                f"({influences.MOST} numbers; fewer for many images). Pass fewer k: neighbours hardly differ."
            )
        # Making a matrix positive semi-definite adds to its diagonal, if anything.
        covariance = covariance.copy()
        np.fill_diagonal(covariance, np.maximum(covariance.diagonal(), self.variance[quantity]))
        value = self.value(quantity)
        if quantity == "r":  # on Fisher's z scale
            value, slope = _fisher(value), 1 / (1 - np.minimum(value**2, 1 - SAME))
            covariance *= slope * slope[:, None]
        if use is None:
            use = enough(self.n_images, max(self.n_images.max(), 1))
        options: dict[str, Any] = {"alternative": alternative, "level": level, "n_draws": n_draws, "use": use}
        found = largest(self.k, value, covariance, self.df[quantity], rng=rng, method=self.method, **options)
        return replace(found, low=np.tanh(found.low), high=np.tanh(found.high)) if quantity == "r" else found


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

    def table(self) -> pd.DataFrame:
        """A row for each k: ``k``, ``r``, the ``median`` of the random orders, ``p``."""
        median = np.full(len(self.k), np.nan)
        defined = np.isfinite(self.null).any(axis=0)
        median[defined] = np.nanmedian(self.null[:, defined], axis=0)
        return pd.DataFrame({"k": self.k, "r": self.r, "median": median, "p": self.p})

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


@checked
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


@checked
def corrected_jackknife(
    embedding: Any,
    order: ArrayLike,
    *,
    rdm: ArrayLike,
    k: Sequence[int] | None = None,
    metric: Metric = "correlation",
    silenced: bool = False,
) -> Corrected:
    """J−: the jackknife over images without its double count of what belongs to single pairs.

    Parameters
    ----------
    embedding, order, metric
        As for :func:`jackknife`.
    rdm
        People's dissimilarities, condensed or square; with a leading axis for several subjects, who are
        then taken to vary too.
    k
        Numbers of features; by default every one.
    silenced
        Whether the features after the first k are set to 0 rather than removed, which leaves the centring
        of Pearson's correlation as it is (:func:`rarefire.curves.silenced_curve`).

    Returns
    -------
    Corrected

    Raises
    ------
    InputError
        For arrays that do not fit, and subjects that are fewer than two.

    Notes
    -----
    A pair leaves the delete-one-image jackknife with either of its images, so the noise of its rating
    enters the variance V_J twice. With similarities x (first k), y (all) and h (people), standardised over
    the N pairs, a pair moves D = r_x − r_y by ψ = (x − y) h − (r_x/2)(x² + h²) + (r_y/2)(y² + h²), over N.
    Additive image effects are fitted to ψ by least squares; the residuals e, with N − n degrees of freedom,
    are what single pairs do, B = Σe²/(N (N − n)); for all pairs, N = n(n − 1)/2. Then
    V = max(V_J − 2B, 0) + B, and between numbers of features the same with matrices, the first of which is
    made positive semi-definite. For r, ψ = x h − (r_x/2)(x² + h²), and intervals on Fisher's z scale.

    With S subjects: V = max(V_S + V_I − V_SI, V_S, V_I); V_I is J− of the mean over subjects, V_S the
    variance of the subjects' values over S, and V_SI = mean over subjects of J− of the deviation from the
    mean, times 1/(S − 1): what both vary by is in V_S and in V_I.
    """
    source, indices, steps = _checked(embedding, order, k)
    if silenced and metric != "correlation":
        raise InputError("without centring, silenced and removed features are the same: silenced=False.")
    people: list[NDArray[np.float64]]
    if _is_stack(rdm, source.shape[0]):
        people = list(check_subjects(rdm, source.shape[0]))
    else:
        source, one = _judged(source, rdm)
        people = [] if one is None else [one]
    whole, varies = resampling.less_one(blocks.read(source, slice(0, source.shape[0])), metric=metric)
    size = min(influences.MOST, max(1, _NUMBERS // (len(people) * len(whole))))
    full = len(steps) <= size  # else without correlations between them
    parts = []
    for start in range(0, len(steps), size):
        part = steps[start : start + size]
        values, defined = influences.similarities(source, indices, part, metric, silenced=silenced)
        defined &= varies  # an image that all features leave alike has nothing to be compared with
        values[part == source.shape[1]] = whole  # all features are all features, to the last digit
        parts.append(_over_people(part, values, defined, whole, people, full=full))
    return _joined(parts, steps)


@checked
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


@checked
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


@checked
def change_of_prediction(
    embedding: Any,
    human: ArrayLike,
    order: ArrayLike,
    *,
    k: int | Sequence[int],
    method: Method,
    metric: Metric = "correlation",
    alternative: Alternative = "two-sided",
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
        ``"subjects-and-images"`` and ``"two-factor-bootstrap"`` one for each subject, with a leading axis;
        for ``"maximum"`` either.
    order
        ``(n_features,)``, taken as given: PoZ that orders the features should come from other images.
    k
        How many features are kept; chosen beforehand or on other images, not at the curve's peak.
        With ``"maximum"``, all the k that were looked at.
    method
        ``"jackknife"``: J−, one image left out at a time (:func:`corrected_jackknife`).
        ``"subjects-and-images"``: the same for several subjects, who vary too. ``"maximum"``: the largest
        t over several k, corrected for the search. As checks, which hold their level and waste power:
        ``"plain-jackknife"``, which counts the noise of single pairs twice; ``"bootstrap"``, images drawn
        again, which counts it three times; ``"two-factor-bootstrap"``, subjects drawn too. There is no
        default. Where a few images of extreme contrast decide, J− and its maximum find too much (up to .13
        for .05) and the bootstrap does not: :mod:`rarefire.records.error_rates`.
    metric
        ``"correlation"`` or ``"cosine"``.
    alternative
        ``"two-sided"``, or ``"greater"``: whether the first k predict people *better*.
    n_boot, rng
        Number of samples and their source; required by the bootstraps. The maximum needs `rng` alone.
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
    if alternative not in get_args(Alternative):
        raise InputError(f"alternative is one of two-sided, greater; got {alternative!r}.")
    several = np.ndim(k) > 0
    steps: Any = np.unique(k).tolist() if several else [k]
    if several != (method == "maximum"):
        raise InputError(
            "method 'maximum' needs the list of all k that were looked at; the others one k, chosen "
            f"beforehand. Got k={k!r} with {method!r}."
        )
    _check_draws(method, n_boot, rng)
    _check_people(method, human, blocks.check_source(embedding).shape[0])
    options: dict[str, Any] = {"k": steps, "metric": metric}
    found: Corrected | Replicates
    if method == "plain-jackknife":
        found = jackknife(embedding, order, rdm=human, **options)
    elif method == "bootstrap":
        found = bootstrap(embedding, order, rdm=human, n_boot=n_boot, rng=rng, **options)  # type: ignore[arg-type]
    elif method == "two-factor-bootstrap":
        found = two_factor_bootstrap(embedding, order, rdms=human, n_boot=n_boot, rng=rng, **options)  # type: ignore[arg-type]
    else:
        found = corrected_jackknife(embedding, order, rdm=human, **options)
    return _tested(found, several=several, rng=rng, alternative=alternative, n_draws=n_boot, level=level)


def _check_draws(method: Method, n_boot: int | None, rng: np.random.Generator | None) -> None:
    """Whether a method that draws has what it needs."""
    if method.endswith("bootstrap") and (rng is None or n_boot is None):
        raise InputError(f"method {method!r} draws samples: say how many (n_boot) and from where (rng).")
    if method == "maximum" and rng is None:
        raise InputError("method 'maximum' draws from a multivariate t distribution: say from where (rng).")


def _check_people(method: Method, human: ArrayLike, n: int) -> None:
    """Whether a method gets one RDM or several, as it needs."""
    stacked = _is_stack(human, n)
    if method != "maximum" and stacked != (method in ("subjects-and-images", "two-factor-bootstrap")):
        raise InputError(
            f"method {method!r} takes one RDM; got several. Average them, or use 'subjects-and-images'."
            if stacked
            else f"method {method!r} takes one RDM for each subject, with a leading axis; got one RDM."
        )


def _tested(
    replicates: Corrected | Replicates,
    *,
    several: bool,
    rng: np.random.Generator | None,
    alternative: Alternative,
    n_draws: int | None,
    level: float,
) -> Test:
    """The answer at the only k, or at the best of several."""
    found = replicates.estimate("difference", level=level)
    at, p, low, high, name, df = 0, found.p, found.low, found.high, found.method, found.df
    if alternative == "greater":
        p = np.where(found.estimate > 0, p / 2, 1 - p / 2)
        margin = _quantile(2 * level - 1, df) if level > 0.5 else np.full(len(df), np.nan)
        low, high = found.estimate - margin * found.se, np.full(len(df), np.inf)
    if several:
        assert isinstance(replicates, Corrected)
        assert rng is not None
        options: dict[str, Any] = {} if n_draws is None else {"n_draws": n_draws}
        most = replicates.maximum(rng=rng, alternative=alternative, level=level, **options)
        at = int(np.flatnonzero(replicates.k == most.best)[0])
        p, low, high, name = most.p_at, most.low, most.high, most.method
        df = np.full(len(p), np.nan)
    if not np.isfinite(found.se[at]):
        raise InputError(
            f"the difference at k = {replicates.k[at]} is undefined: {replicates.n_images[at]} images have a "
            "defined similarity there, too few, or their similarities do not vary, or a subject judged no "
            "pair of one of them."
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


@checked
def compare(first: ArrayLike, second: ArrayLike, human: ArrayLike, *, level: float = 0.95) -> Comparison:
    """Does one model predict people better than another? J− of D = r(first, human) − r(second, human).

    Parameters
    ----------
    first, second
        Dissimilarities of the same images by two models, condensed ``(n(n-1)/2,)`` or square ``(n, n)``.
        Pairs that are NaN in either count for neither.
    human
        People's, likewise; with a leading axis for several subjects, who are then taken to vary too.
    level
        Of the interval.

    Raises
    ------
    InputError
        For RDMs that do not fit, and where D is undefined.

    Notes
    -----
    As for :func:`corrected_jackknife`.
    """
    models = [condensed(model) for model in (first, second)]
    pairs = len(models[0])
    n = round((1 + np.sqrt(1 + 8 * pairs)) / 2)
    models = [check_rdm(model, n) for model in models]
    stacked = _is_stack(human, n)
    people = check_subjects(human, n) if stacked else check_rdm(human, n)[None]
    both = np.isfinite(models[0]) & np.isfinite(models[1])
    people = np.where(both, people, np.nan)
    values, whole = (np.where(both, standardised(np.where(both, m, np.nan)), 0) for m in models)
    everyone = np.ones((1, n), dtype=bool)
    steps = np.array([1], dtype=np.intp)
    found = _over_people(steps, values[None], everyone, whole, list(people), full=False)
    d = found.estimate("difference", level=level)
    if not np.isfinite(d.se[0]):
        raise InputError(
            f"the difference is undefined: the models and people have {found.n_images[0]} images in common, "
            "too few, or their dissimilarities do not vary."
        )
    return Comparison(
        **with_interval(float(d.estimate[0]), float(d.se[0]), float(d.df[0]), level=level),
        first=float(found.r[0]),
        second=float(found.r_all[0]),
        n=int(found.n_images[0]),
        n_subjects=found.n_subjects,
        method=found.method,
    )


@checked
def largest(
    k: ArrayLike,
    value: ArrayLike,
    covariance: ArrayLike,
    df: ArrayLike,
    *,
    rng: np.random.Generator,
    alternative: Alternative = "two-sided",
    level: float = 0.95,
    n_draws: int = _DRAWS,
    use: ArrayLike | None = None,
    method: str = "",
) -> Maximum:
    """Test a whole curve of estimates: the largest t, against those of a multivariate t distribution.

    Parameters
    ----------
    k, value
        ``(n_steps,)``, numbers of features and the estimates there.
    covariance
        ``(n_steps, n_steps)``, of the estimates.
    df
        ``(n_steps,)``, degrees of freedom; the least counts.
    rng
        Of the draws.
    alternative
        ``"greater"``: the largest t itself, for whether a slice predicts people *better*; the band then
        has no upper end. ``"two-sided"``: the largest in size.
    level
        Of the band.
    n_draws
        From the multivariate t distribution with the correlations of the curve.
    use
        ``(n_steps,)`` bool, which k count; by default all at which the value is defined and varies.
    method
        What was done to get the covariance, in words.

    Raises
    ------
    InputError
        If the value is undefined or always 0 wherever it is used.
    """
    if alternative not in get_args(Alternative):
        raise InputError(f"alternative is one of two-sided, greater; got {alternative!r}.")
    estimate, matrix = (np.asarray(v, dtype=np.float64) for v in (value, covariance))
    steps, freedom = np.asarray(k, dtype=np.intp), np.asarray(df, dtype=np.float64)
    _quantile(level, freedom)  # checks it
    se = np.sqrt(matrix.diagonal())
    counts = (se > 0) & np.isfinite(estimate) & (True if use is None else np.asarray(use, dtype=bool))
    if not counts.any():
        raise InputError("the quantity is undefined, or always 0, at every k.")
    drawn = _multivariate_t(matrix[np.ix_(counts, counts)], float(freedom[counts].min()), n_draws, rng)
    t = np.full(len(estimate), np.nan)
    t[counts] = estimate[counts] / se[counts]
    if alternative == "two-sided":
        t, drawn = np.abs(t), np.abs(drawn)
    top = np.sort(drawn.max(axis=1))
    p_at = np.full(len(estimate), np.nan)
    p_at[counts] = (1 + n_draws - np.searchsorted(top, t[counts] - SAME)) / (1 + n_draws)
    critical = float(np.quantile(top, level, method="higher"))
    low, high = estimate - critical * se, estimate + critical * se
    if alternative == "greater":
        high = np.full(len(estimate), np.inf)
    which = "largest |t|" if alternative == "two-sided" else "largest t"
    said = f"{which} over {counts.sum()} numbers of features, multivariate t, {method}".removesuffix(", ")
    best = int(steps[first_largest(t, within=TIE)])
    return Maximum(steps, float(np.nanmin(p_at)), p_at, low, high, best, level, said)


# --- other questions -----------------------------------------------------------------------------


@checked
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


@checked
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


@checked
def sign_flip(
    values: ArrayLike,
    *,
    rng: np.random.Generator,
    alternative: Alternative = "two-sided",
    n_draws: int = 9999,
) -> float:
    """P that the mean of independent values is 0, if each could as well have had the other sign.

    Parameters
    ----------
    values
        ``(n,)``, of seeds: differences between twins, or what is as often below 0 as above without an effect.
    rng, n_draws
        All 2ⁿ flips are gone through where these are no more than `n_draws`; else so many are drawn.
    alternative
        ``"greater"``: the mean is above 0.

    Returns
    -------
    float
        At least 2⁻ⁿ, two-sided 2¹⁻ⁿ.

    Raises
    ------
    InputError
        For fewer than two values, NaN or infinite ones, another alternative, and fewer than one draw.
    """
    given = np.asarray(values, dtype=np.float64)
    if given.ndim != 1 or len(given) < 2 or not np.isfinite(given).all():
        raise InputError(f"values are a list of at least two finite numbers; got {given}.")
    if alternative not in get_args(Alternative):
        raise InputError(f"alternative is one of {', '.join(get_args(Alternative))}; got {alternative!r}.")
    if n_draws < 1:
        raise InputError(f"n_draws is at least 1; got {n_draws}.")
    options: dict[str, Any] = {"permutation_type": "samples", "vectorized": True, "rng": rng}
    options |= {"n_resamples": n_draws, "alternative": alternative}
    return float(stats.permutation_test((given,), np.mean, **options).pvalue)


@checked
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


def _over_people(
    steps: NDArray[np.intp],
    values: NDArray[np.float64],
    defined: NDArray[np.bool_],
    whole: NDArray[np.float64],
    people: Sequence[NDArray[np.float64]],
    *,
    full: bool,
) -> Corrected:
    """J− of some steps of a curve, for one RDM or several; `full`, with correlations between them."""
    subjects = len(people)

    moved = [influences.expand(values, defined, whole, one) for one in people]

    def mean(of: Iterable[Any]) -> list[Any]:
        """Of several arrays, over subjects."""
        return [sum(each) / subjects for each in zip(*of, strict=True)]

    r, r_all, n = mean((m.r, m.r_all, m.n_images) for m in moved)
    found: dict[str, tuple[Any, ...]] = {}
    for quantity in ("r", "difference"):
        _, without, single = mean(m.of(quantity) for m in moved)
        images = influences.spread(without, single, n=n, whole=full)
        variance, df = images.variance, n - 1.0
        matrix = images.covariance if full else np.empty((0, 0))
        if subjects > 1:
            by_subject = np.stack([m.of(quantity)[0] for m in moved])
            of_subjects = by_subject.var(axis=0, ddof=1) / subjects
            both = [
                influences.spread(m.of(quantity)[1] - without, m.of(quantity)[2] - single, n=n, whole=full)
                for m in moved
            ]
            of_both = np.sum([s.variance for s in both], axis=0) / (subjects * (subjects - 1))
            variance, df = _two_factors(of_subjects, images.variance, of_both, subjects, n)
            if full:
                apart = (by_subject - by_subject.mean(axis=0)) / np.sqrt(subjects * (subjects - 1))
                shared = np.sum([s.covariance for s in both], axis=0) / (subjects * (subjects - 1))
                matrix = influences.positive(np.nan_to_num(apart.T @ apart + matrix - shared))
        found[quantity] = images.jackknife, images.single, variance, df, images.skewness, matrix
    named = [{q: found[q][i] for q in found} for i in range(6)]
    return Corrected(steps, r, r_all, n.astype(np.intp), subjects if subjects > 1 else 0, *named)


def _two_factors(
    of_subjects: NDArray[np.float64],
    of_images: NDArray[np.float64],
    of_both: NDArray[np.float64],
    subjects: int,
    n: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The variance where subjects and images vary, and its degrees of freedom (Satterthwaite 1946)."""
    variance = np.maximum(of_subjects + of_images - of_both, np.maximum(of_subjects, of_images))
    with np.errstate(divide="ignore", invalid="ignore"):
        total = (of_subjects + of_images) ** 2
        df = total / (of_subjects**2 / (subjects - 1) + of_images**2 / (n - 1))
    least = np.minimum(subjects, n) - 1.0
    return variance, np.where(np.isfinite(df), np.maximum(df, least), least)


def _joined(parts: Sequence[Corrected], steps: NDArray[np.intp]) -> Corrected:
    """The parts of a curve."""
    if len(parts) == 1:
        return parts[0]
    r, r_all, n = (np.concatenate([getattr(p, name) for p in parts]) for name in ("r", "r_all", "n_images"))
    named = [
        {q: np.concatenate([getattr(p, name)[q] for p in parts]) for q in parts[0].variance}
        for name in ("jackknife", "single", "variance", "df", "skewness")
    ]
    named.append({q: np.empty((0, 0)) for q in parts[0].variance})
    return Corrected(steps, r, r_all, n, parts[0].n_subjects, *named)


def _interval_of_r(
    r: NDArray[np.float64], z_se: NDArray[np.float64], df: NDArray[np.float64], *, level: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Interval and p from the standard error of Fisher's z."""
    quantile, z = _quantile(level, df), _fisher(r)
    exact = np.abs(r) > 1 - SAME  # a curve's end, where it is compared with itself
    with np.errstate(invalid="ignore"):
        low, high = (np.where(exact, r, np.tanh(z + s * quantile * z_se)) for s in (-1, 1))
    return low, high, np.where(exact, 0.0, _p(z, z_se, df))


def _squared(
    low: NDArray[np.float64], high: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The interval of R² from that of r."""
    ends = np.sort(np.stack([low, high]) ** 2, axis=0)
    return np.where(low * high <= 0, 0, ends[0]), ends[1]


def _multivariate_t(
    covariance: NDArray[np.float64], df: float, n: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """``(n, n_steps)`` draws of a multivariate t distribution with these correlations."""
    spread = np.sqrt(covariance.diagonal())
    values, vectors = np.linalg.eigh(covariance / spread / spread[:, None])
    large = values > SAME * values[-1]
    root = vectors[:, large] * np.sqrt(values[large])
    normal = rng.standard_normal((n, int(large.sum()))) @ root.T
    return np.asarray(normal / np.sqrt(rng.chisquare(df, size=(n, 1)) / df))


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


@checked
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


@checked
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
