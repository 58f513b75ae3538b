"""Sphinx extension of the book: pages that need no other host, no kernel and no script for formulas.

* formulas become MathML, which browsers draw themselves; one with a command or an environment that the
  converter does not know, which it would print as it stands, is a warning, hence an error of the build;
* the theme's scripts for live code (they name another host) are left out;
* the code of a page that is folded away is opened by one switch (``code.js``);
* what the theme leaves without a name has one (``landmarks.js``);
* widgets run on ``host.js``, without a kernel (the configuration names it); one that a static page cannot
  draw is a warning, hence an error of the build.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import latex2mathml.converter
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging

__all__ = ["setup"]

_LOG = logging.getLogger(__name__)
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


def _drop_live_code(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    def wanted(script: Any) -> bool:
        file = str(getattr(script, "filename", "") or "").lower()
        body = str(getattr(script, "attributes", {}).get("body") or "")
        return "thebe" not in file and "THEBE" not in body

    context["script_files"] = [s for s in context.get("script_files", []) if wanted(s)]


def _check_widgets(app: Sphinx, env: Any) -> None:
    for page, data in getattr(env, "nb_metadata", {}).items():
        state = data.get("js_files", {}).get("ipywidgets_state")
        models = json.loads(state[1]["body"])["state"].values() if state else []
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
    config.html_static_path.append(str(static))
    config.html_favicon = str(static / "favicon.svg")


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_html_math_renderer("mathml", inline_renderers=(_inline, None), block_renderers=(_block, None))
    app.connect("config-inited", _style)
    app.add_js_file(None, body="document.documentElement.classList.add('rf-scripts')")
    app.add_js_file("code.js", loading_method="defer")
    app.add_js_file("landmarks.js", loading_method="defer")
    app.add_css_file("palette.css")
    app.add_css_file("rarefire.css")
    app.connect("html-page-context", _drop_live_code, priority=999)
    app.connect("env-check-consistency", _check_widgets)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
