"""The reference: pages of the public names of every module, and of the commands, written by the build.

Nothing is listed by hand but which module stands on which page: each page has every name of its modules'
``__all__``. Modules are read, not imported, which takes longer than to write the pages. What Sphinx makes of
them is in :mod:`rarefire.page.reference_links`.
"""

from __future__ import annotations

import ast
import functools
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import rarefire
from rarefire import store

__all__ = ["AREAS", "Area", "Entry", "entries", "file_of", "imports", "is_page", "sources", "write"]

_FOLDER = "reference"
_LONGEST = 100  # letters of a constant's value that is shown


@dataclass(frozen=True)
class Area:
    """A page of the reference.

    Attributes
    ----------
    page
        The file, without extension.
    title
        Above it.
    about
        One sentence.
    modules
        Of the package, in the order in which data flows.
    typed
        Whether signatures have their types. These take Sphinx longer than all else, so what the book is made
        with goes without.
    """

    page: str
    title: str
    about: str
    modules: tuple[str, ...]
    typed: bool = True


#: The pages, in the order in which data flows.
AREAS = (
    Area(
        "images_and_networks",
        "Images, networks, embeddings",
        "Image sets, networks and their training, and the features of a layer.",
        ("stimuli", "networks", "relus", "training", "embeddings", "sequences"),
    ),
    Area(
        "poz_and_curves",
        "PoZ, RDMs, curves",
        "How rarely features fire, and what slices of their order carry.",
        ("poz", "rdm", "curves", "cluster"),
    ),
    Area(
        "ghost_features",
        "Ghost features",
        "What never fires for a category, and searches by it.",
        ("ghosts", "retrieval"),
    ),
    Area(
        "people",
        "People",
        "Judgments that are public, judgments of your own, and how far people agree.",
        ("judgments", "ratings", "choices", "triplets", "multiarrange", "reliability"),
    ),
    Area(
        "inference",
        "Inference",
        "Tests that hold their level, features chosen on other images, and the tests not to use.",
        ("inference", "selection", "reweighting", "naive", "simulations"),
    ),
    Area(
        "pruning",
        "Pruning",
        "Which units and weights go, and what is left (chapter 6).",
        ("removal", "pruning"),
    ),
    Area(
        "layers",
        "Dimension, units, layers",
        "Through the layers of a network (chapters 7 and 8).",
        ("steps", "similarity", "dimension", "units", "lowlevel", "transport", "subnetworks"),
    ),
    Area(
        "files",
        "Files, names, errors",
        "What is read and written, and how it is checked.",
        ("files", "names", "labels", "columns", "texts", "store", "rounding", "errors"),
    ),
    Area(
        "records",
        "What the book keeps",
        "Results that are computed once; every module has ``measure``, which computes, and ``known``, which "
        "finds what is recorded.",
        (
            *("records", "records.record", "records.ensembles", "records.recipes", "records.people"),
            *("records.people_by_class", "records.people_across", "records.people_orders", "records.ghosts"),
            *("records.ghosts_by_class", "records.pruned", "records.dimension", "records.gradient"),
            *("records.rank", "records.information", "records.subnetworks", "records.layer_choice"),
            *("records.sequence_maps", "records.error_rates", "records.block_tests", "records.report"),
        ),
        typed=False,
    ),
    Area(
        "figures_and_widgets",
        "Figures, widgets, claims",
        "How it is drawn, and what the paper claims.",
        (
            *("page", "page.plots", "page.frame", "page.palette", "page.widgets", "page.scenes"),
            "page.explorer",
            *("page.pairs", "page.try_yours", "page.report", "page.subject", "page.dying", "page.arcade"),
            *("page.claims", "page.scorecard", "page.cards", "page.prunings", "page.pruned_tables"),
            *("page.dimensions", "page.dimension_findings", "page.layers", "page.layer_groups"),
            *("page.subnetwork_findings", "page.reader", "page.build", "page.reference"),
            *("page.reference_links", "page.glossary_links", "page.rerun", "page.static_page"),
        ),
        typed=False,
    ),
)

_INDEX = """\
Reference
=========

Every public name of the package, by what one wants to do, and every command.

.. code-block:: python

   import rarefire as rf

   E = ...  # (n_images, n_features), post-ReLU
   order = rf.poz.order(rf.poz.poz(E))
   curve = rf.curves.geometry_curve(E, order)

``import rarefire`` imports nothing heavy: each module is there when it is asked for. Numbers come and go as
NumPy arrays and pandas data frames.

:doc:`command_line`
   What one types, in the order of use.

{areas}
The map
-------

.. py:module:: rarefire

{package}
"""

_COMMANDS = """\
The command line
================

``rarefire --help`` says the same. ``rarefire --install-completion`` has the shell complete commands and
options.

.. py:module:: rarefire.cli

.. rarefire-commands::
"""


