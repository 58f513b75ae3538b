"""How often each test is wrong where nothing is to be found, and right where something is.

Measured in the worlds of :mod:`rarefire.simulations`, where the truth is known, for three numbers of images.
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
from scipy import stats
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from rarefire import inference, naive, rdm, selection, simulations, triplets
from rarefire._engine import blocks
from rarefire.errors import unknown
from rarefire.rdm import pair_similarities
from rarefire.records.record import Array, Stack, answer_each
from rarefire.simulations import World, world

__all__ = [
    "EFFECTS",
    "IMAGES",
    "LEVELS",
    "STUDIES",
    "TESTS",
    "Outcomes",
    "Rates",
    "Simulated",
    "Study",
    "known",
    "measure",
    "outcomes",
]

_Row = tuple[str, str, int]  # a test, a world and a number of images

_N_BOOT = 500
_N_ORDERS = 199
_N_DRAWS = 2000  # of a multivariate t
_ASKED = 0.11  # of all ordered triplets; half of them are asked, as of the 100 materials

#: Images of a study.
IMAGES = (36, 92, 120)
#: Kept features predict people 1 + effect times as well as all: 0 where nothing is to be found.
EFFECTS = (0.0, 0.05, 0.1)
#: Nominal levels.
LEVELS = (0.05, 0.01, 0.001)

#: What a simulated study gives: by test its p, or for an interval on which side of it the truth lies: −1
#: below, 1 above, 0 inside.
Outcomes = dict[str, float]


@dataclass(frozen=True)
class Study:
    """What is done with a sample from a world, for one test or several that share the work.

    Attributes
    ----------
    run
        ``(world, n_images, rng)`` -> :data:`Outcomes`.
    n
        Studies without an effect that are simulated; half as many with each.
    worlds, images
        Where, and with how many images.
    """

    run: Callable[[World, int, np.random.Generator], Outcomes]
    n: int
    worlds: tuple[str, ...] = simulations.WORLDS
    images: tuple[int, ...] = IMAGES


@dataclass(frozen=True)
class Simulated:
    """A test, or an interval, as it is simulated.

    Attributes
    ----------
    study
        Of :data:`STUDIES`.
    unit
        What it takes to vary.
    kind
        ``"test"``, or ``"interval"``, which has a coverage and no power.
    offered
        Whether the package offers it; the others stand there for comparison.
    """

    study: str
    unit: str
    kind: str = "test"
    offered: bool = True


def _side(low: float, truth: float, high: float) -> float:
    """On which side of an interval the truth lies."""
    return float(truth > high) - float(truth < low)


def _people(n_images: int) -> int:
    """Subjects of a study: eight with few images, else sixteen, as in the studies that are at hand."""
    return 8 if n_images < 60 else 16


# --- studies -------------------------------------------------------------------------------------


def _corrected(given_world: World, n: int, rng: np.random.Generator) -> Outcomes:
    """J− and the plain jackknife, of one RDM."""
    given = given_world.sample(rng, n_images=n)
    found = inference.corrected_jackknife(given.embedding, given.order, rdm=given.human, k=given.ks)
    d, r, r2 = (found.estimate(quantity) for quantity in ("difference", "r", "r2"))
    draws: dict[str, Any] = {"rng": rng, "n_draws": _N_DRAWS}
    plain = inference.jackknife(given.embedding, given.order, rdm=given.human, k=given.ks)
    plain_d, plain_r = plain.estimate("difference"), plain.estimate("r")
    truth, whole = given_world.r[0], given_world.r[-1]
    return {
        "J−": d.p[0],
        "J−, largest t over k": found.maximum(alternative="greater", **draws).p,
        "J−, largest |t| over k": found.maximum(**draws).p,
        "J− interval of D": _side(d.low[0], truth - whole, d.high[0]),
        "J− interval of r": _side(r.low[0], truth, r.high[0]),
        "J− interval of R²": _side(r2.low[0], truth**2, r2.high[0]),
        "plain jackknife": plain_d.p[0],
        "plain jackknife interval of r": _side(plain_r.low[0], truth, plain_r.high[0]),
        "plain jackknife, smallest p over k": float(np.nanmin(plain_d.p[:-1])),
    }


def _subjects(given_world: World, n: int, rng: np.random.Generator) -> Outcomes:
    """J− of several subjects, who vary too."""
    given = given_world.sample(rng, n_images=n, n_subjects=_people(n))
    found = inference.corrected_jackknife(given.embedding, given.order, rdm=given.human, k=given.ks)
    d = found.estimate("difference")
    largest = found.maximum(alternative="greater", rng=rng, n_draws=_N_DRAWS)
    return {
        "J−, subjects and images": d.p[0],
        "J−, subjects and images, largest t over k": largest.p,
        "J− interval of D, subjects": _side(d.low[0], 0.0, d.high[0]),
    }


def _family(given_world: World, n: int, rng: np.random.Generator) -> Outcomes:
    """Six image sets; any of them, after Holm's adjustment."""
    p = []
    for _ in range(6):
        given = given_world.sample(rng, n_images=n)
        arguments = (given.embedding, given.human, given.order)
        p.append(inference.change_of_prediction(*arguments, k=given.kept, method="jackknife").p)
    return {"J− in six sets, Holm": float(inference.holm(p).min())}


