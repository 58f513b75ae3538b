"""Nested RSA curves: how much of a geometry the first k features of an order carry, for every k.

Both kinds are exact and neither makes a matrix of images by images. Against the full embedding
(:func:`geometry_curve`), sums over pairs are norms of sums over images (:mod:`rarefire._engine.grams`): time
linear in the number of images, from memory, disk, a GPU or, with :mod:`rarefire.cluster`, many
machines. Against an RDM, such as people's (:func:`rdm_curve`), sums over pairs run along with the
features (:mod:`rarefire._engine.pairs`): all prefixes in one pass.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rarefire._engine import blocks
from rarefire._engine.arguments import checked
from rarefire._engine.grams import (
    LEAST,
    MEMORY,
    ROUNDING,
    Grams,
    PairSums,
    correlation,
    groups,
    over_blocks,
    residuals,
    unit_scale,
)
from rarefire.errors import InputError
from rarefire.rdm import Metric, check_rdm, class_means, judged_images, standardised

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "ENOUGH",
    "Curve",
    "check_order",
    "check_steps",
    "class_curve",
    "count",
    "enough",
    "geometry_curve",
    "rdm_curve",
    "silenced_curve",
]


#: A curve is shown, and its best k sought, where at least this share of the images has a similarity.
ENOUGH = 0.5
_MOST_PAIRED = 20_000  # images whose pairs are gone through where sums over images lose too many digits


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

    def table(self) -> pd.DataFrame:
        """A row for each k: ``k``, ``fraction``, ``r``, ``r2``, ``n_images``."""
        import pandas as pd  # not needed for the numbers alone

        columns = ("k", "fraction", "r", "r2", "n_images")
        return pd.DataFrame({name: getattr(self, name) for name in columns})

    def at(self, fraction: float) -> float:
        """R² at the number of features nearest to `fraction` of all of them."""
        wanted = round(fraction * self.n_features)
        found = np.flatnonzero(self.k == wanted)
        if not len(found):
            raise InputError(f"the curve has no value at {wanted} of {self.n_features} features.")
        return float(self.r2[found[0]])


@checked
def geometry_curve(
    embedding: Any,
    order: ArrayLike,
    *,
    metric: Metric = "correlation",
    k: Sequence[int] | None = None,
    reference: Any = None,
    precision: Literal["double", "single"] = "double",
    progress: bool = False,
) -> Curve:
    """How much of a geometry of many images the first k features carry; by default, of their own.

    Parameters
    ----------
    embedding
        ``(n_images, n_features)``: an array, a torch tensor (computed where it lies), or rows on disk
        (``numpy.memmap``, zarr), which are read in blocks, as often as the memory for the sums
        requires (once for 20 values of k among 512 features).
    order
        ``(n_features,)``, a permutation of the features, e.g. from :func:`rarefire.poz.order`.
    metric
        ``"correlation"`` or ``"cosine"``.
    k
        Numbers of features to evaluate; by default every one from 1 to all.
    reference
        ``(n_images, n_reference)``, another embedding of the same images, whose geometry is the
        reference; by default `embedding` itself, with all its features.
    precision
        ``"double"``: agrees with the RDMs made the long way to 1e-9 and mostly to 1e-14. ``"single"``:
        products in float32 and sums in float64, twice as fast; agrees to about 1e-5. Where images are
        so alike that digits would be lost, those k are computed again in a safer way (double
        precision; through the pairs, for up to 20,000 images), or are NaN.
    progress
        Show a progress bar.

    Returns
    -------
    Curve
        An image without a defined similarity at some k (its first k features are constant, or all
        0 for cosine) is left out there, of the reference too; below three images r is NaN.

    Raises
    ------
    InputError
        For fewer than three images, NaN or infinite features, an `order` that is no permutation, k out
        of range, a `reference` of other images, or sums that no memory would hold.

    Notes
    -----
    Time n·k·F for each k from sums over images (see :mod:`rarefire._engine.grams`) or n²·F for all k from
    sums over pairs, whichever is less. Truong et al. (2023), figures 1b and 1c.
    """
    if precision not in ("double", "single"):
        raise InputError(f"precision is 'double' or 'single'; got {precision!r}.")
    source = blocks.check_source(embedding, stay=True)
    other = None if reference is None else blocks.check_source(reference, stay=True)
    if other is not None and other.shape[0] != source.shape[0]:
        raise InputError(f"the reference has {other.shape[0]} images, the embedding {source.shape[0]}.")
    if other is not None and blocks.is_tensor(source) != blocks.is_tensor(other):
        raise InputError("the embedding and the reference must both be on the GPU, or neither.")
    n_features = source.shape[1]
    indices, steps = check_order(order, n_features), check_steps(k, n_features)
    width = n_features if other is None else other.shape[1]
    on_cpu = not blocks.is_tensor(source)
    if on_cpu and _few(source.shape, steps, width):
        sums, left = _over_pairs(source, indices, steps, other, metric, progress=progress)
        return Curve(steps, correlation(sums), left, n_features)
    r, left = np.full(len(steps), np.nan), np.zeros(len(steps), dtype=np.intp)
    for group in groups(steps, width):
        grams = Grams(steps[group], metric, own=other is None, precision=precision)
        over_blocks(grams, source, indices, other, progress=progress)
        r[group] = correlation(grams.sums(), least=LEAST[precision])
        left[group] = grams.images
    doubtful = np.isnan(r) & (left >= 3)
    again = steps[doubtful]
    if precision == "single" and len(again):
        options: dict[str, Any] = {"metric": metric, "reference": reference, "progress": progress}
        r[doubtful] = geometry_curve(embedding, order, k=again.tolist(), **options).r
    elif len(again) and on_cpu and source.shape[0] <= _MOST_PAIRED and _fits(source.shape, again, width):
        sums, _ = _over_pairs(source, indices, again, other, metric, progress=progress)
        r[doubtful] = correlation(sums)
    return Curve(steps, r, left, n_features)


@checked
def silenced_curve(embedding: ArrayLike, order: ArrayLike, *, k: Sequence[int] | None = None) -> Curve:
    """The Pearson curve with the features outside the first k silenced, set to 0, instead of removed.

    Silenced or removed, a feature adds nothing to the sums Σx, Σx² and Σxy of an image and a pair. They
    differ in one number, that of the features by which Σx is divided to centre: Σxy − ΣxΣy/F where
    features are silenced, Σxy − ΣxΣy/k where they are removed. So what this curve and
    :func:`geometry_curve` do not share is centring; a feature that never fires makes no difference
    here; and for the cosine the two are the same.

    Parameters
    ----------
    embedding, order, k
        As for :func:`geometry_curve`.

    Returns
    -------
    Curve
        An image whose first k features are all 0 is left out at that k.

    Raises
    ------
    InputError
        As for :func:`geometry_curve`.

    Notes
    -----
    Time n·F² for each k, or n²·F for all, whichever is less.
    """
    every = np.asarray(blocks.check_source(embedding))
    n_features = every.shape[1]
    indices, steps = check_order(order, n_features), check_steps(k, n_features)
    if _few(every.shape, np.full(len(steps), n_features), n_features):
        sums, left = _over_pairs(every, indices, steps, every, "correlation", silence=True)
        return Curve(steps, correlation(sums), left, n_features)
    kept = np.zeros_like(every)
    r, left, done = np.full(len(steps), np.nan), np.zeros(len(steps), dtype=np.intp), 0
    for i, step in enumerate(steps):
        kept[:, indices[done:step]] = every[:, indices[done:step]]
        done = step
        whole = geometry_curve(kept, indices, k=[n_features], reference=every)
        r[i], left[i] = whole.r[0], whole.n_images[0]
    return Curve(steps, r, left, n_features)


@checked
def rdm_curve(
    embedding: ArrayLike,
    rdm: ArrayLike,
    order: ArrayLike,
    *,
    metric: Metric = "correlation",
    k: Sequence[int] | None = None,
    progress: bool = False,
) -> Curve:
    """How well the first k features predict an RDM, such as people's: all k in one pass.

    Parameters
    ----------
    embedding
        ``(n_images, n_features)``.
    rdm
        Dissimilarities of the same images, condensed ``(n(n-1)/2,)`` or square ``(n, n)``. Pairs that
        are NaN are left out.
    order, metric, k, progress
        As for :func:`geometry_curve`.

    Returns
    -------
    Curve
        r is positive where the embedding's dissimilarities rise with those given.

    Raises
    ------
    InputError
        As above, and for an `rdm` that is not square, not symmetric, not of these images, or constant.

    Notes
    -----
    Time n²·F, memory n·F. Truong et al. (2023), figure 1d.
    """
    source = blocks.check_source(embedding)
    n, n_features = source.shape
    dissimilarity = check_rdm(rdm, n)
    indices, steps = check_order(order, n_features), check_steps(k, n_features)
    similarity = standardised(dissimilarity)
    sums, left = _over_pairs(source, indices, steps, similarity, metric, progress=progress)
    return Curve(steps, correlation(sums), left, n_features)


@checked
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
    indices, steps = check_order(order, n_features), check_steps(k, n_features)
    if len(means) < 3:
        raise InputError(f"a curve between class means needs at least three classes; got {len(means)}.")
    h = residuals(means[:, indices], metric=metric)
    scale = unit_scale(h, np.append(steps, n_features))
    scale *= scale[:, -1:] > 0  # a class without a defined reference is left out
    first, second = np.triu_indices(len(means), k=1)
    known = (scale[first] > 0) & (scale[second] > 0)  # (n_pairs, n_steps + 1)
    dots = np.cumsum(h[first] * h[second], axis=1)[:, np.append(steps, n_features) - 1]
    values = dots * scale[first] * scale[second]
    if squared:
        values = values**2
    left = np.count_nonzero(scale[:, :-1] > 0, axis=0)
    r = np.where(left >= 3, _over_known(values[:, :-1], values[:, -1:], known[:, :-1]), np.nan)
    return Curve(steps, r, left, n_features)


def _few(shape: tuple[int, int], steps: NDArray[np.intp], width: int) -> bool:
    """Whether going through all pairs is less work than summing over images, and fits into memory.

    Nanoseconds on two cores: a multiplication and addition inside a product of matrices takes 0.02, what
    is done to each number before that 1.5, a running sum over pairs 0.15, and a pair's contribution to a
    step 0.08 more.
    """
    n = shape[0]
    grams = n * float(np.sum(steps)) * (0.02 * width + 1.5)
    pairs = n * (n - 1) / 2 * (0.15 * float(steps[-1]) + 0.08 * len(steps))
    return pairs < grams and _fits(shape, steps, width)


def _fits(shape: tuple[int, int], steps: NDArray[np.intp], width: int) -> bool:
    """Whether what running sums over pairs need fits into memory."""
    return shape[0] * (shape[1] + width + len(steps)) <= MEMORY


def _over_pairs(
    source: Any,
    order: NDArray[np.intp],
    steps: NDArray[np.intp],
    reference: Any,
    metric: str,
    *,
    silence: bool = False,
    progress: bool = False,
) -> tuple[PairSums, NDArray[np.intp]]:
    """The same sums over pairs; the reference is an embedding (2-d), similarities (1-d), or its own.

    `silence`, with an embedding as reference: the features after the first k are 0, not gone.
    """
    from rarefire._engine import pairs

    tile: Callable[[slice, slice], NDArray[np.float64]]
    if isinstance(reference, np.ndarray) and reference.ndim == 1:
        judged = judged_images(reference)
        given = pairs.prefixes(source, order, steps, metric=metric, keep=judged)
        tile = functools.partial(_condensed_tile, reference, source.shape[0])
    elif reference is None:
        given = pairs.prefixes(source, order, steps, metric=metric)
        tile = given.tile
    else:
        every = np.arange(reference.shape[1])
        whole = pairs.prefixes(reference, every, every[-1:] + 1, metric=metric)
        given = pairs.prefixes(source, order, steps, metric=metric, keep=whole.full > 0, silence=silence)
        tile = whole.tile
    return pairs.pair_sums(given, tile, progress=progress), given.n_images


def _condensed_tile(values: NDArray[np.float64], n: int, rows: slice, columns: slice) -> NDArray[np.float64]:
    """A tile of the square matrix whose upper triangle `values` is; the rest of it is 0."""
    i = np.arange(rows.start, min(rows.stop, n))[:, None]
    j = np.arange(columns.start, min(columns.stop, n))
    index = i * n - i * (i + 1) // 2 + j - i - 1
    return np.where(j > i, values[np.where(j > i, index, 0)], 0.0)


def _over_known(
    a: NDArray[np.float64], b: NDArray[np.float64], known: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Pearson r of the columns of `a` with those of `b`, over known rows; NaN without variation."""

    def centred(values: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        apart = np.where(known, values - mean(values), 0)
        return apart, mean(apart**2) > ROUNDING * mean(values**2)

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.where(known, values, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1))

    (x, varies), (y, also) = centred(a), centred(b)
    r = mean(x * y) / np.sqrt(np.where(varies & also, mean(x**2) * mean(y**2), np.nan))
    return np.asarray(np.clip(r, -1, 1))


