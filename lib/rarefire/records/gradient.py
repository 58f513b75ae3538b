"""A toy with a known answer: networks that have to ignore how bright images are (Ansuini et al. 2019).

All images are brightened by amounts of their own (:func:`rarefire.stimuli.with_luminance`), of which their
classes know nothing. At a scale at which these amounts make most of the difference between images, images lie
along a line. A network that has learned must have pruned the amounts, and there the dimension jumps. Beside
it are the same images without, and images with shuffled labels, which can only be learned one by one.

What differs from the source: the amounts. Dimension is read from neighbours, and of some hundred images the
amounts decide who is whose *nearest* only if λ is in the hundreds. The contrast that is left is then so low
that LeNets learn nothing in the time that we have; the source took 5,000 epochs. So λ is 3, which TwoNN
hardly sees, and the known answer is read at a wider scale: from neighbours 32 and 64 of 250 images
(:func:`rarefire.dimension.gride`). λ, epochs and learning rates are our choice, after a search on digits: the
test accuracy is then within two points of that without amounts. Shuffled labels are of few images, as many as
LeNet-5 can learn by heart.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import nn

from rarefire import dimension, embeddings, lowlevel, networks, stimuli, store, training, units
from rarefire.errors import unknown
from rarefire.records import record
from rarefire.records.dimension import LAYERS
from rarefire.records.record import Array, Stack
from rarefire.stimuli import Stimuli
from rarefire.training import Recipe

__all__ = ["CONDITIONS", "SETTINGS", "STATES", "Gradients", "Setting", "by_images", "known", "measure"]

#: What networks are trained on: the images, these with amounts of light, and with shuffled labels.
CONDITIONS = ("original", "gradient", "shuffled")
#: When they are measured.
STATES = ("before", "after")

_WIDE = 250  # images of the wide scale
_NEIGHBOUR = 32  # and 64, that are compared there
_BINS = 8  # of luminance


def _recipe(epochs: int, rate: float = 3e-3, batch_size: int = 64) -> Recipe:
    """All epochs are trained, the last sixth at a tenth of the learning rate."""
    return Recipe(
        learning_rate=rate,
        batch_size=batch_size,
        max_epochs=epochs,
        patience=epochs,
        keep="last",
        milestones=(epochs - round(epochs / 6),),
    )


@dataclass(frozen=True)
class Setting:
    """How networks are trained and measured.

    Attributes
    ----------
    recipes
        By condition.
    shown
        How many test images are measured, evenly over the set.
    by_heart
        How many training images have shuffled labels.
    seeds
        How many networks of each condition are recorded.
    strength
        λ, the largest amount of light, in units of white.
    """

    recipes: Mapping[str, Recipe]
    shown: int
    by_heart: int
    seeds: int = 6
    strength: float = 3.0


#: By image set.
SETTINGS = {
    "digits": Setting(
        {"original": _recipe(8), "gradient": _recipe(16), "shuffled": _recipe(36, batch_size=32)},
        shown=500,
        by_heart=600,
        seeds=3,
    ),
    "mnist": Setting(
        {
            "original": _recipe(4, batch_size=128, rate=1e-3),
            "gradient": _recipe(8, batch_size=128, rate=1e-3),
            "shuffled": _recipe(60, rate=1e-3),
        },
        shown=2000,
        by_heart=6000,
    ),
}


@dataclass(frozen=True, eq=False, repr=False)
class Gradients(Stack):
    """Dimensions of layers, and what their units know of luminance. The first axis is the instance."""

    layer = Array("I, L", "names of the layers")
    condition = Array("I, 3", "CONDITIONS")
    accuracy = Array("I, 3, 2", "on the test images, with light as in training; before and after training")
    fitted = Array("I, 3", "accuracy on the images trained on, after training; with the labels trained on")
    two_nn = Array("I, 3, 2, L", "TwoNN of the test images; condition, before and after training, layer")
    wide = Array("I, 3, 2, L", "dimension at the wide scale, neighbours 32 and 64 of 250 images")
    told = Array("I, 3, 2, L", "median over units of I/H, information about luminance over entropy; NaN "
                 "where not post-ReLU, or all are dead")  # fmt: skip
    silent = Array("I, 3, 2, L", "mean PoZ; NaN where not post-ReLU")

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers, in their order."""
        return tuple(self.layer[0].tolist())

    def jump(self, condition: str = "gradient", *, state: str = "after") -> NDArray[np.intp]:
        """Where luminance is pruned: the place of the layer at which the wide dimension rises most, ``(I,)``.

        Raises
        ------
        UnknownNameError
            For another condition or state.
        """
        found = self.wide[:, _place("condition", condition, CONDITIONS), _place("state", state, STATES)]
        return np.asarray(1 + np.diff(found, axis=1).argmax(axis=1))

    def table(self) -> pd.DataFrame:
        """A row for each condition, state and layer, medians over instances.

        Returns
        -------
        DataFrame
            ``images, state, layer, accuracy, TwoNN, wide, I/H, PoZ``.
        """
        rows = []
        for (c, condition), (s, state) in itertools.product(enumerate(CONDITIONS), enumerate(STATES)):
            for place, layer in enumerate(self.layers):
                row: dict[str, Any] = {"images": condition, "state": state, "layer": layer}
                row["accuracy"] = np.median(self.accuracy[:, c, s])
                for name, values in (
                    ("TwoNN", self.two_nn),
                    ("wide", self.wide),
                    ("I/H", self.told),
                    ("PoZ", self.silent),
                ):
                    row[name] = np.median(values[:, c, s, place])
                rows.append(row)
        return pd.DataFrame(rows)


