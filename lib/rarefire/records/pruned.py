"""LeNets pruned round after round, with the controls, and what their single units are good for.

Every network on the way is measured against the one that it began as: how alike each layer is, what it
still gets right, what is left of it, and how often its units fire.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import stats
from threadpoolctl import threadpool_limits
from torch import nn

from rarefire import (
    embeddings,
    inference,
    poz,
    pruning,
    rdm,
    removal,
    similarity,
    stimuli,
    store,
    training,
    units,
)
from rarefire.curves import count, geometry_curve
from rarefire.embeddings import PENULTIMATE
from rarefire.errors import DataError, unknown
from rarefire.records import record
from rarefire.records.record import Array, Record, Stack, answer_each, answer_one, by_seed, each_apart
from rarefire.stimuli import Stimuli
from rarefire.training import Recipe

__all__ = [
    "COMPARED",
    "FEW",
    "LAYERS",
    "N_RANDOM",
    "ORDERS",
    "SETTINGS",
    "SHOWN",
    "SHOWN_LAYERS",
    "WIDTHS",
    "WINDOW",
    "Pruned",
    "Setting",
    "Units",
    "by_images",
    "known",
    "known_units",
    "layers_of",
    "measure",
    "measure_network",
    "measure_network_units",
    "measure_units",
    "sample",
    "ship",
    "units_by_images",
]

#: By network, every ReLU and pooling, and the outputs (:func:`layers_of`).
LAYERS = {
    "lenet5": ("relu1", "pool1", "relu2", "pool2", "relu3", "relu4", "fc3"),
    "lenet300-100": ("relu1", "relu2", "fc3"),
}
#: By network, its layers whose units can go, and how many these are.
WIDTHS = {
    "lenet5": {"conv1": 6, "conv2": 16, "fc1": 120, "fc2": 84},
    "lenet300-100": {"fc1": 300, "fc2": 100},
}
COMPARED = 1000  # test images on which layers are compared
WINDOW = 25  # images in which a unit's firing is counted
FEW = 20 / 512  # share of the units that are "the most important" ones (Bau et al. 2020)
N_RANDOM = 5  # random orders of units
SHOWN = 30  # test images whose RDM a page travels with …
SHOWN_LAYERS = ("pool1", "pool2", "relu3", "relu4", "fc3")  # … in these layers
ORDERS = removal.ORDERS


def _short(epochs: int, after: int, **options: Any) -> Recipe:
    return Recipe(max_epochs=epochs, patience=epochs, keep="last", milestones=(after,), **options)


@dataclass(frozen=True)
class Setting:
    """What is pruned, and how.

    Attributes
    ----------
    title
        In a few words.
    images, network
        As for :func:`rarefire.training.train`.
    recipe, retrain, methods, n_rounds, at, rate, last_rate, scope
        As for :func:`rarefire.pruning.rounds`.
    seeds
        How many networks are recorded.
    by_class
        Whether test images come class by class: those on which layers are compared are then spread evenly.
    """

    title: str
    images: str
    recipe: Recipe
    network: str = "lenet5"
    retrain: Recipe | None = None
    methods: tuple[str, ...] = tuple(pruning.METHODS)
    n_rounds: int = 10
    at: tuple[int, ...] = (1, 3, 6, 10)
    rate: float = 0.2
    last_rate: float | None = None
    scope: pruning.Scope = "layer"
    seeds: int = 6
    by_class: bool = False

    def options(self) -> dict[str, Any]:
        """Arguments of :func:`rarefire.pruning.rounds`."""
        names = ("methods", "n_rounds", "at", "rate", "last_rate", "scope", "recipe", "retrain")
        return {name: getattr(self, name) for name in names}

    def rows(self, test: Stimuli) -> NDArray[np.intp]:
        """Test images on which layers are compared, :data:`COMPARED` at most."""
        return test.spread(COMPARED) if self.by_class else np.arange(min(COMPARED, len(test)))

    def facts(self) -> dict[str, Any]:
        """What determines the answers, the seeds aside; JSON-able."""
        return {
            **training.identity(self.images, self.network, recipe=self.recipe),
            "test_digest": stimuli.content_digest(self.images, "test"),
            "methods": list(self.methods),
            "n_rounds": self.n_rounds,
            "at": list(self.at),
            "rate": self.rate,
            "last_rate": self.last_rate,
            "retrain": self.retrain.facts() if self.retrain else None,
            "compared": COMPARED,
            **({} if self.scope == "layer" else {"scope": self.scope}),
            **({"by_class": True} if self.by_class else {}),
        }


_SGD: dict[str, Any] = {"optimizer": "sgd", "weight_decay": 1e-4}

#: By name. ``halves``: as in the demonstration of Ansuini and Zullich's library. ``tickets``: as Frankle &
#: Carbin (2019), in fewer steps.
SETTINGS = {
    "digits": Setting(
        "digits", "digits", _short(10, 8, batch_size=64), n_rounds=3, at=(1, 3), rate=0.5, seeds=3
    ),
    "mnist": Setting("MNIST", "mnist", _short(4, 3)),
    "cifar10-jpg": Setting("CIFAR-10", "cifar10-jpg", _short(5, 4), by_class=True),
    "halves": Setting(
        "MNIST, halves",
        "mnist",
        Recipe(learning_rate=0.1, max_epochs=15, patience=15, keep="last", milestones=(10, 12), **_SGD),
        retrain=Recipe(learning_rate=1e-3, max_epochs=15, patience=15, keep="last", **_SGD),
        methods=("lrr", "on", "again", "seed"),
        n_rounds=2,
        at=(1,),
        rate=0.5,
        last_rate=0.0,
        scope="global",
    ),
    "tickets": Setting(
        "MNIST, LeNet-300-100",
        "mnist",
        Recipe(
            learning_rate=1.2e-3,
            batch_size=60,
            max_epochs=9,
            patience=9,
            validation=1 / 12,
            keep="least-loss",
            check_every=100,
        ),
        network="lenet300-100",
        methods=("imp", "reinitialised"),
        n_rounds=15,
        at=(7, 9, 15),
    ),
}


_BY_IMAGES = ("digits", "mnist", "cifar10-jpg")  # settings that a chapter shows
_CONTROL = {"trained": "on", "first": "again", "new": "seed"}  # by what a round begins with


@dataclass(frozen=True, eq=False, repr=False)
class Pruned(Stack):
    """Networks on the way, measured. The first axis is the instance, the second the network."""

    method = Array("I, N", "of each network, :data:`rarefire.pruning.METHODS` or ``dense``")
    number = Array("I, N", "its round; 0 is dense")
    accuracy = Array("I, N", "on the test images, in [0, 1]")
    stop = Array("I, N", "epochs, or checks of the loss, after which the kept weights were reached")
    left = Array("I, N, L", "weights left of each layer with weights")
    units_left = Array("I, N, S", "units left of each layer whose units can go")
    alike = Array("I, N, A, 4", "similarity of each activation with the dense one, by each measure")
    chance = Array("I, A", "mean canonical correlation of the dense activations, the images permuted")
    apoz = Array("I, N, U", "APoZ over the test images, of the units of all layers after another")
    incoming = Array("I, N, U", "share of the weights of each unit that are left")
    outgoing = Array("I, N, U", "share of the weights that read it that are left")

    @property
    def share(self) -> NDArray[np.float64]:
        """Share of the weights that are left, ``(I, N)``."""
        total = self.left.sum(axis=2)
        return np.asarray(total / total[:, :1])

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the activations that are compared."""
        return LAYERS[self.network]

    @property
    def methods(self) -> list[str]:
        """Methods that there are, the dense network aside."""
        return [m for m in dict.fromkeys(self.method[0].tolist()) if m != pruning.DENSE]

    def numbers(self, method: str) -> list[int]:
        """Rounds that there are of a method.

        Raises
        ------
        UnknownNameError
            For a method that was not measured; the message lists those that were.
        """
        found: list[int] = self.number[0][self.method[0] == method].tolist()
        if not found:
            raise unknown("method of pruning", method, self.methods)
        return found

    def place(self, method: str, number: int) -> int:
        """Where a network stands on the second axis; round 0 of every method is the dense one.

        Raises
        ------
        UnknownNameError
            For a method or a round that was not measured.
        """
        if number == 0:
            return 0
        there = self.numbers(method)
        if number not in there:
            raise unknown(f"round of {method}", str(number), [str(n) for n in there])
        return int(np.flatnonzero((self.method[0] == method) & (self.number[0] == number))[0])

    def alike_in(self, layer: str = PENULTIMATE, measure: str = "pearson") -> NDArray[np.float64]:
        """Similarity of a layer with the dense network's, ``(I, N)``.

        Parameters
        ----------
        layer
            Of :attr:`layers`; ``"penultimate"``: the one before the outputs.
        measure
            Of :data:`rarefire.similarity.MEASURES`.

        Raises
        ------
        UnknownNameError
            For another layer or measure.
        """
        name = self.layers[-2] if layer == PENULTIMATE else layer
        for what, value, names in (("layer", name, self.layers), ("measure", measure, similarity.MEASURES)):
            if value not in names:
                raise unknown(what, value, list(names))
        found = self.alike[:, :, self.layers.index(name), similarity.MEASURES.index(measure)]
        return np.asarray(found, dtype=np.float64)

    def along(self, values: NDArray[Any], method: str) -> tuple[NDArray[np.float64], NDArray[Any]]:
        """A method's rounds, the dense network first: median share of the weights left, and ``(I, rounds)``.

        Parameters
        ----------
        values
            ``(I, N)``.
        method
            Its name.
        """
        places = [0, *(self.place(method, n) for n in self.numbers(method))]
        return np.median(self.share[:, places], axis=0), np.asarray(values)[:, places]

    def control(self, method: str, number: int, values: NDArray[Any]) -> NDArray[np.float64]:
        """What training again without pruning does, ``(I,)``: the control of a round of a method.

        For methods that begin with trained weights, the network that was trained on as often; for those that
        begin with the first weights, the mean over networks that were trained again from these, in other
        orders of the images; for those that begin with new weights, the mean over other seeds. NaN where the
        setting has no such network.

        Parameters
        ----------
        method, number
            The round.
        values
            ``(I, N)``, of which the control's are wanted.
        """
        control = _CONTROL[pruning.METHODS[method].start]
        if control not in self.methods:
            return np.full(len(self), np.nan)
        if control == "on":
            return np.asarray(values[:, self.place("on", number if pruning.METHODS[method].every else 1)])
        return np.asarray(values[:, self.method[0] == control].mean(axis=1))

    def excess(
        self, method: str, number: int, *, layer: str = PENULTIMATE, measure: str = "pearson"
    ) -> NDArray[np.float64]:
        """How much less alike a pruned layer is than its control's, ``(I,)``."""
        values = self.alike_in(layer, measure)
        return self.control(method, number, values) - values[:, self.place(method, number)]

    def last_within(self, method: str, loss: float = 0.0, *, of_control: bool = False) -> NDArray[np.intp]:
        """Last round before an instance loses more accuracy than `loss`; 0 where it does at once, ``(I,)``.

        Parameters
        ----------
        method
            Its name.
        loss
            In [0, 1], of the first network's accuracy.
        of_control
            Of the control's in the same round instead (:meth:`control`).
        """
        numbers = np.array(self.numbers(method))
        right = np.asarray(self.accuracy, dtype=np.float64)
        own = np.stack([right[:, self.place(method, n)] for n in numbers], axis=1)
        if of_control:
            least = np.stack([self.control(method, n, right) for n in numbers], axis=1)
        else:
            least = right[:, :1]
        holds = np.logical_and.accumulate(own >= least - loss - 1e-9, axis=1)
        return np.asarray(np.where(holds, numbers, 0).max(axis=1))

    def on_equal_terms(
        self, *, share: float = 0.25, loss: float = 0.0, layer: str = PENULTIMATE, measure: str = "pearson"
    ) -> pd.DataFrame:
        """Every method of pruning with its control, at equal weights left and at equal accuracy.

        Parameters
        ----------
        share
            Of the weights; of each method the round that comes nearest.
        loss
            Of accuracy that counts as none; of each method and instance the last round before it loses more.
        layer, measure
            As for :meth:`alike_in`.

        Returns
        -------
        DataFrame
            ``at`` (``weights`` or ``accuracy``), ``method``; means over instances of ``weights left``,
            ``accuracy`` and ``alike``; ``control``, that of nothing pruned (:meth:`control`); ``excess``,
            control less method, with its 95 % interval ``low``, ``high`` over instances (t), and ``p``;
            ``n``, instances that have such a round.
        """
        values = self.alike_in(layer, measure)
        rows = []
        for method in self.methods:
            if pruning.METHODS[method].masks == "none":
                continue
            numbers = np.array(self.numbers(method))
            left = np.array([np.median(self.share[:, self.place(method, n)]) for n in numbers])
            nearest = np.full(len(self), numbers[np.abs(np.log(left / share)).argmin()])
            for at, chosen in (("weights", nearest), ("accuracy", self.last_within(method, loss))):
                has = chosen > 0
                columns = {"weights left": self.share, "accuracy": self.accuracy, "alike": values}
                own = {name: self.each_at(method, chosen, column) for name, column in columns.items()}
                each = enumerate(chosen.tolist())
                own["control"] = np.array([self.control(method, max(n, 1), values)[i] for i, n in each])
                row = {"at": at, "method": method, "n": int(has.sum())}
                row |= {
                    name: float(column[has].mean()) if has.any() else np.nan for name, column in own.items()
                }
                if has.sum() > 2:  # of two an interval says nothing
                    found = inference.seed_interval((own["control"] - own["alike"])[has, None])
                    row["excess"] = float(found.estimate[0])
                    row |= {name: float(getattr(found, name)[0]) for name in ("low", "high", "p")}
                rows.append(row)
        return pd.DataFrame(rows)

    def survival(
        self, layer: str, *, of: str = "incoming", firing: bool = False, rates: str = pruning.DENSE
    ) -> NDArray[np.float64]:
        """Rank correlation of units' PoZ before pruning with what is left of them, ``(I, N)``.

        Parameters
        ----------
        layer
            A layer with weights whose units can go, such as ``"fc2"``.
        of
            ``"incoming"``, its own weights; ``"outgoing"``, those that read it.
        firing
            Over the units that fire for any test image before pruning.
        rates
            The method whose PoZ is taken. That of ``"again"``, which began with the same weights, shows how
            much of the correlation is in these; of ``"seed"``, whose units are others, chance.

        Returns
        -------
        ndarray
            Spearman's; below 0, units that fire rarely lose more. Mean over rounds of `rates`. NaN where all
            units have as many left, or fire as often.

        Raises
        ------
        UnknownNameError
            For a layer without units that can go, or a method that was not measured.
        """
        units = self.units_of(layer)
        places = [0] if rates == pruning.DENSE else [self.place(rates, n) for n in self.numbers(rates)]
        kept = self[of][:, :, units]
        found = np.full((len(places), *kept.shape[:2]), np.nan)
        for p, i, n in np.ndindex(found.shape):
            before = self.apoz[i, places[p], units]
            some = before < 1 if firing else np.ones(len(before), dtype=bool)
            pair = before[some], kept[i, n][some]
            if min(map(np.ptp, pair)) > 0:
                found[p, i, n] = stats.spearmanr(*pair).statistic
        return np.asarray(found.mean(axis=0))

    def lost(self, layer: str, method: str, number: int) -> tuple[int, int]:
        """Units of a layer, of all instances, that have none of their weights left; and how many never fired.

        Parameters
        ----------
        layer
            As for :meth:`survival`.
        method, number
            The round.
        """
        units, place = self.units_of(layer), self.place(method, number)
        gone = self.incoming[:, place, units] == 0
        return int(gone.sum()), int((gone & (self.apoz[:, 0, units] == 1)).sum())

    def units_of(self, layer: str) -> slice:
        """Where a layer's units stand on the axis of all units.

        Raises
        ------
        UnknownNameError
            For a layer that has none that can go.
        """
        if layer not in WIDTHS[self.network]:
            raise unknown("layer whose units can be removed", layer, list(WIDTHS[self.network]))
        widths = list(WIDTHS[self.network].values())
        place = list(WIDTHS[self.network]).index(layer)
        return slice(sum(widths[:place]), sum(widths[: place + 1]))

    def each_at(self, method: str, numbers: NDArray[np.intp], values: NDArray[Any]) -> NDArray[np.float64]:
        """Values ``(I, N)`` in a round of its own of every instance, ``(I,)``.

        Parameters
        ----------
        method
            Its name.
        numbers
            ``(I,)``, of each instance.
        values
            Of all networks.
        """
        places = [self.place(method, int(n)) for n in numbers]
        return np.asarray(values[np.arange(len(self)), places], dtype=np.float64)


