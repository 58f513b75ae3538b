"""``rarefire people``: how well slices of a network's features predict people."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rarefire.cli.common import (
    Background,
    Network,
    Recompute,
    Ship,
    Weights,
    apart,
    app,
    outside,
    read_for,
    readable,
    taken,
    trained,
    write_tables,
)
from rarefire.errors import InputError

if TYPE_CHECKING:
    from rarefire.judgments import Judgments

__all__ = ["people"]


@app.command()
@readable
def people(
    judgments: Annotated[
        str, typer.Argument(help="mur, peterson-animals, …, or a file of ratings (.csv, .npy)")
    ],
    out: Annotated[Path | None, typer.Option(help="CSV of the curves: view, k, low, high, …")] = None,
    network: Network = "vgg19",
    weights: Weights = "",
    layer: Annotated[str, typer.Option(help="whose features; post-ReLU")] = "penultimate",
    size: Annotated[int, typer.Option(help="of the images, in pixels", min=16, max=2048)] = 224,
    images: Annotated[Path | None, typer.Option(help="folder of the images; of a file of ratings")] = None,
    folder: Annotated[Path | None, typer.Option(help="the archive of Peterson et al. (2018)")] = None,
    similarity: Annotated[bool, typer.Option("--similarity", help="the ratings are similarities")] = False,
    array: Annotated[
        str | None, typer.Option(help="which array of the file of ratings, where it has several")
    ] = None,
    background: Background = "white",
    recompute: Recompute = False,
    ship: Ship = None,
) -> None:
    """Measure how well slices of a network's features predict people, with valid tests. Takes minutes."""
    import pandas as pd

    from rarefire import networks, records

    beside = ship and ship.with_stem(f"{ship.stem}-sample")
    apart(out, ship, beside, Path(judgments), *read_for(network, weights))
    if images is not None:
        outside(images, out, ship)
    networks.check_name(network)
    given = _given(
        judgments,
        images=images,
        folder=folder,
        size=size,
        similarity=similarity,
        array=array,
        background=background,
    )
    model = trained(network, weights, size)
    options: dict[str, Any] = {
        "name": networks.short_name(network),
        "layer": layer,
        "use_shipped": not recompute,
    }
    found = records.people.measure(given, model, **options)
    print(given)
    print(records.people.verdicts(found).to_string(index=False, float_format="%.3f"))
    print(records.source(*found))
    written = []
    if ship is not None:
        few = records.people.excerpt(given, model, **options)
        written.append(records.people.ship(found, ship, excerpt=few))
    if out is not None:
        write_tables({out: pd.concat([p.table() for p in found])})
        written.insert(0, out)
    for path in written:
        print(f"written: {path}")


def _given(
    judgments: str,
    *,
    images: Path | None,
    folder: Path | None,
    size: int,
    similarity: bool,
    array: str | None,
    background: str,
) -> Judgments:
    """Judgments with their images, by name or from a file."""
    from rarefire import judgments as known

    if judgments not in known.NAMES:
        from rarefire import ratings

        fit = size if images else None
        taken(Path(judgments), array)
        given = ratings.read(
            judgments, images=images, size=fit, similarity=similarity, array=array, background=background
        )
    elif images is not None or similarity or array is not None:
        raise InputError(
            f"--images, --similarity and --array are for a file of ratings; {judgments} has its own."
        )
    elif judgments == "cifar10h":
        raise InputError("the rows of cifar10h are classes, not images: rarefire record people-by-class.")
    else:
        given = known.load(judgments, size=size, folder=folder)
    if given.images is None:
        raise InputError(
            "a network needs the images that were judged: name their folder (--images; --folder for "
            "the archive of Peterson et al.)."
        )
    return given
