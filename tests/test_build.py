"""The build: real papermill, real Jupyter Book, on a small book made here and on the whole one."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import wait_until

import rarefire
from rarefire.errors import DataError
from rarefire.page import build

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.book


def write(path, *cells):
    made = [
        nbformat.v4.new_markdown_cell(c[3:]) if c.startswith("md:") else nbformat.v4.new_code_cell(c)
        for c in cells
    ]
    for i, cell in enumerate(made):
        cell.id = f"cell-{i}"
    made[1].metadata["tags"] = ["parameters"]
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    path.parent.mkdir(exist_ok=True)
    path.write_text(nbformat.writes(nbformat.v4.new_notebook(cells=made, metadata=kernel)))


@pytest.fixture
def small(tmp_path):
    """A book of two pages with the real configuration."""
    shutil.copy(ROOT / "_config.yml", tmp_path)
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: index\nchapters:\n- file: notebooks/one\n")
    write(tmp_path / "index.ipynb", "md:# Small", "x = 1", "print('x is', x)")
    write(
        tmp_path / "notebooks" / "one.ipynb",
        "md:# One\n\n$$a_i = \\frac{1}{n}$$",
        "y = 2",
        "print('y is', y)",
    )
    return tmp_path


def text(page):
    return re.sub(r"<[^>]+>", "", page.read_text())


def test_a_small_book_is_built_and_an_unchanged_one_is_not(small, capfd):
    index = build.build(small)
    assert "x is 1" in text(index)
    one = small / "_build" / "html" / "notebooks" / "one.html"
    assert "y is 2" in text(one)
    assert "<mfrac>" in one.read_text()
    assert not re.search(r"<script[^>]*mathjax", one.read_text(), re.IGNORECASE)
    built = index.stat().st_mtime_ns
    capfd.readouterr()
    build.build(small)
    assert index.stat().st_mtime_ns == built
    assert "nothing changed" in capfd.readouterr().err
    # Only a changed chapter is executed again.
    write(small / "index.ipynb", "md:# Small", "x = 5", "print('x is', x)")
    build.build(small)
    said = capfd.readouterr().err
    assert "executing index" in said
    assert "executing notebooks/one" not in said
    assert "x is 5" in text(index)
    assert "outputs" not in (small / "index.ipynb").read_text().replace('"outputs": []', "")


def test_parameters_reach_the_chapters_that_have_them(small):
    build.build(small, parameters={"y": 7, "unknown": 1}, verbose=False)
    html = small / "_build" / "html"
    assert "y is 7" in text(html / "notebooks" / "one.html")
    assert "x is 1" in text(html / "index.html")


def test_a_failing_chapter_names_cell_and_error_and_leaves_the_last_book(small):
    index = build.build(small, verbose=False)
    before = index.read_text()
    write(small / "notebooks" / "one.ipynb", "md:# One", "y = 2", "z = y / (y - 2)")
    with pytest.raises(
        build.BuildError, match=r"(?s)notebooks/one: cell 3 failed.*z = y / \(y - 2\).*ZeroDivisionError"
    ):
        build.build(small, verbose=False)
    assert index.read_text() == before
    with pytest.raises(build.BuildError, match="ZeroDivisionError"):  # not mistaken for done
        build.build(small, verbose=False)


def test_a_warning_fails_the_build_and_leaves_the_last_book(small):
    index = build.build(small, verbose=False)
    before = index.read_text()
    write(small / "notebooks" / "one.ipynb", "md:# One\n\n[nowhere](two.ipynb)", "y = 2", "y")
    with pytest.raises(build.BuildError, match=r"Jupyter Book: .*WARNING.*two"):
        build.build(small, verbose=False)
    assert index.read_text() == before


@pytest.mark.parametrize(
    ("formula", "named"),
    [
        ("$$\n\\begin{aligned}\na &= b\n\\end{aligned}\n$$", "&"),
        (r"so $\foo{a} = 1$", r"\foo"),
    ],
)
def test_a_formula_that_the_page_cannot_set_fails_the_build(small, formula, named):
    write(small / "notebooks" / "one.ipynb", f"md:# One\n\n{formula}", "y = 2")
    with pytest.raises(build.BuildError, match=f"{re.escape(named)} does not become MathML"):
        build.build(small, verbose=False)


@pytest.mark.parametrize(
    ("widget", "named"),
    [
        ("import ipywidgets\nipywidgets.IntSlider()", "IntSliderModel"),
        ("import anywidget\nclass Other(anywidget.AnyWidget):\n    _esm = ''\nOther()", "AnyModel"),
    ],
)
def test_a_widget_that_a_static_page_cannot_draw_fails_the_build(small, widget, named):
    write(small / "notebooks" / "one.ipynb", "md:# One", "y = 2", widget)
    with pytest.raises(build.BuildError, match=f"{named} does nothing in a static page"):
        build.build(small, verbose=False)


def test_widgets_have_the_same_ids_in_every_build():
    """Their own are random: two explorers with links and layouts, made twice."""
    import ipywidgets
    from ipywidgets.embed import dependency_state

    from rarefire.page.explorer import Explorer, Scene

    def executed():
        rng = np.random.default_rng(0)
        made = [Scene("made", str(i), rng.uniform(size=(5, 4))) for i in range(2)]
        shown = [Explorer(made[:1], name="first"), Explorer(made, name="second")]
        ipywidgets.jslink((shown[0], "fraction"), (shown[1], "fraction"))
        state = dependency_state(shown, drop_defaults=False)
        outputs = [w._repr_mimebundle_()[0] for w in shown]
        text = {"outputs": outputs, "metadata": {"widgets": {"state": {"state": state}}}}
        return json.dumps(text), set(state)

    (first, ids), (again, others) = executed(), executed()
    assert not ids & others
    assert not any(name in build._stable_ids(first) for name in ids)
    assert json.loads(build._stable_ids(first)) == json.loads(build._stable_ids(again))
    assert set(re.findall(r'data-widget=\\"([^\\]+)', build._stable_ids(first))) < {
        f"widget-{i}" for i in range(6)
    }
    assert build._stable_ids('{"metadata": {}}') == '{"metadata": {}}'


def test_pages_that_left_the_book_are_gone(small):
    build.build(small, verbose=False)
    (small / "_toc.yml").write_text("format: jb-book\nroot: index\n")
    build.build(small, verbose=False)
    assert not (small / "_build" / "html" / "notebooks").exists()


def test_two_builds_at_once_are_refused(small):
    with build._locked(small / "_build"), pytest.raises(build.BuildError, match="another build is running"):
        build.build(small)


def test_a_chapter_is_executed_again_when_the_package_changes_anywhere(small, monkeypatch):
    package = small / "rarefire"
    shutil.copytree(Path(rarefire.__file__).parent, package)
    monkeypatch.setattr(build, "_PACKAGE", package)
    stamps = [build._chapter_stamp(small, small / "index.ipynb", {})]
    rooms = [path.parent.relative_to(package) for path in package.rglob("__init__.py")]
    parts = ["page/js/common.js", "page/js/widgets.css", "page/static/palette.css"]
    parts += [str(room / "__init__.py") for room in rooms]  # the package, and every room of it
    for part in parts:
        with (package / part).open("a") as file:
            file.write("\n")
        stamps.append(build._chapter_stamp(small, small / "index.ipynb", {}))
    assert len(rooms) >= 5
    assert len(set(stamps)) == 1 + len(parts)


MEET = """
import pathlib, time
pathlib.Path("{mine}").touch()
while not pathlib.Path("{other}").exists():
    time.sleep(0.01)
