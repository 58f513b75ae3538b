"""Nested RSA curves: how much of a geometry the first k features of an order carry, for every k.

For image i let z_i be the vector of its first k features, centred (Pearson) and scaled to norm 1,
and w_i the same for the full embedding. Similarities are dot products, so their sums over all
ordered pairs i ≠ j need no matrix of images by images::

    Σ r    = ‖Σ_i z_i‖² − n
    Σ r²   = ‖ZᵀZ‖²_F − n
    Σ r r' = ‖ZᵀW‖²_F − n

Mean, variance and covariance over pairs follow, and from them the Pearson correlation of the two
RDMs: exactly, in time linear in the number of images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rarefire.errors import InputError
from rarefire.rdm import Metric, check_embedding, class_means, unit_vectors

__all__ = ["Curve", "class_curve", "geometry_curve"]

# A variance of similarities below this share of their mean square is rounding, not variation.
_ROUNDING = 1e-13


@dataclass(frozen=True)
class Curve:
    """A nested curve.

    Attributes
    ----------
    k
        ``(n_steps,)``, numbers of features, rising.
    r
        ``(n_steps,)``, Pearson correlation between the RDM of the first k features and the
        reference, in [−1, 1]; NaN where it is undefined.
    n_images
        ``(n_steps,)``, images (or classes) with a defined similarity at that k.
    n_features
        Features in all.
    """

    k: NDArray[np.intp]
    r: NDArray[np.float64]
    n_images: NDArray[np.intp]
    n_features: int

    @property
    def r2(self) -> NDArray[np.float64]:
        """``(n_steps,)``, squared correlation, in [0, 1]."""
        return self.r**2

    @property
    def fraction(self) -> NDArray[np.float64]:
        """``(n_steps,)``, share of the features, in (0, 1]."""
        return self.k / self.n_features

    def at(self, fraction: float) -> float:
        """R² at the number of features nearest to `fraction` of all of them."""
        wanted = round(fraction * self.n_features)
        found = np.flatnonzero(self.k == wanted)
        if not len(found):
            raise InputError(f"the curve has no value at {wanted} of {self.n_features} features.")
        return float(self.r2[found[0]])


def geometry_curve(
    embedding: ArrayLike,
    order: ArrayLike,
    *,
    metric: Metric = "correlation",
    k: Sequence[int] | None = None,
) -> Curve:
    """How much of the full embedding's geometry the first k features carry.

    Parameters
    ----------
    embedding
        ``(n_images, n_features)``.
    order
        ``(n_features,)``, a permutation of the features, e.g. from :func:`rarefire.poz.order`.
    metric
        ``"correlation"`` or ``"cosine"``.
    k
        Numbers of features to evaluate; by default every one from 1 to all.

    Returns
    -------
    Curve
        An image without a defined similarity at some k (its first k features are constant, or all
        0 for cosine) is left out there, of the reference too; below three images r is NaN.

    Notes
    -----
    Time n·k·(k + F) for each k, memory n·F. Truong et al. (2023), figures 1b and 1c.
    """
    features = check_embedding(embedding)
    ordered = features[:, _check_order(order, features.shape[1])]
    steps = _check_steps(k, ordered.shape[1])
    reference, defined = unit_vectors(ordered, metric=metric)
    r = np.full(len(steps), np.nan)
    left = np.zeros(len(steps), dtype=np.intp)
    whole = _self_sums(reference)
    for step, prefix in enumerate(steps):
        z, has = unit_vectors(ordered[:, :prefix], metric=metric)
        both = has & defined
        left[step] = np.count_nonzero(both)
        if both.all():
            w, sums = reference, whole
        else:
            z, w = z[both], reference[both]
            sums = _self_sums(w)
        r[step] = _correlation(_self_sums(z), sums, _cross_sum(z, w), len(z))
    return Curve(steps, r, left, ordered.shape[1])


def class_curve(
    embedding: ArrayLike,
    labels: ArrayLike,
    order: ArrayLike,
    *,
    metric: Metric = "correlation",
    squared: bool = True,
    k: Sequence[int] | None = None,
) -> Curve:
    """The same curve between class means, by the convention of the paper authors' earlier code.

    Parameters
    ----------
    embedding, labels, order, metric, k
        As for :func:`geometry_curve`, with ``(n_images,)`` labels.
    squared
        Compare squared similarities of the class means, as that code does (with ten classes: 45
        numbers r²), rather than signed ones.

    Returns
    -------
    Curve
        `n_images` counts classes.
    """
    means = class_means(embedding, labels)
    n_features = means.shape[1]
    ordered = means[:, _check_order(order, n_features)]
    steps = _check_steps(k, n_features)
    if len(means) < 3:
        raise InputError(f"a curve between class means needs at least three classes; got {len(means)}.")
    pairs = np.triu_indices(len(means), k=1)

    def similarities(vectors: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        unit, defined = unit_vectors(vectors, metric=metric)
        values = (unit @ unit.T)[pairs]
        return values**2 if squared else values, defined

    full, full_defined = similarities(ordered)
    r = np.full(len(steps), np.nan)
    left = np.zeros(len(steps), dtype=np.intp)
    for step, prefix in enumerate(steps):
        partial, defined = similarities(ordered[:, :prefix])
        both = defined & full_defined
        left[step] = np.count_nonzero(both)
        use = both[pairs[0]] & both[pairs[1]]
        a, b = partial[use], full[use]
        if left[step] >= 3 and _varies(a) and _varies(b):
            r[step] = np.clip(np.corrcoef(a, b)[0, 1], -1, 1)
    return Curve(steps, r, left, n_features)


def _self_sums(unit: NDArray[np.float64]) -> tuple[float, float]:
    """Σ r and Σ r² over ordered pairs i ≠ j of unit vectors."""
    n = len(unit)
    total = unit.sum(axis=0)
    return float(total @ total) - n, _cross_sum(unit, unit)


def _cross_sum(z: NDArray[np.float64], w: NDArray[np.float64]) -> float:
    """Σ r r' over ordered pairs i ≠ j."""
    return float(np.linalg.norm(z.T @ w)) ** 2 - len(z)


def _correlation(a: tuple[float, float], b: tuple[float, float], cross: float, n: int) -> float:
    if n < 3:
        return np.nan
    pairs = n * (n - 1)
    mean_a, mean_b = a[0] / pairs, b[0] / pairs
    square_a, square_b = a[1] / pairs, b[1] / pairs
    var_a, var_b = square_a - mean_a**2, square_b - mean_b**2
    if var_a <= _ROUNDING * square_a or var_b <= _ROUNDING * square_b:
        return np.nan
    return float(np.clip((cross / pairs - mean_a * mean_b) / np.sqrt(var_a * var_b), -1, 1))


def _varies(values: NDArray[np.float64]) -> bool:
    return bool(values.var() > _ROUNDING * np.mean(values**2))


def _check_order(order: ArrayLike, n_features: int) -> NDArray[np.intp]:
    indices = np.asarray(order)
    if indices.shape != (n_features,) or not np.array_equal(np.sort(indices), np.arange(n_features)):
        raise InputError(
            f"order must hold each of the {n_features} feature indices once; got shape {indices.shape}."
        )
    return indices.astype(np.intp)


def _check_steps(k: Sequence[int] | None, n_features: int) -> NDArray[np.intp]:
    if k is None:
        return np.arange(1, n_features + 1)
    steps = np.unique(np.asarray(k, dtype=np.intp))
    if not len(steps) or steps[0] < 1 or steps[-1] > n_features:
        raise InputError(f"k must lie between 1 and {n_features}; got {list(k)[:10]}.")
    return steps