def _bootstraps(given_world: World, n: int, rng: np.random.Generator) -> Outcomes:
    given = given_world.sample(rng, n_images=n)
    options: dict[str, Any] = {"rdm": given.human, "k": given.ks, "n_boot": _N_BOOT, "rng": rng}
    found = inference.bootstrap(given.embedding, given.order, **options)
    r, r2, band = found.estimate("r"), found.estimate("r2"), found.maximum("r")
    truth = given_world.r
    return {
        "bootstrap": found.estimate("difference").p[0],
        "bootstrap, largest |t| over k": found.maximum().p,
        "bootstrap interval of r": _side(r.low[0], truth[0], r.high[0]),
        "bootstrap interval of R²": _side(r2.low[0], truth[0] ** 2, r2.high[0]),
        "bootstrap band of r over k": float((truth > band.high).any()) or -float((truth < band.low).any()),
    }


def _two_factor_bootstrap(given_world: World, n: int, rng: np.random.Generator) -> Outcomes:
    given = given_world.sample(rng, n_images=n, n_subjects=_people(n))
    options: dict[str, Any] = {"rdms": given.human, "k": [given.kept], "n_boot": _N_BOOT, "rng": rng}
    found = inference.two_factor_bootstrap(given.embedding, given.order, **options)
    return {"two-factor bootstrap": found.estimate("difference").p[0]}


def _naive(given_world: World, n: int, rng: np.random.Generator) -> Outcomes:
    given = given_world.sample(rng, n_images=n)
    arguments = (given.embedding, given.human, given.order)
    d = naive.differences_over_folds(*arguments, k=given.kept, rng=rng)
    d = d[np.isfinite(d)]
    variance = d.var(ddof=1) * (1 / len(d) + 1 / 4)  # five folds
    return {
        "Williams' test over pairs": naive.williams(*arguments, k=given.kept),
        "paired t over 8 × 5 folds": float(stats.ttest_1samp(d, 0).pvalue),
        "Nadeau–Bengio corrected t over folds": float(
            2 * stats.t.sf(abs(d.mean()) / np.sqrt(variance), len(d) - 1)
        ),
    }


def _cross_fitted(given_world: World, n: int, rng: np.random.Generator) -> Outcomes:
    """The number of features chosen too, on other images."""
    given = given_world.sample(rng, n_images=n)
    arguments = (given.embedding, given.human, given.order)
    return {"k chosen on other images": selection.cross_fitted(*arguments, k=given.ks, rng=rng).p}


def _cross_fitted_subjects(given_world: World, n: int, rng: np.random.Generator) -> Outcomes:
    given = given_world.sample(rng, n_images=n, n_subjects=_people(n))
    arguments = (given.embedding, given.human, given.order)
    return {"k chosen on other images, subjects": selection.cross_fitted(*arguments, k=given.ks, rng=rng).p}


