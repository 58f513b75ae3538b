"""The files around the package: pins, lock, notebooks, rules of the repository."""

import importlib
import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from rarefire import book

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = (ROOT / "requirements.lock").read_text()
PINS = dict(re.findall(r"(?m)^([A-Za-z0-9_.-]+)==([^ ;\\]+)", LOCK))
NOTEBOOKS = [ROOT / f"{page}.ipynb" for page in book.chapters(ROOT)]


def names(requirements):
    return {re.match(r"[A-Za-z0-9_.-]+", r)[0] for r in requirements}


def test_environment_has_the_pins_of_the_lock():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    pip = next(d for d in environment["dependencies"] if isinstance(d, dict))["pip"]
    pins = dict(d.split("==") for d in pip if "==" in d)
    extras = PROJECT["optional-dependencies"]
    assert set(pins) == names(PROJECT["dependencies"]) | names(extras["book"]) | names(extras["lab"])
    assert {name: PINS[name] for name in pins} == pins


def test_everything_asked_for_is_locked_with_hashes_and_no_host():
    wanted = names(PROJECT["dependencies"])
    for extra in PROJECT["optional-dependencies"].values():
        wanted |= names(extra)
    assert wanted <= set(PINS)
    assert LOCK.count("--hash=sha256:") > len(PINS)
    assert not re.search(r"https?://|index-url|find-links", LOCK)
    assert not re.search(r"https?://", (ROOT / "pyproject.toml").read_text())


def test_the_environment_is_the_locked_one():
    from importlib.metadata import version

    for name in names(PROJECT["dependencies"]):
        assert version(name) == PINS[name], name


@pytest.mark.parametrize("module", sorted(p.stem for p in (ROOT / "lib" / "rarefire").glob("*.py")))
def test_public_names_exist_and_are_documented(module):
    loaded = importlib.import_module("rarefire" if module == "__init__" else f"rarefire.{module}")
    assert loaded.__doc__
    for name in getattr(loaded, "__all__", []):
        thing = getattr(loaded, name)
        assert getattr(thing, "__doc__", None) or not callable(thing), name


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebooks_are_clean_and_their_cells_small(path):
    notebook = json.loads(path.read_text())
    code = [c for c in notebook["cells"] if c["cell_type"] == "code"]
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert not any(c["outputs"] or c["execution_count"] for c in code)
    tagged = [c for c in code if "parameters" in c["metadata"].get("tags", [])]
    assert len(tagged) == 1
    imports = [i for i, c in enumerate(code) if re.search(r"(?m)^(from|import) ", "".join(c["source"]))]
    assert imports == [0]
    shown = [
        len(c["source"])
        for c in code
        if not {"hide-input", "remove-input"} & set(c["metadata"].get("tags", []))
    ]
    assert not shown or sorted(shown)[len(shown) // 2] <= 6
    assert max(len(c["source"]) for c in code) <= 20, [c["source"][0] for c in code if len(c["source"]) > 20]


def test_every_chapter_is_in_the_table_of_contents():
    there = {p.relative_to(ROOT).with_suffix("").as_posix() for p in (ROOT / "notebooks").glob("*.ipynb")}
    assert there | {"index"} == set(book.chapters(ROOT))


def test_repository_is_small_and_lib_is_tracked():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    files = [ROOT / f for f in listed.stdout.split("\0") if f]
    assert ROOT / "lib" / "rarefire" / "poz.py" in files
    assert sum(f.stat().st_size for f in files if f.exists()) < 20e6