"""


@pytest.fixture
def three(small, monkeypatch):
    """A landing page and two chapters, on a machine of two cores."""
    (small / "_toc.yml").write_text(
        "format: jb-book\nroot: index\nchapters:\n- file: notebooks/one\n- file: notebooks/two\n"
    )
    monkeypatch.setattr(build.blocks, "cores", lambda: 2)
    return small


def test_chapters_are_executed_side_by_side(three):
    """Each of the two waits for the other: one after the other they would never end."""
    for mine, other in (("one", "two"), ("two", "one")):
        meet = MEET.format(mine=mine, other=other)
        write(three / "notebooks" / f"{mine}.ipynb", f"md:# {mine}", "y = 2", meet, "print('y is', y)")
    html = build.build(three, verbose=False).parent / "notebooks"
    assert "y is 2" in text(html / "one.html")
    assert "y is 2" in text(html / "two.html")


def test_a_chapter_that_measures_time_is_executed_alone(three):
    """It says so in its metadata; and the landing page comes when all others are there."""
    for name in ("one", "two"):
        write(three / "notebooks" / f"{name}.ipynb", f"md:# {name}", "y = 2", "y")
    assert not build._chapter(three, three / "s", "notebooks/one", {}).alone
    timed = json.loads((three / "notebooks" / "two.ipynb").read_text())
    timed["metadata"]["rarefire"] = {"alone": True}
    (three / "notebooks" / "two.ipynb").write_text(json.dumps(timed))
    assert build._chapter(three, three / "s", "notebooks/two", {}).alone
    assert build._chapter(three, three / "s", "index", {}).alone


def test_a_chapter_that_fails_beside_another(three):
    write(three / "notebooks" / "one.ipynb", "md:# One", "y = 2", "y / 0")
    write(three / "notebooks" / "two.ipynb", "md:# Two", "y = 2", "y")
    with pytest.raises(build.BuildError, match=r"(?s)notebooks/one: cell 3 failed.*ZeroDivisionError"):
        build.build(three, verbose=False)
    assert not (three / "_build" / "html").exists()
    assert not (three / "_build" / "book" / "notebooks" / "one.ipynb").exists()


INTERRUPTED = """
import signal
from rarefire._engine import blocks
from rarefire.page import build
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    blocks.cores = lambda: 2
    build.build()
