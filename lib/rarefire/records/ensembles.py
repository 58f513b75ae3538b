"""Ensembles: networks of one kind, trained from different seeds, and measured.

For each instance, on the test images: accuracy; PoZ over training and over test images; ghost
features; and nested curves in every variant that the book shows. Each instance is one answer of the
store, so an ensemble can grow, and shipped, cached and new instances mix.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from threadpoolctl import threadpool_limits
from torch import nn
from tqdm import tqdm

from rarefire import embeddings, networks, poz, stimuli, store, training
from rarefire.curves import ENOUGH, class_curve, count, geometry_curve, silenced_curve
from rarefire.errors import DataError, unknown
from rarefire.records.record import (
    PROFILES,
    VERSIONS,
    Array,
    Record,
    Stack,
    answer_each,
    answer_one,
    by_seed,
    each_apart,
)
from rarefire.stimuli import Stimuli
from rarefire.training import Recipe

__all__ = [
    "CURVES",
    "N_RANDOM",
    "N_WIDE",
    "PER_CLASS",
    "SAMPLED",
    "Ensemble",
    "by_images",
    "embedded",
    "embedded_facts",
    "excerpt",
    "known",
    "measure",
    "measure_network",
    "ship",
    "trained",
    "wide",
]

N_WIDE = 10  # instances of the wide form
N_RANDOM = 10  # random orders per instance
PER_CLASS = 10  # test images of each class in a sample
SAMPLED = 3  # instances whose sample is shipped

#: Variants of the curve: `low` inserts low-PoZ features first, `high` high-PoZ features first,
#: `random` in ten random orders. By default between images, Pearson, PoZ from the test images
#: themselves. `cosine`: without centring. `silenced`: features outside are set to 0 rather than
#: removed. `heldout`: PoZ from one half of the test images, curve on the other. `ties`: ties in PoZ
#: broken the other way round. `class`: between class means, squared, as in the authors' code;
#: `class_signed`, `class_cosine`: the same unsquared, and by squared cosines.
CURVES = (
    *(
        f"{first}{variant}"
        for first in ("low", "high")
        for variant in (
            *("", "_cosine", "_silenced", "_heldout", "_ties"),
            *("_class", "_class_signed", "_class_cosine"),
        )
    ),
    *("random", "random_cosine", "random_class"),
)


@dataclass(frozen=True, eq=False, repr=False)
class Ensemble(Stack):
    """An ensemble, measured. The instance is the first axis of every array.

    Beside the fields below: for each name in :data:`CURVES` Pearson r ``(I, F)`` at k = 1 … F, those in
    random orders with an axis more, ``(I, R, F)``; and ``n_images_<curve>``.
    """

    accuracy = Array("I,", "on test images, in [0, 1]")
    epochs = Array("I,", "that each was trained for")
    best_epoch = Array("I,", "with the best validation accuracy")
    history = Array("I, max_epochs", "validation accuracy after each epoch; NaN after the stop")
    poz_train = Array("I, F", "PoZ over the training images")
    poz_test = Array("I, F", "PoZ over the test images")
    poz_heldout = Array("I, F", "PoZ over one half of the test images")
    ghosts = Array("I, C, F", "ghosts of every class, among the test images (:func:`rarefire.poz.ghosts`)")

    @cached_property
    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """The numbers, by name, each with the instance as its first axis."""
        found = dict(super().arrays)
        if "ghosts" in found:  # a cache of before may hold dead features among them
            found["ghosts"] = found["ghosts"] & (found["poz_test"] < 1)[:, None]
        return found

    @property
    def images(self) -> str:
        """Name of the image set."""
        return self.about

    def r2(self, curve: str, *, least: float = ENOUGH) -> NDArray[np.float64]:
        """R² of one of :data:`CURVES`, ``(I, F)`` (random orders: ``(I, R, F)``); NaN as for `r`."""
        return self.r(curve, least=least) ** 2

    @property
    def n_features(self) -> int:
        """Number of features in the penultimate layer."""
        return int(self.poz_test.shape[1])

    @property
    def fraction(self) -> NDArray[np.float64]:
        """Share of the features at k = 1 … F."""
        return np.arange(1, self.n_features + 1) / self.n_features

    def at(self, curve: str, fraction: float, *, firing: bool = False) -> NDArray[np.float64]:
        """R² of every instance at the k nearest to a share of the features; NaN where undefined.

        Parameters
        ----------
        curve
            One of :data:`CURVES`.
        fraction
            Of all features, or of those that fire. At least one.
        firing
            Count among the features that fire for any image, by the PoZ that orders `curve`. Those that
            never fire come last where low-PoZ features are inserted first. Where high-PoZ features are, they
            come before the share; always 0, they move nothing but the centring: the ``cosine`` and
            ``silenced`` variants are exactly those of the share alone.

        Raises
        ------
        UnknownNameError
            For random orders of features that fire: these were drawn from all.
        """
        r2 = self.r2(curve)
        if not firing:
            return r2[..., count(fraction, r2.shape[-1]) - 1]
        if curve.startswith("random"):
            raise unknown("curve by PoZ", curve, [name for name in CURVES if not name.startswith("random")])
        alive = (self["poz_heldout" if curve.endswith("_heldout") else "poz_test"] < 1).sum(axis=1)
        dead = r2.shape[1] - alive if curve.startswith("high") else np.zeros_like(alive)
        # Where nothing fires nothing is defined, at any k.
        k = [min(d + count(fraction, int(n)), r2.shape[1]) for d, n in zip(dead, alive, strict=True)]
        return np.array([row[step - 1] for row, step in zip(r2, k, strict=True)])

    def median_at(self, curve: str, fraction: float, *, firing: bool = False) -> float:
        """Median of :meth:`at` over the instances in which it is defined; NaN where it is in none."""
        r2 = self.at(curve, fraction, firing=firing)
        return float(np.nanmedian(r2)) if np.isfinite(r2).any() else math.nan

    def rare_share(self, rare: float = poz.RARE) -> NDArray[np.float64]:
        """Share of each instance's features whose PoZ over test images is greater than `rare`, ``(I,)``."""
        return poz.rare_share(self.poz_test, rare=rare)

    def agreement(self, first: str, second: str) -> NDArray[np.float64]:
        """Rank correlation (Spearman) of two PoZ, over features that fire in either; one per instance.

        Parameters
        ----------
        first, second
            ``"poz_train"``, ``"poz_test"`` or ``"poz_heldout"``.
        """
        pairs = zip(self[first], self[second], strict=True)
        alive = [(a[(a < 1) | (b < 1)], b[(a < 1) | (b < 1)]) for a, b in pairs]
        return np.array([float(stats.spearmanr(a, b).statistic) for a, b in alive])

    def overlap(self, first: str, second: str, *, rare: float = poz.RARE) -> NDArray[np.float64]:
        """Of the features with a PoZ greater than `rare` in either, the share with it in both, ``(I,)``.

        Parameters
        ----------
        first, second
            As for :meth:`agreement`.
        rare
            In [0, 1].
        """
        one, other = self[first] > rare, self[second] > rare
        return np.asarray((one & other).sum(axis=1) / (one | other).sum(axis=1))

    def tied(self) -> NDArray[np.float64]:
        """Share, among the features that fire at all, of those with the PoZ of another one, ``(I,)``."""
        alive = [row[row < 1] for row in self.poz_test]
        counts = [np.unique(row, return_counts=True)[1] for row in alive]
        return np.array([c[c > 1].sum() / max(len(row), 1) for c, row in zip(counts, alive, strict=True)])

    def tie_effect(self, curve: str) -> NDArray[np.float64]:
        """How much R² changes where ties are broken the other way round: ``(I, F)``, absolute.

        Parameters
        ----------
        curve
            ``"low"`` or ``"high"``.
        """
        return np.abs(self.r2(curve) - self.r2(f"{curve}_ties"))

    def centring(self, fraction: float = 0.8) -> float:
        """Share of centring in what removing the rarest features does to Pearson's geometry.

        Removing loses 1 − R². Silencing (:func:`rarefire.curves.silenced_curve`) loses what the features
        said, and keeps the number by which sums are divided to centre a vector. The share is what is
        lost by removing and not by silencing, of what is lost by removing, both summed over the
        instances. Negative where silencing loses more; NaN where removing loses nothing.

        Parameters
        ----------
        fraction
            Of the features, those that stay.
        """
        removed, silenced = (1 - self.at(curve, fraction) for curve in ("low", "low_silenced"))
        known = np.isfinite(removed) & np.isfinite(silenced)
        lost = float(removed[known].sum())
        return 1 - float(silenced[known].sum()) / lost if lost > 1e-9 else math.nan

    def between_seeds(
        self, *, n_permutations: int = 200, rng: np.random.Generator
    ) -> tuple[float, NDArray[np.float64], float]:
        """Whether the distribution of PoZ differs between seeds more than chance makes it.

        Parameters
        ----------
        n_permutations
            In each, all features are dealt out to the networks anew.
        rng
            Of the permutations.

        Returns
        -------
        observed, null, p
            Largest difference between two networks' cumulative distributions (Kolmogorov–Smirnov),
            median over pairs of networks; the same in each permutation, ``(n_permutations,)``; and
            the one-sided p value.
        """
        rates = self.poz_test
        if len(rates) < 2:
            raise DataError("distributions of seeds are compared where there are two or more instances.")

        def median_distance(features: NDArray[np.floating]) -> float:
            values = np.unique(features)
            below = np.stack(
                [np.searchsorted(row, values, side="right") for row in np.sort(features, axis=1)]
            )
            apart = [np.abs(below[i + 1 :] - row).max(axis=1) for i, row in enumerate(below[:-1])]
            return float(np.median(np.concatenate(apart)) / features.shape[1])

        observed = median_distance(rates)
        null = np.array(
            [
                median_distance(rng.permutation(rates.ravel()).reshape(rates.shape))
                for _ in range(n_permutations)
            ]
        )
        return observed, null, float((1 + np.sum(null >= observed)) / (1 + n_permutations))


