"""Arrays -> figures. One style for the whole book; nothing is computed here but positions.

A figure is made of one or more panels (small matplotlib figures) that :func:`show` puts on the page
as inline SVG: they stand side by side on a desk, below each other on a phone, follow the page's
light or dark colours, and carry a text alternative, a caption and the numbers behind them.
"""

from __future__ import annotations

import base64
import html
import io
import re
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import seaborn as sns
from IPython.display import HTML
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from rarefire import claims, store
from rarefire.curves import Curve
from rarefire.errors import InputError, unknown

__all__ = [
    "COLOURS",
    "SIGNS",
    "contact_sheet",
    "cumulative_share",
    "curve_panels",
    "curves",
    "histogram",
    "number",
    "page_colour",
    "panel",
    "picture",
    "prediction_panel",
    "rdm_panel",
    "rdm_with_images",
    "save_curve",
    "show",
    "sprite",
    "strips",
    "summary",
    "table",
    "verdict_cards",
]

#: One colour per meaning, everywhere; those in one figure differ in lightness too.
COLOURS = {
    "low": "#0072b2",
    "high": "#d55e00",
    "random": "#7f7f7f",
    "cosine": "#7a4fb5",
    "ours": "#332288",
    "naive": "#a11d5f",
    "peak": "#c1121f",
    "mean": "#117733",
    "sd": "#8a5a00",
    "entropy": "#aa4499",
    "ridge": "#4b3fae",
    "ghosts": "#9b2226",
    "bound": "#5b5f97",
    "random mean": "#6b7000",
    "digits": "#009e73",
    "mnist": "#b8860b",
    "cifar10": "#cc79a7",
    "cifar10-jpg": "#cc79a7",
}
LABELS = {
    "digits": "digits",
    "mnist": "MNIST",
    "mnist, wide": "MNIST, wide",
    "cifar10": "CIFAR-10",
    "cifar10-jpg": "CIFAR-10 (JPEG)",
    "mur, pooled": "Mur et al., pooled",
    "mur, channels": "Mur et al., channels",
    "mur, positions": "Mur et al., positions",
    "peterson": "Peterson et al., six sets",
    "peterson-furniture": "Peterson et al., furniture",
    "peterson-vegetables": "Peterson et al., vegetables",
}
_DASHES = {"mean": (0, (4, 1.5)), "sd": (0, (6, 1.5, 1, 1.5)), "entropy": (0, (1.5, 1))}  # beside colour
#: Of RDMs: perceptually uniform, readable in grey and by the colour-blind.
COLOUR_MAP = "cividis"
_TOGETHER = 4  # images in one piece of a contact sheet

_INK = "#010203"  # stands for the page's text colour in the SVG
_STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.facecolor": "none",
    "axes.linewidth": 0.8,
    "figure.facecolor": "none",
    "figure.constrained_layout.use": True,
    "savefig.facecolor": "none",
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.8,
    "svg.fonttype": "none",
    "svg.hashsalt": "rarefire",
}
_FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def _style() -> AbstractContextManager[None]:
    return mpl.rc_context(dict(_STYLE))  # type: ignore[arg-type]


def panel(width: float = 2.1, height: float = 2.05, *, title: str = "") -> tuple[Figure, Axes]:
    """An empty panel of `width` × `height` inches in the book's style."""
    with _style():
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
        A name in :data:`COLOURS`.
    """
    x, y = np.asarray(x, dtype=float), np.atleast_2d(np.asarray(y, dtype=float))
    ink = COLOURS[colour]
    enough = np.isfinite(y).mean(axis=0) >= 0.5
    low, middle, high = np.nanquantile(y[:, enough], [0.05, 0.5, 0.95], axis=0)
    if singles:
        for row in y:
            axes.plot(x, row, color=ink, alpha=0.25, linewidth=0.5)
    axes.fill_between(x[enough], low, high, color=ink, alpha=0.18, linewidth=0)
    axes.plot(x[enough], middle, color=ink)


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
        Title -> ``x (n_steps,)`` and, by colour, ``y (n_instances, n_steps)``.
    xlabel, ylabel
        Of all panels.
    singles
        Draw single instances too.
    limits
        Of ``"x"`` and ``"y"``; an axis that ends at 1 is one of shares.
    """
    panels, tables = [], []
    for title, (x, by_colour) in sets.items():
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
        Title -> name in :data:`COLOURS` -> ``(n,)`` values; those of one row stand below each other.
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
        axes.axvspan(*band, color=_INK, alpha=0.1, linewidth=0)
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
    with _style():
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
        axes.text(0.98, ceiling[0] - 0.015, "noise ceiling", ha="right", va="top", fontsize=8, color=_INK)
    for at, y in peaks:
        axes.plot(at, y, "o", color=COLOURS["peak"], markersize=5.5, zorder=5)
    for at, y in stars:
        axes.plot(at, y + 0.06 * (ylim[1] - ylim[0]), "*", color=_INK, markersize=8, zorder=5)
    axes.set(xlabel=xlabel, ylabel=ylabel, xlim=(0, 1), ylim=ylim)
    percent(axes, "x")
    return figure


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
    with _style():
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
    with _style():
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
    with _style():
        figure.legend(loc="outside lower center", ncols=2)
        buffer = io.BytesIO()
        metadata = {"Date": None} if kind == "svg" else None
        figure.savefig(buffer, format=kind, dpi=200, facecolor="white", metadata=metadata)
    with store.atomic_write(path) as file:
        file.write(buffer.getvalue())


