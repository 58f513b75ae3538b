"""Ensembles: what is kept of a network, how answers mix, and shipped numbers recomputed from raw data."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from oracles import numpy_curve
from scipy import stats

from rarefire import curves, embeddings, poz, records, stimuli, store, training
from rarefire.errors import DataError, UnknownNameError
from rarefire.records import ensembles, source
from rarefire.records.record import VERSIONS

SHORT = training.Recipe(batch_size=64, max_epochs=2)
ROUNDING = 1e-12  # correlations over thousands of pairs, in double precision


def test_what_is_counted_of_a_network_counted_by_numpy(trained):
    network, test = trained
    train = stimuli.load("digits", "train").subset(np.arange(200))
    found = ensembles.measure_network(network, train, test, seed=3)
    embedding = embeddings.extract(network, test)
    np.testing.assert_array_equal(found["poz_test"], (embedding == 0).mean(axis=0))
    in_training = (embeddings.extract(network, train) == 0).mean(axis=0)
    np.testing.assert_allclose(found["poz_train"], in_training, atol=ROUNDING)
    assert found["accuracy"] == training.accuracy(network, test)
    half = embedding[stimuli.half_mask(test.labels)]
    np.testing.assert_array_equal(found["poz_heldout"], (half == 0).mean(axis=0))
    for c, ghosts in enumerate(found["ghosts"]):
        inside = test.labels == c
        expected = ~embedding[inside].any(axis=0) & embedding[~inside].any(axis=0)
        np.testing.assert_array_equal(ghosts, expected)
    counted = {f"n_images_{curve}" for curve in ensembles.CURVES if not curve.startswith("random")}
    others = {"accuracy", "poz_train", "poz_test", "poz_heldout", "ghosts"}
    assert set(found) == {*ensembles.CURVES, *counted, *others}


@pytest.mark.parametrize("k", [17, 42, 70])
def test_measured_curves_equal_numpy(trained, k):
    """Every curve in PoZ order once more from matrices of similarities."""
    network, test = trained
    found = ensembles.measure_network(network, test, test, seed=3)
    embedding = embeddings.extract(network, test).astype(float)
    means = np.stack([embedding[test.labels == c].mean(axis=0) for c in range(10)])
    half = stimuli.half_mask(test.labels)
    silent = (embedding == 0).mean(axis=0)
    on_half = (embedding[half] == 0).mean(axis=0)
    every = np.arange(84)
    assert len(np.unique(silent)) < 84, "choose another network: it has no ties in PoZ"
    for first, sign in (("low", 1), ("high", -1)):
        usual, other, heldout = (
            np.lexsort((tie, sign * rates))[:k]
            for tie, rates in ((every, silent), (-every, silent), (every, on_half))
        )
        kept = np.zeros_like(embedding)
        kept[:, usual] = embedding[:, usual]
        for variant, (r, n) in {
            "": numpy_curve(embedding[:, usual], embedding),
            "_cosine": numpy_curve(embedding[:, usual], embedding, cosine=True),
            "_silenced": numpy_curve(kept, embedding),
            "_heldout": numpy_curve(embedding[~half][:, heldout], embedding[~half]),
            "_ties": numpy_curve(embedding[:, other], embedding),
            "_class": numpy_curve(means[:, usual], means, power=2),
            "_class_signed": numpy_curve(means[:, usual], means),
            "_class_cosine": numpy_curve(means[:, usual], means, power=2, cosine=True),
        }.items():
            name = first + variant
            assert found[name][k - 1] == pytest.approx(r, abs=1e-6, nan_ok=True), name
            assert found[f"n_images_{name}"][k - 1] == n, name


def test_random_orders_of_an_instance(trained):
    """Ten orders, drawn by the seed, the same for every kind of curve: seen at what comes last."""
    network, test = trained
    found, again, other = (ensembles.measure_network(network, test, test, seed=seed) for seed in (3, 3, 4))
    embedding = embeddings.extract(network, test).astype(float)
    means = np.stack([embedding[test.labels == c].mean(axis=0) for c in range(10)])
    kinds = {
        "random": lambda f: numpy_curve(np.delete(embedding, f, 1), embedding),
        "random_cosine": lambda f: numpy_curve(np.delete(embedding, f, 1), embedding, cosine=True),
        "random_class": lambda f: numpy_curve(np.delete(means, f, 1), means, power=2),
    }
    last = np.ones((10, 84), dtype=bool)  # which features may come last in each order
    for name, without in kinds.items():
        assert found[name].shape == (10, 84)
        np.testing.assert_allclose(found[name][:, -1], 1, atol=ROUNDING)
        np.testing.assert_allclose(again[name], found[name], atol=ROUNDING, err_msg=name)
        assert not np.isclose(other[name][:, 41], found[name][:, 41], atol=1e-6).any()
        left = np.array([without(f)[0] for f in range(84)])
        last &= np.abs(found[name][:, -2:-1] - left) < 1e-7
    assert last.any(axis=1).all()
    assert (last.sum(axis=1) == 1).sum() >= 3, "choose another network: too many of its features are dead"
    assert len(np.unique(found["random"][:, 41].round(6))) == 10


def test_an_ensemble_can_grow(own_cache):
    first = ensembles.measure("digits", seeds=[0], recipe=SHORT, progress=False)
    both = ensembles.measure("digits", seeds=[0, 1], recipe=SHORT, progress=False)
    assert [a.source for a in first.answers] == ["computed"]
    assert [a.source for a in both.answers] == ["cache", "computed"]
    np.testing.assert_array_equal(first["low"][0], both["low"][0])
    assert len(both) == 2
    assert both.n_features == 84
    assert both.at("low", 1.0) == pytest.approx([1, 1])
    assert both.at("random", 0.5).shape == (2, ensembles.N_RANDOM)
    few = both["n_images_high"] < 0.5 * 500
    assert few.any()
    np.testing.assert_array_equal(np.isnan(both.r2("high")), few | np.isnan(both["high"]))
    np.testing.assert_array_equal(both.r2("high", least=0), both["high"].astype(float) ** 2)
    assert both["history"].shape == (2, 2)
    found = ensembles.known("digits", seeds=range(5), recipe=SHORT)
    assert found.seeds == (0, 1)
    assert source(found).startswith(
        "Source: lenet5 on digits (2 instances, computed on this machine); rarefire "
    )


def test_what_is_not_known_is_none_and_downloads_nothing(own_cache):
    assert ensembles.known("digits", seeds=[0], recipe=SHORT) is None
    assert ensembles.known("cifar10") is None
    assert list(own_cache.rglob("*")) == []


@pytest.mark.parametrize("collected", [ensembles.by_images, ensembles.wide])
def test_unknown_profile(collected):
    with pytest.raises(UnknownNameError, match="no profile 'fast'. There are: .*default"):
        collected("fast")


def test_the_wide_form_is_found_or_computed_from_the_images(own_cache, monkeypatch):
    asked = []
    monkeypatch.setattr(ensembles, "measure", lambda *given, **options: asked.append((given, options)))
    monkeypatch.setattr(ensembles, "known", lambda *given, **options: ("found", given, options))
    assert ensembles.wide() == ("found", ("mnist", "lenet5-wide"), {"seeds": range(10)})
    assert asked == []
    ensembles.wide("full")
    assert asked == [(("mnist", "lenet5-wide"), {"seeds": range(10), "use_shipped": False})]


# --- what is read off an ensemble ----------------------------------------------------------------------


def made_up(**arrays):
    """An ensemble of arrays alone, each with the instance as its first axis."""
    arrays = {name: np.asarray(values, dtype=float) for name, values in arrays.items()}
    return ensembles.Ensemble.of(arrays, stimuli="mnist", network="lenet5")


def test_agreement_is_the_correlation_of_ranks_of_features_that_fire_in_either(rng):
    train = rng.integers(0, 8, size=(4, 30)) / 10  # with ties
    test = np.clip(train + rng.integers(-2, 3, size=train.shape) / 10, 0, 0.9)
    train[:, :3], test[:, 3:6] = 1, 1  # dead in one of the two: they count
    train[:, 6:12] = test[:, 6:12] = 1  # dead in both: they would make ranks agree
    test[3] = np.where(test[3] < 1, 0.9 - test[3], 1)
    expected, with_dead = [], []
    for a, b in zip(train, test, strict=True):
        for kept, found in ((~((a == 1) & (b == 1)), expected), (slice(None), with_dead)):
            ranks = [[np.sum(x < value) + np.sum(x == value) / 2 for value in x] for x in (a[kept], b[kept])]
            found.append(np.corrcoef(*ranks)[0, 1])
    ensemble = made_up(poz_train=train, poz_test=test)
    np.testing.assert_allclose(ensemble.agreement("poz_train", "poz_test"), expected, atol=1e-12)
    np.testing.assert_allclose(ensemble.agreement("poz_test", "poz_train"), expected, atol=1e-12)
    assert np.abs(np.subtract(expected, with_dead)).min() > 0.01
    np.testing.assert_allclose(ensemble.agreement("poz_test", "poz_test"), 1, atol=1e-12)


def test_features_with_the_poz_of_another_one_counted_by_hand():
    rates = [
        [0.1, 0.2, 0.2, 0.3, 0.3, 0.3, 0.4, 0.5, 1, 1],  # five of the eight that fire
        [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 1, 1, 1],  # those that never fire are no tie
        [0.5] * 10,
        [1] * 10,
    ]
    assert made_up(poz_test=rates).tied().tolist() == [5 / 8, 0, 1, 0]


def test_the_effect_of_ties_is_the_absolute_change_of_r2():
    ensemble = made_up(
        low=[[0.5, 0.8, 1], [np.nan, -0.6, 1]],
        low_ties=[[0.7, 0.6, 1], [0.5, 0.6, 1]],
        high=[[0.2, 0.9, 1], [0.1, 0.3, 1]],
        high_ties=[[0.2, 0.9, 1], [0.4, 0.3, 1]],
        n_images_low_ties=[[100, 100, 100], [100, 100, 100]],
        n_images_high=[[49, 50, 100], [100, 100, 100]],
    )
    np.testing.assert_allclose(ensemble.tie_effect("low"), [[0.24, 0.28, 0], [np.nan, 0, 0]], atol=1e-12)
    # Of 49 images of 100, R² is not given.
    np.testing.assert_allclose(ensemble.tie_effect("high"), [[np.nan, 0, 0], [0.15, 0, 0]], atol=1e-12)


def test_a_share_of_the_features_that_fire():
    curve = np.arange(1, 11) / 10
    unknown = np.where(np.arange(10) == 5, np.nan, curve)
    rates = [
        [1, 0.2, 1, 0.3, 0.9999, 0, 0.5, 1, 0.1, 1],  # six fire
        [0.5] * 10,
        [1, 1, 1, 1, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6],  # six, and the curve is undefined there
        [1] * 9 + [0.3],  # one
    ]
    curves = {"low": [curve, curve, unknown, curve], "low_cosine": [curve**2] * 4}
    curves |= {"high": [curve, curve, unknown, curve], "high_heldout": [curve] * 4, "random": [[curve]] * 4}
    ensemble = made_up(poz_test=rates, poz_heldout=rates[::-1], **curves)

    def at(name, share):
        return ensemble.at(name, share, firing=True)

    np.testing.assert_allclose(at("low", 1), [0.36, 1, np.nan, 0.01], atol=1e-12)
    # .8 of 6 is 4.8, so 5; of 10 it is 8; of 1, at least 1.
    np.testing.assert_allclose(at("low", 0.8), [0.25, 0.64, 0.25, 0.01], atol=1e-12)
    np.testing.assert_allclose(at("low_cosine", 1), [0.6**4, 1, 0.6**4, 1e-4], atol=1e-12)
    # After the four, none, four and nine that never fire: .3 of 6, 10, 6 and 1 are 2, 3, 2 and 1.
    np.testing.assert_allclose(at("high", 0.3), [0.36, 0.09, np.nan, 1], atol=1e-12)
    np.testing.assert_allclose(at("high", 1), 1, atol=1e-12)
    # By the PoZ that orders the curve: nine, four, none, four.
    np.testing.assert_allclose(at("high_heldout", 0.3), [1, 0.36, 0.09, 0.36], atol=1e-12)
    assert ensemble.median_at("high", 0.3, firing=True) == pytest.approx(0.36)
    with pytest.raises(UnknownNameError, match="no curve by PoZ 'random'. There are: low, "):
        at("random", 0.5)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8, 1])
def test_a_share_of_the_features_that_fire_equals_numpy(trained, share):
    """The features that never fire taken out beforehand, and only then ordered and counted."""
    network, test = trained
    measured = ensembles.measure_network(network, test, test, seed=3)
    found = made_up(**{name: values[None] for name, values in measured.items() if name != "ghosts"})
    embedding = embeddings.extract(network, test).astype(float)
    half = stimuli.half_mask(test.labels)
    means = np.stack([embedding[test.labels == c].mean(axis=0) for c in range(10)])

    def rarest(rates, first):
        """Of those that fire, the share that comes first; and all that never fire."""
        alive = np.flatnonzero(rates < 1)
        ordered = alive[np.lexsort((alive, rates[alive] if first == "low" else -rates[alive]))]
        return ordered[: round(share * len(alive))], np.flatnonzero(rates == 1)

    for first in ("low", "high"):
        slice_, dead = rarest((embedding == 0).mean(axis=0), first)
        on_half, dead_there = rarest((embedding[half] == 0).mean(axis=0), first)
        assert len(dead) > 2, "choose another network: all of its features fire"
        with_dead, with_dead_there = slice_, on_half
        if first == "high":  # which come before: always 0, they count in Pearson's means alone
            with_dead, with_dead_there = np.r_[dead, slice_], np.r_[dead_there, on_half]
        alone = np.zeros_like(embedding)
        alone[:, slice_] = embedding[:, slice_]
        for variant, (r, n) in {
            "": numpy_curve(embedding[:, with_dead], embedding),
            "_cosine": numpy_curve(embedding[:, slice_], embedding, cosine=True),
            "_silenced": numpy_curve(alone, embedding),
            "_heldout": numpy_curve(embedding[~half][:, with_dead_there], embedding[~half]),
            "_class": numpy_curve(means[:, with_dead], means, power=2),
            "_class_signed": numpy_curve(means[:, with_dead], means),
            "_class_cosine": numpy_curve(means[:, slice_], means, power=2, cosine=True),
        }.items():
            name = first + variant
            assert 2 * n >= measured[f"n_images_{name}"][-1], name  # most images have a similarity
            assert found.at(name, share, firing=True) == pytest.approx([r**2], abs=1e-6), name


def test_only_features_that_never_fire_gone_is_the_curve_where_they_come_last(trained):
    """Of a network that was measured: r with all features, of the firing ones alone, by numpy."""
    network, test = trained
    embedding = embeddings.extract(network, test).astype(float)
    rates, low = poz.poz(embedding), curves.geometry_curve(embedding, poz.order(poz.poz(embedding)))
    firing = embedding[:, embedding.any(axis=0)]
    assert 0 < firing.shape[1] < 84, "choose another network: all of its features fire"
    r, _ = numpy_curve(firing, embedding)
    found = made_up(poz_test=[rates], low=[low.r]).at("low", 1, firing=True)
    assert found == pytest.approx([r**2], abs=1e-6)


def removing(removed, silenced, places=5):
    """An ensemble in which R² at .8 of the features is given, and something else everywhere else."""
    values = {"low": removed, "low_silenced": silenced}
    arrays = {name: np.full((len(removed), places), 0.123) for name in values}
    for name, r2 in values.items():
        arrays[name][:, round(0.8 * places) - 1] = np.sqrt(r2)
    return made_up(poz_test=np.zeros((len(removed), places)), **arrays)


@pytest.mark.parametrize(
    ("removed", "silenced", "share"),
    [
        ([0.9], [0.95], 0.5),  # a loss of .1, of which .05 without centring
        ([0.9, 0.9], [0.95, 0.95], 0.5),
        ([0.6], [1.0], 1.0),
        ([0.6], [0.6], 0.0),
        ([0.9], [0.8], -1.0),  # silencing loses more
        ([0.9, 0.5], [1.0, 0.5], 1 / 6),  # of the sums: 1 − .5 / .6, not the mean of 1 and 0
        ([0.9, np.nan, 0.2], [0.95, 0.3, np.nan], 0.5),  # known of one instance only
        ([1.0, 0.9], [0.99, 0.95], 0.4),  # 1 − .06 / .1
    ],
)
def test_the_share_of_centring_by_hand(removed, silenced, share):
    assert removing(removed, silenced).centring() == pytest.approx(share, abs=1e-9)
    assert removing(removed, silenced, 10).centring(0.8) == pytest.approx(share, abs=1e-9)


@pytest.mark.parametrize(
    ("removed", "silenced"), [([1.0], [0.9]), ([1.0, 1.0], [1.0, 1.0]), ([np.nan, 0.5], [0.5, np.nan])]
)
def test_where_removing_loses_nothing_centring_has_no_share(removed, silenced):
    assert np.isnan(removing(removed, silenced).centring())


def test_centring_at_another_share_of_the_features():
    low, silenced = np.sqrt([[0.2, 0.4, 0.6, 0.8, 1]]), np.sqrt([[0.4, 0.7, 0.9, 0.8, 1]])
    ensemble = made_up(poz_test=np.zeros((1, 5)), low=low, low_silenced=silenced)
    found = [ensemble.centring(fraction) for fraction in (0.2, 0.4, 0.6, 0.8)]
    assert found == pytest.approx([0.25, 0.5, 0.75, 0], abs=1e-9)
    assert np.isnan(ensemble.centring(1))


def median_ks(rates):
    pairs = itertools.combinations(rates, 2)
    return np.median([stats.ks_2samp(a, b, method="asymp").statistic for a, b in pairs])


@pytest.mark.parametrize("n_networks", [2, 3, 4, 5])
def test_distance_between_seeds_is_the_median_kolmogorov_smirnov_distance_of_pairs(rng, n_networks):
    rates = rng.beta(1 + np.arange(n_networks)[:, None], 2, size=(n_networks, 40)).round(2)  # with ties
    rates[:, :4] = 1
    observed, null, p = made_up(poz_test=rates).between_seeds(n_permutations=60, rng=rng)
    assert observed == pytest.approx(median_ks(rates), abs=1e-12)
    assert null.shape == (60,)
    assert p == pytest.approx((1 + sum(n >= observed for n in null)) / 61, abs=1e-12)
    # Dealt out anew: what permutations drawn here give, on average.
    dealt = [median_ks(rng.permutation(rates.ravel()).reshape(rates.shape)) for _ in range(60)]
    error = np.hypot(np.std(null), np.std(dealt)) / np.sqrt(60)
    assert abs(null.mean() - np.mean(dealt)) < 4 * error


def test_identical_networks_do_not_differ_between_seeds(rng):
    rates = rng.uniform(size=50)
    ensemble = made_up(poz_test=[rates, rng.permutation(rates), rates])
    observed, null, p = ensemble.between_seeds(n_permutations=50, rng=rng)
    assert (observed, p) == (0, 1)
    assert (null > 0).any()
    # A permutation that differs as much counts: where all features are alike, every one does.
    observed, null, p = made_up(poz_test=np.full((3, 9), 0.5)).between_seeds(n_permutations=9, rng=rng)
    assert (observed, p) == (0, 1)
    assert (null == 0).all()


def test_networks_of_other_distributions_have_the_smallest_p(rng):
    rates = rng.uniform(size=(4, 50)) * np.array([[0.2], [0.4], [0.7], [1]])
    ensemble = made_up(poz_test=rates)
    observed, null, p = ensemble.between_seeds(n_permutations=99, rng=np.random.default_rng(5))
    assert p == 1 / 100
    assert null.max() < observed <= 1
    again = ensemble.between_seeds(n_permutations=99, rng=np.random.default_rng(5))
    assert (again[0], again[2]) == (observed, p)
    np.testing.assert_array_equal(again[1], null)
    other = ensemble.between_seeds(n_permutations=99, rng=np.random.default_rng(6))
    assert not np.array_equal(other[1], null)


def test_chance_alone_is_significant_as_often_as_it_should_be(rng):
    """Networks of one distribution: p is about uniform, so that its mean is .5 and few are below .05."""
    ensembles = (rng.beta(2, 1, size=(4, 24)) for _ in range(60))
    p = [made_up(poz_test=rates).between_seeds(n_permutations=39, rng=rng)[2] for rates in ensembles]
    assert abs(np.mean(p) - 0.5) < 4 * np.sqrt(1 / 12 / 60)
    assert np.mean(np.array(p) <= 0.05) < 0.17  # .05, and four standard errors
    assert min(p) >= 1 / 40


def test_one_instance_is_not_compared(rng):
    with pytest.raises(DataError, match="two or more instances"):
        made_up(poz_test=rng.uniform(size=(1, 20))).between_seeds(rng=rng)


# --- a network that was measured -------------------------------------------------------------------


def fail(*_, **__):
    raise AssertionError("this should not have been trained")


@pytest.fixture
def short_digits(own_cache, tmp_path, monkeypatch):
    """Digits' own recipe, made short; a folder of shipped results that is empty."""
    monkeypatch.setitem(training.RECIPES, "digits", SHORT)
    monkeypatch.setattr(store, "data_dir", lambda: tmp_path / "data")
    ensembles._network_facts.cache_clear()
    yield tmp_path / "data" / "results"
    ensembles._network_facts.cache_clear()


