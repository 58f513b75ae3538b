"""Sphinx extension of the book: pages that need no other host, no kernel and no script for formulas.

* formulas become MathML, which browsers draw themselves; one with a command or an environment that the
  converter does not know, which it would print as it stands, is a warning, hence an error of the build;
* the theme's scripts for live code (they name another host) are left out;
* per cent signs and minuses, typed or computed, are all alike;
* the code of a page that is folded away is opened by one switch (``code.js``);
* what the theme leaves without a name has one (``landmarks.js``);
* what pages would read before they are alive and not use stays behind: of the theme's icons, 1.5 MB, those
  that are shown travel, and the index of the search is for its page;
* widgets run on ``host.js``, without a kernel (the configuration names it); one that a static page cannot
  draw is a warning, hence an error of the build.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import latex2mathml.converter
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util import logging

__all__ = ["in_words", "setup"]

_LOG = logging.getLogger(__name__)
# Before anything is drawn: what the theme would find out after all is, when a page's styles begin anew.
_FIRST = """\
{
  const { classList, dataset } = document.documentElement;
  classList.add("rf-scripts");
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  if (dataset.mode === "auto") dataset.theme = dark ? "dark" : "light";
}
"""
_SILENT = {"LayoutModel", "LinkModel", "DirectionalLinkModel"}


_NOT_CONVERTED = re.compile(r"<mi>(&|\\[^<]*)</mi>")


def _mathml(node: nodes.math | nodes.math_block, display: str) -> str:
    formula: str = latex2mathml.converter.convert(node.astext(), display=display)
    if found := _NOT_CONVERTED.search(formula):
        _LOG.warning("%s does not become MathML in: %s", found[1], node.astext(), location=node)
    return formula


def _inline(self: Any, node: nodes.math) -> None:
    self.body.append(_mathml(node, "inline"))
    raise nodes.SkipNode


def _block(self: Any, node: nodes.math_block) -> None:
    self.body.append(f'<div class="rf-formula" tabindex="0">{_mathml(node, "block")}</div>')
    raise nodes.SkipNode


def _code_switch(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    """Before the title of a page with folded code, so that nothing moves when ``code.js`` comes."""
    body = str(context.get("body", ""))
    if re.search(r'<details class="[^"]*\bhide\b', body):
        switch = '<button type="button" class="rf-code-switch" aria-pressed="false">Show all code</button>'
        context["body"] = body.replace("<h1>", f"{switch}<h1>", 1)


def in_words(text: str, change: Callable[[str], str], *, but: Sequence[str] = ()) -> str:
    """HTML with its words changed: none of what is drawn, of code or of a tag.

    Parameters
    ----------
    text
        HTML.
    change
        Of the words between two tags.
    but
        Names of more elements that stay as they are.
    """
    kept = "|".join(["svg", "script", "style", "pre", "code", "select", *but])
    parts = re.compile(rf"<({kept})\b.*?</\1>|<[^>]*>|[^<]+", re.DOTALL)
    return parts.sub(lambda part: part[0] if part[0][0] == "<" else change(part[0]), text)


def _typeset(text: str) -> str:
    """A number and its per cent sign apart, and on one line; before a number a minus, not a hyphen."""
    text = re.sub(r"(?<=\d)[ \u00a0]?%", "\u00a0%", text)
    return re.sub(r"(?:(?<=[\s(])|^)-(?=\.?\d)", "−", text)


def _signs(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Signs, typed or computed, all alike: in texts, captions and tables, not in code."""
    for text in list(doctree.findall(nodes.Text)):
        if isinstance(text.parent, nodes.literal | nodes.literal_block | nodes.math | nodes.math_block):
            continue
        if not isinstance(text.parent, nodes.raw):
            changed = _typeset(text.astext())
        elif 'class="rf-figure"' in text:
            changed = in_words(text.astext(), _typeset)
        else:
            continue
        if changed != text.astext():
            text.parent.replace(text, nodes.Text(changed))


