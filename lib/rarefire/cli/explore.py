"""``rarefire explore``: the pruning explorer as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rarefire.cli.common import Embedding, apart, app, readable
from rarefire.errors import InputError

__all__ = ["explore"]


@app.command()
@readable
def explore(
    embedding: Embedding,
    out: Annotated[Path, typer.Option(help="the page, .html")],
    human: Annotated[Path | None, typer.Option(help="square RDM of these images, .npy or .csv")] = None,
    similarity: Annotated[bool, typer.Option("--similarity", help="the RDM holds similarities")] = False,
    labels: Annotated[Path | None, typer.Option(help="text: a category for each image, one a line")] = None,
    images: Annotated[int, typer.Option(help="shown, drawn at random where there are more", min=3)] = 120,
    seed: Annotated[int, typer.Option(help="of that draw, and of the random order", min=0)] = 0,
) -> None:
    """Write the pruning explorer of an embedding as one page that works offline. PoZ is over all images."""
    import html

    import numpy as np

    from rarefire import poz, rdm, store
    from rarefire._engine import blocks
    from rarefire.page.explorer import Explorer, Scene
    from rarefire.page.widgets import save

    apart(embedding, human, labels, out)
    if human is None and similarity:
        raise InputError("--similarity says how to read the RDM; name one with --human.")
    source = blocks.open_embedding(embedding)
    n = source.shape[0]
    categories = [] if labels is None else store.read_text(labels).splitlines()
    if labels is not None and len(categories) != n:
        raise InputError(f"{labels.name} has {len(categories):,} lines; {embedding.name} has {n:,} images.")
    rows = np.arange(n)
    if n > images:
        rows = np.sort(np.random.default_rng(seed).choice(n, images, replace=False))
    names, codes = np.unique(categories, return_inverse=True) if categories else (np.array([]), None)
    people = None if human is None else rdm.square(rdm.check_rdm(rdm.read(human, similarity=similarity), n))
    scene = Scene(
        embedding.stem,
        f"{source.shape[1]:,} features",
        np.stack([blocks.read(source, slice(i, i + 1))[0] for i in rows]),
        poz=poz.poz(source),
        labels=None if codes is None else codes[rows],
        names=names.tolist(),
        human=None if people is None else people[np.ix_(rows, rows)],
    )
    drawn = f"{len(rows):,} of {n:,} images, drawn with seed {seed}" if n > len(rows) else f"{n:,} images"
    caption = f"{html.escape(embedding.name)}: {drawn}. PoZ counted over all {n:,}."
    reference = "network" if human is None else "people"
    save(out, Explorer([scene], caption=caption, reference=reference, seed=seed), title=embedding.stem)
    print(f"{drawn}, {source.shape[1]:,} features. Written: {out}")
