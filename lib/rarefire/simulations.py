"""Worlds in which the truth is known: how often a test says that features matter when they do not.

In a null world, images, features and people are drawn such that, over all images that could be drawn,
the first features predict people exactly as well as all of them: D = r(kept, human) − r(all, human) = 0.
A valid test at level .05 then says otherwise in one of twenty samples of images, no more.

The features come in groups, each driven by causes of its own, so each adds a geometry of its own.
People's similarities are a weighted sum of the groups' geometries, and noise. The weights solve linear
equations in the population's variances and covariances of geometries; those are computed over
200,000 images by the identities of :mod:`rarefire.grams`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from rarefire import blocks, inference, selection, store
from rarefire.errors import InputError, unknown
from rarefire.rdm import unit_vectors

__all__ = [
    "EFFECT",
    "NAMES",
    "TESTS",
    "Sample",
    "Simulated",
    "World",
    "error_rates",
    "rejections",
    "ship",
    "world",
]

_VERSION = 1  # raise it when the same seed would give other rates
_POPULATION = 200_000
_CAUSES = 3  # per group
_N_BOOT = 500
_N_ORDERS = 199

P = NDArray[np.float64]


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

    embedding: P
    human: P
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
    mixing: P
    thresholds: P
    weights: P
    taste: P
    noise: float
    r: P

    @property
    def ks(self) -> tuple[int, ...]:
        """Numbers of features after each group."""
        groups, _, features = self.mixing.shape
        return tuple(features * (g + 1) for g in range(groups))

    def images(self, n: int, rng: np.random.Generator) -> P:
        """Features of `n` new images: ``(n, n_features)``."""
        causes = rng.normal(size=(len(self.mixing), n, self.mixing.shape[1]))
        return np.concatenate(
            [np.maximum(c @ m - t, 0) for c, m, t in zip(causes, self.mixing, self.thresholds, strict=True)],
            axis=1,
        )

    def sample(self, rng: np.random.Generator, *, n_images: int = 120, n_subjects: int = 0) -> Sample:
        """New images, and what people say of them."""
        embedding = self.images(n_images, rng)
        groups = np.stack([1 - _similarities(part) for part in np.split(embedding, self.ks[:-1], axis=1)])

        def ratings(weights: P) -> P:
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


def _covariance(z: P, w: P) -> float:
    """Covariance over pairs of images of two similarities, from unit vectors."""
    n = len(z)
    pairs = n * (n - 1)
    cross = float(((z.T @ w) ** 2).sum()) - n
    means = [(float((v.sum(axis=0) ** 2).sum()) - n) / pairs for v in (z, w)]
    return cross / pairs - means[0] * means[1]


def _similarities(features: P) -> P:
    """Of all pairs, condensed; 0 where an image has no defined similarity, as in the population."""
    unit, _ = unit_vectors(features)
    return np.asarray((unit @ unit.T)[np.triu_indices(len(unit), k=1)])


# --- tests that treat pairs or folds as independent, for comparison ------------------------------


def paired_t_over_folds(sample: Sample, rng: np.random.Generator, *, seeds: int = 8, folds: int = 5) -> float:
    """P of a paired t test over `seeds` × `folds` test folds of the same images. Not valid."""
    d = differences_over_folds(sample, rng, seeds=seeds, folds=folds)
    return float(stats.ttest_1samp(d, 0).pvalue)


def nadeau_bengio(sample: Sample, rng: np.random.Generator, *, seeds: int = 8, folds: int = 5) -> float:
    """P of the same test with the variance corrected for overlapping folds (Nadeau & Bengio 2003)."""
    d = differences_over_folds(sample, rng, seeds=seeds, folds=folds)
    variance = d.var(ddof=1) * (1 / len(d) + 1 / (folds - 1))
    return float(2 * stats.t.sf(abs(d.mean()) / np.sqrt(variance), len(d) - 1))


def williams(sample: Sample, rng: np.random.Generator) -> float:  # noqa: ARG001
    """P of Williams' test of two correlations with a common variable, over pairs. Not valid.

    Steiger (1980), equation 7, with n(n−1)/2 pairs taken as independent observations.
    """
    kept, whole = _similarities(sample.embedding[:, : sample.kept]), _similarities(sample.embedding)
    human = -sample.human
    n = len(human)
    (a, b, c) = (np.corrcoef(x, y)[0, 1] for x, y in ((kept, human), (whole, human), (kept, whole)))
    determinant = 1 - a**2 - b**2 - c**2 + 2 * a * b * c
    average = (a + b) / 2
    scale = 2 * (n - 1) / (n - 3) * determinant + average**2 * (1 - c) ** 3
    t = (a - b) * np.sqrt((n - 1) * (1 + c) / scale)
    return float(2 * stats.t.sf(abs(t), n - 3))


def smallest_p(sample: Sample, rng: np.random.Generator) -> float:  # noqa: ARG001
    """Smallest p of the jackknife over all k, as if that k had been chosen beforehand. Not valid."""
    found = inference.jackknife(sample.embedding, sample.order, rdm=sample.human, k=sample.ks)
    p = found.estimate("difference").p[:-1]
    return float(np.nanmin(p))


def differences_over_folds(sample: Sample, rng: np.random.Generator, *, seeds: int = 8, folds: int = 5) -> P:
    """r(kept, human) − r(all, human) on every test fold of the same images: ``(seeds × folds,)``."""
    unit, _ = unit_vectors(sample.embedding)
    first, _ = unit_vectors(sample.embedding[:, : sample.kept])
    n = len(unit)
    human = np.zeros((n, n))
    human[np.triu_indices(n, k=1)] = -sample.human
    human += human.T
    found = []
    for _ in range(seeds):
        for part in np.array_split(rng.permutation(n), folds):
            pairs = np.triu_indices(len(part), k=1)
            people = human[np.ix_(part, part)][pairs]
            kept, whole = ((z[part] @ z[part].T)[pairs] for z in (first, unit))
            found.append(np.corrcoef(kept, people)[0, 1] - np.corrcoef(whole, people)[0, 1])
    return np.array(found)


# --- every test, in a world ----------------------------------------------------------------------

#: Draws what it needs from a world, and says whether it rejects at .05.
Rejects = Callable[[World, np.random.Generator], bool]


@dataclass(frozen=True)
class Simulated:
    """A test as it is simulated.

    Attributes
    ----------
    rejects
        Whether it does on a new sample from a world.
    unit
        What it takes to vary.
    offered
        Whether the package offers it; the others stand there for comparison.
    has_power
        Whether a planted effect is something for it to find.
    """

    rejects: Rejects
    unit: str
    offered: bool = True
    has_power: bool = True


def _of_sample(p: Callable[[Sample, np.random.Generator], float]) -> Rejects:
    def rejects(world: World, rng: np.random.Generator) -> bool:
        return p(world.sample(rng), rng) < 0.05

    return rejects


def _change(method: Any, *, n_subjects: int = 0) -> Rejects:
    def rejects(world: World, rng: np.random.Generator) -> bool:
        given = world.sample(rng, n_subjects=n_subjects)
        drawn: dict[str, Any] = {} if method == "jackknife" else {"n_boot": _N_BOOT, "rng": rng}
        k: Any = given.ks if method == "maximum" else given.kept
        found = inference.change_of_prediction(
            given.embedding, given.human, given.order, k=k, method=method, **drawn
        )
        return found.p < 0.05

    return rejects


def _orders(*, whole: bool) -> Rejects:
    def rejects(world: World, rng: np.random.Generator) -> bool:
        given = world.sample(rng)
        # Under the null the order in question is any order; in a world with an effect, it is the groups'.
        order = given.order if world.effect else rng.permutation(given.order)
        k = given.ks[:-1] if whole else [given.kept]
        options: dict[str, Any] = {"rdm": given.human, "n_orders": _N_ORDERS, "k": k}
        found = inference.random_orders(given.embedding, order, rng=rng, **options)
        return bool((found.maximum() if whole else found.p[0]) <= 0.05)

    return rejects


def _family(world: World, rng: np.random.Generator) -> bool:
    """Six image sets; any of them, after Holm's adjustment."""
    p = []
    for _ in range(6):
        given = world.sample(rng)
        arguments = (given.embedding, given.human, given.order)
        p.append(inference.change_of_prediction(*arguments, k=given.kept, method="jackknife").p)
    return bool((inference.holm(p) < 0.05).any())


