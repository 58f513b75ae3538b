"""Curves on resampled images: weights c_i of images, and of every pair c_i·c_j.

The sums of :mod:`rarefire._engine.grams` with weights, for many weightings at once: through the pairs where
there are few (three products of matrices for a whole curve), through the images where there are many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from tqdm import tqdm

from rarefire._engine import blocks, grams, pairs
from rarefire._engine.arguments import check_rng
from rarefire._engine.grams import LEAST, ROUNDING, Grams, PairSums, correlation
from rarefire.errors import InputError
from rarefire.rdm import standardised, unit_vectors

__all__ = [
    "Curves",
    "bootstrap_over_images",
    "draw",
    "drawn",
    "jackknife_over_images",
    "jackknife_variance",
    "less_one",
    "resample",
    "without_each",
]

_CHUNK = 2**24  # numbers in a working array
_FEW = 3  # steps that are less work one by one

#: r of the first k features, of all of them, both on each draw, and the images defined at k.
Curves = tuple[
    NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.intp]
]
# Weighted sums over pairs: columns (n_columns, n_pairs) -> (1 + n_draws, n_columns), all images first.
_Weigh = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def without_each(n: int) -> _Weigh:
    """All images, then without each of them."""
    rows, columns = np.triu_indices(n, k=1)
    pair = np.arange(len(rows))
    ends = (np.ones(2 * len(rows)), (np.concatenate([rows, columns]), np.concatenate([pair, pair])))
    touches = sparse.csr_array(ends, shape=(n, len(rows)))

    def weigh(values: NDArray[np.float64]) -> NDArray[np.float64]:
        total = values.sum(axis=1)
        return np.vstack([total, total - touches @ values.T])

    return weigh


def drawn(counts: NDArray[np.float64]) -> _Weigh:
    """All images, then as often as each was drawn."""
    weights = np.vstack([np.ones(counts.shape[1]), counts])
    rows, columns = np.triu_indices(counts.shape[1], k=1)
    size = max(1, 4 * _CHUNK // len(weights))
    parts = [slice(i, min(i + size, len(rows))) for i in range(0, len(rows), size)]

    def pair_weights(part: slice) -> NDArray[np.float64]:
        return weights[:, rows[part]] * weights[:, columns[part]]

    kept = pair_weights(parts[0]) if len(parts) == 1 else None

    def weigh(values: NDArray[np.float64]) -> NDArray[np.float64]:
        found = np.zeros((len(weights), len(values)))
        for part in parts:
            found += (pair_weights(part) if kept is None else kept) @ values[:, part].T
        return found

    return weigh


def resample(
    source: Any,
    order: NDArray[np.intp],
    steps: NDArray[np.intp],
    metric: str,
    rdm: NDArray[np.float64] | None,
    weigh: _Weigh,
    *,
    whole: NDArray[np.float64] | None = None,
    progress: bool = False,
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Correlate the first k features, and all of them, with each RDM under each weighting of the images.

    Parameters
    ----------
    source, order, steps, metric
        The embedding, the insertion order, the numbers k and the metric, checked.
    rdm
        Dissimilarities, ``(n_pairs,)`` or ``(n_rdms, n_pairs)``; None for the embedding's own geometry.
    weigh
        :func:`without_each` or :func:`drawn`.
    whole
        :func:`less_one` of all features, where it is known.

    Returns
    -------
    r, r_all, defined
        ``(n_rdms, 1 + n_draws, n_steps)`` both, all images first; and ``(n_steps, n_images)``, which
        images have a defined similarity.
    """
    n = source.shape[0]
    rows, columns = np.triu_indices(n, k=1)
    if len(steps) <= _FEW:  # each by itself
        features = blocks.read(source, slice(0, n))
        whole = less_one(features, metric=metric)[0] if whole is None else whole
        each = [less_one(features[:, order[:k]], metric=metric) for k in steps]
        defined = np.stack([inside for _, inside in each])
    else:
        given = pairs.prefixes(source, order, steps, metric=metric)
        if whole is None:
            whole = given.tile(slice(0, n), slice(0, n))[rows, columns]
            whole[(given.full[rows] == 0) | (given.full[columns] == 0)] = 0
        defined = given.scale > 0
    references = [whole] if rdm is None else [standardised(h) for h in np.atleast_2d(rdm)]
    known = [np.isfinite(h) for h in references]
    gaps = not all(u.all() for u in known)

    # The reference, and all features, over the images that are defined at k: few different sets.
    n_images = defined.sum(axis=1)
    sizes, which = np.unique(n_images, return_inverse=True)
    fixed = []  # for each reference: count, Σ h, Σ h², each (n_sizes, 1 + n_draws)
    r_all = []
    for h, u in zip(references, known, strict=True):
        sums = []
        for size in sizes:
            inside = defined[np.argmax(n_images == size)]
            use = (inside[rows] & inside[columns] & u).astype(np.float64)
            b, a = np.where(u, h, 0) * use, whole * use
            sums.append(weigh(np.stack([use, b, b * b, a, a * a, a * b])).T)
        count, sum_b, sum_bb, sum_a, sum_aa, sum_ab = np.stack(sums, axis=1)
        fixed.append((count, sum_b, sum_bb))
        r_all.append(_correlation(PairSums(count, sum_a, sum_aa, sum_b, sum_bb, sum_ab))[which].T)
    all_r = np.stack(r_all) if rdm is not None else _ones(np.stack(r_all))

    r = np.empty((len(references), all_r.shape[1], len(steps)))
    running = np.zeros(len(whole))  # the state between steps
    size = max(1, min(512, _CHUNK // len(whole)))
    starts = range(0, len(steps), size)
    for start in tqdm(starts, desc="resampled curves", disable=not progress, leave=False):
        part = slice(start, min(start + size, len(steps)))
        if len(steps) <= _FEW:
            values = np.stack([similar for similar, _ in each[part]])
        else:
            values = pairs.similarities(given, part, running)
        squares = values * values
        if not gaps:
            a, aa = weigh(values).T, weigh(squares).T
        for m, (h, u) in enumerate(zip(references, known, strict=True)):
            if gaps:
                a, aa = weigh(values * u).T, weigh(squares * u).T
            ab = weigh(values * np.where(u, h, 0)).T
            count, b, bb = (table[which[part]] for table in fixed[m])
            r[m][:, part] = _correlation(PairSums(count, a, aa, b, bb, ab)).T
    if steps[-1] == source.shape[1]:  # all features are all features, to the last digit
        all_r[..., -1] = r[..., -1]
    return r, all_r, defined


def less_one(features: NDArray[Any], *, metric: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Similarities of all pairs, less 1, ``(n_pairs,)``, and which images have one; 0 where undefined.

    Less 1, because where all images are alike the variation would drown in the similarities' size.
    """
    unit, defined = unit_vectors(features, metric=metric)  # type: ignore[arg-type]
    rows, columns = np.triu_indices(len(unit), k=1)
    return np.where(defined[rows] & defined[columns], (unit @ unit.T)[rows, columns] - 1, 0), defined


def _correlation(sums: PairSums) -> NDArray[np.float64]:
    """R of ``(n_steps, 1 + n_draws)`` sums, all images first.

    Sums without an image are what is left of those over all, and so are their last digits: similarities
    that do not vary any more are told by the size of all.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        size = (sums.aa / sums.pairs)[:, :1]
    return correlation(sums, floor=ROUNDING * np.nan_to_num(size))


def jackknife_over_images(
    source: Any, order: NDArray[np.intp], steps: NDArray[np.intp], metric: str
) -> Curves:
    """A geometry curve without each image, from sums over images: linear in their number."""
    n = source.shape[0]
    draws, r = np.full((n, len(steps)), np.nan), np.full(len(steps), np.nan)
    images = np.zeros(len(steps), dtype=np.intp)
    for group in grams.groups(steps, source.shape[1]):
        total = Grams(steps[group], metric)
        grams.over_blocks(total, source, order)
        sums = total.sums()
        r[group], images[group] = correlation(sums, least=LEAST["double"]), total.images

        def some(
            parts: Iterable[slice], total: Grams = total, whole: PairSums = sums, at: slice = group
        ) -> None:
            for rows in parts:
                own, inside = total.of_each(blocks.read(source, rows)[:, order])
                # A pair leaves the ordered sums twice, with either image first.
                names = PairSums.__dataclass_fields__
                left = PairSums(*(getattr(whole, name) - 2 * getattr(own, name) for name in names))
                draws[rows, at] = np.where(inside, correlation(left, least=LEAST["double"]), np.nan)

        blocks.spread(some, blocks.spans(source, elements=grams.BLOCK))
    return r, _ones(r), draws, _ones(draws), images


def bootstrap_over_images(
    source: Any,
    order: NDArray[np.intp],
    steps: NDArray[np.intp],
    metric: str,
    counts: NDArray[np.float64],
    *,
    progress: bool = False,
) -> Curves:
    """A geometry curve on each sample of images, from sums over images."""
    groups = grams.groups(steps, source.shape[1])

    def curve(weights: NDArray[np.float64] | None) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
        own = [Grams(steps[group], metric) for group in groups]
        for part in own:
            grams.over_blocks(part, source, order, weights=weights)
        return tuple(  # type: ignore[return-value]
            np.concatenate(each)
            for each in zip(
                *((correlation(g.sums(), least=LEAST["double"]), g.images) for g in own), strict=True
            )
        )

    r, images = curve(None)
    bar = tqdm(counts, desc="resampled curves", disable=not progress, leave=False)
    draws = np.stack([curve(weights)[0] for weights in bar])
    return r, _ones(r), draws, _ones(draws), images


def jackknife_variance(draws: NDArray[np.float64], *, n: Any = None) -> NDArray[np.float64]:
    """Variance of an estimate from what it is without each of `n` units in turn, along the first axis.

    (n − 1)/n times the sum of squares around their mean. NaN where a unit lacks its replicate, for that one
    may matter most, and for fewer than three units.

    Parameters
    ----------
    draws
        ``(n_units, …)``; NaN for what is no unit.
    n
        How many units there are, a number or ``(…,)``; by default all of `draws`.
    """
    known = np.isfinite(draws)
    units = np.asarray(len(draws) if n is None else n)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.where(known, draws, 0).sum(axis=0) / units
        spread = (np.where(known, draws - mean, 0) ** 2).sum(axis=0)
        variance = (units - 1) / units * spread
    return np.where((known.sum(axis=0) == units) & (units > 2), variance, np.nan)


def _ones(r: NDArray[np.float64]) -> NDArray[np.float64]:
    """The correlation of a geometry with itself, where it is defined."""
    return np.where(np.isfinite(r), 1.0, np.nan)


def draw(n: int, times: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """How often each of n units was drawn, `times` times: ``(times, n)``."""
    if not isinstance(times, (int, np.integer)) or times < 2:
        raise InputError(f"n_boot must be at least 2, a whole number; got {times}.")
    check_rng(rng)
    return rng.multinomial(n, np.full(n, 1 / n), size=times).astype(np.float64)
