"""``rarefire prune``: the network that it writes, what it says of it, and that nothing is half-written."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from rarefire import cli, embeddings, networks, rdm, removal, similarity, stimuli, training
from rarefire.cli import common

WEIGHTS = str(Path(__file__).with_name("lenet5-digits.pth"))
DIGITS = ["lenet5", "digits", "--weights", WEIGHTS]
TABLES = {"network.py", "network.pth", "cost.csv", "layers.csv", "provenance.json"}

OWN = """
import torch
from torch import nn

class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution, self.hidden, self.last = nn.Conv2d(3, 6, 5), nn.Linear(24, 8), nn.Linear(8, 3)

    def forward(self, x):
        x = nn.functional.adaptive_avg_pool2d(self.convolution(x).relu(), 2)
        return self.last(self.hidden(x.flatten(1)).relu())

class Branching(Small):
    def forward(self, x):
        return super().forward(x if x.mean() > 0 else x + 1)
"""


def prune(*arguments):
    return CliRunner().invoke(cli.app, ["prune", *map(str, arguments)])


def said_wrong(*arguments):
    """The one line of an error."""
    done = prune(*arguments)
    assert done.exit_code == 1, done.output
    (line,) = done.stderr.strip().splitlines()
    return line


@pytest.fixture
def here(tmp_path, own_cache, monkeypatch):
    """A folder with pictures of three kinds and a network of one's own, which one is in."""
    rng = np.random.default_rng(0)
    for kind in ("ape", "bee", "cat"):
        for i in range(10):
            path = tmp_path / "images" / kind / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(path)
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lenet():
    test = stimuli.load("digits", "test")
    options = {"input_shape": test.input_shape, "n_classes": 10, "mean": test.mean, "std": test.std}
    return networks.build("lenet5", weights=WEIGHTS, **options), test


def test_units_that_rarely_fire_go(here, monkeypatch):
    done = prune(*DIGITS, "--keep", "0.5", "--out", "out")
    assert done.exit_code == 0, done.output
    network, test = lenet()
    assert {path.name for path in (here / "out").iterdir()} == TABLES | {"units.csv"}

    units = pd.read_csv("out/units.csv")
    active = (embeddings.extract(network, stimuli.load("digits", "train")) > 0).mean(axis=0)
    np.testing.assert_allclose(units.importance, active, atol=1e-12)
    np.testing.assert_allclose(units.poz, 1 - active, atol=1e-12)
    kept = np.argsort(-active, kind="stable")[:42]
    assert sorted(kept) == units.unit[units.kept].tolist()

    # The network, from elsewhere: the outputs of one in which the other units are 0.
    monkeypatch.chdir("nets")
    pruned = networks.build("../out/network.py:network")
    multiplier = torch.zeros(84).index_fill(0, torch.from_numpy(kept), 1)
    handle = network.fc3.register_forward_pre_hook(lambda _, given: (given[0] * multiplier,))
    shown = torch.from_numpy(test.images)
    with torch.inference_mode():
        expected, outputs = network(shown), pruned(shown)
    handle.remove()
    torch.testing.assert_close(outputs, expected, rtol=1e-4, atol=1e-4)

    before, after = pd.read_csv("../out/cost.csv").to_dict("records")
    # Of 84 units half go, each with 120 weights that it reads, a bias, and 10 that read it.
    assert (before["parameters"], after["parameters"]) == (61_706, 61_706 - 42 * 131)
    assert before["flops"] - after["flops"] == 2 * 42 * 130
    right = (expected.argmax(1).numpy() == test.labels).mean()
    assert after["accuracy"] == pytest.approx(right)
    assert before["accuracy"] > 0.85
    assert after["seconds"] > 0
    layers = pd.read_csv("../out/layers.csv").set_index("layer")
    assert list(layers.index) == ["relu1", "relu2", "relu3", "relu4", "penultimate", "outputs"]
    np.testing.assert_allclose(layers.loc["relu3", list(similarity.MEASURES)].astype(float), 1, atol=1e-9)
    first, second = (embeddings.extract(each, test) for each in (network, pruned))
    r = np.corrcoef(rdm.rdm(first), rdm.rdm(second))[0, 1]
    assert layers.pearson["penultimate"] == pytest.approx(r**2, abs=1e-6)
    assert (layers.cca > layers.cca_chance).all()
    assert "Kept 42 of 84 units of fc2 (the most important by poz): accuracy 0.898 → " in done.stdout
    assert f"61,706 → 56,204 parameters, penultimate R² {r**2:.3f}." in done.stdout
    stamp = json.loads(Path("../out/provenance.json").read_text())
    assert stamp["facts"]["network_digest"] == networks.digest(network)
    assert stamp["facts"]["judged_digest"] == test.digest


