"""Arrays -> panels: small matplotlib figures in the book's style. Nothing is computed here but positions."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from rarefire import store
from rarefire.curves import Curve, enough
from rarefire.errors import InputError
from rarefire.page.frame import enumerated, listed, signed, span
from rarefire.page.palette import COLOUR_MAP, COLOURS, INK, LABELS, style

if TYPE_CHECKING:
    from rarefire.records.ensembles import Ensemble
    from rarefire.records.ghosts import Reading
    from rarefire.records.ghosts_by_class import ClassGhosts
    from rarefire.records.people import Prediction
    from rarefire.records.pruned import Pruned, Units

__all__ = [
    "ARROWS",
    "CONTROLS",
    "LEFT",
    "ORDERS",
    "PRUNED",
    "RANKED",
    "SHARES",
    "across_panels",
    "control_panels",
    "cumulative_share",
    "curve_panels",
    "curves",
    "ghost_panels",
    "histogram",
    "layer_panels",
    "left_panels",
    "medians",
    "medians_span",
    "nested_panels",
    "panel",
    "people_panels",
    "percent",
    "picture",
    "prediction_panel",
    "pruned_panels",
    "rates_panels",
    "rdm_panel",
    "rdm_with_images",
    "save_curve",
    "save_people",
    "spread",
    "strips",
    "summary",
    "unit_panels",
]

_DASHED = (0, (4, 1.5))
_DASHES = {"mean": _DASHED, "sd": (0, (6, 1.5, 1, 1.5)), "entropy": (0, (1.5, 1))}  # beside colour

#: What comes first -> the order of PoZ, and the legend of both orders.
ARROWS = {"low": "low→high", "high": "high→low"}
ORDERS = {f"{arrow} PoZ": first for first, arrow in ARROWS.items()}
#: Ways of leaving features out, as :func:`across_panels` shows them: legend -> reading, colour.
CONTROLS = {
    "left out, Pearson (95 %)": ("removed", "low"),
    "cosine": ("cosine", "cosine"),
    "silenced": ("silenced", "mean"),
    "PoZ from other images": ("elsewhere", "high"),
}
#: Methods of pruning and orders of units -> their colours.
PRUNED = {
    "imp": "peak",
    "lrr": "high",
    "one-shot": "sd",
    "trim": "low",
    "random": "random",
    "reinitialised": "entropy",
    "again": "again",
    "on": "bound",
    "seed": "cosine",
}
RANKED = {
    "poz": "low",
    "mean": "mean",
    "sd": "sd",
    "entropy": "entropy",
    "norm": "ours",
    "taylor": "high",
    "ablation": "peak",
    "random": "random",
}
#: What is drawn by the units that are left -> its colour.
LEFT = {
    "units left out by PoZ, not trained again": "high",
    "units left out at random": "random",
    "trim units by PoZ, trained on": "low",
    "trained on, nothing pruned": "bound",
}
#: Limits of a panel whose axes are both of shares.
SHARES = {"x": (0.0, 1.0), "y": (0.0, 1.0)}


def panel(width: float = 2.1, height: float = 2.05, *, title: str = "") -> tuple[Figure, Axes]:
    """An empty panel of `width` × `height` inches in the book's style."""
    with style():
        figure = Figure(figsize=(width, height))
        axes = figure.add_subplot()
        axes.set_title(title)
    return figure, axes


def curves(
    axes: Axes,
    x: ArrayLike,
    y: ArrayLike,
    *,
    colour: str,
    singles: bool = True,
) -> None:
    """Median over instances, the band that holds 90 % of them, and every single instance.

    Parameters
    ----------
    x, y
        ``(n_steps,)`` and ``(n_instances, n_steps)``; NaN where a curve is undefined. The median
        and the band are drawn where at least half of the instances are defined.
    colour
        A name in :data:`~rarefire.page.palette.COLOURS`.
    """
    x, y = np.asarray(x, dtype=float), np.atleast_2d(np.asarray(y, dtype=float))
    ink = COLOURS[colour]
    shown = enough(np.isfinite(y).sum(axis=0), len(y))
    low, middle, high = np.nanquantile(y[:, shown], [0.05, 0.5, 0.95], axis=0)
    if singles:
        for row in y:
            axes.plot(x, row, color=ink, alpha=0.25, linewidth=0.5)
    axes.fill_between(x[shown], low, high, color=ink, alpha=0.18, linewidth=0)
    axes.plot(x[shown], middle, color=ink)


