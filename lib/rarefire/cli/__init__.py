"""The command line: ``rarefire --help``. One module for each command."""

from rarefire.cli import (
    poz,
    curve,
    explore,
    people,
    rdm,
    ghosts,
    embed,
    prune,
    dimension,
    layers,
    book,
    record,
)  # noqa: F401, I001
from rarefire.cli.common import app, run

__all__ = ["app", "run"]