def measure(
    images: str,
    *,
    seeds: Sequence[int] | None = None,
    jobs: int | None = None,
    use_shipped: bool = True,
    progress: bool = True,
) -> Gradients:
    """Train LeNet-5 in all conditions and measure its layers; compute only what is not known.

    Parameters
    ----------
    images
        Of :data:`SETTINGS`.
    seeds
        Of weights, amounts of light and shuffled labels; by default as many as are recorded.
    jobs
        Processes, one thread each; by default one for each processor core.
    use_shipped
        Whether the results shipped with the book count.
    progress
        Show a progress bar.

    Raises
    ------
    UnknownNameError
        For images without a setting.
    """
    options: dict[str, Any] = {"jobs": jobs, "use_shipped": use_shipped, "progress": progress}
    options |= {"seeds": seeds or range(_setting(images).seeds), "about": "light"}
    return Gradients(
        record.measured_lenets("gradient", images, _facts(images), _trained_and_measured, **options)
    )


def known(images: str) -> Gradients | None:
    """What is shipped or cached; None where that is nothing. Needs no data."""
    answers = record.known_lenets("gradient", images, _facts, seeds=range(_setting(images).seeds))
    return Gradients(answers) if answers else None


def by_images(profile: str = "default", *, instances: int | None = None) -> dict[str, Gradients]:
    """The LeNets that a chapter shows; as :func:`rarefire.records.record.by_images`.

    Parameters
    ----------
    profile
        ``"default"`` or ``"full"``.
    instances
        Of digits; default: as many as in :data:`SETTINGS`.
    """
    return record.by_images(SETTINGS, measure, known, profile, instances or SETTINGS["digits"].seeds)


def _setting(images: str) -> Setting:
    return SETTINGS[list(SETTINGS)[_place("image set", images, list(SETTINGS))]]


def _place(what: str, name: str, names: Sequence[str]) -> int:
    if name not in names:
        raise unknown(what, name, list(names))
    return names.index(name)


