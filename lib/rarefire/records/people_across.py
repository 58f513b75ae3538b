"""What leaving out the rarely firing features does to the prediction of people: several networks and sets.

For every network, set of judgments and view of its last layer, D = r(first k) − r(all) at numbers of
features that were decided on beforehand, by J−, and the one-sided test over the whole curve; and the same
under the controls that say what a gain is made of (:data:`READINGS`).
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from rarefire import embeddings, inference, judgments, networks, poz, rdm, selection, stimuli, store, triplets
from rarefire._engine import blocks
from rarefire._engine.orders import rdm_curves
from rarefire.curves import count, enough
from rarefire.embeddings import View
from rarefire.errors import DataError, InputError, unknown
from rarefire.judgments import Judgments
from rarefire.rdm import Metric, check_embedding
from rarefire.records.people import COLUMNS, SHARES
from rarefire.records.record import Array, Stack, answer_each, answer_one, shipped
from rarefire.stimuli import Gallery, Stimuli
from rarefire.triplets import Triplets

__all__ = [
    "HEADLINE",
    "NETWORKS",
    "READINGS",
    "SETS",
    "Across",
    "Capped",
    "Gaps",
    "Place",
    "Reading",
    "capped",
    "capped_here",
    "compare",
    "each_here",
    "gaps",
    "gaps_of_view",
    "in_order",
    "known",
    "known_capped",
    "known_gaps",
    "measure",
    "measure_here",
    "measure_view",
    "place",
    "poz_elsewhere",
    "ready",
]

_STEPS = 128  # numbers of features along a curve, over which the maximum is taken
_ORDERS = 199  # random ones
_CLIP = 6.0  # where ReLU6 stops
_CONTROLS = ("silenced", "elsewhere")


class Place(NamedTuple):
    """Where a network is: its name for :func:`rarefire.networks.build`, its last layer, pixels of images."""

    name: str
    layer: str
    size: int


class Reading(NamedTuple):
    """One way of leaving features out.

    `title` is for readers, `elsewhere` whether PoZ is counted on other images; `firing`, whether shares are
    of the features that fire for some of the judged images.
    """

    title: str
    metric: Metric = "correlation"
    silenced: bool = False
    elsewhere: bool = False
    firing: bool = False


#: Networks that are measured here, by their names for readers.
NETWORKS: dict[str, Place] = {
    "squeezenet1_0": Place("squeezenet1_0", "features", 227),
    "squeezenet1_1": Place("networks/nets.py:squeezenet1_1", "network.features", 227),
    "googlenet": Place("networks/nets.py:googlenet", "features", 224),
    "mobilenet_v2": Place("networks/nets.py:mobilenet_v2", "network.features", 224),
    "efficientnet_lite0": Place("networks/nets.py:efficientnet_lite0", "features", 224),
}
#: Sets of judgments, with what a reader has to know of them.
SETS: dict[str, str] = {
    "letters": "36 letters",
    "materials": "100 materials",
    "mur": "92 objects",
    "cifar10h-images": "200 CIFAR-10 images",
}
#: By name; the first is what the paper does.
READINGS: dict[str, Reading] = {
    "removed": Reading("left out"),
    "cosine": Reading("cosine", metric="cosine"),
    "silenced": Reading("silenced", silenced=True),
    "elsewhere": Reading("PoZ from other images", elsewhere=True),
    "elsewhere_silenced": Reading("both", silenced=True, elsewhere=True),
    "firing": Reading("share of those that fire", firing=True),
}
#: View and share of the features that the headline is about: the pooled ones are what a classifier reads.
HEADLINE = ("pooled", 0.5)


@dataclass(frozen=True, eq=False, repr=False)
class Across(Stack):
    """Networks on sets of judgments; a view of one on one set is the first axis.

    r is with the mean RDM; where there are single subjects, they vary too. For triplets it is agreement with
    majorities.
    """

    one = "view"
    tests = Array("I, 6, 3, 8", "by :data:`READINGS` and people's ``SHARES``, people's ``COLUMNS``")
    maximum = Array(
        "I, 6, 4",
        "by reading: one-sided p of the largest t over the curve; share of the features there; D there, and "
        "the lower end of its band",
    )
    skewness = Array("I, 6, 3", "of what single images do to D, over √n")
    fraction = Array("I, S", "shares of the features at which curves are kept")
    curves = Array("I, 6, S", "r by reading along the curve; NaN where few images have a similarity")
    random = Array(
        "I, 3, 3", "5, 50 and 95 % of D at :data:`~rarefire.records.people.SHARES` in random orders"
    )
    chance = Array("I, 3", "p of the PoZ order against random ones")
    rare = Array("I,", "share of features with PoZ > .8 on the judged images")
    dead = Array("I,", "share of features with PoZ = 1 there")
    dead_elsewhere = Array("I,", "share with PoZ = 1 on the other images")
    saturated = Array("I,", "share of activations that are exactly 6, where ReLU6 stops")
    ceiling = Array("I, 2", "noise ceiling of r with the mean RDM, or of agreement")

    def table(self) -> pd.DataFrame:
        """The tests at the shares that were decided on.

        Returns
        -------
        DataFrame
            A row for each view of a network on a set, reading and share: ``set, network, view, reading,
            share``; :data:`~rarefire.records.people.COLUMNS`; ``skewness``; ``random, random low, random
            high``, the median D of random orders and 90 % of them.
        """
        rows = []
        for place, answer in enumerate(self.answers):
            facts = answer.provenance["facts"]
            for r, reading in enumerate(READINGS):
                for s, share in enumerate(SHARES):
                    rows.append(
                        {
                            **{"set": facts["judgments"], "network": facts["network"]},
                            **{"view": facts["view"], "reading": reading, "share": share},
                            **dict(zip(COLUMNS, self.tests[place, r, s].astype(float), strict=True)),
                            "skewness": float(self.skewness[place, r, s]),
                            "random": float(self.random[place, 1, s]),
                            "random low": float(self.random[place, 0, s]),
                            "random high": float(self.random[place, 2, s]),
                        }
                    )
        return pd.DataFrame(rows)

    def comparisons(self, *, view: str | None = None, share: float | None = None) -> pd.DataFrame:
        """D of features left out beside its controls.

        Parameters
        ----------
        view, share
            Of the comparisons; by default all views, and all shares that were decided on.

        Returns
        -------
        DataFrame
            A row for each network, set, view and share: the columns of :meth:`table` for the reading
            ``removed``; ``holm`` over the rows; and D of the other readings by their names.
        """
        table, at = self.table(), ["set", "network", "view", "share"]
        if view is not None:
            table = table[table["view"].isin([view, "features"])]
        if share is not None:
            table = table[table["share"] == share]
        first = table[table["reading"] == "removed"].drop(columns="reading").reset_index(drop=True)
        others = {
            reading: rows.set_index(at)["estimate"].reindex(pd.MultiIndex.from_frame(first[at])).to_numpy()
            for reading, rows in table.groupby("reading", sort=False)
            if reading != "removed"
        }
        return first.assign(holm=inference.holm(first["p"]), **others)

    def headline(self) -> pd.DataFrame:
        """The :meth:`comparisons` that the chapter is about, of :data:`HEADLINE`."""
        view, share = HEADLINE
        return self.comparisons(view=view, share=share)

    def whole(self, *, reading: str = "removed") -> pd.DataFrame:
        """Whether any slice predicts people better than all features: the one-sided test over the curve.

        Parameters
        ----------
        reading
            Of :data:`READINGS`.

        Returns
        -------
        DataFrame
            A row for each view of a network on a set: ``set, network, view, p, share, D, low`` and ``holm``
            over the rows.
        """
        if reading not in READINGS:
            raise unknown("reading", reading, list(READINGS))
        at = [*READINGS].index(reading)
        columns = dict(zip(("p", "share", "D", "low"), self.maximum[:, at].astype(float).T, strict=True))
        table = self._places().assign(**columns)
        return table.assign(holm=inference.holm(table["p"]))

    def silence(self) -> pd.DataFrame:
        """How silent the features are: ``set, network, view, rare, dead, dead elsewhere, saturated``."""
        columns = {"rare": self.rare, "dead": self.dead, "dead elsewhere": self.dead_elsewhere}
        columns["saturated"] = self.saturated
        return self._places().assign(**{name: values.astype(float) for name, values in columns.items()})

    def _places(self) -> pd.DataFrame:
        """``set, network, view`` of each row."""
        facts = pd.DataFrame([answer.provenance["facts"] for answer in self.answers])
        return facts[["judgments", "network", "view"]].rename(columns={"judgments": "set"})


@dataclass(frozen=True, eq=False, repr=False)
class Gaps(Stack):
    """Whether a control differs from what it controls: D of features left out − D under the control.

    Of the first half of the pooled features, a network on a set is the first axis.
    """

    one = "comparison"
    gaps = Array("I, 2, 4", "``silenced, elsewhere``: difference, low, high, p by J−")
    other_half = Array(
        "I, 4", "D, low, high, p with PoZ from the other half of the same images; NaN for triplets"
    )

    def table(self) -> pd.DataFrame:
        """D left out less D of controls.

        Returns
        -------
        DataFrame
            A row for each network and set: ``set, network``; ``silenced`` and ``elsewhere``, the differences,
            and of each ``low, high, p`` (``silenced low`` …); ``half``, D with PoZ from the other half of
            the same images, with the same.
        """
        rows = []
        for place, answer in enumerate(self.answers):
            facts = answer.provenance["facts"]
            row: dict[str, Any] = {}
            named = zip(_CONTROLS, self.gaps[place].astype(float), strict=True)
            for name, numbers in [*named, ("half", self.other_half[place].astype(float))]:
                row |= dict(zip((name, *(f"{name} {c}" for c in ("low", "high", "p"))), numbers, strict=True))
            rows.append({"set": facts["judgments"], "network": facts["network"], **row})
        return pd.DataFrame(rows)


@dataclass(frozen=True, eq=False, repr=False)
class Capped(Stack):
    """What the cap of a ReLU6 does: networks whose last activation stops at 6, beside the same without it."""

    one = "network"
    zeros = Array("I, 2", "share of activations that are 0, with the cap and without")
    saturated = Array("I, 2", "share that is exactly 6, of all and of those that are not 0")
    rdms = Array("I, 2", "Pearson r of the RDM with the cap and the one without: pooled, positions")
    people = Array("I, 2", "r of pooled features with people's mean RDM, with the cap and without")

    def table(self) -> pd.DataFrame:
        """``network, saturated, of the nonzero, RDM pooled, RDM positions, with cap, without``."""
        return pd.DataFrame(
            {
                "network": [answer.provenance["facts"]["network"] for answer in self.answers],
                "saturated": self.saturated[:, 0].astype(float),
                "of the nonzero": self.saturated[:, 1].astype(float),
                "RDM pooled": self.rdms[:, 0].astype(float),
                "RDM positions": self.rdms[:, 1].astype(float),
                "with cap": self.people[:, 0].astype(float),
                "without": self.people[:, 1].astype(float),
            }
        )


# --- networks ------------------------------------------------------------------------------------


def place(network: str) -> Place:
    """Where a network of :data:`NETWORKS` lies on this machine.

    Raises
    ------
    UnknownNameError
        For a name that is not there.
    DataError
        Where it is not on this machine; the message says what it takes.
    """
    if network not in NETWORKS:
        raise unknown("network", network, list(NETWORKS))
    where = NETWORKS[network]
    file, colon, function = where.name.partition(":")
    found = store.at_hand(file) if colon else networks.local_weights(network)
    if found is None:
        missing = file if colon else f"weights/{network}.pth"
        raise DataError(
            f"{network} needs {missing} in the folder that RAREFIRE_MIRROR names, or in the cache."
        )
    return where._replace(name=f"{found}:{function}") if colon else where


def ready(network: str) -> bool:
    """Whether a network of :data:`NETWORKS` is on this machine."""
    try:
        place(network)
    except DataError:
        return False
    return True


def poz_elsewhere(
    network: nn.Module, images: Gallery, *, layer: str = embeddings.PENULTIMATE, progress: bool = False
) -> dict[str, NDArray[np.float64]]:
    """PoZ of every view of a layer on other images, by view; one batch of images in memory at a time.

    Parameters
    ----------
    network, layer
        As for :func:`rarefire.embeddings.views`.
    images
        Such as those that the network was trained for.
    """
    zeros: dict[str, Any] = {}
    batches = (images[i : i + 32] for i in range(0, len(images), 32))
    stream = embeddings.stream(network, batches, layer=layer, spatial="keep")
    total = -(-len(images) // 32)
    for batch in tqdm(stream, total=total, desc="PoZ on other images", disable=not progress, leave=False):
        silent = poz.check_activations(batch) == 0
        found = {"features": silent.sum(axis=0)}
        if batch.ndim == 4:
            found = {
                "pooled": silent.all(axis=(2, 3)).sum(axis=0),
                "channels": silent.mean(axis=(2, 3)).sum(axis=0),
                "positions": silent.reshape(len(batch), -1).sum(axis=0),
            }
        zeros = {view: zeros.get(view, 0) + number for view, number in found.items()}
    return {view: np.asarray(number / len(images), dtype=np.float64) for view, number in zeros.items()}


# --- measuring -----------------------------------------------------------------------------------


def measure(
    given: Judgments | Triplets,
    network: nn.Module,
    *,
    name: str,
    layer: str = embeddings.PENULTIMATE,
    elsewhere: Gallery | None = None,
    seed: int = 0,
    use_shipped: bool = True,
    progress: bool = True,
) -> Across:
    """Measure what leaving features out does; compute only what is not known.

    Parameters
    ----------
    given
        Judgments with images, or triplets.
    network, layer
        As for :func:`rarefire.embeddings.extract`.
    name
        Of the network, for captions.
    elsewhere
        Other images on which PoZ is counted; by default the photographs on this machine
        (:func:`rarefire.stimuli.gallery`), in the size of the judged ones. Where there are none, those
        readings are NaN.
    seed
        Of random orders and of the draws of the maximum.
    use_shipped
        Whether the results shipped with the book count.
    progress
        Show progress bars.
    """
    if given.images is None:
        raise InputError(f"the images of {given.name!r} are not at hand; a network needs them.")
    images, weights = given.images, networks.digest(network)
    elsewhere = _others(images, elsewhere)

    def compute(missing: list[str]) -> Iterator[tuple[str, dict[str, NDArray[Any]]]]:
        other = _counted(network, weights, layer, elsewhere, use_shipped=use_shipped, progress=progress)
        made = {view.name: view for view in embeddings.views(network, images, layer=layer)}
        for which in missing:
            yield (
                which,
                measure_view(
                    made[which], given, poz_elsewhere=other.get(which), seed=seed, progress=progress
                ),
            )

    one = embeddings.extract(network, images.images[:1], layer=layer, spatial="keep")
    names = ("features",) if one.ndim == 2 else ("pooled", "channels", "positions")
    answers = answer_each(
        "across",
        _facts(given, name, weights, layer, elsewhere) | {"seed": seed},
        {which: {"view": which} for which in names},
        compute,
        use_shipped=use_shipped,
        what=f"{given.name}, {name}",
    )
    return Across(tuple(answers.values()))


def measure_here(
    *,
    only: Sequence[str] = tuple(NETWORKS),
    sets: Sequence[str] = tuple(SETS),
    use_shipped: bool = True,
    progress: bool = True,
) -> tuple[Across, Gaps]:
    """Measure every network of :data:`NETWORKS` on every set of :data:`SETS` that is on this machine.

    Parameters
    ----------
    only, sets
        Names of networks and of sets.
    use_shipped, progress
        As for :func:`measure`.

    Raises
    ------
    UnknownNameError
        For a name that is not there.
    DataError
        Where no network or no set is on this machine.
    """
    answers: list[store.Answer] = []
    beside: list[store.Answer] = []
    for name, layer, network, given in each_here(only=only, sets=sets):
        options: dict[str, Any] = {"use_shipped": use_shipped, "progress": progress}
        options |= {"name": name, "layer": layer}
        answers += measure(given, network, **options).answers
        beside += gaps(given, network, **options).answers
    return Across(in_order(answers)), Gaps(in_order(beside))


def each_here(
    *, only: Sequence[str] = tuple(NETWORKS), sets: Sequence[str] = tuple(SETS)
) -> Iterator[tuple[str, str, nn.Module, Judgments | Triplets]]:
    """Every network and set that is on this machine: name, layer, the network, and what people said.

    Parameters
    ----------
    only, sets
        As for :func:`measure_here`, which names what is raised.
    """
    for name in sets:
        if name not in SETS:
            raise unknown("set", name, list(SETS))
    places = {name: place(name) for name in only if ready(name)}
    here = [name for name in sets if _kind(name).available(name)]
    if not places or not here:
        what, asked = ("set of judgments", sets) if places else ("network", only)
        raise DataError(
            f"no {what} of {', '.join(asked)} is on this machine: set RAREFIRE_MIRROR to a folder with one."
        )
    for name, where in places.items():
        network = networks.build(where.name, weights=networks.local_weights(where.name))
        for one in here:
            yield name, where.layer, network, _kind(one).load(one, size=where.size)


def _kind(name: str) -> Any:
    """The module that knows a set."""
    return triplets if name in triplets.NAMES else judgments


def _others(images: Stimuli, elsewhere: Gallery | None) -> Gallery | None:
    """Other images on which PoZ is counted: those that were given, or the photographs on this machine."""
    if elsewhere is None and store.at_hand(stimuli.SAMPLE) is not None:
        return stimuli.gallery(size=images.images.shape[-1])
    return elsewhere


def _counted(
    network: nn.Module,
    weights: str,
    layer: str,
    elsewhere: Gallery | None,
    *,
    use_shipped: bool,
    progress: bool,
) -> Mapping[str, NDArray[Any]]:
    """PoZ on other images, by view, counted once; nothing without such images."""
    if elsewhere is None:
        return {}

    def compute() -> dict[str, NDArray[Any]]:
        found = poz_elsewhere(network, elsewhere, layer=layer, progress=progress)
        return {view: rates.astype(np.float32) for view, rates in found.items()}

    facts = {"weights_digest": weights, "layer": layer, "images": elsewhere.digest}
    found = answer_one("poz-elsewhere", facts, compute, use_shipped=use_shipped)
    assert found is not None  # it is computed where it is not known
    return found.arrays


def _facts(
    given: Judgments | Triplets, name: str, weights: str, layer: str, elsewhere: Gallery | None
) -> dict[str, Any]:
    return {
        **{"judgments": given.name, "judgments_digest": given.digest, "network": name},
        **{"weights_digest": weights, "layer": layer},
        "elsewhere": None if elsewhere is None else elsewhere.digest,
    }


def known() -> Across | None:
    """What is shipped of all networks and sets; needs no data and no network."""
    answers = in_order(shipped("across"))
    return Across(answers) if answers else None


def in_order(answers: Sequence[store.Answer]) -> tuple[store.Answer, ...]:
    """Answers about :data:`SETS` and :data:`NETWORKS`, in their order; without those about others."""
    order = [(s, n) for s in SETS for n in NETWORKS]
    at = [(a.provenance["facts"]["judgments"], a.provenance["facts"]["network"]) for a in answers]
    ranked = sorted((order.index(place), i) for i, place in enumerate(at) if place in order)
    return tuple(answers[i] for _, i in ranked)


def gaps(
    given: Judgments | Triplets,
    network: nn.Module,
    *,
    name: str,
    layer: str = embeddings.PENULTIMATE,
    elsewhere: Gallery | None = None,
    use_shipped: bool = True,
    progress: bool = True,
) -> Gaps:
    """Measure whether controls differ from what they control, for half of the pooled features.

    D under a control shares images, people and r of all features with D of the features left out, so their
    difference is known better than either.

    Parameters
    ----------
    given, network, name, layer, elsewhere, use_shipped, progress
        As for :func:`measure`.
    """
    if given.images is None:
        raise InputError(f"the images of {given.name!r} are not at hand; a network needs them.")
    elsewhere = _others(given.images, elsewhere)
    weights = networks.digest(network)

    def compute() -> dict[str, NDArray[Any]]:
        assert given.images is not None
        (view, *_) = embeddings.views(network, given.images, layer=layer)
        other = _counted(network, weights, layer, elsewhere, use_shipped=use_shipped, progress=progress)
        return gaps_of_view(view, given, poz_elsewhere=other.get(view.name))

    facts = _facts(given, name, weights, layer, elsewhere) | {"share": HEADLINE[1]}
    found = answer_one("across-gaps", facts, compute, use_shipped=use_shipped)
    assert found is not None  # it is computed where it is not known
    return Gaps(found.answers)


def gaps_of_view(
    view: View, given: Judgments | Triplets, *, poz_elsewhere: NDArray[np.floating[Any]] | None = None
) -> dict[str, NDArray[Any]]:
    """The arrays of :class:`Gaps` for one view.

    Parameters
    ----------
    view, given, poz_elsewhere
        As for :func:`measure_view`.
    """
    features, rates = check_embedding(view.embedding), view.poz
    k = count(HEADLINE[1], features.shape[1])

    def first(counted: NDArray[Any], *, silenced: bool = False) -> NDArray[np.float64]:
        """Features whose first k are kept; the others gone, or 0."""
        kept = poz.order(np.asarray(counted, dtype=np.float64))[:k]
        if not silenced:
            return features[:, kept]
        only = np.zeros_like(features)
        only[:, kept] = features[:, kept]
        return only

    removed = rdm.rdm(first(rates))
    others: dict[str, Any] = {"silenced": rdm.rdm(first(rates, silenced=True))}
    if poz_elsewhere is not None:
        others["elsewhere"] = rdm.rdm(first(poz_elsewhere))
    found = np.full((len(_CONTROLS), 4), np.nan)

    def test(model: NDArray[np.float64], control: NDArray[np.float64]) -> list[float]:
        said = compare(model, control, given)
        return [said.estimate, said.low, said.high, said.p]

    for control, model in others.items():
        found[_CONTROLS.index(control)] = test(removed, model)
    half = np.full(4, np.nan)
    if isinstance(given, Judgments):
        chosen = selection.cross_fitted(
            features, given.human, "low", rng=np.random.default_rng(0), k=[k], silent=view.silent
        )
        half = np.array([chosen.estimate, chosen.low, chosen.high, chosen.p])
    return {"gaps": found, "other_half": half}


def compare(
    first: NDArray[np.float64], second: NDArray[np.float64], given: Judgments | Triplets
) -> inference.Comparison:
    """Whether one RDM predicts people better than another, whatever people were asked.

    Parameters
    ----------
    first, second
        As for :func:`rarefire.inference.compare`.
    given
        Judgments (subjects vary where there are some who judged enough) or triplets.

    Returns
    -------
    Comparison
        In units of r with the mean RDM, or of agreement with majorities.
    """
    if isinstance(given, Triplets):
        return triplets.compare(first, second, given)
    try:
        people, scale = _varying(given)[0]
        said = inference.compare(first, second, people)
    except InputError:
        people, scale = _varying(given)[-1]
        said = inference.compare(first, second, people)
    scaled = {n: getattr(said, n) * scale for n in ("estimate", "low", "high", "se", "first", "second")}
    return dataclasses.replace(said, **scaled)


def known_gaps() -> Gaps | None:
    """What is shipped of :func:`gaps`; needs no data and no network."""
    answers = in_order(shipped("across-gaps"))
    return Gaps(answers) if answers else None


def capped(
    given: Judgments,
    network: nn.Module,
    *,
    name: str,
    layer: str = embeddings.PENULTIMATE,
    use_shipped: bool = True,
) -> Capped:
    """What the cap of the last ReLU6 does to PoZ (nothing: what is 0 stays 0) and to RDMs.

    Parameters
    ----------
    given, network, name, layer, use_shipped
        As for :func:`measure`; `layer` ends with a ReLU6.

    Raises
    ------
    InputError
        If the network has no ReLU6.
    """
    if given.images is None:
        raise InputError(f"the images of {given.name!r} are not at hand; a network needs them.")
    caps = [module for module, found in network.named_modules() if isinstance(found, nn.ReLU6)]
    if not caps:
        raise InputError(f"{name} has no ReLU6: there is no cap to take away.")

    def compute() -> dict[str, NDArray[Any]]:
        assert given.images is not None
        free = copy.deepcopy(network)
        parent, _, child = caps[-1].rpartition(".")
        setattr(free.get_submodule(parent), child, nn.ReLU())
        made = [
            embeddings.extract(which, given.images, layer=layer, spatial="keep", batch_size=32)
            for which in (network, free)
        ]
        pooled = [a.mean(axis=(2, 3)) if a.ndim == 4 else a for a in made]
        flat = [a.reshape(len(a), -1) for a in made]
        at_cap = made[0] == _CLIP
        rdms = [[rdm.rdm(a) for a in each] for each in (pooled, flat)]
        return {
            "zeros": np.array([(a == 0).mean() for a in made]),
            "saturated": np.array([at_cap.mean(), at_cap.sum() / np.count_nonzero(made[0])]),
            "rdms": np.array([rdm.compare(*each, method="pearson") for each in rdms]),
            "people": np.array([rdm.compare(r, given.human, method="pearson") for r in rdms[0]]),
        }

    facts = {
        **{"judgments": given.name, "judgments_digest": given.digest, "network": name},
        **{"weights_digest": networks.digest(network), "layer": layer},
    }
    found = answer_one("capped", facts, compute, use_shipped=use_shipped)
    assert found is not None  # it is computed where it is not known
    return Capped(found.answers)


def capped_here(*, only: Sequence[str] = tuple(NETWORKS), use_shipped: bool = True) -> Capped | None:
    """:func:`capped` for the networks on this machine with a ReLU6, on Mur et al.'s objects; None for none.

    Parameters
    ----------
    only, use_shipped
        As for :func:`measure_here`.
    """
    answers: list[store.Answer] = []
    for name in only if judgments.available("mur") else ():
        if ready(name):
            where = place(name)
            network = networks.build(where.name, weights=networks.local_weights(where.name))
            if any(isinstance(module, nn.ReLU6) for module in network.modules()):
                given = judgments.load("mur", size=where.size)
                options: dict[str, Any] = {"layer": where.layer, "use_shipped": use_shipped}
                answers += capped(given, network, name=name, **options).answers
    return Capped(tuple(answers)) if answers else None


def known_capped() -> Capped | None:
    """What is shipped of networks with a ReLU6; needs no data and no network."""
    answers = shipped("capped")
    return Capped(answers) if answers else None


@dataclass(frozen=True)
class _Said:
    """What one reading of an order says at some numbers of features; the fields are by number."""

    value: NDArray[np.float64]
    r: NDArray[np.float64]
    r_all: NDArray[np.float64]
    se: NDArray[np.float64]
    df: NDArray[np.float64]
    skewness: NDArray[np.float64]
    largest: inference.Maximum | None


def measure_view(
    view: View,
    given: Judgments | Triplets,
    *,
    poz_elsewhere: NDArray[np.floating[Any]] | None = None,
    seed: int = 0,
    progress: bool = False,
) -> dict[str, NDArray[Any]]:
    """The arrays of :class:`Across` for one view on one set.

    Parameters
    ----------
    view
        The features and their PoZ on the judged images.
    given
        Judgments, or triplets, of the same images, in the same order.
    poz_elsewhere
        ``(n_features,)``, PoZ of the same features on other images; None where it is not known.
    seed
        Of random orders and of the draws of the maximum.
    progress
        Show a progress bar.
    """
    features, rates = check_embedding(view.embedding), view.poz
    n, n_features = features.shape
    if n != given.n:
        raise InputError(f"the view has {n} images, the judgments {given.n}.")
    steps = np.maximum(np.round(np.linspace(0, n_features, _STEPS + 1)[1:]).astype(int), 1)
    firing = int((rates < 1).sum())
    tests = np.full((len(READINGS), len(SHARES), len(COLUMNS)), np.nan)
    maximum, skewness = np.full((len(READINGS), 4), np.nan), np.full((len(READINGS), len(SHARES)), np.nan)
    lines = np.full((len(READINGS), len(steps)), np.nan)
    bar = tqdm(READINGS.values(), desc=f"{given.name}, {view.name}", disable=not progress, leave=False)
    for place, reading in enumerate(bar):
        counted = poz_elsewhere if reading.elsewhere else rates
        if counted is None:
            continue
        order = poz.order(np.asarray(counted, dtype=np.float64))
        at = [count(share, firing if reading.firing else n_features) for share in SHARES]
        rng = np.random.default_rng([seed, 1])
        along = np.unique(at if reading.firing else [*steps, *at])
        said = _said(features, given, order, along, reading, rng, whole=not reading.firing)
        rows = np.searchsorted(along, at)
        low, high, p = inference.t_interval(said.value[rows], said.se[rows], said.df[rows])
        columns = (
            said.value[rows],
            low,
            high,
            said.se[rows],
            said.df[rows],
            p,
            said.r[rows],
            said.r_all[rows],
        )
        tests[place] = np.stack(columns, axis=1)
        skewness[place] = said.skewness[rows]
        if said.largest is not None:
            best = int(np.flatnonzero(along == said.largest.best)[0])
            lower = said.largest.low[np.flatnonzero(said.largest.k == said.largest.best)[0]]
            maximum[place] = said.largest.p, along[best] / n_features, said.value[best], lower
            lines[place] = said.r[np.searchsorted(along, steps)]
    decided = np.array([count(share, n_features) for share in SHARES])
    rng = np.random.default_rng([seed, 2])
    drawn = [rng.permutation(n_features) for _ in range(_ORDERS)]
    d = _differences(features, given, [poz.order(rates), *drawn], decided)
    ceiling = given.ceiling if isinstance(given, Judgments) else triplets.ceiling(given)
    return {
        "tests": tests,
        "maximum": maximum,
        "skewness": skewness,
        "fraction": steps / n_features,
        "curves": lines,
        "random": np.quantile(d[1:], [0.05, 0.5, 0.95], axis=0),
        "chance": inference.RandomOrders(decided, d[0], d[1:]).p,
        "rare": np.asarray(poz.rare_share(rates)),
        "dead": np.asarray((rates == 1).mean()),
        "dead_elsewhere": np.asarray(np.nan if poz_elsewhere is None else (poz_elsewhere == 1).mean()),
        "saturated": np.asarray((features == _CLIP).mean() if features.max() <= _CLIP else 0.0),
        "ceiling": np.full(2, np.nan) if ceiling is None else np.array([ceiling.low, ceiling.high]),
    }


def _varying(given: Judgments) -> list[tuple[NDArray[np.float64], float]]:
    """People to try, and what brings r with them into units of r with the mean RDM.

    Single subjects; and their mean, for where one of them judged too few pairs to be taken to vary.
    """
    mean = (given.human, 1.0)
    if given.subjects is None or given.ceiling is None:
        return [mean]
    return [(given.subjects, 1 / given.subject_ceiling.high), mean]


def _differences(
    features: NDArray[np.float64],
    given: Judgments | Triplets,
    orders: Sequence[NDArray[np.intp]],
    k: NDArray[np.intp],
) -> NDArray[np.float64]:
    """D at some numbers of features in several orders: ``(n_orders, n_steps)``."""
    if isinstance(given, Judgments):
        r = rdm_curves(features, given.human, orders, k=[*k.tolist(), features.shape[1]])
        return np.asarray(r[:, :-1] - r[:, -1:])

    found = np.empty((len(orders), len(k)))

    def some(places: Iterable[int]) -> None:
        for place in places:
            found[place] = triplets.agreement_curve(features, given, orders[place], k=k.tolist()).difference

    blocks.spread(some, range(len(orders)))
    return found


def _said(
    features: NDArray[np.float64],
    given: Judgments | Triplets,
    order: NDArray[np.intp],
    k: NDArray[np.intp],
    reading: Reading,
    rng: np.random.Generator,
    *,
    whole: bool,
) -> _Said:
    """One reading, along the curve; with `whole`, the test over it."""
    options: dict[str, Any] = {"k": k.tolist(), "metric": reading.metric, "silenced": reading.silenced}
    if isinstance(given, Triplets):
        curve = triplets.agreement_curve(features, given, order, **options)
        test = curve.estimate()
        there = enough(curve.n_images, len(features))
        skew = curve.skewness
        largest = curve.maximum(rng=rng, alternative="greater", use=there) if whole else None
        return _Said(
            test.estimate,
            np.where(there, curve.agreement, np.nan),
            curve.agreement_all,
            test.se,
            test.df,
            skew,
            largest,
        )
    for people, in_units in _varying(given):
        scale = in_units
        found = inference.corrected_jackknife(features, order, rdm=people, **options)
        if np.isfinite(found.variance["difference"]).any():
            break
    test, there = found.estimate("difference"), enough(found.n_images, len(features))
    largest = found.maximum(rng=rng, alternative="greater", use=there) if whole else None
    if largest is not None:
        largest = dataclasses.replace(largest, low=largest.low * scale)
    r = np.where(there, found.r * scale, np.nan)
    return _Said(
        test.estimate * scale,
        r,
        found.r_all * scale,
        test.se * scale,
        test.df,
        found.skewness["difference"],
        largest,
    )
