"""``rarefire rdm``: an RDM from people's ratings or choices."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rarefire.cli.common import apart, app, readable
from rarefire.errors import InputError

__all__ = ["rdm_command"]


@app.command("rdm")
@readable
def rdm_command(
    ratings: Annotated[Path, typer.Argument(help="a table of ratings, of odd-one-out trials or of triplets")],
    out: Annotated[Path, typer.Option(help="square RDM, .npy with people.names.txt beside it, or .csv")],
    similarity: Annotated[bool, typer.Option("--similarity", help="the ratings are similarities")] = False,
    scale: Annotated[float | None, typer.Option(help="the highest possible similarity")] = None,
    subject: Annotated[
        str | None, typer.Option(help="the column of people, or none: all are averaged")
    ] = None,
    rating: Annotated[str | None, typer.Option(help="the column of ratings, or of choices")] = None,
) -> None:
    """Make an RDM of people's ratings, as the other commands take it. Pairs that nobody judged are empty."""
    import io

    import numpy as np
    import pandas as pd

    from rarefire import names as naming
    from rarefire import ratings as read
    from rarefire import rdm, store

    if out.suffix not in (".npy", ".csv"):
        raise InputError(f"--out is a .npy or .csv file; got {out.name!r}.")
    beside = naming.beside(out) if out.suffix == ".npy" else None
    apart(ratings, out, beside)
    given = read.read(ratings, similarity=similarity, scale=scale, subject=subject, rating=rating)
    naming.check_writable(given.names)
    matrix = rdm.square(given.human)
    if beside is None:
        text = pd.DataFrame(matrix, index=given.names, columns=given.names).to_csv()
        with store.atomic_write(out) as file:
            file.write(text.encode())
    else:
        buffer = io.BytesIO()
        np.save(buffer, matrix)
        with store.atomic_write(out) as file, store.atomic_write(beside) as lines:
            file.write(buffer.getvalue())
            lines.write("".join(f"{name}\n" for name in given.names).encode())
    print(given)
    if given.columns is not None:
        print(f"{ratings.name} is {given.columns}.")
    kind = given.columns.kind if given.columns is not None else "matrix"
    if kind == "ratings" and given.subjects is not None:
        unit = "mean over people of each one's ratings, in standard deviations from that person's mean"
    elif kind == "ratings":
        unit = "mean rating" + (", turned around" if similarity else "")
    else:
        unit = (
            "as in the file" if kind == "matrix" else "1 − the share of trials in which two stayed together"
        )
    never = int(np.isnan(given.human).sum())
    print(f"Dissimilarity: {unit}. {never:,} of {len(given.human):,} pairs were judged by nobody.")
    print(f"Written: {out}" + (f", {beside}" if beside else ""))
