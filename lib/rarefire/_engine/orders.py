"""Curves of many orders of the same features: random ones, and those of equal PoZ.

The first k features are a set, whose similarities are one product of matrices: of the features that are
new since the last k, added to what there is. For a few k of many orders that is much less work than the
running sums of :mod:`rarefire._engine.pairs`, which give every k. It also loses digits where images hardly
differ in the first k features; what loses more than a few goes the other way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from rarefire._engine import blocks
from rarefire._engine.grams import PairSums, correlation
from rarefire.curves import check_order, check_steps, rdm_curve
from rarefire.errors import InputError
from rarefire.rdm import Metric, check_rdm, standardised

__all__ = ["rdm_curves"]

_LOST = 1e-2  # share of the squares, spread of the similarities below which too many digits are lost
_FEATURES = 2**11  # taken at once


def rdm_curves(
    embedding: Any,
    rdm: ArrayLike,
    orders: Sequence[ArrayLike],
    *,
    k: Sequence[int] | None = None,
    metric: Metric = "correlation",
) -> NDArray[np.float64]:
    """How well the first k features predict an RDM, for each of several orders.

    Parameters
    ----------
    embedding, rdm, k, metric
        As for :func:`rarefire.curves.rdm_curve`.
    orders
        Permutations of the features.

    Returns
    -------
    ndarray
        ``(n_orders, n_steps)``, r as :func:`rarefire.curves.rdm_curve` gives it for each order.

    Raises
    ------
    InputError
        As there.
    """
    source = blocks.check_source(embedding)
    n, n_features = source.shape
    judged = check_rdm(rdm, n)
    indices, steps = [check_order(order, n_features) for order in orders], check_steps(k, n_features)
    if metric not in ("correlation", "cosine"):
        raise InputError(f"metric is one of correlation, cosine; got {metric!r}.")
    features = np.asarray(blocks.read(source, slice(0, n)), dtype=np.float64)
    reference = standardised(judged)
    # From 0 up: where the first features are silent, the sums are 0, not a difference of large numbers.
    values = features - features.min(axis=1, keepdims=True) if metric == "correlation" else features
    largest = np.abs(values).max(axis=1, keepdims=True)
    values = np.ascontiguousarray((values / np.where(largest > 0, largest, 1)).T)
    found = np.empty((len(indices), len(steps)))

    def some(places: Iterable[int]) -> None:
        for place in places:
            order = indices[place]
            sums, safe = _over_steps(values, features, order, steps, reference, metric)
            found[place] = correlation(PairSums(*sums.T))
            for step in np.flatnonzero(~safe):
                first = features[:, order[: steps[step]]]
                own = np.arange(steps[step])
                found[place, step] = rdm_curve(first, judged, own, k=[len(own)], metric=metric).r[0]

    blocks.spread(some, range(len(indices)))
    return found


def _over_steps(
    values: NDArray[np.float64],
    features: NDArray[np.float64],
    order: NDArray[np.intp],
    steps: NDArray[np.intp],
    reference: NDArray[np.float64],
    metric: str,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Sums over pairs ``(n_steps, 6)`` as :class:`PairSums` names them, and where they have their digits."""
    n = len(features)
    products, total, done = np.zeros((n, n)), np.zeros(n), 0
    sums, safe = np.zeros((len(steps), 6)), np.ones(len(steps), dtype=bool)
    for step, k in enumerate(steps):
        for start in range(done, k, _FEATURES):
            part = values[order[start : min(start + _FEATURES, k)]]
            products += part.T @ part
            total += part.sum(axis=0)
        done = k
        squares = products.diagonal()
        mean = total / k if metric == "correlation" else np.zeros(n)
        left = squares - mean * total
        scale = np.where(left > _LOST * squares, left, np.inf) ** -0.5
        doubtful = np.flatnonzero(scale == 0)
        if len(doubtful):  # silent, or constant, or nearly so?
            first = features[np.ix_(doubtful, order[:k])]
            alike = first == (first[:, :1] if metric == "correlation" else 0)
            safe[step] = alike.all()
        _add_pairs(products, total, mean, scale, reference, sums[step])
    with np.errstate(divide="ignore", invalid="ignore"):
        spread = sums[:, 2] / sums[:, 0] - (sums[:, 1] / sums[:, 0]) ** 2
    return sums, safe & ~(spread < _LOST**2)


@numba.njit(nogil=True, cache=True)
def _add_pairs(products, total, mean, scale, reference, sums):  # type: ignore[no-untyped-def]
    """Add every pair that is defined and judged to the sums: count, a, a², b, b², ab, with a less 1."""
    n, pair = len(total), 0
    for i in range(n):
        for j in range(i + 1, n):
            b = reference[pair]
            pair += 1
            if scale[i] > 0 and scale[j] > 0 and not np.isnan(b):
                a = (products[i, j] - mean[i] * total[j]) * scale[i] * scale[j] - 1
                sums[0] += 1
                sums[1] += a
                sums[2] += a * a
                sums[3] += b
                sums[4] += b * b
                sums[5] += a * b
