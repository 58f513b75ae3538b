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
from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from IPython.display import HTML
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from rarefire.errors import InputError

__all__ = ["COLOURS", "cumulative", "curves", "histogram", "panel", "picture", "rdm_panel", "show", "table"]

#: One colour per meaning, everywhere (Okabe and Ito's, which the colour-blind tell apart).
COLOURS = {
    "low": "#0072b2",
    "high": "#d55e00",
    "random": "#7f7f7f",
    "cosine": "#009e73",
    "digits": "#009e73",
    "mnist": "#0072b2",
    "cifar10": "#cc79a7",
    "cifar10-jpg": "#cc79a7",
}
LABELS = {"digits": "digits", "mnist": "MNIST", "cifar10": "CIFAR-10", "cifar10-jpg": "CIFAR-10 (JPEG)"}
#: Of RDMs: perceptually uniform, readable in grey and by the colour-blind.
COLOUR_MAP = "cividis"

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


def panel(width: float = 3.5, height: float = 2.9, *, title: str = "") -> tuple[Figure, Axes]:
    """An empty panel of `width` × `height` inches in the book's style."""
    with mpl.rc_context(_STYLE):
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
    label: str,
    singles: bool = True,
    dashed: bool = False,
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
    axes.plot(x[enough], middle, color=ink, label=label, linestyle="--" if dashed else "-")


def cumulative(axes: Axes, poz: ArrayLike, *, colour: str, label: str) -> None:
    """Cumulative histogram of PoZ ``(n_instances, n_features)``: share of features with PoZ ≤ x."""
    values = np.sort(np.atleast_2d(np.asarray(poz, dtype=float)), axis=1)
    grid = np.linspace(0, 1, 101)
    share = np.stack([np.searchsorted(row, grid, side="right") / len(row) for row in values])
    curves(axes, grid, share, colour=colour, label=label)
    axes.set(xlabel="PoZ: share of images with activation 0", ylabel="share of features", ylim=(0, 1.02))
    percent(axes, "x")


def histogram(axes: Axes, values: ArrayLike, *, colour: str, bins: int | Sequence[float] = 20) -> None:
    """Histogram of one number per instance or feature."""
    axes.hist(np.asarray(values, dtype=float), bins=bins, color=COLOURS[colour], alpha=0.85, linewidth=0)


def percent(axes: Axes, which: str) -> None:
    """Write an axis of shares in per cent."""
    formatter = mpl.ticker.PercentFormatter(1, decimals=0)
    (axes.xaxis if which == "x" else axes.yaxis).set_major_formatter(formatter)


def rdm_panel(
    square: ArrayLike,
    *,
    title: str = "",
    below: str = "",
    groups: Sequence[str] = (),
    limits: tuple[float, float] | None = None,
    size: float = 1.6,
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
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(size, size + 0.25 * bool(title) + 0.25 * bool(below)))
        axes = figure.add_subplot()
        axes.imshow(values, cmap=COLOUR_MAP, interpolation="nearest", **_limits(limits))
        axes.set_title(title, loc="center")
        axes.set_xlabel(below)
        axes.set_xticks([])
        step = len(values) / max(1, len(groups))
        axes.set_yticks((np.arange(len(groups)) + 0.5) * step - 0.5, groups, fontsize=7.5)
        axes.tick_params(length=0)
        for spine in axes.spines.values():
            spine.set_visible(False)
    return figure


def picture(
    images: NDArray[np.floating], *, titles: Sequence[str] = (), columns: int = 10, size: float = 0.6
) -> Figure:
    """Images ``(n, c, h, w)`` in [0, 1] as a contact sheet."""
    n = len(images)
    rows = -(-n // columns)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(size * columns, (size + 0.18 * bool(titles)) * rows))
        for i, axes in enumerate(np.ravel(figure.subplots(rows, columns, squeeze=False))):
            axes.axis("off")
            if i < n:
                axes.imshow(np.squeeze(images[i].transpose(1, 2, 0)), cmap="gray", vmin=0, vmax=1)
                if titles:
                    axes.set_title(titles[i], loc="center", fontsize=8)
    return figure


def _limits(limits: tuple[float, float] | None) -> dict[str, float]:
    return {} if limits is None else {"vmin": limits[0], "vmax": limits[1]}


# --- on the page ---------------------------------------------------------------------------------


def show(
    panels: Figure | Sequence[Figure],
    *,
    name: str,
    alt: str,
    caption: str,
    numbers: pd.DataFrame | None = None,
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
    """
    if not re.fullmatch(r"[a-z0-9-]+", name):
        raise InputError(f"name is lower-case letters, digits and hyphens; got {name!r}.")
    if not alt or not caption:
        raise InputError(f"the figure {name!r} needs a text alternative and a caption.")
    figures = [panels] if isinstance(panels, Figure) else list(panels)
    drawings = "".join(_svg(f, prefix=f"{name}-{i}-") for i, f in enumerate(figures))
    link = _download(numbers, name) if numbers is not None else ""
    return HTML(
        f'<figure class="rf-figure" id="figure-{name}">'
        '<div class="rf-panels" style="display:flex;flex-wrap:wrap" role="img" '
        f'aria-label="{html.escape(alt, quote=True)}">{drawings}</div>'
        f"<figcaption>{caption}{link}</figcaption></figure>"
    )


def table(frame: pd.DataFrame, *, name: str, caption: str, digits: int = 2) -> HTML:
    """A data frame as a table of the page, with a caption and the numbers for download."""
    body = frame.to_html(
        index=False, border=0, classes="rf-table", float_format=lambda v: f"{v:.{digits}f}", na_rep="–"
    )
    return HTML(
        f'<figure class="rf-figure" id="table-{name}"><div class="rf-scroll" tabindex="0" role="region" '
        f'aria-label="table">{body}</div><figcaption>{caption}{_download(frame, name)}</figcaption></figure>'
    )


def _svg(figure: Figure, *, prefix: str) -> str:
    """Inline SVG whose colours are the page's and whose ids are unique on it."""
    with mpl.rc_context(_STYLE):
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{prefix}', text)
    text = re.sub(r"url\(#", f"url(#{prefix}", text)
    text = re.sub(r'(xlink:href|href)="#', rf'\1="#{prefix}', text)
    text = text.replace(_INK, "currentColor").replace("'DejaVu Sans', sans-serif", _FONTS)
    for colour in sorted(set(COLOURS.values())):
        text = text.replace(colour, f"var(--rf-{colour[1:]}, {colour})")
    width = re.search(r'width="([\d.]+)pt"', text)
    points = float(width.group(1)) if width else 250.0
    start = re.sub(r' (width|height)="[\d.]+pt"', "", text[: text.index(">")])
    pixels = points * 96 / 72
    style = f'aria-hidden="true" style="width:{pixels:.0f}px;max-width:100%;height:auto"'
    return f"{start} {style}{text[text.index('>') :]}"


def _download(frame: pd.DataFrame, name: str) -> str:
    data = base64.b64encode(frame.to_csv(index=False, float_format="%.6g").encode()).decode()
    return (
        f' <a class="rf-numbers" download="{name}.csv" href="data:text/csv;base64,{data}">Numbers (CSV)</a>'
    )
