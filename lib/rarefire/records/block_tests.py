"""Which measure of layers finds planted blocks at an equal rate of false ones; how often the test is wrong.

Networks are simulated (:func:`rarefire.subnetworks.toy`), so that the truth is known: three blocks, a smooth
chain, a chain of uneven steps. Every measure sees the same layers and the same images, and gets its own
threshold from networks without blocks. Beside Gromov–Wasserstein stands ``"identity"``, the same distances
with every image left where it is: what is had beyond it is had by moving images.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from threadpoolctl import threadpool_limits

from rarefire import similarity, subnetworks, transport
from rarefire.errors import InputError
from rarefire.rdm import square
from rarefire.records.record import Array, Stack, answer_each, each_apart
from rarefire.subnetworks import DIFFERENCES, TOYS

__all__ = [
    "IMAGES",
    "LAYERS",
    "MARGIN",
    "MEASURES",
    "NETWORKS",
    "NOISES",
    "SEEDS",
    "STUDIES",
    "STUDY_NOISES",
    "Blocks",
    "Studies",
    "known",
    "known_studies",
    "maps",
    "measure",
    "measure_studies",
]

#: Of layers: ½·GW as found without random starts; ½ the root of the identity plan; 1 − CKA, debiased; and
#: 1 − R² of RDMs, by correlation and by cosine.
MEASURES = ("gw", "identity", "cka", "pearson", "cosine")
#: What each layer adds of its own, as a standard deviation.
NOISES = (0.3, 1.0, 1.5, 2.0)
#: Networks of each kind, difference and noise.
NETWORKS = 200
#: Of each of a network's two samples.
IMAGES = 40
#: Of each network.
LAYERS = 12

#: Studies at each of :data:`STUDY_NOISES`, of :data:`SEEDS` networks of each kind and as many smooth twins.
STUDIES = 64
STUDY_NOISES = (0.3, 1.0)
SEEDS = 6
#: Blocks are reported where they predict, on average over seeds, no less than this below an uneven chain.
MARGIN = -0.1

_PARTS = 8  # of the studies at one noise, each with an answer of its own
_PLANTED = tuple(int(cut) for cut in np.flatnonzero(np.diff(np.arange(LAYERS) * 3 // LAYERS)) + 1)

_Chain = tuple[str, str, float]  # kind, difference and noise
_Part = tuple[float, int]  # noise, and which part of the studies


def maps(
    layers: Sequence[ArrayLike], *, measures: Sequence[str] = MEASURES
) -> dict[str, NDArray[np.float64]]:
    """Maps of one network's layers, by each measure.

    Parameters
    ----------
    layers
        Of each ``(n_images, n_features)`` or with positions, the same images in the same order; at least two.
    measures
        Of :data:`MEASURES`.

    Returns
    -------
    dict
        Measure -> ``(n_layers, n_layers)``, distances: 0 for like layers.

    Raises
    ------
    InputError
        As for :func:`rarefire.transport.distances`, and for another measure.
    DataError
        If POT is not installed, for ``"gw"``.
    """
    if not measures or not set(measures) <= set(MEASURES):
        raise InputError(f"measures are some of {', '.join(MEASURES)}; got {', '.join(measures) or 'none'}.")
    alike = [name for name in measures if name in similarity.MEASURES]
    spaces = [transport.distances(layer) for layer in layers]
    found: dict[str, list[float]] = {name: [] for name in measures}
    for i, j in itertools.combinations(range(len(layers)), 2):
        if "gw" in found:
            rng = np.random.default_rng(0)  # of random starts, of which there are none
            found["gw"].append(transport.bracket(spaces[i], spaces[j], rng=rng, n_random=0).distance)
        if "identity" in found:
            found["identity"].append(float(np.sqrt(((spaces[i] - spaces[j]) ** 2).mean())) / 2)
        if alike:
            for name, value in similarity.compare(layers[i], layers[j], measures=alike).items():
                found[name].append(max(1 - value, 0.0))
    return {name: square(values) for name, values in found.items()}


@dataclass(frozen=True, eq=False, repr=False)
class Blocks(Stack):
    """Gains of blocks in simulated networks, by several measures.

    A kind, a difference and a noise are the first axis; then networks N, and measures M as in
    :data:`MEASURES`.
    """

    one = "setting"
    b = Array("K, N, M", "B, :attr:`rarefire.subnetworks.Gain.b`")
    b_uneven = Array("K, N, M", ":attr:`rarefire.subnetworks.Gain.b_uneven`")
    exact = Array("K, N, M", "whether the best partition of the first sample is the planted one")

    @property
    def network(self) -> str:
        """What was simulated, for captions."""
        return "simulated networks"

    @property
    def about(self) -> str:
        """By what, for captions."""
        return f"{len(self.facts['measures'])} measures"

    def power(self, *, level: float = 0.05) -> pd.DataFrame:
        """How often planted blocks are found, at an equal rate of false ones.

        Parameters
        ----------
        level
            The rate of false ones, in (0, 1). Each measure's threshold is its own (1 − level) quantile over
            networks without blocks, of the same difference and noise.

        Returns
        -------
        DataFrame
            A row for each statistic, null, difference, noise and measure: ``statistic`` (``"b"`` or
            ``"b_uneven"``); ``null``, from what the threshold is: ``"smooth"`` chains, or ``"either"``, the
            higher of those of smooth and of uneven chains; ``differ, noise, measure``; ``threshold``;
            ``power``, the share of networks with blocks above it, and ``low, high``, its 95 % interval
            (Wilson), the threshold being given; ``uneven``, the share of uneven chains above it; ``exact``,
            the share of networks with blocks of which the planted partition is the best.

        Raises
        ------
        InputError
            For another level.
        """
        _check_level(level)
        places = {_chain(answer.provenance["facts"]): k for k, answer in enumerate(self.answers)}
        cells = dict.fromkeys((differ, noise) for _, differ, noise in places)
        rows = []
        for statistic, (differ, noise) in itertools.product(("b", "b_uneven"), cells):
            at = {kind: places[kind, differ, noise] for kind in TOYS if (kind, differ, noise) in places}
            if len(at) < len(TOYS):  # not all of them are recorded
                continue
            values = self[statistic]
            planted, smooth, uneven = (values[at[kind]] for kind in ("blocks", "smooth", "uneven"))
            of_smooth, of_uneven = (
                np.quantile(null, 1 - level, axis=0, method="inverted_cdf") for null in (smooth, uneven)
            )
            for null, thresholds in (("smooth", of_smooth), ("either", np.maximum(of_smooth, of_uneven))):
                for m, name in enumerate(self.facts["measures"]):
                    row: dict[str, Any] = {"statistic": statistic, "null": null}
                    row |= {"differ": differ, "noise": noise, "measure": name}
                    row["threshold"] = float(thresholds[m])
                    row |= zip(("power", "low", "high"), _share(planted[:, m] > thresholds[m]), strict=True)
                    row["uneven"] = float((uneven[:, m] > thresholds[m]).mean())
                    row["exact"] = float(self.exact[at["blocks"], :, m].mean())
                    rows.append(row)
        return pd.DataFrame(rows)


@dataclass(frozen=True, eq=False, repr=False)
class Studies(Stack):
    """Simulated studies of several seeds, by Gromov–Wasserstein.

    The first axis is a noise and a part of its studies. Kinds are :data:`rarefire.subnetworks.TOYS`, and
    beside them the smooth twins of all three. Uneven steps are the same in all seeds of a study, as those of
    one architecture would be.
    """

    one = "part"
    b = Array("P, N, 4, S", "B by study, kind and seed; twins last")
    b_uneven = Array("P, N, 4, S", "the same against an uneven chain")

    @property
    def network(self) -> str:
        """What was simulated, for captions."""
        return f"simulated studies of {self.facts['seeds']} seeds"

    @property
    def about(self) -> str:
        """By what, for captions."""
        return "Gromov–Wasserstein"

    def table(self, *, level: float = 0.05, margin: float = MARGIN) -> pd.DataFrame:
        """How often blocks are found.

        Parameters
        ----------
        level
            Of :func:`rarefire.subnetworks.seed_test`, in (0, 1).
        margin
            What mean b_uneven must reach for blocks to be reported.

        Returns
        -------
        DataFrame
            A row for each noise and kind: ``noise, kind, studies``; ``b, twin, b_uneven``, means over studies
            and seeds; ``rejected``, the share of studies with p ≤ level, and ``low, high``, its 95 % interval
            (Wilson); ``reported``, of which mean b_uneven reaches the margin too, with ``reported low``
            and ``reported high``.

        Raises
        ------
        InputError
            For another level.
        """
        _check_level(level)
        noises = np.array([answer.provenance["facts"]["noise"] for answer in self.answers])
        rows = []
        for noise, (k, kind) in itertools.product(dict.fromkeys(noises.tolist()), enumerate(TOYS)):
            b, uneven = (np.concatenate(self[name][noises == noise]) for name in ("b", "b_uneven"))
            rng = np.random.default_rng(
                0
            )  # not needed: six seeds have 64 flips, all of which are gone through
            p = np.array([subnetworks.seed_test(own[k], own[-1], rng=rng).p for own in b])
            rejected = p <= level
            reported = rejected & (uneven[:, k].mean(axis=1) >= margin)
            row: dict[str, Any] = {"noise": noise, "kind": kind, "studies": len(b)}
            row |= {"b": float(b[:, k].mean()), "twin": float(b[:, -1].mean())}
            row["b_uneven"] = float(uneven[:, k].mean())
            row |= zip(("rejected", "low", "high"), _share(rejected), strict=True)
            row |= zip(("reported", "reported low", "reported high"), _share(reported), strict=True)
            rows.append(row)
        return pd.DataFrame(rows)


def measure(
    *, fewer: int = 1, jobs: int | None = None, use_shipped: bool = True, progress: bool = True
) -> Blocks:
    """Simulate networks and measure the gain of blocks in each; compute only what is not known.

    Parameters
    ----------
    fewer
        Divides the number of networks; one is left.
    jobs
        Processes, one thread each; by default one for each processor core.
    use_shipped
        Whether the recorded networks count.
    progress
        Show a progress bar; all of it takes half an hour of one core.

    Raises
    ------
    InputError
        For `fewer` below 1.
    DataError
        If POT is not installed.
    """

    def compute(missing: list[_Chain]) -> Iterator[tuple[_Chain, dict[str, NDArray[Any]]]]:
        arguments = [(chain, shared["networks"]) for chain in missing]
        yield from each_apart(_networks, arguments, jobs=jobs, what="networks with blocks", progress=progress)

    shared, own = _facts(fewer)
    answers = answer_each("blocks", shared, own, compute, use_shipped=use_shipped, what="blocks")
    return Blocks(tuple(answers.values()))


def known(*, fewer: int = 1) -> Blocks | None:
    """The networks that are recorded or cached; None where there are none."""
    answers = answer_each("blocks", *_facts(fewer), None)
    return Blocks(tuple(answers.values())) if answers else None


def measure_studies(
    *, fewer: int = 1, jobs: int | None = None, use_shipped: bool = True, progress: bool = True
) -> Studies:
    """Simulate studies of several seeds.

    Parameters
    ----------
    fewer
        Divides the number of studies; one of each part is left.
    jobs, use_shipped, progress
        As for :func:`measure`.

    Raises
    ------
    InputError
        For `fewer` below 1.
    DataError
        If POT is not installed.
    """

    def compute(missing: list[_Part]) -> Iterator[tuple[_Part, dict[str, NDArray[Any]]]]:
        arguments = [(part, shared["studies"]) for part in missing]
        yield from each_apart(_studies, arguments, jobs=jobs, what="studies of blocks", progress=progress)

    shared, own = _study_facts(fewer)
    answers = answer_each(
        "block-studies", shared, own, compute, use_shipped=use_shipped, what="block studies"
    )
    return Studies(tuple(answers.values()))


def known_studies(*, fewer: int = 1) -> Studies | None:
    """The studies that are recorded or cached; None where there are none."""
    answers = answer_each("block-studies", *_study_facts(fewer), None)
    return Studies(tuple(answers.values())) if answers else None


# --- helpers -------------------------------------------------------------------------------------


def _facts(fewer: int) -> tuple[dict[str, Any], dict[_Chain, dict[str, Any]]]:
    shared = {
        "images": IMAGES,
        "layers": LAYERS,
        "networks": _divided(NETWORKS, fewer),
        "measures": list(MEASURES),
    }
    # Those with least noise take longest: they come first.
    each = ((kind, differ, noise) for noise, differ, kind in itertools.product(NOISES, DIFFERENCES, TOYS))
    return shared, {
        (kind, differ, noise): {"kind": kind, "differ": differ, "noise": noise}
        for kind, differ, noise in each
    }


def _study_facts(fewer: int) -> tuple[dict[str, Any], dict[_Part, dict[str, Any]]]:
    shared = {
        "images": IMAGES,
        "layers": LAYERS,
        "studies": _divided(STUDIES // _PARTS, fewer),
        "seeds": SEEDS,
    }
    own = itertools.product(STUDY_NOISES, range(_PARTS))
    return shared, {(noise, part): {"noise": noise, "part": part} for noise, part in own}


def _divided(n: int, fewer: int) -> int:
    if fewer < 1:
        raise InputError(f"fewer divides numbers, and is at least 1; got {fewer}.")
    return max(1, n // fewer)


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise InputError(f"level lies in (0, 1); got {level}.")


def _chain(facts: dict[str, Any]) -> _Chain:
    return facts["kind"], facts["differ"], facts["noise"]


def _share(said: NDArray[np.bool_]) -> tuple[float, float, float]:
    """A share, and its interval."""
    found = stats.binomtest(int(np.count_nonzero(said)), len(said))
    interval = found.proportion_ci(0.95, method="wilson")
    return float(found.statistic), float(interval.low), float(interval.high)


def _gains(layers: Sequence[NDArray[np.float64]], measures: Sequence[str]) -> list[subnetworks.Gain]:
    """By each measure, from one half of the images to the other."""
    first, other = (maps([layer[half::2] for layer in layers], measures=measures) for half in (0, 1))
    return [subnetworks.against_chain(first[name], other[name]) for name in measures]


def _networks(chain: _Chain, n: int) -> tuple[_Chain, dict[str, NDArray[Any]]]:
    kind, differ, noise = chain
    place = [TOYS.index(kind), DIFFERENCES.index(differ), round(1000 * noise)]
    options: dict[str, Any] = {"n_images": 2 * IMAGES, "n_layers": LAYERS, "noise": noise, "differ": differ}
    with threadpool_limits(1):
        found = [
            _gains(subnetworks.toy(kind, rng=np.random.default_rng([*place, i]), **options), MEASURES)  # type: ignore[arg-type]
            for i in range(n)
        ]
    return chain, {
        "b": np.array([[gain.b for gain in each] for each in found], dtype=np.float16),
        "b_uneven": np.array([[gain.b_uneven for gain in each] for each in found], dtype=np.float16),
        "exact": np.array([[gain.partition.cuts == _PLANTED for gain in each] for each in found]),
    }


def _studies(part: _Part, n: int) -> tuple[_Part, dict[str, NDArray[Any]]]:
    noise, place = part
    options: dict[str, Any] = {"n_images": 2 * IMAGES, "n_layers": LAYERS, "noise": noise}
    found = np.empty((2, n, len(TOYS) + 1, SEEDS), dtype=np.float16)
    with threadpool_limits(1):
        for i in range(n):
            rng = np.random.default_rng([round(1000 * noise), place, i])
            steps = rng.exponential(size=LAYERS - 1)
            for k, kind in enumerate((*TOYS, "smooth")):
                given = {"steps": steps} if kind == "uneven" else {}
                for s in range(SEEDS):
                    layers = subnetworks.toy(kind, rng=rng, **given, **options)  # type: ignore[arg-type]
                    (gain,) = _gains(layers, ["gw"])
                    found[:, i, k, s] = gain.b, gain.b_uneven
    return part, dict(zip(("b", "b_uneven"), found, strict=True))
