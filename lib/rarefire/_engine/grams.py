"""Sums over all pairs of images, without the pairs: sufficient statistics of nested curves.

With z_i the unit vector of image i over the first k features, and w_i over the reference embedding,
sums over ordered pairs i ≠ j are norms of sums over images::

    Σ r    = ‖Σ_i z_i‖²  − n
    Σ r²   = ‖ZᵀZ‖_F²    − n
    Σ r r' = ‖ZᵀW‖_F²    − n

so what has to be kept of any number of images is Σ z, ZᵀZ and ZᵀW. These add up over blocks of
images (:meth:`Grams.add`): in memory, from disk, on a GPU, over the workers of a cluster.

Pearson and cosine are one case. The centred co-moment of two vectors' first k entries is a running
sum of products of their *residuals* (Helmert's transformation; Welford's update)::

    h_k = sqrt((k−1)/k) · (x_k − mean(x_1 … x_{k−1})),    Σ_{l≤k} h_l h'_l = Σ_{l≤k} (x_l − x̄)(x'_l − x̄')

so that a Pearson correlation of prefixes is a cosine of prefixes of the residuals.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rarefire._engine import blocks
from rarefire._engine.blocks import is_tensor
from rarefire.errors import InputError

__all__ = [
    "BLOCK",
    "LEAST",
    "MEMORY",
    "ROUNDING",
    "Grams",
    "PairSums",
    "correlation",
    "groups",
    "over_blocks",
    "residuals",
    "scaled_residuals",
    "unit_scale",
]

# A variance of similarities below this share of their mean square is rounding, not variation.
ROUNDING = 1e-13
_FLOOR = 1e-27  # the same for similarities in [−1, 1] that are all the same
#: The same for sums over images, where products of size 1 are added before their mean is taken off.
LEAST = {"double": 1e-6, "single": 1e-2}
MEMORY = 2**27  # numbers (1 GiB) that sums may take in all
BLOCK = 2**19  # numbers in one block of rows: it and what is made of it fit the processor's cache


@dataclass(frozen=True)
class PairSums:
    """Sums over pairs of images for each step of a curve; a: of the prefix, b: of the reference.

    Every field is ``(n_steps,)``, or has the steps as its last axis. `pairs` is their number (their
    total weight), over which the others are sums.
    """

    pairs: NDArray[np.float64]
    a: NDArray[np.float64]
    aa: NDArray[np.float64]
    b: NDArray[np.float64]
    bb: NDArray[np.float64]
    ab: NDArray[np.float64]


def correlation(
    sums: PairSums, *, least: float = ROUNDING, floor: float | NDArray[np.float64] = 0.0
) -> NDArray[np.float64]:
    """Pearson r between two lists of similarities, in [−1, 1]; NaN where one does not vary.

    `least` is the smallest variance, as a share of the mean square, that is not taken for rounding;
    `floor` the smallest of the first list, whatever its mean square.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        mean_a, mean_b = sums.a / sums.pairs, sums.b / sums.pairs
        square_a, square_b = sums.aa / sums.pairs, sums.bb / sums.pairs
        var_a, var_b = square_a - mean_a**2, square_b - mean_b**2
        varies = (var_a > np.maximum(np.maximum(least * square_a, floor), _FLOOR)) & (
            var_b > np.maximum(least * square_b, _FLOOR)
        )
        # Three pairs at least: two or one would always correlate perfectly.
        varies &= sums.pairs >= 3
        r = (sums.ab / sums.pairs - mean_a * mean_b) / np.sqrt(np.where(varies, var_a * var_b, np.nan))
    return np.clip(r, -1, 1)


def residuals(features: Any, *, metric: str) -> Any:
    """Rows whose prefixes' dot products are the co-moments (correlation) or dot products (cosine).

    Parameters
    ----------
    features
        ``(n_images, n_features)``, in insertion order; an array or a tensor. Not modified.
    metric
        ``"correlation"`` or ``"cosine"``.

    Returns
    -------
    array or tensor
        Of the same shape, float64, each row scaled to a largest entry near 1: 0 as long as the prefix
        has no defined similarity (constant features, or all 0 for cosine), exactly.
    """
    return scaled_residuals(features, metric=metric)[0]


