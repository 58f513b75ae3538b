"""``rarefire ghosts``: what never fires for a category, and what it fires for instead."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rarefire.cli.common import (
    Array,
    ByPosition,
    Embedding,
    Scheduler,
    apart,
    app,
    opened,
    reached,
    readable,
    write_tables,
)
from rarefire.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["ghosts_command"]


@app.command("ghosts")
@readable
def ghosts_command(
    embedding: Embedding,
    category: Annotated[
        Path, typer.Option(help="text: the category's images, a name or a row from 0 a line")
    ],
    out: Annotated[Path, typer.Option(help="CSV with columns feature, kind (ghost, dead), others")],
    read: Annotated[
        Path | None, typer.Option(help="also CSV of the images that score highest on the ghosts' components")
    ] = None,
    components: Annotated[int, typer.Option(help="of the ghosts' activations, with --read", min=1)] = 10,
    by_position: ByPosition = False,
    top: Annotated[int, typer.Option(help="images of each component, with --read", min=1)] = 8,
    array: Array = None,
    scheduler: Scheduler = None,
) -> None:
    """Ghost features of a category: 0 for all its images, active for others; and what they respond to.

    kind is ghost, or dead for a feature that is 0 for every image of the file; others is the number of
    other images for which it fires. With --scheduler the counting is spread; --read is done here.
    """
    import numpy as np
    import pandas as pd

    from rarefire import ghosts
    from rarefire._engine import blocks

    apart(embedding, category, out, read)
    opening = opened(embedding, array)
    source, named = opening.values, opening.names
    rows, how = _rows(category, source.shape[0], None if by_position else named)
    if scheduler is None:
        found = ghosts.find(source, rows)
    else:
        from rarefire import cluster

        place, way = reached(embedding, opening, scheduler)
        found = cluster.ghosts(place, rows, **way)
    others = np.setdiff1d(np.arange(source.shape[0]), rows)
    tables = {out: found.table()}
    if read is not None and len(found.features) and len(others) > 1:
        shown = ghosts.components(blocks.Rows(source, others), found.features, n=components)
        best = shown.top(min(top, len(others)))
        index = [(j, rank) for j in range(len(best)) for rank in range(best.shape[1])]
        images = [int(others[best[j, rank]]) for j, rank in index]
        tables[read] = pd.DataFrame(
            {
                "component": [j + 1 for j, _ in index],
                "explained": [shown.explained[j] for j, _ in index],
                "rank": [rank + 1 for _, rank in index],
                "image": images,
                "score": [shown.scores[best[j, rank], j] for j, rank in index],
                **({"name": [named[i] for i in images]} if named else {}),
            }
        )
    write_tables(tables)
    print(f"{found} The category's images: {how}. Written: {out}")
    if read is not None:
        print(f"Written: {read}" if read in tables else f"Nothing to read: {read} is not written.")


def _rows(path: Path, n: int, named: Sequence[str] | None) -> tuple[NDArray[np.int64], str]:
    """Rows below n from a text file, a line each, by name or by number; and by which of them."""
    from rarefire import names, store, texts

    text = store.read_text(path)
    lines = [line.strip() for line in texts.lines(text) if line.strip()]
    if not lines:
        raise InputError(f"{path.name} names no images: the category has none.")
    numbers = text.split()
    if named is not None:
        index = names.Index(named)
        looked = [index.find(line) for line in lines]
        found = [place for place, _ in looked]
        if all(word.isdecimal() for word in numbers):
            rows = [_number(line, path, n) for line in numbers]
            whole = all(place and "folders" not in without for place, without in looked)
            if whole and found != [{row} for row in rows]:
                raise InputError(
                    f"the numbers in {path.name} can be rows or names of images: write whole names, or say "
                    "--by-position."
                )
        else:
            lost = next((i for i, rows in enumerate(found) if len(rows) != 1), None)
            if lost is not None:
                what = f"fits {len(found[lost])} images" if found[lost] else "is none of the images"
                raise InputError(f"{path.name}: {lines[lost][:80]!r} {what} beside the embedding.")
            return _once([min(rows) for rows in found], path), "aligned by name"
    return _once([_number(line, path, n) for line in numbers], path), "by position"


def _once(rows: list[int], path: Path) -> NDArray[np.int64]:
    """Rows in rising order, none of them twice."""
    import numpy as np

    found, counts = np.unique(rows, return_counts=True)
    if (counts > 1).any():
        raise InputError(f"{path.name}: image {found[counts > 1][0]} is named twice.")
    return np.asarray(found)


def _number(line: str, path: Path, n: int) -> int:
    """The number of a row."""
    if not line.isdecimal():
        raise InputError(
            f"{path.name} holds row numbers from 0, one a line; got {line[:40]!r}. To name images, write the "
            "names of all beside the embedding (E.names.txt beside E.npy), one a line."
        )
    if len(line) > 15 or int(line) >= n:
        raise InputError(f"{path.name} names image {line[:40]}; there are {n:,}, numbered from 0.")
    return int(line)
