"""How far people agree: means over subjects, noise ceilings, split halves."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rarefire import rdm
from rarefire._engine.arguments import checked
from rarefire.errors import InputError
from rarefire.rdm import check_rdm

__all__ = [
    "NoiseCeiling",
    "Reliability",
    "check_subjects",
    "mean_of_subjects",
    "mean_rdm",
    "noise_ceiling",
    "of_parts",
    "on_one_scale",
    "spearman_brown",
    "split_half",
]


@dataclass(frozen=True)
class NoiseCeiling:
    """What a perfect model could reach, given how much people differ (Nili et al. 2014).

    Attributes
    ----------
    low, high
        Mean correlation of each subject with the mean of the others, and with the mean of all.
    by_subject
        ``(n_subjects,)``, of each subject with the mean of the others.
    """

    low: float
    high: float
    by_subject: NDArray[np.float64]


@dataclass(frozen=True)
class Reliability:
    """How well halves of the subjects agree.

    Attributes
    ----------
    r
        Correlation of the halves' means, averaged over splits.
    corrected
        For all subjects rather than half of them (Spearman–Brown).
    """

    r: float
    corrected: float


@checked
def noise_ceiling(rdms: ArrayLike, *, standardise: bool = True) -> NoiseCeiling:
    """How well people predict people.

    Parameters
    ----------
    rdms
        ``(n_subjects, n(n-1)/2)`` or ``(n_subjects, n, n)``, at least two subjects.
    standardise
        Bring every subject's dissimilarities to mean 0 and standard deviation 1 before they are
        averaged; `high` is then the best that any model can reach (Nili et al. 2014). Without it, those
        who use more of the scale weigh more.
    """
    people = check_subjects(rdms)
    if standardise:
        people = on_one_scale(people)
    every = mean_rdm(people)
    low, high = [], []
    for s, own in enumerate(people):
        others = mean_rdm(np.delete(people, s, axis=0))
        low.append(_pearson(own, others))
        high.append(_pearson(own, every))
    return NoiseCeiling(float(np.mean(low)), float(np.mean(high)), np.array(low))


@checked
def split_half(rdms: ArrayLike, *, n_splits: int = 100, rng: np.random.Generator) -> Reliability:
    """Split-half reliability of the mean RDM over subjects.

    Parameters
    ----------
    rdms
        As for :func:`noise_ceiling`.
    n_splits, rng
        Random halves of the subjects, and where they come from.
    """
    people = check_subjects(rdms)
    if n_splits < 1:
        raise InputError(f"n_splits must be at least 1; got {n_splits}.")
    half = len(people) // 2
    found = []
    for _ in range(n_splits):
        mixed = people[rng.permutation(len(people))]
        found.append(_pearson(mean_rdm(mixed[:half]), mean_rdm(mixed[half:])))
    r = float(np.mean(found))
    return Reliability(r, spearman_brown(r))


@checked
def spearman_brown(r: float, *, length: float = 2) -> float:
    """Reliability of `length` times as much data, from the reliability r of one part.

    >>> round(spearman_brown(0.913), 3)
    0.955
    """
    if not -1 < r <= 1 or 1 + (length - 1) * r <= 0:
        raise InputError(f"a reliability lies in (−1, 1], above −1 / (length − 1); got {r}.")
    return length * r / (1 + (length - 1) * r)


@checked
def check_subjects(rdms: ArrayLike, n_images: int | None = None) -> NDArray[np.float64]:
    """RDMs of several subjects as ``(n_subjects, n_pairs)``, if they are.

    Parameters
    ----------
    rdms
        ``(n_subjects, n(n-1)/2)`` or ``(n_subjects, n, n)``, at least two subjects.
    n_images
        Of how many images they must be; by default of as many as they have.
    """
    values = np.asarray(rdms, dtype=np.float64)
    if values.ndim not in (2, 3) or len(values) < 2:
        raise InputError(
            "subjects' RDMs are (n_subjects, n_pairs) or (n_subjects, n, n), at least two subjects; "
            f"got {values.shape}."
        )
    if n_images is None:
        size = values.shape[-1] if values.ndim == 3 else round((1 + np.sqrt(1 + 8 * values.shape[1])) / 2)
        n_images = int(size)
    return np.stack([check_rdm(v, n_images) for v in values])


@checked
def on_one_scale(subjects: NDArray[np.float64]) -> NDArray[np.float64]:
    """Every subject's dissimilarities with mean 0 and standard deviation 1, whatever the subject's scale.

    Parameters
    ----------
    subjects
        ``(n_subjects, n_pairs)``, NaN where a subject did not judge.
    """
    centred = subjects - np.nanmean(subjects, axis=1, keepdims=True)
    return np.asarray(centred / np.nanstd(centred, axis=1, keepdims=True))


@checked
def mean_rdm(rdms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over subjects, the first axis, of what they judged; NaN where none did."""
    known = np.isfinite(rdms)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, rdms, 0).sum(axis=0) / known.sum(axis=0))


def _pearson(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    both = np.isfinite(a) & np.isfinite(b)
    return float(np.clip(np.corrcoef(a[both], b[both])[0, 1], -1, 1))


@checked
def mean_of_subjects(
    subjects: NDArray[np.float64], names: Sequence[str] | None = None
) -> tuple[NDArray[np.float64], float | None]:
    """`human` and `reliability` from single subjects; InputError for one who tells nothing apart.

    Parameters
    ----------
    subjects
        ``(n_subjects, n_pairs)``, NaN where a subject did not judge.
    names
        ``(n_subjects,)``, for messages; by default their numbers from 1.
    """
    for s, own in enumerate(subjects):
        known = own[np.isfinite(own)]
        if len(known) < 3 or known.min() == known.max():
            why = "fewer than three pairs" if len(known) < 3 else "the same rating for every pair"
            name = str(s + 1) if names is None else names[s]
            raise InputError(f"subject {name!r} has {why}: nothing to compare. Leave that subject out.")
    return mean_rdm(on_one_scale(subjects)), of_parts(subjects)


@checked
def of_parts(parts: NDArray[np.float64]) -> float | None:
    """Reliability of the mean over parts (halves, subjects): the mean correlation of two, stepped up to all.

    None where no two have enough in common, or they contradict one another.

    Parameters
    ----------
    parts
        ``(n_parts, n_pairs)``, NaN where nobody judged.
    """
    found = []
    for a, b in itertools.combinations(parts, 2):
        with contextlib.suppress(InputError):
            found.append(rdm.compare(a, b, method="pearson"))
    try:
        return spearman_brown(float(np.mean(found)), length=len(parts)) if found else None
    except InputError:
        return None