"""


def test_an_interrupted_build_leaves_nothing_running(three):
    for name in ("one", "two"):
        waits = (
            f"import os, pathlib, time\npathlib.Path('{name}').write_text(str(os.getpid()))\ntime.sleep(1e5)"
        )
        write(three / "notebooks" / f"{name}.ipynb", f"md:# {name}", "y = 2", waits)
    running = subprocess.Popen([sys.executable, "-c", INTERRUPTED], cwd=three, stderr=subprocess.DEVNULL)
    pids = [three / "notebooks" / name for name in ("one", "two")]
    wait_until(lambda: all(p.exists() and p.read_text() for p in pids), alive=lambda: running.poll() is None)
    running.send_signal(signal.SIGINT)
    assert wait_until(lambda: running.poll() is not None)
    assert running.returncode != 0
    wait_until(lambda: not any(Path(f"/proc/{p.read_text()}").exists() for p in pids))
    assert not (three / "_build" / "html").exists()


def test_errors(tmp_path):
    with pytest.raises(DataError, match="holds no _toc.yml"):
        build.build(tmp_path)
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: index\n")
    with pytest.raises(build.BuildError, match="names 'index', but there is no"):
        build.build(tmp_path)


# --- the whole book ------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def html():
    """The real book, built from the chapters as they are (in seconds where nothing changed)."""
    return build.build(ROOT).parent


def pages():
    return build.chapters(ROOT)


@pytest.mark.parametrize("page", pages())
def test_chapters_executed_without_error_or_warning(html, page):
    executed = json.loads((ROOT / "_build" / "book" / f"{page}.ipynb").read_text())
    for cell in executed["cells"]:
        for output in cell.get("outputs", []):
            assert output["output_type"] != "error"
            assert "Warning" not in "".join(output.get("text", "")), output["text"]


@pytest.mark.parametrize("page", pages())
def test_every_figure_has_a_text_alternative_a_caption_and_its_numbers(html, page):
    page_text = (html / f"{page}.html").read_text()
    figures = re.findall(r'<figure [^>]*class="rf-figure".*?</figure>', page_text, flags=re.DOTALL)
    assert figures
    for figure in figures:
        assert re.search(r'aria-label="[^"]+', figure)
        assert (
            len(re.sub(r"<[^>]+>", "", re.search(r"<figcaption>(.*)</figcaption>", figure, re.DOTALL)[1]))
            > 20
        )
        assert 'class="rf-numbers"' in figure
    assert not re.search(
        r"\bnan\b", re.sub(r"<(svg|script|style|pre).*?</\1>|<[^>]+>", "", page_text, flags=re.DOTALL)
    )


@pytest.mark.parametrize("page", pages())
def test_pages_are_light_and_name_no_machine(html, page):
    file = html / f"{page}.html"
    assert file.stat().st_size < 1.5e6
    assert str(ROOT) not in file.read_text()
    assert str(Path.home() / ".cache") not in file.read_text()


def test_accuracy_is_typical_in_the_built_page(html):
    shown = text(html / "notebooks" / "01_training.html")
    digits = re.search(r"digits: ([\d.]+)\s?%, typical", shown)
    assert float(digits[1]) >= 95
    if os.environ.get("RAREFIRE_MIRROR"):
        live = re.search(r"(\d+) instances trained on this machine: test accuracy ([\d.%,\s]+)\.", shown)
        assert int(live[1]) == 2
        assert min(float(v.replace("%", "")) for v in live[2].split(",")) >= 98


def test_what_the_theme_would_add_late_is_in_the_page(html):
    """The few icons as a style, not the theme's script of all; and the switch for folded code."""
    drawn = set(re.findall(r"\.fa-([\w-]+) \{ --wide", (html / "_static" / "icons.css").read_text()))
    for page in pages():
        given = (html / f"{page}.html").read_text()
        assert "fontawesome.js" not in given
        shown = re.findall(r'<(?:i|span) class="([^"]*\bfa-[^"]*)"', given)
        assert {n for one in shown for n in re.findall(r"fa-([\w-]+)", one)} - {"solid", "lg"} <= drawn
        folded = re.search(r'<details class="[^"]*\bhide\b', given) is not None
        assert given.count('<button type="button" class="rf-code-switch"') == folded
    assert {"bars", "moon", "download"} <= drawn


