"""Sphinx extension of the book: the directive ``rarefire-commands`` writes what ``--help`` says.

The program itself is asked, so the page has every command and every option.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import typer
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import nested_parse_with_titles

from rarefire.cli.common import GROUPS, app

__all__ = ["Commands", "setup", "text"]


def text() -> str:
    """Every command with its arguments and options, as reStructuredText."""
    program: Any = typer.main.get_command(app)
    context = program.make_context("rarefire", [], resilient_parsing=True)
    lines = list[str]()
    for title, names in GROUPS.items():
        there = [program.commands[name] for name in names if name in program.commands]
        lines += [title, "-" * len(title), ""] if there else []
        for command in there:
            lines += _command(command, context)
    return "\n".join(lines)


def _command(command: Any, above: Any) -> Iterator[str]:
    """One command; of those that it has, each after it."""
    context = command.make_context(command.name, [], parent=above, resilient_parsing=True)
    called = context.command_path
    yield from (f".. _command-{called.replace(' ', '-')}:", "", called, "~" * len(called), "")
    yield from (*_escaped(inspect.cleandoc(command.help or "")).splitlines(), "")
    pieces = " ".join(command.collect_usage_pieces(context))
    yield from (f"``{called} {pieces}``", "", f".. program:: {called}", "")
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None and "--help" not in parameter.opts:
            yield from (f".. option:: {record[0]}", "", f"   {_escaped(record[1])}", "")
    for inner in getattr(command, "commands", {}).values():
        yield from _command(inner, context)


def _escaped(said: str) -> str:
    """Plain text as reStructuredText; options in it stay as one types them."""
    plain = re.sub(r"([\\*`|_])", r"\\\1", said)
    return re.sub(r"(?<![\w-])(--[a-z][a-z-]*)", r"``\1``", plain)


class Commands(SphinxDirective):
    """``.. rarefire-commands::``."""

    def run(self) -> list[nodes.Node]:
        """The sections of all commands."""
        whole = nodes.section()
        whole.document = self.state.document
        lines = StringList(text().splitlines(), source="rarefire --help")
        nested_parse_with_titles(self.state, lines, whole)
        return list(whole.children)


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_directive("rarefire-commands", Commands)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