def _cross_fitted_order(given_world: World, n: int, rng: np.random.Generator) -> Outcomes:
    """The order chosen too, by the PoZ of the images that choose k; features come shuffled."""
    given = _apart(given_world.effect).sample(rng, n_images=n)
    shuffled = given.embedding[:, rng.permutation(given.order)]
    found = selection.cross_fitted(shuffled, given.human, "low", k=given.ks, rng=rng)
    return {"PoZ order and k chosen on other images": found.p}


@lru_cache(maxsize=4)
def _apart(effect: float) -> World:
    """A world of four groups whose PoZ differ so much that any sample tells them apart."""
    return world(effect=effect, n_groups=4, apart=True)


def _triplets(given_world: World, n: int, rng: np.random.Generator) -> Outcomes:
    """Which of two images looks more like a third, where kept and all features are right equally often.

    Where both agree, so do 85 % of the people; where they do not, people side with one of them by what single
    images do, as often with the one as with the other, and with an effect more often with the kept.
    """
    features = given_world.sample(rng, n_images=n).embedding
    kept, every = (rdm.square(rdm.rdm(e)) for e in (features[:, : given_world.ks[0]], features))
    asked = rng.integers(n, size=(round(_ASKED * n**3), 3))
    asked = asked[(asked[:, 0] != asked[:, 1]) & (asked[:, 0] != asked[:, 2]) & (asked[:, 1] < asked[:, 2])]
    r, a, b = np.unique(asked, axis=0).T
    first, second = (d[r, b] > d[r, a] for d in (kept, every))
    own = rng.normal(size=n) / 2
    sides = stats.norm.cdf(own[r] + (own[a] + own[b]) / 2 + 2 * given_world.effect)
    chooses_a = np.where(first == second, np.where(first, 0.85, 0.15), np.where(first, sides, 1 - sides))
    people = rng.integers(1, 6, size=len(r))
    votes = rng.binomial(people, chooses_a)
    ahead = votes >= people - votes
    rows = np.stack([r, np.where(ahead, a, b), np.where(ahead, b, a)], axis=1)
    counts = np.stack([np.maximum(votes, people - votes), np.minimum(votes, people - votes)], axis=1)
    given = triplets.Triplets("drawn", None, tuple(map(str, range(n))), rows, counts, "", "", "")
    order = np.arange(features.shape[1])
    return {
        "J− of agreement, triplets": triplets.change_of_agreement(
            features, given, order, k=given_world.ks[0]
        ).p
    }


def _orders(given_world: World, n: int, rng: np.random.Generator) -> Outcomes:
    given = given_world.sample(rng, n_images=n)
    # Under the null the order in question is any order; in a world with an effect, it is the groups'.
    order = given.order if given_world.effect else rng.permutation(given.order)
    options: dict[str, Any] = {"rdm": given.human, "n_orders": _N_ORDERS, "k": given.ks[:-1]}
    found = inference.random_orders(given.embedding, order, rng=rng, **options)
    return {
        "random orders at one k": float(found.p[0]),
        "random orders, largest deviation over k": found.maximum(),
    }


def _seeds(given_world: World, n: int, rng: np.random.Generator) -> Outcomes:
    """Twenty networks on the same images, and whether two kinds of features predict people equally."""
    given = given_world.sample(rng, n_images=n)
    n_features, half = given.embedding.shape[1], 20
    differences = []
    for _ in range(20):
        features = given.embedding @ rng.normal(size=(n_features, 2 * half)) / np.sqrt(n_features)
        features[:, half:] += 6 * given_world.effect * rng.normal(size=features[:, half:].shape)
        kinds = np.split(np.maximum(features, 0), 2, axis=1)
        first, second = (-np.corrcoef(pair_similarities(kind), given.human)[0, 1] for kind in kinds)
        differences.append([first - second])
    return {"t over twenty seeds": float(inference.seed_interval(differences).p[0])}


