"""Files of the field: every container gives the same numbers, or one sentence that says what to do."""

import gzip
import io
import itertools
import json
import pickle
import sys
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io
import torch
import zarr
from typer.testing import CliRunner

from rarefire import cli, files, ratings, rdm
from rarefire._engine import blocks
from rarefire.errors import DataError, InputError, UnknownNameError

NAMES = [f"img{i}" for i in range(1, 13)]


def run(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


@pytest.fixture
def embedding(rng):
    return np.maximum(rng.normal(size=(12, 7)), 0).astype(np.float32)


@pytest.fixture
def human(rng):
    """A square RDM of twelve images."""
    distances = rng.random((12, 12))
    return (distances + distances.T) * (1 - np.eye(12))


def matlab73(path, arrays, cells=None):
    """As MATLAB writes from version 7.3 on: axes the other way round, words as cells of numbers."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, values in arrays.items():
            file.create_dataset(name, data=np.asarray(values).T).attrs["MATLAB_class"] = np.bytes_("double")
        for name, words in (cells or {}).items():
            references = []
            for i, word in enumerate(words):
                one = file.create_dataset(
                    f"#refs#/{name}{i}", data=np.array([[ord(c)] for c in word], np.uint16)
                )
                one.attrs["MATLAB_class"] = np.bytes_("char")
                references.append([one.ref])
            file.create_dataset(name, data=np.array(references, dtype=h5py.ref_dtype))
            file[name].attrs["MATLAB_class"] = np.bytes_("cell")
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64")


def stored(kind, folder, name, values):
    """`values` in a file of a kind, under a name where it has names."""
    path = folder / f"{name}.{kind}"
    if kind == "npy":
        np.save(path, values)
    elif kind == "npz":
        np.savez(path, **{name: values})
    elif kind == "zarr":
        zarr.save_array(str(path), values)
    elif kind == "mat":
        scipy.io.savemat(path, {name: values})
    elif kind == "v73.mat":
        matlab73(path, {name: values})
    elif kind == "h5":
        with h5py.File(path, "w") as file:
            file[f"layers/{name}"] = values
    elif kind == "pt":
        torch.save(torch.from_numpy(values), path)
    elif kind == "legacy.pt":
        torch.save({name: torch.from_numpy(values)}, path, _use_new_zipfile_serialization=False)
    elif kind == "csv":
        np.savetxt(path, values, delimiter=",")
    elif kind == "pandas.csv":
        pd.DataFrame(values).to_csv(path)
    elif kind == "columns.csv":
        pd.DataFrame(values).to_csv(path, index=False)
    elif kind == "named.csv":
        pd.DataFrame(values, index=NAMES, columns=[f"f{i}" for i in range(values.shape[1])]).to_csv(path)
    elif kind == "tsv":
        np.savetxt(path, values, delimiter="\t", header="features")
    else:
        np.savetxt(path, values)
    return path


@pytest.mark.parametrize(
    "kind",
    [
        "npy",
        "npz",
        "zarr",
        "mat",
        "v73.mat",
        "h5",
        "pt",
        "legacy.pt",
        "csv",
        "pandas.csv",
        "columns.csv",
        "named.csv",
        "tsv",
        "txt",
    ],
)
def test_an_embedding_is_the_same_from_every_container(embedding, tmp_path, kind):
    path = stored(kind, tmp_path, "E", embedding)
    found = files.read(path)
    np.testing.assert_allclose(np.asarray(found.values), embedding, rtol=1e-6)
    assert found.names == (tuple(NAMES) if kind == "named.csv" else None)
    assert (found.what == "") == (kind in ("npy", "zarr"))
    assert files.is_text(path) == (kind[-3:] in ("csv", "tsv", "txt"))
    moved = path.rename(tmp_path / "without_extension")
    np.testing.assert_allclose(np.asarray(blocks.open_embedding(moved)), embedding, rtol=1e-6)
    done = run("poz", moved, "--out", tmp_path / "poz.csv")
    assert done.exit_code == 0, done.output
    expected = (embedding == 0).mean(axis=0)
    np.testing.assert_allclose(pd.read_csv(tmp_path / "poz.csv")["poz"], expected, atol=1e-12)
    if kind == "npy":
        assert isinstance(found.values, np.memmap)


def test_names_are_read_where_a_file_carries_them(embedding, tmp_path):
    scipy.io.savemat(tmp_path / "a.mat", {"features": embedding, "images": np.array(NAMES, dtype=object)})
    scipy.io.savemat(
        tmp_path / "b.mat", {"features": embedding, "images": np.array([f"{n:>9}" for n in NAMES])}
    )
    np.savez(tmp_path / "c.npz", E=embedding, file_names=NAMES, category=["cat"] * 6 + ["dog"] * 6)
    matlab73(tmp_path / "d.mat", {"E": embedding}, {"stimuli": NAMES})
    with h5py.File(tmp_path / "e.h5", "w") as file:
        file["features"], file["names"] = embedding, NAMES
    torch.save({"E": torch.from_numpy(embedding), "names": NAMES}, tmp_path / "f.pt")
    (tmp_path / "g.csv").write_text(
        "image_id,x,y\n" + "".join(f"{9 * i},{i},{2 * i}\n" for i in range(1, 13)), encoding="utf-8"
    )
    for path in sorted(tmp_path.iterdir())[:-1]:
        found = files.read(path)
        assert found.names == tuple(NAMES), path.name
        np.testing.assert_array_equal(found.values, embedding)
    assert "'E', 12 × 7 (MATLAB 7.3); names of images from 'stimuli'." in files.read(tmp_path / "d.mat").what
    numbered = files.read(tmp_path / "g.csv")  # a column of numbers that says it names images is no feature
    assert numbered.values.tolist() == [[i, 2 * i] for i in range(1, 13)]
    assert numbered.names == tuple(str(9 * i) for i in range(1, 13))


def test_of_several_arrays_one_is_named(embedding, tmp_path):
    np.savez(tmp_path / "two.npz", E=embedding, more=embedding[:, :3], n=np.array(3))
    with pytest.raises(
        InputError,
        match=r"two.npz holds several arrays: E 12 × 7, more 12 × 3. Say which with --array",
    ):
        files.read(tmp_path / "two.npz")
    np.testing.assert_array_equal(files.read(tmp_path / "two.npz", array="more").values, embedding[:, :3])
    with pytest.raises(UnknownNameError, match="no array 'mor'. There are: more, E. They are in two.npz"):
        files.read(tmp_path / "two.npz", array="mor")
    np.save(tmp_path / "one.npy", embedding)
    with pytest.raises(InputError, match="one.npy holds one array, without a name; leave 'E' out"):
        files.read(tmp_path / "one.npy", array="E")
    done = run("poz", tmp_path / "two.npz", "--array", "more", "--out", tmp_path / "poz.csv")
    assert done.stdout.startswith("two.npz: 'more', 12 × 3 (NumPy).\n3 features: ")


FORMS = ["square", "condensed", "row", "column", "triangle", "stack", "stack_last"]


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        *itertools.product(["npy", "npz", "mat", "v73.mat", "h5", "pt"], FORMS),
        *(("csv", form) for form in FORMS[:5]),  # text has two dimensions
    ],
)
def test_an_rdm_is_the_same_from_every_container_and_form(human, tmp_path, kind, form):
    upper = rdm.condensed(human)
    values = {
        "square": human,
        "condensed": upper,
        "row": upper[None],
        "column": upper[:, None],
        "stack": np.stack([human, human, human]),
        "stack_last": np.stack([human, human], axis=-1),
        "triangle": np.where(np.tri(12, dtype=bool), human, np.nan),
    }[form]
    path = stored(kind, tmp_path, "RDM", values)
    found = rdm.read(path)
    if form in ("stack", "stack_last"):
        assert f"RDMs of {3 if form == 'stack' else 2} people" in rdm.described(path)
        assert np.corrcoef(found, upper)[0, 1] == pytest.approx(1, abs=1e-12)
    else:
        assert "people" not in rdm.described(path)
        np.testing.assert_allclose(found, upper, rtol=1e-12)


def test_people_in_a_stack_are_people(human, tmp_path, rng):
    stack = human + rng.random((4, 12, 12)) * 0.3
    stack = (stack + stack.transpose(0, 2, 1)) * (1 - np.eye(12))
    np.savez(tmp_path / "people.npz", rdms=stack, stimuli=NAMES)
    given = ratings.read(tmp_path / "people.npz")
    upper = np.triu_indices(12, 1)
    np.testing.assert_allclose(given.subjects, stack[:, *upper])
    assert given.names == tuple(NAMES)
    mean = np.mean([(row - row.mean()) / row.std() for row in stack[:, *upper]], axis=0)
    assert np.corrcoef(given.human, mean)[0, 1] == pytest.approx(1, abs=1e-12)
    assert np.corrcoef(rdm.read(tmp_path / "people.npz"), mean)[0, 1] == pytest.approx(1, abs=1e-12)
    np.save(tmp_path / "E.npy", rng.random((12, 9)))
    done = run("curve", tmp_path / "E.npy", "--human", tmp_path / "people.npz", "--out", tmp_path / "c.csv")
    assert "people.npz: RDMs of 4 people, each brought to mean 0 and standard deviation 1" in done.stdout
    one = rdm.read_people(tmp_path / "people.npz")[0][2]
    np.testing.assert_allclose(one, stack[2][upper])


def test_what_is_no_rdm(tmp_path, rng):
    np.save(tmp_path / "seven.npy", rng.random(7))
    np.save(tmp_path / "lost.npy", rng.random((9, 10)))  # not nine people who judged five images
    np.savetxt(tmp_path / "lines.csv", rng.random((3, 66)), delimiter=",")
    for name, shape in {"seven.npy": r"\(7,\)", "lost.npy": r"\(9, 10\)", "lines.csv": r"\(3, 66\)"}.items():
        with pytest.raises(InputError, match=f"the RDM in {name} must be square; got {shape}"):
            rdm.read(tmp_path / name)
    assert [files.n_images(pairs) for pairs in (1, 3, 66, 67)] == [2, 3, 12, None]


def test_rsatoolbox_files(human, embedding, tmp_path):
    import rsatoolbox

    both = np.stack([rdm.condensed(human), rdm.condensed(human**2)])
    rsatoolbox.rdm.RDMs(
        both, pattern_descriptors={"conds": NAMES}, rdm_descriptors={"subject": ["a", "b"]}
    ).save(str(tmp_path / "rdms.hdf5"))
    found = files.read(tmp_path / "rdms.hdf5")
    np.testing.assert_allclose(found.values, both)
    assert found.names == tuple(NAMES)
    assert found.what == (
        "rdms.hdf5: 'dissimilarities', 2 × 66 (HDF5); names of images from 'pattern_descriptors/conds'."
    )
    assert "RDMs of 2 people" in rdm.described(tmp_path / "rdms.hdf5")
    rsatoolbox.data.Dataset(embedding, obs_descriptors={"stim": NAMES}).save(str(tmp_path / "data.hdf5"))
    found = files.read(tmp_path / "data.hdf5")
    np.testing.assert_array_equal(found.values, embedding)
    assert found.names == tuple(NAMES)


def test_meadows_participants_are_aligned_by_their_stimuli(human, tmp_path):
    """Each participant's stimuli come in an order of their own."""
    order = np.random.default_rng(1).permutation(12)
    upper = np.triu_indices(12, 1)
    scipy.io.savemat(
        tmp_path / "Meadows_x_v_v1_arrangement_1D.mat",
        {
            "rdmutv_brave_fox": human[upper][None],
            "stimuli_brave_fox": np.array(NAMES, dtype=object),
            "rdmutv_calm_owl": human[np.ix_(order, order)][upper][None],
            "stimuli_calm_owl": np.array([NAMES[i] for i in order], dtype=object),
        },
    )
    found = files.read(tmp_path / "Meadows_x_v_v1_arrangement_1D.mat")
    np.testing.assert_allclose(found.values, [human[upper]] * 2)
    assert found.names == tuple(NAMES)
    tree = {
        "tasks": [
            {"task": {"task_type": "info"}},
            {"stimuli": [{"name": n} for n in NAMES], "rdm": human[upper].tolist()},
        ]
    }
    (tmp_path / "tree.json").write_text(json.dumps(tree))
    found = files.read(tmp_path / "tree.json")
    np.testing.assert_array_equal(found.values, human[upper])
    assert found.names == tuple(NAMES)
    one = {"rdmutv": human[upper][None], "stimuli": np.array(NAMES[:5], dtype=object)}
    scipy.io.savemat(tmp_path / "few.mat", one)
    with pytest.raises(InputError, match="'rdmutv' is 1 × 66, for 5 stimuli. Export it from Meadows again"):
        files.read(tmp_path / "few.mat")


def test_a_matlab_structure(human, tmp_path):
    """As the RSA toolbox for MATLAB keeps RDMs: a structure with a field for each."""
    people = np.array([(human, "one"), (human**2, "two")], dtype=[("RDM", object), ("name", object)])
    scipy.io.savemat(tmp_path / "structures.mat", {"RDMs": people})
    found = files.read(tmp_path / "structures.mat")
    np.testing.assert_allclose(found.values, [human, human**2])
    assert found.what == "structures.mat: 'RDMs.RDM', 2 × 12 × 12 (MATLAB)."


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_nothing_in_a_file_is_executed(tmp_path):
    trap, sprung = Trap(tmp_path / "sprung"), tmp_path / "sprung"
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(trap))
    torch.save({"x": trap}, tmp_path / "b.pt")
    torch.save({"x": trap}, tmp_path / "c.pt", _use_new_zipfile_serialization=False)
    np.save(tmp_path / "d.npy", np.array([trap], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "e.npz", x=np.array([trap], dtype=object))
    for name in ("a.pkl", "b.pt", "c.pt", "d.npy", "e.npz"):
        for read in (files.read, rdm.read, ratings.read):
            with pytest.raises(DataError):
                read(tmp_path / name)
    assert not sprung.exists()


def zipped(member):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(member, "x")
    return content.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        (
            "E.pkl",
            pickle.dumps([1.0]),
            "is a pickle, which can run code when it is opened: it is not read. If you trust it: python -c "
            "\"import numpy, pickle; numpy.save('E.npy', pickle.load(open('E.pkl', 'rb')))\"",
        ),
        ("E.parquet", b"PAR1....", "pandas.read_parquet('E.parquet').to_csv('E.csv')"),
        ("E.xlsx", zipped("xl/workbook.xml"), "pandas.read_excel('E.xlsx', index_col=0).to_csv('E.csv')"),
        (
            "E.xls",
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0",
            "is an Excel file: it is not read. Save it as CSV, or:",
        ),
        ("E.rds", gzip.compress(b"X", mtime=0), "write.csv(as.matrix(readRDS('E.rds')), 'E.csv')"),
        ("E.csv.gz", gzip.compress(b"1,2", mtime=0), "gunzip -k 'E.csv.gz'"),
        ("E.zip", zipped("a.csv"), "unzip 'E.zip', and name the file inside."),
        ("E.safetensors", b"\x02\0\0\0\0\0\0\0{}", "numpy.savez('E.npz', **load_file('E.safetensors'))"),
        ("E.oct", b"# Created by Octave 9", "In Octave: save -v7 E.mat E"),
        ("E.bin", b"\x00\x01\x02\x03", "a binary file of a kind that is not known here"),
        ("E';x.pkl", pickle.dumps([1.0]), "pickle.load(open('FILE.pkl', 'rb'))"),
        ("E.npz", b"PK\x03\x04 broken", "is a damaged archive"),
        ("E.mat", b"MATLAB 5.0 MAT-file" + b"\0" * 200, "cannot be read as a MATLAB file"),
        ("E.h5", b"\x89HDF\r\n\x1a\n" + b"\0" * 99, "cannot be read as an HDF5 file"),
        ("E.csv", b"a,b\n1,2\n3,x\n", "row 2, column 2 of the numbers is 'x'"),
        ("E.csv", b"", "it is empty"),
        ("E.json", b'{"a": 1}', "no tree of Meadows with an arrangement in it"),
    ],
)
def test_what_is_not_read_says_what_converts_it(tmp_path, name, content, sentence):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as error:
        files.read(tmp_path / name)
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_more_than_tensors_is_refused(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "network.pt")
    with pytest.raises(DataError, match=r"Only tensors are read: torch.save\(features.cpu\(\), 'E.pt'\)"):
        files.read(tmp_path / "network.pt")
    torch.save({"epoch": 3, "name": "x"}, tmp_path / "none.pt")
    with pytest.raises(DataError, match=r"none.pt holds no array of numbers"):
        files.read(tmp_path / "none.pt")


