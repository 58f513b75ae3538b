"""RDMs (representational dissimilarity matrices) and how alike two of them are.

An RDM is kept condensed: the upper triangle, row by row, ``n(n-1)/2`` numbers, as
:func:`scipy.spatial.distance.squareform` reads it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import pdist, squareform

from rarefire import files, store
from rarefire._engine.arguments import check_finite, checked
from rarefire.errors import DataError, InputError, RarefireWarning, unknown
from rarefire.names import align, are_numbers, check_pairs, of_matrix
from rarefire.rounding import SAME, upright
from rarefire.texts import check_marks, is_missing, is_number, table, without_last

__all__ = [
    "COMPARATORS",
    "METRICS",
    "Comparator",
    "Metric",
    "check_embedding",
    "check_rdm",
    "class_means",
    "compare",
    "condensed",
    "described",
    "from_rsatoolbox",
    "judged_images",
    "mds",
    "pair_similarities",
    "partial",
    "rdm",
    "read",
    "read_named",
    "read_people",
    "similarities",
    "square",
    "standardised",
    "to_rsatoolbox",
    "turned",
    "unit_vectors",
]

Metric = Literal["correlation", "cosine", "euclidean"]
METRICS = ("correlation", "cosine", "euclidean")
Comparator = Literal["r2", "pearson", "spearman"]
COMPARATORS = ("r2", "pearson", "spearman")


@checked
def rdm(embedding: ArrayLike, *, metric: Metric = "correlation") -> NDArray[np.float64]:
    """Dissimilarity of every pair of images.

    Parameters
    ----------
    embedding
        ``(n_images, n_features)``, at least three images.
    metric
        ``"correlation"``: 1 − Pearson r between the images' feature vectors, in [0, 2].
        ``"cosine"``: 1 − cosine, in [0, 2]. ``"euclidean"``: distance, ≥ 0. Only the first changes
        when a feature that is always 0 is appended (it moves each vector's mean).

    Returns
    -------
    ndarray
        ``(n(n-1)/2,)`` float64. Pairs with an image whose features are all equal (correlation) or
        all 0 (cosine) are undefined and NaN, with a warning that counts those images.

    Raises
    ------
    InputError
        For fewer than three images, NaN or infinite features, or no image with a defined value.
    """
    features = check_embedding(embedding)
    if metric == "euclidean":
        return np.asarray(pdist(features))
    unit, defined = unit_vectors(features, metric=metric)
    if not defined.all():
        dropped = np.count_nonzero(~defined)
        if len(defined) - dropped < 3:
            raise InputError(
                f"{dropped} of {len(defined)} images have {_UNDEFINED[metric]}: fewer than three "
                "are left to compare."
            )
        warnings.warn(
            f"{dropped} of {len(defined)} images have {_UNDEFINED[metric]}; their pairs are NaN and "
            "are dropped from comparisons.",
            RarefireWarning,
            stacklevel=3,
        )
        unit[~defined] = np.nan
    rows, columns = np.triu_indices(len(unit), k=1)
    return np.asarray(np.clip(1 - (unit @ unit.T)[rows, columns], 0, 2))


_UNDEFINED = {
    "correlation": "constant features (no Pearson correlation)",
    "cosine": "features that are all 0 (no cosine)",
}


@checked
def unit_vectors(
    embedding: NDArray[Any], *, metric: Metric = "correlation"
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Rows centred (correlation only) and scaled to norm 1: their dot products are the similarities.

    Returns
    -------
    unit, defined
        ``(n_images, n_features)`` float64, 0 for images without a defined similarity; and the mask
        ``(n_images,)`` of those that have one. Constancy is tested exactly, not by a tolerance.
    """
    if metric not in ("correlation", "cosine"):
        raise InputError(f"metric is one of {', '.join(METRICS)}; got {metric!r}.")
    features = np.array(embedding, dtype=np.float64)
    if metric == "correlation":
        defined = features.max(axis=1) != features.min(axis=1)
        features -= features.mean(axis=1, keepdims=True)
    else:
        defined = features.any(axis=1)
    # Scaled by the largest entry first, so that squares of tiny activations do not vanish.
    largest = np.abs(features).max(axis=1, keepdims=True)
    defined &= largest[:, 0] > 0
    features /= np.where(defined[:, None], largest, 1)
    norm = np.linalg.norm(features, axis=1, keepdims=True)
    features /= np.where(defined[:, None], norm, 1)
    features[~defined] = 0
    return features, defined


@checked
def similarities(embedding: ArrayLike, *, metric: Metric = "correlation") -> NDArray[np.float64]:
    """Similarity of every image with every other, for drawing: nothing is dropped, and nothing warns.

    Parameters
    ----------
    embedding
        ``(n_images, n_features)``.
    metric
        ``"correlation"`` or ``"cosine"``.

    Returns
    -------
    ndarray
        ``(n_images, n_images)`` in [−1, 1]; NaN in the rows and columns of images without a similarity.
    """
    if metric not in _UNDEFINED:
        raise InputError(f"metric is one of {', '.join(_UNDEFINED)}; got {metric!r}.")
    unit, defined = unit_vectors(check_embedding(embedding), metric=metric)
    square = np.clip(unit @ unit.T, -1, 1)
    square[~defined], square[:, ~defined] = np.nan, np.nan
    return square


@checked
def pair_similarities(embedding: ArrayLike, *, metric: Metric = "correlation") -> NDArray[np.float64]:
    """Similarities of all pairs, condensed ``(n(n-1)/2,)``; 0 where an image has none."""
    unit, _ = unit_vectors(np.asarray(embedding), metric=metric)
    return np.asarray((unit @ unit.T)[np.triu_indices(len(unit), k=1)])


@checked
def compare(first: ArrayLike, second: ArrayLike, *, method: Comparator = "r2") -> float:
    """How alike two RDMs are.

    Parameters
    ----------
    first, second
        Condensed ``(n(n-1)/2,)`` or square ``(n, n)``. Pairs that are NaN in either are dropped.
    method
        ``"r2"``: squared Pearson correlation, in [0, 1]; ``"pearson"``: signed, in [−1, 1];
        ``"spearman"``: of the ranks, in [−1, 1].

    Raises
    ------
    InputError
        For different sizes, a matrix that is not square or not symmetric, fewer than three pairs,
        or an RDM that is constant (no correlation).
    """
    if method not in COMPARATORS:
        raise InputError(f"method is one of {', '.join(COMPARATORS)}; got {method!r}.")
    a, b = condensed(first), condensed(second)
    if a.shape != b.shape:
        raise InputError(f"the RDMs differ in size: {a.shape[0]} and {b.shape[0]} pairs.")
    both = np.isfinite(a) & np.isfinite(b)
    a, b = a[both], b[both]
    if len(a) < 3:
        raise InputError(f"only {len(a)} pairs are defined in both RDMs; three are needed.")
    for which, values in (("first", a), ("second", b)):
        if np.ptp(values) <= SAME * np.abs(values).max():
            raise InputError(f"all values of the {which} RDM are equal: there is no correlation.")
    if method == "spearman":
        from scipy.stats import rankdata  # slow to import, and rarely needed

        a, b = rankdata(a), rankdata(b)
    r = float(np.clip(np.corrcoef(a, b)[0, 1], -1, 1))
    return r * r if method == "r2" else r


@checked
def condensed(rdm: ArrayLike) -> NDArray[np.float64]:
    """An RDM, square or condensed, in its condensed form; checked."""
    values = np.asarray(rdm, dtype=np.float64)
    if values.ndim == 1:
        return values
    if values.ndim != 2 or values.shape[0] != values.shape[1]:
        raise InputError(f"an RDM is square, or condensed to one dimension; got {values.shape}.")
    if not np.allclose(values, values.T, equal_nan=True):
        half = " Fill in both triangles." if not np.nan_to_num(np.tril(values, -1)).any() else ""
        raise InputError(f"the RDM is not symmetric: its upper and lower triangles differ.{half}")
    return values[np.triu_indices(len(values), k=1)]


@checked
def check_rdm(rdm: ArrayLike, n_images: int) -> NDArray[np.float64]:
    """An RDM of `n_images` images, square or condensed, in its condensed form; checked.

    Raises
    ------
    InputError
        If it is not square, not symmetric, of another number of images, has infinite values, or is
        constant; NaN is allowed.
    """
    values = condensed(rdm)
    if len(values) != n_images * (n_images - 1) // 2:
        own = (1 + math.sqrt(1 + 8 * len(values))) / 2
        images = (
            f"{own:.0f} images" if own == int(own) else f"{len(values)} pairs, which no number of images has"
        )
        raise InputError(f"the RDM is of {images}; the embedding has {n_images} images.")
    if np.isinf(values).any():
        raise InputError(f"{np.count_nonzero(np.isinf(values))} values of the RDM are infinite.")
    known = values[np.isfinite(values)]
    if len(known) < 3:
        raise InputError(f"only {len(known)} pairs of the RDM are defined; three are needed.")
    if known.min() == known.max():
        raise InputError("all values of the RDM are equal: there is no correlation.")
    return values


@checked
def standardised(rdm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Dissimilarities as similarities of mean 0 and standard deviation 1, whatever their scale."""
    size = np.nanmax(np.abs(rdm))
    scaled = rdm / size if size > 0 else rdm
    centred = np.nanmean(scaled) - scaled
    spread = np.nanstd(centred)
    return np.asarray(centred / spread if spread > 0 else centred)


@checked
def judged_images(rdm: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which images have a value with any other, of a condensed RDM: ``(n_images,)``."""
    n = round((1 + math.sqrt(1 + 8 * len(rdm))) / 2)
    rows, columns = np.triu_indices(n, k=1)
    known = np.isfinite(rdm)
    return (np.bincount(rows[known], minlength=n) + np.bincount(columns[known], minlength=n)) > 0


@checked
def read(
    path: str | Path,
    *,
    names: Sequence[str] | None = None,
    similarity: bool = False,
    array: str | None = None,
) -> NDArray[np.float64]:
    """An RDM from a file.

    Parameters
    ----------
    path
        A square, symmetric matrix, or condensed: text (``.csv``, ``.tsv``, ``.txt``, a pipe) whose numbers
        are separated by commas, semicolons, tabs or spaces, with or without names of the images in a
        first row and a first column; or any file that :func:`rarefire.files.read` takes, also with an RDM
        for each of several people, who are averaged as :func:`standardised`. What is left empty is NaN; one
        triangle may be. Nothing in the file is executed.
    names
        Of the images, such as the lines of ``E.names.txt``: the RDM is put into their order by its own names.
        By default it stays in the file's.
    similarity
        The matrix holds similarities; they are turned around.
    array
        Which one, by its name, where the file holds several arrays.

    Returns
    -------
    ndarray
        ``(n(n-1)/2,)``, dissimilarities, condensed.

    Raises
    ------
    DataError
        If the file is missing or cannot be read.
    InputError
        If it is not square, not symmetric, or holds similarities (the diagonal is the largest) where
        dissimilarities are expected; if its names are not `names`.
    """
    values, above, before = read_named(path, similarity=similarity, array=array)
    if names is None:
        return values
    theirs = of_matrix(above, before, path)
    if theirs is None:
        raise InputError(f"{Path(path).name} has no names: leave names= out to take it in its own order.")
    rows = align(names, theirs, n_images=len(names), own_file="names=", other_file=path).rows
    return square(values)[np.ix_(rows, rows)][np.triu_indices(len(rows), 1)]


@checked
def read_named(
    path: str | Path, *, similarity: bool = False, array: str | None = None
) -> tuple[NDArray[np.float64], list[str] | None, list[str] | None]:
    """As :func:`read`, with the names above the columns and those before the rows, where there are any."""
    people, above, before = read_people(path, similarity=similarity, array=array)
    if len(people) == 1:
        return people[0], above, before
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a pair that nobody judged
        return -np.nanmean([standardised(one) for one in people], axis=0), above, before


@checked
def read_people(
    path: str | Path,
    *,
    similarity: bool = False,
    scale: float | None = None,
    text: str | None = None,
    array: str | None = None,
) -> tuple[NDArray[np.float64], list[str] | None, list[str] | None]:
    """As :func:`read_named`, with the RDM of each of several people: ``(n_people, n_pairs)``.

    Similarities are subtracted from `scale`, by default from the highest that occurs. `text` is what the
    file holds, where it has been read: a pipe can be read once.
    """
    path = Path(path)
    values, above, before, _ = _opened(path, text=text, array=array)
    squares = _squares(values, path.name)
    each = [_condensed(one, path, similarity=similarity, scale=scale) for one in squares]
    return np.stack(each), above, before


class _Opened(NamedTuple):
    """An array from a file, as it is kept; the names above and before it; what was taken for what."""

    values: NDArray[np.float64]
    above: list[str] | None
    before: list[str] | None
    what: str


def _opened(path: Path, *, text: str | None, array: str | None) -> _Opened:
    above = before = None
    what = ""
    try:
        if text is None and not files.is_text(path):
            found = files.read(path, array=array)
            values, above = found.values, None if found.names is None else list(found.names)
            what = found.what
        elif array is not None:
            raise InputError(f"{path.name} is text and holds one array; leave {array!r} out.")
        else:
            text = store.read_text(path, kind="a matrix of numbers") if text is None else text
            values, above, before = _parse(text, path)
            if above is not None and before is not None and values.shape[0] == values.shape[1]:
                values, above = _columns_as_rows(values, above, before)
        if np.iscomplexobj(values):
            raise ValueError("its numbers are complex")
        if values.ndim > 1:
            condensed_ = values.ndim == 2 and values.shape[0] != values.shape[1]
            n = files.n_images(values.shape[1]) or 0 if condensed_ else values.shape[1]
            check_pairs(n, path.name, copies=3)
        values = np.array(values, dtype=np.float64)
    except (DataError, InputError):
        raise
    except (ValueError, TypeError, EOFError, OSError) as error:
        raise DataError(f"{path} cannot be read as a matrix of numbers: {error}") from error
    if text is not None and values.shape[0] != values.shape[1] and min(values.shape) > 1:
        raise InputError(f"the RDM in {path.name} must be square; got {values.shape}.")
    return _Opened(values, above, before, what)


def _condensed(
    values: NDArray[np.float64], path: Path, *, similarity: bool, scale: float | None
) -> NDArray[np.float64]:
    """The dissimilarities of a square matrix."""
    if np.isinf(values).any():
        raise InputError(
            f"{np.count_nonzero(np.isinf(values))} values of the RDM in {path.name} are infinite."
        )
    own = np.diag(values)[np.isfinite(np.diag(values))]
    for half in (values, values.T):
        if len(values) > 1 and np.isnan(half[np.triu_indices(len(half), 1)]).all():  # one triangle is given
            if len(own) and (np.ptp(own) > 0 or (own[0] != 0 and not similarity)):
                raise InputError(
                    f"{path.name} holds one triangle, and on its diagonal {own[own != 0][0]:g}: if it is of "
                    f"{len(values) + 1} images, write their whole matrix; if of {len(values)}, leave the "
                    "diagonal empty."
                )
            half[np.triu_indices(len(half), 1)] = half.T[np.triu_indices(len(half), 1)]
    upper = condensed(values)
    if not np.isfinite(upper).any():
        raise InputError(f"the RDM in {path.name} holds no value for any pair.")
    check_marks(upper, path.name)
    if similarity:
        return turned(upper, path, scale=scale)
    itself = np.diag(values)
    others = np.where(np.eye(len(values), dtype=bool), -np.inf, np.nan_to_num(values, nan=-np.inf))
    if len(values) > 1 and (itself >= others.max(axis=1)).all() and np.nanmin(upper) < itself.max():
        raise InputError(
            f"in {path.name} no image is less dissimilar to itself than to others: these look like "
            "similarities. Say so (similarity=True, --similarity)."
        )
    return upper


@checked
def described(path: str | Path, *, array: str | None = None) -> str:
    """What a file's RDMs are taken for, as commands say it; empty for one square matrix, and for a pipe."""
    path = Path(path)
    if path.is_fifo():
        return ""
    values, _, _, said = _opened(path, text=None, array=array)
    n_people = len(_squares(values, path.name))
    parts = [said] if said else []
    if values.ndim < 3 and (values.ndim < 2 or values.shape[0] != values.shape[1]):
        parts.append(
            f"{path.name}: condensed, pairs in the order (1, 2), (1, 3), … (2, 3), …, as squareform of scipy "
            "and MATLAB has them."
        )
    if n_people > 1:
        parts.append(
            f"{path.name}: RDMs of {n_people} people, each brought to mean 0 and standard deviation 1, "
            "averaged."
        )
    return "\n".join(parts)


def _squares(values: NDArray[Any], name: str) -> NDArray[Any]:
    """RDMs of one person or several as squares, ``(n_people, n, n)``, of whatever form they are kept in."""
    if values.ndim == 3 and values.shape[1] != values.shape[2] and values.shape[0] == values.shape[1]:
        values = np.moveaxis(values, 2, 0)  # people last, as MATLAB's users stack them
    if values.ndim == 3 and values.shape[1] == values.shape[2]:
        return values
    if values.ndim == 2 and values.shape[0] == values.shape[1]:
        return values[None]
    rows = (
        values[None]
        if values.ndim == 1
        else values.T
        if values.ndim == 2 and values.shape[1] == 1
        else values
    )
    n = files.n_images(rows.shape[-1]) if rows.ndim == 2 else None
    # A matrix that is nearly square has lost a line; these are no people.
    if n is None or n < 3 or (rows.ndim == 2 and len(rows) > 1 and abs(len(rows) - rows.shape[1]) <= 2):
        raise InputError(
            f"the RDM in {name} must be square; got {values.shape}. Or give it condensed, n(n − 1)/2 "
            "numbers for n images; of several people, a line for each."
        )
    squares = np.full((len(rows), n, n), np.nan)
    upper = np.triu_indices(n, k=1)
    for square_, row in zip(squares, rows, strict=True):
        square_[upper] = square_.T[upper] = row
    return squares


@checked
def turned(
    similarities: NDArray[np.float64], path: Path, *, scale: float | None = None
) -> NDArray[np.float64]:
    """Dissimilarities: `scale`, by default the highest of the similarities, minus these; NaN stays NaN."""
    highest = float(np.nanmax(similarities))
    if scale is not None and not highest <= scale < np.inf:
        raise InputError(
            f"scale is the highest possible similarity; got {scale:g}, {path.name} has {highest:g}."
        )
    return np.asarray((highest if scale is None else scale) - similarities)


def _columns_as_rows(
    values: NDArray[np.float64], above: list[str], before: list[str]
) -> tuple[NDArray[np.float64], list[str]]:
    """Columns in the order of the rows, where both have the same names and only so match."""
    if above == before or sorted(above) != sorted(before) or len(set(before)) < len(before):
        return values, above
    turned = values[:, [above.index(name) for name in before]]
    match = [np.allclose(matrix, matrix.T, equal_nan=True) for matrix in (values, turned)]
    return (turned, before) if match == [False, True] else (values, above)


def _no_diagonal(rows: list[list[str]]) -> bool:
    return all(i < len(row) and is_missing(row[i]) for i, row in enumerate(rows))


def _parse(text: str, path: Path) -> tuple[NDArray[np.float64], list[str] | None, list[str] | None]:
    """A matrix of numbers from text, the names above its columns, and those before its rows."""
    rows = without_last(table(text, path).rows)
    # As many rows as numbers in the first, which has a name before them: names of rows only.
    only_before = rows and len(rows[0]) == len(rows) + 1 and all(is_number(cell) for cell in rows[0][1:])
    named = (
        rows
        and (
            (not all(is_number(cell) for cell in rows[0]) and not only_before)  # names above the columns
            or len(rows) == len(rows[0]) + 1  # numbers above them
            or (  # and before the rows; but symmetric numbers without a diagonal are no names
                not rows[0][0]
                and rows[0][1:] == [row[0] for row in rows[1:]]
                and (are_numbers(rows[0][1:]) or not _no_diagonal(rows))
            )
        )
    )
    above = before = None
    if named:
        above, rows = rows[0], rows[1:]
    if rows and (not all(is_number(row[0]) for row in rows) or len(rows[0]) == len(rows) + 1):
        before, rows = [row[0] for row in rows], [row[1:] for row in rows]
        if "" in before:
            raise ValueError(f"row {before.index('') + 1} has no name before it, or the matrix is not whole")
    lengths = {len(row) for row in rows}
    if len(lengths) != 1:
        raise ValueError(f"its rows have {', '.join(map(str, sorted(lengths))) or 'no'} entries")
    for i, row in enumerate(rows):
        for j, cell in enumerate(row):
            if not is_number(cell):
                raise ValueError(f"row {i + 1}, column {j + 1} of the numbers is {cell!r}")
    values = np.array([[np.nan if is_missing(cell) else float(cell) for cell in row] for row in rows])
    if above is not None:
        if len(above) < values.shape[1]:
            raise ValueError(f"it has {len(above)} names above {values.shape[1]} columns")
        above = above[len(above) - values.shape[1] :]  # without what stands in the corner
    return values, above, before


@checked
def square(rdm: ArrayLike) -> NDArray[np.float64]:
    """A condensed RDM as a square matrix ``(n, n)`` with a diagonal of 0."""
    values = np.asarray(rdm, dtype=np.float64)
    try:
        return np.asarray(squareform(values, force="tomatrix", checks=False))
    except ValueError as error:
        raise InputError(f"{values.shape} is not the shape of a condensed RDM: {error}") from error


def from_rsatoolbox(
    rdms: Any, *, names: str | None = None
) -> tuple[NDArray[np.float64], tuple[str, ...] | None]:
    """RDMs of rsatoolbox, and the names of their images.

    Parameters
    ----------
    rdms
        A ``rsatoolbox.rdm.RDMs``.
    names
        The pattern descriptor that has the images' names. By default the one that has a different text for
        each image, if there is one.

    Returns
    -------
    values, names
        ``(n_rdms, n_pairs)`` float64, each condensed; and the names, None where there are none.

    Raises
    ------
    InputError
        If it is none of rsatoolbox's RDMs, there is no such descriptor, or several have different texts and
        none is named.
    """
    described = getattr(rdms, "pattern_descriptors", None)
    if not hasattr(rdms, "dissimilarities") or described is None:
        raise InputError(f"rdms is a rsatoolbox.rdm.RDMs; got {type(rdms).__name__}.")
    values = np.array(rdms.dissimilarities, dtype=np.float64)
    if names is not None:
        if names not in described:
            raise unknown("pattern descriptor", names, list(described))
        return values, tuple(map(str, described[names]))
    telling = [
        key
        for key, each in described.items()
        if all(isinstance(one, str) for one in each) and len(set(each)) == len(each)
    ]
    if len(telling) > 1:
        raise InputError(
            f"several pattern descriptors could be the images' names: {', '.join(map(repr, telling))}. Say "
            "which with names=."
        )
    return values, tuple(map(str, described[telling[0]])) if telling else None


@checked
def to_rsatoolbox(rdms: ArrayLike, *, names: Sequence[str] | None = None, metric: str | None = None) -> Any:
    """RDMs for rsatoolbox, with the names of their images.

    Parameters
    ----------
    rdms
        Condensed ``(n_pairs,)``; of several people or networks ``(n_rdms, n_pairs)``, or square
        ``(n_rdms, n, n)``; one square matrix ``(n, n)``.
    names
        Of the images, which become the pattern descriptor ``"name"``.
    metric
        What its dissimilarities are, such as ``"correlation"``; said, not checked.

    Returns
    -------
    rsatoolbox.rdm.RDMs
        Its own ``save(path)`` writes what :func:`read` reads.

    Raises
    ------
    InputError
        If rsatoolbox is not installed, for an array of another shape, and for names that are not as many as
        images or not all different.
    """
    try:
        import rsatoolbox
    except ImportError as error:
        raise InputError("this needs rsatoolbox, which is not installed: pip install rsatoolbox.") from error
    values = np.asarray(rdms, dtype=np.float64)
    one = values.ndim == 1 or (values.ndim == 2 and values.shape[0] == values.shape[1])
    rows = np.stack([condensed(each) for each in (values[None] if one else values)])
    n = files.n_images(rows.shape[1]) or 0
    if n < 2:
        raise InputError(f"rdms are n(n − 1)/2 numbers each, for n images; got {values.shape}.")
    if names is not None and len(names) != n:
        raise InputError(f"names are one for each of {n} images; got {len(names)}.")
    if names is not None and len(set(names)) < n:
        raise InputError("names must differ: two images have the same.")
    made: Any = rsatoolbox.rdm
    return made.RDMs(
        rows,
        dissimilarity_measure=metric,
        pattern_descriptors={} if names is None else {"name": list(names)},
    )


@checked
def mds(rdm: ArrayLike, *, dimensions: int = 2) -> NDArray[np.float64]:
    """A map of the images: points whose distances stand for the dissimilarities, as far as they can.

    Classical scaling (Torgerson 1952): exact if the dissimilarities are distances in a space of as many
    dimensions.

    Parameters
    ----------
    rdm
        Condensed ``(n(n-1)/2,)`` or square ``(n, n)``, of at least three images, all ≥ 0.
    dimensions
        From 1 to ``n - 1``.

    Returns
    -------
    ndarray
        ``(n_images, dimensions)`` float64, centred, the dimension along which images differ most first.
        In each, the coordinate that is largest in size (of equals, the first) is positive. Where the
        dissimilarities hold fewer dimensions, the others are 0.

    Raises
    ------
    InputError
        For a matrix that is not square or not symmetric, values that are NaN, infinite or negative, fewer
        than three images, or more dimensions than there can be.

    References
    ----------
    Torgerson, W. S. (1952). Multidimensional scaling: I. Theory and method. *Psychometrika*, 17, 401–419.
    """
    values = condensed(rdm)
    if not np.isfinite(values).all():
        bad = np.count_nonzero(~np.isfinite(values))
        raise InputError(f"{bad} values of the RDM are NaN or infinite; a map needs all of them.")
    if len(values) < 3:
        raise InputError(f"a map needs at least three images; the RDM has {len(values)} pairs.")
    if values.min() < 0:
        raise InputError(f"distances cannot be negative; the RDM goes down to {values.min():.3g}.")
    distances = square(values)
    n = len(distances)
    if not 1 <= dimensions < n:
        raise InputError(f"dimensions of a map of {n} images lie between 1 and {n - 1}; got {dimensions}.")
    products = -0.5 * distances**2
    products -= products.mean(axis=0)
    products -= products.mean(axis=1, keepdims=True)
    spread, axes = np.linalg.eigh(products)
    spread, axes = spread[::-1][:dimensions], axes[:, ::-1][:, :dimensions]
    real = spread > SAME * np.abs(spread[0])
    return np.asarray(axes * np.sqrt(np.where(real, spread, 0)) * upright(axes))


@checked
def partial(
    network: NDArray[np.float64], human: NDArray[np.float64], control: NDArray[Any]
) -> tuple[float, float]:
    """How much of an agreement a third RDM accounts for.

    Parameters
    ----------
    network, human, control
        ``(n_pairs,)`` dissimilarities; pairs that are NaN are left out.

    Returns
    -------
    with_control, given_control
        Pearson r of `human` with `control`, and partial r of `network` with `human` given `control`; NaN
        where one of them does not vary.
    """
    use = np.isfinite(network) & np.isfinite(human) & np.isfinite(np.asarray(control, dtype=np.float64))
    three = [values[use].astype(np.float64) for values in (network, human, control)]
    if any(len(v) < 4 or np.ptp(v) <= SAME * np.abs(v).max() for v in three):
        return np.nan, np.nan
    (_, a, b), (_, _, c), _ = np.asarray(np.corrcoef(three)).tolist()
    left = (1 - b**2) * (1 - c**2)
    return c, (a - b * c) / np.sqrt(left) if left > SAME else np.nan


@checked
def class_means(embedding: ArrayLike, labels: ArrayLike) -> NDArray[np.float64]:
    """Mean embedding of every class.

    Parameters
    ----------
    embedding, labels
        ``(n_images, n_features)`` and ``(n_images,)``.

    Returns
    -------
    ndarray
        ``(n_classes, n_features)`` float64; the rows follow ``numpy.unique(labels)``.
    """
    features = check_embedding(embedding)
    classes = np.asarray(labels)
    if classes.shape != (len(features),):
        raise InputError(f"labels must be ({len(features)},), one per image; got {classes.shape}.")
    return np.stack([features[classes == c].mean(axis=0) for c in np.unique(classes)])


@checked
def check_embedding(embedding: ArrayLike) -> NDArray[np.float64]:
    """An embedding as float64 ``(n_images, n_features)``, with at least three images, all finite."""
    features = np.asarray(embedding, dtype=np.float64)
    if features.ndim != 2:
        raise InputError(f"an embedding is (n_images, n_features); got {features.shape}.")
    if len(features) < 3:
        raise InputError(f"an RDM needs at least three images; got {len(features)}.")
    if features.shape[1] < 1:
        raise InputError(f"an embedding needs at least one feature; got {features.shape}.")
    check_finite(np.asarray(np.isfinite(features).all(axis=1)))
    return features
