"""The paper's claims, and the ranges in which a measured value confirms them.

``data/paper.csv`` has one row per claim and way of reading it; see ``data/README.md`` for its
columns. ``data/recorded.csv`` holds what this project's own runs found, so that a later run can say
whether the numbers are still the same.
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
    "DIRECTION",
    "EDGE",
    "NOT_REPRODUCED",
    "REPRODUCED",
    "UNDECIDED",
    "UNDEFINED",
    "UNTESTED",
    "VERDICTS",
    "Claim",
    "check_recorded",
    "claims",
    "tolerance",
    "verdict",
]

REPRODUCED = "reproduced"
DIRECTION = "reproduced in direction"
NOT_REPRODUCED = "not reproduced"
UNTESTED = "cannot be tested here"
UNDEFINED = "undefined in most instances"
UNDECIDED = "undecided"
#: All verdicts, from the best on.
VERDICTS = (REPRODUCED, DIRECTION, NOT_REPRODUCED, UNDECIDED, UNDEFINED, UNTESTED)


_STATISTICS = ("median", "largest", "positive")

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
        The paper's value, as printed.
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
    figure: str
    missing: str

    def is_about(self, images: str) -> bool:
        """Whether the claim is about this image set, a re-encoding or a part of it.

        Not, where a comma and another network or view follow the name.
        """
        return "," not in images and any(
            images == name or images.startswith((f"{name}-", f"{name}:")) for name in self.scope
        )


def claims(path: str | Path | None = None) -> dict[str, Claim]:
    """All claims by id, from ``data/paper.csv`` or another file of that form."""
    return dict(_claims(Path(path) if path else store.data_dir() / "paper.csv"))


@lru_cache(maxsize=4)
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
            found[claim.id] = claim
    return found


def verdict(claim: Claim, measured: float) -> str:
    """The verdict on `claim` for a measured value; NaN means that it could not be tested."""
    if math.isnan(measured):
        return UNTESTED
    if claim.low - EDGE <= measured <= claim.high + EDGE:
        return REPRODUCED
    if claim.direction_low - EDGE <= measured <= claim.direction_high + EDGE:
        return DIRECTION
    return NOT_REPRODUCED


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
