"""``rarefire poz``: percentage of zeros of every feature."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rarefire.cli.common import (
    Array,
    Embedding,
    Scheduler,
    apart,
    app,
    opened,
    reached,
    readable,
    write_tables,
)

__all__ = ["poz_command"]


@app.command("poz")
@readable
def poz_command(
    embedding: Embedding,
    out: Annotated[Path, typer.Option(help="CSV with columns feature, poz, kind")],
    rare: Annotated[
        float, typer.Option(help="features with a greater share of zeros are rare", min=0, max=1)
    ] = 0.8,
    array: Array = None,
    scheduler: Scheduler = None,
) -> None:
    """Percentage of zeros of every feature: active, rare, or dead (0 for every image)."""
    import pandas as pd

    from rarefire import poz

    apart(embedding, out)
    opening = opened(embedding, array)
    if scheduler is None:
        rates = poz.poz(opening.values)
    else:
        from rarefire import cluster

        place, way = reached(embedding, opening, scheduler)
        rates = cluster.poz(place, **way)
    kinds = poz.kinds(rates, rare=rare)
    write_tables({out: pd.DataFrame({"feature": range(len(rates)), "poz": rates, "kind": kinds})})
    counts = ", ".join(f"{(kinds == kind).sum():,} {kind}" for kind in poz.KINDS)
    print(f"{len(rates):,} features: {counts} (rare: PoZ > {rare:g}, dead: PoZ = 1). Written: {out}")