def curve_panels(
    sets: Mapping[str, tuple[ArrayLike, Mapping[str, ArrayLike]]],
    *,
    xlabel: str,
    ylabel: str,
    singles: bool = True,
    limits: Mapping[str, tuple[float, float]] | None = None,
) -> tuple[list[Figure], pd.DataFrame]:
    """A panel of :func:`curves` for each image set, and the numbers behind them.

    Parameters
    ----------
    sets
        Name, written as in :data:`rarefire.page.palette.LABELS` -> ``x (n_steps,)`` and, by colour,
        ``y (n_instances, n_steps)``.
    xlabel, ylabel
        Of all panels.
    singles
        Draw single instances too.
    limits
        Of ``"x"`` and ``"y"``; an axis that ends at 1 is one of shares.
    """
    panels, tables = [], []
    for name, (x, by_colour) in sets.items():
        title = LABELS.get(name, name)
        figure, axes = panel(title=title)
        for colour, y in by_colour.items():
            curves(axes, x, y, colour=colour, singles=singles)
        axes.set(xlabel=xlabel, ylabel=ylabel)
        for which, (low, high) in (limits or {}).items():
            axes.set(**{f"{which}lim": (low, 1.02 * high if which == "y" else high)})
        if (limits or {}).get("x", (0, 0))[1] == 1:
            percent(axes, "x")
        panels.append(figure)
        tables.append(summary(x, **by_colour).assign(images=title))
    return panels, pd.concat(tables)


def nested_panels(
    ensembles: Mapping[str, Ensemble],
    lines: Mapping[str, str],
    *,
    first: int = 1,
    firing: bool = False,
    xlabel: str = "",
    singles: bool = False,
) -> tuple[list[Figure], pd.DataFrame]:
    """A panel of nested curves, R² with all features, for each ensemble, and the numbers behind them.

    Parameters
    ----------
    ensembles
        By image set.
    lines
        Colour -> one of :data:`rarefire.records.ensembles.CURVES`; of random orders, the median over an
        instance's orders.
    first
        Number of features at which the curves begin.
    firing
        Count shares among the features that fire, as :meth:`rarefire.records.ensembles.Ensemble.at` does.
    xlabel, singles
        As for :func:`curve_panels`.
    """

    def drawn(ensemble: Ensemble, curve: str) -> NDArray[np.float64]:
        if firing:
            shares = ensemble.fraction[first - 1 :]
            return np.stack([ensemble.at(curve, share, firing=True) for share in shares], axis=1)
        r2 = ensemble.r2(curve)[..., first - 1 :]
        return np.asarray(np.nanmedian(r2, axis=1)) if r2.ndim == 3 else r2

    sets = {
        name: (e.fraction[first - 1 :], {colour: drawn(e, curve) for colour, curve in lines.items()})
        for name, e in ensembles.items()
    }
    counted = "share of firing features" if firing else "share of features inserted"
    labels = {"xlabel": xlabel or counted, "ylabel": "R² with all features"}
    return curve_panels(sets, **labels, limits=SHARES, singles=singles)


def medians(
    ensembles: Mapping[str, Ensemble],
    fraction: float,
    *curves: str,
    firing: bool = False,
    digits: int = 2,
    form: str = "{name} {text}",
) -> str:
    """Median R² of each ensemble at a share of the features, for the caption of :func:`nested_panels`.

    Parameters
    ----------
    ensembles
        By image set.
    fraction
        Of the features.
    *curves
        Of :data:`rarefire.records.ensembles.CURVES`; one number for each, joined by “and”.
    firing
        As for :func:`nested_panels`.
    digits
        Of the numbers.
    form
        As for :func:`rarefire.page.frame.listed`.
    """

    def values(ensemble: Ensemble) -> list[str]:
        return [f"{ensemble.median_at(c, fraction, firing=firing):.{digits}f}" for c in curves]

    return listed({name: enumerated(values(each)) for name, each in ensembles.items()}, form)


def medians_span(
    ensembles: Mapping[str, Ensemble], fraction: float, curve: str, *, firing: bool = False, digits: int = 2
) -> str:
    """The smallest and the largest of :func:`medians` over image sets, such as ``0.995 to 0.997``."""
    values = [each.median_at(curve, fraction, firing=firing) for each in ensembles.values()]
    return span(values, f"{{:.{digits}f}}".format)


def strips(
    rows: Mapping[str, Mapping[str, ArrayLike]],
    *,
    xlabel: str,
    band: tuple[float, float] | None = None,
    width: float = 4.6,
) -> tuple[Figure, pd.DataFrame]:
    """Rows of dots, one for each value, and a tick at their median; rows from the top down.

    Parameters
    ----------
    rows
        Title -> name in :data:`~rarefire.page.palette.COLOURS` -> ``(n,)`` values; those of one row stand
        below each other.
    xlabel
        Of the axis.
    band
        A range to be shaded.
    width
        In inches.

    Returns
    -------
    Figure, DataFrame
        The drawing, and a line for each dot: ``row, group, value``.
    """
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    figure, axes = panel(width, 0.55 + 0.3 * len(rows))
    if band is not None:
        axes.axvspan(*band, color=INK, alpha=0.1, linewidth=0)
    lines = []
    for place, (title, row) in enumerate(rows.items()):
        for name, given in row.items():
            values = np.asarray(given, dtype=np.float64)
            values = values[np.isfinite(values)]
            y = place + 0.24 * (names.index(name) - (len(names) - 1) / 2)
            axes.scatter(values, np.full(len(values), y), s=11, color=COLOURS[name], linewidths=0, alpha=0.75)
            middle = values if len(values) < 2 else [np.median(values)]
            axes.plot(middle, [y] * len(middle), "|", color=COLOURS[name], markersize=8, markeredgewidth=2)
            lines += [{"row": title, "group": name, "value": value} for value in values]
    axes.set(yticks=range(len(rows)), yticklabels=list(rows), ylim=(len(rows) - 0.4, -0.6), xlabel=xlabel)
    axes.tick_params(axis="y", length=0)
    return figure, pd.DataFrame(lines)


