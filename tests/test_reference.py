"""The reference: everything public is in it, and figures lead to what drew and computed them."""

import importlib
import inspect
import re
import shutil
from pathlib import Path

import pytest
from test_build import text, write
from typer.main import get_command

import rarefire
from rarefire import cli
from rarefire.cli import help_page
from rarefire.page import build, reference, reference_links

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path(rarefire.__file__).parent
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    for path in PACKAGE.rglob("*.py")
    if path.name != "__init__.py"
)
PUBLIC = [name for name in MODULES if not name.startswith(("_engine.", "cli."))]


def test_every_module_stands_on_one_page():
    listed = [module for area in reference.AREAS for module in area.modules]
    assert sorted(listed) == sorted([*PUBLIC, "page", "records"])
    toc = [page for page in build._pages(ROOT) if reference.is_page(page)]
    assert sorted(toc) == sorted(reference.sources())
    assert not any(map(reference.is_page, build.chapters(ROOT)))


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_has_its_entry(module):
    """What is read from the source is what Python finds when it imports it."""
    thing = importlib.import_module(f"rarefire.{module}")
    entries = {entry.name.rpartition(".")[2]: entry for entry in reference.entries(f"rarefire.{module}")}
    assert sorted(entries) == sorted(thing.__all__)
    for name, entry in entries.items():
        found = getattr(thing, name)
        if entry.kind != "data":
            assert entry.doc == inspect.getdoc(found)
            assert (entry.kind == "function") == (callable(found) and not inspect.isclass(found))
            assert (entry.kind == "exception") == (
                inspect.isclass(found) and issubclass(found, BaseException)
            )
        for inner in entry.inside:
            assert inner.doc == inspect.getdoc(inspect.getattr_static(found, inner.name.rpartition(".")[2]))


def test_signatures_are_those_of_python():
    from rarefire import curves, inference, rdm

    found = {entry.name: entry for name in ("curves", "inference", "rdm") for entry in entries(name)}
    for thing in (curves.geometry_curve, rdm.rdm, inference.Estimate, curves.Curve):
        entry = found[f"{thing.__module__}.{thing.__name__}"]
        written = re.findall(r"(\w+)(?=:)", re.sub(r"\[[^]]*\]", "", entry.signature))
        assert written == list(inspect.signature(thing).parameters)
    curve = found["rarefire.curves.Curve"]
    assert {inner.kind for inner in curve.inside} == {"property", "method"}
    at = next(inner for inner in curve.inside if inner.name == "rarefire.curves.Curve.at")
    assert (at.signature, at.returns) == ("(fraction: float)", "float")
    assert found["rarefire.rdm.METRICS"].signature == "('correlation', 'cosine', 'euclidean')"


def entries(module):
    return reference.entries(f"rarefire.{module}")


def test_the_command_line_has_every_command_and_every_option():
    shown = help_page.text()

    def visit(command, called):
        assert f"\n{called}\n~" in shown
        for parameter in command.params:
            if not hasattr(command, "commands") and "--help" not in parameter.opts:
                assert (
                    f".. option:: {parameter.opts[0] if parameter.param_type_name == 'option' else ''}"
                    in shown
                )
        for name, inner in getattr(command, "commands", {}).items():
            visit(inner, f"{called} {name}")

    program = get_command(cli.app)
    for name, command in program.commands.items():
        visit(command, f"rarefire {name}")
    assert re.search(r"option:: --k <str>\n\n   all, or numbers of features", shown)


# --- links ---------------------------------------------------------------------------------------


