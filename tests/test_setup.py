"""The files around the package: pins, lock, the wheel, notebooks, rules of the repository."""

import importlib
import importlib.metadata
import itertools
import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
import zarr
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

import rarefire
from rarefire import networks, records, store
from rarefire.page import build

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = (ROOT / "requirements.lock").read_text()
PINS = dict(re.findall(r"(?m)^([A-Za-z0-9_.-]+)==([^ ;\\]+)", LOCK))
NOTEBOOKS = [ROOT / f"{page}.ipynb" for page in build.chapters(ROOT)]


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
    shown = [len(c["source"]) for c in code if not hides(c)]
    assert not shown or sorted(shown)[len(shown) // 2] <= 6
    assert max(len(c["source"]) for c in code) <= 20, [c["source"][0] for c in code if len(c["source"]) > 20]
    lines = [line.rstrip("\n") for c in code for line in c["source"]]
    assert max(map(len, lines)) <= 110, [line for line in lines if len(line) > 110]
    # What a page shows of its code fits the width of a page; JupyterLab, too, folds what is hidden.
    wide = [line for line in read_by_readers(notebook) if len(line) > 88]
    assert not wide, wide
    folded = [c["metadata"].get("jupyter", {}).get("source_hidden") for c in code if hides(c)]
    assert all(folded), folded
    # Two hidden cells in a row are one, but where that would be too long; parameters stand alone.
    for one, other in itertools.pairwise(notebook["cells"]):
        if hides(one) and hides(other) and one not in tagged and other not in tagged:
            assert len(one["source"]) + len(other["source"]) > 20, (one["id"], other["id"])


def hides(cell):
    """Whether a cell's code is hidden from the reader."""
    tags = cell["metadata"].get("tags", [])
    return cell["cell_type"] == "code" and not {"hide-input", "remove-input"}.isdisjoint(tags)


def read_by_readers(notebook):
    """Lines of code that a page shows: of cells that are not hidden, and of examples in the text."""
    for cell in notebook["cells"]:
        fenced = cell["cell_type"] == "code" and not hides(cell)
        for line in "".join(cell["source"]).splitlines():
            if cell["cell_type"] == "markdown" and line.lstrip().startswith("```"):
                fenced = not fenced
            elif fenced:
                yield line


def test_lines_that_readers_read():
    made = [
        {"cell_type": "markdown", "source": ["so\n", "```python\n", "shown = 1\n", "```\n", "and on"]},
        {"cell_type": "code", "metadata": {}, "source": ["x = 1\n", "y = 2"]},
        {"cell_type": "code", "metadata": {"tags": ["hide-input"]}, "source": ["hidden = 3"]},
    ]
    assert list(read_by_readers({"cells": made})) == ["shown = 1", "x = 1", "y = 2"]


def test_every_chapter_is_in_the_table_of_contents():
    there = {p.relative_to(ROOT).with_suffix("").as_posix() for p in (ROOT / "notebooks").glob("*.ipynb")}
    assert there | {"index"} == set(build.chapters(ROOT))


def test_repository_is_small_and_lib_is_tracked():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    files = [ROOT / f for f in listed.stdout.split("\0") if f]
    assert ROOT / "lib" / "rarefire" / "poz.py" in files
    assert sum(f.stat().st_size for f in files if f.exists()) < 20e6


# --- the package without a clone -------------------------------------------------------------------


def test_one_version():
    assert rarefire.__version__ == PROJECT["version"] == importlib.metadata.version("rarefire")
    assert f"version: {PROJECT['version']}\n" in (ROOT / "CITATION.cff").read_text()


def test_in_a_clone_the_data_are_those_of_the_clone():
    assert store.data_dir() == ROOT / "data"
    assert Path(rarefire.__file__).is_relative_to(ROOT / "lib")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from the source distribution, without the network and without what is beside it."""
    folder = tmp_path_factory.mktemp("built")

    def build(what, root):
        command = [sys.executable, "-m", "hatchling", "build", "-t", what, "-d", str(folder)]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    build("sdist", ROOT)
    (source,) = folder.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        archive.extractall(folder, filter="data")
    build("wheel", folder / source.name.removesuffix(".tar.gz"))
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_the_package_and_the_recorded_results_alone(wheel):
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
    info = f"rarefire-{PROJECT['version']}.dist-info"
    expected = {
        f"rarefire/{file.relative_to(root).as_posix()}"
        for root, kept in ((ROOT / "lib" / "rarefire", ""), (ROOT, "data"))
        for file in (root / kept).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts and file.name != "landing.png"
    }
    assert {name for name in held if not name.startswith(info)} == expected
    assert f"{info}/licenses/LICENSE" in held
    assert wheel.stat().st_size < 6e6


@pytest.fixture(scope="module")
def program(wheel, tmp_path_factory):
    """`rarefire`, installed from the wheel beside the libraries that are here, not beside the clone."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    install = [sys.executable, "-m", "uv", "pip", "install", "-q", "--offline", "--no-deps"]
    done = subprocess.run([*install, "--python", str(python), str(wheel)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (site,) = folder.glob("lib/python*/site-packages")
    here = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
    (site / "beside.pth").write_text("".join(f"{path}\n" for path in here))
    return folder / "bin" / "rarefire"


def lacking():
    """Modules here that nothing which the package itself depends on needs."""
    known, left = set(), ["rarefire"]
    while left:
        name = canonicalize_name(left.pop())
        if name in known:
            continue
        known.add(name)
        try:
            given = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:  # of another system
            continue
        wanted = [Requirement(text) for text in given]
        wanted = [r for r in wanted if r.marker is None or r.marker.evaluate({"extra": ""})]
        left += [r.name for r in wanted] + [
            f for r in wanted for part in r.extras for f in extra(r.name, part)
        ]
    modules = importlib.metadata.packages_distributions()
    return sorted(m for m, of in modules.items() if not known & {canonicalize_name(d) for d in of})


def extra(name, part):
    """What an optional part of a library depends on."""
    wanted = [Requirement(text) for text in importlib.metadata.requires(name) or []]
    return [r.name for r in wanted if r.marker is not None and r.marker.evaluate({"extra": part})]


# Commands one after the other, without some modules; prints what each says, and where the package is from.
COMMANDS = """
import contextlib, io, json, sys
from importlib.machinery import PathFinder
lacking, commands = json.load(sys.stdin)
class Installed(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.split(".")[0] in lacking else super().find_spec(name, path, target)
sys.meta_path[sys.meta_path.index(PathFinder)] = Installed
import rarefire
from rarefire import cli, store
found = {"from": [rarefire.__file__, str(store.data_dir())], "said": []}
for arguments in commands:
    sys.argv = ["rarefire", *arguments]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.run()
        except SystemExit as ended:
            found["said"].append([ended.code, out.getvalue(), err.getvalue()])
json.dump(found, sys.stdout)
"""


def test_from_the_wheel_every_command_for_own_data_works_without_a_clone(program, tmp_path, rng):
    """With what the package itself depends on and no more; recorded results come from inside it."""
    embedding = np.maximum(rng.normal(size=(20, 9)) - 0.5, 0)
    embedding[:4, :5] = 0
    np.save(tmp_path / "E.npy", embedding)
    zarr.create_array(str(tmp_path / "E.zarr"), data=embedding)
    (tmp_path / "rows.txt").write_text("0\n1\n2\n3\n")
    (tmp_path / "images").mkdir()
    for i in range(3):
        tile = rng.integers(0, 256, size=(64, 64, 3), dtype=np.uint8)
        Image.fromarray(tile).save(tmp_path / "images" / f"{i}.png")
    network = networks.build("squeezenet1_0", input_shape=(3, 64, 64))
    torch.save(network.state_dict(), tmp_path / "w.pth")
    (tmp_path / "book").mkdir()
    (tmp_path / "book" / "_toc.yml").write_text("root: index\n")
    squeezenet = "--network squeezenet1_0 --weights w.pth --size 64 --layer features"
    works = [
        "--version",
        "poz E.npy --out poz.csv",
        "curve E.npy --out curve.csv --plot curve.svg",
        "ghosts E.npy --category rows.txt --out ghosts.csv --read read.csv",
        "explore E.npy --out page.html",
        f"embed images --out F.npy --names names.txt {squeezenet}",
        "record error-rates",
        "record people-across",
        "record people-by-class",
    ]
    fails = {
        "book": "holds no _toc.yml: run this in a clone of the book",
        "book book": "this needs yaml, which is not installed: pip install 'rarefire[book]'",
        "poz E.zarr --out z.csv": "to read zarr stores: pip install 'rarefire[scale]'",
        "curve E.npy --scheduler local --out z.csv": "a cluster needs Dask: pip install 'rarefire[scale]'",
    }
    absent = lacking()
    assert {"yaml", "dask", "distributed", "zarr", "papermill", "nbformat", "pytest", "jupyterlab"} <= set(
        absent
    )
    assert not {"rarefire", "torch", "numpy", "pandas", "filelock", "IPython", "typer"} & set(absent)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment |= {"RAREFIRE_CACHE": str(tmp_path / "cache"), "RAREFIRE_MIRROR": ""}
    done = subprocess.run(
        [program.with_name("python"), "-c", COMMANDS],
        input=json.dumps([absent, [command.split() for command in [*works, *fails]]]),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    inside = program.parents[1].resolve()
    assert all(Path(path).is_relative_to(inside) for path in found["from"]), found["from"]
    said = dict(zip([*works, *fails], found["said"], strict=True))
    for command in works:
        assert (said[command][0], said[command][2]) == (0, ""), (command, said[command])
    for command, message in fails.items():
        code, out, err = said[command]
        assert (code, out) == (1, "")
        assert message in err
        assert err.count("\n") == 1

    assert said["--version"][1] == f"rarefire {PROJECT['version']}\n"
    assert (tmp_path / "names.txt").read_text() == "0.png\n1.png\n2.png\n"
    assert np.load(tmp_path / "F.npy").shape == (3, 512 * 3 * 3)
    made = {path.name for path in tmp_path.iterdir()}
    assert {"poz.csv", "curve.csv", "curve.svg", "ghosts.csv", "page.html"} <= made
    # What is recorded is shown at once: nothing is computed, and nothing put into the cache.
    rates, by_class = records.error_rates.known(), records.people_by_class.known("cifar10h")
    across = records.people_across.known().headline()
    across = across[
        ["set", "network", "estimate", "low", "high", "p", "holm", *("cosine", "silenced", "elsewhere")]
    ]
    for command, table in (
        ("error-rates", rates.summary()),
        ("people-by-class", by_class.changes()),
        ("people-across", across),
    ):
        text = table.to_string(index=False, float_format="%.3f")
        assert said[f"record {command}"][1].startswith(f"{text}\n")
    assert not (tmp_path / "cache").exists()


def test_the_installed_program_runs(program, tmp_path):
    done = subprocess.run([program, "--version"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"rarefire {PROJECT['version']}\n"), done.stderr