def same_weights(one, other):
    one, other = one.state_dict(), other.state_dict()
    assert list(one) == list(other)
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("network", ["lenet5", "lenet5-batchnorm"])
def test_a_trained_network_is_that_of_the_checkpoint(short_digits, monkeypatch, network):
    """And comes from the cache the second time; with batch norm, so do its running averages."""
    if network == "lenet5-batchnorm":
        monkeypatch.setattr(training.torch.cuda, "is_available", lambda: False)  # it is not stacked
    first = ensembles.trained("digits", network, seed=2)
    (instance,) = training.train("digits", network, seeds=[2], progress=False)
    assert same_weights(first, instance.network())
    monkeypatch.setattr(training, "train", fail)
    again = ensembles.trained("digits", network, seed=2)
    assert same_weights(again, instance.network())
    assert not again.training
    test = stimuli.load("digits", "test")
    embedded = [embeddings.extract(n, test) for n in (first, again, instance.network())]
    np.testing.assert_array_equal(embedded[0], embedded[2])
    np.testing.assert_array_equal(embedded[1], embedded[2])
    with pytest.raises(AssertionError, match="not have been trained"):
        ensembles.trained("digits", network, seed=3)


def test_weights_are_shipped_beside_an_ensemble(short_digits, tmp_path, monkeypatch):
    ensemble = ensembles.measure("digits", seeds=[4, 5], jobs=1, progress=False)
    ensembles.ship(ensemble, short_digits / "digits-lenet5.npz")
    assert [p.name for p in short_digits.iterdir()] == ["digits-lenet5.npz"]  # they are not known yet
    own = ensembles.trained("digits", seed=4)
    ensembles.trained("digits", seed=5)
    ensembles.ship(ensemble, short_digits / "digits-lenet5.npz")
    written = sorted(p.name for p in short_digits.iterdir())
    assert written == ["digits-lenet5-weights.npz", "digits-lenet5.npz"]
    monkeypatch.setenv("RAREFIRE_CACHE", str(tmp_path / "empty"))
    monkeypatch.setattr(training, "train", fail)
    shipped = ensembles.trained("digits", seed=4)
    assert same_weights(shipped, own)
    (answer,) = store.shipped("weights")
    assert answer.provenance["facts"] == {**training.identity("digits"), "seed": 4}
    for options in ({"seed": 5}, {"seed": 4, "use_shipped": False}):
        with pytest.raises(AssertionError, match="not have been trained"):
            ensembles.trained("digits", **options)
    # Its numbers can be had again without training.
    again = ensembles.measure_network(
        shipped, stimuli.load("digits", "train"), stimuli.load("digits", "test"), seed=4
    )
    for name, values in again.items():
        np.testing.assert_allclose(ensemble[name][0], values, atol=1e-6, err_msg=name)


