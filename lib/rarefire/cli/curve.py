"""``rarefire curve``: what the first features carry, for every number of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rarefire.cli.common import (
    Array,
    Embedding,
    HumanArray,
    apart,
    app,
    opened,
    people_of,
    readable,
    tables_opened,
)
from rarefire.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["curve_command"]


@app.command("curve")
@readable
def curve_command(
    embedding: Embedding,
    out: Annotated[Path, typer.Option(help="CSV with columns k, r, r2, n_images, poz")],
    human: Annotated[
        Path | None, typer.Option(help="RDM, square or condensed; default: the full embedding's geometry")
    ] = None,
    order: Annotated[str, typer.Option(help="low or high PoZ first, or random")] = "low",
    metric: Annotated[str, typer.Option(help="correlation (also called pearson) or cosine")] = "correlation",
    k: Annotated[str, typer.Option(help="all, or numbers of features such as 10,20,50")] = "all",
    seed: Annotated[int, typer.Option(help="of the random order", min=0)] = 0,
    similarity: Annotated[bool, typer.Option("--similarity", help="the RDM holds similarities")] = False,
    plot: Annotated[Path | None, typer.Option(help="also draw the curve: .png or .svg")] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="compute with Dask: local, or a scheduler's address")
    ] = None,
    array: Array = None,
    human_array: HumanArray = None,
) -> None:
    """R² of the first k features' RDM with a reference, for every k. Equal PoZ goes by feature index."""
    import pandas as pd

    from rarefire import curves, poz

    apart(embedding, human if human_array is None else None, out, plot)
    apart(human, out, plot)  # of one file with several arrays
    if plot is not None and plot.suffix.lower() not in (".png", ".svg"):
        raise InputError(f"--plot writes .png or .svg; got {plot.name!r}.")
    if order not in ("low", "high", "random"):
        raise InputError(f"--order is low, high or random; got {order!r}.")
    metric = "correlation" if metric == "pearson" else metric
    if metric not in ("correlation", "cosine"):
        raise InputError(f"--metric is correlation (or pearson, the same) or cosine; got {metric!r}.")
    if human is None and (similarity or human_array is not None):
        raise InputError("--similarity and --human-array say how to read the RDM; name one with --human.")
    if scheduler is not None and array is not None:
        raise InputError(
            "with --scheduler an embedding is .npy or zarr, which hold one array; leave --array out."
        )
    if human is not None and scheduler is not None:
        raise InputError(
            "--scheduler is for the embedding's own geometry; curves against an RDM need no cluster."
        )
    source = opened(embedding, array)
    rates = poz.poz(source)
    indices = _insertion(rates, order, seed)
    options: dict[str, Any] = {"metric": metric, "k": _steps(k)}
    progress = sys.stderr.isatty()
    if human is not None:
        people = people_of(human, similarity=similarity, array=human_array)
        found = curves.rdm_curve(source, people, indices, **options)
    elif scheduler is not None:
        from rarefire import cluster

        address = None if scheduler == "local" else scheduler
        found = cluster.geometry_curve(embedding, indices, scheduler=address, progress=progress, **options)
    else:
        found = curves.geometry_curve(source, indices, progress=progress, **options)
    cut = rates[indices[found.k - 1]]
    table = pd.DataFrame({"k": found.k, "r": found.r, "r2": found.r2, "n_images": found.n_images, "poz": cut})
    against = "the full embedding" if human is None else human.name
    shown = {"low": "low→high PoZ", "high": "high→low PoZ", "random": f"random order, seed {seed}"}[order]
    with tables_opened({out: table}):
        if plot is not None:
            from rarefire.page import plots

            plots.save_curve(plot, found, cut, title=shown, against=against)
    undefined = int((found.r != found.r).sum())
    note = f" R² is undefined (empty) at {undefined:,} of {len(table):,} k." if undefined else ""
    print(
        f"{source.shape[0]:,} images × {source.shape[1]:,} features, {shown}, {metric}, against {against}: "
        f"R² = {found.r2[-1]:.4f} at k = {found.k[-1]:,}.{note} Written: {out}"
    )


def _insertion(rates: NDArray[np.float64], order: str, seed: int) -> NDArray[np.intp]:
    """The features in the order in which they are inserted."""
    import numpy as np

    from rarefire import poz

    if order == "random":
        return np.random.default_rng(seed).permutation(len(rates))
    return poz.order(rates, first="low" if order == "low" else "high")


def _steps(text: str) -> list[int] | None:
    """``all`` or ``10,20,50``."""
    if text.strip() == "all":
        return None
    try:
        return [int(part) for part in text.replace(",", " ").split()]
    except ValueError:
        raise InputError(f"--k is all, or whole numbers such as 10,20,50; got {text!r}.") from None
