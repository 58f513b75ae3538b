"""``rarefire explore``: the pruning explorer as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rarefire.cli.common import Array, Embedding, HumanArray, apart, app, opened, people_of, readable
from rarefire.errors import InputError

__all__ = ["explore"]


@app.command()
@readable
def explore(
    embedding: Embedding,
    out: Annotated[Path, typer.Option(help="the page, .html")],
    human: Annotated[Path | None, typer.Option(help="RDM of these images, square or condensed")] = None,
    similarity: Annotated[bool, typer.Option("--similarity", help="the RDM holds similarities")] = False,
    labels: Annotated[Path | None, typer.Option(help="text: a category for each image, one a line")] = None,
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

    from rarefire import poz, rdm, store
    from rarefire._engine import blocks
    from rarefire.page.explorer import MOST_FEATURES, Explorer, Scene
    from rarefire.page.widgets import save

    apart(embedding, human if human_array is None else None, labels, out)
    apart(human, labels, out)  # of one file with several arrays
    if human is None and (similarity or human_array is not None):
        raise InputError("--similarity and --human-array say how to read the RDM; name one with --human.")
    source = blocks.check_source(opened(embedding, array))
    n, width = source.shape
    shown = width if features is None else min(features, width)
    if shown > MOST_FEATURES:
        raise InputError(
            f"an explorer shows up to {MOST_FEATURES:,} features; {embedding.name} has {width:,}. Draw some "
            "of them with --features 4096, or make one of each channel with rarefire embed --pooled."
        )
    categories = [] if labels is None else store.read_text(labels).splitlines()
    if labels is not None and len(categories) != n:
        raise InputError(f"{labels.name} has {len(categories):,} lines; {embedding.name} has {n:,} images.")
    rows = np.arange(n)
    if n > images:
        rows = np.sort(np.random.default_rng(seed).choice(n, images, replace=False))
    columns = np.arange(width)
    if shown < width:
        columns = np.sort(np.random.default_rng(seed).choice(width, shown, replace=False))
    names, codes = np.unique(categories, return_inverse=True) if categories else (np.array([]), None)
    people = None
    if human is not None:
        given = people_of(human, similarity=similarity, array=human_array)
        people = rdm.square(rdm.check_rdm(given, n))
    scene = Scene(
        embedding.stem,
        f"{shown:,} features" if shown == width else f"{shown:,} of {width:,} features",
        np.stack([blocks.read(source, slice(i, i + 1))[0][columns] for i in rows]),
        poz=poz.poz(source)[columns],
        labels=None if codes is None else codes[rows],
        names=names.tolist(),
        human=None if people is None else people[np.ix_(rows, rows)],
    )
    drawn = f"{len(rows):,} of {n:,} images, drawn with seed {seed}" if n > len(rows) else f"{n:,} images"
    drawn += f", {width:,} features"
    if shown < width:
        drawn += f", of which {shown:,} drawn with seed {seed} stand for all"
    caption = f"{html.escape(embedding.name)}: {drawn}. PoZ counted over all {n:,} images."
    reference = "network" if human is None else "people"
    save(out, Explorer([scene], caption=caption, reference=reference, seed=seed), title=embedding.stem)
    print(f"{drawn}. Written: {out}")