def test_a_network_of_images_that_are_not_here_is_none(own_cache, monkeypatch):
    monkeypatch.setattr(training, "train", fail)
    assert ensembles.trained("cifar10") is None
    assert ensembles.trained("mnist", seed=1) is None
    assert ensembles.trained("mnist", use_shipped=False) is None
    assert list(own_cache.rglob("*")) == []


# --- what is shipped -------------------------------------------------------------------------------


SHIPPED = sorted((store.data_dir() / "results").glob("*-lenet5.npz"))


def test_something_is_shipped():
    assert [path.stem for path in SHIPPED] == ["cifar10-jpg-lenet5", "mnist-lenet5"]
    assert sum(path.stat().st_size for path in SHIPPED[0].parent.iterdir()) < 5e6


@pytest.mark.parametrize("name", ["mnist", "cifar10-jpg"])
def test_shipped_results_are_found_without_data(own_cache, name):
    ensemble = ensembles.known(name)
    assert len(ensemble) == 50
    assert [a.source for a in ensemble.answers] == ["shipped"] * 50
    typical = {"mnist": 0.985, "cifar10-jpg": 0.60}
    assert np.median(ensemble["accuracy"]) >= typical[name]
    assert ensemble.facts["seed"] == 0
    assert VERSIONS["instance"].items() <= ensemble.facts.items()
    for curve in ensembles.CURVES:
        assert ensemble[curve].shape == ((50, 10, 84) if curve.startswith("random") else (50, 84)), curve
        r2 = ensemble.r2(curve)
        assert np.nanmax(r2) <= 1
        np.testing.assert_allclose(r2[..., -1], 1, atol=1e-6)


