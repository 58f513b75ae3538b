"""``rarefire book``: the chapters, executed and built."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rarefire.cli.common import app, readable
from rarefire.errors import DataError, InputError

__all__ = ["book"]


@app.command()
@readable
def book(
    root: Annotated[Path, typer.Argument(help="folder with _config.yml and _toc.yml")] = Path("."),
    profile: Annotated[
        str, typer.Option(help="default, or full: recompute everything from the data")
    ] = "default",
    instances: Annotated[int | None, typer.Option(help="networks per image set", min=3)] = None,
    seed: Annotated[int | None, typer.Option(help="the network looked at closely", min=0)] = None,
) -> None:
    """Execute the chapters that changed and build the book into _build/html."""
    if seed is not None and seed >= (instances or 50):
        raise InputError(
            f"--seed names one of the {instances or 50} instances, 0 to {(instances or 50) - 1}; got {seed}."
        )
    if not (root / "_toc.yml").is_file():
        raise DataError(
            f"{root.resolve()} holds no _toc.yml: run this in a clone of the book. Its chapters do not come "
            "with the package."
        )
    from rarefire.page import build

    given = {"profile": profile, "instances": instances, "seed": seed}
    overridden = {name: v for name, v in given.items() if v not in (None, "default")}
    print(build.build(root, parameters=overridden))
