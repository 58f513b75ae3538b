"""Your own similarity judgments from a file: a matrix, or a table with one rating or choice in each line."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rarefire import choices, columns, files, rdm, stimuli, store, texts
from rarefire._engine.arguments import checked
from rarefire.choices import Choices
from rarefire.columns import Columns
from rarefire.errors import DataError, InputError, RarefireWarning
from rarefire.judgments import Judgments, check_size
from rarefire.names import Index, are_numbers, check_pairs, listed, natural, of_matrix
from rarefire.reliability import mean_of_subjects
from rarefire.stimuli import Stimuli

__all__ = ["counted", "read", "read_choices", "read_either"]


@checked
def read(
    path: str | Path,
    *,
    images: str | Path | None = None,
    size: int | None = None,
    similarity: bool = False,
    scale: float | None = None,
    by_position: bool = False,
    subject: str | None = None,
    rating: str | None = None,
    array: str | None = None,
    background: str = "white",
) -> Judgments:
    """Judgments from a file, with the images they are of.

    Parameters
    ----------
    path
        Either a square matrix, as :func:`rarefire.rdm.read` takes it; or a table with one rating in
        each line and names above its columns: two of images (``image1``, ``image2``), one of ratings
        (``rating``, ``similarity`` or ``dissimilarity``), and, if there is one, of subjects (``subject``,
        ``participant``, ``Participant Private ID``, ``pid``, …). Ratings of (a, b) and (b, a), and repeated
        ones, are averaged within a subject; pairs that are not there are NaN. Of odd-one-out trials (a third
        column of images, and ``response`` or ``choice``: the odd one's name or number) and triplets
        (``reference``, two images, ``choice``: what is more like it), dissimilarities are counted
        (:meth:`rarefire.choices.Choices.rdm`), over all subjects. Nothing in the file is executed.
    images
        Their folder: the image files themselves, or one folder for each category. The names in the
        file are names of these, whatever the extension, the Unicode normal form and, where that is
        unique, the capitals. Images that nobody judged are left out, with a warning.
    size
        The images' shorter side is scaled to it, and the central square kept. Needed where they differ
        in size.
    similarity
        High ratings mean similar: they are turned around, to `scale` − rating. A column that is called
        ``similarity`` says so itself.
    scale
        The highest possible rating, with `similarity`; by default the highest that occurs.
    by_position
        A matrix is in the order of the files' names, in which numbers count as numbers. Without it, its
        images are found by name.
    subject, rating
        Names of the columns, where they have others; ``subject="none"``: who rated does not matter.
    array
        Of a file with several arrays, the name of the one that holds the judgments.
    background
        The colour behind transparent pictures.

    Returns
    -------
    Judgments
        In the folder's order, else, for a table, in the order of the names: numbers in names count as
        numbers. With two or more subjects, `human` is the mean of what each judged, brought to mean 0
        and standard deviation 1. Its `columns` say what was taken for what, and what was not used.

    Raises
    ------
    DataError
        If a file or folder is missing or cannot be read.
    InputError
        If columns are missing, names have no image, or a subject has rated every pair the same; if pairs
        repeat and a column that is not used would tell the repeats apart; if two images of trials were never
        shown together.
    """
    options: dict[str, Any] = {
        "similarity": similarity,
        "scale": scale,
        "by_position": by_position,
        "array": array,
        "background": background,
    }
    given = read_either(path, images=images, size=size, subject=subject, rating=rating, **options)
    return counted(given) if isinstance(given, Choices) else given


@checked
def read_either(
    path: str | Path,
    *,
    images: str | Path | None = None,
    size: int | None = None,
    similarity: bool = False,
    scale: float | None = None,
    by_position: bool = False,
    subject: str | None = None,
    rating: str | None = None,
    array: str | None = None,
    background: str = "white",
) -> Judgments | Choices:
    """As :func:`read`, but choices among three images are left as they are."""
    path = Path(path)
    check_size(size)
    if size is not None and images is None:
        raise InputError("size is for images; pass images=, their folder, or leave size out.")
    folder = None if images is None else _Folder(Path(images).expanduser())
    text, lines, found = _opened(path, subject=subject, rating=rating)
    if found is not None and found.kind != "ratings":
        if similarity or scale is not None:
            raise InputError(f"similarity and scale are for ratings; {path.name} holds {found.kind}.")
        return _choices(lines, found, folder, size, background, path)
    if found is not None:
        similarity = _means_similarity(found.taken["rating"], similarity, path)
        found = replace(found, high="similar" if similarity else "dissimilar")
    if scale is not None and not similarity:
        raise InputError("scale turns similarities around: pass similarity=True with it, or leave it out.")
    subjects = reliability = None
    if found is None:
        each, names = _matrix(
            path,
            folder,
            text=text,
            similarity=similarity,
            scale=scale,
            by_position=by_position,
            array=array,
        )
        human = each[0]
        if len(each) > 1:
            subjects = each
            human, reliability = mean_of_subjects(subjects, [str(i + 1) for i in range(len(each))])
    else:
        given = _ratings(lines, found.places, path)
        names = _ordered({name for pair in given for name in (pair.first, pair.second)}, folder, path)
        values = np.array([each.value for each in given])
        texts.check_marks(values, path.name)
        if similarity:
            values = rdm.turned(values, path, scale=scale)
        means, people = _means(given, values, names, path)
        if "subject" in found.places:
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
        columns=found,
    )


@checked
def read_choices(
    path: str | Path,
    *,
    images: str | Path | None = None,
    size: int | None = None,
    subject: str | None = None,
    rating: str | None = None,
) -> Choices:
    """Odd-one-out trials or triplets from a table with one of them in each line.

    Parameters
    ----------
    path, images, size, subject
        As for :func:`read`.
    rating
        Name of the column that says which image was chosen.

    Raises
    ------
    DataError, InputError
        As for :func:`read`; and for a file that holds ratings or a matrix.
    """
    given = read_either(path, images=images, size=size, subject=subject, rating=rating)
    if isinstance(given, Judgments):
        what = "ratings of pairs" if given.columns else "a matrix"
        name = Path(path).name
        raise InputError(f"{name} holds {what}, no choices among three images: ratings.read takes it.")
    return given


def _opened(
    path: Path, *, subject: str | None, rating: str | None
) -> tuple[str | None, list[tuple[int, list[str]]], Columns | None]:
    """A file's text, if it is one; a table's lines but the first; and its columns, unless it is a matrix."""
    binary = path.is_dir() or (path.is_file() and not files.is_text(path))
    text = None if binary else store.read_text(path, kind="a table")
    header, lines = ([], []) if text is None else _cells(text, path)
    found = None
    if text is not None:
        found = columns.find(header, lines, path, subject=subject, rating=rating)
    elif subject is not None or rating is not None:
        raise InputError(f"subject and rating name columns of a table; {path.name} is a matrix.")
    for number, row in lines if found is not None else []:
        if len(row) > len(header):
            raise InputError(
                f"{path.name}, line {number}: {len(row)} cells, but the header has {len(header)}. Where "
                "commas stand in numbers, write points."
            )
    return text, lines, found


def _ordered(names: set[str], folder: _Folder | None, path: Path) -> list[str]:
    """Names in the folder's order, else in their own."""
    own = sorted(names, key=natural)
    return own if folder is None else [own[i] for i in np.argsort(folder.find(own, path))]


# --- tables --------------------------------------------------------------------------------------


class _Rating(NamedTuple):
    first: str
    second: str
    value: float
    subject: str  # empty where the table names none


def _cells(text: str, path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The first line of a text file, and the others with their numbers, in cells."""
    rows, numbers, _ = texts.table(text, path)
    filled = [(number, row) for number, row in zip(numbers, rows, strict=True) if any(row)]
    return (filled[0][1], filled[1:]) if filled else ([], [])


def _means_similarity(column: str, similarity: bool, path: Path) -> bool:
    if similarity and columns.called_dissimilarity(column):
        raise InputError(
            f"similarity=True, but the ratings in {path.name} are called {column!r}. Rename that column, or "
            "leave similarity out."
        )
    return similarity or columns.called_similarity(column)


def _ratings(lines: list[tuple[int, list[str]]], places: Mapping[str, int], path: Path) -> list[_Rating]:
    """Every rating of two different images; a warning counts those of an image with itself."""
    found = []
    for number, row in lines:
        cells = {role: row[i] if i < len(row) else "" for role, i in places.items()}
        rating = cells["rating"]
        if texts.is_missing(rating):
            continue
        if not texts.is_number(rating) or not np.isfinite(float(rating)):
            raise DataError(f"{path.name}, line {number}: the rating {rating!r} is not a finite number.")
        if "" in cells.values():
            empty = next(role for role, cell in cells.items() if not cell)
            what = {"image1": "first image", "image2": "second image"}.get(empty, empty)
            raise InputError(f"{path.name}, line {number}: the {what} is missing.")
        found.append(_Rating(cells["image1"], cells["image2"], float(rating), cells.get("subject", "")))
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
    ratings: list[_Rating], values: NDArray[np.float64], names: Sequence[str], path: Path
) -> tuple[NDArray[np.float64], list[str]]:
    """Every subject's mean value of every pair, ``(n_subjects, n_pairs)``, and the subjects' names."""
    people = sorted({rating.subject for rating in ratings}, key=natural)
    if len(people) == 1 and people[0]:
        raise InputError(
            f"all ratings are of one subject, {people[0]!r}; two are needed to compare. Leave that column "
            "out to read them as a mean."
        )
    row = {person: s for s, person in enumerate(people)}
    place = {name: i for i, name in enumerate(names)}
    check_pairs(len(names), path.name, copies=2 * len(people))
    total, count = np.zeros((2, len(people), len(names), len(names)))
    for rating, value in zip(ratings, values, strict=True):
        pair = sorted((place[rating.first], place[rating.second]))
        total[row[rating.subject], *pair] += value
        count[row[rating.subject], *pair] += 1
    with np.errstate(invalid="ignore"):
        return (total / count)[:, *np.triu_indices(len(names), k=1)], people


# --- choices -------------------------------------------------------------------------------------


def _choices(
    lines: list[tuple[int, list[str]]],
    found: Columns,
    folder: _Folder | None,
    size: int | None,
    background: str,
    path: Path,
) -> Choices:
    trials = choices.trials(lines, found, path)
    names = _ordered({name for trial in trials for name in trial[:3]}, folder, path)
    place = {name: i for i, name in enumerate(names)}
    return Choices(
        name=path.stem,
        names=tuple(names),
        images=None if folder is None else folder.load(folder.find(names, path), size, background),
        trials=np.array([[place[name] for name in trial[:3]] for trial in trials], dtype=np.intp),
        subjects=tuple(trial[3] for trial in trials) if "subject" in found.places else (),
        columns=found,
    )


def counted(given: Choices) -> Judgments:
    """Judgments by counting choices (:meth:`rarefire.choices.Choices.rdm`), over all subjects.

    Raises
    ------
    InputError
        Where two images were never shown together.
    """
    return Judgments(
        name=given.name,
        human=given.rdm(),
        subjects=None,
        halves=None,
        reliability=None,
        images=given.images,
        names=given.names,
        citation="own data",
        licence="own data",
        source=f"dissimilarity of {len(given.names)} images, counted in {len(given):,} {given.what}",
        columns=given.columns,
    )


# --- matrices ------------------------------------------------------------------------------------


def _matrix(
    path: Path,
    folder: _Folder | None,
    *,
    text: str | None,
    similarity: bool,
    scale: float | None,
    by_position: bool,
    array: str | None,
) -> tuple[NDArray[np.float64], list[str]]:
    """Square matrices as condensed RDMs in the folder's order, one for each person, and the images' names."""
    values, above, before = rdm.read_people(path, similarity=similarity, scale=scale, text=text, array=array)
    n = len(rdm.square(values[0]))
    named = of_matrix(above, before, path)
    if folder is None:
        return values, named or [str(i + 1) for i in range(n)]
    # What programs put above and before a matrix are no names, unless there are files of that name.
    if named is not None and are_numbers(named) and not folder.knows(named):
        named = None
    if by_position:
        if n != len(folder.files):
            raise InputError(
                f"{path.name} is of {n} images, {folder.root} holds {len(folder.files)}: by position, both "
                "must be the same, in the same order."
            )
        return values, folder.names
    if named is None:
        raise InputError(
            f"{path.name} is of {n} images without names, {folder.root} holds {len(folder.files)}. Give the "
            "matrix names, or take its rows in the order of the files' names with --by-position "
            "(by_position=True)."
        )
    order = np.argsort(folder.find(named, path))
    each = [rdm.square(one)[np.ix_(order, order)][np.triu_indices(n, k=1)] for one in values]
    return np.stack(each), [named[i] for i in order]


# --- images --------------------------------------------------------------------------------------


class _Folder:
    """The images in a folder, or in one folder for each category, in the order of their names."""

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise DataError(f"there is no folder {root} (images=).")
        inside = [
            child for child in root.iterdir() if child.is_dir() and not stimuli.is_left_over(child.name)
        ]
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
        self.files = sorted(files, key=lambda file: natural(file.relative_to(root).as_posix()))
        self._index = Index([file.relative_to(root).as_posix() for file in self.files])

    @property
    def names(self) -> list[str]:
        """Of the files, without the extension; with it and the folder, where that is not unique."""
        stems = [file.stem for file in self.files]
        if len(set(stems)) == len(stems):
            return stems
        return [file.relative_to(self.root).as_posix() for file in self.files]

    def knows(self, names: Sequence[str]) -> bool:
        """Whether every name is one of a file."""
        return all(self._index.find(name)[0] for name in names)

    def find(self, names: Sequence[str], path: Path) -> list[int]:
        """The number of the file that each name means; each means another."""
        matches = [self._index.find(name)[0] for name in names]
        lost = [name for name, match in zip(names, matches, strict=True) if not match]
        if lost:
            raise InputError(
                f"{len(lost)} of {len(names)} images named in {path.name} are not in {self.root}: "
                f"{listed(lost)}. There are {listed(self.names)}. Names must be file names, with or "
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