def test_the_shipped_wide_form_is_found_without_data(own_cache):
    ensemble = ensembles.wide()
    assert (ensemble.images, ensemble.network, ensemble.seeds) == ("mnist", "lenet5-wide", tuple(range(10)))
    assert [a.source for a in ensemble.answers] == ["shipped"] * 10
    assert ensemble.n_features == 256
    assert np.median(ensemble["accuracy"]) >= 0.985
    for curve in ensembles.CURVES:
        r2 = ensemble.r2(curve)
        assert r2.shape == ((10, 10, 256) if curve.startswith("random") else (10, 256)), curve
        assert np.nanmax(r2) <= 1
        np.testing.assert_allclose(r2[..., -1], 1, atol=1e-6)
    assert source(ensembles.known("mnist", seeds=range(2)), ensemble).startswith(
        "Source: lenet5 on MNIST (2 instances, recorded runs); "
        "lenet5-wide on MNIST (10 instances, recorded runs); rarefire "
    )


@pytest.mark.parametrize(
    ("found", "dead"),
    [
        (lambda: ensembles.known("mnist"), 12),
        (lambda: ensembles.known("cifar10-jpg"), 11),
        (ensembles.wide, 22),
    ],
    ids=["mnist", "cifar10-jpg", "wide"],
)
def test_no_shipped_ghost_is_dead(own_cache, found, dead):
    """As it lies in the file, and counted once more: ghosts fire for some image, the dead for none."""
    ensemble = found()
    silent = ensemble.poz_test == 1
    assert silent[0].sum() == dead
    for mask, answer in zip(silent, ensemble.answers, strict=True):
        assert answer.arrays["ghosts"].shape == (10, len(mask))
        assert not answer.arrays["ghosts"][:, mask].any()
    assert ensemble.ghosts.any()
    np.testing.assert_array_equal(ensemble.ghosts, np.stack([a.arrays["ghosts"] for a in ensemble.answers]))


