"""``rarefire explore``: the pruning explorer as a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from rarefire.cli.common import ByPosition, Embedding, apart, app, judged, readable
from rarefire.errors import InputError

__all__ = ["explore"]

#: Characters of a category's name.
_LONGEST = 200


@app.command()
@readable
def explore(
    embedding: Embedding,
    out: Annotated[Path, typer.Option(help="the page, .html")],
    human: Annotated[Path | None, typer.Option(help="square RDM of these images, .npy or .csv")] = None,
    similarity: Annotated[bool, typer.Option("--similarity", help="the RDM holds similarities")] = False,
    labels: Annotated[Path | None, typer.Option(help="text: a category a line, or image,category")] = None,
    by_position: ByPosition = False,
    images: Annotated[int, typer.Option(help="shown, drawn at random where there are more", min=3)] = 120,
    seed: Annotated[int, typer.Option(help="of that draw, and of the random order", min=0)] = 0,
) -> None:
    """Write the pruning explorer of an embedding as one page that works offline. PoZ is over all images."""
    import html

    import numpy as np

    from rarefire import poz, rdm
    from rarefire._engine import blocks
    from rarefire.page.explorer import Explorer, Scene
    from rarefire.page.widgets import save

    apart(embedding, human, labels, out)
    if human is None and similarity:
        raise InputError("--similarity says how to read the RDM; name one with --human.")
    if human is None and labels is None and by_position:
        raise InputError("--by-position says how to match images with --human or --labels; name one.")
    source = blocks.open_embedding(embedding)
    n = source.shape[0]
    categories, sorting = ([], "") if labels is None else _categories(labels, embedding, n, by_position)
    people, matched = None, ""
    if human is not None:
        condensed, matched = judged(human, embedding, n, similarity=similarity, by_position=by_position)
        people = rdm.square(condensed)
    rows = np.arange(n)
    if n > images:
        rows = np.sort(np.random.default_rng(seed).choice(n, images, replace=False))
    shown = [categories[i] for i in rows] if categories else []
    kinds, codes = np.unique(shown, return_inverse=True) if shown else (np.array([]), None)
    scene = Scene(
        embedding.stem,
        f"{source.shape[1]:,} features",
        np.stack([blocks.read(source, slice(i, i + 1))[0] for i in rows]),
        poz=poz.poz(source),
        labels=codes,
        names=kinds.tolist(),
        human=None if people is None else people[np.ix_(rows, rows)],
    )
    drawn = f"{len(rows):,} of {n:,} images, drawn with seed {seed}" if n > len(rows) else f"{n:,} images"
    caption = f"{html.escape(embedding.name)}: {drawn}. PoZ counted over all {n:,}."
    reference = "network" if human is None else "people"
    save(out, Explorer([scene], caption=caption, reference=reference, seed=seed), title=embedding.stem)
    for what, how in (("Labels", sorting), ("The RDM", matched)):
        if how:
            print(f"{what}: {how}.")
    print(f"{drawn}, {source.shape[1]:,} features. Written: {out}")


def _categories(labels: Path, embedding: Path, n: int, by_position: bool) -> tuple[list[str], str]:
    """Each image's category, in the order of the embedding's rows; and how they were matched."""
    import unicodedata

    from rarefire import names, store, texts

    given, found = _columns(store.read_text(labels), labels, n)
    if len(found) != n:
        raise InputError(f"{labels.name} has {len(found):,} lines; {embedding.name} has {n:,} images.")
    found = [unicodedata.normalize("NFC", category.strip()) for category in found]
    for line, category in enumerate(found, start=1):
        if texts.is_missing(category):
            raise InputError(f"{labels.name} says no category of image {line}: {category!r}. Name one.")
        if len(category) > _LONGEST:
            raise InputError(
                f"{labels.name}: the category of image {line} has {len(category):,} characters; at most "
                f"{_LONGEST} are shown. Shorten it."
            )
    own = names.of_embedding(embedding, n)
    if given is None:  # a category a line has no place for names
        return found, "by position" + (f", a line for each of {names.beside(embedding).name}" if own else "")
    options: dict[str, Any] = {
        "n_images": n,
        "own_file": embedding,
        "other_file": labels,
        "by_position": by_position,
    }
    matched = names.align(own, given, **options)
    return [found[i] for i in matched.rows], matched.how


def _columns(text: str, path: Path, n: int) -> tuple[list[str] | None, list[str]]:
    """The images' names, where a table has them, and their categories."""
    from rarefire import texts

    lines = texts.lines(text)
    rows = texts.table(text, path).rows if any(d in text for d in ",;\t") else []
    if not rows or any(len(row) != 2 for row in rows) or len(rows) not in (n, n + 1):
        return None, lines
    header = len(rows) == n + 1
    first, second = zip(*rows[header:], strict=True)
    if len(set(first)) == n:
        return list(first), list(second)
    return None, lines