def cumulative_share(poz: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Share of features with PoZ ≤ x: the grid of x ``(101,)`` and the shares ``(I, 101)``."""
    values = np.sort(np.atleast_2d(np.asarray(poz, dtype=float)), axis=1)
    grid = np.linspace(0, 1, 101)
    return grid, np.stack([np.searchsorted(row, grid, side="right") / row.size for row in values])


def histogram(axes: Axes, values: ArrayLike, *, colour: str, bins: int | Sequence[float] = 20) -> None:
    """Histogram of one number per instance or feature."""
    with warnings.catch_warnings():
        # seaborn sets pandas options that this pandas is about to drop; nothing of ours depends on them.
        warnings.filterwarnings("ignore", category=FutureWarning, module="seaborn")
        sns.histplot(
            x=np.asarray(values, dtype=float),
            bins=bins,
            color=COLOURS[colour],
            alpha=0.85,
            linewidth=0,
            ax=axes,
        )


def percent(axes: Axes, which: str, *, ticks: int = 4) -> None:
    """Write an axis of shares (``"x"`` or ``"y"``) in per cent, with about that many ticks."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(mpl.ticker.MaxNLocator(ticks, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(mpl.ticker.FuncFormatter(lambda share, _: f"{100 * share:g}%"))


def rdm_panel(
    square: ArrayLike,
    *,
    title: str = "",
    below: str = "",
    groups: Sequence[str] = (),
    limits: tuple[float, float] | None = None,
    size: float = 1.55,
) -> Figure:
    """A square RDM as a panel.

    Parameters
    ----------
    square
        ``(n, n)``; NaN is left empty.
    groups
        Names of equally large groups of images in order, written along the left edge.
    limits
        Dissimilarities at the ends of the colour map; by default those of the matrix.
    """
    values = np.asarray(square, dtype=float)
    with style():
        figure = Figure(figsize=(size, size + 0.25 * bool(title) + 0.25 * bool(below)))
        axes = figure.add_subplot()
        low, high = limits or (None, None)
        axes.imshow(values, cmap=COLOUR_MAP, interpolation="none", vmin=low, vmax=high)
        axes.set_title(title, loc="center")
        axes.set_xlabel(below)
        axes.set_xticks([])
        step = len(values) / max(1, len(groups))
        axes.set_yticks((np.arange(len(groups)) + 0.5) * step - 0.5, groups, fontsize=7.5)
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
    return figure


def prediction_panel(
    x: ArrayLike,
    lines: Mapping[str, ArrayLike],
    *,
    title: str,
    xlabel: str,
    ylabel: str,
    ylim: tuple[float, float],
    ceiling: tuple[float, float] | None = None,
    band: tuple[ArrayLike, ArrayLike] | None = None,
    points: Mapping[str, tuple[ArrayLike, ArrayLike]] | None = None,
    hollow: Mapping[str, tuple[ArrayLike, ArrayLike]] | None = None,
    peaks: Sequence[tuple[float, float]] = (),
    stars: Sequence[tuple[float, float]] = (),
    height: float = 2.3,
) -> Figure:
    """How well the first features predict people, with what people themselves reach.

    Parameters
    ----------
    x
        ``(n_steps,)``, shares of the features.
    lines
        By colour, ``(n_steps,)``; NaN where undefined.
    title, xlabel, ylabel, ylim
        Of the panel.
    ceiling
        Of noise, low and high.
    band
        Low and high ``(n_steps,)``, of random orders.
    points, hollow
        By colour, x and y ``(n_points,)``, joined by a thin line; filled dots, and empty ones.
    peaks, stars
        (x, y): a red dot for the best number of features, a star where it is a significant improvement.
    height
        Of the panel, in inches.
    """
    figure, axes = panel(2.1, height, title=title)
    x = np.asarray(x, dtype=float)
    if band is not None:
        axes.fill_between(x, *band, color=COLOURS["random"], alpha=0.3, linewidth=0)
    for colour, y in lines.items():
        axes.plot(x, y, color=COLOURS[colour], linewidth=1.5, linestyle=_DASHES.get(colour, "-"))
    for given, fill in ((hollow, "none"), (points, "full")):
        for colour, (at, y) in (given or {}).items():
            ink = COLOURS[colour]
            axes.plot(at, y, color=ink, linewidth=0.8, marker="o", markersize=4, fillstyle=fill)
    if ceiling is not None:
        axes.axhspan(*ceiling, color=COLOURS["random"], alpha=0.35, linewidth=0)
        axes.text(0.98, ceiling[0] - 0.015, "noise ceiling", ha="right", va="top", fontsize=8, color=INK)
    for at, y in peaks:
        axes.plot(at, y, "o", color=COLOURS["peak"], markersize=5.5, zorder=5)
    for at, y in stars:
        axes.plot(at, y + 0.06 * (ylim[1] - ylim[0]), "*", color=INK, markersize=8, zorder=5)
    axes.set(xlabel=xlabel, ylabel=ylabel, xlim=(0, 1), ylim=ylim)
    percent(axes, "x")
    return figure


def people_panels(
    predictions: Sequence[Prediction],
    lines: Mapping[str, str],
    *,
    tests: pd.DataFrame | None = None,
    ridge: bool = False,
    **look: Any,
) -> list[Figure]:
    """A :func:`prediction_panel` for each view of a network, with the noise ceiling of the mean RDM.

    Parameters
    ----------
    predictions
        The views.
    lines
        Colour -> name of a recorded curve; ``"random"`` is drawn as the band of random orders.
    tests
        From :func:`rarefire.records.people.verdicts`: the best k of these curves are marked, with a star
        where they are significantly better than all features.
    ridge
        Draw re-weighted features, and the same without weights, hollow.
    **look
        Of the panels.
    """
    from rarefire.records.people import improved

    def drawn(found: Prediction) -> Figure:
        options: dict[str, Any] = {"ylim": (0, 1.02), **look}
        if "random" in lines.values():
            options["band"] = tuple(found.random[[0, 2]])
        if tests is not None:
            own = tests[tests["view"] == found.view]
            options["peaks"] = [found.peak(kind) for kind in own["kind"]]
            options["stars"] = [found.peak(kind) for kind in own["kind"][improved(own)]]
        if ridge:
            share = found.ridge_k / found.n_features
            options["points"], options["hollow"] = ({"ridge": (share, found[k])} for k in ("ridge", "plain"))
        return prediction_panel(
            found.fraction,
            {colour: found.r(curve) for colour, curve in lines.items() if curve != "random"},
            title=found.title,
            xlabel="share of features inserted",
            ylabel="r with people",
            ceiling=tuple(np.minimum(found.ceiling_mean, 1)),
            **options,
        )

    return [drawn(found) for found in predictions]


def across_panels(headline: pd.DataFrame, titles: Mapping[str, str]) -> list[Figure]:
    """What leaving features out does to the prediction of people, a panel for each set of judgments.

    Parameters
    ----------
    headline
        From :meth:`rarefire.records.people_across.Across.headline`: dot and bar, D and its 95 % interval;
        small marks, D of the controls (:data:`CONTROLS`); grey, 90 % of random orders. A ring, where Holm's
        p is below .05.
    titles
        By set, in the order wanted.
    """
    found = []
    for name, title in titles.items():
        rows = headline[headline["set"] == name].reset_index(drop=True)
        if not len(rows):
            continue
        figure, axes = panel(2.9, 0.6 + 0.34 * len(rows), title=title)
        axes.axvline(0, color=INK, linewidth=0.8)
        for y, row in rows.iterrows():
            place = -float(y)
            chance = [row["random low"], row["random high"]]
            axes.plot(
                chance, [place] * 2, color=COLOURS["random"], alpha=0.3, linewidth=9, solid_capstyle="butt"
            )
            ink = COLOURS["low"]
            axes.plot([row["low"], row["high"]], [place] * 2, color=ink, linewidth=1.6)
            axes.plot(row["estimate"], place, "o", color=ink, markersize=6, zorder=4)
            if row["holm"] < 0.05:
                axes.plot(row["estimate"], place, "o", color=INK, markersize=10, fillstyle="none", zorder=4)
            marks = zip(list(CONTROLS.values())[1:], ("D", "s", "^"), (0.16, 0.0, -0.16), strict=True)
            for (reading, colour), mark, shift in marks:
                axes.plot(row[reading], place + shift, mark, color=COLOURS[colour], markersize=4.2, zorder=5)
        axes.set_yticks(-np.arange(len(rows)), [LABELS.get(n, n) for n in rows["network"]])
        axes.set(xlabel="D, change of r" if name != "materials" else "D, change of agreement")
        axes.set_ylim(-len(rows) + 0.4, 0.6)
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(4))
        axes.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda d, _: signed(d) if d else "0"))
        found.append(figure)
    return found


