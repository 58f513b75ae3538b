"""What this project measured of what others say on dimension, and on what single units know.

:func:`dimensions` gives findings for the claims of ``data/claims/dimension.csv``, to be set beside them by
:func:`rarefire.page.scorecard.verdicts`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rarefire import stimuli
from rarefire.errors import InputError, unknown
from rarefire.page import claims
from rarefire.page.scorecard import Finding, lacking
from rarefire.records.dimension import Dimensions
from rarefire.records.gradient import CONDITIONS, Gradients
from rarefire.records.information import CATEGORY, SETTINGS, Information
from rarefire.records.rank import Ranks

__all__ = ["dimensions"]

_GROUP = "dimension"  # of claims
_BEFORE, _AFTER = 0, 1  # training, in records of both

#: By claim and way of reading, a value for each network.
_Values = dict[tuple[str, str], NDArray[np.float64]]


def dimensions(
    sets: Mapping[str, Dimensions],
    networks: Mapping[str, Dimensions],
    *,
    gradients: Mapping[str, Gradients],
    ranks: Mapping[str, Ranks],
    information: Mapping[str, Information],
) -> Iterator[Finding]:
    """Findings on what others say about dimension, and about what single units know.

    Parameters
    ----------
    sets
        LeNets by image set, through their training. What is said of larger networks is read from them too,
        beyond what it is about.
    networks
        ImageNet networks by name, with untrained twins. Each counts once: a value is of the median over its
        instances, and NaN where it lacks a twin that the claim is about.
    gradients, ranks
        LeNets by image set.
    information
        LeNets by image set (:data:`rarefire.records.information.SETTINGS`), ImageNet networks by name.

    Yields
    ------
    Finding
        And one without a value for each image set that a claim is about and of which nothing is given.

    Raises
    ------
    InputError
        Where LeNets were not measured before training and after its first epoch.
    UnknownNameError
        Where a layer or a property that a claim is about was not measured.
    """
    found = [f for name, each in sets.items() for f in _of_lenets(name, each)]
    found += _over_networks({name: _shape(each, together=True) for name, each in networks.items()})
    found += [f for name, each in gradients.items() for f in _of_light(name, each)]
    found += [Finding("rank-grows", name, float(each.grows())) for name, each in ranks.items()]
    told = {name: _told(each) for name, each in information.items()}
    found += [f for name, each in told.items() if name in SETTINGS for f in _of(name, each)]
    found += _over_networks({name: each for name, each in told.items() if name not in SETTINGS})
    yield from found
    yield from lacking(found, _GROUP)


def _of(name: str, values: _Values) -> Iterator[Finding]:
    for (claim, convention), each in values.items():
        yield Finding(claim, name, each, convention)


def _over_networks(found: Mapping[str, _Values]) -> Iterator[Finding]:
    """A finding with a value for each network: the median over its instances."""
    count = f"{len(found)} network{'s' * (len(found) != 1)}"
    for claim, convention in next(iter(found.values()), {}):
        values = [float(np.median(each[claim, convention])) for each in found.values()]
        yield Finding(claim, stimuli.SAMPLE, values, f"{count}, {convention}" if convention else count)


def _shape(found: Dimensions, *, together: bool = False) -> _Values:
    """How dimension changes through layers, trained and untrained; `together`, of medians over instances."""

    def through(values: NDArray[Any], *, trained: bool) -> NDArray[np.float64]:
        line = np.asarray(found.state(values, trained=trained), dtype=np.float64)  # (I, L)
        if together and len(line):
            return np.asarray(np.median(line, axis=0, keepdims=True))
        return np.full((1, line.shape[1]), np.nan) if together else line

    after, before = (through(found.two_nn[..., 0], trained=trained) for trained in (True, False))
    straight = (through(found.linear[..., 0], trained=trained) for trained in (False, True))
    images, hidden, inner = after[:, 0], after[:, -2], after[:, 1:-2].max(axis=1)
    place = after.argmax(axis=1) / (after.shape[1] - 1)
    return {
        ("id-hump", ""): np.log(inner / np.maximum(images, hidden)),
        ("id-peak", ""): after.max(axis=1) / images,
        ("id-place", ""): np.where(np.isnan(after).any(axis=1), np.nan, place),
        ("id-last", ""): hidden / images,
        **{("id-untrained", way): values for way, values in _flat(before).items()},
        ("id-learned", ""): np.log(inner / before[:, 1:-2].max(axis=1)),
        ("pc-untrained", ""): _ratio(*(line.max(axis=1) - line[:, 0] for line in straight)),
    }


def _flat(lines: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Largest over smallest dimension. So few outputs as a LeNet's cannot span what other layers do."""
    ways = {"without the outputs": lines[:, :-1], "with the outputs": lines}
    return {way: some.max(axis=1) / some.min(axis=1) for way, some in ways.items()}


