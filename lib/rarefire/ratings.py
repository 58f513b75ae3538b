"""Your own similarity judgments from a file: a matrix, or a table with one rating in each line."""

from __future__ import annotations

import csv
import re
import warnings
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rarefire import files, rdm, stimuli, store
from rarefire.errors import DataError, InputError, RarefireWarning
from rarefire.judgments import Judgments, check_size
from rarefire.reliability import mean_of_subjects
from rarefire.stimuli import Stimuli

__all__ = ["read"]


def read(
    path: str | Path,
    *,
    images: str | Path | None = None,
    size: int | None = None,
    similarity: bool = False,
    scale: float | None = None,
    array: str | None = None,
    background: str = "white",
) -> Judgments:
    """Judgments from a file, with the images they are of.

    Parameters
    ----------
    path
        Either a square matrix, as :func:`rarefire.rdm.read` takes it; or a table with one rating in
        each line and names above its columns: two of images (``image1``, ``image2``), one of ratings
        (``rating``, ``similarity`` or ``dissimilarity``), and, if there is one, of subjects
        (``subject``, ``participant``). Ratings of (a, b) and (b, a), and repeated ones, are averaged
        within a subject; pairs that are not there are NaN. Nothing in the file is executed.
    images
        Their folder: the image files themselves, or one folder for each category. The names in the
        file are names of these, with or without the extension; a matrix without names is taken to be
        in the folder's order. Images that nobody judged are left out, with a warning.
    size
        The images' shorter side is scaled to it, and the central square kept. Needed where they differ
        in size.
    similarity
        High ratings mean similar: they are turned around, to `scale` − rating. A column that is called
        ``similarity`` says so itself.
    scale
        The highest possible rating, with `similarity`; by default the highest that occurs.
    array
        Of a file with several arrays, the name of the one that holds the judgments.
    background
        The colour behind transparent pictures.

    Returns
    -------
    Judgments
        In the folder's order, else, for a table, in the order of the names: numbers in names count as
        numbers. With two or more subjects, `human` is the mean of what each judged, brought to mean 0
        and standard deviation 1.

    Raises
    ------
    DataError
        If a file or folder is missing or cannot be read.
    InputError
        If columns are missing, names have no image, or a subject has rated every pair the same.
    """
    path = Path(path)
    check_size(size)
    if size is not None and images is None:
        raise InputError("size is for images; pass images=, their folder, or leave size out.")
    binary = path.is_file() and not files.is_text(path)
    text = None if binary else store.read_text(path, kind="a table")
    folder = None if images is None else _Folder(Path(images).expanduser())
    header, lines = ([], []) if text is None else _cells(text, path)
    columns = _columns(header, lines, path)
    if columns is not None:
        similarity = _means_similarity(header[columns["rating"]], similarity, path)
    if scale is not None and not similarity:
        raise InputError("scale turns similarities around: pass similarity=True with it, or leave it out.")
    subjects = reliability = None
    if columns is None:
        n_people = rdm.n_people(path, array=array) if binary else 1
        each = [
            _matrix(path, folder, text=text, similarity=similarity, scale=scale, array=array, person=person)
            for person in range(n_people)
        ]
        human, names = each[0]
        if n_people > 1:
            subjects = np.stack([values for values, _ in each])
            human, reliability = mean_of_subjects(subjects, [str(i + 1) for i in range(n_people)])
    else:
        ratings = _ratings(lines, columns, path, width=len(header))
        names = sorted({name for pair in ratings for name in (pair.first, pair.second)}, key=_natural)
        if folder is not None:
            names = [names[i] for i in np.argsort(folder.find(names, path))]
        values = np.array([rating.value for rating in ratings])
        if similarity:
            values = rdm.turned(values, path, scale=scale)
        means, people = _means(ratings, values, names)
        if "subject" in columns:
            subjects = means
            human, reliability = mean_of_subjects(means, people)
        else:
            human = means[0]
    return Judgments(
        name=path.stem,
        human=human,
        subjects=subjects,
        halves=None,
        reliability=reliability,
        images=None if folder is None else folder.load(folder.find(names, path), size, background),
        names=tuple(names),
        citation="own data",
        licence="own data",
        source=f"dissimilarity of {len(names)} images, judged by people ({path.name})",
    )


