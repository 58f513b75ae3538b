"""Panels, pictures and tables -> figures of the page, each with a caption and the numbers behind it.

A figure is made of one or more panels (small matplotlib figures, :mod:`rarefire.page.plots`), which
:func:`show` puts on the page as inline SVG: they stand side by side on a desk, below each other on a phone,
follow the page's light or dark colours, and carry a text alternative, a caption and the numbers behind them.
"""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import HTML
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from rarefire.errors import InputError
from rarefire.page.palette import LABELS, page_colour, style, themed

__all__ = [
    "contact_sheet",
    "enumerated",
    "framed",
    "interval",
    "listed",
    "number",
    "p_value",
    "show",
    "signed",
    "span",
    "sprite",
    "table",
]

_TOGETHER = 4  # images in one piece of a contact sheet


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
        Label -> name in :data:`~rarefire.page.palette.COLOURS`; one for all the panels.
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
    grid = f'style="display:grid;grid-template-columns:{columns}"'
    return framed(
        f'{legends}<div class="rf-panels" {grid} {_image(alt)}>{drawings}</div>', name, caption, numbers
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
    return framed(sheet, name, caption, numbers)


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


def framed(body: str, name: str, caption: str, numbers: pd.DataFrame | None) -> HTML:
    """A body with its anchor, its caption and its numbers; see :func:`show`."""
    if not re.fullmatch(r"[a-z0-9-]+", name):
        raise InputError(f"name is lower-case letters, digits and hyphens; got {name!r}.")
    if not caption:
        raise InputError(f"the figure {name!r} needs a text alternative and a caption.")
    return HTML(
        f'<figure class="rf-figure" id="figure-{name}">{body}'
        f"<figcaption>{_folded(caption)}{_download(numbers, name)}</figcaption></figure>"
    )


def _folded(caption: str) -> str:
    """A caption that ends with the source of its numbers (:func:`rarefire.records.source`), behind a mark."""
    said, mark, origin = caption.partition("Source: ")
    if not mark:
        return caption
    return f'{said}<details class="rf-source"><summary>Source</summary> {origin}</details>'


def _image(alt: str) -> str:
    return f'role="img" aria-label="{html.escape(alt, quote=True)}"'


def number(value: float, *, digits: int = 2, keeps: Callable[[float], object] | None = None) -> str:
    """Two digits, three near 0 and 1; the typographic minus.

    Parameters
    ----------
    value
        The number.
    digits
        At least.
    keeps
        What must be the same of the number that is written, such as on which side of a border it lies; as
        many digits as that takes.
    """
    if 0.0005 <= abs(value) < 0.02 or 0.98 < abs(value) < 0.9995:
        digits = max(digits, 3)
    while keeps and digits < 6 and keeps(round(value, digits)) != keeps(value):
        digits += 1
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")  # no minus before a zero


def signed(value: float) -> str:
    """A difference: its sign, three digits, no zero before the point; ``+.012``, ``−.340``, ``.000``."""
    text = re.sub(r"^([+-])0\.", r"\1.", f"{value:+.3f}").replace("-", "−")
    return ".000" if text in ("+.000", "−.000") else text


def p_value(p: float) -> str:
    """A p value with three digits; ``–`` for NaN."""
    return "–" if np.isnan(p) else "<\u00a0.001" if p < 0.001 else f"{p:.3f}"


def interval(low: float, high: float, form: Callable[[float], str] = number) -> str:
    """From `low` to `high`, each written by `form`, on one line; ``–`` where `low` is NaN."""
    return "–" if np.isnan(low) else f"{form(low)}\u00a0to\u00a0{form(high)}"


def span(values: ArrayLike, form: Callable[[float], str] = number) -> str:
    """From the smallest to the largest of some values, as :func:`interval`; one where both are written alike.

    Parameters
    ----------
    values
        At least one; NaN is left out.
    form
        Writes a number.
    """
    found = np.asarray(values, dtype=float)
    if np.isnan(found).all():
        return "–"
    low, high = float(np.nanmin(found)), float(np.nanmax(found))
    return form(low) if form(low) == form(high) else interval(low, high, form)


def enumerated(words: Sequence[str]) -> str:
    """Words as a sentence has them: ``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def listed(texts: Mapping[str, str], form: str = "{name} {text}") -> str:
    """A text for each image set, or whatever has a name, as one for a caption: ``digits 12%; MNIST 15%``.

    Parameters
    ----------
    texts
        By name; those in :data:`rarefire.page.palette.LABELS` are written as there.
    form
        Of each, with ``{name}`` and ``{text}``.
    """
    return "; ".join(form.format(name=LABELS.get(name, name), text=text) for name, text in texts.items())


def table(
    frame: pd.DataFrame, *, name: str, caption: str, digits: int = 2, numbers: pd.DataFrame | None = None
) -> HTML:
    """A data frame as a table of the page, with a caption and numbers (its own by default) for download."""
    whole = frame.select_dtypes("Int64")  # whose gaps pandas writes in its own way
    shown = frame.assign(**whole.astype(object).where(whole.notna(), "–"))
    body = shown.to_html(
        index=False,
        border=0,
        classes="rf-table",
        float_format=lambda v: f"{v:.{digits}f}".replace("-", "−"),
        na_rep="–",
    ).replace("<th></th>", "<td></td>")  # no column is headed by nothing
    return HTML(
        f'<figure class="rf-figure" id="table-{name}"><div class="rf-scroll" tabindex="0" role="region" '
        f'aria-label="table {name}">{body}</div>'
        f"<figcaption>{_folded(caption)}{_download(frame if numbers is None else numbers, name)}</figcaption>"
        "</figure>"
    )


def _svg(figure: Figure, *, prefix: str) -> str:
    """Inline SVG in its place, whose colours are the page's and whose ids are unique on it."""
    with style():
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"\n +", "\n", text)
    # A style within a drawing holds for the page, all of which begins anew when one comes or goes.
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text, flags=re.DOTALL)
    text = re.sub(r' d="([^"]*)"', lambda path: f' d="{_short_path(path[1])}"', text)
    text = re.sub(r"data:image/png;base64,([^\"]+)", lambda image: _short_image(image[1]), text)
    # What says nothing, or the same everywhere: groups' names, turns by nothing, thousandths, the font.
    text = re.sub(r'<g id="[^"]*"', "<g", text)
    text = re.sub(r' transform="rotate\(-?0 [^"]*\)"', "", text)
    text = re.sub(r'\b([xy])="(-?\d+\.\d\d)\d*"', r'\1="\2"', text)
    text = re.sub(r"<g([^>]*)>\n((?:<use [^>]*/>\n)+)</g>", _shared_style, text)
    font = re.search(r"font-family: [^;\"]*", text)
    text = text.replace(f"{font[0]}; ", "") if font else text
    text = re.sub(r'\bid="', f'id="{prefix}', text)
    text = re.sub(r"url\(#", f"url(#{prefix}", text)
    text = re.sub(r'(xlink:href|href)="#', rf'\1="#{prefix}', text)
    text = themed(text)
    width, height = (float(points) for points in re.findall(r' (?:width|height)="([\d.]+)pt"', text)[:2])
    start = re.sub(r' (width|height)="[\d.]+pt"', "", text[: text.index(">")])
    named = f"{font[0]};" if font else ""
    # Its place is as large before it is drawn: a page draws what a reader comes near (rarefire.css).
    place = f"max-width:{1.5 * width * 96 / 72:.0f}px;aspect-ratio:{width:g}/{height:g}"
    own = f"{named}stroke-linejoin:round;display:block;width:100%"
    drawing = f'{start} style="{own}" aria-hidden="true"{text[text.index(">") :]}'
    return f'<div class="rf-drawing" style="{place}">{drawing}</div>'


