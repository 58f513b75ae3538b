"""The glossary: first mentions are marked, definitions open beside them; and the line that re-runs a page."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from docutils import nodes
from docutils.utils import new_document
from sphinx import addnodes
from test_build import text, write

from rarefire.page import build, glossary_links, rerun

ROOT = Path(__file__).resolve().parents[1]


def glossary(*groups):
    """A page with a glossary: lines and definition of each entry."""
    made, listed = new_document("glossary"), nodes.definition_list()
    for lines, definition in groups:
        terms = [nodes.term("", line, ids=[f"term-{line}"]) for line in lines]
        listed += nodes.definition_list_item(
            "", *terms, nodes.definition("", nodes.paragraph("", definition))
        )
    made += addnodes.glossary("", listed)
    return made


ENTRIES = glossary_links.entries(
    glossary(
        (["ghost feature", "ghost"], "Silent for a\ncategory."),
        (["RDM", "representational dissimilarity matrices"], "A table."),
        (["twin"], "A control."),
        (["cosine twin"], "One control."),
        (["R²"], "A square."),
        (["Holm's correction"], "Many tests."),
    )
)


def marked(*parts):
    """The links that are made in a page of these parts: their texts, and its whole text."""
    page = new_document("page")
    page += nodes.section("", *parts)
    before = page.astext()
    glossary_links.mark(page, ENTRIES, "glossary.html")
    assert page.astext() == before
    return [
        (link.astext(), link["refuri"])
        for link in page.findall(nodes.reference)
        if "rf-term" in link["classes"]
    ]


def test_entries_have_their_lines_definition_and_anchor():
    assert ENTRIES[0] == glossary_links.Entry(
        ("ghost feature", "ghost"), "Silent for a category.", "term-ghost feature"
    )


def test_only_the_first_mention_is_marked_in_whatever_form():
    said = "Ghosts and RDMs. A ghost feature, one RDM,\nrepresentational  dissimilarity\nmatrices."
    assert marked(nodes.paragraph("", said), nodes.paragraph("", "ghost")) == [
        ("Ghosts", "glossary.html#term-ghost feature"),
        ("RDMs", "glossary.html#term-RDM"),
    ]
    item = nodes.bullet_list("", nodes.list_item("", nodes.paragraph("", "", nodes.strong("", "ghost"))))
    assert [text for text, _ in marked(item)] == ["ghost"]


def test_the_longest_line_counts_and_parts_of_words_do_not():
    assert marked(nodes.paragraph("", "A cosine twin.")) == [
        ("cosine twin", "glossary.html#term-cosine twin")
    ]
    assert marked(nodes.paragraph("", "ghostly, twinned, aghost, twin-like, rdm")) == [
        ("twin", "glossary.html#term-twin")
    ]
    found = marked(nodes.paragraph("", "R²: by Holm’s correction"))  # as smart quotes write it
    assert [text for text, _ in found] == ["R²", "Holm’s correction"]


@pytest.mark.parametrize(
    "part",
    [
        nodes.title("", "A ghost"),
        nodes.paragraph("", "", nodes.literal("", "ghost")),
        nodes.literal_block("", "ghost"),
        nodes.paragraph("", "", nodes.reference("", "", nodes.emphasis("", "a ghost"), refuri="x.html")),
        nodes.figure("", nodes.caption("", "A ghost")),
        nodes.raw("", "<p>ghost</p>", format="html"),
        nodes.rubric("", "ghost"),
    ],
    ids=lambda part: type(part).__name__,
)
def test_headings_code_links_and_figures_stay_as_they_are(part):
    assert marked(part) == []


def test_captions_have_the_first_mentions_that_the_text_has_not():
    caption = '<em>A ghost</em>: twins, <a href="x">RDM</a><details>R²</details> &amp; R² of a twin.'
    figure = (
        f'<figure class="rf-figure"><svg><text>RDM</text></svg><figcaption>{caption}</figcaption></figure>'
    )
    page = new_document("page")
    page += nodes.paragraph("", "A ghost.")
    page += nodes.raw("", figure, format="html")
    glossary_links.mark(page, ENTRIES, "glossary.html")
    (raw,) = page.findall(nodes.raw)
    link = '<a class="rf-term reference internal" href="glossary.html#term-{}" title="{}">{}</a>'
    twins, square = link.format("twin", "A control.", "twins"), link.format("R²", "A square.", "R²")
    assert raw.astext() == figure.replace("twins", twins).replace("&amp; R²", f"&amp; {square}")


def test_a_mark_says_the_definition_without_scripts():
    page = new_document("page")
    page += nodes.paragraph("", "twin")
    glossary_links.mark(page, ENTRIES, "glossary.html")
    (link,) = page.findall(nodes.reference)
    assert link["reftitle"] == "A control."


# --- the book's own --------------------------------------------------------------------------------


def groups():
    """The lines of each entry of the book's glossary."""
    source = (ROOT / "glossary.md").read_text().split(":::{glossary}\n")[1].split("\n:::")[0]
    return [re.findall(r"(?m)^\S.*$", group) for group in source.split("\n\n")]