def _plain(text: str) -> str:
    """Text as it is: a dollar sign in a file's name is no formula."""
    return text.replace("$", r"\$")


# --- on the page ---------------------------------------------------------------------------------


def show(
    panels: Figure | Sequence[Figure],
    *,
    name: str,
    alt: str,
    caption: str,
    numbers: pd.DataFrame | None = None,
    legend: Mapping[str, str] | None = None,
) -> HTML:
    """Panels as one figure of the page.

    Parameters
    ----------
    panels
        Figures from this module.
    name
        Short and unique on the page; the anchor ``#figure-<name>`` and the file name of the numbers.
    alt
        What a reader who cannot see it should know.
    caption
        The finding and the source of the numbers. May hold ``<em>`` and ``<strong>``.
    numbers
        What is drawn, offered for download as CSV.
    legend
        Label -> name in :data:`COLOURS`; one for all the panels.
    """
    if not alt:
        raise InputError(f"the figure {name!r} needs a text alternative and a caption.")
    figures = [panels] if isinstance(panels, Figure) else list(panels)
    drawings = "".join(_svg(f, prefix=f"{name}-{i}-") for i, f in enumerate(figures))
    least = min(f.get_figwidth() for f in figures) * 96
    columns = f"repeat(auto-fit,minmax(min(100%,{least:.0f}px),1fr))"
    keys = "".join(
        f'<li><span style="background:{page_colour(colour)}"></span>{html.escape(label)}</li>'
        for label, colour in (legend or {}).items()
    )
    legends = f'<ul class="rf-legend">{keys}</ul>' if keys else ""
    style = f'style="display:grid;grid-template-columns:{columns}"'
    return _framed(
        f'{legends}<div class="rf-panels" {style} {_image(alt)}>{drawings}</div>', name, caption, numbers
    )