def rates_panels(rates: pd.DataFrame, tests: Sequence[str]) -> list[Figure]:
    """How often tests reject: where nothing is to be found, and where something is.

    Parameters
    ----------
    rates
        From :meth:`rarefire.records.error_rates.Rates.table`: a dot for each world and number of images,
        hollow in the world of heavier tails; a bar, the median.
    tests
        By name, in the order wanted from the top.
    """
    found = []
    for column, title, limits in (
        ("false positives", "nothing there: rejects at .05", (0, 0.5)),
        ("power", "a gain of a tenth: rejects", (0, 1)),
    ):
        figure, axes = panel(4.6, 0.7 + 0.2 * len(tests), title=title)
        if column == "false positives":
            axes.axvline(0.05, color=INK, linewidth=0.8)
        for y, test in enumerate(tests):
            rows = rates[rates["test"] == test]
            ink = COLOURS["ours" if rates.loc[rows.index[0], "offered"] else "naive"]
            hard = rows["world"] == "heavier tails"
            x = rows[column].clip(upper=limits[1])
            shift = np.linspace(-0.22, 0.22, len(rows)) if len(rows) > 1 else np.zeros(1)
            axes.plot(x[~hard], (-y + shift)[~hard], "o", color=ink, markersize=3, alpha=0.75)
            axes.plot(x[hard], (-y + shift)[hard], "o", color=ink, markersize=3.4, fillstyle="none")
            axes.plot([rows[column].median()] * 2, [-y - 0.34, -y + 0.34], color=ink, linewidth=2)
        axes.set_yticks(-np.arange(len(tests)), tests)
        axes.set(xlim=(limits[0] - 0.01, limits[1] * 1.02), ylim=(-len(tests) + 0.4, 0.6))
        axes.tick_params(axis="y", length=0)
        percent(axes, "x")
        found.append(figure)
    return found