def measure(
    images: str,
    network: str = "lenet5",
    *,
    seeds: Sequence[int],
    recipe: Recipe | None = None,
    jobs: int | None = None,
    device: str | None = None,
    use_shipped: bool = True,
    progress: bool = True,
) -> Ensemble:
    """Measure an ensemble; train and compute only what is neither shipped nor cached.

    Parameters
    ----------
    images, network, seeds, recipe, jobs, device, progress
        As for :func:`rarefire.training.train`.
    use_shipped
        Whether the results shipped with the book count; without them, everything comes from the
        images, on this machine.
    """

    def compute(missing: list[int]) -> Iterator[tuple[int, dict[str, NDArray[Any]]]]:
        ensemble = training.train(
            images, network, seeds=missing, recipe=recipe, jobs=jobs, device=device, progress=progress
        )
        train, test = stimuli.splits(images)
        longest = (recipe or training.recipe_for(images)).max_epochs
        arguments = [(instance, train, test, longest) for instance in ensemble]
        yield from each_apart(
            _measured, arguments, jobs=jobs, what=f"{images}, {network}: curves", progress=progress
        )

    answers = answer_each(
        "instance",
        _facts(images, network, recipe),
        by_seed(seeds),
        compute,
        use_shipped=use_shipped,
        what=f"{images}, {network}",
    )
    return Ensemble(tuple(answers.values()))


