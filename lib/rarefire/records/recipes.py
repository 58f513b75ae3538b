"""Variations of the recipe: which of its parts makes features fall silent.

Batch normalisation, an adaptive optimiser and weight decay are what makes features of ReLU networks
die (Mehta, Kim & Theobalt 2019). The paper does not give its recipe, so ours is varied, one part at a
time and in the combinations that those authors name, on a few instances each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from rarefire import embeddings, poz, stimuli, store, training
from rarefire.curves import class_curve, count, geometry_curve
from rarefire.errors import DataError, unknown
from rarefire.records.record import Array, Stack, answer_each, by_seed
from rarefire.stimuli import Stimuli
from rarefire.training import Recipe

__all__ = [
    "N_INSTANCES",
    "SHARES",
    "THRESHOLDS",
    "VARIATIONS",
    "Variation",
    "Varied",
    "known",
    "measure",
    "measure_network",
    "ship",
]

N_INSTANCES = 3

#: Shares of the features at which curves are kept, and thresholds at which PoZ is counted.
SHARES = tuple(np.arange(1, 21) / 20)
THRESHOLDS = tuple(np.arange(101) / 100)


@dataclass(frozen=True)
class Variation:
    """One way to train.

    Attributes
    ----------
    group
        Part of the recipe that is varied.
    title
        What is done, in a few words.
    network
        Name of a network, see :func:`rarefire.networks.names`.
    changes
        Fields of :class:`rarefire.training.Recipe` that differ from the image set's own recipe.
    """

    group: str
    title: str
    network: str = "lenet5"
    changes: Mapping[str, Any] = field(default_factory=dict)

    def recipe(self, images: str) -> Recipe:
        """The recipe for an image set; one that is changed asks for no accuracy."""
        usual = training.recipe_for(images)
        return replace(usual, typical=0.0, **self.changes) if self.changes else usual


def _length(epochs: int) -> dict[str, Any]:
    return {"max_epochs": epochs, "patience": epochs, "keep": "last"}


_SGD = {"optimizer": "sgd", "learning_rate": 1e-2}

#: By name. Everything else is as in the usual recipe: Adam at 10⁻³, no weight decay, until
#: validation accuracy stops rising.
VARIATIONS = {
    "usual": Variation("usual", "the book's recipe"),
    "sgd": Variation("optimiser", "SGD", changes=_SGD),
    "slow": Variation("optimiser", "learning rate ÷ 3", changes={"learning_rate": 1e-3 / 3}),
    "fast": Variation("optimiser", "learning rate × 3", changes={"learning_rate": 3e-3}),
    "faster": Variation("optimiser", "learning rate × 10", changes={"learning_rate": 1e-2}),
    "l2": Variation("weight decay", "L2 penalty", changes={"weight_decay": 1e-3}),
    "adamw": Variation("weight decay", "AdamW", changes={"optimizer": "adamw", "weight_decay": 0.1}),
    "sgd-l2": Variation("weight decay", "SGD, L2", changes={**_SGD, "weight_decay": 1e-3}),
    "norm": Variation("batch norm", "batch norm", "lenet5-batchnorm"),
    "norm-l2": Variation("batch norm", "batch norm, L2", "lenet5-batchnorm", {"weight_decay": 1e-3}),
    "norm-sgd-l2": Variation(
        "batch norm", "batch norm, SGD, L2", "lenet5-batchnorm", {**_SGD, "weight_decay": 1e-3}
    ),
    "half": Variation("width", "half as wide", "lenet5-half"),
    "double": Variation("width", "twice as wide", "lenet5-double"),
    "epoch-1": Variation("length", "1 epoch", changes=_length(1)),
    "epoch-5": Variation("length", "5 epochs", changes=_length(5)),
    "epoch-30": Variation("length", "30 epochs", changes=_length(30)),
}


@dataclass(frozen=True, eq=False, repr=False)
class Varied(Stack):
    """Networks trained in one way, measured. The instance is the first axis of every array.

    Beside the fields below: ``low``, ``high``, ``low_class``, ``high_class (I, 20)``, Pearson r with all
    features at each of :data:`SHARES`, as in :data:`rarefire.records.ensembles.CURVES`; and
    ``n_images_<curve> (I, 20)``.
    """

    epochs = Array("I,", "that each was trained for")
    accuracy = Array("I,", "on the test images, in [0, 1]")
    n_features = Array("I,", "features of the penultimate layer")
    over = Array("I, 101", "share of features whose PoZ over test images is above each of `THRESHOLDS`")
    dead = Array("I,", "share of features that fire for no training image")

    def r2(self, curve: str, share: float) -> NDArray[np.float64]:
        """R² of each instance at one of :data:`SHARES`, ``(I,)``; NaN where undefined for half of the images.

        Parameters
        ----------
        curve
            ``"low"``, ``"high"``, ``"low_class"`` or ``"high_class"``.
        share
            Of the features.
        """
        place = int(np.argmin(np.abs(np.array(SHARES) - share)))
        return self.r(curve)[:, place] ** 2

    def rare_share(self, rare: float = poz.RARE) -> NDArray[np.float64]:
        """Share of each instance's features whose PoZ is greater than one of :data:`THRESHOLDS`, ``(I,)``."""
        share: NDArray[np.float64] = self.over[:, int(np.argmin(np.abs(np.array(THRESHOLDS) - rare)))]
        return share