def spread(
    axes: Axes, x: ArrayLike, values: ArrayLike, *, colour: str, points: bool = True
) -> dict[str, NDArray[np.float64]]:
    """Draw the median of each column as a line, and from lowest to highest as a shade.

    Parameters
    ----------
    axes
        To draw in.
    x
        ``(n_steps,)``.
    values
        ``(n_instances, n_steps)``; NaN where undefined.
    colour
        A key of :data:`rarefire.page.palette.COLOURS`.
    points
        Whether each step is marked.

    Returns
    -------
    dict
        ``middle, low, high``, ``(n_steps,)``: the numbers behind it. NaN where a column has none.
    """
    rows = np.asarray(values, dtype=np.float64)
    found = np.full((3, rows.shape[1]), np.nan)
    some = np.isfinite(rows).any(axis=0)
    if some.any():
        found[:, some] = [of(rows[:, some], axis=0) for of in (np.nanmin, np.nanmedian, np.nanmax)]
    low, middle, high = found
    axes.fill_between(x, low, high, color=COLOURS[colour], alpha=0.15, linewidth=0)
    axes.plot(x, middle, color=COLOURS[colour], marker="o" if points else "", markersize=2.6)
    return {"middle": middle, "low": low, "high": high}


def pruned_panels(
    sets: Mapping[str, Pruned],
    values: Callable[[Pruned], NDArray[Any]],
    *,
    ylabel: str,
    methods: Sequence[str],
    bands: Sequence[str] = (),
    beside: Mapping[str, Callable[[Pruned], NDArray[Any]]] | None = None,
) -> tuple[list[Figure], pd.DataFrame]:
    """A panel for each image set: something about pruned networks by the share of the weights that is left.

    Parameters
    ----------
    sets
        By image set.
    values
        Gives ``(I, N)``.
    ylabel
        Of all panels.
    methods
        Drawn as lines: median over instances and the range of all, from the dense network on.
    bands
        Methods in which nothing is pruned, drawn across: median and range over instances and rounds.
    beside
        By control, the same about the first of `methods` as it is by that control: dashed, the median.
    """
    panels, tables = [], []
    for name, found in sets.items():
        title, shown = LABELS.get(name, name), values(found)
        figure, axes = panel(2.3, 2.2, title=title)
        least = min(found.along(shown, method)[0].min() for method in methods)
        tables += _bands(axes, title, found, shown, bands)
        for method, of in (beside or {}).items():
            x, y = found.along(of(found), methods[0])
            middle = np.median(y, axis=0)
            axes.plot(x, middle, color=COLOURS[PRUNED[method]], linewidth=1.2, linestyle=_DASHED)
            columns = {"share": x, "middle": middle}
            tables.append(pd.DataFrame({"images": title, "method": f"{methods[0]}, {method}", **columns}))
        for method in methods:
            x, y = found.along(shown, method)
            columns = {"share": x, **spread(axes, x, y, colour=PRUNED[method])}
            tables.append(pd.DataFrame({"images": title, "method": method, **columns}))
        axes.set(xscale="log", xlabel="weights left", ylabel=ylabel, xlim=(1.06, 0.94 * least))
        ticks = [t for t in (1, 0.5, 0.25, 0.1, 0.05) if t >= least]
        axes.set_xticks(ticks, [f"{t:.0%}" for t in ticks])
        axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
        panels.append(figure)
    return panels, pd.concat(tables, ignore_index=True)


def _bands(
    axes: Axes, title: str, found: Pruned, shown: NDArray[Any], methods: Sequence[str]
) -> list[pd.DataFrame]:
    """Draw across where networks are in which nothing is pruned: median and range, instances and rounds."""
    tables = []
    for method in methods:
        flat = shown[:, found.method[0] == method].ravel()
        low, middle, high = np.nanmin(flat), np.nanmedian(flat), np.nanmax(flat)
        ink = COLOURS[PRUNED[method]]
        axes.axhspan(low, high, color=ink, alpha=0.15, linewidth=0)
        axes.axhline(middle, color=ink, linewidth=1.2, linestyle=_DASHED)
        row = {"images": title, "method": method, "share": 1.0}
        tables.append(pd.DataFrame([row | {"middle": middle, "low": low, "high": high}]))
    return tables


