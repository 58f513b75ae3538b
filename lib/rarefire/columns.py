"""Which column of a table is what, by the names that programs give them; and which were not used.

A table holds ratings of pairs (two columns of images), odd-one-out trials (three), or triplets (two, and one
of what they are compared with). What cannot be told from the names and the cells is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rarefire import texts
from rarefire.errors import InputError
from rarefire.names import listed

__all__ = [
    "NOBODY",
    "Columns",
    "Kind",
    "Lines",
    "called_dissimilarity",
    "called_similarity",
    "find",
]

Kind = Literal["ratings", "odd-one-out", "triplets"]
#: Every line of a table but the first, with its number, in cells.
Lines = Sequence[tuple[int, Sequence[str]]]

#: As a subject's column: there is none.
NOBODY = "none"

# What columns may be called, without regard to capitals, spaces and signs.
_WORD = "(image|img|im|item|stimulus|stimuli|stim|object|obj|picture|pic|photo|file|name|word|concept|option)"
_TAIL = "(id|name|file|filename|path|url)?"
_IMAGE = re.compile(f"{_WORD}{_TAIL}([0-9]|[abcijk]){_TAIL}")
_SIDES = {
    "first": f"(first|left){_WORD}?{_TAIL}|{_WORD}(first|left)",
    "middle": f"(middle|center|centre){_WORD}?{_TAIL}|{_WORD}(middle|center|centre)",
    "second": f"(second|right){_WORD}?{_TAIL}|{_WORD}(second|right)",
    "third": f"third{_WORD}?{_TAIL}|{_WORD}third",
}
_REFERENCE = f"(reference|ref|anchor|probe|target|query){_WORD}?{_TAIL}"
_ODD = "odd(one)?(out)?"
_CHOICE = (
    f"(response|resp|choice|chosen|chose|select(ed|ion)|answer|pick(ed)?|{_ODD}){_WORD}?(id|name|index)?"
)
# With the ends of a scale behind them, as in "Similarity (1-7)".
_SIMILARITY = "(similarity|sim)(rating|score|judge?ment|response)?[0-9]*"
_DISSIMILARITY = "(dissimilarity|dissim|distance)(rating|score|judge?ment|response)?[0-9]*"
_RATING = (
    "(ratings?|ratingvalue|score|judge?ment|response|responsevalue|value|answer|label|"
    f"slider(value|response)?|likert)[0-9]*|{_SIMILARITY}|{_DISSIMILARITY}"
)
_PERSON = (
    "((prolific|mturk|turk|amt)?(subject|subj|sub|participant|ppant|ppt|pp|person|worker|turker|rater|observer|"
    "user|annotator|respondent|judge|player|viewer|volunteer|proband|vpn?|who)"
    "(s|id|ids|number|num|no|nr|idx|index|name|code|key|uuid|hash|privateid|publicid)?"
    "|p?pid|prolificpid|prolificid|uid|sid|participation)"
)
# Words in the names of columns that count trials or time: these tell any two lines apart, and say nothing.
_COUNTS = {
    *(
        "trial",
        "trials",
        "trialnumber",
        "index",
        "row",
        "order",
        "position",
        "time",
        "reactiontime",
        "rt",
        "ms",
    ),
    *("responsetime", "duration", "latency", "onset", "timestamp", "event", "start", "end", "seconds"),
}
_EXPECTED = "image1, image2, rating (or similarity, or dissimilarity), and, if there are several, subject"
_LETTERS = {"a": 1, "b": 2, "c": 3, "i": 1, "j": 2, "k": 3}


@dataclass(frozen=True)
class Columns:
    """What a table's columns were taken for.

    Attributes
    ----------
    kind
        ``"ratings"`` of pairs, ``"odd-one-out"`` trials, or ``"triplets"``.
    taken
        By role, the column's name: ``image1``, ``image2``, ``image3``, ``reference``, ``rating``, ``choice``,
        ``subject``.
    places
        The same, by number from 0.
    unused
        Names of the others.
    high
        What a high rating means: ``"similar"`` or ``"dissimilar"``; empty for choices.
    """

    kind: Kind
    taken: Mapping[str, str]
    places: Mapping[str, int]
    unused: tuple[str, ...]
    high: str = ""

    def __str__(self) -> str:
        roles = ", ".join(f"{role} is {name!r}" for role, name in self.taken.items())
        people = "" if "subject" in self.taken else "; no column of subjects"
        unused = f"; not used: {', '.join(map(repr, self.unused))}" if self.unused else ""
        high = f"; high means {self.high}" if self.high else ""
        return f"read as {self.kind}: {roles}{high}{people}{unused}"


def find(
    header: Sequence[str],
    lines: Lines,
    path: Path,
    *,
    subject: str | None = None,
    rating: str | None = None,
) -> Columns | None:
    """Which column is what; None for a matrix.

    Parameters
    ----------
    header
        The first line's cells.
    lines
        The others.
    path
        For messages.
    subject, rating
        Names of these columns, where they are not to be guessed; ``"none"``: there are no subjects.

    Raises
    ------
    InputError
        Where columns are missing, there are several for one role, three are of images and none says which
        was chosen, or pairs repeat and a column that is not used would tell the repeats apart.
    """
    table = _Table(header, lines, path)
    table.check_names()
    images = table.images()
    reference = [i for i in table.called(_REFERENCE) if table.of_images(i, images)]
    used = {i for column in images for i in column} | set(reference)
    given = {what: table.named(name, what) for what, name in (("subject", subject), ("rating", rating))}
    odd = [i for i in table.called(_ODD) if i not in used]
    if len(images) == 2 and not reference and rating is None and odd and table.of_images(odd[0], images):
        images, odd, used = [*images, odd], [], {*used, *odd}
        stated: list[int] | None = []  # which one is odd needs no answer beside it
    else:
        stated = None
    choices = [i for i in table.called(_CHOICE) if i not in used]
    # Meadows calls `resp` the time of an answer, and others the answer.
    ratings = [i for i in table.called(_RATING) or table.called("resp") if i not in used]
    if given["rating"] is not None:
        choices = ratings = [given["rating"]]
    people = [i for i in table.called(_PERSON) if i not in used]
    pair = table.called("positive"), table.called("negative")
    if reference and not images and all(pair) and table.of_images(pair[0][0], [reference]):
        images, stated = list(pair), []  # a line says itself which was chosen
    elif (len(images) < 2 or not (ratings or choices or stated is not None)) and table.is_matrix(
        named=subject or rating
    ):
        return None
    kind: Kind = "ratings" if len(images) == 2 and not reference else "odd-one-out"
    if len(images) == 2 and reference:
        kind = "triplets"
    if len(images) > 3 or (len(images) == 3 and reference):
        raise InputError(
            f"{path.name} has {len(images) + len(reference)} columns of images "
            f"({listed([header[i] for column in (*images, reference) for i in column])}); ratings are of "
            "two, odd-one-out trials of three, triplets of a reference and two. Leave out the others."
        )
    if len(images) < 2 or (kind == "ratings" and not ratings):
        raise InputError(
            f"the columns of {path.name} are not understood: found {listed(header)}; expected {_EXPECTED}. "
            f"Name them, or say which is the rating (--rating COLUMN). Or give a square matrix: this "
            f"has {len(lines)} lines of {table.width}."
        )
    if kind != "ratings" and stated is None and not choices:
        third = header[(images[2] if len(images) == 3 else reference)[0]]
        raise InputError(
            f"{path.name} has a third column of images, {third!r}, and none that says which was chosen "
            "(choice, response, odd; or --rating COLUMN). Leave the third out to read ratings of pairs."
        )
    places = {f"image{n + 1}": table.one(column, f"image{n + 1}") for n, column in enumerate(images)}
    if kind == "triplets":
        places = {"reference": table.one(reference, "reference"), **places}
    if kind == "ratings":
        places["rating"] = table.one(ratings, "rating", alike=False)
    elif stated is None:
        places["choice"] = table.one(choices, "choice", alike=False)
    if given["subject"] is not None:
        places["subject"] = given["subject"]
    elif subject is None and people:
        places["subject"] = table.one(people, "subject")
    unused = [i for i in range(len(header)) if i not in places.values()]
    if kind == "ratings" and subject is None:
        table.check_repeats(places, unused)
    taken = {role: header[i] for role, i in places.items()}
    return Columns(kind, taken, places, tuple(header[i] for i in unused))


def called_similarity(column: str) -> bool:
    """Whether a column's name says that its ratings are similarities."""
    return _called(column, _SIMILARITY)


