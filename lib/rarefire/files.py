"""Arrays from the files of the field, told apart by their first bytes; nothing in a file is executed.

NumPy (``.npy``, ``.npz``), zarr, MATLAB (5 and 7.3), HDF5 (rsatoolbox's too), tensors of torch, text, and
what Meadows exports. Names of images are read where a file carries them. What cannot be read is refused with
the line that converts it.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rarefire import store, texts
from rarefire._engine.arguments import checked
from rarefire.errors import DataError, InputError, RarefireError, unknown
from rarefire.names import kept
from rarefire.texts import is_missing, is_number, lines, table, without_last

__all__ = ["Found", "address", "is_text", "is_zarr", "n_images", "read"]


@dataclass(frozen=True, eq=False)
class Found:
    """What was taken from a file.

    Attributes
    ----------
    values
        An array of numbers; of a ``.npy`` file or a zarr store one that is not read yet.
    names
        Of the images, where the file carries them, or one beside it (:func:`rarefire.names.beside`): as many
        as rows, or as an RDM has images.
    what
        What was taken for what, as a command says it; empty for a file that holds one array and no more.
    """

    values: Any
    names: tuple[str, ...] | None
    what: str


@dataclass
class _Content:
    """What a file holds, by name: arrays of numbers, and lists of words."""

    kind: str
    numbers: dict[str, Any]
    words: dict[str, tuple[str, ...]]


@checked
def read(path: str | Path, *, array: str | None = None) -> Found:
    """An array from a file, with the names of its images where there are any.

    Parameters
    ----------
    path
        ``.npy``, or a zarr store, which may be at an :func:`address` (neither is read into memory);
        ``.npz``; MATLAB, version 5 or 7.3; HDF5;
        tensors that ``torch.save`` wrote; text, with or without names above and before the numbers; or an
        export of Meadows (``.mat``, ``.json``), whose participants are stacked. Extensions do not matter.
    array
        Which one, by its name, where there are several.

    Raises
    ------
    DataError
        If there is no such file, or it cannot be read; the message says what converts it.
    InputError
        If it holds several arrays and none is named.
    """
    path = Path(path)
    kind = _kind(path)
    if kind == "zarr":
        return _beside(_zarr(path, array), path)
    if kind == "npy":
        if array is not None:
            raise InputError(f"{path.name} holds one array, without a name; leave {array!r} out.")
        return _beside(Found(_npy(path), None, ""), path)
    if kind in _REFUSED:
        raise DataError(_refusal(path, kind))
    try:
        content = _READERS[kind](path)
    except (DataError, InputError):
        raise
    except MemoryError as error:
        raise DataError(f"{path} does not fit into memory; save the array alone, as .npy.") from error
    except Exception as error:  # damaged files fail in as many ways as there are libraries that read them
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path} cannot be read as {_TITLES[kind]}: {reason}. {_ADVICE[kind]}") from error
    return _beside(_taken(content, path, array), path)


def address(path: str | Path) -> str | None:
    """The address that a path is, as fsspec takes it (``s3://bucket/E.zarr``); None for one of this machine.

    Paths lose a slash of an address; it is given back.
    """
    text = str(path)
    if not re.match(rf"({_SCHEME}::)*{_SCHEME}:/", text) or os.path.exists(text):
        return None
    return re.sub(rf"({_SCHEME}):/(?!/)", lambda m: f"{m[1]}:{'//' if m[1] in _FILE else '/'}/", text)


_SCHEME, _FILE = r"[a-z][a-z0-9+.\-]+", ("file", "local")


def is_zarr(path: str | Path) -> bool:
    """Whether a path is an :func:`address`, or leads to a folder that a zarr store is in."""
    path = Path(path)
    return address(path) is not None or any((path / mark).exists() for mark in _MARKS)


_MARKS = ("zarr.json", ".zarray", ".zgroup")


def is_text(path: str | Path) -> bool:
    """Whether a file is read as text; a pipe always is."""
    path = Path(path)
    return path.is_fifo() or (path.is_file() and _kind(path) == "text")


def n_images(pairs: int) -> int | None:
    """Of how many images there are so many pairs; None where no number of images has as many."""
    n = (1 + math.isqrt(1 + 8 * pairs)) // 2
    return n if n >= 2 and n * (n - 1) // 2 == pairs else None


# --- what kind of file it is ---------------------------------------------------------------------

_HDF = b"\x89HDF\r\n\x1a\n"
_LEGACY_TORCH = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # torch.save before its files were archives


def _kind(path: Path) -> str:
    """What a file is, by its first bytes; an extension counts only where these say nothing."""
    if path.is_dir() or address(path) is not None:
        return "zarr"
    with store.check_file(path).open("rb") as file:
        start = file.read(4096)
    if start[:6] == b"\x93NUMPY":
        return "npy"
    if start[:2] == b"PK":
        return _archive(path)
    # A file may begin with a block of another program's; MATLAB's is of 512 bytes.
    if any(start[at : at + 8] == _HDF for at in (0, 512, 1024, 2048)):
        return "hdf"
    if start[:10] == b"MATLAB 5.0":
        return "mat"
    if start.startswith(_LEGACY_TORCH):
        return "torch"
    if start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04\x05" and len(start) > 1:
        return "pickle"
    if start[:4] == b"PAR1":
        return "parquet"
    if path.suffix.lower() in (".rds", ".rdata", ".rda"):
        return "r"
    if start[:2] == b"\x1f\x8b":
        return "gzip"
    if start[8:9] == b"{" and 0 < int.from_bytes(start[:8], "little") < 10**8:
        return "safetensors"
    if path.suffix.lower() == ".mat" and b"\0" in start:
        return "mat"  # of version 4
    if start[:8] == b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1":
        return "excel"
    if start.startswith(b"# Created by Octave"):
        return "octave"
    wide = start[:2] in (b"\xff\xfe", b"\xfe\xff") or texts.wide(start)  # text of 16 bits
    if b"\0" in start and not wide:
        return "binary"
    if start.lstrip()[:1] in (b"{", b"["):
        return "json"
    return "text"


def _archive(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError(f"{path} is a damaged archive: {error}. Replace it by a whole copy.") from error
    if any(name.endswith("data.pkl") for name in names):
        return "torch"
    if any(name.startswith("xl/") for name in names):
        return "excel"
    return "npz" if names and all(name.endswith(".npy") for name in names) else "zip"


_TITLES = {
    "npz": "NumPy's archive of arrays",
    "mat": "a MATLAB file",
    "hdf": "an HDF5 file",
    "torch": "tensors",
    "json": "JSON",
    "text": "a matrix of numbers",
}
_ADVICE = {
    "npz": "Save it again with numpy.savez, numbers and text only.",
    "mat": "In MATLAB: save('E.mat', 'E').",
    "hdf": "Replace it by a whole copy.",
    "torch": "Only tensors are read: torch.save(features.cpu(), 'E.pt').",
    "json": "Save it as .csv or .npy.",
    "text": "Expected a line for each image, numbers apart by commas, tabs or spaces.",
}
_PYTHON = 'python -c "{}"'
#: What is not read: what it is, and what makes another file of it.
_REFUSED = {
    "pickle": (
        "a pickle, which can run code when it is opened",
        "If you trust it: "
        + _PYTHON.format("import numpy, pickle; numpy.save('{stem}.npy', pickle.load(open('{name}', 'rb')))"),
    ),
    "parquet": (
        "a Parquet file",
        _PYTHON.format("import pandas; pandas.read_parquet('{name}').to_csv('{stem}.csv')"),
    ),
    "excel": (
        "an Excel file",
        "Save it as CSV, or: "
        + _PYTHON.format("import pandas; pandas.read_excel('{name}', index_col=0).to_csv('{stem}.csv')"),
    ),
    "r": ("an R file", "Rscript -e \"write.csv(as.matrix(readRDS('{name}')), '{stem}.csv')\""),
    "gzip": ("compressed", "gunzip -k '{name}'"),
    "zip": ("an archive of other files", "unzip '{name}', and name the file inside."),
    "safetensors": (
        "a safetensors file",
        _PYTHON.format(
            "import numpy; from safetensors.numpy import load_file; "
            "numpy.savez('{stem}.npz', **load_file('{name}'))"
        ),
    ),
    "octave": ("Octave's own text", "In Octave: save -v7 {stem}.mat E"),
    "binary": (
        "a binary file of a kind that is not known here",
        "Read are .npy, .npz, zarr, .mat, .h5, .pt and text: numpy.save('{stem}.npy', array) in Python.",
    ),
}


def _refusal(path: Path, kind: str) -> str:
    what, line = _REFUSED[kind]
    # Names that a shell or Python would take apart are not put into a line that is to be run.
    name = path.name if re.fullmatch(r"[\w.,+=@ -]+", path.name) else f"FILE{path.suffix}"
    return f"{path} is {what}: it is not read. {line.format(name=name, stem=Path(name).stem)}"


# --- what it holds -------------------------------------------------------------------------------


def _npy(path: Path) -> Any:
    try:
        with np.errstate(over="ignore"):  # sizes that a header makes up
            return np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a damaged header is Python that fails in as many ways
        short = str(error).startswith("mmap length")
        reason = "it holds less than its header says; replace it by a whole copy" if short else error
        raise DataError(f"{path} cannot be read as a .npy array of numbers: {reason}") from error


def _zarr(path: Path, name: str | None) -> Found:
    """An array of a zarr store, and the names of its rows: its attribute ``names``."""
    place = address(path)
    if place is None and any(path.glob(".*.part.json")):
        raise DataError(f"{path} is not finished: run the command that writes it again.")
    if place is None and not is_zarr(path):
        store.check_file(path)  # which says that it is a folder
    try:
        import zarr
    except ImportError as error:
        what = f"{path} is a folder" if place is None else f"{place} is an address"
        raise DataError(f"{what}; to read zarr stores: pip install 'rarefire[scale]'.") from error
    try:
        array = zarr.open(place or str(path), mode="r")
        if not hasattr(array, "shape"):
            array = _inside(array, path, name)
        elif name is not None:
            raise InputError(f"{path.name} holds one array, without a name; leave {name!r} out.")
        names = array.attrs.get("names")
    except RarefireError:
        raise
    except ImportError as error:  # fsspec says what a kind of address needs
        raise DataError(f"{place} cannot be reached: {store.reason(error)}.") from error
    except Exception as error:  # stores fail in as many ways as there are kinds of addresses
        if place is not None and isinstance(error, FileNotFoundError):
            raise DataError(f"there is no zarr array at {place}.") from error
        raise DataError(f"{place or path} is not a zarr array: {store.reason(error)}") from error
    words = _words(names)
    fitting = words is not None and array.shape[:1] == (len(words),) == (len(set(words)),)
    return Found(array, words if fitting else None, "")


def _inside(group: Any, path: Path, name: str | None) -> Any:
    """One of the arrays of a zarr group: the one that is named, or the only one."""
    known = sorted(found for found, _ in group.arrays())
    if not known:
        raise DataError(f"{path} is a zarr group that holds no array.")
    if name is None and len(known) != 1:
        raise InputError(
            f"{path.name} is a zarr group of {len(known)} arrays, {', '.join(known[:10])}. "
            "Name one with --array (array=)."
        )
    if name is not None and name not in known:
        raise unknown("array", name, known)
    return group[name or known[0]]


def _sorted_out(kind: str, found: Mapping[str, Any]) -> _Content:
    """Arrays of numbers and lists of words, among what a file holds by name."""
    content = _Content(kind, {}, {})
    for name, value in found.items():
        words = _words(value)
        if words is not None:
            content.words[name] = words
        elif getattr(getattr(value, "dtype", None), "kind", "") in "fiubc" and value.ndim and value.size > 1:
            content.numbers[name] = value
    return content


def _words(value: Any) -> tuple[str, ...] | None:
    """A list of words, however it is kept; None for anything else."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "O":  # MATLAB's cells: arrays of one word each
        value = [
            item.item() if isinstance(item, np.ndarray) and item.size == 1 else item for item in value.flat
        ]
    if isinstance(value, np.ndarray):
        value = value.ravel().tolist() if value.dtype.kind in "US" and value.ndim else None
    if not isinstance(value, list | tuple) or not value:
        return None
    words = [item.decode("utf-8", "replace") if isinstance(item, bytes) else item for item in value]
    return tuple(word.strip() for word in words) if all(isinstance(word, str) for word in words) else None


def _npz(path: Path) -> _Content:
    found = dict[str, Any]()
    with np.load(path, allow_pickle=False) as archive:
        for name in archive.files:
            try:
                found[name] = archive[name]
            except ValueError as error:
                if "pickle" not in str(error).lower():
                    raise
    content = _sorted_out("NumPy", found)
    if not content.numbers and len(found) < len(zipfile.ZipFile(path).namelist()):
        raise ValueError("its arrays are Python objects, which are pickles")
    return content


def _mat(path: Path) -> _Content:
    """Read by a process of its own, for a damaged file can crash what reads it (SciPy 1.17 does)."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "content.npz"
        done = subprocess.run(
            [sys.executable, "-c", _READ_MAT, str(path), str(place)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            capture_output=True,
            text=True,
            errors="replace",
        )
        if done.returncode < 0:
            raise ValueError("it crashes what reads it")
        if done.returncode:
            raise ValueError(done.stderr.strip().rpartition("\n")[2])
        with np.load(place, allow_pickle=False) as archive:
            names = json.loads(archive["names"].tobytes())
            numbers = {name: archive[f"number {i}"] for i, name in enumerate(names["numbers"])}
        return _Content("MATLAB", numbers, {name: tuple(words) for name, words in names["words"].items()})


_READ_MAT = "import sys; from rarefire.files import _write_mat; _write_mat(*sys.argv[1:])"


def _write_mat(path: str, place: str) -> None:
    """What a MATLAB file holds, as plain arrays and words."""
    from scipy.io import loadmat

    found = dict[str, Any]()
    for name, value in loadmat(path).items():
        if not name.startswith("__"):
            found |= _fields(name, value)
    content = _sorted_out("MATLAB", found)
    names = json.dumps({"numbers": list(content.numbers), "words": content.words}).encode()
    arrays: dict[str, Any] = {f"number {i}": value for i, value in enumerate(content.numbers.values())}
    np.savez(place, names=np.frombuffer(names, np.uint8), **arrays)


def _fields(name: str, value: Any) -> dict[str, Any]:
    """What a MATLAB variable holds: itself; the fields of a structure; those of several, stacked."""
    if not isinstance(value, np.ndarray) or value.dtype.names is None:
        return {name: value}
    found = dict[str, Any]()
    for field in value.dtype.names:
        each = list(value[field].flat)
        if len(each) == 1:
            found |= _fields(f"{name}.{field}", each[0])
        elif len({(one.shape, one.dtype.kind in "fiub") for one in each}) == 1 and each[0].size > 1:
            found[f"{name}.{field}"] = np.stack(each)
    return found


def _hdf(path: Path) -> _Content:
    try:
        import h5py
    except ImportError as error:
        raise DataError(
            f"{path} is an HDF5 file (MATLAB writes them from version 7.3 on); to read it: "
            "pip install 'rarefire[files]'."
        ) from error
    found = dict[str, Any]()
    with path.open("rb") as opened, h5py.File(opened, "r") as file:
        opened.seek(0)
        from_matlab = opened.read(10) == b"MATLAB 7.3"

        def visit(name: str, item: Any) -> None:
            for key, value in item.attrs.items():
                if key not in ("MATLAB_class", "H5PATH"):
                    found[f"{name}/{key}"] = list(value) if isinstance(value, np.ndarray) else value
            if isinstance(item, h5py.Dataset) and not name.startswith("#") and item.shape is not None:
                found[name] = _dataset(h5py, file, item, from_matlab)

        file.visititems(visit)
    return _sorted_out("MATLAB 7.3" if from_matlab else "HDF5", found)


def _dataset(h5py: Any, file: Any, item: Any, from_matlab: bool) -> Any:
    """A data set of HDF5; MATLAB keeps arrays with their axes the other way round, and words as numbers."""
    kind = item.attrs.get("MATLAB_class", b"")
    if h5py.check_string_dtype(item.dtype) is not None:
        return np.asarray(item).ravel().tolist()
    if kind == b"cell" and h5py.check_ref_dtype(item.dtype) is h5py.Reference:
        cells = (file[reference] for reference in np.asarray(item).T.flat)
        return ["".join(map(chr, cell[()].T.ravel())) if cell.dtype.kind in "ui" else None for cell in cells]
    if kind == b"char":
        return ["".join(map(chr, row)) for row in np.asarray(item).T]
    if item.dtype.kind not in "fiubc":
        return None
    return np.asarray(item).T if from_matlab or kind else np.asarray(item)


def _torch(path: Path) -> _Content:
    import torch

    loaded = torch.load(path, map_location="cpu", weights_only=True)
    return _sorted_out("torch", dict(_tensors("", loaded)))


def _tensors(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    import torch

    if isinstance(value, torch.Tensor):
        dense = value.detach().to_dense() if value.layout != torch.strided else value.detach()
        yield name, (dense.float() if dense.dtype == torch.bfloat16 else dense).numpy()
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _tensors(f"{name}.{key}".lstrip("."), inner)
    elif isinstance(value, list | tuple):
        if _words(value) is not None:
            yield name, value
        else:
            for i, inner in enumerate(value):
                yield from _tensors(f"{name}.{i}".lstrip("."), inner)


def _json(path: Path) -> _Content:
    """Meadows' tree of one participant's tasks; or a list of lists of numbers."""
    tree = json.loads(store.read_text(path))
    if isinstance(tree, list) and any(isinstance(line, dict) for line in tree):
        raise ValueError("it is a list of records, as jsPsych keeps them: save them as .csv")
    if isinstance(tree, list):
        return _sorted_out("JSON", {"": np.array(tree, dtype=np.float64)})
    found = dict[str, Any]()
    for i, task in enumerate(tree.get("tasks", [])):
        if isinstance(task, dict) and "rdm" in task and "stimuli" in task:
            found[f"rdmutv_{i + 1}"] = np.array(task["rdm"], dtype=np.float64)
            found[f"stimuli_{i + 1}"] = [str(stimulus["name"]) for stimulus in task["stimuli"]]
    if not found:
        raise ValueError(
            "it is no list of lists of numbers, and no tree of Meadows with an arrangement in it"
        )
    return _sorted_out("Meadows", found)


# --- text ----------------------------------------------------------------------------------------

# What a column of names may be called that stands before the numbers.
_NAMING = re.compile(
    r"unnamed: ?0|index|(image|img|item|stim|stimulus|file|picture|object|concept)?[ _]?(id|name|path|file)?",
    re.IGNORECASE,
)


def _text(path: Path) -> _Content:
    rows = without_last(table(store.read_text(path, kind="a matrix of numbers"), path).rows)
    if not rows:
        raise ValueError("it is empty")
    width, header = len(rows[0]), list[str]()
    counted = [[str(i + start) for i in range(width)] for start in (0, 1)]
    corner = rows[0][0] in ("", "Unnamed: 0")
    if (
        not all(is_number(cell) for cell in rows[0][1:])
        or rows[0] in counted  # as pandas numbers columns
        or (corner and rows[0][1:] in [count[:-1] for count in counted])
    ):
        header, rows = rows[0], rows[1:]
    if not rows:
        raise ValueError("it has one line, of names")
    named = (
        len(header) == len(rows[0]) - 1  # as R writes them
        or not all(is_number(row[0]) for row in rows)
        or (bool(header) and _NAMING.fullmatch(header[0]) is not None and len(header) > 1)
    )
    names = tuple(row[0] for row in rows) if named else None
    numbers = [row[1:] for row in rows] if named else rows
    lengths = {len(row) for row in numbers}
    if lengths == {0}:
        raise ValueError("it holds no numbers")
    if len(lengths) > 1:
        raise ValueError(f"its rows have {', '.join(map(str, sorted(lengths)))} entries")
    for i, row in enumerate(numbers):
        bad = next((j for j, cell in enumerate(row) if not is_number(cell)), None)
        if bad is not None:
            raise ValueError(f"row {i + 1}, column {bad + 1} of the numbers is {row[bad]!r}")
    values = np.array([[np.nan if is_missing(cell) else float(cell) for cell in row] for row in numbers])
    counts = [tuple(str(i + start) for i in range(len(rows))) for start in (0, 1)]
    content = _Content("text", {"": values}, {})
    if names is not None and names not in counts:
        content.words["first column"] = names
    return content


_READERS = {"npz": _npz, "mat": _mat, "hdf": _hdf, "torch": _torch, "json": _json, "text": _text}


# --- what is taken -------------------------------------------------------------------------------

#: Arrays that programs of the field name so: rsatoolbox's RDMs and data sets.
_KNOWN = ("dissimilarities", "measurements")
_UTV = "rdmutv"  # Meadows' upper triangles


def _taken(content: _Content, path: Path, array: str | None) -> Found:
    numbers = content.numbers
    if not numbers:
        raise DataError(f"{path} holds no array of numbers.")
    if array is not None and array not in numbers:
        raise unknown("array", array, list(numbers), hint=f"They are in {path.name}.")
    if array is None:
        arranged = [name for name in numbers if name.split("_")[0] == _UTV]
        if arranged:
            return _arranged(content, path, arranged)
        known = [name for name in _KNOWN if name in numbers]
        if len(numbers) > 1 and len(known) != 1:
            listed = ", ".join(f"{name} {_size(value)}" for name, value in list(numbers.items())[:10])
            more = f", … ({len(numbers)} in all)" if len(numbers) > 10 else ""
            raise InputError(
                f"{path.name} holds several arrays: {listed}{more}. Say which with --array "
                "(--human-array for people; array= in Python)."
            )
        array = known[0] if known else next(iter(numbers))
    values = numbers[array]
    source, names = _names(content, values)
    called = f"{array!r}, " if array else ""
    said = f"; names of images from {source!r}" if names else ""
    return Found(values, names, f"{path.name}: {called}{_size(values)} ({content.kind}){said}.")


def _size(values: Any) -> str:
    return " × ".join(f"{length:,}" for length in values.shape)


def _lengths(values: Any) -> set[int | None]:
    """How many images an array can be of: as rows, as an RDM, as several, or condensed."""
    shape = values.shape
    if not shape:
        return set()
    return {shape[0], shape[-1] if len(shape) == 3 else None, n_images(shape[-1]), n_images(shape[0])}


def _beside(found: Found, path: Path) -> Found:
    """With the names of images in a file beside it, where there is one."""
    listed = kept(path)
    if listed is None:
        return found
    names = lines(store.read_text(listed))
    if len(names) not in _lengths(found.values):
        raise InputError(
            f"{listed.name} names {len(names):,} images, {path.name} is {_size(found.values)}. Write it "
            "again with the array, or remove it."
        )
    if found.names is not None and list(found.names) != names:
        raise InputError(
            f"the names of images in {path.name} and in {listed.name} differ: remove one of them."
        )
    return replace(found, names=tuple(names))


def _names(content: _Content, values: Any) -> tuple[str, tuple[str, ...] | None]:
    """The one list of different words that is as long as there are images."""
    lengths = _lengths(values)
    fitting = {
        source: words
        for source, words in content.words.items()
        if len(words) in lengths and len(set(words)) == len(words)
    }
    telling = {s: w for s, w in fitting.items() if re.match(r"(pattern|obs)_descriptors/", s)} or {
        s: w for s, w in fitting.items() if re.search(r"stim|image|name|file|cond|item", s, re.IGNORECASE)
    }
    chosen = telling if len(fitting) > 1 else fitting
    return next(iter(chosen.items())) if len(chosen) == 1 else ("", None)


def _arranged(content: _Content, path: Path, arrays: list[str]) -> Found:
    """What Meadows exports: an upper triangle for each participant or task, all in the first one's order."""
    triangles, order = list[NDArray[Any]](), tuple[str, ...]()
    for array in arrays:
        values = np.atleast_2d(content.numbers[array])
        names = content.words.get(array.replace(_UTV, "stimuli", 1), content.words.get("stimuli"))
        n = n_images(values.shape[-1])
        if names is None or n != len(names):
            raise InputError(
                f"{path.name}: {array!r} is {_size(values)}, for {len(names or ())} stimuli. "
                "Export it from Meadows again, as 1D."
            )
        order = order or names
        if set(names) != set(order):
            raise InputError(
                f"{path.name}: the participants of {arrays[0]!r} and {array!r} saw different images. "
                "Name one with --array (array=)."
            )
        place = [names.index(name) for name in order]
        pairs = np.zeros((n, n), dtype=np.intp)
        upper = np.triu_indices(n, k=1)
        pairs[upper] = np.arange(len(upper[0]))
        pairs += pairs.T
        triangles.append(values[:, pairs[np.ix_(place, place)][upper]])
    stack = np.concatenate(triangles)
    people = f"{len(stack)} upper triangle{'s' * (len(stack) > 1)} of {len(order)} images"
    said = f"{path.name}: {people} ({', '.join(map(repr, arrays[:4]))}{', …' * (len(arrays) > 4)}, Meadows)"
    return Found(stack[0] if len(stack) == 1 else stack, order, f"{said}; names of images from 'stimuli'.")