def test_dead_features_among_the_ghosts_of_an_older_cache_are_left_out():
    ghosts = [[[True, True, False, False]] * 2]
    found = ensembles.Ensemble.of(
        {"poz_test": [[1, 0.9, 1, 0.2]], "ghosts": ghosts}, stimuli="mnist", network="lenet5"
    )
    assert found.ghosts.tolist() == [[[False, True, False, False]] * 2]


@pytest.mark.long
def test_shipped_mnist_is_what_raw_mnist_gives(mirror, own_cache, monkeypatch):
    """Train seed 0 again for two epochs, from the raw images, and compare with the record.

    Training amplifies rounding: on another machine the second epoch may differ in the third digit.
    """
    monkeypatch.setenv("RAREFIRE_MIRROR", str(mirror))
    shipped = ensembles.known("mnist", seeds=[0])
    recipe = training.Recipe(**{**vars(training.RECIPES["mnist"]), "max_epochs": 2, "typical": 0.0})
    (instance,) = training.train("mnist", seeds=[0], recipe=recipe, progress=False)
    np.testing.assert_allclose(instance.history["accuracy"], shipped["history"][0, :2], atol=0.01)


@pytest.mark.parametrize("name", ["mnist", "cifar10-jpg"])
def test_a_shipped_instance_is_what_the_raw_images_give(mirror, monkeypatch, name):
    """The shipped weights of seed 0, shown the real test images: the recorded numbers, without training.

    On another machine rounding may let a feature fire for an image more or less.
    """
    monkeypatch.setenv("RAREFIRE_MIRROR", str(mirror))
    monkeypatch.setattr(training, "train", fail)
    network, shipped = ensembles.trained(name), ensembles.known(name, seeds=[0])
    assert [a.source for a in shipped.answers] == ["shipped"] * 1
    test = stimuli.load(name, "test")
    embedding = embeddings.extract(network, test)
    half = stimuli.half_mask(test.labels)
    rates, on_half = poz.poz(embedding), poz.poz(embedding[half])
    assert training.accuracy(network, test) == pytest.approx(shipped["accuracy"][0], abs=2e-4)
    np.testing.assert_allclose(rates, shipped["poz_test"][0], atol=2e-4)
    np.testing.assert_allclose(on_half, shipped["poz_heldout"][0], atol=4e-4)  # of half as many images
    assert (poz.ghosts(embedding, test.labels) != shipped["ghosts"][0]).mean() <= 0.01
    low, high, by_half = poz.order(rates), poz.order(rates, first="high"), poz.order(on_half)
    for curve, again in {
        "low": curves.geometry_curve(embedding, low),
        "high": curves.geometry_curve(embedding, high),
        "low_cosine": curves.geometry_curve(embedding, low, metric="cosine"),
        "low_class": curves.class_curve(embedding, test.labels, low),
        "low_class_signed": curves.class_curve(embedding, test.labels, low, squared=False),
        "low_heldout": curves.geometry_curve(embedding[~half], by_half),
    }.items():
        recorded, counted = shipped[curve][0], shipped[f"n_images_{curve}"][0]
        same = np.isfinite(recorded) & np.isfinite(again.r) & (counted == again.n_images)
        assert same.mean() > 0.6, curve
        np.testing.assert_allclose(again.r[same], recorded[same], atol=2e-3, err_msg=curve)