@dataclass(frozen=True, eq=False, repr=False)
class Units(Stack):
    """Units of the penultimate layer of dense networks. The first axis is the instance."""

    importance = Array("I, P, F", "by each of :data:`ORDERS` but the last, on training images")
    r2 = Array("I, O, F", "R² of the k most important units with all, k = 1 … F; random: the mean")
    r2_cosine = Array("I, O, F", "the same without centring")
    accuracy = Array("I, O, F", "on test images, the others silenced")
    poz = Array("I, F", "PoZ over the test images")
    lost = Array("I, F, C", "what each class's balanced accuracy loses without a unit, on test images")
    classes = Array("I, 4, C", "balanced accuracy: whole; without, and with only, its most important units; "
                    "without as many random ones")  # fmt: skip
    selectivity = Array("I, F", "intraclass correlation of firing")
    fano = Array("I, 2, F", "Fano factor of counts in windows, of class blocks and of the same shuffled")

    def at(
        self, order: str, share: float, *, values: str = "r2", firing: bool = False
    ) -> NDArray[np.float64]:
        """A curve at the `share` of the units that an order puts first, ``(I,)``.

        Parameters
        ----------
        order
            Of :data:`ORDERS`.
        share
            Of the units; at least one.
        values
            ``"r2"``, ``"r2_cosine"`` or ``"accuracy"``.
        firing
            Count the share among the units that fire for any test image. In PoZ's order the others come last.

        Raises
        ------
        UnknownNameError
            For an order that does not exist.
        """
        if order not in ORDERS:
            raise unknown("order of units", order, list(ORDERS))
        curve = self[values][:, ORDERS.index(order)]
        of = (self.poz < 1).sum(axis=1) if firing else np.full(len(self), curve.shape[1])
        places = [count(share, int(n)) - 1 for n in of]
        return np.asarray(curve[np.arange(len(self)), places], dtype=np.float64)

    def needed(self, order: str, *, values: str, short: float) -> NDArray[np.float64]:
        """Share of the units from which on a curve falls no more than `short` below its end, ``(I,)``.

        Parameters
        ----------
        order
            Of :data:`ORDERS`.
        values
            ``"r2"``, ``"r2_cosine"`` or ``"accuracy"``.
        short
            Of the value with all units.

        Raises
        ------
        UnknownNameError
            For an order that does not exist.
        """
        if order not in ORDERS:
            raise unknown("order of units", order, list(ORDERS))
        curve = self[values][:, ORDERS.index(order)]
        holds = np.nan_to_num(curve, nan=-1.0) >= curve[:, -1:] - short - 1e-6
        from_here = np.minimum.accumulate(holds[:, ::-1], axis=1)[:, ::-1]
        return np.asarray((from_here.argmax(axis=1) + 1) / curve.shape[1])