_ONE_WORLD: dict[str, Any] = {"worlds": ("groups",), "images": (120,)}

#: By name.
STUDIES: dict[str, Study] = {
    "corrected": Study(_corrected, 2000),
    "subjects": Study(_subjects, 1000),
    "family": Study(_family, 400),
    "bootstraps": Study(_bootstraps, 500),
    "two-factor bootstrap": Study(_two_factor_bootstrap, 400),
    "naive": Study(_naive, 1000),
    "cross-fitted": Study(_cross_fitted, 400),
    "cross-fitted, subjects": Study(_cross_fitted_subjects, 300),
    "triplets": Study(_triplets, 400, images=IMAGES[:2]),
    "cross-fitted, order": Study(_cross_fitted_order, 1000, **_ONE_WORLD),
    "orders": Study(_orders, 1000, **_ONE_WORLD),
    "seeds": Study(_seeds, 1000, **_ONE_WORLD),
}

_SUBJECTS = "subject and image"

#: By name; those that are not offered stand there for comparison.
TESTS: dict[str, Simulated] = {
    "J−, largest t over k": Simulated("corrected", "image"),
    "J−, subjects and images, largest t over k": Simulated("subjects", _SUBJECTS),
    "J−": Simulated("corrected", "image"),
    "J−, subjects and images": Simulated("subjects", _SUBJECTS),
    "J−, largest |t| over k": Simulated("corrected", "image"),
    "J− in six sets, Holm": Simulated("family", "image"),
    "J− of agreement, triplets": Simulated("triplets", "image"),
    "k chosen on other images": Simulated("cross-fitted", "image"),
    "k chosen on other images, subjects": Simulated("cross-fitted, subjects", _SUBJECTS),
    "PoZ order and k chosen on other images": Simulated("cross-fitted, order", "image"),
    "plain jackknife": Simulated("corrected", "image"),
    "bootstrap": Simulated("bootstraps", "image"),
    "bootstrap, largest |t| over k": Simulated("bootstraps", "image"),
    "two-factor bootstrap": Simulated("two-factor bootstrap", _SUBJECTS),
    "random orders at one k": Simulated("orders", "order of features"),
    "random orders, largest deviation over k": Simulated("orders", "order of features"),
    "t over twenty seeds": Simulated("seeds", "seed"),
    "J− interval of D": Simulated("corrected", "image", "interval"),
    "J− interval of D, subjects": Simulated("subjects", _SUBJECTS, "interval"),
    "J− interval of r": Simulated("corrected", "image", "interval"),
    "J− interval of R²": Simulated("corrected", "image", "interval"),
    "plain jackknife interval of r": Simulated("corrected", "image", "interval"),
    "bootstrap interval of r": Simulated("bootstraps", "image", "interval"),
    "bootstrap interval of R²": Simulated("bootstraps", "image", "interval"),
    "bootstrap band of r over k": Simulated("bootstraps", "image", "interval"),
    "Williams' test over pairs": Simulated("naive", "pair", offered=False),
    "paired t over 8 × 5 folds": Simulated("naive", "fold", offered=False),
    "Nadeau–Bengio corrected t over folds": Simulated("naive", "fold", offered=False),
    "plain jackknife, smallest p over k": Simulated("corrected", "image", offered=False),
}