def _cross_fitted(*, n_subjects: int = 0) -> Rejects:
    """The number of features chosen too, on other images."""

    def rejects(world: World, rng: np.random.Generator) -> bool:
        given = world.sample(rng, n_subjects=n_subjects)
        arguments = (given.embedding, given.human, given.order)
        return selection.cross_fitted(*arguments, k=given.ks, rng=rng).p < 0.05

    return rejects


def _cross_fitted_order(world: World, rng: np.random.Generator) -> bool:
    """The order chosen too, by the PoZ of the images that choose k; features come shuffled."""
    apart = _apart(world.effect)
    given = apart.sample(rng)
    shuffled = given.embedding[:, rng.permutation(given.order)]
    return selection.cross_fitted(shuffled, given.human, "low", k=given.ks, rng=rng).p < 0.05


@lru_cache(maxsize=4)
def _apart(effect: float) -> World:
    """A world of four groups whose PoZ differ so much that any sample tells them apart."""
    return world(effect=effect, n_groups=4, apart=True)


def _seeds(world: World, rng: np.random.Generator) -> bool:
    """Twenty networks on the same images, and whether two kinds of features predict people equally."""
    given = world.sample(rng)
    n, half = given.embedding.shape[1], 20
    differences = []
    for _ in range(20):
        features = given.embedding @ rng.normal(size=(n, 2 * half)) / np.sqrt(n)
        features[:, half:] += 6 * world.effect * rng.normal(size=features[:, half:].shape)
        kinds = np.split(np.maximum(features, 0), 2, axis=1)
        first, second = (-np.corrcoef(_similarities(kind), given.human)[0, 1] for kind in kinds)
        differences.append([first - second])
    return bool(inference.seed_interval(differences).p[0] < 0.05)


