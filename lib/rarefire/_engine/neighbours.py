"""Distances to the nearest neighbours, exact, from matrix products that are not.

With the points' mean taken off, ‖x − y‖² = ‖x‖² + ‖y‖² − 2 x·y is one product of matrices for all pairs. It
is also wrong by up to as much as rounding leaves of ‖x‖² + ‖y‖², which is more than all of it between points
that nearly coincide: ratios of distances come out as anything, or as NaN. So products give only a *lower
bound* for each pair, less than the true value by a proven amount, and say which points may be the nearest;
their distances are then sums of squared differences in double precision. Where the k-th of these is no
more than the lower bound of every pair that was left aside, it is certain. Points for which it is not are
gone through again with products in double precision, from the smallest bound on, for as long as it takes.

The error, with u the unit of rounding of the products: features less the mean are rounded once or twice, a
product over at most :data:`_SLAB` features is wrong by at most γ = s·u/(1 − s·u) of ‖x‖·‖y‖ in whatever order
it is summed (Higham 2002, section 3.1), and slabs and squared norms are summed in double precision, with v
and t slabs. In all the share of ‖x‖² + ‖y‖² is less than 1.01·((s + 20)·u + (s + 4 t)·v), and products that
underflow add less than eight times the features times the smallest normal number.

References
----------
Higham, N. J. (2002). *Accuracy and stability of numerical algorithms* (2nd ed.). SIAM.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from rarefire._engine import blocks
from rarefire.errors import InputError

__all__ = ["distances"]

_ROWS = 1024  # points of a block of pairs
_FEWEST = 64  # of one that is small so that each thread has one: many small products do not pay for BLAS's
_SLAB = 2048  # features of a product: fewer make sharper bounds
_SPARE = 4  # points more than are asked for that are looked at closely
_COPIED = 2**28  # numbers of a copy in single precision, at most
_FLOATS = 2**22  # numbers in memory for points that are gone through again

_Floats = NDArray[np.float64]
_Indices = NDArray[np.intp]


def distances(source: Any, k: int, *, progress: bool = False) -> _Floats:
    """Euclidean distance of every point to its nearest others.

    Parameters
    ----------
    source
        ``(n_points, n_features)``, from :func:`rarefire._engine.blocks.check_source`. What is neither an
        array nor mapped from a ``.npy`` file is read into memory.
    k
        How many, fewer than points.
    progress
        Show a progress bar.

    Returns
    -------
    ndarray
        ``(n_points, k)``, rising. A point is not its own neighbour; another one that equals it is, at
        exactly 0.

    Raises
    ------
    InputError
        For NaN or infinite features, and those that double precision cannot subtract.
    """
    points = _Points(source)
    n = len(points)
    squares, bound = _from_products(points, k, progress)
    unsure = np.flatnonzero((squares[:, -1] > bound) & (squares[:, -1] > 0))
    size = max(1, _FLOATS // n)
    parts = [unsure[i : i + size] for i in range(0, len(unsure), size)]

    norms = points.norms(np.float64) if len(unsure) else None

    def again(some: Iterable[_Indices]) -> None:
        for rows in some:
            squares[rows] = _until_certain(points, rows, squares[rows], norms)

    blocks.spread(again, parts, progress=progress, title="neighbours, again")
    return np.asarray(np.sqrt(squares) / points.scale)


class _Points:
    """Points less their mean and scaled to a largest entry of about 1, by a power of two."""

    def __init__(self, source: Any) -> None:
        # Some rows of an array are not copied: it may be large.
        self.rows = source.rows if isinstance(source, blocks.Rows) else None
        self.source = blocks.loaded(source if self.rows is None else source.source)
        self.shape = source.shape
        total, low, high = 0.0, np.inf, -np.inf
        with np.errstate(over="ignore"):
            for rows in blocks.spans(source, elements=2**22):
                block = blocks.read(source, rows)
                total = total + block.sum(axis=0, dtype=np.float64)
                low, high = np.minimum(low, block.min(axis=0)), np.maximum(high, block.max(axis=0))
            width = float(np.subtract(high, low, dtype=np.float64).max())
            centre = np.clip(np.asarray(total) / len(self), low, high)
        if not np.isfinite(width):
            raise InputError("the points are too far apart for double precision. Scale them down.")
        # In single precision the mean of features in single precision is taken off in one rounding.
        narrow = self.source.dtype in (np.float16, np.float32)
        self.centre = centre.astype(np.float32) if narrow else centre.astype(np.float64)
        self.scale = 2.0 ** -np.clip(np.frexp(width)[1], -1000, 1000) if width else 1.0
        self._single: NDArray[np.float32] | None = None
        if len(self) * self.shape[1] <= _COPIED:
            single = np.empty(self.shape, dtype=np.float32)
            for rows in blocks.spans(source, elements=2**22):
                single[rows] = self.slab(rows, slice(None), np.float32)
            self._single = single

    def __len__(self) -> int:
        return int(self.shape[0])

    def some(self, rows: slice | _Indices, features: slice = slice(None)) -> NDArray[Any]:
        """Some features of some points, as they are; or of points in an order of more axes."""
        return np.asarray(self.source[rows if self.rows is None else self.rows[rows], features])

    def slab(self, rows: slice | _Indices, features: slice, dtype: type[np.floating[Any]]) -> NDArray[Any]:
        """``(n, s)``: some features of some points."""
        if dtype is np.float32 and self._single is not None:
            return self._single[rows, features]
        given = self.some(rows, features)
        single = dtype is np.float32 and self.centre.dtype == np.float32
        exact = np.float32 if single else np.float64
        less = np.subtract(given, self.centre[features], dtype=exact)
        less *= exact(self.scale)
        found: NDArray[Any] = less.astype(dtype, copy=False)
        return found

    def norms(self, dtype: type[np.floating[Any]]) -> _Floats:
        """``(n_points,)``: squared."""
        found = np.empty(len(self))
        for start in range(0, len(self), _ROWS):
            rows = slice(start, min(start + _ROWS, len(self)))
            slabs = (self.slab(rows, part, dtype).astype(np.float64, copy=False) for part in self._slabs())
            found[rows] = sum(np.einsum("ij,ij->i", slab, slab) for slab in slabs)
        return found

    def products(
        self, rows: slice | _Indices, columns: slice | _Indices, dtype: type[np.floating[Any]]
    ) -> NDArray[Any]:
        """``(n, m)``: of some points with others."""
        slabs = self._slabs()
        each = (self.slab(rows, part, dtype) @ self.slab(columns, part, dtype).T for part in slabs)
        first = next(each)
        found: NDArray[Any] = first if len(slabs) == 1 else first.astype(np.float64)
        for product in each:
            found += product
        return found

    def _slabs(self) -> list[slice]:
        width = self.shape[1]
        return [slice(i, min(i + _SLAB, width)) for i in range(0, width, _SLAB)]

    def slack(self, dtype: type[np.floating[Any]]) -> tuple[float, float]:
        """Share of ‖x‖² + ‖y‖², and amount, by which a lower bound is less than what products say."""
        of, wide = np.finfo(dtype), np.finfo(np.float64)
        width = self.shape[1]
        slab, slabs = min(width, _SLAB), len(self._slabs())
        share = (slab + 20) * float(of.eps) / 2 + (slab + 4 * slabs) * float(wide.eps) / 2
        return 1.01 * share, 8 * width * float(of.tiny)

    def squares(self, rows: _Indices, others: _Indices) -> _Floats:
        """``(n, m)``: squared distances of each of n points to m others, from differences."""
        found = np.empty(others.shape)
        if self.source.dtype in (np.float32, np.float64) and self.source.flags.c_contiguous:
            if self.rows is not None:
                rows, others = self.rows[rows], self.rows[others]
            _squares(np.asarray(self.source), rows, others, self.scale, found)
            return found
        size = max(1, 2**20 // (others.shape[1] * self.shape[1]))
        for start in range(0, len(rows), size):
            part = slice(start, start + size)
            every = np.concatenate([rows[part, None], others[part]], axis=1)
            place = np.arange(every.size).reshape(every.shape)
            given = self.some(every.ravel()).astype(np.float64)
            _squares(given, place[:, 0].copy(), place[:, 1:].copy(), self.scale, found[part])
        return found


@numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
def _squares(points, rows, others, scale, found):  # type: ignore[no-untyped-def]
    """Sums of squared differences in double precision, whatever the points are in."""
    for i in range(len(rows)):
        for j in range(others.shape[1]):
            a, b, total = points[rows[i]], points[others[i, j]], 0.0
            for f in range(points.shape[1]):
                away = scale * (np.float64(a[f]) - np.float64(b[f]))
                total += away * away
            found[i, j] = total


def _from_products(points: _Points, k: int, progress: bool) -> tuple[_Floats, _Floats]:
    """``(n, k)`` squared distances, and ``(n,)`` a lower bound for those of all points left aside."""
    n = len(points)
    kept = min(k + _SPARE, n - 1)
    size = min(_ROWS, max(_FEWEST, -(-n // blocks.threads())))
    spans = [slice(i, min(i + size, n)) for i in range(0, n, size)]
    pairs = [(a, b) for i, a in enumerate(spans) for b in spans[i:]]
    share, amount = points.slack(np.float32)
    norms = (1 - share) * points.norms(np.float32)

    def some(blocks_of_pairs: Iterable[tuple[slice, slice]]) -> tuple[_Floats, _Indices]:
        bounds, nearest = np.full((n, kept), np.inf), np.zeros((n, kept), dtype=np.intp)
        for a, b in blocks_of_pairs:
            products = points.products(a, b, np.float32)
            _gather(products, norms, amount, a.start, b.start, bounds, nearest)
        return bounds, nearest

    found = blocks.spread(some, pairs, progress=progress, title="neighbours")
    bounds, nearest = (np.concatenate(parts, axis=1) for parts in zip(*found, strict=True))
    if len(found) > 1:
        first = np.argpartition(bounds, kept - 1, axis=1)[:, :kept]
        bounds, nearest = (np.take_along_axis(each, first, axis=1) for each in (bounds, nearest))
    squares = np.empty((n, kept))

    def closely(some: Iterable[slice]) -> None:
        for rows in some:
            squares[rows] = points.squares(np.arange(rows.start, rows.stop), nearest[rows])

    blocks.spread(closely, spans)
    aside = bounds.max(axis=1) if kept < n - 1 else np.full(n, np.inf)
    return np.sort(squares, axis=1)[:, :k], aside


@numba.njit(nogil=True, cache=True)
def _gather(products, norms, amount, first, second, bounds, nearest):  # type: ignore[no-untyped-def]
    """Keep the smallest lower bounds of every point, in rising order, of pairs of two blocks of points."""
    last = bounds.shape[1] - 1
    rest = norms[second : second + products.shape[1]] - amount
    largest = bounds[second : second + products.shape[1], last].copy()
    for i in range(products.shape[0]):
        norm, limit = norms[first + i], bounds[first + i, last]
        for j in range(i + 1 if first == second else 0, products.shape[1]):
            bound = norm + rest[j] - 2 * products[i, j]
            if bound < limit:
                limit = _insert(bounds[first + i], nearest[first + i], bound, second + j)
                if first == second:
                    largest[i] = limit
            if bound < largest[j]:
                largest[j] = _insert(bounds[second + j], nearest[second + j], bound, first + i)


@numba.njit(nogil=True, cache=True)
def _insert(bounds, nearest, bound, other):  # type: ignore[no-untyped-def]
    """Put it where it belongs, and tell what is the largest now."""
    at = len(bounds) - 1
    while at and bounds[at - 1] > bound:
        bounds[at], nearest[at] = bounds[at - 1], nearest[at - 1]
        at -= 1
    bounds[at], nearest[at] = bound, other
    return bounds[-1]


def _until_certain(points: _Points, rows: _Indices, squares: _Floats, norms: Any) -> _Floats:
    """Squared distances of some points to their nearest, which no point left aside can be nearer than."""
    n, k = len(points), squares.shape[1]
    share, amount = points.slack(np.float64)
    bounds = np.empty((len(rows), n))
    for start in range(0, n, _ROWS):
        columns = slice(start, min(start + _ROWS, n))
        products = points.products(rows, columns, np.float64)
        bounds[:, columns] = (1 - share) * (norms[rows, None] + norms[columns]) - 2 * products - amount
    bounds[np.arange(len(rows)), rows] = np.inf
    found = np.empty_like(squares)
    for i in range(len(rows)):
        # Those found before may lie among the others: they say how far to look, and are not kept.
        maybe = np.flatnonzero(bounds[i] <= squares[i, -1])
        maybe = maybe[np.argsort(bounds[i, maybe])]
        best, done, size = np.full(k, np.inf), 0, k + _SPARE
        while done < len(maybe) and bounds[i, maybe[done]] < best[-1] and best[-1] > 0:
            part = maybe[done : done + size]
            best = np.sort(np.append(best, points.squares(rows[i : i + 1], part[None])))[:k]
            done, size = done + size, 2 * size
        found[i] = best
    return found
