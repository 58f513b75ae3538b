"""The command line: what it prints, and that errors are one readable message."""

import contextlib
import functools
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import zarr
from PIL import Image
from typer.testing import CliRunner

import rarefire
from rarefire import (
    cli,
    curves,
    embeddings,
    ghosts,
    judgments,
    networks,
    poz,
    ratings,
    rdm,
    records,
    stimuli,
    store,
    training,
)
from rarefire.cli import common
from rarefire.errors import InputError, RarefireWarning

PROGRAM = Path(sys.executable).with_name("rarefire")
SQUEEZENET = ["--network", "squeezenet1_0", "--weights", "weights.pth", "--size", "64"]


def program(*arguments, **options):
    """What the program does as a user starts it."""
    return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, **options)


def run(*arguments):
    """The same, but for starting it."""
    return CliRunner().invoke(cli.app, arguments)


def test_help_lists_the_commands():
    done = program("--help")
    assert done.returncode == 0
    assert re.search(r"people .*Measure how well slices", done.stdout)
    assert re.search(r"book .*Execute the chapters", done.stdout)
    assert re.search(r"curve .*R² of the first k features", done.stdout)
    assert program().stdout == done.stdout
    kept = run("record", "--help").stdout
    assert re.search(r"ensembles .*Train and measure", kept)
    assert re.search(r"recipes .*Vary the recipe", kept)


def test_help_is_grouped_in_the_order_of_use():
    """A command that stands in no group of `GROUPS` is nobody's to find."""
    from typer.main import get_command

    commands = set(get_command(cli.app).commands)
    listed = [name for names in common.GROUPS.values() for name in names]
    assert commands <= set(listed)
    assert len(set(listed)) == len(listed)
    shown = run("--help").stdout
    assert "Others:" not in shown
    titles = re.findall(r"^(\S.*):$", shown, re.MULTILINE)
    there = [title for title, names in common.GROUPS.items() if commands & set(names)]
    assert titles == ["Options", *there]
    # In each group, its commands.
    (look,) = re.findall(r"^Look at features:\n((?:  .*\n)+)", shown, re.MULTILINE)
    assert re.findall(r"^  (\w+)", look, re.MULTILINE) == ["embed", "poz", "curve", "explore"]


def test_a_command_without_a_group_is_shown_all_the_same(monkeypatch):
    monkeypatch.setattr(common, "GROUPS", {"People": ("people",)})
    shown = run("--help").stdout
    assert shown.index("People:") < shown.index("Others:") < shown.index("  curve ")


def test_a_shell_completes_commands_and_options(tmp_path):
    shell = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1", "HOME": str(tmp_path)}
    done = program("--show-completion", "bash", env=os.environ | shell)
    assert done.returncode == 0
    assert "_RAREFIRE_COMPLETE=complete_bash" in done.stdout
    asked = {"_RAREFIRE_COMPLETE": "complete_bash", "COMP_CWORD": "1"}
    assert program(env=os.environ | asked | {"COMP_WORDS": "rarefire cu"}).stdout.split() == ["curve"]
    asked["COMP_CWORD"] = "2"
    options = program(env=os.environ | asked | {"COMP_WORDS": "rarefire curve --hum"}).stdout.split()
    assert options == ["--human", "--human-array"]
    done = program("--install-completion", "bash", env=os.environ | shell)
    assert done.returncode == 0
    assert "bash completion installed" in done.stdout
    assert any(path.is_file() for path in tmp_path.rglob("*rarefire*"))


# --- an embedding from elsewhere -----------------------------------------------------------------


@pytest.fixture(scope="module")
def made(trained, tmp_path_factory):
    """Real features of digits, and the RDM of their pixels as if people had made it; a folder with them."""
    network, test = trained
    folder = tmp_path_factory.mktemp("files")
    embedding = embeddings.extract(network, test)
    pixels = rdm.square(rdm.rdm(test.images.reshape(len(test.images), -1).astype(float)))
    np.save(folder / "E.npy", embedding)
    np.save(folder / "RDM.npy", pixels)
    np.savetxt(folder / "RDM.csv", pixels, delimiter=",")
    np.save(folder / "S.npy", 1 - pixels)
    return embedding, pixels, folder


@pytest.fixture
def files(made, tmp_path, monkeypatch):
    """Files of one's own, in the current folder."""
    embedding, pixels, folder = made
    for file in folder.iterdir():
        shutil.copy(file, tmp_path)
    monkeypatch.chdir(tmp_path)
    return embedding.copy(), pixels.copy()


def test_poz_of_a_file(files, tmp_path):
    embedding, _ = files
    done = program("poz", "E.npy", "--out", "poz.csv", "--rare", "0.5")
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(tmp_path / "poz.csv")
    assert table.columns.tolist() == ["feature", "poz", "kind"]
    assert table.feature.tolist() == list(range(84))
    np.testing.assert_allclose(table.poz, (embedding == 0).mean(axis=0))
    expected = ["dead" if p == 1 else "rare" if p > 0.5 else "active" for p in table.poz]
    assert table.kind.tolist() == expected
    assert set(expected) == {"dead", "rare", "active"}
    assert re.search(r"84 features: \d+ active, \d+ rare, \d+ dead", done.stdout)


@pytest.mark.parametrize("order", ["low", "high", "random"])
@pytest.mark.parametrize("metric", ["correlation", "cosine"])
def test_curve_of_a_file(files, tmp_path, order, metric):
    embedding, _ = files
    done = run("curve", "E.npy", "--out", "c.csv", "--order", order, "--metric", metric, "--seed", "5")
    assert done.exit_code == 0, done.stderr
    table = pd.read_csv(tmp_path / "c.csv")
    assert table.columns.tolist() == ["k", "r", "r2", "n_images", "poz"]
    rates = poz.poz(embedding)
    # Ties by feature index, in both directions; the random order from its seed.
    expected = {
        "low": sorted(range(84), key=lambda f: (rates[f], f)),
        "high": sorted(range(84), key=lambda f: (-rates[f], f)),
        "random": np.random.default_rng(5).permutation(84),
    }[order]
    curve = curves.geometry_curve(embedding, expected, metric=metric)
    np.testing.assert_allclose(table.r, curve.r, atol=1e-12)
    np.testing.assert_allclose(table.r2, curve.r2, atol=1e-12)
    np.testing.assert_array_equal(table.n_images, curve.n_images)
    np.testing.assert_allclose(table.poz, rates[expected])
    assert table.k.tolist() == list(range(1, 85))


@pytest.mark.parametrize("source", [["RDM.npy"], ["RDM.csv"], ["S.npy", "--similarity"]])
def test_curve_against_an_rdm(files, tmp_path, source):
    embedding, pixels = files
    done = run("curve", "E.npy", "--human", *source, "--k", "10,40 84", "--out", "c.csv", "--plot", "c.svg")
    assert done.exit_code == 0, done.stderr
    table = pd.read_csv(tmp_path / "c.csv")
    order = poz.order(poz.poz(embedding))
    expected = curves.rdm_curve(embedding, pixels, order, k=[10, 40, 84])
    np.testing.assert_allclose(table.r, expected.r, atol=1e-9)
    assert table.k.tolist() == [10, 40, 84]
    assert (table.r > 0).all()
    drawn = (tmp_path / "c.svg").read_text()
    assert "low→high PoZ" in drawn
    assert f"R² with {source[0]}" in drawn