def layers_of(network: nn.Sequential) -> list[str]:
    """Every ReLU and pooling of a LeNet, and its outputs."""
    names = [n for n, m in network.named_children() if isinstance(m, nn.ReLU | nn.MaxPool2d)]
    return [*names, list(dict(network.named_children()))[-1]]


def measure(
    name: str,
    *,
    seeds: Sequence[int] | None = None,
    jobs: int | None = None,
    use_shipped: bool = True,
    progress: bool = True,
) -> Pruned:
    """Prune and measure; train and compute only what is neither shipped nor cached.

    Parameters
    ----------
    name
        Of :data:`SETTINGS`.
    seeds
        One network each; default: as many as are recorded.
    jobs, progress
        As for :func:`rarefire.pruning.rounds`.
    use_shipped
        Whether the results shipped with the book count.
    """
    setting = _setting(name)

    def compute(missing: list[int]) -> Iterator[tuple[int, dict[str, NDArray[Any]]]]:
        train, test = stimuli.load(setting.images, "train"), stimuli.load(setting.images, "test")
        options: dict[str, Any] = {**setting.options(), "seeds": missing, "jobs": jobs, "progress": progress}
        found = pruning.rounds(train, setting.network, **options)
        chains = {seed: _chain(found, seed) for seed in missing}
        rows = setting.rows(test)
        arguments = [(seed, chain, test, rows) for seed, chain in chains.items()]
        yield from each_apart(_measured, arguments, jobs=jobs, what=f"{name}: compared", progress=progress)

    wanted = by_seed(seeds or range(setting.seeds))
    what = f"{setting.title}, pruned"
    answers = answer_each("pruned", setting.facts(), wanted, compute, use_shipped=use_shipped, what=what)
    return Pruned(tuple(answers.values()))