# --- what several chapters ask of the records ------------------------------------------------------


def some_ensemble(**arrays):
    return records.ensembles.Ensemble.of(arrays, stimuli="digits", network="lenet5")


def test_the_median_of_r2_leaves_out_where_it_is_undefined():
    r = np.array([[0.5, 1.0], [0.1, 1.0], [0.9, 1.0], [0.2, 1.0]])
    seen = np.array([[9, 10], [4, 10], [9, 10], [5, 10]])  # the second: fewer than half of the images
    found = some_ensemble(low=r, n_images_low=seen, high=r, n_images_high=0 * seen + [1, 10], poz_test=0 * r)
    assert found.median_at("low", 0.5) == pytest.approx(0.25)  # of .25, .81 and .04
    assert found.median_at("low", 1) == 1
    assert np.isnan(found.median_at("high", 0.5))


def test_rare_features_and_those_rare_in_both_counts_by_hand():
    train = np.array([[0.9, 0.85, 0.1, 1.0], [0.0, 0.0, 0.9, 0.95]])
    test = np.array([[0.9, 0.8, 0.1, 1.0], [0.0, 0.85, 0.1, 0.95]])
    found = some_ensemble(poz_train=train, poz_test=test)
    assert found.rare_share().tolist() == [0.5, 0.5]  # .8 is not greater than .8
    assert found.rare_share(0.05).tolist() == [1, 0.75]
    np.testing.assert_allclose(found.overlap("poz_train", "poz_test"), [2 / 3, 1 / 3])
    assert found.overlap("poz_train", "poz_test", rare=0.05).tolist() == [1, 2 / 3]


