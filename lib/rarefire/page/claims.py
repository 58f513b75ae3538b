"""The paper's claims, those of others, and the ranges in which a measured value confirms them.

``data/paper.csv`` has one row per claim and way of reading it, ``data/claims/`` files of the same form for
the claims of other papers; see ``data/README.md`` for the columns. ``data/recorded.csv`` holds what this
project's own runs found, so that a later run can say whether the numbers are still the same.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from rarefire import store
from rarefire.errors import DataError, InputError, unknown

__all__ = [
    "DECLARED",
    "DIRECTION",
    "EDGE",
    "FAILS",
    "HOLDS",
    "NOT_REPRODUCED",
    "REPRODUCED",
    "UNDECIDED",
    "UNDEFINED",
    "UNTESTED",
    "VERDICTS",
    "Claim",
    "check_recorded",
    "claims",
    "everyones",
    "of_others",
    "tolerance",
    "verdict",
    "verdicts_within",
]

REPRODUCED = "reproduced"
DIRECTION = "reproduced in direction"
NOT_REPRODUCED = "not reproduced"
HOLDS = "holds (our measure)"
FAILS = "fails (our measure)"
UNDECIDED = "undecided"
UNDEFINED = "undefined in most instances"
UNTESTED = "cannot be tested here"
#: All verdicts: on what the paper states, from the best on; on what we alone put a number to; and none.
VERDICTS = (REPRODUCED, DIRECTION, NOT_REPRODUCED, HOLDS, FAILS, UNDECIDED, UNDEFINED, UNTESTED)
#: When a claim's ranges were set: before its results were seen; the wider one after; both after.
DECLARED = ("before", "direction after", "after")

_STATISTICS = ("median", "largest", "positive")
_NO_VALUE = "–"

#: A value that is outside of a range by less lies on its edge: recorded ones are in single precision.
EDGE = 1e-6


@dataclass(frozen=True)
class Claim:
    """A claim of the paper, and how we read it.

    Attributes
    ----------
    id, group, title
        Short names: of the claim, of what it is about, and for a heading.
    claim
        The statement, in the paper's words or close to them.
    where
        Its place in the paper.
    value
        The paper's number or direction, as printed; ``–`` where it gives neither.
    scope
        Image sets that the statement is about, by their names; what is measured on others goes beyond.
    reading
        The quantity that we compute for it.
    statistic
        What the verdict is on: the ``"median"`` over instances; the ``"largest"`` value; or whether the
        value's interval is ``"positive"``.
    low, high
        The range in which our value counts as reproduced.
    direction_low, direction_high
        The wider range in which the direction, not the size, is reproduced.
    declared
        One of :data:`DECLARED`.
    figure
        Where the book shows it: page and anchor.
    missing
        What it would take to test it where that cannot be done from public data; may be empty.
    """

    id: str
    group: str
    title: str
    claim: str
    where: str
    value: str
    scope: tuple[str, ...]
    reading: str
    statistic: str
    low: float
    high: float
    direction_low: float
    direction_high: float
    declared: str
    figure: str
    missing: str

    @property
    def counted(self) -> bool:
        """Whether a verdict on it is one on reproduction: the paper gives a number or a direction.

        Otherwise quantity and range are ours, and what is measured is an observation of ours.
        """
        return self.value != _NO_VALUE

    @property
    def borders(self) -> tuple[float, ...]:
        """The ends of its ranges, from the lowest on; 0 alone, where the verdict is on what is positive."""
        if self.statistic == "positive":
            return (0.0,)
        return (self.direction_low, self.low, self.high, self.direction_high)

    def is_late(self, verdict: str) -> bool:
        """Whether a verdict hangs on a range that was set after results had been seen."""
        if verdict in (UNDEFINED, UNTESTED):
            return False
        return self.declared == "after" or (self.declared == "direction after" and verdict != REPRODUCED)

    def is_about(self, images: str) -> bool:
        """Whether the claim is about this image set, a re-encoding or a part of it.

        Not, where a comma and another network or view follow the name.
        """
        return "," not in images and any(
            images == name or images.startswith((f"{name}-", f"{name}:")) for name in self.scope
        )


def claims(path: str | Path | None = None) -> dict[str, Claim]:
    """The paper's claims by id, from ``data/paper.csv`` or another file of that form."""
    return dict(_claims(Path(path) if path else store.data_dir() / "paper.csv"))


