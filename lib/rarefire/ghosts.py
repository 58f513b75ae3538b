"""Ghost features: what never fires for a category, and what it says.

After Truong et al. (2023), *Semantics of ghost features*.

A feature is **silent** for a category if it is exactly 0 for all of its images that were looked at. It is
a **ghost** of the category if it fires for some other image, and **dead** if it fires for none.

How many ghosts there are depends on how many images were looked at: :meth:`Ghosts.rarefaction` and
:meth:`Ghosts.chance` say how much. What they say is read from other images: principal components of the
ghosts' activations alone, and the images that score highest (:func:`components`).
"""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import linalg, sparse, special, stats

from rarefire import poz
from rarefire._engine import blocks
from rarefire._engine.arguments import checked
from rarefire._engine.grams import ROUNDING
from rarefire.errors import InputError, RarefireWarning
from rarefire.rounding import SAME, levels, upright

__all__ = [
    "MOST",
    "Chance",
    "Components",
    "FiringCounter",
    "Ghosts",
    "components",
    "explained_by",
    "find",
]

#: Images or features, whichever are fewer, that :func:`components` takes: their covariances are held.
MOST = 12_000  # 1.2 GB
_ELEMENTS = 2**22  # numbers in a block
_DENSE = 500  # up to this size all eigenvectors are computed


class Chance(NamedTuple):
    """How likely a ghost is to fire for the next image of its category.

    Attributes
    ----------
    rate
        Mean over the ghosts, estimated: each image is left out in turn; the share of the others' ghosts
        that fires for it (Good 1953, as leaving one out).
    high
        Upper confidence bound of that mean.
    every
        Upper bound that holds for all ghosts at once.
    level
        Of both bounds.
    """

    rate: float
    high: float
    every: float
    level: float


