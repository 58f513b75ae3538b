"""The build: papermill executes copies of the chapters, Jupyter Book makes pages of them.

Everything happens under ``_build/book``; ``_build/html`` is replaced at the end, in one step, and only
by a book that was built without a warning.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from rarefire import store
from rarefire.errors import DataError, RarefireError

__all__ = ["BuildError", "build", "chapters"]


_PATIENCE = 600  # seconds that a kernel may take to start, and to send what a cell printed


class BuildError(RarefireError):
    """A chapter failed, or Jupyter Book warned."""


def chapters(root: str | Path) -> list[str]:
    """Pages in reading order, without extension, from ``_toc.yml``."""
    toc = yaml.safe_load((Path(root) / "_toc.yml").read_text(encoding="utf-8"))

    def files(entry: Mapping[str, Any]) -> Iterator[str]:
        if "file" in entry:
            yield entry["file"]
        for group in ("parts", "chapters", "sections"):
            for inner in entry.get(group, []):
                yield from files(inner)

    return [toc["root"], *files(toc)]


def build(
    root: str | Path = ".", *, parameters: Mapping[str, Any] | None = None, verbose: bool = True
) -> Path:
    """Execute the chapters that changed and build the book.

    Parameters
    ----------
    root
        The folder with ``_config.yml`` and ``_toc.yml``.
    parameters
        Given to every chapter that has a parameter of that name (papermill). Others keep the
        chapter's own values.
    verbose
        Say on standard error what happens.

    Returns
    -------
    Path
        ``_build/html/index.html``.

    Raises
    ------
    BuildError
        With the chapter, the cell and its error, or with Sphinx's warnings. The last good book stays.
    """
    root = Path(root).resolve()
    if not (root / "_toc.yml").is_file():
        raise DataError(f"{root} holds no _toc.yml: run this in the book's folder.")
    staging = root / "_build" / "book"
    pages = chapters(root)
    with _locked(root / "_build"):
        # The landing page comes last: it shows what the chapters computed.
        executed = [
            _execute(root, staging, page, dict(parameters or {}), verbose=verbose)
            for page in [*pages[1:], pages[0]]
        ]
        html = root / "_build" / "html"
        if not any(executed) and _page_stamp(root, pages, staging) == _read_stamp(html):
            _say(verbose, "nothing changed; the book is up to date")
            return html / "index.html"
        return _make_pages(root, staging, pages, html, verbose=verbose)


def _execute(root: Path, staging: Path, page: str, parameters: dict[str, Any], *, verbose: bool) -> bool:
    """Execute one chapter into the staging folder; False where that was done before, unchanged."""
    import nbformat
    import papermill

    source, target = root / f"{page}.ipynb", staging / f"{page}.ipynb"
    if not source.is_file():
        raise BuildError(f"_toc.yml names {page!r}, but there is no {source}.")
    own = papermill.inspect_notebook(str(source))
    given = {name: value for name, value in parameters.items() if name in own}
    stamp = _chapter_stamp(root, source, given)
    if target.is_file() and _notebook_stamp(target) == stamp:
        return False
    _say(verbose, f"executing {page}")
    target.parent.mkdir(parents=True, exist_ok=True)
    running = target.with_suffix(".running.ipynb")
    try:
        papermill.execute_notebook(
            str(source),
            str(running),
            parameters=given,
            cwd=str(source.parent),
            progress_bar=False,
            stderr_file=sys.stderr if verbose else None,
            kernel_name="python3",
            start_timeout=_PATIENCE,
            iopub_timeout=_PATIENCE,
            extra_arguments=["--IPKernelApp.log_level=40"],  # errors; not how the kernel is reached
        )
    except papermill.PapermillExecutionError as error:
        raise BuildError(
            f"{page}: cell {error.cell_index + 1} failed\n\n{_indent(error.source)}\n\n"
            f"{error.ename}: {error.evalue}\n\nThe executed copy so far: {running}"
        ) from error
    notebook = nbformat.reads(_stable_ids(running.read_text(encoding="utf-8")), as_version=4)
    # Only what a page shows: papermill's times and paths differ at every run.
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
    notebook.metadata.pop("papermill", None)
    notebook.metadata["rarefire"] = {"stamp": stamp}
    with store.atomic_write(target) as file:
        file.write(nbformat.writes(notebook).encode())
    running.unlink()
    return True


def _stable_ids(text: str) -> str:
    """An executed notebook whose widgets are numbered: their own ids differ at every run."""
    widgets = json.loads(text)["metadata"].get("widgets", {})
    models = {name: json.dumps(model) for state in widgets.values() for name, model in state["state"].items()}
    if not models:
        return text
    ids = re.compile("|".join(models))
    # By content; after that, in the order in which they are referred to (layouts are all alike).
    alone = {name: (not ids.search(model), ids.sub("", model)) for name, model in models.items()}
    numbers: dict[str, str] = {}
    for name in sorted(models, key=alone.__getitem__):
        for found in (name, *ids.findall(models[name])):
            numbers.setdefault(found, f"widget-{len(numbers) + 1}")
    return ids.sub(lambda name: numbers[name[0]], text)


def _make_pages(root: Path, staging: Path, pages: list[str], html: Path, *, verbose: bool) -> Path:
    _say(verbose, "building the pages")
    for name in ("_config.yml", "_toc.yml"):
        shutil.copy2(root / name, staging / name)
    # Built anew each time: an incremental build keeps pages that are no longer in the book.
    shutil.rmtree(staging / "_build", ignore_errors=True)
    jupyter_book = "from jupyter_book.cli.main import main; main()"
    command = [sys.executable, "-c", jupyter_book, "build", str(staging), "-n", "-W", "--keep-going"]
    done = subprocess.run(
        command,
        cwd=staging,
        text=True,
        capture_output=True,
        env={**os.environ, "PYTHONUTF8": "1", "NO_COLOR": "1"},
    )
    if done.returncode:
        log = done.stdout + done.stderr
        warnings = [line for line in log.splitlines() if "WARNING" in line or "ERROR" in line]
        raise BuildError("Jupyter Book: " + ("\n".join(warnings) or log[-4000:]))
    built = staging / "_build" / "html"
    (built / ".stamp").write_text(_page_stamp(root, pages, staging), encoding="utf-8")
    store.copy_tree(built, html)
    _say(verbose, f"the book is at {html / 'index.html'}")
    return html / "index.html"


# --- stamps: what a page depends on --------------------------------------------------------------


def _chapter_stamp(root: Path, source: Path, parameters: Mapping[str, Any]) -> str:
    """Changes with the chapter, its parameters, the package, the shipped data, the versions, the mirror."""
    package = Path(__file__).parent
    files = [source, *sorted(package.glob("*.py")), *sorted((package / "js").glob("*"))]
    files.append(package / "static" / "palette.css")  # travels in widgets
    files += sorted((root / "data").rglob("*.*"))
    lock = root / "requirements.lock"
    total = hashlib.sha256()
    for file in [*files, *([lock] if lock.is_file() else [])]:
        if file.is_file() and "cache" not in file.relative_to(file.anchor).parts[-2:-1]:
            total.update(f"{file.name}:{store.file_digest(file)};".encode())
    total.update(json.dumps(dict(parameters), sort_keys=True).encode())
    total.update(str(store.mirror_dir()).encode())
    return total.hexdigest()


def _page_stamp(root: Path, pages: list[str], staging: Path) -> str:
    package = Path(__file__).parent
    files = [root / "_config.yml", root / "_toc.yml", package / "static_page.py"]
    files += sorted((package / "static").glob("*"))
    files += [staging / f"{page}.ipynb" for page in pages]
    return store.key(files=[store.file_digest(file) for file in files])


def _notebook_stamp(path: Path) -> str | None:
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))["metadata"]
        return str(metadata["rarefire"]["stamp"])
    except (ValueError, KeyError):
        return None


def _read_stamp(html: Path) -> str | None:
    file = html / ".stamp"
    return file.read_text(encoding="utf-8") if file.is_file() else None


# --- small helpers -------------------------------------------------------------------------------


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One build at a time in one folder."""
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout as error:
        raise BuildError(f"another build is running in {folder}. Wait for it, or stop it.") from error


def _indent(source: str) -> str:
    return "\n".join(f"    {line}" for line in source.splitlines())


def _say(verbose: bool, text: str) -> None:
    if verbose:
        print(f"rarefire: {text}", file=sys.stderr, flush=True)