def test_curve_of_a_zarr_store_on_a_cluster(files, tmp_path):
    embedding, _ = files
    zarr.create_array(str(tmp_path / "E.zarr"), data=embedding, chunks=(40, 84))
    done = program("curve", "E.zarr", "--scheduler", "local", "--k", "20,84", "--out", "c.csv")
    assert done.returncode == 0, done.stderr
    expected = curves.geometry_curve(embedding, poz.order(poz.poz(embedding)), k=[20, 84])
    np.testing.assert_allclose(pd.read_csv(tmp_path / "c.csv").r, expected.r, atol=1e-10)


def test_a_plot_is_a_picture(files, tmp_path):
    done = run("curve", "E.npy", "--out", "c.csv", "--plot", "c.png")
    assert done.exit_code == 0, done.stderr
    with Image.open(tmp_path / "c.png") as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 400
        assert len(picture.convert("RGB").getcolors(100_000)) > 20  # something is drawn


@pytest.mark.parametrize(
    ("arguments", "message", "status"),
    [
        (["curve", "none.npy"], "there is no file none.npy", 1),
        (["curve", "text.npy"], "text.npy cannot be read as a matrix of numbers: it holds no numbers", 1),
        (["curve", "nan.npy"], "1 of 150 images have NaN or infinite features", 1),
        (["curve", "negative.npy"], "activations are negative", 1),
        (["poz", "negative.npy"], "Name the ReLU's layer", 1),
        (["curve", "two.npy"], "at least three images; got 2", 1),
        (["curve", "flat.npy"], r"is \(n_images, n_features\); got \(150,\)", 1),
        (["curve", "E.npy", "--human", "none.csv"], "there is no file none.csv", 1),
        (["curve", "E.npy", "--human", "S.npy"], "look like similarities", 1),
        (["curve", "E.npy", "--human", "few.npy"], "is of 149 images; the embedding has 150", 1),
        (["curve", "E.npy", "--human", "oblong.npy"], r"must be square; got \(149, 150\)", 1),
        (["curve", "E.npy", "--human", "skew.npy"], "not symmetric", 1),
        (["curve", "E.npy", "--similarity"], "name one with --human", 1),
        (["curve", "E.npy", "--order", "up"], "--order is low, high or random; got 'up'", 1),
        (
            ["curve", "E.npy", "--metric", "l2"],
            "--metric is correlation \\(or pearson, the same\\) or cosine; got 'l2'",
            1,
        ),
        (["curve", "E.npy", "--k", "a"], "--k is all, or whole numbers or shares", 1),
        (["curve", "E.npy", "--k", "0,9"], "k must lie between 1 and 84", 1),
        (["curve", "E.npy", "--plot", "c.gif"], "--plot writes .png or .svg; got 'c.gif'", 1),
        (["curve", "E.npy", "--human", "RDM.npy", "--scheduler", "local"], "need no cluster", 1),
        (["curve", "E.npy", "--seed", "x"], "Invalid value for '--seed'", 2),
        (["curve", "E.npy", "--unknown"], "No such option", 2),
        (["nothing"], "No such command 'nothing'", 2),
    ],
)
def test_what_a_user_gets_wrong_is_one_line(files, tmp_path, monkeypatch, capsys, arguments, message, status):
    embedding, pixels = files
    spoilt = embedding.copy()
    spoilt[3, 4] = np.nan
    skew = pixels.copy()
    skew[3, 4] += 1
    made = {"nan": spoilt, "negative": embedding - 1, "two": embedding[:2], "flat": embedding[:, 0]}
    made |= {"few": pixels[1:, 1:], "oblong": pixels[1:], "skew": skew}
    for name, values in made.items():
        np.save(tmp_path / f"{name}.npy", values)
    (tmp_path / "text.npy").write_text("hello")
    out = [] if arguments == ["nothing"] else ["--out", "out.csv"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["rarefire", *arguments, *out])
    with pytest.raises(SystemExit) as stopped:
        cli.run()
    assert stopped.value.code == status
    said = capsys.readouterr()
    assert re.search(message, said.err), said.err
    assert len(said.err.strip().splitlines()) == 1
    assert said.out == ""
    assert not (tmp_path / "out.csv").exists()


def test_what_is_read_is_never_overwritten(files, tmp_path, monkeypatch):
    before = {name: (tmp_path / name).read_bytes() for name in ("E.npy", "RDM.npy")}
    for arguments in (
        ["poz", "E.npy", "--out", "E.npy"],
        ["curve", "E.npy", "--human", "RDM.npy", "--out", "./RDM.npy"],
        ["curve", "E.npy", "--out", "z.svg", "--plot", "z.svg"],
    ):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["rarefire", *arguments])
        with pytest.raises(SystemExit) as stopped:
            cli.run()
        assert stopped.value.code == 1
    assert {name: (tmp_path / name).read_bytes() for name in before} == before
    assert not (tmp_path / "z.svg").exists()


