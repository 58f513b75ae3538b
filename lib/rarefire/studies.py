"""Studies: an ensemble, measured. One code path for every profile of the book.

For each instance, on the test images: accuracy; PoZ over training and over test images; ghost
features; and nested curves in every variant that the book shows. Each instance is one entry of the
store, so an ensemble can grow, and shipped, cached and new instances mix.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from threadpoolctl import threadpool_limits
from torch import nn
from tqdm import tqdm

from rarefire import blocks, embeddings, networks, poz, stimuli, store, training
from rarefire.curves import class_curve, count, geometry_curve, silenced_curve
from rarefire.errors import DataError, unknown
from rarefire.stimuli import Stimuli
from rarefire.training import Recipe

__all__ = [
    "CURVES",
    "Study",
    "collect",
    "find",
    "measure",
    "run",
    "sample",
    "ship",
    "source",
    "trained",
    "wide",
]

_VERSION = 2  # of the measurement: raise it when the same network would give other numbers
PROFILES = ("default", "full")
N_WIDE = 10  # instances of the wide form
N_RANDOM = 10  # random orders per instance
PER_CLASS = 10  # test images of each class in a sample
SAMPLED = 3  # instances whose sample is shipped
_SAMPLE = {"per_class": PER_CLASS, "sample_version": 1}

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


@dataclass(frozen=True)
class Study:
    """An ensemble, measured.

    Attributes
    ----------
    images, network
        Names.
    seeds
        One per instance.
    arrays
        By name, each with the instance as its first axis: ``accuracy (I,)`` on test images in
        [0, 1]; ``epochs``, ``best_epoch (I,)``; ``history (I, max_epochs)``, validation accuracy,
        NaN after the stop; ``poz_train``, ``poz_test``, ``poz_heldout (I, F)``;
        ``ghosts (I, C, F)``; for each name in :data:`CURVES` Pearson r ``(I, F)`` at k = 1 … F,
        those in random orders with an axis more, ``(I, R, F)``;
        ``n_images_<curve>``.
    sources
        How many instances were ``shipped``, in the ``cache``, ``computed``.
    provenance
        That of the first instance.
    """

    images: str
    network: str
    seeds: tuple[int, ...]
    arrays: dict[str, NDArray[Any]]
    sources: dict[str, int]
    provenance: dict[str, Any]

    def __len__(self) -> int:
        return len(self.seeds)

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self.arrays[name]

    def r2(self, curve: str, *, least: float = 0.5) -> NDArray[np.float64]:
        """R² of one of :data:`CURVES`, ``(I, F)`` (random orders: ``(I, R, F)``).

        NaN where fewer than `least` of the images (or classes) have a defined similarity: the R² of
        the three images for which a rare feature happens to fire says nothing about the set.
        """
        r2 = np.asarray(self.arrays[curve], dtype=np.float64) ** 2
        counted = self.arrays.get(f"n_images_{curve}")
        if counted is not None:
            r2[counted < least * counted[:, -1:]] = np.nan
        return r2

    @property
    def n_features(self) -> int:
        """Number of features in the penultimate layer."""
        return int(self.arrays["poz_test"].shape[1])

    @property
    def fraction(self) -> NDArray[np.float64]:
        """Share of the features at k = 1 … F."""
        return np.arange(1, self.n_features + 1) / self.n_features

    def at(self, curve: str, fraction: float) -> NDArray[np.float64]:
        """R² of every instance at the k nearest to `fraction` of all features; NaN where undefined."""
        return self.r2(curve)[..., count(fraction, self.n_features) - 1]

    def agreement(self, first: str, second: str) -> NDArray[np.float64]:
        """Rank correlation (Spearman) of two PoZ, over features that fire in either; one per instance.

        Parameters
        ----------
        first, second
            ``"poz_train"``, ``"poz_test"`` or ``"poz_heldout"``.
        """
        pairs = zip(self.arrays[first], self.arrays[second], strict=True)
        alive = [(a[(a < 1) | (b < 1)], b[(a < 1) | (b < 1)]) for a, b in pairs]
        return np.array([float(stats.spearmanr(a, b).statistic) for a, b in alive])

    def tied(self) -> NDArray[np.float64]:
        """Share, among the features that fire at all, of those with the PoZ of another one, ``(I,)``."""
        alive = [row[row < 1] for row in self.arrays["poz_test"]]
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

    def of_firing(
        self, curve: str = "low", fraction: float = 1.0, *, counted_as: str = "poz_test"
    ) -> NDArray[np.float64]:
        """R² of a share of the features that fire for any image, ``(I,)``.

        Parameters
        ----------
        curve
            One of :data:`CURVES` that inserts low-PoZ features first.
        fraction
            Of the features that fire; by default all, so that only those that never fire are gone. At
            least one.
        counted_as
            The PoZ by which `curve` is ordered.
        """
        r2 = self.r2(curve)
        firing = (self.arrays[counted_as] < 1).sum(axis=1)
        return np.array([row[count(fraction, int(n)) - 1] for row, n in zip(r2, firing, strict=True)])

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
        rates = self.arrays["poz_test"]
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

    def stamp(self) -> str:
        """What was measured and where the numbers come from."""
        how = {"shipped": "shipped with the book", "cache": "from the cache", "computed": "computed now"}
        parts = ", ".join(f"{n} {how[s]}" for s, n in self.sources.items())
        shown = "CIFAR-10 in a JPEG re-encoding" if self.images == "cifar10-jpg" else self.images
        return f"{shown}, {self.network}: {len(self)} instances, {parts} ({self.made()})"

    def made(self) -> str:
        """Versions and date of the computation."""
        versions = self.provenance["versions"]
        return f"rarefire {versions['rarefire']}, torch {versions['torch']}, {self.provenance['date']}"


def run(
    images: str,
    network: str = "lenet5",
    *,
    seeds: Sequence[int],
    recipe: Recipe | None = None,
    jobs: int | None = None,
    device: str | None = None,
    use_shipped: bool = True,
    progress: bool = True,
) -> Study:
    """Measure an ensemble; train and compute only what is neither shipped nor cached.

    Parameters
    ----------
    images, network, seeds, recipe, jobs, device, progress
        As for :func:`rarefire.training.train`.
    use_shipped
        Whether the results shipped with the book count; without them, everything comes from the
        images, on this machine.
    """

    def known(of: Iterable[int]) -> dict[int, store.Answer | None]:
        facts = {s: instance_facts(images, network, recipe, s) for s in of}
        return {s: store.recall("instance", f, None, use_shipped=use_shipped) for s, f in facts.items()}

    answers = known(seeds)
    if None in answers.values():
        name = f"study-{store.key(**_ensemble_facts(images, network, recipe))}"
        with store.alone(store.cache_dir() / "results" / name, wait_for=f"{images}, {network}"):
            # Another process may have measured them in the meantime.
            answers |= known(s for s, answer in answers.items() if answer is None)
            missing = [s for s, answer in answers.items() if answer is None]
            options: dict[str, Any] = {"recipe": recipe, "jobs": jobs, "progress": progress}
            answers |= _computed(images, network, missing, device=device, **options)
    return _gather(images, network, list(seeds), [answers[s] for s in seeds])


def _computed(
    images: str,
    network: str,
    seeds: list[int],
    *,
    recipe: Recipe | None,
    jobs: int | None,
    device: str | None,
    progress: bool,
) -> dict[int, store.Answer | None]:
    """Train these instances, where that is not done, and measure them."""
    if not seeds:
        return {}
    ensemble = training.train(
        images, network, seeds=seeds, recipe=recipe, jobs=jobs, device=device, progress=progress
    )
    train, test = stimuli.load(images, "train"), stimuli.load(images, "test")
    tasks = (
        joblib.delayed(_measure_and_keep)(
            instance, train, test, instance_facts(images, network, recipe, instance.seed)
        )
        for instance in ensemble
    )
    # Each instance is kept as soon as it is measured, so a stopped run loses little.
    with blocks.processes(min(jobs or blocks.cores(), len(seeds))):
        done = joblib.Parallel(return_as="generator", max_nbytes="1M", batch_size=1)(tasks)
        bar = tqdm(done, total=len(seeds), desc=f"{images}, {network}: curves", disable=not progress)
        return dict(zip(seeds, bar, strict=True))


def find(
    images: str, network: str = "lenet5", *, seeds: Iterable[int] = range(50), recipe: Recipe | None = None
) -> Study | None:
    """What is already known of an ensemble, shipped or cached; None where that is nothing.

    Needs no data and no network.
    """
    if not stimuli.identifiable(images):
        return None
    known = {}
    for seed in seeds:
        answer = store.recall("instance", instance_facts(images, network, recipe, seed), None)
        if answer is not None:
            known[seed] = answer
    return _gather(images, network, list(known), list(known.values())) if known else None


def collect(profile: str = "default", *, instances: int = 50) -> dict[str, Study]:
    """Collect the ensembles a chapter shows, by image set.

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
    found = {"digits": run("digits", seeds=seeds)}
    for name in ("mnist", stimuli.cifar10_variant()):
        full = profile == "full"
        study = run(name, seeds=seeds, use_shipped=False) if full else find(name, seeds=seeds)
        if study is not None:
            found[name] = study
    if "cifar10" not in found and (shipped := find("cifar10-jpg", seeds=seeds)) is not None:
        found["cifar10-jpg"] = shipped
    return found


