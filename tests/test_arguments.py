"""What every public function and every command is given is checked before the work, in one sentence."""

from __future__ import annotations

import os
import pickle
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from numpy.typing import ArrayLike
from typer.testing import CliRunner

from rarefire import (
    cli,
    curves,
    dimension,
    embeddings,
    ghosts,
    inference,
    networks,
    poz,
    pruning,
    rdm,
    similarity,
    stimuli,
    transport,
    units,
)
from rarefire._engine import arguments, blocks
from rarefire.errors import DataError, InputError
from rarefire.training import Recipe

LONG, BROAD = "a" * 300, "b" * 230
SHOWN = f"{'a' * 40}…{'a' * 15}"


def run(*given):
    """Exit status and last line on standard error of a command."""
    done = CliRunner().invoke(cli.app, [str(one) for one in given])
    return done.exit_code, done.stderr.strip().split("\n")[-1]


@pytest.fixture
def files(tmp_path, monkeypatch):
    """An embedding, a category and a circle of links, in the current folder."""
    monkeypatch.chdir(tmp_path)
    embedding = np.maximum(np.random.default_rng(0).normal(size=(20, 12)), 0)
    np.save("E.npy", embedding)
    Path("rows.txt").write_text("0\n1\n2\n")
    Path("loop").symlink_to("loop")
    Path("folder").mkdir()
    return embedding


# --- the gate ------------------------------------------------------------------------------------


@arguments.checked
def everything(
    values: ArrayLike,
    labels: ArrayLike | None = None,
    *,
    seed: int = 0,
    batch_size: int = 1,
    n: int | None = None,
    rate: float = 0.5,
    way: Literal["up", "down"] = "up",
    seeds: Sequence[int] = (0,),
    rng: np.random.Generator | None = None,
    path: str | Path = "here",
    name: str = "",
    other: object = None,
) -> int:
    """A function with an argument of each kind."""
    return 1


@pytest.mark.parametrize(
    "given",
    [
        {"seed": 3, "n": None, "rate": 1, "seeds": [1, 2], "way": "down", "rng": np.random.default_rng(0)},
        {"seed": np.int64(3), "rate": np.float32(0.5), "n": np.uint8(2), "seeds": np.arange(3)},
        {"labels": ["a", "b"], "path": Path("there"), "name": "x", "other": {}, "seeds": range(2)},
        {"values": torch.ones(2, 2)},
        {"values": [[1, 2], [3, None]]},
    ],
)
def test_what_fits_passes(given):
    assert everything(**({"values": [[1, 2], [3, 4]]} | given)) == 1


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"seed": -1}, "seed is a whole number, at least 0; got -1."),
        ({"seed": 1.5}, "seed is a whole number, at least 0; got 1.5."),
        ({"seed": True}, "seed is a whole number, at least 0; got True."),
        ({"seed": None}, "seed is a whole number, at least 0; got None."),
        ({"seed": 2**63}, "seed is a whole number below 2**63; got 9223372036854775808."),
        ({"batch_size": 0}, "batch_size is a whole number, at least 1; got 0."),
        ({"batch_size": "x"}, "batch_size is a whole number, at least 1; got 'x'."),
        ({"n": 2.0}, "n is a whole number; got 2.0."),
        ({"n": float("nan")}, "n is a whole number; got nan."),
        ({"n": [1, 2]}, "n is a whole number; got [1, 2]."),
        ({"rate": float("nan")}, "rate is a finite number; got nan."),
        ({"rate": -np.inf}, "rate is a finite number; got -inf."),
        ({"rate": "0.5"}, "rate is a finite number; got '0.5'."),
        ({"rate": None}, "rate is a finite number; got None."),
        ({"rate": 1j}, "rate is a finite number; got 1j."),
        ({"rate": 10**400}, f"rate is a finite number; got 1{'0' * 39}…{'0' * 15}."),
        ({"way": 3}, "way is one of up, down; got 3."),
        ({"seeds": 3}, "seeds are several whole numbers; got 3."),
        ({"seeds": "12"}, "seeds are several whole numbers; got '12'."),
        ({"seeds": [0, -1]}, "seed is a whole number, at least 0; got -1."),
        ({"seeds": [0, 1.5]}, "seed is a whole number, at least 0; got 1.5."),
        ({"rng": 0}, "rng is a numpy.random.Generator; got int."),
        ({"path": 3}, "path is a path; got 3."),
        ({"path": "a\0b"}, "path is no path: embedded null byte."),
        ({"name": 3}, "name is a text; got 3."),
        ({"values": None}, "values is an array; got None."),
        ({"values": [["a", "b"]]}, "values holds real numbers; got text (<U1)."),
        ({"values": [[{}, 1]]}, "values holds real numbers; got objects (float() argument must be a string "),
        ({"values": np.zeros(2, "M8[s]")}, "values holds real numbers; got dates (datetime64[s])."),
        ({"values": np.zeros(2, [("a", "f8")])}, "values holds real numbers; got records ([('a', '<f8')])."),
        ({"values": [[1], [1, 2]]}, "values is an array; its rows differ in length."),
        (
            {"values": [1j]},
            "values holds real numbers; got complex ones (complex128), whose ",
        ),
        ({"values": torch.ones(2) * 1j}, "values holds real numbers; got complex ones (torch.complex64)"),
    ],
)
def test_what_does_not_is_named(given, sentence):
    with pytest.raises(InputError, match=re.escape(sentence)):
        everything(**({"values": [1.0]} | given))