def layer_panels(
    sets: Mapping[str, Pruned], methods: Sequence[str], *, near: float, measures: Mapping[str, str]
) -> tuple[list[Figure], pd.DataFrame]:
    """Similarity of every layer with the first network's: a panel for each image set and measure.

    Parameters
    ----------
    sets
        By image set.
    methods
        Of each the round whose share of weights left is nearest to `near`, the first of equals.
    near
        Share of the weights.
    measures
        Of :data:`rarefire.similarity.MEASURES` -> how they are called.
    """
    panels, tables = [], []
    for name, found in sets.items():
        for measure, called in measures.items():
            title = f"{LABELS.get(name, name)}, {called}"
            figure, axes = panel(2.5, 2.3, title=title)
            x = np.arange(len(found.layers))
            for method in methods:
                number = min(
                    found.numbers(method), key=lambda n: abs(found.share[0, found.place(method, n)] - near)
                )  # the first of equals
                place = found.place(method, number)
                y = np.stack([found.alike_in(layer, measure)[:, place] for layer in found.layers], axis=1)
                columns = {"layer": found.layers, **spread(axes, x, y, colour=PRUNED[method])}
                tables.append(pd.DataFrame({"images": name, "measure": measure, "method": method, **columns}))
            if measure == "cca":
                chance = np.median(found.chance, axis=0)
                axes.plot(x, chance, color=INK, linewidth=0.9, linestyle=(0, (1, 1.5)))
                columns = {"layer": found.layers, "middle": chance}
                tables.append(
                    pd.DataFrame({"images": name, "measure": measure, "method": "chance", **columns})
                )
            axes.set_xticks(x, found.layers, rotation=45)
            axes.set(ylabel="similarity", ylim=(0, 1.02))
            panels.append(figure)
    return panels, pd.concat(tables, ignore_index=True)


