"""Which order of a last layer's units predicts people best with few of them, and which keeps the geometry.

Importance of the units is measured on photographs that nobody judged, one of each class of the network;
then the RDM of the k most important ones is put beside people's, and beside that of all units. The orders
are those of pruning (:data:`rarefire.removal.ORDERS`). Ablation is not among them: it is the balanced
accuracy that a class loses, and with one photograph of a class its recall is 0 or 1.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from torch import nn
from tqdm import tqdm

from rarefire import embeddings, inference, networks, poz, rdm, removal, stimuli, store, triplets
from rarefire.curves import count, enough, geometry_curve, rdm_curve
from rarefire.embeddings import View
from rarefire.errors import InputError, unknown
from rarefire.judgments import Judgments
from rarefire.rdm import check_embedding
from rarefire.records import people_across
from rarefire.records.people import COLUMNS
from rarefire.records.record import Array, Stack, answer_one, shipped
from rarefire.stimuli import Gallery, Stimuli
from rarefire.triplets import Triplets

__all__ = [
    "ORDERS",
    "POWER",
    "SAME_IMAGES",
    "SHARES",
    "Orders",
    "importances",
    "known",
    "labelled",
    "measure",
    "measure_here",
    "measure_view",
]

#: Orders by importance, most important first, with what a reader has to know of them. The first is the one
#: that the others are compared with.
ORDERS: dict[str, str] = {
    "poz": "PoZ of the pooled channel",
    "apoz": "APoZ, zeros over positions too",
    "mean": "mean activation",
    "sd": "SD over images",
    "entropy": "entropy over images",
    "norm": "norm of the weights that read it",
    "taylor": "Taylor: activation × gradient of the loss",
    "poz_same": "PoZ on the judged images themselves",
}
#: The one order that has seen the judged images (no judgments); chapter 4's.
SAME_IMAGES = "poz_same"
#: Shares of the units at which orders are compared.
SHARES = (0.2, 0.5)
#: With which a difference is called detectable.
POWER = 0.8

_AGAINST = ("all", "poz")
_STEPS = 100
_RANDOM = 50  # random orders
_BATCH = 32  # photographs at once


@dataclass(frozen=True, eq=False, repr=False)
class Orders(Stack):
    """Orders of a network's units on a set of judgments, the first axis.

    r is with the mean RDM, where there are single subjects they vary too; for triplets it is agreement with
    majorities.
    """

    one = "comparison"
    people = Array("I, 8, S", "r of the first k units by :data:`ORDERS`; NaN where few images have one")
    geometry = Array("I, 8, S", "R² of the first k units' RDM with that of all")
    random_people = Array("I, 3, S", "r in random orders: mean, 5 and 95 %")
    random_geometry = Array("I, 3, S", "R² with all units in random orders: mean, 5 and 95 %")
    fraction = Array("I, S", "shares of the units, k / F")
    tests = Array(
        "I, 2, 8, 2, 8",
        "J− of the difference from all units and from the first order, at the same k; by order, "
        ":data:`SHARES`, people's ``COLUMNS``, ``r_all`` being that of the other side",
    )
    chance = Array("I, 2, 8, 2", "two-sided p against random orders: of r, of R²; by order, :data:`SHARES`")
    alike = Array("I, 8, 8", "Spearman's correlation between the importances")
    accuracy = Array("I,", "share of the photographs that the network names")
    n_units = Array("I,", "units of the layer, F")
    ceiling = Array("I, 2", "noise ceiling of r with the mean RDM, or of agreement")

    def table(self) -> pd.DataFrame:
        """Where each order is at :data:`SHARES`.

        Returns
        -------
        DataFrame
            A row for each network, set, share and order, and for ``random``, the mean of random orders:
            ``set, network, share, order, k``; ``r`` with people, ``R²`` of it (NaN for agreement) and
            ``r all``, that of all units; ``chance``, p against random orders; ``geometry``, R² with all
            units, and ``chance geometry``.
        """
        rows = []
        for i, answer in enumerate(self.answers):
            facts = answer.provenance["facts"]
            for s, share in enumerate(SHARES):
                k = count(share, int(self.n_units[i]))
                at = int(np.argmin(np.abs(self.fraction[i] - k / self.n_units[i])))
                r, geometry = self.people[i, :, at], self.geometry[i, :, at]
                numbers = [*zip(ORDERS, r, geometry, *self.chance[i, :, :, s], strict=True)]
                random = self.random_people[i, 0, at], self.random_geometry[i, 0, at]
                for order, r_of, kept, p, p_kept in [*numbers, ("random", *random, np.nan, np.nan)]:
                    rows.append(
                        {
                            **{"set": facts["judgments"], "network": facts["network"]},
                            **{"share": share, "order": order, "k": k},
                            **{"r": float(r_of), "R²": np.nan if facts["triplets"] else float(r_of) ** 2},
                            **{"r all": float(self.people[i, 0, -1]), "chance": float(p)},
                            **{"geometry": float(kept), "chance geometry": float(p_kept)},
                        }
                    )
        return pd.DataFrame(rows)

    def comparisons(self, *, against: str = "poz", share: float = SHARES[0]) -> pd.DataFrame:
        """Whether each order predicts people better than PoZ's, or than all units do.

        Parameters
        ----------
        against
            ``"poz"``, the first k units by PoZ; ``"all"``, all units.
        share
            Of the units, from :data:`SHARES`.

        Returns
        -------
        DataFrame
            A row for each network, set and order: ``set, network, order``; people's ``COLUMNS``; ``holm``
            over the rows; ``detectable``, the difference that would be found with :data:`POWER` at the
            strictest level that Holm asks for.

        Raises
        ------
        UnknownNameError
            For another side.
        InputError
            For another share.
        """
        if against not in _AGAINST:
            raise unknown("side", against, list(_AGAINST))
        if share not in SHARES:
            raise InputError(f"share is one of {', '.join(map(str, SHARES))}; got {share}.")
        tests = self.tests[:, _AGAINST.index(against), :, SHARES.index(share)].astype(float)
        rows = []
        for answer, by_order in zip(self.answers, tests, strict=True):
            facts = answer.provenance["facts"]
            for order, numbers in zip(ORDERS, by_order, strict=True):
                if order != against:
                    of = {"set": facts["judgments"], "network": facts["network"], "order": order}
                    rows.append({**of, **dict(zip(COLUMNS, numbers, strict=True))})
        table = pd.DataFrame(rows)
        level = 0.05 / max(int(table["p"].notna().sum()), 1)
        needed = stats.t.isf(level / 2, table["df"]) + stats.t.ppf(POWER, table["df"])
        return table.assign(holm=inference.holm(table["p"]), detectable=needed * table["se"])

    def headline(self) -> pd.DataFrame:
        """Each order over all networks and sets.

        Returns
        -------
        DataFrame
            A row for each share and order, and for ``random``: ``share, order``; ``r`` and ``geometry``,
            means; ``first``, on how many networks and sets no other order predicts people better (without
            :data:`SAME_IMAGES`, which knows the images); ``D``, mean difference of r from PoZ's order, and
            ``better, worse``, how often it holds, Holm over the rows of :meth:`comparisons`;
            ``detectable``, its median; ``D all, better all, worse all``, likewise from all units;
            ``above chance, below chance``, how often r is above or below random orders, at p < .05 each.
        """
        table, rows = self.table(), []
        for share in SHARES:
            here = table[table["share"] == share]
            fair = here[~here["order"].isin([SAME_IMAGES, "random"])]
            first = fair.loc[fair.groupby(["set", "network"])["r"].idxmax(), "order"].value_counts()
            held = {side: self.comparisons(against=side, share=share) for side in _AGAINST}
            random = here[here["order"] == "random"].set_index(["set", "network"])["r"]
            reference = here[here["order"] == "poz"].set_index(["set", "network"])["r"]
            for order in [*ORDERS, "random"]:
                own = here[here["order"] == order].set_index(["set", "network"])
                row: dict[str, Any] = {"share": share, "order": order}
                row |= {"r": own["r"].mean(), "geometry": own["geometry"].mean()}
                row |= {"first": first.get(order, 0)} if order in set(fair["order"]) else {}
                row["D"] = (own["r"] - reference).mean()
                for side, tests in held.items():
                    mine = tests[tests["order"] == order]
                    ending = "" if side == "poz" else " all"
                    if len(mine):
                        sure = mine["holm"] < 0.05
                        row[f"better{ending}"] = int((sure & (mine["estimate"] > 0)).sum())
                        row[f"worse{ending}"] = int((sure & (mine["estimate"] < 0)).sum())
                        row[f"detectable{ending}"] = mine["detectable"].median()
                row["D all"] = (own["r"] - own["r all"]).mean()
                if order != "random":
                    unusual = own["chance"] < 0.05
                    row["above chance"] = int((unusual & (own["r"] > random)).sum())
                    row["below chance"] = int((unusual & (own["r"] < random)).sum())
                rows.append(row)
        columns = ["share", "order", "r", "geometry", "first", "D", "better", "worse", "detectable"]
        columns += ["D all", "better all", "worse all", "detectable all", "above chance", "below chance"]
        return pd.DataFrame(rows)[columns]

    def likeness(self) -> pd.DataFrame:
        """How alike orders are: Spearman's correlation between importances, mean over networks and sets."""
        return pd.DataFrame(np.nanmean(self.alike.astype(float), axis=0), list(ORDERS), list(ORDERS))


