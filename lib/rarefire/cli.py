"""The command line: ``rarefire --help``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from rarefire.errors import RarefireError

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)


def _readable(command: Callable[..., None]) -> Callable[..., None]:
    """An error of ours is one readable message and exit status 1, never a traceback."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except RarefireError as error:
            print(f"rarefire: {error}", file=sys.stderr)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            print("rarefire: interrupted; what is finished is kept.", file=sys.stderr)
            raise typer.Exit(130) from None

    return wrapped


@app.callback()
def main() -> None:
    """What rarely firing features do in a vision network."""


@app.command()
@_readable
def study(
    images: Annotated[str, typer.Argument(help="digits, mnist, cifar10, cifar10-jpg or folder:PATH")],
    network: Annotated[str, typer.Option(help="lenet5, lenet5-wide or a torchvision classifier")] = "lenet5",
    instances: Annotated[int, typer.Option(help="seeds 0, 1, … of that many instances", min=1)] = 50,
    jobs: Annotated[int | None, typer.Option(help="processes; default: one per core", min=1)] = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; default: the GPU if any")] = None,
    recompute: Annotated[bool, typer.Option(help="leave the results shipped with the book aside")] = False,
    ship: Annotated[Path | None, typer.Option(help="also write the results to this .npz")] = None,
) -> None:
    """Train and measure an ensemble. Stop it at any time; it goes on where it was."""
    import numpy as np

    from rarefire import studies

    seeds = range(instances)
    found = studies.run(images, network, seeds=seeds, jobs=jobs, device=device, use_shipped=not recompute)
    accuracy, silent = found["accuracy"], (found["poz_test"] > 0.8).mean(axis=1)
    print(found.stamp())
    print(f"accuracy: median {np.median(accuracy):.1%}, {accuracy.min():.1%} to {accuracy.max():.1%}")
    print(f"features with PoZ > 80 %: median {np.median(silent):.0%} of {found.n_features}")
    if ship is not None:
        print(f"written: {studies.ship(found, ship)}")


@app.command("error-rates")
@_readable
def error_rates(
    simulations: Annotated[int, typer.Option(help="of each test, in each kind of world", min=100)] = 2000,
    recompute: Annotated[bool, typer.Option(help="leave the rates shipped with the book aside")] = False,
    ship: Annotated[Path | None, typer.Option(help="also write the rates to this .npz")] = None,
) -> None:
    """Measure how often each test of the package is wrong. Stop it at any time; it goes on where it was."""
    from rarefire import simulations as simulated

    table = simulated.error_rates(n=simulations, use_shipped=not recompute, progress=True)
    print(table.to_string(index=False, float_format="%.3f"))
    if ship is not None:
        print(f"written: {simulated.ship(ship, n=simulations)}")


@app.command()
@_readable
def book(
    root: Annotated[Path, typer.Argument(help="folder with _config.yml and _toc.yml")] = Path("."),
    profile: Annotated[
        str, typer.Option(help="default, or full: recompute everything from the data")
    ] = "default",
    instances: Annotated[int | None, typer.Option(help="networks per image set", min=3)] = None,
    seed: Annotated[int | None, typer.Option(help="the network looked at closely", min=0)] = None,
) -> None:
    """Execute the chapters that changed and build the book into _build/html."""
    from rarefire import book

    given = {"profile": profile, "instances": instances, "seed": seed}
    overridden = {name: v for name, v in given.items() if v not in (None, "default")}
    print(book.build(root, parameters=overridden))