def test_tensors_as_they_come(tmp_path):
    values = torch.arange(12, dtype=torch.float32).reshape(4, 3).requires_grad_()
    torch.save(values.to(torch.bfloat16), tmp_path / "half.pt")
    torch.save([values.to_sparse()], tmp_path / "list.pt")
    for name in ("half.pt", "list.pt"):
        np.testing.assert_array_equal(files.read(tmp_path / name).values, values.detach().numpy())


def test_without_h5py_it_says_what_to_install(tmp_path, monkeypatch):
    with h5py.File(tmp_path / "E.h5", "w") as file:
        file["E"] = np.eye(3)
    matlab73(tmp_path / "E.mat", {"E": np.eye(3)})
    monkeypatch.setitem(sys.modules, "h5py", None)
    for name in ("E.h5", "E.mat"):
        with pytest.raises(DataError, match=r"is an HDF5 file .*: pip install 'rarefire\[files\]'\."):
            files.read(tmp_path / name)


def test_pearson_is_the_correlation(embedding, human, tmp_path):
    np.save(tmp_path / "E.npy", embedding)
    for metric in ("pearson", "correlation"):
        assert run("curve", tmp_path / "E.npy", "--metric", metric, "--out", tmp_path / metric).exit_code == 0
    assert (tmp_path / "pearson").read_bytes() == (tmp_path / "correlation").read_bytes()
    done = run("curve", tmp_path / "E.npy", "--metric", "spearman", "--out", tmp_path / "x.csv")
    assert done.stderr == (
        "rarefire: --metric is correlation (or pearson, the same) or cosine; got 'spearman'.\n"
    )


