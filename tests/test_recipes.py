"""Recipes: counted by hand, run, shipped and found again; the recorded ones."""

import dataclasses
import functools

import numpy as np
import pytest
import torch
from oracles import numpy_curve

from rarefire import curves, embeddings, networks, stimuli, store, training
from rarefire.errors import DataError, UnknownNameError
from rarefire.records import ensembles, recipes, source
from rarefire.records.recipes import Variation, Varied

SHORT = training.Recipe(batch_size=64, max_epochs=2, typical=0.0)
TINY = {
    "usual": Variation("usual", "as always"),
    "half": Variation("width", "half as wide", "lenet5-half"),
    "norm-sgd": Variation(
        "batch norm",
        "batch norm, SGD",
        "lenet5-batchnorm",
        {"optimizer": "sgd", "learning_rate": 1e-2, "max_epochs": 1},
    ),
}


@pytest.fixture
def tiny(own_cache, tmp_path, monkeypatch):
    """Three short variations on digits, of which nothing is known; where results would be shipped."""
    monkeypatch.setattr(recipes, "VARIATIONS", TINY)
    monkeypatch.setitem(training.RECIPES, "digits", SHORT)
    monkeypatch.setattr(stimuli, "load", functools.lru_cache(stimuli.load))  # else read for every key
    monkeypatch.setattr(store, "data_dir", lambda: tmp_path / "data")
    return tmp_path / "data" / "results"


def run(names=tuple(TINY), **options):
    return recipes.measure("digits", names, **{"seeds": [0, 1], "jobs": 1, "progress": False, **options})


def fail(*_, **__):
    raise AssertionError("this should not have been computed")


# --- what is measured ------------------------------------------------------------------------------


class Seen(torch.nn.Module):
    """A network whose penultimate features are the pixels of its images."""

    def __init__(self):
        super().__init__()
        self.last = torch.nn.Linear(5, 3)

    def forward(self, x):
        return self.last(x.flatten(1).relu())


def pictures(pixels, split):
    values = np.asarray(pixels, dtype=np.float32).reshape(-1, 1, 1, 5)
    return stimuli.Stimuli("folder:made", split, values, np.arange(len(values)) % 3, ("a", "b", "c"), "made")


def test_features_over_a_threshold_counted_by_hand(rng):
    """Ten images and five features, silent for 0, 2, 5, 8 and 10 of them."""
    pixels = rng.uniform(0.1, 1, size=(10, 5))
    for feature, silent in enumerate((0, 2, 5, 8, 10)):
        pixels[rng.permutation(10)[:silent], feature] = 0
    train = rng.uniform(0.1, 1, size=(7, 5))
    train[:, [0, 4]] = 0  # features that fire for no training image: two of five
    train[:6, 2] = 0
    found = recipes.measure_network(Seen(), pictures(train, "train"), pictures(pixels, "test"))
    over = dict(zip(recipes.THRESHOLDS, found["over"].tolist(), strict=True))
    expected = {0: 4, 0.19: 4, 0.2: 3, 0.49: 3, 0.5: 2, 0.79: 2, 0.8: 1, 0.81: 1, 0.99: 1, 1: 0}
    assert {t: over[t] for t in expected} == {t: n / 5 for t, n in expected.items()}
    assert found["dead"] == 2 / 5
    assert found["n_features"] == 5
    assert found["accuracy"].shape == found["dead"].shape == found["n_features"].shape == ()


def test_thresholds_and_shares():
    assert len(recipes.THRESHOLDS) == 101
    assert [recipes.THRESHOLDS[i] for i in (0, 29, 80, 100)] == [0, 0.29, 0.8, 1]
    assert len(recipes.SHARES) == 20
    assert [recipes.SHARES[i] for i in (0, 3, 9, 19)] == pytest.approx([0.05, 0.2, 0.5, 1], abs=1e-15)


