"""What groups of layers are good for: a layer of each as features, and layers that can be left out.

Both are asked of the ImageNet networks, on images they were not trained for or whose classes they know, and
beside as many layers chosen by chance. Groups are those of :mod:`rarefire.records.subnetworks`.

* **Features**: pooled features of a few layers are read out linearly, for the classes of CIFAR-10. One layer
  of each group, the one in its middle, stands beside layers spaced evenly and layers drawn at random.
* **Redundant layers**: a step that takes and gives the same shape can be left out, its input handed on. If
  what groups have in common is what they do, the steps that move the geometry least should be missed least.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import nn
from tqdm import tqdm

from rarefire import embeddings, networks, stimuli, subnetworks, training
from rarefire.errors import InputError
from rarefire.records import dimension, people_across, record
from rarefire.records import subnetworks as maps
from rarefire.records.people_orders import labelled
from rarefire.records.record import Array, Record
from rarefire.stimuli import Stimuli

__all__ = [
    "BY",
    "CHOSEN",
    "NUMBERS",
    "Choice",
    "known_network",
    "known_networks",
    "measure_here",
    "middles",
    "readout",
    "steps",
    "without",
]

#: How layers are chosen: one of each group by a measure (:data:`rarefire.records.subnetworks.MEASURES`),
#: evenly, and the last ones.
CHOSEN = (*maps.MEASURES, "even", "last")
#: Numbers of layers whose features are read out.
NUMBERS = (2, 3, 4, 5, 6)
#: By what the step that moves least is chosen.
BY = maps.MEASURES

_IMAGES = "cifar10-jpg"
_OF_CLASS = 50  # images, to learn from and to ask about
_DRAWS = 40  # random choices of layers
_PHOTOGRAPHS = 300  # on which networks without a step are asked
_PENALTIES = tuple(10.0**k for k in range(-2, 5))


@dataclass(frozen=True, eq=False, repr=False)
class Choice(Record):
    """One network. Accuracies are in [0, 1]."""

    layer = Array("L", "names of the layers")
    single = Array("L", "accuracy of a readout of each layer alone")
    chosen = Array("6, K", "of `NUMBERS` of layers together, by `CHOSEN`")
    drawn = Array("K, R", "of as many at random")
    everything = Array("", "of all layers together")
    step = Array("T", "names of the steps that can be left out")
    moved = Array("4, T", "by `BY`, how far apart its input and output are")
    without = Array("T", "accuracy of the network without this step, on photographs")
    whole = Array("", "of the whole network")

    def least(self, by: str = "gw") -> float:
        """Accuracy without the step that moves least, less the mean over steps; NaN where there is none."""
        if not len(self.without):
            return float("nan")
        place = int(np.asarray(self.moved[BY.index(by)]).argmin())
        return float(self.without[place] - np.mean(self.without))

    def ranks(self, by: str = "gw") -> float:
        """Spearman correlation, over steps, of how far one moves the geometry with what its loss costs.

        NaN with fewer than five steps.
        """
        if len(self.step) < 5:
            return float("nan")
        moved = np.asarray(self.moved[BY.index(by)], dtype=np.float64)
        return float(stats.spearmanr(moved, float(self.whole) - self.without).statistic)

    def table(self) -> pd.DataFrame:
        """Accuracies of readouts of a few layers.

        Returns
        -------
        DataFrame
            A row for each of :data:`NUMBERS`: ``layers``; by each of :data:`CHOSEN`; ``random``, the mean.
        """
        table = pd.DataFrame(self.chosen.T, columns=CHOSEN)
        table.insert(0, "layers", NUMBERS)
        return table.assign(random=self.drawn.mean(axis=1))


# --- features of a few layers ---------------------------------------------------------------------


def middles(distances: NDArray[np.floating], n: int) -> NDArray[np.intp]:
    """The layer in the middle of each of the best `n` blocks of a map, ``(n,)``: nearest to the others there.

    Of several, the latest.
    """
    labels = subnetworks.blocks(distances, n).labels
    found = []
    for block in range(n):
        own = np.flatnonzero(labels == block)
        total = np.asarray(distances)[np.ix_(own, own)].sum(axis=1)
        found.append(own[np.flatnonzero(total <= total.min() * (1 + 1e-9))[-1]])
    return np.array(found)


def readout(features: NDArray[np.floating], labels: NDArray[np.integer], learned: NDArray[np.bool_]) -> float:
    """Accuracy, in [0, 1], of a ridge classifier of standardised features on the images it did not learn.

    Parameters
    ----------
    features
        ``(n_images, n_features)``.
    labels
        ``(n_images,)``.
    learned
        ``(n_images,)``, those it learns from; its penalty is chosen by leaving out one of them at a time.

    Raises
    ------
    InputError
        Where none or all are learned from, or the first axes differ.
    """
    from sklearn.linear_model import RidgeClassifierCV  # slow to import
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if not len(features) == len(labels) == len(learned) or learned.all() or not learned.any():
        raise InputError(
            "features, labels and which images are learned have one first axis, and some images are not "
            f"learned; got {len(features)}, {len(labels)}, {np.count_nonzero(learned)} of {len(learned)}."
        )
    classifier = make_pipeline(StandardScaler(), RidgeClassifierCV(alphas=_PENALTIES))
    classifier.fit(features[learned], labels[learned])
    return float(classifier.score(features[~learned], labels[~learned]))


def _readouts(
    network: nn.Module, layers: Sequence[str], size: int, apart: Mapping[str, NDArray[np.floating]]
) -> dict[str, NDArray[Any]]:
    shown, learned = _transfer(size)
    pooled = {
        layer: values.reshape(*values.shape[:2], -1).mean(axis=2)
        for layer, values in dimension.each_stage(network, shown, layers)
    }
    each = [pooled[layer] for layer in layers]

    def told(places: Sequence[int] | NDArray[np.intp]) -> float:
        return readout(np.concatenate([each[p] for p in places], axis=1), shown.labels, learned)

    rng, n = np.random.default_rng(0), len(layers)
    chosen = np.empty((len(CHOSEN), len(NUMBERS)))
    for k, number in enumerate(NUMBERS):
        even = np.unique(np.linspace(0, n - 1, number).round().astype(int))
        for c, by in enumerate(CHOSEN):
            last = np.arange(n - number, n)
            places = middles(apart[by], number) if by in apart else (even if by == "even" else last)
            chosen[c, k] = told(places)
    drawn = [[told(rng.choice(n, number, replace=False)) for _ in range(_DRAWS)] for number in NUMBERS]
    return {
        "single": np.array([told([place]) for place in range(n)]),
        "chosen": chosen,
        "drawn": np.array(drawn),
        "everything": np.asarray(told(range(n))),
    }


def _transfer(size: int) -> tuple[Stimuli, NDArray[np.bool_]]:
    """Images of CIFAR-10 in the size of a network, and which of them are learned from."""
    parts = [stimuli.load(_IMAGES, split) for split in ("train", "test")]
    rows = [
        np.concatenate([np.flatnonzero(part.labels == c)[:_OF_CLASS] for c in range(10)]) for part in parts
    ]
    images = np.concatenate([part.images[own] for part, own in zip(parts, rows, strict=True)])
    labels = np.concatenate([part.labels[own] for part, own in zip(parts, rows, strict=True)])
    large = nn.functional.interpolate(
        torch.from_numpy(images), size=(size, size), mode="bilinear", align_corners=False
    )
    shown = Stimuli(_IMAGES, "both", large.numpy(), labels, parts[0].class_names, parts[0].source)
    return shown, np.arange(len(labels)) < len(rows[0])


# --- steps that can be left out -------------------------------------------------------------------


def steps(network: nn.Module, layers: Sequence[str], image: NDArray[np.floating]) -> list[str]:
    """Layers that have weights, and give what they take in shape: their input can be handed on.

    Parameters
    ----------
    network
        In evaluation mode.
    layers
        Names of modules; others are passed over.
    image
        ``(1, c, h, w)``.
    """
    modules, found = dict(network.named_modules()), dict[str, bool]()

    def note(name: str, given: tuple[Any, ...], output: torch.Tensor) -> None:
        found[name] = len(given) == 1 and given[0].shape == output.shape

    hooks = [
        modules[name].register_forward_hook(lambda _, given, out, name=name: note(name, given, out))
        for name in layers
        if name in modules and any(True for _ in modules[name].parameters())
    ]
    try:
        embeddings.extract(network, image, layer=next(name for name in layers if name in modules))
    finally:
        for hook in hooks:
            hook.remove()
    return [name for name in layers if found.get(name)]


def without(network: nn.Module, left_out: Sequence[str]) -> nn.Module:
    """A copy of a network in which these modules hand on what they are given."""
    found = copy.deepcopy(network)
    for name in left_out:
        parent, _, own = name.rpartition(".")
        setattr(found.get_submodule(parent), own, nn.Identity())
    return found


def _removals(
    network: nn.Module, layers: Sequence[str], shown: Stimuli, apart: Mapping[str, NDArray[np.floating]]
) -> dict[str, NDArray[Any]]:
    some = shown.subset(shown.spread(_PHOTOGRAPHS))
    can = [name for name in steps(network, layers, shown.images[:1]) if layers.index(name)]
    places = [layers.index(name) for name in can]
    moved = np.array([[apart[by][place - 1, place] for place in places] for by in BY])

    def told(left_out: Sequence[str]) -> float:
        return training.accuracy(without(network, left_out), some, batch_size=50)

    return {
        "step": np.array(can),
        "moved": moved,
        "without": np.array([told([name]) for name in can]),
        "whole": np.asarray(told([])),
    }


# --- both, of networks that are here --------------------------------------------------------------


def measure_here(
    only: Sequence[str] = tuple(people_across.NETWORKS),
    *,
    jobs: int | None = None,
    use_shipped: bool = True,
    progress: bool = True,
) -> dict[str, Choice]:
    """Measure the ImageNet networks that are on this machine; compute only what is not known.

    Parameters
    ----------
    only, jobs, use_shipped, progress
        As for :func:`rarefire.records.subnetworks.measure_here`, whose maps are needed.

    Returns
    -------
    dict
        By network.

    Raises
    ------
    UnknownNameError, DataError
        As there, and where CIFAR-10 is not on this machine.
    """
    found = {}
    options: dict[str, Any] = {"jobs": jobs, "use_shipped": use_shipped, "progress": progress}
    for name, states in maps.measure_here(only, **options).items():
        facts = {
            **{
                k: states["trained"].facts[k] for k in ("stimuli", "network", "weights_digest", "photographs")
            },
            "transfer": [stimuli.content_digest(_IMAGES, split) for split in ("train", "test")],
            "of_class": _OF_CLASS,
            "shown": _PHOTOGRAPHS,
        }
        compute = functools.partial(_measured, name, states["trained"], progress)
        one = record.answer_one("layer-choice", facts, compute, use_shipped=use_shipped)
        assert one is not None  # it is computed where it is not known
        found[name] = Choice(one.answers)
    return found


def _measured(name: str, trained: maps.Maps, progress: bool) -> dict[str, NDArray[Any]]:
    where = people_across.place(name)
    network = networks.build(where.name, weights=networks.local_weights(where.name)).eval()
    layers, apart = [*trained.layers], {by: trained.apart(by)[0] for by in maps.MEASURES}
    with tqdm(total=2, desc=f"{name}: choice of layers", disable=not progress) as bar:
        found = _readouts(network, layers, where.size, apart)
        bar.update()
        photographs = labelled(stimuli.gallery(size=where.size))
        found |= _removals(network, layers, photographs, apart)
        bar.update()
    small = {k: v.astype(np.float32) for k, v in found.items() if v.dtype == np.float64}
    return {**found, **small, "layer": np.array(layers)}


def known_network(name: str) -> Choice | None:
    """What is shipped of a network."""
    answers = record.shipped("layer-choice", network=name)
    return Choice(answers[:1]) if answers else None


def known_networks() -> dict[str, Choice]:
    """What is shipped, by network, in the order of chapter 4."""
    found = {name: known_network(name) for name in people_across.NETWORKS}
    return {name: one for name, one in found.items() if one is not None}