def sprite(
    images: NDArray[Any], *, largest: int, columns: int | None = None, quality: int = 85
) -> dict[str, Any]:
    """Images in one picture, PNG where they are small and grey, JPEG otherwise.

    Parameters
    ----------
    images
        ``(n, c, h, w)`` in [0, 1], c 1 or 3.
    largest
        Longer side of a tile, in pixels; smaller images stay as they are.
    columns
        Tiles in a row; by default as many as there are rows.
    quality
        Of the JPEG.

    Returns
    -------
    dict
        ``file``, bytes; ``type``, of the file; ``tile``, width and height in pixels; ``columns``.
    """
    n, channels, height, width = images.shape
    factor = min(1, largest / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    columns = columns or int(np.ceil(np.sqrt(n)))
    sheet = Image.new("L" if channels == 1 else "RGB", (columns * size[0], -(-n // columns) * size[1]))
    for i, pixels in enumerate(np.rint(255 * images.transpose(0, 2, 3, 1)).clip(0, 255).astype(np.uint8)):
        tile = Image.fromarray(np.squeeze(pixels, axis=2) if channels == 1 else pixels)
        if factor < 1:
            tile = tile.resize(size, Image.Resampling.LANCZOS)
        sheet.paste(tile, (i % columns * size[0], i // columns * size[1]))
    kind = "png" if channels == 1 else "jpeg"
    buffer = io.BytesIO()
    sheet.save(buffer, kind, **({"optimize": True} if kind == "png" else {"quality": quality}))
    return {"file": buffer.getvalue(), "type": f"image/{kind}", "tile": list(size), "columns": columns}


def contact_sheet(
    rows: Mapping[str, tuple[NDArray[Any] | None, Sequence[str]]],
    *,
    name: str,
    caption: str,
    numbers: pd.DataFrame,
    size: int = 80,
) -> HTML:
    """Rows of images with a title each, as one figure of the page.

    Parameters
    ----------
    rows
        Title -> ``(n, c, h, w)`` in [0, 1], and a name for each image. Where there are no images, their
        names are written out.
    name, caption, numbers
        As for :func:`show`; the text alternatives are the titles and the names.
    size
        Of an image, in pixels.
    """
    parts = []
    for title, (images, names) in rows.items():
        said = html.escape(", ".join(names), quote=True)
        if images is None:
            strip = f"<p>{said}</p>"
        else:
            if len(images) != len(names):
                raise InputError(f"{title!r} has {len(images)} images and {len(names)} names.")
            # Four by four: beside each other on a desk, below each other on a phone.
            fours = [slice(i, i + _TOGETHER) for i in range(0, len(images), _TOGETHER)]
            strip = "".join(_strip(images[four], names[four], size) for four in fours)
        parts.append(f'<div><b>{html.escape(title)}</b><div class="rf-strips">{strip}</div></div>')
    said = html.escape("; ".join(rows), quote=True)
    sheet = f'<div class="rf-sheet" role="group" aria-label="{said}">{"".join(parts)}</div>'
    return _framed(sheet, name, caption, numbers)


def _strip(images: NDArray[Any], names: Sequence[str], size: int) -> str:
    """A few images as one picture."""
    made = sprite(images, largest=size, columns=len(images), quality=75)
    data = base64.b64encode(made["file"]).decode()
    said = html.escape(", ".join(names), quote=True)
    return (
        f'<img class="dark-light" style="max-width:{100 * len(images) / _TOGETHER:g}%" '
        f'width="{made["tile"][0] * len(images)}" height="{made["tile"][1]}" '
        f'src="data:{made["type"]};base64,{data}" alt="{said}" title="{said}">'
    )


def _framed(body: str, name: str, caption: str, numbers: pd.DataFrame | None) -> HTML:
    if not re.fullmatch(r"[a-z0-9-]+", name):
        raise InputError(f"name is lower-case letters, digits and hyphens; got {name!r}.")
    if not caption:
        raise InputError(f"the figure {name!r} needs a text alternative and a caption.")
    return HTML(
        f'<figure class="rf-figure" id="figure-{name}">{body}'
        f"<figcaption>{caption}{_download(numbers, name)}</figcaption></figure>"
    )


def _image(alt: str) -> str:
    return f'role="img" aria-label="{html.escape(alt, quote=True)}"'


def verdict_cards(card: pd.DataFrame, *, name: str, caption: str, places: Mapping[str, str]) -> HTML:
    """Findings beside the paper's claims: a card for each claim, a line for each finding.

    Parameters
    ----------
    card
        From :func:`rarefire.scorecard.verdicts`, with names of image sets and conventions as they are to
        be read.
    name, caption
        As for :func:`show`; the numbers are `card`.
    places
        By claim, the address of the figure that shows it; a claim without one has no link.
    """
    known = claims.claims()
    parts = []
    for id_, found in card.groupby("id", sort=False):
        claim = known[str(id_)]
        axis = _axis(claim, found)
        lines = "".join(_finding(claim, row, axis) for row in found.to_dict("records"))
        ends = "".join(f"<span>{number(value)}</span>" for value in axis)
        link = (
            f' <a href="{html.escape(places[claim.id], quote=True)}">The figure</a>.'
            if claim.id in places
            else ""
        )
        missing = f"<p>What is missing to test it: {html.escape(claim.missing)}</p>" if claim.missing else ""
        parts.append(
            f'<section class="rf-claim" id="claim-{claim.id}"><p><b>{html.escape(claim.title)}</b></p>'
            f"<blockquote>“{html.escape(claim.claim)}” <cite>{html.escape(claim.where)}</cite></blockquote>"
            f"<p>Read as: {html.escape(claim.reading)}.{_ranges(claim)}{link}</p>{missing}"
            f'<ul>{lines}</ul><p class="rf-ends" aria-hidden="true">{ends}</p></section>'
        )
    numbers = card.drop(columns=["claim"])
    return _framed(
        f'<div class="rf-claims" role="group" aria-label="claims and findings">{"".join(parts)}</div>',
        name,
        caption,
        numbers,
    )


#: A sign for each verdict: they must not differ in colour alone.
SIGNS = dict(zip(claims.VERDICTS, "●◐○?∅–", strict=True))


def _axis(claim: claims.Claim, found: pd.DataFrame) -> tuple[float, float]:
    """Where the lines of a claim start and end: around all that was found and what is asked for."""
    values = found[["ours", "low", "high", "from", "to"]].to_numpy(dtype=float).ravel()
    values = values[np.isfinite(values)]
    bounds = [claim.low] if claim.high == claim.direction_high and len(values) else [claim.low, claim.high]
    start, end = min([*values, *bounds]), max([*values, *bounds])
    margin = 0.06 * ((end - start) or 1)
    # Not beyond what the quantity can be, where the claim's ranges say so.
    first = max(start - margin, min(start, claim.direction_low))
    last = min(end + margin, max(end, claim.direction_high))
    return (first, last) if first < last else (start - margin, end + margin)


def _finding(claim: claims.Claim, row: Mapping[Any, Any], axis: tuple[float, float]) -> str:
    """One line: who, a drawing, the number, the verdict."""

    def at(value: float) -> str:
        return f"{100 * min(max((value - axis[0]) / (axis[1] - axis[0]), 0), 1):.2f}%"

    def bar(low: float, high: float, *, height: int, opacity: float) -> str:
        if not np.isfinite([low, high]).all() or high < axis[0] or low > axis[1]:
            return ""
        wide = (min(high, axis[1]) - max(low, axis[0])) / (axis[1] - axis[0])
        top = 9 - height / 2
        return (
            f'<rect x="{at(low)}" y="{top:g}" width="{max(100 * wide, 0.8):.2f}%" height="{height}" '
            f'fill="currentColor" opacity="{opacity}"/>'
        )

    drawn, text = "", "–"
    if np.isfinite(row["ours"]):
        dot = f'<circle cx="{at(row["ours"])}" cy="9" r="4.5" fill="currentColor"/>'
        drawn = (
            bar(row["from"], row["to"], height=2, opacity=0.45)
            + bar(row["low"], row["high"], height=5, opacity=0.8)
            + dot
        )
        text = number(row["ours"])
        if np.isfinite(row["low"]):
            text += f" <small>{number(row['low'])} to {number(row['high'])}</small>"
        if claim.statistic == "largest" and row["instances"] > 1:
            text += f" <small>in range: {row['within']} of {row['instances']}</small>"
        elif row["undefined"]:
            text += f" <small>in {row['instances'] - row['undefined']} of {row['instances']}</small>"
    ground = bar(claim.direction_low, claim.direction_high, height=18, opacity=0.07) + bar(
        claim.low, claim.high, height=18, opacity=0.13
    )
    verdict = str(row["verdict"])
    # Where the interval reaches into another verdict's range.
    open_ = np.isfinite(row["low"]) and not row["firm"] and verdict != claims.UNDEFINED
    others = "seeds" if row["instances"] > 1 else "images"  # what the interval is over
    doubt = f" <small>other {others} could turn it</small>" if open_ else ""
    kind = claims.VERDICTS.index(verdict)
    how = f" <small>{html.escape(row['convention'])}</small>" if row["convention"] else ""
    return (
        f'<li class="rf-verdict-{kind}{" rf-beyond" if row["beyond"] else ""}">'
        f"<span>{html.escape(row['images'])}{how}</span>"
        '<svg width="100%" height="18" style="overflow:visible" aria-hidden="true">'
        f'{ground}<g class="rf-mark">{drawn}</g></svg>'
        f"<span>{text}</span><span><i aria-hidden='true'>{SIGNS[verdict]}</i> {verdict}{doubt}</span></li>"
    )


def number(value: float) -> str:
    """Two digits, three near 0 and 1; the typographic minus."""
    digits = 3 if 0.0005 <= abs(value) < 0.02 or 0.98 < abs(value) < 0.9995 else 2
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")  # no minus before a zero


def _ranges(claim: claims.Claim) -> str:
    """What counts as what, in words."""
    if claim.statistic == "positive":
        return ""
    inner, outer = ((claim.low, claim.high), (claim.direction_low, claim.direction_high))
    wider = f"; in direction: {_range(*outer)}" if inner != outer else ""
    return f" Reproduced: {_range(*inner)}{wider}."


def _range(low: float, high: float) -> str:
    ends = [f"{end:.3f}".removesuffix("0").replace("-", "−") for end in (low, high)]
    return " to ".join(dict.fromkeys(ends))


def table(
    frame: pd.DataFrame, *, name: str, caption: str, digits: int = 2, numbers: pd.DataFrame | None = None
) -> HTML:
    """A data frame as a table of the page, with a caption and numbers (its own by default) for download."""
    body = frame.to_html(
        index=False,
        border=0,
        classes="rf-table",
        float_format=lambda v: f"{v:.{digits}f}".replace("-", "−"),
        na_rep="–",
    )
    return HTML(
        f'<figure class="rf-figure" id="table-{name}"><div class="rf-scroll" tabindex="0" role="region" '
        f'aria-label="table {name}">{body}</div>'
        f"<figcaption>{caption}{_download(frame if numbers is None else numbers, name)}</figcaption></figure>"
    )


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


def _svg(figure: Figure, *, prefix: str) -> str:
    """Inline SVG whose colours are the page's and whose ids are unique on it."""
    with _style():
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r' d="([^"]*)"', lambda path: f' d="{_short_path(path[1])}"', text)
    text = re.sub(r"data:image/png;base64,([^\"]+)", lambda image: _short_image(image[1]), text)
    text = re.sub(r'\bid="', f'id="{prefix}', text)
    text = re.sub(r"url\(#", f"url(#{prefix}", text)
    text = re.sub(r'(xlink:href|href)="#', rf'\1="#{prefix}', text)
    text = text.replace(_INK, "currentColor").replace("'DejaVu Sans', sans-serif", _FONTS)
    for colour in sorted(set(COLOURS.values())):
        text = text.replace(colour, _variable(colour))
    width = re.search(r'width="([\d.]+)pt"', text)
    points = float(width.group(1)) if width else 250.0
    start = re.sub(r' (width|height)="[\d.]+pt"', "", text[: text.index(">")])
    pixels = points * 96 / 72
    style = f'style="width:100%;max-width:{1.5 * pixels:.0f}px" aria-hidden="true"'
    return f"{start} {style}{text[text.index('>') :]}"


def _short_path(path: str) -> str:
    """The same path in tenths of a point, without what goes without saying."""
    path = re.sub(r"-?\d+\.\d+", lambda number: f"{float(number[0]):.1f}".removesuffix(".0"), path)
    parts = re.findall(r"[A-Za-z][^A-Za-z]*", " ".join(path.split()))
    lines = [after == "L" and before in "ML" for before, after in pairwise(part[0] for part in parts)]
    # A line goes on after M and after L without being named.
    return "".join(
        (part[1:] if goes_on else part).rstrip() for part, goes_on in zip(parts, [False, *lines], strict=True)
    ).strip()


def _short_image(data: str) -> str:
    """The same PNG with a palette, where it has few colours: a third of the bytes."""
    image: Image.Image = Image.open(io.BytesIO(base64.b64decode(re.sub(r"\s", "", data))))
    opaque = image.mode == "RGBA" and image.getchannel("A").getextrema() == (255, 255)
    if opaque and (colours := image.getcolors(256)):
        image = image.convert("RGB").quantize(len(colours), dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    image.save(buffer, "png", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def page_colour(name: str) -> str:
    """The page's own shade, light or dark, of a colour in :data:`COLOURS`: a CSS value."""
    if name not in COLOURS:
        raise unknown("colour", name, list(COLOURS))
    return _variable(COLOURS[name])


def _variable(colour: str) -> str:
    return f"var(--rf-{colour[1:]}, {colour})"


def _download(frame: pd.DataFrame | None, name: str) -> str:
    if frame is None:
        return ""
    data = base64.b64encode(frame.to_csv(index=False, float_format="%.6g").encode()).decode()
    return (
        f' <a class="rf-numbers" download="{name}.csv" href="data:text/csv;base64,{data}">Numbers (CSV)</a>'
    )