def known(name: str, *, use_shipped: bool = True) -> Pruned | None:
    """What is known of a setting, shipped or cached; None where that is nothing. Needs no data."""
    answers = _known("pruned", name, use_shipped)
    return Pruned(answers) if answers else None


def by_images(profile: str = "default", *, instances: int | None = None) -> dict[str, Pruned]:
    """The settings that a chapter shows; as :func:`rarefire.records.record.by_images`.

    Parameters
    ----------
    profile
        ``"default"`` or ``"full"``.
    instances
        Of digits; default: as many as in :data:`SETTINGS`.
    """
    return record.by_images(_BY_IMAGES, measure, known, profile, instances or SETTINGS["digits"].seeds)


def units_by_images(profile: str = "default", *, instances: int | None = None) -> dict[str, Units]:
    """As :func:`by_images`, of the units."""
    fewest = instances or SETTINGS["digits"].seeds
    return record.by_images(_BY_IMAGES, measure_units, known_units, profile, fewest)


def known_units(name: str, *, use_shipped: bool = True) -> Units | None:
    """As :func:`known`, of the units."""
    answers = _known("units", name, use_shipped)
    return Units(answers) if answers else None


def _known(question: str, name: str, use_shipped: bool) -> tuple[store.Answer, ...]:
    setting = _setting(name)
    if not stimuli.identifiable(setting.images):
        return ()
    asked = setting.facts(), by_seed(range(setting.seeds))
    return tuple(answer_each(question, *asked, None, use_shipped=use_shipped).values())


