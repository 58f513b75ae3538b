"""What single units know of images, layer by layer, in trained networks and before any training.

Training is said to *prune* units of what images look like, light and contrast first, and to *distil* it: few
units keep it (Muratore et al. 2022). Each layer's units are asked what they know of low-level properties
(:mod:`rarefire.lowlevel`) and of the category of an image (:func:`rarefire.units.information`), in a network
and in the same one untrained: LeNets before and after their training, ImageNet networks and a twin with other
weights (:func:`rarefire.networks.untrained`).

A unit is a channel. It is asked once for each image, so that images can be permuted: at a position that is
drawn anew for each, the same for all channels. The property is that of the unit's own window there
(:func:`rarefire.lowlevel.receptive_field`); of the whole image where a layer has no positions, and where its
window is as large as the image or not the same at all positions. Only layers behind a ReLU are measured: it
takes silence to have PoZ and three responses.

Information is what is beyond chance, exactly (:func:`rarefire.units.expected_information`): the correction
of Panzeri and Treves leaves too much to units that fire rarely, and training makes more of these. Where few
units know a property, chance spreads what little there is over them: how unequally says nothing.

The slope of the spectrum takes windows of 8 pixels. Images that have none (uniform ones, or windows cut to
fewer pixels) are a bin of their own; it is not measured in a layer in which they are more than half.

References
----------
Muratore P, Tafazoli S, Piasini E, Laio A, Zoccolan D (2022). Prune and distill: similar reformatting of image
information along rat visual cortex and deep neural networks. NeurIPS 35.
Tafazoli S, Safaai H, De Franceschi G, et al. (2017). Emergence of transformation-tolerant representations of
visual objects in rat lateral extrastriate cortex. eLife 6, e22794.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits
from torch import nn
from tqdm import tqdm

from rarefire import embeddings, inference, lowlevel, networks, stimuli, training, units
from rarefire.errors import DataError, InputError, unknown
from rarefire.lowlevel import ReceptiveField
from rarefire.records import dimension, people_across, record
from rarefire.records.people_orders import labelled
from rarefire.records.record import (
    Array,
    Record,
    Stack,
    answer_each,
    answer_one,
    shipped,
)
from rarefire.rounding import SAME
from rarefire.stimuli import Stimuli

__all__ = [
    "CATEGORY",
    "GROUPS",
    "LAYERS",
    "LEFT_OUT",
    "N_BINS",
    "SETTINGS",
    "SHOWN",
    "SHOWN_UNITS",
    "Information",
    "Sample",
    "Setting",
    "by_images",
    "groups",
    "known",
    "known_network",
    "known_networks",
    "measure",
    "measure_here",
    "measure_network",
    "measure_sample",
    "post_relu",
    "sample",
    "sampled",
    "windows",
]

#: Layers of LeNet-5 that are measured, and those that are not, before a ReLU.
LAYERS = ("relu1", "pool1", "relu2", "pool2", "relu3", "relu4")
LEFT_OUT = ("conv1", "conv2", "fc1", "fc2", "fc3")
#: The property that is no low-level one: an image's class, of LeNets; of ImageNet networks its group.
CATEGORY = "category"
#: Outputs of ImageNet networks, in groups; what is in none of them is an object (or food, or a place).
GROUPS: dict[str, tuple[range, ...]] = {
    "birds": (range(7, 25), range(80, 101), range(127, 147)),
    "dogs": (range(151, 269),),
    "other animals": (range(398),),
    "objects": (range(398, 1000),),
}
#: Bins of a low-level property, as in Tafazoli et al. (2017); takes 1,000 images.
N_BINS = 23
#: Of whom a page travels with single units, and with how many of each layer.
SHOWN = ("mnist", "squeezenet1_1")
SHOWN_UNITS = 128

_GIVEN_BINS = 5  # of luminance and contrast beside classes: ten times 23 pairs would be too many
_PERMUTATIONS = 999  # fewer, 199, cannot bring ten properties below .05 together
_LEVEL = 0.05
_BATCH = 32  # images of whose layers all positions are kept at a time
_SLOPE = "spectral_slope"
_POOLED = "pooled"
_STEPS = 160  # of a bit, in what a page travels with: three responses have log2(3) at most, 254


@dataclass(frozen=True)
class Setting:
    """On what LeNets are measured.

    Attributes
    ----------
    n_images
        Test images, evenly spaced.
    n_bins
        Of a low-level property: for each bin about fifty images.
    seeds
        How many networks are recorded.
    """

    n_images: int = 2000
    n_bins: int = N_BINS
    seeds: int = 6


#: By image set.
SETTINGS = {
    "digits": Setting(500, n_bins=10, seeds=3),
    "mnist": Setting(),
    "cifar10-jpg": Setting(),
}


@dataclass(frozen=True, eq=False, repr=False)
class Information(Stack):
    """What a network's units know. The first axis is the instance; the second untrained, trained."""

    layer = Array("I, L", "names of the layers")
    left_out = Array("I, M", "layers that are not measured, as they are not post-ReLU")
    asked = Array("I, P", "names of the properties, the category last")
    epoch = Array("I, 2", "of training; −1 for a network that is not trained here")
    window = Array("I, L, 2", "height and width of what a unit sees, pixels; 0 for the whole image")
    n_units = Array("I, L", "number of channels")
    n_dead = Array("I, 2, L", "of them, say always the same: they are in no other number")
    poz = Array("I, 2, L", "mean PoZ of all units, on these samples")
    entropy = Array("I, 2, L", "median of H, bits")
    bound = Array("I, 2, L", "median of h(PoZ), bits: what firing or not can say")
    relative = Array("I, 2, L, P", "median of I/H; NaN where the property is not measured")
    gini = Array("I, 2, L, P", "Gini's coefficient of I over units")
    top_share = Array("I, 2, L, P", "share of all I that the tenth of units has that has most")
    informed = Array("I, 2, L, P", "share of units with p < .05, Holm-adjusted over properties")
    independent = Array("I, 2, L, 2", "median of f, what is told of the category beyond luminance, beyond "
                        "contrast; over units that know the category or the property")  # fmt: skip

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers, in their order."""
        return tuple(self.layer[0].tolist())

    @property
    def properties(self) -> tuple[str, ...]:
        """Names of the properties."""
        return tuple(self.asked[0].tolist())

    def table(self) -> pd.DataFrame:
        """A row for each instance, network, layer and property.

        Returns
        -------
        DataFrame
            ``instance, epoch, layer, property, relative, gini, top_share, informed``; of the layer ``window``
            (the longer side, 0 for the whole image), ``units, dead, PoZ, H, h``; in rows of the category
            ``beyond luminance, beyond contrast``.
        """
        rows = []
        for i, e, place, p in np.ndindex(self.relative.shape):
            at = (i, e, place)
            row: dict[str, Any] = {"instance": i, "epoch": int(self.epoch[i, e])}
            row |= {"layer": self.layers[place], "property": self.properties[p]}
            row |= {name: self[name][*at, p] for name in ("relative", "gini", "top_share", "informed")}
            row |= {"window": int(self.window[i, place].max()), "units": int(self.n_units[i, place])}
            row |= {"dead": int(self.n_dead[at]), "PoZ": self.poz[at]}
            row |= {"H": self.entropy[at], "h": self.bound[at]}
            of_category = self.properties[p] == CATEGORY
            for k, name in enumerate(("luminance", "contrast")):
                row[f"beyond {name}"] = self.independent[*at, k] if of_category else np.nan
            rows.append(row)
        return pd.DataFrame(rows)

    def pruning(self, name: str) -> pd.DataFrame:
        """How much less units know of a property once they are trained, by layer.

        Parameters
        ----------
        name
            One of :attr:`properties`.

        Returns
        -------
        DataFrame
            ``measure`` (``relative``), ``layer``; ``untrained, trained, change``, means over instances;
            ``low, high``, of the change, 95 % over instances, NaN for one. Pruned is what has a change below
            0.

        Raises
        ------
        UnknownNameError
            For a property that was not measured.
        """
        return self._changes(["relative"], name)

    def distillation(self, name: str) -> pd.DataFrame:
        """How much more unequally a property is spread over units once they are trained, by layer.

        Parameters
        ----------
        name
            One of :attr:`properties`.

        Returns
        -------
        DataFrame
            As of :meth:`pruning`, for the measures ``gini`` and ``top_share``. Distilled is what has changes
            above 0.

        Raises
        ------
        UnknownNameError
            For a property that was not measured.
        """
        return self._changes(["gini", "top_share"], name)

    def _changes(self, measures: Sequence[str], name: str) -> pd.DataFrame:
        if name not in self.properties:
            raise unknown("property", name, list(self.properties))
        which, parts = self.properties.index(name), []
        for measure in measures:
            before, after = self[measure][..., which].astype(np.float64).transpose(1, 0, 2)
            change = after - before
            row = {"untrained": before.mean(0), "trained": after.mean(0), "change": change.mean(0)}
            if len(self) > 1:
                interval = inference.seed_interval(change)
                row |= {"low": interval.low, "high": interval.high}
            else:
                row |= {"low": np.nan, "high": np.nan}
            parts.append(pd.DataFrame({"measure": measure, "layer": self.layers, **row}))
        return pd.concat(parts, ignore_index=True)


# --- one network ----------------------------------------------------------------------------------


class Sample(NamedTuple):
    """What a layer's channels answer to each image, and what is there.

    `activations` is ``(n_images, n_channels)``; `properties` are by name ``(n_images,)``, the category among
    them, with NaN for images that have none.
    """

    layer: str
    activations: NDArray[np.float32]
    properties: dict[str, NDArray[Any]]


def windows(
    network: nn.Module, layers: Iterable[str], input_shape: tuple[int, int, int]
) -> dict[str, ReceptiveField | None]:
    """What the units of each layer see; None for the whole image.

    Parameters
    ----------
    network, input_shape
        As for :func:`rarefire.lowlevel.receptive_field`.
    layers
        Names, in the order of the layers; also ``"pooled"``, the one before it averaged over positions.
    """
    found: dict[str, ReceptiveField | None] = {}
    partial = True  # what is behind a layer that sees the whole image does too: it need not be looked for
    for layer in layers:
        found[layer] = None
        if partial and layer != _POOLED:
            with suppress(InputError):  # no positions, or windows that are not the same everywhere
                field = lowlevel.receptive_field(network, layer, input_shape)
                sides = zip(field.size, input_shape[1:], strict=True)
                found[layer] = field if all(size < side for size, side in sides) else None
        partial = found[layer] is not None
    return found


def sampled(
    network: nn.Module,
    images: Stimuli,
    fields: Mapping[str, ReceptiveField | None],
    *,
    category: NDArray[np.integer] | None = None,
    seed: int = 0,
    progress: bool = False,
) -> list[Sample]:
    """One answer of every channel to every image, with what is in the channel's window.

    Parameters
    ----------
    network
        Its layers are post-ReLU.
    images
        Shown in parts, of which all positions fit in memory.
    fields
        By layer, from :func:`windows`.
    category
        ``(n_images,)``; by default the labels.
    seed
        Of positions: the same for every network with these layers.
    progress
        Show a progress bar.
    """
    of = images.labels if category is None else np.asarray(category)
    whole = lowlevel.properties(images.images)
    inside = [layer for layer in fields if layer != _POOLED]
    parts: dict[str, list[tuple[NDArray[np.float32], dict[str, NDArray[Any]]]]] = {}
    starts = range(0, len(images), _BATCH)
    for start in tqdm(starts, desc="images", disable=not progress, leave=False):
        rows = np.arange(start, min(start + _BATCH, len(images)))
        shown = images.images[rows]
        streamed = embeddings.each(network, shown, layers=inside, spatial="keep")
        last = shown
        for place, (layer, field) in enumerate(fields.items()):
            last = last.mean(axis=(2, 3)) if layer == _POOLED else next(streamed)[1]
            rng = np.random.default_rng([seed, 9, place, start])
            parts.setdefault(layer, []).append(_one_each(last, shown, rows, field, rng))
    found = []
    for layer, pieces in parts.items():
        answers = np.concatenate([own for own, _ in pieces])
        there = {name: np.concatenate([own[name] for _, own in pieces]) for name in pieces[0][1]}
        image = there.pop("image")
        seen = there or {name: values[image] for name, values in whole.items()}
        ordered = {name: seen[name] for name in lowlevel.NAMES if name in seen}
        found.append(Sample(layer, answers, ordered | {CATEGORY: of[image]}))
    return found


def _one_each(
    values: NDArray[np.float32],
    shown: NDArray[np.float32],
    rows: NDArray[np.intp],
    field: ReceptiveField | None,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], dict[str, NDArray[Any]]]:
    """A layer's answers to some images, with their ``image`` and, where there are windows, what is there."""
    if values.ndim == 2:
        return values, {"image": rows}
    grid = (len(values), *values.shape[2:])
    at = dict(zip(("own", "row", "column"), np.indices(grid), strict=True))
    if field is not None:
        names = [n for n in lowlevel.NAMES[: 9 if shown.shape[1] == 3 else 7] if n != _SLOPE]
        at |= lowlevel.windowed(shown, **asdict(field), names=names)
    answers, there = lowlevel.samples(values, at, n_samples=len(values), rng=rng)
    own, *position = (there.pop(name).astype(np.intp) for name in ("own", "row", "column"))
    if field is not None:
        there[_SLOPE] = _slopes(shown[own], np.stack(position, axis=1), field)
    return answers, {**there, "image": rows[own]}