# --- importance ----------------------------------------------------------------------------------


def labelled(photographs: Gallery) -> Stimuli:
    """Photographs in a folder for each class of a network, with labels: the folders' places by name.

    For ImageNet, whose folders begin with WordNet's numbers, these are the outputs of torchvision's networks.

    Parameters
    ----------
    photographs
        From :func:`rarefire.stimuli.gallery`; all are read into memory.
    """
    names, labels = np.unique(photographs.names, return_inverse=True)
    classes = tuple(str(name) for name in names)
    return Stimuli(
        photographs.root.name, "train", photographs[:], labels.astype(np.int64), classes, photographs.digest
    )


def importances(
    network: nn.Module, photographs: Stimuli, *, layer: str = embeddings.PENULTIMATE
) -> dict[str, NDArray[np.float64]]:
    """How important each unit of the last layer is, by each of :data:`ORDERS` but that on the judged images.

    Parameters
    ----------
    network
        Its outputs are scores of classes.
    photographs
        With a class for each output of the network, such as :func:`labelled` makes them.
    layer
        The network's last but that of the scores, post-ReLU; a channel is a unit.

    Returns
    -------
    dict
        By order ``(n_units,)``, larger is more important; and ``accuracy``, the share of the photographs
        that the network names.

    Raises
    ------
    InputError
        If there are more or fewer classes than outputs, and where the layer that reads the units has not
        one input channel for each.
    """
    frozen, named = copy.deepcopy(network).requires_grad_(False), list[NDArray[np.intp]]()
    with torch.inference_mode():
        n_outputs = frozen.eval()(torch.from_numpy(photographs.images[:1])).shape[-1]
    if n_outputs != len(photographs.class_names):
        raise InputError(
            f"the photographs are of {len(photographs.class_names)} classes, and the network has {n_outputs} "
            "outputs: give a folder for each class, in the order of their names."
        )
    frozen.register_forward_hook(lambda _, __, scores: named.append(scores.argmax(1).numpy()))
    views = {view.name: view for view in embeddings.views(frozen, photographs, layer=layer)}
    right = np.concatenate(named)[-len(photographs) :] == photographs.labels  # a first image may be tried
    pooled = views.get("pooled") or views["features"]
    found: dict[str, NDArray[Any]] = {"poz": 1 - pooled.poz, "apoz": 1 - views.get("channels", pooled).poz}
    found |= {by: poz.statistic(pooled.embedding, by) for by in poz.STATISTICS}
    found["norm"] = removal.importance(frozen, photographs, "norm")
    if len(found["norm"]) != len(found["poz"]):
        raise InputError(
            f"the last layer reads {len(found['norm'])} units, and {layer!r} has {len(found['poz'])}: name "
            "the layer that it reads."
        )
    found["taylor"] = removal.importance(frozen, photographs, "taylor", layer=layer, batch_size=_BATCH)
    found["accuracy"] = np.asarray(right.mean())
    return found