def test_circles_and_long_names(files):
    for path, reason in ((LONG, "File name too long"), ("loop", "Too many levels of symbolic links")):
        shown = SHOWN if path == LONG else path
        with pytest.raises(DataError, match=f"^path names {shown}: {reason}.$"):
            everything([1.0], path=path)


def test_checked_functions_stay_what_they_are():
    """With their names, for documentation and for processes to which they are sent."""
    assert pickle.loads(pickle.dumps(poz.poz)) is poz.poz
    assert curves.geometry_curve.__name__ == "geometry_curve"
    assert curves.geometry_curve.__doc__.startswith("How much ")
    with pytest.raises(TypeError, match="unexpected keyword argument 'nothing'"):
        everything([1.0], nothing=1)


def test_fields():
    @dataclass
    class Own:
        seed: int = 0
        rate: float = 0.0

    arguments.check_fields(Own())
    with pytest.raises(InputError, match="rate is a finite number; got nan"):
        arguments.check_fields(Own(rate=float("nan")))


# --- public functions ----------------------------------------------------------------------------

E = np.maximum(np.random.default_rng(1).normal(size=(24, 6)), 0)
ORDER = np.arange(6)
RNG = np.random.default_rng
NETWORK = networks.lenet5((1, 28, 28), 10).eval()
IMAGES = np.zeros((4, 1, 28, 28), np.float32)


@pytest.mark.parametrize("batch_size", [0, -1, 1.5, float("nan"), "x", None, True])
@pytest.mark.parametrize(
    "use",
    [
        lambda n: embeddings.extract(NETWORK, IMAGES, batch_size=n),
        lambda n: embeddings.views(NETWORK, IMAGES, batch_size=n),
        lambda n: embeddings.stream(NETWORK, IMAGES, layer="relu1", batch_size=n),
        lambda n: embeddings.save("E.npy", NETWORK, IMAGES, batch_size=n),
        lambda n: similarity.layers(NETWORK, NETWORK, IMAGES, batch_size=n),
    ],
)
def test_batches(use, batch_size, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"batch_size is a whole number, at least 1; got {batch_size!r}"):
        use(batch_size)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("seed", [-1, 1.5, float("inf"), "x", True, 2**64])
@pytest.mark.parametrize(
    "use",
    [
        lambda seed: networks.build("lenet5", input_shape=(1, 28, 28), mean=(0,), std=(1,), seed=seed),
        lambda seed: networks.untrained(NETWORK, seed=seed),
        lambda seed: transport.each_pair({"a": E, "b": E}, seed=seed, jobs=1),
        lambda seed: pruning.rounds(None, seeds=[0, seed]),
    ],
)
def test_seeds(use, seed):
    with pytest.raises(InputError, match="seed is a whole number"):
        use(seed)


@pytest.mark.parametrize("rng", [0, None, "x", np.random])
@pytest.mark.parametrize(
    "use",
    [
        lambda rng: similarity.chance(10, 3, 3, rng=rng),
        lambda rng: dimension.halves_error(E, rng=rng),
        lambda rng: inference.bootstrap(E, rdm.rdm(E), ORDER, k=[3], n_boot=10, rng=rng),
        lambda rng: units.class_blocks([0, 1] * 12, window=2, rng=rng),
    ],
)
def test_generators(use, rng):
    with pytest.raises(InputError, match=r"rng is a numpy\.random\.Generator; got "):
        use(rng)


