"""LeNets beside people at class level: class means' geometry, and which classes people confuse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from tqdm import tqdm

from rarefire import embeddings, inference, poz, stimuli, store, studies, training
from rarefire.curves import count, rdm_curve
from rarefire.errors import InputError
from rarefire.judgments import Judgments
from rarefire.predictions import KINDS, SHARES, partial
from rarefire.rdm import class_means, similarities, square
from rarefire.rounding import SAME

__all__ = ["ClassLevel", "collect", "curves", "find", "ship"]

_ANIMALS = ("bird", "cat", "deer", "dog", "frog", "horse")
_VERSION = 2  # raise it when the same networks would give other numbers


@dataclass(frozen=True)
class ClassLevel(store.Ensemble):
    """An ensemble's class means beside people's confusions; the arrays are those of :func:`curves`."""

    @property
    def images(self) -> str:
        """Name of the image set."""
        return str(self.answers[0].provenance["facts"]["stimuli"])

    @property
    def n_features(self) -> int:
        """Number of features."""
        return int(self["low"].shape[1])

    @property
    def fraction(self) -> NDArray[np.float64]:
        """Share of the features at k = 1 … F."""
        return np.arange(1, self.n_features + 1) / self.n_features

    def r(self, kind: str, *, least: float = 0.5) -> NDArray[np.float64]:
        """One of the curves, ``(I, F)``; NaN where fewer than `least` of the classes have a similarity."""
        r = self[kind].astype(np.float64)
        counted = self[f"n_images_{kind}"]
        r[counted < least * counted[:, -1:]] = np.nan
        return r

    def change(self, kind: str, share: float, *, level: float = 0.95) -> inference.Test:
        """D = r(first k) − r(all), mean over instances, where other classes and other seeds vary.

        Parameters
        ----------
        kind
            Of :data:`rarefire.predictions.KINDS`.
        share
            Of the features, one of :data:`rarefire.predictions.SHARES`.
        level
            Of the interval.

        Raises
        ------
        InputError
            Where D is undefined in half of the instances or more; a few are left out.

        Notes
        -----
        The variance is that of a delete-one-class jackknife of the mean over instances, plus the
        variance over instances divided by their number.
        """
        if kind not in KINDS or share not in SHARES:
            raise InputError(f"kind is one of {', '.join(KINDS)}, share of {SHARES}; got {kind!r}, {share}.")
        without = self[f"without_{kind}"].astype(np.float64)  # (instances, classes, shares and all)
        k = count(share, self.n_features)
        r = self[kind].astype(np.float64)
        d, draws = r[:, k - 1] - r[:, -1], without[:, :, SHARES.index(share)] - without[:, :, -1]
        d, draws = (np.where(np.abs(v) < SAME, 0, v) for v in (d, draws))
        known = np.isfinite(d) & np.isfinite(draws).all(axis=1)
        if 2 * np.count_nonzero(known) <= len(d):
            raise InputError(
                f"D of {kind!r} at {share:.0%} is undefined in {np.count_nonzero(~known)} of {len(d)} "
                "instances: those features are dead."
            )
        r, d, draws = r[known], d[known], draws[known].mean(axis=0)
        n = len(draws)
        variance = (n - 1) / n * ((draws - draws.mean()) ** 2).sum()
        varying = len(d) > 1
        se = float(np.sqrt(variance + (d.var(ddof=1) / len(d) if varying else 0)))
        df = float(min(n, len(d) if varying else n) - 1)
        estimate = float(d.mean())
        low, high, p = map(float, inference.t_interval(estimate, se, df, level=level))
        return inference.Test(
            estimate=estimate,
            low=low,
            high=high,
            level=level,
            se=se,
            df=df,
            p=p,
            k=k,
            r_kept=float(r[:, k - 1].mean()),
            r_all=float(r[:, -1].mean()),
            n=n,
            n_subjects=0,
            unit=f"class and seed ({len(d)} seeds)",
            method="delete-one-class jackknife plus variance over seeds",
        )

    def changes(self, kinds: Sequence[str] = ("low", "high")) -> pd.DataFrame:
        """Every :meth:`change`: ``kind, share, r kept, r all, D, low, high, p``, and ``holm`` over them."""
        rows = []
        for kind in kinds:
            for share in SHARES:
                test = self.change(kind, share)
                rows.append(
                    {
                        "kind": kind,
                        "share": share,
                        "r kept": test.r_kept,
                        "r all": test.r_all,
                        "D": test.estimate,
                        "low": test.low,
                        "high": test.high,
                        "p": test.p,
                    }
                )
        table = pd.DataFrame(rows)
        return table.assign(holm=inference.holm(table.p))


def curves(
    embedding: ArrayLike, labels: ArrayLike, given: Judgments, *, groups: Sequence[int] | None = None
) -> dict[str, NDArray[Any]]:
    """Nested curves of class means against how people confuse the classes.

    Parameters
    ----------
    embedding, labels
        ``(n_images, n_features)`` post-ReLU, and ``(n_images,)`` integers in the order of `given`.
    given
        Judgments of the classes.
    groups
        ``(C,)``, a coarser category of each class, such as animals and vehicles.

    Returns
    -------
    dict
        ``groups (2,)``: r of people with "same group or not", and partial r of all features given that
        (:func:`rarefire.predictions.partial`); NaN without groups. For each of
        :data:`rarefire.predictions.KINDS`: ``<kind> (F,)``, r at k = 1 … F; ``n_images_<kind> (F,)``,
        classes with a defined similarity;
        ``without_<kind> (C, 4)``, the same without each class, at :data:`rarefire.predictions.SHARES`
        and with all features.
    """
    means, rates = class_means(embedding, labels), poz.poz(embedding)
    if len(means) != given.n:
        raise InputError(f"there are {len(means)} classes; {given.name!r} judges {given.n}.")
    people, n_features = square(given.human), means.shape[1]
    at = [count(share, n_features) - 1 for share in (*SHARES, 1.0)]
    rows, columns = np.triu_indices(given.n, k=1)
    apart = None if groups is None else np.asarray(groups)[rows] != np.asarray(groups)[columns]
    network = 1 - similarities(means)[rows, columns]
    nothing = (np.nan, np.nan)
    found = {"groups": np.array(nothing if apart is None else partial(network, given.human, apart))}
    for kind, (first, metric) in KINDS.items():
        order = poz.order(rates, first=first)
        curve = rdm_curve(means, given.human, order, metric=metric)
        found[kind], found[f"n_images_{kind}"] = curve.r, curve.n_images
        rests = [np.arange(given.n) != c for c in range(given.n)]
        found[f"without_{kind}"] = np.stack(
            [rdm_curve(means[rest], people[np.ix_(rest, rest)], order, metric=metric).r[at] for rest in rests]
        )
    return found


def collect(
    images: str,
    given: Judgments,
    *,
    network: str = "lenet5",
    seeds: Sequence[int],
    use_shipped: bool = True,
    progress: bool = True,
) -> ClassLevel:
    """Compare an ensemble with people; compute only what is neither shipped nor cached.

    Parameters
    ----------
    images, network, seeds
        As for :func:`rarefire.training.train`; instances that are not trained yet are. For ``"cifar10"``
        its re-encoding is taken where only that is at hand.
    given
        Judgments of the classes, such as ``judgments.load("cifar10h")``.
    use_shipped
        Whether the results shipped with the book count.
    progress
        Show a progress bar.
    """
    images = stimuli.cifar10_variant() if images == "cifar10" else images
    shared = {"judgments": given.name, "judgments_digest": given.digest, "class_version": _VERSION}
    facts = {seed: {**studies.instance_facts(images, network, None, seed), **shared} for seed in seeds}
    answers = {s: store.recall("class-level", f, None, use_shipped=use_shipped) for s, f in facts.items()}
    missing = [seed for seed, answer in answers.items() if answer is None]
    if missing:
        test = stimuli.load(images, "test")
        ensemble = training.train(images, network, seeds=missing, progress=progress)
        bar = tqdm(ensemble, total=len(missing), desc=f"{images}, class means", disable=not progress)
        for instance in bar:

            def compute(instance: training.Instance = instance) -> dict[str, NDArray[Any]]:
                features = embeddings.extract(instance.network(), test)
                return curves(features, test.labels, given, groups=_groups(given.names))

            answers[instance.seed] = store.recall(
                "class-level", facts[instance.seed], compute, use_shipped=False
            )
    return ClassLevel(tuple(answer for answer in answers.values() if answer is not None))


def _groups(names: Sequence[str]) -> list[int] | None:
    """Animals and vehicles, where the classes are CIFAR-10's."""
    return [int(name in _ANIMALS) for name in names] if set(_ANIMALS) < set(names) else None


def find(judgments: str, *, images: str = "cifar10-jpg", network: str = "lenet5") -> ClassLevel | None:
    """What is shipped for these judgments, images and network; needs no data."""
    current = {"judgments": judgments, "stimuli": images, "network": network, "class_version": _VERSION}
    every = store.shipped("class-level")
    known = [a for a in every if current.items() <= a.provenance["facts"].items()]
    return ClassLevel(tuple(known)) if known else None


def ship(found: ClassLevel, path: str | Path) -> Path:
    """Write class-level results as a file of shipped results."""
    return store.pack(path, found.answers)
