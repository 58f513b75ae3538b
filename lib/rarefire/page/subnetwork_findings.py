"""What this project measured of what others say on groups of layers.

:func:`subnetworks` gives findings for the claims of ``data/claims/subnetworks.csv``, to be set beside them by
:func:`rarefire.page.scorecard.verdicts`; :func:`ways` and :func:`seeds` are the tests behind some of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rarefire import inference, stimuli
from rarefire import subnetworks as direct
from rarefire.page.scorecard import Finding, lacking
from rarefire.records.block_tests import Blocks
from rarefire.records.layer_choice import CHOSEN, Choice
from rarefire.records.sequence_maps import SETTINGS, Transformers
from rarefire.records.subnetworks import MEASURES, UNTRAINED, Maps

__all__ = ["ahead", "cuts", "passing", "redundant", "seeds", "subnetworks", "ways"]

_GROUP = "subnetworks"  # of claims
_TRAINED = {"usual", "trained", "after"}  # how a record calls it
_LEVEL = 0.05


def subnetworks(
    sets: Mapping[str, Mapping[str, Maps]],
    networks: Mapping[str, Mapping[str, Maps]],
    *,
    transformers: Mapping[str, Mapping[str, Transformers]],
    choices: Mapping[str, Choice],
    simulated: Blocks | None,
) -> Iterator[Finding]:
    """Findings on what others say about groups of layers.

    Parameters
    ----------
    sets
        LeNets by image set and way (:func:`rarefire.records.subnetworks.known`).
    networks
        ImageNet networks by name and state; each counts once.
    transformers
        By setting and state (:func:`rarefire.records.sequence_maps.known`).
    choices
        By ImageNet network.
    simulated
        Networks whose groups are planted.

    Yields
    ------
    Finding
        With a value for each network; and one without a value for each task, or images, that a claim is about
        and of which nothing is given.
    """
    found = [*_found(sets, networks, transformers, choices, simulated)]
    yield from found
    yield from lacking(found, _GROUP)


def _found(
    sets: Mapping[str, Mapping[str, Maps]],
    networks: Mapping[str, Mapping[str, Maps]],
    transformers: Mapping[str, Mapping[str, Transformers]],
    choices: Mapping[str, Choice],
    simulated: Blocks | None,
) -> Iterator[Finding]:
    for images, by_way in sets.items():
        yield from _of(images, by_way["usual"], by_way[UNTRAINED], "")
        if by_way.keys() - {"usual", UNTRAINED}:
            yield from _of_ways(images, ways(by_way), "")
    both = [(each["trained"], each[UNTRAINED]) for each in networks.values() if len(each) == 2]
    if both:
        count = f"{len(both)} network{'s' * (len(both) != 1)}"
        found = [_values(*pair) for pair in both]
        for claim, convention in found[0]:
            values = [float(each[claim, convention][0]) for each in found]
            yield Finding(claim, stimuli.SAMPLE, values, f"{count}, {convention}" if convention else count)
    for name, by_state in transformers.items():
        task, blocks = SETTINGS[name].task, f"{SETTINGS[name].depth} blocks"
        yield from _of(task, by_state["after"], by_state[UNTRAINED], blocks)
        if "before" in by_state:
            yield from _of_ways(task, ways(by_state), blocks)
        yield Finding("use-redundant", task, redundant(by_state["after"]), blocks)
    if choices:
        count = f"{len(choices)} network{'s' * (len(choices) != 1)}"
        gain = [_features(each) for each in choices.values()]
        yield Finding("use-features", stimuli.SAMPLE, gain, count)
        less = [each.least() for each in choices.values()]
        yield Finding("use-redundant", stimuli.SAMPLE, less, count)
    if simulated is not None:
        table = simulated.power()
        for null in ("smooth", "either"):
            rows = table[(table["statistic"] == "b") & (table["null"] == null)]
            power = rows.pivot_table(index=["differ", "noise"], columns="measure", values="power")
            others_ = power.drop(columns=["gw", "identity"]).max(axis=1)
            title = "smooth chains" if null == "smooth" else "smooth and uneven chains"
            yield Finding("more-powerful", "simulated", float((power["gw"] - others_).mean()), title)


def _of(images: str, trained: Maps, twin: Maps, convention: str) -> Iterator[Finding]:
    for (claim, way), values in _values(trained, twin).items():
        yield Finding(claim, images, values, ", ".join(filter(None, (convention, way))))


def _values(trained: Maps, twin: Maps) -> dict[tuple[str, str], NDArray[np.float64]]:
    after, before = trained.gains(), twin.gains()
    r2, own = (np.array([gain.blocks for gain in gains]) for gains in (after, before))
    b, b_own = (np.array([gain.b for gain in gains]) for gains in (after, before))
    return {
        ("groups-there", ""): r2,
        ("groups-emerge", ""): r2 - own,
        ("groups-abrupt", "than a smooth chain"): b,
        ("groups-abrupt", "than untrained"): b - b_own,
        ("groups-uneven", ""): np.array([gain.b_uneven for gain in after]),
    }


def _of_ways(images: str, table: pd.DataFrame, convention: str) -> Iterator[Finding]:
    yield Finding("strategy-moves", images, float((table["holm"] <= _LEVEL).mean()), convention)
    yield Finding("strategy-cuts", images, float((table["cuts"] != table["usual"]).mean()), convention)


def ways(by_way: Mapping[str, Maps], *, measure: str = "gw") -> pd.DataFrame:
    """Whether networks trained in other ways have other maps of their layers.

    Parameters
    ----------
    by_way
        Of LeNets, or states of transformers; the one trained as usual, to its end, is compared with the rest.
    measure
        Of :data:`rarefire.records.subnetworks.MEASURES`.

    Returns
    -------
    DataFrame
        A row for each other way but the untrained: ``way``; ``between, within``, the root mean square
        difference of maps of different ways and of one; ``p`` and ``holm``; ``cuts``, the most frequent cuts
        between groups, by the names of layers, and ``usual``, those after the usual way; ``seeds``, how many
        networks have them; ``accuracy``, the median; ``b`` and ``b_uneven``, the medians.
    """
    usual = next(by_way[name] for name in by_way if name in _TRAINED)
    rng = np.random.default_rng(0)
    rows = []
    for way, maps in by_way.items():
        if maps is usual or way == UNTRAINED:
            continue
        test = direct.ways_test(usual.apart(measure), maps.apart(measure), rng=rng)
        (own, seeds_), (theirs, _) = cuts(maps, measure=measure), cuts(usual, measure=measure)
        gains = maps.gains(measure)
        row = {"way": way, "between": test.between, "within": test.within, "p": test.p}
        row |= {"cuts": own, "usual": theirs, "seeds": seeds_, "accuracy": float(np.median(maps.accuracy))}
        row |= {name: float(np.median([getattr(g, name) for g in gains])) for name in ("b", "b_uneven")}
        rows.append(row)
    table = pd.DataFrame(rows)
    return table.assign(holm=inference.holm(table["p"]) if len(table) else [])


def ahead(maps: Mapping[str, Maps], *, measure: str = "gw", inner: bool = False) -> list[str]:
    """Kinds of network whose groups explain more than a smooth chain: the median B is above 0.

    Parameters
    ----------
    maps
        By name; trained.
    measure
        Of :data:`rarefire.records.subnetworks.MEASURES`.
    inner
        Without layers that stand alone at an end; a network of which too few are left has no groups.
    """
    found = []
    for name, each in maps.items():
        gains = each.inner(measure) if inner else each.gains(measure)
        if np.median([-np.inf if gain is None else gain.b for gain in gains]) > 0:
            found.append(name)
    return found


def cuts(maps: Maps, *, measure: str = "gw") -> tuple[str, int]:
    """The most frequent cuts between groups, as the first layers of all groups but the first; in how many.

    Of several, the fewest and then the first.
    """
    found = Counter(gain.partition.cuts for gain in maps.gains(measure))
    best, n = min(found.items(), key=lambda item: (-item[1], len(item[0]), item[0]))
    return " ".join(maps.layers[cut] for cut in best), n


def seeds(trained: Maps, twin: Maps, *, measure: str = "gw") -> direct.SeedTest:
    """:func:`rarefire.subnetworks.seed_test` of B, of at least five seeds."""
    b, own = ([gain.b for gain in maps.gains(measure)] for maps in (trained, twin))
    return direct.seed_test(b, own, rng=np.random.default_rng(0))


def passing(pairs: Mapping[str, tuple[Maps, Maps]], *, level: float = _LEVEL) -> list[str]:
    """Kinds of network whose groups are more than a chain and than before training: :func:`seeds`.

    Parameters
    ----------
    pairs
        By name, trained networks and their twins.
    level
        Of the test.
    """
    return [name for name, (trained, twin) in pairs.items() if seeds(trained, twin).p <= level]


def redundant(trained: Transformers, *, measure: str = "gw") -> NDArray[np.float64]:
    """``(I,)``: accuracy without the block that moves the stream least, less the mean over blocks.

    The first block, whose input is no layer here, is not counted.
    """
    passed = np.asarray(trained.passed, dtype=np.float64)[:, 1:]
    least = trained.moved(measure).argmin(axis=1)
    return np.asarray(passed[np.arange(len(passed)), least] - passed.mean(axis=1))


def _features(choice: Choice, by: Sequence[str] = MEASURES[:1]) -> float:
    chosen = np.asarray(choice.chosen, dtype=np.float64)[[CHOSEN.index(name) for name in by]]
    return float(np.mean(chosen - np.asarray(choice.drawn, dtype=np.float64).mean(axis=1)))


def _mean(values: NDArray[np.floating]) -> float:
    """NaN of none."""
    return float(np.mean(values, dtype=np.float64)) if len(values) else float("nan")