def _shared_style(group: re.Match[str]) -> str:
    """A group whose marks have one style has it itself."""
    styles = set(re.findall(r' style="[^"]*"', group[2]))
    if len(styles) != 1 or "style" in group[1]:
        return group[0]
    style = styles.pop()
    return f"<g{group[1]}{style}>\n{group[2].replace(style, '')}</g>"


def _short_path(path: str) -> str:
    """The same path in tenths of a point: its lines by their steps, which are shorter than their ends."""
    steps: list[str] = []
    at = np.zeros(2, dtype=int)
    before = ""
    for command, numbers in re.findall(r"([A-Za-z])([^A-Za-z]*)", path):
        points = np.rint(10 * np.array(numbers.split(), dtype=float)).astype(int).reshape(-1, 2)
        if command == "L":
            ends = np.concatenate([at[None], points])
            text = _tenths(np.diff(ends, axis=0))
            # A line after a line needs no name.
            joint = "" if text.startswith("-") else " "
            steps.append(joint + text if before == "L" else f"l{text}")
        else:
            steps.append(command + _tenths(points))
        if len(points):
            at = points[-1]
        before = command
    return "".join(steps)


def _tenths(numbers: NDArray[np.int_]) -> str:
    """``[-3, 40, 5]`` -> ``-.3 4 .5``."""
    texts = (f"{n / 10:g}" for n in numbers.ravel())
    return re.sub(r" -", "-", re.sub(r"(^|[ -])0\.", r"\1.", " ".join(texts)))


def _short_image(data: str) -> str:
    """The same PNG with a palette, where it has few colours: a third of the bytes."""
    image: Image.Image = Image.open(io.BytesIO(base64.b64decode(re.sub(r"\s", "", data))))
    opaque = image.mode == "RGBA" and image.getchannel("A").getextrema() == (255, 255)
    if opaque and (colours := image.getcolors(256)):
        image = image.convert("RGB").quantize(len(colours), dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    image.save(buffer, "png", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _download(frame: pd.DataFrame | None, name: str) -> str:
    if frame is None:
        return ""
    data = base64.b64encode(frame.to_csv(index=False, float_format="%.5g").encode()).decode()
    return (
        f' <a class="rf-numbers" download="{name}.csv" href="data:text/csv;base64,{data}">Numbers (CSV)</a>'
    )