def wide(profile: str = "default") -> Study | None:
    """The wide LeNet-5 of the authors' MNIST code, ten instances: what is known of it, or all of it.

    Parameters
    ----------
    profile
        As for :func:`collect`; ``"full"`` trains for hours, some seventy times the arithmetic.
    """
    if profile not in PROFILES:
        raise unknown("profile", profile, list(PROFILES))
    if profile == "full":
        return run("mnist", "lenet5-wide", seeds=range(N_WIDE), use_shipped=False)
    return find("mnist", "lenet5-wide", seeds=range(N_WIDE))


def source(found: Mapping[str, Study]) -> str:
    """Where the numbers of a figure come from: a sentence for its caption."""
    names = {"mnist": "MNIST", "cifar10": "CIFAR-10", "cifar10-jpg": "CIFAR-10 in a JPEG re-encoding"}
    parts: dict[str, list[str]] = {}
    for study in found.values():
        origin = "recorded runs" if set(study.sources) == {"shipped"} else "computed on this machine"
        images = names.get(study.images, study.images)
        parts.setdefault(study.network, []).append(f"{images} ({len(study)} instances, {origin})")
    networks = [f"{network} on {', '.join(sets)}" for network, sets in parts.items()]
    made = sorted({study.made() for study in found.values()})
    return f"Source: {'; '.join([*networks, *made])}."