def test_each_line_of_the_glossary_stands_once_and_each_entry_is_short():
    lines = [line for group in groups() for line in group]
    assert len(groups()) >= 30
    assert len(lines) == len(set(lines))
    source = (ROOT / "glossary.md").read_text()
    definitions = re.findall(r"(?m)^  (\S.*)$", source)
    assert len(definitions) == len(groups())
    assert max(map(len, definitions)) < 300


@pytest.fixture(scope="module")
def prose():
    """What the book's pages say: their text cells, and their computed texts."""
    cells = [
        cell
        for page in build.chapters(ROOT)
        for cell in json.loads((ROOT / f"{page}.ipynb").read_text())["cells"]
    ]
    return "\n".join("".join(cell["source"]) for cell in cells)


@pytest.mark.parametrize("lines", groups(), ids=lambda lines: lines[0])
def test_every_term_of_the_glossary_is_used(prose, lines):
    assert any(glossary_links._pattern([line]).search(prose) for line in lines), lines


# --- in a page -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A built book of two pages with the real configuration and the real glossary."""
    root = tmp_path_factory.mktemp("small")
    for name in ("_config.yml", "glossary.md"):
        shutil.copy(ROOT / name, root)
    pages = "".join(f"- file: {page}\n" for page in ("notebooks/one", "glossary"))
    (root / "_toc.yml").write_text(f"format: jb-book\nroot: index\nchapters:\n{pages}")
    long = "The PoZ of a feature. " + "Nothing more is said here. " * 40
    write(root / "index.ipynb", "md:# Small\n\nOf PoZ.", "x = 1", "print(x)")
    write(
        root / "notebooks" / "one.ipynb",
        f"md:# Of PoZ\n\nOf `PoZ`, and {long} At the end an RDM.",
        "y, z = 2, 3",
        "print('y is', y)",
        "from IPython.display import Markdown\nMarkdown('Computed: a ghost feature, and PoZ.')",
    )
    build.build(root, verbose=False)
    return root


@pytest.mark.book
def test_first_mentions_lead_to_the_glossary_of_a_built_book(small):
    html = small / "_build" / "html"
    assert build.chapters(small) == ["index", "notebooks/one"]
    page = (html / "notebooks" / "one.html").read_text()
    links = re.findall(r'<a class="rf-term[^>]*href="\.\./glossary\.html#([^"]*)" title="[^"]{20,}"', page)
    assert links == ["term-PoZ", "term-feature", "term-RDM", "term-ghost-feature"]
    anchors = (html / "glossary.html").read_text()
    assert all(f'id="{link}"' in anchors for link in links)
    assert "rf-term" not in anchors
    before = (html / "index.html").stat().st_mtime_ns
    build.build(small, verbose=False)
    assert (html / "index.html").stat().st_mtime_ns == before
    (small / "glossary.md").write_text(
        (small / "glossary.md").read_text().replace("exactly 0, as in", "0, as in")
    )
    build.build(small, verbose=False)
    assert "is 0, as in Hu" in (html / "index.html").read_text()