def _natural(name: str) -> list[tuple[int, int | str]]:
    """A key for sorting by which cat2 comes before cat10."""
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"([0-9]+)", name) if part]


# --- tables --------------------------------------------------------------------------------------

# What columns may be called, without regard to capitals, spaces and signs.
_WORD = "(image|img|item|stimulus|stim|object|picture|file|name)"
_PERSON = "(subject|subj|participant|person|worker|rater|observer)"
_SIMILARITY = "(similarity|sim)(rating)?"
_DISSIMILARITY = "(dissimilarity|dissim|distance)(rating)?"
_COLUMNS = {
    "first": f"{_WORD}[1ai]|first{_WORD}?|left",
    "second": f"{_WORD}[2bj]|second{_WORD}?|right",
    "rating": f"ratings?|score|judge?ment|response|value|{_SIMILARITY}|{_DISSIMILARITY}",
    "subject": f"{_PERSON}(s|id|number|name)?",
}
_EXPECTED = "image1, image2, rating (or similarity, or dissimilarity), and, if there are several, subject"


class _Rating(NamedTuple):
    first: str
    second: str
    value: float
    subject: str  # empty where the table names none


def _cells(text: str, path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The first line of a text file, and the others with their numbers, in cells."""
    try:
        first = next((line for line in text.splitlines() if line.strip()), "")
        delimiter = next((d for d in ("\t", ";", ",") if d in first), " ")
        rows = csv.reader(text.splitlines(), delimiter=delimiter, skipinitialspace=True)
        cells = [(rows.line_num, [cell.strip() for cell in row]) for row in rows if any(row)]
    except csv.Error as error:
        raise DataError(f"{path} cannot be read as a table: {error}") from error
    return (cells[0][1], cells[1:]) if cells else ([], [])


def _called(cell: str, pattern: str) -> bool:
    return re.fullmatch(pattern, re.sub(r"[^a-z0-9]", "", cell.lower())) is not None


def _columns(header: list[str], lines: list[tuple[int, list[str]]], path: Path) -> dict[str, int] | None:
    """Which column is what, of a table with one rating in a line; None for a matrix."""
    found = {
        role: [i for i, cell in enumerate(header) if _called(cell, pattern)]
        for role, pattern in _COLUMNS.items()
    }
    if not (found["first"] and found["second"] and found["rating"]):
        width = max((len(row) for _, row in lines), default=0)
        if all(rdm.is_number(cell) for cell in header) or abs(len(lines) - width) <= 2:
            return None
        raise InputError(
            f"the columns of {path.name} are not understood: found {_listed(header)}; expected {_EXPECTED}. "
            f"Or give a square matrix: this has {len(lines)} lines of {width}."
        )
    for role, places in found.items():
        if len(places) > 1:
            some = " and ".join(repr(header[i]) for i in places)
            raise InputError(f"{path.name} has several columns for the {role}: {some}. Leave one of them.")
    return {role: places[0] for role, places in found.items() if places}


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:10])) + (", …" if len(names) > 10 else "")


def _means_similarity(column: str, similarity: bool, path: Path) -> bool:
    if similarity and _called(column, _DISSIMILARITY):
        raise InputError(
            f"similarity=True, but the ratings in {path.name} are called {column!r}. Rename that column, or "
            "leave similarity out."
        )
    return similarity or _called(column, _SIMILARITY)


def _ratings(
    lines: list[tuple[int, list[str]]], columns: dict[str, int], path: Path, *, width: int
) -> list[_Rating]:
    """Every rating of two different images; a warning counts those of an image with itself."""
    found = []
    for number, row in lines:
        if len(row) > width:
            raise InputError(
                f"{path.name}, line {number}: {len(row)} cells, but the header has {width}. Where "
                "commas stand in numbers, write points."
            )
        cells = {role: row[i] if i < len(row) else "" for role, i in columns.items()}
        rating = cells["rating"]
        if rating in rdm.MISSING or rating.lower() == "nan":
            continue
        if not rdm.is_number(rating) or not np.isfinite(float(rating)):
            raise DataError(f"{path.name}, line {number}: the rating {rating!r} is not a finite number.")
        if "" in cells.values():
            empty = next(role for role, cell in cells.items() if not cell)
            what = empty if empty == "subject" else f"{empty} image"
            raise InputError(f"{path.name}, line {number}: the {what} is missing.")
        found.append(_Rating(cells["first"], cells["second"], float(rating), cells.get("subject", "")))
    different = [rating for rating in found if rating.first != rating.second]
    if len(different) < len(found):
        warnings.warn(
            f"{len(found) - len(different)} ratings in {path.name} are of an image with itself; they are "
            "ignored.",
            RarefireWarning,
            stacklevel=3,
        )
    if not different:
        raise InputError(f"{path.name} holds no rating of any pair of images.")
    return different


def _means(
    ratings: list[_Rating], values: NDArray[np.float64], names: Sequence[str]
) -> tuple[NDArray[np.float64], list[str]]:
    """Every subject's mean value of every pair, ``(n_subjects, n_pairs)``, and the subjects' names."""
    people = sorted({rating.subject for rating in ratings}, key=_natural)
    if len(people) == 1 and people[0]:
        raise InputError(
            f"all ratings are of one subject, {people[0]!r}; two are needed to compare. Leave that column "
            "out to read them as a mean."
        )
    row = {person: s for s, person in enumerate(people)}
    place = {name: i for i, name in enumerate(names)}
    total, count = np.zeros((2, len(people), len(names), len(names)))
    for rating, value in zip(ratings, values, strict=True):
        pair = sorted((place[rating.first], place[rating.second]))
        total[row[rating.subject], *pair] += value
        count[row[rating.subject], *pair] += 1
    with np.errstate(invalid="ignore"):
        return (total / count)[:, *np.triu_indices(len(names), k=1)], people


# --- matrices ------------------------------------------------------------------------------------


def _matrix(
    path: Path,
    folder: _Folder | None,
    *,
    text: str | None,
    similarity: bool,
    scale: float | None,
    array: str | None,
    person: int,
) -> tuple[NDArray[np.float64], list[str]]:
    """A square matrix as a condensed RDM in the folder's order, and the images' names."""
    values, above, before = rdm.read_named(
        path, similarity=similarity, scale=scale, text=text, array=array, person=person
    )
    n = len(rdm.square(values))
    # What programs put above and before a matrix are no names, unless there are files of that name.
    counts = [[str(i + start) for i in range(n)] for start in (0, 1)]
    named = _names(above, before, counts, path)
    if folder is None:
        return values, named or counts[1]
    if named is None or (named in counts and not folder.knows(named)):
        if n != len(folder.files):
            raise InputError(
                f"{path.name} is of {n} images, {folder.root} holds {len(folder.files)}. Without names in "
                "the matrix both must be the same, in the same order."
            )
        return values, folder.names
    order = np.argsort(folder.find(named, path))
    matrix = rdm.square(values)[np.ix_(order, order)]
    return matrix[np.triu_indices(n, k=1)], [named[i] for i in order]


def _names(
    above: list[str] | None, before: list[str] | None, counts: list[list[str]], path: Path
) -> list[str] | None:
    """The images' names, where they stand above the columns, before the rows, or both."""
    given = [names for names in (above, before) if names is not None]
    named = [names for names in given if names not in counts] or given[:1]
    if not named:
        return None
    if named[0] != named[-1]:
        first = next(i for i, (a, b) in enumerate(zip(*named, strict=True)) if a != b)
        raise InputError(
            f"the names above the columns of {path.name} are not those before its rows: number "
            f"{first + 1} is {named[0][first]!r} and {named[1][first]!r}. Put both in one order."
        )
    twice = [name for name in named[0] if named[0].count(name) > 1]
    if twice:
        raise InputError(f"{path.name} has two images called {twice[0]!r}. Names must differ.")
    return named[0]


# --- images --------------------------------------------------------------------------------------


class _Folder:
    """The images in a folder, or in one folder for each category, in the order of their names."""

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise DataError(f"there is no folder {root} (images=).")
        inside = [child for child in root.iterdir() if child.is_dir() and not child.name.startswith(".")]
        files = [file for folder in (root, *inside) for file in stimuli.image_files(folder)]
        if not files:
            raise DataError(f"there are no images in {root} (images=).")
        categories = {file.parent.name for file in files if file.parent != root}
        if categories and any(file.parent == root for file in files):
            raise InputError(
                f"{root} holds images and folders with images ({', '.join(sorted(categories))}). Expected "
                "either the images, or one folder for each category."
            )
        self.root = root
        self.files = sorted(files, key=lambda file: (_natural(file.parent.name), _natural(file.name)))
        self._by_name: dict[str, set[int]] = {}
        for i, file in enumerate(self.files):
            whole = file.relative_to(root)
            for name in (file.name, file.stem, whole.as_posix(), whole.with_suffix("").as_posix()):
                self._by_name.setdefault(name, set()).add(i)

    @property
    def names(self) -> list[str]:
        """Of the files, without the extension; with it and the folder, where that is not unique."""
        stems = [file.stem for file in self.files]
        if len(set(stems)) == len(stems):
            return stems
        return [file.relative_to(self.root).as_posix() for file in self.files]

    def _match(self, name: str) -> set[int]:
        plain = PurePosixPath(name.replace("\\", "/"))
        return self._by_name.get(str(plain)) or self._by_name.get(plain.name, set())

    def knows(self, names: Sequence[str]) -> bool:
        """Whether every name is one of a file."""
        return all(self._match(name) for name in names)

    def find(self, names: Sequence[str], path: Path) -> list[int]:
        """The number of the file that each name means; each means another."""
        matches = [self._match(name) for name in names]
        lost = [name for name, match in zip(names, matches, strict=True) if not match]
        if lost:
            raise InputError(
                f"{len(lost)} of {len(names)} images named in {path.name} are not in {self.root}: "
                f"{_listed(lost)}. There are {_listed(self.names)}. Names must be file names, with or "
                "without the extension."
            )
        found: dict[int, str] = {}
        for name, match in zip(names, matches, strict=True):
            if len(match) > 1:
                files = " and ".join(str(self.files[i].relative_to(self.root)) for i in sorted(match))
                raise InputError(f"{name!r} in {path.name} can mean {files}. Write the whole name.")
            (i,) = match
            if i in found:
                raise InputError(
                    f"{found[i]!r} and {name!r} in {path.name} both mean {self.files[i].name}. Use one name."
                )
            found[i] = name
        return list(found)

    def load(self, chosen: Sequence[int], size: int | None, background: str) -> Stimuli:
        """The images of these numbers; a warning counts the others."""
        if len(chosen) < len(self.files):
            warnings.warn(
                f"{len(self.files) - len(chosen)} of {len(self.files)} images in {self.root} were not judged "
                "and are left out.",
                RarefireWarning,
                stacklevel=3,
            )
        shown = [self.files[i] for i in chosen]
        # The shorter side becomes `size` and no more: people judged the whole image, not its centre.
        return stimuli.in_categories(
            stimuli.pictures(shown, self.root, size=size, resize=size, background=background),
            [file.parent.name for file in shown],
            name=f"folder:{self.root}",
            source=f"images in {self.root.name}",
        )
