"""Sphinx extension of the book: the first mention of each term on a page leads to its definition.

Terms and definitions stand in the book's glossary alone. A mention is a link to its entry there, titled with
the definition, which ``terms.js`` opens beside it; without scripts, browsers show the title. A line of the
glossary stands for itself, with a capital at its beginning and with an *s* at its end; other forms have lines
of their own. Headings, code, links, drawings and the reference stay as they are.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

from rarefire.page import reference
from rarefire.page.static_page import in_words

__all__ = ["Entry", "entries", "mark", "setup"]

#: What is written as it stands, and what has its own form.
_NOT_IN = (
    *(nodes.title, nodes.literal, nodes.literal_block, nodes.reference, nodes.math, nodes.raw),
    *(nodes.figure, nodes.caption, nodes.term, addnodes.pending_xref),
)
_CLASS = "rf-term"


@dataclass(frozen=True)
class Entry:
    """An entry of the glossary.

    Attributes
    ----------
    lines
        The forms in which it is written.
    definition
        As plain text.
    address
        The anchor of its first line.
    """

    lines: tuple[str, ...]
    definition: str
    address: str


def entries(document: nodes.document) -> list[Entry]:
    """The entries of all glossaries of a page."""
    found = list[Entry]()
    for glossary in document.findall(addnodes.glossary):
        for item in glossary.findall(nodes.definition_list_item):
            terms = [part for part in item.children if isinstance(part, nodes.term)]
            said = [part.astext() for part in item.children if isinstance(part, nodes.definition)]
            lines = tuple(term.astext() for term in terms)
            found.append(Entry(lines, " ".join(" ".join(said).split()), terms[0]["ids"][0]))
    return found


def mark(document: nodes.document, terms: Iterable[Entry], page: str) -> None:
    """Make links of first mentions.

    Parameters
    ----------
    document
        A page, changed in place.
    terms
        From :func:`entries`.
    page
        Where the glossary is, as an address relative to this page.
    """
    by_line = {line: entry for entry in terms for line in entry.lines}
    if not by_line:
        return
    pattern, left = _pattern(by_line), set(by_line.values())

    def first(found: re.Match[str]) -> Entry | None:
        entry = next(by_line[line] for line in by_line if re.fullmatch(_form(line), found[0]))
        if entry not in left:
            return None
        left.remove(entry)
        return entry

    def linked(found: re.Match[str]) -> str:
        if not (entry := first(found)):
            return found[0]
        address, said = (html.escape(part) for part in (f"{page}#{entry.address}", entry.definition))
        return f'<a class="{_CLASS} reference internal" href="{address}" title="{said}">{found[0]}</a>'

    for text in list(document.findall(nodes.Text)):
        if isinstance(text.parent, nodes.raw):
            if (changed := _in_captions(text, lambda words: pattern.sub(linked, words))) != text:
                text.parent.replace(text, nodes.Text(changed))
            continue
        if not _is_prose(text):
            continue
        made, at = list[nodes.Node](), 0
        for found in pattern.finditer(text):
            if entry := first(found):
                link = nodes.reference("", found[0], internal=True, classes=[_CLASS])
                link["refuri"], link["reftitle"] = f"{page}#{entry.address}", entry.definition
                made += [nodes.Text(text[at : found.start()]), link]
                at = found.end()
        if made:
            text.parent.replace(text, [*made, nodes.Text(text[at:])])


_CAPTION = re.compile("<figcaption>.*?</figcaption>", re.DOTALL)


def _in_captions(text: str, change: Callable[[str], str]) -> str:
    """What stands in captions of the book's figures, changed; links, code and sources as they are."""
    if 'class="rf-figure"' not in text:
        return text
    return _CAPTION.sub(lambda found: in_words(found[0], change, but=["a", "details"]), text)


def _pattern(lines: Iterable[str]) -> re.Pattern[str]:
    """Any of the lines, where none of them is part of a longer word; the longest first."""
    forms = "|".join(map(_form, sorted(lines, key=len, reverse=True)))
    return re.compile(rf"(?<![\w-])(?:{forms})(?![\w²])")


def _form(line: str) -> str:
    """A line, however it is spaced; with a capital where it begins a sentence; and its plural."""
    first = f"[{line[0]}{line[0].upper()}]" if line[0].islower() else re.escape(line[0])
    rest = re.sub("['’]", "['’]", r"\s+".join(map(re.escape, line[1:].split())))
    return f"{first}{rest}{'s?' if line[-1].isalpha() else ''}"


def _is_prose(text: nodes.Text) -> bool:
    """Whether a text is part of a paragraph, and of nothing that keeps its own form."""
    above, inside = text.parent, False
    while above is not None:
        if isinstance(above, _NOT_IN):
            return False
        inside |= isinstance(above, nodes.paragraph)
        above = above.parent
    return inside


# --- in the pages --------------------------------------------------------------------------------


def _mark(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Mark one page of a book that has a glossary."""
    terms = app.env.get_domain("std").objects  # type: ignore[attr-defined]
    places = {place for (kind, _), (place, _) in terms.items() if kind == "term"}
    if page in places or reference.is_page(page):
        return
    for place in sorted(places):
        mark(doctree, entries(app.env.get_doctree(place)), app.builder.get_relative_uri(page, place))


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.connect("doctree-resolved", _mark)
    app.add_js_file("terms.js", loading_method="defer")
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
