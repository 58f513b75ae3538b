"""LeNets beside people at class level: class means' geometry, and which classes people confuse."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from rarefire import inference, poz, stimuli
from rarefire._engine.resampling import jackknife_variance
from rarefire.curves import count, rdm_curve
from rarefire.errors import InputError
from rarefire.judgments import Judgments
from rarefire.rdm import class_means, partial, similarities, square
from rarefire.records.ensembles import embedded, embedded_facts
from rarefire.records.people import KINDS, SHARES
from rarefire.records.record import Array, Stack, answer_each, by_seed, shipped
from rarefire.rounding import SAME

__all__ = ["ClassLevel", "curves", "known", "measure"]

_ANIMALS = ("bird", "cat", "deer", "dog", "frog", "horse")


@dataclass(frozen=True, eq=False, repr=False)
class ClassLevel(Stack):
    """An ensemble's class means beside people's confusions; the arrays are those of :func:`curves`."""

    groups = Array(
        "I, 2", "r of people with the coarser categories, and partial r of all features given these"
    )

    @property
    def images(self) -> str:
        """Name of the image set."""
        return self.about

    @property
    def n_features(self) -> int:
        """Number of features."""
        return int(self["low"].shape[1])

    @property
    def fraction(self) -> NDArray[np.float64]:
        """Share of the features at k = 1 … F."""
        return np.arange(1, self.n_features + 1) / self.n_features

    def change(self, kind: str, share: float, *, level: float = 0.95) -> inference.Test:
        """D = r(first k) − r(all), mean over instances, where other classes and other seeds vary.

        Parameters
        ----------
        kind
            Of :data:`rarefire.records.people.KINDS`.
        share
            Of the features, one of :data:`rarefire.records.people.SHARES`.
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
        n, varying = len(draws), len(d) > 1
        se = float(np.sqrt(jackknife_variance(draws) + (d.var(ddof=1) / len(d) if varying else 0)))
        df = float(min(n, len(d) if varying else n) - 1)
        return inference.Test(
            **inference.with_interval(float(d.mean()), se, df, level=level),
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
        (:func:`rarefire.rdm.partial`); NaN without groups. For each of
        :data:`rarefire.records.people.KINDS`: ``<kind> (F,)``, r at k = 1 … F; ``n_images_<kind> (F,)``,
        classes with a defined similarity;
        ``without_<kind> (C, 4)``, the same without each class, at :data:`rarefire.records.people.SHARES`
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


def measure(
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

    def compute(missing: list[int]) -> Iterator[tuple[int, dict[str, NDArray[Any]]]]:
        title = f"{images}, class means"
        for seed, features, test in embedded(images, network, missing, title=title, progress=progress):
            yield seed, curves(features, test.labels, given, groups=_groups(given.names))

    own = {"judgments": given.name, "judgments_digest": given.digest}
    answers = answer_each(
        "class-level",
        embedded_facts(images, network) | own,
        by_seed(seeds),
        compute,
        use_shipped=use_shipped,
        what=f"{images}, {network}: class means",
    )
    return ClassLevel(tuple(answers.values()))


def known(judgments: str, *, images: str = "cifar10-jpg", network: str = "lenet5") -> ClassLevel | None:
    """What is shipped for these judgments, images and network; needs no data."""
    answers = shipped("class-level", judgments=judgments, stimuli=images, network=network)
    return ClassLevel(answers) if answers else None


def _groups(names: Sequence[str]) -> list[int] | None:
    """Animals and vehicles, where the classes are CIFAR-10's."""
    return [int(name in _ANIMALS) for name in names] if set(_ANIMALS) < set(names) else None
