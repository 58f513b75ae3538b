"""Figures of the chapter on groups of layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike, NDArray

from rarefire import subnetworks
from rarefire.page.palette import COLOUR_MAP, COLOURS, LABELS
from rarefire.page.plots import panel, percent, spread
from rarefire.records.block_tests import Blocks
from rarefire.records.layer_choice import CHOSEN, NUMBERS, Choice
from rarefire.records.subnetworks import ORDERS, Maps

__all__ = [
    "DIFFER",
    "LEFT_OUT",
    "MEASURES",
    "features_panels",
    "left_out_panels",
    "map_panels",
    "power_panels",
    "redundant_panels",
    "short",
    "training_panel",
]

#: Measures of how far two layers are apart -> their colours; names as in the records.
MEASURES = {"gw": "low", "identity": "cosine", "cka": "high", "pearson": "mean", "cosine": "sd"}
#: What differs between planted groups, as in the record -> the title of a panel.
DIFFER = {"both": "both", "who": "who is where", "shape": "shape alone"}
#: Features that are left out of a layer -> their colour.
LEFT_OUT = dict(zip(ORDERS, ("high", "random", "low"), strict=True))


def short(layer: str) -> str:
    """A layer's name without what all layers of a network begin with."""
    return layer.removeprefix("network.").removeprefix("features.")


def map_panels(
    maps: Mapping[str, ArrayLike], *, layers: Mapping[str, Sequence[str]] | None = None, note: str = ""
) -> tuple[list[Figure], pd.DataFrame]:
    """A panel for each map of layers, with the outlines of its best contiguous groups.

    Parameters
    ----------
    maps
        Title -> ``(n_layers, n_layers)``, distances; the median over networks where there is one axis more.
    layers
        Title -> names, written beside the map where there are at most twelve; by default numbers.
    note
        Written below each.

    Returns
    -------
    panels
        Of each map from 0, dark, to its largest distance.
    numbers
        A row for each two layers.
    """
    panels, tables = [], []
    for title, given in maps.items():
        values = np.asarray(given, dtype=np.float64)
        values = np.median(values, axis=0) if values.ndim == 3 else values
        n = len(values)
        names = [short(name) for name in layers[title]] if layers else [str(i + 1) for i in range(n)]
        named = layers is not None and n <= 12
        figure, axes = panel(2.5 if named else 2.0, 2.3 if named else 2.0, title=title)
        axes.imshow(values, cmap=COLOUR_MAP, interpolation="none", vmin=0)
        found = subnetworks.best_blocks(values)
        for first, last in zip((0, *found.cuts), (*found.cuts, n), strict=True):
            for colour, width in (("black", 2.4), ("white", 1.2)):
                square = Rectangle(
                    (first - 0.5, first - 0.5), last - first, last - first, fill=False, lw=width, ec=colour
                )
                axes.add_patch(square)
        axes.set_xticks([])
        axes.set_yticks(range(n) if named else [], names if named else [], fontsize=6.5)
        axes.tick_params(length=0)
        if not named:
            axes.set_xlabel(f"{n} layers{', ' if note else ''}{note}")
        panels.append(figure)
        i, j = np.triu_indices(n, k=1)
        columns = {"first": np.array(names)[i], "second": np.array(names)[j], "distance": values[i, j]}
        tables.append(pd.DataFrame({"map": f"{title}{', ' if note else ''}{note}", **columns}))
    return panels, pd.concat(tables, ignore_index=True)


def power_panels(found: Blocks, *, null: str = "either") -> tuple[list[Figure], pd.DataFrame]:
    """A panel for each of :data:`DIFFER`: how often planted groups are found, by the noise of layers.

    Parameters
    ----------
    found
        Simulated networks.
    null
        ``"smooth"`` or ``"either"``, as in :meth:`rarefire.records.block_tests.Blocks.power`.
    """
    table = found.power()
    table = table[(table["statistic"] == "b") & (table["null"] == null)]
    panels = []
    for differ, title in DIFFER.items():
        figure, axes = panel(2.3, 2.1, title=title)
        for measure, colour in MEASURES.items():
            rows = table[(table["differ"] == differ) & (table["measure"] == measure)]
            error = np.abs(rows[["low", "high"]].to_numpy().T - rows["power"].to_numpy())
            style: dict[str, Any] = {"marker": "o", "markersize": 3, "linewidth": 1.3, "elinewidth": 0.8}
            axes.errorbar(rows["noise"], rows["power"], yerr=error, color=COLOURS[colour], **style)
        axes.set(xlabel="noise of a layer", ylabel="found", ylim=(-0.03, 1.03))
        percent(axes, "y")
        panels.append(figure)
    return panels, table.drop(columns=["statistic", "null"]).reset_index(drop=True)


