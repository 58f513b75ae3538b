"""Dimensions through layers and training, recorded: against direct calls, on digits and a small network."""

import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner

from rarefire import cli, embeddings, networks, poz, stimuli, store, training
from rarefire import dimension as direct
from rarefire.errors import DataError, InputError, RarefireWarning, UnknownNameError
from rarefire.records import dimension, people_across, people_orders

EPOCHS = (0, 1, 4)


@pytest.fixture(scope="module", autouse=True)
def tiny(tmp_path_factory):
    """Digits, four epochs, one network; a cache of its own."""
    with pytest.MonkeyPatch.context() as patch, training.one_thread():
        patch.setenv("RAREFIRE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("RAREFIRE_MIRROR", "")
        patch.setattr(dimension, "EPOCHS", EPOCHS)
        patch.setattr(dimension, "_SMALLEST", 20)
        patch.setitem(dimension.SETTINGS, "digits", dimension.Setting(200, seeds=1))
        yield


@pytest.fixture(scope="module")
def measured(tiny):
    assert dimension.known("digits") is None
    return dimension.measure("digits", jobs=1, progress=False)


@pytest.fixture(scope="module")
def through(tiny, measured):
    """The same networks: they are kept."""
    recipe = dimension.SETTINGS["digits"].recipe("digits")
    return list(dimension.through(stimuli.load("digits", "train"), recipe, 0))


@pytest.fixture(scope="module")
def shown(tiny):
    """As many of each class, class by class by class."""
    test = stimuli.load("digits", "test")
    of = [np.flatnonzero(test.labels == c) for c in range(10)]
    return test.subset([own[k] for k in range(min(map(len, of))) for own in of])


# --- one layer ------------------------------------------------------------------------------------


def test_points_equal_direct_calls(rng):
    points = np.maximum(rng.normal(size=(700, 6)) @ rng.normal(size=(6, 30)), 0)
    points[:, 3], points[0] = 0, points[1]  # a silent feature, a duplicate
    mixed, groups = np.arange(600), [np.arange(600, 650), np.arange(650, 700)]
    found = dimension.measure_points(points, mixed=mixed, groups=groups, seed=4)
    source = points[:600]
    scales = direct.decimation(source, rng=np.random.default_rng([4, 7]), smallest=20)
    np.testing.assert_array_equal(found["two_nn"], [one.dimension for one in scales])
    np.testing.assert_array_equal(found["se"], [one.se for one in scales])
    assert found["two_nn"][0] == direct.two_nn(source).dimension
    assert len(found["two_nn"]) == 5  # 600, 300, 150, 75, 37
    assert found["dropped"].tolist() == [scales[0].dropped["duplicates"], scales[0].dropped["ties"]]
    assert found["dropped"][0] > 0
    np.testing.assert_array_equal(found["gride"], [one.dimension for one in direct.gride(source)])
    apart = [direct.two_nn(points[rows]).dimension for rows in groups]
    np.testing.assert_array_equal(found["grouped"], apart)
    some = source[np.linspace(0, 599, 500).astype(int)]
    expected = [direct.pc_id(some).dimension, direct.participation_ratio(some).dimension]
    np.testing.assert_array_equal(found["linear"], expected)
    rates = poz.poz(source)
    np.testing.assert_allclose(found["silent"], [rates.mean(), (rates > 0.8).mean(), (rates == 1).mean()])
    assert found["silent"][2] == pytest.approx(1 / 30)


def test_what_is_not_post_relu_has_no_silence(rng):
    found = dimension.measure_points(rng.normal(size=(200, 5)), mixed=np.arange(200))
    assert np.isnan(found["silent"]).all()
    assert found["grouped"].shape == (0,)
    assert found["two_nn"][0] == pytest.approx(5, abs=4 * found["se"][0] + 0.6)


# --- LeNets ---------------------------------------------------------------------------------------


def test_shapes(measured, shown):
    n_layers, n_epochs = len(dimension.LAYERS), len(EPOCHS)
    n = min(200, len(shown))
    assert measured.layers == dimension.LAYERS
    assert measured.epoch.tolist() == [list(EPOCHS)]
    assert measured.points[0, 0] == n
    assert measured.points[0].tolist() == [n // 2**k for k in range(measured.points.shape[1])]
    assert measured.two_nn.shape == (1, n_epochs, n_layers, measured.points.shape[1])
    assert measured.linear.shape == (1, n_epochs, n_layers, 2)
    assert measured.kept.shape == (1, n_epochs, 7, len(dimension.SHARES), 2)
    assert measured.width[0].tolist()[-4:] == [120, 84, 84, 10]
    assert measured.grouped.shape[-1] == measured.grouped_points.shape[-1] == 10
    assert measured.seeds == (0,)


def test_every_epoch_equals_direct_calls(measured, through, shown):
    assert len(through) == len(EPOCHS)
    n = int(measured.points[0, 0])
    for e, network in enumerate(through):
        scores = embeddings.extract(network, shown, layer="fc3")
        right = (scores.argmax(1) == shown.labels).mean()
        assert measured.accuracy[0, e] == pytest.approx(right)
        for layer in ("conv1", "relu4"):
            features = embeddings.extract(network, shown, layer=layer)
            place = measured.place(layer)
            assert measured.two_nn[0, e, place, 0] == pytest.approx(
                direct.two_nn(features[:n]).dimension, rel=1e-5
            )
            alone = direct.two_nn(features[shown.labels == 3]).dimension
            assert measured.grouped[0, e, place, 3] == pytest.approx(alone, rel=1e-5)
        rates = poz.poz(features[:n])
        assert measured.silent[0, e, measured.place("relu4"), 0] == pytest.approx(rates.mean())
        for row, first in enumerate(("low", "high")):
            half = features[:n][:, poz.order(rates, first=first)[:42]]
            expected = direct.two_nn(half).dimension
            assert measured.kept[0, e, row, 4, 0] == pytest.approx(expected, rel=1e-5)
        whole = measured.kept[0, e, :, -1, 1]  # all features, in whatever order
        np.testing.assert_allclose(whole, whole[0], rtol=1e-5)
    np.testing.assert_array_equal(measured.two_nn[0, :, 0], measured.two_nn[0, :1, 0].repeat(3, axis=0))
    assert measured.accuracy[0, -1] > measured.accuracy[0, 0] + 0.3


def test_along_and_table(measured):
    np.testing.assert_allclose(measured.along(), measured.two_nn[:, -1, :, 0])
    half = int(measured.points[0, 1])
    np.testing.assert_allclose(measured.along(epoch=0, points=half), measured.two_nn[:, 0, :, 1])
    table = measured.table()
    assert len(table) == len(EPOCHS) * len(dimension.LAYERS)
    row = table[(table.epoch == 4) & (table.layer == "relu3")].iloc[0]
    assert row.two_nn == measured.two_nn[0, 2, 8, 0]
    assert row["gride 2"] == measured.gride[0, 2, 8, 1]
    assert row["one class"] == pytest.approx(measured.grouped[0, 2, 8].mean())
    assert (row.pc, row.participation) == tuple(measured.linear[0, 2, 8])
    assert row.dead == measured.silent[0, 2, 8, 2]
    with pytest.raises(InputError, match=r"points is one of \d+, .*; got 7"):
        measured.along(points=7)
    with pytest.raises(UnknownNameError, match="no layer 'conv3'. There are: .*conv1"):
        measured.place("conv3")


def test_weights_are_kept_and_every_epoch_is_of_one_training(through, monkeypatch):
    recipe = dimension.SETTINGS["digits"].recipe("digits")
    assert (recipe.max_epochs, recipe.patience, recipe.keep) == (4, 4, "last")
    train = stimuli.load("digits", "train")
    options = {"input_shape": train.input_shape, "mean": train.mean, "std": train.std, "seed": 0}
    start = networks.build("lenet5", n_classes=10, **options).state_dict()
    assert all(torch.equal(start[name], values) for name, values in through[0].state_dict().items())
    monkeypatch.setattr(training, "fit", None)
    again = list(dimension.through(train, recipe, 0))
    for before, after in zip(through, again, strict=True):
        assert torch.equal(before.fc3.weight, after.fc3.weight)
        assert not after.training


def test_weights_that_are_damaged_are_made_again(through, own_cache):
    recipe, train = dimension.SETTINGS["digits"].recipe("digits"), stimuli.load("digits", "train")
    list(dimension.through(train, recipe, 0))
    path = sorted(own_cache.rglob("seed-0000-epoch-*.pt"))[1]
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.warns(RarefireWarning, match=rf"the checkpoint {path} is damaged \("):
        again = list(dimension.through(train, recipe, 0))
    for before, after in zip(through, again, strict=True):
        assert torch.equal(before.fc3.weight, after.fc3.weight)


def test_it_comes_out_again_without_images(measured, monkeypatch):
    monkeypatch.setattr(stimuli, "load", None)
    again = dimension.known("digits")
    assert again.arrays.keys() == measured.arrays.keys()
    for name, values in measured.arrays.items():
        np.testing.assert_array_equal(again[name], values)
    assert again.facts["mixed"] == 200
    assert not again.recorded


@pytest.mark.parametrize("ask", [dimension.measure, dimension.known])
def test_unknown_images(ask):
    with pytest.raises(UnknownNameError, match="no image set 'imagenet'. There are: .*digits"):
        ask("imagenet")


def test_where_images_cannot_be_told_nothing_is_known(monkeypatch):
    monkeypatch.setattr(stimuli, "identifiable", lambda _: False)
    assert dimension.known("cifar10-jpg") is None


# --- networks of features -------------------------------------------------------------------------


class Small(nn.Module):
    """Like torchvision's: steps of features one after another, and a classifier."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 5, stride=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 20, 3), nn.ReLU()
        )
        self.fc = nn.Linear(20, 12)

    def forward(self, x):
        return self.fc(self.features(x).mean(dim=(2, 3)))


@pytest.fixture
def small():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return Small().eval()


STEPS = [f"features.{k}" for k in range(5)]


def test_stages(small, rng, monkeypatch):
    image = rng.random((1, 3, 24, 24)).astype(np.float32)
    assert dimension.stages(small, image) == ["input", *STEPS, "pooled", "outputs"]
    # 6 × 10 × 10, the same, 6 × 5 × 5, 20 × 3 × 3, the same.
    assert dimension.stages(small, image, most=180) == ["input", *STEPS[2:], "pooled", "outputs"]
    named = nn.Sequential()
    named.add_module("network", small)
    assert dimension.stages(named, image)[1:-2] == [f"network.{step}" for step in STEPS]
    with pytest.raises(InputError, match="no sequence named features: name its layers instead"):
        dimension.stages(nn.Sequential(nn.Conv2d(3, 2, 3)), image)


@pytest.fixture
def here(own_cache, small, tmp_path, rng, monkeypatch):
    """The small network in the place of SqueezeNet, and photographs: noise, of twelve classes."""
    for i in range(12 * 9):
        folder = tmp_path / "g" / f"n{i % 12:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.uniform(0, 200) + rng.random((24, 24, 3)) * 55
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")
    load = stimuli.gallery
    monkeypatch.setattr(stimuli, "gallery", lambda *, size: load(tmp_path / "g", size=24, resize=24))
    place = people_across.NETWORKS["squeezenet1_1"]
    monkeypatch.setattr(people_across, "ready", lambda name: name == "squeezenet1_1")
    monkeypatch.setattr(people_across, "place", lambda name: place)
    monkeypatch.setattr(networks, "build", lambda *_, **__: small)
    monkeypatch.setattr(networks, "local_weights", lambda _: None)
    monkeypatch.setattr(dimension, "GROUP", range(3, 9))
    data = tmp_path / "data"
    shutil.copytree(store.data_dir() / "claims", data / "claims")
    (data / "results").mkdir()
    monkeypatch.setattr(store, "data_dir", lambda: data)
    return data / "results"


def test_an_imagenet_network_and_its_twin(here, small, monkeypatch):
    (found,) = dimension.measure_here(["squeezenet1_1", "googlenet"], progress=False).values()
    assert found.layers == ("input", *STEPS, "pooled", "outputs")
    assert found.epoch.tolist() == [[-1], [0]]
    shown = people_orders.labelled(stimuli.gallery(size=24))
    of_group = np.isin(shown.labels, range(3, 9))
    assert found.grouped_points.tolist() == [[54], [54]]
    for i, network in enumerate((small, networks.untrained(small, seed=1))):
        last = embeddings.extract(network, shown, layer="features.4", spatial="keep")
        flat, pooled = last.reshape(len(last), -1), last.mean(axis=(2, 3))
        for layer, points in (("features.4", flat), ("pooled", pooled)):
            place = found.place(layer)
            assert found.two_nn[i, 0, place, 0] == pytest.approx(direct.two_nn(points).dimension, rel=1e-5)
            alone = direct.two_nn(points[of_group]).dimension
            assert found.grouped[i, 0, place, 0] == pytest.approx(alone, rel=1e-5)
        half = pooled[:, poz.order((pooled == 0).mean(axis=0), first="low")[:10]]
        expected = direct.participation_ratio(half).dimension
        assert found.kept[i, 0, 0, 4, 1] == pytest.approx(expected, rel=1e-5)
        with torch.no_grad():
            right = (network(torch.from_numpy(shown.images)).argmax(1).numpy() == shown.labels).mean()
        assert found.accuracy[i, 0] == pytest.approx(right)
    np.testing.assert_array_equal(found.two_nn[0, :, 0], found.two_nn[1, :, 0])  # of the images
    assert (found.two_nn[0, :, 1:] != found.two_nn[1, :, 1:]).any()
    # Once it is shipped, it takes neither the network nor the photographs.
    assert dimension.known_network("squeezenet1_1") is None
    found.ship(here / "dimension-squeezenet1_1.npz")
    monkeypatch.setattr(networks, "build", None)
    again = dimension.known_network("squeezenet1_1")
    assert again.recorded
    np.testing.assert_allclose(again.two_nn, found.two_nn, rtol=1e-6)
    with pytest.raises(DataError, match="no network of googlenet is on this machine: set RAREFIRE_MIRROR"):
        dimension.measure_here(["googlenet"])


# --- the command ----------------------------------------------------------------------------------


def run(*arguments):
    return CliRunner().invoke(cli.app, ["record", "dimension", *arguments])


def test_the_command_prints_and_ships(here, monkeypatch):
    done = run("networks", "--ship", str(here / "dimension.npz"))
    assert done.exit_code == 0, done.output
    path = here / "dimension-squeezenet1_1.npz"
    assert f"written: {path}" in done.stdout
    assert [*here.glob("*.npz")] == [path]
    found = dimension.known_network("squeezenet1_1")
    row = next(line for line in done.stdout.splitlines() if "pooled" in line).split()
    assert row[:4] == ["0", "-1", "pooled", "20"]
    assert row[4] == f"{found.along()[0, found.place('pooled')]:.3f}"
    monkeypatch.setattr(people_across, "ready", lambda _: False)
    again = run()
    assert again.exit_code == 0, again.output
    assert "recorded run" in again.stdout
    gone = run("squeezenet1_1", "--recompute")
    assert gone.exit_code == 1
    assert "no network of squeezenet1_1 is on this machine" in gone.stderr
    wrong = run("moon")
    assert wrong.exit_code == 1
    assert "no image set or network 'moon'" in wrong.stderr


def test_the_command_measures_lenets(measured, tmp_path):
    done = run("digits", "--instances", "1", "--ship", str(tmp_path / "digits.npz"))
    assert done.exit_code == 0, done.output
    assert f"{measured.along()[0, -1]:.3f}" in done.stdout
    assert f"written: {tmp_path / 'digits.npz'}" in done.stdout
