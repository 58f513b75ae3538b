"""How far apart the layers of networks are, by Gromov–Wasserstein and by measures that say who is who.

Every two layers of a network are compared on two samples of images, the same for all networks of a kind: on
the one groups of layers are found, on the other it is seen what they predict. LeNets are trained in several
ways, from the same first weights, with the recipe of the networks of :mod:`rarefire.records.pruned`; ImageNet
networks have an untrained twin (:func:`rarefire.records.dimension.untrained`). Every position of a layer is a
feature, and the images themselves are no layer: they are far from all of them, and would be a group of their
own.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits
from torch import nn
from tqdm import tqdm

from rarefire import networks, poz, pruning, stimuli, store, subnetworks, training, transport
from rarefire.errors import DataError, InputError, unknown
from rarefire.rdm import condensed, square
from rarefire.records import dimension, people_across, pruned, record
from rarefire.records.people_orders import labelled
from rarefire.records.record import Array, Record, Stack, answer_each, each_apart
from rarefire.similarity import OF_GRAMS, Grams
from rarefire.stimuli import Stimuli
from rarefire.training import Recipe
from rarefire.transport import Bracket

__all__ = [
    "BOUNDS",
    "CONTROLS",
    "LAYERS",
    "MEASURES",
    "ORDERS",
    "SETTINGS",
    "SHARES",
    "SHOWN",
    "STATES",
    "UNTRAINED",
    "WAYS",
    "Maps",
    "Setting",
    "Shown",
    "Way",
    "by_images",
    "known",
    "known_network",
    "known_networks",
    "known_shown",
    "known_shown_record",
    "measure",
    "measure_here",
    "measure_samples",
    "measure_shown",
    "shown_of",
    "shown_record",
]

#: Layers of LeNet-5.
LAYERS = dimension.LAYERS[1:]
#: Measures of how far two layers are apart: ½·GW; 1 − CKA; 1 − R² of RDMs by correlation and by cosine.
MEASURES = ("gw", "cka", "pearson", "cosine")
#: Maps beside those of all images and features: of images of the same norm, without the 5 % that are largest
#: in any layer; without each layer's rarest fifth of features, and without another fifth.
CONTROLS = ("normalised", "rarest", "random")
#: Which features of a layer are left out, of those that fire, and shares of these.
ORDERS = ("rarest", "random", "most active")
SHARES = (0.2, 0.5)
#: Of ImageNet networks.
STATES = ("untrained", "trained")


@dataclass(frozen=True)
class Way:
    """One way to come by a LeNet.

    Attributes
    ----------
    title
        In a few words.
    network
        Name of a network, see :func:`rarefire.networks.names`.
    changes
        Fields of the recipe that differ.
    method
        Of :data:`rarefire.pruning.METHODS`: its last round.
    few
        Whether it learns few images, until it knows them by heart; with ``"shuffled"`` labels.
    """

    title: str
    network: str = "lenet5"
    changes: Mapping[str, Any] = field(default_factory=dict)
    method: str | None = None
    few: str | None = None


#: Of all ways, and of ImageNet networks and transformers: before training. Batch norm does nothing there.
UNTRAINED = "untrained"
#: By name. Those without changes are trained as the dense networks of :mod:`rarefire.records.pruned`.
WAYS = {
    UNTRAINED: Way("untrained"),
    "usual": Way("trained"),
    "decay": Way("weight decay", changes={"weight_decay": 1e-3}),
    "norm": Way("batch norm", "lenet5-batchnorm"),
    "tuned": Way("fine-tuned"),
    "few": Way("few images", few="right"),
    "shuffled": Way("few images, shuffled labels", few="shuffled"),
    "imp": Way("lottery ticket", method="imp"),
    "lrr": Way("pruned by magnitude", method="lrr"),
    "trim": Way("pruned by PoZ", method="trim"),
}


@dataclass(frozen=True)
class Setting:
    """On what LeNets are measured.

    Attributes
    ----------
    n
        Test images of each of the two samples.
    few
        Training images of those that learn few.
    ways
        Names, of :data:`WAYS`.
    seeds
        How many networks of each way are recorded.
    """

    n: int
    few: int
    ways: tuple[str, ...] = tuple(WAYS)
    seeds: int = 6

    def recipe(self, images: str, way: Way) -> Recipe:
        """How a LeNet of a way is trained, once or twice."""
        usual = pruned.SETTINGS[images].recipe
        if way.few:
            return Recipe(max_epochs=_BY_HEART, patience=_BY_HEART, keep="last", batch_size=64)
        return replace(usual, **way.changes)


#: By image set. Networks of the digits are all trained within a minute.
SETTINGS = {
    "digits": Setting(100, 600, ways=("untrained", "usual")),
    "mnist": Setting(200, 6000),
    "cifar10-jpg": Setting(200, 6000, ways=tuple(name for name, way in WAYS.items() if not way.few)),
}

#: Image set and networks that are shown on a page, and are recorded for it; digits are measured for it.
SHOWN = ("cifar10-jpg", "googlenet", "mobilenet_v2")

#: Of each pair of layers, as in :class:`rarefire.transport.Bracket`.
BOUNDS = ("slb", "lower", "upper", "identity", "chance")
_MOST = 255
_FEWEST = 6  # layers whose groups are asked for
_SHOWN = 60  # images
_ANIMALS = 398  # ImageNet's first classes
_MANY = 256  # images that can be shown: partners are bytes

_BY_HEART = 60  # epochs
_TUNED = 5  # classes that fine-tuned networks knew first
_N = 200  # photographs of each of two samples
_RANDOM = 10  # random starts of their maps; of LeNets, where they never win, and of controls none
_LARGEST = 0.05


@dataclass(frozen=True, eq=False, repr=False)
class Maps(Stack):
    """Maps of the layers of networks; the first axis is the network, S = 2 the samples of images.

    Pairs of layers are condensed: first with second, first with third, ….
    """

    one = "network"
    layer = Array("I, L", "names of the layers")
    width = Array("I, L", "number of features")
    accuracy = Array("I,", "on the test images; of ImageNet networks on the photographs")
    lower = Array("I, S, P", "lower bound of GW²")
    upper = Array("I, S, P", "the best that was found")
    identity = Array("I, S, P", "where every image stays itself")
    chance = Array("I, S, P", "the same, after one layer's images are shuffled")
    cka = Array("I, S, P", "debiased CKA")
    pearson = Array("I, S, P", "R² of the RDMs by correlation")
    cosine = Array("I, S, P", "R² of the RDMs by cosine")
    floor = Array("I, L, 2", "of a layer on the two samples: upper, chance")
    controls = Array("I, 3, P", "GW² of `CONTROLS`, on the first sample; NaN where they were not measured")
    without = Array("I, L, 3, 2", "GW² / chance of a layer and itself without features, by `ORDERS` and "
                    "`SHARES`; NaN where not post-ReLU")  # fmt: skip
    silent = Array("I, L, 2", "mean PoZ, share of features with PoZ = 1; NaN where not post-ReLU")

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers, in their order."""
        return tuple(self.layer[0].tolist())

    @property
    def relative(self) -> NDArray[np.float64]:
        """``(I, S, P)``, GW² / chance: 0 for the same geometry."""
        return np.asarray(self.upper / np.asarray(self.chance, dtype=np.float64))

    def apart(self, measure: str = "gw", *, sample: int = 0) -> NDArray[np.float64]:
        """Distances between layers, ``(I, L, L)``.

        Parameters
        ----------
        measure
            Of :data:`MEASURES`. CKA, which can be a little below 0 and above 1, is clipped.
        sample
            Of images, 0 or 1.

        Raises
        ------
        UnknownNameError
            For another measure.
        """
        if measure not in MEASURES:
            raise unknown("measure", measure, list(MEASURES))
        if measure == "gw":
            values = np.sqrt(np.asarray(self.upper[:, sample], dtype=np.float64)) / 2
        else:
            values = 1 - np.clip(np.asarray(self[measure][:, sample], dtype=np.float64), 0, 1)
        return np.stack([square(each) for each in values])

    def control(self, name: str) -> NDArray[np.float64]:
        """½·GW of a control, ``(I, L, L)``.

        Raises
        ------
        UnknownNameError
            For one that is none of :data:`CONTROLS`.
        """
        if name not in CONTROLS:
            raise unknown("control", name, list(CONTROLS))
        values = np.sqrt(np.asarray(self.controls[:, CONTROLS.index(name)], dtype=np.float64)) / 2
        return np.stack([square(each) for each in values])

    def gains(self, measure: str = "gw") -> list[subnetworks.Gain]:
        """Blocks of each network beside a chain, found on the one sample of images and asked on the other."""
        both = (self.apart(measure, sample=sample) for sample in (0, 1))
        return [subnetworks.against_chain(*pair) for pair in zip(*both, strict=True)]

    def inner(self, measure: str = "gw") -> list[subnetworks.Gain | None]:
        """The same without layers that are a group of their own at an end, however often one comes to be.

        None where fewer than six layers are left.
        """
        found: list[subnetworks.Gain | None] = []
        for first, other in zip(self.apart(measure), self.apart(measure, sample=1), strict=True):
            low, high = 0, len(first)
            while high - low >= _FEWEST:
                own = slice(low, high)
                gain = subnetworks.against_chain(first[own, own], other[own, own])
                edges = 0, *gain.partition.cuts, high - low
                alone = edges[1] - edges[0] == 1, edges[-1] - edges[-2] == 1
                if not any(alone) or len(edges) == 2:
                    break
                low, high = low + alone[0], high - alone[1]
            found.append(gain if high - low >= _FEWEST else None)
        return found

    def table(self, measure: str = "gw") -> pd.DataFrame:
        """Medians over the networks of each way to train, or state.

        Parameters
        ----------
        measure
            Of :data:`MEASURES`.

        Returns
        -------
        DataFrame
            A row for each: ``way``; ``networks``, how many; ``accuracy``; ``blocks``, R² on the other sample,
            ``b`` and ``b_uneven``, of :class:`rarefire.subnetworks.Gain`.
        """
        facts = [answer.provenance["facts"] for answer in self.answers]
        ways = [str(each.get("way") or each["state"]) for each in facts]
        rows = [
            {"accuracy": float(right), "blocks": gain.blocks, "b": gain.b, "b_uneven": gain.b_uneven}
            for right, gain in zip(self.accuracy, self.gains(measure), strict=True)
        ]
        of = pd.DataFrame(rows).groupby(pd.Series(ways, name="way"), sort=False)
        found = of.median()
        found.insert(0, "networks", of.size())
        return found.reset_index()