# --- measuring -----------------------------------------------------------------------------------


def measure(
    given: Judgments | Triplets,
    network: nn.Module,
    *,
    name: str,
    layer: str = embeddings.PENULTIMATE,
    photographs: Gallery | None = None,
    seed: int = 0,
    use_shipped: bool = True,
    progress: bool = True,
) -> Orders:
    """Measure the orders of one network's units on one set; compute only what is not known.

    Parameters
    ----------
    given
        Judgments with images, or triplets.
    network, layer
        As for :func:`importances`; where the layer has positions, a unit is a channel, averaged over them.
    name
        Of the network, for captions.
    photographs
        On which importance is measured, in a folder for each class of the network; by default those on this
        machine (:func:`rarefire.stimuli.gallery`), in the size of the judged images.
    seed
        Of random orders.
    use_shipped
        Whether the results shipped with the book count.
    progress
        Show a progress bar.

    Raises
    ------
    InputError
        If the images of the set are not at hand, and as for :func:`importances`.
    DataError
        Where there are no photographs on this machine.
    """
    if given.images is None:
        raise InputError(f"the images of {given.name!r} are not at hand; a network needs them.")
    images, weights = given.images, networks.digest(network)
    shown = stimuli.gallery(size=images.images.shape[-1]) if photographs is None else photographs
    seen = {"weights_digest": weights, "layer": layer, "photographs": shown.digest}

    def compute() -> dict[str, NDArray[Any]]:
        (view, *_) = embeddings.views(network, images, layer=layer)
        important = answer_one(
            "importances", seen, lambda: importances(network, labelled(shown), layer=layer), use_shipped=False
        )
        assert important is not None  # it is computed where it is not known
        return measure_view(view, given, important.arrays, seed=seed, progress=progress)

    facts = {
        **{"judgments": given.name, "judgments_digest": given.digest, "network": name, **seen},
        **{"triplets": isinstance(given, Triplets), "seed": seed},
    }
    found = answer_one("people-orders", facts, compute, use_shipped=use_shipped)
    assert found is not None  # it is computed where it is not known
    return Orders(found.answers)