def test_a_figure_comes_from_what_its_cell_calls_and_its_variables_come_from():
    cells = reference_links.Cells()
    cells.read(
        "import numpy as np\nfrom rarefire import curves, poz as p\nfrom rarefire.page import frame, plots"
    )
    assert not cells.read("rates = p.poz([[0, 1]])").drawn
    cells.read("order = np.argsort(rates)\ntitle = frame.number(0.5)")
    cells.read("panels, numbers = plots.nested_panels({}, {})")
    made = cells.read("shown = frame.show(panels, name=title, numbers=order)")
    assert list(made.drawn) == ["rarefire.page.plots.nested_panels", "rarefire.page.frame.show"]
    assert list(made.computed) == ["rarefire.poz.poz"]  # not numpy's, nor what writes a number
    # What is nearer stands for what is behind it; and a function of the chapter for what it calls.
    cells.read("def curve(e):\n    return curves.geometry_curve(e, order)\n\ncurve_of = curve(rates)")
    made = cells.read("frame.table(curve_of)")
    assert list(made.computed) == ["rarefire.curves.geometry_curve", "rarefire.poz.poz"]
    # What is said in words is not computed; names of loops are their own; a list is filled.
    cells.read("rows = []\nfor rates in [1]:\n    rows.append(p.order([rates]))")
    made = cells.read("frame.table(rows, caption=f'{curve_of}', alt=curve_of)")
    assert list(made.computed) == ["rarefire.poz.order"]
    assert cells.read("%matplotlib inline") == reference_links.Functions()


@pytest.fixture
def small(tmp_path):
    """A book of one chapter with the real configuration, and a page of the reference."""
    shutil.copy(ROOT / "_config.yml", tmp_path)
    pages = ["reference/poz_and_curves", "reference/figures_and_widgets"]
    listed = "".join(f"- file: {page}\n" for page in pages)
    (tmp_path / "_toc.yml").write_text(f"format: jb-book\nroot: index\nchapters:\n{listed}")
    write(
        tmp_path / "index.ipynb",
        "md:# Small\n\n`poz.order`, once more `poz.order`, and `poz.nothing`.",
        "x = 1",
        "import pandas as pd\nfrom rarefire import poz\nfrom rarefire.page import frame",
        "rates = poz.poz([[0.0, 1.0], [0.0, 2.0]])",
        "frame.table(pd.DataFrame({'poz': rates}), name='small', caption='Made.')",
    )
    return tmp_path


@pytest.mark.book
def test_chapters_and_figures_lead_into_the_reference(small, monkeypatch):
    poz = reference.Area("poz_and_curves", "PoZ", "Counted.", ("poz", "errors"))
    about = "Drawn.\n\n.. py:module:: rarefire.page.plots"  # which the others mention
    modules = ("page.frame", "page.palette")
    figures = reference.Area("figures_and_widgets", "Figures", about, modules, typed=False)
    monkeypatch.setattr(reference, "AREAS", (poz, figures))
    reference_links._kinds.cache_clear()
    assert build.build(small, verbose=False).is_file()
    html = small / "_build" / "html"
    index = (html / "index.html").read_text()
    assert len(re.findall(r'href="reference/poz_and_curves\.html#rarefire\.poz\.order"', index)) == 1
    assert "poz.nothing" in text(html / "index.html")
    assert re.search(r"Drawn by\s+frame\.table\s*;\s+computed by\s+poz\.poz", text(html / "index.html"))
    page = (html / "reference" / "poz_and_curves.html").read_text()
    assert 'id="rarefire.poz.order"' in page
    source = re.search(r'href="(source/rarefire\.poz\.html)#(L\d+)"', page)
    line = re.search(rf'id="{source[2]}">([^<]*)<', (html / "reference" / source[1]).read_text())
    assert re.match("@checked|def |class |[A-Z]", line[1])


@pytest.mark.book
def test_a_name_that_leads_nowhere_fails_the_build(small, monkeypatch):
    monkeypatch.setattr(
        reference, "AREAS", (reference.Area("files", "Files", "Of :func:`rarefire.poz.gone`.", ()),)
    )
    (small / "_toc.yml").write_text("format: jb-book\nroot: index\nchapters:\n- file: reference/files\n")
    with pytest.raises(build.BuildError, match="rarefire.poz.gone"):
        build.build(small, verbose=False)