def test_a_plot_that_cannot_be_written_leaves_no_table(files, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for out, plot in (("z.csv", "E.npy/z.png"), ("E.npy/z.csv", "z.png")):
        arguments = ["rarefire", "curve", "E.npy", "--k", "9", "--out", out, "--plot", plot]
        monkeypatch.setattr(sys, "argv", arguments)
        with pytest.raises(SystemExit):
            cli.run()
        assert "could not write" in capsys.readouterr().err
        assert not (tmp_path / "z.csv").exists()
        assert not (tmp_path / "z.png").exists()
    (tmp_path / "z.png").write_bytes(b"of an earlier run")
    with pytest.raises(SystemExit):
        cli.run()
    assert (tmp_path / "z.png").read_bytes() == b"of an earlier run"


def test_a_dollar_sign_in_a_file_s_name_is_no_formula(files, tmp_path):
    (tmp_path / "RDM.npy").rename(tmp_path / "a$_{x$.npy")
    arguments = ("--human", "a$_{x$.npy", "--k", "9", "--out", "z.csv", "--plot", "z.svg")
    done = run("curve", "E.npy", *arguments)
    assert done.exit_code == 0, done.stderr


def test_a_missing_out_and_a_folder_as_out(files, monkeypatch, capsys):
    message = "rarefire: Missing option '--out'. See rarefire --help.\n"
    assert said_wrong(monkeypatch, capsys, "curve", "E.npy") == (2, message)
    status, said = said_wrong(monkeypatch, capsys, "poz", "E.npy", "--out", ".")
    assert status == 1
    assert "it is a folder; name a file" in said


def test_something_unforeseen_is_one_line_too(files, tmp_path):
    code = (
        "import sys; from rarefire import cli, poz\n"
        "def broken(*_): raise RuntimeError('two\\nlines')\n"
        "poz.poz = broken; sys.argv = ['rarefire', 'poz', 'E.npy', '--out', 'x.csv']; cli.run()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "rarefire: RuntimeError: two lines (RAREFIRE_DEBUG=1 shows where)\n"


# --- ghosts, and embeddings of a folder ----------------------------------------------------------


@pytest.fixture
def threes(files, trained, tmp_path):
    """Rows of the test images that are a 3, in a text file."""
    rows = np.flatnonzero(trained[1].labels == 3)
    (tmp_path / "rows.txt").write_text("".join(f"{row}\n" for row in rows))
    return files[0], rows


def test_ghosts_of_a_file(threes, tmp_path, monkeypatch):
    embedding, rows = threes
    monkeypatch.chdir(tmp_path)
    arguments = ["--category", "rows.txt", "--out", "ghosts.csv", "--read", "read.csv"]
    done = CliRunner().invoke(cli.app, ["ghosts", "E.npy", *arguments])
    assert (done.exit_code, done.stderr) == (0, "")
    found = ghosts.find(embedding, rows)
    assert (
        f"{found} The category's images: by position. Written: ghosts.csv\nWritten: read.csv\n" == done.stdout
    )
    table = pd.read_csv(tmp_path / "ghosts.csv")
    assert table.columns.tolist() == ["feature", "kind", "others"]
    np.testing.assert_array_equal(table.feature, np.flatnonzero((embedding[rows] == 0).all(axis=0)))
    np.testing.assert_array_equal(table.feature[table.kind == "ghost"], found.features)
    assert set(table.kind) == {"ghost", "dead"}
    others = np.delete(np.arange(150), rows)
    np.testing.assert_array_equal(table.others, (embedding[others] > 0).sum(axis=0)[table.feature])

    read = pd.read_csv(tmp_path / "read.csv")
    assert read.columns.tolist() == ["component", "explained", "rank", "image", "score"]
    expected = ghosts.components(embedding[others], found.features, n=10)
    shape = (len(expected.explained), 8)
    np.testing.assert_array_equal(read.image.to_numpy().reshape(shape), others[expected.top(8)])
    assert read.component.tolist() == np.repeat(np.arange(shape[0]) + 1, 8).tolist()
    assert read["rank"].tolist() == list(range(1, 9)) * shape[0]
    np.testing.assert_allclose(read.explained, np.repeat(expected.explained, 8))
    scores = np.take_along_axis(expected.scores, expected.top(8).T, axis=0).T
    np.testing.assert_allclose(read.score, scores.ravel(), atol=1e-9)


def test_ghosts_of_a_zarr_store(threes, tmp_path, monkeypatch):
    embedding, rows = threes
    zarr.create_array(str(tmp_path / "E.zarr"), data=embedding, chunks=(40, 84))
    monkeypatch.chdir(tmp_path)
    arguments = ["--category", "rows.txt", "--read", "read.csv", "--components", "2", "--top", "3"]
    done = CliRunner().invoke(cli.app, ["ghosts", "E.zarr", "--out", "ghosts.csv", *arguments])
    assert done.exit_code == 0, done.output
    found, others = ghosts.find(embedding, rows), np.delete(np.arange(150), rows)
    pd.testing.assert_frame_equal(pd.read_csv("ghosts.csv"), found.table())
    expected = others[ghosts.components(embedding[others], found.features, n=2).top(3)]
    np.testing.assert_array_equal(pd.read_csv("read.csv").image.to_numpy().reshape(2, 3), expected)


@pytest.mark.parametrize("dead", [0, 2])
def test_a_category_without_ghosts_is_no_error(tmp_path, monkeypatch, rng, dead):
    embedding = 0.1 + rng.uniform(size=(12, 6))
    embedding[:, :dead] = 0
    np.save(tmp_path / "E.npy", embedding)
    (tmp_path / "rows.txt").write_text("4\n0\n7\n")
    monkeypatch.chdir(tmp_path)
    arguments = ["--category", "rows.txt", "--out", "ghosts.csv", "--read", "read.csv"]
    done = CliRunner().invoke(cli.app, ["ghosts", "E.npy", *arguments])
    assert (done.exit_code, done.stderr) == (0, "")
    why = "the silent ones are dead" if dead else "every feature fires for some image of it"
    assert f"the category has no ghosts ({why}; 0 ghosts, {dead} dead, of 6 features)" in done.stdout
    assert "Nothing to read: read.csv is not written." in done.stdout
    lines = [f"{feature},dead,0\n" for feature in range(dead)]
    assert (tmp_path / "ghosts.csv").read_text() == "".join(["feature,kind,others\n", *lines])
    assert not (tmp_path / "read.csv").exists()


def test_a_category_of_one_image_is_a_warning_in_one_line(threes, tmp_path):
    embedding, rows = threes
    (tmp_path / "rows.txt").write_text(f"{rows[0]}\n")
    done = program("ghosts", "E.npy", "--category", "rows.txt", "--out", "ghosts.csv")
    assert done.returncode == 0
    assert re.fullmatch(r"rarefire: the category has one image: .*\n", done.stderr)
    assert ".py" not in done.stderr
    assert (
        "One image says nothing about the next. The category's images: by position. Written: ghosts.csv"
        in done.stdout
    )
    silent = np.flatnonzero(embedding[rows[0]] == 0)
    assert pd.read_csv(tmp_path / "ghosts.csv").feature.tolist() == silent.tolist()


@pytest.fixture
def small(tmp_path, monkeypatch, rng):
    """An embedding with ghosts, rows, and ways to get either wrong."""
    embedding = np.maximum(rng.normal(size=(20, 9)) - 1, 0)
    embedding[:4, :5] = 0
    spoilt = embedding.copy()
    spoilt[3, 4] = np.nan
    for name, values in {"E": embedding, "negative": embedding - 1, "nan": spoilt}.items():
        np.save(tmp_path / f"{name}.npy", values)
    texts = {"rows": "0\n1\n2\n3\n", "far": "3\n25\n", "twice": "3 1 3", "word": "1\ncat\n", "empty": "\n"}
    texts |= {"minus": "-1\n", "part": "1.5\n", "huge": f"{10**30}\n"}
    for name, text in texts.items():
        (tmp_path / f"{name}.txt").write_text(text)
    (tmp_path / "binary.txt").write_bytes(bytes(range(256)))
    monkeypatch.chdir(tmp_path)
    return embedding


def said_wrong(monkeypatch, capsys, *arguments):
    """Exit status and the one line of an error."""
    monkeypatch.setattr(sys, "argv", ["rarefire", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.run()
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.strip().splitlines()) == 1
    assert said.err.startswith("rarefire: ")
    return stopped.value.code, said.err


@pytest.mark.parametrize(
    ("arguments", "message", "status"),
    [
        (["--category", "far.txt"], "far.txt names image 25; there are 20, numbered from 0", 1),
        (["--category", "twice.txt"], "twice.txt: image 3 is named twice", 1),
        (["--category", "word.txt"], "word.txt holds row numbers from 0, one a line; got 'cat'", 1),
        (["--category", "minus.txt"], "row numbers from 0, one a line; got '-1'", 1),
        (["--category", "part.txt"], "row numbers from 0, one a line; got '1.5'", 1),
        (["--category", "empty.txt"], "empty.txt names no images: the category has none", 1),
        (["--category", "none.txt"], "there is no file none.txt", 1),
        (["--category", "binary.txt"], "binary.txt cannot be read as text", 1),
        (["--category", "."], "\\. is a folder, not a file. Name a file", 1),
        (["--category", "rows.txt", "--out", "rows.txt"], "rows.txt is named twice", 1),
        (["--category", "rows.txt", "--out", "./E.npy"], "E.npy is named twice", 1),
        (["--category", "rows.txt", "--read", "out.csv"], "out.csv is named twice", 1),
        (["--category", "rows.txt", "--out", "."], "it is a folder; name a file", 1),
        ([], "Missing option '--category'", 2),
        (["--category", "rows.txt", "--top", "0"], "Invalid value for '--top'", 2),
        (["--category", "rows.txt", "--components", "x"], "Invalid value for '--components'", 2),
        pytest.param(
            ["--category", "huge.txt"],
            r"huge.txt.*\d\.?$",
            1,
        ),
    ],
)
def test_errors_of_ghosts(small, tmp_path, monkeypatch, capsys, arguments, message, status):
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    out = [] if "--out" in arguments else ["--out", "out.csv"]
    found = said_wrong(monkeypatch, capsys, "ghosts", "E.npy", *out, *arguments)
    assert found[0] == status
    assert re.search(message, found[1]), found[1]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("negative.npy", "activations are negative .* Name the ReLU's layer"),
        ("nan.npy", "1 of 20 images have NaN or infinite features"),
        ("none.npy", "there is no file none.npy"),
        ("rows.txt", "rows.txt is named twice"),
        ("far.txt", "far.txt cannot be read as a matrix of numbers: it holds no numbers"),
    ],
)
def test_embeddings_that_have_no_ghosts(small, tmp_path, monkeypatch, capsys, file, message):
    status, said = said_wrong(monkeypatch, capsys, "ghosts", file, "--category", "rows.txt", "--out", "o.csv")
    assert status == 1
    assert re.search(message, said), said
    assert not (tmp_path / "o.csv").exists()


@pytest.mark.parametrize("file", ["negative.npy", "nan.npy"])
def test_rows_are_not_blamed_for_the_embedding(small, monkeypatch, capsys, file):
    _, said = said_wrong(monkeypatch, capsys, "ghosts", file, "--category", "rows.txt", "--out", "o.csv")
    assert "rows.txt" not in said


def test_a_reading_that_cannot_be_written_leaves_no_table(small, tmp_path, monkeypatch, capsys):
    arguments = ("--category", "rows.txt", "--out", "o.csv", "--read", "E.npy/read.csv")
    status, said = said_wrong(monkeypatch, capsys, "ghosts", "E.npy", *arguments)
    assert status == 1
    assert "could not write" in said
    assert not (tmp_path / "o.csv").exists()


@pytest.fixture
def pictures(own_cache, tmp_path, monkeypatch, rng):
    """Ten pictures of three sizes in a folder and its folders, and a network with random weights."""
    for i, (name, size) in enumerate(
        [("b.png", 70), ("a.png", 64), *((f"in/{j}.png", 90) for j in range(8))]
    ):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        tile = np.clip(rng.normal(25 * i, 40, (8, 8, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(tile).resize((size, 80)).save(path)
    (tmp_path / "images" / "notes.txt").write_text("not a picture")
    network = networks.build("squeezenet1_0", input_shape=(3, 64, 64))
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    monkeypatch.chdir(tmp_path)
    return network


@pytest.mark.parametrize("pooled", [False, True])
def test_embedding_a_folder_of_images(pictures, tmp_path, pooled):
    arguments = ["embed", "images", *SQUEEZENET, "--layer", "features"]
    arguments += ["--out", "out/E.npy", "--names", "out/names.txt"]
    done = CliRunner().invoke(cli.app, [*arguments, *["--pooled"][: int(pooled)]])
    assert done.exit_code == 0, done.output
    width = 512 if pooled else 512 * 3 * 3
    assert f"10 images × {width:,} features, squeezenet1_0, features. Written: out/E.npy" in done.stdout
    names = (tmp_path / "out" / "names.txt").read_text().splitlines()
    assert names == ["a.png", "b.png", *(f"in/{j}.png" for j in range(8))]
    images = np.concatenate([stimuli.gallery("images", size=64)[[i]] for i in range(10)])
    spatial = "mean" if pooled else "flatten"
    expected = embeddings.extract(pictures, images, layer="features", spatial=spatial)
    saved = np.load(tmp_path / "out" / "E.npy")
    assert (saved.dtype, saved.shape) == (np.float32, (10, width))
    np.testing.assert_allclose(saved, expected, rtol=1e-4, atol=1e-6)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["E.names.txt", "E.npy", "names.txt"]
    assert (tmp_path / "out" / "E.names.txt").read_text().splitlines() == names

    # What it writes is what the other commands read.
    (tmp_path / "rows.txt").write_text("".join(f"{i}\n" for i, n in enumerate(names) if "/" not in n))
    done = CliRunner().invoke(
        cli.app, ["ghosts", "out/E.npy", "--category", "rows.txt", "--out", "g.csv", "--read", "r.csv"]
    )
    assert done.exit_code == 0, done.output
    found = ghosts.find(saved, [0, 1])
    pd.testing.assert_frame_equal(pd.read_csv("g.csv"), found.table())
    assert len(found.features) > 0
    assert set(pd.read_csv("r.csv").image) <= set(range(2, 10))


OWN = """
from torch import nn

def tiny(features=5):
    head = [nn.Linear(12, features), nn.ReLU(), nn.Linear(features, 2)]
    return nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), *head)

def needs(features):
    return tiny(features)
"""


def test_embedding_by_a_network_of_ones_own(pictures, tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "nets.py").write_text(OWN)
    arguments = ["embed", "images", "--network", "own/nets.py:tiny", "--size", "64", "--out", "E.npy"]
    done = CliRunner().invoke(cli.app, arguments)
    assert done.exit_code == 0, done.output
    assert "10 images × 5 features, tiny, penultimate. Written: E.npy" in done.stdout
    network, images = networks.build("own/nets.py:tiny"), stimuli.gallery("images", size=64)[:]
    saved = np.load("E.npy")
    np.testing.assert_allclose(saved, embeddings.extract(network, images), rtol=1e-5, atol=1e-6)
    # The same weights with another source are another network.
    (tmp_path / "own" / "nets.py").write_text(OWN.replace("nn.ReLU()", "nn.ReLU6(), nn.Threshold(0.2, 0)"))
    assert CliRunner().invoke(cli.app, arguments).exit_code == 0
    assert (np.load("E.npy") != saved).any()
    torch.save(networks.build("own/nets.py:tiny", seed=8).state_dict(), "eight.pth")
    assert CliRunner().invoke(cli.app, [*arguments, "--weights", "eight.pth"]).exit_code == 0
    expected = embeddings.extract(networks.build("own/nets.py:tiny", seed=8), images)
    np.testing.assert_allclose(np.load("E.npy"), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["embed", "images", "--out", "E.npy", "--network", "none.py:tiny"], "there is no file"),
        (["embed", "images", "--out", "E.npy", "--network", "nets.py:tyni"], "There are: tiny, needs."),
        (["embed", "images", "--out", "E.npy", "--network", "nets.py:needs"], "but needs features."),
        (["embed", "images", "--out", "E.npy", "--network", "nets.py"], "nets.py:function."),
        (
            ["embed", "images", "--out", "E.npy", "--network", "torn.py:tiny"],
            "torn.py failed with NameError: ",
        ),
        (
            ["embed", "images", "--out", "E.npy", "--network", "nets.py:tiny", "--weights", "DEFAULT"],
            "nets.py:tiny is a network of one's own, with its own outputs",
        ),
        (["people", "mur", "--network", "nets.py:needs"], "but needs features."),
        (["people", "mur", "--network", "nets.py:tiny", "--out", "nets.py"], "nets.py is named twice"),
        (["record", "ghosts", "--network", "nets.py:needs"], "but needs features."),
        (["record", "ghosts", "--network", "nets.py:tiny", "--ship", "nets.py"], "nets.py is named twice"),
        (["record", "ensembles", "digits", "--network", "nets.py:tiny"], "measured as it is"),
    ],
)
def test_errors_with_a_network_of_ones_own(pictures, tmp_path, monkeypatch, capsys, arguments, message):
    (tmp_path / "nets.py").write_text(OWN)
    (tmp_path / "torn.py").write_text("weights = lost\n")
    before = sorted(tmp_path.rglob("[!.]*"))
    status, said = said_wrong(monkeypatch, capsys, *arguments)
    assert status == 1
    assert message in said
    assert "RAREFIRE_DEBUG" not in said
    assert sorted(tmp_path.rglob("[!.]*")) == before
    assert (tmp_path / "nets.py").read_text() == OWN


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["images", "--out", "E.npy"], "no weights of vgg19 on this machine. Say --weights DEFAULT"),
        (["images", "--out", "images/in/E.npy"], "E.npy would lie among the images that are read"),
        (["images", "--out", "E.npy", "--names", "images/n.txt"], "n.txt would lie among the images"),
        (["images", "--out", "E.npy", "--network", "squeezenet"], "there is no network 'squeezenet'"),
        (["images", "--out", "E.npy", "--names", "E.npy"], "E.npy is named twice"),
        (["images", "--out", "w.npy", "--weights", "w.npy"], "w.npy is named twice"),
        (["none", "--out", "E.npy"], "there is no folder none"),
        (["images/in/0.png", "--out", "E.npy"], "there is no folder images/in/0.png"),
        (["empty", "--out", "E.npy"], "empty and its folders hold no pictures"),
        (["images", "--out", "E.csv", *SQUEEZENET], "--out is a .npy file or a .zarr store; got 'E.csv'"),
        (["images", "--out", "E.npy", *SQUEEZENET, "--layer", "feature"], "there is no layer 'feature'"),
        (["images", "--out", "E.npy", "--network", "squeezenet1_0", "--weights", "none.pth"], "none.pth"),
    ],
)
def test_errors_of_embed(pictures, tmp_path, monkeypatch, capsys, arguments, message):
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.rglob("[!.]*"))
    status, said = said_wrong(monkeypatch, capsys, "embed", *arguments)
    assert status == 1
    assert message in said
    assert "RAREFIRE_DEBUG" not in said
    assert sorted(tmp_path.rglob("[!.]*")) == before