def measure_units(
    name: str,
    *,
    seeds: Sequence[int] | None = None,
    jobs: int | None = None,
    use_shipped: bool = True,
    progress: bool = True,
) -> Units:
    """Units of the dense networks of a setting; as :func:`measure`."""
    setting = _setting(name)

    def compute(missing: list[int]) -> Iterator[tuple[int, dict[str, NDArray[Any]]]]:
        train, test = stimuli.load(setting.images, "train"), stimuli.load(setting.images, "test")
        options = {**setting.options(), "methods": (), "seeds": missing, "jobs": jobs, "progress": progress}
        found = pruning.rounds(train, setting.network, **options)[pruning.DENSE]
        arguments = [(seed, by[0], train, test) for seed, by in found.items()]
        yield from each_apart(_units, arguments, jobs=jobs, what=f"{name}: units", progress=progress)

    wanted = by_seed(seeds or range(setting.seeds))
    what = f"{setting.title}, units"
    answers = answer_each("units", setting.facts(), wanted, compute, use_shipped=use_shipped, what=what)
    return Units(tuple(answers.values()))


# --- what is measured -----------------------------------------------------------------------------


def _chain(found: Mapping[str, Mapping[int, Mapping[int, pruning.Round]]], seed: int) -> list[pruning.Round]:
    """All networks that began as one, the dense one first."""
    pruned = [each for by in found.values() for number, each in by[seed].items() if number]
    return [found[pruning.DENSE][seed][0], *pruned]


