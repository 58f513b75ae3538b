"""Running sums over pairs of images: every prefix of an embedding in one pass over the features.

For each pair a dot product grows by one product per feature; scaled by the norms so far it is the
similarity of the two images in the first k features. Time n²·F whatever the number of steps, against
n·k·(k + F) for each step in :mod:`rarefire._engine.grams`: better for few images with many features, and the
only way where the reference is an RDM. Pairs are visited in tiles, so no n×n array is made.

The loops are compiled by numba when they are first used, which takes some seconds, and kept on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from rarefire._engine import blocks
from rarefire._engine.grams import PairSums, scaled_residuals, unit_scale

__all__ = ["Prefixes", "pair_sums", "prefixes", "similarities"]

_ROWS, _COLUMNS = 16, 256  # of a tile: its running dot products stay in the processor's nearest cache

# Sums may be reordered, for vector instructions; NaN and infinity keep their meaning.
_compiled = numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})


@dataclass(frozen=True)
class Prefixes:
    """An embedding, ready for running sums.

    Attributes
    ----------
    values
        ``(n_features, n_images)``, residuals (:func:`rarefire._engine.grams.residuals`).
    scale
        ``(n_steps, n_images)``, 1 / norm of each prefix; 0 where it has no defined similarity.
    step_of
        ``(n_features,)``, the step that ends with this feature; −1 where none does.
    first
        ``(n_images,)``, the first step at which the image is defined; n_steps where at none.
    full
        ``(n_images,)``, 1 / norm over all features; 0 where undefined.
    apart
        ``(n_steps, n_images)``, one more entry of each image's vector that is another one at each step;
        or None.
    """

    values: NDArray[np.float64]
    scale: NDArray[np.float64]
    step_of: NDArray[np.intp]
    first: NDArray[np.intp]
    full: NDArray[np.float64]
    apart: NDArray[np.float64] | None = None

    @property
    def n_images(self) -> NDArray[np.intp]:
        """``(n_steps,)``, images with a defined similarity."""
        return np.asarray((self.scale > 0).sum(axis=1))

    def tile(self, rows: slice, columns: slice) -> NDArray[np.float64]:
        """Similarities over all features between some images and others, less 1."""
        left = self.values[:, rows] * self.full[rows]
        right = self.values[:, columns] * self.full[columns]
        return np.asarray(left.T @ right - 1)


def prefixes(
    source: Any,
    order: NDArray[np.intp],
    steps: NDArray[np.intp],
    *,
    metric: str,
    keep: NDArray[np.bool_] | None = None,
    silence: bool = False,
) -> Prefixes:
    """Prepare an embedding for running sums.

    Parameters
    ----------
    source
        ``(n_images, n_features)``, anything :mod:`rarefire._engine.blocks` reads.
    order, steps
        The features in insertion order, and the numbers k of them, rising.
    metric
        ``"correlation"`` or ``"cosine"``.
    keep
        ``(n_images,)``; images that are not kept count as undefined.
    silence
        Whether the features after the first k are there, and 0, rather than gone; for correlation.

    Notes
    -----
    The co-moment of two vectors x, x' of F entries, of which those after the first k are 0, is
    Σ x x' − ΣxΣx'/F = Σ h h' + ΣxΣx' (1/k − 1/F), with the residuals h of the first k: one more entry,
    Σx √(1/k − 1/F).
    """
    n, n_features = source.shape
    values, scale, full = np.empty((n_features, n)), np.empty((len(steps), n)), np.empty(n)
    apart = np.empty((len(steps), n)) if silence else None
    ends = np.append(steps, n_features)

    def some(spans: Iterable[slice]) -> None:
        for rows in spans:
            features = blocks.read(source, rows)[:, order]
            h, size = scaled_residuals(features, metric=metric)
            norms = unit_scale(h, ends).T
            values[:, rows], scale[:, rows], full[rows] = h.T, norms[:-1], norms[-1]
            if apart is not None:
                sums = np.cumsum(features, axis=1, dtype=np.float64)[:, steps - 1] / size
                apart[:, rows] = (sums * np.sqrt(1 / steps - 1 / n_features)).T
                squares = np.cumsum(h * h, axis=1)[:, steps - 1].T + apart[:, rows] ** 2
                scale[:, rows] = 1 / np.sqrt(np.where(squares > 0, squares, np.inf))

    blocks.spread(some, blocks.spans(source, elements=2**17))
    if keep is not None:
        scale[:, ~keep] = 0
    step_of = np.full(n_features, -1, dtype=np.intp)
    step_of[steps - 1] = np.arange(len(steps))
    return Prefixes(values, scale, step_of, (scale == 0).sum(axis=0), full, apart)


def pair_sums(
    given: Prefixes,
    reference: Callable[[slice, slice], NDArray[np.float64]],
    *,
    progress: bool = False,
) -> PairSums:
    """Sums over pairs of (similarity − 1) and a reference, for each step.

    Less one, because where all images are alike the variation would drown in the similarities' size.

    Parameters
    ----------
    given
        From :func:`prefixes`.
    reference
        Gives any tile of the reference: rows, columns -> array. NaN drops a pair.
    """
    n_steps, n = given.scale.shape
    values = given.values[: np.flatnonzero(given.step_of >= 0)[-1] + 1]  # what follows is not asked for
    prepared = values, given.scale, given.apart, given.step_of, given.first

    def some(tiles: Iterable[tuple[int, int]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        sums, born = np.zeros((n_steps, 3)), np.zeros((n_steps + 1, 3))
        for i, j in tiles:
            tile = np.ascontiguousarray(reference(slice(i, i + _ROWS), slice(j, j + _COLUMNS)))
            use = np.isfinite(tile)
            if use.all():
                _tile(*prepared, tile, None, i, j, sums, born)
            else:
                _tile(*prepared, np.where(use, tile, 0), use.astype(np.float64), i, j, sums, born)
        return sums, born

    tiles = [(i, j) for i in range(0, n, _ROWS) for j in range(i // _COLUMNS * _COLUMNS, n, _COLUMNS)]
    found = blocks.spread(some, tiles, progress=progress, title="pairs of images")
    sums = np.sum([s for s, _ in found], axis=0)
    born = np.cumsum(np.sum([b for _, b in found], axis=0)[:-1], axis=0)
    return PairSums(born[:, 0], sums[:, 0], sums[:, 1], born[:, 1], born[:, 2], sums[:, 2])


def similarities(given: Prefixes, steps: slice, running: NDArray[np.float64]) -> NDArray[np.float64]:
    """The similarities of all pairs, less 1, for few images.

    Parameters
    ----------
    given
        From :func:`prefixes`.
    steps
        Which steps. Call with consecutive ones.
    running
        ``(n(n-1)/2,)``, 0 before the first call; the state between calls.

    Returns
    -------
    ndarray
        ``(n_steps, n(n-1)/2)`` in the order of a condensed RDM; 0 where undefined.
    """
    ends = np.flatnonzero(given.step_of >= 0)
    begin = 0 if steps.start == 0 else int(ends[steps.start - 1]) + 1
    end = int(ends[steps.stop - 1]) + 1
    n = given.values.shape[1]
    values = np.empty((steps.stop - steps.start, len(running)))
    features = given.values[begin:end]
    step_of = np.where(given.step_of[begin:end] >= 0, given.step_of[begin:end] - steps.start, -1)
    scale = given.scale[steps]

    def some(rows: Iterable[int]) -> None:
        for i in rows:
            _row(features, scale, step_of, i, running, values)

    blocks.spread(some, range(n - 1))
    if given.apart is not None:
        rows, columns = np.triu_indices(n, k=1)
        more = given.apart[steps] * scale
        values += more[:, rows] * more[:, columns]
    return values


@_compiled
def _tile(values, scale, apart, step_of, first, reference, mask, row, column, sums, born):  # type: ignore[no-untyped-def]
    rows, columns = reference.shape
    for r in range(rows):
        for c in range(max(0, row + r + 1 - column), columns):
            step = max(first[row + r], first[column + c])
            weight = 1.0
            if mask is not None:
                weight = mask[r, c]
            born[step, 0] += weight
            born[step, 1] += reference[r, c]
            born[step, 2] += reference[r, c] ** 2
    dots = np.zeros((rows, columns))
    # Cut out beforehand, not indexed by sums: the innermost loops become vector instructions.
    for f in range(values.shape[0]):
        step = step_of[f]
        left, right = values[f, row : row + rows], values[f, column : column + columns]
        if step < 0:
            for r in range(rows):
                start = max(0, row + r + 1 - column)
                x, y, dot = left[r], right[start:], dots[r, start:]
                for c in range(len(dot)):
                    dot[c] += x * y[c]
            continue
        a, aa, ab = 0.0, 0.0, 0.0
        norms, others = scale[step, row : row + rows], scale[step, column : column + columns]
        for r in range(rows):
            start = max(0, row + r + 1 - column)
            x, norm = left[r], norms[r]
            itself = 1.0 if norm > 0 else 0.0
            y, other, given, dot = right[start:], others[start:], reference[r, start:], dots[r, start:]
            for c in range(len(dot)):
                dot[c] += x * y[c]
                product = dot[c]
                if apart is not None:
                    product += apart[step, row + r] * apart[step, column + start + c]
                similarity = product * norm * other[c] - (itself if other[c] > 0 else 0.0)
                if mask is not None:
                    similarity *= mask[r, start + c]
                a += similarity
                aa += similarity * similarity
                ab += similarity * given[c]
        sums[step, 0] += a
        sums[step, 1] += aa
        sums[step, 2] += ab


@_compiled
def _row(values, scale, step_of, i, running, out):  # type: ignore[no-untyped-def]
    n = values.shape[1]
    start = i * n - i * (i + 1) // 2  # of row i in a condensed RDM
    dots = running[start : start + n - i - 1]
    for f in range(values.shape[0]):
        x, y, step = values[f, i], values[f, i + 1 :], step_of[f]
        for j in range(len(dots)):
            dots[j] += x * y[j]
        if step >= 0:
            norm, others, found = scale[step, i], scale[step, i + 1 :], out[step, start : start + n - i - 1]
            itself = 1.0 if norm > 0 else 0.0
            for j in range(len(dots)):
                found[j] = dots[j] * norm * others[j] - (itself if others[j] > 0 else 0.0)