def left_out_panels(found: Mapping[str, Maps], *, share: int = 0) -> tuple[list[Figure], pd.DataFrame]:
    """A panel for each network: what leaving features out does to each layer behind a ReLU.

    Parameters
    ----------
    found
        By name; trained.
    share
        Place in :data:`rarefire.records.subnetworks.SHARES`.
    """
    panels, tables = [], []
    for name, maps in found.items():
        title = LABELS.get(name, name)
        figure, axes = panel(2.3, 2.1, title=title)
        values = np.asarray(maps.without[..., share], dtype=np.float64)  # (I, L, 3)
        places = np.flatnonzero(np.isfinite(values).any(axis=(0, 2)))
        depth = places / (values.shape[1] - 1)
        for place, (order, colour) in enumerate(LEFT_OUT.items()):
            columns = spread(axes, depth, values[:, places, place], colour=colour)
            names = [short(maps.layers[p]) for p in places]
            tables.append(pd.DataFrame({"network": title, "layer": names, "left out": order, **columns}))
        axes.set(xlabel="relative depth", ylabel="GW² / chance", xlim=(-0.03, 1.03))
        axes.set_ylim(bottom=0)
        percent(axes, "y")
        panels.append(figure)
    return panels, pd.concat(tables, ignore_index=True)


def features_panels(found: Mapping[str, Choice]) -> tuple[list[Figure], pd.DataFrame]:
    """A panel for each network: accuracy of a readout of a few layers, chosen by groups or otherwise.

    Grey: the median of random choices, and 90 % of them.
    """
    panels, tables = [], []
    x = np.array(NUMBERS)
    ways = {"gw": "low", "cka": "high", "even": "mean", "last": "sd"}
    for name, choice in found.items():
        title = LABELS.get(name, name)
        figure, axes = panel(2.3, 2.1, title=title)
        low, middle, high = np.quantile(np.asarray(choice.drawn, dtype=np.float64), (0.05, 0.5, 0.95), axis=1)
        axes.fill_between(x, low, high, color=COLOURS["random"], alpha=0.25, linewidth=0)
        axes.plot(x, middle, color=COLOURS["random"], linewidth=1.2)
        tables.append(pd.DataFrame({"network": title, "chosen": "random", "layers": x, "accuracy": middle}))
        for way, colour in ways.items():
            y = np.asarray(choice.chosen[CHOSEN.index(way)], dtype=np.float64)
            axes.plot(x, y, color=COLOURS[colour], marker="o", markersize=2.8, linewidth=1.3)
            tables.append(pd.DataFrame({"network": title, "chosen": way, "layers": x, "accuracy": y}))
        axes.set(xlabel="layers", ylabel="accuracy")
        axes.set_xticks(x)
        percent(axes, "y")
        panels.append(figure)
    return panels, pd.concat(tables, ignore_index=True)


def redundant_panels(
    found: Mapping[str, tuple[NDArray[np.floating], NDArray[np.floating], float]],
) -> tuple[list[Figure], pd.DataFrame]:
    """A panel for each network: how far its steps move the geometry, and what is left without them.

    Parameters
    ----------
    found
        Title -> distances ``(n_steps,)``, accuracies without each ``(n_steps,)``, and of the whole network.
    """
    panels, tables = [], []
    for title, (moved, without, whole) in found.items():
        figure, axes = panel(2.3, 2.1, title=title)
        axes.axhline(whole, color=COLOURS["random"], linewidth=0.9, linestyle="--")
        axes.plot(moved, without, "o", color=COLOURS["low"], markersize=4.5, alpha=0.75, markeredgewidth=0)
        axes.set(xlabel="½GW that it moves", ylabel="accuracy without it", ylim=(-0.03, 1.03))
        axes.set_xlim(left=0)
        percent(axes, "y")
        panels.append(figure)
        tables.append(pd.DataFrame({"network": title, "moved": moved, "accuracy": without, "whole": whole}))
    return panels, pd.concat(tables, ignore_index=True)


def training_panel(
    history: Mapping[str, Sequence[float]], steps: Mapping[str, int]
) -> tuple[Figure, pd.DataFrame]:
    """Accuracy on what was shown and on the rest, through training.

    Parameters
    ----------
    history, steps
        Of :class:`rarefire.sequences.Fitted`; the steps at which networks were kept are marked.
    """
    figure, axes = panel(2.6, 2.1, title="accuracy")
    table = pd.DataFrame({name: history[name] for name in ("step", "train_accuracy", "test_accuracy")})
    for name, colour in (("train_accuracy", "low"), ("test_accuracy", "high")):
        axes.plot(table["step"], table[name], color=COLOURS[colour], linewidth=1.4)
    for at in steps.values():
        axes.axvline(max(at, 1), color=COLOURS["random"], linewidth=0.8, linestyle=":")
    axes.set(xlabel="step", ylim=(-0.03, 1.03))
    percent(axes, "y")
    return figure, table
