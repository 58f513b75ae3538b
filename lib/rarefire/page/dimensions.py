"""Figures of the chapter on dimension: through layers, over scales, through training, with fewer features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from rarefire.page.palette import LABELS
from rarefire.page.plots import panel, percent, spread
from rarefire.records.dimension import SHARES, Dimensions

__all__ = ["KEPT", "STATES", "kept_panels", "layer_panels", "scale_panels", "shapes", "training_panels"]

#: Whether a network is trained -> its colour.
STATES = {True: "low", False: "random"}
#: Order of the features -> its colour.
KEPT = {"low PoZ first": "low", "high PoZ first": "high", "random": "random"}


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
    panels, tables = [], []
    for name, each in found.items():
        title = LABELS.get(name, name)
        figure, axes = panel(2.3, 2.1, title=title)
        depth = np.linspace(0, 1, len(each.layers))
        for trained, colour in STATES.items():
            shown = np.asarray(each.state(each[values], trained=trained)[..., column], dtype=np.float64)
            if not len(shown):
                continue
            columns = {"depth": depth, **spread(axes, depth, shown, colour=colour)}
            of = {"network": title, "state": "trained" if trained else "untrained", "layer": each.layers}
            tables.append(pd.DataFrame({**of, **columns}))
        axes.set(xlabel="relative depth", ylabel=ylabel, xlim=(-0.02, 1.02))
        axes.set_ylim(bottom=0)
        panels.append(figure)
    return panels, pd.concat(tables, ignore_index=True)


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
    """A panel for each image set: TwoNN of some layers of LeNets after each epoch, and accuracy.

    Parameters
    ----------
    found
        By image set.
    layers
        Name -> colour.
    """
    panels, tables = [], []
    for name, each in found.items():
        title = LABELS.get(name, name)
        figure, axes = panel(2.3, 2.1, title=title)
        epochs = each.epoch[0].astype(float)
        x = np.arange(len(epochs))
        for layer, colour in layers.items():
            shown = np.asarray(each.two_nn[:, :, each.place(layer), 0], dtype=np.float64)
            columns = {"epoch": epochs, **spread(axes, x, shown, colour=colour)}
            tables.append(pd.DataFrame({"images": title, "layer": layer, **columns}))
        columns = {"epoch": epochs, "middle": np.median(each.accuracy, axis=0)}
        tables.append(pd.DataFrame({"images": title, "layer": "accuracy", **columns}))
        axes.set_xticks(x, [f"{e:.0f}" for e in epochs])
        axes.set(xlabel="epoch", ylabel="TwoNN")
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