def measure_here(
    *,
    only: Sequence[str] = tuple(people_across.NETWORKS),
    sets: Sequence[str] = tuple(people_across.SETS),
    use_shipped: bool = True,
    progress: bool = True,
) -> Orders:
    """Measure every network on every set that is on this machine.

    Parameters
    ----------
    only, sets
        As for :func:`rarefire.records.people_across.measure_here`, which names what is raised.
    use_shipped, progress
        As for :func:`measure`.
    """
    answers: list[store.Answer] = []
    for name, layer, network, given in people_across.each_here(only=only, sets=sets):
        options: dict[str, Any] = {"use_shipped": use_shipped, "progress": progress}
        answers += measure(given, network, name=name, layer=layer, **options).answers
    return Orders(people_across.in_order(answers))


def known() -> Orders | None:
    """What is shipped of all networks and sets; needs no data and no network."""
    answers = people_across.in_order(shipped("people-orders"))
    return Orders(answers) if answers else None


def measure_view(
    view: View,
    given: Judgments | Triplets,
    important: Mapping[str, NDArray[Any]],
    *,
    seed: int = 0,
    progress: bool = False,
) -> dict[str, NDArray[Any]]:
    """The arrays of :class:`Orders` for one network on one set.

    Parameters
    ----------
    view
        The units on the judged images, and their PoZ there.
    given
        Judgments, or triplets, of the same images, in the same order.
    important
        From :func:`importances`.
    seed
        Of random orders.
    progress
        Show a progress bar.

    Raises
    ------
    InputError
        For a view of other images than the judgments', or importances that are not one for each unit.
    """
    features = check_embedding(view.embedding)
    n, n_units = features.shape
    if n != given.n:
        raise InputError(f"the view has {n} images, the judgments {given.n}.")
    importance = {**important, SAME_IMAGES: 1 - view.poz}
    for name in ORDERS:
        shape = importance[name].shape if name in importance else ()
        if shape != (n_units,):
            raise InputError(f"important must hold {name!r}, ({n_units},); got {shape}.")
    orders = [poz.order(importance[order], first="high") for order in ORDERS]
    rng = np.random.default_rng([seed, 3])
    steps, along = np.unique(
        np.maximum(np.round(np.linspace(0, n_units, _STEPS + 1)[1:]).astype(int), 1), return_inverse=True
    )
    curves = []
    bar = tqdm(range(len(orders) + _RANDOM), desc=given.name, disable=not progress, leave=False)
    for place in bar:
        order = orders[place] if place < len(orders) else rng.permutation(n_units)
        curves.append(_curves(features, given, order, steps))
    r, geometry = np.moveaxis(np.array(curves)[:, :, along], 1, 0)  # (n_orders, S) each
    named, random = slice(None, len(orders)), slice(len(orders), None)
    at = [count(share, n_units) for share in SHARES]
    rows = [int(np.argmin(np.abs(steps[along] - k))) for k in at]
    chance = [
        [
            inference.RandomOrders(np.asarray(at), line[rows], lines[random][:, rows]).p
            for line in lines[named]
        ]
        for lines in (r, geometry)
    ]
    ceiling = given.ceiling if isinstance(given, Judgments) else triplets.ceiling(given)
    return {
        "people": r[named],
        "geometry": geometry[named],
        "random_people": _spread(r[random]),
        "random_geometry": _spread(geometry[random]),
        "fraction": steps[along] / n_units,
        "tests": _tests(features, given, orders, at),
        "chance": np.array(chance),
        "alike": _alike([importance[order] for order in ORDERS]),
        "accuracy": np.asarray(important["accuracy"]),
        "n_units": np.asarray(n_units),
        "ceiling": np.full(2, np.nan) if ceiling is None else np.array([ceiling.low, ceiling.high]),
    }