def test_arrays_of_both_files_are_named(embedding, human, tmp_path):
    np.savez(tmp_path / "both.npz", E=embedding, RDM=human)
    named = ["--array", "E", "--human", tmp_path / "both.npz", "--human-array", "RDM"]
    for command in ("curve", "explore"):
        out = tmp_path / f"{command}.html"
        done = run(command, tmp_path / "both.npz", *named, "--out", out)
        assert done.exit_code == 0, done.output
        assert "both.npz: 'E', 12 × 7 (NumPy).\n" in done.stdout
        assert "both.npz: 'RDM', 12 × 12 (NumPy).\n" in done.stdout
        done = run(command, tmp_path / "both.npz", *named[:2], *named[4:], "--out", out)
        assert "--human-array says how to read the RDM; name one with --human" in done.stderr
    done = run("dimension", tmp_path, "--network", "vgg19", "--array", "E", "--out", tmp_path / "d.csv")
    assert "--array is for an embedding; with --network," in done.stderr


def test_an_explorer_of_a_layer_with_positions(tmp_path, rng):
    wide = np.maximum(rng.normal(size=(5, 70_000)), 0).astype(np.float32)
    np.save(tmp_path / "E.npy", wide)
    done = run("explore", tmp_path / "E.npy", "--out", tmp_path / "x.html")
    assert done.stderr == (
        "rarefire: an explorer shows up to 65,535 features; E.npy has 70,000. Draw some of them with "
        "--features 4096, or make one of each channel with rarefire embed --pooled.\n"
    )
    assert not (tmp_path / "x.html").exists()
    done = run("explore", tmp_path / "E.npy", "--features", "50", "--out", tmp_path / "x.html")
    drawn = "5 images, 70,000 features, of which 50 drawn with seed 0 stand for all"
    assert done.stdout == f"{drawn}. Written: {tmp_path / 'x.html'}\n"
    assert drawn in (tmp_path / "x.html").read_text()
    again = run("explore", tmp_path / "E.npy", "--features", "80000", "--out", tmp_path / "x.html")
    assert "an explorer shows up to 65,535 features" in again.stderr


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ("s3://bucket/a/E.zarr", "s3://bucket/a/E.zarr"),
        (Path("s3://bucket/a/E.zarr"), "s3://bucket/a/E.zarr"),
        (Path("file:///data/E.zarr"), "file:///data/E.zarr"),
        (Path("simplecache::https://host/E.zarr"), "simplecache::https://host/E.zarr"),
        (Path("memory://E.zarr"), "memory://E.zarr"),
        ("E.zarr", None),
        ("/data/E.zarr", None),
        ("nets.py:small", None),
        ("C:/data/E.zarr", None),
    ],
)
def test_addresses_keep_their_slashes(given, address):
    assert files.address(given) == address
    assert files.is_zarr(given) == (address is not None)


