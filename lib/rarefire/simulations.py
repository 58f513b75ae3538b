"""Worlds in which the truth is known: how often a test says that features matter when they do not.

In a null world, images, features and people are drawn such that, over all images that could be drawn,
the first features predict people exactly as well as all of them: D = r(kept, human) − r(all, human) = 0.
A valid test at level .05 then says otherwise in one of twenty samples of images, no more.

The features come in groups, each driven by causes of its own, so each adds a geometry of its own.
People's similarities are a weighted sum of the groups' geometries, and noise. The weights solve linear
equations in the population's variances and covariances of geometries; those are computed over
200,000 images by the identities of :mod:`rarefire._engine.grams`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from rarefire.errors import InputError
from rarefire.rdm import pair_similarities, unit_vectors

__all__ = ["Sample", "World", "world"]

_POPULATION = 200_000
_CAUSES = 3  # per group

_P = NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """What a study would have: some images and what people say of them.

    Attributes
    ----------
    embedding
        ``(n_images, n_features)``, post-ReLU, in insertion order.
    human
        ``(n(n-1)/2,)``, dissimilarities; or ``(n_subjects, n(n-1)/2)``.
    kept
        How many features are kept in the comparison with all.
    ks
        All the numbers of features at which the null holds; the last is all.
    """

    embedding: _P
    human: _P
    kept: int
    ks: tuple[int, ...]

    @property
    def order(self) -> NDArray[np.intp]:
        """Features are in insertion order already."""
        return np.arange(self.embedding.shape[1])


@dataclass(frozen=True)
class World:
    """A population of images, features and people. Make one with :func:`world`.

    Attributes
    ----------
    effect
        r(first k) / r(all) − 1 in the population, for every k below all; 0 in a null world.
    mixing, thresholds
        ``(n_groups, n_causes, n_features)`` and ``(n_groups, n_features)``: how features come about.
    weights
        ``(n_groups,)``, of the groups' geometries in people's similarities.
    taste
        ``(n_groups,)``, the direction in which subjects differ; it leaves the mean difference as it is.
    noise
        Standard deviation of one rating.
    r
        ``(n_groups,)``, population correlation of the first k features with people.
    """

    effect: float
    mixing: _P
    thresholds: _P
    weights: _P
    taste: _P
    noise: float
    r: _P

    @property
    def ks(self) -> tuple[int, ...]:
        """Numbers of features after each group."""
        groups, _, features = self.mixing.shape
        return tuple(features * (g + 1) for g in range(groups))

    def images(self, n: int, rng: np.random.Generator) -> _P:
        """Features of `n` new images: ``(n, n_features)``."""
        causes = rng.normal(size=(len(self.mixing), n, self.mixing.shape[1]))
        return np.concatenate(
            [np.maximum(c @ m - t, 0) for c, m, t in zip(causes, self.mixing, self.thresholds, strict=True)],
            axis=1,
        )

    def sample(self, rng: np.random.Generator, *, n_images: int = 120, n_subjects: int = 0) -> Sample:
        """New images, and what people say of them."""
        embedding = self.images(n_images, rng)
        groups = np.stack([1 - pair_similarities(part) for part in np.split(embedding, self.ks[:-1], axis=1)])

        def ratings(weights: _P) -> _P:
            exact = weights @ groups
            return np.asarray(exact + self.noise * rng.normal(size=exact.shape))

        if n_subjects:
            tastes = self.weights + rng.normal(size=(n_subjects, 1)) * self.taste
            human = np.stack([ratings(w) for w in tastes])
        else:
            human = ratings(self.weights)
        return Sample(embedding, human, self.ks[0], self.ks)


@lru_cache(maxsize=8)
def world(
    *, effect: float = 0.0, n_groups: int = 8, n_features: int = 8, seed: int = 0, apart: bool = False
) -> World:
    """Make a world in which the first k features predict people (1 + effect) times as well as all.

    Parameters
    ----------
    effect
        0 for a null world.
    n_groups, n_features
        Groups of features, and features in each.
    seed
        Of the features and of the population that the weights are solved for.
    apart
        Features of a group have the same PoZ, far from the other groups'.
    """
    if n_groups < 2 or n_features < 4:
        raise InputError(f"a world has at least two groups of four features; got {n_groups} of {n_features}.")
    rng = np.random.default_rng([seed, 77])
    mixing = rng.normal(size=(n_groups, _CAUSES, n_features))
    # Later groups fire more rarely.
    thresholds = np.linspace(-0.5, 1.0, n_groups)[:, None] + rng.normal(size=(n_groups, n_features)) * 0.3
    if apart:
        spread = np.sqrt((mixing**2).sum(axis=1))  # of a feature before the ReLU
        thresholds = np.linspace(-1.3, 1.7, n_groups)[:, None] * spread
    none = np.zeros(n_groups)
    raw = World(effect, mixing, thresholds, none, none, 1.0, none)
    features = raw.images(_POPULATION, rng)
    prefixes = [unit_vectors(features[:, :k])[0] for k in raw.ks]
    alone = [unit_vectors(part)[0] for part in np.split(features, raw.ks[:-1], axis=1)]
    spread = np.sqrt([_covariance(z, z) for z in prefixes])
    between = np.array([[_covariance(z, w) for w in alone] for z in prefixes])
    wanted = np.append(np.full(n_groups - 1, 1 + effect), 1.0)
    weights = np.linalg.solve(between, wanted * spread)
    own = np.array([[_covariance(z, w) for w in alone] for z in alone])
    scale = np.sqrt(weights @ own @ weights)
    # Subjects differ in a direction that is uncorrelated with what they share: then r with their
    # ratings is an odd function of how they differ, and differences between two r average to 0.
    taste = rng.normal(size=n_groups)
    taste -= weights * (taste @ own @ weights) / scale**2
    taste *= 0.4 * scale / np.sqrt(taste @ own @ taste)
    # What people share varies with standard deviation 1, the noise of a rating too.
    r = wanted / scale / np.sqrt(2)
    return World(effect, mixing, thresholds, weights / scale, taste / scale, 1.0, r)


def _covariance(z: _P, w: _P) -> float:
    """Covariance over pairs of images of two similarities, from unit vectors."""
    n = len(z)
    pairs = n * (n - 1)
    cross = float(((z.T @ w) ** 2).sum()) - n
    means = [(float((v.sum(axis=0) ** 2).sum()) - n) / pairs for v in (z, w)]
    return cross / pairs - means[0] * means[1]