def known(
    images: str, network: str = "lenet5", *, seeds: Iterable[int] = range(50), recipe: Recipe | None = None
) -> Ensemble | None:
    """What is already known of an ensemble, shipped or cached; None where that is nothing.

    Needs no data and no network.
    """
    if not stimuli.identifiable(images):
        return None
    answers = answer_each("instance", _facts(images, network, recipe), by_seed(seeds), None)
    return Ensemble(tuple(answers.values())) if answers else None


def by_images(profile: str = "default", *, instances: int = 50) -> dict[str, Ensemble]:
    """The ensembles that a chapter shows, by image set.

    Parameters
    ----------
    profile
        ``"default"``: digits are computed where they are not cached; MNIST and CIFAR-10 are what is
        known of them, shipped or cached. ``"full"``: all three are computed from the images, where
        this machine has not done so before.
    instances
        Seeds 0, 1, … of that many instances.
    """
    if profile not in PROFILES:
        raise unknown("profile", profile, list(PROFILES))
    seeds = range(instances)
    found = {"digits": measure("digits", seeds=seeds)}
    for name in ("mnist", stimuli.cifar10_variant()):
        full = profile == "full"
        there = measure(name, seeds=seeds, use_shipped=False) if full else known(name, seeds=seeds)
        if there is not None:
            found[name] = there
    if "cifar10" not in found and (recorded := known("cifar10-jpg", seeds=seeds)) is not None:
        found["cifar10-jpg"] = recorded
    return found


def wide(profile: str = "default") -> Ensemble | None:
    """The wide LeNet-5 of the authors' MNIST code, ten instances: what is known of it, or all of it.

    Parameters
    ----------
    profile
        As for :func:`by_images`; ``"full"`` trains for hours, some seventy times the arithmetic.
    """
    if profile not in PROFILES:
        raise unknown("profile", profile, list(PROFILES))
    if profile == "full":
        return measure("mnist", "lenet5-wide", seeds=range(N_WIDE), use_shipped=False)
    return known("mnist", "lenet5-wide", seeds=range(N_WIDE))