def _measured(
    seed: int, chain: Sequence[pruning.Round], test: Stimuli, rows: NDArray[np.intp]
) -> tuple[int, dict[str, NDArray[Any]]]:
    with threadpool_limits(1), training.one_thread():
        return seed, measure_network(chain, test, rows=rows)


def measure_network(
    chain: Sequence[pruning.Round], test: Stimuli, *, rows: NDArray[np.intp]
) -> dict[str, NDArray[Any]]:
    """The arrays of :class:`Pruned` for one instance.

    Parameters
    ----------
    chain
        The dense network, then those that came of it.
    test
        Images that they were not trained on.
    rows
        Those of them on which layers are compared.
    """
    shown = test.subset(rows)
    first = chain[0].network()
    assert isinstance(first, nn.Sequential)
    there, layers = removal.sites(first), layers_of(first)
    dense = {layer: embeddings.extract(first, shown, layer=layer, spatial="keep") for layer in layers}
    shuffled = np.random.default_rng(chain[0].seed).permutation(len(shown))
    found: dict[str, list[Any]] = {name: [] for name in _OF_NETWORKS}
    for each in chain:
        network, fitted, masks = each.network(), each.fitted, each.masks
        now = {layer: embeddings.extract(network, shown, layer=layer, spatial="keep") for layer in layers}
        alike = [list(similarity.compare(dense[layer], now[layer]).values()) for layer in layers]
        checks = fitted.history["validation_loss"]
        steps = len(fitted.history["loss"]) if not checks else (1 + int(np.argmin(checks)))
        incoming = [masks[f"{s.layer}.weight"].flatten(1).double().mean(1).numpy() for s in there]
        found["method"].append(each.method)
        found["number"].append(each.number)
        found["accuracy"].append(training.accuracy(network, test))
        found["stop"].append(steps)
        found["left"].append(list(pruning.left(masks).values()))
        found["units_left"].append([int((share > 0).sum()) for share in incoming])
        found["alike"].append(alike)
        found["apoz"].append(np.concatenate(list(removal.apoz(network, test, there).values())))
        found["incoming"].append(np.concatenate(incoming))
        reading = [_by_unit(masks[f"{s.reader}.weight"], s) for s in there]
        found["outgoing"].append(np.concatenate(reading))
    chance = [similarity.compare(d, d[shuffled], measures=["cca"])["cca"] for d in dense.values()]
    arrays = {name: np.asarray(values) for name, values in found.items()}
    small = {name: a.astype(np.float32) for name, a in arrays.items() if a.dtype == np.float64}
    return {**arrays, **small, "chance": np.asarray(chance, dtype=np.float32)}