# --- one network ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Seen:
    """A sample of images, by layer: distances, products, and the distances of controls."""

    spaces: dict[str, NDArray[np.float64]]
    grams: dict[str, Grams]
    roots: dict[str, NDArray[np.float64]]
    without: dict[tuple[str, int], dict[str, NDArray[np.float64]]]
    width: list[int]
    silent: list[list[float]]


def _seen(layers: Iterable[tuple[str, NDArray[np.floating]]], seed: int, *, controls: bool) -> _Seen:
    found = _Seen({}, {}, {}, {(order, s): {} for order in ORDERS for s in range(len(SHARES))}, [], [])
    rng = np.random.default_rng([seed, 9])
    for layer, values in layers:
        rows = values.reshape(len(values), -1)
        found.spaces[layer], found.grams[layer] = transport.distances(rows), Grams(rows)
        found.width.append(rows.shape[1])
        if not controls:
            continue
        found.roots[layer] = _root(rows)
        rates = (rows == 0).mean(axis=0)
        rectified = bool(rows.min() >= 0 and rates.any())
        found.silent.append([rates.mean(), (rates == 1).mean()] if rectified else [np.nan, np.nan])
        if rectified:
            for (order, s), spaces in found.without.items():
                spaces[layer] = transport.distances(rows[:, _kept(rates, order, SHARES[s], rng)])
    return found


