"""``rarefire layers``: how far apart the layers of a network are, and the blocks that they make."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rarefire.cli.common import (
    Background,
    Weights,
    apart,
    app,
    evenly,
    images_of,
    outputs,
    read_for,
    readable,
    suited,
    write_tables,
)
from rarefire.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray
    from torch import nn

__all__ = ["layers_command"]

_FEWEST = 3  # layers of which blocks are made
_SAMPLE = 50  # images of each of two samples, at least


@app.command("layers")
@readable
def layers_command(
    network: Annotated[
        str, typer.Argument(help="lenet5, a torchvision classifier, or path/to/nets.py:function")
    ],
    images: Annotated[str, typer.Argument(help="digits, mnist, cifar10, imagenet-sample, or a folder")],
    out: Annotated[Path, typer.Option(help="CSV with a line for each two layers; blocks go beside it")],
    layers: Annotated[
        list[str] | None,
        typer.Option(help="in their order, by naming it again; default: the network's steps"),
    ] = None,
    weights: Weights = "",
    images_at_most: Annotated[int, typer.Option(help="of each of two samples, evenly spread", min=4)] = 300,
    size: Annotated[
        int | None, typer.Option(help="of a folder's images, in pixels; default: 224", min=16, max=2048)
    ] = None,
    starts: Annotated[int, typer.Option(help="random ones of the solver, beside three others", min=0)] = 10,
    seed: Annotated[int, typer.Option(help="of random starts", min=0)] = 0,
    jobs: Annotated[int | None, typer.Option(help="processes; default: one for each core", min=1)] = None,
    background: Background = "white",
) -> None:
    """How far apart a network's layers are (Gromov–Wasserstein, CKA, RSA), and which make a block.

    Blocks are found on one sample of images and judged on another. Stopped, it goes on where it was.
    """
    import numpy as np
    import pandas as pd

    from rarefire import networks, transport

    named = list(dict.fromkeys(layers or []))
    if layers and len(named) < _FEWEST:
        raise InputError(
            f"blocks are made of at least {_FEWEST} layers; got {len(named)}. Name more --layers."
        )
    networks.check_name(network)
    beside = _beside(out)
    apart(out, beside, *read_for(network, weights))
    rows = lambda n: _samples(n, images_at_most).ravel()  # noqa: E731
    seen, of = images_of(images, size, network, rows, out, beside, background=background)
    if len(seen) < transport.LEAST:
        raise InputError(
            f"layers are compared on at least {transport.LEAST} images; {images} has {len(seen)}. Add some."
        )
    samples = np.split(seen.images, len(_samples(of, images_at_most)))
    model, name = suited(network, weights, seen), networks.short_name(network)
    outputs(model, seen, name)
    taken = named or _steps(model, seen.images[:2])
    others = ", and as many others to judge the blocks by" if len(samples) > 1 else ""
    print(f"{name}, on {len(samples[0]):,} of {of:,} images{others}.")
    print(f"{len(taken)} layers: {', '.join(taken)}.")

    options: dict[str, Any] = {"layers": taken, "seed": seed, "n_random": starts, "jobs": jobs}
    tables = [transport.layer_table(model, s, **options, progress=sys.stderr.isatty()) for s in samples]
    labels, said = _blocks([np.sqrt(table.upper.to_numpy()) / 2 for table in tables])
    written = {out: tables[0]}
    if beside is not None:
        written[beside] = pd.DataFrame({"layer": taken, "block": labels})
    write_tables(written)
    for block in range(1, labels.max() + 1):
        print(f"Block {block}: {', '.join(np.array(taken)[labels == block])}.")
    least = min(_SAMPLE, images_at_most)
    print(said or f"Not judged on other images: {of:,} are too few for two samples of at least {least}.")
    print(
        "relative is upper divided by what identity would be with one layer's images shuffled: 0 for the "
        "same geometry, near 1 where moving images does not help."
    )
    print(_time(tables))
    print(f"Written: {' and '.join(map(str, written))}")


def _beside(out: Path) -> Path | None:
    """Where the blocks go; nowhere, if the table goes into a pipe or an open file."""
    from rarefire import store

    if store.descriptor(out) is not None or out.is_fifo() or out.is_char_device():
        return None
    beside = out.with_suffix(".blocks.csv")
    for path in (out, beside):
        store.target(path)  # what is no file is refused before anything is computed
    return beside


def _samples(n: int, most: int) -> NDArray[np.intp]:
    """Rows of two disjoint samples, or of one where there are too few, evenly spread: ``(1 or 2, size)``."""
    size = min(n // 2, most)
    if size < min(_SAMPLE, most):  # a user who wants fewer gets them
        return evenly(n, most)[None]
    return evenly(n, 2 * size).reshape(size, 2).T


def _blocks(maps: Sequence[NDArray[np.float64]]) -> tuple[NDArray[np.intp], str]:
    """The block of each layer, from 1 on, and what a second map says of it."""
    from rarefire import subnetworks

    if len(maps) == 1:
        return subnetworks.best_blocks(maps[0]).labels + 1, ""
    gain = subnetworks.against_chain(*maps)
    return gain.partition.labels + 1, subnetworks.verdict(gain)


def _time(tables: Sequence[pd.DataFrame]) -> str:
    seconds = {what: sum(table.attrs[what] for table in tables) for what in ("layers", "pairs", "known")}
    known, total = seconds["known"], seconds["layers"] + seconds["pairs"]
    again = f"; {known} of {sum(map(len, tables))} pairs were known from before" if known else ""
    return f"{total:.0f} s, {seconds['pairs'] / total:.0%} of it for comparing pairs of layers{again}."


def _steps(model: nn.Module, images: NDArray[np.floating]) -> list[str]:
    """The network's own steps; those that are left out are said."""
    from rarefire import embeddings, steps

    taken, large = steps.find(model, images)
    if large:
        print(f"Left out, of more than {steps.WIDEST:,} features: {', '.join(large)}.")
    if len(taken) < _FEWEST:
        raise InputError(
            f"{len(taken)} of the network's steps can be taken by themselves, {_FEWEST} are needed: name "
            f"--layers. There are: {', '.join(embeddings.layers(model))}."
        )
    return taken
