"""Readers of RDMs, ratings and labels meet files that nobody wrote: right, or refused in a sentence.

A permuted copy with names in another spelling gives the same numbers to 1e-12. Names, separators, encodings
and shapes are drawn by hypothesis; what fails is shrunk to the shortest file that fails.
"""

import contextlib
import io
import string
import unicodedata
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from rarefire import files, names, ratings, rdm, texts
from rarefire.cli import common
from rarefire.errors import RarefireError, RarefireWarning

EXAMPLES = 150
settings.register_profile(
    "tests",
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("tests")

#: Words that files put where numbers, names or nothing may be meant.
TRAPS = [
    "1",
    "01",
    "1.5",
    "1e5",
    "nan",
    "NA",
    "N/A",
    "-",
    ".",
    "None",
    "inf",
    "V1",
    "3,5",
    "a,b",
    'a"b',
    "a;b",
    "#",
    "# a",
]
LETTERS = string.ascii_letters + string.digits + " _-éüßÅ漢,;'\"()."
plain_names = st.lists(
    st.text(string.ascii_lowercase, min_size=1, max_size=6), min_size=4, max_size=7, unique=True
)
any_names = st.lists(
    st.one_of(st.text(LETTERS, min_size=1, max_size=8).map(str.strip).filter(bool), st.sampled_from(TRAPS)),
    min_size=3,
    max_size=7,
    unique=True,
)
seeds = st.integers(0, 2**32 - 1)


@contextlib.contextmanager
def folder():
    with TemporaryDirectory() as made, warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", RarefireWarning)  # what is taken for what is said by these
        yield Path(made)


def matrix(n, rng):
    values = np.round(rng.random((n, n)) + 0.5, 6)
    return np.triu(values, 1) + np.triu(values, 1).T


class Written:
    """A way to write a table: separator, decimal sign, quotes, ends of lines, encoding."""

    def __init__(self, separator, comma, end, encoding, blank, tail):
        self.separator, self.end, self.encoding, self.blank = separator, end, encoding, blank
        self.comma = comma and separator != ","
        self.tail = separator * tail

    def cell(self, value):
        if isinstance(value, float):
            if np.isnan(value):
                return self.blank
            return f"{value:.6f}".replace(".", "," if self.comma else ".")
        if any(sign in value for sign in (self.separator, '"', "\n", "\r")):
            return '"' + value.replace('"', '""') + '"'
        return value

    def bytes(self, rows):
        lines = [self.separator.join(map(self.cell, row)) + self.tail for row in rows]
        return (self.end.join(lines) + self.end).encode(self.encoding, "replace")


written = st.builds(
    Written,
    st.sampled_from([",", ";", "\t"]),
    st.booleans(),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le"]),
    st.sampled_from(["", "NaN", "NA", "NULL", "None", ".", "#N/A"]),
    st.booleans(),
)
#: Where the names stand, and which half of the matrix.
layouts = st.tuples(
    st.sampled_from(["both", "above", "before"]), st.sampled_from(["whole", "lower", "upper"])
)


def table_of(values, named, layout):
    where, half = layout
    n = len(values)
    shown = values.copy()
    if half != "whole":
        shown[np.triu_indices(n, 1) if half == "lower" else np.tril_indices(n, -1)] = np.nan
    rows = [[float(cell) for cell in row] for row in shown]
    if where != "above":
        rows = [[name, *row] for name, row in zip(named, rows, strict=True)]
    if where != "before":
        rows = [["", *named] if where == "both" else list(named), *rows]
    return rows


def respelled(name, how):
    if how == "folder":
        return f"in/{name}"
    if how == "extension":
        return f"{name}.png"
    if how == "form":
        return unicodedata.normalize("NFD", name)
    return name.swapcase() if how == "capitals" else name


def judged(path, own, n):
    """As the commands read people's RDM of an embedding's images."""
    found = files.Found(np.zeros((n, 2)), tuple(own), "")
    with contextlib.redirect_stdout(io.StringIO()):
        return common.judged(path, Path("E.npy"), found, similarity=False, by_position=False, array=None)


@given(plain_names, seeds, written, layouts, st.sampled_from(["", "folder", "extension", "form", "capitals"]))
def test_a_permuted_and_renamed_rdm_is_the_same(named, seed, way, layout, how):
    rng = np.random.default_rng(seed)
    values, order = matrix(len(named), rng), rng.permutation(len(named))
    assume(not names.are_numbers(named))
    assume(not any(texts.is_number(name) for name in named))
    theirs = [respelled(named[i], how) for i in order]
    with folder() as place:
        path = place / "people.csv"
        path.write_bytes(way.bytes(table_of(values[np.ix_(order, order)], theirs, layout)))
        found, said = judged(path, named, len(named))
    np.testing.assert_allclose(found, rdm.condensed(values), rtol=1e-12, atol=0)
    assert said.startswith("aligned by name")


@given(any_names, seeds, written, layouts, st.sampled_from(["", "extension", "form", "capitals"]))
def test_an_rdm_with_names_of_any_kind_is_right_or_refused(named, seed, way, layout, how):
    rng = np.random.default_rng(seed)
    values, order = matrix(len(named), rng), rng.permutation(len(named))
    assume(how != "capitals" or len({name.casefold() for name in named}) == len(named))
    theirs = [respelled(named[i], how) for i in order]
    with folder() as place:
        path = place / "people.csv"
        path.write_bytes(way.bytes(table_of(values[np.ix_(order, order)], theirs, layout)))
        try:
            found, _ = judged(path, named, len(named))
        except RarefireError:
            return
    np.testing.assert_allclose(found, rdm.condensed(values), rtol=1e-12, atol=0)


@given(
    plain_names,
    seeds,
    written,
    st.permutations(["image1", "image2", "rating", "subject", "rt"]),
    st.booleans(),
)
def test_permuted_ratings_are_the_same(named, seed, way, columns, people):
    rng = np.random.default_rng(seed)
    assume(not any(texts.is_missing(name) for name in named))
    upper = list(zip(*np.triu_indices(len(named), 1), strict=True))
    if not people:
        columns = [column for column in columns if column != "subject"]
    lines = []
    for who in ("p1", "p2", "p3")[: 3 if people else 1]:
        for k, (i, j) in enumerate(upper):
            cells = {"image1": named[i], "image2": named[j], "rating": round(float(rng.normal()), 6)}
            lines.append(cells | {"subject": who, "rt": float(k)})
    turned = []
    for k in rng.permutation(len(lines)):
        line = dict(lines[k])
        if rng.random() < 0.5:
            line["image1"], line["image2"] = line["image2"], line["image1"]
        line["image1"], line["image2"] = (f"{line[c]}.jpg" for c in ("image1", "image2"))
        turned.append(line)
    with folder() as place:
        found = []
        for name, rows in (("a.csv", lines), ("b.csv", turned)):
            path = place / name
            path.write_bytes(way.bytes([columns, *([row[c] for c in columns] for row in rows)]))
            found.append(ratings.read(path))
    assert [name.removesuffix(".jpg") for name in found[1].names] == list(found[0].names)
    np.testing.assert_allclose(found[1].human, found[0].human, rtol=1e-12, atol=1e-12)
    assert (found[0].subjects is None) == (not people)


@given(plain_names, seeds, written, st.booleans())
def test_permuted_labels_are_the_same(named, seed, way, header):
    rng = np.random.default_rng(seed)
    assume(not any(texts.is_missing(name) for name in named))
    kinds = [("cat", "dog", "été")[k] for k in rng.integers(0, 3, len(named))]
    order = rng.permutation(len(named))
    rows = [["image", "category"]] * header + [[named[i], kinds[i]] for i in order]
    own = tuple(f"{name}.png" for name in named)
    with folder() as place:
        path = place / "labels.csv"
        way.tail = ""
        path.write_bytes(way.bytes(rows))
        got, said = common.categories_of(path, Path("E.npy"), own, len(named), by_position=False)
    assert got == kinds
    assert said.startswith("aligned by name, whatever the extension (image is ")


READERS = {
    "rdm": lambda path: rdm.read(path),
    "ratings": lambda path: ratings.read_either(path),
    "files": lambda path: files.read(path),
    "labels": lambda path: common.categories_of(path, Path("E.npy"), tuple("abcd"), 4, by_position=False),
}
#: Text that looks like something: cells, separators and ends of lines, in any order.
scraps = st.lists(
    st.one_of(
        st.sampled_from(
            [*TRAPS, "image1", "image2", "image3", "rating", "subject", "response", "0", "1", "2.5", "-3"]
        ),
        st.sampled_from([",", ";", "\t", " ", "\n", "\r\n", '"', "\ufeff", "sep=;\n", "\u2028", "\v"]),
        st.text(max_size=3),
    ),
    max_size=60,
).map("".join)


@pytest.mark.parametrize("reader", READERS)
@given(content=st.one_of(st.binary(max_size=200), scraps.map(lambda text: text.encode("utf-8", "replace"))))
def test_any_file_is_read_or_refused(reader, content):
    with folder() as place:
        path = place / "x.csv"
        path.write_bytes(content)
        with contextlib.suppress(RarefireError):
            READERS[reader](path)


def stored(kind, place):
    """An RDM of six images as a file of a kind."""
    values, path = matrix(6, np.random.default_rng(0)), place / f"R.{kind}"
    if kind == "npy":
        np.save(path, values)
    elif kind == "npz":
        np.savez(path, rdm=values, names=np.array(list("abcdef")))
    elif kind == "mat":
        from scipy.io import savemat

        savemat(path, {"RDM": values, "names": np.array(list("abcdef"), dtype=object)})
    elif kind == "h5":
        import h5py

        with h5py.File(path, "w") as file:
            file["RDM"] = values
    elif kind == "pt":
        import torch

        torch.save({"RDM": torch.from_numpy(values)}, path)
    else:
        path.write_text("\n".join(",".join(f"{v:.6f}" for v in row) for row in values))
    return path.read_bytes()


WHOLE = {}


@pytest.mark.parametrize("kind", ["npy", "npz", "h5", "pt", "csv"])
@given(
    edits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8),
    cut=st.floats(0.05, 1),
)
@settings(max_examples=60)
def test_a_damaged_file_is_read_or_refused(kind, edits, cut):
    damage(kind, edits, cut)


@given(
    edits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=8),
    cut=st.floats(0.05, 1),
)
@settings(max_examples=6)
def test_a_damaged_file_of_matlab_is_read_or_refused(edits, cut):
    damage("mat", edits, cut)


def damage(kind, edits, cut):
    with folder() as place:
        content = bytearray(WHOLE.setdefault(kind, stored(kind, place)))
        for where, byte in edits:
            content[int(where * len(content))] = byte
        path = place / "x"
        path.write_bytes(content[: max(1, int(cut * len(content)))])
        for read in (files.read, rdm.read):
            with contextlib.suppress(RarefireError):
                np.asarray(getattr(read(path), "values", 0))
