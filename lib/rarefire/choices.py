"""Choices among images: odd-one-out trials, and which of two is more like a third; an RDM by counting."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rarefire import texts
from rarefire.columns import Columns, Lines
from rarefire.errors import InputError
from rarefire.names import check_pairs
from rarefire.stimuli import Stimuli

__all__ = ["Choices", "Trial", "trials"]

#: Two images that were found alike and the one that was not; and who said so.
Trial = tuple[str, str, str, str]

_ENOUGH = 20  # trials in which each of three images should have been chosen
_WORDS = {"first": 0, "second": 1, "third": 2}
_SIDES = {"left": 0, "middle": 1, "center": 1, "centre": 1, "right": 2}


@dataclass(frozen=True, eq=False)
class Choices:
    """What people chose among three images at a time.

    Attributes
    ----------
    name
        Of the file.
    names
        ``(n,)``, of the images.
    images
        The n images, or None.
    trials
        ``(n_trials, 3)`` int: odd-one-out, the two that stayed together and the odd one; triplets, the
        reference, what was chosen as more like it, and the other.
    subjects
        ``(n_trials,)``, who chose; empty where the table does not say.
    columns
        What the table's columns were taken for; ``columns.kind`` says which of the two these are.
    """

    name: str
    names: tuple[str, ...]
    images: Stimuli | None
    trials: NDArray[np.intp]
    subjects: tuple[str, ...]
    columns: Columns

    def __len__(self) -> int:
        return len(self.trials)

    def __repr__(self) -> str:
        people = f", {len(set(self.subjects))} subjects" if self.subjects else ""
        return f"<{self.name}: {len(self.names)} images, {len(self):,} {self.what}{people}>"

    @property
    def what(self) -> str:
        """What they are, in words."""
        return "triplets" if self.columns.kind == "triplets" else "odd-one-out trials"

    @property
    def comparisons(self) -> NDArray[np.intp]:
        """``(n, 3)``: a reference, what was found more like it, and the other.

        An odd-one-out choice of c makes two: to a, b is more like than c; and to b, a.
        """
        if self.columns.kind == "triplets":
            return self.trials
        return np.concatenate([self.trials, self.trials[:, [1, 0, 2]]])

    def counts(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Condensed: in how many trials two images stayed together, and in how many both were shown.

        Of triplets, a pair is shown where one is the reference.
        """
        n = len(self.names)
        offered = [(0, 1), (0, 2)] + ([(1, 2)] if self.columns.kind == "odd-one-out" else [])
        check_pairs(n, self.name, copies=2)
        together, shown = np.zeros((2, n, n), dtype=np.intp)
        for i, j in offered:
            pair = np.sort(self.trials[:, [i, j]], axis=1).T
            np.add.at(shown, tuple(pair), 1)
            if (i, j) == (0, 1):
                np.add.at(together, tuple(pair), 1)
        upper = np.triu_indices(n, k=1)
        return together[upper], shown[upper]

    def rdm(self) -> NDArray[np.float64]:
        """Dissimilarities, condensed: 1 − the share of the trials with both in which they stayed together.

        Raises
        ------
        InputError
            Where two images were never shown together.
        """
        together, shown = self.counts()
        never = np.flatnonzero(shown == 0)
        if len(never):
            first = [axis[never[0]] for axis in np.triu_indices(len(self.names), k=1)]
            a, b = (self.names[i] for i in first)
            raise InputError(
                f"{len(never):,} of {len(shown):,} pairs of images were never shown together in the "
                f"{len(self):,} {self.what} of {self.name} (such as {a!r} and {b!r}): counting gives no "
                "RDM. How often a network agrees with them needs none: rarefire people, triplets.read(path)."
            )
        return np.asarray(1 - together / shown)


