"""Sphinx extension of the book: under each page that is a notebook, one line says how to run it again.

With the commands for this very page, its parameters (from the cell tagged ``parameters``) and the notebook to
download. Nothing of it stands in a notebook, so that no chapter can say it wrongly.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path, PurePosixPath
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

__all__ = ["line", "setup"]

_BEFORE = 400  # the links into the reference, which are then made in this line too


def line(page: str, notebook: str, parameters: list[str]) -> nodes.paragraph:
    """The line under a page.

    Parameters
    ----------
    page
        As ``_toc.yml`` names it.
    notebook
        Where the notebook can be had, as an address relative to the page.
    parameters
        Names of its parameters.
    """
    folder = PurePosixPath(page).parent
    inside = "" if str(folder) == "." else f" --cwd {folder}"
    made = nodes.paragraph(classes=["rf-rerun"])
    made += nodes.strong("", "Run this page again")
    made += nodes.Text(": in a copy of the book’s source, ")
    made += nodes.literal("", "pip install '.[book]'")
    made += nodes.Text(" and ")
    made += nodes.literal("", f"papermill {page}.ipynb again.ipynb{inside}")
    for i, name in enumerate(parameters):
        made += nodes.Text(", " if i else "; to change one of its parameters, add ")
        made += nodes.literal("", f"-p {name} …")
    made += nodes.Text(". Or open ")
    made += nodes.reference("", "the notebook", internal=True, refuri=notebook)
    made += nodes.Text(" in JupyterLab, where the package is installed. ")
    made += nodes.literal("", "rarefire book")
    made += nodes.Text(" makes all pages anew.")
    return made


def _parameters(file: Path) -> list[str]:
    """Names that a notebook sets in its cell of parameters, in their order."""
    cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
    tagged = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    targets = [
        target
        for cell in tagged
        for statement in ast.parse("".join(cell["source"])).body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
    ]
    names = (node for target in targets for node in ast.walk(target) if isinstance(node, ast.Name))
    return list(dict.fromkeys(name.id for name in names))


def _add(app: Sphinx, doctree: nodes.document, page: str) -> None:
    file = Path(app.env.doc2path(page))
    sections = [part for part in doctree.children if isinstance(part, nodes.section)]
    if file.suffix == ".ipynb" and sections:
        notebook = f"{'../' * page.count('/')}_sources/{page}.ipynb"
        sections[-1] += line(page, notebook, _parameters(file))


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("doctree-resolved", _add, priority=_BEFORE)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