def measure_network(
    network: nn.Module, train: Stimuli, test: Stimuli, *, seed: int
) -> dict[str, NDArray[Any]]:
    """Everything that is kept of one trained network; names and shapes as in :class:`Ensemble`, of one.

    Parameters
    ----------
    network
        Its penultimate layer, post-ReLU, is measured.
    train, test
        Images it was, and was not, trained on.
    seed
        Of the random orders.
    """
    in_training = poz.PozCounter.over(embeddings.stream(network, train)).result()
    embedding = embeddings.extract(network, test)
    poz_test = poz.poz(embedding)
    found: dict[str, NDArray[Any]] = {
        "accuracy": np.asarray(training.accuracy(network, test)),
        "poz_train": in_training,
        "poz_test": poz_test,
        "ghosts": poz.ghosts(embedding, test.labels),
    }
    # The halves differ between sets, not between instances.
    half = stimuli.half_mask(test.labels)
    found["poz_heldout"] = poz.poz(embedding[half])
    for first in ("low", "high"):
        by_poz = poz.order(poz_test, first=first)
        by_class = functools.partial(class_curve, embedding, test.labels, by_poz)
        ties = len(by_poz) - 1 - poz.order(poz_test[::-1], first=first)
        on_half = poz.order(found["poz_heldout"], first=first)
        for variant, curve in {
            "": geometry_curve(embedding, by_poz),
            "_cosine": geometry_curve(embedding, by_poz, metric="cosine"),
            "_silenced": silenced_curve(embedding, by_poz),
            "_heldout": geometry_curve(embedding[~half], on_half),
            "_ties": geometry_curve(embedding, ties),
            "_class": by_class(),
            "_class_signed": by_class(squared=False),
            "_class_cosine": by_class(metric="cosine"),
        }.items():
            found[first + variant], found[f"n_images_{first}{variant}"] = curve.r, curve.n_images
    rng = np.random.default_rng([seed, *VERSIONS["instance"].values()])
    orders = [rng.permutation(len(poz_test)) for _ in range(N_RANDOM)]
    found["random"] = np.stack([geometry_curve(embedding, order).r for order in orders])
    found["random_cosine"] = np.stack([geometry_curve(embedding, o, metric="cosine").r for o in orders])
    found["random_class"] = np.stack([class_curve(embedding, test.labels, o).r for o in orders])
    return found


def embedded(
    images: str, network: str, seeds: Sequence[int], *, title: str, progress: bool
) -> Iterator[tuple[int, NDArray[np.float32], Stimuli]]:
    """Seed, embedding of the test images and these images, for one instance after the other.

    Parameters
    ----------
    images, network, seeds
        As for :func:`rarefire.training.train`; instances that are not trained yet are.
    title, progress
        Of a progress bar, and whether to show one.
    """
    _, test = stimuli.splits(images)
    ensemble = training.train(images, network, seeds=seeds, progress=progress)
    for instance in tqdm(ensemble, desc=title, disable=not progress):
        yield instance.seed, embeddings.extract(instance.network(), test), test


def excerpt(
    images: str,
    network: str = "lenet5",
    *,
    seed: int = 0,
    recipe: Recipe | None = None,
    use_shipped: bool = True,
) -> Record | None:
    """Embedding of a few test images by one instance, small enough to travel in a page.

    Shipped (unless `use_shipped` is false), else cached, else computed (and the instance trained,
    where it is not); None where the images are not on this machine.

    Returns
    -------
    Record
        ``embedding (n, F)`` in half precision, n the first 10 test images of every class, by class;
        ``rows (n,)``, their places among the test images; ``labels (n,)``; ``names (C,)``, the classes.
    """

    def compute() -> dict[str, NDArray[Any]]:
        (instance,) = training.train(images, network, seeds=[seed], recipe=recipe)
        _, test = stimuli.splits(images)
        rows = np.concatenate([np.flatnonzero(test.labels == c)[:PER_CLASS] for c in np.unique(test.labels)])
        embedding = embeddings.extract(instance.network(), test.subset(rows))
        return {
            "embedding": embedding.astype(np.float16),
            "rows": rows,
            "labels": test.labels[rows],
            "names": np.array(test.class_names),
        }

    if not stimuli.identifiable(images):
        return None
    facts = _excerpt_facts(images, network, recipe, seed)
    at_hand = compute if stimuli.available(images) else None
    return answer_one("sample", facts, at_hand, use_shipped=use_shipped)