# --- in a real browser ---------------------------------------------------------------------------


@pytest.fixture(scope="session")
def served(html):
    import functools
    import http.server
    import threading

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(html)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.mark.browser
@pytest.mark.parametrize(
    ("scheme", "width", "mode"),
    [
        ("http", 1280, "light"),
        *(("file", width, mode) for width in (1280, 390) for mode in ("light", "dark")),
    ],
)
@pytest.mark.parametrize("page", pages())
def test_page_in_chromium(browser, html, served, page, width, mode, scheme):
    base = served if scheme == "http" else html.as_uri() + "/"
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=mode)
    tab = context.new_page()
    trouble = []
    tab.on("console", lambda m: trouble.append(m.text) if m.type in ("error", "warning") else None)
    tab.on("pageerror", lambda e: trouble.append(str(e)))
    tab.on("requestfailed", lambda r: trouble.append(f"failed: {r.url}"))
    tab.on("response", lambda r: trouble.append(f"{r.status} {r.url}") if r.status >= 400 else None)
    own = (base, "data:", "blob:")
    tab.on("request", lambda r: None if r.url.startswith(own) else trouble.append(f"other host: {r.url}"))
    tab.goto(f"{base}{page}.html", wait_until="networkidle")
    assert trouble == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= width, "the page scrolls sideways"
    tab.wait_for_function("mode => document.documentElement.dataset.theme == mode", arg=mode)
    tab.evaluate("document.querySelectorAll('.rf-claim details').forEach(each => { each.open = true; })")
    if width == 1280:  # a desk shows every column
        cut = "e => e.filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.ariaLabel)"
        assert tab.locator(".rf-scroll").evaluate_all(cut) == []
    drawings = tab.locator(".rf-panels svg, .rf-widget svg[role], .rf-claim svg")
    assert drawings.count() > 0
    for i in range(drawings.count()):
        box = drawings.nth(i).bounding_box()
        assert box["width"] > 90
        assert box["x"] + box["width"] <= width + 1
    # Ink and ground differ: text in figures and captions can be read in both modes.
    contrast = """([a, b]) => {
        const linear = v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
        const light = c => {
            const [r, g, b] = c.match(/[\\d.]+/g).map(v => linear(v / 255));
            return .2126 * r + .7152 * g + .0722 * b;
        };
        const [x, y] = [light(a), light(b)];
        return (Math.max(x, y) + .05) / (Math.min(x, y) + .05);
    }"""
    ground = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    verdicts = [f".rf-verdict-{i} > :last-child" for i in range(3) if tab.locator(f".rf-verdict-{i}").count()]
    for selector in (".rf-panels, .rf-widget, .rf-claims", "figcaption", *verdicts):
        ink = tab.evaluate("s => getComputedStyle(document.querySelector(s)).color", selector)
        assert tab.evaluate(contrast, [ink, ground]) > 4.5, (selector, ink, ground)
    if (width, mode, scheme) in ((1280, "light", "file"), (390, "dark", "file")):
        tab.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
        for i in range(ALIVE.get(page, 0)):
            tab.locator("figure[data-ready]").nth(i).wait_for()
        found = Axe().run(tab).response["violations"]
        assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found] == []
    context.close()