@pytest.mark.parametrize(
    ("use", "sentence"),
    [
        (lambda: poz.kinds([0.5], rare=1.5), "rare is a share in [0, 1]; got 1.5."),
        (lambda: stimuli.load("digits", seed=-1), "seed is a whole number, at least 0; got -1."),
        (lambda: stimuli.gallery(".", size=0), "size is a whole number, at least 1; got 0."),
        (lambda: stimuli.gallery(".", size="x"), "size is a whole number, at least 1; got 'x'."),
        (lambda: rdm.rdm([["a", "b"]] * 3), "embedding holds real numbers; got text (<U1)."),
        (lambda: rdm.compare(rdm.rdm(E), rdm.rdm(E) * 1j), "second holds real numbers; got complex ones"),
        (lambda: networks.lenet5((28, 28)), "input_shape are 3 whole numbers; got (28, 28)."),
        (lambda: networks.build("lenet5", mean=0.5), "mean are several numbers; got 0.5."),
        (lambda: transport.each_pair([E, E]), "spaces are given by name, as a dict is; got [array("),
        (
            lambda: embeddings.extract(NETWORK, "x"),
            "images must be (n, c, h, w), or batches of ",
        ),
        (lambda: embeddings.extract("lenet5", IMAGES), "network is a torch.nn.Module (networks.build makes "),
        (lambda: embeddings.extract(networks.lenet5, IMAGES), "network is a torch.nn.Module (call what "),
        (lambda: embeddings.each(NETWORK, IMAGES, layers="relu1"), "layers are several names; got 'relu1'."),
        (lambda: poz.kinds([0.5], rare=np.nan), "rare is a finite number; got nan."),
        (lambda: poz.rare_share([0.5], rare=np.inf), "rare is a finite number; got inf."),
        (lambda: networks.lenet5((1, 28, 28), 1.5), "n_classes is a whole number, at least 1; got 1.5."),
        (lambda: networks.lenet5((1, 28, 28), 0), "n_classes is a whole number, at least 1; got 0."),
        (lambda: similarity.chance(10, 3, 3, rng=RNG(0), n_draws=1.5), "n_draws is a whole number; got 1.5."),
        (lambda: ghosts.components(E, [0], n=1.5), "n is a whole number; got 1.5."),
        (lambda: curves.geometry_curve(E, ORDER, metric=3), "metric is one of "),
        (lambda: poz.order(["a", "b"]), "poz holds real numbers; got text (<U1)."),
        (lambda: curves.rdm_curve(E, [["a", "b"], ["c", "d"]], ORDER), "rdm holds real numbers; got text "),
        (lambda: curves.rdm_curve(E, rdm.rdm(E) * 1j, ORDER), "rdm holds real numbers; got complex ones "),
        (lambda: poz.poz(E * 1j), "embedding holds real numbers; got complex"),
        (lambda: curves.geometry_curve(E * 1j, ORDER), "embedding holds real numbers; got complex"),
        (lambda: poz.poz([[1.0], [1.0, 2.0]]), "values is an array; its rows differ in length."),
        (lambda: dimension.two_nn([[1.0], [1.0, 2.0]]), "points is an array; its rows differ in length."),
        (lambda: curves.geometry_curve([[1.0], [1.0, 2.0]], ORDER), "embedding is an array; its rows differ"),
    ],
)
def test_numbers_choices_and_arrays(use, sentence):
    with pytest.raises(InputError, match=re.escape(sentence)):
        use()


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"max_epochs": 0}, "max_epochs is a whole number, at least 1; got 0."),
        ({"max_epochs": 2.5}, "max_epochs is a whole number, at least 1; got 2.5."),
        ({"batch_size": 0}, "batch_size is a whole number, at least 1; got 0."),
        ({"patience": -1}, "patience is a whole number, at least 0; got -1."),
        ({"check_every": -1}, "check_every is a whole number, at least 0; got -1."),
        ({"learning_rate": float("nan")}, "learning_rate is a finite number; got nan."),
        ({"learning_rate": -1}, "learning_rate and weight_decay are at least 0; got -1 and 0."),
        ({"weight_decay": -1.0}, "learning_rate and weight_decay are at least 0; got 0.001 and -1."),
        ({"validation": float("inf")}, "validation is a finite number; got inf."),
    ],
)
def test_recipes(given, sentence):
    with pytest.raises(InputError, match=re.escape(sentence)):
        Recipe(**given)


