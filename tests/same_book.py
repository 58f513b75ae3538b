"""Whether two executed books show the same numbers: before and after the code was put in order, say.

``python tests/same_book.py BEFORE/_build/book AFTER/_build/book``

Compared are, page by page and in order, the tables behind figures, the drawings, the numbers in texts and
captions, and what widgets hold; not dates and versions. Times that a page measures differ every time.
"""

from __future__ import annotations

import base64
import difflib
import json
import re
import sys
from pathlib import Path
from typing import Any

_NUMBER = re.compile(r"[-−+]?\d(?:[\d,]*\d)?(?:\.\d+)?(?:e[-+]?\d+)?")
_TABLE = re.compile(r'download="([^"]+)" href="data:text/csv;base64,([^"]+)"')
_DRAWING = re.compile(r"<svg.*?</svg>", re.DOTALL)
_STAMP = re.compile(r"\d{4}-\d\d-\d\d|(?:rarefire|torch) \d+[\d.]*\d")
_OWN = ("_esm", "_css", "_anywidget_id", "caption")  # of a widget: code and words


def contents(notebook: dict[str, Any]) -> dict[str, list[str]]:
    """What a page shows, by kind: ``tables``, ``drawings``, ``numbers``, ``widgets``."""
    found: dict[str, list[str]] = {"tables": [], "drawings": [], "numbers": [], "widgets": []}
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            if output.get("name") == "stderr":
                continue
            data = output.get("data", {})
            shown = [data.get(kind) for kind in ("text/html", "text/markdown", "text/plain")]
            text = "".join(next(filter(None, [output.get("text"), *shown]), ""))
            found["tables"] += [f"{n}\n{base64.b64decode(t).decode()}" for n, t in _TABLE.findall(text)]
            found["drawings"] += _DRAWING.findall(text)
            words = re.sub(r"<[^>]+>", " ", _DRAWING.sub("", text))
            found["numbers"] += _NUMBER.findall(_STAMP.sub("", words))
    for states in notebook["metadata"].get("widgets", {}).values():
        for model in states["state"].values():
            kept = {name: value for name, value in model["state"].items() if name not in _OWN}
            found["widgets"].append(json.dumps([kept, model.get("buffers")], sort_keys=True))
    return found


def differences(before: dict[str, Any], after: dict[str, Any]) -> dict[str, list[str]]:
    """By kind, what is on one page only, with ``-`` or ``+`` before it; empty where all is the same."""
    first, second = contents(before), contents(after)
    moved = {}
    for kind, own in first.items():
        lines = difflib.unified_diff(own, second[kind], n=0, lineterm="")
        moved[kind] = [line for line in lines if line[:2] not in ("--", "++", "@@")]
    return {kind: lines for kind, lines in moved.items() if lines}


def main(before: Path, after: Path) -> int:
    """Print the differences; their number is the exit status, 1 at most."""
    pages = sorted(path.relative_to(before) for path in before.rglob("*.ipynb"))
    status = 0
    for page in [page for page in pages if page.parts[0] != "_build"]:
        both = [json.loads((root / page).read_text(encoding="utf-8")) for root in (before, after)]
        counts = ", ".join(f"{len(shown)} {kind}" for kind, shown in contents(both[0]).items())
        moved = differences(*both)
        status = 1 if moved else status
        print(f"{page}: {'different' if moved else 'the same'} ({counts})")
        for kind, lines in moved.items():
            print(f"  {kind}: {'; '.join(line[:100] for line in lines[:20])}")
    return status


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:3])))