def test_a_network_is_measured_as_numpy_measures_it(trained):
    network, test = trained
    train = stimuli.load("digits", "train").subset(np.arange(300))
    found = recipes.measure_network(network, train, test)
    embedding = embeddings.extract(network, test).astype(float)
    means = np.stack([embedding[test.labels == c].mean(axis=0) for c in range(10)])
    rates = (embedding == 0).mean(axis=0)
    assert found["accuracy"] == training.accuracy(network, test)
    assert found["n_features"] == 84
    assert found["dead"] == (embeddings.extract(network, train) == 0).all(axis=0).mean()
    naive = [sum(rate > threshold for rate in rates) / 84 for threshold in recipes.THRESHOLDS]
    np.testing.assert_allclose(found["over"], naive, atol=1e-15)
    # A share of 84 features, to the nearest: .05, .1, .15, … of them.
    steps = [4, 8, 13, 17, 21, 25, 29, 34, 38, 42, 46, 50, 55, 59, 63, 67, 71, 76, 80, 84]
    for first, sign in (("low", 1), ("high", -1)):
        order = np.lexsort((np.arange(84), sign * rates))
        for place in (3, 9, 15, 19):
            kept = order[: steps[place]]
            for name, (r, n) in {
                first: numpy_curve(embedding[:, kept], embedding),
                f"{first}_class": numpy_curve(means[:, kept], means, power=2),
            }.items():
                assert found[name][place] == pytest.approx(r, abs=1e-6, nan_ok=True), (name, place)
                assert found[f"n_images_{name}"][place] == n, (name, place)
    assert all(np.shape(found[n]) == (20,) for n in ("low", "high", "low_class", "high_class"))


# --- what is read off them -------------------------------------------------------------------------


def varied(**arrays):
    """A record of arrays alone."""
    return Varied.of(arrays, stimuli="digits", network="lenet5")


def test_r2_at_the_nearest_share_by_hand():
    """At .05, .1, … 1 the curve of the first is .05, .1, … 1."""
    rising, counted = np.arange(1, 21) / 20, np.full(20, 100)
    found = varied(low=[rising, -rising[::-1]], n_images_low=[counted, counted])
    for share, expected in {
        0.05: [0.05, 1],
        0.8: [0.8, 0.25],
        1: [1, 0.05],
        0.82: [0.8, 0.25],
        0.83: [0.85, 0.2],
        0: [0.05, 1],
        0.3: [0.3, 0.75],
    }.items():
        np.testing.assert_allclose(
            found.r2("low", share), np.square(expected), atol=1e-12, err_msg=str(share)
        )


def test_r2_is_undefined_for_fewer_than_half_of_the_images():
    """Of the images that have a similarity with all features, not with some share of them."""
    few, every = np.array([(49, 100), (50, 100), (51, 100), (0, 100), (40, 80), (39, 80), (100, 100)]).T
    curve = np.full((7, 20), 0.5, dtype=np.float32)
    counted = np.repeat(every[:, None], 20, axis=1)
    counted[:, 15] = few
    undefined = curve.copy()
    undefined[6, 15] = np.nan
    found = varied(
        high_class=undefined, n_images_high_class=counted, low=curve, n_images_low=np.full((7, 20), 100)
    )
    expected = [np.nan, 0.25, 0.25, np.nan, 0.25, np.nan, np.nan]
    np.testing.assert_array_equal(found.r2("high_class", 0.8), expected)
    assert found.r2("high_class", 0.8).dtype == np.float64
    np.testing.assert_array_equal(found.r2("high_class", 0.75)[:-1], 0.25)
    np.testing.assert_array_equal(found.r2("low", 0.8), 0.25)


def test_features_over_a_threshold_are_those_that_measure_counted():
    rates = np.array([[0, 0.29, 0.5, 0.8], [0.81, 0.9, 1, 1], [0.2, 0.3, 0.4, 0.85]])
    shares = [[np.mean([r > t for r in row]) for t in recipes.THRESHOLDS] for row in rates]
    found = varied(over=shares)
    for threshold, expected in {
        0.8: [0, 1, 0.25],
        0.79: [0.25, 1, 0.25],
        0: [0.75, 1, 1],
        0.29: [0.5, 1, 0.75],
        0.28: [0.75, 1, 0.75],
        0.5: [0.25, 1, 0.25],
        1: [0, 0, 0],
    }.items():
        assert found.rare_share(threshold).tolist() == expected, threshold
    assert found.rare_share().tolist() == [0, 1, 0.25]  # at .8


