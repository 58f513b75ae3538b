"""Features weighted to fit people (Peterson, Abbott & Griffiths 2018), cross-validated over images.

The similarity of two images is a weighted sum over features of the products of their (centred, scaled)
activations; with all weights 1 it is the Pearson or cosine similarity of the plain curves. Ridge regression
finds weights that predict people's similarities of training images, and test images say what they are
worth. A pair of a training and a test image is in neither set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import linalg
from tqdm import tqdm

from rarefire.curves import check_order, check_steps
from rarefire.errors import InputError
from rarefire.inference import Estimate, t_interval
from rarefire.rdm import Metric, check_embedding, check_rdm, standardised, unit_vectors
from rarefire.resampling import check_rng
from rarefire.rounding import SAME, first_largest
from rarefire.selection import over_partitions

__all__ = ["ALPHAS", "LEAST_IMAGES", "Reweighted", "reweighted"]

#: Ridge penalties tried, in units of the mean squared norm of a training pair's products.
ALPHAS = (1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
#: Images below which there is nothing to learn weights from.
LEAST_IMAGES = 24
_INNER = 3  # parts of the training images among which the penalty is chosen
_DUAL = 4  # about a fourth of all pairs are fitted to; with more features, a matrix of pairs is smaller
_CHUNK = 2**26  # numbers in a working array


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
    the training pairs where those are fewer.
    """
    features = check_embedding(embedding)
    n, n_features = features.shape
    condensed = check_rdm(human, n)
    indices = check_order(order, n_features)
    steps = check_steps([n_features] if k is None else k, n_features)
    check_rng(rng)
    if not isinstance(folds, (int, np.integer)) or folds < 2 or n < max(4 * folds, LEAST_IMAGES):
        raise InputError(
            f"folds is at least 2, with four images in each part, {LEAST_IMAGES} in all; got {folds} for {n}."
        )
    if not isinstance(repeats, (int, np.integer)) or repeats < 1:
        raise InputError(f"repeats must be a whole number, at least 1; got {repeats}.")
    if np.ndim(alphas) != 1 or not np.size(alphas) or not all(0 < a < np.inf for a in alphas):
        raise InputError(f"alphas must be greater than 0; got {alphas}.")
    rows, columns = np.triu_indices(n, k=1)
    judged = np.isfinite(condensed)
    target = standardised(condensed)
    partitions = [np.array_split(rng.permutation(n), folds) for _ in range(repeats)]
    # The parts among which the penalty is chosen, the same for every k.
    tests = [part for parts in partitions for part in parts]
    inner = [np.array_split(rng.permutation(np.setdiff1d(np.arange(n), test)), _INNER) for test in tests]

    found = np.full((4, len(steps), len(tests)), np.nan)
    bar = tqdm(total=len(steps) * len(tests), desc="ridge", disable=not progress, leave=False)
    for step, first in enumerate(steps):
        unit, defined = unit_vectors(features[:, indices[:first]], metric=metric)
        dual = (
            first > len(rows) // 4
        )  # about as many features as training pairs: a matrix of pairs is smaller
        given = _kernel(unit, rows, columns) if dual else unit[rows] * unit[columns]
        use = judged & defined[rows] & defined[columns]

        def inside(images: NDArray[np.intp], use: NDArray[np.bool_] = use) -> NDArray[np.intp]:
            member = np.zeros(n, dtype=bool)
            member[images] = True
            return np.flatnonzero(use & member[rows] & member[columns])

        plain = np.einsum("pk,pk->p", unit[rows], unit[columns])
        for place, (test, parts) in enumerate(zip(tests, inner, strict=True)):
            train = np.concatenate(parts)
            scores = []  # of each penalty, in inner parts with something to predict
            for part in parts:
                held = inside(part)
                fitted = _predicted(given, target, inside(np.setdiff1d(train, part)), held, alphas, dual=dual)
                score = [_pearson(values, target[held]) for values in fitted]
                if np.isfinite(score).all() and score:
                    scores.append(score)
            held = inside(test)
            alpha = alphas[first_largest(np.mean(scores, axis=0))] if scores else np.nan
            predicted = _predicted(given, target, inside(train), held, [alpha], dual=dual) if scores else []
            weighted = predicted[0] if predicted else np.full(len(held), np.nan)
            pairs = rows[held], columns[held]
            r, variance = _with_and_without(weighted, plain[held], target[held], pairs, test)
            found[:, step, place] = *r, variance, alpha
            bar.update()
    bar.close()
    ridge, equal, variances, chosen = found.reshape(4, len(steps), repeats, folds)
    return Reweighted(steps, equal, ridge, variances, chosen, n)


def _with_and_without(
    weighted: NDArray[np.float64],
    plain: NDArray[np.float64],
    target: NDArray[np.float64],
    pairs: tuple[NDArray[np.intp], NDArray[np.intp]],
    images: NDArray[np.intp],
) -> tuple[tuple[float, float], float]:
    """R of both predictions with people, and the jackknife variance of their difference."""

    def both(use: Any) -> tuple[float, float]:
        return _pearson(weighted[use], target[use]), _pearson(plain[use], target[use])

    first, second = pairs
    present = [i for i in images if ((first == i) | (second == i)).any()]
    d = np.array([np.subtract(*both((first != i) & (second != i))) for i in present])
    count = len(d)
    variance = (count - 1) / count * float(((d - d.mean()) ** 2).sum()) if count > 2 else np.nan
    return both(slice(None)), variance


def _kernel(
    unit: NDArray[np.float64], rows: NDArray[np.intp], columns: NDArray[np.intp]
) -> NDArray[np.float64]:
    """Inner products of all pairs' products of activations."""
    total = np.zeros((len(rows), len(rows)))
    size = max(1, _CHUNK // len(rows))
    for start in range(0, unit.shape[1], size):
        part = unit[:, start : start + size]
        part = part[rows] * part[columns]
        total += part @ part.T
    return total


def _predicted(
    given: NDArray[np.float64],
    target: NDArray[np.float64],
    train: NDArray[np.intp],
    test: NDArray[np.intp],
    alphas: Sequence[float],
    *,
    dual: bool,
) -> list[NDArray[np.float64]]:
    """Prediction of test pairs, fitted with each penalty to training pairs; empty where none can be made.

    `given` holds products of activations, ``(n_pairs, k)``, or (`dual`) their inner products,
    ``(n_pairs, n_pairs)``: the same ridge regression with an intercept, from the smaller matrix.
    """
    if len(train) < 3 or len(test) < 3:
        return []
    centred = target[train] - target[train].mean()
    if dual:
        own, across = given[np.ix_(train, train)], given[np.ix_(test, train)]
        means = own.mean(axis=0)
        system = own - means - means[:, None] + means.mean()
        right, held = centred, across - across.mean(axis=1, keepdims=True) - means + means.mean()
        whole = np.trace(own)
    else:
        own, mean = given[train], given[train].mean(axis=0)
        system, right, held = (own - mean).T @ (own - mean), (own - mean).T @ centred, given[test] - mean
        whole = float((own**2).sum())
    size = np.trace(system) / len(train)
    if size <= SAME * whole / len(train):  # the products of all pairs are the same
        return []
    penalty = size * np.eye(len(system))
    return [
        np.asarray(held @ linalg.solve(system + alpha * penalty, right, assume_a="pos")) for alpha in alphas
    ]


def _pearson(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return np.nan
    return float(np.corrcoef(a, b)[0, 1])
