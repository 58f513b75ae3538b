"""Dissimilarities from arrangements: images laid out in an arena, what is alike close together.

One arrangement in a plane cannot say everything. In the multi-arrangement method (Kriegeskorte & Mur 2012) a
subject first arranges all images, then subsets in which what lay close together fills the arena. A distance
that was large on the screen says more than a small one, for a hand is about equally inexact everywhere: its
square is the *evidence* of a pair. The next subset lifts the pair with the weakest evidence.

References
----------
Kriegeskorte, N. & Mur, M. (2012). Inverse MDS: inferring dissimilarity structure from multiple item
arrangements. *Frontiers in Psychology*, 3, 245. doi:10.3389/fpsyg.2012.00245
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import pdist, squareform

from rarefire import rdm
from rarefire._engine.arguments import checked
from rarefire.errors import InputError

__all__ = [
    "LEAST_IMAGES",
    "MOST",
    "REQUIRED",
    "Arrangement",
    "Estimate",
    "estimate",
    "next_subset",
    "simulate",
]

#: Evidence that every pair is to have at the end, as in the authors' code.
REQUIRED = 0.5
#: Arrangements after which to stop all the same.
MOST = 12
#: In an arrangement; the scale of fewer cannot be matched to others.
LEAST_IMAGES = 3

_UTILITY = 10  # evidence w is worth 1 − exp(−10 w), and
_COST = 1.2  # an arrangement of m images costs m^1.2: both as in the authors' code
_CLOSEST = (
    0.02  # of the arena's diameter: images on one spot say that they are alike, if with little evidence
)
_TOLERANCE, _STEPS = 1e-12, 10_000  # of the estimate, whose root mean square is 1
_BETTER = 1 + 1e-9  # of two subsets that are equally good up to rounding, the first


@dataclass(frozen=True, eq=False)
class Arrangement:
    """Some images and where they were put.

    Attributes
    ----------
    images
        ``(m,)`` indices from 0, at least three, each once.
    places
        ``(m, 2)``, in units of the arena's diameter: no two are more than 1 apart. Not all on one spot.
    """

    images: NDArray[np.intp]
    places: NDArray[np.float64]

    def __post_init__(self) -> None:
        images, places = np.asarray(self.images), np.asarray(self.places, dtype=np.float64)
        if images.ndim != 1 or images.dtype.kind not in "iu" or len(images) < LEAST_IMAGES:
            raise InputError(
                f"images of an arrangement are at least {LEAST_IMAGES} indices from 0; got {images.dtype} "
                f"{images.shape}."
            )
        if images.min() < 0 or len(set(images.tolist())) < len(images):
            raise InputError(
                f"images of an arrangement are indices from 0, each once; got {images.tolist()}."
            )
        if places.shape != (len(images), 2) or not np.isfinite(places).all():
            raise InputError(
                f"places must be ({len(images)}, 2) finite numbers, a point for each image; got shape "
                f"{places.shape}."
            )
        distances = pdist(places)
        if not 0 < distances.max() <= 1 + 1e-6:
            raise InputError(
                "places are in units of the arena's diameter: the largest distance is above 0 and at most 1; "
                f"got {distances.max():.3g}."
            )
        object.__setattr__(self, "images", images.astype(np.intp))
        object.__setattr__(self, "places", places)

    def distances(self) -> NDArray[np.float64]:
        """``(m(m-1)/2,)``, on the screen, between 0 and 1."""
        return np.asarray(pdist(self.places))


@dataclass(frozen=True, eq=False)
class Estimate:
    """What arrangements say of the dissimilarity of every pair.

    Attributes
    ----------
    rdm
        ``(n(n-1)/2,)``, condensed, with a root mean square of 1; NaN for pairs that were never together.
    evidence
        ``(n(n-1)/2,)``, sum over arrangements of squared distances on the screen; 0 for such pairs.
    """

    rdm: NDArray[np.float64]
    evidence: NDArray[np.float64]

    @property
    def n_images(self) -> int:
        """How many images it is of."""
        return round((1 + math.sqrt(1 + 8 * len(self.rdm))) / 2)


@checked
def estimate(arrangements: Sequence[Arrangement], *, n_images: int) -> Estimate:
    """The RDM behind arrangements: their distances, scaled to match and averaged by evidence.

    Each arrangement is scaled so that its root mean square is that of the present estimate over the same
    pairs; the average over arrangements, weighted by evidence, is the next estimate; until it stays.

    Parameters
    ----------
    arrangements
        At least one; each shares a pair of images with others, or its scale is unknown.
    n_images
        How many images there are.

    Returns
    -------
    Estimate
        Exact up to scale for arrangements without noise of points in a plane. Their order does not matter.

    Raises
    ------
    InputError
        For no arrangement, for images that do not exist, and for arrangements that share no pair.
    """
    if not len(arrangements):
        raise InputError("an estimate needs at least one arrangement; got none.")
    last = max(int(one.images.max()) for one in arrangements)
    if last >= n_images:
        raise InputError(
            f"the arrangements hold image {last}, but the last of n_images={n_images} is {n_images - 1}."
        )
    _check_linked(arrangements)
    n_pairs = n_images * (n_images - 1) // 2
    pairs = [_places(one.images, n_images) for one in arrangements]
    distances = [one.distances() for one in arrangements]
    weights = [np.maximum(d, _CLOSEST) ** 2 for d in distances]
    evidence, total = np.zeros((2, n_pairs))
    count = np.zeros(n_pairs)
    for where, d, w in zip(pairs, distances, weights, strict=True):
        evidence[where] += w
        total[where] += d
        count[where] += 1
    known = count > 0
    current = _scaled(np.where(known, total / np.maximum(count, 1), 0), known)
    for _ in range(_STEPS):
        following = np.zeros(n_pairs)
        for where, d, w in zip(pairs, distances, weights, strict=True):
            following[where] += w * d * np.sqrt((current[where] ** 2).sum() / (d**2).sum())
        following = _scaled(following / np.where(known, evidence, 1), known)
        moved = np.abs(following - current).max()
        current = following
        if moved <= _TOLERANCE:
            break
    return Estimate(np.where(known, current, np.nan), evidence)


@checked
def next_subset(found: Estimate) -> NDArray[np.intp]:
    """Which images to arrange next: *lift the weakest*.

    It begins with the pair that has the weakest evidence and adds, one by one, the image with which the
    arrangement promises most for its cost, as long as that rises. An arrangement promises the evidence that
    it would give if the subset, as it is estimated now, filled the arena; evidence w is worth
    1 − exp(−10 w), and m images cost m^1.2.

    Parameters
    ----------
    found
        From :func:`estimate`. A pair without an estimate counts as the median of the others.

    Returns
    -------
    ndarray
        ``(m,)`` rising indices, at least three. Of equal pairs or images the first is taken.
    """
    n = found.n_images
    if n < LEAST_IMAGES:
        raise InputError(f"a subset needs at least {LEAST_IMAGES} images; the estimate is of {n}.")
    known = np.isfinite(found.rdm)
    guess = squareform(np.where(known, found.rdm, np.median(found.rdm[known])))
    evidence = squareform(found.evidence)
    weakest = int(np.argmin(found.evidence))
    chosen = [int(i[weakest]) for i in np.triu_indices(n, k=1)]
    promised = _promise(chosen, guess, evidence)
    while len(chosen) < n:
        best, of = -1.0, -1
        for image in range(n):
            if image not in chosen:
                value = _promise([*chosen, image], guess, evidence)
                if value > best * _BETTER:
                    best, of = value, image
        if len(chosen) >= LEAST_IMAGES and best <= promised * _BETTER:
            break
        chosen.append(of)
        promised = best
    return np.sort(np.array(chosen, dtype=np.intp))


@checked
def simulate(
    true: ArrayLike,
    *,
    noise: float = 0.05,
    required: float = REQUIRED,
    most: int = MOST,
    rng: np.random.Generator,
) -> list[Arrangement]:
    """A made-up subject who knows an RDM, lays out maps of it and places images inexactly.

    Parameters
    ----------
    true
        Dissimilarities in the subject's head, condensed or square, all ≥ 0.
    noise
        Standard deviation of a placement in both directions, in units of the arena's diameter.
    required
        The subject stops when every pair has this much evidence, or
    most
        after so many arrangements.
    rng
        Where the inexactness comes from.

    Returns
    -------
    list of Arrangement
        Of all images first, then of what :func:`next_subset` says. A subset is laid out by
        :func:`rarefire.rdm.mds`, as large as the arena.
    """
    if noise < 0 or required <= 0 or most < 1:
        raise InputError(
            "noise must be at least 0, required above 0 and most at least 1; got "
            f"{noise}, {required}, {most}."
        )
    square = rdm.square(true)
    n = len(square)
    subset = np.arange(n)
    done: list[Arrangement] = []
    while True:
        places = rdm.mds(square[np.ix_(subset, subset)])
        width = pdist(places).max()
        places = places / (width if width > 0 else 1) + noise * rng.normal(size=places.shape)
        done.append(Arrangement(subset, places / max(1, pdist(places).max())))
        found = estimate(done, n_images=n)
        if len(done) == most or found.evidence.min() >= required:
            return done
        subset = next_subset(found)


def _check_linked(arrangements: Sequence[Arrangement]) -> None:
    """Each can be scaled to the others through pairs that they share."""
    reached, waiting = {0}, [0]
    sets = [set(one.images.tolist()) for one in arrangements]
    while waiting:
        here = sets[waiting.pop()]
        new = [i for i, other in enumerate(sets) if i not in reached and len(here & other) >= 2]
        reached |= set(new)
        waiting += new
    if len(reached) < len(sets):
        alone = next(i for i in range(len(sets)) if i not in reached)
        raise InputError(
            f"arrangement {alone + 1} shares no pair of images with those before it: how large its distances "
            "are beside theirs is unknown. Arrange all images once."
        )


def _places(images: NDArray[np.intp], n: int) -> NDArray[np.intp]:
    """Of an arrangement's pairs in a condensed RDM of `n` images."""
    i, j = np.triu_indices(len(images), k=1)
    a, b = np.minimum(images[i], images[j]), np.maximum(images[i], images[j])
    return np.asarray(a * n - a * (a + 1) // 2 + b - a - 1)


def _scaled(values: NDArray[np.float64], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.asarray(values / np.sqrt((values**2).sum() / known.sum()))


def _promise(chosen: Sequence[int], guess: NDArray[np.float64], evidence: NDArray[np.float64]) -> float:
    """What arranging these images would add to what is known, for each unit of cost."""
    pairs = np.triu_indices(len(chosen), k=1)
    distances, before = (square[np.ix_(chosen, chosen)][pairs] for square in (guess, evidence))
    if distances.max() <= 0:
        return 0.0
    after = before + (distances / distances.max()) ** 2
    gain = (np.exp(-_UTILITY * before) - np.exp(-_UTILITY * after)).sum()
    return float(gain / len(chosen) ** _COST)