# --- the record ----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, repr=False)
class Rates(Stack):
    """How often each test rejected; a test in one world with one number of images is the first axis."""

    one = "rate"
    studies = Array("I, E", "studies of each effect of :data:`EFFECTS`")
    rejected = Array("I, E, 3", "share in which the test rejects at :data:`LEVELS`")
    missed = Array("I, E, 2", "share in which the truth is below an interval, and above it")

    @property
    def network(self) -> str:
        """What was simulated, for captions."""
        return f"{len(TESTS)} tests and intervals"

    @property
    def about(self) -> str:
        """Where, for captions."""
        return f"{len({answer.provenance['facts']['world'] for answer in self.answers})} worlds"

    def table(self) -> pd.DataFrame:
        """The rates.

        Returns
        -------
        DataFrame
            A row for each of :data:`TESTS`, world and number of images: ``test, unit, kind, offered, world,
            images, studies``; ``false positives`` (share of the studies without an effect in which it rejects
            at .05, or in which a 95 % interval misses the truth), ``error`` (Monte-Carlo standard error of a
            rate of .05), ``at .01``, ``at .001``; ``below``, ``above``, the sides on which an interval
            misses; ``power small`` and ``power`` (share of rejections with the effects of :data:`EFFECTS`).
        """
        facts = pd.DataFrame([answer.provenance["facts"] for answer in self.answers])
        tests = [TESTS[name] for name in facts["test"]]
        interval = np.array([test.kind == "interval" for test in tests])
        studies, rejected, missed = (self[name].astype(float) for name in ("studies", "rejected", "missed"))
        return facts[["test", "world", "images"]].assign(
            unit=[test.unit for test in tests],
            kind=[test.kind for test in tests],
            offered=[test.offered for test in tests],
            studies=studies[:, 0].astype(int),
            error=np.sqrt(0.05 * 0.95 / studies[:, 0]),
            **{
                "false positives": np.where(interval, missed[:, 0].sum(axis=1), rejected[:, 0, 0]),
                "at .01": np.where(interval, np.nan, rejected[:, 0, 1]),
                "at .001": np.where(interval, np.nan, rejected[:, 0, 2]),
                "below": np.where(interval, missed[:, 0, 0], np.nan),
                "above": np.where(interval, missed[:, 0, 1], np.nan),
                "power small": np.where(interval, np.nan, rejected[:, 1, 0]),
                "power": np.where(interval, np.nan, rejected[:, 2, 0]),
            },
        )

    def summary(self) -> pd.DataFrame:
        """One row for each of :data:`TESTS`: the extremes of :meth:`table` over worlds and numbers of images.

        Returns
        -------
        DataFrame
            ``test, unit, kind, offered``; ``least`` and ``most`` false positives, ``where`` most; ``above``,
            whether that is more than the level by more than 2.5 Monte-Carlo errors; ``at .01`` and
            ``at .001``, the means; ``least power``, ``median power`` and ``most power``, and ``median power
            small``.
        """
        rows = []
        for test, part in self.table().groupby("test", sort=False):
            worst, powers = part.loc[part["false positives"].idxmax()], part["power"].dropna()
            rows.append(
                {
                    "test": test,
                    "unit": worst["unit"],
                    "kind": worst["kind"],
                    "offered": worst["offered"],
                    "least": part["false positives"].min(),
                    "most": worst["false positives"],
                    "where": f"{worst['world']}, {worst['images']} images",
                    "above": bool(worst["false positives"] > 0.05 + 2.5 * worst["error"]),
                    "at .01": part["at .01"].mean(),
                    "at .001": part["at .001"].mean(),
                    "median power small": part["power small"].median(),
                    "least power": powers.min(),
                    "median power": powers.median(),
                    "most power": powers.max(),
                }
            )
        return pd.DataFrame(rows)


def _tests_of(study: str) -> list[str]:
    """The tests of a kind of study, in the order of :data:`TESTS`."""
    return [name for name, test in TESTS.items() if test.study == study]


def outcomes(
    study: str,
    *,
    world: str,
    images: int,
    n: int,
    effect: float = 0.0,
    seed: int = 0,
    jobs: int | None = None,
    progress: bool = False,
) -> NDArray[np.float64]:
    """What the tests of a kind of study say in each of `n` independent studies.

    Parameters
    ----------
    study
        One of :data:`STUDIES`.
    world, effect
        As for :func:`rarefire.simulations.world`.
    images
        Of each study.
    n
        Studies.
    seed
        Of the samples; study i depends on seed and i alone.
    jobs
        Processes; default: one for each core.
    progress
        Show a progress bar.

    Returns
    -------
    ndarray
        ``(n, n_tests)``, in the order of :data:`TESTS`: p, or for an interval on which side of it the truth
        lies (−1 below, 1 above, 0 inside).
    """
    if study not in STUDIES:
        raise unknown("kind of study", study, list(STUDIES))
    simulations.world(world, effect=effect)  # before the processes: it may take a while, or not be there
    place = [*STUDIES].index(study)
    tasks = (joblib.delayed(_one)(study, world, effect, images, [seed, place, images, i]) for i in range(n))
    title = f"{study}, {world}, {images} images, effect {effect:g}"
    with blocks.processes(jobs or blocks.cores()):
        done = joblib.Parallel(return_as="generator", batch_size="auto")(tasks)
        return np.array(list(tqdm(done, total=n, desc=title, disable=not progress, leave=False)))


