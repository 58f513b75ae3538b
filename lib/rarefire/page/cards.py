"""The paper's claims as cards, with what was found for each."""

from __future__ import annotations

import functools
import html
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import HTML
from matplotlib.figure import Figure

from rarefire.page import claims, palette, plots
from rarefire.page.frame import framed, number

__all__ = ["LATE", "SIGNS", "short", "sign", "verdict_bars", "verdict_cards", "words"]

#: A sign for each verdict: they must not differ in colour alone. Round ones are on what the paper states.
SIGNS = dict(zip(claims.VERDICTS, "●◐○▲△?∅–", strict=True))
#: Of each verdict in a bar: a name in :data:`rarefire.page.palette.COLOURS`, and how strongly.
_INKS = dict(
    zip(
        claims.VERDICTS,
        [("low", 1), ("low", 0.45), ("high", 0.9), *[("bound", 0.6)] * 2, *[("random", 0.3)] * 3],
        strict=True,
    )
)
#: Marks what hangs on a range or a way of reading that was added after results had been seen.
LATE = "†"


def sign(row: Mapping[Any, Any]) -> str:
    """Sign and mark of a row of a scorecard; where it is undecided, the signs of the verdicts in question."""
    either = row["between"].split(" or ") if row["between"] else [row["verdict"]]
    return "/".join(SIGNS[verdict] for verdict in either) + (LATE if row["late"] else "")


def words(row: Mapping[Any, Any]) -> str:
    """A verdict in words: between which it is undecided, whether it has no interval, and the mark."""
    either = f": {short(row['between'])}" if row["between"] else ""
    alone = ", by its value" if row["by"] == "value" else ""
    return f"{row['verdict']}{either}{alone}{LATE * row['late']}"


def short(verdicts: str) -> str:
    """Verdicts as they are named beside each other: ``reproduced or in direction``."""
    return verdicts.replace(claims.DIRECTION, "in direction").replace(" (our measure)", "")


def verdict_bars(parts: Mapping[str, Iterable[str]]) -> tuple[Figure, pd.DataFrame]:
    """How many verdicts of each kind there are, a bar for each part, and the numbers behind it.

    Parameters
    ----------
    parts
        Name -> verdicts, of :data:`rarefire.page.claims.VERDICTS`; at least one.

    Returns
    -------
    figure, numbers
        A row for each part, a column for each verdict that occurs.
    """
    counts = {name: pd.Series([*verdicts]).value_counts() for name, verdicts in parts.items()}
    table = pd.DataFrame(counts).T.fillna(0).astype(int)
    table = table[[verdict for verdict in claims.VERDICTS if verdict in table]]
    shares = table.div(table.sum(axis=1), axis=0)
    figure, axes = plots.panel(width=6.2, height=0.6 + 0.42 * len(table))
    left = np.zeros(len(table))
    rows = np.arange(len(table))[::-1]
    for verdict in table:
        ink, alpha = _INKS[verdict]
        axes.barh(rows, shares[verdict], left=left, height=0.62, color=palette.COLOURS[ink], alpha=alpha)
        for row, start, wide, n in zip(rows, left, shares[verdict], table[verdict], strict=True):
            if wide > 0.07:
                axes.text(
                    start + wide / 2, row, f"{SIGNS[verdict]} {n}", ha="center", va="center", fontsize=8
                )
        left += shares[verdict].to_numpy()
    named = [f"{name} ({n})" for name, n in zip(table.index, table.sum(axis=1), strict=True)]
    axes.set(yticks=rows, yticklabels=named, xlim=(0, 1), xlabel="share of readings")
    plots.percent(axes, "x")
    return figure, table.reset_index(names="part")


