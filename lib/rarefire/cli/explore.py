"""``rarefire explore``: the pruning explorer as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from rarefire.cli.common import (
    Array,
    ByPosition,
    Embedding,
    HumanArray,
    apart,
    app,
    categories_of,
    judged,
    named,
    opened,
    readable,
)
from rarefire.errors import InputError

__all__ = ["explore"]


@app.command()
@readable
def explore(
    embedding: Embedding,
    out: Annotated[Path, typer.Option(help="the page, .html")],
    human: Annotated[Path | None, typer.Option(help="RDM of these images, square or condensed")] = None,
    similarity: Annotated[bool, typer.Option("--similarity", help="the RDM holds similarities")] = False,
    labels: Annotated[Path | None, typer.Option(help="text: a category a line, or image,category")] = None,
    by_position: ByPosition = False,
    images: Annotated[int, typer.Option(help="shown, drawn at random where there are more", min=3)] = 120,
    features: Annotated[
        int | None, typer.Option(help="shown, drawn at random where there are more; default: all", min=2)
    ] = None,
    seed: Annotated[int, typer.Option(help="of these draws, and of the random order", min=0)] = 0,
    array: Array = None,
    human_array: HumanArray = None,
) -> None:
    """Write the pruning explorer of an embedding as one page that works offline. PoZ is over all images."""
    import html

    import numpy as np

    from rarefire import poz, rdm
    from rarefire._engine import blocks
    from rarefire.page.explorer import Explorer, Scene
    from rarefire.page.scenes import MOST_FEATURES
    from rarefire.page.widgets import save

    apart(embedding, human if human_array is None else None, labels, out)
    if out.suffix != ".html":
        raise InputError(f"--out is an .html file; got {out.name!r}.")
    apart(human, labels, out)  # of one file with several arrays
    named(human, **{"--similarity": similarity, "--human-array": human_array})
    if human is None and labels is None and by_position:
        raise InputError("--by-position says how to match images with --human or --labels; name one.")
    found = opened(embedding, array)
    source = found.values
    n, width = source.shape
    shown = width if features is None else min(features, width)
    if shown > MOST_FEATURES:
        raise InputError(
            f"an explorer shows up to {MOST_FEATURES:,} features; {embedding.name} has {width:,}. Draw some "
            "of them with --features 4096, or make one of each channel with rarefire embed --pooled."
        )
    categories, sorting = (
        ([], "")
        if labels is None
        else categories_of(labels, embedding, found.names, n, by_position=by_position)
    )
    people, matched = None, ""
    if human is not None:
        reading: dict[str, Any] = {"similarity": similarity, "by_position": by_position, "array": human_array}
        condensed, matched = judged(human, embedding, found, **reading)
        people = rdm.square(condensed)
    rows, columns = np.arange(n), np.arange(width)
    if n > images:
        rows = np.sort(np.random.default_rng(seed).choice(n, images, replace=False))
    if shown < width:
        columns = np.sort(np.random.default_rng(seed).choice(width, shown, replace=False))
    theirs = [categories[i] for i in rows] if categories else []
    kinds, codes = np.unique(theirs, return_inverse=True) if theirs else (np.array([]), None)
    scene = Scene(
        embedding.stem,
        f"{shown:,} features" if shown == width else f"{shown:,} of {width:,} features",
        np.stack([blocks.read(source, slice(i, i + 1))[0][columns] for i in rows]),
        poz=poz.poz(source)[columns],
        labels=codes,
        names=kinds.tolist(),
        human=None if people is None else people[np.ix_(rows, rows)],
    )
    drawn = f"{len(rows):,} of {n:,} images, drawn with seed {seed}" if n > len(rows) else f"{n:,} images"
    drawn += f", {width:,} features"
    if shown < width:
        drawn += f", of which {shown:,} drawn with seed {seed} stand for all"
    caption = f"{html.escape(embedding.name)}: {drawn}. PoZ counted over all {n:,} images."
    reference = "network" if human is None else "people"
    save(out, Explorer([scene], caption=caption, reference=reference, seed=seed), title=embedding.stem)
    for what, how in (("Labels", sorting), ("The RDM", matched)):
        if how:
            print(f"{what}: {how}.")
    print(f"{drawn}. Written: {out}")
