"""Sphinx extension of the book: ways into the reference, from chapters and from figures.

* In a chapter, code in the text that names a public function, such as ``poz.order``, or a command, such as
  ``rarefire curve``, is a link where it is mentioned first.
* Under a figure stand the functions that drew it and those that computed what it shows, found in the code of
  the chapter: those of the figure's own cell, and of the cells where its variables come from.
* Names of types in signatures lead to ours; other libraries' stay text, for nothing is asked of the network.
  Every other name without a target is a warning, hence an error of the build.
* The source of everything is one link further.
"""

from __future__ import annotations

import ast
import functools
import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

from rarefire.page import reference

__all__ = ["Cells", "Functions", "setup"]

_PACKAGE = "rarefire"
_FRAME = f"{_PACKAGE}.page.frame."
_CLAIMS = f"{_PACKAGE}.page.claims."  # what others found


# --- what a figure was made by -------------------------------------------------------------------


@dataclass
class Functions:
    """Full names of public functions: those that drew, and those that computed; each once, in order."""

    drawn: dict[str, None] = field(default_factory=dict)
    computed: dict[str, None] = field(default_factory=dict)

    def add(self, other: Functions) -> None:
        """Those of another one too."""
        self.drawn = self.drawn | other.drawn
        self.computed = self.computed | other.computed


class Cells:
    """Cells of a chapter, read one after the other: which functions a cell's figure comes from.

    Nothing is executed. A variable comes from the functions that are called where it is assigned; where none
    is, from those that its own variables come from.
    """

    def __init__(self) -> None:
        self._modules: dict[str, str] = {}
        self._from: dict[str, Functions] = {}

    def read(self, source: str) -> Functions:
        """The functions behind what a cell shows; call it with every cell, in their order."""
        try:
            statements = ast.parse(source).body
        except SyntaxError:  # a line of IPython's
            return Functions()
        own, behind, made = Functions(), Functions(), set[str]()
        for statement in statements:
            if isinstance(statement, ast.Import | ast.ImportFrom):
                self._import(statement)
                continue
            called, uses, targets = self._parts(statement)
            its = Functions()
            for name in uses:
                its.add(self._from.get(name, Functions()))
                if name in self._from and name not in made:
                    behind.add(self._from[name])
            own.add(called)
            found = Functions(called.drawn or its.drawn, called.computed or its.computed)
            for target in targets:
                self._from[target] = found
            for target in _filled(statement):
                more = self._from[target] = Functions(**vars(self._from.get(target, Functions())))
                more.add(found)
            made |= targets
        # A figure that is drawn here was not drawn before.
        here = {name for name in own.drawn if not name.startswith(_FRAME)}
        drawn = own.drawn if here else behind.drawn | own.drawn
        return Functions(drawn, own.computed | behind.computed)

    def _import(self, statement: ast.Import | ast.ImportFrom) -> None:
        source = getattr(statement, "module", None)
        for alias in statement.names:
            name = f"{source}.{alias.name}" if source else alias.name
            if name.split(".")[0] == _PACKAGE:
                self._modules[alias.asname or alias.name] = name

    def _parts(self, statement: ast.stmt) -> tuple[Functions, list[str], set[str]]:
        """What a statement calls itself, the variables that it reads, and those that it sets."""
        own, uses, targets = Functions(), list[str](), set[str]()
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            targets.add(statement.name)
        local = _local(statement)
        for node in _in_order(statement):
            if isinstance(node, ast.Attribute | ast.Name):
                name = self._full(node)
                kind = _kinds().get(name)
                if kind is not None:
                    getattr(own, kind)[name] = None
            if isinstance(node, ast.Name) and node.id not in local:
                if isinstance(node.ctx, ast.Load):
                    uses.append(node.id)
                else:
                    targets.add(node.id)
        return own, uses, targets

    def _full(self, node: ast.expr) -> str:
        """``rarefire.poz.order`` for ``poz.order``, where `poz` was imported from the package."""
        inner, path = node, list[str]()
        while isinstance(inner, ast.Attribute):
            path.insert(0, inner.attr)
            inner = inner.value
        module = self._modules.get(inner.id, "") if isinstance(inner, ast.Name) else ""
        return ".".join([module, *path])


#: Arguments that say something, in words and in names; and so do all texts that are put together.
_WORDS = {"alt", "caption", "legend", "name", "title", "xlabel", "ylabel"}


def _in_order(node: ast.AST) -> Iterator[ast.AST]:
    """All parts of a statement, as they are written, but for the texts."""
    yield node
    for inner in ast.iter_child_nodes(node):
        said = isinstance(inner, ast.keyword) and inner.arg in _WORDS
        if not said and not isinstance(inner, ast.JoinedStr):
            yield from _in_order(inner)