def _slopes(
    images: NDArray[np.float32], positions: NDArray[np.intp], field: ReceptiveField
) -> NDArray[np.float64]:
    """Of one window of each image: a Fourier transform of every window there is would take too long."""
    starts = positions * field.stride - field.padding
    stops = np.minimum(starts + field.size, images.shape[2:])
    starts = np.maximum(starts, 0)
    seen = [
        image[None, :, top:bottom, left:right]
        for image, (top, left), (bottom, right) in zip(images, starts, stops, strict=True)
    ]
    return np.concatenate([lowlevel.properties(one, names=[_SLOPE])[_SLOPE] for one in seen])


def _binned(values: NDArray[Any], n_bins: int) -> NDArray[np.intp]:
    """As :func:`rarefire.units.bins`; what is missing is a bin of its own."""
    there = np.isfinite(values)
    found = np.full(len(values), n_bins, dtype=np.intp)
    found[there] = units.bins(values[there], n_bins)
    return found


def _stimuli(sample: Sample, n_bins: int) -> dict[str, NDArray[np.intp]]:
    """What is asked of a layer's units: the properties that at least half of the images have, in bins."""
    asked = {
        name: _binned(values, n_bins)
        for name, values in sample.properties.items()
        if name != CATEGORY and np.isfinite(values).mean() >= 0.5
    }
    return asked | {CATEGORY: np.asarray(sample.properties[CATEGORY])}