def _curves(
    features: NDArray[np.float64],
    given: Judgments | Triplets,
    order: NDArray[np.intp],
    steps: NDArray[np.intp],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Along an order, r with people (or agreement) and R² with all units; NaN where few images have one."""
    k = steps.tolist()
    geometry = geometry_curve(features, order, k=k)
    there = enough(geometry.n_images, len(features))
    if isinstance(given, Triplets):
        r = triplets.agreement_curve(features, given, order, k=k).agreement
    else:
        r = rdm_curve(features, given.human, order, k=k).r
    return np.where(there, r, np.nan), np.where(there, geometry.r**2, np.nan)


def _spread(curves: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean, 5 and 95 % of curves."""
    return np.stack([curves.mean(axis=0), *np.quantile(curves, [0.05, 0.95], axis=0)])


def _alike(importance: Sequence[ArrayLike]) -> NDArray[np.float64]:
    """Spearman's correlation of each with each; NaN for what does not vary."""
    ranks = np.array([stats.rankdata(values) for values in importance])
    with np.errstate(invalid="ignore"):
        return np.asarray(np.corrcoef(ranks))


def _tests(
    features: NDArray[np.float64],
    given: Judgments | Triplets,
    orders: Sequence[NDArray[np.intp]],
    at: Sequence[int],
) -> NDArray[np.float64]:
    """Of each order the difference from all units, and from the first order, at some k."""
    found = np.full((len(_AGAINST), len(orders), len(at), len(COLUMNS)), np.nan)
    whole = _rdm(features)
    for s, k in enumerate(at):
        models = [_rdm(features[:, order[:k]]) for order in orders]
        for o, model in enumerate(models):
            for a, other in enumerate((whole, models[0])):
                compared = np.isfinite(rdm.square(model + other)).sum(axis=1) > 1  # with more than itself
                if other is model or not enough(compared.sum(), len(features)):
                    continue
                try:
                    said = people_across.compare(model, other, given)
                except InputError:  # an RDM that does not vary, or triplets of images without a similarity
                    continue
                values = {"r_kept": said.first, "r_all": said.second}
                values |= {c: getattr(said, c) for c in COLUMNS if c not in values}
                found[a, o, s] = [values[c] for c in COLUMNS]
    return found


def _rdm(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """As :func:`rarefire.rdm.rdm`; NaN is expected here where few units fire."""
    return np.asarray(1 - rdm.similarities(features)[np.triu_indices(len(features), k=1)])