def test_a_folder_that_looks_like_an_address_is_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s3:").mkdir()
    values = np.arange(12.0).reshape(4, 3)
    np.save("s3:/E.npy", values)
    assert files.address("s3:/E.npy") is None
    np.testing.assert_array_equal(files.read("s3:/E.npy").values, values)


def test_zarr_stores_with_names_in_groups_and_at_addresses(tmp_path):
    values, names = np.arange(12.0).reshape(4, 3), list("dcba")
    group = zarr.create_group(str(tmp_path / "G.zarr"))
    group.create_array("E", data=values, attributes={"names": names})
    for path in (tmp_path / "G.zarr", f"file://{tmp_path}/G.zarr", tmp_path / "G.zarr" / "E"):
        found = files.read(path)
        np.testing.assert_array_equal(found.values[:], values)
        assert found.names == tuple(names)
    group.create_array("F", data=values + 1, attributes={"names": ["of", "something", "else"]})
    with pytest.raises(InputError, match=r"G.zarr is a zarr group of 2 arrays, E, F. Name one with --array"):
        files.read(tmp_path / "G.zarr")
    with pytest.raises(UnknownNameError, match="no array 'H'"):
        files.read(tmp_path / "G.zarr", array="H")
    found = files.read(tmp_path / "G.zarr", array="F")
    np.testing.assert_array_equal(found.values[:], values + 1)
    assert found.names is None
    with pytest.raises(InputError, match="holds one array, without a name"):
        files.read(tmp_path / "G.zarr" / "E", array="E")


def test_addresses_that_do_not_answer_are_said(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="there is no zarr array at file://"):
        files.read(f"file://{tmp_path}/none.zarr")
    with pytest.raises(DataError, match="nonsense://E.zarr is not a zarr array: Protocol not known"):
        files.read("nonsense://E.zarr")
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(DataError, match="s3://bucket/E.zarr cannot be reached: .*s3fs"):
        files.read("s3://bucket/E.zarr")
