"""Your own categories of images, from a text: a category a line, or a table with the images' names."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from typing import NamedTuple

from rarefire import files, store, texts
from rarefire._engine.arguments import checked
from rarefire.errors import DataError, InputError
from rarefire.names import PICTURES, listed

__all__ = ["LONGEST", "Labels", "read"]

#: Characters of a category's name.
LONGEST = 200

_IMAGE = re.compile(
    "(image|img|file|filename|path|stimulus|stim|picture|pic|photo|name|item|object)(id|name|file|path)?"
)
_CATEGORY = re.compile("(label|category|class|kind|group|condition|concept|type)(name|id)?")


class Labels(NamedTuple):
    """Categories of images.

    Attributes
    ----------
    names
        Of the images, in the order of the lines; None where the file has none.
    categories
        One for each.
    what
        Which column was taken for what, and which were not used; empty for a text of one column.
    """

    names: list[str] | None
    categories: list[str]
    what: str


@checked
def read(path: str | Path, n_images: int) -> Labels:
    """A category for each image.

    Parameters
    ----------
    path
        A text with a category a line; or a table of images and categories, in either order, with or without
        names above its columns. With such names, there may be other columns.
    n_images
        How many images there are.

    Raises
    ------
    DataError
        If the file is missing or is no text.
    InputError
        If it says no category of an image, or of another number of images; if it is not certain which column
        holds the categories; for a category of more than :data:`LONGEST` characters.
    """
    path = Path(path)
    if path.is_file() and not files.is_text(path):
        raise InputError(
            f"{path.name} is no text: labels are a category a line, as "
            "numpy.savetxt('labels.txt', labels, fmt='%s') writes them."
        )
    text = store.read_text(path)
    found = _table(text, path, n_images) or Labels(None, _lines(text, n_images), "")
    if len(found.categories) != n_images:
        raise InputError(f"{path.name} has {len(found.categories):,} lines; there are {n_images:,} images.")
    categories = [unicodedata.normalize("NFC", category.strip()) for category in found.categories]
    for line, category in enumerate(categories, start=1):
        if texts.is_missing(category):
            raise InputError(f"{path.name} says no category of image {line}: {category!r}. Name one.")
        if len(category) > LONGEST:
            raise InputError(
                f"{path.name}: the category of image {line} has {len(category):,} characters; at most "
                f"{LONGEST} are shown. Shorten it."
            )
    return found._replace(categories=categories)


def _lines(text: str, n_images: int) -> list[str]:
    lines = texts.lines(text)
    return lines[1:] if len(lines) == n_images + 1 and _called(lines[0], _CATEGORY) else lines


def _table(text: str, path: Path, n_images: int) -> Labels | None:
    """Categories from a table; None for a text of one column, whose lines may have commas in them."""
    try:
        rows = texts.table(text, path).rows if any(sign in text for sign in ",;\t") else []
    except DataError:
        return None
    width = len(rows[0]) if rows else 0
    if width < 2 or any(len(row) != width for row in rows) or len(rows) not in (n_images, n_images + 1):
        return None
    header = rows[0] if len(rows) > n_images else [""] * width
    columns = [list(column) for column in zip(*rows[len(rows) - n_images :], strict=True)]
    different = [i for i, column in enumerate(columns) if len(set(column)) == n_images]
    images = [i for i in different if _called(header[i], _IMAGE)] or [
        i for i in different if all(cell.lower().endswith(PICTURES) for cell in columns[i])
    ]
    categories = [i for i, cell in enumerate(header) if _called(cell, _CATEGORY) and i not in images]
    if width == 2 and not categories:
        if not different:  # commas in the categories' names
            return None if len(rows) == n_images else _uncertain(path, header, width)
        images = images or different[:1]
        categories = [1 - images[0]]
    if len(categories) != 1 or len(images) > 1:
        return _uncertain(path, header, width)
    if width == 2 and not images and 1 - categories[0] in different:
        images = [1 - categories[0]]
    roles = [("image", i) for i in images] + [("category", categories[0])]
    unused = [repr(cell) for i, cell in enumerate(header) if i not in (*images, categories[0])]
    what = ", ".join(f"{role} is {repr(header[i]) if header[i] else f'column {i + 1}'}" for role, i in roles)
    what += f"; not used: {', '.join(unused)}" if unused else ""
    return Labels(columns[images[0]] if images else None, columns[categories[0]], what)


def _uncertain(path: Path, header: list[str], width: int) -> Labels:
    named = f" ({listed(header)})" if any(header) else ""
    raise InputError(
        f"{path.name} has {width} columns{named}, and it is not certain which hold the images and their "
        "categories: call them image and category in a first line."
    )


def _called(cell: str, pattern: re.Pattern[str]) -> bool:
    return pattern.fullmatch(re.sub("[^a-z]", "", cell.lower())) is not None
