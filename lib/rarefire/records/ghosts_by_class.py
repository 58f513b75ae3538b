"""Ghosts of every class in an ensemble: how many, how firm, and how well they separate.

Half of the test images define the ghosts of a class, the other half is scored and read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from rarefire import ghosts, retrieval, stimuli
from rarefire.errors import unknown
from rarefire.records.ensembles import embedded, embedded_facts
from rarefire.records.ghosts import TOP, steps
from rarefire.records.record import PROFILES, Array, Stack, answer_each, by_seed
from rarefire.retrieval import QUERIES

__all__ = ["ClassGhosts", "by_images", "known", "measure", "measure_network", "over_classes", "pictured"]

_PURE = 3  # components whose images are compared with labels


@dataclass(frozen=True, eq=False, repr=False)
class ClassGhosts(Stack):
    """Ghosts of every class of an ensemble. The instance is the first axis; see :func:`measure_network`."""

    m = Array("I, M", "numbers of images that define a class's ghosts")
    dead = Array("I,", "features silent for the whole half that defines")
    expected = Array("I, C, M", "ghosts, on average over which images define them")
    fires = Array("I, C, M", "share of the ghosts that fires for a held-out image of the class")
    rate = Array("I, C, M", "the same, as the m images alone tell it (:class:`rarefire.ghosts.Chance`)")
    high = Array("I, C, M", "its upper bound from these alone")
    auc = Array("I, C, M, 5", "by :data:`rarefire.retrieval.QUERIES`")
    alike = Array(
        "I, C, M, 2", "share of pairs of one label among the highest images, ghosts and random features"
    )
    own = Array("I, C, M, 2", "share of images of the class itself among these")

    def step(self, m: int) -> int:
        """Place, among the numbers of images that define, of the one nearest to `m`."""
        return int(np.argmin(np.abs(self.m[0] - m)))

    def area(self, query: str) -> NDArray[np.float64]:
        """AUC of one of :data:`rarefire.retrieval.QUERIES`, mean over classes, ``(I, M)``."""
        if query not in QUERIES:
            raise unknown("query", query, list(QUERIES))
        return over_classes(self.auc[..., list(QUERIES).index(query)])


def measure(
    images: str,
    *,
    network: str = "lenet5",
    seeds: Sequence[int],
    use_shipped: bool = True,
    progress: bool = True,
) -> ClassGhosts:
    """Measure an ensemble; compute only what is neither shipped nor cached.

    Parameters
    ----------
    images, network, seeds
        As for :func:`rarefire.training.train`; instances that are not trained yet are. For ``"cifar10"``
        its re-encoding is taken where only that is at hand.
    use_shipped
        Whether the results shipped with the book count.
    progress
        Show a progress bar.
    """
    images = stimuli.cifar10_variant() if images == "cifar10" else images

    def compute(missing: list[int]) -> Iterator[tuple[int, dict[str, NDArray[Any]]]]:
        title = f"{images}: ghosts"
        for seed, features, test in embedded(images, network, missing, title=title, progress=progress):
            yield seed, measure_network(features, test.labels, seed=seed)

    answers = answer_each(
        "ghosts",
        embedded_facts(images, network),
        by_seed(seeds),
        compute,
        use_shipped=use_shipped,
        what=f"{images}, {network}: ghosts",
    )
    return ClassGhosts(tuple(answers.values()))


def known(images: str, *, network: str = "lenet5", seeds: Iterable[int] = range(50)) -> ClassGhosts | None:
    """What is shipped or cached for these images and this network; needs no data."""
    if not stimuli.identifiable(images):
        return None
    answers = answer_each("ghosts", embedded_facts(images, network), by_seed(seeds), None)
    return ClassGhosts(tuple(answers.values())) if answers else None


def by_images(profile: str = "default", *, instances: int = 50) -> dict[str, ClassGhosts]:
    """The ghosts that a chapter shows, by image set.

    Parameters
    ----------
    profile
        ``"default"``: digits are computed where they are not cached; MNIST and CIFAR-10 (JPEG) are what is
        known of fifty instances, shipped or cached. ``"full"``: all three are computed from the images.
    instances
        On digits: seeds 0, 1, … of that many.
    """
    if profile not in PROFILES:
        raise unknown("profile", profile, list(PROFILES))
    found = {"digits": measure("digits", seeds=range(instances))}
    if profile == "full":
        others = ("mnist", stimuli.cifar10_variant())
        return found | {name: measure(name, seeds=range(50), use_shipped=False) for name in others}
    there = {name: known(name) for name in ("mnist", "cifar10-jpg")}
    return found | {name: each for name, each in there.items() if each is not None}


def over_classes(values: ArrayLike) -> NDArray[np.float64]:
    """Mean over the classes that have a value.

    Parameters
    ----------
    values
        ``(I, C, …)``; NaN where a class has none.

    Returns
    -------
    ndarray
        ``(I, …)``; NaN where no class has one.
    """
    values = np.asarray(values)
    known = np.isfinite(values)
    count = known.sum(axis=1)
    return np.asarray(np.where(known, values, 0).sum(axis=1) / np.where(count, count, np.nan))


def pictured(found: Mapping[str, ClassGhosts], *, m: int) -> pd.DataFrame:
    """What the images that score highest have in common, of ghosts and of random features.

    Parameters
    ----------
    found
        By image set.
    m
        Images that define the ghosts: about so many, and then as many as there are.

    Returns
    -------
    DataFrame
        Two rows for each image set: ``images, m``; ``with ghosts``, the share of classes with any; then
        ``alike, ghosts``, ``alike, random``, ``own, ghosts``, ``own, random`` as in :class:`ClassGhosts`,
        mean over classes, median over networks.
    """
    kinds = [f"{what}, {of}" for what in ("alike", "own") for of in ("ghosts", "random")]
    rows: list[list[Any]] = []
    for name, each in found.items():
        alike, own = (np.nanmedian(over_classes(each[what]), axis=0) for what in ("alike", "own"))
        some = np.isfinite(each.fires).mean(axis=(0, 1))
        rows += [[name, each.m[0][i], some[i], *alike[i], *own[i]] for i in (each.step(m), -1)]
    return pd.DataFrame(rows, columns=["images", "m", "with ghosts", *kinds])


def measure_network(
    embedding: NDArray[np.floating], labels: ArrayLike, *, seed: int = 0
) -> dict[str, NDArray[Any]]:
    """Ghosts of every class in one network, by how many images define them.

    Half of the images define (of a class, its first m in random order), the other half is scored: it is the
    gallery, images of the class included.

    Parameters
    ----------
    embedding
        ``(n_images, n_features)``, post-ReLU, of images that the network was not trained on.
    labels
        ``(n_images,)``, integers.
    seed
        Of orders and of random features.

    Returns
    -------
    dict
        ``m (M,)``, :func:`~rarefire.records.ghosts.steps` up to the smallest class's half; ``dead``, features
        silent for the whole first half; ``expected (C, M)``, ghosts on average over which images;
        ``fires (C, M)``, the share of the ghosts that fires for a held-out image of the class; ``rate``,
        ``high (C, M)``, the estimate and the upper bound that m images give
        (:class:`rarefire.ghosts.Chance`); ``auc (C, M, 5)`` by
        :data:`rarefire.retrieval.QUERIES`; ``alike`` and ``own (C, M, 2)``, among the eight images that
        score highest on each of the first three components of the ghosts, and of as many random features:
        the share of pairs with one label, and the share that are of the class itself. NaN without ghosts.
    """
    classes = np.unique(labels)
    labels = np.searchsorted(classes, labels)
    half = stimuli.half_mask(labels)
    first, second = embedding[half], embedding[~half]
    own, shown = labels[half], labels[~half]
    alive = (first > 0).any(axis=0)
    at = steps(int(np.bincount(own).min()))
    rng = np.random.default_rng(seed)
    shape = (len(classes), len(at))
    found: dict[str, NDArray[Any]] = {
        "m": np.array(at),
        "dead": np.asarray((~alive).sum()),
        "expected": np.empty(shape),
        "fires": np.full(shape, np.nan),
        "rate": np.full(shape, np.nan),
        "high": np.full(shape, np.nan),
        "auc": np.empty((*shape, len(QUERIES))),
        "alike": np.full((*shape, 2), np.nan),
        "own": np.full((*shape, 2), np.nan),
    }
    for c in range(len(classes)):
        rows = rng.permutation(np.flatnonzero(own == c))
        found["expected"][c] = ghosts.find(first, rows).rarefaction(at)
        inside = shown == c
        for i, m in enumerate(at):
            looked = first[rows[:m]]
            features = np.flatnonzero(alive & ~(looked > 0).any(axis=0))
            asked = retrieval.queries(looked, alive=alive, rng=rng)
            scores = retrieval.unlikeness(second, asked)
            found["auc"][c, i] = [retrieval.auc(s[inside], s[~inside]).value for s in scores.values()]
            if not len(features):
                continue
            found["fires"][c, i] = (second[inside][:, features] > 0).mean()
            if m > 1:
                chance = ghosts.find(first, rows[:m]).chance()
                found["rate"][c, i], found["high"][c, i] = chance.rate, chance.high
            drawn = rng.choice(np.flatnonzero(alive), len(features), replace=False)
            for kind, which in enumerate((features, drawn)):
                top = ghosts.components(second, which, n=_PURE).top(TOP)
                if len(top):
                    found["alike"][c, i, kind] = _same_pairs(shown[top])
                    found["own"][c, i, kind] = inside[top].mean()
    return found


def _same_pairs(labels: NDArray[np.integer]) -> float:
    """Mean over rows: the share of pairs of entries that are the same."""
    n = labels.shape[1]
    same = (labels[:, :, None] == labels[:, None, :]).sum(axis=(1, 2)) - n
    return float(np.mean(same / (n * (n - 1))))