_OF_NETWORKS = (
    *("method", "number", "accuracy", "stop", "left", "units_left"),
    *("alike", "apoz", "incoming", "outgoing"),
)


def _by_unit(mask: torch.Tensor, where: removal.Site) -> NDArray[np.float64]:
    """Of the weights that read each unit, the share that is left."""
    columns = mask.double().transpose(0, 1).flatten(1)
    return np.asarray(columns.reshape(where.n_units, -1).mean(1).numpy())


def _units(
    seed: int, dense: pruning.Round, train: Stimuli, test: Stimuli
) -> tuple[int, dict[str, NDArray[Any]]]:
    with threadpool_limits(1), training.one_thread():
        return seed, measure_network_units(dense.network(), train, test, seed=seed)


def measure_network_units(
    network: nn.Module, train: Stimuli, test: Stimuli, *, seed: int
) -> dict[str, NDArray[Any]]:
    """The arrays of :class:`Units` for one network.

    Parameters
    ----------
    network
        Its last layer is linear.
    train, test
        Importance is measured on the ones, everything else on the others.
    seed
        Of random orders and of the order of presentation.
    """
    rng = np.random.default_rng([seed, 6])
    embedding = embeddings.extract(network, test)
    last = dict(network.named_modules())[embeddings.last_weighted(network, _first(test))]
    weight, bias = (p.detach().double().numpy() for p in (last.weight, last.bias))
    n_units, n_classes = embedding.shape[1], len(test.class_names)
    by = [name for name in ORDERS if name != "random"]
    importance = np.stack([removal.importance(network, train, name) for name in by])
    orders = [[poz.order(values, first="high")] for values in importance]
    orders.append([rng.permutation(n_units) for _ in range(N_RANDOM)])

    def mean(of: Callable[[NDArray[np.intp]], NDArray[np.float64]]) -> NDArray[np.float64]:
        """By order; NaN where it is undefined in any of the random ones."""
        return np.stack([np.mean([of(order) for order in some], axis=0) for some in orders])

    def right(order: NDArray[np.intp]) -> NDArray[np.float64]:
        scores, shares = np.tile(bias, (len(embedding), 1)), []
        for unit in order:
            scores += np.outer(embedding[:, unit], weight[:, unit])
            shares.append(float((scores.argmax(1) == test.labels).mean()))
        return np.asarray(shares)

    found = {
        "importance": importance,
        "r2": mean(lambda order: geometry_curve(embedding, order).r2),
        "r2_cosine": mean(lambda order: geometry_curve(embedding, order, metric="cosine").r2),
        "accuracy": mean(right),
        "poz": poz.poz(embedding),
        "lost": removal.ablation(network, test),
        "selectivity": units.selectivity(embedding, test.labels),
    }
    # The most important units of each class, by what it loses on training images.
    few = max(1, round(FEW * n_units))
    best = np.argsort(-removal.ablation(network, train), axis=0, kind="stable")[:few]
    drawn = np.stack([rng.permutation(n_units)[:few] for _ in range(n_classes)], axis=1)
    some = [
        np.stack([np.isin(np.arange(n_units), chosen[:, c], invert=gone) for c in range(n_classes)])
        for chosen, gone in ((best, True), (best, False), (drawn, True))
    ]
    of_sets = [np.diag(removal.balanced_accuracy(network, test, kept=sets)) for sets in some]
    found["classes"] = np.stack([removal.balanced_accuracy(network, test), *of_sets])
    blocks_of_classes = units.class_blocks(test.labels, window=WINDOW, rng=rng)
    shown = (blocks_of_classes, rng.permutation(blocks_of_classes))
    found["fano"] = np.stack([units.fano(embedding, window=WINDOW, order=order) for order in shown])
    return {name: np.asarray(values, dtype=np.float32) for name, values in found.items()}