def _beyond_chance(said: NDArray[np.integer], stimulus: NDArray[np.integer]) -> NDArray[np.float64]:
    raw = units.information(said, stimulus, corrected=False)
    return np.asarray(raw - units.expected_information(said, stimulus))


def _independent(
    said: NDArray[np.integer], category: NDArray[np.integer], given: NDArray[np.integer]
) -> NDArray[np.float64]:
    """As :func:`rarefire.units.independent_share`, of what is beyond chance; NaN where that is nothing.

    What is told of the category where the other is known is told within its bins, and so is chance: orders of
    all images would give too much to a unit that the other property decides.
    """
    within = [given == value for value in np.unique(given)]
    beyond = np.sum([rows.mean() * _beyond_chance(said[rows], category[rows]) for rows in within], axis=0)
    total = beyond + _beyond_chance(said, given)
    return np.asarray(np.divide(beyond, total, out=np.full(len(total), np.nan), where=total > SAME))


def measure_sample(
    sample: Sample,
    *,
    rng: np.random.Generator,
    n_bins: int = N_BINS,
    n_permutations: int = _PERMUTATIONS,
    progress: bool = False,
) -> dict[str, NDArray[Any]]:
    """The arrays of :class:`Information` for one layer of one network.

    Parameters
    ----------
    sample
        From :func:`sampled`.
    rng
        Source of the permutations.
    n_bins
        Of low-level properties. Those that are known where the category is asked for are in 5: with each
        class in 23, there would be a few images in a pair. What light says within a fifth is then counted as
        said by the category.
    n_permutations, progress
        As for :func:`rarefire.units.information_test`.
    """
    said, asked = units.responses(sample.activations), _stimuli(sample, n_bins)
    most = units.entropy(said)
    alive, rates = most > 0, (sample.activations == 0).mean(axis=0)
    test = units.information_test(said, asked, rng=rng, n_permutations=n_permutations, progress=progress)
    knows = dict(zip(asked, test.adjusted < _LEVEL, strict=True))
    nothing = np.full(len(sample.properties), np.nan)
    found: dict[str, Any] = {name: nothing.copy() for name in ("relative", "gini", "top_share", "informed")}
    for p, name in enumerate(sample.properties):
        if name in asked:
            summary = units.summary(_beyond_chance(said, asked[name]), most)
            found["relative"][p], found["gini"][p] = summary.relative, summary.gini
            found["top_share"][p] = summary.top_share
            found["informed"][p] = knows[name][alive].mean() if alive.any() else np.nan
    independent = []
    for name in ("luminance", "contrast"):
        given = _binned(sample.properties[name], _GIVEN_BINS)
        share = _independent(said, asked[CATEGORY], given)
        share = share[(knows[CATEGORY] | knows[name]) & np.isfinite(share)]
        independent.append(np.median(share) if len(share) else np.nan)
    return {
        **found,
        "independent": np.array(independent),
        "n_units": np.asarray(len(most)),
        "n_dead": np.asarray(np.count_nonzero(~alive)),
        "poz": np.asarray(rates.mean()),
        "entropy": np.asarray(np.median(most[alive]) if alive.any() else np.nan),
        "bound": np.asarray(np.median(units.poz_bound(rates[alive])) if alive.any() else np.nan),
    }


