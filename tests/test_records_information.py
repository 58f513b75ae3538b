"""What single units know, recorded: units with known answers, direct calls, LeNets, a network of features."""

import dataclasses
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner

from rarefire import cli, embeddings, inference, lowlevel, networks, poz, stimuli, store, training, units
from rarefire.errors import DataError, InputError, UnknownNameError
from rarefire.records import dimension, information, people_across, people_orders
from rarefire.records.information import Sample
from rarefire.stimuli import Stimuli

PERMUTATIONS = 199  # the least that bring eight properties below .05 together: 8/200
CHANCE = 0.03  # bits of 1 that 400 images in ten bins leave to a unit that knows nothing, and more


@pytest.fixture(scope="module", autouse=True)
def tiny(tmp_path_factory):
    """Digits, few epochs, one network; a cache of its own."""
    with pytest.MonkeyPatch.context() as patch, training.one_thread():
        patch.setenv("RAREFIRE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(dimension, "EPOCHS", (0, 1, 8))
        patch.setattr(information, "_PERMUTATIONS", PERMUTATIONS)
        patch.setitem(information.SETTINGS, "digits", information.Setting(250, n_bins=6, seeds=1))
        yield


@pytest.fixture(scope="module")
def measured(tiny):
    assert information.known("digits") is None
    return information.measure("digits", jobs=1, progress=False)


@pytest.fixture(scope="module")
def pair(tiny, measured):
    """The same networks: they are kept."""
    recipe = dimension.SETTINGS["digits"].recipe("digits")
    through = list(dimension.through(stimuli.load("digits", "train"), recipe, 0))
    assert len(through) == 3
    return through[0], through[-1]


@pytest.fixture(scope="module")
def shown(tiny):
    test = stimuli.load("digits", "test")
    return test.subset(test.spread(250))


def beyond_chance(said, stimulus):
    return units.information(said, stimulus, corrected=False) - units.expected_information(said, stimulus)


# --- known answers --------------------------------------------------------------------------------


class Made(nn.Module):
    """Three units that see all: the mean of the pixels, a mixture of them that sums to 0, and nothing."""

    def __init__(self, n_pixels):
        super().__init__()
        self.fc, self.relu = nn.Linear(n_pixels, 3), nn.ReLU()
        mixture = torch.randn(n_pixels, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            self.fc.weight[0] = 1 / n_pixels
            self.fc.weight[1] = mixture - mixture.mean()
            self.fc.weight[2] = 0
            self.fc.bias.copy_(torch.tensor([0.0, 0.0, -1.0]))

    def forward(self, x):
        return self.relu(self.fc(x.flatten(1)))


@pytest.fixture
def noise(rng):
    """Grey images of any luminance, with noise, and a class that has nothing to do with either."""
    pixels = np.clip(rng.uniform(0.2, 0.8, (400, 1, 1, 1)) + rng.normal(0, 0.1, (400, 1, 8, 8)), 0, 1)
    labels = rng.integers(4, size=400)
    return Stimuli("noise", "test", pixels.astype(np.float32), labels, tuple("abcd"), "made")


def test_a_unit_of_light_knows_it_another_does_not_and_the_dead_is_counted(noise):
    fields = information.windows(Made(64), ["relu"], (1, 8, 8))
    assert fields == {"relu": None}
    (one,) = information.sampled(Made(64), noise, fields)
    assert one.activations.shape == (400, 3)
    np.testing.assert_array_equal(one.properties["category"], noise.labels)
    options = {"n_bins": 10, "n_permutations": PERMUTATIONS}
    found = information.measure_network(Made(64), noise, fields, **options)
    assert found["layer"].tolist() == ["relu"]
    assert found["window"].tolist() == [[0, 0]]
    assert (found["n_units"].tolist(), found["n_dead"].tolist()) == ([3], [1])
    light = found["asked"].tolist().index("luminance")
    # Two units speak. One is never silent: half below, half above its median, which ten bins tell.
    said = units.responses(one.activations)
    most = units.entropy(said)
    assert most[[0, 2]].tolist() == [1, 0]
    bits = beyond_chance(said, units.bins(one.properties["luminance"], 10))
    assert bits[0] == pytest.approx(1, abs=CHANCE)
    assert bits[1] == pytest.approx(0, abs=CHANCE)
    assert found["relative"][0, light] == pytest.approx(np.median(bits[:2] / most[:2]), rel=1e-6)
    assert found["gini"][0, light] == pytest.approx(0.5, abs=CHANCE)  # one of two has it all
    assert found["informed"][0, light] == 0.5
    assert found["informed"][0, -1] == 0  # nobody knows the class
    rate = (one.activations[:, 1] == 0).mean()
    assert found["poz"][0] == pytest.approx((0 + rate + 1) / 3)
    assert found["bound"][0] == pytest.approx(units.poz_bound(rate) / 2)  # of 0 and that
    assert found["entropy"][0] == pytest.approx(most[:2].mean())
    # What the first unit tells of class and light is light; the others know neither.
    assert found["independent"][0, 0] == pytest.approx(0, abs=0.1)


def test_where_all_are_dead_there_is_nothing_to_say(noise):
    asked = lowlevel.properties(noise.images)
    one = Sample("relu", np.zeros((400, 2), np.float32), asked | {"category": noise.labels})
    found = information.measure_sample(one, rng=np.random.default_rng(0), n_bins=10, n_permutations=19)
    assert found["n_dead"] == found["n_units"] == 2
    for name in ("relative", "gini", "top_share", "informed", "independent", "entropy", "bound"):
        assert np.isnan(found[name]).all(), name
    assert found["poz"] == 1


def test_what_is_told_of_the_category_alone(rng):
    """A unit of the class, one of light, one of light that the class goes with, and one that fires rarely."""
    n = 2000
    light, labels = rng.permutation(n) / n, rng.integers(4, size=n)
    fifth = (5 * light).astype(int)
    with_light = (fifth + (rng.random(n) < 0.3)) % 4  # a class that light tells for the most part
    rare = rng.random(n) < 0.05
    units_ = np.stack([labels > 1, fifth > 1, fifth > 2, rare], axis=1).astype(np.float32)
    properties = {"luminance": light, "contrast": rng.random(n)}

    def independent(which, category):
        one = Sample("relu", units_[:, which], properties | {"category": category})
        options = {"rng": np.random.default_rng(0), "n_permutations": 99}
        return information.measure_sample(one, **options)["independent"]

    assert independent([0], labels) == pytest.approx([1, 1], abs=CHANCE)
    assert independent([1], labels)[0] == pytest.approx(0, abs=CHANCE)
    assert independent([2], with_light)[0] == pytest.approx(0, abs=CHANCE)
    assert independent([2], with_light)[1] == pytest.approx(1, abs=CHANCE)
    assert np.isnan(independent([3], labels)[0])  # it knows neither


def test_a_property_that_few_images_have_is_not_measured_and_what_is_missing_is_a_bin(noise, rng):
    slope = rng.permutation(np.linspace(-1, 1, 400))  # half are positive: eight bins tell the responses
    activations = np.maximum(slope, 0)[:, None].astype(np.float32)
    asked = dict.fromkeys(("luminance", "contrast"), rng.random(400))

    def relative(n_missing):
        lacking = np.where(np.arange(400) < n_missing, np.nan, slope)
        properties = asked | {"spectral_slope": lacking, "category": noise.labels}
        one = Sample("relu", activations, properties)
        options = {"rng": np.random.default_rng(0), "n_bins": 8, "n_permutations": 19}
        return information.measure_sample(one, **options)["relative"]

    none, some, most = relative(0), relative(100), relative(201)
    assert none[2] == pytest.approx(1, abs=CHANCE)
    assert 0.6 < some[2] < none[2]  # a quarter of the images say nothing of the unit
    assert np.isnan(most[2])
    assert np.isfinite(most[[0, 1, 3]]).all()


# --- LeNets ---------------------------------------------------------------------------------------


def test_shapes(measured):
    n_layers, n_properties = len(information.LAYERS), 8  # seven of grey images, and the class
    assert measured.layers == information.LAYERS
    assert measured.properties == (*lowlevel.NAMES[:7], "category")
    assert measured.left_out.tolist() == [list(information.LEFT_OUT)]
    assert measured.epoch.tolist() == [[0, 8]]
    assert measured.n_units.tolist() == [[6, 6, 16, 16, 120, 84]]
    assert measured.window[0, :, 0].tolist() == [5, 6, 14, 16, 0, 0]
    for name in ("relative", "gini", "top_share", "informed"):
        assert measured[name].shape == (1, 2, n_layers, n_properties), name
    for name in ("n_dead", "poz", "entropy", "bound"):
        assert measured[name].shape == (1, 2, n_layers), name
    assert measured.independent.shape == (1, 2, n_layers, 2)
    slope = measured.properties.index("spectral_slope")
    assert np.isnan(measured.relative[..., slope]).tolist() == [[[True] * 2 + [False] * 4] * 2]
    assert ((measured.informed >= 0) & (measured.informed <= 1) | np.isnan(measured.informed)).all()
    assert (measured.entropy <= np.log2(3) + 1e-6).all()


def test_a_layer_without_positions_equals_direct_calls(measured, pair, shown):
    for e, network in enumerate(pair):
        activations = embeddings.extract(network, shown, layer="relu4")
        said = units.responses(activations)
        most, rates = units.entropy(said), poz.poz(activations)
        place = information.LAYERS.index("relu4")
        assert measured.n_dead[0, e, place] == np.count_nonzero(most == 0)
        assert measured.poz[0, e, place] == pytest.approx(rates.mean())
        assert measured.entropy[0, e, place] == pytest.approx(np.median(most[most > 0]))
        assert measured.bound[0, e, place] == pytest.approx(np.median(units.poz_bound(rates[most > 0])))
        whole = lowlevel.properties(shown.images)
        asked = {name: units.bins(whole[name], 6) for name in whole} | {"category": shown.labels}
        assert tuple(asked) == measured.properties
        for p, (name, values) in enumerate(asked.items()):
            summary = units.summary(beyond_chance(said, values), most)
            for what in ("relative", "gini", "top_share"):
                found = measured[what][0, e, place, p]
                assert found == pytest.approx(getattr(summary, what), abs=1e-6), (name, what)
        rng = np.random.default_rng([0, 10, place])
        test = units.information_test(said, asked, rng=rng, n_permutations=PERMUTATIONS)
        knows = test.adjusted < 0.05
        informed = knows[:, most > 0].mean(axis=1)
        np.testing.assert_allclose(measured.informed[0, e, place], informed, atol=1e-6)
        for k, name in enumerate(("luminance", "contrast")):
            given = units.bins(whole[name], 5)
            told = np.zeros(said.shape[1])
            for value in range(5):
                rows = given == value
                told += rows.sum() / len(said) * beyond_chance(said[rows], shown.labels[rows])
            both = told + beyond_chance(said, given)
            share = told / np.where(both > 0, both, np.nan)
            some = (knows[-1] | knows[list(asked).index(name)]) & np.isfinite(share)
            assert measured.independent[0, e, place, k] == pytest.approx(np.median(share[some]), abs=1e-6)


def test_a_convolution_is_asked_once_for_each_image_in_its_own_window(pair, shown):
    """Against cuts out of the images, at the position at which the channels answer as they do."""
    network = pair[1]
    fields = information.windows(network, ["relu2"], shown.input_shape)
    (one,) = information.sampled(network, shown, fields, seed=3)
    everywhere = embeddings.extract(network, shown, layer="relu2", spatial="keep")
    assert one.activations.shape == (250, 16)
    field, names = fields["relu2"], ["luminance", "contrast", "spectral_slope"]
    drawn = set()
    # Images come in parts of 32, each in an order of its own: all once.
    for start in range(0, 250, 32):
        left = list(range(start, min(start + 32, 250)))
        for k in list(left):
            match = (everywhere[left] == one.activations[k][None, :, None, None]).all(axis=1)
            candidates = np.argwhere(match)
            assert len(candidates) > 0
            own = [
                (left[i], row, column)
                for i, row, column in candidates
                if all(
                    cut(shown.images[left[i]], row, column, field)[name]
                    == pytest.approx(one.properties[name][k], nan_ok=True, abs=1e-9)
                    for name in names
                )
            ]
            assert own, k
            assert any(shown.labels[i] == one.properties["category"][k] for i, _, _ in own)
            drawn.add(own[0][1:])
            if len({i for i, _, _ in own}) == 1:
                left.remove(own[0][0])
    assert len(drawn) > 60  # of a hundred positions
    again = information.sampled(network, shown, fields, seed=3)[0]
    np.testing.assert_array_equal(again.activations, one.activations)
    other = information.sampled(network, shown, fields, seed=4)[0]
    assert (other.activations != one.activations).any()


def cut(image, row, column, field):
    """Properties of a window, from its pixels alone."""
    top, left = (p * s - o for p, s, o in zip((row, column), field.stride, field.padding, strict=True))
    bottom, right = top + field.size[0], left + field.size[1]
    part = image[None, :, max(top, 0) : bottom, max(left, 0) : right]
    found = lowlevel.properties(part, names=["luminance", "contrast", "spectral_slope"])
    return {name: float(values[0]) for name, values in found.items()}


def test_training_brings_the_class_into_the_last_layer(measured):
    found = measured.pruning("category").set_index("layer")
    assert found.loc["relu4", "change"] > 0.05
    assert found.loc["relu4", "trained"] > 0.2
    assert abs(found.loc["relu1", "change"]) < 0.05
    assert measured.informed[0, 1, -1, -1] > 0.9


def test_changes_are_means_over_instances_with_their_intervals(rng):
    values = rng.random((4, 2, 3, 2))
    given = {
        "layer": np.tile(["a", "b", "c"], (4, 1)),
        "asked": np.tile(["luminance", "category"], (4, 1)),
        "relative": values,
        "gini": values / 2,
        "top_share": values / 4,
    }
    found = information.Information.of(given, stimuli="digits", network="lenet5")
    change = values[:, 1, :, 1] - values[:, 0, :, 1]
    table, interval = found.pruning("category"), inference.seed_interval(change)
    assert table.layer.tolist() == ["a", "b", "c"]
    assert set(table.measure) == {"relative"}
    for name, expected in (
        ("untrained", values[:, 0, :, 1].mean(0)),
        ("trained", values[:, 1, :, 1].mean(0)),
        ("change", change.mean(0)),
        ("low", interval.low),
        ("high", interval.high),
    ):
        np.testing.assert_allclose(table[name], expected)
    table = found.distillation("category")
    assert table.measure.tolist() == ["gini"] * 3 + ["top_share"] * 3
    np.testing.assert_allclose(table.change, np.concatenate([change.mean(0) / 2, change.mean(0) / 4]))
    with pytest.raises(UnknownNameError, match="no property 'colour'. There are: luminance, category"):
        found.pruning("colour")
    with pytest.raises(UnknownNameError, match="no property 'colour'"):
        found.distillation("colour")


def test_the_table_has_a_row_for_each_layer_and_property(measured):
    table = measured.table()
    assert len(table) == 2 * 6 * 8
    row = table[(table.epoch == 8) & (table.layer == "relu3") & (table.property == "category")].iloc[0]
    assert row.relative == measured.relative[0, 1, 4, 7]
    assert row.units == 120
    assert row.dead == measured.n_dead[0, 1, 4]
    assert row["beyond contrast"] == measured.independent[0, 1, 4, 1]
    assert np.isnan(table[table.property == "luminance"]["beyond luminance"]).all()
    assert table[table.layer == "pool2"].window.unique().tolist() == [16]
    assert np.isnan(measured.pruning("luminance").low).all()  # of one network


def test_it_comes_out_again_without_images(measured, monkeypatch):
    monkeypatch.setattr(stimuli, "load", None)
    again = information.known("digits")
    assert again.arrays.keys() == measured.arrays.keys()
    for name, values in measured.arrays.items():
        np.testing.assert_array_equal(again[name], values)
    assert again.seeds == (0,)
    assert again.facts["n_bins"] == 6
    assert not again.recorded


def test_single_units_of_a_page(measured, pair, shown, monkeypatch):
    monkeypatch.setattr(information, "SHOWN", ("digits",))
    monkeypatch.setattr(information, "SHOWN_UNITS", 60)
    found = information.sample("digits")
    assert np.bincount(found["of"]).tolist() == [6, 6, 16, 16, 60, 60]
    assert found["channel"][-60:].tolist() == [84 * k // 60 for k in range(60)]
    assert found["bits"].dtype == np.uint8
    last, class_ = found["of"] == 5, found["asked"].tolist().index("category")
    for e, network in enumerate(pair):
        activations = embeddings.extract(network, shown, layer="relu4")[:, found["channel"][last]]
        np.testing.assert_allclose(found["poz"][e, last], poz.poz(activations), atol=1e-3)
        bits = beyond_chance(units.responses(activations), shown.labels)
        half = 0.501 / 160
        np.testing.assert_allclose(found["bits"][e, class_, last] / 160, np.maximum(bits, 0), atol=half)
    slope = found["asked"].tolist().index("spectral_slope")
    assert (found["bits"][:, slope, found["of"] < 2] == 255).all()
    assert (found["bits"][:, :, found["of"] > 1] < 255).all()
    monkeypatch.setattr(information, "_units", None)
    np.testing.assert_array_equal(information.sample("digits")["bits"], found["bits"])  # kept
    with pytest.raises(UnknownNameError, match="no network or image set 'googlenet'. There are: digits"):
        information.sample("googlenet")


@pytest.mark.parametrize("ask", [information.measure, information.known])
def test_unknown_images(ask):
    with pytest.raises(UnknownNameError, match="no image set 'imagenet'. There are: .*digits"):
        ask("imagenet")


def test_where_images_cannot_be_told_nothing_is_known(monkeypatch):
    monkeypatch.setattr(stimuli, "identifiable", lambda _: False)
    assert information.known("cifar10-jpg") is None
    assert information.sample("mnist") is None


# --- networks of features -------------------------------------------------------------------------


class Block(nn.Module):
    """Ends without a ReLU, as a linear bottleneck."""

    def __init__(self):
        super().__init__()
        self.wide, self.act, self.narrow = nn.Conv2d(6, 12, 3, padding=1), nn.ReLU6(), nn.Conv2d(12, 6, 1)

    def forward(self, x):
        return self.narrow(self.act(self.wide(x)))


class Small(nn.Module):
    """Like torchvision's: steps of features, one of them without a ReLU, and a classifier."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 5, stride=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            Block(),
            nn.Sequential(nn.Conv2d(6, 20, 3, padding=1), nn.ReLU()),
        )
        self.fc = nn.Linear(20, 1000)

    def forward(self, x):
        return self.fc(self.features(x).mean(dim=(2, 3)))


@pytest.fixture
def small():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return Small().eval()


STEPS = [f"features.{name}" for name in ("1", "2", "3.act", "4")]


def test_layers_that_can_be_silent(small, rng):
    images = rng.random((4, 3, 24, 24)).astype(np.float32)
    layers, left_out = information.post_relu(small, images)
    assert layers == [*STEPS, "pooled"]
    assert left_out == ["features.0", "features.3", "outputs"]
    fields = information.windows(small, layers, (3, 24, 24))
    assert [field and field.size for field in fields.values()] == [(5, 5), (7, 7), (15, 15), (23, 23), None]
    small.features = small.features[:4]
    inner = [f"inner.{step}" for step in STEPS[:3]]
    assert information.post_relu(Cut(small), images)[0] == inner  # what is pooled is not post-ReLU
    with pytest.raises(InputError, match="no step of the network's features is post-ReLU"):
        information.post_relu(Cut(nn.Sequential(Only())), images)
    with pytest.raises(InputError, match="no sequence named features"):
        information.post_relu(nn.Sequential(nn.Conv2d(3, 2, 3)), images)
    # A window as large as the image is the whole image.
    assert information.windows(small, ["features.2", "features.3.act"], (3, 15, 15))["features.3.act"] is None


class Cut(nn.Module):
    """Calls the features alone."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner.features(x) if hasattr(self.inner, "features") else self.inner(x)


class Only(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 2, 3))

    def forward(self, x):
        return self.features(x)


def test_groups():
    classes = [0, 1, 7, 24, 25, 80, 100, 101, 127, 146, 151, 268, 269, 397, 398, 999]
    found = information.groups(np.array(classes))
    names = [list(information.GROUPS)[k] for k in found]
    bird, dog, other, thing = "birds", "dogs", "other animals", "objects"
    assert names == [other] * 2 + [bird] * 2 + [other] + [bird] * 2 + [other] + [bird] * 2 + [dog] * 2 + [
        *(other, other, thing, thing)
    ]
    assert np.bincount(information.groups(np.arange(1000))).tolist() == [59, 118, 221, 602]
    for wrong in ([-1], [1000], [0.5], [[1]]):
        with pytest.raises(
            InputError, match="labels must be ImageNet's classes, whole numbers from 0 to 999"
        ):
            information.groups(np.array(wrong))


def test_groups_are_wordnets(mirror):
    pictures = stimuli.gallery(mirror / stimuli.SAMPLE, size=8)
    _, labels = np.unique(pictures.names, return_inverse=True)
    found = information.groups(labels)
    for place, kind in enumerate(("birds", "dogs")):
        np.testing.assert_array_equal(found == place, pictures.within(kind))


@pytest.fixture
def here(own_cache, small, tmp_path, rng, monkeypatch):
    """The small network in the place of SqueezeNet, and photographs: noise, of a hundred classes."""
    for i in range(100):
        folder = tmp_path / "g" / f"n{i:04d}"
        folder.mkdir(parents=True)
        grey = rng.uniform(0, 200)
        Image.fromarray((grey + rng.random((24, 24, 3)) * 55).astype(np.uint8)).save(folder / "0.png")
    load = stimuli.gallery
    monkeypatch.setattr(stimuli, "gallery", lambda *, size: load(tmp_path / "g", size=24, resize=24))
    monkeypatch.setattr(stimuli, "gallery_root", lambda: tmp_path / "g")
    place = people_across.NETWORKS["squeezenet1_1"]
    monkeypatch.setattr(people_across, "ready", lambda name: name == "squeezenet1_1")
    monkeypatch.setattr(people_across, "place", lambda name: place)
    monkeypatch.setattr(networks, "build", lambda *_, **__: small)
    monkeypatch.setattr(networks, "local_weights", lambda _: None)
    monkeypatch.setattr(information, "N_BINS", 5)
    data = tmp_path / "data"
    shutil.copytree(store.data_dir() / "claims", data / "claims")
    (data / "results").mkdir()
    monkeypatch.setattr(store, "data_dir", lambda: data)
    return data / "results"


def test_an_imagenet_network_beside_its_twin(here, small, monkeypatch):
    (found,) = information.measure_here(["squeezenet1_1", "googlenet"], progress=False).values()
    assert found.layers == (*STEPS, "pooled")
    assert found.properties == (*lowlevel.NAMES, "category")
    assert found.epoch.tolist() == [[0, -1]]
    assert found.window[0, :, 0].tolist() == [5, 7, 15, 23, 0]
    assert found.n_units.tolist() == [[6, 6, 12, 20, 20]]
    shown = people_orders.labelled(stimuli.gallery(size=24))
    for e, network in enumerate((networks.untrained(small, seed=1), small)):
        pooled = embeddings.extract(network, shown, layer="features.4", spatial="mean")
        assert found.poz[0, e, -1] == pytest.approx(poz.poz(pooled).mean())
        said, light = units.responses(pooled), units.bins(lowlevel.properties(shown.images)["luminance"], 5)
        expected = units.summary(beyond_chance(said, light), units.entropy(said))
        assert found.relative[0, e, -1, 0] == pytest.approx(expected.relative, rel=1e-5)
    assert np.isnan(found.relative[0, :, :2, 6]).all()  # windows of 5 and 7 pixels have no spectrum
    assert np.isfinite(found.relative[0, :, 2:, 6]).all()
    few = information.sample("squeezenet1_1")
    assert np.bincount(few["of"]).tolist() == [6, 6, 12, 20, 20]
    assert few["bits"].shape == (2, 10, 64)
    # Once they are shipped, it takes neither the network nor the photographs.
    assert information.known_network("squeezenet1_1") is None
    found.ship(here / "information-squeezenet1_1.npz")
    few.ship(here / "information-squeezenet1_1-units.npz")
    monkeypatch.setattr(people_across, "ready", lambda _: False)
    monkeypatch.setattr(networks, "build", None)
    again = information.known_network("squeezenet1_1")
    assert again.recorded
    np.testing.assert_array_equal(again.relative, found.relative)
    np.testing.assert_array_equal(information.sample("squeezenet1_1")["bits"], few["bits"])
    with pytest.raises(DataError, match="no network of googlenet is on this machine: set RAREFIRE_MIRROR"):
        information.measure_here(["googlenet"])


def test_a_network_that_is_not_here_has_no_sample(own_cache):
    assert information.sample("squeezenet1_1", use_shipped=False) is None


# --- the command ----------------------------------------------------------------------------------


def run(*arguments):
    return CliRunner().invoke(cli.app, ["record", "information", *arguments])


def test_the_command_prints_and_ships(here, monkeypatch):
    done = run("networks", "--ship", str(here / "information.npz"))
    assert done.exit_code == 0, done.output
    rows = [line.split()[:3] for line in done.stdout.splitlines()]
    assert ["luminance", "relative", "pooled"] in rows
    assert ["category", "gini", "pooled"] in rows
    named = [here / f"information-squeezenet1_1{end}.npz" for end in ("", "-units")]
    assert [f"written: {path}" in done.stdout for path in named] == [True, True]
    assert sorted(here.glob("*.npz")) == sorted(named)
    monkeypatch.setattr(people_across, "ready", lambda _: False)
    again = run("squeezenet1_1")
    assert "recorded run" in again.stdout
    head = done.stdout.split("Source")[0]
    assert again.stdout.split("Source")[0] == head
    gone = run("squeezenet1_1", "--recompute")
    assert gone.exit_code == 1
    assert "no network of squeezenet1_1 is on this machine" in gone.stderr
    wrong = run("moon")
    assert wrong.exit_code == 1
    assert "no image set or network 'moon'" in wrong.stderr


def test_the_command_measures_lenets(measured, tmp_path):
    done = run("digits", "--instances", "1", "--ship", str(tmp_path / "digits.npz"))
    assert done.exit_code == 0, done.output
    change = measured.pruning("category").set_index("layer").loc["relu4", "change"]
    assert f"{change:.3f}" in done.stdout
    assert f"written: {tmp_path / 'digits.npz'}" in done.stdout
    assert dataclasses.asdict(information.SETTINGS["digits"])["seeds"] == 1
