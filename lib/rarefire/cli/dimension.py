"""``rarefire dimension``: how many dimensions images span, in an embedding or through a network."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rarefire.cli.common import (
    Array,
    Background,
    Weights,
    apart,
    app,
    evenly,
    images_of,
    opened,
    outputs,
    read_for,
    readable,
    suited,
    write_tables,
)
from rarefire.errors import InputError, unknown

if TYPE_CHECKING:
    from torch import nn

    from rarefire.dimension import Estimate
    from rarefire.stimuli import Stimuli

__all__ = ["dimension_command"]

_ESTIMATORS = ("two-nn", "two-nn-ml", "gride", "pc", "participation-ratio", "rank")
_COLUMNS = ["estimator", "n", "scale", "dimension", "low", "high", "dropped"]
_SPLITS = 10  # into halves, whose difference is the error


@app.command("dimension")
@readable
def dimension_command(
    source: Annotated[
        str,
        typer.Argument(
            help="an embedding, (n_images, n_features): .npy, zarr, .npz, .mat, …; with --network, images: "
            "digits, mnist, cifar10, or a folder"
        ),
    ],
    out: Annotated[Path, typer.Option(help="CSV with a line for each dimension")],
    estimator: Annotated[
        list[str] | None,
        typer.Option(help=f"{', '.join(_ESTIMATORS)}; several by naming it again; default: two-nn"),
    ] = None,
    scales: Annotated[
        bool, typer.Option("--scales", help="of two-nn, also of halves, quarters, … of the images")
    ] = False,
    network: Annotated[
        str, typer.Option(help="lenet5, a torchvision classifier, or path/to/nets.py:function")
    ] = "",
    weights: Weights = "",
    images: Annotated[
        int | None, typer.Option(help="for --network: how many, evenly spaced; default: 500", min=20)
    ] = None,
    size: Annotated[
        int | None, typer.Option(help="of a folder's images, in pixels; default: 224", min=16, max=2048)
    ] = None,
    seed: Annotated[int, typer.Option(help="of the division into halves", min=0)] = 0,
    array: Array = None,
    background: Background = "white",
) -> None:
    """How many dimensions images span: in an embedding, or in every layer of a network."""
    import pandas as pd

    from rarefire import networks

    chosen = list(dict.fromkeys(estimator or ["two-nn"]))
    for name in chosen:
        if name not in _ESTIMATORS:
            raise unknown("estimator", name, list(_ESTIMATORS))
    measure = partial(_rows, estimators=chosen, scales=scales, seed=seed)
    if not network:
        for option, given in (("--weights", weights), ("--images", images), ("--size", size)):
            if given:
                raise InputError(f"{option} is for --network; {source} is read as an embedding.")
        apart(Path(source), out)
        points = opened(source, array).values
        rows = measure(points, progress=sys.stderr.isatty())
        table = pd.DataFrame(rows, columns=_COLUMNS)
        shown = f"{points.shape[0]:,} images × {points.shape[1]:,} features"
    else:
        if array is not None:
            raise InputError(f"--array is for an embedding; with --network, {source} is read as images.")
        networks.check_name(network)
        apart(out, *read_for(network, weights))
        most = images or 500
        seen, of = images_of(source, size, network, lambda n: evenly(n, most), out, background=background)
        model = suited(network, weights, seen)
        outputs(model, seen, networks.short_name(network))
        rows = [
            {"layer": layer} | row for layer, features in _layers(model, seen) for row in measure(features)
        ]
        table = pd.DataFrame(rows, columns=["layer", *_COLUMNS])
        shown = f"{networks.short_name(network)}, {len(seen):,} of {of:,} images, all classes together"
    write_tables({out: table})
    print(table.to_string(index=False, float_format="%.4g", na_rep=""))
    print(f"{shown}. Written: {out}")


def _rows(
    points: Any, *, estimators: Sequence[str], scales: bool, seed: int, progress: bool = False
) -> list[dict[str, Any]]:
    """Lines of the table."""
    from rarefire import dimension

    found: list[Estimate] = []
    for name in estimators:
        if name == "gride":
            found += dimension.gride(points, progress=progress)
        elif name in ("two-nn", "two-nn-ml"):
            found += _local(points, "fit" if name == "two-nn" else "ml", scales, seed, progress)
        elif name == "pc":
            found.append(dimension.pc_id(points))
        elif name == "rank":
            found.append(dimension.numerical_rank(points))
        else:
            found.append(dimension.participation_ratio(points))
    return [
        {
            **{name: getattr(one, name) for name in ("estimator", "n", "scale", "dimension", "low", "high")},
            "dropped": sum(one.dropped.values()),
        }
        for one in found
    ]


def _local(points: Any, method: Any, scales: bool, seed: int, progress: bool) -> list[Estimate]:
    import numpy as np

    from rarefire import dimension

    rng = np.random.default_rng(seed)
    if scales:
        return dimension.decimation(points, rng=rng, method=method, progress=progress)
    whole = partial(dimension.two_nn, method=method, progress=progress)
    found = whole(points)
    few = points.shape[0] < 2 * dimension.LEAST
    se = np.nan if few else dimension.halves_error(points, rng=rng, estimator=whole, n_splits=_SPLITS)
    return [replace(found, se=se)]


def _layers(model: nn.Module, images: Stimuli) -> Iterator[tuple[str, Any]]:
    """The images, then each layer's features of them, one layer at a time, on disk: they may be large."""
    from torch import nn
    from tqdm import tqdm

    from rarefire import embeddings, removal

    pools = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool2d)
    kinds = (*removal.ACTIVATIONS, *pools, nn.Linear)
    named = [name for name, module in model.named_modules() if name and isinstance(module, kinds)]
    if not named:
        raise InputError(
            "the network has no activation, pooling or linear layer that is a module of its own: write what "
            "you want with rarefire embed --layer, and name that file."
        )
    yield "input", images.images.reshape(len(images), -1)
    for layer in tqdm(named, desc="layers", disable=not sys.stderr.isatty()):
        try:
            embeddings.extract(model, images.images[:1], layer=layer)
        except InputError:  # defined, but not used
            continue
        with tempfile.TemporaryDirectory() as folder:
            yield layer, embeddings.save(Path(folder) / "E.npy", model, images.images, layer=layer)