def measure_network(
    network: nn.Module,
    images: Stimuli,
    fields: Mapping[str, ReceptiveField | None],
    *,
    category: NDArray[np.integer] | None = None,
    n_bins: int = N_BINS,
    n_permutations: int = _PERMUTATIONS,
    seed: int = 0,
    progress: bool = False,
) -> dict[str, NDArray[Any]]:
    """The arrays of :class:`Information` for one network, which have the layer as their first axis.

    Parameters
    ----------
    network, images, fields, category, seed, progress
        As for :func:`sampled`.
    n_bins, n_permutations
        As for :func:`measure_sample`.
    """
    options: dict[str, Any] = {"category": category, "seed": seed, "progress": progress}
    samples = sampled(network, images, fields, **options)
    found = [
        measure_sample(
            one,
            rng=np.random.default_rng([seed, 10, place]),
            n_bins=n_bins,
            n_permutations=n_permutations,
            progress=progress,
        )
        for place, one in enumerate(tqdm(samples, desc="layers", disable=not progress, leave=False))
    ]
    arrays = {name: np.stack([one[name] for one in found]) for name in found[0]}
    return {
        **{n: a.astype(np.float32) if a.dtype == np.float64 else a for n, a in arrays.items()},
        "layer": np.array(list(fields)),
        "asked": np.array(list(samples[0].properties)),
        "window": np.array([(0, 0) if field is None else field.size for field in fields.values()]),
    }