def is_page(page: str) -> bool:
    """Whether a page of the book, named as in ``_toc.yml``, is one that :func:`write` writes."""
    return page.partition("/")[0] == _FOLDER


def sources() -> dict[str, str]:
    """Text of every page of the reference, by its name in the book."""
    areas = "".join(
        f":doc:`{area.page}`\n   {area.about} {', '.join(f':mod:`rarefire.{m}`' for m in area.modules)}\n\n"
        for area in AREAS
    )
    made = {area.page: _page(area) for area in AREAS}
    made |= {"index": _INDEX.format(areas=areas, package=_about("rarefire")), "command_line": _COMMANDS}
    return {f"{_FOLDER}/{page}": text for page, text in made.items()}


def write(folder: str | Path, pages: list[str]) -> None:
    """Write those `pages` of the reference that a book has, into the `folder` that it is built from."""
    texts = sources()
    for page in pages:
        with store.atomic_write(Path(folder) / f"{page}.rst") as file:
            file.write(texts[page].encode())


# --- what there is -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """Something public, as its source has it.

    Attributes
    ----------
    name
        Full, such as ``rarefire.poz.order``.
    kind
        ``"function"``, ``"class"``, ``"exception"`` or ``"data"``; of what a class has, ``"method"``,
        ``"classmethod"``, ``"staticmethod"`` or ``"property"``.
    signature
        With its parentheses; of data, the value; empty where there is nothing to show.
    returns
        The annotation of what it returns, or of what it is; empty without.
    doc
        Its docstring, or the comment ``#:`` above it.
    line
        Where it begins.
    inside
        What a class has, with a docstring.
    bases
        Of a class.
    """

    name: str
    kind: str
    signature: str
    returns: str
    doc: str
    line: int
    inside: tuple[Entry, ...] = ()
    bases: tuple[str, ...] = ()


def file_of(module: str) -> Path:
    """The file of a module, by its full name; of a room, its ``__init__.py``."""
    path = Path(rarefire.__file__).parents[1].joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@functools.cache
def _tree(module: str) -> ast.Module:
    return ast.parse(file_of(module).read_text(encoding="utf-8"))


@functools.cache
def imports(module: str) -> dict[str, str]:
    """What the names that a module imports stand for, those for annotations included."""
    found = dict[str, str]()
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.ImportFrom):
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return found


@functools.cache
def entries(module: str) -> tuple[Entry, ...]:
    """Everything that a module offers, in the order of its source; nothing of a room, whose modules do."""
    if file_of(module).name == "__init__.py":
        return ()
    body = _tree(module).body
    offered = {name for statement in body for name in _offered(statement)}
    found = list[Entry]()
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            if statement.name in offered:
                found.append(_defined(statement, module))
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            found += [_data(statement, name, module) for name in _names(statement) if name in offered]
    for name in sorted(offered - {entry.name.rpartition(".")[2] for entry in found}):
        found.append(_passed_on(imports(module)[name], f"{module}.{name}"))
    return tuple(found)


def _passed_on(origin: str, name: str) -> Entry:
    """What a module offers that is defined in another; its source is not shown."""
    module, _, called = origin.rpartition(".")
    (node,) = (one for one in _tree(module).body if getattr(one, "name", None) == called)
    assert isinstance(node, ast.FunctionDef | ast.ClassDef)
    made = _defined(node, name.rpartition(".")[0])
    return replace(made, line=0, inside=tuple(replace(inner, line=0) for inner in made.inside))


def _offered(statement: ast.stmt) -> list[str]:
    """The names in ``__all__ = [...]``."""
    if isinstance(statement, ast.Assign) and _names(statement) == ["__all__"]:
        return list(ast.literal_eval(statement.value))
    return []


def _names(statement: ast.Assign | ast.AnnAssign) -> list[str]:
    targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
    parts = [part for t in targets for part in (t.elts if isinstance(t, ast.Tuple) else [t])]
    return [part.id for part in parts if isinstance(part, ast.Name)]


def _defined(node: ast.FunctionDef | ast.ClassDef, where: str) -> Entry:
    """A function or a class."""
    decorators = [ast.unparse(one) for one in node.decorator_list]
    line = min([node.lineno, *(one.lineno for one in node.decorator_list)])
    doc = ast.get_docstring(node) or ""
    name = f"{where}.{node.name}"
    if isinstance(node, ast.FunctionDef):
        returns = ast.unparse(node.returns) if node.returns else ""
        return Entry(name, "function", _signature(node), returns, doc, line)
    bases = tuple(ast.unparse(base) for base in node.bases)
    inside = [one for one in node.body if isinstance(one, ast.FunctionDef) and ast.get_docstring(one)]
    methods = tuple(_method(one, name) for one in inside if not one.name.startswith("_"))
    kind = "exception" if any(re.search("(Error|Warning|Exception)$", base) for base in bases) else "class"
    made = _constructor(node, decorators, bases)
    return Entry(name, kind, made, "", doc, line, methods, bases)


def _method(node: ast.FunctionDef, where: str) -> Entry:
    made = _defined(node, where)
    decorators = {ast.unparse(one).rpartition(".")[2] for one in node.decorator_list}
    if decorators & {"property", "cached_property"}:
        return replace(made, kind="property", signature="")
    static = "staticmethod" in decorators
    kind = "staticmethod" if static else "classmethod" if "classmethod" in decorators else "method"
    return replace(made, kind=kind, signature=made.signature if static else _signature(node, skip=1))


def _signature(node: ast.FunctionDef, *, skip: int = 0) -> str:
    """A signature as it is written, without the first arguments."""
    given = node.args
    first = given.posonlyargs or given.args
    rest = {"posonlyargs" if given.posonlyargs else "args": first[skip:]}
    fields: dict[str, Any] = {name: getattr(given, name) for name in given._fields} | rest
    return f"({ast.unparse(ast.arguments(**fields))})"


def _constructor(node: ast.ClassDef, decorators: list[str], bases: tuple[str, ...]) -> str:
    """What makes an object of a class, as far as the class itself says it."""
    for inner in node.body:
        if isinstance(inner, ast.FunctionDef) and inner.name == "__init__":
            return _signature(inner, skip=1)
    fields = [one for one in node.body if isinstance(one, ast.AnnAssign) and one.simple]
    of_fields = bases == ("NamedTuple",) or (
        any(one.startswith("dataclass") for one in decorators) and not bases
    )
    return f"({', '.join(ast.unparse(field) for field in fields)})" if of_fields else ""


def _data(statement: ast.Assign | ast.AnnAssign, name: str, module: str) -> Entry:
    value = ast.unparse(statement.value) if statement.value else ""
    returns = ast.unparse(statement.annotation) if isinstance(statement, ast.AnnAssign) else ""
    lines = file_of(module).read_text(encoding="utf-8").splitlines()
    comment, at = list[str](), statement.lineno - 2
    while lines[at].startswith("#:"):
        comment.insert(0, lines[at][2:].strip())
        at -= 1
    shown = value if len(value) <= _LONGEST else ""
    return Entry(f"{module}.{name}", "data", shown, returns, "\n".join(comment), statement.lineno)


# --- pages ---------------------------------------------------------------------------------------


def _page(area: Area) -> str:
    parts = [_title(area.title, "="), f"{area.about}\n"]
    for short in area.modules:
        module = f"rarefire.{short}"
        parts += [_title(module, "-"), f".. py:module:: {module}\n", _about(module)]
        for entry in entries(module):
            parts += _described(entry if area.typed else _untyped(entry), module)
    return "\n".join(parts)


def _about(module: str) -> str:
    """What a module says of itself."""
    return f"{ast.get_docstring(_tree(module)) or ''}\n"


def _described(entry: Entry, module: str) -> Iterator[str]:
    """The directive of an entry, and of what is in it."""
    name, data = entry.name.removeprefix(f"{module}."), entry.kind == "data"
    method = entry.kind.removesuffix("method")
    kind = "method" if entry.kind.endswith("method") else entry.kind
    returns = f" -> {entry.returns}" if entry.returns and kind in ("function", "method") else ""
    yield f".. py:{kind}:: {name}{'' if data else entry.signature}{returns}"
    if kind == "method" and method:
        yield f"   :{entry.kind}:"
    if data and entry.signature:
        yield f"   :value: {entry.signature}"
    if kind in ("data", "property") and entry.returns:
        yield f"   :type: {entry.returns}"
    yield f"\n{textwrap.indent(_text(entry), '   ')}\n"
    for inner in entry.inside:
        yield from (textwrap.indent(part, "   ") for part in _described(inner, entry.name))


def _untyped(entry: Entry) -> Entry:
    """The same, with the names and defaults of its arguments only."""
    signature = entry.signature
    if signature and entry.kind != "data":
        (made,) = ast.parse(f"def _{signature}: ...").body
        assert isinstance(made, ast.FunctionDef)
        for argument in ast.walk(made.args):
            if isinstance(argument, ast.arg):
                argument.annotation = None
        signature = _signature(made)
    return replace(entry, signature=signature, returns="", inside=tuple(map(_untyped, entry.inside)))


def _text(entry: Entry) -> str:
    """A docstring of NumPy's form as reStructuredText."""
    from sphinx.ext.napoleon import Config
    from sphinx.ext.napoleon.docstring import NumpyDocstring

    config: Any = Config(
        napoleon_use_param=False,
        napoleon_use_rtype=False,
        napoleon_custom_sections=[("Attributes", "params_style")],
    )
    return str(NumpyDocstring(entry.doc, config, what=entry.kind, name=entry.name))


def _title(text: str, line: str) -> str:
    return f"{text}\n{line * len(text)}\n"
