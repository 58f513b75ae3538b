"""Studies: what is kept of a network, how answers mix, and shipped numbers recomputed from raw data."""

import numpy as np
import pytest

from rarefire import curves, embeddings, poz, stimuli, store, studies, training
from rarefire.errors import DataError, UnknownNameError

SHORT = training.Recipe(batch_size=64, max_epochs=2)


def test_measure_equals_the_functions_it_is_made_of(trained):
    network, test = trained
    train = stimuli.load("digits", "train").subset(np.arange(200))
    found = studies.measure(network, train, test, seed=3)
    embedding = embeddings.extract(network, test)
    rates = poz.poz(embedding)
    np.testing.assert_array_equal(found["poz_test"], rates)
    np.testing.assert_allclose(found["poz_train"], poz.poz(embeddings.extract(network, train)))
    assert found["accuracy"] == training.accuracy(network, test)
    high = curves.geometry_curve(embedding, poz.order(rates, first="high"))
    np.testing.assert_array_equal(found["high"], high.r)
    np.testing.assert_array_equal(found["n_images_high"], high.n_images)
    classes = curves.class_curve(embedding, test.labels, poz.order(rates))
    np.testing.assert_array_equal(found["low_class"], classes.r)
    assert found["random"].shape == found["random_class"].shape == (studies.N_RANDOM, 84)
    assert set(studies.CURVES) <= set(found)
    # The held-out curve: order from one half of the test images, geometry of the other.
    half = stimuli.half_mask(test.labels)
    by_half = poz.order(poz.poz(embedding[half]))
    np.testing.assert_array_equal(found["low_heldout"], curves.geometry_curve(embedding[~half], by_half).r)


def test_an_ensemble_can_grow(own_cache):
    first = studies.run("digits", seeds=[0], recipe=SHORT, progress=False)
    both = studies.run("digits", seeds=[0, 1], recipe=SHORT, progress=False)
    assert first.sources == {"computed": 1}
    assert both.sources == {"cache": 1, "computed": 1}
    np.testing.assert_array_equal(first["low"][0], both["low"][0])
    assert len(both) == 2
    assert both.n_features == 84
    assert both.at("low", 1.0) == pytest.approx([1, 1])
    assert both.at("random", 0.5).shape == (2, studies.N_RANDOM)
    few = both["n_images_high"] < 0.5 * 500
    assert few.any()
    np.testing.assert_array_equal(np.isnan(both.r2("high")), few | np.isnan(both["high"]))
    np.testing.assert_array_equal(both.r2("high", least=0), both["high"].astype(float) ** 2)
    assert both["history"].shape == (2, 2)
    assert "digits, lenet5: 2 instances, 1 from the cache, 1 computed now (rarefire" in both.stamp()
    found = studies.find("digits", seeds=range(5), recipe=SHORT)
    assert found.seeds == (0, 1)
    said = studies.source({"digits": found})
    assert said.startswith("Source: lenet5 on digits (2 instances, computed on this machine); rarefire ")


def test_what_is_not_known_is_none_and_downloads_nothing(own_cache):
    assert studies.find("digits", seeds=[0], recipe=SHORT) is None
    assert studies.find("cifar10") is None
    assert list(own_cache.rglob("*")) == []


def test_unknown_profile():
    with pytest.raises(UnknownNameError, match="no profile 'fast'. There are: .*default"):
        studies.collect("fast")


def test_missing_instances_are_counted():
    with pytest.raises(DataError, match="1 instances are missing"):
        studies._gather("digits", "lenet5", [0], [])


SHIPPED = sorted((store.data_dir() / "results").glob("*-lenet5.npz"))


def test_something_is_shipped():
    assert [path.stem for path in SHIPPED] == ["cifar10-jpg-lenet5", "mnist-lenet5"]
    assert sum(path.stat().st_size for path in SHIPPED[0].parent.iterdir()) < 5e6


@pytest.mark.parametrize("name", ["mnist", "cifar10-jpg"])
def test_shipped_results_are_found_without_data(own_cache, name):
    study = studies.find(name)
    assert len(study) == 50
    assert study.sources == {"shipped": 50}
    typical = {"mnist": 0.985, "cifar10-jpg": 0.60}
    assert np.median(study["accuracy"]) >= typical[name]
    assert study.provenance["facts"]["seed"] == 0
    for curve in studies.CURVES:
        r2 = study.r2(curve)
        assert np.nanmax(r2) <= 1
        np.testing.assert_allclose(r2[..., -1], 1, atol=1e-6)


def test_shipped_mnist_is_what_raw_mnist_gives(mirror, own_cache, monkeypatch):
    """Train seed 0 again for two epochs, from the raw images, and compare with the record.

    Training amplifies rounding: on another machine the second epoch may differ in the third digit.
    """
    monkeypatch.setenv("RAREFIRE_MIRROR", str(mirror))
    shipped = studies.find("mnist", seeds=[0])
    recipe = training.Recipe(**{**vars(training.RECIPES["mnist"]), "max_epochs": 2, "typical": 0.0})
    (instance,) = training.train("mnist", seeds=[0], recipe=recipe, progress=False)
    np.testing.assert_allclose(instance.history["accuracy"], shipped["history"][0, :2], atol=0.01)