#: The same for a network before and after its training.
_FIXED = ("layer", "asked", "window", "n_units")


def _together(
    pair: Iterable[nn.Module], images: Stimuli, fields: Mapping[str, ReceptiveField | None], **options: Any
) -> dict[str, NDArray[Any]]:
    """The arrays of an instance, of a network untrained and trained."""
    both = [measure_network(network, images, fields, **options) for network in pair]
    return {
        name: values if name in _FIXED else np.stack([one[name] for one in both])
        for name, values in both[0].items()
    }


# --- LeNets ---------------------------------------------------------------------------------------


def measure(
    images: str,
    *,
    seeds: Sequence[int] | None = None,
    jobs: int | None = None,
    use_shipped: bool = True,
    progress: bool = True,
) -> Information:
    """Measure LeNets before and after their training; compute only what is not known.

    Parameters
    ----------
    images
        Of :data:`SETTINGS`.
    seeds
        One network each; by default as many as are recorded.
    jobs
        Processes, one thread each; by default one for each processor core.
    use_shipped
        Whether the results shipped with the book count.
    progress
        Show progress bars.

    Raises
    ------
    UnknownNameError
        For images without a setting.
    """
    options: dict[str, Any] = {"jobs": jobs, "use_shipped": use_shipped, "progress": progress}
    options |= {"seeds": seeds or range(_setting(images).seeds), "about": "what units know"}
    return Information(record.measured_lenets("information", images, _facts(images), _measured, **options))