@dataclass(frozen=True, eq=False)
class Ghosts:
    """Which features are silent for a category.

    Attributes
    ----------
    fires, others
        ``(n_features,)``, for how many images of the category, and for how many other images, each fires.
    n_images, n_others
        How many images there are of each.
    alone
        ``(n_images,)``, how many features each image of the category makes fire that no other of them
        does: ghosts of the others, for they fire for some image outside.
    """

    fires: NDArray[np.int64]
    others: NDArray[np.int64]
    n_images: int
    n_others: int
    alone: NDArray[np.int64]

    @property
    def n_features(self) -> int:
        """Features in all."""
        return len(self.fires)

    @property
    def silent(self) -> NDArray[np.bool_]:
        """``(n_features,)``: 0 for every image of the category."""
        return np.asarray(self.fires == 0)

    @property
    def ghost(self) -> NDArray[np.bool_]:
        """``(n_features,)``: silent, but active for some other image."""
        return np.asarray(self.silent & (self.others > 0))

    @property
    def dead(self) -> NDArray[np.bool_]:
        """``(n_features,)``: 0 for every image."""
        return np.asarray(self.silent & (self.others == 0))

    @cached_property
    def features(self) -> NDArray[np.intp]:
        """Indices of the ghosts."""
        return np.flatnonzero(self.ghost)

    def rarefaction(self, m: ArrayLike | None = None) -> NDArray[np.float64]:
        """How many ghosts there are after looking at m images of the category, on average over which.

        Exact (Hurlbert 1971, for features): a feature that fires for a of n images is missed by m of them
        with probability C(n − a, m) / C(n, m).

        Parameters
        ----------
        m
            Numbers of images, from 0 to `n_images`; by default 1 … n.
        """
        n = self.n_images
        steps = np.arange(1, n + 1) if m is None else np.atleast_1d(np.asarray(m))
        whole = steps.ndim == 1 and steps.dtype.kind in "iu"
        if not whole or steps.min(initial=0) < 0 or steps.max(initial=0) > n:
            raise InputError(f"m are whole numbers from 0 to {n}, the images of the category; got {m!r}.")
        alive = self.fires + self.others > 0
        counts = np.bincount(self.fires[alive], minlength=n + 1)
        fired = np.flatnonzero(counts)
        found = np.zeros(len(steps))
        for i, looked in enumerate(steps):
            missed = fired[fired <= n - looked]
            log = special.gammaln(n - missed + 1) - special.gammaln(n - missed - looked + 1)
            log -= special.gammaln(n + 1) - special.gammaln(n - looked + 1)
            found[i] = counts[missed] @ np.exp(log)
        return found

    def chance(self, *, level: float = 0.95) -> Chance:
        """How likely a ghost is to fire for the next image of the category, if that is one of the same kind.

        NaN (and bounds of 1) for a single image: there is nothing to leave out.

        Parameters
        ----------
        level
            Of the upper bounds, in (0, 1).

        Notes
        -----
        `high` is Clopper and Pearson's bound with the sum of the images' shares for the number of
        successes. Shares vary less than yes and no do, so it is cautious: in simulations, and for held-out
        images of the book's networks, it failed far less often than the level allows. `every` follows from
        (1 − p)ⁿ, the chance that a feature which fires for a share p of the images is missed by n of them,
        divided among all features (Bonferroni): above it, none would be expected to pass for a ghost.
        """
        if not 0 < level < 1:
            raise InputError(f"level lies in (0, 1); got {level}.")
        n, ghosts = self.n_images, len(self.features)
        if n < 2 or not ghosts:
            return Chance(np.nan, 1.0, 1.0, level)
        shares = self.alone / (ghosts + self.alone)
        total = float(shares.sum())
        high = float(stats.beta.ppf(level, total + 1, n - total))  # total < n: no share is 1
        every = 1 - ((1 - level) / self.n_features) ** (1 / n)
        return Chance(total / n, high, every, level)

    def table(self) -> pd.DataFrame:
        """The silent features: ``feature``, its index; ``kind``, ghost or dead; ``others`` it fires for."""
        features = np.flatnonzero(self.silent)
        kind = np.where(self.ghost[features], "ghost", "dead")
        return pd.DataFrame({"feature": features, "kind": kind, "others": self.others[features]})

    def __str__(self) -> str:
        ghosts, dead = len(self.features), int(self.dead.sum())
        said = f"{self.n_images:,} image{'s' * (self.n_images != 1)} of the category, "
        said += f"{self.n_others:,} other{'s' * (self.n_others != 1)}"
        counts = f"{ghosts:,} ghost{'s' * (ghosts != 1)}, {dead:,} dead, of {self.n_features:,} features"
        if not self.n_others:
            return (
                f"{said}: {dead:,} of {self.n_features:,} features are silent; without other images, ghosts "
                "cannot be told from dead features."
            )
        if not ghosts:
            why = "the silent ones are dead" if dead else "every feature fires for some image of it"
            return f"{said}: the category has no ghosts ({why}; {counts})."
        chance = self.chance()
        if np.isnan(chance.rate):
            return f"{said}: {counts}. One image says nothing about the next."
        return (
            f"{said}: {counts}. For the next image of the category {chance.rate:.1%} of the ghosts would "
            f"fire (estimate; at most {chance.high:.0%} at {chance.level:.0%}; no single one for more than "
            f"{chance.every:.0%} of such images)."
        )


@checked
def find(embedding: Any, category: ArrayLike, *, others: Any = None) -> Ghosts:
    """Find the features that never fire for a category.

    Parameters
    ----------
    embedding
        ``(n_images, n_features)``, post-ReLU; anything that :mod:`rarefire._engine.blocks` reads, once.
    category
        The images of the category: row numbers from 0, or a mask ``(n_images,)``. All the other rows count
        as others.
    others
        More images that are not of the category, ``(n, n_features)``.

    Raises
    ------
    InputError
        For rows that do not exist or come twice, for no rows, for activations that are not post-ReLU, and
        for `others` with another number of features.

    Warns
    -----
    RarefireWarning
        For a single image, which says next to nothing about its category.
    """
    source = blocks.check_source(embedding, least=1)
    counter = FiringCounter(category, source.shape[0])
    for rows in blocks.spans(source, elements=_ELEMENTS):
        counter.update(blocks.read(source, rows), rows)
    if others is not None:
        more = blocks.check_source(others, least=1)
        if more.shape[1] != source.shape[1]:
            raise InputError(f"others has {more.shape[1]:,} features, the embedding {source.shape[1]:,}.")
        for rows in blocks.spans(more, elements=_ELEMENTS):
            counter.update(blocks.read(more, rows))
    return counter.result()


