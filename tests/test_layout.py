"""The package's layout: who imports whom, what is public, and that nobody reaches into another module."""

import ast
import importlib
import json
import re
import subprocess
import sys
from pathlib import Path
from types import FunctionType

import pytest

import rarefire

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "lib" / "rarefire"

#: A module imports only from those before it.
LINES = (
    "_engine.lazy errors rounding texts store _engine.arguments names files labels",
    "_engine.sight _engine.chunks",
    "_engine.blocks _engine.axes _engine.checkpoints _engine.neighbours _engine.grams _engine.pairs",
    "_engine.pooling",
    "stimuli networks training sequences poz embeddings relus",
    "rdm _engine.resampling _engine.influences curves _engine.orders similarity",
    "removal pruning steps",
    "ghosts retrieval cluster",
    "reliability columns judgments choices ratings multiarrange",
    "inference naive selection reweighting simulations triplets",
    "units lowlevel dimension transport subnetworks",
    "records.record records.ensembles records.recipes records.people records.people_by_class",
    "records.people_across records.people_orders records.pruned records.dimension",
    "records.gradient records.rank records.information records.subnetworks records.layer_choice",
    "records.sequence_maps",
    "records.ghosts records.ghosts_by_class records.error_rates records.block_tests records.report",
    "page.palette page.frame page.plots page.claims page.cards page.scorecard",
    "page.dimension_findings page.pruned_tables page.dimensions page.scenes page.widgets page.explorer",
    "page.reader",
    "page.subnetwork_findings page.layer_groups page.prunings page.layers page.pairs page.subject",
    "page.dying page.arcade page.try_yours page.report page.static_page page.reference",
    "page.reference_links page.glossary_links page.rerun page.build",
    "cli.streams cli.common cli.poz cli.curve cli.explore cli.people cli.rdm cli.ghosts cli.embed cli.prune",
    "cli.dimension cli.layers cli.report cli.book cli.record cli.help_page",
)
ORDER = " ".join(LINES).split()


def name_of(path):
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").rstrip(".")


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
ROOMS = [name for name, path in MODULES.items() if path.name == "__init__.py"]  # "" is the package itself
LEAVES = [name for name in MODULES if name not in ROOMS]


def load(name):
    return importlib.import_module(f"rarefire.{name}" if name else "rarefire")


def imported(tree):
    """Local name -> module of the package, and (module, name) pairs that are imported by name."""
    modules, names = {}, set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "rarefire":
            source = node.module.removeprefix("rarefire").lstrip(".")
            for alias in node.names:
                inner = f"{source}.{alias.name}".lstrip(".")
                if inner in MODULES:
                    modules[alias.asname or alias.name] = inner
                else:
                    names.add((source, alias.name))
        elif isinstance(node, ast.Import):
            modules |= {a.asname or a.name: "" for a in node.names if a.name == "rarefire"}
    return modules, names


def used(tree):
    """What is taken from modules of the package: (module, name), through rooms too."""
    modules, names = imported(tree)
    found = set(names)
    for node in ast.walk(tree):
        path, inner = [], node
        while isinstance(inner, ast.Attribute):
            path.insert(0, inner.attr)
            inner = inner.value
        if not path or not isinstance(inner, ast.Name) or inner.id not in modules:
            continue
        module = modules[inner.id]
        while path and f"{module}.{path[0]}".lstrip(".") in MODULES:
            module = f"{module}.{path.pop(0)}".lstrip(".")
        if path and not path[0].startswith("__"):
            found.add((module, path[0]))
    return found


def test_every_module_has_its_place():
    assert sorted(ORDER) == sorted(LEAVES)
    assert ROOMS == ["", "_engine", "cli", "page", "records"]


