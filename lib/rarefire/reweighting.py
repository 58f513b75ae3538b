"""Features weighted to fit people (Peterson, Abbott & Griffiths 2018), cross-validated over images.

The similarity of two images is a weighted sum over features of the products of their (centred, scaled)
activations; with all weights 1 it is the Pearson or cosine similarity of the plain curves. Ridge regression
finds weights that predict people's similarities of training images, and test images say what they are
worth. A pair of a training and a test image is in neither set.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numba
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import linalg
from scipy.sparse.linalg import cg

from rarefire._engine import blocks
from rarefire._engine.arguments import checked
from rarefire._engine.grams import PairSums, correlation
from rarefire._engine.resampling import jackknife_variance
from rarefire.curves import check_order, check_steps
from rarefire.errors import InputError
from rarefire.inference import Estimate, t_interval
from rarefire.rdm import Metric, check_embedding, check_rdm, standardised, unit_vectors
from rarefire.rounding import SAME, TIE, first_largest
from rarefire.selection import over_partitions

__all__ = ["ALPHAS", "LEAST_IMAGES", "Reweighted", "reweighted"]

#: Ridge penalties tried, in units of the mean squared norm of a training pair's products.
ALPHAS = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
#: Images below which there is nothing to learn weights from.
LEAST_IMAGES = 24
_INNER = 3  # parts of the training images among which the penalty is chosen
_DUAL = 4  # about a fourth of all pairs are fitted to; with more features, a matrix of pairs is smaller
_CHUNK = 2**21  # numbers in a working array
_IMAGES = 8  # whose pairs are multiplied at once
_LARGE, _EXACT = 10, 1e-13  # a penalty with which a few dozen steps of conjugate gradients are as exact


@dataclass(frozen=True)
class Reweighted:
    """The first k features with weights and without, on images that the weights were not fitted to.

    Attributes
    ----------
    k
        ``(n_steps,)``.
    plain, ridge
        ``(n_steps, repeats, folds)``, Pearson r with people over the pairs of each test part: all
        weights 1, and fitted ones. NaN where it is undefined.
    variance
        ``(n_steps, repeats, folds)``, of ridge − plain: a jackknife over the images of the test part.
    alpha
        ``(n_steps, repeats, folds)``, of the penalties tried, chosen on training images.
    n_images
        Images in all.
    """

    k: NDArray[np.intp]
    plain: NDArray[np.float64]
    ridge: NDArray[np.float64]
    variance: NDArray[np.float64]
    alpha: NDArray[np.float64]
    n_images: int

    def gain(self, *, level: float = 0.95) -> Estimate:
        """What weights add, ridge − plain, on other images: mean over test parts, median over partitions."""
        d, folds = (self.ridge - self.plain).mean(axis=2), self.plain.shape[2]
        variance, df = self.variance.sum(axis=2) / folds**2, float(self.n_images - folds)
        found = np.full((2, len(self.k)), np.nan)
        for step in range(len(self.k)):
            known = np.isfinite(d[step]) & np.isfinite(variance[step])
            if 2 * np.count_nonzero(known) > len(known):
                found[:, step] = over_partitions(d[step, known], variance[step, known])
        estimate, se = found
        low, high, p = t_interval(estimate, se, df, level=level)
        n = np.full(len(self.k), self.n_images)
        method = f"{d.shape[1]} × {folds} folds; delete-one-image jackknife"
        dfs = np.full(len(self.k), df)
        return Estimate("ridge − plain", self.k, estimate, se, low, high, p, dfs, level, n, "image", method)

    def table(self) -> pd.DataFrame:
        """One row for each k: mean ``plain``, ``ridge``; the gain ``D, low, high, p``; median ``alpha``."""
        gain = self.gain()
        return pd.DataFrame(
            {
                "k": self.k,
                "plain": self.plain.mean(axis=(1, 2)),
                "ridge": self.ridge.mean(axis=(1, 2)),
                "D": gain.estimate,
                "low": gain.low,
                "high": gain.high,
                "p": gain.p,
                "alpha": np.median(self.alpha, axis=(1, 2)),
            }
        )


@checked
def reweighted(
    embedding: ArrayLike,
    human: ArrayLike,
    order: ArrayLike,
    *,
    rng: np.random.Generator,
    k: Sequence[int] | None = None,
    metric: Metric = "correlation",
    folds: int = 3,
    repeats: int = 5,
    alphas: Sequence[float] = ALPHAS,
    progress: bool = False,
) -> Reweighted:
    """How well the first k features predict people when each may have its own weight.

    Parameters
    ----------
    embedding, human, order
        As for :func:`rarefire.curves.rdm_curve`: ``(n_images, n_features)``, people's dissimilarities,
        and the insertion order.
    rng
        Source of the partitions of the images.
    k
        Numbers of features; by default all of them only.
    metric
        ``"correlation"`` or ``"cosine"``: what the unweighted similarity is.
    folds, repeats
        Parts of the images, of at least four each; and partitions.
    alphas
        Penalties to choose from, > 0, in units of the mean squared norm of a training pair's products.
        The one with the highest mean r over three parts of the training images is taken; the first of
        those given, where several have it (within :data:`rarefire.rounding.TIE`: a system that was solved
        has fewer digits).
    progress
        Show a progress bar.

    Raises
    ------
    InputError
        For arrays that do not fit, and parts that are too small.

    Notes
    -----
    The model of Peterson, Abbott & Griffiths (2018), s_ij = Σ_k w_k f_ik f_jk, with ridge regression.
    Pairs share images, so images are divided here, not pairs. Time for each k: the cube of k, or of
    the training pairs where those are fewer, and then k times the fourth power of the images. Memory: the
    square of all pairs where k is more than a fourth of them, else k times their number.
    """
    features = check_embedding(embedding)
    n, n_features = features.shape
    condensed = check_rdm(human, n)
    indices = check_order(order, n_features)
    steps = check_steps([n_features] if k is None else k, n_features)
    _check_options(n, folds, repeats, alphas)
    judged = np.isfinite(condensed)
    target = np.where(judged, standardised(condensed), 0)
    partitions = [np.array_split(rng.permutation(n), folds) for _ in range(repeats)]
    # The parts among which the penalty is chosen, the same for every k.
    tests = [part for parts in partitions for part in parts]
    inner = [np.array_split(rng.permutation(np.setdiff1d(np.arange(n), test)), _INNER) for test in tests]

    ends = rows, columns = np.triu_indices(n, k=1)
    found = np.full((4, len(steps), len(tests)), np.nan)
    most = len(rows) // _DUAL
    kernel = np.empty((len(rows) + n if steps[-1] > most else 0,) * 2)  # the same memory for every k
    for step, first in enumerate(steps):
        unit, defined = unit_vectors(features[:, indices[:first]], metric=metric)
        use = judged & defined[rows] & defined[columns]
        prepare = _by_pairs(unit, target, kernel) if first > most else _by_features(unit, target)
        on_test = functools.partial(_on_test, prepare, (unit @ unit.T)[ends], target, ends, use, alphas)

        def some(places: Iterable[int], at: Any = found[:, step], on_test: Any = on_test) -> None:
            for place in places:
                at[:, place] = on_test(tests[place], inner[place])

        blocks.spread(some, range(len(tests)), progress=progress, title=f"ridge, {first} features")
    ridge, equal, variances, chosen = found.reshape(4, len(steps), repeats, folds)
    return Reweighted(steps, equal, ridge, variances, chosen, n)


def _check_options(n: int, folds: int, repeats: int, alphas: Sequence[float]) -> None:
    if not isinstance(folds, (int, np.integer)) or folds < 2 or n < max(4 * folds, LEAST_IMAGES):
        raise InputError(
            f"folds is at least 2, with four images in each part, {LEAST_IMAGES} in all; got {folds} for {n}."
        )
    if not isinstance(repeats, (int, np.integer)) or repeats < 1:
        raise InputError(f"repeats must be a whole number, at least 1; got {repeats}.")
    if np.ndim(alphas) != 1 or not np.size(alphas) or not all(0 < a < np.inf for a in alphas):
        raise InputError(f"alphas must be greater than 0; got {alphas}.")


# --- one test part -------------------------------------------------------------------------------

#: The first and the second image of every pair.
_Ends = tuple[NDArray[np.intp], NDArray[np.intp]]
#: Pairs of images by the parts that the two are in, lower first.
_Groups = dict[tuple[int, int], NDArray[np.intp]]


def _among(parts: Sequence[NDArray[np.intp]], ends: _Ends, use: NDArray[np.bool_]) -> _Groups:
    """The pairs to use of images in some parts."""
    part = np.full(ends[1][-1] + 1, -1)
    for i, images in enumerate(parts):
        part[images] = i
    low, high = np.sort([part[ends[0]], part[ends[1]]], axis=0)
    both = [(a, b) for a in range(len(parts)) for b in range(a, len(parts))]
    return {(a, b): np.flatnonzero(use & (low == a) & (high == b)) for a, b in both}


def _on_test(
    prepare: _Prepare,
    plain: NDArray[np.float64],
    target: NDArray[np.float64],
    ends: _Ends,
    use: NDArray[np.bool_],
    alphas: Sequence[float],
    test: NDArray[np.intp],
    parts: Sequence[NDArray[np.intp]],
) -> tuple[float, float, float, float]:
    """R with weights and without, the variance of their difference, and the penalty, chosen among `parts`."""
    training, (held,) = _among(parts, ends, use), _among([test], ends, use).values()
    equations = prepare(training)
    scores = []  # of each penalty, in inner parts with something to predict
    for part in range(len(parts)):
        left = training[part, part]
        fitted = _predicted(equations([both for both in training if part not in both], left), alphas)
        score = [_pearson(values, target[left]) for values in fitted]
        if score and np.isfinite(score).all():
            scores.append(score)
    alpha = alphas[first_largest(np.mean(scores, axis=0), within=TIE)] if scores else np.nan
    predicted = _predicted(equations(list(training), held), [alpha]) if scores else []
    weighted = predicted[0] if predicted else np.full(len(held), np.nan)
    of_image = np.array([(ends[0][held] == i) | (ends[1][held] == i) for i in test])
    return *_with_and_without(weighted, plain[held], target[held], of_image), alpha


def _with_and_without(
    weighted: NDArray[np.float64],
    plain: NDArray[np.float64],
    target: NDArray[np.float64],
    of_image: NDArray[np.bool_],
) -> tuple[float, float, float]:
    """R of both predictions with people, and the variance of their difference: a jackknife over images.

    `of_image` is ``(n_images, n_pairs)``; an image without a pair is no replicate.
    """
    of_image = of_image[of_image.any(axis=1)]

    def each(values: NDArray[np.float64]) -> NDArray[np.float64]:
        """R over all pairs, then without each image."""
        a, b = _scaled(values), _scaled(target)
        columns = np.stack([np.ones(len(a)), a, a * a, b, b * b, a * b])
        total = columns.sum(axis=1)
        return correlation(PairSums(*np.vstack([total, total - of_image @ columns.T]).T))

    with_weights, without = each(weighted), each(plain)
    variance = jackknife_variance((with_weights - without)[1:])
    return float(with_weights[0]), float(without[0]), float(variance)


def _scaled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Less their mean, the largest of size 1; all 0 where they differ by rounding alone."""
    centred = values - values.mean() if len(values) else values
    size = np.abs(centred).max(initial=0)
    return centred / size if size > SAME * np.abs(values).max(initial=0) else np.zeros(len(values))


