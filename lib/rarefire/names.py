"""Names of images: their order, their spellings, and how the rows of two files are matched by them."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
from numpy.typing import NDArray

from rarefire._engine.arguments import checked
from rarefire.errors import InputError

__all__ = [
    "MOST_BYTES",
    "PICTURES",
    "Aligned",
    "Index",
    "align",
    "are_numbers",
    "beside",
    "check_pairs",
    "check_writable",
    "kept",
    "listed",
    "natural",
    "of_matrix",
]

#: Extensions of pictures, in small letters.
PICTURES = (
    *(".png", ".jpg", ".jpeg", ".jfif", ".jpe", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".avif", ".jp2"),
    *(".tga", ".ppm", ".pgm"),
)


#: What is taken at once for all pairs of images.
MOST_BYTES = 2**33


def natural(name: str) -> tuple[tuple[tuple[int, int, str], ...], ...]:
    """A key to sort by, for which cat2 comes before cat10, and folders come one after the other."""
    folders = [
        tuple(_part(part) for part in re.split(r"([0-9]+)", folder) if part)
        for folder in unicodedata.normalize("NFC", name).split("/")
    ]
    return (*folders, ((2, 0, name),))  # img1 and img01 are equal so far


def _part(part: str) -> tuple[int, int, str]:
    number = part.lstrip("0")
    return (0, len(number), number) if part[0] in "0123456789" else (1, 0, part)


def listed(names: Sequence[str]) -> str:
    """Some names, for a message."""
    return ", ".join(map(repr, names[:10])) + (", …" if len(names) > 10 else "")


def are_numbers(names: Sequence[str] | None) -> bool:
    """Whether names only count, from 0 or 1: what programs write above and before a matrix without names.

    R writes V1, V2, … or X1, X2, ….
    """
    if names is None:
        return False
    n = len(names)
    counts = [[f"{letter}{i + start}" for i in range(n)] for letter in ("", "V", "X") for start in (0, 1)]
    return list(names) in counts


# --- where names are kept -------------------------------------------------------------------------


@checked
def beside(array: str | Path) -> Path:
    """Where the names of an array's images are kept: ``E.names.txt`` beside ``E.npy``, a line each."""
    path = Path(array)
    return path.with_name(f"{path.stem}.names.txt")


@checked
def kept(array: str | Path) -> Path | None:
    """The file that names an array's images: :func:`beside` it, or as thingsvision calls it; None without."""
    own, path = beside(array), Path(array)
    theirs = path.with_name("file_names.txt")
    if own.exists():
        return own
    return theirs if path.stem == "features" and theirs.is_file() else None


def check_writable(names: Sequence[str]) -> None:
    """Refuse names that no line of a text can hold.

    Raises
    ------
    InputError
        For a name with a line break in it, or one that is no UTF-8.
    """
    for name in names:
        if re.search(r"[\r\n]", name):
            raise InputError(f"the picture {name!r} has a line break in its name. Rename it.")
        try:
            name.encode()
        except UnicodeEncodeError:
            raise InputError(f"the name of the picture {name!r} is no UTF-8. Rename it.") from None


def of_matrix(above: list[str] | None, before: list[str] | None, path: str | Path) -> list[str] | None:
    """The images' names, where they stand above a matrix's columns, before its rows, or both.

    Raises
    ------
    InputError
        If both are there and differ, or two images have one name.
    """
    given = [names for names in (above, before) if names is not None]
    named = [names for names in given if not are_numbers(names)] or given[:1]
    if not named:
        return None
    if named[0] != named[-1]:
        first = next(i for i, (a, b) in enumerate(zip(*named, strict=True)) if a != b)
        raise InputError(
            f"the names above the columns of {Path(path).name} are not those before its rows: number "
            f"{first + 1} is {named[0][first]!r} and {named[1][first]!r}. Put both in one order."
        )
    _check_different(named[0], Path(path).name)
    return named[0]


def _check_different(names: Sequence[str], where: str) -> None:
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise InputError(f"{where} has two images called {twice!r}. Names must differ.")


def check_pairs(n_images: int, where: str, *, copies: int = 1) -> None:
    """Refuse more images than all their pairs can be held of, before memory is taken for them.

    Raises
    ------
    InputError
        If so many numbers (`copies`) of every pair, both ways, take more than :data:`MOST_BYTES`.
    """
    need = 8 * copies * n_images**2
    if need > MOST_BYTES:
        raise InputError(
            f"{where} has {n_images:,} images: all their pairs would take {need / 2**30:,.1f} GiB, and "
            f"{MOST_BYTES / 2**30:.0f} are the most. Keep some of the images."
        )


# --- which is which -------------------------------------------------------------------------------


def _plain(name: str) -> str:
    if re.match(r"https?://", name):  # as experiments in browsers keep them
        name = unquote(urlsplit(name).path)
    return unicodedata.normalize("NFC", name.strip().replace("\\", "/")).removeprefix("./")


def _stem(name: str) -> str:
    extension = re.search(r"\.[A-Za-z]+$", name)
    return name[: extension.start()] if extension and extension[0].lower() in PICTURES else name