# --- rows ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "use",
    [
        poz.poz,
        rdm.rdm,
        lambda e: curves.geometry_curve(e, ORDER),
        lambda e: curves.rdm_curve(e, rdm.rdm(E), ORDER),
        dimension.two_nn,
        lambda e: ghosts.find(e, [0, 1]),
        poz.check_activations,
    ],
)
def test_rows_that_are_not_finite_are_named(use):
    spoilt = E.copy()
    spoilt[[3, 17], 2] = np.nan, np.inf
    sentence = "2 of 24 images have NaN or infinite features: rows 3, 17, counted from 0."
    with pytest.raises(InputError, match=re.escape(sentence)):
        use(spoilt)


def test_rows_of_a_block():
    spoilt = torch.ones(30, 2)
    spoilt[10:] = torch.nan
    sentence = (
        "10 of 15 images (rows 5 to 19) have NaN or infinite features: rows 10, 11, 12, 13, 14, …, counted "
        "from 0."
    )
    for source in (spoilt, spoilt.numpy()):
        with pytest.raises(InputError, match=re.escape(sentence)):
            blocks.read(source, slice(5, 20))


# --- commands ------------------------------------------------------------------------------------

READERS = {
    "poz": [],
    "curve": [],
    "explore": [],
    "ghosts": ["--category", "rows.txt"],
    "dimension": [],
}


def reads(command, embedding, out=None):
    """A command that reads an embedding."""
    out = out or ("o.html" if command == "explore" else "o.csv")
    return run(command, embedding, *READERS[command], "--out", out)


ARRAYS = {
    "no axis": (np.array(3.0), "an embedding is (n_images, n_features); got ()."),
    "one axis": (np.arange(5.0), "an embedding is (n_images, n_features); got (5,)."),
    "text": (np.array([["a", "b"]] * 5), "an embedding holds real numbers; got <U1."),
    "records": (np.zeros((5, 4), [("a", "f8")]), "an embedding holds real numbers; got [('a', '<f8')]."),
    "dates": (np.zeros((5, 4), "M8[s]"), "an embedding holds real numbers; got datetime64[s]."),
    "no image": (np.zeros((0, 0)), "at least one image is needed; got 0."),
    "no feature": (np.zeros((5, 0)), "an embedding needs at least one feature; got (5, 0)."),
    "complex": (np.ones((5, 4)) * 1j, "an embedding holds real numbers; got complex128."),
    "objects": (
        np.array([[{}, 1]] * 5, dtype=object),
        "odd.npy cannot be read as a .npy array of numbers: Array can't be memory-mapped: Python objects in "
        "dtype.",
    ),
}


@pytest.mark.parametrize("command", READERS)
@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_that_are_no_embedding(files, command, kind):
    array, sentence = ARRAYS[kind]
    np.save("odd.npy", array, allow_pickle=True)
    assert reads(command, "odd.npy") == (1, f"rarefire: {sentence}")
    assert not list(Path().glob("o.*"))


@pytest.mark.parametrize("command", READERS)
def test_rows_are_named_by_commands(files, command):
    files[3, 2] = np.nan
    np.save("E.npy", files)
    status, said = reads(command, "E.npy")
    assert status == 1
    assert said.endswith("have NaN or infinite features: row 3, counted from 0.")


HEADERS = {
    "(1000000000000, 1000000)": "it holds less than its header says; replace it by a whole copy",
    "(-3, 4)": "negative dimensions are not allowed",
    "(9223372036854775808, 4)": "Python int too large to convert to C long",
    "(4611686018427387904, 4)": "array is too big; `arr.size * arr.dtype.itemsize` is larger than ",
    "(True, 4)": "an integer is required",
    "('a', 4)": "shape is not valid: ('a', 4)",
    "(3, 4)": "it holds less than its header says; replace it by a whole copy",
}


@pytest.mark.parametrize("shape", HEADERS)
def test_headers_that_cannot_be(files, shape):
    """No memory is taken for them."""
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    Path("odd.npy").write_bytes(b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + bytes(64))
    start = f"rarefire: odd.npy cannot be read as a .npy array of numbers: {HEADERS[shape]}"
    for status, said in (
        reads("poz", "odd.npy"),
        run("curve", "E.npy", "--human", "odd.npy", "--out", "o.csv"),
    ):
        assert status == 1
        assert said.startswith(start)