def _third(n_units: int) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Shares of the units at every third number of them, the last among them, and where these stand."""
    some = np.arange(n_units - 1, -1, -3)[::-1]
    return (some + 1) / n_units, some


def left_panels(
    sets: Mapping[str, Pruned],
    units: Mapping[str, Units],
    values: str,
    *,
    ylabel: str,
    bands: Sequence[str] = (),
) -> tuple[list[Figure], pd.DataFrame]:
    """Leaving units out against trimming them in rounds, by the share of penultimate units left.

    Parameters
    ----------
    sets, units
        By image set.
    values
        ``"r2"`` of the penultimate geometry with the first network's, or ``"accuracy"``.
    ylabel, bands
        As for :func:`pruned_panels`.
    """
    panels, tables = [], []
    for name in [name for name in sets if name in units]:
        found, title = sets[name], LABELS.get(name, name)
        shown = _of_networks(found, values)
        figure, axes = panel(2.3, 2.2, title=title)
        tables += [t.rename(columns={"method": "what"}) for t in _bands(axes, title, found, shown, bands)]
        every = units[name][values]
        x, some = _third(every.shape[2])
        lines = [(x, every[:, list(RANKED).index(order)][:, some]) for order in ("poz", "random")]
        left = found.units_left[:, :, -1] / found.units_left[:, :1, -1]
        trim = [0, *(found.place("trim", n) for n in found.numbers("trim"))]
        on = [0, *(found.place("on", n) for n in found.numbers("trim"))]
        lines += [(np.median(left[:, trim], axis=0), shown[:, places]) for places in (trim, on)]
        for (label, colour), (shares, y) in zip(LEFT.items(), lines, strict=True):
            drawn = spread(axes, shares, y, colour=colour, points=len(shares) < 20)
            columns = {"units left": shares, **drawn}
            tables.append(pd.DataFrame({"images": title, "what": label, **columns}))
        axes.set(xlabel="penultimate units left", ylabel=ylabel, xlim=(1.02, 0), ylim=(0, 1.02))
        percent(axes, "x")
        panels.append(figure)
    return panels, pd.concat(tables, ignore_index=True)


def _of_networks(found: Pruned, values: str) -> NDArray[np.float64]:
    return found.alike_in() if values == "r2" else np.asarray(found.accuracy, dtype=np.float64)


def unit_panels(
    sets: Mapping[str, Pruned],
    units: Mapping[str, Units],
    values: str,
    orders: Sequence[str],
    *,
    ylabel: str,
    bands: Sequence[str] = (),
) -> tuple[list[Figure], pd.DataFrame]:
    """What is left with the most important units alone, by several orders: a panel for each image set.

    Parameters
    ----------
    sets, units
        By image set.
    values
        ``"r2"`` or ``"accuracy"``.
    orders
        Of :data:`rarefire.removal.ORDERS`.
    ylabel, bands
        As for :func:`pruned_panels`.
    """
    names, lines = list(RANKED), {}
    for name, found in units.items():
        x, some = _third(found[values].shape[2])
        lines[name] = x, {RANKED[o]: found[values][:, names.index(o)][:, some] for o in orders}
    options = {"xlabel": "share of units kept", "ylabel": ylabel}
    panels, numbers = curve_panels(lines, **options, singles=False, limits=SHARES)
    tables = [numbers]
    for name, figure in zip(units, panels, strict=True):
        (axes,), shown = figure.axes, _of_networks(sets[name], values)
        tables += _bands(axes, LABELS.get(name, name), sets[name], shown, bands)
    return panels, pd.concat(tables)


def ghost_panels(
    ghosts: Mapping[str, ClassGhosts],
    lines: Callable[[ClassGhosts], Mapping[str, ArrayLike]],
    **look: Any,
) -> tuple[list[Figure], pd.DataFrame]:
    """A panel for each image set: something about ghosts by how many images define them.

    Parameters
    ----------
    ghosts
        By image set.
    lines
        Gives, by colour, ``(I, M)``; see :func:`rarefire.records.ghosts_by_class.over_classes`.
    **look
        Of the axes, such as ``ylabel`` and ``ylim``.
    """
    sets = {name: (found.m[0], lines(found)) for name, found in ghosts.items()}
    panels, numbers = curve_panels(sets, xlabel="images that define", ylabel="", singles=False)
    for figure in panels:
        (axes,) = figure.axes
        axes.set(xscale="log", **look)
        axes.xaxis.set_major_formatter("{x:g}")
    return panels, numbers


def control_panels(readings: Sequence[Reading], *, named: Sequence[str]) -> list[Figure]:
    """How many ghosts each category has, and what random features explain of their first component.

    Parameters
    ----------
    readings
        A line for each, by how many images define the ghosts.
    named
        Categories whose name is written beside their line.
    """

    def one(title: str, ylabel: str, lines: Mapping[str, Callable[[Reading], ArrayLike]]) -> Figure:
        figure, axes = panel(2.6, 2.1, title=title)
        for found in readings:
            for colour, line in lines.items():
                axes.plot(
                    found.m,
                    np.asarray(line(found)),
                    color=COLOURS[colour],
                    marker="o",
                    markersize=2.5,
                    linewidth=1,
                )
        axes.set(xscale="log", xlabel="images that define", xlim=(0.9, 260), ylabel=ylabel, ylim=(0, 1.02))
        axes.xaxis.set_major_formatter("{x:g}")
        return figure

    many = {"ghosts": lambda found: found.expected / found.n_features}
    explained = {
        "ghosts": lambda found: found.control[:, 0],
        "random": lambda found: found.ceiling[:, 0],
    }
    left = one("how many", "share of all features", many)
    right = one("first component", "R² from random features", explained)
    for found in readings:
        if found.category in named:
            right.axes[0].annotate(
                found.category[:6],
                (float(found.m[-1]), found.from_random),
                (-4, -1),  # left of and below what falls
                color=COLOURS["ghosts"],
                textcoords="offset points",
                fontsize=7.5,
                ha="right",
                va="top",
            )
    return [left, right]


def rdm_with_images(
    square: ArrayLike,
    images: NDArray[np.floating],
    *,
    title: str,
    limits: tuple[float, float],
    size: float = 2.6,
) -> Figure:
    """A square RDM with the images along its edge, staggered so that each can be seen.

    Parameters
    ----------
    square
        ``(n, n)``; NaN is left empty.
    images
        ``(n, c, h, w)`` in [0, 1], in the order of the rows.
    title, limits, size
        Of the panel; dissimilarities at the ends of the colour map; height of the matrix in inches.
    """
    values = np.asarray(square, dtype=float)
    n, columns, pixels = len(values), 5, 26  # of a thumbnail
    if len(images) != n:
        raise InputError(f"there are {len(images)} images for {n} rows.")
    height = round(n * pixels / columns)
    strip = np.ones((height + pixels, columns * pixels, 3)) * images[:, :, 0, 0].mean(axis=0)  # their ground
    for i, image in enumerate(np.clip(images, 0, 1)):
        tile = Image.fromarray(np.rint(255 * image.transpose(1, 2, 0)).astype(np.uint8).squeeze())
        top, left = round((i + 0.5) * height / n), (columns - 1 - i % columns) * pixels
        strip[top : top + pixels, left : left + pixels] = (
            np.asarray(tile.convert("RGB").resize((pixels, pixels), Image.Resampling.LANCZOS)) / 255
        )
    # 200 colours are enough for thumbnails, and a third of the bytes.
    sheet = Image.fromarray(np.rint(255 * strip[pixels // 2 : pixels // 2 + height]).astype(np.uint8))
    sheet = sheet.quantize(200, dither=Image.Dither.NONE).convert("RGB")
    edge = size * columns * pixels / height
    with style():
        figure = Figure(figsize=(size + edge, size + 0.25))
        figure.set_layout_engine("none")
        share, width = size / (size + 0.25), size + edge
        left_axes = figure.add_axes((0, 0, edge / width, share))
        left_axes.imshow(np.asarray(sheet), aspect="auto", interpolation="none")
        axes = figure.add_axes((edge / width, 0, size / width, share))
        low, high = limits
        axes.imshow(values, cmap=COLOUR_MAP, interpolation="none", vmin=low, vmax=high, aspect="auto")
        axes.set_title(title, loc="center")
        for each in (left_axes, axes):
            each.axis("off")
        axes.title.set_visible(True)
    return figure


def picture(
    images: NDArray[np.floating], *, titles: Sequence[str] = (), columns: int = 10, size: float = 0.6
) -> Figure:
    """Images ``(n, c, h, w)`` in [0, 1] as a contact sheet."""
    n = len(images)
    rows = -(-n // columns)
    with style():
        figure = Figure(figsize=(size * columns, (size + 0.18 * bool(titles)) * rows))
        for i, axes in enumerate(np.ravel(figure.subplots(rows, columns, squeeze=False))):
            axes.axis("off")
            if i < n:
                axes.imshow(np.squeeze(images[i].transpose(1, 2, 0)), cmap="gray", vmin=0, vmax=1)
                if titles:
                    axes.set_title(titles[i], loc="center", fontsize=8)
    return figure


def save_curve(path: str | Path, curve: Curve, poz: ArrayLike, *, title: str, against: str) -> None:
    """Draw one nested curve into a file.

    Parameters
    ----------
    path
        Ends in ``.png`` or ``.svg``.
    curve
        Its R² is drawn against the number of features.
    poz
        ``(n_steps,)``, PoZ of the feature at each cut, drawn beside it.
    title, against
        Written above, and named as the reference.
    """
    kind = Path(path).suffix[1:].lower()
    if kind not in ("png", "svg"):
        raise InputError(f"a curve is drawn into a .png or .svg file; got {Path(path).name!r}.")
    figure, axes = panel(5.2, 3.2, title=_plain(title))
    marker = {"marker": "o", "markersize": 3.5} if len(curve.k) <= 30 else {}
    axes.plot(curve.k, curve.r2, color=COLOURS["low"], label=_plain(f"R² with {against}"), **marker)  # type: ignore[arg-type]
    label = "PoZ of the feature at the cut"
    axes.plot(curve.k, poz, color=COLOURS["random"], linewidth=1, linestyle="--", label=label)
    axes.set(xlabel="number of features", xlim=(0, curve.n_features), ylim=(0, 1.02))
    with style():
        figure.legend(loc="outside lower center", ncols=2)
        buffer = io.BytesIO()
        metadata = {"Date": None} if kind == "svg" else None
        figure.savefig(buffer, format=kind, dpi=200, facecolor="white", metadata=metadata)
    with store.atomic_write(path) as file:
        file.write(buffer.getvalue())


def save_people(path: str | Path, predictions: Sequence[Prediction]) -> None:
    """Draw how well the first features of each view predict people into a file.

    Parameters
    ----------
    path
        Ends in ``.png`` or ``.svg``.
    predictions
        The views of one network or embedding.
    """
    kind = Path(path).suffix[1:].lower()
    if kind not in ("png", "svg"):
        raise InputError(f"curves are drawn into a .png or .svg file; got {Path(path).name!r}.")
    lines = {"low": "low→high PoZ (most active first)", "high": "high→low PoZ (rarest first)"}
    with style():
        figure = Figure(figsize=(max(4.4, 2.6 * len(predictions)), 3.4))
        for axes, found in zip(
            figure.subplots(1, len(predictions), squeeze=False)[0], predictions, strict=True
        ):
            percent_kept = 100 * found.fraction
            axes.fill_between(
                percent_kept,
                *found.random[[0, 2]],
                color=COLOURS["random"],
                alpha=0.3,
                linewidth=0,
                label="random orders (5–95 %)",
            )
            for which, label in lines.items():
                axes.plot(percent_kept, found.r(which), color=COLOURS[which], label=label)
            if np.isfinite(found.ceiling_mean).all():
                low = float(min(found.ceiling_mean[0], 1))
                axes.axhline(low, color=INK, linewidth=0.8, linestyle=":", label="noise ceiling (low)")
            axes.set(xlabel="features kept (%)", ylabel="r with people (−1 to 1)", xlim=(0, 100))
            axes.set_title(f"{found.title}: {found.n_features:,}")
        handles, labels = axes.get_legend_handles_labels()
        figure.suptitle(_plain(f"{predictions[0].network}, {predictions[0].judgments}"), fontsize=9)
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
        buffer = io.BytesIO()
        metadata = {"Date": None} if kind == "svg" else None
        figure.savefig(buffer, format=kind, dpi=200, facecolor="white", metadata=metadata)
    with store.atomic_write(path) as file:
        file.write(buffer.getvalue())


def _plain(text: str) -> str:
    """Text as it is: a dollar sign in a file's name is no formula."""
    return text.replace("$", r"\$")


def summary(x: ArrayLike, **curves: ArrayLike) -> pd.DataFrame:
    """Tabulate the median and the band of :func:`curves`: the numbers behind a drawing.

    Parameters
    ----------
    x
        ``(n_steps,)``.
    **curves
        By name, ``(n_instances, n_steps)``; NaN where a curve is undefined.

    Returns
    -------
    DataFrame
        A row for each step: ``x``; for each curve its median, its 5 % and 95 % quantiles over the
        instances, and how many of them are defined.
    """
    columns = {"x": np.asarray(x, dtype=float)}
    for name, values in curves.items():
        rows = np.atleast_2d(np.asarray(values, dtype=float))
        defined = np.isfinite(rows)
        quantiles = np.full((3, rows.shape[1]), np.nan)
        some = defined.any(axis=0)
        quantiles[:, some] = np.nanquantile(rows[:, some], [0.5, 0.05, 0.95], axis=0)
        columns |= dict(zip([f"{name} median", f"{name} 5%", f"{name} 95%"], quantiles, strict=True))
        columns[f"{name} defined"] = defined.sum(axis=0)
    return pd.DataFrame(columns)
