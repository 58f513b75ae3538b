"""``rarefire people``: how well slices of a network's features predict people."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rarefire.cli.common import (
    Array,
    Background,
    ByPosition,
    HumanArray,
    Network,
    Recompute,
    Ship,
    Weights,
    apart,
    app,
    opened,
    outside,
    read_for,
    readable,
    tables_opened,
    taken,
    trained,
)
from rarefire.errors import InputError

if TYPE_CHECKING:
    from rarefire.choices import Choices
    from rarefire.embeddings import View
    from rarefire.judgments import Judgments

__all__ = ["people"]


@app.command()
@readable
def people(
    judgments: Annotated[
        str, typer.Argument(help="mur, peterson-animals, …, or a file of ratings or trials (.csv, .npy)")
    ],
    out: Annotated[Path | None, typer.Option(help="CSV of the curves: view, k, low, high, …")] = None,
    plot: Annotated[Path | None, typer.Option(help="also draw the curves: .png or .svg")] = None,
    network: Network = "vgg19",
    weights: Weights = "",
    layer: Annotated[str, typer.Option(help="whose features; post-ReLU")] = "penultimate",
    embedding: Annotated[
        Path | None, typer.Option(help="instead of a network: its features, E.npy or a zarr store")
    ] = None,
    size: Annotated[int, typer.Option(help="of the images, in pixels", min=16, max=2048)] = 224,
    images: Annotated[Path | None, typer.Option(help="folder of the images; of a file of ratings")] = None,
    folder: Annotated[Path | None, typer.Option(help="the archive of Peterson et al. (2018)")] = None,
    similarity: Annotated[bool, typer.Option("--similarity", help="the ratings are similarities")] = False,
    subject: Annotated[
        str | None, typer.Option(help="the table's column of people, or none: all are averaged")
    ] = None,
    rating: Annotated[str | None, typer.Option(help="the table's column of ratings, or of choices")] = None,
    by_position: ByPosition = False,
    array: Array = None,
    human_array: HumanArray = None,
    background: Background = "white",
    recompute: Recompute = False,
    ship: Ship = None,
) -> None:
    """Measure how well slices of a network's features predict people, with valid tests. Takes minutes.

    Stopped, it goes on where it was.
    """
    import pandas as pd

    from rarefire import networks, ratings, records
    from rarefire.choices import Choices

    beside = ship and ship.with_stem(f"{ship.stem}-sample")
    read = read_for(network, weights) if embedding is None else [embedding]
    apart(out, plot, ship, beside, Path(judgments), *read)
    if images is not None:
        outside(images, out, plot, ship)
    if plot is not None and plot.suffix.lower() not in (".png", ".svg"):
        raise InputError(f"--plot writes .png or .svg; got {plot.name!r}.")
    if embedding is None:
        networks.check_name(network)
        if array is not None:
            raise InputError("--array says which array of the embedding's file; name one with --embedding.")
    elif weights or images or ship:
        raise InputError(
            "--embedding stands for a network and its images: leave --weights, --images, --ship."
        )
    given = _given(
        judgments,
        images=images,
        folder=folder,
        size=size,
        options={
            "similarity": similarity,
            "by_position": by_position,
            "subject": subject,
            "rating": rating,
            "array": human_array,
        },
        background=background,
    )
    print(given)
    if given.columns is not None:
        together = "; all subjects counted together" if isinstance(given, Choices) and given.subjects else ""
        print(f"{Path(judgments).name} is {given.columns}{together}.")
    if embedding is None and given.images is None:
        raise InputError(
            "a network needs the images that were judged: name their folder (--images; --folder for "
            "the archive of Peterson et al.). Or name features (--embedding)."
        )
    model: Any = None if embedding is not None else trained(network, weights, size)
    features, matched = None, ""
    if embedding is not None:
        features, matched = _rows(embedding, array, given, judgments, by_position)
    if images is not None:
        matched = "by position, as asked for" if by_position else "aligned by name"
    if matched:
        print(f"Images and judgments: {matched}.")
    tables: dict[Path, Any] = {}
    judged = given
    if isinstance(given, Choices):
        agreed = records.people.agreements(given, _views(model, features, given, layer))
        _show(agreed, records.people.AGREEMENTS)
        try:
            judged = ratings.counted(given)
        except InputError as error:
            print(f"No curves: {error}")
            if plot is not None or ship is not None:
                raise InputError("--plot and --ship need an RDM, which these trials do not give.") from error
            _written({} if out is None else {out: agreed})
            return
        if out is not None:
            tables[out.with_stem(f"{out.stem}-agreement")] = agreed
    assert not isinstance(judged, Choices)
    if embedding is not None:
        options: dict[str, Any] = {"name": embedding.name, "use_shipped": not recompute}
        found = records.people.measure_embedding(judged, features, **options)
    else:
        name = networks.short_name(network)
        options = {"name": name, "layer": layer, "use_shipped": not recompute}
        found = records.people.measure(judged, model, **options)
    _show(records.people.verdicts(found), records.people.VERDICTS)
    print(records.source(*found))
    if out is not None:
        tables = {out: pd.concat([p.table() for p in found]), **tables}
        print(f"Columns of {out.name}:\n{_said(records.people.CURVES)}")
    if ship is not None:
        few = records.people.excerpt(judged, model, **options)
        shipped = records.people.ship(found, ship, excerpt=few)
    with tables_opened(tables):
        if plot is not None:
            from rarefire.page import plots

            plots.save_people(plot, found)
    for path in (*tables, *([plot] if plot else []), *([shipped] if ship else [])):
        print(f"written: {path}")


def _written(tables: Mapping[Path, Any]) -> None:
    with tables_opened(tables):
        pass
    for path in tables:
        print(f"written: {path}")


def _show(table: Any, words: Mapping[str, str]) -> None:
    """A table, and its columns in words."""
    print(table.to_string(index=False, float_format="%.3f"))
    print(_said(words))


def _said(words: Mapping[str, str]) -> str:
    return "\n".join(f"  {name}: {meaning}" for name, meaning in words.items())


def _views(model: Any, features: Any, given: Choices, layer: str) -> list[View]:
    """What the features are, of a network or as they are given."""
    from rarefire import embeddings, records

    if features is not None:
        return [records.people.view_of(features)]
    assert given.images is not None
    return embeddings.views(model, given.images, layer=layer)


def _rows(
    embedding: Path, array: str | None, given: Judgments | Choices, judgments: str, by_position: bool
) -> tuple[Any, str]:
    """An embedding's rows, in the order of the judgments; and how they were matched."""
    import numpy as np

    from rarefire import names

    found = opened(embedding, array)
    source, n = found.values, found.values.shape[0]
    if n != len(given.names):
        raise InputError(
            f"{embedding.name} has {n:,} images; the judgments are of {len(given.names):,}, and need a row "
            "of features for each."
        )
    known = None if names.are_numbers(given.names) else given.names
    matched = names.align(
        None if by_position else found.names,
        None if by_position else known,
        n_images=n,
        own_file=embedding,
        other_file=judgments,
        by_position=by_position,
    )
    # The judgments' order is kept: for each of them, which row it is.
    return np.asarray(source[:])[np.argsort(matched.rows)], matched.how


def _given(
    judgments: str,
    *,
    images: Path | None,
    folder: Path | None,
    size: int,
    options: dict[str, Any],
    background: str,
) -> Judgments | Choices:
    """Judgments with their images, by name or from a file."""
    from rarefire import judgments as known
    from rarefire import ratings

    if judgments not in known.NAMES:
        taken(Path(judgments), options["array"])
        return ratings.read_either(
            judgments, images=images, size=size if images else None, background=background, **options
        )
    if images is not None or any(options.values()):
        raise InputError(
            "--images, --similarity, --subject, --rating, --human-array and --by-position are for a file of "
            f"ratings; {judgments} has its own."
        )
    if judgments == "cifar10h":
        raise InputError("the rows of cifar10h are classes, not images: rarefire record people-by-class.")
    return known.load(judgments, size=size, folder=folder)
