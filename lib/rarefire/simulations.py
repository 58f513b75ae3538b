"""Worlds in which the truth is known: how often a test says that features matter when they do not.

In a null world, images, features and people are such that, over all images that there are, the first
features predict people exactly as well as all of them: D = r(first k, human) − r(all, human) = 0, for
several k. A valid test at level .05 then says otherwise in one of twenty samples of images, no more. With
an effect, the first k predict people 1 + effect times as well as all.

A level measured in one world does not carry over to another. So there are several (:data:`WORLDS`):

``groups``
    Features in groups, each driven by causes of its own; noise that is the same for all pairs of images.
``groups, uneven noise``
    The same, with images about which people agree less than about others.
``heavy tails``
    Images of very different contrast (lognormal, σ = .5), with heavy-tailed causes; noise with rare, large
    errors (t with 5 degrees of freedom).
``heavier tails``
    The same with σ = .75: a few images decide, and of the tests only those that waste power hold their level.
``clusters``
    Images of twelve categories of different sizes; sparse features, some of them dead.
``lenet``
    Real features: scikit-learn's 1,797 handwritten digits in the penultimate layer of a LeNet-5. Rounding
    makes it another network on another machine, with a truth of its own that is as exact.
``googlenet``
    Real features: photographs, one of each ImageNet class, in the pooled last layer of GoogLeNet.

People's similarities are a weighted sum of geometries, and noise. The weights solve linear equations in
the population's variances and covariances of geometries (sums over pairs, by the identities of
:mod:`rarefire._engine.grams`). Made-up worlds have no end of images, and their population is a large sample
of them. In the worlds with real features it is the images that there are: the truth is exact, and a
study draws n of the N without replacement. Then a test that takes them for a sample from infinitely many
is slightly conservative: what varies with the images has 1 − n/N of the variance that it expects.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from rarefire import poz, store
from rarefire.errors import DataError, InputError, unknown
from rarefire.rdm import pair_similarities, unit_vectors

__all__ = ["WORLDS", "Sample", "World", "available", "world"]

_CAUSES = 3  # per group
_SHARES = (0.2, 0.4, 0.6, 1.0)  # of the features, lowest PoZ first, at which the truth is known
_MIXTURES = 5  # of features, that make a geometry of people's own
_SIGNAL = 0.7  # r of all features with what people share, where they go by more than the features
_TASTE = 0.4  # standard deviation of what subjects differ by; of what they share, it is 1
_UNEVEN = 0.5  # standard deviation of the logarithm of an image's uncertainty

_P = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Sample:
    """What a study would have: some images and what people say of them.

    Attributes
    ----------
    embedding
        ``(n_images, n_features)``, post-ReLU, in insertion order.
    human
        ``(n(n-1)/2,)``, dissimilarities; or ``(n_subjects, n(n-1)/2)``.
    kept
        How many features are kept in the comparison with all; the first of `ks`.
    ks
        All the numbers of features at which the truth is known; the last is all.
    """

    embedding: _P
    human: _P
    kept: int
    ks: tuple[int, ...]

    @property
    def order(self) -> NDArray[np.intp]:
        """Features are in insertion order already."""
        return np.arange(self.embedding.shape[1])


class _Population(Protocol):
    """Images, and what people see in them."""

    @property
    def size(self) -> int | None:
        """Images that there are; None for no end."""

    def draw(self, n: int, rng: np.random.Generator) -> tuple[_P, _P]:
        """Images, ``(n, n_features)``; what people share and what they differ by, ``(2, n(n-1)/2)``."""


@dataclass(frozen=True, eq=False)
class World:
    """A population of images, features and people. Make one with :func:`world`.

    Attributes
    ----------
    name
        One of :data:`WORLDS`.
    effect
        r(first k) / r(all) − 1 in the population, for every k below all; 0 in a null world.
    ks
        Numbers of features at which that holds; the last is all.
    r
        ``(len(ks),)``, population correlation of the first k features with people's ratings.
    noise
        Standard deviation of one rating, where that of what people share is 1.
    uneven
        Standard deviation of the logarithm of the images' uncertainty s: the noise of a rating of two
        images is ``noise · √(s_i s_j)``, s with mean 1.
    tails
        Degrees of freedom of the noise, which is distributed as t; None for normal noise.
    population
        Where images come from.
    """

    name: str
    effect: float
    ks: tuple[int, ...]
    r: _P
    noise: float
    uneven: float
    tails: float | None
    population: _Population

    def sample(self, rng: np.random.Generator, *, n_images: int = 120, n_subjects: int = 0) -> Sample:
        """New images, and what people say of them.

        Parameters
        ----------
        rng
            Draws images, subjects and noise.
        n_images
            At least 4, and no more than there are in a world with real features.
        n_subjects
            0 for one RDM, that of people. Otherwise each subject has a taste t, standard normal: their
            similarities are what people share plus t times what they differ by, which is uncorrelated
            with it. The variance of their ratings does not depend on the sign of t, so r of any features
            with them is its mean plus an odd function of t: differences between two r that are equal in
            the population average to 0 over subjects.
        """
        size = self.population.size
        if n_images < 4:
            raise InputError(f"a study has at least 4 images; got n_images={n_images}.")
        if size is not None and n_images > size:
            raise InputError(f"the world {self.name!r} has {size:,} images; got n_images={n_images}.")
        if n_subjects < 0:
            raise InputError(f"n_subjects is 0 or more; got {n_subjects}.")
        embedding, (shared, taste) = self.population.draw(n_images, rng)
        exact = shared + rng.normal(size=(n_subjects, 1)) * taste if n_subjects else shared
        return Sample(embedding, exact + self._errors(n_images, exact.shape, rng), self.ks[0], self.ks)

    def groups(self) -> tuple[_P, _P, _P]:
        """What a world of groups is made of, for a page that draws its images without Python.

        Returns
        -------
        mixing, thresholds, weights
            ``(n_groups, n_causes, n_features)``: features of a group are ``max(causes @ mixing − thresholds,
            0)`` with standard normal causes; ``(n_groups, n_features)``; and ``(n_groups,)``, by which the
            dissimilarities in each group of features alone enter what people share.
        """
        images, weights = self._made_of()
        return images.mixing, images.thresholds, weights

    def decoys(self, effects: Sequence[float]) -> _P:
        """How strongly the last group has to fire for causes that people do not see, for effects of its own.

        Where the last group sees other causes than those that people go by, it is noise, and the first k
        predict people better than all, whatever k: the better, the stronger it fires.

        Parameters
        ----------
        effects
            r(first k) / r(all) − 1, of a null world of groups; above 0, at most .5.

        Returns
        -------
        ndarray
            ``(n_effects,)``, by which the activations of the last group are multiplied: found by
            interpolation, from 10,000 images.
        """
        wanted = np.asarray(effects, dtype=np.float64)
        if self.effect or not ((wanted > 0) & (wanted <= 0.5)).all():
            raise InputError(f"decoys are for a null world, with effects from above 0 to .5; got {effects}.")
        images, weights = self._made_of()
        rng = np.random.default_rng([0, 82])
        features, other = images(10_000, rng), images(10_000, rng)
        size = images.mixing.shape[2]
        seen = _units(np.split(features, len(images.mixing), axis=1))

        def r(embedding: _P) -> float:
            """With what people share, but for a factor that is the same for all embeddings."""
            z, _ = unit_vectors(embedding)
            shared = weights @ [_covariance(z, w) for w in seen]
            return float(shared / np.sqrt(_covariance(z, z)))

        kept, decoy = features[:, :-size], other[:, -size:]
        strengths = np.linspace(0, 2.5, 21)
        best = r(kept)
        better = [best / r(np.concatenate([kept, strength * decoy], axis=1)) - 1 for strength in strengths]
        return np.interp(wanted, better, strengths)

    def _made_of(self) -> tuple[_Groups, _P]:
        """Groups of features, and their weights in what people share."""
        if not isinstance(self.population, _Endless) or not isinstance(self.population.images, _Groups):
            raise InputError(f"the world {self.name!r} is not made of groups.")
        return self.population.images, self.population.weights[0]

    def _errors(self, n: int, shape: tuple[int, ...], rng: np.random.Generator) -> _P:
        """Independent noise of ratings of the pairs of `n` images, with variance ``noise²`` on average."""
        if self.tails is None:
            errors = rng.normal(size=shape)
        else:
            errors = rng.standard_t(self.tails, size=shape) * np.sqrt(1 - 2 / self.tails)
        if self.uneven:
            spread = np.sqrt(rng.lognormal(-(self.uneven**2) / 2, self.uneven, size=n))
            first, second = np.triu_indices(n, k=1)
            errors *= spread[first] * spread[second]
        return np.asarray(self.noise * errors)


# --- the worlds ----------------------------------------------------------------------------------


@lru_cache(maxsize=32)
def world(
    name: str = "groups",
    *,
    effect: float = 0.0,
    n_groups: int = 8,
    n_features: int = 8,
    seed: int = 0,
    apart: bool = False,
) -> World:
    """Make a world in which the first k features predict people (1 + effect) times as well as all.

    Parameters
    ----------
    name
        One of :data:`WORLDS`. ``"lenet"`` trains its network when first asked for (seconds);
        ``"googlenet"`` embeds its photographs (minutes). Both are kept in the cache.
    effect
        0 for a null world; greater than −1. In the worlds without groups r(all) is the same for all
        effects that leave people as much structure; a larger effect lowers it.
    n_groups, n_features
        Groups of features, and features in each; for the worlds of groups.
    seed
        Of the features and of the population that the weights are solved for; with real features, of
        people alone.
    apart
        Features of a group have the same PoZ, far from the other groups'; for the worlds of groups.

    Raises
    ------
    UnknownNameError
        The message lists the worlds.
    DataError
        Where the data of a world with real features are not on this machine (:func:`available`).
    """
    if name not in _KINDS:
        raise unknown("world", name, list(WORLDS))
    if not -1 < effect < np.inf:
        raise InputError(f"an effect is greater than −1; got {effect}.")
    kind, shape = _KINDS[name], (n_groups, n_features, apart)
    if kind.moments is _groups:
        found = _groups(seed, *shape)
    elif shape == (8, 8, False):
        found = kind.moments(seed)
    else:
        raise InputError(f"n_groups, n_features and apart are of worlds of groups; {name!r} has none.")
    weights, taste, signal = _people(found, effect)
    noise = 1.0  # half of the variance of a rating
    return World(
        name=name,
        effect=effect,
        ks=found.basis.ks,
        r=signal / np.sqrt(1 + noise**2),
        noise=noise,
        uneven=kind.uneven,
        tails=kind.tails,
        population=_population(found, np.stack([weights, taste])),
    )


def available(name: str) -> bool:
    """Whether a world can be made on this machine.

    Parameters
    ----------
    name
        One of :data:`WORLDS`. All but ``"googlenet"`` can be made anywhere.
    """
    if name not in _KINDS:
        raise unknown("world", name, list(WORLDS))
    return name != "googlenet" or not _missing()


# --- people --------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Basis:
    """The geometries that people's similarities are a weighted sum of.

    Those of slices of the features; or, with `mixtures`, of the first k features, and of a few mixtures
    of all, ``(n_features, n_mixtures)``, which no number of features has.
    """

    ks: tuple[int, ...]
    mixtures: _P | None = None

    def parts(self, features: _P) -> list[_P]:
        if self.mixtures is None:
            return np.split(features, self.ks[:-1], axis=1)
        return [*(features[:, :k] for k in self.ks), features @ self.mixtures]


@dataclass(frozen=True, eq=False)
class _Moments:
    """A population, and its variances and covariances of geometries.

    Attributes
    ----------
    images
        What draws images, or all images that there are.
    spread
        ``(n_steps,)``, standard deviations of the geometries of the first k features.
    between
        ``(n_steps, n_basis)``, their covariances with the basis.
    own
        ``(n_basis, n_basis)``, covariances of the basis.
    direction
        ``(n_basis,)``, what subjects differ by, roughly.
    """

    images: Callable[[int, np.random.Generator], _P] | NDArray[np.float32]
    basis: _Basis
    spread: _P
    between: _P
    own: _P
    direction: _P


def _people(found: _Moments, effect: float) -> tuple[_P, _P, _P]:
    """Weights of the basis in what people share and differ by; r of the first k with them, without noise."""
    steps, size = found.between.shape
    wanted = np.append(np.full(steps - 1, 1 + effect), 1.0)
    weights = np.zeros(size)
    weights[:steps] = np.linalg.solve(found.between[:, :steps], wanted * found.spread)
    if size > steps:
        # What the geometry of people's own has that is uncorrelated with that of the first k, for every k.
        rest = np.append(-np.linalg.solve(found.between[:, :steps], found.between[:, steps]), 1.0)
        room = max(_SIGNAL**-2 - weights @ found.own @ weights, 0)
        weights += rest * np.sqrt(room / (rest @ found.own @ rest))
    scale = np.sqrt(weights @ found.own @ weights)
    # Subjects differ in a direction that is uncorrelated with what they share: then r with their
    # ratings is an odd function of how they differ, and differences between two r average to 0.
    taste = found.direction - weights * (found.direction @ found.own @ weights) / scale**2
    taste *= _TASTE * scale / np.sqrt(taste @ found.own @ taste)
    return weights / scale, taste / scale, wanted / scale


def _population(found: _Moments, weights: _P) -> _Population:
    if callable(found.images):
        return _Endless(found.images, found.basis, weights)
    features = found.images.astype(np.float64)
    people = np.zeros((len(weights), len(features), len(features)), dtype=np.float32)
    for weight, part in zip(weights.T, found.basis.parts(features), strict=True):
        unit, _ = unit_vectors(part)
        people += (weight[:, None, None] * (1 - unit @ unit.T)).astype(np.float32)
    return _Finite(found.images, people)


@dataclass(frozen=True, eq=False)
class _Endless:
    """Images that are made up when they are drawn; `weights` ``(2, n_basis)``."""

    images: Callable[[int, np.random.Generator], _P]
    basis: _Basis
    weights: _P
    size: None = None

    def draw(self, n: int, rng: np.random.Generator) -> tuple[_P, _P]:
        features = self.images(n, rng)
        basis = np.stack([1 - pair_similarities(part) for part in self.basis.parts(features)])
        return features, self.weights @ basis


@dataclass(frozen=True, eq=False)
class _Finite:
    """Images that there are; `people` ``(2, n_images, n_images)``."""

    features: NDArray[np.float32]
    people: NDArray[np.float32]

    @property
    def size(self) -> int:
        return len(self.features)

    def draw(self, n: int, rng: np.random.Generator) -> tuple[_P, _P]:
        chosen = rng.choice(len(self.features), size=n, replace=False)
        first, second = np.triu_indices(n, k=1)
        said = self.people[:, chosen[first], chosen[second]]
        return self.features[chosen].astype(np.float64), said.astype(np.float64)


# --- images and features -------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Groups:
    """Groups of features with causes of their own; ``(n_groups, n_causes, n_features)``, and thresholds."""

    mixing: _P
    thresholds: _P

    def __call__(self, n: int, rng: np.random.Generator) -> _P:
        causes = rng.normal(size=(len(self.mixing), n, self.mixing.shape[1]))
        return np.concatenate(
            [np.maximum(c @ m - t, 0) for c, m, t in zip(causes, self.mixing, self.thresholds, strict=True)],
            axis=1,
        )


@lru_cache(maxsize=8)
def _groups(seed: int, n_groups: int = 8, n_features: int = 8, apart: bool = False) -> _Moments:
    if n_groups < 2 or n_features < 4:
        raise InputError(f"a world has at least two groups of four features; got {n_groups} of {n_features}.")
    rng = np.random.default_rng([seed, 77])
    mixing = rng.normal(size=(n_groups, _CAUSES, n_features))
    # Later groups fire more rarely.
    thresholds = np.linspace(-0.5, 1.0, n_groups)[:, None] + rng.normal(size=(n_groups, n_features)) * 0.3
    if apart:
        spread = np.sqrt((mixing**2).sum(axis=1))  # of a feature before the ReLU
        thresholds = np.linspace(-1.3, 1.7, n_groups)[:, None] * spread
    images = _Groups(mixing, thresholds)
    basis = _Basis(tuple(n_features * (g + 1) for g in range(n_groups)))
    features = images(200_000, rng)
    alone, prefixes = _units(basis.parts(features)), _units([features[:, :k] for k in basis.ks])
    spread = np.sqrt([_covariance(z, z) for z in prefixes])
    between, own = _covariances(prefixes, alone), _covariances(alone, alone)
    return _Moments(images, basis, spread, between, own, direction=rng.normal(size=n_groups))


@dataclass(frozen=True, eq=False)
class _Rectified:
    """Features that are mixtures of causes, above their thresholds."""

    causes: Callable[[int, np.random.Generator], _P]
    mixing: _P  # (n_causes, n_features)
    thresholds: _P

    def __call__(self, n: int, rng: np.random.Generator) -> _P:
        return np.maximum(self.causes(n, rng) @ self.mixing - self.thresholds, 0)


@dataclass(frozen=True)
class _HeavyTails:
    """Causes that are distributed as t, times a contrast of the image that is lognormal."""

    n_causes: int
    contrast: float

    def __call__(self, n: int, rng: np.random.Generator) -> _P:
        causes = rng.standard_t(4, size=(n, self.n_causes))
        return causes * rng.lognormal(0, self.contrast, size=(n, 1))


@dataclass(frozen=True, eq=False)
class _Clusters:
    """Causes around the centre ``(n_clusters, n_causes)`` of one of the clusters."""

    centres: _P
    shares: _P

    def __call__(self, n: int, rng: np.random.Generator) -> _P:
        cluster = rng.choice(len(self.centres), size=n, p=self.shares)
        return self.centres[cluster] + rng.normal(size=(n, self.centres.shape[1]))


@lru_cache(maxsize=4)
def _heavy_tails(seed: int, contrast: float = 0.5) -> _Moments:
    rng = np.random.default_rng([seed, 78])
    n_causes, n_features = 8, 80
    mixing = rng.normal(size=(n_causes, n_features)) / np.sqrt(n_causes)
    thresholds = np.linspace(-1.5, 2.0, n_features) + rng.normal(size=n_features) * 0.3
    return _made(_Rectified(_HeavyTails(n_causes, contrast), mixing, thresholds), rng)


@lru_cache(maxsize=4)
def _clusters(seed: int) -> _Moments:
    rng = np.random.default_rng([seed, 79])
    n_clusters, n_causes, n_features, n_dead = 12, 24, 200, 10
    causes = _Clusters(rng.normal(size=(n_clusters, n_causes)), rng.dirichlet(np.full(n_clusters, 2.0)))
    mixing = rng.normal(size=(n_causes, n_features))
    mixing /= np.sqrt(2 * (mixing**2).sum(axis=0))
    silent = np.linspace(0.4, 0.97, n_features)  # PoZ, if there were no clusters
    thresholds = stats.norm.isf(1 - silent)
    # Features that fire more rarely fire more strongly, as after normalisation over images.
    strength = 1 / np.sqrt(1 - silent)
    thresholds[-n_dead:] = np.inf
    return _made(_Rectified(causes, mixing * strength, thresholds * strength), rng)


def _made(images: _Rectified, rng: np.random.Generator) -> _Moments:
    """The moments of a population without end, from 100,000 images; features in the order of PoZ."""
    features = images(100_000, rng)
    order = poz.order(poz.poz(features))
    images = replace(images, mixing=images.mixing[:, order], thresholds=images.thresholds[order])
    return _nested(images, features[:, order], rng)


def _real(features: NDArray[np.float32], rng: np.random.Generator) -> _Moments:
    """The moments of the images that there are; features in the order of PoZ."""
    features = features[:, poz.order(poz.poz(features))]
    return _nested(features, features.astype(np.float64), rng)


def _nested(images: Any, features: _P, rng: np.random.Generator) -> _Moments:
    n_features = features.shape[1]
    ks = tuple(round(share * n_features) for share in _SHARES)
    basis = _Basis(ks, rng.normal(size=(n_features, _MIXTURES)))
    units = _units(basis.parts(features))
    own = np.empty((len(units), len(units)))
    for i, z in enumerate(units):
        own[i, : i + 1] = own[: i + 1, i] = [_covariance(z, w) for w in units[: i + 1]]
    spread, between = np.sqrt(np.diag(own)[: len(ks)]), own[: len(ks)]
    direction = np.zeros(len(own))
    # Some subjects go by the features that fire most often more than others do.
    direction[0], direction[len(ks) - 1] = 1 / spread[0], -1 / spread[-1]
    return _Moments(images, basis, spread, between, own, direction)


@lru_cache(maxsize=4)
def _lenet(seed: int) -> _Moments:
    from rarefire import embeddings, stimuli, training  # torch takes seconds to import

    [instance] = training.train("digits", seeds=[0], jobs=1, device="cpu")
    network = instance.network()
    splits = [embeddings.extract(network, stimuli.load("digits", split)) for split in ("train", "test")]
    return _real(np.concatenate(splits), np.random.default_rng([seed, 80]))


@lru_cache(maxsize=4)
def _googlenet(seed: int) -> _Moments:
    missing = _missing()
    if missing:
        raise DataError(
            f"the world 'googlenet' needs {' and '.join(missing)}, which this machine does not have. Set "
            "RAREFIRE_MIRROR to a folder that holds them, or take another world."
        )
    from rarefire import embeddings, networks, stimuli

    definition = store.at_hand(_NETWORKS)
    assert definition is not None  # it is not missing
    images = stimuli.gallery(size=224)
    files = [store.file_digest(file) for file in (definition, definition.with_name(_WEIGHTS))]
    path = store.cache_dir() / "worlds" / f"googlenet-{store.key(network=files, images=images.digest)}.npy"
    with store.alone(path.with_suffix(".world"), wait_for="GoogLeNet's features"):
        features = embeddings.cached(path, len(images))
        if features is None:
            features = embeddings.save(path, networks.build(f"{definition}:googlenet"), images, progress=True)
    return _real(np.array(features), np.random.default_rng([seed, 81]))


_NETWORKS = "networks/nets.py"
_WEIGHTS = "googlenet_bvlc_fp16.npz"
_PHOTOGRAPHS = "imagenet-sample"


def _missing() -> list[str]:
    """What the world of GoogLeNet needs and this machine does not have."""
    needed = (_NETWORKS, f"networks/{_WEIGHTS}", _PHOTOGRAPHS)
    return [name for name in needed if store.at_hand(name) is None]


@dataclass(frozen=True)
class _Kind:
    moments: Callable[..., _Moments]
    uneven: float = _UNEVEN
    tails: float | None = None


_KINDS = {
    "groups": _Kind(_groups, uneven=0.0),
    "groups, uneven noise": _Kind(_groups),
    "heavy tails": _Kind(_heavy_tails, tails=5.0),
    "heavier tails": _Kind(functools.partial(_heavy_tails, contrast=0.75), tails=5.0),
    "clusters": _Kind(_clusters),
    "lenet": _Kind(_lenet),
    "googlenet": _Kind(_googlenet),
}

#: Names of the worlds; what each is stands at the top of this module.
WORLDS = tuple(_KINDS)


# --- moments -------------------------------------------------------------------------------------


def _units(parts: list[_P]) -> list[_P]:
    return [unit_vectors(features)[0] for features in parts]


def _covariances(first: list[_P], second: list[_P]) -> _P:
    """Covariances of each geometry with each, from unit vectors: ``(len(first), len(second))``."""
    return np.array([[_covariance(z, w) for w in second] for z in first])


def _covariance(z: _P, w: _P) -> float:
    """Covariance over pairs of images of two similarities, from unit vectors.

    Images without a similarity count as if they had one with themselves: they are few, or none.
    """
    n = len(z)
    pairs = n * (n - 1)
    cross = float(((z.T @ w) ** 2).sum()) - n
    means = [(float((v.sum(axis=0) ** 2).sum()) - n) / pairs for v in (z, w)]
    return cross / pairs - means[0] * means[1]
