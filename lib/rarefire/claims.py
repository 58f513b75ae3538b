"""The paper's claims beside what we measured, with a verdict from a tolerance declared beforehand.

``data/paper.csv`` has one row per claim and way of reading it; see ``data/README.md`` for its
columns. ``data/recorded.csv`` holds what this project's own runs found, so that a later run can say
whether the numbers are still the same.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from rarefire import store
from rarefire.errors import DataError, InputError, unknown

__all__ = ["Claim", "check_recorded", "claims", "scorecard", "verdict"]

REPRODUCED = "reproduced"
DIRECTION = "reproduced in direction"
NOT_REPRODUCED = "not reproduced"
UNTESTED = "not tested here"
UNDEFINED = "undefined in most instances"


@dataclass(frozen=True)
class Claim:
    """A claim of the paper, and how we read it.

    Attributes
    ----------
    id
        Short name.
    claim
        The statement, in the paper's words or close to them.
    where
        Its place in the paper.
    value
        The paper's value, as printed.
    reading
        The quantity that we compute for it.
    low, high
        The range in which our value counts as reproduced.
    direction_low, direction_high
        The wider range in which the direction, not the size, is reproduced.
    """

    id: str
    claim: str
    where: str
    value: str
    reading: str
    low: float
    high: float
    direction_low: float
    direction_high: float


def claims(path: str | Path | None = None) -> dict[str, Claim]:
    """All claims by id, from ``data/paper.csv`` or another file of that form."""
    return dict(_claims(Path(path) if path else store.data_dir() / "paper.csv"))


@lru_cache(maxsize=4)
def _claims(path: Path) -> dict[str, Claim]:
    if not path.is_file():
        raise DataError(f"there is no file of claims at {path}.")
    numbers = ("low", "high", "direction_low", "direction_high")
    texts = ("id", "claim", "where", "value", "reading")
    found = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            try:
                low, high, direction_low, direction_high = (float(row[name]) for name in numbers)
                id_, claim, where, value, reading = (row[name] for name in texts)
            except (KeyError, TypeError, ValueError) as error:
                raise DataError(f"{path}: the row {row} lacks a column or a number ({error}).") from error
            if not direction_low <= low <= high <= direction_high:
                raise DataError(f"{path}: the ranges of {row['id']!r} are not nested.")
            ranges = (low, high, direction_low, direction_high)
            found[id_] = Claim(id_, claim, where, value, reading, *ranges)
    return found


def verdict(claim: Claim, measured: float) -> str:
    """The verdict on `claim` for a measured value; NaN means that it could not be tested."""
    if math.isnan(measured):
        return UNTESTED
    if claim.low <= measured <= claim.high:
        return REPRODUCED
    if claim.direction_low <= measured <= claim.direction_high:
        return DIRECTION
    return NOT_REPRODUCED


def scorecard(measured: Iterable[tuple[str, str, ArrayLike]]) -> pd.DataFrame:
    """A table of claims, our values and verdicts.

    Parameters
    ----------
    measured
        ``(claim id, image set, values)``, values being one per instance ``(I,)``; NaN where an
        instance has no value. The verdict is on their median; it is withheld where fewer than half
        of the instances have a value, for those would be a selection.

    Returns
    -------
    DataFrame
        Columns ``claim, paper, images, ours, 90 % of instances, undefined, verdict``; ``ours`` is a
        number, ``undefined`` counts instances without a value.
    """
    known = claims()
    rows = []
    for id_, images, values in measured:
        if id_ not in known:
            raise unknown("claim", id_, list(known))
        claim = known[id_]
        numbers = np.atleast_1d(np.asarray(values, dtype=np.float64))
        if numbers.ndim != 1:
            raise InputError(f"{id_}: expected one value per instance, got shape {numbers.shape}.")
        finite = numbers[np.isfinite(numbers)]
        middle = float(np.median(finite)) if len(finite) else math.nan
        low, high = np.quantile(finite, [0.05, 0.95]) if len(finite) else (math.nan, math.nan)
        selected = 0 < 2 * len(finite) < len(numbers)
        rows.append(
            {
                "claim": claim.reading,
                "paper": claim.value,
                "images": images,
                "ours": middle,
                "90 % of instances": f"{low:.2f} – {high:.2f}" if len(finite) else "–",
                "undefined": len(numbers) - len(finite),
                "verdict": UNDEFINED if selected else verdict(claim, middle),
            }
        )
    return pd.DataFrame(rows)


def check_recorded(values: Mapping[str, float], *, path: str | Path | None = None) -> pd.DataFrame:
    """Compare numbers with those our recorded runs found.

    Parameters
    ----------
    values
        By the name that they have in ``data/recorded.csv``.

    Returns
    -------
    DataFrame
        One row each: ``now``, ``recorded``, ``tolerance``, ``same`` (bool).
    """
    path = Path(path) if path else store.data_dir() / "recorded.csv"
    table = pd.read_csv(path, index_col="name")
    absent = [name for name in values if name not in table.index]
    if absent:
        raise unknown("recorded number", absent[0], list(table.index))
    rows = table.loc[list(values), ["recorded", "tolerance"]]
    rows.insert(0, "now", list(values.values()))
    rows["same"] = (rows["now"] - rows["recorded"]).abs() <= rows["tolerance"]
    return rows