def known(images: str) -> Information | None:
    """What is known of LeNets, shipped or cached; None where that is nothing. Needs no data."""
    answers = record.known_lenets("information", images, _facts, seeds=range(_setting(images).seeds))
    return Information(answers) if answers else None


def by_images(profile: str = "default", *, instances: int | None = None) -> dict[str, Information]:
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
    if images not in SETTINGS:
        raise unknown("image set", images, list(SETTINGS))
    return SETTINGS[images]


def _facts(images: str) -> dict[str, Any]:
    setting, recipe = _setting(images), dimension.SETTINGS[images].recipe(images)
    return {
        **training.identity(images, "lenet5", recipe=recipe),
        "test_digest": stimuli.content_digest(images, "test"),
        "epochs": [dimension.EPOCHS[0], dimension.EPOCHS[-1]],
        "n_images": setting.n_images,
        "n_bins": setting.n_bins,
        "n_permutations": _PERMUTATIONS,
    }


def _measured(seed: int, train: Stimuli, test: Stimuli, images: str) -> tuple[int, dict[str, NDArray[Any]]]:
    with threadpool_limits(1), training.one_thread():
        pair, shown, fields = _lenets(train, test, images, seed)
        options = {"n_bins": _setting(images).n_bins, "n_permutations": _PERMUTATIONS, "seed": seed}
        found = _together(pair, shown, fields, **options)
    epochs = np.array([dimension.EPOCHS[0], dimension.EPOCHS[-1]])
    return seed, {**found, "left_out": np.array(LEFT_OUT), "epoch": epochs}


def _lenets(
    train: Stimuli, test: Stimuli, images: str, seed: int
) -> tuple[tuple[nn.Module, nn.Module], Stimuli, dict[str, ReceptiveField | None]]:
    """A LeNet untrained and trained, the images it is asked about, and what its units see."""
    through = list(dimension.through(train, dimension.SETTINGS[images].recipe(images), seed))
    shown = test.subset(test.spread(_setting(images).n_images))
    return (through[0], through[-1]), shown, windows(through[0], LAYERS, test.input_shape)


# --- ImageNet networks ----------------------------------------------------------------------------


def groups(labels: NDArray[np.integer]) -> NDArray[np.intp]:
    """Which of :data:`GROUPS` each of ImageNet's classes is in, the first that holds it.

    Parameters
    ----------
    labels
        ``(n_images,)``, in [0, 1000).

    Returns
    -------
    ndarray
        ``(n_images,)``, places in :data:`GROUPS`.

    Raises
    ------
    InputError
        For other labels.
    """
    given = np.asarray(labels)
    if given.ndim != 1 or given.dtype.kind not in "iu" or not ((given >= 0) & (given < 1000)).all():
        raise InputError(
            "labels must be ImageNet's classes, whole numbers from 0 to 999, one for each image; got "
            f"{given.dtype} {given.shape}."
        )
    held = [np.isin(given, np.concatenate([*parts])) for parts in GROUPS.values()]
    return np.asarray(np.argmax(held, axis=0))