def scaled_residuals(features: Any, *, metric: str) -> tuple[Any, Any]:
    """:func:`residuals`, and what each row was divided by, ``(n_images, 1)``."""
    if metric not in ("correlation", "cosine"):
        raise InputError(f"metric is one of correlation, cosine; got {metric!r}.")
    xp: Any = np
    if is_tensor(features):
        import torch

        xp, x = torch, features.double()
    else:
        x = np.asarray(features, dtype=np.float64)
    if metric == "correlation":
        # Shifted by the first feature: a constant prefix stays exactly 0.
        x = x - x[:, :1]
        count = _like(np.arange(1, x.shape[1], dtype=np.float64), x)
        before = xp.cumsum(x, 1)[:, :-1] / count
        x[:, 1:] -= before
        x[:, 1:] *= xp.sqrt(count / (count + 1))
    # Squares of tiny activations would vanish, those of huge ones overflow.
    largest = xp.amax(xp.abs(x), 1, keepdims=True)
    size = xp.where(largest > 0, largest, xp.ones_like(largest))
    return x / size, size


def unit_scale(rows: Any, steps: NDArray[np.intp]) -> Any:
    """``(n_images, n_steps)``: 1 / norm of the first k entries of each row; 0 where they are all 0."""
    squares = (rows * rows).cumsum(1)[:, steps - 1]
    squares[squares == 0] = np.inf
    return squares**-0.5