# --- run, ship, find -------------------------------------------------------------------------------


def test_variations_are_computed_once(tiny, monkeypatch):
    first = run()
    assert list(first) == list(TINY)
    assert {a.source for e in first.values() for a in e.answers} == {"computed"}
    monkeypatch.setattr(training, "train", fail)
    monkeypatch.setattr(recipes, "measure_network", fail)
    again = run()
    for name, ensemble in again.items():
        assert [a.source for a in ensemble.answers] == ["cache", "cache"]
        for array, values in ensemble.answers[0].arrays.items():
            np.testing.assert_array_equal(values, first[name].answers[0].arrays[array])
            assert len(ensemble[array]) == len(ensemble) == 2
    assert first["usual"]["low"].shape == first["usual"]["n_images_high_class"].shape == (2, 20)
    assert first["usual"]["over"].shape == (2, 101)
    assert first["usual"]["accuracy"].shape == (2,)
    assert [e["n_features"].tolist() for e in first.values()] == [[84, 84], [42, 42], [84, 84]]
    assert [e["epochs"].tolist() for e in first.values()] == [[2, 2], [2, 2], [1, 1]]


def test_every_instance_is_the_one_that_its_recipe_trains(tiny, tmp_path):
    """Trained apart, with the recipe written out: the same network, measured on all images."""
    (answer,) = run(["norm-sgd"], seeds=[3])["norm-sgd"].answers
    recipe = training.Recipe(batch_size=64, max_epochs=1, optimizer="sgd", learning_rate=1e-2)
    train, test = stimuli.load("digits", "train"), stimuli.load("digits", "test")
    (instance,) = training.train(
        train, "lenet5-batchnorm", seeds=[3], recipe=recipe, device="cpu", folder=tmp_path, progress=False
    )
    expected = recipes.measure_network(instance.network(), train, test)
    assert set(answer.arrays) == {*expected, "epochs"}
    for name, values in expected.items():
        np.testing.assert_array_equal(answer.arrays[name], values, err_msg=name)
    facts = answer.provenance["facts"]
    assert (facts["network"], facts["seed"]) == ("lenet5-batchnorm", 3)
    assert facts["recipe"] == recipe.facts()
    assert facts["test_digest"] == test.digest


def test_an_ensemble_of_a_variation_can_grow(tiny, monkeypatch):
    run(["half"], seeds=[1])
    asked = []
    original = training.train

    def train(*given, **options):
        asked.append(options["seeds"])
        return original(*given, **options)

    monkeypatch.setattr(training, "train", train)
    grown = run(["half"], seeds=[0, 1, 2])["half"]
    assert asked == [[0, 2]]
    assert [a.source for a in grown.answers] == ["computed", "cache", "computed"]
    assert grown.seeds == (0, 1, 2)


def test_variations_of_every_width_are_shipped_in_one_file_and_found_there(tiny, tmp_path, monkeypatch):
    computed = run()
    path = recipes.ship("digits", tiny / "digits-variations.npz", seeds=[0, 1])
    assert [p.name for p in tiny.iterdir()] == [path.name]
    monkeypatch.setenv("RAREFIRE_CACHE", str(tmp_path / "empty"))
    monkeypatch.setattr(training, "train", fail)
    found = recipes.known("digits", seeds=range(5))
    assert list(found) == list(TINY)
    for ensemble, own in ((found[name], computed[name]) for name in TINY):
        assert [a.source for a in ensemble.answers] == ["shipped", "shipped"]
        assert ensemble.seeds == (0, 1)
        for array in own.answers[0].arrays:
            np.testing.assert_allclose(ensemble[array], own[array], rtol=1e-6, atol=1e-7, err_msg=array)
    assert [e["n_features"].tolist() for e in found.values()] == [[84, 84], [42, 42], [84, 84]]
    assert source(found["half"]).startswith(
        "Source: lenet5-half on digits (2 instances, recorded runs); rarefire "
    )
    shipped = run()
    assert {a.source for e in shipped.values() for a in e.answers} == {"shipped"}
    with pytest.raises(AssertionError, match="should not have been computed"):
        run(use_shipped=False)
    assert list((tmp_path / "empty").rglob("*.npz")) == []