def _filled(statement: ast.stmt) -> set[str]:
    """Lists and the like to which a statement adds something."""
    found = set[str]()
    for node in ast.walk(statement):
        if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store):
            base: ast.expr = node.value
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            base = node.func.value if node.func.attr in ("append", "extend", "update") else node
        else:
            continue
        found |= {base.id} if isinstance(base, ast.Name) else set()
    return found


def _local(statement: ast.stmt) -> set[str]:
    """Names of a statement that are its own: arguments, and what loops go through."""
    found = set[str]()
    for node in ast.walk(statement):
        if isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, ast.comprehension | ast.For):
            found |= {name.id for name in ast.walk(node.target) if isinstance(name, ast.Name)}
        elif isinstance(node, ast.FunctionDef):
            inside = (name for inner in node.body for name in ast.walk(inner))
            found |= {n.id for n in inside if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return found


def _kind(entry: reference.Entry) -> str | None:
    """Whether something draws or computes, by what it returns; None for what does neither."""
    if entry.name.startswith(_CLAIMS):
        return None
    if entry.kind == "class":
        return "drawn" if any("Widget" in base for base in entry.bases) else "computed"
    if re.search(r"\b(HTML|Figure|Axes|Widget)\b", entry.returns):
        return "drawn"
    says = re.fullmatch(r"|None|bool|str|list\[str\]|dict\[str, str\]", entry.returns)
    return None if entry.kind != "function" or says else "computed"


@functools.cache
def _kinds() -> dict[str, str | None]:
    """By the full names of all functions and classes."""
    modules = [f"{_PACKAGE}.{module}" for area in reference.AREAS for module in area.modules]
    return {entry.name: _kind(entry) for module in modules for entry in reference.entries(module)}


def _told(made: Functions) -> list[tuple[str, list[str]]]:
    """What is said under a figure; what puts every figure on the page, only where nothing else drew it."""
    frames = [name for name in made.drawn if name.startswith(_FRAME)]
    drawn = [name for name in made.drawn if name not in frames] or frames
    pairs = [("Drawn by", drawn), ("computed by", list(made.computed))]
    return [(said, names) for said, names in pairs if names]


# --- in the pages --------------------------------------------------------------------------------


def _link(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Links of one chapter."""
    objects = app.env.get_domain("py").objects  # type: ignore[attr-defined]
    if not any(name.startswith(f"{_PACKAGE}.") for name in objects):
        return  # a book without a reference
    if not page.startswith("reference/"):
        _link_text(app, doctree, page, objects)
        _link_figures(app, doctree, page, objects)
    else:
        for prefix in doctree.findall(addnodes.desc_addname):
            prefix.children = [nodes.Text(prefix.astext().removeprefix(f"{_PACKAGE}."))]


def _link_text(app: Sphinx, doctree: nodes.document, page: str, objects: Any) -> None:
    seen = set[str]()
    for literal in list(doctree.findall(nodes.literal)):
        if any(isinstance(above, nodes.reference | nodes.title) for above in _above(literal)):
            continue
        target = _target(app, page, literal.astext(), objects)
        if target is not None and target not in seen:
            seen.add(target)
            literal.replace_self(nodes.reference("", "", literal.deepcopy(), internal=True, refuri=target))


def _target(app: Sphinx, page: str, text: str, objects: Any) -> str | None:
    """Where the reference says more of what is named: a function, a class, a module, or a command."""
    command = re.match(rf"{_PACKAGE} ([a-z-]+(?: [a-z-]+)?)", text)
    if command is not None:
        labels = app.env.get_domain("std").anonlabels  # type: ignore[attr-defined]
        words = command[1].split()
        for called in (words, words[:1]):
            found = labels.get(f"command-{_PACKAGE}-{'-'.join(called)}")
            if found is not None:
                return f"{app.builder.get_relative_uri(page, found[0])}#{found[1]}"
        return None
    name = re.fullmatch(rf"(?:{_PACKAGE}\.)?([A-Za-z_][\w.]*\.[\w.]*\w)(?:\(.*\))?", text, re.DOTALL)
    if name is None:
        return None
    for full in (f"{_PACKAGE}.{name[1]}", f"{_PACKAGE}.page.{name[1]}", f"{_PACKAGE}.records.{name[1]}"):
        if full in objects:
            return _uri(app, page, objects[full])
    return None


def _uri(app: Sphinx, page: str, entry: Any) -> str:
    return f"{app.builder.get_relative_uri(page, entry.docname)}#{entry.node_id}"


def _link_figures(app: Sphinx, doctree: nodes.document, page: str, objects: Any) -> None:
    cells = Cells()
    for cell in doctree.findall(lambda node: "cell" in getattr(node, "attributes", {}).get("classes", ())):
        source = "\n".join(part.astext() for part in _inside(cell, "cell_input"))
        made = cells.read(source)
        for output in _inside(cell, "cell_output", whole=True):
            if not any("rf-figure" in raw.astext() for raw in output.findall(nodes.raw)):
                continue
            line = nodes.paragraph(classes=["rf-functions"])
            for i, (said, names) in enumerate(_told(made)):
                line += nodes.Text(f"{'; ' if i else ''}{said} ")
                for j, name in enumerate(names):
                    line += nodes.Text(", " if j else "")
                    short = re.sub(rf"^{_PACKAGE}\.(page\.)?", "", name)
                    link = nodes.reference("", "", internal=True, refuri=_uri(app, page, objects[name]))
                    link += nodes.literal("", short)
                    line += link
            if len(line):
                output += line


def _inside(cell: nodes.Element, name: str, *, whole: bool = False) -> Iterator[nodes.Element]:
    for part in cell.findall(lambda node: name in getattr(node, "attributes", {}).get("classes", ())):
        if whole:
            yield part
        else:
            yield from part.findall(nodes.literal_block)


def _above(node: nodes.Node) -> Iterator[nodes.Node]:
    while node.parent is not None:
        node = node.parent
        yield node


# --- in the reference ----------------------------------------------------------------------------


class _Types(SphinxPostTransform):
    """Names in signatures lead to our types, as the module imports them; others are text."""

    default_priority = 9  # before Sphinx looks for them itself

    def run(self, **_: Any) -> None:
        objects = self.env.get_domain("py").objects  # type: ignore[attr-defined]
        for node in list(self.document.findall(addnodes.pending_xref)):
            if node.get("refdomain") != "py" or "refwarn" in node:  # a role
                continue
            first, dot, rest = node["reftarget"].partition(".")
            module = node["py:module"]
            imported = reference.imports(module).get(first, f"{module}.{first}") if module else first
            entry = objects.get(imported + dot + rest)
            shown = list(node.children)
            if entry is not None:
                uri = _uri(self.app, self.env.docname, entry)
                shown = [nodes.reference("", "", *shown, internal=True, refuri=uri)]
            node.replace_self(shown)


def _outside(app: Sphinx, env: Any, node: Any, shown: nodes.Element) -> nodes.Element | None:
    """What a text names of another library, or of the back room, stays text."""
    target = str(node["reftarget"])
    outside = target.split(".")[0] in _LIBRARIES or target.startswith(f"{_PACKAGE}._")
    return shown if node.get("refdomain") == "py" and outside else None


#: Libraries that our texts name things of.
_LIBRARIES = {
    "collections",
    "matplotlib",
    "numpy",
    "pandas",
    "rsatoolbox",
    "scipy",
    "sklearn",
    "torch",
    "typing",
}


# --- the source ----------------------------------------------------------------------------------

_SOURCE = """\
<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{name}</title><style>
:root {{ color-scheme: light dark }} body {{ margin: 1rem; font: 0.9rem sans-serif }}
pre {{ overflow-x: auto; line-height: 1.4; counter-reset: line; font-size: 0.8rem }}
i {{ font-style: normal }} i:target {{ background: #8885 }}
i::before {{ counter-increment: line; content: counter(line); opacity: 0.5 }}
i::before {{ display: inline-block; width: 3em }}
</style><h1>{name}</h1><p><a href="../{page}.html">Reference</a></p><pre>{lines}</pre></html>
"""


@functools.cache
def _lines(module: str) -> dict[str, int]:
    """Where the public things of a module begin, and the methods of its classes."""
    found = [inner for entry in reference.entries(module) for inner in (entry, *entry.inside)]
    return {entry.name.removeprefix(f"{module}."): entry.line for entry in found}


def _source_of(domain: str, info: dict[str, str]) -> str | None:
    """Where the source of something is shown, from a page of the reference."""
    if domain != "py" or not info["module"]:
        return None
    line = _lines(info["module"]).get(info["fullname"])
    return f"source/{info['module']}.html#L{line}" if line else None


def _write_sources(app: Sphinx, error: Exception | None) -> None:
    """A page of each module's source, plain: with the theme and its colours they would take half a minute."""
    pages = [area for area in reference.AREAS if f"reference/{area.page}" in app.env.found_docs]
    if error is not None or not pages:
        return
    folder = Path(app.outdir) / "reference" / "source"
    folder.mkdir(parents=True, exist_ok=True)
    for area in pages:
        for module in area.modules:
            name = f"{_PACKAGE}.{module}"
            text = reference.file_of(name).read_text(encoding="utf-8").splitlines()
            lines = "\n".join(f'<i id="L{i}">{html.escape(line)}</i>' for i, line in enumerate(text, 1))
            made = _SOURCE.format(name=name, page=area.page, lines=lines)
            (folder / f"{name}.html").write_text(made, encoding="utf-8")


def _configure(app: Sphinx, config: Any) -> None:
    config.linkcode_resolve = _source_of


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.setup_extension("sphinx.ext.linkcode")
    app.connect("config-inited", _configure)
    app.connect("build-finished", _write_sources)
    app.add_post_transform(_Types)
    app.connect("missing-reference", _outside)
    app.connect("doctree-resolved", _link)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