@checked
def enough(n_images: ArrayLike, of: ArrayLike, *, least: float = ENOUGH) -> NDArray[np.bool_]:
    """Where so many images have a defined similarity that r says something about all of them.

    The r of the three images for which a rare feature happens to fire says nothing about the set.

    Parameters
    ----------
    n_images, of
        How many have one, and how many there are; of shapes that go together.
    least
        The share of them, in [0, 1].
    """
    return np.asarray(np.asarray(n_images) >= least * np.asarray(of))


@checked
def count(share: float, n_features: int) -> int:
    """How many features a share of them is; at least one."""
    return max(1, round(share * n_features))


@checked
def check_order(order: ArrayLike, n_features: int) -> NDArray[np.intp]:
    """`order` as a permutation of the features."""
    indices = np.asarray(order)
    if indices.shape != (n_features,) or not np.array_equal(np.sort(indices), np.arange(n_features)):
        raise InputError(
            f"order must hold each of the {n_features} feature indices once; got shape {indices.shape}."
        )
    return indices.astype(np.intp)


@checked
def check_steps(k: Sequence[int] | None, n_features: int) -> NDArray[np.intp]:
    """`k` as rising numbers of features without repeats; all of them for None."""
    if k is None:
        return np.arange(1, n_features + 1)
    steps = np.unique(np.asarray(k))
    if not len(steps) or steps.dtype.kind not in "iu" or steps[0] < 1 or steps[-1] > n_features:
        raise InputError(
            f"k must lie between 1 and {n_features}, in whole numbers; got {np.ravel(k)[:10].tolist()}."
        )
    return steps.astype(np.intp)
