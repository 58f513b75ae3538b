"""``rarefire embed``: a network's features of a folder of images."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from rarefire.cli.common import Background, Network, Weights, apart, app, outside, read_for, readable, trained

__all__ = ["embed"]


@app.command()
@readable
def embed(
    folder: Annotated[Path, typer.Argument(help="images, in it and in its folders")],
    out: Annotated[Path, typer.Option(help="E.npy, (n_images, n_features) float32")],
    names: Annotated[Path | None, typer.Option(help="text: the image of each row, a line each")] = None,
    network: Network = "vgg19",
    weights: Weights = "",
    layer: Annotated[str, typer.Option(help="whose features; post-ReLU")] = "penultimate",
    pooled: Annotated[
        bool,
        typer.Option(
            help="a feature for each channel, averaged over its positions; default: one for each position"
        ),
    ] = False,
    size: Annotated[int, typer.Option(help="of the images, in pixels", min=16, max=2048)] = 224,
    background: Background = "white",
) -> None:
    """Write a network's features of a folder of images, for the other commands. Stopped, it goes on later."""
    from rarefire import embeddings, networks, stimuli

    apart(out, names, *read_for(network, weights))
    outside(folder, out, names)
    images = stimuli.gallery(folder, size=size, background=background)
    model = trained(network, weights, size)
    spatial: Literal["flatten", "mean"] = "mean" if pooled else "flatten"
    progress = sys.stderr.isatty()
    saved = embeddings.save(out, model, images, layer=layer, spatial=spatial, progress=progress, names=names)
    shown = networks.short_name(network)
    print(f"{saved.shape[0]:,} images × {saved.shape[1]:,} features, {shown}, {layer}. Written: {out}")