def test_mean_over_the_classes_that_have_a_value():
    values = np.array([[[1.0, np.nan], [3.0, np.nan], [np.nan, np.nan]], [[2, 2], [2, 4], [2, np.nan]]])
    found = records.ghosts_by_class.over_classes(values)
    np.testing.assert_array_equal(found, [[2, np.nan], [2, 3]])


def class_ghosts(rng, n=3, classes=4, m=(1, 5, 10)):
    shape = (n, classes, len(m))
    arrays = {name: rng.random(shape) for name in ("expected", "fires")}
    arrays |= {
        "alike": rng.random((*shape, 2)),
        "own": rng.random((*shape, 2)),
        "auc": rng.random((*shape, 5)),
    }
    arrays["fires"][0, 1, 2] = np.nan  # a class without ghosts
    arrays["alike"][0, 1, 2] = arrays["own"][0, 1, 2] = np.nan
    facts = {"stimuli": "mnist", "network": "lenet5"}
    return records.ghosts_by_class.ClassGhosts.of({**arrays, "m": np.tile(m, (n, 1))}, **facts)


def test_area_and_steps_of_the_ghosts_of_every_class(rng):
    found = class_ghosts(rng)
    assert [found.step(m) for m in (1, 4, 5, 7, 9, 120)] == [0, 1, 1, 1, 2, 2]
    mean = [[np.mean(found["auc"][i, :, m, 4]) for m in range(3)] for i in range(3)]  # the last query
    np.testing.assert_allclose(found.area("mean"), mean)
    with pytest.raises(UnknownNameError, match="no query 'mode'. There are: .*ghosts, random"):
        found.area("mode")