def post_relu(network: nn.Module, images: NDArray[np.floating]) -> tuple[list[str], list[str]]:
    """Layers whose units can be silent, one for each step of a network's features, and those left out.

    Parameters
    ----------
    network
        As for :func:`rarefire.records.dimension.stages`.
    images
        ``(n, c, h, w)``, on which no output is negative.

    Returns
    -------
    layers
        Each step whose outputs are not negative, else the last ReLU in it, if any; and ``"pooled"``.
    left_out
        Steps whose own outputs are not measured, and the network's.

    Raises
    ------
    InputError
        If the network has no sequence of features, and where no step in it has a ReLU.
    """
    steps = dimension.stages(network, images[:1], most=math.inf)[1:-2]
    modules = dict(network.named_modules())
    inside: dict[str, str] = {}
    for step in steps:
        for name, module in modules[step].named_modules(prefix=step):
            if name != step and isinstance(module, nn.ReLU | nn.ReLU6):
                inside[step] = name
    wanted = [*steps, *inside.values()]
    positive = {name for name, a in embeddings.each(network, images, layers=wanted) if a.min() >= 0}
    candidates = [step if step in positive else inside.get(step, "") for step in steps]
    chosen = [layer for layer in candidates if layer in positive]
    if not chosen:
        raise InputError("no step of the network's features is post-ReLU: there is no silence to measure.")
    pooled = [_POOLED] if chosen[-1] == steps[-1] else []
    return [*chosen, *pooled], [*(step for step in steps if step not in chosen), "outputs"]


def measure_here(
    only: Sequence[str] = tuple(people_across.NETWORKS),
    *,
    twins: int = 1,
    use_shipped: bool = True,
    progress: bool = True,
) -> dict[str, Information]:
    """Measure the ImageNet networks that are on this machine, each beside untrained twins.

    Parameters
    ----------
    only
        Names of networks.
    twins
        Untrained networks beside each. An instance is a twin and the network itself, asked at other
        positions.
    use_shipped, progress
        As for :func:`measure`.

    Returns
    -------
    dict
        By network.

    Raises
    ------
    UnknownNameError
        For a name that is not there.
    DataError
        Where no network, or no photograph, is on this machine.
    """
    here = [name for name in only if people_across.ready(name)]
    if not here:
        raise DataError(
            f"no network of {', '.join(only)} is on this machine: set RAREFIRE_MIRROR to a folder with one."
        )
    found = {}
    for name in here:
        network, photographs = _from_here(name)

        def compute(
            missing: list[int], name: str = name, network: nn.Module = network, shown: Stimuli = photographs
        ) -> Iterator[tuple[int, dict[str, NDArray[Any]]]]:
            layers, left_out = post_relu(network, shown.images[:8])
            fields, kinds = windows(network, layers, shown.input_shape), groups(shown.labels)
            options: dict[str, Any] = {"category": kinds, "n_bins": N_BINS, "progress": progress}
            options["n_permutations"] = _PERMUTATIONS
            for twin in tqdm(missing, desc=name, disable=not progress):
                pair = dimension.untrained(network, twin, shown), network
                arrays = _together(pair, shown, fields, seed=twin, **options)
                yield twin, {**arrays, "left_out": np.array(left_out), "epoch": np.array([0, -1])}

        own = dimension.twin_facts(network, range(1, twins + 1))
        facts = _network_facts(name, network, photographs)
        what = f"{name}, what units know"
        answers = answer_each("information", facts, own, compute, use_shipped=use_shipped, what=what)
        found[name] = Information(tuple(answers.values()))
    return found


def known_network(name: str) -> Information | None:
    """What is shipped of an ImageNet network; None where that is nothing."""
    answers = shipped("information", network=name)
    ranked = sorted(answers, key=lambda answer: int(answer.provenance["facts"]["twin"]))
    return Information(tuple(ranked)) if ranked else None


def known_networks() -> dict[str, Information]:
    """What is shipped of ImageNet networks, by name, in the order of chapter 4."""
    found = {name: known_network(name) for name in people_across.NETWORKS}
    return {name: each for name, each in found.items() if each is not None}


def _from_here(name: str) -> tuple[nn.Module, Stimuli]:
    where = people_across.place(name)
    network = networks.build(where.name, weights=networks.local_weights(where.name))
    return network, labelled(stimuli.gallery(size=where.size))