def _drop_live_code(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    def wanted(script: Any) -> bool:
        file = str(getattr(script, "filename", "") or "").lower()
        body = str(getattr(script, "attributes", {}).get("body") or "")
        return "thebe" not in file and "THEBE" not in body

    context["script_files"] = [s for s in context.get("script_files", []) if wanted(s)]


def _check_widgets(app: Sphinx, env: Any) -> None:
    """Those that a page cannot draw; of the others' state, what the page has already is left out."""
    for page, data in getattr(env, "nb_metadata", {}).items():
        if not (found := data.get("js_files", {}).get("ipywidgets_state")):
            continue
        kept = json.loads(found[1]["body"])
        models = kept["state"].values()
        for model in models:
            model["state"].pop("_css", None)  # widgets.css
        found[1]["body"] = json.dumps(kept).replace("<", "\\u003c")
        names = {m["model_name"] for m in models if not _draws(m)}
        shown = sorted(name for name in names if not name.endswith("StyleModel"))
        if shown:
            _LOG.warning(
                "%s does nothing in a static page: use a rarefire.page.widgets.PageWidget",
                ", ".join(shown),
                location=page,
            )


def _draws(model: dict[str, Any]) -> bool:
    page_widget = model["model_module"] == "anywidget" and "caption" in model["state"]
    return page_widget or model["model_name"] in _SILENT


def _style(app: Sphinx, config: Any) -> None:
    static = Path(__file__).parent / "static"
    config.html_static_path += [str(static), str(Path(__file__).parent / "js" / "widgets.css")]
    config.html_favicon = str(static / "favicon.svg")


_SEARCH = re.compile(r'<script src="[^"]*(?:searchtools|language_data|searchindex)\.js"></script>')
_FONT = re.compile(r"<script[^>]*scripts/fontawesome\.js[^>]*></script>")
_ICONS = """\
:is(.fa-solid, .fas)::before {
  content: ""; display: inline-block; width: var(--wide); height: 1em; vertical-align: -0.125em;
  background: currentcolor; mask: var(--icon) center / contain no-repeat;
}
.fa-lg { font-size: 1.25em; line-height: 0.05em; vertical-align: -0.075em; }
"""


def _icon(name: str, font: str) -> str:
    """The rule that draws an icon of the theme's script."""
    found = re.search(rf'["{{,]{name}"?:\[(\d+),(\d+),\[[^\]]*\],"\w+","([^"]+)"\]', font)
    if found is None:
        raise ExtensionError(f"the theme has no icon {name}")
    wide, high, path = found.groups()
    drawing = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {wide} {high}'><path d='{path}'/></svg>"
    address = f'url("data:image/svg+xml,{quote(drawing)}")'
    return f".fa-{name} {{ --wide: {int(wide) / int(high):.4g}em; --icon: {address}; }}\n"


def _lighter(app: Sphinx, exception: Exception | None) -> None:
    """Pages without what they would read and not use.

    That is the index of the search, which has its own page, and the script of all icons, in whose place a
    style of a few kilobytes has those that are on pages.
    """
    script = Path(app.outdir) / "_static" / "scripts" / "fontawesome.js"
    if exception or not script.exists():
        return
    font, names = script.read_text("utf-8"), set[str]()
    for page in Path(app.outdir).rglob("*.html"):
        text = page.read_text("utf-8")
        shown = " ".join(re.findall(r'<(?:i|span) class="([^"]*)"', text))
        names |= set(re.findall(r"fa-([\w-]+)", shown))
        text = _FONT.sub("", text)
        page.write_text(text if page.name == "search.html" else _SEARCH.sub("", text), "utf-8")
    rules = [_icon(name, font) for name in sorted(names - {"solid", "lg"})]
    (Path(app.outdir) / "_static" / "icons.css").write_text(_ICONS + "".join(rules), "utf-8")
    for part in (script, script.with_suffix(".js.map")):
        part.unlink(missing_ok=True)


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_html_math_renderer("mathml", inline_renderers=(_inline, None), block_renderers=(_block, None))
    app.connect("config-inited", _style)
    app.add_js_file(None, body=_FIRST)
    app.add_js_file("code.js", loading_method="defer")
    app.add_js_file("landmarks.js", loading_method="defer")
    app.add_css_file("icons.css")
    for style in ("palette.css", "rarefire.css", "widgets.css"):
        app.add_css_file(style)
    app.connect("doctree-resolved", _signs, priority=900)
    app.connect("html-page-context", _code_switch)
    app.connect("html-page-context", _drop_live_code, priority=999)
    app.connect("env-check-consistency", _check_widgets)
    app.connect("build-finished", _lighter)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