def test_what_this_machine_found_is_shipped_rather_than_what_was_shipped(tiny, tmp_path, monkeypatch):
    run(["usual"])
    first = recipes.ship("digits", tiny / "digits-variations.npz", seeds=[0, 1])
    assert len(store.shipped("variation")) == 2
    # Another machine finds something else for one of them, and something new for one seed only.
    monkeypatch.setenv("RAREFIRE_CACHE", str(tmp_path / "other"))
    mine = run(["usual"], seeds=[1], use_shipped=False)["usual"].answers[0]
    (entry,) = (tmp_path / "other" / "results").glob("*.npz")
    store._write(entry, {**mine.arrays, "accuracy": np.asarray(0.125)}, mine.provenance)
    run(["half"], seeds=[0])
    second = recipes.ship("digits", tmp_path / "again" / "results" / "v.npz", seeds=[0, 1])
    monkeypatch.setattr(store, "data_dir", lambda: second.parents[1])
    monkeypatch.setenv("RAREFIRE_CACHE", str(tmp_path / "empty"))
    found = recipes.known("digits")
    assert {name: len(ensemble) for name, ensemble in found.items()} == {"usual": 2}
    accuracies = dict(zip(found["usual"].seeds, found["usual"].accuracy.tolist(), strict=True))
    assert accuracies[1] == 0.125
    assert accuracies[0] != 0.125
    assert first != second


def test_what_is_not_known_is_left_out_and_downloads_nothing(tiny, own_cache):
    assert recipes.known("digits") == {}
    assert recipes.known("mnist") == {}
    assert recipes.known("cifar10") == {}  # what it is cannot be said without a download
    assert list(own_cache.rglob("*")) == []
    run(["half"], seeds=[1])
    found = recipes.known("digits")
    assert list(found) == ["half"]
    assert found["half"].seeds == (1,)


def test_nothing_known_is_nothing_to_ship(own_cache, tmp_path):
    with pytest.raises(DataError, match="no variation of the recipe is known for 'digits'"):
        recipes.ship("digits", tmp_path / "none.npz", seeds=[99])
    assert list(tmp_path.glob("*.npz")) == []


def test_unknown_variation(own_cache):
    with pytest.raises(UnknownNameError, match="no variation 'adamww'. There are: adamw, "):
        recipes.measure("digits", ["adamww"], progress=False)
    assert list(own_cache.rglob("*")) == []


# --- the variations --------------------------------------------------------------------------------


@pytest.mark.parametrize("images", ["digits", "mnist", "cifar10", "cifar10-jpg", "folder:x"])
def test_a_variation_is_the_usual_recipe_but_for_its_changes(images):
    usual = training.recipe_for(images)
    for name, variation in recipes.VARIATIONS.items():
        recipe = variation.recipe(images)
        same = {f.name for f in dataclasses.fields(recipe)} - set(variation.changes) - {"typical"}
        assert {n: getattr(recipe, n) for n in same} == {n: getattr(usual, n) for n in same}, name
        assert {n: getattr(recipe, n) for n in variation.changes} == dict(variation.changes), name
        assert "typical" not in variation.changes
        if variation.changes:
            assert recipe.typical == 0, name
            assert dataclasses.replace(recipe, typical=usual.typical) != usual, name
    assert recipes.VARIATIONS["usual"].recipe(images) == usual


