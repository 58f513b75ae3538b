"""Retrieval by what an image is not: ghost features as a negative query, and what it must be compared with.

A query is made from images of a category and scores any image by how *unlike* the category it is. The
ghosts' score is the share of an image's activation that falls on features silent for the category. How
well a score separates is its AUC: the chance that an image outside the category scores higher than one of
the category, .5 for no better than guessing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from rarefire import poz
from rarefire._engine import blocks
from rarefire._engine.arguments import checked
from rarefire.errors import InputError
from rarefire.rounding import levels

__all__ = ["QUERIES", "Auc", "Query", "auc", "auc_difference", "queries", "unlikeness"]

#: The queries that :func:`queries` makes, and what each scores.
QUERIES = {
    "ghosts": "share of the image's activation on the ghosts",
    "random": "share on as many features drawn at random",
    "active": "share outside as many of the category's most active features",
    "random mean": "1 − cosine with the category's mean, in as many features drawn at random",
    "mean": "1 − cosine with the category's mean, in all features",
}


@dataclass(frozen=True, eq=False)
class Query:
    """A score of how unlike a category an image x is.

    A share of its activation, x·weights / x·over; or with `root`, one minus a cosine, 1 − x·weights /
    √(x²·over). An image for which no feature fires scores 0 by shares (nothing speaks against it) and 1 by
    cosines.

    Attributes
    ----------
    weights, over
        ``(n_features,)``.
    root
        Whether it is a cosine.
    """

    weights: NDArray[np.float64]
    over: NDArray[np.float64]
    root: bool = False


@checked
def queries(
    category: ArrayLike, *, alive: ArrayLike | None = None, rng: np.random.Generator | None = None
) -> dict[str, Query]:
    """The ghosts' query and those it must be compared with, all from the same images.

    Parameters
    ----------
    category
        ``(n_images, n_features)``, post-ReLU: the images that define the category.
    alive
        ``(n_features,)``, features that fire for some image at all; the others are left out of everything.
        By default all of them: dead features, which from these images alone cannot be told from ghosts, then
        count among these.
    rng
        Draws the random features; by default seed 0.

    Returns
    -------
    dict
        By the names in :data:`QUERIES`. "As many": as there are ghosts. Where there are none, every query
        but the mean gives all images the same score.
    """
    features = poz.check_activations(category, dimensions=2).astype(np.float64)
    if not len(features):
        raise InputError("a query needs at least one image of the category; got none.")
    n_features = features.shape[1]
    usable = np.ones(n_features, dtype=bool) if alive is None else np.asarray(alive)
    if usable.shape != (n_features,) or usable.dtype != bool:
        raise InputError(f"alive must be a mask ({n_features},); got {usable.dtype} {usable.shape}.")
    rng = rng or np.random.default_rng(0)
    fires, mean = (features > 0).mean(axis=0), features.mean(axis=0)
    ghost = usable & (fires == 0)
    count, candidates = int(ghost.sum()), np.flatnonzero(usable)
    drawn = _chosen(rng.choice(candidates, count, replace=False), n_features)
    by_firing = candidates[np.lexsort((levels(-mean[candidates]), -fires[candidates]))]
    active = _chosen(by_firing[:count], n_features)
    every = usable.astype(np.float64)
    return {
        "ghosts": Query(ghost.astype(np.float64), every),
        "random": Query(drawn, every),
        "active": Query(every - active if count else active, every),
        "random mean": _cosine(mean * drawn, drawn),
        "mean": _cosine(mean * usable, every),
    }


def unlikeness(embedding: Any, asked: Mapping[str, Query]) -> dict[str, NDArray[np.float64]]:
    """Score images by one or more queries.

    Parameters
    ----------
    embedding
        ``(n_images, n_features)``, post-ReLU; anything that :mod:`rarefire._engine.blocks` reads, once.
    asked
        From :func:`queries`, or several of them under names of your own.

    Returns
    -------
    dict
        By the same names, ``(n_images,)`` in [0, 1]; high is unlike the category.
    """
    source = blocks.check_source(embedding, least=1)
    each = list(asked.values())
    if not each or any(len(q.weights) != source.shape[1] or len(q.over) != source.shape[1] for q in each):
        raise InputError(f"the queries must be for {source.shape[1]:,} features, those of the embedding.")
    weights, over = (np.stack([getattr(q, name) for q in each], axis=1) for name in ("weights", "over"))
    root = np.array([query.root for query in each])
    scores = []
    for rows in blocks.spans(source, elements=2**22):
        block = blocks.read(source, rows)
        block = poz.check_activations(block.cpu() if blocks.is_tensor(block) else block, dimensions=2)
        x = block.astype(np.float64)
        part = x @ weights  # exactly 0 for an image in which none of them fires
        measure = np.empty_like(part)
        measure[:, ~root] = x @ over[:, ~root]
        measure[:, root] = np.sqrt(x**2 @ over[:, root])
        share = np.divide(part, measure, out=np.zeros_like(part), where=measure > 0)
        scores.append(np.where(root, 1 - share, share))
    return dict(zip(asked, np.clip(np.concatenate(scores), 0, 1).T, strict=True))


class Auc(NamedTuple):
    """Area under the ROC curve, with what its variance is computed from.

    Attributes
    ----------
    value
        In [0, 1].
    inside, outside
        DeLong's structural components: for each image of the category, the share of others that score
        higher; for each other image, the share of the category that scores lower. Ties count half.
    """

    value: float
    inside: NDArray[np.float64]
    outside: NDArray[np.float64]


@checked
def auc(inside: ArrayLike, outside: ArrayLike) -> Auc:
    """How well a score separates: the chance that an image outside scores higher than one inside.

    Parameters
    ----------
    inside, outside
        ``(n,)`` and ``(m,)``, scores of images of the category and of others. Those that differ by rounding
        alone tie.
    """
    own, others = (np.asarray(v, dtype=np.float64) for v in (inside, outside))
    if own.ndim != 1 or others.ndim != 1 or not own.size or not others.size:
        raise InputError(
            f"scores inside and outside must be (n,) each, not empty; got {own.shape} and {others.shape}."
        )
    if not (np.isfinite(own).all() and np.isfinite(others).all()):
        raise InputError("scores are NaN or infinite.")
    scores = levels(np.concatenate([own, others]))
    ranks = stats.rankdata(scores)
    above = 1 - (ranks[: len(own)] - stats.rankdata(scores[: len(own)])) / len(others)
    below = (ranks[len(own) :] - stats.rankdata(scores[len(own) :])) / len(own)
    return Auc(float(below.mean()), above, below)


def auc_difference(one: Auc, other: Auc) -> tuple[float, float]:
    """Difference of two AUCs of the same images, and its variance (DeLong et al. 1988).

    Returns
    -------
    estimate, variance
        Of ``one − other``; the variance is over images inside and outside. NaN where one of these is a
        single image.
    """
    if one.inside.shape != other.inside.shape or one.outside.shape != other.outside.shape:
        raise InputError(
            f"both AUCs must be of the same images; got {len(one.inside)} and {len(other.inside)} inside, "
            f"{len(one.outside)} and {len(other.outside)} outside."
        )
    parts = [one.inside - other.inside, one.outside - other.outside]
    variance = sum(float(np.var(p, ddof=1)) / len(p) if len(p) > 1 else np.nan for p in parts)
    return one.value - other.value, float(variance)


def _chosen(features: NDArray[np.intp], n_features: int) -> NDArray[np.float64]:
    mask = np.zeros(n_features)
    mask[features] = 1
    return mask


def _cosine(mean: NDArray[np.float64], over: NDArray[np.float64]) -> Query:
    length = float(np.linalg.norm(mean))
    return Query(mean / length if length else mean, over, root=True)
