"""``rarefire embed``: a network's features of a folder of images."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from rarefire.cli.common import Background, Network, Weights, apart, app, outside, read_for, readable, trained

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
    size: Annotated[int, typer.Option(help="of the images, in pixels", min=16, max=2048)] = 224,
    background: Background = "white",
) -> None:
    """Write a network's features of a folder of images, for the other commands. Stopped, it goes on later."""
    from rarefire import embeddings, networks, stimuli
    from rarefire import names as naming
    from rarefire.errors import InputError, RarefireWarning

    if pooled and class_token:
        raise InputError("--pooled is the mean of the tokens, --class-token one of them: say one of the two.")
    if out.suffix != ".npy":
        raise InputError(f"--out is a .npy file; got {out.name!r}.")
    networks.check_name(network)
    beside = naming.beside(out)
    apart(out, beside, None if names == beside else names, *read_for(network, weights))
    outside(folder, out, names)
    images = stimuli.gallery(folder, size=size, background=background)
    model = trained(network, weights, size)
    options: dict[str, Any] = {
        "layer": layer,
        "spatial": "class" if class_token else "mean" if pooled else "flatten",
        "positions": positions,
        "call": call,
    }
    saved = embeddings.save(out, model, images, **options, names=names, progress=sys.stderr.isatty())
    shown = networks.short_name(network)
    print(
        f"{saved.shape[0]:,} images × {saved.shape[1]:,} features, {shown}, {layer}. Written: {out}, and "
        f"names in {beside}"
    )
    taken = embeddings.reading(model, images[:1], **options)
    if taken != f"{saved.shape[1]:,} features":
        print(f"The layer is taken for {taken}.")
    negative = (saved[:: max(1, len(saved) // 256)] < 0).mean()
    if negative:
        said = f"{negative:.0%} of the numbers looked at are negative, and PoZ wants none."
        warnings.warn(f"{said} {networks.about_relus(model)}", RarefireWarning, stacklevel=2)
