"""``rarefire embed``: a network's features of a folder of images."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from rarefire.cli.common import Network, Weights, apart, app, outside, read_for, readable, trained

__all__ = ["embed"]


@app.command()
@readable
def embed(
    folder: Annotated[Path, typer.Argument(help="images, in it and in its folders")],
    out: Annotated[Path, typer.Option(help="E.npy, (n_images, n_features) float32")],
    names: Annotated[
        Path | None, typer.Option(help="also write the images' names, which are in E.names.txt, here")
    ] = None,
    network: Network = "vgg19",
    weights: Weights = "",
    layer: Annotated[str, typer.Option(help="whose features; post-ReLU")] = "penultimate",
    pooled: Annotated[bool, typer.Option(help="average a layer with positions over these")] = False,
    size: Annotated[int, typer.Option(help="of the images, in pixels", min=16, max=2048)] = 224,
) -> None:
    """Write a network's features of a folder of images, for the other commands. Stopped, it goes on later."""
    from rarefire import embeddings, networks, stimuli
    from rarefire import names as naming

    beside = naming.beside(out)
    apart(out, beside, None if names == beside else names, *read_for(network, weights))
    outside(folder, out, names)
    images = stimuli.gallery(folder, size=size)
    model = trained(network, weights, size)
    spatial: Literal["flatten", "mean"] = "mean" if pooled else "flatten"
    progress = sys.stderr.isatty()
    saved = embeddings.save(out, model, images, layer=layer, spatial=spatial, progress=progress, names=names)
    shown = networks.short_name(network)
    print(
        f"{saved.shape[0]:,} images × {saved.shape[1]:,} features, {shown}, {layer}. Written: {out}, and "
        f"names in {beside}"
    )