def _of_lenets(name: str, found: Dimensions) -> Iterator[Finding]:
    epochs = found.epoch[0].tolist()
    if not {0, 1} <= set(epochs):
        raise InputError(
            f"{name}: dimensions before training and after its first epoch are needed; measured after "
            f"{', '.join(map(str, epochs))}."
        )
    line = np.asarray(found.two_nn[..., 0], dtype=np.float64)  # (I, E, L)
    hidden, last = line[:, :, found.place("relu4")], line[:, -1]
    untrained, first = (epochs.index(epoch) for epoch in (0, 1))
    highest = last.max(axis=1) / last[:, 0]
    own: _Values = {
        ("mnist-images", ""): last[:1, 0],  # the same for all networks
        ("mnist-no-hump", ""): highest,
        ("mnist-outputs", ""): last[:, found.place("fc3")] / last[:, 0],
    }
    known = claims.of_others()
    yield from _of(name, {key: values for key, values in own.items() if known[key[0]].is_about(name)})
    training: _Values = {
        **{("training-untrained", way): values for way, values in _flat(line[:, untrained]).items()},
        ("training-first", ""): hidden[:, first] / hidden[:, untrained],
        ("training-back", ""): hidden[:, -1] / hidden[:, first],
        ("training-rise", ""): highest,
    }
    yield from _of(name, training | _shape(found))


def _of_light(name: str, found: Gradients) -> Iterator[Finding]:
    def at(values: NDArray[Any], condition: str, layer: str, state: int = _AFTER) -> NDArray[np.float64]:
        if layer not in found.layers:
            raise unknown("layer", layer, list(found.layers))
        place = CONDITIONS.index(condition), state, found.layers.index(layer)
        return np.asarray(values[:, *place], dtype=np.float64)

    def light(layer: str) -> NDArray[np.float64]:
        return at(found.wide, "gradient", layer)

    def shuffled(layer: str) -> NDArray[np.float64]:
        return at(found.two_nn, "shuffled", layer) / at(found.two_nn, "original", layer)

    told = (at(found.told, "gradient", "relu4", state) for state in (_BEFORE, _AFTER))
    values: _Values = {
        ("light-images", ""): light("input") / at(found.wide, "original", "input"),
        ("light-jump", "before its ReLU"): light("conv2") / light("pool1"),
        ("light-jump", "after its ReLU"): light("relu2") / light("pool1"),
        ("light-ends", ""): light("fc3") / at(found.wide, "original", "fc3"),
        ("light-pruned", ""): np.subtract(*told),
        ("shuffled-hidden", ""): shuffled("relu4"),
        ("shuffled-outputs", ""): shuffled("fc3"),
    }
    yield from _of(name, values)


def _told(found: Information) -> _Values:
    """What single units know, trained and untrained, first layer and last."""
    absent = {"luminance", "contrast", CATEGORY} - set(found.properties)
    if absent:
        raise unknown("property", min(absent), list(found.properties))
    low = [p for p, name in enumerate(found.properties) if name != CATEGORY]
    relative, gini, beyond = (
        np.asarray(values, dtype=np.float64) for values in (found.relative, found.gini, found.independent)
    )
    trained = relative[:, _AFTER]
    luminance, contrast = (trained[..., found.properties.index(name)] for name in ("luminance", "contrast"))
    unexplained = beyond[:, _AFTER, :, 0]  # by luminance
    pruned = relative[:, _BEFORE, -1] - relative[:, _AFTER, -1]
    distilled = gini[:, _AFTER, -1] - gini[:, _BEFORE, -1]
    return {
        ("luminance-halves", ""): _ratio(luminance[:, -1], luminance[:, 0]),
        ("beyond-luminance", ""): _ratio(unexplained[:, -1], unexplained[:, 0]),
        ("contrast-falls", ""): contrast[:, 0] - contrast[:, -1],
        ("prunes", ""): _mean(pruned[:, low]),
        ("distils", ""): _mean(distilled[:, low]),
    }


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    """NaN where there is nothing, or less than chance, to compare with."""
    found = np.full(len(above), np.nan)
    np.divide(above, below, out=found, where=below > 0)
    return found


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Over the properties that are measured, NaN where none is."""
    there = np.isfinite(values)
    return _ratio(np.where(there, values, 0).sum(axis=1), there.sum(axis=1).astype(np.float64))
