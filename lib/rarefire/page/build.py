"""The build: papermill executes copies of the chapters, Jupyter Book makes pages of them.

Everything happens under ``_build/book``; ``_build/html`` is replaced at the end, in one step, and only
by a book that was built without a warning.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import rarefire
from rarefire import store
from rarefire._engine import blocks
from rarefire.errors import DataError, RarefireError
from rarefire.page import reference

__all__ = ["BuildError", "build", "chapters"]

_MOST_WORKERS = 4  # chapters at once: each is a kernel of a gigabyte
_PACKAGE = Path(rarefire.__file__).parent
_PATIENCE = 600  # seconds that a kernel may take to start, and to send what a cell printed


class BuildError(RarefireError):
    """A chapter failed, or Jupyter Book warned."""


def chapters(root: str | Path) -> list[str]:
    """Pages in reading order, without extension, from ``_toc.yml``: notebooks.

    Without those of the reference, which the build writes, and those that are text (Markdown).
    """
    texts = _texts(root)
    return [p for p in _pages(root) if not reference.is_page(p) and Path(root) / f"{p}.md" not in texts]


def _texts(root: str | Path) -> list[Path]:
    """Files of the pages that are text, with nothing to execute."""
    return [file for page in _pages(root) if (file := Path(root) / f"{page}.md").is_file()]


def _pages(root: str | Path) -> list[str]:
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
        given = dict(parameters or {})
        # The landing page comes last: it shows what the chapters computed.
        changed = [c for c in (_chapter(root, staging, p, given) for p in [*pages[1:], pages[0]]) if c]
        together = [c for c in changed if not c.alone]
        _side_by_side(together, verbose=verbose)
        for chapter in changed:
            if chapter not in together:
                _execute(chapter, verbose=verbose)
        html = root / "_build" / "html"
        if not changed and _page_stamp(root, pages, staging) == _read_stamp(html):
            _say(verbose, "nothing changed; the book is up to date")
            return html / "index.html"
        return _make_pages(root, staging, pages, html, verbose=verbose)


@dataclass(frozen=True)
class _Chapter:
    """A chapter to execute: its name, the file, where the copy goes, its parameters and what it depends on.

    `alone`: not beside others, because it comes last or measures time.
    """

    page: str
    source: Path
    target: Path
    given: dict[str, Any]
    stamp: str
    alone: bool


def _chapter(root: Path, staging: Path, page: str, parameters: Mapping[str, Any]) -> _Chapter | None:
    """A chapter that must be executed; None where that was done before, unchanged."""
    import papermill

    source, target = root / f"{page}.ipynb", staging / f"{page}.ipynb"
    if not source.is_file():
        raise BuildError(f"_toc.yml names {page!r}, but there is no {source}.")
    own = papermill.inspect_notebook(str(source))
    given = {name: value for name, value in parameters.items() if name in own}
    stamp = _chapter_stamp(root, source, given)
    if target.is_file() and _metadata(target).get("stamp") == stamp:
        return None
    alone = page == chapters(root)[0] or bool(_metadata(source).get("alone"))
    return _Chapter(page, source, target, given, stamp, alone)


def _side_by_side(changed: list[_Chapter], *, verbose: bool) -> None:
    """Execute chapters in as many processes as there are cores; the first that fails stops the rest.

    What several of them need is computed by one, for which the others wait (:func:`rarefire.store.alone`).
    """
    workers = min(len(changed), blocks.cores(), _MOST_WORKERS)
    if workers < 2:
        for chapter in changed:
            _execute(chapter, verbose=verbose)
        return
    processes = multiprocessing.get_context("spawn")
    threads = max(1, blocks.cores() // workers)
    with ProcessPoolExecutor(workers, processes, initializer=_share, initargs=(threads,)) as pool:
        running = [pool.submit(_execute, chapter, verbose=verbose) for chapter in changed]
        try:
            for done in as_completed(running):
                done.result()
        except BuildError:
            pool.shutdown(cancel_futures=True)
            raise
        except BaseException:  # interrupted: a kernel ends when its parent does
            for process in multiprocessing.active_children():
                process.terminate()
            raise


def _share(threads: int) -> None:
    """Have the kernels that this process starts use so many threads each."""
    for library in ("OMP", "OPENBLAS", "MKL", "NUMBA"):
        os.environ[f"{library}_NUM_THREADS"] = str(threads)


def _execute(chapter: _Chapter, *, verbose: bool) -> None:
    """Execute one chapter into the staging folder."""
    import nbformat
    import papermill

    _say(verbose, f"executing {chapter.page}")
    target = chapter.target
    target.parent.mkdir(parents=True, exist_ok=True)
    running = target.with_suffix(".running.ipynb")
    try:
        papermill.execute_notebook(
            str(chapter.source),
            str(running),
            parameters=chapter.given,
            cwd=str(chapter.source.parent),
            progress_bar=False,
            stderr_file=sys.stderr if verbose else None,
            kernel_name="python3",
            start_timeout=_PATIENCE,
            iopub_timeout=_PATIENCE,
            extra_arguments=["--IPKernelApp.log_level=40"],  # errors; not how the kernel is reached
        )
    except papermill.PapermillExecutionError as error:
        raise BuildError(
            f"{chapter.page}: cell {error.cell_index + 1} failed\n\n{_indent(error.source)}\n\n"
            f"{error.ename}: {error.evalue}\n\nThe executed copy so far: {running}"
        ) from error
    notebook = nbformat.reads(_stable_ids(running.read_text(encoding="utf-8")), as_version=4)
    # Only what a page shows: papermill's times and paths differ at every run.
    for cell in notebook.cells:
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
    notebook.metadata.pop("papermill", None)
    notebook.metadata["rarefire"] = {"stamp": chapter.stamp}
    with store.atomic_write(target) as file:
        file.write(nbformat.writes(notebook).encode())
    running.unlink()


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
    reference.write(staging, [page for page in _pages(root) if reference.is_page(page)])
    for text in _texts(root):
        shutil.copy2(text, staging / text.relative_to(root))
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
    """Changes with the chapter, its parameters, the code, the shipped data, the versions, the mirror."""
    page = _PACKAGE / "page"
    files = [source, *sorted(source.parent.glob("*.py")), *sorted(_PACKAGE.rglob("*.py"))]
    files += sorted((page / "js").glob("*"))
    files.append(page / "static" / "palette.css")  # travels in widgets
    data = (file for file in sorted((root / "data").rglob("*")) if file.is_file())
    files += [file for file in data if file.suffix != ".png"]  # pictures are taken of pages
    lock = root / "requirements.lock"
    total = hashlib.sha256()
    for file in [*files, *([lock] if lock.is_file() else [])]:
        total.update(f"{file.name}:{store.file_digest(file)};".encode())
    total.update(json.dumps(dict(parameters), sort_keys=True).encode())
    total.update(str(store.mirror_dir()).encode())
    return total.hexdigest()


def _page_stamp(root: Path, pages: list[str], staging: Path) -> str:
    page = _PACKAGE / "page"
    extensions = ("static_page", "reference_links", "glossary_links", "rerun")
    files = [root / "_config.yml", root / "_toc.yml", *_texts(root)]
    files += [page / f"{name}.py" for name in extensions]
    files += sorted((page / "static").glob("*"))
    files += [staging / f"{page}.ipynb" for page in pages]
    # The reference changes with the package, as the chapters' own stamps do.
    return store.key(files=[store.file_digest(file) for file in files])


def _metadata(path: Path) -> dict[str, Any]:
    """What a notebook says about itself to this module; nothing, where it is damaged."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))["metadata"].get("rarefire", {}))
    except (ValueError, KeyError):
        return {}


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