class FiringCounter:
    """For how many images each feature fires, of a category and of the others, over batches in any order.

    Parameters
    ----------
    category, n_images
        As for :func:`find`: which of so many images are of the category.

    >>> counter = FiringCounter([0, 2], 3)
    >>> counter.update([[0.0, 1.0], [1.0, 1.0]], slice(0, 2))
    >>> counter.update([[0.0, 0.0]], slice(2, 3))
    >>> counter.result().features
    array([0])
    """

    def __init__(self, category: ArrayLike, n_images: int) -> None:
        self._inside = _mask(category, n_images)
        n = int(self._inside.sum())
        if n == 1:
            warnings.warn(
                "the category has one image: whatever is silent for it counts, and the next image may differ "
                "in most of these features. Look at more images.",
                RarefireWarning,
                stacklevel=4,
            )
        self._first, self._n_others = 0, n_images - n
        self._fires: Any = 0
        self._others: Any = 0
        self._places: Any = 0.0  # sums of the rows of the category's images for which a feature fires

    def part(self, rows: slice) -> FiringCounter:
        """One that counts these rows alone, for :meth:`add`; it has counted nothing."""
        new = copy.copy(self)
        new._inside, new._first = self._inside[rows], rows.start
        new._fires, new._others, new._places, new._n_others = 0, 0, 0.0, 0
        return new

    def update(self, batch: Any, rows: slice | None = None) -> None:
        """Count some rows of the embedding; or others, which are in none of its rows."""
        active = _array(poz.check_activations(_array(batch), dimensions=2)) > 0
        if rows is None:
            self._others = self._others + active.sum(axis=0)
            self._n_others += len(active)
            return
        inside = self._inside[rows.start - self._first : rows.stop - self._first]
        own = active[inside]
        self._fires = self._fires + own.sum(axis=0)
        self._places = self._places + (rows.start + np.flatnonzero(inside)).astype(np.float64) @ own
        self._others = self._others + active[~inside].sum(axis=0)

    def add(self, other: FiringCounter) -> None:
        """Count what another one has counted."""
        self._fires = self._fires + other._fires
        self._others = self._others + other._others
        self._places = self._places + other._places
        self._n_others += other._n_others

    def result(self) -> Ghosts:
        """What has been found so far."""
        fires, others = (np.asarray(counts, dtype=np.int64) for counts in (self._fires, self._others))
        rank = np.cumsum(self._inside) - 1  # of a row of the category among its rows
        once = self._places[(fires == 1) & (others > 0)].astype(np.int64)
        n = int(rank[-1]) + 1
        return Ghosts(fires, others, n, self._n_others, np.bincount(rank[once], minlength=n))


@dataclass(frozen=True, eq=False)
class Components:
    """Principal components of some features over a gallery of images.

    Attributes
    ----------
    scores
        ``(n_images, n_components)``. Their sign is the one in which the place where all these features are
        0, that of the category, lies below the gallery's mean: a high score is unlike the category. Where
        it lies at the mean, the score that is largest in size is positive.
    explained
        ``(n_components,)``, share of the variance of the features.
    features
        ``(n_features,)``, their indices.
    """

    scores: NDArray[np.float64]
    explained: NDArray[np.float64]
    features: NDArray[np.intp]

    def top(self, count: int = 8) -> NDArray[np.intp]:
        """``(n_components, count)``: the images that score highest, highest first, of equals the first."""
        if not isinstance(count, int | np.integer) or not 1 <= count <= len(self.scores):
            raise InputError(f"count is a whole number from 1 to the {len(self.scores)} images; got {count}.")
        falling = [np.argsort(levels(-scores), kind="stable")[:count] for scores in self.scores.T]
        return np.array(falling, dtype=np.intp).reshape(-1, count)