def _pearson(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    if len(a) < 3 or any(np.ptp(values) <= SAME * np.abs(values).max() for values in (a, b)):
        return np.nan
    return float(np.corrcoef(a, b)[0, 1])


# --- ridge regression, from the smaller matrix -----------------------------------------------------


class _Equations(NamedTuple):
    """Ridge regression with an intercept: prediction = across · (system + penalty)⁻¹ · right.

    `size` is the mean squared norm of a training pair's products, centred; 0 where they are all the same.
    """

    system: NDArray[np.float64]
    right: NDArray[np.float64]
    across: NDArray[np.float64]
    size: float


# From the groups of training pairs: given those to fit to, and the pairs to predict, the equations.
_Prepare = Callable[[_Groups], Callable[[Sequence[tuple[int, int]], NDArray[np.intp]], _Equations | None]]


def _predicted(given: _Equations | None, alphas: Sequence[float]) -> list[NDArray[np.float64]]:
    """Prediction with each penalty; empty where none can be made."""
    if given is None:
        return []
    system, right, across, size = given
    diagonal, found = system.diagonal().copy(), []
    for alpha in alphas:
        np.fill_diagonal(system, diagonal + alpha * size)
        if alpha >= _LARGE:
            solution, _ = cg(system, right, rtol=_EXACT)
        else:  # by NumPy, for SciPy lets no other thread run meanwhile
            factor = np.linalg.cholesky(system)
            solution = linalg.cho_solve((factor.T, False), right, check_finite=False)
        found.append(across @ solution)
    return found


def _size(system: NDArray[np.float64], whole: float, count: int) -> float:
    """Mean squared norm, centred; `whole` is the sum before centring, of which rounding is a share."""
    size = float(np.trace(system)) / count
    return size if size > SAME * whole / count else 0.0


def _by_features(unit: NDArray[np.float64], target: NDArray[np.float64]) -> _Prepare:
    """Equations in the weights of features, from sums over pairs; each group of pairs is summed once."""
    rows, columns = np.triu_indices(len(unit), k=1)
    products = unit[rows] * unit[columns]
    norms = np.einsum("pk,pk->p", products, products)
    products -= products.mean(axis=0)

    def prepare(training: _Groups) -> Any:
        def sums(group: NDArray[np.intp]) -> tuple[Any, ...]:
            x, y = products[group], target[group]
            return len(group), norms[group].sum(), x.sum(axis=0), y.sum(), x.T @ x, x.T @ y

        every = {both: sums(group) for both, group in training.items()}

        def equations(fitted: Sequence[tuple[int, int]], held: NDArray[np.intp]) -> _Equations | None:
            total = [np.array(each) for each in every[fitted[0]]]
            for both in fitted[1:]:
                for own, more in zip(total, every[both], strict=True):
                    own += more
            count, whole, x, y, xx, xy = total
            if count < 3 or len(held) < 3:
                return None
            mean = x / count
            xx -= np.outer(x, mean)
            size = _size(xx, float(whole), int(count))
            return _Equations(xx, xy - y * mean, products[held] - mean, size) if size else None

        return equations

    return prepare


def _by_pairs(
    unit: NDArray[np.float64], target: NDArray[np.float64], kernel: NDArray[np.float64]
) -> _Prepare:
    """The same from inner products of pairs' products: equations in weights of training pairs."""
    _fill(kernel, unit)
    place = np.flatnonzero(np.not_equal(*np.triu_indices(len(unit))))  # of a pair among all and itself

    def prepare(training: _Groups) -> Any:
        def equations(fitted: Sequence[tuple[int, int]], held: NDArray[np.intp]) -> _Equations | None:
            train = np.sort(np.concatenate([training[both] for both in fitted]))
            if len(train) < 3 or len(held) < 3:
                return None
            system = kernel[np.ix_(place[train], place[train])]
            across = kernel[np.ix_(place[held], place[train])]
            whole, means = float(np.trace(system)), system.mean(axis=0)
            across -= across.mean(axis=1, keepdims=True) + (means - means.mean())
            system -= means
            system -= (means - means.mean())[:, None]
            size = _size(system, whole, len(train))
            right = target[train] - target[train].mean()
            return _Equations(system, right, across, size) if size else None

        return equations

    return prepare


def _fill(kernel: NDArray[np.float64], unit: NDArray[np.float64]) -> None:
    """Inner products of the products of activations, of all pairs of images, those with themselves included.

    A product of four activations is the same in any order: for images a ≤ b ≤ c ≤ d only that of (a, b)
    with (c, d) is computed, a third of all, and the others are copied from there.
    """
    n, n_features = unit.shape
    rows, columns = np.triu_indices(n)
    kernel[:] = 0
    size = max(1, _CHUNK // len(rows))
    for start in range(0, n_features, size):
        part = unit[:, start : start + size]
        products = part[rows]
        products *= part[columns]

        def some(images: Iterable[int], products: NDArray[np.float64] = products) -> None:
            for image in images:
                own = np.flatnonzero((columns >= image) & (columns < image + _IMAGES))
                later = int(np.searchsorted(rows, image))
                kernel[own, later:] += products[own] @ products[later:].T

        blocks.spread(some, range(0, n, _IMAGES))
    blocks.spread(lambda pairs: [_complete(kernel, rows, columns, p) for p in pairs], range(len(rows)))


@numba.njit(nogil=True, cache=True)
def _complete(kernel, rows, columns, p):  # type: ignore[no-untyped-def]
    """Fill a row of the upper triangle, and the column below it."""
    n = columns[-1] + 1
    i, j = rows[p], columns[p]
    for q in range(p, len(rows)):
        k, m = rows[q], columns[q]
        if k < j:  # i ≤ k < j: the product of (i, k) with the other two
            low, high = min(j, m), max(j, m)
            kernel[p, q] = kernel[i * n - i * (i + 1) // 2 + k, low * n - low * (low + 1) // 2 + high]
        kernel[q, p] = kernel[p, q]
