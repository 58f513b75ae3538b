"""``rarefire dimension``: of a file, through a network, and what it refuses."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from typer.testing import CliRunner

from rarefire import cli, dimension, embeddings, networks, stimuli

WEIGHTS = str(Path(__file__).with_name("lenet5-digits.pth"))
DIGITS = ["digits", "--network", "lenet5", "--weights", WEIGHTS]
COLUMNS = ["estimator", "n", "scale", "dimension", "low", "high", "dropped"]

OWN = """
from torch import nn

def layered():
    used = nn.Conv2d(3, 4, 5, stride=4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3)
    network = nn.Sequential(*used)
    network.spare = nn.ReLU()
    network.forward = nn.Sequential(*used).forward
    return network

class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 2, 5)
    def forward(self, x):
        return self.convolution(x).relu().mean((2, 3))
"""


def run(*arguments):
    return CliRunner().invoke(cli.app, ["dimension", *map(str, arguments)])


def said_wrong(*arguments):
    """The one line of an error; nothing is written."""
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    done = run(*arguments)
    assert done.exit_code == 1, done.output
    (line,) = done.stderr.strip().splitlines()
    after = {path for path in Path().rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert {path for path in before if path.suffix != ".pyc"} == after
    return line


@pytest.fixture
def here(tmp_path, own_cache, monkeypatch):
    rng = np.random.default_rng(0)
    np.save(tmp_path / "E.npy", load_digits().data[:600])
    (tmp_path / "images").mkdir()
    for i in range(30):
        Image.fromarray(rng.integers(0, 255, (40, 32, 3), dtype=np.uint8)).save(
            tmp_path / f"images/{i:02}.png"
        )
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_embedding(here):
    done = run("E.npy", "--out", "d.csv")
    assert done.exit_code == 0, done.output
    table = pd.read_csv("d.csv")
    assert table.columns.tolist() == COLUMNS
    (row,) = table.to_dict("records")
    points = np.load("E.npy")
    found = dimension.two_nn(points)
    se = dimension.halves_error(points, rng=np.random.default_rng(0))
    assert row["estimator"] == "two-nn"
    assert (row["n"], row["dropped"]) == (found.n, sum(found.dropped.values()))
    assert row["n"] + row["dropped"] == 600
    expected = [found.scale, found.dimension, found.dimension - 1.96 * se, found.dimension + 1.96 * se]
    assert [row[name] for name in COLUMNS[2:6]] == pytest.approx(expected)
    assert "600 images × 64 features. Written: d.csv" in done.stdout


def test_every_estimator_and_scale(here):
    names = ["two-nn", "two-nn-ml", "gride", "pc", "participation-ratio", "rank"]
    options = [part for name in names for part in ("--estimator", name)]
    assert run("E.npy", "--scales", *options, "--seed", "4", "--out", "d.csv").exit_code == 0
    table, points = pd.read_csv("d.csv"), np.load("E.npy")
    counts = table.estimator.value_counts(sort=False).to_dict()
    gride = {f"gride-{n}": 1 for n in (1, 2, 4, 8, 16, 32)}
    assert counts == {"two-nn": 4, "two-nn-ml": 4, **gride, "pc": 1, "participation-ratio": 1, "rank": 1}
    halved = dimension.decimation(points, rng=np.random.default_rng(4))
    got = table[table.estimator == "two-nn"]
    np.testing.assert_allclose(got.dimension, [one.dimension for one in halved])
    np.testing.assert_allclose(got.low, [one.low for one in halved])
    assert got.n.tolist() == [one.n for one in halved]
    of = table.set_index("estimator")
    assert of.dimension["pc"] == dimension.pc_id(points).dimension
    assert of.dropped["pc"] == dimension.pc_id(points).dropped["constant features"] > 0
    assert of.dimension["rank"] == dimension.numerical_rank(points).dimension
    assert of.loc["pc", ["scale", "low", "high"]].isna().all()


def test_a_constant_embedding_has_empty_cells(here):
    np.save("C.npy", np.ones((50, 4)))
    done = run("C.npy", "--estimator", "two-nn", "--estimator", "rank", "--out", "d.csv")
    assert done.exit_code == 0, done.output
    assert Path("d.csv").read_text().splitlines()[1:] == ["two-nn,0,,,,,50", "rank,50,,0.0,,,0"]


def test_through_a_network(here):
    done = run(*DIGITS, "--images", "120", "--estimator", "two-nn", "--estimator", "pc", "--out", "d.csv")
    assert done.exit_code == 0, done.output
    table = pd.read_csv("d.csv")
    assert table.columns.tolist() == ["layer", *COLUMNS]
    layers = ["input", *["relu1", "pool1", "relu2", "pool2", "fc1", "relu3", "fc2", "relu4", "fc3"]]
    assert table.layer.tolist() == [layer for layer in layers for _ in range(2)]
    test = stimuli.load("digits", "test")
    shown = test.images[np.linspace(0, len(test) - 1, 120).astype(int)]
    options = {"input_shape": test.input_shape, "n_classes": 10, "mean": test.mean, "std": test.std}
    network = networks.build("lenet5", weights=WEIGHTS, **options)
    of = table[table.estimator == "two-nn"].set_index("layer")
    assert of.dimension["input"] == pytest.approx(dimension.two_nn(shown.reshape(120, -1)).dimension)
    for layer in ("pool1", "relu4", "fc3"):
        features = embeddings.extract(network, shown, layer=layer)
        assert of.dimension[layer] == pytest.approx(dimension.two_nn(features).dimension, rel=1e-4)
    assert f"lenet5, 120 of {len(test)} images, all classes together. Written: d.csv" in done.stdout


def test_through_a_network_of_ones_own_and_a_folder(here):
    done = run("images", "--network", "own.py:layered", "--size", "32", "--out", "d.csv")
    assert done.exit_code == 0, done.output
    table = pd.read_csv("d.csv")
    assert table.layer.tolist() == ["input", "1", "2", "4"]  # what is not used is left out
    assert (table.n + table.dropped == 30).all()
    assert table.low.isna().all()  # too few images for halves


def test_what_is_refused_is_one_sentence(here):
    np.save("few.npy", np.ones((19, 4)))
    np.save("nan.npy", np.full((30, 4), np.nan))
    np.save("cube.npy", np.ones((30, 4, 4)))
    Path("text.npy").write_text("no array")
    own = ["images", "--size", "32", "--network"]
    for arguments, message in (
        (["few.npy"], "a dimension needs at least 20 points; got 19. Show the network more images."),
        (["nan.npy"], "30 of 30 images have NaN or infinite features"),
        (["cube.npy"], "an embedding is (n_images, n_features); got (30, 4, 4)"),
        (["text.npy"], "text.npy cannot be read as a matrix of numbers: it has one line, of names"),
        (["absent.npy"], "absent.npy"),
        (["E.npy", "--estimator", "twonn"], "there is no estimator 'twonn'. There are: two-nn, two-nn-ml"),
        (["E.npy", "--weights", WEIGHTS], "--weights is for --network; E.npy is read as an embedding"),
        (["E.npy", "--images", "30"], "--images is for --network"),
        (["E.npy", "--network", "vgg91"], "there is no network 'vgg91'"),
        (["E.npy", *DIGITS[1:]], "there is no image set 'E.npy'"),
        ([*own, "own.py:absent"], "absent"),
        ([*own, "own.py:Functional"], "the network has no activation, pooling or linear layer that is a mod"),
        ([*own, "vgg19"], "no weights of vgg19 on this machine"),
        (["images", "--network", "lenet5"], "lenet5 is made for images of one size: say which with --size"),
        ([*own, "lenet5"], "no weights of lenet5 for folder:images: name a state dict with --weights"),
        (
            ["images", "--size", "16", "--network", "own.py:layered"],
            "does not take these images, 3 × 16 × 16",
        ),
    ):
        assert message in said_wrong(*arguments, "--out", "d.csv"), arguments
    assert "E.npy is named twice" in said_wrong("E.npy", "--out", "E.npy")
    assert "would lie among the images" in said_wrong(*own, "own.py:layered", "--out", "images/d.csv")
    assert "own.py is named twice" in said_wrong(*own, "own.py:layered", "--out", "own.py")
    for i in range(15):
        Path(f"images/{i:02}.png").unlink()
    line = said_wrong(*own, "own.py:layered", "--out", "d.csv")
    assert "a dimension needs at least 20 points; got 15" in line