@checked
def components(gallery: Any, features: ArrayLike, *, n: int = 10) -> Components:
    """Principal components of the activations of some features alone (the paper's reading of ghosts).

    Exact: from the covariances of the features or, where these are more than the images, of the images.
    The gallery is read a block at a time, several times: memory does not grow with the images once these
    are more than the features.

    Parameters
    ----------
    gallery
        ``(n_images, n_features)``, anything that :mod:`rarefire._engine.blocks` reads.
    features
        Indices of the features, such as :attr:`Ghosts.features`.
    n
        Components wanted; fewer come back, or none, where the features do not vary in so many directions.

    Raises
    ------
    InputError
        For no features (a category without ghosts), for features that do not exist, for fewer than two
        images, and for more than 12,000 features and images both.
    """
    source = blocks.check_source(gallery, least=1)
    n_images = source.shape[0]
    chosen = _indices(features, source.shape[1])
    if not len(chosen):
        raise InputError(
            "there are no features to read: the category has no ghosts. Look at a wider layer, or at fewer "
            "images of it."
        )
    if not isinstance(n, int | np.integer) or n < 1 or n_images < 2:
        raise InputError(f"n is a whole number from 1, the gallery two images or more; got {n}, {n_images}.")
    if min(n_images, len(chosen)) > MOST:
        raise InputError(
            f"{len(chosen):,} features of {n_images:,} images: one of the two may be at most {MOST:,}. Take "
            "more images of the category (it then has fewer ghosts), or channels averaged over positions."
        )
    spans = blocks.spans(source, elements=_ELEMENTS)

    def read(rows: slice) -> NDArray[np.float64]:
        return np.asarray(_array(blocks.read(source, rows))[:, chosen], dtype=np.float64)

    mean = np.zeros(len(chosen))
    for rows in spans:
        mean += read(rows).sum(axis=0) / n_images
    by_images = n_images < len(chosen)
    size = n_images if by_images else len(chosen)
    covariance = np.zeros((size, size))
    for i, rows in enumerate(spans):
        block = read(rows) - mean
        if by_images:
            for other in spans[i:]:
                covariance[other, rows] = (block if other == rows else read(other) - mean) @ block.T
                covariance[rows, other] = covariance[other, rows].T
        else:
            covariance += block.T @ block
    values, vectors = _largest(covariance, n)
    total = float(np.trace(covariance))
    if total <= ROUNDING * n_images * float(mean @ mean):  # nothing varies
        values, vectors = values[:0], vectors[:, :0]
    origin = np.zeros((1, len(values)))
    if by_images:
        scores = vectors * np.sqrt(values)
        for rows in spans:  # where the origin falls: −μ on the axes Xᵀv / √λ
            origin -= (mean @ (read(rows) - mean).T) @ (vectors[rows] / np.sqrt(values))
    else:
        scores = np.concatenate([(read(rows) - mean) @ vectors for rows in spans])
        origin = -mean[None] @ vectors
    at_mean = np.abs(origin[0]) <= SAME * np.abs(scores).max(axis=0)
    sign = np.where(at_mean, upright(scores), np.where(origin[0] > 0, -1, 1))
    return Components(scores * sign, values / (total or 1), chosen)