@pytest.mark.parametrize("room", ["", "page", "records"])
def test_every_module_is_there_when_it_is_asked_for(room):
    """Whatever has been imported before: `rarefire.files`, after ``import rarefire`` alone."""
    folder = PACKAGE / room
    inside = {path.stem for path in folder.glob("*.py")} | {
        path.parent.name for path in folder.glob("*/__init__.py")
    }
    listed = importlib.import_module(f"rarefire.{room}".rstrip("."))._MODULES
    assert sorted(listed) == sorted(name for name in inside if not name.startswith("_"))


@pytest.mark.parametrize("name", LEAVES)
def test_imports_go_one_way(name):
    tree = ast.parse(MODULES[name].read_text())
    modules, names = imported(tree)
    through_rooms = {module for module, _ in used(tree)}
    wanted = ({*modules.values(), *(module for module, _ in names)} | through_rooms) - {*ROOMS, name}
    later = [other for other in wanted if ORDER.index(other) > ORDER.index(name)]
    assert not later, f"{name} imports {later}"


@pytest.mark.parametrize("name", LEAVES)
def test_all_is_all(name):
    """Everything that is defined without an underscore is listed, and what is listed is there."""
    module, tree = load(name), ast.parse(MODULES[name].read_text())
    defined = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined.add(node.name)
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        for target in targets:
            names = target.elts if isinstance(target, ast.Tuple) else [target]
            defined |= {n.id for n in names if isinstance(n, ast.Name)}
    public = {n for n in defined if not n.startswith("_")}
    assert public <= set(module.__all__), sorted(public - set(module.__all__))
    assert len(set(module.__all__)) == len(module.__all__)
    for listed in module.__all__:
        thing = getattr(module, listed)
        assert thing.__doc__ if isinstance(thing, type | FunctionType) else True, listed
    assert module.__doc__


SOURCES = [
    *MODULES.values(),
    ROOT / "bench" / "run.py",
    ROOT / "index.ipynb",
    *ROOT.glob("notebooks/*.ipynb"),
]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_nobody_uses_what_another_does_not_offer(path):
    text = path.read_text()
    if path.suffix == ".ipynb":
        cells = [c for c in json.loads(text)["cells"] if c["cell_type"] == "code"]
        text = "\n".join("".join(cell["source"]) for cell in cells)
    own = name_of(path) if path.suffix == ".py" and path.is_relative_to(PACKAGE) else None
    hidden = [
        f"{module}.{name}"
        for module, name in used(ast.parse(text))
        if module != own and name not in load(module).__all__
    ]
    assert not hidden


def test_the_package_and_its_rooms_are_there_when_asked_for_and_not_before():
    quick = "import sys, rarefire\n"
    check = "assert not {'torch', 'numpy', 'pandas', 'matplotlib', 'scipy'} & set(sys.modules)\n"
    done = subprocess.run([sys.executable, "-c", quick + check], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for room in ("", "records", "page"):
        module = load(room)
        for listed in module.__all__:
            assert getattr(module, listed) is not None
            assert listed in dir(module)
            assert room or listed == "__version__" or listed in rarefire.__doc__ or listed in HIDDEN
        with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
            _ = module.nothing


#: Offered, but nothing that a newcomer would look for in the package's map.
HIDDEN = ("errors", "names", "rounding", "store", "texts")


TEXTS = [
    *SOURCES,
    ROOT / "README.md",
    ROOT / "data" / "README.md",
    *PACKAGE.glob("page/js/*"),
    ROOT / "_config.yml",
]
MENTION = re.compile(r"\brarefire((?:\.[A-Za-z_]\w*)+)")


@pytest.mark.parametrize("path", TEXTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_what_is_mentioned_is_there(path):
    """`rarefire.poz.ghosts` in prose, a docstring or a comment names something."""
    gone = []
    for mention in set(MENTION.findall(path.read_text())):
        thing = rarefire
        for name in mention[1:].split("."):
            thing = getattr(thing, name, None)
        if thing is None and mention not in FILES:
            gone.append(f"rarefire{mention}")
    assert not gone


#: Files, not modules.
FILES = (".css",)