def trials(lines: Lines, columns: Columns, path: Path) -> list[Trial]:
    """What was chosen in each line: two images that were found alike, and the third; who said so.

    The cell may hold the image's name, its number from 1 or from 0, its letter or side, or its column's name.

    Raises
    ------
    InputError
        Where an answer is none of these, or can be read in two ways.
    """
    roles = [role for role in columns.places if role not in ("subject", "choice")]
    options = roles[-2:] if columns.kind == "triplets" else roles
    rows: list[tuple[int, dict[str, str]]] = []
    for number, row in lines:
        cells = {role: row[i] if i < len(row) else "" for role, i in columns.places.items()}
        if texts.is_missing(cells.get("choice", "stated")):
            continue
        empty = [role for role, cell in cells.items() if not cell]
        if empty:
            raise InputError(f"{path.name}, line {number}: the {empty[0]} is missing.")
        if len({cells[role] for role in roles}) < 3:
            raise InputError(f"{path.name}, line {number}: a trial is of three different images.")
        rows.append((number, cells))
    if not rows:
        raise InputError(f"{path.name} holds no answer.")
    if "choice" in columns.places:
        chosen = _chosen(rows, options, columns, path)
    else:  # the odd one comes last; of triplets, what was chosen first
        chosen = [2 if columns.kind == "odd-one-out" else 0] * len(rows)
    odd = columns.kind == "triplets" and "odd" in columns.taken.get("choice", "").lower()
    found = []
    for (_, cells), place in zip(rows, chosen, strict=True):
        names = [cells[role] for role in options]
        picked = names.pop(place)
        if columns.kind == "odd-one-out":
            first, second, third = (*names, picked)
        else:
            first, second, third = cells[roles[0]], *((*names, picked) if odd else (picked, *names))
        found.append((first, second, third, cells.get("subject", "")))
    return found


def _chosen(
    rows: Sequence[tuple[int, Mapping[str, str]]], options: Sequence[str], columns: Columns, path: Path
) -> list[int]:
    """Which of the images each answer names: in the one way in which all can be read."""
    column = columns.taken["choice"]

    def among(values: Mapping[str, int]) -> Callable[[Mapping[str, str]], int | None]:
        return lambda cells: values.get(cells["choice"].lower().removesuffix(".0"))

    def named(cells: Mapping[str, str]) -> int | None:
        names = [cells[role] for role in options]
        return names.index(cells["choice"]) if cells["choice"] in names else None

    n = len(options)
    sides = _SIDES if n == 3 else {"left": 0, "right": 1}
    ways: dict[str, Callable[[Mapping[str, str]], int | None]] = {
        "names of images": named,
        "numbers from 1": among({str(i + 1): i for i in range(n)}),
        "numbers from 0": among({str(i): i for i in range(n)}),
        "letters": among({letter: i for i, letter in enumerate("abc"[:n])}),
        "words": among({word: i for word, i in _WORDS.items() if i < n}),
        "sides": among(sides),
        "names of columns": among({columns.taken[role].lower(): i for i, role in enumerate(options)}),
    }
    read: dict[str, list[int]] = {}
    for way, place in ways.items():
        places = [place(cells) for _, cells in rows]
        if None not in places:
            read[way] = [p for p in places if p is not None]
    if not read:
        hits = {way: sum(place(cells) is not None for _, cells in rows) for way, place in ways.items()}
        most = max(hits, key=lambda way: hits[way])
        number, cells = next((number, cells) for number, cells in rows if ways[most](cells) is None)
        others = f", read as the others are ({most})" if hits[most] else " nor the number of one"
        raise InputError(
            f"{path.name}, line {number}: {column!r} is {cells['choice']!r}, which is none of its {n} images "
            f"({', '.join(repr(cells[role]) for role in options)}){others}. To read ratings of pairs, "
            "leave the third column of images out."
        )
    if len({tuple(places) for places in read.values()}) > 1:
        raise InputError(
            f"{column!r} in {path.name} can be read as {' and as '.join(read)}. Write names of images."
        )
    chosen = next(iter(read.values()))
    if columns.kind == "odd-one-out" and len(rows) >= _ENOUGH and len(set(chosen)) < 3:
        never = next(role for i, role in enumerate(options) if i not in chosen)
        raise InputError(
            f"in none of {len(rows):,} trials in {path.name} is {columns.taken[never]!r} chosen: they may be "
            "no odd-one-out trials. Is it what the others are compared with? Then call it reference."
        )
    return chosen