def _facts(images: str) -> dict[str, Any]:
    setting = _setting(images)
    return {
        **training.identity(images, "lenet5", recipe=setting.recipes["original"]),
        "recipes": {name: recipe.facts() for name, recipe in setting.recipes.items()},
        "test_digest": stimuli.content_digest(images, "test"),
        "strength": setting.strength,
        "shown": setting.shown,
        "by_heart": setting.by_heart,
        "wide": [_NEIGHBOUR, _WIDE],
        "bins": _BINS,
    }


def _trained_and_measured(
    seed: int, train: Stimuli, test: Stimuli, images: str
) -> tuple[int, dict[str, NDArray[Any]]]:
    setting = _setting(images)
    with threadpool_limits(1), training.one_thread():
        shown = test.subset(test.spread(setting.shown))
        bright, dim = (
            stimuli.with_luminance(each, strength=setting.strength, rng=np.random.default_rng([seed, part]))
            for part, each in enumerate((train, shown))
        )
        few = train.subset(train.spread(setting.by_heart))
        shuffled = replace(few, labels=np.random.default_rng([seed, 2]).permutation(few.labels))
        untrained = _built(train, seed)
        before = {"original": _measured(untrained, shown), "gradient": _measured(untrained, dim)}
        before["shuffled"] = before["original"]
        found: dict[str, list[Any]] = {}
        pairs = zip(CONDITIONS, (train, bright, shuffled), (shown, dim, shown), strict=True)
        for condition, learned, seen in pairs:
            recipe = setting.recipes[condition]
            network = _fitted(learned, recipe, seed)
            after = _measured(network, seen)
            for name, numbers in after.items():
                found.setdefault(name, []).append(np.stack([before[condition][name], numbers]))
            used = learned.subset(~stimuli.stratified_mask(learned.labels, recipe.validation, seed=0))
            found.setdefault("fitted", []).append(training.accuracy(network, used))
    arrays = {name: np.asarray(numbers, dtype=np.float32) for name, numbers in found.items()}
    return seed, {**arrays, "layer": np.array(LAYERS), "condition": np.array(CONDITIONS)}


def _built(images: Stimuli, seed: int) -> nn.Module:
    return networks.build(
        "lenet5",
        input_shape=images.input_shape,
        n_classes=len(images.class_names),
        mean=images.mean,
        std=images.std,
        seed=seed,
    )


def _fitted(images: Stimuli, recipe: Recipe, seed: int) -> nn.Module:
    key = store.key(train_digest=images.digest, recipe=recipe.facts(), version=1)
    path = store.cache_dir() / "checkpoints" / f"light-{images.name}-{key}" / f"seed-{seed:04d}.pt"
    network = _built(images, seed)
    with store.alone(path.with_suffix(""), wait_for=f"{images.name}, light"):
        training.fit(network, images, path=path, recipe=recipe, seed=seed)
    return network


def _measured(network: nn.Module, images: Stimuli) -> dict[str, NDArray[np.float64]]:
    """By name, ``(L,)``; and the accuracy."""
    light = lowlevel.properties(images.images, names=["luminance"])["luminance"]
    levels, some = units.bins(light, _BINS), np.linspace(0, len(images) - 1, _WIDE).astype(int)
    layers = itertools.chain(
        [("input", images.images)], embeddings.each(network, images, layers=LAYERS[1:], spatial="keep")
    )
    rows = []
    for _, values in layers:
        points = np.ascontiguousarray(values.reshape(len(values), -1))
        told = silent = np.nan
        if points.min() >= 0:
            said = units.responses(points)
            knows = units.summary(units.information(said, levels), units.entropy(said))
            told, silent = knows.relative, float((points == 0).mean())
        wide = dimension.gride(points[some], largest=_NEIGHBOUR)[-1].dimension
        rows.append([dimension.two_nn(points).dimension, wide, told, silent])
    two_nn, wide_, told_, silent_ = np.array(rows).T
    return {
        **{"two_nn": two_nn, "wide": wide_, "told": told_, "silent": silent_},
        "accuracy": np.asarray(training.accuracy(network, images)),
    }