ALIVE = {
    "index": 1,
    "notebooks/02_poz": 2,
    "notebooks/03_rsa_curves": 2,
    "notebooks/04_human_judgments": 1,
    "notebooks/05_ghost_features": 1,
    "notebooks/06_pruning_compared": 1,
    "notebooks/07_dimension_and_units": 1,
    "notebooks/08_sub_networks": 1,
    "notebooks/you_are_the_subject": 1,
    "notebooks/false_positive_arcade": 1,
    "notebooks/09_your_own": 4,
    "notebooks/try_yours": 1,
    "notebooks/watch_features_die": 1,
}


def test_the_pages_with_widgets_are_the_ones_tested(html):
    found = {page: (html / f"{page}.html").read_text().count("<figure data-widget=") for page in pages()}
    assert {page: count for page, count in found.items() if count} == ALIVE


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["file", "http"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("page", ALIVE)
def test_widgets_are_alive_offline(browser, html, served, page, width, scheme):
    """Moved by mouse, keyboard and finger, with no kernel, and from disk with no network either."""
    context = browser.new_context(viewport={"width": width, "height": 900}, has_touch=True)
    context.set_offline(scheme == "file")
    tab = context.new_page()
    trouble = []
    tab.on("console", lambda m: trouble.append(m.text) if m.type in ("error", "warning") else None)
    tab.on("pageerror", lambda e: trouble.append(str(e)))
    own = (served if scheme == "http" else html.as_uri(), "data:", "blob:")
    tab.on("request", lambda r: None if r.url.startswith(own) else trouble.append(f"other host: {r.url}"))
    tab.goto(f"{served if scheme == 'http' else html.as_uri() + '/'}{page}.html")
    for i in range(ALIVE[page]):
        tab.locator("figure[data-ready]").nth(i).wait_for()
    handle = tab.locator("figure[data-ready] input[type=range]").first
    handle.scroll_into_view_if_needed()
    # What each says of its state.
    shown = (
        ".rf-world, .rf-r2, :is(.rf-prunings, .rf-layers) .rf-result, .rf-pairs .rf-cuts, .rf-dying .rf-said"
    )
    result = tab.locator(shown).first
    box = handle.bounding_box()
    middle = box["y"] + box["height"] / 2
    said = [result.inner_text()]

    def moved():
        changed = "([shown, old]) => document.querySelector(shown).innerText !== old"
        tab.wait_for_function(changed, arg=[shown, said[-1]])
        said.append(result.inner_text())

    tab.mouse.move(box["x"] + 0.8 * box["width"], middle)
    tab.mouse.down()
    tab.mouse.move(box["x"] + 0.15 * box["width"], middle, steps=5)
    tab.mouse.up()
    moved()
    handle.focus()
    for _ in range(3):
        tab.keyboard.press("PageDown")
    moved()
    tab.touchscreen.tap(box["x"] + 0.6 * box["width"], middle)
    moved()
    tab.keyboard.press("End")
    moved()
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert trouble == []
    context.close()


@pytest.mark.browser
@pytest.mark.parametrize("page", ALIVE)
def test_without_scripts_every_widget_is_a_figure(browser, html, page):
    context = browser.new_context(java_script_enabled=False)
    tab = context.new_page()
    tab.goto((html / f"{page}.html").as_uri())
    figures = tab.locator("figure[data-widget]")
    assert figures.count() == ALIVE[page]
    for i in range(figures.count()):
        assert figures.nth(i).locator("svg, img").first.is_visible()
        assert figures.nth(i).locator("figcaption").is_visible()
    context.close()


# r at every place of the slider: what its `input` event leads to, one frame later.
AT_PLACES = """async (page, places) => {
    const slider = page.querySelector("input[type=range]"), found = [];
    for (const place of places) {
        slider.value = place;
        slider.dispatchEvent(new Event("input"));
        await new Promise(requestAnimationFrame);
        found.push(Number(page.querySelector(".rf-r2").dataset.r));
    }
    return found;
}"""


@pytest.mark.browser
def test_r2_in_the_built_page_is_what_python_computes(browser, html):
    """Every scene, order and metric at ten places of the slider, against the chapter's own embeddings."""
    from rarefire import curves, poz, records
    from rarefire.page import explorer

    every = explorer.scenes(records.ensembles.by_images())
    scenes = every[::4]  # of each image set, another network
    assert len({scene.stimuli for scene in scenes}) == 3
    tab = browser.new_page()
    tab.goto((html / "notebooks" / "03_rsa_curves.html").as_uri())
    page = tab.locator("#figure-explorer .rf-explorer")
    page.wait_for()
    assert page.get_by_role("combobox").first.locator("option").count() == 3
    checked = 0
    for scene in scenes:
        page.get_by_role("combobox", name="Images").select_option(scene.stimuli)
        page.get_by_role("combobox", name="Network").select_option(scene.network)
        n_features = np.shape(scene.embedding)[1]
        orders = {first: poz.order(scene.poz, first=first) for first in ("low", "high")}
        orders["random"] = np.random.default_rng(0).permutation(n_features)
        for label, order in zip(("low→high PoZ", "high→low PoZ", "random"), orders.values(), strict=True):
            page.get_by_role("radio", name=label).check()
            for name, metric in (("Pearson", "correlation"), ("cosine", "cosine")):
                page.get_by_role("radio", name=name).check()
                r2 = curves.geometry_curve(scene.embedding, order, metric=metric).r2
                places = np.linspace(1, n_features, 10).astype(int)
                found = np.square(page.evaluate(AT_PLACES, places.tolist()))
                np.testing.assert_allclose(found, r2[places - 1], atol=1e-3, err_msg=scene.network)
                checked += len(places)
    assert checked == len(scenes) * 60
    tab.close()


def test_people_and_the_network_in_the_built_page(html):
    shown = re.sub(r"\s+", " ", text(html / "notebooks" / "04_human_judgments.html"))
    assert "fifteen others’ with r = 0.57 on average" in shown
    assert "mean of all sixteen with r = 0.54" in shown
    found = re.search(
        r"The naive test finds (\d) of 6 improvements; by the test over the curve (\d) hold",
        shown,
    )
    assert int(found[1]) >= 4
    assert int(found[2]) == 0
    raised = re.search(
        r"rarest 50 % raises the prediction of people in (\d) of 20 comparisons and lowers it in (\d)", shown
    )
    assert (int(raised[1]), int(raised[2])) == (4, 1)


def test_the_landing_page_has_a_line_for_each_finding(html):
    page = (html / "index.html").read_text()
    questions = re.findall(r"<li><p><strong>(.+?)</strong>", page)  # a term in one is a link
    assert len([question for question in questions if question.rstrip().endswith("?")]) == 8
    shown = re.sub(r"\s+", " ", text(html / "index.html"))
    assert re.search(r"the other 80 % have 0\.\d+ on digits; 0\.\d+ on MNIST", shown)
    assert re.search(
        r"\d+ % to \d+ % of its dimensions stay; in LeNets these alone have \d+ % to \d+ %\.", shown
    )
    assert page.count("<ol") == 1  # the chapters; a line that begins with a number and a full stop makes one


def test_openings_of_chapters_say_what_was_found(html):
    """Those of chapters 5 to 8 are sentences that stand fixed; the landing page's numbers are computed."""

    def shown(page):
        return re.sub(r"\s+", " ", text(html / f"{page}.html"))

    found = shown("index")

    def numbers(pattern):
        return [float(number) for number in re.search(pattern, found).groups()]

    many, few = numbers(r"random features show only (\d+) % of that\..*? random features show (\d+) % of it")
    assert many < 50 < few
    assert "with more than a hundred, some say something of their own" in shown("notebooks/05_ghost_features")
    pruned, again = re.search(r"what it was \(R² (.*?)\)\) than .*? of them \((.*?)\)\)", found).groups()
    sets = re.compile(r"(0\.\d+) \(")
    pairs = list(zip(sets.findall(pruned), sets.findall(again), strict=True))
    assert len(pairs) == 2
    assert all(float(one) >= float(other) for one, other in pairs)
    assert "no more than training the same network again" in shown("notebooks/06_pruning_compared")
    images, least, most, flat, flattest = numbers(
        r"the images’ (\d+) grow to (\d+) to (\d+) \(untrained (\d+) to (\d+)\)"
    )
    assert images < least <= most
    assert flat <= flattest < least
    (stays,) = numbers(r"penultimate layer (\d+) % to \d+ % of its dimensions stay")
    assert stays >= 90
    assert "without them nearly all of the dimension stays" in shown("notebooks/07_dimension_and_units")
    planted, cka = numbers(r"Where groups are planted, it finds (\d+) % of them, CKA (\d+) %")
    assert planted < cka
    assert "simpler measures find planted groups more often" in shown("notebooks/08_sub_networks")


@pytest.mark.parametrize("page", pages())
def test_no_number_is_longer_than_it_is_exact(html, page):
    body = re.search(r"<article.*</article>", (html / f"{page}.html").read_text(), re.DOTALL)[0]
    prose = re.sub(r"<(script|svg|style|pre|code)\b.*?</\1>", "", body, flags=re.DOTALL)
    shown = re.sub(r"<[^>]+>", " ", prose)
    assert re.findall(r"\d\.\d{5,}|\bnan\b", shown) == []


@pytest.mark.browser
def test_the_readme_s_picture_shows_what_the_landing_page_does(browser, html):
    """`make picture` took it; networks that another processor trained differ in the second decimal."""
    import picture

    said = picture.said()
    about = f"(LeNet-5 on handwritten {said['images']}, seed 0.)"
    readme = " ".join((ROOT / "README.md").read_text("utf-8").split())
    assert about in readme
    assert f"with {picture.SHARE:.0%}".replace("%", " %") in readme
    there = re.match(
        r"R² = ([\d.]+) (of the .* most active of .* features \(40 %\) with all .*)", said["result"]
    )
    tab = browser.new_page()
    tab.goto((html / "index.html").as_uri())
    explorer = tab.locator("#figure-landing .rf-explorer")
    explorer.wait_for()
    place = explorer.locator("input[type=range]").first.evaluate(
        "(e, share) => Math.round(share * e.max)", 0.4
    )
    (r,) = explorer.evaluate(AT_PLACES, [place])
    assert r**2 == pytest.approx(float(there[1]), abs=0.05)
    assert there[2] in " ".join(explorer.locator(".rf-result").inner_text().split())
    tab.close()


@pytest.mark.browser
def test_the_map_s_slider_is_against_people_where_they_are_here(browser, html, mur):
    """R² with people's mean in the built page, against Python with the real network and judgments."""
    from rarefire import curves, judgments, poz

    features = mur[0].astype(np.float16)  # as they travel
    tab = browser.new_page()
    tab.goto((html / "notebooks" / "04_human_judgments.html").as_uri())
    page = tab.locator("#figure-maps .rf-explorer")
    page.wait_for()
    assert page.get_by_role("radio", name="people").is_checked()
    assert page.get_by_role("radio", name="maps").is_checked()
    human = judgments.load("mur").human
    for label, first in (("low→high PoZ", "low"), ("high→low PoZ", "high")):
        page.get_by_role("radio", name=label).check()
        curve = curves.rdm_curve(features, human, poz.order(poz.poz(features), first=first))
        found = page.evaluate(AT_PLACES, [40, 256, 400, 512])
        np.testing.assert_allclose(found, curve.r[[39, 255, 399, 511]], atol=2e-3)
    tab.close()


@pytest.mark.browser
def test_links_between_chapters_lead_somewhere(browser, html):
    tab = browser.new_page()
    tab.goto((html / "index.html").as_uri())
    for link in tab.eval_on_selector_all(
        "article a[href], .bd-sidebar-primary a[href]", "a => a.map(x => x.href)"
    ):
        if link.startswith("file://"):
            assert Path(link.removeprefix("file://").split("#")[0]).exists(), link
    tab.get_by_role("link", name="What the rarest features carry").first.click()
    assert tab.title().startswith("3. What the rarest features carry")
    tab.close()