def trained(
    images: str, network: str = "lenet5", *, seed: int = 0, use_shipped: bool = True
) -> nn.Module | None:
    """A trained network, one of an ensemble.

    Shipped for seed 0 of the classic form (unless `use_shipped` is false), with the weights that were
    measured, so that its numbers can be had again without training; else cached, else trained on this
    machine's processors; None where the images are not here.
    """

    def compute() -> dict[str, NDArray[Any]]:
        (instance,) = training.train(images, network, seeds=[seed], device="cpu")
        sizes = {"input_shape": np.array(instance.input_shape), "n_classes": np.asarray(instance.n_classes)}
        return sizes | {name: value.numpy() for name, value in instance.network().state_dict().items()}

    if not stimuli.identifiable(images):
        return None
    at_hand = compute if stimuli.available(images) else None
    found = answer_one("weights", _weights_facts(images, network, seed), at_hand, use_shipped=use_shipped)
    if found is None:
        return None
    channels, height, width = found["input_shape"].tolist()
    mean, std = stimuli.normalisation(images)
    built = networks.build(
        network,
        input_shape=(channels, height, width),
        n_classes=int(found["n_classes"]),
        mean=mean,
        std=std,
    )
    return networks.load_weights(
        built, {name: torch.from_numpy(np.array(found[name])) for name in built.state_dict()}
    )


def ship(found: Ensemble, path: str | Path) -> Path:
    """Write an ensemble's instances as a file of shipped results; what this machine computed goes first.

    Beside it, where they are known: excerpts of the first instances (:func:`excerpt`) into
    ``<name>-sample.npz``, the weights of the first (:func:`trained`) into ``<name>-weights.npz``.
    """
    path, images, network = Path(path), found.images, found.network

    def there(question: str, facts: list[dict[str, Any]]) -> list[store.Answer]:
        own = dict(enumerate(facts))
        mine = answer_each(question, {}, own, None, use_shipped=False)
        return list((answer_each(question, {}, own, None) | mine).values())

    few = [_excerpt_facts(images, network, None, seed) for seed in found.seeds[:SAMPLED]]
    if samples := there("sample", few):
        store.pack(path.with_stem(f"{path.stem}-sample"), samples)
    if weights := there("weights", [_weights_facts(images, network, found.seeds[0])]):
        store.pack(path.with_stem(f"{path.stem}-weights"), weights)
    return store.pack(path, there("instance", [dict(a.provenance["facts"]) for a in found.answers]))


# --- helpers -------------------------------------------------------------------------------------


def embedded_facts(images: str, network: str) -> dict[str, Any]:
    """What determines what :func:`embedded` gives, the seeds aside; JSON-able, for keys and provenance.

    Nothing hangs on the two numbers at the end: what is recorded is named with them.
    """
    recipe = training.recipe_for(images)
    return {**_network_facts(images, network, recipe), "measure_version": 1, "n_random": 20}


def _facts(images: str, network: str, recipe: Recipe | None) -> dict[str, Any]:
    return _network_facts(images, network, recipe or training.recipe_for(images)) | {"n_random": N_RANDOM}


@functools.lru_cache(maxsize=64)
def _network_facts(images: str, network: str, recipe: Recipe) -> dict[str, Any]:
    return {
        **training.identity(images, network, recipe=recipe),
        "test_digest": stimuli.content_digest(images, "test"),
    }


def _excerpt_facts(images: str, network: str, recipe: Recipe | None, seed: int) -> dict[str, Any]:
    own = {"seed": int(seed), "per_class": PER_CLASS}
    return _facts(images, network, recipe) | VERSIONS["instance"] | own


def _weights_facts(images: str, network: str, seed: int) -> dict[str, Any]:
    return {**training.identity(images, network), "seed": int(seed)}


def _measured(
    instance: training.Instance, train: Stimuli, test: Stimuli, longest: int
) -> tuple[int, dict[str, NDArray[Any]]]:
    """Seed and arrays of one instance, in a process of its own."""
    history = np.full(longest, np.nan)
    history[: len(instance.history["accuracy"])] = instance.history["accuracy"]
    # Thousands of small matrix products: more threads than processes would only wait for each other.
    with threadpool_limits(1), training.one_thread():
        measured = measure_network(instance.network(), train, test, seed=instance.seed)
    return instance.seed, {
        "epochs": np.asarray(len(instance.history["accuracy"])),
        "best_epoch": np.asarray(instance.best_epoch),
        "history": history,
        **measured,
    }
