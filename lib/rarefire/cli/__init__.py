"""The command line: ``rarefire --help``. One module for each command."""

from rarefire.cli import poz, curve, explore, people, rdm, ghosts, embed  # noqa: F401, I001
from rarefire.cli import prune, dimension, layers, report, book, record  # noqa: F401
from rarefire.cli.common import app, run

__all__ = ["app", "run"]