def _misses(kind: str, quantity: Any) -> Rejects:
    """Whether the 95 % interval misses the population's value."""

    def rejects(world: World, rng: np.random.Generator) -> bool:
        given = world.sample(rng)
        options: dict[str, Any] = {"rdm": given.human, "k": [given.kept]}
        if kind == "jackknife":
            replicates = inference.jackknife(given.embedding, given.order, **options)
        else:
            options |= {"n_boot": _N_BOOT, "rng": rng}
            replicates = inference.bootstrap(given.embedding, given.order, **options)
        found = replicates.estimate(quantity)
        truth = world.r[0] ** 2 if quantity == "r2" else world.r[0]
        return not found.low[0] <= truth <= found.high[0]

    return rejects


def _band_misses(world: World, rng: np.random.Generator) -> bool:
    """Whether the 95 % band for the whole curve misses the population's curve anywhere."""
    given = world.sample(rng)
    options: dict[str, Any] = {"rdm": given.human, "k": given.ks, "n_boot": _N_BOOT, "rng": rng}
    band = inference.bootstrap(given.embedding, given.order, **options).maximum("r")
    return bool((world.r < band.low).any() or (world.r > band.high).any())


#: By name; those that are not offered stand there for comparison.
TESTS: dict[str, Simulated] = {
    "Williams' test over pairs": Simulated(_of_sample(williams), "pair", offered=False),
    "paired t over 8 × 5 folds": Simulated(_of_sample(paired_t_over_folds), "fold", offered=False),
    "jackknife, smallest p over k": Simulated(_of_sample(smallest_p), "image", offered=False),
    "Nadeau–Bengio corrected t over folds": Simulated(_of_sample(nadeau_bengio), "fold", offered=False),
    "jackknife of the difference": Simulated(_change("jackknife"), "image"),
    "bootstrap of the difference": Simulated(_change("bootstrap"), "image"),
    "bootstrap, largest |t| over k": Simulated(_change("maximum"), "image"),
    "two-factor bootstrap of the difference": Simulated(
        _change("subjects-and-images", n_subjects=16), "subject and image"
    ),
    "jackknife in six sets, Holm": Simulated(_family, "image"),
    "random orders at one k": Simulated(_orders(whole=False), "order of features"),
    "random orders, largest deviation over k": Simulated(_orders(whole=True), "order of features"),
    "t over twenty seeds": Simulated(_seeds, "seed"),
    "jackknife interval of r": Simulated(_misses("jackknife", "r"), "image", has_power=False),
    "jackknife interval of R²": Simulated(_misses("jackknife", "r2"), "image", has_power=False),
    "bootstrap interval of r": Simulated(_misses("bootstrap", "r"), "image", has_power=False),
    "bootstrap interval of R²": Simulated(_misses("bootstrap", "r2"), "image", has_power=False),
    "bootstrap band of r over k": Simulated(_band_misses, "image", has_power=False),
    "k chosen on other images": Simulated(_cross_fitted(), "image"),
    "k chosen on other images, subjects": Simulated(_cross_fitted(n_subjects=16), "subject and image"),
    "PoZ order and k chosen on other images": Simulated(_cross_fitted_order, "image", has_power=False),
}
EFFECT = 0.1  # planted in the worlds in which power is measured
SIMULATIONS = 2000  # of each test in each kind of world, in the recorded table
#: Rows of the table: the tests, and the order of their random numbers.
NAMES = tuple(TESTS)