def test_every_variation_is_another_one():
    """Of its own title, and found under a key of its own."""
    given = recipes.VARIATIONS
    titles = [v.title for v in given.values()]
    assert len(set(titles)) == len(titles)
    for images in ("mnist", "cifar10-jpg"):
        keys = {store.key(**recipes._facts(images, v)) for v in given.values()}
        assert len(keys) == len(given)
    usual = given["usual"]
    assert (usual.network, dict(usual.changes)) == ("lenet5", {})
    assert all(v.group and v.title == v.title.strip() for v in given.values())


def test_networks_of_variations_can_be_built():
    for name, variation in recipes.VARIATIONS.items():
        for channels, size in ((1, 28), (3, 32)):
            network = networks.build(
                variation.network,
                input_shape=(channels, size, size),
                n_classes=10,
                mean=(0.5,) * channels,
                std=(0.5,) * channels,
            )
            assert ("norm1" in dict(network.named_children())) == name.startswith("norm"), name
            assert network(torch.rand(2, channels, size, size)).shape == (2, 10)


# --- the recorded ones -----------------------------------------------------------------------------


@pytest.mark.parametrize("images", ["digits", "mnist", "cifar10-jpg"])
def test_shipped_variations_are_found_without_data(own_cache, images):
    """All of them, on as many instances as planned."""
    found = recipes.known(images)
    assert list(found) == list(recipes.VARIATIONS)
    for name, ensemble in found.items():
        assert [a.source for a in ensemble.answers] == ["shipped"] * recipes.N_INSTANCES, name
        assert ensemble.seeds == tuple(range(recipes.N_INSTANCES)), name
        assert (np.diff(ensemble["over"]) <= 0).all(), name
        assert (ensemble["over"][:, -1] == 0).all(), name
        assert ((ensemble["dead"] >= 0) & (ensemble["dead"] <= 1)).all(), name
        # Worse than guessing, but for chance, would be a mistake.
        assert ((ensemble["accuracy"] > 0.09) & (ensemble["accuracy"] < 1)).all(), name
        for curve in ("low", "high", "low_class", "high_class"):
            assert np.abs(np.nan_to_num(ensemble[curve])).max() <= 1, name
            alive = ensemble[f"n_images_{curve}"][:, -1] >= 3
            np.testing.assert_allclose(ensemble[curve][alive, -1], 1, atol=1e-6, err_msg=name)
    widths = {name: set(ensemble["n_features"].tolist()) for name, ensemble in found.items()}
    assert widths == {name: {{"half": 42, "double": 168}.get(name, 84)} for name in found}
    for n in (1, 5, 30):
        assert found[f"epoch-{n}"]["epochs"].tolist() == [n] * recipes.N_INSTANCES


@pytest.mark.parametrize("images", ["mnist", "cifar10-jpg"])
def test_the_shipped_usual_recipe_is_that_of_the_ensemble(own_cache, images):
    usual = recipes.known(images)["usual"]
    ensemble = ensembles.known(images, seeds=range(recipes.N_INSTANCES))
    assert [a.source for a in ensemble.answers] == ["shipped"] * recipes.N_INSTANCES
    np.testing.assert_allclose(usual["accuracy"], ensemble["accuracy"], atol=1e-6)
    np.testing.assert_array_equal(usual["epochs"], ensemble["epochs"])
    # PoZ over 10,000 test images is a whole number of ten thousandths, kept in single precision.
    rates = np.round(ensemble["poz_test"].astype(float), 4)
    over = (rates[:, None, :] > np.array(recipes.THRESHOLDS)[:, None]).mean(axis=2)
    np.testing.assert_allclose(usual["over"], over, atol=1e-6)
    np.testing.assert_allclose(usual["dead"], (ensemble["poz_train"] == 1).mean(axis=1), atol=1e-6)
    places = [curves.count(share, ensemble.n_features) - 1 for share in recipes.SHARES]
    for curve in ("low", "high", "low_class", "high_class"):
        np.testing.assert_allclose(usual[curve], ensemble[curve][:, places], atol=1e-6, err_msg=curve)