#: Spellings of one name, the strictest first, and what each leaves out of account.
_SPELLINGS = (
    (_plain, ""),
    (lambda name: _stem(_plain(name)), "extension"),
    (lambda name: _plain(name).casefold(), "capitals"),
    (lambda name: _stem(_plain(name)).casefold(), "extension and capitals"),
)


class Index:
    """Looks names up among others: as they are written, else without extension, else without capitals.

    A name may have fewer folders before it than that which it means, or more.

    Parameters
    ----------
    known
        The others, with ``/`` between folders.
    """

    def __init__(self, known: Sequence[str]) -> None:
        self._whole: list[dict[str, set[int]]] = [{} for _ in _SPELLINGS]
        self._ends: list[dict[str, set[int]]] = [{} for _ in _SPELLINGS]
        for i, name in enumerate(known):
            for spelling, (spell, _) in enumerate(_SPELLINGS):
                ends = _ends(spell(name))
                self._whole[spelling].setdefault(ends[0], set()).add(i)
                for end in ends:
                    self._ends[spelling].setdefault(end, set()).add(i)

    def find(self, name: str) -> tuple[set[int], str]:
        """Which of the others a name can mean, none or several, and what is left out of account for it."""
        for spelling, (spell, without) in enumerate(_SPELLINGS):
            whole, *shorter = _ends(spell(name))
            exact = self._whole[spelling].get(whole)
            if exact:
                return exact, without
            found = self._ends[spelling].get(whole)
            if not found:
                found = next((s for end in shorter if (s := self._whole[spelling].get(end))), None)
            if found:
                return found, f"{without} and folders".removeprefix(" and ")
        return set(), ""


def _ends(name: str) -> list[str]:
    """A path, and what is left of it with one folder less, and so on."""
    parts = name.split("/")
    return ["/".join(parts[i:]) for i in range(len(parts))]


@dataclass(frozen=True, eq=False)
class Aligned:
    """Which row of one file belongs to each row of another.

    Attributes
    ----------
    rows
        ``(n_images,)``: of the other file, that which belongs to each row.
    how
        ``"aligned by name"``, with what was left out of account, or ``"by position"``: every command says so.
    """

    rows: NDArray[np.intp]
    how: str


@checked
def align(
    own: Sequence[str] | None,
    other: Sequence[str] | None,
    *,
    n_images: int,
    own_file: str | Path,
    other_file: str | Path,
    by_position: bool = False,
) -> Aligned:
    """Match the rows of an embedding with those of an RDM, of labels or the like.

    Parameters
    ----------
    own, other
        The names of both, where they have names. Where both have, every name must mean one image of the
        other, whatever its extension, its folders, its Unicode normal form, and, where that is unique, its
        capitals.
    n_images
        Rows of the embedding; where `other` has no names, those who call check that it has as many.
    own_file, other_file
        For messages.
    by_position
        Match row by row, whatever the names.

    Raises
    ------
    InputError
        If only one has names, or the names are not those of the same images.
    """
    first, second = Path(own_file).name, Path(other_file).name
    position = np.arange(n_images)
    if by_position:
        return Aligned(position, "by position, as asked for")
    force = "or match them row by row with --by-position (by_position=True)"
    if own is None and (other is None or are_numbers(other)):
        return Aligned(position, "by position: neither has names")
    if own is None:
        raise InputError(
            f"{second} names its images, {first} does not: write their names into {beside(first)}, one a "
            f"line, {force}."
        )
    if other is not None:
        _check_different(own, beside(first).name)
        _check_different(other, second)
        index = Index(other)
        found = [index.find(name) for name in own]
        used = Counter(i for rows, _ in found for i in rows)
        if len(other) == n_images and all(len(r) == 1 for r, _ in found) and len(used) == n_images:
            without = {part for _, text in found for part in text.split(" and ") if part}
            said = [part for part in ("extension", "capitals", "folders") if part in without]
            how = f"aligned by name, whatever the {' and '.join(said)}" if said else "aligned by name"
            return Aligned(np.array([min(rows) for rows, _ in found], dtype=np.intp), how)
    if other is None or are_numbers(other):
        raise InputError(f"{first} has names ({beside(first)}), {second} has none: give it names, {force}.")
    ambiguous = next((name for name, (rows, _) in zip(own, found, strict=True) if len(rows) > 1), None)
    ambiguous = ambiguous or next((other[i] for i, count in used.items() if count > 1), None)
    if ambiguous is not None:
        raise InputError(
            f"the name {ambiguous!r} fits several images of {first} and {second}: write whole names in both, "
            f"{force}."
        )
    lost = [name for name, (rows, _) in zip(own, found, strict=True) if not rows]
    extra = [name for i, name in enumerate(other) if i not in used]
    differ = [
        f"{file} lacks {len(lacking):,} of {of:,} ({listed(lacking[:3])})"
        for file, lacking, of in ((second, lost, len(own)), (first, extra, len(other)))
        if lacking
    ]
    raise InputError(
        f"the images of {first} and {second} differ: {' and '.join(differ)}. Give both the same names, "
        f"{force}."
    )