@pytest.mark.parametrize("command", READERS)
@pytest.mark.parametrize(
    ("out", "sentence"),
    [
        (LONG, f"--out names {SHOWN}: File name too long."),
        (
            "b" * 230,
            f"could not write {'b' * 40}…{'b' * 15}: its name has 230 bytes; at most 200 are written.",
        ),
        ("loop", "--out names loop: Too many levels of symbolic links."),
        ("loop/o.csv", "--out names loop/o.csv: Too many levels of symbolic links."),
        ("folder", "could not write folder: it is a folder; name a file."),
        ("E.npy/o.csv", "could not write E.npy/o.csv: {here}/E.npy is not a folder."),
    ],
)
def test_what_cannot_be_written_is_said_before_the_work(files, monkeypatch, command, out, sentence):
    monkeypatch.setattr(blocks, "open_embedding", lambda *_, **__: pytest.fail("it was read"))
    said = f"rarefire: {sentence.format(here=Path.cwd().resolve())}"
    assert reads(command, "E.npy", out) == (1, said)


def test_a_folder_in_which_nothing_may_be_written(files, monkeypatch):
    where, access = Path.cwd().resolve() / "folder", os.access
    # Who is root may write everywhere: the system's answer for others.
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != where and access(path, mode))
    said = f"rarefire: could not write folder/o.csv: nothing may be written in {where}."
    assert reads("poz", "E.npy", "folder/o.csv") == (1, said)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (["poz", "{}", "--out", "o.csv"], "embedding"),
        (["curve", "E.npy", "--human", "{}", "--out", "o.csv"], "human"),
        (["curve", "E.npy", "--out", "o.csv", "--plot", "{}"], "--plot"),
        (["explore", "E.npy", "--labels", "{}", "--out", "o.html"], "labels"),
        (["ghosts", "E.npy", "--category", "{}", "--out", "o.csv"], "category"),
        (["ghosts", "E.npy", "--category", "rows.txt", "--out", "o.csv", "--read", "{}"], "--read"),
        (["dimension", "{}", "--out", "o.csv"], "source"),
        (["dimension", "{}", "--network", "vgg19", "--out", "o.csv"], "source"),
        (["embed", "{}", "--out", "o.npy"], "folder"),
        (["embed", "folder", "--out", "o.npy", "--weights", "{}"], "weights"),
        (["people", "{}", "--out", "o.csv"], "judgments"),
        (["people", "mur", "--ship", "{}"], "--ship"),
        (["rdm", "{}", "--out", "o.npy"], "ratings"),
        (["book", "{}"], "root"),
    ],
)
def test_circles_and_long_names_in_commands(files, given, name):
    for path, shown, reason in (
        (LONG, SHOWN, "File name too long"),
        ("loop", "loop", "Too many levels of symbolic links"),
    ):
        said = f"rarefire: {name} names {shown}: {reason}."
        assert run(*(path if one == "{}" else one for one in given)) == (1, said)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["rdm", "E.npy", "--out", "o.npy", "--scale", "nan"], "--scale is a finite number; got nan."),
        (["rdm", "E.npy", "--out", "o.npy", "--scale", "inf"], "--scale is a finite number; got inf."),
        (
            ["curve", "E.npy", "--out", "o.csv", "--seed", 2**63],
            f"--seed is a whole number below 2**63; got {2**63}.",
        ),
        (["explore", "E.npy", "--out", "o.csv"], "--out is an .html file; got 'o.csv'."),
        (["embed", "folder", "--out", "o.csv"], "--out is a .npy file or a .zarr store; got 'o.csv'."),
    ],
)
def test_options_of_commands(files, given, sentence):
    assert run(*given) == (1, f"rarefire: {sentence}")


def test_a_page_of_a_file_whose_name_is_no_text(files):
    os.rename("E.npy", b"E\xff.npy")
    status, _ = run("explore", os.fsdecode(b"E\xff.npy"), "--out", "o.html")
    assert status == 0
    assert "<title>E?</title>" in Path("o.html").read_text(encoding="utf-8")


# --- weights -------------------------------------------------------------------------------------


def circular():
    held = {}
    held["state_dict"] = held
    return held


@pytest.mark.parametrize(
    ("held", "sentence"),
    [
        ([1, 2], "holds one list, not a state dict. Save one with torch.save(network.state_dict(), path)."),
        (torch.ones(3), "holds one Tensor, not a state dict."),
        (None, "holds one NoneType, not a state dict."),
        ({"a": 1}, "should hold one state dict of tensors; it holds none: a."),
        (circular(), "should hold one state dict of tensors; it holds none: state_dict."),
        (
            {"fc.weight": torch.ones(2) * 1j},
            "holds complex numbers in 'fc.weight'; a network's weights are real.",
        ),
    ],
)
def test_weights_that_are_none(tmp_path, held, sentence):
    path = tmp_path / "w.pth"
    torch.save(held, path)
    with pytest.raises(DataError, match=re.escape(f"{path} {sentence}")):
        networks.build("resnet18", weights=path)