def verdict_cards(card: pd.DataFrame, *, name: str, caption: str, places: Mapping[str, str]) -> HTML:
    """Findings beside the paper's claims: for each claim a card that opens, a line for each finding.

    Parameters
    ----------
    card
        From :func:`rarefire.page.scorecard.verdicts`, with names of image sets and conventions as they are to
        be read.
    name, caption
        As for :func:`rarefire.page.frame.show`; the numbers are `card`.
    places
        By claim, the address of the figure that shows it; a claim without one has no link.
    """
    known = claims.everyones()
    parts = []
    for id_, found in card.groupby("id", sort=False):
        claim = known[str(id_)]
        axis = _axis(claim, found) if np.isfinite(found["ours"]).any() else None
        lines = "".join(_finding(claim, row, axis) for row in found.to_dict("records"))
        ends = "".join(f"<span>{number(value)}</span>" for value in axis or ())
        below = f'<p class="rf-ends" aria-hidden="true">{ends}</p>' if ends else ""
        link = (
            f' <a href="{html.escape(places[claim.id], quote=True)}">The figure</a>.'
            if claim.id in places
            else ""
        )
        missing = f"<p>What is missing to test it: {html.escape(claim.missing)}</p>" if claim.missing else ""
        counts = found["verdict"].value_counts()
        brief = ", ".join(f"{SIGNS[v]} {counts[v]} {short(v)}" for v in claims.VERDICTS if v in counts)
        parts.append(
            f'<section class="rf-claim"><details><summary><b>{html.escape(claim.title)}</b> '
            f'<small>{brief}</small></summary><div id="claim-{claim.id}">'
            f"<blockquote>“{html.escape(claim.claim)}” <cite>{html.escape(claim.where)}</cite></blockquote>"
            f"<p>Read as: {html.escape(claim.reading)}.{_ranges(claim)}{link}</p>{missing}"
            f"<ul>{lines}</ul>{below}</div></details></section>"
        )
    numbers = card.drop(columns=["claim"])
    return framed(
        f'<div class="rf-claims" role="group" aria-label="claims and findings">{"".join(parts)}</div>',
        name,
        caption,
        numbers,
    )


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


def _finding(claim: claims.Claim, row: Mapping[Any, Any], axis: tuple[float, float] | None) -> str:
    """One line: who, a drawing (where there is an axis), the number, the verdict."""
    drawing, text = ("<span></span>", "–") if axis is None else _drawing(claim, row, axis)
    beside = ""
    if row["between"]:
        beside = f"{short(row['between'])}; its value alone: {short(row['of value'])}"
    elif row["by"] == "value":
        beside = "by its value"
    why = f" <small>{beside}</small>" if beside else ""
    kind = claims.VERDICTS.index(row["verdict"])
    how = f" <small>{html.escape(row['convention'])}</small>" if row["convention"] else ""
    return (
        f'<li class="rf-verdict-{kind}{" rf-beyond" if row["beyond"] else ""}">'
        f"<span>{html.escape(row['images'])}{how}</span>{drawing}"
        f"<span>{text}</span><span><i aria-hidden='true'>{SIGNS[row['verdict']]}</i> "
        f"{row['verdict']}{LATE * row['late']}{why}</span></li>"
    )


def _drawing(claim: claims.Claim, row: Mapping[Any, Any], axis: tuple[float, float]) -> tuple[str, str]:
    """A dot and its bars on the ground of the claim's ranges, and the number in words."""

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
        form = functools.partial(number, keeps=functools.partial(claims.verdict, claim))
        text = form(row["ours"])
        if np.isfinite(row["low"]):
            ends = (form(row[end]) for end in ("low", "high"))
            text += f" <small>{' to '.join(ends)}</small>"
        if claim.statistic == "largest" and row["instances"] > 1:
            text += f" <small>in range: {row['within']} of {row['instances']}</small>"
        elif row["undefined"]:
            text += f" <small>in {row['instances'] - row['undefined']} of {row['instances']}</small>"
    ground = bar(claim.direction_low, claim.direction_high, height=18, opacity=0.07) + bar(
        claim.low, claim.high, height=18, opacity=0.13
    )
    return (
        '<svg width="100%" height="18" style="overflow:visible" aria-hidden="true">'
        f'{ground}<g class="rf-mark">{drawn}</g></svg>'
    ), text


def _ranges(claim: claims.Claim) -> str:
    """What counts as what, in words, and when that was said."""
    inner, outer = ((claim.low, claim.high), (claim.direction_low, claim.direction_high))
    held = "Reproduced" if claim.counted else "The paper gives no number; by our own measure it holds"
    if claim.statistic == "positive":
        said = f" {held} where the whole interval is above 0."
    elif claim.counted:
        wider = f"; in direction: {_range(*outer)}" if inner != outer else ""
        said = f" {held}: {_range(*inner)}{wider}."
    else:
        said = f" {held} from {_range(*inner)}."
    late = {"after": "This was", "direction after": "The wider range was"}.get(claim.declared)
    return f"{said} {LATE}\u00a0{late} set after results had been seen." if late else said


def _range(low: float, high: float) -> str:
    ends = [f"{end:.3f}".removesuffix("0").replace("-", "−") for end in (low, high)]
    return " to ".join(dict.fromkeys(ends))