def _kept(
    rates: NDArray[np.floating], order: str, share: float, rng: np.random.Generator
) -> NDArray[np.intp]:
    """Which features stay where a share of those that fire is left out."""
    fires = np.flatnonzero(rates < 1)
    ranked = rng.permutation(len(fires)) if order == "random" else poz.order(rates[fires], first="low")
    n = max(1, len(fires) - round(share * len(fires)))
    return np.sort(fires[ranked[-n:] if order == "most active" else ranked[:n]])


def _root(rows: NDArray[np.floating]) -> NDArray[np.float64]:
    """As many features as images, with the same products."""
    full = rows.astype(np.float64)
    values, axes = np.linalg.eigh(full @ full.T)
    return np.asarray(axes * np.sqrt(np.maximum(values, 0)))


def measure_samples(
    first: Iterable[tuple[str, NDArray[np.floating]]],
    second: Iterable[tuple[str, NDArray[np.floating]]],
    *,
    seed: int = 0,
    n_random: int = 0,
    controls: bool = True,
    jobs: int | None = 1,
    progress: bool = False,
) -> dict[str, NDArray[Any]]:
    """The arrays of :class:`Maps` for one network, but for the accuracy.

    Parameters
    ----------
    first, second
        Two samples of as many images: in the order of the layers, name and features ``(n_images, …)``.
    seed
        Of random starts, and of features left out at random.
    n_random
        Random starts of the maps, as for :func:`rarefire.transport.bracket`.
    controls
        Whether to measure these, and what becomes of a layer without some of its features.
    jobs, progress
        As for :func:`rarefire.transport.each_pair`.
    """
    samples = _seen(first, seed, controls=controls), _seen(second, seed, controls=False)
    layers = [*samples[0].spaces]
    pairs = [(a, b) for i, a in enumerate(layers) for b in layers[i + 1 :]]
    options: dict[str, Any] = {"seed": seed, "jobs": jobs, "progress": progress}
    found: dict[str, list[Any]] = {}
    for sample in samples:
        each = dict(transport.each_pair(sample.spaces, n_random=n_random, **options))
        for name in ("lower", "upper", "identity", "chance"):
            found.setdefault(name, []).append([getattr(each[pair], name) for pair in pairs])
        alike = [sample.grams[a].compare(sample.grams[b]) for a, b in pairs]
        for name in OF_GRAMS:
            found.setdefault(name, []).append([one[name] for one in alike])
    rng = np.random.default_rng([seed, 10])
    floor = [transport.bracket(*(s.spaces[a] for s in samples), rng=rng, n_random=n_random) for a in layers]
    control = np.full((len(CONTROLS), len(pairs)), np.nan)
    without = np.full((len(layers), len(ORDERS), len(SHARES)), np.nan)
    if controls:
        seen = samples[0]
        own, _ = subnetworks.without_large_norms(seen.roots, share=_LARGEST)
        for place, spaces in enumerate(
            (
                {layer: transport.distances(rows) for layer, rows in own.items()},
                seen.spaces | seen.without["rarest", 0],
                seen.spaces | seen.without["random", 0],
            )
        ):
            each = dict(transport.each_pair(spaces, n_random=0, **options))
            control[place] = [each[pair].upper for pair in pairs]
        for (order, s), spaces in seen.without.items():
            for layer, space in spaces.items():
                one = transport.bracket(seen.spaces[layer], space, rng=rng, n_random=0)
                without[layers.index(layer), ORDERS.index(order), s] = one.relative
    numbers = {
        **found,
        "floor": [[one.upper, one.chance] for one in floor],
        "controls": control,
        "without": without,
        "silent": samples[0].silent or np.full((len(layers), 2), np.nan),
    }
    # Half precision keeps the order of bounds, and three digits.
    small = {name: np.asarray(values).astype(np.float16) for name, values in numbers.items()}
    return {**small, "layer": np.array(layers), "width": np.array(samples[0].width)}