@dataclass
class Grams:
    """What is kept of the images seen so far, for each of some numbers of features.

    Attributes
    ----------
    steps
        ``(n_steps,)``, rising numbers of features k.
    metric
        ``"correlation"`` or ``"cosine"``.
    own
        Whether the reference is the full embedding itself: ZᵀW is then symmetric in its first k
        columns, which halves the work there.
    precision
        ``"double"``; or ``"single"``: products within a block in float32, their sums in float64.
    """

    steps: NDArray[np.intp]
    metric: str = "correlation"
    own: bool = True
    precision: str = "double"
    count: NDArray[np.float64] = field(init=False)
    squares: NDArray[np.float64] = field(init=False)
    images: NDArray[np.intp] = field(init=False)
    z: list[Any] = field(init=False)
    zz: list[Any] = field(init=False)
    zw: list[Any] = field(init=False)
    zw_rest: list[Any] = field(init=False)
    w: dict[int, Any] = field(init=False, default_factory=dict)
    ww: dict[int, Any] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        n = len(self.steps)
        self.count, self.squares = np.zeros(n), np.zeros(n)
        self.images = np.zeros(n, dtype=np.intp)
        self.z, self.zz, self.zw, self.zw_rest = ([0.0] * n for _ in range(4))

    @staticmethod
    def elements(k: int, n_reference: int) -> int:
        """Numbers kept for one step, at most (those of the reference only where images come in)."""
        return k * k + k * n_reference + n_reference**2

    def update(
        self, features: Any, reference: Any = None, *, weights: NDArray[np.float64] | None = None
    ) -> None:
        """Add a block of images.

        Parameters
        ----------
        features
            ``(n_images, n_features)`` in insertion order, an array or a tensor.
        reference
            ``(n_images, n_reference)`` of the same images, unless `own`.
        weights
            ``(n_images,)``, how often each image counts (of a bootstrap sample); once by default.
        """
        if weights is not None:  # an image that was not drawn costs nothing
            drawn = np.flatnonzero(weights)
            features, weights = features[drawn], weights[drawn]
            reference = None if reference is None else reference[drawn]
        if not len(features):
            return
        h = residuals(features, metric=self.metric)
        full = np.array([h.shape[1]])
        if self.own:
            scale = unit_scale(h, np.append(self.steps, full))
            scale, last, other = scale[:, :-1], scale[:, -1:], h
        else:
            scale = unit_scale(h, self.steps)
            other = residuals(reference, metric=self.metric)
            last = unit_scale(other, np.array([other.shape[1]]))
        scale *= last > 0  # an image without a defined reference is left out
        counts = np.ones(len(h)) if weights is None else np.asarray(weights, dtype=np.float64)
        root = _like(np.sqrt(counts), scale)
        other = _cast(other * (last * root[:, None]), self.precision)  # W, times the root of the weights
        born = _numpy(scale > 0)
        h = _cast(h, self.precision)
        for step, k in enumerate(self.steps):
            self._add_step(step, h[:, :k], other, scale[:, step], last[:, 0], root)
        self._add_reference(born, other, root)
        self.images += np.count_nonzero(born, axis=0)
        self.count += counts @ born
        self.squares += counts**2 @ born

    def _add_step(self, step: int, prefix: Any, other: Any, scale: Any, last: Any, root: Any) -> None:
        k = prefix.shape[1]
        z = prefix * _cast(scale * root, self.precision)[:, None]
        self.z[step] += _wide(z.T @ _cast(root, self.precision))
        self.zz[step] += _wide(z.T @ z)
        if not self.own:
            self.zw[step] += _wide(z.T @ other)
            return
        self.zw_rest[step] += _wide(z.T @ other[:, k:])
        # zᵀw over the first k features is hᵀ D h with a diagonal D: its root makes it symmetric.
        y = prefix * _cast((scale * last) ** 0.5 * root, self.precision)[:, None]
        self.zw[step] += _wide(y.T @ y)

    def _add_reference(self, born: NDArray[np.bool_], other: Any, root: Any) -> None:
        """Sums of the reference, kept under the step from which on an image is defined."""
        first = np.where(born.any(axis=1), born.argmax(axis=1), -1)
        narrow = _cast(root, self.precision)
        for step in np.unique(first[first >= 0]):
            new = first == step
            rows, weight = (other, narrow) if new.all() else (other[new], narrow[new])
            self.w[step] = self.w.get(step, 0.0) + _wide(rows.T @ weight)
            self.ww[step] = self.ww.get(step, 0.0) + _wide(rows.T @ rows)

    def of_each(self, features: Any) -> tuple[PairSums, NDArray[np.bool_]]:
        """What each image adds to the sums: all its pairs, ``(n_images, n_steps)``; `own` only.

        Parameters
        ----------
        features
            ``(n_images, n_features)``, images that have been added, once each.

        Returns
        -------
        sums, inside
            The sums over each image's pairs with the others, and whether it is defined at each step.
        """
        h = residuals(features, metric=self.metric)
        scale = unit_scale(h, np.append(self.steps, h.shape[1]))
        unit = h * scale[:, -1:]
        shape = (len(h), len(self.steps))
        a, aa, b, bb, ab = (np.zeros(shape) for _ in range(5))
        w: Any = np.zeros(h.shape[1])
        ww: Any = np.zeros((h.shape[1],) * 2)
        for step, k in enumerate(self.steps):
            z = h[:, :k] * scale[:, step : step + 1]
            a[:, step] = z @ self.z[step]
            aa[:, step] = _quadratic(z, self.zz[step], z)
            ab[:, step] = _quadratic(z, self.zw[step], unit[:, :k])
            ab[:, step] += _quadratic(z, self.zw_rest[step], unit[:, k:])
            if step in self.w:
                w, ww = w + self.w[step], ww + self.ww[step]
            if step and step not in self.w:
                b[:, step], bb[:, step] = b[:, step - 1], bb[:, step - 1]
            else:
                b[:, step], bb[:, step] = unit @ w, _quadratic(unit, ww, unit)
        inside = scale[:, :-1] > 0
        others = np.broadcast_to(self.count - 1, shape)
        return PairSums(others, a - 1, aa - 1, b - 1, bb - 1, ab - 1), inside

    def add(self, more: Grams) -> Grams:
        """Add what was kept of other images, and return self."""
        if self.metric != more.metric or self.own != more.own or not np.array_equal(self.steps, more.steps):
            raise InputError("these sums are of different curves.")
        for name in ("z", "zz", "zw", "zw_rest"):
            setattr(
                self, name, [a + b for a, b in zip(getattr(self, name), getattr(more, name), strict=True)]
            )
        for name in ("w", "ww"):
            mine = getattr(self, name)
            for step, value in getattr(more, name).items():
                mine[step] = mine.get(step, 0.0) + value
        for name in ("count", "squares", "images"):
            setattr(self, name, getattr(self, name) + getattr(more, name))
        return self

    def sums(self) -> PairSums:
        """Sums over ordered pairs of different images."""
        b, bb = np.zeros(len(self.steps)), np.zeros(len(self.steps))
        w: Any = 0.0
        ww: Any = 0.0
        for step in range(len(self.steps)):
            if step in self.w:
                w, ww = w + self.w[step], ww + self.ww[step]
            elif step:
                b[step], bb[step] = b[step - 1], bb[step - 1]
                continue
            b[step], bb[step] = _norm2(w), _norm2(ww)
        a, aa = (np.array([_norm2(v) for v in values]) for values in (self.z, self.zz))
        ab = np.array([_norm2(v) for v in self.zw])
        if self.own:
            ab += [_norm2(v) for v in self.zw_rest]
        own = self.squares
        return PairSums(self.count**2 - own, a - own, aa - own, b - own, bb - own, ab - own)