def _first(images: Stimuli) -> torch.Tensor:
    return torch.from_numpy(np.array(images.images[:1]))


def sample(name: str, *, use_shipped: bool = True) -> Record | None:
    """What a page travels with: RDMs of a few test images in every network that came of the first.

    Shipped, else cached, else computed; None where the images are not on this machine.

    Returns
    -------
    Record
        ``method``, ``number (N,)``; ``rdm (N, A, pairs)``, correlation distances of :data:`SHOWN` images
        in 127ths, 255 where undefined; ``layers (A,)``; ``labels (SHOWN,)``.
    """
    setting = _setting(name)
    if not stimuli.identifiable(setting.images):
        return None

    def compute() -> dict[str, NDArray[Any]]:
        train, test = stimuli.load(setting.images, "train"), stimuli.load(setting.images, "test")
        found = pruning.rounds(train, setting.network, **setting.options(), seeds=[0])
        chain = _chain(found, 0)
        each = SHOWN // len(test.class_names)
        rows = np.concatenate([np.flatnonzero(test.labels == c)[:each] for c in np.unique(test.labels)])
        shown, distances = test.subset(rows), []
        for step in chain:
            network = step.network()
            flat = [embeddings.extract(network, shown, layer=layer) for layer in SHOWN_LAYERS]
            distances.append([_quantised(embedding) for embedding in flat])
        return {
            "method": np.array([step.method for step in chain]),
            "number": np.array([step.number for step in chain]),
            "rdm": np.array(distances),
            "layers": np.array(SHOWN_LAYERS),
            "rows": rows,
            "labels": test.labels[rows],
        }

    at_hand = compute if stimuli.available(setting.images) else None
    return answer_one("pruned-sample", setting.facts(), at_hand, use_shipped=use_shipped)


def ship(name: str, path: str | Path) -> list[Path]:
    """Write what is known of a setting as files to ship; what this machine computed goes first.

    Beside it, where they are known: the units into ``<name>-units.npz``, the sample into
    ``<name>-sample.npz``.

    Raises
    ------
    UnknownNameError
        For a setting that does not exist.
    DataError
        If nothing is known of it.
    """
    path, facts = Path(path), _setting(name).facts()
    written = []
    for question, of, suffix in (
        ("pruned", by_seed(range(_setting(name).seeds)), ""),
        ("units", by_seed(range(_setting(name).seeds)), "-units"),
        ("pruned-sample", {0: {}}, "-sample"),
    ):
        mine = answer_each(question, facts, of, None, use_shipped=False)
        answers = answer_each(question, facts, of, None) | mine
        if answers:
            written.append(store.pack(path.with_stem(path.stem + suffix), answers.values()))
    if not written:
        raise DataError(f"nothing is known of {name!r} yet: measure it first.")
    return written


def _quantised(embedding: NDArray[np.float32]) -> NDArray[np.uint8]:
    similarities = rdm.similarities(embedding)[np.triu_indices(len(embedding), k=1)]
    scaled = np.round(127 * (1 - similarities))
    return np.where(np.isfinite(scaled), scaled, 255).astype(np.uint8)


def _setting(name: str) -> Setting:
    if name not in SETTINGS:
        raise unknown("setting", name, list(SETTINGS))
    return SETTINGS[name]