def test_a_layer_that_does_not_exist_leaves_nothing_behind(pictures, tmp_path, monkeypatch, capsys):
    before = sorted(tmp_path.iterdir())
    said_wrong(monkeypatch, capsys, "embed", "images", "--out", "E.npy", *SQUEEZENET, "--layer", "feature")
    assert sorted(tmp_path.iterdir()) == before


# --- names that lead to anything ------------------------------------------------------------------


@pytest.mark.parametrize("command", ["{run} --out /dev/stdout > out", "{run} --out link 2> err | cat > out"])
def test_a_table_on_standard_output_is_alone_there(small, tmp_path, command):
    """What is said besides goes to standard error."""
    (tmp_path / "link").symlink_to("/dev/stdout")
    run = shlex.join([str(PROGRAM), "poz", "E.npy"])
    done = subprocess.run(command.format(run=run), shell=True, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")
    said = done.stderr or (tmp_path / "err").read_text()
    assert re.fullmatch(r"9 features: .*\. Written: (/dev/stdout|link)\n", said)
    table = pd.read_csv(tmp_path / "out")
    np.testing.assert_allclose(table.poz, (small == 0).mean(axis=0))
    assert table.columns.tolist() == ["feature", "poz", "kind"]
    assert (tmp_path / "link").is_symlink()


ARRAYS = [
    "poz X.npy --out o.csv",
    "curve E.npy --human X.npy --out o.csv",
    "people X.npy --out o.csv",
    "embed images --network squeezenet1_0 --weights X.npy --out o.npy",
]
TEXTS = [
    "curve E.npy --human X --out o.csv",
    "explore E.npy --labels X --out o.html",
    "ghosts E.npy --category X --out o.csv",
    "people X --out o.csv",
]


@pytest.mark.parametrize("kind", ["folder", "pipe", "socket", "device"])
def test_what_is_no_file_is_refused_and_not_waited_for(
    small, pictures, tmp_path, monkeypatch, capsys, in_time, no_file, kind
):
    for name in ("X", "X.npy"):
        no_file(tmp_path / name, kind)
    before = sorted(tmp_path.rglob("*"))
    for command in [*ARRAYS, *TEXTS]:
        said = f"is a {kind}, not a file. Name a file."
        if kind == "pipe" and (command in TEXTS or "--human" in command or command.startswith("people")):
            said = "is an empty pipe into which nobody writes. Name a file."
        assert said in said_wrong(monkeypatch, capsys, *command.split())[1], command
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
def test_among_images_what_is_no_file_is_passed_over_or_named(
    pictures, tmp_path, monkeypatch, capsys, in_time, no_file, kind
):
    no_file(tmp_path / "images" / "in" / "c.png", kind)
    assert len(stimuli.gallery("images", size=64)) == 10
    status, said = said_wrong(monkeypatch, capsys, "record", "ensembles", "folder:images", "--instances", "1")
    assert status == 1
    assert "c.png cannot be read as an image: it is no file. Replace or remove it." in said


@pytest.fixture
def said_by_a_command(in_time):
    """A path such as a shell's <(command) makes, out of which comes a text."""
    with contextlib.ExitStack() as opened:

        def path(text):
            reading, writing = os.pipe()
            opened.callback(os.close, reading)
            with os.fdopen(writing, "w", encoding="utf-8") as file:
                file.write(text)
            return f"/dev/fd/{reading}"

        yield path


def test_what_another_command_says_is_read(small, said_by_a_command):
    """The same tables as from files; and categories of images."""
    texts = {"human": "\n".join(",".join(f"{abs(i - j)}" for j in range(20)) for i in range(20))}
    texts |= {"category": Path("rows.txt").read_text()}
    Path("human").write_text(texts["human"])
    for command, option, file in (("curve", "human", "human"), ("ghosts", "category", "rows.txt")):
        tables = []
        for path in (file, said_by_a_command(texts[option])):
            done = run(command, "E.npy", f"--{option}", path, "--out", "o.csv")
            assert done.exit_code == 0, done.output
            tables.append(pd.read_csv("o.csv"))
        pd.testing.assert_frame_equal(*tables)
    done = run("explore", "E.npy", "--labels", said_by_a_command("a\nö\n" * 10), "--out", "o.html")
    assert done.exit_code == 0, done.output
    assert re.search(r'"names": \[+"a", "(ö|\\u00f6)"\]', Path("o.html").read_text(encoding="utf-8"))


@pytest.mark.parametrize("text", ["image1,image2,rating\na,b,1\na,c,2\nb,c,3\n", "0,1,2\n1,0,3\n2,3,0\n"])
def test_ratings_that_another_command_says(said_by_a_command, text):
    """A table or a matrix: it is read once, although it may be either."""
    np.testing.assert_array_equal(ratings.read(said_by_a_command(text)).human, [1, 2, 3])


def test_a_second_run_says_that_another_one_writes(pictures, tmp_path, monkeypatch, capsys):
    arguments = ["embed", "images", *SQUEEZENET, "--layer", "features", "--out", "E.npy"]
    with store.alone(tmp_path / "E.npy"):
        before = sorted(tmp_path.iterdir())
        status, said = said_wrong(monkeypatch, capsys, *arguments)
        assert sorted(tmp_path.iterdir()) == before
    assert status == 1
    assert re.search(r"another run is writing .*E\.npy\. Wait for it, or stop it and start again", said)


def test_links_that_lead_to_one_file_or_in_a_circle(small, tmp_path, monkeypatch, capsys):
    (tmp_path / "link").symlink_to("E.npy")
    (tmp_path / "circle").symlink_to("circle")
    for out, message in (("link", "E.npy is named twice"), ("circle", "circle: Too many levels of symbolic")):
        assert message in said_wrong(monkeypatch, capsys, "poz", "E.npy", "--out", out)[1]
    (tmp_path / "table").symlink_to("table.csv")
    done = CliRunner().invoke(cli.app, ["poz", "link", "--out", "table"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "table").is_symlink()
    assert len(pd.read_csv("table.csv")) == 9


def test_an_optional_part_that_is_not_installed_is_named(tmp_path, monkeypatch, capsys):
    (tmp_path / "_toc.yml").write_text("root: index")
    monkeypatch.setitem(sys.modules, "yaml", None)
    monkeypatch.delitem(sys.modules, "rarefire.page.build", raising=False)
    monkeypatch.delattr(rarefire, "book", raising=False)
    status, said = said_wrong(monkeypatch, capsys, "book", str(tmp_path))
    message = "rarefire: this needs yaml, which is not installed: pip install 'rarefire[book]'.\n"
    assert (status, said) == (1, message)


def test_version(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["rarefire", "--version"])
    with pytest.raises(SystemExit) as stopped:
        cli.run()
    assert (stopped.value.code, capsys.readouterr().out) == (0, f"rarefire {rarefire.__version__}\n")


# --- the book's own ------------------------------------------------------------------------------


def test_error_rates_are_printed_from_the_record(own_cache):
    done = run("record", "error-rates")
    assert done.exit_code == 0, done.stderr
    assert re.search(r"plain jackknife +image +test +True +0\.0\d\d", done.stdout)


def test_networks_and_sets_are_printed_from_the_record(own_cache, monkeypatch):
    done = run("record", "people-across")
    assert done.exit_code == 0, done.stderr
    assert re.search(r"letters +mobilenet_v2 +0\.027 +0\.015 +0\.039 +0\.000 +0\.00\d", done.stdout)
    assert "Source: 5 networks on 4 sets of judgments (60 views, recorded runs)" in done.stdout
    assert re.search(r"efficientnet_lite0 +0\.004 +0\.037", done.stdout)
    assert list(own_cache.rglob("*")) == []
    monkeypatch.delenv("RAREFIRE_MIRROR", raising=False)
    done = run("record", "people-across", "googlenet", "--set", "letters")
    assert done.exit_code == 1
    assert "no network of googlenet is on this machine: set RAREFIRE_MIRROR" in done.stderr
    done = run("record", "people-across", "--set", "moon")
    assert "no set 'moon'" in done.stderr


def test_orders_ask_for_networks_and_sets_that_are_there(own_cache):
    done = run("record", "people-orders", "googlenet", "--set", "letters")
    assert done.exit_code == 1
    assert "no network of googlenet is on this machine: set RAREFIRE_MIRROR" in done.stderr
    done = run("record", "people-orders", "--set", "moon")
    assert "no set 'moon'" in done.stderr


@pytest.mark.filterwarnings("ignore:.* has no train/ and test/")
def test_study_of_a_folder_of_real_digits(own_cache, tmp_path):
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    for c in range(3):
        for i in np.flatnonzero(digits.target == c)[:40]:
            path = tmp_path / "digits" / str(c) / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((digits.images[i] * 15).astype("uint8")).resize((32, 32)).save(path)
    ship = ("--ship", str(tmp_path / "out.npz"))
    done = run(
        "record", "ensembles", f"folder:{tmp_path / 'digits'}", "--instances", "1", "--jobs", "1", *ship
    )
    assert done.exit_code == 0, done.stderr
    assert re.search(r"Source: lenet5 on folder:\S+ \(1 instance, computed on this machine\)", done.stdout)
    assert float(re.search(r"median ([\d.]+)%", done.stdout)[1]) > 90
    arrays, stamp = store._read(tmp_path / "out.npz")
    assert arrays["poz_test"].shape == (1, 84)
    assert stamp["facts"][0]["seed"] == 0
    assert stamp["versions"]["torch"]
    # Beside it, what travels in the book: a sample of its features, and its weights.
    assert sorted(path.name for path in tmp_path.glob("*.npz")) == [
        "out-sample.npz",
        "out-weights.npz",
        "out.npz",
    ]
    sample, _ = store._read(tmp_path / "out-sample.npz")
    assert sample["embedding"].shape[2] == 84
    weights, stamp = store._read(tmp_path / "out-weights.npz")
    assert stamp["question"] == "weights"
    assert weights["fc3.bias"].shape == (1, 3)


@pytest.fixture
def one_epoch(own_cache, monkeypatch):
    """Digits, trained for a moment."""
    monkeypatch.setitem(training.RECIPES, "digits", training.Recipe(batch_size=64, max_epochs=1))


def elsewhere(monkeypatch, tmp_path):
    """Another machine: what was shipped is there, what was cached is not, and nothing can be trained."""

    def train(*_, **__):
        raise InputError("it would train")

    monkeypatch.setattr(store, "data_dir", lambda: tmp_path / "data")
    monkeypatch.setenv("RAREFIRE_CACHE", str(tmp_path / "none"))
    monkeypatch.setattr(training, "train", train)


def test_a_study_ships_weights_and_samples_with_it(one_epoch, tmp_path, monkeypatch):
    path = tmp_path / "data" / "results" / "digits-lenet5.npz"
    arguments = ["record", "ensembles", "digits", "--instances", "2", "--jobs", "1"]
    done = CliRunner().invoke(cli.app, [*arguments, "--ship", str(path)])
    assert done.exit_code == 0, done.output
    assert f"written: {path}" in done.stdout
    (instance,) = training.train("digits", seeds=[0], progress=False)
    test = stimuli.load("digits", "test")
    expected = embeddings.extract(instance.network(), test)

    elsewhere(monkeypatch, tmp_path)
    assert records.ensembles.known("digits").recorded
    again = embeddings.extract(records.ensembles.trained("digits", seed=0), test)
    np.testing.assert_allclose(again, expected, rtol=1e-4, atol=1e-5)
    for seed in (0, 1):
        assert records.ensembles.excerpt("digits", seed=seed)["embedding"].shape == (100, 84)
    shipped = records.ensembles.excerpt("digits", seed=0)
    np.testing.assert_allclose(shipped["embedding"], expected[shipped["rows"]], rtol=1e-3, atol=1e-4)
    again = CliRunner().invoke(cli.app, arguments)
    assert (again.exit_code, again.stdout.splitlines()[:2]) == (0, done.stdout.splitlines()[:2])
    assert "(2 instances, computed on this machine)" in done.stdout
    assert "(2 instances, recorded runs)" in again.stdout


def test_a_study_of_another_form_ships_its_numbers_alone(one_epoch, tmp_path):
    path = tmp_path / "out.npz"
    arguments = [
        "record",
        "ensembles",
        "digits",
        "--network",
        "lenet5-half",
        "--instances",
        "1",
        "--ship",
        str(path),
    ]
    done = CliRunner().invoke(cli.app, arguments)
    assert done.exit_code == 0, done.output
    assert [found.name for found in tmp_path.glob("*.npz")] == ["out.npz"]
    assert store._read(path)[0]["poz_test"].shape == (1, 42)


# --- variations of the recipe --------------------------------------------------------------------


@pytest.fixture
def short(own_cache, monkeypatch):
    """Variations of the recipe with two epochs each."""
    for name, variation in records.recipes.VARIATIONS.items():
        changed = replace(variation, changes={**variation.changes, "max_epochs": 2})
        monkeypatch.setitem(records.recipes.VARIATIONS, name, changed)


def test_variations_are_tabulated_and_shipped(short, tmp_path, monkeypatch):
    path = tmp_path / "data" / "results" / "digits-variations.npz"
    arguments = ["record", "recipes", "digits", "sgd", "--instances", "1", "--jobs", "1"]
    done = CliRunner().invoke(cli.app, [*arguments, "--ship", str(path)])
    assert done.exit_code == 0, done.output
    title, head, row, last = done.stdout.splitlines()
    assert title == "digits, median of 1 instance"
    assert last == f"written: {path}"
    assert head.split() == ["name", "recipe", "epochs", "accuracy", "PoZ", ">", "80%", "never", "fire"]

    elsewhere(monkeypatch, tmp_path)
    found = records.recipes.known("digits", seeds=[0])
    assert list(found) == ["sgd"]
    (answer,) = found["sgd"].answers
    assert answer.source == "shipped"
    assert answer.provenance["facts"]["recipe"]["optimizer"] == "sgd"
    arrays = answer.arrays
    over_80 = arrays["over"][80]  # thresholds are 0, .01, …
    numbers = [arrays["epochs"], arrays["accuracy"], over_80, arrays["dead"]]
    assert row.split() == ["sgd", "SGD", *(f"{number:.3f}" for number in numbers)]
    assert arrays["epochs"] == 2

    # What is shipped is not computed again, unless it is asked for.
    again = CliRunner().invoke(cli.app, arguments)
    assert (again.exit_code, again.stdout.splitlines()) == (0, [title, head, row])
    anew = CliRunner().invoke(cli.app, [*arguments, "--recompute"])
    assert anew.exit_code == 1
    assert "rarefire: it would train" in anew.stderr


def test_every_variation_is_asked_for_unless_some_are_named(short, tmp_path, monkeypatch):
    asked: list[tuple[object, ...]] = []
    said: list[str] = []

    def measure(images, names, **options):
        asked.append((images, list(names), list(options["seeds"]), options["use_shipped"]))
        return {}

    monkeypatch.setattr(records.recipes, "measure", measure)
    for arguments in (["mnist"], ["digits", "half", "l2", "--instances", "5", "--recompute"]):
        done = CliRunner().invoke(cli.app, ["record", "recipes", *arguments])
        said.append(done.stdout.splitlines()[0])
    assert said == ["mnist, median of 3 instances", "digits, median of 5 instances"]
    assert asked == [
        ("mnist", list(records.recipes.VARIATIONS), [0, 1, 2], True),
        ("digits", ["half", "l2"], [0, 1, 2, 3, 4], False),
    ]


@pytest.mark.parametrize(
    ("arguments", "message", "status"),
    [
        (["digits", "sdg"], "there is no variation 'sdg'. There are: sgd, ", 1),
        (["digits", "sgd", "sdg"], "there is no variation 'sdg'. There are: sgd, ", 1),  # before it trains
        (["minst", "sgd"], "there is no image set 'minst'. There are: mnist", 1),
        (["digits", "sgd", "--instances", "0"], "Invalid value for '--instances'", 2),
        ([], "Missing argument 'images'", 2),
    ],
)
def test_errors_of_variations(short, tmp_path, monkeypatch, capsys, arguments, message, status):
    elsewhere(monkeypatch, tmp_path)
    found = said_wrong(monkeypatch, capsys, "record", "recipes", *arguments)
    assert found[0] == status
    assert message in found[1]
    if "variation " in message:
        assert all(name in found[1] for name in records.recipes.VARIATIONS)


@pytest.mark.browser
def test_an_explorer_page_of_a_file(files, tmp_path, tab):
    embedding, pixels = files
    (tmp_path / "labels.txt").write_text(
        "".join(f"{'even' if i % 2 == 0 else 'odd'} & co\n" for i in range(150))
    )
    done = run(
        "explore", "E.npy", "--human", "RDM.csv", "--labels", "labels.txt", "--out", "page.html",
        "--images", "60", "--seed", "4",
    )  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert "60 of 150 images, drawn with seed 4" in done.stdout
    tab.goto((tmp_path / "page.html").as_uri())
    tab.locator("[data-ready]").wait_for()
    tab.get_by_role("slider").fill("30")
    tab.get_by_text("30 of 84").first.wait_for()
    rows = np.sort(np.random.default_rng(4).choice(150, 60, replace=False))
    curve = curves.rdm_curve(embedding[rows], pixels[np.ix_(rows, rows)], poz.order(poz.poz(embedding)))
    shown = float(tab.locator(".rf-r2").get_attribute("data-r"))
    assert shown == pytest.approx(curve.r[29], abs=1e-3)
    assert tab.get_by_role("combobox").first.locator("option").all_inner_texts() == ["even & co", "odd & co"]
    assert tab.evaluate("document.documentElement.scrollWidth") <= 1280


def test_errors_of_explore(files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labels.txt").write_text("a\nb\n")
    for arguments, message in [
        (("--labels", "labels.txt", "--out", "p.html"), "labels.txt has 2 lines; there are 150 images"),
        (("--labels", "none.txt", "--out", "p.html"), "none.txt"),
        (("--similarity", "--out", "p.html"), "name one with --human"),
        (("--out", "p.txt"), "--out is an .html file"),
        (("--out", "E.npy"), "E.npy"),
        (("--images", "500", "--out", "p.html", "--human", "none.npy"), "none.npy"),
    ]:
        done = CliRunner().invoke(cli.app, ["explore", "E.npy", *arguments])
        assert done.exit_code == 1, arguments
        assert message in done.stderr
        assert not (tmp_path / "p.html").exists()


def test_people_of_a_file_of_ratings(own_cache, tmp_path, monkeypatch, rng):
    """Two people rate every pair of invented images; a network with random weights predicts them."""
    monkeypatch.setattr(records.people, "ORDERS", 9)
    monkeypatch.setattr(records.people, "BAND", 3)
    monkeypatch.setattr(records.people, "RIDGE_SHARES", (0.5, 1.0))
    (tmp_path / "images").mkdir()
    base = rng.uniform(0, 255, size=(4, 8, 8, 3))
    names = [f"{i:02}" for i in range(24)]
    for i, name in enumerate(names):
        tile = np.clip(base[i % 4] + rng.normal(0, 30, (8, 8, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(tile).resize((64, 64)).save(tmp_path / "images" / f"{name}.png")
    pairs = [(i, j) for i in range(24) for j in range(i)]
    rows = [
        (names[i], names[j], 10 * (i % 4 == j % 4) - rng.uniform(0, 3), subject)
        for i, j in pairs
        for subject in "AB"
    ]
    table = pd.DataFrame(rows, columns=["image1", "image2", "rating", "subject"])
    table.to_csv(tmp_path / "ratings.csv", index=False)
    network = networks.build("squeezenet1_0", input_shape=(3, 64, 64))
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    arguments = [
        "people",
        "ratings.csv",
        "--images",
        "images",
        "--similarity",
        "--size",
        "64",
        "--out",
        "out.csv",
    ]
    arguments += ["--network", "squeezenet1_0", "--layer", "features", "--weights", "weights.pth"]
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli.app, arguments)
    assert done.exit_code == 0, done.output
    assert "24 images, 276 pairs, 2 subjects" in done.stdout
    assert done.stdout.count("positions") == 2  # low and high PoZ first
    found = pd.read_csv(tmp_path / "out.csv")
    given = ratings.read(tmp_path / "ratings.csv", images=tmp_path / "images", size=64, similarity=True)
    pooled = embeddings.views(network, given.images, layer="features")[0]
    expected = curves.rdm_curve(pooled.embedding, given.human, poz.order(pooled.poz)).r
    np.testing.assert_allclose(found[found.view == "pooled"].low, expected, atol=1e-6)
    assert expected[-1] > 0.2  # even random weights see which images are alike
    again = CliRunner().invoke(cli.app, arguments)
    assert again.stdout == done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["people", "mur"], "a network needs the images that were judged: name their folder (--images"),
        (
            ["people", "mur", "--similarity"],
            "--rating, --human-array and --by-position are for a file of ratings; mur",
        ),
        (["people", "mur", "--network", "vgg91"], "there is no network 'vgg91'"),
        (["people", "mur", "--weights", "w.pth", "--ship", "w.pth"], "w.pth is named twice"),
        (["people", "r.csv", "--images", ".", "--out", "i/out.csv"], "out.csv would lie among the images"),
        (["people", "other"], "no weights of vgg19 on this machine. Say --weights DEFAULT"),
        (["people", "nothing.csv"], "there is no file nothing.csv"),
        (["people", "ratings.csv", "--out", "ratings.csv"], "ratings.csv is named twice"),
    ],
)
def test_errors_of_people(own_cache, tmp_path, monkeypatch, arguments, message):
    shown = stimuli.Stimuli(
        "other", "test", np.zeros((25, 3, 8, 8), np.float32), np.zeros(25, int), ("a",), ""
    )

    def load(name, **_):
        images = shown if name == "other" else None
        return judgments.Judgments(
            *(name, np.arange(300.0), None, None, None, images),
            *(tuple(f"img{i}" for i in range(25)), "", "", ""),
        )

    monkeypatch.setattr(judgments, "NAMES", ["mur", "other"])
    monkeypatch.setattr(judgments, "load", load)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli.app, arguments)
    assert done.exit_code == 1
    assert message in done.stderr


def test_errors_are_one_message_and_no_traceback(own_cache, tmp_path, monkeypatch, capsys):
    for arguments, message in [
        (("record", "ensembles", "minst"), "no image set 'minst'. There are: mnist"),
        (("record", "ensembles", "digits", "--network", "lenet6"), "no network 'lenet6'"),
        (("book", str(tmp_path)), "holds no _toc.yml: run this in a clone of the book"),
        (("book", "--instances", "3", "--seed", "7"), "one of the 3 instances, 0 to 2; got 7"),
    ]:
        status, said = said_wrong(monkeypatch, capsys, *arguments)
        assert status == 1
        assert message in said


def test_ship_writes_what_find_finds(own_cache, tmp_path, monkeypatch):
    recipe = training.Recipe(batch_size=64, max_epochs=1)
    monkeypatch.setitem(training.RECIPES, "digits", recipe)
    made = records.ensembles.measure("digits", seeds=[4, 5], jobs=1, progress=False)
    sample = records.ensembles.excerpt("digits", seed=5)
    records.ensembles.ship(made, tmp_path / "data" / "results" / "digits.npz")
    monkeypatch.setattr(store, "data_dir", lambda: tmp_path / "data")
    monkeypatch.setenv("RAREFIRE_CACHE", str(tmp_path / "none"))
    found = records.ensembles.known("digits", seeds=range(10))
    assert found.seeds == (4, 5)
    assert found.recorded
    np.testing.assert_allclose(found["low"], made["low"], atol=1e-7)
    assert (tmp_path / "data" / "results" / "digits-sample.npz").is_file()
    shipped = records.ensembles.excerpt("digits", seed=5)  # no checkpoint is there to compute it from
    np.testing.assert_array_equal(shipped["embedding"], sample["embedding"])


# --- layers of every kind, and weights of every kind -----------------------------------------------

KINDS = """
from torch import nn
from torchvision.models import VisionTransformer

def vit():
    sizes = {"num_layers": 1, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 32, "num_classes": 7}
    return VisionTransformer(image_size=64, patch_size=16, **sizes)

class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.relu = nn.Conv2d(3, 4, 8, 8), nn.Conv2d(4, 6, 1), nn.ReLU()

    def forward(self, x):
        return self.relu(self.second(self.relu(self.first(x)))).mean((2, 3))

class Turned(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.relu = nn.Conv2d(3, 4, 16, 16), nn.ReLU()

    def forward(self, x):
        return self.relu(self.conv(x).flatten(2).permute(2, 0, 1)).mean(0)
"""


@pytest.mark.parametrize(
    ("function", "options", "said", "arranged"),
    [
        ("vit", ["--pooled"], "16 features, each the mean of 17 tokens", lambda a: a.mean(axis=1)),
        ("vit", ["--class-token"], "16 features of the class token, the first of 17", lambda a: a[:, 0]),
        ("vit", [], "16 features at 17 tokens", lambda a: a.reshape(10, -1)),
        (
            "Turned",
            ["--positions", "tokens_first", "--pooled"],
            "mean of 16 tokens",
            lambda a: a.mean(axis=0),
        ),
        ("Shared", ["--call", "2", "--pooled"], "mean of 8 × 8 positions", lambda a: a.mean(axis=(2, 3))),
    ],
)
def test_embedding_layers_of_every_kind(pictures, tmp_path, monkeypatch, function, options, said, arranged):
    (tmp_path / "nets.py").write_text(KINDS)
    layer = "encoder.ln" if function == "vit" else "relu"
    arguments = ["images", "--network", f"nets.py:{function}", "--size", "64", "--layer", layer]
    run = functools.partial(CliRunner().invoke, cli.app, ["embed", *arguments, *options, "--out", "E.npy"])
    if function == "vit":
        with pytest.warns(
            RarefireWarning, match=r"negative, and PoZ wants none\. This network has no ReLU but GELU "
        ):
            done = run()
    else:
        done = run()
    assert done.exit_code == 0, done.output
    assert said in done.stdout
    kept, model = [], networks.build(f"nets.py:{function}")
    dict(model.named_modules())[layer].register_forward_hook(lambda _, __, out: kept.append(out))
    with torch.no_grad():
        model(torch.from_numpy(stimuli.gallery("images", size=64)[:]))
    np.testing.assert_allclose(np.load("E.npy"), arranged(kept[-1].numpy()), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        (
            "Shared",
            [],
            "runs 2 times in a forward pass and gives (10, 4, 8, 8), (10, 6, 8, 8). Say which with",
        ),
        (
            "Turned",
            [],
            "its first axis is not the images. If that is (tokens, images, features), say positions=",
        ),
        ("vit", ["--pooled", "--class-token"], "say one of the two"),
        ("vit", ["--positions", "last"], "no arrangement of positions 'last'. There are: channels_first"),
    ],
)
def test_layers_that_are_asked_about(pictures, tmp_path, monkeypatch, capsys, function, options, message):
    (tmp_path / "nets.py").write_text(KINDS)
    layer = "encoder.ln" if function == "vit" else "relu"
    arguments = ["images", "--network", f"nets.py:{function}", "--size", "64", "--layer", layer]
    status, said = said_wrong(monkeypatch, capsys, "embed", *arguments, *options, "--out", "E.npy")
    assert status == 1
    assert message in said
    assert not (tmp_path / "E.npy").exists()


def test_weights_of_every_kind_from_the_command_line(pictures, tmp_path):
    """The same embedding, and a line that says what was done."""
    state = pictures.state_dict()
    torch.save({"state_dict": {f"model.{n}": v for n, v in state.items()}}, tmp_path / "lightning.ckpt")
    ten = networks.build("squeezenet1_0", n_classes=10).state_dict()
    core = {name: value for name, value in state.items() if not name.startswith("classifier.")}
    torch.save({**ten, **core}, tmp_path / "ten.pth")
    made = ["embed", "images", "--network", "squeezenet1_0", "--size", "64", "--out", "E.npy"]
    assert CliRunner().invoke(cli.app, [*made, "--weights", "weights.pth"]).exit_code == 0
    expected = np.load("E.npy")
    for file, said in (("lightning.ckpt", "model. taken off the names"), ("ten.pth", "10 outputs")):
        with pytest.warns(RarefireWarning, match=f"^{file}: .*{said}"):
            assert CliRunner().invoke(cli.app, [*made, "--weights", file]).exit_code == 0
        np.testing.assert_array_equal(np.load("E.npy"), expected)
