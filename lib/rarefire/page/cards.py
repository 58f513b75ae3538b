"""The paper's claims as cards, with what was found for each."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from IPython.display import HTML

from rarefire.page import claims
from rarefire.page.frame import framed, number

__all__ = ["SIGNS", "verdict_cards"]


def verdict_cards(card: pd.DataFrame, *, name: str, caption: str, places: Mapping[str, str]) -> HTML:
    """Findings beside the paper's claims: a card for each claim, a line for each finding.

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
    return framed(
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
