"""``rarefire layers``: its tables, what it says of blocks, that it goes on, and what it refuses."""

import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import wait_until
from PIL import Image
from typer.testing import CliRunner

from rarefire import cli, embeddings, networks, similarity, steps, stimuli, subnetworks, transport

WEIGHTS = str(Path(__file__).with_name("lenet5-digits.pth"))
DIGITS = ["lenet5", "digits", "--weights", WEIGHTS]
COLUMNS = ["first", "second", "lower", "upper", "identity", "relative", "cka", "rsa"]
TAKEN = ["relu1", "pool1", "relu2", "pool2", "relu3", "relu4", "fc3"]
FAST = ["--images-at-most", "20", "--starts", "1", "--jobs", "1"]

OWN = """
import torch
from torch import nn

class Scaled(nn.Module):
    def forward(self, x):
        return 2 * x - 1

class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.inside = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU())
    def forward(self, x):
        return x + self.inside(x)

def own():
    torch.manual_seed(0)
    stem = nn.Sequential(nn.Conv2d(3, 4, 5, stride=2), nn.BatchNorm2d(4), nn.ReLU())
    steps = nn.Sequential(Block(4), nn.MaxPool2d(2), Block(4), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    return nn.Sequential(nn.Sequential(Scaled(), stem, steps), nn.Dropout(), nn.Linear(16, 5))

class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two, self.last = nn.Conv2d(3, 4, 5), nn.Linear(4, 6), nn.Linear(6, 3)
        self.turned, self.dead, self.pair = nn.Identity(), nn.ReLU(), nn.LSTM(4, 4)
    def forward(self, x):
        x = self.one(x).flatten(2)
        tokens = self.turned(x.permute(2, 0, 1))
        self.pair(tokens)
        self.dead(-1 - x.abs())
        return self.last(self.two(tokens.mean(0)))

class Whole(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(3, 2)
    def forward(self, x):
        return self.last(x.mean((2, 3)))
"""


def run(*arguments):
    return CliRunner().invoke(cli.app, ["layers", *map(str, arguments)])


def said_wrong(*arguments):
    """The one line of an error; nothing is written."""
    before = set(Path().rglob("*.csv"))
    done = run(*arguments)
    assert done.exit_code == 1, done.output
    (line,) = done.stderr.strip().splitlines()
    assert before == set(Path().rglob("*.csv"))
    return line


@pytest.fixture
def here(tmp_path, own_cache, monkeypatch):
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for i in range(30):
        Image.fromarray(rng.integers(0, 255, (40, 32, 3), dtype=np.uint8)).save(
            tmp_path / f"images/{i:02}.png"
        )
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lenet():
    test = stimuli.load("digits", "test")
    options = {"input_shape": test.input_shape, "n_classes": 10, "mean": test.mean, "std": test.std}
    return networks.build("lenet5", weights=WEIGHTS, **options), test


def agrees(table, network, images, layers, *, n_random, seed=0):
    """Every number is what the direct calls give; returns the map."""
    features = {layer: embeddings.extract(network, images, layer=layer) for layer in layers}
    spaces = {layer: transport.distances(values) for layer, values in features.items()}
    found = dict(transport.each_pair(spaces, seed=seed, n_random=n_random, jobs=1))
    assert [*zip(table["first"], table["second"], strict=True)] == [*itertools.combinations(layers, 2)]
    for row in table.to_dict("records"):
        pair = row["first"], row["second"]
        for name in ("lower", "upper", "identity", "relative"):
            assert row[name] == pytest.approx(getattr(found[pair], name), rel=1e-6), (pair, name)
        alike = similarity.compare(*(features[layer] for layer in pair), measures=["cka", "pearson"])
        assert [row["cka"], row["rsa"]] == pytest.approx([alike["cka"], alike["pearson"]], abs=1e-5)
    return transport.square_map(found, layers)


def test_a_lenet_and_digits(here):
    done = run(*DIGITS, *FAST, "--seed", "3", "--out", "out/layers.csv")
    assert done.exit_code == 0, done.output
    table = pd.read_csv("out/layers.csv")
    assert table.columns.tolist() == COLUMNS
    network, test = lenet()
    rows = np.linspace(0, len(test) - 1, 40).astype(int)
    first = agrees(table, network, test.images[rows[::2]], TAKEN, n_random=1, seed=3)

    second = transport.layer_distances(network, test.images[rows[1::2]], layers=TAKEN)
    others = dict(transport.each_pair(second, seed=3, n_random=1, jobs=1))
    gain = subnetworks.against_chain(first, transport.square_map(others, TAKEN))
    blocks = pd.read_csv("out/layers.blocks.csv")
    assert blocks.columns.tolist() == ["layer", "block"]
    assert blocks.layer.tolist() == TAKEN
    assert blocks.block.tolist() == (gain.partition.labels + 1).tolist()
    for block, own in blocks.groupby("block").layer:
        assert f"Block {block}: {', '.join(own)}.\n" in done.stdout
    assert "lenet5, on 20 of 500 images, and as many others to judge the blocks by.\n" in done.stdout
    assert f"7 layers: {', '.join(TAKEN)}.\n" in done.stdout
    assert f"R² = {gain.blocks:.2f} of the distances, a smooth chain {gain.chain:.2f}" in done.stdout
    assert f"(B = {gain.b:+.2f}), one of uneven steps {gain.uneven:.2f}" in done.stdout
    assert f"(b_uneven = {gain.b_uneven:+.2f})" in done.stdout
    assert (
        "relative is upper divided by what identity would be with one layer's images shuffled" in done.stdout
    )
    assert "% of it for comparing pairs of layers" in done.stdout
    assert "Written: out/layers.csv and out/layers.blocks.csv\n" in done.stdout


