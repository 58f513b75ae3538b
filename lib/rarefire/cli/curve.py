"""``rarefire curve``: what the first features carry, for every number of them."""

from __future__ import annotations

import re
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rarefire.cli.common import (
    Array,
    ByPosition,
    Embedding,
    HumanArray,
    Scheduler,
    apart,
    app,
    evenly,
    judged,
    named,
    opened,
    reached,
    readable,
    tables_opened,
)
from rarefire.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from rarefire.curves import Curve

__all__ = ["curve_command"]

#: Numbers of features, of those asked for, whose R² is printed.
_MOST = 8


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
    k: Annotated[str, typer.Option(help="all, or numbers of features such as 10,20,50 or 20%,50%")] = "all",
    seed: Annotated[int, typer.Option(help="of the random order", min=0)] = 0,
    similarity: Annotated[bool, typer.Option("--similarity", help="the RDM holds similarities")] = False,
    by_position: ByPosition = False,
    plot: Annotated[Path | None, typer.Option(help="also draw the curve: .png or .svg")] = None,
    scheduler: Scheduler = None,
    array: Array = None,
    human_array: HumanArray = None,
) -> None:
    """R² of the first k features' RDM with a reference, for every k. Equal PoZ goes by feature index."""
    import numpy as np

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
    named(human, **{"--similarity": similarity, "--human-array": human_array, "--by-position": by_position})
    if human is not None and scheduler is not None:
        raise InputError(
            "--scheduler is for the embedding's own geometry; curves against an RDM need no cluster."
        )
    opening = opened(embedding, array)
    source, asked, people, matched = opening.values, _steps(k), None, ""
    if human is not None:
        options: dict[str, Any] = {"similarity": similarity, "by_position": by_position, "array": human_array}
        people, matched = judged(human, embedding, opening, **options)
    with ExitStack() as stack:
        if scheduler is None:
            rates = poz.poz(source)
        else:
            from rarefire import cluster

            place, way = reached(embedding, opening, scheduler)
            way["scheduler"] = stack.enter_context(cluster.connected(way["scheduler"]))
            rates = cluster.poz(place, **way)
        indices = _insertion(rates, order, seed)
        options = {"metric": metric, "k": asked and asked(len(rates))}
        if people is not None:
            found = curves.rdm_curve(source, people, indices, **options)
        elif scheduler is not None:
            found = cluster.geometry_curve(place, indices, **way, **options)
        else:
            found = curves.geometry_curve(source, indices, progress=sys.stderr.isatty(), **options)
    cut = rates[indices[found.k - 1]]
    table = found.table()[["k", "r", "r2", "n_images"]].assign(poz=cut)
    against = "the full embedding" if human is None else human.name
    shown = {"low": "low→high PoZ", "high": "high→low PoZ", "random": f"random order, seed {seed}"}[order]
    with tables_opened({out: table}):
        if plot is not None:
            from rarefire.page import plots

            plots.save_curve(plot, found, cut, title=shown, against=against)
    aligned = f" (images {matched})" if matched else ""
    print(
        f"{source.shape[0]:,} images × {source.shape[1]:,} features, {shown}, {metric}, against "
        f"{against}{aligned}."
    )
    which = {"low": "with the lowest PoZ", "high": "with the highest PoZ", "random": "drawn at random"}[order]
    print(f"R² of the features {which}: {_said(found, source.shape[0], people is not None, asked is None)}.")
    if np.isnan(found.r).any():
        print(_undefined(found, metric))
    print(f"Written: {out}")


def _said(found: Curve, n_images: int, people: bool, every: bool) -> str:
    """R² at some k, in words; of all features only where it is not 1 by definition."""
    import numpy as np

    from rarefire import curves

    n = found.n_features
    if every:
        shares = (0.2, 0.5, 0.8, 1) if people else (0.2, 0.5, 0.8)
        steps = [(100 * share, curves.count(share, n) - 1) for share in shares]
    else:
        some = evenly(len(found.k), _MOST)
        steps = [(100 * found.fraction[i], i) for i in some.tolist()]
    parts = []
    for share, i in steps:
        one = f"{share:.3g} % ({found.k[i]:,})"
        if np.isnan(found.r2[i]):
            parts.append(f"{one} undefined")
        else:
            left = found.n_images[i]
            parts.append(f"{one} {found.r2[i]:.4f}" + ("" if left == n_images else f" for {left:,} images"))
    return ", ".join(parts)


def _undefined(found: Curve, metric: str) -> str:
    """Where R² is undefined, and why."""
    import numpy as np

    undefined = np.isnan(found.r)
    single = undefined & (found.k == 1) & (metric == "correlation")
    few = undefined & ~single & (found.n_images < 3)
    kind = "all equal" if metric == "correlation" else "all 0"
    reasons = [
        (single, "one feature alone has no correlation"),
        (few, f"fewer than three images have a similarity (for the others these features are {kind})"),
        (undefined & ~single & ~few, "the similarities do not vary"),
    ]
    why = "; ".join(f"at {_range(found.k[at])} {reason}" for at, reason in reasons if at.any())
    return f"R² is undefined (empty) at {undefined.sum():,} of {len(found.k):,} k: {why}."


def _range(k: NDArray[np.intp]) -> str:
    """Some k, in words."""
    if len(k) == 1:
        return f"k = {k[0]:,}"
    together = k[-1] - k[0] == len(k) - 1
    return f"k = {k[0]:,}–{k[-1]:,}" if together else f"{len(k):,} k from {k[0]:,} to {k[-1]:,}"


def _insertion(rates: NDArray[np.float64], order: str, seed: int) -> NDArray[np.intp]:
    """The features in the order in which they are inserted."""
    import numpy as np

    from rarefire import poz

    if order == "random":
        return np.random.default_rng(seed).permutation(len(rates))
    return poz.order(rates, first="low" if order == "low" else "high")


def _steps(text: str) -> Callable[[int], list[int]] | None:
    """``all``, or ``10,20%,50``: of a number of features, how many."""
    from rarefire import curves

    if text.strip() == "all":
        return None
    parts = re.sub(r"\s+%", "%", text.replace(",", " ")).split()
    for part in parts:
        share = re.fullmatch(r"[0-9]{1,3}(\.[0-9]+)?%", part)
        if not share and not re.fullmatch(r"-?[0-9]{1,15}", part):
            raise InputError(f"--k is all, or whole numbers or shares such as 10,20,50%; got {text!r}.")
        if share and not 0 < float(part[:-1]) <= 100:
            raise InputError(f"--k takes shares above 0 up to 100%; got {part!r}.")
    if not parts:
        raise InputError(f"--k is all, or whole numbers or shares such as 10,20,50%; got {text!r}.")

    def of(n_features: int) -> list[int]:
        return [
            curves.count(float(part[:-1]) / 100, n_features) if part.endswith("%") else int(part)
            for part in parts
        ]

    return of