def test_what_it_wrote_can_be_pruned_again_and_replaced(here):
    assert (
        prune(*DIGITS, "--keep", "0.5", "--layer", "fc2", "--layer", "relu3", "--out", "out").exit_code == 0
    )
    again = ["out/network.py:network", "digits", "--keep", "0.5", "--method", "norm"]
    assert "lies in out, which would be replaced" in said_wrong(*again, "--out", "out")
    assert prune(*again, "--out", "further/on").exit_code == 0
    assert networks.build("further/on/network.py:network").fc2.weight.shape == (21, 60)
    done = prune(*DIGITS, "--keep", "0.1", "--method", "magnitude", "--out", "out")
    assert done.exit_code == 0, done.output
    assert {path.name for path in (here / "out").iterdir()} == TABLES | {"weights.csv"}
    (here / "out" / "mine.txt").write_text("mine")
    assert "out is there, and not from rarefire prune" in said_wrong(*DIGITS, "--keep", "0.1", "--out", "out")
    assert (here / "out" / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize("scope", ["layer", "global"])
def test_weights_stay_masked_while_it_trains(here, scope):
    arguments = ["--method", "magnitude", "--scope", scope, "--keep", "0.2", "--retrain", "2", "--out", "out"]
    done = prune(*DIGITS, *arguments)
    assert done.exit_code == 0, done.output
    pruned = networks.build("out/network.py:network")
    (network, _), layers = lenet(), ("conv1", "conv2", "fc1", "fc2", "fc3")
    sizes = [network.get_submodule(n).weight.numel() for n in layers]
    left = [int(torch.count_nonzero(pruned.get_submodule(n).weight)) for n in layers]
    assert sum(left) == 12_294
    if scope == "layer":
        assert left == [round(0.2 * n) for n in sizes]
    table = pd.read_csv("out/weights.csv")
    assert (table.weights.tolist(), table.kept.tolist()) == (sizes, left)
    # What stays are the largest, and they have moved.
    stays, first = pruned.fc1.weight != 0, network.fc1.weight
    assert first[stays].abs().min() >= first[~stays].abs().max()
    assert not torch.equal(pruned.fc1.weight[stays], first[stays])
    assert "after training again (2 epochs)" in done.stdout
    assert [path.name for path in here.iterdir() if path.name.startswith(".")] == []


def test_an_interrupted_training_goes_on(here, monkeypatch):
    arguments = [*DIGITS, "--keep", "0.3", "--method", "taylor", "--retrain", "1", "--out", "out"]

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(similarity, "compare", stop)
        assert prune(*arguments).exit_code == 130
    assert not (here / "out").exists()
    (checkpoint,) = here.glob(".out-*.training")
    trained = training.fitted(checkpoint).weights
    with monkeypatch.context() as patched:
        patched.setattr(
            networks,
            "build",
            lambda name, *a, f=networks.build, **k: stop() if ".py" in name else f(name, *a, **k),
        )
        assert prune(*arguments).exit_code == 130  # when all but the last check is written
    assert [path.name for path in here.iterdir() if "out" in path.name] == [checkpoint.name]
    monkeypatch.setattr(training, "_fit", stop)
    assert prune(*arguments).exit_code == 0
    pruned = networks.build("out/network.py:network").state_dict()
    assert all(torch.equal(pruned[name], trained[name]) for name in trained)
    assert not checkpoint.exists()


@pytest.mark.filterwarnings("ignore:.* has no train/ and test/")
def test_a_network_of_ones_own_and_a_folder_of_classes(here):
    """Its ReLUs are functions: those of the units that the last layer reads are seen all the same."""
    done = prune("nets/own.py:Small", "images", "--size", "32", "--keep", "0.5", "--out", "a/b")
    assert done.exit_code == 0, done.output
    assert "Ranked on 24 images (train), judged on 6 (test)." in done.stdout
    assert re.search(r"Kept 4 of 8 units of hidden .*: accuracy [01]\.\d+ → ", done.stdout)
    assert "HERE / '../../nets/own.py'" in (here / "a/b/network.py").read_text()
    embed = ["embed", "images", "--network", "a/b/network.py:network", "--size", "32", "--out", "E.npy"]
    assert CliRunner().invoke(cli.app, embed).exit_code == 0
    assert np.load("E.npy").shape == (30, 4)
    options = ["--size", "32", "--keep", "0.5", "--layer", "convolution", "--out", "c"]
    assert "units of convolution have no PoZ" in said_wrong("nets/own.py:Small", "images", *options)
    done = prune("nets/own.py:Small", "images", *options, "--method", "random", "--seed", "3")
    assert done.exit_code == 0, done.output
    units = pd.read_csv("c/units.csv")
    assert units.poz.isna().all()
    assert units.unit[units.kept].tolist() == sorted(
        np.argsort(-np.random.default_rng(3).permutation(6))[:3].tolist()
    )


def test_a_folder_without_classes_is_halved_and_has_no_accuracy(here):
    options = ["--size", "32", "--keep", "0.5", "--out", "out"]
    done = prune("nets/own.py:Small", "images/ape", *options)
    assert done.exit_code == 0, done.output
    assert "Ranked on 5 images (one set, first half), judged on 5 (one set, second half)." in done.stdout
    assert "Accuracy is not reported: images/ape has no classes and the network 3 outputs." in done.stdout
    assert pd.read_csv("out/cost.csv").accuracy.isna().all()
    for asked in (["--method", "taylor"], ["--retrain", "1"]):
        said = said_wrong("nets/own.py:Small", "images/ape", *options, *asked)
        assert (
            f"{' '.join(asked[: 2 - (asked[0] == '--retrain')])} needs labels, but images/ape has no" in said
        )


@pytest.mark.filterwarnings("ignore:.* has no train/ and test/")
def test_what_cannot_be_sliced_can_be_masked(here):
    network = networks.build("squeezenet1_0")
    torch.save(network.state_dict(), "weights.pth")
    arguments = ["squeezenet1_0", "images", "--weights", "weights.pth", "--size", "32", "--keep", "0.5"]
    said = said_wrong(*arguments, "--out", "out")
    assert "There are: features.0. Name one with --layer, or mask weights instead: --method magnitude" in said
    assert removal.site(network, "features.0").reader == "features.3.squeeze"
    own = ["nets/own.py:Branching", "images", "--size", "32", "--keep", "0.5", "--out", "out"]
    assert "cannot be traced" in said_wrong(*own)
    assert prune(*own, "--method", "magnitude").exit_code == 0
    assert (networks.build("out/network.py:network").hidden.weight == 0).sum() == 96


def test_a_relu_that_is_called_twice_is_no_layer_of_its_own():
    where = removal.site(networks.build("resnet18"), "layer4.1.conv1")
    assert where.activation == "layer4.1.conv1"
    assert where.norms == ("layer4.1.bn1",)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*DIGITS, "--keep", "0"], r"--keep is a share in \(0, 1\]; got 0\."),
        ([*DIGITS, "--keep", "nan"], r"--keep is a finite number; got nan\."),
        ([*DIGITS, "--keep", ".5", "--method", "l1"], "there is no method 'l1'. There are: .*magnitude"),
        ([*DIGITS, "--keep", ".5", "--layer", "fc9"], "no layer whose units .* 'fc9'.*: .*fc2"),
        ([*DIGITS, "--keep", ".5", "--method", "magnitude", "--layer", "fc2"], "--layer is for methods"),
        ([*DIGITS, "--keep", ".5", "--scope", "global"], "--scope is for --method magnitude"),
        ([*DIGITS, "--keep", ".5", "--method", "magnitude", "--scope", "all"], "there is no scope 'all'"),
        ([*DIGITS, "--keep", ".001", "--method", "magnitude"], "nothing would be left of conv1"),
        ([*DIGITS, "--keep", ".5", "--size", "32"], "size is for image folders"),
        (["lenet5", "images", "--keep", ".5"], "no weights of lenet5 for folder:images"),
        (["lenet6", "digits", "--keep", ".5"], "there is no network 'lenet6'"),
        (["lenet5", "dogs", "--keep", ".5"], "there is no image set 'dogs'.*Nor is there a folder dogs"),
        (["nets/own.py:Small", "digits", "--keep", ".5"], "does not take these images, 1 × 32 × 32"),
        (["nets/own.py:Small", "nets", "--keep", ".5"], "nets holds 0 images; at least 8"),
        (["nets/own.py:Small", "images", "--keep", ".5", "--out", "nets"], "nets is there, and not from"),
        (["nets/own.py:Small", "images", "--keep", ".5", "--out", "images/o"], "among the images"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:.* has no train/ and test/")
def test_errors_are_one_line_and_leave_nothing(here, arguments, message):
    before = sorted(here.rglob("*"))
    out = [] if "--out" in arguments else ["--out", "out"]
    assert re.search(message, said_wrong(*arguments, *out))
    assert sorted(here.rglob("*")) == before


def test_what_a_killed_run_left_is_removed(tmp_path):
    """Stopped between the two steps, what was there before comes back first."""
    place, fresh, other = (tmp_path / name for name in ("out", f".out.{'0' * 32}.tmp", ".out.x.tmp"))
    old = tmp_path / f".out.{'1' * 32}.old"
    for folder in (fresh, old, other):
        folder.mkdir()
        (folder / "a").write_text(folder.suffix)
    with pytest.raises(RuntimeError, match="stop"), common.appearing(place):
        raise RuntimeError("stop")
    assert (place / "a").read_text() == ".old"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.x.tmp", "out"]
    fresh.mkdir()
    with common.appearing(place) as made:
        (made / "b").touch()
    assert [path.name for path in place.iterdir()] == ["b"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.x.tmp", "out"]