@pytest.mark.book
def test_the_line_under_a_page_runs_it_again(small):
    html = small / "_build" / "html"
    assert "papermill index.ipynb again.ipynb;" in text(html / "index.html")
    page = (html / "notebooks" / "one.html").read_text()
    under = re.search(r'<p class="rf-rerun">.*?</p>', page, re.DOTALL)[0]
    codes = [re.sub(r"<[^>]+>", "", code) for code in re.findall(r"<code.*?</code>", under, re.DOTALL)]
    assert codes[0] == "pip install '.[book]'"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extra = " ".join(project["optional-dependencies"]["book"])
    assert "papermill" in extra
    assert "ipykernel" in extra
    assert codes[2:] == ["-p y …", "-p z …", "rarefire book"]
    again = [*shlex.split(codes[1]), "-p", "y", "7"]
    assert again[0] == "papermill"
    subprocess.run([sys.executable, "-m", *again], cwd=small, check=True, capture_output=True)
    assert "y is 7" in (small / "again.ipynb").read_text()
    notebook = re.search(r'href="([^"]+\.ipynb)"', under)[1]
    assert json.loads((html / "notebooks" / notebook).read_text())["cells"]


def test_a_page_without_parameters_says_nothing_of_them():
    said = rerun.line("index", "index.ipynb", []).astext()
    assert "papermill index.ipynb again.ipynb. Or open the notebook" in said


@pytest.mark.browser
@pytest.mark.book
def test_a_definition_opens_by_mouse_keyboard_and_finger(browser, small):
    context = browser.new_context(viewport={"width": 390, "height": 800}, has_touch=True)
    tab = context.new_page()
    address = (small / "_build" / "html" / "notebooks" / "one.html").as_uri()
    tab.goto(address)
    terms = tab.locator("a.rf-term")
    poz, feature, rdm = (terms.nth(i) for i in range(3))
    opened = tab.locator(".rf-definition:popover-open")

    def shows(term, said):
        opened.wait_for()
        tab.wait_for_function(
            "said => document.getElementById('rf-definition').innerText.includes(said)", arg=said
        )
        assert term.get_attribute("aria-describedby") == "rf-definition"
        box = opened.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
        assert tab.evaluate("document.documentElement.scrollWidth") <= 390

    def closes():
        opened.wait_for(state="detached")  # no box is open any more
        assert tab.locator("a[aria-describedby=rf-definition]").count() == 0

    assert poz.get_attribute("title") is None  # not twice
    height = tab.evaluate("document.documentElement.scrollHeight")
    poz.hover()
    shows(poz, "The share of images")
    assert tab.get_by_role("tooltip").count() == 1
    assert not opened.get_by_role("link").is_visible()  # the term itself is one
    opened.hover()  # what has opened can be pointed at
    shows(poz, "The share of images")
    assert tab.evaluate("document.documentElement.scrollHeight") == height
    tab.mouse.move(5, 790)
    closes()
    poz.focus()
    tab.keyboard.press("Tab")
    shows(feature, "One column")
    tab.keyboard.press("Escape")
    closes()
    tab.keyboard.press("Tab")
    shows(rdm, "A table with")
    tab.keyboard.press("Shift+Tab")
    shows(feature, "One column")
    tab.keyboard.press("Escape")
    poz.tap()
    shows(poz, "The share of images")
    assert tab.url == address
    tab.touchscreen.tap(200, 60)
    closes()
    feature.tap()
    shows(feature, "One column")
    opened.get_by_role("link", name="Glossary").tap()
    tab.wait_for_url("**/glossary.html#term-feature")
    context.close()