def groups(steps: NDArray[np.intp], width: int) -> list[slice]:
    """Cut `steps` into groups whose sums fit into memory, in every thread: one pass over the rows for each.

    `width` is the number of the reference's features.
    """
    budget = MEMORY / blocks.threads()
    found, start, used = [], 0, 0
    for i, k in enumerate(steps):
        need = Grams.elements(int(k), width)
        if need > MEMORY:
            raise InputError(
                f"sums over {k} × {width} features would take {need * 8 / 2**30:.1f} GiB for each k. Ask for "
                "fewer features (k), or for fewer images, whose pairs can be gone through."
            )
        if used and used + need > budget:
            found.append(slice(start, i))
            start, used = i, 0
        used += need
    return [*found, slice(start, len(steps))]


def over_blocks(
    grams: Grams,
    source: Any,
    order: NDArray[np.intp],
    other: Any = None,
    *,
    weights: NDArray[np.float64] | None = None,
    progress: bool = False,
) -> None:
    """Add all images of `source` (anything :mod:`rarefire._engine.blocks` reads) to `grams`.

    `order`, ``(n_features,)``: the insertion order; `other`: the reference, where `grams` are not its
    own; `weights`, ``(n_images,)``: how often an image counts.
    """

    def some(spans: Iterable[slice]) -> Grams:
        own = Grams(grams.steps, grams.metric, own=grams.own, precision=grams.precision)
        for rows in spans:
            own.update(
                blocks.read(source, rows)[:, order],
                None if other is None else blocks.read(other, rows),
                weights=None if weights is None else weights[rows],
            )
        return own

    spans = blocks.spans(source, elements=BLOCK)
    for part in blocks.spread(some, spans, progress=progress, title="blocks of images"):
        grams.add(part)


def _quadratic(left: Any, matrix: Any, right: Any) -> Any:
    """For each row: left · matrix · right."""
    return ((left @ matrix) * right).sum(1)


def _norm2(value: Any) -> float:
    return float((value * value).sum()) if hasattr(value, "sum") else float(value) ** 2


def _cast(array: Any, precision: str) -> Any:
    if precision == "double":
        return array
    return array.float() if is_tensor(array) else array.astype(np.float32, copy=False)


def _wide(array: Any) -> Any:
    if is_tensor(array):
        return array.double()
    return array.astype(np.float64, copy=False)


def _numpy(array: Any) -> NDArray[Any]:
    return array.cpu().numpy() if is_tensor(array) else np.asarray(array)


def _like(array: NDArray[np.float64], other: Any) -> Any:
    if is_tensor(other):
        import torch

        return torch.from_numpy(array).to(other.device)
    return array
