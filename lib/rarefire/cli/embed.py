"""``rarefire embed``: a network's features of a folder of images."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from rarefire.cli.common import (
    Background,
    Network,
    Scheduler,
    Weights,
    apart,
    app,
    outside,
    read_for,
    readable,
    trainer,
)

__all__ = ["embed"]


@app.command()
@readable
def embed(
    folder: Annotated[
        Path,
        typer.Argument(help="images, in it and in its folders; or a zarr store of them, at an address too"),
    ],
    out: Annotated[
        Path, typer.Option(help="E.npy, (n_images, n_features) float32; or a store, E.zarr or s3://…")
    ],
    names: Annotated[
        Path | None,
        typer.Option(help="also write the images' names here; they are in E.names.txt, or in the store"),
    ] = None,
    network: Network = "vgg19",
    weights: Weights = "",
    layer: Annotated[str, typer.Option(help="whose features; post-ReLU")] = "penultimate",
    pooled: Annotated[
        bool,
        typer.Option(
            help="average a layer with positions or tokens over these: a feature for each channel; default: "
            "one for each position"
        ),
    ] = False,
    class_token: Annotated[bool, typer.Option(help="of a layer with tokens, take the class token")] = False,
    positions: Annotated[
        str | None,
        typer.Option(
            help="a layer's axes, where they are not certain: channels_first, channels_last, tokens (images, "
            "tokens, features), tokens_first (tokens, images, features)"
        ),
    ] = None,
    call: Annotated[
        int | None, typer.Option(help="of a layer that runs several times: 1 is the first, -1 the last")
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(help="of the images, in pixels; default: 224, or the store's", min=16, max=2048),
    ] = None,
    background: Background = "white",
    scheduler: Scheduler = None,
) -> None:
    """Write a network's features of a folder of images, for the other commands. Stopped, it goes on later."""
    from rarefire import embeddings, files, networks, stimuli
    from rarefire import names as naming
    from rarefire.errors import InputError, RarefireWarning

    if pooled and class_token:
        raise InputError("--pooled is the mean of the tokens, --class-token one of them: say one of the two.")
    place = files.address(out)
    in_store = out.suffix == ".zarr" or place is not None
    if not in_store and out.suffix != ".npy":
        raise InputError(f"--out is a .npy file or a .zarr store; got {out.name!r}.")
    networks.check_name(network)
    beside = out if in_store else naming.beside(out)
    apart(out, None if in_store else beside, None if names == beside else names, *read_for(network, weights))
    outside(folder, out, names)
    images = stimuli.gallery(folder, size=size, background=background)
    make = trainer(network, weights, images.size, anywhere=scheduler is not None)
    model = make()
    options: dict[str, Any] = {
        "layer": layer,
        "spatial": "class" if class_token else "mean" if pooled else "flatten",
        "positions": positions,
        "call": call,
    }
    kept: dict[str, Any] = {"names": names, "progress": sys.stderr.isatty()}
    if scheduler is None:
        saved = embeddings.save(out, model, images, **options, **kept)
    else:
        from rarefire import cluster

        address = None if scheduler == "local" else scheduler
        saved = cluster.extract(make, images, out=out, scheduler=address, **options, **kept)
    shown = networks.short_name(network)
    print(
        f"{saved.shape[0]:,} images × {saved.shape[1]:,} features, {shown}, {layer}. Written: "
        f"{place or out}, and names in {'it' if in_store else beside}"
    )
    taken = embeddings.reading(model, images[:1], **options)
    if taken != f"{saved.shape[1]:,} features":
        print(f"The layer is taken for {taken}.")
    negative = (saved[:: max(1, saved.shape[0] // 256)] < 0).mean()
    if negative:
        said = f"{negative:.0%} of the numbers looked at are negative, and PoZ wants none."
        warnings.warn(f"{said} {networks.about_relus(model)}", RarefireWarning, stacklevel=2)