def _network_facts(name: str, network: nn.Module, photographs: Stimuli) -> dict[str, Any]:
    return {
        "stimuli": stimuli.SAMPLE,
        "network": name,
        "weights_digest": networks.digest(network),
        "photographs": photographs.digest,
        "n_bins": N_BINS,
        "n_permutations": _PERMUTATIONS,
    }


# --- single units ---------------------------------------------------------------------------------


def sample(name: str, *, use_shipped: bool = True) -> Record | None:
    """What a page travels with: single units of the first instance of one of :data:`SHOWN`.

    Shipped, else cached, else computed; None where that is not possible here.

    Returns
    -------
    Record
        ``layer (L,)``, ``asked (P,)``; ``of (U,)``, each unit's layer, and ``channel (U,)``, at most
        :data:`SHOWN_UNITS` of each, evenly spaced; ``poz (2, U)``, untrained and trained; ``bits (2, P, U)``,
        information in 160ths of a bit, 255 where it is not measured.

    Raises
    ------
    UnknownNameError
        For a name that is not one of them.
    """
    if name not in SHOWN:
        raise unknown("network or image set", name, list(SHOWN))
    question = "information-units"
    if name in SETTINGS:
        if not stimuli.identifiable(name):
            return None

        def compute() -> dict[str, NDArray[Any]]:
            train, test = stimuli.load(name, "train"), stimuli.load(name, "test")
            pair, shown, fields = _lenets(train, test, name, 0)
            return _units(pair, shown, fields, n_bins=_setting(name).n_bins)

        at_hand = compute if stimuli.available(name) else None
        return answer_one(question, {**_facts(name), "seed": 0}, at_hand, use_shipped=use_shipped)
    there = shipped(question, network=name) if use_shipped else ()
    if there or not people_across.ready(name) or stimuli.gallery_root() is None:
        return Record(there[:1]) if there else None
    network, photographs = _from_here(name)

    def ask() -> dict[str, NDArray[Any]]:
        layers, _ = post_relu(network, photographs.images[:8])
        fields = windows(network, layers, photographs.input_shape)
        pair = dimension.untrained(network, 1, photographs), network
        kinds = groups(photographs.labels)
        return _units(pair, photographs, fields, category=kinds, n_bins=N_BINS, seed=1)

    facts = {**_network_facts(name, network, photographs), **dimension.twin_facts(network, [1])[1]}
    return answer_one(question, facts, ask, use_shipped=use_shipped)


def _units(
    pair: Iterable[nn.Module],
    images: Stimuli,
    fields: Mapping[str, ReceptiveField | None],
    *,
    n_bins: int,
    **options: Any,
) -> dict[str, NDArray[Any]]:
    """The arrays of :func:`sample`."""
    rates, bits, of, channels = [], [], [], []
    for network in pair:
        samples = sampled(network, images, fields, **options)
        chosen = [_spaced(one.activations.shape[1]) for one in samples]
        asked = [_stimuli(one, n_bins) for one in samples]
        said = [units.responses(s.activations[:, few]) for s, few in zip(samples, chosen, strict=True)]
        rates.append(np.concatenate([(own == 0).mean(axis=0) for own in said]))
        nothing = [np.full(len(few), np.nan) for few in chosen]
        known_ = [
            [_beyond_chance(own, each[name]) if name in each else no for name in samples[0].properties]
            for own, each, no in zip(said, asked, nothing, strict=True)
        ]
        bits.append(np.concatenate(known_, axis=1))
        of = [np.full(len(few), place, dtype=np.uint8) for place, few in enumerate(chosen)]
        channels = [few.astype(np.uint16) for few in chosen]
    stepped = np.rint(_STEPS * np.maximum(bits, 0))  # NaN stays NaN
    return {
        "layer": np.array(list(fields)),
        "asked": np.array(list(samples[0].properties)),
        "of": np.concatenate(of),
        "channel": np.concatenate(channels),
        "poz": np.array(rates, dtype=np.float16),
        "bits": np.where(np.isnan(stepped), 255, stepped).astype(np.uint8),
    }


def _spaced(n: int) -> NDArray[np.intp]:
    few = min(n, SHOWN_UNITS)
    return np.asarray(np.arange(few) * n // few)