def called_dissimilarity(column: str) -> bool:
    """Whether a column's name says that its ratings are dissimilarities."""
    return _called(column, _DISSIMILARITY)


class _Table:
    """Names above columns, and cells."""

    def __init__(self, header: Sequence[str], lines: Lines, path: Path) -> None:
        self.header, self.lines, self.path = header, lines, path
        self.width = max((len(row) for _, row in lines), default=0)

    def called(self, pattern: str) -> list[int]:
        return [i for i, cell in enumerate(self.header) if _called(cell, pattern)]

    def column(self, i: int) -> list[str]:
        return [row[i] if i < len(row) else "" for _, row in self.lines]

    def named(self, name: str | None, what: str) -> int | None:
        """The column that a user names."""
        if name is None or (what == "subject" and name == NOBODY):
            return None
        exact = [i for i, cell in enumerate(self.header) if cell == name]
        alike = [i for i, cell in enumerate(self.header) if _plain(cell) == _plain(name)]
        if len(exact or alike) != 1:
            raise InputError(
                f"{what} names one column of {self.path.name}; it has {len(exact or alike)} called {name!r}, "
                f"of {listed(self.header)}."
            )
        return (exact or alike)[0]

    def images(self) -> list[list[int]]:
        """The columns of images: for each of those shown in a trial, what names it."""
        counted: dict[int, list[int]] = {}
        for i, cell in enumerate(self.header):
            match = _IMAGE.fullmatch(_plain(cell))
            if match is not None:
                mark = match.group(3)
                counted.setdefault(int(mark) if mark.isdecimal() else _LETTERS[mark], []).append(i)
        sides = [places for pattern in _SIDES.values() if (places := self.called(pattern))]
        return [counted[n] for n in sorted(counted)] or sides

    def of_images(self, i: int, images: Sequence[Sequence[int]]) -> bool:
        """Whether a column names images that others name too, at least half of them."""
        own = {cell for cell in self.column(i) if not texts.is_missing(cell)}
        others = {cell for column in images for j in column if j != i for cell in self.column(j)}
        return bool(own) and (not images or 2 * len(own & others) >= len(own))

    def is_matrix(self, *, named: str | None) -> bool:
        numbers = all(texts.is_number(cell) for cell in self.header)
        return named is None and (numbers or abs(len(self.lines) - self.width) <= 2)

    def check_names(self) -> None:
        """Few columns of numbers, more lines than a matrix has, and no names: a table without its head."""
        rows = [self.header, *(row for _, row in self.lines)]
        few = 3 <= self.width <= 5 and len(rows) > self.width + 2
        if few and all(len(row) == self.width and all(cell.isdecimal() for cell in row) for row in rows):
            raise InputError(
                f"{self.path.name} has {len(rows)} lines of {self.width} whole numbers, and no names above "
                "its columns. Write a first line: image1,image2,rating for ratings of pairs; "
                "image1,image2,odd for odd-one-out trials whose last is the odd one."
            )

    def one(self, columns: Sequence[int], role: str, *, alike: bool = True) -> int:
        """The column for a role; of several that tell the same apart, what is a name, or comes first."""
        if len(columns) > 1:
            cells = [self.column(i) for i in columns]
            pairs = [len(set(zip(cells[0], other, strict=True))) for other in cells]
            if not alike or len({len(set(cell)) for cell in cells} | set(pairs)) > 1:
                some = " and ".join(repr(self.header[i]) for i in columns)
                what = role if role in ("subject", "rating") else "rating" if role == "choice" else None
                how = f" ({what}=, --{what} COLUMN)" if what else ""
                raise InputError(
                    f"{self.path.name} has several columns for the {role}: {some}. Leave one of them, or say "
                    f"which{how}."
                )
        return min(columns, key=lambda i: not _plain(self.header[i]).endswith("name"))

    def check_repeats(self, places: Mapping[str, int], unused: Sequence[int]) -> None:
        """Where pairs repeat, no column that is not used tells the repeats apart, as a person's would."""
        rows = [row for _, row in self.lines if len(row) > max(places.values())]
        rows = [row for row in rows if not texts.is_missing(row[places["rating"]])]
        who = places.get("subject")
        pairs = [
            (*sorted((row[places["image1"]], row[places["image2"]])), "" if who is None else row[who])
            for row in rows
        ]
        repeats = len(pairs) - len(set(pairs))
        if not repeats:
            return
        apart = []
        for i in unused:
            cells = [row[i] if i < len(row) else "" for row in rows]
            left = len(pairs) - len(set(zip(pairs, cells, strict=True)))
            # A person's column has few values, each of several lines, and a person may rate a pair twice.
            tells = 3 * left <= 2 * repeats if who is None else not left
            counts = _COUNTS & {*re.findall("[a-z]+", self.header[i].lower())}
            if tells and 2 * len(set(cells)) <= len(rows) and not counts:
                apart.append(self.header[i])
        if not apart:
            return
        told = (
            f"{repeats:,} of {len(pairs):,} ratings in {self.path.name} repeat a pair, and {listed(apart)}, "
            "not used, would tell the repeats apart."
        )
        if who is None:
            raise InputError(
                f"{told} Say which is the person (subject=, --subject COLUMN), or {NOBODY!r} to average all."
            )
        name = self.header[who]
        raise InputError(
            f"{told} Keep the lines of one kind, or name the subject ({name!r}: subject=, --subject COLUMN) "
            "to average each one's."
        )


def _plain(cell: str) -> str:
    return re.sub(r"[^a-z0-9]", "", cell.lower())


def _called(cell: str, pattern: str) -> bool:
    return re.fullmatch(pattern, _plain(cell)) is not None