def test_a_network_of_ones_own_and_few_images(here):
    """Steps are taken apart until there are enough; what changes nothing is none, nor are pixels."""
    done = run("own.py:own", "images", "--size", "32", "--starts", "0", "--jobs", "1", "--out", "l.csv")
    assert done.exit_code == 0, done.output
    blocks = pd.read_csv("l.blocks.csv")
    assert blocks.layer.tolist() == ["0.1.2", "0.2.0", "0.2.1", "0.2.2", "0.2.3", "2"]
    images = stimuli.gallery("images", size=32)[:]
    first = agrees(
        pd.read_csv("l.csv"), networks.build("own.py:own"), images, blocks.layer.tolist(), n_random=0
    )
    assert blocks.block.tolist() == (subnetworks.best_blocks(first).labels + 1).tolist()
    assert "own, on 30 of 30 images.\n" in done.stdout
    assert "Not judged on other images: 30 are too few for two samples of at least 50.\n" in done.stdout
    assert "B =" not in done.stdout


def test_steps_that_are_too_large_and_images_by_name(here, own_cache, monkeypatch):
    monkeypatch.setattr(steps, "WIDEST", 500)
    arguments = ["own.py:own", "imagenet-sample", "--size", "32", "--starts", "0", "--jobs", "1"]
    assert "there is no image set 'imagenet-sample'" in said_wrong(*arguments, "--out", "l.csv")
    own_cache.mkdir()
    (own_cache / "imagenet-sample").symlink_to(here / "images")
    done = run(*arguments, "--images-at-most", "10", "--out", "l.csv")
    assert done.exit_code == 0, done.output
    assert "Left out, of more than 500 features: 0.1.2, 0.2.0.\n" in done.stdout
    assert "own, on 10 of 30 images, and as many others to judge the blocks by.\n" in done.stdout
    assert pd.read_csv("l.blocks.csv").layer.tolist() == ["0.2.1", "0.2.2", "0.2.3", "2"]


def test_layers_that_are_named_and_a_pipe(here):
    named = [part for layer in ("fc3", "conv1", "fc3", "penultimate") for part in ("--layers", layer)]
    done = run(*DIGITS, *FAST, *named, "--out", "l.csv")
    assert done.exit_code == 0, done.output
    assert pd.read_csv("l.blocks.csv").layer.tolist() == ["fc3", "conv1", "penultimate"]
    command = [sys.executable, "-c", "from rarefire import cli; cli.run()", "layers", *DIGITS, *FAST, *named]
    piped = subprocess.run([*command, "--out", "/dev/stdout"], capture_output=True, text=True)
    assert piped.stdout == Path("l.csv").read_text()
    assert "3 of" not in piped.stderr
    assert "6 of 6 pairs were known from before.\nWritten: /dev/stdout\n" in piped.stderr
    assert not [path for path in Path().rglob("*blocks*") if path.name != "l.blocks.csv"]