def measure(
    images: str,
    names: Iterable[str] = tuple(VARIATIONS),
    *,
    seeds: Sequence[int] = range(N_INSTANCES),
    jobs: int | None = None,
    use_shipped: bool = True,
    progress: bool = True,
) -> dict[str, Varied]:
    """Train and measure some of :data:`VARIATIONS`; only what is neither shipped nor cached.

    Parameters
    ----------
    images
        Name of an image set.
    names
        Of variations.
    seeds
        One instance of each variation for each.
    jobs, progress
        As for :func:`rarefire.training.train`.
    use_shipped
        Whether the results shipped with the book count.

    Returns
    -------
    dict
        By name.
    """
    wanted = {name: _variation(name) for name in names}
    facts = {name: _facts(images, variation) for name, variation in wanted.items()}
    found = {}
    for name, variation in tqdm(wanted.items(), desc=f"{images}, variations", disable=not progress):

        def compute(missing: list[int], of: Variation = variation) -> Iterator[tuple[int, dict[str, Any]]]:
            train, test = stimuli.splits(images)
            ensemble = training.train(
                train,
                of.network,
                seeds=missing,
                recipe=of.recipe(images),
                jobs=jobs,
                device="cpu",  # batch norm is not stacked on a GPU, and all should come about alike
                progress=progress,
            )
            for instance in ensemble:
                epochs = np.asarray(len(instance.history["accuracy"]))
                yield instance.seed, {"epochs": epochs, **measure_network(instance.network(), train, test)}

        what = f"{images}, {variation.title}"
        asked = facts[name], by_seed(seeds)
        answers = answer_each("variation", *asked, compute, use_shipped=use_shipped, what=what)
        found[name] = Varied(tuple(answers.values()))
    return found


def known(
    images: str, *, seeds: Sequence[int] = range(N_INSTANCES), use_shipped: bool = True
) -> dict[str, Varied]:
    """What is already known of an image set's variations, shipped or cached; needs no data.

    Parameters
    ----------
    images, seeds, use_shipped
        As for :func:`measure`.
    """
    if not stimuli.identifiable(images):
        return {}
    found = {}
    for name, variation in VARIATIONS.items():
        asked = _facts(images, variation), by_seed(seeds)
        answers = answer_each("variation", *asked, None, use_shipped=use_shipped)
        if answers:
            found[name] = Varied(tuple(answers.values()))
    return found


def measure_network(network: nn.Module, train: Stimuli, test: Stimuli) -> dict[str, NDArray[Any]]:
    """Everything that is kept of one instance; of the same shape for networks of every width.

    Parameters
    ----------
    network
        Its penultimate layer, post-ReLU, is measured.
    train, test
        Images it was, and was not, trained on.

    Returns
    -------
    dict
        The arrays of :class:`Varied`, of one instance, without ``epochs``.
    """
    in_training = poz.PozCounter.over(embeddings.stream(network, train)).result()
    embedding = embeddings.extract(network, test)
    rates = poz.poz(embedding)
    found: dict[str, NDArray[Any]] = {
        "accuracy": np.asarray(training.accuracy(network, test)),
        "n_features": np.asarray(len(rates)),
        "over": (rates > np.array(THRESHOLDS)[:, None]).mean(axis=1),
        "dead": np.asarray((in_training == 1).mean()),
    }
    steps = [count(share, len(rates)) for share in SHARES]
    for first in ("low", "high"):
        order = poz.order(rates, first=first)
        for name, curve in {
            first: geometry_curve(embedding, order),
            f"{first}_class": class_curve(embedding, test.labels, order),
        }.items():
            places = np.array(steps) - 1
            found[name], found[f"n_images_{name}"] = curve.r[places], curve.n_images[places]
    return found


def ship(images: str, path: str | Path, *, seeds: Sequence[int] = range(N_INSTANCES)) -> Path:
    """Write an image set's variations as a file to ship: those that are known for every seed.

    What this machine found goes before what is shipped already.
    """
    mine, every = known(images, seeds=seeds, use_shipped=False), known(images, seeds=seeds)
    answers: list[store.Answer] = []
    for name in VARIATIONS:
        by_instance = {
            a.provenance["facts"]["seed"]: a
            for found in (every.get(name), mine.get(name))
            for a in (found.answers if found else ())
        }
        if len(by_instance) == len(seeds):
            answers += [by_instance[seed] for seed in seeds]
    if not answers:
        raise DataError(
            f"no variation of the recipe is known for {images!r}; `rarefire record recipes` trains."
        )
    return store.pack(path, answers)


def _variation(name: str) -> Variation:
    if name not in VARIATIONS:
        raise unknown("variation", name, list(VARIATIONS))
    return VARIATIONS[name]


def _facts(images: str, variation: Variation) -> dict[str, Any]:
    return {
        **training.identity(images, variation.network, recipe=variation.recipe(images)),
        "test_digest": stimuli.content_digest(images, "test"),
    }