def test_what_images_of_ghosts_have_in_common_equals_loops(rng):
    found = class_ghosts(rng)
    rows = records.ghosts_by_class.pictured({"mnist": found}, m=4)
    assert rows[["images", "m"]].to_numpy().tolist() == [["mnist", 5], ["mnist", 10]]
    assert rows["with ghosts"].tolist() == [1, 11 / 12]
    for row, step in zip(rows.to_dict("records"), (1, 2), strict=True):
        for i, of in enumerate(("ghosts", "random")):
            for what in ("alike", "own"):
                by_network = [np.nanmean(found[what][n, :, step, i]) for n in range(3)]
                assert row[f"{what}, {of}"] == pytest.approx(np.median(by_network))


def test_ghosts_by_image_set(own_cache, monkeypatch):
    module = records.ghosts_by_class
    asked = []
    monkeypatch.setattr(
        module, "measure", lambda images, **options: asked.append((images, options)) or images
    )
    monkeypatch.setattr(stimuli, "cifar10_variant", lambda: "cifar10")
    found = module.by_images(instances=2)
    assert list(found) == ["digits", "mnist", "cifar10-jpg"]
    assert [len(found[name]) for name in ("mnist", "cifar10-jpg")] == [50, 50]  # shipped
    assert asked == [("digits", {"seeds": range(2)})]
    assert list(module.by_images("full")) == ["digits", "mnist", "cifar10"]
    assert asked[-1] == ("cifar10", {"seeds": range(50), "use_shipped": False})
    monkeypatch.setattr(module, "known", lambda name: None if name == "mnist" else name)
    assert list(module.by_images()) == ["digits", "cifar10-jpg"]
    with pytest.raises(UnknownNameError, match="no profile 'half'"):
        module.by_images("half")


def test_census_and_controls_of_recorded_readings():
    found = records.ghosts.known()
    census = records.ghosts.census(found).set_index("category")
    controls = records.ghosts.controls(found, n_components=2)
    assert list(controls) == [
        "category",
        "m",
        "ghosts",
        *(f"{k} {j}" for k in ("control", "ceiling") for j in (1, 2)),
    ]
    for reading in found:
        row, raw = census.loc[reading.category], reading.arrays
        steps = np.count_nonzero(raw["m"])
        assert (row["images"], row["ghosts"], row["dead"]) == (
            reading.n_images,
            raw["ghosts"][steps - 1],
            raw["dead"],
        )
        assert row["share"] == raw["ghosts"][steps - 1] / raw["n_features"]
        assert row["of those that fire"] == raw["ghosts"][steps - 1] / (raw["n_features"] - raw["dead"])
        assert row[["next image", "at most", "none above"]].tolist() == raw["chance"].tolist()
        assert row[list(records.ghosts.LOOKS)].tolist() == raw["plain"].tolist()
        own = controls[controls["category"] == reading.category]
        np.testing.assert_array_equal(own["m"], raw["m"][:steps])
        np.testing.assert_array_equal(own["ceiling 2"], raw["ceiling"][:steps, 1])
        assert reading.from_random == own["control 1"].iloc[-1]


def test_what_chapters_ask_of_recorded_predictions():
    found = records.people.known("mur")
    assert [p.title for p in found] == ["pooled", "channels (APoZ)", "positions"]
    for p in found:
        step = np.abs(p["k"] / p["k"][-1] - 0.2).argmin()
        assert p.at("random", 0.2) == p["random"][1, step]
        assert p.at("low", 0.2) == p["low"][step]
        rows = p.ridge_table()
        assert list(rows) == ["view", "k", "with weights", "without"]
        assert set(rows["view"]) == {p.view}
        np.testing.assert_array_equal(
            rows[["k", "with weights", "without"]], np.stack([p["ridge_k"], p["ridge"], p["plain"]], 1)
        )


def test_improvements_are_significant_and_upwards():
    gains = {"D": [0.1, -0.1, 0.1, 0.1], "holm": [0.01, 0.01, 0.05, np.nan]}
    naive = {"gain": [-0.1, 0.1, 0.1, 0.0], "naive p": [0.01, 0.049, 0.06, 0.0]}
    table = pd.DataFrame({**gains, **naive})
    assert records.people.improved(table).tolist() == [True, False, False, False]
    assert records.people.improved(table, naive=True).tolist() == [False, True, False, False]