def measure(network: nn.Module, train: Stimuli, test: Stimuli, *, seed: int) -> dict[str, NDArray[Any]]:
    """Everything a study keeps of one trained network; names and shapes as in :class:`Study`.

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
    rng = np.random.default_rng([seed, _VERSION])
    orders = [rng.permutation(len(poz_test)) for _ in range(N_RANDOM)]
    found["random"] = np.stack([geometry_curve(embedding, order).r for order in orders])
    found["random_cosine"] = np.stack([geometry_curve(embedding, o, metric="cosine").r for o in orders])
    found["random_class"] = np.stack([class_curve(embedding, test.labels, o).r for o in orders])
    return found


def sample(
    images: str,
    network: str = "lenet5",
    *,
    seed: int = 0,
    recipe: Recipe | None = None,
    use_shipped: bool = True,
) -> Mapping[str, NDArray[Any]] | None:
    """Embedding of a few test images by one instance, small enough to travel in a page.

    Shipped (unless `use_shipped` is false), else cached, else computed (and the instance trained,
    where it is not); None where the images are not on this machine.

    Returns
    -------
    mapping
        ``embedding (n, F)`` in half precision, n the first 10 test images of every class, by class;
        ``rows (n,)``, their places among the test images; ``labels (n,)``; ``names (C,)``, the classes.
    """

    def compute() -> dict[str, NDArray[Any]]:
        (instance,) = training.train(images, network, seeds=[seed], recipe=recipe)
        test = stimuli.load(images, "test")
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
    facts = {**instance_facts(images, network, recipe, seed), **_SAMPLE}
    at_hand = compute if stimuli.available(images) else None
    answer = store.recall("sample", facts, at_hand, use_shipped=use_shipped)
    return None if answer is None else answer.arrays


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
    answer = store.recall("weights", _weights(images, network, seed), at_hand, use_shipped=use_shipped)
    if answer is None:
        return None
    channels, height, width = answer.arrays["input_shape"].tolist()
    mean, std = stimuli.normalisation(images)
    built = networks.build(
        network,
        input_shape=(channels, height, width),
        n_classes=int(answer.arrays["n_classes"]),
        mean=mean,
        std=std,
    )
    return networks.load_weights(
        built, {name: torch.from_numpy(np.array(answer.arrays[name])) for name in built.state_dict()}
    )


def _weights(images: str, network: str, seed: int) -> dict[str, Any]:
    return {**training.identity(images, network), "seed": int(seed)}


def ship(study: Study, path: str | Path) -> Path:
    """Write a study's instances as a file of shipped results; what this machine computed goes first.

    Beside it, where they are known: samples of the first instances (:func:`sample`) into
    ``<name>-sample.npz``, the weights of the first (:func:`trained`) into ``<name>-weights.npz``.
    """
    path = Path(path)
    facts = [instance_facts(study.images, study.network, None, seed) for seed in study.seeds]

    def known(question: str, facts: dict[str, Any]) -> store.Answer | None:
        mine = store.recall(question, facts, None, use_shipped=False)
        return mine or store.recall(question, facts, None)

    samples = [known("sample", {**f, **_SAMPLE}) for f in facts[:SAMPLED]]
    if any(samples):
        store.pack(path.with_stem(f"{path.stem}-sample"), [s for s in samples if s is not None])
    weights = known("weights", _weights(study.images, study.network, study.seeds[0]))
    if weights is not None:
        store.pack(path.with_stem(f"{path.stem}-weights"), [weights])
    answers = [known("instance", f) for f in facts]
    return store.pack(path, [answer for answer in answers if answer is not None])


def _measure_and_keep(
    instance: training.Instance, train: Stimuli, test: Stimuli, facts: dict[str, Any]
) -> store.Answer | None:
    def compute() -> dict[str, NDArray[Any]]:
        return {
            **_training_record(instance, facts["recipe"]["max_epochs"]),
            **measure(instance.network(), train, test, seed=instance.seed),
        }

    # Thousands of small matrix products: more threads than processes would only wait for each other.
    with threadpool_limits(1), training.one_thread():
        return store.recall("instance", facts, compute, use_shipped=False)


def _training_record(instance: training.Instance, max_epochs: int) -> dict[str, NDArray[Any]]:
    history = np.full(max_epochs, np.nan)
    history[: len(instance.history["accuracy"])] = instance.history["accuracy"]
    return {
        "epochs": np.asarray(len(instance.history["accuracy"])),
        "best_epoch": np.asarray(instance.best_epoch),
        "history": history,
    }


@functools.lru_cache(maxsize=64)
def _ensemble_facts(images: str, network: str, recipe: Recipe | None) -> dict[str, Any]:
    return {
        **training.identity(images, network, recipe=recipe),
        "test_digest": stimuli.content_digest(images, "test"),
        "measure_version": _VERSION,
        "n_random": N_RANDOM,
    }


def instance_facts(images: str, network: str, recipe: Recipe | None, seed: int) -> dict[str, Any]:
    """What determines the measurement of one instance; JSON-able, for keys and provenance."""
    return {**_ensemble_facts(images, network, recipe), "seed": int(seed)}


def _gather(images: str, network: str, seeds: list[int], answers: list[store.Answer | None]) -> Study:
    given = [answer for answer in answers if answer is not None]
    if len(given) < len(seeds):
        raise DataError(f"{images}, {network}: {len(seeds) - len(given)} instances are missing.")
    return Study(
        images=images,
        network=network,
        seeds=tuple(seeds),
        arrays={n: np.stack([a.arrays[n] for a in given]) for n in given[0].arrays},
        sources=dict(Counter(a.source for a in given)),
        provenance=dict(given[0].provenance),
    )