def test_killed_it_goes_on(here, own_cache, monkeypatch):
    options = ["--images-at-most", "60", "--starts", "2", "--jobs", "1", "--out"]
    command = [sys.executable, "-c", "from rarefire import cli; cli.run()", "layers", *DIGITS, *options]

    def kept():
        return [*(own_cache / "results").glob("*.npz")]

    with subprocess.Popen([*command, "l.csv"], stdout=subprocess.DEVNULL) as first:
        wait_until(lambda: len(kept()) >= 3, alive=lambda: first.poll() is None)
        first.kill()
    assert first.returncode == -signal.SIGKILL
    assert not [*Path().glob("*.csv")]
    known = len(kept())
    assert known < 42
    again = subprocess.run([*command, "l.csv"], capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert f"{known} of 42 pairs were known from before.\n" in again.stdout
    monkeypatch.setenv("RAREFIRE_CACHE", str(here / "other"))
    undisturbed = subprocess.run([*command, "u.csv"], capture_output=True, text=True, env=os.environ)
    assert "known" not in undisturbed.stdout
    for end in (".csv", ".blocks.csv"):
        assert Path(f"l{end}").read_bytes() == Path(f"u{end}").read_bytes()


def test_other_code_of_a_network_is_not_known(here):
    """Nothing is recalled for a network that has the same weights and does something else."""
    arguments = ["own.py:own", "images", "--size", "32", "--starts", "0", "--jobs", "1", "--out", "l.csv"]
    assert "known" not in run(*arguments).stdout
    before = Path("l.csv").read_text()
    Path("other.py").write_text(OWN.replace("return x + self.inside(x)", "return x - self.inside(x)"))
    done = run("other.py:own", *arguments[1:])
    assert "known" not in done.stdout
    assert Path("l.csv").read_text() != before


def test_what_is_said_of_blocks():
    """Of a map with blocks, and of chains of even and uneven steps: beyond doubt, in that order."""

    def said(kind, noise=0.01):
        rng = np.random.default_rng(1)
        if kind == "blocks":
            places = np.array([[0, 0], [0, 0], [0, 0], [1, 0], [1, 0], [1, 0], [0.5, 0.8], [0.5, 0.8]])
        else:
            sizes = np.ones(7) if kind == "even" else np.array([1, 6, 1, 1, 1, 1, 1])
            places = np.append(0, sizes.cumsum())[:, None] / sizes.sum()
        own = np.linalg.norm(places[:, None] - places, axis=2)[np.triu_indices(8, k=1)]
        pair = [own + noise * rng.random(len(own)) for _ in range(2)]
        labels, sentence = cli.layers._blocks(pair)
        assert len(labels) == 8
        return sentence

    assert "no less than one of uneven steps, as blocks do" in said("blocks")
    assert "explain them no worse than blocks" in said("even")
    assert "less than one that takes larger steps here and there" in said("uneven")


def test_what_is_refused_is_one_sentence(here):
    own = ["images", "--size", "32", "--starts", "0", "--jobs", "1", "--out", "l.csv"]

    def layers(*names):
        return [part for name in names for part in ("--layers", name)]

    for network, options, message in (
        ("own.py:own", layers("0", "1"), "blocks are made of at least 3 layers; got 2. Name more --layers."),
        ("own.py:own", layers("0", "1", "0"), "blocks are made of at least 3 layers; got 2."),
        ("own.py:own", layers("0", "1", "9"), "there is no layer '9'. There are: "),
        (
            "own.py:Whole",
            [],
            "1 of the network's steps can be taken by themselves, 3 are needed: name --layers",
        ),
        ("own.py:Odd", layers("one", "dead", "last"), "dead: all 30 images are equal in this layer: no dist"),
        (
            "own.py:Odd",
            layers("one", "turned", "last"),
            "the layer 'turned' is (784, 1, 4) for 1 image: its f",
        ),
        ("own.py:Odd", layers("one", "pair", "last"), "the layer 'pair' returns a tuple, not one tensor"),
        ("vgg91", [], "there is no network 'vgg91'"),
        ("vgg19", [], "no weights of vgg19 on this machine"),
    ):
        assert message in said_wrong(network, *own, *options), (network, options)
    assert "Leave it out." in said_wrong("own.py:Odd", *own, *layers("one", "dead", "last"))
    assert "there is no image set 'none'" in said_wrong("own.py:own", "none", "--out", "l.csv")
    assert "would lie among the images" in said_wrong("own.py:own", "images", "--out", "images/l.csv")
    assert "own.py is named twice" in said_wrong("own.py:own", "images", "--out", "own.py")
    assert "it is a folder; name a file" in said_wrong("own.py:own", "images", "--out", "images")
    Path("l.blocks.csv").mkdir()
    assert "l.blocks.csv: it is a folder" in said_wrong("own.py:own", *own)
    Path("l.blocks.csv").rmdir()
    for i in range(3, 30):
        Path(f"images/{i:02}.png").unlink()
    line = said_wrong("own.py:own", *own)
    assert "layers are compared on at least 4 images; images has 3. Add some." in line


def test_without_pot_it_says_what_to_install(here, monkeypatch):
    monkeypatch.setitem(sys.modules, "ot", None)
    monkeypatch.setattr(embeddings, "each", lambda *_, **__: pytest.fail("the network is run for nothing"))
    assert "need POT: pip install 'rarefire[gw]'" in said_wrong(*DIGITS, *FAST, "--out", "l.csv")


def test_a_table_in_python(own_cache):
    network, test = lenet()
    shown = test.subset(np.arange(12))
    options = {"layers": ["conv1", "relu4", "fc3"], "n_random": 0, "jobs": 1}
    table = transport.layer_table(network, shown, **options)
    agrees(table, network, shown, options["layers"], n_random=0)
    assert table.attrs["known"] == 0
    again = transport.layer_table(network, shown.images, **options)
    assert again.attrs["known"] == 3
    pd.testing.assert_frame_equal(table, again)
    pooled = transport.layer_table(network, shown, **options, spatial="mean")
    assert pooled.attrs["known"] == 1  # layers without positions
    for changed, message in (
        ({"layers": ["fc3"]}, "at least two layers are compared, each named once; got 'fc3'"),
        ({"layers": ["fc3", "conv1", "fc3"]}, "each named once; got 'fc3, conv1, fc3'"),
    ):
        with pytest.raises(ValueError, match=message):
            transport.layer_table(network, shown, **{**options, **changed})
    with pytest.raises(ValueError, match="layers are compared on at least 4 images; got 3"):
        transport.layer_table(network, shown.images[:3], **options)
