"""Text that people's programs write, read as they meant it: its encoding, its lines, its tables.

Nothing here opens a file: :func:`rarefire.store.read_text` does, and decodes by :func:`decode`.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rarefire.errors import DataError, InputError, RarefireWarning

__all__ = [
    "MISSING",
    "Table",
    "check_marks",
    "decode",
    "is_missing",
    "is_number",
    "lines",
    "table",
    "wide",
    "without_last",
]

#: What a cell holds where a value is missing, in small letters.
MISSING = frozenset({"", "na", "n/a", "#n/a", "nan", "null", "none", "-", "."})

_MARKED = (-1, -9, -99, -999, -9999, 99, 999, 9999)  # where a number is missing, in some programs
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?inf(inity)?", re.ASCII | re.IGNORECASE)
_COMMA = re.compile(r"[+-]?\d*,\d+(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_COMMENTS = re.compile(r"\A(# [^\r\n]*(\r\n|\r|\n))+")
_SEPARATOR = re.compile(r'"?sep=(.)"?', re.IGNORECASE)


def decode(content: bytes, path: str | Path, *, kind: str = "text") -> str:
    """Text from bytes: UTF-8 or UTF-16, with a byte-order mark or without, else Latin-1, with a warning.

    Parameters
    ----------
    content
        What the file holds.
    path, kind
        Its name, and what it is read as, for messages.

    Raises
    ------
    DataError
        For anything else: what cannot be told apart is not guessed.
    """
    mark, encoding = next(((m, e) for m, e in _MARKS if content.startswith(m)), (b"", wide(content)))
    advice = f"{path} cannot be read as {kind}: %s. Save it as UTF-8 (in Excel: CSV UTF-8)."
    try:
        text = content.decode(encoding or "utf-8")
    except UnicodeDecodeError:
        if mark:
            raise DataError(
                advice % f"it starts as {encoding.removesuffix('-sig').upper()} but is none"
            ) from None
        return _latin(content, path, advice)
    if "\0" in text:
        raise DataError(advice % "it holds bytes of value 0, as files do that are no text")
    return text


def wide(content: bytes) -> str:
    """The name of UTF-16 without a mark, where most of every second byte, and none of the others, is 0."""
    for name, high, low in (
        ("utf-16-le", content[1::2], content[::2]),
        ("utf-16-be", content[::2], content[1::2]),
    ):
        if 2 * high.count(0) > len(high) and not low.count(0):
            try:
                text = content[: len(content) // 2 * 2].decode(name)
            except UnicodeDecodeError:
                continue
            if not re.search(r"[\x00-\x08\x0e-\x1f\x7f]", text):
                return name
    return ""


def _latin(content: bytes, path: str | Path, advice: str) -> str:
    """What is no UTF-8: Latin-1 where single letters among plain ones are all that speaks against it."""
    strange = re.search(rb"[\x00-\x08\x0e-\x1f\x7f-\x9f]|[\x80-\xff]{3}", content)
    if strange:
        raise DataError(advice % "it is neither UTF-8 nor UTF-16, and its encoding is not to be told")
    text = content.decode("latin-1")
    shown = next(part for part in re.split(r"[ \t\r\n,;]+", text) if not part.isascii())
    warnings.warn(
        f"{path} is no UTF-8; it is read as Latin-1, with {shown[:40]!r} in it. If that is not the word, "
        "save it as UTF-8.",
        RarefireWarning,
        stacklevel=3,
    )
    return text


def lines(text: str) -> list[str]:
    """The lines of a text: LF, CR LF or CR ends one, and nothing else. Empty ones at its end are none."""
    found = re.split(r"\r\n|\r|\n", text)
    while found and not found[-1].strip():
        found.pop()
    return found


class Table(NamedTuple):
    """A table of text.

    Attributes
    ----------
    rows
        Its cells, without spaces around them; numbers have points. Empty lines are left out, and rows of
        empty cells at the end.
    numbers
        Of each row, the number of its line, from 1.
    delimiter
        What stands between cells.
    """

    rows: list[list[str]]
    numbers: list[int]
    delimiter: str


def table(text: str, path: str | Path) -> Table:
    """A table from text, with commas, semicolons, tabs or spaces between its cells.

    Numbers may have decimal commas where cells are not separated by commas. A first line ``sep=;``, as Excel
    writes it, says what separates them.

    Parameters
    ----------
    text
        Of the file.
    path
        Its name, for messages.

    Raises
    ------
    DataError
        If quotes are not closed or the like, or if some numbers have decimal commas and others points.
    """
    named = _SEPARATOR.fullmatch(text.lstrip("\r\n").split("\n", 1)[0].strip())
    try:
        if named:
            delimiter = named[1]
            rows, numbers = _split(text, delimiter)
            rows, numbers = rows[1:], numbers[1:]
        else:
            candidates = [d for d in ("\t", ";", ",", " ") if d in text] or [","]
            tried = [(*_split(text, d), d) for d in candidates]
            rows, numbers, delimiter = max(tried, key=lambda each: _regularity(each[0], each[2]))
    except csv.Error as error:
        raise DataError(f"{path} cannot be read as a table: {error}.") from error
    if delimiter != ",":
        commas = [cell for row in rows for cell in row if _COMMA.fullmatch(cell)]
        points = [cell for row in rows for cell in row if "." in cell and _NUMBER.fullmatch(cell)]
        if commas and points:
            raise DataError(
                f"{path} has numbers with a comma ({commas[0]}) and with a point ({points[0]}). Write "
                "all with points."
            )
        if commas:
            rows = [[c.replace(",", ".") if _COMMA.fullmatch(c) else c for c in row] for row in rows]
    return Table(rows, numbers, delimiter)


def _split(text: str, delimiter: str) -> tuple[list[list[str]], list[int]]:
    """Rows of cells, and the numbers of their lines. Comments above them, as numpy writes them, are none."""
    text = _COMMENTS.sub(lambda above: "\n" * len(lines(above[0])), text)
    spaced = delimiter == " "
    body = "\n".join(line.strip(" ") for line in lines(text)) if spaced else text
    reader = csv.reader(io.StringIO(body, newline=""), delimiter=delimiter, skipinitialspace=True)
    rows, numbers, start = [], [], 1
    for row in reader:
        if any(cell.strip() for cell in row) or len(row) > 1:  # of a triangle, a row may be empty
            rows.append([cell.strip() for cell in row])
            numbers.append(start)
        start = reader.line_num + 1
    while rows and not any(rows[-1]):
        rows.pop()
        numbers.pop()
    return rows, numbers


def _regularity(rows: list[list[str]], delimiter: str) -> tuple[bool, int]:
    """What speaks for a delimiter: rows of one length, of more than one cell; then, numbers in them."""
    widths = [len(row) for row in rows]
    even = bool(widths) and max(widths) - min(widths) <= 1 and min(widths) > 1
    full = (cell for row in rows for cell in row)
    return even, sum(
        1 for cell in full if _NUMBER.fullmatch(cell) or (delimiter != "," and _COMMA.fullmatch(cell))
    )


def without_last(rows: list[list[str]]) -> list[list[str]]:
    """Rows without their last cell, where a delimiter at the end of every line has made it."""
    ends = rows and any(rows[0]) and all(len(row) > 1 and not row[-1] for row in rows)
    return [row[:-1] for row in rows] if ends else rows


def is_missing(cell: str) -> bool:
    """Whether a cell says that a value is missing."""
    return cell.lower() in MISSING


def check_marks(values: NDArray[np.float64], where: str) -> None:
    """Refuse numbers that mean that there is none, such as −99, where they lie far from all others.

    Raises
    ------
    InputError
        If there are some.
    """
    known = values[np.isfinite(values)]
    marks = np.isin(known, _MARKED)
    others = known[~marks]
    if not marks.any() or len(others) < 2:
        return
    low, high = others.min(), others.max()
    far = known[marks & ((known < low - (high - low)) | (known > high + (high - low)))]
    if len(far):
        raise InputError(
            f"{len(far):,} numbers in {where} are {far[0]:g}, the others lie between {low:g} and {high:g}: "
            "if that means that there is none, leave these cells empty."
        )


def is_number(cell: str) -> bool:
    """Whether a cell of a table holds a number, or says that one is missing."""
    return is_missing(cell) or _NUMBER.fullmatch(cell) is not None