@checked
def explained_by(scores: ArrayLike, others: ArrayLike, *, adjusted: bool = False) -> NDArray[np.float64]:
    """R² of each column of `scores` from all columns of `others`, by least squares.

    The control for a reading: what of the ghosts' components as many random features show as well.

    Parameters
    ----------
    scores, others
        ``(n_images, a)`` and ``(n_images, b)``, of the same images.
    adjusted
        For what b columns would explain by chance: 1 − (1 − R²)(n − 1)/(n − b − 1), at least 0. NaN where
        there are not more than b + 1 images.

    Returns
    -------
    ndarray
        ``(a,)`` in [0, 1]; NaN for a column that does not vary.
    """
    wanted, given = (np.asarray(v, dtype=np.float64) for v in (scores, others))
    if wanted.ndim != 2 or given.ndim != 2 or len(wanted) != len(given):
        raise InputError(
            f"scores must be (n_images, n) each, of the same images; got {wanted.shape} and {given.shape}."
        )
    if not (np.isfinite(wanted).all() and np.isfinite(given).all()):
        raise InputError("scores are NaN or infinite.")
    wanted, given = wanted - wanted.mean(axis=0), given - given.mean(axis=0)
    left = wanted - given @ np.linalg.lstsq(given, wanted, rcond=None)[0] if given.size else wanted
    total = (wanted**2).sum(axis=0)
    varies = total > ROUNDING * (np.asarray(scores, dtype=np.float64) ** 2).sum(axis=0)
    missed = (left**2).sum(axis=0) / np.where(varies, total, np.nan)
    if adjusted:
        free = len(wanted) - given.shape[1] - 1
        missed *= (len(wanted) - 1) / free if free > 0 else np.nan
    return np.asarray(np.clip(1 - missed, 0, 1))


def _largest(covariance: NDArray[np.float64], n: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Largest eigenvalues, in falling order, and their vectors; none that are 0."""
    size = len(covariance)
    if not covariance.any():
        return np.zeros(0), np.zeros((size, 0))
    if size <= max(_DENSE, 2 * n):
        values, vectors = linalg.eigh(covariance, subset_by_index=(max(0, size - n), size - 1))
    else:
        start = np.random.default_rng(0).normal(size=size)  # the same every time
        values, vectors = sparse.linalg.eigsh(covariance, k=n, v0=start)
    falling = np.argsort(-values)
    real = falling[values[falling] > ROUNDING * max(float(np.trace(covariance)), 0.0)]
    return values[real], vectors[:, real]


def _mask(category: ArrayLike, n: int) -> NDArray[np.bool_]:
    """Rows of a category as a mask, checked."""
    rows = np.asarray(category)
    if rows.dtype == bool:
        if rows.shape != (n,):
            raise InputError(f"category as a mask must be ({n},), one per image; got {rows.shape}.")
        mask = rows
    else:
        if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iu"):
            raise InputError(f"category is row numbers from 0, or a mask; got {rows.dtype} {rows.shape}.")
        mask = np.zeros(n, dtype=bool)
        mask[_indices(rows, n, what="image")] = True
    if not mask.any():
        raise InputError("the category has no images: name at least one row.")
    return np.asarray(mask)


def _indices(given: ArrayLike, n: int, *, what: str = "feature") -> NDArray[np.intp]:
    """Distinct indices below n."""
    found = np.asarray(given)
    if found.dtype == bool and found.shape == (n,):
        return np.flatnonzero(found)
    if found.ndim != 1 or (found.size and found.dtype.kind not in "iu"):
        raise InputError(f"{what}s are indices from 0, or a mask of {n:,}; got {found.dtype} {found.shape}.")
    if found.size and (found.min() < 0 or found.max() >= n):
        raise InputError(f"there are {n:,} {what}s, numbered from 0; got {found.min()} to {found.max()}.")
    values, counts = np.unique(found, return_counts=True)
    if (counts > 1).any():
        raise InputError(f"{what} {values[counts > 1][0]} is named twice.")
    return found.astype(np.intp)


def _array(block: Any) -> NDArray[Any]:
    return np.asarray(block.cpu() if blocks.is_tensor(block) else block)
