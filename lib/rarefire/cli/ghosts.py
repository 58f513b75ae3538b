"""``rarefire ghosts``: what never fires for a category, and what it fires for instead."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rarefire.cli.common import Array, Embedding, apart, app, opened, readable, write_tables
from rarefire.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["ghosts_command"]


@app.command("ghosts")
@readable
def ghosts_command(
    embedding: Embedding,
    category: Annotated[Path, typer.Option(help="text: the category's images, a row number from 0 a line")],
    out: Annotated[Path, typer.Option(help="CSV with columns feature, kind (ghost, dead), others")],
    read: Annotated[
        Path | None, typer.Option(help="also CSV of the images that score highest on the ghosts' components")
    ] = None,
    components: Annotated[int, typer.Option(help="of the ghosts' activations, with --read", min=1)] = 10,
    top: Annotated[int, typer.Option(help="images of each component, with --read", min=1)] = 8,
    array: Array = None,
) -> None:
    """Ghost features of a category: 0 for all its images, active for others; and what they respond to.

    kind is ghost, or dead for a feature that is 0 for every image of the file; others is the number of
    other images for which it fires.
    """
    import numpy as np
    import pandas as pd

    from rarefire import ghosts
    from rarefire._engine import blocks

    apart(embedding, category, out, read)
    source = opened(embedding, array)
    rows = _rows(category, source.shape[0])
    found = ghosts.find(source, rows)
    others = np.setdiff1d(np.arange(source.shape[0]), rows)
    tables = {out: found.table()}
    if read is not None and len(found.features) and len(others) > 1:
        shown = ghosts.components(blocks.Rows(source, others), found.features, n=components)
        best = shown.top(min(top, len(others)))
        index = [(j, rank) for j in range(len(best)) for rank in range(best.shape[1])]
        tables[read] = pd.DataFrame(
            {
                "component": [j + 1 for j, _ in index],
                "explained": [shown.explained[j] for j, _ in index],
                "rank": [rank + 1 for _, rank in index],
                "image": [int(others[best[j, rank]]) for j, rank in index],
                "score": [shown.scores[best[j, rank], j] for j, rank in index],
            }
        )
    write_tables(tables)
    print(f"{found} Written: {out}")
    if read is not None:
        print(f"Written: {read}" if read in tables else f"Nothing to read: {read} is not written.")


def _rows(path: Path, n: int) -> NDArray[np.int64]:
    """Row numbers below n from a text file, one a line."""
    import numpy as np

    from rarefire import store

    lines = store.read_text(path).split()
    bad = next((line for line in lines if not line.isdecimal()), None)
    if bad is not None:
        raise InputError(f"{path.name} holds row numbers from 0, one a line; got {bad[:40]!r}.")
    beyond = next((line for line in lines if len(line) > 15 or int(line) >= n), None)
    if beyond is not None:
        raise InputError(f"{path.name} names image {beyond[:40]}; there are {n:,}, numbered from 0.")
    if not lines:
        raise InputError(f"{path.name} names no images: the category has none.")
    rows, counts = np.unique([int(line) for line in lines], return_counts=True)
    if (counts > 1).any():
        raise InputError(f"{path.name}: image {rows[counts > 1][0]} is named twice.")
    return np.asarray(rows)