def of_others() -> dict[str, Claim]:
    """Claims of other papers by id, from all files of ``data/claims/``."""
    found: dict[str, Claim] = {}
    for path in sorted((store.data_dir() / "claims").glob("*.csv")):
        found |= _claims(path)
    return found


def everyones() -> dict[str, Claim]:
    """The paper's claims, then those of others."""
    return {**claims(), **of_others()}


@lru_cache(maxsize=8)
def _claims(path: Path) -> dict[str, Claim]:
    if not path.is_file():
        raise DataError(f"there is no file of claims at {path}.")
    numbers = ("low", "high", "direction_low", "direction_high")
    texts = tuple(f.name for f in fields(Claim) if f.name not in (*numbers, "scope"))
    found = {}
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            try:
                given: dict[str, Any] = {name: row[name].strip() for name in texts}
                given |= {name: float(row[name]) for name in numbers}
                given["scope"] = tuple(row["scope"].split())
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise DataError(f"{path}: the row {row} lacks a column or a number ({error}).") from error
            claim = Claim(**given)
            if not claim.direction_low <= claim.low <= claim.high <= claim.direction_high:
                raise DataError(f"{path}: the ranges of {claim.id!r} are not nested.")
            if claim.statistic not in _STATISTICS:
                raise DataError(f"{path}: {claim.id!r} is on one of {', '.join(_STATISTICS)}.")
            if claim.declared not in DECLARED:
                raise DataError(f"{path}: the ranges of {claim.id!r} were declared {', '.join(DECLARED)}.")
            if not claim.counted and (claim.low, claim.high) != (claim.direction_low, claim.direction_high):
                raise DataError(
                    f"{path}: the paper gives no number for {claim.id!r}, so that there is no direction: "
                    "both ranges must be the same."
                )
            found[claim.id] = claim
    return found


def verdict(claim: Claim, measured: float) -> str:
    """The verdict on `claim` for a measured value; NaN means that it could not be tested."""
    if math.isnan(measured):
        return UNTESTED
    if claim.statistic == "positive":
        inside = measured > EDGE  # 0 itself is not
    else:
        inside = claim.low - EDGE <= measured <= claim.high + EDGE
    if not claim.counted:
        return HOLDS if inside else FAILS
    if inside:
        return REPRODUCED
    near = claim.direction_low - EDGE <= measured <= claim.direction_high + EDGE
    return DIRECTION if near and claim.statistic != "positive" else NOT_REPRODUCED


def verdicts_within(claim: Claim, low: float, high: float) -> tuple[str, ...]:
    """The verdicts that values from `low` to `high` have, in the order of :data:`VERDICTS`.

    One, where the interval decides; several, where it lies across a border. None for NaN.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        return ()
    crossed = (border for border in claim.borders if low < border < high)
    found = {verdict(claim, value) for value in (low, high, *crossed)}
    return tuple(sorted(found, key=VERDICTS.index))


def tolerance(values: ArrayLike, *, rng: np.random.Generator, n_boot: int = 4000) -> float:
    """How far a median over networks may be off in networks that are trained anew.

    Another processor rounds otherwise, training amplifies that, and the same seed gives another network of
    the same kind: at worst an independent one. So this is four standard errors of the difference between
    the medians of two ensembles, bootstrapped over networks.

    Parameters
    ----------
    values
        ``(n_networks,)``; NaN, where it is undefined, is left out.
    rng
        Of the bootstrap.
    n_boot
        Samples.

    Raises
    ------
    InputError
        For fewer than three networks in which the value is defined.
    """
    given = np.asarray(values, dtype=np.float64)
    known = given[np.isfinite(given)]
    if given.ndim != 1 or len(known) < 3:
        raise InputError(f"a tolerance needs one value from each of three networks; got {given.shape}.")
    medians = np.median(rng.choice(known, (n_boot, len(known))), axis=1)
    return float(4 * np.sqrt(2) * medians.std())


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
    path = store.check_file(path or store.data_dir() / "recorded.csv")
    table = pd.read_csv(path, index_col="name")
    absent = [name for name in values if name not in table.index]
    if absent:
        raise unknown("recorded number", absent[0], list(table.index))
    rows = table.loc[list(values), ["recorded", "tolerance"]]
    rows.insert(0, "now", list(values.values()))
    rows["same"] = (rows["now"] - rows["recorded"]).abs() <= rows["tolerance"] + EDGE
    return rows