def _one(study: str, name: str, effect: float, images: int, seed: Sequence[int]) -> list[float]:
    with threadpool_limits(1):
        found = STUDIES[study].run(world(name, effect=effect), images, np.random.default_rng(seed))
    return [float(found[test]) for test in _tests_of(study)]


def measure(
    *, fewer: int = 1, worlds: Sequence[str] | None = None, use_shipped: bool = True, progress: bool = False
) -> Rates:
    """Measure how often each test is wrong in null worlds, and right in those with an effect.

    Parameters
    ----------
    fewer
        Divides the numbers of studies.
    worlds
        Of :data:`rarefire.simulations.WORLDS`; by default those that can be made on this machine, and those
        that are recorded.
    use_shipped
        Whether the recorded rates count.
    progress
        Show progress bars; all of it takes an hour on two cores.
    """
    if worlds is None:
        recorded = known(fewer=fewer) if use_shipped else None
        there = set() if recorded is None else set(recorded.table()["world"])
        worlds = [w for w in simulations.WORLDS if w in there or simulations.available(w)]

    def compute(missing: list[_Row]) -> Iterator[tuple[_Row, dict[str, NDArray[Any]]]]:
        groups = dict.fromkeys((TESTS[test].study, name, images) for test, name, images in missing)
        for study, name, images in tqdm(groups, desc="studies", disable=not progress):
            found = _measured(study, name, images, fewer, progress=progress)
            for test, arrays in found.items():
                if (test, name, images) in missing:
                    yield (test, name, images), arrays

    answers = answer_each(
        "error-rate", *_facts(fewer, worlds), compute, use_shipped=use_shipped, what="error rates"
    )
    return Rates(tuple(answers.values()))


def _measured(
    study: str, name: str, images: int, fewer: int, *, progress: bool
) -> dict[str, dict[str, NDArray[Any]]]:
    """One kind of study in one world, with one number of images: by test its arrays."""
    studies = np.array([max(10, STUDIES[study].n // (1 + (effect > 0)) // fewer) for effect in EFFECTS])
    said = [
        outcomes(study, world=name, images=images, n=int(n), effect=effect, progress=progress)
        for n, effect in zip(studies, EFFECTS, strict=True)
    ]
    return {
        test: {
            "studies": studies,
            "rejected": np.array([[(each[:, place] < level).mean() for level in LEVELS] for each in said]),
            "missed": np.array([[(each[:, place] == side).mean() for side in (-1, 1)] for each in said]),
        }
        for place, test in enumerate(_tests_of(study))
    }


def known(*, fewer: int = 1) -> Rates | None:
    """The rates that are recorded or cached; None where there are none."""
    answers = answer_each("error-rate", *_facts(fewer, simulations.WORLDS), None)
    return Rates(tuple(answers.values())) if answers else None


def _facts(fewer: int, worlds: Sequence[str]) -> tuple[dict[str, Any], dict[_Row, dict[str, Any]]]:
    shared = {
        "fewer": fewer,
        "effects": list(EFFECTS),
        **{"n_boot": _N_BOOT, "n_orders": _N_ORDERS, "n_draws": _N_DRAWS},
    }
    own = {
        (test, name, images): {"test": test, "world": name, "images": images, "n": STUDIES[about.study].n}
        for test, about in TESTS.items()
        for name in STUDIES[about.study].worlds
        for images in STUDIES[about.study].images
        if name in worlds
    }
    return shared, own