def rejections(
    test: str, *, n: int, effect: float = 0.0, seed: int = 0, jobs: int | None = None, progress: bool = False
) -> NDArray[np.bool_]:
    """Whether a test rejects at .05 in each of `n` independent samples from a world.

    Parameters
    ----------
    test
        One of :data:`TESTS`.
    n
        Simulations.
    effect
        As for :func:`world`.
    seed
        Of the samples; simulation i depends on seed and i alone.
    jobs
        Processes; default: one for each core.
    progress
        Show a progress bar.

    Returns
    -------
    ndarray
        ``(n,)``.
    """
    if test not in TESTS:
        raise unknown("test", test, list(TESTS))
    given = world(effect=effect)
    position = NAMES.index(test)
    tasks = (joblib.delayed(_one)(test, given, [seed, position, i]) for i in range(n))
    with blocks.processes(jobs or blocks.cores()):
        done = joblib.Parallel(return_as="generator", batch_size="auto")(tasks)
        return np.array(list(tqdm(done, total=n, desc=test, disable=not progress)))


def _one(test: str, given: World, seed: Sequence[int]) -> bool:
    with threadpool_limits(1):
        return TESTS[test].rejects(given, np.random.default_rng(seed))


def error_rates(*, n: int = SIMULATIONS, use_shipped: bool = True, progress: bool = False) -> pd.DataFrame:
    """Measure how often each test is wrong in a null world, and right in one with an effect.

    Parameters
    ----------
    n
        Simulations for each test and each kind of world.
    use_shipped
        Whether the recorded rates count.
    progress
        Show progress bars; the recorded number takes half an hour on two cores.

    Returns
    -------
    DataFrame
        A row for each of :data:`TESTS`: ``test``, ``unit``, ``offered``, ``false positives`` (share of
        the null simulations in which it rejects at .05, or in which a 95 % interval misses the truth),
        ``error`` (Monte-Carlo standard error of a rate of .05), ``power`` (share of rejections where
        the kept features predict people 1 + :data:`EFFECT` times as well as all).
    """
    found = [_recorded(test, n=n, use_shipped=use_shipped, progress=progress) for test in NAMES]
    return pd.DataFrame(
        {
            "test": NAMES,
            "unit": [t.unit for t in TESTS.values()],
            "offered": [t.offered for t in TESTS.values()],
            "false positives": [f.arrays["null"].mean() for f in found],
            "error": np.sqrt(0.05 * 0.95 / n),
            "power": [
                f.arrays["effect"].mean() if t.has_power else np.nan
                for f, t in zip(found, TESTS.values(), strict=True)
            ],
        }
    )


def ship(path: str | Path, *, n: int = SIMULATIONS) -> Path:
    """Write the rates as a file of shipped results; what is cached is not simulated again."""
    found = [_recorded(test, n=n, use_shipped=False, progress=True) for test in NAMES]
    return store.pack(path, found)


def _recorded(test: str, *, n: int, use_shipped: bool, progress: bool) -> store.Answer:
    facts = {
        "version": _VERSION,
        "test": test,
        "n": n,
        "effect": EFFECT,
        "n_boot": _N_BOOT,
        "n_orders": _N_ORDERS,
    }

    def compute() -> dict[str, NDArray[Any]]:
        null = rejections(test, n=n, progress=progress)
        if not TESTS[test].has_power:
            return {"null": null, "effect": np.zeros_like(null)}
        return {"null": null, "effect": rejections(test, n=n, effect=EFFECT, progress=progress)}

    answer = store.recall("error-rate", facts, compute, use_shipped=use_shipped)
    assert answer is not None  # it is computed where it is not known
    return answer