# --- what a page shows of one ----------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Shown:
    """What is shown of one network: L layers, their P = L(L−1)/2 pairs, and N images, sorted by class.

    Attributes
    ----------
    layer
        Names, in order; at least three.
    space
        ``(L, N(N−1)/2)`` uint8, distances between images, condensed; 255 is the layer's largest.
    most
        ``(L,)``, that distance in units of the layer's mean.
    slb, lower, upper, identity, chance
        ``(P,)``, as in :class:`rarefire.transport.Bracket`, pairs in condensed order.
    partner
        ``(P, N)`` uint8, to which image of the later layer most of each image of the earlier one goes.
    group
        ``(N,)``, each image's class, an index into `groups`; it never falls.
    groups
        Names of the classes.

    Raises
    ------
    InputError
        For what does not fit together, and for more than 256 images.
    """

    layer: tuple[str, ...]
    space: NDArray[np.uint8]
    most: NDArray[np.float64]
    slb: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    identity: NDArray[np.float64]
    chance: NDArray[np.float64]
    partner: NDArray[np.uint8]
    group: NDArray[np.intp]
    groups: tuple[str, ...]

    def __post_init__(self) -> None:
        n_layers, n = len(self.layer), len(self.group)
        n_pairs = n_layers * (n_layers - 1) // 2
        if n_layers < 3 or not 2 <= n <= _MANY:
            raise InputError(
                f"a map is of at least three layers and of 2 to {_MANY} images; got {n_layers} and {n}."
            )
        for name, shape in {
            "space": (n_layers, n * (n - 1) // 2),
            "most": (n_layers,),
            **dict.fromkeys(BOUNDS, (n_pairs,)),
            "partner": (n_pairs, n),
        }.items():
            given = getattr(self, name)
            if given.shape != shape:
                raise InputError(f"{name} of {n_layers} layers and {n} images is {shape}; got {given.shape}.")
            if not np.isfinite(given).all():
                raise InputError(f"{name}: {np.count_nonzero(~np.isfinite(given))} values are not finite.")
        bounds = np.stack([np.zeros(n_pairs), *(getattr(self, name) for name in BOUNDS[:-1])])
        if (np.diff(bounds, axis=0) < 0).any() or (self.chance < 0).any():
            raise InputError("of every pair 0 ≤ slb ≤ lower ≤ upper ≤ identity, and chance is at least 0.")
        if self.partner.max() >= n:
            raise InputError(f"partner is an image from 0 to {n - 1}; got {self.partner.max()}.")
        if (np.diff(self.group) < 0).any() or self.group[0] < 0 or self.group[-1] >= len(self.groups):
            raise InputError(
                f"group is an index from 0 to {len(self.groups) - 1} that never falls: sort images by class."
            )

    @classmethod
    def of(
        cls,
        spaces: Mapping[str, ArrayLike],
        found: Mapping[tuple[str, str], Bracket],
        *,
        group: ArrayLike,
        groups: Sequence[str],
    ) -> Self:
        """From :func:`rarefire.transport.layer_distances` and :func:`rarefire.transport.each_pair`.

        Parameters
        ----------
        spaces
            Layer -> ``(N, N)``, in order.
        found
            Every pair, whichever layer is first.
        group, groups
            As above.

        Raises
        ------
        InputError
            As above, and for pairs that are missing.
        """
        layers = tuple(spaces)
        known = {(b, a): replace(one, coupling=one.coupling.T) for (a, b), one in found.items()} | dict(found)
        wanted = [(a, b) for i, a in enumerate(layers) for b in layers[i + 1 :]]
        if missing := [pair for pair in wanted if pair not in known]:
            raise InputError(
                f"{len(missing)} of {len(wanted)} pairs are missing, such as {' and '.join(missing[0])}."
            )
        distances = np.stack([condensed(space) for space in spaces.values()])
        largest = distances.max(axis=1)
        return cls.read(
            {
                "layer": np.array(layers),
                "space": np.rint(_MOST * distances / largest[:, None]),
                "most": largest / distances.mean(axis=1),
                **{name: np.array([getattr(known[p], name) for p in wanted]) for name in BOUNDS},
                "partner": np.array([known[pair].partner for pair in wanted]),
                "group": np.asarray(group),
                "groups": np.array(groups),
            }
        )

    @classmethod
    def read(cls, arrays: Mapping[str, ArrayLike]) -> Self:
        """From :meth:`arrays`, as they are recorded."""
        if absent := [field.name for field in fields(cls) if field.name not in arrays]:
            raise InputError(f"what is shown of a network lacks {', '.join(absent)}.")
        given = {field.name: np.asarray(arrays[field.name]) for field in fields(cls)}
        return cls(
            layer=tuple(map(str, given["layer"])),
            space=given["space"].astype(np.uint8),
            most=given["most"].astype(np.float64),
            **{name: given[name].astype(np.float64) for name in BOUNDS},
            partner=given["partner"].astype(np.uint8),
            group=given["group"].astype(np.intp),
            groups=tuple(map(str, given["groups"])),
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """To be recorded."""
        return {field.name: np.asarray(getattr(self, field.name)) for field in fields(self)}


def shown_of(
    layers: Iterable[tuple[str, NDArray[np.floating]]],
    *,
    group: ArrayLike,
    groups: Sequence[str],
    jobs: int | None = 1,
) -> Shown:
    """From features of few images, as for :func:`measure_samples`, sorted by class; every start is tried."""
    spaces = {layer: transport.distances(values) for layer, values in layers}
    return Shown.of(spaces, dict(transport.each_pair(spaces, jobs=jobs)), group=group, groups=groups)


def measure_shown(
    name: str, *, jobs: int | None = None, use_shipped: bool = True, progress: bool = True
) -> Shown:
    """What a page shows of one trained network on 60 images; computed where it is not known.

    Parameters
    ----------
    name
        An image set of :data:`SETTINGS`, of which it is the first LeNet, or an ImageNet network.
    jobs, use_shipped, progress
        As for :func:`measure`.

    Raises
    ------
    UnknownNameError
        For another name.
    DataError
        Where the network or its images are not on this machine.
    """
    one = shown_record(name, jobs=jobs, use_shipped=use_shipped, progress=progress)
    return Shown.read(one.arrays)


def shown_record(
    name: str, *, jobs: int | None = None, use_shipped: bool = True, progress: bool = True
) -> Record:
    """The record that :func:`measure_shown` reads, to be shipped."""
    if name in SETTINGS:
        facts, compute = _facts(name), functools.partial(_lenet_shown, name, jobs, progress)
    else:
        if name not in people_across.NETWORKS:
            raise unknown("network", name, [*SETTINGS, *people_across.NETWORKS])
        maps = measure_here([name], jobs=jobs, use_shipped=use_shipped, progress=progress)[name]
        facts = {k: v for k, v in maps["trained"].facts.items() if k not in ("state", "n", "version")}
        compute = functools.partial(_network_shown, name, jobs)
    one = record.answer_one("subnetworks-shown", {**facts, "n": _SHOWN}, compute, use_shipped=use_shipped)
    assert one is not None  # it is computed where it is not known
    return one


def known_shown(name: str) -> Shown | None:
    """What is shipped of a network, or of a LeNet cached, as of :func:`measure_shown`."""
    one = known_shown_record(name)
    return Shown.read(one.arrays) if one else None


def known_shown_record(name: str) -> Record | None:
    """The record that :func:`known_shown` reads."""
    if name in SETTINGS:
        here = stimuli.identifiable(name)
        return record.answer_one("subnetworks-shown", {**_facts(name), "n": _SHOWN}, None) if here else None
    answers = record.shipped("subnetworks-shown", network=name)
    return Record(answers[:1]) if answers else None


def _lenet_shown(images: str, jobs: int | None, progress: bool) -> dict[str, NDArray[Any]]:
    train, test = stimuli.splits(images)
    network = _rounds(train, [("usual", 0)], images, jobs=jobs, progress=progress)["usual", 0].network()
    some = test.subset(_samples(test, _SHOWN)[0])
    layers = dimension.each_stage(network, some, LAYERS)
    return shown_of(layers, group=some.labels, groups=some.class_names, jobs=jobs).arrays()


def _network_shown(name: str, jobs: int | None) -> dict[str, NDArray[Any]]:
    where = people_across.place(name)
    network = networks.build(where.name, weights=networks.local_weights(where.name))
    photographs = labelled(stimuli.gallery(size=where.size))
    some = photographs.subset(photographs.spread(_SHOWN))
    layers = dimension.each_stage(network, some, dimension.stages(network, some.images[:1])[1:])
    group = (some.labels >= _ANIMALS).astype(int)
    return shown_of(layers, group=group, groups=("animals", "things"), jobs=jobs).arrays()


# --- LeNets ---------------------------------------------------------------------------------------


def measure(
    images: str,
    ways: Iterable[str] | None = None,
    *,
    seeds: Sequence[int] | None = None,
    jobs: int | None = None,
    use_shipped: bool = True,
    progress: bool = True,
) -> dict[str, Maps]:
    """Train LeNets in several ways and compare their layers; compute only what is not known.

    Parameters
    ----------
    images
        Of :data:`SETTINGS`.
    ways
        Of its setting's; by default all of them.
    seeds
        One network of each way; by default as many as are recorded.
    jobs
        Processes, one thread each; by default one for each processor core.
    use_shipped
        Whether the results shipped with the book count.
    progress
        Show progress bars.

    Returns
    -------
    dict
        By way.

    Raises
    ------
    UnknownNameError
        For images without a setting, and ways that it does not have.
    """
    setting = _setting(images)
    names = [*setting.ways] if ways is None else [*ways]
    for name in names:
        if name not in setting.ways:
            raise unknown("way", name, list(setting.ways))

    def compute(missing: list[tuple[str, int]]) -> Iterator[tuple[tuple[str, int], dict[str, Any]]]:
        train, test = stimuli.splits(images)
        rounds = _rounds(train, missing, images, jobs=jobs, progress=progress)
        arguments = [(*key, images, train, test, rounds.get(key)) for key in missing]
        yield from each_apart(_measured, arguments, jobs=jobs, what=f"{images}: layers", progress=progress)

    own = {
        (name, seed): _own(images, name, seed)
        for name in names
        for seed in (range(setting.seeds) if seeds is None else seeds)
    }
    facts, what = _facts(images), f"{images}, layers"
    return _by_way(answer_each("subnetworks", facts, own, compute, use_shipped=use_shipped, what=what))


def known(images: str) -> dict[str, Maps]:
    """What is shipped or cached of LeNets, by way; needs no data."""
    if not stimuli.identifiable(images):
        return {}
    setting = _setting(images)
    own = {(name, seed): _own(images, name, seed) for name in setting.ways for seed in range(setting.seeds)}
    return _by_way(answer_each("subnetworks", _facts(images), own, None))


def by_images(profile: str = "default", *, instances: int | None = None) -> dict[str, dict[str, Maps]]:
    """The LeNets that a chapter shows, by way; as :func:`rarefire.records.record.by_images`.

    Parameters
    ----------
    profile
        ``"default"`` or ``"full"``.
    instances
        Of digits; default: as many as in :data:`SETTINGS`.
    """
    return record.by_images(
        SETTINGS, measure, lambda name: known(name) or None, profile, instances or SETTINGS["digits"].seeds
    )


def _by_way(answers: Mapping[tuple[str, int], store.Answer]) -> dict[str, Maps]:
    found: dict[str, list[store.Answer]] = {}
    for (name, _), answer in answers.items():
        found.setdefault(name, []).append(answer)
    return {name: Maps(tuple(each)) for name, each in found.items()}


def _setting(images: str) -> Setting:
    if images not in SETTINGS:
        raise unknown("image set", images, list(SETTINGS))
    return SETTINGS[images]


def _facts(images: str) -> dict[str, Any]:
    setting = _setting(images)
    return {
        **training.identity(images, "lenet5", recipe=pruned.SETTINGS[images].recipe),
        "test_digest": stimuli.content_digest(images, "test"),
        "n": setting.n,
        "n_random": 0,
    }


def _own(images: str, name: str, seed: int) -> dict[str, Any]:
    way, facts = WAYS[name], {"way": name, "seed": int(seed), "network": WAYS[name].network}
    if name == UNTRAINED:
        return facts
    if way.method:
        setting = pruned.SETTINGS[images]
        return {**facts, "n_rounds": setting.n_rounds, "rate": setting.rate}
    return {**facts, "trained": SETTINGS[images].recipe(images, way).facts()}


def _rounds(
    train: Stimuli, missing: Sequence[tuple[str, int]], images: str, *, jobs: int | None, progress: bool
) -> dict[tuple[str, int], pruning.Round]:
    """Those of the networks that :mod:`rarefire.records.pruned` has, or would have."""
    methods = {name: WAYS[name].method or pruning.DENSE for name, _ in missing if _is_round(name)}
    if not methods:
        return {}
    setting = pruned.SETTINGS[images]
    wanted = tuple(m for m in setting.methods if m in methods.values())
    seeds = sorted({seed for name, seed in missing if name in methods})
    options = {**setting.options(), "methods": wanted, "seeds": seeds, "jobs": jobs, "progress": progress}
    found = pruning.rounds(train, setting.network, **options)
    of = [(name, seed) for name, seed in missing if name in methods]
    return {(name, seed): found[methods[name]][seed][max(found[methods[name]][seed])] for name, seed in of}


def _is_round(name: str) -> bool:
    return name == "usual" or WAYS[name].method is not None


def _measured(
    name: str, seed: int, images: str, train: Stimuli, test: Stimuli, of: pruning.Round | None
) -> tuple[tuple[str, int], dict[str, NDArray[Any]]]:
    setting = SETTINGS[images]
    with threadpool_limits(1), training.one_thread():
        network = of.network() if of else _network(name, seed, images, train)
        layers = (
            dimension.each_stage(network, test.subset(rows), LAYERS) for rows in _samples(test, setting.n)
        )
        found = measure_samples(*layers, seed=seed, controls=name in ("untrained", "usual"))
        return (name, seed), {**found, "accuracy": np.asarray(training.accuracy(network, test))}


def _samples(test: Stimuli, n: int) -> list[NDArray[np.intp]]:
    """Two disjoint samples of test images, as many of each class; sorted by class."""
    classes = range(len(test.class_names))
    of, each = [np.flatnonzero(test.labels == c) for c in classes], n // len(classes)
    return [np.concatenate([own[s * each : (s + 1) * each] for own in of]) for s in (0, 1)]


def _network(name: str, seed: int, images: str, train: Stimuli) -> nn.Module:
    """A LeNet of a way, from the first weights of its seed."""
    way, setting = WAYS[name], SETTINGS[images]
    network = networks.build(
        way.network,
        input_shape=train.input_shape,
        n_classes=len(train.class_names),
        mean=train.mean,
        std=train.std,
        seed=seed,
    ).eval()
    if name == UNTRAINED:
        return network
    recipe = setting.recipe(images, way)
    shown = train.subset(train.spread(setting.few)) if way.few else train
    if way.few == "shuffled":
        shown = replace(shown, labels=np.random.default_rng([seed, 2]).permutation(shown.labels))
    key = store.key(train_digest=train.digest, recipe=recipe.facts(), few=setting.few, version=1)
    folder = store.cache_dir() / "checkpoints" / f"ways-{train.name}-{name}-{key}"
    with store.alone(folder / f"seed-{seed:04d}", wait_for=f"{train.name}, {way.title}"):
        if name == "tuned":
            first = train.subset(train.labels < _TUNED)
            training.fit(network, first, path=folder / f"seed-{seed:04d}-first.pt", recipe=recipe, seed=seed)
        training.fit(network, shown, path=folder / f"seed-{seed:04d}.pt", recipe=recipe, seed=seed)
    return network


# --- ImageNet networks ----------------------------------------------------------------------------


def measure_here(
    only: Sequence[str] = tuple(people_across.NETWORKS),
    *,
    jobs: int | None = None,
    use_shipped: bool = True,
    progress: bool = True,
) -> dict[str, dict[str, Maps]]:
    """Compare the layers of the ImageNet networks that are on this machine, and of an untrained twin of each.

    Parameters
    ----------
    only
        Names of networks.
    jobs, use_shipped, progress
        As for :func:`measure`.

    Returns
    -------
    dict
        By network, and by :data:`STATES`.

    Raises
    ------
    UnknownNameError
        For a name that is not there.
    DataError
        Where no network, or no photograph, is on this machine.
    """
    here = {name: people_across.place(name) for name in only if people_across.ready(name)}
    if not here:
        raise DataError(
            f"no network of {', '.join(only)} is on this machine: set RAREFIRE_MIRROR to a folder with one."
        )
    found = {}
    for name, where in here.items():
        photographs = labelled(stimuli.gallery(size=where.size))
        network = networks.build(where.name, weights=networks.local_weights(where.name))

        def compute(
            missing: list[str], name: str = name, network: nn.Module = network, shown: Stimuli = photographs
        ) -> Iterator[tuple[str, dict[str, NDArray[Any]]]]:
            layers = dimension.stages(network, shown.images[:1])[1:]
            for state in tqdm(missing, desc=name, disable=not progress):
                model = network if state == "trained" else dimension.untrained(network, 1, shown)
                samples = (
                    dimension.each_stage(model, shown.subset(rows), layers) for rows in _photographs(shown)
                )
                one = measure_samples(*samples, n_random=_RANDOM, jobs=jobs, progress=progress)
                yield state, {**one, "accuracy": np.asarray(training.accuracy(model, shown, batch_size=64))}

        facts = _network_facts(name, networks.digest(network), photographs.digest)
        twin = {"untrained": dimension.twin_facts(network, [1])[1]}
        own = {state: {"state": state, **twin.get(state, {})} for state in STATES}
        what = f"{name}, layers"
        answers = answer_each("subnetworks", facts, own, compute, use_shipped=use_shipped, what=what)
        found[name] = {state: Maps((answer,)) for state, answer in answers.items()}
    return found


def _photographs(shown: Stimuli) -> list[NDArray[np.intp]]:
    """Two disjoint samples, in the order of classes: every fifth, and those after them."""
    step = max(2, len(shown) // _N)
    return [np.arange(s, len(shown), step)[:_N] for s in (0, 1)]


def _network_facts(name: str, weights: str, photographs: str) -> dict[str, Any]:
    return {
        **{"stimuli": stimuli.SAMPLE, "network": name, "weights_digest": weights, "photographs": photographs},
        "n": _N,
        "n_random": _RANDOM,
    }


def known_network(name: str) -> dict[str, Maps]:
    """What is shipped of an ImageNet network, by :data:`STATES`."""
    there = {
        str(answer.provenance["facts"]["state"]): Maps((answer,))
        for answer in record.shipped("subnetworks", stimuli=stimuli.SAMPLE, network=name)
    }
    return {state: there[state] for state in STATES if state in there}


def known_networks() -> dict[str, dict[str, Maps]]:
    """What is shipped of ImageNet networks, by name, in the order of chapter 4."""
    found = {name: known_network(name) for name in people_across.NETWORKS}
    return {name: each for name, each in found.items() if each}
