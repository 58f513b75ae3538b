"""Figures of the chapter on dimension and single units, and what their captions count."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from rarefire.errors import InputError, unknown
from rarefire.page.palette import LABELS
from rarefire.page.plots import panel, percent, spread
from rarefire.records import gradient
from rarefire.records.dimension import SHARES, Dimensions
from rarefire.records.gradient import Gradients
from rarefire.records.information import CATEGORY, Information
from rarefire.records.rank import Ranks

__all__ = [
    "CONDITIONS",
    "KEPT",
    "PROPERTIES",
    "STATES",
    "change_panels",
    "changes",
    "kept_panels",
    "layer_panels",
    "light_panels",
    "rank_panels",
    "remaining",
    "scale_panels",
    "shapes",
    "training_panels",
    "unit_panels",
]

#: Whether a network is trained -> its colour.
STATES = {True: "low", False: "random"}
#: Order of the features -> its colour.
KEPT = {"low→high PoZ": "low", "high→low PoZ": "high", "random order": "random"}
#: What networks of the toy were trained on, in the order of :data:`rarefire.records.gradient.CONDITIONS` ->
#: its colour.
CONDITIONS = {"images as they are": "low", "with amounts of light": "high", "with shuffled labels": "entropy"}
#: What units are asked about -> its title.
PROPERTIES = {
    "luminance": "luminance",
    "contrast": "contrast",
    "energy_0": "orientation 0°",
    "energy_45": "orientation 45°",
    "energy_90": "orientation 90°",
    "energy_135": "orientation 135°",
    "spectral_slope": "spectral slope",
    "red_green": "red–green",
    "blue_yellow": "blue–yellow",
    CATEGORY: "category",
}


def layer_panels(
    found: Mapping[str, Dimensions], *, values: str = "two_nn", column: int = 0, ylabel: str
) -> tuple[list[Figure], pd.DataFrame]:
    """A panel for each network: something about its layers, trained and untrained.

    Parameters
    ----------
    found
        By name, of a network or an image set.
    values, column
        Array of :class:`rarefire.records.dimension.Dimensions`, and which of its last axis.
    ylabel
        Of all panels.

    Returns
    -------
    panels
        Line: median over networks; shade: the range of all. Over relative depth, the images at 0 and the
        outputs at 1.
    numbers
        A row for each network, state and layer.
    """

    def values_of(each: Dimensions, trained: bool) -> NDArray[Any]:
        return each.state(each[values], trained=trained)[..., column]

    return _state_panels(found, values_of, ylabel)


def scale_panels(
    found: Mapping[str, Dimensions], layers: Mapping[str, Sequence[str]]
) -> tuple[list[Figure], pd.DataFrame]:
    """A panel for each network: TwoNN of some layers by how many images there are, trained.

    Parameters
    ----------
    found
        By name.
    layers
        By name, which are drawn, from the first, light, to the last, dark.
    """
    panels, tables = [], []
    for name, each in found.items():
        title = LABELS.get(name, name)
        figure, axes = panel(2.3, 2.1, title=title)
        points = each.points[0].astype(float)
        shades = mpl.colormaps["viridis"](np.linspace(0.85, 0.1, len(layers[name])))
        for layer, ink in zip(layers[name], shades, strict=True):
            place = each.place(layer)
            shown = np.asarray(each.state(each.two_nn, trained=True)[:, place], dtype=np.float64)
            error = np.asarray(each.state(each.se, trained=True)[:, place], dtype=np.float64)
            middle = np.median(shown, axis=0)
            axes.errorbar(
                points,
                middle,
                yerr=np.median(error, axis=0),
                color=mpl.colors.to_hex(ink),
                marker="o",
                markersize=2.6,
                linewidth=1.2,
            )
            columns = {"points": points, "middle": middle, "se": np.median(error, axis=0)}
            tables.append(pd.DataFrame({"network": title, "layer": layer, **columns}))
        axes.set(xscale="log", xlabel="images", ylabel="TwoNN")
        axes.set_xticks(points, [f"{n:.0f}" for n in points])
        axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
        axes.set_ylim(bottom=0)
        panels.append(figure)
    return panels, pd.concat(tables, ignore_index=True)


def training_panels(
    found: Mapping[str, Dimensions], layers: Mapping[str, str]
) -> tuple[list[Figure], pd.DataFrame]:
    """Two rows, a panel for each image set: TwoNN of some layers after each epoch; their PoZ, and accuracy.

    Parameters
    ----------
    found
        By image set.
    layers
        Name -> colour.
    """
    panels, tables = [], []
    for what in ("TwoNN", "PoZ"):
        for name, each in found.items():
            title = LABELS.get(name, name)
            figure, axes = panel(2.3, 2.1, title=title)
            epochs = each.epoch[0].astype(float)
            x = np.arange(len(epochs))
            values = each.two_nn if what == "TwoNN" else each.silent
            for layer, colour in layers.items():
                shown = np.asarray(values[:, :, each.place(layer), 0], dtype=np.float64)
                if np.isnan(shown).all():
                    continue
                columns = {"epoch": epochs, **spread(axes, x, shown, colour=colour)}
                tables.append(pd.DataFrame({"images": title, "of": what, "layer": layer, **columns}))
            if what == "PoZ":
                right = np.asarray(each.accuracy, dtype=np.float64)
                columns = {"epoch": epochs, **spread(axes, x, right, colour="bound", points=False)}
                tables.append(pd.DataFrame({"images": title, "of": "accuracy", "layer": "", **columns}))
                axes.set_ylim(top=1.02)
                percent(axes, "y")
            axes.set_xticks(x, [f"{e:.0f}" for e in epochs])
            axes.set(xlabel="epoch", ylabel="TwoNN" if what == "TwoNN" else "PoZ; accuracy")
            axes.set_ylim(bottom=0)
            panels.append(figure)
    return panels, pd.concat(tables, ignore_index=True)


def kept_panels(
    found: Mapping[str, Dimensions], *, column: int = 0, ylabel: str
) -> tuple[list[Figure], pd.DataFrame]:
    """A panel for each network: the dimension of a share of the penultimate features, trained.

    Parameters
    ----------
    found
        By name.
    column
        0: TwoNN; 1: participation ratio.
    ylabel
        Of all panels.
    """
    panels, tables = [], []
    x = np.asarray(SHARES)
    for name, each in found.items():
        title = LABELS.get(name, name)
        figure, axes = panel(2.3, 2.1, title=title)
        kept = np.asarray(each.state(each.kept, trained=True)[..., column], dtype=np.float64)  # (I, 7, T)
        lines = (kept[:, 0], kept[:, 1], kept[:, 2:].mean(axis=1))
        for (order, colour), y in zip(KEPT.items(), lines, strict=True):
            columns = {"share": x, **spread(axes, x, y, colour=colour)}
            tables.append(pd.DataFrame({"network": title, "order": order, **columns}))
        axes.set(xlabel="share of features kept", ylabel=ylabel, xlim=(0, 1.02))
        axes.set_ylim(bottom=0)
        percent(axes, "x")
        panels.append(figure)
    return panels, pd.concat(tables, ignore_index=True)


def remaining(found: Mapping[str, Dimensions], order: str, share: float) -> dict[str, float]:
    """How much of the dimension of all penultimate features some of them have; TwoNN, trained.

    Parameters
    ----------
    found
        By name.
    order
        A key of :data:`KEPT`.
    share
        Of :data:`rarefire.records.dimension.SHARES`, the features that come first.

    Returns
    -------
    dict
        By name, the median over networks; NaN where it is undefined in any.

    Raises
    ------
    InputError
        For a share that was not measured.
    UnknownNameError
        For another order.
    """
    if share not in SHARES:
        raise InputError(f"share is one of {', '.join(map(str, SHARES))}; got {share}.")
    left = {}
    for name, each in found.items():
        kept = np.asarray(each.state(each.kept, trained=True)[..., 0], dtype=np.float64)  # (I, 7, T)
        lines = dict(zip(KEPT, (kept[:, 0], kept[:, 1], kept[:, 2:].mean(axis=1)), strict=True))
        if order not in lines:
            raise unknown("order", order, list(KEPT))
        left[name] = float(np.median(lines[order][:, SHARES.index(share)] / kept[:, 0, -1]))
    return left


def light_panels(found: Mapping[str, Gradients]) -> tuple[list[Figure], pd.DataFrame]:
    """Two panels for each image set: the dimension at a wide scale, and what units know of light, by layer.

    Parameters
    ----------
    found
        By image set.
    """
    panels, tables = [], []
    for name, each in found.items():
        title = LABELS.get(name, name)
        for what, values in (("dimension, wide scale", each.wide), ("I/H about luminance", each.told)):
            figure, axes = _by_layer(each.layers, title=title)
            for c, (condition, colour) in enumerate(CONDITIONS.items()):
                shown = np.asarray(values[:, c, 1], dtype=np.float64)
                tables.append(_line(axes, each.layers, shown, colour, images=title, of=what, to=condition))
            if what.startswith("I/H"):
                before = np.asarray(values[:, gradient.CONDITIONS.index("gradient"), 0], dtype=np.float64)
                line = _line(axes, each.layers, before, "random", images=title, of=what, to="untrained")
                tables.append(line)
            axes.set_ylabel(what)
            axes.set_ylim(bottom=0)
            panels.append(figure)
    return panels, pd.concat(tables, ignore_index=True)


def unit_panels(found: Mapping[str, Information], what: str) -> tuple[list[Figure], pd.DataFrame]:
    """A panel for each network: what the median unit knows of a property, by layer, trained and untrained.

    Parameters
    ----------
    found
        By name.
    what
        The property; or ``"beyond luminance"``, ``"beyond contrast"``: the share of what the median unit
        tells of the category that it tells also where the other is known.
    """
    beyond = {"beyond luminance": 0, "beyond contrast": 1}

    def told(each: Information, trained: bool) -> NDArray[Any]:
        if what in beyond:
            return each.independent[:, int(trained), :, beyond[what]]
        return each.relative[:, int(trained), :, each.properties.index(what)]

    return _state_panels(found, told, "share" if what in beyond else "I/H")


def changes(found: Mapping[str, Information]) -> pd.DataFrame:
    """What training does to the last hidden layer's units, property by property; means over networks.

    Parameters
    ----------
    found
        By name.

    Returns
    -------
    DataFrame
        A row for each network and property: ``network``, ``property``; ``pruning``, the change of the median
        I/H, and ``distillation``, that of Gini's coefficient, trained less untrained; ``agree``, whether all
        instances have the sign of ``pruning``. NaN where a property is not measured in that layer.
    """
    rows = []
    for name, each in found.items():
        for p, what in enumerate(each.properties):
            told, unequal = (
                np.asarray(values[:, 1, -1, p] - values[:, 0, -1, p], dtype=np.float64)
                for values in (each.relative, each.gini)
            )
            row: dict[str, Any] = {"network": name, "property": what}
            row |= {"pruning": told.mean(), "distillation": unequal.mean()}
            rows.append(row | {"agree": bool((np.sign(told) == np.sign(told.mean())).all())})
    return pd.DataFrame(rows)


def change_panels(table: pd.DataFrame) -> list[Figure]:
    """Two panels of numbers, for pruning and distillation: properties down, networks across.

    Parameters
    ----------
    table
        From :func:`changes`.
    """
    panels = []
    for column, title in (("pruning", "I/H"), ("distillation", "Gini’s coefficient")):
        there = set(table["property"])
        square = table.pivot_table(column, "property", "network", dropna=False).reindex(
            index=[p for p in PROPERTIES if p in there], columns=list(dict.fromkeys(table["network"]))
        )
        height = 0.8 + 0.22 * len(square)
        figure, axes = panel(1.4 + 0.42 * len(square.columns), height + 0.9, title=f"change of {title}")
        most = float(np.nanmax(np.abs(square.to_numpy())))
        axes.imshow(square.to_numpy(), cmap="PuOr_r", vmin=-most, vmax=most, aspect="auto")
        for (i, j), value in np.ndenumerate(square.to_numpy()):
            if np.isfinite(value):
                ink = "white" if abs(value) > 0.6 * most else "black"
                text = f"{round(value, 2) + 0:+.2f}".replace("-", "−").replace("0.", ".", 1)
                text = ".00" if text == "+.00" else text
                axes.text(j, i, text, ha="center", va="center", fontsize=6.5, color=ink)
        axes.set_yticks(range(len(square)), [PROPERTIES[p] for p in square.index])
        names = [LABELS.get(n, n) for n in square.columns]
        axes.set_xticks(range(len(names)), names, rotation=60, ha="right", rotation_mode="anchor")
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
        panels.append(figure)
    return panels


def rank_panels(found: Mapping[str, Ranks]) -> tuple[list[Figure], pd.DataFrame]:
    """Two panels for each image set: rank around an image beside what fires; cosines of pairs of features.

    Parameters
    ----------
    found
        By image set.
    """
    panels, tables = [], []
    for name, each in found.items():
        title = LABELS.get(name, name)
        figure, axes = _by_layer(each.layers, title=title)
        lines = [("rank", each.rank, 1, "low"), ("rank, untrained", each.rank, 0, "random")]
        for what, values, state, colour in (*lines, ("features that fire", each.fires, 1, "high")):
            shown = values[:, state].mean(axis=1).astype(np.float64)
            tables.append(_line(axes, each.layers, shown, colour, images=title, of=what))
        axes.set(yscale="log", ylabel="rank; features that fire")
        panels.append(figure)
        figure, axes = _by_layer(each.layers, title=title)
        for what, state, colour in (("cosine", 1, "low"), ("cosine, untrained", 0, "random")):
            shown = np.asarray(each.features[:, state], dtype=np.float64)
            tables.append(_line(axes, each.layers, shown, colour, images=title, of=what))
        chance = np.asarray(each.chance[:, :, 0], dtype=np.float64)
        tables.append(_line(axes, each.layers, chance, "bound", images=title, of="cosine by chance"))
        axes.set_ylabel("cosine of two features (RMS)")
        axes.set_ylim(bottom=0)
        panels.append(figure)
    return panels, pd.concat(tables, ignore_index=True)


def _state_panels(
    found: Mapping[str, Any], values_of: Callable[[Any, bool], NDArray[Any]], ylabel: str
) -> tuple[list[Figure], pd.DataFrame]:
    """A panel for each network, lines over relative depth; a state of which there is nothing has none."""
    panels, tables = [], []
    for name, each in found.items():
        title = LABELS.get(name, name)
        figure, axes = panel(2.3, 2.1, title=title)
        depth = np.linspace(0, 1, len(each.layers))
        for trained, colour in STATES.items():
            shown = np.asarray(values_of(each, trained), dtype=np.float64)
            if not len(shown):
                continue
            columns = {"depth": depth, **spread(axes, depth, shown, colour=colour)}
            of = {"network": title, "state": "trained" if trained else "untrained", "layer": each.layers}
            tables.append(pd.DataFrame({**of, **columns}))
        axes.set(xlabel="relative depth", ylabel=ylabel, xlim=(-0.02, 1.02))
        axes.set_ylim(bottom=0)
        panels.append(figure)
    return panels, pd.concat(tables, ignore_index=True)


def _by_layer(layers: Sequence[str], *, title: str) -> tuple[Figure, Axes]:
    figure, axes = panel(2.6, 2.4, title=title)
    axes.set_xticks(range(len(layers)), layers, rotation=90)
    return figure, axes


def _line(
    axes: Axes, layers: Sequence[str], values: NDArray[np.float64], colour: str, **of: str
) -> pd.DataFrame:
    """Draw ``(I, L)`` over layers; what is not measured in a layer is bridged."""
    some = np.isfinite(values).any(axis=0)
    columns = spread(axes, np.flatnonzero(some), values[:, some], colour=colour)
    return pd.DataFrame({**of, "layer": np.array(layers)[some], **columns})


def shapes(found: Mapping[str, Dimensions]) -> pd.DataFrame:
    """Where TwoNN is largest, and how that stands to both ends; medians over networks.

    Parameters
    ----------
    found
        By name.

    Returns
    -------
    DataFrame
        A row for each network and state: ``network`` (its key), ``trained``; ``input``, ``hidden`` (the last
        layer before the outputs) and ``outputs``; ``peak``, its ``layer`` and relative ``depth``; ``hump``,
        the peak over the larger of input and last hidden layer; ``flat``, the largest over the smallest of
        all layers but the outputs.
    """
    rows = []
    for name, each in found.items():
        for trained in STATES:
            values = each.state(each.two_nn, trained=trained)[..., 0]
            if not len(values):
                continue
            line = np.median(values, axis=0).astype(float)
            inner = line[:-1]
            best = int(np.argmax(inner))
            row: dict[str, Any] = {"network": name, "trained": trained}
            row |= {"input": line[0], "hidden": line[-2], "outputs": line[-1]}
            row |= {"peak": inner[best], "layer": each.layers[best], "depth": best / (len(line) - 1)}
            row |= {"hump": inner[best] / max(line[0], line[-2]), "flat": inner.max() / inner.min()}
            rows.append(row)
    return pd.DataFrame(rows)
