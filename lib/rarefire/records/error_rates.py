"""How often each test is wrong where nothing is to be found, and right where something is.

Measured in the worlds of :mod:`rarefire.simulations`, where the truth is known.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import joblib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from rarefire import inference, naive, selection
from rarefire._engine import blocks
from rarefire.errors import unknown
from rarefire.rdm import pair_similarities
from rarefire.records.record import Array, Stack, answer_each
from rarefire.simulations import World, world

__all__ = [
    "EFFECT",
    "NAMES",
    "SIMULATIONS",
    "TESTS",
    "Rates",
    "Rejects",
    "Simulated",
    "known",
    "measure",
    "rejections",
]

_N_BOOT = 500
_N_ORDERS = 199

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


def _naive(test: Callable[..., float], *, over: bool = False, drawn: bool = False) -> Rejects:
    """A test of :mod:`rarefire.naive`; over several k, with partitions drawn."""

    def rejects(world: World, rng: np.random.Generator) -> bool:
        given = world.sample(rng)
        options: dict[str, Any] = {"k": given.ks if over else given.kept} | ({"rng": rng} if drawn else {})
        return test(given.embedding, given.human, given.order, **options) < 0.05

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
        first, second = (-np.corrcoef(pair_similarities(kind), given.human)[0, 1] for kind in kinds)
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
    "Williams' test over pairs": Simulated(_naive(naive.williams), "pair", offered=False),
    "paired t over 8 × 5 folds": Simulated(
        _naive(naive.paired_t_over_folds, drawn=True), "fold", offered=False
    ),
    "jackknife, smallest p over k": Simulated(_naive(naive.smallest_p, over=True), "image", offered=False),
    "Nadeau–Bengio corrected t over folds": Simulated(
        _naive(naive.nadeau_bengio, drawn=True), "fold", offered=False
    ),
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


@dataclass(frozen=True, eq=False, repr=False)
class Rates(Stack):
    """Whether each of :data:`TESTS` rejected, in each simulation; the test is the first axis."""

    one = "test"
    null = Array("T, n", "in null worlds, or whether a 95 % interval misses the truth")
    effect = Array("T, n", "in worlds with an effect; false for intervals, which have no power")

    @property
    def network(self) -> str:
        """What was simulated, for captions."""
        return f"{self.null.shape[1]:,} simulations of every test"

    @property
    def about(self) -> str:
        """Where, for captions."""
        return "drawn worlds"

    def table(self) -> pd.DataFrame:
        """The rates.

        Returns
        -------
        DataFrame
            A row for each of :data:`TESTS`: ``test``, ``unit``, ``offered``, ``false positives`` (share of
            the null simulations in which it rejects at .05, or in which a 95 % interval misses the truth),
            ``error`` (Monte-Carlo standard error of a rate of .05), ``power`` (share of rejections where
            the kept features predict people 1 + :data:`EFFECT` times as well as all).
        """
        tests = TESTS.values()
        power = [row.mean() if t.has_power else np.nan for row, t in zip(self.effect, tests, strict=True)]
        return pd.DataFrame(
            {
                "test": NAMES,
                "unit": [t.unit for t in tests],
                "offered": [t.offered for t in tests],
                "false positives": self.null.mean(axis=1),
                "error": np.sqrt(0.05 * 0.95 / self.null.shape[1]),
                "power": power,
            }
        )


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


def measure(*, n: int = SIMULATIONS, use_shipped: bool = True, progress: bool = False) -> Rates:
    """Measure how often each test is wrong in a null world, and right in one with an effect.

    Parameters
    ----------
    n
        Simulations for each test and each kind of world.
    use_shipped
        Whether the recorded rates count.
    progress
        Show progress bars; the recorded number takes half an hour on two cores.
    """

    def compute(missing: list[str]) -> Iterator[tuple[str, dict[str, NDArray[Any]]]]:
        for test in missing:
            null = rejections(test, n=n, progress=progress)
            effect = np.zeros_like(null)
            if TESTS[test].has_power:
                effect = rejections(test, n=n, effect=EFFECT, progress=progress)
            yield test, {"null": null, "effect": effect}

    answers = answer_each(
        "error-rate", *_facts(n), compute, use_shipped=use_shipped, what=f"error rates, {n:,} simulations"
    )
    return Rates(tuple(answers.values()))


def known(*, n: int = SIMULATIONS) -> Rates | None:
    """The rates that are recorded or cached; None where one is missing."""
    answers = answer_each("error-rate", *_facts(n), None)
    return Rates(tuple(answers.values())) if len(answers) == len(NAMES) else None


def _facts(n: int) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    shared = {"n": n, "effect": EFFECT, "n_boot": _N_BOOT, "n_orders": _N_ORDERS}
    return shared, {test: {"test": test} for test in NAMES}
